//! The desk's part in retention: sealed segments that are old enough are thinned, unless an incident is open.
//!
//! The order: the log says which records go; a signed checkpoint covers that; the segments are thinned, oldest first; the exposure index
//! is made again from what is left. What was broken off is due again.

use super::{Desk, NotDone};
use model::{Micros, UnixMicros};
use std::sync::Arc;
use std::time::Duration;
use storage::embedded::Unavailable;
use storage::embedded::retention::Due;
use tokio::time::error::Elapsed;
use tracing::{info, warn};

const DAY: Micros = Micros::from_secs(86_400);
/// A checkpoint follows a record within a second or two.
const CHECKPOINT_MAX: Duration = Duration::from_secs(30);

impl Desk {
    /// Thins every sealed segment whose last record is older than `days` whole days (UTC). Returns how many segments were.
    ///
    /// # Errors
    /// [`NotDone`] says what stopped it; what was not done is due again.
    pub async fn retain(&self, days: u32) -> Result<usize, NotDone> {
        // A clock that was stepped has everything stand still that cannot be taken back.
        let now = self.recorder.now()?;
        let midnight = UnixMicros(now.0 - now.0 % DAY.0);
        let before = UnixMicros(midnight.0.saturating_sub(DAY.0.saturating_mul(days.into())));
        let thinner = Arc::clone(&self.thinner);
        let due = blocking(move || thinner.due(before, days).map_err(|e| e.to_string())).await?;
        if due.is_empty() || self.held(&due).await? {
            return Ok(0);
        }
        let mut announced = 0;
        for due in &due {
            announced = self.recorder.append(due.thinning.draft()).await?.index();
        }
        // No copy of the log shows the loss without its announcement.
        let late =
            |_: Elapsed| Unavailable::Stopped("no checkpoint covers what is to be thinned".into());
        self.under_a_checkpoint(announced, CHECKPOINT_MAX).await.map_err(late)?;
        // Between this look and the act no case can be opened.
        let _turn = self.turn.lock().await;
        if self.held(&due).await? {
            return Ok(0);
        }
        let segments = due.len();
        let (first, last) = (due.first().copied(), due.last().copied());
        let (thinner, index) = (Arc::clone(&self.thinner), Arc::clone(&self.archive.logs.current));
        let thinned = blocking(move || {
            let thinned =
                due.iter().try_for_each(|due| thinner.thin(due).map_err(|e| e.to_string()));
            // Also after a failure: some of them may be thinned, and the index still has what they lost.
            let made = index.forget().and_then(|()| index.catch_up());
            thinned.and(made.map_err(|error| format!("the exposure index: {error}")))
        });
        thinned.await?;
        if let (Some(first), Some(last)) = (first, last) {
            warn!(
                segments,
                first = first.thinning.first,
                last = last.thinning.last,
                until = %last.thinning.until,
                "thinned by retention"
            );
        }
        Ok(segments)
    }

    /// Whether a case is open: its people must be told, and its evidence kept.
    async fn held(&self, due: &[Due]) -> Result<bool, NotDone> {
        let open = self.office.open_cases().await?;
        if !open.is_empty() {
            info!(
                cases = open.join(" "),
                segments = due.len(),
                "retention is held: segments that are due are thinned when these cases are closed"
            );
        }
        Ok(!open.is_empty())
    }

    /// Waits until a signed checkpoint covers a record, `at_most` so long.
    pub(super) async fn under_a_checkpoint(
        &self,
        index: u64,
        at_most: Duration,
    ) -> Result<(), Elapsed> {
        let records = || self.archive.records_under(&self.recorder.checkpoint()?);
        let wait = async {
            while records().is_none_or(|records| records <= index) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(at_most, wait).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, NotDone> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("it panicked".into())).map_err(NotDone::NotThinned)
}
