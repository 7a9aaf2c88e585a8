//! TLS 1.3 for data plane and authority: one stack, no early data, no resumption, a client certificate if the client has one.
//!
//! The handshake proves that the client has the key of the certificate it sent and nothing else; whose that is, and whether it
//! holds, is judged for each request by `credential::certificate`, against the configuration of the moment.

use credential::ClientCertificate;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::sync::Arc;
use thiserror::Error as Failure;

/// The TLS material cannot be used; the operator who configured it must act.
#[derive(Debug, Failure)]
pub enum BadTls {
    /// A PEM file does not hold what it should.
    #[error("the {what} is not valid PEM")]
    Pem {
        /// Which file.
        what: &'static str,
    },
    /// rustls refuses the certificate or key.
    #[error("the certificate and key cannot be used")]
    Unusable(#[from] Error),
}

/// What the listeners speak.
#[derive(Clone, Debug)]
pub struct Configs {
    /// For the data plane: HTTP/2 or HTTP/1.1.
    pub data_plane: Arc<ServerConfig>,
    /// For a listener that speaks HTTP/1.1 alone.
    pub http1: Arc<ServerConfig>,
    /// For browsers, whose users would be asked which certificate to send: HTTP/1.1, and no client certificate.
    pub browsers: Arc<ServerConfig>,
}

/// Builds the listeners' configurations. `certificates`, `key`: PEM.
///
/// # Errors
/// [`BadTls`].
pub fn configs(certificates: &[u8], key: &[u8]) -> Result<Configs, BadTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(PossessionOnly::new(&provider));
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| BadTls::Pem { what: "private key" })?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let certificates = chain(certificates, "certificate")?;
    let mut browsers = builder
        .clone()
        .with_no_client_auth()
        .with_single_cert(certificates.clone(), key.clone_key())?;
    let mut config =
        builder.with_client_cert_verifier(verifier).with_single_cert(certificates, key)?;
    // A resumed session does not run the client certificate verifier again, and early data can be replayed: neither is on.
    for config in [&mut config, &mut browsers] {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
    }
    browsers.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut http1 = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let [data_plane, http1, browsers] = [config, http1, browsers].map(Arc::new);
    Ok(Configs { data_plane, http1, browsers })
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`BadTls::Pem`], naming `what`.
pub fn chain(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| BadTls::Pem { what })?;
    if chain.is_empty() { Err(BadTls::Pem { what }) } else { Ok(chain) }
}

/// Asks for a certificate and takes any that can be read, self-signed ones too: RFC 8705 section 2.2 pins them by hash.
#[derive(Debug)]
struct PossessionOnly(WebPkiSupportedAlgorithms);

impl PossessionOnly {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for PossessionOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: a client with a self-signed certificate would send none.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match ClientCertificate::new(&chain) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(_) => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Only TLS 1.3 is spoken, so nobody gets here.
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
