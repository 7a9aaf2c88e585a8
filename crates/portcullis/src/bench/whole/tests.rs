//! The benchmark's integration against a stand-in for the gateway: the real token endpoint and the real verifier, on
//! sockets, with one field as the whole answer.

use super::*;
use authority::{Standing, TokenEndpoint, TokenRequest};
use credential::{ClientCertificate, ClientTrust, RequestProof, Shown, Verifier, authenticate};
use model::{
    Budget, ClassSet, ClientIp, Credential, CredentialId, CredentialState, Directory, Grant,
    Integration, IntegrationState, Means, Micros, Purpose, SubjectScope, Vendor, VendorId,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const RELEASED: &str = r#"{"id":"acc_000042"}"#;

struct World {
    endpoint: TokenEndpoint,
    verifier: Verifier,
    directory: Directory,
    data_origin: String,
    trust: Arc<ClientTrust>,
    /// None: clear text.
    acceptor: Option<TlsAcceptor>,
}

/// Answers a request's head and body on a connection that showed this certificate.
type Answer = fn(&World, &str, &str, Option<&Shown<'_>>) -> String;

#[tokio::test]
async fn every_request_of_a_run_is_accepted_once() {
    for proof in [Proof::DpopEs256, Proof::DpopEd25519, Proof::SignedEd25519] {
        check(proof).await;
    }
}

#[tokio::test]
async fn a_certificate_is_shown_to_authority_and_data_plane() {
    let mut client = Client::new(stand_in(Proof::Certificate).await).await.unwrap();
    let mut load = super::super::load::Load::open(client.target(), 4).await.unwrap();
    let requests = client.requests(50).await.unwrap();
    let seen = load.run(50, client.length, Arc::clone(&requests)).await.unwrap();
    assert_eq!((seen.requests, seen.wrong.len()), (50, 0));
    let again = load.run(50, client.length, requests).await.unwrap();
    assert_eq!(again.wrong.len(), 0, "a request carries nothing that is used up");
}

async fn check(proof: Proof) {
    let gateway = stand_in(proof).await;
    let mut client = Client::new(gateway).await.unwrap();
    assert_eq!(client.length, RELEASED.len());
    let mut load = super::super::load::Load::open(client.target(), 4).await.unwrap();
    let requests = client.requests(50).await.unwrap();
    let seen = load.run(50, client.length, Arc::clone(&requests)).await.unwrap();
    assert_eq!((seen.requests, seen.wrong.len()), (50, 0));
    let again = load.run(50, client.length, requests).await.unwrap();
    assert_eq!(
        again.wrong,
        BTreeMap::from([(401, 50)]),
        "the stand-in would notice a repeated proof"
    );
}

#[test]
fn the_contract_declares_all_that_the_origin_answers() {
    // What is undeclared is a signal and a log line for each request, which is not what is to be measured.
    let account: serde_json::Value = serde_json::from_str(static_origin::ACCOUNT).unwrap();
    let contract = include_str!("../account-openapi.yaml");
    for name in account.as_object().unwrap().keys() {
        let declared = format!("\n        {name}:");
        assert!(contract.contains(&declared), "`{name}` is not declared");
    }
}

#[test]
fn the_host_of_a_url_has_its_port() {
    assert_eq!(host_of("http://a:1/b/c"), "a:1");
    assert_eq!(host_of("https://a"), "a");
}

async fn stand_in(proof: Proof) -> Running {
    let secret = |byte| SigningKey::pkcs8(proof.algorithm(), [byte; 32]).unwrap();
    let key = Arc::new(SigningKey::from_pkcs8(&secret(1)).unwrap());
    let identity = (proof == Proof::Certificate).then(|| Identity::self_signed(secret(1)).unwrap());
    let (acceptor, tls) = match &identity {
        None => (None, None),
        Some(identity) => {
            let (acceptor, tls) = both_sides(identity);
            (Some(acceptor), Some(tls))
        }
    };
    let data_plane = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let authority = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (data_address, authority_address) =
        (data_plane.local_addr().unwrap(), authority.local_addr().unwrap());
    let (data_origin, issuer) =
        (format!("http://{data_address}"), format!("http://{authority_address}"));
    let issuer_key = SigningKey::from_pkcs8(&secret(2)).unwrap();
    let endpoint = TokenEndpoint::new(&issuer, &data_origin, issuer_key, [3; 32]).unwrap();
    let verifier =
        Verifier::new(&issuer, &data_origin, endpoint.issuer_keys(), [4; 32], Verifier::PROOFS_MAX);
    let (directory, integration, grant) = directory(&key, identity.as_ref());
    let (origin, trust) = (data_origin.clone(), Arc::default());
    let world =
        Arc::new(World { endpoint, verifier, directory, data_origin: origin, trust, acceptor });
    tokio::spawn(listen(authority, Arc::clone(&world), World::token));
    tokio::spawn(listen(data_plane, world, World::data));
    // Something with a process id that ends when it is told to.
    let mut idle = Command::new("cat");
    idle.stdin(Stdio::piped());
    let process = Process::start(idle, 0).unwrap();
    Running {
        process,
        data_plane: Target { address: data_address, tls: tls.clone() },
        data_origin,
        authority: Target { address: authority_address, tls },
        issuer,
        integration,
        grant,
        key,
        proof,
    }
}

/// The gateway's own TLS, and a client that trusts it and shows `identity`.
fn both_sides(identity: &Identity) -> (TlsAcceptor, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["pem", "key"].map(|name| folder.path().join(name));
    tls::write_server(&certificate, &key).unwrap();
    let connector = tls::trusting(&certificate, Some(identity)).unwrap();
    let [certificate, key] = [certificate, key].map(|path| std::fs::read(path).unwrap());
    (gateway::tls::configs(&certificate, &key).unwrap().data_plane.into(), connector)
}

fn directory(key: &SigningKey, identity: Option<&Identity>) -> (Directory, IntegrationId, GrantId) {
    let (vendor, integration) = (VendorId::from_bytes([1; 16]), IntegrationId::from_bytes([2; 16]));
    let (credential, grant) = (CredentialId::from_bytes([3; 16]), GrantId::from_bytes([4; 16]));
    let until = now().unwrap() + Micros::from_secs(3600);
    let public = key.public();
    let means = match identity {
        None => {
            let jwk = public.canonical_jwk().to_owned();
            Means::Key { thumbprint: public.thumbprint(), jwk }
        }
        Some(Identity { certificate, .. }) => {
            Means::Certificate { thumbprint: credential::sha256(certificate), ends: until }
        }
    };
    let directory = Directory {
        revision: 1,
        vendors: BTreeMap::from([(
            vendor,
            Vendor { id: vendor, slug: "v".into(), name: "V".into() },
        )]),
        integrations: BTreeMap::from([(
            integration,
            Integration {
                id: integration,
                slug: "i".into(),
                vendor,
                tier: 1,
                state: IntegrationState::Approved { until },
                redirects: Vec::new(),
            },
        )]),
        credentials: BTreeMap::from([(
            credential,
            Credential {
                id: credential,
                integration,
                means,
                state: CredentialState::Active { until },
                networks: Vec::new(),
            },
        )]),
        bearer: BTreeMap::new(),
        grants: BTreeMap::from([(
            grant,
            Grant {
                id: grant,
                integration,
                operations: BTreeSet::new(),
                classes: ClassSet::EMPTY,
                purpose: Purpose::new("support").unwrap(),
                scope: SubjectScope::All,
                budget: Budget { burst: 1, hour: 1, day: 1 },
                expires: until,
            },
        )]),
    };
    (directory, integration, grant)
}

async fn listen(listener: TcpListener, world: Arc<World>, answer: Answer) {
    while let Ok((stream, _)) = listener.accept().await {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let Some(acceptor) = &world.acceptor else {
                return serve(stream, &world, None, answer).await;
            };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificate = ClientCertificate::new(chain).ok();
            serve(stream, &world, certificate.as_ref(), answer).await;
        });
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    world: &World,
    certificate: Option<&ClientCertificate>,
    answer: Answer,
) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {
        let text = String::from_utf8(seen.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() == length {
            let shown = certificate.map(|one| one.show(&world.trust, now().unwrap()));
            let answer = answer(world, head, body, shown.as_ref());
            stream.write_all(answer.as_bytes()).await.unwrap();
            seen.clear();
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

fn answer(status: u16, nonce: Option<&str>, body: &str) -> String {
    let nonce = nonce.map_or(String::new(), |nonce| format!("DPoP-Nonce: {nonce}\r\n"));
    format!("HTTP/1.1 {status} X\r\n{nonce}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl World {
    fn token(&self, head: &str, body: &str, client_certificate: Option<&Shown<'_>>) -> String {
        let dpop: Vec<&[u8]> = field(head, "dpop").into_iter().map(str::as_bytes).collect();
        let network = ClientIp::from_peer([127, 0, 0, 1].into());
        let request =
            TokenRequest { body: body.as_bytes(), dpop: &dpop, network, client_certificate };
        let standing = |_: &authority::Applicant| Standing::Admitted;
        match self.endpoint.token(
            &request,
            &self.directory,
            &standing,
            now().unwrap(),
            random().unwrap(),
        ) {
            Ok(token) => answer(200, None, &token.to_json()),
            Err(error) => {
                answer(400, error.challenge().map(credential::Nonce::as_str), &error.to_json())
            }
        }
    }

    fn data(&self, head: &str, _: &str, client_certificate: Option<&Shown<'_>>) -> String {
        let all = |name| field(head, name).into_iter().map(str::as_bytes).collect::<Vec<_>>();
        let fields: Vec<(&str, &[u8])> = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name, value.as_bytes()))
            .collect();
        let proof = RequestProof {
            method: "GET",
            url: &format!("{}{}", self.data_origin, path()),
            query: None,
            fields: &fields,
            body: &[],
            authorization: &all("authorization"),
            dpop: &all("dpop"),
            network: ClientIp::from_peer([127, 0, 0, 1].into()),
            client_certificate,
        };
        match authenticate(&proof, now().unwrap(), &self.verifier, &self.directory) {
            Ok(_) => answer(200, None, RELEASED),
            Err(denied) => {
                let challenge = denied.www_authenticate().unwrap_or_default();
                let nonce = denied.challenge().map_or("", credential::Nonce::as_str);
                format!(
                    "HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nDPoP-Nonce: {nonce}\r\nContent-Length: 0\r\n\r\n"
                )
            }
        }
    }
}
