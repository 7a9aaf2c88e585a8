//! Streams from end to end: an origin that a test plays, a node with its log on disk, a client on a raw socket.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use arc_swap::ArcSwap;
use bytes::Bytes;
use credential::client::{ProofRequest, sign_proof};
use credential::token::{self, Binding, Facts};
use credential::{Algorithm, ClientTrust, SigningKey, Verifier};
use disclosure::Contract;
use gateway::listener::{self, Transport};
use gateway::node::{Node, Parts, View};
use gateway::origin::{Origin, OriginConfig};
use gateway::watch::Watch;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ledger::note;
use ledger::record::Body;
use model::{
    Budget, ClassTable, Credential, CredentialId, CredentialState, DataClass, Directory, Grant,
    GrantId, Integration, IntegrationId, IntegrationState, Means, Micros, OperationId, Outcome,
    Purpose, Refusal, SubjectId, SubjectScope, UnixMicros, Vendor, VendorId,
};
use policy::Policies;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use sever::{Authority, Change, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock;
use storage::embedded::recorder::{self, Opening};
use storage::embedded::vault::VaultKeys;
use storage::embedded::view::LogView;
use storage::embedded::{Keeper, PostureRegister};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const OPENAPI: &str = r##"
openapi: 3.1.0
info: { title: accounts, version: "1" }
paths:
  /export:
    get:
      operationId: export
      x-portcullis-operation: list
      responses:
        200:
          content:
            application/x-ndjson: { schema: { $ref: "#/components/schemas/Account" } }
            text/event-stream: { schema: { $ref: "#/components/schemas/Account" } }
            application/json: { schema: { $ref: "#/components/schemas/Account" } }
components:
  schemas:
    Account:
      type: object
      x-portcullis-subject: { pointer: /id }
      properties:
        id: { type: string, x-portcullis-class: user.contact.email }
        email: { type: string, x-portcullis-class: user.contact.email }
        secret: { type: string }
"##;

const VENDOR: VendorId = VendorId::from_bytes([1; 16]);
const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);
const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
const GRANT: GrantId = GrantId::from_bytes([5; 16]);
const ISSUER: &str = "http://localhost:1";
const LINES: &str = "application/x-ndjson";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Longest wait for anything: far more than it takes, so that only what never comes fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn each_batch_is_recorded_before_its_bytes() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    for number in 1..=3 {
        say(&mut origin, &format!("{{\"id\":\"u{number}\"}}\n")).await;
        client.read_until(&format!("\"u{number}\"")).await;
        let recorded = world.recorded();
        assert_eq!((recorded.released.len(), recorded.touches), (number, number));
        assert_eq!(recorded.requests, 1, "every batch is of the one request");
    }
    origin.write_all(LAST_CHUNK).await.unwrap();
    assert_eq!(client.end().await, End::Complete);
    assert_eq!(client.text().matches("portcullis-receipt").count(), 1);
    assert_eq!(world.recorded().taken_back, 0);
}

#[tokio::test]
async fn foreign_lines_are_withheld_and_the_others_keep_order_and_bytes() {
    let subjects = ["u1", "u3"].map(|id| SubjectId::new(id).unwrap());
    let scope = SubjectScope::Consenting(BTreeSet::from(subjects));
    let world = world(Given { scope, ..Given::default() }).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    let sent = concat!(
        "{ \"email\" : \"\\u0061@x\" ,\"id\":\"u3\"}\r\n",
        "{\"id\":\"u2\",\"email\":\"b@x\"}\n",
        "\n",
        "{\"id\":\"u1\",\"secret\":\"s\"}\n",
        "{\"id\":\"u3\",\"email\":\"last\"}",
    );
    for piece in sent.as_bytes().chunks(7) {
        say(&mut origin, std::str::from_utf8(piece).unwrap()).await;
    }
    origin.write_all(LAST_CHUNK).await.unwrap();
    assert_eq!(client.end().await, End::Complete);
    let left = concat!(
        "{ \"email\" : \"\\u0061@x\" ,\"id\":\"u3\"}\r\n",
        "{\"id\":\"u1\"}\n",
        "{\"id\":\"u3\",\"email\":\"last\"}\n",
    );
    assert_eq!(client.content(), left);
    assert_eq!(world.recorded().pseudonyms, 2);
}

