//! A client that nobody here wrote registers its key by the metadata's endpoint; once it is approved, it obtains a token with it.

use crate::prism::{contract, protected};
use crate::scripts::{self, Keys};
use crate::support::{Application, Node, Transport};
use anyhow::{Context, Result};
use serde_json::{Value, json};

#[test]
fn a_foreign_client_registers_with_a_ticket_and_obtains_a_token_once_it_is_approved() -> Result<()>
{
    if !scripts::installed("oauth4webapi against the registration endpoint") {
        return Ok(());
    }
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
    let more = json!({ "ticket": ticket, "register_jwk": second.private() });
    let done = scripts::run_with("register.mjs", &node, &integration, &first, &[], &more)?;
    let endpoint = format!("{}/register", node.issuer());
    assert_eq!(done["server"]["registration_endpoint"], endpoint);
    assert_eq!(done["registered"]["client_id"], integration.integration);
    assert_eq!(done["registered"]["redirect_uris"], json!([]));
    assert_eq!(done["again"], "bearer", "the ticket is good once: {done}");
    assert_eq!(done["read"]["pending"]["redirect_uris"], json!(["https://desk.example/cb"]));

    let obtain = || scripts::run("token.mjs", &node, &integration, &second, &[]);
    assert!(obtain().is_err(), "a key that waits");
    let application = node.data().join("desk.application.json");
    let mut evidence: Value = serde_json::from_slice(&std::fs::read(&application)?)?;
    let keys = evidence.get_mut("keys").and_then(Value::as_array_mut).context("keys")?;
    let created = keys[0]["created"].clone();
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
    let request = shown["request"].as_str().context("something waits")?;
    let approve = ["integration", "registration", "approve", "desk", "--days", "9"];
    node.operate(&[&approve[..], &["--request", request]].concat())?;
    assert_eq!(obtain()?["token_type"], "dpop");
    Ok(())
}
