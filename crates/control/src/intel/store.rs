//! Lists as they are kept in the data directory: `intel/NAME.list` is in effect, `NAME.held` waits for an operator, `NAME.json` says how it
//! stands with the source. For their owner alone to read: a list may be licensed, or marked TLP:RED.

use super::Feed;
use detection::ListOwner;
use detection::intel::{BYTES_MAX, Kind, Level, Terms, Tlp};
use model::UnixMicros;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use storage::embedded::disk::write_whole;

/// Characters of a list's name.
const NAME_MAX: usize = 64;

/// The folder of lists.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// How it stands with one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether an operator put it there with `portcullis intel import`, and it comes from nowhere by itself.
    pub imported: bool,
    /// Where it comes from, as it is shown.
    pub origin: String,
    /// Its format.
    pub kind: Kind,
    /// Who vouches for it.
    pub owner: ListOwner,
    /// On what terms it is read.
    pub terms: Terms,
    /// When the source last confirmed what is in effect; 0 if never.
    pub fetched: UnixMicros,
    /// When it is asked again.
    pub due: UnixMicros,
    /// Tries since then that brought nothing.
    pub failed: u32,
    /// Why, if there were any.
    pub problem: Option<Problem>,
    /// What a web server said to ask with the next time: its entity tag, and when it was last modified.
    pub etag: Option<String>,
    /// See `etag`.
    pub last_modified: Option<String>,
    /// From where on a TAXII collection is asked the next time.
    pub added_after: Option<String>,
    /// When a TAXII collection was last read from its beginning; 0 if never.
    pub whole: UnixMicros,
}

/// Why a list is not up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Since when, microseconds since 1970.
    #[serde(with = "micros")]
    pub since: UnixMicros,
    /// In words.
    pub what: String,
}

/// The state as it stands in its file.
#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u8,
    imported: bool,
    origin: String,
    kind: String,
    owner: String,
    level: u8,
    tlp: String,
    #[serde(with = "micros")]
    fetched: UnixMicros,
    #[serde(with = "micros")]
    due: UnixMicros,
    failed: u32,
    problem: Option<Problem>,
    etag: Option<String>,
    last_modified: Option<String>,
    added_after: Option<String>,
    #[serde(with = "micros")]
    whole: UnixMicros,
}

impl State {
    /// Of a feed that was never asked.
    pub(super) fn new(feed: &Feed) -> Self {
        Self {
            imported: false,
            origin: feed.origin.shown(),
            kind: feed.kind,
            owner: feed.owner,
            terms: feed.terms,
            fetched: UnixMicros(0),
            due: UnixMicros(0),
            failed: 0,
            problem: None,
            etag: None,
            last_modified: None,
            added_after: None,
            whole: UnixMicros(0),
        }
    }

    /// Of a list that an operator imports.
    pub fn imported(
        origin: String,
        kind: Kind,
        owner: ListOwner,
        terms: Terms,
        now: UnixMicros,
    ) -> Self {
        let never = UnixMicros(0);
        Self {
            imported: true,
            origin,
            kind,
            owner,
            terms,
            fetched: now,
            due: never,
            failed: 0,
            problem: None,
            etag: None,
            last_modified: None,
            added_after: None,
            whole: never,
        }
    }

    fn from_json(text: &[u8]) -> Option<Self> {
        let file: StateFile =
            serde_json::from_slice(text).ok().filter(|f: &StateFile| f.version == 1)?;
        let kind = [Kind::Plain, Kind::Csv, Kind::Stix];
        Some(Self {
            imported: file.imported,
            origin: file.origin,
            kind: kind.into_iter().find(|kind| kind.as_str() == file.kind)?,
            owner: if file.owner == "operator" { ListOwner::Operator } else { ListOwner::Feed },
            terms: Terms { level: Level::new(file.level)?, tlp: file.tlp.parse().ok()? },
            fetched: file.fetched,
            due: file.due,
            failed: file.failed,
            problem: file.problem,
            etag: file.etag,
            last_modified: file.last_modified,
            added_after: file.added_after,
            whole: file.whole,
        })
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let Self { imported, origin, kind, owner, terms, problem, .. } = self.clone();
        serde_json::to_vec_pretty(&StateFile {
            version: 1,
            imported,
            origin,
            kind: kind.as_str().to_owned(),
            owner: owner_name(owner).to_owned(),
            level: terms.level.get(),
            tlp: Tlp::as_str(terms.tlp).to_owned(),
            fetched: self.fetched,
            due: self.due,
            failed: self.failed,
            problem,
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
            added_after: self.added_after.clone(),
            whole: self.whole,
        })
    }
}

