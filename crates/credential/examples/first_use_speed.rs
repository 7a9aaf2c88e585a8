//! What remembering a proof costs: memory, processor time, and what happens when one holder has no room left.
//!
//! `cargo run --release -p credential --example first_use_speed`

#![expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
#![expect(clippy::print_stdout, reason = "a program's answer")]

use credential::Verifier;
use credential::replay::{FirstUse, NotFirst, Used};
use model::{Micros, UnixMicros};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const T: UnixMicros = UnixMicros::from_secs(1_800_000_000);
/// How long a proof can be accepted at most.
const LIFE: Micros = Micros::from_secs(70);
const HOLDER: [u8; 16] = [7; 16];

fn main() {
    let first_use = FirstUse::new(Verifier::PROOFS_MAX);
    let bound = u64::try_from(Verifier::PROOFS_MAX).unwrap_or(u64::MAX);
    // Spread over the time that they live for, as a steady caller's are: the last is made when the first still lives.
    let at = |n: u64| T + Micros(n * LIFE.0 / bound);
    let before = resident();
    for (filled, part) in [bound / 16, bound / 4, bound].into_iter().zip([0, bound / 16, bound / 4])
    {
        let (begun, mut outcomes) = (processor(), BTreeMap::<&str, u64>::new());
        for n in part..filled {
            *outcomes
                .entry(name(first_use.observe(HOLDER, used(n), at(n) + LIFE, at(n))))
                .or_default() += 1;
        }
        let each = micros(begun, filled - part);
        let bytes = resident().saturating_sub(before) / filled;
        println!(
            "{filled} remembered of one holder: {bytes} bytes each, {each:.3} us a check; {outcomes:?}"
        );
    }
    let now = at(bound);
    let outcome = |from: u64, count: u64| {
        let (begun, mut outcomes) = (processor(), BTreeMap::<&str, u64>::new());
        for n in from..from + count {
            *outcomes
                .entry(name(first_use.observe(HOLDER, used(n), now + LIFE, now)))
                .or_default() += 1;
        }
        format!("{:.3} us a check; {outcomes:?}", micros(begun, count))
    };
    println!("at the bound, what it used: {}", outcome(bound / 2, 100_000));
    println!("at the bound, what it did not use: {}", outcome(bound, 100_000));
    println!(
        "at the bound, another holder: {}",
        name(first_use.observe([8; 16], used(0), now + LIFE, now))
    );
    let later = now + Micros::from_secs(30);
    let begun = Instant::now();
    let admitted = name(first_use.observe(HOLDER, used(2 * bound), later + LIFE, later));
    let took = begun.elapsed();
    println!(
        "30 s later: {admitted}, {} remembered; forgetting the others took {:.1?}",
        first_use.len(),
        took
    );
}

fn name(outcome: Result<(), NotFirst>) -> &'static str {
    match outcome {
        Ok(()) => "first use",
        Err(NotFirst::Replayed) => "replayed",
        Err(NotFirst::Forgotten) => "forgotten",
        Err(NotFirst::Full) => "full",
    }
}

/// As uneven as the hash that it stands for.
fn used(n: u64) -> Used {
    let mixed = (u128::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    mixed.to_be_bytes()
}

fn micros(since: Duration, count: u64) -> f64 {
    let spent = processor().saturating_sub(since);
    spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Processor time of this thread so far, as Linux counts it in nanoseconds.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Bytes of memory in use.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or_default() * 4_096
}
