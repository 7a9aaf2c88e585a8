//! Where the shell reads clocks and draws random bytes; core crates get both as arguments.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::{Micros, UnixMicros};
use rustix::time::{ClockId, clock_gettime};
use sever::BootMicros;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far this process's clocks are ahead of the system's, in microseconds. 0 in every process but a rehearsal's.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// The wall clock, UTC microseconds.
pub fn unix_now() -> UnixMicros {
    UnixMicros(micros(ClockId::Realtime)) + ahead()
}

/// CLOCK_BOOTTIME, which leases are measured in.
pub fn boot_now() -> BootMicros {
    BootMicros(micros(ClockId::Boottime).saturating_add(ahead().0))
}

/// How far the clocks are ahead of the system's.
pub(crate) fn ahead() -> Micros {
    Micros(AHEAD.load(Ordering::SeqCst))
}

/// Sets every clock of this process forward, all by the same: nothing takes it for a step. What the system's own timers wait for
/// comes no earlier.
///
/// For rehearsals alone, which play weeks in seconds (decision 0033); clippy refuses any other caller. A lease that was held before has run
/// out after it.
pub fn leap(by: Micros) {
    AHEAD.fetch_add(by.0, Ordering::SeqCst);
}

/// Random bytes from the operating system.
///
/// # Panics
/// If the kernel has no randomness to give: ids and salts made without it would break what they are for.
#[expect(clippy::expect_used, reason = "without randomness no salt and no id may be made")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap_or(0)
}
