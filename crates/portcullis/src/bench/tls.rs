//! TLS 1.3 between the generator and whoever is measured: one cipher suite for all, and the certificates that it takes.
//!
//! Handshakes are not in any measurement, because connections are kept; what is in it is sealing and opening records.

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client's certificate, self-signed, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// `pkcs8`: DER of the key.
    ///
    /// # Errors
    /// If it is not a key that can sign certificates.
    pub(crate) fn self_signed(pkcs8: Vec<u8>) -> Result<Self> {
        let key = PrivatePkcs8KeyDer::from(pkcs8);
        let params = CertificateParams::new(vec!["bench-reader.example".to_owned()])?;
        let signed = params.self_signed(&KeyPair::try_from(&key)?)?;
        Ok(Self { certificate: signed.der().clone(), key })
    }
}

/// Trusts the certificate, or CA, in the file `root` (PEM) and shows that of `identity`, if there is one.
///
/// # Errors
/// If either cannot be used.
pub(crate) fn trusting(root: &Path, identity: Option<&Identity>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(root)
        .with_context(|| format!("`{}` is not a certificate", root.display()))?;
    roots.add(certificate)?;
    let mut provider = default_provider();
    // The first of OpenSSL's list as of ours; named, so that a change of either shows as a failure.
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => builder.with_client_auth_cert(
            vec![certificate.clone()],
            PrivateKeyDer::from(key.clone_key()),
        )?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Every server here is `localhost`.
///
/// # Errors
/// If there is no handshake to be had.
pub(crate) async fn connect(tls: &TlsConnector, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    Ok(tls.connect(ServerName::try_from("localhost")?, stream).await?)
}

/// Writes a self-signed certificate for `localhost` and its key, P-256 as `portcullis init` makes them, to two files (PEM).
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write_server(certificate: &Path, key: &Path) -> Result<()> {
    let pair = KeyPair::generate()?;
    let signed = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?;
    std::fs::write(certificate, signed.pem())?;
    std::fs::write(key, pair.serialize_pem())?;
    Ok(())
}
