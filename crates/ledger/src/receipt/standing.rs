//! Whether the log kept what a receipt promised.

use super::Promise;
use crate::checkpoint::Checkpoint;
use crate::growth::{BadEntries, last_header};
use crate::tile::{BadTile, TileReader};
use model::UnixMicros;
use thiserror::Error;

/// Where a promise that was not broken stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The record is in the log, where it was promised to be.
    Included,
    /// The log does not show it, and does not have to yet.
    NotDue,
    /// The log should show it by now, and has shown nothing younger than the deadline either: it is silent, which proves nothing.
    Overdue,
}

/// A promise that the log broke. With receipt and checkpoint in hand, whoever keeps the log cannot deny it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotKept {
    /// Another record stands where this one was promised.
    #[error("OMITTED: the log has another record at index {index}")]
    OtherRecord {
        /// Where.
        index: u64,
    },
    /// A checkpoint from after the deadline does not reach the record.
    #[error(
        "OMITTED: index {index} was due at Unix time {deadline_secs}, and the log's checkpoint of {size} records ends later, at {last}"
    )]
    Omitted {
        /// Where it should be.
        index: u64,
        /// Until when.
        deadline_secs: u64,
        /// Records in the log.
        size: u64,
        /// Time of the last one.
        last: UnixMicros,
    },
    /// The promise is another log's.
    #[error("the receipt is of the log `{promised}`, not of `{shown}`")]
    OtherLog {
        /// Who promised.
        promised: String,
        /// Whose checkpoint it is.
        shown: String,
    },
    /// The log's files are not its checkpoint's.
    #[error("the log's files do not hold")]
    Files(#[from] BadTile),
    /// The log's last entry is none.
    #[error("the log's last entry does not hold")]
    Entry(#[from] BadEntries),
}

/// Holds a promise against a log. `files`: opened under `checkpoint`. `now_secs`: the reader's clock, Unix seconds.
///
/// # Errors
/// [`NotKept`].
pub fn stands<F: FnMut(&str) -> Option<Vec<u8>>>(
    promise: &Promise,
    checkpoint: &Checkpoint,
    files: &mut TileReader<F>,
    now_secs: u64,
) -> Result<Standing, NotKept> {
    let Promise { origin, leaf_hash, index, deadline_secs } = promise;
    let (index, deadline_secs) = (*index, *deadline_secs);
    if *origin != checkpoint.origin {
        let (promised, shown) = (origin.clone(), checkpoint.origin.clone());
        return Err(NotKept::OtherLog { promised, shown });
    }
    assert_eq!(files.tree(), checkpoint.tree, "files of another checkpoint");
    let size = checkpoint.tree.size;
    if index < size {
        let found = files.leaf_hash(index)?;
        return if found == *leaf_hash {
            Ok(Standing::Included)
        } else {
            Err(NotKept::OtherRecord { index })
        };
    }
    // The log's own word on when it ended proves more than the reader's clock, which nobody else can check.
    let last = last_header(files)?.map(|header| header.time);
    if let Some(last) = last.filter(|last| last.0 / 1_000_000 > deadline_secs) {
        return Err(NotKept::Omitted { index, deadline_secs, size, last });
    }
    Ok(if now_secs <= deadline_secs { Standing::NotDue } else { Standing::Overdue })
}
