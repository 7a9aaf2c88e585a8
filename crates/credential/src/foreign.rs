//! Access tokens of an authorization server that is not ours: signed ones by its keys (RFC 9068), opaque ones by what it says of them (RFC 7662).
//!
//! Nothing is asked here. What is not known becomes a [`Question`]; whoever may ask brings the answer ([`ForeignIssuer::learn_keys`],
//! [`ForeignIssuer::learn_token`]), and the request is judged once more. What such a token must name beside its key is decision 0035: one of
//! the mapped clients and scopes, which stands for a registered integration and its grant. Start at `ForeignIssuer::token`.

use crate::cache::TokenCache;
use crate::claims::{Claims, NotADate};
use crate::json::Text;
use crate::jwk::{self, BadKey, sha256};
use crate::jws::Compact;
use crate::token::{self, AccessToken, Binding, By, Facts, VerifiedToken};
use crate::{BadToken, PublicKey, base64url};
use model::{CredentialId, Digest, GrantId, IntegrationId, Micros, SubjectId, UnixMicros};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Longest life of a signed token. Nobody is asked about one, so this is how long one works that its server took back.
pub const LIFETIME: Micros = Micros::from_secs(3_600);

/// How long keys are believed after they were asked for. While they cannot be asked for again, nothing is accepted.
pub const KEYS_KEPT: Micros = Micros::from_secs(600);

/// How long after one look at the keys there is none because of a key that is not known.
pub const LOOK_AGAIN: Micros = Micros::from_secs(5);

/// How long after the server was asked about an opaque token new requests are accepted by what it said.
pub const ASK_AGAIN: Micros = Micros::from_secs(15);

/// How long after that question a request that was accepted may still be answered: the origin's 30 s, and some.
pub const HOLDS: Micros = Micros::from_secs(60);

/// By how much a clock may be put back between a question and its answer; the record notices more.
const PUT_RIGHT: Micros = Micros::from_secs(1);

/// Answers about opaque tokens that are kept, about 1 KiB each. Who asks holds a registered key; at the bound all are forgotten and asked again.
const ANSWERS_MAX: usize = 1 << 13;

/// Who the server is, and what its tokens are good for here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its issuer identifier, byte for byte.
    pub issuer: String,
    /// The one `aud` of tokens for us.
    pub audience: String,
    /// The claim whose value is the subject's id at the origin.
    pub subject_claim: String,
    /// Whether it can be asked about opaque tokens. None is accepted otherwise.
    pub introspects: bool,
    /// By the server's client and then its scope.
    pub clients: BTreeMap<String, BTreeMap<String, Mapped>>,
}

/// What a client with a scope is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The integration. The token has to be bound to one of its registered credentials.
    pub integration: IntegrationId,
    /// The grant of it.
    pub grant: GrantId,
}

/// What has to be asked before a request can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The server's keys.
    Keys,
    /// What an opaque token is.
    Token {
        /// The token.
        token: AccessToken,
        /// The credential that whoever sent it proved to hold.
        sender: CredentialId,
    },
}

/// Why there is no verified token.
pub(crate) enum Unverified {
    Bad(BadToken),
    /// [`Question::Keys`].
    KeysNotAsked,
    /// [`Question::Token`], by a sender yet to be proved.
    TokenNotAsked(AccessToken),
}

impl From<BadToken> for Unverified {
    fn from(reason: BadToken) -> Self {
        Self::Bad(reason)
    }
}

/// The server, and what is known of it.
pub struct ForeignIssuer {
    terms: Terms,
    /// Read while a token is verified and put into `tokens`, so that none of a key that was taken away comes in behind it.
    keys: RwLock<Option<Keys>>,
    /// Signed tokens that were verified by `keys`.
    tokens: TokenCache,
    /// What was said of opaque tokens, by their SHA-256. Locked for one look-up or insertion.
    answers: Mutex<BTreeMap<Digest, Answer>>,
}

struct Keys {
    by_kid: BTreeMap<String, PublicKey>,
    asked: UnixMicros,
}

struct Answer {
    said: Result<Arc<VerifiedToken>, BadToken>,
    asked: UnixMicros,
}

/// The keys of a server that sign access tokens, by `kid`: EdDSA, ES256 and PS256, and of two with one name neither.
///
/// An RSA key without `alg` is for PS256. One for RS256 is left out: FAPI 2.0 section 5.4 forbids it, and no configuration brings it back.
///
/// # Errors
/// [`BadKey::Malformed`] if `jwks` is no JWK set, or holds more than 64 keys.
pub fn keys_of(jwks: &str) -> Result<BTreeMap<String, PublicKey>, BadKey> {
    #[derive(Deserialize)]
    struct Named {
        kid: String,
    }
    let mut keys = BTreeMap::new();
    for jwk in jwk::set(jwks)? {
        let Ok(Named { kid }) = serde_json::from_str(jwk.get()) else { continue };
        let key = PublicKey::from_jwk(jwk.get()).ok();
        keys.entry(kid).and_modify(|twice| *twice = None).or_insert(key);
    }
    Ok(keys.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect())
}

