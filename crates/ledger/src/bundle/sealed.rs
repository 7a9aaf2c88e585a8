//! Bundles sealed to one recipient: touches stand in them as leaf hashes, subjects as tokens of the recipient's own.
//!
//! `docs/evidence-format.md` says what such a bundle proves and what it asserts. Start reading at [`Seal`].

use super::count::Counted;
use super::{Answer, Bundle, Facts, Run, Shown};
use crate::domain::{self, HmacKey};
use crate::record::body::Body;
use crate::record::header::{read_classes, write_classes};
use crate::record::wire::{Malformed, Reader, Write as _};
use crate::record::{Header, touches};
use model::{ClassSet, Digest, Pseudonym, Touch};
use std::collections::BTreeMap;

const OPENING: &str = "portcullis.opening/1";

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedTouch {
    /// Its subject's token.
    pub token: Token,
    /// Its classes.
    pub classes: ClassSet,
}

impl Opening {
    /// Opens touch `position.touch` of the record that stands there and has these `touches`; `None` if it has no such touch.
    ///
    /// # Errors
    /// [`Malformed`] if the record's touches are not of the format.
    pub(crate) fn of(
        touches: &[u8],
        position: Position,
        recipient: &Recipient,
    ) -> Result<Option<Self>, Malformed> {
        let (salt, touches) = touches::decode(touches)?;
        let index = u32::try_from(position.touch).ok();
        let touch = usize::try_from(position.touch).ok().and_then(|at| touches.get(at));
        Ok(index.zip(touch).map(|(index, touch)| Self {
            position,
            key: recipient.key,
            salt: touches::salt_of(&salt, index),
            touch: *touch,
        }))
    }

    /// The opening's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.map(8);
        out.uint(0);
        out.text(OPENING);
        out.uint(1);
        out.uint(self.position.run);
        out.uint(2);
        out.uint(self.position.sequence);
        out.uint(3);
        out.uint(self.position.touch);
        out.uint(4);
        out.bytes(&self.key);
        out.uint(5);
        out.bytes(&self.salt);
        out.uint(6);
        out.bytes(&self.touch.pseudonym.0);
        out.uint(7);
        write_classes(&mut out, &self.touch.classes);
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.map(8)?;
        reader.key(0)?;
        if reader.text()? != OPENING {
            return Err(Malformed::Unexpected(OPENING));
        }
        reader.key(1)?;
        let run = reader.uint()?;
        reader.key(2)?;
        let sequence = reader.uint()?;
        reader.key(3)?;
        let position = Position { run, sequence, touch: reader.uint()? };
        reader.key(4)?;
        let key = reader.fixed()?;
        reader.key(5)?;
        let salt = reader.fixed()?;
        reader.key(6)?;
        let pseudonym = Pseudonym(reader.fixed()?);
        reader.key(7)?;
        let touch = Touch { pseudonym, classes: read_classes(&mut reader)? };
        reader.end()?;
        Ok(Self { position, key, salt, touch })
    }

    /// What it shows in a bundle that was checked; `None` if it does not fit.
    pub(crate) fn in_bundle(&self, bundle: &Bundle) -> Option<OpenedTouch> {
        let Self { position, key, salt, touch } = self;
        let seal = bundle.seal.as_ref().filter(|seal| seal.key == key_hash(key))?;
        let token = token(key, &touch.pseudonym);
        seal.tokens.get(&token)?.contains(position).then_some(())?;
        let run = bundle.runs.get(usize::try_from(position.run).ok()?)?;
        let is_it = |shown: &&Shown| {
            Header::decode(&shown.entry).is_ok_and(|header| header.sequence == position.sequence)
        };
        let Some(Facts::Sealed { leaves, .. }) = &run.shown.iter().find(is_it)?.facts else {
            return None;
        };
        let leaf = leaves.get(usize::try_from(position.touch).ok()?)?;
        let holds = *leaf == touches::leaf_hash(touch, salt);
        holds.then_some(OpenedTouch { token, classes: touch.classes })
    }
}

#[cfg(test)]
pub(crate) mod tests;
