//! How fast the filter is: figures for the notes, not a judgement, so not part of an ordinary run.

use crate::contract::operation::OperationSubject;
use crate::json::filter::{Question, filter};
use crate::scope::Allowance;
use crate::*;
use model::{ClassTable, DataClass, SubjectScope};
use std::collections::BTreeSet;
use std::hint::black_box;

const DOCUMENT: &str = r##"{ "openapi": "3.1.0", "paths": { "/r": { "get": { "operationId": "r",
  "x-portcullis-operation": "list",
  "responses": { "200": { "content": { "application/json": { "schema":
    { "type": "object", "properties": { "data": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } } } } } } } } } } },
  "components": { "schemas": { "Record": { "type": "object", "x-portcullis-subject": { "pointer": "/id" }, "properties": {
    "id": { "type": "string", "x-portcullis-class": "user.id" },
    "email": { "type": "string", "x-portcullis-class": "user.email" },
    "name": { "type": "string", "x-portcullis-class": "user.name" },
    "created": { "type": "integer", "x-portcullis-class": "user.created" },
    "address": { "type": "object", "properties": { "city": { "type": "string", "x-portcullis-class": "user.city" }, "street": { "type": "string" } } },
    "balance": { "type": "number" }, "phone": { "type": "string" }, "notes": { "type": "string" } } } } } }"##;

fn body(bytes: usize) -> String {
    let record = |n: usize| {
        format!(
            r#"{{"id":"cus_{n:012}","object":"customer","email":"customer{n}@example.com","name":"Customer Number {n}","created":1700000{n:03},"currency":"eur","delinquent":false,"balance":-{n}.50,"phone":"+49 170 {n:07}","address":{{"city":"Hamburg","country":"DE","line1":"Jungfernstieg {n}","street":"Jungfernstieg","postal_code":"20354"}},"metadata":{{"order":"{n}","channel":"web"}},"notes":"called on Monday, asked about the invoice of March, will call back","invoice_prefix":"ABCD{n}","livemode":true,"preferred_locales":["de","en"]}}"#
        )
    };
    let mut text = String::from("{\"data\":[");
    let mut n = 0;
    while text.len() + 500 < bytes {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&record(n));
        n += 1;
    }
    text + "]}"
}

#[test]
#[ignore = "prints timings, which mean something only in an optimised build on an idle machine"]
#[expect(clippy::disallowed_methods, reason = "measures time")]
fn filter_speed() {
    let mut table = ClassTable::default();
    let contract = Contract::compile(DOCUMENT, "", &mut table).unwrap();
    let matched = contract.operation("GET", "/r").unwrap();
    assert_eq!(matched.operation.subject, OperationSubject::BySchema);
    let classes = table.covered_by(&DataClass::new("user").unwrap());
    let allowance = Allowance { classes: &classes, scope: &SubjectScope::All, token_subject: None };
    let honey = BTreeSet::new();
    let answer = matched.operation.responses.answer(200).unwrap();
    let root = answer.plan_for("application/json").unwrap();
    for size in [2_200, 64_000] {
        let body = body(size);
        let question = Question {
            plan: contract.plan(),
            root,
            allowance: &allowance,
            attribute: None,
            honey: Honey { subjects: &honey, expected: false },
            bound_to: None,
            subject_free: false,
        };
        let mut best = f64::MAX;
        let mut left = 0;
        for _ in 0..40 {
            let rounds = 4_000_000 / size;
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                let mut copy = black_box(&body).as_bytes().to_vec();
                let text = std::str::from_utf8(&copy).unwrap();
                let filtered = filter(text, question);
                assert_eq!(filtered.verdict, Ok(()));
                filtered.keeps.apply(&mut copy);
                left = black_box(&copy).len();
            }
            best = best.min(start.elapsed().as_secs_f64() / rounds as f64);
        }
        println!(
            "{} bytes in, {left} out: {:.2} us, {:.0} MB/s",
            body.len(),
            best * 1e6,
            body.len() as f64 / best / 1e6
        );
    }
}
