//! The rules once more, as slowly and plainly as they can be said: on a tree, subject first, then fields.
//!
//! It shares nothing with the filter: no plan, no scanner, no spans. It reads bodies with `serde_json` and schemas from [`Spec`].

use model::SubjectScope;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// A body as a tree; scalars keep their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Scalar(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// `None` for anything that is not strict JSON without duplicate keys, at most 128 deep.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let raw: &RawValue = serde_json::from_slice(body).ok()?;
        Self::of(raw, 0)
    }

    fn of(raw: &RawValue, depth: usize) -> Option<Self> {
        let text = raw.get();
        let deeper = || (depth < 128).then_some(depth + 1);
        match text.as_bytes()[0] {
            b'{' => {
                let entries = entries(text)?;
                let names: BTreeSet<&String> = entries.iter().map(|(name, _)| name).collect();
                if names.len() != entries.len() {
                    return None;
                }
                let depth = deeper()?;
                let entries = entries.iter();
                entries
                    .map(|(name, raw)| Some((name.clone(), Self::of(raw, depth)?)))
                    .collect::<Option<_>>()
                    .map(Self::Object)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let depth = deeper()?;
                let items = items.into_iter();
                items.map(|raw| Self::of(raw, depth)).collect::<Option<_>>().map(Self::List)
            }
            b'"' => {
                serde_json::from_str::<String>(text).ok()?;
                Some(Self::Scalar(text.to_owned()))
            }
            _ => Some(Self::Scalar(text.to_owned())),
        }
    }

    fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            Self::Scalar(_) | Self::List(_) => None,
        }
    }

    fn has_data(&self) -> bool {
        match self {
            Self::Scalar(_) => true,
            Self::List(items) => items.iter().any(Self::has_data),
            Self::Object(entries) => entries.iter().any(|(_, value)| value.has_data()),
        }
    }
}

fn entries(text: &str) -> Option<Vec<(String, Box<RawValue>)>> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, Box<RawValue>)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Entries).ok()
}

/// A schema, small enough to be written as OpenAPI and to be followed by hand.
#[derive(Clone, Debug)]
pub(super) enum Spec {
    Scalar { kind: &'static str, class: Option<u8> },
    List(Box<Spec>),
    Object { fields: Vec<(String, Spec)>, subject: Option<Vec<String>>, free: bool },
}

impl Spec {
    /// Whether a scalar in here could leave, were its subject covered.
    fn could_leave(&self, granted: &BTreeSet<u8>) -> bool {
        match self {
            Self::Scalar { class, .. } => class.is_some_and(|class| granted.contains(&class)),
            Self::List(item) => item.could_leave(granted),
            Self::Object { fields, .. } => {
                fields.iter().any(|(_, field)| field.could_leave(granted))
            }
        }
    }
}

/// What may leave, in the reference's own words.
pub(super) struct Rules<'a> {
    pub(super) granted: &'a BTreeSet<u8>,
    pub(super) scope: &'a SubjectScope,
    pub(super) token_subject: Option<&'a str>,
    pub(super) honey: &'a BTreeSet<String>,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) tree: Option<Tree>,
    pub(super) touches: BTreeSet<(String, u8)>,
    pub(super) foreign: u32,
    pub(super) unbound: u32,
    pub(super) honey: bool,
    pub(super) refused: bool,
}

/// Filters a parsed body.
pub(super) fn filter(spec: &Spec, body: &Tree, rules: &Rules<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut touches = Vec::new();
    let tree = keep(spec, body, rules, &Owner::Nobody, &mut outcome, &mut touches);
    outcome.touches = touches.into_iter().collect();
    outcome.tree = tree;
    outcome
}

#[derive(Clone, PartialEq)]
enum Owner {
    Nobody,
    Free,
    Someone(String),
}

