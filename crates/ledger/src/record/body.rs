//! A record's body: its facts. Shown or withheld as a whole; the header has its hash, the blind hides it there.

use super::header::{Chain, Kind};
use super::wire::{Malformed, Reader, Write as _};
use super::{Draft, NodeEvent, VERSION};
use crate::domain::{self, SaltKey};
use model::{
    ClientIp, CredentialId, Digest, GrantId, IntegrationId, OperationId, OperatorId, Outcome,
    Refusal, RequestId, VendorId,
};

/// The facts of an access, an attempt or an authenticated refusal; the integration is the header's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessBody {
    /// The request.
    pub request: RequestId,
    /// The integration's owner.
    pub vendor: VendorId,
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant; none if it was refused before one was chosen.
    pub grant: Option<GrantId>,
    /// Which operation; none if none matched.
    pub operation: Option<OperationId>,
    /// From where.
    pub network: ClientIp,
    /// What the header's commitment to the network is opened with.
    pub network_opening: [u8; 16],
    /// SHA-256 of the contract in force.
    pub contract: Digest,
    /// SHA-256 of the policy set in force.
    pub policy: Digest,
    /// SHA-256 of the class table in force.
    pub class_table: Digest,
    /// What came of it; the header's kind says the same.
    pub outcome: Outcome,
    /// Body bytes released.
    pub bytes: u64,
    /// How many touches.
    pub touches: u64,
    /// Root over them.
    pub touches_root: Digest,
}

/// The facts of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Access, attempt or refusal.
    Access(AccessBody),
    /// Nothing of a recorded release reached the socket.
    NotReleased {
        /// The request.
        request: RequestId,
        /// Leaf hash of the release's record.
        leaf: Digest,
    },
    /// Refusals without a proven caller.
    UnauthenticatedRefusals {
        /// From where.
        network: ClientIp,
        /// What the header's commitment is opened with.
        network_opening: [u8; 16],
        /// Why.
        reason: Refusal,
        /// Unix seconds.
        second: u64,
        /// How many.
        count: u64,
    },
    /// An entry of the posture register.
    Posture {
        /// The entry's bytes.
        entry: Vec<u8>,
    },
    /// An operator did or looked at something.
    OperatorAction {
        /// Who.
        operator: OperatorId,
        /// What.
        action: String,
        /// The signed command.
        detail: Vec<u8>,
    },
    /// A step of an integration's vetting.
    Vetting {
        /// Whose.
        integration: IntegrationId,
        /// Which step.
        step: String,
        /// The signed command or the evidence's hash.
        detail: Vec<u8>,
    },
    /// Something happened to the node.
    Node(NodeEvent),
    /// The heads of every chain, of all entries before this one.
    Heads(HeadsBody),
}

/// What a heads record says of all entries before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadsBody {
    /// Root of the map chain -> (count, head).
    pub root: Digest,
    /// How many chains the map has.
    pub chains: u64,
    /// The sum of all counts: the tree's size before this entry, which is this entry's own index.
    pub size: u64,
}

/// Hash of a body, as the header holds it.
pub fn hash(body: &[u8]) -> Digest {
    domain::sha256_of(&[domain::BODY, body])
}

/// Salted commitment to a network, as the header holds it.
pub fn network_commitment(network: ClientIp, opening: &[u8; 16]) -> Digest {
    match network.addr() {
        std::net::IpAddr::V4(v4) => domain::sha256_of(&[domain::NETWORK, opening, &v4.octets()]),
        std::net::IpAddr::V6(v6) => domain::sha256_of(&[domain::NETWORK, opening, &v6.octets()]),
    }
}

/// Kind and chain of a draft.
pub(crate) fn place(draft: &Draft) -> (Kind, Chain) {
    match draft {
        Draft::Access(record) => (kind_of(record.outcome), Chain::Integration(record.integration)),
        Draft::NotReleased { integration, .. } => {
            (Kind::NotReleased, Chain::Integration(*integration))
        }
        Draft::UnauthenticatedRefusals { .. } => (Kind::UnauthenticatedRefusals, Chain::System),
        Draft::Posture { .. } => (Kind::Posture, Chain::System),
        Draft::OperatorAction { .. } => (Kind::OperatorAction, Chain::System),
        Draft::Vetting { .. } => (Kind::Vetting, Chain::System),
        Draft::Node(_) => (Kind::Node, Chain::System),
    }
}

