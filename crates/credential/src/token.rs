//! Access tokens: JWTs of type `at+jwt` (RFC 9068), bound to a key or a certificate, good for one grant.
//!
//! `authority` writes them with [`sign`], the gateway reads them through [`crate::Verifier`]. Both sides share one
//! form of the claims, and the reader refuses members it does not know: a later authority's narrowing claim is never overlooked.

use crate::json::{NumericDate, Text};
use crate::jwk::sha256;
use crate::jws::{Compact, Header};
use crate::{BadToken, PublicKey, SigningKey, assertion, base64url, dpop, foreign};
use model::{
    ConsentId, Credential, CredentialId, Digest, GrantId, IntegrationId, Micros, SubjectId,
    UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// Longest accepted token.
pub const BYTES_MAX: usize = 8 * 1024;

/// Longest life of a token.
pub const LIFETIME: Micros = Micros::from_secs(300);

/// How far another clock may be ahead of ours.
pub const CLOCK_AHEAD: Micros = Micros::from_secs(10);

/// A token as it is sent. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

impl AccessToken {
    /// As it stands in the header and in the token response. The only way to read it, so that a leak is found by its name.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// What a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// RFC 7638 thumbprint of the key that must sign each request's proof (RFC 9449 section 6).
    Key(Digest),
    /// SHA-256 of the certificate that the connection must be authenticated with (RFC 8705 section 3).
    Certificate(Digest),
}

/// What a token says, as the authority decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who it was issued to.
    pub integration: IntegrationId,
    /// The one grant it may use.
    pub grant: GrantId,
    /// The subject it speaks for, if it speaks for one.
    pub subject: Option<SubjectId>,
    /// The consent of that subject that it rests on, if it rests on one.
    pub consent: Option<ConsentId>,
    /// What its holder must prove.
    pub binding: Binding,
    /// When it was made; whole seconds count.
    pub issued: UnixMicros,
    /// When it ends; rounded down to whole seconds.
    pub expires: UnixMicros,
}

/// Makes a token. `kid`: the issuer key's name in its JWKS; `jti`: 16 random bytes.
///
/// Source: RFC 9068 section 2, RFC 7800 section 3. `scope` is the grant's id and `client_id` the integration's.
pub fn sign(
    facts: &Facts,
    issuer: &str,
    audience: &str,
    key: &SigningKey,
    kid: &str,
    jti: [u8; 16],
) -> AccessToken {
    let client = facts.integration.to_string();
    let claims = Claims {
        iss: issuer.into(),
        aud: audience.into(),
        sub: client.as_str().into(),
        client_id: client.as_str().into(),
        iat: NumericDate::at_or_before(facts.issued),
        exp: NumericDate::at_or_before(facts.expires),
        jti: base64url::encode(&jti).into(),
        scope: facts.grant.to_string().into(),
        cnf: Confirmation::of(facts.binding),
        subject: facts.subject.as_ref().map(|subject| subject.as_str().into()),
        consent: facts.consent.map(|consent| consent.to_string().into()),
    };
    let alg = key.public().algorithm().name();
    //= RFC 9068 section 2.1: typ is at+jwt
    let header = serde_json::json!({ "typ": "at+jwt", "alg": alg, "kid": kid }).to_string();
    // A struct of strings and numbers always serialises; an empty payload would verify nowhere.
    let claims = serde_json::to_string(&claims).unwrap_or_default();
    AccessToken(key.sign_compact(&header, &claims))
}

/// The wire form of the claims.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
//= RFC 9068 section 2.2: the claims that a token has to have
struct Claims<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    aud: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    client_id: Text<'a>,
    iat: NumericDate,
    exp: NumericDate,
    #[serde(borrow)]
    jti: Text<'a>,
    #[serde(borrow)]
    scope: Text<'a>,
    #[serde(borrow)]
    cnf: Confirmation<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    subject: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    consent: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    jkt: Option<Text<'a>>,
    #[serde(borrow, default, rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    //= RFC 8705 section 3.1: base64url of the SHA-256 of the certificate's DER
    x5t_s256: Option<Text<'a>>,
}

impl Confirmation<'_> {
    fn of(binding: Binding) -> Self {
        let text = |digest: Digest| Some(base64url::encode(&digest).into());
        match binding {
            //= RFC 9449 section 6.1: jkt is the key's SHA-256 thumbprint
            Binding::Key(jkt) => Self { jkt: text(jkt), x5t_s256: None },
            Binding::Certificate(x5t) => Self { jkt: None, x5t_s256: text(x5t) },
        }
    }

    fn binding(&self) -> Option<Binding> {
        match (&self.jkt, &self.x5t_s256) {
            (Some(jkt), None) => base64url::decode_digest(jkt).map(Binding::Key),
            (None, Some(x5t)) => base64url::decode_digest(x5t).map(Binding::Certificate),
            _ => None,
        }
    }
}

/// A token whose signature, issuer and audience were verified. Its times and everything the directory knows are checked on each use.
pub(crate) struct VerifiedToken {
    pub(crate) facts: Facts,
    /// Whose it is.
    pub(crate) by: By,
    /// SHA-256 of the token as sent: its name in the cache, and what `ath` must be.
    pub(crate) digest: Digest,
    /// The key of the proofs that come with this token, once one was verified.
    pub(crate) proof_key: OnceLock<dpop::ProofKey>,
    /// The key of the signatures that come with this token, once one was looked at.
    pub(crate) signature_key: OnceLock<PublicKey>,
    /// Where its credential was last found; only a hint, compared on each use.
    pub(crate) credential: OnceLock<CredentialId>,
}

