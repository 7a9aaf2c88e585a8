//! From a signal to a person: what detectors found is kept, opens a case if a rule says so, and goes out as pages.
//!
//! A page is one message about all signals since the one before. The first goes at once; what follows within a minute is gathered into
//! the next. It stays queued until its receiver says that it has it, and may come twice, with the same id. It names no subject.
//! Start reading at [`Pager::run`], then `delivery`.

mod delivery;
mod letter;
mod queue;
pub mod vendors;

use crate::cases::Office;
use crate::listen::told;
use crate::outbound::Address;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use credential::SigningKey;
use model::{UnixMicros, VendorId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::clock;
use storage::embedded::Keeper;
use storage::registry::Snapshot;
use storage::signals::{Delivery, Noted, RuleRow, SignalRow, Signals, SignalsError};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

/// How long signals are gathered after a page.
const GATHER: Duration = Duration::from_secs(60);

/// Between two looks at what is due.
const GLANCE: Duration = Duration::from_millis(250);

/// Signals that one page shows; it says how many more there are.
const SHOWN_MAX: u32 = 50;

/// A message that could not be delivered for so long is itself shown.
const LATE_S: u64 = 600;

/// Where anybody finds the key that messages are signed with, relative to the issuer.
///
/// Source: draft-meunier-http-message-signatures-directory: a JWK set.
pub const KEYS_PATH: &str = "/.well-known/http-message-signatures-directory";

/// Where pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address that takes a POST of `portcullis.page/1`.
    Webhook(Address),
    /// A mailbox.
    Mail(String),
}

/// One signal, as whoever heard of it tells it.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// When it happened.
    pub at: UnixMicros,
    /// The rule's name.
    pub rule: String,
    /// What was found; names no subject.
    pub sentence: String,
    /// The numbers that made it, an object.
    pub evidence: Value,
    /// What it calls for.
    pub calls_for: Vec<String>,
    /// What was contained.
    pub contained: Vec<String>,
    /// Whether the rule only says what it would have done.
    pub shadow: bool,
    /// Whether a person is to look.
    pub pages: bool,
    /// Whether nobody proved who they are: it then waits for the others, and takes no room of theirs.
    pub of_strangers: bool,
    /// Whether it calls for more than a person.
    pub contains: bool,
    /// What a case of it is about, if one is to be opened: the thing that was contained, or nothing that the caller proved.
    pub case_about: Option<String>,
}

/// What a [`Pager`] is made of.
pub struct Parts {
    /// Where signals and messages are kept.
    pub signals: Signals,
    /// Opens cases, and has the mailer.
    pub office: Arc<Office>,
    /// What is cut off.
    pub keeper: Arc<Keeper>,
    /// Signs messages.
    pub key: SigningKey,
    /// What messages name as their sender.
    pub deployment: String,
    /// Whether everything is on loopback, vendors too.
    pub on_loopback: bool,
    /// What was configured.
    pub settings: Settings,
}

/// What an operator configured. Replaced whole by a reload.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where pages go.
    pub destinations: Vec<Destination>,
    /// Whom a vendor writes to.
    pub appeal: Option<String>,
}

/// Tells people what detectors found.
pub struct Pager {
    signals: Signals,
    office: Arc<Office>,
    keeper: Arc<Keeper>,
    key: SigningKey,
    deployment: String,
    on_loopback: bool,
    settings: arc_swap::ArcSwap<Settings>,
    registered: arc_swap::ArcSwap<Registered>,
    entrance: queue::Entrance,
    exit: Mutex<queue::Exit>,
    /// Signals that did not find room, or that nobody could be told of.
    lost: AtomicU64,
}

/// What vendors' messages are made from.
#[derive(Default)]
struct Registered {
    directory: model::Directory,
    webhooks: BTreeMap<VendorId, String>,
}

