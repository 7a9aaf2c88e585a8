//! Cosignatures (C2SP tlog-cosignature, `cosignature/v1`): what a witness or an auditor says about another's checkpoint, and when.
//!
//! A cosignature is a signature line of a note like any other, of keys of type 0x04. It says that, as of its time, the checkpoint
//! is the largest consistent one that the cosigner saw of this log; an auditor's says besides that the log was replayed to it.
//! Which of the two a key means is for whoever trusts the key.

use crate::note::{self, BadNote, NotAKey, SigningKey, VerifyingKey};
use std::fmt;

/// Type of the keys of cosigners.
const ED25519_COSIGNATURE_TYPE: u8 = 0x04;

/// What a witness or an auditor cosigns with. Never used for another purpose: the message does not hold the key's name.
#[derive(Debug)]
pub struct Cosigner(SigningKey);

impl Cosigner {
    /// The cosigner named `name` with this 32-byte Ed25519 seed (RFC 8032 private key).
    ///
    /// # Errors
    /// [`NotAKey`], as [`SigningKey::new`].
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NotAKey> {
        SigningKey::of_type(ED25519_COSIGNATURE_TYPE, name, seed).map(Self)
    }

    /// The public half.
    ///
    /// # Errors
    /// None in practice, as [`SigningKey::verifying_key`].
    pub fn key(&self) -> Result<CosignerKey, NotAKey> {
        self.0.verifying_key().map(CosignerKey)
    }

    /// The signature line over the text of `note`, a checkpoint that the caller found consistent. [`add`] puts it on the note.
    ///
    /// `time_secs`: Unix seconds.
    ///
    /// # Errors
    /// [`BadNote::Malformed`] if the note is not of the format. Its signatures are the caller's to have checked.
    ///
    /// # Panics
    /// If the time is beyond 2^63 - 1, which no clock shows.
    pub fn cosign(&self, note: &str, time_secs: u64) -> Result<String, BadNote> {
        assert!(i64::try_from(time_secs).is_ok(), "a time that no cosignature may have");
        let (text, _) = note::split(note)?;
        let signature = self.0.sign(message(time_secs, text).as_bytes());
        Ok(self.0.line(&[&time_secs.to_be_bytes()[..], &signature].concat()))
    }
}

/// What a cosigner's cosignatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey(VerifyingKey);

impl CosignerKey {
    /// Reads `name+id+base64(type and key)`, the form of C2SP signed-note, with type 0x04.
    ///
    /// # Errors
    /// [`NotAKey`], also for the key of a log (type 0x01): it makes no cosignatures.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        VerifyingKey::parse_type(ED25519_COSIGNATURE_TYPE, text).map(Self)
    }

    /// The cosigner's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    fn is_of(&self, line: &note::Line<'_>) -> bool {
        self.0.name() == line.name && self.0.id() == line.id
    }
}

impl fmt::Display for CosignerKey {
    /// The form that [`CosignerKey::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(ED25519_COSIGNATURE_TYPE, f)
    }
}

/// A cosignature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The cosigner's name.
    pub name: String,
    /// When it said so. Unix seconds, by its own clock.
    pub time_secs: u64,
}

/// The cosignatures that `keys` put on a note, in the order of the keys, of each its latest. Lines of other keys are read over.
///
/// None at all is no error: how many are enough is the caller's to say.
///
/// # Errors
/// [`BadNote::Malformed`] if the note is not of the format; [`BadNote::Forged`] if a line of a known key does not hold.
///
/// Source: C2SP tlog-cosignature. Deviation: a time in the future is not refused, because nobody here knows what time it is.
pub fn verify(note: &str, keys: &[CosignerKey]) -> Result<Vec<Cosignature>, BadNote> {
    let (text, lines) = note::split(note)?;
    let mut found = Vec::new();
    for key in keys {
        let mut latest = None;
        for line in lines.iter().filter(|line| key.is_of(line)) {
            latest = latest.max(Some(time_of(key, line, text)?));
        }
        found
            .extend(latest.map(|time_secs| Cosignature { name: key.name().to_owned(), time_secs }));
    }
    Ok(found)
}

/// The note with those of `lines` added that `keys` signed; what the same key had put there before goes.
///
/// `lines`: signature lines, as [`Cosigner::cosign`] makes them and a witness answers them. Those of unknown keys are left out.
///
/// # Errors
/// As [`verify`]; also if note and lines together are more than a note may hold.
pub fn add(note: &str, lines: &str, keys: &[CosignerKey]) -> Result<String, BadNote> {
    let (text, had) = note::split(note)?;
    let mut coming = Vec::new();
    for line in note::signature_lines(lines)? {
        //= C2SP tlog-witness: the client ignores cosignatures of unknown keys
        let Some(key) = keys.iter().find(|key| key.is_of(&line)) else { continue };
        time_of(key, &line, text)?;
        coming.push(line);
    }
    let stays = |line: &&note::Line<'_>| {
        !coming.iter().any(|new| new.name == line.name && new.id == line.id)
    };
    let lines = had.iter().filter(stays).chain(&coming);
    let note = lines.fold(format!("{text}\n"), |note, line| note + line.line + "\n");
    note::split(&note)?;
    Ok(note)
}

/// The time of one line, if it holds.
fn time_of(key: &CosignerKey, line: &note::Line<'_>, text: &str) -> Result<u64, BadNote> {
    let (time, signature) = line.signature.split_first_chunk().ok_or(BadNote::Forged)?;
    let time_secs = u64::from_be_bytes(*time);
    //= C2SP tlog-cosignature: the timestamp is at most 2^63 - 1
    let possible = i64::try_from(time_secs).is_ok();
    if possible && key.0.verify(message(time_secs, text).as_bytes(), signature) {
        Ok(time_secs)
    } else {
        Err(BadNote::Forged)
    }
}

//= C2SP tlog-cosignature: header line, time line, then the whole note text, its last line feed included
fn message(time_secs: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_secs}\n{text}")
}

#[cfg(test)]
mod tests;
