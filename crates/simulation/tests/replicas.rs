//! Copies of other nodes' logs, whose segments come late and in any order: each answer is the fold over the records that are there, and
//! names those that are not. What was tampered with is refused by name, and nothing else with it.
#![expect(
    clippy::unwrap_used,
    reason = "the allowances of clippy.toml reach test functions only, not what they call"
)]

use exposure::index::Counted;
use exposure::{Fold, Person, Question, Seen, Totals};
use ledger::note::SigningKey;
use ledger::{Draft, Record};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, Outcome, RequestId,
    SubjectId, Touch, UnixMicros, VendorId,
};
use simulation::clocks::ToldClocks;
use simulation::dice::Dice;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::journal::JournalSizes;
use storage::embedded::log::prepare_segment;
use storage::embedded::logs::{Lack, LogGap, Logs};
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::segments::Segments;
use storage::embedded::vault::VaultKeys;
use storage::embedded::{Beside, ExposureIndex};
use tempfile::TempDir;

const SIZES: JournalSizes = JournalSizes { segment_bytes: 8 << 10, reserve_bytes: 1 << 10 };
const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SEGMENTS: &str = "ledger/segments";

/// A node that reads and is read, with what it published when.
struct Other {
    key: SigningKey,
    dir: TempDir,
    disk: Arc<dyn KeepSynced>,
    clocks: ToldClocks,
    dice: Dice,
    parts: Parts,
    last: Option<(IntegrationId, [u8; 32])>,
}

/// What a node had published at one moment, in a directory of its own.
struct Published {
    dir: TempDir,
    size: u64,
    /// By number: the records of each segment.
    segments: BTreeMap<u64, Range<u64>>,
}

impl Other {
    fn new(name: &str, key: u8, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(dir.path()).unwrap());
        let clocks = ToldClocks::at(BEGAN);
        let signing = || SigningKey::new(name, &[key; 32]).unwrap();
        let vault = VaultKeys { index: [key; 32], wrapping: [2; 32], wrapping_id: 1 };
        let opening = Opening { sizes: SIZES, ..Opening::standard(signing(), vault) };
        let parts = open_parts(&disk, Box::new(clocks.clone()), opening).unwrap();
        Self { key: signing(), dir, disk, clocks, dice: Dice::new(seed), parts, last: None }
    }

    fn step(&mut self) {
        self.clocks.go_on(Micros(self.dice.below(400_000_000)));
        if let Some(number) = self.parts.log.wants_segment() {
            self.parts.log.stock(prepare_segment(&*self.disk, SIZES, number).unwrap());
        }
        self.parts.log.begin().unwrap();
        let draft = match self.last.take() {
            Some((integration, leaf)) if self.dice.one_in(5) => {
                Draft::NotReleased { integration, request: RequestId::from_bytes([1; 16]), leaf }
            }
            _ => self.access(),
        };
        self.parts.log.begin().unwrap();
        let index = self.parts.log.add(&draft).unwrap();
        let receipts = self.parts.log.commit().unwrap();
        let receipt = receipts.iter().find(|receipt| receipt.index() == index).unwrap();
        if let Draft::Access(access) = &draft {
            self.last = Some((access.integration, *receipt.leaf_hash()));
        }
    }

    fn access(&mut self) -> Draft {
        let now = self.clocks.wall();
        let mut touches = BTreeMap::new();
        for _ in 0..self.dice.below(4) {
            let subject = SubjectId::new(&format!("account-{}", self.dice.below(20))).unwrap();
            let (_, pseudonym) = self.parts.vault.row(&subject, now).unwrap();
            let class = ClassNumber::new(u8::try_from(self.dice.below(4)).unwrap());
            touches.insert(pseudonym, [class].into_iter().collect());
        }
        let touch = |(pseudonym, classes)| Touch { pseudonym, classes };
        Draft::Access(AccessRecord {
            request: RequestId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([1; 16]),
            integration: IntegrationId::from_bytes([1; 16]),
            credential: CredentialId::from_bytes([1; 16]),
            grant: None,
            operation: None,
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            contract: [0; 32],
            policy: [0; 32],
            class_table: [0; 32],
            outcome: Outcome::Released,
            bytes: 0,
            touches: touches.into_iter().map(touch).collect(),
        })
    }

    /// Signs what there is, and copies it.
    fn publish(&mut self) -> Published {
        self.parts.log.begin().unwrap();
        let tree = self.parts.log.add_heads().unwrap();
        self.parts.log.commit().unwrap();
        self.parts.publisher.publish(&tree).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(&self.dir.path().join("ledger"), &dir.path().join("ledger"));
        let all = Segments::look(&self.disk).unwrap().all;
        let spans =
            (0..).zip(all).map(|(number, span)| (number, span.first..span.first + span.records));
        Published { dir, size: tree.size, segments: spans.collect() }
    }

    fn records(&self) -> Vec<Record> {
        let records = self.parts.log.view().records_from(0);
        records.map(|record| record.unwrap().1.decode().unwrap()).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            put(&entry.path(), &to);
        }
    }
}

