//! Who was read, and which classes: runs, and the releases that are in no run, united.
//!
//! Twice all workers are at it. First each reads a share of the runs and of the releases; then each unites what everybody found of
//! a share of the ordinals. The shares lie side by side, so that what comes out is what one worker alone would have found.

use super::ask::{Index, values};
use super::file::IndexFile;
use super::footer::{RunInfo, Whose};
use super::masks::Masks;
use super::run::{Cursor, Run, ordinal_of, pair, value_of};
use super::scan::{self, Released, Scan};
use super::table::Table;
use super::unite::{SPAN_BITS, unite};
use super::workers::{Workers, share};
use super::{Damaged, Unreadable};
use crate::Question;
use model::{ClassSet, SubjectOrdinal};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Subjects in order of ordinal, each once, with the union of what was read of them. Its memory can be used for the next answer.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    pieces: Vec<Piece>,
    /// What was in no run, while the answer was put together.
    loose: Vec<Loose>,
}

/// Some of the subjects; their ordinals are below those of the next piece.
#[derive(Clone, Debug)]
struct Piece {
    pairs: Vec<u64>,
    masks: Masks,
}

impl Subjects {
    /// An answer that was put together elsewhere: sorted, each ordinal once.
    pub(super) fn settled(pairs: Vec<u64>, masks: Masks) -> Self {
        Self { pieces: vec![Piece { pairs, masks }], loose: Vec::new() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.pairs.len()).sum()
    }

    /// Whether nobody was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each subject and its classes. Ordinals from [`super::NAMELESS`] on stand for pseudonyms.
    pub fn iter(&self) -> impl Iterator<Item = (SubjectOrdinal, ClassSet)> + '_ {
        self.pieces.iter().flat_map(|piece| {
            let mut last = (0, ClassSet::EMPTY);
            piece.pairs.iter().map(move |pair| {
                let value = value_of(*pair);
                if value != last.0 {
                    last = (value, piece.masks.set(value));
                }
                (SubjectOrdinal(ordinal_of(*pair)), last.1)
            })
        })
    }

    /// The ordinals alone.
    pub fn ordinals(&self) -> impl Iterator<Item = SubjectOrdinal> + '_ {
        let pairs = self.pieces.iter().flat_map(|piece| &piece.pairs);
        pairs.map(|pair| SubjectOrdinal(ordinal_of(*pair)))
    }

    /// How many subjects each group has: by country, say. `group`: the group of a subject.
    pub fn by_group(
        &self,
        workers: Workers,
        group: impl Fn(SubjectOrdinal) -> u8 + Sync,
    ) -> [u64; GROUPS] {
        // Counting into the place that was counted into just before waits for it, and one group has most subjects.
        const TABLES: usize = 4;
        let counted = workers.each(&self.pieces, |piece| {
            let mut tables = [[0_u64; GROUPS]; TABLES];
            for pairs in piece.pairs.chunks(TABLES) {
                for (pair, table) in pairs.iter().zip(&mut tables) {
                    let group = group(SubjectOrdinal(ordinal_of(*pair)));
                    if let Some(count) = table.get_mut(usize::from(group)) {
                        *count += 1;
                    }
                }
            }
            tables
        });
        let mut all = [0; GROUPS];
        for table in counted.iter().flatten() {
            all.iter_mut().zip(table).for_each(|(sum, count)| *sum += count);
        }
        all
    }
}

/// Groups that a `u8` can name.
const GROUPS: usize = 1 << u8::BITS;

/// Touches in any order, in one list for each [`SPAN`](super::unite::SPAN) of ordinals.
#[derive(Clone, Debug, Default)]
pub(super) struct Loose {
    named: Vec<Vec<u64>>,
    /// Of ordinals from [`super::NAMELESS`] on, which are far from all others.
    nameless: Vec<Vec<u64>>,
}

const NAMELESS_LIST: usize = super::NAMELESS as usize >> SPAN_BITS;

impl Loose {
    /// Adds what is asked for of a release.
    pub(super) fn add(&mut self, released: &Released<'_>) {
        released.touches().for_each(|(ordinal, value)| self.push(ordinal, value));
    }

