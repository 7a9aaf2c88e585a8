//! What can be cut off, and whether a request is one of those things.

use ipnet::IpNet;
use model::{ClientIp, ConsentId, CredentialId, GrantId, IntegrationId, OperationId, VendorId};
use std::fmt;
use std::net::IpAddr;

/// Everything about a request that a severance can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bearing {
    /// The integration's owner.
    pub vendor: VendorId,
    /// Who asks.
    pub integration: IntegrationId,
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant.
    pub grant: GrantId,
    /// For which operation.
    pub operation: OperationId,
    /// From where.
    pub network: ClientIp,
    /// On which subject's word, if on one's. No entry of posture names it: see [`crate::Switch::abort`].
    pub consent: Option<ConsentId>,
}

/// A thing that can be severed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every integration of a vendor.
    Vendor(VendorId),
    /// One integration.
    Integration(IntegrationId),
    /// One key.
    Credential(CredentialId),
    /// One grant.
    Grant(GrantId),
    /// One operation, for everybody.
    Operation(OperationId),
    /// Every address of a network, for everybody.
    Network(IpNet),
}

impl Target {
    /// Whether the request is, or comes from, this thing.
    pub fn covers(&self, bearing: &Bearing) -> bool {
        match self {
            Self::Vendor(id) => bearing.vendor == *id,
            Self::Integration(id) => bearing.integration == *id,
            Self::Credential(id) => bearing.credential == *id,
            Self::Grant(id) => bearing.grant == *id,
            Self::Operation(id) => bearing.operation == *id,
            Self::Network(net) => net.contains(&bearing.network.addr()),
        }
    }

    /// The word before the colon in the command line's `kind:id`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Vendor(_) => "vendor",
            Self::Integration(_) => "integration",
            Self::Credential(_) => "credential",
            Self::Grant(_) => "grant",
            Self::Operation(_) => "operation",
            Self::Network(_) => "network",
        }
    }

    /// Reads `kind:id` with an id, not a slug; `None` if it is neither of these kinds or the id is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        match kind {
            "vendor" => id.parse().ok().map(Self::Vendor),
            "integration" => id.parse().ok().map(Self::Integration),
            "credential" => id.parse().ok().map(Self::Credential),
            "grant" => id.parse().ok().map(Self::Grant),
            "operation" => OperationId::new(id).map(Self::Operation),
            "network" => parse_network(id).map(Self::Network),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        match self {
            Self::Vendor(id) => id.fmt(f),
            Self::Integration(id) => id.fmt(f),
            Self::Credential(id) => id.fmt(f),
            Self::Grant(id) => id.fmt(f),
            Self::Operation(id) => id.fmt(f),
            Self::Network(net) => net.fmt(f),
        }
    }
}

/// A CIDR network, or an address as the network of that one address. Host bits are cleared, so that one network has one name.
fn parse_network(text: &str) -> Option<IpNet> {
    let network =
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some(network.trunc())
}