impl ForeignIssuer {
    /// A server of which nothing is known yet.
    pub fn new(terms: Terms) -> Self {
        let (keys, tokens, answers) = Default::default();
        Self { terms, keys, tokens, answers }
    }

    /// Who the server is.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Takes its keys. `asked`: when the question was asked, UTC.
    pub fn learn_keys(&self, by_kid: BTreeMap<String, PublicKey>, asked: UnixMicros) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let thumbprints = |keys: &BTreeMap<String, PublicKey>| {
            keys.iter().map(|(kid, key)| (kid.clone(), key.thumbprint())).collect::<Vec<_>>()
        };
        let same =
            keys.as_ref().is_some_and(|old| thumbprints(&old.by_kid) == thumbprints(&by_kid));
        if !same {
            self.tokens.clear();
        }
        *keys = Some(Keys { by_kid, asked });
    }

    /// Takes what it said of a token. `answer`: the body of a 200 of its introspection endpoint. `asked`: when the question was asked, UTC.
    pub fn learn_token(&self, token: &AccessToken, answer: &[u8], asked: UnixMicros) {
        let digest = sha256(token.expose().as_bytes());
        let said = self.introspected(answer, asked);
        let said = said.map(|facts| Arc::new(VerifiedToken::new(facts, digest, By::Foreigner)));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, answer| is_younger(answer.asked, ASK_AGAIN, asked));
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(digest, Answer { said, asked });
    }

    /// Whether this issuer's endpoint was asked about the token of late.
    pub fn knows(&self, token: &AccessToken, now: UnixMicros) -> bool {
        self.said(&sha256(token.expose().as_bytes()), now).is_some()
    }

    /// The token, if it is this server's to judge; `None` if its `iss` is another. `digest`: its SHA-256.
    pub(crate) fn token(
        &self,
        text: &str,
        digest: &Digest,
        now: UnixMicros,
    ) -> Option<Result<Arc<VerifiedToken>, Unverified>> {
        match self.shape(text) {
            Shape::Signed => Some(self.signed(text, digest, now)),
            Shape::Opaque => Some(match self.said(digest, now) {
                Some(said) => said.map_err(Unverified::Bad),
                None => Err(Unverified::TokenNotAsked(AccessToken::of(text))),
            }),
            Shape::Another => None,
        }
    }

    fn said(
        &self,
        digest: &Digest,
        now: UnixMicros,
    ) -> Option<Result<Arc<VerifiedToken>, BadToken>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(digest)?;
        is_younger(answer.asked, ASK_AGAIN, now).then(|| answer.said.clone())
    }

    /// Whose token it claims to be, before anything is verified. Only the keys of whom it names are tried.
    fn shape(&self, text: &str) -> Shape {
        #[derive(Deserialize)]
        struct Claimed<'a> {
            #[serde(borrow)]
            iss: Text<'a>,
        }
        let opaque = if self.terms.introspects { Shape::Opaque } else { Shape::Another };
        let Some(compact) = Compact::parse(text, token::BYTES_MAX) else { return opaque };
        let is_object =
            |bytes: Vec<u8>| serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&bytes).is_ok();
        if !compact.header_bytes().is_some_and(is_object) {
            return opaque;
        }
        let payload = compact.payload_bytes().unwrap_or_default();
        match serde_json::from_slice::<Claimed<'_>>(&payload) {
            Ok(claimed) if *claimed.iss == *self.terms.issuer => Shape::Signed,
            _ => Shape::Another,
        }
    }

    fn signed(
        &self,
        text: &str,
        digest: &Digest,
        now: UnixMicros,
    ) -> Result<Arc<VerifiedToken>, Unverified> {
        let not_asked = || Unverified::KeysNotAsked;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref().filter(|keys| is_younger(keys.asked, KEYS_KEPT, now));
        let keys = keys.ok_or_else(not_asked)?;
        if let Some(known) = self.tokens.get(digest) {
            return Ok(known);
        }
        let payload = match token::opened(text, &keys.by_kid) {
            Err(BadToken::UnknownKey) if !is_younger(keys.asked, LOOK_AGAIN, now) => {
                return Err(not_asked());
            }
            opened => opened?,
        };
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| BadToken::Malformed)?;
        //= RFC 9068 section 4: iss is exactly the issuer
        if claims.text("iss") != Some(&*self.terms.issuer) {
            return Err(BadToken::Issuer.into());
        }
        //= RFC 9068 section 2.2: the claims that a token has to have
        if claims.text("jti").is_none() || claims.text("sub").is_none() {
            return Err(BadToken::Malformed.into());
        }
        let issued = claims.moment("iat")?.ok_or(BadToken::Malformed)?;
        let facts = self.facts(&claims, issued)?;
        let token = Arc::new(VerifiedToken::new(facts, *digest, By::Foreigner));
        self.tokens.insert(Arc::clone(&token));
        Ok(token)
    }

    fn introspected(&self, answer: &[u8], asked: UnixMicros) -> Result<Facts, BadToken> {
        let claims: Claims = serde_json::from_slice(answer).map_err(|_| BadToken::Malformed)?;
        //= RFC 7662 section 2.2: a token is active only if it says so
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(BadToken::Inactive);
        }
        if claims.get("iss").is_some_and(|iss| iss.as_str() != Some(&*self.terms.issuer)) {
            return Err(BadToken::Issuer);
        }
        let mut facts = self.facts(&claims, asked)?;
        facts.expires = facts.expires.min(asked + HOLDS);
        Ok(facts)
    }

    /// What a token says, whichever way that was learnt. `issued`: from when on its life counts.
    fn facts(&self, claims: &Claims, issued: UnixMicros) -> Result<Facts, BadToken> {
        //= RFC 9068 section 4: aud is this resource
        //= RFC 7662 section 4: a token that does not say whom it is for is not for us
        if !claims.is_only_for(&self.terms.audience) {
            return Err(BadToken::Audience);
        }
        //= RFC 9396 section 9: what narrows a token is enforced, or the token refused
        if claims.get("authorization_details").is_some() {
            return Err(BadToken::Malformed);
        }
        let binding = binding(claims.get("cnf")).ok_or(BadToken::Unbound)?;
        let client = claims.text("client_id").ok_or(BadToken::Malformed)?;
        let Mapped { integration, grant } = self.mapped(client, claims.text("scope"))?;
        let begins = claims.moment("nbf")?.unwrap_or(issued).max(issued);
        let expires = claims.moment("exp")?.ok_or(BadToken::Malformed)?;
        let subject = self.subject(claims, client)?;
        let issued = begins;
        Ok(Facts { integration, grant, subject, consent: None, binding, issued, expires })
    }

    /// The one grant that a client's scopes stand for.
    fn mapped(&self, client: &str, scope: Option<&str>) -> Result<Mapped, BadToken> {
        let scopes = self.terms.clients.get(client).ok_or(BadToken::Unmapped)?;
        //= RFC 9068 section 2.2.3: scopes are apart by one space
        let mut found = scope.unwrap_or("").split(' ').filter_map(|scope| scopes.get(scope));
        let one = *found.next().ok_or(BadToken::Unmapped)?;
        // Decision 0006: a token names one grant.
        if found.all(|other| *other == one) { Ok(one) } else { Err(BadToken::Unmapped) }
    }

    /// The subject that the token speaks for, if it speaks for one.
    fn subject(&self, claims: &Claims, client: &str) -> Result<Option<SubjectId>, BadToken> {
        let Some(claim) = claims.get(&self.terms.subject_claim) else { return Ok(None) };
        let claim = claim.as_str().ok_or(BadToken::Subject)?;
        //= RFC 9068 section 2.2: on its own account a client is its token's `sub`, and so no subject of ours
        if self.terms.subject_claim == "sub" && claim == client {
            return Ok(None);
        }
        SubjectId::new(claim).map(Some).ok_or(BadToken::Subject)
    }
}

