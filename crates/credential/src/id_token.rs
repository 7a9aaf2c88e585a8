//! ID tokens and logout tokens (OpenID Connect): what the company's own provider says of who signed in to the portal, and who left.
//!
//! Neither is an access token: their types, audiences and claims are others, and nothing here makes a [`crate::Caller`].

use crate::claims::{Claims, NotADate};
use crate::jwk::{self, BadKey};
use crate::jws::{Compact, Header};
use crate::token::CLOCK_AHEAD;
use crate::{Algorithm, PublicKey};
use aws_lc_rs::signature::ParsedPublicKey;
use model::{Micros, SubjectId, UnixMicros};
use serde::Deserialize;
use serde_json::Value;

/// Longest accepted token. Providers put groups and roles into them.
pub const BYTES_MAX: usize = 16 * 1024;

/// How old a token may be that was fetched just now: what clocks may differ by, and more.
pub const AGE_MAX: Micros = Micros::from_secs(300);

/// How much older than was asked for an authentication may be: a provider writes whole seconds of its own clock.
const AUTHENTICATED_SLACK: Micros = Micros::from_secs(30);

/// The member of `events` that a logout token has.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What is wrong with a token of the provider, or with how it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdToken {
    /// Not a compact JWS with the required claims once each, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// `typ` says that it is another kind of JWT.
    #[error("the token is a JWT of another type")]
    Type,
    /// `alg` is not an accepted asymmetric algorithm, or not that of the key.
    #[error("the token names another algorithm than its key is for")]
    Algorithm,
    /// `kid` names no key of the provider, or is needed because there are many. The keys may have changed.
    #[error("the token names no key of the provider")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// `iss` is another provider.
    #[error("the token is another provider's")]
    Issuer,
    /// `aud` is not this client and nobody else, or `azp` is another client.
    #[error("the token is for somebody else")]
    Audience,
    /// On or after `exp`, or made longer ago than it can have taken to fetch it.
    #[error("the token has expired")]
    Expired,
    /// `iat` or `nbf` is more than 10 s ahead.
    #[error("the token is from the future")]
    NotYetValid,
    /// `nonce` is not that of this sign-in, or stands in a logout token.
    #[error("the token is of another sign-in")]
    Nonce,
    /// `auth_time` is older than was asked for, or missing although a fresh one was asked for.
    #[error("the provider did not authenticate its user again")]
    NotFresh,
    /// The claim that names the subject is missing, or cannot be a subject's id.
    #[error("the token names no subject")]
    Subject,
}

/// A provider's public keys. Each is good for one algorithm.
#[derive(Debug)]
pub struct ProviderKeys(Vec<ProviderKey>);

#[derive(Debug)]
struct ProviderKey {
    kid: Option<String>,
    key: Key,
}

#[derive(Debug)]
enum Key {
    /// ES256, EdDSA or PS256, as anywhere else.
    Usual(Box<PublicKey>),
    /// RSASSA-PKCS1-v1_5 with SHA-256: OpenID Connect's default, accepted for the provider's tokens only.
    Rs256(Box<ParsedPublicKey>),
}

impl ProviderKeys {
    /// Reads a JWK set (RFC 7517 section 5). Keys of other kinds and for other uses are left out, as it says there.
    ///
    /// An RSA key is for RS256 unless its `alg` says PS256: RS256 is what a provider signs with if nothing else was agreed
    /// (OpenID Connect Dynamic Client Registration section 2), and a message never chooses between the two.
    ///
    /// # Errors
    /// [`BadKey::Malformed`] if it is no set, or holds more than 64 keys.
    pub fn from_jwks(text: &str) -> Result<Self, BadKey> {
        let keys = jwk::set(text)?.into_iter().filter_map(|jwk| {
            let named: Named = serde_json::from_str(jwk.get()).ok()?;
            let is_rsa = named.kty == "RSA" && named.alg.as_deref() != Some("PS256");
            let key = if is_rsa {
                Key::Rs256(Box::new(jwk::rs256(jwk.get()).ok()?))
            } else {
                Key::Usual(Box::new(PublicKey::from_jwk(jwk.get()).ok()?))
            };
            Some(ProviderKey { kid: named.kid, key })
        });
        Ok(Self(keys.collect()))
    }

