//! Answers: the files of the index and the tables in memory, taken together.

use super::count::{Counted, Tally};
use super::file::{IndexFile, Length, Span, Whose};
use super::levels::cursor;
use super::masks::Masks;
use super::plan::{HOUR, Plan};
use super::run::{self, ordinal_of, pair, value_of};
use super::scan::{self, Released};
use super::table::{Context, DAY, Gap, GapCause, Table, hour};
use super::{Unreadable, postings};
use crate::Question;
use model::{ClassNumber, ClassSet, ClientIp, Pseudonym, SubjectOrdinal, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is indexed of one log, at one moment.
///
/// Three kinds of question: who and what ([`Index::subjects`], [`Index::timeline`], [`Index::classes`]: from the runs, in
/// milliseconds); when and how often as well ([`Index::count`]: reads each release of the window); everything of one subject ([`Index::history`]).
pub struct Index<'a> {
    parts: BTreeMap<u32, Vec<&'a IndexFile>>,
    weeks: BTreeMap<u32, &'a IndexFile>,
    months: BTreeMap<u32, &'a IndexFile>,
    tail: Vec<&'a Table>,
}

/// Subjects in order of ordinal, each once, with the union of what was read of them. Its memory can be used for the next answer.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    pairs: Vec<u64>,
    masks: Masks,
    /// What is in no run, while an answer is put together.
    loose: Vec<u64>,
    sorted: Vec<u64>,
}

/// One release that one subject's data went out with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Index of the record in the log.
    pub record: u64,
    /// When.
    pub time: UnixMicros,
    /// Who read.
    pub context: Context,
    /// From where.
    pub network: ClientIp,
    /// Which classes.
    pub classes: ClassSet,
}

/// How many subjects were read in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourLine {
    /// The hour's first moment.
    pub hour: UnixMicros,
    /// Different subjects.
    pub subjects: u64,
    /// Different subjects by class; classes of which nothing was read are left out.
    pub classes: BTreeMap<ClassNumber, u64>,
}

impl Subjects {
    /// An answer that was put together elsewhere: sorted, each ordinal once.
    pub(super) const fn settled(pairs: Vec<u64>, masks: Masks) -> Self {
        Self { pairs, masks, loose: Vec::new(), sorted: Vec::new() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nobody was read.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Each subject and its classes. Ordinals from [`super::NAMELESS`] on stand for pseudonyms.
    pub fn iter(&self) -> impl Iterator<Item = (SubjectOrdinal, ClassSet)> + '_ {
        let mut last = (0, ClassSet::EMPTY);
        self.pairs.iter().map(move |pair| {
            let value = value_of(*pair);
            if value != last.0 {
                last = (value, self.masks.set(value));
            }
            (SubjectOrdinal(ordinal_of(*pair)), last.1)
        })
    }

    /// The ordinals alone.
    pub fn ordinals(&self) -> impl Iterator<Item = SubjectOrdinal> + '_ {
        self.pairs.iter().map(|pair| SubjectOrdinal(ordinal_of(*pair)))
    }
}

impl<'a> Index<'a> {
    /// Takes files and tables of one log that together have every record once, besides weeks and months of the same parts.
    pub fn new(
        files: impl IntoIterator<Item = &'a IndexFile>,
        tail: impl IntoIterator<Item = &'a Table>,
    ) -> Self {
        let mut index = Self {
            parts: BTreeMap::new(),
            weeks: BTreeMap::new(),
            months: BTreeMap::new(),
            tail: tail.into_iter().collect(),
        };
        for file in files {
            match file.span() {
                Span::Part => index.parts.entry(file.day()).or_default().push(file),
                Span::Week => {
                    index.weeks.insert(file.day() / super::DAYS_OF_WEEK, file);
                }
                Span::Month => {
                    index.months.insert(file.day() / super::DAYS_OF_MONTH, file);
                }
            }
        }
        index
    }

