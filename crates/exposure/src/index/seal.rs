//! Makes the file of a settled part.

use super::block::{self, Block};
use super::file::Writer;
use super::footer::{
    BlockInfo, Extent, Footer, Length, NetworkInfo, RowMark, RunInfo, Span, Whose,
};
use super::histogram::Counts;
use super::masks::{Masks, SetList};
use super::run::{self, ordinal_of, pair, value_of};
use super::table::{DAY, Row, Table, hour};
use super::{postings, run_writer, sort};
use model::{ClassSet, IntegrationId};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

/// A network with this many touches in an hour has a run of its own, so that whoever polls from one is found without reading releases.
const BUSY: u64 = if cfg!(test) { 3 } else { 4_096 };

/// Makes the files of parts, one after another, in the same memory: that of the largest, some 100 bytes a touch at most.
#[derive(Default)]
pub struct Sealer {
    writer: Writer,
    block: Block,
    /// Blocks of the integration at hand, before their places in the file are known.
    encoded: Vec<u8>,
    /// Its touches, and its pairs of the day and of each hour of the day.
    sorted: Vec<u64>,
    day: Vec<u64>,
    hours: [Vec<u64>; HOURS],
    tags: Vec<Tag>,
    /// Of each set the last tag that it was given.
    tag_of: Vec<u32>,
    /// Ordinals, each with its tag: of all integrations so far.
    touches: Vec<u64>,
    /// Room to sort in.
    spare: Vec<u64>,
    of_all: [Counts; HOURS],
}

impl Sealer {
    /// Makes the file of a settled part. `write` takes its bytes as they come; the same table gives the same bytes.
    /// `row_mark`: what the vault says of the row before [`Table::ordinals`].
    ///
    /// The touches of an integration are sorted once, by ordinal, and dealt out to its hours and its day, which are in order by that.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn seal(
        &mut self,
        table: &Table,
        row_mark: RowMark,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.clear(table);
        let mut part = Part::new(table, self);
        part.footer.row_mark = row_mark;
        let rows = part.rows();
        for of_integration in rows.chunk_by(|a, b| ordinal_of(*a) == ordinal_of(*b)) {
            part.integration(of_integration);
            part.room.writer.flush(&mut write)?;
        }
        part.hours_of_all();
        part.busy_networks();
        part.networks();
        part.finish();
        self.writer.flush(&mut write)
    }

    fn clear(&mut self, table: &Table) {
        self.writer.begin();
        self.tags.clear();
        // The first is nobody's, so that 0 is none.
        self.tags.push(Tag { value: 0, block: 0, hour: 0 });
        self.tag_of.clear();
        self.tag_of.resize(table.sets.items.len(), 0);
        sort::make_room(&mut self.touches, table.touches.len());
        self.of_all.iter_mut().for_each(Counts::clear);
    }
}

/// What touches of one set in one block have in common.
#[derive(Clone, Copy)]
struct Tag {
    value: u32,
    block: u32,
    hour: u32,
}

/// An hour of the integration at hand: which blocks it has, and where they lie in [`Sealer::encoded`].
struct Cell {
    hour: u32,
    blocks: Range<usize>,
    bytes: Range<usize>,
}

/// A part is of one day, so the hour of the day tells its hours apart.
const HOURS: usize = 24;

const fn hour_of_day(hour: u32) -> usize {
    hour as usize % HOURS
}

struct Part<'a> {
    table: &'a Table,
    room: &'a mut Sealer,
    masks: Masks,
    footer: Footer,
    /// The value of each of the table's sets.
    values: Vec<u32>,
    sets: SetList,
    /// Places in the file's sorted lists of what the table numbers in order of sight.
    network_places: Vec<u32>,
    context_places: Vec<u32>,
    integration_of: Vec<u32>,
    /// The hours in which anything was released.
    seen: BTreeSet<u32>,
    /// Of each network the blocks with releases to it.
    in_network: Vec<Vec<u32>>,
}

