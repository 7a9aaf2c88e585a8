//! Reads a log's files against a checkpoint and believes none of them before it is hashed up to the checkpoint's root.
//!
//! The tiles of the right edge are checked all together when the reader is opened: their hashes are exactly the perfect subtrees
//! that the root is made of. Every other tile is full, and is checked against its hash in the tile above, up to the right edge.

use super::{TileKind, TilePath, WIDTH, full_tile_root};
use crate::merkle::{self, EMPTY_ROOT, node_hash};
use crate::sequencer::TreeHead;
use model::Digest;
use std::collections::BTreeMap;
use thiserror::Error;

/// A file that is not of the tree that the checkpoint signs. Whoever serves the log is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadTile {
    /// Not there, partial or full.
    #[error("`{0}` is missing")]
    Missing(String),
    /// Not as long as its path says, or entries that do not add up.
    #[error("`{0}` is not of the format")]
    Malformed(String),
    /// Another tree's.
    #[error("`{0}` does not lead to the checkpoint's root")]
    OtherTree(String),
    /// The right edge as a whole leads to another root.
    #[error("the right edge does not lead to the checkpoint's root")]
    OtherRoot,
    /// The caller asked beyond the tree.
    #[error("entry `{0}` is beyond the checkpoint")]
    Beyond(u64),
}

/// A log's files, as far as they are proved.
///
/// Keeps every tile it has proved in memory, 8 KiB for 256 entries, until [`TileReader::forget`].
pub struct TileReader<F> {
    tree: TreeHead,
    fetch: F,
    // INVARIANT: every tile here is proved to lead to `tree.root`.
    pub(super) proved: BTreeMap<(u8, u64), Vec<Digest>>,
}

impl<F: FnMut(&str) -> Option<Vec<u8>>> TileReader<F> {
    /// The tree that everything is proved against.
    pub const fn tree(&self) -> TreeHead {
        self.tree
    }

    /// Opens the log under a checkpoint. `fetch` gives the content of a path below the log's directory, `None` if it is missing.
    ///
    /// # Errors
    /// [`BadTile`]: whoever serves the log is at fault.
    pub fn open(tree: TreeHead, fetch: F) -> Result<Self, BadTile> {
        let mut reader = Self { tree, fetch, proved: BTreeMap::new() };
        let mut edge = Vec::new();
        let mut level = 0;
        let mut hashes = tree.size;
        while hashes > 0 {
            let index = hashes / WIDTH;
            if let Ok(width @ 1..) = u16::try_from(hashes % WIDTH) {
                let row = reader.fetch_row(TilePath {
                    kind: TileKind::Hashes { level },
                    index,
                    width,
                })?;
                edge.push(((level, index), row));
            }
            hashes /= WIDTH;
            level += 1;
        }
        let mut root = None;
        for (_, row) in &edge {
            // The level's hashes and, as the last, what is to their right below them.
            root = Some(edge_root(row, root));
        }
        if root.unwrap_or(EMPTY_ROOT) != tree.root {
            return Err(BadTile::OtherRoot);
        }
        reader.proved.extend(edge);
        Ok(reader)
    }

    /// Leaf hash of entry `index`.
    ///
    /// # Errors
    /// [`BadTile`]: whoever serves the log is at fault, or the caller, with [`BadTile::Beyond`].
    pub fn leaf_hash(&mut self, index: u64) -> Result<Digest, BadTile> {
        if index >= self.tree.size {
            return Err(BadTile::Beyond(index));
        }
        self.hash(0, index)
    }

