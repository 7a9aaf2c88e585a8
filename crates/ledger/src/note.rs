//! Signed notes (C2SP signed-note) with Ed25519 keys of type 0x01: the form of checkpoints.
//!
//! Cosignatures are of another type of key and have their own module, [`crate::cosign`]; here their lines are read over as unknown keys' are.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use thiserror::Error;

/// Longest note that is read, in bytes.
pub const BYTES_MAX: usize = 64 * 1024;

/// Most signature lines that are read. C2SP signed-note asks for at least 16.
pub const SIGNATURES_MAX: usize = 100;

/// Type of the keys of logs.
const ED25519_TYPE: u8 = 0x01;

/// A note that does not prove what it says. Whoever shows it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadNote {
    /// Not a text, a blank line and signature lines.
    #[error("the note is not of the format: {0}")]
    Malformed(&'static str),
    /// No line is of a known key.
    #[error("the note is not signed by any of the given keys")]
    NotSigned,
    /// A line of a known key does not verify.
    #[error("a signature on the note is forged")]
    Forged,
}

/// A text that is not a key of the form `name+id+key`. Who typed it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a key of the form `name+id+base64`")]
pub struct NotAKey;

/// What a log signs its checkpoints and receipts with.
pub struct SigningKey {
    name: String,
    id: [u8; 4],
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key named `name` with this 32-byte Ed25519 seed (RFC 8032 private key).
    ///
    /// # Errors
    /// [`NotAKey`] if the name is not one of visible ASCII without `+`, `"` and `\`: receipts put it in a header.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NotAKey> {
        Self::of_type(ED25519_TYPE, name, seed)
    }

    pub(crate) fn of_type(key_type: u8, name: &str, seed: &[u8; 32]) -> Result<Self, NotAKey> {
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'+' | b'"' | b'\\');
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(NotAKey);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NotAKey)?;
        let id = key_id(key_type, name, pair.public_key().as_ref());
        Ok(Self { name: name.to_owned(), id, pair })
    }

    /// The key's name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the hash of name, type and public key.
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public half.
    ///
    /// # Errors
    /// None in practice: a key pair has a public key of 32 bytes.
    pub fn verifying_key(&self) -> Result<VerifyingKey, NotAKey> {
        let public = self.pair.public_key().as_ref().try_into().map_err(|_| NotAKey)?;
        Ok(VerifyingKey { name: self.name.clone(), id: self.id, public })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        for (to, from) in out.iter_mut().zip(self.pair.sign(message).as_ref()) {
            *to = *from;
        }
        out
    }

    /// Signs `text`, which must end in a line feed and hold no other control character.
    ///
    /// # Panics
    /// If it does not: it would be a note that nobody can open.
    pub fn sign_note(&self, text: &str) -> String {
        assert!(text.ends_with('\n'), "a note's text ends in a line feed");
        assert!(is_clean(text), "a note's text holds no control character");
        format!("{text}\n{}", self.line(&self.sign(text.as_bytes())))
    }

    /// The line that carries this signature of ours.
    pub(crate) fn line(&self, signature: &[u8]) -> String {
        let blob = BASE64.encode([&self.id[..], signature].concat());
        format!("\u{2014} {} {blob}\n", self.name)
    }
}

/// What a log's checkpoints and receipts are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifyingKey {
    /// The Ed25519 public key of the log `name`.
    ///
    /// # Errors
    /// [`NotAKey`] if the name is empty or holds white space or `+`.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NotAKey> {
        Self::of_type(ED25519_TYPE, name, public)
    }

    fn of_type(key_type: u8, name: &str, public: [u8; 32]) -> Result<Self, NotAKey> {
        if !is_key_name(name) {
            return Err(NotAKey);
        }
        Ok(Self { name: name.to_owned(), id: key_id(key_type, name, &public), public })
    }

    /// Reads `name+id+base64(type and key)`, the form of C2SP signed-note.
    ///
    /// # Errors
    /// [`NotAKey`] also if the id is not the key's.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        Self::parse_type(ED25519_TYPE, text)
    }

    pub(crate) fn parse_type(key_type: u8, text: &str) -> Result<Self, NotAKey> {
        let mut parts = text.splitn(3, '+');
        let (name, id, key) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(id), Some(key)) => (name, id, key),
            _ => return Err(NotAKey),
        };
        let key = BASE64.decode(key).map_err(|_| NotAKey)?;
        let (&found, public) = key.split_first().ok_or(NotAKey)?;
        if found != key_type {
            return Err(NotAKey);
        }
        let key = Self::of_type(key_type, name, public.try_into().map_err(|_| NotAKey)?)?;
        if id == hex(&key.id) { Ok(key) } else { Err(NotAKey) }
    }

    /// The key's name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the hash of name, type and public key.
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }

    pub(crate) fn write(&self, key_type: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode([&[key_type][..], &self.public].concat());
        write!(f, "{}+{}+{key}", self.name, hex(&self.id))
    }
}

