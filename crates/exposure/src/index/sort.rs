//! Sorting pairs by what is in their upper half, an ordinal mostly: digit by digit, because comparing takes three times as long.

use super::packed;

/// Below this many, comparing is faster than counting digits.
const FEW: usize = if cfg!(test) { 3 } else { 192 };

/// Digits of twelve bits for many, whose counters fit the first-level cache; of eight where more counters would cost more than a pass.
const MANY: usize = if cfg!(test) { 30 } else { 1 << 13 };

/// Sorts by the upper halves; items with the same one stay in the order they have. `spare` is room to work in: what it holds is lost.
pub(super) fn by_upper(items: &mut Vec<u64>, spare: &mut Vec<u64>) {
    if items.len() < FEW {
        items.sort_by_key(|item| item >> 32);
        return;
    }
    let all = items.iter().fold(0, |bits, item| bits | item);
    let width = packed::width_of(u32::try_from(all >> 32).unwrap_or(u32::MAX));
    let passes = width.div_ceil(if items.len() < MANY { 8 } else { 12 });
    if passes == 0 {
        return;
    }
    let digit = width.div_ceil(passes);
    // What was in it before is written over, so it need not be emptied.
    spare.resize(items.len(), 0);
    for pass in 0..passes {
        scatter(items, spare, 32 + u32::from(pass * digit), digit);
        std::mem::swap(items, spare);
    }
}

/// Copies the items in order of one digit.
fn scatter(items: &[u64], to: &mut [u64], shift: u32, digit: u8) {
    const PLACES: usize = 1 << 12;
    let mut places = [0_usize; PLACES];
    let mask = (1_u64 << digit) - 1;
    // Masked once more with a constant, so that no place is checked.
    let digit_of = |item: u64| usize::try_from(item >> shift & mask).unwrap_or(0) % PLACES;
    for item in items {
        if let Some(place) = places.get_mut(digit_of(*item)) {
            *place += 1;
        }
    }
    let mut total = 0;
    for place in &mut places {
        total += std::mem::replace(place, total);
    }
    for item in items {
        if let Some(place) = places.get_mut(digit_of(*item))
            && let Some(slot) = to.get_mut(*place)
        {
            *slot = *item;
            *place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_comparing_does(items: Vec<u64>, shift in 0_u32..33, stale in prop::collection::vec(any::<u64>(), 0..90)) {
            let mut sorted: Vec<u64> = items.iter().map(|item| item >> shift).collect();
            let mut wanted = sorted.clone();
            wanted.sort_by_key(|item| item >> 32);
            by_upper(&mut sorted, &mut { stale });
            prop_assert_eq!(sorted, wanted);
        }
    }
}
