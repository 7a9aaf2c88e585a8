//! Replies to the client: heads with framing that is ours, chunks, and nothing a field value could smuggle in.

use super::method::Method;
use super::names;

/// The interim reply that lets a client send the content it announced with `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The end of a chunked reply. Written only when all of the content was: an aborted stream never ends cleanly.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What the head of a reply says beyond its fields.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The value of `Date`, from [`http_date`](super::date::http_date).
    pub date: &'a [u8; 29],
    /// False writes `Connection: close`. After a [`BadRequest`](super::BadRequest) it must be false.
    pub keep_alive: bool,
    /// The method of the request; a reply to `HEAD` has no content.
    pub method: Method,
}

/// How the reply's content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length` with this many bytes.
    Length(u64),
    /// Chunked. Only for a client whose [`can_stream`](super::server::RequestHead::can_stream) holds.
    Chunked,
}

/// Whether content follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Write it next.
    Follows,
    /// A reply to `HEAD`, 204 or 304: write none.
    None,
}

/// Something that cannot be written as HTTP. The caller of this module is at fault; nothing of it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritable {
    /// A status outside 200 to 599.
    #[error("status is not that of a final reply")]
    Status,
    /// Content for 204.
    #[error("status allows no content")]
    Content,
    /// A field name that is no token, or a value with a control character or outer whitespace.
    #[error("field is malformed")]
    Field,
    /// A field that the codec writes itself, or that belongs to one connection.
    #[error("field belongs to the connection")]
    ConnectionField,
    /// A host that is none.
    #[error("host is malformed")]
    Host,
}

/// Appends a reply's head to `out`.
///
/// `fields`: end-to-end fields, written as given and in that order; `Date`, `Connection` and framing are added here.
///
/// # Errors
/// [`NotWritable`]; `out` is as before.
///
/// Source: RFC 9112 sections 4 and 6, RFC 9110 sections 6.4.1 and 8.6.
pub fn reply_head<'f>(
    out: &mut Vec<u8>,
    head: &ReplyHead<'_>,
    fields: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    framing: Framing,
) -> Result<Content, NotWritable> {
    let start = out.len();
    let written = write_reply_head(out, head, fields, framing);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends one chunk to `out`. Empty `data` appends nothing, since an empty chunk would end the content.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let mut digits = [b'0'; 16];
    let mut left = data.len();
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef".get(left & 15).copied().unwrap_or(b'0');
        left >>= 4;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - used..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

fn write_reply_head<'f>(
    out: &mut Vec<u8>,
    head: &ReplyHead<'_>,
    fields: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    framing: Framing,
) -> Result<Content, NotWritable> {
    if !(200..=599).contains(&head.status) {
        return Err(NotWritable::Status);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(head.date);
    out.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        if !name.eq_ignore_ascii_case("date") {
            end_to_end_field(out, name, value)?;
        }
    }
    if !head.keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    let content = match (head.status, framing) {
        //= RFC 9110 section 8.6: no `Content-Length` in a 204
        (204, Framing::Length(0)) => Content::None,
        (204, _) => return Err(NotWritable::Content),
        (304, _) => Content::None,
        (_, Framing::Length(length)) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
            Content::Follows
        }
        (_, Framing::Chunked) => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Content::Follows
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(if head.method == Method::Head { Content::None } else { content })
}

/// Appends a field, unless it is malformed or one that only the codec writes.
pub(super) fn end_to_end_field(
    out: &mut Vec<u8>,
    name: &str,
    value: &[u8],
) -> Result<(), NotWritable> {
    if names::belongs_to_connection(name.as_bytes()) {
        return Err(NotWritable::ConnectionField);
    }
    if !names::is_token(name.as_bytes()) || !names::is_value(value) {
        return Err(NotWritable::Field);
    }
    field(out, name, value);
    Ok(())
}

/// Appends a field without looking at it.
pub(super) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let mut left = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit =
            b"0123456789".get(usize::try_from(left % 10).unwrap_or(0)).copied().unwrap_or(b'0');
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// The phrases of RFC 9110 section 15 and RFC 6585 for what the gateway and its origins answer; clients ignore them.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn check(
        status: u16,
        method: Method,
        keep_alive: bool,
        fields: &[(&str, &[u8])],
        framing: Framing,
        expected: Result<(&str, Content), NotWritable>,
    ) {
        let mut out = b"before".to_vec();
        let head = ReplyHead { status, date: DATE, keep_alive, method };
        let content = reply_head(&mut out, &head, fields.iter().copied(), framing);
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix("before").unwrap();
        let seen = content.map(|content| (text, content));
        assert_eq!(seen, expected);
        assert!(content.is_ok() || text.is_empty());
    }

    #[test]
    fn framing_is_ours() {
        use Content::{Follows, None};
        use Framing::{Chunked, Length};
        let json: &[(&str, &[u8])] = &[("Content-Type", b"application/json")];
        check(
            200,
            Method::Get,
            true,
            json,
            Length(12),
            Ok((
                "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n",
                Follows,
            )),
        );
        check(
            200,
            Method::Head,
            true,
            &[],
            Length(12),
            Ok((
                "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 12\r\n\r\n",
                None,
            )),
        );
        check(
            400,
            Method::Get,
            false,
            &[],
            Length(0),
            Ok((
                "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                Follows,
            )),
        );
        check(
            200,
            Method::Get,
            true,
            &[],
            Chunked,
            Ok((
                "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nTransfer-Encoding: chunked\r\n\r\n",
                Follows,
            )),
        );
        check(
            204,
            Method::Get,
            true,
            &[("date", b"mine")],
            Length(0),
            Ok(("HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", None)),
        );
        check(
            304,
            Method::Get,
            true,
            &[],
            Length(7),
            Ok(("HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", None)),
        );
        check(
            299,
            Method::Get,
            true,
            &[],
            Length(u64::MAX),
            Ok((
                "HTTP/1.1 299 \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 18446744073709551615\r\n\r\n",
                Follows,
            )),
        );
    }

    #[test]
    fn nothing_is_smuggled_through_a_field() {
        let refuse = |fields: &[(&str, &[u8])], reason| {
            check(200, Method::Get, true, fields, Framing::Length(0), Err(reason));
        };
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Upgrade",
            "Trailer",
            "Keep-Alive",
            "Host",
        ] {
            refuse(&[("X", b"y"), (name, b"1")], NotWritable::ConnectionField);
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
            refuse(&[(name, b"1")], NotWritable::Field);
        }
        for value in [&b"a\r\nSet-Cookie: b"[..], b"a\nb", b"a\rb", b"a\0", b"\x7f", b" a", b"a\t"]
        {
            refuse(&[("X", value)], NotWritable::Field);
        }
        check(101, Method::Get, true, &[], Framing::Length(0), Err(NotWritable::Status));
        check(600, Method::Get, true, &[], Framing::Length(0), Err(NotWritable::Status));
        check(204, Method::Get, true, &[], Framing::Length(1), Err(NotWritable::Content));
        check(204, Method::Get, true, &[], Framing::Chunked, Err(NotWritable::Content));
    }

    #[test]
    fn chunks_carry_their_size_in_hex() {
        let mut out = Vec::new();
        chunk(&mut out, b"hello");
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 26]);
        out.extend_from_slice(LAST_CHUNK);
        assert_eq!(out, [&b"5\r\nhello\r\n1a\r\n"[..], &[b'x'; 26], b"\r\n0\r\n\r\n"].concat());
    }
}
