//! DPoP proofs (RFC 9449): one signed statement that the holder of a key makes this request, now.
//!
//! [`verify`] does every check of section 4.3 but two: that the key is the one a token is bound to is the caller's when it
//! gives no [`Expected::key`], and that the proof is used for the first time is always the caller's, because only it knows
//! whose replay set to look into ([`crate::replay::FirstUse`]).

use crate::denied::{BadProof, Denied, KnownCaller};
use crate::json::{NumericDate, Text};
use crate::jwk::sha256;
use crate::jws::{Compact, Header};
use crate::known_key::KnownKeys;
use crate::replay::{Used, first_128_bits};
use crate::{Nonce, NonceKey, PublicKey, base64url};
use model::{Digest, Micros, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest accepted proof.
pub const BYTES_MAX: usize = 4 * 1024;

/// How old a proof may be.
pub const AGE_MAX: Micros = Micros::from_secs(60);

/// How far the prover's clock may be ahead of ours.
pub const AHEAD_MAX: Micros = Micros::from_secs(10);

/// The request that a proof must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method as received.
    pub method: &'a str,
    /// Our configured external origin and the path as received, without query and fragment.
    pub url: &'a str,
    /// SHA-256 of the access token it must name; none at the token endpoint.
    pub token: Option<&'a Digest>,
    /// Thumbprint of the key it must be made with; none at the token endpoint, where the key is looked up afterwards.
    pub key: Option<&'a Digest>,
}

/// A proof that holds. It is not known yet to be used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// RFC 7638 thumbprint of the key that made it.
    pub thumbprint: Digest,
    /// Its `jti`, for the replay set of the key ([`crate::replay::holder_of`]).
    pub used: Used,
    /// The last moment at which it could be accepted.
    pub until: UnixMicros,
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproved {
    /// Its maker is at fault.
    Bad(BadProof),
    /// It lacks a current nonce: repeat with this one.
    NonceNeeded(Nonce),
}

impl Unproved {
    /// As a gateway refuses it. `caller`: whose token it came with.
    pub(crate) fn of(self, caller: Option<KnownCaller>) -> Denied {
        match self {
            Self::Bad(reason) => Denied::Proof { reason, caller },
            Self::NonceNeeded(nonce) => Denied::NonceNeeded { nonce, caller },
        }
    }
}

impl From<BadProof> for Unproved {
    fn from(reason: BadProof) -> Self {
        Self::Bad(reason)
    }
}

/// The parsed header of a proof. A client's proofs share theirs to the byte, so it is parsed once for each token.
pub(crate) struct ProofKey {
    header: Box<str>,
    key: PublicKey,
}

/// Verifies the one proof among `headers`, the values of every `DPoP` header received.
///
/// # Errors
/// [`Unproved::Bad`] means that the caller is at fault; [`Unproved::NonceNeeded`] that it must repeat.
///
/// Source: RFC 9449 section 4.3. Deviations: the cheap checks come before the signature (6); `htu` with a query or fragment is refused
/// where check 9 would ignore them; a nonce is required always (10), so a proof made before a start of ours is never accepted after it.
pub fn verify(
    headers: &[&[u8]],
    expected: &Expected<'_>,
    nonces: &NonceKey,
    now: UnixMicros,
) -> Result<Proved, Unproved> {
    let keys = KnownKeys::default();
    verify_with(headers, expected, nonces, now, &keys, None).map(|(proved, _)| proved)
}

