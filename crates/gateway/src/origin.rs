//! Keep-alive HTTP/1.1 connections to one origin, and one request at a time on each.
//!
//! [`Origin::begin`] writes a request in one piece and reads the reply's head; then [`Begun::whole`] reads all of its
//! content, or [`Begun::stream`] lets it be read as it comes. A connection is kept only after a whole reply and if nothing
//! about it is in doubt: one that saw an error, an early end, or a byte too many is closed, so no reply can reach the
//! wrong request. It follows no redirect, decodes no content coding, and does not balance between addresses.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http1::client::{
    BadReply, NotForwardable, OriginReplyHead, ReplyReader, UpstreamRequest,
};
use crate::http1::{BadBody, BodyDecoder, BodyLength, Decoded, Fields, Method};

/// How long an unused connection is kept: less than the 60 s and more after which common servers close theirs, so that
/// few requests meet a connection that is being closed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);

/// Room for the next read: a common reply in one piece.
const READ_BYTES: usize = 8 * 1024;

/// Most room reserved on the word of a `Content-Length` alone; longer content grows as it arrives.
const RESERVE_MAX: u64 = 256 * 1024;

/// What is fixed about one origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Most bytes of a whole reply's content; a stream may be longer.
    pub body_max: u64,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait from the first byte of a request to the last byte of its reply; in a stream, from one read to the next.
    pub response_timeout: Duration,
    /// Most unused connections kept.
    pub idle_max: usize,
}

/// One origin and the connections to it that are not in use. Shared by all requests; `fetch` takes `&self`.
#[derive(Debug)]
pub struct Origin {
    config: OriginConfig,
    /// The one used last at the back, so that under little load the others grow old and are closed.
    /// Locked to take one or to put one back, never over an await.
    idle: Mutex<VecDeque<Idle>>,
}

/// A complete reply.
#[derive(Debug)]
pub struct OriginResponse {
    /// 200 to 999.
    pub status: u16,
    /// End-to-end fields, as [`OriginReplyHead`] has them.
    pub fields: Fields,
    /// All of the content; empty for `HEAD`, 204 and 304.
    pub body: Vec<u8>,
}

/// Why there is no reply. In every case but the first, the origin may have acted on the request.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The request was not sent.
    #[error("the request cannot be forwarded")]
    NotForwardable(#[from] NotForwardable),
    /// No connection; the request was not sent.
    #[error("the origin cannot be reached")]
    Unreachable(#[source] io::Error),
    /// [`OriginConfig::connect_timeout`] or [`OriginConfig::response_timeout`] passed.
    #[error("the origin took too long")]
    TimedOut,
    /// The connection ended before the reply was complete.
    #[error("the origin ended the connection before its reply was complete")]
    Ended(#[source] io::Error),
    /// The reply cannot be believed.
    #[error("the origin's reply cannot be believed")]
    BadReply(#[from] BadReply),
}

impl Origin {
    /// No connection is made until one is needed.
    pub const fn new(config: OriginConfig) -> Self {
        Self { config, idle: Mutex::new(VecDeque::new()) }
    }

    /// Sends one request and reads the whole reply to it: [`Origin::begin`], then [`Begun::whole`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn fetch<'f>(
        &self,
        request: &UpstreamRequest<'_>,
        inbound: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<OriginResponse, OriginError> {
        self.begin(request, inbound).await?.whole().await
    }

    /// Sends one request and reads the head of the reply to it.
    ///
    /// `inbound`: the caller's fields, of which [`UpstreamRequest::allow`] picks. Dropping the future closes the connection.
    ///
    /// A request with a safe method is sent a second time, on a fresh connection, if the kept connection it was sent on ended
    /// without a byte of reply: the origin closed it while the request was on its way (RFC 9112 section 9.3.1).
    /// Nothing else is ever repeated.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn begin<'f>(
        &self,
        request: &UpstreamRequest<'_>,
        inbound: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<Begun<'_>, OriginError> {
        let mut bytes = Vec::with_capacity(512 + request.body.len());
        request.write(inbound, &mut bytes)?;
        // One reading of the clock for the whole fetch: each costs as much as a small allocation.
        let started = Instant::now();
        if let Some(connection) = self.take_idle(started) {
            match self.exchange(connection, request.method, &bytes, started).await {
                Err(Failure::Ended { replied: false, .. }) if is_safe(request.method) => {}
                done => return done.map_err(Failure::into_error),
            }
        }
        let connection = self.connect().await?;
        let started = Instant::now();
        let done = self.exchange(connection, request.method, &bytes, started).await;
        done.map_err(Failure::into_error)
    }

    async fn connect(&self) -> Result<Connection, OriginError> {
        let connecting = TcpStream::connect(self.config.address);
        let stream = tokio::time::timeout(self.config.connect_timeout, connecting)
            .await
            .map_err(|_| OriginError::TimedOut)?
            .map_err(OriginError::Unreachable)?;
        // A request is one write, so waiting to fill a segment would only delay it.
        stream.set_nodelay(true).map_err(OriginError::Unreachable)?;
        Ok(Connection { stream, buffer: BytesMut::new() })
    }

    /// One request and the head of its reply.
    async fn exchange(
        &self,
        mut connection: Connection,
        method: Method,
        request: &[u8],
        started: Instant,
    ) -> Result<Begun<'_>, Failure> {
        let exchanging = connection.exchange(method, request);
        let (head, sent) = tokio::time::timeout_at(self.deadline(started), exchanging)
            .await
            .map_err(|_| Failure::TimedOut)??;
        let keep_alive = sent && head.keep_alive;
        Ok(Begun { origin: self, connection, head, keep_alive, started })
    }

    fn deadline(&self, started: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(started + self.config.response_timeout)
    }

    fn take_idle(&self, now: Instant) -> Option<Connection> {
        loop {
            // The guard is gone at the end of this statement: closing a connection that turns out dead takes no lock.
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()?;
            if now.duration_since(idle.since) < IDLE_AGE_MAX && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
        }
    }

    fn put_back(&self, used: Idle) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old =
            |oldest: &Idle| used.since.saturating_duration_since(oldest.since) >= IDLE_AGE_MAX;
        let oldest = if idle.front().is_some_and(is_old) { idle.pop_front() } else { None };
        let full = idle.len() >= self.config.idle_max;
        let surplus = if full {
            Some(used)
        } else {
            idle.push_back(used);
            None
        };
        // Closing a connection is a system call, which nobody has to wait for.
        drop(idle);
        drop((oldest, surplus));
    }
}

