//! Cases carried out: each step worked out from the record, the frozen scope and the directory of addresses.
//!
//! What a case is, which clocks run and what a document says is the crate `incident`'s. Here its inputs are put together: the
//! scope's file, checked against the hash the case knows; the addresses; the record for a timeline; the outbox for letters.
//! Start reading at `Office::step`.

mod documents;
mod forget;
mod letters;

use crate::mail::Mailer;
use crate::questions::{Archive, Asked, CannotAnswer};
use arc_swap::ArcSwap;
use incident::case::{Case, Cause, Event, NotFromHere, What};
use incident::clocks::{Deadline, Deadlines};
use incident::figures::{Figures, hex};
use incident::frozen::FrozenScope;
use incident::notice::{self, Company};
use incident::people::People;
use model::{Digest, IncidentId, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use storage::clock;
use storage::embedded::Keeper;
use storage::outbox::{Outbox, OutboxError};
use storage::registry::command::{self, CaseStep};
use storage::registry::{CaseRow, Command, Registry, RegistryError, Snapshot};
use tokio::sync::watch;

/// Refused letters that a case shows; the outbox has them all.
const REFUSALS_SHOWN: u32 = 1_000;

/// Names tried for a case that a rule opens. Chosen: if a rule opened a thousand cases in a day, all of them are taken once in 10^14 times.
const NAMES_TRIED: u32 = 8;

/// What an operator configured for incidents. Replaced whole by a reload.
pub struct Settings {
    /// Who writes; without it no document is made.
    pub company: Option<Company>,
    /// How letters leave, and whom they are from.
    pub mail: Option<(Arc<Mailer>, String)>,
    /// Text of a letter.
    pub letter: String,
    /// The table of deadlines.
    pub deadlines: Deadlines,
}

/// Everything that a case's steps are worked out from.
pub struct Office {
    registry: Registry,
    archive: Arc<Archive>,
    keeper: Arc<Keeper>,
    outbox: Outbox,
    /// The file of addresses.
    people: PathBuf,
    /// As it was last read: a million lines are not read for each look at a case.
    read: Mutex<Option<(SystemTime, Arc<People>)>>,
    settings: ArcSwap<Settings>,
    /// Keys the ids of letters.
    letter_key: [u8; 32],
    /// The log's public key, as documents name it.
    log_key: String,
    stop: watch::Receiver<bool>,
    /// Figures as they were last counted.
    counted: Mutex<BTreeMap<Counted, Arc<Figures>>>,
    /// Cases whose letters are being carried.
    carrying: Mutex<BTreeMap<IncidentId, letters::Carrying>>,
}

/// What figures were counted from: a scope's hash and the digest of the addresses.
type Counted = (String, Digest);

/// Figures kept: one for each case that is looked at. They are small, whatever the scope is.
const COUNTED_MAX: usize = 1_000;

/// What an [`Office`] is made of.
pub struct Parts {
    /// Where cases stand.
    pub registry: Registry,
    /// The record, and frozen scopes.
    pub archive: Arc<Archive>,
    /// What is cut off.
    pub keeper: Arc<Keeper>,
    /// Letters.
    pub outbox: Outbox,
    /// The file of addresses.
    pub people: PathBuf,
    /// What was configured.
    pub settings: Settings,
    /// Secret; the same for as long as there are cases.
    pub letter_key: [u8; 32],
    /// The log's public key.
    pub log_key: String,
    /// Turns true when the node stops.
    pub stop: watch::Receiver<bool>,
}

/// Why a step of a case is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NoStep {
    /// The case does not allow it; whoever asked is at fault.
    #[error(transparent)]
    NotFromHere(#[from] NotFromHere),
    /// The registry refused it, or holds no such case.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The record has no answer.
    #[error(transparent)]
    NoAnswer(#[from] CannotAnswer),
    /// Something was not configured, or is not there.
    #[error("{0}")]
    Missing(String),
    /// A stored case or scope is damaged.
    #[error("the case cannot be used: {0}")]
    Corrupt(String),
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// A step as it is to be stored, and its answer.
pub(crate) struct Taken {
    /// How many events the case had.
    pub(crate) known: usize,
    pub(crate) events: Vec<String>,
    pub(crate) answer: Value,
    /// What becomes of letters once it is stored.
    pub(crate) letters: Option<(IncidentId, Letters)>,
}

/// What becomes of a case's letters after a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Letters {
    /// They tell of a scope that is none any more.
    Halt,
    /// They are queued and carried.
    Carry(letters::Start),
}

/// A case with what its documents are made from.
struct Open {
    id: IncidentId,
    case: Case,
    people: Arc<People>,
    /// Of the scope in force, if there is one and it can be read.
    figures: Option<Arc<Figures>>,
    /// Why it cannot be read.
    damaged: Option<String>,
}

impl Open {
    /// Figures of the scope in force.
    fn figures(&self) -> Result<&Figures, NoStep> {
        match (self.figures.as_deref(), &self.damaged) {
            (Some(figures), _) => Ok(figures),
            (None, Some(reason)) => Err(NoStep::Corrupt(format!(
                "{reason}; `portcullis incident scope` freezes it anew"
            ))),
            (None, None) => Err(NotFromHere::NoScope.into()),
        }
    }
}

impl Office {
    /// Puts an office together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            registry: parts.registry,
            archive: parts.archive,
            keeper: parts.keeper,
            outbox: parts.outbox,
            people: parts.people,
            read: Mutex::default(),
            counted: Mutex::default(),
            settings: ArcSwap::from_pointee(parts.settings),
            letter_key: parts.letter_key,
            log_key: parts.log_key,
            stop: parts.stop,
            carrying: Mutex::default(),
        })
    }

    /// Takes over what was configured anew.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.restart_letters();
    }

    /// Works out the opening of a case.
    ///
    /// A vendor's breach is asked of the record at once, everything the vendor was ever given since then, and its clock starts.
    pub(crate) async fn open(
        &self,
        command: &Command,
        by: Vec<String>,
        snapshot: &Snapshot,
    ) -> Result<Taken, NoStep> {
        let Command::IncidentOpen { incident, name, title, cause, began, aware } = command else {
            return Err(NoStep::Missing("that opens no case".into()));
        };
        let now = clock::unix_now();
        if title.is_empty() || title.len() > 200 || title.chars().any(char::is_control) {
            return Err(NoStep::Missing("a title is one line of 1 to 200 bytes".into()));
        }
        if *aware > now || began.is_some_and(|began| began > *aware) {
            return Err(NoStep::Missing(
                "it began before the company was aware, and that was not in the future".into(),
            ));
        }
        let (cause, breach) = match cause {
            command::Cause::Signal { sentence } => {
                (Cause::Signal { sentence: sentence.clone() }, None)
            }
            command::Cause::Exposure {} => (Cause::Exposure {}, None),
            command::Cause::VendorBreach { vendor, since } => (
                Cause::VendorBreach { vendor: vendor.clone(), since: *since },
                Some(json!({ "vendor": vendor, "from": since.to_string() })),
            ),
        };
        let event = |what| Event { at: now, by: by.clone(), what };
        let opened = What::Opened {
            name: name.clone(),
            title: title.clone(),
            cause,
            began: *began,
            aware: *aware,
        };
        let mut events = vec![event(opened)];
        if let Some(question) = breach {
            events.push(event(What::VendorAsked {
                words: "for what of ours was in its store".into(),
            }));
            events.extend(
                self.freeze(name, &question.to_string(), None, snapshot)
                    .await?
                    .into_iter()
                    .map(event),
            );
        }
        let case = Case::fold(events.clone())?;
        let answer = json!({ "schema": "portcullis.incident/1", "id": incident.to_string(), "name": name, "state": case.state().to_string(), "scope": scope_json(&case) });
        Ok(Taken { known: 0, events: stored(&events), answer, letters: None })
    }

    /// Opens a case on a rule's word, with the signal as its first event, unless one that the rule opened about the same thing is open. Gives its
    /// id if it was opened.
    ///
    /// `about`: what was contained, empty if nothing was. Whoever makes signals without proving who they are makes one case of a rule.
    ///
    /// # Errors
    /// [`NoStep`]; there is no case then.
    pub(crate) async fn open_by_rule(
        &self,
        rule: &str,
        about: &str,
        sentence: &str,
        at: UnixMicros,
    ) -> Result<Option<IncidentId>, NoStep> {
        if let Some(last) = self.registry.case_of_rule(rule, about).await?
            && folded(&last)?.closed.is_none()
        {
            return Ok(None);
        }
        let now = clock::unix_now();
        let in_slug = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let word: String = rule.chars().map(in_slug).take(32).collect();
        let day = at.to_string();
        let day = day.get(..10).unwrap_or_default();
        let mut title: String = sentence.chars().filter(|c| !c.is_control()).collect();
        while title.len() > 200 {
            title.pop();
        }
        let cause = Cause::Signal { sentence: sentence.to_owned() };
        let (began, aware) = (None, at.min(now));
        let id = IncidentId::new(now, clock::random());
        let named = |[a, b]: [u8; 2]| {
            let name = format!("{word}-{day}-{a:02x}{b:02x}");
            let (title, cause) = (title.clone(), cause.clone());
            let what = What::Opened { name: name.clone(), title, cause, began, aware };
            let events = stored(&[Event { at: now, by: Vec::new(), what }]);
            CaseRow { id, name, events }
        };
        open_with_a_free_name(&self.registry, (rule, about), now, named, clock::random).await?;
        Ok(Some(id))
    }

    /// How mail leaves, and whom it is from, if that is configured.
    pub(crate) fn mail(&self) -> Option<(Arc<Mailer>, String)> {
        self.settings.load().mail.clone()
    }

    /// Works out one step of a case.
    ///
    /// # Errors
    /// [`NoStep`]; nothing is stored then.
    pub(crate) async fn step(
        self: &Arc<Self>,
        id: IncidentId,
        step: &CaseStep,
        by: Vec<String>,
        snapshot: &Snapshot,
    ) -> Result<Taken, NoStep> {
        let mut open = self.look(id).await?;
        let known = open.case.events.len();
        let now = clock::unix_now();
        let only_shows = matches!(step, CaseStep::Show {} | CaseStep::Reopen { .. });
        if open.case.closed.is_some() && !only_shows {
            return Err(NotFromHere::Closed.into());
        }
        let mut events = Vec::new();
        if !only_shows && let Some(what) = self.contained(&open, snapshot) {
            let event = Event { at: now, by: Vec::new(), what };
            open.case = open.case.after(event.clone())?;
            events.push(event);
        }
        let mut letters = None;
        let (whats, mut answer) = match step {
            CaseStep::Show {} => (Vec::new(), self.shown(&open, now).await?),
            CaseStep::Scope { question } => {
                let known = open.case.contained.as_ref();
                let whats = self.freeze(&open.case.name, question, known, snapshot).await?;
                letters = Some((id, Letters::Halt));
                (whats, json!({}))
            }
            CaseStep::Decide { regime, notify, reason } => {
                self.known_regime(&open, regime, now)?;
                let (regime, notify, reason) = (regime.clone(), *notify, reason.clone());
                (vec![What::Decided { regime, notify, reason }], json!({}))
            }
            CaseStep::Draft { version, show } => {
                (Vec::new(), self.drafts(&open, *version, *show, snapshot)?)
            }
            CaseStep::Notify { version, in_doubt } => {
                let (what, queued) = self.letters_of(&open, *version, snapshot)?;
                letters = Some((id, Letters::Carry(letters::Start::Asked { in_doubt: *in_doubt })));
                (vec![what], json!({ "letters": queued }))
            }
            CaseStep::File { regime, submitted: Some(at), reference, .. } => {
                let handed_in = submitted(&open.case, regime, *at, reference.clone(), now)?;
                (vec![handed_in], json!({}))
            }
            CaseStep::File { regime, version, submitted: None, .. } => {
                let filing = self.filing(&open, regime, *version, snapshot, now)?;
                let html = filing.to_html().map_err(|error| NoStep::Corrupt(error.to_string()))?;
                let (regime, version, document) = (regime.clone(), *version, filing.hash());
                let (submitted, reference) = (None, None);
                let filed = What::Filed { regime, version, document, submitted, reference };
                (vec![filed], json!({ "json": filing.to_json(), "html": html }))
            }
            CaseStep::Postmortem { version } => {
                let draft = self.postmortem(&open, *version, snapshot, now).await?;
                let document = hex(&sha256(draft.as_bytes()));
                let version = *version;
                (vec![What::PostmortemDrafted { version, document }], json!({ "markdown": draft }))
            }
            CaseStep::Vendor { acknowledged, words } => {
                let words = words.clone();
                let what = if *acknowledged {
                    What::VendorAcknowledged { words }
                } else {
                    What::VendorAsked { words }
                };
                (vec![what], json!({}))
            }
            CaseStep::Close { reason } => {
                self.may_close(&open, now)?;
                (vec![What::Closed { reason: reason.clone() }], json!({}))
            }
            CaseStep::Reopen { reason } => {
                (vec![What::Reopened { reason: reason.clone() }], json!({}))
            }
        };
        let mut case = open.case;
        for what in whats {
            let event = Event { at: now, by: by.clone(), what };
            case = case.after(event.clone())?;
            events.push(event);
        }
        if let Some(members) = answer.as_object_mut() {
            members.insert("incident".into(), id.to_string().into());
            members.entry("name").or_insert_with(|| case.name.clone().into());
            members.entry("state").or_insert_with(|| case.state().to_string().into());
            members.entry("scope").or_insert_with(|| scope_json(&case));
        }
        Ok(Taken { known, events: stored(&events), answer, letters })
    }

    /// Every case as a row: `portcullis.list/1`, and what the console shows.
    pub(crate) async fn rows(&self) -> Result<Vec<Value>, NoStep> {
        let now = clock::unix_now();
        let mut rows = Vec::new();
        for row in self.registry.cases().await? {
            let open = self.look_at(&row)?;
            let letters = open.case.letters.started.is_some();
            let letters = if letters { Some(self.letters(row.id).await?) } else { None };
            let clocks = self.deadlines(&open, now);
            let running = clocks.iter().filter(|clock| clock.holds_open());
            rows.push(json!({
                "id": row.id.to_string(),
                "name": row.name,
                "title": open.case.title,
                "state": open.case.state().to_string(),
                "opened": open.case.opened.to_string(),
                "subjects": open.case.scope().map(|scope| scope.subjects),
                "clocks": running.map(Deadline::to_json).collect::<Vec<_>>(),
                "letters": letters,
                "damaged": open.damaged,
            }));
        }
        Ok(rows)
    }

    /// Adds what happened by itself. Somebody else's step in between makes it look again.
    async fn note(&self, id: IncidentId, what: What) -> Result<(), NoStep> {
        for _ in 0..10 {
            let known = self.registry.case(id).await?.events.len();
            let event = Event { at: clock::unix_now(), by: Vec::new(), what: what.clone() };
            match self.registry.append_to_case(id, known, &stored(&[event])).await {
                Err(RegistryError::Invalid(_)) => {}
                appended => return Ok(appended?),
            }
        }
        Err(NoStep::Corrupt("it changes faster than it can be read".into()))
    }

    async fn look(&self, id: IncidentId) -> Result<Open, NoStep> {
        self.look_at(&self.registry.case(id).await?)
    }

    fn look_at(&self, row: &CaseRow) -> Result<Open, NoStep> {
        let case = folded(row)?;
        let people = self.read_people()?;
        // A scope's file that cannot be read takes nothing else away: the case is listed, and its scope can be frozen anew.
        let (figures, damaged) = match self.figures(&case, &people) {
            Ok(figures) => (figures, None),
            Err(reason) => (None, Some(reason.to_string())),
        };
        Ok(Open { id: row.id, case, people, figures, damaged })
    }

    /// The scope in force, from its file, if that is still the one that was frozen.
    fn scope(&self, case: &Case) -> Result<FrozenScope, NoStep> {
        let corrupt = |error: &dyn std::fmt::Display| NoStep::Corrupt(error.to_string());
        let current = case.scope().ok_or(NotFromHere::NoScope)?;
        let bytes = self.archive.frozen(&case.name, current.version)?;
        let hash = digest_of(&current.hash).ok_or_else(|| corrupt(&"a scope's hash"))?;
        FrozenScope::read(&bytes, &hash).map_err(|error| corrupt(&error))
    }

    /// The figures of the scope in force; none before there is one. Counted once for each scope and state of the addresses, because
    /// lists and the console ask for them again and again.
    fn figures(&self, case: &Case, people: &People) -> Result<Option<Arc<Figures>>, NoStep> {
        let Some(current) = case.scope() else { return Ok(None) };
        let key = (current.hash.clone(), *people.digest());
        if let Some(figures) = lock(&self.counted).get(&key) {
            return Ok(Some(Arc::clone(figures)));
        }
        let figures = Arc::new(Figures::count(&self.scope(case)?, people));
        let mut counted = lock(&self.counted);
        if counted.len() >= COUNTED_MAX {
            counted.pop_first();
        }
        counted.insert(key, Arc::clone(&figures));
        Ok(Some(figures))
    }

    /// The addresses as they stand; an import replaces the file whole.
    fn read_people(&self) -> Result<Arc<People>, NoStep> {
        let unreadable = |error: std::io::Error| {
            NoStep::Missing(format!("the directory cannot be read: {error}"))
        };
        let changed = match std::fs::metadata(&self.people).and_then(|file| file.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Arc::new(People::nobody()));
            }
            Err(error) => return Err(unreadable(error)),
        };
        let mut read = lock(&self.read);
        if let Some((_, people)) = read.as_ref().filter(|(when, _)| *when == changed) {
            return Ok(Arc::clone(people));
        }
        let text = std::fs::read_to_string(&self.people).map_err(unreadable)?;
        let (people, _) = People::from_csv(&text)
            .map_err(|error| NoStep::Missing(format!("the directory: {error}")))?;
        let people = Arc::new(people);
        *read = Some((changed, Arc::clone(&people)));
        Ok(people)
    }

    /// Asks the record and freezes the answer. If everybody who read is cut off already, that is when it was contained.
    async fn freeze(
        &self,
        name: &str,
        question: &str,
        known: Option<&(UnixMicros, String)>,
        snapshot: &Snapshot,
    ) -> Result<Vec<What>, NoStep> {
        let mut asked = Asked::read(question, snapshot, clock::unix_now())?;
        if asked.question.classes.is_some() {
            // A letter that leaves out what else was read would not be true.
            return Err(NoStep::Missing(
                "a case's scope is of all classes: leave the class out, or ask with `portcullis exposure`".into(),
            ));
        }
        asked.scope = Some(name.to_owned());
        let (archive, snapshot) = (Arc::clone(&self.archive), snapshot.clone());
        let frozen = {
            let snapshot = snapshot.clone();
            tokio::task::spawn_blocking(move || archive.exposure(&asked, &snapshot)).await
        };
        let frozen = frozen.unwrap_or(Err(CannotAnswer::Stopped))?;
        let scope =
            frozen.scope.ok_or_else(|| CannotAnswer::Scope("it was not asked for".into()))?;
        let totals = frozen.listed.totals();
        let mut whats = vec![What::ScopeFrozen {
            version: scope.version(),
            hash: scope.hash().iter().map(|byte| format!("{byte:02x}")).collect(),
            subjects: totals.subjects,
            records: totals.records,
        }];
        let readers: Vec<_> = totals.integrations.keys().copied().collect();
        if known.is_none() {
            whats.extend(contained(&self.keeper.switch().posture(), &readers, &snapshot));
        }
        Ok(whats)
    }

    /// That everybody who read is cut off, if that is so by now and the case does not say it yet.
    fn contained(&self, open: &Open, snapshot: &Snapshot) -> Option<What> {
        let figures = open.figures.as_deref().filter(|_| open.case.contained.is_none())?;
        let readers: Option<Vec<_>> =
            figures.integrations.keys().map(|id| id.parse().ok()).collect();
        contained(&self.keeper.switch().posture(), &readers?, snapshot)
    }

    fn deadlines(&self, open: &Open, now: UnixMicros) -> Vec<Deadline> {
        let settings = self.settings.load();
        let country = settings.company.as_ref().map(|company| company.country.as_str());
        settings.deadlines.of(&open.case, open.figures.as_deref(), country, now)
    }

    fn known_regime(&self, open: &Open, regime: &str, now: UnixMicros) -> Result<Deadline, NoStep> {
        let found = self.deadlines(open, now).into_iter().find(|row| row.regime == regime);
        found.ok_or_else(|| {
            NoStep::Missing(format!(
                "there is no regime `{regime}`; `portcullis incident show` lists them"
            ))
        })
    }

    fn may_close(&self, open: &Open, now: UnixMicros) -> Result<(), NoStep> {
        let open_ones: Vec<_> =
            self.deadlines(open, now).into_iter().filter(Deadline::holds_open).collect();
        match open_ones.first() {
            None => Ok(()),
            Some(first) => Err(NoStep::Missing(format!(
                "{} clocks still run, the first is `{}` ({}): file it, or decide against it",
                open_ones.len(),
                first.regime,
                first.law
            ))),
        }
    }

    async fn shown(&self, open: &Open, now: UnixMicros) -> Result<Value, NoStep> {
        let refusals = self.outbox.refusals(&open.id.to_string(), None, REFUSALS_SHOWN).await?;
        let unreached: Vec<_> = refusals
            .iter()
            .map(|row| json!({ "subject": row.subject.as_str(), "state": row.state.name(), "reply": row.reply }))
            .collect();
        let case = &open.case;
        let outdated = match case.scope() {
            Some(scope) => self.outbox.accepted_before(&open.id.to_string(), scope.version).await?,
            None => 0,
        };
        let events: Vec<_> = case
            .events
            .iter()
            .map(|event| json!({ "at": event.at.to_string(), "by": event.by, "says": event.what.sentence() }))
            .collect();
        Ok(json!({
            "schema": "portcullis.incident/1",
            "id": open.id.to_string(),
            "name": case.name,
            "title": case.title,
            "state": case.state().to_string(),
            "aware": case.aware.to_string(),
            "scope": scope_json(case),
            "figures": open.figures.as_deref().map(Figures::to_json),
            "damaged": open.damaged,
            "clocks": self.deadlines(open, now).iter().map(Deadline::to_json).collect::<Vec<_>>(),
            "table": self.settings.load().deadlines.version,
            "letters": self.letters(open.id).await?,
            "letters_of_older_scopes": outdated,
            "unreached": unreached,
            "events": events,
        }))
    }
}

