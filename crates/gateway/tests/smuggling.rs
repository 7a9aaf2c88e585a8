//! Requests that two readers could read in two ways, over real connections, to a real node, in front of an origin that
//! keeps every byte it receives.
//!
//! The tables are those of the codec's own tests (`src/http1/tests/corpus.rs`), which say what each case is for. Each
//! request that can carry headers proves its sender, so that nothing but its form keeps it from the origin.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod support;

#[path = "support/origin.rs"]
mod origin;

use gateway::listener::Transport;
use origin::{RecordingOrigin, content_start};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Setting, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: echo, version: '1' }
paths:
  /:
    get:
      operationId: get
      parameters:
        - { name: X-Forwarded-For, in: header, schema: { type: string } }
        - { name: Cookie, in: header, schema: { type: string } }
        - { name: TE, in: header, schema: { type: string } }
      responses: { '200': { $ref: '#/components/responses/Echo' } }
    post:
      operationId: post
      requestBody: { content: { text/plain: {} } }
      responses: { '200': { $ref: '#/components/responses/Echo' } }
  /echo:
    post:
      operationId: echo
      requestBody: { content: { text/plain: {} } }
      responses: { '200': { $ref: '#/components/responses/Echo' } }
components:
  responses:
    Echo:
      description: What was sent
      content: { application/json: { schema: { $ref: '#/components/schemas/Echo' } } }
  schemas:
    Echo: { type: object, properties: { echo: { type: string } } }
";

const OVERLAY: &str = "
overlay: 1.0.0
info: { title: echo, version: 1 }
actions:
  - { target: $.paths.*.*, update: { x-portcullis-subject: none } }
  - target: $.components.schemas.Echo.properties.echo
    update: { x-portcullis-class: system.operations }
";

/// How long a connection may take to end, which it does at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node in front of a recording origin.
struct World {
    origin: RecordingOrigin,
    stage: Stage,
}

impl World {
    async fn start() -> Self {
        let origin = RecordingOrigin::start().await;
        let stage = Stage::start(Setting {
            contract: (OPENAPI, OVERLAY),
            origin: origin.address,
            transport: Transport::Clear,
            certificate: None,
        })
        .await;
        Self { origin, stage }
    }

    /// The header lines that make a request one that would be forwarded.
    fn proof(&self, method: &str, path: &str) -> String {
        let [(authorization, token), (dpop, proof)] = self.stage.proof(method, path);
        let kind = if method == "POST" { "Content-Type: text/plain\r\n" } else { "" };
        format!("{authorization}: {token}\r\n{dpop}: {proof}\r\n{kind}")
    }

    /// `raw` for this node, with proof of its sender if it has a `Host` line of its own to put that behind.
    fn prove(&self, raw: &str) -> Vec<u8> {
        let host = format!("Host: {}\r\n", self.stage.host());
        let raw = raw.replace("@@HOST@@", self.stage.host());
        let mut words = raw.split(' ');
        let (method, target) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
        let path = target.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
        let path = path.map_or(target.to_owned(), |(_, path)| format!("/{path}"));
        let proved = raw.replacen(&host, &format!("{host}{}", self.proof(method, &path)), 1);
        proved.chars().map(|c| u8::try_from(c).unwrap()).collect()
    }

    /// Sends `wire` on a connection of its own and checks everything that the origin got of it.
    async fn send(&self, wire: &[u8], ends_sending: bool) -> Done {
        let before = self.origin.received().len();
        let (replies, continued) = converse(self.stage.address, wire, ends_sending).await;
        let received = self.origin.received()[before..].to_vec();
        for bytes in &received {
            check_received(bytes);
        }
        Done { replies, continued, received }
    }
}

