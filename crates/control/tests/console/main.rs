//! The console over its listener: every rule about who may ask, and the page in a browser that nobody here wrote.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod authenticator;
mod browser;
mod passkeys;
mod stage;
mod wire;
