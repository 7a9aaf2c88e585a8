//! The log by segments, for whoever copies it while a node goes on writing: which are sealed, and what of the open one can be read.
//!
//! A segment is *sealed* once the next one holds a whole batch: from then on nothing is added to it. Of the open segment, every
//! batch but the last was synced before the one behind it was begun. The last may be in the page cache only, and lost with the power.

use crate::embedded::batch::SEGMENT_HEADER_BYTES;
use crate::embedded::disk::KeepSynced;
use crate::embedded::journal::{self, DurableEnd, Place};
use crate::embedded::scan::{Found, Scan};
use crate::embedded::stored;
use crate::embedded::unavailable::OpenFailed;
use crate::embedded::view::{LogView, Thinned};
use ledger::record::Header;
use model::UnixMicros;
use std::sync::Arc;

/// One log's segments as they were when they were looked at.
pub struct Segments {
    /// In order; the last is the open one.
    pub all: Vec<SegmentSpan>,
    /// Reads what no power cut takes away.
    pub durable: LogView,
    /// Reads the open segment's last batch too.
    pub readable: LogView,
}

/// The records of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// Index of its first record.
    pub first: u64,
    /// How many it holds; of the open segment, how many can be read.
    pub records: u64,
    /// When the first was recorded; no record behind it is older.
    pub since: UnixMicros,
    /// Whether it is closed for good.
    pub sealed: bool,
    /// Whether retention took the bodies and touches of its records.
    pub thinned: bool,
}

impl Segments {
    /// Looks at the segments in a data directory. Writes nothing, and needs no lock: a node may be writing there.
    ///
    /// Reads the first batch of each segment, and the open segment whole.
    ///
    /// # Errors
    /// [`OpenFailed::Corrupt`] with the place if a segment is missing or begins with nothing though a later one holds records;
    /// [`OpenFailed::Disk`].
    pub fn look(disk: &Arc<dyn KeepSynced>) -> Result<Self, OpenFailed> {
        let segments = journal::numbers(&**disk)
            .map_err(|source| OpenFailed::Disk { path: "ledger/segments".into(), source })?;
        let (durable, readable) =
            (LogView::empty(Arc::clone(disk)), LogView::empty(Arc::clone(disk)));
        let mut all: Vec<SegmentSpan> = Vec::new();
        let mut begun = 0;
        for (number, expected) in segments.into_iter().zip(0..) {
            let Some((first, since, thinned)) = begin(&**disk, number)? else { continue };
            let in_place = number == expected && number == begun;
            let after = all.last().is_none_or(|last| last.first < first);
            if !in_place || !after || (number == 0 && first != 0) {
                return Err(corrupt(
                    begun,
                    0,
                    "the segment is missing or broken, and a later one holds records",
                ));
            }
            begun += 1;
            if let Some(last) = all.last_mut() {
                (last.sealed, last.records) = (true, first - last.first);
            }
            if !thinned && all.last().is_some_and(|before| before.thinned) {
                // The last thinned record is not younger than the first that is not.
                let thinned = Thinned { segments: number, records: first, until: since };
                durable.thin(thinned);
                readable.thin(thinned);
            }
            all.push(SegmentSpan { first, records: 0, since, sealed: false, thinned });
            let batch = SEGMENT_HEADER_BYTES;
            let place = Place { index: first, segment: number, batch, first: true, thinned };
            durable.mark(place, since);
            readable.mark(place, since);
        }
        if let Some(open) = all.last_mut() {
            let (before_last, end) = ends(&**disk, begun - 1)?;
            open.records = end.records - open.first;
            durable.advance(before_last);
            readable.advance(end);
        }
        Ok(Self { all, durable, readable })
    }
}

/// Index and time of a segment's first record, and whether it is thinned; `None` if it holds none.
fn begin(
    disk: &dyn KeepSynced,
    number: u64,
) -> Result<Option<(u64, UnixMicros, bool)>, OpenFailed> {
    let (mut scan, path) = open(disk, number)?;
    let failed = |source| OpenFailed::Disk { path: path.clone(), source };
    let Some(header) = scan.header().map_err(failed)? else { return Ok(None) };
    let Found::Batch { header: batch, frames, payloads } =
        scan.batch(SEGMENT_HEADER_BYTES, header.salt).map_err(failed)?
    else {
        return Ok(None);
    };
    if header.number != number || batch.first_index != header.first_index {
        return Err(corrupt(number, 0, "the segment's header is another's"));
    }
    let first =
        payloads.into_iter().next().and_then(|payload| stored::decode(frames.get(payload)?));
    let time =
        first.and_then(|record| Header::decode(&record.entry).ok()).map(|header| header.time);
    let time = time
        .ok_or_else(|| corrupt(number, SEGMENT_HEADER_BYTES, "the first record cannot be read"))?;
    Ok(Some((header.first_index, time, header.thinned)))
}

