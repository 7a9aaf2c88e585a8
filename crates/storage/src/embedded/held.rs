//! How far one segment holds that nobody writes to: of a generation before, or of another node's log.
//!
//! Unlike `journal`, which refuses a log that is not whole, this takes what is there and says where it ends and why.

use crate::embedded::batch::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::{self, DurableEnd, Place};
use crate::embedded::scan::{Found, Rest, Scan};
use crate::embedded::stored;
use ledger::StoredRecord;
use model::UnixMicros;
use std::io;

/// One mark in this many records: see `view`.
const MARK_EVERY: u64 = 4_096;

/// The records of a segment from its first one on, as far as they hold.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Where some of its batches begin, its first one's place first.
    pub(crate) marks: Vec<(Place, UnixMicros)>,
    /// Index of its first record.
    pub(crate) first: u64,
    /// Behind its last one.
    pub(crate) end: DurableEnd,
    /// Time of its first record.
    pub(crate) since: UnixMicros,
    /// Time of its last.
    pub(crate) until: UnixMicros,
    /// Whether retention took the bodies and touches of its records.
    pub(crate) thinned: bool,
    /// Why it ends there, if not because nothing follows.
    pub(crate) stopped: Option<NotTaken>,
}

/// Why a record is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It is not under the checkpoint yet.
    Uncovered,
    /// A file that proves it is not there yet, or cannot be read.
    NotYet(String),
    /// It does not hold.
    Refused(String),
}

/// Reads a segment whole. `admit` is asked of each record, and gives its time; a batch counts whole or not at all.
///
/// `None` if nothing was written to it yet.
///
/// # Errors
/// [`NotTaken`] if not even its first batch is taken.
pub(crate) fn scan(
    disk: &dyn KeepSynced,
    number: u64,
    admit: &mut dyn FnMut(u64, &StoredRecord) -> Result<UnixMicros, NotTaken>,
) -> Result<Option<Held>, NotTaken> {
    let failed = |error: io::Error| NotTaken::NotYet(format!("it cannot be read: {error}"));
    let refused = |what: &str| NotTaken::Refused(what.to_owned());
    let file = disk.open(&journal::path(number)).map_err(failed)?;
    let mut scan = Scan::new(file, u64::MAX).map_err(failed)?;
    let Some(header) = scan.header().map_err(failed)? else {
        return match scan.rest(0, None, 0).map_err(failed)? {
            Rest::Zeros => Ok(None),
            Rest::Torn | Rest::LaterBatch => Err(refused("its header is broken")),
        };
    };
    if header.number != number {
        return Err(refused("it has another segment's number"));
    }
    let mut end =
        DurableEnd { segment: number, offset: SEGMENT_HEADER_BYTES, records: header.first_index };
    let (mut marks, mut times) = (Vec::<(Place, UnixMicros)>::new(), None);
    let stopped = loop {
        let taken = match scan.batch(end.offset, header.salt).map_err(failed)? {
            Found::Nothing => None,
            Found::Broken => Some(Err(refused("a record is broken"))),
            Found::Batch { header: batch, .. } if batch.first_index != end.records => {
                Some(Err(refused("a batch is not in its place")))
            }
            Found::Batch { header: batch, frames, payloads } => {
                let mut records = payloads.into_iter().zip(end.records..);
                let mut time_of = |(payload, index)| {
                    let record = frames.get(payload).and_then(stored::decode);
                    let record = record.ok_or_else(|| refused("a record's lengths do not fit"))?;
                    if record.is_thinned() && !header.thinned {
                        return Err(refused("a record has lost its body"));
                    }
                    admit(index, &record)
                };
                let mut times: Vec<UnixMicros> = Vec::new();
                let all = records.try_for_each(|record| {
                    times.push(time_of(record)?);
                    Ok(())
                });
                Some(all.map(|()| (batch.batch_bytes(), times)))
            }
        };
        let (bytes, of_batch) = match taken {
            Some(Ok(batch)) => batch,
            Some(Err(why)) => break Some(why),
            None => match scan.rest(end.offset, Some(header.salt), end.records).map_err(failed)? {
                Rest::Zeros => break None,
                Rest::Torn | Rest::LaterBatch => break Some(refused("a record is broken")),
            },
        };
        let (Some(first), Some(last)) = (of_batch.first(), of_batch.last()) else {
            break Some(refused("a batch without records"));
        };
        if marks.last().is_none_or(|(place, _)| end.records >= place.index + MARK_EVERY) {
            let DurableEnd { segment, offset, records } = end;
            let (index, batch, thinned) = (records, offset, header.thinned);
            marks.push((Place { index, segment, batch, first: true, thinned }, *first));
        }
        times = Some((times.map_or(*first, |(since, _)| since), *last));
        end.offset += bytes;
        end.records += of_batch.len() as u64;
    };
    let Some((since, until)) = times else {
        return stopped.map_or(Ok(None), Err);
    };
    let SegmentHeader { first_index: first, thinned, .. } = header;
    Ok(Some(Held { marks, first, end, since, until, thinned, stopped }))
}
