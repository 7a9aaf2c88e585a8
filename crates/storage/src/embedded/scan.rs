//! Walks the batches of one segment from the front, in bounded memory, without deciding what a broken one means.

use crate::embedded::batch::{
    BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, payloads,
};
use crate::embedded::disk::SyncedFile;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Read-ahead, so that a segment of small batches costs few system calls.
const WINDOW_BYTES: usize = 256 << 10;

/// One segment being read.
pub(crate) struct Scan {
    file: Arc<dyn SyncedFile>,
    /// No byte at or after this is read: the file's length, or what is durable of it.
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What stands at an offset.
pub(crate) enum Found<'b> {
    /// A whole batch.
    Batch { header: BatchHeader, frames: &'b [u8], payloads: Vec<Range<usize>> },
    /// Zeros, or too few bytes for a batch.
    Nothing,
    /// Something else.
    Broken,
}

impl Scan {
    /// Reads `file` up to `end`, or up to its own end if that comes first.
    pub(crate) fn new(file: Arc<dyn SyncedFile>, end: u64) -> io::Result<Self> {
        Ok(Self { end: end.min(file.length()?), file, window: Vec::new(), window_at: 0 })
    }

    /// The segment's header; `None` if there is no whole one.
    pub(crate) fn header(&mut self) -> io::Result<Option<SegmentHeader>> {
        let length = usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(usize::MAX);
        Ok(self.bytes(0, length)?.and_then(SegmentHeader::decode))
    }

    /// What stands at `offset`. A batch of another segment's salt is [`Found::Broken`].
    pub(crate) fn batch(&mut self, offset: u64, salt: u64) -> io::Result<Found<'_>> {
        let Some(bytes) = self.bytes(offset, BATCH_HEADER_BYTES)? else {
            return Ok(Found::Nothing);
        };
        let Some(header) = BatchHeader::decode(bytes).filter(|header| header.salt == salt) else {
            return Ok(if is_zero(bytes) { Found::Nothing } else { Found::Broken });
        };
        let length = usize::try_from(header.frames_bytes).unwrap_or(usize::MAX);
        let Some(frames) = self.bytes(offset + BATCH_HEADER_BYTES as u64, length)? else {
            return Ok(Found::Broken);
        };
        Ok(match payloads(&header, frames) {
            Some(payloads) => Found::Batch { header, frames, payloads },
            None => Found::Broken,
        })
    }

    /// What is left behind the last whole batch, which ends at `offset`.
    pub(crate) fn rest(
        &mut self,
        offset: u64,
        salt: Option<u64>,
        next_index: u64,
    ) -> io::Result<Rest> {
        let mut rest = Rest::Zeros;
        let mut at = offset;
        while at < self.end {
            let length = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let Some(bytes) = self.bytes(at, length)? else { break };
            if !is_zero(bytes) {
                rest = Rest::Torn;
                // Headers stand at multiples of 8 and may lie across the end of this window: the next one overlaps by a header.
                let written_later = (0..bytes.len()).step_by(8).any(|place| {
                    let header = bytes.get(place..).and_then(BatchHeader::decode);
                    header.is_some_and(|header| {
                        salt.is_none_or(|salt| salt == header.salt)
                            && header.first_index > next_index
                    })
                });
                if written_later {
                    return Ok(Rest::LaterBatch);
                }
            }
            if length < WINDOW_BYTES {
                break;
            }
            at += (length - BATCH_HEADER_BYTES) as u64;
        }
        Ok(rest)
    }

    /// `length` bytes at `offset`, or `None` if the segment does not have that many.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.end) {
            return Ok(None);
        }
        let held = offset >= self.window_at
            && offset + length as u64 <= self.window_at + self.window.len() as u64;
        if !held {
            let wanted = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            self.window.resize(length.max(WINDOW_BYTES).min(wanted), 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let start = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(start..start.saturating_add(length)))
    }
}

/// Compares in blocks, because whole segments of zeros are looked through at each start.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// What is left behind the last whole batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Zeros only.
    Zeros,
    /// Bytes of a batch that was never synced.
    Torn,
    /// A batch that was written after what is broken had been synced.
    LaterBatch,
}
