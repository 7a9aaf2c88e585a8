//! Counts what a bundle's runs show, checking every part of a record that is shown against its entry.

use super::verify::BadEvidence;
use super::{Answer, Facts, Question, Run, Seen, Shown, TAKEN_BACK_WITHIN};
use crate::merkle;
use crate::record::body::{self, AccessBody};
use crate::record::{Body, Chain, Header, Kind, Malformed};
use crate::sequencer::{self, NotThisRecord};
use model::{Digest, Pseudonym, Touch, UnixMicros, VendorId};
use std::collections::BTreeMap;

/// What the runs yield; checks everything that is shown against its entry.
pub(crate) fn count(
    question: &Question,
    vendor: Option<VendorId>,
    runs: &[Run],
) -> Result<Counted, BadEvidence> {
    let mut counted = Counted::default();
    for (run, number) in runs.iter().zip(0_u64..) {
        for shown in &run.shown {
            let header = Header::decode(&shown.entry).map_err(BadEvidence::Malformed)?;
            let record = Shows { question, vendor, run: number, chain: run.chain, header: &header };
            record.count(shown, &mut counted)?;
        }
        counted.end_of_run();
    }
    Ok(counted)
}

/// A record and what is asked of it.
struct Shows<'a> {
    question: &'a Question,
    vendor: Option<VendorId>,
    run: u64,
    chain: Chain,
    header: &'a Header,
}

impl Shows<'_> {
    fn count(&self, shown: &Shown, counted: &mut Counted) -> Result<(), BadEvidence> {
        let Self { question, header, chain, .. } = *self;
        let sequence = header.sequence;
        let may_count = question.may_count(header.kind, header.time, &header.classes);
        let needed = header.kind == Kind::NotReleased || may_count;
        let changed = |part| BadEvidence::Changed { chain, sequence, part };
        let bad = |bad| match bad {
            NotThisRecord::Malformed(_) => changed("touches"),
            NotThisRecord::Changed(part) => changed(part),
        };
        match &shown.facts {
            None if needed => Err(BadEvidence::NotShown { chain, sequence }),
            None => Ok(()),
            Some(Facts::Network(network, opening)) => {
                if header.network != Some(body::network_commitment(*network, opening)) {
                    return Err(changed("network"));
                }
                if needed && (header.kind != Kind::Access || question.has_network(*network)) {
                    return Err(BadEvidence::NotShown { chain, sequence });
                }
                Ok(())
            }
            Some(Facts::Whole { body, touches }) => {
                let opened = sequencer::open(header, body, touches).map_err(bad)?;
                match opened.body {
                    Body::Access(body) if may_count => {
                        let touches = Touches::Open(opened.touches);
                        self.access(&shown.entry, &body, touches, counted)?;
                    }
                    Body::NotReleased { leaf, .. } => counted.not_released(&leaf, header.time),
                    Body::Access(_)
                    | Body::UnauthenticatedRefusals { .. }
                    | Body::Posture { .. }
                    | Body::OperatorAction { .. }
                    | Body::Vetting { .. }
                    | Body::Node(_)
                    | Body::Heads(_) => {}
                }
                Ok(())
            }
            Some(Facts::Sealed { body, leaves }) => {
                let opened = sequencer::open_body(header, body).map_err(bad)?;
                let mut tree = merkle::Frontier::default();
                leaves.iter().for_each(|leaf| tree.push(*leaf));
                if tree.root() != opened.root || tree.size() != opened.count {
                    return Err(changed("touches"));
                }
                if let (true, Body::Access(body)) = (may_count, opened.body) {
                    let touches = Touches::Sealed(tree.size());
                    self.access(&shown.entry, &body, touches, counted)?;
                }
                Ok(())
            }
        }
    }

    fn access(
        &self,
        entry: &[u8],
        body: &AccessBody,
        touches: Touches,
        counted: &mut Counted,
    ) -> Result<(), BadEvidence> {
        let (chain, sequence, time) = (self.chain, self.header.sequence, self.header.time);
        if !self.question.has_network(body.network) {
            return Ok(());
        }
        if self.vendor.is_some_and(|vendor| vendor != body.vendor) {
            return Err(BadEvidence::OtherVendor { chain, sequence });
        }
        let (touches, sealed, is_sealed) = match touches {
            Touches::Open(touches) => (touches, 0, false),
            Touches::Sealed(count) => (Vec::new(), count, true),
        };
        let (run, taken_back) = (self.run, false);
        let released = Released { run, sequence, time, touches, sealed, is_sealed, taken_back };
        counted.access(merkle::leaf_hash(entry), released);
        Ok(())
    }
}

