//! The exposure index on disk: grows with the log, is built again from it, and answers from files and memory together.
//!
//! Whoever asks first has everything taken in that is durable, so an answer holds the record of a release that was made a
//! moment ago. Files are derived: one that is damaged, or of another log, is thrown away with all after it and made again.

use crate::embedded::unavailable::OpenFailed;
use crate::embedded::vault::Vault;
use crate::embedded::view::LogView;
use exposure::index::{
    DAYS_OF_MONTH, DAYS_OF_WEEK, Index, IndexFile, Indexer, ReadRange, Span, Table, Unreadable,
    level, seal,
};
use ledger::record::Header;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the index lies in the data directory.
pub const INDEX_DIR: &str = "index";

/// Says how many records of the log were thinned when the files beside it began to be made; without it, none.
const THINNED: &str = "thinned";

/// The index of one log.
pub struct ExposureIndex {
    dir: PathBuf,
    view: LogView,
    vault: Arc<Vault>,
    state: Mutex<State>,
    /// Held by the one who writes files.
    writing: Mutex<()>,
}

struct State {
    files: Vec<Arc<IndexFile>>,
    /// Settled, and not yet in a file.
    sealing: Vec<Arc<Table>>,
    indexer: Indexer,
}

/// Why the index does not answer.
#[derive(Debug, thiserror::Error)]
pub enum CannotIndex {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[source] OpenFailed),
    /// A record is not of the format.
    #[error("record `{index}` cannot be read")]
    Record {
        /// Its index in the log.
        index: u64,
        /// Why.
        source: ledger::record::Malformed,
    },
    /// The index itself cannot be read or written.
    #[error(transparent)]
    Index(#[from] Unreadable),
}

impl From<io::Error> for CannotIndex {
    fn from(source: io::Error) -> Self {
        Self::Index(source.into())
    }
}

