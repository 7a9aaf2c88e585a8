//! Who read whom: exact answers from records, never approximate.
//!
//! Pure: it is handed records in the order of one log and asks a closure who a pseudonym stands for. It proves nothing;
//! [`ledger::bundle`] proves the same answer to outsiders. Start reading at [`Question`], then [`fold`], which is the meaning of
//! an answer; [`index`] gives the same answers fast.

pub mod fold;
pub mod index;
mod listed;
pub mod question;
pub mod scope;
mod wire;

pub use fold::{ClassTotal, Exposure, Fold, HourTotal, IntegrationTotal, Person, Seen, Totals};
pub use listed::Listed;
pub use question::Question;
pub use scope::Scope;
pub use wire::{Caveats, write_json};

#[cfg(test)]
mod tests;
