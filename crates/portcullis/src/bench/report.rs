//! What was measured, as a table for people and as JSON for scripts.

use super::cpu;
use super::load::Seen;
use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// The peer, and what every ratio is against.
pub(crate) const NGINX: &str = "nginx, bare proxy";
/// Our bare hop.
pub(crate) const HOP: &str = "hop, bare proxy";
/// Our whole path with DPoP proofs of P-256 keys.
pub(crate) const WHOLE: &str = "gateway, DPoP ES256";
/// The same with DPoP proofs of the other kind of key.
pub(crate) const WHOLE_ED25519: &str = "gateway, DPoP Ed25519";
/// The same with message signatures.
pub(crate) const WHOLE_SIGNED: &str = "gateway, RFC 9421 Ed25519";
/// The same with the connection's client certificate.
pub(crate) const WHOLE_MTLS: &str = "gateway, mTLS-bound";

/// The names of the ratios in JSON: in clear text, over TLS.
const RATIOS: [(&str, Option<&str>, Option<&str>); 5] = [
    (HOP, Some("gateway.bare"), None),
    (WHOLE_MTLS, None, Some("gateway.tls.mtls")),
    (WHOLE_ED25519, Some("gateway.whole.dpop_ed25519"), Some("gateway.tls.dpop_ed25519")),
    (WHOLE, Some("gateway.whole"), Some("gateway.tls.dpop_es256")),
    (WHOLE_SIGNED, Some("gateway.whole.rfc9421_ed25519"), Some("gateway.tls.rfc9421_ed25519")),
];

/// One run of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) subject: &'static str,
    /// Processor time of the subject during the run.
    pub(crate) busy: Duration,
    pub(crate) seen: Seen,
}

/// All runs.
pub(crate) struct Report {
    runs: Vec<Run>,
    nginx_version: String,
    over_tls: bool,
}

/// Processor microseconds per request over the runs of one subject.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    best: f64,
    median: f64,
}

impl Run {
    /// Processor microseconds per request.
    fn cost(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / as_f64(self.seen.requests)
    }

    /// Part of the run's time that the subject was on its core: near 1, the subject was the bottleneck.
    fn occupancy(&self) -> f64 {
        self.busy.as_secs_f64() / self.seen.wall.as_secs_f64()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, seen, .. } = self;
        write!(
            f,
            "{subject:<25} {:6.2} us/request  {:6.0} requests/s  core busy {:3.0} %  p50 {:.2} ms  p99 {:.2} ms",
            self.cost(),
            as_f64(seen.requests) / seen.wall.as_secs_f64(),
            self.occupancy() * 100.0,
            seen.p50.as_secs_f64() * 1e3,
            seen.p99.as_secs_f64() * 1e3,
        )
    }
}

