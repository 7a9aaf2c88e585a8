//! Answers of several logs made one: everybody counts once, classes are united, releases are added.
//!
//! The ordinals of a vault are the same in all logs that were written with it. A pseudonym without a subject has a number of its
//! own in each log's index, and is told by itself.

use super::Unreadable;
use super::ask::{HourLine, Index};
use super::count::Counted;
use super::gather::Subjects;
use super::masks::Masks;
use super::run::{self, pair};
use super::table::NAMELESS;
use crate::fold::{Person, Totals};
use crate::{Question, Seen};
use model::{ClassSet, Pseudonym, UnixMicros};
use std::collections::{BTreeMap, HashMap};

/// Who was read according to one log, with the pseudonyms that its index numbered itself.
#[derive(Clone, Debug, Default)]
pub struct OfLog {
    subjects: Subjects,
    nameless: Vec<Pseudonym>,
}

impl Index<'_> {
    /// As [`Index::subjects`], to be united with what other logs say.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of_log(&self, question: &Question) -> Result<OfLog, Unreadable> {
        let subjects = self.subjects(question)?;
        // They are last in order.
        let unnamed = subjects.ordinals().last().is_some_and(|last| last.0 >= NAMELESS);
        let nameless = if unnamed { self.nameless() } else { Vec::new() };
        Ok(OfLog { subjects, nameless })
    }
}

impl Subjects {
    /// What several logs say, as if it were one. Ordinals from [`NAMELESS`] on are told apart, and are not those of either index.
    pub fn unite(mut answers: Vec<OfLog>) -> Self {
        answers.retain(|answer| !answer.subjects.is_empty());
        if answers.len() < 2 {
            return answers.pop().unwrap_or_default().subjects;
        }
        let sets = || answers.iter().flat_map(|of| of.subjects.iter().map(|(_, set)| set));
        let mut all = ClassSet::EMPTY;
        sets().for_each(|set| all = all.union(&set));
        let mut masks = Masks::new(&all);
        let mut values: HashMap<ClassSet, u32> = HashMap::new();
        let mut numbers: HashMap<Pseudonym, u32> = HashMap::new();
        let mut pairs = Vec::with_capacity(answers.iter().map(|of| of.subjects.len()).sum());
        for of in &answers {
            for (ordinal, set) in of.subjects.iter() {
                let ordinal = match ordinal.0.checked_sub(NAMELESS) {
                    None => ordinal.0,
                    Some(number) => {
                        let next = NAMELESS + u32::try_from(numbers.len()).unwrap_or(NAMELESS);
                        let name = of.nameless.get(number as usize).copied();
                        *numbers.entry(name.unwrap_or(Pseudonym([0; 16]))).or_insert(next)
                    }
                };
                let value = *values.entry(set).or_insert_with(|| masks.value(&set));
                pairs.push(pair(ordinal, value));
            }
        }
        run::settle(&mut pairs, &mut masks);
        Self::settled(pairs, masks)
    }
}

impl HourLine {
    /// The lines of several logs, as if they were one. `of_hour` asks one of them, by its place, who was read in an hour of the window.
    ///
    /// # Errors
    /// Those of `of_hour`, which is asked of hours in which more than one log has somebody.
    pub fn unite<E>(
        logs: Vec<Vec<Self>>,
        mut of_hour: impl FnMut(usize, UnixMicros) -> Result<OfLog, E>,
    ) -> Result<Vec<Self>, E> {
        let mut hours: BTreeMap<UnixMicros, Vec<(usize, Self)>> = BTreeMap::new();
        for (log, lines) in logs.into_iter().enumerate() {
            for line in lines {
                hours.entry(line.hour).or_default().push((log, line));
            }
        }
        let mut united = Vec::with_capacity(hours.len());
        for (hour, mut lines) in hours {
            if lines.len() < 2 {
                united.extend(lines.pop().map(|(_, line)| line));
                continue;
            }
            let answers = lines.iter().map(|(log, _)| of_hour(*log, hour));
            let subjects = Subjects::unite(answers.collect::<Result<_, E>>()?);
            let mut line = Self { hour, subjects: subjects.len() as u64, classes: BTreeMap::new() };
            for class in subjects.iter().flat_map(|(_, set)| set.iter().collect::<Vec<_>>()) {
                *line.classes.entry(class).or_default() += 1;
            }
            united.push(line);
        }
        Ok(united)
    }
}

impl Counted {
    /// What several logs say, as if it were one: everybody once, in order of [`Person`].
    pub fn unite(mut answers: Vec<Self>) -> Self {
        answers.retain(|answer| answer.totals.records > 0);
        if answers.len() < 2 {
            return answers.pop().unwrap_or_default();
        }
        let mut totals = Totals::default();
        let mut subjects: Vec<(Person, Seen)> = Vec::new();
        for answer in answers {
            totals.add(answer.totals);
            subjects.extend(answer.subjects);
        }
        subjects.sort_by_key(|(person, _)| *person);
        subjects.dedup_by(|(next, more), (kept, seen)| {
            let same = next == kept;
            if same {
                seen.classes = seen.classes.union(&more.classes);
                seen.first = seen.first.min(more.first);
                seen.last = seen.last.max(more.last);
                seen.count += more.count;
            }
            same
        });
        let mut sets: HashMap<ClassSet, u64> = HashMap::new();
        for (_, seen) in &subjects {
            *sets.entry(seen.classes).or_default() += 1;
        }
        for (set, people) in sets {
            for class in set.iter() {
                totals.classes.entry(class).or_default().subjects += people;
            }
        }
        totals.subjects = subjects.len() as u64;
        Self { subjects, totals }
    }
}