    //= OpenID Connect Core section 10.1: `kid` is needed if there is more than one key
    fn find(&self, alg: &str, kid: Option<&str>) -> Result<&ProviderKey, BadIdToken> {
        //= RFC 8725 section 3.1: neither `none` nor a MAC, whatever the keys are
        if alg != "RS256" && Algorithm::from_name(alg).is_none() {
            return Err(BadIdToken::Algorithm);
        }
        let mut named = self.0.iter().filter(|key| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => key.is_for(alg),
        });
        match (named.next(), named.next()) {
            (Some(key), None) if key.is_for(alg) => Ok(key),
            (Some(_), None) => Err(BadIdToken::Algorithm),
            // None, or more than one of the name.
            _ => Err(BadIdToken::UnknownKey),
        }
    }
}

impl ProviderKey {
    fn is_for(&self, alg: &str) -> bool {
        match &self.key {
            Key::Usual(key) => Algorithm::from_name(alg) == Some(key.algorithm()),
            Key::Rs256(_) => alg == "RS256",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Usual(key) => key.verifies(message, signature),
            Key::Rs256(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Of one JWK, what says whose it is.
#[derive(Deserialize)]
struct Named {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
}

/// Whose tokens are accepted, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// The provider's exact issuer identifier.
    pub issuer: &'a str,
    /// The name that the provider knows us by.
    pub client_id: &'a str,
    /// The claim whose value is the subject's id; `sub` unless the provider's ids are not the origin's.
    pub subject_claim: &'a str,
}

/// The sign-in that a token has to be of.
#[derive(Clone, Copy, Debug)]
pub struct SignIn<'a> {
    /// The nonce that was sent with it.
    pub nonce: &'a str,
    /// How long ago the provider may have authenticated its user.
    pub authenticated_within: Micros,
    /// Whether the provider has to say when that was.
    pub fresh: bool,
}

/// Who signed in at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject.
    pub subject: SubjectId,
    /// When the provider authenticated it, if it says so.
    pub authenticated: Option<UnixMicros>,
    /// The provider's name for its own session, if it has one.
    pub sid: Option<String>,
}

/// Verifies the ID token that a provider's token endpoint answered a code with.
///
/// # Errors
/// See [`BadIdToken`]. After [`BadIdToken::UnknownKey`] it is worth looking at the provider's keys again.
///
/// Source: OpenID Connect Core 1.0 section 3.1.3.7, RFC 8725. Deviations: the signature is verified also where TLS would do (point 6); an
/// audience beside this client refuses the token (point 3 leaves open which to trust: none).
pub fn verify(
    token: &str,
    keys: &ProviderKeys,
    parties: &Parties<'_>,
    sign_in: &SignIn<'_>,
    now: UnixMicros,
) -> Result<Identity, BadIdToken> {
    //= RFC 8725 section 3.11: a JWT of another kind must not pass for this one
    let claims = opened(token, keys, |header| header.typ.is_none() || header.is_type("JWT"))?;
    claims.check_parties(parties)?;
    claims.check_times(now)?;
    if claims.text("nonce") != Some(sign_in.nonce) {
        return Err(BadIdToken::Nonce);
    }
    let authenticated = claims.moment("auth_time")?;
    if let Some(at) = authenticated {
        if at > now + CLOCK_AHEAD {
            return Err(BadIdToken::NotYetValid);
        }
        //= OpenID Connect Core section 3.1.2.1: max_age
        let within = Micros(sign_in.authenticated_within.0 + AUTHENTICATED_SLACK.0);
        if now.since(at) > within {
            return Err(BadIdToken::NotFresh);
        }
    } else if sign_in.fresh {
        return Err(BadIdToken::NotFresh);
    }
    let subject = claims.subject(parties)?;
    Ok(Identity { subject, authenticated, sid: claims.text("sid").map(str::to_owned) })
}

/// Who left at the provider: a session by its name, or everything of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The provider's name for the session.
    pub sid: Option<String>,
    /// The subject, if the token says it.
    pub subject: Option<SubjectId>,
}

