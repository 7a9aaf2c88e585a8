//! The replaying auditor (`portcullis verify --full LOG`): reads a whole log and checks what no bundle can show, that every
//! entry is on exactly one chain and that the sums in every heads record are true.

use crate::checkpoint::Checkpoint;
use crate::record::{Chain, Header, StoredRecord};
use crate::sequencer::{Corrupt, Sequencer, TreeHead};
use crate::thinning::Thinning;
use model::UnixMicros;
use std::borrow::Borrow;
use thiserror::Error;

/// A log that is not what its checkpoint signs, or that lies about itself. Each variant names the lie.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadLog {
    /// A record is damaged, out of its chain, or a heads record is wrong.
    #[error("the log does not hold")]
    Corrupt(#[source] Corrupt),
    /// A record was taken out: no later one has its place.
    #[error(
        "record `{sequence}` of chain `{chain}` was dropped before record `{index}` of the log"
    )]
    Dropped {
        /// Where the gap shows.
        index: u64,
        /// The chain.
        chain: Chain,
        /// The missing sequence number.
        sequence: u64,
    },
    /// A record was taken out of a chain that has no later one: a heads record counts it.
    #[error("a record was dropped before heads record `{index}`")]
    DroppedBefore {
        /// Where a heads record counts more.
        index: u64,
    },
    /// A record stands later than its place on its chain, or than its time.
    #[error("a record was moved across record `{index}` of the log")]
    Swapped {
        /// Where it shows.
        index: u64,
    },
    /// The log ends before its checkpoint.
    #[error("the log has `{found}` records of `{wanted}`")]
    Truncated {
        /// How many there are.
        found: u64,
        /// How many the checkpoint has.
        wanted: u64,
    },
    /// A record has lost its body and touches, and the log does not say that retention took them.
    #[error("record `{index}` has lost its body, and no record says that retention took it")]
    Unannounced {
        /// Where.
        index: u64,
    },
    /// The log is consistent in itself, but is not the one that the checkpoint signs.
    #[error("the log is not the one that the checkpoint signs")]
    OtherTree,
}

/// What the auditor saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The tree, which is the checkpoint's.
    pub tree: TreeHead,
    /// How many chains.
    pub chains: u64,
    /// What retention took; none if every record is whole.
    pub thinned: Option<Thinned>,
}

/// Records of which only the entry is left, as the log itself says. What was in their bodies and touches is not replayed: it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thinned {
    /// How many.
    pub records: u64,
    /// Index of the first.
    pub first: u64,
    /// Index of the last; every record behind it is whole.
    pub last: u64,
    /// Time of the last.
    pub until: UnixMicros,
}

/// Replays a log from its first record up to a checkpoint. Records beyond the checkpoint are not read.
///
/// Of records that retention thinned, entry, place and time are checked; each has to be announced by a later one.
///
/// # Errors
/// [`BadLog`]: whoever keeps the log is at fault.
pub fn verify_full<R: Borrow<StoredRecord>>(
    log: impl IntoIterator<Item = R>,
    checkpoint: &Checkpoint,
) -> Result<Audited, BadLog> {
    let wanted = checkpoint.tree.size;
    let mut sequencer = Sequencer::begin(&checkpoint.origin);
    let mut log = log.into_iter();
    let mut thinned: Option<Thinned> = None;
    // Thinnings are of whole segments, from the first record on, so that one number says how far.
    let mut announced = 0;
    while sequencer.size() < wanted {
        let Some(stored) = log.next() else {
            return Err(BadLog::Truncated { found: sequencer.size(), wanted });
        };
        let (index, stored) = (sequencer.size(), stored.borrow());
        if let Err(corrupt) = sequencer.replay_kept(stored) {
            return Err(name(corrupt, log));
        }
        if stored.is_thinned() {
            let until = sequencer.time();
            let all =
                thinned.get_or_insert(Thinned { records: 0, first: index, last: index, until });
            *all = Thinned { records: all.records + 1, last: index, until, ..*all };
        } else if let Some(thinning) = Thinning::announced(index, stored) {
            announced = announced.max(thinning.last + 1);
        }
    }
    let tree = sequencer.tree();
    if tree != checkpoint.tree {
        return Err(BadLog::OtherTree);
    }
    if let Some(Thinned { last, .. }) = thinned.filter(|thinned| thinned.last >= announced) {
        return Err(BadLog::Unannounced { index: last });
    }
    Ok(Audited { tree, chains: sequencer.head_map().body().chains, thinned })
}

/// Looks at the rest of the log to tell a record that was moved from one that was dropped.
fn name<R: Borrow<StoredRecord>>(corrupt: Corrupt, rest: impl Iterator<Item = R>) -> BadLog {
    match corrupt {
        Corrupt::Skipped { index, chain, wanted } => {
            let mut headers = rest.filter_map(|stored| Header::decode(&stored.borrow().entry).ok());
            if headers.any(|header| header.chain == chain && header.sequence == wanted) {
                BadLog::Swapped { index }
            } else {
                BadLog::Dropped { index, chain, sequence: wanted }
            }
        }
        Corrupt::TimeBack { index } => BadLog::Swapped { index },
        Corrupt::HeadsCount { index, counted } if counted > index => {
            BadLog::DroppedBefore { index }
        }
        other @ (Corrupt::Malformed { .. }
        | Corrupt::Changed { .. }
        | Corrupt::Repeated { .. }
        | Corrupt::Unlinked { .. }
        | Corrupt::HeadsCount { .. }
        | Corrupt::HeadsRoot { .. }) => BadLog::Corrupt(other),
    }
}
