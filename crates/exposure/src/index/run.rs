//! A run: subjects in order of ordinal, each once, with the union of the classes that were read of them.
//!
//! ```text
//! run   = sets | (set | subjects)*sets | width u8 | block*               numbers as LEB128
//! block = first ordinal u32 | width u8 | packed gaps | packed codes | packed rare codes      up to 128 subjects
//! ```
//!
//! A gap is the distance to the ordinal before, less one. A code is a place in the run's own list of sets, the most frequent first, which are
//! numbers of the file's list. Codes are packed in fewer bits than the list needs if that is shorter: the highest number of that
//! width then says that the code is among the rare ones behind. The head alone says how many subjects there are of each set,
//! and so of each class.

use super::histogram::Counts;
use super::masks::Masks;
use super::{Damaged, packed, sort};
use std::collections::BTreeMap;

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

/// As [`settle`], of many pairs: sorted by the upper half of their ordinals into `sorted`, then united in place.
pub(super) fn settle_many(pairs: &mut Vec<u64>, sorted: &mut Vec<u64>, masks: &mut Masks) {
    const FEW: usize = if cfg!(test) { 4 } else { 1 << 14 };
    const SPAN: usize = 1 << 16;
    if pairs.len() < FEW {
        return settle(pairs, masks);
    }
    let upper = |pair: u64| (ordinal_of(pair) >> 16) as usize;
    let highest = pairs.iter().map(|pair| upper(*pair)).max().unwrap_or(0);
    let mut ends = vec![0_usize; highest + 1];
    for pair in &*pairs {
        if let Some(end) = ends.get_mut(upper(*pair)) {
            *end += 1;
        }
    }
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    sorted.clear();
    sorted.resize(total, 0);
    for pair in &*pairs {
        if let Some(end) = ends.get_mut(upper(*pair))
            && let Some(slot) = sorted.get_mut(*end)
        {
            *slot = *pair;
            *end += 1;
        }
    }
    pairs.clear();
    let mut span = Span::new(SPAN);
    let mut start = 0;
    for (end, upper) in ends.iter().zip(0_u32..) {
        let these = sorted.get(start..*end).unwrap_or(&[]);
        start = *end;
        if these.is_empty() {
            continue;
        }
        let base = upper << 16;
        span.unite_pairs(base, these, masks);
        span.collect(base, pairs);
    }
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

/// Reads one run from the front.
pub(super) struct Cursor {
    bytes: Vec<u8>,
    at: usize,
    /// Subjects in the blocks not yet read.
    left: usize,
    /// The next block begins with this ordinal or a later one.
    least: u32,
    /// The value that each code stands for in this question; 0 if nothing of it is asked for.
    values: Vec<u32>,
    /// Of most codes, and of those that do not fit it.
    common: u8,
    wide: u8,
    ordinals: [u32; BLOCK],
    codes: [u32; BLOCK],
    rare: [u32; BLOCK],
    /// What of the block that was read is not yet taken.
    taken: usize,
    held: usize,
}

impl Cursor {
    /// Starts on a run of `subjects`. `value` gives the value of a number of the file's list.
    pub(super) fn new(
        bytes: Vec<u8>,
        subjects: u32,
        mut value: impl FnMut(u32) -> Result<u32, Damaged>,
    ) -> Result<Self, Damaged> {
        let head = head(&bytes)?;
        let values = head.sets.iter().map(|(set, _)| value(*set)).collect::<Result<Vec<_>, _>>()?;
        // A run of which only the head is kept has no blocks and no width.
        let common = bytes.get(head.blocks).copied().unwrap_or(0);
        // A block has at least its first ordinal and a width. Memory is taken for as many subjects as there are said to be.
        if (subjects as usize).div_ceil(BLOCK) * 5 > bytes.len() {
            return Err(Damaged("a run's length"));
        }
        let mut cursor = Self {
            bytes,
            at: head.blocks + 1,
            left: usize::try_from(subjects).unwrap_or(usize::MAX),
            least: 0,
            common,
            wide: code_width(values.len()),
            values,
            ordinals: [0; BLOCK],
            codes: [0; BLOCK],
            rare: [0; BLOCK],
            taken: 0,
            held: 0,
        };
        cursor.fill()?;
        Ok(cursor)
    }

    /// Whether nothing of what it holds is asked for.
    pub(super) fn is_moot(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    /// The next ordinal; none at the end.
    #[inline(always)]
    fn next_ordinal(&self) -> Option<u32> {
        (self.taken < self.held).then(|| self.ordinals.get(self.taken).copied().unwrap_or(0))
    }

    fn fill(&mut self) -> Result<(), Damaged> {
        const BROKEN: Damaged = Damaged("a run's block");
        self.taken = 0;
        self.held = self.left.min(BLOCK);
        self.left -= self.held;
        if self.held == 0 {
            return Ok(());
        }
        let rest = self.bytes.get(self.at..).ok_or(BROKEN)?;
        let (first, rest) = rest.split_first_chunk().ok_or(BROKEN)?;
        let (&gap_width, rest) = rest.split_first().ok_or(BROKEN)?;
        let gaps = packed::length(self.held - 1, gap_width);
        let codes = packed::length(self.held, self.common);
        let (first_slot, later) = self.ordinals.split_first_mut().ok_or(BROKEN)?;
        let later = later.get_mut(..self.held - 1).ok_or(BROKEN)?;
        packed::read(rest, gap_width, later).ok_or(BROKEN)?;
        let first = u32::from_le_bytes(*first);
        let mut ordinal = u64::from(first);
        *first_slot = first;
        for gap in later {
            ordinal += u64::from(*gap) + 1;
            // Not used if it does not fit.
            *gap = u32::try_from(ordinal & u64::from(u32::MAX)).unwrap_or(0);
        }
        // In order, each once: what unites runs relies on it.
        if ordinal > u64::from(u32::MAX) || first < self.least {
            return Err(BROKEN);
        }
        self.least = u32::try_from(ordinal + 1).unwrap_or(u32::MAX);
        let to = self.codes.get_mut(..self.held).ok_or(BROKEN)?;
        packed::read(rest.get(gaps..).ok_or(BROKEN)?, self.common, to).ok_or(BROKEN)?;
        self.at += 5 + gaps + codes;
        if self.common < self.wide {
            let escape = (1_u32 << self.common) - 1;
            let rare = to.iter().filter(|code| **code == escape).count();
            let from = rest.get(gaps + codes..).ok_or(BROKEN)?;
            let codes = self.rare.get_mut(..rare).ok_or(BROKEN)?;
            packed::read(from, self.wide, codes).ok_or(BROKEN)?;
            let escaped = to.iter_mut().filter(|code| **code == escape);
            escaped.zip(codes).for_each(|(code, rare)| *code = *rare);
            self.at += packed::length(rare, self.wide);
        }
        Ok(())
    }

    /// Unites everything that is of a span into it; the span's first ordinal is `base`.
    fn unite_into(&mut self, base: u32, span: &mut Span, masks: &mut Masks) -> Result<(), Damaged> {
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
                let value = self.values.get(*code as usize).copied().unwrap_or(0);
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
        let all = self.values.iter().all(|value| *value != 0);
        while self.taken < self.held {
            let ordinals = self.ordinals.get(self.taken..self.held).unwrap_or(&[]);
            let codes = self.codes.get(self.taken..self.held).unwrap_or(&[]);
            let pairs = ordinals.iter().zip(codes).map(|(ordinal, code)| {
                pair(*ordinal, self.values.get(*code as usize).copied().unwrap_or(0))
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

/// Unites runs and loose pairs, which are sorted, each ordinal once, into `out`, which is emptied before. What comes out is in order
/// of ordinal, each once.
pub(super) fn unite(
    mut cursors: Vec<Cursor>,
    loose: &[u64],
    masks: &mut Masks,
    out: &mut Vec<u64>,
) -> Result<(), Damaged> {
    const FEW: usize = if cfg!(test) { 4 } else { 1 << 14 };
    let all = cursors.iter().map(|cursor| cursor.left + cursor.held).sum::<usize>() + loose.len();
    out.clear();
    // As if nobody stood in two of them. What is reserved and not used takes no memory.
    out.reserve(all);
    let single = loose.is_empty() && cursors.len() == 1;
    if single || all < FEW {
        cursors.iter_mut().try_for_each(|cursor| cursor.drain_into(out))?;
        out.extend_from_slice(loose);
        if !single {
            settle(out, masks);
        }
        return Ok(());
    }
    // A span that fits the second-level cache; with many short runs a longer one, so that they are looked at less often.
    let mut span = Span::new(if cursors.len() > 512 { 1 << 20 } else { 1 << 16 });
    let length = span.length();
    let mut loose = loose;
    loop {
        let first_loose = loose.first().map(|pair| ordinal_of(*pair));
        let next = cursors.iter().filter_map(Cursor::next_ordinal).chain(first_loose).min();
        let Some(next) = next else { break };
        let base = next - next % length;
        for cursor in &mut cursors {
            cursor.unite_into(base, &mut span, masks)?;
        }
        let here = loose.partition_point(|pair| ordinal_of(*pair) - base < length);
        let (these, rest) = loose.split_at(here);
        loose = rest;
        span.unite_pairs(base, these, masks);
        span.collect(base, out);
    }
    Ok(())
}

/// Unites lists that stand one behind another in `pairs`, each in order of ordinal and up to one of `ends`. `spare` is room to work in.
pub(super) fn unite_lists(
    pairs: &mut Vec<u64>,
    ends: &[usize],
    spare: &mut Vec<u64>,
    masks: &mut Masks,
) {
    // Where fewer than one ordinal in so many is there, looking at every place of a span takes longer than sorting. Measured.
    const SPARSE: usize = 10;
    let starts = || std::iter::once(0).chain(ends.iter().copied());
    let mut rests: Vec<&[u64]> =
        starts().zip(ends).filter_map(|(start, end)| pairs.get(start..*end)).collect();
    if rests.len() < 2 {
        return;
    }
    let highest = rests.iter().filter_map(|list| list.last()).map(|pair| ordinal_of(*pair)).max();
    let highest = highest.map_or(0, |ordinal| ordinal as usize);
    if pairs.len() < highest / SPARSE {
        drop(rests);
        settle_in(pairs, spare, masks);
        return;
    }
    spare.clear();
    let mut span = Span::new(1 << 16);
    let length = span.length();
    while let Some(next) =
        rests.iter().filter_map(|rest| rest.first()).map(|pair| ordinal_of(*pair)).min()
    {
        let base = next - next % length;
        for rest in &mut rests {
            let here = rest.partition_point(|pair| ordinal_of(*pair) - base < length);
            let (these, later) = rest.split_at(here);
            span.unite_pairs(base, these, masks);
            *rest = later;
        }
        span.collect(base, spare);
    }
    drop(rests);
    std::mem::swap(pairs, spare);
}

/// The union of any number of lists, of which none is kept: a value for each ordinal, in spans that are made when they are needed.
#[derive(Default)]
pub(super) struct Everybody(BTreeMap<u32, Span>);

impl Everybody {
    /// Unites pairs in order of ordinal.
    pub(super) fn unite(&mut self, pairs: &[u64], masks: &mut Masks) {
        const LENGTH: u32 = 1 << 16;
        let number = |pair: &u64| ordinal_of(*pair) / LENGTH;
        for these in pairs.chunk_by(|a, b| number(a) == number(b)) {
            let Some(number) = these.first().map(number) else { continue };
            let span = self.0.entry(number).or_insert_with(|| Span::new(LENGTH as usize));
            span.unite_pairs(number * LENGTH, these, masks);
        }
    }

    /// What it holds, in order of ordinal.
    pub(super) fn into_pairs(self) -> Vec<u64> {
        let mut pairs = Vec::new();
        for (number, mut span) in self.0 {
            span.collect(number * span.length(), &mut pairs);
        }
        pairs
    }
}

/// Values of consecutive ordinals that are being united. Remembers where it was written to, so that emptying it costs what is in it.
struct Span {
    values: Vec<u32>,
    /// One for each group of values.
    touched: Vec<u8>,
}

/// Values in a group: 256 bytes.
const GROUP: usize = 64;

impl Span {
    fn new(length: usize) -> Self {
        Self { values: vec![0; length], touched: vec![0; length / GROUP] }
    }

    fn length(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn unite(&mut self, at: usize, value: u32, mut union: impl FnMut(u32, u32) -> u32) {
        if let (Some(place), Some(touched)) =
            (self.values.get_mut(at), self.touched.get_mut(at / GROUP))
        {
            *place = union(*place, value);
            *touched = 1;
        }
    }

    /// Unites pairs, which are of this span if their ordinals are from `base` on.
    fn unite_pairs(&mut self, base: u32, pairs: &[u64], masks: &mut Masks) {
        match masks {
            Masks::Plain(_) => {
                for pair in pairs {
                    let at = ordinal_of(*pair).wrapping_sub(base) as usize;
                    self.unite(at, value_of(*pair), |a, b| a | b);
                }
            }
            Masks::Numbered(sets) => {
                for pair in pairs {
                    let at = ordinal_of(*pair).wrapping_sub(base) as usize;
                    self.unite(at, value_of(*pair), |a, b| sets.union(a, b));
                }
            }
        }
    }

    /// Appends what is in it, and empties it.
    fn collect(&mut self, base: u32, out: &mut Vec<u64>) {
        let (groups, _) = self.values.as_chunks_mut::<GROUP>();
        let (eights, _) = groups.as_chunks_mut::<8>();
        let (touched, _) = self.touched.as_chunks_mut::<8>();
        let mut first = u64::from(base) << 32;
        for (eight, touched) in eights.iter_mut().zip(touched) {
            // Eight groups are passed over at once.
            if u64::from_ne_bytes(*touched) != 0 {
                let mut of_group = first;
                for (group, touched) in eight.iter_mut().zip(touched) {
                    if std::mem::take(touched) != 0 {
                        collect_group(group, of_group, out);
                    }
                    of_group = of_group.wrapping_add((GROUP as u64) << 32);
                }
            }
            // Past the last ordinal there is nothing more to write.
            first = first.wrapping_add((8 * GROUP as u64) << 32);
        }
    }
}

/// Appends the values of a group that are not 0, and makes them 0. Without a branch for each: about every other one is there, and a
/// processor that guesses wrong half of the time takes four times as long.
#[inline(always)]
fn collect_group(group: &mut [u32; GROUP], first: u64, out: &mut Vec<u64>) {
    let mut pairs = [0_u64; GROUP];
    let (mut found, mut ordinal) = (0, first);
    for value in group {
        if let Some(slot) = pairs.get_mut(found) {
            *slot = ordinal | u64::from(*value);
        }
        found += usize::from(*value != 0);
        *value = 0;
        ordinal = ordinal.wrapping_add(1 << 32);
    }
    out.extend_from_slice(pairs.get(..found).unwrap_or(&pairs));
}

#[cfg(test)]
mod tests {
    use super::super::run_writer;
    use super::*;
    use model::{ClassNumber, ClassSet};
    use proptest::prelude::*;

    fn masks() -> Masks {
        Masks::new(&(0..20).map(ClassNumber::new).collect::<ClassSet>())
    }

    fn written(run: &BTreeMap<u32, u32>) -> (Vec<u8>, u32) {
        let pairs: Vec<u64> = run.iter().map(|(&o, &v)| pair(o, v)).collect();
        let mut out = Vec::new();
        run_writer::write(&mut out, &pairs, &mut Counts::default(), |value| value);
        (out, u32::try_from(pairs.len()).unwrap())
    }

    fn runs() -> impl Strategy<Value = Vec<BTreeMap<u32, u32>>> {
        let dense = prop::collection::btree_map(0_u32..2_000, 1_u32..9, 0..600);
        let sparse = prop::collection::btree_map(any::<u32>(), 1_u32..9, 0..600);
        prop::collection::vec(prop_oneof![dense, sparse], 0..6)
    }

    proptest! {
        #[test]
        fn united_runs_are_the_union(runs in runs(), loose in prop::collection::btree_map(any::<u32>(), 1_u32..9, 0..40)) {
            let mut masks = masks();
            let mut wanted: BTreeMap<u32, u32> = loose.clone();
            for (&ordinal, value) in runs.iter().flatten() {
                *wanted.entry(ordinal).or_default() |= value;
            }
            let cursors = runs.iter().map(|run| {
                let (bytes, subjects) = written(run);
                Cursor::new(bytes, subjects, Ok).unwrap()
            });
            let loose: Vec<u64> = loose.iter().map(|(&o, &v)| pair(o, v)).collect();
            let mut united = Vec::new();
            unite(cursors.collect(), &loose, &mut masks, &mut united).unwrap();
            let wanted: Vec<u64> = wanted.iter().map(|(&o, &v)| pair(o, v)).collect();
            prop_assert_eq!(united, wanted);
        }

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
                let _ = unite(vec![cursor], &[pair(1, 1)], &mut masks(), &mut Vec::new());
            }
        }
    }
}
