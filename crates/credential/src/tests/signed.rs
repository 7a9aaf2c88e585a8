//! Message signatures: what is accepted, and forged ones that are honest but for one thing and are refused for exactly that.

use super::attempt::Attempt;
use super::signed_request::{Plan, Signed};
use super::world::{AUDIENCE, CREDENTIAL, ISSUER, NOW, World, signing_key};
use crate::client::{self, SignRequest};
use crate::token::{Binding, Facts};
use crate::{Algorithm, Denied, NonceKey, Verifier};
use model::{CredentialState, Means, Micros};
use std::collections::BTreeMap;
use std::sync::Arc;

const BOTH: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

fn accepted(name: &str, make: impl Fn(&World) -> Signed) {
    for algorithm in BOTH {
        let world = World::new(algorithm);
        let sent = make(&world).send(&world);
        assert!(sent.is_ok(), "{name}, {algorithm:?}: {sent:?}");
    }
}

fn refused(name: &str, reason: &str, make: impl Fn(&World) -> Signed) {
    for algorithm in BOTH {
        let world = World::new(algorithm);
        let denied = make(&world).send(&world).expect_err(name);
        assert_eq!(denied.to_string(), reason, "{name}");
        assert_eq!((denied.code(), denied.status()), ("invalid_signature", 401), "{name}");
        let challenge = denied.www_authenticate().unwrap();
        assert_eq!(
            challenge,
            r#"HTTPSig error="invalid_signature", algs="ed25519 ecdsa-p256-sha256""#
        );
        assert!(denied.caller().is_some(), "{name}");
        assert!(world.verifier.proofs.is_empty(), "{name}: what is refused uses up nothing");
    }
}

const MALFORMED: &str = "the signature's fields are malformed";
const COMPONENT: &str = "the signature covers a component that is absent, repeated or not accepted";
const NO_SIGNATURE: &str = "no signature with the tag `portcullis` was sent";
const SIGNATURE: &str = "the signature does not verify";
const DIGEST: &str = "the content is not what `Content-Digest` says";