    /// The entries of bundle `index`, which holds entries from `index * 256`, each checked against its leaf hash.
    ///
    /// # Errors
    /// As [`TileReader::leaf_hash`].
    pub fn entries(&mut self, index: u64) -> Result<Vec<Vec<u8>>, BadTile> {
        let first = index.checked_mul(WIDTH).filter(|&first| first < self.tree.size);
        let first = first.ok_or(BadTile::Beyond(index))?;
        let width = u16::try_from((self.tree.size - first).min(WIDTH)).unwrap_or(256);
        let path = TilePath { kind: TileKind::Entries, index, width };
        let (path, bytes) = self.fetch_tile(path)?;
        let malformed = || BadTile::Malformed(path.to_string());
        let mut entries = Vec::with_capacity(usize::from(width));
        let mut rest = &bytes[..];
        while let Some((len, after)) = rest.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            let (entry, after) = after.split_at_checked(len).ok_or_else(malformed)?;
            entries.push(entry.to_vec());
            rest = after;
        }
        if !rest.is_empty() || entries.len() != usize::from(path.width) {
            return Err(malformed());
        }
        entries.truncate(usize::from(width));
        for (entry, index) in entries.iter().zip(first..) {
            if merkle::leaf_hash(entry) != self.hash(0, index)? {
                return Err(BadTile::OtherTree(path.to_string()));
            }
        }
        Ok(entries)
    }

    /// The proof that entry `index` is in the tree: what [`merkle::verify_inclusion`] takes.
    ///
    /// # Errors
    /// As [`TileReader::leaf_hash`].
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Digest>, BadTile> {
        if index >= self.tree.size {
            return Err(BadTile::Beyond(index));
        }
        self.siblings(0, index)
    }

    /// The proof that the log's first `old_size` entries are the beginning of the tree: what [`merkle::verify_consistency`] takes.
    ///
    /// # Errors
    /// As [`TileReader::leaf_hash`]; of an empty beginning nothing is to be proved, so 0 is beyond the tree too.
    ///
    /// Source: RFC 9162 section 2.1.4.1.
    pub fn consistency(&mut self, old_size: u64) -> Result<Vec<Digest>, BadTile> {
        if old_size == 0 || old_size > self.tree.size {
            return Err(BadTile::Beyond(old_size));
        }
        if old_size == self.tree.size {
            return Ok(Vec::new());
        }
        // The last perfect subtree of the old tree. If it is the whole of it, its hash is the old root, which needs no saying.
        let level = old_size.trailing_zeros();
        let at = (old_size - 1) >> level;
        let mut proof = Vec::new();
        if !old_size.is_power_of_two() {
            proof.push(self.subtree(level, at)?);
        }
        proof.extend(self.siblings(level, at)?);
        Ok(proof)
    }

    /// Lets go of the tiles that hold nothing of the entries from `index` on: one pass over a log of any length fits in memory.
    pub fn forget(&mut self, index: u64) {
        // The right edge, which ends beyond the tree, stays: it was proved as a whole and cannot be tile by tile.
        let index = index.min(self.tree.size);
        self.proved.retain(|&(level, at), _| {
            let tile = TilePath { kind: TileKind::Hashes { level }, index: at, width: 256 };
            tile.entries_needed().is_none_or(|end| end > index)
        });
    }

    /// The hashes beside the way up from the subtree of that level at `at`.
    fn siblings(&mut self, mut level: u32, mut at: u64) -> Result<Vec<Digest>, BadTile> {
        let mut last = (self.tree.size - 1) >> level;
        let mut siblings = Vec::new();
        while last > 0 {
            let sibling = at ^ 1;
            if sibling <= last {
                siblings.push(self.subtree(level, sibling)?);
            }
            level += 1;
            at >>= 1;
            last >>= 1;
        }
        Ok(siblings)
    }

    /// Hash over the leaves from `index << level`, as many as a subtree of that level has in this tree.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Digest, BadTile> {
        let start = index << level;
        let whole = self.tree.size - start >= 1_u64 << level;
        if whole && level.is_multiple_of(8) {
            return self.hash(u8::try_from(level / 8).unwrap_or(u8::MAX), index);
        }
        if level == 0 {
            return self.hash(0, index);
        }
        let left = self.subtree(level - 1, index * 2)?;
        let right_start = (index * 2 + 1) << (level - 1);
        if right_start >= self.tree.size {
            return Ok(left);
        }
        Ok(node_hash(&left, &self.subtree(level - 1, index * 2 + 1)?))
    }

    /// The hash at a place of a tile level.
    fn hash(&mut self, level: u8, index: u64) -> Result<Digest, BadTile> {
        self.prove(level, index / WIDTH)?;
        let row = self.proved.get(&(level, index / WIDTH));
        let at = usize::try_from(index % WIDTH).unwrap_or(0);
        row.and_then(|row| row.get(at)).copied().ok_or(BadTile::Beyond(index))
    }

    /// Proves a tile. The ones not on the right edge are full and have their hash in the tile above, which is proved first.
    /// Goes up at most seven levels.
    fn prove(&mut self, level: u8, index: u64) -> Result<(), BadTile> {
        if self.proved.contains_key(&(level, index)) {
            return Ok(());
        }
        let path = TilePath { kind: TileKind::Hashes { level }, index, width: 256 };
        if level >= 7 {
            return Err(BadTile::Missing(path.to_string()));
        }
        let wanted = self.hash(level + 1, index)?;
        let row = self.fetch_row(path)?;
        if full_tile_root(&row) != wanted {
            return Err(BadTile::OtherTree(path.to_string()));
        }
        self.proved.insert((level, index), row);
        Ok(())
    }

    fn fetch_row(&mut self, path: TilePath) -> Result<Vec<Digest>, BadTile> {
        let (found, bytes) = self.fetch_tile(path)?;
        let (row, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || row.len() != usize::from(found.width) {
            return Err(BadTile::Malformed(found.to_string()));
        }
        Ok(row.iter().take(usize::from(path.width)).copied().collect())
    }

    //= C2SP tlog-tiles: a partial tile may be gone once the full one exists
    fn fetch_tile(&mut self, path: TilePath) -> Result<(TilePath, Vec<u8>), BadTile> {
        for path in [path, path.full()] {
            if let Some(bytes) = (self.fetch)(&path.to_string()) {
                return Ok((path, bytes));
            }
        }
        Err(BadTile::Missing(path.to_string()))
    }
}

/// Root over one level's hashes of the right edge and `right`, the root of what is below and to the right of them.
fn edge_root(row: &[Digest], right: Option<Digest>) -> Digest {
    // The perfect subtrees of the row, largest first, are folded from the right.
    let mut frontier = merkle::Frontier::default();
    row.iter().for_each(|hash| frontier.push(*hash));
    frontier.root_before(right)
}
