//! A log keeper that lies, and the checks that an outsider makes with public keys only. Each lie is caught by name.
//!
//! The liar has the log's key and signs whatever it wants; entries, heads and bundles are of its own making. What it cannot do is take back
//! a checkpoint or a receipt that somebody has. Start reading at [`Lie`], then [`tell`] and [`check`].

#![expect(
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a simulation whose own parts do not fit has nothing to go on with; most lies share most steps"
)]

mod cbor;
mod evidence;

use crate::dice::Dice;
use cbor::Value;
use ledger::bundle;
use ledger::checkpoint;
use ledger::full::{BadLog, verify_full};
use ledger::growth::{NotGrown, grown};
use ledger::heads::{Head, HeadMap};
use ledger::merkle::Frontier;
use ledger::note::{SigningKey, VerifyingKey};
use ledger::receipt::{self, NotKept};
use ledger::record::{Chain, Header, body};
use ledger::tile::{TileReader, TileWriter};
use ledger::{Batch, Corrupt, Draft, Receipt, Sequenced, Sequencer, StoredRecord, TreeHead};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, OperationId, Outcome,
    Pseudonym, RequestId, Touch, UnixMicros, VendorId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const ORIGIN: &str = "simulation/liar/1";
const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SECOND: u64 = 1_000_000;
/// Records before the window, in it and behind it, a heads record after each part.
const PART: u64 = 12;

/// What the keeper lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    Honest,
    /// Two histories: another one is shown later than the one shown before.
    Fork,
    /// The data directory is set back to an older copy, and the log goes on from there.
    RolledBack,
    /// The log is shown shorter than it was.
    TakenBack,
    /// The files end before their checkpoint, and the bundle's run with them.
    CutTail,
    /// A record is a leaf of the tree, and its chain passes over it.
    OffChain,
    /// The same, and another chain is said to be one longer than it is, so that the sum is right.
    InventedSum,
    /// Two records of a chain have one number.
    ReusedNumber,
    /// A record has a time before the one before it.
    TimeBack,
    /// A record of the window has a time before the window.
    MovedOverBound,
    /// One of a record's touches is left out of what is kept.
    OmittedTouch,
    /// A record's class mask is another's.
    SwappedMask,
    /// A receipt was given for a record, and another stands in its place.
    LeftOut,
    /// A receipt was given for a record, and the log ends before it though time went on.
    NeverWritten,
}

impl Lie {
    /// Every one, and the truth.
    pub const ALL: [Self; 14] = [
        Self::Honest,
        Self::Fork,
        Self::RolledBack,
        Self::TakenBack,
        Self::CutTail,
        Self::OffChain,
        Self::InventedSum,
        Self::ReusedNumber,
        Self::TimeBack,
        Self::MovedOverBound,
        Self::OmittedTouch,
        Self::SwappedMask,
        Self::LeftOut,
        Self::NeverWritten,
    ];
}

/// What an outsider has been shown.
pub struct Told {
    /// A checkpoint from before, as it was published.
    earlier: String,
    /// The checkpoint of now.
    later: String,
    /// The log of now.
    records: Vec<StoredRecord>,
    /// A receipt from before the checkpoint of now.
    receipt: String,
    /// Evidence of what integration 1 read in the window.
    bundle: Vec<u8>,
}

/// The names under which each check refuses; none where it finds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By the offline check of the bundle.
    pub bundle: Option<&'static str>,
    /// By the replay of the whole log.
    pub replay: Option<&'static str>,
    /// By holding an earlier checkpoint against the log.
    pub growth: Option<&'static str>,
    /// By holding a receipt against the log.
    pub receipt: Option<&'static str>,
}

/// Makes what an outsider sees of a log whose keeper tells this lie.
pub fn tell(seed: u64, lie: Lie) -> Told {
    let mut keeper = Keeper::new(seed);
    keeper.write(PART, None);
    let lower = keeper.heads(0);
    keeper.write(PART, Some(lie));
    // A checkpoint that somebody keeps, and a receipt for the record behind it.
    let earlier = keeper.checkpoint();
    let before = keeper.clone();
    let mut promised = keeper.access(1);
    if lie == Lie::NeverWritten {
        // A place that the log does not come to, though time goes on beyond the deadline.
        promised.index += PART;
    }
    let receipt = keeper.receipt(&promised);
    match lie {
        Lie::LeftOut => _ = keeper.access(2),
        Lie::NeverWritten => keeper.now = UnixMicros(keeper.now.0 + 3_600 * SECOND),
        _ => keeper.append(promised.stored),
    }
    let upper = keeper.heads(u64::from(lie == Lie::InventedSum));
    if lie != Lie::NeverWritten {
        keeper.write(PART, None);
    }
    match lie {
        Lie::Fork | Lie::RolledBack => {
            let bounds = (lower.clone(), upper);
            return keeper.other_history(before, bounds, lie, earlier, receipt);
        }
        Lie::TakenBack => {
            keeper.records.truncate(before.records.len() - 2);
            return keeper.told(&lower, &lower, earlier, receipt, lie);
        }
        _ => {}
    }
    keeper.heads(u64::from(lie == Lie::InventedSum));
    keeper.told(&lower, &upper, earlier, receipt, lie)
}

