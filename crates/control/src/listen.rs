//! Carries the control plane's routes over TCP, with or without TLS.

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use credential::ClientCertificate;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// Connections one listener holds open at a time.
const CONNECTIONS_MAX: usize = 1024;

/// How long a client may take over a TLS handshake, and over a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `stop` turns true. A certificate whose key the client proved to have is an `Extension` of its requests. `tls`: whatever is current when a connection is accepted; none for clear text on loopback.
///
/// # Errors
/// If the socket cannot accept at all.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => return Ok(()),
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let routes = routes.clone().layer(Extension(ConnectInfo(peer)));
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.load_full()));
        tokio::spawn(async move {
            match tls {
                None => carry(stream, peer, routes).await,
                Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let chain = stream.get_ref().1.peer_certificates();
                        let certificate = chain.and_then(|it| ClientCertificate::new(it).ok());
                        let routes = match certificate {
                            Some(certificate) => routes.layer(Extension(Arc::new(certificate))),
                            None => routes,
                        };
                        carry(stream, peer, routes).await;
                    }
                    Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
                    Err(_) => debug!(%peer, "the TLS handshake took too long"),
                },
            }
            drop(place);
        });
    }
}

/// Reads a request's content whole before anybody looks at it: `bytes` at most, within [`PATIENCE`]. A stranger who sends slowly holds a
/// connection for that long and no longer.
pub(crate) async fn in_time(bytes: usize, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match timeout(PATIENCE, to_bytes(body, bytes)).await {
        Ok(Ok(content)) => next.run(Request::from_parts(parts, content.into())).await,
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Returns when `stop` is true, or nobody is left who could say so.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _said_or_gone = stop.wait_for(|stop| *stop).await;
}

async fn carry<S>(stream: S, peer: SocketAddr, routes: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        debug!(%peer, %error, "connection ended");
    }
}
