//! Signs letters for deployments whose mail server does not: DKIM, relaxed/relaxed, ed25519-sha256 or rsa-sha256.
//!
//! Nothing here verifies. Source: RFC 6376; RFC 8463 for Ed25519, RFC 8301 for what is too weak.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::UnixMicros;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;

/// What is signed. `from` a second time, so that nobody adds another one above it.
const SIGNED: [&str; 6] = ["from", "from", "to", "subject", "date", "message-id"];

/// RFC 8301 section 3.2: signers should use 2048 bits.
const RSA_BYTES_MIN: usize = 256;

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is something else.
    #[error(
        "the DKIM key is not a PKCS#8 PEM file with an Ed25519 or RSA key of at least 2048 bits"
    )]
    Key,
    /// They would not stay in their tag.
    #[error("the DKIM domain or selector is not a host name")]
    Name,
}

/// A key and the name under which verifiers find its public half: `<selector>._domainkey.<domain>`.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// `pem`: the private key, PKCS#8.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(domain: &str, selector: &str, pem: &[u8]) -> Result<Self, BadKey> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        if !is_name(domain) || !is_name(selector) {
            return Err(BadKey::Name);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| BadKey::Key)?;
        let key = if let Ok(key) =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
        {
            Key::Ed25519(key)
        } else {
            let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| BadKey::Key)?;
            if key.public_modulus_len() < RSA_BYTES_MIN {
                return Err(BadKey::Key);
            }
            Key::Rsa(Box::new(key))
        };
        Ok(Self { domain: domain.into(), selector: selector.into(), key })
    }

    /// `message` with a signature in front. Lines end in CRLF.
    pub fn sign(&self, message: &[u8], now: UnixMicros) -> Vec<u8> {
        let (head, body) = split(message);
        let header = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={};\r\n s={}; t={}; h={};\r\n bh={};\r\n b=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            now.secs(),
            SIGNED.join(":"),
            STANDARD.encode(digest(&SHA256, &relaxed_body(body))),
        );
        let signature = self.key.sign(&signed_text(head, &SIGNED, &header));
        let mut signed = header.into_bytes();
        // Folding white space may stand anywhere in base64.
        for (number, line) in STANDARD.encode(signature).as_bytes().chunks(72).enumerate() {
            if number > 0 {
                signed.extend_from_slice(b"\r\n ");
            }
            signed.extend_from_slice(line);
        }
        signed.extend_from_slice(b"\r\n");
        signed.extend_from_slice(message);
        signed
    }

    /// The text of the TXT record that verifiers look for.
    pub fn record(&self) -> String {
        match &self.key {
            //= RFC 8463 section 4: the bare key; RFC 6376 section 3.6.1 takes RSA keys with their algorithm around
            Key::Ed25519(key) => {
                format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key()))
            }
            Key::Rsa(key) => {
                let info = key.public_key().as_der().map(|der| STANDARD.encode(der.as_ref()));
                format!("v=DKIM1; k=rsa; p={}", info.unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("domain", &self.domain)
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}

impl Key {
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519-sha256",
            Self::Rsa(_) => "rsa-sha256",
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a key that was read signs, unless there is no memory or randomness"
    )]
    fn sign(&self, text: &[u8]) -> Vec<u8> {
        match self {
            //= RFC 8463 section 3: Ed25519 over the SHA-256 of the text
            Self::Ed25519(key) => key.sign(digest(&SHA256, text).as_ref()).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
                    .expect("an RSA key signs");
                signature
            }
        }
    }
}

/// The header fields and the body of a message, without the empty line.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    match message.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(at) => message
            .split_at_checked(at + 2)
            .map_or((message, &[]), |(head, rest)| (head, rest.get(2..).unwrap_or_default())),
        None => (message, &[]),
    }
}

//= RFC 6376 section 3.7: the chosen fields, then the signature's own without its value and without its line end
fn signed_text(head: &[u8], names: &[&str], signature: &str) -> Vec<u8> {
    let mut fields: Vec<(String, Vec<u8>)> = unfolded(head).filter_map(relaxed_field).collect();
    let mut text = Vec::new();
    for name in names {
        //= RFC 6376 section 5.4.2: from the bottom up; a field that is not there counts as nothing
        if let Some(at) = fields.iter().rposition(|(field, _)| field == name) {
            let (_, line) = fields.remove(at);
            text.extend_from_slice(&line);
            text.extend_from_slice(b"\r\n");
        }
    }
    if let Some((_, line)) = relaxed_field(signature.as_bytes()) {
        text.extend_from_slice(&line);
    }
    text
}

