//! What was found, in numbers, and what it calls for.

use crate::Hold;
use crate::rule;
use crate::statistic::{Family, Statistic, Stream};
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
    /// Whether a rule that it rests on is in shadow: the containment is what it would have done, and was not carried out.
    pub shadow: bool,
}

impl Signal {
    /// Whether nobody proved who they are: whoever can send a request makes such signals, as many as they have networks.
    pub fn is_of_strangers(&self) -> bool {
        matches!(
            self.cause,
            Cause::BadProofs { .. } | Cause::ListedNetwork { credential: None, .. }
        )
    }
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
        /// The rule of the other finding.
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
    /// A token without proof from a network never seen for its credential. It was refused.
    BearerElsewhere {
        /// Whose.
        credential: CredentialId,
        /// Under which grant.
        grant: GrantId,
        /// Where from.
        network: ClientIp,
    },
    /// The same finding, from new networks, about a second credential of one integration.
    Spread {
        /// Whose.
        integration: IntegrationId,
        /// The rule of the finding.
        finding: &'static str,
        /// How many credentials.
        holders: u32,
        /// Within how long.
        within: Micros,
    },
    /// One statistic that alarmed.
    Statistic(Statistic),
    /// Far more distinct subjects than in this hour of other weeks.
    Volume {
        /// Of which requests.
        stream: Stream,
        /// Distinct subjects, to within a fifth.
        subjects: u32,
        /// What was expected.
        expected: u32,
        /// Within how long.
        within: Micros,
    },
    /// Kinds of operation used for the first time, one after the other.
    Recon {
        /// Whose.
        integration: IntegrationId,
        /// With which key.
        credential: CredentialId,
        /// Which kinds, in the contract's words.
        kinds: Vec<&'static str>,
        /// Within how long.
        within: Micros,
    },
    /// An operation, or classes through it, that a credential never used, or not for long.
    FirstSeen {
        /// Whose.
        credential: CredentialId,
        /// Which operation.
        operation: OperationId,
        /// How many classes; none if it is the operation itself.
        classes: u32,
    },
    /// The tokens of many users from one network.
    ManyTokens {
        /// Where from.
        network: NetworkGroup,
        /// Of how many, to within a fifth.
        tokens: u32,
        /// How many are usual there.
        usual: u32,
        /// Within how long.
        within: Micros,
    },
    /// Two families of evidence in one stream.
    Families {
        /// Whose stream.
        integration: IntegrationId,
        /// Which.
        stream: Stream,
        /// Which families.
        families: [Family; 2],
        /// Within how long.
        within: Micros,
    },
    /// An integration does other things than it did in the weeks before.
    Drift {
        /// Which.
        integration: IntegrationId,
        /// How far apart, in thousandths: 0 is the same, 1,000 nothing in common.
        permille: u32,
        /// How far is too far.
        limit_permille: u32,
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
    /// No request from this network, by anybody.
    RefuseNetwork(NetworkGroup),
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

    /// The group of an address in eight bytes, as there are many: the first 48 bits of a /48, or a /24 beyond them. No two share one.
    pub(crate) fn number(network: ClientIp) -> u64 {
        match network.addr() {
            IpAddr::V4(v4) => 1 << 63 | u64::from(v4.to_bits() >> 8),
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 80).unwrap_or_default(),
        }
    }

    /// The network, host bits zero.
    pub fn net(self) -> IpNet {
        self.0
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
                "{credential} was used from a network never seen before and shows {} within {} s",
                rule::words(other),
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
            Self::BearerElsewhere { credential, grant, network } => write!(
                f,
                "a token of {credential} for {grant} came without proof from {network}, never seen before"
            ),
            Self::Spread { integration, finding, holders, within } => write!(
                f,
                "{holders} keys of {integration} show {} from new networks within {} s",
                rule::words(finding),
                secs(within)
            ),
            Self::Statistic(statistic) => write!(f, "{statistic}"),
            Self::Volume { stream, subjects, expected, within } => write!(
                f,
                "{stream} read about {subjects} subjects within {} s, {expected} is usual at this hour",
                secs(within)
            ),
            Self::Recon { credential, kinds, within, integration: _ } => write!(
                f,
                "{credential} used {} for the first time within {} s",
                kinds.join(", "),
                secs(within)
            ),
            Self::FirstSeen { credential, operation, classes: 0 } => {
                write!(f, "{credential} used `{operation}` for the first time")
            }
            Self::FirstSeen { credential, operation, classes } => write!(
                f,
                "{credential} got {classes} classes through `{operation}` for the first time"
            ),
            Self::ManyTokens { network, tokens, usual, within } => write!(
                f,
                "tokens of about {tokens} users came from {} within {} s, {usual} is usual",
                network.0,
                secs(within)
            ),
            Self::Families { stream, families: [first, second], within, integration: _ } => {
                write!(f, "{stream} shows {first} and {second} within {} s", secs(within))
            }
            Self::Drift { integration, permille, limit_permille } => write!(
                f,
                "{integration} did other things this week than before: {permille} of 1000 apart, {limit_permille} is the limit; certify it anew"
            ),
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
            Self::RefuseNetwork(network) => write!(f, "refuse {}", network.0),
            Self::Page => f.write_str("page"),
            Self::OpenCase => f.write_str("open a case"),
        }
    }
}
