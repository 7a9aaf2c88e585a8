//! Overlay 1.0 against the specification's own examples (`testdata/overlay`, see `testdata/SOURCES.md`).

use crate::ContractError;
use crate::contract::document::parse;
use crate::contract::overlay::Overlay;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn testdata(under: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/overlay").join(under);
    let mut found: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[expect(clippy::disallowed_methods, reason = "tests read their fixtures")]
fn read(path: &Path) -> Value {
    parse(&std::fs::read_to_string(path).unwrap(), "fixture").unwrap()
}

#[test]
fn the_specifications_eight_examples_come_out_as_it_says() {
    let mut examples = 0;
    for folder in testdata("compliant-sets").iter().filter(|path| path.is_dir()) {
        let mut document = read(&folder.join("openapi.yaml"));
        Overlay::read(&read(&folder.join("overlay.yaml"))).unwrap().apply(&mut document).unwrap();
        assert_eq!(document, read(&folder.join("output.yaml")), "{}", folder.display());
        examples += 1;
    }
    assert_eq!(examples, 8);
}

#[test]
fn documents_that_the_specification_accepts_and_refuses_are_judged_alike() {
    let judge = |under: &str| -> (usize, usize) {
        let documents = testdata(under);
        let accepted = documents.iter().filter(|path| Overlay::read(&read(path)).is_ok()).count();
        (accepted, documents.len())
    };
    // The twelfth, `actions-traits-example`, selects `@.x-oai-traits`, which RFC 9535 does not let one write without quotes.
    assert_eq!(judge("tests/v1.0/pass"), (11, 12));
    assert_eq!(judge("tests/v1.0/fail"), (0, 20));
}

fn apply(document: Value, action: Value) -> Result<Value, ContractError> {
    let mut document = document;
    let overlay = json!({ "overlay": "1.0.0", "info": { "title": "t", "version": "1" },
        "actions": [action] });
    Overlay::read(&overlay)?.apply(&mut document)?;
    Ok(document)
}

#[test]
fn a_target_that_selects_nothing_is_an_error() {
    let answer = apply(json!({ "a": 1 }), json!({ "target": "$.b", "update": { "x": 1 } }));
    assert_eq!(answer, Err(ContractError::TargetMatchesNothing { target: "$.b".into() }));
    let answer = apply(json!({ "a": 1 }), json!({ "target": "$.b", "remove": true }));
    assert_eq!(answer, Err(ContractError::TargetMatchesNothing { target: "$.b".into() }));
}

#[test]
fn updates_merge_objects_append_to_lists_and_replace_the_rest() {
    let merged = apply(
        json!({ "o": { "keep": 1, "list": [1], "value": "old" } }),
        json!({ "target": "$.o", "update": { "list": [2, 3], "value": "new", "more": {} } }),
    );
    assert_eq!(
        merged,
        Ok(json!({ "o": { "keep": 1, "list": [1, 2, 3], "value": "new", "more": {} } }))
    );
    let appended =
        apply(json!({ "l": [1] }), json!({ "target": "$.l", "update": { "name": "x" } }));
    assert_eq!(appended, Ok(json!({ "l": [1, { "name": "x" }] })));
    assert!(apply(json!({ "s": "x" }), json!({ "target": "$.s", "update": "y" })).is_err());
}

#[test]
fn removing_several_items_removes_exactly_those() {
    let left = apply(
        json!({ "l": [{ "x": 1 }, { "y": 1 }, { "x": 2 }, { "y": 2 }, { "x": 3 }] }),
        json!({ "target": "$.l[?@.x]", "remove": true }),
    );
    assert_eq!(left, Ok(json!({ "l": [{ "y": 1 }, { "y": 2 }] })));
    let left = apply(
        json!({ "a": { "x": { "x": 1 } }, "b": 2 }),
        json!({ "target": "$..x", "remove": true }),
    );
    assert_eq!(left, Ok(json!({ "a": {}, "b": 2 })));
}