impl Settings {
    /// Without anything that was configured: the built-in letter and deadlines, no company, no mail.
    ///
    /// # Errors
    /// None in practice: a test reads the built-in table.
    pub fn built_in() -> Result<Self, incident::clocks::BadDeadlines> {
        let deadlines = Deadlines::read(incident::clocks::BUILT_IN)?;
        Ok(Self { company: None, mail: None, letter: notice::TEMPLATE.to_owned(), deadlines })
    }
}

fn folded(row: &CaseRow) -> Result<Case, NoStep> {
    let events: Result<Vec<Event>, _> =
        row.events.iter().map(|event| serde_json::from_str(event)).collect();
    Ok(Case::fold(events.map_err(|error| NoStep::Corrupt(error.to_string()))?)?)
}

fn company(settings: &Settings) -> Result<&Company, NoStep> {
    let missing = || NoStep::Missing("`[company]` is not configured: who writes?".into());
    settings.company.as_ref().ok_or_else(missing)
}

/// When the last of `readers` was cut off, if each of them is.
fn contained(
    posture: &sever::Posture,
    readers: &[model::IntegrationId],
    snapshot: &Snapshot,
) -> Option<What> {
    let cut = |id: &model::IntegrationId| {
        let vendor = snapshot.directory.integrations.get(id)?.vendor;
        let covers = |target: &sever::Target| match target {
            sever::Target::Integration(target) => target == id,
            sever::Target::Vendor(target) => *target == vendor,
            sever::Target::Credential(_)
            | sever::Target::Grant(_)
            | sever::Target::Operation(_)
            | sever::Target::Network(_) => false,
        };
        posture.severed().find(|(target, _)| covers(target))
    };
    let cuts: Option<Vec<_>> = readers.iter().map(cut).collect();
    let (target, last) = cuts?.into_iter().max_by_key(|(_, containment)| containment.since)?;
    let named = target_called(target, snapshot);
    Some(What::Contained {
        since: last.since,
        how: format!("{named} was severed ({})", last.reason),
    })
}

