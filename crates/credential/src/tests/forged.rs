//! Forged requests: each is an honest one with one thing wrong, and is refused for exactly that.

use super::attempt::{Attempt, taken_apart};
use super::world::{AUDIENCE, CREDENTIAL, GRANT, INTEGRATION, ISSUER, NOW, World, signing_key};
use crate::token::{Binding, Facts};
use crate::{Algorithm, Denied, base64url};
use model::{CredentialId, CredentialState, GrantId, IntegrationId, Means, Micros};
use serde_json::{Value, json};

/// To whose account the refusal goes: the holder's once the token's signature held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Nobody,
    Holder,
}

fn check(name: &str, code: &str, reason: &str, from: Blame, forge: impl Fn(&mut World) -> Attempt) {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let mut world = World::new(algorithm);
        let attempt = forge(&mut world);
        let denied = attempt.send(&world).expect_err(name);
        assert_eq!((denied.code(), &*denied.to_string()), (code, reason), "{name}");
        let expected = (from == Blame::Holder).then_some((INTEGRATION, CREDENTIAL));
        let known = denied.caller().map(|known| (known.integration, known.credential));
        assert_eq!(known, expected, "{name}");
    }
}

#[test]
fn requests_without_one_token_are_refused() {
    use Blame::Nobody;
    let malformed = "the `Authorization` header is malformed or stands twice";
    let check_headers =
        |name: &str, code: &str, reason: &str, headers: fn(String) -> Vec<String>| {
            check(name, code, reason, Nobody, |world| {
                let mut attempt = Attempt::honest(world);
                attempt.authorization = headers(attempt.authorization.remove(0));
                attempt
            });
        };
    check_headers("no header", "missing_token", "no credentials were sent", |_| vec![]);
    check_headers("two headers", "invalid_request", malformed, |h| vec![h.clone(), h]);
    check_headers("two tokens", "invalid_request", malformed, |h| vec![format!("{h}, {h}")]);
    check_headers("another scheme", "invalid_request", malformed, |h| {
        vec![h.replace("DPoP", "Basic")]
    });
    check_headers("no scheme", "invalid_request", malformed, |h| vec![h.replace("DPoP ", "")]);
    check_headers("two spaces", "invalid_request", malformed, |h| vec![h.replace(' ', "  ")]);
    check_headers("no token", "invalid_request", malformed, |_| vec!["DPoP ".into()]);
    check_headers("more than 8 KiB", "invalid_request", malformed, |_| {
        vec![format!("DPoP {}", "a".repeat(9_000))]
    });
}

