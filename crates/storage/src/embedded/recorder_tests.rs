use super::*;
use crate::embedded::view::LogView;
use ledger::record::Body;
use model::{ClientIp, Refusal, SubjectId, UnixMicros};
use std::fs;
use std::path::Path;

fn opening() -> Opening {
    let key = SigningKey::new("test/node/1", &[3; 32]).unwrap();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let sizes = JournalSizes { segment_bytes: 1 << 20, reserve_bytes: 64 << 10 };
    // A disk that other tests keep busy is no disk that stands still.
    Opening { sizes, wait_max: Duration::from_secs(60), ..Opening::standard(key, vault) }
}

fn refusals(count: u64) -> Draft {
    Draft::UnauthenticatedRefusals {
        network: ClientIp::from_peer([192, 0, 2, 1].into()),
        reason: Refusal::Unauthenticated,
        second: 7,
        count,
    }
}

fn bodies(view: &LogView) -> Vec<Body> {
    view.records_from(0).map(|record| record.unwrap().1.decode().unwrap().body).collect()
}

#[test]
fn a_receipt_names_a_record_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, view, .. } = open(dir.path(), opening()).unwrap();
    let receipt = recorder.append_blocking(refusals(3)).unwrap();
    let (index, record) = view.records_from(receipt.index()).next().unwrap().unwrap();
    assert_eq!((index, record.leaf_hash()), (receipt.index(), *receipt.leaf_hash()));
}

#[test]
fn a_log_starts_and_stops_with_its_own_records_and_a_checkpoint_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, view, checkpoint, .. } = open(dir.path(), opening()).unwrap();
    assert_eq!(checkpoint, None);
    recorder.append_blocking(refusals(1)).unwrap();
    recorder.stop().unwrap();
    let bodies = bodies(&view);
    assert!(matches!(bodies.first(), Some(Body::Node(NodeEvent::Start { .. }))));
    assert!(matches!(bodies[bodies.len() - 2], Body::Node(NodeEvent::Stop)));
    assert!(matches!(bodies[bodies.len() - 1], Body::Heads(_)));
    assert!(matches!(recorder.append_blocking(refusals(1)), Err(Unavailable::Stopped(_))));
    drop(recorder);

    let reopened = open(dir.path(), opening()).unwrap();
    let checkpoint = reopened.checkpoint.unwrap();
    assert_eq!(checkpoint.tree, reopened.recovered.tree);
    assert_eq!(checkpoint.tree.size, bodies.len() as u64);
    assert!(!reopened.recovered.torn);
}

#[test]
fn checkpoints_that_are_withheld_are_not_signed_and_the_record_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), opening()).unwrap().recorder.stop().unwrap();
    let recorder = open(dir.path(), opening()).unwrap().recorder;
    recorder.withhold_checkpoints();
    assert!(recorder.withholds_checkpoints());
    let withheld = recorder.append_blocking(refusals(1)).unwrap().index();
    recorder.stop().unwrap();
    drop(recorder);
    let Opened { recorder, checkpoint, .. } = open(dir.path(), opening()).unwrap();
    let signed = checkpoint.unwrap().tree.size;
    assert!(signed <= withheld, "not even at the end: {signed} of {withheld}");
    recorder.stop().unwrap();
    drop(recorder);
    let signed = open(dir.path(), opening()).unwrap().checkpoint.unwrap().tree.size;
    assert!(signed > withheld, "until the next start: {signed} of {withheld}");
}

#[test]
fn many_tasks_get_each_their_own_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, view, .. } = open(dir.path(), opening()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipts: Vec<(u64, Receipt)> = runtime.block_on(async {
        let tasks: Vec<_> = (0..2000)
            .map(|n| {
                let recorder = recorder.clone();
                tokio::spawn(async move { (n, recorder.append(refusals(n)).await.unwrap()) })
            })
            .collect();
        let mut receipts = Vec::new();
        for task in tasks {
            receipts.push(task.await.unwrap());
        }
        receipts
    });
    let bodies = bodies(&view);
    for (n, receipt) in receipts {
        let Body::UnauthenticatedRefusals { count, .. } =
            bodies[usize::try_from(receipt.index()).unwrap()]
        else {
            panic!("another record")
        };
        assert_eq!(count, n);
    }
}

