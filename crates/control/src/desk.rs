//! Where signed commands are carried out: posture first, then the registry, then the record, then the data path.

mod checks;
mod erasing;
pub(crate) mod registering;
mod retaining;

use crate::answers::{Answered, Wanted};
use crate::cases::{Letters, NoStep, Office};
use crate::consents::Kept;
use crate::console::sessions::{Operator, Sessions};
use crate::lists;
use crate::long::Long;
use crate::operators::BODIES_MAX;
use crate::outbound::Address;
use crate::pages::Pager;
use crate::questions::{Archive, Asked, CannotAnswer};
use crate::vetting::NotChecked;
use ::vetting::evidence::Evidence;
use ::vetting::osv::Advisories;
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use disclosure::Contract;
use ledger::Draft;
use model::{IntegrationId, OperatorId, UnixMicros};
use serde_json::{Value, json};
use sever::{Authority, NotTaken, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::retention::Thinner;
use storage::embedded::vault::Eraser;
use storage::embedded::{Changed, Keeper, Recorder, Unavailable};
use storage::registry::command::{Change, Listing, SubjectText};
use storage::registry::{
    Applied, Authorised, Beside, Command, Effect, Registry, RegistryError, SignedCommand, Snapshot,
    VettingRow, roles, target,
};
use storage::signals::SignalsError;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

/// Hands a new reading of the registry to the data path. When it returns, requests are served by it.
pub type Publish = Arc<dyn Fn(Snapshot) -> Result<(), String> + Send + Sync>;

/// Tells the data path that two operators lifted what was in force on a target, so that what led to it is not held against it again.
pub type Restored = Arc<dyn Fn(&Target) + Send + Sync>;

/// Carries out operators' commands.
pub struct Desk {
    registry: Registry,
    keeper: Arc<Keeper>,
    recorder: Recorder,
    eraser: Arc<Eraser>,
    thinner: Arc<Thinner>,
    archive: Arc<Archive>,
    office: Arc<Office>,
    pager: Arc<Pager>,
    consents: Kept,
    sessions: Arc<Sessions>,
    /// Where the console is, as a browser names it.
    console: String,
    /// Where the portal is, if there is one.
    portal: Option<String>,
    publish: Publish,
    restored: Restored,
    /// The contract in force.
    contract: Arc<ArcSwap<Contract>>,
    /// What bills of materials are compared with.
    advisories: ArcSwap<Advisories>,
    /// One change at a time, so that readings reach the data path in the order of their revisions.
    turn: Mutex<()>,
    /// [`QUESTIONS_MAX`] permits to have a question answered.
    places: Arc<Semaphore>,
}

/// Signals that a list has, the newest.
const SIGNALS_MAX: u32 = 1_000;
/// So long evidence waits for the checkpoint over its window. One follows a record within a second or two.
const EVIDENCE_WAITS: Duration = Duration::from_secs(10);

/// Questions that are answered at a time, each with its answer in memory: half as many as there may be commands, so that others come through.
pub const QUESTIONS_MAX: usize = BODIES_MAX / 2;

/// What a [`Desk`] is made of.
pub struct Parts {
    /// Changed by commands.
    pub registry: Registry,
    /// Posture.
    pub keeper: Arc<Keeper>,
    /// The record.
    pub recorder: Recorder,
    /// Erases subjects from the vault.
    pub eraser: Arc<Eraser>,
    /// Thins segments of the log.
    pub thinner: Arc<Thinner>,
    /// Answers questions.
    pub archive: Arc<Archive>,
    /// Keeps cases.
    pub office: Arc<Office>,
    /// Keeps signals.
    pub pager: Arc<Pager>,
    /// What subjects agreed to.
    pub consents: Kept,
    /// Who is logged in to the console.
    pub sessions: Arc<Sessions>,
    /// Where the console is, such as `http://localhost:8445`.
    pub console: String,
    /// Where the portal is, if there is one with passkeys, such as `https://connect.example`.
    pub portal: Option<String>,
    /// The contract in force.
    pub contract: Arc<ArcSwap<Contract>>,
    /// What bills of materials are compared with.
    pub advisories: Advisories,
    /// Hands readings to the data path.
    pub publish: Publish,
    /// Tells it of what was restored.
    pub restored: Restored,
}

/// What a command is answered with.
pub enum Answer {
    /// An object.
    Json(Value),
    /// An object that is still to be written, and the place in which that is done.
    Long(Box<Long>, OwnedSemaphorePermit),
    /// An evidence bundle.
    Bundle(Vec<u8>),
}

/// Why a command was not, or not wholly, carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The registry refused it; whoever sent it is at fault unless it says otherwise.
    #[error(transparent)]
    Refused(#[from] RegistryError),
    /// It names something that is not registered.
    #[error("{0} is not registered")]
    Unknown(String),
    /// A grant names an operation that the contract does not have.
    #[error(
        "operation `{0}` is not in the contract; `portcullis contract check` lists those that are"
    )]
    NoOperation(String),
    /// What an integration is vetted by does not suffice.
    #[error("{0}")]
    Unvetted(String),
    /// Its evidence cannot be checked.
    #[error(transparent)]
    NotChecked(#[from] NotChecked),
    /// A step of a case cannot be taken.
    #[error(transparent)]
    NoStep(#[from] NoStep),
    /// The question has no answer.
    #[error(transparent)]
    NoAnswer(#[from] CannotAnswer),
    /// It was carried out, but could not be recorded.
    #[error("it was carried out and could not be recorded")]
    NotRecorded(#[from] Unavailable),
    /// The data path decides by it, but it could not be stored: after a restart it would not hold.
    #[error("it holds until a restart, and could not be stored: {0}; ask again")]
    NotKept(String),
    /// Signals could not be read or written.
    #[error(transparent)]
    NoSignals(#[from] SignalsError),
    /// Segments that are due could not be thinned, or not all of them.
    #[error("segments that retention is to thin could not be: {0}")]
    NotThinned(String),
    /// It was carried out, but the data path could not take it over and goes on as before.
    #[error("it was carried out, but the data path could not take it over: {0}")]
    NotPublished(String),
}

impl Desk {
    /// Puts a desk together.
    pub fn new(parts: Parts) -> Self {
        Self {
            registry: parts.registry,
            keeper: parts.keeper,
            recorder: parts.recorder,
            eraser: parts.eraser,
            thinner: parts.thinner,
            archive: parts.archive,
            office: parts.office,
            pager: parts.pager,
            consents: parts.consents,
            sessions: parts.sessions,
            console: parts.console,
            portal: parts.portal,
            publish: parts.publish,
            restored: parts.restored,
            contract: parts.contract,
            advisories: ArcSwap::from_pointee(parts.advisories),
            turn: Mutex::default(),
            places: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// Takes over advisories that were read anew.
    pub fn replace_advisories(&self, advisories: Advisories) {
        self.advisories.store(Arc::new(advisories));
    }

    /// Carries out one command and records it.
    ///
    /// What narrows takes effect before it is recorded, so that a ledger that is down cannot hold it up. What widens and
    /// what looks is recorded first: a record of an attempt that then fails does no harm, an unrecorded one does.
    ///
    /// # Errors
    /// [`NotDone`] says how far it got.
    pub async fn carry_out(&self, command: &SignedCommand) -> Result<Answer, NotDone> {
        let turn = self.turn.lock().await;
        let head = self.keeper.switch().posture().head();
        let roster = self.registry.snapshot().await?.operators;
        let authorised =
            command.verify(&roster, clock::unix_now(), &head).map_err(RegistryError::from)?;
        self.check_operations(authorised.command())?;
        check_webhook(authorised.command())?;
        self.check_applied_for(authorised.command()).await?;
        let place = self.place_for(authorised.command())?;
        let draft = draft(&authorised, command);
        if let Err(refused) = self.check_decoy(authorised.command()) {
            // Whether somebody was read before is an answer, so that it was asked is on record.
            self.recorder.append(draft).await?;
            return Err(refused);
        }
        if authorised.command().effect() == Effect::Narrows {
            let checked = self.check(authorised.command(), command).await?;
            let beside = checked.as_ref().map_or(Beside::Nothing, Beside::Checked);
            let now = clock::unix_now();
            let applied = self.registry.apply_with(command, beside, &head, now).await?;
            // Each is attempted whatever became of the one before: the registry has changed already.
            let answer = self.effect(&applied, command).await;
            let published = self.republish().await;
            let recorded = self.recorder.append(draft).await;
            published?;
            recorded?;
            return answer.map(Answer::Json);
        }
        let began = clock::unix_now();
        let recorded = self.recorder.append(draft).await?.index();
        if let Command::IncidentOpen { .. } | Command::IncidentStep { .. } = authorised.command() {
            return self.step_of_case(&authorised, command, &head).await.map(Answer::Json);
        }
        let checked = self.check(authorised.command(), command).await?;
        let beside = checked.as_ref().map_or(Beside::Nothing, Beside::Checked);
        let now = clock::unix_now();
        let applied = self.registry.apply_with(command, beside, &head, now).await?;
        match (authorised.command(), place) {
            (Command::ExposureQuery { question }, Some(place)) => {
                return self.answer(question, turn, place).await;
            }
            (Command::Evidence { scope }, Some(_place)) => {
                return self.evidence(scope, turn, began, recorded).await.map(Answer::Bundle);
            }
            _ => {}
        }
        let answer = self.effect(&applied, command).await?;
        if authorised.command().effect() == Effect::Widens {
            self.republish().await?;
        }
        Ok(Answer::Json(answer))
    }

    /// Takes over a cut that the sever path has already made: the life cycle follows, and the roster forgets nothing.
    ///
    /// # Errors
    /// As [`Desk::carry_out`]; the cut itself stands in any case.
    pub async fn follow_cut(&self, command: &SignedCommand) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        let head = self.keeper.switch().posture().head();
        let applied = self.registry.apply(command, &head, clock::unix_now()).await?;
        self.republish().await?;
        self.recorder.append(draft(&applied.authorised, command)).await?;
        Ok(())
    }

    /// Works out a step of a case and stores it. It was recorded already.
    async fn step_of_case(
        &self,
        authorised: &Authorised,
        command: &SignedCommand,
        head: &model::Digest,
    ) -> Result<Value, NotDone> {
        // A step leaves files and letters; one that was taken before is refused before it does.
        self.registry.refuse_seen(authorised).await?;
        let by: Vec<_> = authorised.operators().iter().map(ToString::to_string).collect();
        let snapshot = self.registry.snapshot().await?;
        let taken = if let Command::IncidentStep { incident, step } = authorised.command() {
            self.office.step(*incident, step, by, &snapshot).await?
        } else {
            self.office.open(authorised.command(), by, &snapshot).await?
        };
        let beside = Beside::Case { known: taken.known, events: &taken.events };
        self.registry.apply_with(command, beside, head, clock::unix_now()).await?;
        match taken.letters {
            Some((incident, Letters::Halt)) => self.office.halt(incident),
            Some((incident, Letters::Carry(start))) => self.office.carry(incident, start),
            None => {}
        }
        Ok(taken.answer)
    }

    /// The rows of a list.
    ///
    /// # Errors
    /// [`NotDone`] if they cannot be read.
    pub async fn list(&self, what: Listing) -> Result<Vec<Value>, NotDone> {
        match what {
            Listing::Incidents => Ok(self.office.rows().await?),
            Listing::Signals => Ok(self.pager.rows(SIGNALS_MAX).await?),
            Listing::Rules => Ok(self.pager.rules().await?),
            Listing::Windows
            | Listing::Honey
            | Listing::Vendors
            | Listing::Integrations
            | Listing::Credentials
            | Listing::Grants
            | Listing::Erasures
            | Listing::Registrations
            | Listing::Operators => Ok(lists::rows(&self.registry, what).await?),
        }
    }

    /// How many days each integration's vendor keeps what it read, as its evidence says.
    async fn retention(&self) -> Result<BTreeMap<IntegrationId, u32>, NotDone> {
        let declared = |row: &VettingRow| {
            let evidence = Evidence::parse(row.application.as_bytes()).ok()?;
            Some((row.integration, evidence.retention_days))
        };
        Ok(self.registry.vettings().await?.iter().filter_map(declared).collect())
    }

    /// Operators' ids and names.
    pub async fn names(&self) -> Vec<(String, String)> {
        let roster = self.registry.snapshot().await.map(|snapshot| snapshot.operators);
        let roster = roster.unwrap_or_default();
        roster.values().map(|operator| (operator.id.to_string(), operator.name.clone())).collect()
    }

    /// Why onboarding is frozen, if it is.
    pub async fn frozen(&self) -> Option<String> {
        self.registry.snapshot().await.ok().and_then(|snapshot| snapshot.frozen)
    }

    fn check_operations(&self, command: &Command) -> Result<(), NotDone> {
        let named: Vec<&String> = if let Command::GrantAdd { operations, .. } = command {
            operations.iter().collect()
        } else if let Command::WindowDeclare { window } = command
            && let Change::Backfill { operation, .. } | Change::Endpoint { operation } =
                &window.change
        {
            vec![operation]
        } else {
            return Ok(());
        };
        // A grant of anything else would wait for a contract that has it.
        let contract = self.contract.load();
        let is_known = |name: &&String| contract.operations().any(|o| o.id().as_str() == **name);
        match named.into_iter().find(|name| !is_known(name)) {
            Some(name) => Err(NotDone::NoOperation(name.clone())),
            None => Ok(()),
        }
    }

    /// Who was read before is somebody that an integration has a reason to read, and would be cut off for it.
    fn check_decoy(&self, command: &Command) -> Result<(), NotDone> {
        let Command::HoneyPlant { subject } = command else { return Ok(()) };
        match self.archive.vault.ordinal(&subject.0) {
            None => Ok(()),
            Some(_) => Err(NotDone::Refused(RegistryError::Invalid(
                "that subject was read before, so it is no decoy".to_owned(),
            ))),
        }
    }

    /// Has the data path take over the registry as it stands.
    ///
    /// # Errors
    /// [`NotDone`]; the data path then goes on as before.
    pub async fn refresh(&self) -> Result<(), NotDone> {
        let _turn = self.turn.lock().await;
        self.republish().await
    }

    async fn republish(&self) -> Result<(), NotDone> {
        let snapshot = self.registry.snapshot().await?;
        (self.publish)(snapshot).map_err(NotDone::NotPublished)
    }

    /// What a command does beyond the registry.
    async fn effect(&self, applied: &Applied, command: &SignedCommand) -> Result<Value, NotDone> {
        match applied.authorised.command() {
            Command::Sever { target, reason } => {
                let keeper = Arc::clone(&self.keeper);
                self.change(applied, command, target, reason, move |target, reason, authority| {
                    keeper.change(sever::Change::Sever(target), reason, authority)
                })
                .await
            }
            Command::Restore { target, reason } => {
                let keeper = Arc::clone(&self.keeper);
                let head = *applied.authorised.posture_head();
                let restored = Arc::clone(&self.restored);
                let rules = self.rules_behind(target).await?;
                let done = self
                    .change(applied, command, target, reason, move |target, reason, authority| {
                        let lifted = keeper.restore(target.clone(), reason, authority, &head)?;
                        restored(&target);
                        Ok(lifted)
                    })
                    .await?;
                for rule in rules {
                    self.pager.reversed(&rule).await;
                }
                Ok(done)
            }
            Command::ConsentsEnd { target, .. } => self.end_consents(target).await,
            Command::ClockAcknowledge {} => {
                self.recorder.acknowledge_clock();
                Ok(done(applied))
            }
            // The copy is made beside the node; that it is made is on record by now.
            Command::SubjectExport { .. } => Ok(done(applied)),
            Command::EvidenceAdd { integration, .. } => {
                let row = self.registry.vetting(*integration).await?;
                let report = row.map(|row| serde_json::from_str(&row.report));
                Ok(report.and_then(Result::ok).unwrap_or_else(|| done(applied)))
            }
            Command::SubjectErase { .. } => self.asked_to_erase(applied).await,
            Command::SubjectEnrol { subject } => self.enrolment_link(subject).await,
            Command::ConsoleOpen {} => self.console_link(applied).await,
            Command::OperatorRemove { operator } | Command::OperatorPasskeysRemove { operator } => {
                self.sessions.forget(operator, clock::boot_now());
                Ok(done(applied))
            }
            Command::SignalsAcknowledge { through } => {
                let by: Vec<_> =
                    applied.authorised.operators().iter().map(ToString::to_string).collect();
                Ok(self.pager.acknowledge(*through, &by.join(" ")).await?)
            }
            Command::List { what } => {
                Ok(json!({ "schema": "portcullis.list/1", "rows": self.list(*what).await? }))
            }
            Command::VendorAdd { .. }
            | Command::IntegrationApply { .. }
            | Command::IntegrationReview { .. }
            | Command::IntegrationApprove { .. }
            | Command::ReviewAll { .. }
            | Command::IncidentOpen { .. }
            | Command::IncidentStep { .. }
            | Command::IntegrationRestrict { .. }
            | Command::IntegrationRetire { .. }
            | Command::RedirectsSet { .. }
            | Command::CredentialAdd { .. }
            | Command::CertificateAdd { .. }
            | Command::RegistrationTicket { .. }
            | Command::RegistrationApprove { .. }
            | Command::BearerException { .. }
            | Command::BearerEnd { .. }
            | Command::CredentialRetire { .. }
            | Command::GrantAdd { .. }
            | Command::GrantWithdraw { .. }
            | Command::OperatorAdd { .. }
            | Command::OperatorRole { .. }
            | Command::Freeze { .. }
            | Command::Unfreeze {}
            | Command::SubjectEraseCancel { .. }
            | Command::HoneyPlant { .. }
            | Command::WindowDeclare { .. }
            | Command::WindowApprove { .. }
            | Command::WindowEnd { .. }
            | Command::VendorWebhook { .. }
            | Command::ExposureQuery { .. }
            | Command::Evidence { .. } => Ok(done(applied)),
        }
    }

    /// Ends all consents to an integration, or to all of a vendor's. Nothing is decided by them once the first line has run for each.
    async fn end_consents(&self, named: &target::Target) -> Result<Value, NotDone> {
        let directory = self.registry.snapshot().await?.directory;
        let target =
            named.resolve(&directory).ok_or_else(|| NotDone::Unknown(named.to_string()))?;
        let integrations = directory.integrations.values().filter(|integration| match &target {
            Target::Vendor(vendor) => integration.vendor == *vendor,
            Target::Integration(id) => integration.id == *id,
            Target::Credential(_)
            | Target::Grant(_)
            | Target::Operation(_)
            | Target::Network(_) => false,
        });
        let integrations: Vec<_> = integrations.map(|integration| integration.id).collect();
        let ended = self.consents.end_all(&integrations, clock::unix_now()).await;
        let ended = ended.map_err(|error| NotDone::NotKept(error.to_string()))?;
        Ok(json!({ "schema": "portcullis.consents-ended/1", "consents": ended }))
    }

    /// A place to have a question answered in, before that it was asked is recorded; none for a command that asks nothing of the log.
    fn place_for(&self, command: &Command) -> Result<Option<OwnedSemaphorePermit>, CannotAnswer> {
        if !matches!(command, Command::ExposureQuery { .. } | Command::Evidence { .. }) {
            return Ok(None);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(Some).map_err(|_| CannotAnswer::Busy)
    }

    /// The answer to a question that is on record.
    async fn answer(
        &self,
        question: &str,
        turn: MutexGuard<'_, ()>,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, NotDone> {
        let (archive, snapshot) = (Arc::clone(&self.archive), self.registry.snapshot().await?);
        let mut asked = Asked::read(question, &snapshot, clock::unix_now())?;
        if asked.wanted == Wanted::Held {
            asked.retention = self.retention().await?;
        }
        let _turn = turn_of(&asked, turn);
        Ok(match blocking(move || archive.answer(&asked, &snapshot)).await? {
            Answered::Short(answer) => Answer::Json(answer),
            Answered::Long(long) => Answer::Long(long, place),
        })
    }

    /// The file that proves an exposure. Without an end its window ends when it was asked for, which is `began` and has the `recorded`th
    /// record: the heads that close the window come after that one, whatever else comes.
    async fn evidence(
        &self,
        question: &str,
        turn: MutexGuard<'_, ()>,
        began: UnixMicros,
        recorded: u64,
    ) -> Result<Vec<u8>, NotDone> {
        let (archive, snapshot) = (Arc::clone(&self.archive), self.registry.snapshot().await?);
        let mut asked = Asked::read(question, &snapshot, began)?;
        if let Some(name) = asked.scope.take() {
            let form = std::mem::take(&mut asked.form);
            asked = archive.question_of(&name, &snapshot)?;
            asked.form = form;
        }
        // Others have their turn meanwhile.
        drop(turn);
        let ends_too_early = archive.ends_too_early(self.recorder.checkpoint().as_deref(), &asked);
        if ends_too_early && !self.recorder.withholds_checkpoints() {
            // What is not under a checkpoint by then is said in the answer.
            let _ = self.under_a_checkpoint(recorded, EVIDENCE_WAITS).await;
        }
        let _turn = turn_of(&asked, self.turn.lock().await);
        let note = self.recorder.checkpoint();
        blocking(move || archive.evidence(&asked, note.as_deref())).await
    }

    /// A link with which a subject adds a passkey. It was recorded who asked; whoever has the link is the subject, so it is handed to nobody
    /// else.
    async fn enrolment_link(&self, subject: &SubjectText) -> Result<Value, NotDone> {
        let Some(portal) = &self.portal else {
            return Err(NotDone::Unknown(
                "a portal with passkeys, `[portal]` without a provider in the configuration,"
                    .to_owned(),
            ));
        };
        let ticket = self.consents.enrol(&subject.0, clock::unix_now()).await;
        let ticket = ticket.map_err(|error| NotDone::NotKept(error.to_string()))?;
        let link = format!("{portal}/enrol/{ticket}");
        Ok(json!({ "schema": "portcullis.enrolment-link/1", "link": link }))
    }

    /// A link that logs its signer in to the console, once, within a minute.
    async fn console_link(&self, applied: &Applied) -> Result<Value, NotDone> {
        let roster = self.registry.snapshot().await?.operators;
        let signer = applied.authorised.operators().iter().find_map(|id| roster.get(id));
        let signer = signer.ok_or_else(|| NotDone::Unknown("the operator".to_owned()))?;
        let operator = Operator { id: signer.id, name: signer.name.clone() };
        let token = self.sessions.mint_link(operator, clock::boot_now(), clock::random());
        Ok(
            json!({ "schema": "portcullis.console-link/1", "link": format!("{}/console/enter#{token}", self.console) }),
        )
    }

    /// Acknowledges signals in the name of an operator who is logged in to the console.
    ///
    /// # Errors
    /// [`NotDone`] says how far it got.
    pub async fn acknowledge_from_console(
        &self,
        operator: &Operator,
        through: u64,
    ) -> Result<Value, NotDone> {
        let operators = self.registry.snapshot().await?.operators;
        let operator = operators.get(&operator.id);
        let operator = operator.ok_or_else(|| NotDone::Unknown("the operator".to_owned()))?;
        let command = Command::SignalsAcknowledge { through };
        let entitled = roles::may(operator, &command, clock::unix_now());
        let id = entitled.map_err(RegistryError::from)?.operator();
        let detail = json!({ "console": id.to_string(), "signals_acknowledge": through });
        let (action, detail) = ("console_acknowledge".to_owned(), detail.to_string().into_bytes());
        self.recorder.append(Draft::OperatorAction { operator: id, action, detail }).await?;
        Ok(self.pager.acknowledge(through, &id.to_string()).await?)
    }

    /// Severs in the name of an operator who is logged in to the console. The cut comes first; registry and record follow.
    ///
    /// # Errors
    /// [`NotDone`] says how far it got.
    pub async fn sever_from_console(
        &self,
        operator: &Operator,
        named: target::Target,
        reason: String,
    ) -> Result<Value, NotDone> {
        let Snapshot { directory, operators, .. } = self.registry.snapshot().await?;
        // The roster of this moment: a session outlasts what its operator was when it began.
        let operator = operators.get(&operator.id);
        let operator = operator.ok_or_else(|| NotDone::Unknown("the operator".to_owned()))?;
        let command = Command::Sever { target: named.clone(), reason: reason.clone() };
        let entitled = roles::may(operator, &command, clock::unix_now());
        let operator = entitled.map_err(RegistryError::from)?.operator();
        let target =
            named.resolve(&directory).ok_or_else(|| NotDone::Unknown(named.to_string()))?;
        let asked = json!({ "console": operator.to_string(), "sever": named.to_string(), "reason": reason });
        let asked = asked.to_string().into_bytes();
        let (keeper, signers, command) = (Arc::clone(&self.keeper), vec![operator], asked.clone());
        let cut = tokio::task::spawn_blocking(move || {
            let authority = Authority::Operators { signers, command };
            keeper.change(sever::Change::Sever(target), &reason, authority)
        });
        let changed = match cut.await {
            Ok(Ok(changed)) => changed,
            Ok(Err(not_taken)) => return Err(NotDone::NotPublished(not_taken.to_string())),
            Err(_) => return Err(NotDone::NotPublished("posture could not be changed".into())),
        };
        let _turn = self.turn.lock().await;
        let followed = self.registry.mark_severed(&named).await;
        let published = self.republish().await;
        let action = "console_sever".to_owned();
        let draft = Draft::OperatorAction { operator, action, detail: asked };
        let recorded = self.recorder.append(draft).await;
        followed?;
        published?;
        recorded?;
        Ok(changed.to_json())
    }

    /// The rules on whose word a target is contained.
    async fn rules_behind(&self, named: &target::Target) -> Result<Vec<String>, NotDone> {
        let directory = self.registry.snapshot().await?.directory;
        let Some(target) = named.resolve(&directory) else { return Ok(Vec::new()) };
        let posture = self.keeper.switch().posture();
        let contained = posture.severed().chain(posture.restricted());
        let rule = |(_, containment): (_, &sever::Containment)| match &containment.authority {
            Authority::Rule(rule) => Some(rule.clone()),
            Authority::Operators { .. } => None,
        };
        Ok(contained.filter(|(contained, _)| **contained == target).filter_map(rule).collect())
    }

    async fn change(
        &self,
        applied: &Applied,
        command: &SignedCommand,
        named: &target::Target,
        reason: &str,
        change: impl FnOnce(Target, &str, Authority) -> Result<Changed, NotTaken> + Send + 'static,
    ) -> Result<Value, NotDone> {
        let snapshot = self.registry.snapshot().await?;
        let target = named
            .resolve(&snapshot.directory)
            .ok_or_else(|| NotDone::Unknown(named.to_string()))?;
        let authority = Authority::Operators {
            signers: applied.authorised.operators().iter().copied().collect(),
            command: command.to_json().unwrap_or_default(),
        };
        let reason = reason.to_owned();
        let changed = tokio::task::spawn_blocking(move || change(target, &reason, authority)).await;
        match changed {
            Ok(Ok(changed)) => Ok(changed.to_json()),
            Ok(Err(not_taken)) => Err(NotDone::NotPublished(not_taken.to_string())),
            // The change runs to its end on its own thread; only our own panic there could lose the answer.
            Err(_) => Err(NotDone::NotPublished("posture could not be changed".into())),
        }
    }
}

fn done(applied: &Applied) -> Value {
    json!({ "action": applied.authorised.command().action(), "revision": applied.revision })
}

/// Gives a question's turn to the next command, because reading takes a while; unless its answer leaves something: a name that an erasure in
/// between has everything forget would stand in a scope that is written after it.
fn turn_of<'a>(asked: &Asked, turn: MutexGuard<'a, ()>) -> Option<MutexGuard<'a, ()>> {
    asked.leaves_something().then_some(turn)
}

/// An address that no event could be sent to would be found out when one is.
fn check_webhook(command: &Command) -> Result<(), NotDone> {
    let Command::VendorWebhook { url: Some(url), .. } = command else { return Ok(()) };
    let judged = Address::for_events(url).map_err(|why| RegistryError::Invalid(why.to_string()));
    judged.map(drop).map_err(NotDone::Refused)
}

async fn blocking<T, F>(answer: F) -> Result<T, NotDone>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, CannotAnswer> + Send + 'static,
{
    let answered = tokio::task::spawn_blocking(answer).await;
    Ok(answered.unwrap_or(Err(CannotAnswer::Stopped))?)
}

/// The record of a command: a step of vetting on its integration, or an operator's action.
fn draft(authorised: &Authorised, signed: &SignedCommand) -> Draft {
    let command = authorised.command();
    let signed = signed.to_json().unwrap_or_default();
    let detail = if command.may_name_subjects() {
        digest(&SHA256, &signed).as_ref().to_vec()
    } else {
        signed
    };
    let action = if let Command::IncidentStep { step, .. } = command {
        format!("incident_{}", step.name())
    } else {
        command.action().to_owned()
    };
    if let Some(integration) = vetted(command) {
        return Draft::Vetting { integration, step: action, detail };
    }
    // INVARIANT: `Authorised` has at least one signer.
    let operator = authorised.operators().iter().next().copied();
    let operator = operator.unwrap_or(OperatorId::from_bytes([0; 16]));
    Draft::OperatorAction { operator, action, detail }
}

fn vetted(command: &Command) -> Option<IntegrationId> {
    match command {
        Command::IntegrationApply { integration, .. }
        | Command::EvidenceAdd { integration, .. }
        | Command::IntegrationReview { integration, .. }
        | Command::IntegrationApprove { integration, .. }
        | Command::IntegrationRestrict { integration, .. }
        | Command::IntegrationRetire { integration }
        | Command::RedirectsSet { integration, .. }
        | Command::CredentialAdd { integration, .. }
        | Command::CertificateAdd { integration, .. }
        | Command::RegistrationTicket { integration, .. }
        | Command::RegistrationApprove { integration, .. }
        | Command::BearerException { integration, .. }
        | Command::BearerEnd { integration }
        | Command::GrantAdd { integration, .. } => Some(*integration),
        Command::VendorAdd { .. }
        | Command::ConsentsEnd { .. }
        | Command::CredentialRetire { .. }
        | Command::GrantWithdraw { .. }
        | Command::OperatorAdd { .. }
        | Command::OperatorRole { .. }
        | Command::OperatorRemove { .. }
        | Command::OperatorPasskeysRemove { .. }
        | Command::ReviewAll { .. }
        | Command::SubjectEnrol { .. }
        | Command::List { .. }
        | Command::ConsoleOpen {}
        | Command::IncidentOpen { .. }
        | Command::IncidentStep { .. }
        | Command::Freeze { .. }
        | Command::Unfreeze {}
        | Command::Sever { .. }
        | Command::Restore { .. }
        | Command::HoneyPlant { .. }
        | Command::WindowDeclare { .. }
        | Command::WindowApprove { .. }
        | Command::WindowEnd { .. }
        | Command::VendorWebhook { .. }
        | Command::SignalsAcknowledge { .. }
        | Command::SubjectErase { .. }
        | Command::SubjectEraseCancel { .. }
        | Command::ClockAcknowledge {}
        | Command::ExposureQuery { .. }
        | Command::Evidence { .. }
        | Command::SubjectExport { .. } => None,
    }
}
