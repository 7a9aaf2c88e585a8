//! The record in formats that other programs read: [`parquet`] for analysts and their own engines, [`ocsf`] for a SIEM.
//!
//! Copies, never the record itself: nothing here is signed, and nothing of it is read back. A log is read beside a running node, segment
//! by segment; records and what takes them back are counted as `exposure` counts them. Start reading at [`parquet::export`].

pub mod classes;
pub mod ocsf;
pub mod parquet;
mod taken_back;
#[cfg(test)]
mod tests;
pub mod whole;

use model::UnixMicros;
use storage::embedded::unavailable::{OpenFailed, Unavailable};

/// Why a copy was not made, or not finished. What was finished stays, and is whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportFailed {
    /// The log cannot be read: look at it before anything else.
    #[error("the log cannot be read")]
    Log(#[from] OpenFailed),
    /// A record is not of the format, or not in its place.
    #[error("record {index} cannot be read: {what}")]
    Record {
        /// Its place in the log.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// A record was made under a class table that the registry's does not continue, so its classes have no names.
    #[error("record {index} was made under another class table than the registry's")]
    ClassTable {
        /// Its place in the log.
        index: u64,
    },
    /// Retention took what was to be copied.
    #[error("the record up to {until} was thinned by retention: export from a later time on")]
    Thinned {
        /// Every record after it is whole.
        until: UnixMicros,
    },
    /// The directory holds what cannot stand beside this.
    #[error("`{directory}` {why}")]
    Directory {
        /// Which.
        directory: String,
        /// What stands there.
        why: &'static str,
    },
    /// The vault did not answer.
    #[error("the subjects cannot be named")]
    Subjects(#[from] Unavailable),
    /// A file could not be written.
    #[error("`{path}` cannot be written")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The Parquet writer refused: our bug, or the disk.
    #[error("`{path}` cannot be written as Parquet")]
    Parquet {
        /// Which file.
        path: String,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
}
