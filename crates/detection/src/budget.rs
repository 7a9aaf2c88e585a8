//! The exposure budget: distinct subjects in sliding windows, charged exactly and before release (P5).
//!
//! Budgets are kept per grant. Every credential of an integration that uses the grant draws on the same sets, so a second
//! stolen key adds nothing. Nothing is estimated, and nothing is refunded: a response that is charged and then not
//! released stays charged until its window passes.

use crate::hasher::Keyed;
use model::{Budget, GrantId, Micros, SubjectOrdinal, UnixMicros};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Why nothing was charged and nothing may leave: the first window, shortest first, that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{counted} subjects were read in the last {} s and {asked} more were asked for; the budget is {limit}",
    .window.0 / 1_000_000
)]
pub struct Hold {
    /// The window's length.
    pub window: Micros,
    /// Distinct subjects allowed in it.
    pub limit: u32,
    /// Distinct subjects already counted in it.
    pub counted: u32,
    /// Subjects of this response that are not among them.
    pub asked: u32,
}

/// The distinct subjects read under one grant in the last minute, hour and day.
///
/// A subject counts in a window from its last read until the window's length has passed. Memory is bounded by the day's
/// limit: at most two entries a subject, plus 64.
#[derive(Debug)]
pub struct ExposureBudget {
    /// Reads in order of time, numbered from `first` on.
    reads: VecDeque<Read>,
    /// The number of the oldest read, modulo 2^32: there are never so many.
    first: u32,
    /// The number of each subject's last read.
    last: HashMap<SubjectOrdinal, u32, Keyed>,
    windows: [Window; 3],
    /// The latest time seen. A clock that steps back finds the sets as they were.
    now: UnixMicros,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    at: UnixMicros,
    subject: SubjectOrdinal,
    /// Not its subject's last, so that it counts for nothing.
    is_stale: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    span: Micros,
    counted: u32,
    /// How many of the oldest reads are outside this window.
    passed: u32,
    /// No read leaves the window before.
    until: UnixMicros,
}

impl Default for ExposureBudget {
    fn default() -> Self {
        let unlimited = Budget { burst: u32::MAX, hour: u32::MAX, day: u32::MAX };
        let windows = unlimited.windows().map(|(span, _)| Window {
            span,
            counted: 0,
            passed: 0,
            until: UnixMicros(0),
        });
        Self {
            reads: VecDeque::new(),
            first: 0,
            last: HashMap::default(),
            windows,
            now: UnixMicros(0),
        }
    }
}

impl ExposureBudget {
    /// Charges the distinct subjects of one response, all or none. Those already counted in a window cost nothing there.
    ///
    /// # Errors
    /// [`Hold`] if a window has no room; nothing is charged then.
    pub fn charge(
        &mut self,
        budget: &Budget,
        subjects: &[SubjectOrdinal],
        now: UnixMicros,
    ) -> Result<(), Hold> {
        let subjects = distinct(subjects);
        let fresh = self.prepare(&subjects, now);
        for ((window, (span, limit)), asked) in self.windows.iter().zip(budget.windows()).zip(fresh)
        {
            assert_eq!(window.span, span, "the windows of a budget have fixed lengths");
            let counted = window.counted;
            if counted.checked_add(asked).is_none_or(|sum| sum > limit) && asked > 0 {
                return Err(Hold { window: span, limit, counted, asked });
            }
        }
        self.count(&subjects, fresh);
        Ok(())
    }

    /// Counts what a record says was read at `at`, whatever the limits: rebuilds the sets from the log, oldest first.
    pub fn replay(&mut self, subjects: &[SubjectOrdinal], at: UnixMicros) {
        let subjects = distinct(subjects);
        let fresh = self.prepare(&subjects, at);
        self.count(&subjects, fresh);
    }

    /// Distinct subjects counted in the last 60 seconds, hour and day.
    pub fn standing(&mut self, now: UnixMicros) -> [u32; 3] {
        self.advance(now);
        self.windows.map(|window| window.counted)
    }

