//! A courier carries letters one after the other, over one connection at a time or into the folder.

use super::letter::{BadLetter, Composed};
use super::queue::{Next, Queue};
use super::smtp::{Broken, Connection, Handed, Reply};
use super::{Mailer, Transport, folder};
use crate::listen::told;
use model::Micros;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::clock::unix_now;
use storage::outbox::{Letter, OutboxError, Outcome, Settled};
use tokio::sync::watch;
use tracing::debug;

/// Letters over one connection; servers like to see the end of it.
const LETTERS_PER_CONNECTION: u32 = 100;

/// Longest pause of a courier whose server cannot be used. A letter's own pauses are longer.
const REST_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) struct Courier<F> {
    pub(super) mailer: Arc<Mailer>,
    pub(super) queue: Arc<Queue>,
    pub(super) compose: Arc<F>,
    pub(super) halt: watch::Receiver<bool>,
    connection: Option<Connection>,
    /// Letters handed over on this connection.
    carried: u32,
    /// Failures of the server since it last answered for a letter.
    strikes: usize,
    /// The last letter's outcome, which the next claim writes down.
    unsettled: Option<Settled>,
}

/// What the server says before it has the content.
enum Asked {
    Ready,
    /// It answered about this letter, and the connection is as good as before.
    Answered(Reply),
    /// The connection broke while it was asked about this letter.
    Broken(Broken),
    /// It cannot be used at all.
    Unreachable(Broken),
}

impl<F: Fn(&Letter) -> Result<Composed, BadLetter>> Courier<F> {
    pub(super) fn new(
        mailer: Arc<Mailer>,
        queue: Arc<Queue>,
        compose: Arc<F>,
        halt: watch::Receiver<bool>,
    ) -> Self {
        Self {
            mailer,
            queue,
            compose,
            halt,
            connection: None,
            carried: 0,
            strikes: 0,
            unsettled: None,
        }
    }

    /// Carries letters until there are none, or until it is told to halt; then only the one whose content has begun.
    pub(super) async fn run(mut self) -> Result<(), OutboxError> {
        while !*self.halt.borrow() {
            match self.queue.next().await? {
                Next::Letter(letter) => self.carry(letter).await?,
                Next::Later(wait) => {
                    self.settle(None).await?;
                    self.rest_until_changed(wait).await;
                }
                Next::Nothing => break,
            }
        }
        self.settle(None).await?;
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
        Ok(())
    }

    async fn carry(&mut self, letter: Letter) -> Result<(), OutboxError> {
        let composed = match (self.compose)(&letter) {
            Ok(composed) => self.mailer.signed(composed),
            Err(bad @ BadLetter::To) => return self.settled(letter, Outcome::Refused, &bad).await,
            Err(bad) => return self.settled(letter, Outcome::GivenUp, &bad).await,
        };
        let mailer = Arc::clone(&self.mailer);
        match &mailer.transport {
            Transport::Smtp(_) => self.send(letter, composed).await,
            Transport::Folder(folder) => self.file(letter, composed, folder).await,
        }
    }

    async fn send(&mut self, letter: Letter, composed: Composed) -> Result<(), OutboxError> {
        if self.connection.is_none() {
            // Connecting may take long; a letter that a server has taken should not look undecided meanwhile.
            self.settle(None).await?;
        }
        let mut halt = self.halt.clone();
        let asked = tokio::select! {
            asked = self.ask(&composed) => Some(asked),
            () = told(&mut halt) => None,
        };
        let Some(asked) = asked else {
            self.connection = None;
            self.queue.put_back(&letter.subject).await;
            return Ok(());
        };
        match asked {
            Asked::Ready => self.hand_over(letter, &composed).await,
            Asked::Answered(reply) => {
                self.strikes = 0;
                let outcome = self.outcome(&letter, reply.code);
                self.settled(letter, outcome, &reply).await
            }
            Asked::Broken(broken) => {
                let outcome = self.deferred(&letter);
                self.settled(letter, outcome, &broken).await?;
                self.strike(1).await;
                Ok(())
            }
            Asked::Unreachable(broken) => {
                debug!(%broken, "the mail server cannot be used");
                let until = unix_now() + micros(self.mailer.rest(self.strikes));
                self.settled(letter, Outcome::Deferred { until, counts: false }, &broken).await?;
                self.strike(0).await;
                Ok(())
            }
        }
    }

    /// Everything that can be asked before the content, on a connection that works.
    async fn ask(&mut self, letter: &Composed) -> Asked {
        let connection = loop {
            let (connection, reused) = match self.connection.take() {
                Some(connection) => (connection, true),
                None => match self.mailer.connect().await {
                    Ok(connection) => {
                        self.carried = 0;
                        (connection, false)
                    }
                    Err(broken) => return Asked::Unreachable(broken),
                },
            };
            let connection = self.connection.insert(connection);
            match connection.mail(letter).await {
                Ok(()) => break connection,
                // Servers close connections when they like; that is found out here, and no letter's fault.
                Err(_) if reused => self.connection = None,
                Err(broken) => {
                    self.connection = None;
                    return Asked::Unreachable(broken);
                }
            }
        };
        let asked = match connection.recipient(letter).await {
            Ok(reply) if reply.code < 300 => match connection.data().await {
                Ok(reply) if reply.code == 354 => return Asked::Ready,
                Ok(reply) => Ok(reply),
                Err(broken) => Err(broken),
            },
            Ok(reply) if reply.code < 400 => Err(Broken::Garbage),
            Ok(reply) => Ok(reply),
            Err(broken) => Err(broken),
        };
        match asked {
            //= RFC 5321 section 3.8: 421 announces that the server closes
            Ok(reply) if reply.code == 421 => {
                self.connection = None;
                Asked::Broken(Broken::Answered(reply))
            }
            Ok(reply) => {
                if connection.reset().await.is_err() {
                    self.connection = None;
                }
                Asked::Answered(reply)
            }
            Err(broken) => {
                self.connection = None;
                Asked::Broken(broken)
            }
        }
    }

