//! What a schema says about one place: which JSON types it may hold, with which classes, and which fields and items lie below.
//!
//! A schema is a conjunction of its own keywords, its `$ref`, every part of `allOf`, and the union of `oneOf` and of `anyOf`. A [`Shape`]
//! is that conjunction worked out for one level; what lies below stays a [`Key`], an expression over schema locations, which
//! `compile` turns into the arena's nodes. Validation keywords (lengths, patterns, `not`, `if`) say nothing about disclosure and are
//! ignored, as are fields that only `additionalProperties`, `patternProperties`, `then` or `else` would allow: unclassified.

use super::ContractError;
use super::document::{escape_segment, local_pointer, split_pointer};
use super::plan::{Pointer, SubjectRule};
use model::{ClassNumber, ClassSet, ClassTable, DataClass};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Deepest chain of `$ref`, `allOf`, `oneOf` and `anyOf` without a property or item in between.
const NESTING_MAX: usize = 128;

/// Which schema describes a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The schema at this JSON pointer of the document.
    At(Rc<str>),
    /// No schema: anything, unclassified.
    Anything,
    /// Scalars with this class: how the class of an array reaches its items.
    Classed(ClassNumber),
    /// All of these at once.
    All(Vec<Key>),
    /// Any of these.
    Any(Vec<Key>),
}

impl Key {
    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = BTreeSet::new();
        for part in parts {
            match part {
                Self::All(inner) => flat.extend(inner),
                other @ (Self::At(_) | Self::Anything | Self::Classed(_) | Self::Any(_)) => {
                    flat.insert(other);
                }
            }
        }
        Self::of_set(flat, Self::All)
    }

    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = BTreeSet::new();
        for part in parts {
            match part {
                Self::Any(inner) => flat.extend(inner),
                other @ (Self::At(_) | Self::Anything | Self::Classed(_) | Self::All(_)) => {
                    flat.insert(other);
                }
            }
        }
        Self::of_set(flat, Self::Any)
    }

    fn of_set(mut flat: BTreeSet<Self>, many: fn(Vec<Self>) -> Self) -> Self {
        match (flat.len(), flat.pop_first()) {
            (1, Some(only)) => only,
            (_, None) => Self::Anything,
            (_, Some(first)) => many(std::iter::once(first).chain(flat).collect()),
        }
    }

    /// The `properties` entries among its locations.
    pub(crate) fn property_declarations(&self) -> Vec<Rc<str>> {
        match self {
            Self::At(pointer) => {
                let parent = pointer.rsplit('/').nth(1);
                if parent == Some("properties") { vec![pointer.clone()] } else { Vec::new() }
            }
            Self::Anything | Self::Classed(_) => Vec::new(),
            Self::All(keys) | Self::Any(keys) => {
                keys.iter().flat_map(Self::property_declarations).collect()
            }
        }
    }

    /// A location to name in an error.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::At(pointer) => format!("#{pointer}"),
            Self::Anything | Self::Classed(_) => "#".into(),
            Self::All(keys) | Self::Any(keys) => {
                keys.iter().find(|key| matches!(key, Self::At(_))).map_or("#".into(), Self::place)
            }
        }
    }
}

/// What is said about scalars of one JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Not allowed.
    Undeclared,
    /// Allowed, no class.
    Unclassified,
    /// Allowed; every one of these classes must be granted.
    Classes(ClassSet),
}

impl Claim {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Undeclared, _) | (_, Self::Undeclared) => Self::Undeclared,
            (Self::Unclassified, said) | (said, Self::Unclassified) => said,
            (Self::Classes(a), Self::Classes(b)) => Self::Classes(a.union(&b)),
        }
    }

    /// A value that may come from either variant: if one of them says nothing about its class, neither do we.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Undeclared, said) | (said, Self::Undeclared) => said,
            (Self::Unclassified, _) | (_, Self::Unclassified) => Self::Unclassified,
            (Self::Classes(a), Self::Classes(b)) => Self::Classes(a.union(&b)),
        }
    }
}

/// One level of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) null: Claim,
    pub(crate) boolean: Claim,
    pub(crate) number: Claim,
    pub(crate) string: Claim,
    pub(crate) free_text: bool,
    pub(crate) fields: Option<BTreeMap<String, Key>>,
    pub(crate) items: Option<Key>,
    pub(crate) subject: SubjectRule,
}

impl Shape {
    fn anything() -> Self {
        Self {
            null: Claim::Unclassified,
            boolean: Claim::Unclassified,
            number: Claim::Unclassified,
            string: Claim::Unclassified,
            free_text: false,
            fields: Some(BTreeMap::new()),
            items: Some(Key::Anything),
            subject: SubjectRule::Inherit,
        }
    }

