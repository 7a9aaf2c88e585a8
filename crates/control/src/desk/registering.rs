//! The desk's part in dynamic registration: a vendor's request about its own client, carried out in turn with operators' commands and recorded.
//!
//! What it takes away holds before it is recorded, as with operators' commands; what it asks for waits for operators, so it is recorded once
//! it is known who asks.

use super::{Desk, NotDone};
use authority::register::ClientMetadata;
use credential::{base64url, sha256};
use ledger::Draft;
use model::IntegrationId;
use serde_json::json;
use storage::clock;
use storage::registry::{NotRegistered, Registration, RegistryError};

/// What becomes of a vendor's request.
#[derive(Debug)]
pub(crate) struct Registered {
    /// What stands of its client.
    pub(crate) registration: Registration,
    /// The token for the next use.
    pub(crate) access: String,
}

/// Why a vendor's request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// The registry did not take it.
    #[error(transparent)]
    Not(#[from] NotRegistered),
    /// It was taken, and could not be recorded or published.
    #[error(transparent)]
    NotDone(#[from] NotDone),
}

impl From<RegistryError> for NotTaken {
    fn from(error: RegistryError) -> Self {
        Self::Not(error.into())
    }
}

impl Desk {
    /// Takes a first request with a ticket.
    pub(crate) async fn register(&self, ticket: &str, body: &[u8]) -> Result<Registered, NotTaken> {
        let ticket = sha256(ticket.as_bytes());
        // Strangers are turned away before they cost operators their turn.
        if !self.registry.knows_ticket(&ticket, clock::unix_now()).await? {
            return Err(NotRegistered::Unknown.into());
        }
        let asked = ClientMetadata::parse(body, None).map_err(NotRegistered::from)?;
        let (access, next) = token();
        let _turn = self.turn.lock().await;
        let now = clock::unix_now();
        let registration = self.registry.register(&ticket, &next, &asked, now).await?;
        self.keep(&registration, "registration asked for").await?;
        Ok(Registered { registration, access })
    }

    /// Reads a registration with its present token.
    pub(crate) async fn registration(
        &self,
        client: IntegrationId,
        presented: &str,
    ) -> Result<Registered, NotTaken> {
        let present = self.present(client, presented).await?;
        let (access, next) = token();
        let _turn = self.turn.lock().await;
        let now = clock::unix_now();
        let read = self.registry.read_registration(client, [&present, &next], now).await?;
        Ok(Registered { registration: read, access })
    }

    /// Puts a registration in the place of another.
    pub(crate) async fn replace_registration(
        &self,
        client: IntegrationId,
        presented: &str,
        body: &[u8],
    ) -> Result<Registered, NotTaken> {
        let present = self.present(client, presented).await?;
        let wanted = ClientMetadata::parse(body, Some(client)).map_err(NotRegistered::from)?;
        let (access, next) = token();
        let _turn = self.turn.lock().await;
        let (tokens, now) = ([&present, &next], clock::unix_now());
        let registration = self.registry.replace_registration(client, tokens, &wanted, now).await?;
        self.keep(&registration, "registration replaced").await?;
        Ok(Registered { registration, access })
    }

    /// Ends a registration, the client's keys and what subjects agreed to for it.
    pub(crate) async fn end_registration(
        &self,
        client: IntegrationId,
        presented: &str,
    ) -> Result<(), NotTaken> {
        let present = self.present(client, presented).await?;
        let _turn = self.turn.lock().await;
        self.registry.end_registration(client, &present).await?;
        let published = self.republish().await;
        //= RFC 7592 section 2.3: existing grants and tokens are invalidated with the client
        let ended = self.consents.end_all(&[client], clock::unix_now()).await;
        let recorded = self.record_request(client, "registration ended", Vec::new()).await;
        published?;
        ended.map_err(|error| NotDone::NotKept(error.to_string()))?;
        Ok(recorded?)
    }

    async fn present(
        &self,
        client: IntegrationId,
        presented: &str,
    ) -> Result<model::Digest, NotTaken> {
        let present = sha256(presented.as_bytes());
        if self.registry.knows_registration(client, &present).await? {
            Ok(present)
        } else {
            Err(NotRegistered::Unknown.into())
        }
    }

    /// Publishes and records what a request left: both are attempted, because the registry has changed already.
    async fn keep(&self, registration: &Registration, step: &str) -> Result<(), NotDone> {
        let detail = json!({
            "effective": registration.effective.to_json(),
            "pending": registration.pending.to_json(),
        });
        let published = self.republish().await;
        let detail = detail.to_string().into_bytes();
        let recorded = self.record_request(registration.integration, step, detail).await;
        published?;
        recorded
    }

    async fn record_request(
        &self,
        integration: IntegrationId,
        step: &str,
        detail: Vec<u8>,
    ) -> Result<(), NotDone> {
        self.recorder.append(Draft::Vetting { integration, step: step.to_owned(), detail }).await?;
        Ok(())
    }
}

/// A token that nobody can guess, and what is kept of it.
fn token() -> (String, model::Digest) {
    let token = base64url::encode(&clock::random::<32>());
    let digest = sha256(token.as_bytes());
    (token, digest)
}
