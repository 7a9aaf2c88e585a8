//! An authenticator in software, honest and otherwise, against a relying party.

use super::*;
use authenticator::{Authenticator, BACKED_UP, PRESENT, Says, VERIFIED};
use credential::base64url;
use serde_json::json;

#[path = "../../tests/console/authenticator.rs"]
mod authenticator;

const ORIGIN: &str = "https://connect.example";
const HANDLE: Uuid = Uuid::from_bytes([8; 16]);

fn portal() -> RelyingParty {
    RelyingParty::new(ORIGIN, "A company").unwrap()
}

fn honest(kind: &'static str) -> Says {
    Says::honest(kind, ORIGIN)
}

fn register(portal: &RelyingParty, device: &mut Authenticator, says: &Says) -> Option<Passkey> {
    let (asked, state) = portal.ask_to_enrol(HANDLE, "a", Vec::new()).unwrap();
    portal.made(&serde_json::from_value(device.made(&asked, says)).unwrap(), &state)
}

/// Signs in with `passkey` as it is kept. The counter, if it was accepted.
fn sign_in(
    portal: &RelyingParty,
    device: &Authenticator,
    passkey: &Passkey,
    says: &Says,
) -> Option<u32> {
    let (asked, state) = portal.ask_to_sign_in().unwrap();
    let signed = serde_json::from_value(device.signed(&asked, says)).unwrap();
    let kept = without_counter(passkey).unwrap();
    let known = Known { handle: HANDLE.as_bytes(), passkey: &kept, counter: 9 };
    portal.signed_in(&signed, state, &known)
}

/// What is wrong, and how to make it so.
type Wrong = (&'static str, fn(&mut Says));

/// What is wrong in both ceremonies alike.
fn wrong() -> Vec<Wrong> {
    vec![
        ("another challenge", |says| says.challenge = Some(base64url::encode(&[1; 32]))),
        ("another origin", |says| says.origin = "https://evil.example".into()),
        ("a subdomain", |says| says.origin = "https://x.connect.example".into()),
        ("clear text", |says| says.origin = "http://connect.example".into()),
        ("another port", |says| says.origin = "https://connect.example:444".into()),
        ("another relying party", |says| says.relying_party = "evil.example".into()),
        ("nobody there", |says| says.flags = VERIFIED),
        ("nobody verified", |says| says.flags = PRESENT),
        ("backed up and cannot be", |says| says.flags |= BACKED_UP),
        ("a frame of another origin", |says| says.framed = json!(true)),
    ]
}

#[test]
fn a_passkey_is_made_for_this_portal_only() {
    let (portal, mut device) = (portal(), Authenticator::new());
    assert!(register(&portal, &mut device, &honest("webauthn.create")).is_some());
    let mut cases = wrong();
    cases.push(("another type", |says| says.kind = "webauthn.get"));
    cases.push(("an algorithm that was not offered", |says| says.algorithm = 0x38));
    cases.push(("a long identifier", |says| says.id = vec![7; 1_024]));
    for (name, change) in cases {
        let mut says = honest("webauthn.create");
        change(&mut says);
        assert!(register(&portal, &mut device, &says).is_none(), "{name}");
    }
}

#[test]
fn a_sign_in_is_for_this_portal_and_this_challenge() {
    let (portal, mut device) = (portal(), Authenticator::new());
    let passkey = register(&portal, &mut device, &honest("webauthn.create")).unwrap();
    assert_eq!(sign_in(&portal, &device, &passkey, &honest("webauthn.get")), Some(0));
    let mut other = Authenticator::new();
    register(&portal, &mut other, &honest("webauthn.create")).unwrap();
    assert_eq!(sign_in(&portal, &other, &passkey, &honest("webauthn.get")), None, "another key");
    let mut cases = wrong();
    cases.push(("another type", |says| says.kind = "webauthn.create"));
    for (name, change) in cases {
        let mut says = honest("webauthn.get");
        change(&mut says);
        assert_eq!(sign_in(&portal, &device, &passkey, &says), None, "{name}");
    }
}

#[test]
fn a_counter_that_goes_back_is_noticed_and_refuses_nobody() {
    let (portal, mut device) = (portal(), Authenticator::new());
    let mut says = honest("webauthn.create");
    says.counter = 9;
    let passkey = register(&portal, &mut device, &says).unwrap();
    for counter in [10, 9, 1, 0] {
        let says = Says { counter, ..honest("webauthn.get") };
        assert_eq!(sign_in(&portal, &device, &passkey, &says), Some(counter));
    }
    assert_eq!(
        [went_back(10, 9), went_back(9, 9), went_back(1, 9), went_back(0, 9)],
        [false, true, true, false]
    );
}

#[test]
fn a_challenge_is_answered_once_and_by_its_browser() {
    let asked = Challenges::new(2);
    assert!(asked.remember([1; 32], "one"));
    assert!(asked.take(&[2; 32]).is_none(), "another browser");
    assert_eq!(asked.take(&[1; 32]), Some("one"));
    assert!(asked.take(&[1; 32]).is_none(), "twice");
    assert!(asked.remember([1; 32], "one") && asked.remember([2; 32], "two"));
    assert!(!asked.remember([3; 32], "three"), "no more than are held");
    assert_eq!(asked.take(&[1; 32]), Some("one"), "and none is forgotten for it");
}

#[test]
fn of_what_anybody_may_be_asked_the_newest_wait() {
    let asked = Challenges::new(2);
    for n in 0..4 {
        asked.remember_newest([n; 32], n);
    }
    assert_eq!([0, 1, 2, 3].map(|n| asked.take(&[n; 32])), [None, None, Some(2), Some(3)]);
}

#[test]
fn a_passkey_signs_in_its_own_user_only() {
    let (portal, mut device) = (portal(), Authenticator::new());
    let passkey = register(&portal, &mut device, &honest("webauthn.create")).unwrap();
    let kept = without_counter(&passkey).unwrap();
    let signed_in = |handle: &[u8; 16]| {
        let (asked, state) = portal.ask_to_sign_in().unwrap();
        let signed = device.signed(&asked, &honest("webauthn.get"));
        let known = Known { handle, passkey: &kept, counter: 0 };
        portal.signed_in(&serde_json::from_value(signed).unwrap(), state, &known)
    };
    assert_eq!(signed_in(HANDLE.as_bytes()), Some(0));
    assert_eq!(signed_in(&[9; 16]), None);
}
