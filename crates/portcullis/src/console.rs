//! What the console shows: one reading of the node, `portcullis.console/1`. Numbers and names, no subject.

use crate::metrics::Measured;
use anyhow::Result;
use control::console::passkeys::Passkeys;
use control::console::sessions::Sessions;
use control::console::{AcknowledgeFn, Console, RecordFn, SeverFn, StateFn};
use control::desk::Desk;
use control::operators::contained;
use control::pages::Pager;
use ledger::Draft;
use model::UnixMicros;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::clock;
use storage::registry::Registry;
use storage::registry::command::Listing;
use storage::registry::target::NotATarget;

/// Signals shown, newest first.
const SIGNALS: u32 = 50;

/// Everything the page is made from.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) pager: Arc<Pager>,
    pub(crate) measured: Measured,
    pub(crate) desk: Arc<Desk>,
    pub(crate) deployment: String,
    pub(crate) started: UnixMicros,
}

impl Shown {
    /// The page's server: what it shows, and what its button does.
    ///
    /// # Errors
    /// None in practice: see [`Passkeys::new`].
    pub(crate) fn console(
        self,
        registry: Registry,
        sessions: Arc<Sessions>,
        port: u16,
    ) -> Result<Arc<Console>> {
        let passkeys = Passkeys::new(port, &self.deployment)?;
        let recorder = self.measured.node.recorder.clone();
        let record: RecordFn = Arc::new(move |operator, action, detail| {
            let recorder = recorder.clone();
            let detail = detail.to_string().into_bytes();
            let draft = Draft::OperatorAction { operator, action: action.to_owned(), detail };
            Box::pin(async move {
                let recorded = recorder.append(draft).await;
                recorded.map(|_| ()).map_err(|error| format!("it could not be recorded: {error}"))
            })
        });
        let desk = Arc::clone(&self.desk);
        let sever: SeverFn = Arc::new(move |operator, target, reason| {
            let desk = Arc::clone(&desk);
            Box::pin(async move {
                let target = target.parse().map_err(|error: NotATarget| error.to_string())?;
                let severed = desk.sever_from_console(&operator, target, reason).await;
                severed.map_err(|reason| reason.to_string())
            })
        });
        let desk = Arc::clone(&self.desk);
        let acknowledge: AcknowledgeFn = Arc::new(move |operator, through| {
            let desk = Arc::clone(&desk);
            Box::pin(async move {
                let acknowledged = desk.acknowledge_from_console(&operator, through).await;
                acknowledged.map_err(|reason| reason.to_string())
            })
        });
        let state: StateFn = Arc::new(move || {
            let shown = self.clone();
            Box::pin(async move { shown.state().await })
        });
        let parts =
            Console { state, sever, record, acknowledge, registry, passkeys, sessions, port };
        Ok(Arc::new(parts))
    }

    /// The node as it stands. What cannot be read is said under `attention`, and the rest is shown all the
    /// same; what can be seen from the other members, the page says itself.
    pub(crate) async fn state(&self) -> Value {
        let mut attention = Vec::new();
        let why = self.measured.why_no_data();
        let mut rows = async |what| match self.desk.list(what).await {
            Ok(rows) => rows,
            Err(reason) => {
                attention.push(format!("The registry cannot be read: {reason}."));
                Vec::new()
            }
        };
        let (integrations, incidents) =
            (rows(Listing::Integrations).await, rows(Listing::Incidents).await);
        attention.extend(integrations.iter().filter_map(|row| {
            let (slug, bearer) = (row.get("slug")?.as_str()?, row.get("bearer")?.as_str()?);
            Some(format!("The tokens of {slug} are taken without proof {bearer}."))
        }));
        attention.extend(self.pager.attention().await);
        let frozen = self.desk.frozen().await;
        let node = &self.measured.node;
        let posture = node.posture.switch().posture();
        json!({
            "schema": "portcullis.console/1",
            "now": clock::unix_now().to_string(),
            "node": {
                "deployment": self.deployment,
                "version": env!("CARGO_PKG_VERSION"),
                "started": self.started.to_string(),
                "data": why.map_or("flowing".to_owned(), |why| format!("refused: {why}")),
            },
            "frozen": frozen,
            "integrations": self.integrations(integrations),
            "posture": self.posture(&posture).await,
            "signals": self.pager.rows(SIGNALS).await.unwrap_or_default(),
            "unacknowledged": self.pager.unacknowledged().await.unwrap_or_default(),
            "incidents": incidents,
            "ledger": {
                "records": self.measured.log.end().records,
                "bytes": self.measured.ledger_bytes(),
                "checkpoint_age_ms": self.measured.checkpoint_age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                "checkpoint_size": node.recorder.checkpoint().and_then(|note| note.lines().nth(1)?.parse::<u64>().ok()),
                "stopped": node.recorder.stopped().map(|why| why.to_string()),
            },
            "attention": attention,
        })
    }

