//! What detectors see: one request of a proved caller and what came of it inside, whatever its sender was answered.

use model::{
    ClassSet, ClientIp, CredentialId, GrantId, IntegrationId, OperationId, OperationKind,
    SubjectOrdinal, UnixMicros,
};
use std::hash::Hasher;

/// One request of a caller whose token, and proof unless [`Observation::is_bearer`], held.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// When it was decided.
    pub at: UnixMicros,
    /// Who asks.
    pub integration: IntegrationId,
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant.
    pub grant: GrantId,
    /// From where.
    pub network: ClientIp,
    /// [`KeyedHash`] of the subject or the consent that its token speaks for; none if it speaks for nobody.
    pub token: Option<u64>,
    /// Whether nothing but the token speaks for it.
    pub is_bearer: bool,
    /// Whether its network has a bad name without being listed (hosting, anonymiser, low level of a feed): thresholds are halved.
    pub is_doubtful: bool,
    /// Whether its grant or consent names each subject it may read, so that none of them can be a stranger.
    pub names_subjects: bool,
    /// Which operation.
    pub operation: &'a OperationId,
    /// What that does with records.
    pub kind: OperationKind,
    /// What came of it.
    pub outcome: Inner,
    /// The subjects of the answer, each once; of a response that was held those that would have left.
    pub subjects: &'a [Asked],
    /// The classes that left.
    pub classes: ClassSet,
    /// [`KeyedHash`] of what was looked up; none if a record of the log is all that is left of it.
    pub probe: Option<u64>,
}

/// A subject in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its number on this node.
    pub ordinal: SubjectOrdinal,
    /// Where its id stands among ids: see [`place()`].
    pub place: u64,
    /// [`KeyedHash`] of its id, as [`crate::Relationships`] know it.
    pub key: u64,
}

/// What came of a request, which its sender may not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Data left, or an answer that holds none.
    Released,
    /// The origin has no such record.
    NotFound,
    /// There may be one, and it is not the caller's to read.
    Denied,
    /// The exposure budget held it back.
    Held,
}

/// Position of a subject's id among ids: the decimal number that it ends with, or else `otherwise`, which is to be a hash, near no other.
///
/// `acc-000017` and `17` stand at 17. A number beyond 19 digits counts by its last 19.
pub fn place(id: &str, otherwise: u64) -> u64 {
    let digits = id.bytes().rev().take_while(u8::is_ascii_digit).take(19).count();
    id.get(id.len() - digits..).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// SipHash-2-4 under a key that nobody outside the process knows, so that no caller can make two things look alike.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash([u64; 2]);

impl KeyedHash {
    /// `key`: 16 random bytes.
    pub fn new(key: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(key);
        let low = u64::try_from(key & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(key >> 64).unwrap_or_default();
        Self([low, high])
    }

    /// The hash of some bytes.
    #[expect(
        deprecated,
        reason = "the successor takes no key, and a crate for one function is too many"
    )]
    pub fn of(self, bytes: &[u8]) -> u64 {
        let [low, high] = self.0;
        let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
        hasher.write(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_id_is_the_number_it_ends_with() {
        for (id, at) in [
            ("17", 17),
            ("acc-000017", 17),
            ("u9x8", 8),
            ("12345678901234567890123", 5_678_901_234_567_890_123),
            ("ana", 99),
            ("", 99),
        ] {
            assert_eq!(place(id, 99), at, "{id}");
        }
    }

    #[test]
    fn hashes_depend_on_the_key() {
        let [one, two] = [1, 2].map(|key| KeyedHash::new([key; 16]));
        assert_eq!(one.of(b"ana"), one.of(b"ana"));
        assert_ne!(one.of(b"ana"), two.of(b"ana"));
    }
}
