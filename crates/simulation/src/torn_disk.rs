//! A disk in memory that keeps what was synced and may lose, tear or reorder all else when its power is cut.
//!
//! It models what Linux and a disk with a volatile cache may do, at their worst: of the writes since the last sync any subset survives
//! a power cut, each whole, cut off at any byte, or in 512-byte sectors of which any are missing. A sync that fails leaves its writes
//! readable and calls them clean, so that a later sync says nothing of them.

use crate::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use storage::embedded::disk::{FileIdentity, KeepSynced, SyncedFile};

const SECTOR_BYTES: usize = 512;

/// What goes wrong, and when. Operations that write, sync, create, rename or replace are counted from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power goes at this operation, which may have been done in part. All after it fail.
    pub power_cut_at: Option<u64>,
    /// This operation fails with an I/O error; only this one.
    pub error_at: Option<u64>,
    /// Bytes there are in all.
    pub capacity: Option<u64>,
    /// A power cut loses every write not yet synced, instead of some and parts of them.
    pub loses_all_unsynced: bool,
    /// Syncs return at once and do nothing. A disk that lies: what stands on it must be seen to fall.
    pub syncs_do_nothing: bool,
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
    power: bool,
    hanging: bool,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    /// Names as programs see them, and as a power cut leaves them.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
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
}

impl TornDisk {
    /// An empty disk whose losses depend on `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            dice: Dice::new(seed),
            faults: Faults::default(),
            operations: 0,
            power: true,
            hanging: false,
            next_inode: 1,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
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
        let State { dice, inodes, names, durable_names, .. } = &mut *state;
        *names = durable_names.clone();
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

    /// Writes over a durable byte, as a failing disk does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn rot(&self, path: &str, offset: usize) {
        let mut state = self.state();
        let inode = state.names.get(path).copied();
        let inode = inode.and_then(|inode| state.inodes.get_mut(&inode));
        let byte = inode.and_then(|inode| {
            let durable = inode.durable.get_mut(offset)?;
            *durable ^= 0x10;
            inode.seen.get_mut(offset)
        });
        assert!(byte.is_some(), "no such byte");
        if let Some(byte) = byte {
            *byte ^= 0x10;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn check_power(&self) -> io::Result<()> {
        if self.power { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn named(&self, path: &str) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn has_space_for(&self, more: usize) -> io::Result<()> {
        let used: usize = self.inodes.values().map(|inode| inode.seen.len()).sum();
        match self.faults.capacity {
            Some(capacity) if (used + more) as u64 > capacity => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }

    fn forget_unnamed(&mut self) {
        let held: BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        self.inodes.retain(|inode, _| held.contains(inode));
    }
}

impl Inode {
    fn holding(content: &[u8]) -> Self {
        Self { seen: content.to_vec(), durable: content.to_vec(), unsynced: Vec::new() }
    }

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
            match dice.below(4) {
                0 => {}
                1 => overwrite(&mut self.durable, offset, &bytes),
                2 => {
                    let kept = bytes.get(..dice.length(bytes.len() + 1)).unwrap_or(&[]);
                    overwrite(&mut self.durable, offset, kept);
                }
                _ => {
                    for (sector, at) in bytes.chunks(SECTOR_BYTES).zip((0..).step_by(SECTOR_BYTES))
                    {
                        if dice.one_in(2) {
                            overwrite(&mut self.durable, offset + at, sector);
                        }
                    }
                }
            }
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

fn io_error() -> io::Error {
    io::Error::other("input/output error")
}

fn power_cut() -> io::Error {
    io::Error::other("the power went")
}

impl KeepSynced for TornDisk {
    fn create_dir(&self, _: &str) -> io::Result<()> {
        self.state().check_power()
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Arc<dyn SyncedFile>> {
        let mut state = self.state();
        if matches!(state.operation()?, Ending::Error | Ending::PowerCut) {
            return Err(io_error());
        }
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        state.has_space_for(length)?;
        let inode = state.add(Inode::holding(&vec![0; length]));
        state.names.insert(path.to_owned(), inode);
        Ok(Arc::new(TornFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn SyncedFile>> {
        let state = self.state();
        state.check_power()?;
        Ok(Arc::new(TornFile { disk: self.clone(), inode: state.named(path)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.named(from)?;
        let ending = state.operation()?;
        let happens = !matches!(ending, Ending::PowerCut) || state.dice.one_in(2);
        if happens && !matches!(ending, Ending::Error) {
            state.names.remove(from);
            state.durable_names.remove(from);
            state.names.insert(to.to_owned(), inode);
            state.durable_names.insert(to.to_owned(), inode);
        }
        match ending {
            Ending::Well => Ok(()),
            Ending::Error => Err(io_error()),
            Ending::PowerCut => Err(power_cut()),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        state.named(path)?;
        state.names.remove(path);
        if state.dice.one_in(2) {
            state.durable_names.remove(path);
        }
        state.forget_unnamed();
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let below = format!("{dir}/");
        state.names.retain(|name, _| !name.starts_with(&below));
        if state.dice.one_in(2) {
            state.durable_names.retain(|name, _| !name.starts_with(&below));
        }
        state.forget_unnamed();
        Ok(())
    }

    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.has_space_for(content.len())?;
        let ending = state.operation()?;
        let happens = !matches!(ending, Ending::PowerCut) || state.dice.one_in(2);
        if happens && !matches!(ending, Ending::Error) {
            let inode = state.add(Inode::holding(content));
            state.names.insert(path.to_owned(), inode);
            state.durable_names.insert(path.to_owned(), inode);
            state.forget_unnamed();
        }
        match ending {
            Ending::Well => Ok(()),
            Ending::Error => Err(io_error()),
            Ending::PowerCut => Err(power_cut()),
        }
    }

    fn replace_unsynced(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.has_space_for(content.len())?;
        if matches!(state.operation()?, Ending::Error | Ending::PowerCut) {
            return Err(io_error());
        }
        let mut inode = Inode::default();
        inode.write(0, content);
        let inode = state.add(inode);
        state.names.insert(path.to_owned(), inode);
        // The new name may reach the disk before the content does.
        if state.dice.one_in(2) {
            state.durable_names.insert(path.to_owned(), inode);
        }
        state.forget_unnamed();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.operation()?, Ending::Error | Ending::PowerCut) {
            return Err(io_error());
        }
        if !state.faults.syncs_do_nothing {
            state.inodes.values_mut().for_each(Inode::sync);
            state.durable_names = state.names.clone();
            state.forget_unnamed();
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
        let used: usize = state.inodes.values().map(|inode| inode.seen.len()).sum();
        Ok(state.faults.capacity.unwrap_or(u64::MAX).saturating_sub(used as u64))
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
        let State { dice, inodes, faults, .. } = &mut *state;
        let inode = inodes.get_mut(&self.inode).ok_or(ErrorKind::NotFound)?;
        match ending {
            Ending::Well if faults.syncs_do_nothing => Ok(()),
            Ending::Well => {
                inode.sync();
                Ok(())
            }
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