impl ExposureIndex {
    /// Opens the index under `root`, or begins an empty one. What is missing is taken in at the first [`ExposureIndex::catch_up`].
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn open(root: &Path, view: LogView, vault: Arc<Vault>) -> Result<Self, CannotIndex> {
        let dir = root.join(INDEX_DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut files = files_of(&dir, &view)?;
        // Made from records that have lost their touches since: a crash came between the log and the index.
        let made_of = fs::read_to_string(dir.join(THINNED)).unwrap_or_default();
        if made_of.trim().parse().unwrap_or(0) != view.thinned().records {
            throw_away(&dir, &view)?;
            files.clear();
        }
        let parts = || files.iter().filter(|file| file.span() == Span::Part);
        let next = parts().next_back().map_or(0, |part| part.records().end);
        let nameless = parts().flat_map(|part| part.nameless()).copied().collect();
        let indexer = Indexer::resume(next, nameless);
        let state = Mutex::new(State { files, sealing: Vec::new(), indexer });
        Ok(Self { dir, view, vault, state, writing: Mutex::new(()) })
    }

    /// Takes in what became durable, and writes the files of what is settled.
    ///
    /// # Errors
    /// [`CannotIndex`]. What was taken in stays.
    pub fn catch_up(&self) -> Result<(), CannotIndex> {
        self.take_in(&mut self.state())?;
        let written = self.write_files();
        if let Err(CannotIndex::Index(Unreadable::Damaged(what))) = written {
            tracing::error!(%what, "the exposure index is damaged, and is made again from the log");
            self.forget()?;
        }
        written
    }

    /// Answers with everything that was durable when it was called.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn ask<T>(
        &self,
        answer: impl FnOnce(&Index<'_>) -> Result<T, Unreadable>,
    ) -> Result<T, CannotIndex> {
        let mut state = self.state();
        self.take_in(&mut state)?;
        let answered = {
            let sealing = state.sealing.iter().map(|table| &**table);
            let tail = sealing.chain(state.indexer.tail());
            answer(&Index::new(state.files.iter().map(|file| &**file), tail))
        };
        if let Err(Unreadable::Damaged(what)) = answered {
            tracing::error!(%what, "the exposure index is damaged, and is made again from the log");
            self.begin_again(&mut state)?;
        }
        Ok(answered?)
    }

    /// Removes every file and begins again with the log's first record: after records were thinned, because the files still have what
    /// they lost; after an erasure, because by the ordinals in the files the
    /// pseudonyms of an erased subject are one person's in every quarter. What is made anew has them as pseudonyms without a subject.
    ///
    /// # Errors
    /// Those of the file system: call again. What was in memory is gone all the same, so no answer has it.
    pub fn forget(&self) -> Result<(), CannotIndex> {
        // Before the state, as whoever writes files does it: a file that is under way is there before it is thrown away.
        let _only = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_again(&mut self.state())
    }

    fn begin_again(&self, state: &mut State) -> Result<(), CannotIndex> {
        *state = State {
            files: Vec::new(),
            sealing: Vec::new(),
            indexer: Indexer::resume(0, Vec::new()),
        };
        throw_away(&self.dir, &self.view)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, state: &mut State) -> Result<(), CannotIndex> {
        let end = self.view.end().records;
        while state.indexer.next_record() < end {
            for record in self.view.records_from(state.indexer.next_record()) {
                let (index, stored) = record.map_err(CannotIndex::Log)?;
                let malformed = |source| CannotIndex::Record { index, source };
                if stored.is_thinned() {
                    let header = Header::decode(&stored.entry).map_err(malformed)?;
                    state.indexer.pass(index, stored.leaf_hash(), header.time);
                } else {
                    let record = stored.decode().map_err(malformed)?;
                    let ordinal =
                        |pseudonym: &_, quarter| self.vault.ordinal_of(pseudonym, quarter);
                    state.indexer.push(index, &record, ordinal);
                }
                if let Some(table) = state.indexer.settled() {
                    state.sealing.push(Arc::new(table));
                    if state.sealing.len() > 1 {
                        // Far behind: let files be written before memory is filled.
                        self.write_parts(state)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes every settled part, with the state held; unless somebody is at it already, who will come to them.
    fn write_parts(&self, state: &mut State) -> Result<(), CannotIndex> {
        let Ok(_only) = self.writing.try_lock() else { return Ok(()) };
        while let Some(table) = state.sealing.first().cloned() {
            // Taken out only when its file is there: until then it answers from memory.
            let part = write_part(&self.dir, &table)?;
            state.sealing.remove(0);
            state.files.push(Arc::new(part));
        }
        Ok(())
    }

    /// Writes settled parts, and weeks and months that are complete, while questions are answered.
    fn write_files(&self) -> Result<(), CannotIndex> {
        let _only = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(table) = self.state().sealing.first().cloned() else { break };
            let part = write_part(&self.dir, &table)?;
            let mut state = self.state();
            if state.sealing.first().is_some_and(|first| Arc::ptr_eq(first, &table)) {
                state.sealing.remove(0);
                state.files.push(Arc::new(part));
            }
        }
        let files = self.state().files.clone();
        for (span, day) in missing_levels(&files) {
            let file = write_level(&self.dir, span, day, &files)?;
            let mut state = self.state();
            // Unless the parts it is made of were thrown away meanwhile.
            if files.iter().all(|part| state.files.iter().any(|other| Arc::ptr_eq(part, other))) {
                state.files.push(Arc::new(file));
            }
        }
        Ok(())
    }
}

/// Removes every file, and notes how far the log is thinned that the next ones are made from.
fn throw_away(dir: &Path, view: &LogView) -> Result<(), CannotIndex> {
    let thinned = view.thinned().records;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // What is under way when a question meets damage is left to whoever writes it.
        if path.extension().is_some_and(|extension| extension == "idx") {
            fs::remove_file(path)?;
        }
    }
    File::open(dir)?.sync_all()?;
    if thinned > 0 {
        // Behind the files: whoever finds an older number begins again.
        fs::write(dir.join(THINNED), format!("{thinned}\n"))?;
        File::open(dir.join(THINNED))?.sync_all()?;
    }
    Ok(File::open(dir)?.sync_all()?)
}

/// Writes the file of a settled part.
///
/// # Errors
/// Those of the file system.
pub fn write_part(dir: &Path, table: &Table) -> Result<IndexFile, CannotIndex> {
    let name = format!("part-{:020}", table.first_record());
    write(dir, &name, |file| file.write_all(&seal(table)).map_err(Unreadable::Disk))
}

/// Writes the file of a week or month.
///
/// # Errors
/// [`CannotIndex`].
pub fn write_level(
    dir: &Path,
    span: Span,
    day: u32,
    files: &[Arc<IndexFile>],
) -> Result<IndexFile, CannotIndex> {
    let (name, days) = match span {
        Span::Week => ("week", DAYS_OF_WEEK),
        Span::Month | Span::Part => ("month", DAYS_OF_MONTH),
    };
    let parts = files.iter().map(|file| &**file).filter(|file| file.span() == Span::Part);
    let parts: Vec<_> = parts.filter(|part| (day..day + days).contains(&part.day())).collect();
    write(dir, &format!("{name}-{day:010}"), |file| {
        level(span, day, &parts, |bytes| file.write_all(bytes))
    })
}

/// The weeks and months that are complete and have no file: a part of a later day is there.
pub fn missing_levels(files: &[Arc<IndexFile>]) -> Vec<(Span, u32)> {
    let mut days: BTreeMap<Span, Vec<u32>> = BTreeMap::new();
    for file in files {
        days.entry(file.span()).or_default().push(file.day());
    }
    let parts = days.get(&Span::Part).map_or(&[][..], Vec::as_slice);
    let last = parts.iter().copied().max().unwrap_or(0);
    let mut missing = Vec::new();
    for (span, length) in [(Span::Week, DAYS_OF_WEEK), (Span::Month, DAYS_OF_MONTH)] {
        let have = days.get(&span).map_or(&[][..], Vec::as_slice);
        let mut starts: Vec<u32> = parts.iter().map(|day| day / length * length).collect();
        starts.dedup();
        starts.retain(|start| start + length <= last && !have.contains(start));
        missing.extend(starts.into_iter().map(|start| (span, start)));
    }
    missing
}

/// The files that are there and are of this log: parts without a gap from its first record on, and levels of them.
fn files_of(dir: &Path, view: &LogView) -> Result<Vec<Arc<IndexFile>>, CannotIndex> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.path());
    }
    names.retain(|path| path.file_name().is_none_or(|name| name != THINNED));
    names.sort();
    let (mut parts, mut levels) = (Vec::<(PathBuf, Arc<IndexFile>)>::new(), Vec::new());
    let mut discarded = Vec::new();
    for path in names {
        let file = match open(&path) {
            Ok(file) => Arc::new(file),
            // Derived as it is, the index never keeps a node from starting.
            Err(reason) => {
                tracing::warn!(file = %path.display(), %reason, "not a file of the index");
                discarded.push(path);
                continue;
            }
        };
        let next = parts.last().map_or(0, |(_, part)| part.records().end);
        match file.span() {
            Span::Week | Span::Month => levels.push((path, file)),
            Span::Part if file.records().start == next => parts.push((path, file)),
            Span::Part => discarded.push(path),
        }
    }
    let mut of_log = 0;
    for (_, part) in &parts {
        if !is_of(part, view)? {
            break;
        }
        of_log += 1;
    }
    discarded.extend(parts.drain(of_log..).map(|(path, _)| path));
    let end = parts.last().map_or(0, |(_, part)| part.records().end);
    let last_leaf = |end: u64| {
        parts.iter().find(|(_, part)| part.records().end == end).map(|(_, part)| *part.end_leaf())
    };
    levels.retain(|(path, file)| {
        let of_them =
            file.records().end <= end && last_leaf(file.records().end) == Some(*file.end_leaf());
        if !of_them {
            discarded.push(path.clone());
        }
        of_them
    });
    for path in discarded {
        // What cannot be removed, a directory say, is in nobody's way: no file of ours has its name, or is renamed over it.
        if let Err(reason) = fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %reason, "cannot be removed");
        }
    }
    Ok(parts.into_iter().chain(levels).map(|(_, file)| file).collect())
}

