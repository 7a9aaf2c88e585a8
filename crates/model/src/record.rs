//! What the data path tells the ledger about one release or refusal.

use crate::{
    ClassSet, ClientIp, CredentialId, Digest, GrantId, IntegrationId, OperationId, Pseudonym,
    RequestId, VendorId,
};

/// One subject in one response, with the classes of theirs that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// Who, as the record names them.
    pub pseudonym: Pseudonym,
    /// Which classes.
    pub classes: ClassSet,
}

/// One access, attempt or authenticated refusal by an integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The request.
    pub request: RequestId,
    /// The integration's owner.
    pub vendor: VendorId,
    /// Who read.
    pub integration: IntegrationId,
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant; none if it was refused before a grant was chosen.
    pub grant: Option<GrantId>,
    /// Which operation; none if none matched.
    pub operation: Option<OperationId>,
    /// From where.
    pub network: ClientIp,
    /// SHA-256 of the contract in force.
    pub contract: Digest,
    /// SHA-256 of the policy set in force.
    pub policy: Digest,
    /// SHA-256 of the class table in force.
    pub class_table: Digest,
    /// What came of it.
    pub outcome: Outcome,
    /// Body bytes released.
    pub bytes: u64,
    /// Subjects and classes that left: sorted by pseudonym, each pseudonym once.
    pub touches: Vec<Touch>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Data was handed to the socket (or may have been: a crash counts as read).
    Released,
    /// About to be forwarded to an operation that changes something or exports; recorded before it is.
    Attempted,
    /// Refused.
    Refused(Refusal),
}

/// Why an authenticated request was refused. The integration sees the code only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The request is not HTTP with one meaning.
    Malformed,
    /// The contract has no such operation, or the request does not fit it.
    UnknownOperation,
    /// There is no such record, or it is not the caller's to read: both look the same from outside.
    NotFound,
    /// The proof, the token or the binding did not hold.
    Unauthenticated,
    /// The caller's network is listed, or not among its credential's.
    Network,
    /// Posture cut it off.
    Severed,
    /// No grant or policy permits it.
    NotPermitted,
    /// The exposure budget is used up.
    OverBudget,
    /// A honey subject was in the answer.
    Honey,
    /// The answer was not what the contract says.
    OutOfContract,
    /// The origin failed or could not be reached.
    OriginFailed,
    /// We could not record, or could not confirm posture.
    Unavailable,
}

impl Refusal {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::UnknownOperation,
        Self::NotFound,
        Self::Unauthenticated,
        Self::Network,
        Self::Severed,
        Self::NotPermitted,
        Self::OverBudget,
        Self::Honey,
        Self::OutOfContract,
        Self::OriginFailed,
        Self::Unavailable,
    ];

    /// The stable code of problem details (RFC 9457) and of the record.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownOperation => "unknown_operation",
            Self::NotFound => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::Network => "network",
            Self::Severed => "severed",
            Self::NotPermitted => "not_permitted",
            Self::OverBudget => "over_budget",
            Self::Honey => "honey",
            Self::OutOfContract => "out_of_contract",
            Self::OriginFailed => "origin_failed",
            Self::Unavailable => "unavailable",
        }
    }
}
