//! What the log's state was at the end of each sealed segment, so that a reader may begin in the middle.
//!
//! Derived: `ledger/segments/NNNNNNNNNN.state` is written when the publisher passes from a segment to the next, and made again from
//! the records when it is missing or damaged. It is written without a sync. Nobody believes it further than a heads record confirms.

use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::SEGMENTS_DIR;
use crate::embedded::unavailable::OpenFailed;
use crate::embedded::view::{LogView, Records};
use ledger::record::Header;
use ledger::{State, StoredRecord};
use model::UnixMicros;

/// A place in the log to begin reading at.
pub struct Start {
    pub(crate) segment: u64,
    /// The log's state there.
    pub state: State,
}

/// Follows the log and keeps the state of each segment that it leaves behind.
pub(crate) struct Follow {
    pub(crate) segment: u64,
    pub(crate) state: State,
}

impl Follow {
    /// Takes the log's next record, which lies in `segment`.
    ///
    /// # Errors
    /// If the record is not of the format.
    pub(crate) fn push(
        &mut self,
        disk: &dyn KeepSynced,
        segment: u64,
        record: &StoredRecord,
    ) -> Result<(), ledger::record::Malformed> {
        if segment != self.segment {
            // What cannot be written is derived when it is needed.
            let _ = disk.replace_unsynced(&path(self.segment), &self.state.to_bytes());
            self.segment = segment;
        }
        let header = Header::decode(&record.entry)?;
        self.state.take_in(&header, record.leaf_hash());
        Ok(())
    }
}

fn path(segment: u64) -> String {
    format!("{SEGMENTS_DIR}/{segment:010}.state")
}

impl LogView {
    /// A place before the last heads record that is earlier than `time`; the log's beginning if there is none.
    ///
    /// Segments whose state is missing or damaged are read, and their states written.
    ///
    /// # Errors
    /// [`OpenFailed`]: the log cannot be read.
    pub fn before(&self, time: UnixMicros) -> Result<Start, OpenFailed> {
        let beginning = || Start { segment: 0, state: State::begin() };
        // States are in order of time: of segments 0 to `earlier`, that one excluded, every state is before `time`.
        let (mut earlier, mut sealed) = (0, self.end().segment);
        while earlier < sealed {
            let middle = earlier + (sealed - earlier) / 2;
            if self.state_of(middle)?.time() < time {
                earlier = middle + 1
            } else {
                sealed = middle
            }
        }
        let Some(mut segment) = earlier.checked_sub(1) else { return Ok(beginning()) };
        let Some(heads) = self.state_of(segment)?.heads() else { return Ok(beginning()) };
        loop {
            let state = self.state_of(segment)?;
            if state.size() <= heads {
                return Ok(Start { segment: segment + 1, state });
            }
            let Some(before) = segment.checked_sub(1) else { return Ok(beginning()) };
            segment = before;
        }
    }

    /// The records from a place on.
    pub fn records_after(&self, start: &Start) -> Records {
        self.records_in(start.segment, start.state.size())
    }

    /// Forgets the stored states, so that they are made again from the records.
    pub fn forget_states(&self) {
        for segment in 0..self.end().segment {
            // One that stays is a state that a heads record will not confirm.
            let _ = self.disk().remove(&path(segment));
        }
    }

    /// The state at the end of a sealed segment.
    pub(crate) fn state_of(&self, segment: u64) -> Result<State, OpenFailed> {
        let stored = |segment| State::from_bytes(&self.disk().read(&path(segment)).ok()?);
        if let Some(state) = stored(segment) {
            return Ok(state);
        }
        let known = (0..segment).rev().find_map(|number| Some((number + 1, stored(number)?)));
        let (from, state) = known.unwrap_or_else(|| (0, State::begin()));
        let mut records = self.records_in(from, state.size());
        let mut follow = Follow { segment: from, state };
        while let Some(record) = records.next() {
            let (index, record) = record?;
            let at = records.segment();
            if at > segment {
                let _ = self.disk().replace_unsynced(&path(segment), &follow.state.to_bytes());
                return Ok(follow.state);
            }
            follow.push(self.disk(), at, &record).map_err(|what| {
                broken(crate::embedded::journal::path(at), format!("record {index}: {what}"))
            })?;
        }
        Err(broken(path(segment), "nothing follows the segment".into()))
    }
}

const fn broken(path: String, what: String) -> OpenFailed {
    OpenFailed::Corrupt { path, offset: 0, what }
}
