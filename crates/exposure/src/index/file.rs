//! One file of the index: sections of data, then a footer that says what lies where. `docs/index-format.md` is the format.
//!
//! The footer is held in memory while the file is open; data is read when it is asked for, and checked against its checksum.

use super::footer::{END, Extent, Footer, Length, MAGIC, RowMark, RunInfo, Span, Whose};
use super::histogram::Counts;
use super::masks::{Masks, SetList};
use super::run_writer;
use super::{ReadRange, Unreadable};
use model::{Digest, IntegrationId, Pseudonym};
use std::io;

/// An open file.
pub struct IndexFile {
    pub(super) footer: Footer,
    /// Where each bucket of the postings begins.
    pub(super) buckets: Vec<u32>,
    /// Marks of the subjects that have postings.
    pub(super) marks: Vec<u64>,
    data: Box<dyn ReadRange>,
    sizes: Sizes,
}

impl IndexFile {
    /// Opens a file of `length` bytes.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`]: it has to be built again, which loses nothing.
    pub fn open(data: Box<dyn ReadRange>, length: u64) -> Result<Self, Unreadable> {
        const BROKEN: Unreadable = Unreadable::Damaged("an index file's footer");
        let end_at = length.checked_sub(END as u64).ok_or(BROKEN)?;
        let mut bytes = Vec::new();
        data.read(end_at, END, &mut bytes)?;
        let (footer_bytes, rest) = bytes.split_first_chunk().ok_or(BROKEN)?;
        let (crc, magic) = rest.split_first_chunk().ok_or(BROKEN)?;
        let (footer_bytes, crc) = (u32::from_le_bytes(*footer_bytes), u32::from_le_bytes(*crc));
        let footer_at = end_at.checked_sub(u64::from(footer_bytes)).ok_or(BROKEN)?;
        if magic != MAGIC {
            return Err(BROKEN);
        }
        data.read(footer_at, footer_bytes as usize, &mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(BROKEN);
        }
        let footer = Footer::decode(&bytes).ok_or(BROKEN)?;
        if !footer.is_sound(footer_at) {
            return Err(BROKEN);
        }
        let sum = |extents: &mut dyn Iterator<Item = &Extent>| -> u64 {
            extents.map(|extent| u64::from(extent.bytes)).sum()
        };
        let touches = sum(&mut footer.blocks.iter().map(|block| &block.at))
            + sum(&mut footer.networks.iter().map(|network| &network.at));
        let sizes = Sizes {
            runs: length.saturating_sub(touches).saturating_sub(footer.postings.bytes),
            touches,
            postings: footer.postings.bytes,
        };
        let postings = &footer.postings;
        let (mut buckets, mut marks) = (Vec::new(), Vec::new());
        if postings.bytes > 0 {
            let table = postings.table_bytes();
            if table > postings.bytes || postings.bytes > length {
                return Err(BROKEN);
            }
            data.read(postings.at, usize::try_from(table).map_err(|_| BROKEN)?, &mut bytes)?;
            if crc32c::crc32c(&bytes) != postings.table_crc {
                return Err(BROKEN);
            }
            let marks_at = bytes.len() - postings.marks as usize * 8;
            let (words, of_marks) = bytes.split_at_checked(marks_at).ok_or(BROKEN)?;
            let (words, of_marks) = (words.as_chunks::<4>().0, of_marks.as_chunks::<8>().0);
            buckets.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
            marks.extend(of_marks.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Ok(Self { footer, buckets, marks, data, sizes })
    }

    /// What it is of.
    pub const fn span(&self) -> Span {
        self.footer.span
    }

    /// The records of the log that it covers: from this one up to, but not at, the other.
    pub const fn records(&self) -> std::ops::Range<u64> {
        self.footer.first_record..self.footer.end_record
    }

    /// Leaf hash of the last record it covers.
    pub const fn end_leaf(&self) -> &Digest {
        &self.footer.end_leaf
    }

    /// Below which the ordinals with a name are, here and in every file of earlier records; and the mark of the row before that.
    pub const fn vault(&self) -> (u32, &RowMark) {
        (self.footer.ordinals, &self.footer.row_mark)
    }

    /// The day, counted from the epoch, that it or its week or month begins with.
    pub const fn day(&self) -> u32 {
        self.footer.day
    }

    /// Pseudonyms that no vault knew when this part was made.
    pub fn nameless(&self) -> &[Pseudonym] {
        &self.footer.nameless
    }

    /// Bytes by what they serve.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The bytes of an extent, checked.
    pub(super) fn read(&self, at: Extent, into: &mut Vec<u8>) -> Result<(), Unreadable> {
        self.data.read(at.offset, at.bytes as usize, into)?;
        if crc32c::crc32c(into) == at.crc {
            Ok(())
        } else {
            Err(Unreadable::Damaged("a section's checksum"))
        }
    }

    /// Bytes that carry no checksum of their own.
    pub(super) fn read_raw(
        &self,
        offset: u64,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        Ok(self.data.read(offset, length, into)?)
    }

    /// As [`IndexFile::read_raw`] if the bytes are in memory; else says that they will be read soon, and returns false.
    pub(super) fn read_at_hand(
        &self,
        offset: u64,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<bool, Unreadable> {
        let at_hand = self.data.read_at_hand(offset, length, into)?;
        if !at_hand {
            self.data.expect(offset, length as u64);
        }
        Ok(at_hand)
    }

    /// The hours of an integration or network that have runs.
    pub(super) fn hours_of(&self, whose: Whose) -> impl Iterator<Item = &RunInfo> {
        let runs = &self.footer.runs;
        let first = runs.partition_point(|run| (run.length, run.whose) < (Length::Hour, whose));
        let rest = runs.get(first..).unwrap_or_default().iter();
        rest.take_while(move |run| run.length == Length::Hour && run.whose == whose)
    }

    /// The run of a bucket; `None` if nothing was released in it.
    pub(super) fn run(&self, length: Length, whose: Whose, bucket: u32) -> Option<&RunInfo> {
        let key = (length, whose, bucket);
        let runs = &self.footer.runs;
        let at = runs.binary_search_by_key(&key, |run| (run.length, run.whose, run.bucket));
        at.ok().and_then(|at| runs.get(at))
    }

    /// Whether anything was released in an hour.
    pub(super) fn has_hour(&self, hour: u32) -> bool {
        self.run(Length::Hour, Whose::All, hour).is_some()
    }

    /// The place of an integration in the file's list; `None` if it read nothing here.
    pub(super) fn place_of(&self, integration: &IntegrationId) -> Option<u32> {
        let at = self.footer.integrations.binary_search(integration).ok()?;
        u32::try_from(at).ok()
    }
}

/// Bytes of a file by what they serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Runs and the footer: what answers who and what.
    pub runs: u64,
    /// Releases with their touches: what answers when, how often, by which key, from where.
    pub touches: u64,
    /// Where to find a subject.
    pub postings: u64,
}

impl std::ops::AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.touches += other.touches;
        self.postings += other.postings;
    }
}

