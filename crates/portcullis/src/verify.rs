//! `portcullis verify`: checks evidence and logs with public keys only. Nothing is remembered; what to keep is printed.

use anyhow::{Context, Error, Result, anyhow, bail};
use control::fetch::Site;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ledger::bundle::{self, OpenedTouch, Verified};
use ledger::checkpoint::{self, Checkpoint};
use ledger::cosign::{self, Cosignature, CosignerKey};
use ledger::full::{Audited, verify_full};
use ledger::note::VerifyingKey;
use ledger::tile::TileReader;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::embedded::disk::LocalDisk;
use storage::embedded::view::LogView;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// Whose signatures count.
#[derive(Default)]
pub(crate) struct Keys {
    /// Of logs.
    pub(crate) logs: Vec<VerifyingKey>,
    /// Of witnesses and auditors.
    pub(crate) cosigners: Vec<CosignerKey>,
}

impl Keys {
    /// Keys as typed, or files of them, one a line.
    ///
    /// # Errors
    /// The first that is none.
    pub(crate) fn read(given: &[String]) -> Result<Self> {
        let mut keys = Self::default();
        for text in given {
            let lines = lines_of(text)?;
            for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
                match (VerifyingKey::parse(line), CosignerKey::parse(line)) {
                    (Ok(key), _) => keys.logs.push(key),
                    (Err(_), Ok(key)) => keys.cosigners.push(key),
                    (Err(_), Err(_)) => return Err(not_public(text, line)),
                }
            }
        }
        if keys.logs.is_empty() {
            bail!("`--key` names no log's key");
        }
        Ok(keys)
    }
}

/// What stands in a file, unless a key was typed instead of its name.
///
/// # Errors
/// If there is no such file. What was typed is not repeated where it may be a key, which may be a secret one.
pub(crate) fn lines_of(text: &str) -> Result<String> {
    if VerifyingKey::parse(text).is_ok() || CosignerKey::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).with_context(|| {
        let what = if text.contains('+') { "what was given" } else { text };
        format!("`{what}` is neither a key `name+id+base64` nor a file of one that can be read")
    })
}

/// That a line of `file` is no public key; without the line, which may be a secret.
pub(crate) fn not_public(file: &str, line: &str) -> Error {
    if line.starts_with("PRIVATE+KEY+") {
        anyhow!("`{file}` holds the secret half of a key; give the public one")
    } else {
        anyhow!("`{file}` holds a line that is not a public key of the form `name+id+base64`")
    }
}

/// A checkpoint that one of the keys signed, and who else did.
pub(crate) struct Signed {
    pub(crate) note: String,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) cosigned: Vec<Cosignature>,
}

impl Signed {
    /// Opens a note.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(note: String, keys: &Keys) -> Result<Self> {
        let checkpoint = checkpoint::open(&note, &keys.logs)?;
        let cosigned = cosign::verify(&note, &keys.cosigners).context("a cosignature")?;
        Ok(Self { note, checkpoint, cosigned })
    }

    /// Reads one that was kept in a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(file: &Path, keys: &Keys) -> Result<Self> {
        let what = || format!("`{}`", file.display());
        let note = std::fs::read_to_string(file).with_context(what)?;
        Self::open(note, keys).with_context(what)
    }
}

/// A log's files: on a web server, or in a directory.
pub(crate) struct Log {
    pub(crate) signed: Signed,
    files: Files,
    /// Why the last file that could not be had could not be had, if it was not simply missing.
    failed: RefCell<Option<Error>>,
}

enum Files {
    Live(RefCell<Site>),
    Directory(PathBuf),
}

impl Log {
    /// The log at an address `http://...`, in a data directory, or in a directory that `checkpoint` and `tile` were copied to.
    ///
    /// # Errors
    /// If there is none, or its checkpoint does not hold.
    pub(crate) fn open(place: &str, keys: &Keys) -> Result<Self> {
        let files = if is_address(place) {
            Files::Live(RefCell::new(Site::new(place)?))
        } else {
            let given = Path::new(place);
            let ledger = given.join("ledger");
            Files::Directory(if ledger.is_dir() { ledger } else { given.to_owned() })
        };
        let note = files.read("checkpoint").with_context(|| format!("no log at `{place}`"))?;
        let note = note.with_context(|| format!("`{place}` shows no checkpoint"))?;
        let mut signed = Signed::open(String::from_utf8(note).context("the checkpoint")?, keys)?;
        // In a data directory cosignatures stand beside the checkpoint.
        if let Files::Directory(_) = files
            && let Some(note) = files.read("checkpoint.cosigned")?
            && let Ok(cosigned) = Signed::open(String::from_utf8_lossy(&note).into_owned(), keys)
            && cosigned.checkpoint == signed.checkpoint
        {
            signed = cosigned;
        }
        Ok(Self { signed, files, failed: RefCell::new(None) })
    }

