//! The recorder's threads.

use super::{End, Item, QUEUE_MAX, Queue, Reply, STOPPED_IN_ORDER, Shared};
use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::JournalSizes;
use crate::embedded::kept::KeptFiles;
use crate::embedded::lock::DirectoryLock;
use crate::embedded::log::{self, Log, NotAdded, PreparedSegment};
use crate::embedded::publisher::Publisher;
use crate::embedded::unavailable::Unavailable;
use ledger::{Draft, NodeEvent, Receipt, TreeHead};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the writer sleeps at most, to look at the clocks; and how often the guard looks at the files.
const TICK: Duration = Duration::from_millis(250);
/// How long drafts may gather for one commit while several appenders are at work. A commit costs as much processor time as most of a
/// request, waiting costs none: measured on one core at 10,000 requests a second, commits of one or two records, which is what an
/// urgent writer makes by itself, cost two fifths of all processor time.
const GATHER: Duration = Duration::from_micros(1_200);
/// One gathering in so many takes its whole time, to learn how many appenders there are.
const LEARN_EVERY: u32 = 16;
/// Heads follow the first record after a checkpoint by this much, so that tiles and checkpoint are out within a second.
const HEADS_AFTER: Duration = Duration::from_millis(500);
/// A checkpoint that could not be written is tried again, and a segment that could not be made.
const RETRY: Duration = Duration::from_secs(1);
/// Tiles are made durable this often; a crash has the next start write those of this time again.
const SYNC_TILES: Duration = Duration::from_secs(30);
/// Urgency of the writer's thread and the lease's, where the system allows it. A commit is a few microseconds of work between two waits for
/// the disk, and beside busy threads its wake-up is what everybody waits for; a renewal is less, and without it nobody is served.
const URGENT: i32 = -15;

/// Makes the calling thread urgent, where the system allows it; a refusal is no failure.
pub(crate) fn raise_priority() {
    let _ = rustix::process::setpriority_process(None, URGENT);
}

/// Starts the threads; they end when the queue says so. The writer keeps the lock.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    log: Log,
    publisher: Publisher,
    disk: Arc<dyn KeepSynced>,
    sizes: JournalSizes,
    lock: Option<DirectoryLock>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (to_publisher, trees) = channel();
    let (to_preparer, numbers) = channel();
    let (to_writer, segments) = channel();
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    let publish = {
        let shared = Arc::clone(shared);
        named("log-publisher").spawn(move || run_publisher(&shared, publisher, &trees))?
    };
    let guarded = Arc::clone(&disk);
    let prepare = named("log-preparer").spawn(move || {
        for number in numbers {
            let made = log::prepare_segment(&*disk, sizes, number);
            if to_writer.send(made).is_err() {
                return;
            }
        }
    })?;
    let watch = {
        let shared = Arc::clone(shared);
        named("log-watch").spawn(move || run_watch(&shared))?
    };
    let (to_guard, end) = channel();
    let guard = {
        let (shared, kept) = (Arc::clone(shared), Arc::clone(log.kept()));
        named("log-guard").spawn(move || run_guard(&shared, &kept, &*guarded, &end))?
    };
    let writer = Writer {
        shared: Arc::clone(shared),
        log,
        to_publisher,
        preparer: Preparer { asked: false, retry_at: None, to: to_preparer, from: segments },
        dirty_since: Some(Instant::now()),
        _guard_looks: to_guard,
        at_work: 0,
        gatherings: 0,
    };
    let write = named("log-writer").spawn(move || {
        let _held_until_the_writer_ends = lock;
        raise_priority();
        let mut end_guard = EndGuard { shared: Arc::clone(&writer.shared), why: None };
        end_guard.why = Some(writer.run());
    })?;
    Ok(vec![write, publish, prepare, watch, guard])
}

struct Writer {
    shared: Arc<Shared>,
    log: Log,
    to_publisher: Sender<TreeHead>,
    preparer: Preparer,
    /// Since when a record is durable that no heads record covers.
    dirty_since: Option<Instant>,
    /// The guard ends when this goes.
    _guard_looks: Sender<()>,
    /// How many appenders seem to be at work: as many drafts are worth waiting for, [`GATHER`] at most.
    at_work: usize,
    gatherings: u32,
}

/// The writer's end of the preparer's channels.
struct Preparer {
    asked: bool,
    retry_at: Option<Instant>,
    to: Sender<u64>,
    from: Receiver<io::Result<PreparedSegment>>,
}

impl Writer {
    /// Commits until told to end, or until the disk fails. Returns why it ended.
    fn run(mut self) -> Unavailable {
        loop {
            let taken = self.wait();
            if let Some(what) = taken.taken_away {
                let stopped =
                    Unavailable::Stopped(format!("a file it stands on was taken away: {what}"));
                tracing::error!(%stopped, "the record stopped");
                return stopped;
            }
            let round = self.round(taken.items, taken.since, taken.acknowledge_clock);
            if let Err(stopped) = round {
                tracing::error!(%stopped, "the record stopped");
                return stopped;
            }
            match taken.end {
                End::NotYet => {}
                End::Dropped => return Unavailable::Stopped("the recorder was dropped".into()),
                End::InOrder => {
                    return match self.stop_in_order() {
                        Ok(()) => Unavailable::Stopped(STOPPED_IN_ORDER.into()),
                        Err(stopped) => stopped,
                    };
                }
            }
        }
    }

