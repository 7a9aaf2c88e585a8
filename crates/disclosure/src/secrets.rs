//! Secrets in free text: token formats that are recognisable by themselves, found so that they can be masked.
//!
//! A net under careless users (a key pasted into a ticket), not a scanner: formats whose first characters give them away, values that stand
//! behind a name that says what they are, and long random values behind a word that often does. What looks like neither passes.

use crate::json::scan::unescape;
use std::ops::Range;

/// A format: how it starts, which bytes go on, and how many of those at least make it a secret.
struct Format {
    prefix: &'static [u8],
    body: fn(u8) -> bool,
    body_min: usize,
}

const FORMATS: [Format; 68] = [
    // AWS access key ids: 4 letters of kind, 16 of base32.
    Format { prefix: b"AKIA", body: upper_or_digit, body_min: 16 },
    Format { prefix: b"ASIA", body: upper_or_digit, body_min: 16 },
    Format { prefix: b"ABIA", body: upper_or_digit, body_min: 16 },
    Format { prefix: b"ACCA", body: upper_or_digit, body_min: 16 },
    // GitHub: personal, OAuth, user-to-server, server-to-server, refresh; fine-grained.
    Format { prefix: b"ghp_", body: word, body_min: 16 },
    Format { prefix: b"gho_", body: word, body_min: 16 },
    Format { prefix: b"ghu_", body: word, body_min: 16 },
    Format { prefix: b"ghs_", body: word, body_min: 16 },
    Format { prefix: b"ghr_", body: word, body_min: 16 },
    Format { prefix: b"github_pat_", body: word, body_min: 16 },
    // GitLab: personal, deploy, runner, trigger.
    Format { prefix: b"glpat-", body: token, body_min: 16 },
    Format { prefix: b"gldt-", body: token, body_min: 16 },
    Format { prefix: b"glrt-", body: token, body_min: 16 },
    Format { prefix: b"glptt-", body: token, body_min: 16 },
    // Stripe: secret and restricted keys, webhook secrets.
    Format { prefix: b"sk_live_", body: word, body_min: 10 },
    Format { prefix: b"rk_live_", body: word, body_min: 10 },
    Format { prefix: b"sk_test_", body: word, body_min: 10 },
    Format { prefix: b"rk_test_", body: word, body_min: 10 },
    Format { prefix: b"whsec_", body: word, body_min: 16 },
    // Slack: tokens of every kind, app-level tokens, webhooks.
    Format { prefix: b"xoxa-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxb-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxp-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxr-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxs-", body: word_or_dash, body_min: 8 },
    Format { prefix: b"xoxe-", body: token, body_min: 8 },
    Format { prefix: b"xoxe.", body: token, body_min: 8 },
    Format { prefix: b"xapp-", body: word_or_dash, body_min: 16 },
    Format { prefix: b"hooks.slack.com/services/", body: path, body_min: 20 },
    // Google: API keys, OAuth access tokens, OAuth client secrets.
    Format { prefix: b"AIza", body: word_or_dash, body_min: 35 },
    Format { prefix: b"ya29.", body: token, body_min: 20 },
    Format { prefix: b"GOCSPX-", body: word_or_dash, body_min: 20 },
    // Registries: npm, PyPI (a macaroon of pypi.org or test.pypi.org), RubyGems, Docker.
    Format { prefix: b"npm_", body: alphanumeric, body_min: 30 },
    Format { prefix: b"pypi-AgE", body: word_or_dash, body_min: 40 },
    Format { prefix: b"rubygems_", body: hex, body_min: 40 },
    Format { prefix: b"dckr_pat_", body: word_or_dash, body_min: 20 },
    // Model providers: OpenAI, Anthropic, Hugging Face.
    Format { prefix: b"sk-proj-", body: word_or_dash, body_min: 20 },
    Format { prefix: b"sk-svcacct-", body: word_or_dash, body_min: 20 },
    Format { prefix: b"sk-ant-", body: word_or_dash, body_min: 20 },
    Format { prefix: b"sk-", body: alphanumeric, body_min: 40 },
    Format { prefix: b"hf_", body: alphanumeric, body_min: 30 },
    // Clouds and hosts: DigitalOcean, Databricks, HashiCorp Vault, Fly, PlanetScale, Supabase.
    Format { prefix: b"dop_v1_", body: hex, body_min: 64 },
    Format { prefix: b"doo_v1_", body: hex, body_min: 64 },
    Format { prefix: b"dor_v1_", body: hex, body_min: 64 },
    Format { prefix: b"dapi", body: hex, body_min: 32 },
    Format { prefix: b"hvs.", body: token, body_min: 24 },
    Format { prefix: b"fo1_", body: word_or_dash, body_min: 30 },
    Format { prefix: b"pscale_tkn_", body: token, body_min: 20 },
    Format { prefix: b"sbp_", body: hex, body_min: 40 },
    // Shops and mail: Shopify, Square, SendGrid, Mailgun, Twilio.
    Format { prefix: b"shpat_", body: hex, body_min: 32 },
    Format { prefix: b"shpss_", body: hex, body_min: 32 },
    Format { prefix: b"shpca_", body: hex, body_min: 32 },
    Format { prefix: b"shppa_", body: hex, body_min: 32 },
    Format { prefix: b"sq0atp-", body: word_or_dash, body_min: 20 },
    Format { prefix: b"sq0csp-", body: word_or_dash, body_min: 20 },
    Format { prefix: b"SG.", body: token, body_min: 60 },
    Format { prefix: b"key-", body: hex, body_min: 32 },
    Format { prefix: b"SK", body: hex, body_min: 32 },
    // Others: Atlassian, Grafana, New Relic, Postman, Linear, Notion, Doppler, Sentry, age.
    Format { prefix: b"ATATT3", body: equals, body_min: 60 },
    Format { prefix: b"glsa_", body: word, body_min: 30 },
    Format { prefix: b"glc_", body: equals, body_min: 30 },
    Format { prefix: b"NRAK-", body: alphanumeric, body_min: 20 },
    Format { prefix: b"PMAK-", body: word_or_dash, body_min: 40 },
    Format { prefix: b"lin_api_", body: alphanumeric, body_min: 30 },
    Format { prefix: b"ntn_", body: alphanumeric, body_min: 30 },
    Format { prefix: b"dp.pt.", body: alphanumeric, body_min: 30 },
    Format { prefix: b"sntrys_", body: token, body_min: 30 },
    Format { prefix: b"AGE-SECRET-KEY-1", body: upper_or_digit, body_min: 40 },
    // A JWT: a base64url JSON object, a dot and more.
    Format { prefix: b"eyJ", body: token, body_min: 16 },
];

