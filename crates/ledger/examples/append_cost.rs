//! What sequencing costs: `cargo run --release -p ledger --example append_cost [--json]`.
//!
//! Processor time of one thread, so that what else the machine does is not in it.
#![expect(clippy::print_stdout, reason = "prints its measurement")]
#![expect(
    clippy::disallowed_methods,
    reason = "measures time and reads how much the system counted"
)]

use ledger::note::SigningKey;
use ledger::{Batch, Draft, Prepared, Sequencer};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, GrantId, IntegrationId, OperationId,
    Outcome, Pseudonym, RequestId, Touch, UnixMicros, VendorId,
};
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const RUNS: u64 = 300_000;

fn main() {
    for touches in [0_u8, 1, 10, 50, 100] {
        let draft = draft(touches);
        let runs = if touches < 10 { RUNS } else { RUNS / 10 };
        let mut sequencer = Sequencer::begin("bench/node/1");
        let start = cpu();
        for n in 0..runs {
            let mut salt = [0; 16];
            salt.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
            black_box(sequencer.append(black_box(&draft), UnixMicros(n), salt));
        }
        report(&format!("append, {touches} touches"), start, runs);
    }

    let prepared = Prepared::new(&draft(1), [1; 16]);
    let mut sequencer = Sequencer::begin("bench/node/1");
    let start = cpu();
    for n in 0..RUNS {
        black_box(sequencer.place(prepared.clone(), UnixMicros(n)));
    }
    report("place what was prepared, 1 touch", start, RUNS);

    let mut sequencer = Sequencer::begin("bench/node/1");
    let mut records = Vec::new();
    let draft = draft(1);
    for n in 0..100_000 {
        records.push(sequencer.append(&draft, UnixMicros(n), [1; 16]).stored);
    }
    let mut replayed = Sequencer::begin("bench/node/1");
    let start = cpu();
    for record in &records {
        black_box(replayed.replay(record).is_ok());
    }
    report("replay, 1 touch", start, 100_000);
    let start = cpu();
    for record in &records {
        black_box(record.decode().is_ok());
    }
    report("decode, 1 touch", start, 100_000);
    let many = replayed.append(&self::draft(50), UnixMicros(RUNS), [1; 16]).stored;
    let start = cpu();
    for _ in 0..100_000 {
        black_box(black_box(&many).decode().is_ok());
    }
    report("decode, 50 touches", start, 100_000);

    if let Ok(key) = SigningKey::new("bench/node/1", &[1; 32]) {
        let start = cpu();
        for _ in 0..2_000 {
            black_box(Batch::sign(&key, 0, &[[1; 32]; 16], UnixMicros(0)));
        }
        report("sign a batch of 16", start, 2_000);
    }
    let sizes = records.first().map(|r| (r.entry.len(), r.body.len(), r.touches.len()));
    if !std::env::args().any(|arg| arg == "--json") {
        println!("bytes of a record with 1 touch: entry, body, touches = {sizes:?}");
    }
}

fn report(what: &str, start: Duration, runs: u64) {
    let micros = (cpu() - start).as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    let runs = runs as f64;
    let (each, rate) = (micros / runs, runs / micros * 1e6);
    if std::env::args().any(|arg| arg == "--json") {
        println!(r#"{{"what":"{what}","micros_each":{each:.3},"per_second":{rate:.0}}}"#);
    } else {
        println!("{what}: {each:.2} us each, {rate:.0} per second");
    }
}

/// Processor time of this thread so far, as Linux counts it in nanoseconds; elsewhere the time that went by.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| began().elapsed(), Duration::from_nanos)
}

fn began() -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

fn draft(touches: u8) -> Draft {
    let touch = |n| Touch {
        pseudonym: Pseudonym([n; 16]),
        classes: [ClassNumber::new(1), ClassNumber::new(5)].into_iter().collect(),
    };
    Draft::Access(AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: IntegrationId::from_bytes([3; 16]),
        credential: CredentialId::from_bytes([4; 16]),
        grant: Some(GrantId::from_bytes([5; 16])),
        operation: OperationId::new("getAccount"),
        network: ClientIp::from_peer([192, 0, 2, 7].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 512,
        touches: (0..touches).map(touch).collect(),
    })
}