/// A reply of which the head has arrived.
#[derive(Debug)]
pub struct Begun<'o> {
    origin: &'o Origin,
    connection: Connection,
    head: OriginReplyHead,
    /// Whether the connection may carry another request once the content is complete.
    keep_alive: bool,
    started: Instant,
}

impl Begun<'_> {
    /// 200 to 999.
    pub const fn status(&self) -> u16 {
        self.head.status
    }

    /// End-to-end fields.
    pub const fn fields(&self) -> &Fields {
        &self.head.fields
    }

    /// Whether content follows the head.
    pub fn has_content(&self) -> bool {
        self.head.body != BodyLength::Empty
    }

    /// Reads all of the content. The connection is put back only on the way out of complete success.
    ///
    /// # Errors
    /// [`OriginError`]; [`BadBody::TooLong`] in it is decided before the content is buffered where its length is announced.
    pub async fn whole(self) -> Result<OriginResponse, OriginError> {
        let Self { origin, mut connection, head, keep_alive, started } = self;
        let reading = connection.body(&head, origin.config.body_max);
        let body = tokio::time::timeout_at(origin.deadline(started), reading)
            .await
            .map_err(|_| OriginError::TimedOut)?
            .map_err(Failure::into_error)?;
        if keep_alive && connection.buffer.is_empty() {
            origin.put_back(Idle { connection, since: started });
        }
        Ok(OriginResponse { status: head.status, fields: head.fields, body })
    }

    /// Lets the content be read as it comes. Its connection is not used again.
    ///
    /// # Errors
    /// [`BadReply::NoLength`] for content that ends with the connection: its end could not be told from a failure.
    pub fn stream(self) -> Result<OriginStream, OriginError> {
        if self.head.body == BodyLength::UntilClose {
            return Err(OriginError::BadReply(BadReply::NoLength));
        }
        Ok(OriginStream {
            connection: self.connection,
            decoder: BodyDecoder::new(self.head.body, u64::MAX),
            silence_max: self.origin.config.response_timeout,
        })
    }
}

/// Content that is read as it comes. What nobody asks for stays in the kernel's buffers, and then with the origin.
#[derive(Debug)]
pub struct OriginStream {
    connection: Connection,
    decoder: BodyDecoder,
    silence_max: Duration,
}

