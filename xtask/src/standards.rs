//! The tables of `docs/standards/`: each demand of a standard is met at a place with a test, or says why not.
//!
//! A place is a citation in the code (`//= RFC 9126 section 4: ...`), not a line number, so that a table survives edits. What is checked is
//! that nothing dangles in either direction; whether code and test do what the row says is for a reader.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Crates whose citations of a listed standard have to stand in a table.
const LISTED: &[&str] =
    &["crates/credential/", "crates/authority/", "crates/control/", "crates/gateway/"];

/// Rust sources by path.
pub(crate) type Sources = BTreeMap<String, String>;

/// One row of a table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// Where the row stands: file and line.
    at: String,
    /// The demand's standard and section, as citations spell it; an attack's row has none.
    demand: String,
    /// Files, each with the beginning of a citation in it.
    places: Vec<(String, String)>,
    tests: Vec<String>,
    /// Whether it is said plainly that the demand is not met.
    not_met: bool,
    /// Whether a reason stands in the place of a place.
    reason: bool,
    is_attack: bool,
}

/// What the tables come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Each row that is met: where it stands, the demand, the places with their lines, the tests.
    pub(crate) met: Vec<String>,
    /// Rows that are not met.
    pub(crate) not_met: Vec<String>,
    /// Rows that do not apply.
    pub(crate) not_applicable: usize,
}

impl Tally {
    /// For a person.
    pub(crate) fn summary(&self) -> String {
        let (met, not_met) = (self.met.len(), self.not_met.len());
        let not_applicable = self.not_applicable;
        format!(
            "standards: {met} met with a test, {not_met} not met, {not_applicable} not applicable"
        )
    }
}

/// Reads the pages and checks their tables against `sources`, which hold every Rust file of the tree.
///
/// # Errors
/// If the pages cannot be read.
pub(crate) fn check(root: &Path, sources: &Sources, wrong: &mut Vec<String>) -> Result<Tally> {
    let folder = root.join("docs/standards");
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).context("docs/standards")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            pages.insert(name, std::fs::read_to_string(&path)?);
        }
    }
    Ok(compare(&pages, sources, wrong))
}

fn compare(pages: &BTreeMap<String, String>, sources: &Sources, wrong: &mut Vec<String>) -> Tally {
    let tests: BTreeSet<&str> = sources.values().flat_map(|text| test_names(text)).collect();
    let mut standards = BTreeSet::new();
    let mut rows = Vec::new();
    for (name, text) in pages {
        read(name, text, &mut standards, &mut rows, wrong);
    }
    let mut tally = Tally::default();
    let mut cited = BTreeSet::new();
    for row in &rows {
        let mut found = Vec::new();
        for (file, anchor) in &row.places {
            let lines: Vec<usize> = citations(sources.get(file).map_or("", String::as_str))
                .filter(|(_, citation)| begins(citation, anchor))
                .map(|(line, _)| line)
                .collect();
            match lines.first() {
                Some(line) => found.push(format!("{file}:{line}")),
                None => wrong.push(format!("{}: {file} holds no `//= {anchor}`", row.at)),
            }
            cited.extend(lines.into_iter().map(|line| (file.as_str(), line)));
        }
        for test in row.tests.iter().filter(|test| !tests.contains(test.as_str())) {
            wrong.push(format!("{}: there is no test `{test}`", row.at));
        }
        let met = !row.tests.is_empty() && (row.is_attack || !row.places.is_empty());
        if row.not_met {
            tally.not_met.push(format!("{}: {}", row.at, row.demand));
        } else if row.reason {
            tally.not_applicable += 1;
        } else if met {
            let (places, by) = (found.join(", "), row.tests.join(", "));
            tally.met.push(format!("{}: {} at {places} by {by}", row.at, row.demand));
        } else {
            wrong.push(format!(
                "{}: neither met with a test, nor `n/a: why`, nor `not met: what is needed`",
                row.at
            ));
        }
    }
    for (file, text) in
        sources.iter().filter(|(file, _)| LISTED.iter().any(|crates| file.starts_with(crates)))
    {
        for (line, citation) in citations(text) {
            let listed = standards.iter().any(|standard| begins(citation, standard));
            if listed && !cited.contains(&(file.as_str(), line)) {
                wrong.push(format!(
                    "{file}:{line}: `{citation}` stands in no table of docs/standards"
                ));
            }
        }
    }
    tally
}

/// Adds the rows of a page. Its tables are those headed `| section | demand | where | test |`, each below a heading that is the
/// standard's name, and `| attack | what stops it | test |`; others are prose.
fn read(
    name: &str,
    text: &str,
    standards: &mut BTreeSet<String>,
    rows: &mut Vec<Row>,
    wrong: &mut Vec<String>,
) {
    let (mut standard, mut columns) = ("", 0);
    for (number, line) in text.lines().enumerate() {
        let at = format!("docs/standards/{name}:{}", number + 1);
        if let Some(heading) = line.strip_prefix("## ") {
            standard = heading.trim();
        }
        let Some(inside) = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|')) else {
            columns = if line.starts_with("|-") { columns } else { 0 };
            continue;
        };
        let cells: Vec<&str> = inside.split('|').map(str::trim).collect();
        match (cells.as_slice(), columns) {
            (["section", "demand", "where", "test"], _) => {
                columns = 4;
                standards.insert(standard.to_owned());
            }
            (["attack", "what stops it", "test"], _) => columns = 3,
            (_, 0) => {}
            (&[section, _, place, tests], 4) => {
                let demand = format!("{standard} section {section}");
                let places = places(place, &demand);
                rows.push(Row { at, demand, places, ..said(place, tests) });
            }
            (&[attack, stops, tests], 3) => {
                rows.push(Row {
                    at,
                    demand: attack.to_owned(),
                    is_attack: true,
                    ..said(stops, tests)
                });
            }
            (cells, columns) => {
                wrong.push(format!("{at}: {} cells in a table of {columns}", cells.len()));
            }
        }
    }
}

