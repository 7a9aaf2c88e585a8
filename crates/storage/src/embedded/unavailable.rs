//! Why the engine does not open, and why it does not take a record. Named by who must act.

use std::io;
use std::time::Duration;

/// The record could not be made durable, so what it describes must not happen. The caller refuses its request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The disk is full; posture changes are still recorded.
    #[error("the disk is full: make space, records are taken again within a second")]
    DiskFull,
    /// The disk did not answer in time, or too many records wait for it. The record may yet become durable.
    #[error("the disk did not keep up within {0:?}")]
    Busy(Duration),
    /// The clock was stepped; an operator has to acknowledge it.
    #[error(
        "the clock was stepped by {0} us against the monotonic clock and nobody has acknowledged it"
    )]
    ClockStepped(i64),
    /// The record is longer than a segment can hold.
    #[error("the record is longer than the journal takes")]
    TooLarge,
    /// A write or a sync failed, or a file was taken away: final until the process is started again.
    #[error("the record stopped: {0}")]
    Stopped(String),
}

/// The data directory cannot be served from. The operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailed {
    /// Another process has it.
    #[error("the data directory is in use by another process (lock on `{path}`)")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// The file system refused.
    #[error("`{path}` cannot be used")]
    Disk {
        /// The file or directory.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// What was durable is not there any more, or was changed.
    #[error(
        "`{path}` is corrupt at offset {offset}: {what}. Keep the directory as it is for examination and restore this file, or start the next generation of the log"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// Where in it, bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Something beside the segments knows a larger log than they hold: an older copy of them was put in place.
    #[error(
        "`{file}` is of {known} records and the segments hold {segments}: they are an older copy. Restore the newer segments, or start the next generation of the log"
    )]
    OlderCopy {
        /// The file that knows more.
        file: &'static str,
        /// Records it speaks of.
        known: u64,
        /// Records the segments hold.
        segments: u64,
    },
    /// The checkpoint is not one of this log and key, or of another history.
    #[error("`ledger/checkpoint` does not belong to these segments: {what}")]
    OtherCheckpoint {
        /// What differs.
        what: String,
    },
    /// Subjects who were erased are in the vault again, and cannot be taken out.
    #[error(
        "`vault/rows` is an older copy with subjects who were erased since, and they cannot be erased again"
    )]
    NotErased(#[source] Unavailable),
    /// The start of the node could not be recorded.
    #[error("the start of the node cannot be recorded")]
    NoStartRecord(#[source] Unavailable),
    /// A key does not fit.
    #[error("{what}")]
    Key {
        /// Which key and why.
        what: String,
    },
}
