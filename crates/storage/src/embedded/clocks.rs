//! The one place where the record's time is read, and the watch over it.

use model::{Micros, UnixMicros};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A step beyond this is an event of its own. NTP slews by at most 500 parts per million, which is 60 ms in [`REBASE`].
const STEP_MAX: u64 = 1_000_000;
/// How old the pair of readings that new ones are compared with may become.
const REBASE: Micros = Micros::from_secs(120);

/// The wall clock and a clock that nobody can set. A port, because simulations bring their own.
pub trait ReadClocks: Send + 'static {
    /// UTC.
    fn wall(&self) -> UnixMicros;
    /// Since some fixed moment; does not count while the machine is suspended, so that a suspension shows as a step.
    fn monotonic(&self) -> Micros;
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
}

/// Compares the wall clock with the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct StepWatch {
    base: Option<(UnixMicros, Micros)>,
}

impl StepWatch {
    /// The step of the wall clock since the last reading, in microseconds, if it was beyond one second either way.
    pub(crate) fn observe(&mut self, wall: UnixMicros, monotonic: Micros) -> Option<i64> {
        let Some((base_wall, base_monotonic)) = self.base else {
            self.base = Some((wall, monotonic));
            return None;
        };
        let elapsed = monotonic.0.saturating_sub(base_monotonic.0);
        let expected = base_wall.0.saturating_add(elapsed);
        let stepped = wall.0.abs_diff(expected) > STEP_MAX;
        if stepped || elapsed > REBASE.0 {
            self.base = Some((wall, monotonic));
        }
        let step = i64::try_from(i128::from(wall.0) - i128::from(expected));
        stepped.then(|| step.unwrap_or(if wall.0 > expected { i64::MAX } else { i64::MIN }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(readings: &[(u64, u64)]) -> Vec<i64> {
        let mut watch = StepWatch::default();
        let observe = |&(wall, monotonic): &(u64, u64)| {
            watch.observe(UnixMicros::from_secs(wall), Micros::from_secs(monotonic))
        };
        readings.iter().filter_map(observe).collect()
    }

    #[test]
    fn clocks_that_run_alike_or_are_slewed_do_not_step() {
        assert_eq!(steps(&[(1000, 0), (1010, 10), (1011, 11)]), Vec::<i64>::new());
        assert_eq!(steps(&[(1000, 0), (1131, 130), (1262, 260), (1393, 390)]), Vec::<i64>::new());
    }

    #[test]
    fn a_step_shows_once_with_its_direction() {
        assert_eq!(steps(&[(1000, 0), (1005, 1), (1006, 2)]), [4_000_000]);
        assert_eq!(steps(&[(1000, 0), (500, 1), (501, 2)]), [-501_000_000]);
        assert_eq!(steps(&[(1000, 0), (0, 0)]), [-1_000_000_000]);
    }
}
