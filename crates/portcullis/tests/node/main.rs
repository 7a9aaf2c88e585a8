//! A node under load while things go wrong: its process is killed, integrations are cut off, its disk is full; and a node that is reloaded and stopped while they read.
//!
//! The node is the real one, a process of its own; so is everything else but the [`origin`] and the integrations'
//! [`software`], which keep accounts here that the node's record is held against.

#[path = "../../../control/tests/console/authenticator.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "another test's, which uses the rest and stops at the first surprise"
)]
mod authenticator;
mod bearer;
mod copies;
mod crash;
mod disk_full;
mod erasure;
mod evidence;
mod export;
mod exposure;
#[path = "../support/files.rs"]
mod files;
mod generations;
mod intel;
mod letters;
mod mistakes;
mod operators;
mod origin;
mod pages;
mod process;
mod receipts;
mod receiver;
mod registration;
mod replicas;
mod retention;
mod secrets;
mod service;
mod sever;
mod software;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

static MACHINE: Mutex<()> = Mutex::new(());

/// One test at a time: each loads the machine on purpose, and some measure.
fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
