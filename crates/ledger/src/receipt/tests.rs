use super::*;
use crate::record::Draft;
use crate::sample::{self, access, key, keys};
use crate::sequencer::Sequencer;
use proptest::prelude::*;

/// Receipts of a batch of `count` records that starts at index 3.
fn batch(count: usize) -> Vec<Receipt> {
    let mut sequencer = Sequencer::begin(sample::ORIGIN);
    let draft = Draft::Access(access(1, &[]));
    let all: Vec<_> =
        (0..count + 3).map(|_| sequencer.append(&draft, sample::START, [1; 16])).skip(3).collect();
    let leaves: Vec<_> = all.iter().map(|record| record.leaf_hash).collect();
    let batch = Arc::new(Batch::sign(&key(), 3, &leaves, UnixMicros(1_800_000_000_000_001)));
    all.iter().map(|record| Receipt::durable(record, Arc::clone(&batch))).collect()
}

#[test]
fn every_record_of_a_batch_has_a_promise() {
    for count in 1..10 {
        for receipt in batch(count) {
            let promise = verify(&receipt.header_value(), &keys()).unwrap();
            assert_eq!(promise.origin, sample::ORIGIN);
            assert_eq!((promise.index, promise.leaf_hash), (receipt.index(), *receipt.leaf_hash()));
            assert_eq!(promise.deadline_secs, 1_800_000_001, "rounded up");
        }
    }
}

#[test]
fn the_header_is_a_dictionary_of_structured_fields() {
    let value = batch(2)[1].header_value();
    let names: Vec<_> = value.split(", ").map(|member| member.split('=').next().unwrap()).collect();
    assert_eq!(names, ["log", "leaf", "index", "first", "size", "deadline", "path", "key", "sig"]);
    assert!(value.starts_with("log=\"test/node-1/1\", leaf=:"));
    assert!(value.contains(", index=4, first=3, size=2, deadline=@1800000001, path=:"));
}

#[test]
fn a_promise_for_another_record_place_or_time_is_forged() {
    let value = batch(4)[1].header_value();
    for (from, to) in [
        ("index=4", "index=5"),
        ("first=3", "first=4"),
        ("size=4", "size=5"),
        ("deadline=@1800000001", "deadline=@1800000009"),
    ] {
        let bad = verify(&value.replace(from, to), &keys());
        assert_eq!(bad, Err(BadReceipt::Forged), "{to}");
    }
    let other = SigningKey::new(sample::ORIGIN, &[9; 32]).unwrap().verifying_key().unwrap();
    assert_eq!(verify(&value, &[other]), Err(BadReceipt::OtherLog));
}

#[test]
#[should_panic(expected = "a record of another batch")]
fn a_receipt_of_another_batch_is_our_own_bug() {
    let mut sequencer = Sequencer::begin(sample::ORIGIN);
    let draft = Draft::Access(access(1, &[]));
    let record = sequencer.append(&draft, sample::START, [1; 16]);
    let batch = Batch::sign(&key(), 1, &[record.leaf_hash], sample::START);
    Receipt::durable(&record, Arc::new(batch));
}

proptest! {
    #[test]
    fn any_changed_byte_of_a_header_is_found(at: usize, bit in 0..7) {
        let mut bytes = batch(5)[2].header_value().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed, &keys()).is_err(), "{}", changed);
        }
    }
}

/// How `promise` stands against a log at `now_secs`.
fn held(promise: &Promise, log: &sample::Log, now_secs: u64) -> Result<Standing, NotKept> {
    let (files, checkpoint) = (log.files(), log.checkpoint());
    let mut reader =
        crate::tile::TileReader::open(checkpoint.tree, |path| files.get(path).cloned()).unwrap();
    stands(promise, &checkpoint, &mut reader, now_secs)
}

#[test]
fn a_promise_is_kept_or_the_omission_is_named() {
    let heads = |n: usize| vec![(1, sample::Step::Heads); n];
    let log = sample::log(&heads(4));
    let ends_secs = sample::START.0 / 1_000_000 + 1;
    let promise = |index: u64, deadline_secs: u64| Promise {
        origin: sample::ORIGIN.to_owned(),
        leaf_hash: log.records.last().unwrap().leaf_hash(),
        index,
        deadline_secs,
    };
    assert_eq!(held(&promise(4, 0), &log, u64::MAX), Ok(Standing::Included));
    let other = Err(NotKept::OtherRecord { index: 3 });
    assert_eq!(held(&promise(3, u64::MAX), &log, 0), other, "whatever the deadline");

    // Index 9 is beyond the log, whose last entry is at `ends_secs`.
    let due = promise(9, ends_secs);
    assert_eq!(held(&due, &log, ends_secs), Ok(Standing::NotDue));
    assert_eq!(held(&due, &log, ends_secs + 1), Ok(Standing::Overdue));
    let last = UnixMicros(sample::START.0 + 4 + 1_000_000);
    let omitted = NotKept::Omitted { index: 9, deadline_secs: ends_secs - 1, size: 5, last };
    assert_eq!(held(&promise(9, ends_secs - 1), &log, 0), Err(omitted));
    let elsewhere = Promise { origin: "test/node-2/1".to_owned(), ..promise(4, 0) };
    assert!(matches!(held(&elsewhere, &log, 0), Err(NotKept::OtherLog { .. })));
}
