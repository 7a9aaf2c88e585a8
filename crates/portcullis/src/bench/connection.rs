//! One keep-alive connection of the benchmark's client side.
//!
//! It is not an HTTP client: it reads only replies that carry `Content-Length`, trusts its peer, and exists so that the
//! generator costs less than what it measures.

use super::tls;
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Most bytes of one reply. A peer of the benchmark answers with about 2 KB.
const REPLY_MAX: usize = 1 << 20;

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// None: clear text.
    pub(crate) tls: Option<TlsConnector>,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with at most one request outstanding.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    filled: usize,
}

/// What the generator checks of a reply. Its bytes stay in the connection until the next exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: usize,
    /// Bytes of content.
    pub(crate) length: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there, or it speaks otherwise.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let Target { address, tls } = target;
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let stream = match tls {
            None => Stream::Clear(stream),
            Some(tls) => Stream::Tls(Box::new(tls::connect(tls, stream).await?)),
        };
        Ok(Self { stream, buffer: vec![0; 8 * 1024], filled: 0 })
    }

    /// Sends `request` and reads the reply to it.
    ///
    /// # Errors
    /// If the connection ends or the reply has no `Content-Length`, is longer than [`REPLY_MAX`] or is followed by more.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply> {
        self.filled = 0;
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(request).await?,
            Stream::Tls(stream) => {
                stream.write_all(request).await?;
                stream.flush().await?;
            }
        }
        let mut reply = None;
        loop {
            self.read().await?;
            let seen = self.buffer.get(..self.filled).unwrap_or_default();
            if reply.is_none() {
                reply = read_head(seen)?;
            }
            let Some(reply) = reply else { continue };
            ensure!(reply.length <= REPLY_MAX, "a reply of {} bytes", reply.length);
            ensure!(self.filled <= reply.head + reply.length, "bytes after the reply");
            if self.filled == reply.head + reply.length {
                return Ok(reply);
            }
        }
    }

    /// The value of a field of the last reply.
    pub(crate) fn field(&self, reply: &Reply, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(self.buffer.get(..reply.head)?).ok()?;
        let (_, value) = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The content of the last reply.
    pub(crate) fn content(&self, reply: &Reply) -> &[u8] {
        self.buffer.get(reply.head..reply.head + reply.length).unwrap_or_default()
    }

    async fn read(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            ensure!(self.filled <= REPLY_MAX, "a reply of more than {REPLY_MAX} bytes");
            self.buffer.resize(self.filled * 2, 0);
        }
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = match &mut self.stream {
            Stream::Clear(stream) => stream.read(free).await?,
            Stream::Tls(stream) => stream.read(free).await?,
        };
        ensure!(count > 0, "the connection ended inside a reply");
        self.filled += count;
        Ok(())
    }
}

/// Status, length of the head and of the content, once the whole head is there.
fn read_head(bytes: &[u8]) -> Result<Option<Reply>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some(Reply { status, head: end + 4, length })),
        // A 204 has no content and no length (RFC 9110 section 8.6).
        (Some(204), None) => Ok(Some(Reply { status: 204, head: end + 4, length: 0 })),
        _ => bail!("a reply without a status or a `Content-Length`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_reply_is() {
        let head = read_head(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 5\r\n\r\nhe").unwrap();
        assert_eq!(head, Some(Reply { status: 200, head: 44, length: 5 }));
        assert_eq!(read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").unwrap(), None);
        assert!(read_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read_head(b"SSH-2.0\r\nContent-Length: 5\r\n\r\n").is_err());
    }
}
