//! The bare hop: a proxy of our own codec and origin pool that checks nothing but HTTP.
//!
//! It is the lower bound of the gateway's data path, measured as a process of its own like every other subject. It is
//! not a way to run the gateway: there is no caller, no decision and no record here.

use anyhow::{Result, bail};
use bytes::BytesMut;
use gateway::http1::client::{AllowList, UpstreamRequest};
use gateway::http1::encode::{self, Framing, ReplyHead};
use gateway::http1::server::{self, Rules};
use gateway::http1::{Authority, BodyLength, Scheme, date};
use gateway::origin::{Origin, OriginConfig};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY_MAX: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 128;

/// Prints its address and forwards to `origin` until standard input ends.
///
/// # Errors
/// If there is no loopback port to be had.
pub(crate) async fn run(origin: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let hop = Arc::new(Hop {
        origin: Origin::new(OriginConfig {
            address: origin,
            body_max: BODY_MAX,
            connect_timeout: TIMEOUT,
            response_timeout: TIMEOUT,
            idle_max: IDLE_MAX,
        }),
        host: origin.to_string(),
        allow: AllowList::new(["accept", "content-type"])?,
    });
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    tokio::select! {
        ended = accept(listener, hop) => ended,
        _ = end => Ok(()),
    }
}

struct Hop {
    origin: Origin,
    host: String,
    allow: AllowList,
}

async fn accept(listener: TcpListener, hop: Arc<Hop>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that ends badly shows in the generator's counts.
        tokio::spawn(serve(stream, Arc::clone(&hop)));
    }
}

async fn serve(mut stream: TcpStream, hop: Arc<Hop>) -> Result<()> {
    stream.set_nodelay(true)?;
    let rules = Rules { scheme: Scheme::Http, max_body: BODY_MAX };
    let mut buffer = BytesMut::new();
    let mut out = Vec::with_capacity(4 * 1024);
    loop {
        let Some(head) = server::parse_head(&mut buffer, &rules)? else {
            buffer.reserve(4 * 1024);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        if head.body() != BodyLength::Empty {
            bail!("the benchmark sends no content");
        }
        let request = UpstreamRequest {
            method: head.method(),
            target: head.target(),
            host: Authority::parse(hop.host.as_bytes())?,
            allow: &hop.allow,
            ours: &[],
            body: &[],
        };
        let reply = hop.origin.fetch(&request, head.fields().iter()).await?;
        let reply_head = ReplyHead {
            status: reply.status,
            date: &date::http_date(clock::unix_now()),
            keep_alive: head.keep_alive(),
            method: head.method(),
        };
        out.clear();
        let length = Framing::Length(u64::try_from(reply.body.len())?);
        encode::reply_head(&mut out, &reply_head, reply.fields.iter(), length)?;
        out.extend_from_slice(&reply.body);
        stream.write_all(&out).await?;
    }
}
