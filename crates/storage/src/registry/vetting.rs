//! What integrations are vetted by, and re-certifications of all of them. The checks themselves are the crate `vetting`'s.

use super::lifecycle::{Stage, Step};
use super::{Registry, RegistryError, apply, read};
use model::{Digest, IntegrationId, OperatorId, UnixMicros};
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

/// Evidence and what the checks said of it, as the node ran them for the command at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// `portcullis.application/1`, as submitted.
    pub application: String,
    /// The bill of materials, if one was submitted.
    pub sbom: Option<Vec<u8>>,
    /// Computed from the evidence.
    pub tier: u8,
    /// Whether no check failed.
    pub passed: bool,
    /// `portcullis.vetting/1`: every check and what it says.
    pub report: String,
    /// Hash of what the application asks for, as the contract says it.
    pub contract: Digest,
    /// The longest approval that its tier allows.
    pub until_max: UnixMicros,
}

/// What stands of an integration's vetting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VettingRow {
    /// Whose.
    pub integration: IntegrationId,
    /// As in [`Checked`].
    pub application: String,
    /// As in [`Checked`].
    pub sbom: Option<Vec<u8>>,
    /// Whether no check failed when they last ran.
    pub passed: bool,
    /// As in [`Checked`], of when they last ran.
    pub report: String,
    /// The contract's hash when it was last approved; none before.
    pub approved: Option<Digest>,
    /// Who reviewed the evidence; empty before.
    pub reviewers: String,
    /// Since when it is, or was, in the sandbox.
    pub sandboxed: Option<UnixMicros>,
    /// When the evidence was submitted.
    pub submitted: UnixMicros,
    /// When the checks last ran.
    pub checked: UnixMicros,
}

/// A re-certification of everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignRow {
    /// When it was opened.
    pub opened: UnixMicros,
    /// From when on those that were not approved anew read nothing.
    pub due: UnixMicros,
    /// Why.
    pub reason: String,
    /// Slugs of those that are to be approved anew.
    pub open: Vec<String>,
    /// Slugs of those that were.
    pub approved: Vec<String>,
}

type VettingColumns =
    (String, String, Option<Vec<u8>>, i64, String, Option<Vec<u8>>, String, Option<i64>, i64, i64);

impl Registry {
    /// Every integration's vetting, those without evidence left out.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn vettings(&self) -> Result<Vec<VettingRow>, RegistryError> {
        let rows: Vec<VettingColumns> = sqlx::query_as(
            "SELECT integration, application, sbom, passed, report, approved, reviewers, sandboxed, submitted, checked
             FROM vetting ORDER BY integration",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(row).collect()
    }

