//! Secrets in free text: token formats that are recognisable by themselves, found so that they can be masked.
//!
//! A net under careless users (a key pasted into a ticket), not a scanner: only formats whose first characters give them away.

use crate::json::scan::unescape;
use std::ops::Range;

/// A format: how it starts, which bytes go on, and how many of those at least make it a secret.
struct Format {
    prefix: &'static [u8],
    body: fn(u8) -> bool,
    body_min: usize,
}

const FORMATS: [Format; 13] = [
    // AWS access key ids: 4 letters of kind, 16 of base32.
    Format { prefix: b"AKIA", body: upper_or_digit, body_min: 16 },
    Format { prefix: b"ASIA", body: upper_or_digit, body_min: 16 },
    // GitHub tokens: personal, OAuth, user-to-server, server-to-server, refresh; fine-grained.
    Format { prefix: b"ghp_", body: word, body_min: 16 },
    Format { prefix: b"gho_", body: word, body_min: 16 },
    Format { prefix: b"ghu_", body: word, body_min: 16 },
    Format { prefix: b"ghs_", body: word, body_min: 16 },
    Format { prefix: b"ghr_", body: word, body_min: 16 },
    Format { prefix: b"github_pat_", body: word, body_min: 16 },
    // Stripe live keys.
    Format { prefix: b"sk_live_", body: word, body_min: 10 },
    // Slack tokens.
    Format { prefix: b"xoxa-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxb-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxp-", body: word_or_dash, body_min: 8 },
    // A JWT: a base64url JSON object, a dot and more.
    Format { prefix: b"eyJ", body: token, body_min: 16 },
];

/// `name=value` and `name: value`, any case.
const NAMES: [&[u8]; 5] = [b"password", b"passwd", b"secret", b"api_key", b"apikey"];

fn upper_or_digit(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn word_or_dash(b: u8) -> bool {
    word(b) || b == b'-'
}

fn token(b: u8) -> bool {
    word_or_dash(b) || b == b'.'
}

/// The secrets in the inside of a JSON string, as spans of its raw bytes that never cut an escape in two.
pub(crate) fn find_in_json(raw: &[u8], escaped: bool) -> Vec<Range<usize>> {
    if !escaped {
        return find(raw);
    }
    let mut places = Vec::with_capacity(raw.len());
    let text = unescape(raw, |start, length| places.push(start..start + length));
    let span = |found: Range<usize>| {
        let first = places.get(found.start)?.start;
        let last = places.get(found.end.checked_sub(1)?)?.end;
        Some(first..last)
    };
    find(&text).into_iter().filter_map(span).collect()
}

/// The secrets in `text`, in order, apart from each other.
pub(crate) fn find(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut before = None;
    while let Some(&byte) = text.get(at) {
        let length = match byte {
            b'-' => private_key(text, at),
            _ if before.is_some_and(|b: u8| b.is_ascii_alphanumeric()) => None,
            b'A' | b'a' | b'e' | b'g' | b's' | b'x' | b'p' | b'P' | b'S' => {
                let rest = text.get(at..).unwrap_or_default();
                FORMATS
                    .iter()
                    .find_map(|format| format.length(rest))
                    .map(|n| at..at + n)
                    .or_else(|| named_value(rest).map(|value| at + value.start..at + value.end))
            }
            _ => None,
        };
        match length {
            Some(span) => {
                at = span.end;
                before = None;
                found.push(span);
            }
            None => {
                before = Some(byte);
                at += 1;
            }
        }
    }
    found
}

impl Format {
    fn length(&self, rest: &[u8]) -> Option<usize> {
        let body = rest.strip_prefix(self.prefix)?;
        let length = body.iter().take_while(|&&b| (self.body)(b)).count();
        (length >= self.body_min).then_some(self.prefix.len() + length)
    }
}

/// A PEM private key: from its first line to the end of its last, or of the text if that is missing.
fn private_key(text: &[u8], at: usize) -> Option<Range<usize>> {
    const KIND_BYTES_MAX: usize = 32;
    let rest = text.get(at..)?.strip_prefix(b"-----BEGIN ")?;
    let label = rest.get(..rest.len().min(KIND_BYTES_MAX))?;
    position(label, b"PRIVATE KEY-----")?;
    let end = position(rest, b"-----END ")
        .and_then(|end| Some(end + 9 + position(rest.get(end + 9..)?, b"-----")? + 5))
        .unwrap_or(rest.len());
    let start = text.len() - rest.len();
    Some(at..start + end)
}

/// The value of `password=value` at the start of `rest`.
fn named_value(rest: &[u8]) -> Option<Range<usize>> {
    let name = NAMES.iter().find(|name| {
        rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    })?;
    let after = rest.get(name.len()..)?;
    let gap = after.iter().take_while(|&&b| b == b' ').count();
    after.get(gap).filter(|&&b| b == b'=' || b == b':')?;
    let value = after.get(gap + 1..)?;
    let lead = value.iter().take_while(|&&b| b == b' ').count();
    let length = value
        .iter()
        .skip(lead)
        .take_while(|b| !b.is_ascii_whitespace() && !b.is_ascii_control())
        .count();
    let start = name.len() + gap + 1 + lead;
    (length > 0).then_some(start..start + length)
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
