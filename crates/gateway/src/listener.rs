//! Accepts connections, with or without TLS, and hands each to its protocol.

use crate::connection::{self, Connection};
use crate::gated::Gated;
use crate::http1::Scheme;
use crate::http1::server::Rules;
use crate::http2;
use crate::node::Node;
use arc_swap::ArcSwap;
use credential::ClientCertificate;
use model::ClientIp;
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Connections one listener holds open at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: u32 = 16 * 1024;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How a listener speaks.
#[derive(Clone)]
pub enum Transport {
    /// Clear text, for loopback only.
    Clear,
    /// TLS with whatever configuration is current when a connection is accepted.
    Tls(Arc<ArcSwap<ServerConfig>>),
}

/// How long connections may take to finish what they were doing when the listener is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Accepts until `stop` turns true, and returns when the requests that were under way then are answered, or have had ten
/// seconds. Connections without a request under way are closed at once.
///
/// # Errors
/// If the socket cannot accept at all.
pub async fn run(
    node: Arc<Node>,
    listener: TcpListener,
    transport: Transport,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told_to(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The peer left before it was accepted, or we are out of descriptors: the next one may fare better.
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
        };
        let (node, transport, stop) = (Arc::clone(&node), transport.clone(), stop.clone());
        tokio::spawn(async move {
            let peer = ClientIp::from_peer(peer.ip());
            if let Err(error) = carry(node, stream, peer, transport, stop).await {
                debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    // Every place is free again when every connection has ended.
    let all = places.acquire_many(CONNECTIONS_MAX);
    if timeout(DRAIN, all).await.is_err() {
        let open = (CONNECTIONS_MAX as usize).saturating_sub(places.available_permits());
        warn!(open, "connections that were still busy are broken off");
    }
    Ok(())
}

/// Returns when `stop` is true, or nobody is left who could say so.
pub(crate) async fn told_to(stop: &mut watch::Receiver<bool>) {
    let _said_or_gone = stop.wait_for(|stop| *stop).await;
}

/// Carries one connection from its handshake to its end.
async fn carry(
    node: Arc<Node>,
    stream: TcpStream,
    peer: ClientIp,
    transport: Transport,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let switch = node.posture.switch();
    let gate = switch.open_gate();
    let stream = Gated::new(stream, Arc::clone(&gate), Arc::clone(switch));
    let max_body = node.max_body;
    match transport {
        Transport::Clear => {
            let connection = Connection { peer, gate, client_certificate: None };
            connection::serve_http1(
                &node,
                stream,
                &connection,
                &Rules { scheme: Scheme::Http, max_body },
                stop,
            )
            .await
        }
        Transport::Tls(config) => {
            let stream =
                timeout(HANDSHAKE, TlsAcceptor::from(config.load_full()).accept(stream)).await??;
            let rules = Rules { scheme: Scheme::Https, max_body };
            let (_, session) = stream.get_ref();
            // The verifier has read it already; one that cannot be read after all proves nothing.
            let client_certificate =
                session.peer_certificates().and_then(|chain| ClientCertificate::new(chain).ok());
            let speaks_http2 = session.alpn_protocol() == Some(b"h2");
            let connection = Connection { peer, gate, client_certificate };
            if speaks_http2 {
                http2::serve_http2(node, stream, Arc::new(connection), rules, stop)
                    .await
                    .map_err(io::Error::other)
            } else {
                connection::serve_http1(&node, stream, &connection, &rules, stop).await
            }
        }
    }
}
