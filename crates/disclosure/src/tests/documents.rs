//! Two real documents, unannotated and annotated: Discord's (OpenAPI 3.1) and Box's (3.0).

use super::desk::Desk;
use crate::contract::document::{follow, local_pointer};
use crate::*;
use expect_test::expect;
use model::{ClassTable, SubjectScope};
use serde_json::{Map, Value, json};

const DISCORD: &str = include_str!("../../testdata/discord.json");
const BOX: &str = include_str!("../../testdata/box.json");
const BOX_OVERLAY: &str = include_str!("../../testdata/box-three-classes.overlay.yaml");

/// A body with every property that a schema names, down to `depth` structures.
fn sample(document: &Value, schema: &Value, depth: usize) -> Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(&local_pointer(reference).unwrap()).unwrap();
        return sample(document, target, depth);
    }
    let mut fields = Map::new();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        match sample(document, part, depth) {
            Value::Object(more) => fields.extend(more),
            Value::Null => {}
            scalar @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                return scalar;
            }
        }
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(variant) = schema.get(keyword).and_then(|variants| variants.get(0))
            && schema.get("type").is_none()
        {
            return sample(document, variant, depth);
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten().filter(|_| depth > 0) {
        fields.insert(name.clone(), sample(document, property, depth - 1));
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds[0].as_str(),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!("SECRET"),
        Some("integer") => json!(4711),
        Some("number") => json!(47.11),
        Some("boolean") => json!(true),
        Some("array") if depth > 0 => {
            let item = sample(document, &schema["items"], depth - 1);
            json!([item.clone(), item])
        }
        Some("array") => json!([]),
        Some("object") => {
            fields.insert("undeclared".into(), json!("SECRET"));
            Value::Object(fields)
        }
        _ if !fields.is_empty() => Value::Object(fields),
        _ => Value::Null,
    }
}

/// Asks every operation for every declared JSON answer, with `desk` granting all there is; returns what left.
fn ask_everything(text: &str, desk: &mut Desk) -> Vec<(String, Result<Vec<u8>, Withheld>)> {
    let document: Value = serde_json::from_str(text).unwrap();
    let mut answers = Vec::new();
    let operations: Vec<(String, String)> = desk
        .contract
        .operations()
        .filter(|operation| operation.is_routed())
        .map(|operation| (operation.method().to_owned(), operation.path().to_owned()))
        .collect();
    for (method, template) in operations {
        let escaped = template.replace('~', "~0").replace('/', "~1");
        let responses = format!("/paths/{escaped}/{}/responses", method.to_lowercase());
        let path = template.replace(['{', '}'], "");
        for status in document.pointer(&responses).unwrap().as_object().unwrap().keys() {
            let (at, _) = follow(&document, format!("{responses}/{status}")).unwrap();
            let schema = format!("{at}/content/application~1json/schema");
            let Some(schema) = document.pointer(&schema) else { continue };
            desk.status = status.replace("XX", "22").parse().unwrap_or(500);
            let body = sample(&document, schema, 5).to_string();
            let answer = desk.ask(&method, &path, body.as_bytes());
            let left = answer.map(|disclosed| {
                assert!(disclosed.touches().is_empty() || !desk.granted.is_empty());
                disclosed.body().to_vec()
            });
            answers.push((format!("{method} {path} {status} {body}"), left));
        }
    }
    answers
}

fn counts(text: &str, overlay: &str) -> (usize, usize, usize, usize) {
    let mut classes = ClassTable::default();
    let contract = Contract::compile(text, overlay, &mut classes).unwrap();
    let options = contract.operations().filter(|o| o.method() == "OPTIONS").count();
    let description = contract.describe();
    (description.operations.len(), options, description.classified, description.unclassified)
}

#[test]
fn both_documents_compile_whole() {
    assert_eq!(counts(DISCORD, ""), (242, 0, 0, 1382));
    assert_eq!(counts(BOX, ""), (296, 2, 0, 1170));
}

#[test]
fn without_annotations_nothing_but_empty_structure_leaves() {
    for text in [DISCORD, BOX] {
        let mut desk = Desk::new(text, "");
        let answers = ask_everything(text, &mut desk);
        assert!(answers.len() > 400, "{}", answers.len());
        let (mut filtered, mut total) = (0, 0);
        for (question, left) in answers {
            let left = left.unwrap_or_else(|withheld| panic!("{question}: {withheld:?}"));
            assert!([&b""[..], b"{}", b"[]"].contains(&left.as_slice()), "{question}");
            total += question.len();
            filtered += left.len();
        }
        assert!(total > 100 * filtered);
    }
}

