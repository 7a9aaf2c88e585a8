//! A log beside the one in use, as far as it is there: a generation before, or the copy of another node's log.
//!
//! Segments may be missing, broken, or come later and in any order. What is there in one piece is a *stretch* and has an index of its own;
//! what is missing between stretches is named. Of another node's log nothing is believed before its record was found under the
//! checkpoint that the node's key signed.

use crate::embedded::disk::{KeepSynced, LocalDisk};
use crate::embedded::held::{self, Held, NotTaken};
use crate::embedded::index::{CannotIndex, ExposureIndex};
use crate::embedded::journal;
use crate::embedded::publisher::{CHECKPOINT_PATH, TILES_DIR};
use crate::embedded::vault::Vault;
use crate::embedded::view::{LogView, Thinned};
use ledger::checkpoint::{self, Checkpoint};
use ledger::growth;
use ledger::note::VerifyingKey;
use ledger::record::Header;
use ledger::tile::{BadTile, TileReader};
use ledger::{StoredRecord, bundle};
use model::UnixMicros;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Records that are checked before the tiles that prove them are let go of.
const FORGET_EVERY: u64 = 65_536;

/// A log beside the one in use.
pub struct Beside {
    origin: String,
    root: PathBuf,
    indexes: PathBuf,
    /// Of another node's log; none of one's own.
    keys: Option<Vec<VerifyingKey>>,
    /// This node's, of its own logs.
    vault: Option<Arc<Vault>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    signed: Option<(String, Checkpoint)>,
    /// Why the checkpoint that is there now is not taken.
    unsigned: Option<String>,
    segments: BTreeMap<u64, Segment>,
    found: Found,
}

struct Segment {
    stamp: Stamp,
    held: Result<Option<Held>, NotTaken>,
}

impl Segment {
    /// Why it is not taken to its end.
    fn stopped(&self) -> Option<&NotTaken> {
        match &self.held {
            Ok(held) => held.as_ref()?.stopped.as_ref(),
            Err(why) => Some(why),
        }
    }
}

/// Which file it was, and when it changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([u64; 5]);

/// What there is of a log.
#[derive(Clone, Default)]
pub(crate) struct Found {
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) missing: Vec<Missing>,
    /// What is wrong with its end.
    pub(crate) end: Option<String>,
}

/// Records without one missing between them.
#[derive(Clone)]
pub(crate) struct Stretch {
    view: LogView,
    pub(crate) index: Arc<ExposureIndex>,
    /// Time of the last.
    pub(crate) until: UnixMicros,
}

/// Records that a log has and that are not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// Behind the last; nobody knows how many there are if there is none.
    pub end: Option<u64>,
    /// None of them is older.
    pub since: Option<UnixMicros>,
    /// None of them is younger.
    pub until: Option<UnixMicros>,
    /// Which file is missing, or what is wrong with it.
    pub why: String,
}

impl Missing {
    /// Whether an answer about a window may lack something by it. A missing record may also take a release back that is here.
    pub fn touches(&self, from: UnixMicros, to: UnixMicros) -> bool {
        self.until.is_none_or(|until| from <= until)
            && self.since.is_none_or(|since| since < to + bundle::TAKEN_BACK_WITHIN)
    }
}

impl Beside {
    /// An earlier generation of one's own log, in the data directory `root`. Believed as the log in use is.
    pub fn own(origin: &str, root: PathBuf, indexes: PathBuf, vault: Arc<Vault>) -> Self {
        Self {
            origin: origin.to_owned(),
            root,
            indexes,
            keys: None,
            vault: Some(vault),
            state: Mutex::default(),
        }
    }

    /// Another node's log, of which `root` holds a copy. `keys`: whose signature on its checkpoint counts.
    pub fn of_node(origin: &str, keys: Vec<VerifyingKey>, root: PathBuf, indexes: PathBuf) -> Self {
        Self {
            origin: origin.to_owned(),
            root,
            indexes,
            keys: Some(keys),
            vault: None,
            state: Mutex::default(),
        }
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Looks what is there now. Files that changed are read whole; the others are not touched.
    ///
    /// # Errors
    /// [`CannotIndex`] of the indexes, which are this node's own.
    pub(crate) fn look(&self) -> Result<Found, CannotIndex> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read_changes(&mut state)? {
            self.piece_together(&mut state)?;
        }
        Ok(state.found.clone())
    }

