//! Evidence of an incident in a large log: how long writing and checking it take, on the disk of the current directory.
//!
//! `cargo run --release -p storage --example evidence_speed [records in millions]`. Writes some 600 MiB a million.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use ledger::Draft;
use ledger::bundle::{self, Form, Question};
use ledger::note::SigningKey;
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, OperationId, Outcome,
    Pseudonym, RequestId, Touch, UnixMicros, VendorId,
};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::journal::JournalSizes;
use storage::embedded::log::{Log, NotAdded, prepare_segment};
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::vault::VaultKeys;

const BEGAN: UnixMicros = UnixMicros(1_790_000_000_000_000);
/// 1.3 million subjects, each read once.
const INCIDENT_RECORDS: u64 = 26_000;
const TOUCHES: u64 = 50;

/// Both clocks go on by a millisecond with each record.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU64>);

impl ReadClocks for Told {
    fn wall(&self) -> UnixMicros {
        BEGAN + self.monotonic()
    }

    fn monotonic(&self) -> Micros {
        Micros(self.0.load(Ordering::Relaxed) * 1_000)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let millions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let scratch = std::env::current_dir()?.join(format!("evidence-speed-{}", std::process::id()));
    let measured = measure(&scratch, millions * 1_000_000);
    std::fs::remove_dir_all(&scratch)?;
    measured
}

fn measure(root: &std::path::Path, records: u64) -> Result<(), Box<dyn Error>> {
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(root)?);
    let key = SigningKey::new("bench/node/1", &[1; 32])?;
    let keys = [key.verifying_key()?];
    let vault = VaultKeys { index: [1; 32], wrapping: [2; 32], wrapping_id: 1 };
    let clocks = Told::default();
    let parts = open_parts(&disk, Box::new(clocks.clone()), Opening::standard(key, vault))?;
    let Parts { mut log, mut publisher, .. } = parts;
    let from = records / 2;
    let began = Stopwatch::start();
    let mut note = String::new();
    let mut at = 0;
    while at < records {
        if let Some(number) = log.wants_segment() {
            log.stock(prepare_segment(&*disk, JournalSizes::STANDARD, number)?);
        }
        // A thousand records a second, and heads after each second.
        log.begin()?;
        log.acknowledge_clock();
        for _ in 0..1_000 {
            clocks.0.fetch_add(1, Ordering::Relaxed);
            // Every tenth record of the incident's time is the incident's.
            let n = at.saturating_sub(from) / 10;
            let stolen = at >= from && at % 10 == 0 && n < INCIDENT_RECORDS;
            add(&mut log, &if stolen { read(1, n, TOUCHES) } else { read(2 + at % 20, at, 1) })?;
            at += 1;
        }
        let tree = log.add_heads().map_err(|why| format!("{why:?}"))?;
        log.commit()?;
        if at % 100_000 == 0 || at >= records {
            note = publisher.publish(&tree)?;
        }
    }
    let view = log.view().clone();
    println!(
        "a log of {} records in {} segments, written in {}",
        view.end().records,
        view.end().segment + 1,
        began.elapsed()
    );
    let window = Question {
        integrations: Some([integration(1)].into()),
        from: BEGAN + Micros(from * 1_000),
        to: BEGAN + Micros((from + INCIDENT_RECORDS * 10 + 1) * 1_000),
        classes: None,
        networks: None,
    };
    for (what, question) in [
        ("the incident", window.clone()),
        (
            "one integration, a minute before it",
            Question {
                to: window.from,
                from: BEGAN + Micros((from - 60_000) * 1_000),
                ..window.clone()
            },
        ),
        ("all integrations, the incident's time", Question { integrations: None, ..window }),
    ] {
        let began = Stopwatch::start();
        let form = Form::default();
        let bytes = storage::embedded::evidence::build(&view, &question, &form, &note, &keys)?;
        let written = began.elapsed();
        let began = Stopwatch::start();
        let verified = bundle::verify(&bytes, &keys, &[])?;
        println!(
            "{what}: {} records, {} subjects, {} bytes; written in {}, checked in {}",
            verified.answer.records,
            verified.answer.subjects.len(),
            bytes.len(),
            written,
            began.elapsed()
        );
    }
    Ok(())
}

fn add(log: &mut Log, draft: &Draft) -> Result<(), Box<dyn Error>> {
    match log.add(draft) {
        Ok(_) => return Ok(()),
        Err(NotAdded::BatchFull) => _ = log.commit()?,
        Err(NotAdded::Refused(why)) => return Err(why.into()),
    }
    log.add(draft).map(|_| ()).map_err(|why| format!("{why:?}").into())
}

fn integration(n: u64) -> IntegrationId {
    let mut id = [0; 16];
    id.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
    IntegrationId::from_bytes(id)
}

fn read(who: u64, n: u64, touches: u64) -> Draft {
    let mut touches: Vec<Touch> = (0..touches)
        .map(|i| {
            // Spread as a hash would be.
            let subject = n * touches + i;
            let spread = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let mut pseudonym = [0; 16];
            let bytes = spread.into_iter().chain(subject.to_be_bytes());
            pseudonym.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            let classes = [ClassNumber::new(1), ClassNumber::new(5)].into_iter().collect();
            Touch { pseudonym: Pseudonym(pseudonym), classes }
        })
        .collect();
    touches.sort_unstable_by_key(|touch| touch.pseudonym);
    Draft::Access(AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: integration(who),
        credential: CredentialId::from_bytes([4; 16]),
        grant: None,
        operation: OperationId::new("listAccounts"),
        network: ClientIp::from_peer([192, 0, 2, 7].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 51_200,
        touches,
    })
}

/// The time that goes by, and the processor's: on a busy machine they differ.
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn elapsed(&self) -> String {
        format!(
            "{} ms ({} ms of processor)",
            self.0.elapsed().as_millis(),
            (cpu() - self.1).as_millis()
        )
    }
}

/// Processor time of this thread so far, as Linux counts it.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
