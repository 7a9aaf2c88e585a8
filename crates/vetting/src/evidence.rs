//! The application that a vendor or operator submits: what is asked for, why, and what stands behind it.
//!
//! One JSON document, `portcullis.application/1`. What is malformed is refused here; what is well formed and not good enough (an old
//! key, a wildcard, an expired report) is read, so that [`crate::checks`] can say so.

use crate::date::{Date, days};
use crate::json;
use credential::{Algorithm, BadKey, PublicKey};
use model::{DataClass, Digest, OperationId, Purpose, UnixMicros};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The only value of the member `schema`.
pub const SCHEMA: &str = "portcullis.application/1";

/// Most bytes of one application.
pub const BYTES_MAX: usize = 64 << 10;

/// Most entries of each list in it.
pub const ENTRIES_MAX: usize = 256;

/// Oldest a key may be, in days (section A3 of the checks).
pub const KEY_AGE_DAYS_MAX: u32 = 90;

/// How long a penetration test speaks for the software it tested, in days, whatever its report says.
const PEN_TEST_DAYS: u32 = 365;

/// An application, well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Why data is to be read.
    pub purpose: Purpose,
    /// The operations asked for.
    pub operations: BTreeSet<OperationId>,
    /// The classes asked for.
    pub classes: AskedClasses,
    /// How many subjects it will reach.
    pub reach: Reach,
    /// How it will read.
    pub mode: Mode,
    /// How it proves itself.
    pub credential: CredentialKind,
    /// Where an authorization code may be sent, as written.
    pub redirect_uris: Vec<String>,
    /// Reports and contracts, in the order submitted.
    pub documents: Vec<Document>,
    /// How long the vendor keeps what it read, in days.
    pub retention_days: u32,
    /// Who else the vendor hands it to.
    pub subprocessors: BTreeSet<String>,
    /// SHA-256 of the SBOM that belongs to this application.
    pub sbom_sha256: Option<Digest>,
    /// Public keys the integration will prove itself with.
    pub keys: Vec<Key>,
}

/// Which data classes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedClasses {
    /// `ALL`, `*` or an empty name stood among them: no application may ask for this.
    Everything,
    /// These, and what is below them.
    Named(BTreeSet<DataClass>),
}

/// How many subjects an integration reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Only those who installed it.
    OwnUsers,
    /// Fewer than a thousand.
    #[serde(rename = "under_1k")]
    Under1k,
    /// Fewer than a hundred thousand.
    #[serde(rename = "under_100k")]
    Under100k,
    /// Everybody.
    All,
}

/// How an integration works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Reads while its user looks on.
    UserPresent,
    /// Reads by itself at set times.
    Scheduled,
    /// Exports.
    Bulk,
    /// Writes, or acts by itself.
    Write,
}

/// How an integration proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// With a key, at each request.
    Bound,
    /// With a token that whoever holds it can use.
    Bearer,
}

/// A report, certificate or contract that stands behind an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// From when.
    pub issued: Date,
    /// The last day on which it is valid by its own word.
    pub expires: Date,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// SOC 2 report.
    Soc2,
    /// ISO/IEC 27001 certificate.
    Iso27001,
    /// Report of a penetration test.
    PenTest,
    /// Data processing agreement (GDPR art. 28(3)).
    Dpa,
    /// Self-assessment against MVSP, the minimum viable secure product.
    Mvsp,
    /// Insurance policy.
    Insurance,
    /// Assessment by an outside laboratory, such as CASA tier 2.
    ExternalTest,
    /// Attestation that the key is in an HSM or KMS.
    KeyAttestation,
}

/// A public key an application names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// When it was made.
    pub created: Date,
    /// What it is, or why it cannot be accepted.
    pub read: Result<ReadKey, BadKey>,
}

/// A key of a kind and size that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadKey {
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Its RFC 7638 thumbprint, base64url.
    pub thumbprint: String,
}