/// Verifies a logout token. Accepted twice it ends what has ended, so its `jti` is not remembered.
///
/// # Errors
/// As for [`verify`].
///
/// Source: OpenID Connect Back-Channel Logout 1.0 section 2.6.
pub fn verify_logout(
    token: &str,
    keys: &ProviderKeys,
    parties: &Parties<'_>,
    now: UnixMicros,
) -> Result<Logout, BadIdToken> {
    let typed = |header: &Header<'_>| {
        header.typ.is_none() || header.is_type("logout+jwt") || header.is_type("JWT")
    };
    let claims = opened(token, keys, typed)?;
    claims.check_parties(parties)?;
    claims.check_times(now)?;
    //= OpenID Connect Back-Channel Logout section 2.4: a nonce is prohibited, so that this is no ID token
    if claims.get("nonce").is_some() {
        return Err(BadIdToken::Nonce);
    }
    let event = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(BadIdToken::Type);
    }
    let sid = claims.text("sid").map(str::to_owned);
    let subject = claims.subject(parties).ok();
    if sid.is_none() && subject.is_none() {
        return Err(BadIdToken::Subject);
    }
    Ok(Logout { sid, subject })
}

/// The claims of a token that one of these keys signed.
fn opened(
    token: &str,
    keys: &ProviderKeys,
    is_typed: impl Fn(&Header<'_>) -> bool,
) -> Result<Claims, BadIdToken> {
    let compact = Compact::parse(token, BYTES_MAX).ok_or(BadIdToken::Malformed)?;
    let header = compact.header_bytes().ok_or(BadIdToken::Malformed)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| BadIdToken::Malformed)?;
    if !is_typed(&header) {
        return Err(BadIdToken::Type);
    }
    let key = keys.find(header.alg(), header.kid.as_deref())?;
    let (message, signature) = compact.signed().ok_or(BadIdToken::Malformed)?;
    if !key.verifies(message, &signature) {
        return Err(BadIdToken::Signature);
    }
    let payload = compact.payload_bytes().ok_or(BadIdToken::Malformed)?;
    serde_json::from_slice(&payload).map_err(|_| BadIdToken::Malformed)
}

impl Claims {
    fn check_parties(&self, parties: &Parties<'_>) -> Result<(), BadIdToken> {
        if self.text("iss") != Some(parties.issuer) {
            return Err(BadIdToken::Issuer);
        }
        let for_us = |value: &Value| value.as_str() == Some(parties.client_id);
        //= OpenID Connect Core section 3.1.3.7: `azp`, if there is one, is this client
        let authorized = self.get("azp").is_none_or(for_us);
        let audience = self.is_only_for(parties.client_id);
        if audience && authorized { Ok(()) } else { Err(BadIdToken::Audience) }
    }

    fn check_times(&self, now: UnixMicros) -> Result<(), BadIdToken> {
        let issued = self.moment("iat")?.ok_or(BadIdToken::Malformed)?;
        let expires = self.moment("exp")?.ok_or(BadIdToken::Malformed)?;
        let begins = self.moment("nbf")?.unwrap_or(issued);
        if issued > now + CLOCK_AHEAD || begins > now + CLOCK_AHEAD {
            return Err(BadIdToken::NotYetValid);
        }
        //= RFC 7519 section 4.1.4: not accepted on or after the expiration time
        if now >= expires || now.since(issued) > AGE_MAX {
            return Err(BadIdToken::Expired);
        }
        Ok(())
    }

    fn subject(&self, parties: &Parties<'_>) -> Result<SubjectId, BadIdToken> {
        self.text(parties.subject_claim).and_then(SubjectId::new).ok_or(BadIdToken::Subject)
    }
}

impl From<NotADate> for BadIdToken {
    fn from(_: NotADate) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
