//! Passkeys, and the tickets and recovery codes with which subjects add them.

use super::{Consents, ConsentsError, known, signed, time};
use model::{Digest, SubjectId, UnixMicros};
use sqlx::Row;

/// A passkey as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPasskey {
    /// Its id.
    pub credential: Vec<u8>,
    /// The subject, as authenticators know it.
    pub handle: [u8; 16],
    /// Whose it is.
    pub subject: SubjectId,
    /// Public key and more, JSON of webauthn-rs.
    pub passkey: String,
    /// The highest signature counter seen; 0 if it has none.
    pub counter: u32,
    /// When it was added.
    pub added: UnixMicros,
}

impl Consents {
    /// Keeps a ticket or recovery code, by its SHA-256, until it is used or runs out.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn add_enrolment(
        &self,
        ticket: &Digest,
        subject: &SubjectId,
        is_recovery: bool,
        until: UnixMicros,
    ) -> Result<(), ConsentsError> {
        sqlx::query(
            "INSERT INTO enrolments (ticket, subject, is_recovery, until) VALUES ($1, $2, $3, $4)",
        )
        .bind(&ticket[..])
        .bind(subject.as_str())
        .bind(i64::from(is_recovery))
        .bind(signed(until.0))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Whose ticket it is, while it is good.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn enrolment(
        &self,
        ticket: &Digest,
        now: UnixMicros,
    ) -> Result<Option<SubjectId>, ConsentsError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT subject FROM enrolments WHERE ticket = $1 AND until > $2")
                .bind(&ticket[..])
                .bind(signed(now.0))
                .fetch_optional(&self.reader)
                .await?;
        row.map(|(subject,)| known(SubjectId::new(&subject), "a subject")).transpose()
    }

    /// Uses a recovery code up and keeps a ticket in its place, good until the date. Whose it is.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn recover(
        &self,
        code: &Digest,
        ticket: &Digest,
        until: UnixMicros,
        now: UnixMicros,
    ) -> Result<Option<SubjectId>, ConsentsError> {
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE enrolments SET ticket = $2, is_recovery = 0, until = $3
             WHERE ticket = $1 AND is_recovery = 1 AND until > $4 RETURNING subject",
        )
        .bind(&code[..])
        .bind(&ticket[..])
        .bind(signed(until.0))
        .bind(signed(now.0))
        .fetch_optional(&self.writer)
        .await?;
        row.map(|(subject,)| known(SubjectId::new(&subject), "a subject")).transpose()
    }

    /// Uses a ticket up, adds the passkey, and puts recovery codes, by their SHA-256, in place of those there were, and of other tickets: whoever
    /// lost a device may have lost those with it. All of it or nothing. False if the ticket was used before, or the passkey is known.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn add_passkey(
        &self,
        ticket: &Digest,
        passkey: &StoredPasskey,
        codes: &[Digest],
        codes_until: UnixMicros,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        let mut tx = self.writer.begin().await?;
        let subject = passkey.subject.as_str();
        let used = sqlx::query(
            "DELETE FROM enrolments WHERE ticket = $1 AND subject = $2 AND is_recovery = 0 AND until > $3",
        )
        .bind(&ticket[..])
        .bind(subject)
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?;
        let added = sqlx::query(
            "INSERT INTO passkeys (credential, handle, subject, passkey, counter, added) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING",
        )
        .bind(&passkey.credential)
        .bind(&passkey.handle[..])
        .bind(subject)
        .bind(&passkey.passkey)
        .bind(i64::from(passkey.counter))
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() != 1 || added.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM enrolments WHERE subject = $1")
            .bind(subject)
            .execute(&mut *tx)
            .await?;
        for code in codes {
            sqlx::query("INSERT INTO enrolments (ticket, subject, is_recovery, until) VALUES ($1, $2, 1, $3)")
                .bind(&code[..])
                .bind(subject)
                .bind(signed(codes_until.0))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The passkey with this id.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn passkey(&self, credential: &[u8]) -> Result<Option<StoredPasskey>, ConsentsError> {
        self.passkeys_where("SELECT * FROM passkeys WHERE credential = $1", credential.to_vec())
            .await
            .map(|mut found| found.pop())
    }

    /// A subject's passkeys.
    ///
    /// # Errors
    /// As for [`Consents::find`].
    pub async fn passkeys_of(
        &self,
        subject: &SubjectId,
    ) -> Result<Vec<StoredPasskey>, ConsentsError> {
        let subject = subject.as_str().as_bytes().to_vec();
        self.passkeys_where("SELECT * FROM passkeys WHERE subject = CAST($1 AS TEXT)", subject)
            .await
    }

    async fn passkeys_where(
        &self,
        statement: &'static str,
        value: Vec<u8>,
    ) -> Result<Vec<StoredPasskey>, ConsentsError> {
        let rows = sqlx::query(statement).bind(value).fetch_all(&self.reader).await?;
        let read = rows.iter().map(|row| {
            let handle: Vec<u8> = row.try_get("handle")?;
            let subject: String = row.try_get("subject")?;
            Ok(StoredPasskey {
                credential: row.try_get("credential")?,
                handle: known(handle.try_into().ok(), "a handle")?,
                subject: known(SubjectId::new(&subject), "a subject")?,
                passkey: row.try_get("passkey")?,
                counter: known(u32::try_from(row.try_get::<i64, _>("counter")?).ok(), "a counter")?,
                added: time(row.try_get("added")?)?,
            })
        });
        read.collect()
    }

    /// Removes a passkey of a subject. False if it has no such one.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn remove_passkey(
        &self,
        subject: &SubjectId,
        credential: &[u8],
    ) -> Result<bool, ConsentsError> {
        let done = sqlx::query("DELETE FROM passkeys WHERE credential = $1 AND subject = $2")
            .bind(credential)
            .bind(subject.as_str())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes that a passkey was used. The counter never goes back. False if there is no such passkey any more.
    ///
    /// # Errors
    /// [`ConsentsError::Unavailable`].
    pub async fn passkey_used(
        &self,
        credential: &[u8],
        counter: u32,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        let done = sqlx::query(
            "UPDATE passkeys SET counter = MAX(counter, $2), used = $3 WHERE credential = $1",
        )
        .bind(credential)
        .bind(i64::from(counter))
        .bind(signed(now.0))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