/// Header fields, each with its continuation lines.
fn unfolded(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = rest
            .windows(3)
            .position(|w| matches!(w, [b'\r', b'\n', next] if *next != b' ' && *next != b'\t'))
            .map_or(rest.len(), |at| at + 2);
        let (field, behind) = rest.split_at_checked(end)?;
        rest = behind;
        (!field.is_empty()).then_some(field)
    })
}

//= RFC 6376 section 3.4.2
fn relaxed_field(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = field.iter().position(|&b| b == b':')?;
    let (name, value) = field.split_at_checked(colon)?;
    let name = String::from_utf8_lossy(name.trim_ascii_end()).to_ascii_lowercase();
    let mut line = name.clone().into_bytes();
    line.push(b':');
    line.extend(relaxed_line(value.get(1..)?.trim_ascii()));
    Some((name, line))
}

//= RFC 6376 section 3.4.4
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(body.len());
    let mut empty_lines = 0;
    let ended = body.strip_suffix(b"\r\n").unwrap_or(body);
    if body.is_empty() {
        return relaxed;
    }
    for line in ended.split(|&b| b == b'\n') {
        let line = relaxed_line(line.strip_suffix(b"\r").unwrap_or(line));
        let line = line.strip_suffix(b" ").unwrap_or(&line);
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            relaxed.extend_from_slice(b"\r\n");
        }
        relaxed.extend_from_slice(line);
        relaxed.extend_from_slice(b"\r\n");
    }
    relaxed
}

/// Line ends gone, each run of blanks one space.
fn relaxed_line(line: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(line.len());
    for &b in line.iter().filter(|&&b| b != b'\r' && b != b'\n') {
        match b {
            b' ' | b'\t' if relaxed.last() == Some(&b' ') => {}
            b'\t' => relaxed.push(b' '),
            b => relaxed.push(b),
        }
    }
    relaxed
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::Ed25519KeyPair;

    // RFC 8463 appendix A.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
        To: Suzie Q <suzie@shopping.example.net>\r\n\
        Subject: Is dinner ready?\r\n\
        Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
        Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
        \r\n\
        Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

    fn rfc_key() -> Key {
        let bytes = |text| STANDARD.decode(text).unwrap();
        Key::Ed25519(
            Ed25519KeyPair::from_seed_and_public_key(&bytes(SEED), &bytes(PUBLIC)).unwrap(),
        )
    }

    #[test]
    fn the_example_of_rfc_8463_is_signed_as_there() {
        let header = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
            d=football.example.com; i=@football.example.com;\r\n \
            q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
            subject : date : message-id : from : subject : date;\r\n \
            bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
        let (head, body) = split(MESSAGE.as_bytes());
        assert_eq!(
            STANDARD.encode(digest(&SHA256, &relaxed_body(body))),
            "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
        );
        let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
        assert_eq!(
            STANDARD.encode(rfc_key().sign(&signed_text(head, &names, header))),
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
        );
    }

    #[test]
    fn the_record_of_rfc_8463_is_published_as_there() {
        let signer = Signer {
            domain: "football.example.com".into(),
            selector: "brisbane".into(),
            key: rfc_key(),
        };
        assert_eq!(signer.record(), format!("v=DKIM1; k=ed25519; p={PUBLIC}"));
    }

    #[test]
    fn bodies_are_relaxed_as_rfc_6376_has_it() {
        let check = |body: &str, want: &str| {
            assert_eq!(String::from_utf8(relaxed_body(body.as_bytes())).unwrap(), want, "{body:?}");
        };
        check(" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"); // section 3.4.5
        check("", "");
        check("\r\n\r\n", "");
        check("a", "a\r\n");
        check("a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n");
    }

    #[test]
    fn headers_are_relaxed_as_rfc_6376_has_it() {
        let head = b"A: X\r\nB : Y\t\r\n\tZ  \r\n"; // section 3.4.5
        let lines: Vec<_> =
            unfolded(head).filter_map(relaxed_field).map(|(_, line)| line).collect();
        assert_eq!(lines, [b"a:X".to_vec(), b"b:Y Z".to_vec()]);
    }

    #[test]
    fn names_that_would_end_their_tag_are_refused() {
        for (domain, selector) in [("a;b", "s"), ("", "s"), ("a", "s\r\n"), ("a", "")] {
            assert_eq!(Signer::new(domain, selector, b"").err(), Some(BadKey::Name));
        }
        assert_eq!(Signer::new("a.example", "s", b"no key").err(), Some(BadKey::Key));
    }
}
