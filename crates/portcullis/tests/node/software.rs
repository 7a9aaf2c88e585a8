//! An integration's software: obtains a token as the standards ask, reads with a proof for each request, and keeps whatever
//! arrives, however the connection ends.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use credential::client::{ProofRequest, sign_assertion, sign_proof};
use credential::{Algorithm, SigningKey};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::IntegrationId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// Where it comes from. Not 127.0.0.1, so that a connection to a port where nobody listens can never meet itself.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A token is used for this long, of the five minutes that it lives.
const TOKEN_FOR: Duration = Duration::from_secs(200);

/// Bytes a slow reader takes at a time, and how long it rests.
const SIP: (usize, Duration) = (1_024, Duration::from_millis(5));

/// Its segments are of the size they would have on Ethernet, and its window is small, so that loopback's kernel does not
/// swallow for it what it does not read.
const SLOW: (u32, u32) = (1_400, 4_096);

/// A byte stream, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// One installation of an integration's software.
pub(crate) struct Software {
    key: SigningKey,
    url: String,
    issuer: String,
    integration: IntegrationId,
    grant: String,
    /// And when it was obtained.
    token: Mutex<(String, Instant)>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// How to reach a node.
pub(crate) struct Reach {
    /// Scheme and authority of the data plane.
    pub(crate) url: String,
    /// The issuer of tokens.
    pub(crate) issuer: String,
    /// The CA to trust; none for clear text.
    pub(crate) ca: Option<std::path::PathBuf>,
}

/// How a connection reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Brisk,
    Slow,
    /// Brisk, over HTTP/2.
    Http2,
}

/// One request and what came back, to the last byte that did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) sent: Instant,
    /// 0 if no head came.
    pub(crate) status: u16,
    /// The gateway's id of the request.
    pub(crate) request: String,
    /// What the gateway promised about the record, over HTTP/1.1.
    pub(crate) receipt: String,
    pub(crate) body: Bytes,
    /// Whether the body came to its announced end.
    pub(crate) whole: bool,
}

/// A connection that is opened when it is needed, and again after it broke.
pub(crate) struct Line {
    software: Arc<Software>,
    manner: Manner,
    nonce: Option<String>,
    open: Option<Open>,
}

enum Open {
    Http1(Box<dyn Stream>, BytesMut),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

/// A key pair, its public half written to `jwk` and its private one beside it, as `private.jwk`.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn new_key(jwk: &Path) -> Result<SigningKey> {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    let secret: [u8; 32] = clock::random();
    let der = SigningKey::pkcs8(Algorithm::Es256, secret).context("ES256 signs proofs")?;
    let key = SigningKey::from_pkcs8(&der)?;
    std::fs::write(jwk, key.public().canonical_jwk())?;
    let d = BASE64_URL_SAFE_NO_PAD.encode(secret);
    let private = format!(r#"{{"kty":"EC","crv":"P-256","d":"{d}"}}"#);
    std::fs::write(jwk.with_extension("private.jwk"), private)?;
    Ok(key)
}

impl Software {
    /// Software that has a token for `grant`.
    ///
    /// # Errors
    /// What the authority answered.
    pub(crate) async fn install(
        reach: &Reach,
        key: SigningKey,
        integration: &str,
        grant: &str,
    ) -> Result<Arc<Self>> {
        let software = Self {
            key,
            url: reach.url.clone(),
            issuer: reach.issuer.clone(),
            integration: integration.parse()?,
            grant: grant.to_owned(),
            token: Mutex::new((String::new(), Instant::now())),
            tls: reach.ca.as_deref().map(client_config).transpose()?,
        };
        *software.token.lock().await = (software.obtain().await?, Instant::now());
        Ok(Arc::new(software))
    }

    /// Obtains a token (RFC 7523 assertion, RFC 9449 proof), once more if the server asks for its nonce.
    async fn obtain(&self) -> Result<String> {
        let url = format!("{}/token", self.issuer);
        let mut nonce = None;
        for _attempt in 0..2 {
            let proof = self.proof("POST", &url, None, nonce.as_deref());
            let assertion = sign_assertion(
                &self.key,
                self.integration,
                &self.issuer,
                clock::random(),
                clock::unix_now(),
            );
            let form = format!(
                "grant_type=client_credentials&scope={}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}",
                self.grant
            );
            let request = Request::post("/token")
                .header("host", authority(&self.issuer))
                .header("content-type", "application/x-www-form-urlencoded")
                .header("dpop", proof)
                .body(Full::new(Bytes::from(form)))?;
            let stream = self.connect(&self.issuer, Manner::Brisk, false).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect().await?.to_bytes();
            if status == 200 {
                let answer: serde_json::Value = serde_json::from_slice(&body)?;
                let token = answer.pointer("/access_token").and_then(serde_json::Value::as_str);
                return Ok(token.context("no token in the answer")?.to_owned());
            }
            nonce = text_of(&headers, "dpop-nonce");
            if nonce.is_none() {
                bail!("no token: {status} {}", String::from_utf8_lossy(&body));
            }
        }
        bail!("no token, although the nonce was right")
    }

    /// Its token; another one from time to time, unless it is refused.
    async fn token(&self) -> String {
        let mut token = self.token.lock().await;
        if token.1.elapsed() > TOKEN_FOR
            && let Ok(another) = self.obtain().await
        {
            *token = (another, Instant::now());
        }
        token.0.clone()
    }

    /// The token it used last, for who would use it without its key.
    pub(crate) fn last_token(&self) -> String {
        self.token.blocking_lock().0.clone()
    }

