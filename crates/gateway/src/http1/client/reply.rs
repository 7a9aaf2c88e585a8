//! The origin's reply: where it ends, and its end-to-end fields.

use bytes::BytesMut;

use crate::http1::body::{BadBody, BodyLength};
use crate::http1::fields::{self, BadFields, Fields, Line};
use crate::http1::method::Method;
use crate::http1::names;
use crate::http1::server::{MAX_HEAD, MAX_REQUEST_LINE, parse_length};

/// Interim replies (1xx) tolerated before the final one.
const MAX_INTERIM: u8 = 4;

/// A reply that cannot be believed. The origin is at fault: answer 502, release nothing, close the connection to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// Not `HTTP/1.x SP status SP reason CRLF`.
    #[error("status line is malformed")]
    StatusLine,
    /// A line ends in LF alone, or a field line is malformed, or there are too many.
    #[error("fields are malformed")]
    Fields,
    /// Longer than [`MAX_HEAD`].
    #[error("head is too long")]
    HeadTooLong,
    /// More interim replies than are tolerated.
    #[error("too many interim replies")]
    TooManyInterim,
    /// 101, which was never asked for.
    #[error("origin switched protocols")]
    Switched,
    /// `Content-Length` is malformed or repeated.
    #[error("`Content-Length` is malformed or repeated")]
    Length,
    /// `Transfer-Encoding` is not exactly one `chunked`, or the reply is HTTP/1.0.
    #[error("`Transfer-Encoding` is not exactly `chunked`")]
    Coding,
    /// Both of them.
    #[error("`Content-Length` and `Transfer-Encoding` are both present")]
    LengthAndCoding,
    /// Neither of them, without `Connection: close`.
    #[error("content has no length")]
    NoLength,
    /// A 204 that announces content.
    #[error("status allows no content")]
    ContentForbidden,
    /// The content breaks its framing or is too long.
    #[error("content is malformed")]
    Body(#[from] BadBody),
}

/// The head of an origin's final reply.
#[derive(Debug)]
pub struct OriginReplyHead {
    /// 200 to 999.
    pub status: u16,
    /// End-to-end fields only: framing, fields of the connection and those that `Connection` names are gone.
    pub fields: Fields,
    /// How long the content is. [`BodyLength::UntilClose`] content may be truncated without a trace.
    pub body: BodyLength,
    /// Whether the connection may carry another request once the content is complete.
    pub keep_alive: bool,
}

/// Reads the reply to one request.
#[derive(Debug)]
pub struct ReplyReader {
    method: Method,
    interim: u8,
}

impl ReplyReader {
    /// For the reply to a request with this method.
    pub const fn new(method: Method) -> Self {
        Self { method, interim: 0 }
    }

    /// Takes the head of the final reply off the front of `buffer`, and interim replies before it.
    ///
    /// Returns `None` while it is incomplete. The outcome does not depend on how the bytes were split.
    ///
    /// # Errors
    /// [`BadReply`], but never `Body`.
    ///
    /// Source: RFC 9112 sections 4 and 6.3. Deviations, all stricter: a lone LF ends no line, equal repeated lengths are
    /// refused, and content until close needs `Connection: close` or HTTP/1.0.
    pub fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<OriginReplyHead>, BadReply> {
        loop {
            let window = buffer.get(..buffer.len().min(MAX_HEAD)).unwrap_or_default();
            let Some((line_end, http11, status)) = status_line(window)? else { return Ok(None) };
            if status == 101 {
                return Err(BadReply::Switched);
            }
            let parsed = fields::parse_lines(window, line_end).map_err(|bad| match bad {
                BadFields::LineEnd | BadFields::Line | BadFields::TooMany => BadReply::Fields,
            })?;
            let Some((end, lines)) = parsed else {
                return if window.len() == MAX_HEAD {
                    Err(BadReply::HeadTooLong)
                } else {
                    Ok(None)
                };
            };
            if status < 200 {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(BadReply::TooManyInterim);
                }
                let _ = buffer.split_to(end);
                continue;
            }
            let framing = ReplyFraming::find(&lines, window)?;
            let body = framing.body_length(self.method, status, http11)?;
            let keep_alive = http11 && !framing.close && body != BodyLength::UntilClose;
            let named = framing.named;
            let mut fields = Fields::new(buffer.split_to(end).freeze(), lines);
            fields.retain(|name| {
                !names::belongs_to_connection(name)
                    && !named.iter().any(|named| named.eq_ignore_ascii_case(name))
            });
            return Ok(Some(OriginReplyHead { status, fields, body, keep_alive }));
        }
    }
}

/// Where the field lines begin, whether the reply is HTTP/1.1, and its status.
fn status_line(window: &[u8]) -> Result<Option<(usize, bool, u16)>, BadReply> {
    let line = window.get(..window.len().min(MAX_REQUEST_LINE)).unwrap_or_default();
    let Some(line_feed) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() == MAX_REQUEST_LINE { Err(BadReply::StatusLine) } else { Ok(None) };
    };
    let text = line.get(..=line_feed).and_then(|line| line.strip_suffix(b"\r\n"));
    let text = text.ok_or(BadReply::StatusLine)?;
    let (http11, rest) = match text.split_at_checked(9) {
        Some((b"HTTP/1.1 ", rest)) => (true, rest),
        Some((b"HTTP/1.0 ", rest)) => (false, rest),
        _ => return Err(BadReply::StatusLine),
    };
    let (digits, phrase) = rest.split_at_checked(3).ok_or(BadReply::StatusLine)?;
    let phrase_valid = phrase.strip_prefix(b" ").is_some_and(|phrase| {
        phrase.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    });
    if !phrase_valid || !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
        return Err(BadReply::StatusLine);
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok(Some((line_feed + 1, http11, status)))
}