    /// Who was read, and which classes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn subjects(&self, question: &Question) -> Result<Subjects, Unreadable> {
        let mut answer = Subjects::default();
        self.subjects_into(question, &mut answer)?;
        Ok(answer)
    }

    /// As [`Index::subjects`], into the memory of an answer that is needed no longer.
    ///
    /// # Errors
    /// [`Unreadable`]; what is in `answer` is then no answer.
    pub fn subjects_into(
        &self,
        question: &Question,
        answer: &mut Subjects,
    ) -> Result<(), Unreadable> {
        let question = &self.within_data(question);
        answer.masks = self.masks(question);
        answer.loose.clear();
        let Subjects { pairs, masks, loose, sorted } = answer;
        let mut take = |released: &Released<'_>, _: &mut Masks| {
            loose.extend(released.touches().map(|(ordinal, value)| pair(ordinal, value)));
        };
        let window = (question.from, question.to);
        let mut cursors = Vec::new();
        if question.asks_for_runs() {
            let plan = self.plan(question);
            for (length, bucket) in &plan.buckets {
                self.cursors(question, (*length, *bucket), masks, &mut cursors)?;
            }
            for edge in &plan.edges {
                self.scan_files(question, *edge, masks, &mut take)?;
            }
        } else if question.asks_for_networks_alone() {
            self.by_network(question, masks, &mut cursors, &mut take)?;
        } else {
            self.scan_files(question, window, masks, &mut take)?;
        }
        self.scan_tail(question, window, masks, &mut take);
        cursors.retain(|cursor| !cursor.is_moot());
        run::settle_many(loose, sorted, masks);
        Ok(run::unite(cursors, loose, masks, pairs)?)
    }

    /// Which classes were read at all. Nothing is proof of absence, as far as the log is complete.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn classes(&self, question: &Question) -> Result<ClassSet, Unreadable> {
        let question = &self.within_data(question);
        let mut classes = ClassSet::EMPTY;
        let mut masks = self.masks(question);
        if !question.asks_for_runs() {
            let mut values = BTreeSet::new();
            let window = (question.from, question.to);
            self.scan(question, window, &mut masks, &mut |released, _| {
                values.extend(released.touches().map(|(_, value)| value));
            })?;
            return Ok(values.iter().fold(classes, |all, value| all.union(&masks.set(*value))));
        }
        let plan = self.plan(question);
        for &(length, bucket) in &plan.buckets {
            for (file, whose) in self.whose(question, length, bucket) {
                let Some(head) = self.head(file, (length, whose, bucket))? else { continue };
                for (set, _) in head.sets {
                    let set = file.footer.sets.get(set as usize).copied().unwrap_or_default();
                    classes =
                        classes.union(&question.classes.map_or(set, |c| c.intersection(&set)));
                }
            }
        }
        for pair in self.loose(question, &plan.edges, &mut masks)? {
            classes = classes.union(&masks.set(value_of(pair)));
        }
        Ok(classes)
    }

    /// Different subjects by hour and class. Hours in which nothing was read are left out.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn timeline(&self, question: &Question) -> Result<Vec<HourLine>, Unreadable> {
        let question = &self.within_data(question);
        let mut lines = Vec::new();
        if question.from >= question.to {
            return Ok(lines);
        }
        let mut masks = self.masks(question);
        let mut sorted = Vec::new();
        for hour in hour(question.from.0)..=hour(question.to.0 - 1) {
            let start = u64::from(hour) * HOUR;
            let whole = question.from.0 <= start && start + HOUR <= question.to.0;
            let from = question.from.max(UnixMicros(start));
            let to = question.to.min(UnixMicros(start + HOUR));
            let counts = if whole && question.asks_for_runs() {
                self.hour_counts(question, hour, &mut masks)?
            } else {
                let mut loose = Vec::new();
                self.scan(question, (from, to), &mut masks, &mut |released, _| {
                    loose.extend(released.touches().map(|(ordinal, value)| pair(ordinal, value)));
                })?;
                run::settle_many(&mut loose, &mut sorted, &mut masks);
                run::histogram(&loose)
            };
            let mut line =
                HourLine { hour: UnixMicros(start), subjects: 0, classes: BTreeMap::new() };
            for (value, subjects) in counts {
                line.subjects += u64::from(subjects);
                for class in masks.set(value).iter() {
                    *line.classes.entry(class).or_default() += u64::from(subjects);
                }
            }
            if line.subjects > 0 {
                lines.push(line);
            }
        }
        Ok(lines)
    }

    /// Where the record of a window may lack something, in order of the log. A generation that lost its end lacks what was before this log.
    pub fn gaps(&self, from: UnixMicros, to: UnixMicros) -> Vec<Gap> {
        let of_parts = self.parts.values().flatten().flat_map(|part| &part.footer.gaps);
        let all = of_parts.chain(self.tail.iter().flat_map(|table| &table.gaps));
        let inside = |gap: &&Gap| match gap.cause {
            GapCause::LostEnd => from < gap.time,
            GapCause::WithoutLease(_) => from <= gap.time && gap.time < to,
        };
        all.filter(inside).cloned().collect()
    }

    /// Who was read, when and how often. Reads every release of the window.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn count(&self, question: &Question) -> Result<Counted, Unreadable> {
        let question = &self.within_data(question);
        let mut masks = self.masks(question);
        let mut tally = Tally::default();
        let asks_for_touches = question.asks_for_touches();
        let window = (question.from, question.to);
        self.scan(question, window, &mut masks, &mut |released, masks| {
            tally.add(released, masks, asks_for_touches);
        })?;
        Ok(tally.finish(&masks, || self.nameless()))
    }

    /// Every release that one subject's data went out with, in order of the log.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn history(
        &self,
        ordinal: SubjectOrdinal,
        question: &Question,
    ) -> Result<Vec<Touched>, Unreadable> {
        let question = &self.within_data(question);
        let mut found = Vec::new();
        let mut later = Vec::new();
        let mut bytes = Vec::new();
        // What is not in memory is sent for all at once, and waited for afterwards.
        for part in self.parts_in(question.from, question.to) {
            match postings::at_hand(part, ordinal.0, &mut bytes)? {
                Some(blocks) => found.extend(blocks.into_iter().map(|block| (part, block))),
                None => later.push(part),
            }
        }
        for part in later {
            let blocks = postings::blocks_of(part, ordinal.0, &mut bytes)?;
            found.extend(blocks.into_iter().map(|block| (part, block)));
        }
        found.sort_by_key(|(part, block)| (part.records().start, *block));
        let mut blocks = Vec::with_capacity(found.len());
        for (part, block) in found {
            let info = part.footer.blocks.get(block as usize);
            let info = info.ok_or(Unreadable::Damaged("a subject's postings"))?;
            let mut bytes = Vec::new();
            let at_hand = part.read_at_hand(info.at.offset, info.at.bytes as usize, &mut bytes)?;
            blocks.push((part, info, at_hand.then_some(bytes)));
        }
        let mut history = Vec::new();
        let mut take = |released: &Released<'_>, sets: &[ClassSet]| {
            let touches = released.ordinals.iter().zip(released.sets);
            let mine = touches.filter(|(other, _)| **other == ordinal.0);
            let sets = mine.filter_map(|(_, set)| sets.get(*set as usize));
            let all = sets.fold(ClassSet::EMPTY, |all, set| all.union(set));
            let classes = question.classes.map_or(all, |wanted| wanted.intersection(&all));
            if question.classes.is_none() || !classes.is_empty() {
                let Released { record, time, network, .. } = *released;
                let context = released.context.clone();
                history.push(Touched { record, time, context, network, classes });
            }
        };
        for (part, info, at_hand) in blocks {
            let sets = &part.footer.sets;
            let bytes = match at_hand {
                Some(bytes) => bytes,
                None => {
                    part.read_raw(info.at.offset, info.at.bytes as usize, &mut bytes)?;
                    std::mem::take(&mut bytes)
                }
            };
            let mut visit = |released: &Released<'_>| take(released, sets);
            scan::block_of(part, question, (info, &bytes), ordinal.0, &mut visit)?;
        }
        for table in &self.tail {
            let window = (question.from, question.to);
            scan::table(table, question, window, &[], &mut |released| {
                if released.ordinals.contains(&ordinal.0) {
                    take(released, &table.sets.items);
                }
            });
        }
        history.sort_by_key(|touched| touched.record);
        Ok(history)
    }

    /// The question without the empty time before and after the log.
    fn within_data(&self, question: &Question) -> Question {
        let mut days = self.parts.keys().map(|day| u64::from(*day) * DAY);
        let rows = || self.tail.iter().flat_map(|table| &table.rows).map(|row| row.time);
        let first = days.clone().next().into_iter().chain(rows().next()).min();
        let last_rows =
            self.tail.iter().filter_map(|table| table.rows.last()).map(|row| row.time + 1);
        let end = days.next_back().map(|day| day + DAY).into_iter().chain(last_rows).max();
        let from = question.from.max(UnixMicros(first.unwrap_or(0)));
        let to = question.to.min(UnixMicros(end.unwrap_or(0)));
        Question { from, to: to.max(from), ..question.clone() }
    }

    fn plan(&self, question: &Question) -> Plan {
        let has = |length, bucket| self.level(length, bucket).is_some();
        Plan::new(question.from, question.to, has)
    }

    /// The parts of the days that a window touches, in order of time.
    fn parts_in(&self, from: UnixMicros, to: UnixMicros) -> impl Iterator<Item = &'a IndexFile> {
        let day = |time: u64| u32::try_from(time / DAY).unwrap_or(u32::MAX);
        // A window that ends at midnight has nothing of the day that begins then.
        let days = day(from.0)..=day(to.0.saturating_sub(1).max(from.0));
        self.parts.range(days).flat_map(|(_, parts)| parts).copied()
    }

    fn level(&self, length: Length, bucket: u32) -> Option<&'a IndexFile> {
        match length {
            Length::Month => self.months.get(&bucket).copied(),
            Length::Week => self.weeks.get(&bucket).copied(),
            Length::Hour | Length::Day => None,
        }
    }

    /// A way to write the sets that are asked for.
    fn masks(&self, question: &Question) -> Masks {
        let levels = self.weeks.values().chain(self.months.values()).copied();
        let files = self.parts.values().flatten().copied().chain(levels);
        let of_files = files.flat_map(|file| &file.footer.sets);
        let sets = of_files.chain(self.tail.iter().flat_map(|table| &table.sets.items));
        let all = sets.fold(ClassSet::EMPTY, |all, set| all.union(set));
        Masks::new(&question.classes.map_or(all, |wanted| wanted.intersection(&all)))
    }

    /// The files that have a bucket, and under which name the integrations asked for stand there.
    fn whose(
        &self,
        question: &Question,
        length: Length,
        bucket: u32,
    ) -> Vec<(&'a IndexFile, Whose)> {
        let (day, _) = Plan::days(length, bucket);
        let files: Vec<&IndexFile> = match self.level(length, bucket) {
            Some(level) => vec![level],
            None => self.parts.get(&day).cloned().unwrap_or_default(),
        };
        let in_file = |file: &'a IndexFile| -> Vec<(&'a IndexFile, Whose)> {
            let places = match &question.integrations {
                Some(ids) => ids.iter().filter_map(|id| file.place_of(id)).collect(),
                None if file.span() != Span::Month => {
                    (0..u32::try_from(file.footer.integrations.len()).unwrap_or(0)).collect()
                }
                None => return vec![(file, Whose::All)],
            };
            let places: Vec<u32> = places;
            places.into_iter().map(|place| (file, Whose::One(place))).collect()
        };
        files.into_iter().flat_map(in_file).collect()
    }

    fn cursors(
        &self,
        question: &Question,
        (length, bucket): (Length, u32),
        masks: &mut Masks,
        cursors: &mut Vec<run::Cursor>,
    ) -> Result<(), Unreadable> {
        let mut of_file: Option<(*const IndexFile, Vec<u32>)> = None;
        for (file, whose) in self.whose(question, length, bucket) {
            let Some(info) = file.run(length, whose, bucket) else { continue };
            let same = of_file.as_ref().is_some_and(|(other, _)| std::ptr::eq(*other, file));
            if !same {
                of_file = Some((file, values(question, &file.footer.sets, masks)));
            }
            let values = of_file.as_ref().map_or(&[][..], |(_, values)| values);
            cursors.push(cursor(file, info, values)?);
        }
        Ok(())
    }

    /// What is in no bucket: the releases at the edges and those in memory, sorted, each ordinal once.
    fn loose(
        &self,
        question: &Question,
        edges: &[(UnixMicros, UnixMicros)],
        masks: &mut Masks,
    ) -> Result<Vec<u64>, Unreadable> {
        let mut loose = Vec::new();
        let mut take = |released: &Released<'_>, _: &mut Masks| {
            loose.extend(released.touches().map(|(ordinal, value)| pair(ordinal, value)));
        };
        for window in edges {
            self.scan_files(question, *window, masks, &mut take)?;
        }
        self.scan_tail(question, (question.from, question.to), masks, &mut take);
        run::settle_many(&mut loose, &mut Vec::new(), masks);
        Ok(loose)
    }

    /// Takes the runs of busy networks' hours, and the releases of the others.
    fn by_network(
        &self,
        question: &Question,
        masks: &mut Masks,
        cursors: &mut Vec<run::Cursor>,
        take: &mut impl FnMut(&Released<'_>, &mut Masks),
    ) -> Result<(), Unreadable> {
        for part in self.parts_in(question.from, question.to) {
            let values = values(question, &part.footer.sets, masks);
            let mut covered = BTreeSet::new();
            for (info, place) in part.footer.networks.iter().zip(0_u32..) {
                if !question.has_network(info.network) {
                    continue;
                }
                for run in part.hours_of(Whose::Network(place)) {
                    let start = u64::from(run.bucket) * HOUR;
                    if question.from.0 <= start && start + HOUR <= question.to.0 {
                        cursors.push(cursor(part, run, &values)?);
                        covered.insert((run.bucket, place));
                    }
                }
            }
            let window = (question.from, question.to);
            let mut visit = |released: &Released<'_>| take(released, masks);
            scan::file(part, question, window, &covered, &values, &mut visit)?;
        }
        Ok(())
    }

    fn scan(
        &self,
        question: &Question,
        window: (UnixMicros, UnixMicros),
        masks: &mut Masks,
        visit: &mut impl FnMut(&Released<'_>, &mut Masks),
    ) -> Result<(), Unreadable> {
        self.scan_files(question, window, masks, visit)?;
        self.scan_tail(question, window, masks, visit);
        Ok(())
    }

    fn scan_files(
        &self,
        question: &Question,
        (from, to): (UnixMicros, UnixMicros),
        masks: &mut Masks,
        visit: &mut impl FnMut(&Released<'_>, &mut Masks),
    ) -> Result<(), Unreadable> {
        if from >= to {
            return Ok(());
        }
        for part in self.parts_in(from, to) {
            let values = values(question, &part.footer.sets, masks);
            scan::file(part, question, (from, to), &BTreeSet::new(), &values, &mut |released| {
                visit(released, masks)
            })?;
        }
        Ok(())
    }

    fn scan_tail(
        &self,
        question: &Question,
        window: (UnixMicros, UnixMicros),
        masks: &mut Masks,
        visit: &mut impl FnMut(&Released<'_>, &mut Masks),
    ) {
        for table in &self.tail {
            let values = values(question, &table.sets.items, masks);
            scan::table(table, question, window, &values, &mut |released| visit(released, masks));
        }
    }

    fn head(
        &self,
        file: &IndexFile,
        (length, whose, bucket): (Length, Whose, u32),
    ) -> Result<Option<run::Head>, Unreadable> {
        let Some(info) = file.run(length, whose, bucket) else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read(info.at, &mut bytes)?;
        Ok(Some(run::head(&bytes)?))
    }

    /// Values and their subjects in a whole hour.
    fn hour_counts(
        &self,
        question: &Question,
        hour: u32,
        masks: &mut Masks,
    ) -> Result<Vec<(u32, u32)>, Unreadable> {
        let start = UnixMicros(u64::from(hour) * HOUR);
        let end = UnixMicros(start.0 + HOUR);
        let in_memory = self.tail.iter().any(|table| table.rows_in(start, end).next().is_some());
        let parts = self.parts.get(&(hour / 24)).map_or(&[][..], Vec::as_slice);
        let mut with_hour = parts.iter().filter(|part| part.has_hour(hour));
        let one_part = (with_hour.next(), with_hour.next());
        // One run of which the head says it all; several would count people twice.
        if let ((Some(part), None), false) = (one_part, in_memory) {
            let whose = match &question.integrations {
                None => Some(Whose::All),
                Some(ids) => {
                    let mut places = ids.iter().filter_map(|id| part.place_of(id));
                    match (places.next(), places.next()) {
                        (None, _) => return Ok(Vec::new()),
                        (Some(place), None) => Some(Whose::One(place)),
                        (Some(_), Some(_)) => None,
                    }
                }
            };
            if let Some(whose) = whose {
                let Some(head) = self.head(part, (Length::Hour, whose, hour))? else {
                    return Ok(Vec::new());
                };
                let values = values(question, &part.footer.sets, masks);
                let value = |set: u32| values.get(set as usize).copied().unwrap_or(0);
                let counts = head.sets.iter().map(|(set, subjects)| (value(*set), *subjects));
                return Ok(counts.filter(|(value, _)| *value != 0).collect());
            }
        }
        let mut cursors = Vec::new();
        self.cursors(question, (Length::Hour, hour), masks, &mut cursors)?;
        let mut loose = Vec::new();
        self.scan_tail(question, (start, end), masks, &mut |released, _| {
            loose.extend(released.touches().map(|(ordinal, value)| pair(ordinal, value)));
        });
        run::settle_many(&mut loose, &mut Vec::new(), masks);
        let mut united = Vec::new();
        run::unite(cursors, &loose, masks, &mut united)?;
        Ok(run::histogram(&united))
    }

    /// The pseudonyms behind ordinals from [`super::NAMELESS`] on.
    pub(super) fn nameless(&self) -> Vec<Pseudonym> {
        let of_parts = self.parts.values().flatten().flat_map(|part| part.nameless());
        of_parts.chain(self.tail.iter().flat_map(|table| &table.nameless)).copied().collect()
    }
}

/// The value of each set as far as it is asked for; 0 if nothing of it is.
fn values(question: &Question, sets: &[ClassSet], masks: &mut Masks) -> Vec<u32> {
    let asked = |set: &ClassSet| match question.classes {
        None => Some(*set),
        Some(wanted) => Some(wanted.intersection(set)).filter(|classes| !classes.is_empty()),
    };
    sets.iter().map(|set| asked(set).map_or(0, |set| masks.value(&set))).collect()
}
