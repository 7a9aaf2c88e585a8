//! The segments under `ledger/segments`: where records become durable.
//!
//! A `Journal` knows no record, only payloads in batches: one write and one sync each. It belongs to one thread.
//! Segments are made, zero-filled and synced before they are used, so that a batch never waits for the file system's own journal;
//! whoever owns a `Journal` has `prepare` run in time and hands it the result.
//!
//! The last part of the last segment is reserved: while no next segment could be made, because the disk is full, only
//! `Use::Reserved` may write there.
//!
//! What it does not do: repair. A segment that was durable and is broken is reported with its place, and the journal does not open.

use crate::embedded::batch::{BatchBuffer, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::embedded::disk::{FileIdentity, KeepSynced, SyncedFile};
use crate::embedded::kept::KeptFiles;
use crate::embedded::scan::{Found, Rest, Scan};
use crate::embedded::unavailable::OpenFailed;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

/// Where segments lie in the data directory.
pub(crate) const SEGMENTS_DIR: &str = "ledger/segments";

/// Sizes of a journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalSizes {
    /// Length of each segment, bytes.
    pub segment_bytes: u64,
    /// How much of the last segment only reserved records may use, bytes.
    pub reserve_bytes: u64,
}

impl JournalSizes {
    /// 64 MiB, of which 1 MiB is reserved: about a thousand posture changes with their heads records.
    pub const STANDARD: Self = Self { segment_bytes: 64 << 20, reserve_bytes: 1 << 20 };

    /// The longest batch that fits a segment which nothing was written to.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        self.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES + self.reserve_bytes)
    }
}

/// What a batch is for, which decides whether it may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Data,
    Reserved,
}

/// A place in the journal: everything before it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurableEnd {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in the segment.
    pub offset: u64,
    /// Records before this place.
    pub records: u64,
}

/// The open journal. After any failed write or sync it takes nothing more.
pub(crate) struct Journal {
    sizes: JournalSizes,
    current: Segment,
    next: Option<Segment>,
    next_index: u64,
    random: Box<dyn FnMut() -> u64 + Send>,
    failed: bool,
    buffer: Vec<u8>,
    kept: Arc<KeptFiles>,
}

/// A whole segment, zero-filled, of which the bytes before `end` are used.
pub(crate) struct Segment {
    number: u64,
    file: Arc<dyn SyncedFile>,
    identity: FileIdentity,
    end: u64,
    salt: u64,
}

impl Segment {
    fn new(number: u64, file: Arc<dyn SyncedFile>, end: u64, salt: u64) -> io::Result<Self> {
        Ok(Self { number, identity: file.identity()?, file, end, salt })
    }
}

/// What opening found besides the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Whether the last write had been cut short; it was never acknowledged and was zeroed.
    pub torn: bool,
}

impl Journal {
    /// Opens the journal, makes what it holds durable, and calls `visit` with each record's place and payload, in order.
    ///
    /// # Errors
    /// [`OpenFailed::Corrupt`] with the place if a durable batch is broken or `visit` says so; [`OpenFailed::Disk`].
    pub(crate) fn open(
        disk: Arc<dyn KeepSynced>,
        sizes: JournalSizes,
        mut random: Box<dyn FnMut() -> u64 + Send>,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Tail), OpenFailed> {
        disk.create_dir(SEGMENTS_DIR).map_err(failed(SEGMENTS_DIR))?;
        if numbers(&*disk).map_err(failed(SEGMENTS_DIR))?.is_empty() {
            prepare(&*disk, sizes, 0).map_err(failed(&path(0)))?;
        }
        let Walk { next_index, last, unused, mut torn, kept, .. } = Walk::over(&*disk, visit)?;
        // Nothing is written before every segment was found whole, so that a corrupt directory stays as it is.
        // A process that died between giving a segment its name and syncing that leaves a name the disk may not have.
        disk.sync_dir(SEGMENTS_DIR).map_err(failed(SEGMENTS_DIR))?;
        let last = match last {
            Some((segment, records)) => {
                settle(&*segment.file, &records).map_err(failed(&path(segment.number)))?;
                Some(segment)
            }
            None => None,
        };
        let mut fresh = Vec::new();
        for (number, file, written) in unused {
            let path = path(number);
            if written {
                // A first batch that was cut short. It is rare enough to zero the whole segment.
                zero(&*file, 0..sizes.segment_bytes).map_err(failed(&path))?;
                torn = true;
            }
            let segment = Segment::new(number, file, 0, random()).map_err(failed(&path))?;
            kept.keep(&path, segment.identity);
            fresh.push(segment);
        }
        let mut fresh = fresh.into_iter();
        let Some(current) = last.or_else(|| fresh.next()) else {
            return Err(corrupt(0, 0, "the segment is missing"));
        };
        let next = fresh.next();
        let buffer = Vec::new();
        let kept = Arc::new(kept);
        let journal =
            Self { sizes, current, next, next_index, random, failed: false, buffer, kept };
        Ok((journal, Tail { torn }))
    }

