//! What one X.509 certificate says: names, dates, uses.

use crate::jwk::sha256;
use crate::{BadKey, PublicKey, base64url};
use model::{CertificateRule, Digest, RuleKind, UnixMicros};
use serde_json::json;
use std::fmt::Write;
use std::net::IpAddr;
use x509_parser::asn1_rs::{FromDer, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey as Spki;
use x509_parser::x509::{AttributeTypeAndValue, SubjectPublicKeyInfo, X509Name};

/// Bytes that are not one whole certificate, or one with an extension twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not an X.509 certificate that can be read")]
pub struct Unreadable;

/// What a certificate says. Nothing of it is verified by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    thumbprint: Digest,
    begins: UnixMicros,
    ends: UnixMicros,
    subject: Option<String>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    is_ca: bool,
    use_of_key: KeyUse,
    /// Whether it may authenticate a client, as far as it says.
    for_clients: bool,
    names: Names,
}

/// The subject alternative names, in the one way that rules are written; those that no rule could name are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    dns: Vec<String>,
    email: Vec<String>,
    ip: Vec<String>,
    /// As they stand: how many there are matters, whatever they say.
    uri: Vec<Option<String>>,
}

/// What the key usage extension says of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyUse {
    /// There is no such extension.
    Unsaid,
    /// It signs messages, and neither certificates nor revocation lists.
    Signs,
    /// Anything else.
    Other,
}

impl Certificate {
    /// Reads one certificate.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn parse(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, read) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let is_ca = read.basic_constraints().map_err(|_| Unreadable)?;
        let usage = read.key_usage().map_err(|_| Unreadable)?.map(|usage| usage.value);
        let use_of_key = match usage {
            None => KeyUse::Unsaid,
            Some(usage)
                if usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign() =>
            {
                KeyUse::Signs
            }
            Some(_) => KeyUse::Other,
        };
        let extended = read.extended_key_usage().map_err(|_| Unreadable)?;
        let alternative = read.subject_alternative_name().map_err(|_| Unreadable)?;
        let alternative = alternative.map_or(&[][..], |names| &names.value.general_names);
        let validity = read.validity();
        Ok(Self {
            thumbprint: sha256(der),
            begins: moment(validity.not_before.timestamp()),
            //= RFC 5280 section 4.1.2.5: valid through notAfter, inclusive
            ends: moment(validity.not_after.timestamp().saturating_add(1)),
            subject: written(read.subject()),
            issuer: content(read.issuer().as_raw()),
            serial: read.raw_serial().to_vec(),
            is_ca: is_ca.is_some_and(|constraints| constraints.value.ca),
            use_of_key,
            for_clients: extended.is_none_or(|uses| uses.value.any || uses.value.client_auth),
            names: Names::of(alternative),
        })
    }

    /// SHA-256 of its DER, as RFC 8705 section 3.1 thumbprints it.
    pub fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// The first moment at which it is valid.
    pub fn begins(&self) -> UnixMicros {
        self.begins
    }

    /// The first moment at which it is no longer valid.
    pub fn ends(&self) -> UnixMicros {
        self.ends
    }

    /// Its subject as RFC 4514 writes it; none if a part of it is no text.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whether it says that it is a CA's.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether it may authenticate a client, as far as its extended key usage says.
    pub fn is_for_clients(&self) -> bool {
        self.for_clients
    }

    pub(super) fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    pub(super) fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Whether it has the name that the rule asks for and is what the rule's kind asks of a leaf besides.
    //= RFC 8705 section 2.1.2: one rule over one of its names, the subject or a subject alternative name
    pub(super) fn meets(&self, rule: &CertificateRule) -> bool {
        if self.is_ca || self.use_of_key == KeyUse::Other {
            return false;
        }
        let value = rule.value();
        let is_among = |names: &[String]| names.iter().any(|name| name == value);
        match rule.kind() {
            RuleKind::SubjectDn => self.subject.as_deref() == Some(value),
            RuleKind::SanDns => is_among(&self.names.dns),
            RuleKind::SanEmail => is_among(&self.names.email),
            RuleKind::SanIp => is_among(&self.names.ip),
            //= X509-SVID section 5.2: more than one URI is refused; we hold every URI rule to that
            //= X509-SVID section 4.3: the key usage of a leaf is set
            RuleKind::SanUri => match self.names.uri.as_slice() {
                [Some(only)] => {
                    only == value && (!rule.is_spiffe() || self.use_of_key == KeyUse::Signs)
                }
                _ => false,
            },
        }
    }
}