#[test]
fn segments_follow_one_another_under_load_and_all_of_it_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, view, .. } = open(dir.path(), opening()).unwrap();
    let big = || Draft::Vetting {
        integration: model::IntegrationId::from_bytes([1; 16]),
        step: "evidence".into(),
        detail: vec![5; 60_000],
    };
    for _ in 0..100 {
        recorder.append_blocking(big()).unwrap();
    }
    assert!(view.end().segment >= 5);
    recorder.stop().unwrap();
    let records = view.records_from(0).count();
    drop(recorder);
    let at_rest = LogView::at_rest(Arc::new(LocalDisk::new(dir.path()).unwrap())).unwrap();
    assert_eq!(at_rest.records_from(0).count(), records);
    assert_eq!(at_rest.records_from(50).count(), records - 50);
    assert_eq!(at_rest.records_since(UnixMicros(0)).count(), records);
    assert_eq!(open(dir.path(), opening()).unwrap().recovered.tree.size, records as u64);
}

#[test]
fn tiles_lead_to_the_checkpoints_root() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, .. } = open(dir.path(), opening()).unwrap();
    for n in 0..600 {
        recorder.append_blocking(refusals(n)).unwrap();
    }
    recorder.stop().unwrap();
    check_tiles(dir.path());
    // Tiles lost with the power are written again.
    drop(recorder);
    fs::remove_dir_all(dir.path().join("ledger/tile")).unwrap();
    fs::remove_file(dir.path().join("ledger/tiles.durable")).unwrap();
    open(dir.path(), opening()).unwrap().recorder.stop().unwrap();
    check_tiles(dir.path());
}

fn check_tiles(root: &Path) {
    let note = fs::read_to_string(root.join("ledger/checkpoint")).unwrap();
    let key = opening().key.verifying_key().unwrap();
    let tree = ledger::checkpoint::open(&note, &[key]).unwrap().tree;
    let fetch = |path: &str| fs::read(root.join("ledger").join(path)).ok();
    let mut tiles = ledger::tile::TileReader::open(tree, fetch).unwrap();
    for index in 0..tree.size {
        tiles.inclusion(index).unwrap();
    }
    for bundle in 0..tree.size.div_ceil(256) {
        tiles.entries(bundle).unwrap();
    }
}

#[test]
fn an_older_copy_of_the_segments_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), opening()).unwrap().recorder.stop().unwrap();
    let segment = dir.path().join("ledger/segments/0000000000.seg");
    let copy = fs::read(&segment).unwrap();
    let Opened { recorder, .. } = open(dir.path(), opening()).unwrap();
    recorder.append_blocking(refusals(1)).unwrap();
    recorder.stop().unwrap();
    drop(recorder);
    fs::write(&segment, copy).unwrap();
    assert!(matches!(open(dir.path(), opening()).map(|_| ()), Err(OpenFailed::OlderCopy { .. })));
}

#[test]
fn a_checkpoint_of_another_log_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), opening()).unwrap().recorder.stop().unwrap();
    let other = SigningKey::new("test/node/1", &[4; 32]).unwrap();
    let failed = open(dir.path(), Opening { key: other, ..opening() }).map(|_| ());
    assert!(matches!(failed, Err(OpenFailed::OtherCheckpoint { .. })), "{failed:?}");
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), opening()).unwrap();
    assert!(matches!(open(dir.path(), opening()).map(|_| ()), Err(OpenFailed::Locked { .. })));
    drop(opened);
    open(dir.path(), opening()).unwrap();
}

#[test]
fn a_file_taken_away_or_replaced_stops_the_record() {
    let away = |root: &Path, name: &str| fs::remove_file(root.join(name)).unwrap();
    let replaced = |root: &Path, name: &str| {
        fs::copy(root.join(name), root.join("copy")).unwrap();
        fs::rename(root.join("copy"), root.join(name)).unwrap();
    };
    let in_use = "ledger/segments/0000000001.seg";
    let sealed = "ledger/segments/0000000000.seg";
    for name in [in_use, sealed, "vault/rows", "lock"] {
        for take in [&away as &dyn Fn(&Path, &str), &replaced] {
            let dir = tempfile::tempdir().unwrap();
            let Opened { recorder, view, .. } = open(dir.path(), opening()).unwrap();
            while view.end().segment == 0 {
                let detail = vec![5; 60_000];
                let integration = model::IntegrationId::from_bytes([1; 16]);
                let step = "evidence".to_owned();
                recorder.append_blocking(Draft::Vetting { integration, step, detail }).unwrap();
            }
            take(dir.path(), name);
            let began = Instant::now();
            while recorder.stopped().is_none() {
                // Four looks a second; the rest is for a machine that is busy with other tests.
                assert!(began.elapsed() < Duration::from_secs(60), "{name}: not noticed");
                std::thread::sleep(Duration::from_millis(10));
            }
            match recorder.append_blocking(refusals(1)) {
                Err(Unavailable::Stopped(why)) => assert!(why.contains(name), "{why}"),
                other => panic!("{other:?}"),
            }
            assert!(recorder.stop().is_err());
        }
    }
}

