use super::*;
use crate::{SigningKey, base64url};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const PARTIES: Parties<'static> =
    Parties { issuer: "https://login.example", client_id: "portcullis", subject_claim: "sub" };
const SIGN_IN: SignIn<'static> =
    SignIn { nonce: "n-0S6", authenticated_within: Micros::from_secs(3_600), fresh: false };

/// Takes a while to make in a debug build, so there is one.
static RSA: LazyLock<RsaPair> = LazyLock::new(|| RsaPair::generate(KeySize::Rsa2048).unwrap());

fn usual(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::pkcs8(algorithm, [7; 32]).unwrap()).unwrap()
}

fn rsa_jwk(kid: &str, more: Value) -> Value {
    // RFC 8017 appendix A.1.1: nine octets, the modulus, and the exponent.
    let n = base64url::encode(&RSA.public_key().as_ref()[9..265]);
    let mut jwk = json!({ "kty": "RSA", "kid": kid, "n": n, "e": "AQAB" });
    jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwk
}

fn usual_jwk(kid: &str, algorithm: Algorithm) -> Value {
    let mut jwk: Value = serde_json::from_str(usual(algorithm).public().canonical_jwk()).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

fn keys() -> ProviderKeys {
    let set = json!({ "keys": [
        rsa_jwk("rs", json!({ "use": "sig" })),
        rsa_jwk("ps", json!({ "alg": "PS256" })),
        rsa_jwk("enc", json!({ "use": "enc" })),
        usual_jwk("es", Algorithm::Es256),
        usual_jwk("ed", Algorithm::EdDsa),
        { "kty": "EC", "crv": "P-521", "kid": "other", "x": "AA", "y": "AA" },
        { "kty": "oct", "kid": "mac", "k": "AAAA" },
    ]});
    ProviderKeys::from_jwks(&set.to_string()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": PARTIES.issuer, "aud": PARTIES.client_id, "sub": "alice", "nonce": SIGN_IN.nonce,
        "iat": NOW.secs() - 2, "exp": NOW.secs() + 3_600, "auth_time": NOW.secs() - 60, "sid": "s1",
        "email": "alice@example", "groups": ["a", "b"],
    })
}