impl Names {
    fn of(names: &[GeneralName<'_>]) -> Self {
        let mut read = Self::default();
        let canonical = |kind, text: &str| {
            CertificateRule::new(kind, text).ok().map(|rule| rule.value().to_owned())
        };
        for name in names {
            match name {
                GeneralName::DNSName(text) => read.dns.extend(canonical(RuleKind::SanDns, text)),
                GeneralName::RFC822Name(text) => {
                    read.email.extend(canonical(RuleKind::SanEmail, text));
                }
                GeneralName::URI(text) => read.uri.push(canonical(RuleKind::SanUri, text)),
                GeneralName::IPAddress(bytes) => read.ip.extend(address(bytes)),
                GeneralName::Invalid(tag, _) if tag.0 == 6 => read.uri.push(None),
                GeneralName::Invalid(..)
                | GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        read
    }
}

/// The public key of a certificate, if it is one that we accept elsewhere too.
///
/// # Errors
/// [`BadKey`].
pub fn public_key(der: &[u8]) -> Result<PublicKey, BadKey> {
    let (_, read) = X509Certificate::from_der(der).map_err(|_| BadKey::Malformed)?;
    let jwk = jwk(read.public_key()).ok_or(BadKey::Unsupported)?;
    PublicKey::from_jwk(&jwk.to_string())
}

fn jwk(spki: &SubjectPublicKeyInfo<'_>) -> Option<serde_json::Value> {
    if spki.algorithm.algorithm == oid!(1.3.101.112) {
        let x = base64url::encode(&spki.subject_public_key.data);
        return Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": x }));
    }
    match spki.parsed().ok()? {
        Spki::RSA(key) => {
            let text = |number: &[u8]| {
                let start = number.iter().position(|&byte| byte != 0)?;
                number.get(start..).map(base64url::encode)
            };
            Some(json!({ "kty": "RSA", "n": text(key.modulus)?, "e": text(key.exponent)? }))
        }
        Spki::EC(point) => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let [4, xy @ ..] = point.data() else { return None };
            let (x, y) = xy.split_at_checked(32).filter(|(_, y)| y.len() == 32)?;
            (curve == oid!(1.2.840.10045.3.1.7)).then(|| {
                let (x, y) = (base64url::encode(x), base64url::encode(y));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            })
        }
        Spki::DSA(_) | Spki::GostR3410(_) | Spki::GostR3410_2012(_) | Spki::Unknown(_) => None,
    }
}

/// Seconds since 1970 as a moment; what lies before 1970 is its beginning.
pub(super) fn moment(seconds: i64) -> UnixMicros {
    // A year 9999 is far inside what microseconds can count.
    UnixMicros::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some(address.to_string())
}

/// The content of a DER sequence: webpki names issuers without tag and length.
pub(super) fn content(der: &[u8]) -> Vec<u8> {
    let length_bytes = match der.get(1) {
        Some(first) if first & 0x80 != 0 => usize::from(first & 0x7f),
        _ => 0,
    };
    der.get(2 + length_bytes..).unwrap_or_default().to_vec()
}

/// A name as RFC 4514 section 2 writes it: last part first, `+` within a part, no spaces between.
fn written(name: &X509Name<'_>) -> Option<String> {
    let parts: Option<Vec<String>> = name
        .iter_rdn()
        .map(|part| {
            let values: Option<Vec<String>> = part.iter().map(attribute).collect();
            values.map(|values| values.join("+"))
        })
        .collect();
    let mut parts = parts?;
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    //= RFC 4514 section 3: the short names that every implementation knows
    let oid = attribute.attr_type().to_id_string();
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "street",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    let value = attribute.as_str().ok()?;
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::new();
    for (at, c) in value.chars().enumerate() {
        //= RFC 4514 section 2.4: what is escaped, and where
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (at == 0 && matches!(c, ' ' | '#'))
            || (at == last && c == ' ');
        match c {
            _ if special => {
                escaped.push('\\');
                escaped.push(c);
            }
            // Control characters stand in no rule, so a name with one meets none.
            _ if c.is_control() => write!(escaped, "\\{:02X}", u32::from(c)).ok()?,
            _ => escaped.push(c),
        }
    }
    Some(format!("{name}={escaped}"))
}
