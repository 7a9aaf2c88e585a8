//! A map of fixed size that forgets what was not touched lately.

use crate::hasher::Keyed;
use std::hash::{BuildHasher, Hash};

/// At most `max` entries. Memory grows by a chunk at a time and never moves what is there.
///
/// Forgets by second chance (Corbató 1969): a hand goes round, spares what was touched since it last came by, and takes the first that
/// was not. An exact order would touch three other entries each time, which costs more than all the rest of a request.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    /// Open addressing, linear probing; a power of two in length. The keys stand in the slots: two keys whose 32 bits are the same cost
    /// one more comparison.
    index: Vec<Entry>,
    chunks: Vec<Vec<Slot<K, V>>>,
    /// By place, a bit each.
    touched: Vec<u64>,
    len: usize,
    hand: u32,
    max: usize,
    hasher: Keyed,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 32 bits of the key's hash, of which the lowest say where it belongs.
    hash: u32,
    /// [`FREE`] if nothing stands here.
    place: u32,
}

/// Begins on a cache line, key first, because a request that was not here lately waits for each line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot<K, V> {
    key: K,
    value: V,
}

const CHUNK: usize = 1_024;
const FREE: u32 = u32::MAX;

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            index: vec![Entry { hash: 0, place: FREE }; 8],
            chunks: Vec::new(),
            touched: Vec::new(),
            len: 0,
            hand: 0,
            max: max.clamp(1, FREE as usize - 1),
            hasher: Keyed::default(),
        }
    }

    /// The entry of `key`, made if there is none. One that was not touched lately goes if there is no room.
    pub(crate) fn touch(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let place = self.place(key, make);
        self.at(place)
    }

    /// As [`Lru::touch`]; where the entry is, until another key is touched that was not there.
    pub(crate) fn place(&mut self, key: &K, make: impl FnOnce() -> V) -> u32 {
        let hash = self.hash(key);
        let place = self.find(key, hash).unwrap_or_else(|| self.add(key, hash, make()));
        if let Some(bits) = self.touched.get_mut(place as usize / 64) {
            *bits |= 1 << (place % 64);
        }
        place
    }

    /// The value at a place that [`Lru::place`] gave.
    pub(crate) fn at(&mut self, place: u32) -> &mut V {
        &mut self.slot(place).value
    }

    /// The entry of `key`, untouched.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let place = self.find(key, self.hash(key))? as usize;
        Some(&self.chunks.get(place / CHUNK)?.get(place % CHUNK)?.value)
    }

    /// Every entry, untouched.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.chunks.iter_mut().flatten().map(|Slot { key, value }| (&*key, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn hash(&self, key: &K) -> u32 {
        let hash = self.hasher.hash_one(key);
        u32::try_from(hash >> 32).unwrap_or_default()
    }

    fn find(&self, key: &K, hash: u32) -> Option<u32> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = *self.index.get(at)?;
            if entry.place == FREE {
                return None;
            }
            if entry.hash == hash {
                let place = entry.place as usize;
                if self.chunks.get(place / CHUNK)?.get(place % CHUNK)?.key == *key {
                    return Some(entry.place);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn add(&mut self, key: &K, hash: u32, value: V) -> u32 {
        let place = if self.len < self.max {
            let left = self.max - self.len;
            if self.len.is_multiple_of(CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK.min(left)));
            }
            if self.len.is_multiple_of(64) {
                self.touched.push(0);
            }
            if let Some(chunk) = self.chunks.last_mut() {
                chunk.push(Slot { key: key.clone(), value });
            }
            self.len += 1;
            // An eighth stays free, so that every search ends, and soon.
            if self.len > self.index.len() / 8 * 7 {
                self.grow();
            }
            // `max` is within 32 bits.
            u32::try_from(self.len - 1).unwrap_or(FREE)
        } else {
            let place = self.untouched();
            let slot = self.slot(place);
            slot.value = value;
            let forgotten = std::mem::replace(&mut slot.key, key.clone());
            self.unlist(self.hash(&forgotten), place);
            place
        };
        self.list(Entry { hash, place });
        place
    }

    fn grow(&mut self) {
        let free = vec![Entry { hash: 0, place: FREE }; self.index.len() * 2];
        for entry in std::mem::replace(&mut self.index, free) {
            if entry.place != FREE {
                self.list(entry);
            }
        }
    }

    fn list(&mut self, new: Entry) {
        let mask = self.index.len() - 1;
        let mut at = new.hash as usize & mask;
        while let Some(entry) = self.index.get_mut(at) {
            if entry.place == FREE {
                *entry = new;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes an entry out, and moves back those behind it that would not be found across the gap (Knuth 6.4, algorithm R).
    fn unlist(&mut self, hash: u32, place: u32) {
        let mask = self.index.len() - 1;
        let mut gap = hash as usize & mask;
        while self.index.get(gap).is_some_and(|entry| entry.place != place) {
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let Some(&entry) = self.index.get(at) else { return };
            let from_home = at.wrapping_sub(entry.hash as usize) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            let moves = entry.place != FREE && from_home >= from_gap;
            if entry.place == FREE || moves {
                let kept = if moves { entry } else { Entry { hash: 0, place: FREE } };
                if let Some(hole) = self.index.get_mut(gap) {
                    *hole = kept;
                }
                if !moves {
                    return;
                }
                gap = at;
            }
        }
    }

    /// Moves the hand to the next entry that was not touched since it last came by. At most once round and one more.
    fn untouched(&mut self) -> u32 {
        loop {
            let at = self.hand;
            self.hand = if at as usize + 1 < self.max { at + 1 } else { 0 };
            let Some(bits) = self.touched.get_mut(at as usize / 64) else { return at };
            let was_touched = *bits >> (at % 64) & 1 == 1;
            *bits &= !(1 << (at % 64));
            if !was_touched {
                return at;
            }
        }
    }

    fn slot(&mut self, place: u32) -> &mut Slot<K, V> {
        let at = place as usize;
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

    /// Exactly the second chance, in a list that is looked through.
    struct Naive {
        held: Vec<(u16, bool)>,
        hand: usize,
        max: usize,
    }

    impl Naive {
        fn touch(&mut self, key: u16) {
            if let Some(at) = self.held.iter().position(|(held, _)| *held == key) {
                self.held[at].1 = true;
            } else if self.held.len() < self.max {
                self.held.push((key, true));
            } else {
                while std::mem::take(&mut self.held[self.hand].1) {
                    self.hand = (self.hand + 1) % self.max;
                }
                self.held[self.hand] = (key, true);
                self.hand = (self.hand + 1) % self.max;
            }
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_list_with_second_chances_holds(
            max in 1_usize..80, keys in proptest::collection::vec(0_u16..200, 1..1_000),
        ) {
            let mut lru = Lru::new(max);
            let mut naive = Naive { held: Vec::new(), hand: 0, max };
            for key in keys {
                lru.touch(&key, || key);
                naive.touch(key);
            }
            for key in 0..200 {
                let is_held = naive.held.iter().any(|(held, _)| *held == key);
                prop_assert_eq!(lru.get(&key).copied(), is_held.then_some(key));
            }
            prop_assert_eq!(lru.iter_mut().count(), naive.held.len());
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
