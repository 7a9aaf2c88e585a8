//! Declared change windows: an integration's vendor said beforehand what will look unusual, and two operators agreed.

use super::command::{Change, DeclaredWindow};
use super::{Registry, RegistryError, apply, read};
use ipnet::IpNet;
use model::{IntegrationId, Micros, OperationId, UnixMicros, WindowId};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

/// Long enough for a migration; what takes longer is the integration's habit, and its grant's budget is to say so.
const LENGTH_MAX: Micros = Micros::from_secs(14 * 86_400);

/// How far ahead one may be declared.
const AHEAD_MAX: Micros = Micros::from_secs(90 * 86_400);

/// Windows that are declared or approved and not over, of all integrations: one operator declares them.
const OPEN_MAX: i64 = 1_000;

/// The widest networks that an address move can name: a wider one would say nothing.
const PREFIX_MIN: [u8; 2] = [16, 32];

/// A window, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// As it was declared.
    pub declared: DeclaredWindow,
    /// When two operators approved it.
    pub approved: Option<UnixMicros>,
    /// When it was ended before its time, or dropped before it was approved.
    pub ended: Option<UnixMicros>,
}

impl WindowRow {
    /// In one word: `declared`, `approved`, `open`, `ended` or `over`.
    pub fn state(&self, now: UnixMicros) -> &'static str {
        if self.ended.is_some() {
            "ended"
        } else if now >= self.declared.to {
            "over"
        } else if self.approved.is_none() {
            "declared"
        } else if now < self.declared.from {
            "approved"
        } else {
            "open"
        }
    }
}

impl Registry {
    /// The last thousand windows, those that end last first.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn windows(&self) -> Result<Vec<WindowRow>, RegistryError> {
        rows(&mut *self.pool.acquire().await?, false).await
    }
}

/// [`Command::WindowDeclare`](super::Command).
pub(super) async fn declare(
    tx: &mut SqliteConnection,
    window: &DeclaredWindow,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let invalid = |what: &str| Err(RegistryError::Invalid(what.to_owned()));
    apply::future(window.to, now)?;
    if window.to <= window.from {
        return invalid("a window ends after it begins");
    }
    if window.to.since(window.from) > LENGTH_MAX {
        return invalid("a window lasts fourteen days at most");
    }
    if window.from > now + AHEAD_MAX {
        return invalid("a window begins within ninety days");
    }
    if window.reason.trim().is_empty() || window.reason.len() > 1_024 {
        return invalid("a window has a reason of at most 1024 bytes");
    }
    check(&window.change)?;
    apply::active(tx, window.integration).await?;
    let open: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM change_windows WHERE ended IS NULL AND ends > $1")
            .bind(apply::bigint(now.0)?)
            .fetch_one(&mut *tx)
            .await?;
    if open >= OPEN_MAX {
        return invalid("a thousand windows are declared; end some first");
    }
    let declared = sqlx::query(
        "INSERT INTO change_windows (id, integration, change, begins, ends, reason)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    );
    let done = bind_words(declared, window)?.execute(tx).await?;
    apply::free(done.rows_affected(), format!("window {}", window.window))
}

/// [`Command::WindowApprove`](super::Command): what was declared, in every word, or nothing.
pub(super) async fn approve(
    tx: &mut SqliteConnection,
    window: &DeclaredWindow,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::future(window.to, now)?;
    apply::active(tx, window.integration).await?;
    let approval = sqlx::query(
        "UPDATE change_windows SET approved = $7
         WHERE id = $1 AND integration = $2 AND change = $3 AND begins = $4 AND ends = $5
           AND reason = $6 AND approved IS NULL AND ended IS NULL",
    );
    let approved = apply::bigint(now.0)?;
    let done = bind_words(approval, window)?.bind(approved).execute(tx).await?;
    apply::known(
        done.rows_affected(),
        &format!("a window {} that waits, in these words,", window.window),
    )
}

/// Binds every word that was declared, as `$1` to `$6`.
fn bind_words<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    window: &'q DeclaredWindow,
) -> Result<Query<'q, Sqlite, SqliteArguments>, RegistryError> {
    Ok(query
        .bind(window.window.to_string())
        .bind(window.integration.to_string())
        .bind(text_of(&window.change))
        .bind(apply::bigint(window.from.0)?)
        .bind(apply::bigint(window.to.0)?)
        .bind(&window.reason))
}

