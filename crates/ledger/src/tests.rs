//! The log as a whole: any sequence of drafts makes a log that the auditor accepts, and no single lie about it passes.

use crate::checkpoint;
use crate::full::{BadLog, verify_full};
use crate::record::{Body, Chain, Draft, Header, Kind, StoredRecord};
use crate::sample::{self, Log, Step, access, integration, key, keys, touch};
use crate::sequencer::{Corrupt, Sequencer};
use model::{Outcome, UnixMicros};
use proptest::prelude::*;

fn audit(log: &Log) -> Result<(), BadLog> {
    let checkpoint = checkpoint::open(&log.note, &keys()).unwrap();
    verify_full(&log.records, &checkpoint).map(|_| ())
}

/// Twelve accesses by two integrations, one second apart, with a heads record in between.
fn dozen() -> Log {
    let steps: Vec<_> = (0..12)
        .map(|n| {
            let step = Step::Draft(Draft::Access(access(1 + n % 2, &[touch(n, &[n % 4])])));
            (1_000_000, if n == 6 { Step::Heads } else { step })
        })
        .collect();
    sample::log(&steps)
}

#[test]
fn a_whole_log_is_accepted() {
    assert_eq!(audit(&dozen()), Ok(()));
}

#[test]
fn a_dropped_record_is_named() {
    let mut log = dozen();
    log.records.remove(2);
    let chain = Chain::Integration(integration(1));
    assert_eq!(audit(&log), Err(BadLog::Dropped { index: 3, chain, sequence: 1 }));
    let mut log = dozen();
    log.records.remove(11);
    assert_eq!(audit(&log), Err(BadLog::DroppedBefore { index: 11 }), "the chain's last record");
}

#[test]
fn a_record_left_off_its_chain_is_named() {
    // A dishonest node: the record is a leaf of the tree, but the chain's head passes over it.
    let mut log = dozen();
    let mut honest = Sequencer::begin(sample::ORIGIN);
    let mut tree = crate::merkle::Frontier::default();
    let mut records = Vec::new();
    let draft = |n| Draft::Access(access(n, &[touch(n, &[1])]));
    for n in [1, 2, 1] {
        let sequenced = honest.clone().append(&draft(n), sample::START, [n; 16]);
        tree.push(sequenced.leaf_hash);
        records.push(sequenced.stored.clone());
        if n != 2 {
            honest.replay(&sequenced.stored).unwrap();
        }
    }
    let heads = honest.heads(sample::START, [0; 16]);
    tree.push(heads.leaf_hash);
    records.push(heads.stored);
    log.records = records;
    let head = crate::TreeHead { size: tree.size(), root: tree.root() };
    log.note = checkpoint::sign(&head, &key());
    assert_eq!(audit(&log), Err(BadLog::Corrupt(Corrupt::HeadsCount { index: 3, counted: 2 })));
}

#[test]
fn two_records_with_one_sequence_number_are_named() {
    let mut log = dozen();
    let twin = log.records[2].clone();
    log.records.insert(3, twin);
    let chain = Chain::Integration(integration(1));
    let named = Corrupt::Repeated { index: 3, chain, sequence: 1 };
    assert_eq!(audit(&log), Err(BadLog::Corrupt(named)));
}

#[test]
fn a_swapped_order_is_named() {
    let mut log = dozen();
    log.records.swap(2, 4);
    assert_eq!(audit(&log), Err(BadLog::Swapped { index: 2 }), "on one chain");
    let mut log = dozen();
    log.records.swap(2, 3);
    assert_eq!(audit(&log), Err(BadLog::Swapped { index: 3 }), "across chains");
}

#[test]
fn a_truncated_end_is_named() {
    let mut log = dozen();
    log.records.pop();
    assert_eq!(audit(&log), Err(BadLog::Truncated { found: 12, wanted: 13 }));
}

#[test]
fn a_record_of_another_log_is_named() {
    let mut log = dozen();
    let steps: Vec<_> = (0..4)
        .map(|n| (5_000_000, Step::Draft(Draft::Access(access(1 + n % 2, &[touch(n, &[3])])))))
        .collect();
    log.records[2] = sample::log(&steps).records[2].clone();
    let named = Corrupt::Unlinked { index: 2, chain: Chain::Integration(integration(1)) };
    assert_eq!(audit(&log), Err(BadLog::Corrupt(named)));
}

#[test]
fn a_forged_checkpoint_does_not_open() {
    let log = dozen();
    let root = log.note.replace("\n13\n", "\n12\n");
    assert!(checkpoint::open(&root, &keys()).is_err());
}

#[test]
fn a_checkpoint_of_two_keys_opens_with_either() {
    let tree = dozen().checkpoint().tree;
    let next = crate::note::SigningKey::new(sample::ORIGIN, &[8; 32]).unwrap();
    let note = checkpoint::sign_beside(&tree, &key(), &next);
    let next = next.verifying_key().unwrap();
    let both = [keys(), vec![next.clone()]].concat();
    for known in [keys(), vec![next], both] {
        assert_eq!(checkpoint::open(&note, &known).map(|opened| opened.tree), Ok(tree));
    }
    assert!(note.starts_with(&checkpoint::sign(&tree, &key())), "the old key's note goes on");
}

