//! Never shipped: virtual disk, adversary, invariant checkers, seeded runs.
//!
//! Everything here depends on its seed alone: a run that fails prints its seed, and that seed fails again. Start reading at
//! [`power_cuts`], which holds promise P4's durable half against a disk that loses all it may.

pub mod clocks;
pub mod dice;
pub mod liar;
pub mod power_cuts;
pub mod torn_disk;
