//! The other side, for our own clients and tests: what an integration makes to prove itself.
//!
//! Nothing here can make a [`crate::Caller`]; it can only make what [`crate::authenticate()`] and the token endpoint judge.

use crate::jwk::sha256;
use crate::{SigningKey, base64url};
use model::{IntegrationId, Micros, UnixMicros};

/// The request to make a DPoP proof for.
#[derive(Clone, Copy)]
pub struct ProofRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL without query and fragment.
    pub url: &'a str,
    /// The access token that goes with the proof; none at the token endpoint.
    pub access_token: Option<&'a str>,
    /// The last `DPoP-Nonce` that this server sent.
    pub nonce: Option<&'a str>,
    /// 16 random bytes, never used before.
    pub jti: [u8; 16],
    /// The client's clock.
    pub now: UnixMicros,
}

/// The value of the `DPoP` header for one request (RFC 9449 section 4.2).
pub fn sign_proof(key: &SigningKey, request: &ProofRequest<'_>) -> String {
    let public = key.public();
    let header = format!(
        r#"{{"typ":"dpop+jwt","alg":"{}","jwk":{}}}"#,
        public.algorithm().name(),
        public.canonical_jwk()
    );
    let mut claims = serde_json::json!({
        "jti": base64url::encode(&request.jti),
        "htm": request.method,
        "htu": request.url,
        "iat": request.now.secs(),
    });
    if let Some(members) = claims.as_object_mut() {
        if let Some(token) = request.access_token {
            let ath = base64url::encode(&sha256(token.as_bytes()));
            members.insert("ath".to_owned(), ath.into());
        }
        if let Some(nonce) = request.nonce {
            members.insert("nonce".to_owned(), nonce.into());
        }
    }
    key.sign_compact(&header, &claims.to_string())
}

/// The value of the form parameter `client_assertion` (RFC 7523). `issuer`: the authority's issuer identifier; `jti`: 16 random bytes.
///
/// It names no `kid`: the authority finds the key among the client's few. `now`: the client's clock; it is valid for a minute.
pub fn sign_assertion(
    key: &SigningKey,
    client: IntegrationId,
    issuer: &str,
    jti: [u8; 16],
    now: UnixMicros,
) -> String {
    let header = serde_json::json!({ "typ": "JWT", "alg": key.public().algorithm().name() });
    let claims = serde_json::json!({
        "iss": client.to_string(),
        "sub": client.to_string(),
        "aud": issuer,
        "jti": base64url::encode(&jti),
        "iat": now.secs(),
        "exp": (now + Micros::from_secs(60)).secs(),
    });
    key.sign_compact(&header.to_string(), &claims.to_string())
}
