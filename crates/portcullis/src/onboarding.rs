//! Takes an integration from nothing to its first grant, as two operators would, command by command.

use crate::client::{Endpoints, Vendor};
use crate::keys;
use crate::operator::{self, OperatorKey};
use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use credential::{PublicKey, SigningKey};
use model::{CredentialId, GrantId, IntegrationId, Micros, Role, SubjectId, UnixMicros, VendorId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{Limits, Scope, SubjectText};

/// What an integration is registered with.
pub(crate) struct Application<'a> {
    /// Slug of the integration; the part before the first `-` is its vendor's.
    pub(crate) slug: &'a str,
    pub(crate) vendor: &'a str,
    pub(crate) operations: &'a [&'a str],
    pub(crate) classes: &'a [&'a str],
    pub(crate) purpose: &'a str,
    pub(crate) budget: Limits,
    /// How long approval, key and grants last.
    pub(crate) days: u64,
    /// What it reads in the sandbox: a path, and the subject that is there.
    pub(crate) sandbox: (&'a str, &'a str),
}

/// Who acts in an onboarding, and where.
pub(crate) struct Parties<'a> {
    pub(crate) control: SocketAddr,
    pub(crate) operators: &'a [OperatorKey; 2],
    pub(crate) endpoints: &'a Endpoints,
    /// The vendor's key, and where its software runs.
    pub(crate) key: &'a Arc<SigningKey>,
    pub(crate) from: IpAddr,
}

/// The first operator adds a second one, who signs too. Both keys stand beside each other in `keys/operators`.
///
/// # Errors
/// The node's refusal, or a key that cannot be read or written.
pub(crate) async fn second_operator(
    directory: &Path,
    control: SocketAddr,
    first: &str,
    second: &str,
) -> Result<[OperatorKey; 2]> {
    let keys = directory.join("keys/operators");
    let first = OperatorKey::read(&keys.join(format!("{first}.key")))?;
    let second = OperatorKey::create(&keys.join(format!("{second}.key")), second)?;
    let add = second.add(Role::Admin, None)?;
    operator::send(control, add, &[&first, &second]).await?;
    Ok([first, second])
}

/// Registers the vendor, has the integration vetted and tried in the sandbox, and grants it all subjects. What
/// widens is signed by both operators.
///
/// # Errors
/// The node's refusal, with the step it refused.
pub(crate) async fn onboard(
    application: &Application<'_>,
    parties: &Parties<'_>,
) -> Result<(IntegrationId, GrantId)> {
    let now = clock::unix_now();
    let until = now + Micros::from_secs(application.days * 86_400);
    let (vendor, integration) =
        (VendorId::new(now, keys::random()?), IntegrationId::new(now, keys::random()?));
    let credential = CredentialId::new(now, keys::random()?);
    let slug = application.slug.to_owned();
    let vendor_slug = slug.split('-').next().unwrap_or(&slug).to_owned();
    let name = application.vendor.to_owned();
    let jwk = serde_json::from_str(parties.key.public().canonical_jwk())?;
    let [first, second] = parties.operators;
    let (one, both) = (&[first][..], &[first, second][..]);
    let send = async |command: Command, attachment: Option<Vec<u8>>, keys: &[&OperatorKey]| {
        let action = command.action();
        operator::send_with(parties.control, command, attachment, keys)
            .await
            .with_context(|| format!("{}: {action}", application.slug))
    };
    send(Command::VendorAdd { vendor, slug: vendor_slug, name }, None, one).await?;
    send(Command::IntegrationApply { integration, slug, vendor }, None, one).await?;
    let (evidence, sbom) = evidence(application, parties.key.public(), now)?;
    let sha256 = digest(&SHA256, &sbom).as_ref().try_into().ok();
    let evidence = Command::EvidenceAdd { integration, application: evidence, sbom: sha256 };
    send(evidence, Some(sbom), one).await?;
    send(Command::IntegrationReview { integration, until }, None, both).await?;
    let credential_add =
        Command::CredentialAdd { credential, integration, jwk, until, networks: Vec::new() };
    send(credential_add, None, both).await?;

    let (path, subject) = application.sandbox;
    let subject = SubjectId::new(subject).context("a subject's id")?;
    let named = Scope::Consenting { subjects: vec![SubjectText(subject)] };
    let sandbox = grant(application, integration, named, until)?;
    let grant_id = id_of(&sandbox);
    send(sandbox, None, both).await?;
    try_out(parties, integration, grant_id, path)
        .await
        .with_context(|| format!("{}: in the sandbox", application.slug))?;
    send(Command::IntegrationApprove { integration, until }, None, both).await?;
    send(Command::GrantWithdraw { grant: grant_id }, None, one).await?;
    let all = grant(application, integration, Scope::All {}, until)?;
    let grant_id = id_of(&all);
    send(all, None, both).await?;
    Ok((integration, grant_id))
}

