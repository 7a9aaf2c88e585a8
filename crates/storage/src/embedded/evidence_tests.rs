//! A bundle is the same bytes whether it is read from a stored state or from the log's first record, and no state is believed.

use super::*;
use crate::embedded::clocks::ReadClocks;
use crate::embedded::disk::{KeepSynced, LocalDisk};
use crate::embedded::journal::JournalSizes;
use crate::embedded::log::prepare_segment;
use crate::embedded::recorder::{Opening, Parts, open_parts};
use crate::embedded::vault::VaultKeys;
use ledger::note::SigningKey;
use ledger::{Draft, State};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, OperationId, Outcome,
    Pseudonym, RequestId, Touch, UnixMicros, VendorId,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SIZES: JournalSizes = JournalSizes { segment_bytes: 16 << 10, reserve_bytes: 2 << 10 };
const RECORDS: u64 = 300;

/// Both clocks go on by a second with each record.
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

struct Written {
    directory: tempfile::TempDir,
    disk: Arc<dyn KeepSynced>,
    view: LogView,
    note: String,
    keys: Vec<VerifyingKey>,
}

fn integration(n: u64) -> IntegrationId {
    IntegrationId::from_bytes([u8::try_from(n).unwrap(); 16])
}

fn read(n: u64) -> Draft {
    let touch = |pseudonym| Touch {
        pseudonym: Pseudonym([pseudonym; 16]),
        classes: [ClassNumber::new(1)].into_iter().collect(),
    };
    Draft::Access(AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: integration(n % 3),
        credential: CredentialId::from_bytes([4; 16]),
        grant: None,
        operation: OperationId::new("getAccount"),
        network: ClientIp::from_peer([192, 0, 2, 1].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 1,
        touches: (0..u8::try_from(n % 5).unwrap()).map(touch).collect(),
    })
}

/// A log of ten segments, opened anew in the middle; nothing happens from its second 100 to 200, heads included.
fn written() -> Written {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(directory.path()).unwrap());
    let clocks = Seconds::default();
    let (first, view) = write_some(&disk, &clocks, 0..RECORDS / 2);
    drop(view);
    let (second, view) = write_some(&disk, &clocks, RECORDS / 2..RECORDS);
    assert_ne!(first, second);
    assert!(view.end().segment >= 8, "too few segments: {:?}", view.end());
    Written { directory, disk, view, note: second, keys: vec![key().verifying_key().unwrap()] }
}

fn key() -> SigningKey {
    SigningKey::new("test/node/1", &[3; 32]).unwrap()
}

/// Opens the log, appends, and drops it as a crash does. Returns the last checkpoint.
fn write_some(
    disk: &Arc<dyn KeepSynced>,
    clocks: &Seconds,
    records: std::ops::Range<u64>,
) -> (String, LogView) {
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let opening = Opening { sizes: SIZES, ..Opening::standard(key(), vault) };
    let parts = open_parts(disk, Box::new(clocks.clone()), opening).unwrap();
    let Parts { mut log, mut publisher, .. } = parts;
    let mut note = String::new();
    for n in records {
        clocks.0.fetch_add(if n == 100 { 100 } else { 1 }, Ordering::Relaxed);
        if let Some(number) = log.wants_segment() {
            log.stock(prepare_segment(&**disk, SIZES, number).unwrap());
        }
        log.begin().unwrap();
        log.acknowledge_clock();
        log.add(&read(n)).unwrap();
        let tree = (n % 7 == 6).then(|| log.add_heads().unwrap());
        log.commit().unwrap();
        if let Some(tree) = tree {
            note = publisher.publish(&tree).unwrap();
        }
    }
    (note, log.view().clone())
}

fn log() -> &'static Written {
    static LOG: OnceLock<Written> = OnceLock::new();
    LOG.get_or_init(written)
}

fn question(who: Option<u64>, from: u64, seconds: u64) -> Question {
    let at = |seconds| BEGAN + Micros::from_secs(seconds);
    Question {
        integrations: who.map(|n| [integration(n)].into()),
        from: at(from),
        to: at(from + seconds),
        classes: None,
        networks: None,
    }
}

fn from_the_first(log: &Written, question: &Question) -> Result<Vec<u8>, NoBundle> {
    let start = Start { segment: 0, state: State::begin() };
    build_from(&log.view, &start, question, &Form::default(), &log.note, &log.keys)
}

