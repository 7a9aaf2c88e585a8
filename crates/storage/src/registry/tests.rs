//! The registry against a real SQLite file.

mod bearer;
mod certified;
mod changes;
mod erased;
mod fixture;
mod registrations;
mod signatures;
mod stored;
mod vetted;
