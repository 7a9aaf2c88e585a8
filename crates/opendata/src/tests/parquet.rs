//! The files themselves: what is in them, and that they are whole, the same each time, and only added to.

use super::log::{self, CLASSES, Dice, Made, ORIGIN, START, classes, integration, subject};
use super::rows::{ALL, Plain, answer, files, parts, read};
use crate::ExportFailed;
use crate::classes::ClassNames;
use crate::parquet::{AnswerRow, NameSubjects, Options, Written, export, write_answer_parquet};
use ::parquet::basic::Compression;
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::serialized_reader::ReadOptionsBuilder;
use exposure::{Exposure, Fold, Person, Question};
use ledger::record::Chain;
use ledger::{Draft, Record};
use model::{ClassTable, Micros, Pseudonym, SubjectId, UnixMicros};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use storage::embedded::Unavailable;

fn write(made: &Made, to: &Path, options: Options<'_>) -> Result<Written, ExportFailed> {
    export(ORIGIN, &made.segments(), &ClassNames::new(log::table()), to, options)
}

/// What the fold says, of records with an index below `below`, whatever takes them back later.
pub(crate) fn fold(
    records: &[Record],
    question: &Question,
    below: u64,
    made: Option<&Made>,
) -> Plain {
    let mut fold = Fold::new(question);
    for (index, record) in (0..).zip(records) {
        let is_access = matches!(record.body, ledger::record::Body::Access(_));
        if index < below || !is_access {
            fold.push(record);
        }
    }
    // A pseudonym is of one quarter, which the fold does not hand on; trying each is exact.
    let quarters: BTreeSet<u32> =
        records.iter().map(|record| record.header.time.quarter()).collect();
    let subject_of = |pseudonym: &Pseudonym| -> Option<SubjectId> {
        let vault = &made?.vault;
        quarters.iter().find_map(|&quarter| vault.subject_of(pseudonym, quarter).unwrap())
    };
    plain(fold.finish(subject_of))
}