/// Whole under its name, as tools for copying do it.
fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let temporary = to.with_extension("coming");
    fs::copy(from, &temporary).unwrap();
    fs::rename(temporary, to).unwrap();
}

fn segment(number: u64) -> String {
    format!("{SEGMENTS}/{number:010}.seg")
}

/// The node that is asked, with copies of the others' logs.
struct Asked {
    dir: TempDir,
    own: Other,
    logs: Logs,
}

impl Asked {
    fn new(own: Other, others: &[&Other]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let logs = open(dir.path(), &own, others);
        Self { dir, own, logs }
    }

    /// Where the copy of a log comes to.
    fn place(&self, other: &Other) -> PathBuf {
        place(self.dir.path(), other)
    }

    /// What is named as missing of a log: from, up to, why.
    fn missing(&self, other: &Other) -> Vec<(u64, Option<u64>, String)> {
        let gaps = self.logs.gaps_of_nodes(UnixMicros(0), UnixMicros(u64::MAX)).unwrap();
        let of_it = gaps.into_iter().filter(|gap| gap.log == other.key.name());
        let missing = of_it.filter_map(|gap| match gap.what {
            Lack::Missing(missing) => Some((missing.first, missing.end, missing.why)),
            Lack::LostEnd { .. } | Lack::Thinned(_) => None,
        });
        missing.collect()
    }

    fn counted(&self, other: &Other, question: &Question) -> Counted {
        let all = self.logs.of_nodes(question).unwrap();
        all.into_iter().find(|node| node.log == other.key.name()).unwrap().counted
    }
}

fn open(root: &Path, own: &Other, others: &[&Other]) -> Logs {
    let vault = || Arc::clone(&own.parts.vault);
    let current = ExposureIndex::open(root, own.parts.log.view().clone(), Some(vault())).unwrap();
    let replica = |other: &&Other| {
        let (name, key) = (other.key.name(), other.key.verifying_key().unwrap());
        let indexes = root.join("indexes").join(name.replace('/', "+"));
        Beside::of_node(name, vec![key], place(root, other), indexes)
    };
    Logs {
        origin: own.key.name().to_owned(),
        current: Arc::new(current),
        former: Vec::new(),
        replicas: others.iter().map(replica).collect(),
    }
}

fn place(root: &Path, other: &Other) -> PathBuf {
    root.join("replicas").join(other.key.name())
}

type Answer = (BTreeMap<Person, Seen>, Totals);

fn answer(counted: Counted) -> Answer {
    (counted.subjects.into_iter().collect(), counted.totals)
}

/// The fold over these parts of a log, by pseudonym.
fn folded(records: &[Record], parts: &[Range<u64>], question: &Question) -> Answer {
    let exposure = fold(records, parts, question).finish(|_| None);
    (exposure.erased, exposure.totals)
}

fn fold<'q>(records: &[Record], parts: &[Range<u64>], question: &'q Question) -> Fold<'q> {
    let folds = parts.iter().map(|part| {
        let mut fold = Fold::new(question);
        let length = usize::try_from(part.end - part.start).unwrap();
        let before = usize::try_from(part.start).unwrap();
        records.iter().skip(before).take(length).for_each(|record| fold.push(record));
        fold
    });
    folds.fold(Fold::new(question), Fold::merge)
}

