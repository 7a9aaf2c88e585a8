//! For every schema, grant and body the filter does what the naive reference does; for broken bodies it refuses.

use super::desk::{Desk, subject};
use super::naive::{Outcome, Rules, Spec, Tree, filter};
use crate::*;
use model::SubjectScope;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CLASSES: [&str; 4] = ["user.a", "user.b", "system.c", "aggregate"];
const NAMES: [&str; 8] =
    ["id", "a", "name", "tenant", "e\u{e9}", "x\"y", "a_long_field_name", "b/c"];
const IDS: [&str; 5] = ["u1", "u2", "7", "honey", "u\u{fc}"];

/// Choices drawn from one seed, so that a failing case is one number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

fn spec(dice: &mut Dice, depth: usize) -> Spec {
    match dice.roll(if depth == 0 { 4 } else { 9 }) {
        0..=3 => Spec::Scalar {
            kind: dice.pick(&["string", "integer", "number", "boolean"]),
            class: if dice.one_in(4) { None } else { u8::try_from(dice.roll(CLASSES.len())).ok() },
        },
        4 | 5 => Spec::List(Box::new(spec(dice, depth - 1))),
        _ => {
            let mut fields = Vec::new();
            for name in NAMES {
                if dice.one_in(2) {
                    fields.push((name.to_owned(), spec(dice, depth - 1)));
                }
            }
            let id = Spec::Scalar { kind: dice.pick(&["string", "integer"]), class: Some(0) };
            let subject = match dice.roll(4) {
                0 => {
                    fields.retain(|(name, _)| name != "id");
                    fields.push(("id".into(), id));
                    Some(vec!["id".into()])
                }
                1 => {
                    fields.retain(|(name, _)| name != "name");
                    let owner = Spec::Object {
                        fields: vec![("id".into(), id)],
                        subject: None,
                        free: false,
                    };
                    fields.push(("name".into(), owner));
                    Some(vec!["name".into(), "id".into()])
                }
                _ => None,
            };
            let free = subject.is_none() && dice.one_in(3);
            Spec::Object { fields, subject, free }
        }
    }
}

fn schema(spec: &Spec, dice: &mut Dice) -> Value {
    match spec {
        Spec::Scalar { kind, class } => {
            let mut schema = json!({ "type": kind });
            if let Some(class) = class {
                schema["x-portcullis-class"] = CLASSES[usize::from(*class)].into();
            }
            match dice.roll(4) {
                0 => json!({ "allOf": [schema, { "description": "wrapped" }] }),
                1 => json!({ "oneOf": [schema, { "type": "null" }] }),
                _ => schema,
            }
        }
        Spec::List(item) => json!({ "type": "array", "items": schema(item, dice) }),
        Spec::Object { fields, subject, free } => {
            let mut halves = [serde_json::Map::new(), serde_json::Map::new()];
            let sides = if dice.one_in(2) { 1 } else { 2 };
            for (name, field) in fields {
                let side = dice.roll(sides);
                halves[side].insert(name.clone(), schema(field, dice));
            }
            let [first, second] = halves;
            let mut whole = json!({ "type": "object", "properties": first });
            if !second.is_empty() {
                whole["allOf"] = json!([{ "properties": second }]);
            }
            if let Some(pointer) = subject {
                let pointer: String = pointer.iter().map(|name| format!("/{name}")).collect();
                whole["x-portcullis-subject"] = json!({ "pointer": pointer });
            }
            if *free {
                whole["x-portcullis-subject"] = "none".into();
            }
            whole
        }
    }
}

fn gap(dice: &mut Dice) -> &'static str {
    dice.pick(&["", "", "", " ", "\n  ", "\t"])
}

fn key(name: &str, dice: &mut Dice) -> String {
    let plain = serde_json::to_string(name).unwrap();
    if !dice.one_in(6) || plain.contains('\\') {
        return plain;
    }
    let units: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}

fn scalar(kind: &str, dice: &mut Dice) -> String {
    let id = dice.pick(&IDS);
    let text = match kind {
        "string" => key(dice.pick(&[id, id, "plain", "tab\there", "acme"]), dice),
        "integer" => dice.pick(&["7", "0", "-1", "123456789012345678901234567890"]).into(),
        "number" => dice.pick(&["7", "1.50", "-0", "1e999", "0.1E-7"]).into(),
        _ => dice.pick(&["true", "false"]).into(),
    };
    if dice.one_in(12) { "null".into() } else { text }
}

