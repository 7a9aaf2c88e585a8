//! Makes a bundle from the part of a log that its window needs. Checks on the way what it reads: what does not verify is not
//! handed out as evidence.
//!
//! It begins at a stored [`State`] before the window, which it believes only as far as the next heads record confirms it, and has the
//! proofs that the bounds are in the log from whoever reads the log's tiles.

use super::count::count;
use super::sealed::Position;
use super::verify::BadEvidence;
use super::{
    Bundle, Facts, HeadsAt, Level, Opening, Question, Recipient, Run, Seal, Shown,
    TAKEN_BACK_WITHIN,
};
use crate::checkpoint::{self, BadCheckpoint, Checkpoint};
use crate::heads::{Head, HeadMap, HeadProof};
use crate::merkle;
use crate::note::VerifyingKey;
use crate::record::{Body, Chain, Header, Kind, Malformed, NodeEvent, StoredRecord};
use crate::sequencer::Corrupt;
use crate::state::State;
use model::{Digest, UnixMicros, VendorId};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why there is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotProve {
    /// The checkpoint is not of the given keys. The caller is at fault.
    #[error("the checkpoint does not hold")]
    Checkpoint(#[source] BadCheckpoint),
    /// The log, or the state that it was read from, is damaged. From [`State::begin`] it is the log: stop serving.
    #[error("the log is damaged")]
    Corrupt(#[source] Corrupt),
    /// The log is not the one that the checkpoint signs: stop serving.
    #[error("the log is not the one that the checkpoint signs")]
    OtherTree,
    /// No heads record at or after the window's end is under the checkpoint. Wait for the next one.
    #[error("the window reaches beyond the checkpoint")]
    NotYet,
    /// An integration asked for as a vendor's has read as another's. Ask for the integrations by name.
    #[error("record `{sequence}` of chain `{chain}` is of another vendor")]
    OtherVendor {
        /// The chain.
        chain: Chain,
        /// Where.
        sequence: u64,
    },
    /// Which touches have a class cannot be proved while they are sealed.
    #[error("a bundle that is sealed to a recipient cannot be asked for by class")]
    SealedByClass,
    /// The window reaches to before a log that took the place of another, whose end was lost. Ask from later on.
    #[error(
        "`{origin}` began at {since}, when the end of the log's generation before was lost: it cannot prove what was read until then. Ask for a window from a later time on"
    )]
    BeforeGeneration {
        /// The log.
        origin: String,
        /// Time of its first record.
        since: UnixMicros,
    },
    /// The window needs a record of which only the entry is left. Ask for a window from later on.
    #[error(
        "the record of {at} was thinned by retention: what was read then is gone, and cannot be shown. Ask for a window from a later time on"
    )]
    Thinned {
        /// Time of the first record that would have to be shown.
        at: UnixMicros,
    },
    /// There is nothing to open in a bundle that is not sealed.
    #[error("only a bundle that is sealed to a recipient has touches to open")]
    NotSealed,
}

/// How a bundle is to be written.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// The vendor whose the integrations asked for are said to be; each record that counts must say so too.
    pub vendor: Option<VendorId>,
    /// For whom touches are sealed; `None` shows the pseudonyms that the log has.
    pub recipient: Option<Recipient>,
    /// What the bundle claims to be. Claim [`Level::AuditorCosigned`] only with a checkpoint that an auditor has cosigned.
    pub level: Level,
}

/// Takes a log's records in order and keeps what a question's bundle needs: the records in scope.
///
/// Calling order: [`Builder::new`], [`Builder::push`] for every record from the state's place on until it says that it has enough,
/// [`Builder::finish`].
#[derive(Debug)]
pub struct Builder {
    question: Question,
    form: Form,
    note: String,
    checkpoint: Checkpoint,
    // Where reading began.
    began: u64,
    state: State,
    lower: Option<Bound>,
    upper: Option<Bound>,
    runs: BTreeMap<Chain, Vec<Shown>>,
}

#[derive(Debug)]
struct Bound {
    index: u64,
    time: UnixMicros,
    leaf: Digest,
    stored: StoredRecord,
    chains: BTreeMap<Chain, Head>,
    // How much of each run lies before it.
    lengths: BTreeMap<Chain, usize>,
}

impl Builder {
    /// Starts at `from`, which must be before the window's lower heads record, or [`State::begin`].
    ///
    /// # Errors
    /// [`CannotProve::Checkpoint`]; [`CannotProve::SealedByClass`].
    pub fn new(
        question: Question,
        form: Form,
        note: &str,
        keys: &[VerifyingKey],
        from: State,
    ) -> Result<Self, CannotProve> {
        if form.recipient.is_some() && question.classes.is_some() {
            return Err(CannotProve::SealedByClass);
        }
        let checkpoint = checkpoint::open(note, keys).map_err(CannotProve::Checkpoint)?;
        Ok(Self {
            question,
            form,
            note: note.to_owned(),
            checkpoint,
            began: from.size(),
            state: from,
            lower: None,
            upper: None,
            runs: BTreeMap::new(),
        })
    }