fn annotated(granted: &[&'static str]) -> Desk {
    Desk::new(BOX, BOX_OVERLAY).grant(granted)
}

const ME: &str = r#"{"type":"user","id":"11446498","name":"Aaron Levie","login":"ceo@example.com","role":"admin","phone":"6509241374","notification_email":{"email":"n@example.com","is_confirmed":true},"tracking_codes":[{"type":"tracking_code","name":"x","value":"y"}]}"#;
const FILE: &str = r#"{"id":"12345","type":"file","name":"Contract.pdf","size":629644,"description":"login with password=hunter2 please","created_by":{"type":"user","id":"33","name":"Someone Else","login":"else@example.com"},"owned_by":{"type":"user","id":"11446498","name":"Aaron Levie","login":"ceo@example.com"},"path_collection":{"total_count":1,"entries":[{"id":"0","name":"All Files"}]},"tags":["approved"],"shared_link":{"url":"https://www.box.com/s/vspke7y05sb214wjokpk"}}"#;

#[test]
fn the_annotated_box_document_discloses_its_three_classes() {
    let (operations, options, classified, unclassified) = counts(BOX, BOX_OVERLAY);
    assert_eq!((operations, options), (296, 2));
    assert!(classified > 0 && unclassified > 1000, "{classified} {unclassified}");

    let mut desk = annotated(&["user.identity", "user.contact"]).token("11446498");
    assert_eq!(desk.contract.describe().unread, [""; 0]);
    expect![[r#"
        {"type":"user","id":"11446498","name":"Aaron Levie","login":"ceo@example.com","phone":"6509241374","notification_email":{"email":"n@example.com"}}
        11446498: user.identity user.contact"#]]
    .assert_eq(&desk.show("/users/me", ME));
    expect![[r#"
        {"type":"user","id":"11446498","name":"Aaron Levie","login":"ceo@example.com","phone":"6509241374","notification_email":{"email":"n@example.com"}}
        11446498: user.identity user.contact"#]]
    .assert_eq(&desk.show("/users/11446498", ME));
    expect![[r#"
        NotYours
        ! 1 foreign"#]]
    .assert_eq(&desk.show("/users/12", ME));
    let list =
        format!(r#"{{"total_count":2,"entries":[{},{{"id":"7","type":"user","name":"B"}}]}}"#, ME);
    expect![[r#"
        {"entries":[{"type":"user","id":"11446498","name":"Aaron Levie","login":"ceo@example.com","phone":"6509241374","notification_email":{"email":"n@example.com"}}]}
        11446498: user.identity user.contact
        ! 1 foreign"#]]
    .assert_eq(&desk.show("/users", &list));
    let mut desk = annotated(&["user.content", "user.identity"]).token("11446498");
    expect![[r#"
        {"id":"12345","type":"file","name":"Contract.pdf","size":629644,"description":"login with password=******* please","owned_by":{"type":"user","id":"11446498","name":"Aaron Levie"},"tags":["approved"]}
        11446498: user.content user.identity
        ! 1 foreign
        ! 1 secrets"#]]
    .assert_eq(&desk.show("/files/12345", FILE));
    let mut desk = annotated(&["user.content", "user.identity"]).token("33");
    expect!["NotYours\n! 2 foreign"].assert_eq(&desk.show("/files/12345", FILE));
}

#[test]
fn who_may_not_know_users_does_not_learn_that_a_file_is_locked() {
    let file = r#"{"id":"12345","lock":{"id":"1","created_by":{"id":"11446498"}},"tags":[],"owned_by":{"id":"11446498"}}"#;
    let mut desk = annotated(&["user.content"]).token("11446498");
    expect![[r#"
        {"id":"12345","tags":[]}
        11446498: user.content"#]]
    .assert_eq(&desk.show("/files/12345", file));
    let mut desk = annotated(&["user.contact"]).token("11446498");
    expect![[r#"{"lock":{"created_by":{}},"owned_by":{}}"#]]
        .assert_eq(&desk.show("/files/12345", file));
}

#[test]
fn everything_an_annotated_operation_lets_go_is_of_its_classes() {
    let mut desk = annotated(&["user"]).scope(SubjectScope::All);
    let mut with_data = 0;
    for (question, left) in ask_everything(BOX, &mut desk) {
        if let Ok(left) = left {
            let text = String::from_utf8(left).unwrap();
            with_data += usize::from(text.contains("SECRET"));
            assert!(!text.contains("total_count") && !text.contains("undeclared"), "{question}");
        }
    }
    assert!(with_data > 20, "{with_data}");
}
