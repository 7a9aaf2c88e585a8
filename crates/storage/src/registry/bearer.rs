//! Bearer exceptions: for a while, one integration's tokens are taken without proof of possession.

use super::{RegistryError, apply, read};
use model::{BearerException, IntegrationId, Micros, UnixMicros};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// Long enough to replace a tool, short enough to be asked for again if nobody does.
const LIFE_MAX: Micros = Micros::from_secs(30 * 86_400);

/// [`Command::BearerException`](super::Command), in place of any before it.
pub(super) async fn begin(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    exception: &BearerException,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::future(exception.until, now)?;
    if exception.until > now + LIFE_MAX {
        let what = "a bearer exception lasts 30 days at most";
        return Err(RegistryError::Invalid(what.into()));
    }
    apply::check_name(&exception.owner)?;
    if exception.reason.trim().is_empty() {
        return Err(RegistryError::Invalid("a bearer exception has a reason".into()));
    }
    apply::active(tx, integration).await?;
    sqlx::query(
        "INSERT INTO bearer_exceptions (integration, owner, reason, until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (integration) DO UPDATE SET owner = $2, reason = $3, until = $4",
    )
    .bind(integration.to_string())
    .bind(&exception.owner)
    .bind(&exception.reason)
    .bind(apply::bigint(exception.until.0)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// [`Command::BearerEnd`](super::Command).
pub(super) async fn end(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let ended = sqlx::query(
        "UPDATE bearer_exceptions SET until = $1 WHERE integration = $2 AND until > $1",
    )
    .bind(apply::bigint(now.0)?)
    .bind(integration.to_string())
    .execute(tx)
    .await?;
    let what = format!("a running bearer exception of {integration}");
    apply::known(ended.rows_affected(), &what)
}

pub(super) async fn all(
    tx: &mut SqliteConnection,
) -> Result<BTreeMap<IntegrationId, BearerException>, RegistryError> {
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as("SELECT integration, owner, reason, until FROM bearer_exceptions")
            .fetch_all(tx)
            .await?;
    rows.into_iter()
        .map(|(integration, owner, reason, until)| {
            let until = read::time(until)?;
            Ok((read::parse(&integration)?, BearerException { owner, reason, until }))
        })
        .collect()
}
