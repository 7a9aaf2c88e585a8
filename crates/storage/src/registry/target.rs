//! What a command line names: `kind:slug-or-id`, as in `vendor:acme`, `grant:grt_...` or `network:203.0.113.0/24`.

use ipnet::IpNet;
use model::{CredentialId, Directory, GrantId, IntegrationId, OperationId, VendorId};
use std::fmt;
use std::str::FromStr;

/// Something that can be severed and restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A vendor and all its integrations.
    Vendor(Named<VendorId>),
    /// One integration.
    Integration(Named<IntegrationId>),
    /// One key.
    Credential(CredentialId),
    /// One grant.
    Grant(GrantId),
    /// One operation of the contract, for everybody.
    Operation(OperationId),
    /// A network, for everybody. An address alone is a network of one.
    Network(IpNet),
}

/// An id, or the slug an operator chose for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named<I> {
    /// The id itself.
    Id(I),
    /// 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter or digit.
    Slug(String),
}

/// Text that names no target; whoever typed it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    /// There is no colon.
    #[error("a target is written `kind:slug-or-id`, as in `integration:acme-desk`")]
    NoKind,
    /// The kind is none of ours.
    #[error(
        "`{0}` is not a kind of target; it is one of vendor, integration, credential, grant, operation, network"
    )]
    UnknownKind(String),
    /// What follows the kind does not fit it.
    #[error("`{name}` is not the slug or id of a {kind}")]
    BadName {
        /// The kind.
        kind: &'static str,
        /// What followed it.
        name: String,
    },
}

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (kind, name) = text.split_once(':').ok_or(NotATarget::NoKind)?;
        let bad = |kind| NotATarget::BadName { kind, name: name.into() };
        match kind {
            "vendor" => Named::parse(name).map(Self::Vendor).ok_or_else(|| bad("vendor")),
            "integration" => {
                Named::parse(name).map(Self::Integration).ok_or_else(|| bad("integration"))
            }
            "credential" => name.parse().map(Self::Credential).map_err(|_| bad("credential")),
            "grant" => name.parse().map(Self::Grant).map_err(|_| bad("grant")),
            "operation" => {
                OperationId::new(name).map(Self::Operation).ok_or_else(|| bad("operation"))
            }
            "network" => network(name).map(Self::Network).ok_or_else(|| bad("network")),
            _ => Err(NotATarget::UnknownKind(kind.into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor(vendor) => write!(f, "vendor:{vendor}"),
            Self::Integration(integration) => write!(f, "integration:{integration}"),
            Self::Credential(credential) => write!(f, "credential:{credential}"),
            Self::Grant(grant) => write!(f, "grant:{grant}"),
            Self::Operation(operation) => write!(f, "operation:{operation}"),
            Self::Network(network) => write!(f, "network:{network}"),
        }
    }
}

impl Target {
    /// The thing it names, or `None` if no such slug is registered. Ids are taken at their word: what is cut need not exist
    /// any more.
    pub fn resolve(&self, directory: &Directory) -> Option<sever::Target> {
        Some(match self {
            Self::Vendor(Named::Id(id)) => sever::Target::Vendor(*id),
            Self::Vendor(vendor) => sever::Target::Vendor(vendor.resolve(directory)?),
            Self::Integration(Named::Id(id)) => sever::Target::Integration(*id),
            Self::Integration(integration) => {
                sever::Target::Integration(integration.resolve(directory)?)
            }
            Self::Credential(id) => sever::Target::Credential(*id),
            Self::Grant(id) => sever::Target::Grant(*id),
            Self::Operation(id) => sever::Target::Operation(id.clone()),
            Self::Network(net) => sever::Target::Network(*net),
        })
    }
}

impl<I: FromStr> Named<I> {
    /// An id if it reads as one, else a slug; `None` if it is neither. A slug has no `_`, so it is never mistaken for an id.
    pub fn parse(name: &str) -> Option<Self> {
        match name.parse() {
            Ok(id) => Some(Self::Id(id)),
            Err(_) => is_slug(name).then(|| Self::Slug(name.into())),
        }
    }
}

impl Named<VendorId> {
    /// The vendor it names in `directory`.
    pub fn resolve(&self, directory: &Directory) -> Option<VendorId> {
        match self {
            Self::Id(id) => directory.vendors.contains_key(id).then_some(*id),
            Self::Slug(slug) => directory.vendors.values().find(|v| v.slug == *slug).map(|v| v.id),
        }
    }
}

impl Named<IntegrationId> {
    /// The integration it names in `directory`.
    pub fn resolve(&self, directory: &Directory) -> Option<IntegrationId> {
        match self {
            Self::Id(id) => directory.integrations.contains_key(id).then_some(*id),
            Self::Slug(slug) => {
                directory.integrations.values().find(|i| i.slug == *slug).map(|i| i.id)
            }
        }
    }
}

impl<I: fmt::Display> fmt::Display for Named<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug(slug) => f.write_str(slug),
        }
    }
}

pub(super) fn is_slug(text: &str) -> bool {
    let in_slug = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(in_slug)
}

fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    network.ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_and_print_alike() {
        let id = IntegrationId::from_bytes([5; 16]);
        for text in [
            "vendor:acme",
            "integration:acme-desk",
            &format!("integration:{id}"),
            &format!("credential:{}", CredentialId::from_bytes([6; 16])),
            &format!("grant:{}", GrantId::from_bytes([7; 16])),
            "operation:accounts:list",
            "network:203.0.113.0/24",
            "network:2001:db8::/32",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let address = "network:203.0.113.9".parse::<Target>().unwrap();
        assert_eq!(address.to_string(), "network:203.0.113.9/32");
        let host_bits = "network:203.0.113.9/24".parse::<Target>().unwrap();
        assert_eq!(host_bits.to_string(), "network:203.0.113.0/24");
    }

    #[test]
    fn what_is_no_target_says_why() {
        for (text, why) in [
            ("acme", "a target is written `kind:slug-or-id`, as in `integration:acme-desk`"),
            ("vendor:", "`` is not the slug or id of a vendor"),
            ("vendor:Acme", "`Acme` is not the slug or id of a vendor"),
            ("grant:acme", "`acme` is not the slug or id of a grant"),
            ("network:300.0.0.1", "`300.0.0.1` is not the slug or id of a network"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), why);
        }
        assert_eq!("client:a".parse::<Target>(), Err(NotATarget::UnknownKind("client".into())));
    }
}