#[tokio::test]
async fn a_sever_ends_a_waiting_stream_at_once() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    say(&mut origin, "{\"id\":\"u1\"}\n").await;
    client.read_until("\"u1\"").await;
    let before = client.received.len();
    assert_eq!(world.sever().await, 1);
    let _the_gateway_may_be_gone = origin.write_all(b"d\r\n{\"id\":\"u2\"}\n\r\n").await;
    assert_eq!(client.end().await, End::Reset);
    assert_eq!(client.received.len(), before, "nothing after the sever");
    assert_eq!(world.recorded().pseudonyms, 1);
}

#[tokio::test]
async fn a_sever_ends_a_stream_that_nobody_reads() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    fill(&mut origin).await;
    assert_eq!(world.sever().await, 1, "the batch that waits for its reader");
    let released = world.recorded().released.len();
    assert_eq!(client.end().await, End::Reset);
    assert_eq!(world.recorded().released.len(), released, "no batch after it");
}

#[tokio::test]
async fn a_slow_reader_is_recorded_no_further_than_one_batch_ahead() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    let (sent, cut_short) = fill(&mut origin).await;
    let stalled = world.recorded();
    assert!(stalled.released.iter().all(|bytes| *bytes <= 64 * 1024), "{stalled:?}");
    // All that was recorded reaches the client once it reads; nothing waits anywhere else.
    let playing = tokio::spawn(async move {
        origin.write_all(&cut_short).await.unwrap();
        origin.write_all(LAST_CHUNK).await.unwrap();
    });
    assert_eq!(client.end().await, End::Complete);
    playing.await.unwrap();
    let content = client.content();
    assert_eq!(content.lines().count(), sent);
    let recorded = world.recorded();
    assert_eq!(recorded.released.iter().sum::<u64>(), content.len() as u64);
    assert!(stalled.released.len() < recorded.released.len(), "the origin was held back");
    assert_eq!((recorded.pseudonyms, recorded.taken_back), (sent, 0));
}

#[tokio::test]
async fn a_broken_origin_never_looks_like_the_end() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    say(&mut origin, "{\"id\":\"u1\"}\n").await;
    client.read_until("\"u1\"").await;
    say(&mut origin, "{\"id\":\"u2\"}\n{\"id\":").await;
    drop(origin);
    assert_eq!(client.end().await, End::Reset);
    let recorded = world.until(|recorded| !recorded.refused.is_empty()).await;
    assert_eq!(recorded.refused, [Refusal::OriginFailed]);
}

#[tokio::test]
async fn a_malformed_line_breaks_the_stream_off_and_nothing_of_its_batch_leaves() {
    for bad in ["{\"id\":\"u3\",\"id\":\"u4\"}", "{\"id\":\"u3\"", "{\"id\":\"u3\"} {}"] {
        let world = world(Given::default()).await;
        let (mut client, mut origin) = world.begin(LINES).await;
        say(&mut origin, "{\"id\":\"u1\"}\n").await;
        client.read_until("\"u1\"").await;
        say(&mut origin, &format!("{{\"id\":\"u2\"}}\n{bad}\n")).await;
        assert_eq!(client.end().await, End::Reset);
        assert_eq!(client.content(), "{\"id\":\"u1\"}\n");
        let recorded = world.until(|recorded| !recorded.refused.is_empty()).await;
        assert_eq!((recorded.refused, recorded.touches), (vec![Refusal::OutOfContract], 1));
    }
}

