//! The secret files of a node, below `keys/`: in the clear, or each sealed under a key that is kept elsewhere.
//!
//! Which of the two is the configuration's to say, not the file's: with a sealing key a file in the clear is refused, so that nobody who can
//! write to the disk puts a key of theirs in place of ours. Only while [`KeyFiles::seal_all`] is at work are the files that it names in its
//! own, sealed, note taken as they are. Start reading at [`KeyFiles`].

mod envelope;
pub mod private;
mod token_keys;

pub use envelope::{Header, KeyId, NotOpened, SealingKey, header};
pub use token_keys::{InUse, TokenKeys};

use crate::clock;
use crate::embedded::disk::{KeepSynced, LocalDisk, SyncedFile};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The directory of secrets.
pub const DIR: &str = "keys";

/// Folders below it that secrets of the node are in. `operators/` is not one: those keys belong to people, who take them elsewhere.
const FOLDERS: [&str; 2] = ["", "recipients/"];

/// How the names of files end that anybody may read, unless there is a private key in them.
const PUBLIC_ENDS: [&str; 4] = ["pub", "pem", "crt", "cer"];

/// How a file ends that is being written and has not got its name.
const TEMPORARY: &str = ".tmp";

/// Names the files that are being sealed, one a line; itself sealed.
const SEALING: &str = "sealing";

/// What files are sealed under: nothing, or a key, and beside it the one that it takes the place of.
#[derive(Debug, Default)]
pub struct Ring {
    /// Seals; without it everything is in the clear.
    pub current: Option<SealingKey>,
    /// Only opens.
    pub former: Option<SealingKey>,
}

/// Why a secret file cannot be used. The operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    /// The file system refused.
    #[error("`{DIR}/{name}` cannot be used")]
    Disk {
        /// The file, below `keys/`.
        name: String,
        /// What it said.
        source: io::Error,
    },
    /// It does not open.
    #[error("`{DIR}/{name}` {why}")]
    NotOpened {
        /// The file, below `keys/`.
        name: String,
        /// Why.
        why: NotOpened,
    },
    /// It opens and is something else.
    #[error("`{DIR}/{name}` is not {what}")]
    OtherForm {
        /// The file, below `keys/`.
        name: String,
        /// What it should be.
        what: &'static str,
    },
    /// Nothing to seal under.
    #[error("`[secrets]` in portcullis.toml names no key to seal under")]
    NoKey,
    /// The rotation before has not ended.
    #[error("`{DIR}/{0}` is there: a rotation is under way")]
    UnderWay(String),
}

impl Ring {
    /// A file's content under `name`, below `keys/`.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn content(&self, name: &str, secret: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.content_made(name, clock::unix_now().secs(), secret)
    }

    fn content_made(&self, name: &str, made: u64, secret: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let Some(key) = &self.current else { return Ok(Zeroizing::new(secret.to_vec())) };
        let sealed = envelope::seal(key, name, made, secret);
        let sealed = sealed.ok_or_else(|| io::Error::other("the system gave no random bytes"))?;
        Ok(Zeroizing::new(sealed))
    }

    fn open(&self, name: &str, file: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let file = Zeroizing::new(file);
        let Some(header) = header(&file)? else {
            return if self.current.is_none() { Ok(file) } else { Err(NotOpened::Clear) };
        };
        let given = self.current.as_ref().ok_or(NotOpened::NoKey(header.key))?;
        let keys = [Some(given), self.former.as_ref()].into_iter().flatten();
        let key = keys.into_iter().find(|key| key.id() == header.key);
        let key = key.ok_or(NotOpened::OtherKey { sealed: header.key, given: given.id() })?;
        envelope::open(key, name, &file)
    }
}

/// The secret files of one data directory. Names are paths below `keys/`.
pub struct KeyFiles {
    disk: Arc<dyn KeepSynced>,
    ring: Arc<Ring>,
}

impl KeyFiles {
    /// Of an open data directory.
    pub fn new(disk: Arc<dyn KeepSynced>, ring: Ring) -> Self {
        Self { disk, ring: Arc::new(ring) }
    }

