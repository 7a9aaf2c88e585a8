//! Opening: every row is read into memory, a torn tail is told from damage, and what the last write left is made durable.

use super::row::{self, HEADER_BYTES, ROW_BYTES, RowHeader};
use super::{
    GROW_BYTES, Known, ROWS_PATH, Vault, WRITE_ROWS_MAX, erase, map_key, row_offset, shard_of,
};
use crate::embedded::disk::SyncedFile;
use crate::embedded::unavailable::OpenFailed;
use model::Pseudonym;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

impl Vault {
    /// Reads every row into the map. Gives their number, and whether there is a torn tail.
    pub(super) fn load(&self, wrapping_id: u16) -> Result<(u32, bool), OpenFailed> {
        let failed = |source| OpenFailed::Disk { path: ROWS_PATH.to_owned(), source };
        let corrupt = |offset, what: &str| OpenFailed::Corrupt {
            path: ROWS_PATH.to_owned(),
            offset,
            what: what.to_owned(),
        };
        let file = Arc::clone(&self.store().file);
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header).map_err(failed)?;
        if header != row::header(&self.index_key) {
            let what = "`vault/rows` was made with another index key, or its header is corrupt";
            return Err(OpenFailed::Key { what: what.to_owned() });
        }

        let mut count: u32 = 0;
        let mut end_found = None;
        let mut torn = false;
        let mut chunk = vec![0; ROW_BYTES * WRITE_ROWS_MAX];
        let mut at = HEADER_BYTES as u64;
        loop {
            let read = file.read_at(at, &mut chunk).map_err(failed)?;
            for row in chunk.get(..read).unwrap_or(&[]).chunks(ROW_BYTES) {
                if row == [0; ROW_BYTES] {
                    end_found.get_or_insert(count);
                    continue;
                }
                match (row::read(row), end_found) {
                    (Some(header), None) => {
                        if header.ordinal.0 != count {
                            return Err(corrupt(row_offset(count), "the row is not in its place"));
                        }
                        if header.erased {
                            self.erased.fetch_add(1, Ordering::Relaxed);
                        } else {
                            self.load_row(&header, row, wrapping_id)
                                .map_err(|what| corrupt(row_offset(count), what))?;
                        }
                        count += 1;
                    }
                    (Some(header), Some(end)) if header.durable_before > end => {
                        return Err(corrupt(row_offset(end), "a row that was durable is broken"));
                    }
                    (Some(_), Some(_)) => torn = true,
                    (None, _) => {
                        end_found.get_or_insert(count);
                        torn |= row.iter().any(|&byte| byte != 0);
                    }
                }
            }
            if read < chunk.len() {
                break;
            }
            at += read as u64;
        }
        self.pending().next_ordinal = count;
        self.durable.store(count, Ordering::Release);
        Ok((count, torn))
    }

    fn load_row(
        &self,
        header: &RowHeader,
        row: &[u8],
        wrapping_id: u16,
    ) -> Result<(), &'static str> {
        if header.wrapping_key != wrapping_id {
            return Err("the row is under another wrapping key");
        }
        let (_, seed) =
            row::open(row, &self.store().key).ok_or("the row does not open under its key")?;
        let key = map_key(&header.index);
        let known = Known {
            ordinal: header.ordinal,
            seed,
            // No quarter has this number; the first use fills it in.
            quarter: u32::MAX,
            pseudonym: Pseudonym([0; 16]),
        };
        let shard = self.shards.get(shard_of(key)).ok_or("no shard")?;
        let before = shard.write().unwrap_or_else(PoisonError::into_inner).insert(key, known);
        // Read again while an erasure had not come to its end: the earlier row is the one that was to go. Whether the log says so is
        // held against it by `forget_again`.
        if let Some(earlier) = before {
            self.forgotten().insert(earlier.ordinal, erase::mark(&earlier.seed));
        }
        Ok(())
    }
}

/// As the journal does: what the last write left is written again, so that this sync speaks of it; what is torn is zeroed.
pub(super) fn settle(file: &dyn SyncedFile, count: u32, torn: bool) -> io::Result<()> {
    let end = row_offset(count);
    let start = end.saturating_sub((ROW_BYTES * WRITE_ROWS_MAX) as u64).max(HEADER_BYTES as u64);
    let mut last = vec![0; usize::try_from(end - start).unwrap_or(0)];
    let read = file.read_at(start, &mut last)?;
    last.truncate(read);
    file.write_at(start, &last)?;
    if torn {
        let length = file.length()?;
        let zeros = vec![0; usize::try_from(GROW_BYTES).unwrap_or(0)];
        let mut at = end;
        while at < length {
            let step = usize::try_from(length - at).unwrap_or(usize::MAX).min(zeros.len());
            file.write_at(at, zeros.get(..step).unwrap_or(&[]))?;
            at += step as u64;
        }
    }
    file.sync_data()
}