fn same(log: &Written, question: &Question) {
    let quick = build(&log.view, question, &Form::default(), &log.note, &log.keys);
    match (quick, from_the_first(log, question)) {
        (Ok(quick), Ok(slow)) => {
            assert_eq!(quick, slow);
            ledger::bundle::verify(&quick, &log.keys, &[]).unwrap();
        }
        (Err(NoBundle::CannotProve(quick)), Err(NoBundle::CannotProve(slow))) => {
            assert_eq!(quick, slow);
        }
        (quick, slow) => panic!("{quick:?}, {slow:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_bundle_is_the_same_from_a_state_as_from_the_first_record(
        who in prop::option::of(0_u64..4), from in 0..420_u64, seconds in 0..100_u64,
    ) {
        same(log(), &question(who, from, seconds));
    }
}

#[test]
fn reading_begins_near_the_window() {
    let log = log();
    let start = log.view.before(BEGAN + Micros::from_secs(390)).unwrap();
    assert!(start.segment + 4 >= log.view.end().segment, "began at segment {}", start.segment);
}

#[test]
fn states_that_are_missing_damaged_or_false_are_made_again() {
    let log = written();
    let late = question(Some(1), 380, 10);
    let right = from_the_first(&log, &late).unwrap();
    let states = || -> Vec<_> {
        let names = log.disk.list("ledger/segments").unwrap().into_iter();
        names
            .filter(|name| name.ends_with(".state"))
            .map(|n| format!("ledger/segments/{n}"))
            .collect()
    };
    let all = states();
    assert_eq!(all.len() as u64, log.view.end().segment, "one for each sealed segment");
    let read = |path: &String| log.disk.read(path).unwrap();
    let true_states: Vec<_> = all.iter().map(read).collect();

    // Missing, all of them; then each second one; then one byte of each.
    for path in &all {
        log.disk.remove(path).unwrap();
    }
    assert_eq!(build(&log.view, &late, &Form::default(), &log.note, &log.keys).unwrap(), right);
    for path in all.iter().step_by(2) {
        log.disk.remove(path).unwrap();
    }
    assert_eq!(build(&log.view, &late, &Form::default(), &log.note, &log.keys).unwrap(), right);
    for (path, state) in all.iter().zip(&true_states) {
        let mut damaged = state.clone();
        damaged[state.len() / 2] ^= 1;
        log.disk.replace_unsynced(path, &damaged).unwrap();
    }
    assert_eq!(build(&log.view, &late, &Form::default(), &log.note, &log.keys).unwrap(), right);

    // False, but whole: the states of the segments in another order, and then another log's.
    for (path, state) in all.iter().zip(true_states.iter().rev()) {
        log.disk.replace_unsynced(path, state).unwrap();
    }
    let built = build(&log.view, &late, &Form::default(), &log.note, &log.keys);
    assert_eq!(built.unwrap(), right);
    let other = written();
    for path in &all {
        let state = other.disk.read(path).unwrap();
        log.disk.replace_unsynced(path, &state).unwrap();
    }
    assert_eq!(build(&log.view, &late, &Form::default(), &log.note, &log.keys).unwrap(), right);
    assert_eq!(all.iter().map(read).collect::<Vec<_>>(), true_states, "they were made again");
}

#[test]
fn a_log_that_is_damaged_gives_no_evidence() {
    let log = written();
    let late = question(None, 380, 10);
    let path = format!("ledger/tile/0/{:03}", 0);
    let mut tile = log.disk.read(&path).unwrap();
    tile[40] ^= 1;
    log.disk.replace_unsynced(&path, &tile).unwrap();
    // A tile beside the path is not looked at; one on it is.
    let early = question(None, 10, 10);
    let built = build(&log.view, &early, &Form::default(), &log.note, &log.keys);
    assert!(matches!(built, Err(NoBundle::Tiles(_))), "{built:?}");
    build(&log.view, &late, &Form::default(), &log.note, &log.keys).unwrap();

    let segment = log.directory.path().join("ledger/segments/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[2_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let built = build(&log.view, &early, &Form::default(), &log.note, &log.keys);
    assert!(matches!(built, Err(NoBundle::Log(_))), "{built:?}");
}
