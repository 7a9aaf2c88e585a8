//! Files that keep what was synced: the one guarantee the record stands on.
//!
//! [`KeepSynced`] is a port because it has two implementations: [`LocalDisk`] here, and the one in `simulation` that
//! loses every write not yet synced when its power is cut. It promises nothing about bytes that were written and not synced:
//! they may be there, be missing, be there in part, and arrive in any order. The same goes for names: a file that was created or renamed
//! is found under that name for certain only once its directory was synced.
//!
//! What needs more than one step to be durable is built here from those steps, so that a simulation goes through all of them.
//!
//! Paths are relative to the data directory and use `/`.

use rustix::fs::{FallocateFlags, fallocate, statvfs, syncfs};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files under one data directory, of which whatever was synced survives a power cut.
pub trait KeepSynced: Send + Sync + 'static {
    /// Makes one directory, unless it is there. Its name is not durable yet.
    ///
    /// # Errors
    /// Those of the file system.
    fn make_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes durable which names there are in a directory; the data directory itself is the empty path.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Creates a file with `bytes` of allocated space; it reads as zeros. Neither the file nor its name is durable yet.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] if the space cannot be had, then without leaving the file behind;
    /// [`ErrorKind::AlreadyExists`]; else those of the file system.
    fn create(&self, path: &str, bytes: u64) -> io::Result<Arc<dyn SyncedFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; else those of the file system.
    fn open(&self, path: &str) -> io::Result<Arc<dyn SyncedFile>>;

    /// Gives a file another name in the same directory, replacing what had that name. Durable after [`KeepSynced::sync_dir`].
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`KeepSynced::sync_dir`].
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a directory and the files in it, if it is there. Durable after [`KeepSynced::sync_all`].
    ///
    /// # Errors
    /// Those of the file system.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes a directory and its parents, durably.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        for dir in with_parents(dir) {
            self.make_dir(dir)?;
            self.sync_dir(parent(dir))?;
        }
        Ok(())
    }

    /// Replaces the content of a file, durably and whole: after a power cut it has the former content or this one.
    ///
    /// # Errors
    /// Those of the file system; the former content is then still there, unless only the last sync failed.
    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        write_new(self, &temporary, content)?.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(parent(path))
    }

    /// Replaces the content of a file whole for readers, making its directory if need be, but **not** durably:
    /// for what can be derived again. [`KeepSynced::sync_all`] makes it durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn replace_unsynced(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        match write_new(self, &temporary, content) {
            Err(refused) if refused.kind() == ErrorKind::NotFound => {
                with_parents(parent(path)).try_for_each(|dir| self.make_dir(dir))?;
                write_new(self, &temporary, content)?;
            }
            written => _ = written?,
        }
        self.rename(&temporary, path)
    }

    /// Makes durable everything written so far.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_all(&self) -> io::Result<()>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; else those of the file system.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// The names of the files in a directory, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; else those of the file system.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Which file has this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; else those of the file system.
    fn identity(&self, path: &str) -> io::Result<FileIdentity>;

    /// Bytes that may still be allocated.
    ///
    /// # Errors
    /// Those of the file system.
    fn free_space(&self) -> io::Result<u64>;
}

/// Writes a file that is not there; what a crash left under its name goes first.
fn write_new(
    disk: &(impl KeepSynced + ?Sized),
    path: &str,
    content: &[u8],
) -> io::Result<Arc<dyn SyncedFile>> {
    let file = match disk.create(path, 0) {
        Err(left) if left.kind() == ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path, 0)?
        }
        created => created?,
    };
    file.write_at(0, content)?;
    Ok(file)
}

