use super::*;
use crate::sample::{self, Log, keys};
use proptest::prelude::*;

fn proof(log: &Log, index: u64) -> Result<String, BadTile> {
    let files = log.files();
    let mut reader =
        TileReader::open(log.checkpoint().tree, |path| files.get(path).cloned()).unwrap();
    write(index, &log.note, &mut reader)
}

#[test]
fn the_file_has_the_lines_of_tlog_proof() {
    let log = sample::log(&[(1, sample::Step::Heads), (1, sample::Step::Heads)]);
    let text = proof(&log, 1).unwrap();
    let tree = merkle::Tree::new(log.records.iter().map(crate::StoredRecord::leaf_hash).collect());
    let path: Vec<_> = tree
        .inclusion(1)
        .unwrap()
        .iter()
        .map(|hash| format!("{}\n", BASE64.encode(hash)))
        .collect();
    let entry = BASE64.encode(&log.records[1].entry);
    let wanted =
        format!("c2sp.org/tlog-proof@v1\nextra {entry}\nindex 1\n{}\n{}", path.concat(), log.note);
    assert_eq!(text, wanted);
    assert_eq!(note_of(&text), Ok(&*log.note));
}

#[test]
fn what_is_no_proof_is_refused_by_name() {
    let log = sample::log(&[(1, sample::Step::Heads), (1, sample::Step::Heads)]);
    let good = proof(&log, 1).unwrap();
    let check = |text: &str, wanted: &str| {
        assert_eq!(verify(text, &keys()).map_err(|bad| bad.to_string()), Err(wanted.to_owned()));
    };
    check(&good.replace("@v1", "@v2"), "not a tlog-proof: another first line");
    check(&good.replace("extra ", "more "), "not a tlog-proof: no entry in its `extra` line");
    check(&good.replace("index 1", "index 01"), "not a tlog-proof: no index");
    check(&good.replace("\n\n", "\n"), "not a tlog-proof: no checkpoint");
    check(&good.replace("index 1\n", "index 1\nAAAA\n"), "not a tlog-proof: a hash is not one");
    let hash = format!("index 1\n{}", format!("{}\n", BASE64.encode([0; 32])).repeat(65));
    check(&good.replace("index 1\n", &hash), "not a tlog-proof: too many hashes");
    let elsewhere = "the proof does not lead from its entry to its checkpoint";
    check(&good.replace("index 1", "index 0"), elsewhere);
    check(&good.replace("index 1", "index 9"), elsewhere);
    let unsigned = log.note.replace("test/node-1/1 ", "test/node-1/2 ");
    check(&good.replace(&log.note, &unsigned), "the proof's checkpoint does not hold");
    assert_eq!(proof(&log, 3), Err(BadTile::Beyond(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_has_a_proof_and_no_changed_bit_survives(steps in sample::steps(), index: proptest::sample::Index, at: proptest::sample::Index, bit in 0_u8..8) {
        let log = sample::log(&steps);
        let index = index.index(log.records.len());
        let text = proof(&log, index as u64).unwrap();
        let proved = verify(&text, &keys()).unwrap();
        prop_assert_eq!((proved.index, proved.leaf), (index as u64, log.records[index].leaf_hash()));
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed, &keys()).is_err());
        }
    }
}
