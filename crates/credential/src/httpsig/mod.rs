//! HTTP message signatures (RFC 9421) with content digests (RFC 9530): a proof of possession that covers query and content too.
//!
//! A request of this kind presents its token as `Authorization: HTTPSig TOKEN` and signs that field along with its method, its target
//! and its content. The key is the one the token is bound to, taken from the directory, and never chosen by the message. What is
//! not accepted although the standard has it is listed in `docs/standards/http-signatures.md`. Start reading at `verify`.

mod base;
mod challenge;
mod digest;
mod fields;
#[cfg(test)]
mod tests;

pub use challenge::{ALGORITHMS, Challenge};

use crate::denied::{Denied, KnownCaller};
use crate::known_key::KnownKeys;
use crate::replay::Used;
use crate::{Algorithm, Nonce, NonceKey, PublicKey, RequestProof, base64url, dpop};
use fields::{Component, Input};
use model::{CredentialId, UnixMicros};
use sfv::BareItemFromInput;

/// The `tag` of signatures that are meant for us. Others are not looked at.
pub const TAG: &str = "portcullis";

/// Seconds before the year 10000: later dates are nobody's.
const SECONDS_END: u64 = 253_402_300_800;

/// What is wrong with a message signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// No signature with our tag.
    #[error("no signature with the tag `portcullis` was sent")]
    Missing,
    /// More than one signature with our tag.
    #[error("more than one signature with the tag `portcullis` was sent")]
    Several,
    /// A field is no structured field of its kind, repeats a key, or is too long; or a parameter is missing, unknown or of another type.
    #[error("the signature's fields are malformed")]
    Malformed,
    /// `keyid` is neither thumbprint nor id of the credential that the token is bound to.
    #[error("the signature names another key than the token is bound to")]
    OtherKey,
    /// `alg` is not the key's algorithm, or is sent for a key that has no name for it (RFC 9421 section 3.3.7).
    #[error("the signature names an algorithm that is not its key's")]
    Algorithm,
    /// `created` is more than 60 s ago.
    #[error("the signature is too old")]
    Stale,
    /// `created` is more than 10 s ahead.
    #[error("the signature is from the future")]
    Future,
    /// On or after its `expires`.
    #[error("the signature has expired")]
    Expired,
    /// It leaves out what each signature has to cover.
    #[error("the signature does not cover `{0}`")]
    Uncovered(&'static str),
    /// It covers what is absent, or what no signature may cover.
    #[error("the signature covers a component that is absent, repeated or not accepted")]
    Component,
    /// The signature does not verify: it was made with another key, or over another request.
    #[error("the signature does not verify")]
    Signature,
    /// The content is not what `Content-Digest` says.
    #[error("the content is not what `Content-Digest` says")]
    Digest,
    /// Its `nonce` was used before.
    #[error("the signature was used before")]
    Replayed,
}

impl BadSignature {
    /// Whether an honest client may come to this by a slow clock, or by forgetting to sign.
    pub const fn may_be_honest(self) -> bool {
        matches!(self, Self::Missing | Self::Stale | Self::Future | Self::Expired)
    }
}

/// A signature that holds. It is not known yet to be used for the first time.
pub(crate) struct Proved {
    /// Its `nonce`, for the replay set of the key.
    pub(crate) used: Used,
    /// The last moment at which it could be accepted.
    pub(crate) until: UnixMicros,
}

/// Why a signature does not hold.
pub(crate) enum Unproved {
    Bad(BadSignature),
    /// It lacks a current nonce.
    NonceNeeded(Nonce),
}

impl Unproved {
    /// As a gateway refuses it. `caller`: whose token it came with.
    pub(crate) fn of(
        self,
        proof: &RequestProof<'_>,
        now: UnixMicros,
        caller: Option<KnownCaller>,
    ) -> Denied {
        match self {
            Self::Bad(reason) => Denied::Signature { reason, caller },
            Self::NonceNeeded(nonce) => {
                let challenge = Challenge::new("use_nonce", &nonce, now, !proof.body.is_empty());
                Denied::SignatureNonceNeeded { challenge: Box::new(challenge), caller }
            }
        }
    }
}

