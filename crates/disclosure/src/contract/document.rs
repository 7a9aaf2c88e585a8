//! Reading contract documents: YAML or JSON text into one tree of JSON values, and local references inside it.

use super::ContractError;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Most references in a row before they count as a cycle.
const REFERENCE_HOPS_MAX: usize = 32;

/// Parses `text`, JSON if it starts with `{`, YAML otherwise. YAML keys that are numbers or booleans (`200:`) become text.
pub(crate) fn parse(text: &str, which: &'static str) -> Result<Value, ContractError> {
    let syntax = |reason: String| ContractError::Syntax { document: which, reason };
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let yaml: serde_norway::Value =
        serde_norway::from_str(text).map_err(|error| syntax(error.to_string()))?;
    from_yaml(yaml).ok_or_else(|| syntax("a key or number that JSON cannot hold".into()))
}

fn from_yaml(yaml: serde_norway::Value) -> Option<Value> {
    Some(match yaml {
        serde_norway::Value::Null => Value::Null,
        serde_norway::Value::Bool(value) => Value::Bool(value),
        serde_norway::Value::String(value) => Value::String(value),
        serde_norway::Value::Number(value) => {
            Value::Number(match (value.as_u64(), value.as_i64()) {
                (Some(value), _) => value.into(),
                (None, Some(value)) => value.into(),
                (None, None) => Number::from_f64(value.as_f64()?)?,
            })
        }
        serde_norway::Value::Sequence(items) => {
            Value::Array(items.into_iter().map(from_yaml).collect::<Option<_>>()?)
        }
        serde_norway::Value::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = match from_yaml(key)? {
                    Value::String(key) => key,
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => return None,
                };
                map.insert(key, from_yaml(value)?);
            }
            Value::Object(map)
        }
        serde_norway::Value::Tagged(tagged) => from_yaml(tagged.value)?,
    })
}

/// The JSON pointer that a `$ref` names in this document.
///
/// # Errors
/// [`ContractError::ExternalReference`] for anything but `#` and `#/...`: nothing is ever fetched.
pub(crate) fn local_pointer(reference: &str) -> Result<String, ContractError> {
    let external = || ContractError::ExternalReference { reference: reference.to_owned() };
    let fragment = reference.strip_prefix('#').ok_or_else(external)?;
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return Err(external());
    }
    let decoded = percent_decode(fragment).ok_or_else(external)?;
    Ok(decoded.into_owned())
}

/// Follows `$ref`s from the object at `pointer` to the object that holds no `$ref`. For parameters, responses, headers and path items;
/// schemas follow theirs themselves, because there a `$ref` may have neighbours.
pub(crate) fn follow(document: &Value, pointer: String) -> Result<(String, &Value), ContractError> {
    let mut pointer = pointer;
    for _ in 0..REFERENCE_HOPS_MAX {
        let value = document
            .pointer(&pointer)
            .ok_or_else(|| ContractError::DanglingReference { pointer: pointer.clone() })?;
        match value.get("$ref").and_then(Value::as_str) {
            None => return Ok((pointer, value)),
            Some(reference) => pointer = local_pointer(reference)?,
        }
    }
    Err(ContractError::SchemaCycle { at: pointer })
}

/// `token` as one segment of a JSON pointer.
pub(crate) fn escape_segment(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) {
        Cow::Owned(token.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(token)
    }
}

/// Splits an RFC 6901 pointer into unescaped segments. `None` if it does not start with `/` or holds a bad escape.
pub(crate) fn split_pointer(pointer: &str) -> Option<Vec<Box<str>>> {
    pointer
        .strip_prefix('/')?
        .split('/')
        .map(|segment| {
            let bad = segment.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
            (!bad).then(|| segment.replace("~1", "/").replace("~0", "~").into())
        })
        .collect()
}

/// Decodes `%XX`. `None` for a malformed escape or a result that is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
