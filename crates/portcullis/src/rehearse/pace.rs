//! The scenario's time. It is the process's own clocks, set forward whenever the next thing to happen is still ahead.

use anyhow::{Result, bail};
use gateway::node::Node;
use model::{Micros, UnixMicros};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;

/// How often a scenario that is played slower than possible looks at its clocks.
const SLICE: Duration = Duration::from_millis(100);

/// How fast a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// So many seconds of the scenario in each second.
    Times(u32),
    /// Nothing is waited for.
    Max,
}

impl FromStr for Speed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(times @ 1..=1_000_000)) => Ok(Self::Times(times)),
            _ => bail!("`max`, or a whole number from 1 to 1,000,000"),
        }
    }
}

/// Sets the clocks forward to nine o'clock (UTC) of a working day, so that a run is the same whenever it is made: honest traffic follows the
/// hours of offices. No node may be there yet.
pub(crate) fn begin() {
    let now = clock::unix_now();
    let at = |hours: u64| UnixMicros::from_secs((now.secs() / 3_600 + hours) * 3_600);
    let is_nine = |at: &UnixMicros| {
        // 1970-01-01 was a Thursday.
        let (day, hour) = (at.secs() / 86_400, at.secs() / 3_600 % 24);
        hour == 9 && !matches!(day % 7, 2 | 3)
    };
    if let Some(at) = (1..=96).map(at).find(is_nine) {
        #[expect(clippy::disallowed_methods, reason = "this is the rehearsal")]
        clock::leap(at.since(now));
    }
}

/// The time of one run.
pub(crate) struct Pace {
    pub(crate) speed: Speed,
    pub(crate) node: Arc<Node>,
}

impl Pace {
    /// Waits until a moment, or sets the clocks forward to it. A moment that has passed is not waited for. No request of the rehearsal
    /// may be under way.
    pub(crate) async fn until(&self, at: UnixMicros) {
        loop {
            let left = at.since(clock::unix_now());
            if left.0 == 0 {
                return;
            }
            match self.speed {
                Speed::Max => self.leap(left),
                Speed::Times(times) => {
                    let left = Duration::from_micros(left.0);
                    let slice = SLICE.min(left.div_f64(times.into()));
                    tokio::time::sleep(slice).await;
                    let ahead = slice.saturating_mul(times - 1).as_micros();
                    self.leap(Micros(u64::try_from(ahead).unwrap_or(0)));
                }
            }
        }
    }

    /// Sets the clocks forward. The lease has run out by that, as it should: it is renewed at once, if posture allows it.
    fn leap(&self, by: Micros) {
        if by.0 > 0 {
            #[expect(clippy::disallowed_methods, reason = "this is the rehearsal")]
            clock::leap(by);
            self.node.posture.renew();
        }
    }
}
