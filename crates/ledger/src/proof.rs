//! Proofs of single records (C2SP tlog-proof): one text file that shows an entry, its place and its way to a checkpoint.
//!
//! The file's `extra` line is the entry itself. It needs no trust: its hash has to lead to the checkpoint's root like any leaf's.

use crate::checkpoint::{self, BadCheckpoint, Checkpoint};
use crate::merkle::{self, BadProof};
use crate::note::{self, VerifyingKey};
use crate::record::{Header, Malformed};
use crate::tile::{BadTile, TileReader, WIDTH};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::Digest;
use std::fmt::Write as _;
use thiserror::Error;

/// First line of every proof.
pub const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1\n";

/// Most hashes of a path: no log is higher.
const PATH_MAX: usize = 64;

/// A file that does not prove what it is shown for. Whoever shows it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadTlogProof {
    /// Not of the format.
    #[error("not a tlog-proof: {0}")]
    Format(&'static str),
    /// Its checkpoint does not hold.
    #[error("the proof's checkpoint does not hold")]
    Checkpoint(#[source] BadCheckpoint),
    /// The entry is not in the log at that index.
    #[error("the proof does not lead from its entry to its checkpoint")]
    NotIncluded(#[source] BadProof),
    /// The entry is in the log and is none of ours.
    #[error("the entry is in the log and is not of the record format")]
    Entry(#[source] Malformed),
}

/// What a proof proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The log as its checkpoint has it.
    pub checkpoint: Checkpoint,
    /// Where in it.
    pub index: u64,
    /// What is there.
    pub header: Header,
    /// Its leaf hash.
    pub leaf: Digest,
}

/// Writes the proof of entry `index` under `note`, the checkpoint that `files` are opened under.
///
/// # Errors
/// [`BadTile`]: whoever serves the log is at fault, or the caller, with [`BadTile::Beyond`].
pub fn write<F: FnMut(&str) -> Option<Vec<u8>>>(
    index: u64,
    note: &str,
    files: &mut TileReader<F>,
) -> Result<String, BadTile> {
    let path = files.inclusion(index)?;
    let mut entries = files.entries(index / WIDTH)?.into_iter();
    let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
    let entry = entries.nth(at).ok_or(BadTile::Beyond(index))?;
    let mut text = FIRST_LINE.to_owned();
    // Writing to a string does not fail.
    let _ = writeln!(text, "extra {}\nindex {index}", BASE64.encode(entry));
    for hash in path {
        let _ = writeln!(text, "{}", BASE64.encode(hash));
    }
    Ok(format!("{text}\n{note}"))
}

/// Checks a proof whose `extra` line is the entry.
///
/// # Errors
/// [`BadTlogProof`]: whoever shows it is at fault.
///
/// Source: C2SP tlog-proof. Deviation: without `extra` there is nothing to show, and the file is refused.
pub fn verify(text: &str, keys: &[VerifyingKey]) -> Result<Proved, BadTlogProof> {
    let Parts { entry, index, path, note } = Parts::read(text)?;
    let checkpoint = checkpoint::open(note, keys).map_err(BadTlogProof::Checkpoint)?;
    let leaf = merkle::leaf_hash(&entry);
    merkle::verify_inclusion(&leaf, index, checkpoint.tree.size, &path, &checkpoint.tree.root)
        .map_err(BadTlogProof::NotIncluded)?;
    let header = Header::decode(&entry).map_err(BadTlogProof::Entry)?;
    Ok(Proved { checkpoint, index, header, leaf })
}

/// The checkpoint of a proof, as it stands there, unchecked: cosignatures are looked for in it.
///
/// # Errors
/// [`BadTlogProof::Format`].
pub fn note_of(text: &str) -> Result<&str, BadTlogProof> {
    Ok(Parts::read(text)?.note)
}

struct Parts<'a> {
    entry: Vec<u8>,
    index: u64,
    path: Vec<Digest>,
    note: &'a str,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, BadTlogProof> {
        let wrong = BadTlogProof::Format;
        let rest = text.strip_prefix(FIRST_LINE).ok_or(wrong("another first line"))?;
        let (head, note) = rest.split_once("\n\n").ok_or(wrong("no checkpoint"))?;
        let mut lines = head.split('\n');
        let entry = lines.next().and_then(|line| line.strip_prefix("extra "));
        let entry = entry.and_then(|line| BASE64.decode(line).ok());
        let entry = entry.ok_or(wrong("no entry in its `extra` line"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(note::decimal).ok_or(wrong("no index"))?;
        let path = lines.map(|line| BASE64.decode(line).ok()?.try_into().ok());
        let path: Option<Vec<Digest>> = path.take(PATH_MAX + 1).collect();
        let path = path.ok_or(wrong("a hash is not one"))?;
        if path.len() > PATH_MAX {
            return Err(wrong("too many hashes"));
        }
        Ok(Self { entry, index, path, note })
    }
}

#[cfg(test)]
mod tests;
