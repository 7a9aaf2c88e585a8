//! A disk in memory that keeps what was synced and may lose, tear or reorder all else when its power is cut.
//!
//! It models what Linux and a disk with a volatile cache may do, at their worst. Of the writes since the last sync any subset survives
//! a power cut, in any order, each whole, cut off at any byte, or in sectors of 512 bytes or pages of 4,096 of which any are missing. Of the
//! names that were made, changed or taken away since a directory was synced any subset survives. A sync that fails leaves its writes
//! readable and calls them clean, so that a later sync says nothing of them.
//!
//! [`Lie`] has the disk break its promises, to show that the seeded runs see what each of them is for.

use crate::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use storage::embedded::disk::{FileIdentity, KeepSynced, SyncedFile};

const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4_096;

/// What goes wrong, and when. Operations that write, sync, create, rename or remove are counted from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power goes at this operation, which may have been done in part. All after it fail.
    pub power_cut_at: Option<u64>,
    /// This operation fails with an I/O error; only this one.
    pub error_at: Option<u64>,
    /// Bytes there are in all.
    pub capacity: Option<u64>,
    /// A power cut loses everything not yet synced, instead of some and parts of it.
    pub loses_all_unsynced: bool,
    /// What the disk says and does not do. What stands on it must be seen to fall.
    pub lie: Option<Lie>,
}

