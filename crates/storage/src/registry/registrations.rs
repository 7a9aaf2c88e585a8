//! Dynamic registration: tickets, what a vendor asks for about its own client, and what operators make of it.
//!
//! A vendor's request is no command, so of what can be read it changes nothing but to less: keys and addresses that it leaves out of an
//! update go at once, those it adds wait in `pending` until [`Command::RegistrationApprove`](super::Command) has them, word for word.

use super::added::Added;
use super::command::ApprovedKey;
use super::lifecycle::Stage;
use super::{Registry, RegistryError, apply, read};
use authority::register::{BadMetadata, ClientMetadata};
use credential::sha256;
use model::{Digest, IntegrationId, Micros, UnixMicros};
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};

/// A ticket is used within days; it is not to lie about for longer.
const TICKET_LIFE_MAX: Micros = Micros::from_secs(30 * 86_400);

/// What stands of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whose.
    pub integration: IntegrationId,
    /// Keys that may be used and addresses that are registered, whoever added them.
    pub effective: ClientMetadata,
    /// What waits for two operators.
    pub pending: ClientMetadata,
    /// When it was last asked for.
    pub asked: UnixMicros,
}

/// Why a vendor's request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotRegistered {
    /// The ticket or token is unknown, used up, or another client's. Whoever presented it learns no more.
    #[error("the ticket or token is not good here")]
    Unknown,
    /// The metadata.
    #[error(transparent)]
    Bad(#[from] BadMetadata),
    /// It asks for more while onboarding is frozen, or while the integration stands where nothing is added.
    #[error("nothing can be added to this client at present")]
    NotNow,
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<sqlx::Error> for NotRegistered {
    fn from(error: sqlx::Error) -> Self {
        Self::Registry(error.into())
    }
}

impl Registration {
    /// Names what waits: SHA-256 of it. Operators approve the request that they looked at, by this.
    pub fn request(&self) -> Digest {
        sha256(self.pending.to_json().to_string().as_bytes())
    }
}

impl Registry {
    /// Takes a vendor's first request, and uses up its ticket. `ticket` and `access`: SHA-256 of the ticket, and of the token that the
    /// vendor is given for the next use.
    ///
    /// A ticket for a client that is registered replaces its token and what was pending, and takes nothing away.
    ///
    /// # Errors
    /// [`NotRegistered`]; the ticket is then as good as before.
    pub async fn register(
        &self,
        ticket: &Digest,
        access: &Digest,
        asked: &ClientMetadata,
        now: UnixMicros,
    ) -> Result<Registration, NotRegistered> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let integration = ticket_of(&mut tx, ticket, now).await?.ok_or(NotRegistered::Unknown)?;
        let (effective, pending) = split(&mut tx, integration, asked, now).await?;
        may_add(&mut tx, integration).await?;
        sqlx::query("DELETE FROM registration_tickets WHERE ticket = $1")
            .bind(ticket.to_vec())
            .execute(&mut *tx)
            .await?;
        keep(&mut tx, integration, access, &pending, now).await?;
        tx.commit().await?;
        Ok(Registration { integration, effective, pending, asked: now })
    }

    /// Whether a ticket is good, for whoever would rather not wait for the writer to refuse a stranger.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn knows_ticket(
        &self,
        ticket: &Digest,
        now: UnixMicros,
    ) -> Result<bool, RegistryError> {
        let mut connection = self.pool.acquire().await?;
        Ok(ticket_of(&mut connection, ticket, now).await?.is_some())
    }

    /// Whether a token is the present one of a client's registration.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn knows_registration(
        &self,
        integration: IntegrationId,
        access: &Digest,
    ) -> Result<bool, RegistryError> {
        let mut connection = self.pool.acquire().await?;
        Ok(pending_of(&mut connection, integration, access).await?.is_some())
    }

    /// Reads a registration. `access` is used up; `next` takes its place.
    ///
    /// # Errors
    /// [`NotRegistered`]; the token is then as good as before.
    pub async fn read_registration(
        &self,
        integration: IntegrationId,
        [access, next]: [&Digest; 2],
        now: UnixMicros,
    ) -> Result<Registration, NotRegistered> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = pending_of(&mut tx, integration, access).await?;
        let (pending, asked) = found.ok_or(NotRegistered::Unknown)?;
        keep(&mut tx, integration, next, &pending, asked).await?;
        let effective = effective(&mut tx, integration, now).await?;
        tx.commit().await?;
        Ok(Registration { integration, effective, pending, asked })
    }

    /// Puts `wanted` in the place of a whole registration: what it leaves out goes at once, what it adds is pending. Tokens as in
    /// [`Registry::read_registration`].
    ///
    /// # Errors
    /// [`NotRegistered`]; nothing was changed then.
    pub async fn replace_registration(
        &self,
        integration: IntegrationId,
        [access, next]: [&Digest; 2],
        wanted: &ClientMetadata,
        now: UnixMicros,
    ) -> Result<Registration, NotRegistered> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        pending_of(&mut tx, integration, access).await?.ok_or(NotRegistered::Unknown)?;
        let (_, pending) = split(&mut tx, integration, wanted, now).await?;
        if !pending.is_empty() {
            may_add(&mut tx, integration).await?;
        }
        narrow(&mut tx, integration, wanted).await?;
        keep(&mut tx, integration, next, &pending, now).await?;
        let effective = effective(&mut tx, integration, now).await?;
        tx.commit().await?;
        Ok(Registration { integration, effective, pending, asked: now })
    }

    /// Ends a registration: every key of the client is retired, every address goes, and so does its ticket, if there is one.
    ///
    /// # Errors
    /// [`NotRegistered`]; nothing was changed then.
    pub async fn end_registration(
        &self,
        integration: IntegrationId,
        access: &Digest,
    ) -> Result<(), NotRegistered> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        pending_of(&mut tx, integration, access).await?.ok_or(NotRegistered::Unknown)?;
        narrow(&mut tx, integration, &ClientMetadata::default()).await?;
        for delete in [
            "DELETE FROM registrations WHERE integration = $1",
            "DELETE FROM registration_tickets WHERE integration = $1",
        ] {
            sqlx::query(delete).bind(integration.to_string()).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Every registration, by integration.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn registrations(&self, now: UnixMicros) -> Result<Vec<Registration>, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT integration, pending, asked FROM registrations ORDER BY integration",
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut registrations = Vec::new();
        for (integration, pending, asked) in rows {
            let integration = read::parse(&integration)?;
            registrations.push(Registration {
                integration,
                effective: effective(&mut tx, integration, now).await?,
                pending: stored(&pending)?,
                asked: read::time(asked)?,
            });
        }
        Ok(registrations)
    }
}

