//! How records lie in a segment: batches of frames. Bytes only; no file is touched here.
//!
//! ```text
//! segment = header frames-in-batches zeros                       all integers big-endian
//! header  = "PCSEGM\x00" version | number u64 | first index u64 | salt u64 | CRC32C of the former, u32 | zero u32     40 bytes
//! batch   = salt u64 | first index u64 | bytes of frames u32 | frames u32 | CRC32C of the former, u32 | zero u32  32 bytes
//!           frame*, zero bytes up to a multiple of 8
//! frame   = length of payload u32 | CRC32C of length and payload u32 | payload
//! ```
//!
//! A batch is what one synced write made durable, and counts whole or not at all. The next batch is written only after
//! the sync of this one returned. So a broken batch with a batch after it was durable once and is *corrupt*; a broken batch with none after it
//! was the write that a crash interrupted, nobody was told that it is durable, and it is *torn*.
//! The salt is random for each segment, so that no payload can look like a batch.
//! Version 1 is written to; version 2 is a segment that retention thinned, which is written once and has no zeros behind its batches.

use std::ops::Range;

/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 40;
/// Length of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Length of what stands before each payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// Largest payload of a frame: a record of about half a million subjects.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"PCSEGM\x00\x01";
const MAGIC_THINNED: [u8; 8] = *b"PCSEGM\x00\x02";

/// What a segment says about itself in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) first_index: u64,
    pub(crate) salt: u64,
    /// Whether retention took the bodies and touches of its records.
    pub(crate) thinned: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(if self.thinned { &MAGIC_THINNED } else { &MAGIC });
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.first_index.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        seal(out, start);
    }

    /// `None` if `bytes` do not begin with a whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut read = Fields(unseal(bytes, 32)?);
        let thinned = match read.take::<8>()? {
            MAGIC => false,
            MAGIC_THINNED => true,
            _ => return None,
        };
        Some(Self { number: read.u64()?, first_index: read.u64()?, salt: read.u64()?, thinned })
    }
}

/// What stands before the frames of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) salt: u64,
    pub(crate) first_index: u64,
    pub(crate) frames_bytes: u32,
    pub(crate) frames: u32,
}

impl BatchHeader {
    /// `None` if `bytes` do not begin with a whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut read = Fields(unseal(bytes, 24)?);
        Some(Self {
            salt: read.u64()?,
            first_index: read.u64()?,
            frames_bytes: read.u32()?,
            frames: read.u32()?,
        })
    }

    /// Length of the whole batch, header and padding included.
    pub(crate) fn batch_bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.frames_bytes).next_multiple_of(8)
    }
}

/// A batch that is being put together. Its buffer is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct BatchBuffer {
    frames: Vec<u8>,
    count: u32,
}

impl BatchBuffer {
    /// Adds one frame, whose payload `write` appends to the buffer it is given.
    ///
    /// Returns false, leaving the batch as it was, if the payload is larger than [`PAYLOAD_BYTES_MAX`].
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.frames.len();
        self.frames.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        write(&mut self.frames);
        let payload = start + FRAME_HEADER_BYTES..self.frames.len();
        let (true, Ok(length)) = (payload.len() <= PAYLOAD_BYTES_MAX, u32::try_from(payload.len()))
        else {
            self.frames.truncate(start);
            return false;
        };
        let crc = self.frames.get(payload).map_or(0, |payload| frame_crc(length, payload));
        if let Some(header) = self.frames.get_mut(start..start + FRAME_HEADER_BYTES) {
            let (to_length, to_crc) = header.split_at_mut(4);
            to_length.copy_from_slice(&length.to_be_bytes());
            to_crc.copy_from_slice(&crc.to_be_bytes());
        }
        self.count += 1;
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Length the batch has in the segment.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        (BATCH_HEADER_BYTES + self.frames.len().next_multiple_of(8)) as u64
    }

    /// Appends the batch to `out` as it lies in the segment.
    ///
    /// # Panics
    /// If the frames are longer than a segment can be; the recorder bounds a batch far below that.
    pub(crate) fn encode(&self, salt: u64, first_index: u64, out: &mut Vec<u8>) {
        let frames_bytes = u32::try_from(self.frames.len());
        assert!(frames_bytes.is_ok(), "a batch of more than 4 GiB");
        let start = out.len();
        out.extend_from_slice(&salt.to_be_bytes());
        out.extend_from_slice(&first_index.to_be_bytes());
        out.extend_from_slice(&frames_bytes.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        seal(out, start);
        out.extend_from_slice(&self.frames);
        out.resize(out.len() + self.frames.len().next_multiple_of(8) - self.frames.len(), 0);
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.count = 0;
    }
}