#[derive(Default)]
struct ReplyFraming {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    /// Fields that `Connection` names.
    named: Vec<Vec<u8>>,
}

impl ReplyFraming {
    fn find(lines: &[Line], bytes: &[u8]) -> Result<Self, BadReply> {
        let mut framing = Self::default();
        for line in lines {
            let (name, value) = (line.name(bytes), line.value(bytes));
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = parse_length(value).filter(|_| framing.length.is_none());
                framing.length = Some(length.ok_or(BadReply::Length)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if framing.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BadReply::Coding);
                }
                framing.chunked = true;
            } else if name.eq_ignore_ascii_case(b"connection") {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        framing.close = true;
                    } else {
                        framing.named.push(option.to_vec());
                    }
                }
            }
        }
        Ok(framing)
    }

    fn body_length(
        &self,
        method: Method,
        status: u16,
        http11: bool,
    ) -> Result<BodyLength, BadReply> {
        if self.chunked && self.length.is_some() {
            return Err(BadReply::LengthAndCoding);
        }
        if self.chunked && !http11 {
            return Err(BadReply::Coding);
        }
        if status == 204 && (self.chunked || self.length.is_some_and(|length| length > 0)) {
            return Err(BadReply::ContentForbidden);
        }
        //= RFC 9112 section 6.3, rule 1: replies to HEAD, 204 and 304 end with their head
        if method == Method::Head || status == 204 || status == 304 {
            return Ok(BodyLength::Empty);
        }
        match (self.chunked, self.length) {
            (true, _) => Ok(BodyLength::Chunked),
            (false, Some(0)) => Ok(BodyLength::Empty),
            (false, Some(length)) => Ok(BodyLength::Exact(length)),
            (false, None) if self.close || !http11 => Ok(BodyLength::UntilClose),
            (false, None) => Err(BadReply::NoLength),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        method: Method,
        wire: &str,
        expected: Result<Option<(u16, BodyLength, bool)>, BadReply>,
    ) {
        for split in 0..=wire.len() {
            let mut reader = ReplyReader::new(method);
            let mut buffer = BytesMut::from(&wire.as_bytes()[..split]);
            let early = reader.head(&mut buffer);
            let reply = match early {
                Ok(None) => {
                    buffer.extend_from_slice(&wire.as_bytes()[split..]);
                    reader.head(&mut buffer)
                }
                done => done,
            };
            let seen =
                reply.map(|reply| reply.map(|reply| (reply.status, reply.body, reply.keep_alive)));
            assert_eq!(seen, expected, "{wire:?} split at {split}");
        }
    }

    #[test]
    fn a_reply_says_where_it_ends() {
        use BodyLength::{Chunked, Empty, Exact, UntilClose};
        let get = |wire, expected| check(Method::Get, wire, Ok(Some(expected)));
        get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, Exact(5), true));
        get("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", (200, Empty, true));
        get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (200, Chunked, true));
        get("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", (200, UntilClose, false));
        get("HTTP/1.0 200 OK\r\n\r\n", (200, UntilClose, false));
        get("HTTP/1.1 204 No Content\r\n\r\n", (204, Empty, true));
        get("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, Empty, true));
        get(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            (200, Exact(1), true),
        );
        check(
            Method::Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Ok(Some((200, Empty, true))),
        );
        check(Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Ok(None));
    }

    #[test]
    fn an_ambiguous_reply_is_not_believed() {
        use BadReply::{
            Coding, ContentForbidden, Fields, Length, LengthAndCoding, NoLength, StatusLine,
            Switched, TooManyInterim,
        };
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(5);
        let table = [
            (
                StatusLine,
                &[
                    "HTTP/1.1 200\r\n\r\n",
                    "HTTP/1.1  200 OK\r\n\r\n",
                    "HTTP/2 200 OK\r\n\r\n",
                    "HTTP/1.1 20 OK\r\n\r\n",
                    "HTTP/1.1 099 OK\r\n\r\n",
                    "HTTP/1.1 200 OK\n\r\n",
                    "HTTP/1.1 200 O\rK\r\n\r\n",
                    "HTTP/1.1 2000 OK\r\n\r\n",
                    "\r\nHTTP/1.1 200 OK\r\n\r\n",
                    "200 OK\r\n\r\n",
                ][..],
            ),
            (
                Fields,
                &[
                    "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nA: b\n\r\n",
                    "HTTP/1.1 200 OK\r\n\n",
                ],
            ),
            (
                Length,
                &[
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
                ],
            ),
            (
                Coding,
                &[
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
                ],
            ),
            (
                LengthAndCoding,
                &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"],
            ),
            (
                NoLength,
                &["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"],
            ),
            (
                ContentForbidden,
                &[
                    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
                ],
            ),
            (Switched, &["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]),
            (TooManyInterim, &[&interim]),
        ];
        for (reason, wires) in table {
            for wire in wires {
                check(Method::Get, wire, Err(reason));
            }
        }
    }

    #[test]
    fn fields_of_the_origins_connection_stay_there() {
        let wire = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nx-hop: 1\r\nETag: a\r\nUpgrade: h2c\r\n\r\nx";
        let mut buffer = BytesMut::from(wire);
        let reply = ReplyReader::new(Method::Get).head(&mut buffer).unwrap().unwrap();
        assert_eq!(reply.fields.iter().collect::<Vec<_>>(), [("ETag", &b"a"[..])]);
        assert_eq!(&buffer[..], b"x");
    }
}
