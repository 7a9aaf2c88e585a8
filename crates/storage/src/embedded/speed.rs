//! How fast the record is, against what the disk itself can do in the same run. For `portcullis bench ledger`.

use crate::embedded::disk::{KeepSynced, LocalDisk};
use crate::embedded::recorder::{self, Opened, Opening, Recorder};
use crate::embedded::unavailable::Unavailable;
use crate::embedded::vault::{Vault, VaultKeys};
use ledger::Draft;
use ledger::note::SigningKey;
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId,
    OperationId, Outcome, Pseudonym, RequestId, SubjectId, Touch, UnixMicros, VendorId,
};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Who appends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many at once, each waiting for its receipt before the next.
    Closed(usize),
    /// So many records a second, at moments that do not depend on receipts (exponential pauses). A wait begins when the record was due,
    /// so that what kept the generator is in it.
    Open(u32),
}

/// One measurement of the record and of the disk under it.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Durable records in a second.
    pub records_per_s: f64,
    /// Median time from append to receipt.
    pub p50: Duration,
    /// 99th percentile of it.
    pub p99: Duration,
    /// Records made durable by one sync, on average.
    pub records_per_sync: f64,
    /// Length of a record on disk, bytes, its share of the batch included.
    pub record_bytes: f64,
    /// Time of all processors spent in the process for one record, outside the kernel.
    pub user_per_record: Duration,
    /// The same, in the kernel.
    pub kernel_per_record: Duration,
    /// Records a second if nothing but the writes and syncs of the same bytes in the same batches is done.
    pub disk_records_per_s: f64,
    /// Median of one such write and sync.
    pub disk_p50: Duration,
}

/// Measures for about `duration` in the empty directory `root`, then the disk alone for as long.
///
/// # Errors
/// Whatever kept the log from being opened or written.
pub fn measure(root: &Path, load: Load, duration: Duration) -> io::Result<Speed> {
    let key = SigningKey::new("bench/node/1", &[1; 32]).map_err(io::Error::other)?;
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let opened = recorder::open(root, Opening::standard(key, vault)).map_err(io::Error::other)?;
    let Opened { recorder, view, .. } = opened;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let (before, commits_before) = (view.end(), recorder.commits());
    let cpu_before = cpu();
    let began = Instant::now();
    let tasks: Vec<_> = match load {
        Load::Closed(appenders) => {
            let append = || runtime.spawn(append_until(recorder.clone(), began + duration));
            (0..appenders).map(|_| append()).collect()
        }
        Load::Open(rate) => append_when_due(&runtime, &recorder, rate, began, duration),
    };
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.map_err(io::Error::other)?.map_err(io::Error::other)?);
        }
        io::Result::Ok(waits)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let (after, commits) = (view.end(), recorder.commits() - commits_before);
    let (user, kernel) = cpu();
    recorder.stop().map_err(io::Error::other)?;

    let segment_bytes = crate::embedded::journal::JournalSizes::STANDARD.segment_bytes;
    let bytes = (after.segment - before.segment) * segment_bytes + after.offset - before.offset;
    let records = after.records - before.records;
    let records_per_sync = ratio(records, commits);
    // On a thread as urgent as the writer's: beside busy threads the wake-up is most of the wait.
    let batch_bytes = bytes / commits.max(1);
    let mut disk_waits = std::thread::scope(|scope| {
        let alone = scope.spawn(|| {
            recorder::raise_priority();
            disk_alone(root, batch_bytes, duration)
        });
        alone.join().unwrap_or_else(|_| Err(io::Error::other("the disk's thread panicked")))
    })?;
    let disk_seconds: f64 = disk_waits.iter().map(Duration::as_secs_f64).sum();
    Ok(Speed {
        records_per_s: ratio(waits.len() as u64, 1) / seconds,
        p50: percentile(&mut waits, 50),
        p99: percentile(&mut waits, 99),
        records_per_sync,
        record_bytes: ratio(bytes, records),
        user_per_record: (user - cpu_before.0).div_f64(ratio(records, 1)),
        kernel_per_record: (kernel - cpu_before.1).div_f64(ratio(records, 1)),
        disk_records_per_s: ratio(disk_waits.len() as u64, 1) * records_per_sync / disk_seconds,
        disk_p50: percentile(&mut disk_waits, 50),
    })
}

async fn append_until(recorder: Recorder, until: Instant) -> Result<Vec<Duration>, Unavailable> {
    let draft = Draft::Access(one_subject_read());
    let mut waits = Vec::new();
    let mut began = Instant::now();
    while began < until {
        recorder.append(draft.clone()).await?;
        let now = Instant::now();
        waits.push(now - began);
        began = now;
    }
    Ok(waits)
}

type Appending = JoinHandle<Result<Vec<Duration>, Unavailable>>;