    /// Its files, proved as they are read.
    ///
    /// # Errors
    /// If they do not lead to the checkpoint.
    pub(crate) fn tiles(&self) -> Result<TileReader<impl FnMut(&str) -> Option<Vec<u8>> + '_>> {
        let read = |path: &str| match self.files.read(path) {
            Ok(found) => found,
            Err(error) => {
                self.failed.replace(Some(error));
                None
            }
        };
        TileReader::open(self.signed.checkpoint.tree, read).map_err(|bad| self.why(bad.into()))
    }

    /// The same error, or what lies behind it.
    pub(crate) fn why(&self, error: Error) -> Error {
        match self.failed.take() {
            Some(behind) => behind.context(error.to_string()),
            None => error,
        }
    }
}

impl Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(path);
                if !path.exists() {
                    return Ok(None);
                }
                let what = || format!("cannot read `{}`", path.display());
                std::fs::read(&path).map(Some).with_context(what)
            }
            Self::Live(site) => {
                let mut site = site.borrow_mut();
                let answer = block_in_place(|| Handle::current().block_on(site.get(path)));
                let answer = answer.with_context(|| format!("cannot read `{path}`"))?;
                match answer.status {
                    200 => Ok(Some(answer.body.to_vec())),
                    404 | 410 => Ok(None),
                    status => bail!("the log's server answered {status} for `{path}`"),
                }
            }
        }
    }
}

/// Whether that is an address, not a path.
pub(crate) fn is_address(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}

/// Checks an evidence bundle.
///
/// # Errors
/// What the bundle fails to prove, or that a file cannot be read.
pub(crate) fn evidence(
    file: &Path,
    keys: &[VerifyingKey],
    auditors: &[CosignerKey],
) -> Result<Verified> {
    Ok(bundle::verify(&read(file)?, keys, auditors)?)
}

/// Checks a sealed bundle and an opening of one of its touches.
///
/// # Errors
/// What either fails to prove, or that a file cannot be read.
pub(crate) fn opening(
    file: &Path,
    opening: &Path,
    keys: &[VerifyingKey],
    auditors: &[CosignerKey],
) -> Result<(Verified, OpenedTouch)> {
    Ok(bundle::verify_opening(&read(file)?, &read(opening)?, keys, auditors)?)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))
}

/// Replays the whole log of a data directory: [`replay`] up to the checkpoint that stands there.
///
/// # Errors
/// As [`replay`], or that the checkpoint does not hold.
pub(crate) fn whole_log(directory: &Path, keys: &[VerifyingKey]) -> Result<Audited> {
    let note = std::fs::read_to_string(directory.join("ledger/checkpoint"))
        .context("cannot read ledger/checkpoint")?;
    replay(directory, &checkpoint::open(&note, keys)?)
}

/// Replays a whole log from a data directory up to a checkpoint: every entry on exactly one chain, every sum right.
///
/// Reads record by record, so that a log of any length fits in memory.
///
/// # Errors
/// What is wrong with the log, or that it cannot be read.
pub(crate) fn replay(directory: &Path, checkpoint: &Checkpoint) -> Result<Audited> {
    let disk = LocalDisk::new(directory)
        .with_context(|| format!("cannot read `{}`", directory.display()))?;
    let view = LogView::at_rest(Arc::new(disk))?;
    let mut progress = Progress::of(checkpoint.tree.size, "records replayed");
    let mut unreadable = None;
    let records = view.records_from(0).map_while(|record| match record {
        Ok((index, stored)) => {
            progress.at(index);
            Some(stored)
        }
        Err(error) => {
            unreadable = Some(error);
            None
        }
    });
    let audited = verify_full(records, checkpoint);
    match unreadable {
        Some(error) => Err(error.into()),
        None => Ok(audited?),
    }
}

/// How far something is that may take long: a bar on a terminal, once it has taken two seconds.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Nothing of `size` yet.
    pub(crate) fn of(size: u64, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::hidden());
        let form = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&form) {
            bar.set_style(style);
        }
        let began = Instant::now();
        Self { bar, began, told: began }
    }

    /// So far. Cheap enough to be called for every record.
    pub(crate) fn at(&mut self, position: u64) {
        if position.is_multiple_of(256) && self.told.elapsed() > Duration::from_millis(200) {
            self.told = Instant::now();
            if self.began.elapsed() > Duration::from_secs(2) && self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.set_position(position);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
