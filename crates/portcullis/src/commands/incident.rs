//! A case at the command line: opened from a signal, a scope or a vendor's breach; its scope frozen; letters, filings, post-mortem.

use super::{Listed, Question, Session, print};
use crate::config::{self, Config};
use crate::{keys, operator, people};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{IncidentId, UnixMicros};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::registry::Command;
use storage::registry::command::{CaseStep, Cause, Listing};

#[derive(Subcommand)]
pub(crate) enum IncidentCommand {
    /// Open a case
    Open(Open),
    /// Every case
    List(Listed),
    /// One case: what happened, its scope, every clock
    Show {
        /// Name or id
        incident: String,
        #[command(flatten)]
        listed: Listed,
    },
    /// Ask the record who was read, and freeze the answer as the case's scope
    Scope {
        /// Name or id
        incident: String,
        #[command(flatten)]
        question: Question,
        #[command(flatten)]
        session: Session,
    },
    /// Decide whether a regime's notification is made, and why (not to make it: two operators)
    Decide {
        /// Name or id
        incident: String,
        /// As `incident show` names it, such as eu-gdpr-34
        #[arg(long)]
        regime: String,
        /// It is made
        #[arg(long, required_unless_present = "not_notify", conflicts_with = "not_notify")]
        notify: bool,
        /// It is not made
        #[arg(long)]
        not_notify: bool,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
    /// Write to everybody in the scope, each about their own data (two operators); repeated, it goes on where it was
    Notify {
        /// Name or id
        incident: String,
        /// Show this many letters and send none (one operator)
        #[arg(long, value_name = "COUNT")]
        draft: Option<u32>,
        /// Write again to those whose letter was under way when the node died
        #[arg(long)]
        resend_in_doubt: bool,
        /// Do not wait until the letters are out
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        about: About,
    },
    /// Compile a regulator's form, filled from the scope, as JSON and as HTML to print
    File {
        /// Name or id
        incident: String,
        /// As `incident show` names it
        #[arg(long, default_value = "eu-gdpr-33")]
        regime: String,
        /// Folder that the two files go to
        #[arg(short, long, default_value = ".")]
        output: PathBuf,
        /// The form compiled last was handed in, at this moment; compiles none
        #[arg(long, value_name = "TIME")]
        submitted: Option<String>,
        /// The authority's reference
        #[arg(long, requires = "submitted")]
        reference: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Draft the post-mortem from the record
    Postmortem {
        /// Name or id
        incident: String,
        /// The Markdown file to write
        #[arg(short, long)]
        output: PathBuf,
        #[command(flatten)]
        about: About,
    },
    /// The vendor was asked for its account, or gave it: its clock runs and stops
    Vendor {
        /// Name or id
        incident: String,
        /// It answered
        #[arg(long)]
        acknowledged: bool,
        /// What was asked or answered
        words: String,
        #[command(flatten)]
        session: Session,
    },
    /// Close it, once every regime that applies was filed or decided against; two operators
    Close {
        /// Name or id
        incident: String,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
    /// Open it again
    Reopen {
        /// Name or id
        incident: String,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
}

/// A document about a scope.
#[derive(Args)]
pub(crate) struct About {
    /// From this version of the scope; refused unless it is the current one
    #[arg(long)]
    scope_version: Option<u64>,
    #[command(flatten)]
    session: Session,
}

#[derive(Args)]
pub(crate) struct Open {
    /// What it is called: 1 to 63 of a-z, 0-9 and `-`
    name: String,
    #[arg(long)]
    title: String,
    /// The signal it is opened for, in its words
    #[arg(long, conflicts_with = "vendor_breach")]
    signal: Option<String>,
    /// The vendor's own store was broken into: slug or id. Asks the record what it was ever given
    #[arg(long, requires = "since")]
    vendor_breach: Option<String>,
    /// From when on the vendor's store is not to be trusted
    #[arg(long, requires = "vendor_breach")]
    since: Option<String>,
    /// When it began, if that is known
    #[arg(long)]
    began: Option<String>,
    /// When the company became aware; now, if left out. Regulators' clocks count from here
    #[arg(long)]
    aware: Option<String>,
    #[command(flatten)]
    session: Session,
}

#[derive(Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Take over addresses from a CSV file, or an SQLite file with a table `people`: subject, email, name, country
    Import {
        file: PathBuf,
        #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
        config: PathBuf,
    },
}

impl DirectoryCommand {
    pub(super) async fn run(self) -> Result<()> {
        let Self::Import { file, config } = self;
        let config = Config::read(&config)?;
        let imported = people::import(&file, &config.data).await?;
        for bad in imported.bad.iter().take(10) {
            crate::say(bad);
        }
        if imported.bad.len() > 10 {
            crate::say(&format!("and {} lines more", imported.bad.len() - 10));
        }
        print::line(&format!("{} people, {} lines left out", imported.people, imported.bad.len()))
    }
}

impl IncidentCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::Open(open) => open.run(now).await,
            Self::List(listed) => listed.run(Listing::Incidents).await,
            Self::Show { incident, listed } => {
                let answer = step(&listed.session, &incident, CaseStep::Show {}).await?;
                if listed.json { print::line(&answer.to_string()) } else { print::case(&answer) }
            }
            Self::Scope { incident, question, session } => {
                let question = question.to_json().to_string();
                let answer = step(&session, &incident, CaseStep::Scope { question }).await?;
                print::line(&answer.to_string())
            }
            Self::Decide { incident, regime, notify, reason, session, .. } => {
                said(&session, &incident, CaseStep::Decide { regime, notify, reason }).await
            }
            Self::Notify { incident, draft: Some(show), about, .. } => {
                let version = about.version(&incident).await?;
                let draft = CaseStep::Draft { version, show };
                print::letters(&step(&about.session, &incident, draft).await?)
            }
            Self::Notify { incident, resend_in_doubt, detach, about, .. } => {
                let version = about.version(&incident).await?;
                let notify = CaseStep::Notify { version, in_doubt: resend_in_doubt };
                let started = step(&about.session, &incident, notify).await?;
                if detach {
                    print::line(&started.to_string())
                } else {
                    follow(&about, &started).await
                }
            }
            Self::File { incident, regime, submitted: Some(at), reference, about, .. } => {
                let version = about.version(&incident).await?;
                let submitted = Some(time(&at)?);
                let file = CaseStep::File { regime, version, submitted, reference };
                said(&about.session, &incident, file).await
            }
            Self::File { incident, regime, output, submitted: None, about, .. } => {
                let version = about.version(&incident).await?;
                let (submitted, reference) = (None, None);
                let file = CaseStep::File { regime: regime.clone(), version, submitted, reference };
                let answer = step(&about.session, &incident, file).await?;
                for kind in ["html", "json"] {
                    let path = output.join(format!("{regime}.scope-{version}.{kind}"));
                    write(&answer, kind, &path)?;
                    print::line(&path.display().to_string())?;
                }
                Ok(())
            }
            Self::Postmortem { incident, output, about } => {
                let version = about.version(&incident).await?;
                let postmortem = CaseStep::Postmortem { version };
                write(&step(&about.session, &incident, postmortem).await?, "markdown", &output)
            }
            Self::Vendor { incident, acknowledged, words, session } => {
                said(&session, &incident, CaseStep::Vendor { acknowledged, words }).await
            }
            Self::Close { incident, reason, session } => {
                said(&session, &incident, CaseStep::Close { reason }).await
            }
            Self::Reopen { incident, reason, session } => {
                said(&session, &incident, CaseStep::Reopen { reason }).await
            }
        }
    }
}

