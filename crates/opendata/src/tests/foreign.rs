//! Engines that nobody here wrote read the files with the SQL that analysts are given, and say what the fold says; and the schema that
//! OCSF publishes accepts the events.

use super::log::{CLASSES, Dice, Made, ORIGIN, integration, table};
use super::parquet::{fold, hex};
use super::rows::{ALL, Plain};
use crate::classes::ClassNames;
use exposure::Question;
use ledger::Record;
use model::{DataClass, UnixMicros};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether the Python packages are there. `what` is left out otherwise, and says so.
fn installed(what: &str) -> bool {
    let asked = std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_some_and(|value| value == "1");
    if !asked {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: {what}");
    }
    asked
}

/// Runs a program of `tests/foreign` on what it is given.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
    let mut child = Command::new(foreign.join("venv/bin/python"))
        .arg(foreign.join(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What one question is in SQL, and what the fold is asked for it.
struct Asked {
    file: &'static str,
    values: Value,
    question: Question,
}

fn questions(records: &[Record], dice: &mut Dice) -> Vec<Asked> {
    let (first, last) =
        (records.first().unwrap().header.time.0, records.last().unwrap().header.time.0);
    let mut asked = Vec::new();
    // All of it, nothing of it, and windows between.
    let mut windows = vec![(0, last + 1), (last + 1, last + 3_600_000_000)];
    for _ in 0..3 {
        let mut moment = || first + dice.roll(last - first + 2);
        let (a, b) = (moment(), moment());
        windows.push((a.min(b), a.max(b)));
    }
    for (from, to) in windows {
        let window = |more: Value| {
            let mut values = json!({ "since": moment(from), "until": moment(to) });
            values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            values
        };
        let all = Question::all(UnixMicros(from), UnixMicros(to));
        asked.push(Asked { file: "timeline", values: window(json!({})), question: all.clone() });
        for who in [1, 4, 9] {
            let question =
                Question { integrations: Some(BTreeSet::from([integration(who)])), ..all.clone() };
            let values = window(json!({ "integration": integration(who).to_string() }));
            asked.push(Asked { file: "who", values, question });
        }
        for (net, lowest, highest) in [
            (
                "203.0.113.0/24",
                "00000000000000000000ffffcb007100",
                "00000000000000000000ffffcb0071ff",
            ),
            (
                "203.0.113.7/32",
                "00000000000000000000ffffcb007107",
                "00000000000000000000ffffcb007107",
            ),
            (
                "2001:db8::/32",
                "20010db8000000000000000000000000",
                "20010db8ffffffffffffffffffffffff",
            ),
        ] {
            let question =
                Question { networks: Some(BTreeSet::from([net.parse().unwrap()])), ..all.clone() };
            asked.push(Asked {
                file: "network",
                values: window(json!({ "lowest": lowest, "highest": highest })),
                question,
            });
        }
        for class in [CLASSES[0], "user.contact", "user.financial"] {
            let set = table().covered_by(&DataClass::new(class).unwrap());
            let question = Question { classes: Some(set), ..all.clone() };
            asked.push(Asked {
                file: "class",
                values: window(json!({ "class": class })),
                question,
            });
        }
    }
    // One subject, in the quarter of its pseudonym.
    let people: Vec<_> = records
        .iter()
        .flat_map(|record| record.touches.iter().map(|touch| touch.pseudonym))
        .collect();
    for _ in 0..3 {
        let who = people[usize::try_from(dice.roll(people.len() as u64)).unwrap()];
        let all = Question::all(UnixMicros(0), UnixMicros(last + 1));
        let question = Question { pseudonyms: Some(BTreeSet::from([who])), ..all };
        asked.push(Asked { file: "subject", values: json!({ "pseudonym": hex(&who) }), question });
    }
    asked
}

/// As both engines read it.
fn moment(micros: u64) -> String {
    UnixMicros(micros).to_string().trim_end_matches('Z').replace('T', " ")
}

/// As either engine writes it: without a zone, or with that of UTC, with as many digits as it likes.
fn micros(text: &Value) -> u64 {
    let text = text.as_str().unwrap().trim_end_matches("+00").replace(' ', "T");
    UnixMicros::parse(&format!("{text}Z")).unwrap_or_else(|| panic!("{text}")).0
}

fn number(value: &Value) -> u64 {
    // ClickHouse writes 64-bit integers as text unless told otherwise.
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

fn check(asked: &Asked, rows: &[Value], expected: &Plain) {
    let at = |row: &Value, name: &str| {
        row.get(name).unwrap_or_else(|| panic!("no {name} in {row}")).clone()
    };
    let text = |value: Value| value.as_str().unwrap().to_owned();
    let names =
        |value: Value| value.as_array().unwrap().iter().cloned().map(text).collect::<BTreeSet<_>>();
    let about = format!("{} {}", asked.file, asked.values);
    match asked.file {
        "timeline" => {
            let said: BTreeMap<u64, (u64, u64)> = rows
                .iter()
                .map(|row| {
                    (
                        micros(&at(row, "hour")),
                        (number(&at(row, "records")), number(&at(row, "touches"))),
                    )
                })
                .collect();
            assert_eq!(said, expected.hours, "{about}");
        }
        "subject" => {
            assert_eq!(rows.len() as u64, expected.records, "{about}");
            let seen = expected.seen.values().next();
            let classes: BTreeSet<String> =
                rows.iter().flat_map(|row| names(at(row, "classes"))).collect();
            assert_eq!(
                Some(&classes),
                seen.map(|seen| &seen.0).or(Some(&BTreeSet::new())),
                "{about}"
            );
            let times: Vec<u64> = rows.iter().map(|row| micros(&at(row, "time"))).collect();
            assert_eq!(times.first(), seen.map(|seen| &seen.1), "{about}");
            assert_eq!(times.last(), seen.map(|seen| &seen.2), "{about}");
        }
        _ => {
            let said = rows.iter().map(|row| {
                let seen = (
                    names(at(row, "classes")),
                    micros(&at(row, "first")),
                    micros(&at(row, "last")),
                    number(&at(row, "count")),
                );
                (text(at(row, "pseudonym")), seen)
            });
            let said: BTreeMap<_, _> = said.collect();
            assert_eq!(said.len(), rows.len(), "{about}");
            assert_eq!(said, expected.seen, "{about}");
        }
    }
}

#[test]
fn duckdb_and_clickhouse_say_what_the_fold_says() {
    if !installed("DuckDB and ClickHouse on exported Parquet") {
        return;
    }
    for seed in [1, 20_260_301] {
        let made = Made::random(seed, 200, 250);
        let (records, to) = (made.records(), super::log::directory());
        crate::parquet::export(ORIGIN, &made.segments(), &ClassNames::new(table()), to.path(), ALL)
            .unwrap();
        let quarters: BTreeSet<u32> =
            records.iter().map(|record| record.header.time.quarter()).collect();
        assert!(quarters.len() >= 3, "{quarters:?}");
        let asked = questions(&records, &mut Dice(seed));
        let input: Vec<Value> = asked
            .iter()
            .map(|asked| json!({ "file": asked.file, "values": asked.values }))
            .collect();
        let directory: PathBuf = to.path().to_owned();
        for engine in ["duckdb", "clickhouse"] {
            let said = run(
                "open_data.py",
                &[engine, directory.to_str().unwrap()],
                json!(input).to_string().as_bytes(),
            );
            let answers: Vec<Vec<Value>> = serde_json::from_str(&said).unwrap();
            assert_eq!(answers.len(), asked.len());
            for (asked, rows) in asked.iter().zip(&answers) {
                check(asked, rows, &fold(&records, &asked.question, u64::MAX, None));
            }
        }
    }
}

#[test]
fn ocsf_s_own_schema_takes_every_event() {
    if !installed("OCSF events against the published schemas") {
        return;
    }
    let made = Made::random(77, 400, 30);
    let lines = super::ocsf::lines(&made, super::ocsf::ALWAYS);
    let said: Value = serde_json::from_str(&run("ocsf.py", &[], &lines)).unwrap();
    assert_eq!(said.pointer("/releases"), Some(&json!(["1.4.0", "1.5.0", "1.8.0"])));
    for class in ["6003", "3004", "6002"] {
        let count = said.pointer(&format!("/counts/{class}")).and_then(Value::as_u64);
        assert!(count.is_some_and(|count| count > 10), "{class}: {said}");
    }
}
