//! The state of a log between two records: all that the next one depends on, and nothing of those before it.
//!
//! Derived data. Kept beside the segments so that a reader need not begin at the first record; whoever starts from one holds it
//! against the next heads record, whose body has the root over these chains.

use crate::domain;
use crate::heads::{Head, HeadMap};
use crate::merkle::Frontier;
use crate::record::wire::{Reader, Write as _};
use crate::record::{Chain, Header, Kind};
use crate::sequencer::Corrupt;
use model::{Digest, UnixMicros};
use std::collections::BTreeMap;

const SCHEMA: &str = "portcullis.state/1";

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) frontier: Frontier,
    pub(crate) chains: BTreeMap<Chain, Head>,
    pub(crate) time: UnixMicros,
    pub(crate) heads: Option<u64>,
}

impl State {
    /// An empty log's.
    pub fn begin() -> Self {
        let (frontier, chains) = (Frontier::default(), BTreeMap::new());
        Self { frontier, chains, time: UnixMicros(0), heads: None }
    }

    /// How many records there are.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Time of the last record.
    pub const fn time(&self) -> UnixMicros {
        self.time
    }

    /// Index of the last heads record; none before the first.
    pub const fn heads(&self) -> Option<u64> {
        self.heads
    }

    /// The heads of all chains, as the next heads record will have them.
    pub fn head_map(&self) -> HeadMap {
        HeadMap::new(&self.chains)
    }

    /// Reads an entry that is the next one of its chain and of the log.
    ///
    /// # Errors
    /// [`Corrupt`] names how it is not.
    pub(crate) fn follows(&self, entry: &[u8]) -> Result<Header, Corrupt> {
        let index = self.size();
        let header =
            Header::decode(entry).map_err(|source| Corrupt::Malformed { index, source })?;
        let chain = header.chain;
        let (wanted, previous) =
            self.chains.get(&chain).map_or((0, [0; 32]), |head| (head.count, head.leaf));
        if header.sequence < wanted {
            return Err(Corrupt::Repeated { index, chain, sequence: header.sequence });
        }
        if header.sequence > wanted {
            return Err(Corrupt::Skipped { index, chain, wanted });
        }
        if header.previous != previous {
            return Err(Corrupt::Unlinked { index, chain });
        }
        if header.time < self.time {
            return Err(Corrupt::TimeBack { index });
        }
        Ok(header)
    }

    /// Goes on by one record, which is not checked: its place was given or checked before.
    pub fn take_in(&mut self, header: &Header, leaf: Digest) {
        if header.kind == Kind::Heads {
            self.heads = Some(self.size());
        }
        let head = self.chains.entry(header.chain).or_insert(Head { count: 0, leaf });
        head.count += 1;
        head.leaf = leaf;
        self.frontier.push(leaf);
        self.time = header.time;
    }

    /// The bytes of a state, as `docs/segment-format.md` has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.map(6);
        out.uint(0);
        out.text(SCHEMA);
        out.uint(1);
        out.uint(self.size());
        out.uint(2);
        out.array(self.frontier.hashes().len());
        self.frontier.hashes().iter().for_each(|hash| out.bytes(hash));
        out.uint(3);
        out.uint(self.time.0);
        out.uint(4);
        match self.heads {
            Some(index) => out.uint(index),
            None => out.null(),
        }
        out.uint(5);
        out.array(self.chains.len());
        for (chain, head) in &self.chains {
            out.array(3);
            out.bytes(chain.as_bytes());
            out.uint(head.count);
            out.bytes(&head.leaf);
        }
        let checksum = domain::sha256(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads what [`State::to_bytes`] wrote; `None` if it is damaged, of another version, or no state of any log.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<32>()?;
        if domain::sha256(content) != *checksum {
            return None;
        }
        let mut reader = Reader::new(content);
        reader.map(6).ok()?;
        reader.key(0).ok()?;
        if reader.text().ok()? != SCHEMA {
            return None;
        }
        reader.key(1).ok()?;
        let size = reader.uint().ok()?;
        reader.key(2).ok()?;
        let hashes: Option<Vec<Digest>> =
            (0..reader.array().ok()?).map(|_| reader.fixed().ok()).collect();
        let frontier = Frontier::from_parts(size, hashes?)?;
        reader.key(3).ok()?;
        let time = UnixMicros(reader.uint().ok()?);
        reader.key(4).ok()?;
        let heads = reader.optional(Reader::uint).ok()?;
        reader.key(5).ok()?;
        let mut chains = BTreeMap::new();
        let mut counted = 0_u64;
        for _ in 0..reader.array().ok()? {
            if reader.array().ok()? != 3 {
                return None;
            }
            let chain = Chain::from_bytes(reader.bytes().ok()?).ok()?;
            let head = Head { count: reader.uint().ok()?, leaf: reader.fixed().ok()? };
            counted = counted.checked_add(head.count)?;
            chains.insert(chain, head);
        }
        reader.end().ok()?;
        let holds = counted == size && heads.is_none_or(|index| index < size);
        holds.then_some(Self { frontier, chains, time, heads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::sequencer::Sequencer;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_log_goes_on_from_its_state_as_from_its_records(steps in sample::steps(), at: prop::sample::Index) {
            let log = sample::log(&steps);
            let at = at.index(log.records.len());
            let mut whole = Sequencer::begin(sample::ORIGIN);
            let mut state = State::begin();
            for record in &log.records[..at] {
                whole.replay(record).unwrap();
                state.take_in(&Header::decode(&record.entry).unwrap(), record.leaf_hash());
            }
            let read = State::from_bytes(&state.to_bytes()).unwrap();
            prop_assert_eq!(&read, whole.state());
            let mut resumed = Sequencer::resume(sample::ORIGIN, read);
            for record in &log.records[at..] {
                whole.replay(record).unwrap();
                resumed.replay(record).unwrap();
            }
            prop_assert_eq!(resumed.state(), whole.state());
        }

        #[test]
        fn a_damaged_state_is_no_state(steps in sample::steps(), at: prop::sample::Index, bit in 0..8) {
            let mut state = State::begin();
            for record in &sample::log(&steps).records {
                state.take_in(&Header::decode(&record.entry).unwrap(), record.leaf_hash());
            }
            let mut bytes = state.to_bytes();
            let cut = at.index(bytes.len());
            prop_assert_eq!(State::from_bytes(&bytes[..cut]), None);
            bytes[cut] ^= 1_u8 << bit;
            prop_assert_eq!(State::from_bytes(&bytes), None);
        }
    }
}
