//! What a row of the index costs: `cargo run --release -p exposure --example index_cost [days] [rows a day] [subjects]`.
//!
//! Processor time of one thread, so that what else the machine does is not in it, and no disk. Rows are drawn as those of
//! `portcullis bench exposure`: 200 integrations after Zipf, lists of 20 to 100 subjects at random. The checksum is that
//! of all files, so that two builds can be seen to write the same.
#![expect(clippy::print_stdout, reason = "prints its measurement")]
#![expect(
    clippy::disallowed_methods,
    reason = "measures time and reads how much the system counted"
)]

use exposure::index::{
    Context, IndexFile, Indexer, Leveler, ReadRange, Release, RowMark, Sealer, Span,
};
use model::{
    ClassNumber, ClassSet, ClientIp, CredentialId, IntegrationId, OperationId, SubjectOrdinal,
    UnixMicros, VendorId,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY: u64 = 86_400_000_000;
/// Divisible by 7 and by 30.
const FIRST_DAY: u32 = 20_580;
const CLASSES: [u16; 8] = [0b11, 0b111, 0x13, 0x7f, 0x81, 0x103, 0xe07, 0x100f];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let days = arguments.next().transpose()?.unwrap_or(30);
    let rows_a_day = u64::from(arguments.next().transpose()?.unwrap_or(1_111_111));
    let subjects = arguments.next().transpose()?.unwrap_or(10_000_000);
    let mut traffic = Traffic::new(subjects);
    let mut indexer = Indexer::default();
    let (mut record, mut rows, mut bytes, mut crc) = (0, 0_u64, 0, 0);
    let (mut pushing, mut sealing, mut levelling) = Default::default();
    let (mut sealer, mut sealed, mut files) = (Sealer::default(), Vec::new(), Vec::new());
    for day in 0..days {
        // A few at a time, so that they are at hand as if they had just been decoded.
        for times in traffic.times(FIRST_DAY + day, rows_a_day).chunks(256) {
            let reads: Vec<Read> =
                times.iter().map(|(time, length)| traffic.read(*time, *length)).collect();
            timed(&mut pushing, || {
                for read in &reads {
                    rows += read.touches.len() as u64;
                    indexer.push_release(&read.release(record));
                    record += 1;
                }
            });
        }
        // So that a part is cut and settled.
        let after = UnixMicros(u64::from(FIRST_DAY + day + 1) * DAY);
        indexer.pass(record, [0; 32], after);
        indexer.pass(record + 1, [0; 32], UnixMicros(after.0 + 120_000_000));
        record += 2;
        while let Some(table) = indexer.settled() {
            sealed.clear();
            timed(&mut sealing, || {
                sealer.seal(&table, RowMark::default(), |written| {
                    sealed.extend_from_slice(written);
                    Ok(())
                })
            })?;
            bytes += sealed.len();
            crc = crc32c::crc32c_append(crc, &sealed);
            files.push(open(sealed.clone())?);
        }
    }
    let of_parts = bytes;
    let mut leveler = Leveler::default();
    for (span, length) in [(Span::Week, 7), (Span::Month, 30)] {
        for first in
            (0..days).step_by(length).filter(|first| *first as usize + length <= days as usize)
        {
            let of_level = files.get(first as usize..first as usize + length).unwrap_or_default();
            let parts: Vec<&IndexFile> = of_level.iter().collect();
            timed(&mut levelling, || {
                leveler.level(span, FIRST_DAY + first, &parts, |written| {
                    bytes += written.len();
                    crc = crc32c::crc32c_append(crc, written);
                    Ok(())
                })
            })?;
        }
    }
    let all: Duration = pushing + sealing + levelling;
    let nanos = |time: Duration| format!("{:6.1} ns", time.as_secs_f64() * 1e9 / rows as f64);
    println!(
        "{rows} rows, {record} records, {of_parts} bytes of parts, {} of levels, checksum {crc:08x}",
        bytes - of_parts
    );
    println!(
        "push {}  seal {}  levels {}  all {}  {:.2} million rows/s",
        nanos(pushing),
        nanos(sealing),
        nanos(levelling),
        nanos(all),
        rows as f64 / all.as_secs_f64() / 1e6
    );
    Ok(())
}

