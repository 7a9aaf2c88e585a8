//! What a decision needs to know of an operation.

use model::{ClassSet, OperationId};

/// One operation of the contract, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationFacts<'a> {
    /// Its `operationId`.
    pub id: &'a OperationId,
    /// What it does with records.
    pub kind: OperationKind,
    /// Every class its responses can hold; empty if they hold no data.
    pub classes: ClassSet,
}

/// What an operation does with records: the contract's `x-portcullis-operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Reads one record that the request names.
    Read,
    /// Reads many records without a selector.
    List,
    /// Reads records that match a selector.
    Search,
    /// Tells how many records there are.
    Count,
    /// Starts or fetches a bulk copy.
    Export,
    /// Changes something at the origin.
    Write,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::List, Self::Search, Self::Count, Self::Export, Self::Write];

    /// The word that contracts and policies use for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Search => "search",
            Self::Count => "count",
            Self::Export => "export",
            Self::Write => "write",
        }
    }
}