    fn nothing() -> Self {
        Self {
            null: Claim::Undeclared,
            boolean: Claim::Undeclared,
            number: Claim::Undeclared,
            string: Claim::Undeclared,
            free_text: false,
            fields: None,
            items: None,
            subject: SubjectRule::Inherit,
        }
    }

    fn scalars_mut(&mut self) -> [&mut Claim; 4] {
        [&mut self.null, &mut self.boolean, &mut self.number, &mut self.string]
    }

    fn takes_scalar(&self) -> bool {
        // `null` alone is the absence of an object or a list more often than a value of its own.
        [self.boolean, self.number, self.string].iter().any(|claim| *claim != Claim::Undeclared)
            || (self.null != Claim::Undeclared && self.fields.is_none() && self.items.is_none())
    }

    fn and(self, other: Self, at: &str) -> Result<Self, ContractError> {
        let fields = match (self.fields, other.fields) {
            (Some(ours), Some(theirs)) => Some(merge(ours, theirs, |a, b| Key::all([a, b]))),
            _ => None,
        };
        let items = match (self.items, other.items) {
            (Some(Key::Anything), Some(key)) | (Some(key), Some(Key::Anything)) => Some(key),
            (Some(ours), Some(theirs)) => Some(Key::all([ours, theirs])),
            _ => None,
        };
        let subject = match (self.subject, other.subject) {
            (SubjectRule::Inherit, rule) | (rule, SubjectRule::Inherit) => rule,
            (SubjectRule::Ambiguous, _) | (_, SubjectRule::Ambiguous) => SubjectRule::Ambiguous,
            (SubjectRule::Free, SubjectRule::Free) => SubjectRule::Free,
            (SubjectRule::Pointers(ours), SubjectRule::Pointers(theirs)) => {
                let both: BTreeSet<Pointer> = ours.into_iter().chain(theirs).collect();
                SubjectRule::Pointers(both.into_iter().collect())
            }
            (SubjectRule::Free, SubjectRule::Pointers(_))
            | (SubjectRule::Pointers(_), SubjectRule::Free) => {
                return Err(annotation(at, "both `none` and a pointer name its subject"));
            }
        };
        Ok(Self {
            null: self.null.and(other.null),
            boolean: self.boolean.and(other.boolean),
            number: self.number.and(other.number),
            string: self.string.and(other.string),
            free_text: self.free_text || other.free_text,
            fields,
            items,
            subject,
        })
    }

    fn or(self, other: Self) -> Self {
        let subject = match (&self.fields, &other.fields) {
            (Some(_), Some(_)) if self.subject == other.subject => self.subject,
            (Some(_), Some(_)) => SubjectRule::Ambiguous,
            (Some(_), None) => self.subject,
            (None, _) => other.subject,
        };
        let fields = match (self.fields, other.fields) {
            (Some(ours), Some(theirs)) => Some(merge(ours, theirs, |a, b| Key::any([a, b]))),
            (ours, theirs) => ours.or(theirs),
        };
        let items = match (self.items, other.items) {
            (Some(ours), Some(theirs)) => Some(Key::any([ours, theirs])),
            (ours, theirs) => ours.or(theirs),
        };
        Self {
            null: self.null.or(other.null),
            boolean: self.boolean.or(other.boolean),
            number: self.number.or(other.number),
            string: self.string.or(other.string),
            free_text: self.free_text || other.free_text,
            fields,
            items,
            subject,
        }
    }
}

fn merge(
    ours: BTreeMap<String, Key>,
    theirs: BTreeMap<String, Key>,
    both: impl Fn(Key, Key) -> Key,
) -> BTreeMap<String, Key> {
    let mut merged = ours;
    for (name, theirs) in theirs {
        let key = match merged.remove(&name) {
            Some(ours) => both(ours, theirs),
            None => theirs,
        };
        merged.insert(name, key);
    }
    merged
}

