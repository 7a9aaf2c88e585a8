//! TLS and HTTP/2, by rustls and hyper as clients, and by frames written by hand where those are too polite.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

#[path = "support/origin.rs"]
mod origin;
#[path = "support/signed.rs"]
mod signed;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use gateway::listener::Transport;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Means, UnixMicros};
use origin::{RecordingOrigin, content_start};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use support::{Setting, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: echo, version: '1' }
paths:
  /:
    get:
      operationId: get
      responses:
        '200':
          description: What was sent
          content: { application/json: { schema: { $ref: '#/components/schemas/Echo' } } }
    post:
      operationId: post
      requestBody: { content: { text/plain: {} } }
      responses:
        '200':
          description: What was sent
          content: { application/json: { schema: { $ref: '#/components/schemas/Echo' } } }
  /signed:
    post:
      operationId: signed
      parameters: [{ name: of, in: query, schema: { type: string } }]
      requestBody: { content: { text/plain: {} } }
      responses:
        '200':
          description: What was sent
          content: { application/json: { schema: { $ref: '#/components/schemas/Echo' } } }
components:
  schemas:
    Echo: { type: object, properties: { echo: { type: string } } }
";

const OVERLAY: &str = "
overlay: 1.0.0
info: { title: echo, version: 1 }
actions:
  - { target: $.paths.*.*, update: { x-portcullis-subject: none } }
  - target: $.paths['/signed'].post
    update: { x-portcullis-signature: required }
  - target: $.components.schemas.Echo.properties.echo
    update: { x-portcullis-class: system.operations }
";

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(20);

const BOTH: &[&str] = &["h2", "http/1.1"];

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    fn thumbprint(&self) -> [u8; 32] {
        digest(&SHA256, &self.certificate).as_ref().try_into().unwrap()
    }
}

/// A CA that both sides trust.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let certificate = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { certificate, key }
    }
}

/// A node that speaks TLS, and what its clients need.
struct World {
    ca: Ca,
    config: Arc<ServerConfig>,
    /// The one certificate that the integration registered.
    registered: Identity,
    origin: RecordingOrigin,
    stage: Stage,
}

impl World {
    async fn start() -> Self {
        let ca = Ca::new();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let server = params.signed_by(&key, &ca.issuer).unwrap().pem();
        let pem = key.serialize_pem();
        let config = gateway::tls::configs(server.as_bytes(), pem.as_bytes()).unwrap().data_plane;
        let (origin, registered) = (RecordingOrigin::start().await, ca.issue("reader"));
        let stage = Stage::start(Setting {
            contract: (OPENAPI, OVERLAY),
            origin: origin.address,
            transport: Transport::Tls(Arc::new(ArcSwap::new(Arc::clone(&config)))),
            certificate: Some(Means::Certificate {
                thumbprint: registered.thumbprint(),
                ends: UnixMicros(u64::MAX),
            }),
        })
        .await;
        Self { ca, config, registered, origin, stage }
    }

    fn client(&self, identity: Option<&Identity>, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_early_data = true;
        config
    }

