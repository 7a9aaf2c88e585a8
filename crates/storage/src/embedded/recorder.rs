//! The recorder: takes drafts from any number of tasks, gives each a receipt once its record is durable.
//!
//! Everything taken while one sync ran goes into the next: one write, one sync, then all receipts. While several appenders are at
//! work, the writer lets their drafts gather for two milliseconds at most. Five threads, each with one
//! reason to wait: the *writer* waits for the disk, the *publisher* writes tiles and checkpoints, the *preparer* fills segments
//! with zeros, the *watch* answers those who have waited too long, the *guard* sees whether the files are still there.
//!
//! What it does not do: retry. A write or sync that failed stops the recorder until the process is started again.

mod writer;

pub(crate) use writer::raise_priority;

use crate::embedded::clocks::{ReadClocks, RecordTime, SystemClocks};
use crate::embedded::disk::{KeepSynced, LocalDisk};
use crate::embedded::journal::JournalSizes;
use crate::embedded::lock::{DirectoryLock, LOCK_PATH};
use crate::embedded::log::{Log, NotAdded, Recovered};
use crate::embedded::publisher::{Published, Publisher};
use crate::embedded::retention::Thinner;
use crate::embedded::unavailable::{OpenFailed, Unavailable};
use crate::embedded::vault::{ERASED_ACTION, ErasedRow, Eraser, ROWS_PATH, Vault, VaultKeys, keys};
use crate::embedded::view::LogView;
use crate::secrets::Ring;
use ledger::checkpoint::Checkpoint;
use ledger::note::SigningKey;
use ledger::record::{Body, Header, Kind};
use ledger::{Draft, NodeEvent, Receipt, StoredRecord};
use model::UnixMicros;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Drafts that may wait; the next is refused at once.
const QUEUE_MAX: usize = 16_384;

/// What a data directory is opened with.
pub struct Opening {
    /// Signs checkpoints and receipts; its name is the log's origin.
    pub key: SigningKey,
    /// Signs checkpoints beside it, if the key is being rotated.
    pub next_key: Option<SigningKey>,
    /// The vault's keys.
    pub vault: VaultKeys,
    /// What the next of them is sealed under.
    pub ring: Arc<Ring>,
    /// Sizes of the segments.
    pub sizes: JournalSizes,
    /// How long an append waits for the disk before it is refused.
    pub wait_max: Duration,
    /// Of a log whose former generation lost its end: that generation's last checkpoint, which the first record names. A log that has records has named it.
    pub lost_checkpoint: Option<Vec<u8>>,
}

impl Opening {
    /// With [`JournalSizes::STANDARD`], two seconds of waiting, and keys in the clear.
    pub fn standard(key: SigningKey, vault: VaultKeys) -> Self {
        Self {
            key,
            next_key: None,
            vault,
            ring: Arc::default(),
            sizes: JournalSizes::STANDARD,
            wait_max: Duration::from_secs(2),
            lost_checkpoint: None,
        }
    }
}

/// An open data directory.
pub struct Opened {
    /// Takes drafts.
    pub recorder: Recorder,
    /// Knows subjects.
    pub vault: Arc<Vault>,
    /// Reads records.
    pub view: LogView,
    /// What opening found.
    pub recovered: Recovered,
    /// The last checkpoint that was signed before; none on a fresh log.
    pub checkpoint: Option<Checkpoint>,
    /// Entries of every posture record, to be held against the register.
    pub posture: Vec<Vec<u8>>,
    /// Erases subjects.
    pub eraser: Eraser,
    /// Thins segments.
    pub thinner: Thinner,
}

/// A handle to the recorder; clones share it. When the last is dropped without [`Recorder::stop`], the log ends without a stop record,
/// as in a crash.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the handle and the threads share.
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    work: Condvar,
    in_flight: Mutex<InFlight>,
    /// The last one, and when it was published.
    checkpoint: Mutex<Option<(Arc<str>, Instant)>>,
    /// No more of them are signed.
    withheld: AtomicBool,
    commits: AtomicU64,
    wait_max: Duration,
    time: RecordTime,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    /// When the first of `items` came.
    since: Option<Instant>,
    /// The writer waits on `work` until there are this many items; none while it looks by itself and need not be woken.
    wake_at: Option<usize>,
    acknowledge_clock: bool,
    /// Which of the files it stands on is not there any more.
    taken_away: Option<String>,
    end: End,
    stopped: Option<Unavailable>,
}

