//! Clients that prove themselves by the connection's certificate (RFC 8705).

use super::{
    ASSERTING, BY_CERTIFICATE, GRANT, INTEGRATION, ISSUER, NOW, RESOURCE, Sent, WORKING, World,
    credential, signing_key,
};
use crate::error::Reason;
use crate::{TokenEndpoint, TokenResponse, TokenType};
use credential::certificate::{Certificate, Fault};
use credential::{Algorithm, ClientCertificate, ClientTrust, RequestProof, Verifier, authenticate};
use model::{CertificateRule, CredentialState, IntegrationId, Means, Micros, RuleKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::sync::Arc;

const FAR: model::UnixMicros = model::UnixMicros::from_secs(4_000_000_000);

pub(super) fn self_signed() -> Arc<ClientCertificate> {
    let certificate = CertificateParams::default().self_signed(&KeyPair::generate().unwrap());
    Arc::new(ClientCertificate::new(&[certificate.unwrap().der().clone()]).unwrap())
}

pub(super) fn pinned(certificate: &ClientCertificate) -> Means {
    let thumbprint = certificate.show(&Arc::default(), NOW).thumbprint();
    Means::Certificate { thumbprint, ends: FAR }
}

/// What a client sends that has a certificate and nothing else.
fn by_certificate(world: &World, certificate: Option<&Arc<ClientCertificate>>) -> Sent {
    let mut sent = world.honest_with_nonce(None, 1);
    sent.form.retain(|(name, _)| !name.starts_with("client_"));
    sent.set("client_id", INTEGRATION);
    sent.dpop.clear();
    sent.certificate = certificate.cloned();
    sent
}

/// What the gateway makes of the token on a connection with this certificate.
fn used(world: &World, token: &TokenResponse, certificate: &ClientCertificate) -> bool {
    let verifier = Verifier::new(ISSUER, RESOURCE, world.endpoint.issuer_keys(), [1; 32], 16);
    let authorization = format!("Bearer {}", token.access_token.expose());
    let shown = certificate.show(&world.trust, NOW);
    let request = RequestProof {
        method: "GET",
        url: RESOURCE,
        query: None,
        fields: &[],
        body: &[],
        authorization: &[authorization.as_bytes()],
        dpop: &[],
        network: model::ClientIp::from_peer([192, 0, 2, 7].into()),
        client_certificate: Some(&shown),
    };
    authenticate(&request, NOW, &verifier, &world.directory).is_ok()
}

#[test]
fn a_certificate_binds_the_token_to_itself() {
    let world = World::new();
    let mut sent = world.honest(2);
    sent.certificate = Some(Arc::clone(&world.certificate));
    assert_eq!(world.send(&sent).unwrap().token_type, TokenType::Dpop, "a proof goes before it");
    let mut sent = world.honest(1);
    sent.dpop.clear();
    sent.certificate = Some(Arc::clone(&world.certificate));
    let response = world.send(&sent).unwrap();
    assert_eq!(response.token_type, TokenType::Bearer);
    assert_eq!(response.applicant.asserted_by, ASSERTING);
    assert_eq!(response.applicant.bound_to, BY_CERTIFICATE);
    sent.set("client_assertion", world.assertion(&world.asserting, |_, _| {}));
    sent.certificate = Some(self_signed());
    assert_eq!(world.send(&sent).unwrap_err().code(), "invalid_client");
}

#[test]
fn a_client_is_authenticated_by_its_certificate_alone() {
    let world = World::new();
    let sent = by_certificate(&world, Some(&world.certificate));
    let response = world.send(&sent).unwrap();
    assert_eq!(response.token_type, TokenType::Bearer);
    let applicant = response.applicant;
    assert_eq!((applicant.asserted_by, applicant.bound_to), (BY_CERTIFICATE, BY_CERTIFICATE));
    assert_eq!((applicant.integration, applicant.grant), (INTEGRATION, GRANT));
    assert!(used(&world, &response, &world.certificate));
    assert!(!used(&world, &response, &self_signed()));
    // Nothing of it is used up: the handshake is what cannot be replayed.
    world.send(&sent).unwrap();
    // With a proof besides, the token is bound to its key (RFC 8705 section 3 binds nothing that is bound elsewhere).
    let mut sent = by_certificate(&world, Some(&world.certificate));
    sent.dpop = world.honest(7).dpop;
    let response = world.send(&sent).unwrap();
    assert_eq!((response.token_type, response.applicant.bound_to), (TokenType::Dpop, WORKING));
}

#[test]
fn a_certificate_that_is_not_the_clients_obtains_nothing() {
    let mut world = World::new();
    let refused = |world: &World, sent: &Sent| {
        let refused = world.send(sent).unwrap_err();
        assert_eq!((refused.code(), refused.status()), ("invalid_client", 400));
        refused.reason
    };
    let ours = Arc::clone(&world.certificate);
    let other = Reason::Certificate(Fault::Other);
    assert_eq!(refused(&world, &by_certificate(&world, None)), Reason::NoClientProof);
    assert_eq!(refused(&world, &by_certificate(&world, Some(&self_signed()))), other);
    let mut sent = by_certificate(&world, Some(&ours));
    sent.set("client_id", IntegrationId::from_bytes([8; 16]));
    assert_eq!(refused(&world, &sent), other, "the certificate of another integration");
    sent.set("client_id", "acme-sync");
    assert_eq!(refused(&world, &sent), other);
    sent.remove("client_id");
    assert_eq!(world.send(&sent).unwrap_err().code(), "invalid_request", "client_id is required");
    // One way of authentication, not two.
    let mut sent = by_certificate(&world, Some(&ours));
    sent.set("client_secret", "x");
    assert_eq!(refused(&world, &sent), Reason::TwoClients);
    sent.remove("client_secret");
    sent.set("client_assertion", "x.y.z");
    assert_eq!(world.send(&sent).unwrap_err().code(), "invalid_request");
    let until = CredentialState::Active { until: NOW };
    world.directory.credentials.get_mut(&BY_CERTIFICATE).unwrap().state = until;
    assert_eq!(refused(&world, &by_certificate(&world, Some(&ours))), other, "it has ended");
}

#[test]
fn a_certificate_of_a_ca_is_a_client_while_the_ca_is_trusted() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        // Twenty seconds after NOW.
        params.not_after =
            date_time_ymd(2027, 1, 15) + (NOW_OF_DAY + std::time::Duration::from_secs(20));
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        Arc::new(ClientCertificate::new(&[leaf.der().clone()]).unwrap())
    };
    let trust = |cas: &[CertificateDer<'static>]| {
        Arc::new(ClientTrust::new(cas, &[] as &[Vec<u8>]).unwrap())
    };
    let mut world = World::new();
    let read = Certificate::parse(&ca).unwrap();
    let rule = CertificateRule::new(RuleKind::SanDns, "worker.acme.example").unwrap();
    let means = Means::Ca { ca: read.thumbprint(), ends: read.ends(), rule };
    world.directory.credentials.extend([credential(BY_CERTIFICATE, means)]);
    let (ours, other) = (leaf("worker.acme.example"), leaf("worker.other.example"));
    world.trust = trust(std::slice::from_ref(&ca));
    let response = world.send(&by_certificate(&world, Some(&ours))).unwrap();
    assert_eq!(response.applicant.bound_to, BY_CERTIFICATE);
    assert!(used(&world, &response, &ours));
    assert!(!used(&world, &response, &other), "another certificate of the same CA");
    // INVARIANT of the endpoint: a token outlives nothing that it rests on, the certificate included.
    assert!(response.expires <= NOW + Micros::from_secs(21), "{}", response.expires);
    let refused = world.send(&by_certificate(&world, Some(&other))).unwrap_err();
    assert_eq!(refused.reason, Reason::Certificate(Fault::Other));
    world.trust = trust(&[]);
    let refused = world.send(&by_certificate(&world, Some(&ours))).unwrap_err();
    assert_eq!(refused.reason, Reason::Certificate(Fault::NotIssued));
    assert!(!used(&world, &response, &ours), "its token neither");
}

/// How far [`NOW`] is into 2027-01-15.
const NOW_OF_DAY: std::time::Duration = std::time::Duration::from_secs(NOW.0 / 1_000_000 % 86_400);

#[test]
fn metadata_names_certificates_where_there_is_tls() {
    let of = |issuer: &str| {
        let key = signing_key(Algorithm::EdDsa, 7);
        TokenEndpoint::new(issuer, RESOURCE, key, [0; 32]).unwrap().metadata(None)
    };
    let metadata = of(ISSUER);
    let methods = json!(["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(metadata.get("mtls_endpoint_aliases"), None);
    let metadata = of("http://127.0.0.1:1");
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], false);
}
