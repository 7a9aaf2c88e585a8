//! Retention: takes bodies and touches out of sealed segments, oldest first, whole segments only.
//!
//! Calling order, for each segment: [`Thinner::due`] names it, its announcement is recorded and under a signed checkpoint,
//! [`Thinner::thin`]. The segment is written again beside the old one, read back against it, synced, and takes its name in one step; a crash
//! leaves one or the other. Readers that have the old file open read it to its end.
//!
//! What it does not do: decide when (`control::desk`), touch the open segment, overwrite what the file system has freed.

use crate::embedded::batch::{BatchBuffer, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::embedded::disk::{KeepSynced, SyncedFile};
use crate::embedded::journal::{SEGMENTS_DIR, path};
use crate::embedded::kept::KeptFiles;
use crate::embedded::scan::{Found, Scan};
use crate::embedded::stored;
use crate::embedded::unavailable::OpenFailed;
use crate::embedded::view::{LogView, Thinned};
use ledger::record::Header;
use ledger::{StoredRecord, Thinning};
use model::UnixMicros;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Thins the segments of one log.
pub struct Thinner {
    disk: Arc<dyn KeepSynced>,
    kept: Arc<KeptFiles>,
    view: LogView,
}

/// A sealed segment whose every record is older than was asked.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    segment: u64,
    /// What has to be on record, under a checkpoint, before it is thinned.
    pub thinning: Thinning,
}

impl Thinner {
    pub(crate) const fn new(
        disk: Arc<dyn KeepSynced>,
        kept: Arc<KeptFiles>,
        view: LogView,
    ) -> Self {
        Self { disk, kept, view }
    }

    /// The segments to be thinned next, in order: sealed, and without a record at or after `before`. `days`: what their announcements say.
    ///
    /// # Errors
    /// [`OpenFailed`]: the log cannot be read.
    pub fn due(&self, before: UnixMicros, days: u32) -> Result<Vec<Due>, OpenFailed> {
        let Thinned { segments, records, .. } = self.view.thinned();
        let mut due = Vec::new();
        let mut first = records;
        for segment in segments..self.view.end().segment {
            let state = self.view.state_of(segment)?;
            let Some(last) = state.size().checked_sub(1).filter(|_| state.time() < before) else {
                break;
            };
            // The stored state is believed by nobody: what it says of the last record has to be in the record.
            let wrong = || corrupt(segment, 0, "its stored state is of other records");
            let (_, record) = self.view.records_in(segment, last).next().ok_or_else(wrong)??;
            let until = Header::decode(&record.entry).map_err(|_| wrong())?.time;
            if until != state.time() || last < first {
                self.view.forget_states();
                return Err(wrong());
            }
            let leaf = record.leaf_hash();
            due.push(Due { segment, thinning: Thinning { first, last, leaf, until, days } });
            first = last + 1;
        }
        Ok(due)
    }

    /// Takes the bodies and touches of a segment's records. When this returns, they are in no file of the log.
    ///
    /// # Errors
    /// [`OpenFailed`]: the segment is as it was, or thinned and not known to be durable; call again.
    pub fn thin(&self, due: &Due) -> Result<(), OpenFailed> {
        let Due { segment, thinning: Thinning { last, until, .. } } = *due;
        let path = path(segment);
        let failed = |source: io::Error| OpenFailed::Disk { path: path.clone(), source };
        let old = self.disk.open(&path).map_err(failed)?;
        if !read_header(&old, segment)?.thinned {
            let beside = format!("{path}.thin");
            let written = self.write(&old, &beside, due);
            let new = written.inspect_err(|_| {
                // Holds nothing that is to go, and the next try removes it first.
                let _ = self.disk.remove(&beside);
            })?;
            let identity = new.identity().map_err(failed)?;
            let renamed = self.kept.replace(&path, || {
                self.disk.rename(&beside, &path)?;
                Ok(identity)
            });
            renamed.map_err(failed)?;
        }
        self.disk.sync_dir(SEGMENTS_DIR).map_err(failed)?;
        self.view.thin(Thinned { segments: segment + 1, records: last + 1, until });
        Ok(())
    }

