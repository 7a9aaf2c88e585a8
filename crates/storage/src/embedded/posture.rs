//! The posture register of a single node: one file that only grows, read back whole at start.
//!
//! Frame: length (u32, big-endian), CRC32C of the entry (u32, big-endian), entry. The file is zero-filled ahead of use,
//! so that a sever still finds its place when the disk is full. A frame of length zero ends it.
//!
//! Frames are written one by one, each synced before the next. So what a crash left of a write that was not acknowledged is at most one
//! frame, in any part and in any order of its pages; and where a whole frame of this chain stands behind a broken one, the broken one was
//! durable. That is how a torn tail is told from damage.
//!
//! What it cannot see by itself is a file that ends too early: an older copy, a last frame that rotted. The log has every change too, and
//! [`PostureRegister::follow`] holds one against the other.

use crate::embedded::disk::{FileIdentity, KeepSynced, LocalDisk, SyncedFile};
use model::UnixMicros;
use sever::{Authority, Change, Entry, NotTaken, Posture};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// How far ahead the file is filled with zeros: some 2,000 entries.
const AHEAD: u64 = 1 << 20;
/// The file in its directory.
const NAME: &str = "register";

/// The posture file of one node, open for appending. One writer: the file is locked.
pub struct PostureRegister {
    disk: Arc<dyn KeepSynced>,
    path: String,
    file: Arc<dyn SyncedFile>,
    identity: FileIdentity,
    _lock: Option<File>,
    /// Where the next frame goes: the end of what is durable.
    end: u64,
    /// Entries that could not be written yet, in order; they go before any later one.
    unwritten: VecDeque<Vec<u8>>,
    filled: u64,
    ahead: u64,
    /// Every entry, as stored.
    entries: Vec<Vec<u8>>,
    posture: Posture,
}

/// Why the register cannot be opened or extended. The operator must act; see the message.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The operating system said no.
    #[error("cannot use the posture file `{path}`")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// A frame in the middle does not check out.
    #[error(
        "the posture file is damaged at byte {offset}: restore it from a copy, or move it away, and it is made again from the posture records of the log"
    )]
    Corrupt {
        /// Where.
        offset: u64,
    },
    /// An entry does not follow the one before it.
    #[error("the posture file does not hold one chain")]
    Chain(#[from] NotTaken),
    /// The log has another entry of this number.
    #[error(
        "entry {number} of the posture file is not the one that the log has: one of the two is of another history. Restore the posture file and the segments of the same moment, the newest there are"
    )]
    OtherHistory {
        /// The entry's number.
        number: u64,
    },
    /// Entries are missing that the log has not either.
    #[error(
        "the posture file ends with entry {register} and the log goes on with entry {log}: the file is an older copy, and what is between is lost. Restore the newest copy of `posture/register`"
    )]
    OlderCopy {
        /// The last entry the register has.
        register: u64,
        /// The first one behind it that the log has.
        log: u64,
    },
}

/// How the register and the posture records of the log differed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// How many entries the register lacked, and took over from the log.
    pub taken_over: usize,
    /// Entries that the log lacks, to be recorded late.
    pub to_record: Vec<Vec<u8>>,
}

impl PostureRegister {
    /// Opens `directory`/register, creating it if it is not there, and reads the chain.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing is changed then.
    pub fn open(directory: &Path) -> Result<Self, RegisterError> {
        let path = directory.join(NAME).display().to_string();
        let at = |source| RegisterError::Io { path: path.clone(), source };
        let disk = Arc::new(LocalDisk::new(directory).map_err(at)?);
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(at)?;
        lock.try_lock().map_err(|held| at(held.into()))?;
        Ok(Self { _lock: Some(lock), ..Self::open_on(disk, "", AHEAD)? })
    }

