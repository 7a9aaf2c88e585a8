//! Erasing: the rows of some subjects become rows of nobody, all others are written again under another key, and the former key goes.
//!
//! A row that is overwritten in its place may survive on the medium, in a snapshot, in a backup. Under a key that exists nowhere any more
//! it says nothing. So all rows are written to a file beside, which takes the place of the old one in one step, whole or not at all.
//!
//! The log has an [`ErasedRow`] of each erased subject, which names the row and nobody: [`Vault::forget_again`] finds those that came back
//! with an older copy of the vault, or that a crash kept from being erased.
//!
//! A row is forgotten first and erased later, maybe only at the third try. In between it is in `forgotten`, and it leaves that only when
//! the rows without it are durable: what a failed try leaves behind is never taken for somebody who may stay.

use super::row::{self, ROW_BYTES, WrappingKey};
use super::{
    Pending, ROWS_PATH, Store, Vault, WRITE_ROWS_MAX, keys, map_key, row_offset, shard_of,
};
use crate::embedded::disk::{KeepSynced, SyncedFile};
use crate::embedded::kept::KeptFiles;
use crate::embedded::unavailable::{OpenFailed, Unavailable};
use crate::secrets::Ring;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SecureRandom;
use model::{SubjectId, SubjectOrdinal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// The rows that are to take the place of those there are.
const NEW_PATH: &str = "vault/rows.new";
/// What the operator-action record of an erased row is called.
pub const ERASED_ACTION: &str = "subject_erased";

/// A row whose subject was erased, as the log names it: its ordinal, and HMAC-SHA-256(its seed, `portcullis/erased-row/1`). The seed goes
/// with the row, so nobody can tell from this who it was; whoever still has the row can tell that it is this one, under whatever key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedRow {
    /// The row.
    pub ordinal: SubjectOrdinal,
    pub(super) mark: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    schema: String,
    erasure: String,
    ordinal: u32,
    row: String,
}

const SCHEMA: &str = "portcullis.erased-row/1";