/// The payloads of a batch's frames, as ranges of `frames`.
///
/// `None` if any frame is broken, or they are not as many or as long as the header says.
pub(crate) fn payloads(header: &BatchHeader, frames: &[u8]) -> Option<Vec<Range<usize>>> {
    let end = usize::try_from(header.frames_bytes).ok().filter(|&end| end <= frames.len())?;
    let mut found = Vec::new();
    let mut at = 0;
    while at < end {
        let mut read = Fields(frames.get(at..end)?);
        let (length, crc) = (read.u32()?, read.u32()?);
        let start = at + FRAME_HEADER_BYTES;
        let payload = start..start.checked_add(usize::try_from(length).ok()?)?;
        let bytes = frames.get(payload.clone()).filter(|_| payload.end <= end)?;
        if frame_crc(length, bytes) != crc {
            return None;
        }
        at = payload.end;
        found.push(payload);
    }
    (u32::try_from(found.len()) == Ok(header.frames) && !found.is_empty()).then_some(found)
}

fn frame_crc(length: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_be_bytes()), payload)
}

/// Appends the checksum of everything since `start`, and four zero bytes that keep what follows aligned.
fn seal(out: &mut Vec<u8>, start: usize) {
    let crc = out.get(start..).map_or(0, crc32c::crc32c);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// The first `length` bytes, if what [`seal`] put behind them fits.
fn unseal(bytes: &[u8], length: usize) -> Option<&[u8]> {
    let (sealed, rest) = bytes.split_at_checked(length)?;
    let mut read = Fields(rest);
    (read.u32()? == crc32c::crc32c(sealed) && read.u32()? == 0).then_some(sealed)
}

/// Reads fixed-width fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut buffer = BatchBuffer::default();
        for payload in payloads {
            assert!(buffer.push(|out| out.extend_from_slice(payload)));
        }
        let mut out = Vec::new();
        buffer.encode(7, 100, &mut out);
        assert_eq!(out.len() as u64, buffer.encoded_bytes());
        out
    }

    #[test]
    fn a_zero_filled_region_is_no_batch() {
        assert_eq!(BatchHeader::decode(&[0; 64]), None);
        assert_eq!(SegmentHeader::decode(&[0; 64]), None);
    }

    #[test]
    fn a_payload_above_the_limit_is_not_taken() {
        let mut buffer = BatchBuffer::default();
        assert!(!buffer.push(|out| out.resize(out.len() + PAYLOAD_BYTES_MAX + 1, 1)));
        assert!(buffer.is_empty());
        assert_eq!(buffer.encoded_bytes(), BATCH_HEADER_BYTES as u64);
    }

    proptest! {
        #[test]
        fn batches_survive_the_disk(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8)) {
            let bytes = batch(&contents);
            let header = BatchHeader::decode(&bytes).unwrap();
            prop_assert_eq!(header.batch_bytes(), bytes.len() as u64);
            let frames = &bytes[BATCH_HEADER_BYTES..];
            let read: Vec<Vec<u8>> = payloads(&header, frames).unwrap().into_iter().map(|r| frames[r].to_vec()).collect();
            prop_assert_eq!(read, contents);
        }

        #[test]
        fn any_changed_byte_breaks_the_batch(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            at: prop::sample::Index,
            change in 1_u8..,
        ) {
            let mut bytes = batch(&contents);
            let padding = bytes.len() - BATCH_HEADER_BYTES - BatchHeader::decode(&bytes).unwrap().frames_bytes as usize;
            let at = at.index(bytes.len() - padding);
            bytes[at] ^= change;
            let read = BatchHeader::decode(&bytes).and_then(|header| payloads(&header, &bytes[BATCH_HEADER_BYTES..]));
            prop_assert!(read.is_none());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let header = BatchHeader { salt: 0, first_index: 0, frames_bytes: u32::try_from(bytes.len()).unwrap(), frames: 1 };
            let _ = payloads(&header, &bytes);
            let _ = BatchHeader::decode(&bytes);
            let _ = SegmentHeader::decode(&bytes);
        }
    }
}