/// Makes every check that an outsider can make, with the log's public key only.
///
/// # Panics
/// If the keeper showed something that is not of the formats at all.
pub fn check(told: &Told) -> Found {
    let keys = [public_key()];
    let opened = |note: &str| checkpoint::open(note, &keys).ok();
    let (Some(earlier), Some(later)) = (opened(&told.earlier), opened(&told.later)) else {
        panic!("the keeper's key signs its checkpoints")
    };
    let promise = receipt::verify(&told.receipt, &keys);
    let Ok(promise) = promise else { panic!("the keeper's key signs its receipts") };
    let mut tiles = TileWriter::default();
    told.records.iter().for_each(|record| tiles.push(&record.entry, record.leaf_hash()));
    let files: BTreeMap<_, _> =
        tiles.take().into_iter().map(|file| (file.path.to_string(), file.bytes)).collect();
    let files = TileReader::open(later.tree, |path: &str| files.get(path).cloned());
    let (growth, receipt) = match files {
        Err(_) => (None, None),
        Ok(mut files) => (
            grown(&earlier, &later, &mut files).err().map(|error| name_of_growth(&error)),
            receipt::stands(&promise, &later, &mut files, promise.deadline_secs)
                .err()
                .map(|error| name_of_receipt(&error)),
        ),
    };
    Found {
        bundle: bundle::verify(&told.bundle, &keys, &[]).err().map(|error| error.name()),
        replay: verify_full(&told.records, &later).err().map(|error| name_of_replay(&error)),
        growth,
        receipt,
    }
}

/// The log as the liar keeps it.
#[derive(Clone)]
struct Keeper {
    dice: Dice,
    records: Vec<StoredRecord>,
    /// The chains as it says they are.
    chains: BTreeMap<Chain, Head>,
    now: UnixMicros,
    window: (UnixMicros, UnixMicros),
}

/// A heads record, and the map that it is said to be over.
#[derive(Clone)]
struct Bound {
    index: usize,
    map: HeadMap,
}

impl Keeper {
    fn new(seed: u64) -> Self {
        let (dice, now) = (Dice::new(seed), BEGAN);
        Self { dice, records: Vec::new(), chains: BTreeMap::new(), now, window: (now, now) }
    }

    /// Writes some accesses, the last of them integration 1's, and tells the lie about one in the middle.
    fn write(&mut self, count: u64, lie: Option<Lie>) {
        self.window.0 = if lie.is_some() { UnixMicros(self.now.0 + 1) } else { self.window.0 };
        let about = 2 + self.dice.below(count - 4);
        for n in 0..count {
            let who = 1 + u8::try_from(self.dice.below(3)).unwrap_or(0);
            let lied = lie.filter(|_| n == about);
            // The record lied about is integration 1's and is followed by another one of it.
            let who = if n == about || n == about + 1 || n == about - 1 { 1 } else { who };
            let record = self.access(who).stored;
            self.append_lying(record, lied);
        }
        self.window.1 = if lie.is_some() { UnixMicros(self.now.0 + 1) } else { self.window.1 };
    }

    fn append_lying(&mut self, mut record: StoredRecord, lie: Option<Lie>) {
        let chains = self.chains.clone();
        let mut entry = Value::read(&record.entry);
        match lie {
            Some(Lie::TimeBack) => entry.set(5, Value::Uint(self.now.0 - 3 * SECOND)),
            Some(Lie::MovedOverBound) => entry.set(5, Value::Uint(self.window.0.0 - 2 * SECOND)),
            Some(Lie::SwappedMask) => entry.set(6, Value::Bytes(vec![0x40])),
            Some(Lie::ReusedNumber) => {
                let head = chains.get(&chain(1)).map_or(0, |head| head.count.saturating_sub(1));
                entry.set(3, Value::Uint(head));
            }
            Some(Lie::OmittedTouch) => {
                let mut touches = Value::read(&record.touches);
                if let Some(list) = touches.get_mut(2).and_then(Value::items_mut) {
                    list.remove(0);
                }
                record.touches = touches.to_bytes();
            }
            _ => {}
        }
        record.entry = entry.to_bytes();
        self.append(record);
        if matches!(lie, Some(Lie::OffChain | Lie::InventedSum)) {
            self.chains = chains;
        }
    }