    /// Writes what is left of a segment, makes it durable, and reads it back.
    fn write(
        &self,
        old: &Arc<dyn SyncedFile>,
        beside: &str,
        due: &Due,
    ) -> Result<Arc<dyn SyncedFile>, OpenFailed> {
        let Due { segment, thinning } = due;
        let failed = |source: io::Error| OpenFailed::Disk { path: beside.to_owned(), source };
        match self.disk.remove(beside) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let new = self.disk.create(beside, 0).map_err(failed)?;
        let header = SegmentHeader { thinned: true, ..read_header(old, *segment)? };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        new.write_at(0, &bytes).map_err(failed)?;
        let mut end = SEGMENT_HEADER_BYTES;
        let mut next = header.first_index;
        let mut buffer = BatchBuffer::default();
        let mut batches = Batches::of(old, *segment)?;
        while let Some((first, records)) = batches.next()? {
            next = first + records.len() as u64;
            buffer.clear();
            for record in records {
                let thinned = left_of(*segment, record)?;
                assert!(buffer.push(|out| stored::encode(&thinned, out)), "what is left is longer");
            }
            bytes.clear();
            buffer.encode(header.salt, first, &mut bytes);
            new.write_at(end, &bytes).map_err(failed)?;
            end += bytes.len() as u64;
        }
        if header.first_index != thinning.first || next != thinning.last + 1 {
            return Err(corrupt(*segment, 0, "it holds other records than were announced"));
        }
        new.sync_data().map_err(failed)?;
        let (mut before, mut after) = (Batches::of(old, *segment)?, Batches::of(&new, *segment)?);
        loop {
            let (was, is) = (before.next()?, after.next()?);
            let same = match (was, &is) {
                (None, None) => return Ok(new),
                (Some((_, was)), Some((_, is))) => {
                    let left = was.into_iter().map(|record| left_of(*segment, record));
                    left.collect::<Result<Vec<_>, _>>()? == *is
                }
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                return Err(corrupt(
                    *segment,
                    0,
                    "what was written of it is not what is read back",
                ));
            }
        }
    }
}

fn left_of(segment: u64, record: StoredRecord) -> Result<StoredRecord, OpenFailed> {
    record.thinned().map_err(|what| corrupt(segment, 0, &what.to_string()))
}

fn read_header(file: &Arc<dyn SyncedFile>, segment: u64) -> Result<SegmentHeader, OpenFailed> {
    let header = Scan::new(Arc::clone(file), u64::MAX).and_then(|mut scan| scan.header());
    let header = header.map_err(|source| OpenFailed::Disk { path: path(segment), source })?;
    header.ok_or_else(|| corrupt(segment, 0, "the segment's header is broken"))
}

/// The batches of one segment file, from the front.
struct Batches {
    scan: Scan,
    segment: u64,
    salt: u64,
    at: u64,
}

impl Batches {
    fn of(file: &Arc<dyn SyncedFile>, segment: u64) -> Result<Self, OpenFailed> {
        let salt = read_header(file, segment)?.salt;
        let scan = Scan::new(Arc::clone(file), u64::MAX);
        let scan = scan.map_err(|source| OpenFailed::Disk { path: path(segment), source })?;
        Ok(Self { scan, segment, salt, at: SEGMENT_HEADER_BYTES })
    }

    /// Index of the next batch's first record, and its records; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Vec<StoredRecord>)>, OpenFailed> {
        let Self { scan, segment, salt, at } = self;
        let found = scan.batch(*at, *salt);
        let found = found.map_err(|source| OpenFailed::Disk { path: path(*segment), source })?;
        match found {
            Found::Nothing => Ok(None),
            Found::Broken => Err(corrupt(*segment, *at, "a record that was durable is broken")),
            Found::Batch { header, frames, payloads } => {
                let records = payloads.into_iter().map(|range| stored::decode(frames.get(range)?));
                let records: Option<Vec<_>> = records.collect();
                let records =
                    records.ok_or_else(|| corrupt(*segment, *at, "its lengths do not fit"))?;
                *at += header.batch_bytes();
                Ok(Some((header.first_index, records)))
            }
        }
    }
}

fn corrupt(segment: u64, offset: u64, what: &str) -> OpenFailed {
    OpenFailed::Corrupt { path: path(segment), offset, what: what.to_owned() }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
