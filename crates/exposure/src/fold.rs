//! The answer, as a fold over one log's records.
//!
//! What is counted is records: a record counts once for each person in it. One that was made while a quarter turned can name a person by
//! both quarters' pseudonyms; that is one person who was read once, with the classes of both. Of whoever was erased nobody knows that two
//! pseudonyms were one person's, so they count as two.

use crate::Question;
use crate::index::Counted;
use ledger::Record;
pub use ledger::bundle::Seen;
use ledger::bundle::TAKEN_BACK_WITHIN;
use ledger::record::{Body, Chain};
use model::{
    ClassNumber, ClassSet, Digest, IntegrationId, Outcome, Pseudonym, SubjectId, SubjectOrdinal,
    Touch, UnixMicros,
};
use std::collections::{BTreeMap, VecDeque};

/// Who was read, which data, when, how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Subjects that the vault knows, all their pseudonyms together.
    pub subjects: BTreeMap<SubjectId, Seen>,
    /// Who was erased. A person that is known by pseudonyms alone can be several of them, one for each quarter.
    pub erased: BTreeMap<Person, Seen>,
    /// Sums.
    pub totals: Totals,
}

/// Who stands in an answer without a name, or before it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Person {
    /// A subject that the vault knew when the record was indexed.
    Known(SubjectOrdinal),
    /// A pseudonym whose subject had been erased by then.
    Nameless(Pseudonym),
}

impl Exposure {
    /// The answer that was counted in ordinals. `subject_of` tells who an ordinal stands for, `None` if that was erased.
    ///
    /// # Errors
    /// Those of `subject_of`: a vault that cannot be read must not look like subjects that were erased.
    pub fn from_counted<E>(
        counted: Counted,
        mut subject_of: impl FnMut(SubjectOrdinal) -> Result<Option<SubjectId>, E>,
    ) -> Result<Self, E> {
        let (mut subjects, mut erased) = (Vec::with_capacity(counted.subjects.len()), Vec::new());
        for (person, seen) in counted.subjects {
            let subject = match person {
                Person::Known(ordinal) => subject_of(ordinal)?,
                Person::Nameless(_) => None,
            };
            match subject {
                Some(subject) => subjects.push((subject, seen)),
                None => erased.push((person, seen)),
            }
        }
        let (subjects, erased) = (BTreeMap::from_iter(subjects), BTreeMap::from_iter(erased));
        Ok(Self { subjects, erased, totals: counted.totals })
    }
}

/// Sums over everything counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many subjects, erased pseudonyms included.
    pub subjects: u64,
    /// How many records, each a response or a batch of a stream.
    pub records: u64,
    /// By class.
    pub classes: BTreeMap<ClassNumber, ClassTotal>,
    /// By integration.
    pub integrations: BTreeMap<IntegrationId, IntegrationTotal>,
    /// By hour, keyed by the hour's first moment; hours without records are left out.
    pub hours: BTreeMap<UnixMicros, HourTotal>,
}

impl Totals {
    /// Adds another log's sums, but for how many subjects there are, in all and of each class: some may be in both.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { subjects: _, records, classes, integrations, hours } = other;
        self.records += records;
        for (class, total) in classes {
            self.classes.entry(class).or_default().records += total.records;
        }
        for (integration, total) in integrations {
            self.add_integration(integration, total);
        }
        for (hour, total) in hours {
            let at = self.hours.entry(hour).or_default();
            at.records += total.records;
            at.touches += total.touches;
        }
    }

    fn add_integration(&mut self, integration: IntegrationId, more: IntegrationTotal) {
        let entry = self.integrations.entry(integration);
        entry
            .and_modify(|total| {
                total.records += more.records;
                total.classes = total.classes.union(&more.classes);
                total.first = total.first.min(more.first);
                total.last = total.last.max(more.last);
            })
            .or_insert(more);
    }
}

/// How much of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassTotal {
    /// Of how many subjects.
    pub subjects: u64,
    /// In how many records.
    pub records: u64,
}

/// How much by one integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegrationTotal {
    /// In how many records.
    pub records: u64,
    /// Which classes.
    pub classes: ClassSet,
    /// First time.
    pub first: UnixMicros,
    /// Last time.
    pub last: UnixMicros,
}

/// How much in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourTotal {
    /// In how many records.
    pub records: u64,
    /// How many touches: a subject in two records is two.
    pub touches: u64,
}

