//! Golden bytes of record format 1. A log that was written is read for ever, so these files never change; a program that
//! writes other bytes writes another version.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ledger golden` writes them, which is right only while no log of this version exists.
#![expect(clippy::disallowed_methods, reason = "reads and, if asked to, writes fixtures")]

use crate::bundle::{Builder, Form, Question, Recipient, naive, verify};
use crate::checkpoint;
use crate::full::verify_full;
use crate::merkle::Tree;
use crate::receipt::{self, Batch, Receipt};
use crate::record::{Draft, Header, NodeEvent, StoredRecord};
use crate::sample::{self, Log, START, Step, access, integration, keys, network, touch};
use crate::sequencer::Sequencer;
use crate::state::State;
use model::{
    AccessRecord, ClientIp, OperatorId, Outcome, Refusal, RequestId, UnixMicros, VendorId,
};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// One record of every kind and shape.
fn log() -> Log {
    let v6 = ClientIp::from_peer("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into());
    let attempt = AccessRecord { outcome: Outcome::Attempted, ..access(2, &[]) };
    let refusal = AccessRecord {
        outcome: Outcome::Refused(Refusal::NotPermitted),
        grant: None,
        operation: None,
        network: v6,
        bytes: 0,
        ..access(2, &[])
    };
    let many: Vec<_> = (1..4).map(|n| touch(n, &[n, 200])).collect();
    let drafts = [
        Draft::Node(NodeEvent::Start { lost_checkpoint: None }),
        Draft::Node(NodeEvent::Start { lost_checkpoint: Some(b"checkpoint".to_vec()) }),
        Draft::Posture { entry: b"entry".to_vec() },
        Draft::Access(access(1, &[touch(7, &[0, 3])])),
        Draft::Access(access(1, &many)),
        Draft::Access(attempt),
        Draft::Access(refusal),
        Draft::UnauthenticatedRefusals {
            network: network(9),
            reason: Refusal::Unauthenticated,
            second: START.secs(),
            count: 1_000,
        },
        Draft::OperatorAction {
            operator: OperatorId::from_bytes([5; 16]),
            action: "exposure".into(),
            detail: vec![1, 2, 3],
        },
        Draft::Vetting { integration: integration(1), step: "approved".into(), detail: Vec::new() },
        Draft::Node(NodeEvent::Gap { requests: vec![RequestId::from_bytes([6; 16])] }),
        Draft::Node(NodeEvent::Clock { step: -1_500_000 }),
        Draft::Node(NodeEvent::Stop),
    ];
    let mut steps: Vec<_> =
        drafts.into_iter().map(|draft| (1_000_000, Step::Draft(draft))).collect();
    steps.insert(3, (500_000, Step::Heads));
    steps.push((1_000_000, Step::TakeBack(integration(1))));
    sample::log(&steps)
}

fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1").join(name);
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name} changed: that is another version");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

/// A line for each record: entry, body, touches.
fn text(records: &[StoredRecord]) -> String {
    records
        .iter()
        .map(|r| format!("{} {} {}\n", hex(&r.entry), hex(&r.body), hex(&r.touches)))
        .collect()
}

fn question() -> Question {
    Question {
        integrations: None,
        from: UnixMicros(START.0 + 3_700_000),
        to: UnixMicros(START.0 + 6_000_000),
        classes: None,
        networks: None,
    }
}

#[test]
fn golden_records_and_checkpoint_are_written_as_ever() {
    let log = log();
    check("records.txt", text(&log.records).as_bytes());
    check("checkpoint", log.note.as_bytes());
}

#[test]
fn golden_records_are_read_as_ever() {
    let lines = include_str!("../testdata/v1/records.txt").lines();
    let records: Vec<_> = lines
        .map(|line| {
            let mut parts = line.split(' ').map(unhex);
            let mut part = || parts.next().unwrap();
            StoredRecord { entry: part(), body: part(), touches: part() }
        })
        .collect();
    let checkpoint = checkpoint::open(include_str!("../testdata/v1/checkpoint"), &keys()).unwrap();
    let audited = verify_full(&records, &checkpoint).unwrap();
    assert_eq!((audited.tree.size, audited.chains), (16, 3));
    assert_eq!(text(&records), text(&log().records));
}

#[test]
fn golden_evidence_is_written_and_verified_as_ever() {
    let log = log();
    let mut builder = naive::Builder::new(question(), &log.note, &keys()).unwrap();
    for record in &log.records {
        builder.push(record).unwrap();
    }
    check("evidence.cbor", &builder.finish().unwrap());
    let verified = verify(include_bytes!("../testdata/v1/evidence.cbor"), &keys(), &[]).unwrap();
    // Of two releases in the window the second was taken back.
    assert_eq!(verified.answer.records, 1);
}

#[test]
fn golden_evidence_of_format_2_is_written_and_verified_as_ever() {
    let log = log();
    let recipient = Some(Recipient { name: "regulator".into(), key: [42; 32] });
    let vendor = Some(VendorId::from_bytes([9; 16]));
    let form = Form { vendor, recipient, ..Form::default() };
    let tree = Tree::new(log.records.iter().map(StoredRecord::leaf_hash).collect());
    let mut builder = Builder::new(question(), form, &log.note, &keys(), State::begin()).unwrap();
    for record in &log.records {
        builder.push(record).unwrap();
    }
    check("evidence-2.cbor", &builder.finish(|index| tree.inclusion(index)).unwrap());
    let golden = include_bytes!("../testdata/v1/evidence-2.cbor");
    let verified = verify(golden, &keys(), &[]).unwrap();
    assert_eq!(verified.vendor, vendor);
    assert_eq!((verified.answer.records, verified.seal.unwrap().touches()), (1, 1));
}

#[test]
fn golden_state_is_written_and_read_as_ever() {
    let mut state = State::begin();
    for record in &log().records {
        state.take_in(&Header::decode(&record.entry).unwrap(), record.leaf_hash());
    }
    check("state.cbor", &state.to_bytes());
    assert_eq!(State::from_bytes(include_bytes!("../testdata/v1/state.cbor")), Some(state));
}

#[test]
fn golden_receipt_is_written_and_verified_as_ever() {
    let mut sequencer = Sequencer::begin(sample::ORIGIN);
    let draft = Draft::Access(access(1, &[touch(1, &[1])]));
    let records = [0, 1, 2].map(|_| sequencer.append(&draft, START, [1; 16]));
    let batch = Batch::sign(&sample::key(), 0, &records.each_ref().map(|r| r.leaf_hash), START);
    let receipt = Receipt::durable(&records[1], Arc::new(batch));
    check("receipt.txt", receipt.header_value().as_bytes());
    assert!(receipt::verify(include_str!("../testdata/v1/receipt.txt"), &keys()).is_ok());
}