/// A file that is being made: data goes out as it comes, the footer at the end.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    /// Bytes that went from `out` already.
    gone: u64,
    counts: Counts,
}

impl Writer {
    /// Begins another file.
    pub(super) fn begin(&mut self) {
        self.out.clear();
        self.gone = 0;
    }

    /// Where the next byte will lie.
    pub(super) fn offset(&self) -> u64 {
        self.gone + self.out.len() as u64
    }

    /// The extent of what was written since `start`.
    pub(super) fn extent_since(&self, start: u64) -> Extent {
        let from = usize::try_from(start - self.gone).unwrap_or(usize::MAX);
        let bytes = self.out.get(from..).unwrap_or_default();
        let length = u32::try_from(bytes.len());
        assert!(length.is_ok(), "a section of more than 4 GiB");
        Extent { offset: start, bytes: length.unwrap_or(0), crc: crc32c::crc32c(bytes) }
    }

    /// Writes the run of `pairs`, which have no values afterwards; their sets join `list`.
    pub(super) fn run(
        &mut self,
        (length, whose, bucket): (Length, Whose, u32),
        pairs: &mut [u64],
        masks: &Masks,
        list: &mut SetList,
    ) -> RunInfo {
        let start = self.offset();
        run_writer::write(&mut self.out, pairs, &mut self.counts, |value| {
            list.number(value, masks)
        });
        let subjects = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
        RunInfo { length, whose, bucket, at: self.extent_since(start), subjects }
    }

    /// Hands on what was written so far, so that it need not be held.
    pub(super) fn flush(&mut self, to: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        to(&self.out)?;
        self.gone = self.offset();
        self.out.clear();
        Ok(())
    }
}
