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
    let low_bits = (0..31_u8.saturating_sub(block_bits))
        .find(|&low_bits| buckets_of(low_bits) <= touches.len() / BUCKET + 1)
        .unwrap_or(31_u8.saturating_sub(block_bits));
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
    // No wider than 31 bits, since ordinals with a name are below 2^31.
    let low = |pair: u64| ordinal_of(pair) & ((1_u32 << low_bits) - 1);
    let entries = sorted.iter().map(|entry| low(*entry) << block_bits | value_of(*entry));
    packed::write(&mut writer.out, entries, low_bits + block_bits);
    let buckets = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    PostingsInfo { at, bytes: writer.offset() - at, low_bits, block_bits, buckets }
}

/// The blocks that have a touch of a subject, in order.
pub(super) fn blocks_of(
    file: &IndexFile,
    ordinal: u32,
    bytes: &mut Vec<u8>,
) -> Result<Vec<u32>, Unreadable> {
    let Some(place) = Place::of(file, ordinal)? else { return Ok(Vec::new()) };
    file.read_raw(place.offset, place.length, bytes)?;
    Ok(place.blocks(file, ordinal, bytes)?)
}

/// As [`blocks_of`] if that needs no waiting; `None` if it does, and then the bytes are on their way.
pub(super) fn at_hand(
    file: &IndexFile,
    ordinal: u32,
    bytes: &mut Vec<u8>,
) -> Result<Option<Vec<u32>>, Unreadable> {
    let Some(place) = Place::of(file, ordinal)? else { return Ok(Some(Vec::new())) };
    if file.read_at_hand(place.offset, place.length, bytes)? {
        Ok(Some(place.blocks(file, ordinal, bytes)?))
    } else {
        Ok(None)
    }
}

const BROKEN: Damaged = Damaged("a subject's postings");

/// Where a subject's bucket lies: whole groups of packed entries.
struct Place {
    offset: u64,
    length: usize,
    /// Entries of the bucket before it in its first group.
    before: usize,
    /// Entries up to its end, those before it included.
    count: usize,
}

impl Place {
    /// `None` if no subject of this bucket was read.
    fn of(file: &IndexFile, ordinal: u32) -> Result<Option<Self>, Damaged> {
        let info = &file.footer.postings;
        let bucket = ordinal.checked_shr(u32::from(info.low_bits)).unwrap_or(0);
        if bucket >= info.buckets || ordinal >= NAMELESS {
            return Ok(None);
        }
        let ends = file.buckets.get(bucket as usize..).and_then(|rest| rest.first_chunk());
        let &[from, until] = ends.ok_or(BROKEN)?;
        // Beyond what the section can hold only if it is damaged; a bucket has some dozens of entries.
        if u64::from(until) > info.bytes * 8 || from > until {
            return Err(BROKEN);
        }
        let first_group = from / 8;
        let (before, count) =
            ((from - first_group * 8) as usize, (until - first_group * 8) as usize);
        let width = info.low_bits + info.block_bits;
        let entries = info.at + (u64::from(info.buckets) + 1) * 4;
        let offset = entries + u64::from(first_group) * u64::from(width);
        let length = packed::length(count, width);
        Ok((from < until).then_some(Self { offset, length, before, count }))
    }

    fn blocks(&self, file: &IndexFile, ordinal: u32, bytes: &[u8]) -> Result<Vec<u32>, Damaged> {
        let info = &file.footer.postings;
        let mut entries = vec![0; self.count];
        packed::read(bytes, info.low_bits + info.block_bits, &mut entries).ok_or(BROKEN)?;
        let wanted = u64::from(ordinal) & ((1 << info.low_bits) - 1);
        let block_mask = (1_u64 << info.block_bits) - 1;
        let here = entries.get(self.before..).ok_or(BROKEN)?.iter().map(|entry| u64::from(*entry));
        let matching = here.filter(|entry| entry >> info.block_bits == wanted);
        Ok(matching.map(|entry| u32::try_from(entry & block_mask).unwrap_or(0)).collect())
    }
}

/// A pair of an ordinal and the block that has it.
pub(super) fn posting(ordinal: u32, block: u32) -> u64 {
    pair(ordinal, block)
}
