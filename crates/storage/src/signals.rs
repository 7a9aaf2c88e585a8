//! Signals as operators see them, who looked at them, and messages about them that their receivers have yet to take.
//!
//! A message stays until its receiver said that it has it, so it may come twice and is not lost by a crash. Both kinds of rows are
//! bounded: [`RULE_SIGNALS_MAX`], and [`WAITING_MAX`] for each destination. Nothing here names a subject.
//!
//! Start reading at [`Signals::note`], then [`Signals::due`].

use crate::sqlite;
use model::UnixMicros;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Sqlite, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations-signals");

/// Signals kept of one rule, the newest: no rule takes the room of another. There are 22 rules. The record keeps what was done about them.
pub const RULE_SIGNALS_MAX: u32 = 1_000;

/// Messages that wait for one destination; the oldest go when there are more. One a minute makes this most of a day.
pub const WAITING_MAX: u32 = 1_000;

/// Bytes of a receiver's answer or a broken connection's reason that are kept.
const PROBLEM_BYTES_MAX: usize = 200;

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SignalsError {
    /// The database could not be reached or written. Nothing was changed.
    #[error("signals.db cannot be used")]
    Unavailable(#[from] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the tables of signals.db cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// A signal to keep. JSON is written by whoever knows its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// When the last of them happened.
    pub at: UnixMicros,
    /// Equal ones that came together.
    pub count: u64,
    /// The rule's name.
    pub rule: String,
    /// What was found, for a person.
    pub sentence: String,
    /// The numbers, a JSON object.
    pub evidence: String,
    /// What it calls for, a JSON array of sentences.
    pub calls_for: String,
    /// What was contained, a JSON array of sentences.
    pub contained: String,
    /// Whether the rule only says what it would have done.
    pub shadow: bool,
    /// Whether a person is to look.
    pub pages: bool,
    /// Whether it calls for more than a person.
    pub contains: bool,
}

/// What became of one rule's signals, over all time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRow {
    /// The rule's name.
    pub rule: String,
    /// How many there were.
    pub signals: u64,
    /// How many of them contained something, or found it contained.
    pub contained: u64,
    /// How many would have, were the rule not in shadow.
    pub would_have: u64,
    /// How many containments of the rule's people lifted.
    pub reversed: u64,
}

/// A signal that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRow {
    /// Counts up.
    pub number: u64,
    /// What was noted.
    pub noted: Noted,
    /// Who looked at it, and when.
    pub acknowledged: Option<(UnixMicros, String)>,
}

/// A message to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The same at each attempt.
    pub id: String,
    /// Where to, as whoever queued it names it.
    pub destination: String,
    /// What is said.
    pub body: String,
    /// When it was queued.
    pub made: UnixMicros,
    /// Attempts before this one.
    pub attempts: u32,
}

/// What waits for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many messages.
    pub count: u64,
    /// When the oldest was queued.
    pub since: UnixMicros,
    /// What went wrong with it last; empty before the first attempt.
    pub problem: String,
}

/// The signals of one node. Clones share the file.
#[derive(Clone, Debug)]
pub struct Signals {
    pool: SqlitePool,
}

