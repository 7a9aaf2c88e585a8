//! Overlay 1.0, and the part of 1.1 that says the same: applies the annotations file to the OpenAPI document before anything is
//! compiled from it.
//!
//! One deliberate difference from the specification: a target that selects nothing is an error. An annotation that was silently
//! not applied is a field whose class everybody believes in.

use super::ContractError;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

/// One validated overlay document.
#[derive(Debug)]
pub(crate) struct Overlay {
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Action {
    target: String,
    path: JsonPath,
    update: Option<Value>,
    remove: bool,
}

impl Overlay {
    /// # Errors
    /// [`ContractError::Overlay`] if `document` is not an Overlay 1.0 document.
    pub(crate) fn read(document: &Value) -> Result<Self, ContractError> {
        let root = object(document, "overlay")?;
        known_keys(root, "overlay", &["overlay", "info", "extends", "actions"])?;
        let version = text(root, "overlay")?;
        //= Overlay 1.0.0 section 4.4.1: `overlay` is required and gives the version; patch versions do not matter
        let patch = version.strip_prefix("1.0.").or(version.strip_prefix("1.1.")).unwrap_or("");
        if patch.is_empty() || !patch.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong(format!("version `{version}` is neither 1.0.x nor 1.1.x")));
        }
        let info = object(root.get("info").unwrap_or(&Value::Null), "info")?;
        known_keys(info, "info", &["title", "version", "description"])?;
        text(info, "title")?;
        // YAML writes `version: 1` without quotes as a number; it says nothing that we use.
        if !info.get("version").is_some_and(Value::is_number) {
            text(info, "version")?;
        }
        if root.get("extends").is_some_and(|extends| !extends.is_string()) {
            return Err(wrong("`extends` is not text".into()));
        }
        let actions = root.get("actions").and_then(Value::as_array).filter(|list| !list.is_empty());
        //= Overlay 1.0.0 section 4.4.1: `actions` MUST be a non-empty array
        let actions = actions.ok_or_else(|| wrong("`actions` is not a non-empty list".into()))?;
        for (index, action) in actions.iter().enumerate() {
            if actions.iter().take(index).any(|earlier| earlier == action) {
                return Err(wrong(format!("action {index} stands twice")));
            }
        }
        Ok(Self { actions: actions.iter().map(Action::read).collect::<Result<_, _>>()? })
    }

    /// Applies the actions in order.
    ///
    /// # Errors
    /// [`ContractError::TargetMatchesNothing`], or [`ContractError::Overlay`] if an update does not fit what its target selects.
    pub(crate) fn apply(&self, document: &mut Value) -> Result<(), ContractError> {
        self.actions.iter().try_for_each(|action| action.apply(document))
    }
}

impl Action {
    fn read(value: &Value) -> Result<Self, ContractError> {
        let action = object(value, "action")?;
        known_keys(action, "action", &["target", "description", "update", "remove"])?;
        let target = text(action, "target")?.to_owned();
        if action.contains_key("description") {
            text(action, "description")?;
        }
        let path = JsonPath::parse(&target)
            .map_err(|error| wrong(format!("target `{target}` is not JSONPath: {error}")))?;
        let remove = match action.get("remove") {
            None => false,
            Some(Value::Bool(remove)) => *remove,
            Some(_) => return Err(wrong(format!("`remove` of target `{target}` is not boolean"))),
        };
        Ok(Self { target, path, update: action.get("update").cloned(), remove })
    }

    fn apply(&self, document: &mut Value) -> Result<(), ContractError> {
        let mut places: Vec<String> = self
            .path
            .query_located(document)
            .dedup()
            .iter()
            .map(|node| node.location().to_json_pointer())
            .collect();
        if places.is_empty() {
            return Err(ContractError::TargetMatchesNothing { target: self.target.clone() });
        }
        //= Overlay 1.0.0 section 4.4.3: `update` has no impact if `remove` is true
        if self.remove {
            // Longest array positions last to first, so that removing one does not move the others.
            places.sort_by(|a, b| later_first(a, b));
            return places.iter().try_for_each(|place| remove(document, place));
        }
        let Some(update) = &self.update else { return Ok(()) };
        for place in &places {
            let selected = document.pointer_mut(place).ok_or_else(|| self.misfit(place))?;
            //= Overlay 1.0.0 section 4.4.3: a selected array gets `update` appended as an entry
            if let Value::Array(items) = selected {
                items.push(update.clone());
            } else if selected.is_object() && update.is_object() {
                merge(selected, update);
            } else {
                return Err(self.misfit(place));
            }
        }
        Ok(())
    }

    fn misfit(&self, place: &str) -> ContractError {
        wrong(format!("the update of target `{}` does not fit what is at `{place}`", self.target))
    }
}

/// Merges recursively: objects by key, arrays by appending, anything else by replacing.
fn merge(into: &mut Value, update: &Value) {
    match (into, update) {
        (Value::Object(into), Value::Object(update)) => {
            for (key, value) in update {
                match into.get_mut(key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(update)) => into.extend(update.iter().cloned()),
        (into, update) => *into = update.clone(),
    }
}

fn later_first(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |pointer: &str| -> Vec<(Option<usize>, String)> {
        pointer.split('/').map(|part| (part.parse().ok(), part.to_owned())).collect()
    };
    parts(b).cmp(&parts(a))
}

fn remove(document: &mut Value, place: &str) -> Result<(), ContractError> {
    let Some((parent, key)) = place.rsplit_once('/') else {
        return Err(wrong("the whole document cannot be removed".into()));
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&key)),
        Some(Value::Array(items)) => {
            if let Some(index) = key.parse().ok().filter(|&index| index < items.len()) {
                items.remove(index);
            }
        }
        // Gone together with something around it that the same target selected.
        None => {}
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {}
    }
    Ok(())
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, ContractError> {
    value.as_object().ok_or_else(|| wrong(format!("`{what}` is missing or not an object")))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str, ContractError> {
    map.get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| wrong(format!("`{key}` is missing or not text")))
}

fn known_keys(map: &Map<String, Value>, what: &str, known: &[&str]) -> Result<(), ContractError> {
    match map.keys().find(|key| !known.contains(&key.as_str()) && !key.starts_with("x-")) {
        Some(key) => Err(wrong(format!("unknown key `{key}` in `{what}`"))),
        None => Ok(()),
    }
}

fn wrong(reason: String) -> ContractError {
    ContractError::Overlay { reason }
}
