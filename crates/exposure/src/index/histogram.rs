//! How often each value stands in a run: few different ones, counted in one look each.

/// Places of a table that was just begun: four times the different values that most runs have.
const PLACES: usize = 256;

/// Counts values, and then gives each the code it has in a run.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// A power of two of places, at most a quarter of them taken. A value is at the first free place from its own on.
    places: Vec<Place>,
    taken: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    value: u32,
    /// 0: free.
    count: u32,
    code: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self { places: vec![Place::default(); PLACES], taken: 0 }
    }
}

impl Counts {
    /// Counts one more of a value.
    #[inline(always)]
    pub(super) fn add(&mut self, value: u32) {
        let at = self.find(value);
        let Some(place) = self.places.get_mut(at) else { return };
        place.count += 1;
        if place.count == 1 {
            place.value = value;
            self.taken += 1;
            self.grow();
        }
    }

    /// The code of a value that was counted.
    #[inline(always)]
    pub(super) fn code(&self, value: u32) -> u32 {
        self.places.get(self.find(value)).map_or(0, |place| place.code)
    }

    /// Values and how often each was counted, the most frequent first, and among equals the lowest.
    pub(super) fn histogram(&self) -> Vec<(u32, u32)> {
        let taken = self.places.iter().filter(|place| place.count > 0);
        let mut counts: Vec<_> = taken.map(|place| (place.value, place.count)).collect();
        counts.sort_unstable_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
        counts
    }

    /// Gives each value its place in the histogram as its code.
    pub(super) fn number(&mut self, histogram: &[(u32, u32)]) {
        for ((value, _), code) in histogram.iter().zip(0..) {
            let at = self.find(*value);
            if let Some(place) = self.places.get_mut(at) {
                place.code = code;
            }
        }
    }

    /// Where a value is, or would be.
    #[inline(always)]
    fn find(&self, value: u32) -> usize {
        let mask = self.places.len() - 1;
        // The middle of the product: every bit of the value counts for it, and a table has at most 2^30 places.
        let product = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = usize::try_from(product >> 32).unwrap_or(0) & mask;
        while let Some(place) = self.places.get(at)
            && place.count > 0
            && place.value != value
        {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        if self.taken * 4 <= self.places.len() {
            return;
        }
        let room = vec![Place::default(); self.places.len() * 2];
        for old in std::mem::replace(&mut self.places, room) {
            let at = self.find(old.value);
            if old.count > 0
                && let Some(place) = self.places.get_mut(at)
            {
                *place = old;
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
            few in prop::collection::vec(0_u32..9, 0..300),
            many in prop::collection::vec(any::<u32>(), 0..300),
        ) {
            let (mut counts, mut wanted) = (Counts::default(), BTreeMap::new());
            for value in few.into_iter().chain(many) {
                counts.add(value);
                *wanted.entry(value).or_insert(0_u32) += 1;
            }
            let histogram = counts.histogram();
            prop_assert!(histogram.is_sorted_by_key(|(value, count)| (std::cmp::Reverse(*count), *value)));
            prop_assert_eq!(histogram.iter().copied().collect::<BTreeMap<_, _>>(), wanted);
            counts.number(&histogram);
            for ((value, _), code) in histogram.iter().zip(0..) {
                prop_assert_eq!(counts.code(*value), code);
            }
        }
    }
}