impl fmt::Display for VerifyingKey {
    /// The form that [`VerifyingKey::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(ED25519_TYPE, f)
    }
}

/// A note's text and which of the given keys signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// What is signed, its last line feed included.
    pub text: &'a str,
    /// The keys that signed, in the order of their lines, each once.
    pub signers: Vec<&'a VerifyingKey>,
}

/// Opens a note that at least one of `keys` signed. Lines of other keys are read over.
///
/// # Errors
/// [`BadNote`]: whoever shows it is at fault.
///
/// Source: C2SP signed-note. Deviation: at most [`BYTES_MAX`] bytes and [`SIGNATURES_MAX`] lines.
pub fn open<'a>(note: &'a str, keys: &'a [VerifyingKey]) -> Result<Opened<'a>, BadNote> {
    let (text, lines) = split(note)?;
    let mut signers: Vec<&VerifyingKey> = Vec::new();
    for Line { name, id, signature, .. } in lines {
        let Some(key) = keys.iter().find(|key| key.name == name && key.id == id) else { continue };
        if signers.contains(&key) {
            continue;
        }
        //= C2SP signed-note: a known key's signature that does not verify spoils the note
        if !key.verify(text.as_bytes(), &signature) {
            return Err(BadNote::Forged);
        }
        signers.push(key);
    }
    if signers.is_empty() { Err(BadNote::NotSigned) } else { Ok(Opened { text, signers }) }
}

/// One signature line, not checked.
pub(crate) struct Line<'a> {
    /// The line itself, without its line feed.
    pub(crate) line: &'a str,
    pub(crate) name: &'a str,
    pub(crate) id: [u8; 4],
    /// What follows the key's id.
    pub(crate) signature: Vec<u8>,
}

/// A note's text, its last line feed included, and its signature lines, of which there is at least one.
pub(crate) fn split(note: &str) -> Result<(&str, Vec<Line<'_>>), BadNote> {
    if note.len() > BYTES_MAX {
        return Err(BadNote::Malformed("it is too long"));
    }
    if !is_clean(note) {
        return Err(BadNote::Malformed("it holds a control character"));
    }
    //= C2SP signed-note: the text may hold blank lines; the last one ends it
    let split = note.rfind("\n\n").ok_or(BadNote::Malformed("no blank line"))?;
    let (text, lines) = note.split_at(split + 1);
    Ok((text, signature_lines(lines.strip_prefix('\n').unwrap_or(lines))?))
}

/// Reads signature lines, each ended by a line feed.
pub(crate) fn signature_lines(lines: &str) -> Result<Vec<Line<'_>>, BadNote> {
    let lines = lines.strip_suffix('\n').ok_or(BadNote::Malformed("no line feed at the end"))?;
    if lines.split('\n').count() > SIGNATURES_MAX {
        return Err(BadNote::Malformed("too many signatures"));
    }
    lines.split('\n').map(signature_line).collect()
}

fn signature_line(line: &str) -> Result<Line<'_>, BadNote> {
    let wrong = BadNote::Malformed("a signature line is not `\u{2014} name base64`");
    let (name, blob) =
        line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(wrong)?;
    let blob = BASE64.decode(blob).map_err(|_| wrong)?;
    let (id, signature) = blob.split_first_chunk().ok_or(wrong)?;
    if !is_key_name(name) || signature.is_empty() {
        return Err(wrong);
    }
    Ok(Line { line, name, id: *id, signature: signature.to_vec() })
}

//= C2SP signed-note: the key ID is the first four bytes of SHA-256(name, 0x0A, type, key)
fn key_id(key_type: u8, name: &str, public: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = crate::domain::sha256_of(&[name.as_bytes(), b"\n", &[key_type], public]);
    [a, b, c, d]
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

fn is_clean(text: &str) -> bool {
    !text.bytes().any(|b| b < 0x20 && b != b'\n')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A decimal number without sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
