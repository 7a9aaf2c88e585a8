//! P4's durable half and P9's, on a file layer that drops every write not yet synced.

use simulation::dice::Dice;
use simulation::power_cuts::{Broken, Done, run, run_meddled};
use simulation::torn_disk::{Faults, Lie, TornDisk};
use std::ops::Range;

const SEEDS: u64 = 5_000;

/// `SEED=n cargo test -p simulation` runs one seed.
fn one_seed() -> Option<u64> {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok())
}

fn all(seeds: Range<u64>) -> Result<Done, String> {
    let mut all = Done::default();
    for seed in seeds {
        all += run(seed, Faults::default()).map_err(|broken| {
            format!("{broken}; SEED={seed} cargo test -p simulation runs it again")
        })?;
    }
    Ok(all)
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    if let Some(seed) = one_seed() {
        println!("{:?}", all(seed..seed + 1).unwrap());
        return;
    }
    let mut done = Done::default();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| all(0..SEEDS / 2));
        done += all(SEEDS / 2..SEEDS).unwrap();
        done += first.join().unwrap().unwrap();
    });
    let all = done;
    println!("{SEEDS} seeds: {all:?}");
    assert!(all.torn > SEEDS / 10, "hardly any write was torn: {all:?}");
    assert!(all.kills > SEEDS / 10, "hardly any process was killed: {all:?}");
    assert!(all.full > SEEDS / 10, "hardly any disk was full: {all:?}");
    assert!(all.acknowledged > SEEDS * 5, "hardly any record was acknowledged: {all:?}");
    assert!(all.erased > SEEDS / 20, "hardly anybody was erased: {all:?}");
    assert!(all.not_erased > SEEDS / 100, "hardly any erasure failed: {all:?}");
    assert!(all.erased_later > SEEDS / 100, "hardly any erasure was tried again: {all:?}");
    assert!(all.thinned > SEEDS / 20, "hardly any segment was thinned: {all:?}");
    assert!(all.not_thinned > SEEDS / 100, "hardly any thinning failed: {all:?}");
    assert!(all.cuts > SEEDS, "hardly any cut was acknowledged: {all:?}");
}

/// What of `seeds` runs breaks a promise.
fn broken(seeds: u64, faults: Faults, meddle: &dyn Fn(&TornDisk)) -> Vec<Broken> {
    (0..seeds).filter_map(|seed| run_meddled(seed, faults, meddle).err()).collect()
}

/// The mutation check: each sync left out, and the checksums, must be missed by some seed. A run that cannot fail shows nothing.
#[test]
fn without_any_one_of_its_syncs_the_same_runs_fail() {
    for lie in [
        Lie::NoSync,
        Lie::NoFileSync("ledger/segments/"),
        Lie::NoFileSync("ledger/segments/0000000000.seg.thin"),
        Lie::NoFileSync("ledger/checkpoint"),
        Lie::NoFileSync("vault/rows"),
        Lie::NoFileSync("posture/register"),
        Lie::NoDirSync("ledger/segments"),
        Lie::NoDirSync("ledger"),
        Lie::NoDirSync("vault"),
        Lie::NoDirSync("posture"),
        Lie::NoDirSync(""),
        Lie::NoFileSync("keys/"),
        Lie::NoDirSync("keys"),
    ] {
        let faults = Faults { lie: Some(lie), ..Faults::default() };
        let broken = broken(120, faults, &|_| {});
        println!("{lie:?}: {} of 120 seeds fail", broken.len());
        assert!(!broken.is_empty(), "{lie:?} is not missed");
    }
}

#[test]
fn without_its_syncs_the_log_loses_records() {
    let lie = Some(Lie::NoSync);
    let faults = Faults { lie, loses_all_unsynced: true, ..Faults::default() };
    let broken = broken(100, faults, &|_| {});
    let lost = broken.iter().filter(|broken| matches!(broken, Broken::RecordLost(_))).count();
    // What is left can also show that more was there: a checkpoint, a later batch. A run whose processes were only killed loses nothing.
    assert!(broken.len() > 50 && lost > 0, "{} broken, {lost} lost records", broken.len());
}

/// Makes every checksum of a batch's frames right, which is as if nobody compared them.
#[test]
fn without_the_checksums_the_same_runs_fail() {
    let broken = broken(200, Faults::default(), &|disk| {
        for number in 0..20 {
            disk.edit(&format!("ledger/segments/{number:010}.seg"), forge_checksums);
        }
    });
    println!("no checksums: {} of 200 seeds fail", broken.len());
    assert!(!broken.is_empty(), "the checksums are not missed");
}

/// `docs/segment-format.md`: a batch's header is 32 bytes, of which the first 24 are under a checksum of their own.
fn forge_checksums(segment: &mut [u8]) -> bool {
    let mut at = 40;
    while let Some(end) = batch_end(segment, at) {
        let mut frame = at + 32;
        while let Some(next) = frame_end(segment, frame).filter(|&next| next <= end) {
            let length = segment.get(frame..frame + 4).map_or(0, crc32c::crc32c);
            let payload = segment.get(frame + 8..next).unwrap_or(&[]);
            let crc = crc32c::crc32c_append(length, payload).to_be_bytes();
            if let Some(to) = segment.get_mut(frame + 4..frame + 8) {
                to.copy_from_slice(&crc);
            }
            frame = next;
        }
        at = end.next_multiple_of(8);
    }
    true
}

/// Where the frames of the batch at `at` end, if there is a whole header.
fn batch_end(segment: &[u8], at: usize) -> Option<usize> {
    let header = crc32c::crc32c(segment.get(at..at + 24)?);
    let whole = u32_at(segment, at + 24)? == header && u32_at(segment, at + 16)? > 0;
    whole.then_some(at + 32 + usize::try_from(u32_at(segment, at + 16)?).ok()?)
}

fn frame_end(segment: &[u8], at: usize) -> Option<usize> {
    Some(at + 8 + usize::try_from(u32_at(segment, at)?).ok()?)
}

fn u32_at(segment: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?))
}

#[test]
fn a_seed_replays() {
    for seed in 0..20 {
        assert_eq!(run(seed, Faults::default()), run(seed, Faults::default()));
    }
    assert_ne!(Dice::new(1).roll(), Dice::new(2).roll());
}
