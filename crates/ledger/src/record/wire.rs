//! Deterministic CBOR (RFC 8949 section 4.2.1), the few types the record format uses, written and read by hand.
//!
//! The reader takes exactly what the writer makes: one value has one encoding, so a record has one hash.

use thiserror::Error;

/// Bytes that are not a value of the record format. Whoever wrote them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// A length or number is not in its shortest form.
    #[error("a length or number is not in its shortest form")]
    NotShortest,
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    Trailing,
    /// A value of another type, or a map or array of another length, stands where `0` is wanted.
    #[error("something else stands where `{0}` is wanted")]
    Unexpected(&'static str),
    /// A map's keys are not those of the format in ascending order.
    #[error("a map's keys are not those of the format in ascending order")]
    Keys,
    /// A version that this program does not read.
    #[error("version `{0}` of the format is unknown")]
    Version(u64),
    /// Only the entry is left of the record.
    #[error("body and touches were thinned by retention")]
    Thinned,
}

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const NULL: u8 = 0xf6;

/// Appends CBOR values to a buffer.
pub(crate) trait Write {
    fn uint(&mut self, value: u64);
    fn bytes(&mut self, value: &[u8]);
    fn text(&mut self, value: &str);
    fn array(&mut self, len: usize);
    fn map(&mut self, len: usize);
    fn null(&mut self);
}

impl Write for Vec<u8> {
    fn uint(&mut self, value: u64) {
        head(self, UINT, value);
    }

    fn bytes(&mut self, value: &[u8]) {
        head(self, BYTES, value.len() as u64);
        self.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        head(self, TEXT, value.len() as u64);
        self.extend_from_slice(value.as_bytes());
    }

    fn array(&mut self, len: usize) {
        head(self, ARRAY, len as u64);
    }

    fn map(&mut self, len: usize) {
        head(self, MAP, len as u64);
    }

    fn null(&mut self) {
        self.push(NULL);
    }
}

//= RFC 8949 section 4.2.1: the argument is as short as possible
fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_be_bytes();
    let major = major << 5;
    match value {
        0..=23 => out.push(major | b7),
        24..=0xff => out.extend_from_slice(&[major | 24, b7]),
        0x100..=0xffff => out.extend_from_slice(&[major | 25, b6, b7]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
        _ => out.extend_from_slice(&[major | 27, b0, b1, b2, b3, b4, b5, b6, b7]),
    }
}

/// Reads CBOR values off the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The value is over; nothing may follow.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Malformed> {
        self.head(UINT, "number")
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.head(BYTES, "byte string")?;
        self.take(len)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| Malformed::Unexpected("byte string of fixed length"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.head(TEXT, "text")?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed::Unexpected("UTF-8 text"))
    }

    /// The number of items that follow. An item takes at least a byte, so the count is at most the bytes left and
    /// may size an allocation.
    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        let len = usize::try_from(self.head(ARRAY, "array")?).map_err(|_| Malformed::Truncated)?;
        if len <= self.rest.len() { Ok(len) } else { Err(Malformed::Truncated) }
    }

    /// A map of exactly `len` pairs. Its keys are read with [`Reader::key`].
    pub(crate) fn map(&mut self, len: u64) -> Result<(), Malformed> {
        if self.head(MAP, "map")? == len { Ok(()) } else { Err(Malformed::Keys) }
    }

    /// Whether a map of exactly `len` pairs comes.
    pub(crate) fn is_map(&self, len: u64) -> bool {
        Self { rest: self.rest }.map(len).is_ok()
    }

    //= RFC 8949 section 4.2.1: keys are sorted; every map of the format has all its keys, so each is known in advance
    pub(crate) fn key(&mut self, key: u64) -> Result<(), Malformed> {
        if self.head(UINT, "integer key")? == key { Ok(()) } else { Err(Malformed::Keys) }
    }

    /// The value of a key that may be null.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.rest.split_first() {
            Some((&NULL, rest)) => {
                self.rest = rest;
                Ok(None)
            }
            _ => read(self).map(Some),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self, major: u8, wanted: &'static str) -> Result<u64, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        if first >> 5 != major {
            return Err(Malformed::Unexpected(wanted));
        }
        self.rest = rest;
        let (len, least) = match first & 31 {
            short @ 0..=23 => return Ok(u64::from(short)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            //= RFC 8949 section 4.2.1: no indefinite length
            _ => return Err(Malformed::Unexpected(wanted)),
        };
        let value = self.take(len)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if value < least {
            return Err(Malformed::NotShortest);
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_one_encoding() {
        for (bytes, value) in [
            (&[0x17][..], Ok(23)),
            (&[0x18, 0x18], Ok(24)),
            (&[0x18, 0x17], Err(Malformed::NotShortest)),
            (&[0x19, 0x00, 0xff], Err(Malformed::NotShortest)),
            (&[0x1a, 0x00, 0x00, 0xff, 0xff], Err(Malformed::NotShortest)),
            (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Err(Malformed::NotShortest)),
            (&[0x1c], Err(Malformed::Unexpected("number"))),
            (&[0x1f], Err(Malformed::Unexpected("number"))),
            (&[0x20], Err(Malformed::Unexpected("number"))),
            (&[0x19, 0x01], Err(Malformed::Truncated)),
            (&[], Err(Malformed::Truncated)),
        ] {
            assert_eq!(Reader::new(bytes).uint(), value, "{bytes:02x?}");
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_are_refused_before_anything_is_allocated() {
        assert_eq!(
            Reader::new(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).bytes(),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            Reader::new(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).array(),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            Reader::new(&[0x5f, 0x41, 0x00, 0xff]).bytes(),
            Err(Malformed::Unexpected("byte string")),
            "indefinite"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, bytes: Vec<u8>, text: String) {
            let mut out = Vec::new();
            out.uint(number);
            out.bytes(&bytes);
            out.text(&text);
            out.null();
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.uint(), Ok(number));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.text(), Ok(&text[..]));
            prop_assert_eq!(reader.optional(Reader::uint), Ok(None));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
