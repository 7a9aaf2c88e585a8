//! The socket behind its gate: the lowest layer of a connection, below TLS and below HTTP/2's queues.
//!
//! Each write takes the gate's lock, so a sever that has returned has seen every write that was running. When the gate
//! is cut, reads and writes fail and the peer gets a reset: what the kernel still had to send is thrown away.

use sever::{Gate, Switch};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use storage::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes handed to the socket under one check of posture and lease.
const WRITE_MAX: usize = 64 * 1024;

/// A TCP stream that only writes through its gate.
pub(crate) struct Gated {
    stream: TcpStream,
    gate: Arc<Gate>,
    switch: Arc<Switch>,
}

impl Gated {
    pub(crate) fn new(stream: TcpStream, gate: Arc<Gate>, switch: Arc<Switch>) -> Self {
        Self { stream, gate, switch }
    }

    fn reset(&self, cut: sever::Cut) -> io::Error {
        self.reset_at_close();
        io::Error::new(io::ErrorKind::ConnectionReset, cut)
    }
}

/// A connection whose end can be made to look like what it is.
pub(crate) trait ResetAtClose {
    /// Makes closing a reset, so that no reader takes a reply that was broken off for a complete one.
    fn reset_at_close(&self);
}

impl ResetAtClose for Gated {
    fn reset_at_close(&self) {
        // Linger zero makes close send RST and drop the send buffer (SO_LINGER, socket(7)). Failing to set it leaves an
        // orderly close, and nothing more is written either way.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl ResetAtClose for tokio_rustls::server::TlsStream<Gated> {
    fn reset_at_close(&self) {
        self.get_ref().0.reset_at_close();
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let bytes = bytes.get(..WRITE_MAX).unwrap_or(bytes);
        let stream = Pin::new(&mut this.stream);
        let written = this.gate.write(&this.switch.lease, clock::boot_now(), || {
            let written = stream.poll_write(cx, bytes);
            let accepted = if let Poll::Ready(Ok(accepted)) = written { accepted } else { 0 };
            (written, accepted)
        });
        match written {
            Ok(Poll::Pending) => match this.gate.poll_cut(cx.waker()) {
                Some(cut) => Poll::Ready(Err(this.reset(cut))),
                None => Poll::Pending,
            },
            Ok(ready) => ready,
            Err(cut) => Poll::Ready(Err(this.reset(cut))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, into) {
            Poll::Pending => match self.gate.poll_cut(cx.waker()) {
                Some(cut) => Poll::Ready(Err(self.reset(cut))),
                None => Poll::Pending,
            },
            ready => ready,
        }
    }
}