#[test]
fn a_subject_in_a_durable_record_is_in_the_vault_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, vault, .. } = open(dir.path(), opening()).unwrap();
    let subject = SubjectId::new("account-1").unwrap();
    let now = UnixMicros(1_790_000_000_000_000);
    let (_, pseudonym) = vault.row(&subject, now).unwrap();
    recorder.append_blocking(refusals(1)).unwrap();
    drop(vault);
    drop(recorder);
    let vault = open(dir.path(), opening()).unwrap().vault;
    assert_eq!(vault.subject_of(&pseudonym, now.quarter()), Ok(Some(subject)));
}

/// An erasure fails, its subject is read again; then it is tried again, or the node dies first.
#[test]
fn an_erasure_that_failed_comes_to_its_end_and_who_was_read_since_stays() {
    let now = UnixMicros(1_790_000_000_000_000);
    let subject = SubjectId::new("account-1").unwrap();
    let other = SubjectId::new("account-2").unwrap();
    for tried_again in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let Opened { recorder, vault, eraser, .. } = open(dir.path(), opening()).unwrap();
        let (ordinal, first) = vault.row(&subject, now).unwrap();
        vault.row(&other, now).unwrap();
        let detail = vault.erased_row(&subject).unwrap().to_detail("test");
        let operator = model::OperatorId::from_bytes([7; 16]);
        let action = ERASED_ACTION.to_owned();
        recorder.append_blocking(Draft::OperatorAction { operator, action, detail }).unwrap();
        eraser.forget(&subject);
        let in_the_way = dir.path().join("vault/rows.new");
        fs::create_dir(&in_the_way).unwrap();
        eraser.erase().unwrap_err();
        assert_eq!(vault.subject(ordinal), Ok(None));
        assert_eq!(vault.subject_of(&first, now.quarter()), Ok(None));
        assert_eq!((vault.erased(), eraser.is_due()), (1, true));
        let (later, second) = vault.row(&subject, now).unwrap();
        recorder.append_blocking(refusals(1)).unwrap();
        fs::remove_dir(&in_the_way).unwrap();
        if tried_again {
            eraser.erase().unwrap();
            assert_eq!((vault.erased(), eraser.is_due()), (1, false));
            assert_eq!(vault.subject(later), Ok(Some(subject.clone())));
        }
        drop((vault, eraser, recorder));

        let disk = LocalDisk::new(dir.path()).unwrap();
        let (wrapping_id, path) =
            if tried_again { keys::in_use(&disk).unwrap() } else { (1, String::new()) };
        let wrapping =
            fs::read(dir.path().join(path)).map_or([2; 32], |key| key.try_into().unwrap());
        let vault = VaultKeys { index: [1; 32], wrapping, wrapping_id };
        let reopened = open(dir.path(), Opening { vault, ..opening() }).unwrap();
        let rows = fs::read(dir.path().join(ROWS_PATH)).unwrap();
        let kind = |ordinal: model::SubjectOrdinal| rows[32 + 240 * ordinal.0 as usize];
        assert_eq!((kind(ordinal), kind(later)), (2, 1), "as the file has it");
        let vault = reopened.vault;
        assert_eq!((vault.erased(), vault.subject(ordinal)), (1, Ok(None)));
        assert_eq!(vault.subject_of(&first, now.quarter()), Ok(None));
        assert_eq!(vault.subject_of(&second, now.quarter()), Ok(Some(subject.clone())));
        assert_eq!(vault.ordinal(&subject), Some(later));
        assert!(vault.ordinal(&other).is_some());
    }
}

#[test]
fn appenders_that_come_together_are_committed_together() {
    const APPENDERS: u64 = 16;
    const EACH: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let Opened { recorder, view, .. } = open(dir.path(), opening()).unwrap();
    let (records, commits) = (view.end().records, recorder.commits());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|n| {
                let recorder = recorder.clone();
                tokio::spawn(async move {
                    for _ in 0..EACH {
                        recorder.append(refusals(n)).await.unwrap();
                    }
                })
            })
            .collect();
        for appender in appenders {
            appender.await.unwrap();
        }
    });
    assert!(view.end().records - records >= APPENDERS * EACH);
    let commits = recorder.commits() - commits;
    assert!(commits * 2 < APPENDERS * EACH, "{commits} commits");
}
