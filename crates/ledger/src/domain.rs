//! Hashing and the strings that keep one use of SHA-256 apart from every other. The list is part of the record format.

use aws_lc_rs::{digest, hmac};
use model::Digest;

/// Prefix of the hash of a record's body.
pub(crate) const BODY: &[u8] = b"portcullis/body/1";
/// Prefix of the commitment to the caller's network.
pub(crate) const NETWORK: &[u8] = b"portcullis/network/1";
/// Follows the leaf prefix in the hash of one touch.
pub(crate) const TOUCH: &[u8] = b"portcullis/touch/1";
/// Follows the leaf or node prefix in the hashes of the map of heads.
pub(crate) const HEADS: &[u8] = b"portcullis/heads/1";
/// Follows the leaf prefix in the hash of one leaf of a commit batch.
pub(crate) const BATCH: &[u8] = b"portcullis/batch/1";
/// First line of what a commit batch's signature is over.
pub(crate) const RECEIPT: &str = "portcullis/receipt/1";

/// Prefix of the hash of a recipient's key.
pub(crate) const RECIPIENT: &[u8] = b"portcullis/recipient/1";
/// Prefix of what a recipient's token of a subject is made from.
pub(crate) const TOKEN: &[u8] = b"portcullis/token/1";

/// First line of what the hash of a class table is over.
pub(crate) const CLASS_TABLE: &[u8] = b"portcullis/classes/1\n";

/// Message under the record salt that yields the body's blind.
pub(crate) const DERIVE_BLIND: &[u8] = b"portcullis/derive/blind/1";
/// Message under the record salt that yields the network's opening.
pub(crate) const DERIVE_NETWORK: &[u8] = b"portcullis/derive/network/1";
/// Message under the record salt, followed by the touch's index, that yields the touch's salt.
pub(crate) const DERIVE_TOUCH: &[u8] = b"portcullis/derive/touch/1";

/// SHA-256 of one run of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

/// SHA-256 of the parts' concatenation.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// A record's 16-byte salt, as the key that its blinds are derived from.
pub(crate) struct SaltKey(hmac::Key);

impl SaltKey {
    pub(crate) fn new(salt: &[u8; 16]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, salt))
    }

    /// Hides the rest of the body in its hash.
    pub(crate) fn blind(&self) -> [u8; 16] {
        self.derive(DERIVE_BLIND)
    }

    /// Hides the network in its commitment.
    pub(crate) fn network_opening(&self) -> [u8; 16] {
        self.derive(DERIVE_NETWORK)
    }

    /// Hides one touch among its neighbours.
    pub(crate) fn touch(&self, index: u32) -> [u8; 16] {
        let mut message = [0; DERIVE_TOUCH.len() + 4];
        for (to, from) in message.iter_mut().zip(DERIVE_TOUCH.iter().chain(&index.to_be_bytes())) {
            *to = *from;
        }
        self.derive(&message)
    }

    fn derive(&self, message: &[u8]) -> [u8; 16] {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(hmac::sign(&self.0, message).as_ref()) {
            *to = *from;
        }
        out
    }
}
