//! The posture register of a single node: one file that only grows, read back whole at start.
//!
//! Frame: length (u32, big-endian), CRC32C of the entry (u32, big-endian), entry. The file is zero-filled ahead of use,
//! so that a sever still finds its place when the disk is full. A frame of length zero ends it.

use model::UnixMicros;
use sever::{Authority, Change, Entry, NotTaken, Posture};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// How far ahead the file is filled with zeros: some 2,000 entries.
const AHEAD: u64 = 1 << 20;

/// The posture file of one node, open for appending. One writer: the file is locked.
#[derive(Debug)]
pub struct PostureRegister {
    file: File,
    /// Where the next frame goes: the end of what is durable.
    end: u64,
    /// Frames that could not be written yet, in order; they go before any later one.
    unwritten: Vec<u8>,
    filled: u64,
    posture: Posture,
}

/// Why the register cannot be opened or extended. The operator must act; see the message.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The operating system said no.
    #[error("cannot use the posture file `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A frame in the middle does not check out.
    #[error(
        "the posture file is damaged at byte {offset}: restore it from a copy, or from the posture records of the ledger"
    )]
    Corrupt {
        /// Where.
        offset: u64,
    },
    /// An entry does not follow the one before it.
    #[error("the posture file does not hold one chain")]
    Chain(#[from] NotTaken),
}

impl PostureRegister {
    /// Opens `directory`/register, creating it if it is not there, and reads the chain.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing is changed then.
    pub fn open(directory: &Path) -> Result<Self, RegisterError> {
        let path = directory.join("register");
        let at = |source| RegisterError::Io { path: path.clone(), source };
        std::fs::create_dir_all(directory).map_err(at)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at)?;
        file.try_lock().map_err(|held| at(held.into()))?;
        let bytes = std::fs::read(&path).map_err(at)?;
        let (posture, end) = read_chain(&bytes)?;
        let filled = bytes.len() as u64;
        let mut register = Self { file, end, unwritten: Vec::new(), filled, posture };
        register.fill_ahead().map_err(at)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at)?;
        Ok(register)
    }

    /// Posture as the file has it.
    pub const fn posture(&self) -> &Posture {
        &self.posture
    }

    /// The next entry of the chain, which posture follows from here on. It is durable once [`PostureRegister::store`] succeeds.
    ///
    /// Two steps, so that a node can cut before it waits for a disk.
    ///
    /// # Errors
    /// [`NotTaken`] if the change widens on too few words.
    pub fn next(
        &mut self,
        change: Change,
        reason: &str,
        authority: Authority,
        now: UnixMicros,
    ) -> Result<Entry, NotTaken> {
        let entry = self.posture.next_entry(change, reason, authority, now);
        self.posture.apply(&entry)?;
        self.unwritten.extend(frame(&entry.to_bytes()));
        Ok(entry)
    }

    /// Makes every entry durable that is not yet.
    ///
    /// # Errors
    /// The disk's own error. The entries stay in memory and go first at the next attempt.
    pub fn store(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.unwritten, self.end)?;
        self.file.sync_data()?;
        self.end += self.unwritten.len() as u64;
        self.unwritten.clear();
        // Failing to fill further ahead matters only once what is filled is used up; writing then grows the file.
        let _later = self.fill_ahead();
        Ok(())
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        if self.filled >= self.end + AHEAD / 2 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(AHEAD).unwrap_or(0)];
        let from = self.filled.max(self.end);
        self.file.write_all_at(&zeros, from)?;
        self.file.sync_all()?;
        self.filled = from + AHEAD;
        Ok(())
    }
}

fn frame(entry: &[u8]) -> Vec<u8> {
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(crc32c::crc32c(entry).to_be_bytes());
    frame.extend(entry);
    frame
}

/// Reads frames up to the first length of zero, after which there must be nothing. A last frame that was torn by a crash is
/// dropped: its `sever` never returned.
fn read_chain(bytes: &[u8]) -> Result<(Posture, u64), RegisterError> {
    let mut posture = Posture::default();
    let mut at = 0;
    while let Some((length, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<4>) {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 {
            if rest.iter().any(|&byte| byte != 0) {
                return Err(RegisterError::Corrupt { offset: at as u64 });
            }
            break;
        }
        let entry = rest.split_first_chunk::<4>().and_then(|(crc, rest)| {
            let entry = rest.get(..length)?;
            (crc32c::crc32c(entry) == u32::from_be_bytes(*crc)).then_some(entry)
        });
        let Some(entry) = entry.and_then(|entry| Entry::from_bytes(entry).ok()) else {
            let after = bytes.get(at.saturating_add(8).saturating_add(length)..).unwrap_or(&[]);
            if after.iter().all(|&byte| byte == 0) {
                break;
            }
            return Err(RegisterError::Corrupt { offset: at as u64 });
        };
        posture.apply(&entry)?;
        at += 8 + length;
    }
    Ok((posture, at as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sever::Target;

    fn cut(register: &mut PostureRegister, n: u8) -> io::Result<()> {
        let change = Change::Sever(Target::Vendor(model::VendorId::from_bytes([n; 16])));
        let authority = Authority::Rule("test".into());
        register.next(change, "test", authority, UnixMicros(u64::from(n))).unwrap();
        register.store()
    }

    #[test]
    fn what_was_severed_stays_severed_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        cut(&mut register, 1).unwrap();
        cut(&mut register, 2).unwrap();
        let posture = register.posture().clone();
        assert!(PostureRegister::open(dir.path()).is_err(), "one writer at a time");
        drop(register);
        let mut register = PostureRegister::open(dir.path()).unwrap();
        assert_eq!(*register.posture(), posture);
        cut(&mut register, 3).unwrap();
    }

    #[test]
    fn a_torn_tail_is_dropped_and_damage_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        for n in 1..=3 {
            cut(&mut register, n).unwrap();
        }
        let end = usize::try_from(register.end).unwrap();
        drop(register);
        let path = dir.path().join("register");
        let whole = std::fs::read(&path).unwrap();

        let mut torn = whole.clone();
        torn[end - 5..end].fill(0);
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(PostureRegister::open(dir.path()).unwrap().posture().number(), 2);

        let mut damaged = whole;
        damaged[20] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(
            PostureRegister::open(dir.path()),
            Err(RegisterError::Corrupt { offset: 0 })
        ));
    }

    #[test]
    fn an_entry_that_could_not_be_written_goes_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        cut(&mut register, 1).unwrap();
        let writable = register.file.try_clone().unwrap();
        register.file = File::open(dir.path().join("register")).unwrap();
        assert!(cut(&mut register, 2).is_err(), "a file that cannot be written");
        register.file = writable;
        cut(&mut register, 3).unwrap();
        let posture = register.posture().clone();
        drop(register);
        assert_eq!(*PostureRegister::open(dir.path()).unwrap().posture(), posture);
    }

    #[test]
    fn bytes_behind_the_end_are_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        cut(&mut register, 1).unwrap();
        register.file.write_all_at(b"x", register.end + 100).unwrap();
        drop(register);
        assert!(matches!(PostureRegister::open(dir.path()), Err(RegisterError::Corrupt { .. })));
    }
}
