//! Private keys: the authority's own, and those of our clients and tests. Everything else in this crate only verifies.

use crate::{Algorithm, PublicKey, base64url};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use std::fmt;

/// A private key that signs compact JWS. ES256 nonces come from the crypto library; everything else is determined by the arguments.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// Bytes that are not a private key we can sign with; whoever keeps the key file is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#8 private key for Ed25519 or P-256")]
pub struct NotAPrivateKey;

impl SigningKey {
    /// Reads PKCS#8 DER (RFC 5208, RFC 8410) of an Ed25519 or P-256 key.
    ///
    /// # Errors
    /// [`NotAPrivateKey`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NotAPrivateKey> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let x = base64url::encode(pair.public_key().as_ref());
            let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
            return Self::with_public(Pair::EdDsa(pair), &jwk);
        }
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| NotAPrivateKey)?;
        let [4, point @ ..] = pair.public_key().as_ref() else { return Err(NotAPrivateKey) };
        let (x, y) = point.split_at_checked(32).ok_or(NotAPrivateKey)?;
        let (x, y) = (base64url::encode(x), base64url::encode(y));
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self::with_public(Pair::Es256(pair), &jwk)
    }

    fn with_public(pair: Pair, jwk: &str) -> Result<Self, NotAPrivateKey> {
        let public = PublicKey::from_jwk(jwk).map_err(|_| NotAPrivateKey)?;
        Ok(Self { pair, public })
    }

    /// PKCS#8 DER of the key whose secret is these 32 random bytes: the Ed25519 seed, or the P-256 scalar.
    ///
    /// `None` for PS256, which we never sign with. A P-256 scalar of zero or beyond the group order (one in 2^32) is refused by [`SigningKey::from_pkcs8`].
    pub fn pkcs8(algorithm: Algorithm, random: [u8; 32]) -> Option<Vec<u8>> {
        // RFC 8410 section 7 and RFC 5915 section 3: the fixed octets before the 32 of the secret.
        const ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        const P256: &[u8] = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20";
        match algorithm {
            Algorithm::EdDsa => Some([ED25519, &random].concat()),
            Algorithm::Es256 => Some([P256, &random].concat()),
            Algorithm::Ps256 => None,
        }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A compact JWS over these two JSON texts as they stand (RFC 7515 section 5.1). The caller writes `alg` into the header.
    pub fn sign_compact(&self, header: &str, payload: &str) -> String {
        let mut jws = base64url::encode(header.as_bytes());
        jws.push('.');
        jws.push_str(&base64url::encode(payload.as_bytes()));
        let signature = self.sign(jws.as_bytes());
        jws.push('.');
        jws.push_str(&base64url::encode(&signature));
        jws
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            // An empty signature verifies nowhere, so a failing random source closes rather than opens.
            Pair::Es256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map_or_else(|_| Vec::new(), |signature| signature.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(private half of {:?})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::Compact;

    #[test]
    fn both_kinds_of_key_sign_what_their_public_half_verifies() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let key =
                SigningKey::from_pkcs8(&SigningKey::pkcs8(algorithm, [7; 32]).unwrap()).unwrap();
            let jws = key.sign_compact("{}", "{}");
            let compact = Compact::parse(&jws, 4096).unwrap();
            assert!(compact.verify(key.public(), algorithm));
            assert!(!compact.verify(key.public(), Algorithm::Ps256));
        }
    }

    #[test]
    fn what_is_not_a_private_key_is_refused() {
        assert!(SigningKey::from_pkcs8(b"").is_err());
        assert!(
            SigningKey::from_pkcs8(&SigningKey::pkcs8(Algorithm::Es256, [0; 32]).unwrap()).is_err()
        );
        assert_eq!(SigningKey::pkcs8(Algorithm::Ps256, [7; 32]), None);
    }

    #[test]
    fn the_private_half_is_not_printed() {
        let der = SigningKey::pkcs8(Algorithm::EdDsa, [7; 32]).unwrap();
        let printed = format!("{:?}", SigningKey::from_pkcs8(&der).unwrap());
        assert!(printed.starts_with("SigningKey(private half of PublicKey(EdDSA, "), "{printed}");
    }
}
