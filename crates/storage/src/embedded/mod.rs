//! The embedded engine: one node's records and subject vault in plain files, synced before anything is acknowledged.
//!
//! Start reading at `recorder`, then `log`, which it gives a thread. What it does not do: answer questions (`exposure`), decide
//! anything, replicate.

mod batch;
pub mod beside;
pub mod clocks;
pub mod disk;
pub mod evidence;
mod held;
pub mod index;
pub mod journal;
pub mod keeper;
mod kept;
pub mod lock;
pub mod log;
pub mod logs;
pub mod posture;
pub mod publisher;
pub mod recorder;
pub mod retention;
mod scan;
pub mod segments;
pub mod speed;
pub mod states;
mod stored;
pub mod unavailable;
pub mod vault;
pub mod view;
pub mod workers;

#[cfg(test)]
mod fixtures;

pub use beside::Beside;
pub use index::{CannotIndex, ExposureIndex};
pub use journal::JournalSizes;
pub use keeper::{Changed, Keeper};
pub use logs::Logs;
pub use posture::PostureRegister;
pub use recorder::Recorder;
pub use unavailable::Unavailable;
pub use vault::Vault;