impl From<BadSignature> for Unproved {
    fn from(reason: BadSignature) -> Self {
        Self::Bad(reason)
    }
}

/// Verifies the one signature of a request that has our tag. `key`: of the credential that the token is bound to. `keys`: of
/// this node.
///
/// Source: RFC 9421 section 3.2, with the requirements of its section 3.2.1 and of decision 0024. The cheap checks come before the
/// signature, and the content is hashed only for who holds the key.
pub(crate) fn verify(
    proof: &RequestProof<'_>,
    key: &PublicKey,
    credential: CredentialId,
    nonces: &NonceKey,
    now: UnixMicros,
    keys: &KnownKeys,
) -> Result<Proved, Unproved> {
    let value = fields::value_of(proof.fields, "signature-input")?.ok_or(BadSignature::Missing)?;
    let input = the_one(fields::inputs(&value)?)?;
    let parameters = Parameters::of(&input)?;
    parameters.check_key(key, credential)?;
    //= RFC 9421 section 3.2: created and expires are looked at
    let created = parameters.check_times(now)?;
    //= RFC 9421 section 3.2.1: what the application demands is covered
    check_covered(&input.covered, !proof.body.is_empty())?;
    let base = base::signature_base(proof, &input)?;
    // What stands before the first full stop is ours, what follows is the signer's own; together they are used once.
    let nonce = parameters.nonce.unwrap_or_default();
    let ours = nonce.split('.').next().unwrap_or_default();
    if !nonces.accepts(ours, now) {
        return Err(Unproved::NonceNeeded(nonces.current(now)));
    }
    let value = fields::value_of(proof.fields, "signature")?.ok_or(BadSignature::Missing)?;
    let signatures = fields::byte_sequences(&value)?;
    //= RFC 9421 section 4.2: the label is the one of the Signature-Input
    let signature = signatures.iter().find(|(label, _)| *label == input.label);
    let (_, signature) = signature.ok_or(BadSignature::Missing)?;
    //= RFC 9421 section 3.2: the signature base verifies
    if !keys.verifies(key, base.as_bytes(), signature, now) {
        return Err(BadSignature::Signature.into());
    }
    if covers(&input.covered, "content-digest") {
        //= RFC 9421 section 7.2.8: the digest is recomputed; that it is covered says nothing of the content
        let field = fields::value_of(proof.fields, "content-digest")?;
        digest::check(&field.ok_or(BadSignature::Component)?, proof.body)?;
    }
    Ok(Proved { used: dpop::used(nonce), until: created + dpop::AGE_MAX })
}

/// The `keyid` of the one signature that has our tag, before anything is verified.
pub(crate) fn claimed_key(proof: &RequestProof<'_>) -> Result<String, BadSignature> {
    let value = fields::value_of(proof.fields, "signature-input")?.ok_or(BadSignature::Missing)?;
    let input = the_one(fields::inputs(&value)?)?;
    Parameters::of(&input)?.keyid.map(str::to_owned).ok_or(BadSignature::OtherKey)
}

/// The one input with our tag. There is no "any valid one" (RFC 9421 section 3.2.1).
fn the_one(inputs: Vec<Input<'_>>) -> Result<Input<'_>, BadSignature> {
    let is_ours = |input: &Input<'_>| {
        input.parameters.iter().any(|(key, value)| key.as_str() == "tag" && text(value) == Ok(TAG))
    };
    let mut ours = inputs.into_iter().filter(is_ours);
    match (ours.next(), ours.next()) {
        (None, _) => Err(BadSignature::Missing),
        (Some(input), None) => Ok(input),
        (Some(_), Some(_)) => Err(BadSignature::Several),
    }
}

