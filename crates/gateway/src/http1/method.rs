//! The request methods the gateway has a meaning for.

use super::refusal::BadRequest;

/// A method an operation can be declared for. `CONNECT` and `TRACE` cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// What a 405 answer names in its `Allow` field (RFC 9110 section 15.5.6).
    pub const ALLOWED: &'static str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

    /// Reads a method name; names are case-sensitive (RFC 9110 section 9.1).
    ///
    /// # Errors
    /// [`BadRequest::MethodForbidden`] for `CONNECT` and `TRACE`, [`BadRequest::MethodUnknown`] for every other name,
    /// [`BadRequest::RequestLine`] if it is not a token at all.
    pub fn parse(name: &[u8]) -> Result<Self, BadRequest> {
        match name {
            b"GET" => Ok(Self::Get),
            b"HEAD" => Ok(Self::Head),
            b"POST" => Ok(Self::Post),
            b"PUT" => Ok(Self::Put),
            b"PATCH" => Ok(Self::Patch),
            b"DELETE" => Ok(Self::Delete),
            b"OPTIONS" => Ok(Self::Options),
            // TRACE echoes credentials to whoever asked; CONNECT makes a tunnel that no filter sees.
            b"CONNECT" | b"TRACE" => Err(BadRequest::MethodForbidden),
            name if super::names::is_token(name) => Err(BadRequest::MethodUnknown),
            _ => Err(BadRequest::RequestLine),
        }
    }

    /// The name as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether a request with this method may have content here.
    ///
    /// RFC 9110 sections 9.3.1, 9.3.2 and 9.3.5 give content of `GET`, `HEAD` and `DELETE` no meaning and allow
    /// refusing it, as some origins leave it unread on the connection, where it becomes the next request.
    pub const fn may_have_content(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}
