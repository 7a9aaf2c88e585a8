//! A strict scanner of JSON text (RFC 8259): finds where each token ends and refuses whatever is not one.
//!
//! It allocates nothing and decodes nothing unless asked. Stricter than the RFC in one point, as RFC 7493 wants: an escape that
//! names half a surrogate pair is refused, because two parsers will disagree about what it says.

/// Why a body is refused. The origin is at fault, or whoever sits between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// It ends in the middle of a value.
    #[error("the body ends in the middle of a value")]
    Truncated,
    /// Something other than JSON.
    #[error("the body is not JSON")]
    Syntax,
    /// Text after the value.
    #[error("text follows the JSON value")]
    Trailing,
    /// Nested deeper than the filter follows.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// An object names a key twice, and parsers disagree which one counts.
    #[error("an object names a key twice")]
    DuplicateKey,
    /// An object or a list where the contract declares scalars only.
    #[error("an object or a list stands where the contract declares a scalar")]
    StructureForScalar,
}

/// Where a string stands, quotes included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// A position in a body that is known to be UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { input: text.as_bytes(), at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The bytes from `start` to `end`; empty if the caller's span is not one.
    #[inline]
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.input.get(start..end).unwrap_or_default()
    }

    pub(crate) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Steps over `wanted`.
    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<(), Invalid> {
        match self.peek() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Invalid::Syntax),
            None => Err(Invalid::Truncated),
        }
    }

    pub(crate) fn end(&mut self) -> Result<(), Invalid> {
        self.skip_whitespace();
        if self.at == self.input.len() { Ok(()) } else { Err(Invalid::Trailing) }
    }

    /// Steps over a string; the scanner stands on its opening quote.
    pub(crate) fn string(&mut self) -> Result<Text, Invalid> {
        let start = self.at;
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { start, end: self.at, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                //= RFC 8259 section 7: control characters MUST be escaped
                Some(0..=0x1f) => return Err(Invalid::Syntax),
                Some(_) => self.at += 1,
                None => return Err(Invalid::Truncated),
            }
        }
    }

    /// Steps over bytes that are neither quote nor backslash nor control, eight at a time, then to the first that is.
    fn skip_plain(&mut self) {
        while let Some(chunk) = self.input.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (ONES * 0x22);
            let slash = word ^ (ONES * 0x5c);
            // Each term has its lowest flag at a true match; flags above it may be false, and are not looked at.
            let flags = (quote.wrapping_sub(ONES) & !quote
                | slash.wrapping_sub(ONES) & !slash
                | word.wrapping_sub(ONES * 0x20) & !word)
                & HIGH;
            if flags != 0 {
                self.at += usize::try_from(flags.trailing_zeros() / 8).unwrap_or(0);
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    0xd800..=0xdbff => {
                        self.expect(b'\\')?;
                        self.expect(b'u')?;
                        match self.hex4()? {
                            0xdc00..=0xdfff => Ok(()),
                            _ => Err(Invalid::Syntax),
                        }
                    }
                    0xdc00..=0xdfff => Err(Invalid::Syntax),
                    _ => Ok(()),
                }
            }
            Some(_) => Err(Invalid::Syntax),
            None => Err(Invalid::Truncated),
        }
    }

    fn hex4(&mut self) -> Result<u16, Invalid> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().ok_or(Invalid::Truncated)?;
            let digit = char::from(digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
            value = value << 4 | digit.ok_or(Invalid::Syntax)?;
            self.at += 1;
        }
        Ok(value)
    }

    /// Steps over a number; returns whether it is an integer written in its one canonical way (no fraction, exponent or `-0`).
    pub(crate) fn number(&mut self) -> Result<bool, Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(_) => return Err(Invalid::Syntax),
            None => return Err(Invalid::Truncated),
        }
        let mut integer = self.slice(start, self.at) != b"-0";
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(integer)
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'0'..=b'9') => {}
            Some(_) => return Err(Invalid::Syntax),
            None => return Err(Invalid::Truncated),
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    /// Steps over `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, word: &[u8]) -> Result<(), Invalid> {
        word.iter().try_for_each(|&byte| self.expect(byte))
    }

    /// The inside of a string as it is written.
    #[inline]
    pub(crate) fn inside(&self, text: Text) -> &'a [u8] {
        self.slice(text.start + 1, text.end - 1)
    }
}

/// Decodes the inside of a string that [`Scanner::string`] accepted. `placed` is told, for each decoded byte, where its
/// source starts in `raw` and how long that source is.
pub(crate) fn unescape(raw: &[u8], mut placed: impl FnMut(usize, usize)) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            placed(at, 1);
            out.push(byte);
            at += 1;
            continue;
        }
        let (decoded, length) = match raw.get(at + 1) {
            Some(b'u') => unicode_escape(raw, at),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(&other) => (char::from(other), 2),
            None => ('\u{fffd}', 1),
        };
        for &byte in decoded.encode_utf8(&mut [0; 4]).as_bytes() {
            placed(at, length);
            out.push(byte);
        }
        at += length;
    }
    out
}

fn unicode_escape(raw: &[u8], at: usize) -> (char, usize) {
    let unit = |from: usize| {
        let digits = raw.get(from..from + 4).and_then(|hex| std::str::from_utf8(hex).ok());
        digits.and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let first = unit(at + 2);
    let units = [first, unit(at + 8)];
    let (used, length) = if (0xd800..0xdc00).contains(&first) { (2, 12) } else { (1, 6) };
    let decoded = char::decode_utf16(units.into_iter().take(used)).next();
    (decoded.and_then(Result::ok).unwrap_or('\u{fffd}'), length)
}