impl<'a> Part<'a> {
    fn new(table: &'a Table, room: &'a mut Sealer) -> Self {
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
            room,
            masks,
            values,
            sets,
            network_places: places(&networks, &table.networks.items),
            context_places: places(&contexts, &table.contexts.items),
            integration_of: integration_of.collect(),
            seen: BTreeSet::new(),
            in_network: vec![Vec::new(); networks.len()],
            footer: Footer {
                span: Span::Part,
                first_record: table.first_record,
                end_record: table.end_record,
                end_leaf: table.end_leaf,
                ordinals: table.ordinals,
                row_mark: RowMark::default(),
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

    /// The rows that count, each behind the place of its integration: by integration, and in order of the log.
    fn rows(&mut self) -> Vec<u64> {
        let counted = (0_u32..).zip(&self.table.rows).filter(|(_, row)| !row.taken_back);
        let place = |row: &Row| self.integration_of.get(row.context as usize).copied().unwrap_or(0);
        let mut rows: Vec<u64> = counted.map(|(at, row)| pair(place(row), at)).collect();
        // In room of their own: sorting may swap the two lists, and the room for touches would leave with the rows.
        sort::by_upper(&mut rows, &mut Vec::new());
        rows
    }

    /// Writes the blocks and runs of an integration, and takes in its touches.
    fn integration(&mut self, rows: &[u64]) {
        let place = rows.first().map_or(0, |row| ordinal_of(*row));
        let table = self.table;
        let hour_of = |row: &u64| row_of(table, *row).map_or(0, |row| hour(row.time));
        let (first, mut cells) = (self.room.touches.len(), Vec::new());
        self.room.encoded.clear();
        for of_cell in rows.chunk_by(|a, b| hour_of(a) == hour_of(b)) {
            let hour = of_cell.first().map_or(0, hour_of);
            let (blocks, bytes) = (self.footer.blocks.len(), self.room.encoded.len());
            self.blocks(place, hour, of_cell);
            let blocks = blocks..self.footer.blocks.len();
            cells.push(Cell { hour, blocks, bytes: bytes..self.room.encoded.len() });
        }
        self.deal(first);
        for cell in cells {
            self.append_blocks(&cell);
            let of = (Length::Hour, Whose::One(place), cell.hour);
            let room = &mut *self.room;
            if let Some(pairs) = room.hours.get_mut(hour_of_day(cell.hour)) {
                let run = room.writer.run(of, pairs, &self.masks, &mut self.sets);
                self.footer.runs.push(run);
            }
            self.seen.insert(cell.hour);
        }
        let of = (Length::Day, Whose::One(place), self.footer.day);
        let run = self.room.writer.run(of, &mut self.room.day, &self.masks, &mut self.sets);
        self.footer.runs.push(run);
    }

    /// Sorts the touches from one on, which are those of the integration at hand, and deals them out to its day and its hours.
    fn deal(&mut self, first: usize) {
        self.room.day.clear();
        self.room.hours.iter_mut().for_each(Vec::clear);
        self.room.sorted.clear();
        self.room.sorted.extend_from_slice(self.room.touches.get(first..).unwrap_or_default());
        sort::by_upper(&mut self.room.sorted, &mut self.room.spare);
        for touch in &self.room.sorted {
            let tag = self.room.tags.get(value_of(*touch) as usize);
            let Some(Tag { value, hour, .. }) = tag.copied() else { continue };
            let of_touch = pair(ordinal_of(*touch), value);
            unite_last(&mut self.room.day, of_touch, &mut self.masks);
            if let Some(of_hour) = self.room.hours.get_mut(hour_of_day(hour)) {
                unite_last(of_hour, of_touch, &mut self.masks);
            }
        }
    }

    /// Appends the blocks of a cell, whose places in the file are known by that.
    fn append_blocks(&mut self, cell: &Cell) {
        let start = self.room.writer.offset();
        let bytes = self.room.encoded.get(cell.bytes.clone()).unwrap_or_default();
        self.room.writer.out.extend_from_slice(bytes);
        for block in self.footer.blocks.get_mut(cell.blocks.clone()).unwrap_or_default() {
            block.at.offset = block.at.offset - cell.bytes.start as u64 + start;
        }
    }

    fn touches_of(&self, row: usize) -> &'a [u64] {
        let rows = &self.table.rows;
        let end = |row: usize| rows.get(row).map_or(0, |row| row.touches_end as usize);
        let start = row.checked_sub(1).map_or(0, end);
        self.table.touches.get(start..end(row)).unwrap_or_default()
    }

    /// Encodes the blocks of a cell, and gives its touches their tags.
    fn blocks(&mut self, integration: u32, hour: u32, rows: &[u64]) {
        let mut block = std::mem::take(&mut self.room.block);
        let mut times = (0, 0);
        let mut first_tag = place(self.room.tags.len());
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
            let (tags, values) = (&mut self.room.tags, &self.values);
            let number = place(self.footer.blocks.len());
            self.room.touches.extend(of_row.iter().map(|touch| {
                let set = value_of(*touch) as usize;
                let Some(tag) = self.room.tag_of.get_mut(set) else { return *touch };
                if *tag < first_tag {
                    *tag = place(tags.len());
                    let value = values.get(set).copied().unwrap_or(0);
                    tags.push(Tag { value, block: number, hour });
                }
                pair(ordinal_of(*touch), *tag)
            }));
            if block.ordinals.len() >= block::TOUCHES || block.times.len() >= block::TOUCHES {
                self.block(integration, &mut block, times);
                first_tag = place(self.room.tags.len());
            }
        }
        if !block.times.is_empty() {
            self.block(integration, &mut block, times);
        }
        self.room.block = block;
    }

