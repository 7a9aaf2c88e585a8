//! Puts what is kept together: feeds, imported lists, the operator's own files, warninglists and databases become one
//! [`Intelligence`], and a report for whoever asks what is in it.

use super::store::{Fingerprint, Problem, State, Store, owner_name, read_bounded};
use super::{Feed, chain};
use detection::intel::places::{self, Anonymity, Asn, Country, Database, Fact};
use detection::intel::warning::WarningList;
use detection::intel::{self, BadList, Kind, LeftOut, Level, Reading, Terms, Tlp};
use detection::{Intelligence, ListOwner, ListReport, ListedNetworks, Spared};
use ipnet::IpNet;
use model::UnixMicros;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// What operators configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Files of the operator's own lists.
    pub lists: Vec<PathBuf>,
    /// Lists that are kept up to date.
    pub feeds: Vec<Feed>,
    /// What nobody lists.
    pub never: Vec<IpNet>,
    /// Warninglists of shared clouds.
    pub warninglists: Vec<PathBuf>,
    /// What of those feeds may list.
    pub allow_shared: Vec<IpNet>,
    /// A database of countries.
    pub country: Option<PathBuf>,
    /// A database of autonomous systems.
    pub asn: Option<PathBuf>,
    /// A database of anonymisers.
    pub anonymous: Option<PathBuf>,
    /// Autonomous systems of hosting providers.
    pub hosting_asns: Vec<u32>,
}

/// A file of the operator's own that cannot be taken. The operator has to act.
#[derive(Debug, Error)]
#[error("cannot read the {what} `{path}`")]
pub struct BadFile {
    what: &'static str,
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What there is in one moment.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// For the data path.
    pub intelligence: Arc<Intelligence>,
    /// Of each list, in the order of the configuration, imported ones last.
    pub lists: Vec<ListStatus>,
    /// Of each database that is configured.
    pub databases: Vec<DatabaseStatus>,
    prints: [Option<Fingerprint>; 3],
}

/// What became of one list.
#[derive(Clone, Debug)]
pub struct ListStatus {
    /// Its name.
    pub name: String,
    /// Its format.
    pub kind: Kind,
    /// Who vouches for it.
    pub owner: ListOwner,
    /// On what terms it is read.
    pub terms: Terms,
    /// Where it comes from.
    pub origin: String,
    /// When its source last confirmed it; none for the operator's own files, which are read as they are, and if it was never there.
    pub fetched: Option<UnixMicros>,
    /// Why it is not up to date.
    pub problem: Option<Problem>,
    /// Why it is not in effect, if it is not.
    pub broken: Option<String>,
    /// Whether a version waits for an operator.
    pub held: bool,
    /// What was left out in reading.
    pub left_out: LeftOut,
    /// What became of the rest.
    pub report: ListReport,
}

/// What became of one database.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// `country`, `asn` or `anonymous`.
    pub name: &'static str,
    /// What it calls itself; none if there is none in effect.
    pub kind: Option<String>,
    /// When it was made, in seconds since 1970.
    pub built: u64,
    /// Why the file is not in effect, and the last good one is.
    pub problem: Option<String>,
}

impl Library {
    /// Reads everything. `before`: what there was, of which databases that did not change are taken over. `keep`: whether a database that
    /// is good is copied into the data directory, to be used when the file is not.
    ///
    /// # Errors
    /// [`BadFile`] for the operator's own lists and warninglists: they are asked to mend them. Feeds and databases never keep a node from
    /// starting; what is wrong with them stands in their status.
    pub fn read(
        settings: &Settings,
        store: &Store,
        before: Option<&Self>,
        keep: bool,
        now: UnixMicros,
    ) -> Result<Self, BadFile> {
        let mut listed = ListedNetworks::new(spared(settings)?);
        let mut lists = Vec::new();
        for path in &settings.lists {
            lists.push(own_list(path, &mut listed, now)?);
        }
        for feed in &settings.feeds {
            let state = store.state(&feed.name).ok().flatten();
            // Terms are the configuration's, whatever they were when it was fetched.
            let state = state.unwrap_or_else(|| State::new(feed));
            let state = State { kind: feed.kind, owner: feed.owner, terms: feed.terms, ..state };
            lists.push(kept_list(&feed.name, &state, store, &mut listed, now));
        }
        for (name, state) in store.imported().unwrap_or_default() {
            if settings.feeds.iter().all(|feed| feed.name != name) {
                lists.push(kept_list(&name, &state, store, &mut listed, now));
            }
        }
        let known = before.map(|before| &*before.intelligence);
        let mut prints = [None; 3];
        let mut databases = Vec::new();
        let mut open =
            Opening { store, keep, before, prints: &mut prints, statuses: &mut databases };
        let intelligence = Intelligence {
            listed,
            countries: open.database::<Country>(
                0,
                "country",
                &settings.country,
                known.and_then(|k| k.countries.clone()),
            ),
            systems: open.database::<Asn>(
                1,
                "asn",
                &settings.asn,
                known.and_then(|k| k.systems.clone()),
            ),
            anonymisers: open.database::<Anonymity>(
                2,
                "anonymous",
                &settings.anonymous,
                known.and_then(|k| k.anonymisers.clone()),
            ),
            hosting: settings.hosting_asns.iter().copied().map(Asn).collect(),
        };
        Ok(Self { intelligence: Arc::new(intelligence), lists, databases, prints })
    }
}

