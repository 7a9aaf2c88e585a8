//! The switch of one node: publishes posture, lets requests pass, and aborts what a new entry covers.
//!
//! # Why nothing slips through
//! A release holds a [`Passage`] on its connection's [`Gate`] until the socket has accepted its last byte. Opening a
//! passage and writing to the socket both happen under the gate's lock. [`Switch::apply`] first publishes the new
//! posture, then takes each gate's lock in turn. So a passage opened before that is seen by the walk and aborted, one
//! opened after it was checked against the new posture, and a write is either complete before the walk reaches its
//! gate or refused. When `apply` returns, no write for the severed thing is running or can start.

use crate::lease::{BootMicros, Lease};
use crate::{Bearing, Entry, NotTaken, Posture};
use model::{IntegrationId, RequestId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::Waker;
use thiserror::Error;

/// Why a request may not go on. The node is never the one at fault here: refuse and record it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cut {
    /// A posture entry covers the request.
    #[error("severed by posture entry {number}")]
    Severed {
        /// The entry.
        number: u64,
    },
    /// This node could not confirm its view of posture in time.
    #[error("the node's lease has lapsed")]
    Lapsed,
    /// The subject took back the consent that the request rests on.
    #[error("the consent was taken back")]
    ConsentOver,
    /// The connection carried another integration before; each connection serves one.
    #[error("the connection belongs to another integration")]
    OtherIntegration,
}

/// The switch of one node.
#[derive(Debug, Default)]
pub struct Switch {
    posture: RwLock<Arc<Posture>>,
    /// The node's lease; the shell renews it.
    pub lease: Lease,
    gates: Mutex<Gates>,
}

#[derive(Debug, Default)]
struct Gates {
    next: u64,
    open: BTreeMap<u64, Weak<Gate>>,
}

/// How this node settled a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The entry.
    pub number: u64,
    /// Connections that were looked at.
    pub connections: usize,
    /// Releases that were cut in flight.
    pub aborted: usize,
}

impl Switch {
    /// A switch that stands where `posture` stands, with its lease lapsed.
    pub fn new(posture: Posture) -> Self {
        Self { posture: RwLock::new(Arc::new(posture)), ..Self::default() }
    }

    /// Posture as it stands.
    pub fn posture(&self) -> Arc<Posture> {
        Arc::clone(&self.posture.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The early check, before any work is done for the request.
    ///
    /// # Errors
    /// [`Cut::Severed`] or [`Cut::Lapsed`].
    pub fn admit(&self, bearing: &Bearing, now: BootMicros) -> Result<(), Cut> {
        if !self.lease.holds(now) {
            return Err(Cut::Lapsed);
        }
        match self.posture().severance_of(bearing) {
            Some(severance) => Err(Cut::Severed { number: severance.number }),
            None => Ok(()),
        }
    }

    /// A gate for a connection that was just accepted.
    pub fn open_gate(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        let mut gates = lock(&self.gates);
        if gates.next.is_multiple_of(256) {
            gates.open.retain(|_, gate| gate.strong_count() > 0);
        }
        let id = gates.next;
        gates.next += 1;
        gates.open.insert(id, Arc::downgrade(&gate));
        gate
    }

    /// The last check before release; the caller holds the passage until the socket has the last byte. `consented`: whether the
    /// consent of the bearing, if there is one, is in force.
    ///
    /// # Errors
    /// Any [`Cut`].
    pub fn pass(
        &self,
        gate: &Arc<Gate>,
        bearing: Bearing,
        request: RequestId,
        now: BootMicros,
        consented: impl FnOnce() -> bool,
    ) -> Result<Passage, Cut> {
        let mut state = lock(&gate.state);
        if let Some(cut) = &state.cut {
            return Err(cut.clone());
        }
        // Under the gate's lock: a posture published before this point is the one that is read here.
        self.admit(&bearing, now)?;
        if !consented() {
            return Err(Cut::ConsentOver);
        }
        if *state.integration.get_or_insert(bearing.integration) != bearing.integration {
            return Err(Cut::OtherIntegration);
        }
        let (id, sent_before) = (state.next, state.sent);
        state.next += 1;
        let integration = bearing.integration;
        state.open.insert(id, bearing);
        Ok(Passage { gate: Arc::clone(gate), id, integration, request, sent_before })
    }

    /// Aborts every release in flight that `covers` says yes to, after what `consented` of [`Switch::pass`] looks at was changed: one that
    /// was opened before that is found here, one after it was refused. Returns how many.
    ///
    /// The last bytes of an HTTP/2 stream that stand in its connection's queues are not found: a connection would have to remember
    /// everybody it ever spoke of.
    pub fn abort(&self, covers: impl Fn(&Bearing) -> bool) -> usize {
        self.gates()
            .iter()
            .map(|gate| gate.abort(|bearing| covers(bearing).then_some(Cut::ConsentOver)))
            .sum()
    }

    fn gates(&self) -> Vec<Arc<Gate>> {
        lock(&self.gates).open.values().filter_map(Weak::upgrade).collect()
    }

    /// Publishes an entry and aborts every release it covers. Returns when none is left.
    ///
    /// # Errors
    /// [`NotTaken`]; posture is as it was.
    pub fn apply(&self, entry: &Entry) -> Result<Settled, NotTaken> {
        {
            let mut published = self.posture.write().unwrap_or_else(PoisonError::into_inner);
            let mut posture = Posture::clone(&published);
            posture.apply(entry)?;
            *published = Arc::new(posture);
        }
        let (gates, posture) = (self.gates(), self.posture());
        let severed = |bearing: &Bearing| {
            posture.severance_of(bearing).map(|severance| Cut::Severed { number: severance.number })
        };
        let aborted = gates.iter().map(|gate| gate.abort(severed)).sum();
        Ok(Settled { number: entry.number, connections: gates.len(), aborted })
    }
}

/// What stands between releases and one connection's socket.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    next: u64,
    /// Bytes the socket has accepted.
    sent: u64,
    /// Releases whose last byte the socket does not have yet.
    open: BTreeMap<u64, Bearing>,
    /// Releases of an HTTP/2 connection that may still be in its queues; kept until it closes, each distinct one once.
    lingering: Vec<Bearing>,
    integration: Option<IntegrationId>,
    cut: Option<Cut>,
    waker: Option<Waker>,
}

impl Gate {
    /// Runs one write to the socket, unless the connection was cut.
    ///
    /// `write` must not block: the lock it runs under is the one a sever waits for. It returns its result and how many
    /// bytes the socket accepted. `now` was read just before.
    ///
    /// # Errors
    /// The [`Cut`] that ended the connection, or [`Cut::Lapsed`] while a release is open and the lease is not held.
    pub fn write<T>(
        &self,
        lease: &Lease,
        now: BootMicros,
        write: impl FnOnce() -> (T, usize),
    ) -> Result<T, Cut> {
        let mut state = lock(&self.state);
        if let Some(cut) = &state.cut {
            return Err(cut.clone());
        }
        let data_may_be_queued = !state.open.is_empty() || !state.lingering.is_empty();
        if data_may_be_queued && !lease.holds(now) {
            return Err(Cut::Lapsed);
        }
        let (result, accepted) = write();
        state.sent += accepted as u64;
        Ok(result)
    }

