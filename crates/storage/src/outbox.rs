//! The outbox: one row for each letter an incident owes somebody, and what became of it.
//!
//! SMTP cannot be exactly-once. A server that has the last line of a message may take the letter although its answer never
//! arrives, and nothing can be asked afterwards. So the order is: the server is asked for everything it can say beforehand
//! (sender, recipient, readiness); then [`Outbox::claim`] makes the row durably `sending`; then the content is written, and
//! between that sync and that write there is nothing. Whoever was killed in between leaves a row that says `sending`, which
//! [`Outbox::recover`] turns into `in_doubt`: in all likelihood the server took it. It is not sent again by itself, because a
//! doubled letter about a breach frightens people, and not forgotten, because a missing one is unlawful. An operator decides
//! ([`Outbox::requeue_in_doubt`]); the Message-ID stays the same, so servers that drop doubles do.
//!
//! **Invariant:** `accepted`, `refused` and `given_up` are final. Nothing but [`Outbox::erase`] removes a row, and
//! [`Outbox::withdraw`] those that no server has seen.
//!
//! It knows no SMTP and composes nothing. Start reading at [`Outbox::claim`].

use crate::sqlite;
use model::{SubjectId, UnixMicros};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};
use std::fmt;
use std::path::Path;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations-outbox");

/// Rows of one transaction when an incident's letters are queued: the sync is shared, and other writers wait for
/// milliseconds only.
const ENQUEUE_BATCH: usize = 1_000;

/// How much of a server's reply is kept.
const REPLY_BYTES_MAX: usize = 200;

/// Why the outbox did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A stored row breaks the rules it was written under.
    #[error("the outbox holds {0}")]
    Corrupt(String),
    /// The database could not be reached or written. Nothing was changed, save batches of letters queued before.
    #[error("the outbox cannot be used")]
    Unavailable(#[from] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the outbox's tables cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// Where a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LetterState {
    /// Not tried yet.
    Queued,
    /// Handed to a server whose answer is not known yet.
    Sending,
    /// A server answered for it. Final.
    Accepted,
    /// A server will never take it. Final.
    Refused,
    /// Not taken this time; tried again later.
    Deferred,
    /// Tried as often as it may be. Final.
    GivenUp,
    /// Handed to a server whose answer will never be known.
    InDoubt,
}

/// A letter that may be tried.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whom it is about, and to.
    pub subject: SubjectId,
    /// Where it goes, as it was queued: checked by nobody yet.
    pub address: String,
    /// Which version of the incident's scope it tells of.
    pub scope_version: u64,
    /// How many attempts have counted against it.
    pub attempts: u32,
}

/// Proof that a letter is durably marked as handed over. Its content is written next, and nothing else.
#[derive(Debug)]
pub struct Claimed(());

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server answered for it.
    Accepted,
    /// A server will never take it.
    Refused,
    /// To be tried again, not before `until`. `counts`: whether the attempt counts against the letter.
    Deferred {
        /// When.
        until: UnixMicros,
        /// False if the server could not be reached, which says nothing about the letter.
        counts: bool,
    },
    /// Tried as often as it may be.
    GivenUp,
    /// The connection was lost after the last line of the message was written.
    InDoubt,
}

/// An outcome and its letter.
#[derive(Clone)]
pub struct Settled {
    /// Whose letter.
    pub subject: SubjectId,
    /// What came of it.
    pub outcome: Outcome,
    /// What the server said. Kept as printable ASCII, 200 bytes at most.
    pub reply: String,
}

/// How many letters were queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// Queued by this call.
    pub new: u64,
    /// There before, in whatever state; left as they were.
    pub already: u64,
}

/// How many letters of an incident stand in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "one field for each of `LetterState`, which says what it is")]
pub struct Progress {
    pub queued: u64,
    pub sending: u64,
    pub accepted: u64,
    pub refused: u64,
    pub deferred: u64,
    pub given_up: u64,
    pub in_doubt: u64,
    /// When the next deferred letter may be tried.
    pub next_attempt: Option<UnixMicros>,
}