#[test]
fn forged_tokens_are_refused() {
    use Blame::{Holder, Nobody};
    let token = |name: &str, reason: &str, from, forge: &dyn Fn(&mut World) -> Attempt| {
        check(name, "invalid_token", reason, from, forge);
    };
    let signature = "the token's signature does not verify";
    let algorithm = "the token names another algorithm than its key has";
    let malformed = "the token is malformed";

    token("no JWT at all", malformed, Nobody, &|w| Attempt::with_token(w, "abc".into()));
    token("signed by a stranger", signature, Nobody, &|w| {
        let key = signing_key(Algorithm::EdDsa, 3);
        Attempt::with_claims(w, &key, |_, _| {})
    });
    token("claims changed after signing", signature, Nobody, &|w| {
        let token = w.token(&w.facts());
        let other = w.token(&Facts { grant: GrantId::from_bytes([6; 16]), ..w.facts() });
        let payload = |jws: &str| jws.split('.').nth(1).unwrap().to_owned();
        Attempt::with_token(w, token.replace(&payload(&token), &payload(&other)))
    });
    token("signature cut off", signature, Nobody, &|w| {
        let token = w.token(&w.facts());
        let (signed, _) = token.rsplit_once('.').unwrap();
        Attempt::with_token(w, format!("{signed}."))
    });
    token("signature padded", signature, Nobody, &|w| {
        let token = w.token(&w.facts());
        Attempt::with_token(w, format!("{token}=="))
    });
    token("four parts", malformed, Nobody, &|w| {
        let token = w.token(&w.facts());
        Attempt::with_token(w, format!("{token}.e30"))
    });
    for alg in ["none", "None", "HS256", "RS256", "ES384", "EdDSA ", ""] {
        token(&format!("alg {alg}"), algorithm, Nobody, &|w| {
            Attempt::with_claims(w, &w.issuer_key, |header, _| header["alg"] = json!(alg))
        });
    }
    token("alg of another key of ours", algorithm, Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |header, _| header["alg"] = json!("ES256"))
    });
    token("kid of no key", "the token names no key of the issuer", Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |header, _| header["kid"] = json!("k2"))
    });
    token("key sent along", signature, Nobody, &|w| {
        let key = signing_key(Algorithm::EdDsa, 3);
        let jwk: Value = serde_json::from_str(key.public().canonical_jwk()).unwrap();
        Attempt::with_claims(w, &key, |header, _| header["jwk"] = jwk)
    });
    token("an ID token", "the token is not an access token", Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |header, _| header["typ"] = json!("JWT"))
    });
    token("a critical extension", malformed, Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |header, _| header["crit"] = json!(["exp"]))
    });
    token("an unencoded payload", malformed, Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |header, _| header["b64"] = json!(false))
    });
    token("exp twice", malformed, Nobody, &|w| {
        let (header, claims) = taken_apart(&w.token(&w.facts()), |_, _| {});
        let claims = claims.replacen('{', r#"{"exp":9999999999,"#, 1);
        Attempt::with_token(w, w.issuer_key.sign_compact(&header, &claims))
    });
    for (claim, value) in [
        ("narrowed_by", json!("something of a later version")),
        ("cnf", json!({})),
        ("cnf", json!({ "jkt": "AAAA" })),
        ("scope", json!("grt_1 grt_2")),
        ("sub", json!("somebody")),
        ("aud", json!([AUDIENCE])),
        ("exp", json!("1800000200")),
    ] {
        token(&format!("claim {claim}: {value}"), malformed, Nobody, &|w| {
            Attempt::with_claims(w, &w.issuer_key, |_, claims| claims[claim] = value.clone())
        });
    }
    token("another issuer", "the token is another issuer's", Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |_, claims| claims["iss"] = json!("https://e.vil"))
    });
    token("another audience", "the token is for another resource", Nobody, &|w| {
        Attempt::with_claims(w, &w.issuer_key, |_, claims| claims["aud"] = json!(ISSUER))
    });
    token("expired this moment", "the token has expired", Holder, &|w| {
        Attempt::with_facts(w, |facts| facts.expires = NOW)
    });
    token("from the future", "the token is from the future", Holder, &|w| {
        Attempt::with_facts(w, |facts| facts.issued = NOW + Micros::from_secs(11))
    });
    token("good for an hour", "the token lives too long", Holder, &|w| {
        Attempt::with_facts(w, |facts| facts.expires = NOW + Micros::from_secs(3_600))
    });
}

