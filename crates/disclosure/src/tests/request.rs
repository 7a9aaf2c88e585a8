//! What of a request reaches the origin.

use crate::*;
use expect_test::{Expect, expect};
use model::ClassTable;

const SEARCH: &str = r#"
openapi: 3.0.3
paths:
  /search:
    parameters:
      - { name: tenant, in: query, required: true, schema: { type: string } }
    get:
      operationId: search
      x-portcullis-operation: search
      parameters:
        - { name: q, in: query, schema: { type: string }, x-portcullis-class: user.contact }
        - { name: id, in: query, schema: { type: array, items: { type: string } } }
        - { name: fields, in: query, explode: false, schema: { type: array, items: { type: string } } }
        - { name: filter, in: query, style: deepObject, schema: { type: object } }
        - { name: X-Api-Version, in: header, schema: { type: string } }
        - { name: If-None-Match, in: header, schema: { type: string } }
        - { name: Range, in: header, schema: { type: string } }
      responses: {}
    post:
      operationId: create
      requestBody: { content: { application/json: {} } }
      responses: {}
"#;

fn check(method: &str, query: &str, headers: &[(&str, &str)], has_body: bool, expect: Expect) {
    let mut table = ClassTable::default();
    let contract = Contract::compile(SEARCH, "", &mut table).unwrap();
    let operation = contract.operation(method, "/search").unwrap().operation;
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let shown = match operation.admit_request(Some(query), headers, has_body) {
        Err(refused) => refused.to_string(),
        Ok(admitted) => {
            let mut lines = vec![admitted.query.unwrap_or_default()];
            for (name, value) in &admitted.headers {
                lines.push(format!("{name}: {}", String::from_utf8_lossy(value)));
            }
            let classes = table.names(&admitted.classes).join(" ");
            lines.push(format!("{} probes {classes}", admitted.probes));
            lines.join("\n")
        }
    };
    expect.assert_eq(&shown);
}

#[test]
fn only_declared_query_parameters_reach_the_origin() {
    check(
        "GET",
        "tenant=a&q=x%40y&id=1&id=2&fields=a,b",
        &[],
        false,
        expect![[r#"
        tenant=a&q=x%40y&id=1&id=2&fields=a,b
        accept: application/json
        1 probes user.contact"#]],
    );
    check(
        "GET",
        "t%65nant=a&filter[a]=1&filter%5Bb%5D=2",
        &[],
        false,
        expect![[r#"
        tenant=a&filter[a]=1&filter[b]=2
        accept: application/json
        0 probes "#]],
    );
    check(
        "GET",
        "tenant=a&debug=1",
        &[],
        false,
        expect!["a query parameter is not in the contract"],
    );
    check(
        "GET",
        "tenant=a&tenant=b",
        &[],
        false,
        expect!["a query parameter stands more than once"],
    );
    check(
        "GET",
        "tenant=a&fields=a&fields=b",
        &[],
        false,
        expect!["a query parameter stands more than once"],
    );
    check("GET", "q=x", &[], false, expect!["a required parameter is missing"]);
    check("GET", "tenant=a%0d%0aX:1", &[], false, expect!["a parameter is malformed"]);
    check("GET", "tenant=%zz", &[], false, expect!["a parameter is malformed"]);
    check("GET", "tenant=a b", &[], false, expect!["a parameter is malformed"]);
}

#[test]
fn only_declared_headers_and_none_that_ask_for_a_part_reach_the_origin() {
    check(
        "GET",
        "tenant=a",
        &[
            ("X-API-version", "2"),
            ("If-None-Match", "\"1\""),
            ("Range", "bytes=0-1"),
            ("Authorization", "DPoP x"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Accept-Encoding", "br"),
        ],
        false,
        expect![[r#"
            tenant=a
            accept: application/json
            x-api-version: 2
            0 probes "#]],
    );
}

#[test]
fn a_body_must_be_of_a_declared_type() {
    let json = ("Content-Type", "application/json; charset=utf-8");
    check(
        "POST",
        "tenant=a",
        &[json],
        true,
        expect![[r#"
        tenant=a
        accept: application/json
        content-type: application/json; charset=utf-8
        0 probes "#]],
    );
    check(
        "POST",
        "tenant=a",
        &[("content-type", "text/xml")],
        true,
        expect!["the request body is not of a declared content type"],
    );
    check(
        "POST",
        "tenant=a",
        &[],
        true,
        expect!["the request body is not of a declared content type"],
    );
    check(
        "GET",
        "tenant=a",
        &[json],
        true,
        expect!["the request body is not of a declared content type"],
    );
}
