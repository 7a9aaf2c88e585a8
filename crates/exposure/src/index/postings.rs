//! Where a subject is: for each, the blocks of a part that have a touch of it.
//!
//! ```text
//! postings = where each bucket begins u32*(buckets + 1) | marks u64* | bucket*          integers little-endian
//! bucket   = CRC32C u32 | entries u32 | packed entries                    nothing if it has no entries
//! entry    = low bits of the ordinal, then the block
//! ```
//!
//! An ordinal's higher bits are its bucket. Where buckets begin is held in memory, so one short read finds what there is. Both are checked
//! before they are believed: a pointer that is lost would be a release that nobody is told of. Subjects without a name have no postings.
//!
//! The *marks*, held in memory too, tell of most subjects who were not read in a part that they were not, without a read: a history of 90 days
//! is mostly days on which nothing was read. They are a Bloom filter, each subject two bits of one word.

use super::file::{IndexFile, Writer};
use super::footer::PostingsInfo;
use super::run::{ordinal_of, value_of};
use super::table::NAMELESS;
use super::{Damaged, Unreadable, packed};

/// Entries in a bucket, about: a bucket is one short read.
const BUCKET: usize = 64;

/// Writes the postings of `touches`, whose upper halves are ordinals in order and whose lower ones lead to a block each; the blocks of one ordinal are in order.
pub(super) fn write(
    writer: &mut Writer,
    touches: &[u64],
    blocks: usize,
    block_of: impl Fn(u32) -> u32,
) -> PostingsInfo {
    let named = touches.partition_point(|touch| ordinal_of(*touch) < NAMELESS);
    let (named, _) = touches.split_at(named);
    let Some(highest) = named.last().map(|touch| ordinal_of(*touch)) else {
        return PostingsInfo::default();
    };
    let block_bits = packed::width_of(u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX));
    let buckets_of = |low_bits: u8| (highest >> low_bits) as usize + 1;
    let low_bits = (0..31_u8.saturating_sub(block_bits))
        .find(|&low_bits| buckets_of(low_bits) <= touches.len() / BUCKET + 1)
        .unwrap_or(31_u8.saturating_sub(block_bits));
    let count = buckets_of(low_bits);

    // No wider than 31 bits, since ordinals with a name are below 2^31.
    let low_mask = (1_u32 << low_bits) - 1;
    let at = writer.offset();
    let table_at = writer.out.len();
    let subjects = named.chunk_by(|a, b| ordinal_of(*a) == ordinal_of(*b)).count();
    let mut marks = vec![0_u64; subjects.div_ceil(SUBJECTS_OF_A_WORD)];
    let words = place(marks.len());
    let buckets_at = table_at + (count + 1) * 4 + marks.len() * 8;
    writer.out.resize(buckets_at, 0);
    let mut table = Vec::with_capacity(buckets_at - table_at);
    let mut entries = Vec::new();
    let mut rest = named.iter().copied().peekable();
    for number in 0..count {
        table.extend_from_slice(&place(writer.out.len() - buckets_at).to_le_bytes());
        entries.clear();
        while let Some(touch) =
            rest.next_if(|touch| (ordinal_of(*touch) >> low_bits) as usize == number)
        {
            let (word, bits) = mark_of(ordinal_of(touch), words);
            if let Some(marked) = marks.get_mut(word) {
                *marked |= bits;
            }
            let entry = (ordinal_of(touch) & low_mask) << block_bits | block_of(value_of(touch));
            if entries.last() != Some(&entry) {
                entries.push(entry);
            }
        }
        if !entries.is_empty() {
            bucket(&mut writer.out, &entries, low_bits + block_bits);
        }
    }
    table.extend_from_slice(&place(writer.out.len() - buckets_at).to_le_bytes());
    marks.iter().for_each(|word| table.extend_from_slice(&word.to_le_bytes()));
    if let Some(room) = writer.out.get_mut(table_at..buckets_at) {
        room.copy_from_slice(&table);
    }
    PostingsInfo {
        at,
        bytes: writer.offset() - at,
        low_bits,
        block_bits,
        buckets: place(count),
        marks: words,
        table_crc: crc32c::crc32c(&table),
    }
}

