//! The nouns every other crate speaks in: ids, times, data classes, subjects, grants, access records.
//!
//! Values here are valid once built and carry no behaviour beyond that; nothing here can be serialised, because
//! wire and disk formats belong to the crates that own them. Start reading at [`id`], then [`registry`].

pub mod certificate;
pub mod class;
pub mod id;
pub mod network;
pub mod operator;
pub mod record;
pub mod registry;
pub mod subject;
pub mod time;

pub use certificate::{BadRule, CertificateRule, RuleKind};
pub use class::{ClassNumber, ClassSet, ClassTable, DataClass};
pub use id::{
    ConsentId, CredentialId, GrantId, IncidentId, IntegrationId, OperatorId, RequestId, VendorId,
    WindowId,
};
pub use network::ClientIp;
pub use operator::{NoRole, Operator, OperatorKind, Role};
pub use record::{AccessRecord, Outcome, Refusal, Touch};
pub use registry::{
    BearerException, Budget, Credential, CredentialState, Directory, Grant, Integration,
    IntegrationState, Means, OperationId, OperationKind, Purpose, SubjectScope, Vendor,
};
pub use subject::{Pseudonym, SubjectId, SubjectOrdinal};
pub use time::{Micros, UnixMicros};

/// A SHA-256 value, 32 bytes.
pub type Digest = [u8; 32];
