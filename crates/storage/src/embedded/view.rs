//! Reading records back: all of them or those from a moment on, streamed, while the log grows or from a directory at rest.
//!
//! A reader ends where the log was durable when it was made, so what it gives is what a checkpoint may cover. It decides nothing:
//! whether a record is one of a window or an integration is for `exposure` to say.

use crate::embedded::batch::SEGMENT_HEADER_BYTES;
use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::{self, DurableEnd, Place};
use crate::embedded::scan::{Found, Scan};
use crate::embedded::stored;
use crate::embedded::unavailable::OpenFailed;
use ledger::StoredRecord;
use ledger::record::Header;
use model::UnixMicros;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

/// One mark in this many records, so that a billion records cost 8 MiB of marks.
const MARK_EVERY: u64 = 4_096;

/// A log, as readers see it. Cheap to clone; clones see the same growing log.
#[derive(Clone)]
pub struct LogView {
    disk: Arc<dyn KeepSynced>,
    state: Arc<RwLock<State>>,
}

struct State {
    end: DurableEnd,
    marks: Vec<Mark>,
    thinned: Thinned,
}

/// How far retention went: of the records before this place that name a caller, only entries are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thinned {
    /// How many segments.
    pub segments: u64,
    /// How many records they hold, thinned or not.
    pub records: u64,
    /// Time of the last of them. Every record after that time is whole.
    pub until: UnixMicros,
}

impl Thinned {
    const NOTHING: Self = Self { segments: 0, records: 0, until: UnixMicros(0) };

    /// Whether records at or after `time` may be thinned.
    pub fn reaches(&self, time: UnixMicros) -> bool {
        self.segments > 0 && time <= self.until
    }
}

/// Where the batch of some record begins. Marks are in order of index, and so of time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    time: UnixMicros,
    segment: u64,
    batch: u64,
}

impl LogView {
    /// The log in a directory that no process writes to. Nothing there is changed, a torn tail stays and is not read.
    ///
    /// # Errors
    /// [`OpenFailed::Corrupt`] with the place; [`OpenFailed::Disk`].
    pub fn at_rest(disk: Arc<dyn KeepSynced>) -> Result<Self, OpenFailed> {
        let view = Self::empty(Arc::clone(&disk));
        let end = journal::walk(&*disk, &mut |place, payload| {
            if place.thinned || (place.first && view.wants_mark(place.index)) {
                let record = stored::decode(payload).ok_or("its lengths do not fit")?;
                let header = Header::decode(&record.entry).map_err(|e| e.to_string())?;
                view.pass(place, header.time);
            }
            Ok(())
        })?;
        view.advance(end);
        Ok(view)
    }

    pub(crate) fn empty(disk: Arc<dyn KeepSynced>) -> Self {
        let end = DurableEnd { segment: 0, offset: 0, records: 0 };
        Self {
            disk,
            state: Arc::new(RwLock::new(State {
                end,
                marks: Vec::new(),
                thinned: Thinned::NOTHING,
            })),
        }
    }

    /// Up to where the log is durable.
    pub fn end(&self) -> DurableEnd {
        self.state.read().unwrap_or_else(PoisonError::into_inner).end
    }

    /// The first record there is: not the log's, if what was before it is missing.
    pub(crate) fn first(&self) -> u64 {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.marks.first().map_or(0, |mark| mark.index)
    }

    /// How far retention went.
    pub fn thinned(&self) -> Thinned {
        self.state.read().unwrap_or_else(PoisonError::into_inner).thinned
    }

