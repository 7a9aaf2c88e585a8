//! Answers of several logs made one: everybody counts once, classes are united, releases are added.
//!
//! The ordinals of a vault are the same in all logs that were written with it. A pseudonym without a subject has a number of its
//! own in each log's index, and is told by itself.

use super::Unreadable;
use super::ask::{HourLine, Index, Subjects};
use super::count::Counted;
use super::masks::Masks;
use super::run::{self, ordinal_of, pair, value_of};
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
        let unnamed = subjects.pairs.last().is_some_and(|last| ordinal_of(*last) >= NAMELESS);
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
        let values = |of: &OfLog| run::histogram(&of.subjects.pairs);
        let of_log = |of: &OfLog| {
            let sets = values(of).into_iter().map(|(value, _)| of.subjects.masks.set(value));
            sets.fold(ClassSet::EMPTY, |all, set| all.union(&set))
        };
        let all = answers.iter().fold(ClassSet::EMPTY, |all, of| all.union(&of_log(of)));
        let mut masks = Masks::new(&all);
        let mut numbers: HashMap<Pseudonym, u32> = HashMap::new();
        let mut pairs = Vec::with_capacity(answers.iter().map(|of| of.subjects.len()).sum());
        for of in &answers {
            let translated: HashMap<u32, u32> = values(of)
                .into_iter()
                .map(|(value, _)| (value, masks.value(&of.subjects.masks.set(value))))
                .collect();
            for old in &of.subjects.pairs {
                let ordinal = match ordinal_of(*old).checked_sub(NAMELESS) {
                    None => ordinal_of(*old),
                    Some(number) => {
                        let next = NAMELESS + u32::try_from(numbers.len()).unwrap_or(NAMELESS);
                        let name = of.nameless.get(number as usize).copied();
                        *numbers.entry(name.unwrap_or(Pseudonym([0; 16]))).or_insert(next)
                    }
                };
                let value = translated.get(&value_of(*old)).copied().unwrap_or(0);
                pairs.push(pair(ordinal, value));
            }
        }
        run::settle_many(&mut pairs, &mut Vec::new(), &mut masks);
        Self { pairs, masks, loose: Vec::new(), sorted: Vec::new() }
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
            for (value, people) in run::histogram(&subjects.pairs) {
                for class in subjects.masks.set(value).iter() {
                    *line.classes.entry(class).or_default() += u64::from(people);
                }
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