fn target_called(target: &sever::Target, snapshot: &Snapshot) -> String {
    match target {
        sever::Target::Integration(id) => called(&id.to_string(), snapshot),
        sever::Target::Vendor(id) => snapshot
            .directory
            .vendors
            .get(id)
            .map_or_else(|| target.to_string(), |vendor| format!("vendor {}", vendor.name)),
        sever::Target::Credential(_)
        | sever::Target::Grant(_)
        | sever::Target::Operation(_)
        | sever::Target::Network(_) => target.to_string(),
    }
}

/// That the form compiled last was handed in.
fn submitted(
    case: &Case,
    regime: &str,
    at: UnixMicros,
    reference: Option<String>,
    now: UnixMicros,
) -> Result<What, NoStep> {
    let compiled = case.filings.get(regime).ok_or_else(|| {
        NoStep::Missing(format!(
            "no form of `{regime}` was compiled; `incident file` without `--submitted` does it"
        ))
    })?;
    if at < case.aware || at > now {
        return Err(NoStep::Missing(
            "it is handed in after the company was aware, and not in the future".into(),
        ));
    }
    Ok(What::Filed {
        regime: regime.to_owned(),
        version: compiled.version,
        document: compiled.document.clone(),
        submitted: Some(at),
        reference,
    })
}

