//! The control plane's listeners: operators' signed commands, the authority's token endpoint, and the log for outsiders; cases,
//! outbound mail, pages, and witnesses.
//!
//! Nothing here decides. A command is verified and applied by the registry and by posture, a token is issued by
//! `authority`; this crate carries them over HTTP and sees that each operator action becomes a record. It never
//! touches the data plane: what a change means there is published through [`desk::Publish`].

mod answers;
pub mod cases;
pub mod client_proof;
pub mod connect;
pub mod consents;
pub mod console;
pub mod desk;
pub mod expiry;
pub mod fetch;
pub mod intel;
pub mod issuer;
mod known;
pub mod listen;
mod lists;
pub mod log_listener;
pub mod long;
pub mod mail;
pub mod operators;
pub mod outbound;
pub mod pages;
mod passkeys;
pub mod portal;
pub mod questions;
pub mod register;
pub mod tokens;
pub mod vetting;
pub mod witness;
