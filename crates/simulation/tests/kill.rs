//! The real thing: a process that appends under load is killed, again and again, on the same directory.

use simulation::dice::Dice;
use simulation::power_cuts::opening;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn every_record_acknowledged_before_kill_9_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..20 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_append_forever"))
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "round {round}: the child did not start");
        let killed_at = Instant::now() + Duration::from_micros(dice.below(60_000));
        let killer = std::thread::spawn(move || {
            while Instant::now() < killed_at {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        });
        // The last line may be cut off, and then counts as not printed.
        while line.ends_with('\n') {
            let (index, leaf) = line.trim_end().split_once(' ').unwrap();
            let before = acknowledged.insert(index.parse().unwrap(), leaf.to_owned());
            assert_eq!(before, None, "round {round}: index {index} was given twice");
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        killer.join().unwrap();

        let opened = storage::embedded::recorder::open(dir.path(), opening()).unwrap();
        let held: BTreeMap<u64, String> = opened
            .view
            .records_from(0)
            .map(|record| {
                let (index, record) = record.unwrap();
                let leaf = record.leaf_hash().iter().map(|byte| format!("{byte:02x}")).collect();
                (index, leaf)
            })
            .collect();
        for (index, leaf) in &acknowledged {
            assert_eq!(held.get(index), Some(leaf), "round {round}: record {index}");
        }
    }
    println!("{} records acknowledged in 20 rounds", acknowledged.len());
}
