use super::*;
use crate::checkpoint;
use crate::note::SigningKey;
use crate::sample::{self, Log, Step, access, touch};
use crate::sequencer::TreeHead;
use proptest::prelude::*;

fn reads(log: &Log) -> Result<(), BadEntries> {
    let files = log.files();
    let checkpoint = log.checkpoint();
    let mut reader = TileReader::open(checkpoint.tree, |path| files.get(path).cloned())?;
    entries_follow(&checkpoint, &mut reader, |_| ())
}

fn grew(earlier: &Checkpoint, log: &Log) -> Result<(), NotGrown> {
    let files = log.files();
    let later = log.checkpoint();
    let mut reader = TileReader::open(later.tree, |path| files.get(path).cloned())?;
    grown(earlier, &later, &mut reader)
}

fn long() -> Log {
    let draft = |n: u8| Step::Draft(crate::Draft::Access(access(1 + n % 3, &[touch(n, &[1])])));
    let steps: Vec<_> = (0..=255).chain(0..=100).map(|n| (10, draft(n))).collect();
    sample::log(&steps)
}

/// The log with its entries changed and a checkpoint that fits them: what a dishonest operator can publish.
fn resigned(mut log: Log, change: impl FnOnce(&mut Vec<crate::StoredRecord>)) -> Log {
    change(&mut log.records);
    let mut frontier = merkle::Frontier::default();
    log.records.iter().for_each(|record| frontier.push(record.leaf_hash()));
    let tree = TreeHead { size: frontier.size(), root: frontier.root() };
    log.note = checkpoint::sign(&tree, &sample::key());
    log
}

#[test]
fn a_log_that_only_grew_is_accepted_from_every_size() {
    let log = long();
    for size in (0..=log.records.len()).step_by(13).chain([1, 255, 256, 257, log.records.len()]) {
        assert_eq!(grew(&log.at(size).checkpoint(), &log), Ok(()), "{size}");
    }
}

#[test]
fn a_second_history_is_named() {
    let log = long();
    let forked = |size: usize| {
        let mut earlier = log.at(size).checkpoint();
        earlier.tree.root[0] ^= 1;
        earlier
    };
    let is = log.records.len() as u64;
    for size in [1, 2, 255, 256, 300, log.records.len()] {
        let named = Err(NotGrown::Forked { was: size as u64, is });
        assert_eq!(grew(&forked(size), &log), named, "{size}");
    }
}

#[test]
fn a_log_that_was_taken_back_is_named() {
    let log = long();
    let named = Err(NotGrown::Shrunk { was: log.records.len() as u64, is: 300 });
    assert_eq!(grew(&log.checkpoint(), &log.at(300)), named);
}

#[test]
fn another_log_says_nothing_about_this_one() {
    let log = long();
    let key = SigningKey::new("test/node-2/1", &[7; 32]).unwrap();
    let tree = log.at(3).checkpoint().tree;
    let other =
        checkpoint::open(&checkpoint::sign(&tree, &key), &[key.verifying_key().unwrap()]).unwrap();
    assert!(matches!(grew(&other, &log), Err(NotGrown::OtherLog { .. })));
}

#[test]
fn entries_that_do_not_follow_are_named_though_the_checkpoint_fits() {
    assert_eq!(reads(&long()), Ok(()));
    assert_eq!(reads(&sample::log(&[])), Ok(()));
    let dropped = resigned(long(), |records| drop(records.remove(7)));
    assert!(matches!(reads(&dropped), Err(BadEntries::Order(Corrupt::Skipped { index: 9, .. }))));
    let repeated = resigned(long(), |records| records.insert(8, records[7].clone()));
    assert!(matches!(reads(&repeated), Err(BadEntries::Order(Corrupt::Repeated { index: 8, .. }))));
    let swapped = resigned(long(), |records| records.swap(3, 4));
    assert!(matches!(reads(&swapped), Err(BadEntries::Order(Corrupt::TimeBack { index: 4 }))));
    let cut = long();
    assert_eq!(reads(&cut.at(cut.records.len() - 1)), Err(BadEntries::NoHeads));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_of_any_file_is_found(steps in sample::steps(), file: proptest::sample::Index, at: proptest::sample::Index, bit in 0_u8..8) {
        let log = sample::log(&steps);
        let (mut files, checkpoint) = (log.files(), log.checkpoint());
        let mut names: Vec<_> = files.keys().cloned().collect();
        let name = names.swap_remove(file.index(names.len()));
        let bytes = files.get_mut(&name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let read = TileReader::open(checkpoint.tree, |path| files.get(path).cloned())
            .map_err(BadEntries::from)
            .and_then(|mut reader| entries_follow(&checkpoint, &mut reader, |_| ()));
        prop_assert!(matches!(read, Err(BadEntries::Files(_))), "{name}: {read:?}");
    }
}