    /// The longest batch, as [`BatchBuffer::encoded_bytes`], that can be appended now.
    pub(crate) fn room(&self, wanted: Use) -> u64 {
        if self.next.is_some() {
            return self.sizes.batch_bytes_max();
        }
        let header = if self.current.end == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        let reserve = if wanted == Use::Reserved { 0 } else { self.sizes.reserve_bytes };
        let left = self.sizes.segment_bytes.saturating_sub(self.current.end + header + reserve);
        left.min(self.sizes.batch_bytes_max())
    }

    /// Writes one batch and syncs it: when this returns, its records are durable.
    ///
    /// # Errors
    /// Any error is final. Whether the batch is durable is not known then; the next start finds out.
    ///
    /// # Panics
    /// If the batch is longer than [`Journal::room`] for reserved use: the caller asks first.
    pub(crate) fn append(&mut self, batch: &BatchBuffer) -> io::Result<DurableEnd> {
        if self.failed {
            return Err(io::Error::other("a former write or sync failed"));
        }
        self.failed = true; // until the sync has returned
        self.buffer.clear();
        let header = if self.current.end == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        if self.current.end + header + batch.encoded_bytes() > self.sizes.segment_bytes {
            let next = self.next.take();
            assert!(next.is_some(), "no room was asked for this batch");
            if let Some(next) = next {
                self.current = next;
            }
        }
        let current = &mut self.current;
        if current.end == 0 {
            let header = SegmentHeader {
                number: current.number,
                first_index: self.next_index,
                salt: current.salt,
                thinned: false,
            };
            header.encode(&mut self.buffer);
        }
        batch.encode(current.salt, self.next_index, &mut self.buffer);
        let end = current.end + self.buffer.len() as u64;
        assert!(end <= self.sizes.segment_bytes, "no room was asked for this batch");
        current.file.write_at(current.end, &self.buffer)?;
        current.file.sync_data()?;
        current.end = end;
        self.next_index += u64::from(batch.count());
        self.failed = false;
        Ok(self.durable_end())
    }

    /// Up to where everything is durable.
    pub(crate) fn durable_end(&self) -> DurableEnd {
        DurableEnd {
            segment: self.current.number,
            offset: self.current.end,
            records: self.next_index,
        }
    }

    /// The number of the segment to have made, once a quarter of the current one is used and none is in stock.
    pub(crate) fn wants(&self) -> Option<u64> {
        let due = self.next.is_none() && self.current.end > self.sizes.segment_bytes / 4;
        due.then_some(self.current.number + 1)
    }

    /// Takes the segment that [`prepare`] made.
    pub(crate) fn stock(&mut self, mut segment: Segment) {
        if self.next.is_none() && segment.number == self.current.number + 1 {
            self.kept.keep(&path(segment.number), segment.identity);
            segment.salt = (self.random)();
            self.next = Some(segment);
        }
    }

    /// The segments, each of which must stay the file it is.
    pub(crate) fn kept(&self) -> &Arc<KeptFiles> {
        &self.kept
    }
}

/// Makes segment `number`: allocated, zero-filled, durable. Takes as long as the disk needs to write it; call it from a thread of its own.
///
/// # Errors
/// [`ErrorKind::StorageFull`] if there is no space, leaving nothing behind; else those of the file system.
pub(crate) fn prepare(
    disk: &dyn KeepSynced,
    sizes: JournalSizes,
    number: u64,
) -> io::Result<Segment> {
    let path = path(number);
    let unfinished = format!("{path}.unfinished");
    match disk.remove(&unfinished) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.create(&unfinished, sizes.segment_bytes)?;
    zero(&*file, 0..sizes.segment_bytes)?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(SEGMENTS_DIR)?;
    Segment::new(number, file, 0, 0)
}

