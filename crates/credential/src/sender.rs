//! Who sends a token that its issuer has to be asked about: somebody who holds a registered credential, or nobody is asked.
//!
//! So a stranger, or whoever found a token, causes no question to the issuer. Nothing is remembered here and no [`crate::Caller`] is made:
//! once the answer is known the request is judged from its beginning.

use crate::authenticate::{Scheme, in_use};
use crate::dpop::{self, Expected};
use crate::{BadSignature, BadToken, Denied, RequestProof, Verifier, assertion, httpsig};
use model::{Credential, CredentialId, Digest, Directory, Means, UnixMicros};

/// Checks that the sender proves possession of a credential in use. Whether its integration was cut off is looked at where every request's is, so that the refusal
/// is recorded as its own. `token`: the SHA-256 of what it sent. Gives the credential.
///
/// # Errors
/// [`Denied`]; the caller is at fault.
pub(crate) fn check(
    proof: &RequestProof<'_>,
    scheme: Scheme,
    token: &Digest,
    now: UnixMicros,
    verifier: &Verifier,
    directory: &Directory,
) -> Result<CredentialId, Denied> {
    let is_somebodys = |is_it: &dyn Fn(&Credential) -> bool| {
        let mut candidates = directory.credentials.values().filter(|credential| is_it(credential));
        let found = candidates.find(|credential| in_use(credential, now));
        let reason = BadToken::UnknownCredential;
        found.map(|credential| credential.id).ok_or(Denied::Token { reason, caller: None })
    };
    //= RFC 7662 section 4: asked only for who shows that it is somebody, so that nobody fishes for tokens through us
    match scheme {
        Scheme::Dpop => {
            let (method, url) = (proof.method, proof.url);
            let expected = Expected { method, url, token: Some(token), key: None };
            let proved = dpop::verify(proof.dpop, &expected, &verifier.nonces, now)
                .map_err(|unproved| unproved.of(None))?;
            is_somebodys(&|credential| is_key(credential, &proved.thumbprint))
        }
        Scheme::HttpSig => {
            let bad = |reason| Denied::Signature { reason, caller: None };
            let named = httpsig::claimed_key(proof).map_err(bad)?;
            let is_named = |credential: &&Credential| {
                let by_thumbprint = crate::base64url::decode_digest(&named)
                    .is_some_and(|thumbprint| is_key(credential, &thumbprint));
                by_thumbprint || named.parse() == Ok(credential.id)
            };
            let credential = directory.credentials.values().find(is_named);
            let other_key = || bad(BadSignature::OtherKey);
            let credential = credential.ok_or_else(other_key)?;
            let key = assertion::registered_key(credential).ok_or_else(other_key)?;
            httpsig::verify(proof, &key, credential.id, &verifier.nonces, now, &verifier.keys)
                .map_err(|unproved| unproved.of(proof, now, None))?;
            is_somebodys(&|other| other.id == credential.id)
        }
        Scheme::Bearer => {
            let shown = proof.client_certificate.ok_or(Denied::Certificate { caller: None })?;
            is_somebodys(&|credential| shown.proves(credential).is_ok())
        }
    }
}

fn is_key(credential: &Credential, wanted: &Digest) -> bool {
    matches!(&credential.means, Means::Key { thumbprint, .. } if thumbprint == wanted)
}
