//! Answers with a row for every subject or every release: their JSON is made while it is sent, and is never in memory as a whole.

use crate::answers::window;
use crate::questions::Found;
use axum::body::Body;
use exposure::Caveats;
use exposure::index::Touched;
use hyper::body::{Bytes, Frame};
use model::{ClassTable, SubjectId, UnixMicros};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Bytes that are sent at once, and of which a few pieces wait for the client.
const PIECE: usize = 64 << 10;

/// How long a client may take over one piece. Until it has the last one it keeps others from asking.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that is still to be written.
pub struct Long {
    rows: Rows,
    caveats: Caveats,
    classes: ClassTable,
}

/// What it is of.
pub(crate) enum Rows {
    /// Who was read.
    Exposure(Box<Found>),
    /// Every release that one subject's data went out with.
    History {
        subject: SubjectId,
        /// Nobody the node does not know was ever read under that name, or they were erased.
        known: bool,
        /// Each with the log that has it.
        releases: Vec<(String, Touched)>,
        window: (UnixMicros, UnixMicros),
    },
}

impl Long {
    pub(crate) const fn new(rows: Rows, caveats: Caveats, classes: ClassTable) -> Self {
        Self { rows, caveats, classes }
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        match &self.rows {
            Rows::Exposure(found) => {
                let Found { question, listed, scope } = &**found;
                let (scope, caveats) = (scope.as_ref(), &self.caveats);
                exposure::write_json(out, question, listed, &self.classes, scope, None, caveats)
            }
            Rows::History { subject, known, releases, window: (from, to) } => {
                let history = History {
                    schema: "portcullis.subject/1",
                    subject: subject.as_str(),
                    known: *known,
                    releases: Releases { releases, classes: &self.classes },
                    window: window(*from, *to),
                    gaps: &self.caveats.gaps,
                    other_nodes: &self.caveats.other_nodes,
                };
                Ok(serde_json::to_writer(out, &history)?)
            }
        }
    }

    /// The JSON as the body of a response, written by a thread of its own as fast as the client takes it. `place`: held until then.
    pub(crate) fn into_body(self, place: OwnedSemaphorePermit) -> Body {
        let (send, pieces) = mpsc::channel(2);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::with_capacity(PIECE, Pieces { send, runtime });
            // A client that has gone has had enough of it.
            let _gone = self.write(&mut out).and_then(|()| out.flush()).and_then(|()| {
                let Pieces { send, runtime } = out.get_ref();
                send_piece(runtime, send, Piece::End)
            });
            drop((self, place));
        });
        Body::new(Sent(pieces))
    }
}

#[derive(Serialize)]
struct History<'a> {
    schema: &'static str,
    subject: &'a str,
    known: bool,
    releases: Releases<'a>,
    window: Value,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    gaps: &'a [Value],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    other_nodes: &'a [Value],
}

/// A row for each, made when it is written.
struct Releases<'a> {
    releases: &'a [(String, Touched)],
    classes: &'a ClassTable,
}

impl Serialize for Releases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.releases.iter().map(|(log, touched)| {
            let context = &touched.context;
            json!({
                "time": touched.time.to_string(),
                "log": log,
                "record": touched.record,
                "vendor": context.vendor.to_string(),
                "integration": context.integration.to_string(),
                "credential": context.credential.to_string(),
                "grant": context.grant.map(|grant| grant.to_string()),
                "operation": context.operation.as_ref().map(|operation| operation.as_str()),
                "network": touched.network.to_string(),
                "classes": self.classes.names(&touched.classes),
            })
        }))
    }
}

enum Piece {
    Bytes(Bytes),
    /// Without it the answer was broken off.
    End,
}

/// Where the writer's pieces go.
struct Pieces {
    send: mpsc::Sender<Piece>,
    runtime: Handle,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Piece::Bytes(Bytes::copy_from_slice(bytes));
        send_piece(&self.runtime, &self.send, piece)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send_piece(runtime: &Handle, send: &mpsc::Sender<Piece>, piece: Piece) -> io::Result<()> {
    let sent = runtime.block_on(send.send_timeout(piece, PATIENCE));
    sent.map_err(|_| ErrorKind::BrokenPipe.into())
}

/// The pieces as a body. One that was broken off is an error, so that nobody takes it for the whole.
struct Sent(mpsc::Receiver<Piece>);

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.0.poll_recv(context)) {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(ErrorKind::UnexpectedEof.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use exposure::index::Context as Reader;
    use model::{ClassSet, ClientIp, CredentialId, IntegrationId, VendorId};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn history(releases: u64) -> Long {
        let context = Reader {
            integration: IntegrationId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            grant: None,
            operation: None,
        };
        let touched = |record| Touched {
            record,
            time: UnixMicros(1_790_000_000_000_000 + record),
            context: context.clone(),
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            classes: ClassSet::EMPTY,
        };
        let rows = Rows::History {
            subject: SubjectId::new("acct-1").unwrap(),
            known: true,
            releases: (0..releases).map(|n| ("node-1/1".into(), touched(n))).collect(),
            window: (UnixMicros(0), UnixMicros(1)),
        };
        let caveats = Caveats {
            gaps: vec![json!({ "why": "it was lost" })],
            other_nodes: vec![json!({ "log": "node-2/1" })],
        };
        Long::new(rows, caveats, ClassTable::default())
    }

    fn place() -> (Arc<Semaphore>, OwnedSemaphorePermit) {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        (places, place)
    }

    #[tokio::test]
    async fn what_is_sent_in_pieces_is_the_whole() {
        let mut whole = Vec::new();
        history(5_000).write(&mut whole).unwrap();
        let value: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(value["releases"].as_array().map(Vec::len), Some(5_000));
        let members: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["schema", "subject", "known", "releases", "window", "gaps", "other_nodes"]
        );
        let (places, place) = place();
        let sent = to_bytes(history(5_000).into_body(place), usize::MAX).await.unwrap();
        assert!(sent == whole, "what was sent is something else");
        places.acquire().await.unwrap().forget();
    }

    #[tokio::test]
    async fn a_client_that_goes_away_frees_the_place() {
        let (places, place) = place();
        let body = history(5_000).into_body(place);
        // Far more than what waits for a client: the writer cannot have come to its end.
        assert!(places.try_acquire().is_err());
        drop(body);
        places.acquire().await.unwrap().forget();
    }

    #[tokio::test]
    async fn what_was_broken_off_is_no_whole_answer() {
        let (send, pieces) = mpsc::channel(2);
        send.send(Piece::Bytes(Bytes::from_static(b"{}"))).await.unwrap();
        drop(send);
        assert!(to_bytes(Body::new(Sent(pieces)), usize::MAX).await.is_err());
    }
}