/// One read, as the integration will make them.
async fn try_out(
    parties: &Parties<'_>,
    integration: IntegrationId,
    grant: GrantId,
    path: &str,
) -> Result<()> {
    let key = Arc::clone(parties.key);
    let mut software =
        Vendor::new(parties.endpoints, integration, &grant.to_string(), key, parties.from);
    software.obtain_token().await?;
    let answer = software.get(path).await?.context("the connection was refused or reset")?;
    anyhow::ensure!(answer.status == 200, "answered {}", answer.status);
    Ok(())
}

/// The command that grants an integration what it applied for.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn grant(
    application: &Application<'_>,
    integration: IntegrationId,
    scope: Scope,
    expires: UnixMicros,
) -> Result<Command> {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<BTreeSet<_>>();
    Ok(Command::GrantAdd {
        grant: GrantId::new(clock::unix_now(), keys::random()?),
        integration,
        operations: texts(application.operations),
        classes: texts(application.classes),
        purpose: application.purpose.to_owned(),
        scope,
        budget: application.budget,
        expires,
    })
}

/// The id of the grant that such a command adds.
#[expect(clippy::wildcard_enum_match_arm, reason = "only called for what `grant` made")]
pub(crate) fn id_of(command: &Command) -> GrantId {
    match command {
        Command::GrantAdd { grant, .. } => *grant,
        _ => GrantId::from_bytes([0; 16]),
    }
}

/// What a vendor with everything in order submits: each document that the highest tier asks for, a fresh key, and a bill of
/// materials.
fn evidence(
    application: &Application<'_>,
    key: &PublicKey,
    now: UnixMicros,
) -> Result<(serde_json::Map<String, Value>, Vec<u8>)> {
    let today = day(now);
    let next_year = day(now + Micros::from_secs(365 * 86_400));
    let document = |kind: &str| json!({ "kind": kind, "issued": today, "expires": next_year });
    let kinds =
        ["mvsp", "soc2", "pen_test", "dpa", "external_test", "key_attestation", "insurance"];
    let sbom = serde_json::to_vec(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "timestamp": now.to_string() },
        "components": [{ "type": "library", "name": "oauth4webapi", "version": "3.8.8", "purl": "pkg:npm/oauth4webapi@3.8.8" }],
    }))?;
    let evidence = json!({
        "schema": "portcullis.application/1",
        "purpose": application.purpose,
        "operations": application.operations,
        "classes": application.classes,
        "reach": "all",
        "mode": "scheduled",
        "credential": "bound",
        "redirect_uris": [],
        "documents": kinds.map(document),
        "retention_days": 30,
        "subprocessors": [],
        "keys": [{ "created": today, "jwk": serde_json::from_str::<Value>(key.canonical_jwk())? }],
    });
    let Value::Object(evidence) = evidence else { anyhow::bail!("an object is an object") };
    Ok((evidence, sbom))
}

/// `2026-03-01`.
fn day(at: UnixMicros) -> String {
    at.to_string().chars().take(10).collect()
}
