//! The power goes at every step of sealing, of another sealing key and of another token key: whatever the disk kept, every secret can be
//! read, a node would start, and doing it again ends it.

use model::{Micros, UnixMicros};
use simulation::torn_disk::{Faults, TornDisk};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::secrets::{KeyFiles, Ring, SealingKey, TokenKeys};

const NOW: UnixMicros = UnixMicros::from_secs(1_790_000_000);
const SECRETS: [(&str, &[u8]); 4] = [
    ("token.key", &[1; 32]),
    ("log.key", &[2; 32]),
    ("vault-index.key", &[3; 32]),
    ("recipients/insurer.key", &[4; 32]),
];

fn files(disk: &TornDisk, current: Option<u8>, former: Option<u8>) -> Arc<KeyFiles> {
    let key = |byte: Option<u8>| byte.and_then(|byte| SealingKey::new(&[byte; 32]));
    let ring = Ring { current: key(current), former: key(former) };
    Arc::new(KeyFiles::new(Arc::new(disk.clone()), ring))
}

fn directory(seed: u64, sealed: Option<u8>) -> TornDisk {
    let disk = TornDisk::new(seed);
    let files = files(&disk, sealed, None);
    for (name, secret) in SECRETS {
        assert!(files.replace(name, secret).is_ok());
    }
    disk
}

fn all_there(files: &KeyFiles, when: &str) {
    for (name, secret) in SECRETS {
        let read = files.read(name).map(|read| read.to_vec()).map_err(|why| why.to_string());
        assert_eq!(read.as_deref(), Ok(secret), "{when}: {name}");
    }
}

/// Cuts the power at each operation of `act`, from the first to the one that it does not reach. `after`: what must hold then.
fn at_every_step(
    what: &str,
    directory: &dyn Fn(u64) -> TornDisk,
    act: &dyn Fn(&TornDisk) -> bool,
    after: &dyn Fn(&TornDisk, bool, &str),
) -> u64 {
    for step in 1.. {
        let mut whole = true;
        for seed in 0..6 {
            let disk = directory(seed);
            let loses_all_unsynced = seed == 0;
            disk.set_faults(Faults {
                power_cut_at: Some(step),
                loses_all_unsynced,
                ..Faults::default()
            });
            let done = act(&disk);
            whole &= done;
            disk.power_cycle();
            after(&disk, done, &format!("{what}, step {step}, seed {seed}"));
        }
        if whole {
            return step;
        }
    }
    0
}

#[test]
fn sealing_that_is_broken_off_leaves_a_directory_that_starts() {
    let seal = |disk: &TornDisk| {
        let files = files(disk, Some(7), None);
        let sealed = files.clear().and_then(|clear| files.seal_all(&clear, &|_| 5));
        sealed.and_then(|()| files.remove_halves()).is_ok()
    };
    let steps = at_every_step("seal", &|seed| directory(seed, None), &seal, &|disk, done, when| {
        let sealed = files(disk, Some(7), None);
        // Before the first step nothing is sealed, and the node starts as it did.
        let begun = sealed.sealing_is_due().unwrap() || sealed.clear().unwrap().len() < 4;
        assert!(begun || !done, "{when}");
        let in_the_clear = files(disk, None, None);
        all_there(if begun { &sealed } else { &in_the_clear }, when);
        assert!(seal(disk), "{when}: again");
        all_there(&sealed, when);
        assert!(sealed.clear().unwrap().is_empty() && !sealed.sealing_is_due().unwrap(), "{when}");
        for bytes in disk.backup().values() {
            let clear = |secret: &[u8]| bytes.windows(32).any(|found| found == secret);
            assert!(!SECRETS.iter().any(|(_, secret)| clear(secret)), "{when}: in the clear");
        }
    });
    assert!(steps > 20, "{steps} steps");
}

#[test]
fn another_sealing_key_that_is_broken_off_leaves_a_directory_that_starts() {
    let rewrap = |disk: &TornDisk| files(disk, Some(8), Some(7)).rewrap().is_ok();
    let steps =
        at_every_step("rewrap", &|seed| directory(seed, Some(7)), &rewrap, &|disk, _, when| {
            all_there(&files(disk, Some(8), Some(7)), when);
            assert!(rewrap(disk), "{when}: again");
            all_there(&files(disk, Some(8), None), when);
        });
    assert!(steps > 15, "{steps} steps");
}

/// What a node signed before the power went is verified by the node after it.
#[test]
fn another_token_key_that_is_broken_off_goes_on_where_it_was() {
    let minute = Micros::from_secs(60);
    let states = std::cell::RefCell::new(BTreeSet::new());
    let rotate = |disk: &TornDisk| -> bool {
        let files = files(disk, Some(7), None);
        let run = || {
            TokenKeys::stage(&files, &[9; 32], 60, false)?;
            let mut keys = TokenKeys::open(Arc::clone(&files), NOW)?;
            keys.take_over(NOW)?;
            keys.advance(NOW + minute).map(drop)
        };
        run().is_ok()
    };
    let kids = |disk: &TornDisk, now| {
        let keys = TokenKeys::open(files(disk, Some(7), None), now).unwrap().in_use();
        let verify: BTreeSet<_> = keys.published.into_keys().collect();
        (keys.signing.public().thumbprint_text(), verify)
    };
    let before = kids(&directory(0, Some(7)), NOW);
    let steps =
        at_every_step("rotate", &|seed| directory(seed, Some(7)), &rotate, &|disk, done, when| {
            // The old key may have signed until now, so it verifies, whoever signs.
            let (signs, verify) = kids(disk, NOW + minute);
            assert!(verify.contains(&before.0), "{when}: what it signed is good");
            assert!(verify.contains(&signs), "{when}");
            assert!(!done || signs != before.0, "{when}: it was rotated");
            // In the end there is one, and the next can come.
            let hour = Micros::from_secs(3_600);
            kids(disk, NOW + hour);
            let (signs, verify) = kids(disk, NOW + hour + hour);
            assert_eq!(verify, BTreeSet::from([signs.clone()]), "{when}");
            states.borrow_mut().insert(signs);
            TokenKeys::stage(&files(disk, Some(7), None), &[10; 32], 0, false)
                .unwrap_or_else(|why| panic!("{when}: {why}"));
        });
    assert!(steps > 20, "{steps} steps");
    assert_eq!(states.borrow().len(), 2, "some were rotated and some were not");
}