pub(crate) fn hex(pseudonym: &Pseudonym) -> String {
    pseudonym.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(exposure: Exposure) -> Plain {
    let table = log::table();
    let subjects =
        exposure.subjects.iter().map(|(subject, seen)| (subject.as_str().to_owned(), seen));
    // The fold is handed pseudonyms, so whoever it cannot name stands by one.
    let erased = exposure.erased.iter().filter_map(|(who, seen)| match who {
        Person::Nameless(pseudonym) => Some((hex(pseudonym), seen)),
        Person::Known(_) => None,
    });
    let seen = subjects.chain(erased).map(|(who, seen)| {
        let classes = table.names(&seen.classes).into_iter().map(str::to_owned).collect();
        (who, (classes, seen.first.0, seen.last.0, seen.count))
    });
    Plain {
        seen: seen.collect(),
        records: exposure.totals.records,
        hours: exposure
            .totals
            .hours
            .iter()
            .map(|(hour, total)| (hour.0, (total.records, total.touches)))
            .collect(),
        classes: exposure
            .totals
            .classes
            .iter()
            .map(|(class, total)| (table.name(*class).unwrap().to_string(), total.records))
            .collect(),
    }
}

/// Questions about a log: all of it, and windows with filters, some of which hold nothing.
pub(crate) fn questions(records: &[Record], dice: &mut Dice) -> Vec<Question> {
    let (first, last) =
        (records.first().unwrap().header.time.0, records.last().unwrap().header.time.0);
    let mut questions = vec![
        Question::all(UnixMicros(0), UnixMicros(last + 1)),
        Question::all(UnixMicros(last + 1), UnixMicros(last + 2)),
    ];
    for round in 0..12_u64 {
        let mut moment = || first + dice.roll(last - first + 2);
        let (a, b) = (moment(), moment());
        let mut question = Question::all(UnixMicros(a.min(b)), UnixMicros(a.max(b)));
        if round % 2 == 0 {
            question.integrations =
                Some(BTreeSet::from([integration(u8::try_from(dice.roll(6)).unwrap())]));
        }
        if round % 3 == 0 {
            let nets = [
                "203.0.113.0/24",
                "203.0.112.0/22",
                "2001:db8::/32",
                "203.0.113.7/32",
                "192.0.2.0/24",
            ];
            question.networks = Some(BTreeSet::from([nets
                [usize::try_from(dice.roll(5)).unwrap()]
            .parse()
            .unwrap()]));
        }
        if round % 4 < 2 {
            question.classes = Some(classes(&[u8::try_from(dice.roll(4)).unwrap()]));
        }
        questions.push(question);
    }
    questions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn rows_answer_as_the_fold_does(seed: u64) {
        let made = Made::random(seed, 150, 200);
        let (records, to) = (made.records(), log::directory());
        write(&made, to.path(), ALL).unwrap();
        let rows = read(to.path());
        // One row for each access, attempt and refusal at least, none twice.
        let kept: BTreeSet<(u64, i32)> = rows.iter().map(|row| (row.record, row.touch)).collect();
        prop_assert_eq!(kept.len(), rows.len());
        let recorded: BTreeSet<u64> = (0..).zip(&records)
            .filter(|(_, record)| matches!(record.body, ledger::record::Body::Access(_)))
            .map(|(index, _)| index)
            .collect();
        prop_assert_eq!(rows.iter().map(|row| row.record).collect::<BTreeSet<_>>(), recorded);
        for question in questions(&records, &mut Dice(seed)) {
            prop_assert_eq!(answer(&rows, &question, false), fold(&records, &question, u64::MAX, None));
        }
    }

    #[test]
    fn sealed_parts_answer_for_their_segments_and_growing_changes_none(seed: u64) {
        let mut made = Made::random(seed, 150, 100);
        let to = log::directory();
        let sealed_only = Options { open: false, ..ALL };
        let first = write(&made, to.path(), sealed_only).unwrap();
        let bytes = |files: Vec<std::path::PathBuf>| files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<BTreeMap<_, _>>();
        let before = bytes(parts(to.path()));
        prop_assert!(first.segments > 0);
        for _ in 0..60 {
            made.pass(Micros::from_secs(30));
            let access = made.release(1, &[(1, &[0]), (2, &[1, 2])]);
            made.append(&(0..40).map(|_| Draft::Access(access.clone())).collect::<Vec<_>>());
        }
        let second = write(&made, to.path(), sealed_only).unwrap();
        prop_assert!(second.segments > 0);
        prop_assert_eq!(second.already, first.segments);
        let after = bytes(parts(to.path()));
        for (path, bytes) in &before {
            prop_assert_eq!(after.get(path), Some(bytes));
        }
        let covered: u64 = made.segments().all.iter()
            .take(usize::try_from(second.segments + second.already).unwrap()).map(|segment| segment.records).sum();
        let (rows, records) = (read(to.path()), made.records());
        for question in questions(&records, &mut Dice(seed)) {
            prop_assert_eq!(answer(&rows, &question, false), fold(&records, &question, covered, None));
        }
        // The same log gives the same bytes, at once or in two runs.
        let fresh = log::directory();
        write(&made, fresh.path(), sealed_only).unwrap();
        let strip = |all: &BTreeMap<std::path::PathBuf, Vec<u8>>, root: &Path| all.iter()
            .map(|(path, bytes)| (path.strip_prefix(root).unwrap().to_owned(), bytes.clone())).collect::<Vec<_>>();
        prop_assert_eq!(strip(&bytes(files(fresh.path())), fresh.path()), strip(&bytes(files(to.path())), to.path()));
    }
}

#[test]
fn subjects_are_named_across_quarters_and_erased_ones_are_not() {
    let made = Made::random(11, 200, 200);
    let (records, to) = (made.records(), log::directory());
    let quarters: BTreeSet<u32> =
        records.iter().map(|record| record.header.time.quarter()).collect();
    assert!(quarters.len() >= 3, "{quarters:?}");
    let name = |pseudonym: &Pseudonym, quarter: u32| -> Result<Option<SubjectId>, Unavailable> {
        let subject = made.vault.subject_of(pseudonym, quarter)?;
        Ok(subject.filter(|known| *known != subject_erased()))
    };
    let name: &NameSubjects<'_> = &name;
    write(&made, to.path(), Options { subjects: Some(name), ..ALL }).unwrap();
    let rows = read(to.path());
    let erased = rows.iter().filter(|row| row.pseudonym.is_some() && row.subject.is_none()).count();
    assert!(erased > 0);
    assert!(rows.iter().all(|row| row.subject.as_deref() != Some("person-3")));
    for question in questions(&records, &mut Dice(4)) {
        let mut said = fold(&records, &question, u64::MAX, Some(&made));
        let mut read = answer(&rows, &question, true);
        said.seen.remove("person-3");
        read.seen.retain(|who, _| who.starts_with("person-"));
        assert_eq!(read, said);
    }
    // Pseudonyms and subjects do not share a directory.
    let refused = write(&made, to.path(), ALL);
    assert!(matches!(refused, Err(ExportFailed::Directory { .. })), "{refused:?}");
}

fn subject_erased() -> SubjectId {
    subject(3)
}

#[test]
fn what_was_taken_back_names_nobody() {
    let mut made = Made::new(1);
    let mut cases = Vec::new();
    for (after, by, back) in [(60_000_000, 1, true), (60_000_001, 1, false), (10, 2, false)] {
        let access = made.release(1, &[(1, &[0]), (2, &[1])]);
        let request = access.request;
        let leaf = made.append(&[Draft::Access(access)])[0];
        made.pass(Micros(after));
        made.append(&[Draft::NotReleased { integration: integration(by), request, leaf }]);
        cases.push(back);
        made.pass(Micros::from_secs(3600));
    }
    let to = log::directory();
    write(&made, to.path(), ALL).unwrap();
    let rows = read(to.path());
    let mut outcomes: BTreeMap<u64, Vec<(String, bool, usize)>> = BTreeMap::new();
    for row in &rows {
        let said = (row.outcome.clone(), row.pseudonym.is_some(), row.classes.len());
        outcomes.entry(row.record).or_default().push(said);
    }
    let said = |back: bool| {
        if back {
            vec![("not_released".to_owned(), false, 0)]
        } else {
            vec![("released".to_owned(), true, 1); 2]
        }
    };
    assert_eq!(
        outcomes.into_values().collect::<Vec<_>>(),
        cases.into_iter().map(said).collect::<Vec<_>>()
    );
}

#[test]
fn a_sealed_segment_waits_until_nothing_can_take_its_records_back() {
    let mut made = Made::new(2);
    while made.segments().all.len() < 2 {
        let access = made.release(1, &[(1, &[0])]);
        made.append(&(0..50).map(|_| Draft::Access(access.clone())).collect::<Vec<_>>());
    }
    let to = log::directory();
    let sealed_only = Options { open: false, ..ALL };
    let waits = write(&made, to.path(), sealed_only).unwrap();
    assert_eq!((waits.waiting, waits.segments, parts(to.path()).len()), (1, 0, 0));
    // Taken back from the next segment at the last microsecond, of which there can be more.
    let first = made.records().into_iter().next().unwrap();
    let (Chain::Integration(integration), ledger::record::Body::Access(body)) =
        (first.header.chain, first.body)
    else {
        panic!()
    };
    let waits = |made: &Made| write(made, to.path(), sealed_only).unwrap().waiting == 1;
    let access = made.release(1, &[(1, &[0])]);
    made.pass(Micros::from_secs(60));
    let leaf = first.leaf;
    made.append(&[Draft::NotReleased { integration, request: body.request, leaf }]);
    made.append(&[Draft::Access(access.clone())]);
    made.append(&[Draft::Access(access.clone())]);
    assert!(waits(&made));
    // What the last batch says could still be lost with the power, so it settles nothing.
    made.pass(Micros(1));
    made.append(&[Draft::Access(access.clone())]);
    assert!(waits(&made));
    made.append(&[Draft::Access(access)]);
    let done = write(&made, to.path(), sealed_only).unwrap();
    assert_eq!((done.waiting, done.segments), (0, 1));
    let rows = read(to.path());
    let back: Vec<u64> =
        rows.iter().filter(|row| row.outcome == "not_released").map(|row| row.record).collect();
    assert_eq!(back, [0]);
}

#[test]
fn what_was_copied_before_it_was_thinned_stays_and_what_was_not_is_counted() {
    let mut made = Made::random(7, 200, 40);
    let (early, late) = (log::directory(), log::directory());
    write(&made, early.path(), ALL).unwrap();
    let before = read(early.path());
    let thinned = made.retain();
    assert!(thinned > 0);
    made.pass(Micros::from_secs(120));
    let access = made.release(1, &[(1, &[0])]);
    made.append(&[Draft::Access(access)]);
    let more = write(&made, early.path(), ALL).unwrap();
    assert_eq!((more.thinned, more.already), (0, thinned), "they were whole when they were copied");
    assert_eq!(read(early.path()).len(), before.len() + 1);
    let first = made.segments().all.iter().find(|segment| !segment.thinned).unwrap().first;
    let rest = write(&made, late.path(), ALL).unwrap();
    assert_eq!((rest.thinned, rest.already), (thinned, 0));
    let left = before.iter().filter(|row| row.record >= first).count();
    assert_eq!(read(late.path()).len(), left + 1);
}

#[test]
fn the_open_segment_is_written_again_as_it_grows() {
    let mut made = Made::new(3);
    let to = log::directory();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let access = made.release(1, &[(1, &[0])]);
        made.append(&[Draft::Access(access)]);
        made.pass(Micros::from_secs(1));
        write(&made, to.path(), ALL).unwrap();
        seen.push((parts(to.path()).len(), read(to.path()).len()));
    }
    assert_eq!(seen, [(1, 1), (1, 2), (1, 3)]);
}

