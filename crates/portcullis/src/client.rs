//! The other side: a vendor's software, doing by the book what the standards ask of a client.
//!
//! The demo's vendors are these, and `portcullis request` is one for a person who wants to try a grant.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use bytes::Bytes;
use credential::SigningKey;
use credential::client::{ProofRequest, sign_assertion, sign_proof};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use model::IntegrationId;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use storage::clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Where the gateway and its authority are, and how to trust them.
#[derive(Clone)]
pub(crate) struct Endpoints {
    /// The data plane's socket.
    pub(crate) api: SocketAddr,
    /// Scheme and authority that proofs are made for.
    pub(crate) api_url: String,
    /// The authority's socket.
    pub(crate) authority: SocketAddr,
    /// The issuer identifier; the token endpoint is below it.
    pub(crate) issuer: String,
    /// Trusts the deployment's CA; none if it speaks clear text on loopback.
    pub(crate) tls: Option<TlsConnector>,
    /// The host that its certificate must be for.
    pub(crate) server_name: String,
}

impl Endpoints {
    /// Of a node on this machine, as its directory says. Ports of 0 are those the node was given: `addresses` of data plane and authority.
    ///
    /// # Errors
    /// If the local CA cannot be read.
    pub(crate) fn local(config: &Config, addresses: [SocketAddr; 2]) -> Result<Self> {
        let [api, authority] = addresses;
        let tls = if config.clear_text {
            None
        } else {
            Some(trusting(&config.data.join("keys/ca.pem"))?)
        };
        let scheme = if config.clear_text { "http" } else { "https" };
        let api_url = match config.external_url.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", api.port()),
            None => config.external_url.clone(),
        };
        let issuer = format!("{scheme}://localhost:{}", authority.port());
        let server_name = "localhost".to_owned();
        Ok(Self { api, api_url, authority, issuer, tls, server_name })
    }
}

/// Trusts one CA and nobody else.
///
/// # Errors
/// If the file is no certificate.
pub(crate) fn trusting(ca: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca)
        .with_context(|| format!("`{}` is not a certificate", ca.display()))?;
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// One process of a vendor's software: a key, a place on the network, a connection.
pub(crate) struct Vendor {
    endpoints: Endpoints,
    integration: IntegrationId,
    grant: String,
    key: Arc<SigningKey>,
    from: IpAddr,
    api: Option<SendRequest<Full<Bytes>>>,
    token: Option<String>,
    nonce: Option<String>,
}

/// What came over the socket in answer to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The gateway's id of the request.
    pub(crate) request: String,
    pub(crate) body: Bytes,
}

impl Vendor {
    pub(crate) fn new(
        endpoints: &Endpoints,
        integration: IntegrationId,
        grant: &str,
        key: Arc<SigningKey>,
        from: IpAddr,
    ) -> Self {
        let (endpoints, grant) = (endpoints.clone(), grant.to_owned());
        Self { endpoints, integration, grant, key, from, api: None, token: None, nonce: None }
    }

    /// The same software's token in other hands: no key but `key`, another place on the network.
    pub(crate) fn stolen(&self, key: Arc<SigningKey>, from: IpAddr) -> Self {
        let mut thief = Self::new(&self.endpoints, self.integration, &self.grant, key, from);
        thief.token.clone_from(&self.token);
        thief
    }

    /// Copies the token that `of` has at the moment, if it has one.
    pub(crate) fn copy_token(&mut self, of: &Self) {
        self.token.clone_from(&of.token);
    }

    /// Uses a token that was obtained elsewhere.
    pub(crate) fn set_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// Whether it ever obtained a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Obtains a token (RFC 6749 section 4.4, RFC 7523, RFC 9449 section 5), once more if the server asks for its nonce.
    pub(crate) async fn obtain_token(&mut self) -> Result<()> {
        let url = format!("{}/token", self.endpoints.issuer);
        let mut nonce: Option<String> = None;
        for _attempt in 0..2 {
            let mut connection = self.connect(self.endpoints.authority).await?;
            let proof = self.proof("POST", &url, None, nonce.as_deref())?;
            let assertion = sign_assertion(
                &self.key,
                self.integration,
                &self.endpoints.issuer,
                random()?,
                clock::unix_now(),
            );
            let form = format!(
                "grant_type=client_credentials&scope={}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}",
                self.grant
            );
            let request = Request::builder()
                .method(Method::POST)
                .uri("/token")
                .header("host", self.endpoints.authority.to_string())
                .header("content-type", "application/x-www-form-urlencoded")
                .header("dpop", proof)
                .body(Full::new(Bytes::from(form)))?;
            let (status, headers, body) = send(&mut connection, request).await?;
            if status == 200 {
                let answer: serde_json::Value = serde_json::from_slice(&body)?;
                let token = answer
                    .pointer("/access_token")
                    .and_then(|token| token.as_str())
                    .context("no token in the answer")?;
                self.token = Some(token.to_owned());
                return Ok(());
            }
            nonce = text_of(&headers, "dpop-nonce");
            if nonce.is_none() {
                bail!("no token: {status} {}", String::from_utf8_lossy(&body));
            }
        }
        bail!("no token, although the nonce was right")
    }

