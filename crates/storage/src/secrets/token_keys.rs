//! The keys that sign and verify access tokens, and how one takes the place of another while tokens are issued.
//!
//! 1. [`TokenKeys::stage`], from another process: the next key is on the disk and does nothing.
//! 2. [`TokenKeys::take_over`], when the node is told to: the next key is published. It signs nothing until everybody had time to learn it.
//! 3. [`TokenKeys::advance`], when that time is over: it signs. The former one is destroyed; its public half verifies until the last token
//!    that it signed has ended.
//!
//! Each step is durable before it is in use, and [`TokenKeys::open`] ends one that was broken off. A key that was stolen is replaced in one
//! step, and what it signed is not accepted any more.

use super::{BadSecret, KeyFiles};
use credential::token::LIFETIME;
use credential::{Algorithm, PublicKey, SigningKey};
use model::{Micros, UnixMicros};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Signs.
const SIGNS: &str = "token.key";
/// Is to sign: the key's 32 bytes, then seconds between publishing and signing (4, big-endian), then 1 if the former key was stolen.
const NEXT: &str = "token.next.key";
/// How far the rotation is, and which former keys verify.
const ROTATION: &str = "token.rotation";
const NEXT_BYTES: usize = 37;

/// How much longer than its last token a former key verifies: requests that were under way when it ceased to sign, clocks that differ.
const MARGIN: Micros = Micros::from_secs(60);

/// Token keys as they stand.
#[derive(Clone, Debug)]
pub struct InUse {
    /// Signs.
    pub signing: Arc<SigningKey>,
    /// Verify, by `kid`; the one that signs is among them.
    pub published: BTreeMap<String, PublicKey>,
}

/// The token keys of one data directory, in the hands of the node that has it open.
pub struct TokenKeys {
    files: Arc<KeyFiles>,
    signing: Arc<SigningKey>,
    next: Option<Next>,
    retired: Vec<Retired>,
}

struct Next {
    secret: Zeroizing<[u8; 32]>,
    key: Arc<SigningKey>,
    signs_from: UnixMicros,
    former_is_stolen: bool,
}

struct Retired {
    public: PublicKey,
    until: UnixMicros,
}

