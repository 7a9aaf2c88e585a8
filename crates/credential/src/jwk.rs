//! Public keys as JWKs (RFC 7517, 7518, 8037): what is accepted, and the one algorithm each key is good for.

use crate::base64url;
use crate::json::{self, Text};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use model::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;

/// A signature algorithm. There is one for each kind of key, so that the key decides it and never the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256; signatures are `r || s`, 64 bytes (RFC 7518 section 3.4).
    Es256,
    /// Ed25519 (RFC 8037), written `EdDSA` or, as RFC 9864 prefers, `Ed25519`.
    EdDsa,
    /// RSASSA-PSS with SHA-256 and a 32-byte salt (RFC 7518 section 3.5). Verification only.
    Ps256,
}

impl Algorithm {
    /// The names accepted in a JOSE header and announced in metadata.
    pub const NAMES: [&'static str; 4] = ["ES256", "EdDSA", "Ed25519", "PS256"];

    /// The algorithm a JOSE `alg` names, if it is one of ours. `none`, MACs and the other curves are not.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }

    /// The name we write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
        }
    }
}

/// A JWK that is not a public key we accept. Whoever registered or sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not one JSON object with the members that its kind of key needs, or a member twice.
    #[error("the JWK is malformed")]
    Malformed,
    /// It holds a private or symmetric part, which its owner must never send.
    #[error("the JWK holds private key material")]
    Private,
    /// Not P-256, Ed25519, or RSA of 2048 to 4096 bits with exponent 65537.
    #[error("the key is of a kind or size that is not accepted")]
    Unsupported,
    /// Its `alg`, `use` or `key_ops` says that it is for something else.
    #[error("the key is declared for another use")]
    OtherUse,
    /// Not a point on its curve, or one of small order, for which anybody can sign.
    #[error("the key is not a valid point")]
    InvalidPoint,
}

/// A public key that can verify, with its algorithm and thumbprint.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    canonical: String,
    thumbprint: Digest,
}

impl PublicKey {
    /// Reads a JWK. `text`: one JSON object; members that say nothing about the key are ignored.
    ///
    /// # Errors
    /// See [`BadKey`]: each means that the sender of `text` is at fault.
    ///
    /// Source: RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2.
    pub fn from_jwk(text: &str) -> Result<Self, BadKey> {
        Self::from_members(&members_of(text)?)
    }

    fn from_members(members: &Members<'_>) -> Result<Self, BadKey> {
        let (algorithm, parsed, canonical) = match &*members.kty {
            "EC" => members.p256()?,
            "OKP" => members.ed25519()?,
            "RSA" => members.rsa()?,
            _ => return Err(BadKey::Unsupported),
        };
        members.check_use(algorithm)?;
        //= RFC 7638 section 3: SHA-256 of the required members only, in lexicographic order, without white space
        let thumbprint = sha256(canonical.as_bytes());
        Ok(Self { algorithm, parsed, canonical, thumbprint })
    }

    /// The one algorithm this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// RFC 7638 SHA-256 thumbprint.
    pub fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// The thumbprint in base64url, as `kid` and `jkt` carry it.
    pub fn thumbprint_text(&self) -> String {
        base64url::encode(&self.thumbprint)
    }

    /// The JWK reduced to its required members: what to register, and what the thumbprint is taken over.
    pub fn canonical_jwk(&self) -> &str {
        &self.canonical
    }

    /// Of an Ed25519 key the 32 bytes that it is (RFC 8032 section 5.1.5).
    pub(crate) fn bytes(&self) -> &[u8] {
        self.parsed.as_ref()
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm.name(), base64url::encode(&self.thumbprint))
    }
}

/// An RSA key for RS256, which is no [`Algorithm`] of ours: OpenID providers sign with it, and their tokens alone are verified by it.
pub(crate) fn rs256(text: &str) -> Result<ParsedPublicKey, BadKey> {
    let members = members_of(text)?;
    if &*members.kty != "RSA" {
        return Err(BadKey::Unsupported);
    }
    if members.alg.as_deref().is_some_and(|alg| alg != "RS256") {
        return Err(BadKey::OtherUse);
    }
    members.check_verifies()?;
    let (n, e) = members.rsa_numbers()?;
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| BadKey::Unsupported)
}

/// Keys that are read of somebody's set; who publishes more is not understood.
pub(crate) const SET_MAX: usize = 64;

