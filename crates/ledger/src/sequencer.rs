//! The one place where a record gets its index, its place on its chain, its time and its salt.
//!
//! Pure: the same drafts, times and salts give the same log. Calling order: [`Sequencer::begin`], then
//! [`Sequencer::replay`] for every record already stored, then [`Sequencer::append`] or [`Sequencer::place`], and
//! [`Sequencer::heads`].

use crate::domain;
use crate::heads::HeadMap;
use crate::merkle;
use crate::prepared::Prepared;
use crate::record::{Body, Chain, Draft, Header, Malformed, Record, StoredRecord, body, touches};
use crate::state::State;
use model::{Digest, RequestId, UnixMicros};
use thiserror::Error;

/// Size and root of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// How many records.
    pub size: u64,
    /// RFC 6962 root over their entries.
    pub root: Digest,
}

impl TreeHead {
    /// Of a log without records.
    pub const EMPTY: Self = Self { size: 0, root: merkle::EMPTY_ROOT };
}

/// A record with its place in the log, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Its index in the log.
    pub index: u64,
    /// When, as recorded.
    pub time: UnixMicros,
    /// The request it is about, if it is an access, attempt or refusal.
    pub request: Option<RequestId>,
    /// The record salt it was given.
    pub salt: [u8; 16],
    /// Leaf hash of the entry.
    pub leaf_hash: Digest,
    /// Root over its touches; the empty tree's if it has none.
    pub touches_root: Digest,
    /// What to store.
    pub stored: StoredRecord,
}

/// A stored record that is not the next one of this log. The log is damaged or was changed: stop serving.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Corrupt {
    /// Not of the format.
    #[error("record `{index}` is not of the format")]
    Malformed {
        /// Where.
        index: u64,
        /// How.
        source: Malformed,
    },
    /// Body, touches or class mask are not those that the header commits to.
    #[error("{part} of record `{index}` changed after it was written")]
    Changed {
        /// Where.
        index: u64,
        /// Which part.
        part: &'static str,
    },
    /// Its place on its chain is taken.
    #[error(
        "record `{index}` is a second one with sequence number `{sequence}` on chain `{chain}`"
    )]
    Repeated {
        /// Where.
        index: u64,
        /// Its chain.
        chain: Chain,
        /// Its sequence number.
        sequence: u64,
    },
    /// Records of its chain before it are missing.
    #[error("chain `{chain}` has no record `{wanted}` before record `{index}` of the log")]
    Skipped {
        /// Where.
        index: u64,
        /// Its chain.
        chain: Chain,
        /// The sequence number that should have come.
        wanted: u64,
    },
    /// It follows another record than the one before it on its chain: that one changed, or this is of another log.
    #[error("record `{index}` does not follow the one before it on chain `{chain}`")]
    Unlinked {
        /// Where.
        index: u64,
        /// Its chain.
        chain: Chain,
    },
    /// Its time is before that of the record before it.
    #[error("time goes back at record `{index}`")]
    TimeBack {
        /// Where.
        index: u64,
    },
    /// A heads record that speaks of another number of records than are before it.
    #[error("heads record `{index}` counts `{counted}` records before it")]
    HeadsCount {
        /// Where.
        index: u64,
        /// What it counts.
        counted: u64,
    },
    /// A heads record whose chains are not those of the log: a record was left off its chain.
    #[error("heads record `{index}` leaves a record off its chain")]
    HeadsRoot {
        /// Where.
        index: u64,
    },
}

/// The state of a log that its next record depends on.
#[derive(Clone, Debug)]
pub struct Sequencer {
    origin: String,
    state: State,
    // Holds the leaf prefix and the entry side by side, so that they are hashed in one run.
    scratch: Vec<u8>,
}

impl Sequencer {
    /// An empty log. `origin`: its name on checkpoints, `<deployment>/<node>/<generation>`.
    pub fn begin(origin: &str) -> Self {
        Self::resume(origin, State::begin())
    }

