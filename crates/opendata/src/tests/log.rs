//! A log on disk as a node leaves it, made from a seed: small segments, several quarters, everything that can be recorded.

use ledger::note::SigningKey;
use ledger::record::class_table_hash;
use ledger::{Draft, NodeEvent, Record};
use model::{
    AccessRecord, ClassNumber, ClassSet, ClassTable, ClientIp, CredentialId, DataClass, Digest,
    GrantId, IntegrationId, Micros, OperationId, OperatorId, Outcome, Refusal, RequestId,
    SubjectId, Touch, UnixMicros, VendorId,
};
use sever::{Authority, Change, Entry, Target};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::log::{Log, prepare_segment};
use storage::embedded::segments::Segments;
use storage::embedded::vault::VaultKeys;
use storage::embedded::{JournalSizes, Vault};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "acme/node-1/1";
pub(crate) const CLASSES: [&str; 4] =
    ["user.identity", "user.contact.email", "user.contact.phone", "user.content"];
/// Two hours before a quarter ends.
pub(crate) const START: &str = "2026-03-31T22:00:00Z";
const HOUR: u64 = 3_600_000_000;

/// A log and its vault, in a directory.
pub(crate) struct Made {
    _root: TempDir,
    pub(crate) vault: Arc<Vault>,
    disk: Arc<dyn KeepSynced>,
    log: Log,
    now: Clock,
    dice: Dice,
    /// What may be taken back: whose, which request, leaf, when.
    released: Vec<(IntegrationId, RequestId, Digest)>,
}

/// Seeded; SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn byte(&mut self, sides: u64) -> u8 {
        u8::try_from(self.roll(sides)).unwrap()
    }
}

#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl ReadClocks for Clock {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }
}