impl ErasedRow {
    /// The detail of its record. `erasure`: the id of the command that asked for it.
    pub fn to_detail(&self, erasure: &str) -> Vec<u8> {
        let detail = Detail {
            schema: SCHEMA.to_owned(),
            erasure: erasure.to_owned(),
            ordinal: self.ordinal.0,
            row: self.mark.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        // Strings and numbers always serialise.
        serde_json::to_vec(&detail).unwrap_or_default()
    }

    /// Reads [`ErasedRow::to_detail`].
    pub fn from_detail(detail: &[u8]) -> Option<Self> {
        let Detail { schema, ordinal, row, .. } = serde_json::from_slice(detail).ok()?;
        let mut mark = [0; 32];
        if schema != SCHEMA || row.len() != 64 {
            return None;
        }
        for (place, byte) in mark.iter_mut().enumerate() {
            *byte = u8::from_str_radix(row.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        Some(Self { ordinal: SubjectOrdinal(ordinal), mark })
    }
}

/// Erases rows of an open data directory.
pub struct Eraser {
    pub(crate) vault: Arc<Vault>,
    pub(crate) disk: Arc<dyn KeepSynced>,
    pub(crate) kept: Arc<KeptFiles>,
    /// What keys are sealed under.
    pub(crate) ring: Arc<Ring>,
    /// Whether rows were erased whose key is still there.
    pub(crate) key_is_due: AtomicBool,
}

impl Eraser {
    /// Forgets a subject whose row the log names as erased: from here on the vault finds nobody by it, and the next
    /// [`Eraser::erase`] takes it out. Whoever is seen from here on is somebody new.
    pub fn forget(&self, subject: &SubjectId) {
        self.vault.forget(subject);
    }

    /// Makes the rows that were forgotten rows of nobody and destroys the key that they were under. When this returns, nothing that the
    /// data directory holds leads from their pseudonyms to a person. Blocks for as long as all rows take to be written.
    ///
    /// # Errors
    /// [`Unavailable::DiskFull`], [`Unavailable::Stopped`]: call again. What was forgotten stays so, and goes with the call that succeeds.
    pub fn erase(&self) -> Result<(), Unavailable> {
        let failed = |e: io::Error| refused("keys", &e);
        self.key_is_due.store(true, Ordering::Relaxed);
        let former = self.vault.wrapping_id();
        let id = former.checked_add(1).ok_or_else(|| {
            Unavailable::Stopped("the vault's wrapping keys are used up".to_owned())
        })?;
        let key = keys::make(&*self.disk, id, &self.vault.random, &self.ring).map_err(failed)?;
        let key = WrappingKey::new(id, &key)
            .ok_or_else(|| Unavailable::Stopped("the wrapping key is unusable".to_owned()))?;
        self.vault.rewrite(&*self.disk, &self.kept, Some(key))?;
        keys::destroy_others(&*self.disk, id).map_err(failed)?;
        self.key_is_due.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether [`Eraser::erase`] has something to do: rows were forgotten, or erased and their key could not be destroyed yet.
    pub fn is_due(&self) -> bool {
        self.key_is_due.load(Ordering::Relaxed) || !self.vault.forgotten().is_empty()
    }
}

impl Vault {
    /// What the log is to say when this subject is erased; `None` if it has no row.
    pub fn erased_row(&self, subject: &SubjectId) -> Option<ErasedRow> {
        let tag = hmac::sign(&self.index_key, subject.as_str().as_bytes());
        let key = map_key(tag.as_ref());
        let shard = self.shards.get(shard_of(key))?.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key).map(|known| ErasedRow { ordinal: known.ordinal, mark: mark(&known.seed) })
    }

    /// Forgets those of these rows that are there after all: an older copy of the vault was put in place, or a crash came before they
    /// were erased. Whether there are any. For a vault that nobody asks yet.
    ///
    /// # Errors
    /// [`OpenFailed::Corrupt`] if a subject has a later row and the log does not say that the earlier one was erased. Then it does not come
    /// from an erasure: a row was put back that a crash had lost, say, in the place of somebody else's.
    pub(crate) fn forget_again(&self, erased: &[ErasedRow]) -> Result<bool, OpenFailed> {
        let erased: BTreeMap<_, _> = erased.iter().map(|row| (row.ordinal, row.mark)).collect();
        let unnamed =
            |(ordinal, mark): &(&SubjectOrdinal, &[u8; 32])| erased.get(ordinal) != Some(mark);
        if let Some((ordinal, _)) = self.forgotten().iter().find(unnamed) {
            return Err(OpenFailed::Corrupt {
                path: ROWS_PATH.to_owned(),
                offset: row_offset(ordinal.0),
                what: "the subject has two rows, and the log does not say that this one was erased"
                    .to_owned(),
            });
        }
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, known| {
                let Some(named) = erased.get(&known.ordinal) else { return true };
                let stays = *named != mark(&known.seed);
                if !stays {
                    self.forgotten().insert(known.ordinal, *named);
                }
                stays
            });
        }
        Ok(!self.forgotten().is_empty())
    }

    /// The number of the key that rows are under.
    pub(crate) fn wrapping_id(&self) -> u16 {
        self.store.read().unwrap_or_else(PoisonError::into_inner).key.id()
    }

    /// Writes all rows again, those that were forgotten as rows of nobody, under `new_key` if one is given.
    ///
    /// # Errors
    /// [`Unavailable::DiskFull`]: the rows in the file are as they were. [`Unavailable::Stopped`]: final if it was the last step that failed.
    pub(crate) fn rewrite(
        &self,
        disk: &dyn KeepSynced,
        kept: &KeptFiles,
        new_key: Option<WrappingKey>,
    ) -> Result<(), Unavailable> {
        let written = self.write_anew(disk, kept, new_key);
        if written.is_err() {
            // A second copy of everybody's rows. If it cannot be removed either, the next try or start does it.
            let _left = remove_new(disk);
        }
        written
    }

    fn write_anew(
        &self,
        disk: &dyn KeepSynced,
        kept: &KeptFiles,
        new_key: Option<WrappingKey>,
    ) -> Result<(), Unavailable> {
        let _one_at_a_time = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let erase: BTreeSet<SubjectOrdinal> = self.forgotten().keys().copied().collect();
        let failed = |e: io::Error| refused(NEW_PATH, &e);
        let (file, old_key) = {
            let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&store.file), Arc::clone(&store.key))
        };
        let key = new_key.map_or_else(|| Arc::clone(&old_key), Arc::new);
        remove_new(disk).map_err(failed)?;
        let new = disk.create(NEW_PATH, 0).map_err(failed)?;
        new.write_at(0, &row::header(&self.index_key)).map_err(failed)?;
        let copying = Copying {
            vault: self,
            from: &*file,
            to: &*new,
            old: &old_key,
            key: &key,
            erase: &erase,
        };
        let most = self.durable.load(Ordering::Acquire);
        copying.rows(0..most)?;
        // Nearly all of it is on the disk before anybody has to wait.
        new.sync_data().map_err(failed)?;

