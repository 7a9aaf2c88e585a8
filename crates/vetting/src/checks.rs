//! The automatic checks: what an application shows, held against the contract, the SBOM, the advisories and the date.
//!
//! A check never fetches and never decides who approves; it says in one sentence what is wrong, to an operator. Checks that need
//! the network (A1, A2, A8 to A12) or what was observed (A14, A15) are not here. Start at [`check`].

use crate::date::days;
use crate::evidence::{self, AskedClasses, CredentialKind, DocumentKind, Evidence};
use crate::osv::{Advisories, Advisory};
use crate::purpose;
use crate::redirect;
use crate::sbom::{BadSbom, Sbom};
use crate::tier::{Score, Tier};
use model::{DataClass, Digest, OperationId, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How long a critical vulnerability may be public before it must be gone from the SBOM, in days.
const CRITICAL_DAYS_MAX: u32 = 14;

/// Oldest an SBOM may be, in days.
const SBOM_DAYS_MAX: u32 = 30;

/// How far ahead of ours a vendor's clock may be, in days.
const AHEAD_DAYS_MAX: u32 = 1;

/// How many things of one kind a sentence names before it counts the rest.
const NAMED_MAX: usize = 5;

/// An operation as the contract knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedOperation {
    /// Its `operationId`.
    pub id: OperationId,
    /// The classes that its answers can hold.
    pub classes: BTreeSet<DataClass>,
    /// How many fields of its answers have no class.
    pub unclassified: u64,
    /// Whether the contract has it at all.
    pub known: bool,
}

/// What the checks found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the tier comes from.
    pub score: Score,
    /// The tier.
    pub tier: Tier,
    /// One for each check, in the order of [`CheckId`].
    pub findings: Vec<Finding>,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: CheckId,
    /// What it came to.
    pub verdict: Verdict,
    /// Whether it takes an active integration out of use at once, and does not only stand in the way of approval.
    pub urgent: bool,
    /// Why, for an operator.
    pub says: String,
}

/// The checks, by the numbers they have in `docs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckId {
    /// Keys: kind, size, age.
    A3,
    /// Redirect URIs are exact.
    A4,
    /// Nothing is asked for that the purpose does not need.
    A5,
    /// Whether a field of the asked operations is without a class.
    A6,
    /// The SBOM is there, recent, and free of what is known to be dangerous.
    A7,
    /// Documents are there and valid.
    A13,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing is wrong.
    Passed,
    /// Nothing is wrong, and a reviewer should know of something.
    Noted,
    /// Something is wrong.
    Failed,
    /// There is nothing to check.
    NotApplicable,
}

/// Runs every check on an application.
///
/// `sbom`: what [`Sbom::parse`] made of the SBOM that was submitted, if one was. `contract`: the asked operations as the contract
/// has them; one that is asked for and not among them counts as unknown to it. `now`: UTC.
pub fn check(
    evidence: &Evidence,
    sbom: Option<&Result<Sbom, BadSbom>>,
    advisories: &Advisories,
    contract: &[AskedOperation],
    now: UnixMicros,
) -> Report {
    let score = Score::of(evidence);
    let tier = score.tier();
    let asked: Vec<&AskedOperation> =
        contract.iter().filter(|operation| evidence.operations.contains(&operation.id)).collect();
    let findings = vec![
        keys(evidence, tier, now),
        redirect_uris(evidence),
        over_asking(evidence, &asked),
        unclassified(&asked),
        software(evidence, tier, sbom, advisories, now),
        documents(evidence, tier, now),
    ];
    Report { score, tier, findings }
}

/// What takes an active integration out of use at once, or `None` if nothing does.
///
/// `report`: the last one. An expiry is read from `evidence` at `now`, so a report from yesterday does not hide it.
/// `approved_contract`, `current_contract`: hashes of what vetting approved and of what is served.
pub fn restrict_because(
    evidence: &Evidence,
    report: &Report,
    approved_contract: &Digest,
    current_contract: &Digest,
    now: UnixMicros,
) -> Option<String> {
    if approved_contract != current_contract {
        return Some("the contract is not the one that was approved".to_owned());
    }
    let documents = evidence::latest_documents(evidence);
    if let Some(document) = documents.values().find(|document| now >= document.valid_until()) {
        return Some(format!("the {} has expired", document.kind.name()));
    }
    let age_max = evidence::KEY_AGE_DAYS_MAX;
    if let Some(key) = evidence.keys.iter().find(|key| now >= key.valid_until()) {
        return Some(format!("a key of {} is older than {age_max} days", key.created));
    }
    let urgent = report.findings.iter().find(|finding| finding.urgent);
    urgent.map(|finding| finding.says.clone())
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Failed)
    }
}

impl CheckId {
    /// `A3` to `A13`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A3 => "A3",
            Self::A4 => "A4",
            Self::A5 => "A5",
            Self::A6 => "A6",
            Self::A7 => "A7",
            Self::A13 => "A13",
        }
    }
}

