//! What of one segment's records becomes rows, in memory, by day and integration.

use super::{DAY, SegmentSpan};
use crate::ExportFailed;
use ledger::record::{Body, Chain};
use model::{
    CredentialId, Digest, GrantId, IntegrationId, OperationId, Outcome, Pseudonym, RequestId,
    SubjectId, Touch, UnixMicros, VendorId,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use storage::embedded::Unavailable;
use storage::embedded::view::LogView;

/// Tells who had a pseudonym in a quarter; `None` if that was erased.
pub type NameSubjects<'a> = dyn Fn(&Pseudonym, u32) -> Result<Option<SubjectId>, Unavailable> + 'a;

/// The accesses, attempts and refusals of one segment.
pub(super) struct Facts {
    /// By day and integration, each in order of the log.
    pub(super) parts: BTreeMap<(u64, IntegrationId), Vec<Fact>>,
    /// The time of the segment's last record.
    pub(super) last: UnixMicros,
}

/// One record.
pub(super) struct Fact {
    pub(super) index: u64,
    pub(super) leaf: Digest,
    pub(super) time: UnixMicros,
    pub(super) request: RequestId,
    pub(super) vendor: VendorId,
    pub(super) credential: CredentialId,
    pub(super) grant: Option<GrantId>,
    pub(super) operation: Option<OperationId>,
    pub(super) network: IpAddr,
    pub(super) class_table: Digest,
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
    pub(super) touches: Vec<Touch>,
}

impl Facts {
    /// Reads a segment.
    ///
    /// # Errors
    /// [`ExportFailed::Record`] if a record is missing or malformed.
    pub(super) fn read(view: &LogView, segment: SegmentSpan) -> Result<Self, ExportFailed> {
        let mut facts = Self { parts: BTreeMap::new(), last: segment.since };
        let mut records = view.records_from(segment.first);
        for expected in segment.first..segment.first + segment.records {
            let unreadable = |what: String| ExportFailed::Record { index: expected, what };
            let (index, stored) =
                records.next().ok_or_else(|| unreadable("it is missing".into()))??;
            if index != expected {
                return Err(unreadable(format!("record {index} stands in its place")));
            }
            let record = stored.decode().map_err(|error| unreadable(error.to_string()))?;
            let time = record.header.time;
            facts.last = time;
            let (Chain::Integration(integration), Body::Access(body)) =
                (record.header.chain, record.body)
            else {
                continue;
            };
            facts.parts.entry((time.0 / DAY, integration)).or_default().push(Fact {
                index,
                leaf: record.leaf,
                time,
                request: body.request,
                vendor: body.vendor,
                credential: body.credential,
                grant: body.grant,
                operation: body.operation,
                network: body.network.addr(),
                class_table: body.class_table,
                outcome: body.outcome,
                bytes: body.bytes,
                touches: record.touches,
            });
        }
        Ok(facts)
    }
}
