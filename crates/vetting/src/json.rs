//! Reading JSON that a stranger wrote: no member twice, nesting and size bounded, so that no two readers can see different documents.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// Values in one document, so that 16 MiB of `[0,0,0` does not become gigabytes. An SBOM of 100,000 components has about two million.
const VALUES_MAX: u32 = 4_000_000;

/// Reads one JSON document. `bytes` are of bounded length already; nesting deeper than 127 is refused by the parser.
///
/// # Errors
/// What is wrong and where, in words for whoever wrote the document.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    let left = Cell::new(VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: &left }.deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    left: &'a Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("the document holds too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member `{name}` stands twice")));
            }
            let value = members.next_value_seed(self)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_document_reads_as_any_reader_reads_it() {
        let text = r#"{"a":[1,-2,0.5,"x",null,true],"b":{"c":{}}}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_member_that_stands_twice_is_refused() {
        let wrong = read(br#"{"a":{"b":1,"b":2}}"#).unwrap_err();
        assert!(wrong.contains("the member `b` stands twice"), "{wrong}");
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(deep(127).as_bytes()).is_ok());
        assert!(read(deep(129).as_bytes()).is_err());
        let wide = format!("[{}0]", "0,".repeat(4_000_000));
        assert!(read(wide.as_bytes()).unwrap_err().contains("too many values"));
    }

    #[test]
    fn what_follows_the_document_is_refused() {
        assert!(read(b"{} {}").is_err());
        assert!(read(b"").is_err());
        assert!(read(b"\xff").is_err());
    }
}
