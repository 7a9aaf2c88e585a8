//! What somebody types on the first day, word for word as `--help` and `init` say it. Needs nothing that is not in the repository.

use crate::prism::{contract, protected};
use crate::support::{Application, Node, Transport, portcullis, said};
use anyhow::Result;

/// The public key of nobody: RFC 7517 appendix A.1.
const JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

#[test]
fn the_documented_commands_lead_from_an_empty_directory_to_a_grant() -> Result<()> {
    for transport in [Transport::ClearText, Transport::Tls] {
        let jwk = tempfile::NamedTempFile::new()?;
        std::fs::write(jwk.path(), JWK)?;
        let mut node = Node::start(&protected("127.0.0.1:9".parse()?, &contract()), transport)?;
        let onboarded = node.onboard(&Application {
            slug: "desk",
            jwk: jwk.path(),
            operations: &["get_users_me"],
            classes: &["user.identity"],
            purpose: "fraud",
            trial: None,
        })?;
        assert!(onboarded.integration.starts_with("int_"), "{}", onboarded.integration);
        assert!(onboarded.grant.starts_with("grt_"), "{}", onboarded.grant);
        node.stop()?;
        let log = node.data();
        let mut verify = portcullis();
        verify.arg("verify").arg(&log).arg("--full").arg("--key").arg(log.join("keys/log.pub"));
        let audited = said(&mut verify)?;
        assert!(audited.ends_with("the log is what its checkpoint signs"), "{audited}");
    }
    Ok(())
}

#[test]
fn a_refused_command_prints_no_id() -> Result<()> {
    let node = Node::start(&protected("127.0.0.1:9".parse()?, &contract()), Transport::ClearText)?;
    node.operate(&["vendor", "add", "twice", "--name", "A vendor"])?;
    let key = node.data().join("keys/operators/first.key");
    let output = portcullis()
        .current_dir(node.data())
        .args(["vendor", "add", "twice", "--name", "A vendor", "--key"])
        .arg(key)
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout)?, "");
    assert!(String::from_utf8(output.stderr)?.contains("already registered"));
    Ok(())
}
