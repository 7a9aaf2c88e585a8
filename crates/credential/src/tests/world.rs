//! One vendor, one integration, one grant, and the keys of its holder, its authority and a stranger.

use crate::client::{self, ProofRequest};
use crate::token::{self, Binding, Facts};
use crate::{
    Algorithm, Caller, ClientCertificate, Denied, RequestProof, SigningKey, Verifier, authenticate,
};
use model::{
    Budget, ClassSet, ClientIp, Credential, CredentialId, CredentialState, Digest, Directory,
    Grant, GrantId, Integration, IntegrationId, IntegrationState, Means, Micros, Purpose,
    SubjectScope, UnixMicros, Vendor, VendorId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_030);
pub(super) const ISSUER: &str = "https://authority.example.com";
pub(super) const AUDIENCE: &str = "https://api.example.com";
pub(super) const URL: &str = "https://api.example.com/v1/accounts/7";

pub(super) const VENDOR: VendorId = VendorId::from_bytes([1; 16]);
pub(super) const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);
pub(super) const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
pub(super) const BY_CERTIFICATE: CredentialId = CredentialId::from_bytes([4; 16]);
pub(super) const GRANT: GrantId = GrantId::from_bytes([5; 16]);

pub(super) struct World {
    pub(super) verifier: Verifier,
    pub(super) directory: Directory,
    /// The integration's certificate, pinned.
    pub(super) certificate: Arc<ClientCertificate>,
    /// The integration's key.
    pub(super) key: SigningKey,
    /// The authority's key, `kid` "k1".
    pub(super) issuer_key: SigningKey,
    /// Registered nowhere.
    pub(super) stranger: SigningKey,
}

pub(super) fn signing_key(algorithm: Algorithm, secret: u8) -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::pkcs8(algorithm, [secret; 32]).unwrap()).unwrap()
}

pub(super) fn network() -> ClientIp {
    ClientIp::from_peer([192, 0, 2, 7].into())
}

pub(super) fn self_signed() -> Arc<ClientCertificate> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    Arc::new(ClientCertificate::new(&[certificate.der().clone()]).unwrap())
}

impl World {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self::with_proofs_max(algorithm, Verifier::PROOFS_MAX)
    }

    pub(super) fn with_proofs_max(algorithm: Algorithm, proofs_max: usize) -> Self {
        let key = signing_key(algorithm, 1);
        let issuer_key = signing_key(Algorithm::EdDsa, 2);
        let certificate = self_signed();
        let keys = BTreeMap::from([("k1".to_owned(), issuer_key.public().clone())]);
        Self {
            verifier: Verifier::new(ISSUER, AUDIENCE, keys, [7; 32], proofs_max),
            directory: directory(&key, certificate.show(&Arc::default(), NOW).thumbprint()),
            certificate,
            key,
            issuer_key,
            stranger: signing_key(algorithm, 3),
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            integration: INTEGRATION,
            grant: GRANT,
            subject: None,
            consent: None,
            binding: Binding::Key(self.key.public().thumbprint()),
            issued: NOW - Micros::from_secs(100),
            expires: NOW + Micros::from_secs(200),
        }
    }

    pub(super) fn token(&self, facts: &Facts) -> String {
        token::sign(facts, ISSUER, AUDIENCE, &self.issuer_key, "k1", [1; 16]).expose().to_owned()
    }

    pub(super) fn proof(&self, key: &SigningKey, token: &str, jti: u8) -> String {
        let nonce = self.verifier.nonce(NOW);
        let request = ProofRequest {
            method: "GET",
            url: URL,
            access_token: Some(token),
            nonce: Some(nonce.as_str()),
            jti: [jti; 16],
            now: NOW,
        };
        client::sign_proof(key, &request)
    }

    /// Sends a GET of [`URL`] with these headers.
    pub(super) fn send(&self, authorization: &str, dpop: &str) -> Result<Caller, Denied> {
        self.send_raw(&[authorization.as_bytes()], &[dpop.as_bytes()], NOW)
    }

    pub(super) fn send_raw(
        &self,
        authorization: &[&[u8]],
        dpop: &[&[u8]],
        now: UnixMicros,
    ) -> Result<Caller, Denied> {
        let request = RequestProof {
            method: "GET",
            url: URL,
            query: None,
            fields: &[],
            body: &[],
            authorization,
            dpop,
            network: network(),
            client_certificate: None,
        };
        authenticate(&request, now, &self.verifier, &self.directory)
    }
}

fn directory(key: &SigningKey, certificate: Digest) -> Directory {
    let until = NOW + Micros::from_secs(86_400);
    let credential = |id, means| Credential {
        id,
        integration: INTEGRATION,
        means,
        state: CredentialState::Active { until },
        networks: Vec::new(),
    };
    let vendor = Vendor { id: VENDOR, slug: "acme".into(), name: "Acme".into() };
    let integration = Integration {
        id: INTEGRATION,
        slug: "acme-sync".into(),
        vendor: VENDOR,
        tier: 1,
        state: IntegrationState::Approved { until },
        redirects: Vec::new(),
    };
    let grant = Grant {
        id: GRANT,
        integration: INTEGRATION,
        operations: BTreeSet::new(),
        classes: ClassSet::EMPTY,
        purpose: Purpose::new("support").unwrap(),
        scope: SubjectScope::All,
        budget: Budget { burst: 1, hour: 1, day: 1 },
        expires: until,
    };
    let public = key.public();
    let key =
        Means::Key { thumbprint: public.thumbprint(), jwk: public.canonical_jwk().to_owned() };
    let pinned = Means::Certificate { thumbprint: certificate, ends: until };
    Directory {
        revision: 1,
        vendors: BTreeMap::from([(VENDOR, vendor)]),
        integrations: BTreeMap::from([(INTEGRATION, integration)]),
        credentials: BTreeMap::from([
            (CREDENTIAL, credential(CREDENTIAL, key)),
            (BY_CERTIFICATE, credential(BY_CERTIFICATE, pinned)),
        ]),
        grants: BTreeMap::from([(GRANT, grant)]),
        bearer: BTreeMap::new(),
    }
}