/// As [`verify`]. `keys`: of this node. `known`: the key of an earlier proof under the same token. Returns a [`ProofKey`] if it had to parse one.
pub(crate) fn verify_with(
    headers: &[&[u8]],
    expected: &Expected<'_>,
    nonces: &NonceKey,
    now: UnixMicros,
    keys: &KnownKeys,
    known: Option<&ProofKey>,
) -> Result<(Proved, Option<ProofKey>), Unproved> {
    //= RFC 9449 section 4.3 check 1: not more than one DPoP header field
    let proof = match headers {
        [] => return Err(BadProof::Missing.into()),
        [proof] => *proof,
        [_, _, ..] => return Err(BadProof::Several.into()),
    };
    //= RFC 9449 section 4.3 check 2: a single and well-formed JWT
    let proof = std::str::from_utf8(proof).map_err(|_| BadProof::Malformed)?;
    let compact = Compact::parse(proof, BYTES_MAX).ok_or(BadProof::Malformed)?;
    let parsed = match known {
        Some(known) if *known.header == *compact.header => None,
        _ => Some(ProofKey::parse(&compact)?),
    };
    let key = parsed.as_ref().or(known).map(|proof_key| &proof_key.key);
    let key = key.ok_or(BadProof::Malformed)?;
    //= RFC 9449 section 4.3 check 12: the public key to which the access token is bound matches the one of the proof
    if expected.key.is_some_and(|bound| *bound != key.thumbprint()) {
        return Err(BadProof::OtherKey.into());
    }
    let payload = compact.payload_bytes().ok_or(BadProof::Malformed)?;
    //= RFC 9449 section 4.3 check 3: all required claims
    let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| BadProof::Malformed)?;
    claims.check(expected, now)?;
    //= RFC 9449 section 4.3 check 10: if the server provided a nonce, the nonce claim matches
    if !claims.nonce.as_deref().is_some_and(|nonce| nonces.accepts(nonce, now)) {
        return Err(Unproved::NonceNeeded(nonces.current(now)));
    }
    //= RFC 9449 section 4.3 check 6: the signature verifies with the public key of the jwk header
    let verifies = |message: &[u8], signature: &[u8]| keys.verifies(key, message, signature, now);
    if !compact.verify_by(key, key.algorithm(), verifies) {
        return Err(BadProof::Signature.into());
    }
    let proved = Proved {
        thumbprint: key.thumbprint(),
        used: used(&claims.jti),
        until: claims.iat.moment() + AGE_MAX,
    };
    Ok((proved, parsed))
}

/// The name under which a `jti` is remembered. It holds no more than the `jti`: under another method or URL it is still used.
pub(crate) fn used(jti: &str) -> Used {
    first_128_bits(&sha256(jti.as_bytes()))
}

impl ProofKey {
    fn parse(compact: &Compact<'_>) -> Result<Self, BadProof> {
        let bytes = compact.header_bytes().ok_or(BadProof::Malformed)?;
        let header: Header<'_> = serde_json::from_slice(&bytes).map_err(|_| BadProof::Malformed)?;
        //= RFC 9449 section 4.3 check 4: the typ JOSE header has the value dpop+jwt
        if !header.is_type("dpop+jwt") {
            return Err(BadProof::Type);
        }
        //= RFC 9449 section 4.3 check 5: a registered asymmetric algorithm, not none, acceptable
        let algorithm = header.algorithm().ok_or(BadProof::Algorithm)?;
        let JwkHeader { jwk } = serde_json::from_slice(&bytes).map_err(|_| BadProof::Malformed)?;
        //= RFC 9449 section 4.3 check 7: the jwk header does not contain a private key
        let key = PublicKey::from_jwk(jwk.get()).map_err(BadProof::Key)?;
        if algorithm != key.algorithm() {
            return Err(BadProof::Algorithm);
        }
        Ok(Self { header: compact.header.into(), key })
    }
}

#[derive(Deserialize)]
struct JwkHeader<'a> {
    #[serde(borrow)]
    jwk: &'a RawValue,
}

//= RFC 9449 section 4.2: the claims of a proof
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    jti: Text<'a>,
    #[serde(borrow)]
    htm: Text<'a>,
    #[serde(borrow)]
    htu: Text<'a>,
    iat: NumericDate,
    #[serde(borrow)]
    ath: Option<Text<'a>>,
    #[serde(borrow)]
    nonce: Option<Text<'a>>,
}

impl Claims<'_> {
    fn check(&self, expected: &Expected<'_>, now: UnixMicros) -> Result<(), BadProof> {
        if self.jti.is_empty() {
            return Err(BadProof::Malformed);
        }
        //= RFC 9449 section 4.3 check 8: the htm claim matches the HTTP method
        //= RFC 9110 section 9.1: the method token is case-sensitive
        if *self.htm != *expected.method {
            return Err(BadProof::Method);
        }
        //= RFC 9449 section 4.3 check 9: the htu claim matches the HTTP URI value
        if !crate::htu::same_target(&self.htu, expected.url) {
            return Err(BadProof::Url);
        }
        //= RFC 9449 section 4.3 check 12: the ath claim equals the hash of the access token
        if let Some(token) = expected.token
            && self.ath.as_deref().and_then(base64url::decode_digest) != Some(*token)
        {
            return Err(BadProof::TokenHash);
        }
        //= RFC 9449 section 4.3 check 11: the creation time is within an acceptable window
        let made = self.iat.moment();
        if made > now + AHEAD_MAX {
            return Err(BadProof::Future);
        }
        if now > made + AGE_MAX {
            return Err(BadProof::Stale);
        }
        Ok(())
    }
}