    /// What is cut off, with slugs and names in place of ids.
    async fn posture(&self, posture: &sever::Posture) -> Value {
        let mut shown = contained(posture);
        let mut names = self.desk.names().await;
        let directory = self.measured.node.view().directory.clone();
        for (id, vendor) in &directory.vendors {
            names.push((format!("vendor:{id}"), format!("vendor:{}", vendor.slug)));
        }
        for (id, integration) in &directory.integrations {
            names.push((format!("integration:{id}"), format!("integration:{}", integration.slug)));
        }
        for kind in ["severed", "restricted"] {
            let rows = shown.get_mut(kind).and_then(Value::as_array_mut);
            for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
                for member in ["target", "by"] {
                    let Some(text) = row.get(member).and_then(Value::as_str) else { continue };
                    let named = names
                        .iter()
                        .fold(text.to_owned(), |text, (id, name)| text.replace(id, name));
                    row.insert(member.to_owned(), named.into());
                }
            }
        }
        shown
    }

    /// The registry's rows, with what each did and what is in force on it.
    fn integrations(&self, rows: Vec<Value>) -> Vec<Value> {
        let posture = self.measured.node.posture.switch().posture();
        let readings = self.measured.node.meter.integrations();
        let directory = self.measured.node.view().directory.clone();
        rows.into_iter()
            .map(|mut row| {
                let id = row.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
                let (Some(id), Some(members)) = (id, row.as_object_mut()) else { return row };
                let vendor = directory.integrations.get(&id).map(|known| known.vendor);
                let concerns = |target: &sever::Target| match target {
                    sever::Target::Integration(target) => *target == id,
                    sever::Target::Vendor(target) => Some(*target) == vendor,
                    sever::Target::Grant(grant) => {
                        directory.grants.get(grant).is_some_and(|grant| grant.integration == id)
                    }
                    sever::Target::Credential(credential) => directory
                        .credentials
                        .get(credential)
                        .is_some_and(|credential| credential.integration == id),
                    sever::Target::Operation(_) | sever::Target::Network(_) => false,
                };
                let whole = |target: &sever::Target| {
                    concerns(target)
                        && matches!(
                            target,
                            sever::Target::Integration(_) | sever::Target::Vendor(_)
                        )
                };
                let reading = readings.get(&id);
                members.remove("vetting");
                members.insert(
                    "severed".into(),
                    posture.severed().any(|(target, _)| whole(target)).into(),
                );
                members.insert(
                    "restricted".into(),
                    (posture.restricted().any(|(target, _)| concerns(target))
                        || posture.severed().any(|(target, _)| concerns(target) && !whole(target)))
                    .into(),
                );
                members.insert(
                    "rate".into(),
                    reading.map_or_else(Vec::new, |r| r.rate.clone()).into(),
                );
                members.insert("released".into(), reading.map_or(0, |r| r.released).into());
                let refused: u64 = reading.map_or(0, |r| r.refused.values().sum());
                members.insert("refused".into(), refused.into());
                row
            })
            .collect()
    }
}
