//! Retention: records that lost their body and touches for good, and the record that says so.
//!
//! What names a caller goes: of accesses, attempts, refusals and unauthenticated refusals the entry stays and nothing else. Their entries
//! have the commitment to a network, so that which records these are can be seen from the entries alone. Everything else stays whole,
//! and with it every heads record. A log says which records were thinned in an operator-action record [`ACTION`], written before the
//! act, so that an auditor can tell retention from loss.

use crate::record::wire::{Reader, Write as _};
use crate::record::{Body, Draft, Header, Kind, Malformed, StoredRecord};
use model::{Digest, OperatorId, UnixMicros};

/// The action of the records that announce a thinning.
pub const ACTION: &str = "segment_thinned";

/// Its operator: nobody, the node did it, by its configuration.
const NOBODY: OperatorId = OperatorId::from_bytes([0; 16]);

const SCHEMA: &str = "portcullis.thinned/1";
const REASON: &str = "retention";

/// Which records are thinned, and why: one segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thinning {
    /// Index of the first record.
    pub first: u64,
    /// Index of the last.
    pub last: u64,
    /// Leaf hash of the last.
    pub leaf: Digest,
    /// Time of the last.
    pub until: UnixMicros,
    /// After how many days records are thinned.
    pub days: u32,
}

impl Thinning {
    /// The record that announces it.
    pub fn draft(&self) -> Draft {
        let mut detail = Vec::new();
        detail.map(7);
        detail.uint(0);
        detail.text(SCHEMA);
        detail.uint(1);
        detail.uint(self.first);
        detail.uint(2);
        detail.uint(self.last);
        detail.uint(3);
        detail.bytes(&self.leaf);
        detail.uint(4);
        detail.uint(self.until.0);
        detail.uint(5);
        detail.text(REASON);
        detail.uint(6);
        detail.uint(u64::from(self.days));
        Draft::OperatorAction { operator: NOBODY, action: ACTION.to_owned(), detail }
    }

    /// What a record announces, if it announces a thinning of records before it. `index`: its own.
    pub fn announced(index: u64, stored: &StoredRecord) -> Option<Self> {
        let header = Header::decode(&stored.entry).ok()?;
        if header.kind != Kind::OperatorAction {
            return None;
        }
        let Body::OperatorAction { action, detail, .. } = Body::decode(&stored.body).ok()? else {
            return None;
        };
        let thinning = (action == ACTION).then(|| Self::decode(&detail).ok())??;
        (thinning.first <= thinning.last && thinning.last < index).then_some(thinning)
    }

    fn decode(detail: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(detail);
        reader.map(7)?;
        reader.key(0)?;
        if reader.text()? != SCHEMA {
            return Err(Malformed::Unexpected("schema of a thinning"));
        }
        reader.key(1)?;
        let first = reader.uint()?;
        reader.key(2)?;
        let last = reader.uint()?;
        reader.key(3)?;
        let leaf = reader.fixed()?;
        reader.key(4)?;
        let until = UnixMicros(reader.uint()?);
        reader.key(5)?;
        if reader.text()? != REASON {
            return Err(Malformed::Unexpected("reason of a thinning"));
        }
        reader.key(6)?;
        let days = u32::try_from(reader.uint()?).map_err(|_| Malformed::Unexpected("days"))?;
        reader.end()?;
        Ok(Self { first, last, leaf, until, days })
    }
}

impl StoredRecord {
    /// Whether retention took its body and touches.
    pub const fn is_thinned(&self) -> bool {
        self.body.is_empty()
    }

    /// What retention leaves of the record; itself, if it names no caller.
    ///
    /// # Errors
    /// [`Malformed`] if the entry is not of the format.
    pub fn thinned(self) -> Result<Self, Malformed> {
        let header = Header::decode(&self.entry)?;
        let names_a_caller = header.network.is_some();
        Ok(if names_a_caller { Self { entry: self.entry, ..Self::default() } } else { self })
    }
}

#[cfg(test)]
#[path = "thinning/tests.rs"]
mod tests;
