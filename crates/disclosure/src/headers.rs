//! Which headers cross the gateway: out, those that are declared and classified; in, those that are declared. Some never.

use crate::contract::operation::Answer;
use model::ClassSet;

/// Headers of the connection or of the framing, which each side makes for itself (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether an origin's header of this name (lower case) stays, whatever the contract says: sessions are the origin's secret, and what
/// describes the undisclosed body would describe what was withheld.
pub(crate) fn is_never_released(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || [
            "accept-ranges",
            "content-encoding",
            "content-md5",
            "content-range",
            "content-type",
            "digest",
            "etag",
            "repr-digest",
            "set-cookie",
            "set-cookie2",
            "www-authenticate",
        ]
        .contains(&name)
}

/// Whether a caller's header of this name (lower case) stays, even if the contract declares it: credentials and identities are
/// replaced, and a conditional or ranged answer would be one the filter cannot judge.
pub(crate) fn is_never_forwarded(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || ["if-", "x-forwarded-", "client-cert", "ssl-client-", "x-client-", "x-ssl-"]
            .iter()
            .any(|family| name.starts_with(family))
        || [
            "accept",
            "accept-encoding",
            "authorization",
            "content-encoding",
            "content-type",
            "cookie",
            "dpop",
            "expect",
            "forwarded",
            "host",
            "range",
            "signature",
            "signature-input",
        ]
        .contains(&name)
}

/// The lower-case `type/subtype` of a media type; `None` if it is not one.
pub(crate) fn media_type(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let essence = text.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    (is_token(kind) && is_token(subtype)).then_some(essence)
}

/// Whether a media type holds JSON: `application/json`, `text/json` or a `+json` suffix (RFC 6839 section 3.1).
pub(crate) fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The value of the only header called `name`.
///
/// # Errors
/// `Err` if it stands more than once, or its value cannot be read as ASCII.
pub(crate) fn only<'a>(
    headers: &'a [(String, Vec<u8>)],
    name: &str,
) -> Result<Option<&'a [u8]>, ()> {
    let mut values = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let first = values.next().map(|(_, value)| value.as_slice());
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// The origin's headers that are declared for this answer and granted, and their classes.
pub(crate) fn released(
    headers: Vec<(String, Vec<u8>)>,
    answer: &Answer,
    granted: &ClassSet,
) -> (Vec<(String, Vec<u8>)>, ClassSet) {
    let mut classes = ClassSet::EMPTY;
    let mut kept = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let declared = answer.headers.iter().find(|(known, _)| *known == name);
        let Some((_, needs)) = declared.filter(|(_, needs)| needs.is_subset(granted)) else {
            continue;
        };
        let is_text = value.iter().all(|&b| b == b'\t' || b == b' ' || b.is_ascii_graphic());
        if is_text && !is_never_released(&name) {
            classes = classes.union(needs);
            kept.push((name, value));
        }
    }
    (kept, classes)
}
