//! Clocks that go when they are told to.

use model::{Micros, UnixMicros};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::embedded::clocks::ReadClocks;

/// A wall clock and a monotonic clock. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ToldClocks {
    wall: Arc<AtomicU64>,
    monotonic: Arc<AtomicU64>,
}

impl ToldClocks {
    /// Both stand still at `wall`.
    pub fn at(wall: UnixMicros) -> Self {
        Self { wall: Arc::new(AtomicU64::new(wall.0)), monotonic: Arc::default() }
    }

    /// Both go on.
    pub fn go_on(&self, span: Micros) {
        self.wall.fetch_add(span.0, Ordering::SeqCst);
        self.monotonic.fetch_add(span.0, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, wall: UnixMicros) {
        self.wall.store(wall.0, Ordering::SeqCst);
    }
}

impl ReadClocks for ToldClocks {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Micros {
        Micros(self.monotonic.load(Ordering::SeqCst))
    }
}