/// The path of a segment.
pub(crate) fn path(number: u64) -> String {
    format!("{SEGMENTS_DIR}/{number:010}.seg")
}

/// The numbers of the segments there are, in order.
pub(crate) fn numbers(disk: &dyn KeepSynced) -> io::Result<Vec<u64>> {
    let names = disk.list(SEGMENTS_DIR)?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Zero-fills and syncs in steps, so that a batch being synced meanwhile waits behind one step at most.
fn zero(file: &dyn SyncedFile, range: Range<u64>) -> io::Result<()> {
    const STEP_BYTES: u64 = 4 << 20;
    let zeros = vec![0; usize::try_from(STEP_BYTES.min(range.end - range.start)).unwrap_or(0)];
    let mut at = range.start;
    while at < range.end {
        let length = STEP_BYTES.min(range.end - at);
        let step = usize::try_from(length).ok().and_then(|length| zeros.get(..length));
        file.write_at(at, step.unwrap_or(&[]))?;
        file.sync_data()?;
        at += length;
    }
    Ok(())
}

/// Up to where the segments hold records, without writing anything: what a torn tail left is not counted.
///
/// # Errors
/// As [`Journal::open`].
pub(crate) fn walk(disk: &dyn KeepSynced, visit: &mut Visit<'_>) -> Result<DurableEnd, OpenFailed> {
    let walk = Walk::over(disk, visit)?;
    let (segment, offset) =
        walk.last.map_or((0, 0), |(segment, records)| (segment.number, records.end));
    Ok(DurableEnd { segment, offset, records: walk.next_index })
}

/// Called with each record's place and payload; says what is wrong with a record that does not belong.
pub(crate) type Visit<'v> = dyn FnMut(Place, &[u8]) -> Result<(), String> + 'v;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) segment: u64,
    /// Offset of the record's batch.
    pub(crate) batch: u64,
    /// Whether it is the first of its batch.
    pub(crate) first: bool,
    /// Whether its segment is thinned.
    pub(crate) thinned: bool,
}

/// The walk over all segments, front to back.
struct Walk {
    next_index: u64,
    /// The last segment that holds records.
    last: Option<(Segment, Records)>,
    /// Segments behind it, and whether any byte of them is not zero.
    unused: Vec<(u64, Arc<dyn SyncedFile>, bool)>,
    /// Whether the last write to the last segment was cut short.
    torn: bool,
    /// How many segments are thinned: the first ones.
    thinned: u64,
    kept: KeptFiles,
}

struct Records {
    salt: u64,
    last_batch: u64,
    end: u64,
    rest: Rest,
}

enum Held {
    Records(Records),
    /// No whole header; `written` if there is any byte that is not zero.
    Nothing {
        written: bool,
    },
}

enum WalkFailed {
    Disk(io::Error),
    Corrupt(OpenFailed),
}

impl WalkFailed {
    fn at(self, path: &str) -> OpenFailed {
        match self {
            Self::Disk(source) => OpenFailed::Disk { path: path.to_owned(), source },
            Self::Corrupt(failed) => failed,
        }
    }
}

impl From<io::Error> for WalkFailed {
    fn from(source: io::Error) -> Self {
        Self::Disk(source)
    }
}

impl Walk {
    fn over(disk: &dyn KeepSynced, visit: &mut Visit<'_>) -> Result<Self, OpenFailed> {
        let mut walk = Self {
            next_index: 0,
            last: None,
            unused: Vec::new(),
            torn: false,
            thinned: 0,
            kept: KeptFiles::default(),
        };
        let numbers = numbers(disk).map_err(failed(SEGMENTS_DIR))?;
        for (&number, expected) in numbers.iter().zip(0..) {
            if number != expected {
                return Err(corrupt(expected, 0, "the segment is missing"));
            }
            let path = path(number);
            let file = disk.open(&path).map_err(failed(&path))?;
            match walk.segment(number, &file, visit).map_err(|e| e.at(&path))? {
                Held::Records(records) => {
                    let segment = Segment::new(number, file, records.end, records.salt);
                    let segment = segment.map_err(failed(&path))?;
                    walk.kept.keep(&path, segment.identity);
                    walk.last = Some((segment, records));
                }
                Held::Nothing { written } => walk.unused.push((number, file, written)),
            }
        }
        if let Some((last, records)) = &walk.last
            && walk.torn
            && walk.unused.iter().any(|(_, _, written)| *written)
        {
            return Err(corrupt(last.number, records.end, "a record that was durable is broken"));
        }
        // Only what is sealed is thinned, and what seals a segment is a record behind it.
        if let Some((last, _)) = &walk.last
            && walk.thinned > last.number
        {
            return broken_off(last.number);
        }
        Ok(walk)
    }

