//! Bundles sealed to one recipient: touches stand in them as leaf hashes, subjects as tokens of the recipient's own.
//!
//! `docs/evidence-format.md` says what such a bundle proves and what it asserts. Start reading at [`Seal`].

use super::verify::Counted;
use super::{Answer, Facts, Run};
use crate::domain::{self, HmacKey};
use crate::record::body::Body;
use crate::record::wire::Malformed;
use crate::record::{Chain, touches};
use model::{ClassSet, Digest, Pseudonym, Touch};
use std::collections::BTreeMap;

/// Somebody to whom bundles are sealed.
#[derive(Clone)]
pub struct Recipient {
    /// As the operator calls them, at most 64 bytes.
    pub name: String,
    /// Makes their tokens. Random, of this recipient alone.
    pub key: [u8; 32],
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A subject as one recipient's bundles name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub [u8; 16]);

/// Where a touch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which of the bundle's runs.
    pub run: u64,
    /// The record's sequence number in its chain.
    pub sequence: u64,
    /// The touch's place in the record.
    pub touch: u64,
}

/// Every touch that counts, under the token it is said to belong to.
pub type Tokens = BTreeMap<Token, Vec<Position>>;

/// For whom a bundle is sealed, and which touches it says are one subject's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The recipient's name.
    pub recipient: String,
    /// Hash of the recipient's key.
    pub key: Digest,
    /// Only opening a touch proves that it is of the subject under whose token it stands.
    pub tokens: Tokens,
}

/// What shows one sealed touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where it stands.
    pub position: Position,
    /// The recipient's key.
    pub key: [u8; 32],
    /// The touch's salt.
    pub salt: [u8; 16],
    /// The subject, as the log names it, and the classes.
    pub touch: Touch,
}

/// Hash of a recipient's key, as a bundle names it.
pub fn key_hash(key: &[u8; 32]) -> Digest {
    domain::sha256_of(&[domain::RECIPIENT, key])
}

/// A subject's token under a recipient's key.
pub fn token(key: &[u8; 32], pseudonym: &Pseudonym) -> Token {
    token_with(&HmacKey::new(key), pseudonym)
}

fn token_with(key: &HmacKey, pseudonym: &Pseudonym) -> Token {
    Token(key.derive(&[domain::TOKEN, &pseudonym.0]))
}

impl Seal {
    pub(crate) fn new(recipient: &Recipient, counted: &Counted) -> (Answer, Self) {
        let key = HmacKey::new(&recipient.key);
        let mut touched = Vec::new();
        for record in counted.records() {
            touched.reserve(record.touches.len());
            for (touch, at) in record.touches.iter().zip(0_u64..) {
                let position = Position { run: record.run, sequence: record.sequence, touch: at };
                touched.push((token_with(&key, &touch.pseudonym), position));
            }
        }
        // Sorted and grouped at once: of a million subjects an insertion each would take seconds.
        touched.sort_unstable();
        let group = |group: &[(Token, Position)]| {
            let token = group.first()?.0;
            Some((token, group.iter().map(|(_, position)| *position).collect()))
        };
        let tokens = touched.chunk_by(|(a, _), (b, _)| a == b).filter_map(group).collect();
        let (recipient, key) = (recipient.name.clone(), key_hash(&recipient.key));
        (Answer::of_sealed(counted), Self { recipient, key, tokens })
    }

    /// Whether the positions are those of every touch that counts, each once, and no token has two in one record.
    pub(crate) fn covers(&self, counted: &Counted) -> bool {
        let one_each = |positions: &Vec<Position>| {
            !positions.is_empty()
                && positions.is_sorted_by(|a, b| (a.run, a.sequence) < (b.run, b.sequence))
        };
        if !self.tokens.values().all(one_each) {
            return false;
        }
        let mut claimed: Vec<Position> = self.tokens.values().flatten().copied().collect();
        claimed.sort_unstable();
        let there = counted.records().flat_map(|record| {
            let (run, sequence) = (record.run, record.sequence);
            (0..record.sealed).map(move |touch| Position { run, sequence, touch })
        });
        claimed.into_iter().eq(there)
    }

    /// How many touches the bundle speaks of.
    pub fn touches(&self) -> u64 {
        self.tokens.values().map(|positions| positions.len() as u64).sum()
    }
}

/// Takes the touches out of what is shown of access records, and leaves their leaf hashes.
pub(crate) fn seal(runs: &mut [Run]) -> Result<(), Malformed> {
    for shown in runs.iter_mut().flat_map(|run| &mut run.shown) {
        if let Some(Facts::Whole { body, touches }) = &mut shown.facts
            && matches!(Body::decode(body)?, Body::Access(_))
        {
            let (salt, touches) = touches::decode(touches)?;
            let leaves = touches::leaves(&touches, &salt);
            shown.facts = Some(Facts::Sealed { body: std::mem::take(body), leaves });
        }
    }
    Ok(())
}

/// A touch that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedTouch {
    /// The chain of its record.
    pub chain: Chain,
    /// Its subject's token.
    pub token: Token,
    /// Its classes.
    pub classes: ClassSet,
}
