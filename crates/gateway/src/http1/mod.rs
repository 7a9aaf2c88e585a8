//! A strict HTTP/1.1 codec without I/O: bytes in, requests out; replies in, bytes out.
//!
//! Start at [`server::parse_head`]: what it returns has one meaning, and [`client::UpstreamRequest`] writes the
//! origin's request from that meaning alone, never from the caller's bytes. Where RFC 9112 lets a recipient be
//! lenient, this one refuses and the connection closes, because two lenient parsers in a row are how requests are smuggled.
//! It does not read clocks or sockets, negotiate content, or know what an operation is; the path and authority
//! checks in [`target`] and [`authority`] serve HTTP/2 requests too.

pub mod authority;
pub mod body;
pub mod client;
pub mod date;
pub mod encode;
pub mod fields;
pub mod method;
mod names;
pub mod refusal;
pub mod server;
pub mod target;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Scheme};
pub use body::{BadBody, BodyDecoder, BodyLength, Decoded};
pub use fields::Fields;
pub use method::Method;
pub use refusal::BadRequest;
pub use target::{BadTarget, RequestTarget};
