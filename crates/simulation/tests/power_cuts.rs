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

fn all(seeds: Range<u64>) -> Done {
    let mut all = Done::default();
    for seed in seeds {
        match run(seed, Faults::default()) {
            Ok(done) => all += done,
            Err(broken) => panic!("{broken}; SEED={seed} cargo test -p simulation runs it again"),
        }
    }
    all
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    if let Some(seed) = one_seed() {
        println!("{:?}", all(seed..seed + 1));
        return;
    }
    let halves = std::thread::scope(|scope| {
        let first = scope.spawn(|| all(0..SEEDS / 2));
        let second = all(SEEDS / 2..SEEDS);
        first.join().map(|mut first| {
            first += second;
            first
        })
    });
    let all = halves.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
    println!("{SEEDS} seeds: {all:?}");
    assert!(all.torn > SEEDS / 10, "hardly any write was torn: {all:?}");
    assert!(all.kills > SEEDS / 10, "hardly any process was killed: {all:?}");
    assert!(all.full > SEEDS / 10, "hardly any disk was full: {all:?}");
    assert!(all.acknowledged > SEEDS * 5, "hardly any record was acknowledged: {all:?}");
    assert!(all.erased > SEEDS / 20, "hardly anybody was erased: {all:?}");
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
        let broken = broken(150, faults, &|_| {});
        println!("{lie:?}: {} of 150 seeds fail", broken.len());
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
    let broken = broken(300, Faults::default(), &|disk| {
        for number in 0..20 {
            disk.edit(&format!("ledger/segments/{number:010}.seg"), forge_checksums);
        }
    });
    println!("no checksums: {} of 300 seeds fail", broken.len());
    assert!(!broken.is_empty(), "the checksums are not missed");
}

fn forge_checksums(segment: &mut Vec<u8>) -> bool {
    let u32_at = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes)
    };
    let mut at = 40;
    // `docs/segment-format.md`: a batch's header is 32 bytes, of which the first 24 are under a checksum of their own.
    while let Some(header) = segment.get(at..at + 24).map(crc32c::crc32c)
        && u32_at(segment, at + 24) == Some(header)
        && header != crc32c::crc32c(&[0; 24])
    {
        let length = usize::try_from(u32_at(segment, at + 16).unwrap_or(0)).unwrap();
        let (mut frame, end) = (at + 32, at + 32 + length);
        while let Some(payload) = u32_at(segment, frame).filter(|_| frame + 8 < end) {
            let next = frame + 8 + usize::try_from(payload).unwrap();
            let Some(bytes) = segment.get(frame + 8..next).filter(|_| next <= end) else { break };
            let crc = crc32c::crc32c_append(crc32c::crc32c(&payload.to_be_bytes()), bytes);
            segment[frame + 4..frame + 8].copy_from_slice(&crc.to_be_bytes());
            frame = next;
        }
        at = end.next_multiple_of(8);
    }
    true
}

#[test]
fn a_seed_replays() {
    for seed in 0..20 {
        assert_eq!(run(seed, Faults::default()), run(seed, Faults::default()));
    }
    assert_ne!(Dice::new(1).roll(), Dice::new(2).roll());
}