/// Takes one log's records in order. For several logs, a fold each and [`Fold::merge`].
#[derive(Debug)]
pub struct Fold<'a> {
    question: &'a Question,
    // Counted unless a not-released record takes them back. In order of time, none older than the last record by more
    // than `TAKEN_BACK_WITHIN`.
    pending: VecDeque<Pending>,
    /// What nothing can take back.
    counted: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    leaf: Digest,
    integration: IntegrationId,
    time: UnixMicros,
    touches: Vec<Touch>,
}

impl<'a> Fold<'a> {
    /// Starts on a log.
    pub fn new(question: &'a Question) -> Self {
        Self { question, pending: VecDeque::new(), counted: Vec::new() }
    }

    /// Takes the next record. Attempts and refusals do not count: nothing left.
    pub fn push(&mut self, record: &Record) {
        let time = record.header.time;
        self.settle_before(UnixMicros(time.0.saturating_sub(TAKEN_BACK_WITHIN.0)));
        let Chain::Integration(integration) = record.header.chain else { return };
        if let Body::NotReleased { leaf, .. } = &record.body {
            self.pending
                .retain(|pending| pending.leaf != *leaf || pending.integration != integration);
        }
        let Body::Access(body) = &record.body else { return };
        if body.outcome != Outcome::Released || !self.question.covers(integration, time, body) {
            return;
        }
        let touches: Vec<Touch> =
            record.touches.iter().filter_map(|touch| self.question.touch(touch)).collect();
        if touches.is_empty() && self.question.asks_for_touches() {
            return;
        }
        self.pending.push_back(Pending { leaf: record.leaf, integration, time, touches });
    }

    /// Adds what another log's fold of the same question counted.
    #[must_use]
    pub fn merge(mut self, mut other: Self) -> Self {
        self.settle();
        other.settle();
        self.counted.append(&mut other.counted);
        self
    }

    /// The answer. `subject_of` tells who a pseudonym stands for, `None` if that was erased.
    pub fn finish(
        mut self,
        mut subject_of: impl FnMut(&Pseudonym) -> Option<SubjectId>,
    ) -> Exposure {
        self.settle();
        let mut exposure = Exposure {
            subjects: BTreeMap::new(),
            erased: BTreeMap::new(),
            totals: Totals::default(),
        };
        for pending in &self.counted {
            exposure.count(pending, &mut subject_of);
        }
        let Exposure { subjects, erased, totals } = &mut exposure;
        totals.subjects = (subjects.len() + erased.len()) as u64;
        for seen in subjects.values().chain(erased.values()) {
            for class in seen.classes.iter() {
                totals.classes.entry(class).or_default().subjects += 1;
            }
        }
        exposure
    }

    fn settle(&mut self) {
        self.settle_before(UnixMicros(u64::MAX));
    }

    /// Counts what nothing can take back: older than `time`.
    fn settle_before(&mut self, time: UnixMicros) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.time < time) {
            self.counted.push(pending);
        }
    }
}

impl Exposure {
    fn count(
        &mut self,
        pending: &Pending,
        subject_of: &mut impl FnMut(&Pseudonym) -> Option<SubjectId>,
    ) {
        let time = pending.time;
        let (mut read, mut nameless) = (BTreeMap::new(), BTreeMap::new());
        let mut mask = ClassSet::EMPTY;
        for touch in &pending.touches {
            mask = mask.union(&touch.classes);
            let classes = match subject_of(&touch.pseudonym) {
                Some(subject) => read.entry(subject).or_insert(ClassSet::EMPTY),
                None => nameless.entry(touch.pseudonym).or_insert(ClassSet::EMPTY),
            };
            *classes = classes.union(&touch.classes);
        }
        let hour = self.totals.hours.entry(UnixMicros(time.0 - time.0 % HOUR)).or_default();
        hour.records += 1;
        hour.touches += (read.len() + nameless.len()) as u64;
        let seen = |classes| Seen { classes, first: time, last: time, count: 1 };
        for (subject, classes) in read {
            add(&mut self.subjects, subject, seen(classes));
        }
        for (pseudonym, classes) in nameless {
            add(&mut self.erased, Person::Nameless(pseudonym), seen(classes));
        }
        self.totals.records += 1;
        for class in mask.iter() {
            self.totals.classes.entry(class).or_default().records += 1;
        }
        let total = IntegrationTotal { records: 1, classes: mask, first: time, last: time };
        self.totals.add_integration(pending.integration, total);
    }
}

const HOUR: u64 = 3_600_000_000;

fn add<K: Ord>(all: &mut BTreeMap<K, Seen>, key: K, more: Seen) {
    all.entry(key)
        .and_modify(|seen| {
            seen.classes = seen.classes.union(&more.classes);
            seen.first = seen.first.min(more.first);
            seen.last = seen.last.max(more.last);
            seen.count += more.count;
        })
        .or_insert(more);
}
