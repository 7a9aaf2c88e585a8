//! The files that a running node stands on, and whether their names still lead to them.
//!
//! A process goes on writing to a file that was deleted or replaced under it, and all of that is gone with the process. So the recorder
//! looks four times a second, and stops when one is not there any more. It does not look at what is in them: the next start does.

use crate::embedded::disk::{FileIdentity, KeepSynced};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Paths and which file each of them is.
#[derive(Debug, Default)]
pub(crate) struct KeptFiles(Mutex<BTreeMap<String, FileIdentity>>);

impl KeptFiles {
    /// From here on `path` is to be this file.
    pub(crate) fn keep(&self, path: &str, identity: FileIdentity) {
        self.files().insert(path.to_owned(), identity);
    }

    /// Puts another file in the place of one, by `replace`, which returns it. Nobody looks meanwhile.
    pub(crate) fn replace<E>(
        &self,
        path: &str,
        replace: impl FnOnce() -> Result<FileIdentity, E>,
    ) -> Result<(), E> {
        let mut files = self.files();
        let identity = replace()?;
        files.insert(path.to_owned(), identity);
        Ok(())
    }

    /// Looks at all of them.
    ///
    /// # Errors
    /// The first that was deleted or replaced, or cannot be looked at.
    pub(crate) fn check(&self, disk: &dyn KeepSynced) -> io::Result<()> {
        for (path, kept) in &*self.files() {
            let found = disk.identity(path);
            let found = found.map_err(|e| io::Error::new(e.kind(), format!("`{path}`: {e}")))?;
            if found != *kept {
                return Err(io::Error::other(format!("`{path}` was replaced by another file")));
            }
        }
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, FileIdentity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
