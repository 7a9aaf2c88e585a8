//! The directory the parts are in: whole files only, and for each segment a manifest of its parts.

use super::part::SCHEMA;
use super::{SegmentSpan, day_name};
use crate::ExportFailed;
use crate::whole::{self, cannot_write, sync_dir};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open directory; one process at a time writes to it.
pub(super) struct Directory {
    root: PathBuf,
    /// Holds the lock.
    _marker: File,
}

/// The parts of one segment, all of them, whether they were asked for or not. Written when those that were asked for are there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    log: String,
    first_record: u64,
    records: u64,
    /// Whether the segment can still change what its parts hold.
    pub(super) sealed: bool,
    pub(super) parts: Vec<PartRows>,
}

/// One part and its length.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartRows {
    /// Since 1970-01-01.
    pub(super) day: u64,
    pub(super) integration: String,
    pub(super) rows: u64,
}

/// What stands at the top of the directory.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    schema: String,
    subjects: bool,
}

const MARKER: &str = "_portcullis.json";

impl PartRows {
    /// Where it lies in the directory.
    pub(super) fn path(&self, log: &str, first: u64) -> String {
        let (day, integration, log) = (day_name(self.day), &self.integration, file_name(log));
        format!("day={day}/integration={integration}/part-{log}-{first:012}.parquet")
    }
}

impl Manifest {
    pub(super) fn new(log: &str, segment: SegmentSpan, sealed: bool) -> Self {
        let SegmentSpan { first, records, .. } = segment;
        Self {
            schema: SCHEMA.into(),
            log: log.into(),
            first_record: first,
            records,
            sealed,
            parts: Vec::new(),
        }
    }

    /// Whether the segment has this part, however long.
    pub(super) fn has(&self, part: &PartRows) -> bool {
        self.parts
            .iter()
            .any(|known| known.day == part.day && known.integration == part.integration)
    }
}

impl Directory {
    /// Opens it, or makes it. `subjects`: whether its files name subjects; one directory holds either kind.
    ///
    /// # Errors
    /// [`ExportFailed::Directory`] if it holds the other kind or something else, or another process writes to it.
    pub(super) fn open(root: &Path, subjects: bool) -> Result<Self, ExportFailed> {
        let refused = |why| ExportFailed::Directory { directory: root.display().to_string(), why };
        let failed = cannot_write(root);
        let fresh = match fs::read_dir(root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        // What is in it tells who was read from where: for its owner alone, until somebody decides otherwise.
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(&failed)?;
        let path = root.join(MARKER);
        if !fresh && !path.exists() {
            return Err(refused(
                "holds other files; give a directory that is empty or does not exist",
            ));
        }
        let mut options = OpenOptions::new();
        let marker = options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(&failed)?;
        marker.try_lock().map_err(|_| refused("is being written by another process"))?;
        let directory = Self { root: root.to_owned(), _marker: marker };
        let wanted = Marker { schema: SCHEMA.into(), subjects };
        let text = fs::read_to_string(&path).map_err(&failed)?;
        if text.is_empty() {
            // Not renamed into place, because the lock is on this file; one that was cut short is written again.
            (&directory._marker).write_all(&json(&wanted)?).map_err(&failed)?;
            directory._marker.sync_all().map_err(&failed)?;
            sync_dir(root).map_err(&failed)?;
        } else {
            match serde_json::from_str::<Marker>(&text) {
                Ok(marker) if marker == wanted => {}
                Ok(Marker { subjects: true, .. }) => {
                    return Err(refused(
                        "holds files with subjects; give another directory for those without them",
                    ));
                }
                Ok(Marker { subjects: false, .. }) => {
                    return Err(refused(
                        "holds files without subjects; give another directory for those with them",
                    ));
                }
                Err(_) => {
                    return Err(refused(
                        "has a `_portcullis.json` that says nothing of files of this version",
                    ));
                }
            }
        }
        Ok(directory)
    }

    /// Whether a part is there. A part under its name is whole.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Takes a part away.
    ///
    /// # Errors
    /// [`ExportFailed::File`].
    pub(super) fn remove(&self, path: &str) -> Result<(), ExportFailed> {
        let path = self.root.join(path);
        fs::remove_file(&path).map_err(cannot_write(&path))
    }

    /// What is said of a segment; `None` if nothing is, or nothing that can be read.
    ///
    /// # Errors
    /// [`ExportFailed::File`].
    pub(super) fn manifest(&self, log: &str, first: u64) -> Result<Option<Manifest>, ExportFailed> {
        let path = self.root.join(manifest_path(log, first));
        match fs::read(&path) {
            Ok(bytes) => {
                let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
                Ok(manifest
                    .filter(|manifest| manifest.log == log && manifest.first_record == first))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_write(&path)(error)),
        }
    }

    /// Says which parts a segment has.
    ///
    /// # Errors
    /// [`ExportFailed::File`].
    pub(super) fn finish(&self, manifest: &Manifest) -> Result<(), ExportFailed> {
        let path = manifest_path(&manifest.log, manifest.first_record);
        let bytes = json(manifest)?;
        let failed = cannot_write(&self.root.join(&path));
        self.write(&path, |mut file| file.write_all(&bytes).map_err(failed))
    }

    /// Writes a file whole: under another name, synced, then renamed; the name is durable when this returns.
    ///
    /// # Errors
    /// Those of `fill`; [`ExportFailed::File`]. The name then leads where it led before.
    pub(super) fn write(
        &self,
        path: &str,
        fill: impl FnOnce(File) -> Result<(), ExportFailed>,
    ) -> Result<(), ExportFailed> {
        whole::write_below(&self.root, path, fill)
    }
}

fn manifest_path(log: &str, first: u64) -> String {
    format!("_segments/{}-{first:012}.json", file_name(log))
}

/// A log's origin as part of a file name; two origins never share one.
fn file_name(log: &str) -> String {
    let mut name = String::new();
    for byte in log.bytes() {
        match byte {
            b'/' => name.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                name.push(char::from(byte))
            }
            other => name.push_str(&format!("~{other:02x}")),
        }
    }
    name
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ExportFailed> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| cannot_write(Path::new("JSON"))(io::Error::other(error)))?;
    bytes.push(b'\n');
    Ok(bytes)
}
