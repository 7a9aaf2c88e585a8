//! What header and claim structs are made of: text that borrows where it can, whole-second dates, and members that must be absent.
//!
//! Structs that derive `Deserialize` refuse a second member of a name they know, which is what keeps a signed object from
//! saying two things (RFC 7515 section 4, RFC 7519 section 4: names within an object must be unique).

use model::UnixMicros;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// A JSON string, borrowed from the input unless it holds an escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

// By hand because serde's own `Option<Cow<str>>` always copies.
impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;

        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(AnyText)
    }
}

/// An RFC 7519 NumericDate, whole seconds. Deviation: dates with a fraction are refused, and so is everything after the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumericDate(u64);

impl NumericDate {
    const SECS_MAX: u64 = 253_402_300_799;

    /// The last whole second at or before `moment`.
    pub(crate) fn at_or_before(moment: UnixMicros) -> Self {
        Self(moment.secs().min(Self::SECS_MAX))
    }

    pub(crate) fn moment(self) -> UnixMicros {
        UnixMicros::from_secs(self.0)
    }
}

impl Serialize for NumericDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secs = u64::deserialize(deserializer)?;
        if secs <= Self::SECS_MAX {
            Ok(Self(secs))
        } else {
            Err(Error::custom("a date after the year 9999"))
        }
    }
}

/// For a member whose mere presence refuses the object. Give the field `#[serde(default, deserialize_with = "json::forbidden")]`.
pub(crate) fn forbidden<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(Error::custom("a member that must be absent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read only through Debug")]
    struct Sample<'a> {
        #[serde(borrow)]
        name: Option<Text<'a>>,
        at: NumericDate,
        #[serde(default, deserialize_with = "forbidden")]
        crit: (),
    }

    #[test]
    fn only_unambiguous_objects_are_read() {
        let read = |text: &'static str| serde_json::from_str::<Sample<'_>>(text);
        assert!(read(r#"{"name":"a","at":1,"other":2}"#).is_ok());
        assert!(read(r#"{"at":1}"#).is_ok());
        for wrong in [
            r#"{"name":"a","name":"a","at":1}"#,
            r#"{"name":"a","n\u0061me":"b","at":1}"#,
            r#"{"name":1,"at":1}"#,
            r#"{"at":1.0}"#,
            r#"{"at":"1"}"#,
            r#"{"at":-1}"#,
            r#"{"at":253402300800}"#,
            r#"{"at":1,"crit":null}"#,
            r#"{"at":1,"crit":[]}"#,
            r#"{"at":1}{}"#,
            r#"{}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_text_is_not_copied() {
        let sample: Sample<'_> = serde_json::from_str(r#"{"name":"plain","at":1}"#).unwrap();
        assert!(matches!(sample.name, Some(Text(Cow::Borrowed("plain")))));
    }
}