#[tokio::test]
async fn a_batch_with_a_honey_subject_or_beyond_the_budget_breaks_the_stream_off() {
    for (id, refusal) in [("honey", Refusal::Honey), ("u2", Refusal::OverBudget)] {
        let world = world(Given { budget: 1, ..Given::default() }).await;
        let (mut client, mut origin) = world.begin(LINES).await;
        say(&mut origin, "{\"id\":\"u1\"}\n").await;
        client.read_until("\"u1\"").await;
        say(&mut origin, &format!("{{\"id\":\"{id}\"}}\n")).await;
        assert_eq!(client.end().await, End::Reset);
        assert_eq!(client.content(), "{\"id\":\"u1\"}\n");
        let recorded = world.until(|recorded| !recorded.refused.is_empty()).await;
        assert_eq!((recorded.refused, recorded.touches), (vec![refusal], 1));
    }
}

#[tokio::test]
async fn every_subject_is_counted_exactly() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    let playing = tokio::spawn(async move {
        for line in 0..2_000 {
            say(&mut origin, &format!("{{\"id\":\"u{}\"}}\n", line % 700)).await;
        }
        origin.write_all(LAST_CHUNK).await.unwrap();
    });
    assert_eq!(client.end().await, End::Complete);
    playing.await.unwrap();
    let content = client.content();
    let ids: BTreeSet<&str> = content.lines().collect();
    assert_eq!((content.lines().count(), ids.len()), (2_000, 700));
    let recorded = world.recorded();
    assert_eq!(recorded.pseudonyms, 700);
    assert_eq!(recorded.released.iter().sum::<u64>(), content.len() as u64);
    assert!(recorded.released.len() >= 2_000 / 64, "a batch has at most 64 lines");
}

#[tokio::test]
async fn events_leave_with_their_data_only() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin("text/event-stream").await;
    let sent = concat!(
        ": hello\nevent: made\nid: 7\ndata: {\"id\":\"u1\",\ndata: \"email\":\"a@x\"}\n\n",
        "data: {\"id\":\"u2\",\"secret\":\"s\"}\n\n",
    );
    say(&mut origin, sent).await;
    origin.write_all(LAST_CHUNK).await.unwrap();
    assert_eq!(client.end().await, End::Complete);
    let left = "data: {\"id\":\"u1\",\ndata: \"email\":\"a@x\"}\n\ndata: {\"id\":\"u2\"}\n\n";
    assert_eq!(client.content(), left);
}

#[tokio::test]
async fn an_empty_stream_is_a_reply() {
    let world = world(Given::default()).await;
    let (mut client, mut origin) = world.begin(LINES).await;
    origin.write_all(LAST_CHUNK).await.unwrap();
    assert_eq!(client.end().await, End::Complete);
    assert_eq!((client.status(), client.content()), ("200".to_owned(), String::new()));
}

#[tokio::test]
async fn a_stream_whose_end_would_prove_nothing_is_refused() {
    let world = world(Given::default()).await;
    let mut client = world.ask("1.0").await;
    let mut origin = world.hear().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {LINES}\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    origin.write_all(chunked.as_bytes()).await.unwrap();
    client.read_until("}").await;
    assert_eq!(client.status(), "400", "an HTTP/1.0 client reads until the end of the connection");

    let mut client = world.ask("1.1").await;
    let mut origin = world.hear().await;
    let until_close = format!("{head}Connection: close\r\n\r\n{{\"id\":\"u1\"}}\n");
    origin.write_all(until_close.as_bytes()).await.unwrap();
    client.read_until("}").await;
    assert_eq!(client.status(), "502", "and so would we");
}

