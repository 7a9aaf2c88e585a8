//! `portcullis verify`: checks evidence and logs offline, with public keys only.

use anyhow::{Context, Result};
use ledger::bundle::{self, OpenedTouch, Verified};
use ledger::checkpoint;
use ledger::cosign::CosignerKey;
use ledger::full::{Audited, verify_full};
use ledger::note::VerifyingKey;
use std::path::Path;
use std::sync::Arc;
use storage::embedded::disk::LocalDisk;
use storage::embedded::view::LogView;

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

/// Replays a whole log from a data directory against its checkpoint: every entry on exactly one chain, every sum right.
///
/// # Errors
/// What is wrong with the log, or that it cannot be read.
pub(crate) fn whole_log(directory: &Path, keys: &[VerifyingKey]) -> Result<Audited> {
    let note = std::fs::read_to_string(directory.join("ledger/checkpoint"))
        .context("cannot read ledger/checkpoint")?;
    let checkpoint = checkpoint::open(&note, keys)?;
    let disk = LocalDisk::new(directory)
        .with_context(|| format!("cannot read `{}`", directory.display()))?;
    let view = LogView::at_rest(Arc::new(disk))?;
    let mut unreadable = None;
    let records = view.records_from(0).map_while(|record| match record {
        Ok((_, stored)) => Some(stored),
        Err(error) => {
            unreadable = Some(error);
            None
        }
    });
    let records: Vec<_> =
        records.take(usize::try_from(checkpoint.tree.size).unwrap_or(usize::MAX)).collect();
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    Ok(verify_full(&records, &checkpoint)?)
}
