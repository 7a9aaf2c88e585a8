//! A map of fixed size that forgets what was not touched lately.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `max` entries. Memory grows by a chunk at a time and never moves what is there.
///
/// Forgets by second chance (Corbató 1969): a hand goes round, spares what was touched since it last came by, and takes the first that
/// was not. An exact order would touch three other entries each time, which costs more than all the rest of a request.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    index: HashMap<K, u32>,
    chunks: Vec<Vec<Slot<K, V>>>,
    hand: u32,
    max: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    is_touched: bool,
}

const CHUNK: usize = 1_024;

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.clamp(1, u32::MAX as usize);
        Self { index: HashMap::new(), chunks: Vec::new(), hand: 0, max }
    }

    /// The entry of `key`, made if there is none. One that was not touched lately goes if there is no room.
    pub(crate) fn touch(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.index.get(key) {
            Some(&at) => at,
            None => self.add(key, make()),
        };
        let slot = self.slot(at);
        slot.is_touched = true;
        &mut slot.value
    }

    /// The entry of `key`, untouched.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let at = *self.index.get(key)? as usize;
        Some(&self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn add(&mut self, key: &K, value: V) -> u32 {
        let len = self.index.len();
        let at = if len < self.max {
            let left = self.max - len;
            if len.is_multiple_of(CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK.min(left)));
            }
            let slot = Slot { key: key.clone(), value, is_touched: true };
            if let Some(chunk) = self.chunks.last_mut() {
                chunk.push(slot);
            }
            // `max` is within 32 bits.
            u32::try_from(len).unwrap_or(u32::MAX)
        } else {
            let at = self.untouched();
            let slot = self.slot(at);
            slot.value = value;
            let forgotten = std::mem::replace(&mut slot.key, key.clone());
            self.index.remove(&forgotten);
            at
        };
        self.index.insert(key.clone(), at);
        at
    }

    /// Moves the hand to the next entry that was not touched since it last came by. At most once round and one more.
    fn untouched(&mut self) -> u32 {
        loop {
            let at = self.hand;
            self.hand = if at as usize + 1 < self.max { at + 1 } else { 0 };
            if !std::mem::take(&mut self.slot(at).is_touched) {
                return at;
            }
        }
    }

    fn slot(&mut self, at: u32) -> &mut Slot<K, V> {
        let at = at as usize;
        let Some(slot) = self.chunks.get_mut(at / CHUNK).and_then(|it| it.get_mut(at % CHUNK))
        else {
            unreachable!("every place in the index and below `max` is a slot's")
        };
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_bounded_keeps_the_newest_and_never_mixes_entries_up(
            max in 1_usize..9, keys in proptest::collection::vec(0_u8..16, 1..200),
        ) {
            let mut lru = Lru::new(max);
            for (n, key) in keys.into_iter().enumerate() {
                let known = lru.get(&key).copied();
                let value = *lru.touch(&key, || (key, n));
                prop_assert_eq!(value, known.unwrap_or((key, n)));
                prop_assert!(lru.len() <= max);
                prop_assert_eq!(lru.get(&key), Some(&value));
                for other in 0..16 {
                    prop_assert!(lru.get(&other).is_none_or(|(of, _)| *of == other));
                }
            }
        }
    }

    #[test]
    fn what_is_touched_again_and_again_survives_any_number_of_strangers() {
        let mut lru = Lru::new(8);
        for n in 1..1_000_u32 {
            lru.touch(&0, || 0);
            lru.touch(&n, || n);
        }
        assert_eq!(lru.get(&0), Some(&0));
    }
}
