//! Counting to a small number within a while, for many keys, in bounded memory.

use model::{Micros, UnixMicros};
use std::collections::{BTreeMap, VecDeque};

/// How many strikes within how long are one too many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) strikes: usize,
    pub(crate) within: Micros,
    /// Keys kept at once; beyond it the key that was struck first is forgotten.
    pub(crate) keys_max: usize,
}

/// The recent strikes of each key.
#[derive(Debug)]
pub(crate) struct Strikes<K> {
    rule: Rule,
    recent: BTreeMap<K, VecDeque<UnixMicros>>,
    /// Every key of `recent` once, in order of its first strike.
    order: VecDeque<K>,
}

impl<K: Clone + Ord> Strikes<K> {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, recent: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Counts one strike; the number of strikes when that makes the rule's number, and the count starts afresh.
    pub(crate) fn strike(&mut self, key: &K, now: UnixMicros) -> Option<usize> {
        if !self.recent.contains_key(key) {
            if self.order.len() >= self.rule.keys_max
                && let Some(oldest) = self.order.pop_front()
            {
                self.recent.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        let times = self.recent.entry(key.clone()).or_default();
        times.retain(|&at| now.since(at) < self.rule.within);
        times.push_back(now);
        if times.len() < self.rule.strikes {
            return None;
        }
        let count = times.len();
        times.clear();
        Some(count)
    }

    /// Forgets the strikes of one key.
    pub(crate) fn forget(&mut self, key: &K) {
        if let Some(times) = self.recent.get_mut(key) {
            times.clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        assert_eq!(self.order.len(), self.recent.len());
        self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: Rule = Rule { strikes: 3, within: Micros::from_secs(300), keys_max: 4 };

    #[test]
    fn the_count_starts_afresh_after_it_was_reached() {
        let mut strikes = Strikes::new(RULE);
        let hits: Vec<_> =
            (0..7).map(|n| strikes.strike(&'a', UnixMicros::from_secs(n)).is_some()).collect();
        assert_eq!(hits, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_is_forgotten() {
        let mut strikes = Strikes::new(RULE);
        for key in 0..1_000 {
            strikes.strike(&key, UnixMicros(key));
            assert!(strikes.keys() <= 4);
        }
    }

    proptest! {
        #[test]
        fn strikes_agree_with_counting_everything(steps in proptest::collection::vec((0_u64..200, 0_u8..3), 1..100)) {
            let mut strikes = Strikes::new(RULE);
            let mut all: Vec<(u8, UnixMicros)> = Vec::new();
            let mut now = UnixMicros::from_secs(10);
            for (pause, key) in steps {
                now = now + Micros::from_secs(pause);
                all.push((key, now));
                let within = all.iter().filter(|(k, at)| *k == key && now.since(*at) < RULE.within).count();
                let expected = (within >= 3).then_some(3);
                if expected.is_some() {
                    all.retain(|(k, _)| *k != key);
                }
                prop_assert_eq!(strikes.strike(&key, now), expected);
            }
        }
    }
}