#[test]
fn a_window_takes_whole_days_and_a_wider_one_adds_the_others() {
    let mut made = Made::new(5);
    for _ in 0..5 {
        let access = made.release(1, &[(1, &[0])]);
        made.append(&(0..300).map(|_| Draft::Access(access.clone())).collect::<Vec<_>>());
        made.pass(Micros::from_secs(86_400));
    }
    let to = log::directory();
    let days = |root: &Path| {
        parts(root)
            .iter()
            .map(|path| {
                path.strip_prefix(root).unwrap().iter().next().unwrap().to_str().unwrap()[4..]
                    .to_owned()
            })
            .collect::<BTreeSet<_>>()
    };
    let noon = |day: &str| UnixMicros::parse(&format!("{day}T12:00:00Z")).unwrap();
    write(&made, to.path(), Options { from: noon("2026-04-01"), to: noon("2026-04-02"), ..ALL })
        .unwrap();
    assert_eq!(days(to.path()), BTreeSet::from(["2026-04-01".to_owned(), "2026-04-02".to_owned()]));
    let whole = read(to.path());
    assert_eq!(whole.len(), 600, "both days whole");
    assert!(UnixMicros::parse(START).unwrap() < noon("2026-04-01"));
    write(&made, to.path(), ALL).unwrap();
    assert_eq!(days(to.path()).len(), 5);
    assert_eq!(read(to.path()).len(), 1500);
}

