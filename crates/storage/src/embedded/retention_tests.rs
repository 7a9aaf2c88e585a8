use super::*;
use crate::embedded::clocks::ReadClocks;
use crate::embedded::disk::LocalDisk;
use crate::embedded::evidence::{NoBundle, build};
use crate::embedded::index::ExposureIndex;
use crate::embedded::journal::{JournalSizes, numbers};
use crate::embedded::log::prepare_segment;
use crate::embedded::recorder::{Opening, Parts, open_parts};
use crate::embedded::segments::Segments;
use crate::embedded::vault::VaultKeys;
use ledger::bundle::{CannotProve, Form, Question};
use ledger::note::{SigningKey, VerifyingKey};
use ledger::{Draft, checkpoint, full};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, Outcome, Pseudonym,
    Refusal, RequestId, SubjectId, Touch, VendorId,
};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SIZES: JournalSizes = JournalSizes { segment_bytes: 16 << 10, reserve_bytes: 2 << 10 };
const END: UnixMicros = UnixMicros(u64::MAX);

/// Both clocks go on by a second with each batch.
#[derive(Clone, Default)]
struct Seconds(Arc<AtomicU64>);

impl ReadClocks for Seconds {
    fn wall(&self) -> UnixMicros {
        BEGAN + self.monotonic()
    }

    fn monotonic(&self) -> Micros {
        Micros::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct World {
    directory: tempfile::TempDir,
    disk: Arc<dyn KeepSynced>,
    clocks: Seconds,
    parts: Parts,
    note: String,
    /// Everybody who was read, by record.
    read: Vec<(u64, Pseudonym)>,
}

fn key() -> SigningKey {
    SigningKey::new("test/node/1", &[3; 32]).unwrap()
}

fn keys() -> Vec<VerifyingKey> {
    vec![key().verifying_key().unwrap()]
}

fn open(disk: &Arc<dyn KeepSynced>, clocks: &Seconds) -> Result<Parts, OpenFailed> {
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let opening = Opening { sizes: SIZES, ..Opening::standard(key(), vault) };
    open_parts(disk, Box::new(clocks.clone()), opening)
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(directory.path()).unwrap());
        let clocks = Seconds::default();
        let parts = open(&disk, &clocks).unwrap();
        Self { directory, disk, clocks, parts, note: String::new(), read: Vec::new() }
    }

    /// As a crash and a start.
    fn reopened(mut self) -> Self {
        self.parts = open(&self.disk, &self.clocks).unwrap();
        self
    }

    fn commit(&mut self, drafts: &[Draft], heads: bool) -> Vec<u64> {
        self.clocks.0.fetch_add(1, Ordering::Relaxed);
        let Parts { log, publisher, .. } = &mut self.parts;
        if let Some(number) = log.wants_segment() {
            log.stock(prepare_segment(&*self.disk, SIZES, number).unwrap());
        }
        log.begin().unwrap();
        log.acknowledge_clock();
        let added = drafts.iter().map(|draft| log.add(draft).unwrap()).collect();
        let tree = heads.then(|| log.add_heads().unwrap());
        log.commit().unwrap();
        if let Some(tree) = tree {
            self.note = publisher.publish(&tree).unwrap();
        }
        added
    }

