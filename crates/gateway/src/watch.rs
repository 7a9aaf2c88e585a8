//! The guards' state and what the detectors set off: budgets are charged here, findings become containment here.

use crate::asker::Asker;
use crate::forward::Part;
use crate::node::{Node, View};
use crate::refuse::Reason;
use crate::tally::{Tallies, Tally, change};
use detection::{
    Allowances, Asked, Containment, Defaults, Detectors, Draw, Event, Evidence, ExposureBudgets,
    Habits, Hold, Inner, KeyedHash, NetworkGroup, Observation, Signal, Unusual, Use, Windows,
    observation,
};
use disclosure::{
    ChargeBudget, Disclosed, Findings, Guards, Honey, KnowSubjects, Match, OverBudget,
    WithheldBecause,
};
use model::{
    ClassSet, ClientIp, Directory, IntegrationId, Pseudonym, SubjectId, SubjectOrdinal,
    SubjectScope, UnixMicros,
};
use policy::Permit;
use serde_json::{Value, json};
use sever::{Bearing, Target};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::clock;
use storage::embedded::Keeper;
use storage::embedded::Vault;
use tokio::sync::broadcast;
use tracing::{info, warn};

/// Signals kept for operators to look at, and as many of strangers; the record keeps what was done about them.
const SIGNALS_MAX: usize = 1_000;

/// Signals logged in one second, and as many of strangers.
const TOLD_MAX: u32 = 20;

/// Signals that a subscriber may be behind before it misses the oldest.
const TOLD_BEHIND_MAX: usize = 1_024;

/// A signal and what was done about it, for those who page, score or show it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The finding.
    pub signal: Signal,
    /// Each containment that it called for, and what became of it.
    pub contained: Vec<(Containment, Contained)>,
    /// When all of them held: the wall clock's time.
    pub at: UnixMicros,
}

impl Told {
    /// The signal as a page, the console or a script shows it: `portcullis.signal/1`.
    pub fn to_json(&self) -> Value {
        let contained = self.contained.iter().map(|(containment, became)| {
            let (became, entry) = match became {
                Contained::Entry(number) => ("done", Some(*number)),
                Contained::Already => ("already", None),
                Contained::Shadow => ("shadow", None),
                Contained::People => ("people", None),
            };
            json!({ "what": containment.to_string(), "became": became, "entry": entry })
        });
        let mut shown = signal_to_json(&self.signal);
        if let Some(members) = shown.as_object_mut() {
            members.insert("contained".into(), contained.collect());
        }
        shown
    }
}

/// A finding and the numbers that made it, without what became of it.
pub fn signal_to_json(signal: &Signal) -> Value {
    let numbers = signal.evidence().into_iter().map(|(name, evidence)| {
        let value = match evidence {
            Evidence::Count(count) => count.into(),
            #[expect(clippy::cast_precision_loss, reason = "thousandths of small numbers")]
            Evidence::Permille(permille) => (permille as f64 / 1_000.0).into(),
            Evidence::Text(text) => text.into(),
        };
        (name.to_owned(), value)
    });
    json!({
        "schema": "portcullis.signal/1",
        "at": signal.at.to_string(),
        "rule": signal.rule(),
        "shadow": signal.shadow,
        "sentence": signal.cause.to_string(),
        "evidence": numbers.collect::<serde_json::Map<String, Value>>(),
    })
}

/// What became of a containment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contained {
    /// It holds by this entry of posture.
    Entry(u64),
    /// It was in force already.
    Already,
    /// Its rule is in shadow, and nothing was done.
    Shadow,
    /// It is for people: a page or a case.
    People,
}

/// How many signals a second has had.
#[derive(Debug, Default)]
struct Logged {
    second: u64,
    count: u32,
}

/// Budgets, detectors and recent signals of one node.
pub struct Watch {
    budgets: ExposureBudgets,
    allowances: Allowances,
    habits: Mutex<Habits>,
    detectors: Mutex<Detectors>,
    signals: Mutex<VecDeque<Signal>>,
    /// Apart, so that no number of them makes one of the others be forgotten.
    signals_of_strangers: Mutex<VecDeque<Signal>>,
    logged: Mutex<Logged>,
    logged_of_strangers: Mutex<Logged>,
    tallies: Arc<Mutex<Tallies>>,
    /// Under a key of this start: what is hashed with it is compared within the process only.
    hash: KeyedHash,
    told: broadcast::Sender<Arc<Told>>,
    /// Apart, so that no number of them makes a subscriber miss one of the others.
    told_of_strangers: broadcast::Sender<Arc<Told>>,
    posture: Arc<Keeper>,
}

