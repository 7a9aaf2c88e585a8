//! `portcullis exposure` and `portcullis subject show`: who was read, and everything that went out about one person.

use super::{Session, print};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use model::UnixMicros;
use opendata::parquet::{AnswerRow, write_answer_parquet};
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use storage::registry::Command;

/// What is asked of the record. Filters hold together; one that is left out is no filter.
#[derive(Args)]
pub(crate) struct Question {
    /// Slug or id of an integration
    #[arg(long)]
    integration: Option<String>,
    /// Slug or id of a vendor: all its integrations
    #[arg(long)]
    vendor: Option<String>,
    /// From this moment, such as 2026-03-01T12:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Up to, but not at, this moment; now, if left out
    #[arg(long)]
    to: Option<String>,
    /// A data class, its children included
    #[arg(long)]
    class: Option<String>,
    /// An address or network
    #[arg(long, alias = "network")]
    ip: Option<String>,
}

impl Question {
    pub(super) fn to_json(&self) -> Value {
        let named = [
            ("integration", &self.integration),
            ("vendor", &self.vendor),
            ("from", &self.from),
            ("to", &self.to),
            ("class", &self.class),
            ("network", &self.ip),
        ];
        let given = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
        Value::Object(given.collect())
    }
}

const EXAMPLES: &str = "\
Windows are half-open and exact to the microsecond. The answer holds everything that was durable when it was asked,
the release of a moment ago included, and asking is itself recorded.

Examples:
  Who was read by one integration in three hours, which classes, when and how often
    portcullis exposure --integration acme-desk --from 2026-03-01T02:00:00Z --to 2026-03-01T05:00:00Z --key op.key
  The same from two addresses, as JSON for a script; frozen under a name for letters and filings
    portcullis exposure --ip 203.0.113.0/24 --from 2026-03-01T02:00:00Z --json --scope march --key op.key
  Hour by hour, how many people and which classes
    portcullis exposure --vendor acme --show hours --from 2026-03-01T00:00:00Z --key op.key
  Whether a class ever left at all
    portcullis exposure --show classes --key op.key
  What a vendor still has, by the retention it declared
    portcullis exposure --vendor acme --show held --key op.key
  What changed between two frozen answers
    portcullis exposure --difference march.1 march.2 --key op.key

Exit status: 0 answered; 1 refused, or the record has a gap in the window (see --despite-gaps); 2 usage.";

#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Exposure {
    #[command(flatten)]
    session: Session,
    #[command(flatten)]
    question: Question,
    /// With this key only
    #[arg(long)]
    credential: Option<String>,
    /// Under this grant only
    #[arg(long)]
    grant: Option<String>,
    /// Of this operation only
    #[arg(long)]
    operation: Option<String>,
    /// This subject only
    #[arg(long)]
    subject: Option<String>,
    /// Freeze the answer under this name
    #[arg(long)]
    scope: Option<String>,
    /// What to show of it
    #[arg(long, value_enum, default_value_t = Show::Who, conflicts_with = "scope")]
    show: Show,
    /// Hold two frozen scopes against each other: NAME, or NAME.VERSION
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["show", "scope"])]
    difference: Option<Vec<String>>,
    /// Answer although the record of the window has a gap
    #[arg(long)]
    despite_gaps: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// As --format json
    #[arg(long)]
    json: bool,
    /// Where --format parquet goes
    #[arg(short, long, required_if_eq("format", "parquet"))]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Show {
    /// Subjects, with classes, first and last time, and how often
    Who,
    /// Different subjects by hour and class
    Hours,
    /// Different subjects by country, from the directory of addresses
    Countries,
    /// Which classes left, and which never did
    Classes,
    /// What vendors still have, by the retention they declared
    Held,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Parquet,
}

impl Exposure {
    /// Asks and prints.
    ///
    /// # Errors
    /// The node's refusal; a gap in the window's record.
    pub(super) async fn run(self) -> Result<()> {
        let format = if self.json { Format::Json } else { self.format };
        if self.show != Show::Who && matches!(format, Format::Csv | Format::Parquet) {
            bail!("only `--show who` is written as CSV or Parquet; take `--json`");
        }
        let answer = ask(&self.session, self.written()).await?;
        check_gaps(&answer, self.despite_gaps)?;
        let kind = answer.get("schema").and_then(Value::as_str).unwrap_or("");
        match format {
            Format::Json => print::line(&answer.to_string()),
            Format::Csv => print::exposure_csv(&answer),
            Format::Parquet => {
                let path = self.output.context("say where the Parquet file goes: `-o FILE`")?;
                write_answer_parquet(&path, &rows(&answer)?)
                    .with_context(|| format!("cannot write `{}`", path.display()))
            }
            Format::Table => match kind {
                "portcullis.exposure/1" => {
                    print::exposure_table(&answer).and_then(|()| print::other_nodes(&answer))
                }
                "portcullis.timeline/1" => {
                    print::timeline(&answer).and_then(|()| print::other_nodes(&answer))
                }
                _ => print::sections(&answer),
            },
        }
    }

