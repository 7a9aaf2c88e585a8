//! An origin's stream in batches: bounded in bytes, values and time, and read only when the one before was taken.

use crate::origin::OriginStream;
use crate::refuse::Reason;
use disclosure::{OriginBatch, Splitter, Stream, WithheldBecause};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most bytes of one batch, unless a single value is longer: what is handed to a socket under one check of posture.
const BYTES_MAX: usize = 64 * 1024;

/// Most values of one batch.
const VALUES_MAX: usize = 64;

/// How long a value waits for company, so that a slow stream is not one record a value, and nobody sees the wait.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What is left of an origin's stream.
#[derive(Debug)]
pub(crate) struct Batches {
    stream: Stream,
    origin: OriginStream,
    /// None once the origin has ended the stream.
    splitter: Option<Splitter>,
    /// A value that was found and did not fit into the batch before.
    spare: Option<Vec<u8>>,
}

impl Batches {
    /// `value_max`: the longest value, in bytes.
    pub(crate) fn new(stream: Stream, origin: OriginStream, value_max: u64) -> Self {
        let max = usize::try_from(value_max).unwrap_or(usize::MAX);
        let splitter = Splitter::new(stream.form(), max);
        Self { stream, origin, splitter: Some(splitter), spare: None }
    }

    /// Waits for the next batch; `None` once the origin has ended the stream in order. What it has read is lost if it is dropped while
    /// it waits.
    ///
    /// # Errors
    /// The origin's; values that it sent before it failed are dropped with it.
    pub(crate) async fn next(&mut self) -> Result<Option<OriginBatch>, Reason> {
        let mut values: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let mut due = None;
        while values.len() < VALUES_MAX {
            let Some(value) = self.found()? else {
                if self.splitter.is_none() {
                    break;
                }
                let reading = self.origin.next();
                let read = match due {
                    None => reading.await?,
                    Some(due) => match timeout_at(due, reading).await {
                        Ok(read) => read?,
                        Err(_elapsed) => break,
                    },
                };
                match (read, &mut self.splitter) {
                    (Some(read), Some(splitter)) => splitter.push(&read),
                    _ => self.spare = self.splitter.take().and_then(Splitter::end),
                }
                continue;
            };
            if !values.is_empty() && bytes + value.len() > BYTES_MAX {
                self.spare = Some(value);
                break;
            }
            bytes += value.len();
            values.push(value);
            due.get_or_insert_with(|| Instant::now() + WAIT_MAX);
        }
        let batch = OriginBatch { stream: self.stream.clone(), headers: None, values };
        Ok((!batch.values.is_empty()).then_some(batch))
    }

    /// A value that has arrived already.
    fn found(&mut self) -> Result<Option<Vec<u8>>, Reason> {
        if let Some(value) = self.spare.take() {
            return Ok(Some(value));
        }
        let found = self.splitter.as_mut().map_or(Ok(None), Splitter::next_value);
        found.map_err(|bad| Reason::Withheld(WithheldBecause::OutOfContract(bad)))
    }
}