impl Watch {
    /// A watch that has seen nothing yet; [`Watch::replay`] tells it what the log knows.
    pub fn new(posture: Arc<Keeper>) -> Self {
        Self {
            budgets: ExposureBudgets::default(),
            allowances: Allowances::default(),
            habits: Mutex::default(),
            detectors: Mutex::new(Detectors::new(&Defaults::default())),
            signals: Mutex::default(),
            signals_of_strangers: Mutex::default(),
            logged: Mutex::default(),
            logged_of_strangers: Mutex::default(),
            tallies: Arc::default(),
            hash: KeyedHash::new(clock::random()),
            told: broadcast::Sender::new(TOLD_BEHIND_MAX),
            told_of_strangers: broadcast::Sender::new(TOLD_BEHIND_MAX),
            posture,
        }
    }

    /// Takes in what a record of the log says was released, oldest first, before anything is served.
    pub fn replay(
        &self,
        seen: &Use,
        draw: Draw<'_>,
        subjects: &[SubjectOrdinal],
        windows: &Windows,
    ) {
        lock(&self.habits).replay(seen);
        self.allowances.replay(windows, &self.budgets, draw, subjects);
    }

    /// Takes in what a record of the log shows of a request, as far as detectors go, in the same order.
    pub fn replay_observation(&self, seen: &Observation<'_>, windows: &Windows) {
        lock(&self.detectors).replay(seen, windows);
    }

    /// A subject as detectors know it.
    pub fn asked(&self, ordinal: SubjectOrdinal, id: &SubjectId) -> Asked {
        let key = self.hash.of(id.as_str().as_bytes());
        Asked { ordinal, place: observation::place(id.as_str(), key), key }
    }

    /// What hashes are made with.
    pub(crate) fn hash(&self) -> KeyedHash {
        self.hash
    }

    /// Makes room for so many relationships, and forgets those there are.
    pub fn make_room(&self, pairs: usize) {
        lock(&self.detectors).make_room(pairs);
    }

    /// Takes in which integrations have to do with which subjects. Each integration named is judged by novelty from then on.
    pub fn import(&self, pairs: &[(IntegrationId, SubjectId)], now: UnixMicros) {
        let key = |id: &SubjectId| self.hash.of(id.as_str().as_bytes());
        let pairs: Vec<_> = pairs.iter().map(|(of, id)| (*of, key(id))).collect();
        // Requests meet the same lock, so it is held for a moment at a time.
        for some in pairs.chunks(1_000) {
            lock(&self.detectors).import(some, now);
        }
    }

    /// How many of a thousand strangers look like acquaintances by accident, and the integrations that novelty is not blind to.
    pub fn knowledge(&self) -> (u32, BTreeSet<IntegrationId>) {
        let detectors = lock(&self.detectors);
        let relationships = detectors.relationships();
        (relationships.blind_permille(), relationships.imported())
    }

    /// Compares a proved caller's request with its credential's and grant's habits.
    ///
    /// A network never seen before is served and signalled, unless the credential is pinned, which was checked already, or the network
    /// was announced. A token without proof is refused there.
    pub(crate) fn admit(&self, asker: &Asker, view: &View, now: UnixMicros) -> Result<(), Reason> {
        let &Bearing { integration, credential, grant, network, .. } = &asker.bearing;
        // Asked only where it matters: a proved caller in a network it was seen in pays nothing for it.
        let is_expected = || {
            let known = view.directory.credentials.get(&credential);
            known.is_some_and(|known| !known.networks.is_empty())
                || view.windows.announce_network(integration, network, now)
        };
        let seen = Use { credential, grant, network, at: now };
        let is_believed = !asker.is_bearer || is_expected();
        let unusual = lock(&self.habits).observe(&seen, is_believed);
        match unusual {
            None => Ok(()),
            Some(Unusual::NewNetwork) if is_expected() => Ok(()),
            Some(Unusual::NewNetwork) if asker.is_bearer => {
                let token = asker.token;
                let event =
                    Event::BearerElsewhere { integration, credential, grant, network, token };
                self.observe(&event, now);
                Err(Reason::BearerElsewhere)
            }
            Some(Unusual::NewNetwork) => {
                self.observe(&Event::NewNetwork { credential, network }, now);
                Ok(())
            }
            Some(Unusual::Asleep { idle_days }) => {
                self.observe(&Event::Dormant { credential, idle_days }, now);
                Err(Reason::Asleep { idle_days })
            }
        }
    }

