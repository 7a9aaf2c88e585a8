//! The desk's part in vetting: evidence is checked when it comes, when it is rested on, and again and again after that.

use super::{Desk, NotDone};
use crate::questions::CannotAnswer;
use crate::vetting::{self, NotChecked, Vetted};
use ::vetting::evidence::Evidence;
use aws_lc_rs::digest::{SHA256, digest};
use ledger::Draft;
use model::{IntegrationId, IntegrationState};
use serde_json::Value;
use std::sync::Arc;
use storage::clock;
use storage::registry::{Checked, Command, SignedCommand, Snapshot, VettingRow};
use tracing::warn;

/// From this tier on, the sandbox has to have been used before an approval.
const SANDBOX_FROM_TIER: u8 = 2;

impl Desk {
    /// Grants and keys stay within what their integration applied for: that is what was vetted.
    pub(super) async fn check_applied_for(&self, command: &Command) -> Result<(), NotDone> {
        let (Command::GrantAdd { integration, .. }
        | Command::CredentialAdd { integration, .. }
        | Command::CertificateAdd { integration, .. }
        | Command::RegistrationApprove { integration, .. }) = command
        else {
            return Ok(());
        };
        let Some(row) = self.registry.vetting(*integration).await? else {
            return self.before_vetting(*integration).await;
        };
        let applied = applied(&row)?;
        let within = if let Command::GrantAdd { operations, classes, purpose, .. } = command {
            vetting::covers(&applied, operations, classes, purpose)
        } else if let Command::CredentialAdd { jwk, .. } = command {
            vetting::names_key(&applied, jwk)
        } else if let Command::CertificateAdd { certificate, rule: None, .. } = command {
            vetting::names_key_of(&applied, certificate)
        } else if let Command::RegistrationApprove { keys, .. } = command {
            keys.iter().try_for_each(|key| vetting::names_key(&applied, &key.jwk))
        } else {
            // Under a rule the CA names new keys whenever it likes; which rule, two operators sign.
            Ok(())
        };
        within.map_err(|beyond| {
            NotDone::Unvetted(format!(
                "{beyond} was not applied for, so it is not granted; submit evidence for it first"
            ))
        })
    }

    /// An integration that was approved before there was evidence keeps what it may be granted, until it is vetted.
    async fn before_vetting(&self, integration: IntegrationId) -> Result<(), NotDone> {
        let directory = self.registry.directory().await?;
        match directory.integrations.get(&integration).map(|integration| integration.state) {
            // Whoever is not registered is refused by the registry.
            None
            | Some(IntegrationState::Approved { .. } | IntegrationState::Restricted { .. }) => {
                Ok(())
            }
            Some(_) => Err(no_evidence()),
        }
    }

    /// Runs the checks for a command that submits evidence or rests on it.
    pub(super) async fn check(
        &self,
        command: &Command,
        signed: &SignedCommand,
    ) -> Result<Option<Checked>, NotDone> {
        let now = clock::unix_now();
        let snapshot = self.registry.snapshot().await?;
        let contract = self.contract.load_full();
        let vet = |application: &str, sbom: Option<Vec<u8>>| {
            Vetted::new(
                application,
                sbom,
                &self.advisories.load(),
                &contract,
                &snapshot.classes,
                now,
            )
        };
        if let Command::EvidenceAdd { application, sbom, .. } = command {
            let attached = signed.attachment.clone();
            let hash = attached.as_ref().map(|bytes| digest(&SHA256, bytes));
            if hash.as_ref().map(AsRef::as_ref) != sbom.as_ref().map(<[u8; 32]>::as_slice) {
                return Err(NotChecked::OtherSbom.into());
            }
            let application = Value::Object(application.clone()).to_string();
            return Ok(Some(vet(&application, attached)?.checked));
        }
        let (Command::IntegrationReview { integration, .. }
        | Command::IntegrationApprove { integration, .. }) = command
        else {
            return Ok(None);
        };
        let row = self.registry.vetting(*integration).await?.ok_or_else(no_evidence)?;
        check_grants(*integration, &applied(&row)?, &snapshot)?;
        let checked = vet(&row.application, row.sbom.clone())?.checked;
        if let Command::IntegrationApprove { .. } = command {
            self.sandbox_shows(*integration, &row, &checked).await?;
        }
        Ok(Some(checked))
    }