/// A promise that the disk breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncs of files and directories return at once and do nothing.
    NoSync,
    /// Syncs of files whose path begins like this do nothing.
    NoFileSync(&'static str),
    /// Syncs of this directory do nothing.
    NoDirSync(&'static str),
    /// Every other sync of this file does nothing.
    HalfTheSyncs(&'static str),
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct TornDisk {
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    dice: Dice,
    faults: Faults,
    operations: u64,
    syncs: u64,
    power: bool,
    hanging: bool,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    /// Names as programs see them, and as a power cut leaves them.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
    durable_dirs: BTreeSet<String>,
    /// What was done to names and is not durable, in order.
    unsynced: Vec<Change>,
}

/// What was done to a name.
enum Change {
    MakeDir(String),
    Link(String, u64),
    Unlink(String),
    /// One step for whoever looks, before a power cut and after it.
    Rename(String, String, u64),
}

#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

struct TornFile {
    disk: TornDisk,
    inode: u64,
    path: String,
}

impl TornDisk {
    /// An empty disk whose losses depend on `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            dice: Dice::new(seed),
            faults: Faults::default(),
            operations: 0,
            syncs: 0,
            power: true,
            hanging: false,
            next_inode: 1,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            dirs: BTreeSet::new(),
            durable_dirs: BTreeSet::new(),
            unsynced: Vec::new(),
        };
        Self { state: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Sets what goes wrong from here on, counting operations from 1 again.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.operations = 0;
    }

    /// Syncs hang until this is called with false.
    pub fn hang(&self, hanging: bool) {
        self.state().hanging = hanging;
        self.state.1.notify_all();
    }

    /// Cuts the power, if it is not cut yet, and turns it on again: what was not synced may be lost. Faults are taken away.
    pub fn power_cycle(&self) {
        let mut state = self.state();
        let loses_all = state.faults.loses_all_unsynced;
        state.faults = Faults::default();
        state.power = true;
        for change in std::mem::take(&mut state.unsynced) {
            if !loses_all && state.dice.one_in(2) {
                state.make_durable(change);
            }
        }
        let State { dice, inodes, names, durable_names, dirs, durable_dirs, .. } = &mut *state;
        // What stands in a directory that is gone is gone with it.
        let all = durable_dirs.clone();
        durable_dirs.retain(|dir| parents(dir).all(|parent| all.contains(parent)));
        durable_names.retain(|name, _| parents(name).all(|parent| durable_dirs.contains(parent)));
        dirs.clone_from(durable_dirs);
        names.clone_from(durable_names);
        let held: BTreeSet<u64> = names.values().copied().collect();
        inodes.retain(|inode, _| held.contains(inode));
        for inode in inodes.values_mut() {
            if loses_all {
                inode.unsynced.clear();
            }
            inode.reach_disk(dice);
            inode.seen.clone_from(&inode.durable);
        }
    }

    /// The program was killed; the machine goes on. Faults are taken away.
    pub fn process_restarts(&self) {
        let mut state = self.state();
        state.faults = Faults::default();
        assert!(state.power, "without power the machine does not go on");
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.state().power
    }

    /// Bytes that all files have together.
    pub fn used(&self) -> u64 {
        self.state().used() as u64
    }

    /// Writes over a durable byte, as a failing disk does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn rot(&self, path: &str, offset: usize) {
        let changed =
            self.edit(path, |content| content.get_mut(offset).map(|byte| *byte ^= 0x10).is_some());
        assert!(changed, "no such byte");
    }

    /// Changes the durable content of a file behind everybody's back. Returns what `edit` did, false if there is no such file.
    pub fn edit(&self, path: &str, edit: impl Fn(&mut [u8]) -> bool) -> bool {
        let mut state = self.state();
        let inode = state.names.get(path).copied();
        let inode = inode.and_then(|inode| state.inodes.get_mut(&inode));
        inode.is_some_and(|inode| edit(&mut inode.durable) && edit(&mut inode.seen))
    }

    /// Everything durable, to put back later: what a backup takes.
    pub fn backup(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let content = |inode: &u64| state.inodes.get(inode).map(|inode| inode.durable.clone());
        let files = state.durable_names.iter();
        files.filter_map(|(name, inode)| Some((name.clone(), content(inode)?))).collect()
    }

    /// Puts back what a backup took of the files that `which` names, and takes away those it names that were not there then.
    pub fn restore(&self, backup: &BTreeMap<String, Vec<u8>>, which: impl Fn(&str) -> bool) {
        let mut state = self.state();
        state.names.retain(|name, _| !which(name) || backup.contains_key(name));
        state.durable_names.retain(|name, _| !which(name) || backup.contains_key(name));
        for (name, content) in backup.iter().filter(|(name, _)| which(name)) {
            let inode = state.add(Inode {
                seen: content.clone(),
                durable: content.clone(),
                unsynced: Vec::new(),
            });
            state.names.insert(name.clone(), inode);
            state.durable_names.insert(name.clone(), inode);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &str, inode: u64) -> Arc<dyn SyncedFile> {
        Arc::new(TornFile { disk: self.clone(), inode, path: path.to_owned() })
    }
}

/// How an operation is to end.
enum Ending {
    Well,
    /// With an I/O error.
    Error,
    /// The power goes while it is under way.
    PowerCut,
}

impl State {
    fn operation(&mut self) -> io::Result<Ending> {
        self.check_power()?;
        self.operations += 1;
        if self.faults.power_cut_at == Some(self.operations) {
            self.power = false;
            return Ok(Ending::PowerCut);
        }
        let fails = self.faults.error_at == Some(self.operations);
        Ok(if fails { Ending::Error } else { Ending::Well })
    }

    /// An operation on a name, which is done or is not, and never in part.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.operation()? {
            Ending::Well => {
                change(self);
                Ok(())
            }
            Ending::Error => Err(io_error()),
            Ending::PowerCut => {
                if self.dice.one_in(2) {
                    change(self);
                }
                Err(power_cut())
            }
        }
    }

    fn make_durable(&mut self, change: Change) {
        match change {
            Change::MakeDir(dir) => _ = self.durable_dirs.insert(dir),
            Change::Link(name, inode) => _ = self.durable_names.insert(name, inode),
            Change::Unlink(name) => _ = self.durable_names.remove(&name),
            Change::Rename(from, to, inode) => {
                self.durable_names.remove(&from);
                self.durable_names.insert(to, inode);
            }
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.power { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn named(&self, path: &str) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn used(&self) -> usize {
        let files = self.names.values().filter_map(|inode| self.inodes.get(inode));
        files.map(|inode| inode.seen.len()).sum()
    }

    fn has_space_for(&self, more: usize) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if (self.used() + more) as u64 > capacity => {
                Err(ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }

    /// Whether this sync of a file is one that does something.
    fn syncs_file(&mut self, path: &str) -> bool {
        match self.faults.lie {
            Some(Lie::NoSync) => false,
            Some(Lie::NoFileSync(begin)) => !path.starts_with(begin),
            Some(Lie::HalfTheSyncs(file)) if path == file => {
                self.syncs += 1;
                self.syncs.is_multiple_of(2)
            }
            Some(Lie::HalfTheSyncs(_) | Lie::NoDirSync(_)) | None => true,
        }
    }
}

impl Change {
    fn dir(&self) -> &str {
        match self {
            Self::MakeDir(path)
            | Self::Link(path, _)
            | Self::Unlink(path)
            | Self::Rename(_, path, _) => parents(path).next().unwrap_or(""),
        }
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        overwrite(&mut self.seen, offset, bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            overwrite(&mut self.durable, offset, &bytes);
        }
    }

    /// Of the unsynced writes some reach the disk, in any order.
    fn reach_disk(&mut self, dice: &mut Dice) {
        let mut writes = std::mem::take(&mut self.unsynced);
        while !writes.is_empty() {
            let (offset, bytes) = writes.swap_remove(dice.length(writes.len()));
            match dice.below(5) {
                0 => {}
                1 => overwrite(&mut self.durable, offset, &bytes),
                2 => {
                    let kept = bytes.get(..dice.length(bytes.len() + 1)).unwrap_or(&[]);
                    overwrite(&mut self.durable, offset, kept);
                }
                3 => self.reach_in_part(offset, &bytes, SECTOR_BYTES, dice),
                _ => self.reach_in_part(offset, &bytes, PAGE_BYTES, dice),
            }
        }
    }

    /// Blocks lie at multiples of their length in the file, wherever in it the write began.
    fn reach_in_part(&mut self, offset: usize, bytes: &[u8], block: usize, dice: &mut Dice) {
        let (mut at, mut left) = (offset, bytes);
        while !left.is_empty() {
            let (now, later) = left.split_at((block - at % block).min(left.len()));
            if dice.one_in(2) {
                overwrite(&mut self.durable, at, now);
            }
            (at, left) = (at + now.len(), later);
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(to) = content.get_mut(offset..end) {
        to.copy_from_slice(bytes);
    }
}

/// The directories above a path, the nearest first, without the data directory itself.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').filter_map(|(end, _)| path.get(..end))
}

fn io_error() -> io::Error {
    io::Error::other("input/output error")
}

fn power_cut() -> io::Error {
    io::Error::other("the power went")
}

impl KeepSynced for TornDisk {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        if state.dirs.contains(dir) {
            return Ok(());
        }
        state.change(|state| {
            state.dirs.insert(dir.to_owned());
            state.unsynced.push(Change::MakeDir(dir.to_owned()));
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        match state.operation()? {
            Ending::Well => {}
            Ending::Error => return Err(io_error()),
            Ending::PowerCut => return Err(power_cut()),
        }
        if matches!(state.faults.lie, Some(Lie::NoSync))
            || state.faults.lie == Some(Lie::NoDirSync("*"))
            || matches!(state.faults.lie, Some(Lie::NoDirSync(lied)) if lied == dir)
        {
            return Ok(());
        }
        let (durable, kept) = std::mem::take(&mut state.unsynced)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.dir() == dir);
        state.unsynced = kept;
        durable.into_iter().for_each(|change| state.make_durable(change));
        Ok(())
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Arc<dyn SyncedFile>> {
        let mut state = self.state();
        state.check_power()?;
        if !parents(path).all(|dir| state.dirs.contains(dir)) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        state.has_space_for(length)?;
        state.change(|state| {
            // Allocated space is the file's, and as durable as its name.
            let content = vec![0; length];
            let inode = Inode { seen: content.clone(), durable: content, unsynced: Vec::new() };
            let inode = state.add(inode);
            state.names.insert(path.to_owned(), inode);
            state.unsynced.push(Change::Link(path.to_owned(), inode));
        })?;
        let inode = state.named(path)?;
        Ok(self.file(path, inode))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn SyncedFile>> {
        let state = self.state();
        state.check_power()?;
        Ok(self.file(path, state.named(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.named(from)?;
        state.change(|state| {
            state.names.remove(from);
            state.names.insert(to.to_owned(), inode);
            state.unsynced.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        state.named(path)?;
        state.change(|state| {
            state.names.remove(path);
            state.unsynced.push(Change::Unlink(path.to_owned()));
        })
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let below = format!("{dir}/");
        let gone: Vec<_> =
            state.names.keys().filter(|name| name.starts_with(&below)).cloned().collect();
        for name in gone {
            state.names.remove(&name);
            state.unsynced.push(Change::Unlink(name));
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.operation()? {
            Ending::Well => {}
            Ending::Error => return Err(io_error()),
            Ending::PowerCut => return Err(power_cut()),
        }
        if state.faults.lie != Some(Lie::NoSync) {
            state.inodes.values_mut().for_each(Inode::sync);
            for change in std::mem::take(&mut state.unsynced) {
                state.make_durable(change);
            }
        }
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.check_power()?;
        let inode = state.named(path)?;
        Ok(state.inode(inode)?.seen.clone())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        let below = format!("{dir}/");
        let names = state.names.keys().filter_map(|name| name.strip_prefix(&below));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn identity(&self, path: &str) -> io::Result<FileIdentity> {
        let state = self.state();
        state.check_power()?;
        Ok(FileIdentity::new(0, state.named(path)?))
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.faults.capacity.unwrap_or(u64::MAX).saturating_sub(state.used() as u64))
    }
}

impl SyncedFile for TornFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let length = state.inode(self.inode)?.seen.len();
        let grows = (offset + bytes.len()).saturating_sub(length);
        if grows > 0 {
            state.has_space_for(grows)?;
        }
        let ending = state.operation()?;
        let written = match ending {
            Ending::Well => bytes.len(),
            Ending::Error | Ending::PowerCut => state.dice.length(bytes.len() + 1),
        };
        state.inode(self.inode)?.write(offset, bytes.get(..written).unwrap_or(&[]));
        match ending {
            Ending::Well => Ok(()),
            Ending::Error => Err(io_error()),
            Ending::PowerCut => Err(power_cut()),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_power()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let content = state.inode(self.inode)?.seen.get(offset..).unwrap_or(&[]);
        let length = content.len().min(into.len());
        let (Some(to), Some(from)) = (into.get_mut(..length), content.get(..length)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        while state.hanging {
            state = self.disk.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let ending = state.operation()?;
        let syncs = state.syncs_file(&self.path);
        let State { dice, inodes, .. } = &mut *state;
        let inode = inodes.get_mut(&self.inode).ok_or(ErrorKind::NotFound)?;
        match ending {
            Ending::Well if syncs => {
                inode.sync();
                Ok(())
            }
            Ending::Well => Ok(()),
            Ending::Error => {
                inode.reach_disk(dice);
                Err(io_error())
            }
            Ending::PowerCut => Err(power_cut()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.check_power()?;
        Ok(state.inode(self.inode)?.seen.len() as u64)
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.disk.state().check_power()?;
        Ok(FileIdentity::new(0, self.inode))
    }
}
