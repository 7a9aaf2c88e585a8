//! Reading the registry back into the model, and the rows that lists show.

use super::command::DeclaredWindow;
use super::lifecycle::Stage;
use super::{Registry, RegistryError, bearer, operators, webhooks, windows};
use credential::certificate::Certificate;
use model::{
    Budget, CertificateRule, ClassSet, ClassTable, Credential, CredentialId, CredentialState,
    DataClass, Directory, Grant, GrantId, Integration, IntegrationId, IntegrationState, Means,
    OperationId, Operator, OperatorId, Purpose, RuleKind, SubjectId, SubjectScope, UnixMicros,
    Vendor, VendorId,
};
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Everything at one moment. Withdrawn grants and removed operators are left out; retired credentials are in, as retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What the data path uses.
    pub directory: Directory,
    /// The roster.
    pub operators: BTreeMap<OperatorId, Operator>,
    /// The classes and their numbers.
    pub classes: ClassTable,
    /// The decoys.
    pub honey: BTreeSet<SubjectId>,
    /// The change windows that were approved, from when to when they held; past ones among them.
    pub windows: Vec<DeclaredWindow>,
    /// Where vendors hear of being contained.
    pub webhooks: BTreeMap<VendorId, String>,
    /// Why onboarding is frozen, if it is.
    pub frozen: Option<String>,
}

/// One line of `integration list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationRow {
    /// Its id.
    pub id: IntegrationId,
    /// Its slug.
    pub slug: String,
    /// Its owner's slug.
    pub vendor: String,
    /// Its tier.
    pub tier: u8,
    /// Where it stands.
    pub stage: Stage,
    /// Until when it is or was approved.
    pub until: Option<UnixMicros>,
}

/// One line of `grant list`, withdrawn ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// Its id.
    pub id: GrantId,
    /// Whose it is, by slug.
    pub integration: String,
    /// Why.
    pub purpose: String,
    /// The classes as granted, sorted.
    pub classes: Vec<String>,
    /// Until when.
    pub expires: UnixMicros,
    /// Whether it was taken back.
    pub withdrawn: bool,
}

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// Its id, lower-case hex.
    pub id: String,
    /// What was asked for.
    pub action: String,
    /// The payload as signed.
    pub payload: Vec<u8>,
    /// When it was carried out.
    pub applied: UnixMicros,
    /// Who signed, sorted.
    pub operators: Vec<OperatorId>,
}

impl Registry {
    /// The integrations, by slug.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn integrations(&self) -> Result<Vec<IntegrationRow>, RegistryError> {
        let rows: Vec<(String, String, String, i64, String, Option<i64>)> = sqlx::query_as(
            "SELECT i.id, i.slug, v.slug, i.tier, i.stage, i.until
             FROM integrations i JOIN vendors v ON v.id = i.vendor ORDER BY i.slug",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, slug, vendor, tier, stage, until)| {
                Ok(IntegrationRow {
                    id: parse(&id)?,
                    slug,
                    vendor,
                    tier: number(tier)?,
                    stage: known(Stage::parse(&stage), &stage)?,
                    until: until.map(time).transpose()?,
                })
            })
            .collect()
    }

    /// The grants, by integration and id.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn grants(&self) -> Result<Vec<GrantRow>, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let mut classes =
            pairs(&mut tx, "SELECT grant_id, class FROM grant_classes ORDER BY class").await?;
        let rows: Vec<(String, String, String, i64, i64)> = sqlx::query_as(
            "SELECT g.id, i.slug, g.purpose, g.expires, g.withdrawn
             FROM grants g JOIN integrations i ON i.id = g.integration ORDER BY i.slug, g.id",
        )
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter()
            .map(|(id, integration, purpose, expires, withdrawn)| {
                Ok(GrantRow {
                    classes: classes.remove(&id).unwrap_or_default(),
                    id: parse(&id)?,
                    integration,
                    purpose,
                    expires: time(expires)?,
                    withdrawn: withdrawn != 0,
                })
            })
            .collect()
    }

    /// The last `count` commands that were carried out, latest first.
    ///
    /// # Errors
    /// [`RegistryError`] if they cannot be read.
    pub async fn commands(&self, count: u32) -> Result<Vec<CommandRow>, RegistryError> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<(String, String, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT id, action, payload, applied FROM commands ORDER BY sequence DESC LIMIT $1",
        )
        .bind(i64::from(count))
        .fetch_all(&mut *tx)
        .await?;
        let mut commands = Vec::new();
        for (id, action, payload, applied) in rows {
            let operators: Vec<(String,)> = sqlx::query_as(
                "SELECT operator FROM approvals WHERE command = $1 ORDER BY operator",
            )
            .bind(&id)
            .fetch_all(&mut *tx)
            .await?;
            let operators = operators.iter().map(|(id,)| parse(id)).collect::<Result<_, _>>()?;
            commands.push(CommandRow { id, action, payload, applied: time(applied)?, operators });
        }
        Ok(commands)
    }
}

