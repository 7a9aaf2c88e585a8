//! The registry against a real SQLite file.

mod certified;
mod changes;
mod erased;
mod fixture;
mod signatures;
mod stored;
mod vetted;
