//! One process per data directory.

use crate::embedded::disk::FileIdentity;
use crate::embedded::unavailable::OpenFailed;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Where the lock lies in the data directory.
pub(crate) const LOCK_PATH: &str = "lock";

/// Holds the data directory until dropped. The kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes the lock of `root`, which must exist.
    ///
    /// # Errors
    /// [`OpenFailed::Locked`] if another process, or this one, has it; [`OpenFailed::Disk`].
    pub fn take(root: &Path) -> Result<Self, OpenFailed> {
        let path = root.join(LOCK_PATH);
        let shown = path.display().to_string();
        let disk = |source| OpenFailed::Disk { path: shown.clone(), source };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(disk)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(OpenFailed::Locked { path: shown }),
            Err(TryLockError::Error(source)) => Err(disk(source)),
        }
    }

    /// Which file it is: one that replaces it can be locked by another process.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.file.metadata()?;
        Ok(FileIdentity::new(metadata.dev(), metadata.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirectoryLock::take(dir.path()).unwrap();
        assert!(matches!(DirectoryLock::take(dir.path()), Err(OpenFailed::Locked { .. })));
        drop(held);
        DirectoryLock::take(dir.path()).unwrap();
    }
}
