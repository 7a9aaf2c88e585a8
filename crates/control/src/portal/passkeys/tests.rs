//! An authenticator in software, honest and otherwise, against the portal's relying party.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

const ORIGIN: &str = "https://connect.example";
const ID: [u8; 16] = [7; 16];
const HANDLE: Uuid = Uuid::from_bytes([8; 16]);

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;

/// What an authenticator and its browser say of one ceremony.
#[derive(Clone)]
struct Says {
    kind: &'static str,
    /// In the place of the one that was given.
    challenge: Option<String>,
    origin: &'static str,
    /// Members of the client data beside the others.
    framed: Value,
    relying_party: &'static str,
    flags: u8,
    counter: u32,
    algorithm: u8,
    id: Vec<u8>,
}

impl Says {
    fn honest(kind: &'static str) -> Self {
        Self {
            kind,
            challenge: None,
            origin: ORIGIN,
            framed: json!(false),
            relying_party: "connect.example",
            flags: PRESENT | VERIFIED,
            counter: 0,
            algorithm: 0x26, // -7, ES256
            id: ID.to_vec(),
        }
    }

    /// `asked`: the options that the portal sent.
    fn client_data(&self, asked: &Value) -> Vec<u8> {
        let given = asked.pointer("/publicKey/challenge").and_then(Value::as_str).unwrap();
        let challenge = self.challenge.clone().unwrap_or_else(|| given.to_owned());
        let said = json!({
            "type": self.kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.framed,
        });
        said.to_string().into_bytes()
    }

    fn authenticator_data(&self, more: u8) -> Vec<u8> {
        let mut data = sha256(self.relying_party.as_bytes()).to_vec();
        data.push(self.flags | more);
        data.extend(self.counter.to_be_bytes());
        data
    }
}

/// Answers the options of a registration.
fn made(key: &EcdsaKeyPair, asked: &Value, says: &Says) -> RegisterPublicKeyCredential {
    let mut data = says.authenticator_data(ATTESTED);
    data.extend([0; 16]);
    data.extend(u16::try_from(says.id.len()).unwrap().to_be_bytes());
    data.extend(&says.id);
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    data.extend([0xa5, 0x01, 0x02, 0x03, says.algorithm, 0x20, 0x01, 0x21, 0x58, 0x20]);
    data.extend(x);
    data.extend([0x22, 0x58, 0x20]);
    data.extend(y);
    let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
    object.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    object.extend(data);
    let id = base64url::encode(&says.id);
    let response = json!({
        "attestationObject": base64url::encode(&object),
        "clientDataJSON": base64url::encode(&says.client_data(asked)),
    });
    serde_json::from_value(
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response }),
    )
    .unwrap()
}

/// Answers the options of a sign-in.
fn signed(key: &EcdsaKeyPair, asked: &Value, says: &Says) -> PublicKeyCredential {
    let (data, said) = (says.authenticator_data(0), says.client_data(asked));
    let message = [&data[..], &sha256(&said)].concat();
    let signature = key.sign(&SystemRandom::new(), &message).unwrap();
    let id = base64url::encode(&says.id);
    let response = json!({
        "authenticatorData": base64url::encode(&data),
        "clientDataJSON": base64url::encode(&said),
        "signature": base64url::encode(signature.as_ref()),
        "userHandle": base64url::encode(HANDLE.as_bytes()),
    });
    serde_json::from_value(
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response }),
    )
    .unwrap()
}