/// A letter that did not arrive so far, or may not have, for the report.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose letter.
    pub subject: SubjectId,
    /// `Refused`, `Deferred`, `GivenUp` or `InDoubt`.
    pub state: LetterState,
    /// What the server said.
    pub reply: String,
}

/// The letters of one deployment. Clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// One connection: SQLite has one writer, and this queue is fairer than its busy handler.
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Outbox {
    /// Opens the outbox at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] or [`OutboxError::Migration`]; the file is then as it was.
    pub async fn open(path: &Path) -> Result<Self, OutboxError> {
        // `sending` must be on the disk before a server sees the message, and it is: each commit is synced.
        let options = sqlite::options(path);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let reader = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        Ok(Self { writer, reader })
    }

    /// Queues a letter to each of `people`: the subject and their address. Who has one of this incident keeps it as it is.
    ///
    /// A thousand letters to a transaction: after an error the first batches stand, and asking again adds the rest.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`].
    pub async fn enqueue(
        &self,
        incident: &str,
        scope_version: u64,
        people: impl Iterator<Item = (SubjectId, String)>,
        now: UnixMicros,
    ) -> Result<Enqueued, OutboxError> {
        let mut people = people.fuse();
        let mut enqueued = Enqueued::default();
        loop {
            let batch: Vec<_> = people.by_ref().take(ENQUEUE_BATCH).collect();
            if batch.is_empty() {
                return Ok(enqueued);
            }
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO letters (incident, subject, address, scope_version, state, attempts, next_attempt, reply, updated) ",
            );
            insert.push_values(&batch, |mut row, (subject, address)| {
                row.push_bind(incident)
                    .push_bind(subject.as_str())
                    .push_bind(address.as_str())
                    .push_bind(signed(scope_version))
                    .push("'queued', 0")
                    .push_bind(signed(now.0))
                    .push("''")
                    .push_bind(signed(now.0));
            });
            insert.push(" ON CONFLICT (incident, subject) DO NOTHING");
            let new = insert.build().execute(&self.writer).await?.rows_affected();
            enqueued.new += new;
            enqueued.already += (batch.len() as u64).saturating_sub(new);
        }
    }

    /// Takes back the letters of `incident` that wait and tell of another version of its scope than this one. Returns how many.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`]; nothing was changed.
    pub async fn withdraw(&self, incident: &str, unless: u64) -> Result<u64, OutboxError> {
        let withdrawn = sqlx::query(
            "DELETE FROM letters WHERE incident = $1 AND scope_version <> $2 AND state IN ('queued', 'deferred')",
        )
        .bind(incident)
        .bind(signed(unless))
        .execute(&self.writer)
        .await?;
        Ok(withdrawn.rows_affected())
    }

    /// Takes back the letters of `incident` that were refused or given up, to be queued anew at the addresses there are now. Returns
    /// how many.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`]; nothing was changed.
    pub async fn withdraw_unsent(&self, incident: &str) -> Result<u64, OutboxError> {
        let withdrawn = sqlx::query(
            "DELETE FROM letters WHERE incident = $1 AND state IN ('refused', 'given_up')",
        )
        .bind(incident)
        .execute(&self.writer)
        .await?;
        Ok(withdrawn.rows_affected())
    }

    /// At most `limit` letters of `incident` that may be tried: first those whose pause is over, then those never tried.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] or [`OutboxError::Corrupt`].
    pub async fn due(
        &self,
        incident: &str,
        now: UnixMicros,
        limit: u32,
    ) -> Result<Vec<Letter>, OutboxError> {
        let mut letters = Vec::new();
        for state in [LetterState::Deferred, LetterState::Queued] {
            let room = i64::from(limit).saturating_sub_unsigned(letters.len() as u64);
            let rows = sqlx::query(
                "SELECT subject, address, scope_version, attempts FROM letters
                 WHERE incident = $1 AND state = $2 AND next_attempt <= $3 ORDER BY next_attempt LIMIT $4",
            )
            .bind(incident)
            .bind(state.name())
            .bind(signed(now.0))
            .bind(room)
            .fetch_all(&self.reader)
            .await?;
            for row in rows {
                letters.push(Letter {
                    subject: subject(&row)?,
                    address: row.try_get("address")?,
                    scope_version: unsigned(row.try_get("scope_version")?),
                    attempts: row.try_get::<i64, _>("attempts")?.try_into().unwrap_or(u32::MAX),
                });
            }
        }
        Ok(letters)
    }

    /// When the next letter that is not final and not with a server may be tried; in the past if one is due.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`].
    pub async fn next_attempt(&self, incident: &str) -> Result<Option<UnixMicros>, OutboxError> {
        let earliest: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(earliest) FROM (
                 SELECT MIN(next_attempt) AS earliest FROM letters WHERE incident = $1 AND state = 'queued'
                 UNION ALL
                 SELECT MIN(next_attempt) FROM letters WHERE incident = $1 AND state = 'deferred') AS waiting",
        )
        .bind(incident)
        .fetch_one(&self.reader)
        .await?;
        Ok(earliest.map(|micros| UnixMicros(unsigned(micros))))
    }

    /// Marks a letter durably as handed over, and settles `before` in the same transaction: one sync for each letter.
    ///
    /// `None` if the letter is not to be tried (any longer): its content must not be written.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`]; nothing was changed.
    pub async fn claim(
        &self,
        incident: &str,
        next: &SubjectId,
        before: Option<&Settled>,
        now: UnixMicros,
    ) -> Result<Option<Claimed>, OutboxError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(settled) = before {
            write(&mut tx, incident, settled, now).await?;
        }
        let marked = sqlx::query(
            "UPDATE letters SET state = 'sending', updated = $3
             WHERE incident = $1 AND subject = $2 AND state IN ('queued', 'deferred')",
        )
        .bind(incident)
        .bind(next.as_str())
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok((marked == 1).then_some(Claimed(())))
    }

    /// Writes down what came of attempts. A letter in a final state, or erased meanwhile, stays so.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`]; nothing was changed.
    pub async fn settle(
        &self,
        incident: &str,
        settled: &[Settled],
        now: UnixMicros,
    ) -> Result<(), OutboxError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for settled in settled {
            write(&mut tx, incident, settled, now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// How many of an incident's letters were accepted that tell of another version of its scope than this one.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`].
    pub async fn accepted_before(&self, incident: &str, version: u64) -> Result<u64, OutboxError> {
        let letters: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM letters WHERE incident = $1 AND state = 'accepted' AND scope_version <> $2",
        )
        .bind(incident)
        .bind(signed(version))
        .fetch_one(&self.reader)
        .await?;
        Ok(letters.unsigned_abs())
    }

    /// How far an incident's letters are.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] or [`OutboxError::Corrupt`].
    pub async fn progress(&self, incident: &str) -> Result<Progress, OutboxError> {
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS letters, MIN(next_attempt) AS earliest FROM letters
             WHERE incident = $1 GROUP BY state",
        )
        .bind(incident)
        .fetch_all(&self.reader)
        .await?;
        let mut progress = Progress::default();
        for row in rows {
            let letters = unsigned(row.try_get("letters")?);
            match state(&row)? {
                LetterState::Queued => progress.queued = letters,
                LetterState::Sending => progress.sending = letters,
                LetterState::Accepted => progress.accepted = letters,
                LetterState::Refused => progress.refused = letters,
                LetterState::Deferred => {
                    progress.deferred = letters;
                    progress.next_attempt = Some(UnixMicros(unsigned(row.try_get("earliest")?)));
                }
                LetterState::GivenUp => progress.given_up = letters,
                LetterState::InDoubt => progress.in_doubt = letters,
            }
        }
        Ok(progress)
    }

    /// Whose letter did not arrive so far or may not have, ordered by subject, at most `limit` of them behind `after`.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] or [`OutboxError::Corrupt`].
    pub async fn refusals(
        &self,
        incident: &str,
        after: Option<&SubjectId>,
        limit: u32,
    ) -> Result<Vec<Refusal>, OutboxError> {
        let rows = sqlx::query(
            "SELECT subject, state, reply FROM letters
             WHERE incident = $1 AND subject > $2 AND state IN ('refused', 'deferred', 'given_up', 'in_doubt')
             ORDER BY subject LIMIT $3",
        )
        .bind(incident)
        .bind(after.map_or("", SubjectId::as_str))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Refusal {
                    subject: subject(row)?,
                    state: state(row)?,
                    reply: row.try_get("reply")?,
                })
            })
            .collect()
    }

    /// At start, before anything is sent: what was being handed over when the process ended is in doubt. Returns how many.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`].
    pub async fn recover(&self, now: UnixMicros) -> Result<u64, OutboxError> {
        let changed = sqlx::query(
            "UPDATE letters SET state = 'in_doubt', updated = $1,
                 reply = 'the process ended while the server was taking it' WHERE state = 'sending'",
        )
        .bind(signed(now.0))
        .execute(&self.writer)
        .await?;
        Ok(changed.rows_affected())
    }

    /// Queues an incident's letters that are in doubt again, because an operator asked for it. Returns how many.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`].
    pub async fn requeue_in_doubt(
        &self,
        incident: &str,
        now: UnixMicros,
    ) -> Result<u64, OutboxError> {
        let changed = sqlx::query(
            "UPDATE letters SET state = 'queued', next_attempt = $2, updated = $2
             WHERE incident = $1 AND state = 'in_doubt'",
        )
        .bind(incident)
        .bind(signed(now.0))
        .execute(&self.writer)
        .await?;
        Ok(changed.rows_affected())
    }

    /// Deletes whatever is here about a person, also from the file's free pages and its log. Returns how many letters.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`]; the rows may be gone all the same, and erasing again finishes it.
    pub async fn erase(&self, subject: &SubjectId) -> Result<u64, OutboxError> {
        let erased = sqlx::query("DELETE FROM letters WHERE subject = $1")
            .bind(subject.as_str())
            .execute(&self.writer)
            .await?;
        sqlite::empty_log(&self.writer).await?;
        Ok(erased.rows_affected())
    }
}

