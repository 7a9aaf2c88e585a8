//! Client assertions (RFC 7523, `private_key_jwt`): how an integration proves itself to the token endpoint.

use crate::authenticate::in_use;
use crate::dpop;
use crate::json::{NumericDate, Text};
use crate::jws::{Compact, Header};
use crate::replay::Used;
use crate::token::CLOCK_AHEAD;
use crate::{Algorithm, PublicKey, base64url};
use model::{Credential, CredentialId, Directory, IntegrationId, Means, Micros, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest accepted assertion.
pub const BYTES_MAX: usize = 4 * 1024;

/// How far ahead `exp` may be.
pub const LIFETIME: Micros = Micros::from_secs(300);

/// Keys that are tried for an assertion without `kid`, so that a stranger's request costs few signature checks.
const KEYS_TRIED: usize = 4;

/// An assertion that holds. It is not known yet to be used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// Who made it.
    pub integration: IntegrationId,
    /// With which registered key.
    pub credential: CredentialId,
    /// Its `jti`, for the integration's replay set.
    pub used: Used,
    /// The last moment at which it could be accepted.
    pub until: UnixMicros,
    /// When it says it was made, if it says so.
    pub issued: Option<UnixMicros>,
}

/// What is wrong with an assertion; the client is at fault. Whether a client is registered, and with which keys, is not told apart in words,
/// nor in time: each of these refusals costs one signature check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAssertion {
    /// Not a compact JWS with the required claims, or more than 4 KiB.
    #[error("the assertion is malformed")]
    Malformed,
    /// `typ` says that it is another kind of JWT.
    #[error("the assertion is a JWT of another type")]
    Type,
    /// `iss` and `sub` are not one registered client.
    #[error("the assertion is not signed with an active key of a registered client")]
    UnknownClient,
    /// `kid` names no active key of the client, or one of another algorithm, or is needed because there are many.
    #[error("the assertion is not signed with an active key of a registered client")]
    UnknownKey,
    /// `alg` is not an accepted asymmetric algorithm.
    #[error("the assertion names no algorithm that is accepted")]
    Algorithm,
    /// The signature does not verify.
    #[error("the assertion is not signed with an active key of a registered client")]
    Signature,
    /// `aud` is not the issuer, as one string.
    #[error("the assertion's audience is not the issuer")]
    Audience,
    /// On or after `exp`.
    #[error("the assertion has expired")]
    Expired,
    /// `exp` is more than five minutes ahead.
    #[error("the assertion lives too long")]
    LivesTooLong,
    /// `iat` or `nbf` is more than 10 s ahead.
    #[error("the assertion is from the future")]
    NotYetValid,
}

/// Verifies a client assertion. `issuer`: our issuer identifier, the only audience.
///
/// # Errors
/// See [`BadAssertion`]. First use is the caller's check, because it must come after everything that asks the client to repeat.
///
/// Source: RFC 7523 section 3, FAPI 2.0 security profile section 5.3.2.1 (`aud` is the issuer, as a string). The key may be
/// any active key registered for the client, and `alg` is the key's.
pub fn verify(
    assertion: &str,
    issuer: &str,
    directory: &Directory,
    now: UnixMicros,
) -> Result<Asserted, BadAssertion> {
    let compact = Compact::parse(assertion, BYTES_MAX).ok_or(BadAssertion::Malformed)?;
    let header = compact.header_bytes().ok_or(BadAssertion::Malformed)?;
    let header: Header<'_> =
        serde_json::from_slice(&header).map_err(|_| BadAssertion::Malformed)?;
    //= RFC 8725 section 3.11: a JWT of another kind must not pass for this one
    let typed = header.is_type("JWT") || header.is_type("client-authentication+jwt");
    if header.typ.is_some() && !typed {
        return Err(BadAssertion::Type);
    }
    let algorithm = header.algorithm().ok_or(BadAssertion::Algorithm)?;
    let payload = compact.payload_bytes().ok_or(BadAssertion::Malformed)?;
    let claims: Claims<'_> =
        serde_json::from_slice(&payload).map_err(|_| BadAssertion::Malformed)?;
    let kid = header.kid.as_deref();
    let signed = claims.client(directory).and_then(|integration| {
        //= RFC 7523 section 3: the signature is the client's, by a key registered for it
        let credential = signer(&compact, kid, algorithm, integration, directory, now)?;
        Ok((integration, credential))
    });
    let (integration, credential) = signed.inspect_err(|why| {
        if *why != BadAssertion::Signature {
            check_against_nobody(&compact, algorithm);
        }
    })?;
    claims.check(issuer, now)?;
    Ok(Asserted {
        integration,
        credential,
        used: dpop::used(&claims.jti),
        until: claims.exp.moment(),
        issued: claims.iat.map(|iat| iat.moment()),
    })
}

