//! Changes posture: makes the entry durable, cuts what it covers, records it. And renews the lease this node serves under.

use super::Recorder;
use super::posture::PostureRegister;
use crate::clock;
use ledger::Draft;
use sever::{Authority, Change, Entry, Settled, Switch};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

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
        serde_json::json!({
            "schema": "portcullis.severed/1",
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

    /// Changes posture. When this returns, no write of subject data for what the entry severs runs or can start.
    ///
    /// Blocks for one disk write; call it from a thread that may wait. Disk, ledger and registry may all be down: the
    /// cut happens first, and what could not be stored is said in the answer.
    pub fn change(&self, change: Change, reason: &str, authority: Authority) -> Changed {
        let started = clock::boot_now();
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        let (entry, written) = register.append(change, reason, authority, clock::unix_now());
        let settled = self.switch.apply(&entry);
        // The register is the only source of entries, so the switch stands exactly where the register stood.
        assert!(settled.is_ok(), "the switch follows the register");
        let settled =
            settled.unwrap_or(Settled { number: entry.number, connections: 0, aborted: 0 });
        let micros = clock::boot_now().0.saturating_sub(started.0);
        drop(register);
        let recorded = self.recorder.append_blocking(Draft::Posture { entry: entry.to_bytes() });
        let not_durable = written
            .err()
            .map(|e| format!("posture file: {e}"))
            .or(recorded.err().map(|e| format!("ledger: {e}")));
        Changed { entry, settled, micros, not_durable }
    }

    /// The lease counts only when this node has applied every entry of the register.
    fn renew(&self) {
        let asked = clock::boot_now();
        let register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        if register.posture().head() == self.switch.posture().head() {
            self.switch.lease.renew(asked);
        }
    }
}

fn renew_until_dropped(keeper: &Weak<Keeper>) {
    while let Some(keeper) = keeper.upgrade() {
        keeper.renew();
        drop(keeper);
        std::thread::sleep(Duration::from_micros(sever::lease::RENEW_EVERY));
    }
}
