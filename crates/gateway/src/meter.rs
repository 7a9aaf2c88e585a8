//! Counts what the node did, for the metrics page and the console.
//!
//! Counters are by integration and by reason of refusal: both are bounded by what operators registered and by the
//! program, and neither names a subject, a credential, a path or an address. The record is not made from these numbers.

use model::{IntegrationId, Refusal};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Seconds that [`Meter::integrations`] tells the rate of.
pub const RATE_SECONDS: usize = 60;

/// Upper bounds of the buckets of [`Meter::durations`], in microseconds: from a cache hit to a slow origin.
pub const DURATION_BOUNDS: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];

/// Counters of one node. They begin at zero with the process.
#[derive(Debug, Default)]
pub struct Meter {
    integrations: RwLock<BTreeMap<IntegrationId, Arc<Counts>>>,
    /// Refusals of callers that were not proved.
    strangers: Reasons,
    buckets: [AtomicU64; DURATION_BOUNDS.len()],
    requests: AtomicU64,
    micros: AtomicU64,
    unrecorded: Mutex<Option<(Instant, String)>>,
}

#[derive(Debug, Default)]
struct Counts {
    bearer: AtomicU64,
    released: AtomicU64,
    bytes: AtomicU64,
    touches: AtomicU64,
    refused: Reasons,
    rate: Mutex<Rate>,
}

/// How many were released in each of the last seconds.
#[derive(Debug, Default)]
struct Rate {
    /// `released` when the last second was closed.
    seen: u64,
    seconds: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Reasons([AtomicU64; Refusal::ALL.len()]);

/// What one integration did since the process began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Requests that were taken without proof of possession, under a bearer exception.
    pub bearer: u64,
    /// Replies and batches released.
    pub released: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Subjects in them: one who is in two of them is two.
    pub touches: u64,
    /// Refusals by reason; reasons that never occurred are left out.
    pub refused: BTreeMap<Refusal, u64>,
    /// Releases in each of the last [`RATE_SECONDS`] seconds, newest last.
    pub rate: Vec<u64>,
}

/// How long answers took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations {
    /// How many took at most each of [`DURATION_BOUNDS`].
    pub at_most: [u64; DURATION_BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// All of them together, microseconds.
    pub micros: u64,
}

impl Meter {
    pub(crate) fn released(&self, integration: IntegrationId, bytes: u64, touches: u64) {
        let counts = self.of(integration);
        counts.released.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        counts.touches.fetch_add(touches, Ordering::Relaxed);
    }

    pub(crate) fn bearer(&self, integration: IntegrationId) {
        self.of(integration).bearer.fetch_add(1, Ordering::Relaxed);
    }

    /// `integration`: none if the caller was not proved.
    pub(crate) fn refused(&self, integration: Option<IntegrationId>, reason: Refusal) {
        match integration {
            Some(integration) => self.of(integration).refused.count(reason),
            None => self.strangers.count(reason),
        }
    }

    pub(crate) fn answered(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let first = DURATION_BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(first) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn unrecorded(&self, reason: &impl ToString) {
        *lock(&self.unrecorded) = Some((Instant::now(), reason.to_string()));
    }

    /// Closes a second: what was released since the last call is that second's rate.
    pub(crate) fn tick(&self) {
        for counts in read(&self.integrations).values() {
            let released = counts.released.load(Ordering::Relaxed);
            let mut rate = lock(&counts.rate);
            let second = released.saturating_sub(rate.seen);
            rate.seen = released;
            if rate.seconds.len() >= RATE_SECONDS {
                rate.seconds.pop_front();
            }
            rate.seconds.push_back(second);
        }
    }

    /// Every integration that asked for anything since the process began.
    pub fn integrations(&self) -> BTreeMap<IntegrationId, Reading> {
        let reading = |counts: &Counts| Reading {
            bearer: counts.bearer.load(Ordering::Relaxed),
            released: counts.released.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
            touches: counts.touches.load(Ordering::Relaxed),
            refused: counts.refused.reading(),
            rate: lock(&counts.rate).seconds.iter().copied().collect(),
        };
        read(&self.integrations).iter().map(|(id, counts)| (*id, reading(counts))).collect()
    }

    /// Refusals of callers that were not proved, by reason.
    pub fn strangers(&self) -> BTreeMap<Refusal, u64> {
        self.strangers.reading()
    }

    /// How long answers took, from the request's last byte to the decision on its first.
    pub fn durations(&self) -> Durations {
        let mut at_most = [0; DURATION_BOUNDS.len()];
        let mut sum = 0;
        for (to, bucket) in at_most.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            *to = sum;
        }
        Durations {
            at_most,
            count: self.requests.load(Ordering::Relaxed).max(sum),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }

    /// Why a request was last refused for want of a record, and how long ago; none if that never happened.
    pub fn last_unrecorded(&self) -> Option<(Duration, String)> {
        lock(&self.unrecorded).as_ref().map(|(at, why)| (at.elapsed(), why.clone()))
    }

    fn of(&self, integration: IntegrationId) -> Arc<Counts> {
        if let Some(counts) = read(&self.integrations).get(&integration) {
            return Arc::clone(counts);
        }
        let mut all = self.integrations.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(integration).or_default())
    }
}

impl Reasons {
    fn count(&self, reason: Refusal) {
        let at = Refusal::ALL.iter().position(|known| *known == reason);
        if let Some(counter) = at.and_then(|at| self.0.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reading(&self) -> BTreeMap<Refusal, u64> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        Refusal::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGRATION: IntegrationId = IntegrationId::from_bytes([7; 16]);

    #[test]
    fn a_rate_is_of_each_second_and_of_the_last_sixty() {
        let meter = Meter::default();
        for second in 0..70 {
            for _ in 0..second {
                meter.released(INTEGRATION, 10, 2);
            }
            meter.tick();
        }
        let reading = meter.integrations().remove(&INTEGRATION).unwrap();
        assert_eq!(reading.rate, (10..70).collect::<Vec<_>>());
        assert_eq!(reading.released, (0..70).sum::<u64>());
        assert_eq!((reading.bytes, reading.touches), (reading.released * 10, reading.released * 2));
    }

    #[test]
    fn strangers_are_not_counted_as_anybody() {
        let meter = Meter::default();
        meter.refused(None, Refusal::Unauthenticated);
        meter.refused(Some(INTEGRATION), Refusal::OverBudget);
        assert_eq!(meter.strangers(), BTreeMap::from([(Refusal::Unauthenticated, 1)]));
        let reading = meter.integrations().remove(&INTEGRATION).unwrap();
        assert_eq!(reading.refused, BTreeMap::from([(Refusal::OverBudget, 1)]));
    }

    #[test]
    fn durations_add_up_bucket_by_bucket() {
        let meter = Meter::default();
        for micros in [100, 250, 251, 9_000_000] {
            meter.answered(Duration::from_micros(micros));
        }
        let durations = meter.durations();
        assert_eq!(durations.at_most.first(), Some(&2));
        assert_eq!(durations.at_most.last(), Some(&3));
        assert_eq!((durations.count, durations.micros), (4, 9_000_601));
    }
}