impl Library {
    /// Takes over how it stands with the sources; what is in effect stays. True if anything is different.
    pub fn catch_up(&mut self, store: &Store) -> bool {
        let mut different = false;
        for list in &mut self.lists {
            let Some(state) = store.state(&list.name).ok().flatten() else { continue };
            let fetched = Some(state.fetched).filter(|fetched| fetched.0 > 0);
            let held = store.is_held(&list.name);
            different |=
                (fetched, &state.problem, held) != (list.fetched, &list.problem, list.held);
            (list.fetched, list.problem, list.held) = (fetched, state.problem, held);
        }
        different
    }
}

impl Settings {
    /// Changes when a file does that is read as it is.
    pub fn fingerprint(&self) -> Vec<Option<Fingerprint>> {
        let databases = [&self.country, &self.asn, &self.anonymous].into_iter().flatten();
        databases.chain(&self.lists).chain(&self.warninglists).map(|p| Fingerprint::of(p)).collect()
    }
}

/// What no list lists, and what no feed does.
///
/// # Errors
/// [`BadFile`].
pub fn spared(settings: &Settings) -> Result<Spared, BadFile> {
    let mut spared = Spared::default();
    settings.never.iter().for_each(|network| spared.never(*network));
    settings.allow_shared.iter().for_each(|network| spared.allow(*network));
    for path in &settings.warninglists {
        let bad = |source| BadFile { what: "warninglist", path: path.clone(), source };
        let content = read_bounded(path).map_err(|error| bad(error.into()))?;
        let name = stem(path);
        let list = WarningList::read(&name, &content).map_err(|error| bad(error.into()))?;
        let name: Arc<str> = list.name.into();
        list.networks.iter().for_each(|network| spared.shared(*network, &name));
    }
    Ok(spared)
}

fn own_list(
    path: &Path,
    listed: &mut ListedNetworks,
    now: UnixMicros,
) -> Result<ListStatus, BadFile> {
    let bad = |source| BadFile { what: "list", path: path.to_owned(), source };
    let content = read_bounded(path).map_err(|error| bad(error.into()))?;
    let terms = Terms { level: Level::REFUSES, tlp: Tlp::Red };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("list").to_owned();
    let reading = match intel::read(Kind::Plain, &content, terms) {
        // What is not a network is left out and said, as the operator may see.
        Err(BadList::Nothing) => Ok(Reading::default()),
        read => read,
    };
    let Reading { indicators, left_out } = reading.map_err(|error| bad(error.into()))?;
    let owner = ListOwner::Operator;
    let report = listed.add(&name, owner, indicators, now);
    Ok(ListStatus {
        name,
        kind: Kind::Plain,
        owner,
        terms,
        origin: path.display().to_string(),
        fetched: None,
        problem: None,
        broken: None,
        held: false,
        left_out,
        report,
    })
}

fn kept_list(
    name: &str,
    state: &State,
    store: &Store,
    listed: &mut ListedNetworks,
    now: UnixMicros,
) -> ListStatus {
    let State { kind, owner, terms, .. } = *state;
    let read = match store.content(name) {
        Ok(Some(content)) => intel::read(kind, &content, terms).map_err(|bad| chain(&bad)),
        Ok(None) => Err("it was never fetched".to_owned()),
        Err(error) => Err(chain(&error)),
    };
    let (reading, mut broken) = match read {
        Ok(reading) => (reading, None),
        Err(why) => (Reading::default(), Some(why)),
    };
    let report = listed.add(name, owner, reading.indicators, now);
    if report.too_much {
        broken = Some("it lists a large part of the Internet, which no feed may".to_owned());
    }
    ListStatus {
        name: name.to_owned(),
        kind,
        owner,
        terms,
        origin: state.origin.clone(),
        fetched: Some(state.fetched).filter(|fetched| fetched.0 > 0),
        problem: state.problem.clone(),
        broken,
        held: store.is_held(name),
        left_out: reading.left_out,
        report,
    }
}

