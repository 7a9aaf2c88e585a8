//! What happens to a log beside growing: its key is rotated, or a generation of it ends and the next begins. One ends when its end was lost: a copy that was restored, a disk that forgot. The next begins with
//! a record that names the last checkpoint of the one before, so that nobody can take the loss for a log that never was longer.
//!
//! The log in use is `ledger`; the ones before are kept as data directories of their own, `generations/N`.

use crate::config::Config;
use crate::keys;
use crate::node;
use anyhow::{Context, Result, bail};
use ledger::checkpoint;
use ledger::note::VerifyingKey;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::embedded::disk::LocalDisk;
use storage::embedded::lock::DirectoryLock;
use storage::embedded::view::LogView;
use zeroize::Zeroizing;

/// Holds the number of the generation in use; without it, it is the first.
const NUMBER: &str = "ledger/generation";

/// Holds the last checkpoint of the generation before, as the first record of this one names it.
const LOST: &str = "ledger/lost-checkpoint";

/// Public halves of the keys that were rotated out.
const RETIRED: &str = "keys/log.retired.pub";

/// The next generation, while it is being prepared.
const NEXT: &str = "ledger.next";

/// The number of the generation in use.
///
/// # Errors
/// If the file that says so cannot be read, or says something else.
pub(crate) fn current(data: &Path) -> Result<u64> {
    if data.join(NEXT).exists() && !data.join("ledger").exists() {
        bail!("a change of generations was broken off: repeat `portcullis log next-generation`");
    }
    let Some(text) = there(&data.join(NUMBER))? else { return Ok(1) };
    let number = text.trim().parse().ok().filter(|&number| number > 1);
    number.with_context(|| format!("`{NUMBER}` is not the number of a generation"))
}

/// What the first record of this generation names, if it is not the first generation.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn lost_checkpoint(data: &Path) -> Result<Option<Vec<u8>>> {
    Ok(there(&data.join(LOST))?.map(String::into_bytes))
}

/// The records of the generation before, as far as they were kept.
///
/// # Errors
/// If they are there and cannot be read.
pub(crate) fn before(data: &Path) -> Result<Option<LogView>> {
    let former = place(data, current(data)? - 1);
    if !former.join("ledger").exists() {
        return Ok(None);
    }
    let what = || format!("`{}` cannot be read", former.display());
    let disk = LocalDisk::new(&former).with_context(what)?;
    Ok(Some(LogView::at_rest(Arc::new(disk)).with_context(what)?))
}

/// The generations before the one in use, oldest first: number, and the data directory where what was kept of it is, if anything was.
///
/// # Errors
/// As [`current`].
pub(crate) fn former(data: &Path) -> Result<Vec<(u64, PathBuf)>> {
    Ok((1..current(data)?).map(|number| (number, place(data, number))).collect())
}

/// Ends the generation in use and prepares the next. Returns its number.
///
/// `lost`: file with the last checkpoint that anybody has of the log; the directory's own, if nobody has a later one.
///
/// # Errors
/// If the node runs, the checkpoint is not one of this log, or is older than the directory's own.
pub(crate) fn open_next(config: &Config, lost: Option<&Path>) -> Result<u64> {
    let data = &config.data;
    let _held = DirectoryLock::take(data).context("stop the node first")?;
    let next = data.join(NEXT);
    if next.exists() && !data.join("ledger").exists() {
        return finish(config, &next);
    }
    let number = current(data)?;
    let key = node::log_key(config)?;
    let open = |path: &Path| -> Result<(String, u64)> {
        let what = || format!("`{}` is no checkpoint of this log", path.display());
        let note = fs::read_to_string(path).with_context(what)?;
        let opened = checkpoint::open(&note, std::slice::from_ref(&key)).with_context(what)?;
        Ok((note, opened.tree.size))
    };
    let own = data.join("ledger/checkpoint");
    let (note, size) = open(lost.unwrap_or(&own))?;
    if own.exists() && open(&own)?.1 > size {
        bail!("the directory's own checkpoint is later than that: leave `--lost` out");
    }
    let former = place(data, number);
    // The folder alone is what a change that was broken off before the log moved has left.
    if former.join("ledger").exists() {
        bail!("`{}` is there already; nothing was changed", former.display());
    }
    // Made whole first: `current` knows by it that the step after was broken off, and no node begins a first generation anew.
    private(&next)?;
    store(&next.join("generation"), &format!("{}\n", number + 1))?;
    store(&next.join("lost-checkpoint"), &note)?;
    private(&former)?;
    fs::rename(data.join("ledger"), former.join("ledger")).context("cannot move the log away")?;
    for moved in [&former, &data.join("generations"), &next] {
        fs::File::open(moved)?.sync_all()?;
    }
    finish(config, &next)
}

