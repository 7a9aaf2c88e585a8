//! A signed request taken to pieces, so that a test can change any one of them before or after it is signed.

use super::world::{CREDENTIAL, NOW, World, network};
use crate::{Caller, ClientCertificate, Denied, RequestProof, SigningKey, authenticate};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::UnixMicros;
use std::sync::Arc;

pub(super) const ORIGIN: &str = "https://api.example.com";

/// A request as it arrives; by default an honest one with a query and content.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    pub(super) now: UnixMicros,
}

/// What is signed: names of components as they stand in the list, and parameters with their values as they stand there.
pub(super) struct Plan {
    pub(super) label: &'static str,
    pub(super) covered: Vec<String>,
    pub(super) parameters: Vec<(&'static str, String)>,
}

impl Plan {
    pub(super) fn honest(world: &World, nonce_end: &str) -> Self {
        let key = world.key.public();
        let nonce = world.verifier.nonce(NOW);
        let quoted = |text: &str| format!("\"{text}\"");
        Self {
            label: "sig",
            covered: ["@method", "@target-uri", "authorization", "content-digest"]
                .map(quoted)
                .into(),
            parameters: vec![
                ("created", NOW.secs().to_string()),
                ("keyid", quoted(&key.thumbprint_text())),
                ("alg", quoted(key.algorithm().signature_name().unwrap())),
                ("nonce", quoted(&format!("{}.{nonce_end}", nonce.as_str()))),
                ("tag", quoted("portcullis")),
            ],
        }
    }

    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value.to_owned()));
    }

    pub(super) fn without(&mut self, name: &str) {
        self.parameters.retain(|(known, _)| *known != name);
        self.covered.retain(|component| component.trim_matches('"') != name);
    }

    pub(super) fn cover(&mut self, names: &[&str]) {
        self.covered = names.iter().map(|name| format!("\"{name}\"")).collect();
    }
}

impl Signed {
    pub(super) fn honest(world: &World) -> Self {
        Self::with(world, |_| {})
    }

    /// An honest request but for `change` to what is signed.
    pub(super) fn with(world: &World, change: impl FnOnce(&mut Plan)) -> Self {
        let mut request = Self::unsigned(&world.token(&world.facts()));
        let mut plan = Plan::honest(world, "1");
        change(&mut plan);
        request.sign(&world.key, &plan);
        request
    }

    pub(super) fn unsigned(token: &str) -> Self {
        let body = br#"{"name":"Ada"}"#.to_vec();
        let mut request = Self {
            method: "POST",
            path: "/v1/accounts/7".to_owned(),
            query: Some("notify=true&to=a%40b".to_owned()),
            fields: Vec::new(),
            body,
            certificate: None,
            now: NOW,
        };
        let digest = format!("sha-256=:{}:", STANDARD.encode(crate::jwk::sha256(&request.body)));
        request.push("Authorization", &format!("HTTPSig {token}"));
        request.push("Content-Type", "application/json");
        request.push("Content-Digest", &digest);
        request
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    pub(super) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.fields.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        *self.field(name) = value.as_bytes().to_vec();
    }

    pub(super) fn drop_field(&mut self, name: &str) {
        self.fields.retain(|(known, _)| known != name);
    }

    /// Signs it as it stands. A component that it does not have is signed as nothing.
    pub(super) fn sign(&mut self, key: &SigningKey, plan: &Plan) {
        let mut base = String::new();
        for component in &plan.covered {
            let name = component.split('"').nth(1).unwrap();
            base.push_str(&format!("{component}: {}\n", self.value_of(name)));
        }
        let mut params = format!("({})", plan.covered.join(" "));
        for (name, value) in &plan.parameters {
            params.push_str(&format!(";{name}={value}"));
        }
        base.push_str(&format!("\"@signature-params\": {params}"));
        let signature = STANDARD.encode(key.sign(base.as_bytes()));
        let label = plan.label;
        self.push("Signature-Input", &format!("{label}={params}"));
        self.push("Signature", &format!("{label}=:{signature}:"));
    }

    fn value_of(&self, name: &str) -> String {
        let query = self.query.as_deref().unwrap_or_default();
        match name {
            "@method" => self.method.to_owned(),
            "@target-uri" => {
                let mark = if self.query.is_some() { "?" } else { "" };
                format!("{ORIGIN}{}{mark}{query}", self.path)
            }
            "@authority" => "api.example.com".to_owned(),
            "@scheme" => "https".to_owned(),
            "@path" => self.path.clone(),
            "@query" => format!("?{query}"),
            _ => {
                let lines = self.fields.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
                let lines: Vec<_> = lines.map(|(_, v)| String::from_utf8_lossy(v)).collect();
                lines.join(", ")
            }
        }
    }

    pub(super) fn send(&self, world: &World) -> Result<Caller, Denied> {
        let fields: Vec<(&str, &[u8])> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let all = |wanted: &str| -> Vec<&[u8]> {
            fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(wanted)).map(|(_, v)| *v).collect()
        };
        let certificate = self.certificate.as_ref();
        let shown = certificate.map(|certificate| certificate.show(&Arc::default(), self.now));
        let request = RequestProof {
            method: self.method,
            url: &format!("{ORIGIN}{}", self.path),
            query: self.query.as_deref(),
            fields: &fields,
            body: &self.body,
            authorization: &all("authorization"),
            dpop: &all("dpop"),
            network: network(),
            client_certificate: shown.as_ref(),
        };
        let caller = authenticate(&request, self.now, &world.verifier, &world.directory)?;
        assert_eq!(caller.credential(), CREDENTIAL);
        assert!(caller.is_signed());
        Ok(caller)
    }
}