    /// A log that goes on from `state`, which is believed: only a heads record shows whether it was right.
    pub fn resume(origin: &str, state: State) -> Self {
        Self { origin: origin.to_owned(), state, scratch: Vec::with_capacity(1024) }
    }

    /// Where the log stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The log's name on checkpoints.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Size and root of everything sequenced so far.
    pub fn tree(&self) -> TreeHead {
        TreeHead { size: self.size(), root: self.state.frontier.root() }
    }

    /// How many records were sequenced so far: the next one's index.
    pub const fn size(&self) -> u64 {
        self.state.size()
    }

    /// Time of the last record.
    pub const fn time(&self) -> UnixMicros {
        self.state.time
    }

    /// The heads of all chains, as the next heads record will have them.
    pub fn head_map(&self) -> HeadMap {
        self.state.head_map()
    }

    /// Gives `draft` its place: [`Prepared::new`] and [`Sequencer::place`] in one.
    ///
    /// # Panics
    /// As [`Prepared::new`].
    pub fn append(&mut self, draft: &Draft, now: UnixMicros, salt: [u8; 16]) -> Sequenced {
        self.place(Prepared::new(draft, salt), now)
    }

    /// Sequences a heads record over everything before it. To be the last record under every checkpoint.
    pub fn heads(&mut self, now: UnixMicros, salt: [u8; 16]) -> Sequenced {
        let heads = self.head_map().body();
        assert_eq!(heads.size, self.size(), "a record is on no chain");
        self.place(Prepared::heads(&heads, salt), now)
    }

    /// Gives a prepared record its place: what has to be done one record after another.
    pub fn place(&mut self, prepared: Prepared, now: UnixMicros) -> Sequenced {
        let Prepared { kind, chain, classes, network, request, salt, .. } = prepared;
        let Prepared { body, body_hash, touches, touches_root, .. } = prepared;
        let (sequence, previous) =
            self.state.chains.get(&chain).map_or((0, [0; 32]), |head| (head.count, head.leaf));
        let time = self.time().max(now);
        let header =
            Header { kind, chain, sequence, previous, time, classes, network, body: body_hash };
        self.scratch.clear();
        self.scratch.push(merkle::LEAF_PREFIX);
        header.encode(&mut self.scratch);
        let leaf_hash = domain::sha256(&self.scratch);
        let entry = self.scratch.get(1..).unwrap_or_default().to_vec();

        let index = self.size();
        self.state.take_in(&header, leaf_hash);
        let stored = StoredRecord { entry, body, touches };
        Sequenced { index, time, request, salt, leaf_hash, touches_root, stored }
    }

    /// Takes in a record that is already stored, checking that it is the next one.
    ///
    /// # Errors
    /// [`Corrupt`]; the sequencer is then as it was before.
    pub fn replay(&mut self, stored: &StoredRecord) -> Result<(), Corrupt> {
        let index = self.size();
        let malformed = |source| Corrupt::Malformed { index, source };
        let changed = |part| Corrupt::Changed { index, part };
        let header = self.state.follows(&stored.entry)?;
        let opened = open(&header, &stored.body, &stored.touches).map_err(|bad| match bad {
            NotThisRecord::Malformed(source) => malformed(source),
            NotThisRecord::Changed(part) => changed(part),
        })?;
        if let Body::Heads(heads) = opened.body {
            if heads.size != index {
                return Err(Corrupt::HeadsCount { index, counted: heads.size });
            }
            if heads != self.head_map().body() {
                return Err(Corrupt::HeadsRoot { index });
            }
        }
        self.state.take_in(&header, stored.leaf_hash());
        Ok(())
    }

    /// As [`Sequencer::replay`], of a log whose older records retention may have thinned. Of those that were, place, link and time are
    /// checked and nothing else is left. Whether the log says that they were is for the caller to see: [`crate::Thinning::announced`].
    ///
    /// # Errors
    /// [`Corrupt`]; [`Corrupt::Changed`] of a record without body that retention never thins.
    pub fn replay_kept(&mut self, stored: &StoredRecord) -> Result<(), Corrupt> {
        if !stored.is_thinned() {
            return self.replay(stored);
        }
        let header = self.state.follows(&stored.entry)?;
        if header.network.is_none() || !stored.touches.is_empty() {
            return Err(Corrupt::Changed { index: self.size(), part: "body" });
        }
        self.state.take_in(&header, stored.leaf_hash());
        Ok(())
    }

