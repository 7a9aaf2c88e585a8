//! Hashing and the strings that keep one use of SHA-256 apart from every other. The list is part of the record format.

use aws_lc_rs::digest;
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

/// Bytes put together on the stack, to be hashed in one run: a digest context of the library costs an allocation.
pub(crate) struct Message<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Message<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// The parts, one after another; `None` if they are longer than `N`.
    pub(crate) fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut message = Self::new();
        parts.iter().all(|part| message.put(part)).then_some(message)
    }

    /// Appends `part`; false if there is no room for it.
    #[must_use]
    pub(crate) fn put(&mut self, part: &[u8]) -> bool {
        let end = self.len + part.len();
        let Some(to) = self.bytes.get_mut(self.len..end) else { return false };
        to.copy_from_slice(part);
        self.len = end;
        true
    }

    pub(crate) fn sha256(&self) -> Digest {
        sha256(self.bytes.get(..self.len).unwrap_or(&self.bytes))
    }
}

/// SHA-256 of one run of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// SHA-256 of the parts' concatenation.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> Digest {
    // An entry is under 200 bytes, an access record's body under 400.
    if let Some(message) = Message::<512>::of(parts) {
        return message.sha256();
    }
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// A key of HMAC-SHA-256 for short messages.
///
/// Two hashes of one run each: the library's own HMAC sets up and copies contexts, which took most of the time of a record.
/// A test holds it against the library's.
pub(crate) struct HmacKey {
    inner: [u8; 64],
    outer: [u8; 64],
}

impl HmacKey {
    /// A key of at most a block.
    //= RFC 2104 section 2: K XOR ipad, K XOR opad, the key padded with zeros to a block
    pub(crate) fn new<const N: usize>(key: &[u8; N]) -> Self {
        const { assert!(N <= 64, "longer keys are hashed first, which nothing here needs") };
        let (mut inner, mut outer) = ([0x36; 64], [0x5c; 64]);
        for ((inner, outer), key) in inner.iter_mut().zip(&mut outer).zip(key) {
            *inner ^= key;
            *outer ^= key;
        }
        Self { inner, outer }
    }

    /// The first 16 bytes of the HMAC of the parts' concatenation.
    pub(crate) fn derive(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut message = Message::<192>::new();
        let fits = message.put(&self.inner) && parts.iter().all(|part| message.put(part));
        assert!(fits, "a message longer than any that is derived from");
        let inner = message.sha256();
        let mut message = Message::<96>::new();
        let fits = message.put(&self.outer) && message.put(&inner);
        assert!(fits, "a block and a hash are 96 bytes");
        let [out @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = message.sha256();
        out
    }
}

/// A record's 16-byte salt, as the key that its blinds are derived from.
pub(crate) struct SaltKey(HmacKey);

impl SaltKey {
    pub(crate) fn new(salt: &[u8; 16]) -> Self {
        Self(HmacKey::new(salt))
    }

    /// Hides the rest of the body in its hash.
    pub(crate) fn blind(&self) -> [u8; 16] {
        self.0.derive(&[DERIVE_BLIND])
    }

    /// Hides the network in its commitment.
    pub(crate) fn network_opening(&self) -> [u8; 16] {
        self.0.derive(&[DERIVE_NETWORK])
    }

    /// Hides one touch among its neighbours.
    pub(crate) fn touch(&self, index: u32) -> [u8; 16] {
        self.0.derive(&[DERIVE_TOUCH, &index.to_be_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::hmac;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hmac_is_the_library_s(key: [u8; 32], salt: [u8; 16], message in prop::collection::vec(any::<u8>(), 0..128)) {
            let library = |key: &[u8]| {
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message);
                <[u8; 16]>::try_from(&tag.as_ref()[..16]).unwrap()
            };
            prop_assert_eq!(HmacKey::new(&key).derive(&[&message]), library(&key));
            prop_assert_eq!(HmacKey::new(&salt).derive(&[&message]), library(&salt));
        }

        #[test]
        fn parts_are_hashed_as_their_concatenation(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sha256_of(&parts), sha256(&parts.concat()));
        }
    }
}
