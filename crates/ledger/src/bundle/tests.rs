//! A bundle proves its answer, and no single lie about it passes: each is made on purpose and called by its name.

use super::*;
use crate::checkpoint;
use crate::cosign::{self, Cosigner, CosignerKey};
use crate::heads::Head;
use crate::note::{BadNote, SigningKey};
use crate::record::{Draft, Header, NodeEvent, StoredRecord};
use crate::sample::{self, START, Step, access, integration, key, keys, log, touch};
use crate::sequencer::Sequencer;
use crate::state::State;
use model::{AccessRecord, Outcome};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;

pub(crate) fn window(from_secs: u64, to_secs: u64) -> Question {
    let at = |secs| UnixMicros(START.0 + secs * SECOND);
    Question {
        integrations: Some([integration(1)].into()),
        from: at(from_secs),
        to: at(to_secs),
        classes: None,
        networks: None,
    }
}

/// Accesses by integrations 1 and 2 in turn at seconds 1, 2, 3..., but for heads records at seconds 5, 10, 15...
pub(crate) fn sample_log() -> sample::Log {
    let steps: Vec<_> = (1..24_u8)
        .map(|n| {
            let step = if n % 5 == 0 {
                Step::Heads
            } else {
                Step::Draft(Draft::Access(access(1 + n % 2, &[touch(n % 4, &[n % 3])])))
            };
            (SECOND, step)
        })
        .collect();
    log(&steps)
}

pub(crate) fn build(log: &sample::Log, question: &Question) -> Result<Vec<u8>, CannotProve> {
    let built = build_from(log, question, Form::default(), State::begin());
    if let Err(CannotProve::BeforeGeneration { .. }) = built {
        return built;
    }
    let mut naive = naive::Builder::new(question.clone(), &log.note, &keys())?;
    for record in &log.records {
        naive.push(record)?;
    }
    assert_eq!(built, naive.finish(), "not what the reference makes");
    built
}

/// What is built from a state, its records and the tree.
pub(crate) fn build_from(
    log: &sample::Log,
    question: &Question,
    form: Form,
    state: State,
) -> Result<Vec<u8>, CannotProve> {
    let leaves = log.records.iter().map(StoredRecord::leaf_hash).collect();
    let tree = crate::merkle::Tree::new(leaves);
    let first = usize::try_from(state.size()).unwrap();
    let mut builder = Builder::new(question.clone(), form, &log.note, &keys(), state)?;
    for record in &log.records[first..] {
        if !builder.push(record)? {
            break;
        }
    }
    builder.finish(|index| tree.inclusion(index))
}

fn state_before(log: &sample::Log, index: usize) -> State {
    let mut state = State::begin();
    for record in &log.records[..index] {
        state.take_in(&Header::decode(&record.entry).unwrap(), record.leaf_hash());
    }
    state
}

fn honest() -> Bundle {
    Bundle::decode(&build(&sample_log(), &window(7, 18)).unwrap()).unwrap()
}

fn check(bundle: &Bundle) -> Result<Verified, BadEvidence> {
    verify(&bundle.encode(), &keys(), &[])
}

const CHAIN: Chain = Chain::Integration(IntegrationId::from_bytes([1; 16]));

#[test]
fn an_honest_bundle_proves_its_answer() {
    let bundle = honest();
    let verified = check(&bundle).unwrap();
    // Integration 1 reads at even seconds: 8, 12, 14, 16 of the window, 10 being a heads record.
    assert_eq!(verified.answer.records, 4);
    assert_eq!(verified.origin, sample::ORIGIN);
    assert!(verified.as_of >= bundle.question.to);
    // Between the heads records lie 6, 8, 12, 14, 16, 18 and more; only those of the window are shown whole.
    let whole = bundle.runs[0].shown.iter().filter(|shown| shown.facts.is_some()).count();
    assert_eq!(whole, 4);
    assert!(bundle.runs[0].shown.len() > 4);
}

#[test]
fn a_dropped_record_is_named() {
    for at in 0..4 {
        let mut bundle = honest();
        let first = sequence_of(&bundle.runs[0].shown[0]);
        bundle.runs[0].shown.remove(at);
        let named = BadEvidence::Dropped { chain: CHAIN, sequence: first + at as u64 };
        assert_eq!(check(&bundle), Err(named));
    }
}

