//! Signals between the data path and the file: those of strangers wait for the others and take no room of theirs.

use super::Noticed;
use tokio::sync::mpsc;

/// Signals of each kind that wait at a time.
const WAITING_MAX: usize = 4_096;

/// Signals of strangers that are taken at a time: the others wait no longer than it takes to keep so many.
const STRANGERS_AT_ONCE: usize = 256;

/// Where signals are put.
pub(super) struct Entrance {
    proved: mpsc::Sender<Noticed>,
    strangers: mpsc::Sender<Noticed>,
}

/// Where they are taken from.
pub(super) struct Exit {
    proved: mpsc::Receiver<Noticed>,
    strangers: mpsc::Receiver<Noticed>,
}

pub(super) fn queue() -> (Entrance, Exit) {
    let (proved, taken) = mpsc::channel(WAITING_MAX);
    let (strangers, taken_of_strangers) = mpsc::channel(WAITING_MAX);
    (Entrance { proved, strangers }, Exit { proved: taken, strangers: taken_of_strangers })
}

impl Entrance {
    /// Never waits. False if there is no room.
    pub(super) fn put(&self, noticed: Noticed) -> bool {
        let queue = if noticed.of_strangers { &self.strangers } else { &self.proved };
        queue.try_send(noticed).is_ok()
    }
}

impl Exit {
    /// Waits for some. Nothing is lost if the wait is given up.
    pub(super) async fn take(&mut self) -> Vec<Noticed> {
        let (mut proved, mut strangers) = (Vec::new(), Vec::new());
        tokio::select! {
            biased;
            _ = self.proved.recv_many(&mut proved, WAITING_MAX) => proved,
            _ = self.strangers.recv_many(&mut strangers, STRANGERS_AT_ONCE) => strangers,
        }
    }

    /// All that there are.
    pub(super) fn rest(&mut self) -> Vec<Noticed> {
        let mut rest = Vec::new();
        for queue in [&mut self.proved, &mut self.strangers] {
            while let Ok(noticed) = queue.try_recv() {
                rest.push(noticed);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::noticed;

    #[tokio::test]
    async fn however_many_strangers_wait_the_others_find_room_and_go_first() {
        let (entrance, mut exit) = queue();
        let strange = || Noticed { of_strangers: true, ..noticed("proof", "") };
        for n in 0..WAITING_MAX + 10 {
            assert_eq!(entrance.put(strange()), n < WAITING_MAX);
        }
        assert!(entrance.put(noticed("honey", "int_1")));
        let rules = |taken: Vec<Noticed>| taken.into_iter().map(|one| one.rule).collect::<Vec<_>>();
        assert_eq!(rules(exit.take().await), ["honey"]);
        assert_eq!(exit.take().await.len(), STRANGERS_AT_ONCE, "before it looks again");
        assert!(entrance.put(noticed("honey", "int_1")));
        let rest = rules(exit.rest());
        assert_eq!((&*rest[0], rest.len()), ("honey", WAITING_MAX - STRANGERS_AT_ONCE + 1));
    }
}