    /// Throws the indexes away, as after an erasure.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub(crate) fn forget(&self) -> Result<(), CannotIndex> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stretches = &state.found.stretches;
        let kept = stretches.iter().map(|stretch| stretch.view.first().to_string()).collect();
        // Also those of a time before, which nobody has looked for yet.
        remove_others(&self.indexes, &kept)?;
        stretches.iter().try_for_each(|stretch| stretch.index.forget())
    }

    /// Returns whether anything is different from the last time.
    fn read_changes(&self, state: &mut State) -> Result<bool, CannotIndex> {
        let first_look = state.found.stretches.is_empty() && state.found.missing.is_empty();
        let mut changed = first_look;
        if !self.root.exists() {
            changed |= !state.segments.is_empty();
            state.segments.clear();
            return Ok(changed);
        }
        let disk = LocalDisk::new(&self.root)?;
        let checkpoint_moved = self.read_checkpoint(state, &disk);
        changed |= checkpoint_moved;
        let stamps = stamps(&self.root, &disk)?;
        let before = state.segments.len();
        state.segments.retain(|number, _| stamps.contains_key(number));
        changed |= state.segments.len() != before;
        let mut admission = Admission::new(self, state, &disk);
        for (number, stamp) in stamps {
            let known = state.segments.get(&number).filter(|segment| segment.stamp == stamp);
            let again = known.is_none_or(|segment| match segment.stopped() {
                Some(NotTaken::NotYet(_)) => true,
                Some(NotTaken::Uncovered | NotTaken::Refused(_)) => checkpoint_moved,
                None => false,
            });
            if again {
                changed = true;
                state.segments.insert(number, admission.scan(&disk, number, stamp));
            }
        }
        Ok(changed)
    }

    /// Takes the checkpoint that is there if it is a later one of the same history. Returns whether it is another one than before.
    fn read_checkpoint(&self, state: &mut State, disk: &LocalDisk) -> bool {
        let Some(keys) = &self.keys else { return false };
        let opened = disk
            .read(CHECKPOINT_PATH)
            .map_err(|error| format!("`{CHECKPOINT_PATH}` cannot be read: {error}"))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
            .and_then(|note| {
                if state.signed.as_ref().is_some_and(|(known, _)| *known == note) {
                    return Ok(None);
                }
                let opened = checkpoint::open(&note, keys).map_err(|error| error.to_string())?;
                if opened.origin != self.origin {
                    return Err(format!("its checkpoint is of `{}`", opened.origin));
                }
                if let Some((_, earlier)) = &state.signed {
                    let mut tiles = tiles(disk, &opened).map_err(|bad| bad.to_string())?;
                    growth::grown(earlier, &opened, &mut tiles).map_err(|why| why.to_string())?;
                }
                Ok(Some((note, opened)))
            });
        let unsigned = opened.as_ref().err().cloned();
        let said = std::mem::replace(&mut state.unsigned, unsigned);
        let moved = matches!(opened, Ok(Some(_)));
        if let Ok(Some(signed)) = opened {
            state.signed = Some(signed);
        }
        moved || said != state.unsigned
    }

    /// Makes stretches of the segments, and names what is missing between them.
    fn piece_together(&self, state: &mut State) -> Result<(), CannotIndex> {
        let (pieces, mut missing, tail) = pieces(&state.segments);
        let end = (!tail.why.is_empty()).then(|| tail.why.join("; "));
        if self.keys.is_some() {
            missing.extend(lacking(state, tail));
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for piece in pieces {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let known = state.found.stretches.iter().find(|old| {
                old.view.first() == first.first && old.view.end().records <= last.end.records
            });
            // A log that grew goes on where it was.
            let stretch = match known {
                Some(old) => {
                    let thinned = old.view.thinned();
                    grow(&old.view, &piece);
                    if old.view.thinned() != thinned {
                        // Its files still have what the records lost.
                        old.index.forget()?;
                    }
                    Stretch { until: last.until, ..old.clone() }
                }
                None => {
                    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(&self.root)?);
                    let view = LogView::empty(disk);
                    grow(&view, &piece);
                    let root = self.indexes.join(first.first.to_string());
                    let index = ExposureIndex::open(&root, view.clone(), self.vault.clone())?;
                    Stretch { view, index: Arc::new(index), until: last.until }
                }
            };
            stretches.push(stretch);
        }
        let kept: BTreeSet<String> =
            stretches.iter().map(|stretch| stretch.view.first().to_string()).collect();
        remove_others(&self.indexes, &kept)?;
        state.found = Found { stretches, missing, end };
        Ok(())
    }
}

