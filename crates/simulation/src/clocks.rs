//! Clocks that go when they are told to.

use model::{Micros, UnixMicros};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::embedded::clocks::ReadClocks;

/// A wall clock and a monotonic clock. Clones show the same time.
///
/// Both are behind one lock: a log's thread that read them between the two settings of [`ToldClocks::go_on`] would see a step.
#[derive(Clone, Debug)]
pub struct ToldClocks(Arc<Mutex<(UnixMicros, Micros)>>);

impl ToldClocks {
    /// Both stand still at `wall`.
    pub fn at(wall: UnixMicros) -> Self {
        Self(Arc::new(Mutex::new((wall, Micros(0)))))
    }

    /// Both go on.
    pub fn go_on(&self, span: Micros) {
        let mut clocks = self.clocks();
        clocks.0.0 += span.0;
        clocks.1.0 += span.0;
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, wall: UnixMicros) {
        self.clocks().0 = wall;
    }

    fn clocks(&self) -> MutexGuard<'_, (UnixMicros, Micros)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadClocks for ToldClocks {
    fn wall(&self) -> UnixMicros {
        self.clocks().0
    }

    fn monotonic(&self) -> Micros {
        self.clocks().1
    }

    fn both(&self) -> (UnixMicros, Micros) {
        *self.clocks()
    }
}