/// Whether the log has the part's last record where the part has it.
fn is_of(part: &IndexFile, view: &LogView) -> Result<bool, CannotIndex> {
    let Some(last) = part.records().end.checked_sub(1) else { return Ok(true) };
    if last >= view.end().records {
        return Ok(false);
    }
    match view.records_from(last).next() {
        Some(Ok((_, stored))) => Ok(stored.leaf_hash() == *part.end_leaf()),
        Some(Err(source)) => Err(CannotIndex::Log(source)),
        None => Ok(false),
    }
}

/// Writes a file whole, durably, under its final name only when it is complete.
fn write(
    dir: &Path,
    name: &str,
    content: impl FnOnce(&mut io::BufWriter<File>) -> Result<(), Unreadable>,
) -> Result<IndexFile, CannotIndex> {
    let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(format!("{name}.idx")));
    let file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let mut file = io::BufWriter::with_capacity(1 << 20, file);
    content(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(open(&path)?)
}

/// Opens a file of the index.
///
/// # Errors
/// [`Unreadable`].
pub fn open(path: &Path) -> Result<IndexFile, Unreadable> {
    if path.extension().is_none_or(|extension| extension != "idx") {
        return Err(Unreadable::Damaged("a file that is not whole"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    IndexFile::open(Box::new(Ranges(file)), length)
}

struct Ranges(File);

impl ReadRange for Ranges {
    fn read(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        // Grows by what the footer says, whose checksum holds; a file that is shorter ends in an error.
        into.resize(length, 0);
        self.0.read_exact_at(into, offset)
    }

    fn read_at_hand(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<bool> {
        into.resize(length, 0);
        let slice = &mut [io::IoSliceMut::new(into)];
        match preadv2(&self.0, slice, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == length),
            // Not in memory; or a file system that cannot tell, where everything is waited for.
            Err(Errno::AGAIN | Errno::NOTSUP) => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }

    fn expect(&self, offset: u64, length: u64) {
        // A hint: without it the read is only slower.
        let _ = fadvise(&self.0, offset, NonZeroU64::new(length), Advice::WillNeed);
    }
}
