//! Microseconds per request of `authenticate`, with its token already verified once, as on the hot path.
//!
//! Run with `cargo run --release -p credential --example authenticate_speed`. The proofs are made beforehand.

#![expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
#![expect(clippy::print_stdout, reason = "a program's answer")]

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use credential::client::{self, ProofRequest, SignRequest, SignatureFields};
use credential::token::{self, Binding, Facts};
use credential::{Algorithm, PublicKey, RequestProof, SigningKey, Verifier, authenticate};
use model::{
    Budget, ClassSet, ClientIp, Credential, CredentialId, CredentialState, Directory, Grant,
    GrantId, Integration, IntegrationId, IntegrationState, Means, Micros, Purpose, SubjectScope,
    UnixMicros, VendorId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Instant;

const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const ISSUER: &str = "https://authority.example.com";
const AUDIENCE: &str = "https://api.example.com";
const URL: &str = "https://api.example.com/v1/accounts/7";
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        measure(algorithm)?;
    }
    Ok(())
}

fn measure(algorithm: Algorithm) -> Result<(), Box<dyn Error>> {
    let key = |algorithm, secret: u8| {
        let der = SigningKey::pkcs8(algorithm, [secret; 32]).ok_or("no such key")?;
        SigningKey::from_pkcs8(&der).map_err(Box::<dyn Error>::from)
    };
    let (holder, issuer) = (key(algorithm, 1)?, key(Algorithm::EdDsa, 2)?);
    let directory = directory(holder.public()).ok_or("no such purpose")?;
    let issuer_keys = BTreeMap::from([("k1".to_owned(), issuer.public().clone())]);
    let verifier = Verifier::new(ISSUER, AUDIENCE, issuer_keys, [7; 32], Verifier::PROOFS_MAX);
    let facts = Facts {
        integration: IntegrationId::from_bytes([2; 16]),
        grant: GrantId::from_bytes([4; 16]),
        subject: None,
        consent: None,
        binding: Binding::Key(holder.public().thumbprint()),
        issued: NOW,
        expires: NOW + Micros::from_secs(300),
    };
    let token = token::sign(&facts, ISSUER, AUDIENCE, &issuer, "k1", [1; 16]);
    let authorization = format!("DPoP {}", token.expose());
    let nonce = verifier.nonce(NOW);
    let proofs: Vec<String> = (0..REQUESTS)
        .map(|n| {
            let request = ProofRequest {
                method: "GET",
                url: URL,
                access_token: Some(token.expose()),
                nonce: Some(nonce.as_str()),
                jti: u128::try_from(n).unwrap_or_default().to_be_bytes(),
                now: NOW,
            };
            client::sign_proof(&holder, &request)
        })
        .collect();

    let send = |proof: &str| {
        let request = RequestProof {
            method: "GET",
            url: URL,
            query: None,
            fields: &[],
            body: &[],
            authorization: &[authorization.as_bytes()],
            dpop: &[proof.as_bytes()],
            network: ClientIp::from_peer([192, 0, 2, 7].into()),
            client_certificate: None,
        };
        authenticate(&request, NOW, &verifier, &directory)
    };
    let accepted = best_round(&proofs, |proof| send(proof).is_ok());
    let raw = raw_key(holder.public())?;
    let signature = best_round(&proofs, |proof| verify_raw(&raw, proof).is_some());
    let elsewhere = Verifier::new(ISSUER, AUDIENCE, BTreeMap::new(), [8; 32], 1);
    let unknown_nonce = client::sign_proof(
        &holder,
        &ProofRequest {
            method: "GET",
            url: URL,
            access_token: Some(token.expose()),
            nonce: Some(elsewhere.nonce(NOW).as_str()),
            jti: [0xff; 16],
            now: NOW,
        },
    );
    let challenged = best_round(&vec![unknown_nonce; REQUESTS], |proof| send(proof).is_err());
    println!(
        "{}: accepted {accepted:.2} us, of which the signature alone {signature:.2} us; challenged {challenged:.2} us",
        algorithm.name(),
    );

    let authorization = format!("HTTPSig {}", token.expose());
    let signed: Vec<SignatureFields> = (0..REQUESTS)
        .map(|n| {
            let request = SignRequest {
                method: "GET",
                target_uri: URL,
                access_token: token.expose(),
                content: &[],
                nonce: nonce.as_str(),
                unique: u128::try_from(n).unwrap_or_default().to_be_bytes(),
                now: NOW,
            };
            client::sign_request(&holder, &request)
        })
        .collect();
    let accepted = best_round(&signed, |signed| {
        let fields = [
            ("Host", &b"api.example.com"[..]),
            ("Accept", b"application/json"),
            ("Authorization", authorization.as_bytes()),
            ("Signature-Input", signed.signature_input.as_bytes()),
            ("Signature", signed.signature.as_bytes()),
        ];
        let request = RequestProof {
            method: "GET",
            url: URL,
            query: None,
            fields: &fields,
            body: &[],
            authorization: &[authorization.as_bytes()],
            dpop: &[],
            network: ClientIp::from_peer([192, 0, 2, 7].into()),
            client_certificate: None,
        };
        authenticate(&request, NOW, &verifier, &directory).is_ok()
    });
    println!("{}: message signature accepted {accepted:.2} us", algorithm.name());
    Ok(())
}

