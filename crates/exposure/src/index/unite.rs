//! Unites runs, lists and loose pairs, span by span of consecutive ordinals.

use super::masks::Masks;
use super::run::{Cursor, ordinal_of, settle, settle_in, value_of};
use super::{Damaged, sort};
use std::collections::BTreeMap;

/// Ordinals that share a list of loose pairs: as many as fit the second-level cache while they are united.
pub(super) const SPAN: usize = 1 << SPAN_BITS;
pub(super) const SPAN_BITS: u32 = 16;

/// Unites runs and loose pairs into `out`, which is emptied before. What comes out is in order of ordinal, each once.
///
/// `loose`: pairs in any order, in lists of the [`SPAN`] that begins with the ordinal beside them; sorted by that.
pub(super) fn unite(
    mut cursors: Vec<Cursor>,
    mut loose: &[(u32, &[u64])],
    masks: &mut Masks,
    out: &mut Vec<u64>,
) -> Result<(), Damaged> {
    const FEW: usize = if cfg!(test) { 4 } else { 1 << 14 };
    let all = cursors.iter().map(Cursor::waiting).sum::<usize>()
        + loose.iter().map(|(_, pairs)| pairs.len()).sum::<usize>();
    out.clear();
    // As if nobody stood in two of them. What is reserved and not used takes no memory.
    out.reserve(all);
    let single = loose.is_empty() && cursors.len() == 1;
    if single || all < FEW {
        cursors.iter_mut().try_for_each(|cursor| cursor.drain_into(out))?;
        loose.iter().for_each(|(_, pairs)| out.extend_from_slice(pairs));
        if !single {
            settle(out, masks);
        }
        return Ok(());
    }
    // With many short runs a longer span, so that they are looked at less often.
    let mut span = Span::new(if cursors.len() > 512 { 16 * SPAN } else { SPAN });
    let length = span.length();
    loop {
        let first_loose = loose.first().map(|(first, _)| *first);
        let next = cursors.iter().filter_map(Cursor::next_ordinal).chain(first_loose).min();
        let Some(next) = next else { break };
        let base = next - next % length;
        for cursor in &mut cursors {
            cursor.unite_into(base, &mut span, masks)?;
        }
        let here = loose.partition_point(|(first, _)| first.wrapping_sub(base) < length);
        let (these, rest) = loose.split_at(here);
        loose = rest;
        these.iter().for_each(|(_, pairs)| span.unite_pairs(base, pairs, masks));
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
    let mut span = Span::new(SPAN);
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
pub(super) struct Everybody {
    spans: BTreeMap<u32, Span>,
    /// Pairs that were united into it, which are as many as it holds or more.
    united: usize,
}

impl Everybody {
    /// Begins anew; there is something in it only if the one before was broken off.
    pub(super) fn begin(&mut self) {
        if self.united > 0 {
            *self = Self::default();
        }
    }

    /// Unites pairs in order of ordinal.
    pub(super) fn unite(&mut self, pairs: &[u64], masks: &mut Masks) {
        self.united += pairs.len();
        let number = |pair: &u64| ordinal_of(*pair) >> SPAN_BITS;
        for these in pairs.chunk_by(|a, b| number(a) == number(b)) {
            let Some(number) = these.first().map(number) else { continue };
            let span = self.spans.entry(number).or_insert_with(|| Span::new(SPAN));
            span.unite_pairs(number << SPAN_BITS, these, masks);
        }
    }

    /// What it holds, in order of ordinal; it is empty then.
    pub(super) fn move_into(&mut self, pairs: &mut Vec<u64>) {
        sort::make_room(pairs, std::mem::take(&mut self.united).min(self.spans.len() * SPAN));
        for (number, span) in &mut self.spans {
            span.collect(number << SPAN_BITS, pairs);
        }
    }
}

/// Values of consecutive ordinals that are being united. Remembers where it was written to, so that emptying it costs what is in it.
pub(super) struct Span {
    values: Vec<u32>,
    /// One for each group of values.
    touched: Vec<u8>,
}

/// Values in a group: 256 bytes.
const GROUP: usize = 64;

impl Span {
    pub(super) fn new(length: usize) -> Self {
        Self { values: vec![0; length], touched: vec![0; length / GROUP] }
    }

    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    pub(super) fn unite(&mut self, at: usize, value: u32, mut union: impl FnMut(u32, u32) -> u32) {
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
    for value in &*group {
        if let Some(slot) = pairs.get_mut(found) {
            *slot = ordinal | u64::from(*value);
        }
        found += usize::from(*value != 0);
        ordinal = ordinal.wrapping_add(1 << 32);
    }
    *group = [0; GROUP];
    out.extend_from_slice(pairs.get(..found).unwrap_or(&pairs));
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Counts;
    use super::super::run::{Run, pair};
    use super::super::run_writer;
    use super::*;
    use model::{ClassNumber, ClassSet};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn masks() -> Masks {
        Masks::new(&(0..20).map(ClassNumber::new).collect::<ClassSet>())
    }

    fn written(run: &BTreeMap<u32, u32>) -> (Vec<u8>, u32) {
        let mut pairs: Vec<u64> = run.iter().map(|(&o, &v)| pair(o, v)).collect();
        let mut out = Vec::new();
        run_writer::write(&mut out, &mut pairs, &mut Counts::default(), |value| value);
        (out, u32::try_from(pairs.len()).unwrap())
    }

    fn runs() -> impl Strategy<Value = Vec<BTreeMap<u32, u32>>> {
        let dense = prop::collection::btree_map(0_u32..2_000, 1_u32..9, 0..600);
        let sparse = prop::collection::btree_map(any::<u32>(), 1_u32..9, 0..600);
        prop::collection::vec(prop_oneof![dense, sparse], 0..6)
    }

    proptest! {
        #[test]
        fn united_runs_are_the_union(runs in runs(), loose in prop::collection::btree_map(any::<u32>(), 1_u32..9, 0..40), cut in prop_oneof![Just(0_u32), 0_u32..0xffff]) {
            let mut masks = masks();
            let mut wanted: BTreeMap<u32, u32> = loose.clone();
            for (&ordinal, value) in runs.iter().flatten() {
                *wanted.entry(ordinal).or_default() |= value;
            }
            let runs = runs.iter().map(|run| {
                let (bytes, subjects) = written(run);
                Arc::new(Run::new(bytes, subjects, Ok).unwrap())
            });
            let runs: Vec<Arc<Run>> = runs.collect();
            let loose: Vec<(u32, [u64; 1])> = loose.iter().map(|(&o, &v)| (o & !0xffff, [pair(o, v)])).collect();
            let loose: Vec<(u32, &[u64])> = loose.iter().map(|(first, pairs)| (*first, &pairs[..])).collect();
            // All ordinals at once, and in two pieces.
            for ends in [vec![u32::MAX], vec![cut << 16 | 0xffff, u32::MAX]] {
                let (mut first, mut all) = (0, Vec::new());
                for last in ends {
                    let asked = first..=last;
                    let cursors = runs.iter().map(|run| Cursor::within(run, asked.clone()).unwrap());
                    let here: Vec<_> = loose.iter().copied().filter(|(base, _)| asked.contains(base)).collect();
                    let mut united = Vec::new();
                    unite(cursors.collect(), &here, &mut masks, &mut united).unwrap();
                    all.extend(united);
                    first = last.wrapping_add(1);
                }
                let wanted: Vec<u64> = wanted.iter().map(|(&o, &v)| pair(o, v)).collect();
                prop_assert_eq!(all, wanted);
            }
        }
    }
}
