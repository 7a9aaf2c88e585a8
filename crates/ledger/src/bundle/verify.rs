//! Checks a bundle offline, with public keys only, and names the lie if there is one.
//!
//! Start reading at [`verify`]: it is the argument why the answer is complete, in the order it is made.

use super::count::count;
use super::{Answer, Bundle, HeadsAt, Level, OpenedTouch, Opening, Question, Run, Seal};
use crate::checkpoint::{self, BadCheckpoint};
use crate::cosign::{self, CosignerKey};
use crate::heads::{Head, HeadProof};
use crate::merkle;
use crate::note::VerifyingKey;
use crate::record::body::{self, HeadsBody};
use crate::record::{Body, Chain, Header, Kind, Malformed};
use crate::sequencer::TreeHead;
use model::{Digest, UnixMicros, VendorId};
use std::collections::BTreeSet;
use thiserror::Error;

/// What a bundle proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The log.
    pub origin: String,
    /// The checkpoint it is proved under.
    pub tree: TreeHead,
    /// What was asked.
    pub question: Question,
    /// The answer, computed from the records that are shown.
    pub answer: Answer,
    /// Time of the later heads record: what was recorded after it is not in the answer.
    pub as_of: UnixMicros,
    /// Whether there is no earlier heads record, so that the log's beginning bounds the window. Nothing is said of the time before.
    pub from_the_beginning: bool,
    /// What it proves about the node.
    pub level: Level,
    /// Whose integrations they are said to be; every record that counts says so too.
    pub vendor: Option<VendorId>,
    /// For whom the touches are sealed. The answer then names no subject.
    pub seal: Option<Seal>,
}

/// A bundle that does not prove what it claims. Whoever made it is at fault; each variant names the lie.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEvidence {
    /// Not a bundle.
    #[error("not an evidence bundle")]
    Malformed(#[source] Malformed),
    /// The checkpoint is forged, or of a log whose key is not among those given.
    #[error("the checkpoint does not hold")]
    Checkpoint(#[source] BadCheckpoint),
    /// A heads record that is not in the log under the checkpoint: of another log, or changed.
    #[error("heads record `{index}` is not in the log")]
    NotInLog {
        /// The index it claims.
        index: u64,
    },
    /// The chains have fewer records than the log: one was left off its chain.
    #[error("the chains at heads record `{index}` leave a record of the log off its chain")]
    OffChain {
        /// Index of the heads record.
        index: u64,
        /// What the chains' counts sum to.
        counted: u64,
    },
    /// The heads records do not enclose the window.
    #[error("the heads records do not enclose the window")]
    WindowNotEnclosed,
    /// The runs are not of the integrations asked for, or not of all there are.
    #[error("the bundle leaves out an integration that the question covers")]
    IntegrationLeftOut,
    /// A chain's head, or its absence, is not in the map of heads.
    #[error("the head of chain `{0}` is not proved")]
    HeadNotProved(Chain),
    /// Records in the middle or at the beginning are missing.
    #[error("record `{sequence}` of chain `{chain}` was dropped")]
    Dropped {
        /// The chain.
        chain: Chain,
        /// The first that is missing.
        sequence: u64,
    },
    /// The last records are missing.
    #[error("chain `{chain}` was cut off at record `{sequence}`")]
    Truncated {
        /// The chain.
        chain: Chain,
        /// The first that is missing.
        sequence: u64,
    },
    /// Two records with one sequence number.
    #[error("chain `{chain}` has two records with sequence number `{sequence}`")]
    Repeated {
        /// The chain.
        chain: Chain,
        /// The number.
        sequence: u64,
    },
    /// All are there, in another order.
    #[error("record `{sequence}` of chain `{chain}` was moved")]
    Swapped {
        /// The chain.
        chain: Chain,
        /// The first that is out of place.
        sequence: u64,
    },
    /// Some byte of a record differs from what was written.
    #[error("{part} of record `{sequence}` of chain `{chain}` was changed")]
    Changed {
        /// The chain.
        chain: Chain,
        /// Its place by position.
        sequence: u64,
        /// Which part.
        part: &'static str,
    },
    /// A record that follows none of this chain: of another log or another chain.
    #[error("record `{sequence}` of chain `{chain}` is of another log")]
    OtherLog {
        /// The chain.
        chain: Chain,
        /// Its place by position.
        sequence: u64,
    },
    /// A time before the record before it.
    #[error("time goes back at record `{sequence}` of chain `{chain}`")]
    TimeBack {
        /// The chain.
        chain: Chain,
        /// Where.
        sequence: u64,
    },
    /// A record that may count and of which too little is shown.
    #[error("record `{sequence}` of chain `{chain}` is not shown")]
    NotShown {
        /// The chain.
        chain: Chain,
        /// Where.
        sequence: u64,
    },
    /// The bundle claims to be cosigned by an auditor, and its checkpoint is not, by none of those whose keys are given.
    #[error("the checkpoint is not cosigned by a known auditor")]
    NotCosigned,
    /// A record of another vendor than the one the bundle names.
    #[error("record `{sequence}` of chain `{chain}` is of another vendor")]
    OtherVendor {
        /// The chain.
        chain: Chain,
        /// Where.
        sequence: u64,
    },
    /// The answer is not what the records yield.
    #[error("the claimed answer is not what the records say")]
    OtherAnswer,
    /// An opening that does not show what stands at its place in a sealed bundle.
    #[error("the opening does not fit the bundle")]
    NotOpened,
}

impl BadEvidence {
    /// The lie's name, as `docs/evidence-format.md` has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Checkpoint(_) => "checkpoint",
            Self::NotInLog { .. } => "not-in-log",
            Self::OffChain { .. } => "off-chain",
            Self::WindowNotEnclosed => "window-not-enclosed",
            Self::IntegrationLeftOut => "integration-left-out",
            Self::HeadNotProved(_) => "head-not-proved",
            Self::Dropped { .. } => "dropped",
            Self::Truncated { .. } => "truncated",
            Self::Repeated { .. } => "repeated",
            Self::Swapped { .. } => "swapped",
            Self::Changed { .. } => "changed",
            Self::OtherLog { .. } => "other-log",
            Self::TimeBack { .. } => "time-back",
            Self::NotShown { .. } => "not-shown",
            Self::NotCosigned => "not-cosigned",
            Self::OtherVendor { .. } => "other-vendor",
            Self::OtherAnswer => "other-answer",
            Self::NotOpened => "not-opened",
        }
    }
}

