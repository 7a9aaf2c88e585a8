//! Evidence: a file that proves to an outsider, with public keys only, which accesses a log holds in a window and that
//! none is missing.
//!
//! This file has the bundle's parts and their bytes; [`mod@build`] makes one from a log, [`mod@verify`] checks one.
//! It proves completeness against what the node wrote, not against a node that lied as it wrote: see its level.

pub mod build;
mod count;
pub mod sealed;
pub mod verify;
mod wire;

#[cfg(test)]
mod foreign;
#[cfg(test)]
pub(crate) mod naive;
#[cfg(test)]
mod tests;

pub use build::{Builder, CannotProve, Form};
pub use sealed::{OpenedTouch, Opening, Position, Recipient, Seal};
pub use verify::{BadEvidence, Verified, verify, verify_opening};

use crate::heads::{HeadProof, Place};
use crate::record::{Chain, Kind};
use ipnet::IpNet;
use model::{ClassSet, ClientIp, Digest, IntegrationId, Micros, Pseudonym, UnixMicros, VendorId};
use std::collections::BTreeSet;

/// A not-released record counts only within this time of the record it takes back.
pub const TAKEN_BACK_WITHIN: Micros = Micros::from_secs(60);

/// What a bundle answers. Half-open in time: `from <= t < to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose accesses; `None` for every integration.
    pub integrations: Option<BTreeSet<IntegrationId>>,
    /// From this moment.
    pub from: UnixMicros,
    /// Up to, but not at, this moment.
    pub to: UnixMicros,
    /// Only these classes; `None` for all, and for records without any.
    pub classes: Option<ClassSet>,
    /// Only from these networks; `None` for all.
    pub networks: Option<BTreeSet<IpNet>>,
}

/// Which subjects' data was recorded as released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many records, those without subjects included.
    pub records: u64,
    /// The subjects, as the log names them, ascending, each once.
    pub subjects: Vec<(Pseudonym, Seen)>,
}

/// What of one subject was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which classes.
    pub classes: ClassSet,
    /// First time.
    pub first: UnixMicros,
    /// Last time.
    pub last: UnixMicros,
    /// In how many records.
    pub count: u64,
}

impl Question {
    /// Whether records of this chain are asked for.
    pub fn covers(&self, chain: &Chain) -> bool {
        match (chain, &self.integrations) {
            (Chain::System, _) => false,
            (Chain::Integration(_), None) => true,
            (Chain::Integration(id), Some(named)) => named.contains(id),
        }
    }

    /// Whether a record with this kind, time and mask counts if its network does: what its entry shows.
    pub(crate) fn may_count(&self, kind: Kind, time: UnixMicros, mask: &ClassSet) -> bool {
        let classes = self.classes.is_none_or(|wanted| !wanted.intersection(mask).is_empty());
        kind == Kind::Access && self.from <= time && time < self.to && classes
    }

    /// Whether a caller at this address counts.
    pub fn has_network(&self, network: ClientIp) -> bool {
        let networks = self.networks.as_ref();
        networks.is_none_or(|nets| nets.iter().any(|net| net.contains(&network.addr())))
    }
}

/// What a bundle proves about the node that wrote the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing was hidden or changed since it was written, if the heads records speak true.
    #[default]
    OperatorAsserted,
    /// An auditor who replayed the whole log says that they do.
    AuditorCosigned,
}

impl Level {
    /// As a bundle has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OperatorAsserted => "operator-asserted",
            Self::AuditorCosigned => "auditor-cosigned",
        }
    }
}

/// A bundle, read but not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) level: Level,
    pub(crate) checkpoint: String,
    pub(crate) question: Question,
    pub(crate) lower: Option<HeadsAt>,
    pub(crate) upper: HeadsAt,
    pub(crate) system: Option<Place>,
    pub(crate) runs: Vec<Run>,
    pub(crate) answer: Answer,
    pub(crate) vendor: Option<VendorId>,
    pub(crate) seal: Option<Seal>,
}

/// A heads record and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadsAt {
    pub(crate) index: u64,
    pub(crate) entry: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) path: Vec<Digest>,
}

/// One chain between two heads records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) chain: Chain,
    pub(crate) lower: Option<HeadProof>,
    pub(crate) upper: HeadProof,
    pub(crate) shown: Vec<Shown>,
}

/// A record, as much as is shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) entry: Vec<u8>,
    pub(crate) facts: Option<Facts>,
}

/// What is shown of a record beyond its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    Network(ClientIp, [u8; 16]),
    Whole { body: Vec<u8>, touches: Vec<u8> },
    Sealed { body: Vec<u8>, leaves: Vec<Digest> },
}
