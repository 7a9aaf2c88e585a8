//! The log as files (C2SP tlog-tiles): paths, what a growing log writes, and a reader that believes no file.

pub mod reader;

pub use reader::{BadTile, TileReader};

use crate::merkle::node_hash;
use model::Digest;
use std::fmt;

/// How many hashes a full tile has, and how many entries a full bundle.
pub const WIDTH: u64 = 256;

/// Highest level that a path may name. No log has more than 2^64 entries, whose hashes end at level 7.
const LEVEL_MAX: u8 = 63;

/// What a file of the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// Entries, each with its length before it.
    Entries,
    /// Hashes of this level: each is over `256^level` leaves.
    Hashes {
        /// 0 for leaf hashes.
        level: u8,
    },
}

/// The place of one file. Its `Display` is the path below the log's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TilePath {
    /// What it holds.
    pub kind: TileKind,
    /// Its place in its level.
    pub index: u64,
    /// How many hashes or entries, 1 to 256; below 256 it is partial.
    pub width: u16,
}

impl TilePath {
    /// Whether the tile is full, which means that it never changes.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The same place, full.
    pub const fn full(self) -> Self {
        Self { width: 256, ..self }
    }

    /// Reads what `Display` writes, and no other spelling of it: no dots, escapes, empty parts or leading zeros get past.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: level.parse().ok().filter(|&l| l <= LEVEL_MAX)? },
        };
        let (index, width) = match place.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (place, 256),
        };
        let mut groups = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group));
        let index = groups.try_fold(0_u64, |index, group| {
            let group: u16 = group.parse().ok()?;
            index.checked_mul(1000)?.checked_add(group.into())
        })?;
        let read = Self { kind, index, width };
        (read.to_string() == path).then_some(read)
    }

    /// How many entries a log has to have for this tile to be of it; `None` if no log can.
    pub fn entries_needed(&self) -> Option<u64> {
        let span = match self.kind {
            TileKind::Entries => 1,
            TileKind::Hashes { level } => WIDTH.checked_pow(level.into())?,
        };
        self.index.checked_mul(WIDTH)?.checked_add(self.width.into())?.checked_mul(span)
    }
}

impl fmt::Display for TilePath {
    //= C2SP tlog-tiles: 3-digit groups, all but the last with an `x` before them
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries")?,
            TileKind::Hashes { level } => write!(f, "tile/{level}")?,
        }
        let mut divisor = 1;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "/x{:03}", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "/{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// Where.
    pub path: TilePath,
    /// Its whole content.
    pub bytes: Vec<u8>,
}

/// The unfinished files of a growing log: one bundle and one tile per level, each below full.
///
/// Feed it every entry from the log's first, and take the files now and then: until then it holds them in memory.
/// A restart may write files again that are there already; their bytes are the same.
#[derive(Clone, Debug, Default)]
pub struct TileWriter {
    size: u64,
    entries: Vec<u8>,
    // `levels[l]` holds the hashes of level `l` since its last full tile: below 256.
    levels: Vec<Vec<Digest>>,
    finished: Vec<TileFile>,
    // The size at the last `take`: partial tiles that have not grown since are not written again.
    taken: u64,
}

impl TileWriter {
    /// How many entries it was fed.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds the log's next entry. An entry beyond 65,535 bytes cannot be: its header has a fixed form.
    ///
    /// # Panics
    /// If the entry is too long for a bundle.
    pub fn push(&mut self, entry: &[u8], leaf_hash: Digest) {
        let len = u16::try_from(entry.len());
        assert!(len.is_ok(), "an entry is longer than a bundle can hold");
        self.entries.extend_from_slice(&len.unwrap_or(0).to_be_bytes());
        self.entries.extend_from_slice(entry);
        self.size += 1;
        if self.size.is_multiple_of(WIDTH) {
            let bytes = std::mem::take(&mut self.entries);
            let path =
                TilePath { kind: TileKind::Entries, index: self.size / WIDTH - 1, width: 256 };
            self.finished.push(TileFile { path, bytes });
        }
        self.push_hash(leaf_hash);
    }

    /// The files that have come or grown since the last call: full tiles first, in order of completion, then partial ones.
    ///
    /// Write the full ones for good. Together they hold the tree of [`TileWriter::size`], and with it every checkpoint up to it.
    pub fn take(&mut self) -> Vec<TileFile> {
        let mut files = std::mem::take(&mut self.finished);
        if self.size == self.taken {
            return files;
        }
        let width = self.size % WIDTH;
        if let (Ok(width @ 1..), bytes) = (u16::try_from(width), &self.entries) {
            let path = TilePath { kind: TileKind::Entries, index: self.size / WIDTH, width };
            files.push(TileFile { path, bytes: bytes.clone() });
        }
        let mut span = 1; // leaves under one hash of the level
        for (row, level) in self.levels.iter().zip(0_u8..) {
            let grown = self.size / span != self.taken / span;
            if let (true, Ok(width @ 1..)) = (grown, u16::try_from(row.len())) {
                let kind = TileKind::Hashes { level };
                let path = TilePath { kind, index: self.size / span / WIDTH, width };
                files.push(TileFile { path, bytes: row.concat() });
            }
            span *= WIDTH;
        }
        self.taken = self.size;
        files
    }

    fn push_hash(&mut self, leaf_hash: Digest) {
        let mut hash = leaf_hash;
        let mut hashes_of_level = self.size;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::with_capacity(256));
            }
            let Some(row) = self.levels.get_mut(at) else { return };
            row.push(hash);
            if row.len() < 256 {
                return;
            }
            let index = hashes_of_level / WIDTH - 1;
            let path = TilePath { kind: TileKind::Hashes { level }, index, width: 256 };
            self.finished.push(TileFile { path, bytes: row.concat() });
            hash = full_tile_root(row);
            row.clear();
            hashes_of_level /= WIDTH;
        }
    }
}

/// Root of a full tile's hashes: its hash in the tile above.
pub(crate) fn full_tile_root(row: &[Digest]) -> Digest {
    let mut row = row.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or(crate::merkle::EMPTY_ROOT)
}

#[cfg(test)]
mod tests;
