//! Where a subject's browser is sent back to: which addresses may be registered, and which of them one request may name.

use std::net::Ipv6Addr;

/// Longest registered address.
pub const BYTES_MAX: usize = 512;

/// Why an address cannot be registered; whoever registers it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirect {
    /// Not `https://host/...`, nor `http://` to a loopback address.
    #[error("it is neither https nor http to 127.0.0.1 or [::1]")]
    Scheme,
    /// A fragment, user information, a wildcard, white space, or another character that an address does not hold.
    #[error("it holds a character or part that a redirect address must not have")]
    Part,
    /// More than 512 bytes.
    #[error("it is longer than 512 bytes")]
    TooLong,
}

/// Whether an address may be registered.
///
/// # Errors
/// [`BadRedirect`].
///
/// Source: RFC 9700 section 4.1.3, RFC 8252 sections 7.3 and 8.3, RFC 6749 section 3.1.2. Private-use schemes are not accepted:
/// another program on the same device may claim them.
pub fn registrable(uri: &str) -> Result<(), BadRedirect> {
    if uri.len() > BYTES_MAX {
        return Err(BadRedirect::TooLong);
    }
    //= RFC 6749 section 3.1.2: the redirection endpoint must not include a fragment
    let plain = uri.bytes().all(|b| b.is_ascii_graphic() && !b"#*\\<>\"^`{|}".contains(&b));
    if !plain {
        return Err(BadRedirect::Part);
    }
    if loopback(uri).is_some() {
        return Ok(());
    }
    //= RFC 9700 section 2.6: no http address but those of native applications on loopback
    let rest = uri.strip_prefix("https://").ok_or(BadRedirect::Scheme)?;
    let host = rest.split(['/', '?']).next().unwrap_or("");
    // It comes to stand in a header of the consent page, so no more than a host and a port.
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if host.is_empty() || !plain { Err(BadRedirect::Part) } else { Ok(()) }
}

/// Whether `asked` is `registered`: the same bytes, but for the port of a loopback address.
pub fn is_same(registered: &str, asked: &str) -> bool {
    //= RFC 9700 section 2.1: exact string matching, except for port numbers of native apps' loopback addresses
    if registered == asked {
        return true;
    }
    //= RFC 8252 section 7.3: any port at the time of the request for loopback IP redirect URIs
    match (loopback(registered), loopback(asked)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => false,
    }
}

/// Host literal and what follows the port of an `http` address of the loopback interface.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host.parse::<Ipv6Addr>().ok()? == Ipv6Addr::LOCALHOST).then_some(())?;
            ("::1", port.strip_prefix(':').or(port.is_empty().then_some("80"))?)
        }
        //= RFC 8252 section 8.3: "localhost" is not recommended; it may be another interface's name
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
            (host == "127.0.0.1").then_some((host, port))?
        }
    };
    port.parse::<u16>().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))?;
    Some((host, after))
}

/// `redirect` with parameters after whatever query it has.
pub(crate) fn with_parameters(redirect: &str, parameters: &[(&str, &str)]) -> String {
    let mut uri = redirect.to_owned();
    for (name, value) in parameters {
        //= RFC 6749 section 3.1.2: a query component is retained when parameters are added
        uri.push(if uri.contains('?') { '&' } else { '?' });
        uri.push_str(name);
        uri.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_lead_to_one_place_are_registered() {
        for good in [
            "https://app.example/back",
            "https://app.example/back?tenant=1",
            "https://app.example:8443",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:5000/cb",
            "http://[::1]:5000/cb",
        ] {
            assert_eq!(registrable(good), Ok(()), "{good}");
        }
        for bad in [
            "http://app.example/back",
            "http://localhost:5000/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://[::2]/cb",
            "https://user@app.example/",
            "https://*.example/",
            "https://app.example;sandbox/",
            "https://app.example'/",
            "https://%61pp.example/",
            "https://app.example/#x",
            "https:///back",
            "https://",
            "app://back",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example/a b",
            "https://app.example\\@evil.example/",
            "",
        ] {
            assert!(registrable(bad).is_err(), "{bad}");
        }
        assert_eq!(
            registrable(&format!("https://a/{}", "b".repeat(600))),
            Err(BadRedirect::TooLong)
        );
    }

    #[test]
    fn one_byte_off_is_another_address() {
        let registered = "https://app.example/back?tenant=1";
        assert!(is_same(registered, registered));
        for other in [
            "https://app.example/back?tenant=1&x=2",
            "https://app.example/back?tenant=1/",
            "https://app.example/back/../back?tenant=1",
            "https://APP.example/back?tenant=1",
            "https://app.example:443/back?tenant=1",
            "https://app.example/back%3ftenant=1",
            "https://app.example.evil.example/back?tenant=1",
            "http://app.example/back?tenant=1",
        ] {
            assert!(!is_same(registered, other), "{other}");
        }
    }

    #[test]
    fn loopback_addresses_may_name_another_port_and_nothing_else() {
        let registered = "http://127.0.0.1/cb?x=1";
        for same in ["http://127.0.0.1:1/cb?x=1", "http://127.0.0.1:65535/cb?x=1"] {
            assert!(is_same(registered, same), "{same}");
        }
        for other in [
            "http://127.0.0.1:65536/cb?x=1",
            "http://127.0.0.1:+1/cb?x=1",
            "http://127.0.0.1:/cb?x=1",
            "http://127.0.0.1:1/cb?x=2",
            "http://127.0.0.1:1/other?x=1",
            "http://127.0.0.1:1@evil.example/cb?x=1",
            "http://127.0.0.2:1/cb?x=1",
            "http://[::1]:1/cb?x=1",
            "https://127.0.0.1:1/cb?x=1",
        ] {
            assert!(!is_same(registered, other), "{other}");
        }
        assert!(is_same("http://[::1]:9/cb", "http://[::1]/cb"));
    }

    #[test]
    fn parameters_are_added_to_the_query_that_is_there() {
        let add = |uri| with_parameters(uri, &[("code", "a b&c"), ("iss", "https://a")]);
        assert_eq!(add("https://a/b"), "https://a/b?code=a%20b%26c&iss=https%3A%2F%2Fa");
        assert_eq!(add("https://a/b?x"), "https://a/b?x&code=a%20b%26c&iss=https%3A%2F%2Fa");
    }
}
