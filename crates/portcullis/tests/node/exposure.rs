//! Exposure as an operator asks for it: who, when, one person's history, what a vendor has, and the release of a moment ago in every answer.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, start};
use crate::software::Manner;
use crate::support::{Node, Transport};
use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Runtime;

fn ask(node: &Node, words: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&node.operate(&[words, &["--json"]].concat())?)?)
}

fn rows<'v>(answer: &'v Value, list: &str) -> Result<&'v Vec<Value>> {
    answer[list].as_array().with_context(|| format!("no {list} in {answer}"))
}

#[test]
fn every_answer_holds_the_release_of_a_moment_ago() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    let mut read = |n: u32| -> Result<()> {
        let answer = runtime.block_on(line.get(&format!("/v1/people/p-{n:04}")));
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    };
    let by_it = ["exposure", "--integration", "reader"];
    // Person 1 was read when it was tried out.
    for n in 2..=5 {
        read(n)?;
        let answer = ask(&node, &by_it)?;
        ensure!(rows(&answer, "subjects")?.len() == n as usize, "{answer}");
        ensure!(answer["totals"]["records"] == n, "{answer}");
    }
    read(1)?;
    let history = ask(&node, &["subject", "show", "p-0001"])?;
    ensure!(rows(&history, "releases")?.len() == 2 && history["known"] == true, "{history}");
    let nobody = ask(&node, &["subject", "show", "p-9999"])?;
    ensure!(rows(&nobody, "releases")?.is_empty() && nobody["known"] == false, "{nobody}");
    // A window that ends before it begins is no question; that nobody was read in it would say nothing.
    let backwards = ask(&node, &["subject", "show", "p-0001", "--from", "2099-01-01T00:00:00Z"]);
    ensure!(backwards.is_err_and(|why| why.to_string().contains("ends before it begins")));

    let hours = ask(&node, &["exposure", "--show", "hours"])?;
    let people: u64 =
        rows(&hours, "hours")?.iter().filter_map(|hour| hour["subjects"].as_u64()).sum();
    ensure!(people >= 5, "{hours}");
    let classes = ask(&node, &["exposure", "--show", "classes"])?;
    ensure!(!rows(&classes, "read")?.is_empty(), "{classes}");
    let countries = ask(&node, &["exposure", "--show", "countries"])?;
    ensure!(
        countries["subjects"] == 5 && countries["countries"][0]["country"] == "unknown",
        "{countries}"
    );
    let held = ask(&node, &["exposure", "--vendor", "reader-inc", "--show", "held"])?;
    ensure!(held["subjects"] == 5 && held["integrations"][0]["retention_days"].is_u64(), "{held}");
    ensure!(ask(&node, &["exposure", "--show", "hours", "--subject", "p-0001"]).is_err());

    // Two frozen answers, and what the later one has more.
    ask(&node, &[&by_it[..], &["--scope", "first"]].concat())?;
    read(6)?;
    ask(&node, &[&by_it[..], &["--scope", "second"]].concat())?;
    let difference = ask(&node, &["exposure", "--difference", "first", "second"])?;
    ensure!(difference["added"] == serde_json::json!(["p-0006"]), "{difference}");
    ensure!(rows(&difference, "gone")?.is_empty(), "{difference}");

    // People get a table with a picture; analysts a file.
    let table = node.operate(&by_it)?;
    ensure!(table.contains("6 subjects in 7 records") && table.contains('█'), "{table}");
    let file = node.data().join("answer.parquet");
    let to = ["--format", "parquet", "--output", file.to_str().context("text")?];
    node.operate(&[&by_it[..], &to].concat())?;
    ensure!(std::fs::read(&file)?.starts_with(b"PAR1"), "no Parquet file");
    Ok(())
}

#[test]
fn others_ask_and_change_things_while_a_question_is_answered() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    runtime.block_on(employ(&node, "reader", true))?;
    // The directory of addresses is a pipe: who counts by country is answered when somebody has written to it.
    let addresses = node.data().join("mail/people.csv");
    mkfifoat(CWD, &addresses, Mode::RUSR | Mode::WUSR)?;
    let patience = Duration::from_secs(60);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&node, &["exposure", "--show", "countries"]));
        let (opened, writer) = mpsc::channel();
        // Opens when the node reads.
        scope.spawn(move || opened.send(File::options().write(true).open(&addresses)));
        let mut writer = writer.recv_timeout(patience).context("nobody counts by country")??;
        let (others, done) = mpsc::channel();
        let node = &node;
        scope.spawn(move || {
            let asked = ask(node, &["exposure", "--integration", "reader"]);
            let added = node.operate(&["vendor", "add", "another", "--name", "Another"]);
            others.send(asked.and(added))
        });
        let done = done.recv_timeout(patience);
        writer.write_all(b"subject,email,name,country\np-0001,a@b.example,,DE\n")?;
        drop(writer);
        let countries = slow.join().ok().context("it panicked")??;
        done.context("they waited for the question")??;
        ensure!(countries["countries"][0]["country"] == "DE", "{countries}");
        Ok(())
    })
}
