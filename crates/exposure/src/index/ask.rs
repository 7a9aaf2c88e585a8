//! Answers: the files of the index and the tables in memory, taken together.

use super::block::Block;
use super::count::{Counted, Tally};
use super::file::IndexFile;
use super::footer::{Length, RunInfo, Span, Whose};
use super::gather::Loose;
use super::levels::cursor;
use super::masks::Masks;
use super::plan::{Plan, hour_of};
use super::run;
use super::scan::{self, Released, Scan};
use super::table::{Context, DAY, Gap, Table, hour};
use super::unite::unite;
use super::workers::{Workers, share};
use super::{Unreadable, postings};
use crate::Question;
use model::{ClassNumber, ClassSet, ClientIp, Pseudonym, SubjectOrdinal, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that is indexed of one log, at one moment.
///
/// Three kinds of question: who and what ([`Index::subjects`], [`Index::timeline`], [`Index::classes`]: from the runs, in
/// milliseconds); when and how often as well ([`Index::count`]: reads each release of the window); everything of one subject ([`Index::history`]).
pub struct Index<'a> {
    parts: BTreeMap<u32, Vec<&'a IndexFile>>,
    weeks: BTreeMap<u32, &'a IndexFile>,
    months: BTreeMap<u32, &'a IndexFile>,
    pub(super) tail: Vec<&'a Table>,
    pub(super) workers: Workers,
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
            workers: Workers::ALONE,
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

    /// The same, and asked with these at work. Answers do not depend on who works.
    #[must_use]
    pub fn with(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }

    /// Which classes were read at all. Nothing is proof of absence, as far as the log is complete.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn classes(&self, question: &Question) -> Result<ClassSet, Unreadable> {
        let question = &self.within_data(question);
        let mut classes = ClassSet::EMPTY;
        let mut masks = self.masks(question);
        let mut value = 0;
        let mut take = |released: &Released<'_>, masks: &mut Masks| {
            for (_, other) in released.touches() {
                value = masks.union(value, other);
            }
        };
        if !question.asks_for_runs() {
            let window = (question.from, question.to);
            self.scan(question, window, &mut masks, &mut take)?;
            return Ok(masks.set(value));
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
        for edge in &plan.edges {
            self.scan_files(question, *edge, &mut masks, &mut take)?;
        }
        self.scan_tail(question, (question.from, question.to), &mut masks, &mut take);
        Ok(classes.union(&masks.set(value)))
    }

    /// Different subjects by hour and class. Hours in which nothing was read are left out.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn timeline(&self, question: &Question) -> Result<Vec<HourLine>, Unreadable> {
        let question = &self.within_data(question);
        if question.from >= question.to {
            return Ok(Vec::new());
        }
        // Hours stand for themselves, so that each worker can have some of them.
        const FEW: usize = if cfg!(test) { 1 } else { 24 };
        let hours: Vec<u32> = (hour(question.from.0)..=hour(question.to.0 - 1)).collect();
        let workers = if hours.len() < FEW { Workers::ALONE } else { self.workers };
        let at_once = workers.at_once.max(1);
        let lines = workers.each(0..at_once, |number| {
            let mut masks = self.masks(question);
            let hours = share(&hours, number, at_once).iter();
            let lines = hours.map(|hour| self.hour_line(question, *hour, &mut masks));
            lines.collect::<Result<Vec<_>, _>>()
        });
        let lines = lines.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().flatten().filter(|line| line.subjects > 0).collect())
    }

    fn hour_line(
        &self,
        question: &Question,
        hour: u32,
        masks: &mut Masks,
    ) -> Result<HourLine, Unreadable> {
        let (start, end) = hour_of(hour);
        let window = (question.from.max(start), question.to.min(end));
        let counts = if window == (start, end) && question.asks_for_runs() {
            self.hour_counts(question, hour, masks)?
        } else {
            let mut loose = Loose::default();
            self.scan(question, window, masks, &mut |released, _| loose.add(released))?;
            histogram_of(Vec::new(), &loose, masks)?
        };
        let mut line = HourLine { hour: start, subjects: 0, classes: BTreeMap::new() };
        for (value, subjects) in counts {
            line.subjects += u64::from(subjects);
            for class in masks.set(value).iter() {
                *line.classes.entry(class).or_default() += u64::from(subjects);
            }
        }
        Ok(line)
    }

    /// Where the record from a time on may lack something, in order of the log.
    pub fn gaps(&self, from: UnixMicros) -> Vec<Gap> {
        let of_parts = self.parts.values().flatten().flat_map(|part| &part.footer.gaps);
        let all = of_parts.chain(self.tail.iter().flat_map(|table| &table.gaps));
        all.filter(|gap| from < gap.time).copied().collect()
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
        // One thread: another one would begin when most of it is found.
        let question = &self.within_data(question);
        let parts: Vec<&IndexFile> = self.parts_in(question.from, question.to).collect();
        let mut history = history_of(&parts, ordinal, question)?;
        for table in &self.tail {
            let window = (question.from, question.to);
            scan::table(table, question, window, (0, 1), &[], &mut |released| {
                if released.ordinals.contains(&ordinal.0) {
                    history.extend(touched(released, ordinal, &table.sets.items, question));
                }
            });
        }
        history.sort_by_key(|touched| touched.record);
        Ok(history)
    }

    /// The question without the empty time before and after the log.
    pub(super) fn within_data(&self, question: &Question) -> Question {
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

    pub(super) fn plan(&self, question: &Question) -> Plan {
        let has = |length, bucket| self.level(length, bucket).is_some();
        Plan::new(question.from, question.to, has)
    }

    /// The parts of the days that a window touches, in order of time.
    pub(super) fn parts_in(
        &self,
        from: UnixMicros,
        to: UnixMicros,
    ) -> impl Iterator<Item = &'a IndexFile> {
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
    pub(super) fn masks(&self, question: &Question) -> Masks {
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

    /// Calls `each` with the runs of a bucket, and the values of their files' sets.
    pub(super) fn runs(
        &self,
        question: &Question,
        (length, bucket): (Length, u32),
        masks: &mut Masks,
        mut each: impl FnMut(&'a IndexFile, &'a RunInfo, &Arc<[u32]>),
    ) {
        let mut of_file: Option<(&IndexFile, Arc<[u32]>)> = None;
        for (file, whose) in self.whose(question, length, bucket) {
            let Some(info) = file.run(length, whose, bucket) else { continue };
            let of_file = match of_file.take() {
                Some((other, values)) if std::ptr::eq(other, file) => {
                    of_file.insert((file, values))
                }
                _ => of_file.insert((file, values(question, &file.footer.sets, masks).into())),
            };
            each(file, info, &of_file.1);
        }
    }

    /// What has to be read release by release in a window of the files.
    pub(super) fn scans(
        &self,
        question: &Question,
        (from, to): (UnixMicros, UnixMicros),
        masks: &mut Masks,
        scans: &mut Vec<Scan<'a>>,
    ) -> Result<(), Unreadable> {
        if from < to {
            for part in self.parts_in(from, to) {
                let values = values(question, &part.footer.sets, masks).into();
                let networks = (BTreeSet::new(), scan::from_there(part, question));
                scans.push(Scan::new(part, question, (from, to), networks, values)?);
            }
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
        window: (UnixMicros, UnixMicros),
        masks: &mut Masks,
        visit: &mut impl FnMut(&Released<'_>, &mut Masks),
    ) -> Result<(), Unreadable> {
        let mut scans = Vec::new();
        self.scans(question, window, masks, &mut scans)?;
        for scan in scans {
            scan.visit(&scan.blocks, &mut |released| visit(released, masks))?;
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
            scan::table(table, question, window, (0, 1), &values, &mut |released| {
                visit(released, masks);
            });
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
        let (start, end) = hour_of(hour);
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
        let mut runs = Vec::new();
        self.runs(question, (Length::Hour, hour), masks, |file, info, values| {
            runs.push((file, info, Arc::clone(values)));
        });
        let cursors = runs.iter().map(|(file, info, values)| cursor(file, info, values));
        let cursors = cursors.collect::<Result<_, _>>()?;
        let mut loose = Loose::default();
        self.scan_tail(question, (start, end), masks, &mut |released, _| loose.add(released));
        histogram_of(cursors, &loose, masks)
    }

    /// The pseudonyms behind ordinals from [`super::NAMELESS`] on.
    pub(super) fn nameless(&self) -> Vec<Pseudonym> {
        let of_parts = self.parts.values().flatten().flat_map(|part| part.nameless());
        of_parts.chain(self.tail.iter().flat_map(|table| &table.nameless)).copied().collect()
    }
}

/// What parts have of a subject, in order of the parts.
fn history_of(
    parts: &[&IndexFile],
    ordinal: SubjectOrdinal,
    question: &Question,
) -> Result<Vec<Touched>, Unreadable> {
    let mut found = Vec::new();
    let mut later = Vec::new();
    let mut bytes = Vec::new();
    // What is not in memory is sent for all at once, and waited for afterwards.
    for part in parts {
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
    let (mut history, mut block) = (Vec::new(), Block::default());
    for (part, info, at_hand) in blocks {
        let bytes = match at_hand {
            Some(bytes) => bytes,
            None => {
                part.read_raw(info.at.offset, info.at.bytes as usize, &mut bytes)?;
                std::mem::take(&mut bytes)
            }
        };
        scan::block_of(part, question, (info, &bytes), &mut block, ordinal.0, &mut |released| {
            history.extend(touched(released, ordinal, &part.footer.sets, question));
        })?;
    }
    Ok(history)
}

/// What a release had of a subject; nothing if none of its classes is asked for.
fn touched(
    released: &Released<'_>,
    ordinal: SubjectOrdinal,
    sets: &[ClassSet],
    question: &Question,
) -> Option<Touched> {
    let touches = released.ordinals.iter().zip(released.sets);
    let mine = touches.filter(|(other, _)| **other == ordinal.0);
    let sets = mine.filter_map(|(_, set)| sets.get(*set as usize));
    let all = sets.fold(ClassSet::EMPTY, |all, set| all.union(set));
    let classes = question.classes.map_or(all, |wanted| wanted.intersection(&all));
    let Released { record, time, network, .. } = *released;
    (question.classes.is_none() || !classes.is_empty()).then(|| Touched {
        record,
        time,
        context: released.context.clone(),
        network,
        classes,
    })
}

/// Values of subjects, each of whom counts once, and how many have each.
fn histogram_of(
    cursors: Vec<run::Cursor>,
    loose: &Loose,
    masks: &mut Masks,
) -> Result<Vec<(u32, u32)>, Unreadable> {
    let mut united = Vec::new();
    unite(cursors, &loose.lists().collect::<Vec<_>>(), masks, &mut united)?;
    Ok(run::histogram(&united))
}

/// The value of each set as far as it is asked for; 0 if nothing of it is.
pub(super) fn values(question: &Question, sets: &[ClassSet], masks: &mut Masks) -> Vec<u32> {
    let asked = |set: &ClassSet| match question.classes {
        None => Some(*set),
        Some(wanted) => Some(wanted.intersection(set)).filter(|classes| !classes.is_empty()),
    };
    sets.iter().map(|set| asked(set).map_or(0, |set| masks.value(&set))).collect()
}
