//! A record's header: the log's leaf. What it shows of a record is what everyone may see who sees the log.

use super::VERSION;
use super::wire::{Malformed, Reader, Write as _};
use model::{ClassSet, Digest, IntegrationId, UnixMicros};
use std::fmt;

/// The chain a record is on. Ordered by its bytes: `System` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// What no single integration did.
    System,
    /// What this integration did.
    Integration(IntegrationId),
}

impl Chain {
    /// Empty for the system, the id's 16 bytes for an integration.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::System => &[],
            Self::Integration(id) => id.as_bytes(),
        }
    }

    /// Reads what [`Chain::as_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Self::System);
        }
        let id = bytes.try_into().map_err(|_| Malformed::Unexpected("chain"))?;
        Ok(Self::Integration(IntegrationId::from_bytes(id)))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Integration(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Data was released.
    Access,
    /// A write or an export is about to be forwarded.
    Attempt,
    /// An authenticated request was refused.
    Refusal,
    /// Nothing of a recorded release reached the socket.
    NotReleased,
    /// Requests without a proven caller were refused.
    UnauthenticatedRefusals,
    /// Posture changed.
    Posture,
    /// An operator did or looked at something.
    OperatorAction,
    /// Vetting went a step.
    Vetting,
    /// The node started, stopped, lost its lease or its clock.
    Node,
    /// The heads of every chain.
    Heads,
}

impl Kind {
    const ALL: [(Self, u64); 10] = [
        (Self::Access, 1),
        (Self::Attempt, 2),
        (Self::Refusal, 3),
        (Self::NotReleased, 4),
        (Self::UnauthenticatedRefusals, 5),
        (Self::Posture, 6),
        (Self::OperatorAction, 7),
        (Self::Vetting, 8),
        (Self::Node, 9),
        (Self::Heads, 10),
    ];

    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Access => 1,
            Self::Attempt => 2,
            Self::Refusal => 3,
            Self::NotReleased => 4,
            Self::UnauthenticatedRefusals => 5,
            Self::Posture => 6,
            Self::OperatorAction => 7,
            Self::Vetting => 8,
            Self::Node => 9,
            Self::Heads => 10,
        }
    }

    pub(crate) fn from_number(number: u64) -> Result<Self, Malformed> {
        let found = Self::ALL.iter().find(|(_, known)| *known == number);
        found.map(|(kind, _)| *kind).ok_or(Malformed::Unexpected("kind"))
    }

    /// Whether records of this kind are on an integration's chain; the others are on the system's.
    pub const fn is_of_an_integration(self) -> bool {
        match self {
            Self::Access | Self::Attempt | Self::Refusal | Self::NotReleased => true,
            Self::UnauthenticatedRefusals
            | Self::Posture
            | Self::OperatorAction
            | Self::Vetting
            | Self::Node
            | Self::Heads => false,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is about.
    pub kind: Kind,
    /// The chain it is on.
    pub chain: Chain,
    /// Its place on the chain, from 0 by 1.
    pub sequence: u64,
    /// Leaf hash of the chain's entry before it; zeros at the first.
    pub previous: Digest,
    /// When, never before the log's entry before it.
    pub time: UnixMicros,
    /// Every class that any of its touches has.
    pub classes: ClassSet,
    /// Salted commitment to the caller's network; none if the record has no caller.
    pub network: Option<Digest>,
    /// Hash of the body.
    pub body: Digest,
}

impl Header {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.map(9);
        out.uint(0);
        out.uint(VERSION);
        out.uint(1);
        out.uint(self.kind.number());
        out.uint(2);
        out.bytes(self.chain.as_bytes());
        out.uint(3);
        out.uint(self.sequence);
        out.uint(4);
        out.bytes(&self.previous);
        out.uint(5);
        out.uint(self.time.0);
        out.uint(6);
        write_classes(out, &self.classes);
        out.uint(7);
        match &self.network {
            Some(commitment) => out.bytes(commitment),
            None => out.null(),
        }
        out.uint(8);
        out.bytes(&self.body);
    }

    /// Reads one entry.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not exactly what a record of version 1 encodes to, or the kind is on the wrong chain.
    pub fn decode(entry: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(entry);
        reader.map(9)?;
        reader.key(0)?;
        let version = reader.uint()?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        reader.key(1)?;
        let kind = Kind::from_number(reader.uint()?)?;
        reader.key(2)?;
        let chain = Chain::from_bytes(reader.bytes()?)?;
        if kind.is_of_an_integration() != (chain != Chain::System) {
            return Err(Malformed::Unexpected("chain of the record's kind"));
        }
        reader.key(3)?;
        let sequence = reader.uint()?;
        reader.key(4)?;
        let previous = reader.fixed()?;
        reader.key(5)?;
        let time = UnixMicros(reader.uint()?);
        reader.key(6)?;
        let classes = read_classes(&mut reader)?;
        reader.key(7)?;
        let network = reader.optional(Reader::fixed)?;
        reader.key(8)?;
        let body = reader.fixed()?;
        reader.end()?;
        Ok(Self { kind, chain, sequence, previous, time, classes, network, body })
    }
}

pub(crate) fn write_classes(out: &mut Vec<u8>, classes: &ClassSet) {
    let (bytes, width) = classes.to_padded();
    out.bytes(bytes.get(..width).unwrap_or(&bytes));
}

pub(crate) fn read_classes(reader: &mut Reader<'_>) -> Result<ClassSet, Malformed> {
    ClassSet::from_bytes(reader.bytes()?).ok_or(Malformed::Unexpected("class bitmap"))
}
