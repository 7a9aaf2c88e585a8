use super::*;
use crate::embedded::disk::LocalDisk;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);

fn keys() -> VaultKeys {
    VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 }
}

fn open(root: &Path) -> Result<Vault, OpenFailed> {
    Vault::open(&LocalDisk::new(root).unwrap(), &keys())
}

fn subject(n: u32) -> SubjectId {
    SubjectId::new(&format!("account-{n}")).unwrap()
}

fn with_subjects(root: &Path, count: u32) -> Vec<Pseudonym> {
    let vault = open(root).unwrap();
    let rows = (0..count).map(|n| vault.row(&subject(n), NOW).unwrap().1).collect();
    vault.flush().unwrap();
    rows
}

fn patch(root: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(root.join(ROWS_PATH)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_subject_keeps_its_ordinal_and_pseudonym_across_starts() {
    let dir = tempfile::tempdir().unwrap();
    let before = with_subjects(dir.path(), 5000);
    let vault = open(dir.path()).unwrap();
    for (n, pseudonym) in (0..).zip(before) {
        assert_eq!(vault.row(&subject(n), NOW).unwrap(), (SubjectOrdinal(n), pseudonym));
    }
    assert_eq!(vault.row(&subject(5000), NOW).unwrap().0, SubjectOrdinal(5000));
}

#[test]
fn a_look_beside_the_node_knows_what_is_durable_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = open(dir.path()).unwrap();
    let (_, durable) = running.row(&subject(0), NOW).unwrap();
    running.flush().unwrap();
    let (_, queued) = running.row(&subject(1), NOW).unwrap();
    // What looks torn may be a row that the node is writing at this moment.
    patch(dir.path(), row_offset(1) + 7, b"half a row");
    let before = fs::read(dir.path().join(ROWS_PATH)).unwrap();
    let looked = Vault::look(&LocalDisk::new(dir.path()).unwrap(), &keys()).unwrap();
    assert_eq!(looked.subject_of(&durable, NOW.quarter()).unwrap(), Some(subject(0)));
    assert_eq!(looked.subject_of(&queued, NOW.quarter()).unwrap(), None);
    assert_eq!(fs::read(dir.path().join(ROWS_PATH)).unwrap(), before);
    let nothing = tempfile::tempdir().unwrap();
    assert!(Vault::look(&LocalDisk::new(nothing.path()).unwrap(), &keys()).is_err());
    assert!(!nothing.path().join("vault").exists());
}

#[test]
fn a_pseudonym_leads_back_to_its_subject_in_its_quarter_only() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let (_, first) = vault.row(&subject(1), NOW).unwrap();
    let next_quarter = NOW + model::Micros::from_secs(100 * 86_400);
    let (ordinal, second) = vault.row(&subject(1), next_quarter).unwrap();
    assert_ne!(first, second);
    let quarter = NOW.quarter();
    assert_eq!(vault.subject_of(&first, quarter), Ok(Some(subject(1))), "before it is durable");
    vault.flush().unwrap();
    assert_eq!(vault.subject_of(&first, quarter), Ok(Some(subject(1))));
    assert_eq!(vault.subject_of(&second, next_quarter.quarter()), Ok(Some(subject(1))));
    assert_eq!(vault.subject_of(&first, next_quarter.quarter()), Ok(None));
    assert_eq!(vault.ordinal_of(&second, next_quarter.quarter()), Some(ordinal));
    let (later, pseudonym) = vault.row(&subject(2), NOW).unwrap();
    assert_eq!(vault.ordinal_of(&pseudonym, quarter), Some(later), "added after the question");
}

#[test]
fn subjects_added_at_once_by_many_are_added_once() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let given: Vec<Vec<SubjectOrdinal>> = std::thread::scope(|scope| {
        let add = || (0..500).map(|n| vault.row(&subject(n), NOW).unwrap().0).collect();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(given.iter().all(|ordinals| *ordinals == given[0]));
    let distinct: BTreeSet<u32> = given[0].iter().map(|ordinal| ordinal.0).collect();
    assert_eq!(distinct, (0..500).collect());
}

#[test]
fn a_torn_last_write_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    with_subjects(dir.path(), 10);
    patch(dir.path(), row_offset(10) + 20, b"half a row");
    let vault = open(dir.path()).unwrap();
    assert_eq!(vault.ordinals(), 10);
    assert_eq!(vault.row(&subject(10), NOW).unwrap().0, SubjectOrdinal(10));
    vault.flush().unwrap();
    drop(vault);
    assert_eq!(open(dir.path()).unwrap().ordinals(), 11);
}

