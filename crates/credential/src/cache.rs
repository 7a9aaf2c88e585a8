//! Tokens whose signature was verified, by their SHA-256, so that a token costs one signature check in its life.

use crate::token::VerifiedToken;
use model::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 16;

/// Tokens of one generation in one shard. Two generations live, so at most 16 x 2 x 1,024 tokens of about 1 KiB are kept.
const GENERATION: usize = 1_024;

/// Only tokens that we or the foreign issuer signed ever enter, so a stranger cannot fill or flush it.
#[derive(Default)]
pub(crate) struct TokenCache {
    /// Each locked for one look-up or insertion.
    shards: [Mutex<Shard>; SHARDS],
}

/// What the older generation still held when it left is verified again at its next use.
#[derive(Default)]
struct Shard {
    young: BTreeMap<Digest, Arc<VerifiedToken>>,
    old: BTreeMap<Digest, Arc<VerifiedToken>>,
}

impl TokenCache {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<VerifiedToken>> {
        let mut shard = self.shard(digest)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = shard.young.get(digest) {
            return Some(Arc::clone(token));
        }
        let token = shard.old.remove(digest)?;
        shard.insert(Arc::clone(&token));
        Some(token)
    }

    pub(crate) fn insert(&self, token: Arc<VerifiedToken>) {
        if let Some(shard) = self.shard(&token.digest) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert(token);
        }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    fn shard(&self, digest: &Digest) -> Option<&Mutex<Shard>> {
        let [first, ..] = digest;
        self.shards.get(usize::from(*first) % SHARDS)
    }
}

impl Shard {
    fn insert(&mut self, token: Arc<VerifiedToken>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token.digest, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Binding, By, Facts};
    use model::{GrantId, IntegrationId, UnixMicros};

    fn token(n: usize) -> Arc<VerifiedToken> {
        let mut digest = [0; 32];
        digest[24..].copy_from_slice(&n.to_be_bytes());
        let facts = Facts {
            integration: IntegrationId::from_bytes([1; 16]),
            grant: GrantId::from_bytes([2; 16]),
            subject: None,
            consent: None,
            binding: Binding::Key([3; 32]),
            issued: UnixMicros(0),
            expires: UnixMicros(0),
        };
        Arc::new(VerifiedToken::new(facts, digest, By::Us))
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let cache = TokenCache::default();
        let kept = token(0).digest;
        for n in 0..10 * GENERATION {
            cache.insert(token(n));
            assert!(cache.get(&kept).is_some(), "after {n}");
        }
        let shard = cache.shard(&kept).unwrap().lock().unwrap();
        assert!(shard.young.len() <= GENERATION);
        assert!(shard.old.len() <= GENERATION);
        assert!(!shard.old.contains_key(&token(GENERATION).digest), "unused for two generations");
    }
}
