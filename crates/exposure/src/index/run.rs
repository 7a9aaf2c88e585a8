//! A run: subjects in order of ordinal, each once, with the union of the classes that were read of them.
//!
//! ```text
//! run   = sets | (set | subjects)*sets | width u8 | block*               numbers as LEB128
//! block = first ordinal u32 | width u8 | rare u8 | packed gaps | packed codes | packed rare codes      up to 128 subjects
//! ```
//!
//! A gap is the distance to the ordinal before, less one. A code is a place in the run's own list of sets, the most frequent first, which are
//! numbers of the file's list. Codes are packed in fewer bits than the list needs if that is shorter: the highest number of that
//! width then says that the code is among the rare ones behind. The head alone says how many subjects there are of each set,
//! and so of each class. A block's own numbers say how long it is, so that blocks are passed over without being unpacked.

use super::histogram::Counts;
use super::masks::Masks;
use super::unite::Span;
use super::{Damaged, packed, sort};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Subjects in a block.
pub(super) const BLOCK: usize = 128;

/// An ordinal and the value of its classes, as one number that sorts by ordinal.
pub(super) fn pair(ordinal: u32, value: u32) -> u64 {
    u64::from(ordinal) << 32 | u64::from(value)
}

#[inline(always)]
pub(super) fn ordinal_of(pair: u64) -> u32 {
    u32::try_from(pair >> 32).unwrap_or(0)
}

#[inline(always)]
pub(super) fn value_of(pair: u64) -> u32 {
    u32::try_from(pair & u64::from(u32::MAX)).unwrap_or(0)
}

/// Sorts pairs and unites those of one ordinal.
pub(super) fn settle(pairs: &mut Vec<u64>, masks: &mut Masks) {
    settle_in(pairs, &mut Vec::new(), masks);
}

/// As [`settle`], with room to work in, whose content is lost.
pub(super) fn settle_in(pairs: &mut Vec<u64>, spare: &mut Vec<u64>, masks: &mut Masks) {
    sort::by_upper(pairs, spare);
    pairs.dedup_by(|next, kept| {
        let same = ordinal_of(*next) == ordinal_of(*kept);
        if same {
            *kept = pair(ordinal_of(*kept), masks.union(value_of(*kept), value_of(*next)));
        }
        same
    });
}

/// How often each value stands in a run, the most frequent first.
pub(super) fn histogram(pairs: &[u64]) -> Vec<(u32, u32)> {
    let mut counts = Counts::default();
    pairs.iter().for_each(|pair| counts.add(value_of(*pair)));
    counts.histogram()
}

fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..32).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

pub(super) fn code_width(codes: usize) -> u8 {
    packed::width_of(u32::try_from(codes.saturating_sub(1)).unwrap_or(u32::MAX))
}

/// A run's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Numbers of sets in the file's list, and how many subjects have exactly that set.
    pub(super) sets: Vec<(u32, u32)>,
    /// Where the blocks begin.
    pub(super) blocks: usize,
}

/// Reads a run's head.
pub(super) fn head(run: &[u8]) -> Result<Head, Damaged> {
    const BROKEN: Damaged = Damaged("a run's head");
    let mut rest = run;
    let mut sets = Vec::new();
    for _ in 0..read_number(&mut rest).ok_or(BROKEN)? {
        let set = read_number(&mut rest).ok_or(BROKEN)?;
        sets.push((set, read_number(&mut rest).ok_or(BROKEN)?));
    }
    Ok(Head { sets, blocks: run.len() - rest.len() })
}

/// A run as it was read.
pub(super) struct Run {
    bytes: Vec<u8>,
    /// Where the blocks begin.
    blocks: usize,
    subjects: usize,
    /// The value that each code stands for in this question; 0 if nothing of it is asked for.
    values: Vec<u32>,
    /// Width of most codes, and of those that do not fit it.
    common: u8,
    wide: u8,
}

/// What stands before a block's columns.
struct BlockHead {
    first: u32,
    gap_width: u8,
    rare: usize,
}

const BLOCK_HEAD: usize = 6;

impl Run {
    /// A run of `subjects`. `value` gives the value of a number of the file's list.
    pub(super) fn new(
        bytes: Vec<u8>,
        subjects: u32,
        mut value: impl FnMut(u32) -> Result<u32, Damaged>,
    ) -> Result<Self, Damaged> {
        let head = head(&bytes)?;
        let values = head.sets.iter().map(|(set, _)| value(*set)).collect::<Result<Vec<_>, _>>()?;
        // A run of which only the head is kept has no blocks and no width.
        let common = bytes.get(head.blocks).copied().unwrap_or(0);
        // Memory is taken for as many subjects as there are said to be.
        if (subjects as usize).div_ceil(BLOCK) * BLOCK_HEAD > bytes.len() {
            return Err(Damaged("a run's length"));
        }
        Ok(Self {
            blocks: head.blocks + 1,
            subjects: subjects as usize,
            common,
            wide: code_width(values.len()),
            values,
            bytes,
        })
    }

