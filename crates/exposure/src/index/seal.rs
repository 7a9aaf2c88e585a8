//! Makes the file of a settled part.

use super::block::{self, Block};
use super::file::{BlockInfo, Extent, Footer, Length, NetworkInfo, RunInfo, Span, Whose, Writer};
use super::histogram::Counts;
use super::masks::{Masks, SetList};
use super::run::{self, ordinal_of, pair, value_of};
use super::table::{DAY, Row, Table, hour};
use super::{postings, run_writer, sort};
use model::{ClassSet, IntegrationId};
use std::collections::BTreeSet;
use std::ops::Range;

/// A network with this many touches in an hour has a run of its own, so that whoever polls from one is found without reading releases.
const BUSY: u64 = if cfg!(test) { 3 } else { 4_096 };

/// The bytes of the part's file. The same table gives the same bytes.
///
/// Every touch is sorted once, by ordinal, and then dealt out to the hour and the day of its integration, which are in order by that.
pub fn seal(table: &Table) -> Vec<u8> {
    let mut part = Part::new(table);
    let mut cells = part.cells();
    let dealt = part.deal(&mut cells);
    for of_integration in cells.chunk_by(|a, b| a.integration == b.integration) {
        for cell in of_integration {
            part.append_blocks(cell);
            let subjects = dealt.hours.get(cell.subjects.clone()).unwrap_or_default();
            part.run((Length::Hour, Whose::One(cell.integration), cell.hour), subjects);
        }
        if let Some(cell) = of_integration.first()
            && let Some(subjects) = dealt.days.get(cell.integration as usize)
        {
            let subjects = dealt.day_pairs.get(subjects.clone()).unwrap_or_default();
            let day = part.footer.day;
            part.run((Length::Day, Whose::One(cell.integration), day), subjects);
        }
    }
    let hours: BTreeSet<u32> = cells.iter().map(|cell| cell.hour).collect();
    for hour in hours {
        part.all_of_hour(hour, dealt.of_all.get(hour_of_day(hour)));
    }
    drop(dealt);
    part.busy_networks();
    part.networks();
    part.finish()
}

/// An hour of an integration.
struct Cell {
    integration: u32,
    hour: u32,
    /// Which blocks it has, and where they lie in [`Part::encoded`].
    blocks: Range<usize>,
    bytes: Range<usize>,
    /// How many touches, each of which may be another subject.
    touches: usize,
    /// Where its subjects lie in [`Dealt::hours`].
    subjects: Range<usize>,
}

/// What touches of one set in one block have in common.
#[derive(Clone, Copy)]
struct Tag {
    value: u32,
    block: u32,
    cell: u32,
}

/// Pairs of ordinal and value: those of each hour and of each day of each integration, and the values of all in each hour of the day.
struct Dealt {
    hours: Vec<u64>,
    day_pairs: Vec<u64>,
    /// Of each integration.
    days: Vec<Range<usize>>,
    of_all: Vec<Counts>,
}

const HOURS: usize = 24;

struct Part<'a> {
    table: &'a Table,
    writer: Writer,
    masks: Masks,
    footer: Footer,
    /// The value of each of the table's sets.
    values: Vec<u32>,
    sets: SetList,
    /// Places in the file's sorted lists of what the table numbers in order of sight.
    network_places: Vec<u32>,
    context_places: Vec<u32>,
    integration_of: Vec<u32>,
    block: Block,
    /// Blocks, before their places in the file are known.
    encoded: Vec<u8>,
    tags: Vec<Tag>,
    /// Of each set the last tag that it was given.
    tag_of: Vec<u32>,
    /// Ordinals, each with its tag.
    touches: Vec<u64>,
    spare: Vec<u64>,
    /// Of each network the blocks with releases to it.
    in_network: Vec<Vec<u32>>,
}

