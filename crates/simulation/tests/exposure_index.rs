//! The exposure index beside a log that grows: what was released a moment ago is in every answer, and an index that grew is the one
//! that is built from the log alone.
#![expect(
    clippy::unwrap_used,
    reason = "the allowances of clippy.toml reach test functions only, not what they call"
)]

use exposure::{Exposure, Question, Seen};
use ledger::note::SigningKey;
use ledger::{Draft, Receipt};
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, IntegrationId, Micros, Outcome,
    Pseudonym, RequestId, SubjectId, Touch, UnixMicros, VendorId,
};
use simulation::clocks::ToldClocks;
use simulation::dice::Dice;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::journal::JournalSizes;
use storage::embedded::log::prepare_segment;
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::vault::{Vault, VaultKeys};
use storage::embedded::view::LogView;
use storage::embedded::{CannotIndex, ExposureIndex};

const SIZES: JournalSizes = JournalSizes { segment_bytes: 64 << 10, reserve_bytes: 2 << 10 };
/// Some days before a quarter ends.
const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);

struct World {
    dir: tempfile::TempDir,
    disk: Arc<dyn KeepSynced>,
    clocks: ToldClocks,
    dice: Dice,
    parts: Parts,
    /// What was released and not taken back: index in the log, who, when.
    truth: BTreeMap<u64, (UnixMicros, Vec<(SubjectId, ClassSet)>)>,
    last: Option<(IntegrationId, Receipt, UnixMicros)>,
}

fn opening() -> Opening {
    let key = SigningKey::new("test/node/1", &[3; 32]).unwrap();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    Opening { sizes: SIZES, ..Opening::standard(key, vault) }
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(dir.path()).unwrap());
        let clocks = ToldClocks::at(BEGAN);
        let parts = open_parts(&disk, Box::new(clocks.clone()), opening()).unwrap();
        let dice = Dice::new(seed);
        Self { dir, disk, clocks, dice, parts, truth: BTreeMap::new(), last: None }
    }

    fn index(&self, root: &Path) -> ExposureIndex {
        ExposureIndex::open(
            root,
            self.parts.log.view().clone(),
            Some(Arc::clone(&self.parts.vault)),
        )
        .unwrap()
    }

    /// Opens everything again after the vault's rows were replaced.
    fn restart_with(&mut self, rows: &Path, content: &[u8]) {
        fs::write(rows, content).unwrap();
        self.disk = Arc::new(LocalDisk::new(self.dir.path()).unwrap());
        self.parts = open_parts(&self.disk, Box::new(self.clocks.clone()), opening()).unwrap();
    }

    fn step(&mut self) {
        let pause = match self.dice.below(4) {
            0 => self.dice.below(200_000_000_000),
            1 => self.dice.below(3_600_000_000),
            _ => self.dice.below(40_000_000),
        };
        self.clocks.go_on(Micros(pause));
        if let Some(number) = self.parts.log.wants_segment() {
            self.parts.log.stock(prepare_segment(&*self.disk, SIZES, number).unwrap());
        }
        let now = self.clocks.wall();
        self.parts.log.begin().unwrap();
        if let Some((integration, receipt, time)) = &self.last
            && self.dice.one_in(6)
        {
            let draft = Draft::NotReleased {
                integration: *integration,
                request: RequestId::from_bytes([1; 16]),
                leaf: *receipt.leaf_hash(),
            };
            self.parts.log.add(&draft).unwrap();
            if now.since(*time) <= Micros::from_secs(60) {
                self.truth.remove(&receipt.index());
            }
            self.last = None;
            self.parts.log.commit().unwrap();
            return;
        }
        let mut read: BTreeMap<Pseudonym, (SubjectId, ClassSet)> = BTreeMap::new();
        for _ in 0..self.dice.below(5) {
            let subject = SubjectId::new(&format!("account-{}", self.dice.below(30))).unwrap();
            let (_, pseudonym) = self.parts.vault.row(&subject, now).unwrap();
            let bits = self.dice.below(16);
            let classes = (0..4).filter(|bit| bits >> bit & 1 == 1).map(ClassNumber::new).collect();
            read.insert(pseudonym, (subject, classes));
        }
        // The rows of subjects first seen here have to be durable before the record.
        self.parts.log.begin().unwrap();
        let touches =
            read.iter().map(|(&pseudonym, (_, classes))| Touch { pseudonym, classes: *classes });
        let integration =
            IntegrationId::from_bytes([u8::try_from(self.dice.below(3)).unwrap(); 16]);
        let draft = Draft::Access(AccessRecord {
            request: RequestId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([1; 16]),
            integration,
            credential: CredentialId::from_bytes([1; 16]),
            grant: None,
            operation: None,
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            contract: [0; 32],
            policy: [0; 32],
            class_table: [0; 32],
            outcome: Outcome::Released,
            bytes: 0,
            touches: touches.collect(),
        });
        let index = self.parts.log.add(&draft).unwrap();
        let receipts = self.parts.log.commit().unwrap();
        let receipt = receipts.into_iter().find(|receipt| receipt.index() == index).unwrap();
        self.truth.insert(index, (now, read.into_values().collect()));
        self.last = Some((integration, receipt, now));
    }

    /// Announces and thins some of the sealed segments. Whoever was read in them was not read, as far as anybody can tell.
    fn retain(&mut self) {
        let now = self.clocks.wall();
        let due = self.parts.thinner.due(now, 31).unwrap();
        let some = 1 + self.dice.length(due.len().max(1));
        for due in due.iter().take(some) {
            self.parts.log.begin().unwrap();
            self.parts.log.add(&due.thinning.draft()).unwrap();
            self.parts.log.commit().unwrap();
            self.parts.thinner.thin(due).unwrap();
            self.truth.retain(|index, _| *index > due.thinning.last);
        }
    }

    /// Everything that was released up to now, by the names of those who were read.
    fn wanted(&self) -> BTreeMap<SubjectId, Seen> {
        let mut wanted: BTreeMap<SubjectId, Seen> = BTreeMap::new();
        for (time, read) in self.truth.values() {
            for (subject, classes) in read {
                let new = Seen { classes: *classes, first: *time, last: *time, count: 0 };
                let seen = wanted.entry(subject.clone()).or_insert(new);
                seen.classes = seen.classes.union(classes);
                seen.last = *time;
                seen.count += 1;
            }
        }
        wanted
    }
}

