//! From a request's headers to a [`Caller`]: the one place where anybody becomes somebody.

use crate::certificate::Shown;
use crate::denied::{BadToken, Denied, KnownCaller};
use crate::dpop::{self, Expected};
use crate::foreign::{Question, Unverified};
use crate::replay::NotFirst;
use crate::token::{Binding, By, VerifiedToken};
use crate::{BadProof, BadSignature, PublicKey, Verifier, httpsig, replay, sender, sha256, token};
use model::{
    ClientIp, ConsentId, Credential, CredentialId, CredentialState, Digest, Directory, Grant,
    GrantId, IntegrationId, Means, SubjectId, UnixMicros, VendorId,
};
use std::fmt;
use std::sync::Arc;

/// The parts of a request that can prove its sender. `Debug` does not print the headers.
#[derive(Clone, Copy)]
pub struct RequestProof<'a> {
    /// The method as received.
    pub method: &'a str,
    /// Our configured external origin and the path as received, without query and fragment.
    pub url: &'a str,
    /// The query as received, without `?`; `None` if there was no `?`.
    pub query: Option<&'a str>,
    /// Every field received, in order, for a signature to cover. Only [`httpsig`] reads it.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// The whole content, as received.
    pub body: &'a [u8],
    /// The value of every `Authorization` header received.
    pub authorization: &'a [&'a [u8]],
    /// The value of every `DPoP` header received.
    pub dpop: &'a [&'a [u8]],
    /// The peer of the socket.
    pub network: ClientIp,
    /// The client certificate of this very connection, never of a header.
    pub client_certificate: Option<&'a Shown<'a>>,
}

impl fmt::Debug for RequestProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestProof({} {} from {})", self.method, self.url, self.network)
    }
}

/// Proof that this one request was made by the holder of a registered key, under a grant that has not expired; or, while a bearer exception of
/// its integration runs, by whoever has the token: see [`Caller::is_bearer`].
///
/// Minted only by [`authenticate`]. It says nothing of what the caller may read, nor of posture: an integration that
/// is severed or not approved still becomes a `Caller`, so that its refusal is recorded as its own.
#[derive(Clone, Debug)]
pub struct Caller {
    known: KnownCaller,
    token: Arc<VerifiedToken>,
    network: ClientIp,
    possession: Possession,
}

/// What shows that the sender holds the key that its token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Possession {
    /// A proof for method and URL, or the connection.
    Proved,
    /// A signature that covers query and content too.
    Signed,
    /// Nothing: a bearer exception runs.
    Unproved,
}

impl Caller {
    /// The one place a `Caller` comes from.
    fn mint(
        known: KnownCaller,
        token: Arc<VerifiedToken>,
        network: ClientIp,
        possession: Possession,
    ) -> Self {
        Self { known, token, network, possession }
    }

    /// The integration's owner.
    pub fn vendor(&self) -> VendorId {
        self.known.vendor
    }

    /// Who it is.
    pub fn integration(&self) -> IntegrationId {
        self.known.integration
    }

    /// The credential whose possession was proved.
    pub fn credential(&self) -> CredentialId {
        self.known.credential
    }

    /// The one grant its token names.
    pub fn grant(&self) -> GrantId {
        self.known.grant
    }

    /// The subject its token speaks for, if it speaks for one.
    pub fn subject(&self) -> Option<&SubjectId> {
        self.token.facts.subject.as_ref()
    }

    /// The consent its token rests on, if it rests on one. Whether that consent still holds is another question.
    pub fn consent(&self) -> Option<ConsentId> {
        self.token.facts.consent
    }

    /// The peer of the socket.
    pub fn network(&self) -> ClientIp {
        self.network
    }

    /// Whether the proof covers query and content: a message signature, and not one of the other kinds.
    pub fn is_signed(&self) -> bool {
        self.possession == Possession::Signed
    }

    /// Whether nothing but the token speaks for it, because a bearer exception of its integration runs.
    pub fn is_bearer(&self) -> bool {
        self.possession == Possession::Unproved
    }

    /// SHA-256 of its token.
    pub fn token(&self) -> &Digest {
        &self.token.digest
    }

    /// When its token ends.
    pub fn token_expires(&self) -> UnixMicros {
        self.token.facts.expires
    }
}

