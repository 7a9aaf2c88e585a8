//! The engines of this node: the record, the vault and posture in plain files, the registry, consents and the outbox in SQLite.
//!
//! It does the I/O and decides nothing: what a record is belongs to `ledger`, what posture means to `sever`.

pub mod addresses;
pub mod clock;
pub mod consents;
pub mod embedded;
pub mod outbox;
pub mod registry;
pub mod secrets;
pub mod signals;
mod sqlite;
