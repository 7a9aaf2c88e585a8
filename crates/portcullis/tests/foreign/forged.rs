//! What an attacker sends is refused, with the status and code that it should be, and nobody is read by it.

use crate::prism::{Prism, array, contract, onboard};
use crate::scripts;
use crate::support::{Node, Transport};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What each answer must be: the attack, the status, the code of the problem document, the error of the challenge.
const ANSWERS: &[(&str, u16, &str, Option<&str>)] = &[
    ("no nonce", 401, "use_dpop_nonce", Some("use_dpop_nonce")),
    ("nothing", 401, "missing_token", None),
    ("no proof", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("bound token as Bearer", 401, "invalid_token", Some("invalid_token")),
    ("bound token as Bearer, with its proof", 401, "invalid_token", Some("invalid_token")),
    ("nonce made up", 401, "use_dpop_nonce", Some("use_dpop_nonce")),
    ("wrong key", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("wrong key under the right name", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("other URL", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("other host", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("other method", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("other token", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("no token hash", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("expired", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("future", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("far future", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("alg none", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("alg none, signature kept", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("HS256 by the public JWK", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("HS256 by the public point", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("private JWK", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("type JWT", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("two proofs", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("two authorizations", 400, "invalid_request", None),
    ("DPoP and Bearer", 400, "invalid_request", None),
    ("token, signature flipped", 401, "invalid_token", Some("invalid_token")),
    ("token, claim flipped", 401, "invalid_token", Some("invalid_token")),
    ("token, alg none", 401, "invalid_token", Some("invalid_token")),
    ("token, HS256 by the public key", 401, "invalid_token", Some("invalid_token")),
    ("token, signed by the integration", 401, "invalid_token", Some("invalid_token")),
    ("token, longer", 401, "invalid_token", Some("invalid_token")),
    ("not granted", 403, "not_permitted", None),
    ("replayed", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
    ("replayed elsewhere", 401, "invalid_dpop_proof", Some("invalid_dpop_proof")),
];

#[test]
fn forged_requests_are_refused_and_nobody_is_read() -> Result<()> {
    if !scripts::installed("forged requests over sockets") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    let (integration, keys) = onboard(&node, "copied", &["user.identity"])?;
    let (before, in_sandbox) = (prism.requests()?, subjects_and_records(&node)?);
    let send = |script| scripts::run(script, &node, &integration, &keys, &["/users/me"]);

    let forged = send("forge.mjs")?;
    let answers = array(&forged, "/answers")?;
    assert_eq!(answers.len(), ANSWERS.len());
    for (answer, &(name, status, code, error)) in answers.iter().zip(ANSWERS) {
        check(answer, name, status, Some(code), error)?;
        assert_eq!(answer.pointer("/members"), Some(&json!(["code", "request", "status", "type"])));
        let challenged = answer.pointer("/nonce") != Some(&Value::Null);
        assert_eq!(challenged, code == "use_dpop_nonce", "{answer}");
    }
    assert_eq!(prism.requests()?, before, "the origin hears of none of it");
    assert_eq!(subjects_and_records(&node)?, in_sandbox);

    let twin = send("twin.mjs")?;
    let [_, honest, copied] = array(&twin, "/answers")?.as_slice() else { anyhow::bail!("{twin}") };
    check(honest, "honest", 200, None, None)?;
    check(copied, "copied", 401, Some("invalid_dpop_proof"), Some("invalid_dpop_proof"))?;
    prism.wait_for(before + 1)?;
    let [subjects, records] = in_sandbox;
    assert_eq!(subjects_and_records(&node)?, [subjects, records + 1]);
    Ok(())
}

fn check(
    answer: &Value,
    name: &str,
    status: u16,
    code: Option<&str>,
    error: Option<&str>,
) -> Result<()> {
    let said = |member: &str| answer.get(member).with_context(|| format!("{member} of {answer}"));
    let said = json!([said("name")?, said("status")?, said("code")?, said("error")?]);
    assert_eq!(said, json!([name, status, code, error]));
    Ok(())
}

fn subjects_and_records(node: &Node) -> Result<[u64; 2]> {
    let exposure: Value = serde_json::from_str(&node.operate(&["exposure", "--json"])?)?;
    let total = |name: &str| {
        let total = exposure.pointer(&format!("/totals/{name}")).and_then(Value::as_u64);
        total.with_context(|| format!("no {name} in {exposure}"))
    };
    Ok([total("subjects")?, total("records")?])
}
