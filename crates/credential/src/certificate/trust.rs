//! Which CAs a node trusts for client certificates, what they revoked, and what follows for one chain at one moment.

use super::facts::{content, moment};
use super::{Certificate, Fault, Unreadable};
use model::{Digest, Micros, UnixMicros};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::fmt;
use std::time::Duration;
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::asn1_rs::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// The CAs for client certificates and their revocation lists, as configured at one moment. Replaced whole.
///
/// Once a list is given, each certificate of a chain needs one that holds: a CA that publishes none cannot stand beside one that does.
#[derive(Default)]
pub struct ClientTrust {
    cas: Vec<Ca>,
    /// Newest first, so that an older list of the same issuer is never the one that is asked.
    lists: Vec<List>,
}

struct Ca {
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
}

struct List {
    issuer: Vec<u8>,
    shown: String,
    made: UnixMicros,
    ends: UnixMicros,
    list: CertRevocationList<'static>,
}

/// Material that cannot be trusted by; the operator who configured it must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] Unreadable),
    /// A certificate that is not a CA's.
    #[error("a certificate among the client CAs is not a CA's")]
    NotACa,
    /// A revocation list, or one without the date of the next.
    #[error("that is not a revocation list that can be used; delta lists are not taken")]
    List,
}

/// What a CA or list is called, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its subject, or its issuer's.
    pub name: String,
    /// The first moment at which it no longer holds.
    pub ends: UnixMicros,
}

/// What is to be said of one chain between two moments.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) from: UnixMicros,
    pub(super) until: UnixMicros,
    /// Thumbprints of the CAs that it leads to.
    pub(super) issued_by: Vec<Digest>,
    pub(super) fault: Option<Fault>,
}

impl ClientTrust {
    /// `cas`: certificates; `lists`: revocation lists; both DER.
    ///
    /// # Errors
    /// [`BadTrust`].
    pub fn new(cas: &[CertificateDer<'_>], lists: &[impl AsRef<[u8]>]) -> Result<Self, BadTrust> {
        let cas = cas.iter().map(Ca::new).collect::<Result<_, _>>()?;
        let lists = lists.iter().map(|der| List::new(der.as_ref()));
        let mut lists = lists.collect::<Result<Vec<_>, _>>()?;
        lists.sort_by_key(|list| std::cmp::Reverse(list.made));
        Ok(Self { cas, lists })
    }

    /// The CAs.
    pub fn cas(&self) -> impl Iterator<Item = Ending> {
        self.cas.iter().map(|ca| Ending {
            name: ca.certificate.subject().unwrap_or("?").to_owned(),
            ends: ca.certificate.ends(),
        })
    }

    /// The lists that are asked: of each issuer, the newest.
    pub fn lists(&self) -> impl Iterator<Item = Ending> {
        let newer = |at: usize, list: &List| {
            self.lists.iter().take(at).any(|newer| newer.issuer == list.issuer)
        };
        let lists = self.lists.iter().enumerate().filter(move |(at, list)| !newer(*at, list));
        lists.map(|(_, list)| Ending { name: list.shown.clone(), ends: list.ends })
    }

    /// Judges a chain, leaf first. `read`: the same certificates, read.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'static>],
        read: &[Certificate],
        now: UnixMicros,
    ) -> Standing {
        // The verdict changes at these moments only.
        let of_certificates = |read: &Certificate| [read.begins(), read.ends()];
        let cas = self.cas.iter().flat_map(|ca| of_certificates(&ca.certificate));
        let moments = read.iter().flat_map(of_certificates).chain(cas);
        let moments = moments.chain(self.lists.iter().map(|list| list.ends));
        let (mut from, mut until) = (UnixMicros(0), UnixMicros(u64::MAX));
        for moment in moments {
            if moment <= now {
                from = from.max(moment);
            } else {
                until = until.min(moment);
            }
        }
        let mut standing = Standing { from, until, issued_by: Vec::new(), fault: None };
        let (Some(leaf), Some((end, intermediates))) = (read.first(), chain.split_first()) else {
            standing.fault = Some(Fault::NotIssued);
            return standing;
        };
        standing.fault = time_fault(leaf, now).or_else(|| self.listed(leaf, now));
        for ca in self.cas.iter().filter(|ca| time_fault(&ca.certificate, now).is_none()) {
            match self.leads_to(ca, end, intermediates, now) {
                Ok(()) => standing.issued_by.push(ca.certificate.thumbprint()),
                // A chain that one of its CAs takes back is good for nothing, however the certificate was registered.
                Err(Some(fault)) => {
                    standing.fault.get_or_insert(fault);
                }
                Err(None) => {}
            }
        }
        standing
    }

