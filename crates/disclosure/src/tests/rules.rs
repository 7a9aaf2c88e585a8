//! What leaves and what stays, rule by rule.

use super::desk::{Desk, subject};
use crate::release::Invalid;
use crate::*;
use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use model::{SubjectId, SubjectScope};
use std::io::Write;

/// Three operations over one account schema: one account, all accounts, a count.
const ACCOUNTS: &str = r##"
openapi: 3.1.0
info: { title: accounts, version: "1" }
paths:
  /me:
    get:
      operationId: me
      responses:
        200:
          headers:
            X-Plan: { schema: { type: string, x-portcullis-class: account.plan } }
          content: { application/json: { schema: { $ref: "#/components/schemas/Account" } } }
  /accounts/{id}:
    get:
      operationId: account
      x-portcullis-subject: { parameter: id }
      responses:
        200:
          headers:
            X-Plan: { schema: { type: string, x-portcullis-class: account.plan } }
            X-Other: { schema: { type: string } }
          content: { application/json: { schema: { $ref: "#/components/schemas/Account" } } }
        4XX:
          content: { application/json: { schema: { $ref: "#/components/schemas/Problem" } } }
        302:
          headers: { Location: { schema: { type: string } } }
  /accounts:
    get:
      operationId: accounts
      x-portcullis-operation: list
      responses:
        200:
          content:
            application/json:
              schema:
                type: object
                properties:
                  items: { type: array, items: { $ref: "#/components/schemas/Account" } }
                  total: { type: integer, x-portcullis-class: aggregate }
  /count:
    get:
      operationId: count
      x-portcullis-operation: count
      x-portcullis-subject: none
      responses:
        200:
          content:
            application/json:
              schema:
                type: object
                properties:
                  total: { type: integer, x-portcullis-class: aggregate }
                  accounts: { type: array, items: { $ref: "#/components/schemas/Account" } }
components:
  schemas:
    Account:
      type: object
      x-portcullis-subject: { pointer: /id }
      properties:
        id: { type: [string, integer], x-portcullis-class: user.id }
        email: { type: string, x-portcullis-class: user.contact.email }
        card: { type: string, x-portcullis-class: user.card }
        note: { type: string, x-portcullis-class: user.note, x-portcullis-free-text: true }
        tags: { type: array, items: { type: string }, x-portcullis-class: user.note }
        age: { type: integer, x-portcullis-class: user.id }
        internal: { type: string }
        flags: { type: array, items: { type: string } }
        tenant: { type: string, x-portcullis-class: user.id }
        address:
          type: object
          properties:
            city: { type: string, x-portcullis-class: user.contact.city }
        manager: { $ref: "#/components/schemas/Account" }
        reports: { type: array, items: { $ref: "#/components/schemas/Account" } }
        pet:
          oneOf:
            - type: object
              properties:
                name: { type: string, x-portcullis-class: user.id }
                bark: { type: string, x-portcullis-class: user.note }
            - type: object
              properties:
                name: { type: string, x-portcullis-class: user.card }
                meow: { type: string }
    Problem:
      type: object
      properties:
        code: { type: string, x-portcullis-class: user.id }
        detail: { type: string }
"##;

