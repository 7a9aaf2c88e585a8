//! Threat intelligence of a node: `[intel]` and `[[feed]]` in its configuration, and the task that keeps what they name up to date.

use crate::secrets::Secrets;
use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control::intel::library::{Library, ListStatus, Settings};
use control::intel::store::{self, Fingerprint, Store};
use control::intel::{Feed, Origin, refresh};
use control::outbound::Address;
use detection::ListOwner;
use detection::intel::{Kind, Level, Terms, read_network};
use gateway::node::Node;
use http::HeaderValue;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::clock;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How often files are looked at, and feeds for whether one is due.
const LOOK: Duration = Duration::from_secs(60);

/// `[intel]`, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntelFile {
    #[serde(default)]
    never: Vec<String>,
    #[serde(default)]
    warninglists: Vec<PathBuf>,
    #[serde(default)]
    allow_shared: Vec<String>,
    #[serde(default)]
    country: Option<PathBuf>,
    #[serde(default)]
    asn: Option<PathBuf>,
    #[serde(default)]
    anonymous: Option<PathBuf>,
    #[serde(default)]
    hosting_asns: Vec<u32>,
}

/// `[[feed]]`, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedFile {
    name: String,
    kind: FeedKind,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default = "level_default")]
    level: u8,
    #[serde(default = "every_default")]
    every: u64,
    #[serde(default)]
    owner: FeedOwner,
    #[serde(default)]
    login: Option<PathBuf>,
    #[serde(default = "tlp_default")]
    tlp: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FeedKind {
    Plain,
    Csv,
    Stix,
    Taxii,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FeedOwner {
    #[default]
    Feed,
    Operator,
}

fn level_default() -> u8 {
    Level::REFUSES.get()
}

fn every_default() -> u64 {
    60
}

fn tlp_default() -> String {
    "red".to_owned()
}

/// What is configured, with paths below `data`.
///
/// # Errors
/// The operator's: what is wrong, and of which feed.
pub(crate) fn settings(
    lists: &[PathBuf],
    intel: IntelFile,
    feeds: Vec<FeedFile>,
    data: &Path,
) -> Result<Settings> {
    let join = |path: PathBuf| data.join(path);
    let networks = |key: &str, texts: Vec<String>| -> Result<Vec<_>> {
        let read = |text: String| {
            read_network(&text).with_context(|| format!("`{text}` in `{key}` is not a network"))
        };
        texts.into_iter().map(read).collect()
    };
    let mut names = BTreeSet::new();
    let mut checked = Vec::new();
    for feed in feeds {
        let name = feed.name.clone();
        let feed = feed.checked(data).with_context(|| format!("feed `{name}`"))?;
        if !names.insert(name) {
            bail!("two feeds are called `{}`", feed.name);
        }
        checked.push(feed);
    }
    Ok(Settings {
        lists: lists.iter().map(|path| data.join(path)).collect(),
        feeds: checked,
        never: networks("never", intel.never)?,
        warninglists: intel.warninglists.into_iter().map(join).collect(),
        allow_shared: networks("allow_shared", intel.allow_shared)?,
        country: intel.country.map(join),
        asn: intel.asn.map(join),
        anonymous: intel.anonymous.map(join),
        hosting_asns: intel.hosting_asns,
    })
}

impl FeedFile {
    fn checked(self, data: &Path) -> Result<Feed> {
        if !store::is_name(&self.name) {
            bail!("a name is small letters, digits, `-` and `_`");
        }
        let (kind, is_taxii) = match self.kind {
            FeedKind::Plain => (Kind::Plain, false),
            FeedKind::Csv => (Kind::Csv, false),
            FeedKind::Stix => (Kind::Stix, false),
            FeedKind::Taxii => (Kind::Stix, true),
        };
        let origin = match (self.file, self.url) {
            (Some(file), None) if !is_taxii => Origin::File(data.join(file)),
            (None, Some(url)) => web(url, is_taxii)?,
            _ => bail!("give either `file` or `url`; a TAXII collection has a `url`"),
        };
        if self.every == 0 || self.every > 60 * 24 * 7 {
            bail!("`every` is in minutes, at most a week");
        }
        if self.login.is_some() && matches!(origin, Origin::File(_)) {
            bail!("`login` is for a `url`");
        }
        let level = Level::new(self.level);
        let level = level.with_context(|| format!("`level` is 1 to {}", Level::MAX))?;
        Ok(Feed {
            name: self.name,
            origin,
            kind,
            terms: Terms { level, tlp: self.tlp.parse()? },
            owner: match self.owner {
                FeedOwner::Feed => ListOwner::Feed,
                FeedOwner::Operator => ListOwner::Operator,
            },
            every: Duration::from_secs(self.every * 60),
            login: self.login.map(|path| data.join(path)),
        })
    }
}

fn web(mut url: String, is_taxii: bool) -> Result<Origin> {
    let address = Address::parse(&url, true).map_err(|_| anyhow!("`{url}` is not an address"))?;
    if !address.place().is_private() {
        bail!("`{url}` is clear text, which is for loopback addresses only");
    }
    if !is_taxii {
        return Ok(Origin::Web(address, url));
    }
    if url.contains('?') {
        bail!("`{url}` is not the address of a TAXII collection: .../collections/ID/");
    }
    if !url.ends_with('/') {
        url.push('/');
    }
    Ok(Origin::Taxii(url))
}

/// What a node knows of networks, and keeps up to date.
pub(crate) struct Intel {
    store: Store,
    current: ArcSwap<Current>,
    /// Held by whoever replaces `current`, from reading what it follows from on, and by whoever reads files into the store.
    replacing: Mutex<()>,
    /// Whether feeds are asked though none is due.
    anyway: AtomicBool,
    wake: Notify,
}

/// Settings and what follows from them.
pub(crate) struct Current {
    settings: Settings,
    /// What feeds are asked with, by their names.
    logins: BTreeMap<String, HeaderValue>,
    pub(crate) library: Library,
    prints: Prints,
}

type Prints = (Vec<(PathBuf, Fingerprint)>, Vec<Option<Fingerprint>>);

impl Intel {
    /// Reads what is there. Files are read anew; for servers nobody waits, what they said last is in effect.
    ///
    /// # Errors
    /// The operator's: a list, a warninglist or a login that cannot be read.
    pub(crate) async fn open(
        data: &Path,
        settings: &Settings,
        secrets: &Secrets,
    ) -> Result<Arc<Self>> {
        let store = Store::new(data);
        refresh_files(&store, settings).await;
        let current = read(&store, settings.clone(), logins(settings, secrets)?, None).await?;
        say(None, &current.library);
        Ok(Arc::new(Self {
            store,
            current: ArcSwap::from_pointee(current),
            replacing: Mutex::new(()),
            anyway: AtomicBool::new(true),
            wake: Notify::new(),
        }))
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Reads what other settings name, to be put in effect by [`Intel::replace`].
    ///
    /// # Errors
    /// As [`Intel::open`].
    pub(crate) async fn prepare(&self, settings: &Settings, secrets: &Secrets) -> Result<Current> {
        let _replacing = self.replacing.lock().await;
        let logins = logins(settings, secrets)?;
        refresh_files(&self.store, settings).await;
        read(&self.store, settings.clone(), logins, Some(self.current())).await
    }

    /// Puts it in effect, and has every feed asked.
    pub(crate) async fn replace(&self, current: Current, node: &Node) {
        let _replacing = self.replacing.lock().await;
        self.put(current, node);
        self.anyway.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    fn put(&self, current: Current, node: &Node) {
        say(Some(&self.current().library), &current.library);
        node.intel.store(Arc::clone(&current.library.intelligence));
        self.current.store(Arc::new(current));
    }

    /// Asks feeds when they are due, and puts in effect what changes, until `stop` is true or the node is gone.
    pub(crate) async fn run(self: Arc<Self>, node: Weak<Node>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                done = self.look(&node) => if done.is_none() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One look at everything; none if the node is gone.
    async fn look(&self, node: &Weak<Node>) -> Option<()> {
        let anyway = self.anyway.swap(false, Ordering::Relaxed);
        let current = self.current();
        {
            let _replacing = self.replacing.lock().await;
            refresh_files(&self.store, &current.settings).await;
        }
        let mut asked = JoinSet::new();
        for feed in current.settings.feeds.iter().filter(|feed| !is_file(feed)).cloned() {
            let store = self.store.clone();
            let login = current.logins.get(&feed.name).cloned();
            asked.spawn(async move {
                let [jitter] = clock::random();
                let now = clock::unix_now();
                let done = refresh(&feed, &store, login.as_ref(), anyway, now, jitter).await;
                if let Err(error) = done {
                    warn!(list = feed.name, %error, "how it stands with a feed cannot be kept");
                }
            });
        }
        drop(current);
        loop {
            // What one feed brought does not wait for the next one, which may be slow.
            let more = asked.join_next().await;
            self.take_over(&*node.upgrade()?).await;
            more?.ok();
            if asked.is_empty() {
                return Some(());
            }
        }
    }

    /// Reads everything anew if a file changed, and how it stands with feeds in any case.
    async fn take_over(&self, node: &Node) {
        let _replacing = self.replacing.lock().await;
        let current = self.current();
        let Current { settings, logins, library, prints: known } = &*current;
        if prints(&self.store, settings) == *known {
            let mut library = library.clone();
            if library.catch_up(&self.store) {
                let (settings, logins) = (settings.clone(), logins.clone());
                self.put(Current { settings, logins, library, prints: known.clone() }, node);
            }
            return;
        }
        match read(&self.store, settings.clone(), logins.clone(), Some(Arc::clone(&current))).await
        {
            Ok(current) => self.put(current, node),
            Err(reason) => {
                warn!("lists are not read anew, and are in effect as before: {reason:#}")
            }
        }
    }
}

/// Reads files of others into the store. Nobody else may be at it.
async fn refresh_files(store: &Store, settings: &Settings) {
    for feed in settings.feeds.iter().filter(|feed| is_file(feed)) {
        let done = refresh(feed, store, None, false, clock::unix_now(), 0).await;
        if let Err(error) = done {
            warn!(list = feed.name, %error, "how it stands with a feed cannot be kept");
        }
    }
}

fn is_file(feed: &Feed) -> bool {
    matches!(feed.origin, Origin::File(_))
}

/// Reads everything that is kept.
async fn read(
    store: &Store,
    settings: Settings,
    logins: BTreeMap<String, HeaderValue>,
    before: Option<Arc<Current>>,
) -> Result<Current> {
    let store = store.clone();
    // Databases are long, and walked whole.
    let read = tokio::task::spawn_blocking(move || {
        // Before it is read: what changes meanwhile is read the next time.
        let prints = prints(&store, &settings);
        let before = before.as_ref().map(|before| &before.library);
        let library = Library::read(&settings, &store, before, true, clock::unix_now())?;
        Ok(Current { settings, logins, library, prints })
    });
    read.await?
}

fn prints(store: &Store, settings: &Settings) -> Prints {
    (store.fingerprint(), settings.fingerprint())
}

fn logins(settings: &Settings, secrets: &Secrets) -> Result<BTreeMap<String, HeaderValue>> {
    let mut logins = BTreeMap::new();
    for feed in &settings.feeds {
        let Some(path) = &feed.login else { continue };
        let secret = secrets.read(path)?;
        let login = secret.trim_ascii();
        let is_line = login.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if !is_line || !login.contains(&b':') {
            bail!("`{}` is not one line `user:password`", path.display());
        }
        //= RFC 7617 section 2: base64 of user, a colon, and password
        let value = format!("Basic {}", STANDARD.encode(login));
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        logins.insert(feed.name.clone(), value);
    }
    Ok(logins)
}

/// Says what is different, and what an operator should look at.
fn say(before: Option<&Library>, library: &Library) {
    for list in &library.lists {
        let known = before.and_then(|b| b.lists.iter().find(|known| known.name == list.name));
        let (name, networks) = (&list.name, list.report.added);
        if known.is_none_or(|known| known.report != list.report || known.left_out != list.left_out)
        {
            info!(list = name, networks, "list read");
            if list.left_out.bad > 0 {
                let first = list.left_out.bad_lines.first().map(ToString::to_string);
                warn!(
                    list = name,
                    bad = list.left_out.bad,
                    first,
                    "lines that are not a network were left out"
                );
            }
            if let Some((network, by)) = list.report.shared_networks.first() {
                let shared = list.report.shared;
                warn!(list = name, shared, first = %network, by = &**by, "a feed lists shared clouds, which is not in effect: `allow_shared` allows it");
            }
            let never = list.report.never + list.report.partly;
            if never > 0 {
                warn!(
                    list = name,
                    networks = never,
                    "it lists what is never listed or shared, which is not in effect"
                );
            }
        }
        let what = |list: &ListStatus| {
            let problem = list.problem.as_ref().map(|problem| problem.what.clone());
            list.broken.clone().or(problem)
        };
        let (was, is) = (known.and_then(what), what(list));
        match &is {
            Some(problem) if was != is => warn!(list = name, problem, "a list is not up to date"),
            None if was.is_some() => info!(list = name, "a list is up to date again"),
            _ => {}
        }
    }
    for database in &library.databases {
        let known = before.and_then(|b| b.databases.iter().find(|d| d.name == database.name));
        let was = known.and_then(|known| known.problem.as_ref());
        match &database.problem {
            Some(problem) if was != Some(problem) => {
                warn!(database = database.name, problem, "a database is not taken");
            }
            None if was.is_some() || known.is_none_or(|known| known.built != database.built) => {
                info!(database = database.name, kind = database.kind, "database read");
            }
            _ => {}
        }
    }
}