    /// The mark, and the content behind it.
    async fn hand_over(&mut self, letter: Letter, composed: &Composed) -> Result<(), OutboxError> {
        // Whatever goes wrong from here, this connection is dropped unless it is put back: it waits for content.
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let Some(claimed) = self.queue.claim(&letter.subject, &mut self.unsettled).await? else {
            self.queue.put_back(&letter.subject).await;
            return Ok(());
        };
        let (outcome, reply, next) = match connection.content(&claimed, composed).await {
            Handed::Answered(reply) => {
                let next = (reply.code != 421).then_some(connection);
                (self.outcome(&letter, reply.code), reply.to_string(), next)
            }
            Handed::NotTaken(broken) => (self.deferred(&letter), broken.to_string(), None),
            Handed::Unknown(broken) => (Outcome::InDoubt, broken.to_string(), None),
        };
        self.unsettled = Some(Settled { subject: letter.subject, outcome, reply });
        self.carried = self.carried.saturating_add(1);
        match next {
            Some(connection) if self.carried < LETTERS_PER_CONNECTION => {
                self.strikes = 0;
                self.connection = Some(connection);
            }
            Some(connection) => {
                self.strikes = 0;
                self.settle(None).await?;
                connection.quit().await;
            }
            None => {
                self.settle(None).await?;
                self.strike(1).await;
            }
        }
        Ok(())
    }

    async fn file(
        &mut self,
        letter: Letter,
        composed: Composed,
        folder: &Path,
    ) -> Result<(), OutboxError> {
        let folder = folder.to_owned();
        let filed = tokio::task::spawn_blocking(move || folder::deliver(&folder, &composed)).await;
        match filed {
            Ok(Ok(_)) => {
                self.strikes = 0;
                self.settled(letter, Outcome::Accepted, &"filed").await
            }
            Ok(Err(error)) => self.cannot_file(letter, &error).await,
            Err(error) => self.cannot_file(letter, &error).await,
        }
    }

    async fn cannot_file(
        &mut self,
        letter: Letter,
        error: &(impl ToString + Sync),
    ) -> Result<(), OutboxError> {
        let until = unix_now() + micros(self.mailer.rest(self.strikes));
        self.settled(letter, Outcome::Deferred { until, counts: false }, error).await?;
        self.strike(0).await;
        Ok(())
    }

    /// What an answer of the server makes of a letter.
    fn outcome(&self, letter: &Letter, code: u16) -> Outcome {
        match code {
            200..300 => Outcome::Accepted,
            500.. => Outcome::Refused,
            _ => self.deferred(letter),
        }
    }

    /// One more attempt, if it has one left.
    fn deferred(&self, letter: &Letter) -> Outcome {
        let done = usize::try_from(letter.attempts).unwrap_or(usize::MAX);
        match self.mailer.settings.pauses.get(done) {
            Some(&pause) => Outcome::Deferred { until: unix_now() + micros(pause), counts: true },
            None => Outcome::GivenUp,
        }
    }

    async fn settled(
        &mut self,
        letter: Letter,
        outcome: Outcome,
        reply: &(impl ToString + Sync),
    ) -> Result<(), OutboxError> {
        self.settle(Some(Settled { subject: letter.subject, outcome, reply: reply.to_string() }))
            .await
    }

    /// Writes down the last letter's outcome and this one's.
    async fn settle(&mut self, this: Option<Settled>) -> Result<(), OutboxError> {
        let settled: Vec<_> = self.unsettled.take().into_iter().chain(this).collect();
        self.queue.settle(&settled).await
    }

    /// The server failed. Rests from failure `free` + 1 on, longer each time.
    async fn strike(&mut self, free: usize) {
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes > free {
            let pause = self.mailer.rest(self.strikes - free - 1);
            let mut halt = self.halt.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told(&mut halt) => {}
            }
        }
    }

    async fn rest_until_changed(&mut self, wait: Duration) {
        tokio::select! {
            () = self.queue.wait(wait) => {}
            () = told(&mut self.halt) => {}
        }
    }
}

impl Mailer {
    /// How long a courier rests after `strikes` failures before this one.
    fn rest(&self, strikes: usize) -> Duration {
        let pauses = &self.settings.pauses;
        pauses.get(strikes).or(pauses.last()).copied().unwrap_or(REST_MAX).min(REST_MAX)
    }
}

fn micros(span: Duration) -> Micros {
    Micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
