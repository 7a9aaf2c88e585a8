//! Where a subject is: for each, the blocks of a part that have a touch of it.
//!
//! ```text
//! postings = entries before bucket u32*(buckets + 1) | packed entries          integers little-endian
//! entry    = low bits of the ordinal, then the block
//! ```
//!
//! An ordinal's higher bits are its bucket, so that two short reads find what there is. Subjects without a name have no postings.

use super::file::{IndexFile, PostingsInfo, Writer};
use super::run::{ordinal_of, pair, value_of};
use super::table::NAMELESS;
use super::{Damaged, Unreadable, packed};

/// Entries in a bucket, about: a bucket is one short read.
const BUCKET: usize = 64;

/// Writes the postings of `touches`, pairs of ordinal and block.
pub(super) fn write(writer: &mut Writer, touches: &[u64], blocks: usize) -> PostingsInfo {
    let named = || touches.iter().copied().filter(|pair| ordinal_of(*pair) < NAMELESS);
    let Some(highest) = named().map(ordinal_of).max() else { return PostingsInfo::default() };
    let block_bits = packed::width_of(u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX));
    let buckets_of = |low_bits: u8| (highest >> low_bits) as usize + 1;
    let low_bits = (0..32 - block_bits)
        .find(|&low_bits| buckets_of(low_bits) <= touches.len() / BUCKET + 1)
        .unwrap_or(32 - block_bits);
    let bucket = |pair: u64| (ordinal_of(pair) >> low_bits) as usize;

    // Sorted by bucket in two passes, then within each bucket.
    let mut ends = vec![0_usize; buckets_of(low_bits)];
    for pair in named() {
        if let Some(end) = ends.get_mut(bucket(pair)) {
            *end += 1;
        }
    }
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    let mut sorted = vec![0_u64; total];
    for pair in named() {
        // While filling, an end is where the next of its bucket goes.
        if let Some(end) = ends.get_mut(bucket(pair))
            && let Some(slot) = sorted.get_mut(*end)
        {
            *slot = pair;
            *end += 1;
        }
    }
    let mut start = 0;
    for end in &ends {
        if let Some(of_bucket) = sorted.get_mut(start..*end) {
            of_bucket.sort_unstable();
        }
        start = *end;
    }
    sorted.dedup();

    let at = writer.offset();
    let mut last_bucket = None;
    for (entry, before) in sorted.iter().zip(0_u32..) {
        for _ in last_bucket.map_or(0, |last: usize| last + 1)..bucket(*entry) + 1 {
            writer.out.extend_from_slice(&before.to_le_bytes());
        }
        last_bucket = Some(bucket(*entry));
    }
    let all = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
    writer.out.extend_from_slice(&all.to_le_bytes());
    let low = |pair: u64| ordinal_of(pair) & ((1_u64 << low_bits) - 1) as u32;
    let entries = sorted.iter().map(|entry| low(*entry) << block_bits | value_of(*entry));
    packed::write(&mut writer.out, entries, low_bits + block_bits);
    let buckets = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    PostingsInfo { at, bytes: writer.offset() - at, low_bits, block_bits, buckets }
}

/// Says that the postings of a subject will be read soon.
pub(super) fn expect(file: &IndexFile, ordinal: u32) {
    let info = &file.footer.postings;
    let bucket = ordinal.checked_shr(u32::from(info.low_bits)).unwrap_or(0);
    if bucket < info.buckets {
        file.expect(info.at + u64::from(bucket) * 4, 8);
    }
}

/// The blocks that have a touch of a subject, in order.
pub(super) fn blocks_of(
    file: &IndexFile,
    ordinal: u32,
    bytes: &mut Vec<u8>,
) -> Result<Vec<u32>, Unreadable> {
    const BROKEN: Unreadable = Unreadable::Damaged("a subject's postings");
    let Some((from, until)) = entries_of(file, ordinal, bytes)? else { return Ok(Vec::new()) };
    let info = &file.footer.postings;
    let width = info.low_bits + info.block_bits;
    let (first_group, count) = (from / 8, (until - from / 8 * 8) as usize);
    let at = info.at + (u64::from(info.buckets) + 1) * 4;
    let offset = at + u64::from(first_group) * u64::from(width);
    file.read_raw(offset, packed::length(count, width), bytes)?;
    let mut entries = vec![0; count];
    packed::read(bytes, width, &mut entries).ok_or(BROKEN)?;
    let low_mask = (1_u64 << info.low_bits) - 1;
    let wanted = u64::from(ordinal) & low_mask;
    let here = entries.get((from - first_group * 8) as usize..).ok_or(BROKEN)?;
    let matching = here.iter().filter(|entry| u64::from(**entry) >> info.block_bits == wanted);
    let block_mask = (1_u64 << info.block_bits) - 1;
    let blocks = matching.map(|entry| u32::try_from(u64::from(*entry) & block_mask).unwrap_or(0));
    Ok(blocks.collect())
}

/// Which entries are in a subject's bucket.
fn entries_of(
    file: &IndexFile,
    ordinal: u32,
    bytes: &mut Vec<u8>,
) -> Result<Option<(u32, u32)>, Unreadable> {
    let info = &file.footer.postings;
    let bucket = ordinal.checked_shr(u32::from(info.low_bits)).unwrap_or(0);
    if bucket >= info.buckets || ordinal >= NAMELESS {
        return Ok(None);
    }
    file.read_raw(info.at + u64::from(bucket) * 4, 8, bytes)?;
    let (&[a, b, c, d, e, f, g, h], _) =
        bytes.split_first_chunk().ok_or(Damaged("a subject's postings"))?;
    let (from, until) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    // Beyond what the section can hold only if it is damaged; a bucket has some dozens of entries.
    let whole = u64::from(until) <= info.bytes * 8 && from <= until;
    if whole {
        Ok((from < until).then_some((from, until)))
    } else {
        Err(Damaged("a subject's postings").into())
    }
}

/// A pair of an ordinal and the block that has it.
pub(super) fn posting(ordinal: u32, block: u32) -> u64 {
    pair(ordinal, block)
}
