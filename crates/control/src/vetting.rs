//! Runs the checks that an integration is vetted by: over its evidence, the contract in force, and advisories.
//!
//! What a check means is the crate `vetting`'s; here its inputs are put together and its outcome is made into what the registry
//! keeps.

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use credential::PublicKey;
use disclosure::Contract;
use model::{ClassTable, Digest, Micros, OperationId, UnixMicros};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use storage::registry::Checked;
use tracing::warn;
use vetting::checks::{self, AskedOperation, Report, Verdict};
use vetting::evidence::{AskedClasses, BadEvidence, Evidence};
use vetting::osv::{Advisories, Advisory};
use vetting::sbom::Sbom;

/// Largest advisory that is read; OSV's are some kilobytes.
const ADVISORY_BYTES_MAX: u64 = 4 << 20;

/// Evidence that cannot be checked at all; whoever submitted it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum NotChecked {
    /// The application cannot be read.
    #[error("the application cannot be read: {0}")]
    Application(#[from] BadEvidence),
    /// The attachment is not the one that was signed for.
    #[error("the bill of materials is not the one that the command names by its hash")]
    OtherSbom,
}

/// Evidence that was read, with the checks as they say today.
pub struct Vetted {
    evidence: Evidence,
    report: Report,
    /// What the registry keeps of it.
    pub checked: Checked,
}

impl Vetted {
    /// Reads evidence and runs every check. `sbom_sha256`: as the command names it, if the SBOM came with one.
    ///
    /// # Errors
    /// [`NotChecked`]. A check that fails is no error: the report says so.
    pub fn new(
        application: &str,
        sbom: Option<Vec<u8>>,
        advisories: &Advisories,
        contract: &Contract,
        classes: &ClassTable,
        now: UnixMicros,
    ) -> Result<Self, NotChecked> {
        let evidence = Evidence::parse(application.as_bytes())?;
        let parsed = sbom.as_deref().map(Sbom::parse);
        let asked = asked(&evidence.operations, contract, classes);
        let report = checks::check(&evidence, parsed.as_ref(), advisories, &asked, now);
        let months = report.tier.approval_months_max();
        let checked = Checked {
            application: application.to_owned(),
            sbom,
            tier: report.tier.number(),
            passed: report.passed(),
            report: written(&report),
            contract: hash(&asked),
            // A month is 31 days: the date is a bound, not an appointment.
            until_max: now + Micros::from_secs(u64::from(months) * 31 * 86_400),
        };
        Ok(Self { evidence, report, checked })
    }

    /// Why an integration that was approved while the contract's hash was `approved` is to be restricted at once; none if it is not.
    pub fn restrict_because(&self, approved: &Digest, now: UnixMicros) -> Option<String> {
        checks::restrict_because(
            &self.evidence,
            &self.report,
            approved,
            &self.checked.contract,
            now,
        )
    }
}

