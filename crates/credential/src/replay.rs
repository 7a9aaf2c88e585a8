//! First use: which proofs and assertions were seen, exactly, for as long as they could be accepted again.

use model::{Digest, Micros, UnixMicros};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Who used something: an integration's id, or the key itself ([`holder_of`]).
pub type Holder = [u8; 16];

/// A key as a holder: the first 128 bits of its thumbprint. The key and not its credential, because one key may be
/// registered twice, and a proof must not become good again when its first registration ends.
pub fn holder_of(thumbprint: &Digest) -> Holder {
    first_128_bits(thumbprint)
}

pub(crate) fn first_128_bits(digest: &Digest) -> [u8; 16] {
    let mut bits = [0; 16];
    for (to, from) in bits.iter_mut().zip(digest) {
        *to = *from;
    }
    bits
}

/// What was used: the first 128 bits of a SHA-256. A collision could only refuse its own maker.
pub type Used = [u8; 16];

/// Not known to be the first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFirst {
    /// It was used before.
    Replayed,
    /// It could be from a time already forgotten, because the clock stepped back. Refused: it may have been used.
    Forgotten,
    /// The holder used up its share of memory. Refused: what cannot be remembered must not be accepted.
    Full,
}

/// The exact set of what each holder used, bounded for each holder.
///
/// Entries are kept in buckets by the moment until which their proof could be accepted and leave with their bucket, so
/// nothing is dropped early and dropping costs nothing per request. Memory is about 40 bytes x `per_holder_max`
/// for each holder, and holders are registered keys or integrations, never strangers.
#[derive(Debug)]
pub struct FirstUse {
    per_holder_max: usize,
    /// Each locked for one look-up and insertion; a holder always falls into the same shard.
    shards: [Mutex<Shard>; SHARDS],
}

const SHARDS: usize = 16;

/// Width of a bucket. A proof is acceptable for at most 70 s, so a look-up probes at most ten buckets.
const BUCKET: Micros = Micros::from_secs(8);

#[derive(Debug, Default)]
struct Shard {
    holders: BTreeMap<Holder, Seen>,
    /// Buckets below this number are dropped. It never goes back, whatever the clock does, so a clock that
    /// stepped back refuses rather than forgets; one that leapt ahead and returned refuses until it is right again.
    forgotten: u64,
}

/// Buckets by number: bucket `n` holds what could be accepted until a moment in `[n, n + 1) * BUCKET`.
#[derive(Debug, Default)]
struct Seen {
    buckets: BTreeMap<u64, HashSet<Used>>,
    count: usize,
}

impl FirstUse {
    /// `per_holder_max`: how many uses of one holder are remembered at a time; above it the holder is refused.
    pub fn new(per_holder_max: usize) -> Self {
        Self { per_holder_max, shards: Default::default() }
    }

    /// Remembers that `holder` used `used`, which could be accepted until `until` (inclusive).
    ///
    /// # Errors
    /// [`NotFirst`], and then nothing was remembered. Only [`NotFirst::Replayed`] is the holder's fault.
    pub fn observe(
        &self,
        holder: Holder,
        used: Used,
        until: UnixMicros,
        now: UnixMicros,
    ) -> Result<(), NotFirst> {
        let index = usize::from(holder.iter().fold(0, |a, b| a ^ b)) % SHARDS;
        let Some(shard) = self.shards.get(index) else { return Err(NotFirst::Full) };
        // A poisoned shard is still a set of what was seen: each insertion is one step.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now);
        let bucket = until.0 / BUCKET.0;
        if bucket < shard.forgotten {
            return Err(NotFirst::Forgotten);
        }
        shard.holders.entry(holder).or_default().observe(used, bucket, self.per_holder_max)
    }

    /// How many uses are remembered, of all holders.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.holders.values().map(|seen| seen.count).sum::<usize>()
        };
        self.shards.iter().map(count).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    fn forget(&mut self, now: UnixMicros) {
        let ended = now.0 / BUCKET.0;
        if ended <= self.forgotten {
            return;
        }
        self.forgotten = ended;
        self.holders.retain(|_, seen| {
            seen.buckets = seen.buckets.split_off(&ended);
            seen.count = seen.buckets.values().map(HashSet::len).sum();
            seen.count > 0
        });
    }
}

