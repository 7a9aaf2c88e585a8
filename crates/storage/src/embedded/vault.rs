//! The subject vault: who stands behind a pseudonym. Rows are added, never changed; erasing replaces a row by an empty one.
//!
//! [`Vault::row`] answers from memory and queues the row of a subject it had not seen. A record must never be durable before the
//! rows of the subjects it names, or those people could not be told. Why that holds:
//!
//! 1. `row` queues a row *before* it puts the subject into the map, both under the subject's lock; so whoever is given a
//!    pseudonym, first or later, is given it after the row is queued.
//! 2. A caller hands its record to the recorder after it was given the pseudonyms in it.
//! 3. The recorder first takes records from its queue, then calls `flush`, then writes the records. `flush` makes durable all that
//!    was queued when it was called, which by 1 and 2 includes every row those records name.
//!
//! What it does not do: hold back a pseudonym until its row is durable. A row that a crash loses was named by no durable record.

mod erase;
pub mod keys;
mod load;
mod quarters;
pub(crate) mod row;

pub use erase::{ERASED_ACTION, ErasedRow, Eraser};

use crate::embedded::disk::{FileIdentity, KeepSynced, SyncedFile};
use crate::embedded::unavailable::{OpenFailed, Unavailable};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::{Pseudonym, SubjectId, SubjectOrdinal, UnixMicros};
use quarters::Quarters;
use row::{HEADER_BYTES, ROW_BYTES, RowHeader, WrappingKey};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use zeroize::Zeroize;

/// Where the rows lie in the data directory.
pub(crate) const ROWS_PATH: &str = "vault/rows";

const SHARDS: usize = 64;
/// Rows waiting for the disk; beyond it unknown subjects are refused. 16 MiB of rows.
const PENDING_MAX: usize = 65_536;
/// Space is allocated and zero-filled in steps of this many bytes, so that most syncs change no file length.
const GROW_BYTES: u64 = 256 << 10;
/// Rows in one write and sync.
const WRITE_ROWS_MAX: usize = 4_096;

/// The vault's two keys. Wiped when dropped.
#[derive(Clone)]
pub struct VaultKeys {
    /// Finds a subject's row. It cannot be changed without reading every row.
    pub index: [u8; 32],
    /// Encrypts rows.
    pub wrapping: [u8; 32],
    /// The number rows name the wrapping key by.
    pub wrapping_id: u16,
}

impl Drop for VaultKeys {
    fn drop(&mut self) {
        self.index.zeroize();
        self.wrapping.zeroize();
    }
}

/// Subjects, their ordinals and their pseudonyms. Shared by all request tasks and the recorder's thread.
pub struct Vault {
    index_key: hmac::Key,
    random: SystemRandom,
    shards: Vec<RwLock<Shard>>,
    /// Lock order: a shard, then those of `quarters`, then `pending`; and `rewriting`, then `store`, then `pending`. `forgotten` is last of all.
    quarters: Quarters,
    pending: Mutex<Pending>,
    /// Rows that are durable.
    durable: AtomicU32,
    /// Rows of nobody any more.
    erased: AtomicU32,
    /// Rows that nobody is found by and that are still whole in the file, with their marks. Each goes when a rewrite without it is durable.
    forgotten: Mutex<BTreeMap<SubjectOrdinal, [u8; 32]>>,
    store: RwLock<Store>,
    rewriting: Mutex<()>,
}

/// The file of the rows and the key they are under. Both change at once, when all rows are written again.
struct Store {
    file: Arc<dyn SyncedFile>,
    key: Arc<WrappingKey>,
}

type Shard = HashMap<u128, Known, BuildHasherDefault<AlreadyHashed>>;

#[derive(Clone, Copy)]
struct Known {
    ordinal: SubjectOrdinal,
    seed: [u8; 32],
    quarter: u32,
    pseudonym: Pseudonym,
}

/// Rows not yet durable, and how far the file reaches.
struct Pending {
    next_ordinal: u32,
    rows: Vec<[u8; ROW_BYTES]>,
    /// What the next rows are sealed under.
    key: Arc<WrappingKey>,
    /// Zero-filled length of the file.
    allocated: u64,
    /// Set by the first write or sync that failed.
    stopped: Option<String>,
}

