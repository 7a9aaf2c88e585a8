//! The index answers as the fold does, whatever the log, the window, the filters and the state of its files.

mod damage;

use super::*;
use crate::{Fold, Person, Question, Seen, Totals};
use ledger::{Draft, Record, Sequencer};
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId,
    OperationId, Outcome, Pseudonym, Refusal, RequestId, SubjectId, SubjectOrdinal, Touch,
    UnixMicros, VendorId,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A file in memory.
#[derive(Clone)]
struct Bytes(Arc<Vec<u8>>);

impl ReadRange for Bytes {
    fn read(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let bytes = self.0.get(from..).and_then(|rest| rest.get(..length));
        into.clear();
        into.extend_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_at_hand(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<bool> {
        // Some of it is always elsewhere.
        if offset.is_multiple_of(3) {
            return Ok(false);
        }
        self.read(offset, length, into).map(|()| true)
    }

    fn expect(&self, _offset: u64, _length: u64) {}
}

fn open(bytes: Vec<u8>) -> Result<IndexFile, Unreadable> {
    let length = bytes.len() as u64;
    IndexFile::open(Box::new(Bytes(Arc::new(bytes))), length)
}

fn seal(sealer: &mut Sealer, table: &Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    let write = |written: &[u8]| {
        bytes.extend_from_slice(written);
        Ok(())
    };
    sealer.seal(table, [7; 16], write).unwrap();
    bytes
}

/// 2026-03-29T21:00:00Z: three days before a quarter ends.
const START: u64 = 1_774_818_000_000_000;
const MINUTE: u64 = 60_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// Pause in minutes, who, operation, network, touches (subject, class bits), refused.
    Read(u64, u8, u8, u8, Vec<(u8, u8)>, bool),
    /// Takes back the last access of an integration, some seconds later.
    TakeBack(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![3 => 0_u64..3, 2 => 0_u64..200, 1 => 1_000_u64..30_000];
    let touches = prop::collection::vec((0_u8..40, 0_u8..16), 0..6);
    let read = (pause, 0_u8..5, 0_u8..3, 0_u8..4, touches, prop::bool::weighted(0.1)).prop_map(
        |(pause, who, op, net, touches, refused)| Step::Read(pause, who, op, net, touches, refused),
    );
    let back = (0_u8..5, 0_u64..90).prop_map(|(who, secs)| Step::TakeBack(who, secs));
    prop::collection::vec(prop_oneof![8 => read, 1 => back], 1..60)
}

fn integration(who: u8) -> IntegrationId {
    IntegrationId::from_bytes([who; 16])
}

fn classes(bits: u8, wide: bool) -> ClassSet {
    // With more classes than fit a plain mask, numbers far apart.
    let number = |bit: u8| ClassNumber::new(if wide { bit * 60 } else { bit });
    let mut set: ClassSet = (0..4).filter(|bit| bits >> bit & 1 == 1).map(number).collect();
    if wide && bits & 1 == 1 {
        set = set.union(&(100..140).map(ClassNumber::new).collect());
    }
    set
}

/// The pseudonym of a subject in a quarter. Subjects from 36 on are known to no vault.
fn pseudonym(subject: u8, quarter: u32) -> Pseudonym {
    let mut bytes = [0; 16];
    bytes[0] = subject;
    bytes[1] = u8::try_from(quarter % 250).unwrap();
    Pseudonym(bytes)
}

fn ordinal_of(pseudonym: &Pseudonym, quarter: u32) -> Option<SubjectOrdinal> {
    let [subject, of_quarter, ..] = pseudonym.0;
    // Spread out, so that runs have gaps of all sizes.
    (subject < 36 && u32::from(of_quarter) == quarter % 250)
        .then(|| SubjectOrdinal(u32::from(subject) * u32::from(subject) * 1_000))
}

fn subject_id(ordinal: SubjectOrdinal) -> SubjectId {
    SubjectId::new(&format!("subject {}", ordinal.0)).unwrap()
}

fn records(steps: &[Step], wide: bool) -> Vec<Record> {
    let mut sequencer = Sequencer::begin("test/node/1");
    let mut last = BTreeMap::new();
    let mut now = START;
    let mut records = Vec::new();
    for (step, number) in steps.iter().zip(0_u64..) {
        let draft = match step {
            Step::Read(pause, who, op, net, touches, refused) => {
                now += pause * MINUTE + number;
                let quarter = UnixMicros(now).quarter();
                let mut both: BTreeMap<Pseudonym, ClassSet> = touches
                    .iter()
                    .map(|&(subject, bits)| (pseudonym(subject, quarter), classes(bits, wide)))
                    .collect();
                if *op == 2 {
                    // As if the quarter had turned while it was read: some stand there by both pseudonyms.
                    both.extend(touches.iter().filter(|(subject, _)| subject % 3 > 0).map(
                        |&(subject, bits)| {
                            (pseudonym(subject, quarter - 1), classes(bits ^ 5, wide))
                        },
                    ));
                }
                let touches = both;
                Draft::Access(AccessRecord {
                    request: RequestId::from_bytes([*who; 16]),
                    vendor: VendorId::from_bytes([who / 2; 16]),
                    integration: integration(*who),
                    credential: CredentialId::from_bytes([who * 2 + op % 2; 16]),
                    grant: (*op > 0).then(|| GrantId::from_bytes([*op; 16])),
                    operation: OperationId::new(&format!("operation{op}")),
                    network: ClientIp::from_peer([192, 0, *net, *who].into()),
                    contract: [0; 32],
                    policy: [0; 32],
                    class_table: [0; 32],
                    outcome: if *refused {
                        Outcome::Refused(Refusal::Honey)
                    } else {
                        Outcome::Released
                    },
                    bytes: 1,
                    touches: touches
                        .into_iter()
                        .map(|(pseudonym, classes)| Touch { pseudonym, classes })
                        .collect(),
                })
            }
            Step::TakeBack(who, secs) => {
                now += secs * 1_000_000;
                let Some(&leaf) = last.get(who) else { continue };
                Draft::NotReleased {
                    integration: integration(*who),
                    request: RequestId::from_bytes([*who; 16]),
                    leaf,
                }
            }
        };
        let sequenced = sequencer.append(&draft, UnixMicros(now), [0; 16]);
        if let Step::Read(_, who, ..) = step {
            last.insert(*who, sequenced.leaf_hash);
        }
        records.push(sequenced.stored.decode().unwrap());
    }
    records
}

/// What is on disk and in memory after some records.
struct State {
    files: Vec<IndexFile>,
    indexer: Indexer,
}

fn build(records: &[Record], levels: bool) -> State {
    let mut indexer = Indexer::resume(0, 0, Vec::new());
    let (mut sealer, mut parts) = (Sealer::default(), Vec::new());
    for (record, index) in records.iter().zip(0..) {
        indexer.push(index, record, ordinal_of);
        while let Some(table) = indexer.settled() {
            parts.push(open(seal(&mut sealer, &table)).unwrap());
        }
    }
    let mut files = Vec::new();
    if levels {
        // Every week and month that ends before the last part, in the same memory.
        let mut leveler = Leveler::default();
        for (span, days) in [(Span::Week, DAYS_OF_WEEK), (Span::Month, DAYS_OF_MONTH)] {
            let starts: BTreeSet<u32> = parts.iter().map(|part| part.day() / days * days).collect();
            let last = parts.last().map_or(0, IndexFile::day);
            for start in starts.into_iter().filter(|start| start + days <= last) {
                let of_it: Vec<&IndexFile> = parts
                    .iter()
                    .filter(|part| (start..start + days).contains(&part.day()))
                    .collect();
                let mut bytes = Vec::new();
                // One that is broken off leaves nothing behind.
                let broken_off = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
                leveler.level(span, start, &of_it, broken_off).unwrap_err();
                leveler
                    .level(span, start, &of_it, |more| {
                        bytes.extend_from_slice(more);
                        Ok(())
                    })
                    .unwrap();
                files.push(open(bytes).unwrap());
            }
        }
    }
    files.extend(parts);
    State { files, indexer }
}

impl State {
    fn index(&self) -> Index<'_> {
        Index::new(&self.files, self.indexer.tail().map(|table| &**table))
    }
}

fn questions() -> impl Strategy<Value = Question> {
    let some = |most: u8| prop::option::weighted(0.4, prop::collection::btree_set(0..most, 0..3));
    let window = (0_u64..90 * 24 * 60, prop_oneof![0_u64..300, 0_u64..90 * 24 * 60], 0_u64..MINUTE);
    (window, some(6), some(10), some(3), some(4), prop::option::weighted(0.3, 0_u8..16)).prop_map(
        |((from, length, micros), who, credentials, operations, networks, bits)| Question {
            integrations: who.map(|ids| ids.into_iter().map(integration).collect()),
            credentials: credentials
                .map(|ids| ids.iter().map(|id| CredentialId::from_bytes([*id; 16])).collect()),
            grants: None,
            operations: operations.map(|ids| {
                ids.iter().filter_map(|op| OperationId::new(&format!("operation{op}"))).collect()
            }),
            networks: networks.map(|ids| {
                ids.iter().map(|net| format!("192.0.{net}.0/24").parse().unwrap()).collect()
            }),
            classes: bits.map(|bits| classes(bits, false)),
            pseudonyms: None,
            from: UnixMicros(START - 60 * MINUTE + from * MINUTE + micros),
            to: UnixMicros(START - 60 * MINUTE + (from + length) * MINUTE + micros),
        },
    )
}

/// What the fold says, in the index's words.
fn folded(records: &[Record], question: &Question) -> (BTreeMap<Person, Seen>, Totals) {
    folded_all(&[records], question)
}

/// As [`folded`], over several logs.
fn folded_all(logs: &[&[Record]], question: &Question) -> (BTreeMap<Person, Seen>, Totals) {
    let folds = logs.iter().map(|records| {
        let mut fold = Fold::new(question);
        records.iter().for_each(|record| fold.push(record));
        fold
    });
    let fold = folds.reduce(Fold::merge).unwrap();
    let records = logs.iter().copied().flatten();
    let quarters: BTreeSet<u32> = records
        .map(|record| record.header.time.quarter())
        .flat_map(|quarter| [quarter, quarter - 1])
        .collect();
    let known =
        |pseudonym: &Pseudonym| quarters.iter().find_map(|&quarter| ordinal_of(pseudonym, quarter));
    let exposure = fold.finish(|pseudonym| known(pseudonym).map(subject_id));
    let ordinal = |id: &SubjectId| SubjectOrdinal(id.as_str()[8..].parse().unwrap());
    let known = exposure.subjects.iter().map(|(id, seen)| (Person::Known(ordinal(id)), *seen));
    let nameless = exposure.erased.iter().map(|(who, seen)| (*who, *seen));
    (known.chain(nameless).collect(), exposure.totals)
}

fn check(records: &[Record], state: &State, question: &Question) -> Result<(), TestCaseError> {
    let index = state.index();
    let (people, totals) = folded(records, question);
    let counted = index.count(question).unwrap();
    prop_assert_eq!(&counted.subjects.iter().copied().collect::<BTreeMap<_, _>>(), &people);
    prop_assert_eq!(&counted.totals, &totals);

    let subjects = index.subjects(question).unwrap();
    let wanted: Vec<ClassSet> = counted.subjects.iter().map(|(_, seen)| seen.classes).collect();
    prop_assert_eq!(subjects.iter().map(|(_, classes)| classes).collect::<Vec<_>>(), wanted);
    let known =
        subjects.ordinals().map(|ordinal| (ordinal.0 < NAMELESS).then_some(Person::Known(ordinal)));
    let wanted = counted.subjects.iter().map(|(who, _)| match who {
        Person::Known(_) => Some(*who),
        Person::Nameless(_) => None,
    });
    prop_assert_eq!(known.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());

    let all = people.values().fold(ClassSet::EMPTY, |all, seen| all.union(&seen.classes));
    prop_assert_eq!(index.classes(question).unwrap(), all);

    // Whoever works, the answers are these.
    let run = |jobs: &mut [Job<'_>]| jobs.iter_mut().rev().for_each(|job| job());
    for at_once in [0, 3] {
        let index = state.index().with(Workers { at_once, run });
        let mut reused = index.subjects(&Question::all(question.from, question.to)).unwrap();
        index.subjects_into(question, &mut reused).unwrap();
        prop_assert!(reused.iter().eq(subjects.iter()));
        prop_assert_eq!(reused.len(), subjects.len());
        let group = |who: SubjectOrdinal| who.0.to_le_bytes()[0] % 3;
        let counted = reused.by_group(Workers { at_once, run }, group);
        for (counted, number) in counted.iter().zip(0..=u8::MAX) {
            let members = subjects.ordinals().filter(|who| group(*who) == number).count();
            prop_assert_eq!(*counted, members as u64);
        }
        prop_assert_eq!(
            index.timeline(question).unwrap(),
            state.index().timeline(question).unwrap()
        );
    }

    let lines = index.timeline(question).unwrap();
    let mut hours = BTreeMap::new();
    for &hour in totals.hours.keys() {
        let hour_end = UnixMicros(hour.0 + 60 * MINUTE);
        let of_hour = Question {
            from: question.from.max(hour),
            to: question.to.min(hour_end),
            ..question.clone()
        };
        let (people, _) = folded(records, &of_hour);
        let mut by_class = BTreeMap::new();
        for class in people.values().flat_map(|seen| seen.classes.iter().collect::<Vec<_>>()) {
            *by_class.entry(class).or_insert(0) += 1;
        }
        if !people.is_empty() {
            hours.insert(hour, (people.len() as u64, by_class));
        }
    }
    let lines: BTreeMap<_, _> =
        lines.into_iter().map(|line| (line.hour, (line.subjects, line.classes))).collect();
    prop_assert_eq!(lines, hours);
    Ok(())
}

/// The answers of the logs' indexes, united, are those of one fold over all records.
fn check_union(logs: &[(Vec<Record>, State)], question: &Question) -> Result<(), TestCaseError> {
    let records: Vec<&[Record]> = logs.iter().map(|(records, _)| &records[..]).collect();
    let indexes: Vec<Index<'_>> = logs.iter().map(|(_, state)| state.index()).collect();
    let (people, totals) = folded_all(&records, question);
    let counted = indexes.iter().map(|index| index.count(question).unwrap()).collect();
    let counted = Counted::unite(counted);
    prop_assert_eq!(&counted.totals, &totals);
    prop_assert_eq!(counted.subjects.len(), people.len());
    prop_assert_eq!(&counted.subjects.iter().copied().collect::<BTreeMap<_, _>>(), &people);

    let subjects = |question: &Question, indexes: &[&Index<'_>]| {
        Subjects::unite(indexes.iter().map(|index| index.of_log(question).unwrap()).collect())
    };
    let all: Vec<&Index<'_>> = indexes.iter().collect();
    let united = subjects(question, &all);
    prop_assert_eq!(united.len(), people.len());
    let known: BTreeMap<Person, ClassSet> = united
        .iter()
        .filter(|(ordinal, _)| ordinal.0 < NAMELESS)
        .map(|(ordinal, classes)| (Person::Known(ordinal), classes))
        .collect();
    let named = people.iter().filter(|(who, _)| matches!(who, Person::Known(_)));
    prop_assert_eq!(known, named.map(|(who, seen)| (*who, seen.classes)).collect());
    let mut unnamed: Vec<ClassSet> = united
        .iter()
        .filter(|(ordinal, _)| ordinal.0 >= NAMELESS)
        .map(|(_, classes)| classes)
        .collect();
    let nameless = people.iter().filter(|(who, _)| matches!(who, Person::Nameless(_)));
    let mut wanted: Vec<ClassSet> = nameless.map(|(_, seen)| seen.classes).collect();
    unnamed.sort();
    wanted.sort();
    prop_assert_eq!(unnamed, wanted);

    let in_hour = |hour: UnixMicros| Question {
        from: question.from.max(hour),
        to: question.to.min(UnixMicros(hour.0 + 60 * MINUTE)),
        ..question.clone()
    };
    let lines = indexes.iter().map(|index| index.timeline(question).unwrap()).collect();
    let lines = HourLine::unite(lines, |log, hour| indexes[log].of_log(&in_hour(hour))).unwrap();
    let mut hours = Vec::new();
    for hour in totals.hours.keys() {
        let (people, _) = folded_all(&records, &in_hour(*hour));
        let mut classes = BTreeMap::new();
        for class in people.values().flat_map(|seen| seen.classes.iter().collect::<Vec<_>>()) {
            *classes.entry(class).or_insert(0) += 1;
        }
        if !people.is_empty() {
            hours.push(HourLine { hour: *hour, subjects: people.len() as u64, classes });
        }
    }
    prop_assert_eq!(lines, hours);
    Ok(())
}

#[test]
fn the_first_subject_alone_is_found() {
    // Its ordinal is 0 and its block is 0: a posting of no bits.
    let records = records(&[Step::Read(0, 0, 0, 0, vec![(0, 1)], false)], false);
    let mut indexer = Indexer::resume(0, 0, Vec::new());
    indexer.push(0, &records[0], ordinal_of);
    let file = open(seal(&mut Sealer::default(), indexer.tail().next().unwrap())).unwrap();
    let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
    let history = Index::new([&file], []).history(SubjectOrdinal(0), &all).unwrap();
    assert_eq!(history.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_index_answers_as_the_fold(steps in steps(), questions in prop::collection::vec(questions(), 1..4), levels: bool) {
        let records = records(&steps, false);
        let state = build(&records, levels);
        for question in &questions {
            check(&records, &state, question)?;
        }
        check(&records, &state, &Question::all(UnixMicros(0), UnixMicros(u64::MAX)))?;
    }

    #[test]
    fn several_logs_answer_as_one_fold(
        logs in prop::collection::vec((steps(), any::<bool>()), 1..4),
        question in questions(),
        order in any::<prop::sample::Index>(),
        wide: bool,
    ) {
        let mut logs: Vec<_> = logs.iter().map(|(steps, levels)| {
            let records = records(steps, wide);
            let state = build(&records, *levels);
            (records, state)
        }).collect();
        let from = order.index(logs.len());
        logs.rotate_left(from);
        for question in [&question, &Question::all(UnixMicros(0), UnixMicros(u64::MAX))] {
            check_union(&logs, question)?;
        }
    }

    #[test]
    fn any_number_of_classes_is_exact(steps in steps(), mut question in questions(), levels: bool) {
        let records = records(&steps, true);
        let state = build(&records, levels);
        question.classes = question.classes.map(|set| set.union(&(90..120).map(ClassNumber::new).collect()));
        check(&records, &state, &question)?;
    }

    #[test]
    fn a_window_that_ends_before_it_begins_is_empty(steps in steps(), mut question in questions()) {
        let records = records(&steps, false);
        let state = build(&records, true);
        std::mem::swap(&mut question.from, &mut question.to);
        let index = state.index();
        if question.from > question.to {
            prop_assert!(index.subjects(&question).unwrap().is_empty());
            prop_assert!(index.count(&question).unwrap().subjects.is_empty());
            prop_assert!(index.timeline(&question).unwrap().is_empty());
            prop_assert!(index.classes(&question).unwrap().is_empty());
            prop_assert!(index.history(SubjectOrdinal(1_000), &question).unwrap().is_empty());
        }
    }

    #[test]
    fn a_history_is_every_release_of_one_subject(steps in steps(), subject in 0_u8..36, question in questions()) {
        let records = records(&steps, false);
        let state = build(&records, false);
        let ordinal = SubjectOrdinal(u32::from(subject) * u32::from(subject) * 1_000);
        let history = state.index().history(ordinal, &question).unwrap();
        let mut fold_count = 0;
        let (people, _) = folded(&records, &question);
        if let Some(seen) = people.get(&Person::Known(ordinal)) {
            fold_count = seen.count;
            prop_assert_eq!(history.first().map(|touched| touched.time), Some(seen.first));
            prop_assert_eq!(history.last().map(|touched| touched.time), Some(seen.last));
            let all = history.iter().fold(ClassSet::EMPTY, |all, touched| all.union(&touched.classes));
            prop_assert_eq!(all, seen.classes);
        }
        prop_assert_eq!(history.len() as u64, fold_count);
    }

    #[test]
    fn an_index_that_was_resumed_is_the_one_that_was_not(steps in steps(), at: prop::sample::Index) {
        let records = records(&steps, false);
        let whole = build(&records, false);
        // The process ends after some record; what is on disk then is what is gone on from.
        let before = build(&records[..at.index(records.len() + 1)], false);
        let next = before.files.last().map_or(0, |file| file.records().end);
        let nameless = before.files.iter().flat_map(|file| file.nameless().to_vec()).collect();
        let ordinals = before.files.last().map_or(0, |file| file.vault().0);
        let mut indexer = Indexer::resume(next, ordinals, nameless);
        let mut footers: Vec<_> = before.files.iter().map(|file| file.footer.clone()).collect();
        for (record, index) in records.iter().zip(0..).skip(usize::try_from(next).unwrap()) {
            indexer.push(index, record, ordinal_of);
            while let Some(table) = indexer.settled() {
                // In memory that no other part was made in.
                footers.push(open(seal(&mut Sealer::default(), &table)).unwrap().footer);
            }
        }
        // Footers hold the checksums of everything else.
        prop_assert_eq!(footers, whole.files.iter().map(|file| file.footer.clone()).collect::<Vec<_>>());
    }
}
