//! One process per data directory.

use crate::embedded::unavailable::OpenFailed;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Holds the data directory until dropped. The kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `root`, which must exist.
    ///
    /// # Errors
    /// [`OpenFailed::Locked`] if another process, or this one, has it; [`OpenFailed::Disk`].
    pub fn take(root: &Path) -> Result<Self, OpenFailed> {
        let path = root.join("lock");
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
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenFailed::Locked { path: shown }),
            Err(TryLockError::Error(source)) => Err(disk(source)),
        }
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
