//! The copy of another node's log: what it says stands beside the answer, and what is not as that node signed it is refused by name.

use crate::alone;
use crate::files::copy;
use crate::origin::Origin;
use crate::process::{restart, start};
use crate::support::{Node, Transport, portcullis};
use anyhow::{Result, bail, ensure};
use ledger::Draft;
use ledger::note::SigningKey;
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Outcome, Pseudonym,
    RequestId, Touch, VendorId,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use storage::embedded::recorder::{self, Opening};
use storage::embedded::vault::VaultKeys;
use tokio::runtime::Runtime;

const NAME: &str = "elsewhere/node-1/1";

/// Another node's data directory, whose log has two releases of two people.
fn elsewhere(root: &Path) -> Result<String> {
    let key = SigningKey::new(NAME, &[7; 32])?;
    let public = key.verifying_key()?.to_string();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let opened = recorder::open(root, Opening::standard(key, vault))?;
    for people in [1..=1, 1..=2] {
        let touch = |person: u8| Touch {
            pseudonym: Pseudonym([person; 16]),
            classes: [ClassNumber::new(0)].into_iter().collect(),
        };
        opened.recorder.append_blocking(Draft::Access(AccessRecord {
            request: RequestId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([1; 16]),
            integration: IntegrationId::from_bytes([1; 16]),
            credential: CredentialId::from_bytes([1; 16]),
            grant: None,
            operation: None,
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            contract: [0; 32],
            policy: [0; 32],
            class_table: [0; 32],
            outcome: Outcome::Released,
            bytes: 0,
            touches: people.map(touch).collect(),
        }))?;
    }
    opened.recorder.stop()?;
    Ok(public)
}

fn ask(node: &Node, more: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&node.operate(&[&["exposure", "--json"], more].concat())?)?)
}

fn refused(node: &Node) -> Result<String> {
    match node.operate(&["exposure"]) {
        Ok(answer) => bail!("answered: {answer}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
fn the_copy_of_another_node_s_log_stands_beside_the_answer() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let data = node.data();
    ensure!(ask(&node, &[])?["other_nodes"].is_null());
    node.stop()?;
    let other = tempfile::tempdir()?;
    let key = elsewhere(other.path())?;
    let config = data.join("portcullis.toml");
    let plain = fs::read_to_string(&config)?;
    let with = |key: &str| fs::write(&config, format!("{plain}\n[[replica]]\nkey = \"{key}\"\n"));

    // Its own log is no copy of another's.
    with(fs::read_to_string(data.join("keys/log.pub"))?.trim())?;
    let started = portcullis().arg("serve").current_dir(&data).output()?;
    let why = String::from_utf8_lossy(&started.stderr).into_owned();
    ensure!(!started.status.success() && why.contains("this node's own log"), "{why}");

    // What is expected and did not come is a gap.
    with(&key)?;
    restart(&mut node)?;
    let why = refused(&node)?;
    ensure!(why.contains(NAME) && why.contains("records from 0 on are not here"), "{why}");

    let place = data.join("replicas").join(NAME).join("ledger");
    copy(&other.path().join("ledger"), &place)?;
    let answer = ask(&node, &[])?;
    ensure!(answer["gaps"].is_null() && answer["totals"]["subjects"] == 0, "{answer}");
    let beside = &answer["other_nodes"][0];
    ensure!(beside["log"] == NAME && beside["until"].is_string(), "{answer}");
    ensure!(beside["records"] == 2 && beside["pseudonyms"] == 2, "{answer}");
    let table = node.operate(&["exposure"])?;
    ensure!(table.contains("2 pseudonyms in 2 records"), "{table}");
    let classes = ask(&node, &["--show", "classes"])?;
    ensure!(classes["other_nodes"][0]["records"] == 2, "{classes}");
    let of_one = node.operate(&["subject", "show", "p-0001"])?;
    ensure!(of_one.contains("ask that node"), "{of_one}");

    // One byte of it, while the node runs.
    let segment = place.join("segments/0000000000.seg");
    let good = fs::read(&segment)?;
    let mut bytes = good.clone();
    if let Some(byte) = bytes.get_mut(200) {
        *byte ^= 1;
    }
    fs::write(&segment, &bytes)?;
    let why = refused(&node)?;
    ensure!(why.contains(NAME) && why.contains("0000000000.seg"), "{why}");
    let answer = ask(&node, &["--despite-gaps"])?;
    ensure!(answer["totals"]["subjects"] == 0 && answer["other_nodes"][0]["records"] != 2);
    fs::write(&segment, &good)?;
    ensure!(ask(&node, &[])?["other_nodes"][0]["records"] == 2);
    node.stop()
}
