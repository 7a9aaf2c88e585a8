//! What a client is told that has to sign, or to sign again with our nonce.

use super::TAG;
use crate::Nonce;
use model::UnixMicros;

/// The algorithms of RFC 9421 that a registered key may sign with, as announced.
pub const ALGORITHMS: &str = "ed25519 ecdsa-p256-sha256";

/// How a request has to be signed to be accepted: the two header fields of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `WWW-Authenticate`. Its `nonce` is what the signer's own must begin with, for a minute or two.
    pub www_authenticate: String,
    /// `Accept-Signature` (RFC 9421 section 5.1), for one signature made exactly so.
    pub accept_signature: String,
}

impl Challenge {
    /// `error`: the stable code. `nonce`: of `now`. `has_content`: whether the refused request had any.
    pub(crate) fn new(error: &str, nonce: &Nonce, now: UnixMicros, has_content: bool) -> Self {
        let nonce = nonce.as_str();
        let digest = if has_content { r#" "content-digest""# } else { "" };
        // The moment makes the nonce another one in each challenge. Two of one microsecond only cost their client a second refusal.
        let moment = now.0;
        Self {
            www_authenticate: format!(
                r#"HTTPSig error="{error}", nonce="{nonce}", algs="{ALGORITHMS}""#
            ),
            accept_signature: format!(
                r#"sig=("@method" "@target-uri" "authorization"{digest});created;keyid;nonce="{nonce}.{moment}";tag="{TAG}""#
            ),
        }
    }
}
