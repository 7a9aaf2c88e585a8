//! What a gateway holds to authenticate requests: whom it trusts, and what it has seen since its start.

use crate::cache::TokenCache;
use crate::foreign::{ForeignIssuer, Unverified};
use crate::httpsig::Challenge;
use crate::jwk::sha256;
use crate::known_key::KnownKeys;
use crate::replay::FirstUse;
use crate::token::{self, VerifiedToken};
use crate::{BadToken, Nonce, NonceKey, PublicKey};
use model::{Digest, UnixMicros};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Everything [`crate::authenticate()`] needs besides the request and the directory. One for each node, shared by its threads.
pub struct Verifier {
    issuer: String,
    audience: String,
    /// Read while a token is verified and put into `tokens`, so that none of a key that was taken away comes in behind it.
    issuer_keys: RwLock<BTreeMap<String, PublicKey>>,
    pub(crate) nonces: NonceKey,
    pub(crate) proofs: FirstUse,
    pub(crate) keys: KnownKeys,
    tokens: TokenCache,
    /// Whose tokens are accepted beside ours, if anybody's.
    foreign: Option<Arc<ForeignIssuer>>,
    /// Tokens that were given back before they ran out, and when they will have.
    revoked: RwLock<HashMap<Digest, UnixMicros>>,
    /// Whether `revoked` holds any: it hardly ever does, and then costs nobody a lock.
    any_revoked: AtomicBool,
}

impl Verifier {
    /// Proofs remembered for one credential by default: 15,000 requests a second for the 70 s a proof can be
    /// accepted, in about 40 MB. A credential that exceeds it is refused, no other is touched.
    pub const PROOFS_MAX: usize = 1 << 20;

    /// `issuer`, `audience`: the exact `iss` and `aud` of our tokens. `issuer_keys`: the issuer's public keys by `kid`.
    /// `nonce_random`: 32 bytes, fresh at each start. `proofs_max`: proofs remembered for one credential.
    pub fn new(
        issuer: &str,
        audience: &str,
        issuer_keys: BTreeMap<String, PublicKey>,
        nonce_random: [u8; 32],
        proofs_max: usize,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            issuer_keys: RwLock::new(issuer_keys),
            nonces: NonceKey::new(nonce_random),
            proofs: FirstUse::new(proofs_max),
            keys: KnownKeys::default(),
            tokens: TokenCache::default(),
            foreign: None,
            revoked: RwLock::default(),
            any_revoked: AtomicBool::new(false),
        }
    }

    /// Accepts the tokens of this server too, which is not ours.
    ///
    /// # Panics
    /// If it has our name, so that nobody could say whose token is whose: the operator's configuration is checked for that.
    #[must_use]
    pub fn and_of(mut self, foreign: Arc<ForeignIssuer>) -> Self {
        assert_ne!(foreign.terms().issuer, self.issuer, "a foreign issuer with our own name");
        self.foreign = Some(foreign);
        self
    }

    /// Refuses a token that its client gave back (RFC 7009): no request is accepted with it once this returns. `token`: its SHA-256.
    /// `until`: when it runs out.
    ///
    /// A client can only give back what it holds, and a token lives for five minutes, so the issuer's pace bounds what is kept.
    pub fn revoke(&self, token: Digest, until: UnixMicros, now: UnixMicros) {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, until| now < *until);
        revoked.insert(token, until);
        self.any_revoked.store(true, Ordering::Release);
    }

    /// The nonce to hand out at `now`. Sent with every answer, it spares honest integrations the challenge (RFC 9449 section 8.2).
    pub fn nonce(&self, now: UnixMicros) -> Nonce {
        self.nonces.current(now)
    }

    /// Verifies tokens by these keys from here on, also those that it has seen already.
    pub fn replace_issuer_keys(&self, keys: BTreeMap<String, PublicKey>) {
        let mut issuer_keys = self.issuer_keys.write().unwrap_or_else(PoisonError::into_inner);
        *issuer_keys = keys;
        self.tokens.clear();
    }

    /// What to tell a client that has to sign its requests. `error`: the stable code; `has_content`: of the request it made.
    pub fn signature_challenge(
        &self,
        error: &str,
        now: UnixMicros,
        has_content: bool,
    ) -> Challenge {
        Challenge::new(error, &self.nonce(now), now, has_content)
    }

    /// Whether a token was given back. `token`: its SHA-256.
    pub fn is_revoked(&self, token: &Digest) -> bool {
        self.any_revoked.load(Ordering::Acquire)
            && self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains_key(token)
    }

    pub(crate) fn token(
        &self,
        token: &str,
        now: UnixMicros,
    ) -> Result<Arc<VerifiedToken>, Unverified> {
        let digest = sha256(token.as_bytes());
        if self.is_revoked(&digest) {
            return Err(BadToken::Revoked.into());
        }
        if let Some(known) = self.tokens.get(&digest) {
            return Ok(known);
        }
        // Whom a token names chooses whose keys are tried, and theirs alone: no `kid` reaches from one issuer's keys to the other's.
        let foreign = self.foreign.as_ref();
        if let Some(judged) = foreign.and_then(|foreign| foreign.token(token, &digest, now)) {
            return judged;
        }
        let issuer_keys = self.issuer_keys.read().unwrap_or_else(PoisonError::into_inner);
        let token = token::verify(token, digest, &self.issuer, &self.audience, &issuer_keys)?;
        let token = Arc::new(token);
        self.tokens.insert(Arc::clone(&token));
        Ok(token)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(issuer {}, audience {})", self.issuer, self.audience)
    }
}
