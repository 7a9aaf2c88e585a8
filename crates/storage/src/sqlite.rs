//! How every SQLite file of a node is opened: durable at each commit, and with nothing left of what was deleted.

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// Options for the file at `path`, which is made if there is none.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        // Who is erased is not to be found in the file's free pages.
        .pragma("secure_delete", "ON")
        .busy_timeout(Duration::from_secs(5))
}

/// After something was erased: the write-ahead log still has the pages as they were; a checkpoint overwrites the file's, and empties
/// the log.
pub(crate) async fn empty_log(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(pool).await?;
    if busy == 0 { Ok(()) } else { Err(sqlx::Error::PoolTimedOut) }
}
