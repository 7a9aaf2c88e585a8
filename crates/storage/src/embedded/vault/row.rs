//! The vault's file format, version 1: `docs/vault-format.md`. Bytes only.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use model::{SubjectId, SubjectOrdinal};

/// Length of the file's header.
pub(crate) const HEADER_BYTES: usize = 32;
/// Length of each row. Row `n` is that of ordinal `n`, so it starts at `HEADER_BYTES + n * ROW_BYTES`.
pub(crate) const ROW_BYTES: usize = 240;

const MAGIC: [u8; 8] = *b"PCVLT\x00\x00\x01";
const KIND_SUBJECT: u8 = 1;
const KIND_ERASED: u8 = 2;
const SEED_BYTES: usize = 32;
const PLAIN_BYTES: usize = SEED_BYTES + 1 + SubjectId::BYTES_MAX;
const ASSOCIATED_BYTES: usize = 44;
const CRC_AT: usize = ROW_BYTES - 4;

/// What a row says without being decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowHeader {
    pub(crate) erased: bool,
    pub(crate) wrapping_key: u16,
    pub(crate) ordinal: SubjectOrdinal,
    /// How many rows were durable when this one was written.
    pub(crate) durable_before: u32,
    /// HMAC-SHA-256(index key, subject id); zeros in an erased row.
    pub(crate) index: [u8; 32],
}

/// The key that rows are encrypted under, and the number rows name it by.
pub(crate) struct WrappingKey {
    id: u16,
    key: LessSafeKey,
}

impl WrappingKey {
    /// `None` if the crypto library refuses the key, which it does for no key of 32 bytes.
    pub(crate) fn new(id: u16, key: &[u8; 32]) -> Option<Self> {
        Some(Self { id, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?) })
    }

    pub(crate) const fn id(&self) -> u16 {
        self.id
    }
}

/// The file's header, which names the index key by a value made with it.
pub(crate) fn header(index_key: &hmac::Key) -> [u8; HEADER_BYTES] {
    let mut header = Writer::default();
    header.put(&MAGIC);
    let check = hmac::sign(index_key, b"portcullis vault, index key check");
    header.put(check.as_ref().get(..16).unwrap_or(&[]));
    header.put(&[0; 4]);
    let crc = crc32c::crc32c(header.written());
    header.put(&crc.to_be_bytes());
    header.finish()
}

/// One row for a subject, encrypted. `nonce` must never have been used with this key.
///
/// `None` if the crypto library refuses, which it does for no input of this length.
pub(crate) fn seal(
    header: &RowHeader,
    subject: &SubjectId,
    seed: &[u8; SEED_BYTES],
    nonce: [u8; 12],
    key: &WrappingKey,
) -> Option<[u8; ROW_BYTES]> {
    let mut plain = Writer::<PLAIN_BYTES>::default();
    plain.put(seed);
    plain.put(&[u8::try_from(subject.as_str().len()).ok()?]);
    plain.put(subject.as_str().as_bytes());
    let mut text = plain.finish();

    let mut row = Writer::<ROW_BYTES>::default();
    row.put(&[KIND_SUBJECT, 0]);
    row.put(&key.id.to_be_bytes());
    row.put(&header.ordinal.0.to_be_bytes());
    row.put(&header.durable_before.to_be_bytes());
    row.put(&header.index);
    // The subject's place is part of what is authenticated: a row moved to another ordinal does not open.
    let associated = Aad::from(row.written().to_vec());
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    let tag = key.key.seal_in_place_separate_tag(nonce_used, associated, &mut text).ok()?;
    row.put(&nonce);
    row.put(&text);
    row.put(tag.as_ref());
    Some(finish_row(row))
}

/// The row that stands in the place of an erased subject's.
pub(crate) fn erased(ordinal: SubjectOrdinal, durable_before: u32) -> [u8; ROW_BYTES] {
    let mut row = Writer::<ROW_BYTES>::default();
    row.put(&[KIND_ERASED, 0, 0, 0]);
    row.put(&ordinal.0.to_be_bytes());
    row.put(&durable_before.to_be_bytes());
    finish_row(row)
}

