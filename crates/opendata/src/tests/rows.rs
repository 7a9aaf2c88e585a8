//! Parts read back with the parquet crate's own reader, and questions answered from their rows the plain way.

use crate::parquet::Options;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use exposure::Question;
use model::UnixMicros;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Everything, subjects unnamed, the open segment too.
pub(crate) const ALL: Options<'static> = Options {
    from: UnixMicros(0),
    to: UnixMicros(4_000_000_000_000_000),
    open: true,
    subjects: None,
};

/// One row, as far as questions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) integration: String,
    pub(crate) time: u64,
    pub(crate) record: u64,
    pub(crate) outcome: String,
    pub(crate) network: String,
    pub(crate) bytes: u64,
    pub(crate) touch: i32,
    pub(crate) pseudonym: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) classes: BTreeSet<String>,
}

/// Classes, first, last and count, by who was read.
pub(crate) type Seen = BTreeMap<String, (BTreeSet<String>, u64, u64, u64)>;

/// What an exposure answer says, in plain values: by whom, records in all, and by hour records and touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) seen: Seen,
    pub(crate) records: u64,
    pub(crate) hours: BTreeMap<u64, (u64, u64)>,
    /// By class, in how many records.
    pub(crate) classes: BTreeMap<String, u64>,
}

/// The files of a directory, in order of their paths.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The parts of a directory.
pub(crate) fn parts(root: &Path) -> Vec<PathBuf> {
    files(root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect()
}

/// Every row of every part.
pub(crate) fn read(root: &Path) -> Vec<Read> {
    let mut rows = Vec::new();
    for part in parts(root) {
        let folder = part.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let integration = folder.strip_prefix("integration=").unwrap().to_owned();
        let reader = SerializedFileReader::new(File::open(&part).unwrap()).unwrap();
        rows.extend(
            reader.get_row_iter(None).unwrap().map(|row| one(&row.unwrap(), integration.clone())),
        );
    }
    rows
}

fn one(row: &Row, integration: String) -> Read {
    let field = |name: &str| {
        row.get_column_iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    };
    let text = |name: &str| match field(name) {
        Some(Field::Str(text)) => Some(text),
        Some(Field::Null) | None => None,
        other => panic!("{name}: {other:?}"),
    };
    let number = |name: &str| match field(name) {
        Some(Field::Long(value) | Field::TimestampMicros(value)) => u64::try_from(value).unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    let Some(Field::ListInternal(list)) = field("classes") else { panic!("no classes in {row}") };
    let name = |field: &Field| {
        if let Field::Str(name) = field { name.clone() } else { panic!("{field:?}") }
    };
    let Some(Field::Int(touch)) = field("touch") else { panic!("no touch in {row}") };
    Read {
        integration,
        time: number("time"),
        record: number("record"),
        outcome: text("outcome").unwrap(),
        network: text("network").unwrap(),
        bytes: number("bytes"),
        touch,
        pseudonym: text("pseudonym"),
        subject: text("subject"),
        classes: list.elements().iter().map(name).collect(),
    }
}

/// Answers a question about window, integrations, networks and classes from rows. People are named by subject, or by pseudonym.
pub(crate) fn answer(rows: &[Read], question: &Question, named: bool) -> Plain {
    let mut plain = Plain::default();
    let mut records: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let wanted: Option<BTreeSet<String>> = question
        .classes
        .map(|set| super::log::table().names(&set).into_iter().map(str::to_owned).collect());
    for row in rows.iter().filter(|row| row.outcome == "released") {
        let network: std::net::IpAddr = row.network.parse().unwrap();
        let covered = (question.from.0..question.to.0).contains(&row.time)
            && question
                .integrations
                .as_ref()
                .is_none_or(|ids| ids.iter().any(|id| id.to_string() == row.integration))
            && question
                .networks
                .as_ref()
                .is_none_or(|nets| nets.iter().any(|net| net.contains(&network)));
        let classes: BTreeSet<String> = match &wanted {
            Some(wanted) => row.classes.intersection(wanted).cloned().collect(),
            None => row.classes.clone(),
        };
        if !covered || (wanted.is_some() && classes.is_empty()) {
            continue;
        }
        records.entry(row.record).or_default().extend(classes.clone());
        let hour = plain.hours.entry(row.time / 3_600_000_000 * 3_600_000_000).or_default();
        let who = if named {
            row.subject.clone().or(row.pseudonym.clone())
        } else {
            row.pseudonym.clone()
        };
        if let Some(who) = who {
            hour.1 += 1;
            let seen = plain.seen.entry(who).or_insert((BTreeSet::new(), row.time, row.time, 0));
            seen.0.extend(classes);
            (seen.1, seen.2, seen.3) = (seen.1.min(row.time), seen.2.max(row.time), seen.3 + 1);
        }
    }
    for row in rows {
        if records.contains_key(&row.record) && row.touch == 0 {
            plain.hours.entry(row.time / 3_600_000_000 * 3_600_000_000).or_default().0 += 1;
        }
    }
    plain.records = records.len() as u64;
    for class in records.into_values().flatten() {
        *plain.classes.entry(class).or_default() += 1;
    }
    plain
}