/// Reads the schemas of one document.
pub(crate) struct Schemas<'a> {
    pub(crate) document: &'a Value,
    /// OpenAPI 3.0: a `$ref` hides its neighbours (our annotations excepted) and `nullable` exists.
    pub(crate) is_3_0: bool,
    pub(crate) classes: &'a mut ClassTable,
    known: BTreeMap<Key, Shape>,
    open: Vec<Key>,
    /// Where annotations were read, as JSON pointers.
    pub(crate) read: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    pub(crate) fn new(document: &'a Value, is_3_0: bool, classes: &'a mut ClassTable) -> Self {
        Self {
            document,
            is_3_0,
            classes,
            known: BTreeMap::new(),
            open: Vec::new(),
            read: BTreeSet::new(),
        }
    }

    /// Works out one level of `key`.
    pub(crate) fn shape(&mut self, key: &Key) -> Result<Shape, ContractError> {
        if let Some(shape) = self.known.get(key) {
            return Ok(shape.clone());
        }
        if self.open.contains(key) || self.open.len() >= NESTING_MAX {
            return Err(ContractError::SchemaCycle { at: key.place() });
        }
        self.open.push(key.clone());
        let shape = match key {
            Key::At(pointer) => self.shape_at(pointer),
            Key::Anything => Ok(Shape::anything()),
            Key::Classed(class) => {
                let mut shape = Shape::anything();
                classify(&mut shape, *class);
                Ok(shape)
            }
            Key::All(parts) => self.all(parts, &key.place()),
            Key::Any(parts) => self.any(parts),
        };
        self.open.pop();
        let shape = shape?;
        self.known.insert(key.clone(), shape.clone());
        Ok(shape)
    }

    /// Whether the schema at `pointer`, if there is one, allows a list.
    pub(crate) fn takes_list(&mut self, pointer: &str) -> Result<bool, ContractError> {
        if self.document.pointer(pointer).is_none() {
            return Ok(false);
        }
        Ok(self.shape(&Key::At(pointer.into()))?.items.is_some())
    }

    fn all(&mut self, parts: &[Key], at: &str) -> Result<Shape, ContractError> {
        let mut whole = Shape::anything();
        for part in parts {
            whole = whole.and(self.shape(part)?, at)?;
        }
        let inherits_class = parts.iter().any(|part| matches!(part, Key::Classed(_)));
        if inherits_class && !whole.takes_scalar() {
            return Err(annotation(at, "a class stands on a list whose items are not scalars"));
        }
        Ok(whole)
    }

    fn any(&mut self, parts: &[Key]) -> Result<Shape, ContractError> {
        let mut union = Shape::nothing();
        for part in parts {
            union = union.or(self.shape(part)?);
        }
        Ok(union)
    }

    fn shape_at(&mut self, pointer: &str) -> Result<Shape, ContractError> {
        let document = self.document;
        let schema = match document.pointer(pointer) {
            Some(Value::Bool(true)) => return Ok(Shape::anything()),
            Some(Value::Bool(false)) => return Ok(Shape::nothing()),
            Some(Value::Object(schema)) => schema,
            Some(_) => return Err(annotation(&format!("#{pointer}"), "not a schema")),
            None => return Err(ContractError::DanglingReference { pointer: pointer.to_owned() }),
        };
        let at = format!("#{pointer}");
        let mut shape = Shape::anything();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = Key::At(local_pointer(reference)?.into());
            shape = shape.and(self.shape(&target)?, &at)?;
        }
        //= OpenAPI 3.0.3 section 4.7.23: neighbours of `$ref` SHALL be ignored; 3.1 applies them (JSON Schema 2020-12)
        if !(self.is_3_0 && schema.contains_key("$ref")) {
            shape = shape.and(self.own(schema, pointer), &at)?;
            for part in parts_of(schema, "allOf", pointer) {
                shape = shape.and(self.shape(&part)?, &at)?;
            }
            for keyword in ["oneOf", "anyOf"] {
                let variants = parts_of(schema, keyword, pointer);
                if !variants.is_empty() {
                    let union = self.any(&variants)?;
                    shape = shape.and(union, &at)?;
                }
            }
        }
        self.annotate(&mut shape, schema, &at)?;
        Ok(shape)
    }

    /// The schema's own `type`, `enum`, `const`, `properties` and `items`.
    fn own(&self, schema: &Map<String, Value>, pointer: &str) -> Shape {
        let mut shape = Shape::anything();
        if let Some(types) = declared_types(schema, self.is_3_0) {
            let has = |name: &str| types.contains(name);
            let claim = |name: &str| {
                if has(name) { Claim::Unclassified } else { Claim::Undeclared }
            };
            shape.null = claim("null");
            shape.boolean = claim("boolean");
            // `integer` and `number` are not told apart: JSON has one number type, and 1.0 is an integer to JSON Schema.
            shape.number = if has("integer") { Claim::Unclassified } else { claim("number") };
            shape.string = claim("string");
            if !has("object") {
                shape.fields = None;
            }
            if !has("array") {
                shape.items = None;
            }
        }
        if let (Some(fields), Some(properties)) =
            (&mut shape.fields, schema.get("properties").and_then(Value::as_object))
        {
            for name in properties.keys() {
                let at = format!("{pointer}/properties/{}", escape_segment(name));
                fields.insert(name.clone(), Key::At(at.into()));
            }
        }
        if let Some(items) = &mut shape.items {
            let mut variants = parts_of(schema, "prefixItems", pointer);
            if schema.contains_key("items") {
                variants.push(Key::At(format!("{pointer}/items").into()));
            } else if !variants.is_empty() {
                variants.push(Key::Anything);
            }
            *items = Key::any(variants);
        }
        shape
    }

    /// Applies our own annotations to what the rest of the schema says.
    fn annotate(
        &mut self,
        shape: &mut Shape,
        schema: &Map<String, Value>,
        at: &str,
    ) -> Result<(), ContractError> {
        for (key, value) in schema.iter().filter(|(key, _)| key.starts_with("x-portcullis-")) {
            self.read.insert(at.trim_start_matches('#').to_owned());
            match key.as_str() {
                "x-portcullis-class" => {
                    let class = self.class(value, at)?;
                    if shape.takes_scalar() {
                        classify(shape, class);
                    } else if let Some(items) = &mut shape.items {
                        let plain = std::mem::replace(items, Key::Anything);
                        *items = Key::all([plain, Key::Classed(class)]);
                    } else {
                        return Err(annotation(at, "a class stands on an object"));
                    }
                }
                "x-portcullis-free-text" => {
                    shape.free_text |= value
                        .as_bool()
                        .filter(|_| shape.string != Claim::Undeclared)
                        .ok_or_else(|| annotation(at, "free text is `true` on a string"))?;
                }
                "x-portcullis-subject" => {
                    let rule = subject_rule(value)
                        .ok_or_else(|| annotation(at, "a subject is `none` or `pointer: /...`"))?;
                    if shape.fields.is_none() {
                        return Err(annotation(at, "a subject stands on something not an object"));
                    }
                    // The annotation on the outside decides where variants inside disagree.
                    let inner = std::mem::replace(&mut shape.subject, SubjectRule::Inherit);
                    shape.subject = match inner {
                        SubjectRule::Inherit | SubjectRule::Ambiguous => rule,
                        inner if inner == rule => rule,
                        SubjectRule::Pointers(inner) => match rule {
                            SubjectRule::Pointers(own) => {
                                let both: BTreeSet<Pointer> =
                                    inner.into_iter().chain(own).collect();
                                SubjectRule::Pointers(both.into_iter().collect())
                            }
                            SubjectRule::Inherit | SubjectRule::Free | SubjectRule::Ambiguous => {
                                return Err(annotation(at, "`none` contradicts a pointer inside"));
                            }
                        },
                        SubjectRule::Free => {
                            return Err(annotation(at, "a pointer contradicts `none` inside"));
                        }
                    };
                }
                _ => return Err(annotation(at, &format!("unknown annotation `{key}`"))),
            }
        }
        Ok(())
    }

    /// The class that an annotation names, numbered.
    pub(crate) fn class(&mut self, value: &Value, at: &str) -> Result<ClassNumber, ContractError> {
        self.read.insert(at.trim_start_matches('#').to_owned());
        let class = value
            .as_str()
            .and_then(DataClass::new)
            .ok_or_else(|| annotation(at, "a class is a dotted name such as `user.contact`"))?;
        self.classes.intern(&class).ok_or(ContractError::TooManyClasses)
    }
}

