//! The roster: operators, their roles, and the automations among them.

use super::apply::{bigint, check_name, free, future, known};
use super::read::{self, parse, time};
use super::{Registry, RegistryError};
use model::{Micros, Operator, OperatorId, OperatorKind, Role, UnixMicros};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// How long an automation lasts at most: somebody looks once a year whether it is still wanted.
const AUTOMATION_LIFE_MAX: Micros = Micros::from_secs(365 * 86_400);

type Columns = (String, String, Vec<u8>, Option<String>, Option<i64>);

impl Registry {
    /// The operator with this id, while it is on the roster.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn operator(&self, id: OperatorId) -> Result<Option<Operator>, RegistryError> {
        let row: Option<Columns> = sqlx::query_as(
            "SELECT id, name, public_key, role, until FROM operators WHERE id = $1 AND removed = 0",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await?;
        row.map(operator).transpose()
    }
}

pub(super) async fn roster(
    tx: &mut SqliteConnection,
) -> Result<BTreeMap<OperatorId, Operator>, RegistryError> {
    let rows: Vec<Columns> =
        sqlx::query_as("SELECT id, name, public_key, role, until FROM operators WHERE removed = 0")
            .fetch_all(tx)
            .await?;
    rows.into_iter().map(|row| operator(row).map(|operator| (operator.id, operator))).collect()
}

fn operator((id, name, key, role, until): Columns) -> Result<Operator, RegistryError> {
    Ok(Operator {
        id: parse(&id)?,
        name,
        public_key: read::known(key.try_into().ok(), "an operator's key")?,
        role: parse(&role.unwrap_or_default())?,
        kind: match until {
            None => OperatorKind::Person,
            Some(until) => OperatorKind::Automation { until: time(until)? },
        },
    })
}

/// [`Command::OperatorAdd`](super::Command).
pub(super) async fn add(
    tx: &mut SqliteConnection,
    operator: &Operator,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    if let OperatorKind::Automation { until } = operator.kind {
        fits_automation(operator.role)?;
        future(until, now)?;
        if until > now + AUTOMATION_LIFE_MAX {
            return Err(RegistryError::Invalid("an automation lasts 365 days at most".into()));
        }
    }
    insert(tx, operator).await
}

pub(super) async fn insert(
    tx: &mut SqliteConnection,
    operator: &Operator,
) -> Result<(), RegistryError> {
    check_name(&operator.name)?;
    let done = sqlx::query(
        "INSERT INTO operators (id, name, public_key, removed, role, until) VALUES ($1, $2, $3, 0, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(operator.id.to_string())
    .bind(&operator.name)
    .bind(operator.public_key.to_vec())
    .bind(operator.role.name())
    .bind(operator.kind.ends().map(|until| bigint(until.0)).transpose()?)
    .execute(tx)
    .await?;
    free(done.rows_affected(), format!("operator {} or its key", operator.id))
}

/// [`Command::OperatorRole`](super::Command).
pub(super) async fn set_role(
    tx: &mut SqliteConnection,
    id: OperatorId,
    role: Role,
) -> Result<(), RegistryError> {
    let roster = roster(tx).await?;
    let operator = roster.get(&id).ok_or_else(|| RegistryError::Unknown(id.to_string()))?;
    if operator.kind.ends().is_some() {
        fits_automation(role)?;
    }
    sqlx::query("UPDATE operators SET role = $1 WHERE id = $2")
        .bind(role.name())
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    two_admins_remain(tx).await
}

/// [`Command::OperatorRemove`](super::Command).
pub(super) async fn remove(tx: &mut SqliteConnection, id: OperatorId) -> Result<(), RegistryError> {
    let done = sqlx::query("UPDATE operators SET removed = 1 WHERE id = $1 AND removed = 0")
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    known(done.rows_affected(), &id)?;
    remove_passkeys(tx, id).await?;
    two_admins_remain(tx).await
}

/// [`Command::OperatorPasskeysRemove`](super::Command).
pub(super) async fn remove_passkeys(
    tx: &mut SqliteConnection,
    id: OperatorId,
) -> Result<(), RegistryError> {
    sqlx::query("DELETE FROM operator_passkeys WHERE operator = $1")
        .bind(id.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

fn fits_automation(role: Role) -> Result<(), RegistryError> {
    if role <= Role::AUTOMATION_MAX {
        return Ok(());
    }
    let what = "an automation is viewer or responder: it is never one of two people";
    Err(RegistryError::Invalid(what.into()))
}

/// With fewer, nobody could ever be added or promoted again, and a roster of one could add a second key of the same person.
async fn two_admins_remain(tx: &mut SqliteConnection) -> Result<(), RegistryError> {
    let admins = "SELECT COUNT(*) FROM operators WHERE removed = 0 AND role = 'admin'";
    let admins: i64 = sqlx::query_scalar(admins).fetch_one(tx).await?;
    if admins < 2 {
        return Err(RegistryError::Invalid("two admins must remain".into()));
    }
    Ok(())
}