#[test]
fn a_truncated_end_is_named() {
    for left in 0..5 {
        let mut bundle = honest();
        let first = sequence_of(&bundle.runs[0].shown[0]);
        bundle.runs[0].shown.truncate(left);
        let named = BadEvidence::Truncated { chain: CHAIN, sequence: first + left as u64 };
        assert_eq!(check(&bundle), Err(named));
    }
}

#[test]
fn two_records_with_one_sequence_number_are_named() {
    let mut bundle = honest();
    let twin = bundle.runs[0].shown[2].clone();
    let sequence = sequence_of(&twin);
    bundle.runs[0].shown.insert(4, twin);
    assert_eq!(check(&bundle), Err(BadEvidence::Repeated { chain: CHAIN, sequence }));
}

#[test]
fn a_swapped_order_is_named() {
    let mut bundle = honest();
    let sequence = sequence_of(&bundle.runs[0].shown[1]);
    bundle.runs[0].shown.swap(1, 3);
    assert_eq!(check(&bundle), Err(BadEvidence::Swapped { chain: CHAIN, sequence }));
}

#[test]
fn a_changed_byte_is_named() {
    for at in 0..honest().runs[0].shown.len() {
        // The time, the mask and the body's hash: what a liar would want to change.
        for change in [
            |h: &mut Header| h.time.0 += 1,
            |h: &mut Header| h.classes = sample::classes(&[9]),
            |h: &mut Header| h.body[0] ^= 1,
        ] {
            let mut bundle = honest();
            let shown = &mut bundle.runs[0].shown[at];
            let mut header = Header::decode(&shown.entry).unwrap();
            change(&mut header);
            shown.entry.clear();
            header.encode(&mut shown.entry);
            let named =
                BadEvidence::Changed { chain: CHAIN, sequence: header.sequence, part: "entry" };
            assert_eq!(check(&bundle), Err(named));
        }
    }
    for (part, at) in [("body", 1), ("touches", 2)] {
        let mut bundle = honest();
        let sequence = sequence_of(&bundle.runs[0].shown[at]);
        let Some(Facts::Whole { body, touches }) = &mut bundle.runs[0].shown[at].facts else {
            panic!()
        };
        let bytes = if part == "body" { body } else { touches };
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(check(&bundle), Err(BadEvidence::Changed { chain: CHAIN, sequence, part }));
    }
}

#[test]
fn a_record_of_another_log_is_named() {
    // The other log's chain has a record at the same place, also in time.
    let other = Draft::Access(access(1, &[touch(3, &[2])]));
    let steps: Vec<_> = (0..20).map(|_| (SECOND, Step::Draft(other.clone()))).collect();
    let other = log(&steps);
    for at in 0..honest().runs[0].shown.len() {
        let mut bundle = honest();
        let sequence = sequence_of(&bundle.runs[0].shown[at]);
        let stranger = &other.records[usize::try_from(sequence).unwrap()];
        bundle.runs[0].shown[at].entry.clone_from(&stranger.entry);
        assert_eq!(check(&bundle), Err(BadEvidence::OtherLog { chain: CHAIN, sequence }), "{at}");
    }
    let mut bundle = honest();
    let heads = other.records.last().unwrap();
    (bundle.upper.entry, bundle.upper.body) = (heads.entry.clone(), heads.body.clone());
    let index = bundle.upper.index;
    assert_eq!(check(&bundle), Err(BadEvidence::NotInLog { index }));
}

#[test]
fn a_forged_checkpoint_is_named() {
    let forged = |note: &str| {
        let mut bundle = honest();
        bundle.checkpoint = note.to_owned();
        check(&bundle)
    };
    let named = |bad| Err(BadEvidence::Checkpoint(checkpoint::BadCheckpoint::Note(bad)));
    let log = sample_log();
    assert_eq!(forged(&log.note.replace("\n24\n", "\n23\n")), named(BadNote::Forged));
    let tree = checkpoint::open(&log.note, &keys()).unwrap().tree;
    let thief = SigningKey::new(sample::ORIGIN, &[66; 32]).unwrap();
    assert_eq!(forged(&checkpoint::sign(&tree, &thief)), named(BadNote::NotSigned));
    let text = checkpoint::sign(&tree, &key()).replace("node-1", "node-2");
    let (text, _) = text.split_at(text.find("\n\n").unwrap() + 1);
    let other = key().sign_note(text);
    let named = Err(BadEvidence::Checkpoint(checkpoint::BadCheckpoint::OtherLog));
    assert_eq!(forged(&other), named);
}