/// What a connection came to.
struct Done {
    replies: Vec<Reply>,
    continued: usize,
    received: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    /// Lower case.
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends `wire` and reads until the node closes, which it is told to do by the end of our sending only after a reply
/// that lets the connection live on, or at once with `ends_sending`.
async fn converse(address: SocketAddr, wire: &[u8], ends_sending: bool) -> (Vec<Reply>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(wire).await.unwrap();
    let mut open = !ends_sending;
    if ends_sending {
        stream.shutdown().await.unwrap();
    }
    let (mut buffer, mut replies, mut continued) = (Vec::new(), Vec::new(), 0);
    loop {
        while let Some(reply) = take_reply(&mut buffer) {
            if reply.status == 100 {
                continued += 1;
                continue;
            }
            if open && reply.field("connection") != Some("close") {
                stream.shutdown().await.unwrap();
                open = false;
            }
            replies.push(reply);
        }
        let read = timeout(PATIENCE, stream.read_buf(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("the node does not close"));
        if read.unwrap() == 0 {
            break;
        }
    }
    assert!(buffer.is_empty(), "half a reply");
    (replies, continued)
}

fn take_reply(buffer: &mut Vec<u8>) -> Option<Reply> {
    let start = content_start(buffer)?;
    let head = String::from_utf8(buffer[..start].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1)?.parse().unwrap();
    let mut reply = Reply { status, head, body: Vec::new() };
    let end = start + reply.field("content-length").map_or(0, |length| length.parse().unwrap());
    reply.body = buffer.get(start..end)?.to_vec();
    buffer.drain(..end);
    Some(reply)
}

/// What one connection brought the origin is one request, whole, with no field that is not ours to send.
fn check_received(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    let start = content_start(bytes).unwrap_or_else(|| panic!("half a head: {shown}"));
    let head = std::str::from_utf8(&bytes[..start]).unwrap();
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let line: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert!(matches!(line[..], ["GET" | "POST", "/" | "/echo", "HTTP/1.1"]), "{shown}");
    let mut fields = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(fields.insert(name.to_lowercase(), value), None, "twice: {shown}");
    }
    let length = fields.remove("content-length").map_or(0, |length| length.parse().unwrap());
    assert_eq!(bytes.len() - start, length, "bytes after the request: {shown}");
    assert_eq!(fields.remove("host"), Some("origin.test"), "{shown}");
    assert_eq!(fields.remove("authorization"), Some("Bearer upstream"), "{shown}");
    assert!(fields.remove("x-request-id").is_some(), "{shown}");
    assert_eq!(fields.remove("accept"), Some("application/json"), "{shown}");
    assert!(matches!(fields.remove("content-type"), None | Some("text/plain")), "{shown}");
    assert!(fields.is_empty(), "the caller's: {fields:?}");
}

/// The words of the codec's tests for what a connection did.
fn facts(done: &Done) -> BTreeSet<String> {
    let mut facts = BTreeSet::from(["not-101".to_owned()]);
    assert!(done.replies.len() <= 1, "a single request was answered more than once");
    let Some(reply) = done.replies.first() else {
        assert!(done.received.is_empty(), "forwarded and not answered");
        facts.insert("silent".to_owned());
        return facts;
    };
    facts.extend([reply.status.to_string(), format!("{}xx", reply.status / 100)]);
    let dated = reply.field("date").is_some_and(|date| date.len() == 29 && date.ends_with(" gmt"));
    for (fact, holds) in [
        ("close", reply.field("connection") == Some("close")),
        ("allow", reply.field("allow").is_some_and(|methods| methods.starts_with("get, "))),
        ("date", dated),
        ("no-length", reply.field("content-length").is_none()),
    ] {
        if holds {
            facts.insert(fact.to_owned());
        }
    }
    let forwarded = usize::from(reply.status == 200);
    assert_eq!(done.received.len(), forwarded, "status {}", reply.status);
    if let [received] = &done.received[..] {
        facts.insert("dropped".to_owned());
        let content = &received[content_start(received).unwrap()..];
        let echo = serde_json::json!({ "echo": String::from_utf8_lossy(content) }).to_string();
        if !content.is_empty() && reply.body == echo.as_bytes() {
            facts.insert("echo".to_owned());
        }
    }
    facts
}

#[derive(Deserialize)]
struct Probe {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    expected: Option<String>,
    expected_note: Option<String>,
    raw: String,
}

#[derive(Deserialize)]
struct Exception {
    accepted: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http11probe_cases_behave_as_expected() {
    let probe: Probe = read(include_str!("../testdata/http1/http1-smuggling-http11probe.json"));
    let notes: BTreeMap<String, Vec<String>> =
        read(include_str!("../testdata/http1/expectations.json"));
    let exceptions: BTreeMap<String, Exception> =
        read(include_str!("../testdata/http1/exceptions.json"));
    let world = World::start().await;
    let (mut forwarded, mut excepted) = (0, BTreeSet::new());
    for case in &probe.cases {
        let accepted = match (case.expected.as_deref(), &case.expected_note) {
            (Some("Exact(400)"), _) => vec!["400 close".to_owned()],
            (Some("Range2xx"), _) => vec!["2xx".to_owned()],
            (None, Some(note)) => notes[note].clone(),
            other => panic!("{}: expectation {other:?} is not understood", case.id),
        };
        // A request that never ends is answered, if at all, when its sender has.
        let unending = accepted.iter().any(|facts| facts == "silent");
        let done = world.send(&world.prove(&case.raw), unending).await;
        forwarded += done.received.len();
        let facts = facts(&done);
        let holds = |accepted: &[String]| {
            accepted.iter().any(|all| all.split(' ').all(|fact| facts.contains(fact)))
        };
        if holds(&accepted) {
            continue;
        }
        let exception = exceptions.get(&case.id);
        let exception =
            exception.unwrap_or_else(|| panic!("{}: wanted {accepted:?}, did {facts:?}", case.id));
        assert!(holds(&exception.accepted), "{}: not even as its exception says", case.id);
        excepted.insert(&case.id);
    }
    assert_eq!(probe.cases.len(), 72);
    assert_eq!(excepted, exceptions.keys().collect(), "an exception is no longer one");
    assert_eq!(world.origin.received().len(), forwarded, "something reached the origin late");
    println!("{} cases, {} by exception, {forwarded} forwarded", probe.cases.len(), excepted.len());
}

#[derive(Deserialize)]
struct Mutants {
    mutants: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    id: String,
    te_header_bytes_latin1: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mutated_transfer_encoding_beside_a_length_reaches_the_origin() {
    let corpus: Mutants = read(include_str!("../testdata/http1/te-mutants-smuggler.json"));
    assert_eq!(corpus.mutants.len(), 334);
    let world = World::start().await;
    let host = world.stage.host();
    for mutant in &corpus.mutants {
        let coding: Vec<u8> =
            mutant.te_header_bytes_latin1.chars().map(|c| u8::try_from(c).unwrap()).collect();
        // A reader of the coding sees the content end at once and a second request after it, which proves its sender too.
        let smuggled = world.proof("GET", "/");
        let body = format!("0\r\n\r\nGET / HTTP/1.1\r\nHost: {host}\r\n{smuggled}\r\n");
        let length = format!("Content-Length: {}", body.len());
        for lines in [[length.as_bytes(), &coding[..]], [&coding[..], length.as_bytes()]] {
            let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\n{}", world.proof("POST", "/"));
            let lines = lines.join(&b"\r\n"[..]);
            let wire = [head.as_bytes(), &lines, b"\r\n\r\n", body.as_bytes()].concat();
            let done = world.send(&wire, false).await;
            assert_eq!(facts(&done), facts(&refused(400)), "{}", mutant.id);
        }
    }
    assert_eq!(world.origin.received().len(), 0);
}

/// A connection on which nothing but a refusal happened.
fn refused(status: u16) -> Done {
    let head = format!(
        "http/1.1 {status} x\r\ndate: sun, 06 nov 1994 08:49:37 gmt\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    Done {
        replies: vec![Reply { status, head, body: Vec::new() }],
        continued: 0,
        received: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_another_host_are_misdirected() {
    let world = World::start().await;
    let proof = world.proof("GET", "/");
    let port = world.stage.address.port();
    for host in
        ["other.test", "localhost", &format!("localhost.:{port}"), &format!("127.0.0.1:{port}")]
    {
        let wire = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{proof}\r\n");
        let done = world.send(wire.as_bytes(), false).await;
        assert_eq!(facts(&done), facts(&refused(421)), "{host}");
    }
    let wire = format!("GET / HTTP/1.1\r\nHost: LOCALHOST:{port}\r\n{proof}\r\n");
    assert_eq!(world.send(wire.as_bytes(), false).await.replies[0].status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_are_never_served_name_those_that_are() {
    let world = World::start().await;
    let host = world.stage.host();
    for (line, status) in [
        ("TRACE / HTTP/1.1", 405),
        ("CONNECT localhost:443 HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 204),
        ("OPTIONS / HTTP/1.1", 204),
    ] {
        let wire = format!("{line}\r\nHost: {host}\r\n\r\n");
        let host_of_connect = wire.replace(host, "localhost:443");
        let wire = if line.starts_with("CONNECT") { host_of_connect } else { wire };
        let done = world.send(wire.as_bytes(), false).await;
        let [reply] = &done.replies[..] else { panic!("{line}: {:?}", done.replies) };
        assert_eq!(reply.status, status, "{line}");
        assert_eq!(reply.field("allow"), Some("get, head, post, put, patch, delete, options"));
        assert_eq!(done.received.len(), 0, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_client_is_told_to_go_on_once() {
    let world = World::start().await;
    let (host, proof) = (world.stage.host(), world.proof("POST", "/"));
    let wire = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\n{proof}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    );
    let done = world.send(wire.as_bytes(), false).await;
    assert_eq!((done.continued, done.replies[0].status), (1, 200));
}

/// Even where the contract declares them, as it does some of these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_the_connection_and_of_identity_stay_here() {
    let world = World::start().await;
    let (host, proof) = (world.stage.host(), world.proof("GET", "/"));
    let fields = [
        "Connection: keep-alive, TE",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Trailer: X-Checksum",
        "Proxy-Authorization: Basic eDp5",
        "Proxy-Connection: keep-alive",
        "Cookie: session=1",
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: other.test",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 10.0.0.1",
        "X-Original-URL: /admin",
        "X-HTTP-Method-Override: DELETE",
        "X-Request-Id: chosen",
        "Via: 1.1 other.test",
        "Range: bytes=0-0",
        "If-None-Match: *",
        "Accept-Encoding: gzip",
        "User-Agent: reader",
        "Signature: a=:AA==:",
        "Portcullis-Caller: int_0",
    ]
    .map(|field| format!("{field}\r\n"));
    let wire = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{proof}{}\r\n", fields.concat());
    let done = world.send(wire.as_bytes(), false).await;
    assert_eq!((done.replies[0].status, done.received.len()), (200, 1));
    assert!(!String::from_utf8_lossy(&done.received[0]).contains("chosen"));
}

/// A socket that is closed with bytes unread is reset, and a reset may throw away what the client has not read yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_client_may_finish_sending() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.stage.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, stream.readable()).await.unwrap().unwrap();
    for _ in 0..15 {
        stream.write_all(&[b'x'; 4096]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut reply = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_client_that_goes_on_sending_is_cut_off() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.stage.address).await.unwrap();
    let started = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").await.unwrap();
    while stream.write_all(&[b'x'; 4096]).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "the node reads on and on");
    }
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}
