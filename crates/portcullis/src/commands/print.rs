//! What commands print: data on standard output, as tables for people, as JSON or CSV for scripts.

use anyhow::{Error, Result};
use comfy_table::Table;
use model::UnixMicros;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// One subject as the rows show it: id, classes, first, last, count.
fn subject_row(row: &Value) -> [String; 5] {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let classes = row.get("classes").and_then(Value::as_array).into_iter().flatten();
    let classes: Vec<_> = classes.filter_map(Value::as_str).collect();
    let count = row.get("count").and_then(Value::as_u64).unwrap_or(0);
    [text("id"), classes.join(" "), text("first"), text("last"), count.to_string()]
}

/// Whoever read the output has left: `| head` has what it wanted.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl std::fmt::Display for NobodyReads {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("nobody reads the output")
    }
}

impl std::error::Error for NobodyReads {}

/// Rows that a table shows; JSON, CSV and Parquet have all.
const ROWS_SHOWN: usize = 100;

pub(super) fn exposure_table(answer: &Value) -> Result<()> {
    let mut table = Table::new();
    table.set_header(["subject", "classes", "first", "last", "times"]);
    let subjects = answer.get("subjects").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for row in subjects.iter().take(ROWS_SHOWN) {
        table.add_row(subject_row(row));
    }
    line(&table.to_string())?;
    if let Some(more @ 1..) = subjects.len().checked_sub(ROWS_SHOWN) {
        line(&format!("and {more} more: --json, --format csv and --format parquet have all"))?;
    }
    let total = |name: &str| {
        answer.pointer(&format!("/totals/{name}")).and_then(Value::as_u64).unwrap_or(0)
    };
    line(&format!(
        "{} subjects in {} records, {} of them erased",
        total("subjects"),
        total("records"),
        total("erased")
    ))?;
    let hours = answer.pointer("/totals/hours").and_then(Value::as_array);
    let hours: Vec<(UnixMicros, u64)> =
        hours.into_iter().flatten().filter_map(|hour| count_of_hour(hour, "touches")).collect();
    sparkline(&hours, "touches")
}

/// Different subjects by hour and class.
///
/// # Errors
/// If nobody can read it.
pub(super) fn timeline(answer: &Value) -> Result<()> {
    let hours = answer.get("hours").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut table = Table::new();
    table.set_header(["hour", "subjects", "by class"]);
    for hour in hours {
        let classes = hour.get("classes").and_then(Value::as_object).into_iter().flatten();
        let classes: Vec<String> = classes.map(|(class, n)| format!("{class} {n}")).collect();
        let (time, subjects) = count_of_hour(hour, "subjects").unwrap_or((UnixMicros(0), 0));
        table.add_row([time.to_string(), subjects.to_string(), classes.join("\n")]);
    }
    line(&table.to_string())?;
    let counts: Vec<_> = hours.iter().filter_map(|hour| count_of_hour(hour, "subjects")).collect();
    sparkline(&counts, "subjects")
}

/// Every release that one subject's data went out with.
///
/// # Errors
/// If nobody can read it.
pub(super) fn history(answer: &Value) -> Result<()> {
    let releases = answer.get("releases").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut table = Table::new();
    table.set_header(["time", "integration", "operation", "from", "classes", "record"]);
    for release in releases {
        let text = |name: &str| release.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let classes = release.get("classes").and_then(Value::as_array).into_iter().flatten();
        let classes: Vec<_> = classes.filter_map(Value::as_str).collect();
        let record = release.get("record").and_then(Value::as_u64).unwrap_or(0);
        table.add_row([
            text("time"),
            text("integration"),
            text("operation"),
            text("network"),
            classes.join(" "),
            record.to_string(),
        ]);
    }
    line(&table.to_string())?;
    line(&format!("{} releases", releases.len()))
}

/// What other nodes' logs say, which is in no sum of the answer.
///
/// # Errors
/// If nobody can read it.
pub(super) fn other_nodes(answer: &Value) -> Result<()> {
    for node in answer.get("other_nodes").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or("?");
        let number = |name: &str| node.get(name).and_then(Value::as_u64);
        let note = text("note");
        match (number("pseudonyms"), number("records")) {
            (Some(pseudonyms), Some(records)) => line(&format!(
                "{}, here up to {}: {pseudonyms} pseudonyms in {records} records, {note}",
                text("log"),
                text("until")
            ))?,
            _ => line(&format!("{}: {note}", text("log")))?,
        }
    }
    Ok(())
}

/// Any other answer: its lists as tables, its numbers as lines.
///
/// # Errors
/// If nobody can read it.
pub(super) fn sections(answer: &Value) -> Result<()> {
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                line(&format!("{name}:"))?;
                list(&serde_json::json!({ "rows": rows }))?;
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
                let items = if items.is_empty() { "none".to_owned() } else { items.join(" ") };
                line(&format!("{name}: {items}"))?;
            }
            Value::Number(number) => line(&format!("{name}: {number}"))?,
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => {}
        }
    }
    Ok(())
}