/// Checks a bundle against the public keys of the logs one trusts, and of the auditors whose word one takes for a replay.
///
/// # Errors
/// [`BadEvidence`]: whoever made the bundle is at fault.
///
/// Source: `docs/evidence-format.md`.
pub fn verify(
    bundle: &[u8],
    keys: &[VerifyingKey],
    auditors: &[CosignerKey],
) -> Result<Verified, BadEvidence> {
    check(Bundle::decode(bundle).map_err(BadEvidence::Malformed)?, keys, auditors)
}

/// Checks a sealed bundle, and that `opening` shows what stands at its place there.
///
/// # Errors
/// As [`verify`]; [`BadEvidence::NotOpened`], which is the fault of whoever made the opening.
///
/// Source: `docs/evidence-format.md` section 10.
pub fn verify_opening(
    bundle: &[u8],
    opening: &[u8],
    keys: &[VerifyingKey],
    auditors: &[CosignerKey],
) -> Result<(Verified, OpenedTouch), BadEvidence> {
    let bundle = Bundle::decode(bundle).map_err(BadEvidence::Malformed)?;
    let verified = check(bundle.clone(), keys, auditors)?;
    let opening = Opening::from_bytes(opening).map_err(BadEvidence::Malformed)?;
    let opened = opening.in_bundle(&bundle).ok_or(BadEvidence::NotOpened)?;
    Ok((verified, opened))
}

