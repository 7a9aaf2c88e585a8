//! Changes posture: makes the entry durable, cuts what it covers, records it. And renews the lease this node serves under.

use super::Recorder;
use super::posture::PostureRegister;
use super::recorder::raise_priority;
use crate::clock;
use ledger::Draft;
use model::Digest;
use sever::{Authority, Change, Entry, NotTaken, Settled, Switch, Target};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tracing::warn;

/// Keeps one node's posture: the register on disk, the switch that requests meet, and the lease between them.
pub struct Keeper {
    register: Mutex<PostureRegister>,
    switch: Arc<Switch>,
    recorder: Recorder,
}

/// What a change of posture came to.
#[derive(Debug)]
pub struct Changed {
    /// The entry, as it stands in the register.
    pub entry: Entry,
    /// How this node settled it.
    pub settled: Settled,
    /// Microseconds from the decision until nothing more could leave.
    pub micros: u64,
    /// What could not be stored, if anything: the cut holds while this process lives, and must be repeated after a restart.
    pub not_durable: Option<String>,
}

impl Changed {
    /// The receipt that operators and scripts see.
    pub fn to_json(&self) -> serde_json::Value {
        let schema = match self.entry.change {
            Change::Sever(_) => "portcullis.severed/1",
            Change::Restrict(_) => "portcullis.restricted/1",
            Change::Restore(_) => "portcullis.restored/1",
        };
        serde_json::json!({
            "schema": schema,
            "entry": self.entry.number,
            "hash": self.entry.hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "micros": self.micros,
            "nodes": [{
                "node": "local",
                "settled": "confirmed",
                "connections": self.settled.connections,
                "aborted": self.settled.aborted,
            }],
            "not_durable": self.not_durable,
        })
    }
}

impl Keeper {
    /// Takes over a register that was just opened, and starts the thread that renews the lease.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(register: PostureRegister, recorder: Recorder) -> std::io::Result<Arc<Self>> {
        let switch = Arc::new(Switch::new(register.posture().clone()));
        let keeper = Arc::new(Self { register: Mutex::new(register), switch, recorder });
        keeper.renew();
        let weak = Arc::downgrade(&keeper);
        std::thread::Builder::new()
            .name("lease".into())
            .spawn(move || renew_until_dropped(&weak))?;
        Ok(keeper)
    }

    /// The switch that requests meet.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// Lifts what is in force on exactly this target.
    ///
    /// `signed_against`: the head that the signers of a restore saw. It is compared under the register's lock, so that a cut
    /// which came meanwhile is never undone by people who did not know of it.
    ///
    /// # Errors
    /// [`NotTaken`] if the change widens on too few words, or from another head; nothing changed then.
    pub fn restore(
        &self,
        target: Target,
        reason: &str,
        authority: Authority,
        signed_against: &Digest,
    ) -> Result<Changed, NotTaken> {
        let register = self.register();
        if register.posture().head() != *signed_against {
            return Err(NotTaken::OtherHead);
        }
        self.change_in(register, Change::Restore(target), reason, authority)
    }

    /// Changes posture by what narrows; a restore goes by [`Keeper::restore`]. When this returns, no write of subject data for
    /// what the entry severs runs or can start.
    ///
    /// Blocks for a disk write; call it from a thread that may wait. The cut comes first and needs no disk; what could not
    /// be stored afterwards is said in the answer.
    ///
    /// # Errors
    /// [`NotTaken`] if the change widens on too few words; nothing changed then.
    pub fn change(
        &self,
        change: Change,
        reason: &str,
        authority: Authority,
    ) -> Result<Changed, NotTaken> {
        self.change_in(self.register(), change, reason, authority)
    }

    /// Contains by rule, unless the target is already contained as much: a rule that fires a thousand times makes one entry.
    pub fn contain(&self, change: Change, reason: &str, rule: &str) -> Option<Changed> {
        let register = self.register();
        if register.posture().holds(&change) {
            return None;
        }
        // A rule's containment narrows, and what narrows is always taken.
        self.change_in(register, change, reason, Authority::Rule(rule.to_owned())).ok()
    }

    fn change_in(
        &self,
        mut register: MutexGuard<'_, PostureRegister>,
        change: Change,
        reason: &str,
        authority: Authority,
    ) -> Result<Changed, NotTaken> {
        let started = clock::boot_now();
        let entry = register.next(change, reason, authority, clock::unix_now())?;
        // The register is the only source of entries, so the switch stands exactly where the register stood.
        let settled = self.switch.apply(&entry)?;
        let micros = clock::boot_now().0.saturating_sub(started.0);
        let stored = register.store();
        // The thread that renews waited for the disk, too.
        self.confirm(&register);
        drop(register);
        let recorded = self.recorder.append_blocking(Draft::Posture { entry: entry.to_bytes() });
        let not_durable = stored
            .err()
            .map(|e| format!("posture file: {e}"))
            .or(recorded.err().map(|e| format!("ledger: {e}")));
        Ok(Changed { entry, settled, micros, not_durable })
    }

    fn register(&self) -> MutexGuard<'_, PostureRegister> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease, and tries again what the disk refused before.
    pub fn renew(&self) {
        let mut register = self.register();
        self.confirm(&register);
        if let Err(error) = register.store() {
            warn!(%error, "posture entries are not durable yet");
        }
    }

    /// Renews the lease if this node has applied every entry of the register.
    fn confirm(&self, register: &PostureRegister) {
        let asked = clock::boot_now();
        match register.check_identity() {
            // A cut must still be there after a restart, so without its file this node serves nothing.
            Err(error) => warn!(%error, "the lease is not renewed"),
            Ok(()) if register.posture().head() == self.switch.posture().head() => {
                self.switch.lease.renew(asked);
            }
            Ok(()) => {}
        }
    }
}

fn renew_until_dropped(keeper: &Weak<Keeper>) {
    raise_priority();
    while let Some(keeper) = keeper.upgrade() {
        keeper.renew();
        drop(keeper);
        std::thread::sleep(Duration::from_micros(sever::lease::RENEW_EVERY));
    }
}
