//! Appends records to the data directory it is given until it is killed, and prints `index leaf-hash` of each one acknowledged.

use simulation::power_cuts::opening;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = std::env::args().nth(1).ok_or("usage: append_forever DIR")?;
    let opened = storage::embedded::recorder::open(Path::new(&root), opening())?;
    let appenders: Vec<_> = (0..8)
        .map(|n| {
            let recorder = opened.recorder.clone();
            std::thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
                for second in 0.. {
                    let draft = ledger::Draft::UnauthenticatedRefusals {
                        network: model::ClientIp::from_peer([192, 0, 2, n].into()),
                        reason: model::Refusal::Unauthenticated,
                        second,
                        count: 1,
                    };
                    let receipt = recorder.append_blocking(draft)?;
                    let mut line = format!("{} ", receipt.index());
                    for byte in receipt.leaf_hash() {
                        write!(line, "{byte:02x}")?;
                    }
                    line.push('\n');
                    // One write, so that lines of several threads do not mix.
                    std::io::stdout().lock().write_all(line.as_bytes())?;
                }
                Ok(())
            })
        })
        .collect();
    for appender in appenders {
        appender.join().map_err(|_| "an appender panicked")??;
    }
    Ok(())
}
