//! The exposure index on disk: grows with the log, is built again from it, and answers from files and memory together.
//!
//! Whoever asks first has everything taken in that is durable, so an answer holds the record of a release that was made a
//! moment ago. Files are derived: one that is damaged, or of another log, is thrown away with all after it and made again.

use crate::embedded::disk::write_whole;
use crate::embedded::unavailable::{OpenFailed, Unavailable};
use crate::embedded::vault::Vault;
use crate::embedded::view::{LogView, Thinned};
use crate::embedded::workers::workers;
use exposure::index::{
    DAYS_OF_MONTH, DAYS_OF_WEEK, Index, IndexFile, Indexer, Leveler, ReadRange, RowMark, Sealer,
    Span, Table, Unreadable,
};
use ledger::record::Header;
use model::{Pseudonym, SubjectOrdinal, UnixMicros};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the index lies in the data directory.
pub const INDEX_DIR: &str = "index";

/// Says how many records of the log were thinned when the files beside it began to be made; without it, none.
const THINNED: &str = "thinned";

/// In microseconds.
const DAY: u64 = 86_400_000_000;

/// The index of one log.
pub struct ExposureIndex {
    dir: PathBuf,
    view: LogView,
    vault: Option<Arc<Vault>>,
    state: Mutex<State>,
    /// Held by the one who writes files, who works in it.
    writing: Mutex<Sealer>,
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
    /// The vault cannot be read.
    #[error("the subject vault cannot be read")]
    Vault(#[source] Unavailable),
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
    /// `vault`: which the log was written with; none for another node's log, in which nobody has a name here.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn open(
        root: &Path,
        view: LogView,
        vault: Option<Arc<Vault>>,
    ) -> Result<Self, CannotIndex> {
        let dir = root.join(INDEX_DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut files = files_of(&dir, &view, vault.as_deref())?;
        // Made from records that have lost their touches since: a crash came between the log and the index.
        let made_of = fs::read_to_string(dir.join(THINNED)).unwrap_or_default();
        if made_of.trim().parse().unwrap_or(0) != view.thinned().records {
            throw_away(&dir, &view)?;
            files.clear();
        }
        let parts = || files.iter().filter(|file| file.span() == Span::Part);
        let next = parts().next_back().map_or(view.first(), |part| part.records().end);
        let ordinals = parts().next_back().map_or(0, |part| part.vault().0);
        let nameless = parts().flat_map(|part| part.nameless()).copied().collect();
        let indexer = Indexer::resume(next, ordinals, nameless);
        let state = Mutex::new(State { files, sealing: Vec::new(), indexer });
        Ok(Self { dir, view, vault, state, writing: Mutex::default() })
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
        // Held while it is answered: files and tables as they are, which grow and go without it. Nobody waits for the answer.
        let (files, tail) = {
            let mut state = self.state();
            self.take_in(&mut state)?;
            let tail: Vec<Arc<Table>> =
                state.sealing.iter().chain(state.indexer.tail()).cloned().collect();
            (state.files.clone(), tail)
        };
        let index = Index::new(files.iter().map(|file| &**file), tail.iter().map(|it| &**it));
        let answered = answer(&index.with(workers()));
        if let Err(Unreadable::Damaged(what)) = answered {
            let mut state = self.state();
            // Unless another question met the damage before, and what there is was made since.
            if state.files.iter().any(|there| files.iter().any(|file| Arc::ptr_eq(there, file))) {
                tracing::error!(%what, "the exposure index is damaged, and is made again from the log");
                self.begin_again(&mut state)?;
            }
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
            indexer: Indexer::resume(self.view.first(), 0, Vec::new()),
        };
        throw_away(&self.dir, &self.view)
    }

    /// How far retention went, if it may have taken something of a window.
    pub(crate) fn thinned_in(&self, from: UnixMicros, to: UnixMicros) -> Option<Thinned> {
        self.view.thinned_in(from, to)
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
                    let ordinal = |pseudonym: &_, quarter| {
                        self.vault.as_ref()?.ordinal_of(pseudonym, quarter)
                    };
                    state.indexer.push(index, &record, ordinal);
                }
                if let Some(table) = state.indexer.settled() {
                    state.sealing.push(table);
                    if state.sealing.len() > 1 {
                        // Far behind: let files be written before memory is filled.
                        self.write_parts(state)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the vault says of the last row that is named up to the end of a part.
    fn row_mark(&self, table: &Table) -> Result<RowMark, CannotIndex> {
        let mark = mark_before(table.ordinals(), self.vault.as_deref())?;
        // Whoever it was is being erased, and then the index is made anew; until then it fits no vault.
        Ok(mark.unwrap_or_default())
    }

    /// Writes every settled part, with the state held; unless somebody is at it already, who will come to them.
    fn write_parts(&self, state: &mut State) -> Result<(), CannotIndex> {
        let Ok(mut sealer) = self.writing.try_lock() else { return Ok(()) };
        while let Some(table) = state.sealing.first().cloned() {
            // Taken out only when its file is there: until then it answers from memory.
            let part = write_part(&self.dir, &table, self.row_mark(&table)?, &mut sealer)?;
            state.sealing.remove(0);
            state.files.push(Arc::new(part));
        }
        Ok(())
    }

    /// Writes settled parts, and weeks and months that are complete, while questions are answered.
    fn write_files(&self) -> Result<(), CannotIndex> {
        let mut sealer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(table) = self.state().sealing.first().cloned() else { break };
            let part = write_part(&self.dir, &table, self.row_mark(&table)?, &mut sealer)?;
            let mut state = self.state();
            if state.sealing.first().is_some_and(|first| Arc::ptr_eq(first, &table)) {
                state.sealing.remove(0);
                state.files.push(Arc::new(part));
            }
        }
        // Its memory is not held for parts that come in hours.
        *sealer = Sealer::default();
        let files = self.state().files.clone();
        let mut leveler = Leveler::default();
        for (span, day) in missing_levels(&files) {
            let file = write_level(&self.dir, (span, day), &files, &mut leveler)?;
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
    // Behind the files: whoever finds an older number begins again.
    let noted = dir.join(THINNED);
    if thinned > 0 {
        fs::write(&noted, format!("{thinned}\n"))?;
        File::open(&noted)?.sync_all()?;
    } else if noted.exists() {
        fs::remove_file(noted)?;
    }
    Ok(File::open(dir)?.sync_all()?)
}

/// Writes the file of a settled part.
///
/// # Errors
/// Those of the file system.
pub fn write_part(
    dir: &Path,
    table: &Table,
    row_mark: RowMark,
    sealer: &mut Sealer,
) -> Result<IndexFile, CannotIndex> {
    let name = format!("part-{:020}", table.first_record());
    write(dir, &name, |file| Ok(sealer.seal(table, row_mark, |bytes| file.write_all(bytes))?))
}

/// Writes the file of a week or month.
///
/// # Errors
/// [`CannotIndex`].
pub fn write_level(
    dir: &Path,
    (span, day): (Span, u32),
    files: &[Arc<IndexFile>],
    leveler: &mut Leveler,
) -> Result<IndexFile, CannotIndex> {
    let (name, days) = match span {
        Span::Week => ("week", DAYS_OF_WEEK),
        Span::Month | Span::Part => ("month", DAYS_OF_MONTH),
    };
    let parts = files.iter().map(|file| &**file).filter(|file| file.span() == Span::Part);
    let parts: Vec<_> = parts.filter(|part| (day..day + days).contains(&part.day())).collect();
    write(dir, &format!("{name}-{day:010}"), |file| {
        leveler.level(span, day, &parts, |bytes| file.write_all(bytes))
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

/// The files that are there and are of this log and this vault: parts without a gap from its first record on, and levels of them.
fn files_of(
    dir: &Path,
    view: &LogView,
    vault: Option<&Vault>,
) -> Result<Vec<Arc<IndexFile>>, CannotIndex> {
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
        let next = parts.last().map_or(view.first(), |(_, part)| part.records().end);
        match file.span() {
            Span::Week | Span::Month => levels.push((path, file)),
            Span::Part if file.records().start == next => parts.push((path, file)),
            Span::Part => discarded.push(path),
        }
    }
    let mut fitting = 0;
    for (_, part) in &parts {
        if !is_of(part, view)? || !is_of_vault(part, vault)? {
            break;
        }
        fitting += 1;
    }
    discarded.extend(parts.drain(fitting..).map(|(path, _)| path));
    let named = vault.and_then(|it| first_with_a_name(parts.iter().map(|(_, part)| &**part), it));
    if let Some(first) = named {
        discarded.extend(parts.drain(first..).map(|(path, _)| path));
    }
    let last_of = |file: &IndexFile| {
        let last = parts.iter().find(|(_, part)| part.records().end == file.records().end);
        last.map(|(_, part)| (*part.end_leaf(), part.vault()))
    };
    levels.retain(|(path, file)| {
        let of_them = last_of(file) == Some((*file.end_leaf(), file.vault()));
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

/// Whether the part's ordinals are of this vault: of an older one that was put back, the later ordinals are given to other people.
fn is_of_vault(part: &IndexFile, vault: Option<&Vault>) -> Result<bool, CannotIndex> {
    let (ordinals, row_mark) = part.vault();
    Ok(mark_before(ordinals, vault)? == Some(*row_mark))
}

/// The mark of the row before an ordinal: zeros before the first, none if the row is not there.
fn mark_before(ordinals: u32, vault: Option<&Vault>) -> Result<Option<RowMark>, CannotIndex> {
    let Some(last) = ordinals.checked_sub(1) else { return Ok(Some(RowMark::default())) };
    let Some(vault) = vault else { return Ok(None) };
    vault.row_mark(SubjectOrdinal(last)).map_err(CannotIndex::Vault)
}

/// The place of the first part that has somebody without a name whom the vault knows: an older one was in its place when the part was made.
///
/// Costs an HMAC per subject for every quarter of which there are such parts.
fn first_with_a_name<'a>(
    parts: impl Iterator<Item = &'a IndexFile>,
    vault: &Vault,
) -> Option<usize> {
    let mut nameless: BTreeMap<u32, HashMap<Pseudonym, usize>> = BTreeMap::new();
    for (place, part) in parts.enumerate() {
        let quarter = UnixMicros(u64::from(part.day()).saturating_mul(DAY)).quarter();
        for pseudonym in part.nameless() {
            // As when it was indexed: what was disclosed just before a quarter turned may be recorded just after it.
            for quarter in [quarter, quarter.saturating_sub(1)] {
                nameless.entry(quarter).or_default().entry(*pseudonym).or_insert(place);
            }
        }
    }
    let mut first = None;
    for (quarter, places) in nameless {
        vault.pseudonyms(quarter, |pseudonym, _| {
            let place = places.get(&pseudonym).copied();
            first = first.into_iter().chain(place).min();
        });
    }
    first
}

/// Writes a file whole, durably, under its final name only when it is complete.
fn write(
    dir: &Path,
    name: &str,
    content: impl FnOnce(&mut io::BufWriter<File>) -> Result<(), Unreadable>,
) -> Result<IndexFile, CannotIndex> {
    let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(format!("{name}.idx")));
    write_whole(&temporary, &path, Unreadable::Disk, |file| {
        let mut file = io::BufWriter::with_capacity(1 << 20, file);
        content(&mut file)?;
        Ok(file.flush()?)
    })?;
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