impl Pager {
    /// Puts a pager together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (entrance, exit) = queue::queue();
        Arc::new(Self {
            signals: parts.signals,
            office: parts.office,
            keeper: parts.keeper,
            key: parts.key,
            deployment: parts.deployment,
            on_loopback: parts.on_loopback,
            settings: arc_swap::ArcSwap::from_pointee(parts.settings),
            registered: arc_swap::ArcSwap::default(),
            entrance,
            exit: Mutex::new(exit),
            lost: AtomicU64::new(0),
        })
    }

    /// Takes over what was configured anew.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Takes over a reading of the registry.
    pub fn replace_registered(&self, snapshot: &Snapshot) {
        let (directory, webhooks) = (snapshot.directory.clone(), snapshot.webhooks.clone());
        self.registered.store(Arc::new(Registered { directory, webhooks }));
    }

    /// Takes a signal. Never waits: the data path may be behind it.
    pub fn notice(&self, noticed: Noticed) {
        if !self.entrance.put(noticed) {
            self.lose(1);
        }
    }

    /// Counts signals that were made and did not arrive here.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Keeps signals, opens cases, makes pages and delivers them, until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut exit = self.exit.lock().await;
        let mut tick = tokio::time::interval(GLANCE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut couriers = delivery::Couriers::new(Arc::clone(&self));
        let (mut may_page, mut next_page) = (true, Instant::now());
        let mut seen = None;
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                noticed = exit.take() => {
                    may_page |= noticed.iter().any(|signal| signal.pages);
                    if let Err(reason) = self.keep(noticed).await {
                        error!(%reason, "signals could not be kept");
                    }
                }
                _ = tick.tick() => {}
            }
            let worked = async {
                if may_page && Instant::now() >= next_page {
                    may_page = false;
                    if self.page().await? {
                        next_page = Instant::now() + GATHER;
                    }
                }
                self.tell_vendors(&mut seen).await?;
                couriers.carry().await
            };
            if let Err(reason) = worked.await {
                may_page = true;
                next_page = Instant::now() + GLANCE;
                warn!(%reason, "nobody can be paged");
            }
        }
        // Messages that are on their way are sent again at the next start.
        if let Err(reason) = self.keep(exit.rest()).await {
            error!(%reason, "the last signals could not be kept");
        }
    }

    /// The last signals, newest first: `portcullis.list/1`, and what the console shows.
    ///
    /// # Errors
    /// [`SignalsError`].
    pub async fn rows(&self, count: u32) -> Result<Vec<Value>, SignalsError> {
        Ok(self.signals.last(count).await?.iter().map(shown).collect())
    }

    /// What became of each rule's signals, as rows of a list.
    ///
    /// # Errors
    /// [`SignalsError`].
    pub async fn rules(&self) -> Result<Vec<Value>, SignalsError> {
        let row = |row: RuleRow| {
            json!({
                "rule": row.rule,
                "signals": row.signals,
                "contained": row.contained,
                "would_have": row.would_have,
                "reversed": row.reversed,
            })
        };
        Ok(self.signals.rules().await?.into_iter().map(row).collect())
    }

    /// Counts that people lifted a containment of `rule`'s.
    pub async fn reversed(&self, rule: &str) {
        if let Err(reason) = self.signals.reversed(rule).await {
            warn!(%reason, rule, "a containment that was lifted is not counted");
        }
    }

    /// How many signals nobody has looked at.
    ///
    /// # Errors
    /// [`SignalsError`].
    pub async fn unacknowledged(&self) -> Result<u64, SignalsError> {
        self.signals.unacknowledged().await
    }

    /// Says that `by` looked at every signal up to `through`.
    ///
    /// # Errors
    /// [`SignalsError`].
    pub async fn acknowledge(&self, through: u64, by: &str) -> Result<Value, SignalsError> {
        let count = self.signals.acknowledge(through, by, clock::unix_now()).await?;
        Ok(json!({ "schema": "portcullis.acknowledged/1", "signals": count }))
    }

    /// What an operator has to know about pages themselves, in sentences.
    pub async fn attention(&self) -> Vec<String> {
        let now = clock::unix_now();
        let (waiting, dropped) = match (self.signals.waiting().await, self.signals.dropped().await)
        {
            (Ok(waiting), Ok(dropped)) => (waiting, dropped),
            (Err(reason), _) | (_, Err(reason)) => {
                return vec![format!("Signals cannot be read: {reason}.")];
            }
        };
        let late =
            waiting.iter().filter(|(_, waiting)| now.since(waiting.since).0 / 1_000_000 >= LATE_S);
        let mut said: Vec<_> = late
            .map(|(destination, waiting)| {
                let (count, since, problem) = (waiting.count, waiting.since, &waiting.problem);
                format!("{count} messages to {destination} wait since {since}: {problem}.")
            })
            .collect();
        if dropped > 0 {
            said.push(format!("{dropped} messages were dropped because too many waited."));
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            said.push(format!(
                "{lost} signals came faster than they could be kept; the log has them."
            ));
        }
        said
    }

    async fn keep(&self, noticed: Vec<Noticed>) -> Result<(), SignalsError> {
        let mut noted: Vec<Noted> = Vec::new();
        for signal in &noticed {
            let text = |items: &[String]| Value::from(items.to_vec()).to_string();
            let this = Noted {
                at: signal.at,
                count: 1,
                rule: signal.rule.clone(),
                sentence: signal.sentence.clone(),
                evidence: signal.evidence.to_string(),
                calls_for: text(&signal.calls_for),
                contained: text(&signal.contained),
                shadow: signal.shadow,
                pages: signal.pages,
                contains: signal.contains,
            };
            // Whoever makes the same signal again and again makes one row of a batch.
            let same = |other: &&mut Noted| {
                other.sentence == this.sentence
                    && other.shadow == this.shadow
                    && other.contained == this.contained
            };
            match noted.iter_mut().rev().take(16).find(same) {
                Some(same) => (same.count, same.at) = (same.count + 1, this.at),
                None => noted.push(this),
            }
        }
        let kept = self.signals.note(&noted).await;
        if kept.is_err() {
            self.lose(u64::try_from(noticed.len()).unwrap_or(u64::MAX));
        }
        for (signal, about) in cases(&noticed) {
            let opened =
                self.office.open_by_rule(&signal.rule, about, &signal.sentence, signal.at).await;
            match opened {
                Ok(Some(incident)) => info!(%incident, rule = signal.rule, "a case was opened"),
                Ok(None) => {}
                Err(reason) => error!(%reason, "a case could not be opened"),
            }
        }
        kept.map(drop)
    }

    /// Makes a page of all signals that none told of yet. False if there is none.
    async fn page(&self) -> Result<bool, SignalsError> {
        let (rows, total) = self.signals.to_page(SHOWN_MAX).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let (made, id) = (clock::unix_now(), fresh_id());
        let left_out = total.saturating_sub(u64::try_from(rows.len()).unwrap_or(0));
        let body = json!({
            "schema": "portcullis.page/1",
            "id": id,
            "deployment": self.deployment,
            "made": made.to_string(),
            "signals": rows.iter().map(shown).collect::<Vec<_>>(),
            "left_out": left_out,
        });
        let settings = self.settings.load();
        let message = |(at, destination): (usize, &Destination)| Delivery {
            // One id for each destination, because a receiver may be two of them.
            id: format!("{id}-{at}"),
            destination: destination.name(),
            body: body.to_string(),
            made,
            attempts: 0,
        };
        let messages: Vec<_> = settings.destinations.iter().enumerate().map(message).collect();
        self.signals.page(&messages).await?;
        Ok(true)
    }
}

