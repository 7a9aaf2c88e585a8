//! The part of JSON Schema draft-07 that the CycloneDX schemas are written in, compiled once and run over a document.
//!
//! A keyword that is not understood here is an error when a schema is compiled, never a check that silently does not happen.
//! `format` is checked, as the specification's own test suite does. Start at [`Schema::check`].

use crate::format::Format;
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// A compiled schema.
pub(crate) struct Schema {
    nodes: Vec<Node>,
}

/// The first place where a document differs from its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Reference tokens from the inside out.
    path: Vec<String>,
    /// What is wrong there.
    pub(crate) says: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    List,
    Object,
    Whole,
    Number,
    Boolean,
}

/// One schema. `usize` is a place in [`Schema::nodes`].
#[derive(Default)]
struct Node {
    same_as: Option<usize>,
    kind: Option<Kind>,
    choices: Option<Vec<Value>>,
    required: Vec<String>,
    members: BTreeMap<String, usize>,
    closed: bool,
    items: Option<usize>,
    tuple: Vec<usize>,
    unique: bool,
    items_min: Option<u64>,
    items_max: Option<u64>,
    length_min: Option<u64>,
    length_max: Option<u64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    pattern: Option<Regex>,
    format: Option<Format>,
    all: Vec<usize>,
    any: Vec<usize>,
    one: Vec<usize>,
    not: Option<usize>,
    condition: Option<usize>,
    then: Option<usize>,
    otherwise: Option<usize>,
}

impl Schema {
    /// Compiles the schema `text`; `shared` holds further definitions that it may refer to.
    ///
    /// # Errors
    /// Ours, if a schema we ship is broken or uses a keyword that is not understood.
    pub(crate) fn compile(text: &str, shared: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let shared: Value = serde_json::from_str(shared).map_err(|e| e.to_string())?;
        let definitions = [&shared, &root]
            .into_iter()
            .filter_map(|document| document.get("definitions")?.as_object())
            .flatten()
            .map(|(name, schema)| (format!("#/definitions/{name}"), schema));
        let named: BTreeMap<String, &Value> =
            definitions.chain([("#".to_owned(), &root)]).collect();
        let mut compiler = Compiler { places: BTreeMap::new(), nodes: Vec::new() };
        for (place, name) in named.keys().enumerate() {
            compiler.places.insert(name.clone(), place);
            compiler.nodes.push(Node::default());
        }
        for (name, schema) in &named {
            let node = compiler.node(schema).map_err(|says| format!("{name}: {says}"))?;
            if let Some(slot) =
                compiler.places.get(name).and_then(|&place| compiler.nodes.get_mut(place))
            {
                *slot = node;
            }
        }
        // `#` sorts before `#/definitions/...`, so the root of the document is node 0.
        Ok(Self { nodes: compiler.nodes })
    }

    /// Finds the first place where `document` differs from the schema.
    ///
    /// # Errors
    /// The place and what is wrong there: whoever wrote the document is at fault.
    pub(crate) fn check(&self, document: &Value) -> Result<(), Fault> {
        self.check_at(0, document)
    }

    fn check_at(&self, place: usize, value: &Value) -> Result<(), Fault> {
        let Some(node) = self.nodes.get(place) else {
            return Fault::here("the schema is broken");
        };
        //= JSON Schema draft-07 section 8.3: all other members beside `$ref` are ignored
        if let Some(other) = node.same_as {
            return self.check_at(other, value);
        }
        if let Some(kind) = node.kind
            && !kind.is_of(value)
        {
            return Fault::here(format!("must be {}, is {}", kind.name(), name_of(value)));
        }
        if let Some(choices) = &node.choices
            && !choices.contains(value)
        {
            return Fault::here(format!("{} is not one of {}", shown(value), shown_list(choices)));
        }
        match value {
            Value::Object(members) => self.check_object(node, members)?,
            Value::Array(items) => self.check_list(node, items)?,
            Value::String(text) => check_text(node, text)?,
            Value::Number(number) => check_number(node, number.as_f64().unwrap_or(f64::NAN))?,
            Value::Null | Value::Bool(_) => {}
        }
        self.check_combined(node, value)
    }

