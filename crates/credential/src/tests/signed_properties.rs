//! Properties of message signatures over arbitrary changes and arbitrary fields.

use super::signed_request::{Plan, Signed};
use super::world::{NOW, World};
use crate::{Algorithm, dpop};
use model::{Micros, UnixMicros};
use proptest::prelude::*;

/// A part of a request that a signature stands for.
#[derive(Clone, Copy, Debug)]
enum Part {
    Path,
    Query,
    Body,
    Field(&'static str),
}

fn part() -> impl Strategy<Value = Part> {
    prop::sample::select(vec![
        Part::Path,
        Part::Query,
        Part::Body,
        Part::Field("Authorization"),
        Part::Field("Content-Digest"),
        Part::Field("Signature-Input"),
        Part::Field("Signature"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_with_any_byte_changed_is_nobody(part in part(), at: prop::sample::Index, to: u8) {
        let world = World::new(Algorithm::EdDsa);
        let mut request = Signed::honest(&world);
        let change = |bytes: &mut Vec<u8>, to: u8| {
            let at = at.index(bytes.len());
            let before = std::mem::replace(&mut bytes[at], to);
            //= RFC 9651 section 4.2.7: bits of the last character that stand for no byte are not looked at
            before == to || bytes.get(at + 1) == Some(&b'=')
        };
        let text = to & 0x7f;
        let is_same = match part {
            Part::Path => {
                let mut bytes = request.path.clone().into_bytes();
                let is_same = change(&mut bytes, text);
                request.path = String::from_utf8(bytes).unwrap();
                is_same
            }
            Part::Query => {
                let mut bytes = request.query.clone().unwrap().into_bytes();
                let is_same = change(&mut bytes, text);
                request.query = Some(String::from_utf8(bytes).unwrap());
                is_same
            }
            Part::Body => change(&mut request.body, to),
            Part::Field(name) => change(request.field(name), to),
        };
        prop_assume!(!is_same);
        prop_assert!(request.send(&world).is_err());
    }

    #[test]
    fn a_request_of_another_method_is_nobody(method in prop::sample::select(vec!["GET", "PUT", "PATCH", "DELETE", "post", "POST "])) {
        let world = World::new(Algorithm::EdDsa);
        let mut request = Signed::honest(&world);
        request.method = method;
        prop_assert!(request.send(&world).is_err());
    }

    #[test]
    fn arbitrary_fields_are_nobody(
        input in prop::collection::vec(any::<u8>(), 0..120),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let world = World::new(Algorithm::EdDsa);
        let mut request = Signed::unsigned(&world.token(&world.facts()));
        request.fields.push(("Signature-Input".to_owned(), input));
        request.fields.push(("Signature".to_owned(), signature));
        prop_assert!(request.send(&world).is_err());
    }

    /// Of what is covered, only sets with all that is needed make a caller.
    #[test]
    fn what_covers_too_little_is_nobody(covered in prop::sample::subsequence(
        vec!["@method", "@target-uri", "@authority", "@path", "@query", "@scheme", "authorization", "content-digest", "content-type"],
        0..=9,
    ).prop_shuffle()) {
        let world = World::new(Algorithm::EdDsa);
        let request = Signed::with(&world, |plan| plan.cover(&covered));
        let has = |name: &str| covered.contains(&name);
        let enough = has("@method") && has("authorization") && has("content-digest")
            && (has("@target-uri") || (has("@authority") && has("@path") && has("@query")));
        prop_assert_eq!(request.send(&world).is_ok(), enough);
    }

    /// The naive model keeps every signature ever accepted, with the moment it was made, and looks through all of them.
    #[test]
    fn acceptance_is_that_of_a_list_that_never_forgets(
        steps in prop::collection::vec((0_u8..8, 0_u64..90, 0_u64..4_000_000), 1..40),
    ) {
        let world = World::new(Algorithm::EdDsa);
        let mut accepted: Vec<(String, UnixMicros, Signed)> = Vec::new();
        let mut now = NOW - Micros::from_secs(60);
        for (end, age, step) in steps {
            now = now + Micros(step);
            let made = UnixMicros::from_secs((now + Micros::from_secs(15)).secs() - age);
            let nonce = format!("{}.{end}", world.verifier.nonce(now).as_str());
            let mut request = Signed::unsigned(&world.token(&world.facts()));
            let mut plan = Plan::honest(&world, "");
            plan.set("created", &made.secs().to_string());
            plan.set("nonce", &format!("\"{nonce}\""));
            request.sign(&world.key, &plan);
            request.now = now;
            let timely = made <= now + dpop::AHEAD_MAX && now <= made + dpop::AGE_MAX;
            let used_by = |kept_for: Micros| {
                accepted.iter().any(|(used, made, _)| *used == nonce && now <= *made + dpop::AGE_MAX + kept_for)
            };
            if request.send(&world).is_ok() {
                prop_assert!(timely);
                prop_assert!(!used_by(Micros(0)), "accepted while another with its nonce was acceptable");
                accepted.push((nonce, made, request));
            } else {
                // A nonce may be remembered for one bucket (8 s) longer than it must, never shorter.
                prop_assert!(!timely || used_by(Micros::from_secs(8)));
            }
            for (_, _, earlier) in &mut accepted {
                earlier.now = now;
                prop_assert!(earlier.send(&world).is_err(), "accepted twice");
            }
        }
    }
}