    /// Somebody reads one or two people, everybody else a few times later.
    fn read(&mut self, n: u64) {
        let now = self.clocks.wall();
        let mut touches = Vec::new();
        for who in [n, n / 2] {
            let subject = SubjectId::new(&format!("account-{who}")).unwrap();
            let (_, pseudonym) = self.parts.vault.row(&subject, now).unwrap();
            let classes = [ClassNumber::new(1)].into_iter().collect();
            touches.push(Touch { pseudonym, classes });
        }
        touches.sort_by_key(|touch| touch.pseudonym);
        touches.dedup_by_key(|touch| touch.pseudonym);
        let pseudonyms: Vec<_> = touches.iter().map(|touch| touch.pseudonym).collect();
        let access = Draft::Access(AccessRecord {
            request: RequestId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([2; 16]),
            integration: IntegrationId::from_bytes([u8::try_from(n % 3).unwrap(); 16]),
            credential: CredentialId::from_bytes([4; 16]),
            grant: None,
            operation: None,
            network: ClientIp::from_peer([192, 0, 2, 77].into()),
            contract: [6; 32],
            policy: [7; 32],
            class_table: [8; 32],
            outcome: Outcome::Released,
            bytes: 1,
            touches,
        });
        let refused = Draft::UnauthenticatedRefusals {
            network: ClientIp::from_peer([198, 51, 100, 78].into()),
            reason: Refusal::Unauthenticated,
            second: n,
            count: 1,
        };
        let added = self.commit(&[access, refused], n % 7 == 6);
        self.read.extend(pseudonyms.into_iter().map(|pseudonym| (added[0], pseudonym)));
    }

    fn announce(&mut self, due: &[Due]) {
        let drafts: Vec<_> = due.iter().map(|due| due.thinning.draft()).collect();
        self.commit(&drafts, true);
    }

    /// Announces and thins what is due.
    fn retain(&mut self, before: UnixMicros) -> Vec<Due> {
        let due = self.parts.thinner.due(before, 90).unwrap();
        self.announce(&due);
        for each in &due {
            self.parts.thinner.thin(each).unwrap();
        }
        due
    }

    fn records(&self) -> Vec<StoredRecord> {
        self.parts.log.view().records_from(0).map(|record| record.unwrap().1).collect()
    }

    fn bundle(&self, from: UnixMicros, to: UnixMicros) -> Result<Vec<u8>, NoBundle> {
        let question = Question { integrations: None, from, to, classes: None, networks: None };
        build(self.parts.log.view(), &question, &Form::default(), &self.note, &keys())
    }
}

/// Whether any file under `folder` holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn what_was_read_is_in_no_file_and_the_log_is_the_same_log() {
    let mut world = World::new();
    (0..150).for_each(|n| world.read(n));
    let root = world.directory.path().to_owned();
    let index = |world: &World| {
        let (view, vault) = (world.parts.log.view().clone(), Arc::clone(&world.parts.vault));
        ExposureIndex::open(&root, view, Some(vault)).unwrap()
    };
    let kept_along = index(&world);
    kept_along.catch_up().unwrap();
    let before = world.records();
    let middle = BEGAN + Micros::from_secs(75);
    let due = world.retain(middle);
    kept_along.forget().unwrap();
    kept_along.catch_up().unwrap();
    assert!(due.len() >= 2, "{due:?}");
    let thinned = world.parts.log.view().thinned();
    assert_eq!(thinned.segments, due.len() as u64);
    assert!(thinned.until < middle);
    assert!(thinned.reaches(thinned.until) && !thinned.reaches(middle));

    // Entry by entry the same; whoever was read before is nowhere, whoever was read since is where they were.
    let after = world.records();
    let leaves = |records: &[StoredRecord]| -> Vec<_> {
        records.iter().take(before.len()).map(StoredRecord::leaf_hash).collect()
    };
    assert_eq!(leaves(&after), leaves(&before));
    for (index, pseudonym) in &world.read {
        let late = world.read.iter().any(|(i, p)| p == pseudonym && *i >= thinned.records);
        assert_eq!(holds(&root, &pseudonym.0), late, "record {index}");
    }
    for (index, (was, is)) in (0..).zip(before.iter().zip(&after)) {
        let gone = index < thinned.records && is.is_thinned();
        assert_eq!(gone, was != is);
        assert!(!is.is_thinned() || index < thinned.records);
    }
    let networks =
        |folder: &Path| holds(folder, &[192, 0, 2, 77]) && holds(folder, &[198, 51, 100, 78]);
    assert!(networks(&root), "later records have them");

    // Whatever a reader begins with.
    for from in 0..after.len() as u64 {
        let record = world.parts.log.view().records_from(from).next().unwrap().unwrap();
        assert_eq!((record.0, &record.1), (from, &after[usize::try_from(from).unwrap()]));
    }
    let signed = checkpoint::open(&world.note, &keys()).unwrap();
    let audited = full::verify_full(&after, &signed).unwrap();
    assert_eq!(audited.thinned.unwrap().until, thinned.until);
    let spans = Segments::look(&world.disk).unwrap();
    assert_eq!(spans.all.iter().filter(|span| span.thinned).count(), due.len());
    assert!(spans.readable.thinned().reaches(thinned.until));

    // After a start, and at rest.
    let at_rest = LogView::at_rest(Arc::clone(&world.disk)).unwrap();
    assert_eq!(at_rest.thinned(), thinned);
    let mut world = world.reopened();
    assert_eq!(world.parts.log.view().thinned(), thinned);
    let again = world.records();
    assert_eq!(again[..after.len()], after);
    assert!(world.parts.thinner.due(middle, 90).unwrap().is_empty());
    // The index grew, is built again, and is found again: the same answer, from what is left.
    let answers = [kept_along, index(&world)].map(|index| {
        let all = exposure::Question::all(UnixMicros(0), END);
        index.ask(|index| index.count(&all)).unwrap()
    });
    assert_eq!(format!("{:?}", answers[0]), format!("{:?}", answers[1]));
    // And it goes on: the rest of it, later.
    (150..200).for_each(|n| world.read(n));
    let due = world.retain(END);
    assert!(!due.is_empty());
    assert_eq!(world.parts.log.view().thinned().segments, world.parts.log.view().end().segment);
    world.reopened();
}