/// Who issued a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Our own authority.
    Us,
    /// The foreign issuer.
    Foreigner,
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.facts, f)
    }
}

/// What a token says, if it is ours and runs at `now`; for the authority, which issued it. Who may use it is not looked at.
pub fn read(
    token: &str,
    issuer: &str,
    audience: &str,
    keys: &BTreeMap<String, PublicKey>,
    now: UnixMicros,
) -> Option<Facts> {
    let verified = verify(token, sha256(token.as_bytes()), issuer, audience, keys).ok()?;
    verified.check_times(now).ok()?;
    Some(verified.facts)
}

/// Verifies everything about a token that does not change while it lives. `digest`: its SHA-256.
///
/// Source: RFC 9068 section 4, RFC 8725. `typ`, then key by `kid`, then `alg`, signature, `iss`, `aud`, and the members.
pub(crate) fn verify(
    token: &str,
    digest: Digest,
    issuer: &str,
    audience: &str,
    keys: &BTreeMap<String, PublicKey>,
) -> Result<VerifiedToken, BadToken> {
    let payload = opened(token, keys)?;
    let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| BadToken::Malformed)?;
    //= RFC 9068 section 4: iss is exactly the issuer
    if &*claims.iss != issuer {
        return Err(BadToken::Issuer);
    }
    //= RFC 9068 section 4: aud is this resource
    if &*claims.aud != audience {
        return Err(BadToken::Audience);
    }
    let facts = claims.facts().ok_or(BadToken::Malformed)?;
    Ok(VerifiedToken::new(facts, digest, By::Us))
}

/// The payload of an access token that one of these keys signed.
pub(crate) fn opened(token: &str, keys: &BTreeMap<String, PublicKey>) -> Result<Vec<u8>, BadToken> {
    let compact = Compact::parse(token, BYTES_MAX).ok_or(BadToken::Malformed)?;
    let header = compact.header_bytes().ok_or(BadToken::Malformed)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| BadToken::Malformed)?;
    //= RFC 9068 section 4: reject tokens with any other `typ`
    if !header.is_type("at+jwt") {
        return Err(BadToken::Type);
    }
    let kid = header.kid.as_deref().ok_or(BadToken::UnknownKey)?;
    let key = keys.get(kid).ok_or(BadToken::UnknownKey)?;
    let algorithm = header.algorithm().ok_or(BadToken::Algorithm)?;
    //= RFC 9068 section 2.1: signed, and never with none
    if algorithm != key.algorithm() {
        return Err(BadToken::Algorithm);
    }
    //= RFC 9068 section 4: the signature verifies by a key of the issuer
    if !compact.verify(key, algorithm) {
        return Err(BadToken::Signature);
    }
    compact.payload_bytes().ok_or(BadToken::Malformed)
}

impl Claims<'_> {
    fn facts(&self) -> Option<Facts> {
        let subject = match self.subject.as_deref() {
            Some(text) => Some(SubjectId::new(text)?),
            None => None,
        };
        let consent = match self.consent.as_deref() {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let facts = Facts {
            integration: self.client_id.parse().ok()?,
            grant: self.scope.parse().ok()?,
            subject,
            consent,
            binding: self.cnf.binding()?,
            issued: self.iat.moment(),
            expires: self.exp.moment(),
        };
        // A consent is somebody's.
        let of_somebody = facts.consent.is_none() || facts.subject.is_some();
        (self.sub == self.client_id && of_somebody).then_some(facts)
    }
}

impl VerifiedToken {
    pub(crate) fn new(facts: Facts, digest: Digest, by: By) -> Self {
        Self {
            facts,
            by,
            digest,
            proof_key: OnceLock::new(),
            signature_key: OnceLock::new(),
            credential: OnceLock::new(),
        }
    }

    /// The key that the token is bound to, of the credential that was found by its thumbprint; `None` if it is no such key.
    pub(crate) fn signature_key(&self, credential: &Credential) -> Option<&PublicKey> {
        if self.signature_key.get().is_none() {
            let key = assertion::registered_key(credential)?;
            if self.facts.binding != Binding::Key(key.thumbprint()) {
                return None;
            }
            let _ = self.signature_key.set(key); // another thread may have been first with an equal one
        }
        self.signature_key.get()
    }

    /// Whether the token may be used at `now`.
    pub(crate) fn check_times(&self, now: UnixMicros) -> Result<(), BadToken> {
        let Facts { issued, expires, .. } = self.facts;
        let life_max = match self.by {
            By::Us => LIFETIME,
            By::Foreigner => foreign::LIFETIME,
        };
        if expires.since(issued) > life_max {
            return Err(BadToken::LivesTooLong);
        }
        if issued > now + CLOCK_AHEAD {
            return Err(BadToken::NotYetValid);
        }
        //= RFC 7519 section 4.1.4: not accepted on or after the expiration time
        //= RFC 9068 section 4: the current time is before exp
        if now >= expires {
            return Err(BadToken::Expired);
        }
        Ok(())
    }
}
