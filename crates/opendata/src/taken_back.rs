//! Which releases a not-released record takes back, read ahead of the records that are being copied.

use crate::ExportFailed;
use ledger::bundle::TAKEN_BACK_WITHIN;
use ledger::record::{Body, Chain, Header, Kind};
use model::{Digest, IntegrationId, UnixMicros};
use std::collections::BTreeMap;
use storage::embedded::view::{LogView, Records};

/// A second reader of the same log, some 60 seconds ahead of the first.
pub(crate) struct TakenBack {
    records: Records,
    /// Index of the record it reads next.
    next: u64,
    /// The time of the last record it read.
    reached: Option<UnixMicros>,
    /// When each release was first taken back.
    by: BTreeMap<(Digest, IntegrationId), UnixMicros>,
}

impl TakenBack {
    /// Begins at a record; earlier ones are not asked about.
    pub(crate) fn from(view: &LogView, first: u64) -> Self {
        Self { records: view.records_from(first), next: first, reached: None, by: BTreeMap::new() }
    }

    /// Index of the record it reads next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Reads on until no later record can take back a release of `time`. `false` if the log ends before.
    pub(crate) fn settle(&mut self, time: UnixMicros) -> Result<bool, ExportFailed> {
        let beyond = time + TAKEN_BACK_WITHIN;
        while self.reached.is_none_or(|reached| reached <= beyond) {
            let Some(record) = self.records.next() else { return Ok(false) };
            let (index, stored) = record?;
            let unreadable =
                |what: &dyn ToString| ExportFailed::Record { index, what: what.to_string() };
            let header = Header::decode(&stored.entry).map_err(|error| unreadable(&error))?;
            self.next = index + 1;
            self.reached = Some(header.time);
            if header.kind != Kind::NotReleased {
                continue;
            }
            let body = Body::decode(&stored.body).map_err(|error| unreadable(&error))?;
            if let (Chain::Integration(integration), Body::NotReleased { leaf, .. }) =
                (header.chain, body)
            {
                self.by.entry((leaf, integration)).or_insert(header.time);
            }
        }
        Ok(true)
    }

    /// Whether the release was taken back, as `exposure::Fold` decides it.
    pub(crate) fn has(
        &self,
        leaf: Digest,
        integration: IntegrationId,
        released: UnixMicros,
    ) -> bool {
        self.by.get(&(leaf, integration)).is_some_and(|&at| at <= released + TAKEN_BACK_WITHIN)
    }

    /// Forgets what takes back only releases before `time`.
    pub(crate) fn forget_before(&mut self, time: UnixMicros) {
        self.by.retain(|_, at| *at >= time);
    }
}
