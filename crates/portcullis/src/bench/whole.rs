//! The whole path: the gateway as `portcullis serve` runs it, and an integration that proves itself on every request.
//!
//! Each request carries a proof of its own, a DPoP proof (RFC 9449) or a message signature (RFC 9421), made before the run so that
//! making it is not in the measurement; or the connection has a client certificate, which the token is bound to (RFC 8705). The gateway authenticates, decides, fetches, filters, records durably and only then releases.

use super::connection::{Connection, Target};
use super::load::Requests;
use super::nginx::free_port;
use super::process::Process;
use super::static_origin;
use super::tls::{self, Identity};
use crate::client::Endpoints;
use crate::config::{self, Config};
use crate::init::{self, Addresses};
use crate::onboarding::{self, Application, Parties};
use crate::operator;
use anyhow::{Context, Result, bail, ensure};
use authority::TOKEN_PATH;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use credential::client::{ProofRequest, SignRequest, sign_assertion, sign_proof, sign_request};
use credential::{Algorithm, SigningKey};
use model::{CredentialId, GrantId, IntegrationId, Micros, UnixMicros};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;
use storage::registry::Command as Order;
use storage::registry::command::Limits;

/// How an integration proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    DpopEs256,
    DpopEd25519,
    SignedEd25519,
    /// Of the connection, with a P-256 key; nothing of a request's own.
    Certificate,
}

impl Proof {
    /// Of the integration's key.
    const fn algorithm(self) -> Algorithm {
        match self {
            Self::DpopEs256 | Self::Certificate => Algorithm::Es256,
            Self::DpopEd25519 | Self::SignedEd25519 => Algorithm::EdDsa,
        }
    }
}

/// A running gateway and the integration it knows.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Where the data plane listens.
    pub(crate) data_plane: Target,
    /// The data plane's external origin as configured, such as `http://127.0.0.1:8443`; a proof's `htu` begins with it.
    pub(crate) data_origin: String,
    /// Where the authority listens.
    pub(crate) authority: Target,
    /// The authority's issuer identifier.
    pub(crate) issuer: String,
    /// The registered and approved integration.
    pub(crate) integration: IntegrationId,
    /// Its grant to read the account.
    pub(crate) grant: GrantId,
    /// The private half of its credential.
    pub(crate) key: Arc<SigningKey>,
    /// What it sends with each request.
    pub(crate) proof: Proof,
}

/// Where a gateway keeps its state, what it protects, and the core it runs on.
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) origin: SocketAddr,
    pub(crate) core: usize,
}