/// The registered key that signed. A `kid` is the credential's id or the key's thumbprint.
fn signer(
    compact: &Compact<'_>,
    kid: Option<&str>,
    algorithm: Algorithm,
    integration: IntegrationId,
    directory: &Directory,
    now: UnixMicros,
) -> Result<CredentialId, BadAssertion> {
    let is_meant = |credential: &&Credential| {
        credential.integration == integration
            && in_use(credential, now)
            && kid.is_none_or(|kid| {
                let by_thumbprint = match &credential.means {
                    Means::Key { thumbprint, .. } => base64url::encode(thumbprint) == kid,
                    Means::Certificate { .. } | Means::Ca { .. } => false,
                };
                by_thumbprint || credential.id.to_string() == kid
            })
    };
    let keys: Vec<(CredentialId, PublicKey)> = directory
        .credentials
        .values()
        .filter(is_meant)
        .filter_map(|credential| Some((credential.id, registered_key(credential)?)))
        .take(KEYS_TRIED + 1)
        .collect();
    if keys.is_empty() || keys.len() > KEYS_TRIED {
        return Err(BadAssertion::UnknownKey);
    }
    if keys.iter().all(|(_, key)| key.algorithm() != algorithm) {
        return Err(BadAssertion::UnknownKey);
    }
    let signed = keys.iter().find(|(_, key)| compact.verify(key, algorithm));
    signed.map(|(id, _)| *id).ok_or(BadAssertion::Signature)
}

/// Takes as long as it takes to find that a registered key did not sign.
fn check_against_nobody(compact: &Compact<'_>, algorithm: Algorithm) {
    let key = PublicKey::from_jwk(nobodys(algorithm));
    // Nobody has the other half of the key, and nobody asks what came of it.
    std::hint::black_box(key.is_ok_and(|key| compact.verify(&key, algorithm)));
}

/// A public key of each algorithm whose private half was thrown away.
const fn nobodys(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDsa => {
            r#"{"kty":"OKP","crv":"Ed25519","x":"t-Iw8mmCGtoy6uMg0paPaKaij9xHxiWNENbWkbh8hBw"}"#
        }
        Algorithm::Es256 => {
            r#"{"kty":"EC","crv":"P-256","x":"Uyw7Dt2_sbVKJTCJPLLmMvCqjrCbRuZQ8PNHkXJQTmU","y":"doYSJpCrFmxUjfKjuVS__E5DMx-qkUwKmvsyGDo3gD8"}"#
        }
        Algorithm::Ps256 => {
            r#"{"kty":"RSA","n":"5GDCKc8bxPF5jx9jS3zs_zpj_i5_TFImYtkCXXuxe4ptsyrj5bG2fV_HO85StyV9cczx-W8qq35JolcJ13azIXAUMSFnZR7iiOvgGUOoYVX1qhB-Gu68-I0FNCW7P9L6bTbrzV59bzfq53kb_dvrUMK4dhd_0PxFP1_q-4wR5Y0ve9ts8r09hU_S1tmFmfDjjy_Tzlre_KEZsnyT27l-m2VqxjbzmlNvdyF3NVvD1DjZXgtUgQUEOR1AvJqf11_WO-jaYZJuIksBrsR0tm3Np8k8mPjLebKPsSsQUb5B96_HQWTJHunrFKXhN1ADcNOReS-o2eTae77IexpfN24Zrw","e":"AQAB","alg":"PS256"}"#
        }
    }
}

/// The key of a credential registered by key; none for one registered by certificate, or if JWK and thumbprint disagree.
pub(crate) fn registered_key(credential: &Credential) -> Option<PublicKey> {
    let Means::Key { thumbprint, jwk } = &credential.means else { return None };
    let key = PublicKey::from_jwk(jwk).ok()?;
    (key.thumbprint() == *thumbprint).then_some(key)
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    aud: &'a RawValue,
    exp: NumericDate,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    #[serde(borrow)]
    jti: Text<'a>,
}

impl Claims<'_> {
    //= RFC 7523 section 3: for client authentication the subject must be the client_id; so is the issuer
    fn client(&self, directory: &Directory) -> Result<IntegrationId, BadAssertion> {
        if self.iss != self.sub {
            return Err(BadAssertion::UnknownClient);
        }
        let id: IntegrationId = self.sub.parse().map_err(|_| BadAssertion::UnknownClient)?;
        if directory.integrations.contains_key(&id) {
            Ok(id)
        } else {
            Err(BadAssertion::UnknownClient)
        }
    }

    fn check(&self, issuer: &str, now: UnixMicros) -> Result<(), BadAssertion> {
        //= FAPI 2.0 security profile section 5.3.2.1: the issuer identifier as a string, no array
        let audience: Text<'_> =
            serde_json::from_str(self.aud.get()).map_err(|_| BadAssertion::Audience)?;
        //= RFC 7523 section 3: the audience is this server
        if &*audience != issuer {
            return Err(BadAssertion::Audience);
        }
        if self.jti.is_empty() {
            return Err(BadAssertion::Malformed);
        }
        let exp = self.exp.moment();
        //= RFC 7523 section 3: exp is required and not past
        if now >= exp {
            return Err(BadAssertion::Expired);
        }
        if exp > now + LIFETIME {
            return Err(BadAssertion::LivesTooLong);
        }
        //= FAPI 2.0 security profile section 5.3.2.1: iat and nbf up to 10 s in the future are accepted
        let ahead =
            |date: Option<NumericDate>| date.is_some_and(|date| date.moment() > now + CLOCK_AHEAD);
        if ahead(self.iat) || ahead(self.nbf) { Err(BadAssertion::NotYetValid) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_registered_is_told_by_no_word() {
        let same = [BadAssertion::UnknownClient, BadAssertion::UnknownKey, BadAssertion::Signature];
        let words: std::collections::BTreeSet<_> = same.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 1, "{words:?}");
    }

    #[test]
    fn nobodys_keys_are_checked_like_anybodys() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Ps256] {
            assert_eq!(PublicKey::from_jwk(nobodys(algorithm)).unwrap().algorithm(), algorithm);
        }
    }
}