/// The fold over the first `size` records of a log.
fn all_of(records: &[Record], size: u64) -> Answer {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    folded(records, std::slice::from_ref(&(0..size)), &all)
}

/// Parts that follow each other, made one; and what is missing between them.
fn joined(parts: impl Iterator<Item = Range<u64>>) -> (Vec<Range<u64>>, Vec<(u64, u64)>) {
    let (mut joined, mut missing) = (Vec::<Range<u64>>::new(), Vec::new());
    for part in parts.filter(|part| !part.is_empty()) {
        let end = joined.last().map_or(0, |last| last.end);
        if part.start > end {
            missing.push((end, part.start));
        }
        match joined.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => joined.push(part),
        }
    }
    (joined, missing)
}

/// One copy under way: what came of it.
struct Copy<'o> {
    other: &'o Other,
    records: Vec<Record>,
    early: Published,
    late: Published,
    /// By number: the records of the segments that came.
    came: BTreeMap<u64, Range<u64>>,
    size: u64,
    /// What is still to come: a segment of the early or late copy, or the late checkpoint.
    coming: Vec<Coming>,
}

#[derive(Clone, Copy)]
enum Coming {
    Segment(u64, bool),
    Checkpoint,
}

impl<'o> Copy<'o> {
    fn new(other: &'o mut Other, steps: (u64, u64), asked: &Asked, dice: &mut Dice) -> Self {
        (0..steps.0).for_each(|_| other.step());
        let early = other.publish();
        (0..steps.1).for_each(|_| other.step());
        let late = other.publish();
        let mut coming: Vec<Coming> =
            late.segments.keys().map(|number| Coming::Segment(*number, true)).collect();
        coming.extend(early.segments.keys().map(|number| Coming::Segment(*number, false)));
        coming.push(Coming::Checkpoint);
        for at in (1..coming.len()).rev() {
            coming.swap(at, dice.length(at + 1));
        }
        let to = asked.place(other);
        copy(&early.dir.path().join("ledger/tile"), &to.join("ledger/tile"));
        put(&early.dir.path().join("ledger/checkpoint"), &to.join("ledger/checkpoint"));
        let (records, size) = (other.records(), early.size);
        Self { other, records, early, late, came: BTreeMap::new(), size, coming }
    }

    fn deliver(&mut self, to: &Path) {
        match self.coming.pop() {
            // A copy that is older than the one that is there does not come.
            Some(Coming::Segment(number, late)) => {
                let from = if late { &self.late } else { &self.early };
                let records = from.segments.get(&number).unwrap().clone();
                if self.came.get(&number).is_none_or(|came| came.end < records.end) {
                    put(&from.dir.path().join(segment(number)), &to.join(segment(number)));
                    self.came.insert(number, records);
                }
            }
            Some(Coming::Checkpoint) => {
                let from = self.late.dir.path().join("ledger");
                copy(&from.join("tile"), &to.join("ledger/tile"));
                put(&from.join("checkpoint"), &to.join("ledger/checkpoint"));
                self.size = self.late.size;
            }
            None => {}
        }
    }

    fn check(&self, asked: &Asked, question: &Question, seed: u64) {
        let size = self.size;
        let covered = |part: &Range<u64>| part.start.min(size)..part.end.min(size);
        let (parts, mut missing) = joined(self.came.values().map(covered));
        let got = answer(asked.counted(self.other, question));
        assert_eq!(got, folded(&self.records, &parts, question), "seed {seed}");
        let next = parts.last().map_or(0, |last| last.end);
        if next < size {
            missing.push((next, u64::MAX));
        }
        let named = asked.missing(self.other);
        let named: Vec<(u64, u64)> =
            named.iter().map(|(first, end, _)| (*first, end.unwrap_or(u64::MAX))).collect();
        assert_eq!(named, missing, "seed {seed}");
    }
}

