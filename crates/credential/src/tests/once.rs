//! Each proof is accepted once, by this start of this node.

use super::attempt::Attempt;
use super::world::{CREDENTIAL, NOW, URL, World};
use crate::client::{self, ProofRequest};
use crate::{Algorithm, Denied, NonceKey, base64url};
use model::{CredentialId, CredentialState, Micros, Refusal};
use serde_json::{Value, json};

#[test]
fn a_proof_is_accepted_once() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let world = World::new(algorithm);
        let honest = Attempt::honest(&world);
        honest.send(&world).unwrap();
        for seconds in [0, 1, 30] {
            let replay =
                Attempt { now: NOW + Micros::from_secs(seconds), ..Attempt::honest(&world) };
            let replay = Attempt { dpop: honest.dpop.clone(), ..replay };
            assert_eq!(replay.send(&world).unwrap_err().to_string(), "the proof was used before");
        }
        let again = Attempt::with_proof(&world, &world.key, |_, claims| {
            claims["iat"] = json!(NOW.secs() - 1);
        });
        assert_eq!(again.send(&world).unwrap_err().to_string(), "the proof was used before");
    }
}

#[test]
fn a_proof_sent_by_many_threads_at_once_is_accepted_once() {
    let world = World::new(Algorithm::EdDsa);
    for jti in 0..20 {
        let token = world.token(&world.facts());
        let proof = world.proof(&world.key, &token, jti);
        let authorization = format!("DPoP {token}");
        let accepted = std::thread::scope(|threads| {
            let senders: Vec<_> = (0..4)
                .map(|_| threads.spawn(|| world.send(&authorization, &proof).is_ok()))
                .collect();
            senders.into_iter().filter_map(|sender| sender.join().ok()).filter(|ok| *ok).count()
        });
        assert_eq!(accepted, 1);
    }
}

/// An ECDSA signature (r, s) has a twin (r, n - s); the `jti` and not the signature is what is remembered.
#[test]
fn the_twin_of_an_ecdsa_signature_is_a_replay() {
    let world = World::new(Algorithm::Es256);
    let mut honest = Attempt::honest(&world);
    honest.send(&world).unwrap();
    let (signed, signature) = honest.dpop[0].rsplit_once('.').unwrap();
    let mut signature = base64url::decode(signature.as_bytes()).unwrap();
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i16::from(N[i]) - i16::from(signature[32 + i]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + i] = u8::try_from(difference + 256 * borrow).unwrap();
    }
    honest.dpop = vec![format!("{signed}.{}", base64url::encode(&signature))];
    assert_eq!(honest.send(&world).unwrap_err().to_string(), "the proof was used before");
}

#[test]
fn a_proof_stays_used_when_its_key_is_registered_again() {
    let mut world = World::new(Algorithm::EdDsa);
    let honest = Attempt::honest(&world);
    honest.send(&world).unwrap();
    let mut twin = world.directory.credentials[&CREDENTIAL].clone();
    twin.id = CredentialId::from_bytes([8; 16]);
    world.directory.credentials.get_mut(&CREDENTIAL).unwrap().state = CredentialState::Retired;
    world.directory.credentials.insert(twin.id, twin);
    assert_eq!(honest.send(&world).unwrap_err().to_string(), "the proof was used before");
}

#[test]
fn a_proof_without_a_nonce_of_this_start_is_challenged() {
    let old = NonceKey::new([8; 32]).current(NOW);
    let stale = NonceKey::new([7; 32]).current(NOW - Micros::from_secs(120));
    for nonce in [Value::Null, json!(""), json!("x"), json!(old.as_str()), json!(stale.as_str())] {
        let world = World::new(Algorithm::EdDsa);
        let attempt = Attempt::with_proof(&world, &world.key, |_, claims| {
            claims["nonce"] = nonce.clone();
        });
        let denied = attempt.send(&world).unwrap_err();
        assert_eq!((denied.code(), denied.status()), ("use_dpop_nonce", 401), "{nonce}");
        //= RFC 9449 section 9: 401 with WWW-Authenticate: DPoP error="use_dpop_nonce" and a DPoP-Nonce header
        let header = denied.www_authenticate().unwrap();
        assert!(header.starts_with(r#"DPoP error="use_dpop_nonce", algs="ES256 "#), "{header}");
        let nonce = denied.challenge().unwrap().clone();
        let token = world.token(&world.facts());
        let request = ProofRequest {
            method: "GET",
            url: URL,
            access_token: Some(&token),
            nonce: Some(nonce.as_str()),
            jti: [2; 16],
            now: NOW,
        };
        let proof = client::sign_proof(&world.key, &request);
        assert!(Attempt::with(token, proof).send(&world).is_ok(), "the nonce of the challenge");
    }
}

#[test]
fn a_full_replay_set_refuses() {
    let world = World::with_proofs_max(Algorithm::EdDsa, 2);
    let token = world.token(&world.facts());
    for jti in [1, 2] {
        world.send(&format!("DPoP {token}"), &world.proof(&world.key, &token, jti)).unwrap();
    }
    let denied =
        world.send(&format!("DPoP {token}"), &world.proof(&world.key, &token, 3)).unwrap_err();
    assert!(matches!(denied, Denied::Unavailable { .. }));
    assert_eq!((denied.status(), denied.refusal()), (503, Refusal::Unavailable));
}
