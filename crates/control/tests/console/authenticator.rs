//! An authenticator and its browser in software, honest and otherwise.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use credential::{base64url, sha256};
use serde_json::{Value, json};

pub(crate) const PRESENT: u8 = 0x01;
pub(crate) const VERIFIED: u8 = 0x04;
pub(crate) const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;

/// One device with one passkey.
pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    /// The user, as the relying party named it.
    handle: Vec<u8>,
}

/// What authenticator and browser say of one ceremony.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) kind: &'static str,
    /// In the place of the one that was given.
    pub(crate) challenge: Option<String>,
    pub(crate) origin: String,
    pub(crate) framed: Value,
    pub(crate) relying_party: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    pub(crate) algorithm: u8,
    pub(crate) id: Vec<u8>,
}

impl Says {
    /// `origin`: scheme, host and perhaps port.
    pub(crate) fn honest(kind: &'static str, origin: &str) -> Self {
        let host = origin.split("//").nth(1).unwrap().split(':').next().unwrap();
        Self {
            kind,
            challenge: None,
            origin: origin.to_owned(),
            framed: json!(false),
            relying_party: host.to_owned(),
            flags: PRESENT | VERIFIED,
            counter: 0,
            algorithm: 0x26, // -7, ES256
            id: vec![7; 16],
        }
    }

    /// `asked`: the options that the relying party sent.
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

impl Authenticator {
    pub(crate) fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { key, handle: Vec::new() }
    }

    /// Answers the options of a registration.
    pub(crate) fn made(&mut self, asked: &Value, says: &Says) -> Value {
        let user = asked.pointer("/publicKey/user/id").and_then(Value::as_str).unwrap();
        self.handle = base64url::decode(user.as_bytes()).unwrap();
        let mut data = says.authenticator_data(ATTESTED);
        data.extend([0; 16]);
        data.extend(u16::try_from(says.id.len()).unwrap().to_be_bytes());
        data.extend(&says.id);
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
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
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response })
    }

    /// Answers the options of a sign-in.
    pub(crate) fn signed(&self, asked: &Value, says: &Says) -> Value {
        let (data, said) = (says.authenticator_data(0), says.client_data(asked));
        let message = [&data[..], &sha256(&said)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        let id = base64url::encode(&says.id);
        let response = json!({
            "authenticatorData": base64url::encode(&data),
            "clientDataJSON": base64url::encode(&said),
            "signature": base64url::encode(signature.as_ref()),
            "userHandle": base64url::encode(&self.handle),
        });
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response })
    }
}