/// Subjects that share a word of marks: of those who were not read, 15 in 100 are looked for all the same.
const SUBJECTS_OF_A_WORD: usize = 16;

/// Which of so many words has a subject's marks, and which they are.
fn mark_of(ordinal: u32, words: u32) -> (usize, u64) {
    // Ordinals are given one after another, so the bits of the product are as good as those of a hash.
    let mixed = u64::from(ordinal).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = ((mixed >> 32) * u64::from(words)) >> 32;
    let bits = 1 << (mixed >> 6 & 63) | 1 << (mixed & 63);
    (usize::try_from(word).unwrap_or(usize::MAX), bits)
}

fn bucket(out: &mut Vec<u8>, entries: &[u32], width: u8) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&place(entries.len()).to_le_bytes());
    packed::write(out, entries, width);
    let body = out.get(start + 4..).unwrap_or_default();
    let crc = crc32c::crc32c(body).to_le_bytes();
    if let Some(room) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *room = crc;
    }
}

/// A part has fewer entries, and less than 4 GiB of them.
fn place(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
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

/// Where a subject's bucket lies.
struct Place {
    offset: u64,
    length: usize,
}

impl Place {
    /// `None` if no subject of this bucket was read.
    fn of(file: &IndexFile, ordinal: u32) -> Result<Option<Self>, Damaged> {
        let info = &file.footer.postings;
        let bucket = ordinal.checked_shr(u32::from(info.low_bits)).unwrap_or(0);
        if bucket >= info.buckets || ordinal >= NAMELESS {
            return Ok(None);
        }
        let (word, bits) = mark_of(ordinal, info.marks);
        if file.marks.get(word).ok_or(BROKEN)? & bits != bits {
            return Ok(None);
        }
        let ends = file.buckets.get(bucket as usize..).and_then(|rest| rest.first_chunk());
        let &[from, until] = ends.ok_or(BROKEN)?;
        let length = until.checked_sub(from).ok_or(BROKEN)?;
        let offset = info.at.checked_add(info.table_bytes() + u64::from(from)).ok_or(BROKEN)?;
        Ok((length > 0).then_some(Self { offset, length: length as usize }))
    }

    fn blocks(&self, file: &IndexFile, ordinal: u32, bytes: &[u8]) -> Result<Vec<u32>, Damaged> {
        let info = &file.footer.postings;
        let (crc, body) = bytes.split_first_chunk().ok_or(BROKEN)?;
        let (count, entries) = body.split_first_chunk().ok_or(BROKEN)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(BROKEN);
        }
        let width = info.low_bits.checked_add(info.block_bits).ok_or(BROKEN)?;
        let count = u32::from_le_bytes(*count) as usize;
        // Where there is one subject and one block, there is one entry, of no bits.
        if packed::length(count, width) != entries.len() || (width == 0 && count > 1) {
            return Err(BROKEN);
        }
        let mut numbers = vec![0; count];
        packed::read(entries, width, &mut numbers).ok_or(BROKEN)?;
        let wanted = u64::from(ordinal) & ((1 << info.low_bits) - 1);
        let block_mask = (1_u64 << info.block_bits) - 1;
        let numbers = numbers.iter().map(|entry| u64::from(*entry));
        let matching = numbers.filter(|entry| entry >> info.block_bits == wanted);
        Ok(matching.map(|entry| u32::try_from(entry & block_mask).unwrap_or(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_who_were_not_read_are_known_to_be_absent_without_a_read() {
        // Every tenth of the ordinals that were given.
        let there: Vec<u32> = (0..16_000).map(|number| number * 10).collect();
        let words = place(there.len().div_ceil(SUBJECTS_OF_A_WORD));
        let mut marks = vec![0; words as usize];
        for ordinal in &there {
            let (word, bits) = mark_of(*ordinal, words);
            marks[word] |= bits;
        }
        let is_marked = |ordinal: u32| {
            let (word, bits) = mark_of(ordinal, words);
            marks[word] & bits == bits
        };
        assert!(there.iter().all(|ordinal| is_marked(*ordinal)));
        let absent = (0..160_000).filter(|ordinal| ordinal % 10 != 0);
        let looked_for = absent.filter(|ordinal| is_marked(*ordinal)).count();
        assert!(looked_for < 144_000 * 18 / 100, "{looked_for}");
    }
}
