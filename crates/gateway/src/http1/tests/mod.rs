//! The codec as a server would run it, in memory, judged by corpora that others wrote and by properties.

mod corpus;
mod properties;

use bytes::BytesMut;

use super::client::{AllowList, NotForwardable, UpstreamRequest};
use super::encode::{self, Content, Framing, ReplyHead};
use super::server::{self, MAX_HEAD, Rules};
use super::{Authority, BodyDecoder, Decoded, Method, RequestTarget, Scheme};

/// The host every test request is addressed to.
const HOST: &str = "gateway.test:8443";
const RULES: Rules = Rules { scheme: Scheme::Http, max_body: 64 * 1024 };
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// What one connection did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Served {
    /// One entry for every request that was parsed to its end.
    requests: Vec<Request>,
    /// The stable code of the refusal that closed the connection.
    refused: Option<&'static str>,
    /// Status of each final reply.
    statuses: Vec<u16>,
    /// Every byte of the final replies.
    replies: Vec<u8>,
    /// Whether the server closed the connection (the client's end of sending aside).
    closed: bool,
    /// How often the client was told to go on.
    continued: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: Method,
    target: String,
    body: Vec<u8>,
    /// What the origin would receive.
    upstream: Vec<u8>,
}

/// Feeds `wire` in pieces of these sizes, then the rest, and answers each request as the gateway's loop does:
/// 204 to `OPTIONS`, 200 with the content echoed to the others, the refusal's status and a close to what is refused.
fn serve(wire: &[u8], pieces: &[usize]) -> Served {
    Served { continued: 0, ..serve_counting(wire, pieces) }
}

/// As `serve`, with `continued`, the one thing that depends on when bytes arrive.
fn serve_counting(wire: &[u8], pieces: &[usize]) -> Served {
    let mut served = Served::default();
    let mut buffer = BytesMut::new();
    let mut rest = wire;
    let mut open = None;
    let mut pieces = pieces.iter().copied();
    while !served.closed {
        match step(&mut buffer, &mut open, &mut served) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(bad) => {
                assert_eq!(bad.code().split('_').next(), Some("http"));
                reply(&mut served, bad.status(), Method::Get, false, b"");
                served.refused = Some(bad.code());
                continue;
            }
        }
        assert!(buffer.len() < MAX_HEAD, "waits for more than a head can hold");
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(pieces.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
    }
    served
}

type Open = Option<(server::RequestHead, BodyDecoder, Vec<u8>)>;

/// Does one thing; false if it needs more bytes.
fn step(
    buffer: &mut BytesMut,
    open: &mut Open,
    served: &mut Served,
) -> Result<bool, super::BadRequest> {
    let Some((head, decoder, content)) = open else {
        let Some(head) = server::parse_head(buffer, &RULES)? else { return Ok(false) };
        if head.expects_continue() && buffer.is_empty() {
            served.continued += 1;
        }
        let decoder = BodyDecoder::new(head.body(), RULES.max_body);
        *open = Some((head, decoder, Vec::new()));
        return Ok(true);
    };
    match decoder.decode(buffer)? {
        Decoded::Data(data) => content.extend_from_slice(&data),
        Decoded::Wait => return Ok(false),
        Decoded::End => {
            let allow = AllowList::new(["accept", "content-type"]).unwrap();
            let mut upstream = Vec::new();
            let request = UpstreamRequest {
                method: head.method(),
                target: head.target(),
                host: Authority::parse(b"origin.test").unwrap(),
                allow: &allow,
                ours: &[("Authorization", b"Bearer upstream")],
                body: content,
            };
            let written = request.write(head.fields().iter(), &mut upstream);
            written.map_err(|error| match error {
                NotForwardable::Caller(bad) => bad,
                NotForwardable::Ours(ours) => panic!("{ours}"),
            })?;
            served.requests.push(Request {
                method: head.method(),
                target: head.target().path_and_query().to_owned(),
                body: content.clone(),
                upstream,
            });
            let status = if head.method() == Method::Options { 204 } else { 200 };
            let body = if status == 204 { vec![] } else { std::mem::take(content) };
            reply(served, status, head.method(), head.keep_alive(), &body);
            *open = None;
        }
    }
    Ok(true)
}

fn reply(served: &mut Served, status: u16, method: Method, keep_alive: bool, body: &[u8]) {
    let fields: &[(&str, &[u8])] = match status {
        204 | 405 => &[("Allow", Method::ALLOWED.as_bytes())],
        _ => &[],
    };
    let head = ReplyHead { status, date: DATE, keep_alive, method };
    let framing = Framing::Length(body.len().try_into().unwrap());
    let content = encode::reply_head(&mut served.replies, &head, fields.iter().copied(), framing);
    if content.unwrap() == Content::Follows {
        served.replies.extend_from_slice(body);
    }
    served.statuses.push(status);
    served.closed |= !keep_alive;
}

/// Reads what the origin would receive as a server with our own rules: it must be exactly the request it was written from.
fn check_upstream(request: &Request) {
    let mut buffer = BytesMut::from(&request.upstream[..]);
    let head = server::parse_head(&mut buffer, &RULES).unwrap().unwrap();
    assert_eq!(head.method(), request.method);
    assert_eq!(head.target().path_and_query(), request.target);
    assert_eq!(head.target().path_as_sent(), head.target().path());
    assert_eq!(head.host(), "origin.test");
    assert_eq!(head.fields().all("transfer-encoding").count(), 0);
    assert!(head.fields().all("content-length").count() <= 1);
    for (name, _) in head.fields().iter() {
        let known = ["host", "authorization", "accept", "content-type", "content-length"];
        assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{name} reached the origin");
    }
    let mut decoder = BodyDecoder::new(head.body(), RULES.max_body);
    let mut body = Vec::new();
    while let Decoded::Data(data) = decoder.decode(&mut buffer).unwrap() {
        body.extend_from_slice(&data);
    }
    assert!(decoder.is_complete());
    assert_eq!(body, request.body);
    assert!(buffer.is_empty(), "a second request reached the origin");
}

fn target(path: &str) -> RequestTarget {
    RequestTarget::from_path(path.as_bytes()).unwrap()
}
