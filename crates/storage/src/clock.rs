//! Where the shell reads clocks and draws random bytes; core crates get both as arguments.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::UnixMicros;
use rustix::time::{ClockId, clock_gettime};
use sever::BootMicros;

/// The wall clock, UTC microseconds.
pub fn unix_now() -> UnixMicros {
    UnixMicros(micros(ClockId::Realtime))
}

/// CLOCK_BOOTTIME, which leases are measured in.
pub fn boot_now() -> BootMicros {
    BootMicros(micros(ClockId::Boottime))
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
