//! A vendor registers its own keys: with a ticket, once, and nothing of it is worth anything before two operators say so.

use crate::alone;
use crate::files::files;
use crate::origin::Origin;
use crate::process::{Employed, employ, start};
use crate::software::{Manner, Reach, Software, new_key};
use crate::support::{Node, Transport};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use tokio::runtime::Runtime;

/// A vendor's client of the registration endpoint, without a library.
struct Client<'a> {
    node: &'a Node,
    id: String,
    token: String,
}

fn ask(node: &Node, head: &str, token: &str, body: Option<&Value>) -> Result<(u16, Value, String)> {
    let address = node.issuer().replace("http://localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(&address)?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or_default(), head.to_lowercase()))
}

impl Client<'_> {
    /// A request to its own registration, after which it holds the token it was given, if it was.
    fn ask(&mut self, method: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let head = format!("{method} /register/{}", self.id);
        let (status, answer, _) = ask(self.node, &head, &self.token, body)?;
        if let Some(next) = answer.get("registration_access_token").and_then(Value::as_str) {
            ensure!(next != self.token, "another one for the next use");
            next.clone_into(&mut self.token);
        }
        Ok((status, answer))
    }
}

fn jwk(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The evidence again, with one more key.
fn vet(node: &Node, slug: &str, key: &Value) -> Result<()> {
    let application = node.data().join(format!("{slug}.application.json"));
    let mut evidence: Value = serde_json::from_slice(&fs::read(&application)?)?;
    let created = evidence.pointer("/keys/0/created").cloned();
    let keys = evidence.get_mut("keys").and_then(Value::as_array_mut).context("keys")?;
    keys.push(json!({ "created": created, "jwk": key }));
    fs::write(&application, evidence.to_string())?;
    let (application, sbom) =
        (application.to_str().context("text")?, node.data().join(format!("{slug}.sbom.json")));
    let sbom = sbom.to_str().context("text")?;
    node.operate(&["integration", "evidence", slug, "--application", application, "--sbom", sbom])?;
    Ok(())
}

fn reads(runtime: &Runtime, tool: &Employed) -> u16 {
    runtime.block_on(tool.software.line(Manner::Brisk).get("/v1/people/p-0001")).status
}

/// Files below `folder` that hold `secret`.
fn holders(folder: &Path, secret: &str) -> Result<Vec<String>> {
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|at| at == secret.as_bytes());
    let holders = files(folder)?.into_iter().filter(|(_, bytes)| holds(bytes));
    Ok(holders.map(|(path, _)| path.display().to_string()).collect())
}