/// Writes a file that is derived or a copy whole: as `unfinished` in the same directory, synced, then renamed to `whole`, whose name is durable when
/// this returns. For its owner alone to read. What the record stands on goes through [`KeepSynced::replace`], which a simulation can cut short.
///
/// `fill` writes the content, `failed` says what becomes of an error of the file system.
///
/// # Errors
/// Those of `fill` and of the file system; `whole` then leads where it led before, unless only the last sync failed.
pub fn write_whole<E>(
    unfinished: &Path,
    whole: &Path,
    failed: impl Fn(io::Error) -> E,
    fill: impl FnOnce(File) -> Result<(), E>,
) -> Result<(), E> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(unfinished).map_err(&failed)?;
    let synced = file.try_clone().map_err(&failed)?;
    if let Err(error) = fill(file).and_then(|()| synced.sync_all().map_err(&failed)) {
        // What is left of it would be written over by the next try; the error is what matters.
        let _left = fs::remove_file(unfinished);
        return Err(error);
    }
    fs::rename(unfinished, whole).map_err(&failed)?;
    let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(&failed)
}

/// The directory that names `path`.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `a`, `a/b` and `a/b/c`, for `a/b/c`.
fn with_parents(dir: &str) -> impl Iterator<Item = &str> {
    dir.match_indices('/').map(|(end, _)| end).chain([dir.len()]).filter_map(|end| dir.get(..end))
}

/// An open file of a [`KeepSynced`].
pub trait SyncedFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`. Durable after [`SyncedFile::sync_data`] only.
    ///
    /// # Errors
    /// Those of the file system; any part of `bytes` may then have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes durable what was written to this file so far.
    ///
    /// # Errors
    /// Those of the file system. Nobody knows then which of the writes are durable, and asking again does not tell:
    /// the kernel reports a lost page once and then calls it clean.
    fn sync_data(&self) -> io::Result<()>;

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn length(&self) -> io::Result<u64>;

    /// Which file this is.
    ///
    /// # Errors
    /// Those of the file system.
    fn identity(&self) -> io::Result<FileIdentity>;
}

/// Device and inode: what stays the same when a file is renamed and differs when it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of the file with these numbers.
    pub const fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

/// A directory of a local file system.
#[derive(Debug)]
pub struct LocalDisk {
    root: PathBuf,
    directory: File,
}

impl LocalDisk {
    /// The data directory `root`, made with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(root: &Path) -> io::Result<Self> {
        if !root.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { root: root.to_owned(), directory: File::open(root)? })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl KeepSynced for LocalDisk {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(self.at(dir)) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.at(dir))?.sync_all()
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Arc<dyn SyncedFile>> {
        let path = self.at(path);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if bytes > 0
            && let Err(refused) = fallocate(&file, FallocateFlags::empty(), 0, bytes)
        {
            fs::remove_file(&path)?;
            return Err(refused.into());
        }
        Ok(Arc::new(LocalFile(file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn SyncedFile>> {
        Ok(Arc::new(LocalFile(OpenOptions::new().read(true).write(true).open(self.at(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.at(dir)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(syncfs(&self.directory)?)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.at(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(dir))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn identity(&self, path: &str) -> io::Result<FileIdentity> {
        let metadata = fs::symlink_metadata(self.at(path))?;
        Ok(FileIdentity::new(metadata.dev(), metadata.ino()))
    }

    fn free_space(&self) -> io::Result<u64> {
        let statistics = statvfs(&self.root)?;
        Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }
}

struct LocalFile(File);

impl SyncedFile for LocalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.0.metadata()?;
        Ok(FileIdentity::new(metadata.dev(), metadata.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (unfinished, whole) = (dir.path().join("a.tmp"), dir.path().join("a"));
        let write = |content: &'static [u8], end: io::Result<()>| {
            write_whole(
                &unfinished,
                &whole,
                |error| error,
                |file| {
                    file.write_all_at(content, 0)?;
                    // Nobody finds it before it is complete.
                    assert_ne!(fs::read(&whole).unwrap_or_default(), content);
                    end
                },
            )
        };
        write(b"first", Ok(())).unwrap();
        assert_eq!(fs::metadata(&whole).unwrap().mode() & 0o777, 0o600);
        write(b"second", Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(fs::read(&whole).unwrap(), b"first");
        assert!(!unfinished.exists());
        write(b"third", Ok(())).unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"third");
    }
}