    /// The tree that the bundle is proved under.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Takes the log's next record. Returns whether the one after it is needed too.
    ///
    /// # Errors
    /// [`CannotProve::Corrupt`], [`CannotProve::BeforeGeneration`], [`CannotProve::Thinned`]
    pub fn push(&mut self, stored: &StoredRecord) -> Result<bool, CannotProve> {
        if self.state.size() >= self.checkpoint.tree.size || self.upper_is_final() {
            return Ok(false);
        }
        let index = self.state.size();
        let header = self.state.follows(&stored.entry).map_err(CannotProve::Corrupt)?;
        if index == 0 && self.question.from <= header.time && names_a_lost_end(&header, stored)? {
            let (origin, since) = (self.checkpoint.origin.clone(), header.time);
            return Err(CannotProve::BeforeGeneration { origin, since });
        }
        let leaf = stored.leaf_hash();
        if header.kind == Kind::Heads {
            self.bound(&header, leaf, stored);
        }
        self.state.take_in(&header, leaf);
        if self.upper_is_final() {
            return Ok(false);
        }
        if self.question.covers(&header.chain) {
            let thinned = || CannotProve::Thinned { at: header.time };
            let facts = self.facts(&header, stored).map_err(|source| {
                if source == Malformed::Thinned { thinned() } else { at(index, source) }
            })?;
            let shown = Shown { entry: stored.entry.clone(), facts };
            self.runs.entry(header.chain).or_default().push(shown);
        }
        Ok(self.state.size() < self.checkpoint.tree.size)
    }

