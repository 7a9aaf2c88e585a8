//! The record as Parquet files, partitioned by day and integration, for engines that nobody here wrote.
//!
//! `docs/open-data.md` describes the files. [`export`] owns the order: one segment after the other, its facts in memory, then the parts
//! they make up, then the manifest that says the segment is done. What a part holds depends on the log alone, so a part that is
//! written again has the same bytes.

mod answer;
mod directory;
mod facts;
mod part;

pub use answer::{AnswerRow, write_answer_parquet};
pub use facts::NameSubjects;

use crate::ExportFailed;
use crate::classes::ClassNames;
use crate::taken_back::TakenBack;
use directory::{Directory, Manifest, PartRows};
use facts::Facts;
use model::UnixMicros;
use part::Part;
use std::path::Path;
use storage::embedded::segments::{SegmentSpan, Segments};

/// What is to be written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Days that end before this moment are left out.
    pub from: UnixMicros,
    /// Days that begin at or after it are left out.
    pub to: UnixMicros,
    /// The segment that is still written to as well, as far as it goes; a later run writes those parts again.
    pub open: bool,
    /// Tells whose a pseudonym is; without it, subjects stand as pseudonyms only.
    pub subjects: Option<&'a NameSubjects<'a>>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Segments looked at in full.
    pub segments: u64,
    /// Segments of which every part was there.
    pub already: u64,
    /// Sealed segments of which a release could still be taken back: a later run takes them.
    pub waiting: u64,
    /// Segments that retention thinned before all of their parts were written: those never will be.
    pub thinned: u64,
    /// Files written.
    pub parts: u64,
    /// Rows in them.
    pub rows: u64,
}

/// Writes what is not in `directory` yet. `log`: the log's origin, `<deployment>/<node>/<generation>`.
///
/// Holds the facts of one segment in memory: about three times a segment's length if every record names many subjects
/// (48 bytes for a touch that takes 20 on disk), and one row group.
///
/// # Errors
/// [`ExportFailed`]. Parts that were finished stay, whole; running it again goes on.
pub fn export(
    log: &str,
    segments: &Segments,
    classes: &ClassNames,
    directory: &Path,
    options: Options<'_>,
) -> Result<Written, ExportFailed> {
    let directory = Directory::open(directory, options.subjects.is_some())?;
    let (from, to) = (day(options.from), options.to.0.div_ceil(DAY));
    let mut written = Written::default();
    let mut ahead: Option<TakenBack> = None;
    for (at, segment) in segments.all.iter().enumerate() {
        let until = segments.all.get(at + 1).map(|next| next.since);
        let outside = day(segment.since) >= to || until.is_some_and(|until| day(until) < from);
        if outside || (!segment.sealed && !options.open) {
            continue;
        }
        let before = directory.manifest(log, segment.first)?;
        let is_final = before.as_ref().is_some_and(|manifest| manifest.sealed);
        let known = before.map_or(Vec::new(), |manifest| manifest.parts);
        let wanted = |part: &PartRows| (from..to).contains(&part.day);
        let there = |part: &PartRows| directory.has(&part.path(log, segment.first));
        if is_final && known.iter().all(|part| !wanted(part) || there(part)) {
            written.already += 1;
            continue;
        }
        if segment.thinned {
            written.thinned += 1;
            continue;
        }
        let view = if segment.sealed { &segments.durable } else { &segments.readable };
        let mut reader = match ahead.take() {
            Some(reader) if segment.sealed && reader.next() >= segment.first => reader,
            _ => TakenBack::from(view, segment.first),
        };
        let facts = Facts::read(&segments.readable, *segment)?;
        let settled = reader.settle(facts.last)?;
        if segment.sealed && !settled && !options.open {
            written.waiting += 1;
            break;
        }
        let mut manifest = Manifest::new(log, *segment, segment.sealed && settled);
        for ((day, integration), facts) in &facts.parts {
            let part = Part { log, day: *day, integration: *integration, facts, taken: &reader };
            let rows = part.count() as u64;
            let place = PartRows { day: *day, integration: integration.to_string(), rows };
            let path = place.path(log, segment.first);
            // A part under a final manifest is what it will ever be. Any other that is there was written when less was known.
            let due = if is_final {
                wanted(&place) && !there(&place)
            } else {
                wanted(&place) || there(&place)
            };
            if due {
                directory.write(&path, |file| part.write(file, classes, options.subjects))?;
                written.parts += 1;
                written.rows += place.rows;
            }
            manifest.parts.push(place);
        }
        // Records of the open segment's last batch can be lost with the power, and a part that held nothing else with them.
        for gone in known.iter().filter(|part| !is_final && !manifest.has(part) && there(part)) {
            directory.remove(&gone.path(log, segment.first))?;
        }
        directory.finish(&manifest)?;
        written.segments += 1;
        reader.forget_before(facts.last);
        ahead = Some(reader);
    }
    Ok(written)
}

const DAY: u64 = 86_400_000_000;

/// Days since 1970-01-01.
fn day(time: UnixMicros) -> u64 {
    time.0 / DAY
}

/// `2026-03-01`.
fn day_name(day: u64) -> String {
    UnixMicros(day.saturating_mul(DAY)).to_string().chars().take(10).collect()
}