impl Signals {
    /// Opens the file at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`SignalsError`]; the file is then as it was.
    pub async fn open(path: &Path) -> Result<Self, SignalsError> {
        let options = sqlite::options(path);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool })
    }

    /// Keeps signals, in order, and gives their numbers.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`]; none is kept then.
    pub async fn note(&self, signals: &[Noted]) -> Result<Vec<u64>, SignalsError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let first: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'next'")
            .fetch_one(&mut *tx)
            .await?;
        let mut numbers = Vec::new();
        for (number, signal) in (first..).zip(signals) {
            sqlx::query(
                "INSERT INTO signals (number, at, count, rule, sentence, evidence, calls_for, contained, shadow, pages, contains)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(number)
            .bind(bigint(signal.at.0))
            .bind(bigint(signal.count))
            .bind(&signal.rule)
            .bind(&signal.sentence)
            .bind(&signal.evidence)
            .bind(&signal.calls_for)
            .bind(&signal.contained)
            .bind(i64::from(signal.shadow))
            .bind(i64::from(signal.pages))
            .bind(i64::from(signal.contains))
            .execute(&mut *tx)
            .await?;
            tally(&mut tx, signal).await?;
            numbers.push(unsigned(number));
        }
        let next = first + i64::try_from(signals.len()).unwrap_or(0);
        sqlx::query("UPDATE counters SET value = $1 WHERE name = 'next'")
            .bind(next)
            .execute(&mut *tx)
            .await?;
        let rules: BTreeSet<&str> = signals.iter().map(|signal| &*signal.rule).collect();
        for rule in rules {
            sqlx::query(
                "DELETE FROM signals WHERE rule = $1 AND number <= (
                     SELECT number FROM signals WHERE rule = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
            )
            .bind(rule)
            .bind(i64::from(RULE_SIGNALS_MAX))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(numbers)
    }

    /// Every rule that ever found something, by name.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn rules(&self) -> Result<Vec<RuleRow>, SignalsError> {
        let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT rule, signals, contained, would_have, reversed FROM rules ORDER BY rule",
        )
        .fetch_all(&self.pool)
        .await?;
        let row = |(rule, signals, contained, would_have, reversed)| RuleRow {
            rule,
            signals: unsigned(signals),
            contained: unsigned(contained),
            would_have: unsigned(would_have),
            reversed: unsigned(reversed),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Counts that people lifted a containment of `rule`'s.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn reversed(&self, rule: &str) -> Result<(), SignalsError> {
        sqlx::query(
            "INSERT INTO rules (rule, signals, contained, would_have, reversed) VALUES ($1, 0, 0, 0, 1)
             ON CONFLICT (rule) DO UPDATE SET reversed = reversed + 1",
        )
        .bind(rule)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The last `count` signals, newest first.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn last(&self, count: u32) -> Result<Vec<SignalRow>, SignalsError> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT number, at, count, rule, sentence, evidence, calls_for, contained, shadow, pages, contains, acknowledged, by
             FROM signals ORDER BY number DESC LIMIT $1",
        )
        .bind(i64::from(count))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(row).collect())
    }

    /// How many signals that a person is to look at nobody looked at.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn unacknowledged(&self) -> Result<u64, SignalsError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM signals WHERE pages = 1 AND acknowledged IS NULL",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned(count))
    }

    /// Says that `by` looked at every signal up to `through`. Gives how many nobody had looked at before.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn acknowledge(
        &self,
        through: u64,
        by: &str,
        now: UnixMicros,
    ) -> Result<u64, SignalsError> {
        let done = sqlx::query(
            "UPDATE signals SET acknowledged = $1, by = $2 WHERE number <= $3 AND acknowledged IS NULL",
        )
        .bind(bigint(now.0))
        .bind(by)
        .bind(bigint(through))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// The signals that a person is to look at and no page told of: at most `count`, and how many there are. Those that call for more than a
    /// person come first, then each rule's in turn, oldest first, so that whoever makes many of one rule hides none of another.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn to_page(&self, count: u32) -> Result<(Vec<SignalRow>, u64), SignalsError> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT number, at, count, rule, sentence, evidence, calls_for, contained, shadow, pages, contains, acknowledged, by
             FROM signals WHERE pages = 1 AND number >= (SELECT value FROM counters WHERE name = 'page_from')
             ORDER BY contains DESC, ROW_NUMBER() OVER (PARTITION BY contains, rule ORDER BY number), number LIMIT $1",
        )
        .bind(i64::from(count))
        .fetch_all(&mut *tx)
        .await?;
        let total: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM signals
             WHERE pages = 1 AND number >= (SELECT value FROM counters WHERE name = 'page_from')",
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok((rows.into_iter().map(row).collect(), unsigned(total)))
    }

    /// Queues a page, one message for each destination, and remembers that it told of all signals there are. Beyond [`WAITING_MAX`] the oldest
    /// of a destination are dropped, and counted.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`]; neither happened then.
    pub async fn page(&self, messages: &[Delivery]) -> Result<(), SignalsError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        queue(&mut tx, messages).await?;
        sqlx::query(
            "UPDATE counters SET value = (SELECT value FROM counters WHERE name = 'next')
             WHERE name = 'page_from'",
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// For each destination the oldest message, if it is due.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn due(&self, now: UnixMicros) -> Result<Vec<Delivery>, SignalsError> {
        // In order, for each destination: a message does not overtake one that waits for its next attempt.
        let rows: Vec<(String, String, String, i64, i64)> = sqlx::query_as(
            "SELECT id, destination, body, made, attempts FROM deliveries AS d
             WHERE due <= $1 AND NOT EXISTS (
                 SELECT 1 FROM deliveries AS b WHERE b.destination = d.destination
                 AND (b.made < d.made OR (b.made = d.made AND b.id < d.id)))",
        )
        .bind(bigint(now.0))
        .fetch_all(&self.pool)
        .await?;
        let delivery = |(id, destination, body, made, attempts)| Delivery {
            id,
            destination,
            body,
            made: UnixMicros(unsigned(made)),
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        };
        Ok(rows.into_iter().map(delivery).collect())
    }

    /// The receiver has it.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`]; it is then sent again.
    pub async fn delivered(&self, id: &str) -> Result<(), SignalsError> {
        sqlx::query("DELETE FROM deliveries WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// The receiver does not have it: not before `due` again.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn failed(
        &self,
        id: &str,
        due: UnixMicros,
        problem: &str,
    ) -> Result<(), SignalsError> {
        let printable = |c: &char| !c.is_control();
        let mut problem: String =
            problem.chars().filter(printable).take(PROBLEM_BYTES_MAX).collect();
        while problem.len() > PROBLEM_BYTES_MAX {
            problem.pop();
        }
        sqlx::query(
            "UPDATE deliveries SET attempts = attempts + 1, due = $1, problem = $2 WHERE id = $3",
        )
        .bind(bigint(due.0))
        .bind(problem)
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Drops what waits for destinations that are none any more, as `is_one` says.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn keep_only(&self, is_one: impl Fn(&str) -> bool) -> Result<(), SignalsError> {
        for destination in self.waiting().await?.into_keys().filter(|name| !is_one(name)) {
            sqlx::query("DELETE FROM deliveries WHERE destination = $1")
                .bind(destination)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// What waits, by destination.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn waiting(&self) -> Result<BTreeMap<String, Waiting>, SignalsError> {
        let rows: Vec<(String, i64, i64, String)> = sqlx::query_as(
            // SQLite takes the bare column of the row that has the minimum.
            "SELECT destination, COUNT(*), MIN(made), problem FROM deliveries GROUP BY destination",
        )
        .fetch_all(&self.pool)
        .await?;
        let waiting = |(destination, count, since, problem)| {
            let since = UnixMicros(unsigned(since));
            (destination, Waiting { count: unsigned(count), since, problem })
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// How many messages were ever dropped because too many waited.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn dropped(&self) -> Result<u64, SignalsError> {
        let dropped: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'dropped'")
            .fetch_one(&self.pool)
            .await?;
        Ok(unsigned(dropped))
    }

    /// What vendors were last told of: targets and states.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`].
    pub async fn told(&self) -> Result<BTreeMap<String, String>, SignalsError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT target, state FROM told").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().collect())
    }

    /// Queues what vendors are to hear of a target and remembers its state, together. `state`: none once it is contained no more.
    ///
    /// # Errors
    /// [`SignalsError::Unavailable`]; neither happened then.
    pub async fn tell(
        &self,
        target: &str,
        state: Option<&str>,
        messages: &[Delivery],
    ) -> Result<(), SignalsError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM told WHERE target = $1").bind(target).execute(&mut *tx).await?;
        if let Some(state) = state {
            sqlx::query("INSERT INTO told (target, state) VALUES ($1, $2)")
                .bind(target)
                .bind(state)
                .execute(&mut *tx)
                .await?;
        }
        queue(&mut tx, messages).await?;
        Ok(tx.commit().await?)
    }
}

async fn tally(tx: &mut Transaction<'static, Sqlite>, signal: &Noted) -> Result<(), SignalsError> {
    let of = |counts: bool| if counts { bigint(signal.count) } else { 0 };
    sqlx::query(
        "INSERT INTO rules (rule, signals, contained, would_have, reversed) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (rule) DO UPDATE SET
             signals = signals + $2, contained = contained + $3, would_have = would_have + $4",
    )
    .bind(&signal.rule)
    .bind(bigint(signal.count))
    .bind(of(signal.contains && !signal.shadow))
    .bind(of(signal.contains && signal.shadow))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn queue(
    tx: &mut Transaction<'static, Sqlite>,
    messages: &[Delivery],
) -> Result<(), SignalsError> {
    for message in messages {
        sqlx::query(
            "INSERT INTO deliveries (id, destination, body, made, due, attempts, problem)
             VALUES ($1, $2, $3, $4, $4, 0, '') ON CONFLICT DO NOTHING",
        )
        .bind(&message.id)
        .bind(&message.destination)
        .bind(&message.body)
        .bind(bigint(message.made.0))
        .execute(&mut **tx)
        .await?;
        let dropped = sqlx::query(
            "DELETE FROM deliveries WHERE destination = $1 AND id NOT IN (
                 SELECT id FROM deliveries WHERE destination = $1 ORDER BY made DESC, id DESC LIMIT $2)",
        )
        .bind(&message.destination)
        .bind(i64::from(WAITING_MAX))
        .execute(&mut **tx)
        .await?;
        sqlx::query("UPDATE counters SET value = value + $1 WHERE name = 'dropped'")
            .bind(bigint(dropped.rows_affected()))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

type Columns = (
    i64,
    i64,
    i64,
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<String>,
);

fn row(columns: Columns) -> SignalRow {
    let (
        number,
        at,
        count,
        rule,
        sentence,
        evidence,
        calls_for,
        contained,
        shadow,
        pages,
        contains,
        acknowledged,
        by,
    ) = columns;
    let noted = Noted {
        at: UnixMicros(unsigned(at)),
        count: unsigned(count),
        rule,
        sentence,
        evidence,
        calls_for,
        contained,
        shadow: shadow != 0,
        pages: pages != 0,
        contains: contains != 0,
    };
    let acknowledged = acknowledged.map(|at| UnixMicros(unsigned(at))).zip(by);
    SignalRow { number: unsigned(number), noted, acknowledged }
}

fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
