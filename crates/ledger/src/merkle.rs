//! The Merkle tree of RFC 6962: hashes, a growing tree's frontier, inclusion and consistency proofs.
//!
//! Proofs are checked for exact length. Nothing here knows what a leaf is made of.

use crate::domain::{self, Message};
use model::Digest;
use thiserror::Error;

/// First byte of what a leaf's hash is over.
pub(crate) const LEAF_PREFIX: u8 = 0x00;
/// First byte of what a node's hash is over.
pub(crate) const NODE_PREFIX: u8 = 0x01;

/// Root of the tree without leaves.
//= RFC 6962 section 2.1: the hash of an empty list is the hash of an empty string
pub const EMPTY_ROOT: Digest = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// A proof that does not prove what it is shown for. Whoever made it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadProof {
    /// The index is not below the size, or the older size is above the newer.
    #[error("the proof is for no place in a tree of this size")]
    NoSuchPlace,
    /// Too few or too many hashes.
    #[error("the proof has `{found}` hashes where this place takes `{wanted}`")]
    Length {
        /// How many there are.
        found: usize,
        /// How many the place takes.
        wanted: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// Hash of a leaf.
//= RFC 6962 section 2.1: MTH({d(0)}) = SHA-256(0x00 || d(0))
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    domain::sha256_of(&[&[LEAF_PREFIX], leaf])
}

/// Hash of a node above two others.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut message = Message::<65>::new();
    let fits = message.put(&[NODE_PREFIX]) && message.put(left) && message.put(right);
    debug_assert!(fits, "a byte and two hashes");
    message.sha256()
}

/// The right edge of a growing tree: one hash per perfect subtree of its size, largest first.
///
/// Enough to add leaves and to tell the root; not enough to prove anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // INVARIANT: as many hashes as `size` has one bits.
    hashes: Vec<Digest>,
}

impl Frontier {
    /// How many leaves the tree has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the perfect subtrees, largest first.
    pub(crate) fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// `None` if a tree of this size has another number of perfect subtrees.
    pub(crate) fn from_parts(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() as u64 == u64::from(size.count_ones())).then_some(Self { size, hashes })
    }

    /// Adds one leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root of all leaves so far.
    pub fn root(&self) -> Digest {
        self.root_before(None)
    }

    /// The root of all leaves so far and, to their right, of leaves that are fewer than the last subtree has and whose root is `right`.
    pub(crate) fn root_before(&self, right: Option<Digest>) -> Digest {
        let over = |right: Option<Digest>, left: &Digest| {
            Some(right.map_or(*left, |right| node_hash(left, &right)))
        };
        self.hashes.iter().rev().fold(right, over).unwrap_or(EMPTY_ROOT)
    }
}

/// Checks that the leaf with hash `leaf` stands at `index` of the tree of `size` leaves with this `root`.
///
/// `proof`: the sibling hashes from the leaf up.
///
/// # Errors
/// [`BadProof`]: the proof's maker is at fault.
///
/// Source: RFC 9162 section 2.1.3.2. Deviation: the length is checked first, and exactly.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof::NoSuchPlace);
    }
    let path = Path::to(index, size);
    let wanted = path.len();
    if proof.len() != wanted {
        return Err(BadProof::Length { found: proof.len(), wanted });
    }
    let hash = proof.iter().zip(path).fold(*leaf, |hash, (sibling, side)| match side {
        Side::Left => node_hash(sibling, &hash),
        Side::Right => node_hash(&hash, sibling),
    });
    if hash == *root { Ok(()) } else { Err(BadProof::OtherRoot) }
}

/// Checks that the tree of `old_size` leaves with `old_root` is the beginning of the tree of `size` leaves with `root`.
///
/// # Errors
/// [`BadProof`]: the proof's maker is at fault.
///
/// Source: RFC 9162 section 2.1.4.2. Nothing is proved about the empty tree, which every tree begins with.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), BadProof> {
    //= RFC 9162 section 2.1.4: 0 < m < n; of a tree and itself the empty proof
    if old_size == 0 || old_size > size {
        return Err(BadProof::NoSuchPlace);
    }
    if old_size == size {
        if !proof.is_empty() {
            return Err(BadProof::Length { found: proof.len(), wanted: 0 });
        }
        return if old_root == root { Ok(()) } else { Err(BadProof::OtherRoot) };
    }
    // The proof walks up from the last perfect subtree of the old tree. If that is the whole old tree, its hash is
    // the old root and is not repeated in the proof.
    let level = old_size.trailing_zeros();
    let path = Path::to((old_size - 1) >> level, ((size - 1) >> level) + 1);
    let starts_with_old_root = old_size.is_power_of_two();
    let wanted = path.len() + usize::from(!starts_with_old_root);
    if proof.len() != wanted {
        return Err(BadProof::Length { found: proof.len(), wanted });
    }
    let (start, rest) = if starts_with_old_root {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(BadProof::Length { found: 0, wanted })?
    };
    let (mut old, mut new) = (*start, *start);
    for (sibling, side) in rest.iter().zip(path) {
        match side {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    if old == *old_root && new == *root { Ok(()) } else { Err(BadProof::OtherRoot) }
}

/// On which side of the way up a sibling stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// The way from a leaf up to the root: the side of each sibling. Levels where a right edge has none are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    index: u64,
    last: u64,
}

impl Path {
    /// `index` must be below `size`.
    pub(crate) const fn to(index: u64, size: u64) -> Self {
        Self { index, last: size - 1 }
    }

    pub(crate) fn len(self) -> usize {
        self.count()
    }
}

impl Iterator for Path {
    type Item = Side;

    fn next(&mut self) -> Option<Side> {
        while self.last > 0 {
            let (index, last) = (self.index, self.last);
            self.index >>= 1;
            self.last >>= 1;
            if index & 1 == 1 {
                return Some(Side::Left);
            }
            if index < last {
                return Some(Side::Right);
            }
        }
        None
    }
}

/// A whole tree in memory, one row of hashes per level: makes proofs. For batches, maps of heads and evidence.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    // `rows[level][i]` is the hash of leaves `i << level ..`; an odd last hash moves up as it is.
    rows: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over these leaf hashes.
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut rows = Vec::new();
        let mut row = leaves;
        while row.len() > 1 {
            let above = row
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(node_hash(left, right)),
                    [odd] => Some(*odd),
                    _ => None,
                })
                .collect();
            rows.push(std::mem::replace(&mut row, above));
        }
        rows.push(row);
        Self { rows }
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.rows.first().map_or(0, |row| row.len() as u64)
    }

    /// The root.
    pub fn root(&self) -> Digest {
        self.rows.last().and_then(|row| row.first()).copied().unwrap_or(EMPTY_ROOT)
    }

    /// The sibling hashes of leaf `index`, from the leaf up; `None` beyond the last leaf.
    pub fn inclusion(&self, index: u64) -> Option<Vec<Digest>> {
        let mut index = usize::try_from(index).ok()?;
        self.rows.first()?.get(index)?;
        let mut proof = Vec::new();
        for row in &self.rows {
            proof.extend(row.get(index ^ 1));
            index >>= 1;
        }
        Some(proof)
    }
}

#[cfg(test)]
mod tests;