    /// What the lists of the leaf's issuer say of it, by name and number: a certificate that was pinned is looked up too, and leaving
    /// intermediates out of the handshake hides nothing.
    fn listed(&self, leaf: &Certificate, now: UnixMicros) -> Option<Fault> {
        let mut lists = self.lists.iter().filter(|list| list.issuer == leaf.issuer());
        let newest = lists.next()?;
        if now >= newest.ends {
            return Some(Fault::ListExpired);
        }
        let is_on = |list: &List| !matches!(list.list.find_serial(leaf.serial()), Ok(None));
        let revoked = is_on(newest) || lists.any(is_on);
        revoked.then_some(Fault::Revoked)
    }

    /// Whether the chain leads to the CA; if it would, but for its revocation, the fault.
    fn leads_to(
        &self,
        ca: &Ca,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMicros,
    ) -> Result<(), Option<Fault>> {
        let end = EndEntityCert::try_from(end).map_err(|_| None)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.secs()));
        let lists: Vec<_> = self.lists.iter().map(|list| &list.list).collect();
        // None if there is no list at all.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let anchors = std::slice::from_ref(&ca.anchor);
        let usage = KeyUsage::client_auth();
        let algorithms = ALL_VERIFICATION_ALGS;
        match end.verify_for_usage(
            algorithms,
            anchors,
            intermediates,
            time,
            usage,
            revocation,
            None,
        ) {
            Ok(_) => Ok(()),
            Err(error) => Err(revocation_fault(&error)),
        }
    }
}

/// The errors of a chain that only its revocation speaks against.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of webpki is open")]
fn revocation_fault(error: &webpki::Error) -> Option<Fault> {
    match error {
        webpki::Error::CertRevoked => Some(Fault::Revoked),
        webpki::Error::CrlExpired { .. } => Some(Fault::ListExpired),
        webpki::Error::UnknownRevocationStatus
        | webpki::Error::InvalidCrlSignatureForPublicKey
        | webpki::Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
        | webpki::Error::IssuerNotCrlSigner => Some(Fault::RevocationUnknown),
        _ => None,
    }
}

pub(super) fn time_fault(certificate: &Certificate, now: UnixMicros) -> Option<Fault> {
    if now < certificate.begins() {
        return Some(Fault::NotYetValid);
    }
    (now >= certificate.ends()).then_some(Fault::Expired)
}

impl Ca {
    fn new(der: &CertificateDer<'_>) -> Result<Self, BadTrust> {
        let certificate = Certificate::parse(der)?;
        if !certificate.is_ca() {
            return Err(BadTrust::NotACa);
        }
        let anchor = webpki::anchor_from_trusted_cert(der).map_err(|_| Unreadable)?;
        Ok(Self { certificate, anchor: anchor.to_owned() })
    }
}

impl List {
    fn new(der: &[u8]) -> Result<Self, BadTrust> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| BadTrust::List)?;
        let (_, read) = CertificateRevocationList::from_der(der).map_err(|_| BadTrust::List)?;
        Ok(Self {
            issuer: content(read.issuer().as_raw()),
            shown: read.issuer().to_string(),
            made: moment(read.last_update().timestamp()),
            ends: moment(read.next_update().ok_or(BadTrust::List)?.timestamp()),
            list: list.into(),
        })
    }
}

impl Ending {
    /// Whether it ends within `ahead` of `now`, or has.
    pub fn is_near(&self, now: UnixMicros, ahead: Micros) -> bool {
        now + ahead >= self.ends
    }
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTrust({} CAs, {} lists)", self.cas.len(), self.lists.len())
    }
}