    /// Opens the register in `directory` of any disk, which somebody else has locked, and fills it `ahead` bytes ahead of use.
    ///
    /// # Errors
    /// As [`PostureRegister::open`].
    pub fn open_on(
        disk: Arc<dyn KeepSynced>,
        directory: &str,
        ahead: u64,
    ) -> Result<Self, RegisterError> {
        let path =
            if directory.is_empty() { NAME.to_owned() } else { format!("{directory}/{NAME}") };
        let at = |source| RegisterError::Io { path: path.clone(), source };
        if !directory.is_empty() {
            disk.create_dir(directory).map_err(at)?;
        }
        let file = match disk.open(&path) {
            Err(none) if none.kind() == ErrorKind::NotFound => disk.create(&path, 0),
            opened => opened,
        };
        let file = file.map_err(at)?;
        let bytes = disk.read(&path).map_err(at)?;
        let Chain { posture, entries, last, end, torn } = read_chain(&bytes)?;
        let mut register = Self {
            identity: file.identity().map_err(at)?,
            file,
            _lock: None,
            end,
            unwritten: VecDeque::new(),
            filled: bytes.len() as u64,
            ahead,
            entries,
            posture,
            disk,
            path: path.clone(),
        };
        register.settle(&bytes, last, torn).map_err(at)?;
        match register.fill_ahead() {
            // On a full disk a node starts all the same: what is filled may still suffice.
            Err(full) if full.kind() == ErrorKind::StorageFull => {}
            filled => filled.map_err(at)?,
        }
        register.disk.sync_dir(directory).map_err(at)?;
        Ok(register)
    }

    /// Posture as the file has it.
    pub const fn posture(&self) -> &Posture {
        &self.posture
    }

    /// Every entry, as stored.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Holds the register against the posture records of the log, in any order, and takes over what only the log has.
    ///
    /// An entry is stored here before it is recorded there, so each can lack the other's last ones: this file where its disk refused
    /// them, or where an older copy was put in its place; the log where it had stopped, or the process died in between.
    ///
    /// # Errors
    /// [`RegisterError::OtherHistory`], [`RegisterError::OlderCopy`], [`RegisterError::Corrupt`] if the log's entry is none.
    pub fn follow(&mut self, recorded: &[Vec<u8>]) -> Result<Followed, RegisterError> {
        let mut log = BTreeMap::new();
        for bytes in recorded {
            let entry = Entry::from_bytes(bytes);
            let entry = entry.map_err(|_| RegisterError::OtherHistory { number: 0 })?;
            let number = entry.number;
            if let Some((_, other)) = log.insert(number, (entry, bytes))
                && other != bytes
            {
                return Err(RegisterError::OtherHistory { number });
            }
        }
        let mut followed = Followed::default();
        for (number, bytes) in (1..).zip(&self.entries) {
            match log.remove(&number) {
                Some((_, recorded)) if recorded != bytes => {
                    return Err(RegisterError::OtherHistory { number });
                }
                Some(_) => {}
                None => followed.to_record.push(bytes.clone()),
            }
        }
        for (number, (entry, bytes)) in log {
            let register = self.posture.number();
            if number != register + 1 {
                return Err(RegisterError::OlderCopy { register, log: number });
            }
            self.posture.apply(&entry)?;
            self.take(bytes.clone());
            followed.taken_over += 1;
        }
        let path = self.path.clone();
        self.store().map_err(|source| RegisterError::Io { path, source })?;
        Ok(followed)
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
        self.take(entry.to_bytes());
        Ok(entry)
    }

    /// Makes every entry durable that is not yet.
    ///
    /// # Errors
    /// The disk's own error. The entries stay in memory and go first at the next attempt, which writes all of each again: a sync that
    /// failed says nothing of what was written before it.
    pub fn store(&mut self) -> io::Result<()> {
        while let Some(entry) = self.unwritten.front() {
            let frame = frame(entry);
            self.file.write_at(self.end, &frame)?;
            self.file.sync_data()?;
            self.end += frame.len() as u64;
            self.unwritten.pop_front();
            // Failing to fill further ahead matters only once what is filled is used up; writing then grows the file.
            let _later = self.fill_ahead();
        }
        Ok(())
    }

