//! Files of version 1, as they were written when it was made: `testdata/v1`. They open for ever, and each kind of damage is told from every
//! other. `cargo test -p storage write_version_1 -- --ignored` wrote them; they are never written again.

use super::clocks::ReadClocks;
use super::disk::{KeepSynced, LocalDisk};
use super::journal::JournalSizes;
use super::posture::PostureRegister;
use super::recorder::{Opening, Parts, open_parts};
use super::vault::{ROWS_PATH, VaultKeys};
use ledger::Draft;
use ledger::note::SigningKey;
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, IntegrationId, Micros, Outcome,
    RequestId, SubjectId, Touch, UnixMicros, VendorId,
};
use sever::{Authority, Change, Target};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);
const SEGMENT: &str = "ledger/segments/0000000000.seg";
const CHECKPOINT: &str = "ledger/checkpoint";
const REGISTER: &str = "posture/register";
const FILES: [&str; 4] = [SEGMENT, CHECKPOINT, ROWS_PATH, REGISTER];

struct Still;

impl ReadClocks for Still {
    fn wall(&self) -> UnixMicros {
        NOW
    }
    fn monotonic(&self) -> Micros {
        Micros(0)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

fn opening() -> Opening {
    let key = SigningKey::new("fixture/node/1", &[3; 32]).unwrap();
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let sizes = JournalSizes { segment_bytes: 4_096, reserve_bytes: 1_024 };
    Opening { sizes, ..Opening::standard(key, vault) }
}

/// Opens a directory; what it says if it does not.
fn open(root: &Path) -> Result<(Parts, PostureRegister), String> {
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(root).unwrap());
    let register = PostureRegister::open_on(Arc::clone(&disk), "posture", 64);
    let mut register = register.map_err(|e| e.to_string())?;
    let parts = open_parts(&disk, Box::new(Still), opening()).map_err(|e| e.to_string())?;
    register.follow(&parts.posture).map_err(|e| e.to_string())?;
    Ok((parts, register))
}

fn read_both(parts: &mut Parts, numbers: [u32; 2]) {
    let subject = |n: u32| SubjectId::new(&format!("account-{n}")).unwrap();
    let classes: ClassSet = [ClassNumber::new(1)].into_iter().collect();
    let touch = |n| Touch { pseudonym: parts.vault.row(&subject(n), NOW).unwrap().1, classes };
    let mut touches = numbers.map(touch).to_vec();
    touches.sort_by_key(|touch| touch.pseudonym);
    let record = AccessRecord {
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
        bytes: 1_800,
        touches,
    };
    parts.log.begin().unwrap();
    parts.log.add(&Draft::Access(record)).unwrap();
    parts.log.commit().unwrap();
}

#[test]
#[ignore = "wrote the files once"]
fn write_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let (mut parts, mut register) = open(dir.path()).unwrap();
    read_both(&mut parts, [1, 2]);
    read_both(&mut parts, [2, 3]);
    for n in 1..=2 {
        let change = Change::Sever(Target::Vendor(VendorId::from_bytes([n; 16])));
        let rule = Authority::Rule("fixture".to_owned());
        let entry = register.next(change, "polls accounts", rule, NOW).unwrap().to_bytes();
        register.store().unwrap();
        parts.log.begin().unwrap();
        parts.log.add(&Draft::Posture { entry }).unwrap();
        parts.log.commit().unwrap();
    }
    parts.log.begin().unwrap();
    let tree = parts.log.add_heads().unwrap();
    parts.log.commit().unwrap();
    parts.publisher.publish(&tree).unwrap();
    for name in FILES {
        let mut bytes = fs::read(dir.path().join(name)).unwrap();
        if name == ROWS_PATH {
            // The zeros that it was filled with ahead of use say nothing.
            bytes.truncate(32 + 3 * 240);
        }
        fs::create_dir_all(folder().join(name).parent().unwrap()).unwrap();
        fs::write(folder().join(name), bytes).unwrap();
    }
}