    /// Adds one touch. 0 is nothing that is asked for.
    #[inline(always)]
    pub(super) fn push(&mut self, ordinal: u32, value: u32) {
        if value == 0 {
            return;
        }
        let at = (ordinal >> SPAN_BITS) as usize;
        let (lists, at) = match at.checked_sub(NAMELESS_LIST) {
            None => (&mut self.named, at),
            Some(at) => (&mut self.nameless, at),
        };
        if lists.len() <= at {
            lists.resize_with(at + 1, Vec::new);
        }
        if let Some(list) = lists.get_mut(at) {
            list.push(pair(ordinal, value));
        }
    }

    fn clear(&mut self) {
        self.named.iter_mut().chain(&mut self.nameless).for_each(Vec::clear);
    }

    /// The lists that are not empty, and the first ordinal that each could have.
    pub(super) fn lists(&self) -> impl Iterator<Item = (u32, &[u64])> {
        let first = |at: usize| u32::try_from(at << SPAN_BITS).unwrap_or(u32::MAX);
        let named = self.named.iter().zip(0..);
        let all = named.chain(self.nameless.iter().zip(NAMELESS_LIST..));
        all.filter(|(list, _)| !list.is_empty()).map(move |(list, at)| (first(at), &**list))
    }
}

/// Where an answer is to be looked for.
#[derive(Default)]
struct Sources<'a> {
    runs: Vec<(&'a IndexFile, &'a RunInfo, Arc<[u32]>)>,
    scans: Vec<Scan<'a>>,
    tail: Vec<(&'a Table, Vec<u32>)>,
}

impl Sources<'_> {
    /// Subjects of runs, touches of blocks: what will be looked at, about.
    fn size(&self) -> u64 {
        let runs = self.runs.iter().map(|(_, info, _)| u64::from(info.subjects));
        let blocks = self.scans.iter().flat_map(|scan| &scan.blocks);
        let tail = self.tail.iter().map(|(table, _)| table.touches.len() as u64);
        runs.chain(blocks.map(|block| u64::from(block.touches))).chain(tail).sum()
    }

    /// Reads the `number`-th of `of` shares.
    fn read(
        &self,
        question: &Question,
        (number, of): (usize, usize),
        loose: &mut Loose,
    ) -> Result<Vec<Arc<Run>>, Unreadable> {
        loose.clear();
        for scan in &self.scans {
            scan.gather(share(&scan.blocks, number, of), loose)?;
        }
        let window = (question.from, question.to);
        for (table, values) in &self.tail {
            scan::table(table, question, window, (number, of), values, &mut |released| {
                loose.add(released);
            });
        }
        let all: u64 = self.runs.iter().map(|(_, info, _)| u64::from(info.at.bytes)).sum();
        let (mut before, mut runs) = (0, Vec::new());
        for (file, info, values) in &self.runs {
            // Each run goes to the share in which its first byte lies.
            let mine = before * of as u64 / all.max(1) == number as u64;
            before += u64::from(info.at.bytes);
            if mine {
                let run = read_run(file, info, values)?;
                if !run.is_moot() {
                    runs.push(Arc::new(run));
                }
            }
        }
        Ok(runs)
    }
}

fn read_run(file: &IndexFile, info: &RunInfo, values: &[u32]) -> Result<Run, Unreadable> {
    let mut bytes = Vec::new();
    file.read(info.at, &mut bytes)?;
    let value = |set: u32| values.get(set as usize).copied().ok_or(Damaged("a run's list of sets"));
    Ok(Run::new(bytes, info.subjects, value)?)
}

