use super::*;
use crate::merkle::{self, Frontier};
use crate::sequencer::TreeHead;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Files = BTreeMap<String, Vec<u8>>;

fn entry(n: u64) -> Vec<u8> {
    // The shortest possible entries, so that flipping every byte stays quick.
    n.to_be_bytes().into_iter().skip_while(|&b| b == 0).collect()
}

/// The log's files after growing through these sizes; without `keep`, partial tiles go when their full tile comes.
fn grow(sizes: &[u64], keep: bool) -> (TreeHead, Files) {
    let (mut writer, mut frontier, mut files) =
        (TileWriter::default(), Frontier::default(), Files::new());
    for &size in sizes {
        while writer.size() < size {
            let entry = entry(writer.size());
            frontier.push(merkle::leaf_hash(&entry));
            writer.push(&entry, merkle::leaf_hash(&entry));
        }
        for file in writer.take() {
            if file.path.is_full() && !keep {
                let partial = format!("{}.p/", file.path);
                files.retain(|path, _| !path.starts_with(&partial));
            }
            let before = files.insert(file.path.to_string(), file.bytes.clone());
            assert!(before.is_none_or(|before| before == file.bytes), "a written tile changed");
        }
    }
    (TreeHead { size: frontier.size(), root: frontier.root() }, files)
}

/// Reads and proves all that there is.
fn read_all(tree: TreeHead, files: &Files) -> Result<(), BadTile> {
    let mut reader = TileReader::open(tree, |path| files.get(path).cloned())?;
    for bundle in 0..tree.size.div_ceil(WIDTH) {
        let entries = reader.entries(bundle)?;
        for (read, n) in entries.iter().zip(bundle * WIDTH..) {
            assert_eq!(*read, entry(n));
        }
    }
    Ok(())
}

