//! The reference of [`super::build`], for tests: takes every record of the log from the first, keeps every leaf, believes nothing.

use super::count::count;
use super::{Bundle, CannotProve, Facts, HeadsAt, Level, Question, Run, Shown, TAKEN_BACK_WITHIN};
use crate::checkpoint::{self, Checkpoint};
use crate::heads::{HeadMap, HeadProof};
use crate::merkle::Tree;
use crate::note::VerifyingKey;
use crate::record::{Body, Chain, Header, Kind, Malformed, StoredRecord};
use crate::sequencer::{Corrupt, Sequencer};
use model::{Digest, UnixMicros};
use std::collections::BTreeMap;

/// Takes a log's records in order and keeps what a question's bundle needs: every leaf hash, and the records in scope.
///
/// Calling order: [`Builder::new`], [`Builder::push`] for every record from the log's first, [`Builder::finish`].
#[derive(Debug)]
pub(crate) struct Builder {
    question: Question,
    note: String,
    checkpoint: Checkpoint,
    sequencer: Sequencer,
    leaves: Vec<Digest>,
    lower: Option<Bound>,
    upper: Option<Bound>,
    runs: BTreeMap<Chain, Vec<Shown>>,
}

#[derive(Debug)]
struct Bound {
    index: u64,
    time: UnixMicros,
    stored: StoredRecord,
    map: HeadMap,
    // How much of each run lies before it.
    lengths: BTreeMap<Chain, usize>,
}

impl Builder {
    /// Starts on a log under a checkpoint.
    ///
    /// # Errors
    /// [`CannotProve::Checkpoint`].
    pub(crate) fn new(
        question: Question,
        note: &str,
        keys: &[VerifyingKey],
    ) -> Result<Self, CannotProve> {
        let checkpoint = checkpoint::open(note, keys).map_err(CannotProve::Checkpoint)?;
        Ok(Self {
            question,
            note: note.to_owned(),
            sequencer: Sequencer::begin(&checkpoint.origin),
            checkpoint,
            leaves: Vec::new(),
            lower: None,
            upper: None,
            runs: BTreeMap::new(),
        })
    }

    /// Takes the log's next record. Records beyond the checkpoint are passed over.
    ///
    /// # Errors
    /// [`CannotProve::Corrupt`]
    pub(crate) fn push(&mut self, stored: &StoredRecord) -> Result<(), CannotProve> {
        let index = self.sequencer.size();
        if index >= self.checkpoint.tree.size {
            return Ok(());
        }
        let header = Header::decode(&stored.entry).map_err(|source| at(index, source))?;
        if header.kind == Kind::Heads {
            self.bound(index, &header, stored);
        }
        self.sequencer.replay(stored).map_err(CannotProve::Corrupt)?;
        self.leaves.push(stored.leaf_hash());
        if self.question.covers(&header.chain) && !self.upper_is_final() {
            let facts = self.facts(&header, stored).map_err(|source| at(index, source))?;
            let shown = Shown { entry: stored.entry.clone(), facts };
            self.runs.entry(header.chain).or_default().push(shown);
        }
        Ok(())
    }

    /// The bundle's bytes.
    ///
    /// # Errors
    /// [`CannotProve::OtherTree`] if the records are not those of the checkpoint; [`CannotProve::NotYet`].
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, CannotProve> {
        if self.sequencer.tree() != self.checkpoint.tree {
            return Err(CannotProve::OtherTree);
        }
        let upper = self.upper.take().ok_or(CannotProve::NotYet)?;
        let lower = self.lower.take();
        let chains: Vec<Chain> = match &self.question.integrations {
            Some(ids) => ids.iter().map(|id| Chain::Integration(*id)).collect(),
            None => upper.map.chains().filter(|chain| **chain != Chain::System).copied().collect(),
        };
        let mut runs = Vec::with_capacity(chains.len());
        for chain in chains {
            let mut shown = self.runs.remove(&chain).unwrap_or_default();
            shown.truncate(upper.lengths.get(&chain).copied().unwrap_or(0));
            let before = lower.as_ref().map(|bound| bound.map.prove(&chain));
            runs.push(Run { chain, lower: before, upper: upper.map.prove(&chain), shown });
        }
        let system = match (&self.question.integrations, upper.map.prove(&Chain::System)) {
            (None, HeadProof::Present(place)) => Some(place),
            (None, HeadProof::Absent { .. }) | (Some(_), _) => None,
        };
        let counted = count(&self.question, None, &runs).map_err(|_| CannotProve::OtherTree)?;
        let answer = counted.answer(&self.question);
        let tree = Tree::new(self.leaves);
        let heads_at = |bound: Bound| HeadsAt {
            index: bound.index,
            path: tree.inclusion(bound.index).unwrap_or_default(),
            entry: bound.stored.entry,
            body: bound.stored.body,
        };
        let (lower, upper) = (lower.map(heads_at), heads_at(upper));
        let (checkpoint, question) = (self.note, self.question);
        let (level, vendor, seal) = (Level::OperatorAsserted, None, None);
        let bundle = Bundle {
            level,
            checkpoint,
            question,
            lower,
            upper,
            system,
            runs,
            answer,
            vendor,
            seal,
        };
        Ok(bundle.encode())
    }

    /// Takes a heads record as a bound of the window if it is a better one than the last.
    fn bound(&mut self, index: u64, header: &Header, stored: &StoredRecord) {
        let before = header.time < self.question.from;
        let after = header.time >= self.question.to && !self.upper_is_final();
        if !before && !after {
            return;
        }
        let bound = Bound {
            index,
            time: header.time,
            stored: stored.clone(),
            map: self.sequencer.head_map(),
            lengths: self.runs.iter().map(|(chain, run)| (*chain, run.len())).collect(),
        };
        if before {
            self.runs.clear();
            self.lower = Some(bound);
        } else {
            self.upper = Some(bound);
        }
    }

    fn upper_is_final(&self) -> bool {
        let enough = self.question.to + TAKEN_BACK_WITHIN;
        self.upper.as_ref().is_some_and(|bound| bound.time >= enough)
    }

    fn facts(&self, header: &Header, stored: &StoredRecord) -> Result<Option<Facts>, Malformed> {
        let whole = || Facts::Whole { body: stored.body.clone(), touches: stored.touches.clone() };
        if header.kind == Kind::NotReleased {
            return Ok(Some(whole()));
        }
        if !self.question.may_count(header.kind, header.time, &header.classes) {
            return Ok(None);
        }
        let Body::Access(body) = Body::decode(&stored.body)? else { return Ok(None) };
        if self.question.has_network(body.network) {
            Ok(Some(whole()))
        } else {
            Ok(Some(Facts::Network(body.network, body.network_opening)))
        }
    }
}

const fn at(index: u64, source: Malformed) -> CannotProve {
    CannotProve::Corrupt(Corrupt::Malformed { index, source })
}