/// Whether an application asks for all of this; otherwise, the first thing that it does not ask for.
///
/// # Errors
/// That thing, for an operator.
pub(crate) fn covers(
    evidence: &Evidence,
    operations: &BTreeSet<String>,
    classes: &BTreeSet<String>,
    purpose: &str,
) -> Result<(), String> {
    if evidence.purpose.as_str() != purpose {
        return Err(format!("purpose `{purpose}`"));
    }
    if let Some(name) =
        operations.iter().find(|name| !evidence.operations.iter().any(|o| o.as_str() == **name))
    {
        return Err(format!("operation `{name}`"));
    }
    let AskedClasses::Named(asked) = &evidence.classes else { return Ok(()) };
    // Granting a parent grants its children, so a child of what was asked for is within it.
    let within = |name: &String| {
        asked.iter().any(|class| {
            let rest = name.strip_prefix(class.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    match classes.iter().find(|name| !within(name)) {
        Some(name) => Err(format!("data class `{name}`")),
        None => Ok(()),
    }
}

/// Whether an application names this key.
///
/// # Errors
/// The key, for an operator.
pub(crate) fn names_key(
    evidence: &Evidence,
    jwk: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), String> {
    let key = PublicKey::from_jwk(&serde_json::Value::Object(jwk.clone()).to_string())
        .map_err(|error| format!("a key that cannot be read ({error})"))?;
    names(evidence, &key)
}

/// Whether an application names the key of this certificate (DER, base64url).
///
/// # Errors
/// The key, for an operator.
pub(crate) fn names_key_of(evidence: &Evidence, certificate: &str) -> Result<(), String> {
    let der = BASE64_URL_SAFE_NO_PAD.decode(certificate).unwrap_or_default();
    let key = credential::certificate::public_key(&der)
        .map_err(|error| format!("a certificate whose key cannot be read ({error})"))?;
    names(evidence, &key)
}

fn names(evidence: &Evidence, key: &PublicKey) -> Result<(), String> {
    let thumbprint = key.thumbprint_text();
    let read = evidence.keys.iter().filter_map(|key| key.read.as_ref().ok());
    if read.into_iter().any(|key| key.thumbprint == thumbprint) {
        return Ok(());
    }
    Err(format!("key {thumbprint}"))
}

/// Reads a folder of OSV advisories. A file that is none is left out and said so: the others still count.
///
/// # Errors
/// If the folder cannot be read.
pub fn read_advisories(folder: &Path) -> std::io::Result<Advisories> {
    let mut advisories = Vec::new();
    let (mut bad, mut first) = (0_u32, None);
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let small = path.metadata()?.len() <= ADVISORY_BYTES_MAX;
        let read = if small { Advisory::parse(&std::fs::read(&path)?).ok() } else { None };
        match read {
            Some(advisory) => advisories.push(advisory),
            None => {
                bad += 1;
                first.get_or_insert(path);
            }
        }
    }
    if let Some(path) = first {
        warn!(bad, first = %path.display(), "files that are no advisories were left out");
    }
    Ok(Advisories::new(advisories))
}

/// What the contract says of each operation that is asked for, sorted.
fn asked(
    operations: &BTreeSet<OperationId>,
    contract: &Contract,
    classes: &ClassTable,
) -> Vec<AskedOperation> {
    let described = contract.describe();
    let row = |id: &OperationId| {
        let known = described.operations.iter().find(|row| row.id == *id);
        AskedOperation {
            id: id.clone(),
            classes: known.map_or_else(BTreeSet::new, |row| {
                row.classes.iter().filter_map(|class| classes.name(class).cloned()).collect()
            }),
            unclassified: known.map_or(0, |row| row.unclassified as u64),
            known: known.is_some(),
        }
    };
    operations.iter().map(row).collect()
}

/// Changes when what was approved is not what the contract says any more; other operations do not matter to it.
fn hash(asked: &[AskedOperation]) -> Digest {
    let mut message = b"portcullis asked operations v1\n".to_vec();
    for operation in asked {
        let classes: Vec<_> = operation.classes.iter().map(|class| class.as_str()).collect();
        let AskedOperation { id, unclassified, known, .. } = operation;
        let line = format!("{} {known} {unclassified} {}\n", id.as_str(), classes.join(","));
        message.extend_from_slice(line.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &message).as_ref());
    hash
}

/// `portcullis.vetting/1`.
fn written(report: &Report) -> String {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let verdict = match finding.verdict {
                Verdict::Passed => "passed",
                Verdict::Noted => "noted",
                Verdict::Failed => "failed",
                Verdict::NotApplicable => "not applicable",
            };
            json!({ "check": finding.check.name(), "verdict": verdict, "says": finding.says })
        })
        .collect();
    json!({
        "schema": "portcullis.vetting/1",
        "tier": report.tier.number(),
        "passed": report.passed(),
        "findings": findings,
    })
    .to_string()
}
