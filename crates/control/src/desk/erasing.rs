//! The desk's part in erasing: requests that are due are carried out, all of them at once, unless an incident is open.
//!
//! The order, of which each step can be taken again after a crash: the log says which row goes; the vault forgets it, then its key; the
//! outbox, the directory of addresses and scopes nobody holds forget the subject; the registry forgets it last, because the request in it is
//! what a start after a crash goes on from.

use super::{Desk, NotDone};
use ledger::Draft;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::clock;
use storage::embedded::Unavailable;
use storage::embedded::vault::ERASED_ACTION;
use storage::registry::{Applied, ERASE_AFTER, ErasureRow, ErasureState};
use tracing::{info, warn};

impl Desk {
    /// The answer to a request.
    pub(super) async fn asked_to_erase(&self, applied: &Applied) -> Result<Value, NotDone> {
        let erasure = applied.authorised.id();
        let open = self.office.open_cases().await?;
        Ok(json!({
            "schema": "portcullis.erasure/1",
            "erasure": erasure,
            "due": (clock::unix_now() + ERASE_AFTER).to_string(),
            "held_by": open,
        }))
    }

    /// Carries out every request that is due. Returns how many subjects were erased.
    ///
    /// # Errors
    /// [`NotDone`] says what stopped it; what was not done is due again.
    pub async fn erase_due(&self) -> Result<usize, NotDone> {
        let _turn = self.turn.lock().await;
        let now = clock::unix_now();
        let rows = self.registry.erasures().await?;
        let mut due: Vec<_> = rows.into_iter().filter(|row| row.subject.is_some()).collect();
        due.retain(|row| row.state == ErasureState::Begun || row.due <= now);
        if due.iter().any(|row| row.state == ErasureState::Pending) {
            let open = self.office.open_cases().await?;
            if !open.is_empty() {
                due.retain(|row| row.state == ErasureState::Begun);
                info!(
                    cases = open.join(" "),
                    "erasures that are due are held: they are carried out when these cases are closed"
                );
            }
        }
        if due.is_empty() && !self.eraser.is_due() {
            return Ok(0);
        }
        for erasure in &due {
            let Some(subject) = &erasure.subject else { continue };
            // Once begun, the log names the row and the vault has forgotten it, or did when it opened after a crash. Whoever has a row
            // all the same was read since, and is somebody new.
            if erasure.state == ErasureState::Pending {
                if let Some(row) = self.archive.vault.erased_row(subject) {
                    self.recorder.append(record(erasure, &row.to_detail(&erasure.id))).await?;
                    self.eraser.forget(subject);
                }
                self.registry.begin_erasure(&erasure.id, now).await?;
            }
        }
        let eraser = Arc::clone(&self.eraser);
        if eraser.is_due() {
            let erased = tokio::task::spawn_blocking(move || eraser.erase()).await;
            erased.unwrap_or_else(|_| Err(Unavailable::Stopped("erasing panicked".into())))?;
        }
        // Before the registry forgets that there is something to do: by its ordinals the index ties the erased one's pseudonyms together.
        let logs = Arc::clone(&self.archive.logs);
        let forgotten = tokio::task::spawn_blocking(move || {
            logs.forget().and_then(|()| logs.catch_up()).map_err(|error| error.to_string())
        });
        let forgotten = forgotten.await.unwrap_or_else(|_| Err("it panicked".into()));
        forgotten.map_err(|why| Unavailable::Stopped(format!("the exposure index: {why}")))?;
        for erasure in &due {
            if let Some(subject) = &erasure.subject {
                self.consents
                    .erase(subject)
                    .await
                    .map_err(|error| NotDone::NotKept(error.to_string()))?;
                self.office.forget(subject).await?;
                self.registry.forget(erasure, now).await?;
            }
        }
        if !due.is_empty() {
            self.republish().await?;
            warn!(subjects = due.len(), "erased");
        }
        Ok(due.len())
    }
}

fn record(erasure: &ErasureRow, detail: &[u8]) -> Draft {
    Draft::OperatorAction {
        operator: erasure.operator,
        action: ERASED_ACTION.to_owned(),
        detail: detail.to_vec(),
    }
}
