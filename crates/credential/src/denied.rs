//! Why a request's credentials were not accepted: the stable code for the integration, the reason for the operator.

use crate::certificate::Fault;
use crate::foreign::Question;
use crate::httpsig::{self, BadSignature, Challenge};
use crate::{Algorithm, BadKey, Nonce};
use model::{CredentialId, GrantId, IntegrationId, Refusal, VendorId};

/// Whom a refused request's token was issued to.
///
/// The token's signature was verified, its holder may not be: a stolen token names its owner too. Only
/// [`Denied::Network`] means that possession of the key was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCaller {
    /// The integration's owner.
    pub vendor: VendorId,
    /// Whom the token was issued to.
    pub integration: IntegrationId,
    /// The registered credential it is bound to.
    pub credential: CredentialId,
    /// The grant it names.
    pub grant: GrantId,
}

/// A request that is not accepted as anybody's. The caller is at fault, except where a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No `Authorization` header.
    #[error("no credentials were sent")]
    Missing,
    /// More than one `Authorization` header, or one that is not a scheme and a token.
    #[error("the `Authorization` header is malformed or stands twice")]
    Malformed,
    /// The token itself.
    #[error("{reason}")]
    Token {
        /// What is wrong with it.
        reason: BadToken,
        /// Whose it is, if its signature held.
        caller: Option<KnownCaller>,
    },
    /// A token bound to a key was sent under the scheme `Bearer`: somebody holds the token without its key.
    #[error("a token bound to a key was sent as Bearer")]
    BoundTokenAsBearer {
        /// Whose it is.
        caller: Option<KnownCaller>,
    },
    /// A token bound to a certificate came over a connection without it, or under the scheme `DPoP`.
    #[error("the connection's certificate is not the one the token is bound to")]
    Certificate {
        /// Whose it is.
        caller: Option<KnownCaller>,
    },
    /// The certificate is the one that the token is bound to, and not good for it.
    #[error("{fault}")]
    CertificateFault {
        /// What is wrong with it.
        fault: Fault,
        /// Whose token it is.
        caller: KnownCaller,
    },
    /// The DPoP proof.
    #[error("{reason}")]
    Proof {
        /// What is wrong with it.
        reason: BadProof,
        /// Whose token it came with.
        caller: Option<KnownCaller>,
    },
    /// The proof carries no nonce, or none that this node made since its start. An honest client repeats with this one.
    #[error("the proof has no current nonce")]
    NonceNeeded {
        /// For the `DPoP-Nonce` header.
        nonce: Nonce,
        /// Whose token it came with.
        caller: Option<KnownCaller>,
    },
    /// The message signature.
    #[error("{reason}")]
    Signature {
        /// What is wrong with it.
        reason: BadSignature,
        /// Whose token it came with.
        caller: Option<KnownCaller>,
    },
    /// The signature's nonce does not begin with one that this node made since its start. An honest client repeats with this one.
    #[error("the signature has no current nonce")]
    SignatureNonceNeeded {
        /// How to sign.
        challenge: Box<Challenge>,
        /// Whose token it came with.
        caller: Option<KnownCaller>,
    },
    /// Proved, but from outside the networks that its credential is pinned to.
    #[error("the network is not one the credential is pinned to")]
    Network {
        /// Who it is.
        caller: KnownCaller,
    },
    /// Whose token it is has to be asked first, and until that is answered nobody is accepted. Not the caller's fault.
    #[error("the issuer of the token was not asked, or did not answer")]
    NotAsked(Question),
    /// Proved, but we cannot remember the proof: the credential's replay set is full, or our clock stepped back. Not the caller's fault alone.
    #[error("the proof cannot be remembered, so it is not accepted")]
    Unavailable {
        /// Who it is.
        caller: KnownCaller,
    },
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Not a compact JWS with the header and claims of an access token.
    #[error("the token is malformed")]
    Malformed,
    /// Not of type `at+jwt`.
    #[error("the token is not an access token")]
    Type,
    /// Signed with a key that the issuer does not have.
    #[error("the token names no key of the issuer")]
    UnknownKey,
    /// An `alg` that is not the issuer key's.
    #[error("the token names another algorithm than its key has")]
    Algorithm,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// Another `iss`.
    #[error("the token is another issuer's")]
    Issuer,
    /// Another `aud`.
    #[error("the token is for another resource")]
    Audience,
    /// Its client gave it back.
    #[error("the token was revoked")]
    Revoked,
    /// The foreign issuer does not say that it is active.
    #[error("the token's issuer says that it is not active")]
    Inactive,
    /// A foreign issuer's, and bound to nothing, or to more than a key or a certificate.
    #[error("the token is bound to no key or certificate")]
    Unbound,
    /// A foreign issuer's, and its client and scope stand for no grant, or for several.
    #[error("the token's client and scope are mapped to no grant")]
    Unmapped,
    /// A foreign issuer's, and names a subject that cannot be one.
    #[error("the token names a subject that cannot be one")]
    Subject,
    /// On or after its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Its `iat` is more than 10 s ahead.
    #[error("the token is from the future")]
    NotYetValid,
    /// It would live for more than five minutes, or an hour if a foreign issuer signed it.
    #[error("the token lives too long")]
    LivesTooLong,
    /// The directory has no such integration, or none of its credentials is what the token is bound to.
    #[error("the token's integration or credential is not registered")]
    UnknownCredential,
    /// The credential was retired or has run out.
    #[error("the token's credential is no longer in use")]
    CredentialEnded,
    /// The directory has no such grant of this integration.
    #[error("the token's grant does not exist")]
    UnknownGrant,
    /// The grant has run out.
    #[error("the token's grant has expired")]
    GrantExpired,
}

