//! A block of releases of one integration in one hour, in order of the log, column by column.
//!
//! ```text
//! block = widths u8*7 | first record u64 | lowest ordinal u32 | packed columns      integers little-endian
//! ```
//!
//! Columns: microseconds since the block's first, records since the first, context, network, number of touches; and
//! for each touch the ordinal above the lowest, and the set. The last three name places of the file's lists.

use super::Damaged;
use super::packed;

/// A block ends with the release that reaches this many touches or releases.
pub(super) const TOUCHES: usize = if cfg!(test) { 5 } else { ROWS_MAX };
const ROWS_MAX: usize = 1_024;

const HEAD: usize = 7 + 8 + 4;

/// The columns of one block. Made once and used for many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first_record: u64,
    /// Microseconds since the block's first release.
    pub(super) times: Vec<u32>,
    pub(super) records: Vec<u32>,
    pub(super) contexts: Vec<u32>,
    pub(super) networks: Vec<u32>,
    pub(super) counts: Vec<u32>,
    pub(super) ordinals: Vec<u32>,
    pub(super) sets: Vec<u32>,
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.records.clear();
        self.contexts.clear();
        self.networks.clear();
        self.counts.clear();
        self.ordinals.clear();
        self.sets.clear();
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let lowest = self.ordinals.iter().copied().min().unwrap_or(0);
        // The bits of all numbers together are as many as those of the largest.
        let width = |column: &[u32]| packed::width_of(column.iter().fold(0, |bits, n| bits | n));
        let ordinals: Vec<u32> = self.ordinals.iter().map(|ordinal| ordinal - lowest).collect();
        let columns: [&[u32]; 7] = [
            &self.times,
            &self.records,
            &self.contexts,
            &self.networks,
            &self.counts,
            &ordinals,
            &self.sets,
        ];
        let widths = columns.map(width);
        out.extend_from_slice(&widths);
        out.extend_from_slice(&self.first_record.to_le_bytes());
        out.extend_from_slice(&lowest.to_le_bytes());
        for (column, width) in columns.into_iter().zip(widths) {
            packed::write(out, column, width);
        }
    }

    /// Reads a block of so many releases and touches into this one.
    pub(super) fn decode(&mut self, bytes: &[u8], rows: u32, touches: u32) -> Result<(), Damaged> {
        const BROKEN: Damaged = Damaged("a block of releases");
        let (rows, touches) = (rows as usize, touches as usize);
        let (head, mut rest) = bytes.split_at_checked(HEAD).ok_or(BROKEN)?;
        let (widths, head) = head.split_first_chunk::<7>().ok_or(BROKEN)?;
        let (first_record, lowest) = head.split_first_chunk().ok_or(BROKEN)?;
        self.first_record = u64::from_le_bytes(*first_record);
        let lowest = u32::from_le_bytes(lowest.try_into().map_err(|_| BROKEN)?);
        let [.., ordinals, _] = widths;
        // Columns of no bits take no bytes, so nothing else says how long they can be. Of one subject a release has one touch.
        if rows > ROWS_MAX || (*ordinals == 0 && touches > 2 * ROWS_MAX) {
            return Err(BROKEN);
        }
        let columns = [
            (&mut self.times, rows),
            (&mut self.records, rows),
            (&mut self.contexts, rows),
            (&mut self.networks, rows),
            (&mut self.counts, rows),
            (&mut self.ordinals, touches),
            (&mut self.sets, touches),
        ];
        for ((column, count), &width) in columns.into_iter().zip(widths) {
            // Lengths come from the footer, whose checksum holds; all the same nothing is allocated beyond what the bytes can fill.
            if width > 0 && packed::length(count, width) > rest.len() {
                return Err(BROKEN);
            }
            column.resize(count, 0);
            packed::read(rest, width, column).ok_or(BROKEN)?;
            rest = rest.get(packed::length(count, width)..).ok_or(BROKEN)?;
        }
        self.ordinals.iter_mut().for_each(|ordinal| *ordinal = ordinal.wrapping_add(lowest));
        let counted: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        if counted == touches as u64 { Ok(()) } else { Err(BROKEN) }
    }

    /// Each release: its place, and its touches' places.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
        let mut end = 0;
        self.counts.iter().enumerate().map(move |(row, count)| {
            let start = end;
            end += *count as usize;
            (row, start..end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn blocks()(
            rows in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), 0_u32..9, prop::collection::vec((any::<u32>(), 0_u32..50), 0..5)), 0..40),
            first_record: u64,
        ) -> Block {
            let mut block = Block { first_record, ..Block::default() };
            for (time, record, context, network, touches) in rows {
                block.times.push(time);
                block.records.push(record);
                block.contexts.push(context);
                block.networks.push(network);
                block.counts.push(u32::try_from(touches.len()).unwrap());
                block.ordinals.extend(touches.iter().map(|(ordinal, _)| ordinal));
                block.sets.extend(touches.iter().map(|(_, set)| set));
            }
            block
        }
    }

    proptest! {
        #[test]
        fn blocks_survive_the_disk(block in blocks()) {
            let mut bytes = Vec::new();
            block.encode(&mut bytes);
            let (rows, touches) = (block.times.len(), block.ordinals.len());
            let mut read = Block::default();
            read.decode(&bytes, u32::try_from(rows).unwrap(), u32::try_from(touches).unwrap()).unwrap();
            prop_assert_eq!(read, block);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, rows in 0_u32..100, touches in 0_u32..100) {
            let _ = Block::default().decode(&bytes, rows, touches);
        }
    }
}