fn check(
    bundle: Bundle,
    keys: &[VerifyingKey],
    auditors: &[CosignerKey],
) -> Result<Verified, BadEvidence> {
    let checkpoint = checkpoint::open(&bundle.checkpoint, keys).map_err(BadEvidence::Checkpoint)?;
    let cosignatures = cosign::verify(&bundle.checkpoint, auditors)
        .map_err(|bad| BadEvidence::Checkpoint(BadCheckpoint::Note(bad)))?;
    let level = match (bundle.level, cosignatures.is_empty()) {
        (_, false) => Level::AuditorCosigned,
        (Level::OperatorAsserted, true) => Level::OperatorAsserted,
        (Level::AuditorCosigned, true) => return Err(BadEvidence::NotCosigned),
    };

    // Both heads records are in the log, and each counts every record before it.
    let lower = bundle.lower.as_ref().map(|at| heads(at, &checkpoint.tree)).transpose()?;
    let upper = heads(&bundle.upper, &checkpoint.tree)?;

    // Recorded time never goes back along a log, so nothing of the window is before the one or after the other.
    let question = &bundle.question;
    let starts_before = lower.as_ref().is_none_or(|lower| lower.time < question.from);
    if !starts_before || upper.time < question.to {
        return Err(BadEvidence::WindowNotEnclosed);
    }

    // Every chain asked for has one run, from its head in the one map to its head in the other.
    all_asked_for(&bundle, &upper.body)?;
    for run in &bundle.runs {
        let first = head(&run.chain, run.lower.as_ref(), lower.as_ref())?;
        let last = head(&run.chain, Some(&run.upper), Some(&upper))?;
        let from = lower.as_ref().map_or(UnixMicros(0), |lower| lower.time);
        whole(run, first, last, from, upper.time)?;
    }

    // What is shown of the runs yields the answer.
    let counted = count(question, bundle.vendor, &bundle.runs)?;
    counted.sealed_as(bundle.seal.is_some())?;
    let answer = match &bundle.seal {
        None => counted.answer(question),
        Some(seal) if seal.covers(&counted) => Answer::of_sealed(&counted),
        Some(_) => return Err(BadEvidence::OtherAnswer),
    };
    if answer != bundle.answer {
        return Err(BadEvidence::OtherAnswer);
    }
    Ok(Verified {
        origin: checkpoint.origin,
        tree: checkpoint.tree,
        question: bundle.question,
        answer,
        as_of: upper.time,
        from_the_beginning: lower.is_none(),
        level,
        vendor: bundle.vendor,
        seal: bundle.seal,
    })
}

struct Heads {
    time: UnixMicros,
    body: HeadsBody,
}

fn heads(at: &HeadsAt, tree: &TreeHead) -> Result<Heads, BadEvidence> {
    let not_in_log = BadEvidence::NotInLog { index: at.index };
    let leaf = merkle::leaf_hash(&at.entry);
    let included = merkle::verify_inclusion(&leaf, at.index, tree.size, &at.path, &tree.root);
    included.map_err(|_| not_in_log.clone())?;
    let header = Header::decode(&at.entry).map_err(BadEvidence::Malformed)?;
    if header.kind != Kind::Heads || body::hash(&at.body) != header.body {
        return Err(not_in_log);
    }
    let Body::Heads(body) = Body::decode(&at.body).map_err(BadEvidence::Malformed)? else {
        return Err(not_in_log);
    };
    if body.size != at.index {
        return Err(BadEvidence::OffChain { index: at.index, counted: body.size });
    }
    Ok(Heads { time: header.time, body })
}

fn all_asked_for(bundle: &Bundle, upper: &HeadsBody) -> Result<(), BadEvidence> {
    let left_out = Err(BadEvidence::IntegrationLeftOut);
    let chains = || bundle.runs.iter().map(|run| run.chain);
    if !chains().is_sorted_by(|a, b| a < b) {
        return left_out;
    }
    if let Some(ids) = &bundle.question.integrations {
        let asked = ids.iter().map(|id| Chain::Integration(*id));
        return if asked.eq(chains()) { Ok(()) } else { left_out };
    }
    // All integrations: the proven places, the system's with them, are all places of the map.
    let mut places = BTreeSet::new();
    if let Some(place) = &bundle.system {
        if place.chain != Chain::System || !place.is_in(upper) {
            return Err(BadEvidence::HeadNotProved(Chain::System));
        }
        places.insert(place.index);
    }
    for run in &bundle.runs {
        let HeadProof::Present(place) = &run.upper else { return left_out };
        if run.chain == Chain::System || !place.is_in(upper) {
            return Err(BadEvidence::HeadNotProved(run.chain));
        }
        places.insert(place.index);
    }
    if places.len() as u64 == upper.chains { Ok(()) } else { left_out }
}