    /// A record that would be the next, of one to three subjects.
    fn access(&mut self, who: u8) -> Sequenced {
        self.now = UnixMicros(self.now.0 + SECOND);
        let mut touches: Vec<Touch> = (0..3)
            .map(|n| {
                let number = u8::try_from(self.dice.below(80)).unwrap_or(0);
                let classes = [ClassNumber::new(n)].into_iter().collect();
                Touch { pseudonym: Pseudonym([3 * number + n; 16]), classes }
            })
            .collect();
        touches.sort_unstable_by_key(|touch| touch.pseudonym);
        let draft = Draft::Access(AccessRecord {
            request: RequestId::from_bytes(self.bytes()),
            vendor: VendorId::from_bytes([9; 16]),
            integration: integration(who),
            credential: CredentialId::from_bytes([3; 16]),
            grant: None,
            operation: OperationId::new("getAccount"),
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            contract: [5; 32],
            policy: [6; 32],
            class_table: [8; 32],
            outcome: Outcome::Released,
            bytes: 512,
            touches,
        });
        let salt = self.bytes();
        let sequenced = Sequencer::begin(ORIGIN).append(&draft, self.now, salt);
        self.placed(sequenced)
    }

    /// Gives a record, made for another log, its place in this one.
    fn placed(&self, mut sequenced: Sequenced) -> Sequenced {
        let mut entry = Value::read(&sequenced.stored.entry);
        if let Ok(header) = Header::decode(&sequenced.stored.entry) {
            let head = self.chains.get(&header.chain);
            let (count, leaf) = head.map_or((0, [0; 32]), |head| (head.count, head.leaf));
            entry.set(3, Value::Uint(count));
            entry.set(4, Value::Bytes(leaf.to_vec()));
        }
        sequenced.stored.entry = entry.to_bytes();
        sequenced.leaf_hash = sequenced.stored.leaf_hash();
        sequenced.index = self.records.len() as u64;
        sequenced
    }

    /// Appends a heads record that says what the keeper says, `invented` records more on integration 3's chain than there are.
    fn heads(&mut self, invented: u64) -> Bound {
        self.now = UnixMicros(self.now.0 + SECOND);
        let mut said = self.chains.clone();
        if invented > 0 {
            let none = Head { count: 0, leaf: [7; 32] };
            said.entry(chain(3)).or_insert(none).count += invented;
        }
        let map = HeadMap::new(&said);
        let salt = self.bytes();
        let mut heads = Sequencer::begin(ORIGIN).heads(self.now, salt);
        let says = map.body();
        let mut value = Value::read(&heads.stored.body);
        value.set(3, Value::Bytes(says.root.to_vec()));
        value.set(4, Value::Uint(says.chains));
        value.set(5, Value::Uint(says.size));
        heads.stored.body = value.to_bytes();
        let mut entry = Value::read(&heads.stored.entry);
        entry.set(8, Value::Bytes(body::hash(&heads.stored.body).to_vec()));
        heads.stored.entry = entry.to_bytes();
        let index = self.records.len();
        let record = self.placed(heads).stored;
        self.append(record);
        Bound { index, map }
    }

    fn append(&mut self, record: StoredRecord) {
        if let Ok(header) = Header::decode(&record.entry) {
            let leaf = record.leaf_hash();
            let head = self.chains.entry(header.chain).or_insert(Head { count: 0, leaf });
            head.count += 1;
            head.leaf = leaf;
        }
        self.records.push(record);
    }

    fn checkpoint(&self) -> String {
        let mut tree = Frontier::default();
        self.records.iter().for_each(|record| tree.push(record.leaf_hash()));
        checkpoint::sign(&TreeHead { size: tree.size(), root: tree.root() }, &key())
    }