#[test]
fn a_record_left_off_its_chain_is_named() {
    // A dishonest node: record 2 is a leaf of the tree, but its chain passes over it and so do the heads.
    let mut honest = Sequencer::begin(sample::ORIGIN);
    let mut leaves = Vec::new();
    let mut seconds = (1..).map(|n| UnixMicros(START.0 + n * SECOND));
    let mut now = || seconds.next().unwrap();
    for off in [false, false, true, false] {
        let draft = Draft::Access(access(1, &[touch(1, &[1])]));
        let time = now();
        let sequenced = if off {
            honest.clone().append(&draft, time, [2; 16])
        } else {
            honest.append(&draft, time, [1; 16])
        };
        leaves.push(sequenced.leaf_hash);
    }
    let map = honest.head_map();
    let heads = honest.heads(now(), [0; 16]);
    leaves.push(heads.leaf_hash);
    let tree = crate::merkle::Tree::new(leaves);
    let head = crate::TreeHead { size: tree.size(), root: tree.root() };
    let upper = HeadsAt {
        index: 4,
        entry: heads.stored.entry,
        body: heads.stored.body,
        path: tree.inclusion(4).unwrap(),
    };
    let bundle = Bundle {
        checkpoint: checkpoint::sign(&head, &key()),
        level: Level::OperatorAsserted,
        vendor: None,
        seal: None,
        question: window(0, 5),
        lower: None,
        upper,
        system: None,
        runs: vec![Run { chain: CHAIN, lower: None, upper: map.prove(&CHAIN), shown: Vec::new() }],
        answer: Answer::default(),
    };
    assert_eq!(check(&bundle), Err(BadEvidence::OffChain { index: 4, counted: 3 }));
}

#[test]
fn a_record_of_another_chain_is_named() {
    let question = Question { integrations: None, ..window(7, 18) };
    let mut bundle = Bundle::decode(&build(&sample_log(), &question).unwrap()).unwrap();
    let moved = bundle.runs[1].shown.remove(1);
    bundle.runs[0].shown.insert(1, moved);
    assert!(matches!(check(&bundle), Err(BadEvidence::OtherLog { .. })));
}

#[test]
fn an_integration_left_out_is_named() {
    let question = Question { integrations: None, ..window(7, 18) };
    let mut bundle = Bundle::decode(&build(&sample_log(), &question).unwrap()).unwrap();
    assert!(check(&bundle).is_ok());
    bundle.runs.pop();
    assert_eq!(check(&bundle), Err(BadEvidence::IntegrationLeftOut));
}

#[test]
fn an_integration_without_a_chain_is_zero_accesses() {
    for absent in [0, 3, 200] {
        let question =
            Question { integrations: Some([integration(absent)].into()), ..window(7, 18) };
        let bytes = build(&sample_log(), &question).unwrap();
        assert_eq!(verify(&bytes, &keys(), &[]).unwrap().answer, Answer::default());
        // Claiming so of a chain that exists fails: its neighbours are not side by side.
        let mut lie = Bundle::decode(&bytes).unwrap();
        lie.question.integrations = Some([integration(1)].into());
        lie.runs[0].chain = CHAIN;
        assert_eq!(check(&lie), Err(BadEvidence::HeadNotProved(CHAIN)));
    }
}

#[test]
fn a_shorter_run_with_an_older_head_is_named() {
    let mut bundle = honest();
    let last = Header::decode(&bundle.runs[0].shown.pop().unwrap().entry).unwrap();
    let HeadProof::Present(place) = &mut bundle.runs[0].upper else { panic!() };
    place.head = Head { count: last.sequence, leaf: last.previous };
    assert_eq!(check(&bundle), Err(BadEvidence::HeadNotProved(CHAIN)));
}