#[test]
fn recorded_time_never_goes_back() {
    let mut sequencer = Sequencer::begin(sample::ORIGIN);
    let draft = Draft::Access(access(1, &[]));
    let first = sequencer.append(&draft, UnixMicros(2_000), [1; 16]);
    let second = sequencer.append(&draft, UnixMicros(1_000), [2; 16]);
    assert_eq!((first.time, second.time), (UnixMicros(2_000), UnixMicros(2_000)));
}

#[test]
fn an_entry_shows_nothing_of_its_body() {
    // Same facts, other salt: neither commitment nor body hash can be compared.
    let draft = Draft::Access(access(1, &[touch(1, &[0])]));
    let mut headers = [[1; 16], [2; 16]].map(|salt| {
        let stored = Sequencer::begin(sample::ORIGIN).append(&draft, sample::START, salt).stored;
        Header::decode(&stored.entry).unwrap()
    });
    assert_ne!(headers[0].network, headers[1].network);
    assert_ne!(headers[0].body, headers[1].body);
    headers[0].network = headers[1].network;
    headers[0].body = headers[1].body;
    assert_eq!(headers[0], headers[1]);
}

#[test]
fn a_body_does_not_hold_the_salt_of_its_touches() {
    let salt = *b"sixteen bytes :)";
    let draft = Draft::Access(access(1, &[touch(1, &[0]), touch(2, &[0])]));
    let stored = Sequencer::begin(sample::ORIGIN).append(&draft, sample::START, salt).stored;
    assert!(!stored.body.windows(16).any(|window| window == salt));
    assert!(stored.touches.windows(16).any(|window| window == salt));
}

#[test]
fn a_class_table_hash_changes_with_order_and_growth() {
    let table = |names: &[&str]| {
        let classes = names.iter().map(|name| model::DataClass::new(name).unwrap()).collect();
        crate::record::class_table_hash(&model::ClassTable::new(classes).unwrap())
    };
    let hashes =
        [table(&[]), table(&["a"]), table(&["a", "b"]), table(&["b", "a"]), table(&["ab"])];
    assert_eq!(hashes.iter().collect::<std::collections::BTreeSet<_>>().len(), hashes.len());
}

#[test]
#[should_panic(expected = "touches not sorted")]
fn unsorted_touches_are_our_own_bug() {
    let draft = Draft::Access(access(1, &[touch(2, &[0]), touch(1, &[0])]));
    Sequencer::begin(sample::ORIGIN).append(&draft, sample::START, [0; 16]);
}

#[test]
fn outcomes_have_kinds_of_their_own() {
    for (outcome, kind) in [
        (Outcome::Released, Kind::Access),
        (Outcome::Attempted, Kind::Attempt),
        (Outcome::Refused(model::Refusal::Honey), Kind::Refusal),
    ] {
        let draft = Draft::Access(model::AccessRecord { outcome, ..access(1, &[]) });
        let stored = Sequencer::begin(sample::ORIGIN).append(&draft, sample::START, [0; 16]).stored;
        let record = stored.decode().unwrap();
        assert_eq!((record.header.kind, record.body.kind()), (kind, kind));
    }
}

