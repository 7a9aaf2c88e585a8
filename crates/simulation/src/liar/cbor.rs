//! CBOR values that can be changed: what a liar writes records and bundles with. Knows nothing of the formats, so that it can break them.

/// A value of the few types the formats use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Uint(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Vec<(u64, Value)>),
    Null,
}

impl Value {
    /// Reads one value.
    ///
    /// # Panics
    /// If the bytes are none: they were written by the ledger or by us.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let value = Self::take(&mut rest);
        assert!(value.is_some() && rest.is_empty(), "not one value");
        value.unwrap_or(Self::Null)
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let (&first, after) = rest.split_first()?;
        *rest = after;
        if first == 0xf6 {
            return Some(Self::Null);
        }
        let argument = match first & 31 {
            short @ 0..=23 => u64::from(short),
            long => {
                let (bytes, after) = rest.split_at_checked(1 << (long - 24))?;
                *rest = after;
                bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
            }
        };
        let count = usize::try_from(argument).ok()?;
        let mut bytes = || {
            let (bytes, after) = rest.split_at_checked(count)?;
            *rest = after;
            Some(bytes.to_vec())
        };
        Some(match first >> 5 {
            0 => Self::Uint(argument),
            2 => Self::Bytes(bytes()?),
            3 => Self::Text(String::from_utf8(bytes()?).ok()?),
            4 => Self::Array((0..count).map(|_| Self::take(rest)).collect::<Option<_>>()?),
            5 => {
                let mut pair = || {
                    let Self::Uint(key) = Self::take(rest)? else { return None };
                    Some((key, Self::take(rest)?))
                };
                Self::Map((0..count).map(|_| pair()).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// The value's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0xf6),
            Self::Uint(value) => head(out, 0, *value),
            Self::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Text(text) => {
                head(out, 3, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Array(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(pairs) => {
                head(out, 5, pairs.len() as u64);
                for (key, value) in pairs {
                    head(out, 0, *key);
                    value.write(out);
                }
            }
        }
    }

    /// Puts `value` in the place of a map's `key`.
    pub(crate) fn set(&mut self, key: u64, value: Self) {
        let Self::Map(pairs) = self else { return };
        if let Some((_, old)) = pairs.iter_mut().find(|(found, _)| *found == key) {
            *old = value;
        }
    }

    /// The value of a map's `key`.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter_mut().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The items of an array.
    pub(crate) fn items_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }
}

fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    let [.., last] = bytes;
    let (short, width) = match value {
        0..=23 => (last, 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | short);
    out.extend(bytes.iter().skip(8 - width));
}
