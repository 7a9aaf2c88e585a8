//! What the log tells a node that starts: budgets, habits, detectors.

use crate::generation;
use crate::restored::Expected;
use crate::watching::Replay;
use anyhow::Result;
use detection::habits;
use ledger::record::Body;
use model::UnixMicros;
use std::path::Path;
use storage::clock;
use storage::embedded::Vault;
use storage::embedded::view::LogView;
use tracing::error;

/// As [`replay`], from the generation before. It may have ended because it cannot be read; that must not keep the next from beginning.
pub(super) fn replay_former(data: &Path, vault: &Vault, told: &mut Replay<'_>) {
    let replayed = generation::before(data).and_then(|former| match former {
        Some(former) => replay(&former, vault, told).map(|_| ()),
        None => Ok(()),
    });
    if let Err(reason) = replayed {
        error!("what was read in the generation before is not counted in budgets: {reason:#}");
    }
}

/// Rebuilds budgets, habits and detectors from the log: what was read in the last day counts, and where from in the last month,
/// whatever happened to the process.
///
/// Returns what these records say must be in vault and registry.
pub(super) fn replay(view: &LogView, vault: &Vault, told: &mut Replay<'_>) -> Result<Expected> {
    let since = UnixMicros(clock::unix_now().0.saturating_sub(habits::SLEEP.0));
    let mut expected = Expected::since(since);
    for record in view.records_since(since) {
        let record = record?.1;
        // Older than what counts: retention keeps more days than these, unless the clock was wrong.
        if record.is_thinned() {
            continue;
        }
        let record = record.decode()?;
        let at = record.header.time;
        expected.take(&record);
        if !matches!(record.body, Body::Access(_)) {
            continue;
        }
        let ordinals: Vec<_> = record
            .touches
            .iter()
            .filter_map(|touch| {
                // What was disclosed just before a quarter turned may be recorded just after it.
                let in_quarter = |quarter| vault.ordinal_of(&touch.pseudonym, quarter);
                let known = in_quarter(at.quarter());
                let known = known.or_else(|| in_quarter(at.quarter().saturating_sub(1)));
                if known.is_none() {
                    expected.unknown(touch.pseudonym, at.quarter());
                }
                known
            })
            .collect();
        told.take(&record, &ordinals);
        told.count(&record, &ordinals);
    }
    Ok(expected)
}
