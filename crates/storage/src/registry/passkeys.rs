//! Operators' passkeys: how they log in to the console. Added there, after a link that its operator signed for; forgotten by two admins.

use super::apply::bigint;
use super::read::{known, parse, time};
use super::{Registry, RegistryError};
use model::{OperatorId, UnixMicros};
use sqlx::Row;
use std::collections::BTreeMap;

/// Passkeys that one operator has at most: a few devices.
pub const OPERATOR_PASSKEYS_MAX: usize = 10;

/// A passkey of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPasskey {
    /// Its id, as the authenticator chose it.
    pub credential: Vec<u8>,
    /// The operator, as authenticators know it.
    pub handle: [u8; 16],
    /// Whose it is.
    pub operator: OperatorId,
    /// Public key and more, JSON of webauthn-rs.
    pub passkey: String,
    /// The highest signature counter seen; 0 if it has none.
    pub counter: u32,
    /// When it was added.
    pub added: UnixMicros,
}

impl Registry {
    /// Adds a passkey to an operator who had exactly these many. False if it has another number by now, has as many as may be, is not on the
    /// roster, or if the passkey is known already.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn add_operator_passkey(
        &self,
        passkey: &OperatorPasskey,
        had: usize,
    ) -> Result<bool, RegistryError> {
        if had >= OPERATOR_PASSKEYS_MAX {
            return Ok(false);
        }
        let added = sqlx::query(
            "INSERT INTO operator_passkeys (credential, handle, operator, passkey, counter, added)
             SELECT $1, $2, id, $4, $5, $6 FROM operators
             WHERE id = $3 AND removed = 0 AND until IS NULL
               AND (SELECT COUNT(*) FROM operator_passkeys WHERE operator = $3) = $7
             ON CONFLICT DO NOTHING",
        )
        .bind(&passkey.credential)
        .bind(&passkey.handle[..])
        .bind(passkey.operator.to_string())
        .bind(&passkey.passkey)
        .bind(i64::from(passkey.counter))
        .bind(bigint(passkey.added.0)?)
        .bind(i64::try_from(had).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// The passkey with this id, if its operator is on the roster.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn operator_passkey(
        &self,
        credential: &[u8],
    ) -> Result<Option<OperatorPasskey>, RegistryError> {
        let found = "SELECT p.* FROM operator_passkeys p JOIN operators o ON o.id = p.operator
                     WHERE p.credential = $1 AND o.removed = 0";
        let row = sqlx::query(found).bind(credential).fetch_optional(&self.pool).await?;
        row.as_ref().map(passkey).transpose()
    }

    /// An operator's passkeys, oldest first.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn passkeys_of_operator(
        &self,
        operator: OperatorId,
    ) -> Result<Vec<OperatorPasskey>, RegistryError> {
        let rows =
            sqlx::query("SELECT * FROM operator_passkeys WHERE operator = $1 ORDER BY added")
                .bind(operator.to_string())
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(passkey).collect()
    }

    /// How many passkeys each operator has; those without any are left out.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn passkeys_by_operator(&self) -> Result<BTreeMap<OperatorId, u64>, RegistryError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT operator, COUNT(*) FROM operator_passkeys GROUP BY operator")
                .fetch_all(&self.pool)
                .await?;
        let count =
            |(id, count): (String, i64)| Ok((parse(&id)?, u64::try_from(count).unwrap_or(0)));
        rows.into_iter().map(count).collect()
    }

    /// Notes that a passkey was used. The counter never goes back. False if there is no such passkey any more.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn operator_passkey_used(
        &self,
        credential: &[u8],
        counter: u32,
        now: UnixMicros,
    ) -> Result<bool, RegistryError> {
        let done = sqlx::query(
            "UPDATE operator_passkeys SET counter = MAX(counter, $2), used = $3 WHERE credential = $1",
        )
        .bind(credential)
        .bind(i64::from(counter))
        .bind(bigint(now.0)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

fn passkey(row: &sqlx::sqlite::SqliteRow) -> Result<OperatorPasskey, RegistryError> {
    let handle: Vec<u8> = row.try_get("handle")?;
    let operator: String = row.try_get("operator")?;
    Ok(OperatorPasskey {
        credential: row.try_get("credential")?,
        handle: known(handle.try_into().ok(), "a handle")?,
        operator: parse(&operator)?,
        passkey: row.try_get("passkey")?,
        counter: known(u32::try_from(row.try_get::<i64, _>("counter")?).ok(), "a counter")?,
        added: time(row.try_get("added")?)?,
    })
}