enum Touches {
    Open(Vec<Touch>),
    Sealed(u64),
}

/// A record that counts unless it was taken back.
#[derive(Debug)]
pub(crate) struct Released {
    /// The number of its run.
    pub(crate) run: u64,
    pub(crate) sequence: u64,
    time: UnixMicros,
    /// None if they are sealed.
    pub(crate) touches: Vec<Touch>,
    /// How many are sealed.
    pub(crate) sealed: u64,
    is_sealed: bool,
    taken_back: bool,
}

/// The records that count, chain by chain, in order.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    released: Vec<Released>,
    /// Places in `released` by leaf, of the run that is being read: a record is taken back on its own chain.
    leaves: BTreeMap<Digest, usize>,
}

impl Counted {
    fn access(&mut self, leaf: Digest, released: Released) {
        self.leaves.insert(leaf, self.released.len());
        self.released.push(released);
    }

    fn not_released(&mut self, leaf: &Digest, time: UnixMicros) {
        let released = self.leaves.get(leaf).and_then(|at| self.released.get_mut(*at));
        if let Some(released) = released
            && time.since(released.time) <= TAKEN_BACK_WITHIN
        {
            released.taken_back = true;
        }
    }

    fn end_of_run(&mut self) {
        self.leaves.clear();
    }

    /// The records that count.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Released> {
        self.released.iter().filter(|released| !released.taken_back)
    }

    /// Touches are either all sealed or all shown.
    pub(crate) fn sealed_as(&self, sealed: bool) -> Result<(), BadEvidence> {
        let odd = self.released.iter().any(|released| released.is_sealed != sealed);
        let bad = BadEvidence::Malformed(Malformed::Unexpected("touches as the bundle says"));
        if odd { Err(bad) } else { Ok(()) }
    }

    /// Which subjects the records name, if they are not sealed.
    pub(crate) fn answer(&self, question: &Question) -> Answer {
        let filter = question.classes;
        let mut touched: Vec<(Pseudonym, Seen)> = Vec::new();
        for Released { time, touches, .. } in self.records() {
            touched.reserve(touches.len());
            for touch in touches {
                let classes = filter.map_or(touch.classes, |f| f.intersection(&touch.classes));
                if filter.is_none() || !classes.is_empty() {
                    let seen = Seen { classes, first: *time, last: *time, count: 1 };
                    touched.push((touch.pseudonym, seen));
                }
            }
        }
        // Sorted and merged at once: of a million subjects an insertion each would take seconds.
        touched.sort_unstable_by_key(|(pseudonym, _)| *pseudonym);
        touched.dedup_by(|(pseudonym, later), (kept, seen)| {
            let same = pseudonym == kept;
            if same {
                seen.classes = seen.classes.union(&later.classes);
                seen.first = seen.first.min(later.first);
                seen.last = seen.last.max(later.last);
                seen.count += later.count;
            }
            same
        });
        touched.shrink_to_fit();
        Answer { records: self.records().count() as u64, subjects: touched }
    }
}

impl Answer {
    /// What the bundle's own part of a sealed answer says: the rest is the seal's.
    pub(crate) fn of_sealed(counted: &Counted) -> Self {
        Self { records: counted.records().count() as u64, ..Self::default() }
    }
}