/// Establishes who makes a request.
///
/// `now`: UTC microseconds. The directory and every date are consulted on each request; only the token's signature is remembered.
/// A DPoP proof or signature that is accepted is remembered, so each makes at most one `Caller`.
///
/// # Errors
/// [`Denied`]: the caller is at fault, but for [`Denied::Unavailable`] and [`Denied::NotAsked`]; once that is answered, this is called again
/// with the same request. [`Denied::caller`] says whose token it was, if that much held.
///
/// Source: RFC 9449 section 7, RFC 8705 section 3, RFC 9068 section 4, RFC 9421 section 3.2.
pub fn authenticate(
    proof: &RequestProof<'_>,
    now: UnixMicros,
    verifier: &Verifier,
    directory: &Directory,
) -> Result<Caller, Denied> {
    let (scheme, text) = presented(proof.authorization)?;
    let token = match verifier.token(text, now) {
        Ok(token) => token,
        Err(Unverified::Bad(reason)) => return Err(Denied::Token { reason, caller: None }),
        Err(Unverified::KeysNotAsked) => return Err(Denied::NotAsked(Question::Keys)),
        Err(Unverified::TokenNotAsked(token)) => {
            let digest = sha256(token.expose().as_bytes());
            let sender = sender::check(proof, scheme, &digest, now, verifier, directory)?;
            return Err(Denied::NotAsked(Question::Token { token, sender }));
        }
    };
    let shown = proof.client_certificate;
    let credential = find_credential(&token, shown, directory, now);
    let caller = credential.and_then(|credential| known_caller(&token, credential, directory));

    let bad_token = |reason| Denied::Token { reason, caller };
    token.check_times(now).map_err(bad_token)?;
    let (Some(credential), Some(known)) = (credential, caller) else {
        // Whose certificate a rule makes it is only known where it is shown.
        return Err(match &token.facts.binding {
            Binding::Certificate(bound) if shown.is_none_or(|it| it.thumbprint() != *bound) => {
                Denied::Certificate { caller }
            }
            Binding::Certificate(_) | Binding::Key(_) => bad_token(BadToken::UnknownCredential),
        });
    };
    check_registered(&token, credential, directory, now).map_err(bad_token)?;

    let possession = match (&token.facts.binding, scheme) {
        // The exception is looked up each time, so that the first request after its end is refused. It was made for our five minutes, and
        // not for as long as somebody else's tokens live.
        (Binding::Key(_), Scheme::Bearer)
            if token.by == By::Us && directory.bears(&known.integration, now) =>
        {
            Possession::Unproved
        }
        //= RFC 9449 section 7.2: a DPoP-bound token must not be accepted as a bearer token
        (Binding::Key(_), Scheme::Bearer) => return Err(Denied::BoundTokenAsBearer { caller }),
        (Binding::Key(key), Scheme::Dpop) => {
            prove_key(proof, now, verifier, &token, key, known)?;
            Possession::Proved
        }
        (Binding::Key(key), Scheme::HttpSig) => {
            let public = token
                .signature_key(credential)
                .ok_or(Denied::Signature { reason: BadSignature::OtherKey, caller })?;
            prove_signature(proof, now, verifier, public, key, known)?;
            Possession::Signed
        }
        (Binding::Certificate(bound), scheme) => {
            //= RFC 8705 section 3: the certificate of the connection must match the thumbprint in the token
            let shown = shown.filter(|it| scheme == Scheme::Bearer && it.thumbprint() == *bound);
            let shown = shown.ok_or(Denied::Certificate { caller })?;
            shown
                .proves(credential)
                .map_err(|fault| Denied::CertificateFault { fault, caller: known })?;
            Possession::Proved
        }
    };

    // After possession is proved, so that a stolen token alone raises no signal against its owner; under a bearer exception it does.
    if !may_come_from(credential, proof.network) {
        return Err(Denied::Network { caller: known });
    }
    Ok(Caller::mint(known, token, proof.network, possession))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    Dpop,
    HttpSig,
}

fn presented<'a>(headers: &[&'a [u8]]) -> Result<(Scheme, &'a str), Denied> {
    //= RFC 6750 section 2: one way of sending a token for each request: the Authorization header
    let header = match headers {
        [] => return Err(Denied::Missing),
        [header] => *header,
        [_, _, ..] => return Err(Denied::Malformed),
    };
    if header.len() > token::BYTES_MAX + 8 {
        return Err(Denied::Malformed);
    }
    let header = std::str::from_utf8(header).map_err(|_| Denied::Malformed)?;
    let (scheme, text) = header.split_once(' ').ok_or(Denied::Malformed)?;
    //= RFC 9110 section 11.1: the scheme is case-insensitive
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ if scheme.eq_ignore_ascii_case("httpsig") => Scheme::HttpSig,
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        _ => return Err(Denied::Malformed),
    };
    //= RFC 6750 section 2.1: one token after the scheme
    let one_token = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if one_token { Ok((scheme, text)) } else { Err(Denied::Malformed) }
}

