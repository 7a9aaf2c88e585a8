//! The one weaker thing: for a while, an integration's tokens without proof.

use super::{Session, in_days, print};
use anyhow::Result;
use clap::Subcommand;
use model::UnixMicros;
use storage::registry::Command;

#[derive(Subcommand)]
pub(crate) enum BearerCommand {
    /// Take its tokens as Bearer, without proof (two operators)
    Start {
        /// Slug or id
        integration: String,
        /// Who answers for it
        #[arg(long)]
        owner: String,
        /// Days from now, 30 at most
        #[arg(long)]
        days: u64,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
    /// End it before its time
    End {
        /// Slug or id
        integration: String,
        #[command(flatten)]
        session: Session,
    },
}

impl BearerCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        let (session, command) = match self {
            Self::Start { integration, owner, days, reason, session } => {
                let integration = session.integration(&integration).await?;
                let until = in_days(now, days);
                (session, Command::BearerException { integration, owner, reason, until })
            }
            Self::End { integration, session } => {
                let integration = session.integration(&integration).await?;
                (session, Command::BearerEnd { integration })
            }
        };
        print::line(&session.send(command).await?.to_string())
    }
}
