//! Tiles and checkpoint: what others read the log by. All of it follows from the durable segments.
//!
//! A tile is written whole but not synced; one sync of everything now and then, noted in `ledger/tiles.durable`, bounds how many
//! the next start writes again. A checkpoint is synced before anyone sees it, and only ever covers durable records.

use crate::embedded::disk::KeepSynced;
use crate::embedded::journal;
use crate::embedded::states::Follow;
use crate::embedded::unavailable::OpenFailed;
use crate::embedded::view::LogView;
use ledger::checkpoint::{self, Checkpoint};
use ledger::note::SigningKey;
use ledger::tile::{TileFile, TileWriter};
use ledger::{Sequencer, State, StoredRecord, TreeHead};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Where the checkpoint lies in the data directory.
pub const CHECKPOINT_PATH: &str = "ledger/checkpoint";
/// Where the tiles' directory `tile` lies in the data directory.
pub const TILES_DIR: &str = "ledger";
const DURABLE_PATH: &str = "ledger/tiles.durable";

/// Finished tiles are written after this many records, so that they never pile up in memory.
const WRITE_EVERY: u64 = 4_096;

/// Writes tiles and checkpoints of one log.
pub struct Publisher {
    disk: Arc<dyn KeepSynced>,
    key: Arc<SigningKey>,
    next_key: Option<SigningKey>,
    view: LogView,
    tiles: TileWriter,
    /// Stands where `tiles` stands.
    states: Follow,
    /// Tiles of the records below this are durable.
    durable: u64,
}

/// What is found of a log besides its records, to be held against them while they are replayed.
pub(crate) struct Published {
    disk: Arc<dyn KeepSynced>,
    key: Arc<SigningKey>,
    next_key: Option<SigningKey>,
    checkpoint: Option<Checkpoint>,
    root_differs: bool,
    tiles: TileWriter,
    state: State,
    durable: u64,
    failed: Option<io::Error>,
}

impl Published {
    /// Reads the stored checkpoint and how far the tiles are durable.
    pub(crate) fn read(
        disk: Arc<dyn KeepSynced>,
        key: Arc<SigningKey>,
        next_key: Option<SigningKey>,
    ) -> Result<Self, OpenFailed> {
        let note = read_if_there(&*disk, CHECKPOINT_PATH)?;
        let checkpoint = note.map(|note| open_checkpoint(&note, &key)).transpose()?;
        let durable = read_if_there(&*disk, DURABLE_PATH)?;
        // Unreadable is as good as missing: all tiles are written again.
        let durable = durable.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Self {
            disk,
            key,
            next_key,
            checkpoint,
            root_differs: false,
            tiles: TileWriter::default(),
            state: State::begin(),
            durable,
            failed: None,
        })
    }

    /// Takes in the log as it is replayed: see [`crate::embedded::log::Log::open`].
    pub(crate) fn visit(&mut self, log: &Sequencer, next: Option<&StoredRecord>) {
        if let Some(checkpoint) = &self.checkpoint
            && checkpoint.tree.size == log.size()
        {
            self.root_differs = checkpoint.tree.root != log.tree().root;
        }
        if next.is_none() {
            self.state = log.state().clone();
        }
        if let Some(record) = next {
            self.tiles.push(&record.entry, record.leaf_hash());
            if self.tiles.size().is_multiple_of(WRITE_EVERY) && self.failed.is_none() {
                self.failed = write(&*self.disk, self.tiles.take(), self.durable).err();
            }
        }
    }

    /// Holds the checkpoint against the whole log.
    pub(crate) fn check(
        self,
        log: &TreeHead,
        view: LogView,
    ) -> Result<(Publisher, Option<Checkpoint>), OpenFailed> {
        if let Some(checkpoint) = &self.checkpoint {
            if checkpoint.tree.size > log.size {
                let (file, known) = (CHECKPOINT_PATH, checkpoint.tree.size);
                return Err(OpenFailed::OlderCopy { file, known, segments: log.size });
            }
            if self.root_differs {
                let size = checkpoint.tree.size;
                let what = format!("the first {size} records are not those it was signed over");
                return Err(OpenFailed::OtherCheckpoint { what });
            }
        }
        // Tiles are made of durable records only, so the checkpoint may be an older copy too and this still tells.
        if self.durable > log.size {
            let (file, known) = (DURABLE_PATH, self.durable);
            return Err(OpenFailed::OlderCopy { file, known, segments: log.size });
        }
        if let Some(source) = self.failed {
            return Err(OpenFailed::Disk { path: format!("{TILES_DIR}/tile"), source });
        }
        let Self { disk, key, next_key, tiles, state, durable, checkpoint, .. } = self;
        let states = Follow { segment: view.end().segment, state };
        Ok((Publisher { disk, key, next_key, view, tiles, states, durable }, checkpoint))
    }
}

