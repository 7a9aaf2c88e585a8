//! A real node on loopback: every part as in production but its size, its directory made by hand instead of by operators.
//!
//! One integration holds one key and one grant: every operation and every class of the contract, every subject.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use credential::client::{ProofRequest, sign_proof};
use credential::token::{self, Binding, Facts};
use credential::{Algorithm, ClientTrust, SigningKey, Verifier};
use disclosure::{Contract, Operation};
use gateway::listener::{self, Transport};
use gateway::node::{Node, Parts, View};
use gateway::origin::{Origin, OriginConfig};
use gateway::watch::Watch;
use model::{
    Budget, ClassTable, Credential, CredentialId, CredentialState, Digest, Directory, Grant,
    GrantId, Integration, IntegrationId, IntegrationState, Means, Micros, Purpose, SubjectScope,
    Vendor, VendorId,
};
use policy::Policies;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::journal::JournalSizes;
use storage::embedded::recorder::{self, Opening};
use storage::embedded::vault::VaultKeys;
use storage::embedded::{Keeper, PostureRegister};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

const ISSUER: &str = "https://issuer.test";
const BODY_MAX: u64 = 4 * 1024 * 1024;

/// What a node is set up with.
pub(crate) struct Setting<'a> {
    /// An OpenAPI document and its overlay.
    pub(crate) contract: (&'a str, &'a str),
    /// Where the origin listens.
    pub(crate) origin: SocketAddr,
    /// How the data plane speaks.
    pub(crate) transport: Transport,
    /// What the integration may prove itself with instead of its key.
    pub(crate) certificate: Option<Means>,
}

/// A running node and the one integration it knows. Dropping it stops the listener and removes its files.
pub(crate) struct Stage {
    pub(crate) node: Arc<Node>,
    /// Where the data plane listens.
    pub(crate) address: SocketAddr,
    /// The integration's.
    pub(crate) key: SigningKey,
    issuer_key: SigningKey,
    /// Holds the listener: it stops when this is dropped.
    _stop: watch::Sender<bool>,
    _files: TempDir,
}

const INTEGRATION: IntegrationId = IntegrationId::from_bytes([1; 16]);
const VENDOR: VendorId = VendorId::from_bytes([2; 16]);
const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
const GRANT: GrantId = GrantId::from_bytes([4; 16]);

