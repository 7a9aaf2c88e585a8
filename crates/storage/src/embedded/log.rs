//! One node's log on its disk, for one thread: gives records their place, makes them durable, mints their receipts.
//!
//! Calling order, for each commit: [`Log::begin`], any number of [`Log::add`] and [`Log::add_heads`], [`Log::commit`].
//! `recorder` calls it from its thread, `simulation` step by step. After any error of `begin` or `commit` nothing more is taken.

use crate::embedded::batch::{BatchBuffer, FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::embedded::clocks::{ReadClocks, RecordTime};
use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::{self, DurableEnd, Journal, JournalSizes, Place, Segment, Use};
use crate::embedded::kept::KeptFiles;
use crate::embedded::retention::Thinner;
use crate::embedded::stored;
use crate::embedded::unavailable::{OpenFailed, Unavailable};
use crate::embedded::vault::Vault;
use crate::embedded::view::LogView;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ledger::note::SigningKey;
use ledger::{
    Batch, Draft, NodeEvent, Receipt, Sequenced, Sequencer, StoredRecord, Thinning, TreeHead,
};
use model::{Micros, UnixMicros};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// A batch grows to this and no further, unless one record alone is longer.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// When an integration may call a receipt broken: a checkpoint follows within a second, and after a crash the next start writes it.
const PROMISED_WITHIN: Micros = Micros::from_secs(600);
/// Random bytes are fetched for this many salts at once.
const SALTS: usize = 256;

/// The log, open for writing.
pub struct Log {
    sequencer: Sequencer,
    journal: Journal,
    vault: Arc<Vault>,
    key: Arc<SigningKey>,
    time: RecordTime,
    /// The step of the clock that nobody has acknowledged.
    step: Option<i64>,
    vault_full: bool,
    now: UnixMicros,
    salts: Salts,
    batch: BatchBuffer,
    sequenced: Vec<Sequenced>,
    view: LogView,
    sizes: JournalSizes,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The log as it is.
    pub tree: TreeHead,
    /// Whether the last write before had been cut short. It was acknowledged to nobody, and is gone.
    pub torn: bool,
}

/// Why a draft is not in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// It does not fit this batch: commit, and add it again.
    BatchFull,
    /// It is refused.
    Refused(Unavailable),
}

impl Log {
    /// Opens the log of `key`'s name, replaying every record.
    ///
    /// `visit` is called with each record before it is replayed and the log so far, and at the end without a record, so that what else
    /// is kept of the log can be checked and made again.
    ///
    /// # Errors
    /// [`OpenFailed`]: the operator has to act.
    pub fn open(
        disk: Arc<dyn KeepSynced>,
        sizes: JournalSizes,
        key: Arc<SigningKey>,
        vault: Arc<Vault>,
        clocks: Box<dyn ReadClocks>,
        visit: &mut dyn FnMut(&Sequencer, Option<&StoredRecord>),
    ) -> Result<(Self, Recovered), OpenFailed> {
        let mut sequencer = Sequencer::begin(key.name());
        let view = LogView::empty(Arc::clone(&disk));
        // Each thinned segment's last record and its leaf hash, until a record announces it.
        let mut unannounced = BTreeMap::new();
        let mut salts = Salts::default();
        let random = Box::new(move || {
            let salt = salts.next().unwrap_or_default();
            u64::from_be_bytes(salt.first_chunk().copied().unwrap_or_default())
        });
        let (journal, tail) = Journal::open(disk, sizes, random, &mut |place, payload| {
            let record = stored::decode(payload).ok_or("its lengths do not fit")?;
            visit(&sequencer, Some(&record));
            if place.thinned {
                unannounced.insert(place.segment, (place.index, record.leaf_hash()));
                sequencer.replay_kept(&record).map_err(|e| e.to_string())?;
            } else {
                sequencer.replay(&record).map_err(|e| e.to_string())?;
            }
            // Announcements stand behind what they are of, and what is thinned stands before everything else.
            if !unannounced.is_empty()
                && let Some(thinning) = Thinning::announced(place.index, &record)
            {
                unannounced.retain(|_, end| *end != (thinning.last, thinning.leaf));
            }
            view.pass(place, sequencer.time());
            Ok(())
        })?;
        if let Some(segment) = unannounced.keys().next() {
            let what = "its records are thinned, and no record says that retention did it".into();
            return Err(OpenFailed::Corrupt { path: journal::path(*segment), offset: 0, what });
        }
        visit(&sequencer, None);
        view.advance(journal.durable_end());
        let recovered = Recovered { tree: sequencer.tree(), torn: tail.torn };
        let time = RecordTime::new(Arc::from(clocks), sequencer.time());
        let log = Self {
            sequencer,
            journal,
            vault,
            key,
            time,
            step: None,
            vault_full: false,
            now: UnixMicros(0),
            salts: Salts::default(),
            batch: BatchBuffer::default(),
            sequenced: Vec::new(),
            view,
            sizes,
        };
        Ok((log, recovered))
    }