fn questions(dice: &mut Dice) -> [Question; 2] {
    let from = BEGAN + Micros(dice.below(20_000_000_000));
    let to = from + Micros(dice.below(20_000_000_000));
    [Question::all(UnixMicros(0), UnixMicros(u64::MAX)), Question::all(from, to)]
}

#[test]
fn whatever_order_segments_come_in_the_answer_is_the_fold_over_what_is_there() {
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let own = Other::new("test/asked/1", 1, seed);
        let mut others = [
            Other::new("test/other-a/1", 2, seed + 100),
            Other::new("test/other-b/1", 3, seed + 200),
        ];
        let count = 1 + dice.length(2);
        let names: Vec<&Other> = others.iter().take(count).collect();
        let mut asked = Asked::new(own, &names);
        (0..20).for_each(|_| asked.own.step());
        let mut copies: Vec<Copy<'_>> = others
            .iter_mut()
            .take(count)
            .map(|other| {
                let steps = (10 + dice.below(40), 10 + dice.below(60));
                Copy::new(other, steps, &asked, &mut dice)
            })
            .collect();
        while copies.iter().any(|copy| !copy.coming.is_empty()) {
            let at = dice.length(copies.len());
            let to = asked.place(copies[at].other);
            copies[at].deliver(&to);
            if dice.one_in(3) {
                asked.logs.catch_up().unwrap();
            }
            if dice.one_in(8) {
                let names: Vec<&Other> = copies.iter().map(|copy| copy.other).collect();
                asked.logs = open(asked.dir.path(), &asked.own, &names);
            }
            if dice.one_in(2) {
                let [all, some] = questions(&mut dice);
                copies[at].check(&asked, &all, seed);
                copies[at].check(&asked, &some, seed);
            }
        }
        let [all, some] = questions(&mut dice);
        for copy in &copies {
            copy.check(&asked, &all, seed);
            copy.check(&asked, &some, seed);
            assert_eq!(asked.missing(copy.other), [], "seed {seed}: everything came");
            let counted = answer(asked.counted(copy.other, &all));
            assert_eq!(counted, all_of(&copy.records, copy.late.size), "seed {seed}");
        }
        // This node's own answer is its own.
        let own = asked.own.records();
        let counted = asked.logs.count(&all).unwrap();
        assert_eq!(counted.totals.records, all_of(&own, own.len() as u64).1.records);
    }
}

/// A copy that came whole, of a log of some segments.
fn whole(asked: &mut Asked, other: &mut Other) -> (Published, Vec<Record>) {
    (0..60).for_each(|_| other.step());
    let published = other.publish();
    copy(&published.dir.path().join("ledger"), &asked.place(other).join("ledger"));
    assert!(published.segments.len() >= 4, "{:?}", published.segments);
    (published, other.records())
}

