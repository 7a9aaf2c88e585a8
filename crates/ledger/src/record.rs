//! Records: what the rest of the program asks to have recorded, and the three byte strings a record is kept as.
//!
//! `docs/evidence-format.md` and `docs/record-format.md` are the format; [`header`], [`body`] and [`touches`] write and read it and hold nothing else.
//! Start reading at [`Draft`].

pub mod body;
pub mod header;
pub mod touches;
pub(crate) mod wire;

pub use body::{AccessBody, Body};
pub use header::{Chain, Header, Kind};
pub use wire::Malformed;

use crate::{domain, merkle};
use model::{
    AccessRecord, ClassTable, ClientIp, Digest, IntegrationId, OperatorId, Refusal, RequestId,
    Touch,
};

/// The format version this program writes.
pub const VERSION: u64 = 1;

/// What is to be recorded. The sequencer adds place, time and salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draft {
    /// A release, an attempt or an authenticated refusal, on the integration's chain. Touches must be sorted by
    /// pseudonym, each pseudonym once.
    Access(AccessRecord),
    /// Nothing of a recorded release reached the socket. The only record that subtracts from exposure.
    NotReleased {
        /// Whose chain the release is on.
        integration: IntegrationId,
        /// The request.
        request: RequestId,
        /// Leaf hash of the release's record: a streamed request has several.
        leaf: Digest,
    },
    /// Refusals without a proven caller: one record per network, reason and second.
    UnauthenticatedRefusals {
        /// From where.
        network: ClientIp,
        /// Why.
        reason: Refusal,
        /// Unix seconds.
        second: u64,
        /// How many.
        count: u64,
    },
    /// An entry of the posture register, as signed.
    Posture {
        /// The entry's bytes.
        entry: Vec<u8>,
    },
    /// An operator did or looked at something.
    OperatorAction {
        /// Who.
        operator: OperatorId,
        /// What, such as `exposure`.
        action: String,
        /// The signed command.
        detail: Vec<u8>,
    },
    /// A step of an integration's vetting, grants included.
    Vetting {
        /// Whose.
        integration: IntegrationId,
        /// Which step, such as `approved`.
        step: String,
        /// The signed command or the evidence's hash.
        detail: Vec<u8>,
    },
    /// Something happened to the node itself.
    Node(NodeEvent),
}

/// What happened to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// It started.
    Start {
        /// The last checkpoint of the generation before, as published, if that generation's end was lost.
        lost_checkpoint: Option<Vec<u8>>,
    },
    /// It stopped in order.
    Stop,
    /// It may have released without a lease while these requests were open.
    Gap {
        /// The open passages.
        requests: Vec<RequestId>,
    },
    /// The wall clock stepped against the monotonic clock.
    Clock {
        /// Microseconds; negative is backward.
        step: i64,
    },
}

/// The hash that records name the class table by: over the names in order of number, each followed by a line feed.
pub fn class_table_hash(table: &ClassTable) -> Digest {
    let mut message = domain::CLASS_TABLE.to_vec();
    for class in table.classes() {
        message.extend_from_slice(class.as_str().as_bytes());
        message.push(b'\n');
    }
    domain::sha256(&message)
}

/// A record as it is kept: three byte strings, each hashed into the one before.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoredRecord {
    /// The log's leaf: the header, which ends in the body's hash. At most 65,535 bytes.
    pub entry: Vec<u8>,
    /// Facts of the record, and the root over its touches.
    pub body: Vec<u8>,
    /// The record salt and the touches; empty if the record has none.
    pub touches: Vec<u8>,
}

/// A record read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Leaf hash of the entry (RFC 6962).
    pub leaf: Digest,
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
    /// Sorted by pseudonym, each once; empty if the record has none.
    pub touches: Vec<Touch>,
}

impl StoredRecord {
    /// The record's leaf hash in the log.
    pub fn leaf_hash(&self) -> Digest {
        merkle::leaf_hash(&self.entry)
    }

    /// Reads the three byte strings without checking that they belong together.
    ///
    /// For records of one's own log, whose segments carry their own checksums. [`crate::Sequencer::replay`] and
    /// [`crate::bundle::verify()`] trust nobody.
    ///
    /// # Errors
    /// [`Malformed`] if any of the three is not of the format; [`Malformed::Thinned`] if only the entry is left.
    pub fn decode(&self) -> Result<Record, Malformed> {
        let header = Header::decode(&self.entry)?;
        if self.is_thinned() {
            return Err(Malformed::Thinned);
        }
        let body = Body::decode(&self.body)?;
        let (_, touches) = touches::decode(&self.touches)?;
        Ok(Record { leaf: self.leaf_hash(), header, body, touches })
    }
}
