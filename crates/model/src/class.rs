//! Data classes: what kind of thing a field is, as dotted names and as the numbers and bitmaps that records carry.

use std::fmt;

/// A Fideslang-style dotted name such as `user.contact.email`: one or more non-empty parts of `[a-z_]`, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataClass(Box<str>);

impl DataClass {
    /// `None` if `text` is not a well-formed name.
    pub fn new(text: &str) -> Option<Self> {
        let part_is_valid = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        (text.len() <= 128 && text.split('.').all(part_is_valid)).then(|| Self(text.into()))
    }

    /// The dotted name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether granting `self` grants `other`: they are equal, or `other` is below `self` in the hierarchy.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number a data class has in this deployment. Numbers are given in order of first use and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassNumber(u8);

impl ClassNumber {
    /// Most classes a deployment can have; the wire form is of variable width, so this bound can grow without a new format.
    pub const COUNT_MAX: usize = 256;

    /// The class with this number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The position of this class in its [`ClassTable`] and in every bitmap.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of data classes, as a bitmap over class numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct ClassSet([u64; 4]);

impl ClassSet {
    /// No class at all.
    pub const EMPTY: Self = Self([0; 4]);

    /// Adds one class.
    pub fn insert(&mut self, class: ClassNumber) {
        if let Some(word) = self.0.get_mut(class.index() / 64) {
            *word |= 1 << (class.index() % 64);
        }
    }

    /// Whether `class` is in the set.
    pub fn contains(&self, class: ClassNumber) -> bool {
        self.0.get(class.index() / 64).is_some_and(|word| word >> (class.index() % 64) & 1 == 1)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// How many classes are in the set.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether every class of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.intersection(other) == *self
    }

    /// The classes in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (Self([a, b, c, d]), Self([e, f, g, h])) = (self, other);
        Self([a & e, b & f, c & g, d & h])
    }

    /// The classes in either.
    pub fn union(&self, other: &Self) -> Self {
        let (Self([a, b, c, d]), Self([e, f, g, h])) = (self, other);
        Self([a | e, b | f, c | g, d | h])
    }

    /// The classes, lowest number first.
    pub fn iter(&self) -> impl Iterator<Item = ClassNumber> + '_ {
        (0..=u8::MAX).map(ClassNumber).filter(|&class| self.contains(class))
    }

    /// The bitmap as bytes, class 0 in the lowest bit of the first byte, without trailing zero bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let (bytes, width) = self.to_padded();
        bytes.get(..width).unwrap_or(&bytes).to_vec()
    }

    /// As [`ClassSet::to_bytes`] without an allocation: the bytes, of which so many count.
    pub fn to_padded(self) -> ([u8; 32], usize) {
        let mut bytes = [0; 32];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *to = word.to_le_bytes();
        }
        let words = self.0.iter().rposition(|&word| word != 0);
        let width = words.map_or(0, |at| {
            let unused = self.0.get(at).map_or(0, |word| word.leading_zeros() as usize / 8);
            (at + 1) * 8 - unused
        });
        (bytes, width)
    }

    /// Reads what [`ClassSet::to_bytes`] wrote; `None` if it is longer than 32 bytes or ends in a zero byte.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > 32 || bytes.last() == Some(&0) {
            return None;
        }
        let mut padded = [0; 32];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let mut set = Self::EMPTY;
        for (word, chunk) in set.0.iter_mut().zip(padded.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Some(set)
    }
}

impl FromIterator<ClassNumber> for ClassSet {
    fn from_iter<I: IntoIterator<Item = ClassNumber>>(classes: I) -> Self {
        let mut set = Self::EMPTY;
        classes.into_iter().for_each(|class| set.insert(class));
        set
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(ClassNumber::index)).finish()
    }
}

/// The deployment's classes in order of number. Append-only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassTable(Vec<DataClass>);

impl ClassTable {
    /// A table with these classes, numbered in this order.
    ///
    /// `None` if a class stands twice or there are more than [`ClassNumber::COUNT_MAX`].
    pub fn new(classes: Vec<DataClass>) -> Option<Self> {
        let distinct =
            classes.iter().collect::<std::collections::BTreeSet<_>>().len() == classes.len();
        (distinct && classes.len() <= ClassNumber::COUNT_MAX).then_some(Self(classes))
    }

    /// The number of `class`, giving it the next free one if it has none; `None` if the table is full.
    pub fn intern(&mut self, class: &DataClass) -> Option<ClassNumber> {
        if let Some(number) = self.number(class) {
            return Some(number);
        }
        let number = u8::try_from(self.0.len()).ok()?;
        self.0.push(class.clone());
        Some(ClassNumber(number))
    }

    /// The number of `class`, if it has one.
    pub fn number(&self, class: &DataClass) -> Option<ClassNumber> {
        let index = self.0.iter().position(|known| known == class)?;
        u8::try_from(index).ok().map(ClassNumber)
    }

    /// The class with this number.
    pub fn name(&self, number: ClassNumber) -> Option<&DataClass> {
        self.0.get(number.index())
    }

    /// Every class of the table that granting `class` grants.
    pub fn covered_by(&self, class: &DataClass) -> ClassSet {
        self.0
            .iter()
            .filter(|known| class.covers(known))
            .filter_map(|known| self.number(known))
            .collect()
    }

    /// The classes in order of number.
    pub fn classes(&self) -> &[DataClass] {
        &self.0
    }

    /// The names of a set's classes, in order of number. Numbers the table does not know are left out.
    pub fn names(&self, set: &ClassSet) -> Vec<&str> {
        set.iter().filter_map(|number| self.name(number)).map(DataClass::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn granting_a_parent_grants_its_children_and_no_neighbour() {
        let class = |text| DataClass::new(text).unwrap();
        assert!(class("user.contact").covers(&class("user.contact.email")));
        assert!(class("user.contact").covers(&class("user.contact")));
        assert!(!class("user.contact").covers(&class("user.contacts")));
        assert!(!class("user.contact.email").covers(&class("user.contact")));
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", ".", "user.", "User", "user..x", "user-x", "a1"] {
            assert_eq!(DataClass::new(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bitmaps_survive_the_wire(numbers: Vec<u8>) {
            let set: ClassSet = numbers.iter().map(|&n| ClassNumber::new(n)).collect();
            prop_assert_eq!(ClassSet::from_bytes(&set.to_bytes()), Some(set));
        }

        #[test]
        fn set_operations_agree_with_ordered_sets(a: std::collections::BTreeSet<u8>, b: std::collections::BTreeSet<u8>) {
            let set = |s: &std::collections::BTreeSet<u8>| s.iter().map(|&n| ClassNumber::new(n)).collect::<ClassSet>();
            prop_assert_eq!(set(&a).union(&set(&b)), set(&(&a | &b)));
            prop_assert_eq!(set(&a).intersection(&set(&b)), set(&(&a & &b)));
            prop_assert_eq!(set(&a).is_subset(&set(&b)), a.is_subset(&b));
        }
    }
}
