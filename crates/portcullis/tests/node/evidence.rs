//! Evidence as an operator has it written and an outsider checks it: open, of a vendor, sealed and opened, cosigned.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said};
use anyhow::{Context, Result, ensure};
use ledger::cosign::{self, Cosigner};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// Has a bundle written, and says what the outsider says of it.
fn prove(node: &Node, name: &str, asked: &[&str], checked: &[&str]) -> Result<Value> {
    let file = write(node, name, asked)?;
    Ok(serde_json::from_str(&check(node, &file, checked)?)?)
}

fn write(node: &Node, name: &str, asked: &[&str]) -> Result<PathBuf> {
    let file = node.data().join(name);
    let output = file.to_str().context("text")?;
    node.operate(&[&["evidence"], asked, &["--output", output]].concat())?;
    Ok(file)
}

fn check(node: &Node, file: &Path, more: &[&str]) -> Result<String> {
    let mut verify = portcullis();
    verify.arg("verify").arg(file).arg("--key").arg(node.data().join("keys/log.pub"));
    said(verify.arg("--json").args(more))
}

#[test]
fn evidence_is_written_and_checked_in_every_form() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "proved", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    for n in [1, 2, 3, 1] {
        let answer = runtime.block_on(line.get(&format!("/v1/people/p-{n:04}")));
        ensure!(answer.status == 200, "{}", answer.status);
    }
    let to = storage::clock::unix_now().to_string();
    let window = ["--to", &to];

    let open = prove(&node, "open", &[&window[..], &["--integration", "proved"]].concat(), &[])?;
    ensure!(open["level"] == "operator-asserted" && open["records"].as_u64() >= Some(4), "{open}");
    ensure!(open["vendor"].is_null() && open["subjects"].as_u64() >= Some(3), "{open}");
    let all = prove(&node, "all", &window, &[])?;
    ensure!(
        all["records"] == open["records"] && all["question"]["integrations"].is_null(),
        "{all}"
    );
    let vendor = [&window[..], &["--vendor", "proved-inc"]].concat();
    let vendor = prove(&node, "vendor", &vendor, &[])?;
    ensure!(vendor["vendor"].is_string() && vendor["records"] == open["records"], "{vendor}");

    // Sealed, and one of its touches opened.
    let asked = [&window[..], &["--integration", "proved", "--recipient", "regulator"]].concat();
    let sealed = prove(&node, "sealed", &asked, &[])?;
    ensure!(
        sealed["recipient"] == "regulator" && sealed["subjects"] == open["subjects"],
        "{sealed}"
    );
    ensure!(
        sealed["records"] == open["records"] && sealed["touches"].as_u64() >= Some(4),
        "{sealed}"
    );
    let tokens = sealed["tokens"].as_object().context("tokens")?;
    let (token, positions) = tokens.iter().next().context("a token")?;
    let place = positions[0].as_array().context("a position")?;
    let place: Vec<String> = place.iter().map(ToString::to_string).collect();
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let opening = write(&node, "opening", &[&asked[..], &["--open"], &place].concat())?;
    let opening = ["--opening", opening.to_str().context("text")?];
    let opened = check(&node, &node.data().join("sealed"), &opening)?;
    let opened: Value = serde_json::from_str(&opened)?;
    ensure!(opened["opened"]["token"] == **token, "{opened}");
    ensure!(check(&node, &node.data().join("open"), &opening).is_err(), "it opens no other bundle");

    // An auditor, who has replayed the log, cosigns the checkpoint.
    let auditor = Cosigner::new("auditor.example", &[33; 32])?;
    let key = auditor.key()?;
    let note = std::fs::read_to_string(node.data().join("ledger/checkpoint"))?;
    let line = auditor.cosign(&note, storage::clock::unix_now().secs())?;
    let cosigned = node.data().join("cosigned");
    std::fs::write(&cosigned, cosign::add(&note, &line, std::slice::from_ref(&key))?)?;
    let cosigned = cosigned.to_str().context("text")?;
    let asked = [&window[..], &["--integration", "proved", "--checkpoint", cosigned]].concat();
    let key = key.to_string();
    let audited = prove(&node, "audited", &asked, &["--auditor", &key])?;
    ensure!(audited["level"] == "auditor-cosigned", "{audited}");
    ensure!(audited["records"] == open["records"], "{audited}");
    let unknown = check(&node, &node.data().join("audited"), &[]);
    ensure!(unknown.is_err(), "a level that nobody known has vouched for");
    Ok(())
}