    /// Moves to `now` and says, per window, how many of `subjects` it does not count yet.
    fn prepare(&mut self, subjects: &[SubjectOrdinal], now: UnixMicros) -> [u32; 3] {
        self.advance(now);
        let mut fresh = [0_u32; 3];
        for subject in subjects {
            let age = self.last.get(subject).map(|number| number.wrapping_sub(self.first));
            for (fresh, window) in fresh.iter_mut().zip(&self.windows) {
                *fresh += u32::from(age.is_none_or(|age| age < window.passed));
            }
        }
        fresh
    }

    fn count(&mut self, subjects: &[SubjectOrdinal], fresh: [u32; 3]) {
        for subject in subjects {
            if let Some(before) = self.last.insert(*subject, self.number(self.reads.len()))
                && let Some(read) = self.reads.get_mut(before.wrapping_sub(self.first) as usize)
            {
                read.is_stale = true;
            }
            self.reads.push_back(Read { at: self.now, subject: *subject, is_stale: false });
        }
        for (window, fresh) in self.windows.iter_mut().zip(fresh) {
            window.counted = window.counted.saturating_add(fresh);
        }
        if self.reads.len() > 2 * self.last.len() + 64 {
            self.drop_stale();
        }
    }

    fn advance(&mut self, now: UnixMicros) {
        self.now = self.now.max(now);
        let mut gone = 0;
        for window in &mut self.windows {
            gone = window.passed;
            if self.now < window.until {
                continue;
            }
            let mut next = self.now;
            while let Some(read) = self.reads.get(gone as usize) {
                if self.now.since(read.at) < window.span {
                    next = read.at;
                    break;
                }
                window.counted -= u32::from(!read.is_stale);
                gone += 1;
            }
            (window.passed, window.until) = (gone, next + window.span);
        }
        if gone == 0 {
            return;
        }
        // The last window is the longest: what has passed it has passed all.
        for read in self.reads.drain(..gone as usize) {
            if !read.is_stale {
                self.last.remove(&read.subject);
            }
        }
        self.first = self.first.wrapping_add(gone);
        for window in &mut self.windows {
            window.passed -= gone;
        }
    }

    /// Numbers anew what is left. Amortised over the reads that made the entries stale.
    fn drop_stale(&mut self) {
        let (mut index, mut kept) = (0_u32, 0_u32);
        let mut dropped = [0_u32; 3];
        let (first, last, windows) = (self.first, &mut self.last, &self.windows);
        self.reads.retain(|read| {
            if !read.is_stale {
                last.insert(read.subject, first.wrapping_add(kept));
                kept += 1;
            }
            for (dropped, window) in dropped.iter_mut().zip(windows) {
                *dropped += u32::from(read.is_stale && index < window.passed);
            }
            index += 1;
            !read.is_stale
        });
        for (window, dropped) in self.windows.iter_mut().zip(dropped) {
            window.passed -= dropped;
        }
    }