/// A copy of the files, with bytes changed.
fn copy(damage: Option<(&str, usize, &[u8])>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in FILES {
        let mut bytes = fs::read(folder().join(name)).unwrap();
        if let Some((file, offset, change)) = damage
            && file == name
        {
            for (at, change) in (offset..).zip(change) {
                bytes[at] ^= change;
            }
        }
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn version_1_opens() {
    let dir = copy(None);
    let (parts, register) = open(dir.path()).unwrap();
    assert_eq!((parts.recovered.tree.size, parts.recovered.torn), (6, false));
    assert_eq!(parts.checkpoint.unwrap().tree, parts.recovered.tree);
    assert_eq!(register.posture().number(), 2);
    let mut read = Vec::new();
    for record in parts.log.view().records_from(0) {
        for touch in record.unwrap().1.decode().unwrap().touches {
            let subject = parts.vault.subject_of(&touch.pseudonym, NOW.quarter()).unwrap();
            read.push(subject.unwrap().as_str().to_owned());
        }
    }
    read.sort();
    assert_eq!(read, ["account-1", "account-2", "account-2", "account-3"]);
}

fn corrupt(path: &str, offset: usize, what: &str) -> String {
    format!(
        "`{path}` is corrupt at offset {offset}: {what}. Keep the directory as it is for examination and restore this file, or start the next generation of the log"
    )
}

#[test]
fn each_damage_is_told_from_the_others() {
    let segment = |offset: usize, what: &str| corrupt(SEGMENT, offset, what);
    let durable = "a record that was durable is broken";
    let older = "`ledger/checkpoint` is of 6 records and the segments hold 5: they are an older copy. Restore the newer segments, or start the next generation of the log";
    let end = fs::read(folder().join(SEGMENT)).unwrap();
    let end = end.iter().rposition(|&byte| byte != 0).unwrap();
    let frame = fs::read(folder().join(REGISTER)).unwrap();
    let second = 8 + usize::try_from(u32::from_be_bytes(*frame.first_chunk().unwrap())).unwrap();
    let cases: Vec<(&str, usize, &[u8], String)> = vec![
        // The segment: magic, number, salt, its checksum; a batch's header, a frame's checksum, a payload; the last batch.
        (SEGMENT, 0, &[1], segment(0, "the segment's header is broken")),
        (SEGMENT, 15, &[1], segment(0, "the segment's header is broken")),
        (SEGMENT, 24, &[1], segment(0, "the segment's header is broken")),
        (SEGMENT, 33, &[1], segment(0, "the segment's header is broken")),
        (SEGMENT, 40, &[1], segment(40, durable)),
        (SEGMENT, 40 + 32 + 5, &[1], segment(40, durable)),
        (SEGMENT, 40 + 32 + 20, &[1], segment(40, durable)),
        (SEGMENT, end, &[1], older.to_owned()),
        // The checkpoint: another name, another size, another signature.
        (
            CHECKPOINT,
            0,
            &[1],
            "`ledger/checkpoint` does not belong to these segments: the checkpoint is not a note of a known log".to_owned(),
        ),
        // The vault: its header, a row, the last row.
        (
            ROWS_PATH,
            9,
            &[1],
            "`vault/rows` was made with another index key, or its header is corrupt".to_owned(),
        ),
        (ROWS_PATH, 32 + 60, &[1], corrupt(ROWS_PATH, 32, "a row that was durable is broken")),
        // The register: a length, an entry.
        (
            REGISTER,
            3,
            &[1],
            "the posture file is damaged at byte 0: restore it from a copy, or move it away, and it is made again from the posture records of the log".to_owned(),
        ),
        (
            REGISTER,
            20,
            &[1],
            "the posture file is damaged at byte 0: restore it from a copy, or move it away, and it is made again from the posture records of the log".to_owned(),
        ),
    ];
    for (file, offset, change, says) in cases {
        let dir = copy(Some((file, offset, change)));
        let found = open(dir.path()).map(|_| ()).unwrap_err();
        assert_eq!(found, says, "{file} at {offset}");
    }
    // The last entry of the register looks torn; the log has it.
    let dir = copy(Some((REGISTER, second + 20, &[1])));
    assert_eq!(open(dir.path()).unwrap().1.posture().number(), 2);
}
