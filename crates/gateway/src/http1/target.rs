//! The request target: parsed once, brought to one form, refused if two readers could read it differently.
//!
//! The path that policy matches and the path the origin receives are the same bytes, [`RequestTarget::path`].

use std::fmt;

use super::authority::{Authority, Scheme};
use super::refusal::BadRequest;

/// The path and query of a request, canonical (RFC 3986 section 6.2.2): ASCII, letters, digits, `-`, `.`, `_` and `~`
/// never percent-encoded, hex digits of the rest in upper case.
///
/// No `.`, `..` or empty segment (but the last may be empty), no encoded or raw backslash, no encoded slash or control,
/// no `;`, no doubly encoded byte, and the decoded path is UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestTarget {
    /// `path [ "?" query ]`, or `*`.
    text: String,
    path_end: usize,
    /// The path as it was sent, where that differs from the canonical one.
    sent_path: Option<String>,
}

/// Why a request target is refused. The caller is at fault; every kind is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Not origin-form, absolute-form of http(s), or `*` of `OPTIONS`.
    #[error("request target has a form that is not served")]
    Form,
    /// A byte that RFC 3986 does not allow there, or `;`, `#` or a backslash.
    #[error("request target holds a forbidden character")]
    Character,
    /// `%` without two hex digits, or an encoded control character.
    #[error("request target holds a forbidden percent-encoding")]
    Encoding,
    /// `%2F` or `%5C`.
    #[error("path holds an encoded separator")]
    EncodedSeparator,
    /// `%25` before two hex digits: a reader that decodes twice would see another path.
    #[error("path is encoded twice")]
    EncodedTwice,
    /// `.` or `..` as a segment, encoded or not.
    #[error("path holds a dot segment")]
    DotSegment,
    /// `//`.
    #[error("path holds an empty segment")]
    EmptySegment,
    /// The percent-decoded path is not UTF-8, an overlong `/` for example.
    #[error("path is not UTF-8")]
    NotUtf8,
}

impl From<BadTarget> for BadRequest {
    fn from(bad: BadTarget) -> Self {
        Self::Target(bad)
    }
}

impl RequestTarget {
    /// Reads `path [ "?" query ]`: the origin-form of HTTP/1.1, the `:path` of HTTP/2.
    ///
    /// # Errors
    /// [`BadTarget`], by the first byte that breaks a rule.
    ///
    /// Source: RFC 9112 section 3.2.1, RFC 9113 section 8.3.1. Deviation: a query may hold raw `[` and `]`, which common
    /// clients send; `;` is refused in both parts, since origins disagree on what it separates.
    pub fn from_path(raw: &[u8]) -> Result<Self, BadTarget> {
        if raw.first() != Some(&b'/') {
            return Err(BadTarget::Form);
        }
        let path_end = raw.iter().position(|byte| *byte == b'?').unwrap_or(raw.len());
        let (path, query) = raw.split_at_checked(path_end).unwrap_or((raw, b""));
        let mut text = String::with_capacity(raw.len());
        push_path(path, &mut text)?;
        check_segments(&text)?;
        check_encoded_once(&text)?;
        let path_end = text.len();
        let sent_path =
            (text.as_bytes() != path).then(|| path.iter().map(|byte| char::from(*byte)).collect());
        push_query(query, &mut text)?;
        Ok(Self { text, path_end, sent_path })
    }

    /// The target of `OPTIONS *`, which is about the server and not about a path.
    pub(super) fn asterisk() -> Self {
        Self { text: "*".to_owned(), path_end: 1, sent_path: None }
    }

    /// The canonical path, beginning with `/`; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.text.get(..self.path_end).unwrap_or_default()
    }

    /// The query without its `?`, byte for byte as sent; `None` if there was no `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..)
    }

    /// Path and query as the origin receives them.
    pub fn path_and_query(&self) -> &str {
        &self.text
    }

    /// The path as the caller sent it, for checking what the caller signed. Never match or forward it.
    pub fn path_as_sent(&self) -> &str {
        self.sent_path.as_deref().unwrap_or_else(|| self.path())
    }

    /// The path's segments, still percent-encoded; `/` has one empty segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }
}

impl fmt::Debug for RequestTarget {
    /// Sizes only: paths and queries name subjects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestTarget({} bytes of path, {} in all)", self.path_end, self.text.len())
    }
}

