//! One step of posture, and the bytes it is hashed, stored and recorded as.
//!
//! Format version 1, deterministic CBOR (RFC 8949 section 4.2): the array
//! `[1, number, previous, time, change, target or null, reason, authority]`. It can't change once a posture file exists.

use crate::Target;
use aws_lc_rs::digest::{SHA256, digest};
use minicbor::{Decoder, Encoder};
use model::{Digest, OperatorId, UnixMicros};
use thiserror::Error;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// One step of posture. Each names the hash of the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 for the first, then up by one.
    pub number: u64,
    /// [`Entry::hash`] of the entry before; 32 zero bytes for the first.
    pub previous: Digest,
    /// When it was decided.
    pub time: UnixMicros,
    /// What changes.
    pub change: Change,
    /// Why, in the decider's words. At most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// On whose word.
    pub authority: Authority,
}

/// What an entry changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Cut the target off.
    Sever(Target),
    /// Let the target read a tenth of its budgets and nothing in bulk.
    Restrict(Target),
    /// Lift what is in force on exactly this target. Widens: two signatures.
    Restore(Target),
}

/// On whose word an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Operators; `command` holds the signed command as it arrived, or what was asked for in a console session of one's.
    Operators {
        /// Who signed.
        signers: Vec<OperatorId>,
        /// The signed bytes and signatures, for a later auditor.
        command: Vec<u8>,
    },
    /// A guard's rule, such as `honey`. Rules only narrow.
    Rule(String),
}

impl Authority {
    /// How many operators stand behind it.
    pub fn operators(&self) -> usize {
        match self {
            Self::Operators { signers, .. } => {
                signers.iter().collect::<std::collections::BTreeSet<_>>().len()
            }
            Self::Rule(_) => 0,
        }
    }
}

/// Bytes that are not an entry of version 1: the posture file is damaged or was written by something else.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("not a posture entry of version 1")]
pub struct NotAnEntry;

impl Entry {
    /// The entry's canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        // Writing to a Vec cannot fail; the encoder's error type is uninhabited for it.
        let _infallible = self.encode(&mut Encoder::new(&mut bytes));
        bytes
    }

    /// Reads [`Entry::to_bytes`]; refuses anything that would not be written exactly so.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        let entry = Self::decode(&mut Decoder::new(bytes)).ok_or(NotAnEntry)?;
        if entry.to_bytes() == bytes { Ok(entry) } else { Err(NotAnEntry) }
    }

    /// SHA-256 over a domain prefix and [`Entry::to_bytes`].
    pub fn hash(&self) -> Digest {
        let mut bytes = b"portcullis posture entry v1\0".to_vec();
        bytes.extend(self.to_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        hash
    }

    fn encode(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let (verb, target) = match &self.change {
            Change::Sever(target) => (1_u8, target),
            Change::Restore(target) => (2_u8, target),
            Change::Restrict(target) => (3_u8, target),
        };
        e.array(8)?.u8(1)?.u64(self.number)?.bytes(&self.previous)?.u64(self.time.0)?;
        e.u8(verb)?.str(&target.to_string())?.str(&self.reason)?;
        match &self.authority {
            Authority::Operators { signers, command } => {
                e.array(2)?.array(signers.len() as u64)?;
                for signer in signers {
                    e.bytes(signer.as_bytes())?;
                }
                e.bytes(command)?;
            }
            Authority::Rule(rule) => {
                e.str(rule)?;
            }
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Option<Self> {
        if d.array().ok()?? != 8 || d.u8().ok()? != 1 {
            return None;
        }
        let number = d.u64().ok()?;
        let previous = d.bytes().ok()?.try_into().ok()?;
        let time = UnixMicros(d.u64().ok()?);
        let verb = d.u8().ok()?;
        let target = Target::parse(d.str().ok()?)?;
        let change = match verb {
            1 => Change::Sever(target),
            2 => Change::Restore(target),
            3 => Change::Restrict(target),
            _ => return None,
        };
        let reason = d.str().ok()?.to_owned();
        let authority = if d.datatype().ok()? == minicbor::data::Type::Array {
            if d.array().ok()?? != 2 {
                return None;
            }
            let signers = (0..d.array().ok()??)
                .map(|_| d.bytes().ok()?.try_into().ok().map(OperatorId::from_bytes))
                .collect::<Option<_>>()?;
            Authority::Operators { signers, command: d.bytes().ok()?.to_vec() }
        } else {
            Authority::Rule(d.str().ok()?.to_owned())
        };
        Some(Self { number, previous, time, change, reason, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Entry {
        Entry {
            number: 7,
            previous: [3; 32],
            time: UnixMicros(1_700_000_000_000_001),
            change: Change::Sever(Target::Network("127.66.6.0/24".parse().unwrap())),
            reason: "polls accounts".into(),
            authority: Authority::Operators {
                signers: vec![OperatorId::from_bytes([1; 16])],
                command: b"{}".to_vec(),
            },
        }
    }

    #[test]
    fn entries_survive_the_file() {
        let rule = Entry { authority: Authority::Rule("honey".into()), ..sample() };
        for entry in [sample(), rule] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
    }

    #[test]
    fn a_longer_or_shorter_entry_is_refused() {
        let bytes = sample().to_bytes();
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Entry::from_bytes(&longer), Err(NotAnEntry));
        assert_eq!(Entry::from_bytes(&bytes[..bytes.len() - 1]), Err(NotAnEntry));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Entry::from_bytes(&bytes);
        }

        #[test]
        fn every_changed_bit_is_another_hash_or_no_entry(at in 0_usize..64, bit in 0_u8..8) {
            let mut bytes = sample().to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Entry::from_bytes(&bytes) {
                prop_assert_ne!(other.hash(), sample().hash());
            }
        }
    }
}