/// [`ROTATION`], version 1. Sealed like a secret: whoever could add a key to it could issue tokens.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationFile {
    version: u8,
    next: Option<NextFile>,
    retired: Vec<RetiredFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NextFile {
    kid: String,
    signs_from: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiredFile {
    jwk: String,
    until: u64,
}

impl TokenKeys {
    /// Puts a next key on the disk, for the node to take over. `overlap_seconds`: how long it is to be published before it signs.
    /// `former_is_stolen`: it signs at once, and the former one verifies nothing. Returns its `kid`.
    ///
    /// # Errors
    /// [`BadSecret::UnderWay`] if there is one, unless the former key is stolen; [`BadSecret::Disk`].
    pub fn stage(
        files: &KeyFiles,
        secret: &[u8; 32],
        overlap_seconds: u32,
        former_is_stolen: bool,
    ) -> Result<String, BadSecret> {
        if !former_is_stolen && files.exists(NEXT)? {
            return Err(BadSecret::UnderWay(NEXT.to_owned()));
        }
        let kid = signing_key(NEXT, secret)?.public().thumbprint_text();
        let last = [u8::from(former_is_stolen)];
        let file = Zeroizing::new([&secret[..], &overlap_seconds.to_be_bytes(), &last].concat());
        files.replace(NEXT, &file)?;
        Ok(kid)
    }

    /// Reads them, and goes on with a rotation that a stop or a crash has interrupted.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn open(files: Arc<KeyFiles>, now: UnixMicros) -> Result<Self, BadSecret> {
        let signing = Arc::new(signing_key(SIGNS, &*files.read_key(SIGNS)?)?);
        let (rotation, retired) = read_rotation(&files)?;
        let mut keys = Self { files, signing, next: None, retired };
        keys.take_over_from(rotation, now)?;
        keys.advance(now)?;
        Ok(keys)
    }

    /// Publishes the next key, if another process staged one. Whether there was one.
    ///
    /// # Errors
    /// [`BadSecret`]; everything is then as it was.
    pub fn take_over(&mut self, now: UnixMicros) -> Result<bool, BadSecret> {
        let published =
            self.next.as_ref().map(|next| (next.key.public().thumbprint_text(), next.signs_from));
        let before = published.as_ref().map(|(kid, _)| kid.clone());
        self.take_over_from(published, now)?;
        Ok(self.next.as_ref().map(|next| next.key.public().thumbprint_text()) != before)
    }

    /// Does what is due. Whether anything changed.
    ///
    /// # Errors
    /// [`BadSecret`]; what is in use is then as it was, and it is due still.
    pub fn advance(&mut self, now: UnixMicros) -> Result<bool, BadSecret> {
        let mut changed = false;
        if self.next.as_ref().is_some_and(|next| next.signs_from <= now) {
            self.switch(now)?;
            changed = true;
        }
        if self.retired.iter().any(|retired| retired.until <= now) {
            self.retired.retain(|retired| now < retired.until);
            self.write_rotation()?;
            changed = true;
        }
        Ok(changed)
    }

    /// What signs and what verifies.
    pub fn in_use(&self) -> InUse {
        let retired = self.retired.iter().map(|retired| &retired.public);
        let next = self.next.as_ref().map(|next| next.key.public());
        let all = retired.chain(next).chain([self.signing.public()]);
        let published = all.map(|key| (key.thumbprint_text(), key.clone())).collect();
        InUse { signing: Arc::clone(&self.signing), published }
    }

    /// The `kid` of the key that is published and does not sign yet, and from when on it does.
    pub fn next(&self) -> Option<(String, UnixMicros)> {
        self.next.as_ref().map(|next| (next.key.public().thumbprint_text(), next.signs_from))
    }

    /// `published`: the key that is published, and when it is to sign.
    fn take_over_from(
        &mut self,
        published: Option<(String, UnixMicros)>,
        now: UnixMicros,
    ) -> Result<(), BadSecret> {
        let Some(staged) = self.files.read_key_if_there::<NEXT_BYTES>(NEXT)? else {
            return Ok(());
        };
        let (secret, rest) = staged.split_first_chunk().ok_or_else(|| other_form(NEXT))?;
        let (overlap, last) = rest.split_first_chunk().ok_or_else(|| other_form(NEXT))?;
        let key = signing_key(NEXT, secret)?;
        let kid = key.public().thumbprint_text();
        if kid == self.signing.public().thumbprint_text() {
            // It signs; a crash came before its files said so.
            self.next = None;
            self.write_rotation()?;
            return self.files.remove(NEXT);
        }
        let known = published.filter(|(published, _)| *published == kid);
        let former_is_stolen = last == [1];
        let overlap = if former_is_stolen { 0 } else { u32::from_be_bytes(*overlap) };
        let signs_from =
            known.as_ref().map_or(now + Micros::from_secs(overlap.into()), |(_, from)| *from);
        let next = Next {
            secret: Zeroizing::new(*secret),
            key: Arc::new(key),
            signs_from,
            former_is_stolen,
        };
        let former = self.next.replace(next);
        if known.is_none()
            && let Err(failed) = self.write_rotation()
        {
            // Published is what a restart would publish.
            self.next = former;
            return Err(failed);
        }
        Ok(())
    }

    fn switch(&mut self, now: UnixMicros) -> Result<(), BadSecret> {
        let Some(next) = &self.next else { return Ok(()) };
        let kid = self.signing.public().thumbprint_text();
        self.retired.retain(|retired| retired.public.thumbprint_text() != kid);
        if next.former_is_stolen {
            // What the keys before it signed ends with it: nobody knows since when it was in other hands.
            self.retired.clear();
        } else {
            // INVARIANT: a key verifies for as long as a token that it signed may live. It signs until this function returns.
            let until = now + LIFETIME + MARGIN;
            self.retired.push(Retired { public: self.signing.public().clone(), until });
        }
        self.write_rotation()?;
        self.files.replace(SIGNS, &*next.secret)?;
        // From here on a restart signs with it, so it signs, whatever becomes of the rest.
        self.signing = Arc::clone(&next.key);
        self.next = None;
        self.write_rotation()?;
        self.files.remove(NEXT)
    }

    fn write_rotation(&self) -> Result<(), BadSecret> {
        let next = self.next.as_ref().map(|next| NextFile {
            kid: next.key.public().thumbprint_text(),
            signs_from: next.signs_from.secs(),
        });
        let retired = self.retired.iter().map(|retired| RetiredFile {
            jwk: retired.public.canonical_jwk().to_owned(),
            until: retired.until.secs(),
        });
        let file = RotationFile { version: 1, next, retired: retired.collect() };
        // Strings and numbers always serialise.
        self.files.replace(ROTATION, &serde_json::to_vec(&file).unwrap_or_default())
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({:?})", self.in_use().published.keys())
    }
}

/// What is published and does not sign yet, and since when; and what signs no more.
type Rotation = (Option<(String, UnixMicros)>, Vec<Retired>);

fn read_rotation(files: &KeyFiles) -> Result<Rotation, BadSecret> {
    let Some(file) = files.read_if_there(ROTATION)? else { return Ok((None, Vec::new())) };
    let file: RotationFile = serde_json::from_slice(&file).map_err(|_| other_form(ROTATION))?;
    if file.version != 1 {
        return Err(other_form(ROTATION));
    }
    let retired = |file: RetiredFile| {
        let public = PublicKey::from_jwk(&file.jwk).map_err(|_| other_form(ROTATION))?;
        Ok(Retired { public, until: UnixMicros::from_secs(file.until) })
    };
    let retired = file.retired.into_iter().map(retired).collect::<Result<_, BadSecret>>()?;
    let next = file.next.map(|next| (next.kid, UnixMicros::from_secs(next.signs_from)));
    Ok((next, retired))
}

fn signing_key(name: &str, secret: &[u8; 32]) -> Result<SigningKey, BadSecret> {
    let der = SigningKey::pkcs8(Algorithm::EdDsa, *secret).map(Zeroizing::new);
    let der = der.ok_or_else(|| other_form(name))?;
    SigningKey::from_pkcs8(&der).map_err(|_| other_form(name))
}

fn other_form(name: &str) -> BadSecret {
    BadSecret::OtherForm {
        name: name.to_owned(),
        what: "of the form that `docs/key-files.md` gives it",
    }
}