/// The keys of a JWK set (RFC 7517 section 5), each as it stands: whether one is accepted is for who reads it.
pub(crate) fn set(text: &str) -> Result<Vec<&RawValue>, BadKey> {
    #[derive(Deserialize)]
    struct KeySet<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let set: KeySet<'_> = serde_json::from_str(text).map_err(|_| BadKey::Malformed)?;
    if set.keys.len() <= SET_MAX { Ok(set.keys) } else { Err(BadKey::Malformed) }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    for (to, from) in digest.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    digest
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    kty: Text<'a>,
    #[serde(borrow)]
    crv: Option<Text<'a>>,
    #[serde(borrow)]
    x: Option<Text<'a>>,
    #[serde(borrow)]
    y: Option<Text<'a>>,
    #[serde(borrow)]
    n: Option<Text<'a>>,
    #[serde(borrow)]
    e: Option<Text<'a>>,
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow, rename = "use")]
    usage: Option<Text<'a>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'a>>>,
}

/// The members that only private and symmetric keys have: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
#[derive(Deserialize)]
struct NoPrivateMembers {
    #[serde(default, rename = "d", deserialize_with = "json::forbidden")]
    _d: (),
    #[serde(default, rename = "p", deserialize_with = "json::forbidden")]
    _p: (),
    #[serde(default, rename = "q", deserialize_with = "json::forbidden")]
    _q: (),
    #[serde(default, rename = "dp", deserialize_with = "json::forbidden")]
    _dp: (),
    #[serde(default, rename = "dq", deserialize_with = "json::forbidden")]
    _dq: (),
    #[serde(default, rename = "qi", deserialize_with = "json::forbidden")]
    _qi: (),
    #[serde(default, rename = "oth", deserialize_with = "json::forbidden")]
    _oth: (),
    #[serde(default, rename = "k", deserialize_with = "json::forbidden")]
    _k: (),
}

fn members_of(text: &str) -> Result<Members<'_>, BadKey> {
    let members = serde_json::from_str(text).map_err(|_| BadKey::Malformed)?;
    serde_json::from_str::<NoPrivateMembers>(text).map_err(|_| BadKey::Private)?;
    Ok(members)
}

type Parts = (Algorithm, ParsedPublicKey, String);

impl Members<'_> {
    fn p256(&self) -> Result<Parts, BadKey> {
        if self.crv.as_deref() != Some("P-256") {
            return Err(BadKey::Unsupported);
        }
        let (x, y) = (coordinate(self.x.as_deref())?, coordinate(self.y.as_deref())?);
        let point = [&[4_u8][..], &x, &y].concat(); // SEC 1 section 2.3.3, uncompressed
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| BadKey::InvalidPoint)?;
        let (x, y) = (base64url::encode(&x), base64url::encode(&y));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Ok((Algorithm::Es256, parsed, canonical))
    }

    fn ed25519(&self) -> Result<Parts, BadKey> {
        if self.crv.as_deref() != Some("Ed25519") {
            return Err(BadKey::Unsupported);
        }
        let x = coordinate(self.x.as_deref())?;
        if has_small_order(x) {
            return Err(BadKey::InvalidPoint);
        }
        let parsed = ParsedPublicKey::new(&ED25519, x).map_err(|_| BadKey::InvalidPoint)?;
        let x = base64url::encode(&x);
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Ok((Algorithm::EdDsa, parsed, canonical))
    }

    fn rsa(&self) -> Result<Parts, BadKey> {
        let (n, e) = self.rsa_numbers()?;
        let parsed = RsaPublicKeyComponents { n: &n, e: &e }
            .to_parsed_public_key(&RSA_PSS_2048_8192_SHA256)
            .map_err(|_| BadKey::Unsupported)?;
        let (n, e) = (base64url::encode(&n), base64url::encode(&e));
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        Ok((Algorithm::Ps256, parsed, canonical))
    }

    fn rsa_numbers(&self) -> Result<(Vec<u8>, Vec<u8>), BadKey> {
        let number = |member: Option<&str>| {
            member.and_then(|text| base64url::decode(text.as_bytes())).ok_or(BadKey::Malformed)
        };
        let (n, e) = (number(self.n.as_deref())?, number(self.e.as_deref())?);
        //= RFC 7518 section 6.3.1.1: no leading zero octets
        let first = n.first().copied().unwrap_or(0);
        let bits = n.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0);
        // 65537 only: other exponents are legal and rare, and a short list is easier to trust.
        // 4096 bits at most, so that one verification stays below a millisecond.
        if first == 0 || !(2048..=4096).contains(&bits) || e != [1, 0, 1] {
            return Err(BadKey::Unsupported);
        }
        Ok((n, e))
    }

    //= RFC 7517 sections 4.2 to 4.4: `use`, `key_ops` and `alg` limit what a key is for
    fn check_use(&self, algorithm: Algorithm) -> Result<(), BadKey> {
        let alg_agrees =
            self.alg.as_deref().is_none_or(|name| Algorithm::from_name(name) == Some(algorithm));
        if alg_agrees { self.check_verifies() } else { Err(BadKey::OtherUse) }
    }

    fn check_verifies(&self) -> Result<(), BadKey> {
        let use_agrees = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let ops_agree =
            self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| &**op == "verify"));
        if use_agrees && ops_agree { Ok(()) } else { Err(BadKey::OtherUse) }
    }
}

