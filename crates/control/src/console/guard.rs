//! What a browser must show before anything else is looked at: that the request is for this listener and from its own pages.

use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use std::net::IpAddr;

/// On every answer, refusals included.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=()",
    ),
    ("x-frame-options", "DENY"),
];

/// Why a request is not from our own page in an ordinary browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Strange {
    /// A name that an attacker's DNS points here (DNS rebinding), or another port.
    #[error("the host is not a loopback address with this listener's port")]
    Host,
    /// Another site, or another port of this address, sent the browser here.
    #[error("another site led here; type the address, or use the link in the terminal")]
    Site,
    /// A change must come from a page of this very origin.
    #[error("the origin is not this listener")]
    Origin,
}

/// Checks one request.
///
/// Source: Fetch section 3.2 (`Origin`), Fetch Metadata section 2.4 (`Sec-Fetch-Site`). A browser too old to send the
/// latter is held by `Origin` and by the page's token.
pub(super) fn check(method: &Method, headers: &HeaderMap, port: u16) -> Result<(), Strange> {
    let host = only(headers, HOST).map_err(|_| Strange::Host)?.ok_or(Strange::Host)?;
    if !is_loopback(host, port) {
        return Err(Strange::Host);
    }
    let changes = method != Method::GET && method != Method::HEAD;
    let site = HeaderName::from_static("sec-fetch-site");
    match only(headers, site).map_err(|_| Strange::Site)? {
        None | Some("same-origin") => {}
        Some("none") if !changes => {}
        Some(_) => return Err(Strange::Site),
    }
    let origin = only(headers, ORIGIN).map_err(|_| Strange::Origin)?;
    match origin {
        None if !changes => Ok(()),
        // The listener speaks clear text; `https` here would be somebody else.
        Some(origin) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        Some(_) | None => Err(Strange::Origin),
    }
}

/// Puts on an answer what every answer has.
pub(super) fn dress(response: &mut Response) {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// The one value of a header that must not be there twice.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Twice> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().map_err(|_| Twice)).transpose()?;
    if values.next().is_some() { Err(Twice) } else { Ok(value) }
}

/// There twice, or not text: nobody says what it means.
#[derive(Debug)]
pub(super) struct Twice;

fn is_loopback(host: &str, port: u16) -> bool {
    let Some((name, typed)) = host.rsplit_once(':') else { return false };
    if typed != port.to_string() {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| IpAddr::V4(address).is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_name_with_the_port_is_a_host() {
        for host in
            ["127.0.0.1:8445", "localhost:8445", "LOCALHOST:8445", "[::1]:8445", "127.9.9.9:8445"]
        {
            assert_eq!(asked(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:8446",
            "127.0.0.1:08445",
            "evil.example:8445",
            "127.0.0.1.evil.example:8445",
            "localhost.evil.example:8445",
            "evil.example#localhost:8445",
            "::1:8445",
            "[::2]:8445",
            "0.0.0.0:8445",
            "10.0.0.1:8445",
            "user@127.0.0.1:8445",
            "2130706433:8445",
            "[127.0.0.1]:8445",
            "",
        ] {
            assert_eq!(asked(&Method::GET, &[("host", host)]), Err(Strange::Host), "{host}");
        }
        assert_eq!(asked(&Method::GET, &[]), Err(Strange::Host));
        let twice = [("host", "127.0.0.1:8445"), ("host", "127.0.0.1:8445")];
        assert_eq!(asked(&Method::GET, &twice), Err(Strange::Host));
    }

    #[test]
    fn a_change_comes_from_our_own_page() {
        let host = ("host", "127.0.0.1:8445");
        let origin = ("origin", "http://127.0.0.1:8445");
        let site = |site| ("sec-fetch-site", site);
        let post = |headers: &[(&'static str, &'static str)]| asked(&Method::POST, headers);
        assert_eq!(post(&[host, origin]), Ok(()));
        assert_eq!(post(&[host, origin, site("same-origin")]), Ok(()));
        for other in ["same-site", "cross-site", "none", "Same-Origin", ""] {
            assert_eq!(post(&[host, origin, site(other)]), Err(Strange::Site), "{other}");
        }
        for other in [
            "null",
            "http://127.0.0.1",
            "http://127.0.0.1:8446",
            "http://localhost:8445",
            "https://127.0.0.1:8445",
            "http://127.0.0.1:8445/",
            "http://127.0.0.1:8445.evil.example",
            "",
        ] {
            assert_eq!(post(&[host, ("origin", other)]), Err(Strange::Origin), "{other}");
        }
        assert_eq!(post(&[host]), Err(Strange::Origin));
        assert_eq!(post(&[host, origin, origin]), Err(Strange::Origin));
        assert_eq!(post(&[host, origin, site("same-origin"), site("none")]), Err(Strange::Site));
    }

    #[test]
    fn a_page_is_asked_for_by_hand_or_by_our_own_page() {
        let host = ("host", "localhost:8445");
        let get = |site| asked(&Method::GET, &[host, ("sec-fetch-site", site)]);
        assert_eq!(get("none"), Ok(()));
        assert_eq!(get("same-origin"), Ok(()));
        assert_eq!(get("same-site"), Err(Strange::Site));
        assert_eq!(get("cross-site"), Err(Strange::Site));
    }

    fn asked(method: &Method, headers: &[(&'static str, &'static str)]) -> Result<(), Strange> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        check(method, &headers, 8445)
    }
}
