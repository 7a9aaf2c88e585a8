//! What was found, in numbers, and what it calls for.

use crate::Hold;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{ClientIp, CredentialId, GrantId, IntegrationId, Micros, OperationId, UnixMicros};
use std::fmt;
use std::net::IpAddr;

/// One finding. `Display` is one sentence for an operator; it never names a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When the event that completed it happened.
    pub at: UnixMicros,
    /// What was found.
    pub cause: Cause,
    /// What it calls for, mildest first; empty if it is only to be recorded.
    pub containment: Vec<Containment>,
}

/// The finding and the numbers that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Proofs that did not hold, from one network. Not authenticated.
    BadProofs {
        /// Where from.
        network: NetworkGroup,
        /// How many.
        count: usize,
        /// Within how long.
        within: Micros,
    },
    /// A request from a listed network.
    ListedNetwork {
        /// Where from.
        network: ClientIp,
        /// The list that holds it.
        list: String,
        /// Whose proof held, if one did.
        credential: Option<CredentialId>,
    },
    /// A request from outside the networks its credential is pinned to.
    OutsidePins {
        /// Whose.
        credential: CredentialId,
        /// Where from.
        network: ClientIp,
    },
    /// A network never seen for this credential.
    NewNetwork {
        /// Whose.
        credential: CredentialId,
        /// Where from.
        network: ClientIp,
    },
    /// A new network and another finding about the same credential.
    NewNetworkAndMore {
        /// Whose.
        credential: CredentialId,
        /// The other finding, in a few words.
        other: &'static str,
        /// Within how long of each other.
        within: Micros,
    },
    /// A credential or grant that nobody had used for long.
    Dormant {
        /// Whose.
        credential: CredentialId,
        /// Days since its last use.
        idle_days: u32,
    },
    /// A request that fits no operation of the contract.
    UnknownOperation {
        /// Whose.
        credential: CredentialId,
    },
    /// Fields in an answer that the contract does not know.
    OutOfContract {
        /// Which operation.
        operation: OperationId,
        /// How many fields were withheld.
        fields: u32,
    },
    /// Records of subjects that request, token or grant do not cover.
    ForeignSubjects {
        /// Which operation.
        operation: OperationId,
        /// How many records.
        records: u64,
        /// Within how long; none if one answer alone.
        within: Option<Micros>,
    },
    /// An exposure budget that held a response back.
    BudgetHold {
        /// Whose budget.
        grant: GrantId,
        /// The hold.
        hold: Hold,
    },
    /// Holds that follow each other.
    BudgetHolds {
        /// Whose budget.
        grant: GrantId,
        /// How many.
        count: usize,
        /// Within how long.
        within: Micros,
        /// The last of them.
        hold: Hold,
    },
    /// A decoy in an answer.
    Honey {
        /// Who asked.
        integration: IntegrationId,
        /// With which key.
        credential: CredentialId,
        /// Through which operation.
        operation: OperationId,
    },
    /// Secrets masked in free text.
    Secret {
        /// Which operation.
        operation: OperationId,
        /// How many.
        count: u32,
    },
}

/// What a finding calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containment {
    /// A tenth of the grant's budget.
    Throttle(GrantId),
    /// A tenth of every budget, no bulk, selected classes withheld.
    Restrict(IntegrationId),
    /// No request under this credential until an operator looked.
    SuspendCredential(CredentialId),
    /// No request to this operation of the origin, by anybody, until an operator looked.
    SuspendOperation(OperationId),
    /// The kill switch.
    Sever(IntegrationId),
    /// Wake somebody.
    Page,
    /// Open a case.
    OpenCase,
}

/// A /24 of IPv4 or a /48 of IPv6: what one attacker easily moves about in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkGroup(IpNet);

impl NetworkGroup {
    /// The group that an address belongs to.
    pub fn of(network: ClientIp) -> Self {
        Self(match network.addr() {
            IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, 24).trunc()),
            IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, 48).trunc()),
        })
    }

    /// The network, host bits zero.
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl Signal {
    /// The finding in a few words.
    pub(crate) fn words(&self) -> &'static str {
        match &self.cause {
            Cause::BadProofs { .. } => "bad proofs",
            Cause::ListedNetwork { .. } => "a listed network",
            Cause::OutsidePins { .. } => "a network outside the pins",
            Cause::NewNetwork { .. } | Cause::NewNetworkAndMore { .. } => {
                "a network never seen before"
            }
            Cause::Dormant { .. } => "a long silence",
            Cause::UnknownOperation { .. } => "an unknown operation",
            Cause::OutOfContract { .. } => "fields out of contract",
            Cause::ForeignSubjects { .. } => "foreign subjects",
            Cause::BudgetHold { .. } | Cause::BudgetHolds { .. } => "an exhausted budget",
            Cause::Honey { .. } => "a decoy",
            Cause::Secret { .. } => "secrets in free text",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        for (n, containment) in self.containment.iter().enumerate() {
            f.write_str(if n == 0 { ": " } else { ", " })?;
            write!(f, "{containment}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |span: &Micros| span.0 / 1_000_000;
        match self {
            Self::BadProofs { network, count, within } => {
                write!(f, "{count} bad proofs came from {} within {} s", network.0, secs(within))
            }
            Self::ListedNetwork { network, list, credential: None } => {
                write!(f, "{network} stands on list `{list}`")
            }
            Self::ListedNetwork { network, list, credential: Some(credential) } => {
                write!(f, "{credential} was used from {network}, which stands on list `{list}`")
            }
            Self::OutsidePins { credential, network } => {
                write!(f, "{credential} was used from {network}, outside its pinned networks")
            }
            Self::NewNetwork { credential, network } => {
                write!(f, "{credential} was used from {network} for the first time")
            }
            Self::NewNetworkAndMore { credential, other, within } => write!(
                f,
                "{credential} was used from a network never seen before and shows {other} within {} s",
                secs(within)
            ),
            Self::Dormant { credential, idle_days } => {
                write!(f, "{credential} was used after {idle_days} days of silence")
            }
            Self::UnknownOperation { credential } => {
                write!(f, "{credential} asked for an operation that the contract does not have")
            }
            Self::OutOfContract { operation, fields } => {
                write!(f, "`{operation}` answered with {fields} fields out of contract")
            }
            Self::ForeignSubjects { operation, records, within: None } => {
                write!(
                    f,
                    "`{operation}` answered with records of other subjects, {records} of them"
                )
            }
            Self::ForeignSubjects { operation, records, within: Some(within) } => write!(
                f,
                "`{operation}` answered with records of other subjects, {records} of them within {} s",
                secs(within)
            ),
            Self::BudgetHold { grant, hold } => write!(f, "{grant} was held: {hold}"),
            Self::BudgetHolds { grant, count, within, hold } => {
                write!(
                    f,
                    "{grant} was held {count} times within {} s, last because {hold}",
                    secs(within)
                )
            }
            Self::Honey { integration, credential, operation } => {
                write!(f, "{integration} asked for a decoy through `{operation}` with {credential}")
            }
            Self::Secret { operation, count } => {
                write!(f, "{count} secrets were masked in an answer of `{operation}`")
            }
        }
    }
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttle(grant) => write!(f, "throttle {grant}"),
            Self::Restrict(integration) => write!(f, "restrict {integration}"),
            Self::SuspendCredential(credential) => write!(f, "suspend {credential}"),
            Self::SuspendOperation(operation) => write!(f, "suspend `{operation}`"),
            Self::Sever(integration) => write!(f, "sever {integration}"),
            Self::Page => f.write_str("page"),
            Self::OpenCase => f.write_str("open a case"),
        }
    }
}
