//! A closed-loop load generator: a fixed number of keep-alive connections, one request outstanding on each.
//!
//! It runs on the thread that drives it, so pinning that thread pins the generator. The next request's bytes come from
//! a function, because a proof of possession may be used once.

use super::connection::{Connection, Target};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Longest one run may take; a peer that hangs is an error and not a wait.
const RUN_MAX: Duration = Duration::from_secs(120);

/// Appends the bytes of request `n` of a run, counted from 0 over all connections, to an empty buffer.
pub(crate) type Requests = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

/// Open connections to one server.
pub(crate) struct Load {
    connections: Vec<Connection>,
}

/// What a run saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Replies, of whatever status.
    pub(crate) requests: u64,
    /// From the first request to the last reply.
    pub(crate) wall: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// How many replies were not 200 with content of the expected length, by status.
    pub(crate) wrong: BTreeMap<u16, u64>,
}

impl Load {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(crate) async fn open(target: &Target, count: usize) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(target).await?);
        }
        Ok(Self { connections })
    }

    /// Sends `count` requests and reads their replies; each should be 200 with `length` bytes of content.
    ///
    /// # Errors
    /// If a connection ends, or the run takes longer than [`RUN_MAX`]. Replies of another status or length are counted.
    pub(crate) async fn run(
        &mut self,
        count: u64,
        length: usize,
        requests: Arc<Requests>,
    ) -> Result<Seen> {
        let next = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        let started = Instant::now();
        for connection in self.connections.drain(..) {
            running.spawn(drive(
                connection,
                Arc::clone(&next),
                count,
                length,
                Arc::clone(&requests),
            ));
        }
        let mut waits = Vec::new();
        let mut wrong = BTreeMap::new();
        let all_ended = async {
            while let Some(ended) = running.join_next().await {
                let driven = ended??;
                self.connections.push(driven.connection);
                waits.extend(driven.waits);
                for (status, times) in driven.wrong {
                    *wrong.entry(status).or_insert(0) += times;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(RUN_MAX, all_ended).await.context("the run did not end in time")??;
        let wall = started.elapsed();
        ensure!(!waits.is_empty(), "a run without requests");
        waits.sort_unstable();
        let at =
            |part: usize| waits.get((waits.len() - 1) * part / 100).copied().unwrap_or_default();
        Ok(Seen { requests: u64::try_from(waits.len())?, wall, p50: at(50), p99: at(99), wrong })
    }
}

struct Driven {
    connection: Connection,
    waits: Vec<Duration>,
    wrong: BTreeMap<u16, u64>,
}

async fn drive(
    mut connection: Connection,
    next: Arc<AtomicU64>,
    count: u64,
    length: usize,
    requests: Arc<Requests>,
) -> Result<Driven> {
    let mut waits = Vec::new();
    let mut wrong = BTreeMap::new();
    let mut request = Vec::with_capacity(2048);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok(Driven { connection, waits, wrong });
        }
        request.clear();
        requests(n, &mut request);
        let sent = Instant::now();
        let reply = connection.exchange(&request).await?;
        waits.push(sent.elapsed());
        if reply.status != 200 || reply.length != length {
            *wrong.entry(reply.status).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::static_origin;
    use super::*;

    #[tokio::test]
    async fn a_run_sends_each_request_once_and_checks_every_reply() {
        let origin = Target { address: static_origin::start().await.unwrap(), tls: None };
        let mut load = Load::open(&origin, 3).await.unwrap();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let requests: Arc<Requests> = Arc::new({
            let asked = Arc::clone(&asked);
            move |n, out: &mut Vec<u8>| {
                asked.lock().unwrap().push(n);
                out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
        });
        let right =
            load.run(20, static_origin::ACCOUNT.len(), Arc::clone(&requests)).await.unwrap();
        assert_eq!((right.requests, right.wrong.len()), (20, 0));
        asked.lock().unwrap().sort_unstable();
        assert_eq!(*asked.lock().unwrap(), (0..20).collect::<Vec<_>>());
        let short = load.run(5, 1, requests).await.unwrap();
        assert_eq!(
            short.wrong,
            BTreeMap::from([(200, 5)]),
            "the connections serve another run, and lengths are checked"
        );
    }
}