impl Open {
    async fn run(self, now: UnixMicros) -> Result<()> {
        let cause = match (self.signal, self.vendor_breach, self.since) {
            (Some(sentence), ..) => Cause::Signal { sentence },
            (None, Some(vendor), Some(since)) => {
                Cause::VendorBreach { vendor, since: time(&since)? }
            }
            _ => Cause::Exposure {},
        };
        let incident = IncidentId::new(now, keys::random()?);
        let command = Command::IncidentOpen {
            incident,
            name: self.name,
            title: self.title,
            cause,
            began: self.began.as_deref().map(time).transpose()?,
            aware: self.aware.as_deref().map_or(Ok(now), time)?,
        };
        self.session.send(command).await?;
        print::line(&incident.to_string())
    }
}

impl About {
    /// The version of the scope that is meant: the one given, or the current one.
    async fn version(&self, incident: &str) -> Result<u64> {
        if let Some(version) = self.scope_version {
            return Ok(version);
        }
        let shown = step(&self.session, incident, CaseStep::Show {}).await?;
        let version = shown.pointer("/scope/version").and_then(Value::as_u64);
        version.context("the case has no scope yet; `portcullis incident scope` freezes one")
    }
}

async fn step(session: &Session, incident: &str, step: CaseStep) -> Result<Value> {
    let incident: IncidentId = session.id(Listing::Incidents, incident).await?;
    session.send(Command::IncidentStep { incident, step }).await
}

async fn said(session: &Session, incident: &str, taken: CaseStep) -> Result<()> {
    print::line(&step(session, incident, taken).await?.to_string())
}

/// Shows how the letters go until all are settled or only those are left that wait for a retry.
///
/// # Errors
/// If a letter was refused for good: somebody has not been told.
async fn follow(about: &About, started: &Value) -> Result<()> {
    let control = Config::read(&about.session.config)?.control;
    let id = started.get("incident").and_then(Value::as_str).context("the node names no case")?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} letters, {per_sec}, {eta} left  {msg}",
    )?);
    loop {
        let progress = operator::letters(control, id).await?;
        let count = |name: &str| progress.get(name).and_then(Value::as_u64).unwrap_or(0);
        let done = count("accepted") + count("refused") + count("given_up") + count("in_doubt");
        let waiting = count("queued") + count("sending");
        bar.set_length(done + waiting + count("deferred"));
        bar.set_position(done);
        bar.set_message(match count("deferred") {
            0 => String::new(),
            deferred => format!("{deferred} wait for another try"),
        });
        if progress.get("running").and_then(Value::as_bool) != Some(true) {
            bar.finish_and_clear();
            print::line(&progress.to_string())?;
            let asked = started.get("letters").and_then(Value::as_u64).unwrap_or(0);
            let untold = asked.saturating_sub(count("accepted"));
            if untold > 0 {
                bail!(
                    "{untold} of {asked} people have no letter yet; `incident show` says why. `incident notify` tries again, with the addresses of the day"
                );
            }
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn write(answer: &Value, member: &str, path: &Path) -> Result<()> {
    let value = answer.get(member).with_context(|| format!("the node sent no {member}"))?;
    let text = value.as_str().map_or_else(|| format!("{value:#}\n"), str::to_owned);
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn time(text: &str) -> Result<UnixMicros> {
    UnixMicros::parse(text)
        .with_context(|| format!("`{text}` is not a time like 2026-03-01T12:00:00Z"))
}