impl Stage {
    /// Starts a node.
    pub(crate) async fn start(setting: Setting<'_>) -> Self {
        let Setting { contract, origin, transport, certificate } = setting;
        let files = tempfile::tempdir().unwrap();
        let opening = Opening {
            sizes: JournalSizes { segment_bytes: 8 << 20, reserve_bytes: 64 << 10 },
            // A disk that other tests keep busy is no disk that stands still.
            wait_max: Duration::from_secs(60),
            ..Opening::standard(
                ledger::note::SigningKey::new("test/node/1", &[7; 32]).unwrap(),
                VaultKeys { index: [8; 32], wrapping: [9; 32], wrapping_id: 1 },
            )
        };
        let opened = recorder::open(files.path(), opening).unwrap();
        let register = PostureRegister::open(&files.path().join("posture")).unwrap();
        let keeper = Keeper::start(register, opened.recorder.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if matches!(transport, Transport::Clear) { "http" } else { "https" };
        let external_url = format!("{scheme}://localhost:{}", address.port());
        let (key, issuer_key) = (signing_key(), signing_key());
        let issuer_keys = [("issuer".to_owned(), issuer_key.public().clone())].into();
        let node = Node::new(Parts {
            ask_issuer: None,
            issuers: vec![ISSUER.to_owned()],
            client_trust: ClientTrust::default(),
            verifier: Verifier::new(
                ISSUER,
                &external_url,
                issuer_keys,
                clock::random(),
                Verifier::PROOFS_MAX,
            ),
            external_url,
            max_body: BODY_MAX,
            posture: Arc::clone(&keeper),
            recorder: opened.recorder,
            vault: opened.vault,
            origin: Origin::new(OriginConfig {
                address: origin,
                body_max: BODY_MAX,
                connect_timeout: Duration::from_secs(5),
                response_timeout: Duration::from_secs(30),
                idle_max: 64,
            }),
            origin_host: "origin.test".to_owned(),
            origin_credential: Some(b"Bearer upstream".to_vec()),
            intel: Arc::default(),
            consents: Arc::default(),
            watch: Watch::new(keeper),
            view: view(contract, &key, certificate),
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listener::run(Arc::clone(&node), listener, transport, stopped));
        Self { node, address, key, issuer_key, _stop: stop, _files: files }
    }

    /// What the node is called in `Host`.
    pub(crate) fn host(&self) -> &str {
        self.node.external_url.split_once("://").unwrap().1
    }

    /// A token for the integration's grant, good for a minute, bound to this certificate or else to the integration's key.
    pub(crate) fn token(&self, certificate: Option<Digest>) -> String {
        let now = clock::unix_now();
        let key = Binding::Key(self.key.public().thumbprint());
        let facts = Facts {
            integration: INTEGRATION,
            grant: GRANT,
            subject: None,
            consent: None,
            binding: certificate.map_or(key, Binding::Certificate),
            issued: now,
            expires: now + Micros::from_secs(60),
        };
        let audience = &self.node.external_url;
        token::sign(&facts, ISSUER, audience, &self.issuer_key, "issuer", clock::random())
            .expose()
            .to_owned()
    }

    /// The two fields that prove the sender of one request, as names and values. `path`: without query.
    pub(crate) fn proof(&self, method: &str, path: &str) -> [(&'static str, String); 2] {
        let (token, now) = (self.token(None), clock::unix_now());
        let proof = sign_proof(
            &self.key,
            &ProofRequest {
                method,
                url: &[&self.node.external_url, path].concat(),
                access_token: Some(&token),
                nonce: Some(self.node.verifier.nonce(now).as_str()),
                jti: clock::random(),
                now,
            },
        );
        [("Authorization", format!("DPoP {token}")), ("DPoP", proof)]
    }
}

fn view((openapi, overlay): (&str, &str), key: &SigningKey, certificate: Option<Means>) -> View {
    let mut classes = ClassTable::default();
    let contract = Contract::compile(openapi, overlay, &mut classes).unwrap();
    let directory = directory(&contract, &classes, key, certificate);
    let facts: Vec<_> = contract.operations().map(Operation::facts).collect();
    let policies = Policies::compile(&facts, &classes, &directory, "").unwrap();
    View {
        directory,
        policies,
        class_table_hash: ledger::record::class_table_hash(&classes),
        classes,
        contract: Arc::new(contract),
        honey: BTreeSet::new(),
        full_scans: Vec::new(),
        windows: detection::Windows::default(),
    }
}

fn directory(
    contract: &Contract,
    classes: &ClassTable,
    key: &SigningKey,
    certificate: Option<Means>,
) -> Directory {
    let until = clock::unix_now() + Micros::from_secs(86_400);
    let vendor = Vendor { id: VENDOR, slug: "vendor".into(), name: "Vendor".into() };
    let integration = Integration {
        id: INTEGRATION,
        slug: "reader".into(),
        vendor: VENDOR,
        tier: 3,
        state: IntegrationState::Approved { until },
        redirects: Vec::new(),
    };
    let credential = Credential {
        id: CREDENTIAL,
        integration: INTEGRATION,
        means: Means::Key {
            thumbprint: key.public().thumbprint(),
            jwk: key.public().canonical_jwk().to_owned(),
        },
        state: CredentialState::Active { until },
        networks: Vec::new(),
    };
    let by_certificate = certificate.map(|means| {
        let id = CredentialId::from_bytes([5; 16]);
        (id, Credential { id, means, ..credential.clone() })
    });
    let grant = Grant {
        id: GRANT,
        integration: INTEGRATION,
        operations: contract.operations().map(|operation| operation.id().clone()).collect(),
        classes: classes.classes().iter().filter_map(|class| classes.number(class)).collect(),
        purpose: Purpose::new("support").unwrap(),
        scope: SubjectScope::All,
        budget: Budget { burst: 1 << 20, hour: 1 << 20, day: 1 << 20 },
        expires: until,
    };
    Directory {
        revision: 1,
        vendors: [(VENDOR, vendor)].into(),
        integrations: [(INTEGRATION, integration)].into(),
        credentials: [(CREDENTIAL, credential)].into_iter().chain(by_certificate).collect(),
        grants: [(GRANT, grant)].into(),
        bearer: std::collections::BTreeMap::new(),
    }
}

fn signing_key() -> SigningKey {
    let der = SigningKey::pkcs8(Algorithm::EdDsa, clock::random()).unwrap();
    SigningKey::from_pkcs8(&der).unwrap()
}
