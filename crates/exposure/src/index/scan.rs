//! Reads releases one by one: what buckets are too coarse for, and questions by key, grant, operation or network.

use super::block::Block;
use super::file::IndexFile;
use super::footer::{BlockInfo, NetworkInfo};
use super::gather::Loose;
use super::run::{ordinal_of, value_of};
use super::table::{Context, Table, hour};
use super::{Damaged, Unreadable};
use crate::Question;
use ipnet::IpNet;
use model::{ClientIp, UnixMicros};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Blocks that lie this close to each other are read in one go.
const READ_AHEAD: u64 = 256 << 10;

/// One release, with everything that can be asked of it.
pub(super) struct Released<'a> {
    pub(super) record: u64,
    pub(super) time: UnixMicros,
    pub(super) context: &'a Context,
    pub(super) network: ClientIp,
    pub(super) ordinals: &'a [u32],
    /// For each ordinal the number of its set, of which `values` has the value.
    pub(super) sets: &'a [u32],
    pub(super) values: &'a [u32],
}

impl Released<'_> {
    /// The touches that are asked for: ordinal and value.
    pub(super) fn touches(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ordinals.iter().zip(self.sets).filter_map(|(ordinal, set)| {
            let value = self.values.get(*set as usize).copied().unwrap_or(0);
            (value != 0).then_some((*ordinal, value))
        })
    }
}

/// Which contexts of a list are asked for.
fn contexts(question: &Question, contexts: &[Context]) -> Vec<bool> {
    contexts.iter().map(|context| question.covers_context(context)).collect()
}

/// Which networks of a file are asked for; `None` if all are.
pub(super) fn from_there(file: &IndexFile, question: &Question) -> Option<Vec<bool>> {
    let nets: Vec<&IpNet> = question.networks.as_ref()?.iter().collect();
    let asked = |info: &NetworkInfo| {
        let address = info.network.addr();
        nets.iter().any(|net| net.contains(&address))
    };
    Some(file.footer.networks.iter().map(asked).collect())
}

/// What of a file has to be read release by release.
pub(super) struct Scan<'f> {
    file: &'f IndexFile,
    from: UnixMicros,
    to: UnixMicros,
    /// Hours and networks, by their places, that are not to be read.
    covered: BTreeSet<(u32, u32)>,
    /// As in [`Released`].
    values: Arc<[u32]>,
    /// Which of the file's contexts and networks are asked for.
    wanted: Vec<bool>,
    from_there: Option<Vec<bool>>,
    /// Whether every release of a block is asked for, as far as it is in the window.
    all_rows: bool,
    /// In order of integration and time.
    pub(super) blocks: Vec<&'f BlockInfo>,
}

