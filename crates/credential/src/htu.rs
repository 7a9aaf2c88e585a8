//! Whether the URL a proof was made for is the URL that was asked for.

use std::borrow::Cow;

/// Whether `htu` names the same resource as `url`, after syntax-based and scheme-based normalisation of both.
///
/// `url`: our configured external origin and the path as sent; no query, no fragment. Never built from `Host` or a forwarded header.
/// An `htu` with a query, fragment, user name or dot segment is never the same: a proof that covers what nobody compares misleads its maker.
///
/// Source: RFC 9449 section 4.3 check 9, RFC 3986 sections 6.2.2 and 6.2.3.
pub(crate) fn same_target(htu: &str, url: &str) -> bool {
    match (Target::parse(htu), Target::parse(url)) {
        (Some(signed), Some(asked)) => signed == asked,
        _ => false,
    }
}

#[derive(PartialEq, Eq)]
struct Target<'a> {
    https: bool,
    host: Cow<'a, str>,
    port: &'a str,
    path: Cow<'a, str>,
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        if !url.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#') {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        //= RFC 3986 section 6.2.2.1: scheme and host are case-insensitive
        let https = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority)?;
        //= RFC 3986 section 6.2.3: an empty or default port is no port, an empty path is "/"
        let default_port = if https { "443" } else { "80" };
        let port = if port == default_port { "" } else { port };
        let path = if path.is_empty() { "/" } else { path };
        let path = normal_escapes(path)?;
        let dotted = path.split('/').any(|segment| matches!(segment, "." | ".."));
        (!dotted).then_some(Self { https, host: lower_case(host), port, path })
    }
}

fn split_port(authority: &str) -> Option<(&str, &str)> {
    let end_of_host = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end_of_host)?;
    let digits = port.strip_prefix(':').unwrap_or(port);
    let valid = !host.is_empty()
        && !authority.contains(['@', '%', '\\'])
        && (port.is_empty() || port.starts_with(':'))
        && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then_some((host, digits))
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

//= RFC 3986 sections 6.2.2.1 and 6.2.2.2: escapes in upper case, those of unreserved characters decoded
fn normal_escapes(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(path.len());
    let mut parts = path.split('%');
    normal.push_str(parts.next()?);
    for part in parts {
        let (escape, rest) = part.split_at_checked(2)?;
        if !escape.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u8::from_str_radix(escape, 16).ok()?;
        if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(value));
        } else {
            normal.push('%');
            normal.push_str(&escape.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Some(Cow::Owned(normal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_url_are_the_same() {
        for htu in [
            "https://api.example.com/v1/a~b",
            "HTTPS://API.example.COM/v1/a~b",
            "https://api.example.com:443/v1/a~b",
            "https://api.example.com:/v1/a~b",
            "https://api.example.com/v1/%61%7eb",
        ] {
            assert!(same_target(htu, "https://api.example.com/v1/a~b"), "{htu}");
        }
        assert!(same_target("https://a.example", "https://a.example/"));
        assert!(same_target("http://[::1]:80/x", "http://[::1]/x"));
        assert!(same_target("https://a.example/%c3%a9", "https://a.example/%C3%A9"));
    }

    #[test]
    fn other_urls_are_not() {
        for htu in [
            "",
            "/v1/a",
            "api.example.com/v1/a",
            "http://api.example.com/v1/a",
            "https://api.example.com:8443/v1/a",
            "https://api.example.com.evil.example/v1/a",
            "https://evil.example/v1/a",
            "https://evil@api.example.com/v1/a",
            "https://api.example.com/v1/A",
            "https://api.example.com/v1/a/",
            "https://api.example.com//v1/a",
            "https://api.example.com/v1/b/../a",
            "https://api.example.com/v1/b/%2e%2E/a",
            "https://api.example.com/v1%2Fa",
            "https://api.example.com/v1/a?x=1",
            "https://api.example.com/v1/a?",
            "https://api.example.com/v1/a#x",
            "https://api.example.com/v1/a ",
            "https://api.example.com/v1/%6",
            "https://api.example.com/v1/%+1",
            "https://api.example.com:44x/v1/a",
            "https:///v1/a",
            "https://\u{e9}.example/v1/a",
        ] {
            assert!(!same_target(htu, "https://api.example.com/v1/a"), "{htu}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(htu: String, url: String) {
            same_target(&htu, &url);
        }

        #[test]
        fn a_url_is_the_same_only_as_itself(a in "https://[a-c]{1,2}/[a-c/]{0,3}", b in "https://[a-c]{1,2}/[a-c/]{0,3}") {
            prop_assert_eq!(same_target(&a, &b), a == b);
        }
    }
}
