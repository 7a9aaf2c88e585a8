//! What leaves of a batch, and what the first batch says for the whole stream.

use super::desk::Desk;
use crate::WithheldBecause;
use crate::release::BadBody;

const OPENAPI: &str = r##"
openapi: 3.1.0
info: { title: accounts, version: "1" }
paths:
  /all: { get: { operationId: all, x-portcullis-operation: list, responses: { 200: { $ref: "#/components/responses/Lines" } } } }
  /me: { get: { operationId: me, responses: { 200: { $ref: "#/components/responses/Lines" } } } }
  /of/{id}: { get: { operationId: of, x-portcullis-operation: list, x-portcullis-subject: { parameter: id }, responses: { 200: { $ref: "#/components/responses/Lines" } } } }
  /any: { get: { operationId: any, responses: { 200: { content: { "*/*": { schema: { $ref: "#/components/schemas/Account" } } } } } } }
components:
  responses:
    Lines:
      headers: { X-Plan: { schema: { type: string, x-portcullis-class: account.plan } } }
      content:
        application/x-ndjson: { schema: { $ref: "#/components/schemas/Account" } }
        text/csv: { schema: { $ref: "#/components/schemas/Account" } }
  schemas:
    Account:
      type: object
      x-portcullis-subject: { pointer: /id }
      properties:
        id: { type: string }
        email: { type: string, x-portcullis-class: user.contact.email }
        card: { type: string, x-portcullis-class: user.payment }
"##;

fn desk() -> Desk {
    let mut desk = Desk::new(OPENAPI, "").grant(&["user.contact", "account"]);
    desk.reply_headers = vec![
        ("Content-Type".into(), b"application/x-ndjson; charset=utf-8".to_vec()),
        ("X-Plan".into(), b"gold".to_vec()),
    ];
    desk
}

const MINE: &str = r#"{"id":"u1","email":"a@x","card":"4242"}"#;
const OTHERS: &str = r#"{"id":"u2","email":"b@x","card":"4242"}"#;
const HOLLOW: &str = r#"{"id":"u1","card":"4242"}"#;

fn body(
    desk: &mut Desk,
    path: &str,
    first: bool,
    values: &[&str],
) -> Result<String, WithheldBecause> {
    let answer = desk.ask_batch(path, first, values).map_err(|withheld| withheld.because)?;
    Ok(String::from_utf8(answer.body().to_vec()).unwrap())
}

#[test]
fn values_are_judged_as_items_of_a_list_are() {
    let mut desk = desk().token("u1");
    let left = body(&mut desk, "/all", true, &[OTHERS, MINE, HOLLOW, r#"{"email":"c@x"}"#, "[]"]);
    assert_eq!(left.unwrap(), "{\"email\":\"a@x\"}\n");
    let answer = desk.ask_batch("/all", false, &[OTHERS, OTHERS]).unwrap();
    assert_eq!((answer.body(), answer.findings().foreign), (&b""[..], 2));
    assert!(answer.touches().is_empty());
}

#[test]
fn a_subject_is_touched_and_charged_once_in_a_batch() {
    let mut desk = desk();
    let answer = desk.ask_batch("/all", true, &[MINE, OTHERS, MINE]).unwrap();
    assert_eq!(answer.touches().len(), 2);
    assert_eq!(desk.budget.charges.len(), 1);
    assert_eq!(desk.budget.charges[0].len(), 2);
}

#[test]
fn one_bad_value_withholds_its_batch() {
    for bad in ["{", "{}{}", "", "\u{1}", r#"{"id":"u1","id":"u1"}"#] {
        let because = body(&mut desk(), "/all", true, &[MINE, bad]).unwrap_err();
        assert!(matches!(because, WithheldBecause::OutOfContract(BadBody::Json(_))), "{bad}");
    }
    let mut coded = desk();
    coded.reply_headers.push(("Content-Encoding".into(), b"gzip".to_vec()));
    let because = body(&mut coded, "/all", true, &[MINE]).unwrap_err();
    assert!(matches!(because, WithheldBecause::OutOfContract(BadBody::Coding(_))));
}

#[test]
fn the_first_batch_answers_for_the_reply() {
    let not_yours = Err(WithheldBecause::NotYours);
    let mut desk = desk().token("u1");
    assert_eq!(body(&mut desk, "/me", true, &[OTHERS]), not_yours);
    assert_eq!(body(&mut desk, "/me", false, &[OTHERS]), Ok(String::new()));
    assert_eq!(body(&mut desk, "/of/u2", true, &[OTHERS]), not_yours);
    assert_eq!(body(&mut desk, "/of/u2", true, &[]), not_yours, "nor does an empty one tell");
    assert_eq!(body(&mut desk, "/of/u1", true, &[]), Ok(String::new()));
    assert_eq!(body(&mut desk, "/of/u1", true, &[MINE, OTHERS]).unwrap().lines().count(), 1);
}

#[test]
fn headers_leave_with_the_first_batch_only() {
    let mut desk = desk().token("u1");
    let first = desk.ask_batch("/of/u1", true, &[]).unwrap();
    let names: Vec<&str> = first.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, first.touches().len()), (vec!["x-plan", "content-type"], 1));
    assert!(desk.ask_batch("/of/u1", false, &[MINE]).unwrap().headers().is_empty());
}

#[test]
fn only_a_type_declared_by_its_name_is_a_stream() {
    let desk = desk();
    let stream = |path: &str, media_type: &str| {
        let headers = vec![("content-type".to_owned(), media_type.as_bytes().to_vec())];
        desk.contract.operation("GET", path).unwrap().stream(200, &headers).is_some()
    };
    assert!(stream("/all", "Application/X-NDJSON"));
    assert!(!stream("/all", "application/jsonl"), "not declared");
    assert!(!stream("/any", "application/x-ndjson"), "a range is not a name");
    assert!(!stream("/all", "text/csv"), "declared, and not a form of JSON");
}