/// `name=value` and `name: value`, any case: whatever the value is.
const NAMES: [&[u8]; 7] =
    [b"password", b"passwd", b"passphrase", b"secret", b"api_key", b"apikey", b"accountkey"];

/// Words that stand before other things too: only a value that looks random is one.
const MAYBE_NAMES: [&[u8]; 8] = [
    b"token",
    b"key",
    b"pwd",
    b"credentials",
    b"credential",
    b"authorization",
    b"auth",
    b"signature",
];

/// Words before a token, with nothing but a space between.
const SCHEMES: [&[u8]; 2] = [b"bearer", b"basic"];

/// Fewer bytes say too little about whether they are random.
const RANDOM_BYTES_MIN: usize = 16;

/// Bits in a byte by the frequencies in the value itself. English words of 16 letters have about 3, of a base64 alphabet 4 and more.
const RANDOM_BITS_MIN: f64 = 3.2;

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

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn path(b: u8) -> bool {
    word(b) || b == b'/'
}

fn equals(b: u8) -> bool {
    token(b) || b == b'='
}

/// What tokens of no known format are made of: base64, base64url, and dots.
fn opaque(b: u8) -> bool {
    equals(b) || b == b'+' || b == b'/'
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
        let rest = text.get(at..).unwrap_or_default();
        let length = match byte {
            b'-' => private_key(text, at),
            b':' => password_in_url(rest).map(|span| at + span.start..at + span.end),
            _ if before.is_some_and(|b: u8| b.is_ascii_alphanumeric()) => None,
            _ if byte.is_ascii_alphabetic() => {
                let format = FORMATS
                    .iter()
                    .filter(|format| format.prefix.first() == Some(&byte))
                    .find_map(|format| format.length(rest));
                let value = || named_value(rest).map(|value| at + value.start..at + value.end);
                format.map(|length| at..at + length).or_else(value)
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
    position(label, b"PRIVATE KEY")?;
    let end = position(rest, b"-----END ")
        .and_then(|end| Some(end + 9 + position(rest.get(end + 9..)?, b"-----")? + 5))
        .unwrap_or(rest.len());
    let start = text.len() - rest.len();
    Some(at..start + end)
}

/// The value of `password=value` at the start of `rest`; of `token=value` and `Bearer value` only one that looks random.
fn named_value(rest: &[u8]) -> Option<Range<usize>> {
    let starts = |name: &&&[u8]| {
        rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    if let Some(name) = NAMES.iter().find(starts) {
        return value_after(rest, name.len()).filter(|value| !value.is_empty());
    }
    let value = if let Some(name) = MAYBE_NAMES.iter().find(starts) {
        value_after(rest, name.len())?
    } else {
        let name = SCHEMES.iter().find(starts)?;
        let after = rest.get(name.len()..)?;
        let gap = after.iter().take_while(|&&b| b == b' ').count();
        let start = name.len() + gap;
        let length = rest.get(start..)?.iter().take_while(|b| opaque(**b)).count();
        if gap == 0 { None } else { Some(start..start + length) }?
    };
    // Quotes around it, or a full stop after it, are not part of what looks random.
    let inside = rest.get(value.clone())?;
    let lead = inside.iter().take_while(|&&b| !opaque(b)).count();
    let length = inside.iter().skip(lead).take_while(|b| opaque(**b)).count();
    let start = value.start + lead;
    let value = start..start + length;
    looks_random(rest.get(value.clone())?).then_some(value)
}

/// Where the value stands that follows a name of `length` bytes, the name's closing quote, and `=` or `:`. To the next space.
fn value_after(rest: &[u8], length: usize) -> Option<Range<usize>> {
    let spaces = |at: usize| {
        rest.get(at..).map_or(0, |after| after.iter().take_while(|&&b| b == b' ').count())
    };
    let mut at = length;
    at += usize::from(matches!(rest.get(at), Some(b'"' | b'\'')));
    at += spaces(at);
    rest.get(at).filter(|&&b| b == b'=' || b == b':')?;
    at += 1;
    at += spaces(at);
    let value = rest.get(at..)?;
    let length =
        value.iter().take_while(|b| !b.is_ascii_whitespace() && !b.is_ascii_control()).count();
    Some(at..at + length)
}

/// Whether no word and no number looks like this: letters and digits, long, and no byte much more often than others.
fn looks_random(value: &[u8]) -> bool {
    if value.len() < RANDOM_BYTES_MIN
        || !value.iter().any(u8::is_ascii_digit)
        || !value.iter().any(u8::is_ascii_alphabetic)
    {
        return false;
    }
    let mut counts = [0_u32; 256];
    for &byte in value {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count = count.saturating_add(1);
        }
    }
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let bits = |&count: &u32| {
        let share = f64::from(count) / total;
        if count == 0 { 0.0 } else { -share * share.log2() }
    };
    counts.iter().map(bits).sum::<f64>() >= RANDOM_BITS_MIN
}

/// The password of `://user:password@host` at the start of `rest`.
fn password_in_url(rest: &[u8]) -> Option<Range<usize>> {
    const AUTHORITY_BYTES_MAX: usize = 512;
    let after = rest.strip_prefix(b"://")?;
    let ends =
        |b: &&u8| !b.is_ascii_whitespace() && !b.is_ascii_control() && !b"/?#\"<>".contains(b);
    let authority = after.iter().take(AUTHORITY_BYTES_MAX).take_while(ends).count();
    let authority = after.get(..authority)?;
    let at = authority.iter().rposition(|&b| b == b'@')?;
    let colon = authority.get(..at)?.iter().position(|&b| b == b':')?;
    (colon + 1 < at).then_some(3 + colon + 1..3 + at)
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests;
