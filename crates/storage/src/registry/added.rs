//! A credential as its command describes it, checked and ready to be stored.

use super::RegistryError;
use super::command::Rule;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use credential::PublicKey;
use credential::certificate::Certificate;
use model::{CertificateRule, Digest, UnixMicros};
use serde_json::{Map, Value};

/// Longest certificate, in bytes: one with a large RSA key and many names is some 3 KiB.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// What is stored of a credential's means.
pub(super) struct Added {
    /// Names what it is: nobody else ever registers the same.
    pub(super) thumbprint: Digest,
    /// Empty unless it is a key.
    pub(super) jwk: String,
    /// DER of the certificate, or of the CA.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) rule: Option<CertificateRule>,
}

impl Added {
    pub(super) fn key(jwk: &Map<String, Value>) -> Result<Self, RegistryError> {
        let key = PublicKey::from_jwk(&Value::Object(jwk.clone()).to_string())
            .map_err(|error| RegistryError::Invalid(error.to_string()))?;
        let (thumbprint, jwk) = (key.thumbprint(), key.canonical_jwk().to_owned());
        Ok(Self { thumbprint, jwk, certificate: None, rule: None })
    }

    /// `certificate`: DER, base64url.
    pub(super) fn certificate(
        certificate: &str,
        rule: Option<&Rule>,
        now: UnixMicros,
    ) -> Result<Self, RegistryError> {
        let invalid = |why: &dyn std::fmt::Display| RegistryError::Invalid(why.to_string());
        let der = BASE64_URL_SAFE_NO_PAD.decode(certificate).map_err(|error| invalid(&error))?;
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(invalid(&"the certificate is longer than 16 KiB"));
        }
        let read = Certificate::parse(&der).map_err(|error| invalid(&error))?;
        if now >= read.ends() {
            return Err(invalid(&format!("the certificate ended at {}", read.ends())));
        }
        let rule = rule.map(Rule::read).transpose().map_err(|error| invalid(&error))?;
        let thumbprint = match &rule {
            None if !read.is_for_clients() => {
                return Err(invalid(&"the certificate is not for the authentication of clients"));
            }
            Some(_) if !read.is_ca() => {
                return Err(invalid(
                    &"a rule is about the certificates of a CA, and that is no CA's",
                ));
            }
            None => read.thumbprint(),
            Some(rule) => rule_thumbprint(&read.thumbprint(), rule),
        };
        Ok(Self { thumbprint, jwk: String::new(), certificate: Some(der), rule })
    }
}

fn rule_thumbprint(ca: &Digest, rule: &CertificateRule) -> Digest {
    use aws_lc_rs::digest::{SHA256, digest};
    let message =
        [b"portcullis certificate rule v1\n", &ca[..], rule.to_string().as_bytes()].concat();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &message).as_ref());
    hash
}