/// An application that cannot be read. Whoever submitted it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvidence {
    /// Longer than [`BYTES_MAX`].
    #[error("the application is larger than 64 KiB")]
    TooLarge,
    /// Not JSON, or a member stands twice.
    #[error("the application is not acceptable JSON: {0}")]
    NotJson(String),
    /// A member is missing, or one too many; the text names it.
    #[error("the application is not of the form `portcullis.application/1`: {0}")]
    Form(String),
    /// A member has no acceptable value.
    #[error("`{member}` {says}")]
    Member {
        /// The member, as a JSON pointer.
        member: String,
        /// What is wrong with it.
        says: String,
    },
}

impl Evidence {
    /// Reads one application.
    ///
    /// # Errors
    /// [`BadEvidence`], which names the member: whoever submitted it is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadEvidence> {
        if bytes.len() > BYTES_MAX {
            return Err(BadEvidence::TooLarge);
        }
        let document = json::read(bytes).map_err(BadEvidence::NotJson)?;
        let wire: Wire =
            serde_json::from_value(document).map_err(|e| BadEvidence::Form(e.to_string()))?;
        let schema: String = member("/schema", wire.schema)?;
        if schema != SCHEMA {
            return Err(bad("/schema", format!("is not `{SCHEMA}`")));
        }
        Ok(Self {
            purpose: named("/purpose", wire.purpose, Purpose::new)?,
            operations: list("/operations", wire.operations)?
                .map(|(place, value)| named(&place, value, OperationId::new))
                .collect::<Result<_, _>>()?,
            classes: asked_classes(wire.classes)?,
            reach: member("/reach", wire.reach)?,
            mode: member("/mode", wire.mode)?,
            credential: member("/credential", wire.credential)?,
            redirect_uris: list("/redirect_uris", wire.redirect_uris)?
                .map(|(place, value)| text(&place, value, 2_048))
                .collect::<Result<_, _>>()?,
            documents: list("/documents", wire.documents)?
                .map(|(place, value)| document_at(&place, value))
                .collect::<Result<_, _>>()?,
            retention_days: member("/retention_days", wire.retention_days)?,
            subprocessors: list("/subprocessors", wire.subprocessors)?
                .map(|(place, value)| text(&place, value, 128))
                .collect::<Result<_, _>>()?,
            sbom_sha256: wire
                .sbom_sha256
                .map(|value| named("/sbom_sha256", value, digest))
                .transpose()?,
            keys: list("/keys", wire.keys)?
                .map(|(place, value)| key_at(&place, value))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Document {
    /// The first moment at which it is worth nothing any more.
    pub fn valid_until(&self) -> UnixMicros {
        match self.kind {
            DocumentKind::PenTest => {
                self.expires.end().min(self.issued.end() + days(PEN_TEST_DAYS))
            }
            DocumentKind::Soc2
            | DocumentKind::Iso27001
            | DocumentKind::Dpa
            | DocumentKind::Mvsp
            | DocumentKind::Insurance
            | DocumentKind::ExternalTest
            | DocumentKind::KeyAttestation => self.expires.end(),
        }
    }

    /// Whether it speaks for the vendor at `now`.
    pub fn is_valid(&self, now: UnixMicros) -> bool {
        self.issued.start() <= now && now < self.valid_until()
    }
}

impl DocumentKind {
    /// How a message calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soc2 => "SOC 2 report",
            Self::Iso27001 => "ISO 27001 certificate",
            Self::PenTest => "penetration test",
            Self::Dpa => "data processing agreement",
            Self::Mvsp => "MVSP self-assessment",
            Self::Insurance => "insurance policy",
            Self::ExternalTest => "external security test",
            Self::KeyAttestation => "key attestation",
        }
    }
}

impl Key {
    /// The first moment at which it is too old to be used.
    pub fn valid_until(&self) -> UnixMicros {
        self.created.start() + days(KEY_AGE_DAYS_MAX + 1)
    }
}

/// The first moment at which something in `evidence` expires: a document without a longer-lived one of its kind, or a key.
pub fn next_expiry(evidence: &Evidence) -> Option<UnixMicros> {
    let documents = latest_documents(evidence);
    let documents = documents.values().map(|document| document.valid_until());
    documents.chain(evidence.keys.iter().map(Key::valid_until)).min()
}

/// Of each kind, the document that is valid longest.
pub(crate) fn latest_documents(evidence: &Evidence) -> BTreeMap<DocumentKind, &Document> {
    let mut latest: BTreeMap<DocumentKind, &Document> = BTreeMap::new();
    for document in &evidence.documents {
        let kept = latest.entry(document.kind).or_insert(document);
        if document.valid_until() > kept.valid_until() {
            *kept = document;
        }
    }
    latest
}

/// The document as it is submitted. Members are read one by one, so that an error can name the one that is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema: Value,
    purpose: Value,
    operations: Value,
    classes: Value,
    reach: Value,
    mode: Value,
    credential: Value,
    redirect_uris: Value,
    documents: Value,
    retention_days: Value,
    subprocessors: Value,
    sbom_sha256: Option<Value>,
    keys: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDocument {
    kind: Value,
    issued: Value,
    expires: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey {
    jwk: Value,
    created: Value,
}

fn bad(member: &str, says: impl Into<String>) -> BadEvidence {
    BadEvidence::Member { member: member.to_owned(), says: says.into() }
}

fn member<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, BadEvidence> {
    serde_json::from_value(value).map_err(|e| bad(place, format!("is not acceptable: {e}")))
}

/// Reads text that must be what `read` takes.
fn named<T>(place: &str, value: Value, read: impl Fn(&str) -> Option<T>) -> Result<T, BadEvidence> {
    let text: String = member(place, value)?;
    read(&text).ok_or_else(|| bad(place, format!("`{}` is not well formed", text.escape_debug())))
}

/// Reads text of 1 to `bytes_max` bytes without control characters.
fn text(place: &str, value: Value, bytes_max: usize) -> Result<String, BadEvidence> {
    let valid =
        |text: &str| (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    named(place, value, |text| valid(text).then(|| text.to_owned()))
}

/// The entries of a list, each with its place.
fn list(
    place: &str,
    value: Value,
) -> Result<impl Iterator<Item = (String, Value)> + use<>, BadEvidence> {
    let entries: Vec<Value> = member(place, value)?;
    if entries.len() > ENTRIES_MAX {
        return Err(bad(place, format!("has more than {ENTRIES_MAX} entries")));
    }
    let place = place.to_owned();
    Ok(entries
        .into_iter()
        .enumerate()
        .map(move |(position, value)| (format!("{place}/{position}"), value)))
}

fn asked_classes(value: Value) -> Result<AskedClasses, BadEvidence> {
    let mut classes = BTreeSet::new();
    let mut everything = false;
    for (place, value) in list("/classes", value)? {
        let is_everything =
            |text: &str| text.is_empty() || text == "*" || text.eq_ignore_ascii_case("all");
        if value.as_str().is_some_and(is_everything) {
            everything = true;
        } else {
            classes.insert(named(&place, value, DataClass::new)?);
        }
    }
    Ok(if everything { AskedClasses::Everything } else { AskedClasses::Named(classes) })
}

fn document_at(place: &str, value: Value) -> Result<Document, BadEvidence> {
    let wire: WireDocument = member(place, value)?;
    let issued = named(&format!("{place}/issued"), wire.issued, Date::parse)?;
    let expires = named(&format!("{place}/expires"), wire.expires, Date::parse)?;
    if expires < issued {
        return Err(bad(&format!("{place}/expires"), "is before `issued`"));
    }
    Ok(Document { kind: member(&format!("{place}/kind"), wire.kind)?, issued, expires })
}

fn key_at(place: &str, value: Value) -> Result<Key, BadEvidence> {
    let wire: WireKey = member(place, value)?;
    let created = named(&format!("{place}/created"), wire.created, Date::parse)?;
    let read = PublicKey::from_jwk(&wire.jwk.to_string());
    // A private key in an application is compromised by being there, so the whole document goes back.
    if let Err(wrong @ BadKey::Private) = read {
        return Err(bad(&format!("{place}/jwk"), format!("is not acceptable: {wrong}")));
    }
    let read =
        read.map(|key| ReadKey { algorithm: key.algorithm(), thumbprint: key.thumbprint_text() });
    Ok(Key { created, read })
}

/// Reads 64 lower-case hexadecimal digits.
fn digest(text: &str) -> Option<Digest> {
    let valid = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    valid.then_some(digest)
}

#[cfg(test)]
pub(crate) mod tests;
