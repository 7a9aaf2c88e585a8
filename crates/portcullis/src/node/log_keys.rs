//! The keys of a data directory's log and vault, and the log's name.

use crate::config::Config;
use crate::{generation, keys};
use anyhow::{Context, Result};
use ledger::note::{self, VerifyingKey};
use storage::embedded::disk::LocalDisk;
use storage::embedded::vault::{self, VaultKeys};

/// Name of the node's log: deployment, node, generation.
pub(crate) fn log_origin(deployment: &str, generation: u64) -> String {
    format!("{deployment}/node-1/{generation}")
}

/// The public key of a data directory's log.
///
/// # Errors
/// If the key file cannot be read.
pub(crate) fn log_key(config: &Config) -> Result<VerifyingKey> {
    signing_key(config)?.verifying_key().context("the log's key")
}

pub(crate) fn signing_key(config: &Config) -> Result<note::SigningKey> {
    note_key(config, &*config.secrets.files()?.read_key(keys::LOG)?)
}

/// The key that is to follow, while it is being rotated.
///
/// # Errors
/// If its file is there and cannot be read.
pub(crate) fn next_signing_key(config: &Config) -> Result<Option<note::SigningKey>> {
    let files = config.secrets.files()?;
    let next = files.read_key_if_there(keys::NEXT_LOG)?;
    // If it is the log's key already, the rotation ended and a crash came before its file was gone.
    let signs = files.read_key::<32>(keys::LOG)?;
    next.filter(|next| **next != *signs).map(|next| note_key(config, &next)).transpose()
}

pub(crate) fn note_key(config: &Config, seed: &[u8; 32]) -> Result<note::SigningKey> {
    let origin = log_origin(&config.deployment, generation::current(&config.data)?);
    note::SigningKey::new(&origin, seed).context("`deployment` cannot stand in a log's name")
}

/// The keys of a data directory's vault.
///
/// # Errors
/// If a key file cannot be read.
pub(crate) fn vault_keys(config: &Config) -> Result<VaultKeys> {
    let (wrapping_id, wrapping) = vault::keys::in_use(&LocalDisk::new(&config.data)?)?;
    let files = config.secrets.files()?;
    let wrapping = files.read_key(wrapping.trim_start_matches("keys/"))?;
    Ok(VaultKeys { index: *files.read_key("vault-index.key")?, wrapping: *wrapping, wrapping_id })
}