/// [`Command::RegistrationTicket`](super::Command): the integration's one ticket, in place of any before it.
pub(super) async fn issue_ticket(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    ticket: &Digest,
    until: UnixMicros,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::future(until, now)?;
    if until > now + TICKET_LIFE_MAX {
        return Err(RegistryError::Invalid("a ticket is good for 30 days at most".into()));
    }
    if !adds(tx, integration).await? {
        let (stage, _) = apply::stage(tx, integration).await?;
        return Err(RegistryError::Invalid(format!("{integration} is {stage}")));
    }
    sqlx::query(
        "INSERT INTO registration_tickets (integration, ticket, until) VALUES ($1, $2, $3)
         ON CONFLICT (integration) DO UPDATE SET ticket = $2, until = $3",
    )
    .bind(integration.to_string())
    .bind(ticket.to_vec())
    .bind(apply::bigint(until.0)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// [`Command::RegistrationApprove`](super::Command): exactly what is pending becomes effective, as if operators had typed it.
pub(super) async fn approve(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    keys: &[ApprovedKey],
    redirect_uris: &BTreeSet<String>,
    until: UnixMicros,
    networks: &[String],
) -> Result<(), RegistryError> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT pending FROM registrations WHERE integration = $1")
            .bind(integration.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let (pending,) =
        row.ok_or_else(|| RegistryError::Unknown(format!("a client of {integration}")))?;
    let pending = stored(&pending)?;
    let mut signed = ClientMetadata { keys: BTreeMap::new(), redirects: redirect_uris.clone() };
    for key in keys {
        let added = Added::key(&key.jwk)?;
        signed.keys.insert(added.thumbprint, added.jwk.clone());
        apply::credential_add(tx, key.credential, integration, &added, until, networks).await?;
    }
    // INVARIANT: what two operators signed is all there is; a vendor that asked for something else meanwhile waits for two more signatures.
    if pending.is_empty() || signed != pending {
        let what = "what waits for approval is not what was signed: look again and sign again";
        return Err(RegistryError::Invalid(what.into()));
    }
    if !redirect_uris.is_empty() {
        let mut uris = redirects(tx, integration).await?;
        uris.extend(redirect_uris.iter().cloned());
        apply::redirects_set(tx, integration, &uris).await?;
    }
    let nothing = ClientMetadata::default().to_json().to_string();
    sqlx::query("UPDATE registrations SET pending = $1 WHERE integration = $2")
        .bind(nothing)
        .bind(integration.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

async fn ticket_of(
    tx: &mut SqliteConnection,
    ticket: &Digest,
    now: UnixMicros,
) -> Result<Option<IntegrationId>, RegistryError> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT integration, until FROM registration_tickets WHERE ticket = $1")
            .bind(ticket.to_vec())
            .fetch_optional(tx)
            .await?;
    let Some((integration, until)) = row else { return Ok(None) };
    Ok((read::time(until)? > now).then_some(read::parse(&integration)?))
}

async fn pending_of(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    access: &Digest,
) -> Result<Option<(ClientMetadata, UnixMicros)>, RegistryError> {
    let row: Option<(String, i64)> = sqlx::query_as(
        "SELECT pending, asked FROM registrations WHERE integration = $1 AND access = $2",
    )
    .bind(integration.to_string())
    .bind(access.to_vec())
    .fetch_optional(tx)
    .await?;
    row.map(|(pending, asked)| Ok((stored(&pending)?, read::time(asked)?))).transpose()
}

async fn keep(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    access: &Digest,
    pending: &ClientMetadata,
    asked: UnixMicros,
) -> Result<(), RegistryError> {
    sqlx::query(
        "INSERT INTO registrations (integration, access, pending, asked) VALUES ($1, $2, $3, $4)
         ON CONFLICT (integration) DO UPDATE SET access = $2, pending = $3, asked = $4",
    )
    .bind(integration.to_string())
    .bind(access.to_vec())
    .bind(pending.to_json().to_string())
    .bind(apply::bigint(asked.0)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// What is in effect, and what of `wanted` is not.
async fn split(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    wanted: &ClientMetadata,
    now: UnixMicros,
) -> Result<(ClientMetadata, ClientMetadata), NotRegistered> {
    let effective = effective(tx, integration, now).await?;
    let mut pending = wanted.clone();
    pending.keys.retain(|thumbprint, _| !effective.keys.contains_key(thumbprint));
    pending.redirects.retain(|uri| !effective.redirects.contains(uri));
    for thumbprint in pending.keys.keys() {
        let taken: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM credentials WHERE thumbprint = $1")
                .bind(thumbprint.to_vec())
                .fetch_one(&mut *tx)
                .await?;
        if taken > 0 {
            return Err(BadMetadata::KeyTaken.into());
        }
    }
    Ok((effective, pending))
}

async fn effective(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    now: UnixMicros,
) -> Result<ClientMetadata, RegistryError> {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
        "SELECT thumbprint, jwk FROM credentials WHERE integration = $1 AND retired = 0 AND until > $2 AND certificate IS NULL",
    )
    .bind(integration.to_string())
    .bind(apply::bigint(now.0)?)
    .fetch_all(&mut *tx)
    .await?;
    let key = |(thumbprint, jwk): (Vec<u8>, String)| {
        Ok((read::known(thumbprint.try_into().ok(), "a thumbprint")?, jwk))
    };
    let keys = rows.into_iter().map(key).collect::<Result<_, RegistryError>>()?;
    Ok(ClientMetadata { keys, redirects: redirects(tx, integration).await? })
}

async fn redirects(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
) -> Result<BTreeSet<String>, RegistryError> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT uri FROM integration_redirects WHERE integration = $1")
            .bind(integration.to_string())
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|(uri,)| uri).collect())
}

/// Takes away what `wanted` does not have.
async fn narrow(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    wanted: &ClientMetadata,
) -> Result<(), RegistryError> {
    let keys: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT id, thumbprint FROM credentials WHERE integration = $1 AND retired = 0 AND certificate IS NULL",
    )
    .bind(integration.to_string())
    .fetch_all(&mut *tx)
    .await?;
    let mut gone = false;
    for (id, thumbprint) in keys {
        let thumbprint: Digest = read::known(thumbprint.try_into().ok(), "a thumbprint")?;
        if !wanted.keys.contains_key(&thumbprint) {
            let retire = sqlx::query("UPDATE credentials SET retired = 1 WHERE id = $1");
            retire.bind(id).execute(&mut *tx).await?;
            gone = true;
        }
    }
    for uri in redirects(tx, integration).await?.difference(&wanted.redirects) {
        sqlx::query("DELETE FROM integration_redirects WHERE integration = $1 AND uri = $2")
            .bind(integration.to_string())
            .bind(uri)
            .execute(&mut *tx)
            .await?;
        gone = true;
    }
    if gone {
        apply::bump_revision(tx).await?;
    }
    Ok(())
}

async fn may_add(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
) -> Result<(), NotRegistered> {
    let frozen = read::frozen(tx).await?.is_some();
    if frozen || !adds(tx, integration).await? { Err(NotRegistered::NotNow) } else { Ok(()) }
}

/// Whether an integration stands where keys are added to it: it is being vetted, or reads in full.
async fn adds(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
) -> Result<bool, RegistryError> {
    Ok(match apply::stage(tx, integration).await?.0 {
        Stage::Applied | Stage::Evidence | Stage::Sandbox | Stage::Approved => true,
        Stage::Restricted | Stage::Severed | Stage::Expired | Stage::Retired => false,
    })
}

fn stored(pending: &str) -> Result<ClientMetadata, RegistryError> {
    ClientMetadata::parse(pending.as_bytes(), None)
        .map_err(|_| RegistryError::Corrupt("a registration that cannot be read".into()))
}
