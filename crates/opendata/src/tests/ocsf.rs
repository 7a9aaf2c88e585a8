//! Events say what the records say, and nothing of who was read.

use super::log::{Made, ORIGIN, integration, subject, table};
use crate::ExportFailed;
use crate::classes::ClassNames;
use crate::ocsf::export;
use ledger::record::{Body, Kind};
use ledger::{Draft, Record};
use model::{ClassTable, Micros, Outcome, Refusal, UnixMicros};
use serde_json::{Value, json};

pub(crate) fn lines(made: &Made, window: (UnixMicros, UnixMicros)) -> Vec<u8> {
    let mut out = Vec::new();
    let view = made.segments().readable;
    let events =
        export(ORIGIN, &view, &ClassNames::new(table()), "0.1.0", window, &mut out).unwrap();
    assert_eq!(events, out.iter().filter(|&&byte| byte == b'\n').count() as u64);
    out
}

pub(crate) const ALWAYS: (UnixMicros, UnixMicros) = (UnixMicros(0), UnixMicros(u64::MAX));

fn events(made: &Made, window: (UnixMicros, UnixMicros)) -> Vec<Value> {
    let lines = String::from_utf8(lines(made, window)).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn at<'v>(event: &'v Value, pointer: &str) -> &'v Value {
    event.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {event}"))
}

#[test]
fn every_record_but_heads_is_one_event_and_windows_are_half_open() {
    let made = Made::random(31, 200, 30);
    let records = made.records();
    let told: Vec<(usize, &Record)> = records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.header.kind != Kind::Heads)
        .collect();
    let all = events(&made, ALWAYS);
    assert!(told.len() < records.len());
    assert_eq!(all.len(), told.len());
    for (event, (index, record)) in all.iter().zip(&told) {
        assert_eq!(at(event, "/metadata/uid"), &json!(format!("{ORIGIN}#{index}")));
        assert_eq!(at(event, "/metadata/original_time"), &json!(record.header.time.to_string()));
        assert_eq!(at(event, "/time"), &json!(record.header.time.0 / 1000));
        let (class, activity) = (at(event, "/class_uid"), at(event, "/activity_id"));
        assert_eq!(
            at(event, "/type_uid").as_u64(),
            Some(class.as_u64().unwrap() * 100 + activity.as_u64().unwrap())
        );
        if let Body::Access(body) = &record.body {
            let people = if body.outcome == Outcome::Released { record.touches.len() } else { 0 };
            assert_eq!(at(event, "/unmapped/subjects"), &json!(people));
            let classes = record
                .touches
                .iter()
                .fold(model::ClassSet::EMPTY, |all, touch| all.union(&touch.classes));
            let names: Vec<&str> = at(event, "/resources")
                .as_array()
                .unwrap()
                .iter()
                .map(|class| at(class, "/name").as_str().unwrap())
                .collect();
            assert_eq!(names, table().names(&classes));
            assert_eq!(at(event, "/metadata/correlation_uid"), &json!(body.request.to_string()));
        }
    }
    let (a, b) = (records[records.len() / 3].header.time, records[records.len() / 2].header.time);
    let within =
        told.iter().filter(|(_, record)| a <= record.header.time && record.header.time < b).count();
    assert_eq!(events(&made, (a, b)).len(), within);
    assert_eq!(events(&made, (b, a)).len(), 0);
}

#[test]
fn no_event_names_anybody() {
    let made = Made::random(32, 60, 120);
    let said = String::from_utf8(lines(&made, ALWAYS)).unwrap();
    for touch in made.records().iter().flat_map(|record| &record.touches) {
        assert!(!said.contains(&super::parquet::hex(&touch.pseudonym)));
    }
    assert!(!said.contains("person-"), "{}", subject(1).as_str());
}

#[test]
fn a_decoy_read_is_loud_and_a_release_is_not() {
    let mut made = Made::new(33);
    let mut access = made.release(1, &[(1, &[0, 1]), (2, &[1])]);
    let mut drafts = vec![Draft::Access(access.clone())];
    for reason in [Refusal::NotFound, Refusal::OverBudget, Refusal::Honey] {
        access.outcome = Outcome::Refused(reason);
        access.touches.clear();
        drafts.push(Draft::Access(access.clone()));
    }
    made.append(&drafts);
    let events = events(&made, ALWAYS);
    let said: Vec<Value> = events
        .iter()
        .map(|event| {
            json!([at(event, "/severity"), at(event, "/status"), event.get("status_code")])
        })
        .collect();
    let expected = json!([
        ["Informational", "Success", null],
        ["Low", "Failure", "not_found"],
        ["Medium", "Failure", "over_budget"],
        ["High", "Failure", "honey"],
    ]);
    assert_eq!(json!(said), expected);
    assert_eq!(at(&events[0], "/actor/app_uid"), &json!(integration(1).to_string()));
    assert_eq!(at(&events[0], "/src_endpoint/ip"), &json!("203.0.113.7"));
    assert_eq!(at(&events[3], "/actor/authorizations/0/decision"), &json!("Deny"));
}

#[test]
fn wrong_class_names_are_not_given() {
    let mut made = Made::new(34);
    let access = made.release(1, &[(1, &[0])]);
    made.append(&[Draft::Access(access)]);
    made.pass(Micros::from_secs(1));
    let other = ClassNames::new(ClassTable::default());
    let view = made.segments().readable;
    let failed = export(ORIGIN, &view, &other, "0.1.0", ALWAYS, &mut Vec::new());
    assert!(matches!(failed, Err(ExportFailed::ClassTable { index: 0 })), "{failed:?}");
}

#[test]
fn a_window_that_reaches_into_what_was_thinned_is_refused() {
    let mut made = Made::random(33, 200, 40);
    let before = events(&made, ALWAYS);
    assert!(made.retain() > 0);
    let view = made.segments().readable;
    let from = |from| {
        let (mut out, window) = (Vec::new(), (from, ALWAYS.1));
        export(ORIGIN, &view, &ClassNames::new(table()), "0.1.0", window, &mut out)
    };
    let Err(ExportFailed::Thinned { until }) = from(UnixMicros(0)) else {
        panic!("nothing is said")
    };
    assert!(from(until).is_err());
    let left = from(until + Micros(1)).unwrap();
    assert!(left > 0 && left < before.len() as u64, "{left}");
}