pub(super) async fn snapshot(tx: &mut SqliteConnection) -> Result<Snapshot, RegistryError> {
    let classes = classes(tx).await?;
    let honey: Vec<(String,)> =
        sqlx::query_as("SELECT subject FROM honey_subjects").fetch_all(&mut *tx).await?;
    let honey =
        honey.iter().map(|(id,)| known(SubjectId::new(id), "a decoy")).collect::<Result<_, _>>()?;
    let directory = Directory {
        revision: revision(tx).await?,
        vendors: vendors(tx).await?,
        integrations: integrations(tx).await?,
        credentials: credentials(tx).await?,
        grants: grants(tx, &classes).await?,
        bearer: bearer::all(tx).await?,
    };
    let (operators, frozen) = (operators::roster(tx).await?, frozen(tx).await?);
    let (windows, webhooks) = (windows::approved(tx).await?, webhooks::all(tx).await?);
    Ok(Snapshot { directory, operators, classes, honey, windows, webhooks, frozen })
}

pub(super) async fn revision(tx: &mut SqliteConnection) -> Result<u64, RegistryError> {
    number(sqlx::query_scalar("SELECT revision FROM registry").fetch_one(tx).await?)
}

pub(super) async fn frozen(tx: &mut SqliteConnection) -> Result<Option<String>, RegistryError> {
    Ok(sqlx::query_scalar("SELECT frozen_reason FROM registry").fetch_one(tx).await?)
}

pub(super) async fn classes(tx: &mut SqliteConnection) -> Result<ClassTable, RegistryError> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT number, name FROM classes ORDER BY number").fetch_all(tx).await?;
    let mut names = Vec::new();
    for (expected, (at, name)) in (0..).zip(rows) {
        if at != expected {
            return Err(RegistryError::Corrupt(format!(
                "class number {at} where {expected} is due"
            )));
        }
        names.push(known(DataClass::new(&name), &name)?);
    }
    known(ClassTable::new(names), "a class table with a class twice")
}

async fn vendors(tx: &mut SqliteConnection) -> Result<BTreeMap<VendorId, Vendor>, RegistryError> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT id, slug, name FROM vendors").fetch_all(tx).await?;
    rows.into_iter()
        .map(|(id, slug, name)| parse(&id).map(|id| (id, Vendor { id, slug, name })))
        .collect()
}

async fn integrations(
    tx: &mut SqliteConnection,
) -> Result<BTreeMap<IntegrationId, Integration>, RegistryError> {
    let mut redirects =
        pairs(tx, "SELECT integration, uri FROM integration_redirects ORDER BY uri").await?;
    let rows: Vec<(String, String, String, i64, String, Option<i64>)> =
        sqlx::query_as("SELECT id, slug, vendor, tier, stage, until FROM integrations")
            .fetch_all(tx)
            .await?;
    rows.into_iter()
        .map(|(id, slug, vendor, tier, stage, until)| {
            let redirects = redirects.remove(&id).unwrap_or_default();
            let id = parse(&id)?;
            let until = || known(until, "an approval without a date").and_then(time);
            let state = match known(Stage::parse(&stage), &stage)? {
                Stage::Applied | Stage::Evidence => IntegrationState::Applied,
                Stage::Sandbox => IntegrationState::Sandbox { until: until()? },
                Stage::Approved => IntegrationState::Approved { until: until()? },
                Stage::Restricted => IntegrationState::Restricted { until: until()? },
                Stage::Severed => IntegrationState::Severed,
                Stage::Expired | Stage::Retired => IntegrationState::Expired,
            };
            let vendor = parse(&vendor)?;
            Ok((id, Integration { id, slug, vendor, tier: number(tier)?, state, redirects }))
        })
        .collect()
}

async fn credentials(
    tx: &mut SqliteConnection,
) -> Result<BTreeMap<CredentialId, Credential>, RegistryError> {
    let mut networks =
        pairs(tx, "SELECT credential, network FROM credential_networks ORDER BY network").await?;
    let rows: Vec<CredentialColumns> = sqlx::query_as(
        "SELECT id, integration, thumbprint, jwk, certificate, rule_kind, rule_value, until, retired
         FROM credentials",
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|(text, integration, thumbprint, jwk, certificate, kind, value, until, retired)| {
            let id = parse(&text)?;
            let own = networks.remove(&text).unwrap_or_default();
            let state = match retired {
                0 => CredentialState::Active { until: time(until)? },
                _ => CredentialState::Retired,
            };
            let thumbprint = known(thumbprint.try_into().ok(), "a thumbprint")?;
            let means = match certificate {
                None => Means::Key { thumbprint, jwk },
                Some(der) => means(&der, kind.zip(value))?,
            };
            let networks = own.iter().map(|network| parse(network)).collect::<Result<_, _>>()?;
            let integration = parse(&integration)?;
            Ok((id, Credential { id, integration, means, state, networks }))
        })
        .collect()
}

