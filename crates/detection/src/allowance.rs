//! What a backfill may read beside the budgets of its integration's grants: the declared count of distinct subjects, once (P5).
//!
//! While one runs, its operation's subjects are charged to it, and to the grant only what finds no room there. So nothing of it is left in
//! the grant's windows afterwards, the integration's other operations keep the whole of the grant, and the log alone says who is in
//! the set: a restart finds it again whatever budgets were then.

use crate::{ExposureBudgets, Hold, Windows};
use model::{Budget, GrantId, IntegrationId, OperationId, SubjectOrdinal, UnixMicros};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Who reads, through what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Whose windows count.
    pub integration: IntegrationId,
    /// Whose budget takes what no window takes.
    pub grant: GrantId,
    /// Through which operation.
    pub operation: &'a OperationId,
    /// When.
    pub at: UnixMicros,
}

/// The distinct subjects that backfills have read, for many threads.
///
/// Memory: 5 bytes a place in tables that are at least 7/16 full, so at most 12 bytes a subject and at most the declared count of
/// subjects a window: 50,000 are 600 kB, a million 12 MB. A window that is over is dropped when the next charge of a backfill comes.
#[derive(Debug, Default)]
pub struct Allowances(Mutex<BTreeMap<String, Taken>>);

/// What one window has been charged with.
#[derive(Debug)]
struct Taken {
    subjects: HashSet<SubjectOrdinal>,
    to: UnixMicros,
}

impl Allowances {
    /// Charges the distinct subjects of one response, all or none: to the backfills that run, and the rest to the grant.
    ///
    /// # Errors
    /// [`Hold`] if the grant has no room for that rest; nothing is charged then, to no window either.
    pub fn charge(
        &self,
        windows: &Windows,
        budgets: &ExposureBudgets,
        draw: Draw<'_>,
        budget: &Budget,
        subjects: &[SubjectOrdinal],
    ) -> Result<(), Hold> {
        self.take(windows, draw, subjects, |rest| budgets.charge(draw.grant, budget, rest, draw.at))
    }

    /// Counts what a record says was read, oldest first, whatever the limits of the grant.
    pub fn replay(
        &self,
        windows: &Windows,
        budgets: &ExposureBudgets,
        draw: Draw<'_>,
        subjects: &[SubjectOrdinal],
    ) {
        let Ok(()) = self.take(windows, draw, subjects, |rest| {
            budgets.replay(draw.grant, rest, draw.at);
            Ok::<_, std::convert::Infallible>(())
        });
    }