    /// Lets the core disclose a reply or a batch, with this node's vault, budgets and honey subjects as its guards.
    pub(crate) fn disclose(
        &self,
        part: Part,
        matched: &Match<'_>,
        permit: &Permit,
        asker: &Asker,
        node: &Node,
        view: &View,
    ) -> Result<Disclosed, WithheldBecause> {
        let bearing = &asker.bearing;
        // A clock that stepped since the request was admitted must not move the budget's windows.
        let now = node.recorder.now().map_err(|_| WithheldBecause::Unavailable)?;
        let draw = Draw {
            integration: bearing.integration,
            grant: bearing.grant,
            operation: &bearing.operation,
            at: now,
        };
        let mut subjects = Subjects { vault: &node.vault, watch: self, now, asked: Vec::new() };
        let mut budget = Charge { watch: self, windows: &view.windows, draw, permit, hold: None };
        let honey = Honey { subjects: &view.honey, expected: view.expects_honey(bearing, now) };
        let mut guards = Guards { subjects: &mut subjects, budget: &mut budget, honey };
        let disclosed = match part {
            Part::Whole(reply) => disclosure::disclose(reply, matched, permit, &mut guards),
            Part::Batch(batch) => disclosure::disclose_batch(batch, matched, permit, &mut guards),
        };
        let hold = budget.hold;
        let outcome = match &disclosed {
            Ok(_) => Some(Inner::Released),
            Err(withheld) => match withheld.because {
                WithheldBecause::NotYours => Some(Inner::Denied),
                WithheldBecause::OverBudget => Some(Inner::Held),
                WithheldBecause::Honey
                | WithheldBecause::OutOfContract(_)
                | WithheldBecause::Unavailable => None,
            },
        };
        if let Some(outcome) = outcome {
            let classes = disclosed.as_ref().map_or(ClassSet::EMPTY, Disclosed::classes);
            let names_subjects = match permit.scope() {
                SubjectScope::TokenSubject | SubjectScope::Consenting(_) => true,
                SubjectScope::Attribute { .. } | SubjectScope::All => false,
            };
            let seen = asker.observed(outcome, &subjects.asked, now);
            self.fold(&Observation { classes, names_subjects, ..seen }, &view.windows);
        }
        if let Some(hold) = hold {
            self.observe(
                &Event::BudgetHold { credential: bearing.credential, grant: bearing.grant, hold },
                now,
            );
        }
        let origins_fault = blames_the_origin(permit, matched);
        match disclosed {
            Ok(disclosed) => {
                self.note(bearing, disclosed.findings(), origins_fault, now);
                Ok(disclosed)
            }
            Err(withheld) => {
                self.note(bearing, &withheld.findings, origins_fault, now);
                Err(withheld.because)
            }
        }
    }

    /// Tells the detectors what was withheld from an answer.
    ///
    /// `origins_fault`: whether a foreign record in it means that the origin mixed people up.
    fn note(&self, bearing: &Bearing, findings: &Findings, origins_fault: bool, now: UnixMicros) {
        let (credential, operation) = (bearing.credential, &bearing.operation);
        let strange = findings
            .undeclared
            .saturating_add(u32::try_from(findings.out_of_contract.len()).unwrap_or(u32::MAX));
        for (count, event) in [
            (
                if origins_fault { findings.foreign } else { 0 },
                Event::Foreign {
                    credential,
                    operation: operation.clone(),
                    records: findings.foreign,
                },
            ),
            (
                strange,
                Event::OutOfContract { credential, operation: operation.clone(), fields: strange },
            ),
            (
                findings.secrets,
                Event::Secret { credential, operation: operation.clone(), count: findings.secrets },
            ),
        ] {
            if count > 0 {
                self.observe(&event, now);
            }
        }
    }

