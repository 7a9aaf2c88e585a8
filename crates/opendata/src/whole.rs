//! Files that are there whole or not at all.

use crate::ExportFailed;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use storage::embedded::disk::write_whole;

/// Writes `path` whole: under another name, synced, then renamed. For its owner alone to read; the name is durable when this returns.
///
/// # Errors
/// Those of `fill`; [`ExportFailed::File`]. The name then leads where it led before.
pub fn write(
    path: &Path,
    fill: impl FnOnce(File) -> Result<(), ExportFailed>,
) -> Result<(), ExportFailed> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    write_below(parent.unwrap_or(Path::new(".")), &name, fill)
}

/// As [`write()`], at `path` in `root`, with the directories that it needs.
pub(crate) fn write_below(
    root: &Path,
    path: &str,
    fill: impl FnOnce(File) -> Result<(), ExportFailed>,
) -> Result<(), ExportFailed> {
    let whole = root.join(path);
    let failed = cannot_write(&whole);
    let parent = whole.parent().unwrap_or(root);
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    // No engine takes a name that begins with a dot and ends in this.
    let unfinished = parent.join(format!(".{name}.unfinished"));
    let made = !parent.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(&failed)?;
    write_whole(&unfinished, &whole, &failed, fill)?;
    if made {
        for above in parent.ancestors().skip(1).take_while(|above| above.starts_with(root)) {
            sync_dir(above).map_err(&failed)?;
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What becomes of an error at `path`.
pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> ExportFailed + use<> {
    let path = path.display().to_string();
    move |source| ExportFailed::File { path: path.clone(), source }
}
