//! Which field names have a meaning to the connection, and which speak of identity.

/// Fields that frame a message or belong to one connection (RFC 9110 sections 7.6.1 and 7.8, RFC 9112 section 9).
/// The codec writes these itself or not at all.
const CONNECTION: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Inbound fields by which a caller could say who it is, where it is, what it holds, or which address it meant.
/// Only the gateway says that to the origin.
const IDENTITY: [&str; 24] = [
    "authorization",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "forwarded",
    "from",
    "origin",
    "referer",
    "signature",
    "signature-input",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "via",
    "x-api-key",
    "x-cluster-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Families of the same kind, by prefix.
//= RFC 9700 section 4.13: header fields that claim an identity are not believed and not passed on
const IDENTITY_PREFIXES: [&str; 10] = [
    "cf-",
    "client-cert",
    "portcullis-",
    "sec-",
    "ssl-client-",
    "x-amzn-",
    "x-auth",
    "x-client-",
    "x-forwarded",
    "x-ssl-",
];

/// Conditional and range fields would let an origin answer about bytes the field filter has not seen, and
/// `Accept-Encoding` would choose a coding it cannot read.
const SELECTING: [&str; 8] = [
    "accept-encoding",
    "a-im",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// Fields that may not come after the content they would have changed the reading of (RFC 9110 section 6.5.1).
const TOO_LATE: [&str; 12] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    "expires",
    "pragma",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// Whether the codec alone may write this field.
pub(super) fn belongs_to_connection(name: &[u8]) -> bool {
    is_in(&CONNECTION, name)
}

/// Whether a caller's value of this field may never reach an origin.
pub(super) fn never_forwarded(name: &[u8]) -> bool {
    // A CGI-style origin reads `Content_Length` as `Content-Length`, so a name with `_` has two meanings.
    belongs_to_connection(name)
        || is_in(&IDENTITY, name)
        || is_in(&SELECTING, name)
        || name.contains(&b'_')
        || IDENTITY_PREFIXES.iter().any(|prefix| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
}

/// Whether this field may not stand in a trailer section.
pub(super) fn forbidden_in_trailer(name: &[u8]) -> bool {
    never_forwarded(name) || is_in(&TOO_LATE, name)
}

/// Whether `name` is a token, the form of methods and field names (RFC 9110 section 5.6.2).
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token_byte)
}

/// Whether `byte` may stand in a token.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `value` may be written as a field value: no CR, LF, NUL or other control but HTAB, no space around it.
pub(super) fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first())
        && !blank(value.last())
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn is_in(list: &[&str], name: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}