fn count_of_hour(hour: &Value, name: &str) -> Option<(UnixMicros, u64)> {
    let time = UnixMicros::parse(hour.get("hour")?.as_str()?)?;
    Some((time, hour.get(name)?.as_u64()?))
}

/// A picture of a count over time, in at most 60 columns between the first hour and the last.
fn sparkline(hours: &[(UnixMicros, u64)], what: &str) -> Result<()> {
    const COLUMNS: u64 = 60;
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some((first, _)), Some((last, _))) = (hours.first(), hours.last()) else { return Ok(()) };
    let number = |time: &UnixMicros| time.0 / 3_600_000_000;
    let span = number(last) - number(first) + 1;
    let per_column = span.div_ceil(COLUMNS);
    let columns = usize::try_from(span.div_ceil(per_column)).unwrap_or(0);
    let mut sums = vec![0_u64; columns];
    for (hour, count) in hours {
        let column = usize::try_from((number(hour) - number(first)) / per_column).unwrap_or(0);
        if let Some(sum) = sums.get_mut(column) {
            *sum = sum.saturating_add(*count);
        }
    }
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    // Nothing is a blank and something at least the lowest bar.
    let bar = |sum: &u64| {
        let height = u128::from(*sum) * 8;
        let height = usize::try_from(height.div_ceil(u128::from(most))).unwrap_or(8);
        BARS.get(height).copied().unwrap_or('█')
    };
    let bars: String = sums.iter().map(bar).collect();
    line(&format!("{first} {bars} {last}"))?;
    line(&format!("{what} by {per_column} h, at most {most}"))
}

pub(super) fn exposure_csv(answer: &Value) -> Result<()> {
    // A field is quoted, and its quotes doubled (RFC 4180 section 2), because a subject's id may hold a comma.
    let joined = |fields: &[String]| {
        fields
            .iter()
            .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
            .collect::<Vec<_>>()
            .join(",")
    };
    line("subject,classes,first,last,count")?;
    for row in answer.get("subjects").and_then(Value::as_array).into_iter().flatten() {
        line(&joined(&subject_row(row)))?;
    }
    Ok(())
}

/// Signals, newest first: each with the numbers that made it, and what came of it.
///
/// # Errors
/// If nobody can read it.
pub(super) fn signals(rows: &[Value]) -> Result<()> {
    if rows.is_empty() {
        return line("none");
    }
    let mut table = Table::new();
    table.set_header(["", "at", "rule", "what", "contained", "looked at"]);
    for row in rows {
        let text = |name: &str| row.get(name).map_or_else(String::new, cell);
        let evidence = row.get("evidence").and_then(Value::as_object).into_iter().flatten();
        let evidence: Vec<_> =
            evidence.map(|(name, value)| format!("{name} {}", cell(value))).collect();
        let times = row.get("count").and_then(Value::as_u64).filter(|count| *count > 1);
        let times = times.map_or_else(String::new, |count| format!(" ({count} times)"));
        let what = format!("{}{times}\n{}", text("sentence"), evidence.join(", "));
        let list = |name: &str| {
            let items = row.get(name).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        };
        let contained = if row.get("shadow").and_then(Value::as_bool) == Some(true) {
            format!("in shadow, would have:\n{}", list("containment"))
        } else {
            list("contained")
        };
        let looked = if row.get("pages").and_then(Value::as_bool) == Some(true) {
            row.get("acknowledged_by").and_then(Value::as_str).unwrap_or("nobody")
        } else {
            ""
        };
        table.add_row([
            text("number"),
            text("at"),
            text("rule"),
            what.trim_end().to_owned(),
            contained,
            looked.to_owned(),
        ]);
    }
    line(&table.to_string())
}

/// What is cut off or restricted.
///
/// # Errors
/// If nobody can read it.
pub(super) fn posture(posture: &Value) -> Result<()> {
    let mut table = Table::new();
    table.set_header(["", "target", "since", "reason", "by"]);
    for kind in ["severed", "restricted"] {
        for row in posture.get(kind).and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            table.add_row([
                kind.to_owned(),
                text("target"),
                text("since"),
                text("reason"),
                text("by"),
            ]);
        }
    }
    line(&table.to_string())
}

/// Rows of any list: the members of its first row are the columns.
///
/// # Errors
/// If nobody can read it.
pub(super) fn list(list: &Value) -> Result<()> {
    let rows = list.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let Some(first) = rows.first().and_then(Value::as_object) else { return line("none") };
    let flat = |value: &Value| {
        !value.is_object()
            && !value.as_array().is_some_and(|list| list.iter().any(Value::is_object))
    };
    let columns: Vec<&String> =
        first.iter().filter(|(_, value)| flat(value)).map(|(name, _)| name).collect();
    let mut table = Table::new();
    table.set_header(&columns);
    for row in rows {
        table.add_row(columns.iter().map(|name| row.get(*name).map_or_else(String::new, cell)));
    }
    line(&table.to_string())
}

