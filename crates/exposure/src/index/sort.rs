//! Sorting at most 2^32 pairs by what is in their upper half, an ordinal mostly: digit by digit, because comparing takes three times as long.

use super::packed;
use std::ops::Range;

/// Below this many, comparing is faster than counting digits.
const FEW: usize = if cfg!(test) { 3 } else { 192 };

/// So many are sorted by digits of twelve bits; fewer do not pay for the counters, and more than fit the second-level cache
/// are written to too many places at once. Measured, as is the other.
const WIDE: Range<usize> = if cfg!(test) { 9..40 } else { (1 << 12)..(1 << 18) };

/// Digits of one pass over what does not fit the second-level cache, and of passes over little.
const NARROW: u8 = 8;

/// Sorts by the upper halves; items with the same one stay in the order they have. `spare` is room to work in: what it holds is lost.
pub(super) fn by_upper(items: &mut Vec<u64>, spare: &mut Vec<u64>) {
    if items.len() < FEW {
        items.sort_by_key(|item| item >> 32);
        return;
    }
    let all = items.iter().fold(0, |bits, item| bits | item);
    let width = packed::width_of(u32::try_from(all >> 32).unwrap_or(u32::MAX));
    if spare.capacity() < items.len() {
        make_room(spare, items.len());
    }
    // What was in it before is written over, so it need not be emptied.
    spare.resize(items.len(), 0);
    if items.len() < WIDE.end || width <= NARROW {
        if by_lowest(items, spare, width) {
            std::mem::swap(items, spare);
        }
        return;
    }
    // By the highest digit first: what is left to be sorted lies close together, and the cache is left once and not with each digit.
    let rest = width - NARROW;
    let ends = scatter::<{ 1 << NARROW }>(items, spare, 32 + u32::from(rest), NARROW);
    std::mem::swap(items, spare);
    let (mut items, mut spare) = (items.as_mut_slice(), spare.as_mut_slice());
    let mut start = 0;
    for end in ends {
        let (these, later) = items.split_at_mut((end - start) as usize);
        let (room, later_room) = spare.split_at_mut(these.len());
        if these.len() < FEW {
            these.sort_by_key(|item| item >> 32);
        } else if by_lowest(these, room, rest) {
            these.copy_from_slice(room);
        }
        (items, spare, start) = (later, later_room, end);
    }
}

/// Empties a list, with room for so many. Letting it grow would copy what is no longer needed. Days and weeks are much alike, so there is
/// some to spare; what is not used takes no memory.
pub(super) fn make_room<T>(list: &mut Vec<T>, most: usize) {
    list.clear();
    if list.capacity() < most {
        *list = Vec::with_capacity(most + most / 8);
    }
}

/// Sorts by so many of the lowest bits of the upper halves, the lowest digit first. Whether what is sorted is in `spare`.
fn by_lowest(items: &mut [u64], spare: &mut [u64], width: u8) -> bool {
    let wide = WIDE.contains(&items.len());
    let passes = width.div_ceil(if wide { 12 } else { NARROW });
    let digit = width.div_ceil(passes.max(1));
    let (mut from, mut to) = (items, spare);
    for pass in 0..passes {
        let shift = 32 + u32::from(pass * digit);
        if wide {
            scatter::<{ 1 << 12 }>(from, to, shift, digit);
        } else {
            scatter::<{ 1 << NARROW }>(from, to, shift, digit);
        }
        std::mem::swap(&mut from, &mut to);
    }
    passes % 2 == 1
}

/// Copies the items in order of one digit, of which there are at most `N`. Where the items of each digit end.
fn scatter<const N: usize>(items: &[u64], to: &mut [u64], shift: u32, digit: u8) -> [u32; N] {
    let mut places = [0_u32; N];
    let mask = (1_u64 << digit) - 1;
    // Divided by a constant once more, so that no place is checked.
    let digit_of = |item: u64| usize::try_from(item >> shift & mask).unwrap_or(0) % N;
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
            && let Some(slot) = to.get_mut(*place as usize)
        {
            *slot = *item;
            *place += 1;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_comparing_does(items in prop::collection::vec(any::<u64>(), 0..100), shift in 0_u32..33, stale in prop::collection::vec(any::<u64>(), 0..90)) {
            let mut sorted: Vec<u64> = items.iter().map(|item| item >> shift).collect();
            let mut wanted = sorted.clone();
            wanted.sort_by_key(|item| item >> 32);
            by_upper(&mut sorted, &mut { stale });
            prop_assert_eq!(sorted, wanted);
        }
    }
}
