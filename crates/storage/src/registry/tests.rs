//! The registry against a real SQLite file.

mod bearer;
mod certified;
mod changes;
mod erased;
mod fixture;
mod passkeys;
mod registrations;
mod roles;
mod signatures;
mod stored;
mod vetted;
mod windows;
