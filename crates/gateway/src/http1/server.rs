//! The request side: one head out of a connection's buffer, with one meaning or none.
//!
//! The order of use is [`parse_head`], then a [`BodyDecoder`](super::BodyDecoder) with the head's length until it says
//! `End`, then the next `parse_head` on the same buffer. The first error ends the connection.

use std::fmt;

use bytes::BytesMut;

use super::authority::{Authority, Scheme};
use super::body::{BadBody, BodyLength};
use super::fields::{self, Fields, Line};
use super::method::Method;
use super::names;
use super::refusal::BadRequest;
use super::target::{Absolute, RequestTarget};

/// Longest request line, CRLF included. RFC 9112 section 3 asks for at least 8000 bytes.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;

/// Longest head, from the request line to the empty line. A DPoP proof and a token take 2 KiB together.
pub const MAX_HEAD: usize = 32 * 1024;

/// Longest word taken for a method while no space has been seen.
const MAX_METHOD: usize = 32;

/// What a listener expects of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The scheme an absolute-form target must name.
    pub scheme: Scheme,
    /// Most bytes of content. A longer `Content-Length` is refused before any of it is read.
    pub max_body: u64,
}

/// The head of one request.
pub struct RequestHead {
    method: Method,
    target: RequestTarget,
    fields: Fields,
    host: Line,
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
    can_stream: bool,
}

impl RequestHead {
    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The canonical target.
    pub const fn target(&self) -> &RequestTarget {
        &self.target
    }

    /// Host and port as sent; it is valid, and equal to the target's authority if that has one. Whether it is one of
    /// ours is not decided here.
    pub fn host(&self) -> &str {
        self.fields.text_of(self.host)
    }

    /// The fields as sent, those of the connection included: forward none but by
    /// [`UpstreamRequest`](super::client::UpstreamRequest).
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// [`RequestHead::fields`], when nothing else of the head is needed any more.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    /// How long the content is: `Empty`, `Exact` or `Chunked`.
    pub const fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the connection may carry another request after this one.
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for [`CONTINUE`](super::encode::CONTINUE) before it sends the content.
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client reads a chunked reply; an HTTP/1.0 client does not.
    pub const fn can_stream(&self) -> bool {
        self.can_stream
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("fields", &self.fields)
            .field("body", &self.body)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// Takes one head off the front of `buffer`; what follows it stays.
///
/// Returns `None`, and leaves `buffer` alone, while the head is incomplete. The outcome does not depend on how the bytes
/// were split. `buffer` need not grow beyond [`MAX_HEAD`] while this returns `None`.
///
/// # Errors
/// [`BadRequest`]: answer with its status and close the connection.
///
/// Source: RFC 9112 sections 2 to 6. Deviations, all stricter: an empty line before the request is refused, a lone LF ends no
/// line, a coding other than `chunked` alone (in lower case) is refused, as are content on `GET`, `HEAD`, `DELETE` and `OPTIONS`,
/// every `Upgrade`, and a `Connection` that names further fields; HTTP/1.0 requests need `Host` and never keep the connection.
pub fn parse_head(buffer: &mut BytesMut, rules: &Rules) -> Result<Option<RequestHead>, BadRequest> {
    let window = buffer.get(..buffer.len().min(MAX_HEAD)).unwrap_or_default();
    let Some(line_end) = find_request_line(window)? else { return Ok(None) };
    let line = RequestLine::parse(window.get(..line_end).unwrap_or_default())?;
    let fields_start = line_end + 2;
    let Some((end, lines)) = fields::parse_lines(window, fields_start)? else {
        return if window.len() == MAX_HEAD { Err(BadRequest::HeadTooLong) } else { Ok(None) };
    };
    let known = KnownFields::find(&lines, window)?;
    let host = known.host.ok_or(BadRequest::HostMissing)?;
    let authority = Authority::parse(host.value(window))?;
    let RequestLine { method, target, version } = line;
    let target = match target {
        Target::Origin(target) => target,
        Target::Absolute { scheme, authority: named, target } => {
            //= RFC 9112 section 3.2.2: `Host` is identical to the target's authority
            if scheme != rules.scheme || !named.same_as(authority) {
                return Err(BadRequest::HostMismatch);
            }
            target
        }
    };
    let body = known.body_length(method, version, window)?;
    if matches!(body, BodyLength::Exact(length) if length > rules.max_body) {
        return Err(BadRequest::Body(BadBody::TooLong));
    }
    let http11 = version == Version::Http11;
    //= RFC 9110 section 10.1.1: 100-continue in an HTTP/1.0 request is ignored
    let expects_continue = known.expects_continue && http11 && body != BodyLength::Empty;
    let keep_alive = http11 && !known.close;
    let bytes = buffer.split_to(end).freeze();
    Ok(Some(RequestHead {
        method,
        target,
        fields: Fields::new(bytes, lines),
        host,
        body,
        keep_alive,
        expects_continue,
        can_stream: http11,
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

enum Target<'a> {
    Origin(RequestTarget),
    Absolute { scheme: Scheme, authority: Authority<'a>, target: RequestTarget },
}

struct RequestLine<'a> {
    method: Method,
    target: Target<'a>,
    version: Version,
}

/// Where the request line ends (its CR), if it has arrived.
fn find_request_line(window: &[u8]) -> Result<Option<usize>, BadRequest> {
    // Refused by its first bytes what can never become a request: a TLS hello, an empty line, leading whitespace.
    if window.first().is_some_and(|byte| !names::is_token_byte(*byte)) {
        return Err(BadRequest::RequestLine);
    }
    let line = window.get(..window.len().min(MAX_REQUEST_LINE)).unwrap_or_default();
    if line.len() > MAX_METHOD
        && !line.iter().take(MAX_METHOD).any(|byte| matches!(byte, b' ' | b'\n'))
    {
        return Err(BadRequest::RequestLine);
    }
    let Some(line_feed) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() == MAX_REQUEST_LINE {
            Err(BadRequest::RequestLineTooLong)
        } else {
            Ok(None)
        };
    };
    match line_feed.checked_sub(1).filter(|before| line.get(*before) == Some(&b'\r')) {
        Some(end) => Ok(Some(end)),
        None => Err(BadRequest::LineEnd),
    }
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, BadRequest> {
        let mut words = line.split(|byte| *byte == b' ');
        //= RFC 9112 section 3: single spaces; an HTTP/0.9 line has two words
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadRequest::RequestLine);
        };
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(BadRequest::Version);
            }
            _ => return Err(BadRequest::RequestLine),
        };
        let method = Method::parse(method)?;
        let target = Target::parse(target, method)?;
        Ok(Self { method, target, version })
    }
}

