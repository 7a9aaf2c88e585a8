//! A subject connects an application that nobody here wrote, in a browser that nobody here wrote, with a passkey.

use crate::prism::{Prism, contract, onboard_with};
use crate::scripts::{self, Keys};
use crate::support::{Node, Onboarded, Transport};
use anyhow::{Context, Result};
use serde_json::Value;

#[test]
fn a_subject_connects_an_application_and_ends_it() -> Result<()> {
    if !scripts::installed("oauth4webapi and Chromium against the portal") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let mut node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    let portal = node.open_portal()?;
    let keys = Keys::make("ES256")?;
    let classes = ["user.identity", "user.contact"];
    let Onboarded { integration, .. } = onboard_with(&node, "mail-merge", &keys, &classes)?;
    node.operate(&["integration", "redirects", "mail-merge", "--uri", "http://127.0.0.1/back"])?;
    let grant = node.operate(&[
        "grant",
        "add",
        "--integration",
        "mail-merge",
        "--operation",
        "get_users_id",
        "--class",
        "user.identity",
        "--class",
        "user.contact",
        "--purpose",
        "document_management",
        "--subjects",
        "token",
        "--budget",
        "100,1000,5000",
        "--days",
        "9",
    ])?;
    let enrol = node.operate(&["subject", "enrol", "11446498"])?;
    let connected = Onboarded { integration, grant };
    let more = serde_json::json!({
        "portal": portal,
        "enrol": enrol,
        "path": "/users/11446498",
        "withhold": "user.contact",
        "pictures": std::env::var("PORTCULLIS_PICTURES").ok(),
    });
    let came = scripts::run_with("connect.mjs", &node, &connected, &keys, &[], &more)?;
    assert_eq!(came.pointer("/heading"), Some(&"Connect A vendor?".into()));
    let received = came.pointer("/received").and_then(Value::as_object).context("no body")?;
    assert!(received.contains_key("name"), "{came}");
    assert!(!received.contains_key("login"), "it was not agreed to: {came}");

    // Everything after that is gone at one word, however many there are.
    let ended = node.operate(&["consent", "end", "vendor:mail-merge-inc", "--reason", "breach"])?;
    assert!(ended.contains("consents"), "{ended}");
    Ok(())
}