struct Item {
    draft: Draft,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Receipt, Unavailable>>;

/// How the recorder is to end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    NotYet,
    /// With a stop record, heads and checkpoint.
    InOrder,
    /// At once.
    Dropped,
}

/// Replies the writer owes, in the order in which it took the drafts. Emptied by the watch when they have waited too long.
#[derive(Default)]
struct InFlight {
    replies: std::collections::VecDeque<Reply>,
    since: Option<Instant>,
}

/// Opens the data directory `root`, on the local disk and the system's clocks, under its lock.
///
/// # Errors
/// [`OpenFailed`]: the operator has to act.
pub fn open(root: &Path, opening: Opening) -> Result<Opened, OpenFailed> {
    let disk = LocalDisk::new(root)
        .map_err(|source| OpenFailed::Disk { path: root.display().to_string(), source })?;
    let lock = DirectoryLock::take(root)?;
    open_on(Arc::new(disk), Box::new(SystemClocks::new()), Some(lock), opening)
}

/// Opens a data directory on any disk and clocks. `lock` is held until the writer has ended.
///
/// # Errors
/// [`OpenFailed`]: the operator has to act.
pub fn open_on(
    disk: Arc<dyn KeepSynced>,
    clocks: Box<dyn ReadClocks>,
    lock: Option<DirectoryLock>,
    opening: Opening,
) -> Result<Opened, OpenFailed> {
    let (sizes, wait_max) = (opening.sizes, opening.wait_max);
    let Parts { log, publisher, vault, recovered, checkpoint, posture, eraser, thinner } =
        open_parts(&disk, clocks, opening)?;
    let named =
        |path: &'static str| move |source| OpenFailed::Disk { path: path.to_owned(), source };
    log.kept().keep(ROWS_PATH, vault.identity().map_err(named(ROWS_PATH))?);
    if let Some(lock) = &lock {
        log.kept().keep(LOCK_PATH, lock.identity().map_err(named(LOCK_PATH))?);
    }
    let view = log.view().clone();
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        work: Condvar::new(),
        in_flight: Mutex::default(),
        checkpoint: Mutex::default(),
        withheld: AtomicBool::new(false),
        commits: AtomicU64::new(0),
        wait_max,
        time: log.time(),
    });
    let threads = writer::spawn(&shared, log, publisher, disk, sizes, lock)
        .map_err(|source| OpenFailed::Disk { path: "thread".into(), source })?;
    let inner = Inner { shared, threads: Mutex::new(threads) };
    let recorder = Recorder { inner: Arc::new(inner) };
    Ok(Opened { recorder, vault, view, recovered, checkpoint, posture, eraser, thinner })
}

/// What a recorder is made of, opened and not yet given threads.
pub struct Parts {
    /// The log, begun with its start record.
    pub log: Log,
    /// Writes its tiles and checkpoints.
    pub publisher: Publisher,
    /// Knows subjects.
    pub vault: Arc<Vault>,
    /// What opening found.
    pub recovered: Recovered,
    /// The last checkpoint that was signed before; none on a fresh log.
    pub checkpoint: Option<Checkpoint>,
    /// Entries of every posture record, to be held against the register.
    pub posture: Vec<Vec<u8>>,
    /// Erases subjects.
    pub eraser: Eraser,
    /// Thins segments.
    pub thinner: Thinner,
}