fn append_when_due(
    runtime: &Runtime,
    recorder: &Recorder,
    rate: u32,
    began: Instant,
    duration: Duration,
) -> Vec<Appending> {
    let mut tasks = Vec::new();
    let (mut due, mut state) = (Duration::ZERO, 1_u64);
    while due < duration {
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let recorder = recorder.clone();
        tasks.push(runtime.spawn(async move {
            recorder.append(Draft::Access(one_subject_read())).await?;
            Ok(vec![began.elapsed().saturating_sub(due)])
        }));
        // The upper half of a linear congruential generator, never 0.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (ratio(state >> 33, 1) + 1.0) / f64::from(1_u32 << 31);
        due += Duration::from_secs_f64(-share.ln() / f64::from(rate));
    }
    tasks
}

/// An account read by an integration: one subject, three classes.
fn one_subject_read() -> AccessRecord {
    let classes: ClassSet = [1, 2, 5].into_iter().map(ClassNumber::new).collect();
    AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: IntegrationId::from_bytes([3; 16]),
        credential: CredentialId::from_bytes([4; 16]),
        grant: Some(GrantId::from_bytes([5; 16])),
        operation: OperationId::new("getAccount"),
        network: ClientIp::from_peer([192, 0, 2, 1].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 1_800,
        touches: vec![Touch { pseudonym: Pseudonym([9; 16]), classes }],
    }
}

/// Writes and syncs batches of `batch_bytes` into a zero-filled file, as the journal does and nothing else.
fn disk_alone(root: &Path, batch_bytes: u64, duration: Duration) -> io::Result<Vec<Duration>> {
    const FILE_BYTES: u64 = 64 << 20;
    let disk = LocalDisk::new(root)?;
    let file = disk.create("disk-alone", FILE_BYTES)?;
    let zeros = vec![0; 4 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_at(at, &zeros)?;
    }
    file.sync_data()?;
    let batch = vec![0xa5; usize::try_from(batch_bytes).unwrap_or(1)];
    let mut waits = Vec::new();
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < duration {
        if at + batch_bytes > FILE_BYTES {
            at = 0;
        }
        let began = Instant::now();
        file.write_at(at, &batch)?;
        file.sync_data()?;
        waits.push(began.elapsed());
        at += batch_bytes;
    }
    disk.remove("disk-alone")?;
    Ok(waits)
}

/// User and system time of this process, from `/proc/self/stat`, which counts in 1/100 s.
fn cpu() -> (Duration, Duration) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11);
    let mut next = || {
        let ticks = fields.next().and_then(|ticks| ticks.parse().ok());
        Duration::from_millis(ticks.unwrap_or(0_u64) * 10)
    };
    (next(), next())
}

/// How long [`Vault::row`] takes for a subject the vault knows, and [`Vault::ordinal_of`] for its pseudonym, among `subjects` of them that
/// are asked for in another order, in the empty directory `root`.
///
/// # Errors
/// Whatever kept the vault from being opened or answering.
pub fn known_subject(root: &Path, subjects: u32) -> io::Result<[Duration; 2]> {
    let keys = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let vault = Vault::open(&LocalDisk::new(root)?, &keys).map_err(io::Error::other)?;
    let now = UnixMicros(1_790_000_000_000_000);
    let named = |n: u32| SubjectId::new(&format!("account-{n}"));
    let subjects: Vec<SubjectId> = (0..subjects).filter_map(named).collect();
    for subject in &subjects {
        if vault.row(subject, now) == Err(Unavailable::Busy(Duration::ZERO)) {
            vault.flush().map_err(io::Error::other)?;
            vault.row(subject, now).map_err(io::Error::other)?;
        }
    }
    let began = Instant::now();
    for subject in &subjects {
        std::hint::black_box(vault.row(subject, now).map_err(io::Error::other)?);
    }
    let row = began.elapsed();
    let pseudonym = |subject| vault.row(subject, now).map(|(_, pseudonym)| pseudonym);
    let pseudonyms: Result<BTreeSet<_>, _> = subjects.iter().map(pseudonym).collect();
    let pseudonyms = pseudonyms.map_err(io::Error::other)?;
    // Makes the quarter's map, which costs an HMAC for each subject.
    pseudonyms.first().map(|pseudonym| vault.ordinal_of(pseudonym, now.quarter()));
    let began = Instant::now();
    for pseudonym in &pseudonyms {
        std::hint::black_box(vault.ordinal_of(pseudonym, now.quarter()));
    }
    let ordinal = began.elapsed();
    Ok([row, ordinal].map(|all| all.div_f64(ratio(subjects.len() as u64, 1))))
}

fn percentile(waits: &mut [Duration], percent: usize) -> Duration {
    waits.sort_unstable();
    waits.get(waits.len() * percent / 100).copied().unwrap_or_default()
}

fn ratio(a: u64, b: u64) -> f64 {
    let float = |n: u64| u32::try_from(n).map_or(f64::from(u32::MAX), f64::from);
    float(a) / float(b.max(1))
}
