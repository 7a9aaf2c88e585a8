//! How the model's values are written in signed commands: ids and targets as text, times as RFC 3339, bytes as hex.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

/// `#[serde(with = "text::plain")]`: anything that reads and prints as text.
pub(super) mod plain {
    use super::*;

    pub(in crate::registry) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::registry) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// `#[serde(with = "text::time")]`: a moment.
pub(super) mod time {
    use super::*;
    use model::UnixMicros;

    pub(in crate::registry) fn serialize<S: Serializer>(
        value: &UnixMicros,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixMicros, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        UnixMicros::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time in UTC")))
    }
}

/// `#[serde(with = "text::bytes")]`: an array of bytes, as lower-case hex.
pub(super) mod bytes {
    use super::*;

    pub(in crate::registry) fn serialize<const N: usize, S: Serializer>(
        value: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(value))
    }

    pub(in crate::registry) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        from_hex(&text).ok_or_else(|| D::Error::custom(format!("not {N} bytes of lower-case hex")))
    }
}

/// `#[serde(with = "text::maybe_bytes")]`: as [`bytes`], or null.
pub(super) mod maybe_bytes {
    use super::*;

    pub(in crate::registry) fn serialize<const N: usize, S: Serializer>(
        value: &Option<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&hex(value)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::registry) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let bytes = from_hex(&text);
        bytes.map(Some).ok_or_else(|| D::Error::custom(format!("not {N} bytes of lower-case hex")))
    }
}

/// `#[serde(with = "text::maybe_time")]`: as [`time`], or null.
pub(super) mod maybe_time {
    use super::*;
    use model::UnixMicros;

    pub(in crate::registry) fn serialize<S: Serializer>(
        value: &Option<UnixMicros>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixMicros>, D::Error> {
        let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let time = UnixMicros::parse(&text);
        time.map(Some)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time in UTC")))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = text
        .bytes()
        .map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N)?;
    let pair = |pair: &[u8]| pair.iter().fold(0, |value, digit| value << 4 | digit);
    digits.chunks(2).map(pair).collect::<Vec<u8>>().try_into().ok()
}
