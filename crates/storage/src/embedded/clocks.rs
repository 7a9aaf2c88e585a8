//! The one place where the record's time is read, and the watch over it.

use crate::clock;
use model::{Micros, UnixMicros};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A step beyond this is an event of its own. NTP slews by at most 500 parts per million, which is 60 ms in [`REBASE`].
const STEP_MAX: u64 = 1_000_000;
/// Readings of one moment are no further apart than this.
const APART_MAX: u64 = STEP_MAX / 10;
/// How often readings are taken that a thread held up between them put further apart.
const READINGS_MAX: usize = 16;
/// How old the pair of readings that new ones are compared with may become.
const REBASE: Micros = Micros::from_secs(120);

/// The wall clock and a clock that nobody can set. A port, because simulations bring their own.
pub trait ReadClocks: Send + Sync + 'static {
    /// UTC.
    fn wall(&self) -> UnixMicros;
    /// Since some fixed moment; does not count while the machine is suspended, so that a suspension shows as a step.
    fn monotonic(&self) -> Micros;
    /// Both, read as one: a rehearsal that sets them forward between the two readings is no step.
    fn both(&self) -> (UnixMicros, Micros) {
        (self.wall(), self.monotonic())
    }
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClocks {
    started: Instant,
}

impl SystemClocks {
    /// The clocks.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClocks {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadClocks for SystemClocks {
    fn wall(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Micros {
        Micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn both(&self) -> (UnixMicros, Micros) {
        let ahead = clock::ahead();
        let (wall, monotonic) = of_one_moment(|| self.wall(), || self.monotonic());
        (wall + ahead, Micros(monotonic.0.saturating_add(ahead.0)))
    }
}

/// Both readings, taken anew where the thread was held up in between: the two would be seconds apart, and that is what a step looks
/// like.
fn of_one_moment(
    wall: impl Fn() -> UnixMicros,
    monotonic: impl Fn() -> Micros,
) -> (UnixMicros, Micros) {
    let mut before = monotonic();
    let mut read = (wall(), monotonic());
    for _ in 1..READINGS_MAX {
        if read.1.0.saturating_sub(before.0) <= APART_MAX {
            break;
        }
        before = read.1;
        read = (wall(), monotonic());
    }
    read
}

/// The time of records: the wall clock's, until it steps. From then on it goes by the monotonic clock from where the wall clock was
/// before the step, and data is held, until somebody acknowledges the step. So no record has a time that nobody vouches for.
///
/// Clones are the same time: the log's thread reads it for records, requests read it before they charge anything.
#[derive(Clone)]
pub(crate) struct RecordTime {
    clocks: Arc<dyn ReadClocks>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Two readings of one moment, which later ones are compared with.
    base: (UnixMicros, Micros),
    held: Option<Held>,
    /// Steps that are not recorded yet, in microseconds.
    unrecorded: Vec<i64>,
}

/// What the wall clock is off by since it stepped.
struct Held {
    offset: i64,
    /// The last step, which the refusal names.
    step: i64,
}

impl RecordTime {
    /// `last`: time of the log's last record. A wall clock that stands before it was set back while nobody looked.
    pub(crate) fn new(clocks: Arc<dyn ReadClocks>, last: UnixMicros) -> Self {
        let (wall, monotonic) = clocks.both();
        let base = if last.0.saturating_sub(wall.0) > STEP_MAX { last } else { wall };
        let state = State { base: (base, monotonic), held: None, unrecorded: Vec::new() };
        Self { clocks, state: Arc::new(Mutex::new(state)) }
    }

    /// The time, for whoever decides by it.
    ///
    /// # Errors
    /// The step in microseconds, if the wall clock made one that nobody has acknowledged.
    pub(crate) fn now(&self) -> Result<UnixMicros, i64> {
        let mut state = self.state();
        let wall = state.observe(&*self.clocks).0;
        state.held.as_ref().map_or(Ok(wall), |held| Err(held.step))
    }

    /// The time for the next records, the steps to record with it, and the one that data is held for.
    pub(crate) fn tick(&self) -> (UnixMicros, Vec<i64>, Option<i64>) {
        let mut state = self.state();
        let (wall, expected) = state.observe(&*self.clocks);
        let held = state.held.as_ref().map(|held| held.step);
        let now = if held.is_some() { expected } else { wall };
        (now, std::mem::take(&mut state.unrecorded), held)
    }

    /// Goes by the wall clock again.
    pub(crate) fn acknowledge(&self) {
        let mut state = self.state();
        state.base = self.clocks.both();
        state.held = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads the clocks. Returns what the wall clock says and what it should say.
    fn observe(&mut self, clocks: &dyn ReadClocks) -> (UnixMicros, UnixMicros) {
        let (wall, monotonic) = clocks.both();
        let elapsed = monotonic.0.saturating_sub(self.base.1.0);
        let expected = UnixMicros(self.base.0.0.saturating_add(elapsed));
        let offset = i64::try_from(i128::from(wall.0) - i128::from(expected.0));
        let offset = offset.unwrap_or(if wall > expected { i64::MAX } else { i64::MIN });
        let step = offset.saturating_sub(self.held.as_ref().map_or(0, |held| held.offset));
        if step.unsigned_abs() > STEP_MAX {
            self.held = Some(Held { offset, step });
            self.unrecorded.push(step);
        } else if self.held.is_none() && elapsed > REBASE.0 {
            self.base = (wall, monotonic);
        }
        (wall, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks that show what they are told.
    #[derive(Default)]
    struct Told(Mutex<(u64, u64)>);

    impl ReadClocks for Told {
        fn wall(&self) -> UnixMicros {
            UnixMicros::from_secs(self.0.lock().unwrap().0)
        }

        fn monotonic(&self) -> Micros {
            Micros::from_secs(self.0.lock().unwrap().1)
        }
    }

    /// What `now` says at each pair of readings, and all that is to be recorded.
    fn read(last: u64, readings: &[(u64, u64)]) -> (Vec<Result<u64, i64>>, Vec<i64>) {
        let clocks = Arc::new(Told::default());
        *clocks.0.lock().unwrap() = readings[0];
        let time = RecordTime::new(Arc::clone(&clocks) as _, UnixMicros::from_secs(last));
        let says = |at: &(u64, u64)| {
            *clocks.0.lock().unwrap() = *at;
            time.now().map(UnixMicros::secs).map_err(|step| step / 1_000_000)
        };
        let said = readings.iter().map(says).collect();
        (said, time.tick().1.iter().map(|step| step / 1_000_000).collect())
    }

    #[test]
    fn a_thread_held_up_between_the_readings_sees_no_step() {
        // Two readings that it was held up in, for three seconds each; the third pair is of one moment.
        let now = std::cell::Cell::new(1_000_000);
        let held_up = std::cell::Cell::new(2);
        let wall = || {
            let read = UnixMicros(5_000_000 + now.get());
            if held_up.get() > 0 {
                held_up.set(held_up.get() - 1);
                now.set(now.get() + 3_000_000);
            }
            read
        };
        let read = of_one_moment(wall, || Micros(now.get()));
        assert_eq!(read, (UnixMicros(12_000_000), Micros(7_000_000)));
        // Held up forever it answers all the same.
        held_up.set(usize::MAX);
        let (wall, monotonic) = of_one_moment(wall, || Micros(now.get()));
        assert_eq!(wall.0 + 3_000_000, monotonic.0 + 5_000_000);
    }

    #[test]
    fn clocks_that_run_alike_or_are_slewed_do_not_step() {
        let (said, steps) = read(0, &[(1000, 0), (1010, 10), (1011, 11)]);
        assert_eq!((said, steps), (vec![Ok(1000), Ok(1010), Ok(1011)], Vec::new()));
        assert_eq!(
            read(0, &[(1000, 0), (1131, 130), (1262, 260), (1393, 390)]).1,
            Vec::<i64>::new()
        );
    }

    #[test]
    fn a_step_is_recorded_once_with_its_direction_and_nobody_is_told_the_stepped_time() {
        let (said, steps) = read(0, &[(1000, 0), (1005, 1), (1006, 2)]);
        assert_eq!((said, steps), (vec![Ok(1000), Err(4), Err(4)], vec![4]));
        let (said, steps) = read(0, &[(1000, 0), (500, 1), (501, 2)]);
        assert_eq!((said, steps), (vec![Ok(1000), Err(-501), Err(-501)], vec![-501]));
        // A step back to the right time is a step too: somebody has to say which was right.
        assert_eq!(read(0, &[(1000, 0), (2000, 0), (1001, 1)]).1, [1000, -1000]);
    }

    #[test]
    fn records_go_on_from_before_the_step_until_it_is_acknowledged() {
        let clocks = Arc::new(Told::default());
        *clocks.0.lock().unwrap() = (1000, 0);
        let time = RecordTime::new(Arc::clone(&clocks) as _, UnixMicros(0));
        *clocks.0.lock().unwrap() = (90_000, 5);
        assert_eq!(
            time.tick(),
            (UnixMicros::from_secs(1005), vec![88_995_000_000], Some(88_995_000_000))
        );
        *clocks.0.lock().unwrap() = (90_002, 7);
        assert_eq!(time.tick(), (UnixMicros::from_secs(1007), Vec::new(), Some(88_995_000_000)));
        time.acknowledge();
        assert_eq!(time.tick(), (UnixMicros::from_secs(90_002), Vec::new(), None));
    }

    #[test]
    fn a_clock_that_stands_before_the_last_record_was_set_back() {
        assert_eq!(read(1000, &[(900, 0)]), (vec![Err(-100)], vec![-100]));
        assert_eq!(read(1000, &[(999, 0)]), (vec![Ok(999)], Vec::new()));
    }
}
