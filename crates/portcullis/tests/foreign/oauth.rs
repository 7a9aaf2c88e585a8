//! A client that nobody here wrote: oauth4webapi finds the authority by its metadata, obtains a token bound to its key and
//! reads with it. It is told to use a nonce by both listeners, and does.

use crate::prism::{Prism, array, contract, onboard_with};
use crate::scripts::{self, Keys};
use crate::support::{Node, Onboarded, Transport, said};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn a_foreign_client_obtains_a_token_and_reads_with_it() -> Result<()> {
    if !scripts::installed("oauth4webapi against authority and gateway") {
        return Ok(());
    }
    let prism = Prism::start()?;
    for transport in [Transport::ClearText, Transport::Tls] {
        let node = Node::start(&prism.protected(&contract()), transport)?;
        for algorithm in ["ES256", "Ed25519", "PS256"] {
            check(&node, algorithm).with_context(|| format!("{algorithm} at {}", node.url()))?;
        }
    }
    Ok(())
}

fn check(node: &Node, algorithm: &str) -> Result<()> {
    let keys = Keys::make(algorithm)?;
    let slug = algorithm.to_lowercase();
    let integration = onboard_with(node, &slug, &keys, &["user.identity"])?;
    let paths = ["/users/me", "/users/11446498"];
    let read = scripts::run("read.mjs", node, &integration, &keys, &paths)?;

    let (issuer, resource) = (node.issuer(), node.url());
    assert_eq!(read.pointer("/server/issuer"), Some(&json!(issuer)));
    // oauth4webapi reads the type without regard to case, as RFC 6749 section 5.1 has it.
    assert_eq!(read.pointer("/token/token_type"), Some(&json!("dpop")));
    assert_eq!(read.pointer("/token/scope"), Some(&json!(integration.grant)));
    // How many whole seconds of the five minutes are left depends on where in a second it was issued.
    let expires_in = read.pointer("/token/expires_in").and_then(Value::as_u64);
    assert!((298..=300).contains(&expires_in.context("no expires_in")?));

    // Once at each listener a nonce is asked for, and the request repeated with it; later requests carry it at once.
    let exchange = |url: String, status: u16, error: Option<&str>| json!({ "url": url, "status": status, "error": error });
    let nonce = Some("use_dpop_nonce");
    let expected = [
        exchange(format!("{issuer}/.well-known/oauth-authorization-server"), 200, None),
        exchange(format!("{issuer}/token"), 400, nonce),
        exchange(format!("{issuer}/token"), 200, None),
        exchange(format!("{resource}/users/me"), 401, nonce),
        exchange(format!("{resource}/users/me"), 200, None),
        exchange(format!("{resource}/users/11446498"), 200, None),
    ];
    assert_eq!(array(&read, "/exchanges")?.as_slice(), expected);

    for reply in array(&read, "/replies")? {
        let body = reply.pointer("/body").and_then(Value::as_str).context("no body")?;
        let body: Value = serde_json::from_str(body)?;
        assert_eq!(body.pointer("/name"), Some(&json!("Aaron Levie")), "{reply}");
        assert_eq!(body.pointer("/login"), None, "{reply}");
    }
    Ok(())
}

#[test]
fn a_client_in_python_obtains_a_token_reads_with_it_and_verifies_it() -> Result<()> {
    if !scripts::installed("authlib against authority and gateway") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    for algorithm in ["ES256", "Ed25519"] {
        let keys = Keys::make(algorithm)?;
        let slug = algorithm.to_lowercase();
        let Onboarded { integration, grant } =
            onboard_with(&node, &slug, &keys, &["user.identity"])?;
        let task = json!({
            "issuer": node.issuer(),
            "resource": node.url(),
            "client_id": integration,
            "scope": grant,
            "private_jwk": keys.private(),
            "path": "/users/11446498",
        });
        let python = scripts::directory().join("venv/bin/python");
        let script = scripts::directory().join("client.py");
        let printed = said(Command::new(python).arg(script).arg(task.to_string()))?;
        let printed: Value = serde_json::from_str(&printed)?;
        assert_eq!(printed.pointer("/received/name"), Some(&json!("Aaron Levie")), "{algorithm}");
        assert_eq!(printed.pointer("/algorithm"), Some(&json!("EdDSA")));
    }
    Ok(())
}