#[test]
fn a_window_that_the_heads_do_not_enclose_is_named() {
    let mut bundle = honest();
    bundle.question.to = UnixMicros(START.0 + 3_600 * SECOND);
    assert_eq!(check(&bundle), Err(BadEvidence::WindowNotEnclosed));
    let mut bundle = honest();
    bundle.question.from = START;
    assert_eq!(check(&bundle), Err(BadEvidence::WindowNotEnclosed));
    assert_eq!(build(&sample_log(), &window(7, 3_600)), Err(CannotProve::NotYet));
}

#[test]
fn a_record_that_may_count_must_be_shown() {
    let mut bundle = honest();
    let sequence = sequence_of(&bundle.runs[0].shown[2]);
    bundle.runs[0].shown[2].facts = None;
    assert_eq!(check(&bundle), Err(BadEvidence::NotShown { chain: CHAIN, sequence }));
}

#[test]
fn an_answer_that_the_records_do_not_yield_is_named() {
    let mut bundle = honest();
    let (_, seen) = bundle.answer.subjects.first_mut().unwrap();
    seen.count += 1;
    assert_eq!(check(&bundle), Err(BadEvidence::OtherAnswer));
}

#[test]
fn a_network_filter_opens_networks_and_shows_no_more_of_strangers() {
    let elsewhere = AccessRecord { network: sample::network(7), ..access(1, &[touch(1, &[0])]) };
    let log = log(&[
        (SECOND, Step::Draft(Draft::Access(elsewhere))),
        (SECOND, Step::Draft(Draft::Access(access(1, &[touch(2, &[0])])))),
    ]);
    let networks = Some(["192.0.2.0/24".parse().unwrap()].into());
    let question = Question { networks, ..window(0, 3) };
    let mut bundle = Bundle::decode(&build(&log, &question).unwrap()).unwrap();
    assert_eq!(check(&bundle).unwrap().answer.records, 1);
    let Some(Facts::Network(network, _)) = &mut bundle.runs[0].shown[0].facts else { panic!() };
    *network = sample::network(8);
    let named = BadEvidence::Changed { chain: CHAIN, sequence: 0, part: "network" };
    assert_eq!(check(&bundle), Err(named));
}

#[test]
fn what_was_not_released_is_taken_back_within_a_minute() {
    let read = || Step::Draft(Draft::Access(access(1, &[touch(1, &[0])])));
    for (after, records) in [(SECOND, 0), (60 * SECOND, 0), (60 * SECOND + 1, 1)] {
        let log = log(&[(SECOND, read()), (after, Step::TakeBack(integration(1)))]);
        let bytes = build(&log, &window(0, 2)).unwrap();
        assert_eq!(verify(&bytes, &keys(), &[]).unwrap().answer.records, records, "{after}");
    }
}

fn of_vendor(vendor: u8) -> Form {
    Form { vendor: Some(VendorId::from_bytes([vendor; 16])), ..Form::default() }
}

#[test]
fn a_vendor_is_named_and_each_of_its_integrations_shown() {
    let question = Question {
        integrations: Some([integration(1), integration(2), integration(3)].into()),
        ..window(7, 18)
    };
    let log = sample_log();
    let bytes = build_from(&log, &question, of_vendor(9), State::begin()).unwrap();
    let verified = verify(&bytes, &keys(), &[]).unwrap();
    assert_eq!(verified.vendor, Some(VendorId::from_bytes([9; 16])));
    assert_eq!(verified.answer, naive(&log, &question));
    let mut bundle = Bundle::decode(&bytes).unwrap();
    assert_eq!(bundle.runs.len(), 3, "the one that never read is shown absent");
    // Said of another vendor, or one integration fewer.
    bundle.vendor = Some(VendorId::from_bytes([8; 16]));
    assert!(matches!(check(&bundle), Err(BadEvidence::OtherVendor { .. })));
    let mut bundle = Bundle::decode(&bytes).unwrap();
    bundle.runs.remove(1);
    assert_eq!(check(&bundle), Err(BadEvidence::IntegrationLeftOut));
    let other = build_from(&log, &question, of_vendor(8), State::begin());
    assert!(matches!(other, Err(CannotProve::OtherVendor { .. })));
}

