//! A request taken to pieces, so that a test can change any one of them.

use super::world::{NOW, URL, World, network};
use crate::token::Facts;
use crate::{
    Caller, ClientCertificate, ClientTrust, Denied, RequestProof, SigningKey, authenticate,
    base64url,
};
use model::{ClientIp, UnixMicros};
use serde_json::Value;
use std::sync::Arc;

/// A request as it arrives; by default an honest one.
pub(super) struct Attempt {
    pub(super) authorization: Vec<String>,
    pub(super) dpop: Vec<String>,
    pub(super) method: &'static str,
    pub(super) network: ClientIp,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    pub(super) trust: Arc<ClientTrust>,
    pub(super) now: UnixMicros,
}

impl Attempt {
    pub(super) fn honest(world: &World) -> Self {
        Self::with_token(world, world.token(&world.facts()))
    }

    pub(super) fn with_token(world: &World, token: String) -> Self {
        let proof = world.proof(&world.key, &token, 1);
        Self::with(token, proof)
    }

    pub(super) fn with_facts(world: &World, change: impl FnOnce(&mut Facts)) -> Self {
        let mut facts = world.facts();
        change(&mut facts);
        Self::with_token(world, world.token(&facts))
    }

    /// A token with these changes to its header and claims, signed by `key`.
    pub(super) fn with_claims(
        world: &World,
        key: &SigningKey,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Self {
        let (header, claims) = taken_apart(&world.token(&world.facts()), change);
        Self::with_token(world, key.sign_compact(&header, &claims))
    }

    /// A proof with these changes to its header and claims, signed by `key`.
    pub(super) fn with_proof(
        world: &World,
        key: &SigningKey,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Self {
        let token = world.token(&world.facts());
        let (header, claims) = taken_apart(&world.proof(&world.key, &token, 1), change);
        Self::with(token, key.sign_compact(&header, &claims))
    }

    pub(super) fn with(token: String, proof: String) -> Self {
        Self {
            authorization: vec![format!("DPoP {token}")],
            dpop: vec![proof],
            method: "GET",
            network: network(),
            certificate: None,
            trust: Arc::default(),
            now: NOW,
        }
    }

    pub(super) fn send(&self, world: &World) -> Result<Caller, Denied> {
        let authorization: Vec<&[u8]> = self.authorization.iter().map(String::as_bytes).collect();
        let dpop: Vec<&[u8]> = self.dpop.iter().map(String::as_bytes).collect();
        let certificate = self.certificate.as_ref();
        let shown = certificate.map(|certificate| certificate.show(&self.trust, self.now));
        let request = RequestProof {
            method: self.method,
            url: URL,
            query: None,
            fields: &[],
            body: &[],
            authorization: &authorization,
            dpop: &dpop,
            network: self.network,
            client_certificate: shown.as_ref(),
        };
        authenticate(&request, self.now, &world.verifier, &world.directory)
    }
}

pub(super) fn taken_apart(
    jws: &str,
    change: impl FnOnce(&mut Value, &mut Value),
) -> (String, String) {
    let mut parts = jws.split('.').map(|part| base64url::decode(part.as_bytes()).unwrap());
    let mut part = || serde_json::from_slice::<Value>(&parts.next().unwrap()).unwrap();
    let (mut header, mut claims) = (part(), part());
    change(&mut header, &mut claims);
    (header.to_string(), claims.to_string())
}