/// Opens databases, one after another.
struct Opening<'a> {
    store: &'a Store,
    keep: bool,
    before: Option<&'a Library>,
    prints: &'a mut [Option<Fingerprint>; 3],
    statuses: &'a mut Vec<DatabaseStatus>,
}

impl Opening<'_> {
    fn database<F: Fact>(
        &mut self,
        place: usize,
        name: &'static str,
        path: &Option<PathBuf>,
        known: Option<Arc<Database<F>>>,
    ) -> Option<Arc<Database<F>>> {
        let path = path.as_ref()?;
        let print = Fingerprint::of(path);
        let before = self.before.and_then(|before| before.prints.get(place).copied().flatten());
        let (found, problem) = if known.is_some() && print.is_some() && print == before {
            (known, None)
        } else {
            self.open(name, path, known)
        };
        // Of a file that is not in effect no print is kept, so that it is looked at again.
        if let (Some(kept), None) = (self.prints.get_mut(place), &problem) {
            *kept = print;
        }
        self.statuses.push(DatabaseStatus {
            name,
            kind: found.as_ref().map(|database| database.kind().to_owned()),
            built: found.as_ref().map_or(0, |database| database.built()),
            problem,
        });
        found
    }

    /// The database in the file; if it is not good, the last good one, and why.
    fn open<F: Fact>(
        &self,
        name: &'static str,
        path: &Path,
        known: Option<Arc<Database<F>>>,
    ) -> (Option<Arc<Database<F>>>, Option<String>) {
        let copy = format!("{name}.mmdb");
        let why = match read_database::<F>(path, self.keep) {
            Ok((database, bytes)) => {
                let kept = bytes.map(|bytes| self.store.write_beside(&copy, &bytes));
                let problem = kept.and_then(Result::err);
                let problem = problem.map(|error| format!("no copy can be kept: {error}"));
                return (Some(Arc::new(database)), problem);
            }
            Err(why) => chain(&*why),
        };
        let last_good =
            || Some(Arc::new(read_database::<F>(&self.store.beside(&copy), false).ok()?.0));
        let found = known.or_else(last_good);
        let then = if found.is_some() { "the last good one is in effect" } else { "there is none" };
        (found, Some(format!("{why}; {then}")))
    }
}

/// The database, and what it was made of if that is wanted.
type ReadOf<F> = (Database<F>, Option<Vec<u8>>);

fn read_database<F: Fact>(
    path: &Path,
    with_bytes: bool,
) -> Result<ReadOf<F>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(places::BYTES_MAX).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > places::BYTES_MAX {
        return Err(io::Error::from(ErrorKind::FileTooLarge).into());
    }
    let kept = with_bytes.then(|| bytes.clone());
    Ok((Database::read(bytes)?, kept))
}

fn stem(path: &Path) -> String {
    path.file_stem().and_then(|name| name.to_str()).unwrap_or("warninglist").to_owned()
}

impl ListStatus {
    /// As JSON, with nothing in it that a marking keeps inside but the operator's own problems.
    pub fn to_json(&self, now: UnixMicros) -> Value {
        let Self { left_out, report, terms, .. } = self;
        let bad: Vec<_> = left_out.bad_lines.iter().map(ToString::to_string).collect();
        let shared: Vec<_> = report
            .shared_networks
            .iter()
            .map(|(network, by)| json!({ "network": network.to_string(), "warninglist": &**by }))
            .collect();
        json!({
            "name": self.name,
            "kind": self.kind.as_str(),
            "owner": owner_name(self.owner),
            "level": terms.level.get(),
            "tlp": terms.tlp.as_str(),
            "origin": self.origin,
            "networks": report.added,
            "expired": report.expired,
            "fetched": self.fetched.map(|at| at.to_string()),
            "age_s": self.fetched.map(|at| now.since(at).0 / 1_000_000),
            "problem": self.problem.as_ref().map(|problem| json!({
                "since": problem.since.to_string(), "what": problem.what,
            })),
            "broken": self.broken,
            "held": self.held,
            "left_out": {
                "bad": left_out.bad,
                "bad_lines": bad,
                "unsupported": left_out.unsupported,
                "revoked": left_out.revoked,
                "doubted": left_out.doubted,
                "too_strict": left_out.too_strict,
                "private": report.private,
                "never": report.never,
                "shared": report.shared,
                "shared_networks": shared,
                "wide": report.wide,
                "no_room": report.no_room,
            },
            "partly": report.partly,
        })
    }
}

impl DatabaseStatus {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "kind": self.kind,
            "built": UnixMicros(self.built.saturating_mul(1_000_000)).to_string(),
            "problem": self.problem,
        })
    }
}
