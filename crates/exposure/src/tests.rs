//! Exact answers: the fold agrees with a reading of the records one by one, and with the evidence bundle.

use crate::{Caveats, Exposure, Fold, Person, Question, Scope, Totals, write_json};
use aws_lc_rs::digest::{SHA256, digest};
use expect_test::expect;
use ledger::bundle::{Builder, Form, Seen, verify};
use ledger::merkle::Tree;
use ledger::note::SigningKey;
use ledger::record::{Body, Chain};
use ledger::{Draft, Record, Sequencer, State, StoredRecord, checkpoint};
use model::{
    AccessRecord, ClassNumber, ClassSet, ClassTable, ClientIp, CredentialId, DataClass, GrantId,
    IntegrationId, OperationId, Outcome, Pseudonym, Refusal, RequestId, SubjectId, Touch,
    UnixMicros, VendorId,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

/// 2026-11-22T09:00:00Z.
const START: UnixMicros = UnixMicros(1_795_338_000_000_000);

fn at(secs: u64) -> UnixMicros {
    UnixMicros(START.0 + secs * SECOND)
}

fn classes(numbers: &[u8]) -> ClassSet {
    numbers.iter().map(|&n| ClassNumber::new(n)).collect()
}

fn touch(subject: u8, numbers: &[u8]) -> Touch {
    Touch { pseudonym: Pseudonym([subject; 16]), classes: classes(numbers) }
}

fn access(who: u8, touches: &[Touch]) -> AccessRecord {
    AccessRecord {
        request: RequestId::from_bytes([who; 16]),
        vendor: VendorId::from_bytes([1; 16]),
        integration: IntegrationId::from_bytes([who; 16]),
        credential: CredentialId::from_bytes([who; 16]),
        grant: Some(GrantId::from_bytes([who; 16])),
        operation: OperationId::new("getAccount"),
        network: ClientIp::from_peer([192, 0, 2, who].into()),
        contract: [0; 32],
        policy: [0; 32],
        class_table: [0; 32],
        outcome: Outcome::Released,
        bytes: 1,
        touches: touches.to_vec(),
    }
}

struct Log {
    stored: Vec<StoredRecord>,
    records: Vec<Record>,
    note: String,
    key: SigningKey,
}

/// What happens at which second. `Err` takes back the last access of an integration.
fn log(steps: &[(UnixMicros, Result<AccessRecord, u8>)]) -> Log {
    let key = SigningKey::new("test/node/1", &[1; 32]).unwrap();
    let mut sequencer = Sequencer::begin(key.name());
    let mut last = BTreeMap::new();
    let mut stored = Vec::new();
    for (now, step) in steps {
        let sequenced = match step {
            Ok(record) => {
                let sequenced = sequencer.append(&Draft::Access(record.clone()), *now, [0; 16]);
                last.insert(record.integration, (record.request, sequenced.leaf_hash));
                sequenced
            }
            Err(who) => {
                let integration = IntegrationId::from_bytes([*who; 16]);
                let Some(&(request, leaf)) = last.get(&integration) else { continue };
                let draft = Draft::NotReleased { integration, request, leaf };
                sequencer.append(&draft, *now, [0; 16])
            }
        };
        stored.push(sequenced.stored);
    }
    stored.push(sequencer.heads(at(1_000_000), [0; 16]).stored);
    let records = stored.iter().map(|stored| stored.decode().unwrap()).collect();
    let note = checkpoint::sign(&sequencer.tree(), &key);
    Log { stored, records, note, key }
}

/// A vault in which subject 5 was erased, and subjects 3 and 4 are one person in two quarters.
fn subject_of(pseudonym: &Pseudonym) -> Option<SubjectId> {
    match pseudonym.0[0] {
        5 => None,
        4 => SubjectId::new("acct-3"),
        n => SubjectId::new(&format!("acct-{n}")),
    }
}

fn nameless(subjects: impl IntoIterator<Item = (Pseudonym, Seen)>) -> BTreeMap<Person, Seen> {
    subjects.into_iter().map(|(name, seen)| (Person::Nameless(name), seen)).collect()
}

fn ask(log: &Log, question: &Question) -> Exposure {
    let mut fold = Fold::new(question);
    log.records.iter().for_each(|record| fold.push(record));
    fold.finish(subject_of)
}

fn json(
    question: &Question,
    exposure: Exposure,
    scope: Option<&Scope>,
    proof: Option<(&str, &model::Digest)>,
) -> String {
    let mut out = Vec::new();
    write_json(&mut out, question, &exposure.into(), &table(), scope, proof, &Caveats::default())
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn table() -> ClassTable {
    let names = ["user.contact.email", "user.name", "user.contact.phone", "user.financial"];
    ClassTable::new(names.iter().map(|name| DataClass::new(name).unwrap()).collect()).unwrap()
}

#[test]
fn windows_are_half_open_at_the_microsecond() {
    let read = || Ok(access(1, &[touch(1, &[0])]));
    let log = log(&[(at(10), read())]);
    let count =
        |from, to| ask(&log, &Question::all(UnixMicros(from), UnixMicros(to))).totals.records;
    let moment = at(10).0;
    assert_eq!(count(moment, moment + 1), 1);
    assert_eq!(count(moment + 1, moment + 9), 0);
    assert_eq!(count(moment - 1, moment), 0);
    assert_eq!(count(moment, moment), 0);
}

#[test]
fn attempts_and_refusals_do_not_count() {
    let with = |outcome| Ok(AccessRecord { outcome, ..access(1, &[touch(1, &[0])]) });
    let log = log(&[
        (at(1), with(Outcome::Attempted)),
        (at(2), with(Outcome::Refused(Refusal::OverBudget))),
    ]);
    assert_eq!(ask(&log, &Question::all(at(0), at(9))).totals, Totals::default());
}

#[test]
fn only_not_released_takes_back_and_only_within_a_minute() {
    let read = || Ok(access(1, &[touch(1, &[0])]));
    for (after, records) in [(1, 0), (60, 0), (61, 1)] {
        let log = log(&[(at(1), read()), (at(1 + after), Err(1))]);
        assert_eq!(ask(&log, &Question::all(at(0), at(9))).totals.records, records, "{after}");
    }
}

#[test]
fn one_person_under_two_pseudonyms_is_one_subject_and_erased_ones_stand_apart() {
    let log = log(&[
        (at(1), Ok(access(1, &[touch(3, &[0])]))),
        (at(2), Ok(access(1, &[touch(4, &[1]), touch(5, &[1])]))),
    ]);
    let exposure = ask(&log, &Question::all(at(0), at(9)));
    let both = Seen { classes: classes(&[0, 1]), first: at(1), last: at(2), count: 2 };
    assert_eq!(exposure.subjects, [(SubjectId::new("acct-3").unwrap(), both)].into());
    assert_eq!(exposure.erased.len(), 1);
    assert_eq!(exposure.totals.subjects, 2);
    let class = exposure.totals.classes[&ClassNumber::new(1)];
    assert_eq!((class.subjects, class.records), (2, 1));
}

#[test]
fn a_record_that_names_a_person_by_two_pseudonyms_counts_once() {
    let log = log(&[(at(1), Ok(access(1, &[touch(3, &[0]), touch(4, &[1]), touch(5, &[1])])))]);
    let exposure = ask(&log, &Question::all(at(0), at(9)));
    let both = Seen { classes: classes(&[0, 1]), first: at(1), last: at(1), count: 1 };
    assert_eq!(exposure.subjects, [(SubjectId::new("acct-3").unwrap(), both)].into());
    let hour = exposure.totals.hours.values().next().unwrap();
    assert_eq!((hour.records, hour.touches), (1, 2));
}

#[test]
fn a_class_that_was_never_read_is_an_empty_answer() {
    let log = log(&[(at(1), Ok(access(1, &[touch(1, &[0, 1])])))]);
    let question = Question { classes: Some(classes(&[2])), ..Question::all(at(0), at(9)) };
    assert_eq!(ask(&log, &question).totals, Totals::default());
}

#[test]
fn every_filter_narrows() {
    let log = log(&[
        (at(1), Ok(access(1, &[touch(1, &[0])]))),
        (at(2), Ok(access(2, &[touch(2, &[1])]))),
    ]);
    let all = Question::all(at(0), at(9));
    for question in [
        Question { integrations: Some([IntegrationId::from_bytes([2; 16])].into()), ..all.clone() },
        Question { credentials: Some([CredentialId::from_bytes([2; 16])].into()), ..all.clone() },
        Question { grants: Some([GrantId::from_bytes([2; 16])].into()), ..all.clone() },
        Question { networks: Some(["192.0.2.2/32".parse().unwrap()].into()), ..all.clone() },
        Question { classes: Some(classes(&[1])), ..all.clone() },
        Question { pseudonyms: Some([Pseudonym([2; 16])].into()), ..all.clone() },
    ] {
        let exposure = ask(&log, &question);
        let subjects: Vec<_> = exposure.subjects.keys().map(SubjectId::as_str).collect();
        assert_eq!(subjects, ["acct-2"], "{question:?}");
    }
    let other = Question { operations: OperationId::new("search").map(|id| [id].into()), ..all };
    assert_eq!(ask(&log, &other).totals.records, 0);
}

#[test]
fn the_json_is_that_of_the_schema() {
    let log = log(&[
        (at(1), Ok(access(1, &[touch(1, &[0, 1]), touch(5, &[0])]))),
        (at(3_601), Ok(access(1, &[touch(1, &[2])]))),
    ]);
    let question = Question { classes: Some(classes(&[0, 2])), ..Question::all(at(0), at(9_999)) };
    let exposure = ask(&log, &question);
    let json = json(&question, exposure, None, Some(("a.evidence", &[0xab; 32])));
    expect![[r#"{"schema":"portcullis.exposure/1","scope":null,"window":{"from":"2026-11-22T09:00:00.000000Z","to":"2026-11-22T11:46:39.000000Z"},"question":{"integrations":null,"credentials":null,"grants":null,"operations":null,"networks":null,"classes":["user.contact.email","user.contact.phone"],"pseudonyms":null},"subjects":[{"id":"acct-1","classes":["user.contact.email","user.contact.phone"],"first":"2026-11-22T09:00:01.000000Z","last":"2026-11-22T10:00:01.000000Z","count":2}],"erased":[{"id":"05050505050505050505050505050505","classes":["user.contact.email"],"first":"2026-11-22T09:00:01.000000Z","last":"2026-11-22T09:00:01.000000Z","count":1}],"totals":{"subjects":2,"erased":1,"records":2,"classes":[{"class":"user.contact.email","subjects":2,"records":1},{"class":"user.contact.phone","subjects":1,"records":1}],"integrations":[{"integration":"int_01040g2081040g2081040g2081","records":2,"classes":["user.contact.email","user.contact.phone"],"first":"2026-11-22T09:00:01.000000Z","last":"2026-11-22T10:00:01.000000Z"}],"hours":[{"hour":"2026-11-22T09:00:00.000000Z","records":1,"touches":2},{"hour":"2026-11-22T10:00:00.000000Z","records":1,"touches":1}]},"proof":{"file":"a.evidence","sha256":"abababababababababababababababababababababababababababababababab"}}"#]]
    .assert_eq(&json);
}

#[test]
fn a_scope_has_one_hash_for_one_answer() {
    let log = log(&[(at(1), Ok(access(1, &[touch(1, &[0])])))]);
    let question = Question::all(at(0), at(9));
    let exposure = ask(&log, &question);
    let in_table = |name, version, table: &ClassTable| {
        let mut bytes = Vec::new();
        let listed = exposure.clone().into();
        let scope = Scope::freeze(name, version, &question, &listed, table, &mut bytes).unwrap();
        (scope, bytes)
    };
    let freeze = |name, version| in_table(name, version, &table());
    assert_eq!(freeze("acme", 1), freeze("acme", 1));
    assert_ne!(freeze("acme", 1).0.hash(), freeze("acme", 2).0.hash());
    // Classes that came to the table later change nothing.
    let mut grown = table();
    grown.intern(&DataClass::new("user.location").unwrap()).unwrap();
    assert_eq!(in_table("acme", 1, &grown), freeze("acme", 1));
    let (scope, bytes) = freeze("acme", 1);
    let hash = digest(&SHA256, &bytes);
    assert_eq!(scope.hash().as_slice(), hash.as_ref());
    let json = json(&question, exposure, Some(&scope), None);
    assert!(json.contains(r#""scope":{"name":"acme","version":1,"hash":""#));
}

/// The answer by the book: every record of the log, one condition after another.
fn naive(log: &Log, question: &Question) -> BTreeMap<Pseudonym, Seen> {
    let mut answer: BTreeMap<Pseudonym, Seen> = BTreeMap::new();
    for record in &log.records {
        let time = record.header.time;
        let (Body::Access(body), Chain::Integration(who)) = (&record.body, record.header.chain)
        else {
            continue;
        };
        let taken_back = log.records.iter().any(|other| {
            matches!(&other.body, Body::NotReleased { leaf, .. } if *leaf == record.leaf)
                && other.header.time.0 - time.0 <= 60 * SECOND
        });
        let asked = question.from <= time
            && time < question.to
            && question.integrations.as_ref().is_none_or(|ids| ids.contains(&who))
            && question
                .networks
                .as_ref()
                .is_none_or(|nets| nets.iter().any(|n| n.contains(&body.network.addr())));
        if body.outcome != Outcome::Released || taken_back || !asked {
            continue;
        }
        for touch in &record.touches {
            let wanted = |class: &ClassNumber| question.classes.is_none_or(|c| c.contains(*class));
            let classes: ClassSet = touch.classes.iter().filter(wanted).collect();
            let named = question.pseudonyms.as_ref().is_none_or(|p| p.contains(&touch.pseudonym));
            if !named || (classes.is_empty() && question.classes.is_some()) {
                continue;
            }
            let seen = answer.entry(touch.pseudonym).or_insert(Seen {
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
    answer
}

type Steps = Vec<(UnixMicros, Result<AccessRecord, u8>)>;

fn steps() -> impl Strategy<Value = Steps> {
    let touches =
        proptest::collection::btree_map(1_u8..7, proptest::collection::vec(0_u8..4, 1..3), 0..4);
    let outcome = prop_oneof![6 => Just(Outcome::Released), 1 => Just(Outcome::Attempted)];
    let read = (1_u8..4, touches, outcome).prop_map(|(who, map, outcome)| {
        let touches: Vec<_> =
            map.iter().map(|(subject, numbers)| touch(*subject, numbers)).collect();
        Ok(AccessRecord { outcome, ..access(who, &touches) })
    });
    let step = prop_oneof![6 => read, 1 => (1_u8..4).prop_map(Err)];
    proptest::collection::vec((0_u64..40 * SECOND, step), 0..40).prop_map(|steps| {
        let mut now = START;
        let mut passed = |after| {
            now.0 += after;
            now
        };
        steps.into_iter().map(|(after, step)| (passed(after), step)).collect()
    })
}

fn questions() -> impl Strategy<Value = Question> {
    let who = proptest::option::of(proptest::collection::btree_set(1_u8..5, 0..3));
    let wanted = proptest::option::of(proptest::collection::vec(0_u8..4, 0..3));
    let nets = proptest::option::of(proptest::collection::btree_set(1_u8..5, 0..3));
    let people = proptest::option::weighted(0.2, proptest::collection::btree_set(1_u8..7, 0..3));
    (who, wanted, nets, people, 0_u64..900, 0_u64..900).prop_map(
        |(who, wanted, nets, people, from, length)| Question {
            integrations: who
                .map(|ids| ids.into_iter().map(|n| IntegrationId::from_bytes([n; 16])).collect()),
            classes: wanted.map(|numbers| classes(&numbers)),
            networks: nets.map(|ns| {
                ns.into_iter().map(|n| std::net::IpAddr::from([192, 0, 2, n]).into()).collect()
            }),
            pseudonyms: people.map(|ns| ns.into_iter().map(|n| Pseudonym([n; 16])).collect()),
            ..Question::all(at(from), at(from + length))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_fold_agrees_with_a_reading_one_by_one(steps in steps(), question in questions()) {
        let log = log(&steps);
        let mut fold = Fold::new(&question);
        log.records.iter().for_each(|record| fold.push(record));
        // Nobody is known, so that every pseudonym stands for itself.
        let exposure = fold.finish(|_| None);
        prop_assert_eq!(exposure.erased, nameless(naive(&log, &question)));
    }

    #[test]
    fn the_fold_agrees_with_what_a_bundle_proves(steps in steps(), question in questions()) {
        let log = log(&steps);
        let Some(provable) = question.provable() else { return Ok(()) };
        let keys = [log.key.verifying_key().unwrap()];
        let beginning = State::begin();
        let mut builder =
            Builder::new(provable, Form::default(), &log.note, &keys, beginning).unwrap();
        for stored in &log.stored {
            builder.push(stored).unwrap();
        }
        let tree = Tree::new(log.stored.iter().map(StoredRecord::leaf_hash).collect());
        let bundle = builder.finish(|index| tree.inclusion(index)).unwrap();
        let proved = verify(&bundle, &keys, &[]).unwrap().answer;
        let mut fold = Fold::new(&question);
        log.records.iter().for_each(|record| fold.push(record));
        let exposure = fold.finish(|_| None);
        prop_assert_eq!(exposure.totals.records, proved.records);
        prop_assert_eq!(exposure.erased, nameless(proved.subjects));
    }

    #[test]
    fn two_logs_merged_are_one(first in steps(), second in steps(), question in questions()) {
        let (first, second) = (log(&first), log(&second));
        let fold = |log: &Log| {
            let mut fold = Fold::new(&question);
            log.records.iter().for_each(|record| fold.push(record));
            fold
        };
        let (there, back) = (fold(&first).merge(fold(&second)), fold(&second).merge(fold(&first)));
        let (there, back) = (there.finish(subject_of), back.finish(subject_of));
        prop_assert_eq!(&there, &back);
        let alone = fold(&first).finish(subject_of).totals.records + fold(&second).finish(subject_of).totals.records;
        prop_assert_eq!(there.totals.records, alone);
    }

    #[test]
    fn sums_add_up(steps in steps(), question in questions()) {
        let totals = ask(&log(&steps), &question).totals;
        prop_assert_eq!(totals.integrations.values().map(|t| t.records).sum::<u64>(), totals.records);
        prop_assert_eq!(totals.hours.values().map(|t| t.records).sum::<u64>(), totals.records);
    }
}