    /// Of the data directory at `data`, in the file system.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn local(data: &Path, ring: Ring) -> io::Result<Self> {
        Ok(Self::new(Arc::new(LocalDisk::new(data)?), ring))
    }

    /// What they are sealed under.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    /// [`BadSecret::Disk`].
    pub fn exists(&self, name: &str) -> Result<bool, BadSecret> {
        Ok(self.bytes(name)?.is_some())
    }

    /// The secret.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, BadSecret> {
        self.read_if_there(name)?.ok_or_else(|| disk(name)(ErrorKind::NotFound.into()))
    }

    /// A secret of a certain length.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn read_key<const N: usize>(&self, name: &str) -> Result<Zeroizing<[u8; N]>, BadSecret> {
        self.read_key_if_there(name)?.ok_or_else(|| disk(name)(ErrorKind::NotFound.into()))
    }

    /// A secret of a certain length, if there is such a file.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn read_key_if_there<const N: usize>(
        &self,
        name: &str,
    ) -> Result<Option<Zeroizing<[u8; N]>>, BadSecret> {
        let Some(secret) = self.read_if_there(name)? else { return Ok(None) };
        let key = <[u8; N]>::try_from(&**secret).map_err(|_| BadSecret::OtherForm {
            name: name.to_owned(),
            what: "a key: its length is another",
        })?;
        Ok(Some(Zeroizing::new(key)))
    }

    /// The secret, if there is such a file.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn read_if_there(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, BadSecret> {
        let Some(file) = self.bytes(name)? else { return Ok(None) };
        let is_clear = header(&file).is_ok_and(|header| header.is_none());
        if is_clear && self.ring.current.is_some() && self.being_sealed()?.iter().any(|n| n == name)
        {
            return Ok(Some(Zeroizing::new(file)));
        }
        let opened = self.ring.open(name, file);
        opened.map(Some).map_err(|why| BadSecret::NotOpened { name: name.to_owned(), why })
    }

    /// What a file says of itself without its key; `None` if it is in the clear.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn header(&self, name: &str) -> Result<Option<Header>, BadSecret> {
        let file = self.bytes(name)?.ok_or_else(|| disk(name)(ErrorKind::NotFound.into()))?;
        header(&file).map_err(|why| BadSecret::NotOpened { name: name.to_owned(), why })
    }

    /// Writes a secret in place of what is there, if anything: durably, and whole or not at all. What was there is overwritten.
    ///
    /// # Errors
    /// [`BadSecret::Disk`].
    pub fn replace(&self, name: &str, secret: &[u8]) -> Result<(), BadSecret> {
        let content = self.ring.content(name, secret).map_err(disk(name))?;
        self.put(name, &content)
    }

    /// Removes a file, durably, and overwrites what it was. In this order: a key of zeros is never found under its name.
    ///
    /// # Errors
    /// [`BadSecret::Disk`].
    pub fn remove(&self, name: &str) -> Result<(), BadSecret> {
        let path = path(name);
        let gone = || {
            let file = self.disk.open(&path)?;
            self.disk.remove(&path)?;
            self.disk.sync_dir(parent(&path))?;
            overwrite(&*file)
        };
        gone().map_err(disk(name))
    }

    /// The node's secret files. Not those of people, nor what is public: `.pub`, and certificates.
    ///
    /// # Errors
    /// [`BadSecret::Disk`].
    pub fn names(&self) -> Result<Vec<String>, BadSecret> {
        let mut secret = Vec::new();
        for name in self.listed()? {
            if name.ends_with(TEMPORARY) || name == SEALING {
                continue;
            }
            if self.bytes(&name)?.is_some_and(|file| !is_public(&name, &file)) {
                secret.push(name);
            }
        }
        Ok(secret)
    }

    /// Which of them are in the clear.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn clear(&self) -> Result<Vec<String>, BadSecret> {
        let mut clear = self.names()?;
        let mut failed = None;
        clear.retain(|name| match self.header(name) {
            Ok(header) => header.is_none(),
            Err(bad) => {
                failed.get_or_insert(bad);
                true
            }
        });
        failed.map_or(Ok(clear), Err)
    }

    /// Whether sealing was broken off.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn sealing_is_due(&self) -> Result<bool, BadSecret> {
        Ok(!self.being_sealed()?.is_empty())
    }

    /// Seals these files, which are in the clear. `made`: when each was made, Unix seconds.
    ///
    /// A crash leaves some sealed and some not, and a note of all of them: everything can be read, and doing it again ends it.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn seal_all(&self, names: &[String], made: &dyn Fn(&str) -> u64) -> Result<(), BadSecret> {
        if self.ring.current.is_none() {
            return Err(BadSecret::NoKey);
        }
        if names.is_empty() && self.bytes(SEALING)?.is_none() {
            return Ok(());
        }
        self.replace(SEALING, names.join("\n").as_bytes())?;
        for name in names {
            let clear = Zeroizing::new(self.bytes(name)?.unwrap_or_default());
            if header(&clear).is_ok_and(|header| header.is_some()) {
                continue;
            }
            let sealed = self.ring.content_made(name, made(name), &clear).map_err(disk(name))?;
            self.put(name, &sealed)?;
        }
        self.remove(SEALING)
    }

    /// Removes halves of secrets that a crash kept from getting their names. For a directory that no node has open.
    ///
    /// # Errors
    /// [`BadSecret::Disk`].
    pub fn remove_halves(&self) -> Result<(), BadSecret> {
        self.listed()?
            .iter()
            .filter(|name| name.ends_with(TEMPORARY))
            .try_for_each(|name| self.remove(name))
    }

    /// Seals everything that is under the former key under the current one. Whatever step a crash comes at, both keys together read everything,
    /// and doing it again ends it. Returns how many files were written.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn rewrap(&self) -> Result<usize, BadSecret> {
        let current = self.ring.current.as_ref().ok_or(BadSecret::NoKey)?.id();
        let mut names = self.names()?;
        if self.bytes(SEALING)?.is_some() {
            names.push(SEALING.to_owned());
        }
        let mut written = 0;
        for name in names {
            let Some(header) = self.header(&name)?.filter(|header| header.key != current) else {
                continue;
            };
            let secret = self.read(&name)?;
            let sealed = self.ring.content_made(&name, header.made, &secret);
            self.put(&name, &sealed.map_err(disk(&name))?)?;
            written += 1;
        }
        Ok(written)
    }

    fn listed(&self) -> Result<Vec<String>, BadSecret> {
        let mut names = Vec::new();
        for folder in FOLDERS {
            let listed = match self.disk.list(format!("{DIR}/{folder}").trim_end_matches('/')) {
                Err(none) if none.kind() == ErrorKind::NotFound => Vec::new(),
                listed => listed.map_err(disk(folder))?,
            };
            names.extend(listed.into_iter().map(|name| format!("{folder}{name}")));
        }
        Ok(names)
    }

    fn being_sealed(&self) -> Result<Vec<String>, BadSecret> {
        let Some(file) = self.bytes(SEALING)? else { return Ok(Vec::new()) };
        let names = self.ring.open(SEALING, file);
        let names = names.map_err(|why| BadSecret::NotOpened { name: SEALING.to_owned(), why })?;
        Ok(String::from_utf8_lossy(&names).lines().map(str::to_owned).collect())
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, BadSecret> {
        match self.disk.read(&path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(none) if none.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(disk(name)(source)),
        }
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<(), BadSecret> {
        let path = path(name);
        let put = || {
            let old = match self.disk.open(&path) {
                Err(none) if none.kind() == ErrorKind::NotFound => None,
                old => Some(old?),
            };
            self.disk.create_dir(parent(&path))?;
            self.disk.replace(&path, content)?;
            old.map_or(Ok(()), |old| overwrite(&*old))
        };
        put().map_err(disk(name))
    }
}

/// Writes zeros over a file that has no name any more. A medium that writes elsewhere, a snapshot and a backup still have what it was.
fn overwrite(file: &dyn SyncedFile) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
    file.write_at(0, &zeros)?;
    file.sync_data()
}

fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn disk(name: &str) -> impl FnOnce(io::Error) -> BadSecret {
    let name = name.to_owned();
    |source| BadSecret::Disk { name, source }
}

/// Whether anybody may read a file of this name and content.
fn is_public(name: &str, file: &[u8]) -> bool {
    let private = file.windows(11).any(|bytes| bytes == b"PRIVATE KEY");
    name.rsplit_once('.').is_some_and(|(_, end)| PUBLIC_ENDS.contains(&end))
        && !private
        && header(file).is_ok_and(|header| header.is_none())
}

#[cfg(test)]
mod tests;