    fn check_object(
        &self,
        node: &Node,
        members: &serde_json::Map<String, Value>,
    ) -> Result<(), Fault> {
        if let Some(missing) = node.required.iter().find(|name| !members.contains_key(*name)) {
            return Fault::here(format!("the member `{missing}` is missing"));
        }
        for (name, value) in members {
            match node.members.get(name) {
                Some(&place) => self.check_at(place, value).map_err(|fault| fault.under(name))?,
                None if node.closed => {
                    return Fault::here("is not a member that belongs here")
                        .map_err(|fault: Fault| fault.under(name));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check_list(&self, node: &Node, items: &[Value]) -> Result<(), Fault> {
        let count = items.len() as u64;
        if node.items_min.is_some_and(|min| count < min) {
            return Fault::here(format!("holds {count} items, too few"));
        }
        if node.items_max.is_some_and(|max| count > max) {
            return Fault::here(format!("holds {count} items, too many"));
        }
        for (position, item) in items.iter().enumerate() {
            if let Some(place) = node.tuple.get(position).copied().or(node.items) {
                self.check_at(place, item).map_err(|fault| fault.under(&position.to_string()))?;
            }
        }
        let mut seen = HashSet::new();
        if node.unique
            && let Some(position) = items.iter().position(|item| !seen.insert(item))
        {
            return Fault::here("stands in the list twice")
                .map_err(|fault: Fault| fault.under(&position.to_string()));
        }
        Ok(())
    }

    fn check_combined(&self, node: &Node, value: &Value) -> Result<(), Fault> {
        node.all.iter().try_for_each(|&place| self.check_at(place, value))?;
        if !node.any.is_empty() {
            self.matching(&node.any, value)?;
        }
        if !node.one.is_empty() && self.matching(&node.one, value)? > 1 {
            return Fault::here("is of two forms at once, of which only one may stand");
        }
        if node.not.is_some_and(|place| self.check_at(place, value).is_ok()) {
            return Fault::here("is of a form that is ruled out here");
        }
        if let Some(condition) = node.condition {
            let branch = match self.check_at(condition, value) {
                Ok(()) => node.then,
                Err(_) => node.otherwise,
            };
            return branch.map_or(Ok(()), |place| self.check_at(place, value));
        }
        Ok(())
    }

    /// How many of the schemas at `places` match, at least one.
    ///
    /// # Errors
    /// If none does: the fault found deepest, because that form is the one that was meant.
    fn matching(&self, places: &[usize], value: &Value) -> Result<usize, Fault> {
        let mut matched = 0;
        let mut deepest: Option<Fault> = None;
        for &place in places {
            match self.check_at(place, value) {
                Ok(()) => matched += 1,
                Err(fault) if deepest.as_ref().is_none_or(|d| fault.path.len() > d.path.len()) => {
                    deepest = Some(fault);
                }
                Err(_) => {}
            }
        }
        match deepest {
            Some(fault) if matched == 0 => Err(fault),
            _ => Ok(matched),
        }
    }
}

impl Fault {
    fn here<T>(says: impl Into<String>) -> Result<T, Self> {
        Err(Self { path: Vec::new(), says: says.into() })
    }

    fn under(mut self, token: &str) -> Self {
        self.path.push(token.to_owned());
        self
    }

    /// The place as a JSON pointer (RFC 6901); empty for the document itself.
    pub(crate) fn pointer(&self) -> String {
        let tokens = self.path.iter().rev();
        tokens.map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

fn check_text(node: &Node, text: &str) -> Result<(), Fault> {
    if node.length_min.is_some() || node.length_max.is_some() {
        let length = text.chars().count() as u64;
        if node.length_min.is_some_and(|min| length < min) {
            return Fault::here(format!("is {length} characters long, too short"));
        }
        if node.length_max.is_some_and(|max| length > max) {
            return Fault::here(format!("is {length} characters long, too long"));
        }
    }
    if let Some(pattern) = &node.pattern
        && !pattern.is_match(text)
    {
        return Fault::here(format!("{} is not of the form `{pattern}`", shown(&text.into())));
    }
    if let Some(format) = node.format
        && !format.is_of(text)
    {
        return Fault::here(format!("{} is not {}", shown(&text.into()), format.name()));
    }
    Ok(())
}

fn check_number(node: &Node, number: f64) -> Result<(), Fault> {
    if node.minimum.is_some_and(|min| number < min) || node.maximum.is_some_and(|max| number > max)
    {
        return Fault::here(format!("{number} is out of range"));
    }
    Ok(())
}

impl Kind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Object,
            "integer" => Self::Whole,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            //= JSON Schema draft-07 section 6.1.1: any number with a zero fractional part
            Self::Whole => {
                value.is_i64()
                    || value.is_u64()
                    || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `value` as it stands in a message: at most 60 characters of it, control characters escaped.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text,
    }
}

fn shown_list(choices: &[Value]) -> String {
    let mut shown: Vec<String> = choices.iter().take(12).map(shown).collect();
    if choices.len() > shown.len() {
        shown.push(format!("{} more", choices.len() - shown.len()));
    }
    shown.join(", ")
}

struct Compiler {
    /// Where the named schemas are.
    places: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

impl Compiler {
    fn node(&mut self, schema: &Value) -> Result<Node, String> {
        let mut node = Node::default();
        if schema == &Value::Bool(true) {
            return Ok(node);
        }
        let keywords = schema.as_object().ok_or("a schema is an object or true")?;
        for (keyword, value) in keywords {
            self.keyword(&mut node, keyword, value).map_err(|says| format!("{keyword}: {says}"))?;
        }
        Ok(node)
    }

    fn keyword(&mut self, node: &mut Node, keyword: &str, value: &Value) -> Result<(), String> {
        let text = || value.as_str().ok_or("a string is expected");
        let count = || value.as_u64().map(Some).ok_or("a count is expected");
        let number = || value.as_f64().map(Some).ok_or("a number is expected");
        match keyword {
            "$ref" => {
                let place = self.places.get(text()?).ok_or("refers to nothing we have")?;
                node.same_as = Some(*place);
            }
            "type" => node.kind = Some(Kind::from_name(text()?).ok_or("an unknown type")?),
            "enum" => node.choices = Some(value.as_array().ok_or("a list is expected")?.clone()),
            "const" => node.choices = Some(vec![value.clone()]),
            "required" => {
                let names = value.as_array().into_iter().flatten();
                node.required = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
            }
            "properties" => {
                for (name, schema) in value.as_object().ok_or("an object is expected")? {
                    node.members.insert(name.clone(), self.place(schema)?);
                }
            }
            "additionalProperties" => {
                node.closed = !value.as_bool().ok_or("true or false is expected")?;
            }
            "items" if value.is_array() => node.tuple = self.places_of(value)?,
            "items" => node.items = Some(self.place(value)?),
            "uniqueItems" => node.unique = value.as_bool().ok_or("true or false is expected")?,
            "minItems" => node.items_min = count()?,
            "maxItems" => node.items_max = count()?,
            "minLength" => node.length_min = count()?,
            "maxLength" => node.length_max = count()?,
            "minimum" => node.minimum = number()?,
            "maximum" => node.maximum = number()?,
            "pattern" => node.pattern = Some(Regex::new(text()?).map_err(|e| e.to_string())?),
            "format" => node.format = Some(Format::from_name(text()?).ok_or("unknown format")?),
            "allOf" => node.all = self.places_of(value)?,
            "anyOf" => node.any = self.places_of(value)?,
            "oneOf" => node.one = self.places_of(value)?,
            "not" => node.not = Some(self.place(value)?),
            "if" => node.condition = Some(self.place(value)?),
            "then" => node.then = Some(self.place(value)?),
            "else" => node.otherwise = Some(self.place(value)?),
            "definitions" => {}
            _ => return Err("is not understood".to_owned()),
        }
        Ok(())
    }

    fn place(&mut self, schema: &Value) -> Result<usize, String> {
        let node = self.node(schema)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn places_of(&mut self, schemas: &Value) -> Result<Vec<usize>, String> {
        let schemas = schemas.as_array().ok_or("a list is expected")?;
        schemas.iter().map(|schema| self.place(schema)).collect()
    }
}

#[cfg(test)]
mod tests;