    /// Signals from now on, each with what was done about it. A subscriber that is too far behind misses the oldest. Those that
    /// [`Signal::is_of_strangers`] are not among them.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Told>> {
        self.told.subscribe()
    }

    /// As [`Watch::subscribe`], of strangers only. They contain nothing.
    pub fn subscribe_to_strangers(&self) -> broadcast::Receiver<Arc<Told>> {
        self.told_of_strangers.subscribe()
    }

    /// Tells the detectors that nothing was found, or nothing the asker may read, before there was an answer to look at.
    pub(crate) fn miss(&self, asker: &Asker, outcome: Inner, windows: &Windows, now: UnixMicros) {
        self.fold(&asker.observed(outcome, &[], now), windows);
    }

    fn fold(&self, seen: &Observation<'_>, windows: &Windows) {
        let signals = lock(&self.detectors).fold(seen, windows);
        self.act(signals);
    }

    /// What each rule found and did since this start, and what operators made of it.
    pub fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        lock(&self.tallies).by_rule()
    }

    /// Looks what operators made of what was contained.
    pub(crate) fn settle(&self, directory: &Directory) {
        lock(&self.tallies).settle(&self.posture.switch().posture(), directory);
    }

    /// Two operators lifted what was in force on a target: what was held against it, and against all that is its, counts no more, and what
    /// slept is awake.
    pub fn restored(&self, target: &Target, directory: &Directory, now: UnixMicros) {
        let whose = |integration: &IntegrationId| match target {
            Target::Vendor(vendor) => {
                directory.integrations.get(integration).is_some_and(|known| known.vendor == *vendor)
            }
            Target::Integration(id) => id == integration,
            Target::Credential(_)
            | Target::Grant(_)
            | Target::Operation(_)
            | Target::Network(_) => false,
        };
        let integrations = directory.integrations.keys().filter(|id| whose(id));
        let mut lifted: Vec<_> = integrations.map(|id| Containment::Sever(*id)).collect();
        for (id, credential) in &directory.credentials {
            if whose(&credential.integration) || *target == Target::Credential(*id) {
                lock(&self.habits).wake(*id, now);
                lifted.push(Containment::SuspendCredential(*id));
            }
        }
        for (id, grant) in &directory.grants {
            if whose(&grant.integration) || *target == Target::Grant(*id) {
                lock(&self.habits).wake_grant(*id, now);
                lifted.push(Containment::Throttle(*id));
            }
        }
        match target {
            Target::Operation(operation) => {
                lifted.push(Containment::SuspendOperation(operation.clone()));
            }
            Target::Network(network) => {
                let group = NetworkGroup::of(ClientIp::from_peer(network.addr()));
                lifted.push(Containment::RefuseNetwork(group));
            }
            Target::Vendor(_)
            | Target::Integration(_)
            | Target::Credential(_)
            | Target::Grant(_) => {}
        }
        lock(&self.detectors).lifted(&lifted);
    }

    /// Puts exactly these rules in shadow: their signals are told, and what they call for is not carried out.
    pub fn shadow(&self, rules: BTreeSet<&'static str>) {
        lock(&self.detectors).shadow(rules);
    }

    /// Folds one event and contains what it completes.
    pub(crate) fn observe(&self, event: &Event, now: UnixMicros) {
        let signals = lock(&self.detectors).event(event, now);
        self.act(signals);
    }

    fn act(&self, signals: Vec<Signal>) {
        for signal in signals {
            let is_logged = self.log(&signal);
            lock(&self.tallies).signal(&signal);
            let (kept, told) = if signal.is_of_strangers() {
                (&self.signals_of_strangers, &self.told_of_strangers)
            } else {
                (&self.signals, &self.told)
            };
            let mut kept = lock(kept);
            if kept.len() == SIGNALS_MAX {
                kept.pop_front();
            }
            kept.push_back(signal.clone());
            drop(kept);
            let (posture, told) = (Arc::clone(&self.posture), told.clone());
            let tallies = Arc::clone(&self.tallies);
            let signal_is_only_told = signal.containment.iter().all(|what| change(what).is_none());
            let wants_person = signal.containment.iter().any(|what| change(what).is_none());
            if is_logged && wants_person && !signal.shadow {
                warn!(signal = %signal, "a person should look at this");
            }
            let carry_out = move || {
                let mut contained = Vec::with_capacity(signal.containment.len());
                for containment in &signal.containment {
                    contained.push((
                        containment.clone(),
                        contain(&posture, containment, &signal, &tallies),
                    ));
                }
                // Nobody may be listening.
                let _heard = told.send(Arc::new(Told { signal, contained, at: clock::unix_now() }));
            };
            if signal_is_only_told {
                carry_out();
                continue;
            }
            // The change waits for a disk; the request that set it off is decided already and need not.
            tokio::task::spawn_blocking(carry_out);
        }
    }

    /// Logs a signal, unless this second has had its share: whoever makes signals must not be able to drown the log. Whether it was logged.
    fn log(&self, signal: &Signal) -> bool {
        let logged =
            if signal.is_of_strangers() { &self.logged_of_strangers } else { &self.logged };
        let mut logged = lock(logged);
        let second = signal.at.secs();
        if logged.second != second {
            if logged.count > TOLD_MAX {
                warn!(
                    left_out = logged.count - TOLD_MAX,
                    "more signals than are logged in a second"
                );
            }
            *logged = Logged { second, count: 0 };
        }
        logged.count += 1;
        let is_logged = logged.count <= TOLD_MAX;
        if is_logged {
            info!(rule = signal.rule(), shadow = signal.shadow, signal = %signal, "signal");
        }
        is_logged
    }

    /// The most recent signals, oldest first.
    pub fn signals(&self) -> Vec<Signal> {
        let mut signals: Vec<_> = lock(&self.signals).iter().cloned().collect();
        signals.extend(lock(&self.signals_of_strangers).iter().cloned());
        signals.sort_by_key(|signal| signal.at);
        signals
    }
}

