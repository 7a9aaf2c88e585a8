//! Requests signed by a program that nobody here wrote: http-message-signatures, from PyPI. Honest ones are served, changed ones are not.

use crate::prism::{Prism, array, contract};
use crate::scripts::{self, Keys};
use crate::support::{Application, Node, Transport, Trial, said, serve};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// What each answer must be: the request, the status, the code of the problem document, which is the error of the challenge too.
const ANSWERS: &[(&str, u16, Option<&str>)] = &[
    ("no nonce", 401, Some("use_nonce")),
    ("read", 200, None),
    ("as Accept-Signature asks", 200, None),
    ("in parts", 200, None),
    ("written", 200, None),
    ("algorithm not named", 200, None),
    ("replayed", 401, REFUSED),
    ("other content", 401, REFUSED),
    ("other query", 401, REFUSED),
    ("no query", 401, REFUSED),
    ("other path", 401, REFUSED),
    ("other digest", 401, REFUSED),
    ("unchanged after all", 200, None),
    ("only the date", 401, REFUSED),
    ("nothing", 401, REFUSED),
    ("a parameter for the query", 401, REFUSED),
    ("another's tag", 401, REFUSED),
    ("another's key", 401, REFUSED),
    ("another key named", 401, REFUSED),
    ("too old", 401, REFUSED),
    ("expired", 401, REFUSED),
    ("nonce made up", 401, Some("use_nonce")),
    ("two signatures", 401, REFUSED),
];

const REFUSED: Option<&str> = Some("invalid_signature");

#[test]
fn a_foreign_signer_is_served_and_what_was_changed_is_not() -> Result<()> {
    if !scripts::installed("http-message-signatures against the gateway") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let [openapi, overlay] = contract();
    let folder = tempfile::tempdir()?;
    let demanding = folder.path().join("overlay.yaml");
    let demand = "  - target: $.paths['/users/{user_id}'].put\n    update: { x-portcullis-signature: required }\n";
    std::fs::write(&demanding, std::fs::read_to_string(overlay)? + demand)?;
    let contract = [openapi, demanding];
    let mut node = Node::start(&prism.protected(&contract), Transport::ClearText)?;
    let mut accepted = None;
    for algorithm in ["Ed25519", "ES256"] {
        let before = prism.requests()?;
        let signed = check(&node, algorithm).context(algorithm)?;
        // One in the sandbox, and those that were answered 200.
        prism.wait_for(before + 1 + 6)?;
        accepted = signed.get("accepted").and_then(Value::as_str).map(str::to_owned);
    }

    // Another start of the node has seen none of it, and takes none of it.
    node.stop()?;
    let (process, _) = serve(&node.data())?;
    node.process = process;
    let url = node.url();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.write_all(accepted.context("no accepted request")?.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains(r#""code":"use_nonce""#), "{answer}");
    Ok(())
}

/// Lets an integration with a new key make its requests; what its program printed.
fn check(node: &Node, algorithm: &str) -> Result<Value> {
    let keys = Keys::make(algorithm)?;
    let slug = algorithm.to_lowercase();
    let path = "/users/11446498";
    let integration = node.onboard(&Application {
        slug: &slug,
        jwk: &keys.public(),
        operations: &["get_users_id", "put_users_id"],
        classes: &["user.identity"],
        purpose: "document_management",
        trial: Some(Trial {
            subject: "11446498",
            read: &|by| scripts::run("read.mjs", node, by, &keys, &[path]).map(drop),
        }),
    })?;
    let token = scripts::run("token.mjs", node, &integration, &keys, &[])?;
    let task = json!({
        "resource": node.url(),
        "private_jwk": keys.private(),
        "access_token": token.get("access_token"),
    });
    let python = scripts::directory().join("venv/bin/python");
    let script = scripts::directory().join("signed.py");
    let printed = said(Command::new(python).arg(script).arg(task.to_string()))?;
    let printed: Value = serde_json::from_str(&printed)?;
    let answers = array(&printed, "/answers")?;
    if answers.len() != ANSWERS.len() {
        bail!("not as many answers as requests: {printed}");
    }
    for (answer, (name, status, code)) in answers.iter().zip(ANSWERS) {
        let expected = json!({ "name": name, "status": status, "code": code, "error": code });
        assert_eq!(answer, &expected);
    }
    Ok(printed)
}
