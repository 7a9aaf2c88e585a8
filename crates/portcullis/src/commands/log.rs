//! `portcullis log`: what is done with a log beside reading it.

use super::print::line as print;
use crate::config::{self, Config};
use crate::generation;
use crate::verify::{Keys, Log};
use anyhow::{Context, Result};
use clap::Subcommand;
use ledger::proof;
use std::path::PathBuf;

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