impl<'f> Scan<'f> {
    /// The releases of a window in a file. `covered`: hours and networks, by their places, that are not to be read.
    /// `from_there`: [`from_there`] of the file.
    pub(super) fn new(
        file: &'f IndexFile,
        question: &Question,
        (from, to): (UnixMicros, UnixMicros),
        (covered, from_there): (BTreeSet<(u32, u32)>, Option<Vec<bool>>),
        values: Arc<[u32]>,
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            blocks: chosen(file, question, from_there.as_deref(), &covered, (from, to))?,
            wanted: contexts(question, &file.footer.contexts),
            all_rows: question.asks_for_runs(),
            file,
            from,
            to,
            covered,
            values,
            from_there,
        })
    }

    /// Calls `visit` with the releases of some of the blocks.
    pub(super) fn visit(
        &self,
        blocks: &[&BlockInfo],
        visit: &mut impl FnMut(&Released<'_>),
    ) -> Result<(), Unreadable> {
        self.read(blocks, |info, block| self.rows(info, block, visit))
    }

    /// Adds the touches of some of the blocks to `loose`.
    pub(super) fn gather(
        &self,
        blocks: &[&BlockInfo],
        loose: &mut Loose,
    ) -> Result<(), Unreadable> {
        self.read(blocks, |info, block| {
            if !self.all_rows || info.first < self.from.0 || info.last >= self.to.0 {
                return self.rows(info, block, &mut |released| loose.add(released));
            }
            for (ordinal, set) in block.ordinals.iter().zip(&block.sets) {
                loose.push(*ordinal, self.values.get(*set as usize).copied().unwrap_or(0));
            }
            Ok(())
        })
    }

    /// Reads blocks, those that lie close together in one go.
    fn read(
        &self,
        blocks: &[&BlockInfo],
        mut each: impl FnMut(&BlockInfo, &Block) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let (mut bytes, mut start) = (Vec::new(), 0_u64);
        let mut block = Block::default();
        for (place, info) in blocks.iter().enumerate() {
            let end = info.at.offset + u64::from(info.at.bytes);
            if info.at.offset < start || end > start + bytes.len() as u64 {
                start = info.at.offset;
                let later = blocks.get(place..).unwrap_or_default().iter();
                let ends = later.map(|info| info.at.offset + u64::from(info.at.bytes));
                let near =
                    |end: &u64| end.checked_sub(start).is_some_and(|length| length <= READ_AHEAD);
                let run = ends.take_while(near).last().unwrap_or(end);
                let length = usize::try_from(run - start).unwrap_or(usize::MAX);
                self.file.read_raw(start, length, &mut bytes)?;
            }
            let skip = usize::try_from(info.at.offset - start).unwrap_or(usize::MAX);
            let here = bytes.get(skip..).and_then(|rest| rest.get(..info.at.bytes as usize));
            let here = here.ok_or(Damaged("a block of releases"))?;
            if crc32c::crc32c(here) != info.at.crc {
                return Err(Damaged("a block of releases").into());
            }
            block.decode(here, info.rows, info.touches)?;
            each(info, &block)?;
        }
        Ok(())
    }

    fn rows(
        &self,
        info: &BlockInfo,
        block: &Block,
        visit: &mut impl FnMut(&Released<'_>),
    ) -> Result<(), Unreadable> {
        let mut there = None;
        for (_, place) in self.covered.range((hour(info.first), 0)..=(hour(info.first), u32::MAX)) {
            let there = there.get_or_insert_with(|| self.from_there.clone());
            if let Some(asked) = there.as_mut().and_then(|there| there.get_mut(*place as usize)) {
                *asked = false;
            }
        }
        let there = there.as_ref().unwrap_or(&self.from_there).as_deref();
        let window = (self.from, self.to);
        rows(self.file, block, info, &self.wanted, there, window, &self.values, visit)
    }
}

/// The blocks that may hold what is asked for, in order of place.
fn chosen<'f>(
    file: &'f IndexFile,
    question: &Question,
    from_there: Option<&[bool]>,
    covered: &BTreeSet<(u32, u32)>,
    (from, to): (UnixMicros, UnixMicros),
) -> Result<Vec<&'f BlockInfo>, Unreadable> {
    let blocks = &file.footer.blocks;
    let in_window = |info: &&BlockInfo| info.last >= from.0 && info.first < to.0;
    if let Some(from_there) = from_there {
        let mut numbers = Vec::new();
        let mut bytes = Vec::new();
        let asked = file.footer.networks.iter().zip(from_there).zip(0_u32..);
        for ((network, _), place) in asked.filter(|((_, wanted), _)| **wanted) {
            file.read(network.at, &mut bytes)?;
            let (each, _) = bytes.as_chunks::<4>();
            let each = each.iter().map(|number| u32::from_le_bytes(*number));
            let hour_of = |number: u32| blocks.get(number as usize).map(|info| hour(info.first));
            let is_covered = |hour: u32| covered.contains(&(hour, place));
            numbers.extend(each.filter(|number| !hour_of(*number).is_some_and(is_covered)));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let places: Option<BTreeSet<u32>> = question
            .integrations
            .as_ref()
            .map(|ids| ids.iter().filter_map(|id| file.place_of(id)).collect());
        let asked = numbers.iter().filter_map(|number| blocks.get(*number as usize));
        let of_them = |info: &&BlockInfo| {
            places.as_ref().is_none_or(|places| places.contains(&info.integration))
        };
        return Ok(asked.filter(in_window).filter(of_them).collect());
    }
    let Some(ids) = &question.integrations else {
        return Ok(blocks.iter().filter(in_window).collect());
    };
    let mut chosen = Vec::new();
    for place in ids.iter().filter_map(|id| file.place_of(id)) {
        let first = blocks.partition_point(|info| (info.integration, info.last) < (place, from.0));
        let rest = blocks.get(first..).unwrap_or_default().iter();
        chosen.extend(rest.take_while(|info| info.integration == place && info.first < to.0));
    }
    Ok(chosen)
}