impl LetterState {
    /// As it is stored and reported.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
            Self::GivenUp => "given_up",
            Self::InDoubt => "in_doubt",
        }
    }

    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Sending,
        Self::Accepted,
        Self::Refused,
        Self::Deferred,
        Self::GivenUp,
        Self::InDoubt,
    ];
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A reply often repeats the address.
        f.debug_struct("Settled").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Writes one outcome. What is final stays; anything else gives way to what is known for certain.
async fn write(
    tx: &mut Transaction<'_, Sqlite>,
    incident: &str,
    settled: &Settled,
    now: UnixMicros,
) -> Result<(), OutboxError> {
    let (state, counts, until) = match settled.outcome {
        Outcome::Accepted => (LetterState::Accepted, true, now),
        Outcome::Refused => (LetterState::Refused, true, now),
        Outcome::Deferred { until, counts } => (LetterState::Deferred, counts, until),
        Outcome::GivenUp => (LetterState::GivenUp, true, now),
        Outcome::InDoubt => (LetterState::InDoubt, true, now),
    };
    sqlx::query(
        "UPDATE letters SET state = $3, attempts = attempts + $4, next_attempt = $5, reply = $6, updated = $7
         WHERE incident = $1 AND subject = $2 AND state NOT IN ('accepted', 'refused', 'given_up')",
    )
    .bind(incident)
    .bind(settled.subject.as_str())
    .bind(state.name())
    .bind(i64::from(counts))
    .bind(signed(until.0))
    .bind(printable(&settled.reply))
    .bind(signed(now.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What a server said, harmless in a terminal and in a table.
fn printable(reply: &str) -> String {
    reply
        .chars()
        .take(REPLY_BYTES_MAX)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}

fn subject(row: &SqliteRow) -> Result<SubjectId, OutboxError> {
    SubjectId::new(row.try_get("subject")?)
        .ok_or_else(|| OutboxError::Corrupt("a subject whose id is none".into()))
}

fn state(row: &SqliteRow) -> Result<LetterState, OutboxError> {
    let name: &str = row.try_get("state")?;
    LetterState::ALL
        .into_iter()
        .find(|state| state.name() == name)
        .ok_or_else(|| OutboxError::Corrupt(format!("the state `{name}`")))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests;
