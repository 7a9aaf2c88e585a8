//! Whose a pseudonym is: a map of everybody for a quarter, made when the first question about it comes.
//!
//! A log is read in order, and of each record its own quarter is asked for and, where that does not know somebody, the one before. So two
//! maps are held; a third takes the place of the one that was asked for longest ago. Each costs some 50 bytes and an HMAC per subject.

use super::{AlreadyHashed, Known, Vault, pseudonym, shard_of};
use model::{Pseudonym, SubjectOrdinal};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Maps that are held at a time.
const HELD: usize = 2;

type Shard = HashMap<u128, SubjectOrdinal, BuildHasherDefault<AlreadyHashed>>;

/// The maps that are held.
#[derive(Default)]
pub(super) struct Quarters {
    maps: RwLock<Vec<Arc<QuarterMap>>>,
    /// Questions so far.
    asked: AtomicU64,
    /// How often somebody was forgotten, counted before they are taken out of the maps.
    forgotten: AtomicU64,
}

/// Ordinals by the pseudonyms of one quarter.
struct QuarterMap {
    quarter: u32,
    shards: Vec<RwLock<Shard>>,
    /// Set when the subjects known before the map was made are in it.
    filled: OnceLock<()>,
    /// Which question was the last.
    last: AtomicU64,
}

impl Vault {
    /// The ordinal of the subject that had this pseudonym in this quarter. The first question about a quarter costs one HMAC per subject.
    pub fn ordinal_of(&self, pseudonym: &Pseudonym, quarter: u32) -> Option<SubjectOrdinal> {
        let map = self.quarters.map(quarter);
        map.filled.get_or_init(|| self.fill(&map));
        let shard = map.shard(*pseudonym)?;
        let key = u128::from_be_bytes(pseudonym.0);
        shard.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Calls `visit` with the pseudonym in `quarter` and the ordinal of every subject, in no order. New subjects need not wait for it.
    pub fn pseudonyms(&self, quarter: u32, mut visit: impl FnMut(Pseudonym, SubjectOrdinal)) {
        for shard in 0..self.shards.len() {
            for known in self.known(shard) {
                visit(pseudonym(&known.seed, quarter), known.ordinal);
            }
        }
    }

    /// Puts everybody into a map.
    ///
    /// A row is queued under the read side of `maps` and under its shard's lock. So a subject that did not find the map when it was queued is
    /// in its shard, or will be when `known` gets that shard's lock.
    fn fill(&self, map: &QuarterMap) {
        for shard in 0..self.shards.len() {
            let forgotten = self.quarters.forgotten.load(Ordering::Acquire);
            self.put(map, shard, &self.known(shard), forgotten);
        }
    }

    /// Puts those into a map who were `known` in a shard when so many had been forgotten.
    fn put(&self, map: &QuarterMap, shard: usize, known: &[Known], forgotten: u64) {
        for known in known {
            map.insert(pseudonym(&known.seed, map.quarter), known.ordinal);
        }
        if self.quarters.forgotten.load(Ordering::Acquire) != forgotten {
            // Whoever was forgotten since may have been taken out of the map before they were in it.
            let still: HashSet<_> = self.known(shard).iter().map(|it| it.ordinal).collect();
            for known in known.iter().filter(|known| !still.contains(&known.ordinal)) {
                map.remove(pseudonym(&known.seed, map.quarter));
            }
        }
    }

    /// Who is in a shard. A copy, because whoever reads of somebody for the first time waits for the shard's lock.
    fn known(&self, shard: usize) -> Vec<Known> {
        let shard = self.shards.get(shard).map(RwLock::read);
        let shard = shard.map(|shard| shard.unwrap_or_else(PoisonError::into_inner));
        shard.map_or_else(Vec::new, |shard| shard.values().copied().collect())
    }
}

impl Quarters {
    /// Calls `queue`, and puts the subject with the seed and ordinal that it returns into the maps that there were when it was called.
    pub(super) fn adding<E>(
        &self,
        seed: &[u8; 32],
        queue: impl FnOnce() -> Result<SubjectOrdinal, E>,
    ) -> Result<SubjectOrdinal, E> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let ordinal = queue()?;
        for map in &*maps {
            map.insert(pseudonym(seed, map.quarter), ordinal);
        }
        Ok(ordinal)
    }

    /// Takes a subject out of the maps, who is in no shard any more.
    pub(super) fn forget(&self, seed: &[u8; 32]) {
        self.forgotten.fetch_add(1, Ordering::Release);
        for map in &*self.maps.read().unwrap_or_else(PoisonError::into_inner) {
            map.remove(pseudonym(seed, map.quarter));
        }
    }

