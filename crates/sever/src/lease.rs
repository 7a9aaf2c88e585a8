//! The lease under which a node may serve: short, renewed often, and gone by itself when renewal stops.

use std::sync::atomic::{AtomicU64, Ordering};

/// Microseconds of CLOCK_BOOTTIME, which runs on while the machine sleeps and never steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootMicros(pub u64);

/// How long a renewal lasts. With renewal every [`RENEW_EVERY`] three renewals may fail before a node stops.
pub const LEASE: u64 = 400_000;

/// How often the shell renews, microseconds.
pub const RENEW_EVERY: u64 = 100_000;

/// The end of this node's lease. Starts lapsed: a node that has confirmed nothing serves nothing.
#[derive(Debug, Default)]
pub struct Lease {
    until: AtomicU64,
}

impl Lease {
    /// Extends the lease to `asked` + [`LEASE`].
    ///
    /// `asked`: when the renewal was *sent*, so that a slow register shortens the lease and never lengthens it.
    pub fn renew(&self, asked: BootMicros) {
        self.until.fetch_max(asked.0 + LEASE, Ordering::AcqRel);
    }

    /// Whether the node may still act at `now`.
    pub fn holds(&self, now: BootMicros) -> bool {
        now.0 < self.until.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lapses_by_itself_and_counts_from_when_it_was_asked_for() {
        let lease = Lease::default();
        assert!(!lease.holds(BootMicros(0)), "nothing confirmed yet");
        lease.renew(BootMicros(1_000));
        assert!(lease.holds(BootMicros(1_000 + LEASE - 1)));
        assert!(!lease.holds(BootMicros(1_000 + LEASE)));
        lease.renew(BootMicros(500));
        assert!(lease.holds(BootMicros(1_000 + LEASE - 1)), "an older renewal never shortens it");
    }
}
