//! P9 for the record: with the disk full, failing or hanging and the clock stepped, data stops, and posture changes are recorded while they can be.

use ledger::Draft;
use model::{ClientIp, Micros, Refusal, SubjectId, UnixMicros};
use simulation::clocks::ToldClocks;
use simulation::power_cuts::opening;
use simulation::torn_disk::{Faults, TornDisk};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::embedded::Vault;
use storage::embedded::disk::KeepSynced;
use storage::embedded::recorder::{Opening, Recorder, open_on, open_parts};
use storage::embedded::unavailable::{OpenFailed, Unavailable};

const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);

fn open(disk: &TornDisk, clocks: &ToldClocks) -> Result<Recorder, OpenFailed> {
    let opening = Opening { wait_max: Duration::from_millis(200), ..opening() };
    let opened = open_on(Arc::new(disk.clone()), Box::new(clocks.clone()), None, opening)?;
    Ok(opened.recorder)
}

fn data() -> Draft {
    Draft::UnauthenticatedRefusals {
        network: ClientIp::from_peer([192, 0, 2, 1].into()),
        reason: Refusal::Unauthenticated,
        second: 7,
        count: 1,
    }
}

fn posture() -> Draft {
    Draft::Posture { entry: vec![1; 200] }
}

fn append_until(recorder: &Recorder, wanted: impl Fn(&Unavailable) -> bool) {
    let began = Instant::now();
    loop {
        match recorder.append_blocking(data()) {
            Err(why) if wanted(&why) => return,
            other => assert!(began.elapsed() < Duration::from_secs(20), "{other:?}"),
        }
    }
}

/// Whatever operation of an erasure fails, or is the one before a crash, no second copy of the rows stays.
#[test]
fn an_erasure_that_fails_leaves_no_copy_of_the_rows() {
    let subject = SubjectId::new("account-1").unwrap();
    let (mut erased, mut crashed) = (false, 0);
    for at in 1.. {
        for crash in [false, true] {
            let disk = TornDisk::new(at);
            let shared: Arc<dyn KeepSynced> = Arc::new(disk.clone());
            let parts = || open_parts(&shared, Box::new(ToldClocks::at(NOW)), opening()).unwrap();
            let mut live = parts();
            live.vault.row(&subject, NOW).unwrap();
            live.log.begin().unwrap();
            live.eraser.forget(&subject);
            disk.set_faults(match crash {
                false => Faults { error_at: Some(at), ..Faults::default() },
                true => Faults { power_cut_at: Some(at), ..Faults::default() },
            });
            erased = live.eraser.erase().is_ok();
            if crash {
                disk.power_cycle();
                crashed += u32::from(disk.backup().contains_key("vault/rows.new"));
                let _ = Vault::open(&*shared, &opening().vault);
            }
            assert!(!disk.backup().contains_key("vault/rows.new"), "operation {at}, {crash}");
        }
        if erased {
            break;
        }
    }
    assert!(crashed > 0, "no crash came while there were two");
}

#[test]
fn on_a_full_disk_data_is_refused_and_posture_changes_are_recorded() {
    let disk = TornDisk::new(1);
    let recorder = open(&disk, &ToldClocks::at(NOW)).unwrap();
    disk.set_faults(Faults { capacity: Some(1), ..Faults::default() });
    append_until(&recorder, |why| *why == Unavailable::DiskFull);
    recorder.append_blocking(posture()).unwrap();
    assert_eq!(recorder.append_blocking(data()).map(|_| ()), Err(Unavailable::DiskFull));

    disk.set_faults(Faults::default());
    let began = Instant::now();
    while recorder.append_blocking(data()).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "space came back and data is refused");
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = TornDisk::new(2);
    let recorder = open(&disk, &ToldClocks::at(NOW)).unwrap();
    recorder.append_blocking(data()).unwrap();
    disk.set_faults(Faults { error_at: Some(2), ..Faults::default() });
    append_until(&recorder, |why| matches!(why, Unavailable::Stopped(_)));
    // The disk is well again; whether the failed batch is on it is not known, so nothing more is taken.
    disk.set_faults(Faults::default());
    for draft in [data(), posture()] {
        assert!(matches!(recorder.append_blocking(draft), Err(Unavailable::Stopped(_))));
    }
    drop(recorder);
    open(&disk, &ToldClocks::at(NOW)).unwrap().append_blocking(data()).unwrap();
}