#[test]
fn a_segment_that_was_tampered_with_is_refused_by_name_and_nothing_else_is() {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let mut other = Other::new("test/other/1", 2, 5);
    let mut asked = Asked::new(Other::new("test/asked/1", 1, 1), &[&other]);
    let (published, records) = whole(&mut asked, &mut other);
    let place = asked.place(&other);
    let answer_of = |asked: &Asked| answer(asked.counted(&other, &all));
    let everything = all_of(&records, published.size);
    assert_eq!(answer_of(&asked), everything);

    let second = published.segments.get(&1).unwrap().clone();
    let good = published.dir.path().join(segment(1));
    let check = |asked: &Asked, what: &str| {
        let [(first, end, why)] = &asked.missing(&other)[..] else { panic!("{what}: not one gap") };
        assert!(*first >= second.start && *end == Some(second.end), "{what}: {first} {end:?}");
        assert!(why.contains(&segment(1)), "{what}: {why}");
        let parts = [0..*first, second.end..published.size];
        assert_eq!(answer_of(asked), folded(&records, &parts, &all), "{what}");
    };
    // A record that another history has in its place, with every checksum right.
    let mut forger = Other::new("test/other/1", 2, 5);
    (0..60).for_each(|_| forger.step());
    let forged = forger.publish();
    assert_eq!(
        forged.segments.get(&1),
        Some(&second),
        "it is like the right one but for its salts"
    );
    put(&forged.dir.path().join(segment(1)), &place.join(segment(1)));
    check(&asked, "another history's");
    // A byte here and there: in a header, in a record, in the salt.
    for offset in [3, 30, 60, 1_000, 2_000, 4_000] {
        let mut bytes = fs::read(&good).unwrap();
        bytes[offset] ^= 1;
        fs::write(place.join("bad"), bytes).unwrap();
        put(&place.join("bad"), &place.join(segment(1)));
        check(&asked, &format!("byte {offset}"));
        asked.logs.catch_up().unwrap();
        check(&asked, &format!("byte {offset}, indexed"));
        // In another process, whose index had it from before.
        asked.logs = open(asked.dir.path(), &asked.own, &[&other]);
        check(&asked, &format!("byte {offset}, again"));
        put(&good, &place.join(segment(1)));
        assert_eq!(answer_of(&asked), everything, "byte {offset}: the right one is back");
    }
    // One that went away.
    fs::remove_file(place.join(segment(2))).unwrap();
    let third = published.segments.get(&2).unwrap();
    let [(first, end, _)] = &asked.missing(&other)[..] else { panic!("not one gap") };
    assert_eq!((*first, *end), (third.start, Some(third.end)));
}

#[test]
fn nothing_is_believed_that_the_node_s_key_did_not_sign() {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let mut other = Other::new("test/other/1", 2, 5);
    let mut asked = Asked::new(Other::new("test/asked/1", 1, 1), &[&other]);
    let nothing = (BTreeMap::new(), Totals::default());
    let answer_of = |asked: &Asked, other: &Other| answer(asked.counted(other, &all));
    // Nothing came yet, which is said.
    assert_eq!(answer_of(&asked, &other), nothing);
    assert_eq!(asked.missing(&other).len(), 1);
    // Another key, under the same name.
    let mut stranger = Other::new("test/other/1", 9, 5);
    whole(&mut asked, &mut stranger);
    assert_eq!(answer_of(&asked, &other), nothing);
    let why = asked.missing(&other).pop().unwrap().2;
    assert!(why.contains("no note of a known log") || why.contains("not a note"), "{why}");
    fs::remove_dir_all(asked.place(&other)).unwrap();

    // A second history, signed by the right key: what was seen of the first stays, and the second is named.
    let (published, records) = whole(&mut asked, &mut other);
    let everything = all_of(&records, published.size);
    assert_eq!(answer_of(&asked, &other), everything);
    let mut forger = Other::new("test/other/1", 2, 6);
    (0..80).for_each(|_| forger.step());
    let forged = forger.publish();
    let to = asked.place(&other).join("ledger");
    copy(&forged.dir.path().join("ledger/tile"), &to.join("tile"));
    put(&forged.dir.path().join("ledger/checkpoint"), &to.join("checkpoint"));
    assert_eq!(answer_of(&asked, &other), everything);
    let why = asked.missing(&other).pop().unwrap().2;
    assert!(why.contains("two histories"), "{why}");
}

