//! The draft of a post-mortem, in Markdown: facts from case, scope and record. Causes and promises are people's to write.

use crate::case::Case;
use crate::clocks::{Applies, Deadline, Standing};
use crate::figures::{Figures, hex};
use crate::timeline::Line;
use crate::words;
use model::UnixMicros;
use std::fmt::Write;

/// What stands where only a person knows.
const TO_BE_WRITTEN: &str = "_To be written._";

/// What a draft is made from.
pub struct Sources<'a> {
    /// The case.
    pub case: &'a Case,
    /// Figures of the scope in force.
    pub figures: &'a Figures,
    /// Every clock.
    pub deadlines: &'a [Deadline],
    /// The record's lines, and how many were left out.
    pub timeline: &'a (Vec<Line>, u64),
    /// What integrations are called, by id.
    pub name: &'a dyn Fn(&str) -> String,
    /// The log's public key, as `portcullis verify --key` takes it.
    pub log_key: &'a str,
}

/// Writes the draft.
pub fn draft(sources: &Sources<'_>) -> String {
    let mut text = Text(String::new());
    summary(&mut text, sources);
    data(&mut text, sources.figures);
    timeline(&mut text, sources);
    text.head("4. Root cause");
    text.line(TO_BE_WRITTEN);
    containment(&mut text, sources.case);
    completeness(&mut text, sources);
    text.head("7. What those concerned should do");
    text.line("The letters say it to each of them, by what was read of theirs.");
    text.head("8. What we change");
    text.line("| change | owner | by |\n|---|---|---|\n| _to be written_ | | |");
    clocks(&mut text, sources.deadlines);
    text.head("10. For the auditor");
    let (name, _, _) = &sources.figures.scope;
    text.line(&format!(
        "```\nportcullis evidence --scope {name} -o {name}.pcl\nportcullis verify {name}.pcl --key '{}'\n```",
        sources.log_key
    ));
    text.0
}

fn summary(text: &mut Text, Sources { case, figures, name, .. }: &Sources<'_>) {
    let _infallible = writeln!(text.0, "# Post-mortem: {}\n", plain(&case.title));
    let (scope, version, hash) = &figures.scope;
    text.line(&format!(
        "Draft. Every figure is of scope `{scope}` version {version}, SHA-256 `{}`; times are UTC.",
        hex(hash)
    ));
    text.head("1. Summary");
    let who: Vec<_> =
        figures.integrations.keys().map(|id| format!("`{}`", plain(&name(id)))).collect();
    let span = figures
        .span
        .map_or_else(|| "never".to_owned(), |(first, last)| format!("between {first} and {last}"));
    text.line(&format!(
        "{} read **{} subjects** in {} records, {span}. The number is exact{}.",
        if who.is_empty() { "Nobody".to_owned() } else { who.join(", ") },
        figures.subjects,
        figures.records,
        if figures.erased == 0 {
            String::new()
        } else {
            format!(", save that {} of them are pseudonyms of people who were erased, of whom one person may be several", figures.erased)
        }
    ));
    text.line(&format!(
        "Began {}; the company was aware {}; contained {}.",
        case.began.map_or("at a time not known".to_owned(), |at| at.to_string()),
        case.aware,
        case.contained.as_ref().map_or("not yet".to_owned(), |(at, _)| at.to_string()),
    ));
}

fn data(text: &mut Text, figures: &Figures) {
    text.head("2. Which data");
    text.line("| data | class | subjects | records |\n|---|---|---:|---:|");
    text.0.pop();
    for (class, (subjects, records)) in &figures.classes {
        text.row(&[
            words::plain_of_others(class),
            format!("`{}`", plain(class)),
            subjects.to_string(),
            records.to_string(),
        ]);
    }
    text.line("\n| country | subjects |\n|---|---:|");
    text.0.pop();
    for (country, subjects) in &figures.countries {
        text.row(&[plain(country), subjects.to_string()]);
    }
}

fn timeline(text: &mut Text, Sources { case, timeline: (lines, left_out), .. }: &Sources<'_>) {
    text.head("3. Timeline");
    text.line("`#` is the record's index in the log; what has none stands in the case.\n\n| time | # | what |\n|---|---:|---|");
    text.0.pop();
    let of_case = case.events.iter().map(|event| Line {
        at: event.at,
        index: None,
        says: event.what.sentence(),
    });
    let mut all: Vec<Line> = lines.iter().cloned().chain(of_case).collect();
    all.sort();
    for Line { at, index, says } in all {
        let index = index.map_or(String::new(), |index| index.to_string());
        text.row(&[at.to_string(), index, plain(&says)]);
    }
    if *left_out > 0 {
        text.line(&format!("\n{left_out} lines more are in the record."));
    }
}

fn containment(text: &mut Text, case: &Case) {
    text.head("5. Containment");
    match &case.contained {
        Some((at, how)) => text.line(&format!("{at}: {}.", plain(how))),
        None => text.line("Not contained."),
    }
}

fn completeness(text: &mut Text, Sources { figures, .. }: &Sources<'_>) {
    text.head("6. How we know that this is all");
    let (name, ..) = &figures.scope;
    text.line(&format!(
        "Each access was recorded before its first byte left, in a signed Merkle log. The evidence bundle of scope `{name}` proves to anybody with the log's public key that the records it shows are in the log and that none of the window is missing. It does not prove what the vendor did with the data afterwards, nor what was taken from the vendor's own store."
    ));
    let known = match figures.erased {
        0 => "Known gaps: none in this scope.".to_owned(),
        erased => format!("Known gaps: {erased} pseudonyms stand for people who were erased."),
    };
    text.line(&known);
}

fn clocks(text: &mut Text, deadlines: &[Deadline]) {
    text.head("9. Notifications");
    text.line("| law | to | applies | due | state |\n|---|---|---|---|---|");
    text.0.pop();
    for deadline in deadlines {
        let applies = match deadline.applies {
            Applies::Yes => "yes",
            Applies::No => continue,
            Applies::AskCounsel => "ask counsel",
        };
        let state = match &deadline.state {
            Standing::NotDue => "not due".to_owned(),
            Standing::Waiting => "its trigger has not come".to_owned(),
            Standing::Running(_) => "open".to_owned(),
            Standing::Overdue => "**overdue**".to_owned(),
            Standing::Met { at, late: false } => format!("done {at}"),
            Standing::Met { at, late: true } => format!("done {at}, **late**"),
            Standing::DecidedAgainst { by, reason } => {
                format!("decided against by {}: {reason}", by.join(", "))
            }
        };
        let due = deadline
            .due
            .map_or("without undue delay".to_owned(), |due: UnixMicros| due.to_string());
        text.row(&[
            plain(&deadline.law),
            plain(&deadline.to),
            applies.to_owned(),
            due,
            plain(&state),
        ]);
    }
}

/// Markdown in the making. Writing to a string does not fail.
struct Text(String);

impl Text {
    fn head(&mut self, title: &str) {
        let _infallible = writeln!(self.0, "\n## {title}\n");
    }

    fn line(&mut self, line: &str) {
        let _infallible = writeln!(self.0, "{line}\n");
    }

    fn row(&mut self, cells: &[String]) {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _infallible = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

/// Text that somebody typed, so that it is text in Markdown too.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' | '!' => {
                plain.push('\\');
                plain.push(c);
            }
            '\n' | '\r' => plain.push(' '),
            _ => plain.push(c),
        }
    }
    plain
}