impl Vault {
    /// Opens the vault, or makes an empty one.
    ///
    /// # Errors
    /// [`OpenFailed::Key`] if the rows are of other keys; [`OpenFailed::Corrupt`] with the place; [`OpenFailed::Disk`].
    pub fn open(disk: &dyn KeepSynced, keys: &VaultKeys) -> Result<Self, OpenFailed> {
        let failed = |source| OpenFailed::Disk { path: ROWS_PATH.to_owned(), source };
        disk.create_dir("vault").map_err(failed)?;
        erase::remove_new(disk).map_err(failed)?;
        let file = match disk.open(ROWS_PATH) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let index_key = hmac::Key::new(hmac::HMAC_SHA256, &keys.index);
                disk.replace(ROWS_PATH, &row::header(&index_key)).map_err(failed)?;
                disk.open(ROWS_PATH).map_err(failed)?
            }
            Err(source) => return Err(failed(source)),
        };
        // Its name may be one that a process gave it and died.
        disk.sync_dir("vault").map_err(failed)?;
        let vault = Self::over(file, keys)?;
        let (count, torn) = vault.load(keys.wrapping_id)?;
        load::settle(&*vault.store().file, count, torn).map_err(failed)?;
        Ok(vault)
    }

    /// Reads the vault beside the node that has it open, and writes nothing, not even what a torn tail calls for. It knows every
    /// subject that a record names which was durable before this was called. Ask it; give it no subject of its own.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn look(disk: &dyn KeepSynced, keys: &VaultKeys) -> Result<Self, OpenFailed> {
        let file = disk.open(ROWS_PATH);
        let failed = |source| OpenFailed::Disk { path: ROWS_PATH.to_owned(), source };
        let vault = Self::over(file.map_err(failed)?, keys)?;
        vault.load(keys.wrapping_id)?;
        Ok(vault)
    }

    /// The vault in `file`, of which nothing was read yet.
    fn over(file: Arc<dyn SyncedFile>, keys: &VaultKeys) -> Result<Self, OpenFailed> {
        let failed = |source| OpenFailed::Disk { path: ROWS_PATH.to_owned(), source };
        let index_key = hmac::Key::new(hmac::HMAC_SHA256, &keys.index);
        let Some(wrapping_key) = WrappingKey::new(keys.wrapping_id, &keys.wrapping) else {
            return Err(OpenFailed::Key { what: "the vault's wrapping key is unusable".into() });
        };
        let key = Arc::new(wrapping_key);
        Ok(Self {
            index_key,
            random: SystemRandom::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            quarters: Quarters::default(),
            pending: Mutex::new(Pending {
                next_ordinal: 0,
                rows: Vec::new(),
                key: Arc::clone(&key),
                allocated: file.length().map_err(failed)?,
                stopped: None,
            }),
            durable: AtomicU32::new(0),
            erased: AtomicU32::new(0),
            forgotten: Mutex::default(),
            store: RwLock::new(Store { file, key }),
            rewriting: Mutex::default(),
        })
    }

    /// A subject's ordinal, and its pseudonym in the quarter of `now`. A subject not seen before is given both.
    ///
    /// # Errors
    /// [`Unavailable::Busy`] if too many new subjects wait for the disk; [`Unavailable::Stopped`] if it failed.
    pub fn row(
        &self,
        subject: &SubjectId,
        now: UnixMicros,
    ) -> Result<(SubjectOrdinal, Pseudonym), Unavailable> {
        let quarter = now.quarter();
        let tag = hmac::sign(&self.index_key, subject.as_str().as_bytes());
        let key = map_key(tag.as_ref());
        let Some(shard) = self.shards.get(shard_of(key)) else {
            return Err(Unavailable::Stopped("the vault has no shards".into()));
        };
        let known = shard.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        match known {
            Some(known) if known.quarter == quarter => Ok((known.ordinal, known.pseudonym)),
            Some(known) => {
                let pseudonym = pseudonym(&known.seed, quarter);
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                // Forgotten meanwhile, it stays forgotten.
                if let Some(still) = shard.get_mut(&key).filter(|it| it.ordinal == known.ordinal) {
                    *still = Known { quarter, pseudonym, ..known };
                }
                Ok((known.ordinal, pseudonym))
            }
            None => {
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                let known = match shard.get(&key) {
                    Some(other_was_faster) => *other_was_faster,
                    None => {
                        let known = self.queue_row(subject, tag.as_ref(), quarter)?;
                        shard.insert(key, known);
                        known
                    }
                };
                Ok((known.ordinal, pseudonym(&known.seed, quarter)))
            }
        }
    }

    /// A subject's pseudonym in a quarter; `None` if it was never seen. Asking leaves no trace.
    pub fn pseudonym_of(&self, subject: &SubjectId, quarter: u32) -> Option<Pseudonym> {
        let tag = hmac::sign(&self.index_key, subject.as_str().as_bytes());
        let key = map_key(tag.as_ref());
        let shard = self.shards.get(shard_of(key))?.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key).map(|known| pseudonym(&known.seed, quarter))
    }

    /// A subject's ordinal; `None` if it was never seen. Asking leaves no trace.
    pub fn ordinal(&self, subject: &SubjectId) -> Option<SubjectOrdinal> {
        let tag = hmac::sign(&self.index_key, subject.as_str().as_bytes());
        let key = map_key(tag.as_ref());
        let shard = self.shards.get(shard_of(key))?.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key).map(|known| known.ordinal)
    }

    /// Which subject had this pseudonym in this quarter. The first question about a quarter costs one HMAC per subject.
    ///
    /// `None` if there is none, or the subject was erased.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`] if the row cannot be read.
    pub fn subject_of(
        &self,
        pseudonym: &Pseudonym,
        quarter: u32,
    ) -> Result<Option<SubjectId>, Unavailable> {
        self.ordinal_of(pseudonym, quarter).map_or(Ok(None), |ordinal| self.subject(ordinal))
    }

    /// The subject with this ordinal; `None` if it was never given or its subject was erased.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`] if the row cannot be read.
    pub fn subject(&self, ordinal: SubjectOrdinal) -> Result<Option<SubjectId>, Unavailable> {
        Ok(self.opened(ordinal)?.map(|(subject, _)| subject))
    }

    /// What only the vault that made this row can say of it: HMAC-SHA-256(its seed, `portcullis/index-row/1`), the first 16 bytes. Rows are
    /// added in order, so a vault that says the same of one has the same subjects before it. `None` as for [`Vault::subject`].
    ///
    /// # Errors
    /// As for [`Vault::subject`].
    pub fn row_mark(&self, ordinal: SubjectOrdinal) -> Result<Option<[u8; 16]>, Unavailable> {
        let Some((_, seed)) = self.opened(ordinal)? else { return Ok(None) };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
        let mark = hmac::sign(&key, b"portcullis/index-row/1");
        Ok(mark.as_ref().first_chunk().copied())
    }

    /// The subject and the seed of a row; `None` if it is nobody's.
    fn opened(
        &self,
        ordinal: SubjectOrdinal,
    ) -> Result<Option<(SubjectId, [u8; 32])>, Unavailable> {
        if self.forgotten().contains_key(&ordinal) {
            return Ok(None);
        }
        let mut row = [0; ROW_BYTES];
        let store = self.store();
        {
            let pending = self.pending();
            if ordinal.0 >= pending.next_ordinal {
                return Ok(None);
            }
            let durable = self.durable.load(Ordering::Acquire);
            if let Some(place) = ordinal.0.checked_sub(durable)
                && let Some(waiting) = pending.rows.get(place as usize)
            {
                row = *waiting;
            }
        }
        if row == [0; ROW_BYTES] {
            let read = store.file.read_at(row_offset(ordinal.0), &mut row);
            read.map_err(|e| Unavailable::Stopped(format!("`{ROWS_PATH}` cannot be read: {e}")))?;
        }
        // A row that says nothing is not one of nobody: that person would be left out of an answer as erased.
        let unreadable = |what| {
            let place = format!("`{ROWS_PATH}` at offset {}", row_offset(ordinal.0));
            Unavailable::Stopped(format!("{place}: {what}"))
        };
        let header = row::read(&row).filter(|header| header.ordinal == ordinal);
        let header = header.ok_or_else(|| unreadable("there is no whole row of this place"))?;
        if header.erased {
            return Ok(None);
        }
        let opened = row::open(&row, &store.key)
            .ok_or_else(|| unreadable("the row does not open under the key of its vault"))?;
        Ok(Some(opened))
    }

    /// How many ordinals were given: all are below this.
    pub fn ordinals(&self) -> u32 {
        self.pending().next_ordinal
    }

    /// How many subjects were erased.
    pub fn erased(&self) -> u32 {
        let forgotten = self.forgotten();
        self.erased.load(Ordering::Relaxed) + u32::try_from(forgotten.len()).unwrap_or(0)
    }

    /// Which file the rows are in.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn identity(&self) -> io::Result<FileIdentity> {
        self.store().file.identity()
    }

    /// Makes durable every row queued so far. Called by the recorder's thread only.
    ///
    /// # Errors
    /// [`Unavailable::DiskFull`] if the file cannot grow: the rows stay queued, records that name subjects must wait.
    /// [`Unavailable::Stopped`] if a write or sync failed: final.
    pub(crate) fn flush(&self) -> Result<(), Unavailable> {
        loop {
            // Held until the rows are written: sealed under its key, they belong into its file.
            let store = self.store();
            let (rows, allocated) = {
                let pending = self.pending();
                if let Some(why) = &pending.stopped {
                    return Err(Unavailable::Stopped(why.clone()));
                }
                let rows: Vec<u8> =
                    pending.rows.iter().take(WRITE_ROWS_MAX).flatten().copied().collect();
                (rows, pending.allocated)
            };
            if rows.is_empty() {
                return Ok(());
            }
            match self.write(&*store.file, &rows, allocated) {
                Ok(allocated) => {
                    let count = rows.len() / ROW_BYTES;
                    let mut pending = self.pending();
                    pending.allocated = allocated;
                    pending.rows.drain(..count);
                    let count = u32::try_from(count).unwrap_or(0);
                    // Under the same lock as the rows, so that a reader finds each row in one place.
                    self.durable.fetch_add(count, Ordering::Release);
                }
                Err(Refusal::Full) => return Err(Unavailable::DiskFull),
                Err(Refusal::Failed(e)) => {
                    let why = format!("`{ROWS_PATH}`: {e}");
                    self.pending().stopped = Some(why.clone());
                    return Err(Unavailable::Stopped(why));
                }
            }
        }
    }

    fn write(&self, file: &dyn SyncedFile, rows: &[u8], allocated: u64) -> Result<u64, Refusal> {
        let at = row_offset(self.durable.load(Ordering::Acquire));
        let end = at + rows.len() as u64;
        let mut allocated = allocated;
        while allocated < end {
            let zeros = vec![0; usize::try_from(GROW_BYTES).unwrap_or(0)];
            match file.write_at(allocated, &zeros) {
                Ok(()) => allocated += GROW_BYTES,
                Err(e) if e.kind() == ErrorKind::StorageFull => return Err(Refusal::Full),
                Err(e) => return Err(Refusal::Failed(e)),
            }
        }
        file.write_at(at, rows).map_err(Refusal::Failed)?;
        file.sync_data().map_err(Refusal::Failed)?;
        Ok(allocated)
    }

    /// Queues the row of a subject not seen before. The caller holds the lock of the subject's shard.
    fn queue_row(
        &self,
        subject: &SubjectId,
        index: &[u8],
        quarter: u32,
    ) -> Result<Known, Unavailable> {
        let mut secret = [0; 44];
        let mut tag = [0; 32];
        tag.copy_from_slice(index.get(..32).unwrap_or(&[0; 32]));
        let no_random = |_| Unavailable::Stopped("the system gave no random bytes".into());
        self.random.fill(&mut secret).map_err(no_random)?;
        let mut seed = [0; 32];
        let mut nonce = [0; 12];
        seed.copy_from_slice(secret.get(..32).unwrap_or(&[0; 32]));
        nonce.copy_from_slice(secret.get(32..).unwrap_or(&[0; 12]));

        let ordinal = self.quarters.adding(&seed, || {
            let mut pending = self.pending();
            if let Some(why) = &pending.stopped {
                return Err(Unavailable::Stopped(why.clone()));
            }
            let ordinal = SubjectOrdinal(pending.next_ordinal);
            let next = pending.next_ordinal.checked_add(1);
            let Some(next) = next.filter(|_| pending.rows.len() < PENDING_MAX) else {
                return Err(Unavailable::Busy(std::time::Duration::ZERO));
            };
            let header = RowHeader {
                erased: false,
                wrapping_key: 0,
                ordinal,
                durable_before: self.durable.load(Ordering::Acquire),
                index: tag,
            };
            let row = row::seal(&header, subject, &seed, nonce, &pending.key);
            let row = row.ok_or_else(|| Unavailable::Stopped("sealing a row failed".into()))?;
            pending.rows.push(row);
            pending.next_ordinal = next;
            Ok(ordinal)
        })?;
        Ok(Known { ordinal, seed, quarter, pseudonym: pseudonym(&seed, quarter) })
    }

    fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forgotten(&self) -> MutexGuard<'_, BTreeMap<SubjectOrdinal, [u8; 32]>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Refusal {
    Full,
    Failed(io::Error),
}

/// The pseudonym of the subject with this seed: HMAC-SHA-256(seed, quarter as 4 bytes big-endian), its first 16 bytes.
fn pseudonym(seed: &[u8; 32], quarter: u32) -> Pseudonym {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), &quarter.to_be_bytes());
    Pseudonym(tag.as_ref().first_chunk().copied().unwrap_or_default())
}

fn row_offset(ordinal: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(ordinal) * ROW_BYTES as u64
}

/// Half of an HMAC: two subjects collide with a probability of 2^-64 at 2^32 subjects.
fn map_key(tag: &[u8]) -> u128 {
    u128::from_be_bytes(tag.first_chunk().copied().unwrap_or_default())
}

fn shard_of(key: u128) -> usize {
    usize::try_from(key >> 64).unwrap_or(0) % SHARDS
}

/// The keys of the maps are HMACs already: their low 64 bits serve as the hash.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = u64::try_from(key & u128::from(u64::MAX)).unwrap_or(0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
