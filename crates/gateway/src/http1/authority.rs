//! The host and port a request is addressed to, as `Host`, `:authority` and absolute-form carry it.

use std::net::Ipv6Addr;

use super::refusal::BadRequest;

/// How the connection a request came on is protected. It is a fact of the listener, never read from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text, on loopback or a Unix socket only.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A valid `uri-host [ ":" port ]`, borrowed from where it was read. At most 259 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a>(&'a str);

impl<'a> Authority<'a> {
    /// Reads an authority.
    ///
    /// A host is letters, digits, `-`, `.` and `_`, or an IPv6 address in brackets; a port is 1 to 65535 without leading zeros.
    ///
    /// # Errors
    /// [`BadRequest::HostInvalid`] for everything else, user information, percent-encoding and an empty host or port included.
    ///
    /// Source: RFC 9110 section 4.2, RFC 3986 section 3.2. Deviation: `reg-name` without percent-encoding and sub-delimiters.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadRequest::HostInvalid)?;
        let (host_valid, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(BadRequest::HostInvalid)?;
                (address.parse::<Ipv6Addr>().is_ok(), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (is_name(host), port)
            }
        };
        let port_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        if host_valid && port_valid { Ok(Self(text)) } else { Err(BadRequest::HostInvalid) }
    }

    /// As it was sent.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether both name the same host and port, letter case aside. A default port is not filled in: a client that
    /// writes the authority twice must write it alike (RFC 9112 section 3.2.2).
    pub const fn same_as(self, other: Authority<'_>) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn is_port(port: &str) -> bool {
    !port.starts_with('0')
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["a", "api.example.com", "localhost:8080", "10.0.0.1", "[::1]:443", "x_y:1"] {
            assert_eq!(Authority::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in [
            "", ":80", "a:", "a:0", "a:080", "a:65536", "a:+1", "user@a", "a/path", "a?b", "a#b",
            "a b", "a,b", "[::1", "[::1]x", "[v1.a]", "::1", "a%2e", "é", "a\\b", "a:1:2",
        ] {
            assert!(Authority::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
