use super::*;
use crate::bundle::{Builder, CannotProve, Form, Question, verify};
use crate::full::{BadLog, verify_full};
use crate::growth;
use crate::merkle::Tree;
use crate::proof;
use crate::sample::{self, Log, START, Step, keys};
use crate::state::State;
use crate::tile::TileReader;
use proptest::prelude::*;

/// A log that announces that its first `cut` records are thinned, as it is before that is done.
fn announced(steps: &[(u64, Step)], cut: usize) -> Log {
    let last = &sample::log(steps).records[cut - 1];
    let thinning = Thinning {
        first: 0,
        last: cut as u64 - 1,
        leaf: last.leaf_hash(),
        until: Header::decode(&last.entry).unwrap().time,
        days: 90,
    };
    let more = [(1, Step::Draft(thinning.draft()))];
    sample::log(&[steps, &more].concat())
}

fn thin(log: &Log, cut: usize) -> Log {
    let mut records = log.records.clone();
    for record in &mut records[..cut] {
        *record = record.clone().thinned().unwrap();
    }
    Log { records, note: log.note.clone() }
}

fn build(log: &Log, question: &Question) -> Result<Vec<u8>, CannotProve> {
    let tree = Tree::new(log.records.iter().map(StoredRecord::leaf_hash).collect());
    let mut builder =
        Builder::new(question.clone(), Form::default(), &log.note, &keys(), State::begin())?;
    for record in &log.records {
        if !builder.push(record)? {
            break;
        }
    }
    builder.finish(|index| tree.inclusion(index))
}

/// Some steps, and after how many records to cut.
fn cut_logs() -> impl Strategy<Value = (Vec<(u64, Step)>, usize)> {
    let steps = sample::steps().prop_map(|mut steps| {
        steps.push((5, Step::Draft(Draft::Access(sample::access(1, &[sample::touch(1, &[2])])))));
        steps
    });
    (steps, any::<prop::sample::Index>()).prop_map(|(steps, at)| {
        // The last record of a sample log is a heads record, which stands elsewhere once there are more steps.
        let records = sample::log(&steps).records.len() - 1;
        (steps, 1 + at.index(records))
    })
}

fn questions() -> impl Strategy<Value = Question> {
    let who = prop::option::of(prop::collection::btree_set(1_u8..5, 1..3));
    (who, 0_u64..60_000_000, 0_u64..60_000_000).prop_map(|(who, from, length)| Question {
        integrations: who.map(|ids| ids.into_iter().map(sample::integration).collect()),
        from: UnixMicros(START.0 + from),
        to: UnixMicros(START.0 + from + length),
        classes: None,
        networks: None,
    })
}

