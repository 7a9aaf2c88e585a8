//! `portcullis consent`: what subjects agreed to, as an operator ends it.

use super::{Session, print};
use anyhow::Result;
use clap::Subcommand;
use storage::registry::Command;
use storage::registry::target::Target;

#[derive(Subcommand)]
pub(crate) enum ConsentCommand {
    /// End every consent to an integration, or to all of a vendor's, at once; who wants it still is asked again
    End {
        /// `integration:SLUG` or `vendor:SLUG`
        target: Target,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
}

impl ConsentCommand {
    pub(super) async fn run(self) -> Result<()> {
        let Self::End { target, reason, session } = self;
        print::line(&session.send(Command::ConsentsEnd { target, reason }).await?.to_string())
    }
}
