//! The letters of a case: drafted, queued, carried, and carried on after a crash.

use super::{NoStep, Office, Open, Settings, company, folded, lock};
use crate::listen::told;
use crate::mail::{BadLetter, Composed, Content};
use incident::case::{Case, What};
use incident::figures::hex;
use incident::frozen::FrozenScope;
use incident::notice::Writer;
use model::{IncidentId, SubjectId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::outbox::{Letter, Progress};
use storage::registry::Snapshot;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Drafts shown: a look at them is no way to have the directory.
const DRAFTS_MAX: usize = 20;

/// A case whose letters are being carried.
pub(super) struct Carrying {
    halt: watch::Sender<bool>,
    /// What to begin with after that.
    next: Option<Start>,
}

/// Why letters are carried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// Operators asked for it: who was refused or given up is written to again. `in_doubt`: who may have been, too.
    Asked { in_doubt: bool },
    /// The node started anew, or what is configured changed.
    Resumed,
}

impl Start {
    /// Both: this one and what was asked for before.
    fn after(self, before: Option<Self>) -> Self {
        match (self, before) {
            (Self::Asked { in_doubt }, Some(Self::Asked { in_doubt: before })) => {
                Self::Asked { in_doubt: in_doubt || before }
            }
            (Self::Resumed, Some(before)) => before,
            (start, _) => start,
        }
    }
}

/// Between two looks at whether couriers have ended.
const GLANCE: Duration = Duration::from_millis(10);

impl Office {
    /// How far the letters of a case are: counts, nobody's name.
    ///
    /// # Errors
    /// [`NoStep::Outbox`].
    pub async fn letters(&self, id: IncidentId) -> Result<Value, NoStep> {
        let progress = self.outbox.progress(&id.to_string()).await?;
        let running = lock(&self.carrying).contains_key(&id);
        Ok(json!({
            "queued": progress.queued,
            "sending": progress.sending,
            "accepted": progress.accepted,
            "refused": progress.refused,
            "deferred": progress.deferred,
            "given_up": progress.given_up,
            "in_doubt": progress.in_doubt,
            "next_attempt": progress.next_attempt.map(|at| at.to_string()),
            "running": running,
        }))
    }

    /// Carries on where the process ended: what it was handing over then is in doubt, the rest goes on.
    ///
    /// # Errors
    /// [`NoStep`] if cases or letters cannot be read.
    pub async fn resume(self: &Arc<Self>) -> Result<(), NoStep> {
        let in_doubt = self.outbox.recover(clock::unix_now()).await?;
        if in_doubt > 0 {
            warn!(
                in_doubt,
                "letters were under way when the node ended; `incident show` counts them"
            );
        }
        // A case that started and did not settle may have died before its letters were queued, or after the last of them.
        for row in self.registry.cases().await? {
            match folded(&row) {
                Ok(Case { letters, .. })
                    if letters.started.is_some() && letters.settled.is_none() =>
                {
                    self.carry(row.id, Start::Resumed);
                }
                Ok(_) => {}
                Err(reason) => {
                    error!(incident = %row.id, %reason, "its letters are not carried on")
                }
            }
        }
        Ok(())
    }

    /// Stops carrying the letters of a case; what is being handed over is finished.
    pub(crate) fn halt(&self, id: IncidentId) {
        if let Some(carrying) = lock(&self.carrying).get(&id) {
            carrying.halt.send_replace(true);
        }
    }

    /// Has whoever carries letters go on by what is configured now.
    pub(super) fn restart_letters(&self) {
        for carrying in lock(&self.carrying).values_mut() {
            carrying.next.get_or_insert(Start::Resumed);
            carrying.halt.send_replace(true);
        }
    }