impl Publisher {
    /// Writes the tiles of `tree`, then its checkpoint, which it returns.
    ///
    /// # Errors
    /// Why not; calling again with the same or a larger tree goes on where it was.
    ///
    /// # Panics
    /// If `tree` is not durable, or smaller than one before.
    pub fn publish(&mut self, tree: &TreeHead) -> Result<String, OpenFailed> {
        let failed = |source| OpenFailed::Disk { path: format!("{TILES_DIR}/tile"), source };
        let mut records = self.view.records_from(self.tiles.size());
        assert!(tree.size <= records.end().records, "a checkpoint of records that are not durable");
        assert!(tree.size >= self.tiles.size(), "checkpoints go forward");
        let missing = usize::try_from(tree.size - self.tiles.size()).unwrap_or(usize::MAX);
        for _ in 0..missing {
            let Some(record) = records.next() else { break };
            let (index, record) = record?;
            assert_eq!(index, self.tiles.size(), "the tiles skip a record");
            let followed = self.states.push(&*self.disk, records.segment(), &record);
            followed.map_err(|what| OpenFailed::Corrupt {
                path: journal::path(records.segment()),
                offset: 0,
                what: format!("record {index}: {what}"),
            })?;
            self.tiles.push(&record.entry, record.leaf_hash());
            if self.tiles.size().is_multiple_of(WRITE_EVERY) {
                write(&*self.disk, self.tiles.take(), self.durable).map_err(failed)?;
            }
        }
        write(&*self.disk, self.tiles.take(), self.durable).map_err(failed)?;
        let note = match &self.next_key {
            Some(next) => checkpoint::sign_beside(tree, &self.key, next),
            None => checkpoint::sign(tree, &self.key),
        };
        let failed = |source| OpenFailed::Disk { path: CHECKPOINT_PATH.to_owned(), source };
        self.disk.replace(CHECKPOINT_PATH, note.as_bytes()).map_err(failed)?;
        Ok(note)
    }

    /// Makes the tiles written so far durable.
    ///
    /// # Errors
    /// Why not.
    pub fn sync_tiles(&mut self) -> io::Result<()> {
        let size = self.tiles.size();
        if size > self.durable {
            self.disk.sync_all()?;
            self.disk.replace(DURABLE_PATH, format!("{size}\n").as_bytes())?;
            self.durable = size;
        }
        Ok(())
    }
}

fn write(disk: &dyn KeepSynced, files: Vec<TileFile>, durable: u64) -> io::Result<()> {
    for TileFile { path, bytes } in files {
        if path.is_full() && path.entries_needed().is_some_and(|end| end <= durable) {
            continue;
        }
        let name = format!("{TILES_DIR}/{path}");
        disk.replace_unsynced(&name, &bytes)?;
        if path.is_full() {
            //= C2SP tlog-tiles: partial tiles may be deleted once the full one is there
            disk.remove_dir(&format!("{name}.p"))?;
        }
    }
    Ok(())
}

fn open_checkpoint(note: &str, key: &SigningKey) -> Result<Checkpoint, OpenFailed> {
    let other = |what| OpenFailed::OtherCheckpoint { what };
    let key = key.verifying_key().map_err(|e| OpenFailed::Key { what: e.to_string() })?;
    checkpoint::open(note, &[key]).map_err(|e| other(e.to_string()))
}

fn read_if_there(disk: &dyn KeepSynced, path: &str) -> Result<Option<String>, OpenFailed> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenFailed::Disk { path: path.to_owned(), source }),
    }
}
