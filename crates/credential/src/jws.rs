//! Compact JWS (RFC 7515 section 7.1): three parts, a signature by a key that is known beforehand, and no extensions.

use crate::base64url;
use crate::json::{self, Text};
use crate::{Algorithm, PublicKey};
use serde::Deserialize;

/// A compact JWS taken apart. Nothing in it can be trusted before [`Compact::verify`].
pub(crate) struct Compact<'a> {
    /// The first part as sent, still base64url.
    pub(crate) header: &'a str,
    signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// `None` unless `text` is three parts and at most `bytes_max` long.
    pub(crate) fn parse(text: &'a str, bytes_max: usize) -> Option<Self> {
        if text.len() > bytes_max {
            return None;
        }
        let (signing_input, signature) = text.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        let three = !payload.contains('.');
        three.then_some(Self { header, signing_input, payload, signature })
    }

    pub(crate) fn header_bytes(&self) -> Option<Vec<u8>> {
        base64url::decode(self.header.as_bytes())
    }

    pub(crate) fn payload_bytes(&self) -> Option<Vec<u8>> {
        base64url::decode(self.payload.as_bytes())
    }

    /// What was signed, and the signature.
    pub(crate) fn signed(&self) -> Option<(&'a [u8], Vec<u8>)> {
        Some((self.signing_input.as_bytes(), base64url::decode(self.signature.as_bytes())?))
    }

    /// Whether `key` signed this. `algorithm` is the header's: it must be the key's own, and never chooses anything.
    pub(crate) fn verify(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        self.verify_by(key, algorithm, |message, signature| key.verifies(message, signature))
    }

    /// As [`Compact::verify`]. `verifies`: whether a signature is the key's over a message.
    pub(crate) fn verify_by(
        &self,
        key: &PublicKey,
        algorithm: Algorithm,
        verifies: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> bool {
        //= RFC 8725 section 3.1: each key is used with exactly one algorithm, checked when the operation is performed
        algorithm == key.algorithm()
            && self.signed().is_some_and(|(message, signature)| verifies(message, &signature))
    }
}

/// The header members that every JWS of ours is judged by. Others are ignored, as RFC 7515 section 4 says.
#[derive(Deserialize)]
pub(crate) struct Header<'a> {
    #[serde(borrow)]
    alg: Text<'a>,
    #[serde(borrow)]
    pub(crate) typ: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) kid: Option<Text<'a>>,
    //= RFC 7515 section 4.1.11: a JWS with a critical extension that is not understood is invalid; we understand none
    #[serde(default, rename = "crit", deserialize_with = "json::forbidden")]
    _crit: (),
    //= RFC 7797 section 6: `b64` may only be used with `crit`
    #[serde(default, rename = "b64", deserialize_with = "json::forbidden")]
    _b64: (),
}

impl Header<'_> {
    /// The algorithm as it is named.
    pub(crate) fn alg(&self) -> &str {
        &self.alg
    }

    /// The algorithm, if it is one of ours.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_name(&self.alg)
    }

    /// Whether `typ` is this media type, `application/` left out or not.
    pub(crate) fn is_type(&self, wanted: &str) -> bool {
        //= RFC 7515 section 4.1.9: media types compare without regard to case
        self.typ.as_deref().is_some_and(|typ| {
            typ.eq_ignore_ascii_case(wanted)
                || typ.split_at_checked(12).is_some_and(|(prefix, rest)| {
                    prefix.eq_ignore_ascii_case("application/") && rest.eq_ignore_ascii_case(wanted)
                })
        })
    }
}