    /// Sets aside what finds room in windows, and keeps it there if `charge` takes the rest.
    fn take<E>(
        &self,
        windows: &Windows,
        draw: Draw<'_>,
        subjects: &[SubjectOrdinal],
        charge: impl FnOnce(&[SubjectOrdinal]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Draw { integration, operation, at, .. } = draw;
        if !windows.backfills(integration, operation, at) {
            return charge(subjects);
        }
        // Nothing under the lock can panic half-way. A grant's lock is taken under it, never the other way round.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, taken| at < taken.to);
        let mut rest = subjects.to_vec();
        rest.sort_unstable();
        rest.dedup();
        let running = || windows.running_backfills(integration, operation, at);
        for (window, _) in running() {
            if let Some(taken) = all.get(&window.id) {
                rest.retain(|subject| !taken.subjects.contains(subject));
            }
        }
        let mut set_aside = Vec::new();
        for (window, subjects_max) in running() {
            let counted = all.get(&window.id).map_or(0, |taken| taken.subjects.len());
            let room = usize::try_from(subjects_max).unwrap_or(usize::MAX).saturating_sub(counted);
            let beyond = rest.split_off(room.min(rest.len()));
            set_aside.push((window, std::mem::replace(&mut rest, beyond)));
        }
        if !rest.is_empty() {
            charge(&rest)?;
        }
        for (window, fresh) in set_aside {
            let taken = all
                .entry(window.id.clone())
                .or_insert_with(|| Taken { subjects: HashSet::new(), to: window.to });
            // It may have been ended meanwhile.
            taken.to = window.to;
            taken.subjects.extend(fresh);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Window, WindowKind};
    use model::Micros;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const OURS: IntegrationId = IntegrationId::from_bytes([1; 16]);
    const BUDGET: Budget = Budget { burst: 2, hour: 3, day: 4 };
    const DAY: u64 = 86_400;

    fn at(secs: u64) -> UnixMicros {
        UnixMicros::from_secs(1_000_000 + secs)
    }

    fn operation(name: &str) -> OperationId {
        OperationId::new(name).unwrap()
    }

    fn grant(n: u8) -> GrantId {
        GrantId::from_bytes([n; 16])
    }

    fn ordinals(numbers: impl IntoIterator<Item = u32>) -> Vec<SubjectOrdinal> {
        numbers.into_iter().map(SubjectOrdinal).collect()
    }

    /// Backfills through `get`: id, count, and seconds from and to.
    fn windows(of: &[(&str, u32, u64, u64)]) -> Windows {
        let window = |&(id, subjects_max, from, to): &(&str, u32, u64, u64)| Window {
            id: id.into(),
            integration: OURS,
            kind: WindowKind::Backfill { operation: operation("get"), subjects_max },
            from: at(from),
            to: at(to),
        };
        Windows::new(of.iter().map(window).collect())
    }

    #[derive(Default)]
    struct Scene {
        allowances: Allowances,
        budgets: ExposureBudgets,
    }

    impl Scene {
        fn read(&self, windows: &Windows, how: (u8, &str, u64), numbers: &[u32]) -> bool {
            let (by, through, secs) = how;
            let operation = operation(through);
            let draw =
                Draw { integration: OURS, grant: grant(by), operation: &operation, at: at(secs) };
            let subjects = ordinals(numbers.iter().copied());
            self.allowances.charge(windows, &self.budgets, draw, &BUDGET, &subjects).is_ok()
        }

        fn replay(&self, windows: &Windows, how: (u8, &str, u64), numbers: &[u32]) {
            let (by, through, secs) = how;
            let operation = operation(through);
            let draw =
                Draw { integration: OURS, grant: grant(by), operation: &operation, at: at(secs) };
            let subjects = ordinals(numbers.iter().copied());
            self.allowances.replay(windows, &self.budgets, draw, &subjects);
        }

        fn taken(&self) -> BTreeMap<String, BTreeSet<SubjectOrdinal>> {
            let taken = self.allowances.0.lock().unwrap();
            let sets = taken.iter().filter(|(_, taken)| !taken.subjects.is_empty());
            sets.map(|(id, taken)| (id.clone(), taken.subjects.iter().copied().collect())).collect()
        }
    }

    #[test]
    fn a_backfill_of_fourteen_days_is_its_count_once_and_not_each_day_nor_each_grant() {
        let windows = windows(&[("w", 100, 0, 14 * DAY)]);
        let scene = Scene::default();
        let mut got = BTreeSet::new();
        let mut next = 0;
        for day in 0..14 {
            for by in 1..=3 {
                while scene.read(&windows, (by, "get", day * DAY), &[next]) {
                    got.insert(next);
                    next += 1;
                }
            }
        }
        // Two in the minute that is tried, of each grant, each day.
        assert_eq!(got.len(), 100 + 14 * 3 * 2);
    }

    #[test]
    fn other_operations_have_the_grants_budget_and_no_more() {
        let windows = windows(&[("w", 100, 0, DAY)]);
        let scene = Scene::default();
        assert!(scene.read(&windows, (1, "get", 0), &[1, 2, 3, 4, 5, 6]));
        assert!(scene.read(&windows, (1, "list", 0), &[1, 2]), "the backfill took nothing of it");
        assert!(!scene.read(&windows, (1, "list", 0), &[3]), "nor is its room theirs");
    }

    #[test]
    fn a_response_that_does_not_fit_charges_neither_window_nor_grant() {
        let windows = windows(&[("w", 3, 0, DAY)]);
        let scene = Scene::default();
        assert!(!scene.read(&windows, (1, "get", 0), &[1, 2, 3, 4, 5, 6]));
        assert!(scene.taken().is_empty());
        assert!(scene.read(&windows, (1, "get", 0), &[4, 5, 6, 7, 8]));
        assert!(scene.read(&windows, (2, "get", 1), &[4, 5, 6]), "once each");
        assert!(!scene.read(&windows, (1, "get", 1), &[9]));
    }

    #[test]
    fn a_window_that_is_ended_leaves_nothing_in_the_grant() {
        let scene = Scene::default();
        let running = windows(&[("w", 1_000, 0, DAY)]);
        assert!(scene.read(&running, (1, "get", 0), &(0..1_000).collect::<Vec<_>>()));
        let ended = windows(&[("w", 1_000, 0, 60)]);
        assert!(scene.read(&ended, (1, "get", 60), &[5_000, 5_001]));
        assert!(!scene.read(&ended, (1, "get", 60), &[5_002]));
    }

    #[test]
    fn windows_that_run_together_have_room_one_after_the_other() {
        let windows = windows(&[("b", 3, 0, DAY), ("a", 2, 0, DAY)]);
        let scene = Scene::default();
        assert!(scene.read(&windows, (1, "get", 0), &[1, 2, 3, 4, 5, 6, 7]));
        assert!(!scene.read(&windows, (1, "get", 0), &[8]));
        assert_eq!(scene.taken().values().map(BTreeSet::len).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_is_over_is_dropped() {
        let windows = windows(&[("a", 2, 0, 60), ("b", 2, 60, 120)]);
        let scene = Scene::default();
        assert!(scene.read(&windows, (1, "get", 0), &[1]));
        assert!(scene.read(&windows, (1, "get", 60), &[2]));
        assert_eq!(scene.taken().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    /// Everything that was ever released, gone through each time.
    #[derive(Default)]
    struct Naive {
        window: BTreeSet<u32>,
        own: Vec<(u8, u64, u32)>,
    }

    impl Naive {
        fn read(
            &mut self,
            subjects_max: u32,
            how: (u8, &str, u64),
            numbers: &BTreeSet<u32>,
        ) -> bool {
            let (by, through, secs) = how;
            let mut window = self.window.clone();
            let mut rest = Vec::new();
            for number in numbers {
                let has_room = window.len() < subjects_max as usize;
                let is_expected = through == "get" && secs < 20 * DAY;
                if is_expected && (window.contains(number) || has_room) {
                    window.insert(*number);
                } else {
                    rest.push((by, secs, *number));
                }
            }
            // Who was in the set already needs no room, wherever in the order they come.
            rest.retain(|(.., number)| {
                through != "get" || secs >= 20 * DAY || !window.contains(number)
            });
            let fits = BUDGET.windows().iter().all(|&(span, limit)| {
                let within = |(of, then, _): &&(u8, u64, u32)| {
                    *of == by && Micros::from_secs(secs - then) < span
                };
                let before: BTreeSet<_> = self.own.iter().filter(within).map(|of| of.2).collect();
                let after: BTreeSet<_> =
                    before.iter().copied().chain(rest.iter().map(|of| of.2)).collect();
                after.len() == before.len() || after.len() <= limit as usize
            });
            if fits {
                self.window = window;
                self.own.extend(rest);
            }
            fits
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_count_and_the_budgets_and_a_restart_changes_nothing(
            steps in proptest::collection::vec(
                (0_u64..60_000, 1_u8..4, any::<bool>(), proptest::collection::btree_set(0_u32..40, 1..7)), 1..120),
            subjects_max in 1_u32..20,
            cut in 0_usize..120,
        ) {
            let windows = windows(&[("w", subjects_max, 0, 20 * DAY)]);
            let (mut scene, mut naive) = (Scene::default(), Naive::default());
            let mut released = Vec::<(_, Vec<u32>)>::new();
            let mut secs = 0;
            for (n, (pause, by, is_backfill, numbers)) in steps.into_iter().enumerate() {
                if n == cut {
                    let again = Scene::default();
                    for (how, numbers) in &released {
                        again.replay(&windows, *how, numbers);
                    }
                    prop_assert_eq!(again.taken(), scene.taken());
                    for by in 1..4 {
                        let standing = |of: &Scene| of.budgets.standing(grant(by), at(secs));
                        prop_assert_eq!(standing(&again), standing(&scene));
                    }
                    scene = again;
                }
                secs += pause;
                let how = (by, if is_backfill { "get" } else { "list" }, secs);
                let list: Vec<_> = numbers.iter().copied().collect();
                let done = scene.read(&windows, how, &list);
                prop_assert_eq!(done, naive.read(subjects_max, how, &numbers));
                if done {
                    released.push((how, list));
                }
                let days: BTreeSet<_> = released
                    .iter()
                    .filter(|(how, _)| secs - how.2 < DAY)
                    .flat_map(|(_, numbers)| numbers)
                    .collect();
                prop_assert!(days.len() <= (subjects_max + 3 * BUDGET.day) as usize);
            }
        }
    }
}