impl Seen {
    fn observe(&mut self, used: Used, bucket: u64, count_max: usize) -> Result<(), NotFirst> {
        // All buckets, not only its own: the same `jti` under another `iat` is the same `jti`.
        if self.buckets.values().any(|uses| uses.contains(&used)) {
            return Err(NotFirst::Replayed);
        }
        if self.count >= count_max {
            return Err(NotFirst::Full);
        }
        self.buckets.entry(bucket).or_default().insert(used);
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: UnixMicros = UnixMicros::from_secs(1_800_000_000);

    fn used(n: u8) -> Used {
        [n; 16]
    }

    #[test]
    fn the_second_use_is_refused_until_it_could_not_be_accepted_anyway() {
        let first_use = FirstUse::new(10);
        let until = T + Micros::from_secs(70);
        assert_eq!(first_use.observe([0; 16], used(1), until, T), Ok(()));
        assert_eq!(first_use.observe([0; 16], used(1), until, until), Err(NotFirst::Replayed));
        let other_until = until + Micros::from_secs(30);
        assert_eq!(first_use.observe([0; 16], used(1), other_until, T), Err(NotFirst::Replayed));
        assert_eq!(first_use.observe([1; 16], used(1), until, T), Ok(()), "another holder");
    }

    #[test]
    fn a_full_set_refuses_its_holder_only() {
        let first_use = FirstUse::new(2);
        let until = T + Micros::from_secs(60);
        for n in [1, 2] {
            assert_eq!(first_use.observe([0; 16], used(n), until, T), Ok(()));
        }
        assert_eq!(first_use.observe([0; 16], used(3), until, T), Err(NotFirst::Full));
        assert_eq!(first_use.observe([1; 16], used(3), until, T), Ok(()));
        let later = until + BUCKET;
        assert_eq!(first_use.observe([0; 16], used(3), later, later), Ok(()), "room again");
    }

    #[test]
    fn a_clock_that_steps_back_finds_the_forgotten_refused() {
        let first_use = FirstUse::new(10);
        let until = T + Micros::from_secs(60);
        first_use.observe([0; 16], used(1), until, T).unwrap();
        let later = until + BUCKET;
        first_use.observe([0; 16], used(2), later + BUCKET, later).unwrap();
        assert_eq!(first_use.observe([0; 16], used(1), until, T), Err(NotFirst::Forgotten));
    }

    #[test]
    fn holders_that_fell_silent_leave_no_memory() {
        let first_use = FirstUse::new(10);
        for n in 0..200 {
            first_use.observe([n; 16], used(n), T, T).unwrap();
        }
        assert_eq!(first_use.len(), 200);
        for n in 0..16 {
            let mut holder = [0; 16];
            holder[0] = n;
            first_use.observe(holder, used(0), T + BUCKET, T + BUCKET).unwrap();
        }
        assert_eq!(first_use.len(), 16);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_that_never_forgets(
            steps in prop::collection::vec((0_u8..3, 0_u8..40, 0_u64..71, 0_u64..4_000_000), 1..300),
        ) {
            const MAX: usize = 30;
            let first_use = FirstUse::new(MAX);
            let mut accepted: Vec<(Holder, Used, UnixMicros)> = Vec::new();
            let mut now = T;
            for (holder, use_, life, step) in steps {
                now = now + Micros(step);
                let (holder, used, until) = ([holder; 16], used(use_), now + Micros::from_secs(life));
                let answer = first_use.observe(holder, used, until, now);
                let live = |entry: &&(Holder, Used, UnixMicros)| entry.0 == holder && entry.2 >= now;
                let used_before = accepted.iter().filter(live).any(|entry| entry.1 == used);
                let remembered = first_use.shards.iter()
                    .map(|shard| shard.lock().unwrap().holders.get(&holder).map_or(0, |seen| seen.count))
                    .sum::<usize>();
                prop_assert!(remembered <= MAX);
                match answer {
                    Ok(()) => {
                        prop_assert!(!used_before, "accepted twice");
                        accepted.push((holder, used, until));
                    }
                    // Kept up to one bucket longer than needed, never shorter.
                    Err(NotFirst::Replayed) => prop_assert!(accepted.iter().any(|entry|
                        entry.0 == holder && entry.1 == used && entry.2 + BUCKET >= now)),
                    Err(NotFirst::Full) => prop_assert_eq!(remembered, MAX),
                    Err(NotFirst::Forgotten) => prop_assert!(false, "the clock never stepped back"),
                }
            }
        }
    }
}