    /// Whether the register's name still leads to the file that is written to.
    ///
    /// # Errors
    /// Why not: it was deleted or replaced, or cannot be looked at.
    pub fn check_identity(&self) -> io::Result<()> {
        if self.disk.identity(&self.path)? == self.identity {
            return Ok(());
        }
        Err(io::Error::other(format!("the posture file `{}` was replaced by another", self.path)))
    }

    fn take(&mut self, entry: Vec<u8>) {
        self.entries.push(entry.clone());
        self.unwritten.push_back(entry);
    }

    /// Makes durable what was read, as the journal does: the last frame may be in the page cache only. What is torn behind it is zeroed,
    /// so that a shorter frame in its place ends where it should.
    fn settle(&self, bytes: &[u8], last: usize, torn: bool) -> io::Result<()> {
        let end = usize::try_from(self.end).unwrap_or(usize::MAX);
        let until = if torn { bytes.len() } else { end };
        let mut again = bytes.get(last..until).unwrap_or(&[]).to_vec();
        again.get_mut(end - last..).unwrap_or_default().fill(0);
        self.file.write_at(last as u64, &again)?;
        self.file.sync_data()
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        if self.filled >= self.end + self.ahead / 2 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(self.ahead).unwrap_or(0)];
        let from = self.filled.max(self.end);
        self.file.write_at(from, &zeros)?;
        self.file.sync_data()?;
        self.filled = from + self.ahead;
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

/// What the file holds.
struct Chain {
    posture: Posture,
    entries: Vec<Vec<u8>>,
    /// Where the last whole frame begins, and where it ends.
    last: usize,
    end: u64,
    /// Whether anything but zeros stands behind it.
    torn: bool,
}

/// Reads frames up to the first that is not whole. Behind it there must be no frame of this chain: see the module's words.
fn read_chain(bytes: &[u8]) -> Result<Chain, RegisterError> {
    let mut posture = Posture::default();
    let (mut entries, mut last, mut at) = (Vec::new(), 0, 0);
    while let Some(entry) = read_frame(bytes.get(at..).unwrap_or(&[])) {
        posture.apply(&entry)?;
        let bytes = entry.to_bytes();
        last = at;
        at += 8 + bytes.len();
        entries.push(bytes);
    }
    let rest = bytes.get(at..).unwrap_or(&[]);
    let later = |from: usize| {
        let entry = rest.get(from..).and_then(read_frame);
        entry.is_some_and(|entry| entry.number > posture.number())
    };
    if (1..rest.len()).any(later) {
        return Err(RegisterError::Corrupt { offset: at as u64 });
    }
    let torn = rest.iter().any(|&byte| byte != 0);
    Ok(Chain { posture, entries, last, end: at as u64, torn })
}

/// The entry of the frame that `bytes` begin with, if it is whole.
fn read_frame(bytes: &[u8]) -> Option<Entry> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|&length| length > 0)?;
    let entry = rest.get(..length)?;
    if crc32c::crc32c(entry) != u32::from_be_bytes(*crc) {
        return None;
    }
    Entry::from_bytes(entry).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sever::Target;
    use std::os::unix::fs::FileExt;

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

        let first = 8 + usize::try_from(u32::from_be_bytes(*whole.first_chunk().unwrap())).unwrap();
        let last = end - first;

        // Any part of the last frame may be missing, the length too: pages reach the disk in any order.
        for gone in [end - 5..end, last..last + 4, last + 3..last + 4, last..end - 9, last + 8..end]
        {
            let mut torn = whole.clone();
            torn[gone.clone()].fill(0);
            std::fs::write(&path, &torn).unwrap();
            let mut register = PostureRegister::open(dir.path()).unwrap();
            assert_eq!(register.posture().number(), 2, "{gone:?}");
            cut(&mut register, 7).unwrap();
            drop(register);
            assert_eq!(PostureRegister::open(dir.path()).unwrap().posture().number(), 3);
        }

        for (offset, named) in [(20, 0), (3, 0), (first + 3, first), (first + 30, first)] {
            let mut damaged = whole.clone();
            damaged[offset] = 0xee;
            std::fs::write(&path, &damaged).unwrap();
            match PostureRegister::open(dir.path()).map(|_| ()) {
                Err(RegisterError::Corrupt { offset }) => assert_eq!(offset, named as u64),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The register of three cuts, and what the log has of them.
    fn three(dir: &Path) -> Vec<Vec<u8>> {
        let mut register = PostureRegister::open(dir).unwrap();
        (1..=3).for_each(|n| cut(&mut register, n).unwrap());
        register.entries.clone()
    }

    #[test]
    fn what_only_the_log_has_is_taken_over_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let recorded = three(dir.path());
        let older = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(older.path()).unwrap();
        cut(&mut register, 1).unwrap();
        // The log may have them in another order than they were decided in.
        let swapped = [recorded[0].clone(), recorded[2].clone(), recorded[1].clone()];
        let followed = register.follow(&swapped).unwrap();
        assert_eq!(followed, Followed { taken_over: 2, to_record: Vec::new() });
        let posture = register.posture().clone();
        drop(register);
        assert_eq!(*PostureRegister::open(older.path()).unwrap().posture(), posture);
        assert_eq!(posture.number(), 3);
    }

    #[test]
    fn what_only_the_register_has_is_to_be_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let recorded = three(dir.path());
        let mut register = PostureRegister::open(dir.path()).unwrap();
        let followed = register.follow(&recorded[..1]).unwrap();
        assert_eq!(followed, Followed { taken_over: 0, to_record: recorded[1..].to_vec() });
        assert_eq!(register.follow(&recorded).unwrap(), Followed::default());
    }

    #[test]
    fn another_history_or_a_hole_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let recorded = three(dir.path());
        let other = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(other.path()).unwrap();
        let hole = register.follow(&recorded[1..]);
        assert!(matches!(hole, Err(RegisterError::OlderCopy { register: 0, log: 2 })), "{hole:?}");
        cut(&mut register, 9).unwrap();
        let forked = register.follow(&recorded);
        assert!(matches!(forked, Err(RegisterError::OtherHistory { number: 1 })), "{forked:?}");
    }

    #[test]
    fn a_register_that_was_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let register = PostureRegister::open(dir.path()).unwrap();
        register.check_identity().unwrap();
        let path = dir.path().join(NAME);
        std::fs::copy(&path, dir.path().join("copy")).unwrap();
        std::fs::rename(dir.path().join("copy"), &path).unwrap();
        register.check_identity().unwrap_err();
        std::fs::remove_file(path).unwrap();
        register.check_identity().unwrap_err();
    }

    #[test]
    fn an_entry_that_could_not_be_written_goes_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        cut(&mut register, 1).unwrap();
        let writable = Arc::clone(&register.file);
        register.file = Arc::new(Refusing);
        assert!(cut(&mut register, 2).is_err(), "a file that cannot be written");
        register.file = writable;
        cut(&mut register, 3).unwrap();
        let posture = register.posture().clone();
        drop(register);
        assert_eq!(*PostureRegister::open(dir.path()).unwrap().posture(), posture);
    }

    #[test]
    fn bytes_behind_the_end_that_are_no_frame_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = PostureRegister::open(dir.path()).unwrap();
        cut(&mut register, 1).unwrap();
        register.file.write_at(register.end + 100, b"x").unwrap();
        let end = register.end;
        drop(register);
        assert_eq!(PostureRegister::open(dir.path()).unwrap().posture().number(), 1);
        let file = File::open(dir.path().join(NAME)).unwrap();
        let mut byte = [1];
        file.read_exact_at(&mut byte, end + 100).unwrap();
        assert_eq!(byte, [0]);
    }

    /// A file on a disk that takes nothing.
    struct Refusing;

    impl SyncedFile for Refusing {
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(ErrorKind::PermissionDenied.into())
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::PermissionDenied.into())
        }
        fn sync_data(&self) -> io::Result<()> {
            Err(ErrorKind::PermissionDenied.into())
        }
        fn length(&self) -> io::Result<u64> {
            Err(ErrorKind::PermissionDenied.into())
        }
        fn identity(&self) -> io::Result<FileIdentity> {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
}
