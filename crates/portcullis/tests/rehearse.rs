//! Rehearsals as a security team sees them: scoreboards, exit codes, files of their own, and a deployment somewhere else.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// One rehearsal at a time: there may be few cores, and requests that take long are late in the scenario's time.
static STAGE: Mutex<()> = Mutex::new(());

fn rehearse(arguments: &[&str]) -> Result<Output> {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("rehearse").args(arguments).output().context("it does not start")
}

/// The scoreboards of a run, which must have held.
fn boards(arguments: &[&str]) -> Result<Vec<Value>> {
    let output = rehearse(&[arguments, &["--json"]].concat())?;
    let text = String::from_utf8(output.stdout)?;
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{all}");
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn number(board: &Value, pointer: &str) -> u64 {
    board.pointer(pointer).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

#[test]
fn a_copied_token_reads_nobody_in_six_hours() -> Result<()> {
    let boards = boards(&["R02", "--mode", "outside"])?;
    let [board] = boards.as_slice() else { panic!("one run, one board") };
    assert_eq!(board["schema"], "portcullis.rehearsal/1");
    assert_eq!(board["scope_error"], 0);
    assert_eq!(board["proof_verified"], true);
    assert_eq!((number(board, "/subjects"), number(board, "/fields")), (0, 0));
    assert_eq!(number(board, "/attack/planned"), 43_200);
    assert!(number(board, "/attack/made") > 200, "{board}");
    // Honest traffic went on beside it, so an answer of nobody is no answer about a log without records.
    assert!(number(board, "/honest/data") > 100, "{board}");
    assert!(board["scenario_s"].as_f64() > Some(21_600.0), "{board}");
    Ok(())
}

#[test]
fn what_was_severed_or_forgotten_reads_nobody_weeks_later() -> Result<()> {
    // How long the disk takes to make a cut durable is not what is held here.
    let folder = tempfile::tempdir()?;
    let severed = folder.path().join("R09.yaml");
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rehearsal/scenarios");
    let text = std::fs::read_to_string(scenarios.join("R09.yaml"))?;
    let patient = text.replace("cut_ms_max: 1000", "cut_ms_max: 60000");
    assert_ne!(patient, text);
    std::fs::write(&severed, patient)?;
    let severed = severed.to_str().context("a path")?;
    for (scenario, mode, days) in [(severed, "inside", 25.0), ("R11", "legacy", 60.0)] {
        for board in boards(&[scenario, "--mode", mode])? {
            assert_eq!(number(&board, "/subjects"), 0, "{board}");
            assert!(board["scenario_s"].as_f64() > Some(days * 86_400.0), "{board}");
        }
    }
    Ok(())
}

#[test]
fn the_truth_is_the_scope_when_somebody_is_read_and_a_picture_is_drawn() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let svg = folder.path().to_str().context("a path")?;
    let file = folder.path().join("quick.yaml");
    std::fs::write(&file, quick(10))?;
    let file = file.to_str().context("a path")?;
    let boards = boards(&[file, "--mode", "inside", "--svg", svg])?;
    let [board] = boards.as_slice() else { panic!("one run, one board") };
    let subjects = number(board, "/subjects");
    assert!((5..=10).contains(&subjects), "{board}");
    assert!(number(board, "/notices") >= subjects, "{board}");
    assert!(board["first_draft_s"].is_number(), "{board}");
    let picture = std::fs::read_to_string(folder.path().join("quick-inside.svg"))?;
    assert!(picture.starts_with("<svg ") && picture.contains("attacker: data"));
    Ok(())
}

#[test]
fn what_does_not_hold_is_named_and_ends_in_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("quick.yaml");
    std::fs::write(&file, quick(0))?;
    let file = file.to_str().context("a path")?;
    let output = rehearse(&[file, "--mode", "inside"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("BROKEN subjects: 0 at most: "), "{text}");

    std::fs::write(file, quick(0).replace("subjects_max", "subject_max"))?;
    let output = rehearse(&[file])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("unknown field `subject_max`"), "{said}");
    assert_eq!(rehearse(&["no-such"])?.status.code(), Some(1));
    Ok(())
}

/// Ten requests in ten seconds, of which so many subjects may come.
fn quick(subjects_max: u32) -> String {
    format!(
        r#"
schema: portcullis.scenario/1
id: quick
title: ten requests
story: a test
sources: [none]
subjects: {{ id: "acc_{{}}", digits: 6, count: 100000, related: 1000 }}
tool:
  class: ticket
  get: "/v1/accounts/{{subject}}"
  operations: [getAccount]
  classes: [user.unique_id, user.contact.email]
  purpose: billing
  budget: {{ burst: 60, hour: 100, day: 200 }}
honest: {{ before: 2m, density: 1 }}
steps:
- attack: {{ name: reads ten, lasts: 1s, requests: 10, gets: ["/v1/accounts/{{subject}}"] }}
expect:
  outside: {{ subjects_max: 0 }}
  inside: {{ subjects_max: {subjects_max} }}
"#
    )
}

/// Kills the demo when the test ends, however it ends.
struct Demo(std::process::Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_deployment_elsewhere_is_asked_only_if_its_host_was_named_twice() -> Result<()> {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut demo = Demo(
        Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["demo", "--fast"])
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut lines = BufReader::new(demo.0.stdout.take().context("it prints")?).lines();
    let (mut port, mut config) = (None, None);
    while config.is_none() {
        let line = lines.next().context("the demo ended")??;
        if let Some((_, address)) = line.split_once("data plane on ") {
            port = address.trim().rsplit_once(':').map(|(_, port)| port.to_owned());
        }
        let mut words = line.split_whitespace().skip_while(|word| *word != "--config").skip(1);
        config = words.next().map(str::to_owned);
    }
    let (port, config) = (port.context("a port")?, config.context("a configuration")?);
    let ca = Path::new(&config).with_file_name("keys").join("ca.pem");
    let folder = tempfile::tempdir()?;
    let (scenario, token) = (folder.path().join("quick.yaml"), folder.path().join("token"));
    std::fs::write(&scenario, quick(10))?;
    std::fs::File::create(&token)?.write_all(b"eyJ0eXAiOiJhdCtqd3QifQ.e30.AAAA\n")?;
    let url = format!("https://localhost:{port}");
    let ask = |staging: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["rehearse", "--mode", "outside", "--json", "--against", &url])
            .args(staging)
            .arg("--token")
            .arg(&token)
            .arg("--ca")
            .arg(&ca)
            .arg(&scenario)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = said + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code(), all))
    };
    assert_eq!(ask(&[])?.0, Some(2));
    let (code, said) = ask(&["--staging", "other.example"])?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`--staging localhost` says"), "{said}");
    let (code, said) = ask(&["--staging", "localhost"])?;
    assert_eq!(code, Some(0), "{said}");
    let board: Value = serde_json::from_str(
        said.lines().find(|line| line.starts_with('{')).context("a line of JSON")?,
    )?;
    assert_eq!(board["schema"], "portcullis.rehearsal-against/1");
    assert_eq!((number(&board, "/made"), number(&board, "/data")), (10, 0), "{board}");
    let answers = board["answers"].as_object().context("answers")?;
    assert!(answers.keys().all(|answer| answer.starts_with("401")), "{board}");
    Ok(())
}
