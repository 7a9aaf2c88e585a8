//! The data plane: accepts connections, serves requests, releases what may leave.
//!
//! [`serve`] holds the life of a request in one function; read it first. Below it stand the steps that need I/O
//! ([`origin`]), above it the connections that carry requests in and replies out ([`connection`],
//! `http2`, [`listener`]). This crate decides nothing: every decision is a core crate's.

mod asker;
mod batches;
pub mod connection;
mod forward;
mod gated;
pub mod http1;
mod http2;
pub mod listener;
mod metadata;
pub mod meter;
#[cfg(doctest)]
mod must_not_compile;
pub mod node;
pub mod origin;
pub mod refuse;
pub mod release;
pub mod request;
pub mod serve;
pub mod sever_listener;
pub mod tally;
pub mod tls;
pub mod watch;
