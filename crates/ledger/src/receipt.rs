//! Receipts: proof inside the program that a record is durable, and, as a response header, the node's signed promise
//! to an integration that the record will be in the log.

mod standing;

pub use standing::{NotKept, Standing, stands};

use crate::domain;
use crate::merkle::{self, LEAF_PREFIX, Tree};
use crate::note::{SigningKey, VerifyingKey};
use crate::sequencer::Sequenced;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Digest, RequestId, UnixMicros};
use std::fmt::Write as _;
use std::sync::Arc;
use thiserror::Error;

/// The records of one sync, signed together.
#[derive(Debug)]
pub struct Batch {
    origin: String,
    first: u64,
    deadline_secs: u64,
    tree: Tree,
    key_id: [u8; 4],
    signature: [u8; 64],
}

impl Batch {
    /// Signs the promise that the records with these leaf hashes stand at `first` and after in the log that `key` signs.
    ///
    /// `deadline`: when a checkpoint that covers them will be out, rounded up to a whole second.
    pub fn sign(key: &SigningKey, first: u64, leaves: &[Digest], deadline: UnixMicros) -> Self {
        let tree = Tree::new(leaves.iter().map(batch_leaf).collect());
        let deadline_secs = deadline.0.div_ceil(1_000_000);
        let message = message(key.name(), first, tree.size(), deadline_secs, &tree.root());
        Self {
            origin: key.name().to_owned(),
            first,
            deadline_secs,
            key_id: key.id(),
            signature: key.sign(message.as_bytes()),
            tree,
        }
    }
}

/// Proof that a record is durable.
#[derive(Clone, Debug)]
pub struct Receipt {
    request: Option<RequestId>,
    index: u64,
    time: UnixMicros,
    salt: [u8; 16],
    leaf_hash: Digest,
    touches_root: Digest,
    batch: Arc<Batch>,
}

impl Receipt {
    /// Mints the receipt of one record. Has one caller: the recorder, after the sync that made the record durable.
    ///
    /// `batch`: what that sync made durable.
    ///
    /// # Panics
    /// If the record is not in the batch.
    pub fn durable(record: &Sequenced, batch: Arc<Batch>) -> Self {
        let position = record.index.checked_sub(batch.first);
        assert!(position.is_some_and(|p| p < batch.tree.size()), "a record of another batch");
        Self {
            request: record.request,
            index: record.index,
            time: record.time,
            salt: record.salt,
            leaf_hash: record.leaf_hash,
            touches_root: record.touches_root,
            batch,
        }
    }

    /// The request the record is about, if it is about one.
    pub const fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// The record's index in the log.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// When, as recorded.
    pub const fn time(&self) -> UnixMicros {
        self.time
    }

    /// The record salt, under which [`Receipt::touches_root`] is computed. Not for outsiders.
    pub const fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// Leaf hash of the record's entry.
    pub const fn leaf_hash(&self) -> &Digest {
        &self.leaf_hash
    }

    /// Root over the record's touches.
    pub const fn touches_root(&self) -> &Digest {
        &self.touches_root
    }

    /// The value of the response header `Portcullis-Receipt`: a dictionary of RFC 9651.
    pub fn header_value(&self) -> String {
        let Batch { origin, first, deadline_secs, tree, key_id, signature } = &*self.batch;
        let path = tree.inclusion(self.index - first).unwrap_or_default().concat();
        let mut value = String::with_capacity(320 + origin.len() + path.len() * 4 / 3);
        let leaf = BASE64.encode(self.leaf_hash);
        // Writing to a string does not fail.
        let _ = write!(
            value,
            "log=\"{origin}\", leaf=:{leaf}:, index={}, first={first}, size={}, deadline=@{deadline_secs}, path=:{}:, key=:{}:, sig=:{}:",
            self.index,
            tree.size(),
            BASE64.encode(path),
            BASE64.encode(key_id),
            BASE64.encode(signature),
        );
        value
    }
}

/// A promise read from a response header, signature checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The log that promised.
    pub origin: String,
    /// What is promised to be in it.
    pub leaf_hash: Digest,
    /// Where.
    pub index: u64,
    /// From when on a checkpoint that does not cover it, or has another leaf there, breaks the promise. Unix seconds.
    pub deadline_secs: u64,
}

