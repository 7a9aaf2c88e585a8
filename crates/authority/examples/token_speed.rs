//! What issuing a token costs, and which part of it: `cargo run --release -p authority --example token_speed`.
//!
//! Processor time of one thread, the best of several rounds. HTTP and the record of the token are not in it.

#![expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
#![expect(clippy::print_stdout, reason = "a program's answer")]

use authority::{Applicant, Standing, TokenEndpoint, TokenRequest};
use credential::client::{ProofRequest, sign_assertion, sign_proof};
use credential::token::{self, Binding, Facts};
use credential::{
    Algorithm, ClientCertificate, ClientTrust, NonceKey, Shown, SigningKey, assertion, dpop,
};
use model::{
    Budget, ClassSet, ClientIp, Credential, CredentialId, CredentialState, Directory, Grant,
    GrantId, Integration, IntegrationId, IntegrationState, Means, Micros, Purpose, SubjectScope,
    UnixMicros, VendorId,
};
use rcgen::{CertificateParams, KeyPair};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const ISSUER: &str = "https://authority.example.com";
const TOKEN_URL: &str = "https://authority.example.com/token";
const RESOURCE: &str = "https://api.example.com";
const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);
const GRANT: GrantId = GrantId::from_bytes([4; 16]);
/// Below what one integration's assertions and proofs are remembered of.
const REQUESTS: usize = 15_000;
/// Long ones: the kernel brings the sum up to date at its own ticks, some milliseconds apart.
const ROUNDS: usize = 3;
const NONCES: [u8; 32] = [5; 32];

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    by_key(Algorithm::EdDsa)?;
    by_key(Algorithm::Es256)?;
    by_certificate()
}

/// `private_key_jwt` and a DPoP proof, of one key.
fn by_key(algorithm: Algorithm) -> Result<(), Failure> {
    let (key, endpoint) = (key(algorithm, 1)?, endpoint()?);
    let public = key.public();
    let (thumbprint, jwk) = (public.thumbprint(), public.canonical_jwk().to_owned());
    let directory = directory(Means::Key { thumbprint, jwk })?;
    let nonces = NonceKey::new(NONCES);
    let nonce = nonces.current(NOW);
    let sent: Vec<(String, String)> = (0_u128..)
        .take(REQUESTS)
        .map(|n| {
            let jti = n.to_be_bytes();
            let (url, nonce) = (TOKEN_URL, Some(nonce.as_str()));
            let proof =
                ProofRequest { method: "POST", url, access_token: None, nonce, jti, now: NOW };
            let proof = sign_proof(&key, &proof);
            (sign_assertion(&key, INTEGRATION, ISSUER, jti, NOW), proof)
        })
        .collect();
    let forms: Vec<String> = sent.iter().map(|(assertion, _)| form(assertion)).collect();
    let pairs: Vec<_> = forms.iter().zip(&sent).collect();

    let whole = best_round(&pairs, |(form, (_, proof))| {
        let dpop = [proof.as_bytes()];
        issue(&endpoint, &directory, form, &dpop, None)
    });
    let assertion = best_round(&sent, |(assertion, _)| {
        assertion::verify(assertion, ISSUER, &directory, NOW).is_ok()
    });
    let expected = dpop::Expected { method: "POST", url: TOKEN_URL, token: None, key: None };
    let proof = best_round(&sent, |(_, proof)| {
        dpop::verify(&[proof.as_bytes()], &expected, &nonces, NOW).is_ok()
    });
    let signing = signing(Binding::Key(thumbprint))?;
    println!(
        "{}: {}; of which the assertion {assertion:.1}, the proof {proof:.1}, signing the token {signing:.1} us",
        algorithm.name(),
        rate(whole)
    );
    Ok(())
}

/// The connection's certificate and nothing else; the handshake is not in it.
fn by_certificate() -> Result<(), Failure> {
    let pair = KeyPair::generate()?;
    let signed = CertificateParams::default().self_signed(&pair)?;
    let certificate = ClientCertificate::new(&[signed.der().clone()]).map_err(|_| "unreadable")?;
    let trust: Arc<ClientTrust> = Arc::default();
    let thumbprint = certificate.show(&trust, NOW).thumbprint();
    let (endpoint, ends) = (endpoint()?, UnixMicros::from_secs(4_000_000_000));
    let directory = directory(Means::Certificate { thumbprint, ends })?;
    let form = format!("grant_type=client_credentials&scope={GRANT}&client_id={INTEGRATION}");
    let whole = best_round(&vec![form; REQUESTS], |form| {
        let shown = certificate.show(&trust, NOW);
        issue(&endpoint, &directory, form, &[], Some(&shown))
    });
    let signing = signing(Binding::Certificate(thumbprint))?;
    println!("certificate: {}; of which signing the token {signing:.1} us", rate(whole));
    Ok(())
}

