//! Carrying out one signed command, in one transaction.

use super::added::Added;
use super::command::{Command, Effect, Limits, Scope};
use super::lifecycle::{NotFromHere, Stage, Step};
use super::signed::{Authorised, SignedCommand};
use super::target::{Target, is_slug};
use super::vetting::{self, Checked};
use super::{
    Registry, RegistryError, bearer, cases, erasures, operators, read, registrations, webhooks,
    windows,
};
use authority::register::REDIRECTS_MAX;
use ipnet::IpNet;
use model::{
    BearerException, CredentialId, DataClass, Digest, GrantId, IncidentId, IntegrationId,
    OperationId, Operator, OperatorId, OperatorKind, Purpose, UnixMicros, VendorId,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use std::collections::BTreeSet;

/// What goes with a command and is not signed: what the node worked out from it.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// Nothing.
    Nothing,
    /// Of evidence, a review or an approval: the checks.
    Checked(&'a Checked),
    /// Of a step of a case: how many events it had, and those that the step adds.
    Case {
        /// Events the node had seen.
        known: usize,
        /// Events to add.
        events: &'a [String],
    },
}

/// What was carried out, as the record needs it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The command and who signed it.
    pub authorised: Authorised,
    /// The registry's revision after it.
    pub revision: u64,
}

impl Registry {
    /// Carries out `command`: checks its signatures against the roster, that it was never carried out before, that no
    /// freeze stops it and that it makes sense, and then does all of it or nothing.
    ///
    /// `posture_head`: the head of posture in force, which what widens must have been signed against.
    ///
    /// # Errors
    /// [`RegistryError`]; the registry is then as it was.
    pub async fn apply(
        &self,
        command: &SignedCommand,
        posture_head: &Digest,
        now: UnixMicros,
    ) -> Result<Applied, RegistryError> {
        self.apply_with(command, Beside::Nothing, posture_head, now).await
    }

    /// As [`Registry::apply`], with what the node worked out for this command.
    ///
    /// # Errors
    /// As for [`Registry::apply`].
    pub async fn apply_with(
        &self,
        command: &SignedCommand,
        beside: Beside<'_>,
        posture_head: &Digest,
        now: UnixMicros,
    ) -> Result<Applied, RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let roster = operators::roster(&mut tx).await?;
        let authorised = command.verify(&roster, now, posture_head)?;
        refuse_replay(&mut tx, &authorised).await?;
        refuse_frozen(&mut tx, authorised.command()).await?;
        carry_out(&mut tx, &authorised, beside, now).await?;
        let revision = match authorised.command().effect() {
            Effect::Narrows | Effect::Widens => bump_revision(&mut tx).await?,
            Effect::Looks => read::revision(&mut tx).await?,
        };
        remember(&mut tx, command, &authorised, now, revision).await?;
        tx.commit().await?;
        Ok(Applied { authorised, revision })
    }

    /// Refuses a command that was carried out before, for whoever does something before it is applied.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyApplied`], or [`RegistryError::Unavailable`].
    pub async fn refuse_seen(&self, authorised: &Authorised) -> Result<(), RegistryError> {
        refuse_replay(&mut *self.pool.acquire().await?, authorised).await
    }

    /// Whether the command with this id was carried out.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn carried_out(&self, id: &[u8; 16]) -> Result<bool, RegistryError> {
        let mut connection = self.pool.acquire().await?;
        Ok(count_of(&mut connection, &super::text::hex(id)).await? > 0)
    }

    /// Moves the life cycle after a cut that posture has made already and nobody signed for as a command. It only narrows.
    ///
    /// # Errors
    /// [`RegistryError`]; the cut stands in any case.
    pub async fn mark_severed(&self, target: &Target) -> Result<(), RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        follow(&mut tx, target, Step::Sever).await?;
        bump_revision(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Marks the integrations whose approval ran out, for lists; decisions look at the date themselves. Returns how many.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn expire(&self, now: UnixMicros) -> Result<u64, RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query(
            "UPDATE integrations SET stage = CASE stage WHEN 'sandbox' THEN 'evidence' ELSE 'expired' END
             WHERE stage IN ('sandbox', 'approved', 'restricted') AND until <= $1",
        )
        .bind(bigint(now.0)?)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if done > 0 {
            bump_revision(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(done)
    }
}

async fn refuse_replay(
    tx: &mut SqliteConnection,
    authorised: &Authorised,
) -> Result<(), RegistryError> {
    let id = authorised.id();
    let seen = count_of(tx, &id).await?;
    if seen > 0 { Err(RegistryError::AlreadyApplied(id)) } else { Ok(()) }
}

async fn count_of(connection: &mut SqliteConnection, id: &str) -> Result<i64, RegistryError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM commands WHERE id = $1");
    Ok(count.bind(id).fetch_one(connection).await?)
}

