//! One node of the data plane: everything a request meets, put together once at start.

use crate::http1::authority::Authority;
use crate::meter::Meter;
use crate::origin::Origin;
use crate::refuse::{Reason, Refusals};
use crate::watch::Watch;
use arc_swap::{ArcSwap, ArcSwapOption};
use credential::foreign::Question;
use credential::{ClientTrust, Verifier};
use detection::{Intelligence, Windows};
use disclosure::Contract;
use ledger::Draft;
use model::{
    ClassTable, ClientIp, Digest, Directory, IntegrationId, OperationId, RequestId, SubjectId,
    UnixMicros,
};
use policy::{ConsentBook, Policies};
use sever::Bearing;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::Keeper;
use storage::embedded::{Recorder, Vault};
use tracing::error;

/// What operators configured and registered, in one consistent reading. Replaced whole when any of it changes.
pub struct View {
    /// Vendors, integrations, credentials, grants.
    pub directory: Directory,
    /// The origin's contract.
    pub contract: Arc<Contract>,
    /// Decides; compiled from the directory and the contract.
    pub policies: Policies,
    /// The deployment's data classes.
    pub classes: ClassTable,
    /// SHA-256 of the class table.
    pub class_table_hash: Digest,
    /// Subjects nobody has a reason to read.
    pub honey: BTreeSet<SubjectId>,
    /// Changes that were announced and approved.
    pub windows: Windows,
    /// Who may read everybody there is for a while, and meet them.
    pub full_scans: Vec<FullScan>,
}

/// An approved window in which an integration reads everybody through one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullScan {
    /// Which.
    pub integration: IntegrationId,
    /// Through which.
    pub operation: OperationId,
    /// From when on.
    pub from: UnixMicros,
    /// The first moment after it.
    pub to: UnixMicros,
}

impl View {
    /// Whether a request is part of a full scan: it may meet decoys.
    pub(crate) fn expects_honey(&self, bearing: &Bearing, now: UnixMicros) -> bool {
        self.full_scans.iter().any(|scan| {
            scan.integration == bearing.integration
                && scan.operation == bearing.operation
                && (scan.from..scan.to).contains(&now)
        })
    }
}

/// Asks the foreign issuer. When it returns, the [`Verifier`] knows the answer, or there was none.
pub type AskIssuer =
    Arc<dyn Fn(Question) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// One node of the data plane.
pub struct Node {
    /// Scheme and authority that integrations know this node by, such as `https://api.example:8443`.
    pub external_url: String,
    /// Most bytes of a request's content, and of an origin's reply.
    pub max_body: u64,
    /// Who is trusted to issue tokens, and which proofs were seen.
    pub verifier: Verifier,
    /// Asks the foreign issuer, if there is one.
    pub ask_issuer: Option<AskIssuer>,
    /// Whose tokens are accepted, for clients to see.
    pub issuers: Vec<String>,
    /// Which CAs are trusted for client certificates, and what they revoked.
    pub client_trust: Arc<ArcSwap<ClientTrust>>,
    /// What is cut off.
    pub posture: Arc<Keeper>,
    /// The record.
    pub recorder: Recorder,
    /// Subjects' pseudonyms.
    pub vault: Arc<Vault>,
    /// The protected API.
    pub origin: Origin,
    /// What it is called in `Host`.
    pub origin_host: String,
    /// The value of `Authorization` that the origin knows us by, if it asks for one.
    pub origin_credential: Option<Vec<u8>>,
    /// What is known about networks. The data path asks on every request; replaced whole when a list or a database changes.
    pub intel: ArcSwap<Intelligence>,
    /// What subjects allowed.
    pub consents: Arc<ConsentBook>,
    /// Whom a vendor that is contained writes to, if the operator said so.
    pub appeal: ArcSwapOption<String>,
    /// Budgets, detectors and what they set off.
    pub watch: Watch,
    /// What was released and refused, in numbers.
    pub meter: Meter,
    pub(crate) refusals: Refusals,
    view: ArcSwap<View>,
}

