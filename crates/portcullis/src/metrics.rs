//! What a monitoring system asks: `/metrics` in the Prometheus text format, `/healthz` as 200 or 503 with the reason.
//!
//! Labels are an integration's slug and a refusal's code. Nothing here names a subject, a credential or an address.

use crate::intel::Intel;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use control::witness::Witnesses;
use gateway::meter::DURATION_BOUNDS;
use gateway::node::Node;
use model::IntegrationId;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::view::LogView;

/// A request that could not be recorded this long ago still says that data does not flow.
const UNRECORDED_COUNTS: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) node: Arc<Node>,
    pub(crate) log: LogView,
    pub(crate) witnesses: Arc<Witnesses>,
    pub(crate) intel: Arc<Intel>,
}

/// The routes of the metrics listener.
pub(crate) fn routes(measured: Measured) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(measured)
}

async fn healthz(State(measured): State<Measured>) -> Response {
    match measured.why_no_data() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(measured): State<Measured>) -> Response {
    //= Prometheus text format 0.0.4
    ([("content-type", "text/plain; version=0.0.4")], measured.text()).into_response()
}

impl Measured {
    /// Why no data flows; none while it does.
    pub(crate) fn why_no_data(&self) -> Option<String> {
        let Node { recorder, posture, meter, .. } = &*self.node;
        if let Some(stopped) = recorder.stopped() {
            return Some(stopped.to_string());
        }
        if !posture.switch().lease.holds(clock::boot_now()) {
            return Some("posture could not be confirmed in time".to_owned());
        }
        let (ago, why) = meter.last_unrecorded()?;
        (ago < UNRECORDED_COUNTS).then_some(why)
    }

    /// How old the last checkpoint is; none before the first of this run.
    pub(crate) fn checkpoint_age(&self) -> Option<Duration> {
        self.node.recorder.checkpoint_age()
    }

    /// Bytes of the log's segments, without what is reserved ahead; a segment that retention thinned counts as it was.
    pub(crate) fn ledger_bytes(&self) -> u64 {
        let end = self.log.end();
        end.segment * storage::embedded::JournalSizes::STANDARD.segment_bytes + end.offset
    }

