//! The demo as its audience sees it: the exit code, and the report's verdict on each promise.
//!
//! A report that always says "held" would be worth nothing, so three runs have something broken on purpose and must say what.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One demo at a time: its acts are timed, and there may be few cores.
static STAGE: Mutex<()> = Mutex::new(());

/// What a demo printed, and what it came to.
struct Played {
    code: Option<i32>,
    /// For each promise, such as `P2`, whether every line about it says that it held.
    verdicts: BTreeMap<String, bool>,
    all: String,
}

fn play(sabotage: Option<&str>) -> Result<Played> {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut demo = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    demo.args(["demo", "--exit", "--fast"]);
    if let Some(what) = sabotage {
        demo.args(["--sabotage", what]);
    }
    let output = demo.output().context("the demo does not start")?;
    let text = String::from_utf8(output.stdout)?;
    let mut verdicts = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let held = match words.next() {
            Some("held") => true,
            Some("BROKEN") => false,
            _ => continue,
        };
        if let Some(promise) = words.next() {
            *verdicts.entry(promise.to_owned()).or_insert(true) &= held;
        }
    }
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Played { code: output.status.code(), verdicts, all })
}

/// Plays with one thing broken. The report says that `broken` is, and beside it at most what follows from that.
fn check_sabotage(what: &str, broken: &str, may_follow: &[&str]) -> Result<()> {
    let Played { code, verdicts, all } = play(Some(what))?;
    assert_eq!(code, Some(1), "{all}");
    let mut named: Vec<_> =
        verdicts.iter().filter(|(_, held)| !**held).map(|(promise, _)| promise.as_str()).collect();
    named.retain(|promise| !may_follow.contains(promise));
    assert_eq!(named, [broken], "{all}");
    Ok(())
}

#[test]
fn every_promise_is_shown_to_hold() -> Result<()> {
    let Played { code, verdicts, all } = play(None)?;
    assert_eq!(code, Some(0), "{all}");
    let held: Vec<_> =
        verdicts.iter().filter(|(_, held)| **held).map(|(promise, _)| promise.as_str()).collect();
    assert_eq!(held, ["P1", "P10", "P2", "P3", "P5", "P6", "P7", "P8", "P9"], "{all}");
    Ok(())
}

#[test]
fn a_changed_byte_of_the_ledger_breaks_nothing_rewritten() -> Result<()> {
    // Where the byte lies in what exposure reads, there is no answer either, and no evidence.
    check_sabotage("ledger-byte", "P8", &["P7"])
}

#[test]
fn a_line_missing_from_the_origins_log_breaks_exact_and_complete() -> Result<()> {
    check_sabotage("origin-log", "P7", &[])
}

#[test]
fn a_lost_letter_breaks_exact_and_complete() -> Result<()> {
    check_sabotage("lost-letter", "P7", &[])
}

#[test]
fn a_contract_that_was_widened_breaks_least_data() -> Result<()> {
    check_sabotage("wider-contract", "P2", &["P7"])
}
