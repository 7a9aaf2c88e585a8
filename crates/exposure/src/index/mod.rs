//! The exposure index: who read whom, in milliseconds, from records that need not be read again.
//!
//! Derived from the log alone and built again at any time, so nothing here is believed over a record. Times are cut into hours,
//! days, seven days and thirty days; for each of them and each integration there is a *run*, the subjects in order with the
//! union of what was read of them. A question is covered with the longest runs that fit its window, exact to the microsecond at
//! both ends by the releases themselves, and the newest records come from memory.
//!
//! Pure: it is handed records and read access to its own files, and gives back bytes. Start reading at [`table`] (how records come in),
//! then [`Sealer`] (what a part's file holds), then [`Index`] (how a question is answered). `docs/index-format.md` is the format.

mod ask;
mod block;
mod count;
mod file;
mod footer;
mod gather;
mod histogram;
mod levels;
mod masks;
mod packed;
mod plan;
mod postings;
mod run;
mod run_writer;
mod scan;
mod seal;
mod sort;
pub mod table;
mod union;
mod unite;
mod workers;

#[cfg(test)]
mod tests;

pub use ask::{HourLine, Index, Touched};
pub use count::Counted;
pub use file::{IndexFile, Sizes};
pub use footer::{RowMark, Span};
pub use gather::Subjects;
pub use levels::Leveler;
pub use plan::{DAYS_OF_MONTH, DAYS_OF_WEEK};
pub use seal::Sealer;
pub use table::{Context, Gap, Indexer, NAMELESS, Release, Table};
pub use union::OfLog;
pub use workers::{Job, Workers};

use std::io;

/// Read access to one file that does not change. Implemented by `storage` over a file, by tests over memory.
pub trait ReadRange: Send + Sync {
    /// Replaces what is in `into` by `length` bytes at `offset`.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()>;

    /// As [`ReadRange::read`] if that needs no waiting; else returns false, and `into` holds nothing of use.
    ///
    /// # Errors
    /// As [`ReadRange::read`].
    fn read_at_hand(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<bool>;

    /// Says that these bytes will be read soon, so that they can be on their way.
    fn expect(&self, offset: u64, length: u64);
}

/// A file of the index is not what was written. It has to be built again from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is damaged")]
pub struct Damaged(pub &'static str);

/// The index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file system refused.
    #[error("the index cannot be read")]
    Disk(#[from] io::Error),
    /// It has to be built again.
    #[error("{0} is damaged: delete the directory `index`, it is built again from the log")]
    Damaged(&'static str),
}

impl From<Damaged> for Unreadable {
    fn from(Damaged(what): Damaged) -> Self {
        Self::Damaged(what)
    }
}
