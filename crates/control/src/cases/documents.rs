//! The documents of a case: forms for regulators, and the draft of a post-mortem.

use super::{NoStep, Office, Open, called, company, target_called};
use crate::questions::CannotAnswer;
use incident::filing::{self, Filing};
use incident::postmortem;
use incident::timeline::Timeline;
use model::{Micros, UnixMicros};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::registry::Snapshot;

/// How much of the record before the window a timeline tells, and after it at most.
const AROUND: Micros = Micros::from_secs(86_400);

impl Office {
    pub(super) fn filing(
        &self,
        open: &Open,
        regime: &str,
        version: u64,
        snapshot: &Snapshot,
        now: UnixMicros,
    ) -> Result<Filing, NoStep> {
        open.case.current(version)?;
        let deadline = self.known_regime(open, regime, now)?;
        let figures = open.figures()?;
        let reference = open.case.filings.get(regime).and_then(|filed| filed.reference.as_deref());
        let settings = self.settings.load();
        let name = |id: &str| called(id, snapshot);
        Ok(Filing::compile(&filing::Sources {
            case: &open.case,
            figures,
            company: company(&settings)?,
            deadline: &deadline,
            name: &name,
            reference,
            log_key: &self.log_key,
            table: &settings.deadlines.version,
            now,
        }))
    }

    pub(super) async fn postmortem(
        &self,
        open: &Open,
        version: u64,
        snapshot: &Snapshot,
        now: UnixMicros,
    ) -> Result<String, NoStep> {
        open.case.current(version)?;
        let figures = open.figures()?;
        let (first, last) = figures.span.unwrap_or((open.case.aware, open.case.aware));
        let thinned = self.archive.view.thinned();
        if thinned.reaches(first) {
            return Err(NoStep::Missing(format!(
                "the record up to {} was thinned by retention, and with it what a timeline is made of",
                thinned.until
            )));
        }
        let from = UnixMicros(first.0.saturating_sub(AROUND.0));
        let until = (last.max(open.case.opened) + AROUND).min(now);
        let readers: BTreeSet<_> =
            figures.integrations.keys().filter_map(|id| id.parse().ok()).collect();
        let (archive, told) = (Arc::clone(&self.archive), snapshot.clone());
        let timeline = tokio::task::spawn_blocking(move || {
            let name = |id: &model::IntegrationId| called(&id.to_string(), &told);
            let posture = |entry: &[u8]| {
                Some(posture_sentence(&sever::Entry::from_bytes(entry).ok()?, &told))
            };
            let mut timeline = Timeline::new(readers, &name, &posture);
            archive.each_record(from, until, &mut |index, record| timeline.push(index, record))?;
            Ok(timeline.finish())
        });
        let timeline = timeline.await.unwrap_or(Err(CannotAnswer::Stopped))?;
        let deadlines = self.deadlines(open, now);
        let name = |id: &str| called(id, snapshot);
        Ok(postmortem::draft(&postmortem::Sources {
            case: &open.case,
            figures,
            deadlines: &deadlines,
            timeline: &timeline,
            name: &name,
            log_key: &self.log_key,
        }))
    }
}

fn posture_sentence(entry: &sever::Entry, snapshot: &Snapshot) -> String {
    let (verb, target) = match &entry.change {
        sever::Change::Sever(target) => ("severed", target),
        sever::Change::Restrict(target) => ("restricted", target),
        sever::Change::Restore(target) => ("restored", target),
    };
    let target = target_called(target, snapshot);
    let by = match &entry.authority {
        sever::Authority::Rule(rule) => format!("rule `{rule}`"),
        sever::Authority::Operators { signers, .. } => {
            signers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    format!("{target} was {verb} by {by}: {}", entry.reason)
}