    fn receipt(&self, record: &Sequenced) -> String {
        let deadline = UnixMicros(self.now.0 + 600 * SECOND);
        let batch = Batch::sign(&key(), record.index, &[record.leaf_hash], deadline);
        Receipt::durable(record, Arc::new(batch)).header_value()
    }

    /// Shows another history than `earlier` is of: of the same length at least, from a little before it.
    fn other_history(
        &self,
        before: Self,
        bounds: (Bound, Bound),
        lie: Lie,
        earlier: String,
        receipt: String,
    ) -> Told {
        let mut other = Self { dice: Dice::new(self.dice.clone().roll()), ..before };
        // A copy of the directory from a while ago, or a log made up from that point on.
        let back = 1 + other.dice.length(usize::try_from(PART).unwrap_or(1) - 1);
        let kept = other.records.len() - back;
        other.records.truncate(kept);
        other.chains = chains_of(&other.records);
        let now = other.records.last().and_then(|last| Header::decode(&last.entry).ok());
        other.now = now.map_or(other.now, |header| header.time);
        other.write(PART, None);
        other.access(1);
        other.window.1 = UnixMicros(other.now.0);
        let upper = other.heads(0);
        other.write(2 * PART, None);
        other.heads(0);
        other.told(&bounds.0, &upper, earlier, receipt, lie)
    }

    fn told(
        self,
        lower: &Bound,
        upper: &Bound,
        earlier: String,
        receipt: String,
        lie: Lie,
    ) -> Told {
        let later = self.checkpoint();
        let bundle = self.evidence(lower, upper, &later, lie);
        let mut records = self.records;
        if lie == Lie::CutTail {
            let left = records.len() - 2;
            records.truncate(left);
        }
        Told { earlier, later, records, receipt, bundle }
    }

    fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for chunk in bytes.as_chunks_mut::<8>().0 {
            *chunk = self.dice.roll().to_be_bytes();
        }
        bytes
    }
}

fn chains_of(records: &[StoredRecord]) -> BTreeMap<Chain, Head> {
    let mut chains = BTreeMap::new();
    for record in records {
        if let Ok(header) = Header::decode(&record.entry) {
            let head = Head { count: header.sequence + 1, leaf: record.leaf_hash() };
            chains.insert(header.chain, head);
        }
    }
    chains
}

fn integration(n: u8) -> IntegrationId {
    IntegrationId::from_bytes([n; 16])
}

fn chain(n: u8) -> Chain {
    Chain::Integration(integration(n))
}

fn key() -> SigningKey {
    let key = SigningKey::new(ORIGIN, &[66; 32]);
    let Ok(key) = key else { panic!("a name and a seed make a key") };
    key
}

fn public_key() -> VerifyingKey {
    let key = key().verifying_key();
    let Ok(key) = key else { panic!("a key has a public half") };
    key
}

const fn name_of_growth(found: &NotGrown) -> &'static str {
    match found {
        NotGrown::Shrunk { .. } => "shrunk",
        NotGrown::Forked { .. } => "forked",
        NotGrown::OtherLog { .. } => "other-log",
        NotGrown::Files(_) => "files",
    }
}

const fn name_of_receipt(found: &NotKept) -> &'static str {
    match found {
        NotKept::OtherRecord { .. } => "other-record",
        NotKept::Omitted { .. } => "omitted",
        NotKept::OtherLog { .. } => "other-log",
        NotKept::Files(_) => "files",
        NotKept::Entry(_) => "entry",
    }
}

fn name_of_replay(found: &BadLog) -> &'static str {
    match found {
        BadLog::Dropped { .. } => "dropped",
        BadLog::DroppedBefore { .. } => "dropped-before",
        BadLog::Swapped { .. } => "swapped",
        BadLog::Truncated { .. } => "truncated",
        BadLog::Unannounced { .. } => "unannounced",
        BadLog::OtherTree => "other-tree",
        BadLog::Corrupt(Corrupt::Malformed { .. }) => "malformed",
        BadLog::Corrupt(Corrupt::Changed { part, .. }) => part,
        BadLog::Corrupt(Corrupt::Repeated { .. }) => "repeated",
        BadLog::Corrupt(Corrupt::Skipped { .. }) => "skipped",
        BadLog::Corrupt(Corrupt::Unlinked { .. }) => "unlinked",
        BadLog::Corrupt(Corrupt::TimeBack { .. }) => "time-back",
        BadLog::Corrupt(Corrupt::HeadsCount { .. }) => "heads-count",
        BadLog::Corrupt(Corrupt::HeadsRoot { .. }) => "heads-root",
    }
}