#[test]
fn evidence_is_the_same_bytes_or_names_the_limit() {
    let mut world = World::new();
    (0..120).for_each(|n| world.read(n));
    let at = |secs: u64| BEGAN + Micros::from_secs(secs);
    let windows: Vec<_> = (0..110).step_by(3).map(|from| (at(from), at(from + 9))).collect();
    let due = world.parts.thinner.due(at(60), 90).unwrap();
    world.announce(&due);
    let before: Vec<_> =
        windows.iter().map(|(from, to)| world.bundle(*from, *to).unwrap()).collect();
    due.iter().for_each(|due| world.parts.thinner.thin(due).unwrap());
    let thinned = world.parts.log.view().thinned();
    let mut refused = 0;
    for ((from, to), before) in windows.iter().zip(before) {
        match world.bundle(*from, *to) {
            Ok(after) => {
                assert_eq!(after, before);
                assert!(*from > thinned.until);
            }
            Err(NoBundle::CannotProve(CannotProve::Thinned { at })) => {
                assert!(*from <= at && at <= thinned.until);
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 5 && refused < windows.len() - 5, "{refused}");
}

#[test]
fn a_thinning_that_the_log_does_not_announce_is_damage() {
    let mut world = World::new();
    (0..100).for_each(|n| world.read(n));
    let due = world.parts.thinner.due(END, 90).unwrap();
    world.parts.thinner.thin(&due[0]).unwrap();
    let failed = open(&world.disk, &world.clocks).map(|_| ()).unwrap_err().to_string();
    assert!(failed.contains("0000000000.seg") && failed.contains("no record says"), "{failed}");
    // What is announced has to be what is thinned.
    let other = Thinning { leaf: [1; 32], ..due[0].thinning };
    world.commit(&[other.draft()], true);
    assert!(open(&world.disk, &world.clocks).is_err());
    world.commit(&[due[0].thinning.draft()], true);
    let mut world = world.reopened();

    // One out of order, and the last.
    world.announce(&due);
    let second = world.disk.read(&path(1)).unwrap();
    world.parts.thinner.thin(&due[1]).unwrap();
    world.parts.thinner.thin(&due[2]).unwrap();
    let whole = world.disk.read(&path(1)).unwrap();
    world.disk.replace(&path(1), &second).unwrap();
    let failed = open(&world.disk, &world.clocks).map(|_| ()).unwrap_err().to_string();
    assert!(failed.contains("one before it is not"), "{failed}");
    world.disk.replace(&path(1), &whole).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let copy: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(directory.path()).unwrap());
    copy.create_dir(SEGMENTS_DIR).unwrap();
    copy.replace(&path(0), &world.disk.read(&path(0)).unwrap()).unwrap();
    let failed = LogView::at_rest(copy).map(|_| ()).unwrap_err().to_string();
    assert!(failed.contains("the segments behind it are missing"), "{failed}");
}

#[test]
fn a_reader_that_has_the_old_file_reads_it_to_its_end_and_later_ones_read_what_is_left() {
    let mut world = World::new();
    (0..60).for_each(|n| world.read(n));
    let before = world.records();
    // Open in the first segment; and with marks of where batches lay.
    let view = world.parts.log.view().clone();
    let mut reading = view.records_from(0);
    assert_eq!(reading.next().unwrap().unwrap().1, before[0]);
    let not_begun = view.records_from(3);
    let due = world.retain(BEGAN + Micros::from_secs(40));
    let first: Vec<_> = reading.map(|record| record.unwrap().1).collect();
    let end = usize::try_from(due[0].thinning.last).unwrap();
    assert_eq!(first[..end], before[1..=end]);
    let later: Vec<_> = not_begun.map(|record| record.unwrap().0).collect();
    assert_eq!(later, (3..before.len() as u64).collect::<Vec<_>>());
}

#[test]
fn segments_of_version_1_that_were_written_long_ago_are_thinned() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    let directory = tempfile::tempdir().unwrap();
    for name in ["ledger/segments/0000000000.seg", "ledger/checkpoint", "vault/rows"] {
        fs::create_dir_all(directory.path().join(name).parent().unwrap()).unwrap();
        fs::copy(from.join(name), directory.path().join(name)).unwrap();
    }
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(directory.path()).unwrap());
    let clocks = Seconds::default();
    let reopen = || {
        let key = SigningKey::new("fixture/node/1", &[3; 32]).unwrap();
        let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
        let sizes = JournalSizes { segment_bytes: 4_096, reserve_bytes: 1_024 };
        let opening = Opening { sizes, ..Opening::standard(key, vault) };
        open_parts(&disk, Box::new(clocks.clone()), opening).unwrap()
    };
    let mut parts = reopen();
    let tree = parts.recovered.tree;
    let vetting = |detail| Draft::Vetting {
        integration: IntegrationId::from_bytes([1; 16]),
        step: "evidence".into(),
        detail,
    };
    let mut append = |draft: &Draft| {
        if let Some(number) = parts.log.wants_segment() {
            let sizes = JournalSizes { segment_bytes: 4_096, reserve_bytes: 1_024 };
            parts.log.stock(prepare_segment(&*disk, sizes, number).unwrap());
        }
        parts.log.begin().unwrap();
        parts.log.add(draft).unwrap();
        parts.log.commit().unwrap();
    };
    (0..6).for_each(|_| append(&vetting(vec![5; 600])));
    let due = parts.thinner.due(END, 90).unwrap();
    let first = due[0];
    let mut append = |draft: &Draft| {
        parts.log.begin().unwrap();
        parts.log.add(draft).unwrap();
        parts.log.commit().unwrap();
    };
    append(&first.thinning.draft());
    let pseudonyms: Vec<_> = parts
        .log
        .view()
        .records_from(0)
        .flat_map(|record| record.unwrap().1.decode().unwrap().touches)
        .map(|touch| touch.pseudonym.0)
        .collect();
    assert_eq!(pseudonyms.len(), 4);
    assert!(pseudonyms.iter().all(|pseudonym| holds(directory.path(), pseudonym)));
    parts.thinner.thin(&first).unwrap();
    drop(parts);
    let parts = reopen();
    assert_eq!(parts.checkpoint.unwrap().tree, tree, "the checkpoint of the fixture holds");
    assert_eq!(parts.log.view().thinned().segments, 1);
    assert!(pseudonyms.iter().all(|pseudonym| !holds(directory.path(), pseudonym)));
    assert_eq!(parts.posture.len(), 2, "what is no caller's stays");
    assert!(numbers(&*disk).unwrap().len() >= 2);
}