/// What is read back says what was drafted.
fn agrees(draft: &Draft, stored: &StoredRecord) -> bool {
    let record = stored.decode().unwrap();
    match (draft, record.body) {
        (Draft::Access(access), Body::Access(body)) => {
            record.header.chain == Chain::Integration(access.integration)
                && (body.request, body.vendor, body.credential, body.grant)
                    == (access.request, access.vendor, access.credential, access.grant)
                && body.operation == access.operation
                && (body.network, body.contract, body.policy, body.class_table)
                    == (access.network, access.contract, access.policy, access.class_table)
                && (body.outcome, body.bytes) == (access.outcome, access.bytes)
                && record.touches == access.touches
        }
        (
            Draft::UnauthenticatedRefusals { network, reason, second, count },
            Body::UnauthenticatedRefusals { network: n, reason: r, second: s, count: c, .. },
        ) => (*network, *reason, *second, *count) == (n, r, s, c),
        (Draft::Posture { entry }, Body::Posture { entry: read }) => *entry == read,
        (
            Draft::OperatorAction { operator, action, detail },
            Body::OperatorAction { operator: o, action: a, detail: d },
        ) => (*operator, action, detail) == (o, &a, &d),
        (
            Draft::Vetting { integration, step, detail },
            Body::Vetting { integration: i, step: s, detail: d },
        ) => (*integration, step, detail) == (i, &s, &d),
        (Draft::Node(event), Body::Node(read)) => *event == read,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_drafts_make_a_log_that_the_auditor_accepts(steps in sample::steps()) {
        prop_assert_eq!(audit(&sample::log(&steps)), Ok(()));
    }

    #[test]
    fn what_is_drafted_is_read_back(draft in sample::drafts(), salt: [u8; 16]) {
        let stored = Sequencer::begin(sample::ORIGIN).append(&draft, sample::START, salt).stored;
        prop_assert!(agrees(&draft, &stored));
        prop_assert!(stored.entry.len() <= 200);
    }

    #[test]
    fn any_changed_byte_of_a_log_is_found(steps in sample::steps(), at: usize, part in 0..3, bit in 0..8) {
        let mut log = sample::log(&steps);
        let at = at % log.records.len();
        let record = &mut log.records[at];
        let bytes = match part { 0 => &mut record.entry, 1 => &mut record.body, _ => &mut record.touches };
        if bytes.is_empty() {
            return Ok(());
        }
        let place = (at * 7919) % bytes.len();
        bytes[place] ^= 1_u8 << bit;
        prop_assert!(audit(&log).is_err());
    }

    #[test]
    fn any_record_dropped_repeated_or_cut_off_is_named(steps in sample::steps(), at: usize) {
        let whole = sample::log(&steps).records.len();
        let at = at % whole;
        let mut log = sample::log(&steps);
        log.records.remove(at);
        let found = audit(&log);
        let named = matches!(
            found, Err(BadLog::Dropped { .. } | BadLog::DroppedBefore { .. } | BadLog::Truncated { .. })
        );
        prop_assert!(named, "{:?}", found);
        let mut log = sample::log(&steps);
        let twin = log.records[at].clone();
        log.records.insert(at + 1, twin);
        if at + 1 < whole {
            let named = matches!(audit(&log), Err(BadLog::Corrupt(Corrupt::Repeated { .. })));
            prop_assert!(named);
        }
        let mut log = sample::log(&steps);
        log.records.truncate(at);
        let named = BadLog::Truncated { found: at as u64, wanted: whole as u64 };
        prop_assert_eq!(audit(&log), Err(named));
    }

    #[test]
    fn a_changed_body_or_touch_is_named(steps in sample::steps(), at: usize, place: usize, bit in 0..8) {
        let mut log = sample::log(&steps);
        let index = at % log.records.len();
        let record = &mut log.records[index];
        let bytes = if record.touches.is_empty() { &mut record.body } else { &mut record.touches };
        let place = place % bytes.len();
        bytes[place] ^= 1_u8 << bit;
        let named = matches!(
            audit(&log),
            Err(BadLog::Corrupt(Corrupt::Changed { index: i, .. } | Corrupt::Malformed { index: i, .. })) if i == index as u64
        );
        prop_assert!(named);
        // By itself, too: against its own entry.
        for (stored, at) in log.records.iter().zip(0..) {
            let opened = stored.open(at);
            if at == index as u64 {
                let named = matches!(
                    opened,
                    Err(Corrupt::Changed { index: i, .. } | Corrupt::Malformed { index: i, .. }) if i == at
                );
                prop_assert!(named);
            } else {
                prop_assert_eq!(opened, Ok(stored.decode().unwrap()));
            }
        }
    }

    #[test]
    fn replaying_gives_the_sequencer_that_wrote(steps in sample::steps()) {
        let log = sample::log(&steps);
        let mut sequencer = Sequencer::begin(sample::ORIGIN);
        for record in &log.records {
            sequencer.replay(record).unwrap();
        }
        prop_assert_eq!(checkpoint::open(&log.note, &keys()).unwrap().tree, sequencer.tree());
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_nothing_panics(bytes: Vec<u8>, text: String) {
        let _ = Header::decode(&bytes);
        let _ = Body::decode(&bytes);
        let _ = crate::record::touches::decode(&bytes);
        let _ = crate::bundle::verify(&bytes, &keys(), &[]);
        let _ = crate::note::open(&text, &keys());
        let _ = checkpoint::open(&text, &keys());
        let _ = crate::receipt::verify(&text, &keys());
        let _ = crate::note::VerifyingKey::parse(&text);
        let _ = crate::cosign::verify(&text, &[]);
        let _ = crate::proof::verify(&format!("{}{text}", crate::proof::FIRST_LINE), &keys());
        let _ = crate::tile::TilePath::parse(&text);
    }

    #[test]
    fn records_have_one_spelling(steps in sample::steps(), at: usize, place: usize, byte: u8, grow: bool) {
        // Whatever bytes are taken for a record encode to themselves: nothing is read over.
        let log = sample::log(&steps);
        let mut entry = log.records[at % log.records.len()].entry.clone();
        let place = place % entry.len();
        if grow { entry.insert(place, byte) } else { entry[place] = byte }
        if let Ok(header) = Header::decode(&entry) {
            let mut again = Vec::new();
            header.encode(&mut again);
            prop_assert_eq!(again, entry);
        }
    }
}