const fn kind_of(outcome: Outcome) -> Kind {
    match outcome {
        Outcome::Released => Kind::Access,
        Outcome::Attempted => Kind::Attempt,
        Outcome::Refused(_) => Kind::Refusal,
    }
}

/// Writes the body of `draft`.
pub(crate) fn encode(
    draft: &Draft,
    salt: &SaltKey,
    network_opening: &[u8; 16],
    touches_root: &Digest,
    out: &mut Vec<u8>,
) {
    let (kind, _) = place(draft);
    let blind = salt.blind();
    match draft {
        Draft::Access(record) => {
            start(out, 17, kind, &blind);
            out.uint(3);
            out.bytes(record.request.as_bytes());
            out.uint(4);
            out.bytes(record.vendor.as_bytes());
            out.uint(5);
            out.bytes(record.credential.as_bytes());
            out.uint(6);
            match &record.grant {
                Some(grant) => out.bytes(grant.as_bytes()),
                None => out.null(),
            }
            out.uint(7);
            match &record.operation {
                Some(operation) => out.text(operation.as_str()),
                None => out.null(),
            }
            out.uint(8);
            write_network(out, record.network);
            out.uint(9);
            out.bytes(network_opening);
            out.uint(10);
            out.bytes(&record.contract);
            out.uint(11);
            out.bytes(&record.policy);
            out.uint(12);
            out.bytes(&record.class_table);
            out.uint(13);
            match record.outcome {
                Outcome::Released | Outcome::Attempted => out.null(),
                Outcome::Refused(reason) => out.uint(refusal_number(reason)),
            }
            out.uint(14);
            out.uint(record.bytes);
            out.uint(15);
            out.uint(record.touches.len() as u64);
            out.uint(16);
            out.bytes(touches_root);
        }
        Draft::NotReleased { request, leaf, .. } => {
            start(out, 5, kind, &blind);
            out.uint(3);
            out.bytes(request.as_bytes());
            out.uint(4);
            out.bytes(leaf);
        }
        Draft::UnauthenticatedRefusals { network, reason, second, count } => {
            start(out, 8, kind, &blind);
            out.uint(3);
            write_network(out, *network);
            out.uint(4);
            out.bytes(network_opening);
            out.uint(5);
            out.uint(refusal_number(*reason));
            out.uint(6);
            out.uint(*second);
            out.uint(7);
            out.uint(*count);
        }
        Draft::Posture { entry } => {
            start(out, 4, kind, &blind);
            out.uint(3);
            out.bytes(entry);
        }
        Draft::OperatorAction { operator, action, detail } => {
            start(out, 6, kind, &blind);
            out.uint(3);
            out.bytes(operator.as_bytes());
            out.uint(4);
            out.text(action);
            out.uint(5);
            out.bytes(detail);
        }
        Draft::Vetting { integration, step, detail } => {
            start(out, 6, kind, &blind);
            out.uint(3);
            out.bytes(integration.as_bytes());
            out.uint(4);
            out.text(step);
            out.uint(5);
            out.bytes(detail);
        }
        Draft::Node(event) => {
            start(out, 5, kind, &blind);
            encode_event(out, event);
        }
    }
}

/// Writes the body of a heads record.
pub(crate) fn encode_heads(heads: &HeadsBody, salt: &SaltKey, out: &mut Vec<u8>) {
    start(out, 6, Kind::Heads, &salt.blind());
    out.uint(3);
    out.bytes(&heads.root);
    out.uint(4);
    out.uint(heads.chains);
    out.uint(5);
    out.uint(heads.size);
}

fn start(out: &mut Vec<u8>, pairs: usize, kind: Kind, blind: &[u8; 16]) {
    out.map(pairs);
    out.uint(0);
    out.uint(VERSION);
    out.uint(1);
    out.uint(kind.number());
    out.uint(2);
    out.bytes(blind);
}