    /// Takes what is queued, waiting for it until something else is due.
    ///
    /// Each commit is a write, a sync, a signature and two wake-ups, however many records are in it. So where several appenders are at
    /// work, this waits for as many drafts, but never longer than [`GATHER`]. A single appender never waits.
    fn wait(&mut self) -> Queue {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        if self.at_work > 1 {
            self.gatherings = self.gatherings.wrapping_add(1);
            let learn = self.gatherings.is_multiple_of(LEARN_EVERY);
            let enough = if learn { QUEUE_MAX } else { self.at_work };
            queue = shared.sleep(queue, enough, GATHER);
        }
        if queue.items.is_empty() {
            let due = self.dirty_since.map(|since| since + HEADS_AFTER);
            let pause =
                due.map_or(TICK, |due| TICK.min(due.saturating_duration_since(Instant::now())));
            queue = shared.sleep(queue, 1, pause);
        }
        let taken = Queue {
            items: Vec::new(),
            end: queue.end,
            since: queue.since.take(),
            acknowledge_clock: std::mem::take(&mut queue.acknowledge_clock),
            taken_away: queue.taken_away.take(),
            ..Queue::default()
        };
        let capacity = queue.items.len();
        Queue { items: std::mem::replace(&mut queue.items, Vec::with_capacity(capacity)), ..taken }
    }

    /// One group commit.
    fn round(
        &mut self,
        items: Vec<Item>,
        since: Option<Instant>,
        acknowledge_clock: bool,
    ) -> Result<(), Unavailable> {
        self.preparer.tend(&mut self.log);
        if acknowledge_clock {
            self.log.acknowledge_clock();
        }

        let mut drafts = Vec::with_capacity(items.len());
        {
            let mut in_flight = self.shared.in_flight();
            in_flight.since = since;
            for Item { draft, reply } in items {
                drafts.push(draft);
                in_flight.replies.push_back(reply);
            }
        }
        // The drafts are taken; from here on `begin` makes durable every vault row that they may name.
        self.log.begin()?;
        let mut places = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            let place = loop {
                match self.log.add(draft) {
                    Err(NotAdded::BatchFull) => {
                        self.commit(&mut places)?;
                        if self.shared.in_flight().replies.is_empty() {
                            return Ok(()); // the watch has answered all of them: they waited too long
                        }
                    }
                    Err(NotAdded::Refused(Unavailable::DiskFull))
                        if self.preparer.wait(&mut self.log, self.shared.wait_max) => {}
                    Err(NotAdded::Refused(why)) => break Err(why),
                    Ok(index) => break Ok(index),
                }
            };
            places.push(place);
        }
        let heads_due = self.dirty_since.is_some_and(|since| since.elapsed() >= HEADS_AFTER);
        let tree = if heads_due { self.add_heads(&mut places)? } else { None };
        self.commit(&mut places)?;
        if heads_due {
            // Without room for the heads, which only a used-up reserve can be, they are due again later.
            self.dirty_since = if tree.is_some() { None } else { Some(Instant::now()) };
        }
        if let Some(tree) = tree {
            // The publisher lives as long as this sender.
            let _ = self.to_publisher.send(tree);
        }
        Ok(())
    }

    fn add_heads(
        &mut self,
        places: &mut Vec<Result<u64, Unavailable>>,
    ) -> Result<Option<TreeHead>, Unavailable> {
        match self.log.add_heads() {
            Err(NotAdded::BatchFull) => {
                self.commit(places)?;
                Ok(self.log.add_heads().ok())
            }
            added => Ok(added.ok()),
        }
    }

    /// Makes the batch durable and answers the callers at `places`, in the order of their replies.
    fn commit(&mut self, places: &mut Vec<Result<u64, Unavailable>>) -> Result<(), Unavailable> {
        let receipts = self.log.commit()?;
        // Counted before anybody is answered: whoever is, may be back at once and is no second appender. What was seen before
        // fades, because appenders come in bursts.
        let seen = places.len() + self.shared.queue().items.len();
        self.at_work = seen.max(self.at_work * 3 / 4);
        if !receipts.is_empty() {
            self.dirty_since.get_or_insert_with(Instant::now);
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
        }
        let replies: Vec<Reply> = {
            let mut in_flight = self.shared.in_flight();
            let owed = places.len().min(in_flight.replies.len());
            in_flight.replies.drain(..owed).collect()
        };
        let mut receipts = receipts.into_iter();
        for (place, reply) in places.drain(..).zip(replies) {
            let answer = place.and_then(|index| receipt_of(&mut receipts, index));
            // Whoever does not wait any more does not release either.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    fn stop_in_order(&mut self) -> Result<(), Unavailable> {
        self.log.begin()?;
        let added = self.log.add(&Draft::Node(NodeEvent::Stop));
        let tree = self.log.add_heads();
        self.log.commit()?;
        if let (Ok(_), Ok(tree)) = (added, tree) {
            let _ = self.to_publisher.send(tree);
        }
        Ok(())
    }
}