/// Where the open segment's last whole batch begins, and where it ends.
fn ends(disk: &dyn KeepSynced, number: u64) -> Result<(DurableEnd, DurableEnd), OpenFailed> {
    let (mut scan, path) = open(disk, number)?;
    let failed = |source| OpenFailed::Disk { path: path.clone(), source };
    let header = scan.header().map_err(failed)?;
    let header = header.ok_or_else(|| corrupt(number, 0, "the segment's header is broken"))?;
    let mut end = DurableEnd { segment: number, offset: 0, records: header.first_index };
    let mut before_last = end;
    while let Found::Batch { header: batch, payloads, .. } =
        scan.batch(end.offset.max(SEGMENT_HEADER_BYTES), header.salt).map_err(failed)?
    {
        before_last = end;
        end.offset = end.offset.max(SEGMENT_HEADER_BYTES) + batch.batch_bytes();
        end.records += payloads.len() as u64;
    }
    Ok((before_last, end))
}

fn open(disk: &dyn KeepSynced, number: u64) -> Result<(Scan, String), OpenFailed> {
    let path = journal::path(number);
    let scan = disk.open(&path).and_then(|file| Scan::new(file, u64::MAX));
    match scan {
        Ok(scan) => Ok((scan, path)),
        Err(source) => Err(OpenFailed::Disk { path, source }),
    }
}

fn corrupt(number: u64, offset: u64, what: &str) -> OpenFailed {
    OpenFailed::Corrupt { path: journal::path(number), offset, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::JournalSizes;
    use crate::embedded::disk::LocalDisk;
    use crate::embedded::recorder::{self, Opened, Opening};
    use crate::embedded::vault::VaultKeys;
    use ledger::Draft;
    use ledger::note::SigningKey;
    use model::IntegrationId;
    use std::time::Duration;

    fn opening() -> Opening {
        let key = SigningKey::new("test/node/1", &[3; 32]).unwrap();
        let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
        let sizes = JournalSizes { segment_bytes: 1 << 20, reserve_bytes: 64 << 10 };
        Opening { sizes, wait_max: Duration::from_secs(60), ..Opening::standard(key, vault) }
    }

    fn big(step: u8) -> Draft {
        Draft::Vetting {
            integration: IntegrationId::from_bytes([step; 16]),
            step: "evidence".into(),
            detail: vec![5; 60_000],
        }
    }

    fn look(root: &std::path::Path) -> Result<Segments, OpenFailed> {
        let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(root).unwrap());
        Segments::look(&disk)
    }

    #[test]
    fn segments_of_a_running_node_are_sealed_but_for_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { recorder, view, .. } = recorder::open(dir.path(), opening()).unwrap();
        for n in 0..60 {
            recorder.append_blocking(big(n)).unwrap();
        }
        let segments = look(dir.path()).unwrap();
        assert!(segments.all.len() >= 4, "{:?}", segments.all);
        let sealed: Vec<bool> = segments.all.iter().map(|segment| segment.sealed).collect();
        assert_eq!(sealed.iter().filter(|sealed| !**sealed).count(), 1);
        assert_eq!(sealed.last(), Some(&false));
        let mut next = 0;
        for segment in &segments.all {
            assert_eq!(segment.first, next);
            next += segment.records;
        }
        let readable: Vec<u64> =
            segments.readable.records_from(0).map(|record| record.unwrap().0).collect();
        assert_eq!(readable, (0..next).collect::<Vec<_>>());
        let durable = segments.durable.records_from(0).count() as u64;
        assert!(durable < next, "the last batch may not be durable");
        assert!(durable >= segments.all.last().unwrap().first);
        // From the middle: the marks lead to the right segment.
        let third = segments.all[2].first;
        assert_eq!(segments.readable.records_from(third).next().unwrap().unwrap().0, third);
        recorder.stop().unwrap();
        assert!(view.end().records >= next);
    }

    #[test]
    fn an_empty_log_has_no_segments_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("ledger/segments")).unwrap();
        assert_eq!(look(dir.path()).unwrap().all, []);
        let Opened { recorder, .. } = recorder::open(dir.path(), opening()).unwrap();
        for n in 0..60 {
            recorder.append_blocking(big(n)).unwrap();
        }
        recorder.stop().unwrap();
        drop(recorder);
        std::fs::remove_file(dir.path().join(journal::path(1))).unwrap();
        assert!(
            matches!(look(dir.path()), Err(OpenFailed::Corrupt { path, .. }) if path == journal::path(1))
        );
    }
}
