//! Every refusal in one place: what the integration sees, what is recorded, what the detectors hear.
//!
//! The integration sees problem details (RFC 9457) with a stable code and a request id, and never why. A refusal of
//! somebody we know is a record of its own, up to a rate; the rest is counted by network, reason and second, so that
//! nobody fills the disk by being refused.

use crate::asker::Asker;
use crate::connection::Connection;
use crate::http1::{BadRequest, Method};
use crate::metadata;
use crate::node::Node;
use crate::origin::OriginError;
use crate::release::Reply;
use crate::serve;
use credential::httpsig::Challenge;
use credential::{BadProof, Denied};
use detection::{Event, Inner};
use disclosure::{NoOperation, WithheldBecause};
use ledger::Draft;
use model::{ClientIp, IntegrationState, Outcome, Refusal, RequestId, UnixMicros};
use serde_json::Value;
use sever::{Bearing, Cut, Target};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use storage::clock;
use storage::embedded::Unavailable;
use tracing::{debug, warn};

/// A refused request: why, and whose it was as far as that was proved.
#[derive(Debug)]
pub struct Refused {
    reason: Reason,
    asker: Option<Asker>,
}

impl Refused {
    /// Whether the contract has no such path, or not with this method.
    pub(crate) fn is_undeclared(&self) -> bool {
        matches!(self.reason, Reason::Operation(NoOperation::Path | NoOperation::Method))
    }
}

