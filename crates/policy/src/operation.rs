//! What a decision needs to know of an operation.

use model::{ClassSet, OperationId, OperationKind};

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
