//! What the couriers of one run share: which letters are in whose hands, and the outbox.

use model::SubjectId;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use storage::clock::unix_now;
use storage::outbox::{Claimed, Letter, Outbox, OutboxError, Settled};
use tokio::sync::{Mutex, Notify};

/// Letters read from the outbox at once.
const PAGE: u32 = 128;

/// Longest wait until the outbox is looked at again: an operator may have queued letters meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_SOONEST: Duration = Duration::from_millis(5);

pub(super) struct Queue {
    outbox: Outbox,
    incident: String,
    hands: Mutex<Hands>,
    /// Told whenever a letter leaves somebody's hands.
    changed: Notify,
}

#[derive(Default)]
struct Hands {
    ready: VecDeque<Letter>,
    /// Whoever was read from the outbox and is not settled there, `ready` included. At most a page and the couriers'.
    held: BTreeSet<SubjectId>,
}

/// What there is to do.
pub(super) enum Next {
    Letter(Letter),
    Later(Duration),
    Nothing,
}

impl Queue {
    pub(super) fn new(outbox: Outbox, incident: &str) -> Self {
        Self { outbox, incident: incident.into(), hands: Mutex::default(), changed: Notify::new() }
    }

    /// The next letter, which is the caller's until it is settled or [`Queue::put_back`].
    pub(super) async fn next(&self) -> Result<Next, OutboxError> {
        let mut hands = self.hands.lock().await;
        if hands.ready.is_empty() {
            // Those in somebody's hands may be due too, and come first.
            let limit = PAGE.saturating_add(u32::try_from(hands.held.len()).unwrap_or(u32::MAX));
            let due = self.outbox.due(&self.incident, unix_now(), limit).await?;
            for letter in due {
                if hands.held.insert(letter.subject.clone()) {
                    hands.ready.push_back(letter);
                }
            }
        }
        if let Some(letter) = hands.ready.pop_front() {
            return Ok(Next::Letter(letter));
        }
        let next = self.outbox.next_attempt(&self.incident).await?;
        match next {
            None if hands.held.is_empty() => Ok(Next::Nothing),
            None => Ok(Next::Later(LOOK_AGAIN)),
            Some(at) => {
                let until = Duration::from_micros(at.since(unix_now()).0);
                Ok(Next::Later(until.clamp(LOOK_AGAIN_SOONEST, LOOK_AGAIN)))
            }
        }
    }

    /// As [`Outbox::claim`]; `before` is settled then.
    pub(super) async fn claim(
        &self,
        next: &SubjectId,
        before: &mut Option<Settled>,
    ) -> Result<Option<Claimed>, OutboxError> {
        let claimed = self.outbox.claim(&self.incident, next, before.as_ref(), unix_now()).await?;
        if let Some(settled) = before.take() {
            self.put_back(&settled.subject).await;
        }
        Ok(claimed)
    }

    /// As [`Outbox::settle`].
    pub(super) async fn settle(&self, settled: &[Settled]) -> Result<(), OutboxError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.outbox.settle(&self.incident, settled, unix_now()).await?;
        for settled in settled {
            self.put_back(&settled.subject).await;
        }
        Ok(())
    }

    /// Lets go of a letter, which is then what the outbox says it is.
    pub(super) async fn put_back(&self, subject: &SubjectId) {
        self.hands.lock().await.held.remove(subject);
        self.changed.notify_waiters();
    }

    /// Waits, but not on when a letter was let go of.
    pub(super) async fn wait(&self, at_most: Duration) {
        tokio::time::timeout(at_most, self.changed.notified()).await.ok();
    }
}
