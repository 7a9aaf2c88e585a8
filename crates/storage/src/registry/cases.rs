//! Cases, as the registry keeps them: their events, in order. What an event means is the crate `incident`'s.

use super::{Registry, RegistryError, apply, read};
use model::{IncidentId, UnixMicros};
use sqlx::SqliteConnection;

/// A case and everything that happened in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseRow {
    /// Its id.
    pub id: IncidentId,
    /// What operators call it.
    pub name: String,
    /// `portcullis.case/1`, oldest first.
    pub events: Vec<String>,
}

impl Registry {
    /// Every case, oldest first.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn cases(&self) -> Result<Vec<CaseRow>, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, name FROM incidents ORDER BY opened, id")
                .fetch_all(&mut *tx)
                .await?;
        let mut cases = Vec::new();
        for (id, name) in rows {
            let events = events_of(&mut tx, &id).await?;
            cases.push(CaseRow { id: read::parse(&id)?, name, events });
        }
        Ok(cases)
    }

    /// The case of this id.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if there is none.
    pub async fn case(&self, id: IncidentId) -> Result<CaseRow, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let text = id.to_string();
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM incidents WHERE id = $1")
            .bind(&text)
            .fetch_optional(&mut *tx)
            .await?;
        let name = name.ok_or_else(|| RegistryError::Unknown(text.clone()))?;
        Ok(CaseRow { id, name, events: events_of(&mut tx, &text).await? })
    }

    /// The last case that `rule` opened about `target`, open or not.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn case_of_rule(
        &self,
        rule: &str,
        target: &str,
    ) -> Result<Option<CaseRow>, RegistryError> {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT incident FROM case_rules JOIN incidents ON id = incident
             WHERE rule = $1 AND target = $2 ORDER BY opened DESC, id DESC LIMIT 1",
        )
        .bind(rule)
        .bind(target)
        .fetch_optional(&self.pool)
        .await?;
        match id {
            Some(id) => Ok(Some(self.case(read::parse(&id)?).await?)),
            None => Ok(None),
        }
    }

    /// Opens a case on a rule's word, with its first event. It lets nothing be read and takes nothing away.
    ///
    /// # Errors
    /// [`RegistryError::Taken`] if the id or the name is.
    pub async fn open_case_by_rule(
        &self,
        case: &CaseRow,
        rule: &str,
        target: &str,
        now: UnixMicros,
    ) -> Result<(), RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        open(&mut tx, case.id, &case.name, now).await?;
        append(&mut tx, case.id, 0, &case.events).await?;
        sqlx::query("INSERT INTO case_rules (incident, rule, target) VALUES ($1, $2, $3)")
            .bind(case.id.to_string())
            .bind(rule)
            .bind(target)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Adds what happened by itself, such as letters that were delivered. `known`: how many events the caller has seen.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] if there are more by now; the caller looks again.
    pub async fn append_to_case(
        &self,
        id: IncidentId,
        known: usize,
        events: &[String],
    ) -> Result<(), RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        append(&mut tx, id, known, events).await?;
        Ok(tx.commit().await?)
    }
}

async fn events_of(tx: &mut SqliteConnection, id: &str) -> Result<Vec<String>, RegistryError> {
    Ok(sqlx::query_scalar(
        "SELECT event FROM incident_events WHERE incident = $1 ORDER BY sequence",
    )
    .bind(id)
    .fetch_all(tx)
    .await?)
}

pub(super) async fn open(
    tx: &mut SqliteConnection,
    id: IncidentId,
    name: &str,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::check_slug(name)?;
    let done = sqlx::query(
        "INSERT INTO incidents (id, name, opened) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(name)
    .bind(apply::bigint(now.0)?)
    .execute(tx)
    .await?;
    apply::free(done.rows_affected(), format!("incident {id} or `{name}`"))
}

pub(super) async fn append(
    tx: &mut SqliteConnection,
    id: IncidentId,
    known: usize,
    events: &[String],
) -> Result<(), RegistryError> {
    let there: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM incident_events WHERE incident = $1")
        .bind(id.to_string())
        .fetch_one(&mut *tx)
        .await?;
    if usize::try_from(there).ok() != Some(known) {
        return Err(RegistryError::Invalid(format!("{id} has changed meanwhile; try again")));
    }
    for (sequence, event) in (there..).zip(events) {
        sqlx::query("INSERT INTO incident_events (incident, sequence, event) VALUES ($1, $2, $3)")
            .bind(id.to_string())
            .bind(sequence)
            .bind(event)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
