//! The field lines of one message: positions into its bytes, found in one pass.

use std::fmt;

use bytes::Bytes;

use super::refusal::BadRequest;

/// Most fields of one message; Apache's default, and three times what a browser sends.
pub const MAX_FIELDS: usize = 100;

/// The fields of one message, in the order they came. Repeated fields stay apart.
///
/// Names are tokens; values are free of CR, LF, NUL and other controls except HTAB, and trimmed. Bytes above 0x7f are
/// possible in values and mean nothing here.
#[derive(Clone)]
pub struct Fields {
    bytes: Bytes,
    lines: Vec<Line>,
}

/// Where one field stands in the message's bytes. A head is at most 32 KiB, so 16 bits reach.
#[derive(Clone, Copy)]
pub(super) struct Line {
    name: (u16, u16),
    value: (u16, u16),
    /// Whether whitespace other than one leading space surrounded the value on the wire. Parsers disagree about
    /// trimming, so the fields that frame a message may not be padded.
    pub(super) padded: bool,
}

impl Line {
    pub(super) fn name(self, bytes: &[u8]) -> &[u8] {
        span(bytes, self.name)
    }

    pub(super) fn value(self, bytes: &[u8]) -> &[u8] {
        span(bytes, self.value)
    }
}

/// A block of field lines that breaks RFC 9112 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFields {
    LineEnd,
    Line,
    TooMany,
}

impl From<BadFields> for BadRequest {
    fn from(bad: BadFields) -> Self {
        match bad {
            BadFields::LineEnd => Self::LineEnd,
            BadFields::Line => Self::FieldLine,
            BadFields::TooMany => Self::TooManyFields,
        }
    }
}

impl Fields {
    pub(super) const fn new(bytes: Bytes, lines: Vec<Line>) -> Self {
        Self { bytes, lines }
    }

    /// Every field as (name as sent, value).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|line| {
            let name = std::str::from_utf8(line.name(&self.bytes)).unwrap_or_default();
            (name, line.value(&self.bytes))
        })
    }

    /// Every value of the field `name`; letter case does not matter.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines
            .iter()
            .filter(move |line| line.name(&self.bytes).eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| line.value(&self.bytes))
    }

    /// The value of the field `name` if it stands exactly once; letter case does not matter.
    pub fn one(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn text_of(&self, line: Line) -> &str {
        std::str::from_utf8(line.value(&self.bytes)).unwrap_or_default()
    }

    /// Drops the fields for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let bytes = &self.bytes;
        self.lines.retain(|line| keep(line.name(bytes)));
    }
}

impl fmt::Debug for Fields {
    /// Names only: values hold credentials and data of subjects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Finds the field lines and the empty line that ends them, in `buf` from `start`; positions are those of `buf`.
///
/// Returns the position after the empty line, or `None` if it has not arrived. The outcome for a prefix is the outcome
/// for everything that begins with it, so it does not matter how the bytes were split on the way.
pub(super) fn parse_lines(
    buf: &[u8],
    start: usize,
) -> Result<Option<(usize, Vec<Line>)>, BadFields> {
    let block = buf.get(start..).unwrap_or_default();
    let mut tokens = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (end, tokens) = match httparse::parse_headers(block, &mut tokens) {
        Ok(httparse::Status::Complete((length, tokens))) => (start + length, tokens),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadFields::TooMany),
        Err(httparse::Error::NewLine) => return Err(BadFields::LineEnd),
        Err(_) => return Err(BadFields::Line),
    };
    let place = |part: &[u8]| part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
    let mut lines = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.iter().peekable();
    if tokens.peek().is_none() && buf.get(start..end) != Some(b"\r\n") {
        return Err(BadFields::LineEnd);
    }
    while let Some(token) = tokens.next() {
        let name_start = place(token.name.as_bytes());
        let name_end = name_start + token.name.len();
        let after_colon = name_end + 1;
        let value_start = if token.value.is_empty() { after_colon } else { place(token.value) };
        let value_end = value_start + token.value.len();
        // The tokeniser takes a lone LF for a line end. Between this value and the next name it may only have
        // passed over blanks and the line end, so exactly those are looked at again.
        let (next, line_end): (_, &[u8]) = match tokens.peek() {
            Some(next) => (place(next.name.as_bytes()), b"\r\n"),
            None => (end, b"\r\n\r\n"),
        };
        let gap = buf.get(value_end..next).unwrap_or_default();
        let trailing = gap.strip_suffix(line_end).ok_or(BadFields::LineEnd)?;
        if !trailing.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(BadFields::LineEnd);
        }
        let leading = buf.get(after_colon..value_start).unwrap_or_default();
        lines.push(Line {
            name: (short(name_start)?, short(name_end)?),
            value: (short(value_start)?, short(value_end)?),
            padded: !trailing.is_empty() || !matches!(leading, b"" | b" "),
        });
    }
    Ok(Some((end, lines)))
}