    fn block(&mut self, integration: u32, block: &mut Block, (first, last): (u64, u64)) {
        let number = place(self.footer.blocks.len());
        let start = self.room.encoded.len();
        block.encode(&mut self.room.encoded);
        let bytes = self.room.encoded.get(start..).unwrap_or_default();
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

    /// Sorts all touches, and writes how many subjects of which classes all integrations together read in each hour.
    fn hours_of_all(&mut self) {
        sort::by_upper(&mut self.room.touches, &mut self.room.spare);
        // What was read of one subject in each hour, and in which hours.
        let (mut values, mut hours) = ([0; HOURS], 0_u32);
        let mut ordinal = 0;
        for touch in &self.room.touches {
            if ordinal != ordinal_of(*touch) {
                count(&mut values, &mut hours, &mut self.room.of_all);
                ordinal = ordinal_of(*touch);
            }
            let tag = self.room.tags.get(value_of(*touch) as usize);
            let Some(Tag { value, hour, .. }) = tag.copied() else { continue };
            if let Some(all) = values.get_mut(hour_of_day(hour)) {
                *all = self.masks.union(*all, value);
                hours |= 1 << hour_of_day(hour);
            }
        }
        count(&mut values, &mut hours, &mut self.room.of_all);
        for &hour in &self.seen {
            let counts = self.room.of_all.get(hour_of_day(hour));
            let histogram = counts.map(Counts::histogram).unwrap_or_default();
            let start = self.room.writer.offset();
            let (masks, sets) = (&self.masks, &mut self.sets);
            run_writer::write_head(&mut self.room.writer.out, &histogram, &mut |value| {
                sets.number(value, masks)
            });
            self.footer.runs.push(RunInfo {
                length: Length::Hour,
                whose: Whose::All,
                bucket: hour,
                at: self.room.writer.extent_since(start),
                subjects: 0,
            });
        }
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
        self.room.sorted.clear();
        for &row in rows {
            let of_row = self.touches_of(row).iter();
            self.room.sorted.extend(of_row.map(|touch| {
                let value = self.values.get(value_of(*touch) as usize).copied().unwrap_or(0);
                pair(ordinal_of(*touch), value)
            }));
        }
        let room = &mut *self.room;
        run::settle_in(&mut room.sorted, &mut room.spare, &mut self.masks);
        let of = (Length::Hour, Whose::Network(place), hour);
        self.footer.runs.push(room.writer.run(of, &mut room.sorted, &self.masks, &mut self.sets));
    }

    fn networks(&mut self) {
        for (info, blocks) in self.footer.networks.iter_mut().zip(&self.in_network) {
            let start = self.room.writer.offset();
            for block in blocks {
                self.room.writer.out.extend_from_slice(&block.to_le_bytes());
            }
            info.at = self.room.writer.extent_since(start);
        }
    }

    fn finish(mut self) {
        let blocks = self.footer.blocks.len();
        let tags = &self.room.tags;
        let block_of = |tag: u32| tags.get(tag as usize).map_or(0, |tag| tag.block);
        self.footer.postings =
            postings::write(&mut self.room.writer, &self.room.touches, blocks, block_of);
        self.footer.runs.sort_unstable_by_key(|run| (run.length, run.whose, run.bucket));
        self.footer.sets = self.sets.sets;
        self.footer.encode(&mut self.room.writer.out);
    }
}

/// Counts what was read of one subject in each hour, and empties it.
#[inline(always)]
fn count(values: &mut [u32; HOURS], hours: &mut u32, of_all: &mut [Counts; HOURS]) {
    while *hours != 0 {
        let hour = hours.trailing_zeros() as usize;
        if let (Some(value), Some(counts)) = (values.get_mut(hour), of_all.get_mut(hour)) {
            counts.add(std::mem::take(value));
        }
        *hours &= *hours - 1;
    }
}

/// The row behind a pair of integration and row.
fn row_of(table: &Table, row: u64) -> Option<&Row> {
    table.rows.get(value_of(row) as usize)
}

/// Appends a pair to a list, or unites it with the last one there.
#[inline(always)]
fn unite_last(list: &mut Vec<u64>, of_touch: u64, masks: &mut Masks) {
    match list.last_mut() {
        Some(last) if ordinal_of(*last) == ordinal_of(of_touch) => {
            *last = pair(ordinal_of(*last), masks.union(value_of(*last), value_of(of_touch)));
        }
        Some(_) | None => list.push(of_touch),
    }
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