fn answer(index: &ExposureIndex, vault: &Vault) -> BTreeMap<SubjectId, Seen> {
    try_answer(index, vault).unwrap()
}

fn try_answer(
    index: &ExposureIndex,
    vault: &Vault,
) -> Result<BTreeMap<SubjectId, Seen>, CannotIndex> {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let counted = index.ask(|index| index.count(&all))?;
    let exposure = Exposure::from_counted(counted, |ordinal| vault.subject(ordinal)).unwrap();
    assert!(exposure.erased.is_empty(), "somebody lost their name");
    Ok(exposure.subjects)
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(root.join("index")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_release_is_in_the_answer_that_follows_it() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        let root = world.dir.path().to_owned();
        let mut index = world.index(&root);
        for _ in 0..120 {
            world.step();
            match world.dice.below(4) {
                0 => index.catch_up().unwrap(),
                1 if world.dice.one_in(8) => index = world.index(&root),
                _ => {}
            }
            if world.dice.one_in(3) {
                assert_eq!(answer(&index, &world.parts.vault), world.wanted(), "seed {seed}");
            }
        }
        assert_eq!(answer(&index, &world.parts.vault), world.wanted(), "seed {seed}");
    }
}

#[test]
fn the_log_goes_on_and_others_ask_while_a_question_is_answered() {
    let (said, done) = mpsc::channel();
    // In a thread of its own, so that a question that waits for itself is a failure and not a test without an end.
    std::thread::spawn(move || {
        for seed in 20..24 {
            let mut world = World::new(seed);
            let root = world.dir.path().to_owned();
            let index = world.index(&root);
            (0..60).for_each(|_| world.step());
            let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
            let asked = index.ask(|snapshot| {
                let before = snapshot.count(&all)?.subjects;
                for _ in 0..60 {
                    world.step();
                    if world.dice.one_in(3) {
                        index.catch_up().unwrap();
                        assert_eq!(answer(&index, &world.parts.vault), world.wanted());
                    }
                }
                assert_eq!(snapshot.count(&all)?.subjects, before, "seed {seed}");
                Ok(())
            });
            asked.unwrap();
            assert_eq!(answer(&index, &world.parts.vault), world.wanted(), "seed {seed}");
        }
        said.send(()).unwrap();
    });
    done.recv_timeout(Duration::from_secs(600)).unwrap();
}