impl<'a> Target<'a> {
    fn parse(raw: &'a [u8], method: Method) -> Result<Self, BadRequest> {
        if raw == b"*" && method == Method::Options {
            return Ok(Self::Origin(RequestTarget::asterisk()));
        }
        let Some(Absolute { scheme, authority, path }) = Absolute::parse(raw)? else {
            return Ok(Self::Origin(RequestTarget::from_path(raw)?));
        };
        //= RFC 9110 section 4.2.3: an empty path is "/"
        let target = match path.first() {
            Some(b'/') => RequestTarget::from_path(path)?,
            _ => RequestTarget::from_path(&[b"/", path].concat())?,
        };
        Ok(Self::Absolute { scheme, authority, target })
    }
}

/// The fields that frame, route or keep the connection, found in one pass.
#[derive(Default)]
struct KnownFields {
    host: Option<Line>,
    length: Option<Line>,
    coding: Option<Line>,
    length_repeated: bool,
    coding_repeated: bool,
    close: bool,
    expects_continue: bool,
}

impl KnownFields {
    fn find(lines: &[Line], bytes: &[u8]) -> Result<Self, BadRequest> {
        let mut known = Self::default();
        for line in lines {
            let name = line.name(bytes);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            // Compare by length first: most fields have none of these lengths.
            match name.len() {
                4 if is("host") => {
                    if known.host.replace(*line).is_some() {
                        return Err(BadRequest::HostRepeated);
                    }
                    if line.padded {
                        return Err(BadRequest::HostInvalid);
                    }
                }
                6 if is("expect") => {
                    if !line.value(bytes).eq_ignore_ascii_case(b"100-continue") {
                        return Err(BadRequest::Expectation);
                    }
                    known.expects_continue = true;
                }
                //= RFC 9110 section 7.8: a server need not upgrade; bytes after an upgrade would pass unread, so refuse
                7 if is("upgrade") => return Err(BadRequest::Upgrade),
                10 if is("connection") => known.connection(line.value(bytes))?,
                14 if is("content-length") => {
                    known.length_repeated |= known.length.replace(*line).is_some();
                }
                17 if is("transfer-encoding") => {
                    known.coding_repeated |= known.coding.replace(*line).is_some();
                }
                _ => {}
            }
        }
        Ok(known)
    }

    /// Options other than these would strip fields before anyone has looked at them.
    fn connection(&mut self, value: &[u8]) -> Result<(), BadRequest> {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                return Err(BadRequest::Upgrade);
            } else if !option.is_empty()
                && !option.eq_ignore_ascii_case(b"keep-alive")
                && !option.eq_ignore_ascii_case(b"te")
            {
                return Err(BadRequest::ConnectionOption);
            }
        }
        Ok(())
    }

    fn body_length(
        &self,
        method: Method,
        version: Version,
        bytes: &[u8],
    ) -> Result<BodyLength, BadRequest> {
        let body = match (self.length, self.coding) {
            //= RFC 9112 section 6.1: both may be an attack; the server may reject, and closes in any case
            (Some(_), Some(_)) => return Err(BadRequest::LengthAndCoding),
            (_, Some(_)) if self.coding_repeated => return Err(BadRequest::CodingRepeated),
            (Some(_), _) if self.length_repeated => return Err(BadRequest::LengthRepeated),
            //= RFC 9112 section 6.1: a coding in HTTP/1.0 is faulty framing
            (None, Some(_)) if version == Version::Http10 => {
                return Err(BadRequest::CodingInHttp10);
            }
            (None, Some(line)) if line.padded || line.value(bytes) != b"chunked" => {
                return Err(BadRequest::CodingInvalid);
            }
            (None, Some(_)) => BodyLength::Chunked,
            (Some(line), None) if line.padded => return Err(BadRequest::LengthInvalid),
            (Some(line), None) => {
                match parse_length(line.value(bytes)).ok_or(BadRequest::LengthInvalid)? {
                    0 => BodyLength::Empty,
                    length => BodyLength::Exact(length),
                }
            }
            (None, None) => BodyLength::Empty,
        };
        if body == BodyLength::Empty || method.may_have_content() {
            Ok(body)
        } else {
            Err(BadRequest::ContentForbidden)
        }
    }
}

/// A `Content-Length`: decimal digits, no sign, no list, no leading zero, within 64 bits.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    let plain =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    if !plain {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