impl OriginStream {
    /// The next bytes, never none of them; `None` at an end that the framing confirms. Nothing is lost if it is dropped while it waits.
    ///
    /// # Errors
    /// [`OriginError::Ended`] if the connection ends before the content does, [`OriginError::TimedOut`] if nothing comes for
    /// [`OriginConfig::response_timeout`], [`OriginError::BadReply`] if the framing breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        loop {
            match self.decoder.decode(&mut self.connection.buffer).map_err(BadReply::Body)? {
                Decoded::Data(data) => return Ok(Some(data)),
                Decoded::End => return Ok(None),
                Decoded::Wait => {
                    let reading = tokio::time::timeout(self.silence_max, self.connection.read());
                    let read = reading.await.map_err(|_| OriginError::TimedOut)?;
                    if read.map_err(OriginError::Ended)? == 0 {
                        return Err(OriginError::Ended(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// When its last request was sent, which is a little before it became idle.
    since: Instant,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What was read and not taken. Empty while the connection is idle.
    buffer: BytesMut,
}

enum Failure {
    /// `replied`: whether any byte of a reply had arrived.
    Ended {
        replied: bool,
        error: io::Error,
    },
    TimedOut,
    BadReply(BadReply),
}

impl From<BadReply> for Failure {
    fn from(bad: BadReply) -> Self {
        Self::BadReply(bad)
    }
}

impl From<BadBody> for Failure {
    fn from(bad: BadBody) -> Self {
        Self::BadReply(BadReply::Body(bad))
    }
}

impl Failure {
    fn into_error(self) -> OriginError {
        match self {
            Self::Ended { error, .. } => OriginError::Ended(error),
            Self::TimedOut => OriginError::TimedOut,
            Self::BadReply(bad) => OriginError::BadReply(bad),
        }
    }
}

impl Connection {
    /// Whether the origin has neither closed an unused connection nor said something unasked on it.
    ///
    /// It costs no system call unless something did arrive: without an event the runtime knows there is nothing to read.
    fn is_quiet(&self) -> bool {
        let unasked = self.stream.try_read(&mut [0; 1]);
        matches!(unasked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The head of the reply, and whether the whole request was sent.
    async fn exchange(
        &mut self,
        method: Method,
        request: &[u8],
    ) -> Result<(OriginReplyHead, bool), Failure> {
        let sent = self.stream.write_all(request).await;
        // An origin may reply and close before it has read all of a request, so a failed write is not yet the end; but
        // such a connection carries no other request.
        let whole = sent.is_ok();
        let head = self.head(method).await.map_err(|failure| match (sent, failure) {
            (Err(error), Failure::Ended { replied, .. }) => Failure::Ended { replied, error },
            (_, failure) => failure,
        })?;
        Ok((head, whole))
    }

    async fn head(&mut self, method: Method) -> Result<OriginReplyHead, Failure> {
        let mut reader = ReplyReader::new(method);
        let mut replied = false;
        loop {
            if self.read().await.map_err(|error| Failure::Ended { replied, error })? == 0 {
                let error = io::ErrorKind::UnexpectedEof.into();
                return Err(Failure::Ended { replied, error });
            }
            replied = true;
            if let Some(head) = reader.head(&mut self.buffer)? {
                return Ok(head);
            }
        }
    }

    async fn body(&mut self, head: &OriginReplyHead, max: u64) -> Result<Vec<u8>, Failure> {
        let mut decoder = BodyDecoder::new(head.body, max);
        let mut body = Vec::new();
        if let BodyLength::Exact(length) = head.body {
            body.reserve(usize::try_from(length.min(max).min(RESERVE_MAX)).unwrap_or(0));
        }
        loop {
            match decoder.decode(&mut self.buffer)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::End => return Ok(body),
                Decoded::Wait => {
                    let read = self.read().await;
                    let read = read.map_err(|error| Failure::Ended { replied: true, error })?;
                    if read == 0 {
                        decoder.finish()?;
                        return Ok(body);
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// Methods that ask an origin to change nothing, so that asking twice is asking once.
///
//= RFC 9110 section 9.2.1: GET, HEAD, OPTIONS (and TRACE, which cannot be expressed here) are safe
const fn is_safe(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}

#[cfg(test)]
mod tests;