/// What is wrong with a DPoP proof. The numbers are the checks of RFC 9449 section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// No `DPoP` header (1).
    #[error("no proof was sent")]
    Missing,
    /// More than one `DPoP` header (1).
    #[error("more than one proof was sent")]
    Several,
    /// Not a compact JWS with the required members, or more than 4 KiB (2, 3).
    #[error("the proof is malformed")]
    Malformed,
    /// `typ` is not `dpop+jwt` (4).
    #[error("the proof is a JWT of another type")]
    Type,
    /// `alg` is not an accepted asymmetric algorithm, or not that of the key (5).
    #[error("the proof names an algorithm that is not its key's")]
    Algorithm,
    /// `jwk` is not an acceptable public key (7).
    #[error("the proof's key is not accepted: {0}")]
    Key(BadKey),
    /// The signature does not verify (6).
    #[error("the proof's signature does not verify")]
    Signature,
    /// `htm` is another method (8).
    #[error("the proof is for another method")]
    Method,
    /// `htu` is another URL (9).
    #[error("the proof is for another URL")]
    Url,
    /// `iat` is more than 60 s ago (11).
    #[error("the proof is too old")]
    Stale,
    /// `iat` is more than 10 s ahead (11).
    #[error("the proof is from the future")]
    Future,
    /// `ath` is missing or another token's (12).
    #[error("the proof is for another token")]
    TokenHash,
    /// Made with another key than the token is bound to (12).
    #[error("the proof is made with another key than the token is bound to")]
    OtherKey,
    /// Its `jti` was used before (section 11.1).
    #[error("the proof was used before")]
    Replayed,
}

impl Denied {
    /// The stable code that the integration sees: an error of RFC 6750 section 3.1 or RFC 9449 section 7.1, or one of ours.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing_token",
            Self::Malformed => "invalid_request",
            Self::Token { .. }
            | Self::BoundTokenAsBearer { .. }
            | Self::Certificate { .. }
            | Self::CertificateFault { .. } => "invalid_token",
            Self::Proof { .. } => "invalid_dpop_proof",
            Self::NonceNeeded { .. } => "use_dpop_nonce",
            Self::Signature { .. } => "invalid_signature",
            Self::SignatureNonceNeeded { .. } => "use_nonce",
            Self::Network { .. } => Refusal::Network.code(),
            Self::NotAsked(_) | Self::Unavailable { .. } => Refusal::Unavailable.code(),
        }
    }

    /// The HTTP status that goes with the code.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Missing
            | Self::Token { .. }
            | Self::BoundTokenAsBearer { .. }
            | Self::Certificate { .. }
            | Self::CertificateFault { .. }
            | Self::Proof { .. }
            | Self::NonceNeeded { .. }
            | Self::Signature { .. }
            | Self::SignatureNonceNeeded { .. } => 401,
            Self::Network { .. } => 403,
            Self::NotAsked(_) | Self::Unavailable { .. } => 503,
        }
    }

    /// The `WWW-Authenticate` header of a 401.
    pub fn www_authenticate(&self) -> Option<String> {
        if self.status() != 401 {
            return None;
        }
        if let Self::SignatureNonceNeeded { challenge, .. } = self {
            return Some(challenge.www_authenticate.clone());
        }
        if matches!(self, Self::Signature { .. }) {
            let (code, algs) = (self.code(), httpsig::ALGORITHMS);
            return Some(format!(r#"HTTPSig error="{code}", algs="{algs}""#));
        }
        let algs = Algorithm::NAMES.join(" ");
        //= RFC 6750 section 3.1: without authentication information, no error code
        if matches!(self, Self::Missing) {
            return Some(format!(r#"DPoP algs="{algs}""#));
        }
        //= RFC 6750 section 3: the challenge names its scheme and the error, each attribute once
        Some(format!(r#"DPoP error="{}", algs="{algs}""#, self.code()))
    }

    /// The nonce that the `DPoP-Nonce` header must carry, if the integration is asked to repeat with one.
    pub fn challenge(&self) -> Option<&Nonce> {
        if let Self::NonceNeeded { nonce, .. } = self { Some(nonce) } else { None }
    }

    /// The `Accept-Signature` header, if the integration is asked to sign again with our nonce.
    pub fn accept_signature(&self) -> Option<&str> {
        if let Self::SignatureNonceNeeded { challenge, .. } = self {
            Some(&challenge.accept_signature)
        } else {
            None
        }
    }

    /// Whom the token was issued to, if its signature held. See [`KnownCaller`] for what that does not prove.
    pub const fn caller(&self) -> Option<KnownCaller> {
        match self {
            Self::Missing | Self::Malformed | Self::NotAsked(_) => None,
            Self::Token { caller, .. }
            | Self::BoundTokenAsBearer { caller }
            | Self::Certificate { caller }
            | Self::Proof { caller, .. }
            | Self::NonceNeeded { caller, .. }
            | Self::Signature { caller, .. }
            | Self::SignatureNonceNeeded { caller, .. } => *caller,
            Self::CertificateFault { caller, .. }
            | Self::Network { caller }
            | Self::Unavailable { caller } => Some(*caller),
        }
    }

    /// How the refusal stands in the record.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Network { .. } => Refusal::Network,
            Self::NotAsked(_) | Self::Unavailable { .. } => Refusal::Unavailable,
            Self::Missing
            | Self::Malformed
            | Self::Token { .. }
            | Self::BoundTokenAsBearer { .. }
            | Self::Certificate { .. }
            | Self::CertificateFault { .. }
            | Self::Proof { .. }
            | Self::NonceNeeded { .. }
            | Self::Signature { .. }
            | Self::SignatureNonceNeeded { .. } => Refusal::Unauthenticated,
        }
    }
}
