//! Client certificates: what a connection proved, and which registered credential that is (RFC 8705).
//!
//! TLS proves possession of the key and nothing else: a certificate that nobody registered makes nobody of its holder. Chain,
//! dates and revocation are judged here, against the configuration of the moment, when a request asks; the verdict is kept until
//! the configuration is replaced or one of the dates in it comes. Start at [`ClientCertificate::show`], then [`Shown::proves`].

mod facts;
mod trust;

#[cfg(test)]
pub(crate) mod tests;

pub use facts::{Certificate, Unreadable, public_key};
pub use trust::{BadTrust, ClientTrust, Ending};

use model::{Credential, Digest, Means, UnixMicros};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use trust::Standing;

/// Longest chain that is looked at, the leaf included.
const CHAIN_MAX: usize = 8;

/// Why a certificate that was shown is not accepted. The client is at fault, but for the lists, which are ours to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not the registered one, or no rule is met by it.
    #[error("the certificate is not a registered one")]
    Other,
    /// It does not lead to the CA that the credential names, or the node trusts that CA no more.
    #[error("the certificate is not issued by the CA it must be")]
    NotIssued,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// It, or a CA between, was revoked.
    #[error("the certificate was revoked")]
    Revoked,
    /// The revocation list that would say so is too old.
    #[error("the revocation list of the certificate's issuer has expired")]
    ListExpired,
    /// There is no revocation list for one of the chain, or none that its issuer signed.
    #[error("whether the certificate was revoked cannot be known")]
    RevocationUnknown,
    /// Its extended key usage is for something else.
    #[error("the certificate is not for the authentication of clients")]
    OtherUse,
}

/// The certificates that a client sent in its handshake, of whose first one it has the key. One for each connection.
pub struct ClientCertificate {
    /// Leaf first; never empty.
    chain: Vec<CertificateDer<'static>>,
    read: Vec<Certificate>,
    leaf: Certificate,
    /// The last verdict, with what it was given by.
    judged: Mutex<Option<(Arc<ClientTrust>, Arc<Standing>)>>,
}

/// A client's certificate at one moment. It is judged when a credential is held against it and not before: whoever has no token
/// and no name in common with a client cannot make the node verify chains.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    certificate: &'a ClientCertificate,
    trust: Arc<ClientTrust>,
    now: UnixMicros,
}

impl ClientCertificate {
    /// `chain`: as the handshake carried it, leaf first.
    ///
    /// # Errors
    /// [`Unreadable`] if one of them cannot be read, there is none, or there are more than eight.
    pub fn new(chain: &[CertificateDer<'_>]) -> Result<Self, Unreadable> {
        if chain.len() > CHAIN_MAX {
            return Err(Unreadable);
        }
        let read =
            chain.iter().map(|der| Certificate::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let leaf = read.first().cloned().ok_or(Unreadable)?;
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Ok(Self { chain, read, leaf, judged: Mutex::new(None) })
    }

    /// The certificate, to be judged by `trust` at `now`.
    pub fn show(&self, trust: &Arc<ClientTrust>, now: UnixMicros) -> Shown<'_> {
        Shown { certificate: self, trust: Arc::clone(trust), now }
    }

    fn standing(&self, trust: &Arc<ClientTrust>, now: UnixMicros) -> Arc<Standing> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = judged.as_ref().filter(|(by, standing)| {
            Arc::ptr_eq(by, trust) && (standing.from..standing.until).contains(&now)
        });
        if let Some((_, standing)) = kept {
            return Arc::clone(standing);
        }
        let standing = Arc::new(trust.judge(&self.chain, &self.read, now));
        *judged = Some((Arc::clone(trust), Arc::clone(&standing)));
        standing
    }
}

impl Shown<'_> {
    /// SHA-256 of the leaf's DER.
    pub fn thumbprint(&self) -> Digest {
        self.certificate.leaf.thumbprint()
    }

    /// The first moment at which the leaf is no longer valid.
    pub fn ends(&self) -> UnixMicros {
        self.certificate.leaf.ends()
    }

    /// Whether the leaf is the one that was registered, or has the name that was; chain and dates apart.
    pub(crate) fn is_meant_by(&self, credential: &Credential) -> bool {
        match &credential.means {
            Means::Key { .. } => false,
            //= RFC 8705 section 2.2: a self-signed certificate is the registered one, whoever signed it
            Means::Certificate { thumbprint, .. } => self.thumbprint() == *thumbprint,
            Means::Ca { rule, .. } => self.certificate.leaf.meets(rule),
        }
    }

    /// Checks that the leaf is this credential's, in force, and not taken back. Whether the credential is in use is not looked at.
    ///
    /// # Errors
    /// [`Fault`].
    ///
    /// Source: RFC 8705 sections 2.1 and 2.2, RFC 5280 section 6.
    pub fn proves(&self, credential: &Credential) -> Result<(), Fault> {
        if !self.is_meant_by(credential) {
            return Err(Fault::Other);
        }
        let standing = self.certificate.standing(&self.trust, self.now);
        if let Some(fault) = standing.fault {
            return Err(fault);
        }
        if !self.certificate.leaf.is_for_clients() {
            return Err(Fault::OtherUse);
        }
        match &credential.means {
            Means::Ca { ca, .. } if !standing.issued_by.contains(ca) => Err(Fault::NotIssued),
            Means::Key { .. } | Means::Certificate { .. } | Means::Ca { .. } => Ok(()),
        }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", crate::base64url::encode(&self.leaf.thumbprint()))
    }
}