#[tokio::test]
async fn nothing_is_released_once_the_permit_has_run_out() {
    let world = world(Given { token_life: Micros::from_secs(10), ..Given::default() }).await;
    let mut whole = world.ask("1.1").await;
    let mut origin = world.hear().await;
    let (mut stream, mut streaming) = world.begin(LINES).await;
    say(&mut streaming, "{\"id\":\"u1\"}\n").await;
    stream.read_until("\"u1\"").await;
    // A stream that waits for its origin ends with the permit,
    assert_eq!(stream.end().await, End::Reset);
    // and so does what a whole reply may do: its origin held it back for too long.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n";
    origin.write_all(head.as_bytes()).await.unwrap();
    origin.write_all(b"{\"id\":\"u2\"}").await.unwrap();
    whole.read_until("}").await;
    assert_eq!(whole.status(), "403");
    assert!(!whole.text().contains("\"u2\""));
    let recorded = world.until(|recorded| recorded.refused.len() == 2).await;
    assert_eq!(recorded.refused, [Refusal::NotPermitted, Refusal::NotPermitted]);
    assert_eq!(recorded.taken_back, 1, "the whole reply had been recorded");
}

#[tokio::test]
async fn over_http2_each_batch_comes_when_it_is_recorded_and_the_end_is_the_origins() {
    let world = world(Given { tls: true, ..Given::default() }).await;
    let (mut body, mut origin, _connection) = world.begin_http2().await;
    for number in 2..=4 {
        let line = format!("{{\"id\":\"u{number}\"}}\n");
        say(&mut origin, &line).await;
        assert_eq!(frame(&mut body).await, Some(Ok(line)));
        assert_eq!(world.recorded().touches, number);
    }
    origin.write_all(LAST_CHUNK).await.unwrap();
    assert_eq!(frame(&mut body).await, None);
    assert_eq!(world.recorded().taken_back, 0);
}

#[tokio::test]
async fn over_http2_a_stream_is_broken_off_by_a_reset() {
    let world = world(Given { tls: true, ..Given::default() }).await;
    let (mut body, mut origin, _connection) = world.begin_http2().await;
    say(&mut origin, "{\"id\":\"u2\"}\n{\n").await;
    assert_eq!(frame(&mut body).await, Some(Err(())));
    let recorded = world.until(|recorded| !recorded.refused.is_empty()).await;
    assert_eq!((recorded.refused, recorded.touches), (vec![Refusal::OutOfContract], 1));

    let (mut body, _origin, _connection) = world.begin_http2().await;
    assert!(world.sever().await > 0);
    assert_eq!(frame(&mut body).await, Some(Err(())), "a waiting stream too");
}

#[tokio::test]
async fn over_http2_head_has_no_content() {
    let world = world(Given { tls: true, ..Given::default() }).await;
    let (mut send, _connection) = world.connect_http2().await;
    let (asking, answering) = (send.send_request(world.request("HEAD")), world.hear());
    let playing = async {
        let mut origin = answering.await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n";
        let reply = format!("{head}\r\n{{\"id\":\"u1\"}}");
        origin.write_all(reply.as_bytes()).await.unwrap();
        origin
    };
    let (reply, _origin) = tokio::join!(asking, playing);
    let mut reply = reply.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(frame(reply.body_mut()).await, None);
}

/// The next piece of a body, if it is not over. An end may come with a frame that holds nothing.
async fn frame(body: &mut Incoming) -> Option<Result<String, ()>> {
    loop {
        let next = tokio::time::timeout(PATIENCE, body.frame()).await;
        match next.expect("the gateway is silent")?.map(|frame| frame.into_data()) {
            Ok(Ok(data)) if data.is_empty() => {}
            Ok(data) => return Some(Ok(String::from_utf8_lossy(&data.unwrap()).into_owned())),
            Err(_) => return Some(Err(())),
        }
    }
}

/// What a test varies.
struct Given {
    tls: bool,
    scope: SubjectScope,
    budget: u32,
    token_life: Micros,
}

impl Default for Given {
    fn default() -> Self {
        let token_life = Micros::from_secs(200);
        Self { tls: false, scope: SubjectScope::All, budget: 1_000_000, token_life }
    }
}