/// Why a request was refused. For the operator; the integration sees [`Refusal::code`].
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The peer's network is on a list.
    #[error("network {network} stands on list `{list}`")]
    Listed {
        /// The peer.
        network: ClientIp,
        /// The list's name.
        list: String,
    },
    /// The contract has no such operation, or the request does not fit it.
    #[error(transparent)]
    Operation(#[from] NoOperation),
    /// Nobody is proved to be asking.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The contract demands a proof that covers query and content, and this one does not.
    #[error("the operation demands a signed request")]
    SignatureRequired(Box<Challenge>),
    /// Posture, or our view of it.
    #[error(transparent)]
    Cut(#[from] Cut),
    /// The rules.
    #[error(transparent)]
    Policy(#[from] policy::Refused),
    /// Its credential or grant was not used for so long that an operator has to look first.
    #[error("credential or grant were not used for {idle_days} days")]
    Asleep {
        /// Whole days.
        idle_days: u32,
    },
    /// Its token came without proof, from a network never seen for its credential.
    #[error("a token without proof from a network never seen for its credential")]
    BearerElsewhere,
    /// It searches by a data class that it may not read.
    #[error("a parameter is of a data class that is not in the grant")]
    SearchNotPermitted,
    /// Posture restricted it after it was decided.
    #[error("restricted since it was decided")]
    RestrictedSince,
    /// What the decision rests on ran out before its answer could be released.
    #[error("the permit ran out at {0}")]
    PermitOver(UnixMicros),
    /// The answer is a stream, and its reader could not tell the end of one from a broken one.
    #[error("an HTTP/1.0 client cannot read a stream")]
    CannotStream,
    /// The origin has no such record.
    #[error("the origin has no such record")]
    NotFound,
    /// The origin could not be asked.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The answer may not leave.
    #[error("{0:?}")]
    Withheld(WithheldBecause),
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unavailable),
}

impl Reason {
    /// The reason, of a request whose sender was proved.
    pub(crate) fn of(self, asker: &Asker) -> Refused {
        Refused { reason: self, asker: Some(asker.clone()) }
    }

    /// What the record says.
    fn refusal(&self) -> Refusal {
        match self {
            Self::Listed { .. } | Self::BearerElsewhere => Refusal::Network,
            Self::Operation(_) => Refusal::UnknownOperation,
            Self::Denied(denied) => denied.refusal(),
            Self::SignatureRequired(_) => Refusal::Unauthenticated,
            Self::Cut(Cut::Severed { .. }) => Refusal::Severed,
            Self::Cut(Cut::ConsentOver) => Refusal::NotPermitted,
            Self::Cut(Cut::Lapsed | Cut::OtherIntegration) | Self::Unrecorded(_) => {
                Refusal::Unavailable
            }
            Self::Policy(refused) => refused.refusal(),
            Self::Asleep { .. }
            | Self::SearchNotPermitted
            | Self::PermitOver(_)
            | Self::RestrictedSince => Refusal::NotPermitted,
            Self::CannotStream => Refusal::Malformed,
            Self::NotFound => Refusal::NotFound,
            Self::Origin(_) => Refusal::OriginFailed,
            Self::Withheld(because) => match because {
                WithheldBecause::Honey => Refusal::Honey,
                WithheldBecause::NotYours => Refusal::NotFound,
                WithheldBecause::OverBudget => Refusal::OverBudget,
                WithheldBecause::OutOfContract(_) => Refusal::OutOfContract,
                WithheldBecause::Unavailable => Refusal::Unavailable,
            },
        }
    }
}

impl<R: Into<Reason>> From<R> for Refused {
    fn from(reason: R) -> Self {
        Self { reason: reason.into(), asker: None }
    }
}

/// Answers a refused request, records the refusal and tells the detectors.
pub(crate) async fn answer(
    node: &Node,
    connection: &Connection,
    id: RequestId,
    refused: Refused,
) -> Reply {
    let Refused { reason, asker } = refused;
    let bearing = asker.as_ref().map(|asker| &asker.bearing);
    let refusal = reason.refusal();
    debug!(request = %id, %reason, "refused");
    node.meter.refused(bearing.map(|bearing| bearing.integration), refusal);
    if let Reason::Unrecorded(why) = &reason {
        node.meter.unrecorded(why);
    }
    if matches!(reason, Reason::Unrecorded(_)) && node.refusals.may_warn() {
        // Every request is refused until somebody acts, so somebody has to hear of it.
        warn!(%reason, "refusing everything");
    }
    if let Some(event) = event(&reason, connection.peer, bearing) {
        node.watch.observe(&event, clock::unix_now());
    }
    if let Some((asker, outcome)) = asker.as_ref().zip(found_nothing(&reason)) {
        node.watch.miss(asker, outcome, &node.view().windows, clock::unix_now());
    }
    match bearing {
        Some(bearing) if node.refusals.may_stand_alone(bearing) => {
            let record =
                serve::record(&node.view(), bearing, id, Outcome::Refused(refusal), 0, &[]);
            // If even the refusal cannot be recorded it is still a refusal: nothing leaves either way.
            let _unrecorded = node.recorder.append(Draft::Access(record)).await;
        }
        _ if is_challenge(&reason) => {}
        _ => node.refusals.count(connection.peer, refusal),
    }
    let contained = bearing.and_then(|bearing| containment(node, bearing, &reason, refusal));
    let mut headers = Vec::new();
    //= RFC 9728 section 5.1: a challenge says where the metadata is
    let challenge = |value: &str| {
        let value = format!(r#"{value}, resource_metadata="{}""#, metadata::url(node));
        ("www-authenticate".to_owned(), value.into_bytes())
    };
    if let Reason::Denied(denied) = &reason {
        headers.extend(denied.www_authenticate().map(|value| challenge(&value)));
        headers.extend(
            denied
                .challenge()
                .map(|nonce| ("dpop-nonce".to_owned(), nonce.as_str().as_bytes().to_vec())),
        );
        headers.extend(
            denied
                .accept_signature()
                .map(|value| ("accept-signature".to_owned(), value.as_bytes().to_vec())),
        );
    }
    if let Reason::SignatureRequired(signing) = &reason {
        let Challenge { www_authenticate, accept_signature } = &**signing;
        headers.push(challenge(www_authenticate));
        headers.push(("accept-signature".to_owned(), accept_signature.clone().into_bytes()));
    }
    if refusal == Refusal::OverBudget {
        headers.push(("retry-after".to_owned(), b"60".to_vec()));
    }
    //= RFC 9110 section 15.5.2: a 401 carries a challenge; what is malformed is a 400 without one (RFC 6750 section 3.1)
    let (status, code) = if let Reason::Denied(denied) = &reason {
        (denied.status(), denied.code())
    } else if matches!(reason, Reason::SignatureRequired(_)) {
        (401, "signature_required")
    } else {
        (status(refusal), shown(refusal))
    };
    match contained {
        None => problem(id, status, code, "", headers),
        Some(Contained { code, since }) => {
            let since = since.map_or(Value::Null, |since| since.to_string().into());
            let appeal = node.appeal.load().as_deref().map_or(Value::Null, |to| to.clone().into());
            problem(id, status, code, &format!(r#","since":{since},"appeal":{appeal}"#), headers)
        }
    }
}

/// What a caller that is contained is told: in which state it is, and since when if that is known. Not why: that is between people.
struct Contained {
    code: &'static str,
    since: Option<UnixMicros>,
}

/// Whether a proved caller is refused because it, or what it asks for, is contained.
fn containment(
    node: &Node,
    bearing: &Bearing,
    reason: &Reason,
    refusal: Refusal,
) -> Option<Contained> {
    let posture = node.posture.switch().posture();
    if let Reason::Cut(Cut::Severed { .. }) = reason {
        let (target, severed) = posture.severance(bearing)?;
        let is_whole = matches!(target, Target::Vendor(_) | Target::Integration(_));
        let code = if is_whole { "severed" } else { "suspended" };
        return Some(Contained { code, since: Some(severed.since) });
    }
    if refusal == Refusal::Severed {
        return Some(Contained { code: "severed", since: None });
    }
    if let Reason::Asleep { .. } = reason {
        return Some(Contained { code: "suspended", since: None });
    }
    // What a tenth of the budget or the classes that are left do not allow.
    let may_be_by_it = matches!(
        reason,
        Reason::RestrictedSince
            | Reason::Policy(policy::Refused::NothingPermitted { .. })
            | Reason::Withheld(WithheldBecause::OverBudget)
    );
    if !may_be_by_it {
        return None;
    }
    if let Some((target, restricted)) = posture.restriction(bearing) {
        let is_grant = matches!(target, Target::Grant(_));
        let code = if is_grant { "throttled" } else { "restricted" };
        return Some(Contained { code, since: Some(restricted.since) });
    }
    let stands = node.view().directory.integrations.get(&bearing.integration)?.state;
    let is_restricted = matches!(stands, IntegrationState::Restricted { .. });
    is_restricted.then_some(Contained { code: "restricted", since: None })
}

/// Answers what is not HTTP with one meaning; the connection closes after it.
pub(crate) fn malformed(node: &Node, connection: &Connection, bad: BadRequest) -> Reply {
    debug!(reason = %bad, "refused");
    node.meter.refused(None, Refusal::Malformed);
    node.refusals.count(connection.peer, Refusal::Malformed);
    let id = RequestId::new(clock::unix_now(), clock::random());
    let status = bad.status();
    //= RFC 9110 section 15.5.6: 405 names the methods that are allowed
    let headers = if status == 405 { vec![allow()] } else { Vec::new() };
    problem(id, status, Refusal::Malformed.code(), "", headers)
}

/// Answers `OPTIONS` where the contract does not declare it: the methods there are, whatever the path, so that it says
/// nothing of the contract and nothing of the origin.
pub(crate) fn methods(id: RequestId) -> Reply {
    let headers = vec![allow(), ("portcullis-request".to_owned(), id.to_string().into_bytes())];
    Reply::refusal(204, headers, String::new())
}

fn allow() -> (String, Vec<u8>) {
    ("allow".to_owned(), Method::ALLOWED.as_bytes().to_vec())
}

/// Problem details from fixed words and the request id. `more`: members that follow, as JSON, each after a comma.
fn problem(
    id: RequestId,
    status: u16,
    code: &str,
    more: &str,
    mut headers: Vec<(String, Vec<u8>)>,
) -> Reply {
    headers.push(("content-type".to_owned(), b"application/problem+json".to_vec()));
    headers.push(("cache-control".to_owned(), b"no-store".to_vec()));
    headers.push(("portcullis-request".to_owned(), id.to_string().into_bytes()));
    let body = format!(
        r#"{{"type":"urn:portcullis:problem:{code}","status":{status},"code":"{code}","request":"{id}"{more}}}"#
    );
    Reply::refusal(status, headers, body)
}

/// A first request without a nonce is how both protocols start, not a bad proof (RFC 9449 section 9).
fn is_challenge(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Denied(Denied::NonceNeeded { .. } | Denied::SignatureNonceNeeded { .. })
    )
}

/// The code the integration sees. A honey subject must look like nobody at all.
fn shown(refusal: Refusal) -> &'static str {
    if refusal == Refusal::Honey { Refusal::NotFound.code() } else { refusal.code() }
}

fn status(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Malformed => 400,
        Refusal::Unauthenticated => 401,
        Refusal::Network | Refusal::Severed | Refusal::NotPermitted => 403,
        Refusal::UnknownOperation | Refusal::NotFound | Refusal::Honey => 404,
        Refusal::OverBudget => 429,
        Refusal::OutOfContract | Refusal::OriginFailed => 502,
        Refusal::Unavailable => 503,
    }
}

/// What the detectors hear of it, if it is of a kind that they listen to. Budgets report their own holds.
fn event(reason: &Reason, network: ClientIp, bearing: Option<&Bearing>) -> Option<Event> {
    match (reason, bearing) {
        (Reason::Listed { list, .. }, _) => {
            Some(Event::ListedNetwork { network, list: list.clone(), credential: None })
        }
        (Reason::Denied(Denied::Network { caller }), _) => {
            Some(Event::OutsidePins { credential: caller.credential, network })
        }
        (
            Reason::Denied(
                Denied::BoundTokenAsBearer { .. }
                | Denied::Token { .. }
                | Denied::Certificate { .. },
            ),
            _,
        ) => Some(Event::BadProof { network }),
        (Reason::Denied(Denied::Proof { reason, .. }), _) => {
            // A slow clock is no attack, and neither is forgetting the header.
            let honest = matches!(reason, BadProof::Missing | BadProof::Stale | BadProof::Future);
            (!honest).then_some(Event::BadProof { network })
        }
        (Reason::Denied(Denied::Signature { reason, .. }), _) => {
            (!reason.may_be_honest()).then_some(Event::BadProof { network })
        }
        (Reason::Withheld(WithheldBecause::Honey), Some(bearing)) => Some(Event::Honey {
            integration: bearing.integration,
            credential: bearing.credential,
            operation: bearing.operation.clone(),
        }),
        _ => None,
    }
}

/// What the asker was after, as far as the refusal shows, if it is of a kind that says so. The field filter reports its own.
fn found_nothing(reason: &Reason) -> Option<Inner> {
    match reason {
        Reason::NotFound => Some(Inner::NotFound),
        Reason::Policy(_) | Reason::SearchNotPermitted => Some(Inner::Denied),
        Reason::Listed { .. }
        | Reason::Operation(_)
        | Reason::Denied(_)
        | Reason::SignatureRequired(_)
        | Reason::Cut(_)
        | Reason::Asleep { .. }
        | Reason::BearerElsewhere
        | Reason::RestrictedSince
        | Reason::PermitOver(_)
        | Reason::CannotStream
        | Reason::Origin(_)
        | Reason::Withheld(_)
        | Reason::Unrecorded(_) => None,
    }
}

/// An IPv6 address as the first of its /64, which one attacker moves about in freely; an IPv4 address as it is.
fn one_attackers(network: ClientIp) -> ClientIp {
    match network.addr() {
        IpAddr::V4(_) => network,
        IpAddr::V6(v6) => {
            ClientIp::from_peer(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into())
        }
    }
}

/// Counts refusals that do not get a record of their own, until the next tick takes them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: Mutex<BTreeMap<(ClientIp, Refusal), u64>>,
    alone: Mutex<BTreeMap<model::CredentialId, u32>>,
    warned: AtomicBool,
}

