//! Tokens of an issuer that is not ours: what is asked, what is believed, and for how long.

use super::attempt::Attempt;
use super::world::{
    AUDIENCE, BY_CERTIFICATE, CREDENTIAL, GRANT, INTEGRATION, ISSUER, NOW, World, signing_key,
};
use crate::foreign::{
    ASK_AGAIN, ForeignIssuer, HOLDS, KEYS_KEPT, LOOK_AGAIN, Mapped, Question, Terms, keys_of,
};
use crate::{AccessToken, Algorithm, BadToken, Denied, PublicKey, SigningKey, base64url};
use model::{BearerException, CredentialState, GrantId, Micros, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const THEIRS: &str = "https://login.example/tenant";
const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";

/// Numbers proofs, so that none is used twice.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Our world, and an issuer beside it whose key "f1" is known.
struct Abroad {
    world: World,
    issuer: Arc<ForeignIssuer>,
    key: SigningKey,
}

impl Abroad {
    fn new() -> Self {
        let other = Mapped { integration: INTEGRATION, grant: GrantId::from_bytes([6; 16]) };
        let read = Mapped { integration: INTEGRATION, grant: GRANT };
        let scopes = [("read", read), ("export", other)];
        let scopes = scopes.map(|(scope, mapped)| (scope.to_owned(), mapped));
        let issuer = Arc::new(ForeignIssuer::new(Terms {
            issuer: THEIRS.to_owned(),
            audience: AUDIENCE.to_owned(),
            subject_claim: "sub".to_owned(),
            introspects: true,
            clients: BTreeMap::from([("app".to_owned(), BTreeMap::from(scopes))]),
        }));
        let mut world = World::new(Algorithm::Es256);
        world.verifier = world.verifier.and_of(Arc::clone(&issuer));
        let abroad = Self { world, issuer, key: signing_key(Algorithm::EdDsa, 4) };
        abroad.learn(&[("f1", abroad.key.public())], NOW);
        abroad
    }

    fn learn(&self, keys: &[(&str, &PublicKey)], asked: UnixMicros) {
        let keys = keys.iter().map(|(kid, key)| ((*kid).to_owned(), (*key).clone()));
        self.issuer.learn_keys(keys.collect(), asked);
    }

    fn claims(&self) -> Value {
        json!({
            "iss": THEIRS, "aud": AUDIENCE, "sub": "app", "client_id": "app", "scope": "openid read",
            "jti": "1", "iat": NOW.secs() - 100, "exp": NOW.secs() + 500,
            "cnf": { "jkt": self.world.key.public().thumbprint_text() },
        })
    }

    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "f1" });
        let mut claims = self.claims();
        change(&mut header, &mut claims);
        self.key.sign_compact(&header.to_string(), &claims.to_string())
    }

    /// Sends it at `now`, with a fresh proof.
    fn send_at(&self, token: &str, now: UnixMicros) -> Result<crate::Caller, Denied> {
        let nonce = self.world.verifier.nonce(now);
        let jti = (1_000 + u128::from(SENT.fetch_add(1, Ordering::Relaxed))).to_be_bytes();
        let request = crate::client::ProofRequest {
            method: "GET",
            url: super::world::URL,
            access_token: Some(token),
            nonce: Some(nonce.as_str()),
            jti,
            now,
        };
        let proof = crate::client::sign_proof(&self.world.key, &request);
        let attempt = Attempt { now, ..Attempt::with(token.to_owned(), proof) };
        attempt.send(&self.world)
    }

    fn reason(&self, token: &str) -> Option<BadToken> {
        match Attempt::with_token(&self.world, token.to_owned()).send(&self.world) {
            Ok(_) => None,
            Err(Denied::Token { reason, .. }) => Some(reason),
            Err(other) => panic!("{other}"),
        }
    }
}