/// Opens a data directory for a caller that does the threads' work itself, such as a simulation.
///
/// # Errors
/// [`OpenFailed`]: the operator has to act.
pub fn open_parts(
    disk: &Arc<dyn KeepSynced>,
    clocks: Box<dyn ReadClocks>,
    opening: Opening,
) -> Result<Parts, OpenFailed> {
    let Opening { key, next_key, vault, ring, sizes, lost_checkpoint, .. } = opening;
    let key = Arc::new(key);
    // Synced once more, so that a checkpoint which a process renamed and then died is durable before anybody sees it again.
    disk.create_dir("ledger")
        .and_then(|()| disk.sync_dir("ledger"))
        .map_err(|source| OpenFailed::Disk { path: "ledger".into(), source })?;
    let vault = Arc::new(Vault::open(&**disk, &vault)?);
    let mut published = Published::read(Arc::clone(disk), Arc::clone(&key), next_key)?;
    let (mut posture, mut erased) = (Vec::new(), Vec::new());
    let (mut log, recovered) = Log::open(
        Arc::clone(disk),
        sizes,
        key,
        Arc::clone(&vault),
        clocks,
        &mut |sequencer, record| {
            published.visit(sequencer, record);
            match record.and_then(entry_or_erasure) {
                Some(Found::Entry(entry)) => posture.push(entry),
                Some(Found::Erased(row)) => erased.push(row),
                None => {}
            }
        },
    )?;
    let (publisher, checkpoint) = published.check(&recovered.tree, log.view().clone())?;
    let lost_checkpoint = lost_checkpoint.filter(|_| recovered.tree.size == 0);
    let eraser = Eraser {
        vault: Arc::clone(&vault),
        disk: Arc::clone(disk),
        kept: Arc::clone(log.kept()),
        ring,
        key_is_due: AtomicBool::new(false),
    };
    let thinner = log.thinner(Arc::clone(disk));
    // Whoever was erased and came back with an older copy of the vault, or whom a crash kept there, goes before anything is served.
    if vault.forget_again(&erased)? {
        vault.rewrite(&**disk, log.kept(), None).map_err(OpenFailed::NotErased)?;
        eraser.key_is_due.store(true, Ordering::Relaxed);
    }
    keys::destroy_others(&**disk, vault.wrapping_id())
        .map_err(|source| OpenFailed::Disk { path: "keys".into(), source })?;
    log.begin().map_err(OpenFailed::NoStartRecord)?;
    log.add(&Draft::Node(NodeEvent::Start { lost_checkpoint })).map_err(
        |refused| match refused {
            NotAdded::Refused(why) => OpenFailed::NoStartRecord(why),
            NotAdded::BatchFull => OpenFailed::NoStartRecord(Unavailable::TooLarge),
        },
    )?;
    log.commit().map_err(OpenFailed::NoStartRecord)?;
    Ok(Parts { log, publisher, vault, recovered, checkpoint, posture, eraser, thinner })
}

/// What of the log has to be held against other files.
enum Found {
    Entry(Vec<u8>),
    Erased(ErasedRow),
}

/// What does not decode is for the replay to refuse.
fn entry_or_erasure(record: &StoredRecord) -> Option<Found> {
    let header = Header::decode(&record.entry).ok()?;
    if !matches!(header.kind, Kind::Posture | Kind::OperatorAction) {
        return None;
    }
    let body = Body::decode(&record.body).ok()?;
    if let Body::Posture { entry } = body {
        return Some(Found::Entry(entry));
    }
    let Body::OperatorAction { action, detail, .. } = body else { return None };
    let erased = (action == ERASED_ACTION).then(|| ErasedRow::from_detail(&detail));
    erased.flatten().map(Found::Erased)
}

impl Recorder {
    /// Records `draft`. When this returns a receipt, the record is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: what the draft describes must not happen. After [`Unavailable::Busy`] and [`Unavailable::Stopped`] the record may exist
    /// all the same and counts as read, unless the caller has `NotReleased` recorded for it.
    pub async fn append(&self, draft: Draft) -> Result<Receipt, Unavailable> {
        let receipt = self.queue(draft)?;
        receipt.await.unwrap_or_else(|_| Err(self.inner.shared.why_stopped()))
    }

    /// As [`Recorder::append`], for threads without a runtime.
    ///
    /// # Errors
    /// As [`Recorder::append`].
    pub fn append_blocking(&self, draft: Draft) -> Result<Receipt, Unavailable> {
        let receipt = self.queue(draft)?;
        receipt.blocking_recv().unwrap_or_else(|_| Err(self.inner.shared.why_stopped()))
    }

    /// The time, for whoever decides or charges by it: a stepped clock is noticed here before anything is charged at the stepped time.
    ///
    /// # Errors
    /// [`Unavailable::ClockStepped`] until the step is acknowledged.
    pub fn now(&self) -> Result<UnixMicros, Unavailable> {
        self.inner.shared.time.now().map_err(Unavailable::ClockStepped)
    }