#[test]
fn tokens_of_what_is_not_registered_are_refused() {
    use Blame::{Holder, Nobody};
    let token = |name: &str, reason: &str, from, forge: &dyn Fn(&mut World) -> Attempt| {
        check(name, "invalid_token", reason, from, forge);
    };
    let unknown = "the token's integration or credential is not registered";
    token("another integration's", unknown, Nobody, &|w| {
        Attempt::with_facts(w, |facts| facts.integration = IntegrationId::from_bytes([6; 16]))
    });
    token("integration removed", unknown, Nobody, &|w| {
        w.directory.integrations.clear();
        Attempt::honest(w)
    });
    token("bound to a key that is not registered", unknown, Nobody, &|w| {
        let mut facts = w.facts();
        facts.binding = Binding::Key(w.stranger.public().thumbprint());
        let token = w.token(&facts);
        let proof = w.proof(&w.stranger, &token, 1);
        Attempt::with(token, proof)
    });
    token("bound to another integration's key", unknown, Nobody, &|w| {
        let mut theirs = w.directory.credentials[&CREDENTIAL].clone();
        theirs.id = CredentialId::from_bytes([8; 16]);
        theirs.integration = IntegrationId::from_bytes([6; 16]);
        let public = w.stranger.public();
        theirs.means =
            Means::Key { thumbprint: public.thumbprint(), jwk: public.canonical_jwk().to_owned() };
        w.directory.credentials.insert(theirs.id, theirs);
        let mut facts = w.facts();
        facts.binding = Binding::Key(w.stranger.public().thumbprint());
        let token = w.token(&facts);
        let proof = w.proof(&w.stranger, &token, 1);
        Attempt::with(token, proof)
    });
    token("credential retired", "the token's credential is no longer in use", Holder, &|w| {
        w.directory.credentials.get_mut(&CREDENTIAL).unwrap().state = CredentialState::Retired;
        Attempt::honest(w)
    });
    token("credential ended", "the token's credential is no longer in use", Holder, &|w| {
        w.directory.credentials.get_mut(&CREDENTIAL).unwrap().state =
            CredentialState::Active { until: NOW };
        Attempt::honest(w)
    });
    token("grant removed", "the token's grant does not exist", Holder, &|w| {
        w.directory.grants.clear();
        Attempt::honest(w)
    });
    token("another integration's grant", "the token's grant does not exist", Holder, &|w| {
        w.directory.grants.get_mut(&GRANT).unwrap().integration =
            IntegrationId::from_bytes([6; 16]);
        Attempt::honest(w)
    });
    token("grant expired this moment", "the token's grant has expired", Holder, &|w| {
        w.directory.grants.get_mut(&GRANT).unwrap().expires = NOW;
        Attempt::honest(w)
    });
}