    fn segment(
        &mut self,
        number: u64,
        file: &Arc<dyn SyncedFile>,
        visit: &mut Visit<'_>,
    ) -> Result<Held, WalkFailed> {
        let broken =
            |number, offset, what: &str| Err(WalkFailed::Corrupt(corrupt(number, offset, what)));
        let mut scan = Scan::new(Arc::clone(file), u64::MAX)?;
        let Some(header) = scan.header()? else {
            return match scan.rest(0, None, self.next_index)? {
                Rest::LaterBatch => broken(number, 0, "the segment's header is broken"),
                Rest::Torn => Ok(Held::Nothing { written: true }),
                Rest::Zeros => Ok(Held::Nothing { written: false }),
            };
        };
        if let Some((unused, ..)) = self.unused.first() {
            return broken(*unused, 0, "the segment's header is broken");
        }
        // The segment before was synced to its end before this one was begun, so its torn tail is a broken record.
        if let Some((last, _)) = &self.last
            && self.torn
        {
            return broken(last.number, last.end, "a record that was durable is broken");
        }
        if header.number != number {
            return broken(number, 0, "the segment has another segment's number");
        }
        if header.first_index != self.next_index {
            return broken(number, 0, "records before the segment are missing");
        }
        if header.thinned {
            if self.thinned != number {
                return broken(number, 0, "a segment is thinned, and one before it is not");
            }
            self.thinned += 1;
        }

        let mut last_batch = 0;
        let mut end = SEGMENT_HEADER_BYTES;
        let found_at_end = loop {
            match scan.batch(end, header.salt)? {
                Found::Batch { header: batch, frames, payloads } => {
                    if batch.first_index != self.next_index {
                        return broken(number, end, "a batch is not in its place");
                    }
                    for (payload, nth) in payloads.into_iter().zip(0..) {
                        let bytes = frames.get(payload).unwrap_or(&[]);
                        let place = Place {
                            index: self.next_index,
                            segment: number,
                            batch: end,
                            first: nth == 0,
                            thinned: header.thinned,
                        };
                        visit(place, bytes)
                            .map_err(|what| WalkFailed::Corrupt(corrupt(number, end, &what)))?;
                        self.next_index += 1;
                    }
                    last_batch = if end == SEGMENT_HEADER_BYTES { 0 } else { end };
                    end += batch.batch_bytes();
                }
                Found::Nothing => break Rest::Zeros,
                Found::Broken => break Rest::Torn,
            }
        };
        let rest = match scan.rest(end, Some(header.salt), self.next_index)? {
            Rest::Zeros => found_at_end,
            rest @ (Rest::Torn | Rest::LaterBatch) => rest,
        };
        match rest {
            Rest::LaterBatch => {
                return broken(number, end, "a record that was durable is broken");
            }
            Rest::Torn => self.torn = true,
            Rest::Zeros => {}
        }
        Ok(Held::Records(Records { salt: header.salt, last_batch, end, rest }))
    }
}

/// Makes durable what was read, zeroing what is torn behind it.
///
/// The last batch may be in the page cache only: written before a `kill -9`, or left there, called clean, by a sync that failed.
/// Writing it again makes the pages dirty, so that this sync speaks of them.
fn settle(file: &dyn SyncedFile, records: &Records) -> io::Result<()> {
    let mut batch = vec![0; usize::try_from(records.end - records.last_batch).unwrap_or(0)];
    let read = file.read_at(records.last_batch, &mut batch)?;
    batch.truncate(read);
    file.write_at(records.last_batch, &batch)?;
    if records.rest == Rest::Torn {
        zero(file, records.end..file.length()?)?;
    }
    file.sync_data()
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> OpenFailed {
    let path = path.to_owned();
    move |source| OpenFailed::Disk { path, source }
}

fn broken_off<T>(last: u64) -> Result<T, OpenFailed> {
    Err(corrupt(last, 0, "it is thinned, and the segments behind it are missing"))
}

fn corrupt(segment: u64, offset: u64, what: &str) -> OpenFailed {
    OpenFailed::Corrupt { path: path(segment), offset, what: what.to_owned() }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
