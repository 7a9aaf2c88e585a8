//! Ed25519 keys that sign often: verification with multiples of the key that were computed once.
//!
//! A gateway meets few keys, each of them millions of times, and most of a verification finds multiples of the key by doubling. With them at
//! hand what is left is some eighty additions. The group's operations are curve25519-dalek's, hashing is aws-lc's. Nothing here is secret, so
//! its time may vary.
//!
//! **What is accepted is what aws-lc accepts, to the bit**: the equation without the cofactor, `R` compared as bytes, `S` below the order
//! (RFC 8032 section 5.1.7). A key in another than its one encoding, or with a part of small order, has no table and stays with aws-lc.

use crate::{Algorithm, PublicKey};
use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use model::{Digest, Micros, UnixMicros};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

/// Verifications after which a key is worth its table, which takes as long as some ten verifications.
const BUSY_AFTER: u32 = 64;

/// Keys that are counted, and have a table of 133 KB if they are busy: 34 MB.
const KEYS_MAX: usize = 256;

/// How long the places are taken when all are. Whoever is not among them is verified as slowly as anybody.
const DEALT_FOR: Micros = Micros::from_secs(3_600);

/// The keys that a node meets often. Bounded, told the time.
#[derive(Default)]
pub(crate) struct KnownKeys(RwLock<Known>);

#[derive(Default)]
struct Known {
    keys: HashMap<Digest, KnownKey>,
    /// When the first of them came.
    since: Option<UnixMicros>,
}

impl Known {
    fn has_room(&self, now: UnixMicros) -> bool {
        let is_over = self.since.is_some_and(|since| now.since(since) >= DEALT_FOR);
        self.keys.len() < KEYS_MAX || is_over
    }
}

#[derive(Default)]
struct KnownKey {
    verified: AtomicU32,
    /// None if the key is one of those that have no table.
    table: OnceLock<Option<Table>>,
}

impl KnownKeys {
    /// Whether `signature` is this key's over `message`: as [`PublicKey::verifies`], and sooner for a key that was here before.
    pub(crate) fn verifies(
        &self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
        now: UnixMicros,
    ) -> bool {
        if key.algorithm() != Algorithm::EdDsa {
            return key.verifies(message, signature);
        }
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(met) = known.keys.get(&key.thumbprint()) else {
            let has_room = known.has_room(now);
            drop(known);
            let verifies = key.verifies(message, signature);
            // A place is for whoever holds the key.
            if verifies && has_room {
                self.meet(key.thumbprint(), now);
            }
            return verifies;
        };
        // It stops where it is enough, and so never wraps.
        if met.verified.load(Ordering::Relaxed) < BUSY_AFTER {
            met.verified.fetch_add(1, Ordering::Relaxed);
            return key.verifies(message, signature);
        }
        match met.table.get_or_init(|| Table::of(key.bytes())) {
            Some(table) => table.verifies(message, signature),
            None => key.verifies(message, signature),
        }
    }

    fn meet(&self, thumbprint: Digest, now: UnixMicros) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here since it was asked whether there is room.
        if known.keys.contains_key(&thumbprint) || !known.has_room(now) {
            return;
        }
        let is_full = known.keys.len() >= KEYS_MAX;
        let over = is_full.then(|| std::mem::take(&mut *known));
        known.since.get_or_insert(now);
        known.keys.entry(thumbprint).or_default();
        // Megabytes are given back while nobody waits.
        drop(known);
        drop(over);
    }
}

/// What one key needs.
struct Table {
    key: [u8; 32],
    negated: Multiples<5>,
}

impl Table {
    fn of(key: &[u8]) -> Option<Self> {
        let key = <[u8; 32]>::try_from(key).ok()?;
        let point = CompressedEdwardsY(key).decompress()?;
        let is_plain = point.compress().to_bytes() == key
            && point.is_torsion_free()
            && !point.is_small_order();
        is_plain.then(|| Self { key, negated: Multiples::of(-point) })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        static BASE: LazyLock<Multiples<8>> =
            LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT));
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
        //= RFC 8032 section 5.1.7: S is in range 0 <= s < L
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else {
            return false;
        };
        let mut hash = Context::new(&SHA512);
        for part in [r, self.key.as_slice(), message] {
            hash.update(part);
        }
        let hash = hash.finish();
        let Ok(wide) = hash.as_ref().try_into() else { return false };
        let k = Scalar::from_bytes_mod_order_wide(wide);
        //= RFC 8032 section 5.1.7: [S]B = R + [k]A, without the cofactor
        let sum = self.negated.add(&k, BASE.add(&s, EdwardsPoint::identity()));
        sum.compress().as_bytes() == r
    }
}