    /// Reads one path through the gateway, with a fresh proof; once more if the server asks for its nonce.
    ///
    /// `None`: the connection was refused or reset before an answer came.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Option<Answer>> {
        for _attempt in 0..2 {
            let request = self.request(path, "DPoP", Some(&self.proof_for(path)?))?;
            let Some((status, headers, body)) = self.exchange(request).await? else {
                return Ok(None);
            };
            let challenged = status == 401
                && headers
                    .get("www-authenticate")
                    .is_some_and(|value| value.to_str().unwrap_or("").contains("use_dpop_nonce"));
            if let Some(nonce) = text_of(&headers, "dpop-nonce") {
                self.nonce = Some(nonce);
            }
            if !challenged {
                return Ok(Some(answer((status, headers, body))));
            }
        }
        bail!("the gateway asked for its nonce twice")
    }

    /// Sends the token as if it were a bearer token, without any proof.
    pub(crate) async fn get_as_bearer(&mut self, path: &str) -> Result<Option<Answer>> {
        let request = self.request(path, "Bearer", None)?;
        Ok(self.exchange(request).await?.map(answer))
    }

    /// Asks as nobody, without any token.
    pub(crate) async fn get_anonymous(&mut self, path: &str) -> Result<Option<Answer>> {
        let (_, host) = self.endpoints.api_url.split_once("://").unwrap_or_default();
        let request =
            Request::builder().uri(path).header("host", host).body(Full::new(Bytes::new()))?;
        Ok(self.exchange(request).await?.map(answer))
    }

    /// Sends one request twice, proof and all, as somebody would who overheard it. The first answer is the honest one.
    pub(crate) async fn get_twice_with_one_proof(
        &mut self,
        path: &str,
    ) -> Result<Vec<Option<Answer>>> {
        self.get(path).await?;
        let proof = self.proof_for(path)?;
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = self.request(path, "DPoP", Some(&proof))?;
            answers.push(self.exchange(request).await?.map(answer));
        }
        Ok(answers)
    }

    fn proof_for(&self, path: &str) -> Result<String> {
        let bare_path = path.split('?').next().unwrap_or(path);
        let url = format!("{}{bare_path}", self.endpoints.api_url);
        let token = self.token.as_deref().context("a token was obtained first")?;
        self.proof("GET", &url, Some(token), self.nonce.as_deref())
    }

    fn request(
        &self,
        path: &str,
        scheme: &str,
        proof: Option<&str>,
    ) -> Result<Request<Full<Bytes>>> {
        let token = self.token.as_deref().context("a token was obtained first")?;
        let (_, host) = self.endpoints.api_url.split_once("://").unwrap_or_default();
        let mut request = Request::builder()
            .uri(path)
            .header("host", host)
            .header("authorization", format!("{scheme} {token}"));
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Ok(request.body(Full::new(Bytes::new()))?)
    }

    /// Sends a request and takes the answer; `None` if the connection was refused or reset.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Option<(u16, HeaderMap, Bytes)>> {
        let mut connection = match self.api.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => match self.connect(self.endpoints.api).await {
                Ok(connection) => connection,
                Err(_) => return Ok(None),
            },
        };
        match send(&mut connection, request).await {
            Ok(answer) => {
                self.api = Some(connection);
                Ok(Some(answer))
            }
            Err(_) => Ok(None),
        }
    }

    fn proof(
        &self,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String> {
        let request = ProofRequest {
            method,
            url,
            access_token,
            nonce,
            jti: random()?,
            now: clock::unix_now(),
        };
        Ok(sign_proof(&self.key, &request))
    }

    async fn connect(&self, to: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if self.from.is_ipv4() == to.is_ipv4() {
            socket.bind(SocketAddr::new(self.from, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        match &self.endpoints.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(self.endpoints.server_name.clone())?;
                handshake(tls.connect(name, stream).await?).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, HeaderMap, Bytes)> {
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, headers, body))
}

fn answer((status, headers, body): (u16, HeaderMap, Bytes)) -> Answer {
    Answer { status, request: text_of(&headers, "portcullis-request").unwrap_or_default(), body }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no randomness")?;
    Ok(bytes)
}
