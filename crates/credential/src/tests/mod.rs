//! The crate seen from outside: what an attacker can try, what a client may do.

mod attempt;
mod caller;
mod foreign;
mod forged;
mod once;
mod properties;
mod rfc9449;
mod signed;
mod signed_properties;
mod signed_request;
mod world;
