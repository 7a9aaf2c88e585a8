//! Retention, broken off at each of its steps: what is there afterwards is the old segment or the thinned one, the log opens, and the next
//! try comes to its end.
#![expect(
    clippy::unwrap_used,
    reason = "the allowances of clippy.toml reach test functions only, not what they call"
)]

use ledger::note::SigningKey;
use ledger::{Draft, StoredRecord};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, Outcome, Pseudonym,
    RequestId, Touch, UnixMicros, VendorId,
};
use simulation::clocks::ToldClocks;
use simulation::torn_disk::{Faults, TornDisk};
use std::sync::Arc;
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::KeepSynced;
use storage::embedded::journal::JournalSizes;
use storage::embedded::log::prepare_segment;
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::retention::Due;
use storage::embedded::vault::VaultKeys;
use storage::embedded::view::LogView;

const SIZES: JournalSizes = JournalSizes { segment_bytes: 8 << 10, reserve_bytes: 1 << 10 };
const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SEGMENT: &str = "ledger/segments/0000000000.seg";

fn open(disk: &TornDisk, clocks: &ToldClocks) -> Parts {
    let key = SigningKey::new("test/node/1", &[3; 32]).unwrap();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let opening = Opening { sizes: SIZES, ..Opening::standard(key, vault) };
    let disk: Arc<dyn KeepSynced> = Arc::new(disk.clone());
    open_parts(&disk, Box::new(clocks.clone()), opening).unwrap()
}

fn read(n: u8) -> Draft {
    let classes = [ClassNumber::new(1)].into_iter().collect();
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
        bytes: 1,
        touches: vec![Touch { pseudonym: Pseudonym([n; 16]), classes }],
    })
}

/// A log of three segments, of which the first is announced and not thinned yet.
fn announced() -> (TornDisk, ToldClocks, Parts, Due) {
    let (disk, clocks) = (TornDisk::new(1), ToldClocks::at(BEGAN));
    let mut parts = open(&disk, &clocks);
    let mut n = 0;
    while parts.log.durable_end().segment < 2 {
        clocks.go_on(Micros::from_secs(1));
        if let Some(number) = parts.log.wants_segment() {
            parts.log.stock(prepare_segment(&disk, SIZES, number).unwrap());
        }
        parts.log.begin().unwrap();
        parts.log.add(&read(n)).unwrap();
        parts.log.commit().unwrap();
        n += 1;
    }
    let due = *parts.thinner.due(clocks.wall(), 31).unwrap().first().unwrap();
    parts.log.begin().unwrap();
    parts.log.add(&due.thinning.draft()).unwrap();
    parts.log.commit().unwrap();
    (disk, clocks, parts, due)
}

fn records(view: &LogView) -> Vec<StoredRecord> {
    view.records_from(0).map(|record| record.unwrap().1).collect()
}

/// Thins with these faults, then starts anew. Returns whether thinning said that it was done, and whether it was.
fn broken_off(faults: Faults) -> (bool, bool) {
    let (disk, clocks, parts, due) = announced();
    let before = records(parts.log.view());
    let whole = disk.read(SEGMENT).unwrap();
    let faults = Faults { capacity: faults.capacity.map(|free| disk.used() + free), ..faults };
    disk.set_faults(faults);
    let said = parts.thinner.thin(&due).is_ok();
    if disk.has_power() {
        // The node goes on. Whoever reads meanwhile reads one or the other.
        disk.set_faults(Faults::default());
        assert_eq!(records(parts.log.view()).len(), before.len());
        disk.process_restarts();
    } else {
        disk.power_cycle();
    }
    let parts = open(&disk, &clocks);
    let done = parts.log.view().thinned().segments == 1;
    assert_eq!(done, disk.read(SEGMENT).unwrap() != whole, "one or the other");
    assert!(done || !said, "what was said to be gone is there");
    let after = records(parts.log.view());
    for (index, (was, is)) in (0..).zip(before.iter().zip(&after)) {
        let left = if done && index <= due.thinning.last {
            was.clone().thinned().unwrap()
        } else {
            was.clone()
        };
        assert_eq!(*is, left, "record {index}");
    }
    // The next try.
    if !done {
        let due = parts.thinner.due(clocks.wall(), 31).unwrap();
        parts.thinner.thin(due.first().unwrap()).unwrap();
    }
    let again = open(&disk, &clocks).log.view().thinned();
    assert_eq!(again.segments, 1);
    let names = disk.list("ledger/segments").unwrap();
    assert!(!names.iter().any(|name| name.ends_with(".thin")), "{names:?}");
    (said, done)
}

#[test]
fn the_power_may_go_at_every_step() {
    for loses_all_unsynced in [false, true] {
        let ends: Vec<_> = (1..)
            .map(|at| {
                let power_cut_at = Some(at);
                broken_off(Faults { power_cut_at, loses_all_unsynced, ..Faults::default() })
            })
            .take_while(|(said, _)| !said)
            .collect();
        // Remove, create, header and a batch for each record, sync, rename, sync: and in all but the last the old one is there.
        assert!(ends.len() > 10, "{ends:?}");
        assert!(!ends.iter().take(ends.len() - 2).any(|(_, done)| *done), "{ends:?}");
    }
}

#[test]
fn any_step_may_fail() {
    let ends: Vec<_> = (1..)
        .map(|at| broken_off(Faults { error_at: Some(at), ..Faults::default() }))
        .take_while(|(said, _)| !said)
        .collect();
    assert!(ends.len() > 10, "{ends:?}");
}

#[test]
fn the_disk_may_be_full() {
    let ends: Vec<_> = (0..40)
        .map(|free| broken_off(Faults { capacity: Some(free * 256), ..Faults::default() }))
        .collect();
    assert!(ends.iter().any(|(said, _)| *said) && ends.iter().any(|(said, _)| !said));
    assert!(ends.iter().all(|(said, done)| said == done), "{ends:?}");
}
