//! Properties over arbitrary input and arbitrary orders of requests.

use super::world::{NOW, URL, World};
use crate::client::{self, ProofRequest};
use crate::{Algorithm, Denied, dpop};
use model::{Micros, UnixMicros};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The naive model keeps every proof ever accepted, with the moment it was made, and looks through all of them.
    #[test]
    fn acceptance_is_that_of_a_list_that_never_forgets(
        steps in prop::collection::vec((0_u8..12, 0_u64..90, 0_u64..4_000_000), 1..60),
    ) {
        let world = World::new(Algorithm::EdDsa);
        let token = world.token(&world.facts());
        let authorization = format!("DPoP {token}");
        let send = |proof: &str, now| world.send_raw(&[authorization.as_bytes()], &[proof.as_bytes()], now);
        let mut accepted: Vec<(u8, UnixMicros, String)> = Vec::new();
        let mut now = NOW - Micros::from_secs(60);
        for (jti, age, step) in steps {
            now = now + Micros(step);
            let made = UnixMicros::from_secs((now + Micros::from_secs(15)).secs() - age);
            let nonce = world.verifier.nonce(now);
            let proof = client::sign_proof(&world.key, &ProofRequest {
                method: "GET",
                url: URL,
                access_token: Some(&token),
                nonce: Some(nonce.as_str()),
                jti: [jti; 16],
                now: made,
            });
            let timely = made <= now + dpop::AHEAD_MAX && now <= made + dpop::AGE_MAX;
            let used_by = |kept_for: Micros| {
                accepted.iter().any(|(used, made, _)| *used == jti && now <= *made + dpop::AGE_MAX + kept_for)
            };
            match send(&proof, now) {
                Ok(_) => {
                    prop_assert!(timely);
                    prop_assert!(!used_by(Micros(0)), "accepted while another with its jti was acceptable");
                    accepted.push((jti, made, proof));
                }
                // A jti may be remembered for one bucket (8 s) longer than it must, never shorter.
                Err(_) => prop_assert!(!timely || used_by(Micros::from_secs(8))),
            }
            for (_, _, earlier) in &accepted {
                prop_assert!(send(earlier, now).is_err(), "accepted twice");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_nobody(
        authorization in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..3),
        dpop in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..3),
    ) {
        let world = World::new(Algorithm::EdDsa);
        let authorization: Vec<&[u8]> = authorization.iter().map(Vec::as_slice).collect();
        let dpop: Vec<&[u8]> = dpop.iter().map(Vec::as_slice).collect();
        prop_assert!(world.send_raw(&authorization, &dpop, NOW).is_err());
    }

    #[test]
    fn a_token_or_proof_with_any_byte_changed_is_nobody(of_token: bool, at: prop::sample::Index, to: u8) {
        let world = World::new(Algorithm::Es256);
        let token = world.token(&world.facts());
        let mut authorization = format!("DPoP {token}").into_bytes();
        let mut proof = world.proof(&world.key, &token, 1).into_bytes();
        let (bytes, from) = if of_token { (&mut authorization, 5) } else { (&mut proof, 0) };
        let at = from + at.index(bytes.len() - from);
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(world.send_raw(&[&authorization], &[&proof], NOW).is_err());
    }

    #[test]
    fn arbitrary_json_in_a_signed_proof_is_nobody(header in ".{0,60}", claims in ".{0,60}") {
        let world = World::new(Algorithm::EdDsa);
        let token = world.token(&world.facts());
        let proof = world.key.sign_compact(&header, &claims);
        let denied = world.send(&format!("DPoP {token}"), &proof).unwrap_err();
        let as_expected = matches!(denied, Denied::Proof { .. });
        prop_assert!(as_expected, "{}", denied);
    }
}

/// Nesting costs no stack: the parser gives up at a depth of its own.
#[test]
fn deep_nesting_is_malformed() {
    let world = World::new(Algorithm::EdDsa);
    let token = world.token(&world.facts());
    let nested = format!(r#"{{"a":{}1{}}}"#, "[".repeat(1_400), "]".repeat(1_400));
    let proof = world.key.sign_compact("{}", &nested);
    let denied = world.send(&format!("DPoP {token}"), &proof).unwrap_err();
    assert_eq!(denied.code(), "invalid_dpop_proof");
}
