//! Makes the file of a settled part.

use super::block::{self, Block};
use super::file::{BlockInfo, Extent, Footer, Length, NetworkInfo, RunInfo, Span, Whose, Writer};
use super::masks::{Masks, SetList};
use super::postings::{self, posting};
use super::run::{self, ordinal_of, pair, settle, value_of};
use super::table::{DAY, Table, hour};
use super::unite;
use model::{ClassSet, IntegrationId};
use std::collections::BTreeMap;

/// A network with this many touches in an hour has a run of its own, so that whoever polls from one is found without reading releases.
const BUSY: u64 = if cfg!(test) { 3 } else { 4_096 };

/// The bytes of the part's file. The same table gives the same bytes.
pub fn seal(table: &Table) -> Vec<u8> {
    let mut part = Part::new(table);
    let cells = part.cells();
    let mut hours: BTreeMap<u32, Vec<Vec<u64>>> = BTreeMap::new();
    let mut day: Vec<Vec<u64>> = Vec::new();
    let mut integration = 0;
    for (place, hour, rows) in cells {
        if place != integration {
            part.day_run(integration, &mut day);
            integration = place;
        }
        part.blocks(place, &rows);
        let pairs = part.run_of(Whose::One(place), hour, &rows);
        day.push(pairs.clone());
        hours.entry(hour).or_default().push(pairs);
    }
    part.day_run(integration, &mut day);
    for (hour, lists) in hours {
        part.all_of_hour(hour, &lists);
    }
    part.busy_networks();
    part.networks();
    part.finish()
}

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
    postings: Vec<u64>,
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
            postings: Vec::with_capacity(table.touches.len()),
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

    /// The rows that count, by integration and hour; in each cell in order of the log.
    fn cells(&self) -> Vec<(u32, u32, Vec<usize>)> {
        let mut cells: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for (at, row) in self.table.rows.iter().enumerate() {
            if !row.taken_back {
                let place = self.integration_of.get(row.context as usize).copied().unwrap_or(0);
                cells.entry((place, hour(row.time))).or_default().push(at);
            }
        }
        cells.into_iter().map(|((place, hour), rows)| (place, hour, rows)).collect()
    }

    fn touches(&self, row: usize) -> &'a [u64] {
        let rows = &self.table.rows;
        let end = |row: usize| rows.get(row).map_or(0, |row| row.touches_end as usize);
        let start = row.checked_sub(1).map_or(0, end);
        self.table.touches.get(start..end(row)).unwrap_or_default()
    }

    /// Writes the blocks of a cell.
    fn blocks(&mut self, integration: u32, rows: &[usize]) {
        let mut block = std::mem::take(&mut self.block);
        let mut times = (0, 0);
        for &at in rows {
            let Some(row) = self.table.rows.get(at) else { continue };
            if block.times.is_empty() {
                block.first_record = row.record;
                times.0 = row.time;
            }
            times.1 = row.time;
            let of_row = self.touches(at);
            // An hour has fewer microseconds, and a part fewer records, than 2^32.
            block.times.push(u32::try_from(row.time - times.0).unwrap_or(u32::MAX));
            block.records.push(u32::try_from(row.record - block.first_record).unwrap_or(u32::MAX));
            block
                .contexts
                .push(self.context_places.get(row.context as usize).copied().unwrap_or(0));
            let network = self.network_places.get(row.network as usize).copied().unwrap_or(0);
            block.networks.push(network);
            block.counts.push(u32::try_from(of_row.len()).unwrap_or(u32::MAX));
            block.ordinals.extend(of_row.iter().map(|pair| ordinal_of(*pair)));
            block.sets.extend(of_row.iter().map(|pair| value_of(*pair)));
            if block.ordinals.len() >= block::TOUCHES || block.times.len() >= block::TOUCHES {
                self.block(integration, &mut block, times);
            }
        }
        if !block.times.is_empty() {
            self.block(integration, &mut block, times);
        }
        self.block = block;
    }

    fn block(&mut self, integration: u32, block: &mut Block, (first, last): (u64, u64)) {
        let number = u32::try_from(self.footer.blocks.len()).unwrap_or(u32::MAX);
        let start = self.writer.offset();
        block.encode(&mut self.writer.out);
        self.footer.blocks.push(BlockInfo {
            integration,
            at: self.writer.extent_since(start),
            rows: u32::try_from(block.times.len()).unwrap_or(u32::MAX),
            touches: u32::try_from(block.ordinals.len()).unwrap_or(u32::MAX),
            first,
            last,
        });
        self.postings.extend(block.ordinals.iter().map(|ordinal| posting(*ordinal, number)));
        for network in &block.networks {
            if let Some(blocks) = self.in_network.get_mut(*network as usize)
                && blocks.last() != Some(&number)
            {
                blocks.push(number);
            }
        }
        block.clear();
    }

    /// Writes the run of some rows of an hour, and returns its pairs.
    fn run_of(&mut self, whose: Whose, hour: u32, rows: &[usize]) -> Vec<u64> {
        let mut pairs = Vec::with_capacity(rows.iter().map(|row| self.touches(*row).len()).sum());
        for &row in rows {
            pairs.extend(self.touches(row).iter().map(|touch| {
                let value = self.values.get(value_of(*touch) as usize).copied().unwrap_or(0);
                pair(ordinal_of(*touch), value)
            }));
        }
        settle(&mut pairs, &mut self.masks);
        self.run((Length::Hour, whose, hour), &pairs);
        pairs
    }

    /// Writes the run of an integration's day from those of its hours, and empties them.
    fn day_run(&mut self, place: u32, hours: &mut Vec<Vec<u64>>) {
        if !hours.is_empty() {
            let pairs = united(hours, &mut self.masks);
            let day = self.footer.day;
            self.run((Length::Day, Whose::One(place), day), &pairs);
            hours.clear();
        }
    }

    fn run(&mut self, of: (Length, Whose, u32), pairs: &[u64]) {
        let info = self.writer.run(of, pairs, &self.masks, &mut self.sets);
        self.footer.runs.push(info);
    }

    /// Writes how many subjects of which classes all integrations together read in an hour.
    fn all_of_hour(&mut self, hour: u32, lists: &[Vec<u64>]) {
        let histogram = run::histogram(&united(lists, &mut self.masks));
        let start = self.writer.offset();
        let (masks, sets) = (&self.masks, &mut self.sets);
        run::write_head(&mut self.writer.out, &histogram, &mut |value| sets.number(value, masks));
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
            of_network.1 += self.touches(at).len() as u64;
            of_network.2.push(at);
        }
        for ((hour, touches, rows), place) in current.into_iter().zip(0..) {
            self.busy_network(place, hour, touches, &rows);
        }
    }

    fn busy_network(&mut self, place: u32, hour: u32, touches: u64, rows: &[usize]) {
        if touches >= BUSY {
            self.run_of(Whose::Network(place), hour, rows);
        }
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
        self.footer.postings = postings::write(&mut self.writer, &self.postings, blocks);
        self.footer.runs.sort_unstable_by_key(|run| (run.length, run.whose, run.bucket));
        self.footer.sets = self.sets.sets;
        self.footer.encode(&mut self.writer.out);
        self.writer.out
    }
}

/// Unites lists in memory, each in order of ordinal.
fn united(lists: &[Vec<u64>], masks: &mut Masks) -> Vec<u64> {
    const FEW: usize = if cfg!(test) { 4 } else { 1 << 16 };
    let all = lists.iter().map(Vec::len).sum::<usize>();
    if let [one] = lists {
        return one.clone();
    }
    if all < FEW {
        let mut pairs = lists.concat();
        settle(&mut pairs, masks);
        return pairs;
    }
    unite::unite_lists(lists, masks)
}

fn place_in<T: Ord>(sorted: &[T], item: &T) -> u32 {
    sorted.binary_search(item).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

fn places<T: Ord>(sorted: &[T], items: &[T]) -> Vec<u32> {
    items.iter().map(|item| place_in(sorted, item)).collect()
}