    /// Whether nothing of what it holds is asked for.
    pub(super) fn is_moot(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    /// Calls `each` with the first ordinal of each block and its subjects.
    pub(super) fn blocks(&self, mut each: impl FnMut(u32, usize)) -> Result<(), Damaged> {
        let (mut at, mut left) = (self.blocks, self.subjects);
        while left > 0 {
            let subjects = left.min(BLOCK);
            let head = self.block_head(at)?;
            each(head.first, subjects);
            at += self.length(&head, subjects);
            left -= subjects;
        }
        Ok(())
    }

    #[inline(always)]
    fn block_head(&self, at: usize) -> Result<BlockHead, Damaged> {
        let head = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK_HEAD>());
        let &[a, b, c, d, gap_width, rare] = head.ok_or(BROKEN_BLOCK)?;
        Ok(BlockHead { first: u32::from_le_bytes([a, b, c, d]), gap_width, rare: rare.into() })
    }

    /// Bytes of a block.
    #[inline(always)]
    fn length(&self, head: &BlockHead, subjects: usize) -> usize {
        BLOCK_HEAD
            + packed::length(subjects - 1, head.gap_width)
            + packed::length(subjects, self.common)
            + packed::length(head.rare, self.wide)
    }
}

const BROKEN_BLOCK: Damaged = Damaged("a run's block");

/// Reads one run from the front, as far as its ordinals are asked for.
pub(super) struct Cursor {
    run: Arc<Run>,
    at: usize,
    /// Subjects in the blocks not yet read.
    left: usize,
    /// The next block begins with this ordinal or a later one.
    least: u32,
    /// The last ordinal that is asked for.
    last: u32,
    ordinals: [u32; BLOCK],
    codes: [u32; BLOCK],
    rare: [u32; BLOCK],
    /// What of the block that was read is not yet taken.
    taken: usize,
    held: usize,
}

impl Cursor {
    /// Starts on a whole run, as [`Run::new`].
    pub(super) fn new(
        bytes: Vec<u8>,
        subjects: u32,
        value: impl FnMut(u32) -> Result<u32, Damaged>,
    ) -> Result<Self, Damaged> {
        Self::within(&Arc::new(Run::new(bytes, subjects, value)?), 0..=u32::MAX)
    }

    /// Starts on what a run has of these ordinals.
    pub(super) fn within(run: &Arc<Run>, asked: RangeInclusive<u32>) -> Result<Self, Damaged> {
        let mut cursor = Self {
            at: run.blocks,
            left: run.subjects,
            least: 0,
            last: *asked.end(),
            run: Arc::clone(run),
            ordinals: [0; BLOCK],
            codes: [0; BLOCK],
            rare: [0; BLOCK],
            taken: 0,
            held: 0,
        };
        while cursor.left > BLOCK {
            let next = cursor.at + run.length(&run.block_head(cursor.at)?, BLOCK);
            if run.block_head(next)?.first > *asked.start() {
                break;
            }
            cursor.at = next;
            cursor.left -= BLOCK;
        }
        cursor.fill()?;
        let held = cursor.ordinals.get(..cursor.held).unwrap_or_default();
        cursor.taken = held.partition_point(|ordinal| ordinal < asked.start());
        if cursor.taken == cursor.held {
            cursor.fill()?;
        }
        Ok(cursor)
    }

    /// Subjects not yet taken, or more.
    pub(super) const fn waiting(&self) -> usize {
        self.left + self.held
    }

    /// The next ordinal; none at the end.
    #[inline(always)]
    pub(super) fn next_ordinal(&self) -> Option<u32> {
        (self.taken < self.held).then(|| self.ordinals.get(self.taken).copied().unwrap_or(0))
    }

    fn fill(&mut self) -> Result<(), Damaged> {
        self.taken = 0;
        self.held = self.left.min(BLOCK);
        if self.held == 0 {
            return Ok(());
        }
        let run = &*self.run;
        let head = run.block_head(self.at)?;
        if head.first > self.last {
            (self.held, self.left) = (0, 0);
            return Ok(());
        }
        self.left -= self.held;
        let rest = run.bytes.get(self.at + BLOCK_HEAD..).ok_or(BROKEN_BLOCK)?;
        let gaps = packed::length(self.held - 1, head.gap_width);
        let codes = packed::length(self.held, run.common);
        let (first_slot, later) = self.ordinals.split_first_mut().ok_or(BROKEN_BLOCK)?;
        let later = later.get_mut(..self.held - 1).ok_or(BROKEN_BLOCK)?;
        packed::read(rest, head.gap_width, later).ok_or(BROKEN_BLOCK)?;
        let mut ordinal = u64::from(head.first);
        *first_slot = head.first;
        for gap in later {
            ordinal += u64::from(*gap) + 1;
            // Not used if it does not fit.
            *gap = u32::try_from(ordinal & u64::from(u32::MAX)).unwrap_or(0);
        }
        // In order, each once: what unites runs relies on it.
        if ordinal > u64::from(u32::MAX) || head.first < self.least {
            return Err(BROKEN_BLOCK);
        }
        self.least = u32::try_from(ordinal + 1).unwrap_or(u32::MAX);
        let to = self.codes.get_mut(..self.held).ok_or(BROKEN_BLOCK)?;
        packed::read(rest.get(gaps..).ok_or(BROKEN_BLOCK)?, run.common, to).ok_or(BROKEN_BLOCK)?;
        if head.rare > 0 && run.common < run.wide {
            let from = rest.get(gaps + codes..).ok_or(BROKEN_BLOCK)?;
            let rare = self.rare.get_mut(..head.rare).ok_or(BROKEN_BLOCK)?;
            packed::read(from, run.wide, rare).ok_or(BROKEN_BLOCK)?;
            let escape = (1_u32 << run.common) - 1;
            // Without a branch for each, which would be guessed wrong.
            let mut next = 0_usize;
            for code in to {
                let is_rare = *code == escape;
                let instead = self.rare.get(next).copied().unwrap_or(0);
                *code = if is_rare { instead } else { *code };
                next += usize::from(is_rare);
            }
            if next != head.rare {
                return Err(BROKEN_BLOCK);
            }
        }
        self.at += run.length(&head, self.held);
        if ordinal > u64::from(self.last) {
            let held = self.ordinals.get(..self.held).unwrap_or_default();
            self.held = held.partition_point(|ordinal| *ordinal <= self.last);
            self.left = 0;
        }
        Ok(())
    }