    async fn connect(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.stage.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http2(&self, identity: Option<&Identity>) -> SendRequest<Full<Bytes>> {
        let stream = self.connect(self.client(identity, BOTH)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let executor = TokioExecutor::new();
        let (client, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let uri = format!("{}{path}", self.stage.node.external_url);
        Request::builder().method(method).uri(uri)
    }

    fn proved(&self, method: Method, path: &str) -> http::request::Builder {
        let proof = self.stage.proof(method.as_str(), path);
        proof
            .into_iter()
            .fold(self.request(method, path), |request, (name, value)| request.header(name, value))
    }
}

async fn ask(
    client: &mut SendRequest<Full<Bytes>>,
    request: http::request::Builder,
    content: &'static str,
) -> (StatusCode, http::HeaderMap, Bytes) {
    let request = request.body(Full::from(content)).unwrap();
    let reply = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    let (head, body) = reply.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_chosen_and_served() {
    let world = World::start().await;
    let mut client = world.http2(None).await;
    for content in ["first", "second"] {
        let request = world.proved(Method::POST, "/").header("content-type", "text/plain");
        let (status, headers, body) = ask(&mut client, request, content).await;
        assert_eq!(status, 200, "{body:?}");
        assert!(headers.contains_key("portcullis-receipt"), "{headers:?}");
        assert_eq!(body, serde_json::json!({ "echo": content }).to_string());
    }
    let received = world.origin.received().clone();
    assert_eq!(received.len(), 2);
    for (bytes, content) in received.iter().zip(["first", "second"]) {
        assert_eq!(&bytes[content_start(bytes).unwrap()..], content.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_is_served_to_those_who_ask_for_it_or_for_nothing() {
    let world = World::start().await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = world.connect(world.client(None, protocols)).await.unwrap();
        let [(authorization, token), (dpop, proof)] = world.stage.proof("GET", "/");
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}: {token}\r\n{dpop}: {proof}\r\n\r\n",
            world.stage.host()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_bound_to_a_certificate_rides_on_its_connections_only() {
    let world = World::start().await;
    let token = format!("Bearer {}", world.stage.token(Some(world.registered.thumbprint())));
    let another = world.ca.issue("reader");
    for (identity, wanted) in [(Some(&world.registered), 200), (Some(&another), 401), (None, 401)] {
        let mut client = world.http2(identity).await;
        let request = world.request(Method::GET, "/").header("authorization", &token);
        let (status, _, body) = ask(&mut client, request, "").await;
        assert_eq!(status, wanted, "{body:?}");
    }
    assert_eq!(world.origin.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_signature_is_demanded_nothing_else_stands_in_for_it() {
    let world = World::start().await;
    let mut client = world.http2(Some(&world.registered)).await;
    let target = "/signed?of=7";
    let request = || world.request(Method::POST, target).header("content-type", "text/plain");
    let token = world.stage.token(Some(world.registered.thumbprint()));
    let by_certificate = request().header("authorization", format!("Bearer {token}"));
    let dpop = world.stage.proof("POST", "/signed");
    let by_dpop =
        dpop.into_iter().fold(request(), |request, (name, value)| request.header(name, value));
    for proved in [by_certificate, by_dpop] {
        let (status, headers, body) = ask(&mut client, proved, "hello").await;
        assert_eq!(status, 401, "{body:?}");
        assert!(headers.contains_key("accept-signature"), "{headers:?}");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "signature_required");
    }
    assert_eq!(world.origin.received().len(), 0);
    let nonce = world.stage.node.verifier.nonce(storage::clock::unix_now());
    for (content, wanted) in [("hello", 200), ("hellO", 401)] {
        let signed = signed::sign(&world.stage, "POST", target, b"hello", nonce.as_str());
        let signed = signed.into_iter().fold(request(), |request, (n, v)| request.header(n, v));
        assert_eq!(ask(&mut client, signed, content).await.0, wanted);
    }
    assert_eq!(world.origin.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_session_is_resumed() {
    let world = World::start().await;
    assert_eq!(world.config.max_early_data_size, 0);
    assert_eq!(world.config.send_tls13_tickets, 0);
    let config = world.client(None, &["http/1.1"]);
    // The second connection has the client's whole memory of the first.
    for _ in 0..2 {
        let mut stream = world.connect(config.clone()).await.unwrap();
        let request = format!("OPTIONS * HTTP/1.1\r\nHost: {}\r\n\r\n", world.stage.host());
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap(), b'H');
        let session = stream.get_mut().1;
        assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(session.tls13_tickets_received(), 0);
        assert!(!session.is_early_data_accepted());
    }
}

/// rustls is built without TLS 1.2, so the hello of a client that has nothing newer is written by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_refused() {
    let world = World::start().await;
    let extensions: &[u8] = b"\x00\x0a\x00\x04\x00\x02\x00\x17\x00\x0d\x00\x04\x00\x02\x04\x03";
    let hello = [
        &b"\x03\x03"[..],                              // legacy_version: TLS 1.2
        &[7; 32],                                      // random
        b"\x00",                                       // no session id
        b"\x00\x04\xc0\x2b\xc0\x2f",                   // ECDHE with AES-128-GCM, ECDSA and RSA
        b"\x01\x00",                                   // no compression
        &[0, u8::try_from(extensions.len()).unwrap()], // supported_groups: P-256; signature_algorithms: ECDSA
        extensions,
    ]
    .concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat();
    let mut stream = TcpStream::connect(world.stage.address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    // A fatal alert, protocol_version (RFC 8446 section 6).
    assert_eq!((answer[0], &answer[answer.len() - 2..]), (21, &[2, 70][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_requests_with_two_meanings_are_refused() {
    let world = World::start().await;
    let mut client = world.http2(None).await;
    for path in [
        "/v1/../",
        "/%2e%2e/",
        "/.%2e",
        "/%252e%252e/",
        "/a%2fb",
        "/a%5cb",
        "//",
        "/a//b",
        "/..;/",
        "/%c0%af",
        "/%00",
        "/%0d%0aX:%20y",
    ] {
        let (status, _, body) = ask(&mut client, world.proved(Method::GET, path), "").await;
        assert_eq!(status, 400, "{path}: {body:?}");
    }
    let elsewhere = world.proved(Method::GET, "/").uri("https://other.test/");
    assert_eq!(ask(&mut client, elsewhere, "").await.0, 421);
    let two_hosts = world.proved(Method::GET, "/").header("host", "other.test");
    assert_eq!(ask(&mut client, two_hosts, "").await.0, 400);
    assert_eq!(ask(&mut client, world.proved(Method::GET, "/"), "content").await.0, 400);
    let (status, headers, _) = ask(&mut client, world.proved(Method::TRACE, "/"), "").await;
    assert_eq!((status.as_u16(), headers.contains_key("allow")), (405, true));
    let (status, headers, _) = ask(&mut client, world.request(Method::OPTIONS, "/"), "").await;
    assert_eq!((status.as_u16(), headers.contains_key("allow")), (204, true));
    assert_eq!(world.origin.received().len(), 0);
    // None of it took the connection from the next request.
    assert_eq!(ask(&mut client, world.proved(Method::GET, "/"), "").await.0, 200);
}

/// What became of a stream whose header block was written by hand.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Ok,
    /// A status other than 200, a reset stream, or the end of the connection.
    Refused,
}

/// Method, further fields, content, and what becomes of it.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Option<&'a str>, Ended);

/// Fields as one block of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |block: &mut Vec<u8>, text: &str| {
        let mut rest = text.len();
        if rest < 127 {
            block.push(u8::try_from(rest).unwrap());
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

impl World {
    /// Sends one stream and waits for its end.
    async fn send_block(&self, fields: &[(&str, &str)], content: Option<&str>) -> Ended {
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let mut stream = self.connect(self.client(None, &["h2"])).await.unwrap();
        let end = if content.is_none() { END_STREAM } else { 0 };
        let wire = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
            frame(1, END_HEADERS | end, 1, &header_block(fields)),
            content.map_or(Vec::new(), |content| frame(0, END_STREAM, 1, content.as_bytes())),
        ];
        stream.write_all(&wire.concat()).await.unwrap();
        loop {
            let mut head = [0; 9];
            let read = timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap();
            if read.is_err() {
                return Ended::Refused;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            match (head[3], head[8]) {
                // HEADERS: status 200 is entry 8 of the static table, and hyper writes it first.
                (1, 1) => {
                    let is_200 = payload.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88);
                    return if is_200 { Ended::Ok } else { Ended::Refused };
                }
                // RST_STREAM, GOAWAY.
                (3, 1) | (7, _) => return Ended::Refused,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_frames_that_would_be_two_requests_in_http1_are_refused() {
    let world = World::start().await;
    let host = world.stage.host();
    let smuggled = format!("/ HTTP/1.1\r\nHost: {host}\r\n\r\nGET /");
    let line = "x\r\nTransfer-Encoding: chunked";
    let target = |path| vec![(":path", path), (":authority", host)];
    let plain = || target("/");
    let with = |field: (&'static str, &'static str)| [plain(), vec![field]].concat();
    let cases: Vec<Case<'_>> = vec![
        ("GET", plain(), None, Ended::Ok),
        ("POST", with(("content-length", "5")), Some("hello"), Ended::Ok),
        ("POST", plain(), Some("hello"), Ended::Ok),
        ("POST", with(("content-length", "3")), Some("hello"), Ended::Refused),
        ("POST", with(("content-length", "9")), Some("hello"), Ended::Refused),
        ("POST", with(("content-length", "+5")), Some("hello"), Ended::Refused),
        ("POST", with(("transfer-encoding", "chunked")), Some("0\r\n\r\n"), Ended::Refused),
        ("POST", with(("Transfer-Encoding", "chunked")), Some("0\r\n\r\n"), Ended::Refused),
        ("GET", with(("connection", "close")), None, Ended::Refused),
        ("GET", with(("upgrade", "websocket")), None, Ended::Refused),
        ("GET", with(("te", "chunked")), None, Ended::Refused),
        ("GET", with(("x-a", line)), None, Ended::Refused),
        ("GET", with(("x-a\r\ntransfer-encoding", "chunked")), None, Ended::Refused),
        ("GET", with(("x a", "b")), None, Ended::Refused),
        ("GET", with(("x-a:", "b")), None, Ended::Refused),
        ("GET", with(("x-a", "b\0c")), None, Ended::Refused),
        ("GET", with((":path", "/echo")), None, Ended::Refused),
        ("GET", with((":authority", "other.test")), None, Ended::Refused),
        ("GET", with((":method", "POST")), None, Ended::Refused),
        ("GET", with((":other", "x")), None, Ended::Refused),
        ("GET", target(&smuggled), None, Ended::Refused),
        ("GET", target("/ x"), None, Ended::Refused),
        ("GET", target(""), None, Ended::Refused),
        ("GET", target("*"), None, Ended::Refused),
        ("GET", target("x"), None, Ended::Refused),
        ("GET", target("https://other.test/"), None, Ended::Refused),
        // A fragment is gone before we are asked (crate `http`): what is proved, matched and forwarded is the path before it.
        ("GET", target("/#x"), None, Ended::Ok),
        ("GET", vec![(":path", "/"), ("host", host)], None, Ended::Refused),
        ("GET", vec![(":path", "/")], None, Ended::Refused),
        ("GET", vec![(":path", "/"), (":authority", "a@b")], None, Ended::Refused),
        ("GET / HTTP/1.1\r\nx:", plain(), None, Ended::Refused),
    ];
    let mut forwarded = 0;
    for (method, fields, content, ended) in &cases {
        let proof = world.stage.proof(method, "/");
        let mut block = vec![(":method", *method), (":scheme", "https")];
        // Pseudo-fields come first, or that alone would be refused.
        let (pseudo, regular): (Vec<_>, Vec<_>) =
            fields.iter().copied().partition(|(name, _)| name.starts_with(':'));
        block.extend(pseudo);
        let names = ["authorization", "dpop"];
        block.extend(names.into_iter().zip(proof.iter().map(|(_, value)| value.as_str())));
        if content.is_some() {
            block.push(("content-type", "text/plain"));
        }
        block.extend(regular);
        assert_eq!(world.send_block(&block, *content).await, *ended, "{method} {fields:?}");
        forwarded += usize::from(*ended == Ended::Ok);
        let received = world.origin.received().clone();
        assert_eq!(received.len(), forwarded, "{method} {fields:?}");
        for bytes in received {
            let request = String::from_utf8(bytes).unwrap();
            assert!(
                request[request.find(' ').unwrap()..].starts_with(" / HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(!request.to_lowercase().contains("transfer-encoding"), "{request}");
        }
    }
}