/// An absolute-form target, taken apart but not judged.
pub(super) struct Absolute<'a> {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority<'a>,
    /// The rest: empty, or a path, or a query alone.
    pub(super) path: &'a [u8],
}

impl<'a> Absolute<'a> {
    /// `None` if `raw` is not in absolute form, or of a scheme that is not served.
    pub(super) fn parse(raw: &'a [u8]) -> Result<Option<Self>, BadRequest> {
        let (scheme, rest) = if let Some(rest) = strip_ignoring_case(raw, b"http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = strip_ignoring_case(raw, b"https://") {
            (Scheme::Https, rest)
        } else {
            return Ok(None);
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, b""));
        Ok(Some(Self { scheme, authority: Authority::parse(authority)?, path }))
    }
}

fn strip_ignoring_case<'a>(raw: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = raw.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn push_path(raw: &[u8], out: &mut String) -> Result<(), BadTarget> {
    let plain = raw.iter().position(|byte| !is_path_byte(*byte)).unwrap_or(raw.len());
    let (plain, mut rest) = raw.split_at_checked(plain).unwrap_or((raw, b""));
    out.push_str(std::str::from_utf8(plain).map_err(|_| BadTarget::Character)?);
    let mut decoded = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            if !is_path_byte(byte) {
                return Err(BadTarget::Character);
            }
            out.push(char::from(byte));
            decoded.push(byte);
            rest = after;
            continue;
        }
        let (value, after) = triplet(after)?;
        match value {
            b'/' | b'\\' => return Err(BadTarget::EncodedSeparator),
            //= RFC 3986 section 6.2.2.2: unreserved characters are not percent-encoded
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
            _ if value.is_ascii_alphanumeric() => out.push(char::from(value)),
            //= RFC 3986 section 6.2.2.1: hex digits of a triplet in upper case
            _ => {
                out.push('%');
                for nibble in [value >> 4, value & 15] {
                    let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
        decoded.push(value);
        rest = after;
    }
    // What stands before the first `%` is ASCII, so the rest alone decides.
    std::str::from_utf8(&decoded).map_err(|_| BadTarget::NotUtf8)?;
    Ok(())
}

fn check_segments(path: &str) -> Result<(), BadTarget> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(BadTarget::DotSegment),
            "" if segments.peek().is_some() => return Err(BadTarget::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

/// Looks at the canonical path: `%25%34%31` only becomes `%2541` there.
fn check_encoded_once(path: &str) -> Result<(), BadTarget> {
    let twice = path.match_indices("%25").any(|(at, percent)| {
        let digits = path.as_bytes().get(at + percent.len()..at + percent.len() + 2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if twice { Err(BadTarget::EncodedTwice) } else { Ok(()) }
}

fn push_query(raw: &[u8], out: &mut String) -> Result<(), BadTarget> {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => triplet(after)?.1,
            b'?' | b'[' | b']' => after,
            _ if is_path_byte(byte) => after,
            _ => return Err(BadTarget::Character),
        };
    }
    out.push_str(std::str::from_utf8(raw).map_err(|_| BadTarget::Character)?);
    Ok(())
}

/// The byte that two hex digits at the start of `digits` encode, and what follows them. Controls are refused.
fn triplet(digits: &[u8]) -> Result<(u8, &[u8]), BadTarget> {
    let (digits, after) = digits.split_at_checked(2).ok_or(BadTarget::Encoding)?;
    let mut value = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16).ok_or(BadTarget::Encoding)?;
        value = value * 16 + digit;
    }
    let value = u8::try_from(value).map_err(|_| BadTarget::Encoding)?;
    if value.is_ascii_control() { Err(BadTarget::Encoding) } else { Ok((value, after)) }
}

/// `pchar` and `/` of RFC 3986, without `%` and without `;`.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(raw: &str, expected: Result<(&str, Option<&str>), BadTarget>) {
        let target = RequestTarget::from_path(raw.as_bytes());
        let seen = target.as_ref().map(|t| (t.path(), t.query())).map_err(|e| *e);
        assert_eq!(seen, expected, "{raw}");
    }

    #[test]
    fn policy_and_origin_see_one_spelling() {
        check("/", Ok(("/", None)));
        check("/v1/accounts/42?fields=a,b", Ok(("/v1/accounts/42", Some("fields=a,b"))));
        check("/a/", Ok(("/a/", None)));
        check("/a?", Ok(("/a", Some(""))));
        check("/%61%2Db%7e", Ok(("/a-b~", None)));
        check("/jane%40example.com", Ok(("/jane%40example.com", None)));
        check("/caf%c3%a9", Ok(("/caf%C3%A9", None)));
        check("/a%20b%3b", Ok(("/a%20b%3B", None)));
        check("/100%25", Ok(("/100%25", None)));
        check("/f%2ejson", Ok(("/f.json", None)));
        check("/...", Ok(("/...", None)));
        check(
            "/a?x=%2F..//%5c&filter[name]=a?b",
            Ok(("/a", Some("x=%2F..//%5c&filter[name]=a?b"))),
        );
    }

    #[test]
    fn tricks_are_refused() {
        use BadTarget::{
            Character, DotSegment, EmptySegment, EncodedSeparator, EncodedTwice, Encoding, Form,
            NotUtf8,
        };
        let table = [
            (Form, &["", "a", "http:/a", "?a", "*"][..]),
            (
                Character,
                &[
                    "/a;b",
                    "/a\\b",
                    "/a#b",
                    "/a b",
                    "/a\"",
                    "/<",
                    "/caf\u{e9}",
                    "/a?b c",
                    "/a?b#c",
                    "/a?b;c",
                    "/[",
                    "/a\t",
                    "/\0",
                    "/a?\\",
                    "/a|b",
                ],
            ),
            (
                Encoding,
                &[
                    "/%",
                    "/%4",
                    "/%4g",
                    "/%g4",
                    "/%00",
                    "/%0d%0aX:y",
                    "/%7f",
                    "/a?%",
                    "/a?%zz",
                    "/a?%00",
                    "/a?%0A",
                    "/%+1",
                ],
            ),
            (EncodedSeparator, &["/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb", "/%2f"]),
            (EncodedTwice, &["/%252e%252e/", "/%252f", "/%2500", "/%25%34%31", "/%25%32f"]),
            (
                DotSegment,
                &[
                    "/.",
                    "/..",
                    "/a/../b",
                    "/a/./b",
                    "/%2e",
                    "/%2e%2E/a",
                    "/a/.%2e",
                    "/a/%2e./b",
                    "/../",
                ],
            ),
            (EmptySegment, &["//", "//a", "/a//b", "/a//"]),
            (NotUtf8, &["/%c0%af", "/%c0%ae%c0%ae/", "/%ff", "/%c3", "/%c3/%a9", "/%ed%a0%80"]),
        ];
        for (reason, paths) in table {
            for path in paths {
                check(path, Err(reason));
            }
        }
    }

    #[test]
    fn what_the_caller_signed_stays_available() {
        let target = RequestTarget::from_path(b"/%7Ea?q").unwrap();
        assert_eq!((target.path(), target.path_as_sent()), ("/~a", "/%7Ea"));
        assert_eq!(target.segments().collect::<Vec<_>>(), ["~a"]);
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(raw in "/([a-z~./?]|%[0-9a-fA-F]{2}|%|;|é){0,12}") {
            if let Ok(target) = RequestTarget::from_path(raw.as_bytes()) {
                let again = RequestTarget::from_path(target.path_and_query().as_bytes()).unwrap();
                prop_assert_eq!(again.path_and_query(), target.path_and_query());
                prop_assert_eq!(again.path_as_sent(), target.path());
            }
        }

        #[test]
        fn accepted_paths_decode_to_the_same_segments(raw in "/([a-zA-Z/.]|%[2-7][0-9a-f]){0,12}") {
            let decode = |text: &str| {
                let mut out = Vec::new();
                let mut bytes = text.bytes();
                while let Some(byte) = bytes.next() {
                    out.push(if byte == b'%' {
                        let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                        u8::from_str_radix(&hex, 16).unwrap()
                    } else { byte });
                }
                out
            };
            if let Ok(target) = RequestTarget::from_path(raw.as_bytes()) {
                let decoded = decode(target.path());
                prop_assert_eq!(&decoded, &decode(&raw));
                prop_assert_eq!(decoded.split(|b| *b == b'/').count(), target.segments().count() + 1);
            }
        }
    }
}