fn asks(sent: Result<crate::Caller, Denied>) -> Question {
    match sent {
        Err(denied @ Denied::NotAsked(_)) => {
            assert_eq!((denied.status(), denied.code()), (503, "unavailable"));
            let Denied::NotAsked(question) = denied else { unreachable!() };
            question
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signed_token_is_the_mapped_integrations() {
    let abroad = Abroad::new();
    let token = abroad.token(|_, _| {});
    let caller = abroad.send_at(&token, NOW).unwrap();
    assert_eq!((caller.integration(), caller.grant()), (INTEGRATION, GRANT));
    assert_eq!((caller.credential(), caller.consent()), (CREDENTIAL, None));
    assert_eq!(caller.subject(), None, "on its own account");
    assert_eq!(caller.token_expires(), NOW + Micros::from_secs(500));
    let delegated = abroad.token(|_, claims| claims["sub"] = json!("alice"));
    let caller = abroad.send_at(&delegated, NOW).unwrap();
    assert_eq!(caller.subject().map(|subject| subject.as_str()), Some("alice"));
    let ours = abroad.world.token(&abroad.world.facts());
    assert!(abroad.send_at(&ours, NOW).is_ok(), "our own are what they were");
}

#[test]
fn a_token_with_one_thing_wrong_is_refused_for_it() {
    let abroad = Abroad::new();
    let check = |reason, change: &dyn Fn(&mut Value, &mut Value)| {
        assert_eq!(abroad.reason(&abroad.token(change)), Some(reason));
    };
    let claim = |name: &'static str, value: Value, reason| {
        check(reason, &|_, claims| claims[name] = value.clone());
    };
    let without = |name: &str, reason| {
        check(reason, &|_, claims| {
            claims.as_object_mut().unwrap().remove(name);
        });
    };
    claim("aud", json!(ISSUER), BadToken::Audience);
    claim("aud", json!([AUDIENCE, "https://elsewhere.example"]), BadToken::Audience);
    claim("aud", json!([]), BadToken::Audience);
    without("aud", BadToken::Audience);
    claim("cnf", json!({}), BadToken::Unbound);
    claim("cnf", json!({ "jkt": "AAAA" }), BadToken::Unbound);
    claim("cnf", json!({ "kid": "f1" }), BadToken::Unbound);
    without("cnf", BadToken::Unbound);
    claim("client_id", json!("stranger"), BadToken::Unmapped);
    claim("client_id", json!(INTEGRATION.to_string()), BadToken::Unmapped);
    claim("scope", json!("openid"), BadToken::Unmapped);
    claim("scope", json!("read export"), BadToken::Unmapped);
    claim("scope", json!(GRANT.to_string()), BadToken::Unmapped);
    claim("scope", json!(["read"]), BadToken::Unmapped);
    without("scope", BadToken::Unmapped);
    claim("sub", json!("a\u{7}"), BadToken::Subject);
    claim("authorization_details", json!([]), BadToken::Malformed);
    claim("exp", json!(NOW.secs()), BadToken::Expired);
    claim("exp", json!(NOW.secs() + 3_600), BadToken::LivesTooLong);
    claim("exp", json!("1800000200"), BadToken::Malformed);
    claim("iat", json!(NOW.secs() + 11), BadToken::NotYetValid);
    claim("nbf", json!(NOW.secs() + 11), BadToken::NotYetValid);
    for name in ["jti", "sub", "iat", "exp", "client_id"] {
        without(name, BadToken::Malformed);
    }
    check(BadToken::Type, &|header, _| header["typ"] = json!("JWT"));
    check(BadToken::UnknownKey, &|header, _| header["kid"] = json!("k1"));
    for alg in ["none", "HS256", "RS256", "ES256"] {
        check(BadToken::Algorithm, &|header, _| header["alg"] = json!(alg));
    }
    claim("cnf", json!({ "jkt": "A".repeat(43) }), BadToken::UnknownCredential);
    claim("scope", json!("export"), BadToken::UnknownGrant);
}

#[test]
fn whom_a_token_names_chooses_whose_keys_are_tried_and_theirs_alone() {
    let abroad = Abroad::new();
    let sign = |key: &SigningKey, kid: &str, iss: &str| {
        let mut claims = abroad.claims();
        claims["iss"] = json!(iss);
        let header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": kid }).to_string();
        key.sign_compact(&header, &claims.to_string())
    };
    let (theirs, ours) = (&abroad.key, &abroad.world.issuer_key);
    assert_eq!(abroad.reason(&sign(theirs, "f1", ISSUER)), Some(BadToken::UnknownKey));
    assert_eq!(abroad.reason(&sign(theirs, "k1", ISSUER)), Some(BadToken::Signature));
    assert_eq!(abroad.reason(&sign(ours, "k1", THEIRS)), Some(BadToken::UnknownKey));
    assert_eq!(abroad.reason(&sign(ours, "f1", THEIRS)), Some(BadToken::Signature));
    // Both have a key of one name.
    abroad.learn(&[("k1", theirs.public())], NOW);
    assert_eq!(abroad.reason(&sign(theirs, "k1", THEIRS)), None);
    assert_eq!(abroad.reason(&sign(theirs, "k1", ISSUER)), Some(BadToken::Signature));
    assert_eq!(abroad.reason(&sign(ours, "k1", THEIRS)), Some(BadToken::Signature));
    assert_eq!(abroad.reason(&sign(theirs, "k1", "https://e.vil")), Some(BadToken::Signature));
}

#[test]
fn keys_are_believed_for_ten_minutes_and_a_key_that_is_gone_is_gone() {
    let abroad = Abroad::new();
    let token = abroad.token(|_, _| {});
    assert!(abroad.send_at(&token, NOW).is_ok());
    // One that is not known is looked for, but not within five seconds of a look.
    let unknown = abroad.token(|header, _| header["kid"] = json!("f2"));
    assert_eq!(abroad.reason(&unknown), Some(BadToken::UnknownKey));
    let looked = NOW + LOOK_AGAIN;
    assert_eq!(asks(abroad.send_at(&unknown, looked)), Question::Keys);
    abroad.learn(&[("f2", abroad.key.public())], looked);
    assert!(abroad.send_at(&unknown, looked).is_ok());
    let gone = abroad.send_at(&token, looked).unwrap_err();
    assert_eq!(gone.to_string(), "the token names no key of the issuer", "and it was remembered");
    let long = abroad.token(|header, claims| {
        header["kid"] = json!("f2");
        claims["exp"] = json!(NOW.secs() + 3_000);
    });
    assert!(abroad.send_at(&long, looked + KEYS_KEPT - Micros(1)).is_ok());
    assert_eq!(asks(abroad.send_at(&long, looked + KEYS_KEPT)), Question::Keys, "nobody answered");
}

#[test]
fn an_opaque_token_is_what_its_issuer_says_for_fifteen_seconds() {
    let abroad = Abroad::new();
    let Question::Token { token: asked, sender } = asks(abroad.send_at(OPAQUE, NOW)) else {
        panic!("about keys")
    };
    assert_eq!(sender, CREDENTIAL);
    assert_eq!((asked.expose(), &*format!("{asked:?}")), (OPAQUE, "AccessToken(..)"));
    let mut answer = abroad.claims();
    answer["active"] = json!(true);
    abroad.issuer.learn_token(&asked, answer.to_string().as_bytes(), NOW);
    let caller = abroad.send_at(OPAQUE, NOW + Micros(1)).unwrap();
    assert_eq!((caller.integration(), caller.grant()), (INTEGRATION, GRANT));
    assert_eq!(caller.token_expires(), NOW + HOLDS, "what is under way ends with it");
    let last = NOW + ASK_AGAIN - Micros(1);
    assert!(abroad.send_at(OPAQUE, last).is_ok());
    asks(abroad.send_at(OPAQUE, NOW + ASK_AGAIN));
    // A clock that stepped back does not make an answer young.
    asks(abroad.send_at(OPAQUE, NOW - Micros::from_secs(2)));
    abroad.issuer.learn_token(&asked, br#"{"active":false}"#, NOW + ASK_AGAIN);
    let denied = abroad.send_at(OPAQUE, NOW + ASK_AGAIN).unwrap_err();
    assert_eq!(denied.to_string(), "the token's issuer says that it is not active");
}

#[test]
fn what_is_said_of_an_opaque_token_has_to_be_everything_that_a_signed_one_says() {
    let abroad = Abroad::new();
    let asked = AccessToken::of(OPAQUE);
    let check = |name: &str, value: Value, reason: Option<BadToken>| {
        let mut answer = abroad.claims();
        answer["active"] = json!(true);
        answer[name] = value;
        abroad.issuer.learn_token(&asked, answer.to_string().as_bytes(), NOW);
        assert_eq!(abroad.reason(OPAQUE), reason, "{name}");
    };
    check("exp", json!(NOW.secs() + 86_400), None);
    // An earlier proof was used up by the one that was right, so its caller stands for it.
    for (name, value, reason) in [
        ("active", json!("true"), BadToken::Inactive),
        ("active", json!(1), BadToken::Inactive),
        ("iss", json!(ISSUER), BadToken::Issuer),
        ("iss", json!(null), BadToken::Issuer),
        ("aud", json!(null), BadToken::Audience),
        ("aud", json!("https://elsewhere.example"), BadToken::Audience),
        ("cnf", json!(null), BadToken::Unbound),
        ("exp", json!(null), BadToken::Malformed),
        ("exp", json!(NOW.secs()), BadToken::Expired),
        ("nbf", json!(NOW.secs() + 11), BadToken::NotYetValid),
        ("client_id", json!("stranger"), BadToken::Unmapped),
        ("scope", json!("openid"), BadToken::Unmapped),
        ("authorization_details", json!([]), BadToken::Malformed),
    ] {
        check(name, value, Some(reason));
    }
    for text in ["", "[]", r#"{"active":true,"active":true}"#] {
        abroad.issuer.learn_token(&asked, text.as_bytes(), NOW);
        assert_eq!(abroad.reason(OPAQUE), Some(BadToken::Malformed), "{text}");
    }
}

#[test]
fn nobody_is_asked_for_a_stranger() {
    let abroad = Abroad::new();
    let world = &abroad.world;
    let stranger = Attempt::with(OPAQUE.to_owned(), world.proof(&world.stranger, OPAQUE, 1));
    let denied = stranger.send(world).unwrap_err();
    assert_eq!(denied.to_string(), "the token's integration or credential is not registered");
    let without = Attempt { dpop: vec![], ..Attempt::with_token(world, OPAQUE.to_owned()) };
    assert_eq!(without.send(world).unwrap_err().code(), "invalid_dpop_proof");
    let of_another = Attempt::with(OPAQUE.to_owned(), world.proof(&world.key, "another", 1));
    assert_eq!(of_another.send(world).unwrap_err().code(), "invalid_dpop_proof");
    let mut plain = Attempt::with_token(world, OPAQUE.to_owned());
    plain.authorization = vec![format!("Bearer {OPAQUE}")];
    assert!(matches!(plain.send(world), Err(Denied::Certificate { .. })));
    plain.certificate = Some(super::world::self_signed());
    assert_eq!(plain.send(world).unwrap_err().code(), "invalid_token");
    plain.certificate = Some(Arc::clone(&world.certificate));
    asks(plain.send(world));
    let mut signed = Attempt::with_token(world, OPAQUE.to_owned());
    signed.authorization = vec![format!("HTTPSig {OPAQUE}")];
    assert_eq!(signed.send(world).unwrap_err().code(), "invalid_signature");
}

#[test]
fn a_certificate_bound_token_of_theirs_rides_on_its_connection() {
    let abroad = Abroad::new();
    let world = &abroad.world;
    let thumbprint = world.certificate.show(&Arc::default(), NOW).thumbprint();
    let token = abroad.token(|_, claims| {
        claims["cnf"] = json!({ "x5t#S256": base64url::encode(&thumbprint) });
    });
    let mut attempt = Attempt::with_token(world, token.clone());
    attempt.authorization = vec![format!("Bearer {token}")];
    assert!(matches!(attempt.send(world), Err(Denied::Certificate { .. })));
    attempt.certificate = Some(Arc::clone(&world.certificate));
    assert_eq!(attempt.send(world).unwrap().credential(), BY_CERTIFICATE);
}

#[test]
fn a_bearer_exception_does_not_reach_the_tokens_of_others() {
    let mut abroad = Abroad::new();
    let until = NOW + Micros::from_secs(10);
    let exception = BearerException { owner: "Ines".into(), reason: "old".into(), until };
    abroad.world.directory.bearer.insert(INTEGRATION, exception);
    let bearer = |token: &str| {
        let mut attempt = Attempt::with_token(&abroad.world, token.to_owned());
        attempt.authorization = vec![format!("Bearer {token}")];
        attempt.send(&abroad.world)
    };
    assert!(bearer(&abroad.world.token(&abroad.world.facts())).unwrap().is_bearer());
    let denied = bearer(&abroad.token(|_, _| {})).unwrap_err();
    assert!(matches!(denied, Denied::BoundTokenAsBearer { caller: Some(_) }), "{denied}");
}

#[test]
fn what_ended_here_ends_their_tokens_too() {
    let mut abroad = Abroad::new();
    let token = abroad.token(|_, _| {});
    assert!(abroad.send_at(&token, NOW).is_ok());
    abroad.world.directory.grants.get_mut(&GRANT).unwrap().expires = NOW;
    assert_eq!(abroad.reason(&token), Some(BadToken::GrantExpired));
    abroad.world.directory.grants.remove(&GRANT);
    assert_eq!(abroad.reason(&token), Some(BadToken::UnknownGrant));
    let credential = abroad.world.directory.credentials.get_mut(&CREDENTIAL).unwrap();
    credential.state = CredentialState::Retired;
    assert_eq!(abroad.reason(&token), Some(BadToken::CredentialEnded));
    assert_eq!(abroad.reason(OPAQUE), Some(BadToken::UnknownCredential), "nobody is asked");
}

#[test]
fn without_introspection_an_opaque_token_is_nobodys() {
    let mut world = World::new(Algorithm::Es256);
    let terms = Abroad::new().issuer.terms().clone();
    let issuer = ForeignIssuer::new(Terms { introspects: false, ..terms });
    world.verifier = world.verifier.and_of(Arc::new(issuer));
    let denied = Attempt::with_token(&world, OPAQUE.to_owned()).send(&world).unwrap_err();
    assert_eq!(denied.to_string(), "the token is malformed");
}

#[test]
fn of_a_set_of_keys_those_are_taken_that_can_sign_for_us() {
    let jwk = |key: &SigningKey, more: Value| {
        let mut jwk: Value = serde_json::from_str(key.public().canonical_jwk()).unwrap();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let key = signing_key(Algorithm::Es256, 4);
    let modulus = base64url::encode(&[0xc1; 256]);
    let rsa = |kid: &str, more: Value| {
        let mut jwk = json!({ "kty": "RSA", "kid": kid, "n": modulus, "e": "AQAB" });
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let set = json!({ "keys": [
        jwk(&key, json!({ "kid": "a", "use": "sig" })),
        jwk(&key, json!({})),
        jwk(&key, json!({ "kid": "enc", "use": "enc" })),
        jwk(&key, json!({ "kid": "twice" })),
        jwk(&signing_key(Algorithm::EdDsa, 4), json!({ "kid": "twice" })),
        rsa("rs", json!({ "alg": "RS256" })),
        rsa("ps", json!({ "alg": "PS256" })),
        rsa("any", json!({})),
        { "kty": "oct", "kid": "mac", "k": "AAAA" },
    ]});
    let keys = keys_of(&set.to_string()).unwrap();
    let found: Vec<_> = keys.iter().map(|(kid, key)| (&**kid, key.algorithm())).collect();
    let expected = [("a", Algorithm::Es256), ("any", Algorithm::Ps256), ("ps", Algorithm::Ps256)];
    assert_eq!(found, expected);
    assert!(keys_of("{}").is_err());
    assert!(keys_of(&json!({ "keys": vec![json!({}); 65] }).to_string()).is_err());
}