#[test]
fn paths_are_those_of_tlog_tiles() {
    let path = |kind, index, width| TilePath { kind, index, width }.to_string();
    let hashes = |level| TileKind::Hashes { level };
    assert_eq!(path(hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(hashes(1), 0, 1), "tile/1/000.p/1");
    assert_eq!(path(hashes(3), 999, 255), "tile/3/999.p/255");
    assert_eq!(path(TileKind::Entries, 1_000, 256), "tile/entries/x001/000");
    assert_eq!(path(hashes(0), u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615");
}

#[test]
fn only_the_one_spelling_of_a_path_is_read() {
    for path in [
        "tile/0/000",
        "tile/7/000.p/255",
        "tile/63/x001/x234/067.p/1",
        "tile/entries/x999/999",
        "tile/0/x018/x446/x744/x073/x709/x551/615",
    ] {
        assert_eq!(TilePath::parse(path).map(|read| read.to_string()).as_deref(), Some(path));
    }
    for wrong in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile//000",
        "tile/00/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/entry/000",
        "tile/Entries/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/00a",
        "tile/0/+00",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/000/001",
        "tile/0/x001/x234/x067",
        "tile/0/xx01/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/..",
        "tile/0/../0/000",
        "tile/../checkpoint",
        "tile/0/%30%30%30",
        "tile/0/000?x",
        "tile/0/000\0",
        "tile/0/000 ",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "checkpoint",
    ] {
        assert_eq!(TilePath::parse(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_tile_says_how_many_entries_it_needs() {
    let needed = |path: &str| TilePath::parse(path).unwrap().entries_needed();
    assert_eq!(needed("tile/entries/001.p/44"), Some(300));
    assert_eq!(needed("tile/0/001"), Some(512));
    assert_eq!(needed("tile/1/000.p/1"), Some(256));
    assert_eq!(needed("tile/2/000.p/3"), Some(3 * 65_536));
    assert_eq!(needed("tile/8/000.p/1"), None);
}

#[test]
fn a_pass_over_a_log_keeps_little_of_it() {
    let (tree, files) = grow(&[70_000], true);
    let mut reader = TileReader::open(tree, |path| files.get(path).cloned()).unwrap();
    for bundle in 0..tree.size.div_ceil(WIDTH) {
        reader.entries(bundle).unwrap();
        reader.forget((bundle + 1) * WIDTH);
        assert!(reader.proved.len() <= 5, "{} tiles", reader.proved.len());
    }
    assert!(reader.inclusion(3).is_ok(), "what was let go is read again");
}

/// Flips every `step`th byte of one file, each once; reading one bundle under it must fail each time.
fn flip(tree: TreeHead, files: &Files, path: &str, under: u64, step: usize) {
    for at in (0..files[path].len()).step_by(step) {
        let fetch = |wanted: &str| {
            let mut bytes = files.get(wanted).cloned()?;
            if wanted == path {
                bytes[at] ^= 0x40;
            }
            Some(bytes)
        };
        // A tile is proved whole or not at all, so one leaf under it is enough; entries are proved one by one.
        let read = TileReader::open(tree, fetch).and_then(|mut reader| {
            if path.starts_with("tile/entries") {
                reader.entries(under).map(|_| ())
            } else {
                reader.leaf_hash(under * WIDTH).map(|_| ())
            }
        });
        assert!(read.is_err(), "{path} byte {at}");
    }
}

#[test]
fn every_flipped_byte_of_every_tile_is_found() {
    let (tree, files) = grow(&[600], true);
    assert_eq!(read_all(tree, &files), Ok(()));
    for path in files.keys() {
        let under = [("/001", 1), ("/002.p", 2)].iter().find(|(part, _)| path.contains(part));
        flip(tree, &files, path, under.map_or(0, |(_, under)| *under), 1);
    }
    assert_eq!(files.len(), 7);
}

#[test]
fn a_flipped_byte_in_any_hash_of_a_higher_tile_is_found() {
    let (tree, files) = grow(&[66_000], true);
    assert_eq!(read_all(tree, &files), Ok(()));
    for (path, under) in [
        ("tile/0/128", 128),
        ("tile/0/256", 256),
        ("tile/0/257.p/208", 0),
        ("tile/1/000", 0),
        ("tile/1/001.p/1", 0),
        ("tile/2/000.p/1", 0),
    ] {
        flip(tree, &files, path, under, 29);
    }
}

#[test]
fn proofs_read_from_tiles_hold() {
    for size in [1, 2, 255, 256, 257, 511, 512, 70_000] {
        let (tree, files) = grow(&[size], true);
        let mut reader = TileReader::open(tree, |path| files.get(path).cloned()).unwrap();
        for index in [0, 1, 5, 254, 255, 256, 300, 65_535, 65_536, 69_999, size - 1] {
            if index < size {
                let proof = reader.inclusion(index).unwrap();
                let leaf = merkle::leaf_hash(&entry(index));
                assert_eq!(reader.leaf_hash(index), Ok(leaf));
                assert_eq!(
                    merkle::verify_inclusion(&leaf, index, size, &proof, &tree.root),
                    Ok(())
                );
            }
        }
        assert_eq!(reader.leaf_hash(size), Err(BadTile::Beyond(size)));
    }
}

#[test]
fn a_partial_tile_that_is_gone_is_read_from_the_full_one() {
    let (old, _) = grow(&[300], true);
    let (new, files) = grow(&[300, 512], false);
    assert!(!files.contains_key("tile/0/001.p/44"));
    assert_eq!(read_all(old, &files), Ok(()));
    assert_eq!(read_all(new, &files), Ok(()));
}

#[test]
fn missing_and_foreign_files_are_named() {
    let (tree, mut files) = grow(&[300], true);
    files.remove("tile/entries/001.p/44");
    assert_eq!(read_all(tree, &files), Err(BadTile::Missing("tile/entries/001.p/44".into())));
    let (other, _) = grow(&[299], true);
    assert_eq!(read_all(TreeHead { size: 300, ..other }, &files), Err(BadTile::OtherRoot));
    let huge = TreeHead { size: u64::MAX, ..other };
    assert!(TileReader::open(huge, |path| files.get(path).cloned()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_growth_writes_files_that_verify_at_every_step(mut sizes in proptest::collection::vec(0_u64..1500, 1..6)) {
        sizes.sort_unstable();
        let last = *sizes.last().unwrap();
        let (tree, files) = grow(&[last], true);
        for &size in &sizes {
            let (old, _) = grow(&[size], true);
            let mut reader = TileReader::open(tree, |path| files.get(path).cloned()).unwrap();
            if size == 0 {
                prop_assert_eq!(reader.consistency(0), Err(BadTile::Beyond(0)));
                continue;
            }
            let proof = reader.consistency(size).unwrap();
            let held = merkle::verify_consistency(size, &old.root, last, &tree.root, &proof);
            prop_assert_eq!(held, Ok(()));
        }
        let (_, files) = grow(&sizes, true);
        for size in sizes {
            let (tree, _) = grow(&[size], true);
            prop_assert_eq!(read_all(tree, &files), Ok(()));
        }
    }
}