    /// A connection of it.
    pub(crate) fn line(self: &Arc<Self>, manner: Manner) -> Line {
        Line { software: Arc::clone(self), manner, nonce: None, open: None }
    }

    fn proof(&self, method: &str, url: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        let (jti, now) = (clock::random(), clock::unix_now());
        let request = ProofRequest { method, url, access_token: token, nonce, jti, now };
        sign_proof(&self.key, &request)
    }

    async fn connect(&self, url: &str, manner: Manner, http2: bool) -> Result<Box<dyn Stream>> {
        let (_, port) = url.rsplit_once(':').context("a URL with a port")?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        let socket = TcpSocket::new_v4()?;
        if manner == Manner::Slow {
            let (segment, window) = SLOW;
            socket2::SockRef::from(&socket).set_tcp_mss(segment)?;
            socket.set_recv_buffer_size(window)?;
        }
        socket.bind((FROM, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let mut tls = rustls::ClientConfig::clone(tls);
        tls.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from("localhost")?;
        Ok(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?))
    }
}

impl Line {
    /// Reads `path` once, and once more if the node asks for its nonce. Whatever breaks ends up in the answer.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.attempt(path).await;
        if answer.1 { self.attempt(path).await.0 } else { answer.0 }
    }

    /// The answer, and whether it is a request for the nonce.
    async fn attempt(&mut self, path: &str) -> (Answer, bool) {
        let mut answer = Answer {
            sent: Instant::now(),
            status: 0,
            request: String::new(),
            receipt: String::new(),
            body: Bytes::new(),
            whole: false,
        };
        let mut challenged = false;
        // A connection that broke is opened anew with the next request; what arrived before that stays in the answer.
        if self.exchange(path, &mut answer, &mut challenged).await.is_err() {
            self.open = None;
        }
        (answer, challenged)
    }

    async fn exchange(
        &mut self,
        path: &str,
        answer: &mut Answer,
        challenged: &mut bool,
    ) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let software = Arc::clone(&self.software);
        let url = format!("{}{path}", software.url);
        let token = software.token().await;
        let proof = software.proof("GET", &url, Some(&token), self.nonce.as_deref());
        answer.sent = Instant::now();
        let headers = match &mut open {
            Open::Http1(stream, input) => {
                let head = format!(
                    "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n",
                    authority(&software.url),
                );
                stream.write_all(head.as_bytes()).await?;
                stream.flush().await?;
                read_http1(stream, input, self.manner, answer).await?
            }
            Open::Http2(sender) => {
                let request = Request::get(&url)
                    .header("authorization", format!("DPoP {token}"))
                    .header("dpop", proof)
                    .body(Empty::new())?;
                sender.ready().await?;
                read_http2(sender.send_request(request).await?, answer).await?
            }
        };
        if let Some(nonce) = text_of(&headers, "dpop-nonce") {
            *challenged = answer.status == 401;
            self.nonce = Some(nonce);
        }
        if answer.whole && text_of(&headers, "connection").as_deref() != Some("close") {
            self.open = Some(open);
        }
        Ok(())
    }

    async fn open(&self) -> Result<Open> {
        let http2 = self.manner == Manner::Http2;
        let stream = self.software.connect(&self.software.url, self.manner, http2).await?;
        if !http2 {
            return Ok(Open::Http1(stream, BytesMut::new()));
        }
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await?;
        tokio::spawn(connection);
        Ok(Open::Http2(sender))
    }
}

async fn read_http1(
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    manner: Manner,
    answer: &mut Answer,
) -> Result<HeaderMap> {
    let head = loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break input.split_to(end + 4);
        }
        sip(stream, input, manner).await?;
    };
    let mut lines = std::str::from_utf8(&head)?.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status")?;
    answer.status = status.parse()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(http::HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
    }
    answer.request = text_of(&headers, "portcullis-request").unwrap_or_default();
    answer.receipt = text_of(&headers, "portcullis-receipt").unwrap_or_default();
    let length: usize = text_of(&headers, "content-length").context("a length")?.parse()?;
    let read = loop {
        if input.len() >= length {
            break Ok(());
        }
        if let Err(broken) = sip(stream, input, manner).await {
            break Err(broken);
        }
    };
    answer.whole = read.is_ok();
    answer.body = input.split_to(input.len().min(length)).freeze();
    read.map(|()| headers)
}

/// Reads what there is, or a little of it.
async fn sip(stream: &mut Box<dyn Stream>, input: &mut BytesMut, manner: Manner) -> Result<()> {
    let read = if manner == Manner::Slow {
        let (bytes, rest) = SIP;
        tokio::time::sleep(rest).await;
        let mut sip = vec![0; bytes];
        let read = stream.read(&mut sip).await?;
        input.extend(sip.iter().take(read));
        read
    } else {
        stream.read_buf(input).await?
    };
    if read == 0 {
        bail!("the connection ended");
    }
    Ok(())
}

async fn read_http2(
    response: http::Response<hyper::body::Incoming>,
    answer: &mut Answer,
) -> Result<HeaderMap> {
    let (head, mut body) = response.into_parts();
    answer.status = head.status.as_u16();
    answer.request = text_of(&head.headers, "portcullis-request").unwrap_or_default();
    let mut bytes = BytesMut::new();
    let ended = loop {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            Some(Err(broken)) => break Err(broken),
            None => break Ok(()),
        }
    };
    answer.body = bytes.freeze();
    answer.whole = ended.is_ok();
    Ok(ended.map(|()| head.headers)?)
}

fn client_config(ca: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn authority(url: &str) -> &str {
    url.split_once("//").map_or(url, |(_, authority)| authority)
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