/// What a row says beside what it demands. A reason is more than its keyword.
fn said(place: &str, tests: &str) -> Row {
    let says = |keyword| place.strip_prefix(keyword).is_some_and(|why| why.trim().len() > 3);
    let tests = quoted(tests).map(str::to_owned).collect();
    Row { tests, not_met: says("not met:"), reason: says("n/a:"), ..Row::default() }
}

/// Files below `crates/`, each followed by the citation that is meant: none for the row's own section, `: words` to tell two of that
/// section apart, or another standard's in full.
fn places(cell: &str, demand: &str) -> Vec<(String, String)> {
    let mut places: Vec<(String, String)> = Vec::new();
    if cell.starts_with("n/a:") || cell.starts_with("not met:") {
        return places;
    }
    for word in quoted(cell) {
        if word.ends_with(".rs") {
            places.push((format!("crates/{word}"), demand.to_owned()));
        } else if let Some((_, anchor)) = places.last_mut() {
            *anchor =
                if word.starts_with(':') { format!("{demand}{word}") } else { word.to_owned() };
        }
    }
    places
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The citations of a source with their lines, counted from one.
fn citations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter_map(|(number, line)| Some((number + 1, line.trim_start().strip_prefix("//= ")?)))
}

/// Whether `citation` begins with `anchor` and not in the middle of a number or word.
fn begins(citation: &str, anchor: &str) -> bool {
    citation.strip_prefix(anchor).is_some_and(|rest| {
        rest.is_empty() || anchor.contains(": ") || rest.starts_with([':', ',', ' '])
    })
}

/// Names of the functions that stand below a `#[test]`.
fn test_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some((_, function)) = line.split_once("fn ").filter(|_| is_test) {
            names.push(function.split(['(', '<']).next().unwrap_or(""));
            is_test = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//= RFC 1 section 4.1: twice\n//= RFC 1 section 4.12: never\n#[test]\n#[ignore]\nfn works() {}\nfn helps() {}\n";

    fn complaints(table: &str) -> (Vec<String>, Tally) {
        let page =
            format!("## RFC 1\n\n| section | demand | where | test |\n|---|---|---|---|\n{table}");
        let pages = BTreeMap::from([("a.md".to_owned(), page)]);
        let sources = Sources::from([("crates/gateway/src/a.rs".to_owned(), SOURCE.to_owned())]);
        let mut wrong = Vec::new();
        let tally = compare(&pages, &sources, &mut wrong);
        (wrong, tally)
    }

    /// The other citation is listed, so that only the row in question can be wrong.
    fn check(row: &str, expected: &[&str]) {
        let (wrong, _) =
            complaints(&format!("| 4.12 | b | `gateway/src/a.rs` | `works` |\n{row}\n"));
        assert_eq!(wrong, expected, "{row}");
    }

    #[test]
    fn a_row_that_dangles_is_named() {
        let at = "docs/standards/a.md:6";
        let unlisted = "crates/gateway/src/a.rs:1: `RFC 1 section 4.1: twice` stands in no table of docs/standards";
        check("| 4.1 | a | `gateway/src/a.rs` | `works` |", &[]);
        check("| 4.1 | a | `gateway/src/a.rs` `: twi` | `works` |", &[]);
        check("| 9 | a | `gateway/src/a.rs` `RFC 1 section 4.1` | `works` |", &[]);
        check(
            "| 4.1 | a | `gateway/src/a.rs` `: once` | `works` |",
            &[
                &format!("{at}: crates/gateway/src/a.rs holds no `//= RFC 1 section 4.1: once`"),
                unlisted,
            ],
        );
        check(
            "| 4 | a | `gateway/src/b.rs` | `works` |",
            &[&format!("{at}: crates/gateway/src/b.rs holds no `//= RFC 1 section 4`"), unlisted],
        );
        check(
            "| 4.1 | a | `gateway/src/a.rs` | `helps` |",
            &[&format!("{at}: there is no test `helps`")],
        );
        let neither =
            format!("{at}: neither met with a test, nor `n/a: why`, nor `not met: what is needed`");
        check("| 4.1 | a | `gateway/src/a.rs` | |", &[&neither]);
        check("| 4.1 | a | n/a: | |", &[&neither, unlisted]);
        check("| 4.1 | a | by hand | `works` |", &[&neither, unlisted]);
        check("| 4.1 | a |", &[&format!("{at}: 2 cells in a table of 4"), unlisted]);
    }

    #[test]
    fn what_is_not_met_is_counted() {
        let (wrong, tally) = complaints(
            "| 4.1 | a | `gateway/src/a.rs` | `works` |\n| 4.12 | a | `gateway/src/a.rs` | `works` |\n\
             | 5 | a | not met: work | |\n| 6 | a | n/a: no such thing | |\n",
        );
        assert_eq!(
            (wrong.len(), tally.met.len(), tally.not_met.len(), tally.not_applicable),
            (0, 2, 1, 1)
        );
        let first =
            "docs/standards/a.md:5: RFC 1 section 4.1 at crates/gateway/src/a.rs:1 by works";
        assert_eq!(tally.met.first().map(String::as_str), Some(first));
    }
}