fn desk(granted: &[&'static str]) -> Desk {
    Desk::new(ACCOUNTS, "").grant(granted)
}

fn check(desk: Desk, path: &str, body: &str, expect: Expect) {
    let mut desk = desk;
    expect.assert_eq(&desk.show(path, body));
}

#[test]
fn ungranted_and_unclassified_fields_never_leave() {
    check(
        desk(&["user.contact"]),
        "/me",
        r#"{"id":"u1","email":"a@b.c","card":"4242","internal":"x","flags":["y"],"surprise":{"a":1}}"#,
        expect![[r#"
            {"email":"a@b.c"}
            u1: user.contact.email
            ! 1 undeclared"#]],
    );
    check(desk(&[]), "/me", r#"{"id":"u1","email":"a@b.c"}"#, expect!["{}"]);
    check(
        desk(&["user"]),
        "/me",
        r#"{"id":"u1","address":{"city":"Ulm","zip":"89073"},"tags":["a","b"]}"#,
        expect![[r#"
            {"id":"u1","address":{"city":"Ulm"},"tags":["a","b"]}
            u1: user.id user.note user.contact.city
            ! 1 undeclared"#]],
    );
}

#[test]
fn a_container_stays_only_if_a_class_below_it_is_granted() {
    let body = r#"{"id":"u1","address":{},"pet":{"meow":"m"},"tags":[],"flags":["f"],"manager":{"id":"u2","pet":{},"reports":[{"id":"u3"}]}}"#;
    check(
        desk(&["user.contact"]),
        "/me",
        body,
        expect![[r#"{"address":{},"manager":{"reports":[]}}"#]],
    );
    check(
        desk(&["user.note"]),
        "/me",
        body,
        expect![[r#"{"pet":{},"tags":[],"manager":{"pet":{},"reports":[]}}"#]],
    );
    check(desk(&["account.plan"]), "/me", body, expect!["{}"]);
    check(desk(&["aggregate"]), "/accounts", r#"{"items":[],"total":3}"#, expect!["{}"]);
    check(
        desk(&["user.card"]),
        "/accounts",
        r#"{"items":[],"total":3}"#,
        expect![[r#"{"items":[]}"#]],
    );
}

#[test]
fn what_is_kept_is_kept_byte_for_byte() {
    for body in [
        "{\n  \"id\" : \"u1\" ,\n  \"email\":\"\\u0061@\\n\u{e9}\",\t\"age\":123456789012345678901234567890,\"tags\" : [ \"x\" , \"y\" ] }\n",
        " {\"\\u0069d\":\"u1\",\"address\":{ }}",
    ] {
        let left = desk(&["user"]).ask("GET", "/me", body.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(left.body()), body);
    }
    check(
        desk(&["user.id", "user.contact.city"]),
        "/me",
        "{ \"email\":\"x\" , \"id\" : \"u1\" , \"card\":\"1\",\n \"address\" : { \"zip\":1 , \"city\":\"Ulm\" } }",
        expect![[r#"
            { "id" : "u1",
             "address" : { "city":"Ulm" } }
            u1: user.id user.contact.city
            ! 1 undeclared"#]],
    );
}

#[test]
fn a_structure_where_a_scalar_is_declared_refuses_the_body() {
    check(
        desk(&["user"]),
        "/me",
        r#"{"id":"u1","email":{"x":1}}"#,
        expect!["OutOfContract(Json(StructureForScalar))"],
    );
    check(
        desk(&["user"]),
        "/me",
        r#"{"id":"u1","internal":[1]}"#,
        expect!["OutOfContract(Json(StructureForScalar))"],
    );
}

#[test]
fn a_scalar_of_another_type_is_withheld_and_reported() {
    check(
        desk(&["user"]),
        "/me",
        r#"{"id":"u1","age":"12","email":7}"#,
        expect![[r#"
        {"id":"u1"}
        u1: user.id
        ! out of contract: age
        ! out of contract: email"#]],
    );
    check(
        desk(&["user"]),
        "/me",
        r#"{"id":"u1","address":"Ulm","tags":"x"}"#,
        expect![[r#"
        {"id":"u1"}
        u1: user.id
        ! out of contract: address
        ! out of contract: tags"#]],
    );
}

#[test]
fn null_passes_as_null_only_where_a_granted_scalar_is_declared() {
    check(
        desk(&["user.contact", "user.id"]),
        "/me",
        r#"{"id":"u1","email":null,"card":null,"internal":null,"address":null,"tags":[null]}"#,
        expect![[r#"
            {"id":"u1","email":null}
            u1: user.id user.contact.email"#]],
    );
}

#[test]
fn a_key_that_stands_twice_refuses_the_body_wherever_it_is() {
    for body in [
        r#"{"id":"u1","id":"u2"}"#,
        r#"{"id":"u1","\u0069d":"u2"}"#,
        r#"{"id":"u1","x":1,"x":2}"#,
        r#"{"id":"u1","x":{"deep":[{"y":1,"\u0079":2}]}}"#,
    ] {
        let answer = desk(&["user"]).ask("GET", "/me", body.as_bytes()).unwrap_err();
        let twice = release::BadBody::Json(Invalid::DuplicateKey);
        assert_eq!(answer.because, WithheldBecause::OutOfContract(twice), "{body}");
    }
    let many: String = (0..200).map(|n| format!("\"k{n}\":0,")).collect();
    let body = format!("{{{many}\"k7\":1}}");
    check(
        desk(&["user"]),
        "/me",
        &body,
        expect!["OutOfContract(Json(DuplicateKey))\n! 201 undeclared"],
    );
}

#[test]
fn broken_bodies_are_refused() {
    for (body, why) in [
        (&b"{\"id\":\"u1\""[..], Invalid::Truncated),
        (b"{\"id\":\"u1\"} x", Invalid::Trailing),
        (b"{\"id\":\"\xff\"}", Invalid::NotUtf8),
        (b"{\"id\":\"\\ud800\"}", Invalid::Syntax),
        (b"{\"id\":01}", Invalid::Syntax),
        (b"{\"id\":1.}", Invalid::Syntax),
        (b"{\"id\":\"a\nb\"}", Invalid::Syntax),
        (b"{\"id\":\"u1\",}", Invalid::Syntax),
        (b"\xef\xbb\xbf{}", Invalid::Syntax),
        (b"NaN", Invalid::Syntax),
        (b"[1,]", Invalid::Syntax),
    ] {
        let answer = desk(&["user"]).ask("GET", "/me", body).unwrap_err().because;
        let refused = WithheldBecause::OutOfContract(release::BadBody::Json(why));
        assert_eq!(answer, refused, "{}", String::from_utf8_lossy(body));
    }
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    check(desk(&["user"]), "/me", &deep, expect!["OutOfContract(Json(TooDeep))"]);
    let allowed = format!("{{\"id\":\"u1\",\"x\":{}{}}}", "[".repeat(127), "]".repeat(127));
    check(
        desk(&["user"]),
        "/me",
        &allowed,
        expect![[r#"
        {"id":"u1"}
        u1: user.id
        ! 1 undeclared"#]],
    );
}

#[test]
fn a_record_of_another_subject_is_withheld() {
    let list = r#"{"items":[{"id":"u2","email":"2"}, {"email":"1","id":"u1"} ,{"id":7,"email":"3"}],"total":3}"#;
    check(
        desk(&["user"]).token("u1"),
        "/accounts",
        list,
        expect![[r#"
        {"items":[ {"email":"1","id":"u1"}]}
        u1: user.id user.contact.email
        ! 2 foreign"#]],
    );
    check(
        desk(&["user"]).token("7"),
        "/accounts",
        list,
        expect![[r#"
        {"items":[{"id":7,"email":"3"}]}
        7: user.id user.contact.email
        ! 2 foreign"#]],
    );
    let both = SubjectScope::Consenting([subject("u1"), subject("u2")].into());
    check(
        desk(&["user"]).scope(both),
        "/accounts",
        list,
        expect![[r#"
        {"items":[{"id":"u2","email":"2"}, {"email":"1","id":"u1"}]}
        u1: user.id user.contact.email
        u2: user.id user.contact.email
        ! 1 foreign"#]],
    );
    check(
        desk(&["user"]).token("u9"),
        "/accounts",
        list,
        expect![[r#"
        {"items":[]}
        ! 3 foreign"#]],
    );
    check(
        desk(&["user"]).token("u9"),
        "/me",
        r#"{"id":"u1","email":"1"}"#,
        expect![[r#"
        NotYours
        ! 1 foreign"#]],
    );
}

#[test]
fn nested_records_are_judged_on_their_own() {
    let body = r#"{"id":"u1","manager":{"id":"u2","email":"2","reports":[{"id":"u1","email":"1"}]},"reports":[{"id":"u3"},{"id":"u1","card":"9"}]}"#;
    check(
        desk(&["user"]).token("u1"),
        "/me",
        body,
        expect![[r#"
        {"id":"u1","reports":[{"id":"u1","card":"9"}]}
        u1: user.id user.card
        ! 2 foreign"#]],
    );
    check(
        desk(&["user"]),
        "/me",
        body,
        expect![[r#"
        {"id":"u1","manager":{"id":"u2","email":"2","reports":[{"id":"u1","email":"1"}]},"reports":[{"id":"u3"},{"id":"u1","card":"9"}]}
        u1: user.id user.card user.contact.email
        u2: user.id user.contact.email
        u3: user.id"#]],
    );
}

#[test]
fn a_record_without_a_usable_id_is_withheld() {
    for body in [
        r#"{"email":"x"}"#,
        r#"{"id":null,"email":"x"}"#,
        r#"{"id":1.5,"email":"x"}"#,
        r#"{"id":"","email":"x"}"#,
    ] {
        check(desk(&["user"]), "/me", body, expect!["NotYours\n! 1 unbound"]);
    }
}

#[test]
fn the_attribute_scope_reads_each_record() {
    let acme = || SubjectScope::Attribute { pointer: "/tenant".into(), value: "acme".into() };
    check(
        desk(&["user.contact", "user.id"]).scope(acme()),
        "/accounts",
        r#"{"items":[{"id":"u1","tenant":"acme"},{"id":"u2","tenant":"other"},{"id":"u3"},{"tenant":"acme","id":"u4","manager":{"id":"u5"}}]}"#,
        expect![[r#"
            {"items":[{"id":"u1","tenant":"acme"},{"tenant":"acme","id":"u4"}]}
            u1: user.id
            u4: user.id
            ! 3 foreign"#]],
    );
}

#[test]
fn path_and_body_must_name_the_same_subject() {
    let body = r#"{"id":"u1","email":"x"}"#;
    check(
        desk(&["user"]),
        "/accounts/u1",
        body,
        expect![[r#"
        {"id":"u1","email":"x"}
        u1: user.id user.contact.email"#]],
    );
    check(
        desk(&["user"]),
        "/accounts/u2",
        body,
        expect![[r#"
        NotYours
        ! 1 foreign"#]],
    );
    check(
        desk(&["user"]),
        "/accounts/u%31",
        body,
        expect![[r#"
        {"id":"u1","email":"x"}
        u1: user.id user.contact.email"#]],
    );
    check(
        desk(&["user"]).token("u2"),
        "/accounts/u1",
        body,
        expect![[r#"
        NotYours
        ! 1 foreign"#]],
    );
    check(desk(&["user"]), "/accounts/u1", r#"{"email":"x"}"#, expect!["NotYours\n! 1 unbound"]);
}

#[test]
fn errors_and_redirects_follow_the_same_rules() {
    let mut answer = desk(&["user"]);
    answer.status = 404;
    check(
        answer,
        "/accounts/u1",
        r#"{"code":"gone","detail":"a@b.c was deleted"}"#,
        expect![[r#"
        {"code":"gone"}
        u1: user.id"#]],
    );
    let mut answer = desk(&["user"]);
    answer.status = 500;
    check(answer, "/accounts/u1", r#"{"code":"x"}"#, expect![[r#""#]]);
    let mut redirect = desk(&["user"]);
    redirect.status = 302;
    redirect.reply_headers.push(("Location".into(), b"https://o/u1?email=a@b.c".to_vec()));
    let disclosed = redirect.ask("GET", "/accounts/u1", b"").unwrap();
    assert_eq!((disclosed.status(), disclosed.headers()), (302, &[][..]));
}

#[test]
fn classified_headers_leave_with_a_known_subject_only() {
    let headers = |path: &str, token: &str| {
        let mut desk = desk(&["account.plan"]).token(token);
        for (name, value) in
            [("x-PLAN", "gold"), ("x-other", "1"), ("Set-Cookie", "s=1"), ("ETag", "\"1\"")]
        {
            desk.reply_headers.push((name.into(), value.into()));
        }
        desk.ask("GET", path, br#"{"id":"u1"}"#).map(|disclosed| {
            let touches = disclosed.touches().len();
            (disclosed.headers().to_vec(), touches)
        })
    };
    let json = ("content-type".to_owned(), b"application/json".to_vec());
    let plan = ("x-plan".to_owned(), b"gold".to_vec());
    assert_eq!(headers("/accounts/u1", "u1"), Ok((vec![plan, json.clone()], 1)));
    assert_eq!(headers("/me", "u1"), Ok((vec![json], 0)));
    assert_eq!(headers("/accounts/u1", "u2").unwrap_err().because, WithheldBecause::NotYours);
}

#[test]
fn counts_are_aggregates_and_need_their_class() {
    let body = r#"{"total":3,"accounts":[{"id":"u1"},{"id":"u2"}]}"#;
    check(desk(&["aggregate"]), "/count", body, expect![[r#"{"total":3}"#]]);
    check(
        desk(&["user"]),
        "/count",
        body,
        expect![[r#"
        {"accounts":[{"id":"u1"},{"id":"u2"}]}
        u1: user.id
        u2: user.id"#]],
    );
    check(desk(&["aggregate", "user"]), "/accounts", r#"{"total":3}"#, expect!["{}"]);
}

#[test]
fn variants_are_classified_by_their_union() {
    let body = r#"{"id":"u1","pet":{"name":"Rex","bark":"wow","meow":"mrr"}}"#;
    check(
        desk(&["user.id"]),
        "/me",
        body,
        expect![[r#"
        {"id":"u1","pet":{}}
        u1: user.id"#]],
    );
    check(
        desk(&["user.id", "user.card", "user.note"]),
        "/me",
        body,
        expect![[r#"
        {"id":"u1","pet":{"name":"Rex","bark":"wow"}}
        u1: user.id user.note user.card"#]],
    );
}

#[test]
fn secrets_in_free_text_are_masked_in_place() {
    for (note, masked) in [
        ("key AKIAIOSFODNN7EXAMPLE!", "key ********************!"),
        ("ghp_0123456789abcdefABCDEF", "**************************"),
        ("github_pat_11ABCDEFG0123456789_x", "********************************"),
        ("pay sk_live_abcdefghij now", "pay ****************** now"),
        ("xoxb-1234-5678-abcd", "*******************"),
        ("password=hunter2 ok", "password=******* ok"),
        ("Password: hunter2", "Password: *******"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\\nMII\\n-----END RSA PRIVATE KEY----- x",
            "******************************************************************* x",
        ),
        ("gh\\u0070_0123456789abcdefABCDEF", "*******************************"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "*****************************************"),
        (
            "nothing here, passwords are fine, skip AKIA too",
            "nothing here, passwords are fine, skip AKIA too",
        ),
    ] {
        let body = format!("{{\"id\":\"u1\",\"note\":\"{note}\"}}");
        let disclosed = desk(&["user.note"]).ask("GET", "/me", body.as_bytes()).unwrap();
        let left = String::from_utf8(disclosed.body().to_vec()).unwrap();
        assert_eq!(left, format!("{{\"note\":\"{masked}\"}}"));
        assert_eq!(disclosed.findings().secrets, u32::from(note != masked), "{note}");
    }
    let body = r#"{"id":"u1","card":"AKIAIOSFODNN7EXAMPLE"}"#;
    let disclosed = desk(&["user.card"]).ask("GET", "/me", body.as_bytes()).unwrap();
    assert_eq!(
        disclosed.body(),
        br#"{"card":"AKIAIOSFODNN7EXAMPLE"}"#,
        "only free text is searched"
    );
}

#[test]
fn a_honey_subject_anywhere_in_the_answer_stops_it() {
    let honey = |granted: &[&'static str], path: &str, body: &str| {
        let mut desk = desk(granted).token("u1");
        desk.honey = [subject("h1")].into();
        let answer =
            desk.ask("GET", path, body.as_bytes()).map(|disclosed| disclosed.touches().len());
        assert!(desk.budget.charges.is_empty() || answer.is_ok());
        answer.map_err(|withheld| withheld.because)
    };
    let list = r#"{"items":[{"id":"u1","email":"x"},{"id":"h1"}]}"#;
    assert_eq!(honey(&["user"], "/accounts", list), Err(WithheldBecause::Honey));
    assert_eq!(
        honey(&[], "/accounts", list),
        Err(WithheldBecause::Honey),
        "although foreign and ungranted"
    );
    assert_eq!(
        honey(&["user"], "/accounts", r#"{"items":[{"id":"h1"},"#),
        Err(WithheldBecause::Honey)
    );
    assert_eq!(honey(&["user"], "/accounts/h1", ""), Err(WithheldBecause::Honey));
    assert_eq!(honey(&["user"], "/me", r#"{"id":"u1","note":"h1"}"#), Ok(1));
}

#[test]
fn an_expected_decoy_stays_behind_and_the_rest_goes() {
    let scan = |path: &str, body: &str| {
        let mut desk = desk(&["user"]);
        (desk.honey, desk.honey_expected) = ([subject("h1")].into(), true);
        let disclosed = desk.ask("GET", path, body.as_bytes());
        disclosed.map(|disclosed| {
            let left_out = Findings { withheld: 2, ..Findings::default() };
            assert_eq!(*disclosed.findings(), left_out, "as any item that stays");
            (String::from_utf8(disclosed.body().to_vec()).unwrap(), disclosed.touches().len())
        })
    };
    let list =
        r#"{"items":[{"id":"u1","email":"x"},{"id":"h1","email":"y"},{"email":"z","id":"h1"}]}"#;
    let left = r#"{"items":[{"id":"u1","email":"x"}]}"#.to_owned();
    assert_eq!(scan("/accounts", list), Ok((left, 1)));
    let alone = scan("/accounts/h1", r#"{"id":"h1"}"#).map_err(|withheld| withheld.because);
    assert_eq!(alone, Err(WithheldBecause::NotYours), "as if it did not exist");
}

#[test]
fn the_budget_is_charged_once_for_all_distinct_subjects_before_anything_leaves() {
    let list = br#"{"items":[{"id":"u1","email":"1"},{"id":"u2","card":"2"},{"id":"u1","card":"3"},{"id":"u3"}]}"#;
    let mut within = desk(&["user.contact", "user.card"]);
    within.budget.left = 2;
    let disclosed = within.ask("GET", "/accounts", list).unwrap();
    assert_eq!(disclosed.touches().len(), 2, "u3 has nothing that leaves");
    assert_eq!(within.budget.charges.len(), 1);
    let mut over = desk(&["user"]);
    over.budget.left = 2;
    assert_eq!(
        over.ask("GET", "/accounts", list).unwrap_err().because,
        WithheldBecause::OverBudget
    );
    let mut empty = desk(&[]);
    empty.ask("GET", "/accounts", list).unwrap();
    assert!(empty.budget.charges.is_empty(), "nothing leaves, nothing is charged");
    let mut down = desk(&["user"]);
    down.vault.down = true;
    assert_eq!(
        down.ask("GET", "/accounts", list).unwrap_err().because,
        WithheldBecause::Unavailable
    );
}

#[test]
fn bodies_of_another_type_or_status_leave_nothing() {
    for kind in ["text/plain", "application/xml", "application/problem+json", "nonsense", ""] {
        let mut desk = desk(&["user"]);
        desk.reply_headers = vec![("content-type".into(), kind.into())];
        let disclosed = desk.ask("GET", "/me", br#"{"id":"u1"}"#).unwrap();
        assert_eq!((disclosed.body(), disclosed.headers()), (&b""[..], &[][..]), "{kind}");
    }
    let mut twice = desk(&["user"]);
    twice.reply_headers.push(("content-type".into(), b"text/html".to_vec()));
    assert!(twice.ask("GET", "/me", b"{}").is_err());
    let mut parameters = desk(&["user"]);
    parameters.reply_headers[0].1 = b"Application/JSON; charset=utf-8".to_vec();
    assert_eq!(parameters.ask("GET", "/me", br#"{"id":"u1"}"#).unwrap().body(), br#"{"id":"u1"}"#);
    let mut informational = desk(&["user"]);
    informational.status = 101;
    assert!(informational.ask("GET", "/me", b"").is_err());
}

#[test]
fn compressed_bodies_are_decoded_or_refused() {
    let plain = br#"{"id":"u1"}"#;
    let packed = |coding: &str, bytes: &[u8]| -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let mut e = GzEncoder::new(Vec::new(), level);
                e.write_all(bytes).unwrap();
                e.finish().unwrap()
            }
            "deflate" => {
                let mut e = ZlibEncoder::new(Vec::new(), level);
                e.write_all(bytes).unwrap();
                e.finish().unwrap()
            }
            _ => {
                let mut e = DeflateEncoder::new(Vec::new(), level);
                e.write_all(bytes).unwrap();
                e.finish().unwrap()
            }
        }
    };
    let ask = |coding: &str, body: Vec<u8>| {
        let mut desk = desk(&["user"]);
        desk.reply_headers.push(("Content-Encoding".into(), coding.into()));
        desk.ask("GET", "/me", &body)
            .map(|disclosed| disclosed.body().to_vec())
            .map_err(|withheld| withheld.because)
    };
    let refused = |why| Err(WithheldBecause::OutOfContract(release::BadBody::Coding(why)));
    use release::Undecodable::{Coding, Damaged, TooLarge};
    assert_eq!(ask("gzip", packed("gzip", plain)), Ok(plain.to_vec()));
    assert_eq!(ask("X-GZIP", packed("gzip", plain)), Ok(plain.to_vec()));
    assert_eq!(ask("deflate", packed("deflate", plain)), Ok(plain.to_vec()));
    assert_eq!(ask("identity", plain.to_vec()), Ok(plain.to_vec()));
    assert_eq!(ask("br", plain.to_vec()), refused(Coding));
    assert_eq!(ask("gzip, gzip", packed("gzip", plain)), refused(Coding));
    assert_eq!(ask("gzip", plain.to_vec()), refused(Damaged));
    assert_eq!(ask("deflate", packed("raw", plain)), refused(Damaged));
    let mut cut = packed("gzip", plain);
    cut.pop();
    assert_eq!(ask("gzip", cut), refused(Damaged));
    let mut doubled = packed("gzip", plain);
    doubled.extend(packed("gzip", plain));
    assert_eq!(ask("gzip", doubled), refused(Damaged));
    let bomb = format!("{{\"id\":\"u1\",\"x\":\"{}\"}}", " ".repeat(8 << 20));
    assert_eq!(ask("gzip", packed("gzip", bomb.as_bytes())), refused(TooLarge));
}

#[test]
fn ids_of_other_shapes_never_pass_for_a_subject() {
    for id in ["-0", "1e3", "7.0"] {
        let body = format!("{{\"id\":{id},\"email\":\"x\"}}");
        check(desk(&["user"]), "/me", &body, expect!["NotYours\n! 1 unbound"]);
    }
    assert_eq!(SubjectId::new("7").as_ref(), Some(&subject("7")));
}