    /// One integration's vetting; none before it submitted evidence.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn vetting(&self, of: IntegrationId) -> Result<Option<VettingRow>, RegistryError> {
        let found: Option<VettingColumns> = sqlx::query_as(
            "SELECT integration, application, sbom, passed, report, approved, reviewers, sandboxed, submitted, checked
             FROM vetting WHERE integration = $1",
        )
        .bind(of.to_string())
        .fetch_optional(&self.pool)
        .await?;
        found.map(row).transpose()
    }

    /// The last re-certification; none if there never was one.
    ///
    /// # Errors
    /// [`RegistryError`] if it cannot be read.
    pub async fn campaign(&self) -> Result<Option<CampaignRow>, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let last: Option<(i64, i64, String)> = sqlx::query_as(
            "SELECT opened, due, reason FROM campaigns ORDER BY opened DESC LIMIT 1",
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some((opened, due, reason)) = last else { return Ok(None) };
        let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
            "SELECT i.slug, c.approved FROM campaign_integrations c JOIN integrations i ON i.id = c.integration
             WHERE c.campaign = $1 AND i.stage <> 'retired' ORDER BY i.slug",
        )
        .bind(opened)
        .fetch_all(&mut *tx)
        .await?;
        let (approved, open): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, approved)| approved.is_some());
        let slugs = |rows: Vec<(String, Option<i64>)>| rows.into_iter().map(|(slug, _)| slug);
        Ok(Some(CampaignRow {
            opened: read::time(opened)?,
            due: read::time(due)?,
            reason,
            open: slugs(open).collect(),
            approved: slugs(approved).collect(),
        }))
    }

    /// Keeps what the checks say today of evidence that is there already.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn keep_check(
        &self,
        of: IntegrationId,
        checked: &Checked,
        now: UnixMicros,
    ) -> Result<(), RegistryError> {
        sqlx::query(
            "UPDATE vetting SET passed = $1, report = $2, contract = $3, tier = $4, checked = $5 WHERE integration = $6",
        )
        .bind(i64::from(checked.passed))
        .bind(&checked.report)
        .bind(checked.contract.to_vec())
        .bind(i64::from(checked.tier))
        .bind(apply::bigint(now.0)?)
        .bind(of.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Restricts an approved integration, because a check says so. True if it was not restricted before. It only narrows, so
    /// nobody has to sign.
    ///
    /// # Errors
    /// [`RegistryError`]; the registry is then as it was.
    pub async fn restrict_by_rule(&self, of: IntegrationId) -> Result<bool, RegistryError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let (stage, _) = apply::stage(&mut tx, of).await?;
        if stage != Stage::Approved {
            return Ok(false);
        }
        apply::step(&mut tx, of, Step::Restrict).await?;
        apply::bump_revision(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes in evidence that was checked.
pub(super) async fn submit(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    checked: &Checked,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::step(&mut *tx, integration, Step::Submit).await?;
    sqlx::query(
        "INSERT INTO vetting (integration, application, sbom, tier, passed, report, contract, approved, reviewers, sandboxed, submitted, checked)
         VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, '', NULL, $8, $8)
         ON CONFLICT (integration) DO UPDATE SET application = excluded.application, sbom = excluded.sbom, tier = excluded.tier,
             passed = excluded.passed, report = excluded.report, contract = excluded.contract, reviewers = '',
             submitted = excluded.submitted, checked = excluded.checked",
    )
    .bind(integration.to_string())
    .bind(&checked.application)
    .bind(checked.sbom.clone())
    .bind(i64::from(checked.tier))
    .bind(i64::from(checked.passed))
    .bind(&checked.report)
    .bind(checked.contract.to_vec())
    .bind(apply::bigint(now.0)?)
    .execute(tx)
    .await?;
    Ok(())
}

/// Lets an integration whose checks passed into the sandbox.
pub(super) async fn review(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    checked: &Checked,
    until: UnixMicros,
    reviewers: &BTreeSet<OperatorId>,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    advance(&mut *tx, integration, checked, until, now, Step::Review).await?;
    let reviewers: Vec<_> = reviewers.iter().map(ToString::to_string).collect();
    sqlx::query("UPDATE vetting SET reviewers = $1, sandboxed = $2 WHERE integration = $3")
        .bind(reviewers.join(" "))
        .bind(apply::bigint(now.0)?)
        .bind(integration.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// Approves what the checks pass today, for as long as its tier allows.
pub(super) async fn approve(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    checked: &Checked,
    until: UnixMicros,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    advance(&mut *tx, integration, checked, until, now, Step::Approve).await?;
    let id = integration.to_string();
    sqlx::query("UPDATE vetting SET approved = $1 WHERE integration = $2")
        .bind(checked.contract.to_vec())
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE campaign_integrations SET approved = $1 WHERE integration = $2 AND approved IS NULL",
    )
    .bind(apply::bigint(now.0)?)
    .bind(&id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends every approval at `by` that is not given anew.
pub(super) async fn review_all(
    tx: &mut SqliteConnection,
    by: UnixMicros,
    reason: &str,
    now: UnixMicros,
) -> Result<(), RegistryError> {
    apply::future(by, now)?;
    sqlx::query("INSERT INTO campaigns (opened, due, reason) VALUES ($1, $2, $3)")
        .bind(apply::bigint(now.0)?)
        .bind(apply::bigint(by.0)?)
        .bind(reason)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO campaign_integrations (campaign, integration, approved)
         SELECT $1, id, NULL FROM integrations WHERE stage <> 'retired'",
    )
    .bind(apply::bigint(now.0)?)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE integrations SET until = $1 WHERE until > $1")
        .bind(apply::bigint(by.0)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes a step that rests on checks: they passed, and the tier has a longest time, in the sandbox as after it.
async fn advance(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    checked: &Checked,
    until: UnixMicros,
    now: UnixMicros,
    step: Step,
) -> Result<(), RegistryError> {
    apply::future(until, now)?;
    passed(checked)?;
    if until > checked.until_max {
        return Err(RegistryError::Invalid(format!(
            "an integration of tier {} has its date until {} at the longest",
            checked.tier, checked.until_max
        )));
    }
    dated(&mut *tx, integration, until, checked.tier).await?;
    apply::step(tx, integration, step).await
}

/// Sets date and tier, which the stages that read demand.
async fn dated(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    until: UnixMicros,
    tier: u8,
) -> Result<(), RegistryError> {
    sqlx::query("UPDATE integrations SET until = $1, tier = $2 WHERE id = $3")
        .bind(apply::bigint(until.0)?)
        .bind(i64::from(tier))
        .bind(integration.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

fn passed(checked: &Checked) -> Result<(), RegistryError> {
    if checked.passed {
        return Ok(());
    }
    Err(RegistryError::Invalid(
        "not all checks pass; `portcullis integration show` says which and why".into(),
    ))
}

fn row(columns: VettingColumns) -> Result<VettingRow, RegistryError> {
    let (
        integration,
        application,
        sbom,
        passed,
        report,
        approved,
        reviewers,
        sandboxed,
        submitted,
        checked,
    ) = columns;
    let hash = |bytes: Vec<u8>| read::known(bytes.try_into().ok(), "a contract's hash");
    Ok(VettingRow {
        integration: read::parse(&integration)?,
        application,
        sbom,
        passed: passed != 0,
        report,
        approved: approved.map(hash).transpose()?,
        reviewers,
        sandboxed: sandboxed.map(read::time).transpose()?,
        submitted: read::time(submitted)?,
        checked: read::time(checked)?,
    })
}