#[expect(clippy::too_many_arguments, reason = "the innermost loop, called from one place")]
fn rows(
    file: &IndexFile,
    block: &Block,
    info: &BlockInfo,
    wanted: &[bool],
    from_there: Option<&[bool]>,
    (from, to): (UnixMicros, UnixMicros),
    values: &[u32],
    visit: &mut impl FnMut(&Released<'_>),
) -> Result<(), Unreadable> {
    const BROKEN: Damaged = Damaged("a block of releases");
    for (row, touches) in block.rows() {
        let time = info.first + u64::from(block.times.get(row).copied().ok_or(BROKEN)?);
        let context = block.contexts.get(row).copied().ok_or(BROKEN)? as usize;
        let network = block.networks.get(row).copied().ok_or(BROKEN)? as usize;
        let there = from_there.is_none_or(|list| list.get(network).copied().unwrap_or(false));
        let asked = wanted.get(context).copied().ok_or(BROKEN)?;
        if !asked || !there || time < from.0 || time >= to.0 {
            continue;
        }
        let since = block.records.get(row).copied().ok_or(BROKEN)?;
        let record = block.first_record.checked_add(u64::from(since)).ok_or(BROKEN)?;
        visit(&Released {
            record,
            time: UnixMicros(time),
            context: file.footer.contexts.get(context).ok_or(BROKEN)?,
            network: file.footer.networks.get(network).ok_or(BROKEN)?.network,
            ordinals: block.ordinals.get(touches.clone()).ok_or(BROKEN)?,
            sets: block.sets.get(touches).ok_or(BROKEN)?,
            values,
        });
    }
    Ok(())
}

/// Calls `visit` with the releases of one block, as read, that have a touch of `ordinal`. The block is unpacked into `block`.
pub(super) fn block_of(
    file: &IndexFile,
    question: &Question,
    (info, bytes): (&BlockInfo, &[u8]),
    block: &mut Block,
    ordinal: u32,
    visit: &mut impl FnMut(&Released<'_>),
) -> Result<(), Unreadable> {
    if crc32c::crc32c(bytes) != info.at.crc {
        return Err(Damaged("a block of releases").into());
    }
    block.decode(bytes, info.rows, info.touches)?;
    if !block.ordinals.contains(&ordinal) {
        return Err(Damaged("a subject's postings").into());
    }
    let window = (question.from, question.to);
    let all = vec![true; file.footer.contexts.len()];
    rows(file, block, info, &all, None, window, &[], &mut |released| {
        if released.ordinals.contains(&ordinal)
            && question.covers_context(released.context)
            && question.has_network(released.network)
        {
            visit(released);
        }
    })
}

/// Calls `visit` with the releases of a window in memory, in order of the log: the `number`-th of `of` shares.
pub(super) fn table(
    table: &Table,
    question: &Question,
    (from, to): (UnixMicros, UnixMicros),
    (number, of): (usize, usize),
    values: &[u32],
    visit: &mut impl FnMut(&Released<'_>),
) {
    let wanted = contexts(question, &table.contexts.items);
    let networks = &table.networks.items;
    let there: Vec<bool> = networks.iter().map(|network| question.has_network(*network)).collect();
    let (mut ordinals, mut sets) = (Vec::new(), Vec::new());
    let rows = table.rows_in(from, to).count();
    let (first, end) = (rows * number / of, rows * (number + 1) / of);
    for (row, touches) in table.rows_in(from, to).skip(first).take(end - first) {
        let context = table.contexts.items.get(row.context as usize);
        let network = networks.get(row.network as usize);
        let asked = wanted.get(row.context as usize).copied().unwrap_or(false)
            && there.get(row.network as usize).copied().unwrap_or(false);
        let (true, Some(context), Some(network)) = (asked, context, network) else { continue };
        ordinals.clear();
        sets.clear();
        ordinals.extend(touches.iter().map(|pair| ordinal_of(*pair)));
        sets.extend(touches.iter().map(|pair| value_of(*pair)));
        visit(&Released {
            record: row.record,
            time: UnixMicros(row.time),
            context,
            network: *network,
            ordinals: &ordinals,
            sets: &sets,
            values,
        });
    }
}