    /// Returns when no letters are being carried any more: after a stop, when what was being handed over was answered.
    pub async fn ended(&self) {
        let carries = || !lock(&self.carrying).is_empty();
        while carries() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Carries the letters of a case in a task of its own. If there is one already, it ends what it has begun and starts anew.
    pub(crate) fn carry(self: &Arc<Self>, id: IncidentId, start: Start) {
        let (halt, halted) = watch::channel(false);
        match lock(&self.carrying).entry(id) {
            Entry::Occupied(mut carrying) => {
                let carrying = carrying.get_mut();
                carrying.next = Some(start.after(carrying.next));
                carrying.halt.send_replace(true);
                return;
            }
            Entry::Vacant(free) => free.insert(Carrying { halt, next: None }),
        };
        let office = Arc::clone(self);
        tokio::spawn(async move {
            let (mut start, mut halted) = (start, halted);
            loop {
                match office.carry_once(id, start, halted).await {
                    Ok(progress) => {
                        info!(incident = %id, accepted = progress.accepted, refused = progress.refused, "letters rest");
                    }
                    Err(reason) => error!(incident = %id, %reason, "letters are not carried on"),
                }
                match office.next_start(id) {
                    Some(next) => (start, halted) = next,
                    None => return,
                }
            }
        });
    }

    /// What the task of a case is to do after it ended; nothing, and it is forgotten.
    fn next_start(&self, id: IncidentId) -> Option<(Start, watch::Receiver<bool>)> {
        let mut all = lock(&self.carrying);
        let next = all.get_mut(&id).and_then(|carrying| carrying.next.take());
        let Some(start) = next.filter(|_| !*self.stop.borrow()) else {
            all.remove(&id);
            return None;
        };
        let (halt, halted) = watch::channel(false);
        all.insert(id, Carrying { halt, next: None });
        Some((start, halted))
    }

    async fn carry_once(
        self: &Arc<Self>,
        id: IncidentId,
        start: Start,
        halted: watch::Receiver<bool>,
    ) -> Result<Progress, NoStep> {
        let mut stop = self.stop.clone();
        let mut carrying = pin!(self.carry_letters(id, start, halted));
        tokio::select! {
            carried = carrying.as_mut() => carried,
            () = told(&mut stop) => {
                // Contents that are being written are finished.
                self.halt(id);
                carrying.await
            }
        }
    }

    async fn carry_letters(
        self: &Arc<Self>,
        id: IncidentId,
        start: Start,
        halted: watch::Receiver<bool>,
    ) -> Result<Progress, NoStep> {
        let settings = self.settings.load_full();
        let Some((mailer, from)) = settings.mail.clone() else {
            return Err(NoStep::Missing("`[mail]` is not configured".into()));
        };
        let open = self.look(id).await?;
        let scope = self.scope(&open.case)?;
        if open.case.letters.version != Some(scope.version) {
            return Err(NoStep::Missing(format!(
                "letters wait that tell of an older scope: `incident notify` writes about scope {}",
                scope.version
            )));
        }
        self.queue(&open, &scope, start).await?;
        let snapshot = self.registry.snapshot().await?;
        let company = company(&settings)?.clone();
        let vendors = vendors(&scope, &snapshot);
        let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain).to_owned();
        let (case, people, key) = (open.case.clone(), open.people, self.letter_key);
        let writer = Writer::new(&settings.letter, &company, id, &case, &vendors, key)
            .map_err(|error| NoStep::Missing(with_cause(&error)))?;
        let compose = move |letter: &Letter| -> Result<Composed, BadLetter> {
            let written = writer
                .letter(&letter.subject, &scope, &people)
                .map_err(|_| BadLetter::Nothing)?
                .ok_or(BadLetter::Nothing)?;
            Composed::new(&Content {
                from: &from,
                to: &letter.address,
                title: &written.title,
                message_id: &format!("{}@{domain}", written.id),
                date: case.letters.started.unwrap_or(case.opened),
                body: &written.body,
            })
        };
        let incident = id.to_string();
        let carried = mailer.run(&self.outbox, &incident, compose, |_| (), halted).await;
        let progress = carried.map_err(|error| NoStep::Missing(error.to_string()))?;
        if progress.queued + progress.sending + progress.deferred == 0 {
            let what = What::Notified {
                accepted: progress.accepted,
                refused: progress.refused,
                given_up: progress.given_up,
                in_doubt: progress.in_doubt,
            };
            self.note(id, what).await?;
        }
        Ok(progress)
    }