/// A value as one cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// One integration and its vetting.
///
/// # Errors
/// If nobody can read it.
pub(super) fn integration(row: &Value) -> Result<()> {
    for (name, value) in row.as_object().into_iter().flatten() {
        if !value.is_object() {
            line(&format!("{name:<12} {}", cell(value)))?;
        }
    }
    match row.get("vetting").filter(|vetting| vetting.is_object()) {
        Some(vetting) => checks(vetting),
        None => line("no evidence was submitted"),
    }
}

/// What the checks say.
///
/// # Errors
/// If nobody can read it.
pub(super) fn checks(report: &Value) -> Result<()> {
    let mut table = Table::new();
    table.set_header(["check", "", "what it says"]);
    for row in report.get("findings").and_then(Value::as_array).into_iter().flatten() {
        table.add_row(
            ["check", "verdict", "says"].map(|name| row.get(name).map_or_else(String::new, cell)),
        );
    }
    line(&table.to_string())?;
    let passed = report.get("passed").and_then(Value::as_bool).unwrap_or(false);
    let tier = report.get("tier").map_or_else(String::new, cell);
    line(&format!(
        "tier {tier}; {}",
        if passed {
            "every check passed: two reviewers are next"
        } else {
            "not every check passed: submit evidence again"
        }
    ))
}

/// A case: where it stands, its scope, its clocks, its letters, what happened.
///
/// # Errors
/// If nobody can read it.
pub(super) fn case(case: &Value) -> Result<()> {
    let text = |pointer: &str| case.pointer(pointer).map_or_else(String::new, cell);
    line(&format!("{}  {}  ({})", text("/name"), text("/title"), text("/state")))?;
    if case.get("scope").is_some_and(Value::is_object) {
        line(&format!(
            "scope {}: {} subjects in {} records, sha256 {}",
            text("/scope/version"),
            text("/scope/subjects"),
            text("/scope/records"),
            text("/scope/sha256")
        ))?;
    }
    for (title, list) in [("data", "/figures/classes"), ("countries", "/figures/countries")] {
        let rows = case.pointer(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let what = row.get("class").or(row.get("country")).map_or_else(String::new, cell);
                format!("{what} {}", row.get("subjects").map_or_else(String::new, cell))
            })
            .collect();
        if !shown.is_empty() {
            line(&format!("{title}: {}", shown.join(", ")))?;
        }
    }
    let mut table = Table::new();
    table.set_header(["regime", "applies", "due", "state", "because"]);
    for row in case.get("clocks").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| row.get(name).map_or_else(String::new, cell);
        let left = row.get("left_s").and_then(Value::as_u64);
        let left = left.map_or(String::new(), |left| {
            format!(", {} h {} min left", left / 3_600, left % 3_600 / 60)
        });
        table.add_row([
            text("regime"),
            text("applies"),
            text("due"),
            format!("{}{left}", text("state")),
            text("because"),
        ]);
    }
    line(&table.to_string())?;
    let counts: Vec<_> = ["accepted", "queued", "deferred", "refused", "given_up", "in_doubt"]
        .iter()
        .map(|name| format!("{} {name}", text(&format!("/letters/{name}"))))
        .collect();
    line(&format!("letters: {}", counts.join(", ")))?;
    if case.get("letters_of_older_scopes").and_then(Value::as_u64).is_some_and(|older| older > 0) {
        line(&format!(
            "  of the accepted ones, {} tell of an older scope: those people got no other letter",
            text("/letters_of_older_scopes")
        ))?;
    }
    for event in case.get("events").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| event.get(name).map_or_else(String::new, cell);
        line(&format!("{}  {}", text("at"), text("says")))?;
    }
    Ok(())
}

/// Letters as they would be sent.
///
/// # Errors
/// If nobody can read it.
pub(super) fn letters(drafts: &Value) -> Result<()> {
    for letter in drafts.get("letters").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| letter.get(name).map_or_else(String::new, cell);
        line(&format!(
            "To: {}\nSubject: {}\n\n{}\n{}",
            text("to"),
            text("title"),
            text("body"),
            "-".repeat(72)
        ))?;
    }
    let count = |name: &str| drafts.get(name).map_or_else(String::new, cell);
    line(&format!(
        "{} people would be written to; {} have no address. Nothing was sent.",
        count("with_address"),
        count("without_address")
    ))
}

/// One line on standard output.
///
/// # Errors
/// If nobody can read it.
pub(crate) fn line(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            NobodyReads.into()
        } else {
            Error::from(error).context("standard output")
        }
    })
}
