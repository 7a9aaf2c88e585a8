//! The life of a request: match, authenticate, admit, decide, fetch, disclose, record, release.
//!
//! Each step returns what it proved and the next one takes it. Skipping a step does not compile: see
//! [`crate::release::Reply::release`]. A whole reply takes the last three steps once, a stream takes them batch by batch.

use crate::asker::Asker;
use crate::batches::Batches;
use crate::connection::Connection;
use crate::forward::{self, Part};
use crate::http1::{Method, RequestTarget};
use crate::metadata;
use crate::node::{Node, View};
use crate::refuse::{self, Reason, Refused};
use crate::release::Reply;
use crate::request::Request;
use credential::{Caller, Denied};
use detection::Event;
use disclosure::{Match, NoOperation, OriginBatch};
use ledger::Draft;
use model::{AccessRecord, Digest, OperationKind, Outcome, RequestId, Touch, UnixMicros};
use policy::Permit;
use sever::Bearing;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock;
use tokio::time::timeout;

/// Answers one request. Whatever step refuses it, the refusal is recorded and answered in one place.
pub async fn answer(node: &Node, connection: &Connection, request: Request) -> Reply {
    let (id, began) = (RequestId::new(clock::unix_now(), clock::random()), Instant::now());
    let reply = match serve(node, connection, &request, id).await {
        Ok(reply) => reply,
        Err(refused) if request.method == Method::Options && refused.is_undeclared() => {
            refuse::methods(id)
        }
        Err(refused) => refuse::answer(node, connection, id, refused).await,
    };
    node.meter.answered(began.elapsed());
    reply
}

async fn serve(
    node: &Node,
    connection: &Connection,
    request: &Request,
    id: RequestId,
) -> Result<Reply, Refused> {
    let now = node.recorder.now()?;
    let view = node.view();
    let is_doubtful = node.admit_network(connection.peer, now)?;
    if metadata::is_asked_for(request) {
        return Ok(metadata::answer(node, id));
    }

    // match
    let matched = match_operation(node, connection, request, &view, now)?;
    let admitted = matched.operation.admit_request(
        request.target.query(),
        request.headers.iter(),
        !request.body.is_empty(),
    )?;

    // authenticate
    let judge = |now| authenticate(node, connection, request, &view, now);
    let caller = match (judge(now), &node.ask_issuer) {
        // Of a token that is another issuer's, what is not known yet is asked, and then the request is judged once more.
        (Err(Denied::NotAsked(question)), Some(ask)) => {
            ask(question).await;
            judge(node.recorder.now()?)?
        }
        (judged, _) => judged?,
    };
    if caller.is_bearer() {
        node.meter.bearer(caller.integration());
    }
    let asker = Asker::of(&caller, matched.operation, request, node.watch.hash(), is_doubtful);
    let bearing = &asker.bearing;
    let refused = |reason: Reason| reason.of(&asker);
    if matched.operation.requires_signature() && !caller.is_signed() {
        let has_content = !request.body.is_empty();
        let challenge = node.verifier.signature_challenge("signature_required", now, has_content);
        return Err(refused(Reason::SignatureRequired(Box::new(challenge))));
    }

    // admit
    node.posture.switch().admit(bearing, clock::boot_now()).map_err(|cut| refused(cut.into()))?;
    node.watch.admit(&asker, &view, now).map_err(refused)?;

    // decide
    let restricted = node.posture.switch().posture().restriction_of(bearing).is_some();
    let facts = matched.operation.facts();
    let (directory, policies) = (&view.directory, &view.policies);
    let permit =
        policy::decide(&caller, &facts, directory, policies, &node.consents, restricted, now)
            .map_err(|no| refused(no.into()))?;
    if !admitted.classes.is_subset(permit.classes()) {
        return Err(refused(Reason::SearchNotPermitted));
    }
    if matches!(facts.kind, OperationKind::Write | OperationKind::Export) {
        let attempt = record(&view, bearing, id, Outcome::Attempted, 0, &[]);
        node.recorder
            .append(Draft::Access(attempt))
            .await
            .map_err(|reason| refused(reason.into()))?;
    }

    // fetch: a whole reply, or the first batch of a stream
    let (part, rest) =
        forward::fetch(node, request, &matched, &admitted, id).await.map_err(refused)?;

    // disclose, record, release
    let decided = Decided {
        view: Arc::clone(&view),
        permit,
        asker: asker.clone(),
        token: *caller.token(),
        restricted,
        id,
    };
    let reply = decided.release(node, connection, &matched, part).await.map_err(refused)?;
    Ok(match rest {
        None => reply,
        Some(batches) => {
            let (method, target) = (request.method_of_operation(), request.target.clone());
            reply.followed_by(Rest { decided, method, target, batches })
        }
    })
}

/// What was decided about one request. Every part of its answer is measured by it.
struct Decided {
    view: Arc<View>,
    permit: Permit,
    asker: Asker,
    /// SHA-256 of the token it was asked with.
    token: Digest,
    /// Whether posture restricted it when it was decided.
    restricted: bool,
    id: RequestId,
}

