//! TLS 1.3 for the data plane: one stack, no early data, no resumption.

use aws_lc_rs::digest::{SHA256, digest};
use model::Digest;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use thiserror::Error;

/// The TLS material cannot be used; the operator who configured it must act.
#[derive(Debug, Error)]
pub enum BadTls {
    /// A PEM file does not hold what it should.
    #[error("the {what} is not valid PEM")]
    Pem {
        /// Which file.
        what: &'static str,
    },
    /// rustls refuses the certificate or key.
    #[error("the certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
    /// The client CA cannot verify anything.
    #[error("the client CA cannot be used")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// Builds the listener's configuration.
///
/// `client_ca`: PEM; if given, client certificates are asked for, must chain to it when sent, and are not required.
///
/// # Errors
/// [`BadTls`].
pub fn config(
    certificates: &[u8],
    key: &[u8],
    client_ca: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, BadTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in chain(pem, "client CA")? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| BadTls::Pem { what: "private key" })?;
    let mut config = builder.with_single_cert(chain(certificates, "certificate")?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session does not run the client certificate verifier again, and early data can be replayed: neither is on.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// SHA-256 of a certificate's DER, as RFC 8705 section 3.1 thumbprints it.
pub(crate) fn thumbprint(certificate: &CertificateDer<'_>) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, certificate).as_ref());
    hash
}

fn chain(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| BadTls::Pem { what })?;
    if chain.is_empty() { Err(BadTls::Pem { what }) } else { Ok(chain) }
}