fn finish(config: &Config, next: &Path) -> Result<u64> {
    let data = &config.data;
    fs::rename(next, data.join("ledger")).context("cannot begin the next generation")?;
    fs::File::open(data)?.sync_all()?;
    publish_keys(config)?;
    current(data)
}

/// Begins to rotate the log's key: from the node's next start on, checkpoints are signed with both. Receipts stay with the old
/// one, which is the one that everybody knows.
///
/// # Errors
/// If a rotation is under way, or the key cannot be written.
pub(crate) fn begin_rotation(config: &Config) -> Result<()> {
    if node::next_signing_key(config)?.is_some() {
        bail!("a rotation is under way; it ends with `--finish`");
    }
    config.secrets.files()?.replace(keys::NEXT_LOG, &*Zeroizing::new(keys::random::<32>()?))?;
    publish_keys(config)
}

/// Ends the rotation: the next key signs alone. The old one's public half is kept, for what it signed.
///
/// # Errors
/// If the node runs, no rotation is under way, or no checkpoint was signed with both yet.
pub(crate) fn finish_rotation(config: &Config) -> Result<()> {
    let data = &config.data;
    let _held = DirectoryLock::take(data).context("stop the node first")?;
    let files = config.secrets.files()?;
    let Some(next) = node::next_signing_key(config)? else {
        if files.exists(keys::NEXT_LOG)? {
            // The key was replaced, and a crash came before the file beside it was gone.
            files.remove(keys::NEXT_LOG)?;
            return publish_keys(config);
        }
        bail!("no rotation is under way");
    };
    let next = next.verifying_key()?;
    let note = fs::read_to_string(data.join("ledger/checkpoint"))
        .context("cannot read ledger/checkpoint")?;
    checkpoint::open(&note, &[next]).context(
        "no checkpoint was signed with the next key yet: start the node, and let it serve until everybody knows both keys",
    )?;
    let old = node::log_key(config)?;
    let retired = data.join(RETIRED);
    let former = there(&retired)?.unwrap_or_default();
    store(&retired, &format!("{former}{old}\n"))?;
    files.replace(keys::LOG, &*files.read_key::<32>(keys::NEXT_LOG)?)?;
    files.remove(keys::NEXT_LOG)?;
    publish_keys(config)
}

/// Public keys that signed the log, or a generation of it, and sign no more.
///
/// # Errors
/// If their file is there and is not one of keys.
pub(crate) fn retired_keys(data: &Path) -> Result<Vec<VerifyingKey>> {
    let text = there(&data.join(RETIRED))?.unwrap_or_default();
    let keys = text.lines().map(VerifyingKey::parse);
    keys.collect::<Result<_, _>>().with_context(|| format!("`{RETIRED}`"))
}

/// Writes down by which keys the log is checked, one a line.
fn publish_keys(config: &Config) -> Result<()> {
    let mut text = format!("{}\n", node::log_key(config)?);
    if let Some(next) = node::next_signing_key(config)? {
        text.push_str(&format!("{}\n", next.verifying_key()?));
    }
    store(&config.data.join("keys/log.pub"), &text)
}

fn place(data: &Path, number: u64) -> PathBuf {
    data.join("generations").join(number.to_string())
}

fn private(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make `{}`", path.display()))
}

fn store(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::File::open(path)?.sync_all())
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    }
}