    /// Begins a batch: reads the clocks, and makes durable the vault's rows that the drafts to be added may name.
    /// A step of the clock becomes a record of this batch.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`]: final.
    pub fn begin(&mut self) -> Result<(), Unavailable> {
        let (now, steps, held) = self.time.tick();
        (self.now, self.step) = (now, held);
        for step in steps {
            // Refused if even the reserve is used up; data is held all the same.
            let _ = self.add(&Draft::Node(NodeEvent::Clock { step }));
        }
        match self.vault.flush() {
            Ok(()) => self.vault_full = false,
            Err(Unavailable::DiskFull) => self.vault_full = true,
            Err(stopped) => return Err(stopped),
        }
        Ok(())
    }

    /// Adds a draft to the batch and returns the index it will have.
    ///
    /// # Errors
    /// [`NotAdded`]; the log is as it was.
    pub fn add(&mut self, draft: &Draft) -> Result<u64, NotAdded> {
        let wanted = use_of(draft);
        if wanted == Use::Data {
            if let Some(step) = self.step {
                return Err(NotAdded::Refused(Unavailable::ClockStepped(step)));
            }
            if self.vault_full {
                return Err(NotAdded::Refused(Unavailable::DiskFull));
            }
        }
        self.make_room(payload_bytes_max(draft), wanted)?;
        let salt = self.salts.next().map_err(NotAdded::Refused)?;
        let sequenced = self.sequencer.append(draft, self.now, salt);
        Ok(self.push(sequenced))
    }

    /// Adds the record of all chains' heads, which is the last under a checkpoint. Returns the tree that it completes.
    ///
    /// # Errors
    /// As [`Log::add`].
    pub fn add_heads(&mut self) -> Result<TreeHead, NotAdded> {
        self.make_room(1024, Use::Reserved)?;
        let salt = self.salts.next().map_err(NotAdded::Refused)?;
        let sequenced = self.sequencer.heads(self.now, salt);
        self.push(sequenced);
        Ok(self.sequencer.tree())
    }

    /// Makes the batch durable. Returns the receipts of its records, in order of index.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`]: final. Nobody knows whether the records are durable; nothing they describe may happen.
    pub fn commit(&mut self) -> Result<Vec<Receipt>, Unavailable> {
        let Some(first) = self.sequenced.first() else { return Ok(Vec::new()) };
        let (first_index, first_time) = (first.index, first.time);
        let end = self
            .journal
            .append(&self.batch)
            .map_err(|e| Unavailable::Stopped(format!("a write or sync of the log failed: {e}")))?;
        assert_eq!(end.records, self.sequencer.size(), "sequenced and durable records differ");
        if self.view.wants_mark(first_index) {
            let batch = end.offset.saturating_sub(self.batch.encoded_bytes());
            let (index, segment) = (first_index, end.segment);
            let place = Place { index, segment, batch, first: true, thinned: false };
            self.view.mark(place, first_time);
        }
        self.view.advance(end);
        let leaves: Vec<_> = self.sequenced.iter().map(|record| record.leaf_hash).collect();
        let promise = Batch::sign(&self.key, first_index, &leaves, self.now + PROMISED_WITHIN);
        let promise = Arc::new(promise);
        self.batch.clear();
        let receipt = |record| Receipt::durable(&record, Arc::clone(&promise));
        Ok(self.sequenced.drain(..).map(receipt).collect())
    }

    /// Takes data again after a step of the clock.
    pub fn acknowledge_clock(&mut self) {
        self.time.acknowledge();
    }

    /// The time that records are given, for those who decide by it.
    pub(crate) fn time(&self) -> RecordTime {
        self.time.clone()
    }

    /// The log, for readers.
    pub fn view(&self) -> &LogView {
        &self.view
    }

    /// Up to where everything is durable.
    pub fn durable_end(&self) -> DurableEnd {
        self.journal.durable_end()
    }