    /// The cut that ended the connection, if one did; otherwise `waker` is woken when one does.
    pub fn poll_cut(&self, waker: &Waker) -> Option<Cut> {
        let mut state = lock(&self.state);
        if state.cut.is_none() && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        state.cut.clone()
    }

    /// Cuts the connection if a release in flight is `covered`. Returns how many are.
    fn abort(&self, covered: impl Fn(&Bearing) -> Option<Cut>) -> usize {
        let mut state = lock(&self.state);
        let in_flight = state.open.values().chain(&state.lingering);
        let mut covered = in_flight.filter_map(covered);
        let first = covered.next();
        let more = covered.count();
        let Some(cut) = first else { return 0 };
        // A severance that is there already says more than the end of a consent.
        if !matches!(state.cut, Some(Cut::Severed { .. })) || matches!(cut, Cut::Severed { .. }) {
            state.cut = Some(cut);
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        1 + more
    }
}

/// Proof that posture allowed this release. Held until the socket has accepted the last byte.
#[derive(Debug)]
#[must_use = "a release without its passage cannot be severed"]
pub struct Passage {
    gate: Arc<Gate>,
    id: u64,
    integration: IntegrationId,
    request: RequestId,
    sent_before: u64,
}

impl Passage {
    /// Who reads.
    pub const fn integration(&self) -> IntegrationId {
        self.integration
    }

    /// The request it was opened for.
    pub const fn request(&self) -> RequestId {
        self.request
    }

    /// Whether the socket has accepted any byte since the passage was opened. Other streams of an HTTP/2 connection
    /// count too: when in doubt, it was read.
    pub fn reached_socket(&self) -> bool {
        lock(&self.gate.state).sent > self.sent_before
    }

    /// Ends the passage of an HTTP/2 stream, whose last bytes may still stand in the connection's queues: what it was
    /// opened for counts as in flight until the connection closes.
    pub fn linger(self) {
        let mut state = lock(&self.gate.state);
        // Without whose it is: each distinct one is kept once, and subjects are many.
        if let Some(bearing) =
            state.open.get(&self.id).map(|it| Bearing { consent: None, ..it.clone() })
            && !state.lingering.contains(&bearing)
        {
            state.lingering.push(bearing);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        lock(&self.gate.state).open.remove(&self.id);
    }
}

/// A panic elsewhere leaves these maps consistent (each holder does one insert or remove), and severing has to go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