    /// Takes in an entry without its body, which is all that readers of the log's files see: place, link and time are checked, what
    /// the body says is not.
    ///
    /// # Errors
    /// [`Corrupt`]; the sequencer is then as it was before.
    pub fn replay_entry(&mut self, entry: &[u8]) -> Result<Header, Corrupt> {
        let header = self.state.follows(entry)?;
        self.state.take_in(&header, merkle::leaf_hash(entry));
        Ok(header)
    }
}

impl StoredRecord {
    /// Reads a record of somebody else's log, of which only the entry is known to be there: body and touches are checked against it.
    /// `index`: its place in the log, for the error.
    ///
    /// # Errors
    /// [`Corrupt::Malformed`], [`Corrupt::Changed`].
    pub fn open(&self, index: u64) -> Result<Record, Corrupt> {
        let malformed = |source| Corrupt::Malformed { index, source };
        let header = Header::decode(&self.entry).map_err(malformed)?;
        let opened = open(&header, &self.body, &self.touches).map_err(|why| match why {
            NotThisRecord::Malformed(source) => malformed(source),
            NotThisRecord::Changed(part) => Corrupt::Changed { index, part },
        })?;
        let Opened { body, touches } = opened;
        Ok(Record { leaf: self.leaf_hash(), header, body, touches })
    }
}

/// Why three byte strings are not one record.
pub(crate) enum NotThisRecord {
    Malformed(Malformed),
    Changed(&'static str),
}

/// Body and touches that are proved to be a header's.
pub(crate) struct Opened {
    pub(crate) body: Body,
    pub(crate) touches: Vec<model::Touch>,
}

/// Checks body and touches against what the header commits to.
pub(crate) fn open(header: &Header, body: &[u8], touches: &[u8]) -> Result<Opened, NotThisRecord> {
    let changed = |part| Err(NotThisRecord::Changed(part));
    let Facts { body, root, count } = open_body(header, body)?;
    let (salt, touches) = touches::decode(touches).map_err(NotThisRecord::Malformed)?;
    if touches.len() as u64 != count || touches::root(&touches, &salt) != root {
        return changed("touches");
    }
    let classes = touches.iter().fold(model::ClassSet::EMPTY, |all, t| all.union(&t.classes));
    if classes != header.classes {
        return changed("class mask");
    }
    Ok(Opened { body, touches })
}

/// A body that is proved to be a header's, and what it says of its touches.
pub(crate) struct Facts {
    pub(crate) body: Body,
    pub(crate) root: Digest,
    pub(crate) count: u64,
}

/// Checks a body against what the header commits to.
pub(crate) fn open_body(header: &Header, body: &[u8]) -> Result<Facts, NotThisRecord> {
    let changed = |part| Err(NotThisRecord::Changed(part));
    if body::hash(body) != header.body {
        return changed("body");
    }
    let body = Body::decode(body).map_err(NotThisRecord::Malformed)?;
    if body.kind() != header.kind {
        return changed("kind");
    }
    let (root, count, network) = match &body {
        Body::Access(body) => (
            body.touches_root,
            body.touches,
            Some(body::network_commitment(body.network, &body.network_opening)),
        ),
        Body::UnauthenticatedRefusals { network, network_opening, .. } => {
            (merkle::EMPTY_ROOT, 0, Some(body::network_commitment(*network, network_opening)))
        }
        Body::NotReleased { .. }
        | Body::Posture { .. }
        | Body::OperatorAction { .. }
        | Body::Vetting { .. }
        | Body::Node(_)
        | Body::Heads(_) => (merkle::EMPTY_ROOT, 0, None),
    };
    if network != header.network {
        return changed("network");
    }
    Ok(Facts { body, root, count })
}