/// The signals that open cases, and what each case is about: one signal of each rule about one thing, since one case is made of all of them.
fn cases(noticed: &[Noticed]) -> impl Iterator<Item = (&Noticed, &String)> {
    let mut seen = BTreeSet::new();
    noticed.iter().filter(|signal| !signal.shadow).filter_map(move |signal| {
        let about = signal.case_about.as_ref()?;
        seen.insert((&signal.rule, about)).then_some((signal, about))
    })
}

impl Destination {
    /// What it is called in the queue, and in sentences.
    pub fn name(&self) -> String {
        match self {
            Self::Webhook(address) => address.url(),
            Self::Mail(mailbox) => format!("mailto:{mailbox}"),
        }
    }
}

/// The key that messages are signed with, as a JWK set for anybody.
pub fn keys(key: &SigningKey) -> Router {
    let jwk: Value = serde_json::from_str(key.public().canonical_jwk()).unwrap_or_default();
    let mut jwk = jwk.as_object().cloned().unwrap_or_default();
    jwk.insert("kid".to_owned(), key.public().thumbprint_text().into());
    jwk.insert("use".to_owned(), "sig".into());
    let set = json!({ "keys": [jwk] }).to_string();
    let kind = [(CONTENT_TYPE, "application/http-message-signatures-directory+json")];
    Router::new().route(KEYS_PATH, get(move || async move { (kind, set) }))
}

fn fresh_id() -> String {
    clock::random::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A signal as pages, lists and the console show it.
fn shown(row: &SignalRow) -> Value {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let SignalRow { number, noted, acknowledged } = row;
    let acknowledged = acknowledged.as_ref();
    json!({
        "number": number,
        "at": noted.at.to_string(),
        "rule": noted.rule,
        "sentence": noted.sentence,
        "count": noted.count,
        "evidence": read(&noted.evidence),
        "containment": read(&noted.calls_for),
        "contained": read(&noted.contained),
        "shadow": noted.shadow,
        "pages": noted.pages,
        "acknowledged": acknowledged.map(|(at, _)| at.to_string()),
        "acknowledged_by": acknowledged.map(|(_, by)| by),
    })
}

#[cfg(test)]
fn noticed(rule: &str, about: &str) -> Noticed {
    Noticed {
        at: UnixMicros(1),
        rule: rule.into(),
        sentence: "something".into(),
        evidence: json!({}),
        calls_for: Vec::new(),
        contained: Vec::new(),
        shadow: false,
        pages: true,
        of_strangers: false,
        contains: false,
        case_about: Some(about.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_looked_up_once_a_batch() {
        let shadow = Noticed { shadow: true, ..noticed("honey", "b") };
        let no_case = Noticed { case_about: None, ..noticed("budget", "") };
        let mut batch = vec![shadow, no_case, noticed("honey", "a")];
        batch.extend(std::iter::repeat_n(noticed("proof", ""), 1_000));
        batch.push(noticed("honey", "b"));
        let cases: Vec<_> = cases(&batch).map(|(case, about)| (&*case.rule, &**about)).collect();
        assert_eq!(cases, [("honey", "a"), ("proof", ""), ("honey", "b")]);
    }
}