enum Shape {
    /// A JWS that names this server.
    Signed,
    /// No JWS, and this server can be asked.
    Opaque,
    /// For somebody else to judge.
    Another,
}

/// What a token is bound to: one key or one certificate, and nothing beside it that we would not look at (RFC 7800 section 3.1).
fn binding(confirmation: Option<&Value>) -> Option<Binding> {
    let members = confirmation?.as_object()?;
    let mut members = members.iter();
    let (Some((method, value)), None) = (members.next(), members.next()) else { return None };
    let digest = base64url::decode_digest(value.as_str()?)?;
    match &**method {
        //= RFC 9449 section 6.1: jkt is the key's SHA-256 thumbprint
        "jkt" => Some(Binding::Key(digest)),
        //= RFC 8705 section 3.1: base64url of the SHA-256 of the certificate's DER
        "x5t#S256" => Some(Binding::Certificate(digest)),
        _ => None,
    }
}

/// Whether less than `age` passed since `then`. What was asked in the future was asked by another clock, and does not count.
fn is_younger(then: UnixMicros, age: Micros, now: UnixMicros) -> bool {
    then <= now + PUT_RIGHT && now.since(then) < age
}

impl From<NotADate> for BadToken {
    fn from(_: NotADate) -> Self {
        Self::Malformed
    }
}

impl From<NotADate> for Unverified {
    fn from(date: NotADate) -> Self {
        Self::Bad(date.into())
    }
}

impl fmt::Debug for ForeignIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignIssuer({})", self.terms.issuer)
    }
}