/// As it is written in a configuration.
pub fn owner_name(owner: ListOwner) -> &'static str {
    match owner {
        ListOwner::Feed => "feed",
        ListOwner::Operator => "operator",
    }
}

/// Whether a list may be called so: small letters, digits, `-` and `_`, because it is a file's name and a metric's label.
pub fn is_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(letter)
}

/// A list's file, read whole if it is not too long to be one.
///
/// # Errors
/// The file system's, or [`ErrorKind::FileTooLarge`].
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
    if read > BYTES_MAX { Err(ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

impl Store {
    /// The folder in a data directory. Nothing is made before something is kept.
    pub fn new(data: &Path) -> Self {
        Self { folder: data.join("intel") }
    }

    /// The list in effect.
    ///
    /// # Errors
    /// The file system's.
    pub fn content(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if_there(read_bounded(&self.path(name, "list")))
    }

    /// How it stands with a list. A state that cannot be read is none, and the source is asked as if for the first time.
    ///
    /// # Errors
    /// The file system's.
    pub fn state(&self, name: &str) -> io::Result<Option<State>> {
        let text = if_there(read_bounded(&self.path(name, "json")))?;
        Ok(text.and_then(|text| State::from_json(&text)))
    }

    /// Lists that operators imported, by name.
    ///
    /// # Errors
    /// The file system's.
    pub fn imported(&self) -> io::Result<Vec<(String, State)>> {
        let Some(files) = if_there(std::fs::read_dir(&self.folder))? else { return Ok(Vec::new()) };
        let mut imported = Vec::new();
        for file in files {
            let name = file?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let Some(name) = name.filter(|name| is_name(name)) else { continue };
            if let Some(state) = self.state(name)?.filter(|state| state.imported) {
                imported.push((name.to_owned(), state));
            }
        }
        imported.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(imported)
    }

    /// Whether something waits for an operator.
    pub fn is_held(&self, name: &str) -> bool {
        self.path(name, "held").exists()
    }

    /// Puts a list in effect.
    ///
    /// # Errors
    /// The file system's; what was in effect stays.
    pub fn keep(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.write(name, "list", content)?;
        if_there(std::fs::remove_file(self.path(name, "held"))).map(drop)
    }

    /// Puts a list aside until an operator accepts it.
    ///
    /// # Errors
    /// The file system's.
    pub fn hold(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.write(name, "held", content)
    }

    /// What an operator accepted is in effect from then on; false if nothing was held.
    ///
    /// # Errors
    /// The file system's.
    pub fn accept(&self, name: &str) -> io::Result<bool> {
        let (held, list) = (self.path(name, "held"), self.path(name, "list"));
        Ok(if_there(std::fs::rename(held, list))?.is_some())
    }

    /// Writes down how it stands.
    ///
    /// # Errors
    /// The file system's.
    pub fn note(&self, name: &str, state: &State) -> io::Result<()> {
        self.write(name, "json", &state.to_json()?)
    }

    /// Forgets a list; false if there was none.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let mut found = false;
        for ending in ["list", "held", "json"] {
            found |= if_there(std::fs::remove_file(self.path(name, ending)))?.is_some();
        }
        Ok(found)
    }

    /// Changes when the lists in effect do. A folder that cannot be read is as good as an empty one here: reading it says why.
    pub fn fingerprint(&self) -> Vec<(PathBuf, Fingerprint)> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let lists = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "list"));
        let mut all: Vec<_> =
            lists.filter_map(|path| Some((path.clone(), Fingerprint::of(&path)?))).collect();
        all.sort();
        all
    }

    /// Where a file of another kind is kept beside the lists.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file beside the lists, whole or not at all.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_beside(&self, name: &str, content: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let unfinished = self.folder.join(format!("{name}.new"));
        write_whole(
            &unfinished,
            &self.folder.join(name),
            |error| error,
            |mut file| file.write_all(content),
        )
    }

    fn write(&self, name: &str, ending: &str, content: &[u8]) -> io::Result<()> {
        self.write_beside(&format!("{name}.{ending}"), content)
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }
}

/// What of a file changes when somebody writes it, or another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    modified: (i64, i64),
    inode: u64,
    length: u64,
}

impl Fingerprint {
    /// Of a file, if it is there.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Some(Self { modified, inode: meta.ino(), length: meta.len() })
    }
}

fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

mod micros {
    use model::UnixMicros;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &UnixMicros, to: S) -> Result<S::Ok, S::Error> {
        time.0.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixMicros, D::Error> {
        u64::deserialize(from).map(UnixMicros)
    }
}
