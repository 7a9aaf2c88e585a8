//! HTTP/2 over the same gate: hyper frames, the data path decides.
//!
//! What a request has released may stand in HTTP/2's own queues after its body was taken, so its passage lingers on the
//! connection: a sever that covers anything this connection has carried resets it.
//!
//! The batches of a stream are fetched when hyper asks for bytes, which it does while the client's window has room. A
//! stream that is broken off ends in `RST_STREAM`, never in `END_STREAM`.

use crate::connection::{Connection, TRANSFER};
use crate::http1::authority::Authority;
use crate::http1::server::Rules;
use crate::http1::{BadBody, BadRequest, Method, RequestTarget};
use crate::listener;
use crate::node::Node;
use crate::refuse;
use crate::release::{Outgoing, Reply};
use crate::request::{Headers, Request};
use crate::serve::{self, BrokenOff, Rest};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sever::Passage;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// Streams one connection may have open.
const STREAMS_MAX: u32 = 64;

/// Bytes one connection may have queued for its socket.
const SEND_BUFFER_MAX: usize = 64 * 1024;

/// Serves HTTP/2 until either side ends the connection, or `stop` turns true and the streams under way have ended.
///
/// # Errors
/// hyper's: the peer broke the protocol, went away, or the gate was cut.
pub(crate) async fn serve_http2<S>(
    node: Arc<Node>,
    stream: S,
    connection: Arc<Connection>,
    rules: Rules,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let (node, connection) = (Arc::clone(&node), Arc::clone(&connection));
        async move {
            let is_head = request.method() == http::Method::HEAD;
            let reply = match read(&node, request, &rules).await {
                Ok(request) => serve::answer(&node, &connection, request).await,
                Err(bad) => refuse::malformed(&node, &connection, bad),
            };
            Ok::<_, Infallible>(response(node, connection, reply, is_head))
        }
    });
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(Some(16))
        .max_local_error_reset_streams(Some(64))
        .max_header_list_size(32 * 1024)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = listener::told_to(&mut stop) => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

async fn read(
    node: &Node,
    request: http::Request<Incoming>,
    rules: &Rules,
) -> Result<Request, BadRequest> {
    let (parts, body) = request.into_parts();
    let method = Method::parse(parts.method.as_str().as_bytes())?;
    let named = parts.uri.authority().ok_or(BadRequest::HostMissing)?;
    let named = Authority::parse(named.as_str().as_bytes())?;
    //= RFC 9113 section 8.3.1: a Host field that differs from :authority makes the request malformed
    for host in parts.headers.get_all(http::header::HOST) {
        if !Authority::parse(host.as_bytes())?.same_as(named) {
            return Err(BadRequest::HostMismatch);
        }
    }
    if !node.is_called(named) {
        return Err(BadRequest::HostOther);
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target = RequestTarget::from_path(path.as_bytes())?;
    let max = usize::try_from(rules.max_body).unwrap_or(usize::MAX);
    let body = timeout(TRANSFER, Limited::new(body, max).collect())
        .await
        .map_err(|_| BadRequest::Body(BadBody::Truncated))?
        .map_err(|_| BadRequest::Body(BadBody::TooLong))?;
    let body = body.to_bytes().to_vec();
    if !body.is_empty() && !method.may_have_content() {
        return Err(BadRequest::ContentForbidden);
    }
    let headers = Headers::Http2(parts.headers);
    Ok(Request { method, target, headers, body, can_stream: true })
}

fn response(
    node: Arc<Node>,
    connection: Arc<Connection>,
    reply: Reply,
    is_head: bool,
) -> http::Response<PassingBody> {
    let Outgoing { status, headers, body, release, rest } = reply.into_outgoing();
    let passage = release.map(|release| release.passage);
    //= RFC 9110 section 9.3.2: the server must not send content in the response to HEAD
    let (body, next) = match rest {
        _ if is_head => (Bytes::new(), Next::End),
        None => (Bytes::from(body), Next::End),
        Some(rest) => (Bytes::from(body), Next::Rest(rest)),
    };
    let mut response = http::Response::new(PassingBody { node, connection, body, passage, next });
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A body in pieces that one posture check covers, holding its passage until hyper lets go of it.
struct PassingBody {
    node: Arc<Node>,
    connection: Arc<Connection>,
    /// What is left of the batch that was released last.
    body: Bytes,
    /// Of that batch; held while the next one is fetched, so that a sever finds the stream then too.
    passage: Option<Passage>,
    next: Next,
}

/// What follows the bytes at hand.
enum Next {
    End,
    Rest(Box<Rest>),
    /// A task of its own fetches and releases it, so that a client that goes in the middle does not leave a record of what it was not
    /// sent.
    Coming(oneshot::Receiver<Released>),
}

/// A batch, or the stream's end, and what brings the batch after it.
type Released = (Box<Rest>, Result<Option<Reply>, BrokenOff>);

impl http_body::Body for PassingBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        loop {
            if !this.body.is_empty() {
                let piece = this.body.len().min(SEND_BUFFER_MAX);
                return Poll::Ready(Some(Ok(Frame::data(this.body.split_to(piece)))));
            }
            match std::mem::replace(&mut this.next, Next::End) {
                Next::End => return Poll::Ready(None),
                Next::Rest(rest) => {
                    let coming = release_next(&this.node, &this.connection, rest);
                    this.next = Next::Coming(coming);
                }
                Next::Coming(mut coming) => match Pin::new(&mut coming).poll(cx) {
                    Poll::Pending => {
                        this.next = Next::Coming(coming);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((rest, Ok(Some(reply))))) => {
                        let Outgoing { body, release, .. } = reply.into_outgoing();
                        let passage = release.map(|release| release.passage);
                        let before = std::mem::replace(&mut this.passage, passage);
                        if let Some(before) = before {
                            before.linger();
                        }
                        (this.body, this.next) = (Bytes::from(body), Next::Rest(rest));
                    }
                    Poll::Ready(Ok((_, Ok(None)))) => return Poll::Ready(None),
                    Poll::Ready(Ok((_, Err(BrokenOff))) | Err(_)) => {
                        return Poll::Ready(Some(Err(BrokenOff)));
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty() && matches!(self.next, Next::End)
    }

    fn size_hint(&self) -> SizeHint {
        match self.next {
            Next::End => SizeHint::with_exact(self.body.len() as u64),
            Next::Rest(_) | Next::Coming(_) => SizeHint::new(),
        }
    }
}

/// Fetches and releases the next batch. If nobody wants it any more it is not released, or its record is taken back.
fn release_next(
    node: &Arc<Node>,
    connection: &Arc<Connection>,
    mut rest: Box<Rest>,
) -> oneshot::Receiver<Released> {
    let (node, connection) = (Arc::clone(node), Arc::clone(connection));
    let (mut give, take) = oneshot::channel();
    tokio::spawn(async move {
        let fetched = tokio::select! {
            fetched = rest.fetch() => fetched,
            () = give.closed() => return,
        };
        let released = rest.release(&node, &connection, fetched).await;
        if let Err((_, Ok(Some(reply)))) = give.send((rest, released))
            && let Some(release) = reply.into_outgoing().release
        {
            release.take_back(&node).await;
        }
    });
    take
}

impl Drop for PassingBody {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            passage.linger();
        }
    }
}