/// Networks told apart between two ticks; beyond it they are counted as the unspecified address.
const NETWORKS_MAX: usize = 4096;

/// Refusals of one credential that get a record of their own between two ticks.
const ALONE_MAX: u32 = 20;

impl Refusals {
    fn count(&self, network: ClientIp, refusal: Refusal) {
        let network = one_attackers(network);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let crowded = counts.len() >= NETWORKS_MAX && !counts.contains_key(&(network, refusal));
        let network =
            if crowded { ClientIp::from_peer(Ipv4Addr::UNSPECIFIED.into()) } else { network };
        *counts.entry((network, refusal)).or_default() += 1;
    }

    fn may_stand_alone(&self, bearing: &Bearing) -> bool {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let count = alone.entry(bearing.credential).or_default();
        *count += 1;
        *count <= ALONE_MAX
    }

    /// True once between two ticks, so that a full disk does not fill the log too.
    fn may_warn(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// Takes what was counted since the last tick, as records.
    pub(crate) fn take(&self, second: u64) -> Vec<Draft> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.warned.store(false, Ordering::Relaxed);
        let counts =
            std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let record = |((network, reason), count)| Draft::UnauthenticatedRefusals {
            network,
            reason,
            second,
            count,
        };
        counts.into_iter().map(record).collect()
    }
}
