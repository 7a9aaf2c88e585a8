//! Numbers in as few bits as their largest one takes. Groups of eight, so that a group is a whole number of bytes.

/// Numbers in one group; the last group of a list is filled with zeros.
const GROUP: usize = 8;

/// How many bits `largest` takes.
pub(super) const fn width_of(largest: u32) -> u8 {
    let [bits, ..] = (u32::BITS - largest.leading_zeros()).to_le_bytes();
    bits
}

/// How many bytes `count` numbers of `width` bits take.
pub(super) const fn length(count: usize, width: u8) -> usize {
    count.div_ceil(GROUP) * width as usize
}

/// Appends the numbers of `values`, each of which must fit `width` bits.
pub(super) fn write(out: &mut Vec<u8>, values: &[u32], width: u8) {
    let start = out.len();
    out.resize(start + length(values.len(), width), 0);
    let room = out.get_mut(start..).unwrap_or_default();
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                0 => {}
                $($w => write_groups::<$w>(values, room),)*
                _ => assert!(width <= 32, "numbers of more than 32 bits"),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// One function for each width, so that every shift in it is a constant.
fn write_groups<const W: usize>(values: &[u32], room: &mut [u8]) {
    let (groups, _) = room.as_chunks_mut::<W>();
    let (whole, rest) = values.as_chunks::<GROUP>();
    for (group, values) in groups.iter_mut().zip(whole) {
        write_group(values, group);
    }
    if let Some(group) = groups.get_mut(whole.len()) {
        let mut last = [0; GROUP];
        last.iter_mut().zip(rest).for_each(|(to, value)| *to = *value);
        write_group(&last, group);
    }
}

#[inline(always)]
fn write_group<const W: usize>(values: &[u32; GROUP], group: &mut [u8; W]) {
    // Constant bounds: the loop is unrolled, and every place in it is a constant.
    let mut words = [0_u64; 5];
    let mut bit = 0;
    for value in values {
        let value = u64::from(*value);
        if let Some(word) = words.get_mut(bit / 64) {
            *word |= value << (bit % 64);
        }
        if bit % 64 + W > 64
            && let Some(word) = words.get_mut(bit / 64 + 1)
        {
            *word |= value >> (64 - bit % 64);
        }
        bit += W;
    }
    let mut bytes = [0_u8; 40];
    for (eight, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *eight = word.to_le_bytes();
    }
    if let Some(front) = bytes.first_chunk::<W>() {
        *group = *front;
    }
}

/// Reads `out.len()` numbers of `width` bits from the front of `bytes`. `None` if there are too few bytes or the width is above 32.
pub(super) fn read(bytes: &[u8], width: u8, out: &mut [u32]) -> Option<()> {
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                0 => {
                    out.fill(0);
                    Some(())
                }
                $($w => read_groups::<$w>(bytes, out),)*
                _ => None,
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// One function for each width, so that every shift in it is a constant.
fn read_groups<const W: usize>(bytes: &[u8], out: &mut [u32]) -> Option<()> {
    let (groups, _) = bytes.get(..out.len().div_ceil(GROUP) * W)?.as_chunks::<W>();
    let (whole, rest) = out.as_chunks_mut::<GROUP>();
    for (group, to) in groups.iter().zip(&mut *whole) {
        *to = read_group(group);
    }
    if let Some(group) = groups.get(whole.len()) {
        for (to, value) in rest.iter_mut().zip(read_group(group)) {
            *to = value;
        }
    }
    Some(())
}

#[inline(always)]
fn read_group<const W: usize>(group: &[u8; W]) -> [u32; GROUP] {
    let mask = u64::MAX >> (64 - W);
    let mut numbers = [0_u32; GROUP];
    let mut bit = 0;
    // Constant bounds: the loops are unrolled, and every offset in them is a constant.
    if W <= 8 {
        // The whole group is one word.
        let mut word = [0_u8; 8];
        if let Some(front) = word.first_chunk_mut::<W>() {
            *front = *group;
        }
        let word = u64::from_le_bytes(word);
        for number in &mut numbers {
            let [low, _] = halves(word >> bit & mask);
            *number = low;
            bit += W;
        }
        return numbers;
    }
    // Eight bytes of zeros behind the group, so that each number is one load and one shift.
    let mut padded = [0_u8; 40];
    if let Some(front) = padded.first_chunk_mut::<W>() {
        *front = *group;
    }
    for number in &mut numbers {
        let bytes = padded.get(bit / 8..bit / 8 + 8).and_then(|bytes| bytes.first_chunk());
        let word = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let [low, _] = halves(word >> (bit % 8) & mask);
        *number = low;
        bit += W;
    }
    numbers
}

/// The lower and the upper half.
#[inline(always)]
const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The `index`-th number of `width` bits; `None` beyond the end of `bytes`.
#[cfg(test)]
fn get(bytes: &[u8], width: u8, index: usize) -> Option<u32> {
    let mut out = vec![0; index + 1];
    read(bytes, width, &mut out)?;
    out.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_packing(values in prop::collection::vec(any::<u32>(), 0..300), shift in 0_u32..32) {
            let values: Vec<u32> = values.iter().map(|value| value >> shift).collect();
            let width = width_of(values.iter().copied().max().unwrap_or(0));
            let mut bytes = Vec::new();
            write(&mut bytes, &values, width);
            prop_assert_eq!(bytes.len(), length(values.len(), width));
            let mut read_back = vec![0; values.len()];
            prop_assert_eq!(read(&bytes, width, &mut read_back), Some(()));
            prop_assert_eq!(&read_back, &values);
            if let Some(last) = values.len().checked_sub(1) {
                prop_assert_eq!(get(&bytes, width, last), values.last().copied());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, width: u8, count in 0_usize..200) {
            let _ = read(&bytes, width, &mut vec![0; count]);
        }
    }
}