#[test]
fn an_index_that_grew_is_the_one_that_is_built_from_the_log() {
    for seed in 100..106 {
        let mut world = World::new(seed);
        let root = world.dir.path().to_owned();
        let index = world.index(&root);
        for _ in 0..200 {
            world.step();
            if world.dice.one_in(3) {
                index.catch_up().unwrap();
            }
        }
        index.catch_up().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let view = LogView::at_rest(Arc::clone(&world.disk)).unwrap();
        let built =
            ExposureIndex::open(elsewhere.path(), view, Some(Arc::clone(&world.parts.vault)))
                .unwrap();
        built.catch_up().unwrap();
        let (grown, built) = (files(&root), files(elsewhere.path()));
        assert!(grown.keys().any(|name| name.starts_with("month")), "seed {seed}: too short a log");
        assert_eq!(grown.keys().collect::<Vec<_>>(), built.keys().collect::<Vec<_>>());
        assert!(grown == built, "seed {seed}: the files differ");
    }
}

#[test]
fn no_file_ties_the_pseudonyms_of_somebody_erased_after_the_index_forgot() {
    let mut world = World::new(9);
    let root = world.dir.path().to_owned();
    let index = world.index(&root);
    for _ in 0..120 {
        world.step();
    }
    index.catch_up().unwrap();
    let before = files(&root);
    let subject = world.wanted().into_keys().next().unwrap();
    let ordinal = world.parts.vault.ordinal(&subject).unwrap();
    let count = |index: &ExposureIndex| {
        let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
        let counted = index.ask(|index| index.count(&all)).unwrap();
        let vault = &world.parts.vault;
        Exposure::from_counted(counted, |ordinal| vault.subject(ordinal)).unwrap()
    };
    let named = |index: &ExposureIndex| {
        let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
        index.ask(|index| Ok(index.subjects(&all)?.ordinals().any(|it| it == ordinal))).unwrap()
    };
    world.parts.eraser.forget(&subject);
    world.parts.eraser.erase().unwrap();
    assert!(named(&index), "there is nothing to forget");

    index.forget().unwrap();
    assert_eq!(files(&root), BTreeMap::new());
    assert!(!named(&index));
    index.catch_up().unwrap();
    let after = files(&root);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(!named(&world.index(&root)), "as the files have it");
    // Everybody else is in the answer as before, and the erased subject by pseudonym, one for each quarter.
    let exposure = count(&index);
    let mut wanted = world.wanted();
    wanted.remove(&subject);
    assert_eq!(exposure.subjects, wanted);
    assert!(exposure.erased.len() > 1, "{}", exposure.erased.len());
}

#[test]
fn what_retention_took_is_in_no_answer_and_in_no_file() {
    let mut thinned = 0;
    for seed in 200..203 {
        let mut world = World::new(seed);
        let root = world.dir.path().to_owned();
        let mut index = world.index(&root);
        for _ in 0..2 {
            for _ in 0..150 {
                world.step();
            }
            index.catch_up().unwrap();
            let before = world.parts.log.view().thinned().segments;
            world.retain();
            let more = world.parts.log.view().thinned().segments > before;
            thinned += u32::from(more);
            if world.dice.one_in(2) {
                index.forget().unwrap();
            } else {
                // A crash between the log and the index: what was made of more than is left is not believed.
                index = world.index(&root);
                let of = fs::read_to_string(root.join("index/thinned")).unwrap_or_default();
                let records = world.parts.log.view().thinned().records;
                assert_eq!(of.trim().parse().unwrap_or(0), records);
                assert!(!more || files(&root).len() == 1, "{:?}", files(&root).keys());
            }
            assert_eq!(answer(&index, &world.parts.vault), world.wanted(), "seed {seed}");
        }
        index.catch_up().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        world.index(elsewhere.path()).catch_up().unwrap();
        assert!(files(&root) == files(elsewhere.path()), "seed {seed}: the files differ");
        assert_eq!(answer(&world.index(&root), &world.parts.vault), world.wanted(), "seed {seed}");
    }
    assert!(thinned > 2, "hardly anything was thinned: {thinned}");
}

#[test]
fn files_that_are_damaged_missing_or_of_another_log_are_made_again() {
    let mut world = World::new(7);
    let root = world.dir.path().to_owned();
    let index = world.index(&root);
    for _ in 0..120 {
        world.step();
    }
    index.catch_up().unwrap();
    let good = files(&root);
    let mut other = World::new(8);
    for _ in 0..120 {
        other.step();
    }
    let others = other.dir.path().to_owned();
    other.index(&others).catch_up().unwrap();
    let names: Vec<&String> = good.keys().collect();
    for round in 0..12 {
        let name = names[world.dice.length(names.len())];
        let path = root.join("index").join(name);
        match round % 3 {
            0 => fs::remove_file(&path).unwrap(),
            // The end of a file is its footer, which is looked at when it is opened.
            1 => fs::write(&path, &good[name][..good[name].len() - 1]).unwrap(),
            _ => {
                for (name, bytes) in files(&others) {
                    fs::write(root.join("index").join(name), bytes).unwrap();
                }
            }
        }
        let index = world.index(&root);
        assert_eq!(answer(&index, &world.parts.vault), world.wanted(), "round {round}");
        index.catch_up().unwrap();
        assert!(files(&root) == good, "round {round}: {name}");
    }
}

