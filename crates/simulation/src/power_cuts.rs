//! Lives of one node on a disk that loses all it may: records are appended, posture is changed, the power goes, the process dies or the disk
//! fills up, the node starts again.
//!
//! Whatever happened, after each start: every acknowledged record is in the log at its index, every subject it names is in the vault,
//! every published checkpoint is one of this log, every acknowledged cut is in the posture register, whoever was erased is known to nobody,
//! what retention took does not come back and nothing else is gone,
//! and every record replays. That log and
//! register open at all is part of it: a crash is not corruption. And on a full disk a change of posture is recorded.

use crate::clocks::ToldClocks;
use crate::dice::Dice;
use crate::torn_disk::{Faults, TornDisk};
use ledger::merkle::Frontier;
use ledger::note::SigningKey;
use ledger::{Draft, TreeHead};
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, Digest, IntegrationId, Micros,
    OperatorId, Outcome, Pseudonym, RequestId, SubjectId, Touch, UnixMicros, VendorId,
};
use sever::{Authority, Change, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use storage::embedded::PostureRegister;
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::KeepSynced;
use storage::embedded::journal::JournalSizes;
use storage::embedded::log::{NotAdded, prepare_segment};
use storage::embedded::posture::RegisterError;
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::unavailable::{OpenFailed, Unavailable};
use storage::embedded::vault::{ERASED_ACTION, VaultKeys, keys};

/// Small, so that a run crosses several segments.
const SIZES: JournalSizes = JournalSizes { segment_bytes: 8 << 10, reserve_bytes: 3 << 10 };
/// How far the posture file is filled ahead: a dozen entries.
const POSTURE_AHEAD: u64 = 2 << 10;
const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SUBJECTS: u64 = 12;
const FIRST_KEY: &str = "keys/vault-wrapping.key";
const FIRST_WRAPPING: [u8; 32] = [2; 32];

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A crash made the log or the vault unusable.
    #[error("the log does not open after a crash: {0}")]
    DoesNotOpen(String),
    /// An acknowledged record is missing or another one.
    #[error("acknowledged record `{0}` is not in the log")]
    RecordLost(u64),
    /// The vault does not know a subject of an acknowledged record.
    #[error("a subject of acknowledged record `{0}` is not in the vault")]
    SubjectLost(u64),
    /// A published checkpoint is of another history.
    #[error("the published checkpoint of `{0}` records is not one of this log")]
    CheckpointLost(u64),
    /// A subject who was erased is in the vault.
    #[error("a subject of record `{0}`, erased since, is still in the vault")]
    StillThere(u64),
    /// A segment that was thinned has its touches again, or one that was not has lost them.
    #[error("record `{0}` is not as retention left it")]
    NotThinned(u64),
    /// An acknowledged cut is not in the register.
    #[error("acknowledged posture entry `{0}` is not in the register")]
    CutLost(usize),
    /// The reserve did not hold what it is for.
    #[error("a change of posture was not recorded on a full disk: {0:?}")]
    NoReserve(NotAdded),
}

/// What a run did, to show that it did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Starts after a power cut.
    pub power_cuts: u64,
    /// Starts after the process died on a machine that went on.
    pub kills: u64,
    /// Starts that found a torn tail.
    pub torn: u64,
    /// Cuts acknowledged.
    pub cuts: u64,
    /// Lives that ended on a full disk.
    pub full: u64,
    /// Subjects erased.
    pub erased: u64,
    /// Erasures that failed; and those that came to their end at a later try.
    pub not_erased: u64,
    /// See [`Done::not_erased`].
    pub erased_later: u64,
    /// Segments thinned.
    pub thinned: u64,
    /// Thinnings that failed.
    pub not_thinned: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.torn += other.torn;
        self.cuts += other.cuts;
        self.full += other.full;
        self.erased += other.erased;
        self.not_erased += other.not_erased;
        self.erased_later += other.erased_later;
        self.thinned += other.thinned;
        self.not_thinned += other.not_thinned;
    }
}

/// One run of a few lives. `faults`: what is wrong with the disk besides crashes.
///
/// # Errors
/// The first [`Broken`] promise.
pub fn run(seed: u64, faults: Faults) -> Result<Done, Broken> {
    run_meddled(seed, faults, &|_| {})
}

