//! The examples of RFC 9449 itself.

use super::world;
use crate::denied::BadProof;
use crate::dpop::{self, Expected, Unproved};
use crate::jwk::sha256;
use crate::{Algorithm, NonceKey, PublicKey, SigningKey, base64url};
use model::{Micros, UnixMicros};
use serde_json::Value;

fn examples() -> Value {
    serde_json::from_str(include_str!("../../testdata/rfc9449-dpop-examples.json")).unwrap()
}

/// What the examples lack is the nonce we insist on, so they hold in everything but that: the challenge is the last
/// check before the signature, which is then verified by itself.
#[test]
fn the_proofs_of_the_rfc_hold() {
    let examples = examples();
    let nonces = NonceKey::new([0; 32]);
    let token = sha256(examples["access_token"].as_str().unwrap().as_bytes());
    assert_eq!(base64url::encode(&token), examples["ath"]);
    for example in examples["proofs"].as_array().unwrap() {
        let (proof, payload) = (example["proof"].as_str().unwrap(), &example["payload"]);
        let key = PublicKey::from_jwk(&example["header"]["jwk"].to_string()).unwrap();
        assert_eq!(base64url::encode(&key.thumbprint()), example["jkt"]);
        let compact = crate::jws::Compact::parse(proof, dpop::BYTES_MAX).unwrap();
        assert!(compact.verify(&key, Algorithm::Es256));

        let made = UnixMicros::from_secs(payload["iat"].as_u64().unwrap());
        let expected = Expected {
            method: payload["htm"].as_str().unwrap(),
            url: payload["htu"].as_str().unwrap(),
            token: payload["ath"].is_string().then_some(&token),
            key: Some(&key.thumbprint()),
        };
        let at = |now| dpop::verify(&[proof.as_bytes()], &expected, &nonces, now).unwrap_err();
        for age in [0, 60] {
            let now = made + Micros::from_secs(age);
            assert_eq!(at(now), Unproved::NonceNeeded(nonces.current(now)));
        }
        assert_eq!(at(made + Micros::from_secs(61)), Unproved::Bad(BadProof::Stale));
        assert_eq!(at(made - Micros::from_secs(11)), Unproved::Bad(BadProof::Future));
    }
}

/// Section 7.1 shows `ath`; section 4.3 check 12 needs it.
#[test]
fn a_proof_of_our_own_client_holds_as_the_examples_do() {
    let key: SigningKey = world::signing_key(Algorithm::Es256, 1);
    let nonces = NonceKey::new([0; 32]);
    let nonce = nonces.current(world::NOW);
    let request = crate::client::ProofRequest {
        method: "POST",
        url: "https://server.example.com/token",
        access_token: None,
        nonce: Some(nonce.as_str()),
        jti: [1; 16],
        now: world::NOW,
    };
    let proof = crate::client::sign_proof(&key, &request);
    let expected = Expected { method: request.method, url: request.url, token: None, key: None };
    let proved = dpop::verify(&[proof.as_bytes()], &expected, &nonces, world::NOW).unwrap();
    assert_eq!(proved.thumbprint, key.public().thumbprint());
    assert_eq!(proved.until, world::NOW + dpop::AGE_MAX);
}
