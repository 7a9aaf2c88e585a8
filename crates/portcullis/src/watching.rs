//! What the detectors are told outside of requests: rules in shadow, relationships, and what the log knows from before this start.

use anyhow::{Context, Result, bail};
use detection::{Asked, Draw, Inner, Observation, RULES, Use, Windows};
use gateway::node::View;
use gateway::watch::Watch;
use ledger::Record;
use ledger::record::{Body, Chain};
use model::{
    Directory, Grant, GrantId, IntegrationId, OperationId, OperationKind, Outcome, Refusal,
    SubjectId, SubjectOrdinal, SubjectScope, UnixMicros,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use storage::embedded::Vault;
use tracing::{info, warn};

/// `[detection]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetectionFile {
    #[serde(default)]
    shadow: Vec<String>,
    #[serde(default)]
    relationships: Option<PathBuf>,
}

/// What is configured for the detectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetectionConfig {
    /// Rules whose containment is not carried out.
    pub(crate) shadow: BTreeSet<&'static str>,
    /// File of the pairs of integration and subject that have to do with each other.
    pub(crate) relationships: Option<PathBuf>,
}

impl DetectionFile {
    /// # Errors
    /// The operator's: a rule that there is not.
    pub(crate) fn checked(self, data: &Path) -> Result<DetectionConfig> {
        let mut shadow = BTreeSet::new();
        for name in &self.shadow {
            let Some(rule) = RULES.iter().find(|rule| *rule == name) else {
                let near = |rule: &&&str| strsim::damerau_levenshtein(name, rule);
                let meant = RULES.iter().min_by_key(near).copied().unwrap_or_default();
                bail!("`shadow` names no rule with `{name}`; did you mean `{meant}`?");
            };
            shadow.insert(*rule);
        }
        Ok(DetectionConfig {
            shadow,
            relationships: self.relationships.map(|path| data.join(path)),
        })
    }
}

/// How many relationships the file holds, at most.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn count(path: &Path) -> Result<usize> {
    let mut count = 0;
    for line in BufReader::new(open(path)?).split(b'\n') {
        line.with_context(|| format!("cannot read `{}`", path.display()))?;
        count += 1;
    }
    Ok(count)
}