/// Reads a row without decrypting it; `None` if it is not a whole row.
pub(crate) fn read(row: &[u8]) -> Option<RowHeader> {
    let (row, crc) = row.split_at_checked(CRC_AT)?;
    if crc32c::crc32c(row).to_be_bytes() != *crc {
        return None;
    }
    let (&[kind, zero, key0, key1], rest) = row.split_first_chunk::<4>()?;
    let (ordinal, rest) = rest.split_first_chunk::<4>()?;
    let (durable_before, rest) = rest.split_first_chunk::<4>()?;
    let (index, _) = rest.split_first_chunk::<32>()?;
    ((kind == KIND_SUBJECT || kind == KIND_ERASED) && zero == 0).then_some(RowHeader {
        erased: kind == KIND_ERASED,
        wrapping_key: u16::from_be_bytes([key0, key1]),
        ordinal: SubjectOrdinal(u32::from_be_bytes(*ordinal)),
        durable_before: u32::from_be_bytes(*durable_before),
        index: *index,
    })
}

/// Decrypts a row that [`read`] accepted; `None` if the key is not the row's, or the row is not what was sealed.
pub(crate) fn open(row: &[u8], key: &WrappingKey) -> Option<(SubjectId, [u8; SEED_BYTES])> {
    let (associated, rest) = row.split_at_checked(ASSOCIATED_BYTES)?;
    let (nonce, rest) = rest.split_first_chunk::<12>()?;
    let mut sealed = rest.get(..PLAIN_BYTES + 16)?.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key.key.open_in_place(nonce, Aad::from(associated), &mut sealed).ok()?;
    let (seed, rest) = plain.split_first_chunk::<SEED_BYTES>()?;
    let (&length, rest) = rest.split_first()?;
    let subject = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    Some((SubjectId::new(subject)?, *seed))
}

fn finish_row(mut row: Writer<ROW_BYTES>) -> [u8; ROW_BYTES] {
    row.at = CRC_AT;
    let crc = crc32c::crc32c(row.written());
    row.put(&crc.to_be_bytes());
    row.finish()
}

/// Fills a fixed number of bytes from the front; what is not filled stays zero.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Default for Writer<N> {
    fn default() -> Self {
        Self { bytes: [0; N], at: 0 }
    }
}

impl<const N: usize> Writer<N> {
    fn put(&mut self, field: &[u8]) {
        let to = self.bytes.get_mut(self.at..self.at + field.len());
        assert!(to.is_some(), "the fields are longer than the row");
        if let Some(to) = to {
            to.copy_from_slice(field);
        }
        self.at += field.len();
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(..self.at).unwrap_or(&[])
    }

    fn finish(self) -> [u8; N] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: &str, ordinal: u32) -> [u8; ROW_BYTES] {
        let header = RowHeader {
            erased: false,
            wrapping_key: 3,
            ordinal: SubjectOrdinal(ordinal),
            durable_before: 2,
            index: [9; 32],
        };
        seal(&header, &SubjectId::new(id).unwrap(), &[7; 32], [1; 12], &key()).unwrap()
    }

    fn key() -> WrappingKey {
        WrappingKey::new(3, &[5; 32]).unwrap()
    }

    #[test]
    fn the_longest_subject_fits_and_all_rows_are_alike_in_length() {
        let longest = "x".repeat(SubjectId::BYTES_MAX);
        let (subject, seed) = open(&row(&longest, 1), &key()).unwrap();
        assert_eq!((subject.as_str(), seed), (longest.as_str(), [7; 32]));
        assert_eq!(open(&row("a", 1), &key()).unwrap().0.as_str(), "a");
    }

    #[test]
    fn a_row_moved_to_another_ordinal_does_not_open() {
        let mut moved = row("a", 1);
        moved[7] = 2;
        let crc = crc32c::crc32c(&moved[..CRC_AT]).to_be_bytes();
        moved[CRC_AT..].copy_from_slice(&crc);
        assert_eq!(read(&moved).unwrap().ordinal, SubjectOrdinal(2));
        assert_eq!(open(&moved, &key()), None);
    }

    #[test]
    fn a_row_opens_under_its_own_key_only() {
        assert_eq!(open(&row("a", 1), &WrappingKey::new(3, &[6; 32]).unwrap()), None);
    }

    #[test]
    fn an_erased_row_keeps_the_ordinal_and_nothing_else() {
        let header = read(&erased(SubjectOrdinal(4), 9)).unwrap();
        assert!(header.erased);
        assert_eq!((header.ordinal, header.index), (SubjectOrdinal(4), [0; 32]));
    }

    #[test]
    fn rows_of_version_1_stay_readable() {
        let golden = include_bytes!("../../../testdata/vault-v1-row.bin");
        let (subject, seed) = open(golden, &key()).unwrap();
        assert_eq!((subject.as_str(), seed), ("account-1", [7; 32]));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in 0..ROW_BYTES, change in 1_u8..) {
            let mut row = row("a", 1);
            row[at] ^= change;
            prop_assert_eq!(read(&row), None);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = open(&bytes, &key());
        }
    }
}
