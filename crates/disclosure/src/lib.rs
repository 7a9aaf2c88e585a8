//! What may leave? The contract compiler, the field filter and the binding of records to subjects.
//!
//! [`Contract`] turns an origin's OpenAPI document and its overlay into routes and field plans; [`disclose`] applies the plan to one
//! reply, [`disclose_batch`] to some values of a stream, and nothing else makes a [`Disclosed`]. Nothing here decides who may call what (`policy`), keeps the record of what
//! left (`ledger`) or fetches anything. Start reading at [`release`], then `json::filter`, then [`contract`]; `docs/contract.md` is
//! the same subject for those who write overlays.

pub mod release;

mod encoding;
mod headers;
mod json;
mod scope;
mod secrets;

pub mod contract;
pub mod stream;

pub use contract::request::AdmittedRequest;
pub use contract::{Contract, ContractError, Description, Match, NoOperation, Operation};
pub use release::{
    ChargeBudget, Disclosed, Findings, Guards, Honey, KnowSubjects, OriginReply, OverBudget,
    Unavailable, Withheld, WithheldBecause, disclose, disclose_batch,
};

pub use stream::{OriginBatch, Splitter, Stream};

#[cfg(test)]
mod tests;