/// As a provider does: `alg` in the header, and what signs by it.
fn sign(header: &Value, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url::encode(header.to_string().as_bytes()),
        base64url::encode(claims.as_bytes())
    );
    let rsa = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        signature
    };
    let signature = match header["alg"].as_str().unwrap_or("") {
        "RS256" => rsa(&RSA_PKCS1_SHA256),
        "PS256" => rsa(&RSA_PSS_SHA256),
        "ES256" => usual(Algorithm::Es256).sign(message.as_bytes()),
        "EdDSA" => usual(Algorithm::EdDsa).sign(message.as_bytes()),
        // The attack: the public key, in each form somebody may take for a secret.
        "HS256" => {
            let public = RSA.public_key().as_der().unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        _ => Vec::new(),
    };
    format!("{message}.{}", base64url::encode(&signature))
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.remove(name);
        if !value.is_null() {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn check_header(header: Value, expected: Result<&str, BadIdToken>) {
    let token = sign(&header, &claims().to_string());
    let verified = verify(&token, &keys(), &PARTIES, &SIGN_IN, NOW);
    assert_eq!(
        verified.as_ref().map(|who| who.subject.as_str()),
        expected.as_ref().map(|s| *s),
        "{header}"
    );
}

fn check(changes: Value, expected: Result<(), BadIdToken>) {
    let token = sign(&json!({ "alg": "RS256", "kid": "rs" }), &with(changes.clone()).to_string());
    let verified = verify(&token, &keys(), &PARTIES, &SIGN_IN, NOW);
    assert_eq!(verified.map(|_| ()), expected, "{changes}");
}

#[test]
fn each_algorithm_is_verified_by_a_key_that_is_for_it() {
    for (alg, kid) in [("RS256", "rs"), ("PS256", "ps"), ("ES256", "es"), ("EdDSA", "ed")] {
        check_header(json!({ "alg": alg, "kid": kid }), Ok("alice"));
        check_header(json!({ "alg": alg, "kid": kid, "typ": "JWT" }), Ok("alice"));
    }
    // Without `kid` there must be one key it can be.
    check_header(json!({ "alg": "ES256" }), Ok("alice"));
    check_header(json!({ "alg": "RS256" }), Ok("alice"));
}

#[test]
fn a_message_does_not_choose_how_it_is_verified() {
    for (alg, kid) in [("RS256", "ps"), ("PS256", "rs"), ("ES256", "rs"), ("RS256", "es")] {
        check_header(json!({ "alg": alg, "kid": kid }), Err(BadIdToken::Algorithm));
    }
    for alg in ["none", "None", "", "HS256", "RS1", "RS384", "ES384", "rs256"] {
        for kid in ["rs", "mac", "es"] {
            check_header(json!({ "alg": alg, "kid": kid }), Err(BadIdToken::Algorithm));
        }
    }
    for kid in ["enc", "mac", "other", "", "https://login.example/"] {
        check_header(json!({ "alg": "RS256", "kid": kid }), Err(BadIdToken::UnknownKey));
    }
    for typ in ["at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt"] {
        check_header(json!({ "alg": "RS256", "kid": "rs", "typ": typ }), Err(BadIdToken::Type));
    }
    let brought = json!({ "alg": "EdDSA", "kid": "es", "jwk": usual_jwk("es", Algorithm::EdDsa) });
    check_header(brought, Err(BadIdToken::Algorithm));
    let critical = json!({ "alg": "RS256", "kid": "rs", "crit": ["b64"], "b64": false });
    check_header(critical, Err(BadIdToken::Malformed));
}

#[test]
fn two_keys_of_one_name_are_none() {
    let set = json!({ "keys": [rsa_jwk("a", json!({})), usual_jwk("a", Algorithm::Es256)] });
    let keys = ProviderKeys::from_jwks(&set.to_string()).unwrap();
    let token = sign(&json!({ "alg": "RS256", "kid": "a" }), &claims().to_string());
    assert_eq!(verify(&token, &keys, &PARTIES, &SIGN_IN, NOW), Err(BadIdToken::UnknownKey));
    assert!(ProviderKeys::from_jwks("[]").is_err());
    let many = json!({ "keys": vec![json!({ "kty": "oct" }); jwk::SET_MAX + 1] });
    assert!(ProviderKeys::from_jwks(&many.to_string()).is_err());
}

#[test]
fn a_token_of_another_party_is_refused() {
    let (ours, other) = (PARTIES.client_id, "somebody-else");
    check(json!({ "aud": [ours] }), Ok(()));
    check(json!({ "aud": [ours, ours], "azp": ours }), Ok(()));
    for aud in
        [json!(null), json!([]), json!(other), json!([other]), json!(7), json!([ours, other])]
    {
        check(json!({ "aud": aud }), Err(BadIdToken::Audience));
    }
    check(json!({ "aud": [ours, other], "azp": ours }), Err(BadIdToken::Audience));
    check(json!({ "azp": other }), Err(BadIdToken::Audience));
    for iss in ["https://login.example/", "https://LOGIN.example", "http://login.example", ""] {
        check(json!({ "iss": iss }), Err(BadIdToken::Issuer));
    }
    check(json!({ "iss": null }), Err(BadIdToken::Issuer));
    for nonce in [json!(null), json!("n-0S7"), json!(""), json!([SIGN_IN.nonce])] {
        check(json!({ "nonce": nonce }), Err(BadIdToken::Nonce));
    }
    for sub in [json!(null), json!(""), json!(7), json!("a\nb"), json!("x".repeat(129))] {
        check(json!({ "sub": sub }), Err(BadIdToken::Subject));
    }
}

#[test]
fn a_token_has_its_time() {
    let now = NOW.secs();
    check(json!({ "exp": now }), Err(BadIdToken::Expired));
    check(json!({ "exp": now + 1 }), Ok(()));
    check(json!({ "iat": now + 10 }), Ok(()));
    check(json!({ "iat": now + 11 }), Err(BadIdToken::NotYetValid));
    check(json!({ "nbf": now + 11 }), Err(BadIdToken::NotYetValid));
    check(json!({ "iat": now - 300 }), Ok(()));
    check(json!({ "iat": now - 301 }), Err(BadIdToken::Expired));
    for wrong in [json!(null), json!("1"), json!(1.5), json!(-1), json!(u64::MAX)] {
        check(json!({ "exp": wrong }), Err(BadIdToken::Malformed));
        check(json!({ "iat": wrong }), Err(BadIdToken::Malformed));
    }
}

#[test]
fn who_has_to_sign_in_again_did() {
    let now = NOW.secs();
    let again = SignIn { authenticated_within: Micros(0), fresh: true, ..SIGN_IN };
    let ask = |auth_time: Value| {
        let claims = with(json!({ "auth_time": auth_time })).to_string();
        let token = sign(&json!({ "alg": "RS256", "kid": "rs" }), &claims);
        verify(&token, &keys(), &PARTIES, &again, NOW).map(|who| who.authenticated)
    };
    assert_eq!(ask(json!(now - 30)), Ok(Some(UnixMicros::from_secs(now - 30))));
    assert_eq!(ask(json!(now - 31)), Err(BadIdToken::NotFresh));
    assert_eq!(ask(Value::Null), Err(BadIdToken::NotFresh));
    assert_eq!(ask(json!(now + 11)), Err(BadIdToken::NotYetValid));
    assert_eq!(ask(json!("now")), Err(BadIdToken::Malformed));
    check(json!({ "auth_time": null }), Ok(()));
    check(json!({ "auth_time": now - 3_631 }), Err(BadIdToken::NotFresh));
}

#[test]
fn another_claim_may_name_the_subject_and_then_sub_does_not() {
    let parties = Parties { subject_claim: "customer", ..PARTIES };
    let ask = |changes: Value| {
        let token = sign(&json!({ "alg": "RS256", "kid": "rs" }), &with(changes).to_string());
        verify(&token, &keys(), &parties, &SIGN_IN, NOW).map(|who| who.subject.as_str().to_owned())
    };
    assert_eq!(ask(json!({ "customer": "11446498" })).as_deref(), Ok("11446498"));
    assert_eq!(ask(json!({})), Err(BadIdToken::Subject));
}

#[test]
fn nothing_is_said_twice() {
    let text = claims().to_string();
    for twice in [r#"{"sub":"bob","#, r#"{"\u0073ub":"bob","#, r#"{"email":"x","#] {
        let token = sign(&json!({ "alg": "RS256", "kid": "rs" }), &text.replacen('{', twice, 1));
        assert_eq!(verify(&token, &keys(), &PARTIES, &SIGN_IN, NOW), Err(BadIdToken::Malformed));
    }
}

#[test]
fn a_logout_token_is_no_id_token_and_the_other_way_round() {
    let ask = |header: Value, changes: Value| {
        verify_logout(&sign(&header, &with(changes).to_string()), &keys(), &PARTIES, NOW)
    };
    let header = || json!({ "alg": "RS256", "kid": "rs", "typ": "logout+jwt" });
    let events = json!({ LOGOUT_EVENT: {} });
    let left = ask(header(), json!({ "nonce": null, "events": events })).unwrap();
    assert_eq!((left.sid.as_deref(), left.subject), (Some("s1"), SubjectId::new("alice")));
    assert_eq!(ask(header(), json!({ "events": events })), Err(BadIdToken::Nonce));
    assert_eq!(ask(header(), json!({ "nonce": null })), Err(BadIdToken::Type));
    let other = json!({ "nonce": null, "events": { "http://other": {} } });
    assert_eq!(ask(header(), other), Err(BadIdToken::Type));
    let nobody = json!({ "nonce": null, "events": events, "sub": null, "sid": null });
    assert_eq!(ask(header(), nobody), Err(BadIdToken::Subject));
    let typed = json!({ "alg": "RS256", "kid": "rs", "typ": "at+jwt" });
    assert_eq!(ask(typed, json!({ "nonce": null, "events": events })), Err(BadIdToken::Type));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever one octet of a token is changed to, nobody is signed in by it.
    #[test]
    fn a_changed_token_signs_nobody_in(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let token = sign(&json!({ "alg": "ES256", "kid": "es" }), &claims().to_string());
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        let verified = verify(&changed, &keys(), &PARTIES, &SIGN_IN, NOW);
        prop_assert_eq!(verified.is_ok(), changed == token);
    }

    /// What is accepted is what this sign-in asked for, whatever else the provider says.
    #[test]
    fn what_is_accepted_was_asked_for(
        iss in prop_oneof![Just(PARTIES.issuer.to_owned()), ".{0,20}"],
        aud in prop_oneof![Just(json!(PARTIES.client_id)), Just(json!(["portcullis", "x"])), Just(json!("x"))],
        nonce in prop_oneof![Just(SIGN_IN.nonce.to_owned()), ".{0,8}"],
        iat in -1_000_i64..1_000, life in -1_000_i64..1_000, auth in -10_000_i64..1_000,
    ) {
        let now = i64::try_from(NOW.secs()).unwrap();
        let (issued, expires, authenticated) = (now + iat, now + iat + life, now + auth);
        let claims = with(json!({
            "iss": iss, "aud": aud, "nonce": nonce, "iat": issued, "exp": expires, "auth_time": authenticated,
        }));
        let token = sign(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims.to_string());
        let verified = verify(&token, &keys(), &PARTIES, &SIGN_IN, NOW);
        let expected = iss == PARTIES.issuer && aud == json!(PARTIES.client_id) && nonce == SIGN_IN.nonce
            && (-300..=10).contains(&iat) && expires > now && (-3_630..=10).contains(&auth);
        prop_assert_eq!(verified.is_ok(), expected);
    }
}
