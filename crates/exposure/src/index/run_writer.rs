//! Writes a run, whose format is that of [`super::run`].

use super::histogram::Counts;
use super::packed;
use super::run::{BLOCK, code_width, ordinal_of, value_of};

/// Appends the run of `pairs`, which are in order of ordinal, each once, and have no values afterwards. `set_number` gives a value its number in
/// the file's list. `counts` is memory to count in.
pub(super) fn write(
    out: &mut Vec<u8>,
    pairs: &mut [u64],
    counts: &mut Counts,
    mut set_number: impl FnMut(u32) -> u32,
) {
    counts.count_all(pairs);
    let histogram = counts.histogram();
    counts.number(&histogram);
    write_head(out, &histogram, &mut set_number);
    let common = common_width(&histogram);
    out.push(common);
    let escape = (1_u32 << common) - 1;
    let wide = code_width(histogram.len());
    let (mut gaps, mut codes) = ([0; BLOCK], [0; BLOCK]);
    for block in pairs.chunks(BLOCK) {
        let [first, later @ ..] = block else { continue };
        let mut bits = 0;
        for (gap, (pair, next)) in gaps.iter_mut().zip(block.iter().zip(later)) {
            *gap = ordinal_of(*next) - ordinal_of(*pair) - 1;
            bits |= *gap;
        }
        // The bits of all gaps together are as many as those of the largest.
        let gap_width = packed::width_of(bits);
        for (code, pair) in codes.iter_mut().zip(block) {
            *code = counts.code_at(value_of(*pair));
        }
        let codes = codes.get_mut(..block.len()).unwrap_or_default();
        let (mut rare, mut found) = ([0; BLOCK], 0);
        if common < wide {
            for code in &mut *codes {
                if let Some(slot) = rare.get_mut(found) {
                    *slot = *code;
                }
                found += usize::from(*code >= escape);
                *code = (*code).min(escape);
            }
        }
        out.extend_from_slice(&ordinal_of(*first).to_le_bytes());
        out.push(gap_width);
        out.push(u8::try_from(found).unwrap_or(u8::MAX));
        packed::write(out, gaps.get(..later.len()).unwrap_or(&gaps), gap_width);
        packed::write(out, codes, common);
        packed::write(out, rare.get(..found).unwrap_or(&rare), wide);
    }
}

/// Appends only what stands before the blocks: a run of which nothing but the numbers is kept.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    histogram: &[(u32, u32)],
    set_number: &mut impl FnMut(u32) -> u32,
) {
    write_number(out, u32::try_from(histogram.len()).unwrap_or(u32::MAX));
    for (value, subjects) in histogram {
        write_number(out, set_number(*value));
        write_number(out, *subjects);
    }
}

/// In how many bits most codes of a run are written: as many as make it shortest.
fn common_width(histogram: &[(u32, u32)]) -> u8 {
    let wide = code_width(histogram.len());
    let all: u64 = histogram.iter().map(|(_, count)| u64::from(*count)).sum();
    let bits = |width: u8| {
        let rare =
            histogram.iter().skip((1_usize << width) - 1).map(|(_, count)| u64::from(*count));
        let rare = if width == wide { 0 } else { rare.sum::<u64>() };
        all * u64::from(width) + rare * u64::from(wide)
    };
    (0..=wide).min_by_key(|width| bits(*width)).unwrap_or(wide)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn write_number(out: &mut Vec<u8>, number: u32) {
    let mut rest = number;
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}
