//! `portcullis window`: changes of habits that vendors announced.

use super::{Listed, Session, print};
use crate::keys;
use anyhow::{Context, Result};
use clap::{ArgGroup, Args, Subcommand};
use model::{Micros, UnixMicros, WindowId};
use serde_json::Value;
use storage::registry::Command;
use storage::registry::command::{Change, DeclaredWindow, Listing};

#[derive(Subcommand)]
pub(crate) enum WindowCommand {
    /// Write down what a vendor announced; it changes nothing until it is approved
    Declare(Box<Declaring>),
    /// Have detectors expect it, as it was declared (two operators)
    Approve {
        /// As `declare` and `list` print it
        window: WindowId,
        #[command(flatten)]
        session: Session,
    },
    /// End it before its time, or drop it
    End {
        window: WindowId,
        #[command(flatten)]
        session: Session,
    },
    /// Every window, and where it stands
    List(Listed),
}

#[derive(Args)]
pub(crate) struct Declaring {
    /// Slug or id
    integration: String,
    #[command(flatten)]
    change: Announced,
    /// When it begins, such as 2026-12-01T22:00:00Z; now, if it is not said
    #[arg(long)]
    from: Option<String>,
    /// How long it lasts, at most 336
    #[arg(long)]
    hours: u64,
    /// Why, and who said so
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    session: Session,
}

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("what").required(true).args(["backfill", "address", "endpoint"]))]
struct Announced {
    /// It reads many subjects through this operation
    #[arg(long, value_name = "OPERATION", requires = "subjects")]
    backfill: Option<String>,
    /// How many different ones, at most, from its beginning to its end
    #[arg(long, requires = "backfill", conflicts_with_all = ["address", "endpoint"])]
    subjects: Option<u32>,
    /// It reads everybody, decoys too: they are withheld, and it is not cut off for meeting them
    #[arg(long, requires = "backfill", conflicts_with_all = ["address", "endpoint"])]
    full_scan: bool,
    /// It comes from this network
    #[arg(long, value_name = "NETWORK")]
    address: Option<String>,
    /// It begins to use this operation
    #[arg(long, value_name = "OPERATION")]
    endpoint: Option<String>,
}

impl WindowCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::Declare(declaring) => declaring.run(now).await,
            Self::Approve { window, session } => {
                let list = session.send(Command::List { what: Listing::Windows }).await?;
                let mut rows = list.get("rows").and_then(Value::as_array).into_iter().flatten();
                let id = window.to_string();
                let row = rows.find(|row| row.get("id").and_then(Value::as_str) == Some(&id));
                let row = row.with_context(|| format!("there is no window {id}"))?;
                // What is signed is all of it, so that it is this and nothing else that is approved.
                let declared = row.get("declared").cloned().unwrap_or_default();
                let window: DeclaredWindow = serde_json::from_value(declared)?;
                crate::say(&format!("approving {}", serde_json::to_string(&window)?));
                print::line(&session.send(Command::WindowApprove { window }).await?.to_string())
            }
            Self::End { window, session } => {
                print::line(&session.send(Command::WindowEnd { window }).await?.to_string())
            }
            Self::List(listed) => listed.run(Listing::Windows).await,
        }
    }
}

impl Declaring {
    async fn run(self, now: UnixMicros) -> Result<()> {
        let Self { integration, change, from, hours, reason, session } = self;
        let integration = session.integration(&integration).await?;
        let from = match from {
            Some(text) => UnixMicros::parse(&text)
                .with_context(|| format!("`{text}` is not an RFC 3339 time in UTC"))?,
            None => now,
        };
        let to = from + Micros::from_secs(hours.saturating_mul(3_600));
        let change = match change {
            Announced { backfill: Some(operation), subjects, full_scan, .. } => {
                let subjects_max = subjects.context("`--subjects` says how many it reads")?;
                Change::Backfill { operation, subjects_max, full_scan }
            }
            Announced { address: Some(network), .. } => Change::Address { network },
            Announced { endpoint, .. } => {
                Change::Endpoint { operation: endpoint.context("say what changes")? }
            }
        };
        let window = WindowId::new(now, keys::random()?);
        let window = DeclaredWindow { window, integration, change, from, to, reason };
        let id = window.window.to_string();
        session.send(Command::WindowDeclare { window }).await?;
        print::line(&id)
    }
}