/// The head that a map has for `chain`: nothing at the log's beginning, where there is no map.
fn head(
    chain: &Chain,
    proof: Option<&HeadProof>,
    heads: Option<&Heads>,
) -> Result<Head, BadEvidence> {
    let none = Head { count: 0, leaf: [0; 32] };
    match (proof, heads) {
        (None, None) => Ok(none),
        (Some(proof), Some(heads)) => {
            let proved = proof.verify(chain, &heads.body);
            Ok(proved.ok_or(BadEvidence::HeadNotProved(*chain))?.unwrap_or(none))
        }
        (None, Some(_)) | (Some(_), None) => Err(BadEvidence::HeadNotProved(*chain)),
    }
}

/// Checks that a run is exactly what lies on its chain after `first` up to `last`.
fn whole(
    run: &Run,
    first: Head,
    last: Head,
    from: UnixMicros,
    to: UnixMicros,
) -> Result<(), BadEvidence> {
    let chain = run.chain;
    let mut headers = Vec::with_capacity(run.shown.len());
    for (shown, sequence) in run.shown.iter().zip(first.count..) {
        let changed = |_| BadEvidence::Changed { chain, sequence, part: "entry" };
        let header = Header::decode(&shown.entry).map_err(changed)?;
        if header.chain != chain {
            return Err(BadEvidence::OtherLog { chain, sequence });
        }
        headers.push((header, merkle::leaf_hash(&shown.entry)));
    }
    in_sequence(chain, &headers, first.count, last.count)?;

    // Each entry names the one before it, and the map names the last: from there back, none can differ.
    let mut previous = first.leaf;
    let mut time = from;
    let mut rest = headers.iter().peekable();
    while let Some((header, leaf)) = rest.next() {
        let sequence = header.sequence;
        let next = rest.peek().map_or(last.leaf, |(next, _)| next.previous);
        match (header.previous == previous, *leaf == next) {
            (true, true) => {}
            (true, false) => {
                // Either this one differs from what was written or the next is a stranger; a stranger fits neither way.
                let next_fits = match rest.clone().nth(1) {
                    Some((after, _)) => {
                        rest.peek().is_some_and(|(_, leaf)| *leaf == after.previous)
                    }
                    None => rest.peek().is_none_or(|(_, leaf)| *leaf == last.leaf),
                };
                if !next_fits {
                    return Err(BadEvidence::OtherLog { chain, sequence: sequence + 1 });
                }
                return Err(BadEvidence::Changed { chain, sequence, part: "entry" });
            }
            (false, _) => return Err(BadEvidence::OtherLog { chain, sequence }),
        }
        if header.time < time {
            return Err(BadEvidence::TimeBack { chain, sequence });
        }
        previous = *leaf;
        time = header.time;
    }
    if previous != last.leaf {
        return Err(BadEvidence::HeadNotProved(chain));
    }
    if to < time {
        return Err(BadEvidence::TimeBack { chain, sequence: last.count });
    }
    Ok(())
}

/// Checks that the sequence numbers are those from `from` up to `to`, each once and in order.
fn in_sequence(
    chain: Chain,
    headers: &[(Header, Digest)],
    from: u64,
    to: u64,
) -> Result<(), BadEvidence> {
    let numbers = || headers.iter().map(|(header, _)| header.sequence);
    if from <= to && numbers().eq(from..to) {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    if let Some(sequence) = numbers().find(|&number| !seen.insert(number)) {
        return Err(BadEvidence::Repeated { chain, sequence });
    }
    if let Some((sequence, _)) = (from..).zip(numbers()).find(|(_, n)| *n < from || *n >= to) {
        return Err(BadEvidence::Changed { chain, sequence, part: "entry" });
    }
    if let Some(sequence) = (from..to).find(|number| !seen.contains(number)) {
        let is_end = seen.last().is_none_or(|&last| last < sequence);
        return Err(if is_end {
            BadEvidence::Truncated { chain, sequence }
        } else {
            BadEvidence::Dropped { chain, sequence }
        });
    }
    let moved = (from..).zip(numbers()).find(|(place, number)| place != number);
    Err(BadEvidence::Swapped { chain, sequence: moved.map_or(from, |(place, _)| place) })
}
