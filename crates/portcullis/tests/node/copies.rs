//! Older copies of single parts of a data directory: each is refused at start with the reason, or made good from the log.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, kill, log, restart, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use tokio::runtime::Runtime;

/// What holds the state of a node; the registry is its last three.
const ALL: [&str; 6] =
    ["ledger", "vault", "posture", "registry.db", "registry.db-wal", "registry.db-shm"];

/// Copies a folder with everything in it, in place of what was there.
fn put(from: &Path, to: &Path) -> Result<()> {
    if to.is_dir() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            put(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Puts single parts of the older copy into place.
fn put_parts(older: &Path, node: &Node, parts: &[&str]) -> Result<()> {
    for part in parts {
        let (from, to) = (older.join(part), node.data().join(part));
        if from.is_dir() {
            put(&from, &to)?;
        } else if from.exists() {
            fs::copy(from, to)?;
        } else {
            let _was_not_there = fs::remove_file(to);
        }
    }
    Ok(())
}

fn shown(node: &Node) -> Result<String> {
    let config = node.data().join("portcullis.toml");
    said(portcullis().args(["posture", "show", "--config"]).arg(config))
}

#[test]
fn an_older_copy_of_any_one_part_is_told_by_the_others() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(runtime.block_on(line.get("/v1/people/p-0001")).status == 200);
    node.operate(&["sever", "network:198.51.100.7", "--reason", "polls"])?;
    node.stop()?;
    let (older, newest) =
        (node.data().with_extension("older"), node.data().with_extension("newest"));
    put(&node.data(), &older)?;

    restart(&mut node)?;
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(runtime.block_on(line.get("/v1/people/p-0002")).status == 200);
    node.operate(&["exposure", "--integration", "reader"])?;
    node.operate(&["integration", "list"])?;
    node.operate(&["grant", "withdraw", &tool.grant])?;
    node.operate(&["sever", "network:198.51.100.8", "--reason", "polls too"])?;
    node.stop()?;
    put(&node.data(), &newest)?;

    for (parts, says) in [
        (&["ledger/segments"][..], "they are an older copy. Restore the newer segments"),
        (&["ledger"][..], "the segments are an older copy"),
        (&["vault"][..], "subjects that `vault/rows` does not know"),
        (&ALL[3..], "that `registry.db` does not know: it is an older copy"),
    ] {
        put_parts(&newest, &node, &ALL)?;
        put_parts(&older, &node, parts)?;
        let refused = restart(&mut node);
        let refused =
            format!("{:#}", refused.err().unwrap_or_else(|| anyhow::anyhow!("it starts")));
        ensure!(refused.contains(says), "an older {parts:?}: {refused}");
    }

    // What the register lacks, the log has; a cut that was acknowledged stays one.
    put_parts(&newest, &node, &ALL)?;
    put_parts(&older, &node, &["posture"])?;
    restart(&mut node)?;
    ensure!(
        log(&node).contains("the posture file lacked entries that the log has"),
        "{}",
        log(&node)
    );
    let posture = shown(&node)?;
    ensure!(posture.contains("198.51.100.8"), "{posture}");
    kill(&mut node)?;
    // So it is with a register that is empty.
    fs::write(node.data().join("posture/register"), [])?;
    restart(&mut node)?;
    let posture = shown(&node)?;
    ensure!(posture.contains("198.51.100.7") && posture.contains("198.51.100.8"), "{posture}");
    Ok(())
}
