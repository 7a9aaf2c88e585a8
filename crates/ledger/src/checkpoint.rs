//! Checkpoints (C2SP tlog-checkpoint): a log's origin, size and root in a signed note.
//!
//! Never sign one that an earlier one is not the beginning of, and store it before it is published; both are the writer's to keep.

use crate::merkle::EMPTY_ROOT;
use crate::note::{self, BadNote, SigningKey, VerifyingKey};
use crate::sequencer::TreeHead;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

/// A checkpoint whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// Its size and root.
    pub tree: TreeHead,
}

/// A note that is no checkpoint of a known log. Whoever shows it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadCheckpoint {
    /// The note does not hold.
    #[error("the checkpoint is not a note of a known log")]
    Note(#[source] BadNote),
    /// The note's text is not origin, size and root.
    #[error("the note is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// The origin is not the name of a key that signed.
    #[error("the checkpoint is signed for another log")]
    OtherLog,
}

/// Signs the checkpoint of the log that `key` is named for.
pub fn sign(tree: &TreeHead, key: &SigningKey) -> String {
    key.sign_note(&format!("{}\n{}\n{}\n", key.name(), tree.size, BASE64.encode(tree.root)))
}

/// Signs the same checkpoint with the key that is to follow. Whoever knows either key can open it.
///
/// # Panics
/// If the two are named for different logs.
pub fn sign_beside(tree: &TreeHead, key: &SigningKey, next: &SigningKey) -> String {
    assert_eq!(key.name(), next.name(), "keys of two logs");
    let by_next = sign(tree, next);
    let line = by_next.rsplit_once("\n\n").map_or("", |(_, line)| line);
    sign(tree, key) + line
}

/// The size that a checkpoint's text names, unchecked: for notes of one's own.
pub fn size_of(note: &str) -> Option<u64> {
    note.split('\n').nth(1).and_then(note::decimal)
}

/// Opens a checkpoint that one of `keys` signed for the log of its own name.
///
/// # Errors
/// [`BadCheckpoint`]: whoever shows it is at fault.
///
/// Source: C2SP tlog-checkpoint. Extension lines are read over, as it asks.
pub fn open(note: &str, keys: &[VerifyingKey]) -> Result<Checkpoint, BadCheckpoint> {
    let opened = note::open(note, keys).map_err(BadCheckpoint::Note)?;
    let mut lines = opened.text.split_terminator('\n');
    let malformed = BadCheckpoint::Malformed;
    let origin = lines.next().filter(|line| !line.is_empty()).ok_or(malformed("no origin"))?;
    //= C2SP tlog-checkpoint: the size is decimal without leading zeros
    let size = lines.next().and_then(note::decimal).ok_or(malformed("no size"))?;
    let root = lines.next().and_then(|line| BASE64.decode(line).ok());
    let root = root.and_then(|root| root.try_into().ok()).ok_or(malformed("no root"))?;
    //= C2SP tlog-checkpoint: extension lines are not empty
    if lines.any(str::is_empty) {
        return Err(malformed("an empty line"));
    }
    if size == 0 && root != EMPTY_ROOT {
        return Err(malformed("a root of nothing"));
    }
    if !opened.signers.iter().any(|key| key.name() == origin) {
        return Err(BadCheckpoint::OtherLog);
    }
    Ok(Checkpoint { origin: origin.to_owned(), tree: TreeHead { size, root } })
}