#[test]
fn forged_proofs_are_refused() {
    let proof = |name: &str, reason: &str, forge: &dyn Fn(&mut World) -> Attempt| {
        check(name, "invalid_dpop_proof", reason, Blame::Holder, forge);
    };
    let changed = |name: &str, reason: &str, part: usize, member: &str, value: Value| {
        proof(name, reason, &|w| {
            Attempt::with_proof(w, &w.key, |header, claims| {
                let object = if part == 0 { header } else { claims };
                object[member] = value.clone();
            })
        });
    };
    const HEADER: usize = 0;
    const CLAIMS: usize = 1;
    let malformed = "the proof is malformed";
    let algorithm = "the proof names an algorithm that is not its key's";
    let other_key = "the proof is made with another key than the token is bound to";

    proof("none", "no proof was sent", &|w| Attempt { dpop: vec![], ..Attempt::honest(w) });
    proof("two", "more than one proof was sent", &|w| {
        let honest = Attempt::honest(w);
        Attempt { dpop: [honest.dpop.clone(), honest.dpop.clone()].concat(), ..honest }
    });
    proof("a stranger's key", other_key, &|w| {
        let token = w.token(&w.facts());
        let proof = w.proof(&w.stranger, &token, 1);
        Attempt::with(token, proof)
    });
    proof("a stranger's signature", "the proof's signature does not verify", &|w| {
        Attempt::with_proof(w, &w.stranger, |_, _| {})
    });
    proof("signature cut off", "the proof's signature does not verify", &|w| {
        let mut honest = Attempt::honest(w);
        honest.dpop =
            honest.dpop.iter().map(|p| format!("{}.", p.rsplit_once('.').unwrap().0)).collect();
        honest
    });
    proof("signature with a second spelling", "the proof's signature does not verify", &|w| {
        let mut honest = Attempt::honest(w);
        honest.dpop = honest.dpop.iter().map(|p| format!("{p}=")).collect();
        honest
    });
    proof("line break at the end", "the proof's signature does not verify", &|w| {
        let mut honest = Attempt::honest(w);
        honest.dpop = honest.dpop.iter().map(|p| format!("{p}\n")).collect();
        honest
    });
    proof("more than 4 KiB", malformed, &|w| {
        Attempt::with_proof(w, &w.key, |_, claims| claims["pad"] = json!("a".repeat(4_096)))
    });
    changed(
        "an access token as proof",
        "the proof is a JWT of another type",
        HEADER,
        "typ",
        json!("at+jwt"),
    );
    changed("no type", "the proof is a JWT of another type", HEADER, "typ", Value::Null);
    for alg in ["none", "HS256", "RS256", "ES384", "PS256"] {
        changed(&format!("alg {alg}"), algorithm, HEADER, "alg", json!(alg));
    }
    proof("alg of the other kind of key", algorithm, &|w| {
        Attempt::with_proof(w, &w.key, |header, _| {
            header["alg"] = json!(if header["alg"] == "ES256" { "EdDSA" } else { "ES256" });
        })
    });
    changed(
        "no key",
        "the proof's key is not accepted: the JWK is malformed",
        HEADER,
        "jwk",
        Value::Null,
    );
    changed(
        "a symmetric key",
        "the proof's key is not accepted: the JWK holds private key material",
        HEADER,
        "jwk",
        json!({ "kty": "oct", "k": "AAAA" }),
    );
    proof(
        "the private key sent along",
        "the proof's key is not accepted: the JWK holds private key material",
        &|w| Attempt::with_proof(w, &w.key, |header, _| header["jwk"]["d"] = json!("AAAA")),
    );
    changed("a critical extension", malformed, HEADER, "crit", json!(["nonce"]));
    changed("another method", "the proof is for another method", CLAIMS, "htm", json!("POST"));
    changed("method in lower case", "the proof is for another method", CLAIMS, "htm", json!("get"));
    for htu in [
        "https://api.example.com/v1/accounts/8",
        "https://api.example.com/v1/accounts/7/",
        "https://api.example.com/v1/accounts/7?x=1",
        "https://api.example.com/v1/accounts/x/../7",
        "https://evil.example/v1/accounts/7",
        "http://api.example.com/v1/accounts/7",
        "https://api.example.com:8443/v1/accounts/7",
        "/v1/accounts/7",
        "",
    ] {
        changed(&format!("URL {htu}"), "the proof is for another URL", CLAIMS, "htu", json!(htu));
    }
    changed("no token hash", "the proof is for another token", CLAIMS, "ath", Value::Null);
    changed(
        "another token's hash",
        "the proof is for another token",
        CLAIMS,
        "ath",
        json!(base64url::encode(&[0; 32])),
    );
    changed("too old", "the proof is too old", CLAIMS, "iat", json!(NOW.secs() - 61));
    changed("made before the epoch", malformed, CLAIMS, "iat", json!(-1));
    changed(
        "from the future",
        "the proof is from the future",
        CLAIMS,
        "iat",
        json!(NOW.secs() + 11),
    );
    changed(
        "from the far future",
        "the proof is from the future",
        CLAIMS,
        "iat",
        json!(200_000_000_000_u64),
    );
    changed("beyond all time", malformed, CLAIMS, "iat", json!(u64::MAX));
    changed("date as text", malformed, CLAIMS, "iat", json!(NOW.secs().to_string()));
    changed("no date", malformed, CLAIMS, "iat", Value::Null);
    changed("no jti", malformed, CLAIMS, "jti", Value::Null);
    changed("empty jti", malformed, CLAIMS, "jti", json!(""));
    proof("htu twice", malformed, &|w| {
        let token = w.token(&w.facts());
        let (header, claims) = taken_apart(&w.proof(&w.key, &token, 1), |_, _| {});
        let claims = claims.replacen('{', r#"{"htu":"https://evil.example/","#, 1);
        Attempt::with(token, w.key.sign_compact(&header, &claims))
    });
}

#[test]
fn a_bound_token_is_no_bearer_token() {
    let bearer = |world: &World| {
        let honest = Attempt::honest(world);
        let authorization = vec![honest.authorization[0].replace("DPoP", "Bearer")];
        Attempt { authorization, ..honest }
    };
    check(
        "with its proof",
        "invalid_token",
        "a token bound to a key was sent as Bearer",
        Blame::Holder,
        |w| bearer(w),
    );
    check(
        "without",
        "invalid_token",
        "a token bound to a key was sent as Bearer",
        Blame::Holder,
        |w| Attempt { dpop: vec![], ..bearer(w) },
    );
    let world = World::new(Algorithm::EdDsa);
    let denied = bearer(&world).send(&world).unwrap_err();
    assert!(matches!(denied, Denied::BoundTokenAsBearer { .. }));
}