impl<'a> Part<'a> {
    fn new(table: &'a Table) -> Self {
        let all = table.sets.items.iter().fold(ClassSet::EMPTY, |all, set| all.union(set));
        let mut masks = Masks::new(&all);
        let mut integrations: Vec<IntegrationId> =
            table.contexts.items.iter().map(|context| context.integration).collect();
        integrations.sort_unstable();
        integrations.dedup();
        let mut contexts = table.contexts.items.clone();
        contexts.sort_unstable();
        let mut networks = table.networks.items.clone();
        networks.sort_unstable();
        let values: Vec<u32> = table.sets.items.iter().map(|set| masks.value(set)).collect();
        // The table's sets keep their numbers; unions follow them.
        let sets = SetList::new(&table.sets.items, &mut masks);
        let integration_of = table
            .contexts
            .items
            .iter()
            .map(|context| place_in(&integrations, &context.integration));
        let day = u32::try_from(table.last_time / DAY).unwrap_or(u32::MAX);
        Self {
            writer: Writer::default(),
            masks,
            values,
            sets,
            network_places: places(&networks, &table.networks.items),
            context_places: places(&contexts, &table.contexts.items),
            integration_of: integration_of.collect(),
            block: Block::default(),
            encoded: Vec::new(),
            // The first is nobody's, so that 0 is none.
            tags: vec![Tag { value: 0, block: 0, cell: 0 }],
            tag_of: vec![0; table.sets.items.len()],
            touches: Vec::with_capacity(table.touches.len()),
            spare: Vec::new(),
            in_network: vec![Vec::new(); networks.len()],
            footer: Footer {
                span: Span::Part,
                first_record: table.first_record,
                end_record: table.end_record,
                end_leaf: table.end_leaf,
                day,
                integrations,
                sets: Vec::new(),
                contexts,
                runs: Vec::new(),
                blocks: Vec::new(),
                networks: networks
                    .iter()
                    .map(|&network| NetworkInfo { network, at: Extent::default() })
                    .collect(),
                postings: Default::default(),
                nameless: table.nameless.clone(),
                gaps: table.gaps.clone(),
            },
            table,
        }
    }

    /// The rows that count, cut into blocks by integration and hour.
    fn cells(&mut self) -> Vec<Cell> {
        let counted = (0_u32..).zip(&self.table.rows).filter(|(_, row)| !row.taken_back);
        let mut rows: Vec<u64> = counted
            .map(|(at, row)| {
                let place = self.integration_of.get(row.context as usize).copied().unwrap_or(0);
                pair(place, at)
            })
            .collect();
        sort::by_upper(&mut rows, &mut self.spare);
        let table = self.table;
        let hour_of = |row: u64| row_of(table, row).map_or(0, |row| hour(row.time));
        let same =
            |a: &u64, b: &u64| ordinal_of(*a) == ordinal_of(*b) && hour_of(*a) == hour_of(*b);
        let mut cells = Vec::new();
        for of_cell in rows.chunk_by(same) {
            let Some(&first) = of_cell.first() else { continue };
            let (blocks, bytes) = (self.footer.blocks.len(), self.encoded.len());
            let touches = self.touches.len();
            self.blocks(ordinal_of(first), place(cells.len()), of_cell);
            cells.push(Cell {
                integration: ordinal_of(first),
                hour: hour_of(first),
                blocks: blocks..self.footer.blocks.len(),
                bytes: bytes..self.encoded.len(),
                touches: self.touches.len() - touches,
                subjects: 0..0,
            });
        }
        cells
    }

