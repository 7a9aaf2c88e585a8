//! One connection: requests in, replies out, one at a time. The HTTP/1.1 loop stands here, HTTP/2 in `http2`.

use crate::gated::ResetAtClose;
use crate::http1::authority::Authority;
use crate::http1::encode::{self, Content, Framing, ReplyHead};
use crate::http1::server::{RequestHead, Rules, parse_head};
use crate::http1::{BadRequest, BodyDecoder, Decoded, Method, date};
use crate::listener;
use crate::node::Node;
use crate::refuse;
use crate::release::{Outgoing, Release, Reply};
use crate::request::{Headers, Request};
use crate::serve::{self, Rest};
use bytes::BytesMut;
use credential::ClientCertificate;
use model::ClientIp;
use sever::Gate;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a connection may stay without a request.
const IDLE: Duration = Duration::from_secs(75);

/// How long a request may take to arrive once its first byte has, and a reply, or one batch of a stream, to be read.
pub(crate) const TRANSFER: Duration = Duration::from_secs(30);

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
    /// The certificate whose key the client proved to have, if it sent one.
    pub client_certificate: Option<ClientCertificate>,
}

/// Serves HTTP/1.1 until either side ends the connection, or `stop` turns true and no request is under way.
///
/// # Errors
/// The socket's; a request that is not HTTP is answered and ends the connection without an error.
pub(crate) async fn serve_http1<S>(
    node: &Node,
    mut stream: S,
    connection: &Connection,
    rules: &Rules,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + ResetAtClose + Unpin,
{
    let mut input = BytesMut::with_capacity(READ);
    let mut output = Vec::with_capacity(READ);
    loop {
        if input.is_empty() {
            tokio::select! {
                read = timeout(IDLE, fill(&mut stream, &mut input)) => if read?? == 0 { return Ok(()) },
                () = listener::told_to(&mut stop) => return stream.shutdown().await,
            }
        }
        let head = match read_head(&mut stream, &mut input, rules).await? {
            Ok(head) => head,
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
        let keep_alive = keep_alive && !*stop.borrow();
        output.clear();
        let begun = write(node, &mut stream, &mut output, reply, method, keep_alive).await?;
        if let Some((release, rest)) = begun {
            let mut wire = Wire { stream: &mut stream, input: &mut input, output: &mut output };
            let ended = wire.write_rest(node, connection, release, *rest).await;
            // A stream that was not ended must not look as if it were.
            ended.inspect_err(|_| stream.reset_at_close())?;
        }
        if !keep_alive {
            return stream.shutdown().await;
        }
    }
}

/// The head whose first bytes have come.
async fn read_head<S>(
    stream: &mut S,
    input: &mut BytesMut,
    rules: &Rules,
) -> io::Result<Result<RequestHead, BadRequest>>
where
    S: AsyncRead + Unpin,
{
    let whole = async {
        loop {
            match parse_head(input, rules) {
                Ok(None) if fill(stream, input).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(None) => {}
                Ok(Some(head)) => return Ok(Ok(head)),
                Err(bad) => return Ok(Err(bad)),
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
    let (method, target, can_stream) = (head.method(), head.target().clone(), head.can_stream());
    let headers = Headers::Http1(head.into_fields());
    Ok(Ok(Request { method, target, headers, body, can_stream }))
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, input: &mut BytesMut) -> io::Result<usize> {
    input.reserve(READ);
    stream.read_buf(input).await
}

/// Writes a reply and holds its passage until the socket has the last byte. What never reached it is taken back.
///
/// Of a stream it writes the first batch, and returns what that holds with what brings the others.
async fn write<S>(
    node: &Node,
    stream: &mut S,
    output: &mut Vec<u8>,
    reply: Reply,
    method: Method,
    keep_alive: bool,
) -> io::Result<Option<(Option<Release>, Box<Rest>)>>
where
    S: AsyncWrite + Unpin,
{
    let Outgoing { status, headers, body, release, rest } = reply.into_outgoing();
    let date = date::http_date(clock::unix_now());
    let head = ReplyHead { status, date: &date, keep_alive, method };
    let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let framing = match &rest {
        None => Framing::Length(body.len() as u64),
        Some(_) => Framing::Chunked,
    };
    let content = encode::reply_head(output, &head, fields, framing).map_err(io::Error::other)?;
    match (content, framing) {
        (Content::None, _) => {}
        (Content::Follows, Framing::Length(_)) => output.extend_from_slice(&body),
        (Content::Follows, Framing::Chunked) => encode::chunk(output, &body),
    }
    let release = send(node, stream, output, release).await?;
    Ok(rest.filter(|_| content == Content::Follows).map(|rest| (release, rest)))
}

/// Writes `output`, and returns what was to be held until the socket had it. If it never got a byte of it, that is taken back.
async fn send<S>(
    node: &Node,
    stream: &mut S,
    output: &[u8],
    release: Option<Release>,
) -> io::Result<Option<Release>>
where
    S: AsyncWrite + Unpin,
{
    let sent = async {
        stream.write_all(output).await?;
        stream.flush().await
    };
    let sent = timeout(TRANSFER, sent).await.map_err(io::Error::from).flatten();
    match (sent, release) {
        (Ok(()), release) => Ok(release),
        (Err(error), Some(release)) if !release.passage.reached_socket() => {
            release.take_back(node).await;
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

/// A connection in the middle of a stream.
struct Wire<'a, S> {
    stream: &'a mut S,
    /// What the client sent beyond its request.
    input: &'a mut BytesMut,
    output: &'a mut Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    /// Writes the batches that follow the first one, each when the socket has the one before.
    ///
    /// `held`: of the batch before. It is held until the next one's passage stands, so that a sever finds the stream also
    /// while it waits for the origin.
    async fn write_rest(
        &mut self,
        node: &Node,
        connection: &Connection,
        mut held: Option<Release>,
        mut rest: Rest,
    ) -> io::Result<()> {
        loop {
            let fetched = tokio::select! {
                fetched = rest.fetch() => fetched,
                gone = self.until_client_goes() => return Err(gone),
            };
            let reply = rest.release(node, connection, fetched).await.map_err(io::Error::other)?;
            self.output.clear();
            let Some(reply) = reply else {
                self.output.extend_from_slice(encode::LAST_CHUNK);
                return send(node, self.stream, self.output, held).await.map(drop);
            };
            let Outgoing { body, release, .. } = reply.into_outgoing();
            drop(held);
            encode::chunk(self.output, &body);
            held = send(node, self.stream, self.output, release).await?;
        }
    }

    /// Returns when the connection is cut, or the client ends its side: it gets no more of a stream. What else it sends waits.
    async fn until_client_goes(&mut self) -> io::Error {
        while self.input.len() < READ {
            match fill(self.stream, self.input).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }
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
