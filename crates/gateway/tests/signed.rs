//! Signed requests on a real node: what the signature covers is what the origin gets, and a contract can demand one.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/signed.rs"]
mod signed;
mod support;

use detection::Cause;
use gateway::listener::Transport;
use origin::{RecordingOrigin, content_start};
use signed::sign;
use storage::clock;
use support::{Setting, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: echo, version: '1' }
paths:
  /notes:
    get:
      operationId: read
      parameters: [{ name: of, in: query, schema: { type: string } }]
      responses: { '200': { $ref: '#/components/responses/Echo' } }
    post:
      operationId: write
      parameters: [{ name: of, in: query, schema: { type: string } }]
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
  - target: $.paths['/notes'].post
    update: { x-portcullis-signature: required }
  - target: $.components.schemas.Echo.properties.echo
    update: { x-portcullis-class: system.operations }
";

const TARGET: &str = "/notes?of=7%2F8";

type Fields = Vec<(&'static str, String)>;

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

    fn nonce(&self) -> String {
        self.stage.node.verifier.nonce(clock::unix_now()).as_str().to_owned()
    }

    fn sign(&self, method: &str, content: &str) -> Fields {
        sign(&self.stage, method, TARGET, content.as_bytes(), &self.nonce())
    }

    /// The whole answer, head and content.
    async fn send(&self, method: &str, target: &str, fields: &Fields, content: &str) -> String {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.stage.host()
        );
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !content.is_empty() {
            let length = content.len();
            request.push_str(&format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n"));
        }
        request.push_str(&format!("\r\n{content}"));
        let mut stream = TcpStream::connect(self.stage.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn is(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!(r#""code":"{code}""#)), "{answer}");
}

#[tokio::test]
async fn a_signed_request_is_served_and_nothing_of_its_proof_reaches_the_origin() {
    let world = World::start().await;
    for (method, content) in [("GET", ""), ("POST", "hello")] {
        let answer = world.send(method, TARGET, &world.sign(method, content), content).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!(r#"{{"echo":"{content}"}}"#)), "{answer}");
    }
    let received = world.origin.received().clone();
    assert_eq!(received.len(), 2);
    for (bytes, content) in received.iter().zip(["", "hello"]) {
        let start = content_start(bytes).unwrap();
        assert_eq!(&bytes[start..], content.as_bytes());
        let head = String::from_utf8(bytes[..start].to_vec()).unwrap().to_ascii_lowercase();
        assert!(head.contains(" /notes?of=7%2f8 http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer upstream"), "the gateway's own: {head}");
        for proof in ["httpsig", "signature", "digest"] {
            assert!(!head.contains(proof), "{head}");
        }
    }
}

#[tokio::test]
async fn what_was_changed_on_the_way_or_sent_twice_is_refused() {
    let world = World::start().await;
    let (method, content) = ("POST", "hello");
    let refused = "invalid_signature";
    let fields = || world.sign(method, content);
    is(&world.send(method, "/notes?of=9", &fields(), content).await, 401, refused);
    is(&world.send(method, "/notes", &fields(), content).await, 401, refused);
    is(&world.send("GET", TARGET, &world.sign("POST", ""), "").await, 401, refused);
    is(&world.send(method, TARGET, &fields(), "hellO").await, 401, refused);
    is(&world.send(method, TARGET, &world.sign(method, ""), content).await, 401, refused);
    let mut other_token = fields();
    other_token[0].1 = format!("HTTPSig {}", world.stage.token(None));
    is(&world.send(method, TARGET, &other_token, content).await, 401, refused);
    assert_eq!(world.origin.received().len(), 0, "the origin hears of none of it");

    let fields = fields();
    assert!(world.send(method, TARGET, &fields, content).await.starts_with("HTTP/1.1 200 "));
    is(&world.send(method, TARGET, &fields, content).await, 401, refused);
    assert_eq!(world.origin.received().len(), 1);
    // Six bad signatures and a replay are what a detector counts; three of them open a case.
    let signals = world.stage.node.watch.signals();
    assert!(signals.iter().any(|signal| matches!(signal.cause, Cause::BadProofs { .. })));
}

#[tokio::test]
async fn a_contract_can_demand_a_signature() {
    let world = World::start().await;
    let dpop: Fields = world.stage.proof("POST", "/notes").into();
    let answer = world.send("POST", TARGET, &dpop, "hello").await;
    is(&answer, 401, "signature_required");
    assert_eq!(field(&answer, "dpop-nonce"), None);
    let challenge = field(&answer, "www-authenticate").unwrap();
    let nonce = challenge
        .strip_prefix(r#"HTTPSig error="signature_required", nonce=""#)
        .and_then(|rest| {
            rest.split_once(r#"", algs="ed25519 ecdsa-p256-sha256", resource_metadata="#)
        })
        .map(|(nonce, _)| nonce)
        .unwrap();
    let accepted = field(&answer, "accept-signature").unwrap();
    assert!(accepted.starts_with(r#"sig=("@method" "@target-uri" "authorization" "content-digest");created;keyid;nonce=""#), "{accepted}");
    assert_eq!(world.origin.received().len(), 0);

    let signed = sign(&world.stage, "POST", TARGET, b"hello", nonce);
    assert!(world.send("POST", TARGET, &signed, "hello").await.starts_with("HTTP/1.1 200 "));
    // Other operations take either.
    let dpop: Fields = world.stage.proof("GET", "/notes").into();
    assert!(world.send("GET", TARGET, &dpop, "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_signature_without_a_nonce_of_this_start_is_challenged() {
    let world = World::start().await;
    let signed = sign(&world.stage, "GET", TARGET, b"", "AAAAAAAAAAAAAAAAAAAAAA");
    // Another one comes into use each minute, and may just now.
    let before = world.nonce();
    let answer = world.send("GET", TARGET, &signed, "").await;
    is(&answer, 401, "use_nonce");
    let challenge = field(&answer, "www-authenticate").unwrap();
    let offered = |nonce: &String| challenge.contains(&format!(r#"nonce="{nonce}""#));
    let nonce = [before, world.nonce()].into_iter().find(offered).unwrap();
    assert!(field(&answer, "accept-signature").unwrap().contains(&format!(r#"nonce="{nonce}."#)));
}
