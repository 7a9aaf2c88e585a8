//! What a node has on its disk, while it runs or after.

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Every file below `folder`, with what is in it. What goes meanwhile is left out: a node renames what it has written.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            found.extend(files(&path)?);
        } else if kind.is_file() {
            match fs::read(&path) {
                Ok(bytes) => found.push((path, bytes)),
                Err(gone) if gone.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(found)
}

/// Copies the files of a directory, as [`files`] finds them.
///
/// # Errors
/// If a file cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for (path, bytes) in files(from)? {
        let path_to = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(path_to.parent().context("a folder")?)?;
        fs::write(&path_to, bytes)?;
        if let Ok(original) = fs::metadata(&path) {
            fs::set_permissions(&path_to, original.permissions())?;
        }
    }
    Ok(())
}
