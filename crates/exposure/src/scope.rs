//! A frozen answer: what an incident, its notices and its filings all speak of.

use crate::{Listed, Question, wire};
use aws_lc_rs::digest::{Context, SHA256};
use model::{ClassTable, Digest};
use std::io;

/// An answer that no longer changes. A later answer to the same question is another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    name: String,
    version: u64,
    hash: Digest,
}

impl Scope {
    /// Freezes an answer: writes its canonical bytes to `out`, JSON without white space, members in fixed order, lists sorted. The same answer
    /// has the same bytes. `classes`: the deployment's table, which only ever grows, so that names stay what they were.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn freeze(
        name: &str,
        version: u64,
        question: &Question,
        listed: &Listed,
        classes: &ClassTable,
        out: impl io::Write,
    ) -> io::Result<Self> {
        let mut hashing = Hashing { out, context: Context::new(&SHA256) };
        wire::freeze(&mut hashing, (name, version), question, listed, classes)?;
        hashing.out.flush()?;
        let computed = hashing.context.finish();
        let hash = computed.as_ref().first_chunk().copied().unwrap_or_default();
        Ok(Self { name: name.to_owned(), version, hash })
    }

    /// What operators call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 1 for the first answer of this name.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// SHA-256 of the canonical bytes.
    pub const fn hash(&self) -> &Digest {
        &self.hash
    }
}

/// Hashes what it passes on.
struct Hashing<W> {
    out: W,
    context: Context,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.context.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