/// Microseconds for one proof: the best round, each shorter than a time slice, because other programs share the machine.
fn best_round<P>(proofs: &[P], as_expected: impl Fn(&P) -> bool) -> f64 {
    let mut best = u128::MAX;
    for round in proofs.chunks(REQUESTS / ROUNDS) {
        let begun = Instant::now();
        let counted = round.iter().filter(|proof| as_expected(proof)).count();
        let nanos = begun.elapsed().as_nanos();
        assert_eq!(counted, round.len(), "a request came out otherwise than it should");
        best = best.min(nanos / u128::try_from(round.len()).unwrap_or(u128::MAX));
    }
    f64::from(u32::try_from(best).unwrap_or(u32::MAX)) / 1_000.0
}

fn raw_key(key: &PublicKey) -> Result<ParsedPublicKey, Box<dyn Error>> {
    let jwk: serde_json::Value = serde_json::from_str(key.canonical_jwk())?;
    let part = |name: &str| {
        URL_SAFE_NO_PAD.decode(jwk.get(name).and_then(|part| part.as_str()).unwrap_or_default())
    };
    let (x, y) = (part("x")?, part("y")?);
    let key = match key.algorithm() {
        Algorithm::Es256 => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &*x, &y].concat())
        }
        Algorithm::EdDsa | Algorithm::Ps256 => ParsedPublicKey::new(&ED25519, x),
    };
    Ok(key.map_err(|_| "no such key")?)
}

fn verify_raw(key: &ParsedPublicKey, proof: &str) -> Option<()> {
    let (signed, signature) = proof.rsplit_once('.')?;
    key.verify_sig(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()
}

fn directory(key: &PublicKey) -> Option<Directory> {
    let until = NOW + Micros::from_secs(86_400);
    let (vendor, integration) = (VendorId::from_bytes([1; 16]), IntegrationId::from_bytes([2; 16]));
    let (credential, grant) = (CredentialId::from_bytes([3; 16]), GrantId::from_bytes([4; 16]));
    let of_integration = Integration {
        id: integration,
        slug: "acme-sync".to_owned(),
        vendor,
        tier: 1,
        state: IntegrationState::Approved { until },
        redirects: Vec::new(),
    };
    let of_credential = Credential {
        id: credential,
        integration,
        means: Means::Key { thumbprint: key.thumbprint(), jwk: key.canonical_jwk().to_owned() },
        state: CredentialState::Active { until },
        networks: Vec::new(),
    };
    let of_grant = Grant {
        id: grant,
        integration,
        operations: BTreeSet::new(),
        classes: ClassSet::EMPTY,
        purpose: Purpose::new("support")?,
        scope: SubjectScope::All,
        budget: Budget { burst: 1, hour: 1, day: 1 },
        expires: until,
    };
    Some(Directory {
        revision: 1,
        vendors: BTreeMap::new(),
        integrations: BTreeMap::from([(integration, of_integration)]),
        credentials: BTreeMap::from([(credential, of_credential)]),
        grants: BTreeMap::from([(grant, of_grant)]),
        bearer: BTreeMap::new(),
    })
}