    fn written(&self) -> Value {
        let mut question = self.question.to_json();
        let show = match self.show {
            Show::Who => None,
            Show::Hours => Some("timeline"),
            Show::Countries => Some("countries"),
            Show::Classes => Some("classes"),
            Show::Held => Some("held"),
        };
        let more = [
            ("credential", self.credential.clone().map(Value::from)),
            ("grant", self.grant.clone().map(Value::from)),
            ("operation", self.operation.clone().map(Value::from)),
            ("subject", self.subject.clone().map(Value::from)),
            ("scope", self.scope.clone().map(Value::from)),
            ("answer", show.map(Value::from)),
            ("difference", self.difference.clone().map(Value::from)),
        ];
        if let Some(members) = question.as_object_mut() {
            let given =
                more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            members.extend(given);
        }
        question
    }
}

/// Everything that went out about one person.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  portcullis subject show acct-4711 --from 2026-01-01T00:00:00Z --key op.key")]
pub(crate) struct SubjectShow {
    /// The origin's id of the person
    subject: String,
    /// From this moment, such as 2026-03-01T12:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Up to, but not at, this moment; now, if left out
    #[arg(long)]
    to: Option<String>,
    /// Answer although the record of the window has a gap
    #[arg(long)]
    despite_gaps: bool,
    #[command(flatten)]
    session: Session,
    #[arg(long)]
    json: bool,
}

impl SubjectShow {
    /// Asks and prints.
    ///
    /// # Errors
    /// As [`Exposure::run`].
    pub(super) async fn run(self) -> Result<()> {
        let mut question = json!({ "subject": self.subject, "answer": "history" });
        if let Some(members) = question.as_object_mut() {
            let window = [("from", self.from), ("to", self.to)];
            members.extend(
                window.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))),
            );
        }
        let answer = ask(&self.session, question).await?;
        check_gaps(&answer, self.despite_gaps)?;
        if self.json {
            return print::line(&answer.to_string());
        }
        print::history(&answer).and_then(|()| print::other_nodes(&answer))
    }
}

async fn ask(session: &Session, question: Value) -> Result<Value> {
    let command = Command::ExposureQuery { question: question.to_string() };
    patiently("reading the record", session.send(command)).await
}

/// Shows on a terminal that something is still under way when it takes more than two seconds.
async fn patiently<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    let bar = ProgressBar::new_spinner().with_message(what);
    let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
    bar.enable_steady_tick(Duration::from_millis(200));
    let done = work.await;
    bar.finish_and_clear();
    done
}

/// An answer about a window in which the record lacks something is no answer, unless that is said to be known.
fn check_gaps(answer: &Value, despite: bool) -> Result<()> {
    let gaps = answer.get("gaps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text =
        |gap: &Value, name: &str| gap.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let lines: Vec<String> = gaps
        .iter()
        .map(|gap| {
            let moment = |name: &str| gap.get(name).and_then(Value::as_str);
            let when = match (moment("since"), moment("time")) {
                (Some(since), Some(time)) if since == time => format!(" at {time}"),
                (Some(since), Some(time)) => format!(" from {since} to {time}"),
                (Some(since), None) => format!(" from {since} on"),
                (None, Some(time)) => format!(" up to {time}"),
                (None, None) => String::new(),
            };
            format!("{}{when}: {}. {}", text(gap, "node"), text(gap, "why"), text(gap, "advice"))
        })
        .collect();
    match lines.as_slice() {
        [] => Ok(()),
        _ if despite => {
            lines.iter().for_each(|line| crate::say(&format!("gap: {line}")));
            Ok(())
        }
        _ => bail!(
            "the record of this window has a gap, so nobody can say that the answer is whole:\n  {}\nask for a window without it, or add --despite-gaps",
            lines.join("\n  ")
        ),
    }
}

fn rows(answer: &Value) -> Result<Vec<AnswerRow>> {
    let row = |row: &Value, named: bool| {
        let text = |name: &str| row.get(name)?.as_str();
        let classes = row.get("classes")?.as_array()?.iter();
        Some(AnswerRow {
            subject: if named { Some(text("id")?.to_owned()) } else { None },
            classes: classes.filter_map(|class| class.as_str().map(str::to_owned)).collect(),
            first: UnixMicros::parse(text("first")?)?,
            last: UnixMicros::parse(text("last")?)?,
            count: row.get("count")?.as_u64()?,
        })
    };
    let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let named = list("subjects").map(|subject| row(subject, true));
    let all = named.chain(list("erased").map(|subject| row(subject, false)));
    all.collect::<Option<_>>().context("the node's answer is not of this program's version")
}
