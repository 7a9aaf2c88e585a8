//! Wycheproof and CCTV vectors. What we refuse on purpose is listed, line by line, in `testdata/skipped.txt`.
//!
//! A vector is *run* if its key is one we accept, and then it must come out as the vector says. It is *skipped* if we
//! refuse its key or algorithm; it is refused all the same, so no vector at all is accepted that should not be.

use crate::jws::{Compact, Header};
use crate::{BadKey, PublicKey, base64url};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whether a signature was accepted, or why its key or algorithm never came to be used.
type Verdict = Result<bool, &'static str>;

#[derive(Default)]
struct Tally {
    run: usize,
    passed: usize,
    failures: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    fn add(&mut self, suite: &str, number: &Value, valid: bool, verdict: Verdict) {
        match verdict {
            Ok(accepted) => {
                self.run += 1;
                if accepted == valid {
                    self.passed += 1;
                } else {
                    self.failures.push(format!("{suite} {number}: accepted {accepted}"));
                }
            }
            Err(reason) => self.skipped.push(format!("{suite} {number} {reason}")),
        }
    }
}

#[test]
fn vectors_come_out_as_they_should_and_what_is_skipped_is_listed() {
    let mut tally = Tally::default();
    ecdsa_and_rsa_pss(&mut tally);
    ed25519(&mut tally);
    cctv(&mut tally);
    jws(&mut tally);
    jwk(&mut tally);

    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &tally.skipped {
        *reasons.entry(line.splitn(3, ' ').nth(2).unwrap()).or_default() += 1;
    }
    println!("vectors: run {}, passed {}, skipped {reasons:?}", tally.run, tally.passed);
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(tally.run, tally.passed);
    let skipped = tally.skipped.join("\n") + "\n";
    expect_test::expect_file!["../testdata/skipped.txt"].assert_eq(&skipped);
}

fn groups(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["testGroups"].as_array().unwrap().clone()
}

fn tests(group: &Value) -> &Vec<Value> {
    group["tests"].as_array().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn key_of(jwk: &Value) -> Result<PublicKey, &'static str> {
    PublicKey::from_jwk(&jwk.to_string()).map_err(|bad| match bad {
        BadKey::Malformed => "key malformed",
        BadKey::Private => "key private or symmetric",
        BadKey::Unsupported => "key of another kind or size",
        BadKey::OtherUse => "key declared for another algorithm or use",
        BadKey::InvalidPoint => "key invalid or of small order",
    })
}

fn raw_signatures(tally: &mut Tally, suite: &str, jwk: &Value, group: &Value) {
    for test in tests(group) {
        let verdict = key_of(jwk).map(|key| key.verifies(&hex(&test["msg"]), &hex(&test["sig"])));
        tally.add(suite, &test["tcId"], test["result"] == "valid", verdict);
    }
}

fn ecdsa_and_rsa_pss(tally: &mut Tally) {
    for group in
        groups(include_str!("../testdata/wycheproof_ecdsa_secp256r1_sha256_p1363_test.json"))
    {
        let mut jwk = group["publicKeyJwk"].clone();
        if jwk.is_null() {
            let point = hex(&group["publicKey"]["uncompressed"]);
            let (x, y) = (base64url::encode(&point[1..33]), base64url::encode(&point[33..]));
            jwk = serde_json::json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        }
        raw_signatures(tally, "ecdsa_p1363", &jwk, &group);
    }
    for group in
        groups(include_str!("../testdata/wycheproof_rsa_pss_2048_sha256_mgf1_32_test.json"))
    {
        raw_signatures(tally, "rsa_pss", &group["publicKeyJwk"], &group);
    }
}

fn ed25519(tally: &mut Tally) {
    for group in groups(include_str!("../testdata/wycheproof_ed25519_test.json")) {
        let x = base64url::encode(&hex(&group["publicKey"]["pk"]));
        let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        raw_signatures(tally, "ed25519", &jwk, &group);
    }
}

/// The CCTV vectors do not say what is valid, they name what is odd. RFC 8032 section 5.1.7 without the cofactor accepts a
/// signature unless something is left over of small order, or `R` or the key is not in its one encoding.
fn cctv(tally: &mut Tally) {
    let vectors: Value =
        serde_json::from_str(include_str!("../testdata/ed25519-cctv.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let jwk = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(&hex(&vector["key"])),
        });
        let flagged = |flag: &str| {
            vector["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == flag))
        };
        let valid = !flagged("low_order_residue")
            && !flagged("non_canonical_R")
            && !flagged("non_canonical_A");
        let message = vector["msg"].as_str().unwrap().as_bytes();
        let verdict = key_of(&jwk).map(|key| key.verifies(message, &hex(&vector["sig"])));
        assert_eq!(verdict.is_err(), flagged("low_order_A"), "{vector}");
        tally.add("cctv", &vector["number"], valid, verdict);
    }
}

fn verify_jws(text: &str, keys: &[Value], valid: bool) -> Verdict {
    if let [only] = keys {
        key_of(only)?;
    }
    let opened = Compact::parse(text, 1 << 16)
        .and_then(|compact| compact.header_bytes().map(|header| (compact, header)));
    let Some((compact, header)) = opened else { return Ok(false) };
    let Ok(header) = serde_json::from_slice::<Header<'_>>(&header) else { return Ok(false) };
    let meant = |jwk: &&Value| keys.len() == 1 || jwk["kid"].as_str() == header.kid.as_deref();
    let mut meant = keys.iter().filter(meant);
    let (Some(jwk), None) = (meant.next(), meant.next()) else { return Ok(false) };
    let key = key_of(jwk)?;
    match header.algorithm() {
        Some(algorithm) => Ok(compact.payload_bytes().is_some() && compact.verify(&key, algorithm)),
        // RFC 7520 signs with PS384 under a key declared for PS256; with us a key has one algorithm.
        None if valid => Err("signed with another algorithm"),
        None => Ok(false),
    }
}

fn jws_groups(tally: &mut Tally, suite: &str, text: &str) {
    for group in groups(text) {
        let holder = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let keys = holder["keys"].as_array().cloned().unwrap_or_else(|| vec![holder.clone()]);
        for test in tests(&group) {
            let valid = test["result"] == "valid";
            let verdict = verify_jws(test["jws"].as_str().unwrap(), &keys, valid);
            tally.add(suite, &test["tcId"], valid, verdict);
        }
    }
}

fn jws(tally: &mut Tally) {
    jws_groups(tally, "jws", include_str!("../testdata/wycheproof_json_web_signature_test.json"));
}

fn jwk(tally: &mut Tally) {
    jws_groups(tally, "jwk", include_str!("../testdata/wycheproof_json_web_key_test.json"));
}