    /// Takes data again after a step of the clock. The operator's acknowledgement is a record of its own, which the caller appends.
    pub fn acknowledge_clock(&self) {
        let mut queue = self.inner.shared.queue();
        queue.acknowledge_clock = true;
        self.inner.shared.wake(&mut queue);
    }

    /// The last checkpoint, as a signed note; none before the first of this run.
    pub fn checkpoint(&self) -> Option<Arc<str>> {
        self.inner.shared.checkpoint().as_ref().map(|(note, _)| Arc::clone(note))
    }

    /// How long ago the last checkpoint was published; none before the first of this run.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.inner.shared.checkpoint().as_ref().map(|(_, published)| published.elapsed())
    }

    /// Signs and publishes no checkpoint any more until the log is opened again. Records and receipts go on.
    pub fn withhold_checkpoints(&self) {
        self.inner.shared.withheld.store(true, Ordering::Relaxed);
    }

    /// Whether checkpoints are withheld.
    pub fn withholds_checkpoints(&self) -> bool {
        self.inner.shared.withheld.load(Ordering::Relaxed)
    }

    /// How many batches were made durable, each by one write and one sync.
    pub fn commits(&self) -> u64 {
        self.inner.shared.commits.load(Ordering::Relaxed)
    }

    /// Why the recorder takes nothing any more; none while it does.
    pub fn stopped(&self) -> Option<Unavailable> {
        self.inner.shared.queue().stopped.clone()
    }

    /// Ends the log in order: what waits is recorded, then the stop, heads and a checkpoint. Blocks until that is durable.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`] with the reason if the log had stopped before.
    pub fn stop(&self) -> Result<(), Unavailable> {
        self.inner.end(End::InOrder);
        match self.stopped() {
            Some(Unavailable::Stopped(why)) if why != STOPPED_IN_ORDER => {
                Err(Unavailable::Stopped(why))
            }
            _ => Ok(()),
        }
    }

    fn queue(
        &self,
        draft: Draft,
    ) -> Result<oneshot::Receiver<Result<Receipt, Unavailable>>, Unavailable> {
        let (reply, receipt) = oneshot::channel();
        let shared = &self.inner.shared;
        let mut queue = shared.queue();
        if let Some(stopped) = &queue.stopped {
            return Err(stopped.clone());
        }
        if queue.items.len() >= QUEUE_MAX {
            return Err(Unavailable::Busy(shared.wait_max));
        }
        if queue.items.is_empty() {
            queue.since = Some(Instant::now());
        }
        queue.items.push(Item { draft, reply });
        let enough = queue.items.len();
        let wake = queue.wake_at.take_if(|count| *count <= enough).is_some();
        // The writer is more urgent than we are and would run at once, into this lock.
        drop(queue);
        if wake {
            shared.work.notify_one();
        }
        Ok(receipt)
    }
}

/// What [`Recorder::stopped`] says after [`Recorder::stop`].
const STOPPED_IN_ORDER: &str = "the process is stopping";

impl Inner {
    fn end(&self, end: End) {
        {
            let mut queue = self.shared.queue();
            if queue.end == End::NotYet {
                queue.end = end;
            }
            self.shared.wake(&mut queue);
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has said so, and its callers were answered by their channel closing.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checkpoint(&self) -> MutexGuard<'_, Option<(Arc<str>, Instant)>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, queue: &mut MutexGuard<'_, Queue>) {
        if queue.wake_at.take().is_some() {
            self.work.notify_one();
        }
    }

    /// The writer's sleep: until `count` drafts wait, something else is asked of it, or `pause` has passed.
    fn sleep<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue>,
        count: usize,
        pause: Duration,
    ) -> MutexGuard<'q, Queue> {
        let asked = queue.end != End::NotYet || queue.acknowledge_clock;
        if queue.items.len() >= count || asked || queue.taken_away.is_some() {
            return queue;
        }
        queue.wake_at = Some(count);
        let waited = self.work.wait_timeout(queue, pause);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.wake_at = None;
        queue
    }

    fn why_stopped(&self) -> Unavailable {
        let stopped = self.queue().stopped.clone();
        stopped.unwrap_or_else(|| Unavailable::Stopped("the writer ended".into()))
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