/// A header that is no promise of the log it names. Whoever shows it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadReceipt {
    /// Not the header that this program writes.
    #[error("the receipt is not of the format")]
    Malformed,
    /// Of a log that none of the given keys signs.
    #[error("the receipt is of a log whose key is not known")]
    OtherLog,
    /// The leaf is not in the batch that was signed, or the signature is not the key's.
    #[error("the receipt's signature does not hold")]
    Forged,
}

/// Reads a `Portcullis-Receipt` header and checks its signature.
///
/// # Errors
/// [`BadReceipt`]: whoever shows it is at fault.
pub fn verify(header: &str, keys: &[VerifyingKey]) -> Result<Promise, BadReceipt> {
    let fields = Fields::parse(header).ok_or(BadReceipt::Malformed)?;
    let known = keys.iter().find(|key| key.name() == fields.origin && key.id() == fields.key_id);
    let key = known.ok_or(BadReceipt::OtherLog)?;
    let position = fields.index.checked_sub(fields.first).ok_or(BadReceipt::Malformed)?;
    let root = root_of(&fields, position).ok_or(BadReceipt::Forged)?;
    let message = message(&fields.origin, fields.first, fields.size, fields.deadline_secs, &root);
    if !key.verify(message.as_bytes(), &fields.signature) {
        return Err(BadReceipt::Forged);
    }
    let Fields { origin, leaf_hash, index, deadline_secs, .. } = fields;
    Ok(Promise { origin, leaf_hash, index, deadline_secs })
}

/// The root that the receipt's leaf and path lead to.
fn root_of(fields: &Fields, position: u64) -> Option<Digest> {
    if position >= fields.size {
        return None;
    }
    let path = merkle::Path::to(position, fields.size);
    if path.len() != fields.path.len() {
        return None;
    }
    let leaf = batch_leaf(&fields.leaf_hash);
    Some(fields.path.iter().zip(path).fold(leaf, |hash, (sibling, side)| match side {
        merkle::Side::Left => merkle::node_hash(sibling, &hash),
        merkle::Side::Right => merkle::node_hash(&hash, sibling),
    }))
}

fn batch_leaf(leaf: &Digest) -> Digest {
    domain::sha256_of(&[&[LEAF_PREFIX], domain::BATCH, leaf])
}

fn message(origin: &str, first: u64, size: u64, deadline_secs: u64, root: &Digest) -> String {
    let root = BASE64.encode(root);
    format!("{}\n{origin}\n{first}\n{size}\n{deadline_secs}\n{root}\n", domain::RECEIPT)
}

struct Fields {
    origin: String,
    leaf_hash: Digest,
    index: u64,
    first: u64,
    size: u64,
    deadline_secs: u64,
    path: Vec<Digest>,
    key_id: [u8; 4],
    signature: [u8; 64],
}

impl Fields {
    /// Takes the nine members in the order this program writes them; an intermediary may not reorder a dictionary.
    fn parse(header: &str) -> Option<Self> {
        if header.len() > 8192 {
            return None;
        }
        let mut members = header.split(", ");
        let mut member = |name: &str| members.next()?.strip_prefix(name)?.strip_prefix('=');
        let origin = member("log")?.strip_prefix('"')?.strip_suffix('"')?.to_owned();
        let leaf_hash = bytes(member("leaf")?)?.try_into().ok()?;
        let index = number(member("index")?)?;
        let first = number(member("first")?)?;
        let size = number(member("size")?)?;
        let deadline_secs = number(member("deadline")?.strip_prefix('@')?)?;
        let path = bytes(member("path")?)?;
        let (hashes, []) = path.as_chunks::<32>() else { return None };
        let path = hashes.to_vec();
        let key_id = bytes(member("key")?)?.try_into().ok()?;
        let signature = bytes(member("sig")?)?.try_into().ok()?;
        if members.next().is_some() {
            return None;
        }
        Some(Self { origin, leaf_hash, index, first, size, deadline_secs, path, key_id, signature })
    }
}

fn bytes(item: &str) -> Option<Vec<u8>> {
    BASE64.decode(item.strip_prefix(':')?.strip_suffix(':')?).ok()
}

fn number(item: &str) -> Option<u64> {
    crate::note::decimal(item)
}

#[cfg(test)]
mod tests;
