//! A client of one web server, for logs and witnesses: GET and POST, bounded in time and size, nothing followed, nothing kept.

use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one request may take, connection and all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer. A full bundle of the longest entries is 16 MiB; ours are under 64 KiB.
const BYTES_MAX: usize = 17 << 20;

/// An address that this client does not go to. Who typed it is at fault.
#[derive(Debug, Error)]
#[error("`{0}` is not an http:// or https:// address without query")]
pub struct BadUrl(String);

/// No answer, or none that can be read.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Late,
    /// The connection could not be made, or broke.
    #[error("no connection")]
    Connection(#[from] std::io::Error),
    /// TLS on this machine cannot be used.
    #[error("no TLS")]
    Tls(#[from] rustls::Error),
    /// What came is not HTTP.
    #[error("no HTTP answer")]
    Http(#[from] hyper::Error),
    /// The answer is broken off or too long.
    #[error("the answer could not be read")]
    Body(#[from] axum::Error),
    /// The path is not one.
    #[error("the request cannot be written")]
    Request(#[from] axum::http::Error),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Content-Type`, empty if there is none.
    pub content_type: String,
    /// The whole body.
    pub body: Bytes,
}

/// One server and the path below which everything is asked for. Keeps a connection.
pub struct Site {
    secure: bool,
    host: String,
    port: u16,
    prefix: String,
    connection: Option<SendRequest<Body>>,
}

impl Site {
    /// The server at `url`, whose path everything is below.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().filter(|given| !given.as_str().contains('@'));
        let host = authority.ok_or_else(bad)?.host().trim_matches(['[', ']']).to_owned();
        if uri.query().is_some() || host.is_empty() {
            return Err(bad());
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { secure, host, port, prefix, connection: None })
    }

    /// Whether what is said stays on this machine or is encrypted.
    pub fn is_private(&self) -> bool {
        let on_loopback = self.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        self.secure || on_loopback || self.host == "localhost"
    }

    /// Asks for `path`, which has no slash in front.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends `body` to `path`, which has no slash in front.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn post(&mut self, path: &str, body: String) -> Result<Answer, NoAnswer> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, NoAnswer> {
        // A kept connection may have been closed meanwhile; a new one is tried once. Asking twice is harmless here.
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
            && let Ok(Ok(answer)) =
                timeout(PATIENCE, self.ask_on(&mut kept, &method, path, body.clone())).await
        {
            self.connection = Some(kept);
            return Ok(answer);
        }
        let asked = async {
            let mut connection = self.connect().await?;
            let answer = self.ask_on(&mut connection, &method, path, body).await?;
            Ok::<_, NoAnswer>((answer, connection))
        };
        let (answer, connection) = timeout(PATIENCE, asked).await.map_err(|_| NoAnswer::Late)??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn ask_on(
        &self,
        connection: &mut SendRequest<Body>,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.prefix))
            .header(HOST, format!("{host}:{}", self.port))
            .body(Body::from(body))?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("");
        let content_type = content_type.to_owned();
        let body = to_bytes(Body::new(response.into_body()), BYTES_MAX).await?;
        Ok(Answer { status, content_type, body })
    }

    async fn connect(&self) -> Result<SendRequest<Body>, NoAnswer> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        speak(stream, self.secure.then_some(&*self.host)).await
    }
}

/// Begins HTTP/1 on a connection, over TLS with the server of this name if there is one.
pub(crate) async fn speak(
    stream: TcpStream,
    name: Option<&str>,
) -> Result<SendRequest<Body>, NoAnswer> {
    let Some(name) = name else {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        return Ok(sender);
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_of_web_servers_are_taken() {
        let site = Site::new("https://log.example/tile-server/").unwrap();
        assert_eq!((&*site.host, site.port, &*site.prefix), ("log.example", 443, "/tile-server"));
        let private = |url: &str| Site::new(url).unwrap().is_private();
        assert!(private("http://127.0.0.1:8448") && private("http://[::1]:1"));
        assert!(private("https://log.example") && !private("http://log.example"));
        for wrong in
            ["", "log.example", "ftp://log.example", "http://", "http://a@b/", "http://a/?b", "/a"]
        {
            assert!(Site::new(wrong).is_err(), "{wrong}");
        }
    }
}