impl<'a> Index<'a> {
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
        // Fewer are found by one before others have begun.
        const FEW: u64 = if cfg!(test) { 1 } else { 1 << 15 };
        let question = &self.within_data(question);
        let mut masks = self.masks(question);
        let sources = self.sources(question, &mut masks)?;
        let workers = if sources.size() < FEW { Workers::ALONE } else { self.workers };
        let at_once = workers.at_once.max(1);
        answer.loose.resize_with(at_once, Loose::default);
        let shares = answer.loose.iter_mut().enumerate();
        let read = workers
            .each(shares, |(number, loose)| sources.read(question, (number, at_once), loose));
        let runs = read.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let loose = &answer.loose;
        let mut spare = std::mem::take(&mut answer.pieces).into_iter().map(|piece| piece.pairs);
        let shares = cut(&runs, loose, at_once)?.into_iter().map(|asked| (asked, spare.next()));
        let pieces = workers.each(shares.collect::<Vec<_>>(), |(asked, spare)| {
            let cursors = runs.iter().map(|run| Cursor::within(run, asked.clone()));
            let cursors = cursors.collect::<Result<Vec<_>, _>>()?;
            let (mut masks, mut pairs) = (masks.clone(), spare.unwrap_or_default());
            let lists = loose.iter().flat_map(Loose::lists);
            let mut lists: Vec<_> = lists.filter(|(first, _)| asked.contains(first)).collect();
            lists.sort_by_key(|(first, _)| *first);
            unite(cursors, &lists, &mut masks, &mut pairs)?;
            Ok(Piece { pairs, masks })
        });
        answer.pieces = pieces.into_iter().collect::<Result<_, Damaged>>()?;
        Ok(())
    }

    fn sources(&self, question: &Question, masks: &mut Masks) -> Result<Sources<'a>, Unreadable> {
        let mut sources = Sources::default();
        if question.asks_for_runs() {
            let plan = self.plan(question);
            for bucket in &plan.buckets {
                self.runs(question, *bucket, masks, |file, info, values| {
                    sources.runs.push((file, info, Arc::clone(values)));
                });
            }
            for edge in &plan.edges {
                self.scans(question, *edge, masks, &mut sources.scans)?;
            }
        } else if question.asks_for_networks_alone() {
            self.by_network(question, masks, &mut sources)?;
        } else {
            self.scans(question, (question.from, question.to), masks, &mut sources.scans)?;
        }
        let tail = self.tail.iter();
        sources.tail =
            tail.map(|table| (*table, values(question, &table.sets.items, masks))).collect();
        Ok(sources)
    }

    /// Takes the runs of busy networks' hours, and the releases of the others.
    fn by_network(
        &self,
        question: &Question,
        masks: &mut Masks,
        sources: &mut Sources<'a>,
    ) -> Result<(), Unreadable> {
        let window = (question.from, question.to);
        for part in self.parts_in(question.from, question.to) {
            let values: Arc<[u32]> = values(question, &part.footer.sets, masks).into();
            let mut covered = BTreeSet::new();
            let from_there = scan::from_there(part, question);
            for (_, place) in from_there.iter().flatten().zip(0_u32..).filter(|(asked, _)| **asked)
            {
                for run in part.hours_of(Whose::Network(place)) {
                    let (start, end) = super::plan::hour_of(run.bucket);
                    if question.from <= start && end <= question.to {
                        sources.runs.push((part, run, Arc::clone(&values)));
                        covered.insert((run.bucket, place));
                    }
                }
            }
            sources.scans.push(Scan::new(part, question, window, (covered, from_there), values)?);
        }
        Ok(())
    }
}

/// Cuts all ordinals into at most so many ranges, in which there is about the same to do.
fn cut(
    runs: &[Arc<Run>],
    loose: &[Loose],
    most: usize,
) -> Result<Vec<RangeInclusive<u32>>, Damaged> {
    if most == 1 {
        return Ok(vec![0..=u32::MAX]);
    }
    let mut spans: Vec<usize> = Vec::new();
    let mut add = |first: u32, subjects: usize| {
        let at = (first >> SPAN_BITS) as usize;
        if spans.len() <= at {
            spans.resize(at + 1, 0);
        }
        if let Some(span) = spans.get_mut(at) {
            *span += subjects;
        }
    };
    runs.iter().try_for_each(|run| run.blocks(&mut add))?;
    loose.iter().flat_map(Loose::lists).for_each(|(first, list)| add(first, list.len()));
    let all: usize = spans.iter().sum();
    let (mut ranges, mut first, mut sum) = (Vec::new(), 0, 0);
    for (subjects, at) in spans.iter().zip(0_u32..) {
        sum += subjects;
        let last = at << SPAN_BITS | ((1 << SPAN_BITS) - 1);
        if ranges.len() + 1 < most && last < u32::MAX && sum >= all * (ranges.len() + 1) / most {
            ranges.push(first..=last);
            first = last + 1;
        }
    }
    ranges.push(first..=u32::MAX);
    Ok(ranges)
}