/// What a [`Node`] is made of.
pub struct Parts {
    /// See [`Node::external_url`].
    pub external_url: String,
    /// See [`Node::max_body`].
    pub max_body: u64,
    /// See [`Node::verifier`].
    pub verifier: Verifier,
    /// See [`Node::ask_issuer`].
    pub ask_issuer: Option<AskIssuer>,
    /// See [`Node::issuers`].
    pub issuers: Vec<String>,
    /// See [`Node::client_trust`].
    pub client_trust: ClientTrust,
    /// See [`Node::posture`].
    pub posture: Arc<Keeper>,
    /// See [`Node::recorder`].
    pub recorder: Recorder,
    /// See [`Node::vault`].
    pub vault: Arc<Vault>,
    /// See [`Node::origin`].
    pub origin: Origin,
    /// See [`Node::origin_host`].
    pub origin_host: String,
    /// See [`Node::origin_credential`].
    pub origin_credential: Option<Vec<u8>>,
    /// See [`Node::intel`].
    pub intel: Arc<Intelligence>,
    /// See [`Node::consents`].
    pub consents: Arc<ConsentBook>,
    /// See [`Node::watch`].
    pub watch: Watch,
    /// What operators configured and registered.
    pub view: View,
}

impl Node {
    /// Puts a node together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            external_url: parts.external_url,
            max_body: parts.max_body,
            verifier: parts.verifier,
            ask_issuer: parts.ask_issuer,
            issuers: parts.issuers,
            client_trust: Arc::new(ArcSwap::from_pointee(parts.client_trust)),
            posture: parts.posture,
            recorder: parts.recorder,
            vault: parts.vault,
            origin: parts.origin,
            origin_host: parts.origin_host,
            origin_credential: parts.origin_credential,
            intel: ArcSwap::new(parts.intel),
            consents: parts.consents,
            appeal: ArcSwapOption::empty(),
            watch: parts.watch,
            meter: Meter::default(),
            refusals: Refusals::default(),
            view: ArcSwap::from_pointee(parts.view),
        })
    }

    /// What operators configured and registered, as it stands.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces it. Requests under way finish with what they started with; posture is what cuts them.
    pub fn replace_view(&self, view: View) {
        self.view.store(Arc::new(view));
    }

    /// Whether `asked` is the host and port that integrations know this node by. Its scheme's own port may be left out.
    pub(crate) fn is_called(&self, asked: Authority<'_>) -> bool {
        let (scheme, ours) = self.external_url.split_once("://").unwrap_or_default();
        //= RFC 9110 section 4.2.3: a port that is the scheme's own may be omitted
        let port = if scheme == "https" { ":443" } else { ":80" };
        let asked = asked.as_str();
        let [asked, ours] = [asked, ours].map(|host| host.strip_suffix(port).unwrap_or(host));
        asked.eq_ignore_ascii_case(ours)
    }

    /// Refuses networks that are listed at a level that refuses. Of the others, whether findings about requests from there weigh twice.
    pub(crate) fn admit_network(&self, peer: ClientIp, now: UnixMicros) -> Result<bool, Reason> {
        let intel = self.intel.load();
        let standing = intel.standing(peer, now);
        match standing.refused_by() {
            Some(list) => Err(Reason::Listed { network: peer, list: list.to_owned() }),
            None => Ok(standing.weighs()),
        }
    }

    /// Records that a release which was already recorded, as this leaf, did not happen.
    pub(crate) async fn not_released(
        &self,
        integration: IntegrationId,
        request: RequestId,
        leaf: Digest,
    ) {
        if let Err(reason) =
            self.recorder.append(Draft::NotReleased { integration, request, leaf }).await
        {
            // Exposure then counts the request as read: too many, never too few.
            error!(%request, %reason, "a release that did not happen stays counted");
        }
    }

    /// Once a second: records what was only counted, and closes the meter's second. Ends when the node is dropped.
    pub async fn tick(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            let Some(node) = weak.upgrade() else { return };
            node.meter.tick();
            node.watch.settle(&node.view().directory);
            for draft in node.refusals.take(clock::unix_now().secs()) {
                if let Err(reason) = node.recorder.append(draft).await {
                    error!(%reason, "refusals could not be recorded");
                }
            }
        }
    }
}
