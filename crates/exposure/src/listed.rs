//! An answer as it is held while it is written out: some hundred bytes for each subject, where their JSON as values takes ten times that.

use crate::index::Counted;
use crate::{Exposure, Person, Seen, Totals};
use model::{SubjectId, SubjectOrdinal};

/// Who was read, in the order in which an answer lists them.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Whether they have a name or not. Who they are is asked only of those without.
    people: Vec<(Person, Seen)>,
    /// Names, one after the other, and where that of each of `people` ends. Those without one have an empty one.
    names: String,
    ends: Vec<usize>,
    /// Places in `people` of those with a name, in its order, and of the others.
    subjects: Vec<u32>,
    erased: Vec<u32>,
    totals: Totals,
}

impl Listed {
    /// The answer that was counted in ordinals. `subject_of` tells who an ordinal stands for, `None` if that was erased.
    ///
    /// # Errors
    /// Those of `subject_of`: a vault that cannot be read must not look like subjects that were erased.
    pub fn from_counted<E>(
        counted: Counted,
        mut subject_of: impl FnMut(SubjectOrdinal) -> Result<Option<SubjectId>, E>,
    ) -> Result<Self, E> {
        let Counted { subjects: people, totals } = counted;
        let mut listed = Self { totals, ..Self::default() };
        listed.ends.reserve_exact(people.len());
        for (person, _) in &people {
            let subject = match person {
                Person::Known(ordinal) => subject_of(*ordinal)?,
                Person::Nameless(_) => None,
            };
            listed.add(subject.as_ref());
        }
        listed.people = people;
        listed.sort();
        Ok(listed)
    }

    /// Subjects that the vault knows, in order of name.
    pub fn subjects(&self) -> impl Iterator<Item = (&str, &Seen)> {
        let seen = |place: &u32| self.people.get(*place as usize).map(|(_, seen)| seen);
        self.subjects.iter().filter_map(move |place| Some((self.name(*place), seen(place)?)))
    }

    /// Who was erased.
    pub fn erased(&self) -> impl Iterator<Item = (&Person, &Seen)> {
        let person = |place: &u32| self.people.get(*place as usize);
        self.erased.iter().filter_map(person).map(|(person, seen)| (person, seen))
    }

    /// Sums.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes the name of the next of `people`.
    fn add(&mut self, subject: Option<&SubjectId>) {
        // An answer has fewer people than there are ordinals.
        let place = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.names.push_str(subject.map_or("", |subject| subject.as_str()));
        self.ends.push(self.names.len());
        if subject.is_some() { &mut self.subjects } else { &mut self.erased }.push(place);
    }

    fn sort(&mut self) {
        let mut subjects = std::mem::take(&mut self.subjects);
        subjects.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.subjects = subjects;
        let person = |place: &u32| self.people.get(*place as usize).map(|(person, _)| *person);
        self.erased.sort_unstable_by_key(person);
    }

    fn name(&self, place: u32) -> &str {
        let place = place as usize;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(place).copied().unwrap_or(0);
        self.names.get(start.copied().unwrap_or(0)..end).unwrap_or("")
    }
}

impl From<Exposure> for Listed {
    fn from(exposure: Exposure) -> Self {
        let Exposure { subjects, erased, totals } = exposure;
        let mut listed = Self { totals, ..Self::default() };
        for ((subject, seen), place) in subjects.into_iter().zip(0..) {
            listed.add(Some(&subject));
            listed.people.push((Person::Known(SubjectOrdinal(place)), seen));
        }
        for (person, seen) in erased {
            listed.add(None);
            listed.people.push((person, seen));
        }
        listed.sort();
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClassSet, Pseudonym, UnixMicros};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_lists_what_the_maps_hold(names in prop::collection::btree_map(0_u32..500, prop::option::of("[a-z]{1,9}"), 0..60), nameless: std::collections::BTreeSet<[u8; 16]>) {
            // Two ordinals never have one name.
            let names: BTreeMap<u32, Option<SubjectId>> = names.into_iter()
                .map(|(ordinal, name)| (ordinal, name.and_then(|name| SubjectId::new(&format!("{name}{ordinal}"))))).collect();
            let seen = |n: u64| Seen { classes: ClassSet::EMPTY, first: UnixMicros(n), last: UnixMicros(n), count: n };
            // In no order of pseudonym, as ordinals of theirs are given.
            let known = names.keys().map(|ordinal| Person::Known(SubjectOrdinal(*ordinal)));
            let people: Vec<_> = known.chain(nameless.iter().rev().map(|it| Person::Nameless(Pseudonym(*it)))).zip((0..).map(seen)).collect();
            let counted = Counted { subjects: people, ..Counted::default() };
            let subject_of = |ordinal: SubjectOrdinal| Ok::<_, ()>(names.get(&ordinal.0).cloned().flatten());
            let maps = Exposure::from_counted(counted.clone(), subject_of).unwrap();
            for listed in [Listed::from_counted(counted, subject_of).unwrap(), Listed::from(maps.clone())] {
                let subjects: Vec<_> = maps.subjects.iter().map(|(id, seen)| (id.as_str(), seen)).collect();
                prop_assert_eq!(listed.subjects().collect::<Vec<_>>(), subjects);
                prop_assert_eq!(listed.erased().collect::<Vec<_>>(), maps.erased.iter().collect::<Vec<_>>());
            }
        }
    }
}