/// An auditor, as far as a bundle knows one.
pub(crate) fn auditor() -> Cosigner {
    Cosigner::new("auditor.example", &[33; 32]).unwrap()
}

pub(crate) fn cosigned(note: &str) -> String {
    let line = auditor().cosign(note, 1_790_000_100).unwrap();
    cosign::add(note, &line, &[auditor().key().unwrap()]).unwrap()
}

#[test]
fn a_level_is_what_the_cosignature_proves() {
    let log = sample_log();
    let auditors = [auditor().key().unwrap()];
    let plain = honest().encode();
    let claims =
        |claimed, note: String| Bundle { level: claimed, checkpoint: note, ..honest() }.encode();
    let level = |bytes: &[u8], auditors: &[CosignerKey]| {
        verify(bytes, &keys(), auditors).map(|verified| verified.level)
    };
    let claimed = claims(Level::AuditorCosigned, cosigned(&log.note));
    assert_eq!(level(&claimed, &auditors), Ok(Level::AuditorCosigned));
    assert_eq!(level(&plain, &auditors), Ok(Level::OperatorAsserted));
    // Proved though not claimed.
    let modest = claims(Level::OperatorAsserted, cosigned(&log.note));
    assert_eq!(level(&modest, &auditors), Ok(Level::AuditorCosigned));
    assert_eq!(level(&modest, &[]), Ok(Level::OperatorAsserted));
    // Claimed without an auditor whom the verifier knows, or without any.
    assert_eq!(level(&claimed, &[]), Err(BadEvidence::NotCosigned));
    let other = [Cosigner::new("auditor.example", &[34; 32]).unwrap().key().unwrap()];
    assert_eq!(level(&claimed, &other), Err(BadEvidence::NotCosigned));
    let bare = claims(Level::AuditorCosigned, log.note.clone());
    assert_eq!(level(&bare, &auditors), Err(BadEvidence::NotCosigned));
    // Of another checkpoint.
    let older = self::log(&[]).note;
    let line = auditor().cosign(&older, 1).unwrap();
    let transplanted = claims(Level::AuditorCosigned, format!("{}{line}", log.note));
    let forged = BadEvidence::Checkpoint(checkpoint::BadCheckpoint::Note(BadNote::Forged));
    assert_eq!(level(&transplanted, &auditors), Err(forged));
}

fn sequence_of(shown: &Shown) -> u64 {
    Header::decode(&shown.entry).unwrap().sequence
}

/// The answer by the book: every record, every touch, one condition after another.
fn naive(log: &sample::Log, question: &Question) -> Answer {
    let records: Vec<_> = log.records.iter().map(|stored| stored.decode().unwrap()).collect();
    let mut answer = Answer::default();
    let mut subjects = std::collections::BTreeMap::new();
    for record in &records {
        let crate::record::Body::Access(body) = &record.body else { continue };
        let taken_back = records.iter().any(|other| {
            matches!(&other.body, crate::record::Body::NotReleased { leaf, .. } if *leaf == record.leaf)
                && other.header.time.0 - record.header.time.0 <= 60 * SECOND
        });
        let time = record.header.time;
        let in_window = question.from <= time && time < question.to;
        let kept: Vec<_> = record
            .touches
            .iter()
            .map(|t| {
                (t.pseudonym, question.classes.map_or(t.classes, |c| c.intersection(&t.classes)))
            })
            .filter(|(_, classes)| question.classes.is_none() || !classes.is_empty())
            .collect();
        if body.outcome != Outcome::Released
            || taken_back
            || !in_window
            || !question.covers(&record.header.chain)
            || !question.has_network(body.network)
            || (question.classes.is_some() && kept.is_empty())
        {
            continue;
        }
        answer.records += 1;
        for (pseudonym, classes) in kept {
            let seen = subjects.entry(pseudonym).or_insert(Seen {
                classes,
                first: time,
                last: time,
                count: 0,
            });
            seen.classes = seen.classes.union(&classes);
            seen.last = time;
            seen.count += 1;
        }
    }
    answer.subjects = subjects.into_iter().collect();
    answer
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    Drop,
    Truncate,
    Repeat,
    Swap,
    Change,
    OtherLog,
}