fn means(der: &[u8], rule: Option<(String, String)>) -> Result<Means, RegistryError> {
    let read = known(Certificate::parse(der).ok(), "a certificate")?;
    let (thumbprint, ends) = (read.thumbprint(), read.ends());
    let Some((kind, value)) = rule else { return Ok(Means::Certificate { thumbprint, ends }) };
    let rule = CertificateRule::new(known(RuleKind::parse(&kind), &kind)?, &value);
    Ok(Means::Ca { ca: thumbprint, ends, rule: known(rule.ok(), &value)? })
}

type CredentialColumns =
    (String, String, Vec<u8>, String, Option<Vec<u8>>, Option<String>, Option<String>, i64, i64);

type GrantColumns =
    (String, String, String, String, Option<String>, Option<String>, i64, i64, i64, i64);

async fn grants(
    tx: &mut SqliteConnection,
    table: &ClassTable,
) -> Result<BTreeMap<GrantId, Grant>, RegistryError> {
    let mut operations = pairs(tx, "SELECT grant_id, operation FROM grant_operations").await?;
    let mut classes = pairs(tx, "SELECT grant_id, class FROM grant_classes").await?;
    let mut subjects = pairs(tx, "SELECT grant_id, subject FROM grant_subjects").await?;
    let rows: Vec<GrantColumns> = sqlx::query_as(
        "SELECT id, integration, purpose, scope, scope_pointer, scope_value, burst, hour, day, expires
         FROM grants WHERE withdrawn = 0",
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|(text, integration, purpose, scope, pointer, value, burst, hour, day, expires)| {
            let id = parse(&text)?;
            let mut covered = ClassSet::EMPTY;
            for name in classes.remove(&text).unwrap_or_default() {
                covered = covered.union(&table.covered_by(&known(DataClass::new(&name), &name)?));
            }
            let operations = operations.remove(&text).unwrap_or_default();
            let subjects = subjects.remove(&text).unwrap_or_default();
            let scope = match (scope.as_str(), pointer, value) {
                ("token_subject", ..) => SubjectScope::TokenSubject,
                ("consenting", ..) => SubjectScope::Consenting(each(&subjects, SubjectId::new)?),
                ("attribute", Some(pointer), Some(value)) => {
                    SubjectScope::Attribute { pointer, value }
                }
                ("all", ..) => SubjectScope::All,
                _ => return Err(RegistryError::Corrupt(format!("the subject scope `{scope}`"))),
            };
            let grant = Grant {
                id,
                integration: parse(&integration)?,
                operations: each(&operations, OperationId::new)?,
                classes: covered,
                purpose: known(Purpose::new(&purpose), &purpose)?,
                scope,
                budget: Budget { burst: number(burst)?, hour: number(hour)?, day: number(day)? },
                expires: time(expires)?,
            };
            Ok((id, grant))
        })
        .collect()
}

/// The second column's values by the first's.
async fn pairs(
    tx: &mut SqliteConnection,
    query: &'static str,
) -> Result<BTreeMap<String, Vec<String>>, RegistryError> {
    let rows: Vec<(String, String)> = sqlx::query_as(query).fetch_all(tx).await?;
    let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in rows {
        pairs.entry(key).or_default().push(value);
    }
    Ok(pairs)
}

fn each<T: Ord>(
    texts: &[String],
    read: impl Fn(&str) -> Option<T>,
) -> Result<BTreeSet<T>, RegistryError> {
    texts.iter().map(|text| known(read(text), "a member of a grant")).collect()
}

pub(super) fn known<T>(value: Option<T>, what: &str) -> Result<T, RegistryError> {
    value.ok_or_else(|| RegistryError::Corrupt(format!("`{what}`")))
}

pub(super) fn parse<T: FromStr>(text: &str) -> Result<T, RegistryError> {
    known(text.parse().ok(), text)
}

fn number<T: TryFrom<i64>>(value: i64) -> Result<T, RegistryError> {
    known(T::try_from(value).ok(), "a number out of range")
}

pub(super) fn time(value: i64) -> Result<UnixMicros, RegistryError> {
    number(value).map(UnixMicros)
}
