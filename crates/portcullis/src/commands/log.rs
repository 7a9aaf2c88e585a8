//! `portcullis log`: what is done with a log beside reading it.

use super::print::line as print;
use crate::config::{self, Config};
use crate::generation;
use crate::node;
use crate::verify::{Keys, Log};
use anyhow::{Context, Result};
use clap::Subcommand;
use ledger::proof;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::segments::Segments;

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Write the proof that one record is in the log, as a C2SP tlog-proof
    Prove {
        /// The record's index in the log, as its receipt names it
        index: u64,
        /// The log: its address, a data directory, or a copy of its checkpoint and tiles
        log: String,
        /// The log's public key, or a file of it
        #[arg(long, required = true)]
        key: Vec<String>,
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
    },
    /// End a log whose end was lost and begin the next generation; the node must be stopped
    NextGeneration {
        #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
        config: PathBuf,
        /// The last checkpoint that anybody has of it, such as a witness; the directory's own, if left out
        #[arg(long)]
        lost: Option<PathBuf>,
    },
    /// Show from when on the record is whole, and what retention took before that
    Retention {
        /// The node's configuration file
        #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

impl LogCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// What is wrong with the log, or cannot be read or written.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Prove { index, log, key, output } => {
                let log = Log::open(&log, &Keys::read(&key)?)?;
                let text = proof::write(index, &log.signed.note, &mut log.tiles()?)
                    .map_err(|error| log.why(error.into()))?;
                std::fs::write(&output, text)
                    .with_context(|| format!("cannot write `{}`", output.display()))
            }
            Self::Retention { config, json } => retention(&Config::read(&config)?, json),
            Self::NextGeneration { config, lost } => {
                let config = Config::read(&config)?;
                let number = generation::open_next(&config, lost.as_deref())?;
                print(&format!(
                    "generation {number} begins when the node starts; the one before is kept in generations/{}. The log's new key name is in keys/log.pub",
                    number - 1
                ))
            }
        }
    }
}

/// Looks at the segments; beside a node that runs, too.
fn retention(config: &Config, as_json: bool) -> Result<()> {
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(&config.data)?);
    let segments = Segments::look(&disk)?.all;
    let thinned = segments.iter().filter(|segment| segment.thinned).count();
    let whole = segments.get(thinned);
    let days = config.retention_days;
    if as_json {
        return print(
            &json!({
                "schema": "portcullis.retention/1",
                "log": node::log_key(config)?.name(),
                "retention_days": days,
                "segments": segments.len(),
                "segments_thinned": thinned,
                "whole_from": whole.map(|segment| segment.since.to_string()),
                "whole_from_record": whole.map(|segment| segment.first),
            })
            .to_string(),
        );
    }
    print(&match days {
        Some(days) => {
            format!("records are thinned when they are older than {days} days, by whole segments")
        }
        None => "records are kept for ever: `record.retention_days` is not set".to_owned(),
    })?;
    print(&match whole {
        Some(segment) if thinned > 0 => format!(
            "the record is whole from {} on, record {}; of what was before, in {thinned} of {} segments, only entries are left",
            segment.since,
            segment.first,
            segments.len()
        ),
        _ => "the record is whole from its beginning".to_owned(),
    })
}
