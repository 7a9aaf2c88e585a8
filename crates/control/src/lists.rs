//! What is registered, as rows: `portcullis.list/1`.

use crate::expiry::AHEAD;
use credential::base64url;
use model::{
    CredentialState, Directory, GrantId, IntegrationId, Means, Operator, OperatorKind, UnixMicros,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use storage::clock;
use storage::registry::command::{Change, Listing};
use storage::registry::{Registry, RegistryError};

/// The rows of one list. Cases and signals are the desk's to describe: see [`crate::cases`] and [`crate::pages`].
///
/// # Errors
/// [`RegistryError`] if they cannot be read.
pub(crate) async fn rows(registry: &Registry, what: Listing) -> Result<Vec<Value>, RegistryError> {
    Ok(match what {
        Listing::Vendors => {
            let vendors = registry.directory().await?.vendors;
            let row = |v: &model::Vendor| json!({ "id": v.id.to_string(), "slug": v.slug, "name": v.name });
            vendors.values().map(row).collect()
        }
        Listing::Integrations => integrations(registry).await?,
        Listing::Credentials => credentials(registry).await?,
        Listing::Grants => {
            let grants = registry.grants().await?;
            let directory = registry.directory().await?;
            let integration = |grant: &GrantId| directory.grants.get(grant).map(|g| g.integration);
            let row = |grant: storage::registry::GrantRow| {
                json!({
                    "id": grant.id.to_string(),
                    "integration": grant.integration,
                    "bearer": integration(&grant.id).and_then(|of| bearer(&directory, &of)),
                    "purpose": grant.purpose,
                    "classes": grant.classes,
                    "expires": grant.expires.to_string(),
                    "withdrawn": grant.withdrawn,
                })
            };
            grants.into_iter().map(row).collect()
        }
        Listing::Operators => {
            let operators = registry.snapshot().await?.operators;
            let passkeys = registry.passkeys_by_operator().await?;
            let count = |operator: &Operator| passkeys.get(&operator.id).copied().unwrap_or(0);
            operators.values().map(|operator| self::operator(operator, count(operator))).collect()
        }
        Listing::Erasures => {
            let row = |erasure: storage::registry::ErasureRow| {
                json!({
                    "id": erasure.id,
                    "asked": erasure.asked.to_string(),
                    "due": erasure.due.to_string(),
                    "state": erasure.state.as_str(),
                })
            };
            registry.erasures().await?.into_iter().map(row).collect()
        }
        Listing::Registrations => registrations(registry).await?,
        Listing::Windows => windows(registry).await?,
        Listing::Honey => {
            let row = |subject: &model::SubjectId| json!({ "subject": subject.as_str() });
            registry.snapshot().await?.honey.iter().map(row).collect()
        }
        Listing::Incidents | Listing::Signals | Listing::Rules => Vec::new(),
    })
}

fn operator(operator: &Operator, passkeys: u64) -> Value {
    let (kind, until) = match operator.kind {
        OperatorKind::Person => ("person", None),
        OperatorKind::Automation { until } => ("automation", Some(until)),
    };
    json!({
        "id": operator.id.to_string(),
        "name": operator.name,
        "role": operator.role.name(),
        "kind": kind,
        "passkeys": passkeys,
        "until": until.map(|until| until.to_string()),
        "ends_in_days": until.and_then(days_left),
    })
}

/// Days until what ends soon does; none while there is time.
fn days_left(ends: UnixMicros) -> Option<u64> {
    let now = clock::unix_now();
    (now + AHEAD >= ends).then(|| ends.since(now).0 / (86_400 * 1_000_000))
}

async fn integrations(registry: &Registry) -> Result<Vec<Value>, RegistryError> {
    let mut vettings: BTreeMap<_, _> =
        registry.vettings().await?.into_iter().map(|row| (row.integration, row)).collect();
    let campaign = registry.campaign().await?;
    let due = |slug: &String| {
        campaign.as_ref().filter(|campaign| campaign.open.contains(slug)).map(|c| c.due.to_string())
    };
    let rows = registry.integrations().await?;
    let directory = registry.directory().await?;
    let row = |row: storage::registry::IntegrationRow| {
        let vetting = vettings.remove(&row.id);
        json!({
            "id": row.id.to_string(),
            "slug": row.slug,
            "vendor": row.vendor,
            "tier": row.tier,
            "stage": row.stage.as_str(),
            "until": row.until.map(|until| until.to_string()),
            "recertify_by": due(&row.slug),
            "bearer": bearer(&directory, &row.id),
            "vetting": vetting.map(|vetting| shown(&vetting)),
        })
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Until when an integration's tokens are taken without proof, and who answers for it; none if they are not.
fn bearer(directory: &Directory, integration: &IntegrationId) -> Option<String> {
    let runs = directory.bears(integration, clock::unix_now());
    let exception = directory.bearer.get(integration).filter(|_| runs)?;
    Some(format!("until {}, {}", exception.until, exception.owner))
}

async fn registrations(registry: &Registry) -> Result<Vec<Value>, RegistryError> {
    let integrations = registry.directory().await?.integrations;
    let row = |registration: storage::registry::Registration| {
        let integration = integrations.get(&registration.integration);
        let waits = !registration.pending.is_empty();
        json!({
            "id": registration.integration.to_string(),
            "slug": integration.map(|integration| &integration.slug),
            "asked": registration.asked.to_string(),
            "request": waits.then(|| base64url::encode(&registration.request())),
            "pending": registration.pending.to_json(),
            "effective": registration.effective.to_json(),
        })
    };
    Ok(registry.registrations(clock::unix_now()).await?.into_iter().map(row).collect())
}

async fn windows(registry: &Registry) -> Result<Vec<Value>, RegistryError> {
    let integrations = registry.directory().await?.integrations;
    let now = clock::unix_now();
    let row = |row: storage::registry::WindowRow| {
        let declared = &row.declared;
        let slug = integrations.get(&declared.integration).map(|integration| &integration.slug);
        let change = match &declared.change {
            Change::Backfill { operation, subjects_max, full_scan } => {
                let decoys = if *full_scan { ", decoys too" } else { "" };
                format!("backfill of {subjects_max} subjects through {operation}{decoys}")
            }
            Change::Address { network } => format!("another address: {network}"),
            Change::Endpoint { operation } => format!("another operation: {operation}"),
        };
        json!({
            "id": declared.window.to_string(),
            "integration": slug,
            "change": change,
            "from": declared.from.to_string(),
            "to": declared.to.to_string(),
            "reason": declared.reason,
            "state": row.state(now),
            "declared": declared,
        })
    };
    Ok(registry.windows().await?.into_iter().map(row).collect())
}

/// What the checks last said, and who looked at it.
fn shown(vetting: &storage::registry::VettingRow) -> Value {
    let mut report: Value = serde_json::from_str(&vetting.report).unwrap_or_default();
    let text = |time: UnixMicros| Value::from(time.to_string());
    if let Some(members) = report.as_object_mut() {
        members.insert("submitted".to_owned(), text(vetting.submitted));
        members.insert("checked".to_owned(), text(vetting.checked));
        members.insert("reviewers".to_owned(), vetting.reviewers.as_str().into());
        members.insert("sandboxed".to_owned(), vetting.sandboxed.map_or(Value::Null, text));
    }
    report
}

async fn credentials(registry: &Registry) -> Result<Vec<Value>, RegistryError> {
    let directory = registry.directory().await?;
    let slug = |id| directory.integrations.get(&id).map(|integration| &integration.slug);
    let row = |credential: &model::Credential| {
        let (until, retired) = match credential.state {
            CredentialState::Active { until } => (Some(until.to_string()), false),
            CredentialState::Retired => (None, true),
        };
        let (kind, rule) = match &credential.means {
            Means::Key { .. } => ("key", None),
            Means::Certificate { .. } => ("certificate", None),
            Means::Ca { rule, .. } => ("ca", Some(rule.to_string())),
        };
        let ends = credential.ends();
        json!({
            "id": credential.id.to_string(),
            "integration": slug(credential.integration),
            "kind": kind,
            "rule": rule,
            "bearer": bearer(&directory, &credential.integration),
            "until": until,
            "certificate_ends": credential.means.ends().map(|ends| ends.to_string()),
            "ends_in_days": ends.and_then(days_left),
            "retired": retired,
            "networks": credential.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    Ok(directory.credentials.values().map(row).collect())
}