impl fmt::Display for Report {
    /// One line for the tier and one for each finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.score)?;
        self.findings.iter().try_for_each(|finding| {
            let verdict = match finding.verdict {
                Verdict::Passed => "passed",
                Verdict::Noted => "noted",
                Verdict::Failed => "failed",
                Verdict::NotApplicable => "not applicable",
            };
            write!(f, "\n{} {verdict}: {}", finding.check.name(), finding.says)
        })
    }
}

impl Finding {
    /// Failed if anything is `wrong`, else passed with the sentence `right`.
    fn of(check: CheckId, wrong: &[String], right: impl Into<String>) -> Self {
        match wrong {
            [] => Self { check, verdict: Verdict::Passed, urgent: false, says: right.into() },
            _ => Self { check, verdict: Verdict::Failed, urgent: false, says: wrong.join("; ") },
        }
    }

    fn not_applicable(check: CheckId, says: &str) -> Self {
        Self { check, verdict: Verdict::NotApplicable, urgent: false, says: says.to_owned() }
    }
}

fn keys(evidence: &Evidence, tier: Tier, now: UnixMicros) -> Finding {
    let mut wrong = Vec::new();
    match evidence.credential {
        CredentialKind::Bearer if tier.takes_bearer() => {}
        CredentialKind::Bearer => wrong.push(format!(
            "tier {} takes credentials bound to a key only, not bearer tokens",
            tier.number()
        )),
        CredentialKind::Bound if evidence.keys.is_empty() => {
            wrong.push("no key is named".to_owned())
        }
        CredentialKind::Bound => {}
    }
    let mut seen = BTreeSet::new();
    let mut urgent = false;
    for (position, key) in evidence.keys.iter().enumerate() {
        let key_is = |what: &str| format!("key {} {what}", position + 1);
        match &key.read {
            Ok(read) if !seen.insert(&read.thumbprint) => {
                wrong.push(key_is("is the same as another"));
            }
            Ok(_) => {}
            Err(bad) => wrong.push(key_is(&format!("is not accepted: {bad}"))),
        }
        if now >= key.valid_until() {
            urgent = true;
            let age_max = evidence::KEY_AGE_DAYS_MAX;
            wrong.push(key_is(&format!("of {} is older than {age_max} days", key.created)));
        } else if key.created.start() > now + days(AHEAD_DAYS_MAX) {
            wrong.push(key_is(&format!("of {} is from the future", key.created)));
        }
    }
    let right = match (evidence.credential, evidence.keys.as_slice()) {
        (CredentialKind::Bearer, []) => {
            "bearer token, which tier 2 takes as an exception for at most 30 days".to_owned()
        }
        (_, keys) => format!("{} accepted and not older than 90 days", counted(keys.len(), "key")),
    };
    Finding { urgent, ..Finding::of(CheckId::A3, &wrong, right) }
}

fn redirect_uris(evidence: &Evidence) -> Finding {
    let uris = &evidence.redirect_uris;
    if uris.is_empty() {
        return Finding::not_applicable(CheckId::A4, "no redirect URI is named");
    }
    let wrong: Vec<String> = uris
        .iter()
        .filter_map(|uri| Some(format!("`{uri}` {}", redirect::exact(uri).err()?)))
        .collect();
    Finding::of(CheckId::A4, &wrong, format!("{} exact", counted(uris.len(), "redirect URI")))
}

fn over_asking(evidence: &Evidence, asked: &[&AskedOperation]) -> Finding {
    let known: Vec<&&AskedOperation> = asked.iter().filter(|operation| operation.known).collect();
    let mut wrong = Vec::new();
    let is_known = |id: &OperationId| known.iter().any(|operation| operation.id == *id);
    let unknown = evidence.operations.iter().filter(|id| !is_known(id));
    wrong.extend(complaint("operations not in the contract", unknown));
    if evidence.operations.is_empty() {
        wrong.push("no operation is asked for".to_owned());
    }
    match &evidence.classes {
        AskedClasses::Everything => {
            wrong.push("all classes are asked for, which no purpose needs".to_owned());
        }
        AskedClasses::Named(classes) if classes.is_empty() => {
            wrong.push("no class is asked for".to_owned());
        }
        AskedClasses::Named(classes) => {
            let returned = |class: &&DataClass| {
                known.iter().flat_map(|operation| &operation.classes).any(|of| class.covers(of))
            };
            let idle = classes.iter().filter(|class| !returned(class));
            wrong.extend(complaint("classes that none of the asked operations returns", idle));
            let purpose = &evidence.purpose;
            let unneeded = classes.iter().filter(|class| !purpose::needs(purpose, class));
            wrong.extend(complaint(
                &format!("classes not needed for the purpose `{purpose}`"),
                unneeded,
            ));
        }
    }
    Finding::of(CheckId::A5, &wrong, "nothing is asked for beyond the purpose")
}

fn unclassified(asked: &[&AskedOperation]) -> Finding {
    let open: Vec<String> = asked
        .iter()
        .filter(|operation| operation.unclassified > 0)
        .map(|operation| format!("{} ({})", operation.id, operation.unclassified))
        .collect();
    match complaint("withheld, because nobody classified them, are fields of", open.iter()) {
        // They never leave, so they stand in nobody's way; reviewers see that the contract has something to say about them.
        Some(says) => Finding { check: CheckId::A6, verdict: Verdict::Noted, urgent: false, says },
        None => Finding::of(CheckId::A6, &[], "every field of the asked operations has a class"),
    }
}