/// Of a point `P` the multiples `n * 2^(BITS * row) * P`, for `n` from 1 to half of `2^BITS`.
struct Multiples<const BITS: u32>(Vec<EdwardsPoint>);

impl<const BITS: u32> Multiples<BITS> {
    const HALF: usize = 1 << (BITS - 1);

    fn of(point: EdwardsPoint) -> Self {
        const SCALAR_BITS: usize = 256;
        let rows = SCALAR_BITS.div_ceil(BITS as usize);
        let mut first = point;
        let mut all = Vec::with_capacity(rows * Self::HALF);
        for _row in 0..rows {
            let multiples = std::iter::successors(Some(first), |last| Some(last + first));
            all.extend(multiples.take(Self::HALF));
            first = (0..BITS).fold(first, |point, _| point + point);
        }
        Self(all)
    }

    /// `sum + scalar * P`. The scalar's digits are taken from minus half to half of `2^BITS`, which spares half of the multiples.
    fn add(&self, scalar: &Scalar, mut sum: EdwardsPoint) -> EdwardsPoint {
        let mut bytes = scalar.as_bytes().iter();
        let (mut held, mut bits, mut carry) = (0_u32, 0, 0);
        for row in self.0.chunks(Self::HALF) {
            if bits < BITS {
                held |= bytes.next().map_or(0, |byte| u32::from(*byte)) << bits;
                bits += 8;
            }
            let digit = held % (1 << BITS) + carry;
            (held, bits) = (held >> BITS, bits - BITS);
            let is_high = digit > 1 << (BITS - 1);
            carry = u32::from(is_high);
            let n = if is_high { (1 << BITS) - digit } else { digit };
            let Some(multiple) = usize::try_from(n).ok().and_then(|n| row.get(n.checked_sub(1)?))
            else {
                continue; // a digit of zero
            };
            sum = if is_high { sum - multiple } else { sum + multiple };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64url;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;
    use serde_json::Value;

    const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);

    fn key(bytes: &[u8]) -> Option<PublicKey> {
        let x = base64url::encode(bytes);
        PublicKey::from_jwk(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)).ok()
    }

    fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = key(pair.public_key().as_ref()).unwrap();
        (pair, public)
    }

    fn hex(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// Whether a table says what aws-lc says; none if the key has no table.
    fn agrees(bytes: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        let by_table = Table::of(bytes)?.verifies(message, signature);
        Some(by_table == key(bytes).is_some_and(|key| key.verifies(message, signature)))
    }

    #[test]
    fn a_table_accepts_what_aws_lc_accepts_of_every_vector() {
        let mut asked = 0;
        let wycheproof: Value =
            serde_json::from_str(include_str!("../testdata/wycheproof_ed25519_test.json")).unwrap();
        for group in wycheproof["testGroups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let (message, signature) = (hex(&test["msg"]), hex(&test["sig"]));
                let agrees = agrees(&hex(&group["publicKey"]["pk"]), &message, &signature);
                assert_ne!(agrees, Some(false), "{test}");
                asked += usize::from(agrees.is_some());
            }
        }
        let cctv: Value =
            serde_json::from_str(include_str!("../testdata/ed25519-cctv.json")).unwrap();
        let mut without = 0;
        for vector in cctv.as_array().unwrap() {
            let message = vector["msg"].as_str().unwrap().as_bytes();
            let agrees = agrees(&hex(&vector["key"]), message, &hex(&vector["sig"]));
            assert_ne!(agrees, Some(false), "{vector}");
            asked += usize::from(agrees.is_some());
            without += usize::from(agrees.is_none());
        }
        assert!(asked > 150 && without > 500, "{asked} {without}");
    }

    #[test]
    fn a_key_with_a_part_of_small_order_and_one_in_another_spelling_have_no_table() {
        use curve25519_dalek::constants::EIGHT_TORSION;
        let (pair, _) = pair(1);
        let plain = CompressedEdwardsY(pair.public_key().as_ref().try_into().unwrap());
        assert!(Table::of(plain.as_bytes()).is_some());
        for torsion in &EIGHT_TORSION[1..] {
            let mixed = plain.decompress().unwrap() + torsion;
            assert!(Table::of(mixed.compress().as_bytes()).is_none());
            assert!(Table::of(torsion.compress().as_bytes()).is_none());
        }
        let mut minus_zero = [0; 32];
        (minus_zero[0], minus_zero[31]) = (1, 0x80); // y = 1 and a negative zero
        assert!(Table::of(&minus_zero).is_none());
    }

    #[test]
    fn keys_get_a_table_when_they_are_busy_and_places_are_bounded() {
        let keys = KnownKeys::default();
        let (busy, public) = pair(1);
        let signature = busy.sign(b"message");
        let has_table = |keys: &KnownKeys| {
            let known = keys.0.read().unwrap();
            known.keys.get(&public.thumbprint()).is_some_and(|key| key.table.get().is_some())
        };
        assert!(!keys.verifies(&public, b"other", signature.as_ref(), NOW));
        assert_eq!(keys.0.read().unwrap().keys.len(), 0, "a forger takes no place");
        for _ in 0..=BUSY_AFTER {
            assert!(keys.verifies(&public, b"message", signature.as_ref(), NOW));
        }
        assert!(!has_table(&keys));
        assert!(keys.verifies(&public, b"message", signature.as_ref(), NOW));
        assert!(has_table(&keys));
        assert!(!keys.verifies(&public, b"other", signature.as_ref(), NOW));
        assert!(!keys.verifies(&public, b"message", &signature.as_ref()[..63], NOW));

        for n in 0..=u16::MAX {
            if keys.0.read().unwrap().keys.len() == KEYS_MAX {
                break;
            }
            keys.meet([n.to_be_bytes(); 16].concat().try_into().unwrap(), NOW);
        }
        let (other, late) = pair(2);
        let signature = other.sign(b"message");
        assert!(keys.verifies(&late, b"message", signature.as_ref(), NOW));
        assert!(has_table(&keys), "who has a place keeps it");
        assert!(keys.verifies(&late, b"message", signature.as_ref(), NOW + DEALT_FOR));
        assert_eq!(keys.0.read().unwrap().keys.len(), 1, "places are dealt anew");
    }

    #[test]
    fn digits_of_any_length_make_the_scalar() {
        let at = |scalar: Scalar| {
            let point = EdwardsPoint::mul_base(&Scalar::from(7_u8));
            let expected = point * scalar;
            let zero = EdwardsPoint::identity();
            assert_eq!(Multiples::<5>::of(point).add(&scalar, zero), expected);
            assert_eq!(Multiples::<8>::of(point).add(&scalar, zero), expected);
        };
        for n in [0_u64, 1, 15, 16, 17, 31, 32, 127, 128, 129, 255, 256, u64::MAX] {
            at(Scalar::from(n));
            at(-Scalar::from(n));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_agrees_with_aws_lc_about_whatever_was_changed(
            seed: u8, message in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..64, flip: u8,
            wide in proptest::array::uniform32(any::<u8>()),
        ) {
            let (pair, public) = pair(seed);
            let signature = pair.sign(&message);
            let mut changed: [u8; 64] = signature.as_ref().try_into().unwrap();
            prop_assert!(Table::of(public.bytes()).unwrap().verifies(&message, &changed));
            changed[at] ^= flip;
            prop_assert_eq!(agrees(public.bytes(), &message, &changed), Some(true));
            // Any 32 bytes as S: most are beyond the order.
            changed[32..].copy_from_slice(&wide);
            prop_assert_eq!(agrees(public.bytes(), &message, &changed), Some(true));
        }
    }
}
