//! Sets of classes as numbers that can be united in one instruction.
//!
//! A deployment uses a few dozen classes. As long as those at hand are at most 31, a set is its own bits beside one that says
//! "somebody was read", and uniting is `|`. Beyond that sets are numbered as they come up and unions are looked up: slower, as exact.

use model::{ClassNumber, ClassSet};
use std::collections::HashMap;

/// Set in every value, so that a release of no class at all is not nothing.
const SEEN: u32 = 1 << 31;
const PLAIN_MAX: usize = 31;

/// A way to write class sets as numbers. No set is 0, which is "not read".
#[derive(Clone, Debug)]
pub(super) enum Masks {
    /// One bit for each of these classes.
    Plain(Vec<ClassNumber>),
    /// One number for each set.
    Numbered(Numbered),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Numbered {
    sets: Vec<ClassSet>,
    numbers: HashMap<ClassSet, u32>,
    unions: HashMap<(u32, u32), u32>,
}

impl Default for Masks {
    fn default() -> Self {
        Self::Plain(Vec::new())
    }
}

impl Masks {
    /// For sets of these classes.
    pub(super) fn new(classes: &ClassSet) -> Self {
        let used: Vec<ClassNumber> = classes.iter().collect();
        if used.len() <= PLAIN_MAX {
            Self::Plain(used)
        } else {
            Self::Numbered(Numbered::default())
        }
    }

    /// The value of a set, which must hold no other classes than were announced.
    pub(super) fn value(&mut self, set: &ClassSet) -> u32 {
        match self {
            Self::Plain(used) => {
                assert!(set.len() as usize <= used.len(), "a class that was not announced");
                let bits = used.iter().zip(0_u32..).filter(|(class, _)| set.contains(**class));
                bits.fold(SEEN, |value, (_, bit)| value | 1 << bit)
            }
            Self::Numbered(numbered) => numbered.number(set),
        }
    }

    /// The value of the union of two sets. 0 is the empty side.
    #[inline(always)]
    pub(super) fn union(&mut self, a: u32, b: u32) -> u32 {
        match self {
            Self::Plain(_) => a | b,
            Self::Numbered(numbered) => numbered.union(a, b),
        }
    }

    /// The set behind a value.
    pub(super) fn set(&self, value: u32) -> ClassSet {
        match self {
            Self::Plain(used) => {
                let bits = used.iter().zip(0_u32..);
                bits.filter(|(_, bit)| value >> bit & 1 == 1).map(|(class, _)| *class).collect()
            }
            Self::Numbered(numbered) => {
                let at = usize::try_from(value).unwrap_or(usize::MAX).wrapping_sub(1);
                numbered.sets.get(at).copied().unwrap_or_default()
            }
        }
    }
}

/// The value of each of a file's sets.
pub(super) fn values(sets: &[ClassSet], masks: &mut Masks) -> Vec<u32> {
    sets.iter().map(|set| masks.value(set)).collect()
}

/// A file's list of sets, and the numbers that values have in it.
#[derive(Debug, Default)]
pub(super) struct SetList {
    pub(super) sets: Vec<ClassSet>,
    numbers: HashMap<u32, u32>,
}

impl SetList {
    /// A list that begins with these sets.
    pub(super) fn new(sets: &[ClassSet], masks: &mut Masks) -> Self {
        let numbers = sets.iter().map(|set| masks.value(set)).zip(0..).collect();
        Self { sets: sets.to_vec(), numbers }
    }

    /// The number of a value's set, which joins the list if it is not there.
    pub(super) fn number(&mut self, value: u32, masks: &Masks) -> u32 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.sets.push(masks.set(value));
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Numbered {
    fn number(&mut self, set: &ClassSet) -> u32 {
        if let Some(number) = self.numbers.get(set) {
            return *number;
        }
        self.sets.push(*set);
        // Memory ends before four thousand million sets of 32 bytes do.
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.numbers.insert(*set, number);
        number
    }

    pub(super) fn union(&mut self, a: u32, b: u32) -> u32 {
        if a == b || b == 0 {
            return a;
        }
        if a == 0 {
            return b;
        }
        if let Some(known) = self.unions.get(&(a, b)) {
            return *known;
        }
        let set = |value: u32| {
            let at = usize::try_from(value).unwrap_or(usize::MAX).wrapping_sub(1);
            self.sets.get(at).copied().unwrap_or_default()
        };
        let union = set(a).union(&set(b));
        let number = self.number(&union);
        self.unions.insert((a, b), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unions_are_those_of_the_sets(
            universe in prop::collection::btree_set(any::<u8>(), 1..60),
            picks in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20),
        ) {
            let pick = |bits: u64| -> ClassSet {
                universe.iter().zip(0..).filter(|(_, i)| bits >> i & 1 == 1).map(|(&n, _)| ClassNumber::new(n)).collect()
            };
            let mut masks = Masks::new(&pick(u64::MAX));
            for (a, b) in picks {
                let (a, b) = (pick(a), pick(b));
                let (left, right) = (masks.value(&a), masks.value(&b));
                prop_assert!(left != 0);
                let union = masks.union(left, right);
                prop_assert_eq!(masks.set(union), a.union(&b));
                prop_assert_eq!(masks.union(left, 0), left);
            }
        }
    }
}