fn issue(
    endpoint: &TokenEndpoint,
    directory: &Directory,
    form: &str,
    dpop: &[&[u8]],
    client_certificate: Option<&Shown<'_>>,
) -> bool {
    let network = ClientIp::from_peer([192, 0, 2, 7].into());
    let request = TokenRequest { body: form.as_bytes(), dpop, network, client_certificate };
    let standing = |_: &Applicant| Standing::Admitted;
    endpoint
        .token(&request, directory, &standing, NOW, [1; 16])
        .is_ok_and(|token| !black_box(token.to_json()).is_empty())
}

fn form(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&scope={GRANT}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
    )
}

/// Microseconds of a token's own signature, with its claims written.
fn signing(binding: Binding) -> Result<f64, Failure> {
    let key = key(Algorithm::EdDsa, 2)?;
    let facts = Facts {
        integration: INTEGRATION,
        grant: GRANT,
        subject: None,
        consent: None,
        binding,
        issued: NOW,
        expires: NOW + Micros::from_secs(300),
    };
    Ok(best_round(&[(); REQUESTS], |()| {
        !black_box(token::sign(&facts, ISSUER, RESOURCE, &key, "k1", [1; 16])).expose().is_empty()
    }))
}

fn endpoint() -> Result<TokenEndpoint, Failure> {
    Ok(TokenEndpoint::new(ISSUER, RESOURCE, key(Algorithm::EdDsa, 2)?, NONCES)?)
}

fn key(algorithm: Algorithm, secret: u8) -> Result<SigningKey, Failure> {
    let der = SigningKey::pkcs8(algorithm, [secret; 32]).ok_or("no such key")?;
    Ok(SigningKey::from_pkcs8(&der)?)
}

fn directory(means: Means) -> Result<Directory, Failure> {
    let until = NOW + Micros::from_secs(86_400);
    let (vendor, credential) = (VendorId::from_bytes([1; 16]), CredentialId::from_bytes([3; 16]));
    let of_integration = Integration {
        id: INTEGRATION,
        slug: "acme-sync".to_owned(),
        vendor,
        tier: 1,
        state: IntegrationState::Approved { until },
        redirects: Vec::new(),
    };
    let of_credential = Credential {
        id: credential,
        integration: INTEGRATION,
        means,
        state: CredentialState::Active { until },
        networks: Vec::new(),
    };
    let of_grant = Grant {
        id: GRANT,
        integration: INTEGRATION,
        operations: BTreeSet::new(),
        classes: ClassSet::EMPTY,
        purpose: Purpose::new("support").ok_or("no such purpose")?,
        scope: SubjectScope::All,
        budget: Budget { burst: 1, hour: 1, day: 1 },
        expires: until,
    };
    Ok(Directory {
        bearer: BTreeMap::new(),
        revision: 1,
        vendors: BTreeMap::new(),
        integrations: BTreeMap::from([(INTEGRATION, of_integration)]),
        credentials: BTreeMap::from([(credential, of_credential)]),
        grants: BTreeMap::from([(GRANT, of_grant)]),
    })
}

fn rate(micros: f64) -> String {
    format!("{micros:.1} us a token, {:.0} a core-second", 1e6 / micros)
}

/// Microseconds of processor time for one, in the best round.
fn best_round<T>(all: &[T], as_expected: impl Fn(&T) -> bool) -> f64 {
    let each = REQUESTS / ROUNDS;
    let rounds = all.chunks(each).map(|round| {
        let before = processor();
        let counted = round.iter().filter(|one| as_expected(one)).count();
        let spent = processor().saturating_sub(before);
        assert_eq!(counted, round.len(), "a request came out otherwise than it should");
        spent
    });
    let best = rounds.min().unwrap_or_default();
    best.as_secs_f64() * 1e6 / f64::from(u32::try_from(each).unwrap_or(u32::MAX))
}

/// Processor time of this thread so far, as Linux counts it in nanoseconds.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
