//! What operators registered: vendors, their integrations, credentials and grants.
//!
//! A [`Directory`] is one consistent reading of all of it; the data path holds one and replaces it whole.

use crate::{
    CertificateRule, ClassSet, CredentialId, Digest, GrantId, IntegrationId, Micros, SubjectId,
    UnixMicros, VendorId,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A legal entity that owns integrations: GDPR processor or recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Its id.
    pub id: VendorId,
    /// The operator-chosen alias, unique among vendors.
    pub slug: String,
    /// The legal name.
    pub name: String,
}

/// A vendor's software that reads the company's data; in OAuth text, the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// Its id; also the OAuth `client_id`.
    pub id: IntegrationId,
    /// The operator-chosen alias, unique among integrations.
    pub slug: String,
    /// Its owner.
    pub vendor: VendorId,
    /// Vetting tier, 0 (harmless) to 3 (highest).
    pub tier: u8,
    /// Where in its life cycle it stands.
    pub state: IntegrationState,
    /// Where subjects' browsers may be sent back to, as registered; none if subjects do not connect it.
    pub redirects: Vec<String>,
}

/// The life cycle of an integration. Only `Sandbox`, `Approved` and `Restricted` read anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntegrationState {
    /// Applied for; two operators have yet to approve.
    Applied,
    /// Reviewed; may read under grants to named subjects, which are synthetic ones, until the date.
    Sandbox {
        /// After this it may read nothing.
        until: UnixMicros,
    },
    /// May read within its grants until the date.
    Approved {
        /// After this it counts as expired.
        until: UnixMicros,
    },
    /// May read within a tenth of its budgets, no bulk, until the date.
    Restricted {
        /// After this it counts as expired.
        until: UnixMicros,
    },
    /// Cut off; only two signatures bring it back.
    Severed,
    /// Its approval ran out.
    Expired,
}

/// Something an integration proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id; also the JWK `kid`.
    pub id: CredentialId,
    /// Who holds the private key.
    pub integration: IntegrationId,
    /// What it is.
    pub means: Means,
    /// When it may be used.
    pub state: CredentialState,
    /// Networks it may be used from; empty means any network that is not listed.
    pub networks: Vec<IpNet>,
}

impl Credential {
    /// When it ends by itself, by its own date or its certificate's; none once it is retired.
    pub fn ends(&self) -> Option<UnixMicros> {
        match self.state {
            CredentialState::Active { until } => {
                Some(self.means.ends().map_or(until, |ends| ends.min(until)))
            }
            CredentialState::Retired => None,
        }
    }
}

/// What a credential is. The private key is the integration's in each case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// A public key, for assertions and DPoP proofs.
    Key {
        /// Its RFC 7638 SHA-256 thumbprint.
        thumbprint: Digest,
        /// The key as a JWK, JSON text as registered.
        jwk: String,
    },
    /// This one certificate, whoever issued it (RFC 8705 section 2.2).
    Certificate {
        /// SHA-256 of its DER.
        thumbprint: Digest,
        /// The first moment at which it is no longer valid.
        ends: UnixMicros,
    },
    /// Every certificate that this CA issued and that the rule is met by (RFC 8705 section 2.1). The node must trust the CA besides.
    Ca {
        /// SHA-256 of the CA certificate's DER.
        ca: Digest,
        /// The first moment at which the CA's certificate is no longer valid.
        ends: UnixMicros,
        /// Which of its certificates.
        rule: CertificateRule,
    },
}

impl Means {
    /// When the certificate that was registered ends; none for a key.
    pub const fn ends(&self) -> Option<UnixMicros> {
        match self {
            Self::Key { .. } => None,
            Self::Certificate { ends, .. } | Self::Ca { ends, .. } => Some(*ends),
        }
    }
}

/// Whether a credential may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// May be used until the date.
    Active {
        /// After this it is refused.
        until: UnixMicros,
    },
    /// Taken out of use for good.
    Retired,
}

/// Why data is read, such as `support`. Lower-case letters and `_`, 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purpose(Arc<str>);

impl Purpose {
    /// `None` if `text` is not a well-formed purpose.
    pub fn new(text: &str) -> Option<Self> {
        let valid = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        valid.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `operationId` of the contract, 1 to 128 bytes of visible ASCII. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// `None` if `text` is empty, longer than 128 bytes or holds anything but visible ASCII.
    pub fn new(text: &str) -> Option<Self> {
        let valid =
            !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        valid.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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

    /// Whether the caller chooses whose record it gets, so that the order of ids and a miss say something about it.
    pub const fn chooses(self) -> bool {
        matches!(self, Self::Read | Self::Search)
    }
}

/// What the operator allowed: operations x classes x purpose x subjects x budget, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id; a token is issued for exactly one grant.
    pub id: GrantId,
    /// Who may use it.
    pub integration: IntegrationId,
    /// Which operations it covers.
    pub operations: BTreeSet<OperationId>,
    /// Which data classes may leave under it.
    pub classes: ClassSet,
    /// Why.
    pub purpose: Purpose,
    /// Whose data.
    pub scope: SubjectScope,
    /// How many distinct subjects.
    pub budget: Budget,
    /// Until when.
    pub expires: UnixMicros,
}

/// Whose records a grant covers. Tested on each record; a record whose subject is missing or null is never covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectScope {
    /// Only the subject that the token names.
    TokenSubject,
    /// Only these subjects.
    Consenting(BTreeSet<SubjectId>),
    /// Every subject whose record has this attribute value; `pointer` is a JSON pointer (RFC 6901) in the record.
    Attribute {
        /// Where the record holds the attribute, such as `/tenant`.
        pointer: String,
        /// The value it must have.
        value: String,
    },
    /// Every subject. Highest tier only.
    All,
}

/// Distinct subjects a grant may read in each sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In any 60 seconds.
    pub burst: u32,
    /// In any hour.
    pub hour: u32,
    /// In any 24 hours.
    pub day: u32,
}

impl Budget {
    /// The windows and their limits, shortest first.
    pub fn windows(&self) -> [(Micros, u32); 3] {
        [
            (Micros::from_secs(60), self.burst),
            (Micros::from_secs(3_600), self.hour),
            (Micros::from_secs(86_400), self.day),
        ]
    }
}

/// For a while, an integration's tokens are taken without proof of possession: the one weaker thing, for tools that cannot do better yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerException {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// From then on it is over.
    pub until: UnixMicros,
}

/// One consistent reading of the registry, as the data path uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Counts up with each change.
    pub revision: u64,
    /// Vendors by id.
    pub vendors: BTreeMap<VendorId, Vendor>,
    /// Integrations by id.
    pub integrations: BTreeMap<IntegrationId, Integration>,
    /// Credentials by id.
    pub credentials: BTreeMap<CredentialId, Credential>,
    /// Grants by id.
    pub grants: BTreeMap<GrantId, Grant>,
    /// Bearer exceptions by integration, those that are over included.
    pub bearer: BTreeMap<IntegrationId, BearerException>,
}

impl Directory {
    /// Whether a bearer exception of the integration runs.
    pub fn bears(&self, integration: &IntegrationId, now: UnixMicros) -> bool {
        self.bearer.get(integration).is_some_and(|exception| now < exception.until)
    }
}
