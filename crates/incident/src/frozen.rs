//! A frozen scope read back: `portcullis.exposure/1` bytes whose hash is the one the case knows.

use aws_lc_rs::digest::{SHA256, digest};
use model::{Digest, SubjectId, UnixMicros};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A frozen answer that was checked against its hash. Nothing about an incident is said that is not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenScope {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub hash: Digest,
    /// From when it was asked.
    pub from: UnixMicros,
    /// Until when.
    pub to: UnixMicros,
    /// Everybody who was read and is known.
    pub subjects: BTreeMap<SubjectId, Read>,
    /// Pseudonyms of people who were erased since.
    pub erased: u64,
    /// In how many records.
    pub records: u64,
    /// By class name: subjects, records.
    pub classes: BTreeMap<String, (u64, u64)>,
    /// By integration's id: records, first, last.
    pub integrations: BTreeMap<String, (u64, UnixMicros, UnixMicros)>,
    /// By the hour's first moment: records, touches.
    pub hours: BTreeMap<UnixMicros, (u64, u64)>,
}

/// What was read of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Class names, as the scope has them.
    pub classes: Vec<String>,
    /// First time.
    pub first: UnixMicros,
    /// Last time.
    pub last: UnixMicros,
    /// How often.
    pub count: u64,
}

/// Bytes that are not the scope that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// The file was changed since it was frozen, or is another one.
    #[error("the scope's file is not the one that was frozen: its hash differs")]
    OtherHash,
    /// It is not of the format.
    #[error("the scope's file is not `portcullis.exposure/1`: {0}")]
    Malformed(String),
}

impl FrozenScope {
    /// Reads `bytes`, which must hash to `expected`.
    ///
    /// # Errors
    /// [`BadScope`]: somebody changed the file, or it is damaged. No document is made from it.
    pub fn read(bytes: &[u8], expected: &Digest) -> Result<Self, BadScope> {
        if digest(&SHA256, bytes).as_ref() != expected {
            return Err(BadScope::OtherHash);
        }
        let malformed = |what: &dyn std::fmt::Display| BadScope::Malformed(what.to_string());
        let file: File = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        if file.schema != "portcullis.exposure/1" {
            return Err(malformed(&"another schema"));
        }
        let time = |text: &str| UnixMicros::parse(text).ok_or_else(|| malformed(&"a time"));
        let mut subjects = BTreeMap::new();
        for row in file.subjects {
            let id = SubjectId::new(&row.id).ok_or_else(|| malformed(&"a subject's id"))?;
            let (first, last) = (time(&row.first)?, time(&row.last)?);
            let read = Read { classes: row.classes, first, last, count: row.count };
            subjects.insert(id, read);
        }
        let mut integrations = BTreeMap::new();
        for row in file.totals.integrations {
            let (first, last) = (time(&row.first)?, time(&row.last)?);
            integrations.insert(row.integration, (row.records, first, last));
        }
        let mut hours = BTreeMap::new();
        for row in file.totals.hours {
            hours.insert(time(&row.hour)?, (row.records, row.touches));
        }
        let classes = file.totals.classes.into_iter();
        Ok(Self {
            name: file.scope.name,
            version: file.scope.version,
            hash: *expected,
            from: time(&file.window.from)?,
            to: time(&file.window.to)?,
            subjects,
            erased: file.totals.erased,
            records: file.totals.records,
            classes: classes.map(|row| (row.class, (row.subjects, row.records))).collect(),
            integrations,
            hours,
        })
    }

    /// First and last access in it; none if nobody was read.
    pub fn span(&self) -> Option<(UnixMicros, UnixMicros)> {
        let first = self.integrations.values().map(|(_, first, _)| *first).min()?;
        let last = self.integrations.values().map(|(_, _, last)| *last).max()?;
        Some((first, last))
    }
}

// Members that are not needed here are read by nobody and left out.

#[derive(Deserialize)]
struct File {
    schema: String,
    scope: ScopeFile,
    window: WindowFile,
    subjects: Vec<SubjectFile>,
    totals: TotalsFile,
}

#[derive(Deserialize)]
struct ScopeFile {
    name: String,
    version: u64,
}

#[derive(Deserialize)]
struct WindowFile {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct SubjectFile {
    id: String,
    classes: Vec<String>,
    first: String,
    last: String,
    count: u64,
}

#[derive(Deserialize)]
struct TotalsFile {
    erased: u64,
    records: u64,
    classes: Vec<ClassFile>,
    integrations: Vec<IntegrationFile>,
    hours: Vec<HourFile>,
}

#[derive(Deserialize)]
struct ClassFile {
    class: String,
    subjects: u64,
    records: u64,
}

#[derive(Deserialize)]
struct IntegrationFile {
    integration: String,
    records: u64,
    first: String,
    last: String,
}

#[derive(Deserialize)]
struct HourFile {
    hour: String,
    records: u64,
    touches: u64,
}