/// As [`run`]; `meddle` changes what each crash left on the disk, before the next start.
///
/// # Errors
/// The first [`Broken`] promise.
pub fn run_meddled(seed: u64, faults: Faults, meddle: &dyn Fn(&TornDisk)) -> Result<Done, Broken> {
    let mut node = Node {
        dice: Dice::new(seed),
        disk: TornDisk::new(seed ^ 0x5eed),
        clocks: ToldClocks::at(BEGAN),
        acknowledged: BTreeMap::new(),
        checkpoints: Vec::new(),
        cuts: Vec::new(),
        erasing: BTreeSet::new(),
        erased: BTreeSet::new(),
        thinned: 0,
        done: Done::default(),
    };
    node.disk
        .create_dir("keys")
        .and_then(|()| node.disk.replace(FIRST_KEY, &FIRST_WRAPPING))
        .map_err(|e| Broken::DoesNotOpen(e.to_string()))?;
    for _ in 0..2 + node.dice.below(3) {
        let at = Some(1 + node.dice.below(60));
        let loses_all_unsynced = faults.loses_all_unsynced || node.dice.one_in(3);
        let faults = Faults { loses_all_unsynced, ..faults };
        let crash = match node.dice.below(6) {
            0 | 1 => Faults { error_at: at, ..faults },
            2 => {
                let capacity = Some(node.disk.used() + node.dice.below(SIZES.segment_bytes * 2));
                Faults { capacity, ..faults }
            }
            _ => Faults { power_cut_at: at, ..faults },
        };
        node.disk.set_faults(crash);
        node.live()?;
        if node.disk.has_power() && node.dice.one_in(2) {
            node.disk.process_restarts();
            node.done.kills += 1;
        } else {
            node.disk.power_cycle();
            node.done.power_cuts += 1;
        }
        meddle(&node.disk);
        node.check()?;
    }
    Ok(node.done)
}

struct Node {
    dice: Dice,
    disk: TornDisk,
    clocks: ToldClocks,
    acknowledged: BTreeMap<u64, Acknowledged>,
    checkpoints: Vec<TreeHead>,
    /// Acknowledged entries of posture, in order.
    cuts: Vec<Vec<u8>>,
    /// Pseudonyms of subjects whom somebody began to erase, and of those for whom that came to its end.
    erasing: BTreeSet<Pseudonym>,
    erased: BTreeSet<Pseudonym>,
    /// The records before this one are thinned, as was acknowledged.
    thinned: u64,
    done: Done,
}

/// A node that is open.
struct Live {
    parts: Parts,
    register: PostureRegister,
}

struct Acknowledged {
    leaf: Digest,
    subjects: Vec<(SubjectId, Pseudonym)>,
    quarter: u32,
}

impl Node {
    /// Opens the log and appends until something fails or the dice say that the process is killed.
    fn live(&mut self) -> Result<(), Broken> {
        let Some(mut live) = self.open()? else { return Ok(()) };
        for _ in 0..self.dice.below(30) {
            match self.step(&mut live) {
                Ok(()) => {}
                Err(Unavailable::DiskFull) => {
                    self.done.full += 1;
                    return self.change_on_a_full_disk(&mut live);
                }
                Err(_) => return Ok(()), // the process would end here, and the next start find out
            }
        }
        Ok(())
    }

    /// `None` if the disk failed meanwhile.
    fn open(&mut self) -> Result<Option<Live>, Broken> {
        let disk: Arc<dyn KeepSynced> = Arc::new(self.disk.clone());
        let opened = opening_on(&*disk)
            .and_then(|opening| open_parts(&disk, Box::new(self.clocks.clone()), opening));
        let mut parts = match opened {
            Ok(parts) => parts,
            Err(
                OpenFailed::Disk { .. } | OpenFailed::NoStartRecord(_) | OpenFailed::NotErased(_),
            ) => return Ok(None),
            Err(failed) => return Err(Broken::DoesNotOpen(failed.to_string())),
        };
        self.done.torn += u64::from(parts.recovered.torn);
        let opened = PostureRegister::open_on(disk, "posture", POSTURE_AHEAD);
        let followed = opened.and_then(|mut register| {
            let followed = register.follow(&parts.posture)?;
            Ok((register, followed))
        });
        let (register, followed) = match followed {
            Ok(followed) => followed,
            Err(RegisterError::Io { .. }) => return Ok(None),
            Err(failed) => return Err(Broken::DoesNotOpen(failed.to_string())),
        };
        let record = || {
            parts.log.begin().ok()?;
            for entry in followed.to_record {
                parts.log.add(&Draft::Posture { entry }).ok()?;
            }
            parts.log.commit().ok()
        };
        let recorded = record();
        Ok(recorded.is_some().then_some(Live { parts, register }))
    }

    /// Data was refused for want of space. What narrows is decided, stored and recorded all the same.
    fn change_on_a_full_disk(&mut self, live: &mut Live) -> Result<(), Broken> {
        let Ok(entry) = self.cut(&mut live.register) else { return Ok(()) };
        if live.parts.log.begin().is_err() {
            return Ok(());
        }
        live.parts.log.add(&Draft::Posture { entry }).map_err(Broken::NoReserve)?;
        let _next_start_finds_out = live.parts.log.commit();
        Ok(())
    }

