use super::*;
use crate::embedded::disk::LocalDisk;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SIZES: JournalSizes = JournalSizes { segment_bytes: 4096, reserve_bytes: 1024 };

struct Opened {
    journal: Journal,
    tail: Tail,
    payloads: Vec<Vec<u8>>,
}

fn open(root: &Path) -> Result<Opened, OpenFailed> {
    let mut payloads = Vec::new();
    let mut salt = 0;
    let random = Box::new(move || {
        salt += 1;
        salt
    });
    let (journal, tail) = Journal::open(
        Arc::new(LocalDisk::new(root).unwrap()),
        SIZES,
        random,
        &mut |place, payload| {
            assert_eq!(place.index, payloads.len() as u64);
            payloads.push(payload.to_vec());
            Ok(())
        },
    )?;
    Ok(Opened { journal, tail, payloads })
}

fn batch(payloads: &[&[u8]]) -> BatchBuffer {
    let mut batch = BatchBuffer::default();
    for payload in payloads {
        assert!(batch.push(|out| out.extend_from_slice(payload)));
    }
    batch
}

fn patch(root: &Path, number: u64, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(root.join(path(number))).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn corrupt_at(root: &Path) -> (String, u64) {
    match open(root).map(|_| ()) {
        Err(OpenFailed::Corrupt { path, offset, .. }) => (path, offset),
        other => panic!("{other:?}"),
    }
}

/// Two batches in segment 0; returns the ends of both.
fn two_batches(root: &Path) -> [u64; 2] {
    let mut journal = open(root).unwrap().journal;
    let first = journal.append(&batch(&[b"one", b"two"])).unwrap();
    let second = journal.append(&batch(&[b"three"])).unwrap();
    [first.offset, second.offset]
}

#[test]
fn what_was_appended_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.payloads, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert!(!opened.tail.torn);
    assert_eq!(opened.journal.durable_end().records, 3);
}

#[test]
fn a_torn_last_batch_is_dropped_and_zeroed() {
    let dir = tempfile::tempdir().unwrap();
    let [first, _] = two_batches(dir.path());
    patch(dir.path(), 0, first + 33, b"\xff");
    let opened = open(dir.path()).unwrap();
    assert!(opened.tail.torn);
    assert_eq!(opened.payloads.len(), 2);
    assert_eq!(opened.journal.durable_end().offset, first);
    let bytes = fs::read(dir.path().join(path(0))).unwrap();
    assert!(bytes[usize::try_from(first).unwrap()..].iter().all(|&b| b == 0));
    assert!(!open(dir.path()).unwrap().tail.torn);
}

#[test]
fn a_batch_whose_first_page_is_missing_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let [_, second] = two_batches(dir.path());
    patch(dir.path(), 0, second + 512, b"the end of a batch whose beginning never arrived");
    let opened = open(dir.path()).unwrap();
    assert!(opened.tail.torn);
    assert_eq!(opened.payloads.len(), 3);
}

#[test]
fn a_broken_batch_with_another_after_it_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let [first, _] = two_batches(dir.path());
    patch(dir.path(), 0, first - 8, b"\xff");
    assert_eq!(corrupt_at(dir.path()), (path(0), SEGMENT_HEADER_BYTES));
}

#[test]
fn a_broken_segment_header_is_corrupt_if_batches_follow_and_torn_if_none_does() {
    let dir = tempfile::tempdir().unwrap();
    two_batches(dir.path());
    patch(dir.path(), 0, 3, b"\xff");
    assert_eq!(corrupt_at(dir.path()), (path(0), 0));

    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().journal.append(&batch(&[b"one"])).unwrap();
    patch(dir.path(), 0, 3, b"\xff");
    let opened = open(dir.path()).unwrap();
    assert!(opened.tail.torn);
    assert!(opened.payloads.is_empty());
}

/// Fills segment 0, so that the last batch lies in segment 1.
fn two_segments(root: &Path) -> DurableEnd {
    let mut journal = open(root).unwrap().journal;
    let next = prepare(&LocalDisk::new(root).unwrap(), SIZES, 1).unwrap();
    journal.stock(next);
    loop {
        let end = journal.append(&batch(&[&[7; 700]])).unwrap();
        if end.segment == 1 {
            return end;
        }
    }
}

#[test]
fn records_go_on_in_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let end = two_segments(dir.path());
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.journal.durable_end(), end);
    assert_eq!(opened.payloads.len() as u64, end.records);
}

#[test]
fn a_broken_tail_before_another_segment_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    two_segments(dir.path());
    let before = fs::read(dir.path().join(path(0))).unwrap();
    let last_of_first = 40 + 4 * 744; // four batches of 700 bytes fit before the reserve matters
    patch(dir.path(), 0, last_of_first + 100, b"\xff");
    assert_eq!(corrupt_at(dir.path()), (path(0), last_of_first));
    let after = fs::read(dir.path().join(path(0))).unwrap();
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1, "a corrupt segment is left as it is");
}

#[test]
fn a_missing_segment_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    two_segments(dir.path());
    fs::remove_file(dir.path().join(path(0))).unwrap();
    assert_eq!(corrupt_at(dir.path()), (path(0), 0));
}

#[test]
fn a_first_batch_torn_in_a_fresh_segment_leaves_that_segment_in_stock() {
    let dir = tempfile::tempdir().unwrap();
    two_segments(dir.path());
    patch(dir.path(), 1, 0, &[0xff; 100]);
    let opened = open(dir.path()).unwrap();
    assert!(opened.tail.torn);
    assert_eq!(opened.journal.durable_end().segment, 0);
    assert_eq!(opened.journal.wants(), None);
    assert!(fs::read(dir.path().join(path(1))).unwrap().iter().all(|&b| b == 0));
}

#[test]
fn the_reserve_is_for_reserved_use_until_there_is_a_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap().journal;
    while journal.room(Use::Data) >= batch(&[&[7; 700]]).encoded_bytes() {
        journal.append(&batch(&[&[7; 700]])).unwrap();
    }
    assert!(journal.room(Use::Reserved) >= SIZES.reserve_bytes);
    journal.append(&batch(&[&[8; 700]])).unwrap();
    journal.stock(prepare(&LocalDisk::new(dir.path()).unwrap(), SIZES, 1).unwrap());
    assert_eq!(journal.room(Use::Data), SIZES.batch_bytes_max());
}

#[test]
fn a_segment_that_was_replaced_is_noticed_whether_it_is_in_use_or_not() {
    let dir = tempfile::tempdir().unwrap();
    two_segments(dir.path());
    let disk = LocalDisk::new(dir.path()).unwrap();
    for number in 0..2 {
        let journal = open(dir.path()).unwrap().journal;
        journal.kept().check(&disk).unwrap();
        let name = dir.path().join(path(number));
        fs::copy(&name, dir.path().join("copy")).unwrap();
        fs::rename(dir.path().join("copy"), &name).unwrap();
        journal.kept().check(&disk).unwrap_err();
        let journal = open(dir.path()).unwrap().journal;
        let away = dir.path().join("away");
        fs::rename(&name, &away).unwrap();
        journal.kept().check(&disk).unwrap_err();
        fs::rename(away, name).unwrap();
    }
}
