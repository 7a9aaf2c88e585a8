//! The other side, for our own clients and tests: what an integration makes to prove itself.
//!
//! Nothing here can make a [`crate::Caller`]; it can only make what [`crate::authenticate()`] and the token endpoint judge.

use crate::httpsig::TAG;
use crate::jwk::sha256;
use crate::{SigningKey, base64url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Micros, UnixMicros};
use std::fmt;

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

/// The request to sign as a message (RFC 9421).
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL with its query, as it is sent; the host in lower case and without the scheme's own port.
    pub target_uri: &'a str,
    /// The access token, which goes into `Authorization` after `HTTPSig `.
    pub access_token: &'a str,
    /// The content, empty if there is none.
    pub content: &'a [u8],
    /// The last nonce that this server sent.
    pub nonce: &'a str,
    /// 16 random bytes, never used before.
    pub unique: [u8; 16],
    /// The client's clock.
    pub now: UnixMicros,
}

/// The fields that a signature adds to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFields {
    /// `Content-Digest`, if there is content.
    pub content_digest: Option<String>,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// Signs one request. The signature base is written out here and not by the module that verifies, so that a fault in one shows in the other.
pub fn sign_request(key: &SigningKey, request: &SignRequest<'_>) -> SignatureFields {
    let SignRequest { method, target_uri, access_token, content, nonce, unique, now } = *request;
    let mut lines = format!(
        "\"@method\": {method}\n\"@target-uri\": {target_uri}\n\"authorization\": HTTPSig {access_token}\n"
    );
    let mut covered = r#""@method" "@target-uri" "authorization""#.to_owned();
    let content_digest =
        (!content.is_empty()).then(|| format!("sha-256=:{}:", STANDARD.encode(sha256(content))));
    if let Some(digest) = &content_digest {
        lines.push_str(&format!("\"content-digest\": {digest}\n"));
        covered.push_str(r#" "content-digest""#);
    }
    let public = key.public();
    let (keyid, unique) = (public.thumbprint_text(), base64url::encode(&unique));
    let created = now.secs();
    let mut params = format!("({covered});created={created};keyid=\"{keyid}\"");
    if let Some(alg) = public.algorithm().signature_name() {
        params.push_str(&format!(";alg=\"{alg}\""));
    }
    params.push_str(&format!(";nonce=\"{nonce}.{unique}\";tag=\"{TAG}\""));
    let base = format!("{lines}\"@signature-params\": {params}");
    let signature = STANDARD.encode(key.sign(base.as_bytes()));
    SignatureFields {
        content_digest,
        signature_input: format!("sig={params}"),
        signature: format!("sig=:{signature}:"),
    }
}

/// A message of ours to a receiver elsewhere, to sign (RFC 9421): always a POST of JSON.
#[derive(Clone, Copy)]
pub struct SignDelivery<'a> {
    /// The URL as it is sent; the host in lower case and without the scheme's own port.
    pub target_uri: &'a str,
    /// The content.
    pub content: &'a [u8],
    /// The value of `Idempotency-Key`, in quotes.
    pub idempotency_key: &'a str,
    /// What it is for, which becomes the signature's tag.
    pub tag: &'a str,
    /// Our clock.
    pub now: UnixMicros,
}

/// Signs one message of ours: method, address, type, content and idempotency key. The receiver finds the key by its thumbprint.
pub fn sign_delivery(key: &SigningKey, message: &SignDelivery<'_>) -> SignatureFields {
    let SignDelivery { target_uri, content, idempotency_key, tag, now } = *message;
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256(content)));
    let lines = format!(
        "\"@method\": POST\n\"@target-uri\": {target_uri}\n\"content-type\": application/json\n\
         \"content-digest\": {digest}\n\"idempotency-key\": {idempotency_key}\n"
    );
    let covered = r#""@method" "@target-uri" "content-type" "content-digest" "idempotency-key""#;
    let (public, created) = (key.public(), now.secs());
    let mut params =
        format!("({covered});created={created};keyid=\"{}\"", public.thumbprint_text());
    if let Some(alg) = public.algorithm().signature_name() {
        params.push_str(&format!(";alg=\"{alg}\""));
    }
    params.push_str(&format!(";tag=\"{tag}\""));
    let base = format!("{lines}\"@signature-params\": {params}");
    let signature = STANDARD.encode(key.sign(base.as_bytes()));
    SignatureFields {
        content_digest: Some(digest),
        signature_input: format!("sig={params}"),
        signature: format!("sig=:{signature}:"),
    }
}

/// The value of the form parameter `client_assertion` (RFC 7523). `issuer`: the authority's issuer identifier; `jti`: 16 random bytes.
///
/// It names no `kid`: the authority finds the key among the client's few. `now`: the client's clock; it is valid for a minute.
pub fn sign_assertion(
    key: &SigningKey,
    client: impl fmt::Display,
    issuer: &str,
    jti: [u8; 16],
    now: UnixMicros,
) -> String {
    let header = serde_json::json!({ "typ": "JWT", "alg": key.public().algorithm().name() });
    let client = client.to_string();
    let claims = serde_json::json!({
        "iss": client,
        "sub": client,
        "aud": issuer,
        "jti": base64url::encode(&jti),
        "iat": now.secs(),
        "exp": (now + Micros::from_secs(60)).secs(),
    });
    key.sign_compact(&header.to_string(), &claims.to_string())
}