/// A body that mostly follows `spec`, and sometimes does not.
fn body(spec: &Spec, dice: &mut Dice, out: &mut String) {
    if dice.one_in(60) {
        out.push_str(dice.pick(&[
            "{}",
            "[]",
            "[[1],{\"a\":2}]",
            "\"stray\"",
            "12",
            "null",
            "true",
        ]));
        return;
    }
    match spec {
        Spec::Scalar { kind, .. } => out.push_str(&scalar(kind, dice)),
        Spec::List(item) => {
            out.push('[');
            out.push_str(gap(dice));
            for index in 0..dice.roll(4) {
                if index > 0 {
                    out.push_str(gap(dice));
                    out.push(',');
                    out.push_str(gap(dice));
                }
                body(item, dice, out);
            }
            out.push_str(gap(dice));
            out.push(']');
        }
        Spec::Object { fields, .. } => {
            let mut members = Vec::new();
            for (name, field) in fields {
                if !dice.one_in(8) {
                    let mut value = String::new();
                    body(field, dice, &mut value);
                    members.push(format!("{}{}:{}{value}", key(name, dice), gap(dice), gap(dice)));
                }
            }
            if dice.one_in(4) {
                let stray = dice.pick(&["1", "{\"q\":[true]}", "\"s\"", "null"]);
                let place = dice.roll(members.len() + 1);
                members.insert(place, format!("{}:{stray}", key("stray", dice)));
            }
            if dice.one_in(3) && members.len() > 1 {
                members.rotate_left(1);
            }
            out.push('{');
            out.push_str(gap(dice));
            let mut first = true;
            for member in members {
                if !first {
                    out.push_str(gap(dice));
                    out.push(',');
                    out.push_str(gap(dice));
                }
                first = false;
                out.push_str(&member);
            }
            out.push_str(gap(dice));
            out.push('}');
        }
    }
}

struct Case {
    spec: Spec,
    document: String,
    granted: BTreeSet<u8>,
    scope: SubjectScope,
    honey: BTreeSet<String>,
}

fn case(dice: &mut Dice) -> Case {
    let spec = spec(dice, 4);
    let schema = schema(&spec, dice);
    let document = json!({
        "openapi": "3.1.0",
        "paths": { "/x": { "get": {
            "operationId": "x",
            "x-portcullis-operation": "list",
            "responses": { "200": { "content": { "application/json": { "schema": schema } } } },
        } } },
    });
    let granted = (0..4).filter(|_| !dice.one_in(3)).collect();
    let scope = match dice.roll(4) {
        0 => SubjectScope::TokenSubject,
        1 => SubjectScope::Consenting([subject("u1"), subject("7")].into()),
        2 => SubjectScope::Attribute {
            pointer: dice.pick(&["/tenant", "/name/id", "/nowhere"]).into(),
            value: dice.pick(&["acme", "7", "true"]).into(),
        },
        _ => SubjectScope::All,
    };
    let honey = if dice.one_in(3) { ["honey".to_owned()].into() } else { BTreeSet::new() };
    Case { spec, document: document.to_string(), granted, scope, honey }
}