    fn touches_of(&self, row: usize) -> &'a [u64] {
        let rows = &self.table.rows;
        let end = |row: usize| rows.get(row).map_or(0, |row| row.touches_end as usize);
        let start = row.checked_sub(1).map_or(0, end);
        self.table.touches.get(start..end(row)).unwrap_or_default()
    }

    /// Encodes the blocks of a cell, and gives its touches their tags.
    fn blocks(&mut self, integration: u32, cell: u32, rows: &[u64]) {
        let mut block = std::mem::take(&mut self.block);
        let mut times = (0, 0);
        let mut first_tag = place(self.tags.len());
        for &at in rows {
            let Some(row) = row_of(self.table, at) else { continue };
            if block.times.is_empty() {
                block.first_record = row.record;
                times.0 = row.time;
            }
            times.1 = row.time;
            let of_row = self.touches_of(value_of(at) as usize);
            // An hour has fewer microseconds, and a part fewer records, than 2^32.
            block.times.push(u32::try_from(row.time - times.0).unwrap_or(u32::MAX));
            block.records.push(u32::try_from(row.record - block.first_record).unwrap_or(u32::MAX));
            block
                .contexts
                .push(self.context_places.get(row.context as usize).copied().unwrap_or(0));
            let network = self.network_places.get(row.network as usize).copied().unwrap_or(0);
            block.networks.push(network);
            block.counts.push(place(of_row.len()));
            block.ordinals.extend(of_row.iter().map(|touch| ordinal_of(*touch)));
            block.sets.extend(of_row.iter().map(|touch| value_of(*touch)));
            let (tags, values) = (&mut self.tags, &self.values);
            let number = place(self.footer.blocks.len());
            for touch in of_row {
                let set = value_of(*touch) as usize;
                let Some(tag) = self.tag_of.get_mut(set) else { continue };
                if *tag < first_tag {
                    *tag = place(tags.len());
                    let value = values.get(set).copied().unwrap_or(0);
                    tags.push(Tag { value, block: number, cell });
                }
                self.touches.push(pair(ordinal_of(*touch), *tag));
            }
            if block.ordinals.len() >= block::TOUCHES || block.times.len() >= block::TOUCHES {
                self.block(integration, &mut block, times);
                first_tag = place(self.tags.len());
            }
        }
        if !block.times.is_empty() {
            self.block(integration, &mut block, times);
        }
        self.block = block;
    }

    fn block(&mut self, integration: u32, block: &mut Block, (first, last): (u64, u64)) {
        let number = place(self.footer.blocks.len());
        let start = self.encoded.len();
        block.encode(&mut self.encoded);
        let bytes = self.encoded.get(start..).unwrap_or_default();
        self.footer.blocks.push(BlockInfo {
            integration,
            at: Extent {
                offset: start as u64,
                bytes: place(bytes.len()),
                crc: crc32c::crc32c(bytes),
            },
            rows: place(block.times.len()),
            touches: place(block.ordinals.len()),
            first,
            last,
        });
        for network in &block.networks {
            if let Some(blocks) = self.in_network.get_mut(*network as usize)
                && blocks.last() != Some(&number)
            {
                blocks.push(number);
            }
        }
        block.clear();
    }

    /// Sorts the touches, and deals them out.
    fn deal(&mut self, cells: &mut [Cell]) -> Dealt {
        sort::by_upper(&mut self.touches, &mut self.spare);
        let mut days = vec![0..0; self.footer.integrations.len()];
        let mut start = 0;
        for of_integration in cells.chunk_by_mut(|a, b| a.integration == b.integration) {
            let day = of_integration.first().map_or(0, |cell| cell.integration as usize);
            if let Some(day) = days.get_mut(day) {
                *day = start..start;
            }
            for cell in of_integration {
                cell.subjects = start..start;
                start += cell.touches;
            }
        }
        let mut hours = std::mem::take(&mut self.spare);
        hours.resize(self.touches.len(), 0);
        let mut day_pairs = vec![0; self.touches.len()];
        let mut of_all = vec![Counts::default(); HOURS];
        // What all integrations read of the ordinal at hand in each hour, and in which hours they did.
        let (mut values, mut seen) = ([0; HOURS], 0_u32);
        let mut ordinal = None;
        for touch in &self.touches {
            let tag = self.tags.get(value_of(*touch) as usize);
            let Some(Tag { value, cell, .. }) = tag.copied() else { continue };
            let Some(cell) = cells.get_mut(cell as usize) else { continue };
            let Some(day) = days.get_mut(cell.integration as usize) else { continue };
            if ordinal != Some(ordinal_of(*touch)) {
                count(&mut values, &mut seen, &mut of_all);
                ordinal = Some(ordinal_of(*touch));
            }
            let of_touch = pair(ordinal_of(*touch), value);
            unite_last(&mut hours, &mut cell.subjects, of_touch, &mut self.masks);
            unite_last(&mut day_pairs, day, of_touch, &mut self.masks);
            let hour = hour_of_day(cell.hour);
            if let Some(all) = values.get_mut(hour) {
                *all = self.masks.union(*all, value);
                seen |= 1 << hour;
            }
        }
        count(&mut values, &mut seen, &mut of_all);
        Dealt { hours, day_pairs, days, of_all }
    }

    /// Appends the blocks of a cell, whose places are known by that.
    fn append_blocks(&mut self, cell: &Cell) {
        let start = self.writer.offset();
        let bytes = self.encoded.get(cell.bytes.clone()).unwrap_or_default();
        self.writer.out.extend_from_slice(bytes);
        for block in self.footer.blocks.get_mut(cell.blocks.clone()).unwrap_or_default() {
            block.at.offset = block.at.offset - cell.bytes.start as u64 + start;
        }
    }

    fn run(&mut self, of: (Length, Whose, u32), pairs: &[u64]) {
        let info = self.writer.run(of, pairs, &self.masks, &mut self.sets);
        self.footer.runs.push(info);
    }

    /// Writes how many subjects of which classes all integrations together read in an hour.
    fn all_of_hour(&mut self, hour: u32, of_all: Option<&Counts>) {
        let histogram = of_all.map(Counts::histogram).unwrap_or_default();
        let start = self.writer.offset();
        let (masks, sets) = (&self.masks, &mut self.sets);
        run_writer::write_head(&mut self.writer.out, &histogram, &mut |value| {
            sets.number(value, masks)
        });
        let info = RunInfo {
            length: Length::Hour,
            whose: Whose::All,
            bucket: hour,
            at: self.writer.extent_since(start),
            subjects: 0,
        };
        self.footer.runs.push(info);
    }

    /// Writes the hours of networks that much was read from.
    fn busy_networks(&mut self) {
        // Of each network the hour it is in, and its rows there; rows are in order of time.
        let mut current = vec![(0_u32, 0_u64, Vec::new()); self.in_network.len()];
        for (at, row) in self.table.rows.iter().enumerate().filter(|(_, row)| !row.taken_back) {
            let place = self.network_places.get(row.network as usize).copied().unwrap_or(0);
            let Some(of_network) = current.get_mut(place as usize) else { continue };
            if of_network.0 != hour(row.time) {
                let (hour, touches, rows) =
                    std::mem::replace(of_network, (hour(row.time), 0, Vec::new()));
                self.busy_network(place, hour, touches, &rows);
            }
            of_network.1 += self.touches_of(at).len() as u64;
            of_network.2.push(at);
        }
        for ((hour, touches, rows), place) in current.into_iter().zip(0..) {
            self.busy_network(place, hour, touches, &rows);
        }
    }

    fn busy_network(&mut self, place: u32, hour: u32, touches: u64, rows: &[usize]) {
        if touches < BUSY {
            return;
        }
        let mut pairs = Vec::new();
        for &row in rows {
            pairs.extend(self.touches_of(row).iter().map(|touch| {
                let value = self.values.get(value_of(*touch) as usize).copied().unwrap_or(0);
                pair(ordinal_of(*touch), value)
            }));
        }
        run::settle_in(&mut pairs, &mut self.spare, &mut self.masks);
        self.run((Length::Hour, Whose::Network(place), hour), &pairs);
    }

    fn networks(&mut self) {
        for (info, blocks) in self.footer.networks.iter_mut().zip(&self.in_network) {
            let start = self.writer.offset();
            for block in blocks {
                self.writer.out.extend_from_slice(&block.to_le_bytes());
            }
            info.at = self.writer.extent_since(start);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let blocks = self.footer.blocks.len();
        let tags = &self.tags;
        let block_of = |tag: u32| tags.get(tag as usize).map_or(0, |tag| tag.block);
        self.footer.postings = postings::write(&mut self.writer, &self.touches, blocks, block_of);
        self.footer.runs.sort_unstable_by_key(|run| (run.length, run.whose, run.bucket));
        self.footer.sets = self.sets.sets;
        self.footer.encode(&mut self.writer.out);
        self.writer.out
    }
}

