//! What a statistic says of one stream, in numbers that anybody can recount.

use crate::NetworkGroup;
use model::{CredentialId, IntegrationId, OperationId};
use std::fmt;

/// The requests that a statistic is about. Never all of a credential's: an attacker's few would be lost among its owner's many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What one credential does from one network.
    Caller {
        /// Whose.
        integration: IntegrationId,
        /// With which key.
        credential: CredentialId,
        /// From where.
        network: NetworkGroup,
    },
    /// What everybody does through one operation.
    Fleet {
        /// Which.
        operation: OperationId,
    },
}

/// A kind of evidence. Two of different [`Family::PAIRED`] are two facts; two of the same are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Subjects without a relationship.
    Novelty,
    /// Ids in order.
    Enumeration,
    /// Lookups that find nothing.
    Misses,
    /// Looking around before taking all.
    Recon,
    /// The exposure budget, held again and again while another family stands.
    Budget,
    /// More subjects without a relationship than there usually are. The same fact as novelty, so of no pair.
    Shift,
}

impl Family {
    /// The families of which two sever.
    pub const PAIRED: [Self; 5] =
        [Self::Novelty, Self::Enumeration, Self::Misses, Self::Recon, Self::Budget];

    /// The rule that finds it.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Novelty => "novelty",
            Self::Enumeration => "enumeration",
            Self::Misses => "misses",
            Self::Recon => "recon",
            Self::Budget => "budget",
            Self::Shift => "shift",
        }
    }
}

/// One statistic that alarmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// One that is a score: [`Family::Novelty`], [`Family::Shift`], [`Family::Enumeration`] or [`Family::Misses`].
    pub family: Family,
    /// Of which requests.
    pub stream: Stream,
    /// How many of the last `of` were hits.
    pub hits: u32,
    /// How many were judged last: at most 32, and of a shift all since its score was last zero. A subject or lookup that repeats one of
    /// the last few is not judged again, but for once that a run of subjects who come back is no neighbour.
    pub of: u32,
    /// The share of hits that is usual here, in thousandths: what was learned.
    pub usual_permille: u32,
    /// Hits since the score was last zero.
    pub hits_in_all: u32,
    /// The score, in hundredths.
    pub score_centi: u32,
    /// The score that alarms, in hundredths: half for a network that is new or has a bad name.
    pub limit_centi: u32,
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hits, of, stream, usual_permille, .. } = self;
        match self.family {
            Family::Misses => {
                write!(f, "{hits} of the last {of} lookups of {stream} found nothing")?
            }
            Family::Enumeration => {
                write!(
                    f,
                    "{hits} of the last {of} subjects of {stream} stand beside one read just before"
                )?;
            }
            Family::Novelty | Family::Shift | Family::Recon | Family::Budget => {
                write!(
                    f,
                    "{hits} of the last {of} subjects of {stream} have no relationship with "
                )?;
                match stream {
                    Stream::Caller { integration, .. } => write!(f, "{integration}")?,
                    Stream::Fleet { .. } => f.write_str("who asked")?,
                }
            }
        }
        write!(f, ", {} in {of} is usual", (usual_permille * of + 500) / 1_000)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller { credential, network, .. } => {
                write!(f, "{credential} from {}", network.net())
            }
            Self::Fleet { operation } => write!(f, "everybody through `{operation}`"),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Novelty => "subjects without a relationship",
            Self::Enumeration => "ids in order",
            Self::Misses => "lookups that find nothing",
            Self::Recon => "looking around",
            Self::Budget => "a budget that is held again and again",
            Self::Shift => "more strangers than usual",
        })
    }
}
