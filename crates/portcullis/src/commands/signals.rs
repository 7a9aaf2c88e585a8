//! `portcullis signals`: what detectors found, and who looked at it.

use super::{Listed, print};
use anyhow::Result;
use clap::Args;
use serde_json::Value;
use storage::registry::Command;
use storage::registry::command::Listing;

#[derive(Args)]
pub(crate) struct Signals {
    /// A row for each rule in place of each signal: what it found, contained, would have contained, and what people took back
    #[arg(long)]
    rules: bool,
    /// Say that somebody looked at the signals up to this number
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["rules", "json"])]
    acknowledge: Option<u64>,
    #[command(flatten)]
    listed: Listed,
}

impl Signals {
    pub(super) async fn run(self) -> Result<()> {
        let Self { rules, acknowledge, listed } = self;
        if let Some(through) = acknowledge {
            let answer = listed.session.send(Command::SignalsAcknowledge { through }).await?;
            return print::line(&answer.to_string());
        }
        if rules || listed.json {
            let what = if rules { Listing::Rules } else { Listing::Signals };
            return listed.run(what).await;
        }
        let list = listed.session.send(Command::List { what: Listing::Signals }).await?;
        print::signals(list.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice))
    }
}