/// The credential of the token's integration that the token is bound to; one in use before one that is not.
fn find_credential<'d>(
    token: &VerifiedToken,
    shown: Option<&Shown<'_>>,
    directory: &'d Directory,
    now: UnixMicros,
) -> Option<&'d Credential> {
    let is_bound = |credential: &Credential| match (&token.facts.binding, &credential.means) {
        (Binding::Key(bound), Means::Key { thumbprint, .. })
        | (Binding::Certificate(bound), Means::Certificate { thumbprint, .. }) => {
            bound == thumbprint
        }
        (Binding::Certificate(bound), Means::Ca { .. }) => {
            shown.is_some_and(|it| it.thumbprint() == *bound && it.is_meant_by(credential))
        }
        (Binding::Key(_), Means::Certificate { .. } | Means::Ca { .. })
        | (Binding::Certificate(_), Means::Key { .. }) => false,
    };
    let is_it = |credential: &&Credential| {
        credential.integration == token.facts.integration && is_bound(credential)
    };
    // One certificate may be meant by several credentials, of which only some are proved by it.
    let serves = |credential: &&Credential| {
        let proved = match &credential.means {
            Means::Key { .. } => true,
            Means::Certificate { .. } | Means::Ca { .. } => {
                shown.is_some_and(|it| it.proves(credential).is_ok())
            }
        };
        proved && in_use(credential, now)
    };
    let last_found = token.credential.get().and_then(|id| directory.credentials.get(id));
    if let Some(credential) = last_found.filter(is_it).filter(serves) {
        return Some(credential);
    }
    let candidates = || directory.credentials.values().filter(is_it);
    if let Some(credential) = candidates().find(serves) {
        // Set once and only a hint: if it was set before, the scan above runs again at the next request.
        let _ = token.credential.set(credential.id);
        return Some(credential);
    }
    candidates().find(|credential| in_use(credential, now)).or_else(|| candidates().next())
}

fn known_caller(
    token: &VerifiedToken,
    credential: &Credential,
    directory: &Directory,
) -> Option<KnownCaller> {
    let integration = directory.integrations.get(&token.facts.integration)?;
    Some(KnownCaller {
        vendor: integration.vendor,
        integration: integration.id,
        credential: credential.id,
        grant: token.facts.grant,
    })
}

fn check_registered(
    token: &VerifiedToken,
    credential: &Credential,
    directory: &Directory,
    now: UnixMicros,
) -> Result<(), BadToken> {
    if !in_use(credential, now) {
        return Err(BadToken::CredentialEnded);
    }
    let of_integration = |grant: &&Grant| grant.integration == token.facts.integration;
    let grant = directory.grants.get(&token.facts.grant).filter(of_integration);
    let grant = grant.ok_or(BadToken::UnknownGrant)?;
    if now >= grant.expires { Err(BadToken::GrantExpired) } else { Ok(()) }
}

/// Whether a credential may be used at `now`.
pub(crate) fn in_use(credential: &Credential, now: UnixMicros) -> bool {
    match credential.state {
        CredentialState::Active { until } => now < until,
        CredentialState::Retired => false,
    }
}

/// Whether `network` is among those the credential is pinned to, if it is pinned.
pub fn may_come_from(credential: &Credential, network: ClientIp) -> bool {
    credential.networks.is_empty()
        || credential.networks.iter().any(|pinned| pinned.contains(&network.addr()))
}

fn prove_key(
    proof: &RequestProof<'_>,
    now: UnixMicros,
    verifier: &Verifier,
    token: &VerifiedToken,
    key: &Digest,
    known: KnownCaller,
) -> Result<(), Denied> {
    let caller = Some(known);
    let expected = Expected {
        method: proof.method,
        url: proof.url,
        token: Some(&token.digest),
        key: Some(key),
    };
    let (nonces, keys, known_key) = (&verifier.nonces, &verifier.keys, token.proof_key.get());
    let (proved, parsed) = dpop::verify_with(proof.dpop, &expected, nonces, now, keys, known_key)
        .map_err(|unproved| unproved.of(caller))?;
    if let Some(parsed) = parsed {
        let _ = token.proof_key.set(parsed); // another thread may have been first with an equal one
    }
    //= RFC 9449 section 11.1: the jti is remembered for as long as its proof would be accepted
    verifier.proofs.observe(replay::holder_of(key), proved.used, proved.until, now).map_err(
        |not_first| match not_first {
            NotFirst::Replayed => Denied::Proof { reason: BadProof::Replayed, caller },
            NotFirst::Forgotten | NotFirst::Full => Denied::Unavailable { caller: known },
        },
    )
}

/// As [`prove_key`], by a message signature instead of a DPoP proof. `public`: the key whose thumbprint is `key`.
fn prove_signature(
    proof: &RequestProof<'_>,
    now: UnixMicros,
    verifier: &Verifier,
    public: &PublicKey,
    key: &Digest,
    known: KnownCaller,
) -> Result<(), Denied> {
    let caller = Some(known);
    let (nonces, keys) = (&verifier.nonces, &verifier.keys);
    let proved = httpsig::verify(proof, public, known.credential, nonces, now, keys)
        .map_err(|unproved| unproved.of(proof, now, caller))?;
    //= RFC 9421 section 7.2.2: the nonce is remembered for as long as its signature would be accepted
    verifier.proofs.observe(replay::holder_of(key), proved.used, proved.until, now).map_err(
        |not_first| match not_first {
            NotFirst::Replayed => Denied::Signature { reason: BadSignature::Replayed, caller },
            NotFirst::Forgotten | NotFirst::Full => Denied::Unavailable { caller: known },
        },
    )
}