    /// The map of a quarter, which may still have to be filled.
    fn map(&self, quarter: u32) -> Arc<QuarterMap> {
        let now = self.asked.fetch_add(1, Ordering::Relaxed);
        let of = |maps: &[Arc<QuarterMap>]| {
            let map = maps.iter().find(|map| map.quarter == quarter)?;
            map.last.store(now, Ordering::Relaxed);
            Some(Arc::clone(map))
        };
        if let Some(map) = of(&self.maps.read().unwrap_or_else(PoisonError::into_inner)) {
            return map;
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        of(&maps).unwrap_or_else(|| {
            let by_use = |map: &(usize, &Arc<QuarterMap>)| map.1.last.load(Ordering::Relaxed);
            if maps.len() >= HELD
                && let Some((oldest, _)) = maps.iter().enumerate().min_by_key(by_use)
            {
                // Whoever is asking it keeps it until they have their answer.
                maps.swap_remove(oldest);
            }
            let map = QuarterMap {
                quarter,
                shards: (0..super::SHARDS).map(|_| RwLock::default()).collect(),
                filled: OnceLock::new(),
                last: AtomicU64::new(now),
            };
            let map = Arc::new(map);
            maps.push(Arc::clone(&map));
            map
        })
    }
}

impl QuarterMap {
    fn shard(&self, pseudonym: Pseudonym) -> Option<&RwLock<Shard>> {
        self.shards.get(shard_of(u128::from_be_bytes(pseudonym.0)))
    }

    fn insert(&self, pseudonym: Pseudonym, ordinal: SubjectOrdinal) {
        if let Some(shard) = self.shard(pseudonym) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.insert(u128::from_be_bytes(pseudonym.0), ordinal);
        }
    }

    fn remove(&self, pseudonym: Pseudonym) {
        if let Some(shard) = self.shard(pseudonym) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.remove(&u128::from_be_bytes(pseudonym.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::LocalDisk;
    use crate::embedded::vault::VaultKeys;
    use model::{SubjectId, UnixMicros};

    const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);

    fn with_subjects(count: u32) -> (tempfile::TempDir, Vault, Vec<SubjectId>) {
        let dir = tempfile::tempdir().unwrap();
        let keys = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
        let vault = Vault::open(&LocalDisk::new(dir.path()).unwrap(), &keys).unwrap();
        let subjects: Vec<_> =
            (0..count).map(|n| SubjectId::new(&format!("account-{n}")).unwrap()).collect();
        for subject in &subjects {
            vault.row(subject, NOW).unwrap();
        }
        (dir, vault, subjects)
    }

    #[test]
    fn two_quarters_are_held_and_every_one_is_answered() {
        let (_dir, vault, subjects) = with_subjects(20);
        let first = NOW.quarter();
        for quarter in (first..first + 9).chain((first..first + 9).rev()) {
            for subject in &subjects {
                let pseudonym = vault.pseudonym_of(subject, quarter).unwrap();
                assert_eq!(vault.ordinal_of(&pseudonym, quarter), vault.ordinal(subject));
                // The quarter before knows nobody of that name, and is asked all the same.
                assert_eq!(vault.ordinal_of(&pseudonym, quarter - 1), None);
            }
            let held = vault.quarters.maps.read().unwrap();
            let quarters: Vec<u32> = held.iter().map(|map| map.quarter).collect();
            assert_eq!(quarters.len(), HELD);
            assert!(quarters.contains(&quarter));
            assert!(quarters.contains(&(quarter - 1)));
        }
        let late = SubjectId::new("late").unwrap();
        let (ordinal, pseudonym) = vault.row(&late, NOW).unwrap();
        assert_eq!(vault.ordinal_of(&pseudonym, first), Some(ordinal));
    }

    #[test]
    fn nobody_waits_for_a_shard_while_pseudonyms_are_computed() {
        let (_dir, vault, _) = with_subjects(200);
        let mut seen = 0;
        vault.pseudonyms(NOW.quarter(), |_, _| {
            assert!(vault.shards.iter().all(|shard| shard.try_write().is_ok()));
            seen += 1;
        });
        assert_eq!(seen, 200);
    }

    #[test]
    fn who_is_forgotten_while_a_map_is_filled_is_in_none() {
        let (_dir, vault, subjects) = with_subjects(200);
        let quarter = NOW.quarter();
        let map = vault.quarters.map(quarter);
        let forgotten = vault.quarters.forgotten.load(Ordering::Acquire);
        let known: Vec<_> = (0..vault.shards.len()).map(|shard| vault.known(shard)).collect();
        let (gone, there) = subjects.split_at(100);
        let of = |these: &[SubjectId]| -> Vec<Pseudonym> {
            these.iter().map(|it| vault.pseudonym_of(it, quarter).unwrap()).collect()
        };
        let (of_gone, of_there) = (of(gone), of(there));
        gone.iter().for_each(|subject| vault.forget(subject));
        for (shard, known) in known.iter().enumerate() {
            vault.put(&map, shard, known, forgotten);
        }
        map.filled.set(()).unwrap();
        for pseudonym in of_gone {
            assert_eq!(vault.ordinal_of(&pseudonym, quarter), None);
        }
        for pseudonym in of_there {
            assert!(vault.ordinal_of(&pseudonym, quarter).is_some());
        }
    }
}
