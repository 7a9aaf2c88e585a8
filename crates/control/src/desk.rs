//! Where signed commands are carried out: posture first, then the registry, then the record, then the data path.

use crate::questions::{self, Archive, Asked, CannotAnswer};
use aws_lc_rs::digest::{SHA256, digest};
use ledger::Draft;
use model::{IntegrationId, OperationId, OperatorId};
use serde_json::{Value, json};
use sever::{Authority, Change, NotTaken, Target};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::clock;
use storage::embedded::{Changed, Keeper, Recorder, Unavailable};
use storage::registry::{
    Applied, Authorised, Command, Effect, Registry, RegistryError, SignedCommand, Snapshot, target,
};

/// Hands a new reading of the registry to the data path. When it returns, requests are served by it.
pub type Publish = Arc<dyn Fn(Snapshot) -> Result<(), String> + Send + Sync>;

/// Carries out operators' commands.
pub struct Desk {
    registry: Registry,
    keeper: Arc<Keeper>,
    recorder: Recorder,
    archive: Arc<Archive>,
    publish: Publish,
    /// The contract's operations: a grant of anything else would wait for a contract that has it.
    operations: BTreeSet<OperationId>,
    /// One change at a time, so that readings reach the data path in the order of their revisions.
    turn: tokio::sync::Mutex<()>,
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
    /// The question has no answer.
    #[error(transparent)]
    NoAnswer(#[from] CannotAnswer),
    /// It was carried out, but could not be recorded.
    #[error("it was carried out and could not be recorded")]
    NotRecorded(#[from] Unavailable),
    /// It was carried out, but the data path could not take it over and goes on as before.
    #[error("it was carried out, but the data path could not take it over: {0}")]
    NotPublished(String),
}

impl Desk {
    /// A desk over this registry, posture and record.
    pub fn new(
        registry: Registry,
        keeper: Arc<Keeper>,
        recorder: Recorder,
        archive: Arc<Archive>,
        operations: BTreeSet<OperationId>,
        publish: Publish,
    ) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { registry, keeper, recorder, archive, publish, operations, turn }
    }

    /// Carries out one command and records it.
    ///
    /// What narrows takes effect before it is recorded, so that a ledger that is down cannot hold it up. What widens and
    /// what looks is recorded first: a record of an attempt that then fails does no harm, an unrecorded one does.
    ///
    /// # Errors
    /// [`NotDone`] says how far it got.
    pub async fn carry_out(&self, command: &SignedCommand) -> Result<Value, NotDone> {
        let _turn = self.turn.lock().await;
        let head = self.keeper.switch().posture().head();
        let roster = self.registry.snapshot().await?.operators;
        let authorised =
            command.verify(&roster, clock::unix_now(), &head).map_err(RegistryError::from)?;
        self.check_operations(authorised.command())?;
        let draft = draft(&authorised, command);
        if authorised.command().effect() == Effect::Narrows {
            let applied = self.registry.apply(command, &head, clock::unix_now()).await?;
            // Each is attempted whatever became of the one before: the registry has changed already.
            let answer = self.effect(&applied, command).await;
            let published = self.republish().await;
            let recorded = self.recorder.append(draft).await;
            published?;
            recorded?;
            return answer;
        }
        self.recorder.append(draft).await?;
        let applied = self.registry.apply(command, &head, clock::unix_now()).await?;
        let answer = self.effect(&applied, command).await?;
        if authorised.command().effect() == Effect::Widens {
            self.republish().await?;
        }
        Ok(answer)
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

    fn check_operations(&self, command: &Command) -> Result<(), NotDone> {
        let Command::GrantAdd { operations, .. } = command else { return Ok(()) };
        let is_known =
            |name: &&String| OperationId::new(name).is_some_and(|id| self.operations.contains(&id));
        match operations.iter().find(|name| !is_known(name)) {
            Some(name) => Err(NotDone::NoOperation(name.clone())),
            None => Ok(()),
        }
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
                    keeper.change(Change::Sever(target), reason, authority)
                })
                .await
            }
            Command::Restore { target, reason } => {
                let keeper = Arc::clone(&self.keeper);
                let head = *applied.authorised.posture_head();
                self.change(applied, command, target, reason, move |target, reason, authority| {
                    keeper.restore(target, reason, authority, &head)
                })
                .await
            }
            Command::ClockAcknowledge {} => {
                self.recorder.acknowledge_clock();
                Ok(done(applied))
            }
            Command::ExposureQuery { question } => {
                let (archive, snapshot) =
                    (Arc::clone(&self.archive), self.registry.snapshot().await?);
                let asked = Asked::read(question, &snapshot)?;
                blocking(move || archive.exposure(&asked, &snapshot)).await
            }
            Command::Evidence { scope } => {
                let (archive, snapshot) =
                    (Arc::clone(&self.archive), self.registry.snapshot().await?);
                let mut asked = Asked::read(scope, &snapshot)?;
                if let Some(name) = asked.scope.take() {
                    asked = archive.question_of(&name, &snapshot)?;
                }
                questions::wait_for_checkpoint(&self.recorder, asked.question.to).await;
                let note = self.recorder.checkpoint();
                blocking(move || archive.evidence(&asked, note.as_deref())).await
            }
            Command::VendorAdd { .. }
            | Command::IntegrationApply { .. }
            | Command::IntegrationApprove { .. }
            | Command::IntegrationRestrict { .. }
            | Command::IntegrationRetire { .. }
            | Command::CredentialAdd { .. }
            | Command::CredentialRetire { .. }
            | Command::GrantAdd { .. }
            | Command::GrantWithdraw { .. }
            | Command::OperatorAdd { .. }
            | Command::OperatorRemove { .. }
            | Command::Freeze { .. }
            | Command::Unfreeze {}
            | Command::HoneyPlant { .. } => Ok(done(applied)),
        }
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

async fn blocking<F>(answer: F) -> Result<Value, NotDone>
where
    F: FnOnce() -> Result<Value, CannotAnswer> + Send + 'static,
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
    let action = command.action().to_owned();
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
        | Command::IntegrationApprove { integration, .. }
        | Command::IntegrationRestrict { integration, .. }
        | Command::IntegrationRetire { integration }
        | Command::CredentialAdd { integration, .. }
        | Command::GrantAdd { integration, .. } => Some(*integration),
        Command::VendorAdd { .. }
        | Command::CredentialRetire { .. }
        | Command::GrantWithdraw { .. }
        | Command::OperatorAdd { .. }
        | Command::OperatorRemove { .. }
        | Command::Freeze { .. }
        | Command::Unfreeze {}
        | Command::Sever { .. }
        | Command::Restore { .. }
        | Command::HoneyPlant { .. }
        | Command::ClockAcknowledge {}
        | Command::ExposureQuery { .. }
        | Command::Evidence { .. } => None,
    }
}