fn portal() -> Passkeys {
    Passkeys::new(ORIGIN, "A company").unwrap()
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn register(passkeys: &Passkeys, key: &EcdsaKeyPair, says: &Says) -> Option<Passkey> {
    let (asked, state) =
        passkeys.webauthn.start_passkey_registration(HANDLE, "a", "a", None).unwrap();
    let asked = serde_json::to_value(asked).unwrap();
    passkeys.made(&made(key, &asked, says), &state)
}

/// Signs in with `passkey` as it is kept. The counter, if it was accepted.
fn sign_in(passkeys: &Passkeys, key: &EcdsaKeyPair, passkey: &Passkey, says: &Says) -> Option<u32> {
    let (asked, state) = passkeys.webauthn.start_discoverable_authentication().unwrap();
    let signed = signed(key, &serde_json::to_value(asked).unwrap(), says);
    let kept: Passkey = serde_json::from_str(&without_counter(passkey).unwrap()).unwrap();
    passkeys.signed_in(&signed, state, kept).map(|verified| verified.counter())
}

/// What is wrong, and how to make it so.
type Wrong = (&'static str, fn(&mut Says));

/// What is wrong in both ceremonies alike.
fn wrong() -> Vec<Wrong> {
    vec![
        ("another challenge", |says| says.challenge = Some(base64url::encode(&[1; 32]))),
        ("another origin", |says| says.origin = "https://evil.example"),
        ("a subdomain", |says| says.origin = "https://x.connect.example"),
        ("clear text", |says| says.origin = "http://connect.example"),
        ("another port", |says| says.origin = "https://connect.example:444"),
        ("another relying party", |says| says.relying_party = "evil.example"),
        ("nobody there", |says| says.flags = VERIFIED),
        ("nobody verified", |says| says.flags = PRESENT),
        ("backed up and cannot be", |says| says.flags |= BACKED_UP),
        ("a frame of another origin", |says| says.framed = json!(true)),
    ]
}

#[test]
fn a_passkey_is_made_for_this_portal_only() {
    let (passkeys, key) = (portal(), key());
    let honest = Says::honest("webauthn.create");
    assert!(register(&passkeys, &key, &honest).is_some());
    let mut cases = wrong();
    cases.push(("another type", |says| says.kind = "webauthn.get"));
    cases.push(("an algorithm that was not offered", |says| says.algorithm = 0x38));
    cases.push(("a long identifier", |says| says.id = vec![7; 1_024]));
    for (name, change) in cases {
        let mut says = honest.clone();
        change(&mut says);
        assert!(register(&passkeys, &key, &says).is_none(), "{name}");
    }
}

#[test]
fn a_sign_in_is_for_this_portal_and_this_challenge() {
    let (passkeys, device) = (portal(), key());
    let passkey = register(&passkeys, &device, &Says::honest("webauthn.create")).unwrap();
    let honest = Says::honest("webauthn.get");
    assert_eq!(sign_in(&passkeys, &device, &passkey, &honest), Some(0));
    assert_eq!(sign_in(&passkeys, &key(), &passkey, &honest), None, "another key");
    let mut cases = wrong();
    cases.push(("another type", |says| says.kind = "webauthn.create"));
    for (name, change) in cases {
        let mut says = honest.clone();
        change(&mut says);
        assert_eq!(sign_in(&passkeys, &device, &passkey, &says), None, "{name}");
    }
}

#[test]
fn a_counter_that_goes_back_is_noticed_and_refuses_nobody() {
    let (passkeys, device) = (portal(), key());
    let mut says = Says::honest("webauthn.create");
    says.counter = 9;
    let passkey = register(&passkeys, &device, &says).unwrap();
    for counter in [10, 9, 1, 0] {
        let says = Says { counter, ..Says::honest("webauthn.get") };
        assert_eq!(sign_in(&passkeys, &device, &passkey, &says), Some(counter));
    }
    assert_eq!(
        [went_back(10, 9), went_back(9, 9), went_back(1, 9), went_back(0, 9)],
        [false, true, true, false]
    );
}

#[test]
fn a_challenge_is_answered_once_and_by_its_browser() {
    let passkeys = portal();
    let ask = || {
        let (_, state) = passkeys.webauthn.start_discoverable_authentication().unwrap();
        assert!(passkeys.remember([1; 32], Asked::ToSignIn(Box::new(state))));
    };
    ask();
    assert!(passkeys.take(&[2; 32]).is_none(), "another browser");
    assert!(passkeys.take(&[1; 32]).is_some());
    assert!(passkeys.take(&[1; 32]).is_none(), "twice");
}

#[test]
fn a_passkey_signs_in_its_own_user_only() {
    let kept = StoredPasskey {
        credential: ID.to_vec(),
        handle: *HANDLE.as_bytes(),
        subject: SubjectId::new("alice").unwrap(),
        passkey: String::new(),
        counter: 0,
        added: clock::unix_now(),
    };
    assert!(owned(Some(kept.clone()), &HANDLE).is_ok());
    assert!(owned(Some(kept), &Uuid::from_bytes([9; 16])).is_err());
    assert!(owned(None, &HANDLE).is_err());
}
