//! Durable records a second at 1, 64 and 512 appenders, and the wait at 10,000 records a second offered, against the disk alone, on the disk
//! of the current directory.
//!
//! `cargo run --release -p storage --example ledger_speed [seconds]`

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::Duration;
use storage::embedded::speed::Load;

fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let scratch = std::env::current_dir()?.join(format!("ledger-speed-{}", std::process::id()));
    for subjects in [1_000, 300_000, 2_000_000] {
        let known = storage::embedded::speed::known_subject(&scratch, subjects)?;
        std::fs::remove_dir_all(&scratch)?;
        let [row, ordinal] = known.map(|each| each.as_nanos());
        println!(
            "a known subject, one of {subjects}: to its pseudonym {row} ns, back {ordinal} ns"
        );
    }
    println!(
        "     load  records/s  p50 us  p99 us  per sync  bytes  user us/rec  kernel us/rec  disk alone/s  its p50 us"
    );
    for (name, load) in [
        ("1", Load::Closed(1)),
        ("64", Load::Closed(64)),
        ("512", Load::Closed(512)),
        ("10000/s", Load::Open(10_000)),
    ] {
        for run in 0..3 {
            let dir = &scratch;
            let speed = storage::embedded::speed::measure(dir, load, Duration::from_secs(seconds))?;
            std::fs::remove_dir_all(dir)?;
            println!(
                "{:>9}  {:>9.0}  {:>6}  {:>6}  {:>8.1}  {:>5.0}  {:>11.2}  {:>13.2}  {:>12.0}  {:>10}   run {run}",
                name,
                speed.records_per_s,
                speed.p50.as_micros(),
                speed.p99.as_micros(),
                speed.records_per_sync,
                speed.record_bytes,
                speed.user_per_record.as_secs_f64() * 1e6,
                speed.kernel_per_record.as_secs_f64() * 1e6,
                speed.disk_records_per_s,
                speed.disk_p50.as_micros(),
            );
        }
    }
    Ok(())
}
