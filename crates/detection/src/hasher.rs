//! A hasher for maps whose keys are ids of this node, network groups and numbers: a multiplication for eight bytes.

use crate::relationships::mix;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Makes hashers under a key of its own, which nobody outside the process knows.
///
/// The maps hold their keys and compare them, so that two keys of one hash cost a comparison and are never taken for each other. SipHash
/// is the stronger one, and took as long as all the arithmetic of a request: a caller who could make the places of its networks
/// collide, without the key, would have to see a few nanoseconds in answers that take a million.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(u64);

impl Default for Keyed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Keyed {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Mixer(u64);

/// The fraction of the golden ratio, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        let half = |of: u128| u64::try_from(of & u128::from(u64::MAX)).unwrap_or_default();
        // The old state comes in again, so that no word makes it forget those before.
        self.0 = (half(product) ^ half(product >> 64)).wrapping_add(self.0.rotate_left(23));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    /// The lengths of ids, which are all the same, and of text, which ends with a byte of its own.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{CredentialId, UnixMicros};
    use std::collections::BTreeSet;

    /// Of 100,000 keys in 2^32 places one pair or so meets; the lowest bits are as even as those above.
    #[test]
    fn ids_and_networks_that_differ_in_little_are_spread() {
        let keyed = Keyed::default();
        let (mut high, mut buckets) = (BTreeSet::new(), [0_u32; 256]);
        for credential in 0..1_000_u16 {
            let mut random = [0; 10];
            random[..2].copy_from_slice(&credential.to_be_bytes());
            let id = CredentialId::new(UnixMicros::from_secs(1_000), random);
            for network in 0..100_u64 {
                let hash = keyed.hash_one((id, 1_u64 << 63 | network));
                high.insert(hash >> 32);
                buckets[usize::try_from(hash >> 32 & 255).unwrap()] += 1;
            }
        }
        assert!(high.len() > 99_980, "{}", high.len());
        assert!(buckets.iter().all(|n| (250..550).contains(n)), "{buckets:?}");
    }
}