    /// Unites everything that is of a span into it; the span's first ordinal is `base`.
    pub(super) fn unite_into(
        &mut self,
        base: u32,
        span: &mut Span,
        masks: &mut Masks,
    ) -> Result<(), Damaged> {
        match masks {
            Masks::Plain(_) => self.pour(base, span, |a, b| a | b),
            Masks::Numbered(sets) => self.pour(base, span, |a, b| sets.union(a, b)),
        }
    }

    fn pour(
        &mut self,
        base: u32,
        span: &mut Span,
        mut union: impl FnMut(u32, u32) -> u32,
    ) -> Result<(), Damaged> {
        // A span reaches at most to the end of the ordinals.
        let last = base.saturating_add(span.length() - 1);
        let run = Arc::clone(&self.run);
        let values = run.values.as_slice();
        while let Some(next) = self.next_ordinal()
            && next <= last
        {
            let whole = self.ordinals.get(self.held - 1).is_some_and(|end| *end <= last);
            let ordinals = self.ordinals.get(self.taken..self.held).unwrap_or(&[]);
            let codes = self.codes.get(self.taken..self.held).unwrap_or(&[]);
            let here = if whole {
                ordinals.len()
            } else {
                ordinals.partition_point(|ordinal| *ordinal <= last)
            };
            for (ordinal, code) in ordinals.iter().zip(codes).take(here) {
                let value = values.get(*code as usize).copied().unwrap_or(0);
                // Below `base` only if the run is damaged; then the place does not exist.
                span.unite(ordinal.wrapping_sub(base) as usize, value, &mut union);
            }
            self.taken += here;
            if self.taken == self.held {
                self.fill()?;
            }
        }
        Ok(())
    }

    /// Appends what is left to `out` as it is.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u64>) -> Result<(), Damaged> {
        let run = Arc::clone(&self.run);
        let values = run.values.as_slice();
        let all = values.iter().all(|value| *value != 0);
        while self.taken < self.held {
            let ordinals = self.ordinals.get(self.taken..self.held).unwrap_or(&[]);
            let codes = self.codes.get(self.taken..self.held).unwrap_or(&[]);
            let pairs = ordinals.iter().zip(codes).map(|(ordinal, code)| {
                pair(*ordinal, values.get(*code as usize).copied().unwrap_or(0))
            });
            if all {
                // A known number of pairs, so that room is made for them once.
                out.extend(pairs);
            } else {
                out.extend(pairs.filter(|pair| value_of(*pair) != 0));
            }
            self.fill()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_writer;
    use super::*;
    use model::{ClassNumber, ClassSet};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn masks() -> Masks {
        Masks::new(&(0..20).map(ClassNumber::new).collect::<ClassSet>())
    }

    fn written(run: &BTreeMap<u32, u32>) -> (Vec<u8>, u32) {
        let mut pairs: Vec<u64> = run.iter().map(|(&o, &v)| pair(o, v)).collect();
        let mut out = Vec::new();
        run_writer::write(&mut out, &mut pairs, &mut Counts::default(), |value| value);
        (out, u32::try_from(pairs.len()).unwrap())
    }

    proptest! {
        #[test]
        fn heads_count_subjects(run in prop::collection::btree_map(any::<u32>(), 1_u32..9, 1..400)) {
            let (bytes, subjects) = written(&run);
            let head = head(&bytes).unwrap();
            prop_assert_eq!(head.sets.iter().map(|(_, n)| n).sum::<u32>(), subjects);
            for (set, count) in head.sets {
                prop_assert_eq!(run.values().filter(|value| **value == set).count(), count as usize);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, subjects in 0_u32..1_000) {
            if let Ok(cursor) = Cursor::new(bytes, subjects, Ok) {
                let _ = super::super::unite::unite(vec![cursor], &[(0, &[pair(1, 1)])], &mut masks(), &mut Vec::new());
            }
        }
    }
}