fn lies() -> impl Strategy<Value = Lie> {
    use Lie::{Change, Drop, OtherLog, Repeat, Swap, Truncate};
    proptest::sample::select(vec![Drop, Truncate, Repeat, Swap, Change, OtherLog])
}

pub(crate) fn questions() -> impl Strategy<Value = Question> {
    let who = proptest::option::of(proptest::collection::btree_set(0_u8..5, 0..3));
    let classes = proptest::option::of(proptest::collection::vec(0_u8..4, 0..3));
    let networks = proptest::option::of(proptest::collection::btree_set(1_u8..4, 0..3));
    (who, classes, networks, 0_u64..90, 0_u64..60).prop_map(
        |(who, classes, networks, from, length)| Question {
            integrations: who.map(|ids| ids.into_iter().map(integration).collect()),
            classes: classes.map(|numbers| sample::classes(&numbers)),
            networks: networks.map(|nets| {
                nets.into_iter().map(|n| IpNet::from(sample::network(n).addr())).collect()
            }),
            ..window(from, from + length)
        },
    )
}

#[test]
fn a_forged_state_that_hides_the_earlier_bound_is_not_believed() {
    let log = sample_log();
    // Past the heads record at second 10, with a time from before the window; integration 5 begins after it.
    let mut forged = state_before(&log, 12);
    forged.time = UnixMicros(START.0 + 7 * SECOND);
    let question = Question { integrations: Some([integration(5)].into()), ..window(8, 18) };
    let built = build_from(&log, &question, Form::default(), forged.clone());
    assert_eq!(
        built,
        Err(CannotProve::Corrupt(crate::sequencer::Corrupt::HeadsRoot { index: 12 }))
    );
    let recipient = Recipient { name: "regulator".into(), key: [42; 32] };
    let form = Form { recipient: Some(recipient), ..Form::default() };
    let mut builder = Builder::new(question, form, &log.note, &keys(), forged).unwrap();
    for record in &log.records[12..] {
        builder.push(record).unwrap();
    }
    let opened = builder.open(Position { run: 0, sequence: 0, touch: 0 });
    assert!(matches!(opened, Err(CannotProve::Corrupt(_))), "{opened:?}");
}