    /// From tier 2 on, what comes out of the sandbox has to have shown there that it works.
    async fn sandbox_shows(
        &self,
        integration: IntegrationId,
        row: &VettingRow,
        checked: &Checked,
    ) -> Result<(), NotDone> {
        let standing =
            self.registry.directory().await?.integrations.get(&integration).map(|i| i.state);
        let in_sandbox = matches!(standing, Some(IntegrationState::Sandbox { .. }));
        let Some(since) = row.sandboxed.filter(|_| in_sandbox && checked.tier >= SANDBOX_FROM_TIER)
        else {
            return Ok(());
        };
        let archive = Arc::clone(&self.archive);
        let tried = tokio::task::spawn_blocking(move || archive.tried(integration, since)).await;
        let tried = tried.unwrap_or(Err(CannotAnswer::Stopped))?;
        if tried.unfit > 0 {
            return Err(NotDone::Unvetted(format!(
                "in the sandbox {} of its requests were for something that the contract does not have or its grant does not cover, or for a decoy",
                tried.unfit
            )));
        }
        if tried.asked == 0 {
            return Err(NotDone::Unvetted(
                "it has asked for nothing in the sandbox yet; from tier 2 on it has to".to_owned(),
            ));
        }
        Ok(())
    }

    /// Runs every check of every integration anew, and restricts at once those that a check takes out of use. Returns their slugs.
    ///
    /// # Errors
    /// [`NotDone`] if the registry cannot be read or written.
    pub async fn recheck(&self) -> Result<Vec<String>, NotDone> {
        let _turn = self.turn.lock().await;
        let now = clock::unix_now();
        let (snapshot, contract) = (self.registry.snapshot().await?, self.contract.load_full());
        let mut restricted = Vec::new();
        for row in self.registry.vettings().await? {
            let of = row.integration;
            let vetted = Vetted::new(
                &row.application,
                row.sbom,
                &self.advisories.load(),
                &contract,
                &snapshot.classes,
                now,
            )?;
            self.registry.keep_check(of, &vetted.checked, now).await?;
            let because = row.approved.and_then(|hash| vetted.restrict_because(&hash, now));
            let Some(because) = because else { continue };
            if self.registry.restrict_by_rule(of).await? {
                let slug = snapshot.directory.integrations.get(&of).map(|i| i.slug.clone());
                warn!(integration = slug, because, "restricted");
                restricted.extend(slug);
                self.republish().await?;
                let (step, detail) = ("restricted by a check".to_owned(), because.into_bytes());
                self.recorder.append(Draft::Vetting { integration: of, step, detail }).await?;
            }
        }
        if self.registry.expire(now).await? > 0 {
            self.republish().await?;
        }
        Ok(restricted)
    }
}

/// What was granted for an older application is held against the one that is approved.
fn check_grants(
    integration: IntegrationId,
    applied: &Evidence,
    snapshot: &Snapshot,
) -> Result<(), NotDone> {
    for grant in snapshot.directory.grants.values().filter(|g| g.integration == integration) {
        let operations = grant.operations.iter().map(|o| o.as_str().to_owned()).collect();
        let classes = snapshot.classes.names(&grant.classes).into_iter().map(str::to_owned);
        let within =
            vetting::covers(applied, &operations, &classes.collect(), grant.purpose.as_str());
        within.map_err(|beyond| {
            NotDone::Unvetted(format!(
                "its grant {} has {beyond}, which it does not apply for any more; withdraw it first",
                grant.id
            ))
        })?;
    }
    Ok(())
}

fn applied(row: &VettingRow) -> Result<Evidence, NotDone> {
    Ok(Evidence::parse(row.application.as_bytes()).map_err(NotChecked::from)?)
}

fn no_evidence() -> NotDone {
    let says = "it has submitted no evidence: `portcullis integration evidence` first";
    NotDone::Unvetted(says.to_owned())
}
