//! Which certificates of a CA are an integration's: one rule over one of their names (RFC 8705 section 2.1.2).

use std::fmt;
use std::net::IpAddr;

/// Which name of a certificate a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// The subject, as RFC 4514 writes it.
    SubjectDn,
    /// A DNS name of the subject alternative names.
    SanDns,
    /// The URI of the subject alternative names, a SPIFFE id for one.
    SanUri,
    /// An address of the subject alternative names.
    SanIp,
    /// A mail address of the subject alternative names.
    SanEmail,
}

impl RuleKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::SubjectDn, Self::SanDns, Self::SanUri, Self::SanIp, Self::SanEmail];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SubjectDn => "subject_dn",
            Self::SanDns => "san_dns",
            Self::SanUri => "san_uri",
            Self::SanIp => "san_ip",
            Self::SanEmail => "san_email",
        }
    }

    /// What [`RuleKind::name`] wrote.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A name that a certificate must have, whole: no wildcard, no prefix. Written in one way, so that equal rules are equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateRule {
    kind: RuleKind,
    value: String,
}

/// A rule that no certificate could meet, or that can be read in two ways. The operator who wrote it must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRule(
    /// What is wrong with it.
    pub &'static str,
);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadRule {}

/// Longest value, in bytes: that of a SPIFFE id.
const VALUE_BYTES_MAX: usize = 2048;

impl CertificateRule {
    /// Reads a rule as an operator writes it.
    ///
    /// # Errors
    /// [`BadRule`].
    pub fn new(kind: RuleKind, value: &str) -> Result<Self, BadRule> {
        if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control)
        {
            return Err(BadRule("the value is 1 to 2048 bytes without control characters"));
        }
        let value = match kind {
            RuleKind::SubjectDn => subject_dn(value)?,
            RuleKind::SanDns => dns(value)?,
            RuleKind::SanUri => uri(value)?,
            RuleKind::SanIp => {
                let address: IpAddr =
                    value.parse().map_err(|_| BadRule("that is not an address"))?;
                address.to_string()
            }
            RuleKind::SanEmail => email(value)?,
        };
        Ok(Self { kind, value })
    }

    /// Which name it is about.
    pub fn kind(&self) -> RuleKind {
        self.kind
    }

    /// What that name must be, in the one way it is written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it names a SPIFFE id, whose certificates are held to the rules of SPIFFE besides.
    pub fn is_spiffe(&self) -> bool {
        self.kind == RuleKind::SanUri && self.value.starts_with("spiffe://")
    }
}

impl fmt::Display for CertificateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.value)
    }
}

fn subject_dn(value: &str) -> Result<String, BadRule> {
    // Certificates' subjects are written without spaces between their parts, so such a rule would never be met.
    let spaced = value.replace("\\,", "").contains(", ") || value.contains(" =");
    if spaced || !value.contains('=') {
        return Err(BadRule(
            "the subject is written as `openssl x509 -noout -subject -nameopt RFC2253,utf8` prints it",
        ));
    }
    Ok(value.to_owned())
}

fn dns(value: &str) -> Result<String, BadRule> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if value.len() > 253 || !value.split('.').all(label) {
        return Err(BadRule("that is not a DNS name; wildcards are not taken"));
    }
    Ok(value.to_ascii_lowercase())
}

fn email(value: &str) -> Result<String, BadRule> {
    match value.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && local.is_ascii() && !local.contains('@') => {
            Ok(format!("{local}@{}", dns(domain)?))
        }
        _ => Err(BadRule("that is not a mail address")),
    }
}

fn uri(value: &str) -> Result<String, BadRule> {
    let (scheme, rest) = value.split_once(':').ok_or(BadRule("that is not a URI with a scheme"))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(BadRule("that is not a URI with a scheme"));
    }
    if scheme.eq_ignore_ascii_case("spiffe") {
        return spiffe_id(value).ok_or(BadRule(
            "a SPIFFE id is spiffe://trust-domain/path with a path of letters, digits, `.`, `-` and `_`, without an empty, `.` or `..` part or a slash at its end",
        ));
    }
    Ok(format!("{}:{rest}", scheme.to_ascii_lowercase()))
}

/// A leaf's SPIFFE id in the one way it is written: scheme and trust domain in lower case. `None` if it is none, or names a whole
/// trust domain and so a CA.
///
/// Source: SPIFFE-ID section 2, X509-SVID section 5.2.
pub fn spiffe_id(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (domain, path) = rest.split_once('/')?;
    let domain = domain.to_ascii_lowercase();
    let domain_is_plain = (1..=255).contains(&domain.len())
        && domain
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let holds = scheme.eq_ignore_ascii_case("spiffe")
        && text.len() <= VALUE_BYTES_MAX
        && domain_is_plain
        && path.split('/').all(is_plain);
    holds.then(|| format!("spiffe://{domain}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: RuleKind, value: &str, expected: Option<&str>) {
        let rule = CertificateRule::new(kind, value);
        assert_eq!(rule.as_ref().ok().map(CertificateRule::value), expected, "{kind:?} {value}");
    }

    #[test]
    fn each_rule_is_written_in_one_way() {
        check(RuleKind::SanDns, "Worker.Acme.Example", Some("worker.acme.example"));
        check(RuleKind::SanIp, "2001:DB8:0::1", Some("2001:db8::1"));
        check(RuleKind::SanEmail, "Ops@Acme.Example", Some("Ops@acme.example"));
        check(
            RuleKind::SanUri,
            "SPIFFE://Acme.Example/Sync/a",
            Some("spiffe://acme.example/Sync/a"),
        );
        check(RuleKind::SanUri, "URN:uuid:7", Some("urn:uuid:7"));
        check(
            RuleKind::SubjectDn,
            "CN=Acme\\, Inc,O=Acme,C=DE",
            Some("CN=Acme\\, Inc,O=Acme,C=DE"),
        );
        for kind in RuleKind::ALL {
            assert_eq!(RuleKind::parse(kind.name()), Some(kind));
        }
    }

    #[test]
    fn what_has_two_readings_or_covers_more_than_one_name_is_refused() {
        for value in
            ["", "*.acme.example", "a..b", "acme.example.", "a\0.b", "-a.b", "a b", "ä.example"]
        {
            check(RuleKind::SanDns, value, None);
        }
        for value in [
            "spiffe://td",
            "spiffe://td/",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/a/../b",
            "spiffe://td/./a",
            "spiffe://td:1/a",
            "spiffe://me@td/a",
            "spiffe://td/a?b",
            "spiffe://td/a#b",
            "spiffe://td/a%2fb",
            "spiffe://td/*",
            "spiffe:///a",
            "spiffe:td/a",
            "no-scheme",
            "http://a b",
        ] {
            check(RuleKind::SanUri, value, None);
        }
        check(RuleKind::SanIp, "10.0.0.0/8", None);
        check(RuleKind::SanEmail, "acme.example", None);
        check(RuleKind::SanEmail, "a@b@acme.example", None);
        check(RuleKind::SubjectDn, "CN=a, O=b", None);
        check(RuleKind::SubjectDn, "acme", None);
        check(RuleKind::SubjectDn, "CN=a\0", None);
    }
}
