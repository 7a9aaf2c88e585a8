//! HTTP/2 over the same gate: hyper frames, the data path decides.
//!
//! What a stream has released may stand in HTTP/2's own queues after its body was taken, so its passage lingers on the
//! connection: a sever that covers anything this connection has carried resets it.

use crate::connection::Connection;
use crate::http1::authority::Authority;
use crate::http1::server::Rules;
use crate::http1::{BadBody, BadRequest, Method, RequestTarget};
use crate::node::Node;
use crate::release::{Outgoing, Reply};
use crate::request::{Headers, Request};
use crate::{refuse, serve};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sever::Passage;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Streams one connection may have open.
const STREAMS_MAX: u32 = 64;

/// Bytes one connection may have queued for its socket.
const SEND_BUFFER_MAX: usize = 64 * 1024;

/// Serves HTTP/2 until either side ends the connection.
///
/// # Errors
/// hyper's: the peer broke the protocol, went away, or the gate was cut.
pub(crate) async fn serve_http2<S>(
    node: Arc<Node>,
    stream: S,
    connection: Arc<Connection>,
    rules: Rules,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let (node, connection) = (Arc::clone(&node), Arc::clone(&connection));
        async move {
            let reply = match read(&node, request, &rules).await {
                Ok(request) => serve::answer(&node, &connection, request).await,
                Err(bad) => refuse::malformed(&node, &connection, bad),
            };
            Ok::<_, Infallible>(response(reply))
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(Some(16))
        .max_local_error_reset_streams(Some(64))
        .max_header_list_size(32 * 1024)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .serve_connection(TokioIo::new(stream), service)
        .await
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
    let body =
        Limited::new(body, max).collect().await.map_err(|_| BadRequest::Body(BadBody::TooLong))?;
    let body = body.to_bytes().to_vec();
    if !body.is_empty() && !method.may_have_content() {
        return Err(BadRequest::ContentForbidden);
    }
    Ok(Request { method, target, headers: Headers::Http2(parts.headers), body })
}

fn response(reply: Reply) -> http::Response<PassingBody> {
    let Outgoing { status, headers, body, release } = reply.into_outgoing();
    let mut response = http::Response::new(PassingBody {
        body: Bytes::from(body),
        passage: release.map(|release| release.passage),
    });
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
    body: Bytes,
    passage: Option<Passage>,
}

impl http_body::Body for PassingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.body.len().min(SEND_BUFFER_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.body.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}

impl Drop for PassingBody {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            passage.linger();
        }
    }
}