fn timed<T>(sum: &mut Duration, what: impl FnOnce() -> T) -> T {
    let start = processor_time();
    let done = what();
    *sum += processor_time().saturating_sub(start);
    done
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

struct Bytes(Arc<Vec<u8>>);

impl ReadRange for Bytes {
    fn read(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(from..).and_then(|rest| rest.get(..length));
        into.clear();
        into.extend_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_at_hand(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<bool> {
        self.read(offset, length, into).map(|()| true)
    }

    fn expect(&self, _offset: u64, _length: u64) {}
}

fn open(bytes: Vec<u8>) -> Result<IndexFile, exposure::index::Unreadable> {
    let length = bytes.len() as u64;
    IndexFile::open(Box::new(Bytes(Arc::new(bytes))), length)
}

/// One record.
struct Read {
    time: u64,
    context: Context,
    network: ClientIp,
    touches: Vec<(SubjectOrdinal, ClassSet)>,
}

impl Read {
    fn release(&self, record: u64) -> Release<'_> {
        let (time, leaf) = (UnixMicros(self.time), [0; 32]);
        let (context, network, touches) = (&self.context, self.network, self.touches.as_slice());
        Release { record, leaf, time, context, network, touches }
    }
}

/// Rows that depend on their number alone: splitmix64.
struct Traffic {
    state: u64,
    subjects: u32,
    sets: Vec<ClassSet>,
    /// Upper ends of the integrations' shares.
    shares: Vec<f64>,
}

impl Traffic {
    fn new(subjects: u32) -> Self {
        let set = |bits: u16| (0..16).filter(move |bit| bits >> bit & 1 == 1).map(ClassNumber::new);
        let all: f64 = (1..=200_u32).map(|rank| 1.0 / f64::from(rank)).sum();
        let mut sum = 0.0;
        let shares = (1..=200_u32).map(|rank| {
            sum += 1.0 / f64::from(rank) / all;
            sum
        });
        let shares = shares.collect();
        let sets = (0..=u16::MAX).map(|bits| set(bits).collect()).collect();
        Self { state: 1, subjects, sets, shares }
    }

    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll().checked_rem(end).unwrap_or(0)
    }

    /// When the records of a day were made, in order, and how many rows each has.
    fn times(&mut self, day: u32, rows: u64) -> Vec<(u64, u64)> {
        let mut times = Vec::new();
        let mut left = rows;
        while left > 0 {
            let list = self.below(10) >= 4;
            let length = if list { 20 + self.below(81) } else { 1 }.min(left);
            left -= length;
            times.push((u64::from(day) * DAY + self.below(DAY), length));
        }
        times.sort_unstable();
        times
    }

    fn read(&mut self, time: u64, length: u64) -> Read {
        let share = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        let integration = self.shares.partition_point(|end| *end < share).min(199);
        let integration = u16::try_from(integration).unwrap_or(0);
        let operation = (integration + u16::try_from(self.below(3)).unwrap_or(0) * 3) % 8;
        let all = CLASSES.get(usize::from(operation)).copied().unwrap_or(1);
        let mut touches = Vec::new();
        for _ in 0..length {
            let number = self.roll();
            let subject = u32::try_from(((number >> 32) * u64::from(self.subjects)) >> 32);
            let missing = if number & 7 == 0 { 1_u16 << (number >> 3 & 3) } else { 0 };
            let set = self.sets.get(usize::from(all & !missing)).copied().unwrap_or_default();
            touches.push((SubjectOrdinal(subject.unwrap_or(0)), set));
        }
        touches.sort_unstable_by_key(|(subject, _)| *subject);
        touches.dedup_by_key(|(subject, _)| *subject);
        let [high, low] = integration.to_be_bytes();
        let [key, address] = [self.below(2), self.below(4)].map(|n| u8::try_from(n).unwrap_or(0));
        let mut id = [0; 16];
        id[..2].copy_from_slice(&[high, low]);
        let mut credential = id;
        credential[2] = key;
        let context = Context {
            integration: IntegrationId::from_bytes(id),
            vendor: VendorId::from_bytes([1; 16]),
            credential: CredentialId::from_bytes(credential),
            grant: None,
            operation: OperationId::new(&format!("operation{operation}")),
        };
        Read {
            time,
            context,
            network: ClientIp::from_peer([10, high, low, address].into()),
            touches,
        }
    }
}
