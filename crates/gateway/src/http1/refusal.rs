//! Why a request was refused before anything else looked at it.

use super::body::BadBody;
use super::target::BadTarget;

/// A request that breaks the protocol or uses a part of it that is not served. The caller is at fault.
///
/// Answer with [`status`](Self::status) and close the connection: what follows on it may be part of the same attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not `method SP target SP version CRLF`.
    #[error("request line is malformed")]
    RequestLine,
    /// Longer than [`MAX_REQUEST_LINE`](super::server::MAX_REQUEST_LINE).
    #[error("request line is too long")]
    RequestLineTooLong,
    /// A token, but no method that is served.
    #[error("method is not implemented")]
    MethodUnknown,
    /// `CONNECT` or `TRACE`.
    #[error("method is never allowed here")]
    MethodForbidden,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version is not supported")]
    Version,
    /// The request target has no single meaning.
    #[error("request target is refused")]
    Target(#[source] BadTarget),
    /// A line that ends in LF without CR, or a CR that ends none.
    #[error("line does not end in CR LF")]
    LineEnd,
    /// A malformed field line: folded, without a colon, with space before it, with a control character, with an empty name.
    #[error("field line is malformed")]
    FieldLine,
    /// Longer than [`MAX_HEAD`](super::server::MAX_HEAD).
    #[error("head is too long")]
    HeadTooLong,
    /// More than [`MAX_FIELDS`](super::fields::MAX_FIELDS).
    #[error("too many fields")]
    TooManyFields,
    /// No `Host`.
    #[error("`Host` is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("`Host` is repeated")]
    HostRepeated,
    /// `Host` or the target's authority is not a host with an optional port.
    #[error("host is malformed")]
    HostInvalid,
    /// The target is in absolute form and names another host or scheme than `Host` and the connection do.
    #[error("target and `Host` differ")]
    HostMismatch,
    /// `Host` or `:authority` is not what integrations know this node by.
    #[error("host is not served here")]
    HostOther,
    /// `Content-Length` is not a plain decimal number.
    #[error("`Content-Length` is malformed")]
    LengthInvalid,
    /// More than one `Content-Length`, equal or not.
    #[error("`Content-Length` is repeated")]
    LengthRepeated,
    /// `Content-Length` and `Transfer-Encoding` together.
    #[error("`Content-Length` and `Transfer-Encoding` are both present")]
    LengthAndCoding,
    /// `Transfer-Encoding` is not exactly `chunked`.
    #[error("`Transfer-Encoding` is not exactly `chunked`")]
    CodingInvalid,
    /// More than one `Transfer-Encoding`.
    #[error("`Transfer-Encoding` is repeated")]
    CodingRepeated,
    /// `Transfer-Encoding` in an HTTP/1.0 request.
    #[error("`Transfer-Encoding` is not part of HTTP/1.0")]
    CodingInHttp10,
    /// Content on a method that has none.
    #[error("method does not take content")]
    ContentForbidden,
    /// `Connection` names something other than `close`, `keep-alive` and `TE`.
    #[error("`Connection` names an option that is not served")]
    ConnectionOption,
    /// The client asks for another protocol on this connection.
    #[error("upgrade is refused")]
    Upgrade,
    /// `Expect` is not `100-continue`.
    #[error("expectation cannot be met")]
    Expectation,
    /// A field that is forwarded stands more than once.
    #[error("a forwarded field is repeated")]
    FieldRepeated,
    /// The content is malformed or too long.
    #[error("content is refused")]
    Body(#[from] BadBody),
}

impl BadRequest {
    /// The status code to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::MethodForbidden => 405,
            Self::Body(BadBody::TooLong) => 413,
            Self::RequestLineTooLong => 414,
            Self::Expectation => 417,
            Self::HostOther => 421,
            Self::HeadTooLong | Self::TooManyFields => 431,
            Self::MethodUnknown => 501,
            Self::Version => 505,
            //= RFC 9112 section 6.3: a coding whose end is not `chunked` is answered 400, so no coding is answered 501
            Self::RequestLine
            | Self::Target(_)
            | Self::LineEnd
            | Self::FieldLine
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostMismatch
            | Self::LengthInvalid
            | Self::LengthRepeated
            | Self::LengthAndCoding
            | Self::CodingInvalid
            | Self::CodingRepeated
            | Self::CodingInHttp10
            | Self::ContentForbidden
            | Self::ConnectionOption
            | Self::Upgrade
            | Self::FieldRepeated
            | Self::Body(_) => 400,
        }
    }

    /// The stable name of the reason, for problem documents, metrics and the record. Never holds bytes of the request.
    pub const fn code(self) -> &'static str {
        match self {
            Self::RequestLine => "http_request_line",
            Self::RequestLineTooLong => "http_request_line_too_long",
            Self::MethodUnknown => "http_method_unknown",
            Self::MethodForbidden => "http_method_forbidden",
            Self::Version => "http_version",
            Self::Target(_) => "http_target",
            Self::LineEnd => "http_line_end",
            Self::FieldLine => "http_field_line",
            Self::HeadTooLong => "http_head_too_long",
            Self::TooManyFields => "http_too_many_fields",
            Self::HostMissing => "http_host_missing",
            Self::HostRepeated => "http_host_repeated",
            Self::HostInvalid => "http_host_invalid",
            Self::HostMismatch => "http_host_mismatch",
            Self::HostOther => "http_host_other",
            Self::LengthInvalid => "http_length_invalid",
            Self::LengthRepeated => "http_length_repeated",
            Self::LengthAndCoding => "http_length_and_coding",
            Self::CodingInvalid => "http_coding_invalid",
            Self::CodingRepeated => "http_coding_repeated",
            Self::CodingInHttp10 => "http_coding_in_http10",
            Self::ContentForbidden => "http_content_forbidden",
            Self::ConnectionOption => "http_connection_option",
            Self::Upgrade => "http_upgrade",
            Self::Expectation => "http_expectation",
            Self::FieldRepeated => "http_field_repeated",
            Self::Body(BadBody::TooLong) => "http_content_too_long",
            Self::Body(_) => "http_content_malformed",
        }
    }
}
