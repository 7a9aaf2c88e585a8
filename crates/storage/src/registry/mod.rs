//! The registry: what operators registered, in SQLite, changed only by commands they signed; and the passkeys that they added.
//!
//! One file, one writer at a time, readers that see one moment. It decides nothing about requests: the data path holds a
//! [`Snapshot`]'s directory and never asks the database. It does not sever either; posture does, and the `sever` command
//! here only moves the life cycle along so that lists show it.
//!
//! Start reading at [`Registry::apply`], then [`command`].

mod added;
mod apply;
mod bearer;
mod cases;
pub mod command;
mod erasures;
pub mod lifecycle;
mod operators;
mod passkeys;
mod read;
mod registrations;
pub mod roles;
pub mod signed;
pub mod target;
mod text;
mod vetting;
mod webhooks;
mod windows;

pub use apply::{Applied, Beside};
pub use cases::CaseRow;
pub use command::{Command, Effect};
pub use erasures::{ERASE_AFTER, ErasureRow, ErasureState};
pub use passkeys::{OPERATOR_PASSKEYS_MAX, OperatorPasskey};
pub use read::{CommandRow, GrantRow, IntegrationRow, Snapshot};
pub use registrations::{NotRegistered, Registration};
pub use signed::{Authorised, CommandError, Payload, SignedCommand};
pub use target::{Named, Target};
pub use vetting::{CampaignRow, Checked, VettingRow};
pub use windows::WindowRow;

use crate::sqlite;
use model::{ClassTable, Directory, Operator, OperatorKind, Role};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use std::path::Path;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The command is not signed as it must be; whoever sent it is at fault.
    #[error(transparent)]
    NotAuthorised(#[from] CommandError),
    /// The command was carried out before.
    #[error("command `{0}` was carried out before")]
    AlreadyApplied(String),
    /// Onboarding is frozen; what runs goes on.
    #[error("onboarding is frozen ({reason}), so `{action}` is not carried out")]
    Frozen {
        /// The step that was asked for.
        action: &'static str,
        /// The reason given when it was frozen.
        reason: String,
    },
    /// The command names something that is not registered.
    #[error("{0} is not registered")]
    Unknown(String),
    /// A slug, key or id is already used.
    #[error("{0} is already registered")]
    Taken(String),
    /// The life cycle has no such step from where the integration stands.
    #[error(transparent)]
    NotFromHere(#[from] lifecycle::NotFromHere),
    /// A value in the command makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The stored registry breaks its own rules: stop and restore it.
    #[error("the registry holds {0}")]
    Corrupt(String),
    /// The database could not be reached or written. Nothing was changed.
    #[error("the registry cannot be used")]
    Unavailable(#[from] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the registry's tables cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// The registry of one deployment. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    pool: SqlitePool,
}

impl Registry {
    /// Opens the registry at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] or [`RegistryError::Migration`]; the file is then as it was.
    pub async fn open(path: &Path) -> Result<Self, RegistryError> {
        let options = sqlite::options(path).foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool })
    }

    /// Everything at one moment.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] if a row breaks the rules it was written under.
    pub async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        // A deferred transaction reads one moment of the write-ahead log, whatever is written meanwhile.
        let mut tx = self.pool.begin().await?;
        let snapshot = read::snapshot(&mut tx).await?;
        tx.rollback().await?;
        Ok(snapshot)
    }

    /// What the data path needs of [`Registry::snapshot`].
    ///
    /// # Errors
    /// As for [`Registry::snapshot`].
    pub async fn directory(&self) -> Result<Directory, RegistryError> {
        Ok(self.snapshot().await?.directory)
    }

    /// Registers the first operator, an admin, while there is none: `init` does this before anything can be signed.
    ///
    /// # Errors
    /// [`RegistryError::Taken`] once any operator was ever registered; [`RegistryError::Invalid`] for anything but a person who is admin.
    pub async fn found(&self, first: &Operator) -> Result<(), RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let known: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM operators").fetch_one(&mut *tx).await?;
        if known > 0 {
            return Err(RegistryError::Taken("a first operator".into()));
        }
        if (first.role, first.kind) != (Role::Admin, OperatorKind::Person) {
            return Err(RegistryError::Invalid("the first operator is an admin".into()));
        }
        operators::insert(&mut tx, first).await?;
        apply::bump_revision(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Stores the classes that compiling a contract added. Known classes keep their numbers.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] if `classes` does not begin with every class that is stored, in the same order.
    pub async fn extend_classes(&self, classes: &ClassTable) -> Result<(), RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let known = read::classes(&mut tx).await?;
        let Some(added) = classes.classes().strip_prefix(known.classes()) else {
            return Err(RegistryError::Invalid(
                "the class table does not continue the stored one".into(),
            ));
        };
        for (number, class) in (known.classes().len()..).zip(added) {
            sqlx::query("INSERT INTO classes (number, name) VALUES ($1, $2)")
                .bind(i64::try_from(number).unwrap_or(i64::MAX))
                .bind(class.as_str())
                .execute(&mut *tx)
                .await?;
        }
        if !added.is_empty() {
            apply::bump_revision(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests;