async fn refuse_frozen(tx: &mut SqliteConnection, command: &Command) -> Result<(), RegistryError> {
    match read::frozen(tx).await? {
        Some(reason) if command.is_onboarding() => {
            Err(RegistryError::Frozen { action: command.action(), reason })
        }
        _ => Ok(()),
    }
}

async fn carry_out(
    tx: &mut Transaction<'static, Sqlite>,
    authorised: &Authorised,
    beside: Beside<'_>,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    let checked = || match beside {
        Beside::Checked(checked) => Ok(checked),
        Beside::Nothing | Beside::Case { .. } => {
            Err(RegistryError::Invalid("it takes evidence, which was not checked".into()))
        }
    };
    match authorised.command() {
        Command::VendorAdd { vendor, slug, name } => vendor_add(tx, *vendor, slug, name).await,
        Command::IntegrationApply { integration, slug, vendor } => {
            integration_apply(tx, *integration, slug, *vendor).await
        }
        Command::EvidenceAdd { integration, .. } => {
            vetting::submit(tx, *integration, checked()?, now).await
        }
        Command::IntegrationReview { integration, until } => {
            let reviewers = authorised.operators();
            vetting::review(tx, *integration, checked()?, *until, reviewers, now).await
        }
        Command::IntegrationApprove { integration, until } => {
            vetting::approve(tx, *integration, checked()?, *until, now).await
        }
        Command::ReviewAll { by, reason } => vetting::review_all(tx, *by, reason, now).await,
        Command::IntegrationRestrict { integration, .. } => {
            step(tx, *integration, Step::Restrict).await
        }
        Command::IntegrationRetire { integration } => step(tx, *integration, Step::Retire).await,
        Command::RedirectsSet { integration, uris } => redirects_set(tx, *integration, uris).await,
        Command::ConsentsEnd { target, .. } => match target {
            Target::Vendor(_) | Target::Integration(_) => Ok(()),
            Target::Credential(_)
            | Target::Grant(_)
            | Target::Operation(_)
            | Target::Network(_) => {
                let what = format!("`{target}` is neither a vendor nor an integration");
                Err(RegistryError::Invalid(what))
            }
        },
        Command::CredentialAdd { credential, integration, jwk, until, networks } => {
            future(*until, now)?;
            let added = Added::key(jwk)?;
            credential_add(tx, *credential, *integration, &added, *until, networks).await
        }
        Command::CertificateAdd { credential, integration, certificate, rule, until, networks } => {
            future(*until, now)?;
            let added = Added::certificate(certificate, rule.as_ref(), now)?;
            credential_add(tx, *credential, *integration, &added, *until, networks).await
        }
        Command::RegistrationTicket { integration, ticket, until } => {
            registrations::issue_ticket(tx, *integration, ticket, *until, now).await
        }
        Command::RegistrationApprove { integration, keys, redirect_uris, until, networks } => {
            future(*until, now)?;
            registrations::approve(tx, *integration, keys, redirect_uris, *until, networks).await
        }
        Command::BearerException { integration, owner, reason, until } => {
            let (owner, reason) = (owner.clone(), reason.clone());
            let exception = BearerException { owner, reason, until: *until };
            bearer::begin(tx, *integration, &exception, now).await
        }
        Command::BearerEnd { integration } => bearer::end(tx, *integration, now).await,
        Command::CredentialRetire { credential } => {
            let done = sqlx::query("UPDATE credentials SET retired = 1 WHERE id = $1")
                .bind(credential.to_string())
                .execute(&mut **tx)
                .await?;
            known(done.rows_affected(), credential)
        }
        Command::GrantAdd {
            grant,
            integration,
            operations,
            classes,
            purpose,
            scope,
            budget,
            expires,
        } => {
            future(*expires, now)?;
            grant_add(tx, *grant, *integration, purpose, scope, *budget, *expires).await?;
            grant_lists(tx, *grant, operations, classes, scope).await
        }
        Command::GrantWithdraw { grant } => {
            let done = sqlx::query("UPDATE grants SET withdrawn = 1 WHERE id = $1")
                .bind(grant.to_string())
                .execute(&mut **tx)
                .await?;
            known(done.rows_affected(), grant)
        }
        Command::OperatorAdd { operator, name, public_key, role, automation_until } => {
            let kind = automation_until
                .map_or(OperatorKind::Person, |until| OperatorKind::Automation { until });
            let (id, name, public_key) = (*operator, name.clone(), *public_key);
            operators::add(tx, &Operator { id, name, public_key, role: *role, kind }, now).await
        }
        Command::OperatorRole { operator, role } => operators::set_role(tx, *operator, *role).await,
        Command::OperatorPasskeysRemove { operator } => {
            operators::remove_passkeys(tx, *operator).await
        }
        Command::OperatorRemove { operator } => operators::remove(tx, *operator).await,
        Command::Freeze { reason } => {
            sqlx::query("UPDATE registry SET frozen_reason = $1")
                .bind(reason)
                .execute(&mut **tx)
                .await?;
            Ok(())
        }
        Command::Unfreeze {} => {
            sqlx::query("UPDATE registry SET frozen_reason = NULL").execute(&mut **tx).await?;
            Ok(())
        }
        Command::Sever { target, .. } => follow(tx, target, Step::Sever).await,
        Command::Restore { target, .. } => follow(tx, target, Step::Restore).await,
        Command::HoneyPlant { subject } => {
            sqlx::query("INSERT INTO honey_subjects (subject) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(subject.0.as_str())
                .execute(&mut **tx)
                .await?;
            Ok(())
        }
        Command::WindowDeclare { window } => windows::declare(tx, window, now).await,
        Command::WindowApprove { window } => windows::approve(tx, window, now).await,
        Command::WindowEnd { window } => windows::end(tx, *window, now).await,
        Command::VendorWebhook { vendor, url } => webhooks::set(tx, *vendor, url.as_deref()).await,
        Command::SubjectErase { subject } => {
            // INVARIANT: `Authorised` has at least one signer.
            let operator = authorised.operators().iter().next().copied();
            let operator = operator.unwrap_or(OperatorId::from_bytes([0; 16]));
            erasures::ask(tx, &authorised.id(), &subject.0, operator, now).await
        }
        Command::SubjectEraseCancel { erasure } => erasures::cancel(tx, erasure, now).await,
        // Their effect is elsewhere, or they only look; here they are remembered.
        Command::ClockAcknowledge {}
        | Command::ExposureQuery { .. }
        | Command::Evidence { .. }
        | Command::SubjectExport { .. }
        | Command::List { .. }
        | Command::SubjectEnrol { .. }
        | Command::SignalsAcknowledge { .. }
        | Command::ConsoleOpen {} => Ok(()),
        Command::IncidentOpen { incident, name, .. } => {
            cases::open(tx, *incident, name, now).await?;
            step_of_case(tx, *incident, beside).await
        }
        Command::IncidentStep { incident, .. } => step_of_case(tx, *incident, beside).await,
    }
}

