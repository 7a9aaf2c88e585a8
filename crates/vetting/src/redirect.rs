//! Redirect URIs that an authorization code may be sent to: exact ones only.

/// Checks that `uri` is one exact place that only the vendor answers at.
///
/// # Errors
/// What is wrong with it, to be read after the URI itself.
///
/// Source: RFC 9700 section 2.1 (exact matching), RFC 6749 section 3.1.2 (absolute, no fragment), RFC 8252 sections 7.3 and 8.3
/// (loopback by address, not by name).
pub(crate) fn exact(uri: &str) -> Result<(), &'static str> {
    if !uri.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b)) {
        return Err("holds a character that no URI holds");
    }
    if uri.contains('*') {
        return Err("holds a wildcard");
    }
    if uri.contains('#') {
        return Err("has a fragment");
    }
    let (is_https, rest) = match (uri.strip_prefix("https://"), uri.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        (None, None) => return Err("is not `https`"),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("names a user");
    }
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let port_at = authority.get(after_address..).and_then(|rest| rest.find(':'));
    let (host, port) = match port_at {
        Some(at) => {
            let (host, port) = authority.split_at(after_address + at);
            (host, port.get(1..))
        }
        None => (authority, None),
    };
    let port_is_valid = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_none_or(port_is_valid) {
        return Err("has a port that is none");
    }
    if !is_https {
        return match host {
            "127.0.0.1" | "[::1]" => Ok(()),
            _ => Err("is `http`, which only a loopback address may be"),
        };
    }
    if !is_host(host) {
        return Err("has no well-formed host");
    }
    if path.split(['/', '?']).any(is_dots) {
        return Err("has a path that steps up");
    }
    Ok(())
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label_is_valid = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label_is_valid)
}

fn is_dots(part: &str) -> bool {
    let part = part.to_ascii_lowercase().replace("%2e", ".");
    part == "." || part == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_places_are_accepted() {
        for uri in [
            "https://helpdesk.example/callback",
            "https://a.b/",
            "https://a.b",
            "https://a.b:8443/c?tenant=1",
            "https://[2001:db8::1]:443/c",
            "http://127.0.0.1/c",
            "http://127.0.0.1:49152/c",
            "http://[::1]:1/c",
        ] {
            assert_eq!(exact(uri), Ok(()), "{uri}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (uri, why) in [
            ("https://*.example/c", "wildcard"),
            ("https://a.example/*", "wildcard"),
            ("https://a.example/c#x", "fragment"),
            ("https://user@a.example/c", "user"),
            ("https://a.example\\@b.example/", "character"),
            ("https://a.example/ c", "character"),
            ("https://ä.example/", "character"),
            ("http://a.example/c", "loopback"),
            ("http://localhost/c", "loopback"),
            ("http://127.0.0.1.a.example/c", "loopback"),
            ("http://127.0.0.2/c", "loopback"),
            ("com.example.app:/c", "`https`"),
            ("HTTPS://a.example", "`https`"),
            ("/c", "`https`"),
            ("", "`https`"),
            ("https:///c", "host"),
            ("https://a..b/c", "host"),
            ("https://-a.b/c", "host"),
            ("https://[::zz]/c", "host"),
            ("https://a.b:/c", "port"),
            ("https://a.b:0/c", "port"),
            ("https://a.b:65536/c", "port"),
            ("https://a.b:+1/c", "port"),
            ("https://a.b/x/../c", "steps up"),
            ("https://a.b/x/%2E%2e/c", "steps up"),
        ] {
            let said = exact(uri).unwrap_err();
            assert!(said.contains(why), "{uri}: {said}");
        }
    }
}