#[test]
fn a_disk_that_hangs_is_waited_for_no_longer_than_allowed() {
    let disk = TornDisk::new(3);
    let recorder = open(&disk, &ToldClocks::at(NOW)).unwrap();
    disk.hang(true);
    let began = Instant::now();
    let busy = Err(Unavailable::Busy(Duration::from_millis(200)));
    assert_eq!(recorder.append_blocking(data()).map(|_| ()), busy);
    assert_eq!(
        recorder.append_blocking(data()).map(|_| ()),
        busy,
        "queued behind the one that hangs"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    disk.hang(false);
    let began = Instant::now();
    while recorder.append_blocking(data()).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the disk is back and data is refused");
    }
}

#[test]
fn a_stepped_clock_stops_data_until_somebody_says_so() {
    let disk = TornDisk::new(4);
    let clocks = ToldClocks::at(NOW);
    let recorder = open(&disk, &clocks).unwrap();
    recorder.append_blocking(data()).unwrap();
    clocks.set_wall(NOW - Micros::from_secs(30));
    let stepped = Err(Unavailable::ClockStepped(-30_000_000));
    assert_eq!(recorder.append_blocking(data()).map(|_| ()), stepped);
    let posture = recorder.append_blocking(posture()).unwrap();
    assert!(posture.time() >= NOW, "recorded time does not go back");
    recorder.acknowledge_clock();
    recorder.append_blocking(data()).unwrap();
}

#[test]
fn a_leap_of_the_clock_is_refused_before_anything_has_its_time() {
    let disk = TornDisk::new(6);
    let clocks = ToldClocks::at(NOW);
    let recorder = open(&disk, &clocks).unwrap();
    assert_eq!(recorder.now(), Ok(NOW));
    let tomorrow = NOW + Micros::from_secs(86_400);
    clocks.set_wall(tomorrow);
    // Whoever asks for the time before charging a budget by it is refused, whether the log has noticed or not.
    assert_eq!(recorder.now(), Err(Unavailable::ClockStepped(86_400_000_000)));
    let stepped = Err(Unavailable::ClockStepped(86_400_000_000));
    assert_eq!(recorder.append_blocking(data()).map(|_| ()), stepped);
    let cut = recorder.append_blocking(posture()).unwrap();
    assert_eq!(cut.time(), NOW, "a cut is recorded, at the time before the leap");
    // The leap was a mistake: the records in between have no time that is still to come.
    clocks.set_wall(NOW + Micros::from_secs(1));
    recorder.acknowledge_clock();
    let after = recorder.append_blocking(data()).unwrap();
    assert!(after.time() <= NOW + Micros::from_secs(1), "{}", after.time());
}

#[test]
fn a_clock_set_back_while_the_node_was_down_stops_data_and_reorders_nothing() {
    let disk = TornDisk::new(7);
    let recorder = open(&disk, &ToldClocks::at(NOW)).unwrap();
    let before = recorder.append_blocking(data()).unwrap().time();
    drop(recorder);
    let recorder = open(&disk, &ToldClocks::at(NOW - Micros::from_secs(3_600))).unwrap();
    let stepped = Err(Unavailable::ClockStepped(-3_600_000_000));
    assert_eq!(recorder.append_blocking(data()).map(|_| ()), stepped);
    assert!(recorder.append_blocking(posture()).unwrap().time() >= before);
    recorder.acknowledge_clock();
    assert!(recorder.append_blocking(data()).unwrap().time() >= before);
    drop(recorder);
    open(&disk, &ToldClocks::at(NOW)).unwrap();
}

#[test]
fn a_rotten_byte_in_the_middle_keeps_the_log_shut_and_is_named() {
    let disk = TornDisk::new(5);
    let recorder = open(&disk, &ToldClocks::at(NOW)).unwrap();
    for _ in 0..10 {
        recorder.append_blocking(data()).unwrap();
    }
    drop(recorder);
    disk.rot("ledger/segments/0000000000.seg", 300);
    let opened = open_on(Arc::new(disk), Box::new(ToldClocks::at(NOW)), None, opening());
    match opened.map(|_| ()) {
        Err(OpenFailed::Corrupt { path, offset, .. }) => {
            assert_eq!(path, "ledger/segments/0000000000.seg");
            assert!(offset <= 300);
        }
        other => panic!("{other:?}"),
    }
}
