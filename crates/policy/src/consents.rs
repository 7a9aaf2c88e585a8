//! What subjects allowed, as decisions look at it: the consents in force, by id, in memory.
//!
//! A consent narrows a grant: some of its operations, some of its classes, one subject, until a date. It is kept durably elsewhere
//! and put in here before the first token that rests on it is issued; a consent that is not in here is not in force.

use model::{ClassSet, ConsentId, GrantId, IntegrationId, OperationId, UnixMicros};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What was agreed to, without whose it is. Thousands of consents share one of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// Whom it allows.
    pub integration: IntegrationId,
    /// The grant it is within.
    pub grant: GrantId,
    /// Which of the grant's operations.
    pub operations: BTreeSet<OperationId>,
    /// Which of the grant's classes.
    pub classes: ClassSet,
}

/// A consent in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What it allows.
    pub terms: Arc<Terms>,
    /// The first moment at which it is over.
    pub expires: UnixMicros,
}

/// Locks that the consents are spread over, so that readers seldom meet a writer.
const SHARDS: usize = 64;

/// The consents in force. One for each node, shared by its threads: about 70 bytes a consent.
///
/// Ending a consent takes one lock for as long as a removal takes; ending everything an integration was allowed looks at all of them, a
/// share at a time, and by no clock.
pub struct ConsentBook {
    shards: [RwLock<HashMap<ConsentId, InForce>>; SHARDS],
    /// The terms that consents share.
    terms: RwLock<BTreeSet<Arc<Terms>>>,
}

impl Default for ConsentBook {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), terms: RwLock::default() }
    }
}

impl ConsentBook {
    /// Puts a consent in force. One with the same id is replaced.
    pub fn put(&self, id: ConsentId, terms: Terms, expires: UnixMicros) {
        let known = read(&self.terms).get(&terms).cloned();
        let terms = known.unwrap_or_else(|| {
            let terms = Arc::new(terms);
            let mut all = write(&self.terms);
            // Another thread may have been first with an equal one.
            let kept = all.get(&terms).cloned().unwrap_or(terms);
            all.insert(Arc::clone(&kept));
            kept
        });
        write(self.shard(&id)).insert(id, InForce { terms, expires });
    }

    /// Ends a consent: nothing is decided by it once this returns. Whether it was in force.
    pub fn end(&self, id: &ConsentId) -> bool {
        write(self.shard(id)).remove(id).is_some()
    }

    /// Ends all consents to an integration that are in force.
    pub fn end_all(&self, integration: IntegrationId) {
        self.retain(|consent| consent.terms.integration != integration);
    }

    /// The consent, if it is in force at `now`.
    pub fn in_force(&self, id: &ConsentId, now: UnixMicros) -> Option<InForce> {
        read(self.shard(id)).get(id).filter(|consent| now < consent.expires).cloned()
    }

    /// Forgets what ran out, so that memory follows what is in force. Returns how many are left.
    pub fn tidy(&self, now: UnixMicros) -> usize {
        let left = self.retain(|consent| now < consent.expires);
        // Only this set holds terms that no consent has any more.
        write(&self.terms).retain(|terms| Arc::strong_count(terms) > 1);
        left
    }

    fn retain(&self, holds: impl Fn(&InForce) -> bool) -> usize {
        let left = self.shards.iter().map(|shard| {
            let mut shard = write(shard);
            shard.retain(|_, consent| holds(consent));
            shard.len()
        });
        left.sum()
    }

    fn shard(&self, id: &ConsentId) -> &RwLock<HashMap<ConsentId, InForce>> {
        // The last byte of a UUIDv7 is random.
        let [shard, ..] = &self.shards;
        let place = usize::from(id.as_bytes()[15]) % SHARDS;
        self.shards.get(place).unwrap_or(shard)
    }
}

impl fmt::Debug for ConsentBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consents: usize = self.shards.iter().map(|shard| read(shard).len()).sum();
        write!(f, "ConsentBook({consents} consents)")
    }
}

// A panic while one of these locks is held leaves a map that is whole: nothing between taking and leaving it can fail halfway.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const GRANT: GrantId = GrantId::from_bytes([1; 16]);

    fn id(n: u8) -> ConsentId {
        ConsentId::from_bytes([n; 16])
    }

    fn integration(n: u8) -> IntegrationId {
        IntegrationId::from_bytes([n; 16])
    }

    fn terms(n: u8) -> Terms {
        let operations = BTreeSet::new();
        Terms { integration: integration(n), grant: GRANT, operations, classes: ClassSet::EMPTY }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, u64),
        End(u8),
        EndAll(u8),
        Tidy(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..8, 0_u8..3, 0_u64..20).prop_map(|(a, b, c)| Step::Put(a, b, c)),
            (0_u8..8).prop_map(Step::End),
            (0_u8..3).prop_map(Step::EndAll),
            (0_u64..20).prop_map(Step::Tidy),
        ]
    }

    proptest! {
        /// The naive book: every consent ever put, and every word that ended some.
        #[test]
        fn nothing_ended_is_in_force(steps in prop::collection::vec(step(), 0..40), now in 0_u64..20) {
            let book = ConsentBook::default();
            let mut known: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
            let mut tidied = 0;
            for step in steps {
                match step {
                    Step::Put(n, of, expires) => {
                        book.put(id(n), terms(of), UnixMicros(expires));
                        known.insert(n, (of, expires));
                    }
                    Step::End(n) => {
                        book.end(&id(n));
                        known.remove(&n);
                    }
                    Step::EndAll(of) => {
                        book.end_all(integration(of));
                        known.retain(|_, (which, _)| *which != of);
                    }
                    Step::Tidy(at) => {
                        book.tidy(UnixMicros(at));
                        tidied = at.max(tidied);
                    }
                }
            }
            let now = now.max(tidied);
            for n in 0..8 {
                let expected = known.get(&n).is_some_and(|(_, expires)| now < *expires);
                prop_assert_eq!(book.in_force(&id(n), UnixMicros(now)).is_some(), expected);
            }
        }
    }

    #[test]
    fn equal_terms_are_kept_once() {
        let book = ConsentBook::default();
        for n in 0..9 {
            book.put(id(n), terms(n % 3), UnixMicros(10));
        }
        assert_eq!(read(&book.terms).len(), 3);
        book.end_all(integration(0));
        assert_eq!(book.tidy(UnixMicros(5)), 6);
        assert_eq!(read(&book.terms).len(), 2);
    }
}