/// Runs both and compares everything they say.
fn agree(case: &Case, body: &[u8]) -> Result<(), TestCaseError> {
    let mut desk = Desk::new(&case.document, "").scope(case.scope.clone());
    desk.granted = case.granted.iter().map(|&class| CLASSES[usize::from(class)]).collect();
    desk.token_subject = Some(subject("u1"));
    desk.honey = case.honey.iter().map(|id| subject(id)).collect();
    let answer = desk.ask("GET", "/x", body);

    let rules = Rules {
        granted: &case.granted,
        scope: &case.scope,
        token_subject: Some("u1"),
        honey: &case.honey,
    };
    let expected = match Tree::parse(body) {
        // No body is no data, not a broken body.
        None if body.is_empty() => Outcome::default(),
        Some(tree) => filter(&case.spec, &tree, &rules),
        None => Outcome { refused: true, ..Outcome::default() },
    };
    let what = format!("{}\n{}", case.document, String::from_utf8_lossy(body));
    match answer {
        Err(Withheld { because: WithheldBecause::Honey, .. }) => {
            // In a body that breaks off later, a honey subject counts where it was met; the reference sees no tree there.
            prop_assert!(expected.honey || expected.refused, "{}", what);
        }
        Err(Withheld { because: WithheldBecause::OutOfContract(_), .. }) => {
            prop_assert!(expected.refused, "{}", what);
        }
        Err(Withheld { because: WithheldBecause::NotYours, .. }) => {
            prop_assert!(!expected.refused && expected.tree.is_none(), "{}", what);
        }
        Err(other) => prop_assert!(false, "{:?} {}", other, what),
        Ok(disclosed) => {
            prop_assert!(!expected.refused && !expected.honey, "{}", what);
            let left = match disclosed.body() {
                b"" => None,
                body => Some(Tree::parse(body).expect("valid JSON leaves")),
            };
            prop_assert_eq!(&left, &expected.tree, "{}", what);
            let mut rest = body.iter();
            let is_subsequence = disclosed.body().iter().all(|byte| rest.any(|b| b == byte));
            prop_assert!(is_subsequence, "{}", what);
            let mut touches = BTreeSet::new();
            for touch in disclosed.touches() {
                let ordinal = u32::from_be_bytes(touch.pseudonym.0[12..].try_into().unwrap());
                let who = desk.vault.rows.iter().find(|(_, n)| **n == ordinal).unwrap().0;
                for name in desk.table.names(&touch.classes) {
                    let class = CLASSES.iter().position(|known| *known == name).unwrap();
                    touches.insert((who.as_str().to_owned(), u8::try_from(class).unwrap()));
                }
            }
            prop_assert_eq!(touches, expected.touches, "{}", what);
            prop_assert_eq!(disclosed.findings().foreign, expected.foreign, "{}", what);
            prop_assert_eq!(disclosed.findings().unbound, expected.unbound, "{}", what);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_body_is_filtered_as_the_reference_filters_it(seed: u64) {
        let mut dice = Dice(seed);
        let case = case(&mut dice);
        let mut text = String::new();
        body(&case.spec, &mut dice, &mut text);
        agree(&case, text.as_bytes())?;
    }

    #[test]
    fn every_damaged_body_is_refused_or_filtered_as_the_reference_does(seed: u64, damage: u64) {
        let mut dice = Dice(seed);
        let case = case(&mut dice);
        let mut text = String::new();
        body(&case.spec, &mut dice, &mut text);
        let mut bytes = text.into_bytes();
        let mut dice = Dice(damage);
        for _ in 0..=dice.roll(3) {
            let place = dice.roll(bytes.len() + 1);
            match dice.roll(5) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, *dice.pick(&[&b'"', &b'{', &b'}', &b',', &b'\\', &0xff, &b'0', &b' '])),
                2 if place < bytes.len() => bytes[place] ^= 1 << dice.roll(8),
                3 if place < bytes.len() => drop(bytes.remove(place)),
                _ => {
                    let end = (place + dice.roll(12)).min(bytes.len());
                    let copy: Vec<u8> = bytes[place..end].to_vec();
                    let at = dice.roll(bytes.len() + 1);
                    bytes.splice(at..at, copy);
                }
            }
        }
        agree(&case, &bytes)?;
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(seed: u64, bytes: Vec<u8>) {
        let case = case(&mut Dice(seed));
        agree(&case, &bytes)?;
    }
}

#[test]
fn the_cases_reach_every_outcome() {
    let mut reached = [0; 6];
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let case = case(&mut dice);
        let mut text = String::new();
        body(&case.spec, &mut dice, &mut text);
        let rules = Rules {
            granted: &case.granted,
            scope: &case.scope,
            token_subject: Some("u1"),
            honey: &case.honey,
        };
        let outcome = filter(&case.spec, &Tree::parse(text.as_bytes()).unwrap(), &rules);
        let reaches = [
            !outcome.refused && outcome.touches.len() > 1,
            !outcome.refused && outcome.tree.is_some(),
            outcome.foreign > 0,
            outcome.unbound > 0,
            outcome.honey,
            outcome.refused,
        ];
        for (count, reached_it) in reached.iter_mut().zip(reaches) {
            *count += u32::from(reached_it);
        }
    }
    assert!(reached.iter().all(|&count| count >= 20), "{reached:?}");
}