#[test]
fn a_window_from_before_a_log_whose_former_end_was_lost_is_not_proved() {
    let begun = |lost_checkpoint: Option<Vec<u8>>| {
        let start = Step::Draft(Draft::Node(NodeEvent::Start { lost_checkpoint }));
        let read = || Step::Draft(Draft::Access(access(1, &[touch(1, &[1])])));
        log(&[(2 * SECOND, start), (SECOND, read()), (SECOND, Step::Heads), (SECOND, read())])
    };
    let next = begun(Some(b"checkpoint".to_vec()));
    let since = UnixMicros(START.0 + 2 * SECOND);
    for from in [0, 1, 2] {
        let cannot = build(&next, &window(from, 5)).unwrap_err();
        assert_eq!(cannot, CannotProve::BeforeGeneration { origin: sample::ORIGIN.into(), since });
        assert!(cannot.to_string().contains(&since.to_string()), "{cannot}");
    }
    let later = verify(&build(&next, &window(3, 5)).unwrap(), &keys(), &[]).unwrap();
    assert_eq!((later.answer.records, later.from_the_beginning), (1, true));
    let bounded = verify(&build(&next, &window(5, 5)).unwrap(), &keys(), &[]).unwrap();
    assert!(!bounded.from_the_beginning);
    assert!(build(&begun(None), &window(0, 5)).is_ok(), "a first generation has nothing before it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_question_is_answered_exactly_and_proved(steps in sample::steps(), question in questions()) {
        let log = log(&steps);
        match build(&log, &question) {
            Ok(bytes) => prop_assert_eq!(verify(&bytes, &keys(), &[]).unwrap().answer, naive(&log, &question)),
            Err(CannotProve::BeforeGeneration { since, .. }) => prop_assert!(question.from <= since),
            Err(cannot) => prop_assert_eq!(cannot, CannotProve::NotYet),
        }
    }

    #[test]
    fn from_any_state_before_the_window_the_same_bytes_are_built(
        steps in sample::steps(), question in questions(), at: prop::sample::Index,
    ) {
        let log = log(&steps);
        let Ok(bytes) = build(&log, &question) else { return Ok(()) };
        let lower = Bundle::decode(&bytes).unwrap().lower;
        let latest = usize::try_from(lower.map_or(0, |lower| lower.index)).unwrap();
        let state = state_before(&log, at.index(latest + 1));
        prop_assert_eq!(build_from(&log, &question, Form::default(), state), Ok(bytes));
    }

    #[test]
    fn a_state_that_is_not_the_log_s_builds_nothing(steps in sample::steps(), question in questions(), at: prop::sample::Index, chain in 0_u8..4) {
        let log = log(&steps);
        let mut state = state_before(&log, at.index(log.records.len()));
        let chain = if chain == 0 { Chain::System } else { Chain::Integration(integration(chain)) };
        let Some(head) = state.chains.get_mut(&chain) else { return Ok(()) };
        head.leaf[7] ^= 1;
        if let Ok(bytes) = build_from(&log, &question, Form::default(), state) {
            // Only where no bound lies behind the state: the whole window is before it.
            prop_assert!(false, "{:?}", verify(&bytes, &keys(), &[]));
        }
    }

    #[test]
    fn any_single_lie_about_any_run_is_named(steps in sample::steps(), lie in lies(), at: usize) {
        let question = Question { integrations: None, ..window(0, 20) };
        let Ok(bytes) = build(&log(&steps), &question) else { return Ok(()) };
        let mut bundle = Bundle::decode(&bytes).unwrap();
        let Some(run) = bundle.runs.iter_mut().max_by_key(|run| run.shown.len()) else { return Ok(()) };
        if run.shown.len() < 3 {
            return Ok(());
        }
        let (last, at) = (run.shown.len() - 1, at % run.shown.len());
        let other = if at == last { 0 } else { last };
        let mut change = |change: &dyn Fn(&mut Header)| {
            let mut header = Header::decode(&run.shown[at].entry).unwrap();
            change(&mut header);
            run.shown[at].entry.clear();
            header.encode(&mut run.shown[at].entry);
        };
        match lie {
            Lie::Drop if at == last => return Ok(()),
            Lie::Drop => _ = run.shown.remove(at),
            Lie::Truncate => run.shown.truncate(at),
            Lie::Repeat => run.shown.push(run.shown[at].clone()),
            Lie::Swap => run.shown.swap(at, other),
            Lie::Change => change(&|header| header.time.0 += 1),
            // At the chain's first place a stranger fits what is before it, as a changed record does.
            Lie::OtherLog if at == 0 => return Ok(()),
            Lie::OtherLog => change(&|header| (header.previous, header.body) = ([9; 32], [8; 32])),
        }
        let found = check(&bundle).unwrap_err();
        let named = match lie {
            Lie::Drop => matches!(found, BadEvidence::Dropped { .. }),
            Lie::Truncate => matches!(found, BadEvidence::Truncated { .. }),
            Lie::Repeat => matches!(found, BadEvidence::Repeated { .. }),
            Lie::Swap => matches!(found, BadEvidence::Swapped { .. }),
            Lie::Change => matches!(found, BadEvidence::Changed { .. }),
            Lie::OtherLog => matches!(found, BadEvidence::OtherLog { .. }),
        };
        prop_assert!(named, "{:?} was called {:?}", lie, found);
    }

    #[test]
    fn any_changed_byte_of_a_bundle_is_found_or_asks_another_question(at: usize, bit in 0..8) {
        let mut bytes = honest().encode();
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        // A window moved by a microsecond is a question of its own, and its answer is as true.
        if let Ok(verified) = verify(&bytes, &keys(), &[]) {
            prop_assert_ne!(&verified.question, &honest().question, "byte {}", at);
            prop_assert_eq!(verified.answer, naive(&sample_log(), &verified.question));
        }
    }

    #[test]
    fn any_cut_bundle_is_found(at: usize, tail: u8) {
        let mut bytes = honest().encode();
        bytes.push(tail);
        prop_assert!(verify(&bytes, &keys(), &[]).is_err());
        bytes.truncate(at % (bytes.len() - 1));
        prop_assert!(verify(&bytes, &keys(), &[]).is_err());
    }
}