fn covers(covered: &[Component<'_>], name: &str) -> bool {
    covered.iter().any(|component| component.name.as_str() == name)
}

/// Whether the components that make a signature mean this request are covered. Parameters on them are refused later.
fn check_covered(covered: &[Component<'_>], has_content: bool) -> Result<(), BadSignature> {
    for needed in ["@method", "authorization"] {
        if !covers(covered, needed) {
            return Err(BadSignature::Uncovered(needed));
        }
    }
    let in_parts = ["@authority", "@path", "@query"].iter().all(|part| covers(covered, part));
    if !in_parts && !covers(covered, "@target-uri") {
        return Err(BadSignature::Uncovered("@target-uri"));
    }
    if has_content && !covers(covered, "content-digest") {
        return Err(BadSignature::Uncovered("content-digest"));
    }
    Ok(())
}

/// The parameters of a signature (RFC 9421 section 2.3). One that we do not know refuses it: it may narrow what the signature is good for.
#[derive(Default)]
struct Parameters<'a> {
    created: Option<UnixMicros>,
    expires: Option<UnixMicros>,
    nonce: Option<&'a str>,
    alg: Option<&'a str>,
    keyid: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn of(input: &'a Input<'_>) -> Result<Self, BadSignature> {
        let mut found = Self::default();
        for (key, value) in &input.parameters {
            match key.as_str() {
                "created" => found.created = Some(moment(value)?),
                "expires" => found.expires = Some(moment(value)?),
                "nonce" => found.nonce = Some(text(value)?),
                "alg" => found.alg = Some(text(value)?),
                "keyid" => found.keyid = Some(text(value)?),
                "tag" => {}
                _ => return Err(BadSignature::Malformed),
            }
        }
        Ok(found)
    }

    fn check_key(&self, key: &PublicKey, credential: CredentialId) -> Result<(), BadSignature> {
        //= RFC 9421 section 3.2: the key is the one that is expected
        let named = self.keyid.ok_or(BadSignature::Malformed)?;
        let is_it = base64url::decode_digest(named) == Some(key.thumbprint());
        if !is_it && named.parse() != Ok(credential) {
            return Err(BadSignature::OtherKey);
        }
        //= RFC 9421 section 3.2: if the algorithm is known in several ways, all of them agree
        if self.alg.is_some() && self.alg != key.algorithm().signature_name() {
            return Err(BadSignature::Algorithm);
        }
        Ok(())
    }

    /// When it was made, if it may be accepted now.
    fn check_times(&self, now: UnixMicros) -> Result<UnixMicros, BadSignature> {
        let created = self.created.ok_or(BadSignature::Malformed)?;
        if created > now + dpop::AHEAD_MAX {
            return Err(BadSignature::Future);
        }
        if now > created + dpop::AGE_MAX {
            return Err(BadSignature::Stale);
        }
        if self.expires.is_some_and(|end| now >= end) {
            return Err(BadSignature::Expired);
        }
        Ok(created)
    }
}

impl Algorithm {
    /// Its name in the registry of RFC 9421 section 6.2. PS256 has none there: it is known by the key alone.
    pub(crate) const fn signature_name(self) -> Option<&'static str> {
        match self {
            Self::Es256 => Some("ecdsa-p256-sha256"),
            Self::EdDsa => Some("ed25519"),
            Self::Ps256 => None,
        }
    }
}

fn text<'a>(value: &'a BareItemFromInput<'_>) -> Result<&'a str, BadSignature> {
    if let BareItemFromInput::String(text) = value {
        Ok(text.as_str())
    } else {
        Err(BadSignature::Malformed)
    }
}

fn moment(value: &BareItemFromInput<'_>) -> Result<UnixMicros, BadSignature> {
    //= RFC 9421 section 2.3: created and expires are integers
    let BareItemFromInput::Integer(seconds) = value else { return Err(BadSignature::Malformed) };
    let seconds = u64::try_from(i64::from(*seconds)).ok().filter(|seconds| *seconds < SECONDS_END);
    seconds.map(UnixMicros::from_secs).ok_or(BadSignature::Malformed)
}