#[test]
fn a_run_that_breaks_off_leaves_whole_files_only_and_the_next_goes_on() {
    let made = Made::random(21, 150, 40);
    let whole = log::directory();
    let calls = Cell::new(0_u64);
    let left = Cell::new(u64::MAX);
    let name = |pseudonym: &Pseudonym, quarter: u32| {
        calls.set(calls.get() + 1);
        if calls.get() > left.get() {
            return Err(Unavailable::Stopped("gone".into()));
        }
        made.vault.subject_of(pseudonym, quarter)
    };
    let name: &NameSubjects<'_> = &name;
    let options = Options { subjects: Some(name), ..ALL };
    write(&made, whole.path(), options).unwrap();
    let all = calls.get();
    let broken = log::directory();
    for stop in [1, all / 3, all / 2, all - 1] {
        calls.set(0);
        left.set(stop);
        assert!(matches!(write(&made, broken.path(), options), Err(ExportFailed::Subjects(_))));
        for path in files(broken.path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(!name.ends_with(".unfinished"), "{name}");
        }
        read(broken.path()); // every part under its name can be read to its end
    }
    left.set(u64::MAX);
    // What a process that was killed leaves lies under a name that nobody reads, and is written over.
    let leftover = parts(whole.path())[0].strip_prefix(whole.path()).unwrap().to_owned();
    let leftover = broken.path().join(leftover.with_file_name(format!(
        ".{}.unfinished",
        leftover.file_name().unwrap().to_str().unwrap()
    )));
    fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, b"PAR1 half").unwrap();
    write(&made, broken.path(), options).unwrap();
    assert_eq!(read(broken.path()), read(whole.path()));
}