fn encode_event(out: &mut Vec<u8>, event: &NodeEvent) {
    out.uint(3);
    match event {
        NodeEvent::Start { lost_checkpoint } => {
            out.uint(1);
            out.uint(4);
            match lost_checkpoint {
                Some(checkpoint) => out.bytes(checkpoint),
                None => out.null(),
            }
        }
        NodeEvent::Stop => {
            out.uint(2);
            out.uint(4);
            out.null();
        }
        NodeEvent::Gap { requests } => {
            out.uint(3);
            out.uint(4);
            out.array(requests.len());
            for request in requests {
                out.bytes(request.as_bytes());
            }
        }
        NodeEvent::Clock { step } => {
            out.uint(4);
            out.uint(4);
            out.bytes(&step.to_be_bytes());
        }
    }
}

impl Body {
    /// The kind that a header of this body has.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Access(body) => kind_of(body.outcome),
            Self::NotReleased { .. } => Kind::NotReleased,
            Self::UnauthenticatedRefusals { .. } => Kind::UnauthenticatedRefusals,
            Self::Posture { .. } => Kind::Posture,
            Self::OperatorAction { .. } => Kind::OperatorAction,
            Self::Vetting { .. } => Kind::Vetting,
            Self::Node(_) => Kind::Node,
            Self::Heads(_) => Kind::Heads,
        }
    }

    /// Reads one body.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not exactly what a body of version 1 encodes to.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        // The kind decides how many pairs the map has, and the map's length comes first: read past it, then again.
        let mut reader = Reader::new(bytes);
        let pairs = [4, 5, 6, 8, 17]
            .into_iter()
            .find(|&pairs| Reader::new(bytes).map(pairs).is_ok())
            .ok_or(Malformed::Keys)?;
        reader.map(pairs)?;
        reader.key(0)?;
        let version = reader.uint()?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        reader.key(1)?;
        let kind = Kind::from_number(reader.uint()?)?;
        if pairs != pairs_of(kind) {
            return Err(Malformed::Keys);
        }
        reader.key(2)?;
        let _blind: [u8; 16] = reader.fixed()?;
        let body = decode_facts(&mut reader, kind)?;
        reader.end()?;
        Ok(body)
    }
}

const fn pairs_of(kind: Kind) -> u64 {
    match kind {
        Kind::Access | Kind::Attempt | Kind::Refusal => 17,
        Kind::UnauthenticatedRefusals => 8,
        Kind::OperatorAction | Kind::Vetting | Kind::Heads => 6,
        Kind::NotReleased | Kind::Node => 5,
        Kind::Posture => 4,
    }
}

fn decode_facts(reader: &mut Reader<'_>, kind: Kind) -> Result<Body, Malformed> {
    Ok(match kind {
        Kind::Access | Kind::Attempt | Kind::Refusal => Body::Access(decode_access(reader, kind)?),
        Kind::NotReleased => {
            reader.key(3)?;
            let request = RequestId::from_bytes(reader.fixed()?);
            reader.key(4)?;
            Body::NotReleased { request, leaf: reader.fixed()? }
        }
        Kind::UnauthenticatedRefusals => {
            reader.key(3)?;
            let network = read_network(reader)?;
            reader.key(4)?;
            let network_opening = reader.fixed()?;
            reader.key(5)?;
            let reason = refusal_from_number(reader.uint()?)?;
            reader.key(6)?;
            let second = reader.uint()?;
            reader.key(7)?;
            let count = reader.uint()?;
            Body::UnauthenticatedRefusals { network, network_opening, reason, second, count }
        }
        Kind::Posture => {
            reader.key(3)?;
            Body::Posture { entry: reader.bytes()?.to_vec() }
        }
        Kind::OperatorAction => {
            reader.key(3)?;
            let operator = OperatorId::from_bytes(reader.fixed()?);
            reader.key(4)?;
            let action = reader.text()?.to_owned();
            reader.key(5)?;
            Body::OperatorAction { operator, action, detail: reader.bytes()?.to_vec() }
        }
        Kind::Vetting => {
            reader.key(3)?;
            let integration = IntegrationId::from_bytes(reader.fixed()?);
            reader.key(4)?;
            let step = reader.text()?.to_owned();
            reader.key(5)?;
            Body::Vetting { integration, step, detail: reader.bytes()?.to_vec() }
        }
        Kind::Node => Body::Node(decode_event(reader)?),
        Kind::Heads => {
            reader.key(3)?;
            let root = reader.fixed()?;
            reader.key(4)?;
            let chains = reader.uint()?;
            reader.key(5)?;
            Body::Heads(HeadsBody { root, chains, size: reader.uint()? })
        }
    })
}