/// The receipt with this index: places and receipts are in the same order, with the log's own records between.
fn receipt_of(
    receipts: &mut impl Iterator<Item = Receipt>,
    index: u64,
) -> Result<Receipt, Unavailable> {
    let receipt = receipts.find(|receipt| receipt.index() == index);
    receipt.ok_or_else(|| Unavailable::Stopped("a receipt is missing".into()))
}

impl Preparer {
    /// Has the next segment made in time, and takes it when it is.
    fn tend(&mut self, log: &mut Log) {
        if let Ok(made) = self.from.try_recv() {
            self.take(made, log);
        }
        let may_ask = self.retry_at.is_none_or(|at| at <= Instant::now());
        if let Some(number) = log.wants_segment()
            && !self.asked
            && may_ask
        {
            self.asked = self.to.send(number).is_ok();
        }
    }

    /// Waits for a segment that is being made. Returns whether one came.
    fn wait(&mut self, log: &mut Log, wait_max: Duration) -> bool {
        self.tend(log);
        if !self.asked {
            return false;
        }
        match self.from.recv_timeout(wait_max) {
            Ok(made) => self.take(made, log),
            Err(_) => false,
        }
    }

    fn take(&mut self, made: io::Result<PreparedSegment>, log: &mut Log) -> bool {
        self.asked = false;
        match made {
            Ok(segment) => {
                self.retry_at = None;
                log.stock(segment);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the next segment of the log cannot be made");
                self.retry_at = Some(Instant::now() + RETRY);
                false
            }
        }
    }
}

fn run_publisher(shared: &Shared, mut publisher: Publisher, trees: &Receiver<TreeHead>) {
    let mut unpublished: Option<TreeHead> = None;
    let mut synced_at = Instant::now();
    loop {
        let ended = match trees.recv_timeout(RETRY) {
            Ok(tree) => {
                // Only the newest: a checkpoint covers all before it.
                unpublished = Some(trees.try_iter().last().unwrap_or(tree));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if let Some(tree) = unpublished
            && !shared.withheld.load(Ordering::Relaxed)
        {
            match publisher.publish(&tree) {
                Ok(note) => {
                    unpublished = None;
                    let mut published =
                        shared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
                    *published = Some((note.into(), Instant::now()));
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint");
                }
            }
        }
        if ended || synced_at.elapsed() >= SYNC_TILES {
            synced_at = Instant::now();
            if let Err(error) = publisher.sync_tiles() {
                tracing::warn!(%error, "the tiles are not durable");
            }
        }
        if ended {
            return;
        }
    }
}

/// Looks at the files. A thread of its own, because there may be many segments, and a disk that hangs must not hold up anybody else.
fn run_guard(shared: &Shared, kept: &KeptFiles, disk: &dyn KeepSynced, end: &Receiver<()>) {
    while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = kept.check(disk) {
            let mut queue = shared.queue();
            queue.taken_away = Some(error.to_string());
            shared.wake(&mut queue);
            return;
        }
    }
}

/// Answers whoever has waited longer than allowed, for the writer may hang in the disk.
fn run_watch(shared: &Shared) {
    let look_every =
        (shared.wait_max / 8).clamp(Duration::from_millis(5), Duration::from_millis(100));
    loop {
        thread::sleep(look_every);
        let overdue =
            |since: Option<Instant>| since.is_some_and(|at| at.elapsed() >= shared.wait_max);
        let mut late: Vec<Reply> = Vec::new();
        {
            let mut queue = shared.queue();
            if queue.stopped.is_some() {
                return;
            }
            if overdue(queue.since) {
                queue.since = None;
                late.extend(queue.items.drain(..).map(|item| item.reply));
            }
        }
        {
            let mut in_flight = shared.in_flight();
            if overdue(in_flight.since) {
                late.extend(in_flight.replies.drain(..));
            }
        }
        for reply in late {
            let _ = reply.send(Err(Unavailable::Busy(shared.wait_max)));
        }
    }
}

/// Says that the recorder has ended, also when the writer panicked, and answers everybody who waits.
struct EndGuard {
    shared: Arc<Shared>,
    why: Option<Unavailable>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let panicked = || Unavailable::Stopped("the writer panicked".into());
        let why = self.why.take().unwrap_or_else(panicked);
        let mut waiting: Vec<Reply> = Vec::new();
        {
            let mut queue = self.shared.queue();
            queue.stopped = Some(why.clone());
            waiting.extend(queue.items.drain(..).map(|item| item.reply));
        }
        waiting.extend(self.shared.in_flight().replies.drain(..));
        for reply in waiting {
            let _ = reply.send(Err(why.clone()));
        }
    }
}