impl Report {
    /// `nginx_version`: as [`super::nginx::version`] has it.
    pub(crate) const fn new(nginx_version: String, over_tls: bool) -> Self {
        Self { runs: Vec::new(), nginx_version, over_tls }
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Prints the table on standard output.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print_table(&self) -> Result<()> {
        let mut table = Table::new();
        table.set_header([
            "subject",
            "us/request best (median)",
            "requests per core-second",
            "ratio to nginx best (median)",
            "p50 ms",
            "p99 ms",
        ]);
        for subject in [NGINX, HOP, WHOLE_MTLS, WHOLE_ED25519, WHOLE, WHOLE_SIGNED] {
            let (Some(cost), Some(nginx)) = (self.cost(subject), self.cost(NGINX)) else {
                continue;
            };
            let mut row = vec![
                Cell::new(subject),
                Cell::new(format!("{:.1} ({:.1})", cost.best, cost.median)),
                Cell::new(format!("{:.0}", 1e6 / cost.best)),
                Cell::new(format!(
                    "{:.2} ({:.2})",
                    nginx.best / cost.best,
                    nginx.median / cost.median
                )),
            ];
            for wait in [self.wait(subject, |seen| seen.p50), self.wait(subject, |seen| seen.p99)] {
                row.push(Cell::new(format!("{wait:.2}")));
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{table}")?;
        writeln!(
            out,
            "Processor time of the measured process per request, {}. A ratio of 1 is as cheap as nginx, 2 is half its cost.",
            if self.over_tls { "over TLS 1.3" } else { "in clear text" }
        )?;
        writeln!(out, "{}", self.versions())?;
        Ok(())
    }

    /// Prints one document a line on standard output: `portcullis.bench/1`.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print_json(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (subject, clear, over_tls) in RATIOS {
            let name = if self.over_tls { over_tls } else { clear };
            if let Some(document) = name.and_then(|name| self.document(subject, name)) {
                writeln!(out, "{document}")?;
            }
        }
        Ok(())
    }

    /// `ours`, `peer`: of the best run. `ratio`: peer / ours, above 1 where ours is cheaper.
    fn document(&self, subject: &str, name: &str) -> Option<Value> {
        let (ours, peer) = (self.cost(subject)?, self.cost(NGINX)?);
        let of_either = |run: &&Run| run.subject == subject || run.subject == NGINX;
        let runs: Vec<Value> = self.runs.iter().filter(of_either).map(as_json).collect();
        Some(json!({
            "schema": "portcullis.bench/1",
            "name": name,
            "unit": "processor microseconds per request",
            "ours": ours.best,
            "peer": peer.best,
            "ratio": peer.best / ours.best,
            "median": { "ours": ours.median, "peer": peer.median, "ratio": peer.median / ours.median },
            "runs": runs,
            "versions": self.versions(),
        }))
    }

    fn cost(&self, subject: &str) -> Option<Cost> {
        let costs = self.runs.iter().filter(|run| run.subject == subject).map(Run::cost).collect();
        Cost::of(costs)
    }

    /// Milliseconds, the best of the subject's runs.
    fn wait(&self, subject: &str, which: fn(&Seen) -> Duration) -> f64 {
        let runs = self.runs.iter().filter(|run| run.subject == subject);
        runs.map(|run| which(&run.seen)).min().unwrap_or_default().as_secs_f64() * 1e3
    }

    fn versions(&self) -> Value {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        json!({
            "portcullis": env!("CARGO_PKG_VERSION"),
            "peer": self.nginx_version,
            "kernel": kernel.trim(),
            "processor": cpu::model(),
        })
    }
}

impl Cost {
    fn of(mut costs: Vec<f64>) -> Option<Self> {
        costs.sort_by(f64::total_cmp);
        let (low, high) =
            (costs.get(costs.len().checked_sub(1)? / 2)?, costs.get(costs.len() / 2)?);
        Some(Self { best: *costs.first()?, median: f64::midpoint(*low, *high) })
    }
}

fn as_json(run: &Run) -> Value {
    json!({
        "subject": run.subject,
        "microseconds_per_request": run.cost(),
        "requests": run.seen.requests,
        "seconds": run.seen.wall.as_secs_f64(),
        "core_busy": run.occupancy(),
        "p50_ms": run.seen.p50.as_secs_f64() * 1e3,
        "p99_ms": run.seen.p99.as_secs_f64() * 1e3,
    })
}

/// Counts of requests are far below 2^32, so nothing is rounded.
fn as_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn run(subject: &'static str, micros: u64) -> Run {
        let wait = Duration::from_millis(1);
        let seen = Seen {
            requests: 10,
            wall: Duration::from_secs(1),
            p50: wait,
            p99: wait,
            wrong: BTreeMap::new(),
        };
        Run { subject, busy: Duration::from_micros(micros), seen }
    }

    #[test]
    fn ratios_are_best_to_best_and_median_to_median() {
        let mut report = Report::new("nginx/1".to_owned(), false);
        for run in [
            run(NGINX, 200),
            run(HOP, 100),
            run(NGINX, 240),
            run(HOP, 80),
            run(NGINX, 300),
            run(HOP, 120),
        ] {
            report.add(run);
        }
        let document = report.document(HOP, "gateway.bare").unwrap();
        assert_eq!(document.get("ours"), Some(&json!(8.0)));
        assert_eq!(document.get("peer"), Some(&json!(20.0)));
        assert_eq!(document.get("ratio"), Some(&json!(2.5)));
        assert_eq!(document.pointer("/median/ratio"), Some(&json!(2.4)));
        assert_eq!(document.get("runs").and_then(Value::as_array).map(Vec::len), Some(6));
        assert_eq!(report.document(WHOLE, "gateway.whole"), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Cost::of(vec![4.0, 1.0, 3.0, 2.0]), Some(Cost { best: 1.0, median: 2.5 }));
        assert_eq!(Cost::of(vec![]), None);
    }
}
