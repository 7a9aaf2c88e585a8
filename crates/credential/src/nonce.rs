//! DPoP nonces: a server-chosen value that every proof must carry, so that a proof cannot be made in advance or kept over a restart.

use crate::base64url;
use aws_lc_rs::hmac;
use model::{Micros, UnixMicros};
use std::fmt;

/// A value for the `DPoP-Nonce` header: 22 characters of base64url. Not secret, but unpredictable.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// As it stands in the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", self.0)
    }
}

/// Makes and recognises nonces: HMAC-SHA-256 over the time slot, cut to 128 bits.
///
/// The key is random per node and start. That is what names node and boot: another node's nonce, or one from before a restart,
/// is unknown here, so a proof that an earlier replay set would have known can never be accepted by this one.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// How long one nonce is handed out. The one before it is accepted too, so a nonce lives for one to two slots.
    pub const SLOT: Micros = Micros::from_secs(60);

    /// `random`: 32 bytes, fresh at each start of each node.
    pub fn new(random: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    /// The nonce to hand out at `now`.
    pub fn current(&self, now: UnixMicros) -> Nonce {
        Nonce(base64url::encode(&self.of_slot(slot(now))))
    }

    /// Whether `nonce` was made by this key for the slot of `now` or the one before.
    pub(crate) fn accepts(&self, nonce: &str, now: UnixMicros) -> bool {
        let Some(nonce) = base64url::decode(nonce.as_bytes()) else { return false };
        let slot = slot(now);
        let is_of = |slot: u64| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&self.of_slot(slot), &nonce).is_ok()
        };
        is_of(slot) || slot.checked_sub(1).is_some_and(is_of)
    }

    fn of_slot(&self, slot: u64) -> [u8; 16] {
        let tag = hmac::sign(&self.0, &slot.to_be_bytes());
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        nonce
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

fn slot(now: UnixMicros) -> u64 {
    now.0 / NonceKey::SLOT.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMicros = UnixMicros::from_secs(1_800_000_000); // the first moment of a slot

    #[test]
    fn a_nonce_lives_for_its_slot_and_the_next() {
        let key = NonceKey::new([1; 32]);
        let nonce = key.current(T);
        for (age, accepted) in [(0, true), (59, true), (60, true), (119, true), (120, false)] {
            assert_eq!(key.accepts(nonce.as_str(), T + Micros::from_secs(age)), accepted, "{age}");
        }
        assert!(!key.accepts(nonce.as_str(), T - Micros(1)), "from the future");
    }

    #[test]
    fn a_nonce_of_another_start_is_unknown() {
        let nonce = NonceKey::new([1; 32]).current(T);
        assert!(!NonceKey::new([2; 32]).accepts(nonce.as_str(), T));
        for text in ["", "AAAAAAAAAAAAAAAAAAAAAA", "*", nonce.as_str().split_at(21).0] {
            assert!(!NonceKey::new([1; 32]).accepts(text, T), "{text}");
        }
    }

    #[test]
    fn a_nonce_is_legal_in_the_header() {
        //= RFC 9449 section 8.1: nonce = 1*NQCHAR
        let nonce = NonceKey::new([1; 32]).current(T);
        assert_eq!(nonce.as_str().len(), 22);
        assert!(
            nonce.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
    }
}