#[test]
fn engines_can_skip_by_statistics_and_by_bloom_filter() {
    let mut made = Made::new(6);
    for second in 0..60 {
        let people: Vec<(u64, &[u8])> =
            (0..100).map(|n| (second * 100 + n, &[0_u8, 1] as &[u8])).collect();
        let access = made.release(1, &people);
        made.append(&[Draft::Access(access)]);
        made.pass(Micros::from_secs(1));
    }
    let to = log::directory();
    write(&made, to.path(), ALL).unwrap();
    let path =
        parts(to.path()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options =
        ReadOptionsBuilder::new().with_page_index().with_reader_properties(properties).build();
    let reader =
        SerializedFileReader::new_with_options(File::open(&path).unwrap(), options).unwrap();
    let metadata = reader.metadata();
    let said: BTreeMap<_, _> = metadata
        .file_metadata()
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap()))
        .collect();
    assert_eq!(said["portcullis.log"], ORIGIN);
    assert_eq!(said["portcullis.integration"], integration(1).to_string());
    let group = metadata.row_group(0);
    let column = |name: &str| {
        (0..group.num_columns())
            .find(|&at| group.column(at).column_path().string() == name)
            .unwrap()
    };
    assert!(
        group.columns().iter().all(|column| matches!(column.compression(), Compression::ZSTD(_)))
    );
    assert_eq!(group.sorting_columns().unwrap().len(), 3);
    for column in group.columns() {
        assert!(column.offset_index_range().is_some(), "{column:?}");
        assert!(column.column_index_range().is_some(), "{column:?}");
    }
    let index = metadata.page_index_for_row_group(0);
    let pages = index.offset_index(column("time")).unwrap().page_locations().len();
    assert!(pages > 1, "{pages} pages");
    let group = reader.get_row_group(0).unwrap();
    let filter = group.get_column_bloom_filter(column("pseudonym")).unwrap();
    let present = read(to.path()).into_iter().filter_map(|row| row.pseudonym);
    assert!(present.take(500).all(|pseudonym| filter.check(pseudonym.as_str())));
    let absent = (0..1000_u32).filter(|n| filter.check(format!("{n:032x}").as_str())).count();
    assert!(absent < 50, "{absent} of 1000 who were never read");
}

#[test]
fn another_class_table_names_nothing() {
    let mut made = Made::new(7);
    let access = made.release(1, &[(1, &[2])]);
    made.append(&[Draft::Access(access)]);
    let to = log::directory();
    let other = ClassTable::new(log::table().classes().iter().rev().cloned().collect()).unwrap();
    let failed = export(ORIGIN, &made.segments(), &ClassNames::new(other), to.path(), ALL);
    assert!(matches!(failed, Err(ExportFailed::ClassTable { .. })), "{failed:?}");
    assert_eq!(parts(to.path()), [] as [std::path::PathBuf; 0]);
}

#[test]
fn files_are_their_owners_and_a_directory_of_something_else_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let made = Made::random(8, 20, 2);
    let to = log::directory();
    let root = to.path().join("open");
    write(&made, &root, ALL).unwrap();
    for path in files(&root) {
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o077,
            0,
            "{}",
            path.display()
        );
    }
    let other = log::directory();
    fs::write(other.path().join("thesis.txt"), "").unwrap();
    assert!(matches!(write(&made, other.path(), ALL), Err(ExportFailed::Directory { .. })));
    assert_eq!(files(other.path()).len(), 1);
}

#[test]
fn an_answer_is_one_file() {
    let to = log::directory();
    let path = to.path().join("answer.parquet");
    let row = |subject: Option<&str>, classes: &[&str], count| AnswerRow {
        subject: subject.map(str::to_owned),
        classes: classes.iter().map(|&name| name.to_owned()).collect(),
        first: UnixMicros(1_790_000_000_000_001),
        last: UnixMicros(1_790_000_000_000_002),
        count,
    };
    write_answer_parquet(&path, &[row(Some("person-1"), &CLASSES[..2], 3), row(None, &[], 1)])
        .unwrap();
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let rows: Vec<String> =
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    write_answer_parquet(&path, &[]).unwrap();
    assert_eq!(
        SerializedFileReader::new(File::open(&path).unwrap()).unwrap().metadata().num_row_groups(),
        0
    );
}