    /// The same, if it may have taken something of a window.
    pub(crate) fn thinned_in(&self, from: UnixMicros, to: UnixMicros) -> Option<Thinned> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let begun = state.marks.first().is_some_and(|mark| mark.time < to);
        Some(state.thinned).filter(|thinned| begun && thinned.reaches(from))
    }

    /// The records from `index` on.
    pub fn records_from(&self, index: u64) -> Records {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let at = state.marks.partition_point(|mark| mark.index <= index);
        self.records(index, at.checked_sub(1).and_then(|at| state.marks.get(at)), state.end)
    }

    /// Records from a little before `time` on: every record at or after `time`, and at most some thousands before it.
    pub fn records_since(&self, time: UnixMicros) -> Records {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let at = state.marks.partition_point(|mark| mark.time < time);
        let mark = state.marks.get(at.saturating_sub(1));
        self.records(mark.map_or(0, |mark| mark.index), mark, state.end)
    }

    /// The records from `index` on, which is the first of `segment` or behind it.
    pub(crate) fn records_in(&self, segment: u64, index: u64) -> Records {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Records { segment, ..self.records(index, None, state.end) }
    }

    pub(crate) fn disk(&self) -> &dyn KeepSynced {
        &*self.disk
    }

    fn records(&self, index: u64, mark: Option<&Mark>, end: DurableEnd) -> Records {
        Records {
            disk: Arc::clone(&self.disk),
            end,
            from: index,
            segment: mark.map_or(0, |mark| mark.segment),
            offset: mark.map_or(0, |mark| mark.batch),
            open: None,
            read: VecDeque::new(),
            broken: false,
        }
    }

    /// Takes note of a record that is walked over.
    pub(crate) fn pass(&self, place: Place, time: UnixMicros) {
        if place.first && self.wants_mark(place.index) {
            self.mark(place, time);
        }
        if place.thinned {
            let (segments, records) = (place.segment + 1, place.index + 1);
            self.thin(Thinned { segments, records, until: time });
        }
    }

    /// Retention went this far.
    pub(crate) fn thin(&self, thinned: Thinned) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).thinned = thinned;
    }

    pub(crate) fn wants_mark(&self, index: u64) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.marks.last().is_none_or(|last| index >= last.index + MARK_EVERY)
    }

    pub(crate) fn mark(&self, place: Place, time: UnixMicros) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Place { index, segment, batch, .. } = place;
        state.marks.push(Mark { index, time, segment, batch });
    }

    /// As [`LogView::mark`], unless there is one there or behind it.
    pub(crate) fn mark_later(&self, place: Place, time: UnixMicros) {
        let known = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.marks.last().is_some_and(|last| last.index >= place.index)
        };
        if !known {
            self.mark(place, time);
        }
    }

    pub(crate) fn advance(&self, end: DurableEnd) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).end = end;
    }
}

/// An iterator over stored records with their indexes. Holds one batch in memory. Ends after the first error.
pub struct Records {
    disk: Arc<dyn KeepSynced>,
    end: DurableEnd,
    from: u64,
    segment: u64,
    /// Of the next batch; 0 before the segment's header was read.
    offset: u64,
    open: Option<(Scan, u64)>,
    read: VecDeque<(u64, StoredRecord)>,
    broken: bool,
}

impl Records {
    /// Up to where it reads.
    pub fn end(&self) -> DurableEnd {
        self.end
    }

    /// The segment of the record that was given last.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    fn fill(&mut self) -> Result<(), OpenFailed> {
        while self.read.is_empty()
            && (self.segment, self.offset) < (self.end.segment, self.end.offset)
        {
            let path = journal::path(self.segment);
            self.batch(&path)?;
        }
        Ok(())
    }

    /// Reads the next batch, or goes on to the next segment.
    fn batch(&mut self, path: &str) -> Result<(), OpenFailed> {
        let failed = |source| OpenFailed::Disk { path: path.to_owned(), source };
        let corrupt = |offset, what: &str| OpenFailed::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.to_owned(),
        };
        let last = self.segment == self.end.segment;
        let (scan, salt) = match &mut self.open {
            Some((scan, salt)) => (scan, *salt),
            None => {
                let file = self.disk.open(path).map_err(failed)?;
                let end = if last { self.end.offset } else { u64::MAX };
                let mut scan = Scan::new(file, end).map_err(failed)?;
                let header = scan.header().map_err(failed)?;
                let header = header.ok_or_else(|| corrupt(0, "the segment's header is broken"))?;
                // Marks say where batches lay before the segment was thinned. What is left of it is read from the front.
                let marked = if header.thinned { 0 } else { self.offset };
                self.offset = marked.max(SEGMENT_HEADER_BYTES);
                let (scan, salt) = self.open.insert((scan, header.salt));
                (scan, *salt)
            }
        };
        match scan.batch(self.offset, salt).map_err(failed)? {
            Found::Batch { header, frames, payloads } => {
                for (payload, index) in payloads.into_iter().zip(header.first_index..) {
                    if index >= self.from {
                        let record = frames.get(payload).and_then(stored::decode);
                        let record =
                            record.ok_or_else(|| corrupt(self.offset, "its lengths do not fit"))?;
                        self.read.push_back((index, record));
                    }
                }
                self.offset += header.batch_bytes();
                Ok(())
            }
            Found::Nothing if !last => {
                self.segment += 1;
                self.offset = 0;
                self.open = None;
                Ok(())
            }
            Found::Nothing | Found::Broken => {
                Err(corrupt(self.offset, "a record that was durable is broken"))
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<(u64, StoredRecord), OpenFailed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        match self.fill() {
            Ok(()) => self.read.pop_front().map(Ok),
            Err(failed) => {
                self.broken = true;
                Some(Err(failed))
            }
        }
    }
}