#[test]
fn an_honest_signature_is_accepted() {
    accepted("with content", Signed::honest);
    accepted("without", |w| {
        let mut request = Signed::unsigned(&w.token(&w.facts()));
        (request.method, request.body) = ("GET", Vec::new());
        request.drop_field("Content-Digest");
        let mut plan = Plan::honest(w, "1");
        plan.without("content-digest");
        request.sign(&w.key, &plan);
        request
    });
    accepted("the target in its parts", |w| {
        Signed::with(w, |p| {
            p.cover(&[
                "@method",
                "@query",
                "@path",
                "@authority",
                "authorization",
                "content-digest",
                "content-type",
            ])
        })
    });
    accepted("no algorithm named", |w| Signed::with(w, |p| p.without("alg")));
    accepted("the credential named by its id", |w| {
        Signed::with(w, |p| p.set("keyid", &format!("\"{CREDENTIAL}\"")))
    });
    accepted("an expiry besides", |w| {
        Signed::with(w, |p| p.set("expires", &(NOW.secs() + 1).to_string()))
    });
    accepted("scheme in lower case", |w| {
        let mut request = Signed::unsigned(&w.token(&w.facts()));
        request.set("Authorization", &format!("httpsig {}", w.token(&w.facts())));
        request.sign(&w.key, &Plan::honest(w, "1"));
        request
    });
    accepted("a signature of somebody else beside it", |w| {
        let mut request = Signed::honest(w);
        let mut plan = Plan::honest(w, "2");
        (plan.label, plan.covered) = ("proxy", vec![r#""@status""#.into(), r#""x";sf"#.into()]);
        plan.set("tag", "\"other\"");
        request.sign(&w.stranger, &plan);
        request
    });
}

#[test]
fn our_own_client_signs_what_is_accepted() {
    for algorithm in BOTH {
        let world = World::new(algorithm);
        let token = world.token(&world.facts());
        let mut request = Signed::unsigned(&token);
        request.drop_field("Content-Digest");
        let nonce = world.verifier.nonce(NOW);
        let fields = client::sign_request(
            &world.key,
            &SignRequest {
                method: "POST",
                target_uri: "https://api.example.com/v1/accounts/7?notify=true&to=a%40b",
                access_token: &token,
                content: &request.body,
                nonce: nonce.as_str(),
                unique: [1; 16],
                now: NOW,
            },
        );
        request.push("Content-Digest", fields.content_digest.as_deref().unwrap());
        request.push("Signature-Input", &fields.signature_input);
        request.push("Signature", &fields.signature);
        request.send(&world).unwrap();
    }
}

#[test]
fn a_signature_that_covers_too_little_is_refused() {
    let uncovered = |name: &str, missing: &str, covered: &'static [&'static str]| {
        let reason = format!("the signature does not cover `{missing}`");
        refused(name, &reason, |w| Signed::with(w, |plan| plan.cover(covered)));
    };
    uncovered("nothing", "@method", &[]);
    uncovered("the date", "@method", &["date"]);
    uncovered("no method", "@method", &["@target-uri", "authorization", "content-digest"]);
    uncovered("no token", "authorization", &["@method", "@target-uri", "content-digest"]);
    uncovered("no target", "@target-uri", &["@method", "authorization", "content-digest"]);
    uncovered(
        "no query",
        "@target-uri",
        &["@method", "@authority", "@path", "authorization", "content-digest"],
    );
    uncovered(
        "no authority",
        "@target-uri",
        &["@method", "@path", "@query", "authorization", "content-digest"],
    );
    uncovered("no content", "content-digest", &["@method", "@target-uri", "authorization"]);
    refused("a parameter for the query", "the signature does not cover `@target-uri`", |w| {
        Signed::with(w, |plan| {
            plan.cover(&["@method", "@authority", "@path", "authorization", "content-digest"]);
            plan.covered.push(r#""@query-param";name="to""#.into());
        })
    });
}

#[test]
fn components_that_are_not_accepted_are_refused() {
    let more = |name: &str, component: &'static str| {
        refused(name, COMPONENT, |w| Signed::with(w, |plan| plan.covered.push(component.into())));
    };
    more("a query parameter", r#""@query-param";name="to""#);
    more("of a response", r#""@status""#);
    more("of another request", r#""@method";req"#);
    more("the request line", r#""@request-target""#);
    more("a field that is absent", r#""x-absent""#);
    more("a field in capitals", r#""Content-Type""#);
    more("a field reserialised", r#""content-digest";sf"#);
    more("a trailer", r#""x-sum";tr"#);
    more("twice", r#""@method""#);
    more("the connection's", r#""connection""#);
    more("Host", r#""host""#);
    more("no name at all", r#""""#);
    refused("a parameter on what is needed", COMPONENT, |w| {
        Signed::with(w, |plan| plan.covered[3] = r#""content-digest";key="sha-256""#.into())
    });
    refused("a quote in a name", COMPONENT, |w| {
        let mut request = Signed::honest(w);
        let input = String::from_utf8(request.field("Signature-Input").clone()).unwrap();
        request.set("Signature-Input", &input.replace("(\"@method\"", "(\"a\\\"b\" \"@method\""));
        request
    });
}

#[test]
fn parameters_that_do_not_hold_are_refused() {
    let set = |name: &str, reason: &str, parameter: &'static str, value: &str| {
        refused(name, reason, |w| Signed::with(w, |plan| plan.set(parameter, value)));
    };
    let without = |parameter: &'static str, reason: &str| {
        refused(parameter, reason, |w| Signed::with(w, |plan| plan.without(parameter)));
    };
    let at = |seconds: i64| (i64::try_from(NOW.secs()).unwrap() + seconds).to_string();
    without("created", MALFORMED);
    without("keyid", MALFORMED);
    without("tag", NO_SIGNATURE);
    set("tag of another", NO_SIGNATURE, "tag", "\"portcullis2\"");
    set("tag as a token", NO_SIGNATURE, "tag", "portcullis");
    set("too old", "the signature is too old", "created", &at(-61));
    set("from the future", "the signature is from the future", "created", &at(11));
    set("far future", MALFORMED, "created", "999999999999999");
    set("before the epoch", MALFORMED, "created", "-1");
    set("a fraction", MALFORMED, "created", "1800000030.5");
    set("a date", MALFORMED, "created", "@1800000030");
    set("expired this moment", "the signature has expired", "expires", &at(0));
    set("expired", "the signature has expired", "expires", &at(-100));
    set("expiry as text", MALFORMED, "expires", "\"never\"");
    set(
        "a foreign key named",
        "the signature names another key than the token is bound to",
        "keyid",
        "\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\"",
    );
    set(
        "an empty name",
        "the signature names another key than the token is bound to",
        "keyid",
        "\"\"",
    );
    set("a parameter nobody knows", MALFORMED, "pub", ":AAAA:");
    for alg in [
        "hmac-sha256",
        "rsa-v1_5-sha256",
        "rsa-pss-sha512",
        "ecdsa-p384-sha384",
        "none",
        "EdDSA",
        "",
    ] {
        set(
            alg,
            "the signature names an algorithm that is not its key's",
            "alg",
            &format!("\"{alg}\""),
        );
    }
    refused(
        "the algorithm of the other kind of key",
        "the signature names an algorithm that is not its key's",
        |w| {
            let other = match w.key.public().algorithm() {
                Algorithm::EdDsa => "\"ecdsa-p256-sha256\"",
                Algorithm::Es256 | Algorithm::Ps256 => "\"ed25519\"",
            };
            Signed::with(w, |plan| plan.set("alg", other))
        },
    );
}

#[test]
fn one_signature_is_ours_and_it_is_the_right_one() {
    refused("none", NO_SIGNATURE, |w| Signed::unsigned(&w.token(&w.facts())));
    refused("a proof of the other kind", NO_SIGNATURE, |w| {
        let token = w.token(&w.facts());
        let mut request = Signed::unsigned(&token);
        request.push("DPoP", &w.proof(&w.key, &token, 1));
        request
    });
    refused(
        "two with our tag",
        "more than one signature with the tag `portcullis` was sent",
        |w| {
            let mut request = Signed::honest(w);
            let mut plan = Plan::honest(w, "2");
            plan.label = "sig2";
            request.sign(&w.key, &plan);
            request
        },
    );
    refused("one label twice", MALFORMED, |w| {
        let mut request = Signed::honest(w);
        let mut plan = Plan::honest(w, "2");
        plan.set("tag", "\"other\"");
        request.sign(&w.key, &plan);
        request
    });
    refused("the signature twice", MALFORMED, |w| {
        let mut request = Signed::honest(w);
        let signature = String::from_utf8(request.field("Signature").clone()).unwrap();
        request.push("Signature", &signature);
        request
    });
    refused("no value", NO_SIGNATURE, |w| {
        let mut request = Signed::honest(w);
        request.drop_field("Signature");
        request
    });
    refused("the value under another label", NO_SIGNATURE, |w| {
        let mut request = Signed::honest(w);
        let signature = String::from_utf8(request.field("Signature").clone()).unwrap();
        request.set("Signature", &signature.replace("sig=", "gis="));
        request
    });
    refused("a stranger's", SIGNATURE, |w| {
        let mut request = Signed::unsigned(&w.token(&w.facts()));
        request.sign(&w.stranger, &Plan::honest(w, "1"));
        request
    });
    refused("an empty one", SIGNATURE, |w| {
        let mut request = Signed::honest(w);
        request.set("Signature", "sig=::");
        request
    });
    refused("a field longer than any", MALFORMED, |w| {
        let mut request = Signed::honest(w);
        request.push("Signature-Input", &"a".repeat(9_000));
        request
    });
}

#[test]
fn another_request_than_the_signed_one_is_refused() {
    let changed = |name: &str, reason: &str, change: &dyn Fn(&mut Signed)| {
        refused(name, reason, |w| {
            let mut request = Signed::honest(w);
            change(&mut request);
            request
        });
    };
    changed("method", SIGNATURE, &|r| r.method = "PUT");
    changed("path", SIGNATURE, &|r| r.path.push('0'));
    changed("query", SIGNATURE, &|r| r.query = Some("notify=false&to=a%40b".into()));
    changed("query spelled otherwise", SIGNATURE, &|r| r.query = Some("notify=true&to=a@b".into()));
    changed("query left out", SIGNATURE, &|r| r.query = None);
    changed("empty query", SIGNATURE, &|r| r.query = Some(String::new()));
    changed("content", DIGEST, &|r| r.body = br#"{"name":"Eve"}"#.to_vec());
    changed("content cut off", DIGEST, &|r| r.body.truncate(5));
    changed("content gone", DIGEST, &|r| r.body.clear());
    changed("digest fitted to other content", SIGNATURE, &|r| {
        r.body = b"x".to_vec();
        r.set("Content-Digest", "sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:");
    });
    changed("another digest line", SIGNATURE, &|r| r.push("content-digest", "sha-512=:AAAA:"));
    changed("no digest", COMPONENT, &|r| r.drop_field("Content-Digest"));
    refused("another token of the same holder", SIGNATURE, |w| {
        let mut request = Signed::honest(w);
        let other = Facts { issued: NOW - Micros::from_secs(1), ..w.facts() };
        request.set("Authorization", &format!("HTTPSig {}", w.token(&other)));
        request
    });
}

#[test]
fn every_digest_that_counts_has_to_hold() {
    let with_digest = |digest: &'static str| {
        move |w: &World| {
            let mut request = Signed::unsigned(&w.token(&w.facts()));
            request.body = b"x".to_vec();
            request.set("Content-Digest", digest);
            request.sign(&w.key, &Plan::honest(w, "1"));
            request
        }
    };
    const ONE: &str = "sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:";
    const BOTH_HOLD: &str = "sha-512=:pKvURIxJVi2CgRXROh/M6pJ/UrTVRZKX+LQ+QtqJI4vBNibkPcs43bCCSIkn7JBPtCBXRDmD6IWFF51QVRr+Yg==:, \
         sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:, md5=:AAAA:";
    accepted("sha-256", with_digest(ONE));
    accepted("both, and one that does not count", with_digest(BOTH_HOLD));
    refused(
        "sha-256 of other content",
        DIGEST,
        with_digest("sha-256=:AXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:"),
    );
    refused(
        "cut off",
        DIGEST,
        with_digest("sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSI==:"),
    );
    refused(
        "only ones that do not count",
        DIGEST,
        with_digest("md5=:nUVRtHnXtaoU1BtnyIFbRg==:, crc32c=:AAAAAA==:"),
    );
    refused(
        "one of two",
        DIGEST,
        with_digest("sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:, sha-512=:AAAA:"),
    );
    refused(
        "one name twice",
        MALFORMED,
        with_digest("sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:, sha-256=:AAAA:"),
    );
    refused("not a field of its kind", MALFORMED, with_digest("SHA-256=LXEWQrcmsEQBYnyp"));
    refused("nothing", DIGEST, with_digest(""));
}

#[test]
fn a_token_that_is_not_bound_to_a_key_is_not_presented_so() {
    let world = World::new(Algorithm::EdDsa);
    let shown = world.certificate.show(&Arc::default(), NOW).thumbprint();
    let facts = Facts { binding: Binding::Certificate(shown), ..world.facts() };
    let mut request = Signed::unsigned(&world.token(&facts));
    request.certificate = Some(Arc::clone(&world.certificate));
    request.sign(&world.key, &Plan::honest(&world, "1"));
    assert!(matches!(request.send(&world), Err(Denied::Certificate { .. })));
}

#[test]
fn a_signature_under_another_scheme_is_no_proof() {
    let world = World::new(Algorithm::EdDsa);
    let token = world.token(&world.facts());
    for (scheme, code) in [
        ("DPoP", "invalid_dpop_proof"),
        ("Bearer", "invalid_token"),
        ("Signature", "invalid_request"),
    ] {
        let mut request = Signed::unsigned(&token);
        request.set("Authorization", &format!("{scheme} {token}"));
        request.sign(&world.key, &Plan::honest(&world, "1"));
        assert_eq!(request.send(&world).unwrap_err().code(), code);
    }
    let dpop = Attempt::honest(&world).send(&world).unwrap();
    assert!(!dpop.is_signed(), "covers neither query nor content");
}

#[test]
fn a_signature_is_accepted_once() {
    for algorithm in BOTH {
        let world = World::new(algorithm);
        let mut request = Signed::honest(&world);
        request.send(&world).unwrap();
        for seconds in [0, 1, 30, 60] {
            request.now = NOW + Micros::from_secs(seconds);
            assert_eq!(
                request.send(&world).unwrap_err().to_string(),
                "the signature was used before"
            );
        }
        request.now = NOW + Micros::from_secs(61);
        assert_eq!(request.send(&world).unwrap_err().to_string(), "the signature is too old");
        // The nonce, not the signature, is what is remembered.
        let again = Signed::with(&world, |plan| plan.set("created", &(NOW.secs() - 1).to_string()));
        assert_eq!(again.send(&world).unwrap_err().to_string(), "the signature was used before");
    }
}

#[test]
fn a_signature_of_before_a_restart_is_challenged() {
    let mut world = World::new(Algorithm::EdDsa);
    let request = Signed::honest(&world);
    request.send(&world).unwrap();
    let keys = BTreeMap::from([("k1".to_owned(), world.issuer_key.public().clone())]);
    world.verifier = Verifier::new(ISSUER, AUDIENCE, keys, [8; 32], Verifier::PROOFS_MAX);
    let denied = request.send(&world).unwrap_err();
    assert!(matches!(denied, Denied::SignatureNonceNeeded { .. }), "{denied}");
}

#[test]
fn a_challenge_says_how_to_sign() {
    let world = World::new(Algorithm::EdDsa);
    let foreign = NonceKey::new([8; 32]).current(NOW);
    let stale = NonceKey::new([7; 32]).current(NOW - Micros::from_secs(120));
    let current = world.verifier.nonce(NOW);
    let current = current.as_str();
    for nonce in [
        "",
        ".",
        "x",
        &format!("{}.1", foreign.as_str()),
        &format!("{}.1", stale.as_str()),
        &format!(".{current}"),
        &format!("{current}x.1"),
    ] {
        let denied = Signed::with(&world, |plan| plan.set("nonce", &format!("\"{nonce}\"")))
            .send(&world)
            .unwrap_err();
        assert_eq!((denied.code(), denied.status()), ("use_nonce", 401), "{nonce}");
        assert_eq!(denied.challenge(), None, "it is no DPoP nonce");
        assert_eq!(
            denied.www_authenticate().unwrap(),
            format!(
                r#"HTTPSig error="use_nonce", nonce="{current}", algs="ed25519 ecdsa-p256-sha256""#
            )
        );
        let moment = NOW.0;
        assert_eq!(
            denied.accept_signature().unwrap(),
            format!(
                r#"sig=("@method" "@target-uri" "authorization" "content-digest");created;keyid;nonce="{current}.{moment}";tag="portcullis""#
            )
        );
    }
    let denied = Signed::with(&world, |plan| plan.without("nonce")).send(&world).unwrap_err();
    assert_eq!(denied.code(), "use_nonce");
    // As section 5 of the RFC has it: the nonce of the challenge, to the letter.
    Signed::with(&world, |plan| plan.set("nonce", &format!("\"{current}.{}\"", NOW.0)))
        .send(&world)
        .unwrap();
}

#[test]
fn a_credential_that_ended_signs_nothing() {
    let mut world = World::new(Algorithm::EdDsa);
    let token = world.token(&world.facts());
    Signed::honest(&world).send(&world).unwrap();
    world.directory.credentials.get_mut(&CREDENTIAL).unwrap().state = CredentialState::Retired;
    let mut request = Signed::unsigned(&token);
    request.sign(&world.key, &Plan::honest(&world, "2"));
    assert_eq!(request.send(&world).unwrap_err().code(), "invalid_token");
}

#[test]
fn a_key_that_is_not_the_one_of_the_thumbprint_verifies_nothing() {
    let mut world = World::new(Algorithm::EdDsa);
    let other = signing_key(Algorithm::EdDsa, 9);
    let credential = world.directory.credentials.get_mut(&CREDENTIAL).unwrap();
    let Means::Key { jwk, .. } = &mut credential.means else { panic!("it is a key") };
    *jwk = other.public().canonical_jwk().to_owned();
    let mut request = Signed::unsigned(&world.token(&world.facts()));
    request.sign(&other, &Plan::honest(&world, "1"));
    let denied = request.send(&world).unwrap_err();
    assert_eq!(denied.to_string(), "the signature names another key than the token is bound to");
}
