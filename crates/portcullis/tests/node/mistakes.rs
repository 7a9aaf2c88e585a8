//! What becomes of an operator's mistakes: they are named, they leave nothing half done, and none stands in the way of a cut.

use crate::alone;
use crate::origin::Origin;
use crate::process::start;
use crate::support::{Transport, portcullis, said};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tokio::runtime::Runtime;

#[test]
fn a_mistake_in_the_configuration_keeps_nobody_from_a_cut() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    node.operate(&["vendor", "add", "acme", "--name", "Acme"])?;
    let readable = fs::read_to_string(node.config())?;
    fs::write(node.config(), format!("{readable}\nfrobnicate = 1\n"))?;
    ensure!(node.operate(&["posture", "show"]).is_err(), "what is not urgent names the mistake");
    let receipt = node.operate(&["sever", "vendor:acme", "--reason", "their keys are out"])?;
    ensure!(receipt.contains("portcullis.severed/1"), "{receipt}");
    let known = |receipt: &str| -> Result<Option<bool>> {
        let receipt: Value = serde_json::from_str(receipt)?;
        Ok(receipt.get("known").and_then(Value::as_bool))
    };
    ensure!(known(&receipt)? == Some(true), "{receipt}");
    // What nobody registered is cut, too, and said to be unknown.
    for target in ["operation:readPersn", "grant:grt_00000000000000000000000000"] {
        let receipt = node.operate(&["sever", target, "--reason", "a slip"])?;
        ensure!(known(&receipt)? == Some(false), "{receipt}");
    }
    Ok(())
}

#[test]
fn questions_and_grants_that_mean_nothing_are_refused() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let window = ["--from", "2026-03-02T00:00:00Z", "--to", "2026-03-01T00:00:00Z"];
    let bundle = node.data().join("backwards.pcl");
    let out = bundle.to_str().context("text")?;
    for question in [&["exposure"][..], &["evidence", "-o", out]] {
        let refused = node.operate(&[question, &window].concat());
        let why = refused.err().map_or_else(String::new, |why| format!("{why:#}"));
        ensure!(why.contains("ends before it begins"), "{question:?}: {why}");
    }
    ensure!(!bundle.exists(), "no bundle that no verifier takes");
    node.operate(&["vendor", "add", "acme", "--name", "Acme"])?;
    let cut = node.operate(&["sever", "vendor:acme", "--reason", "stolen\u{1b}[2J"]);
    ensure!(cut.is_err(), "what clears the screen of whoever reads it");
    for url in ["garbage", "ftp://acme.example/", "http://acme.example/"] {
        let hook = node.operate(&["vendor", "webhook", "acme", "--url", url]);
        ensure!(hook.is_err(), "{url}");
    }
    node.operate(&["vendor", "webhook", "acme", "--url", "https://acme.example/contained"])?;
    Ok(())
}

#[test]
fn a_secret_that_is_given_for_a_public_key_is_not_repeated() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (secret, log) = (folder.path().join("auditor.key"), folder.path().join("none"));
    said(portcullis().args(["keys", "new", "auditor.example/1", "-o"]).arg(&secret))?;
    let text = fs::read_to_string(&secret)?;
    let name = secret.to_str().context("text")?;
    for given in [name, text.trim()] {
        let refused = portcullis().arg("verify").arg(&log).args(["--key", given]).output()?;
        let why = String::from_utf8(refused.stderr)?;
        let key = text.trim().rsplit('+').next().context("a key")?;
        ensure!(!refused.status.success() && !why.contains(key), "{why}");
    }
    Ok(())
}

#[test]
fn what_init_makes_is_as_private_as_it_must_be_and_a_failed_one_leaves_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("node");
    let init = |more: &[&str]| -> Result<bool> {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"umask 0; exec "$0" init "$@""#]).arg(portcullis().get_program());
        Ok(shell.arg(&data).args(more).output()?.status.success())
    };
    ensure!(!init(&["--key-file", "nowhere"])?);
    ensure!(!data.exists() || fs::read_dir(&data)?.next().is_none(), "something was left");
    ensure!(init(&[])?);
    for (file, mode) in [
        ("portcullis.toml", 0o644),
        ("keys/ca.pem", 0o644),
        ("keys/server.pem", 0o644),
        ("keys/log.pub", 0o644),
        ("keys/log.key", 0o600),
        ("keys/server.key", 0o600),
    ] {
        let found = fs::metadata(data.join(file))?.permissions().mode() & 0o777;
        ensure!(found == mode, "{file}: {found:o}");
    }
    Ok(())
}