/// Starts `portcullis serve` on loopback, with TLS or in clear text. Its integration proves itself by `proof`.
///
/// # Errors
/// If it does not start, or does not take the integration.
pub(crate) async fn start_gateway(
    place: &Place<'_>,
    proof: Proof,
    over_tls: bool,
) -> Result<Running> {
    let Place { dir, origin, core } = *place;
    let listen = [free_port()?, free_port()?, free_port()?];
    let [data_plane, authority, control] = listen;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let addresses = Addresses {
        listen: [data_plane, authority, control, any, any],
        origin,
        clear_text: !over_tls,
    };
    // The data directory as `portcullis init` makes it.
    init::init(dir, "bench", "first", &addresses, None).await?;
    std::fs::write(dir.join("openapi.yaml"), include_str!("account-openapi.yaml"))?;
    std::fs::write(dir.join("overlay.yaml"), include_str!("account-overlay.yaml"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg("--config").arg(dir.join("portcullis.toml")).stdout(Stdio::null());
    let mut process = Process::start(command, core)?;
    for address in listen {
        process.wait_until_listening(address)?;
    }
    let pkcs8 =
        SigningKey::pkcs8(proof.algorithm(), random()?).context("no key of this algorithm")?;
    let key = Arc::new(SigningKey::from_pkcs8(&pkcs8)?);
    let identity = match proof {
        Proof::Certificate => Some(Identity::self_signed(pkcs8)?),
        Proof::DpopEs256 | Proof::DpopEd25519 | Proof::SignedEd25519 => None,
    };
    let (integration, grant) = register(dir, listen, &key, identity.as_ref()).await?;
    let tls = over_tls.then(|| tls::trusting(&dir.join("keys/ca.pem"), identity.as_ref()));
    let tls = tls.transpose()?;
    let scheme = if over_tls { "https" } else { "http" };
    let [data_origin, issuer] =
        [data_plane, authority].map(|at| format!("{scheme}://localhost:{}", at.port()));
    let [data_plane, authority] =
        [data_plane, authority].map(|address| Target { address, tls: tls.clone() });
    Ok(Running {
        process,
        data_plane,
        data_origin,
        authority,
        issuer,
        integration,
        grant,
        key,
        proof,
    })
}

/// Registers, as operators do: a vendor, an approved integration with `key` as its credential, and a grant to read
/// [`GRANTED`] by `getAccount` of all subjects, with a budget that the run does not reach. The certificate of `identity` is pinned.
async fn register(
    dir: &Path,
    [data_plane, authority, control]: [SocketAddr; 3],
    key: &Arc<SigningKey>,
    identity: Option<&Identity>,
) -> Result<(IntegrationId, GrantId)> {
    let config = Config::read(&dir.join(config::FILE))?;
    let endpoints = Endpoints::local(&config, [data_plane, authority])?;
    let operators = onboarding::second_operator(dir, control, "first", "second").await?;
    // One subject, read often.
    let budget = Limits { burst: 10, hour: 10, day: 10 };
    let application = Application {
        slug: "bench-reader",
        vendor: "Benchmark",
        operations: &["getAccount"],
        classes: &GRANTED,
        // What is granted has a location in it, and this purpose is what needs one.
        purpose: "fraud",
        budget,
        days: 30,
        sandbox: ("/v1/accounts/acc_000042", "acc_000042"),
    };
    let parties = Parties {
        control,
        operators: &operators,
        endpoints: &endpoints,
        key,
        from: Ipv4Addr::LOCALHOST.into(),
    };
    let (integration, grant) = onboarding::onboard(&application, &parties).await?;
    if let Some(Identity { certificate, .. }) = identity {
        let pin = Order::CertificateAdd {
            credential: CredentialId::new(now()?, random()?),
            integration,
            certificate: BASE64_URL_SAFE_NO_PAD.encode(certificate),
            rule: None,
            until: now()? + Micros::from_secs(86_400),
            networks: Vec::new(),
        };
        operator::send(control, pin, &[&operators[0], &operators[1]]).await?;
    }
    Ok((integration, grant))
}

/// The classes of the benchmark's grant: 16 of the account's 69 scalar values.
pub(crate) const GRANTED: [&str; 7] = [
    "user.unique_id",
    "user.name",
    "user.contact.email",
    "user.contact.address",
    "user.location",
    "user.account.plan",
    "user.account.status",
];

/// The integration's side of a running gateway.
pub(crate) struct Client {
    gateway: Running,
    token: String,
    /// How many bytes of content a right answer has.
    pub(crate) length: usize,
}

impl Client {
    /// Gets a token and makes one request, whose answer must have fewer fields than the origin's.
    ///
    /// # Errors
    /// If the gateway or the authority answers otherwise than it should.
    pub(crate) async fn new(gateway: Running) -> Result<Self> {
        let mut client = Self { gateway, token: String::new(), length: 0 };
        client.token = client.fetch_token().await?;
        client.length = client.probe().await?;
        Ok(client)
    }

    /// The gateway's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.gateway.process.pid()
    }

    /// Where requests go.
    pub(crate) fn target(&self) -> &Target {
        &self.gateway.data_plane
    }

    /// `count` requests, each with a proof of its own that is fresh for about a minute, if it carries one.
    ///
    /// # Errors
    /// If the gateway gives no nonce.
    pub(crate) async fn requests(&mut self, count: u64) -> Result<Arc<Requests>> {
        // A token ends after five minutes; a run never outlives the one it began with.
        self.token = self.fetch_token().await?;
        if self.gateway.proof == Proof::Certificate {
            let request = self.request(None)?;
            return Ok(Arc::new(move |_, out: &mut Vec<u8>| out.extend_from_slice(&request)));
        }
        let nonce = self.fetch_nonce().await?;
        let signed: Vec<Vec<u8>> =
            (0..count).map(|_| self.request(Some(&nonce))).collect::<Result<_>>()?;
        Ok(Arc::new(move |n, out: &mut Vec<u8>| {
            let request = usize::try_from(n).ok().and_then(|n| signed.get(n));
            // A request beyond those signed is empty and fails the run; a repeated proof would measure refusals.
            out.extend_from_slice(request.map_or(&[], Vec::as_slice));
        }))
    }

    /// One request for the account, with a proof of its own, if it carries one.
    fn request(&self, nonce: Option<&str>) -> Result<Vec<u8>> {
        let url = format!("{}{}", self.gateway.data_origin, path());
        let (path, token) = (path(), &self.token);
        let proof = match self.gateway.proof {
            Proof::DpopEs256 | Proof::DpopEd25519 => {
                let proof = self.proof("GET", &url, Some(token), nonce)?;
                format!("Authorization: DPoP {token}\r\nDPoP: {proof}")
            }
            Proof::Certificate => format!("Authorization: Bearer {token}"),
            Proof::SignedEd25519 => {
                let request = SignRequest {
                    method: "GET",
                    target_uri: &url,
                    access_token: token,
                    content: &[],
                    nonce: nonce.unwrap_or_default(),
                    unique: random()?,
                    now: now()?,
                };
                let signed = sign_request(&self.gateway.key, &request);
                let (input, signature) = (signed.signature_input, signed.signature);
                format!(
                    "Authorization: HTTPSig {token}\r\nSignature-Input: {input}\r\nSignature: {signature}"
                )
            }
        };
        let host = host_of(&self.gateway.data_origin);
        Ok(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n{proof}\r\n\r\n"
        )
        .into_bytes())
    }

    fn proof(
        &self,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String> {
        let request =
            ProofRequest { method, url, access_token, nonce, jti: random()?, now: now()? };
        Ok(sign_proof(&self.gateway.key, &request))
    }

    /// The nonce the data plane wants: it names it when it refuses a proof without one (RFC 9449 section 9).
    async fn fetch_nonce(&self) -> Result<String> {
        let mut connection = Connection::open(&self.gateway.data_plane).await?;
        let reply = connection.exchange(&self.request(None)?).await?;
        ensure!(reply.status == 401, "a proof without a nonce was answered {}", reply.status);
        let nonce = match self.gateway.proof {
            Proof::DpopEs256 | Proof::DpopEd25519 => connection.field(&reply, "dpop-nonce"),
            Proof::Certificate => None,
            Proof::SignedEd25519 => connection
                .field(&reply, "www-authenticate")
                .and_then(|challenge| challenge.split_once("nonce=\"")?.1.split('"').next()),
        };
        Ok(nonce.context("no nonce in the refusal")?.to_owned())
    }

    /// One whole request; the length of its content.
    async fn probe(&self) -> Result<usize> {
        let nonce = match self.gateway.proof {
            Proof::Certificate => None,
            Proof::DpopEs256 | Proof::DpopEd25519 | Proof::SignedEd25519 => {
                Some(self.fetch_nonce().await?)
            }
        };
        let mut connection = Connection::open(&self.gateway.data_plane).await?;
        let reply = connection.exchange(&self.request(nonce.as_deref())?).await?;
        let content = connection.content(&reply);
        ensure!(
            reply.status == 200,
            "the gateway answered {}: {}",
            reply.status,
            String::from_utf8_lossy(content)
        );
        let says_whose = content
            .windows(static_origin::ACCOUNT_ID.len())
            .any(|w| w == static_origin::ACCOUNT_ID.as_bytes());
        ensure!(says_whose, "the gateway released another record");
        // Were nothing withheld, the filter would not be in the measurement.
        ensure!(reply.length < static_origin::ACCOUNT.len(), "the gateway withheld nothing");
        Ok(reply.length)
    }

    /// A token by `client_credentials`: by the connection's certificate, or by `private_key_jwt` with the authority's nonce if it
    /// asks for one.
    async fn fetch_token(&self) -> Result<String> {
        let Running { authority, issuer, integration, grant, key, .. } = &self.gateway;
        let (url, host) = (format!("{issuer}{TOKEN_PATH}"), host_of(issuer));
        let mut connection = Connection::open(authority).await?;
        let mut nonce = None;
        for _ in 0..2 {
            let mut form =
                format!("grant_type=client_credentials&scope={grant}&client_id={integration}");
            let mut proof = String::new();
            if self.gateway.proof != Proof::Certificate {
                let assertion = sign_assertion(key, *integration, issuer, random()?, now()?);
                form += "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=";
                form += &assertion;
                proof = format!("DPoP: {}\r\n", self.proof("POST", &url, None, nonce.as_deref())?);
            }
            let request = format!(
                "POST {TOKEN_PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n{proof}Content-Length: {}\r\n\r\n{form}",
                form.len()
            );
            let reply = connection.exchange(request.as_bytes()).await?;
            let content: serde_json::Value =
                serde_json::from_slice(connection.content(&reply)).unwrap_or_default();
            if let (200, Some(token)) =
                (reply.status, content.get("access_token").and_then(|token| token.as_str()))
            {
                return Ok(token.to_owned());
            }
            nonce = connection.field(&reply, "dpop-nonce").map(str::to_owned);
            if nonce.is_none() {
                bail!("the authority answered {}: {content}", reply.status);
            }
        }
        bail!("the authority refused a proof with its own nonce")
    }
}

fn path() -> String {
    format!("/v1/accounts/{}", static_origin::ACCOUNT_ID)
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random bytes"))?;
    Ok(bytes)
}

fn now() -> Result<UnixMicros> {
    let since = SystemTime::UNIX_EPOCH.elapsed().context("the clock stands before 1970")?;
    Ok(UnixMicros(u64::try_from(since.as_micros())?))
}

#[cfg(test)]
mod tests;