/// What is wrong with the end of another node's log, if anything is. That it goes on, and how much of that did not come yet, nobody here knows.
fn lacking(state: &State, Tail { next, until, mut why }: Tail) -> Option<Missing> {
    why.extend(state.unsigned.clone());
    let size = state.signed.as_ref().map(|(_, checkpoint)| checkpoint.tree.size);
    match size {
        _ if !why.is_empty() => {}
        None => why.push("nothing of it is here".to_owned()),
        Some(size) if next < size => {
            why.push(format!("its checkpoint is of {size} records, and the segments that hold the last ones are not there"));
        }
        Some(_) => return None,
    }
    Some(Missing { first: next, end: None, since: until, until: None, why: why.join("; ") })
}

/// What is asked of each record before it is taken.
struct Admission<'d> {
    origin: &'d str,
    /// Of another node's log: its tiles, or why there are none.
    tiles: Option<Result<TileReader<Fetch<'d>>, NotTaken>>,
}

type Fetch<'d> = Box<dyn FnMut(&str) -> Option<Vec<u8>> + 'd>;

impl<'d> Admission<'d> {
    fn new(of: &'d Beside, state: &State, disk: &'d LocalDisk) -> Self {
        let tiles = of.keys.is_some().then(|| {
            let nothing = || "no checkpoint of it is signed by its key".to_owned();
            let (_, signed) = state
                .signed
                .as_ref()
                .ok_or_else(|| NotTaken::NotYet(state.unsigned.clone().unwrap_or_else(nothing)))?;
            tiles(disk, signed).map_err(not_taken)
        });
        Self { origin: &of.origin, tiles }
    }

    fn scan(&mut self, disk: &LocalDisk, number: u64, stamp: Stamp) -> Segment {
        let held = held::scan(disk, number, &mut |index, record| self.admit(index, record));
        let segment = Segment { stamp, held };
        if let Some(NotTaken::Refused(why)) = segment.stopped() {
            let (log, segment) = (self.origin, journal::path(number));
            tracing::error!(
                log,
                segment,
                why,
                "a segment does not hold, and is left out from there on"
            );
        }
        segment
    }

    fn admit(&mut self, index: u64, record: &StoredRecord) -> Result<UnixMicros, NotTaken> {
        let Some(tiles) = &mut self.tiles else {
            let header = Header::decode(&record.entry);
            let header =
                header.map_err(|why| NotTaken::Refused(format!("record {index}: {why}")))?;
            return Ok(header.time);
        };
        let tiles = tiles.as_mut().map_err(|why| why.clone())?;
        if index >= tiles.tree().size {
            return Err(NotTaken::Uncovered);
        }
        if index.is_multiple_of(FORGET_EVERY) {
            tiles.forget(index);
        }
        if tiles.leaf_hash(index).map_err(not_taken)? != record.leaf_hash() {
            let what = format!("record {index} is not the one under its checkpoint");
            return Err(NotTaken::Refused(what));
        }
        if record.is_thinned() {
            let header = Header::decode(&record.entry).ok();
            let header = header.filter(|it| it.network.is_some() && record.touches.is_empty());
            let lost = || format!("record {index} has lost what retention does not take");
            return Ok(header.ok_or_else(|| NotTaken::Refused(lost()))?.time);
        }
        let opened = record.open(index).map_err(|why| NotTaken::Refused(why.to_string()))?;
        Ok(opened.header.time)
    }
}

