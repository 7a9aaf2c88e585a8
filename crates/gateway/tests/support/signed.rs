//! Signing a request as an integration does, instead of a DPoP proof for it.

use crate::support::Stage;
use credential::client::{SignRequest, sign_request};
use storage::clock;

/// The fields that prove the sender of one request, as names and values. `target`: path and query. `nonce`: of the node.
pub(crate) fn sign(
    stage: &Stage,
    method: &str,
    target: &str,
    content: &[u8],
    nonce: &str,
) -> Vec<(&'static str, String)> {
    let token = stage.token(None);
    let signed = sign_request(
        &stage.key,
        &SignRequest {
            method,
            target_uri: &[&stage.node.external_url, target].concat(),
            access_token: &token,
            content,
            nonce,
            unique: clock::random(),
            now: clock::unix_now(),
        },
    );
    let digest = signed.content_digest.map(|digest| ("Content-Digest", digest));
    let fields = [
        ("Authorization", format!("HTTPSig {token}")),
        ("Signature-Input", signed.signature_input),
        ("Signature", signed.signature),
    ];
    fields.into_iter().chain(digest).collect()
}
