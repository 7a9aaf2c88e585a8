//! Client certificates on the data plane: what a handshake proves, what a reload takes back from connections that are open, and
//! headers that claim what only a handshake can prove.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

#[path = "support/origin.rs"]
mod origin;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use credential::ClientTrust;
use gateway::listener::Transport;
use model::{CertificateRule, Means, RuleKind, UnixMicros};
use origin::RecordingOrigin;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use support::{Setting, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Declares every header that a proxy would put a client's certificate into: a contract must not make them mean anything.
const OPENAPI: &str = "
openapi: 3.1.0
info: { title: echo, version: '1' }
paths:
  /:
    get:
      operationId: get
      parameters:
        - { name: X-Declared, in: header, schema: { type: string } }
        - { name: Client-Cert, in: header, schema: { type: string } }
        - { name: Client-Cert-Chain, in: header, schema: { type: string } }
        - { name: X-Forwarded-Client-Cert, in: header, schema: { type: string } }
        - { name: X-SSL-Client-S-DN, in: header, schema: { type: string } }
        - { name: X-Client-Verify, in: header, schema: { type: string } }
        - { name: SSL-Client-Cert, in: header, schema: { type: string } }
      responses:
        '200':
          description: What was sent
          content: { application/json: { schema: { $ref: '#/components/schemas/Echo' } } }
components:
  schemas:
    Echo: { type: object, properties: { echo: { type: string } } }
";

const OVERLAY: &str = "
overlay: 1.0.0
info: { title: echo, version: 1 }
actions:
  - { target: $.paths.*.*, update: { x-portcullis-subject: none } }
  - target: $.components.schemas.Echo.properties.echo
    update: { x-portcullis-class: system.operations }
";

const PATIENCE: Duration = Duration::from_secs(20);
const SPIFFE: &str = "spiffe://acme.example/sync";

struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    fn thumbprint(&self) -> [u8; 32] {
        digest(&SHA256, &self.certificate).as_ref().try_into().unwrap()
    }

    fn self_signed() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // As `openssl req -x509` makes them.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }
}

struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: SanType, serial: u64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { certificate, key }
    }

    fn worker(&self, serial: u64) -> Identity {
        self.issue(SanType::URI(SPIFFE.try_into().unwrap()), serial)
    }

    fn trust(&self, revoked: &[u64]) -> Arc<ClientTrust> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap().der().to_vec();
        Arc::new(ClientTrust::new(std::slice::from_ref(&self.certificate), &[list]).unwrap())
    }
}

struct World {
    ca: Ca,
    origin: RecordingOrigin,
    stage: Stage,
}

