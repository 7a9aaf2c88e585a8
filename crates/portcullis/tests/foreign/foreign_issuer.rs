//! The gateway takes tokens of an authorization server that nobody here wrote, signed and opaque, bound to the integration's registered key
//! and mapped to its grants; what an attacker, or that server, must not be believed is refused.

use crate::prism::{Prism, contract, onboard_with};
use crate::scripts::{self, Keys};
use crate::support::{Node, Transport, said, serve, serve_trusting};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// As `issuer.mjs` has it.
const SECRET: &str = "as the operator registered it: +/%";

#[test]
fn tokens_of_a_foreign_issuer_are_good_for_what_they_are_mapped_to() -> Result<()> {
    if !scripts::installed("oidc-provider as the issuer of tokens") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let mut node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    let keys = Keys::make("ES256")?;
    let onboarded = onboard_with(&node, "mail-merge", &keys, &["user.identity"])?;
    let mine = grant(&node, "token")?;
    let issuer = Issuer::start(&node, &keys, &json!({}))?;
    let clients = ["app", "app-opaque"].map(|name| {
        client(name, "read", &onboarded.integration, &onboarded.grant)
            + &client(name, "read-mine", &onboarded.integration, &mine)
    });
    trust(&mut node, &issuer, &clients.concat())?;
    (node.process, node.ports) = serve(&node.data())?;

    let act = |node: &Node, more: &Value| -> Result<Value> {
        let mut task = json!({
            "issuer": issuer.name,
            "own_issuer": node.issuer(),
            "own_client": onboarded.integration,
            "own_scope": onboarded.grant,
            "client_id": "app",
            "scope": "read",
            "path": "/users/11446498",
            "other_path": "/users/11446499",
        });
        task.as_object_mut()
            .context("an object")?
            .extend(more.as_object().cloned().unwrap_or_default());
        scripts::run_with("foreign-tokens.mjs", node, &onboarded, &keys, &[], &task).with_context(
            || std::fs::read_to_string(node.data().with_extension("log")).unwrap_or_default(),
        )
    };
    let came = act(&node, &json!({ "act": "all" }))?;
    for how in ["es", "ps", "ed", "opaque", "delegated to app", "delegated to app-opaque"] {
        let received = came.pointer(&format!("/received/{how}")).and_then(Value::as_object);
        let received = received.with_context(|| format!("{how}: {came}"))?;
        assert_eq!(received.get("name"), Some(&json!("Aaron Levie")), "{how}");
        assert!(!received.contains_key("login"), "{how}: it is in no grant");
    }
    // What they read stands in the record as the integration's.
    let exposure = node.operate(&["exposure", "--json", "--integration", "mail-merge"])?;
    assert!(exposure.contains("11446498"), "{exposure}");

    node.operate(&["sever", "integration:mail-merge", "--reason", "drill"])?;
    act(&node, &json!({ "act": "refused", "code": "403 severed" }))?;

    // A node that knows nothing of it yet.
    node.stop()?;
    (node.process, node.ports) = serve(&node.data())?;
    act(&node, &json!({ "act": "misled" }))?;
    Ok(())
}