/// [`Command::WindowEnd`](super::Command).
pub(super) async fn end(
    tx: &mut SqliteConnection,
    window: WindowId,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let done = sqlx::query(
        "UPDATE change_windows SET ended = $1 WHERE id = $2 AND ended IS NULL AND ends > $1",
    )
    .bind(apply::bigint(now.0)?)
    .bind(window.to_string())
    .execute(tx)
    .await?;
    apply::known(done.rows_affected(), &format!("a window {window} that is not over"))
}

/// The windows that two operators approved, from when to when they held: what the record of their time is read by. Those that nobody
/// ended come first, then those that end last; a thousand at most.
pub(super) async fn approved(
    tx: &mut SqliteConnection,
) -> Result<Vec<DeclaredWindow>, RegistryError> {
    let approved = rows(tx, true).await?;
    let held = |WindowRow { mut declared, approved, ended }| {
        declared.from = declared.from.max(approved.unwrap_or(declared.from));
        declared.to = declared.to.min(ended.unwrap_or(declared.to));
        (declared.from < declared.to).then_some(declared)
    };
    Ok(approved.into_iter().filter_map(held).collect())
}

type Columns = (String, String, String, i64, i64, String, Option<i64>, Option<i64>);

async fn rows(
    connection: &mut SqliteConnection,
    approved_only: bool,
) -> Result<Vec<WindowRow>, RegistryError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, integration, change, begins, ends, reason, approved, ended FROM change_windows
         WHERE $1 = 0 OR approved IS NOT NULL
         ORDER BY ($1 = 1 AND ended IS NOT NULL), ends DESC, id LIMIT $2",
    )
    .bind(i64::from(approved_only))
    .bind(OPEN_MAX)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, integration, change, from, to, reason, approved, ended)| {
            let change = read::known(serde_json::from_str(&change).ok(), &change)?;
            let integration: IntegrationId = read::parse(&integration)?;
            let (from, to) = (read::time(from)?, read::time(to)?);
            let declared =
                DeclaredWindow { window: read::parse(&id)?, integration, change, from, to, reason };
            let approved = approved.map(read::time).transpose()?;
            Ok(WindowRow { declared, approved, ended: ended.map(read::time).transpose()? })
        })
        .collect()
}

/// A change in one spelling. Serialising numbers and text into memory does not fail.
fn text_of(change: &Change) -> String {
    serde_json::to_string(change).unwrap_or_default()
}

fn check(change: &Change) -> Result<(), RegistryError> {
    let invalid = |what: String| Err(RegistryError::Invalid(what));
    match change {
        Change::Backfill { operation, .. } | Change::Endpoint { operation }
            if OperationId::new(operation).is_none() =>
        {
            invalid(format!("`{operation}` is not an operation id"))
        }
        Change::Backfill { subjects_max: 0, .. } => {
            invalid("a backfill reads one subject at least".to_owned())
        }
        Change::Address { network } => {
            let parsed: Option<IpNet> = network.parse().ok();
            let [v4, v6] = PREFIX_MIN;
            let narrow = parsed.is_some_and(|network| {
                let least = if matches!(network, IpNet::V4(_)) { v4 } else { v6 };
                network.prefix_len() >= least && network == network.trunc()
            });
            if narrow {
                return Ok(());
            }
            invalid(format!(
                "`{network}` is not a network of /{v4} (IPv4) or /{v6} (IPv6) or narrower, without host bits"
            ))
        }
        Change::Backfill { .. } | Change::Endpoint { .. } => Ok(()),
    }
}
