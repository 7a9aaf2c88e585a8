//! The programs in `tests/foreign`, run by Node.js.

use crate::support::{Node, Onboarded, said};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whether the npm packages are there. `what` is left out otherwise, and says so.
#[expect(clippy::print_stderr, reason = "what was left out must not look like what passed")]
pub(crate) fn installed(what: &str) -> bool {
    let asked = std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_some_and(|value| value == "1");
    if !asked {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: {what}");
    }
    asked
}

/// Where the programs and their packages are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign")
}

/// A key pair made by a foreign program.
pub(crate) struct Keys(TempDir);

impl Keys {
    /// Makes one. `algorithm`: ES256, Ed25519 or PS256.
    ///
    /// # Errors
    /// What the program said.
    pub(crate) fn make(algorithm: &str) -> Result<Self> {
        let keys = Self(tempfile::tempdir()?);
        said(node().arg("keys.mjs").arg(algorithm).arg(keys.0.path()))?;
        Ok(keys)
    }

    /// The file to register.
    pub(crate) fn public(&self) -> PathBuf {
        self.0.path().join("public.jwk")
    }

    /// The private key for OpenSSL.
    pub(crate) fn pem(&self) -> PathBuf {
        self.0.path().join("private.pem")
    }

    /// The file that the integration's program reads.
    pub(crate) fn private(&self) -> PathBuf {
        self.0.path().join("private.jwk")
    }
}

/// Runs a program that asks the node for `paths` as an integration, and gives what it printed.
///
/// # Errors
/// What the program said.
pub(crate) fn run(
    script: &str,
    at: &Node,
    integration: &Onboarded,
    keys: &Keys,
    paths: &[&str],
) -> Result<Value> {
    run_with(script, at, integration, keys, paths, &json!({}))
}

/// As [`run`], with more members of the task.
///
/// # Errors
/// Likewise.
pub(crate) fn run_with(
    script: &str,
    at: &Node,
    integration: &Onboarded,
    keys: &Keys,
    paths: &[&str],
    more: &Value,
) -> Result<Value> {
    let mut task = json!({
        "issuer": at.issuer(),
        "resource": at.url(),
        "client_id": integration.integration,
        "scope": integration.grant,
        "private_jwk": keys.private(),
        "paths": paths,
    });
    if let (Some(task), Some(more)) = (task.as_object_mut(), more.as_object()) {
        task.extend(more.clone());
    }
    let mut command = node();
    command.arg(script).arg(task.to_string());
    command.env("NODE_EXTRA_CA_CERTS", at.data().join("keys/ca.pem"));
    let printed = said(&mut command)?;
    serde_json::from_str(&printed).with_context(|| printed.clone())
}

/// Node.js, where the programs are.
pub(crate) fn node() -> Command {
    let mut command = Command::new("node");
    command.current_dir(directory());
    command
}