/// Carries one containment out, unless its rule is in shadow. Blocks for a disk write.
fn contain(
    posture: &Keeper,
    containment: &Containment,
    signal: &Signal,
    tallies: &Mutex<Tallies>,
) -> Contained {
    let Some(change) = change(containment) else { return Contained::People };
    if signal.shadow {
        if posture.switch().posture().holds(&change) {
            return Contained::Already;
        }
        lock(tallies).follow(signal, change);
        return Contained::Shadow;
    }
    match posture.contain(change.clone(), &signal.cause.to_string(), signal.rule()) {
        None => Contained::Already,
        Some(changed) => {
            lock(tallies).follow(signal, change);
            if let Some(problem) = changed.not_durable {
                warn!(problem, "containment holds but is not durable");
            }
            Contained::Entry(changed.entry.number)
        }
    }
}

/// Whether a foreign record in the answer is the origin's doing.
///
/// A caller that asks for somebody it may not read gets a foreign record by asking, and a list under an attribute or a
/// set of consenting subjects is expected to hold others. An answer about another subject than the one that was asked
/// for, or than the token's own, is not.
fn blames_the_origin(permit: &Permit, matched: &Match<'_>) -> bool {
    match (matched.subject().flatten(), permit.scope()) {
        (Some(asked), SubjectScope::TokenSubject) => permit.token_subject() == Some(&asked),
        (Some(asked), SubjectScope::Consenting(subjects)) => subjects.contains(&asked),
        (Some(_), SubjectScope::All) | (None, SubjectScope::TokenSubject) => true,
        (Some(_) | None, SubjectScope::Attribute { .. })
        | (None, SubjectScope::Consenting(_) | SubjectScope::All) => false,
    }
}

/// The vault, as the field filter sees it.
struct Subjects<'a> {
    vault: &'a Vault,
    watch: &'a Watch,
    now: UnixMicros,
    /// Whoever was looked up, for the detectors.
    asked: Vec<Asked>,
}

impl KnowSubjects for Subjects<'_> {
    fn row(
        &mut self,
        id: &SubjectId,
    ) -> Result<(SubjectOrdinal, Pseudonym), disclosure::Unavailable> {
        let row = self.vault.row(id, self.now).map_err(|_| disclosure::Unavailable)?;
        self.asked.push(self.watch.asked(row.0, id));
        Ok(row)
    }
}

/// One grant's budget, and its integration's backfills, as the field filter sees them.
struct Charge<'a> {
    watch: &'a Watch,
    windows: &'a Windows,
    draw: Draw<'a>,
    permit: &'a Permit,
    hold: Option<Hold>,
}

impl ChargeBudget for Charge<'_> {
    fn charge(&mut self, subjects: &[SubjectOrdinal]) -> Result<(), OverBudget> {
        let (Watch { budgets, allowances, .. }, limits) = (self.watch, self.permit.budget());
        // What is restricted has no room for a backfill either.
        let charged = if limits == self.permit.grant().budget {
            allowances.charge(self.windows, budgets, self.draw, &limits, subjects)
        } else {
            budgets.charge(self.draw.grant, &limits, subjects, self.draw.at)
        };
        charged.map_err(|hold| {
            self.hold = Some(hold);
            OverBudget
        })
    }
}

/// The maps are consistent after a panic elsewhere: each holder does one change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
