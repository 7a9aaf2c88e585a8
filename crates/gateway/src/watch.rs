//! The guards' state and what the detectors set off: budgets are charged here, findings become containment here.

use crate::forward::Part;
use crate::node::{Node, View};
use crate::refuse::Reason;
use detection::{
    Containment, Detector, Event, ExposureBudgets, Habits, Hold, Signal, Unusual, Use,
};
use disclosure::{
    ChargeBudget, Disclosed, Findings, Guards, KnowSubjects, Match, OverBudget, WithheldBecause,
};
use model::{Budget, GrantId, Pseudonym, SubjectId, SubjectOrdinal, SubjectScope, UnixMicros};
use policy::Permit;
use sever::{Bearing, Change, Target};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::embedded::Keeper;
use storage::embedded::Vault;
use tracing::{info, warn};

/// Signals kept for operators to look at; the record keeps what was done about them.
const SIGNALS_MAX: usize = 1_000;

/// Signals logged in one second.
const TOLD_MAX: u32 = 20;

/// How many signals a second has had.
#[derive(Debug, Default)]
struct Told {
    second: u64,
    count: u32,
}

/// Budgets, detectors and recent signals of one node.
pub struct Watch {
    budgets: ExposureBudgets,
    habits: Mutex<Habits>,
    detector: Mutex<Detector>,
    signals: Mutex<VecDeque<Signal>>,
    told: Mutex<Told>,
    posture: Arc<Keeper>,
}

impl Watch {
    /// A watch that has seen nothing yet; [`Watch::replay`] tells it what the log knows.
    pub fn new(posture: Arc<Keeper>) -> Self {
        Self {
            budgets: ExposureBudgets::default(),
            habits: Mutex::default(),
            detector: Mutex::default(),
            signals: Mutex::default(),
            told: Mutex::default(),
            posture,
        }
    }

    /// Takes in what a record of the log says, oldest first, before anything is served.
    pub fn replay(&self, seen: &Use, subjects: &[SubjectOrdinal]) {
        lock(&self.habits).replay(seen);
        self.budgets.replay(seen.grant, subjects, seen.at);
    }

    /// Compares a proved caller's request with its credential's and grant's habits.
    ///
    /// A network never seen before is served and signalled, unless the credential is pinned, which was checked already.
    pub(crate) fn admit(
        &self,
        bearing: &Bearing,
        view: &View,
        now: UnixMicros,
    ) -> Result<(), Reason> {
        let &Bearing { credential, grant, network, .. } = bearing;
        let unusual = lock(&self.habits).observe(&Use { credential, grant, network, at: now });
        match unusual {
            None => Ok(()),
            Some(Unusual::NewNetwork) => {
                let pinned = view
                    .directory
                    .credentials
                    .get(&credential)
                    .is_some_and(|known| !known.networks.is_empty());
                if !pinned {
                    self.observe(&Event::NewNetwork { credential, network }, now);
                }
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
        bearing: &Bearing,
        node: &Node,
        view: &View,
    ) -> Result<Disclosed, WithheldBecause> {
        // A clock that stepped since the request was admitted must not move the budget's windows.
        let now = node.recorder.now().map_err(|_| WithheldBecause::Unavailable)?;
        let limits = permit.budget();
        let mut subjects = Subjects { vault: &node.vault, now };
        let mut budget =
            Charge { budgets: &self.budgets, grant: bearing.grant, limits, now, hold: None };
        let mut guards =
            Guards { subjects: &mut subjects, budget: &mut budget, honey: &view.honey };
        let disclosed = match part {
            Part::Whole(reply) => disclosure::disclose(reply, matched, permit, &mut guards),
            Part::Batch(batch) => disclosure::disclose_batch(batch, matched, permit, &mut guards),
        };
        if let Some(hold) = budget.hold {
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

    /// Folds one event and contains what it completes.
    pub(crate) fn observe(&self, event: &Event, now: UnixMicros) {
        let signals = lock(&self.detector).fold(event, now);
        for signal in signals {
            self.tell(&signal);
            for containment in &signal.containment {
                self.contain(containment, &signal);
            }
            let mut kept = lock(&self.signals);
            if kept.len() == SIGNALS_MAX {
                kept.pop_front();
            }
            kept.push_back(signal);
        }
    }

    /// Logs a signal, unless this second has had its share: whoever makes signals must not be able to drown the log.
    fn tell(&self, signal: &Signal) {
        let mut told = lock(&self.told);
        let second = signal.at.secs();
        if told.second != second {
            if told.count > TOLD_MAX {
                warn!(left_out = told.count - TOLD_MAX, "more signals than are logged in a second");
            }
            *told = Told { second, count: 0 };
        }
        told.count += 1;
        if told.count <= TOLD_MAX {
            info!(signal = %signal, "signal");
        }
    }

    /// The most recent signals, oldest first.
    pub fn signals(&self) -> Vec<Signal> {
        lock(&self.signals).iter().cloned().collect()
    }

    fn contain(&self, containment: &Containment, signal: &Signal) {
        let change = match containment {
            Containment::Throttle(grant) => Change::Restrict(Target::Grant(*grant)),
            Containment::Restrict(integration) => {
                Change::Restrict(Target::Integration(*integration))
            }
            Containment::SuspendCredential(credential) => {
                Change::Sever(Target::Credential(*credential))
            }
            Containment::SuspendOperation(operation) => {
                Change::Sever(Target::Operation(operation.clone()))
            }
            Containment::Sever(integration) => Change::Sever(Target::Integration(*integration)),
            Containment::Page | Containment::OpenCase => {
                warn!(signal = %signal, "a person should look at this");
                return;
            }
        };
        let (posture, reason) = (Arc::clone(&self.posture), signal.cause.to_string());
        // The change waits for a disk; the request that set it off is refused already and need not.
        tokio::task::spawn_blocking(move || {
            let contained = posture.contain(change, &reason, "guard");
            if let Some(problem) = contained.and_then(|changed| changed.not_durable) {
                warn!(problem, "containment holds but is not durable");
            }
        });
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
    now: UnixMicros,
}

impl KnowSubjects for Subjects<'_> {
    fn row(
        &mut self,
        id: &SubjectId,
    ) -> Result<(SubjectOrdinal, Pseudonym), disclosure::Unavailable> {
        self.vault.row(id, self.now).map_err(|_| disclosure::Unavailable)
    }
}

/// One grant's budget, as the field filter sees it.
struct Charge<'a> {
    budgets: &'a ExposureBudgets,
    grant: GrantId,
    limits: Budget,
    now: UnixMicros,
    hold: Option<Hold>,
}

impl ChargeBudget for Charge<'_> {
    fn charge(&mut self, subjects: &[SubjectOrdinal]) -> Result<(), OverBudget> {
        self.budgets.charge(self.grant, &self.limits, subjects, self.now).map_err(|hold| {
            self.hold = Some(hold);
            OverBudget
        })
    }
}

/// The maps are consistent after a panic elsewhere: each holder does one change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