#[test]
fn under_an_older_vault_no_ordinal_of_a_file_names_somebody_else() {
    let mut world = World::new(13);
    let root = world.dir.path().to_owned();
    let rows = root.join("vault/rows");
    for _ in 0..12 {
        world.step();
    }
    let older = fs::read(&rows).unwrap();
    for _ in 0..120 {
        world.step();
    }
    world.index(&root).catch_up().unwrap();
    let (good, newer) = (files(&root), fs::read(&rows).unwrap());
    let wanted = world.wanted();

    world.restart_with(&rows, &older);
    let known = world.parts.vault.ordinals();
    for number in 0..30 {
        // Nobody has read of them.
        let stranger = SubjectId::new(&format!("stranger-{number}")).unwrap();
        world.parts.vault.row(&stranger, world.clocks.wall()).unwrap();
    }
    world.parts.log.begin().unwrap();
    assert!(usize::try_from(known).unwrap() < wanted.len(), "the older vault knows everybody");
    let index = world.index(&root);
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let count = |index: &ExposureIndex| {
        let counted = index.ask(|index| index.count(&all)).unwrap();
        Exposure::from_counted(counted, |ordinal| world.parts.vault.subject(ordinal)).unwrap()
    };
    let exposure = count(&index);
    for (subject, seen) in &exposure.subjects {
        assert_eq!(wanted.get(subject), Some(seen), "{subject:?}");
    }
    assert_eq!(exposure.subjects.len(), usize::try_from(known).unwrap());
    assert!(!exposure.erased.is_empty());
    index.catch_up().unwrap();
    assert_eq!(count(&world.index(&root)), exposure, "as the files have it");

    // Put right again: whom the older vault did not know have their names back.
    world.restart_with(&rows, &newer);
    let index = world.index(&root);
    assert_eq!(answer(&index, &world.parts.vault), wanted);
    index.catch_up().unwrap();
    for (name, bytes) in good {
        assert!(files(&root).get(&name) == Some(&bytes), "{name}");
    }
}

#[test]
fn a_disk_that_takes_no_file_costs_no_answer() {
    let mut world = World::new(11);
    let root = world.dir.path().to_owned();
    let index = world.index(&root);
    // Where the first part would be written there is something in the way.
    let obstacle = root.join("index").join("part-00000000000000000000.tmp");
    fs::create_dir(&obstacle).unwrap();
    let mut refused = 0;
    for _ in 0..120 {
        world.step();
        if world.dice.one_in(4) {
            refused += u32::from(index.catch_up().is_err());
            if let Ok(given) = try_answer(&index, &world.parts.vault) {
                assert_eq!(given, world.wanted());
            }
        }
    }
    assert!(refused > 0, "nothing was in the way");
    fs::remove_dir(&obstacle).unwrap();
    index.catch_up().unwrap();
    assert_eq!(answer(&index, &world.parts.vault), world.wanted());
    let elsewhere = tempfile::tempdir().unwrap();
    world.index(elsewhere.path()).catch_up().unwrap();
    assert!(files(&root) == files(elsewhere.path()));
}

#[test]
fn damage_that_a_question_meets_is_an_error_once_and_then_mended() {
    let mut world = World::new(12);
    let root = world.dir.path().to_owned();
    for _ in 0..120 {
        world.step();
    }
    world.index(&root).catch_up().unwrap();
    let good = files(&root);
    let part = good.keys().find(|name| name.starts_with("part")).unwrap();
    let mut bytes = good.get(part).unwrap().clone();
    // The first byte is of a block of releases, which is looked at when it is read.
    *bytes.first_mut().unwrap() ^= 0xff;
    fs::write(root.join("index").join(part), bytes).unwrap();
    let index = world.index(&root);
    assert!(try_answer(&index, &world.parts.vault).is_err());
    assert_eq!(answer(&index, &world.parts.vault), world.wanted());
    index.catch_up().unwrap();
    assert!(files(&root) == good);
}
