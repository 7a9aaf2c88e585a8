//! The life of a request: match, authenticate, admit, decide, fetch, disclose, record, release.
//!
//! Each step returns what it proved and the next one takes it. Skipping a step does not compile: see
//! [`crate::release::Reply::release`].

use crate::connection::Connection;
use crate::forward;
use crate::http1::Method;
use crate::node::{Node, View};
use crate::refuse::{self, Reason, Refused};
use crate::release::Reply;
use crate::request::Request;
use credential::Caller;
use ledger::Draft;
use model::{AccessRecord, OperationId, Outcome, RequestId, Touch};
use policy::OperationKind;
use sever::Bearing;
use storage::clock;

/// Answers one request. Whatever step refuses it, the refusal is recorded and answered in one place.
pub async fn answer(node: &Node, connection: &Connection, request: Request) -> Reply {
    let id = RequestId::new(clock::unix_now(), clock::random());
    match serve(node, connection, &request, id).await {
        Ok(reply) => reply,
        Err(refused) if request.method == Method::Options && refused.is_undeclared() => {
            refuse::methods(id)
        }
        Err(refused) => refuse::answer(node, connection, id, refused).await,
    }
}

async fn serve(
    node: &Node,
    connection: &Connection,
    request: &Request,
    id: RequestId,
) -> Result<Reply, Refused> {
    let now = clock::unix_now();
    let view = node.view();
    node.admit_network(connection.peer)?;

    // match
    let matched = view.contract.operation(request.method_of_operation(), request.target.path())?;
    let admitted = matched.operation.admit_request(
        request.target.query(),
        request.headers.iter(),
        !request.body.is_empty(),
    )?;

    // authenticate
    let proofs = request.proofs(&node.external_url);
    let caller = credential::authenticate(
        &proofs.of(request, connection),
        now,
        &node.verifier,
        &view.directory,
    )?;
    let bearing = bearing(&caller, matched.operation.id());
    let refused = |reason: Reason| reason.of(&bearing);

    // admit
    node.posture.switch().admit(&bearing, clock::boot_now()).map_err(|cut| refused(cut.into()))?;
    node.watch.admit(&bearing, &view, now).map_err(refused)?;

    // decide
    let restricted = node.posture.switch().posture().restriction_of(&bearing).is_some();
    let facts = matched.operation.facts();
    let permit = policy::decide(&caller, &facts, &view.directory, &view.policies, restricted, now)
        .map_err(|no| refused(no.into()))?;
    if !admitted.classes.is_subset(permit.classes()) {
        return Err(refused(Reason::SearchNotPermitted));
    }
    if matches!(facts.kind, OperationKind::Write | OperationKind::Export) {
        let attempt = record(&view, &bearing, id, Outcome::Attempted, 0, &[]);
        node.recorder
            .append(Draft::Access(attempt))
            .await
            .map_err(|reason| refused(reason.into()))?;
    }

    // fetch
    let reply = forward::fetch(node, request, &admitted, id)
        .await
        .map_err(|reason| refused(reason.into()))?;
    if matches!(reply.status, 404 | 410) {
        return Err(refused(Reason::NotFound));
    }

    // disclose
    let disclosed = node
        .watch
        .disclose(reply, &matched, &permit, &bearing, node, &view)
        .map_err(|because| refused(Reason::Withheld(because)))?;

    // record
    let access = record(
        &view,
        &bearing,
        id,
        Outcome::Released,
        disclosed.body().len() as u64,
        disclosed.touches(),
    );
    let receipt = node
        .recorder
        .append(Draft::Access(access))
        .await
        .map_err(|reason| refused(reason.into()))?;

    // release: posture once more, because the awaits took time
    match node.posture.switch().pass(&connection.gate, bearing.clone(), id, clock::boot_now()) {
        Ok(passage) => Ok(Reply::release(disclosed, receipt, passage)),
        Err(cut) => {
            node.not_released(bearing.integration, id, *receipt.leaf_hash()).await;
            Err(refused(cut.into()))
        }
    }
}

fn bearing(caller: &Caller, operation: &OperationId) -> Bearing {
    Bearing {
        vendor: caller.vendor(),
        integration: caller.integration(),
        credential: caller.credential(),
        grant: caller.grant(),
        operation: operation.clone(),
        network: caller.network(),
    }
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
