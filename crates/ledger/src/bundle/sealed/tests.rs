//! A sealed bundle proves records and numbers of touches, names nobody, and opens touch by touch.

use super::*;
use crate::bundle::build::{Builder, CannotProve, Form};
use crate::bundle::tests::{build_from, questions, window};
use crate::bundle::{BadEvidence, Question, verify, verify_opening};
use crate::record::Draft;
use crate::sample::{self, Step, access, integration, keys, touch};
use crate::state::State;
use proptest::prelude::*;

pub(crate) fn recipient() -> Recipient {
    Recipient { name: "regulator".into(), key: [42; 32] }
}

pub(crate) fn sealed(log: &sample::Log, question: &Question) -> Result<Vec<u8>, CannotProve> {
    let form = Form { recipient: Some(recipient()), ..Form::default() };
    build_from(log, question, form, State::begin())
}

/// Integration 1 reads subjects 21 and 22, then 22 and 23, then 21.
fn log() -> sample::Log {
    let read = |touches: &[Touch]| (1_000_000, Step::Draft(Draft::Access(access(1, touches))));
    sample::log(&[
        read(&[touch(21, &[0]), touch(22, &[1])]),
        read(&[touch(22, &[1]), touch(23, &[0])]),
        read(&[touch(21, &[2])]),
    ])
}

fn honest() -> Bundle {
    Bundle::decode(&sealed(&log(), &window(0, 4)).unwrap()).unwrap()
}

fn check(bundle: &Bundle) -> Result<crate::bundle::Verified, BadEvidence> {
    verify(&bundle.encode(), &keys(), &[])
}

#[test]
fn tokens_stand_for_subjects_and_no_pseudonym_is_shown() {
    let bytes = sealed(&log(), &window(0, 4)).unwrap();
    let verified = verify(&bytes, &keys(), &[]).unwrap();
    let seal = verified.seal.unwrap();
    assert_eq!((verified.answer.records, seal.touches(), seal.tokens.len()), (3, 5, 3));
    for subject in 21..24 {
        let pseudonym = [subject; 16];
        assert!(!bytes.windows(16).any(|window| window == pseudonym), "subject {subject}");
        assert!(seal.tokens.contains_key(&token(&recipient().key, &Pseudonym(pseudonym))));
    }
    // Another recipient has other tokens of the same subjects.
    let other = Recipient { name: "other".into(), key: [43; 32] };
    let form = Form { recipient: Some(other), ..Form::default() };
    let other = build_from(&log(), &window(0, 4), form, State::begin()).unwrap();
    let other = verify(&other, &keys(), &[]).unwrap().seal.unwrap();
    assert!(other.tokens.keys().all(|token| !seal.tokens.contains_key(token)));
}

#[test]
fn any_touch_can_be_opened_and_no_other_word_about_it_holds() {
    let log = log();
    let bytes = sealed(&log, &window(0, 4)).unwrap();
    let seal = verify(&bytes, &keys(), &[]).unwrap().seal.unwrap();
    for (token, position) in seal.tokens.iter().flat_map(|(t, all)| all.iter().map(move |p| (t, p)))
    {
        let record = &log.records[usize::try_from(position.sequence).unwrap()];
        let opening = Opening::of(&record.touches, *position, &recipient()).unwrap().unwrap();
        assert_eq!(open(&log, *position), Ok(Some(opening.clone())));
        let shown = |opening: &Opening| {
            verify_opening(&bytes, &opening.to_bytes(), &keys(), &[]).map(|(_, opened)| opened)
        };
        assert_eq!(shown(&opening).unwrap().token, *token);
        let wrong: [fn(&mut Opening); 6] = [
            |o| o.salt[0] ^= 1,
            |o| o.key[0] ^= 1,
            |o| o.touch.pseudonym.0[0] ^= 1,
            |o| o.touch.classes = sample::classes(&[7]),
            |o| o.position.touch ^= 1,
            |o| o.position.sequence ^= 1,
        ];
        for wrong in wrong {
            let mut opening = opening.clone();
            wrong(&mut opening);
            assert_eq!(shown(&opening), Err(BadEvidence::NotOpened));
        }
    }
}

/// What the builder of the sealed bundle opens.
fn open(log: &sample::Log, position: Position) -> Result<Option<Opening>, CannotProve> {
    let form = Form { recipient: Some(recipient()), ..Form::default() };
    let mut builder = Builder::new(window(0, 4), form, &log.note, &keys(), State::begin())?;
    for record in &log.records {
        builder.push(record)?;
    }
    builder.open(position)
}

