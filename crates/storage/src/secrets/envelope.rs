//! The form of a secret file at rest: AES-256-GCM under a key that is kept elsewhere, bound to the file's name. `docs/key-files.md`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fmt;
use zeroize::Zeroizing;

/// What every version begins with. A secret that is kept in the clear never does: keys are random, everything else is text.
const MAGIC: &[u8] = b"PCKEY\0\0";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 36;
const TAG_BYTES: usize = 16;

/// Names a sealing key and says nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that secret files are sealed under. `Debug` prints its name.
pub struct SealingKey {
    id: KeyId,
    key: LessSafeKey,
}

impl SealingKey {
    /// Of 32 random bytes. What encrypts and what names the key are derived from them, each for itself.
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let derive = |label: &[u8]| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), label);
            Zeroizing::new(tag.as_ref().to_vec())
        };
        let id = derive(b"portcullis/sealing-key-id/1").first_chunk().copied()?;
        let key = UnboundKey::new(&AES_256_GCM, &derive(b"portcullis/sealing-key/1")).ok()?;
        Some(Self { id: KeyId(id), key: LessSafeKey::new(key) })
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

/// What a sealed file says of itself without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is sealed under.
    pub key: KeyId,
    /// When the secret was made, Unix seconds; kept when the file is written again.
    pub made: u64,
}

/// Why a sealed file does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Of a later version, or cut short.
    #[error("is not a sealed file that this version reads")]
    Form,
    /// Sealed, and there is no key.
    #[error(
        "is sealed under key {0}, and `[secrets]` in portcullis.toml names none: have it name where that key comes from"
    )]
    NoKey(KeyId),
    /// Sealed under another key than there is.
    #[error(
        "is sealed under key {sealed}, and `[secrets]` gives key {given}: have it give {sealed}; or, if {given} is to take its place, name {sealed} \
         in `[secrets.former]` and run `portcullis keys rewrap`"
    )]
    OtherKey {
        /// What it is sealed under.
        sealed: KeyId,
        /// What there is.
        given: KeyId,
    },
    /// It was changed, or another file has its name.
    #[error("was changed, or is another file under this name: restore it")]
    Changed,
    /// In the clear, where everything is sealed.
    #[error(
        "is in the clear, and everything else here is sealed: if you put it there, run `portcullis keys seal`; if not, somebody else did"
    )]
    Clear,
}

/// What a file says of itself; `None` if it is in the clear.
///
/// # Errors
/// [`NotOpened::Form`].
pub fn header(file: &[u8]) -> Result<Option<Header>, NotOpened> {
    let Some(rest) = file.strip_prefix(MAGIC) else { return Ok(None) };
    let (&version, rest) = rest.split_first().ok_or(NotOpened::Form)?;
    let (key, rest) = rest.split_first_chunk().ok_or(NotOpened::Form)?;
    let (made, rest) = rest.split_first_chunk().ok_or(NotOpened::Form)?;
    if version != VERSION || rest.len() < HEADER_BYTES - 24 + TAG_BYTES {
        return Err(NotOpened::Form);
    }
    Ok(Some(Header { key: KeyId(*key), made: u64::from_be_bytes(*made) }))
}

/// Seals a secret as the file `name`, a path below `keys/`. `None` if the system has no randomness.
pub(super) fn seal(key: &SealingKey, name: &str, made: u64, secret: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; 12];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let mut file = [MAGIC, &[VERSION], &key.id.0, &made.to_be_bytes(), &nonce].concat();
    let aad = Aad::from([&file, name.as_bytes()].concat());
    let mut text = Zeroizing::new(secret.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.key.seal_in_place_separate_tag(nonce, aad, &mut text).ok()?;
    file.extend_from_slice(&text);
    file.extend_from_slice(tag.as_ref());
    Some(file)
}

/// Opens what [`seal`] made under this name.
pub(super) fn open(
    key: &SealingKey,
    name: &str,
    file: &[u8],
) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let (header, sealed) = file.split_at_checked(HEADER_BYTES).ok_or(NotOpened::Form)?;
    let nonce = header.last_chunk::<12>().ok_or(NotOpened::Form)?;
    let aad = Aad::from([header, name.as_bytes()].concat());
    let mut text = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length =
        key.key.open_in_place(nonce, aad, &mut text).map_err(|_| NotOpened::Changed)?.len();
    text.truncate(length);
    Ok(text)
}