impl Decided {
    async fn release(
        &self,
        node: &Node,
        connection: &Connection,
        matched: &Match<'_>,
        part: Part,
    ) -> Result<Reply, Reason> {
        let Self { view, permit, asker, id, .. } = self;
        let bearing = &asker.bearing;

        // disclose
        let disclosed = node
            .watch
            .disclose(part, matched, permit, asker, node, view)
            .map_err(Reason::Withheld)?;

        // record
        let bytes = disclosed.body().len() as u64;
        let access = record(view, bearing, *id, Outcome::Released, bytes, disclosed.touches());
        let receipt = node.recorder.append(Draft::Access(access)).await?;

        // release: time and posture once more, because the awaits took time
        let passage = self.in_force(node).and_then(|()| {
            let (bearing, now) = (bearing.clone(), clock::boot_now());
            let consented = || self.is_consented(node, clock::unix_now());
            Ok(node.posture.switch().pass(&connection.gate, bearing, *id, now, consented)?)
        });
        match passage {
            Ok(passage) => {
                let touches = disclosed.touches().len() as u64;
                node.meter.released(bearing.integration, bytes, touches);
                Ok(Reply::release(disclosed, receipt, passage))
            }
            Err(reason) => {
                node.not_released(bearing.integration, *id, *receipt.leaf_hash()).await;
                Err(reason)
            }
        }
    }

    /// Whether the subject's consent, if it rests on one, is in force, and the token was not given back.
    fn is_consented(&self, node: &Node, now: UnixMicros) -> bool {
        self.permit.consent().is_none_or(|id| node.consents.in_force(&id, now).is_some())
            && !node.verifier.is_revoked(&self.token)
    }

    /// What was decided holds until its time is over, or posture restricts what it did not restrict then.
    fn in_force(&self, node: &Node) -> Result<(), Reason> {
        let until = self.permit.valid_until();
        if clock::unix_now() >= until {
            return Err(Reason::PermitOver(until));
        }
        let restricted =
            node.posture.switch().posture().restriction_of(&self.asker.bearing).is_some();
        if restricted && !self.restricted { Err(Reason::RestrictedSince) } else { Ok(()) }
    }
}

/// What is left of a stream: the batches that the origin has yet to send, each released as the first one was.
pub(crate) struct Rest {
    decided: Decided,
    method: &'static str,
    target: RequestTarget,
    batches: Batches,
}

impl Rest {
    /// Waits for the origin's next batch, at most until the permit runs out. The stream cannot go on if this is dropped while it waits.
    pub(crate) async fn fetch(&mut self) -> Result<Option<OriginBatch>, Reason> {
        let until = self.decided.permit.valid_until();
        let left = Duration::from_micros(until.0.saturating_sub(clock::unix_now().0));
        match timeout(left, self.batches.next()).await {
            Ok(fetched) => fetched,
            Err(_elapsed) => Err(Reason::PermitOver(until)),
        }
    }

    /// Releases what [`Rest::fetch`] brought; `None` at the stream's end. A refusal is recorded as any other, and its answer is not
    /// sent, because another one has begun: what is left to do is to break the stream off.
    pub(crate) async fn release(
        &self,
        node: &Node,
        connection: &Connection,
        fetched: Result<Option<OriginBatch>, Reason>,
    ) -> Result<Option<Reply>, BrokenOff> {
        let Decided { view, asker, id, .. } = &self.decided;
        let released = async {
            let Some(batch) = fetched? else { return Ok(None) };
            node.admit_network(connection.peer, node.recorder.now()?)?;
            let matched = view.contract.operation(self.method, self.target.path())?;
            let part = Part::Batch(batch);
            self.decided.release(node, connection, &matched, part).await.map(Some)
        };
        match released.await {
            Ok(reply) => Ok(reply),
            Err(reason) => {
                let _unsent = refuse::answer(node, connection, *id, reason.of(asker)).await;
                Err(BrokenOff)
            }
        }
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("request", &self.decided.id).finish_non_exhaustive()
    }
}

/// A stream that may not go on. It is never ended as if it were complete.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream was broken off")]
pub(crate) struct BrokenOff;

fn authenticate(
    node: &Node,
    connection: &Connection,
    request: &Request,
    view: &View,
    now: UnixMicros,
) -> Result<Caller, Denied> {
    let proofs = request.proofs(&node.external_url);
    let shown = connection.client_certificate.as_ref();
    let shown = shown.map(|it| it.show(&node.client_trust.load(), now));
    let proofs = proofs.of(request, connection, shown.as_ref());
    credential::authenticate(&proofs, now, &node.verifier, &view.directory)
}

/// The contract's operation for a request. Whoever asks for one that there is not is told so without a look at who it is; detectors hear
/// of it only if the sender is proved: who has another's token without its key must not make its owner look bad.
fn match_operation<'a>(
    node: &Node,
    connection: &Connection,
    request: &'a Request,
    view: &'a View,
    now: UnixMicros,
) -> Result<Match<'a>, NoOperation> {
    let matched = view.contract.operation(request.method_of_operation(), request.target.path());
    if matched.is_err()
        && request.method != Method::Options
        && let Ok(caller) = authenticate(node, connection, request, view, now)
        && !caller.is_bearer()
    {
        node.watch.observe(&Event::UnknownOperation { credential: caller.credential() }, now);
    }
    matched
}

/// The record of one request, whatever came of it.
pub(crate) fn record(
    view: &View,
    bearing: &Bearing,
    request: RequestId,
    outcome: Outcome,
    bytes: u64,
    touches: &[Touch],
) -> AccessRecord {
    AccessRecord {
        request,
        vendor: bearing.vendor,
        integration: bearing.integration,
        credential: bearing.credential,
        grant: Some(bearing.grant),
        operation: Some(bearing.operation.clone()),
        network: bearing.network,
        contract: view.contract.hash(),
        policy: view.policies.hash(),
        class_table: view.class_table_hash,
        outcome,
        bytes,
        touches: touches.to_vec(),
    }
}