#[test]
fn a_vendor_registers_with_a_ticket_and_operators_make_it_good() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "desk", false))?;
    ensure!(reads(&runtime, &tool) == 200, "by the key that operators registered");
    let (_, published, _) = ask(&node, "GET /.well-known/oauth-authorization-server", "", None)?;
    ensure!(published["registration_endpoint"] == format!("{}/register", node.issuer()));

    // Nobody registers without a ticket, and is told nothing.
    let path = node.data().join("second.jwk");
    let key = new_key(&path)?;
    let second = jwk(&path)?;
    let asked =
        json!({ "jwks": { "keys": [second] }, "redirect_uris": ["https://desk.example/cb"] });
    for token in ["", "x", &"A".repeat(43)] {
        let (status, body, head) = ask(&node, "POST /register", token, Some(&asked))?;
        ensure!(status == 401 && body.is_null(), "{status} {body}");
        ensure!(head.contains("\r\nwww-authenticate: bearer\r\n"), "{head}");
    }
    let ticket = node.operate(&["integration", "ticket", "desk"])?;
    let by_reference = json!({ "jwks_uri": "http://169.254.169.254/keys" });
    let (status, body, _) = ask(&node, "POST /register", &ticket, Some(&by_reference))?;
    ensure!(status == 400 && body["error"] == "invalid_client_metadata", "{status} {body}");
    let elsewhere = json!({ "redirect_uris": ["http://desk.example/cb"] });
    let (status, body, _) = ask(&node, "POST /register", &ticket, Some(&elsewhere))?;
    ensure!(status == 400 && body["error"] == "invalid_redirect_uri", "{status} {body}");
    node.operate(&["freeze", "--reason", "incident"])?;
    let (status, ..) = ask(&node, "POST /register", &ticket, Some(&asked))?;
    ensure!(status == 403, "while onboarding is frozen: {status}");
    node.operate(&["unfreeze"])?;

    // What was refused did not use the ticket up; what is taken does.
    let (status, answer, head) = ask(&node, "POST /register", &ticket, Some(&asked))?;
    ensure!(status == 201 && head.contains("cache-control: no-store"), "{status} {answer}");
    ensure!(answer["redirect_uris"] == json!([]), "nothing is in effect yet: {answer}");
    ensure!(answer["pending"]["redirect_uris"] == asked["redirect_uris"], "{answer}");
    let (status, ..) = ask(&node, "POST /register", &ticket, Some(&asked))?;
    ensure!(status == 401, "a ticket is good once: {status}");
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let (id, token) = (text("client_id"), text("registration_access_token"));
    let (id, token) = (id.context("an id")?, token.context("a token")?);
    let first_token = token.clone();
    let mut client = Client { node: &node, id, token };

    // A key that nobody approved is worth nothing.
    let reach = Reach { url: node.url(), issuer: node.issuer(), ca: None };
    let install = |key| Software::install(&reach, key, &client.id, &tool.grant);
    ensure!(runtime.block_on(install(key)).is_err(), "a key that waits");
    let shown: Value =
        serde_json::from_str(&node.operate(&["integration", "registration", "show", "desk"])?)?;
    let request = shown["request"].as_str().context("something waits")?;
    let approve = |request: &str| {
        let approve = ["integration", "registration", "approve", "desk", "--days", "9"];
        node.operate(&[&approve[..], &["--request", request]].concat())
    };
    ensure!(approve("another").is_err(), "what nobody looked at");
    ensure!(approve(request).is_err(), "a key that is not in the evidence");
    vet(&node, "desk", &second)?;
    approve(request)?;
    let key = new_key_again(&path)?;
    let by_it = runtime.block_on(Software::install(&reach, key, &client.id, &tool.grant))?;
    let by_it = Employed { grant: tool.grant.clone(), software: by_it };
    ensure!(reads(&runtime, &by_it) == 200, "by the key that was approved");

    // An update is the whole: what it leaves out goes at once, what it adds waits; and the token is another with each use.
    let (status, read) = client.ask("GET", None)?;
    ensure!(status == 200 && read["pending"].is_null(), "{read}");
    ensure!(read["redirect_uris"] == asked["redirect_uris"], "{read}");
    let wanted = json!({ "client_id": client.id, "jwks": { "keys": [second] }, "redirect_uris": ["https://evil.example/"] });
    let target = format!("PUT /register/{}", client.id);
    for stale in [&*first_token, &*ticket, "x"] {
        let (status, ..) = ask(&node, &target, stale, Some(&wanted))?;
        ensure!(status == 401, "{status}");
    }
    let (status, body) = client.ask("PUT", Some(&asked))?;
    ensure!(status == 400, "without client_id: {status} {body}");
    let (status, updated) = client.ask("PUT", Some(&wanted))?;
    ensure!(status == 200 && updated["redirect_uris"] == json!([]), "{status} {updated}");
    ensure!(updated["pending"]["redirect_uris"] == json!(["https://evil.example/"]), "{updated}");
    ensure!(reads(&runtime, &tool) == 401, "the key that it left out");
    ensure!(reads(&runtime, &by_it) == 200, "the key that it kept");

    // The tokens are on no disk, and the end is the end.
    for secret in [&ticket, &first_token, &client.token] {
        ensure!(holders(&node.data(), secret)? == Vec::<String>::new(), "a secret is stored");
    }
    let (status, _) = client.ask("DELETE", None)?;
    ensure!(status == 204, "{status}");
    ensure!(reads(&runtime, &by_it) == 401, "a key of a client that ended");
    let (status, _) = client.ask("GET", None)?;
    ensure!(status == 401, "{status}");
    Ok(())
}

/// The key pair that [`new_key`] wrote.
fn new_key_again(jwk: &Path) -> Result<credential::SigningKey> {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    let private: Value = serde_json::from_slice(&fs::read(jwk.with_extension("private.jwk"))?)?;
    let d = BASE64_URL_SAFE_NO_PAD
        .decode(private.pointer("/d").and_then(Value::as_str).context("d")?)?;
    let secret = d.try_into().ok().context("32 bytes")?;
    let der = credential::SigningKey::pkcs8(credential::Algorithm::Es256, secret);
    Ok(credential::SigningKey::from_pkcs8(&der.context("a key")?)?)
}