#[test]
fn generations_of_one_node_are_one_answer_and_forget_together() {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    for seed in 0..4 {
        let mut dice = Dice::new(seed);
        let mut own = Other::new("test/asked/1", 1, seed);
        (0..80).for_each(|_| own.step());
        let published = own.publish();
        let records = own.records();
        let asked = tempfile::tempdir().unwrap();
        let (root, indexes) = (asked.path().join("generations/1"), asked.path().join("indexes"));
        let vault = || Arc::clone(&own.parts.vault);
        let current =
            ExposureIndex::open(asked.path(), own.parts.log.view().clone(), Some(vault()));
        let former = Beside::own("test/asked/1", root.clone(), indexes.clone(), vault());
        let logs = Logs {
            // The same records stand for the next generation, so that everybody is in both.
            origin: "test/asked/2".to_owned(),
            current: Arc::new(current.unwrap()),
            former: vec![former],
            replicas: Vec::new(),
        };
        let mut numbers: Vec<u64> = published.segments.keys().copied().collect();
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, dice.length(at + 1));
        }
        let mut came = BTreeMap::new();
        for number in numbers {
            put(&published.dir.path().join(segment(number)), &root.join(segment(number)));
            came.insert(number, published.segments.get(&number).unwrap().clone());
            let (parts, missing) = joined(came.values().cloned());
            let question =
                if dice.one_in(2) { questions(&mut dice)[1].clone() } else { all.clone() };
            let whole = 0..records.len() as u64;
            let merged: Vec<Range<u64>> = parts.iter().cloned().chain([whole]).collect();
            let quarter = BEGAN.quarter();
            let wanted = fold(&records, &merged, &question)
                .finish(|name| own.parts.vault.subject_of(name, quarter).unwrap());
            let counted = logs.count(&question).unwrap();
            let subject = |ordinal| own.parts.vault.subject(ordinal);
            let exposure = exposure::Exposure::from_counted(counted, subject).unwrap();
            assert_eq!(exposure, wanted, "seed {seed}");
            let gaps = logs.gaps(UnixMicros(0), UnixMicros(u64::MAX)).unwrap();
            let named = gaps.into_iter().filter_map(|gap| match gap.what {
                Lack::Missing(missing) => Some((missing.first, missing.end.unwrap_or(u64::MAX))),
                Lack::LostEnd { .. } | Lack::Thinned(_) => None,
            });
            assert_eq!(named.collect::<Vec<_>>(), missing, "seed {seed}");
            if dice.one_in(3) {
                logs.catch_up().unwrap();
            }
        }
        let subject = SubjectId::new("account-1").unwrap();
        let ordinal = own.parts.vault.ordinal(&subject).unwrap();
        let named = || logs.subjects(&all).unwrap().ordinals().any(|other| other == ordinal);
        logs.catch_up().unwrap();
        own.parts.eraser.forget(&subject);
        own.parts.eraser.erase().unwrap();
        assert!(named(), "seed {seed}: there is nothing to forget");
        logs.forget().unwrap();
        logs.catch_up().unwrap();
        assert!(!named(), "seed {seed}");
    }
}

#[test]
fn what_retention_took_of_a_copy_is_named_and_is_gone_from_its_index() {
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let mut other = Other::new("test/other/1", 2, 5);
    let mut asked = Asked::new(Other::new("test/asked/1", 1, 1), &[&other]);
    let (published, records) = whole(&mut asked, &mut other);
    asked.logs.catch_up().unwrap();
    assert_eq!(answer(asked.counted(&other, &all)), all_of(&records, published.size));

    let due = other.parts.thinner.due(other.clocks.wall(), 31).unwrap();
    let [first, second, ..] = &due[..] else { panic!("hardly anything is due: {due:?}") };
    for due in [first, second] {
        other.parts.log.begin().unwrap();
        other.parts.log.add(&due.thinning.draft()).unwrap();
        other.parts.log.commit().unwrap();
        other.parts.thinner.thin(due).unwrap();
    }
    let thinned = other.publish();
    copy(&thinned.dir.path().join("ledger"), &asked.place(&other).join("ledger"));
    let left = other.parts.log.view().records_from(second.thinning.last + 1);
    let left: Vec<Record> = left.map(|record| record.unwrap().1.decode().unwrap()).collect();
    let wanted = all_of(&left, left.len() as u64);
    let until = second.thinning.until;
    let check = |asked: &Asked| {
        assert_eq!(answer(asked.counted(&other, &all)), wanted);
        assert_eq!(asked.missing(&other), []);
        let gaps = |from| asked.logs.gaps_of_nodes(from, UnixMicros(u64::MAX)).unwrap();
        let said = |gap: &LogGap| matches!(gap.what, Lack::Thinned(all) if all.until == until);
        assert!(gaps(until).iter().any(said));
        assert_eq!(gaps(until + Micros(1)), []);
    };
    check(&asked);
    asked.logs.catch_up().unwrap();
    check(&asked);
    asked.logs = open(asked.dir.path(), &asked.own, &[&other]);
    check(&asked);
}
