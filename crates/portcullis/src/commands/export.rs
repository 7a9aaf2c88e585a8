//! `portcullis export`: copies of the record for other programs, made beside the running node from what is on disk.

use super::print;
use crate::config::{self, Config};
use crate::node;
use crate::operator::{self, OperatorKey};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use model::UnixMicros;
use opendata::classes::ClassNames;
use opendata::parquet::{self, NameSubjects, Options};
use opendata::{ExportFailed, ocsf, whole};
use serde_json::json;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::embedded::Vault;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::segments::Segments;
use storage::registry::{Command, Registry};

#[derive(Subcommand)]
pub(crate) enum ExportCommand {
    /// Write sealed segments as Parquet, by day and integration; a later run adds what is new
    Parquet(ToParquet),
    /// Write OCSF events, one JSON object a line
    Ocsf(ToOcsf),
}

/// Which log, and how much of it.
#[derive(Args)]
struct Source {
    /// The node's configuration file, or its data directory
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
    config: PathBuf,
    /// From this moment, such as 2026-03-01T12:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Up to, but not at, this moment; now, if left out
    #[arg(long)]
    to: Option<String>,
}

#[derive(Args)]
pub(crate) struct ToParquet {
    /// Where the files go: empty, missing, or written by this command before
    directory: PathBuf,
    #[command(flatten)]
    source: Source,
    /// The segment that is still written to as well, as far as it goes
    #[arg(long)]
    open: bool,
    /// Name subjects, not only their pseudonyms; recorded by the running node as a look, before it is done
    #[arg(long, requires = "key")]
    subjects: bool,
    /// An operator's key file, for --subjects
    #[arg(long, requires = "subjects")]
    key: Vec<PathBuf>,
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ToOcsf {
    /// The file to write; standard output, if left out or `-`
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    source: Source,
}

/// A log on disk and what is needed to read it.
struct Log {
    config: Config,
    origin: String,
    disk: Arc<dyn KeepSynced>,
    segments: Segments,
    classes: ClassNames,
    from: UnixMicros,
    to: UnixMicros,
}

impl ExportCommand {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// What cannot be read or written, or the node's refusal.
    pub(crate) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::Parquet(options) => options.run(now).await,
            Self::Ocsf(options) => options.run(now).await,
        }
    }
}

impl Source {
    async fn open(&self, now: UnixMicros) -> Result<Log> {
        let file =
            if self.config.is_dir() { self.config.join(config::FILE) } else { self.config.clone() };
        let config = Config::read(&file)?;
        let registry = config.data.join("registry.db");
        if !registry.exists() {
            bail!("`{}` holds no registry: is it a data directory?", config.data.display());
        }
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(&config.data)?);
        let segments = Segments::look(&disk)?;
        // After the log, so that the table has every class that the log names.
        let classes = Registry::open(&registry).await?.snapshot().await?.classes;
        Ok(Log {
            origin: node::log_key(&config)?.name().to_owned(),
            classes: ClassNames::new(classes),
            from: moment(self.from.as_deref(), UnixMicros(0))?,
            to: moment(self.to.as_deref(), now)?,
            config,
            disk,
            segments,
        })
    }
}

fn moment(text: Option<&str>, otherwise: UnixMicros) -> Result<UnixMicros> {
    let Some(text) = text else { return Ok(otherwise) };
    UnixMicros::parse(text)
        .with_context(|| format!("`{text}` is not a moment such as 2026-03-01T12:00:00Z"))
}

impl ToParquet {
    async fn run(self, now: UnixMicros) -> Result<()> {
        let log = self.source.open(now).await?;
        let vault = if self.subjects { Some(self.vault(&log).await?) } else { None };
        let name = vault
            .as_ref()
            .map(|vault| |pseudonym: &_, quarter| vault.subject_of(pseudonym, quarter));
        let subjects = name.as_ref().map(|name| -> &NameSubjects<'_> { name });
        let options = Options { from: log.from, to: log.to, open: self.open, subjects };
        let done =
            parquet::export(&log.origin, &log.segments, &log.classes, &self.directory, options)?;
        if self.json {
            return print::line(
                &json!({
                    "schema": "portcullis.export/1",
                    "log": log.origin,
                    "parts": done.parts,
                    "rows": done.rows,
                    "segments": done.segments,
                    "already": done.already,
                    "waiting": done.waiting,
                    "thinned": done.thinned,
                })
                .to_string(),
            );
        }
        print::line(&format!(
            "{} parts with {} rows, from {} segments",
            done.parts, done.rows, done.segments
        ))?;
        if done.thinned > 0 {
            crate::say(&format!(
                "{} segments were thinned by retention before they were exported: what they held is gone",
                done.thinned
            ));
        }
        if done.segments + done.already + done.waiting + done.thinned == 0 && !self.open {
            print::line("no segment is sealed yet; --open takes the one that is written to")?;
        }
        Ok(())
    }

    /// The vault, once the node has it on record that subjects are about to be named.
    async fn vault(&self, log: &Log) -> Result<Vault> {
        let keys: Vec<OperatorKey> =
            self.key.iter().map(|path| OperatorKey::read(path)).collect::<Result<_>>()?;
        let command = Command::SubjectExport { from: log.from, to: log.to };
        operator::send(log.config.control, command, &keys.iter().collect::<Vec<_>>())
            .await
            .context("subjects are named only once the running node has recorded who asks")?;
        // After the log was looked at: a subject's row is durable before any record names it.
        Ok(Vault::look(&*log.disk, &node::vault_keys(&log.config)?)?)
    }
}

impl ToOcsf {
    async fn run(self, now: UnixMicros) -> Result<()> {
        let log = self.source.open(now).await?;
        let write = |out: &mut dyn io::Write| -> Result<u64, ExportFailed> {
            let Log { origin, segments, classes, from, to, .. } = &log;
            ocsf::export(
                origin,
                &segments.readable,
                classes,
                env!("CARGO_PKG_VERSION"),
                (*from, *to),
                out,
            )
        };
        if self.output == Path::new("-") {
            write(&mut BufWriter::new(io::stdout().lock()))?;
        } else {
            whole::write(&self.output, |file| write(&mut BufWriter::new(file)).map(|_| ()))?;
        }
        Ok(())
    }
}
