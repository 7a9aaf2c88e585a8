//! Consents as they are kept: one row each, in a SQLite file of their own, and the access tokens that were given back.
//!
//! The file decides which of two requests with one refresh token is answered: [`Consents::rotate`] compares and swaps. Nothing in it lets
//! anybody read; the data path decides by what is put into its `ConsentBook`, which is filled from here at start.
//!
//! It knows no HTTP and no OAuth. Start reading at [`Consents::give`].

use crate::sqlite;
use authority::consent::{Consent, Ending, FORGOTTEN_AFTER, Refresh};
use authority::details::Details;
use credential::token::Binding;
use model::{
    ClassSet, ConsentId, Digest, IntegrationId, Micros, OperationId, SubjectId, UnixMicros,
};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use std::path::Path;
use std::str::FromStr;

mod passkeys;

pub use passkeys::StoredPasskey;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations-consents");

/// A consent whose code was not redeemed within an hour came to nothing: a code lives for a minute.
const REDEEMED_WITHIN: Micros = Micros::from_secs(3_600);

/// Why consents could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConsentsError {
    /// A stored row breaks the rules it was written under.
    #[error("the consents hold {0}")]
    Corrupt(String),
    /// The database could not be reached or written. Nothing was changed.
    #[error("the consents cannot be used")]
    Unavailable(#[from] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the consents' tables cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// The consents of one deployment. Clones share it.
#[derive(Clone, Debug)]
pub struct Consents {
    /// One connection: SQLite has one writer, and this queue is fairer than its busy handler.
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Consents {
    /// Opens the file at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`] or [`ConsentsError::Migration`]; the file is then as it was.
    pub async fn open(path: &Path) -> Result<Self, ConsentsError> {
        let options = sqlite::options(path);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let reader = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        Ok(Self { writer, reader })
    }

    /// Keeps what a subject agreed to.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`], also if the id is known.
    pub async fn give(&self, consent: &Consent) -> Result<(), ConsentsError> {
        let Consent { id, integration, subject, details, given, used, .. } = consent;
        let operations: Vec<&str> = details.operations.iter().map(OperationId::as_str).collect();
        sqlx::query(
            "INSERT INTO consents (id, integration, grant_id, subject, operations, classes, given, expires, used)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.to_string())
        .bind(integration.to_string())
        .bind(details.grant.to_string())
        .bind(subject.as_str())
        .bind(operations.join(" "))
        .bind(details.classes.to_bytes())
        .bind(signed(given.0))
        .bind(signed(details.expires.0))
        .bind(signed(used.0))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Removes a consent that was given and not redeemed.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn take_back(&self, id: &ConsentId) -> Result<(), ConsentsError> {
        sqlx::query("DELETE FROM consents WHERE id = $1 AND refresh IS NULL")
            .bind(id.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// One consent, ended or not.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`] or [`ConsentsError::Corrupt`].
    pub async fn find(&self, id: &ConsentId) -> Result<Option<Consent>, ConsentsError> {
        let row = sqlx::query("SELECT * FROM consents WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(consent).transpose()
    }

    /// All consents of a subject that are not forgotten, latest first.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn of_subject(&self, subject: &SubjectId) -> Result<Vec<Consent>, ConsentsError> {
        let rows = sqlx::query("SELECT * FROM consents WHERE subject = $1 ORDER BY given DESC")
            .bind(subject.as_str())
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(consent).collect()
    }

    /// Hands `visit` every consent that is not over at `now`, in no order, one at a time: a million fit in no answer.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn each_in_force(
        &self,
        now: UnixMicros,
        mut visit: impl FnMut(Consent),
    ) -> Result<(), ConsentsError> {
        let mut after = 0_i64;
        loop {
            let rows = sqlx::query("SELECT *, rowid FROM consents WHERE ended IS NULL AND expires > $1 AND rowid > $2 ORDER BY rowid LIMIT 4096")
            .bind(signed(now.0))
            .bind(after)
            .fetch_all(&self.reader)
            .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get("rowid")?;
            for row in &rows {
                visit(consent(row)?);
            }
        }
    }

    /// Keeps the first refresh token. False if there is one, or the consent ended: its code was redeemed before.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn redeem(&self, id: &ConsentId, first: &Refresh) -> Result<bool, ConsentsError> {
        let (by, to) = bound(&first.bound_to);
        let done = sqlx::query(
            "UPDATE consents SET bound_by = $2, bound_to = $3, refresh = $4, refreshed = $5, used = $5
             WHERE id = $1 AND refresh IS NULL AND ended IS NULL",
        )
        .bind(id.to_string())
        .bind(by)
        .bind(&to[..])
        .bind(&first.current[..])
        .bind(signed(first.issued.0))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Replaces the refresh token whose SHA-256 is `from`. False if it is not the present one any more, or the consent ended.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn rotate(
        &self,
        id: &ConsentId,
        from: &Digest,
        to: &Digest,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        let done = sqlx::query(
            "UPDATE consents SET refresh_before = refresh, refresh = $3, refreshed = $4, used = $4
             WHERE id = $1 AND refresh = $2 AND ended IS NULL",
        )
        .bind(id.to_string())
        .bind(&from[..])
        .bind(&to[..])
        .bind(signed(now.0))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends a consent. False if it had ended before, or there is none.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn end(
        &self,
        id: &ConsentId,
        why: Ending,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        let done = sqlx::query(
            "UPDATE consents SET ended = $2, ending = $3 WHERE id = $1 AND ended IS NULL",
        )
        .bind(id.to_string())
        .bind(signed(now.0))
        .bind(why.as_str())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends all consents to an integration. Returns how many.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`]; none was ended.
    pub async fn end_all(
        &self,
        integration: &IntegrationId,
        why: Ending,
        now: UnixMicros,
    ) -> Result<u64, ConsentsError> {
        let done = sqlx::query(
            "UPDATE consents SET ended = $2, ending = $3 WHERE integration = $1 AND ended IS NULL",
        )
        .bind(integration.to_string())
        .bind(signed(now.0))
        .bind(why.as_str())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Wakes a consent that sleeps. False if it is over or there is none.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn wake(&self, id: &ConsentId, now: UnixMicros) -> Result<bool, ConsentsError> {
        let done = sqlx::query(
            "UPDATE consents SET used = $2 WHERE id = $1 AND ended IS NULL AND expires > $2",
        )
        .bind(id.to_string())
        .bind(signed(now.0))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes what nobody used for 90 days, what ended that long ago, codes' consents that came to nothing, and revoked tokens that ran
    /// out. Returns how many consents.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn forget(&self, now: UnixMicros) -> Result<u64, ConsentsError> {
        let long_ago = signed(now.0.saturating_sub(FORGOTTEN_AFTER.0));
        let unredeemed = signed(now.0.saturating_sub(REDEEMED_WITHIN.0));
        for expired in [
            "DELETE FROM revoked_tokens WHERE until <= $1",
            "DELETE FROM enrolments WHERE until <= $1",
        ] {
            sqlx::query(expired).bind(signed(now.0)).execute(&self.writer).await?;
        }
        let done = sqlx::query(
            "DELETE FROM consents WHERE used <= $1 OR ended <= $1 OR (refresh IS NULL AND given <= $2)",
        )
        .bind(long_ago)
        .bind(unredeemed)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Removes everything of a subject that is to be erased, and returns which consents that were.
    ///
    /// # Errors
    /// As for [`Consents::find`]; nothing was removed.
    pub async fn erase(&self, subject: &SubjectId) -> Result<Vec<ConsentId>, ConsentsError> {
        let mut tx = self.writer.begin().await?;
        for signing_in in
            ["DELETE FROM passkeys WHERE subject = $1", "DELETE FROM enrolments WHERE subject = $1"]
        {
            sqlx::query(signing_in).bind(subject.as_str()).execute(&mut *tx).await?;
        }
        let rows: Vec<(String,)> =
            sqlx::query_as("DELETE FROM consents WHERE subject = $1 RETURNING id")
                .bind(subject.as_str())
                .fetch_all(&mut *tx)
                .await?;
        tx.commit().await?;
        sqlite::empty_log(&self.writer).await?;
        rows.iter().map(|(id,)| parse(id)).collect()
    }

    /// Remembers an access token that was given back, until it would have run out.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn revoke_token(
        &self,
        token: &Digest,
        until: UnixMicros,
    ) -> Result<(), ConsentsError> {
        sqlx::query("INSERT INTO revoked_tokens (token, until) VALUES ($1, $2) ON CONFLICT (token) DO NOTHING")
            .bind(&token[..])
            .bind(signed(until.0))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Whether an access token was given back, while it has not run out.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn is_revoked(&self, token: &Digest, now: UnixMicros) -> Result<bool, ConsentsError> {
        let found = sqlx::query("SELECT 1 FROM revoked_tokens WHERE token = $1 AND until > $2")
            .bind(&token[..])
            .bind(signed(now.0))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.is_some())
    }

    /// The access tokens that were given back and have not run out.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn revoked_tokens(
        &self,
        now: UnixMicros,
    ) -> Result<Vec<(Digest, UnixMicros)>, ConsentsError> {
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT token, until FROM revoked_tokens WHERE until > $1")
                .bind(signed(now.0))
                .fetch_all(&self.reader)
                .await?;
        rows.into_iter().map(|(token, until)| Ok((digest(token)?, time(until)?))).collect()
    }
}

fn consent(row: &SqliteRow) -> Result<Consent, ConsentsError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let bytes = |column: &str| row.try_get::<Option<Vec<u8>>, _>(column);
    let moment = |column: &str| row.try_get::<i64, _>(column).map_err(Into::into).and_then(time);
    let operations = text("operations")?;
    let operations = operations.split(' ').map(|id| known(OperationId::new(id), "an operation"));
    let classes: Vec<u8> = row.try_get("classes")?;
    let details = Details {
        grant: parse(&text("grant_id")?)?,
        operations: operations.collect::<Result<_, _>>()?,
        classes: known(ClassSet::from_bytes(&classes), "a class bitmap")?,
        expires: moment("expires")?,
    };
    let refresh = match (row.try_get::<Option<String>, _>("bound_by")?, bytes("refresh")?) {
        (Some(by), Some(current)) => {
            let to = digest(bytes("bound_to")?.unwrap_or_default())?;
            let bound_to = if by == "key" { Binding::Key(to) } else { Binding::Certificate(to) };
            let before = bytes("refresh_before")?.map(digest).transpose()?;
            let issued = moment("refreshed")?;
            Some(Refresh { bound_to, current: digest(current)?, before, issued })
        }
        _ => None,
    };
    let ended = match (row.try_get::<Option<i64>, _>("ended")?, row.try_get("ending")?) {
        (Some(ended), Some::<String>(why)) => {
            Some((time(ended)?, known(Ending::parse(&why), "an ending")?))
        }
        _ => None,
    };
    Ok(Consent {
        id: parse(&text("id")?)?,
        integration: parse(&text("integration")?)?,
        subject: known(SubjectId::new(&text("subject")?), "a subject")?,
        details,
        given: moment("given")?,
        used: moment("used")?,
        refresh,
        ended,
    })
}

fn bound(binding: &Binding) -> (&'static str, &Digest) {
    match binding {
        Binding::Key(to) => ("key", to),
        Binding::Certificate(to) => ("certificate", to),
    }
}

fn digest(bytes: Vec<u8>) -> Result<Digest, ConsentsError> {
    known(bytes.try_into().ok(), "a hash of another length")
}

fn parse<T: FromStr>(text: &str) -> Result<T, ConsentsError> {
    known(text.parse().ok(), "an id that is none")
}

fn known<T>(value: Option<T>, what: &str) -> Result<T, ConsentsError> {
    value.ok_or_else(|| ConsentsError::Corrupt(format!("{what} that is not well-formed")))
}

fn time(stored: i64) -> Result<UnixMicros, ConsentsError> {
    known(u64::try_from(stored).ok().map(UnixMicros), "a time")
}

/// Times beyond the year 292,000 do not occur.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