fn software(
    evidence: &Evidence,
    tier: Tier,
    sbom: Option<&Result<Sbom, BadSbom>>,
    advisories: &Advisories,
    now: UnixMicros,
) -> Finding {
    let failed = |says: String| Finding::of(CheckId::A7, &[says], "");
    let sbom = match sbom {
        None if !tier.takes_sbom() && evidence.sbom_sha256.is_none() => {
            return Finding::not_applicable(CheckId::A7, "tier 0 takes no SBOM");
        }
        None => return failed("no SBOM was submitted".to_owned()),
        Some(Err(bad)) => return failed(format!("the SBOM cannot be read: {bad}")),
        Some(Ok(sbom)) => sbom,
    };
    let mut wrong = Vec::new();
    if evidence.sbom_sha256.is_some_and(|sha256| sha256 != sbom.sha256) {
        wrong.push("the SBOM is not the one whose hash the application names".to_owned());
    }
    match sbom.made {
        None => wrong.push("the SBOM does not say when it was made".to_owned()),
        Some(made) if made > now + days(AHEAD_DAYS_MAX) => {
            wrong.push("the SBOM is from the future".to_owned());
        }
        Some(made) if now.since(made) > days(SBOM_DAYS_MAX) => {
            wrong.push(format!("the SBOM is older than {SBOM_DAYS_MAX} days"));
        }
        Some(_) => {}
    }
    let dangers = dangers(sbom, advisories, now);
    wrong.extend(complaint("components that must not be there", dangers.iter()));
    let unmatched = sbom.components.iter().filter(|component| !component.can_be_matched()).count();
    let right = format!(
        "{} read, nothing critical in {}; {unmatched} without a package that advisories name",
        counted(sbom.components.len(), "component"),
        counted(advisories.len(), "advisory"),
    );
    Finding { urgent: !dangers.is_empty(), ..Finding::of(CheckId::A7, &wrong, right) }
}

/// The components that are malicious, or critical for too long, each with the reason.
fn dangers(sbom: &Sbom, advisories: &Advisories, now: UnixMicros) -> BTreeSet<String> {
    let mut dangers = BTreeSet::new();
    for component in &sbom.components {
        for found in advisories.affecting(component) {
            let Some(why) = danger(found.advisory, now) else {
                continue;
            };
            let version = component.version_in_use().unwrap_or("of no version");
            let doubt = if found.compared { "" } else { ", version could not be compared" };
            let id = &found.advisory.id;
            dangers.insert(format!("{} {version} ({id}, {why}{doubt})", component.name));
        }
    }
    dangers
}

/// Why `advisory` may not be about any component of an SBOM at `now`, if it may not.
fn danger(advisory: &Advisory, now: UnixMicros) -> Option<String> {
    if advisory.malicious {
        return Some("malicious".to_owned());
    }
    // Without a date nobody can say that the time to repair is not over.
    let overdue =
        advisory.published.is_none_or(|published| now.since(published) > days(CRITICAL_DAYS_MAX));
    (advisory.critical && overdue)
        .then(|| format!("critical for more than {CRITICAL_DAYS_MAX} days"))
}

fn documents(evidence: &Evidence, tier: Tier, now: UnixMicros) -> Finding {
    let latest = evidence::latest_documents(evidence);
    let is_valid = |kind: &DocumentKind| {
        evidence.documents.iter().any(|document| document.kind == *kind && document.is_valid(now))
    };
    let mut wrong: Vec<String> = tier
        .documents()
        .iter()
        .filter(|kinds| !kinds.iter().any(is_valid))
        .map(|kinds| {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            format!("tier {} takes a valid {}", tier.number(), names.join(" or "))
        })
        .collect();
    let expired: BTreeMap<DocumentKind, String> = latest
        .into_iter()
        .filter(|(_, document)| now >= document.valid_until())
        .map(|(kind, document)| (kind, format!("{} of {}", kind.name(), document.issued)))
        .collect();
    wrong.extend(complaint("expired documents", expired.values()));
    if wrong.is_empty() && evidence.documents.is_empty() {
        return Finding::not_applicable(CheckId::A13, "tier 0 takes no document");
    }
    let right = format!("what tier {} takes is there and valid", tier.number());
    Finding { urgent: !expired.is_empty(), ..Finding::of(CheckId::A13, &wrong, right) }
}

/// `what: a, b, c and 4 more`, or nothing if there is nothing to name.
fn complaint<T: fmt::Display>(what: &str, things: impl Iterator<Item = T>) -> Option<String> {
    let mut things = things.map(|thing| thing.to_string());
    let named: Vec<String> = things.by_ref().take(NAMED_MAX).collect();
    let more = match things.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    (!named.is_empty()).then(|| format!("{what}: {}{more}", named.join(", ")))
}

/// `1 key`, `2 keys`, `3 advisories`.
fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y').filter(|stem| stem.ends_with('r'))) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