struct World {
    node: Arc<Node>,
    keeper: Arc<Keeper>,
    log: LogView,
    address: SocketAddr,
    external_url: String,
    origin: TcpListener,
    key: SigningKey,
    token: String,
    /// Trusts the node's certificate.
    trust: Option<TlsConnector>,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

async fn world(given: Given) -> World {
    let dir = tempfile::tempdir().unwrap();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let log_key = note::SigningKey::new("test/node/1", &[3; 32]).unwrap();
    let opening =
        Opening { wait_max: Duration::from_secs(60), ..Opening::standard(log_key, vault) };
    let opened = recorder::open(dir.path(), opening).unwrap();
    let register = PostureRegister::open(&dir.path().join("posture")).unwrap();
    let keeper = Keeper::start(register, opened.recorder.clone()).unwrap();
    let origin = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let scheme = if given.tls { "https" } else { "http" };
    let external_url = format!("{scheme}://localhost:{}", address.port());
    let (transport, trust) = if given.tls { tls() } else { (Transport::Clear, None) };

    let (key, issuer_key) = (signing_key(1), signing_key(2));
    let mut classes = ClassTable::default();
    let contract = Contract::compile(OPENAPI, "", &mut classes).unwrap();
    let directory = directory(&key, &classes, &given, clock::unix_now());
    let facts: Vec<_> = contract.operations().map(disclosure::Operation::facts).collect();
    let policies = Policies::compile(&facts, &classes, &directory, "").unwrap();
    let class_table_hash = ledger::record::class_table_hash(&classes);
    let contract = Arc::new(contract);
    let honey = BTreeSet::from([SubjectId::new("honey").unwrap()]);
    let issuer_keys = BTreeMap::from([("k1".to_owned(), issuer_key.public().clone())]);
    let node = Node::new(Parts {
        ask_issuer: None,
        issuers: vec![ISSUER.to_owned()],
        client_trust: ClientTrust::default(),
        external_url: external_url.clone(),
        max_body: 256 * 1024,
        verifier: Verifier::new(ISSUER, &external_url, issuer_keys, [7; 32], Verifier::PROOFS_MAX),
        posture: Arc::clone(&keeper),
        recorder: opened.recorder,
        vault: opened.vault,
        origin: Origin::new(OriginConfig {
            address: origin.local_addr().unwrap(),
            body_max: 256 * 1024,
            connect_timeout: PATIENCE,
            response_timeout: PATIENCE,
            idle_max: 8,
        }),
        origin_host: "origin".to_owned(),
        origin_credential: None,
        intel: Arc::default(),
        consents: Arc::default(),
        watch: Watch::new(Arc::clone(&keeper)),
        view: View {
            directory,
            contract,
            policies,
            classes,
            class_table_hash,
            honey,
            full_scans: Vec::new(),
            windows: detection::Windows::default(),
        },
    });
    // As late as it can be, because a token may be short-lived.
    let now = clock::unix_now();
    let facts = Facts {
        integration: INTEGRATION,
        grant: GRANT,
        subject: None,
        consent: None,
        binding: Binding::Key(key.public().thumbprint()),
        issued: now,
        expires: now + given.token_life,
    };
    let token = token::sign(&facts, ISSUER, &external_url, &issuer_key, "k1", [1; 16]);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener::run(Arc::clone(&node), listener, transport, stopped));
    let (log, token) = (opened.view, token.expose().to_owned());
    World {
        node,
        keeper,
        log,
        address,
        external_url,
        origin,
        key,
        token,
        trust,
        _stop: stop,
        _dir: dir,
    }
}

/// A listener's TLS with a certificate of its own, and a client's that trusts it and speaks HTTP/2.
fn tls() -> (Transport, Option<TlsConnector>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = gateway::tls::configs(certificate.as_bytes(), key.as_bytes()).unwrap().data_plane;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    (Transport::Tls(Arc::new(ArcSwap::new(server))), Some(Arc::new(client).into()))
}

fn signing_key(secret: u8) -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::pkcs8(Algorithm::EdDsa, [secret; 32]).unwrap()).unwrap()
}

