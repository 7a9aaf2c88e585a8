//! Whether the parts of a data directory are of one moment. A part that was restored from an older copy alone contradicts the others;
//! what each of them must know of the others is held against them at start, before anything is served.
//!
//! The log against its checkpoint and tiles, and against the posture register, is the engine's part. Here: the log against the subject
//! vault and the registry. A whole directory that is older contradicts nothing in itself; only somebody outside can tell.

use anyhow::{Result, bail};
use ledger::record::Body;
use ledger::{NodeEvent, Record};
use model::{Pseudonym, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};
use storage::embedded::Vault;
use storage::registry::{Effect, Payload, Registry, SignedCommand};

/// Commands that are looked through for one whose record must be there.
const COMMANDS: u32 = 200;
/// A command is carried out this much after its record at most: the desk does one at a time.
const CARRIED_OUT_WITHIN: u64 = 3_600_000_000;

/// What the records of a window say must be elsewhere.
pub(crate) struct Expected {
    since: UnixMicros,
    /// By quarter, pseudonyms that stand in records and that the vault does not know.
    unknown: BTreeMap<u32, BTreeSet<Pseudonym>>,
    /// Commands that are in the log as they were signed.
    recorded: BTreeSet<[u8; 16]>,
    /// The last of them that the registry carried out before it was recorded.
    narrowed: Option<([u8; 16], UnixMicros)>,
}

impl Expected {
    /// Of the records from `since` on.
    pub(crate) fn since(since: UnixMicros) -> Self {
        Self { since, unknown: BTreeMap::new(), recorded: BTreeSet::new(), narrowed: None }
    }

    /// Takes in a record, in order.
    pub(crate) fn take(&mut self, record: &Record) {
        if let Body::Node(NodeEvent::Start { lost_checkpoint: Some(_) }) = &record.body {
            // What was carried out before is in the generation before, if it was not lost with its end.
            self.since = self.since.max(record.header.time);
        }
        let (Body::OperatorAction { detail, .. } | Body::Vetting { detail, .. }) = &record.body
        else {
            return;
        };
        let signed = SignedCommand::from_json(detail).ok();
        let payload = signed.and_then(|signed| serde_json::from_slice(&signed.payload).ok());
        let Some(Payload { id, command, .. }) = payload else { return };
        self.recorded.insert(id);
        if command.effect() == Effect::Narrows {
            self.narrowed = Some((id, record.header.time));
        }
    }

    /// A record names somebody whom the vault does not know.
    pub(crate) fn unknown(&mut self, pseudonym: Pseudonym, quarter: u32) {
        self.unknown.entry(quarter).or_default().insert(pseudonym);
    }

    /// Holds it against vault and registry.
    ///
    /// # Errors
    /// Which part is older than the others, and what to do.
    pub(crate) async fn check(self, vault: &Vault, registry: &Registry) -> Result<()> {
        // Of the erased nothing is known; everybody else who was ever recorded has a row.
        let unknown = self.unknown.values().map(BTreeSet::len).max().unwrap_or(0);
        let erased = usize::try_from(vault.erased()).unwrap_or(usize::MAX);
        if unknown > erased {
            bail!(
                "the log names {unknown} subjects that `vault/rows` does not know, and only {erased} were erased: it is an older copy, \
                 and those people could not be told. Restore the newest `vault/rows`"
            );
        }
        if let Some((id, at)) = self.narrowed
            && !registry.carried_out(&id).await?
        {
            bail!(
                "the log has a command of {at} that `registry.db` does not know: it is an older copy, in which what was withdrawn or \
                 retired since is in force again. Restore the newest `registry.db`, with its `-wal` file"
            );
        }
        for row in registry.commands(COMMANDS).await? {
            let Ok(Payload { id, command, .. }) = serde_json::from_slice(&row.payload) else {
                continue;
            };
            let recorded_first =
                command.effect() != Effect::Narrows && !command.may_name_subjects();
            if !recorded_first || row.applied.0 < self.since.0.saturating_add(CARRIED_OUT_WITHIN) {
                continue;
            }
            if !self.recorded.contains(&id) {
                bail!(
                    "`registry.db` knows the command `{}` of {}, which was recorded before it was carried out, and the log does not have \
                     it: the segments are an older copy. Restore the newest `ledger`, or start the next generation of the log",
                    row.action,
                    row.applied,
                );
            }
            return Ok(());
        }
        Ok(())
    }
}