        // What was added meanwhile, and then nobody adds or reads until the new rows are in place.
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let mut pending = self.pending();
        if let Some(why) = &pending.stopped {
            return Err(Unavailable::Stopped(why.clone()));
        }
        let durable = self.durable.load(Ordering::Acquire);
        copying.rows(most..durable)?;
        let waiting = pending.rows.iter().map(|row| copying.row(row)).collect::<Option<Vec<_>>>();
        let waiting = waiting.ok_or_else(|| unreadable(durable))?;
        new.sync_data().map_err(failed)?;
        let put = kept.replace(ROWS_PATH, || {
            disk.rename(NEW_PATH, ROWS_PATH)?;
            disk.sync_dir("vault")?;
            new.identity()
        });
        if let Err(e) = put {
            // Nobody knows which rows a restart would find.
            let why = format!("`{ROWS_PATH}`: {e}");
            pending.stopped = Some(why.clone());
            return Err(Unavailable::Stopped(why));
        }
        *store = Store { file: new, key: Arc::clone(&key) };
        let Pending { rows, allocated, key: sealing, .. } = &mut *pending;
        (*rows, *allocated, *sealing) = (waiting, row_offset(durable), key);
        let mut forgotten = self.forgotten();
        forgotten.retain(|ordinal, _| !erase.contains(ordinal));
        self.erased.fetch_add(u32::try_from(erase.len()).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn forget(&self, subject: &SubjectId) {
        let tag = hmac::sign(&self.index_key, subject.as_str().as_bytes());
        let key = map_key(tag.as_ref());
        let Some(shard) = self.shards.get(shard_of(key)) else { return };
        let known = {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let Some(known) = shard.remove(&key) else { return };
            self.forgotten().insert(known.ordinal, mark(&known.seed));
            known
        };
        self.quarters.forget(&known.seed);
    }
}

/// Removes what a rewrite that failed, or that a crash cut short, left of the rows that were to take the place of the others.
pub(super) fn remove_new(disk: &dyn KeepSynced) -> io::Result<()> {
    match disk.remove(NEW_PATH) {
        Err(none) if none.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_dir("vault")),
    }
}

/// Rows on their way from one file to another.
struct Copying<'a> {
    vault: &'a Vault,
    from: &'a dyn SyncedFile,
    to: &'a dyn SyncedFile,
    old: &'a WrappingKey,
    key: &'a WrappingKey,
    erase: &'a BTreeSet<SubjectOrdinal>,
}

impl Copying<'_> {
    fn rows(&self, ordinals: std::ops::Range<u32>) -> Result<(), Unavailable> {
        let failed = |e: io::Error| refused(NEW_PATH, &e);
        let mut at = ordinals.start;
        while at < ordinals.end {
            let count = usize::try_from(ordinals.end - at).unwrap_or(0).min(WRITE_ROWS_MAX);
            let mut rows = vec![0; count * ROW_BYTES];
            self.from.read_at(row_offset(at), &mut rows).map_err(failed)?;
            let (rows, _) = rows.as_chunks::<ROW_BYTES>();
            let new = rows.iter().map(|row| self.row(row)).collect::<Option<Vec<_>>>();
            let new = new.ok_or_else(|| unreadable(at))?.concat();
            self.to.write_at(row_offset(at), &new).map_err(failed)?;
            at += u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    /// One row as it is to be; `None` if it cannot be read.
    fn row(&self, old: &[u8; ROW_BYTES]) -> Option<[u8; ROW_BYTES]> {
        let header = row::read(old)?;
        if header.erased || self.erase.contains(&header.ordinal) {
            return Some(row::erased(header.ordinal, header.durable_before));
        }
        if self.key.id() == self.old.id() {
            return Some(*old);
        }
        let (subject, seed) = row::open(old, self.old)?;
        let mut nonce = [0; 12];
        self.vault.random.fill(&mut nonce).ok()?;
        row::seal(&header, &subject, &seed, nonce, self.key)
    }
}

fn refused(path: &str, error: &io::Error) -> Unavailable {
    if error.kind() == ErrorKind::StorageFull {
        return Unavailable::DiskFull;
    }
    Unavailable::Stopped(format!("`{path}`: {error}"))
}

fn unreadable(from: u32) -> Unavailable {
    Unavailable::Stopped(format!("a row of `{ROWS_PATH}` from {from} on cannot be read"))
}

pub(super) fn mark(seed: &[u8; 32]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), b"portcullis/erased-row/1");
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}
