//! A record as the payload of one frame: entry, body and touches, each where a reader of only the first can stop.
//!
//! ```text
//! payload = length of entry u32 | length of body u32 | entry | body | touches        integers big-endian
//! ```
//!
//! The touches lie in the same frame, because a record without them is no record: one write, one checksum, one sync.

use ledger::StoredRecord;

pub(crate) fn encode(record: &StoredRecord, out: &mut Vec<u8>) {
    for part in [&record.entry, &record.body] {
        // Longer than 4 GiB is longer than any frame, which the batch refuses.
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(&record.entry);
    out.extend_from_slice(&record.body);
    out.extend_from_slice(&record.touches);
}

/// `None` if the lengths do not fit.
pub(crate) fn decode(payload: &[u8]) -> Option<StoredRecord> {
    let (entry, rest) = payload.split_first_chunk()?;
    let (body, rest) = rest.split_first_chunk()?;
    let (entry, rest) = rest.split_at_checked(length(*entry)?)?;
    let (body, touches) = rest.split_at_checked(length(*body)?)?;
    Some(StoredRecord { entry: entry.to_vec(), body: body.to_vec(), touches: touches.to_vec() })
}

fn length(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_survive_the_frame(entry: Vec<u8>, body: Vec<u8>, touches: Vec<u8>) {
            let record = StoredRecord { entry, body, touches };
            let mut payload = Vec::new();
            encode(&record, &mut payload);
            prop_assert_eq!(decode(&payload), Some(record));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
