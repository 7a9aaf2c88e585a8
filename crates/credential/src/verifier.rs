//! What a gateway holds to authenticate requests: whom it trusts, and what it has seen since its start.

use crate::cache::TokenCache;
use crate::httpsig::Challenge;
use crate::jwk::sha256;
use crate::replay::FirstUse;
use crate::token::{self, VerifiedToken};
use crate::{BadToken, Nonce, NonceKey, PublicKey};
use model::UnixMicros;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Everything [`crate::authenticate()`] needs besides the request and the directory. One for each node, shared by its threads.
pub struct Verifier {
    issuer: String,
    audience: String,
    issuer_keys: BTreeMap<String, PublicKey>,
    pub(crate) nonces: NonceKey,
    pub(crate) proofs: FirstUse,
    tokens: TokenCache,
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
            issuer_keys,
            nonces: NonceKey::new(nonce_random),
            proofs: FirstUse::new(proofs_max),
            tokens: TokenCache::default(),
        }
    }

    /// The nonce to hand out at `now`. Sent with every answer, it spares honest integrations the challenge (RFC 9449 section 8.2).
    pub fn nonce(&self, now: UnixMicros) -> Nonce {
        self.nonces.current(now)
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

    pub(crate) fn token(&self, token: &str) -> Result<Arc<VerifiedToken>, BadToken> {
        let digest = sha256(token.as_bytes());
        if let Some(known) = self.tokens.get(&digest) {
            return Ok(known);
        }
        let token = token::verify(token, digest, &self.issuer, &self.audience, &self.issuer_keys)?;
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