proptest! {
    #[test]
    fn a_thinned_log_is_the_same_log((steps, cut) in cut_logs(), at: prop::sample::Index) {
        let whole = announced(&steps, cut);
        let log = thin(&whole, cut);
        // Leaves, tiles, and with them every inclusion and consistency proof that outsiders ask for.
        prop_assert_eq!(log.files(), whole.files());
        let (files, checkpoint) = (log.files(), log.checkpoint());
        let mut reader = TileReader::open(checkpoint.tree, |path| files.get(path).cloned()).unwrap();
        growth::entries_follow(&checkpoint, &mut reader, |_| ()).unwrap();
        for index in 0..checkpoint.tree.size {
            let text = proof::write(index, &log.note, &mut reader).unwrap();
            prop_assert_eq!(proof::verify(&text, &keys()).unwrap().index, index);
        }
        let earlier = whole.at(1 + at.index(whole.records.len())).checkpoint();
        growth::grown(&earlier, &checkpoint, &mut reader).unwrap();

        // The replaying auditor: every entry on one chain, every sum right, and says what was not there to be replayed.
        let audited = verify_full(&log.records, &checkpoint).unwrap();
        prop_assert_eq!(audited.tree, checkpoint.tree);
        let gone = log.records.iter().filter(|record| record.is_thinned()).count() as u64;
        prop_assert_eq!(audited.thinned.map_or(0, |thinned| thinned.records), gone);
        prop_assert!(audited.thinned.is_none_or(|thinned| thinned.last < cut as u64));
        for (before, after) in whole.records.iter().zip(&log.records) {
            let has_a_caller = Header::decode(&before.entry).unwrap().network.is_some();
            prop_assert_eq!(before == after, !after.is_thinned());
            prop_assert!(!after.is_thinned() || has_a_caller);
            prop_assert_eq!(after.decode().err(), after.is_thinned().then_some(Malformed::Thinned));
        }
    }

    #[test]
    fn evidence_of_a_thinned_log_is_the_same_or_refused((steps, cut) in cut_logs(), question in questions()) {
        let whole = announced(&steps, cut);
        let log = thin(&whole, cut);
        let (before, after) = (build(&whole, &question), build(&log, &question));
        match after {
            Err(CannotProve::Thinned { at }) => {
                prop_assert!(question.from <= at);
                prop_assert!(at < question.to);
            }
            after => {
                if let Ok(bundle) = &after {
                    verify(bundle, &keys(), &[]).unwrap();
                }
                prop_assert_eq!(after, before);
            }
        }
    }

    #[test]
    fn a_thinning_that_nobody_announced_is_a_loss((steps, cut) in cut_logs()) {
        let log = sample::log(&steps);
        let thinned = thin(&log, cut);
        let found = verify_full(&thinned.records, &thinned.checkpoint());
        let gone = thinned.records.iter().rposition(StoredRecord::is_thinned);
        match gone {
            Some(index) => prop_assert_eq!(found, Err(BadLog::Unannounced { index: index as u64 })),
            None => prop_assert!(found.is_ok()),
        }
    }
}

#[test]
fn more_than_was_announced_is_a_loss() {
    let access = || Step::Draft(Draft::Access(sample::access(1, &[sample::touch(1, &[2])])));
    let log = announced(&[(1, access()), (1, access()), (1, access())], 2);
    let checkpoint = log.checkpoint();
    assert!(verify_full(&thin(&log, 2).records, &checkpoint).is_ok());
    let found = verify_full(&thin(&log, 3).records, &checkpoint);
    assert_eq!(found, Err(BadLog::Unannounced { index: 2 }));
}

#[test]
fn a_record_without_a_caller_that_lost_its_body_is_damage() {
    let posture = Step::Draft(Draft::Posture { entry: vec![1] });
    let mut log = announced(&[(1, posture), (1, Step::Heads)], 2);
    log.records[0].body.clear();
    assert!(matches!(verify_full(&log.records, &log.checkpoint()), Err(BadLog::Corrupt(_))));
}

#[test]
fn what_a_thinning_says_is_read_back() {
    let thinning = Thinning { first: 3, last: 9, leaf: [7; 32], until: UnixMicros(11), days: 400 };
    // The bytes are a format: logs that have them are read for ever.
    let Draft::OperatorAction { operator, action, detail } = thinning.draft() else { panic!() };
    assert_eq!((operator, &*action), (OperatorId::from_bytes([0; 16]), "segment_thinned"));
    let hex: String = detail.iter().map(|byte| format!("{byte:02x}")).collect();
    let leaf = "07".repeat(32);
    let schema = "74706f727463756c6c69732e7468696e6e65642f31";
    assert_eq!(
        hex,
        format!(
            "a700{schema}01030209035820{leaf}040b056972\
        6574656e74696f6e06190190"
        )
    );
    let log = sample::log(&[(1, Step::Draft(thinning.draft()))]);
    assert_eq!(Thinning::announced(10, &log.records[0]), Some(thinning));
    assert_eq!(Thinning::announced(9, &log.records[0]), None, "it is of records behind it");
    let other = sample::log(&[(1, Step::Heads)]);
    assert_eq!(Thinning::announced(10, &other.records[0]), None);
}
