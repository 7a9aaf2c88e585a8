//! The node's secret keys: made once, kept as files that only their owner can read.

use anyhow::{Context, Result, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The 32-byte secrets of a node, by file name.
pub(crate) const NAMES: [&str; 4] =
    ["log.key", "token.key", "vault-index.key", "vault-wrapping.key"];

/// 32 bytes from the operating system.
///
/// # Errors
/// If it has no randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no randomness")?;
    Ok(bytes)
}

/// Writes a secret to a file that did not exist, for its owner only.
///
/// # Errors
/// If it exists, or cannot be written.
pub(crate) fn write(path: &Path, secret: &[u8]) -> Result<()> {
    let what = || format!("cannot write the key `{}`", path.display());
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(path).with_context(what)?;
    file.write_all(secret).and_then(|()| file.sync_all()).with_context(what)
}

/// Reads a secret of 32 bytes.
///
/// # Errors
/// If others can read the file, or it is not 32 bytes long.
pub(crate) fn read(path: &Path) -> Result<[u8; 32]> {
    let what = || format!("cannot read the key `{}`", path.display());
    let mode = std::fs::metadata(path).with_context(what)?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "the key `{}` can be read by others: chmod 600 it, and rotate it if that was so for long",
            path.display()
        );
    }
    let secret = std::fs::read(path).with_context(what)?;
    secret
        .try_into()
        .ok()
        .with_context(|| format!("the key `{}` is not 32 bytes long", path.display()))
}