/// Tells the watch the relationships of the file: one `integration,subject` a line, the integration by its slug or id, the subject as
/// the origin spells it, to the end of the line. A first line `integration,subject` is a heading.
///
/// # Errors
/// If it cannot be read. Lines that say nothing are counted and left out.
pub(crate) fn import(
    watch: &Watch,
    path: &Path,
    directory: &Directory,
    now: UnixMicros,
) -> Result<()> {
    let by_name: BTreeMap<String, IntegrationId> = directory
        .integrations
        .values()
        .flat_map(|of| [(of.slug.clone(), of.id), (of.id.to_string(), of.id)])
        .collect();
    let (mut pairs, mut taken, mut bad) = (Vec::new(), 0_usize, 0_usize);
    for (n, line) in BufReader::new(open(path)?).split(b'\n').enumerate() {
        let line = line.with_context(|| format!("cannot read `{}`", path.display()))?;
        let Ok(line) = std::str::from_utf8(&line) else {
            bad += 1;
            continue;
        };
        let line = line.trim_end_matches('\r');
        if line.is_empty() || n == 0 && line == "integration,subject" {
            continue;
        }
        let pair = line
            .split_once(',')
            .and_then(|(of, id)| Some((*by_name.get(of)?, SubjectId::new(id)?)));
        match pair {
            Some(pair) => pairs.push(pair),
            None => bad += 1,
        }
        if pairs.len() == 10_000 {
            watch.import(&pairs, now);
            taken += std::mem::take(&mut pairs).len();
        }
    }
    watch.import(&pairs, now);
    taken += pairs.len();
    if bad > 0 {
        warn!(bad, "lines that are no relationship of a registered integration were left out");
    }
    let (blind_permille, imported) = watch.knowledge();
    info!(relationships = taken, blind_permille, "relationships read");
    for of in directory.integrations.values().filter(|of| !imported.contains(&of.id)) {
        info!(integration = of.slug, "no relationships: novelty is blind to what it reads");
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read the relationships `{}`", path.display()))
}

/// Subjects looked up while the log is read. Records name the same ones again and again, and the vault opens a row each time.
const SUBJECTS_MAX: usize = 1_000_000;

/// Makes observations of records.
pub(crate) struct Replay<'a> {
    watch: &'a Watch,
    vault: &'a Vault,
    windows: &'a Windows,
    kinds: HashMap<OperationId, OperationKind>,
    /// Grants that name each subject they cover, as far as they are still there.
    naming: BTreeSet<GrantId>,
    subjects: HashMap<SubjectOrdinal, Option<Asked>>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(watch: &'a Watch, vault: &'a Vault, view: &'a View) -> Self {
        let kinds = view.contract.operations().map(|of| (of.id().clone(), of.kind()));
        let names = |grant: &&Grant| match grant.scope {
            SubjectScope::TokenSubject | SubjectScope::Consenting(_) => true,
            SubjectScope::Attribute { .. } | SubjectScope::All => false,
        };
        let naming = view.directory.grants.values().filter(names).map(|grant| grant.id).collect();
        let kinds = kinds.collect();
        Self { watch, vault, windows: &view.windows, kinds, naming, subjects: HashMap::new() }
    }

    /// Tells the detectors of one record. Operations that the contract has no more, refusals that say nothing of the inside, and
    /// subjects that were erased since are left out.
    pub(crate) fn take(&mut self, record: &Record, ordinals: &[SubjectOrdinal]) {
        let Body::Access(access) = &record.body else { return };
        let outcome = match access.outcome {
            Outcome::Released => Inner::Released,
            Outcome::Refused(Refusal::NotFound) => Inner::NotFound,
            Outcome::Refused(Refusal::NotPermitted) => Inner::Denied,
            Outcome::Attempted | Outcome::Refused(_) => return,
        };
        let (Some(grant), Some(operation)) = (access.grant, &access.operation) else { return };
        let Chain::Integration(integration) = record.header.chain else { return };
        let Some(&kind) = self.kinds.get(operation) else { return };
        let subjects: Vec<_> =
            ordinals.iter().filter_map(|ordinal| self.subject(*ordinal)).collect();
        let seen = Observation {
            at: record.header.time,
            integration,
            credential: access.credential,
            grant,
            network: access.network,
            token: None,
            is_bearer: false,
            is_doubtful: false,
            names_subjects: self.naming.contains(&grant),
            operation,
            kind,
            outcome,
            subjects: &subjects,
            classes: record.header.classes,
            probe: None,
        };
        self.watch.replay_observation(&seen, self.windows);
    }

    /// Tells budgets and habits of one record: what was released through an operation, whether or not the contract still has it.
    pub(crate) fn count(&self, record: &Record, ordinals: &[SubjectOrdinal]) {
        let (Body::Access(access), Chain::Integration(integration)) =
            (&record.body, record.header.chain)
        else {
            return;
        };
        let (Outcome::Released, Some(grant), Some(operation)) =
            (access.outcome, access.grant, &access.operation)
        else {
            return;
        };
        let at = record.header.time;
        let seen = Use { credential: access.credential, grant, network: access.network, at };
        let draw = Draw { integration, grant, operation, at };
        self.watch.replay(&seen, draw, ordinals, self.windows);
    }

    fn subject(&mut self, ordinal: SubjectOrdinal) -> Option<Asked> {
        if let Some(known) = self.subjects.get(&ordinal) {
            return *known;
        }
        let found = self.vault.subject(ordinal).ok().flatten();
        let asked = found.map(|id| self.watch.asked(ordinal, &id));
        if self.subjects.len() < SUBJECTS_MAX {
            self.subjects.insert(ordinal, asked);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_there_is_not_is_refused_with_the_one_that_was_meant() {
        let file =
            |text: &str| toml::from_str::<DetectionFile>(text).unwrap().checked(Path::new("/d"));
        let read = file("shadow = [\"novelty\", \"volume\"]\nrelationships = \"r.csv\"").unwrap();
        assert_eq!(read.shadow, ["novelty", "volume"].into());
        assert_eq!(read.relationships.as_deref(), Some(Path::new("/d/r.csv")));
        let error = file("shadow = [\"novelti\"]").unwrap_err().to_string();
        assert_eq!(error, "`shadow` names no rule with `novelti`; did you mean `novelty`?");
    }
}