    /// The files this log stands on.
    pub(crate) fn kept(&self) -> &Arc<KeptFiles> {
        self.journal.kept()
    }

    /// What thins this log. `disk`: the one that it is on.
    pub fn thinner(&self, disk: Arc<dyn KeepSynced>) -> Thinner {
        Thinner::new(disk, Arc::clone(self.kept()), self.view.clone())
    }

    /// The segment that should be made, if one should.
    pub fn wants_segment(&self) -> Option<u64> {
        self.journal.wants()
    }

    /// Takes a segment that [`prepare_segment`] made.
    pub fn stock(&mut self, segment: PreparedSegment) {
        self.journal.stock(segment.0);
    }

    fn make_room(&self, payload_bytes: u64, wanted: Use) -> Result<(), NotAdded> {
        let frame = (payload_bytes + FRAME_HEADER_BYTES as u64).next_multiple_of(8);
        let with_it = self.batch.encoded_bytes() + frame;
        let alone = BatchBuffer::default().encoded_bytes() + frame;
        if payload_bytes > PAYLOAD_BYTES_MAX as u64 || alone > self.sizes.batch_bytes_max() {
            return Err(NotAdded::Refused(Unavailable::TooLarge));
        }
        let room = self.journal.room(wanted);
        if with_it <= room && (with_it <= BATCH_BYTES_MAX || self.batch.is_empty()) {
            return Ok(());
        }
        if alone <= room && !self.batch.is_empty() {
            return Err(NotAdded::BatchFull);
        }
        Err(NotAdded::Refused(Unavailable::DiskFull))
    }

    fn push(&mut self, sequenced: Sequenced) -> u64 {
        let index = sequenced.index;
        let taken = self.batch.push(|out| stored::encode(&sequenced.stored, out));
        assert!(taken, "a record is longer than was estimated");
        self.sequenced.push(sequenced);
        index
    }
}

/// A segment that is ready for use.
pub struct PreparedSegment(Segment);

/// Makes segment `number`, which takes as long as the disk needs to fill it with zeros.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] if there is no space; else those of the file system.
pub fn prepare_segment(
    disk: &dyn KeepSynced,
    sizes: JournalSizes,
    number: u64,
) -> io::Result<PreparedSegment> {
    journal::prepare(disk, sizes, number).map(PreparedSegment)
}

/// Posture changes and what the node says about itself are recorded on a full disk too; so is that a recorded release did not happen.
fn use_of(draft: &Draft) -> Use {
    match draft {
        Draft::Posture { .. } | Draft::Node(_) | Draft::NotReleased { .. } => Use::Reserved,
        Draft::Access(_)
        | Draft::UnauthenticatedRefusals { .. }
        | Draft::OperatorAction { .. }
        | Draft::Vetting { .. } => Use::Data,
    }
}

/// An upper bound of what a draft becomes: 1 KiB covers every field of fixed or bounded length.
fn payload_bytes_max(draft: &Draft) -> u64 {
    const TOUCH_BYTES_MAX: usize = 64;
    let variable = match draft {
        Draft::Access(record) => record.touches.len().saturating_mul(TOUCH_BYTES_MAX),
        Draft::Posture { entry } => entry.len(),
        Draft::OperatorAction { action, detail, .. } => action.len() + detail.len(),
        Draft::Vetting { step, detail, .. } => step.len() + detail.len(),
        Draft::Node(NodeEvent::Start { lost_checkpoint }) => {
            lost_checkpoint.as_ref().map_or(0, Vec::len)
        }
        Draft::Node(NodeEvent::Gap { requests }) => requests.len() * 20,
        Draft::Node(NodeEvent::Stop | NodeEvent::Clock { .. })
        | Draft::NotReleased { .. }
        | Draft::UnauthenticatedRefusals { .. } => 0,
    };
    1024 + variable as u64
}

/// Salts, fetched in bulk.
#[derive(Default)]
struct Salts {
    random: SystemRandom,
    stock: Vec<[u8; 16]>,
}

impl Salts {
    fn next(&mut self) -> Result<[u8; 16], Unavailable> {
        if let Some(salt) = self.stock.pop() {
            return Ok(salt);
        }
        let mut bytes = [0; 16 * SALTS];
        let none = |_| Unavailable::Stopped("the system gave no random bytes".into());
        self.random.fill(&mut bytes).map_err(none)?;
        self.stock.extend(bytes.as_chunks::<16>().0);
        self.stock.pop().ok_or_else(|| Unavailable::Stopped("no salts".into()))
    }
}