fn classify(shape: &mut Shape, class: ClassNumber) {
    let only = Claim::Classes([class].into_iter().collect());
    for claim in shape.scalars_mut() {
        *claim = claim.and(only);
    }
}

/// `none`, or `{pointer: /...}`.
pub(crate) fn subject_rule(value: &Value) -> Option<SubjectRule> {
    if value.as_str() == Some("none") {
        return Some(SubjectRule::Free);
    }
    let map = value.as_object().filter(|map| map.len() == 1)?;
    let pointer = split_pointer(map.get("pointer")?.as_str()?)?;
    Some(SubjectRule::Pointers([pointer.into()].into()))
}

fn parts_of(schema: &Map<String, Value>, keyword: &str, pointer: &str) -> Vec<Key> {
    let count = schema.get(keyword).and_then(Value::as_array).map_or(0, Vec::len);
    (0..count).map(|index| Key::At(format!("{pointer}/{keyword}/{index}").into())).collect()
}

/// The JSON types a schema's own keywords allow; `None` if they do not say.
fn declared_types(schema: &Map<String, Value>, is_3_0: bool) -> Option<BTreeSet<&str>> {
    let mut types = match schema.get("type") {
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        // Strictly, `properties` alone allows a string too. No author means that, and read so it would leave every variant unclassified.
        _ if schema.contains_key("properties") => BTreeSet::from(["object"]),
        _ if schema.contains_key("items") => BTreeSet::from(["array"]),
        _ => {
            let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
            let constant = schema.get("const").map(std::slice::from_ref);
            listed.or(constant)?.iter().map(type_of).collect()
        }
    };
    if is_3_0 && schema.get("nullable") == Some(&Value::Bool(true)) {
        types.insert("null");
    }
    Some(types)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub(crate) fn annotation(at: &str, reason: &str) -> ContractError {
    ContractError::Annotation { at: at.to_owned(), reason: reason.to_owned() }
}
