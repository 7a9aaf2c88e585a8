//! Who was read, when and how often: releases counted one by one.

use super::ask::Touched;
use super::masks::Masks;
use super::plan::HOUR;
use super::scan::Released;
use super::table::NAMELESS;
use crate::Seen;
use crate::fold::{HourTotal, IntegrationTotal, Person, Totals};
use model::{ClassSet, IntegrationId, Pseudonym, SubjectOrdinal, UnixMicros};
use std::collections::HashMap;

/// Who was read, when and how often, and sums.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// In order of ordinal.
    pub subjects: Vec<(Person, Seen)>,
    /// Sums.
    pub totals: Totals,
}

impl Counted {
    /// The answer about one subject, from its history.
    pub fn of_one(ordinal: SubjectOrdinal, history: &[Touched]) -> Self {
        let all = history.iter().fold(ClassSet::EMPTY, |all, touched| all.union(&touched.classes));
        let mut masks = Masks::new(&all);
        let mut tally = Tally::default();
        for touched in history {
            let released = Released {
                record: touched.record,
                time: touched.time,
                context: &touched.context,
                network: touched.network,
                ordinals: &[ordinal.0],
                sets: &[0],
                values: &[masks.value(&touched.classes)],
            };
            tally.add(&released, &mut masks, true);
        }
        tally.finish(&masks, Vec::new)
    }
}

/// One person while releases are being counted.
struct Counting {
    ordinal: u32,
    value: u32,
    first: u64,
    last: u64,
    count: u32,
}

/// Sums while releases are being counted.
#[derive(Default)]
pub(super) struct Tally {
    /// One more than a person's place in `people`, by ordinal; ordinals above all others have a map of their own.
    places: Vec<u32>,
    nameless: HashMap<u32, u32>,
    people: Vec<Counting>,
    totals: Totals,
    records: HashMap<u32, u64>,
    classes: HashMap<IntegrationId, u32>,
}

impl Tally {
    /// Counts one release.
    pub(super) fn add(
        &mut self,
        released: &Released<'_>,
        masks: &mut Masks,
        asks_for_touches: bool,
    ) {
        let time = released.time.0;
        let (mut all, mut touches) = (0, 0);
        for (ordinal, value) in released.touches() {
            all = masks.union(all, value);
            touches += 1;
            self.person(ordinal, value, time, masks);
        }
        if touches == 0 && asks_for_touches {
            return;
        }
        self.totals.records += 1;
        *self.records.entry(all).or_default() += 1;
        let integration = released.context.integration;
        let classes = self.classes.entry(integration).or_default();
        *classes = masks.union(*classes, all);
        let new = IntegrationTotal {
            records: 0,
            classes: ClassSet::EMPTY,
            first: released.time,
            last: released.time,
        };
        let total = self.totals.integrations.entry(integration).or_insert(new);
        total.records += 1;
        total.first = total.first.min(released.time);
        total.last = total.last.max(released.time);
        let hour: &mut HourTotal =
            self.totals.hours.entry(UnixMicros(time - time % HOUR)).or_default();
        hour.records += 1;
        hour.touches += touches;
    }

    /// The answer. `nameless`: the pseudonyms behind ordinals from [`NAMELESS`] on, if there are any.
    pub(super) fn finish(self, masks: &Masks, nameless: impl Fn() -> Vec<Pseudonym>) -> Counted {
        let mut totals = self.totals;
        let mut subjects = self.people;
        subjects.sort_unstable_by_key(|person| person.ordinal);
        totals.subjects = subjects.len() as u64;
        let mut names = None;
        let mut sets: HashMap<u32, (ClassSet, u64)> = HashMap::new();
        let subjects = subjects.iter().map(|person| {
            let set = sets.entry(person.value).or_insert_with(|| (masks.set(person.value), 0));
            set.1 += 1;
            let seen = Seen {
                classes: set.0,
                first: UnixMicros(person.first),
                last: UnixMicros(person.last),
                count: u64::from(person.count),
            };
            let who = match person.ordinal.checked_sub(NAMELESS) {
                None => Person::Known(SubjectOrdinal(person.ordinal)),
                Some(number) => {
                    let names = names.get_or_insert_with(&nameless);
                    let name = names.get(number as usize).copied();
                    Person::Nameless(name.unwrap_or(Pseudonym([0; 16])))
                }
            };
            (who, seen)
        });
        let subjects = subjects.collect();
        for (set, people) in sets.values() {
            for class in set.iter() {
                totals.classes.entry(class).or_default().subjects += people;
            }
        }
        for (value, records) in self.records {
            for class in masks.set(value).iter() {
                totals.classes.entry(class).or_default().records += records;
            }
        }
        for (integration, value) in self.classes {
            if let Some(total) = totals.integrations.get_mut(&integration) {
                total.classes = masks.set(value);
            }
        }
        Counted { subjects, totals }
    }

    fn person(&mut self, ordinal: u32, value: u32, time: u64, masks: &mut Masks) {
        let place = if ordinal >= NAMELESS {
            self.nameless.entry(ordinal).or_default()
        } else {
            let at = ordinal as usize;
            if at >= self.places.len() {
                self.places.resize((at + 1).next_power_of_two(), 0);
            }
            let Some(place) = self.places.get_mut(at) else { return };
            place
        };
        if let Some(person) =
            place.checked_sub(1).and_then(|place| self.people.get_mut(place as usize))
        {
            person.value = masks.union(person.value, value);
            person.first = person.first.min(time);
            person.last = person.last.max(time);
            person.count += 1;
            return;
        }
        self.people.push(Counting { ordinal, value, first: time, last: time, count: 1 });
        *place = u32::try_from(self.people.len()).unwrap_or(u32::MAX);
    }
}