    /// Severs, and returns the entry once it is durable.
    fn cut(&mut self, register: &mut PostureRegister) -> io::Result<Vec<u8>> {
        let mut reason = "polls accounts ".repeat(self.dice.length(12));
        reason.push('.');
        let vendor = [u8::try_from(self.dice.below(256)).unwrap_or(0); 16];
        let change = Change::Sever(Target::Vendor(VendorId::from_bytes(vendor)));
        let entry = register
            .next(change, &reason, Authority::Rule("test".to_owned()), self.clocks.wall())
            .map_err(io::Error::other)?;
        register.store()?;
        self.cuts.push(entry.to_bytes());
        self.done.cuts += 1;
        Ok(entry.to_bytes())
    }

    /// Records that somebody is erased, and erases them.
    fn erase(&mut self, parts: &mut Parts) -> Result<(), Unavailable> {
        let Some(subject) = SubjectId::new(&format!("account-{}", self.dice.below(SUBJECTS)))
        else {
            return Ok(());
        };
        let Some(row) = parts.vault.erased_row(&subject) else { return Ok(()) };
        parts.log.begin()?;
        let draft = Draft::OperatorAction {
            operator: OperatorId::from_bytes([7; 16]),
            action: ERASED_ACTION.to_owned(),
            detail: row.to_detail("test"),
        };
        match parts.log.add(&draft) {
            Ok(_) => {}
            Err(NotAdded::BatchFull) => return Ok(()),
            Err(NotAdded::Refused(why)) => return Err(why),
        }
        let theirs = self.acknowledged.values().flat_map(|acknowledged| &acknowledged.subjects);
        let theirs: BTreeSet<_> =
            theirs.filter(|(id, _)| *id == subject).map(|(_, pseudonym)| *pseudonym).collect();
        self.erasing.extend(&theirs);
        parts.log.commit()?;
        // From here on they are known to nobody, whatever becomes of the rows.
        parts.eraser.forget(&subject);
        self.erased.extend(theirs);
        match parts.eraser.erase() {
            Ok(()) => self.done.erased += 1,
            // The node goes on, reads them again, and tries again.
            Err(_) => self.done.not_erased += 1,
        }
        Ok(())
    }

    /// Announces and thins the segments that are sealed.
    fn retain(&mut self, parts: &mut Parts) -> Result<(), Unavailable> {
        let Ok(due) = parts.thinner.due(self.clocks.wall(), 31) else { return Ok(()) };
        for due in due {
            parts.log.begin()?;
            if parts.log.add(&due.thinning.draft()).is_err() {
                return Ok(());
            }
            parts.log.commit()?;
            if parts.thinner.thin(&due).is_err() {
                self.done.not_thinned += 1;
                return Ok(());
            }
            self.thinned = due.thinning.last + 1;
            self.done.thinned += 1;
        }
        Ok(())
    }

    /// One group commit, and now and then a change of posture or a checkpoint.
    fn step(&mut self, live: &mut Live) -> Result<(), Unavailable> {
        self.clocks.go_on(Micros::from_millis(1 + self.dice.below(400)));
        let Live { parts, register } = live;
        let stopped = |what: &str| Unavailable::Stopped(what.to_owned());
        if let Some(number) = parts.log.wants_segment() {
            match prepare_segment(&self.disk, SIZES, number) {
                Ok(made) => parts.log.stock(made),
                Err(full) if full.kind() == io::ErrorKind::StorageFull => {}
                Err(failed) => return Err(stopped(&failed.to_string())),
            }
        }
        let entry = if self.dice.one_in(4) {
            Some(self.cut(register).map_err(|e| stopped(&e.to_string()))?)
        } else {
            None
        };

        if self.dice.one_in(6) {
            self.erase(parts)?;
        } else if parts.eraser.is_due() && self.dice.one_in(4) && parts.eraser.erase().is_ok() {
            self.done.erased_later += 1;
        }
        if self.dice.one_in(6) {
            self.retain(parts)?;
        }
        let mut drafts = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let now = BEGAN + Micros::from_secs(self.dice.below(100) * 86_400);
            let mut subjects = Vec::new();
            for _ in 0..self.dice.below(4) {
                let name = format!("account-{}", self.dice.below(SUBJECTS));
                let Some(subject) = SubjectId::new(&name) else { continue };
                let (_, pseudonym) = parts.vault.row(&subject, now)?;
                subjects.push((subject, pseudonym));
            }
            subjects.sort_by_key(|(_, pseudonym)| *pseudonym);
            subjects.dedup_by_key(|(_, pseudonym)| *pseudonym);
            drafts.push((access(&subjects), subjects, now.quarter()));
        }

