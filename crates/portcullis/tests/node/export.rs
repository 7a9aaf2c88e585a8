//! The record, copied for other programs beside the node that goes on writing it.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, kill, start_configured};
use crate::software::Manner;
use crate::support::{Transport, portcullis, said};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// Whom the software reads.
const READ: [&str; 3] = ["p-0002", "p-0003", "p-0004"];

#[test]
fn copies_say_what_exposure_says_and_naming_subjects_is_on_record() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start_configured(&origin, Transport::ClearText)?;
    let reader = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = reader.software.line(Manner::Brisk);
    for person in READ {
        let answer = runtime.block_on(line.get(&format!("/v1/people/{person}")));
        ensure!(answer.status == 200, "{person}: {}", answer.status);
    }
    let to = tempfile::tempdir()?;
    let export = |arguments: &[&str], directory: &Path| {
        let mut command = portcullis();
        command.args(["export", "parquet"]).arg(directory).args(arguments);
        said(command.arg("--config").arg(node.data()))
    };

    // Nothing is sealed yet, and that is said; the open segment is copied when it is asked for.
    let none = export(&[], &to.path().join("sealed"))?;
    ensure!(none.contains("no segment is sealed yet"), "{none}");
    let pseudonymous = to.path().join("pseudonymous");
    let done: Value = serde_json::from_str(&export(&["--open", "--json"], &pseudonymous)?)?;
    let rows = done.pointer("/rows").and_then(Value::as_u64).context("rows")?;
    let exposure: Value = serde_json::from_str(&node.operate(&["exposure", "--json"])?)?;
    let records = exposure.pointer("/totals/records").and_then(Value::as_u64).context("records")?;
    // Each of its reads was of one person; what it was refused in the sandbox comes on top.
    ensure!(rows >= records && records > READ.len() as u64, "{done} {exposure}");
    let bytes = all_bytes(&pseudonymous)?;
    ensure!(!holds(&bytes, b"p-000"), "no subject's id is in files without subjects");

    // Subjects are named for an operator only, by a node that keeps the question.
    let named = to.path().join("named");
    ensure!(export(&["--open", "--subjects"], &named).is_err(), "without a key");
    let events = || -> Result<String> {
        said(portcullis().args(["export", "ocsf", "--config"]).arg(node.data()))
    };
    let looks = |events: &str| events.matches("operator_subject_export").count();
    ensure!(looks(&events()?) == 0, "nobody has asked yet");
    let key = node.key("first");
    let key = key.to_str().context("text")?;
    export(&["--open", "--subjects", "--key", key], &named)?;
    ensure!(looks(&events()?) == 1, "on record");
    // Statistics stand in a file's footer as plain text, so what a column holds can be seen from outside.
    ensure!(holds(&all_bytes(&named)?, b"p-000"), "subjects' ids are in files with subjects");
    let refused = export(&["--open"], &named).map_err(|error| error.to_string());
    ensure!(
        refused.as_ref().is_err_and(|said| said.contains("holds files with subjects")),
        "{refused:?}"
    );

    // Events go to a file too, whole, and name nobody.
    let file = to.path().join("events.jsonl");
    said(portcullis().args(["export", "ocsf", "--config"]).arg(node.data()).arg("-o").arg(&file))?;
    let written = std::fs::read_to_string(&file)?;
    let mut accesses = 0;
    for event in written.lines() {
        let event: Value = serde_json::from_str(event)?;
        let code = event.pointer("/metadata/event_code").and_then(Value::as_str);
        accesses += u64::from(code == Some("access"));
    }
    ensure!(accesses == records, "{accesses} events of {records} records");
    ensure!(!written.contains("p-000"), "events name nobody");

    // Without a node nobody keeps the question, so nobody is named.
    kill(&mut node)?;
    let dead = to.path().join("dead");
    let mut command = portcullis();
    command.args(["export", "parquet"]).arg(&dead).args(["--open", "--subjects", "--key", key]);
    ensure!(
        said(command.arg("--config").arg(node.data())).is_err(),
        "named without a record of it"
    );
    ensure!(!dead.exists(), "and nothing is written");
    Ok(())
}

/// What is in the files of a directory, one after the other.
fn all_bytes(directory: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else {
            bytes.extend(std::fs::read(&path)?);
        }
    }
    Ok(bytes)
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
