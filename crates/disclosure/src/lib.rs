//! What may leave? The contract compiler, the field filter and the binding of records to subjects.
//!
//! [`Contract`] turns an origin's OpenAPI document and its overlay into routes and field plans; [`disclose`] applies the plan to one
//! reply and is the only place that makes a [`Disclosed`]. Nothing here decides who may call what (`policy`), keeps the record of what
//! left (`ledger`) or fetches anything. Start reading at [`release`], then `json::filter`, then [`contract`]; `docs/contract.md` is
//! the same subject for those who write overlays.

pub mod release;

mod encoding;
mod headers;
mod json;
mod scope;
mod secrets;

pub mod contract;

pub use contract::request::AdmittedRequest;
pub use contract::{Contract, ContractError, Description, Match, NoOperation, Operation};
pub use release::{
    ChargeBudget, Disclosed, Findings, Guards, KnowSubjects, OriginReply, OverBudget, Unavailable,
    Withheld, WithheldBecause, disclose,
};

#[cfg(test)]
mod tests;