        parts.log.begin()?;
        if let Some(entry) = entry {
            parts.log.add(&Draft::Posture { entry }).map_err(|_| stopped("no reserve"))?;
        }
        let mut added = BTreeMap::new();
        for (draft, subjects, quarter) in drafts {
            match parts.log.add(&draft) {
                Ok(index) => {
                    added.insert(index, (subjects, quarter));
                }
                Err(NotAdded::BatchFull) => break,
                Err(NotAdded::Refused(why)) => return Err(why),
            }
        }
        let tree = if self.dice.one_in(5) { parts.log.add_heads().ok() } else { None };
        for receipt in parts.log.commit()? {
            if let Some((subjects, quarter)) = added.remove(&receipt.index()) {
                let acknowledged = Acknowledged { leaf: *receipt.leaf_hash(), subjects, quarter };
                self.acknowledged.insert(receipt.index(), acknowledged);
                self.done.acknowledged += 1;
            }
        }
        if let Some(tree) = tree {
            let failed = |failed: OpenFailed| stopped(&failed.to_string());
            parts.publisher.publish(&tree).map_err(failed)?;
            self.checkpoints.push(tree);
            if self.dice.one_in(4) {
                parts.publisher.sync_tiles().map_err(|e| stopped(&e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Opens the log on a disk without faults and holds it against what was acknowledged and published.
    fn check(&mut self) -> Result<(), Broken> {
        let Some(Live { parts, register }) = self.open()? else {
            return Err(Broken::DoesNotOpen("the disk failed without a fault".into()));
        };
        for (nth, cut) in self.cuts.iter().enumerate() {
            if register.entries().get(nth) != Some(cut) {
                return Err(Broken::CutLost(nth + 1));
            }
        }
        // What was durable and not acknowledged is the register's all the same, and the next entry follows it.
        self.cuts = register.entries().to_vec();
        let mut leaves = Vec::new();
        let thinned = parts.log.view().thinned().records;
        for record in parts.log.view().records_from(0) {
            let (index, record) = record.map_err(|e| Broken::DoesNotOpen(e.to_string()))?;
            leaves.push(record.leaf_hash());
            let acknowledged = self.acknowledged.contains_key(&index);
            if acknowledged && record.is_thinned() != (index < thinned) {
                return Err(Broken::NotThinned(index));
            }
        }
        if thinned < self.thinned {
            return Err(Broken::NotThinned(thinned));
        }
        for (&index, acknowledged) in &self.acknowledged {
            let leaf = usize::try_from(index).ok().and_then(|index| leaves.get(index));
            if leaf != Some(&acknowledged.leaf) {
                return Err(Broken::RecordLost(index));
            }
            for (subject, pseudonym) in &acknowledged.subjects {
                let known = parts.vault.subject_of(pseudonym, acknowledged.quarter);
                if self.erased.contains(pseudonym) {
                    if known != Ok(None) {
                        return Err(Broken::StillThere(index));
                    }
                } else if known != Ok(Some(subject.clone())) && !self.erasing.contains(pseudonym) {
                    return Err(Broken::SubjectLost(index));
                }
            }
        }
        for tree in &self.checkpoints {
            let mut frontier = Frontier::default();
            let size = usize::try_from(tree.size).unwrap_or(usize::MAX);
            leaves.iter().take(size).for_each(|leaf| frontier.push(*leaf));
            if frontier.root() != tree.root {
                return Err(Broken::CheckpointLost(tree.size));
            }
        }
        Ok(())
    }
}

/// What every simulated node is opened with.
///
/// # Panics
/// If the key's fixed name or seed were refused.
pub fn opening() -> Opening {
    let key = SigningKey::new("simulation/node/1", &[3; 32]);
    let vault = VaultKeys { index: [1; 32], wrapping: FIRST_WRAPPING, wrapping_id: 1 };
    match key {
        Ok(key) => Opening { sizes: SIZES, ..Opening::standard(key, vault) },
        Err(refused) => unreachable!("{refused}"),
    }
}

/// As [`opening`], with the wrapping key that the last erasure left.
fn opening_on(disk: &dyn KeepSynced) -> Result<Opening, OpenFailed> {
    let (wrapping_id, path) = keys::in_use(disk)?;
    let key = disk.read(&path).map_err(|source| OpenFailed::Disk { path, source })?;
    let wrapping = key.try_into().unwrap_or_default();
    let opening = opening();
    Ok(Opening { vault: VaultKeys { wrapping_id, wrapping, ..opening.vault.clone() }, ..opening })
}

fn access(subjects: &[(SubjectId, Pseudonym)]) -> Draft {
    let classes: ClassSet = [ClassNumber::new(1)].into_iter().collect();
    Draft::Access(AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: IntegrationId::from_bytes([3; 16]),
        credential: CredentialId::from_bytes([4; 16]),
        grant: None,
        operation: None,
        network: ClientIp::from_peer([192, 0, 2, 1].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 1_800,
        touches: subjects.iter().map(|&(_, pseudonym)| Touch { pseudonym, classes }).collect(),
    })
}
