//! What an integration must show before it may read, and what takes it out of use again: evidence, tier, SBOM, advisories, checks.
//!
//! Pure: documents come in as bytes and the time as an argument; nothing here stores, fetches or decides who approves. Start at
//! [`checks::check`], then read [`evidence`], [`tier`], [`sbom`] and [`osv`].

pub mod checks;
mod cvss;
pub mod date;
pub mod evidence;
mod format;
mod json;
pub mod osv;
pub mod purl;
pub mod purpose;
mod redirect;
pub mod sbom;
mod schema;
pub mod tier;
mod version;
