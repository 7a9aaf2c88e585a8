//! A frozen answer: what an incident, its notices and its filings all speak of.

use crate::{Exposure, Question, wire};
use aws_lc_rs::digest;
use model::{ClassTable, Digest};

/// An answer that no longer changes. A later answer to the same question is another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    name: String,
    version: u64,
    bytes: String,
    hash: Digest,
}

impl Scope {
    /// Freezes an answer. `classes`: the deployment's table, which only ever grows, so that names stay what they were.
    pub fn freeze(
        name: &str,
        version: u64,
        question: &Question,
        exposure: &Exposure,
        classes: &ClassTable,
    ) -> Self {
        let bytes = wire::frozen(name, version, question, exposure, classes);
        let mut hash = [0; 32];
        let computed = digest::digest(&digest::SHA256, bytes.as_bytes());
        for (to, from) in hash.iter_mut().zip(computed.as_ref()) {
            *to = *from;
        }
        Self { name: name.to_owned(), version, bytes, hash }
    }

    /// What operators call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 1 for the first answer of this name.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The canonical bytes: JSON without white space, members in fixed order, lists sorted. The same answer has the same bytes.
    pub fn bytes(&self) -> &str {
        &self.bytes
    }

    /// SHA-256 of [`Scope::bytes`].
    pub const fn hash(&self) -> &Digest {
        &self.hash
    }
}