    /// The number of the read at this place.
    fn number(&self, place: usize) -> u32 {
        self.first.wrapping_add(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

/// Each once.
fn distinct(subjects: &[SubjectOrdinal]) -> Cow<'_, [SubjectOrdinal]> {
    if subjects.is_sorted_by(|one, next| one < next) {
        return Cow::Borrowed(subjects);
    }
    let mut subjects = subjects.to_vec();
    subjects.sort_unstable();
    subjects.dedup();
    Cow::Owned(subjects)
}

/// The budgets of all grants, for many threads.
#[derive(Debug)]
pub struct ExposureBudgets {
    /// A grant's place is a byte of its id's random part. The lock is held for one charge.
    shards: [Mutex<HashMap<GrantId, ExposureBudget, Keyed>>; 16],
}

impl Default for ExposureBudgets {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl ExposureBudgets {
    /// [`ExposureBudget::charge`] for `grant`.
    ///
    /// # Errors
    /// [`Hold`] if a window has no room; nothing is charged then.
    pub fn charge(
        &self,
        grant: GrantId,
        budget: &Budget,
        subjects: &[SubjectOrdinal],
        now: UnixMicros,
    ) -> Result<(), Hold> {
        self.with(grant, |own| own.charge(budget, subjects, now))
    }

    /// [`ExposureBudget::replay`] for `grant`.
    pub fn replay(&self, grant: GrantId, subjects: &[SubjectOrdinal], at: UnixMicros) {
        self.with(grant, |own| own.replay(subjects, at));
    }

    /// [`ExposureBudget::standing`] of `grant`.
    pub fn standing(&self, grant: GrantId, now: UnixMicros) -> [u32; 3] {
        self.with(grant, |own| own.standing(now))
    }

    fn with<T>(&self, grant: GrantId, act: impl FnOnce(&mut ExposureBudget) -> T) -> T {
        let [.., place] = *grant.as_bytes();
        let [first, ..] = &self.shards;
        let shard = self.shards.get(usize::from(place % 16)).unwrap_or(first);
        // Nothing in a charge can panic half-way, so a poisoned lock holds sound sets.
        let mut own = shard.lock().unwrap_or_else(PoisonError::into_inner);
        act(own.entry(grant).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const BUDGET: Budget = Budget { burst: 3, hour: 5, day: 7 };

    fn ordinals(numbers: &[u32]) -> Vec<SubjectOrdinal> {
        numbers.iter().copied().map(SubjectOrdinal).collect()
    }

    fn at(secs: u64) -> UnixMicros {
        UnixMicros::from_secs(1_000_000 + secs)
    }

    #[test]
    fn a_subject_read_again_costs_nothing() {
        let mut budget = ExposureBudget::default();
        budget.charge(&BUDGET, &ordinals(&[1, 2, 3]), at(0)).unwrap();
        budget.charge(&BUDGET, &ordinals(&[3, 2, 1, 1]), at(1)).unwrap();
        assert_eq!(budget.standing(at(1)), [3, 3, 3]);
    }

    #[test]
    fn a_response_over_the_budget_charges_nothing() {
        let mut budget = ExposureBudget::default();
        budget.charge(&BUDGET, &ordinals(&[1, 2]), at(0)).unwrap();
        let hold = budget.charge(&BUDGET, &ordinals(&[2, 3, 4]), at(1)).unwrap_err();
        assert_eq!(hold, Hold { window: Micros::from_secs(60), limit: 3, counted: 2, asked: 2 });
        assert_eq!(
            hold.to_string(),
            "2 subjects were read in the last 60 s and 2 more were asked for; the budget is 3"
        );
        budget.charge(&BUDGET, &ordinals(&[3]), at(1)).unwrap();
    }

    #[test]
    fn each_window_slides_by_the_microsecond() {
        let mut budget = ExposureBudget::default();
        budget.charge(&BUDGET, &ordinals(&[1, 2, 3]), at(0)).unwrap();
        assert!(budget.charge(&BUDGET, &ordinals(&[4]), UnixMicros(at(60).0 - 1)).is_err());
        budget.charge(&BUDGET, &ordinals(&[4, 5]), at(60)).unwrap();
        assert_eq!(budget.standing(at(60)), [2, 5, 5]);
        let hold = budget.charge(&BUDGET, &ordinals(&[6]), at(3_599)).unwrap_err();
        assert_eq!(hold.window, Micros::from_secs(3_600));
        budget.charge(&BUDGET, &ordinals(&[6, 7]), at(3_600)).unwrap();
        assert_eq!(budget.charge(&BUDGET, &ordinals(&[8]), at(9_000)).unwrap_err().limit, 7);
    }

    #[test]
    fn a_clock_that_steps_back_frees_nothing() {
        let mut budget = ExposureBudget::default();
        budget.charge(&BUDGET, &ordinals(&[1, 2, 3]), at(100)).unwrap();
        assert!(budget.charge(&BUDGET, &ordinals(&[4]), at(0)).is_err());
        assert_eq!(budget.standing(at(0)), [3, 3, 3]);
    }

    #[test]
    fn what_the_log_holds_counts_even_beyond_a_lowered_budget() {
        let budgets = ExposureBudgets::default();
        let grant = GrantId::from_bytes([3; 16]);
        budgets.replay(grant, &ordinals(&[1, 2, 3, 4]), at(0));
        assert_eq!(budgets.standing(grant, at(1)), [4, 4, 4]);
        assert!(budgets.charge(grant, &BUDGET, &ordinals(&[5]), at(1)).is_err());
        budgets.charge(grant, &BUDGET, &ordinals(&[4]), at(1)).unwrap();
        let other = GrantId::from_bytes([4; 16]);
        budgets.charge(other, &BUDGET, &ordinals(&[5]), at(1)).unwrap();
    }

    /// `cargo test --release -p detection -- --ignored --nocapture charge_time`
    #[test]
    #[ignore = "measures; asserts nothing"]
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    fn charge_time() {
        let limits = Budget { burst: 100_000, hour: 100_000, day: 100_000 };
        for subjects in [1, 100] {
            let (budgets, grant) = (ExposureBudgets::default(), GrantId::from_bytes([3; 16]));
            let start = std::time::Instant::now();
            for n in 0..200_000_u32 {
                let asked: Vec<_> =
                    (0..subjects).map(|k| SubjectOrdinal((n * 7 + k) % 90_000)).collect();
                let now = UnixMicros(1_000_000 + u64::from(n) * 1_000);
                budgets.charge(grant, &limits, &asked, now).unwrap();
            }
            println!("charge of {subjects}: {} ns", start.elapsed().as_nanos() / 200_000);
        }
    }

    #[test]
    fn reading_one_subject_for_ever_keeps_memory_bounded() {
        let mut budget = ExposureBudget::default();
        for secs in 0..100_000 {
            budget.charge(&BUDGET, &ordinals(&[1]), at(secs)).unwrap();
            assert!(budget.reads.len() <= 67);
        }
    }

    /// Everything ever charged, looked through each time.
    #[derive(Default)]
    struct Naive(Vec<(UnixMicros, SubjectOrdinal)>);

    impl Naive {
        fn distinct(&self, span: Micros, now: UnixMicros) -> BTreeSet<SubjectOrdinal> {
            self.0.iter().filter(|(at, _)| now.since(*at) < span).map(|&(_, s)| s).collect()
        }

        fn charge(
            &mut self,
            budget: &Budget,
            subjects: &[SubjectOrdinal],
            now: UnixMicros,
        ) -> bool {
            let fits = budget.windows().iter().all(|&(span, limit)| {
                let before = self.distinct(span, now);
                let after: BTreeSet<_> = before.iter().chain(subjects).collect();
                after.len() == before.len() || after.len() <= limit as usize
            });
            if fits {
                self.0.extend(subjects.iter().map(|&subject| (now, subject)));
            }
            fits
        }
    }

    proptest! {
        #[test]
        fn sliding_sets_agree_with_counting_everything(
            steps in proptest::collection::vec(
                (0_u64..40_000, proptest::collection::vec(0_u32..24, 0..6), any::<bool>()), 1..200),
            (burst, hour, day) in (0_u32..8, 0_u32..14, 0_u32..20),
            hurried: bool,
        ) {
            let limits = Budget { burst, hour, day };
            let (mut ours, mut naive) = (ExposureBudget::default(), Naive::default());
            let mut now = at(0);
            for (pause, numbers, replayed) in steps {
                let pause = if hurried { pause % 40 } else { pause };
                now = now + Micros::from_secs(pause);
                let subjects = ordinals(&numbers);
                if replayed {
                    ours.replay(&subjects, now);
                    naive.0.extend(subjects.iter().map(|&subject| (now, subject)));
                } else {
                    let charged = ours.charge(&limits, &subjects, now).is_ok();
                    prop_assert_eq!(charged, naive.charge(&limits, &subjects, now));
                }
                let counts = limits.windows().map(|(span, _)| naive.distinct(span, now).len());
                prop_assert_eq!(ours.standing(now).map(|count| count as usize), counts);
            }
        }
    }
}