fn span(bytes: &[u8], (start, end): (u16, u16)) -> &[u8] {
    bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

fn short(position: usize) -> Result<u16, BadFields> {
    u16::try_from(position).map_err(|_| BadFields::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &[u8], expected: Result<Option<&[(&str, &str)]>, BadFields>) {
        let parsed = parse_lines(block, 0).map(|lines| {
            lines.map(|(end, lines)| {
                assert_eq!(end, block.len());
                Fields::new(Bytes::copy_from_slice(block), lines)
            })
        });
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let seen = parsed.map(|fields| {
            fields.map(|f| f.iter().map(|(n, v)| (n.to_owned(), text(v))).collect::<Vec<_>>())
        });
        let owned = |&(n, v): &(&str, &str)| (n.to_owned(), v.to_owned());
        let expected = expected.map(|fields| fields.map(|f| f.iter().map(owned).collect()));
        assert_eq!(seen, expected, "{}", block.escape_ascii());
    }

    #[test]
    fn a_field_line_is_name_colon_value_and_ends_in_crlf() {
        check(b"\r\n", Ok(Some(&[])));
        check(b"A: b\r\nc:d \r\n\r\n", Ok(Some(&[("A", "b"), ("c", "d")])));
        check(b"A:\r\nB: \t \r\n\r\n", Ok(Some(&[("A", ""), ("B", "")])));
        check(b"A: b\tc\r\n\r\n", Ok(Some(&[("A", "b\tc")])));
        check(b"A: b\r\n", Ok(None));
        for bare in [&b"\n"[..], b"A: b\n\r\n", b"A: b\r\n\n", b"A: b\n\n", b"A:\nB: c\r\n\r\n"] {
            check(bare, Err(BadFields::LineEnd));
        }
        for malformed in [
            &b"A: b\rC: d\r\n\r\n"[..],
            b"A: b\r\r\n\r\n",
            b"A : b\r\n\r\n",
            b" A: b\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
            b"A: b\r\n\tc\r\n\r\n",
            b": b\r\n\r\n",
            b"A\r\n\r\n",
            b"A[: b\r\n\r\n",
            b"\xc3\xab: b\r\n\r\n",
            b"A: \0\r\n\r\n",
            b"A: b\x0bc\r\n\r\n",
            b"A: \x7f\r\n\r\n",
            b"A: b\r\n \r\n\r\n",
        ] {
            assert!(parse_lines(malformed, 0).is_err(), "{}", malformed.escape_ascii());
        }
        let many = "a: b\r\n".repeat(MAX_FIELDS + 1) + "\r\n";
        check(many.as_bytes(), Err(BadFields::TooMany));
    }

    #[test]
    fn padding_is_remembered() {
        for (line, padded) in [
            ("A:b", false),
            ("A: b", false),
            ("A: b ", true),
            ("A:  b", true),
            ("A:\tb", true),
            ("A: b\t", true),
            ("A:", false),
        ] {
            let (_, lines) = parse_lines(format!("{line}\r\n\r\n").as_bytes(), 0).unwrap().unwrap();
            assert_eq!(lines[0].padded, padded, "{line:?}");
        }
    }
}
