//! What somebody who only reads a log's files can hold against it: that it grew from what they saw before, and that its entries
//! follow each other.

use crate::checkpoint::Checkpoint;
use crate::merkle;
use crate::record::{Header, Kind};
use crate::sequencer::{Corrupt, Sequencer};
use crate::tile::{BadTile, TileReader, WIDTH};
use thiserror::Error;

/// A log that is not a continuation of what was seen before. The log's operator is at fault, unless the two are of different logs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotGrown {
    /// It shows less than before: a restored copy, or a history that is being taken back.
    #[error("the log was at {was} records and shows {is}: records were taken back")]
    Shrunk {
        /// Records of the earlier checkpoint.
        was: u64,
        /// Records of the later.
        is: u64,
    },
    /// Both checkpoints are signed and neither is the beginning of the other.
    #[error(
        "the log has two histories: its checkpoint of {was} records is not the beginning of its checkpoint of {is}. Keep both: together they are proof"
    )]
    Forked {
        /// Records of the earlier checkpoint.
        was: u64,
        /// Records of the later.
        is: u64,
    },
    /// The two are of different logs, and say nothing about each other.
    #[error("the earlier checkpoint is of the log `{earlier}`, not of `{later}`")]
    OtherLog {
        /// The earlier one's origin.
        earlier: String,
        /// The later one's.
        later: String,
    },
    /// The log's files do not lead to its own checkpoint.
    #[error(transparent)]
    Files(#[from] BadTile),
}

/// Checks that the log under `later` begins with everything under `earlier`. `files`: opened under `later`.
///
/// # Errors
/// [`NotGrown`].
pub fn grown<F: FnMut(&str) -> Option<Vec<u8>>>(
    earlier: &Checkpoint,
    later: &Checkpoint,
    files: &mut TileReader<F>,
) -> Result<(), NotGrown> {
    if earlier.origin != later.origin {
        let (earlier, later) = (earlier.origin.clone(), later.origin.clone());
        return Err(NotGrown::OtherLog { earlier, later });
    }
    assert_eq!(files.tree(), later.tree, "files of another checkpoint");
    let (was, is) = (earlier.tree.size, later.tree.size);
    if was > is {
        return Err(NotGrown::Shrunk { was, is });
    }
    if was == 0 {
        return Ok(());
    }
    let proof = files.consistency(was)?;
    // The proof is made of hashes that lead to the later root, so only the earlier root can be wrong.
    merkle::verify_consistency(was, &earlier.tree.root, is, &later.tree.root, &proof)
        .map_err(|_| NotGrown::Forked { was, is })
}

/// Entries that do not follow each other, or files that are not the checkpoint's. The log's operator is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEntries {
    /// The log's files do not lead to its checkpoint.
    #[error(transparent)]
    Files(#[from] BadTile),
    /// An entry is not the next of its chain, or of the log.
    #[error("the entries do not follow each other")]
    Order(#[from] Corrupt),
    /// The last entry under a checkpoint is always a heads record.
    #[error("the last entry under the checkpoint is no heads record")]
    NoHeads,
}

/// Reads every entry of a log and checks that each is the next of its chain, linked to the one before, and not earlier in time.
///
/// Bodies are not among a log's files, so whether the heads records' sums are true is not seen here; `portcullis verify --full`
/// sees that. `at` is told of each entry read, so that somebody can be shown how far it is.
///
/// # Errors
/// [`BadEntries`].
pub fn entries_follow<F: FnMut(&str) -> Option<Vec<u8>>>(
    checkpoint: &Checkpoint,
    files: &mut TileReader<F>,
    mut at: impl FnMut(u64),
) -> Result<(), BadEntries> {
    assert_eq!(files.tree(), checkpoint.tree, "files of another checkpoint");
    let mut log = Sequencer::begin(&checkpoint.origin);
    let mut last = None;
    while log.size() < checkpoint.tree.size {
        for entry in files.entries(log.size() / WIDTH)? {
            last = Some(log.replay_entry(&entry)?.kind);
        }
        files.forget(log.size());
        at(log.size());
    }
    if last.is_some_and(|kind| kind != Kind::Heads) {
        return Err(BadEntries::NoHeads);
    }
    Ok(())
}

/// The header of the last entry under the checkpoint that `files` are opened under; none if it is of an empty log.
///
/// # Errors
/// [`BadEntries`].
pub fn last_header<F: FnMut(&str) -> Option<Vec<u8>>>(
    files: &mut TileReader<F>,
) -> Result<Option<Header>, BadEntries> {
    let size = files.tree().size;
    let Some(index) = size.checked_sub(1) else { return Ok(None) };
    let entries = files.entries(index / WIDTH)?;
    let malformed = |source| Corrupt::Malformed { index, source };
    let header = entries.last().map(|entry| Header::decode(entry)).transpose();
    Ok(header.map_err(malformed)?)
}

#[cfg(test)]
mod tests;
