//! Requests to erase subjects, and what of a subject the registry itself forgets.
//!
//! A request waits a day, so that one operator can take it back. It keeps the subject until it is carried out; after that it is an id and
//! dates. The node carries requests out (`control::desk`), and calls [`Registry::forget`] last, because only the request still knows whom.

use super::apply::bump_revision;
use super::read::{known, parse, time};
use super::{Registry, RegistryError, apply};
use crate::sqlite;
use model::{Micros, OperatorId, SubjectId, UnixMicros};
use serde_json::Value;
use sqlx::SqliteConnection;

/// How long a request waits.
pub const ERASE_AFTER: Micros = Micros::from_secs(86_400);

/// What stands in place of a command that named an erased subject. Its id, signers and signatures stay.
const FORGOTTEN: &[u8] = br#"{"erased":true}"#;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureState {
    /// It waits, and can be taken back.
    Pending,
    /// The log says that it is carried out.
    Begun,
    /// It was carried out. Final.
    Erased,
    /// It was taken back. Final.
    Cancelled,
}

/// A request to erase a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureRow {
    /// Id of the command that asked for it, lower-case hex.
    pub id: String,
    /// Whom; nobody any more in a final state.
    pub subject: Option<SubjectId>,
    /// The first operator who signed.
    pub operator: OperatorId,
    /// When it was asked for.
    pub asked: UnixMicros,
    /// From when on it is carried out.
    pub due: UnixMicros,
    /// Where it stands.
    pub state: ErasureState,
}

impl ErasureState {
    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Begun => "begun",
            Self::Erased => "erased",
            Self::Cancelled => "cancelled",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Begun, Self::Erased, Self::Cancelled];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl Registry {
    /// Every request, oldest first.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn erasures(&self) -> Result<Vec<ErasureRow>, RegistryError> {
        let rows: Vec<(String, Option<String>, String, i64, i64, String)> = sqlx::query_as(
            "SELECT id, subject, operator, asked, due, state FROM erasures ORDER BY asked, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, subject, operator, asked, due, state)| {
                let subject = subject.map(|id| known(SubjectId::new(&id), "a subject"));
                Ok(ErasureRow {
                    id,
                    subject: subject.transpose()?,
                    operator: parse(&operator)?,
                    asked: time(asked)?,
                    due: time(due)?,
                    state: known(ErasureState::parse(&state), "a state of an erasure")?,
                })
            })
            .collect()
    }

    /// The log says from here on that this request is carried out: it cannot be taken back.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if it does not wait any more.
    pub async fn begin_erasure(&self, id: &str, now: UnixMicros) -> Result<(), RegistryError> {
        let done = sqlx::query(
            "UPDATE erasures SET state = 'begun', changed = $1 WHERE id = $2 AND state = 'pending'",
        )
        .bind(apply::bigint(now.0)?)
        .bind(id)
        .execute(&self.pool)
        .await?;
        waiting(done.rows_affected(), id)
    }

    /// Forgets a subject: decoy, consent, the commands that named it, and the request itself. Nothing of it is left in the file's free
    /// pages or in its write-ahead log.
    ///
    /// # Errors
    /// [`RegistryError`]; calling it again goes on where it was.
    pub async fn forget(&self, erasure: &ErasureRow, now: UnixMicros) -> Result<(), RegistryError> {
        if let Some(subject) = &erasure.subject {
            let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for statement in [
                "DELETE FROM honey_subjects WHERE subject = $1",
                "DELETE FROM grant_subjects WHERE subject = $1",
            ] {
                sqlx::query(statement).bind(subject.as_str()).execute(&mut *tx).await?;
            }
            forget_commands(&mut tx, subject).await?;
            sqlx::query("UPDATE erasures SET state = 'erased', subject = NULL, changed = $1 WHERE subject = $2")
                .bind(apply::bigint(now.0)?)
                .bind(subject.as_str())
                .execute(&mut *tx)
                .await?;
            bump_revision(&mut tx).await?;
            tx.commit().await?;
        }
        sqlite::empty_log(&self.pool).await?;
        Ok(())
    }
}

/// Takes down a request.
pub(super) async fn ask(
    tx: &mut SqliteConnection,
    id: &str,
    subject: &SubjectId,
    operator: OperatorId,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let waits: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM erasures WHERE subject = $1")
        .bind(subject.as_str())
        .fetch_one(&mut *tx)
        .await?;
    if waits > 0 {
        return Err(RegistryError::Taken("an erasure of this subject".to_owned()));
    }
    sqlx::query(
        "INSERT INTO erasures (id, subject, operator, asked, due, state, changed)
         VALUES ($1, $2, $3, $4, $5, 'pending', $4)",
    )
    .bind(id)
    .bind(subject.as_str())
    .bind(operator.to_string())
    .bind(apply::bigint(now.0)?)
    .bind(apply::bigint((now + ERASE_AFTER).0)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a request back.
pub(super) async fn cancel(
    tx: &mut SqliteConnection,
    id: &str,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let done = sqlx::query(
        "UPDATE erasures SET state = 'cancelled', subject = NULL, changed = $1 WHERE id = $2 AND state = 'pending'",
    )
    .bind(apply::bigint(now.0)?)
    .bind(id)
    .execute(tx)
    .await?;
    waiting(done.rows_affected(), id)
}

fn waiting(rows: u64, id: &str) -> Result<(), RegistryError> {
    if rows > 0 { Ok(()) } else { Err(RegistryError::Unknown(format!("a waiting erasure `{id}`"))) }
}

/// Signed commands are kept as they came, so each has to be looked into.
async fn forget_commands(
    tx: &mut SqliteConnection,
    subject: &SubjectId,
) -> Result<(), RegistryError> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT id, payload FROM commands").fetch_all(&mut *tx).await?;
    for (id, payload) in rows {
        let named = serde_json::from_slice(&payload).is_ok_and(|payload| names(&payload, subject));
        if named {
            sqlx::query("UPDATE commands SET payload = $1 WHERE id = $2")
                .bind(FORGOTTEN)
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// Whether any text in it is the subject's id. A question is JSON in a text of its own.
fn names(value: &Value, subject: &SubjectId) -> bool {
    match value {
        Value::String(text) => {
            text == subject.as_str()
                || text.starts_with('{')
                    && serde_json::from_str(text).is_ok_and(|inner: Value| names(&inner, subject))
        }
        Value::Array(values) => values.iter().any(|value| names(value, subject)),
        Value::Object(members) => members.values().any(|value| names(value, subject)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
