//! Clients that nobody here wrote register a key by the metadata's endpoint; once it is approved, they obtain a token with it.

use crate::prism::{contract, protected};
use crate::scripts::{self, Keys};
use crate::support::{Application, Node, Transport};
use anyhow::{Context, Result};
use serde_json::{Value, json};

#[test]
fn foreign_clients_register_with_a_ticket_and_obtain_a_token_once_it_is_approved() -> Result<()> {
    if !scripts::installed("oauth4webapi and openid-client against the registration endpoint") {
        return Ok(());
    }
    for library in ["oauth4webapi", "openid-client"] {
        registers(library)?;
    }
    Ok(())
}

fn registers(library: &str) -> Result<()> {
    let node = Node::start(&protected("127.0.0.1:9".parse()?, &contract()), Transport::Tls)?;
    let (first, second) = (Keys::make("ES256")?, Keys::make("Ed25519")?);
    let integration = node.onboard(&Application {
        slug: "desk",
        jwk: &first.public(),
        operations: &["get_users_me"],
        classes: &["user.identity"],
        purpose: "fraud",
        trial: None,
    })?;
    let ticket = node.operate(&["integration", "ticket", "desk"])?;
    let more = json!({ "library": library, "ticket": ticket, "register_jwk": second.private() });
    let done = scripts::run_with("register.mjs", &node, &integration, &first, &[], &more)?;
    let said = |pointer: &str| done.pointer(pointer).cloned().unwrap_or_default();
    let endpoint = format!("{}/register", node.issuer());
    assert_eq!(said("/server/registration_endpoint"), endpoint);
    assert_eq!(said("/registered/client_id"), integration.integration);
    assert_eq!(said("/registered/redirect_uris"), json!([]));
    assert_eq!(said("/again"), "bearer", "the ticket is good once: {done}");
    assert_eq!(said("/read/pending/redirect_uris"), json!(["https://desk.example/cb"]));

    let obtain = || scripts::run("token.mjs", &node, &integration, &second, &[]);
    assert!(obtain().is_err(), "a key that waits");
    let application = node.data().join("desk.application.json");
    let mut evidence: Value = serde_json::from_slice(&std::fs::read(&application)?)?;
    let keys = evidence.get_mut("keys").and_then(Value::as_array_mut).context("keys")?;
    let created = keys.first().and_then(|key| key.get("created")).cloned();
    let jwk: Value = serde_json::from_slice(&std::fs::read(second.public())?)?;
    keys.push(json!({ "created": created, "jwk": jwk }));
    std::fs::write(&application, evidence.to_string())?;
    let (application, sbom) = (application, node.data().join("desk.sbom.json"));
    let (application, sbom) =
        (application.to_str().context("text")?, sbom.to_str().context("text")?);
    let evidence = ["integration", "evidence", "desk", "--application", application];
    node.operate(&[&evidence[..], &["--sbom", sbom]].concat())?;
    let shown: Value =
        serde_json::from_str(&node.operate(&["integration", "registration", "show", "desk"])?)?;
    let request = shown.pointer("/request").and_then(Value::as_str).context("something waits")?;
    let approve = ["integration", "registration", "approve", "desk", "--days", "9"];
    node.operate(&[&approve[..], &["--request", request]].concat())?;
    assert_eq!(obtain()?.pointer("/token_type"), Some(&"dpop".into()));
    Ok(())
}