    /// The bundle's bytes.
    ///
    /// `path`: the inclusion path of an index under [`Builder::checkpoint`], from the log's tiles; `None` if they do not give it.
    ///
    /// # Errors
    /// [`CannotProve::Corrupt`], [`CannotProve::OtherTree`], [`CannotProve::NotYet`], [`CannotProve::OtherVendor`].
    pub fn finish(
        mut self,
        mut path: impl FnMut(u64) -> Option<Vec<Digest>>,
    ) -> Result<Vec<u8>, CannotProve> {
        let upper = self.upper()?;
        let lower = self.lower.take();
        let upper_map = upper.map()?;
        let lower_map = lower.as_ref().map(Bound::map).transpose()?;
        let tree = self.checkpoint.tree;
        let mut heads_at = |bound: Bound| {
            let path = path(bound.index).ok_or(CannotProve::OtherTree)?;
            merkle::verify_inclusion(&bound.leaf, bound.index, tree.size, &path, &tree.root)
                .map_err(|_| CannotProve::OtherTree)?;
            let (entry, body) = (bound.stored.entry, bound.stored.body);
            Ok(HeadsAt { index: bound.index, entry, body, path })
        };
        let lengths = upper.lengths.clone();
        let (lower, upper) = (lower.map(&mut heads_at).transpose()?, heads_at(upper)?);

        let mut runs = Vec::new();
        for chain in self.chains(&upper_map) {
            let mut shown = self.runs.remove(&chain).unwrap_or_default();
            shown.truncate(lengths.get(&chain).copied().unwrap_or(0));
            let before = lower_map.as_ref().map(|map| map.prove(&chain));
            runs.push(Run { chain, lower: before, upper: upper_map.prove(&chain), shown });
        }
        let system = match (&self.question.integrations, upper_map.prove(&Chain::System)) {
            (None, HeadProof::Present(place)) => Some(place),
            (None, HeadProof::Absent { .. }) | (Some(_), _) => None,
        };
        let Self { question, form, note: checkpoint, .. } = self;
        let counted = count(&question, form.vendor, &runs).map_err(CannotProve::of)?;
        let (answer, seal) = match form.recipient {
            None => (counted.answer(&question), None),
            Some(recipient) => {
                let (answer, seal) = Seal::new(&recipient, &counted);
                super::sealed::seal(&mut runs).map_err(|source| at(0, source))?;
                (answer, Some(seal))
            }
        };
        drop(counted);
        let (level, vendor) = (form.level, form.vendor);
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

    /// Opens one touch of the sealed bundle that [`Builder::finish`] would make; `None` if nothing stands there.
    ///
    /// # Errors
    /// As [`Builder::finish`]; [`CannotProve::NotSealed`].
    pub fn open(mut self, position: Position) -> Result<Option<Opening>, CannotProve> {
        let recipient = self.form.recipient.take().ok_or(CannotProve::NotSealed)?;
        let upper_map = self.upper()?.map()?;
        let run = usize::try_from(position.run).ok();
        let chain = run.and_then(|run| self.chains(&upper_map).get(run).copied());
        let Some(shown) = chain.and_then(|chain| self.runs.remove(&chain)) else { return Ok(None) };
        let is_it = |shown: &&Shown| {
            Header::decode(&shown.entry).is_ok_and(|header| header.sequence == position.sequence)
        };
        let Some(Facts::Whole { touches, .. }) =
            shown.iter().find(is_it).and_then(|s| s.facts.as_ref())
        else {
            return Ok(None);
        };
        Opening::of(touches, position, &recipient).map_err(|source| at(0, source))
    }

    /// The later bound, once the earlier one is known too. A state lies before the earlier one, so that one without it is forged.
    fn upper(&mut self) -> Result<Bound, CannotProve> {
        let upper = self.upper.take().ok_or(CannotProve::NotYet)?;
        if self.began > 0 && self.lower.is_none() {
            return Err(CannotProve::Corrupt(Corrupt::HeadsRoot { index: self.began }));
        }
        Ok(upper)
    }

    /// The chains that have runs, in order.
    fn chains(&self, upper: &HeadMap) -> Vec<Chain> {
        match &self.question.integrations {
            Some(ids) => ids.iter().map(|id| Chain::Integration(*id)).collect(),
            None => upper.chains().filter(|chain| **chain != Chain::System).copied().collect(),
        }
    }

    /// Takes a heads record as a bound of the window if it is a better one than the last.
    fn bound(&mut self, header: &Header, leaf: Digest, stored: &StoredRecord) {
        let before = header.time < self.question.from;
        if !before && header.time < self.question.to {
            return;
        }
        let bound = Bound {
            index: self.state.size(),
            time: header.time,
            leaf,
            stored: stored.clone(),
            chains: self.state.chains.clone(),
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
        if stored.is_thinned() {
            return Err(Malformed::Thinned);
        }
        if self.question.networks.is_none() {
            return Ok(Some(whole()));
        }
        let Body::Access(body) = Body::decode(&stored.body)? else { return Ok(None) };
        if self.question.has_network(body.network) {
            Ok(Some(whole()))
        } else {
            Ok(Some(Facts::Network(body.network, body.network_opening)))
        }
    }
}

/// Whether a log's first record says that it goes on for another one, the end of which was lost.
fn names_a_lost_end(header: &Header, stored: &StoredRecord) -> Result<bool, CannotProve> {
    if header.kind != Kind::Node {
        return Ok(false);
    }
    if crate::record::body::hash(&stored.body) != header.body {
        return Err(CannotProve::Corrupt(Corrupt::Changed { index: 0, part: "body" }));
    }
    let body = Body::decode(&stored.body).map_err(|source| at(0, source))?;
    Ok(matches!(body, Body::Node(NodeEvent::Start { lost_checkpoint: Some(_) })))
}

impl Bound {
    /// The map that the heads record is over, which shows whether the state that reading began from was right.
    fn map(&self) -> Result<HeadMap, CannotProve> {
        let index = self.index;
        let header = Header::decode(&self.stored.entry).map_err(|source| at(index, source))?;
        if crate::record::body::hash(&self.stored.body) != header.body {
            return Err(CannotProve::Corrupt(Corrupt::Changed { index, part: "body" }));
        }
        let body = Body::decode(&self.stored.body).map_err(|source| at(index, source))?;
        let map = HeadMap::new(&self.chains);
        if body == Body::Heads(map.body()) && map.body().size == index {
            Ok(map)
        } else {
            Err(CannotProve::Corrupt(Corrupt::HeadsRoot { index }))
        }
    }
}

impl CannotProve {
    /// Why records that were read from the log do not count as they should.
    fn of(bad: BadEvidence) -> Self {
        match bad {
            BadEvidence::OtherVendor { chain, sequence } => Self::OtherVendor { chain, sequence },
            BadEvidence::Changed { sequence, part, .. } => {
                Self::Corrupt(Corrupt::Changed { index: sequence, part })
            }
            BadEvidence::Malformed(_)
            | BadEvidence::Checkpoint(_)
            | BadEvidence::NotInLog { .. }
            | BadEvidence::OffChain { .. }
            | BadEvidence::WindowNotEnclosed
            | BadEvidence::IntegrationLeftOut
            | BadEvidence::HeadNotProved(_)
            | BadEvidence::Dropped { .. }
            | BadEvidence::Truncated { .. }
            | BadEvidence::Repeated { .. }
            | BadEvidence::Swapped { .. }
            | BadEvidence::OtherLog { .. }
            | BadEvidence::TimeBack { .. }
            | BadEvidence::NotShown { .. }
            | BadEvidence::NotCosigned
            | BadEvidence::NotOpened
            | BadEvidence::OtherAnswer => Self::OtherTree,
        }
    }
}

const fn at(index: u64, source: Malformed) -> CannotProve {
    CannotProve::Corrupt(Corrupt::Malformed { index, source })
}
