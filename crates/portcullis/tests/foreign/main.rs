//! The binary against clients and servers that nobody here wrote. They are npm packages, named in `tests/foreign/package.json`;
//! `cargo xtask test` installs them, and without that the tests that need them leave themselves out.

mod certificates;
mod connect;
mod foreign_issuer;
mod forged;
mod log;
mod newcomer;
mod oauth;
mod openapi;
mod prism;
mod registration;
mod scripts;
mod sign_in;
mod signed;
#[path = "../support/mod.rs"]
mod support;