/// Slug and vendor of an integration; its id, if it is not registered.
fn called(id: &str, snapshot: &Snapshot) -> String {
    let directory = &snapshot.directory;
    let known = id.parse().ok().and_then(|id| directory.integrations.get(&id));
    known.map_or_else(
        || id.to_owned(),
        |integration| match directory.vendors.get(&integration.vendor) {
            Some(vendor) => format!("{} ({})", integration.slug, vendor.name),
            None => integration.slug.clone(),
        },
    )
}

/// Opens a rule's case under the first name that no other case has. The pair is the rule and what the case is about.
async fn open_with_a_free_name(
    registry: &Registry,
    (rule, about): (&str, &str),
    now: UnixMicros,
    named: impl Fn([u8; 2]) -> CaseRow,
    mut random: impl FnMut() -> [u8; 2],
) -> Result<(), RegistryError> {
    let mut tried = 1;
    loop {
        let opened = registry.open_case_by_rule(&named(random()), rule, about, now).await;
        match opened {
            Err(RegistryError::Taken(_)) if tried < NAMES_TRIED => tried += 1,
            opened => return opened,
        }
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

fn scope_json(case: &Case) -> Value {
    case.scope().map_or(Value::Null, |scope| {
        json!({
            "name": case.name,
            "version": scope.version,
            "sha256": scope.hash,
            "subjects": scope.subjects,
            "records": scope.records,
            "frozen": scope.at.to_string(),
        })
    })
}

/// Events as the registry keeps them. Serialising strings and numbers into memory does not fail.
fn stored(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| serde_json::to_string(event).unwrap_or_default()).collect()
}

fn digest_of(hex: &str) -> Option<Digest> {
    let bytes: Option<Vec<u8>> =
        (0..32).map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
