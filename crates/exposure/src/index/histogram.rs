//! How often each value stands in a run: few different ones, counted in one look each.

use super::run::{ordinal_of, pair, value_of};

/// Places of a table that was just begun: four times the different values that most runs have.
const PLACES: usize = 256;

/// Counts values, none of which is 0, and then gives each the code it has in a run.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// A power of two of places, at most a quarter of them taken. A value is at the first place from its own on that is its own, or 0.
    values: Vec<u32>,
    /// Apart from the values, so that finding one does not wait for the count before it.
    counts: Vec<u32>,
    codes: Vec<u32>,
    taken: usize,
}

impl Default for Counts {
    fn default() -> Self {
        let [values, counts, codes] = [(); 3].map(|()| vec![0; PLACES]);
        Self { values, counts, codes, taken: 0 }
    }
}

impl Counts {
    /// Forgets what was counted.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.values.resize(PLACES, 0);
        self.counts.clear();
        self.counts.resize(PLACES, 0);
        self.taken = 0;
    }

    /// Counts one more of a value.
    #[inline(always)]
    pub(super) fn add(&mut self, value: u32) {
        let at = self.find(value);
        let Some(place) = self.values.get_mut(at) else { return };
        if *place == 0 {
            *place = value;
            self.taken += 1;
            if self.taken * 4 > self.values.len() {
                self.grow();
                return self.add(value);
            }
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    /// Counts the values of all pairs anew, and puts in place of each where it was counted, so that it is looked for once.
    pub(super) fn count_all(&mut self, pairs: &mut [u64]) {
        self.clear();
        while !self.count_in(pairs) {}
    }

    /// Whether there was room for all; if not there is more now, and the pairs have their values.
    fn count_in(&mut self, pairs: &mut [u64]) -> bool {
        for at in 0..pairs.len() {
            let Some(of) = pairs.get_mut(at) else { break };
            let place = self.find(value_of(*of));
            let Some(value) = self.values.get_mut(place) else { break };
            if *value == 0 {
                *value = value_of(*of);
                self.taken += 1;
            }
            if let Some(count) = self.counts.get_mut(place) {
                *count += 1;
            }
            *of = pair(ordinal_of(*of), u32::try_from(place).unwrap_or(u32::MAX));
            if self.taken * 4 > self.values.len() {
                for of in pairs.get_mut(..=at).unwrap_or_default() {
                    let value = self.values.get(value_of(*of) as usize).copied().unwrap_or(0);
                    *of = pair(ordinal_of(*of), value);
                }
                let places = self.values.len() * 2;
                (self.values, self.counts, self.taken) = (vec![0; places], vec![0; places], 0);
                return false;
            }
        }
        true
    }

    /// The code of what was counted at a place.
    #[inline(always)]
    pub(super) fn code_at(&self, place: u32) -> u32 {
        self.codes.get(place as usize).copied().unwrap_or(0)
    }

    /// Values and how often each was counted, the most frequent first, and among equals the lowest.
    pub(super) fn histogram(&self) -> Vec<(u32, u32)> {
        let all = self.values.iter().copied().zip(self.counts.iter().copied());
        let mut counts: Vec<_> = all.filter(|(value, _)| *value != 0).collect();
        counts.sort_unstable_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
        counts
    }

    /// Gives each value its place in the histogram as its code.
    pub(super) fn number(&mut self, histogram: &[(u32, u32)]) {
        self.codes.resize(self.values.len(), 0);
        for ((value, _), code) in histogram.iter().zip(0..) {
            let at = self.find(*value);
            if let Some(place) = self.codes.get_mut(at) {
                *place = code;
            }
        }
    }

    /// Where a value is, or would be.
    #[inline(always)]
    fn find(&self, value: u32) -> usize {
        let mask = self.values.len() - 1;
        // The upper half of the product, in which every bit of the value counts.
        let product = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = usize::try_from(product >> 32).unwrap_or(0) & mask;
        while let Some(other) = self.values.get(at)
            && *other != 0
            && *other != value
        {
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        let places = self.values.len() * 2;
        let values = std::mem::replace(&mut self.values, vec![0; places]);
        let counts = std::mem::replace(&mut self.counts, vec![0; places]);
        for (value, count) in values.into_iter().zip(counts).filter(|(value, _)| *value != 0) {
            let at = self.find(value);
            if let (Some(place), Some(sum)) = (self.values.get_mut(at), self.counts.get_mut(at)) {
                (*place, *sum) = (value, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_value_is_counted_and_has_its_code(
            few in prop::collection::vec(1_u32..9, 0..300),
            many in prop::collection::vec(1..u32::MAX, 0..300),
        ) {
            let (mut counts, mut wanted) = (Counts::default(), BTreeMap::new());
            (1..200).for_each(|stale| counts.add(stale));
            counts.clear();
            let given = few.into_iter().chain(many);
            for value in given.clone() {
                counts.add(value);
                *wanted.entry(value).or_insert(0_u32) += 1;
            }
            let histogram = counts.histogram();
            prop_assert!(histogram.is_sorted_by_key(|(value, count)| (std::cmp::Reverse(*count), *value)));
            prop_assert_eq!(histogram.iter().copied().collect::<BTreeMap<_, _>>(), wanted);
            // In place of their values they have codes then, if all are counted at once.
            let given: Vec<u32> = given.collect();
            let mut pairs: Vec<u64> = given.iter().zip(0..).map(|(value, n)| pair(n, *value)).collect();
            counts.count_all(&mut pairs);
            prop_assert_eq!(&counts.histogram(), &histogram);
            counts.number(&histogram);
            for ((place, value), n) in pairs.into_iter().zip(given).zip(0..) {
                prop_assert_eq!(ordinal_of(place), n);
                let code = counts.code_at(value_of(place));
                prop_assert_eq!(histogram[code as usize].0, value);
            }
        }
    }
}
