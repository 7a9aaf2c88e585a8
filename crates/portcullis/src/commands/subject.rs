//! `portcullis subject`: what concerns one person.

use super::exposure::SubjectShow;
use super::{Listed, Session, print};
use anyhow::{Context, Result};
use clap::Subcommand;
use model::SubjectId;
use serde_json::Value;
use storage::registry::Command;
use storage::registry::command::{Listing, SubjectText};

#[derive(Subcommand)]
pub(crate) enum SubjectCommand {
    /// Everything that went out about one person: when, to whom, which classes, from where
    Show(Box<SubjectShow>),
    /// Print a link with which one person adds a passkey to the portal, once, within a day; whoever has it is that person (two operators)
    Enrol {
        subject: String,
        #[command(flatten)]
        session: Session,
    },
    /// Erase a subject, 24 hours from now: whatever leads from the record to the person goes, the record stays (two operators)
    Erase {
        subject: String,
        #[command(flatten)]
        session: Session,
        #[arg(long)]
        json: bool,
    },
    /// Take an erasure back that is not carried out yet (one operator)
    CancelErase {
        /// As `erase` and `erasures` print it
        erasure: String,
        #[command(flatten)]
        session: Session,
    },
    /// Every erasure asked for, and where it stands; names nobody
    Erasures(Listed),
}

impl SubjectCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Show(show) => show.run().await,
            Self::Enrol { subject, session } => {
                let subject = SubjectId::new(&subject).context("that is not a subject id")?;
                let command = Command::SubjectEnrol { subject: SubjectText(subject) };
                let answer = session.send(command).await?;
                print::line(answer.get("link").and_then(Value::as_str).unwrap_or("?"))
            }
            Self::Erase { subject, session, json } => {
                let subject = SubjectId::new(&subject).context("that is not a subject id")?;
                let command = Command::SubjectErase { subject: SubjectText(subject) };
                let answer = session.send(command).await?;
                if json {
                    return print::line(&answer.to_string());
                }
                let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("?");
                print::line(text("erasure"))?;
                let held = answer.get("held_by").and_then(Value::as_array);
                let held: Vec<_> = held.into_iter().flatten().filter_map(Value::as_str).collect();
                crate::say(&format!(
                    "it is carried out from {} on; `portcullis subject cancel-erase {}` takes it back",
                    text("due"),
                    text("erasure"),
                ));
                if !held.is_empty() {
                    crate::say(&format!(
                        "held while these cases are open, because their people must be told and their evidence kept: {}",
                        held.join(" ")
                    ));
                }
                Ok(())
            }
            Self::CancelErase { erasure, session } => {
                session.send(Command::SubjectEraseCancel { erasure }).await?;
                print::line("taken back")
            }
            Self::Erasures(listed) => listed.run(Listing::Erasures).await,
        }
    }
}