fn tiles<'d>(disk: &'d LocalDisk, signed: &Checkpoint) -> Result<TileReader<Fetch<'d>>, BadTile> {
    let fetch = |path: &str| disk.read(&format!("{TILES_DIR}/{path}")).ok();
    TileReader::open(signed.tree, Box::new(fetch))
}

/// A tile may come later, or be replaced by the right one.
fn not_taken(bad: BadTile) -> NotTaken {
    NotTaken::NotYet(bad.to_string())
}

struct Tail {
    next: u64,
    until: Option<UnixMicros>,
    why: Vec<String>,
}

/// Segments that follow each other, in order, what is missing between them, and where they end.
fn pieces(segments: &BTreeMap<u64, Segment>) -> (Vec<Vec<&Held>>, Vec<Missing>, Tail) {
    let (mut pieces, mut missing) = (Vec::<Vec<&Held>>::new(), Vec::new());
    let mut tail = Tail { next: 0, until: None, why: Vec::new() };
    for (number, segment) in segments {
        let say = |why: &NotTaken| match why {
            NotTaken::Uncovered => None,
            NotTaken::NotYet(what) | NotTaken::Refused(what) => {
                Some(format!("`{}`: {what}", journal::path(*number)))
            }
        };
        let held = match &segment.held {
            Ok(None) => continue,
            Ok(Some(held)) if held.first < tail.next => {
                let twice = "it has records that another segment has".to_owned();
                tail.why.extend(say(&NotTaken::Refused(twice)));
                continue;
            }
            Ok(Some(held)) => held,
            Err(why) => {
                tail.why.extend(say(why));
                continue;
            }
        };
        if held.first > tail.next {
            if tail.why.is_empty() {
                tail.why.push("the segments that hold them are not there".to_owned());
            }
            missing.push(Missing {
                first: tail.next,
                end: Some(held.first),
                since: tail.until,
                until: Some(held.since),
                why: tail.why.join("; "),
            });
        }
        let joins = |piece: &&mut Vec<&Held>| {
            piece.last().is_some_and(|last| {
                last.stopped.is_none()
                    && last.end.segment + 1 == *number
                    && last.end.records == held.first
            })
        };
        match pieces.last_mut().filter(joins) {
            Some(piece) => piece.push(held),
            None => pieces.push(vec![held]),
        }
        tail = Tail { next: held.end.records, until: Some(held.until), why: Vec::new() };
        tail.why.extend(held.stopped.as_ref().and_then(say));
    }
    (pieces, missing, tail)
}

fn grow(view: &LogView, piece: &[&Held]) {
    for held in piece {
        for (place, time) in &held.marks {
            view.mark_later(*place, *time);
        }
    }
    if let Some(last) = piece.last() {
        view.advance(last.end);
    }
    if let Some(last) = piece.iter().rfind(|held| held.thinned) {
        let (segments, records) = (last.end.segment + 1, last.end.records);
        view.thin(Thinned { segments, records, until: last.until });
    }
}

fn stamps(root: &Path, disk: &LocalDisk) -> io::Result<BTreeMap<u64, Stamp>> {
    let numbers = match journal::numbers(disk) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        numbers => numbers?,
    };
    let mut stamps = BTreeMap::new();
    for number in numbers {
        let file = match fs::metadata(root.join(journal::path(number))) {
            // Taken away between the two looks.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found?,
        };
        let nanos = |time: i64| u64::from_ne_bytes(time.to_ne_bytes());
        let changed = [nanos(file.mtime()), nanos(file.mtime_nsec())];
        let [seconds, fraction] = changed;
        stamps.insert(number, Stamp([file.dev(), file.ino(), file.len(), seconds, fraction]));
    }
    Ok(stamps)
}

/// Removes the indexes of stretches that are none any more.
fn remove_others(indexes: &Path, kept: &BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(indexes) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !kept.contains(&*entry.file_name().to_string_lossy()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
