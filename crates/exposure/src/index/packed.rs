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
pub(super) fn write(out: &mut Vec<u8>, values: impl Iterator<Item = u32>, width: u8) {
    if width == 0 {
        return;
    }
    let (mut word, mut bits, mut count) = (0_u64, 0_u32, 0_usize);
    for value in values {
        word |= u64::from(value) << bits;
        bits += u32::from(width);
        count += 1;
        if bits >= u32::BITS {
            let [low, high] = halves(word);
            out.extend_from_slice(&low.to_le_bytes());
            word = u64::from(high);
            bits -= u32::BITS;
        }
    }
    // What is left, and zeros up to the end of the last group.
    let padding = (count.next_multiple_of(GROUP) - count) * usize::from(width);
    let left = (bits as usize + padding).div_ceil(8);
    let bytes = word.to_le_bytes();
    let (known, zeros) = (left.min(bytes.len()), left.saturating_sub(bytes.len()));
    out.extend_from_slice(bytes.get(..known).unwrap_or(&bytes));
    out.resize(out.len() + zeros, 0);
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
            write(&mut bytes, values.iter().copied(), width);
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