fn keep(
    spec: &Spec,
    value: &Tree,
    rules: &Rules<'_>,
    owner: &Owner,
    outcome: &mut Outcome,
    touches: &mut Vec<(String, u8)>,
) -> Option<Tree> {
    match (spec, value) {
        (Spec::Scalar { kind, class }, Tree::Scalar(text)) => {
            let fits = match text.as_bytes()[0] {
                b'n' => true,
                b'"' => *kind == "string",
                b't' | b'f' => *kind == "boolean",
                _ => *kind == "integer" || *kind == "number",
            };
            let class = class.filter(|class| fits && rules.granted.contains(class))?;
            match owner {
                Owner::Nobody => return None,
                Owner::Free => {}
                Owner::Someone(subject) => touches.push((subject.clone(), class)),
            }
            Some(value.clone())
        }
        (Spec::Scalar { .. }, _) => {
            outcome.refused = true;
            None
        }
        (_, Tree::Scalar(_)) => None,
        (Spec::List(item), Tree::List(items)) => {
            let kept = items.iter().filter_map(|value| {
                keep(item, value, rules, owner, outcome, touches).filter(Tree::has_data)
            });
            Some(Tree::List(kept.collect()))
        }
        (Spec::Object { fields, subject, free }, Tree::Object(entries)) => {
            let own = subject.as_ref().map(|pointer| subject_of(value, pointer));
            let owner = match &own {
                Some(Some(id)) => {
                    outcome.honey |= rules.honey.contains(id);
                    Owner::Someone(id.clone())
                }
                Some(None) => Owner::Someone(String::new()),
                None if *free && *owner == Owner::Nobody => Owner::Free,
                None => owner.clone(),
            };
            let mut inner = Vec::new();
            let mut kept = Vec::new();
            for (name, value) in entries {
                let Some((_, field)) = fields.iter().find(|(known, _)| known == name) else {
                    continue;
                };
                let left = keep(field, value, rules, &owner, outcome, &mut inner);
                kept.extend(
                    left.filter(|tree| tree.has_data() || field.could_leave(rules.granted))
                        .map(|tree| (name.clone(), tree)),
                );
            }
            match own {
                Some(None) => {
                    outcome.unbound += 1;
                    return None;
                }
                Some(Some(id)) if !covered(&id, value, rules) => {
                    outcome.foreign += 1;
                    return None;
                }
                _ => {}
            }
            touches.extend(inner);
            Some(Tree::Object(kept))
        }
        (Spec::List(_), Tree::Object(_)) | (Spec::Object { .. }, Tree::List(_)) => None,
    }
}

fn find<'a>(value: &'a Tree, pointer: &[String]) -> Option<&'a Tree> {
    pointer.iter().try_fold(value, |value, name| value.get(name))
}

fn subject_of(value: &Tree, pointer: &[String]) -> Option<String> {
    let Tree::Scalar(text) = find(value, pointer)? else { return None };
    let id = match text.as_bytes()[0] {
        b'"' => serde_json::from_str::<String>(text).unwrap(),
        b'-' | b'0'..=b'9' if !text.contains(['.', 'e', 'E']) && text != "-0" => text.clone(),
        _ => return None,
    };
    let usable = !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control);
    usable.then_some(id)
}

fn covered(id: &str, record: &Tree, rules: &Rules<'_>) -> bool {
    match rules.scope {
        SubjectScope::TokenSubject => rules.token_subject == Some(id),
        SubjectScope::Consenting(subjects) => subjects.iter().any(|s| s.as_str() == id),
        SubjectScope::Attribute { pointer, value } => {
            let names: Vec<String> = pointer.split('/').skip(1).map(str::to_owned).collect();
            match find(record, &names) {
                Some(Tree::Scalar(text)) if text.starts_with('"') => {
                    serde_json::from_str::<String>(text).unwrap() == *value
                }
                Some(Tree::Scalar(text)) => text == value && text != "null",
                _ => false,
            }
        }
        SubjectScope::All => true,
    }
}
