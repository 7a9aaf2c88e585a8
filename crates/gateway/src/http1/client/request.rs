//! The request to the origin, and which of the caller's fields may be in it.

use crate::http1::authority::Authority;
use crate::http1::encode::{self, NotWritable};
use crate::http1::method::Method;
use crate::http1::names;
use crate::http1::refusal::BadRequest;
use crate::http1::target::RequestTarget;

/// The caller's fields that may reach an origin; every other one stays here.
///
/// It cannot hold a field that frames the message, belongs to a connection, claims an identity or an address, carries a
/// credential, or selects what part of a representation is returned.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<Box<str>>);

/// A name that may not stand in an [`AllowList`], or one more than it can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{0}` can never be forwarded")]
pub struct NeverForwarded(pub Box<str>);

impl AllowList {
    /// Most names: repetitions are tracked in one machine word.
    const MAX: usize = 64;

    /// # Errors
    /// [`NeverForwarded`] names the first field that may not be forwarded.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NeverForwarded> {
        let mut list: Vec<Box<str>> = Vec::new();
        for name in names {
            let lower = name.to_ascii_lowercase().into_boxed_str();
            if names::never_forwarded(name.as_bytes())
                || !names::is_token(name.as_bytes())
                || list.len() == Self::MAX
            {
                return Err(NeverForwarded(lower));
            }
            if !list.contains(&lower) {
                list.push(lower);
            }
        }
        Ok(Self(list))
    }

    /// Where the field stands in the list, and its name in lower case.
    fn find(&self, name: &str) -> Option<(usize, &str)> {
        let mut names = self.0.iter().map(AsRef::as_ref).enumerate();
        names.find(|(_, allowed)| allowed.eq_ignore_ascii_case(name))
    }
}

/// A request to the origin, written from parts. None of the caller's bytes are copied but the canonical target, allowed
/// field values and the content. It holds credentials, so it cannot be printed.
#[derive(Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// The method; a caller's `HEAD` is a `GET` here, so that its reply can be checked.
    pub method: Method,
    /// The canonical target, the one that policy saw.
    pub target: &'a RequestTarget,
    /// The origin's own host, from configuration.
    pub host: Authority<'a>,
    /// Which of the caller's fields pass.
    pub allow: &'a AllowList,
    /// The gateway's fields: credential, signature, caller's context. They displace a caller's field of the same name.
    pub ours: &'a [(&'a str, &'a [u8])],
    /// The whole content. It must be empty unless the method may have content.
    pub body: &'a [u8],
}

/// Why a request was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForwardable {
    /// The caller's fields are at fault.
    #[error("the caller's request cannot be forwarded")]
    Caller(#[source] BadRequest),
    /// The gateway's parts are at fault.
    #[error("the gateway's part of the request is malformed")]
    Ours(#[source] NotWritable),
}

impl UpstreamRequest<'_> {
    /// Appends the request to `out`, content included.
    ///
    /// `inbound`: the caller's fields as (name, value).
    ///
    /// # Errors
    /// [`NotForwardable::Caller`] if an allowed field is repeated or malformed; [`NotForwardable::Ours`] if a field of ours
    /// belongs to the connection or is malformed, or the method takes no content. `out` is as before.
    pub fn write<'f>(
        &self,
        inbound: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotForwardable> {
        let start = out.len();
        let written = self.write_parts(inbound, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write_parts<'f>(
        &self,
        inbound: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotForwardable> {
        let has_content = self.method.may_have_content();
        if !has_content && !self.body.is_empty() {
            return Err(NotForwardable::Ours(NotWritable::Content));
        }
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.path_and_query().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        encode::field(out, "Host", self.host.as_str().as_bytes());
        for (name, value) in self.ours {
            encode::end_to_end_field(out, name, value).map_err(NotForwardable::Ours)?;
        }
        let mut seen = 0_u64;
        for (name, value) in inbound {
            let Some((position, name)) = self.allow.find(name) else { continue };
            if self.ours.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name)) {
                continue;
            }
            if seen >> position & 1 == 1 {
                return Err(NotForwardable::Caller(BadRequest::FieldRepeated));
            }
            seen |= 1 << position;
            encode::end_to_end_field(out, name, value)
                .map_err(|_| NotForwardable::Caller(BadRequest::FieldLine))?;
        }
        if has_content {
            out.extend_from_slice(b"Content-Length: ");
            encode::decimal(out, u64::try_from(self.body.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_framing_fields_can_never_be_allowed() {
        for name in [
            "Host",
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Authorization",
            "DPoP",
            "Cookie",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-Real-IP",
            "Via",
            "Range",
            "If-None-Match",
            "Signature",
            "Signature-Input",
            "Portcullis-Caller",
            "Accept-Encoding",
            "X_Custom",
            "Content_Length",
            "",
            "a b",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "Proxy-Authorization",
        ] {
            assert!(AllowList::new([name]).is_err(), "{name}");
        }
        assert!(AllowList::new(["Accept", "Content-Type", "Idempotency-Key", "accept"]).is_ok());
    }

    fn write(
        inbound: &[(&str, &str)],
        ours: &[(&str, &[u8])],
        method: Method,
        body: &[u8],
    ) -> Result<String, NotForwardable> {
        let allow = AllowList::new(["Accept", "Content-Type"]).unwrap();
        let target = RequestTarget::from_path(b"/v1/%61?x=1").unwrap();
        let host = Authority::parse(b"origin.internal:8080").unwrap();
        let request = UpstreamRequest { method, target: &target, host, allow: &allow, ours, body };
        let mut out = Vec::new();
        request.write(inbound.iter().map(|(name, value)| (*name, value.as_bytes())), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_origin_gets_a_request_of_our_making() {
        let inbound = [
            ("Host", "evil"),
            ("accept", "text/plain"),
            ("Authorization", "DPoP x"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Content-Length", "99"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("content-type", "text/html"),
        ];
        assert_eq!(
            write(
                &inbound,
                &[("Authorization", b"Bearer ours"), ("Content-Type", b"application/json")],
                Method::Post,
                b"{}"
            )
            .unwrap(),
            "POST /v1/a?x=1 HTTP/1.1\r\nHost: origin.internal:8080\r\nAuthorization: Bearer ours\r\nContent-Type: application/json\r\n\
             accept: text/plain\r\nContent-Length: 2\r\n\r\n{}"
        );
        assert_eq!(
            write(&[], &[], Method::Get, b"").unwrap(),
            "GET /v1/a?x=1 HTTP/1.1\r\nHost: origin.internal:8080\r\n\r\n"
        );
        assert_eq!(
            write(&[], &[], Method::Put, b"").unwrap(),
            "PUT /v1/a?x=1 HTTP/1.1\r\nHost: origin.internal:8080\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn what_would_change_the_framing_is_not_written() {
        use NotForwardable::{Caller, Ours};
        assert_eq!(
            write(&[("Accept", "a"), ("ACCEPT", "b")], &[], Method::Get, b""),
            Err(Caller(BadRequest::FieldRepeated))
        );
        assert_eq!(
            write(&[("Accept", "a\r\nX: y")], &[], Method::Get, b""),
            Err(Caller(BadRequest::FieldLine))
        );
        assert_eq!(
            write(&[], &[("Content-Length", b"1")], Method::Post, b""),
            Err(Ours(NotWritable::ConnectionField))
        );
        assert_eq!(write(&[], &[("X", b"a\nb")], Method::Post, b""), Err(Ours(NotWritable::Field)));
        assert_eq!(write(&[], &[], Method::Get, b"x"), Err(Ours(NotWritable::Content)));
    }
}
