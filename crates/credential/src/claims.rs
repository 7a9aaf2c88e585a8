//! The claims of a JWT that others wrote, or the members of what they say about one: by name, because everybody adds their own.

use model::UnixMicros;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The last second of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A claim that should be a date is none: whole seconds since 1970, before the year 10000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotADate;

/// Claims by name, each once.
pub(crate) struct Claims(BTreeMap<String, Value>);

impl Claims {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(crate) fn moment(&self, name: &str) -> Result<Option<UnixMicros>, NotADate> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_u64().filter(|seconds| *seconds <= SECONDS_MAX);
        seconds.map(UnixMicros::from_secs).map(Some).ok_or(NotADate)
    }

    /// Whether `aud` is this and nothing else, as text or as a list.
    pub(crate) fn is_only_for(&self, audience: &str) -> bool {
        let is_it = |value: &Value| value.as_str() == Some(audience);
        match self.0.get("aud") {
            Some(Value::Array(several)) => !several.is_empty() && several.iter().all(is_it),
            Some(one) => is_it(one),
            None => false,
        }
    }
}

// By hand because a map of serde_json keeps the last of two members of one name (RFC 7519 section 4: names must be unique).
impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Unique)
    }
}