/// The row behind a pair of integration and row.
fn row_of(table: &Table, row: u64) -> Option<&Row> {
    table.rows.get(value_of(row) as usize)
}

/// Appends a pair to the part of a list that is being filled, or unites it with the last one there.
#[inline(always)]
fn unite_last(list: &mut [u64], filled: &mut Range<usize>, of_touch: u64, masks: &mut Masks) {
    if filled.start < filled.end
        && let Some(last) = list.get_mut(filled.end - 1)
        && ordinal_of(*last) == ordinal_of(of_touch)
    {
        *last = pair(ordinal_of(*last), masks.union(value_of(*last), value_of(of_touch)));
        return;
    }
    if let Some(slot) = list.get_mut(filled.end) {
        *slot = of_touch;
        filled.end += 1;
    }
}

/// Counts what was read of one subject in each hour, and empties it.
#[inline(always)]
fn count(values: &mut [u32; HOURS], seen: &mut u32, of_all: &mut [Counts]) {
    while *seen != 0 {
        let hour = seen.trailing_zeros() as usize;
        if let (Some(value), Some(counts)) = (values.get_mut(hour), of_all.get_mut(hour)) {
            counts.add(std::mem::take(value));
        }
        *seen &= *seen - 1;
    }
}

/// A part is of one day, so this tells its hours apart.
const fn hour_of_day(hour: u32) -> usize {
    hour as usize % HOURS
}

/// A number of rows, touches or bytes of a part, which are fewer than 2^32.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn place_in<T: Ord>(sorted: &[T], item: &T) -> u32 {
    sorted.binary_search(item).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

fn places<T: Ord>(sorted: &[T], items: &[T]) -> Vec<u32> {
    items.iter().map(|item| place_in(sorted, item)).collect()
}
