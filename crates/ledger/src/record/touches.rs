//! Touches: which subjects a record is about, and the Merkle tree over them that lets one be shown without the others.

use super::VERSION;
use super::header::{read_classes, write_classes};
use super::wire::{Malformed, Reader, Write as _};
use crate::domain::{self, Message, SaltKey};
use crate::merkle;
use model::{Digest, Pseudonym, Touch};

/// Root of the tree over `touches` (RFC 6962 shape, in the order given) under a record's salt.
///
/// No touches have the root of the empty tree.
pub fn root(touches: &[Touch], salt: &[u8; 16]) -> Digest {
    if touches.is_empty() {
        return merkle::EMPTY_ROOT;
    }
    root_with(touches, &SaltKey::new(salt))
}

pub(crate) fn root_with(touches: &[Touch], key: &SaltKey) -> Digest {
    let mut frontier = merkle::Frontier::default();
    for (touch, index) in touches.iter().zip(0_u32..) {
        frontier.push(leaf_hash(touch, &key.touch(index)));
    }
    frontier.root()
}

/// The leaf hashes of the tree over `touches`.
pub(crate) fn leaves(touches: &[Touch], salt: &[u8; 16]) -> Vec<Digest> {
    let key = SaltKey::new(salt);
    touches.iter().zip(0_u32..).map(|(t, at)| leaf_hash(t, &key.touch(at))).collect()
}

/// The salt of touch `index` under a record's salt: what opens that touch and no other.
pub fn salt_of(salt: &[u8; 16], index: u32) -> [u8; 16] {
    SaltKey::new(salt).touch(index)
}

/// Hash of one touch: what a subject's own proof starts from.
///
/// `salt`: the touch's own, derived from the record's; it says nothing of the other touches'.
pub fn leaf_hash(touch: &Touch, salt: &[u8; 16]) -> Digest {
    // One run on the stack: with up to 32 classes it is a single block of SHA-256.
    let mut message = Message::<{ 1 + domain::TOUCH.len() + 16 + 16 + 32 }>::new();
    let (classes, width) = touch.classes.to_padded();
    let fits = message.put(&[merkle::LEAF_PREFIX])
        && message.put(domain::TOUCH)
        && message.put(salt)
        && message.put(&touch.pseudonym.0)
        && message.put(classes.get(..width).unwrap_or(&classes));
    debug_assert!(fits, "a bitmap has at most 32 bytes");
    message.sha256()
}

pub(crate) fn encode(touches: &[Touch], salt: &[u8; 16], out: &mut Vec<u8>) {
    if touches.is_empty() {
        return;
    }
    out.map(3);
    out.uint(0);
    out.uint(VERSION);
    out.uint(1);
    out.bytes(salt);
    out.uint(2);
    out.array(touches.len());
    for touch in touches {
        out.array(2);
        out.bytes(&touch.pseudonym.0);
        write_classes(out, &touch.classes);
    }
}

/// Reads the salt and the touches; zeros and none from empty bytes.
///
/// # Errors
/// [`Malformed`] also if the touches are not sorted by pseudonym, each once, or if one has no class.
pub fn decode(bytes: &[u8]) -> Result<([u8; 16], Vec<Touch>), Malformed> {
    if bytes.is_empty() {
        return Ok(([0; 16], Vec::new()));
    }
    let mut reader = Reader::new(bytes);
    reader.map(3)?;
    reader.key(0)?;
    let version = reader.uint()?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    reader.key(1)?;
    let salt = reader.fixed()?;
    reader.key(2)?;
    let count = reader.array()?;
    if count == 0 {
        return Err(Malformed::Unexpected("at least one touch"));
    }
    let mut touches: Vec<Touch> = Vec::with_capacity(count.min(bytes.len() / 19));
    for _ in 0..count {
        if reader.array()? != 2 {
            return Err(Malformed::Unexpected("touch"));
        }
        let pseudonym = Pseudonym(reader.fixed()?);
        let classes = read_classes(&mut reader)?;
        if touches.last().is_some_and(|last| last.pseudonym >= pseudonym) {
            return Err(Malformed::Unexpected("touches in order of pseudonym"));
        }
        touches.push(Touch { pseudonym, classes });
    }
    reader.end()?;
    Ok((salt, touches))
}