fn decode_access(reader: &mut Reader<'_>, kind: Kind) -> Result<AccessBody, Malformed> {
    reader.key(3)?;
    let request = RequestId::from_bytes(reader.fixed()?);
    reader.key(4)?;
    let vendor = VendorId::from_bytes(reader.fixed()?);
    reader.key(5)?;
    let credential = CredentialId::from_bytes(reader.fixed()?);
    reader.key(6)?;
    let grant = reader.optional(Reader::fixed)?.map(GrantId::from_bytes);
    reader.key(7)?;
    let operation = reader.optional(|reader| {
        OperationId::new(reader.text()?).ok_or(Malformed::Unexpected("operation"))
    })?;
    reader.key(8)?;
    let network = read_network(reader)?;
    reader.key(9)?;
    let network_opening = reader.fixed()?;
    reader.key(10)?;
    let contract = reader.fixed()?;
    reader.key(11)?;
    let policy = reader.fixed()?;
    reader.key(12)?;
    let class_table = reader.fixed()?;
    reader.key(13)?;
    let reason = reader.optional(|reader| refusal_from_number(reader.uint()?))?;
    let outcome = match (kind, reason) {
        (Kind::Access, None) => Outcome::Released,
        (Kind::Attempt, None) => Outcome::Attempted,
        (Kind::Refusal, Some(reason)) => Outcome::Refused(reason),
        (_, None | Some(_)) => return Err(Malformed::Unexpected("reason of a refusal")),
    };
    reader.key(14)?;
    let bytes = reader.uint()?;
    reader.key(15)?;
    let touches = reader.uint()?;
    reader.key(16)?;
    let touches_root = reader.fixed()?;
    Ok(AccessBody {
        request,
        vendor,
        credential,
        grant,
        operation,
        network,
        network_opening,
        contract,
        policy,
        class_table,
        outcome,
        bytes,
        touches,
        touches_root,
    })
}

fn decode_event(reader: &mut Reader<'_>) -> Result<NodeEvent, Malformed> {
    reader.key(3)?;
    let event = reader.uint()?;
    reader.key(4)?;
    Ok(match event {
        1 => NodeEvent::Start {
            lost_checkpoint: reader.optional(|reader| Ok(reader.bytes()?.to_vec()))?,
        },
        2 => match reader.optional(Reader::uint)? {
            None => NodeEvent::Stop,
            Some(_) => return Err(Malformed::Unexpected("null")),
        },
        3 => {
            let count = reader.array()?;
            let mut requests = Vec::new();
            for _ in 0..count {
                requests.push(RequestId::from_bytes(reader.fixed()?));
            }
            NodeEvent::Gap { requests }
        }
        4 => NodeEvent::Clock { step: i64::from_be_bytes(reader.fixed()?) },
        _ => return Err(Malformed::Unexpected("event of a node")),
    })
}

pub(crate) fn write_network(out: &mut Vec<u8>, network: ClientIp) {
    match network.addr() {
        std::net::IpAddr::V4(v4) => out.bytes(&v4.octets()),
        std::net::IpAddr::V6(v6) => out.bytes(&v6.octets()),
    }
}

pub(crate) fn read_network(reader: &mut Reader<'_>) -> Result<ClientIp, Malformed> {
    let bytes = reader.bytes()?;
    // An IPv4-mapped IPv6 address would be a second spelling of an IPv4 one.
    ClientIp::from_bytes(bytes)
        .filter(|network| network.to_bytes() == bytes)
        .ok_or(Malformed::Unexpected("network"))
}

const fn refusal_number(reason: Refusal) -> u64 {
    match reason {
        Refusal::UnknownOperation => 1,
        Refusal::Unauthenticated => 2,
        Refusal::Network => 3,
        Refusal::Severed => 4,
        Refusal::NotPermitted => 5,
        Refusal::OverBudget => 6,
        Refusal::Honey => 7,
        Refusal::OutOfContract => 8,
        Refusal::OriginFailed => 9,
        Refusal::Unavailable => 10,
        Refusal::NotFound => 11,
        Refusal::Malformed => 12,
    }
}

fn refusal_from_number(number: u64) -> Result<Refusal, Malformed> {
    Refusal::ALL
        .into_iter()
        .find(|&reason| refusal_number(reason) == number)
        .ok_or(Malformed::Unexpected("reason of a refusal"))
}
