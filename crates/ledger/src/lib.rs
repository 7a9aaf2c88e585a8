//! The record: who was read, by whom, when, as a log that nobody can change or shorten unseen.
//!
//! Pure: it is handed time and salts, and gives back bytes; `storage` writes them. It does not decide what is recorded,
//! and it does not know who a pseudonym stands for. `docs/evidence-format.md` and `docs/record-format.md` are the format. Start reading at [`record`],
//! then [`sequencer`].

mod domain;

pub mod bundle;
pub mod checkpoint;
pub mod cosign;
pub mod full;
pub mod growth;
pub mod heads;
pub mod merkle;
pub mod note;
pub mod prepared;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod sequencer;
pub mod state;
pub mod thinning;
pub mod tile;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use prepared::Prepared;
pub use receipt::{Batch, Receipt};
pub use record::touches::root as touches_root;
pub use record::{Draft, NodeEvent, Record, StoredRecord};
pub use sequencer::{Corrupt, Sequenced, Sequencer, TreeHead};
pub use state::State;
pub use thinning::Thinning;