impl Made {
    /// An empty log.
    pub(crate) fn new(seed: u64) -> Self {
        let root = directory();
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(root.path()).unwrap());
        let keys = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
        let vault = Arc::new(Vault::open(&*disk, &keys).unwrap());
        let now = Clock(Arc::new(AtomicU64::new(UnixMicros::parse(START).unwrap().0)));
        let key = Arc::new(SigningKey::new(ORIGIN, &[3; 32]).unwrap());
        let clocks = Box::new(now.clone());
        let (log, _) =
            Log::open(Arc::clone(&disk), SIZES, key, Arc::clone(&vault), clocks, &mut |_, _| {})
                .unwrap();
        Self { _root: root, vault, disk, log, now, dice: Dice(seed), released: Vec::new() }
    }

    /// A log of `batches` random batches over about `days` days.
    pub(crate) fn random(seed: u64, batches: u64, days: u64) -> Self {
        let mut made = Self::new(seed);
        for _ in 0..batches {
            let drafts: Vec<Draft> = (0..=made.dice.roll(6)).map(|_| made.draft()).collect();
            made.append(&drafts);
            if made.dice.roll(4) == 0 {
                made.heads();
            }
            let step = match made.dice.roll(10) {
                0 => days * 24 * HOUR * 10 / batches,
                // The edge of what can be taken back, to the microsecond.
                1 => 60_000_000,
                2 => 60_000_001,
                _ => made.dice.roll(15_000_000),
            };
            made.pass(Micros(step));
        }
        made
    }

    /// Lets time go by.
    pub(crate) fn pass(&mut self, span: Micros) {
        self.now.0.fetch_add(span.0, Ordering::SeqCst);
    }

    /// One batch, durable when this returns. Gives the leaf hashes.
    pub(crate) fn append(&mut self, drafts: &[Draft]) -> Vec<Digest> {
        self.log.begin().unwrap();
        for draft in drafts {
            assert!(self.log.add(draft).is_ok());
        }
        let leaves: Vec<Digest> =
            self.log.commit().unwrap().iter().map(|receipt| *receipt.leaf_hash()).collect();
        for (draft, leaf) in drafts.iter().zip(&leaves) {
            if let Draft::Access(access) = draft {
                self.released.push((access.integration, access.request, *leaf));
            }
        }
        if let Some(number) = self.log.wants_segment() {
            self.log.stock(prepare_segment(&*self.disk, SIZES, number).unwrap());
        }
        leaves
    }

    /// A heads record, as the node writes before each checkpoint.
    fn heads(&mut self) {
        self.log.begin().unwrap();
        assert!(self.log.add_heads().is_ok());
        self.log.commit().unwrap();
    }

    /// A release by an integration, of subjects by number, each with classes by number.
    pub(crate) fn release(&mut self, integration: u8, people: &[(u64, &[u8])]) -> AccessRecord {
        let now = self.now.wall();
        let mut touches: Vec<Touch> = people
            .iter()
            .map(|(person, classes)| Touch {
                pseudonym: self.vault.row(&subject(*person), now).unwrap().1,
                classes: classes.iter().map(|&number| ClassNumber::new(number)).collect(),
            })
            .collect();
        touches.sort();
        AccessRecord {
            request: RequestId::new(now, std::array::from_fn(|_| self.dice.byte(256))),
            vendor: VendorId::from_bytes([integration % 2 + 1; 16]),
            integration: self::integration(integration),
            credential: CredentialId::from_bytes([integration; 16]),
            grant: Some(GrantId::from_bytes([integration; 16])),
            operation: OperationId::new("listAccounts"),
            network: network(0),
            contract: [5; 32],
            policy: [6; 32],
            class_table: class_table_hash(&table()),
            outcome: Outcome::Released,
            bytes: 512,
            touches,
        }
    }

    fn draft(&mut self) -> Draft {
        match self.dice.roll(20) {
            0 | 1 => match self.released.len() as u64 {
                0 => Draft::Node(NodeEvent::Stop),
                known => {
                    // Mostly a fresh one; now and then one too old, or by the wrong hand.
                    let back = if self.dice.roll(3) == 0 {
                        self.dice.roll(known.min(30))
                    } else {
                        self.dice.roll(known.min(4))
                    };
                    let (whose, request, leaf) =
                        self.released[usize::try_from(known - 1 - back).unwrap()];
                    let integration = if self.dice.roll(8) == 0 { integration(9) } else { whose };
                    Draft::NotReleased { integration, request, leaf }
                }
            },
            2 => self.other(),
            roll => {
                let integration = self.dice.byte(4) + 1;
                let people: Vec<(u64, Vec<u8>)> = {
                    let mut people: Vec<u64> =
                        (0..self.dice.roll(7)).map(|_| self.dice.roll(40)).collect();
                    people.sort_unstable();
                    people.dedup();
                    people
                        .into_iter()
                        .map(|person| (person, (0..4).filter(|_| self.dice.roll(2) == 0).collect()))
                        .collect()
                };
                let people: Vec<(u64, &[u8])> =
                    people.iter().map(|(person, classes)| (*person, classes.as_slice())).collect();
                let mut access = self.release(integration, &people);
                access.network = network(self.dice.byte(5));
                access.bytes = self.dice.roll(4096);
                access.operation =
                    [OperationId::new("getAccount"), OperationId::new("listAccounts"), None]
                        [usize::from(self.dice.byte(3))]
                    .clone();
                access.grant = access.grant.filter(|_| self.dice.roll(5) > 0);
                access.outcome = match roll {
                    3 => Outcome::Refused(Refusal::ALL[usize::from(self.dice.byte(12))]),
                    4 => Outcome::Attempted,
                    _ => Outcome::Released,
                };
                Draft::Access(access)
            }
        }
    }

    /// What is no access.
    pub(crate) fn other(&mut self) -> Draft {
        let operator = OperatorId::from_bytes([7; 16]);
        match self.dice.roll(6) {
            0 => Draft::UnauthenticatedRefusals {
                network: network(self.dice.byte(5)),
                reason: Refusal::Unauthenticated,
                second: self.now.wall().secs(),
                count: self.dice.roll(100) + 1,
            },
            1 => self.posture(),
            2 => Draft::OperatorAction {
                operator,
                action: "exposure_query".into(),
                detail: b"{}".to_vec(),
            },
            3 => Draft::Vetting {
                integration: integration(1),
                step: "integration_approve".into(),
                detail: b"{}".to_vec(),
            },
            4 => Draft::Node(NodeEvent::Gap { requests: vec![RequestId::from_bytes([1; 16])] }),
            _ => Draft::Node(NodeEvent::Start { lost_checkpoint: None }),
        }
    }

    fn posture(&mut self) -> Draft {
        let target = match self.dice.roll(3) {
            0 => Target::Integration(integration(2)),
            1 => Target::Network("203.0.113.0/24".parse().unwrap()),
            _ => Target::Operation(OperationId::new("getAccount").unwrap()),
        };
        let operators = |count: u8| Authority::Operators {
            signers: (0..count).map(|n| OperatorId::from_bytes([n + 1; 16])).collect(),
            command: b"{}".to_vec(),
        };
        let (change, authority) = match self.dice.roll(3) {
            0 => (Change::Sever(target), operators(1)),
            1 => (Change::Restrict(target), Authority::Rule("honey".into())),
            _ => (Change::Restore(target), operators(2)),
        };
        let entry = Entry {
            number: 1,
            previous: [0; 32],
            time: self.now.wall(),
            change,
            reason: "polls accounts".into(),
            authority,
        };
        Draft::Posture { entry: entry.to_bytes() }
    }

    /// Every record, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.log.view().records_from(0).map(|record| record.unwrap().1.decode().unwrap()).collect()
    }

    /// Announces and thins every sealed segment.
    pub(crate) fn retain(&mut self) -> u64 {
        let thinner = self.log.thinner(Arc::clone(&self.disk));
        let due = thinner.due(self.now.wall(), 31).unwrap();
        for due in &due {
            self.append(&[due.thinning.draft()]);
            thinner.thin(due).unwrap();
        }
        due.len() as u64
    }

    /// The segments as another process sees them.
    pub(crate) fn segments(&self) -> Segments {
        Segments::look(&self.disk).unwrap()
    }
}

/// A directory in memory where the system has one: nothing here is about what a power cut leaves, and syncs of small files are most of
/// the time these tests would take.
pub(crate) fn directory() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

const SIZES: JournalSizes = JournalSizes { segment_bytes: 192 << 10, reserve_bytes: 16 << 10 };

pub(crate) fn table() -> ClassTable {
    ClassTable::new(CLASSES.iter().map(|name| DataClass::new(name).unwrap()).collect()).unwrap()
}

pub(crate) fn classes(numbers: &[u8]) -> ClassSet {
    numbers.iter().map(|&number| ClassNumber::new(number)).collect()
}

pub(crate) fn integration(n: u8) -> IntegrationId {
    IntegrationId::from_bytes([n; 16])
}

pub(crate) fn subject(n: u64) -> SubjectId {
    SubjectId::new(&format!("person-{n}")).unwrap()
}

/// Of both kinds, some of them next to one another.
pub(crate) fn network(n: u8) -> ClientIp {
    let addresses = ["203.0.113.7", "203.0.113.200", "203.0.114.1", "2001:db8::7", "198.51.100.1"];
    ClientIp::from_peer(addresses[usize::from(n)].parse::<IpAddr>().unwrap())
}