#[test]
fn nothing_is_opened_where_nothing_stands() {
    for (run, sequence, touch) in [(1, 0, 0), (0, 3, 0), (0, 0, 2), (u64::MAX, 0, 0)] {
        assert_eq!(open(&log(), Position { run, sequence, touch }), Ok(None));
    }
}

#[test]
fn a_position_left_out_doubled_or_made_up_is_named() {
    type Lie = fn(&mut Vec<Position>);
    let lies: [Lie; 4] = [
        |positions| positions.truncate(1),
        |positions| positions.push(positions[0]),
        |positions| positions[1].touch += 7,
        |positions| positions.clear(),
    ];
    for lie in lies {
        let mut bundle = honest();
        let tokens = &mut bundle.seal.as_mut().unwrap().tokens;
        lie(tokens.values_mut().find(|positions| positions.len() == 2).unwrap());
        assert_eq!(check(&bundle), Err(BadEvidence::OtherAnswer));
    }
}

#[test]
fn a_leaf_left_out_or_changed_is_named() {
    let lies: [fn(&mut Vec<Digest>); 2] = [|leaves| _ = leaves.pop(), |leaves| leaves[0][0] ^= 1];
    for lie in lies {
        let mut bundle = honest();
        let Some(Facts::Sealed { leaves, .. }) = &mut bundle.runs[0].shown[0].facts else {
            panic!()
        };
        lie(leaves);
        assert!(matches!(check(&bundle), Err(BadEvidence::Changed { part: "touches", .. })));
    }
}

#[test]
fn touches_are_all_sealed_or_none() {
    let open = build_from(&log(), &window(0, 4), Form::default(), State::begin()).unwrap();
    let mut mixed = honest();
    mixed.runs[0].shown[1] = Bundle::decode(&open).unwrap().runs[0].shown[1].clone();
    assert!(matches!(check(&mixed), Err(BadEvidence::Malformed(_))));
    let mut mixed = Bundle::decode(&open).unwrap();
    mixed.runs[0].shown[1] = honest().runs[0].shown[1].clone();
    assert!(matches!(check(&mixed), Err(BadEvidence::Malformed(_))));
}

#[test]
fn a_seal_and_a_class_filter_do_not_go_together() {
    let question = Question { classes: Some(sample::classes(&[1])), ..window(0, 4) };
    assert_eq!(sealed(&log(), &question), Err(CannotProve::SealedByClass));
    let mut bundle = honest();
    bundle.question.classes = Some(sample::classes(&[0, 1, 2]));
    assert!(matches!(check(&bundle), Err(BadEvidence::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sealed_bundle_counts_what_an_open_one_does(steps in sample::steps(), question in questions()) {
        let log = sample::log(&steps);
        let question = Question { classes: None, ..question };
        let Ok(bytes) = sealed(&log, &question) else { return Ok(()) };
        let open = build_from(&log, &question, Form::default(), State::begin()).unwrap();
        let open = verify(&open, &keys(), &[]).unwrap().answer;
        let verified = verify(&bytes, &keys(), &[]).unwrap();
        let seal = verified.seal.unwrap();
        prop_assert_eq!(verified.answer.records, open.records);
        let counts: BTreeMap<_, _> = seal.tokens.iter().map(|(t, all)| (*t, all.len() as u64)).collect();
        let expected: BTreeMap<_, _> = open
            .subjects
            .iter()
            .map(|(pseudonym, seen)| (token(&recipient().key, pseudonym), seen.count))
            .collect();
        prop_assert_eq!(counts, expected);
    }

    #[test]
    fn any_changed_byte_of_a_sealed_bundle_is_found_or_asks_another_question(at: usize, bit in 0..8) {
        let mut bytes = honest().encode();
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        if let Ok(verified) = verify(&bytes, &keys(), &[]) {
            let seal = verified.seal.unwrap();
            let honest = honest();
            // What is only asserted may be altered: who it is for and what token stands for whom.
            let positions = |seal: &Seal| {
                let mut all: Vec<_> = seal.tokens.values().cloned().collect();
                all.sort();
                all
            };
            let same = verified.question == honest.question;
            prop_assert!(!same || positions(&seal) == positions(honest.seal.as_ref().unwrap()), "byte {}", at);
        }
    }
}

#[test]
fn an_integration_without_a_chain_is_zero_accesses_sealed_too() {
    let question = Question { integrations: Some([integration(9)].into()), ..window(0, 4) };
    let verified = verify(&sealed(&log(), &question).unwrap(), &keys(), &[]).unwrap();
    assert_eq!((verified.answer.records, verified.seal.unwrap().touches()), (0, 0));
}
