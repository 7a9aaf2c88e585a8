//! One connection: requests in, replies out, one at a time. The HTTP/1.1 loop stands here, HTTP/2 in `http2`.

use crate::http1::authority::Authority;
use crate::http1::encode::{self, Content, Framing, ReplyHead};
use crate::http1::server::{RequestHead, Rules, parse_head};
use crate::http1::{BadRequest, BodyDecoder, Decoded, Method, date};
use crate::node::Node;
use crate::release::{Outgoing, Reply};
use crate::request::{Headers, Request};
use crate::{refuse, serve};
use bytes::BytesMut;
use model::{ClientIp, Digest};
use sever::Gate;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a connection may stay without a request.
const IDLE: Duration = Duration::from_secs(75);

/// How long a request may take to arrive once its first byte has, and a reply to be read.
const TRANSFER: Duration = Duration::from_secs(30);

/// How long, and how much, is still read of a client that was refused.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 64 * 1024;

/// Bytes asked of the socket at a time.
const READ: usize = 8 * 1024;

/// What the socket proves about a connection.
#[derive(Debug)]
pub struct Connection {
    /// Its peer.
    pub peer: ClientIp,
    /// What stands between releases and its socket.
    pub gate: Arc<Gate>,
    /// SHA-256 of the client certificate's DER, if TLS asked for one and got one.
    pub client_certificate: Option<Digest>,
}

/// Serves HTTP/1.1 until either side ends the connection.
///
/// # Errors
/// The socket's; a request that is not HTTP is answered and ends the connection without an error.
pub(crate) async fn serve_http1<S>(
    node: &Node,
    mut stream: S,
    connection: &Connection,
    rules: &Rules,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = BytesMut::with_capacity(READ);
    let mut output = Vec::with_capacity(READ);
    loop {
        let head = match read_head(&mut stream, &mut input, rules).await? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(bad) => return refuse_and_close(node, &mut stream, connection, bad).await,
        };
        //= RFC 9110 section 7.4: a request for a host that is not ours is refused before anything is done for it
        if !Authority::parse(head.host().as_bytes()).is_ok_and(|host| node.is_called(host)) {
            return refuse_and_close(node, &mut stream, connection, BadRequest::HostOther).await;
        }
        let (method, keep_alive) = (head.method(), head.keep_alive());
        let request = match read_body(&mut stream, &mut input, head, rules).await? {
            Ok(request) => request,
            Err(bad) => return refuse_and_close(node, &mut stream, connection, bad).await,
        };
        let reply = serve::answer(node, connection, request).await;
        output.clear();
        write(node, &mut stream, &mut output, reply, method, keep_alive).await?;
        if !keep_alive {
            return stream.shutdown().await;
        }
    }
}

/// The next head, or `None` if the client closed between requests.
async fn read_head<S>(
    stream: &mut S,
    input: &mut BytesMut,
    rules: &Rules,
) -> io::Result<Result<Option<RequestHead>, BadRequest>>
where
    S: AsyncRead + Unpin,
{
    if input.is_empty() && timeout(IDLE, fill(stream, input)).await?? == 0 {
        return Ok(Ok(None));
    }
    let whole = async {
        loop {
            match parse_head(input, rules) {
                Ok(None) if fill(stream, input).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(None) => {}
                parsed => return Ok(parsed),
            }
        }
    };
    timeout(TRANSFER, whole).await?
}

async fn read_body<S>(
    stream: &mut S,
    input: &mut BytesMut,
    head: RequestHead,
    rules: &Rules,
) -> io::Result<Result<Request, BadRequest>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if head.expects_continue() {
        stream.write_all(encode::CONTINUE).await?;
        stream.flush().await?;
    }
    let mut decoder = BodyDecoder::new(head.body(), rules.max_body);
    let mut body = Vec::new();
    let whole = async {
        loop {
            match decoder.decode(input) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::End) => return Ok(Ok(())),
                Ok(Decoded::Wait) if fill(stream, input).await? == 0 => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                Ok(Decoded::Wait) => {}
                Err(bad) => return Ok(Err(BadRequest::Body(bad))),
            }
        }
    };
    if let Err(bad) = timeout(TRANSFER, whole).await?? {
        return Ok(Err(bad));
    }
    let (method, target) = (head.method(), head.target().clone());
    Ok(Ok(Request { method, target, headers: Headers::Http1(head.into_fields()), body }))
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, input: &mut BytesMut) -> io::Result<usize> {
    input.reserve(READ);
    stream.read_buf(input).await
}

/// Writes a reply and holds its passage until the socket has the last byte. What never reached it is taken back.
async fn write<S>(
    node: &Node,
    stream: &mut S,
    output: &mut Vec<u8>,
    reply: Reply,
    method: Method,
    keep_alive: bool,
) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let Outgoing { status, headers, body, release } = reply.into_outgoing();
    let date = date::http_date(clock::unix_now());
    let head = ReplyHead { status, date: &date, keep_alive, method };
    let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let content = encode::reply_head(output, &head, fields, Framing::Length(body.len() as u64))
        .map_err(io::Error::other)?;
    if content == Content::Follows {
        output.extend_from_slice(&body);
    }
    let sent = async {
        stream.write_all(output).await?;
        stream.flush().await
    };
    let sent = timeout(TRANSFER, sent).await.map_err(io::Error::from).flatten();
    if let (Err(_), Some(release)) = (&sent, release)
        && !release.passage.reached_socket()
    {
        let (integration, request) = (release.passage.integration(), release.passage.request());
        node.not_released(integration, request, release.leaf).await;
    }
    sent
}

/// A request without one meaning: what follows on this connection cannot be trusted either.
async fn refuse_and_close<S>(
    node: &Node,
    stream: &mut S,
    connection: &Connection,
    bad: BadRequest,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = refuse::malformed(node, connection, bad);
    write(node, stream, &mut Vec::new(), reply, Method::Get, false).await?;
    stream.shutdown().await?;
    drain(stream).await;
    Ok(())
}

/// Reads a little of what a refused client still sends, and throws it away.
///
//= RFC 9112 section 9.6: closing with bytes unread resets the connection, and the client may lose the refusal by it
async fn drain<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = [0; READ];
    let rest = async {
        let mut drained = 0;
        while drained < DRAIN_BYTES
            && let Ok(read @ 1..) = stream.read(&mut buffer).await
        {
            drained += read;
        }
    };
    // Whether it came to its end or was cut short: the connection closes.
    let _ended = timeout(DRAIN, rest).await;
}
