//! What a subject's browser sends and must show: cookies, where it comes from, the page's token; and what every answer carries.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::header::{COOKIE, HeaderMap, ORIGIN, SET_COOKIE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use credential::{base64url, sha256};
use model::Digest;
use storage::clock;

/// On every answer. `content-security-policy` comes with the page, because of where its form may lead.
const HEADERS: [(&str, &str); 7] = [
    ("x-content-type-options", "nosniff"),
    // Not `no-referrer`: a form of ours would then say that its origin is `null` (Fetch section 3.2.2).
    //= RFC 9700 section 4.2.4: no address of ours is told to another site
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=()",
    ),
    //= RFC 9700 section 4.16: pages are not framed, in browsers without the policy below
    ("x-frame-options", "DENY"),
];

/// Puts on an answer what every answer has. `leads_to`: an origin beside our own that the page's form may end at. `secure`: whether we are
/// reached by TLS, and by nothing else from then on.
pub(super) fn dress(response: &mut Response, leads_to: Option<&str>, secure: bool) {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if secure {
        //= FAPI 2.0 security profile section 5.2.3: HSTS, for a year; other hosts of the domain are not ours to speak for
        let policy = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert("strict-transport-security", policy);
    }
    // Browsers apply form-action to redirects after a form was sent, too.
    let leads_to = leads_to.map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'{leads_to}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    //= RFC 9700 section 4.16: frame-ancestors
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert("content-security-policy", policy);
    }
}

/// A browser, known by the secret in its cookie.
#[derive(Clone)]
pub(super) struct Browser {
    /// The cookie's value.
    secret: String,
    /// Whether it came without one, or is to get another one.
    is_new: bool,
}

impl Browser {
    /// The browser that sent these headers, or a new one.
    pub(super) fn of(headers: &HeaderMap, secure: bool) -> Self {
        let name = cookie_name(secure);
        let mut found = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split("; "))
            .filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        match (found.next(), found.next()) {
            (Some(secret), None) if secret.len() == 43 => {
                Self { secret: secret.to_owned(), is_new: false }
            }
            // Two of one name: somebody planted one, and nobody knows which.
            _ => Self::new(),
        }
    }

    /// A browser with a fresh secret.
    pub(super) fn new() -> Self {
        Self { secret: base64url::encode(&clock::random::<32>()), is_new: true }
    }

    /// The secret, for whoever keeps its hash.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// What an authorization is tied to.
    pub(super) fn digest(&self) -> Digest {
        sha256(self.secret.as_bytes())
    }

    /// What a page of this browser proves itself with in a form. Another site can have the form sent and cannot read the cookie.
    pub(super) fn csrf(&self) -> String {
        base64url::encode(&sha256(format!("csrf {}", self.secret).as_bytes()))
    }

    /// Whether a form is from a page of this browser.
    pub(super) fn sent(&self, csrf: Option<&str>) -> bool {
        let expected = self.csrf();
        !self.is_new
            && csrf.is_some_and(|csrf| {
                verify_slices_are_equal(csrf.as_bytes(), expected.as_bytes()).is_ok()
            })
    }

    /// Gives the browser its secret, if it does not have it.
    pub(super) fn remember(&self, response: &mut Response, secure: bool) {
        if !self.is_new {
            return;
        }
        let name = cookie_name(secure);
        let only = if secure { "; Secure" } else { "" };
        // Lax: an application leads here from its own site, by a link.
        let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{only}", self.secret);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// With the prefix no other host of the domain can set it (draft-ietf-httpbis-rfc6265bis section 4.1.3.2); clear text is for loopback only.
fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-portal" } else { "portal" }
}

/// Whether a change comes from a page of ours. `portal`: our origin, as browsers name it.
pub(super) fn is_ours(headers: &HeaderMap, portal: &str) -> bool {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok()).map(str::to_owned);
        if values.next().is_some() { Some("twice".to_owned()) } else { value }
    };
    let site = one(HeaderName::from_static("sec-fetch-site"));
    //= RFC 6749 section 10.12: what another site sends changes nothing
    one(ORIGIN).as_deref() == Some(portal) && site.is_none_or(|site| site == "same-origin")
}

#[cfg(test)]
mod tests {
    use super::super::sessions::{Sessions, SignedIn};
    use super::*;
    use axum::response::IntoResponse;
    use model::SubjectId;
    use sever::BootMicros;

    const PORTAL: &str = "https://connect.example";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_answer_forbids_framing_and_other_sites() {
        for (secure, hsts) in [(true, Some("max-age=31536000")), (false, None)] {
            let mut response = "a page".into_response();
            dress(&mut response, Some("https://app.example"), secure);
            let field = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap());
            let policy = field("content-security-policy").unwrap();
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(policy.contains("default-src 'none'"), "{policy}");
            assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");
            assert_eq!(field("x-frame-options"), Some("DENY"));
            assert_eq!(field("referrer-policy"), Some("same-origin"));
            assert_eq!(field("cache-control"), Some("no-store"));
            assert_eq!(field("access-control-allow-origin"), None);
            assert_eq!(field("strict-transport-security"), hsts);
        }
    }

    #[test]
    fn what_another_site_sends_changes_nothing() {
        let ours = |lines: &[_]| is_ours(&headers(lines), PORTAL);
        assert!(ours(&[("origin", PORTAL)]));
        assert!(ours(&[("origin", PORTAL), ("sec-fetch-site", "same-origin")]));
        assert!(!ours(&[]), "no origin");
        for other in [
            "null",
            "https://evil.example",
            "http://connect.example",
            "https://connect.example:444",
        ] {
            assert!(!ours(&[("origin", other)]), "{other}");
        }
        assert!(!ours(&[("origin", PORTAL), ("origin", "https://evil.example")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!ours(&[("origin", PORTAL), ("sec-fetch-site", site)]), "{site}");
        }
        let browser = Browser::of(&headers(&[("cookie", &cookie(&"a".repeat(43)))]), true);
        assert!(browser.sent(Some(&browser.csrf())));
        assert!(!browser.sent(None));
        assert!(!browser.sent(Some(&Browser::new().csrf())), "of another browser's page");
        let cookieless = Browser::of(&HeaderMap::new(), true);
        assert!(!cookieless.sent(Some(&cookieless.csrf())), "nothing is kept of its first visit");
    }

    #[test]
    fn a_planted_secret_is_nobodys_after_sign_in() {
        let (planted, own) = ("p".repeat(43), "o".repeat(43));
        let both = format!("{}; {}", cookie(&planted), cookie(&own));
        let browser = Browser::of(&headers(&[("cookie", &both)]), true);
        assert!(browser.is_new, "two of one name");
        let browser = Browser::of(&headers(&[("cookie", &format!("portal={planted}"))]), true);
        assert!(browser.is_new, "without the prefix that only we can set");
        let browser = Browser::of(&headers(&[("cookie", &cookie(&planted))]), true);
        assert_eq!(browser.secret(), planted);

        let (sessions, now) = (Sessions::default(), BootMicros(0));
        let subject = SubjectId::new("alice").unwrap();
        let who = SignedIn { subject, at: now, authenticated: Some(now) };
        let fresh = sessions.open_anew(&browser, who, None);
        assert!(sessions.find(&planted, now).is_none());
        assert!(sessions.find(fresh.secret(), now).is_some());
        let mut response = "".into_response();
        fresh.remember(&mut response, true);
        let set = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        assert_eq!(
            set,
            format!("{}; Path=/; HttpOnly; SameSite=Lax; Secure", cookie(fresh.secret()))
        );
    }

    fn cookie(secret: &str) -> String {
        format!("__Host-portal={secret}")
    }
}
