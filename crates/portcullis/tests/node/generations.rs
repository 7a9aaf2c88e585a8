//! A log that lost its end, and the questions that reach over it: who was read in either generation counts once, and what was lost is named.

use crate::alone;
use crate::files::copy;
use crate::origin::Origin;
use crate::process::{employ, kill, restart, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said};
use anyhow::{Context, Result, bail, ensure};
use model::{Micros, UnixMicros};
use serde_json::Value;
use std::fs;
use storage::clock;
use tokio::runtime::Runtime;

fn ask(node: &Node, words: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&node.operate(&[words, &["--json"]].concat())?)?)
}

fn refused(node: &Node, words: &[&str]) -> Result<String> {
    match node.operate(words) {
        Ok(answer) => bail!("answered: {answer}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn people(answer: &Value) -> Vec<&str> {
    let rows = answer["subjects"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["id"].as_str()).collect()
}

#[test]
fn a_question_reaches_over_a_lost_end() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let data = node.data();
    let tool = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    let mut read = |n: u32| -> Result<()> {
        let path = format!("/v1/people/p-{n:04}");
        let mut answer = runtime.block_on(line.get(&path));
        if answer.status == 0 {
            // The connection was to the process before.
            answer = runtime.block_on(line.get(&path));
        }
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    };
    // Person 1 was read when it was tried out.
    for n in [2, 3] {
        read(n)?;
    }
    node.stop()?;
    let kept = tempfile::tempdir()?;
    copy(&data.join("ledger"), &kept.path().join("ledger"))?;
    restart(&mut node)?;
    read(4)?;
    node.stop()?;

    // The disk forgot: what is put back ends before person 4.
    fs::copy(data.join("ledger/checkpoint"), data.join("lost"))?;
    fs::remove_dir_all(data.join("ledger"))?;
    copy(&kept.path().join("ledger"), &data.join("ledger"))?;
    let mut next = portcullis();
    said(next.args(["log", "next-generation", "--lost", "lost"]).current_dir(&data))?;
    restart(&mut node)?;
    let begun = clock::unix_now();
    for n in [2, 5] {
        read(n)?;
    }

    let by_it = ["exposure", "--integration", "reader"];
    let why = refused(&node, &by_it)?;
    ensure!(why.contains("lost its end") && why.contains("node-1/2"), "{why}");
    let all = [&by_it[..], &["--despite-gaps"]].concat();
    let answer = ask(&node, &all)?;
    ensure!(people(&answer) == ["p-0001", "p-0002", "p-0003", "p-0005"], "{answer}");
    let totals = &answer["totals"];
    ensure!(totals["subjects"] == 4 && totals["records"] == 5, "{totals}");
    ensure!(answer["subjects"][1]["count"] == 2, "person 2, in both: {answer}");
    let [gap] = answer["gaps"].as_array().context("gaps")?.as_slice() else { bail!("{answer}") };
    let time = |name: &str| gap[name].as_str().and_then(UnixMicros::parse).context("a time");
    let (lost_from, lost_to) = (time("since")?, time("time")?);
    ensure!(lost_from < lost_to && lost_to <= begun, "{gap}");

    // Windows that have nothing of what was lost are answered without complaint: behind it, and before.
    let behind = begun.to_string();
    let answer = ask(&node, &[&by_it[..], &["--from", &behind]].concat())?;
    ensure!(people(&answer) == ["p-0002", "p-0005"] && answer["gaps"].is_null(), "{answer}");
    let before = (lost_from - Micros::from_secs(61)).to_string();
    let answer = ask(&node, &[&by_it[..], &["--to", &before]].concat())?;
    ensure!(answer["gaps"].is_null(), "{answer}");

    let history = ask(&node, &["subject", "show", "p-0002", "--despite-gaps"])?;
    let logs: Vec<_> = history["releases"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|release| release["log"].as_str()?.rsplit('/').next())
        .collect();
    ensure!(logs == ["1", "2"], "{history}");
    let hours = ask(&node, &["exposure", "--show", "hours", "--despite-gaps"])?;
    let of_hours = hours["hours"].as_array().into_iter().flatten();
    let most = of_hours.filter_map(|hour| hour["subjects"].as_u64()).max();
    ensure!(most <= Some(4), "a person of two generations in one hour is one: {hours}");
    let held = ["exposure", "--vendor", "reader-inc", "--show", "held", "--despite-gaps"];
    ensure!(ask(&node, &held)?["subjects"] == 4);

    // Evidence is of one log: two bundles, checked together.
    let folder = kept.path().join("evidence");
    fs::create_dir(&folder)?;
    let (first, second) = (folder.join("1.pcl"), folder.join("2.pcl"));
    let (first, second) = (first.to_str().context("text")?, second.to_str().context("text")?);
    let prove =
        |more: &[&str]| refused(&node, &[&["evidence", "--integration", "reader"], more].concat());
    let why = prove(&["-o", second])?;
    ensure!(why.contains("--generation"), "{why}");
    let ends = lost_from.to_string();
    let why = prove(&["--generation", "1", "-o", first])?;
    ensure!(why.contains(&ends), "{why}");
    ensure!(prove(&["--generation", "2", "-o", first])?.contains("no generation 2"));
    node.operate(&[
        "evidence",
        "--generation",
        "1",
        "--integration",
        "reader",
        "--to",
        &ends,
        "-o",
        first,
    ])?;
    node.operate(&["evidence", "--integration", "reader", "--from", &behind, "-o", second])?;
    let old_key = {
        let seed: [u8; 32] = fs::read(data.join("keys/log.key"))?.as_slice().try_into()?;
        ledger::note::SigningKey::new("deployment/node-1/1", &seed)?.verifying_key()?.to_string()
    };
    let mut verify = portcullis();
    verify.args(["verify", first, second, "--json", "--key", &old_key, "--key"]);
    let proved = said(verify.arg(data.join("keys/log.pub")))?;
    let proved: Vec<Value> = proved.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [one, two] = &proved[..] else { bail!("{proved:?}") };
    ensure!(one["log"] == "deployment/node-1/1" && one["subjects"] == 3, "{one}");
    ensure!(two["log"] == "deployment/node-1/2" && two["subjects"] == 2, "{two}");

    // Without the generation before, everything before this one is lost.
    kill(&mut node)?;
    fs::rename(data.join("generations/1"), kept.path().join("1"))?;
    restart(&mut node)?;
    ensure!(refused(&node, &[&by_it[..], &["--to", &before]].concat())?.contains("lost its end"));
    ensure!(people(&ask(&node, &all)?) == ["p-0002", "p-0005"]);
    // It is back in the next answer, whole.
    fs::rename(kept.path().join("1"), data.join("generations/1"))?;
    ensure!(people(&ask(&node, &all)?).len() == 4);
    // A segment of it that was damaged is named, and takes nothing else with it.
    let segment = data.join("generations/1/ledger/segments/0000000000.seg");
    let mut bytes = fs::read(&segment)?;
    *bytes.get_mut(60).context("bytes")? ^= 1;
    fs::write(&segment, bytes)?;
    let answer = ask(&node, &all)?;
    ensure!(people(&answer) == ["p-0002", "p-0005"], "{answer}");
    ensure!(answer["gaps"].to_string().contains("0000000000.seg"), "{answer}");
    node.stop()
}
