//! A record as far as it can be made without knowing its place: body and touches, encoded and hashed.
//!
//! Most of a record's cost is here, so that callers can bear it side by side before the one who sequences.

use crate::domain::{self, SaltKey};
use crate::merkle;
use crate::record::body::HeadsBody;
use crate::record::{Chain, Draft, Kind, body, touches};
use model::{ClassSet, Digest, RequestId};

/// A record without sequence number, time and index; [`crate::Sequencer::place`] gives it those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub(crate) kind: Kind,
    pub(crate) chain: Chain,
    pub(crate) classes: ClassSet,
    pub(crate) network: Option<Digest>,
    pub(crate) request: Option<RequestId>,
    pub(crate) salt: [u8; 16],
    pub(crate) body: Vec<u8>,
    pub(crate) body_hash: Digest,
    pub(crate) touches: Vec<u8>,
    pub(crate) touches_root: Digest,
}

impl Prepared {
    /// Prepares `draft`. `salt`: 16 random bytes, never used before.
    ///
    /// # Panics
    /// If the touches are not sorted by pseudonym, each once: the record would name other subjects than were read.
    pub fn new(draft: &Draft, salt: [u8; 16]) -> Self {
        let (kind, chain) = body::place(draft);
        let key = SaltKey::new(&salt);
        let mut prepared = Self::empty(kind, chain, salt);
        let mut opening = [0; 16];
        match draft {
            Draft::Access(record) => {
                let sorted = record.touches.is_sorted_by(|a, b| a.pseudonym < b.pseudonym);
                assert!(sorted, "touches not sorted by pseudonym, each once");
                prepared.request = Some(record.request);
                opening = key.network_opening();
                prepared.network = Some(body::network_commitment(record.network, &opening));
                if !record.touches.is_empty() {
                    prepared.touches_root = touches::root_with(&record.touches, &key);
                    for touch in &record.touches {
                        prepared.classes = prepared.classes.union(&touch.classes);
                    }
                    // With up to 32 classes a touch takes 23 bytes at most, and all around them 25.
                    prepared.touches.reserve_exact(25 + record.touches.len() * 23);
                    touches::encode(&record.touches, &salt, &mut prepared.touches);
                }
            }
            Draft::UnauthenticatedRefusals { network, .. } => {
                opening = key.network_opening();
                prepared.network = Some(body::network_commitment(*network, &opening));
            }
            Draft::NotReleased { request, .. } => prepared.request = Some(*request),
            Draft::Posture { .. }
            | Draft::OperatorAction { .. }
            | Draft::Vetting { .. }
            | Draft::Node(_) => {}
        }
        let touches_root = prepared.touches_root;
        prepared.with_body(|out| body::encode(draft, &key, &opening, &touches_root, out))
    }

    pub(crate) fn heads(heads: &HeadsBody, salt: [u8; 16]) -> Self {
        let key = SaltKey::new(&salt);
        let prepared = Self::empty(Kind::Heads, Chain::System, salt);
        prepared.with_body(|out| body::encode_heads(heads, &key, out))
    }

    /// Root over the touches, as the receipt will have it.
    pub const fn touches_root(&self) -> &Digest {
        &self.touches_root
    }

    const fn empty(kind: Kind, chain: Chain, salt: [u8; 16]) -> Self {
        Self {
            kind,
            chain,
            classes: ClassSet::EMPTY,
            network: None,
            request: None,
            salt,
            body: Vec::new(),
            body_hash: [0; 32],
            touches: Vec::new(),
            touches_root: merkle::EMPTY_ROOT,
        }
    }

    fn with_body(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        // Prefix and body side by side are hashed in one run; then the prefix goes. An access record's body is under 400 bytes.
        self.body.reserve_exact(400);
        self.body.extend_from_slice(domain::BODY);
        write(&mut self.body);
        self.body_hash = domain::sha256(&self.body);
        self.body.drain(..domain::BODY.len());
        self
    }
}