impl World {
    /// A node whose one integration has this beside its key, and whose server certificate is of `ca`.
    async fn start(ca: Ca, means: Means) -> Self {
        let server = ca.issue(SanType::DnsName("localhost".try_into().unwrap()), 1);
        let pem = |der: &[u8]| {
            use base64::prelude::{BASE64_STANDARD, Engine};
            let text = BASE64_STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        let (certificate, key) = (pem(&server.certificate), server.key.serialize_pem());
        let configs = gateway::tls::configs(certificate.as_bytes(), key.as_bytes()).unwrap();
        let origin = RecordingOrigin::start().await;
        let stage = Stage::start(Setting {
            contract: (OPENAPI, OVERLAY),
            origin: origin.address,
            transport: Transport::Tls(Arc::new(ArcSwap::new(configs.data_plane))),
            certificate: Some(means),
        })
        .await;
        Self { ca, origin, stage }
    }

    async fn by_rule() -> Self {
        let ca = Ca::new();
        let rule = CertificateRule::new(RuleKind::SanUri, SPIFFE).unwrap();
        let thumbprint = digest(&SHA256, &ca.certificate).as_ref().try_into().unwrap();
        Self::start(ca, Means::Ca { ca: thumbprint, ends: UnixMicros(u64::MAX), rule }).await
    }

    async fn pinned(identity: &Identity) -> Self {
        let (thumbprint, ends) = (identity.thumbprint(), UnixMicros(u64::MAX));
        Self::start(Ca::new(), Means::Certificate { thumbprint, ends }).await
    }

    /// A connection that shows the certificate of one identity and signs with the key of another.
    async fn connect(&self, shown: &Identity, signs: &Identity) -> std::io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(signs.key.serialize_der()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let resolver = Fixed(Arc::new(CertifiedKey::new(vec![shown.certificate.clone()], key)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(resolver));
        let stream = TcpStream::connect(self.stage.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Client { stream, host: self.stage.host().to_owned() })
    }

    async fn client(&self, identity: &Identity) -> Client {
        self.connect(identity, identity).await.unwrap()
    }
}

/// Shows a certificate whether or not it has its key.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

struct Client {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Client {
    /// The status of a GET with these fields, on this connection.
    async fn get(&mut self, fields: &[(&str, &str)]) -> u16 {
        let host = ("Host", self.host.clone());
        let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "GET / HTTP/1.1\r\n{}: {}\r\n{}\r\n",
            host.0,
            host.1,
            fields.collect::<String>()
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let (head, length) = loop {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut reply)).await.unwrap().unwrap();
            assert!(read > 0, "{:?}", String::from_utf8_lossy(&reply));
            let text = String::from_utf8_lossy(&reply).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                break (head.to_owned(), length.unwrap().parse::<usize>().unwrap());
            }
        };
        while reply.len() < head.len() + 4 + length {
            timeout(PATIENCE, self.stream.read_buf(&mut reply)).await.unwrap().unwrap();
        }
        head[9..12].parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_signed_certificate_proves_possession_of_its_key_and_nothing_else() {
    let (ours, theirs) = (Identity::self_signed(), Identity::self_signed());
    let world = World::pinned(&ours).await;
    let token = format!("Bearer {}", world.stage.token(Some(ours.thumbprint())));
    let bearer = [("Authorization", &*token)];
    assert_eq!(world.client(&ours).await.get(&bearer).await, 200);
    assert_eq!(world.client(&theirs).await.get(&bearer).await, 401);
    // The certificate is public; its key is not.
    let ended = match world.connect(&ours, &theirs).await {
        Err(refused) => refused,
        // In TLS 1.3 a client is done before the server has seen its signature, so the alert comes with the first read.
        Ok(mut client) => timeout(PATIENCE, client.stream.read_u8()).await.unwrap().unwrap_err(),
    };
    assert!(ended.to_string().contains("fatal alert"), "{ended}");
    // The token that is bound to the key, over the connection with the certificate.
    let other = format!("Bearer {}", world.stage.token(None));
    assert_eq!(world.client(&ours).await.get(&[("Authorization", &*other)]).await, 401);
    let as_dpop = token.replace("Bearer", "DPoP");
    assert_eq!(world.client(&ours).await.get(&[("Authorization", &*as_dpop)]).await, 401);
    assert_eq!(world.origin.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_connections_that_are_open_at_their_word_no_more() {
    let world = World::by_rule().await;
    let (ours, other) = (world.ca.worker(7), world.ca.worker(8));
    let trust = |trust: Arc<ClientTrust>| world.stage.node.client_trust.store(trust);
    let token = format!("Bearer {}", world.stage.token(Some(ours.thumbprint())));
    let bearer = [("Authorization", &*token)];
    let mut client = world.client(&ours).await;
    assert_eq!(client.get(&bearer).await, 401, "the CA is not trusted yet");
    trust(world.ca.trust(&[]));
    assert_eq!(client.get(&bearer).await, 200);
    assert_eq!(client.get(&bearer).await, 200);
    // Another certificate of the same CA with the same name is not the one the token is bound to.
    assert_eq!(world.client(&other).await.get(&bearer).await, 401);
    trust(world.ca.trust(&[7]));
    assert_eq!(client.get(&bearer).await, 401, "revoked");
    trust(world.ca.trust(&[8]));
    assert_eq!(client.get(&bearer).await, 200);
    trust(Arc::default());
    assert_eq!(client.get(&bearer).await, 401, "the CA is gone");
    assert_eq!(world.client(&ours).await.get(&bearer).await, 401);
    trust(world.ca.trust(&[]));
    assert_eq!(client.get(&bearer).await, 200, "the same connection all along");
    assert_eq!(world.origin.received().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_prove_no_certificate_and_never_reach_the_origin() {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let ours = Identity::self_signed();
    let world = World::pinned(&ours).await;
    let encoded = BASE64_STANDARD.encode(&ours.certificate);
    let hash: String = ours.thumbprint().iter().map(|byte| format!("{byte:02x}")).collect();
    //= RFC 9440 section 2.1: how a proxy writes a certificate
    let claims = [
        ("Client-Cert", format!(":{encoded}:")),
        ("client-cert-chain", format!(":{encoded}:")),
        ("X-Forwarded-Client-Cert", format!("Hash={hash};URI={SPIFFE}")),
        ("X-SSL-Client-Cert", encoded.clone()),
        ("X-SSL-Client-S-DN", "CN=reader".to_owned()),
        ("X-SSL-Client-Verify", "SUCCESS".to_owned()),
        ("X-Client-Verify", "SUCCESS".to_owned()),
        ("X-Client-Cert", encoded.clone()),
        ("SSL-Client-Cert", encoded.clone()),
        ("SSL_CLIENT_CERT", encoded.clone()),
        ("X_Forwarded_Client_Cert", encoded.clone()),
        ("X-ARR-ClientCert", encoded.clone()),
        ("X-Amzn-Mtls-Clientcert-Leaf", encoded.clone()),
        ("Cf-Client-Cert-Der-Base64", encoded.clone()),
    ];
    let token = format!("Bearer {}", world.stage.token(Some(ours.thumbprint())));
    let stranger = Identity::self_signed();
    for (name, value) in &claims {
        let fields = [("Authorization", &*token), (*name, value.as_str())];
        let mut client = world.client(&stranger).await;
        assert_eq!(client.get(&fields).await, 401, "{name} was believed");
    }
    assert_eq!(world.origin.received().len(), 0);
    let mut fields = vec![("Authorization", &*token), ("X-Declared", "yes")];
    fields.extend(claims.iter().map(|(name, value)| (*name, value.as_str())));
    assert_eq!(world.client(&ours).await.get(&fields).await, 200);
    // With a key instead of a certificate it is no different.
    let [(authorization, token), (dpop, proof)] = world.stage.proof("GET", "/");
    fields[0] = (authorization, &token);
    fields.push((dpop, &proof));
    assert_eq!(world.client(&stranger).await.get(&fields).await, 200);
    let received = world.origin.received().clone();
    assert_eq!(received.len(), 2);
    for request in received {
        let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
        assert!(request.contains("x-declared: yes"), "{request}");
        check_nothing_of_a_certificate(&request, &hash);
    }
}

fn check_nothing_of_a_certificate(request: &str, hash: &str) {
    for gone in ["cert", "ssl", "x-client", "verify", hash, "acme.example"] {
        assert!(!request.contains(gone), "{gone} in {request}");
    }
}
