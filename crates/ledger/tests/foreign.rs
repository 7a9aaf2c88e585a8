//! What others made and what others check: a log of Tessera's and the proof probes of transparency-dev/merkle.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "helpers of tests read fixtures"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ledger::checkpoint::{self, BadCheckpoint, Checkpoint};
use ledger::merkle;
use ledger::note::{BadNote, VerifyingKey};
use ledger::tile::TileReader;
use model::Digest;
use serde::Deserialize;
use std::path::{Path, PathBuf};

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

const TESSERA_KEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

fn tessera(path: &str) -> Option<Vec<u8>> {
    std::fs::read(testdata("tlog-tessera/log").join(path)).ok()
}

fn tessera_checkpoint(path: &str) -> Checkpoint {
    let note = String::from_utf8(tessera(path).unwrap()).unwrap();
    checkpoint::open(&note, &[VerifyingKey::parse(TESSERA_KEY).unwrap()]).unwrap()
}

#[test]
fn a_foreign_log_verifies_at_every_size() {
    for size in 0..=15_u64 {
        let Checkpoint { tree, .. } = tessera_checkpoint(&format!("checkpoint.{size}"));
        assert_eq!(tree.size, size);
        let mut reader = TileReader::open(tree, tessera).unwrap();
        for index in 0..size {
            let entries = reader.entries(0).unwrap();
            let leaf = merkle::leaf_hash(&entries[usize::try_from(index).unwrap()]);
            let proof = reader.inclusion(index).unwrap();
            assert_eq!(merkle::verify_inclusion(&leaf, index, size, &proof, &tree.root), Ok(()));
        }
    }
    let mut reader = TileReader::open(tessera_checkpoint("checkpoint").tree, tessera).unwrap();
    assert_eq!(reader.entries(0).unwrap()[14], b"fivten");
}

#[test]
fn a_foreign_log_with_one_flipped_byte_never_verifies() {
    let tree = tessera_checkpoint("checkpoint").tree;
    for path in ["tile/0/000.p/15", "tile/entries/000.p/15"] {
        for at in 0..tessera(path).unwrap().len() {
            let fetch = |wanted: &str| {
                let mut bytes = tessera(wanted)?;
                if wanted == path {
                    bytes[at] ^= 1;
                }
                Some(bytes)
            };
            let read = TileReader::open(tree, fetch).and_then(|mut reader| reader.entries(0));
            assert!(read.is_err(), "{path} byte {at}");
        }
    }
}

#[test]
fn a_foreign_checkpoint_with_one_flipped_byte_never_opens() {
    let note = tessera("checkpoint").unwrap();
    let keys = [VerifyingKey::parse(TESSERA_KEY).unwrap()];
    for at in 0..note.len() {
        let mut changed = note.clone();
        changed[at] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else { continue };
        assert!(checkpoint::open(&changed, &keys).is_err(), "byte {at}");
    }
}

#[test]
fn a_checkpoint_under_an_unknown_key_is_not_signed() {
    let other = VerifyingKey::new("example.com/log/testdata", [1; 32]).unwrap();
    let note = String::from_utf8(tessera("checkpoint").unwrap()).unwrap();
    assert_eq!(checkpoint::open(&note, &[other]), Err(BadCheckpoint::Note(BadNote::NotSigned)));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

/// `None` where a probe's hash is not 32 bytes long: our types refuse it before there is a proof to check.
/// Some probes have the words "don't care" for a root; they stand for any one value.
fn digest(text: &str) -> Option<Digest> {
    let mut bytes = BASE64.decode(text).ok()?;
    if bytes.starts_with(b"don't care") {
        bytes.resize(32, 0);
    }
    bytes.try_into().ok()
}

fn digests(texts: Option<Vec<String>>) -> Option<Vec<Digest>> {
    texts.unwrap_or_default().iter().map(|text| digest(text)).collect()
}

#[test]
fn inclusion_probes_agree() {
    let files = files_below(&testdata("merkle-probes/inclusion"));
    for path in &files {
        let probe: Inclusion = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let holds = || {
            let (leaf, root) = (digest(&probe.leaf_hash)?, digest(&probe.root)?);
            let proof = digests(probe.proof.clone())?;
            merkle::verify_inclusion(&leaf, probe.leaf_idx, probe.tree_size, &proof, &root).ok()
        };
        assert_eq!(holds().is_none(), probe.want_err, "{}: {}", path.display(), probe.desc);
    }
    assert_eq!(files.len(), 98);
}

#[test]
fn consistency_probes_agree() {
    let files = files_below(&testdata("merkle-probes/consistency"));
    for path in &files {
        let probe: Consistency = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let holds = || {
            let (old, new) = (digest(&probe.root1)?, digest(&probe.root2)?);
            let proof = digests(probe.proof.clone())?;
            merkle::verify_consistency(probe.size1, &old, probe.size2, &new, &proof).ok()
        };
        assert_eq!(holds().is_none(), probe.want_err, "{}: {}", path.display(), probe.desc);
    }
    assert_eq!(files.len(), 98);
}