#[test]
fn its_tokens_that_are_bound_to_a_certificate_ride_on_its_connection() -> Result<()> {
    if !scripts::installed("oidc-provider as the issuer of tokens bound to certificates") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let mut node = Node::start(&prism.protected(&contract()), Transport::Tls)?;
    let keys = Keys::make("ES256")?;
    let onboarded = onboard_with(&node, "mail-merge", &keys, &["user.identity"])?;
    // Its certificate is of the key that it is registered with; the other one is of nobody's.
    let (files, stranger) = (tempfile::tempdir()?, Keys::make("ES256")?);
    let [own, other] = [("own.pem", &keys), ("other.pem", &stranger)].map(|(name, keys)| {
        let path = files.path().join(name);
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-new", "-subj", "/CN=own", "-days", "30", "-key"]);
        said(openssl.arg(keys.pem()).arg("-out").arg(&path)).map(|_| path)
    });
    let (own, other) = (own?, other?);
    let certificate = own.to_str().context("text")?;
    let of = ["credential", "add", "--integration", &onboarded.integration, "--days", "10"];
    node.operate(&[&of[..], &["--certificate", certificate]].concat())?;

    let in_keys = |name: &str| node.data().join("keys").join(name);
    let (cas, tls) =
        (in_keys("ca.pem"), json!({ "key": in_keys("server.key"), "cert": in_keys("server.pem") }));
    let issuer = Issuer::start(&node, &keys, &json!({ "certificate": own, "tls": tls }))?;
    let clients = ["mtls", "mtls-opaque"]
        .map(|name| client(name, "read", &onboarded.integration, &onboarded.grant));
    trust(&mut node, &issuer, &clients.concat())?;
    (node.process, node.ports) = serve_trusting(&node.data(), &cas)?;
    let task = json!({
        "issuer": issuer.name,
        "resource": node.url(),
        "scope": "read",
        "path": "/users/11446498",
        "certificate": own,
        "key": keys.pem(),
        "other": { "certificate": other, "key": stranger.pem() },
        "ca": cas,
    });
    let printed = said(scripts::node().arg("foreign-mtls.mjs").arg(task.to_string()))?;
    let came: Value = serde_json::from_str(&printed)?;
    for client in ["mtls", "mtls-opaque"] {
        let name = came.pointer(&format!("/received/{client}/name"));
        assert_eq!(name, Some(&json!("Aaron Levie")), "{client}");
    }
    Ok(())
}

struct Issuer {
    process: Child,
    name: String,
    /// It would end if nobody could hear what it says.
    _output: BufReader<ChildStdout>,
}

impl Issuer {
    /// Starts it, with clients that have `keys`, and `more` members of its argument.
    fn start(node: &Node, keys: &Keys, more: &Value) -> Result<Self> {
        let jwk: Value = serde_json::from_slice(&std::fs::read(keys.public())?)?;
        let mut task = json!({ "resource": node.url(), "jwk": jwk, "alg": "ES256" });
        let members = task.as_object_mut().context("an object")?;
        members.extend(more.as_object().cloned().unwrap_or_default());
        let mut process = scripts::node()
            .arg("issuer.mjs")
            .arg(task.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut name = String::new();
        let mut output = BufReader::new(process.stdout.take().context("no output")?);
        output.read_line(&mut name)?;
        Ok(Self { process, name: name.trim().to_owned(), _output: output })
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// A grant of mail-merge over these subjects.
fn grant(node: &Node, subjects: &str) -> Result<String> {
    node.operate(&[
        "grant",
        "add",
        "--integration",
        "mail-merge",
        "--operation",
        "get_users_id",
        "--class",
        "user.identity",
        "--purpose",
        "document_management",
        "--subjects",
        subjects,
        "--budget",
        "100,1000,5000",
        "--days",
        "9",
    ])
}

/// The lines about a client of the issuer.
fn client(client: &str, scope: &str, integration: &str, grant: &str) -> String {
    format!(
        "[[origin.issuer.client]]\nclient_id = \"{client}\"\nscope = \"{scope}\"\nintegration = \"{integration}\"\ngrant = \"{grant}\"\n"
    )
}

/// Stops the node, and tells it of the issuer and its clients.
fn trust(node: &mut Node, issuer: &Issuer, clients: &str) -> Result<()> {
    node.stop()?;
    let secret = node.data().join("keys/issuer.secret");
    std::fs::write(&secret, SECRET)?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    let name = &issuer.name;
    let lines = format!(
        "[origin.issuer]\nissuer = \"{name}\"\nclient_id = \"portcullis\"\nclient_secret = \"keys/issuer.secret\"\n{clients}"
    );
    let path = node.config();
    let text = std::fs::read_to_string(&path)?;
    Ok(std::fs::write(path, format!("{text}\n{lines}"))?)
}