#[test]
fn a_row_that_was_durable_and_is_broken_keeps_the_vault_shut() {
    let dir = tempfile::tempdir().unwrap();
    with_subjects(dir.path(), 10);
    let vault = open(dir.path()).unwrap();
    vault.row(&subject(10), NOW).unwrap();
    vault.flush().unwrap();
    patch(dir.path(), row_offset(4) + 60, b"\xff\xff");
    match open(dir.path()).map(|_| ()) {
        Err(OpenFailed::Corrupt { offset, .. }) => assert_eq!(offset, row_offset(4)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_keys_do_not_open_it() {
    let dir = tempfile::tempdir().unwrap();
    with_subjects(dir.path(), 1);
    let disk = LocalDisk::new(dir.path()).unwrap();
    let index = VaultKeys { index: [9; 32], ..keys() };
    assert!(matches!(Vault::open(&disk, &index), Err(OpenFailed::Key { .. })));
    let wrapping = VaultKeys { wrapping: [9; 32], ..keys() };
    assert!(matches!(Vault::open(&disk, &wrapping), Err(OpenFailed::Corrupt { .. })));
}

#[test]
fn an_erased_row_leaves_its_ordinal_behind() {
    let dir = tempfile::tempdir().unwrap();
    let before = with_subjects(dir.path(), 3);
    patch(dir.path(), row_offset(1), &row::erased(SubjectOrdinal(1), 0));
    let vault = open(dir.path()).unwrap();
    assert_eq!(vault.subject(SubjectOrdinal(1)), Ok(None));
    assert_eq!(vault.subject_of(&before[1], NOW.quarter()), Ok(None));
    assert_eq!(vault.subject_of(&before[2], NOW.quarter()), Ok(Some(subject(2))));
    let (ordinal, pseudonym) = vault.row(&subject(1), NOW).unwrap();
    assert_eq!(ordinal, SubjectOrdinal(3));
    assert_ne!(pseudonym, before[1]);
}

#[test]
fn no_subject_stands_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    with_subjects(dir.path(), 3);
    let bytes = fs::read(dir.path().join(ROWS_PATH)).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"account"));
}

/// The last row of a vault of three is damaged while the vault is open; what asking for it says.
fn asked_after(damage: impl Fn(&Path)) -> Result<Option<SubjectId>, Unavailable> {
    let dir = tempfile::tempdir().unwrap();
    let pseudonyms = with_subjects(dir.path(), 3);
    let vault = open(dir.path()).unwrap();
    damage(dir.path());
    let asked = vault.subject(SubjectOrdinal(2));
    assert_eq!(vault.subject_of(&pseudonyms[2], NOW.quarter()), asked);
    asked
}

#[test]
fn a_row_that_cannot_be_read_is_not_taken_for_an_erased_one() {
    let says = |asked: Result<Option<SubjectId>, Unavailable>, what: &str| match asked {
        Err(Unavailable::Stopped(why)) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?}"),
    };
    let no_row = "`vault/rows` at offset 512: there is no whole row of this place";
    says(asked_after(|root| patch(root, row_offset(2) + 60, b"\xff\xff")), no_row);
    says(asked_after(|root| patch(root, row_offset(2), &[0; ROW_BYTES])), no_row);
    let shortened = |root: &Path| {
        let file = fs::OpenOptions::new().write(true).open(root.join(ROWS_PATH)).unwrap();
        file.set_len(row_offset(2) + 100).unwrap();
    };
    says(asked_after(shortened), no_row);
    says(
        asked_after(|root| patch(root, row_offset(2), &row::erased(SubjectOrdinal(1), 0))),
        no_row,
    );
    let header = RowHeader {
        erased: false,
        wrapping_key: 1,
        ordinal: SubjectOrdinal(2),
        durable_before: 0,
        index: [0; 32],
    };
    let other = WrappingKey::new(1, &[9; 32]).unwrap();
    let sealed = row::seal(&header, &subject(2), &[7; 32], [1; 12], &other).unwrap();
    says(asked_after(|root| patch(root, row_offset(2), &sealed)), "does not open under the key");
    let erased = row::erased(SubjectOrdinal(2), 0);
    assert_eq!(asked_after(|root| patch(root, row_offset(2), &erased)), Ok(None));
}

#[test]
fn two_rows_of_one_subject_are_refused_unless_the_log_names_the_earlier_as_erased() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let (_, first) = vault.row(&subject(0), NOW).unwrap();
    vault.row(&subject(1), NOW).unwrap();
    let named = vault.erased_row(&subject(0)).unwrap();
    let stranger = vault.erased_row(&subject(1)).unwrap();
    vault.forget(&subject(0));
    let (ordinal, second) = vault.row(&subject(0), NOW).unwrap();
    let later = vault.erased_row(&subject(0)).unwrap();
    vault.flush().unwrap();
    drop(vault);
    // The place of the row with another's mark: as if the row of a crashed life had been put back into it.
    let mark_of_another = ErasedRow { ordinal: named.ordinal, ..stranger };
    for log in [vec![], vec![stranger], vec![later], vec![mark_of_another]] {
        match open(dir.path()).unwrap().forget_again(&log) {
            Err(OpenFailed::Corrupt { offset, .. }) => assert_eq!(offset, row_offset(0)),
            other => panic!("{log:?}: {other:?}"),
        }
    }
    let vault = open(dir.path()).unwrap();
    assert!(vault.forget_again(&[named]).unwrap());
    assert_eq!(vault.erased(), 1);
    assert_eq!(vault.subject_of(&first, NOW.quarter()), Ok(None));
    assert_eq!(vault.subject(named.ordinal), Ok(None));
    assert_eq!(vault.row(&subject(0), NOW), Ok((ordinal, second)));
    assert_eq!(vault.subject(ordinal), Ok(Some(subject(0))));
    // Both were to go when the crash came.
    let vault = open(dir.path()).unwrap();
    assert!(vault.forget_again(&[named, later]).unwrap());
    assert_eq!((vault.subject(ordinal), vault.erased()), (Ok(None), 2));
}