//= RFC 7518 section 6.2.1.2: the length of a coordinate is the full size for the curve, here 32 octets
fn coordinate(member: Option<&str>) -> Result<[u8; 32], BadKey> {
    member.and_then(base64url::decode_digest).ok_or(BadKey::Malformed)
}

/// Whether an Ed25519 key is one of the points of order 1, 2, 4 or 8, in any encoding of its `y`. Verification with such
/// a key accepts signatures that nobody's private key made (RFC 8032 section 5.1.7 leaves the check to us).
fn has_small_order(key: [u8; 32]) -> bool {
    const fn near_p(lowest: u8) -> [u8; 32] {
        let mut y = [0xff; 32]; // p = 2^255 - 19, little-endian
        y[0] = lowest;
        y[31] = 0x7f;
        y
    }
    const fn small(y0: u8) -> [u8; 32] {
        let mut y = [0; 32];
        y[0] = y0;
        y
    }
    const ORDER_8: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    const ORDER_8_NEGATED: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const YS: [[u8; 32]; 7] = [
        small(0),
        small(1),
        ORDER_8,
        ORDER_8_NEGATED,
        near_p(0xec), // p - 1, order 2
        near_p(0xed), // p, another spelling of 0
        near_p(0xee), // p + 1, another spelling of 1
    ];
    let mut y = key;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f; // the sign of x
    }
    YS.contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The key of RFC 7515 appendix A.3 and of RFC 8037 appendix A.2.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const OKP: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn check(jwk: &str, expected: Result<Algorithm, BadKey>) {
        assert_eq!(PublicKey::from_jwk(jwk).map(|key| key.algorithm()), expected, "{jwk}");
    }

    #[test]
    fn a_key_is_good_for_one_algorithm() {
        check(EC, Ok(Algorithm::Es256));
        check(OKP, Ok(Algorithm::EdDsa));
        check(&EC.replace("{", r#"{"alg":"ES256","use":"sig","kid":"1","#), Ok(Algorithm::Es256));
        check(&OKP.replace("{", r#"{"alg":"Ed25519","#), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn keys_that_are_not_plain_public_keys_are_refused() {
        let with = |jwk: &str, member: &str| jwk.replacen('{', &format!("{{{member},"), 1);
        check(&with(EC, r#""d":"AAAA""#), Err(BadKey::Private));
        check(&with(OKP, r#""d":null"#), Err(BadKey::Private));
        check(&with(EC, r#""k":"AAAA""#), Err(BadKey::Private));
        check(&with(EC, r#""alg":"ES384""#), Err(BadKey::OtherUse));
        check(&with(EC, r#""alg":"HS256""#), Err(BadKey::OtherUse));
        check(&with(EC, r#""use":"enc""#), Err(BadKey::OtherUse));
        check(&with(EC, r#""key_ops":["sign"]"#), Err(BadKey::OtherUse));
        check(&with(EC, r#""kty":"EC""#), Err(BadKey::Malformed));
        check(r#"{"kty":"oct","k":"AAAA"}"#, Err(BadKey::Private));
        check(r#"{"kty":"oct"}"#, Err(BadKey::Unsupported));
        check(&EC.replace("P-256", "P-384"), Err(BadKey::Unsupported));
        check(&EC.replace("x_FEz", "x_FEy"), Err(BadKey::InvalidPoint));
        check(&EC.replace("f83O", "AAf83O"), Err(BadKey::Malformed));
        check(&OKP.replace("HURo", "HURp"), Err(BadKey::Malformed));
        check("[]", Err(BadKey::Malformed));
        check("", Err(BadKey::Malformed));
    }

    #[test]
    fn ed25519_keys_that_anybody_can_sign_for_are_refused() {
        for text in [
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA",
            "7P_______________________________________38",
            "7v________________________________________8",
        ] {
            let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{text}"}}"#);
            check(&jwk, Err(BadKey::InvalidPoint));
        }
    }

    #[test]
    fn thumbprint_is_that_of_rfc_8037() {
        let key = PublicKey::from_jwk(OKP).unwrap();
        assert_eq!(
            base64url::encode(&key.thumbprint()),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        assert_eq!(
            PublicKey::from_jwk(key.canonical_jwk()).unwrap().thumbprint(),
            key.thumbprint()
        );
    }
}