async fn step_of_case(
    tx: &mut SqliteConnection,
    incident: IncidentId,
    beside: Beside<'_>,
) -> Result<(), RegistryError> {
    match beside {
        Beside::Case { known, events } => cases::append(tx, incident, known, events).await,
        // It only looked.
        Beside::Nothing | Beside::Checked(_) => Ok(()),
    }
}

async fn vendor_add(
    tx: &mut SqliteConnection,
    vendor: VendorId,
    slug: &str,
    name: &str,
) -> Result<(), RegistryError> {
    check_slug(slug)?;
    check_name(name)?;
    let done = sqlx::query(
        "INSERT INTO vendors (id, slug, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(vendor.to_string())
    .bind(slug)
    .bind(name)
    .execute(tx)
    .await?;
    free(done.rows_affected(), format!("vendor {vendor} or `{slug}`"))
}

async fn integration_apply(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    slug: &str,
    vendor: VendorId,
) -> Result<(), RegistryError> {
    check_slug(slug)?;
    let vendors: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM vendors WHERE id = $1")
        .bind(vendor.to_string())
        .fetch_one(&mut *tx)
        .await?;
    known(u64::try_from(vendors).unwrap_or(0), &vendor)?;
    let done = sqlx::query(
        "INSERT INTO integrations (id, slug, vendor, tier, stage, stage_before, until)
         VALUES ($1, $2, $3, 0, 'applied', NULL, NULL) ON CONFLICT DO NOTHING",
    )
    .bind(integration.to_string())
    .bind(slug)
    .bind(vendor.to_string())
    .execute(tx)
    .await?;
    free(done.rows_affected(), format!("integration {integration} or `{slug}`"))
}

/// Takes a step that sets nothing but the stage.
pub(super) async fn step(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    step: Step,
) -> Result<(), RegistryError> {
    let (stage, before) = stage(tx, integration).await?;
    let after = stage.after(step, before)?;
    let before = match (stage, after) {
        (Stage::Severed, Stage::Severed) => before,
        (_, Stage::Severed) => Some(stage),
        _ => None,
    };
    sqlx::query("UPDATE integrations SET stage = $1, stage_before = $2 WHERE id = $3")
        .bind(after.as_str())
        .bind(before.map(Stage::as_str))
        .bind(integration.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn stage(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
) -> Result<(Stage, Option<Stage>), RegistryError> {
    let row: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT stage, stage_before FROM integrations WHERE id = $1")
            .bind(integration.to_string())
            .fetch_optional(tx)
            .await?;
    let (stage, before) = row.ok_or_else(|| RegistryError::Unknown(integration.to_string()))?;
    let read = |word: &str| {
        Stage::parse(word)
            .ok_or_else(|| RegistryError::Corrupt(format!("an integration that is `{word}`")))
    };
    Ok((read(&stage)?, before.as_deref().map(read).transpose()?))
}

pub(super) async fn redirects_set(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    uris: &BTreeSet<String>,
) -> Result<(), RegistryError> {
    if uris.len() > REDIRECTS_MAX {
        return Err(RegistryError::Invalid(format!(
            "more than {REDIRECTS_MAX} redirect addresses"
        )));
    }
    active(tx, integration).await?;
    sqlx::query("DELETE FROM integration_redirects WHERE integration = $1")
        .bind(integration.to_string())
        .execute(&mut *tx)
        .await?;
    for uri in uris {
        authority::redirect::registrable(uri).map_err(|why| {
            RegistryError::Invalid(format!("`{uri}` is no redirect address: {why}"))
        })?;
        sqlx::query("INSERT INTO integration_redirects (integration, uri) VALUES ($1, $2)")
            .bind(integration.to_string())
            .bind(uri)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn credential_add(
    tx: &mut SqliteConnection,
    credential: CredentialId,
    integration: IntegrationId,
    added: &Added,
    until: UnixMicros,
    networks: &[String],
) -> Result<(), RegistryError> {
    active(tx, integration).await?;
    let done = sqlx::query(
        "INSERT INTO credentials
            (id, integration, thumbprint, jwk, certificate, rule_kind, rule_value, until, retired)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING",
    )
    .bind(credential.to_string())
    .bind(integration.to_string())
    .bind(added.thumbprint.to_vec())
    .bind(&added.jwk)
    .bind(added.certificate.as_deref())
    .bind(added.rule.as_ref().map(|rule| rule.kind().name()))
    .bind(added.rule.as_ref().map(|rule| rule.value().to_owned()))
    .bind(bigint(until.0)?)
    .execute(&mut *tx)
    .await?;
    free(done.rows_affected(), format!("credential {credential} or what it is"))?;
    for text in networks {
        let network: IpNet = text
            .parse()
            .map_err(|_| RegistryError::Invalid(format!("`{text}` is not a network")))?;
        sqlx::query(
            "INSERT INTO credential_networks (credential, network) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(credential.to_string())
        .bind(network.trunc().to_string())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn grant_add(
    tx: &mut SqliteConnection,
    grant: GrantId,
    integration: IntegrationId,
    purpose: &str,
    scope: &Scope,
    budget: Limits,
    expires: UnixMicros,
) -> Result<(), RegistryError> {
    if Purpose::new(purpose).is_none() {
        return Err(RegistryError::Invalid(format!("`{purpose}` is not a purpose")));
    }
    if budget.burst == 0 || budget.burst > budget.hour || budget.hour > budget.day {
        return Err(RegistryError::Invalid(
            "a budget is subjects in a minute, an hour and a day: at least one, and no fewer than in what is shorter".into(),
        ));
    }
    let (scope, pointer, value) = match scope {
        Scope::TokenSubject {} => ("token_subject", None, None),
        Scope::Consenting { .. } => ("consenting", None, None),
        Scope::Attribute { pointer, value } => {
            //= RFC 6901 section 3: empty, or reference tokens that each begin with `/`; the whole record is no attribute
            if !pointer.starts_with('/') {
                return Err(RegistryError::Invalid(format!("`{pointer}` is not a JSON pointer")));
            }
            ("attribute", Some(pointer), Some(value))
        }
        Scope::All {} => ("all", None, None),
    };
    active(tx, integration).await?;
    let done = sqlx::query(
        "INSERT INTO grants (id, integration, purpose, scope, scope_pointer, scope_value,
                             burst, hour, day, expires, withdrawn)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) ON CONFLICT DO NOTHING",
    )
    .bind(grant.to_string())
    .bind(integration.to_string())
    .bind(purpose)
    .bind(scope)
    .bind(pointer)
    .bind(value)
    .bind(i64::from(budget.burst))
    .bind(i64::from(budget.hour))
    .bind(i64::from(budget.day))
    .bind(bigint(expires.0)?)
    .execute(tx)
    .await?;
    free(done.rows_affected(), format!("grant {grant}"))
}

async fn grant_lists(
    tx: &mut SqliteConnection,
    grant: GrantId,
    operations: &BTreeSet<String>,
    classes: &BTreeSet<String>,
    scope: &Scope,
) -> Result<(), RegistryError> {
    if operations.is_empty() {
        return Err(RegistryError::Invalid("the grant names no operation".into()));
    }
    for operation in operations {
        if OperationId::new(operation).is_none() {
            return Err(RegistryError::Invalid(format!("`{operation}` is not an operation id")));
        }
        sqlx::query("INSERT INTO grant_operations (grant_id, operation) VALUES ($1, $2)")
            .bind(grant.to_string())
            .bind(operation)
            .execute(&mut *tx)
            .await?;
    }
    let table = read::classes(&mut *tx).await?;
    for name in classes {
        let covers_some =
            DataClass::new(name).is_some_and(|class| !table.covered_by(&class).is_empty());
        if !covers_some {
            return Err(RegistryError::Unknown(format!("data class `{name}`")));
        }
        sqlx::query("INSERT INTO grant_classes (grant_id, class) VALUES ($1, $2)")
            .bind(grant.to_string())
            .bind(name)
            .execute(&mut *tx)
            .await?;
    }
    if let Scope::Consenting { subjects } = scope {
        for subject in subjects {
            sqlx::query(
                "INSERT INTO grant_subjects (grant_id, subject) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(grant.to_string())
            .bind(subject.0.as_str())
            .execute(&mut *tx)
            .await?;
        }
    }
    Ok(())
}

/// Moves the life cycle of the integrations that `target` names. Posture knows the other targets.
async fn follow(
    tx: &mut SqliteConnection,
    target: &Target,
    taken: Step,
) -> Result<(), RegistryError> {
    let integrations: Vec<(String,)> = match target {
        Target::Integration(named) => {
            sqlx::query_as("SELECT id FROM integrations WHERE id = $1 OR slug = $1")
                .bind(named.to_string())
                .fetch_all(&mut *tx)
                .await?
        }
        Target::Vendor(named) => {
            let vendor: Option<(String,)> =
                sqlx::query_as("SELECT id FROM vendors WHERE id = $1 OR slug = $1")
                    .bind(named.to_string())
                    .fetch_optional(&mut *tx)
                    .await?;
            let (vendor,) = vendor.ok_or_else(|| RegistryError::Unknown(target.to_string()))?;
            return follow_vendor(tx, &vendor, taken).await;
        }
        Target::Credential(_) | Target::Grant(_) | Target::Operation(_) | Target::Network(_) => {
            return Ok(());
        }
    };
    let [(id,)] = &integrations[..] else {
        return Err(RegistryError::Unknown(target.to_string()));
    };
    match step(tx, parse(id)?, taken).await {
        // What a rule contained stands in posture alone: there is no step of the life cycle to take back.
        Err(RegistryError::NotFromHere(NotFromHere { stage, step: Step::Restore }))
            if stage != Stage::Retired =>
        {
            Ok(())
        }
        followed => followed,
    }
}

/// All of the vendor's integrations that can take the step; a vendor without any is severed all the same.
async fn follow_vendor(
    tx: &mut SqliteConnection,
    vendor: &str,
    taken: Step,
) -> Result<(), RegistryError> {
    let ids: Vec<(String,)> = sqlx::query_as("SELECT id FROM integrations WHERE vendor = $1")
        .bind(vendor)
        .fetch_all(&mut *tx)
        .await?;
    for (id,) in ids {
        match step(&mut *tx, parse(&id)?, taken).await {
            Ok(()) | Err(RegistryError::NotFromHere(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) async fn bump_revision(tx: &mut SqliteConnection) -> Result<u64, RegistryError> {
    sqlx::query("UPDATE registry SET revision = revision + 1").execute(&mut *tx).await?;
    read::revision(tx).await
}

async fn remember(
    tx: &mut SqliteConnection,
    command: &SignedCommand,
    authorised: &Authorised,
    now: UnixMicros,
    revision: u64,
) -> Result<(), RegistryError> {
    sqlx::query(
        "INSERT INTO commands (id, sequence, action, payload, applied, revision)
         VALUES ($1, (SELECT COUNT(*) FROM commands), $2, $3, $4, $5)",
    )
    .bind(authorised.id())
    .bind(authorised.command().action())
    .bind(command.payload.clone())
    .bind(bigint(now.0)?)
    .bind(bigint(revision)?)
    .execute(&mut *tx)
    .await?;
    for (operator, signature) in &command.signatures {
        sqlx::query(
            "INSERT INTO approvals (command, operator, signature) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(authorised.id())
        .bind(operator.to_string())
        .bind(signature.to_vec())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Keys and grants are for integrations that can still read, or may be approved to.
pub(super) async fn active(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
) -> Result<(), RegistryError> {
    let (stage, _) = stage(tx, integration).await?;
    match stage {
        Stage::Severed | Stage::Retired => {
            Err(RegistryError::Invalid(format!("{integration} is {stage}")))
        }
        Stage::Applied
        | Stage::Evidence
        | Stage::Sandbox
        | Stage::Approved
        | Stage::Restricted
        | Stage::Expired => Ok(()),
    }
}

pub(super) fn known(rows: u64, what: &impl ToString) -> Result<(), RegistryError> {
    if rows > 0 { Ok(()) } else { Err(RegistryError::Unknown(what.to_string())) }
}

pub(super) fn free(rows: u64, what: String) -> Result<(), RegistryError> {
    if rows > 0 { Ok(()) } else { Err(RegistryError::Taken(what)) }
}

pub(super) fn future(at: UnixMicros, now: UnixMicros) -> Result<(), RegistryError> {
    if at > now { Ok(()) } else { Err(RegistryError::Invalid(format!("{at} has passed"))) }
}

pub(super) fn check_slug(slug: &str) -> Result<(), RegistryError> {
    if is_slug(slug) {
        return Ok(());
    }
    Err(RegistryError::Invalid(format!("`{slug}` is not a slug: 1 to 63 of a-z, 0-9 and `-`")))
}

pub(super) fn check_name(name: &str) -> Result<(), RegistryError> {
    if (1..=256).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(RegistryError::Invalid("a name is 1 to 256 bytes without control characters".into()))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, RegistryError> {
    text.parse().map_err(|_| RegistryError::Corrupt(format!("the id `{text}`")))
}

pub(super) fn bigint(value: u64) -> Result<i64, RegistryError> {
    i64::try_from(value).map_err(|_| RegistryError::Invalid(format!("{value} is out of range")))
}