    fn writer(
        &self,
        settings: &Settings,
        open: &Open,
        vendors: &[String],
    ) -> Result<Writer, NoStep> {
        let company = company(settings)?;
        let made =
            Writer::new(&settings.letter, company, open.id, &open.case, vendors, self.letter_key);
        made.map_err(|error| NoStep::Missing(with_cause(&error)))
    }

    pub(super) fn drafts(
        &self,
        open: &Open,
        version: u64,
        show: u32,
        snapshot: &Snapshot,
    ) -> Result<Value, NoStep> {
        open.case.current(version)?;
        let scope = self.scope(&open.case)?;
        let settings = self.settings.load_full();
        let writer = self.writer(&settings, open, &vendors(&scope, snapshot))?;
        let mut letters = Vec::new();
        for subject in scope.subjects.keys() {
            if letters.len() >= DRAFTS_MAX.min(usize::try_from(show).unwrap_or(DRAFTS_MAX)) {
                break;
            }
            let letter = writer.letter(subject, &scope, &open.people);
            if let Some(letter) = letter.map_err(|error| NoStep::Missing(with_cause(&error)))? {
                letters
                    .push(json!({ "to": letter.to, "title": letter.title, "body": letter.body }));
            }
        }
        let figures = open.figures.as_deref();
        let with_address = figures.map_or(0, |figures| figures.with_address);
        Ok(json!({
            "letters": letters,
            "with_address": with_address,
            "without_address": figures.map_or(0, |figures| figures.subjects - with_address),
        }))
    }

    /// What starting the letters of a case is recorded as, and how many there are.
    pub(super) fn letters_of(
        &self,
        open: &Open,
        version: u64,
        snapshot: &Snapshot,
    ) -> Result<(What, u64), NoStep> {
        open.case.current(version)?;
        let figures = open.figures()?;
        let scope = self.scope(&open.case)?;
        let settings = self.settings.load_full();
        if settings.mail.is_none() {
            return Err(NoStep::Missing(
                "`[mail]` is not configured: where are letters to go?".into(),
            ));
        }
        // A template that cannot be used is refused before anybody is written to.
        self.writer(&settings, open, &vendors(&scope, snapshot))?;
        let letters = figures.with_address;
        let without_address = figures.subjects - letters;
        let people = hex(open.people.digest());
        Ok((What::NotifyingStarted { version, letters, without_address, people }, letters))
    }

    /// Queues what is not queued yet. Asking again changes nothing, except for those whom [`Start::Asked`] tries again.
    async fn queue(&self, open: &Open, scope: &FrozenScope, start: Start) -> Result<(), NoStep> {
        let (incident, now) = (open.id.to_string(), clock::unix_now());
        let address =
            |subject: &SubjectId| Some((subject.clone(), open.people.get(subject)?.email.clone()?));
        // Who is in the scope in force gets a letter about it; who is not any more gets none.
        self.outbox.withdraw(&incident, scope.version).await?;
        if let Start::Asked { in_doubt } = start {
            // An address may have been put right meanwhile, or the mail server.
            self.outbox.withdraw_unsent(&incident).await?;
            if in_doubt {
                self.outbox.requeue_in_doubt(&incident, now).await?;
            }
        }
        let with_address = scope.subjects.keys().filter_map(address);
        self.outbox.enqueue(&incident, scope.version, with_address, now).await?;
        Ok(())
    }
}

/// Names of the vendors whose software read, each once.
fn vendors(scope: &FrozenScope, snapshot: &Snapshot) -> Vec<String> {
    let directory = &snapshot.directory;
    let name = |id: &String| {
        let integration = directory.integrations.get(&id.parse().ok()?)?;
        Some(directory.vendors.get(&integration.vendor)?.name.clone())
    };
    scope.integrations.keys().filter_map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