    fn text(&self) -> String {
        let mut page = Page(String::new());
        let directory = &self.node.view().directory;
        let slug = |id: &IntegrationId| {
            let known = directory.integrations.get(id);
            known.map_or_else(|| id.to_string(), |integration| integration.slug.clone())
        };
        let readings = self.node.meter.integrations();
        page.family("portcullis_releases_total", "counter", "Replies and batches released");
        for (id, reading) in &readings {
            page.value(
                "portcullis_releases_total",
                &[("integration", &slug(id))],
                reading.released,
            );
        }
        let bearer = "portcullis_bearer_requests_total";
        page.family(bearer, "counter", "Requests taken without proof, under a bearer exception");
        for (id, reading) in &readings {
            page.value(bearer, &[("integration", &slug(id))], reading.bearer);
        }
        page.family("portcullis_released_bytes_total", "counter", "Bytes of released bodies");
        for (id, reading) in &readings {
            let labels = [("integration", &*slug(id))];
            page.value("portcullis_released_bytes_total", &labels, reading.bytes);
        }
        page.family(
            "portcullis_touches_total",
            "counter",
            "Subjects in released bodies, repeats counted",
        );
        for (id, reading) in &readings {
            page.value("portcullis_touches_total", &[("integration", &slug(id))], reading.touches);
        }
        page.family(
            "portcullis_refusals_total",
            "counter",
            "Requests refused; without integration, if nobody was proved",
        );
        for (id, reading) in &readings {
            for (reason, count) in &reading.refused {
                let labels = [("integration", &*slug(id)), ("reason", reason.code())];
                page.value("portcullis_refusals_total", &labels, *count);
            }
        }
        for (reason, count) in self.node.meter.strangers() {
            let labels = [("integration", ""), ("reason", reason.code())];
            page.value("portcullis_refusals_total", &labels, count);
        }
        self.durations(&mut page);
        let posture = self.node.posture.switch().posture();
        page.one(
            "portcullis_posture_entries",
            "counter",
            "Entries of the posture register",
            posture.number(),
        );
        page.one(
            "portcullis_severed",
            "gauge",
            "Severances in force",
            posture.severed().count() as u64,
        );
        page.one(
            "portcullis_restricted",
            "gauge",
            "Restrictions in force",
            posture.restricted().count() as u64,
        );
        page.one(
            "portcullis_ledger_records",
            "counter",
            "Records in the log",
            self.log.end().records,
        );
        page.one(
            "portcullis_ledger_bytes",
            "counter",
            "Bytes of the log's segments",
            self.ledger_bytes(),
        );
        page.one(
            "portcullis_ledger_commits_total",
            "counter",
            "Syncs, each of a batch of records",
            self.node.recorder.commits(),
        );
        if let Some(age) = self.checkpoint_age() {
            page.family(
                "portcullis_checkpoint_age_seconds",
                "gauge",
                "Since the last signed checkpoint",
            );
            let _infallible =
                writeln!(page.0, "portcullis_checkpoint_age_seconds {:.3}", age.as_secs_f64());
        }
        self.cosigned(&mut page);
        self.lists(&mut page);
        let flows = u64::from(self.why_no_data().is_none());
        page.one("portcullis_data_flows", "gauge", "1 while data can be released", flows);
        page.family("portcullis_build_info", "gauge", "The program's version");
        page.value("portcullis_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.0
    }

    fn cosigned(&self, page: &mut Page) {
        let readings = self.witnesses.readings();
        if readings.is_empty() {
            return;
        }
        let (size, failed) = ("portcullis_witness_cosigned_records", "portcullis_witness_failures");
        page.family(size, "gauge", "Records under the last checkpoint that the witness cosigned");
        for (name, reading) in &readings {
            page.value(size, &[("witness", name)], reading.cosigned);
        }
        page.family(failed, "gauge", "Tries since then that brought no cosignature");
        for (name, reading) in &readings {
            page.value(failed, &[("witness", name)], reading.failed.into());
        }
        let withheld = u64::from(self.node.recorder.withholds_checkpoints());
        let said = "1 since no more checkpoints are signed, because a witness contradicts the log";
        page.one("portcullis_checkpoints_withheld", "gauge", said, withheld);
        let other = "portcullis_witness_other_history";
        page.family(other, "gauge", "1 since the witness said that it has seen another history");
        for (name, reading) in &readings {
            page.value(other, &[("witness", name)], reading.other_history.into());
        }
    }

    fn lists(&self, page: &mut Page) {
        let (current, now) = (self.intel.current(), clock::unix_now());
        let lists = &current.library.lists;
        if lists.is_empty() {
            return;
        }
        let networks = "portcullis_list_networks";
        page.family(networks, "gauge", "Networks of the list that are in effect");
        for list in lists {
            page.value(networks, &[("list", &list.name)], list.report.added as u64);
        }
        let age = "portcullis_list_age_seconds";
        page.family(age, "gauge", "Since the list's source last confirmed it");
        for list in lists {
            if let Some(fetched) = list.fetched {
                page.value(age, &[("list", &list.name)], now.since(fetched).0 / 1_000_000);
            }
        }
        let failed = "portcullis_list_failed";
        page.family(failed, "gauge", "1 while the list is not up to date or not in effect");
        for list in lists {
            let is = list.problem.is_some() || list.broken.is_some();
            page.value(failed, &[("list", &list.name)], is.into());
        }
    }

    fn durations(&self, page: &mut Page) {
        let durations = self.node.meter.durations();
        let name = "portcullis_request_duration_seconds";
        page.family(name, "histogram", "From a request's last byte to the decision on its answer");
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        for (bound, count) in DURATION_BOUNDS.iter().zip(durations.at_most) {
            let bound = seconds(*bound).to_string();
            page.value(&format!("{name}_bucket"), &[("le", &bound)], count);
        }
        page.value(&format!("{name}_bucket"), &[("le", "+Inf")], durations.count);
        let _infallible = writeln!(page.0, "{name}_sum {}", seconds(durations.micros));
        page.value(&format!("{name}_count"), &[], durations.count);
    }
}

/// Text in the making. Writing to a string does not fail.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }
}