fn directory(key: &SigningKey, classes: &ClassTable, given: &Given, now: UnixMicros) -> Directory {
    let until = now + Micros::from_secs(86_400);
    let vendor = Vendor { id: VENDOR, slug: "acme".into(), name: "Acme".into() };
    let integration = Integration {
        id: INTEGRATION,
        slug: "acme-sync".into(),
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
    let grant = Grant {
        id: GRANT,
        integration: INTEGRATION,
        operations: BTreeSet::from([OperationId::new("export").unwrap()]),
        classes: classes.covered_by(&DataClass::new("user").unwrap()),
        purpose: Purpose::new("support").unwrap(),
        scope: given.scope.clone(),
        budget: Budget { burst: given.budget, hour: given.budget, day: given.budget },
        expires: until,
    };
    Directory {
        revision: 1,
        vendors: BTreeMap::from([(VENDOR, vendor)]),
        integrations: BTreeMap::from([(INTEGRATION, integration)]),
        credentials: BTreeMap::from([(CREDENTIAL, credential)]),
        grants: BTreeMap::from([(GRANT, grant)]),
        bearer: BTreeMap::new(),
    }
}

/// What the log says about the one integration.
#[derive(Debug, Default)]
struct Recorded {
    /// Bytes of each release, in order.
    released: Vec<u64>,
    touches: usize,
    /// How many different pseudonyms are among the touches, and how many different requests among the releases.
    pseudonyms: usize,
    requests: usize,
    refused: Vec<Refusal>,
    taken_back: usize,
}

impl World {
    fn proof(&self, method: &str) -> String {
        let url = format!("{}/export", self.external_url);
        let now = clock::unix_now();
        let nonce = self.node.verifier.nonce(now);
        let proof = ProofRequest {
            method,
            url: &url,
            access_token: Some(&self.token),
            nonce: Some(nonce.as_str()),
            jti: clock::random(),
            now,
        };
        sign_proof(&self.key, &proof)
    }

    /// Sends a proved request for the stream.
    async fn ask(&self, version: &str) -> Client {
        let (token, proof) = (&self.token, self.proof("GET"));
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let host = self.external_url.split_once("://").unwrap().1;
        let request = format!(
            "GET /export HTTP/{version}\r\nHost: {host}\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        Client { socket, received: Vec::new() }
    }

    fn request(&self, method: &str) -> http::Request<Empty<Bytes>> {
        http::Request::builder()
            .method(method)
            .uri(format!("{}/export", self.external_url))
            .header("authorization", format!("DPoP {}", self.token))
            .header("dpop", self.proof(method))
            .body(Empty::new())
            .unwrap()
    }

    async fn connect_http2(&self) -> (SendRequest<Empty<Bytes>>, JoinSet<()>) {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let secured = self.trust.as_ref().unwrap().connect(name, socket).await.unwrap();
        let shaken = handshake(TokioExecutor::new(), TokioIo::new(secured)).await.unwrap();
        let (send, connection) = shaken;
        let mut running = JoinSet::new();
        running.spawn(async move { drop(connection.await) });
        (send, running)
    }

    /// As [`World::begin`], after the first line, which brings the status.
    async fn begin_http2(&self) -> (Incoming, TcpStream, (SendRequest<Empty<Bytes>>, JoinSet<()>)) {
        let (mut send, running) = self.connect_http2().await;
        let asking = send.send_request(self.request("GET"));
        let playing = async {
            let mut origin = self.hear().await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {LINES}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            origin.write_all(head.as_bytes()).await.unwrap();
            say(&mut origin, "{\"id\":\"u1\"}\n").await;
            origin
        };
        let (reply, origin) = tokio::join!(asking, playing);
        let mut body = reply.unwrap().into_body();
        assert_eq!(frame(&mut body).await, Some(Ok("{\"id\":\"u1\"}\n".to_owned())));
        (body, origin, (send, running))
    }

    /// The origin's side of the next request, its head read.
    async fn hear(&self) -> TcpStream {
        let (mut socket, _) = self.origin.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut head).await.unwrap(), 0);
        }
        socket
    }

    /// Both sides of a stream whose head the origin has sent.
    async fn begin(&self, media_type: &str) -> (Client, TcpStream) {
        let client = self.ask("1.1").await;
        let mut origin = self.hear().await;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        origin.write_all(head.as_bytes()).await.unwrap();
        (client, origin)
    }

    /// Severs the integration; returns how many releases were cut.
    async fn sever(&self) -> usize {
        let keeper = Arc::clone(&self.keeper);
        let severing = tokio::task::spawn_blocking(move || {
            let cut = Change::Sever(Target::Integration(INTEGRATION));
            keeper.change(cut, "test", Authority::Rule("test".into()))
        });
        severing.await.unwrap().unwrap().settled.aborted
    }

    fn recorded(&self) -> Recorded {
        let mut recorded = Recorded::default();
        let (mut pseudonyms, mut requests) = (BTreeSet::new(), BTreeSet::new());
        for record in self.log.records_from(0) {
            let record = record.unwrap().1.decode().unwrap();
            if matches!(record.body, Body::NotReleased { .. }) {
                recorded.taken_back += 1;
            }
            let Body::Access(access) = record.body else { continue };
            match access.outcome {
                Outcome::Attempted => {}
                Outcome::Refused(refusal) => recorded.refused.push(refusal),
                Outcome::Released => {
                    recorded.released.push(access.bytes);
                    recorded.touches += record.touches.len();
                    pseudonyms.extend(record.touches.iter().map(|touch| touch.pseudonym));
                    requests.insert(access.request.to_string());
                }
            }
        }
        Recorded { pseudonyms: pseudonyms.len(), requests: requests.len(), ..recorded }
    }

    /// Waits until the log says so.
    async fn until(&self, holds: impl Fn(&Recorded) -> bool) -> Recorded {
        let started = Instant::now();
        loop {
            let recorded = self.recorded();
            if holds(&recorded) {
                return recorded;
            }
            assert!(started.elapsed() < PATIENCE, "the log stays at {recorded:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

async fn say(origin: &mut TcpStream, data: &str) {
    origin.write_all(&chunk(data)).await.unwrap();
}

/// Writes lines, each about a subject of its own, until every buffer on the way to the client is full. Returns how many, and what is
/// left to write of the last.
async fn fill(origin: &mut TcpStream) -> (usize, Vec<u8>) {
    let email = "x".repeat(4_000);
    for number in 0..100_000 {
        let mut line = chunk(&format!("{{\"id\":\"u{number}\",\"email\":\"{email}\"}}\n"));
        while !line.is_empty() {
            let writing = tokio::time::timeout(Duration::from_secs(1), origin.write(&line));
            let Ok(written) = writing.await else { return (number + 1, line) };
            line.drain(..written.unwrap());
        }
    }
    (usize::MAX, Vec::new())
}

struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

/// How a stream went on.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The last chunk came.
    Complete,
    Reset,
    /// An orderly end without the last chunk.
    Closed,
}

impl Client {
    async fn read(&mut self) -> std::io::Result<usize> {
        let reading = self.socket.read_buf(&mut self.received);
        tokio::time::timeout(PATIENCE, reading).await.expect("the gateway is silent")
    }

    /// `text`: what no header holds; a receipt is random.
    async fn read_until(&mut self, text: &str) {
        while !self.received.windows(text.len()).any(|window| window == text.as_bytes()) {
            let read = self.read().await.unwrap();
            assert_ne!(read, 0, "the end before `{text}`: {}", self.text());
        }
    }

    async fn end(&mut self) -> End {
        loop {
            if self.received.ends_with(b"\r\n0\r\n\r\n") {
                return End::Complete;
            }
            match self.read().await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Reset,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn status(&self) -> String {
        self.text().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The content without its chunks.
    fn content(&self) -> String {
        let text = self.text();
        let (_, mut rest) = text.split_once("\r\n\r\n").unwrap();
        let mut content = String::new();
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            content.push_str(&after[..size]);
            rest = &after[size + 2..];
        }
        content
    }
}
