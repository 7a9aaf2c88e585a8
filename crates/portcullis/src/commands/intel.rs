//! Lists of threats, on the files of the data directory: the running node looks at them once a minute.

use super::print;
use crate::config::{self, Config};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use control::intel::library::{self, DatabaseStatus, Library, ListStatus};
use control::intel::store::{State, Store, is_name, owner_name, read_bounded};
use detection::intel::{self, Kind, Level, Reading, Terms, Tlp};
use detection::{ListOwner, ListReport, Listed, ListedNetworks};
use model::{ClientIp, UnixMicros};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use storage::clock;

#[derive(Subcommand)]
pub(crate) enum IntelCommand {
    /// Check a list, say what it would refuse, and take it; the node has it within a minute
    Import(Import),
    /// Each list and database: how much, how old, what is wrong
    List {
        #[command(flatten)]
        place: Place,
    },
    /// What is known about an address, and whether it is refused
    Check {
        address: IpAddr,
        #[command(flatten)]
        place: Place,
    },
    /// Take a list that was held because it grew so much
    Accept {
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Forget a list that was imported
    Remove {
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// A file to take, and on what terms.
#[derive(Args)]
pub(crate) struct Import {
    file: PathBuf,
    /// What it is called in refusals and reports
    #[arg(long)]
    name: String,
    #[arg(long, value_enum, default_value = "auto")]
    kind: KindChoice,
    /// Who vouches for it: a feed never lists private space and shared clouds
    #[arg(long, value_enum, default_value = "feed")]
    owner: OwnerChoice,
    /// From 3 on it refuses; below, it weighs in detectors
    #[arg(long, default_value_t = Level::REFUSES.get())]
    level: u8,
    /// The strictest marking that is taken: clear, green, amber, amber+strict or red
    #[arg(long, default_value = "red")]
    tlp: Tlp,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

/// Where the data directory is, and how answers are shown.
#[derive(Args)]
pub(crate) struct Place {
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
    config: PathBuf,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KindChoice {
    Auto,
    Plain,
    Csv,
    Stix,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum OwnerChoice {
    Feed,
    Operator,
}

impl IntelCommand {
    /// Carries it out and prints what came of it.
    ///
    /// # Errors
    /// The operator's: what cannot be read or is not taken, and why.
    pub(crate) fn run(self) -> Result<()> {
        let now = clock::unix_now();
        match self {
            Self::List { place } => list(&place, now),
            Self::Check { address, place } => check(address, &place, now),
            Self::Accept { name, place } => {
                let (_, store) = place.open()?;
                if !is_name(&name) || !store.accept(&name)? {
                    bail!("no version of `{name}` is held");
                }
                done(&place, &name, "accepted")
            }
            Self::Remove { name, place } => {
                let (_, store) = place.open()?;
                let imported = store.imported()?;
                if imported.iter().all(|(known, _)| *known != name) {
                    bail!("`{name}` was not imported; feeds are taken out of the configuration");
                }
                store.remove(&name)?;
                done(&place, &name, "removed")
            }
            Self::Import(import) => import.run(now),
        }
    }
}

impl Place {
    fn open(&self) -> Result<(Config, Store)> {
        let config = Config::read(&self.config)?;
        let store = Store::new(&config.data);
        Ok((config, store))
    }
}

fn done(place: &Place, name: &str, what: &str) -> Result<()> {
    if place.json {
        return print::line(&json!({ "name": name, "done": what }).to_string());
    }
    print::line(&format!("{name}: {what}; a running node follows within a minute"))
}

impl Import {
    fn run(self, now: UnixMicros) -> Result<()> {
        let Self { file, name, kind, owner, level, tlp, dry_run, place } = self;
        let level = Level::new(level);
        let level = level.with_context(|| format!("a level is 1 to {}", Level::MAX))?;
        let terms = Terms { level, tlp };
        let owner = match owner {
            OwnerChoice::Feed => ListOwner::Feed,
            OwnerChoice::Operator => ListOwner::Operator,
        };
        let (config, store) = place.open()?;
        if !is_name(&name) {
            bail!("`{name}` is not a list's name: small letters, digits, `-` and `_`");
        }
        if config.intel.feeds.iter().any(|feed| feed.name == name) {
            bail!("`{name}` is a feed of the configuration, and would be written over by it");
        }
        let shown = file.display().to_string();
        let content = read_bounded(&file).with_context(|| format!("cannot read `{shown}`"))?;
        let kind = match kind {
            KindChoice::Auto => Kind::guess(&String::from_utf8_lossy(&content)),
            KindChoice::Plain => Kind::Plain,
            KindChoice::Csv => Kind::Csv,
            KindChoice::Stix => Kind::Stix,
        };
        let reading = intel::read(kind, &content, terms)
            .with_context(|| format!("`{shown}` is not taken as {}", kind.as_str()))?;
        let mut listed = ListedNetworks::new(library::spared(&config.intel)?);
        let Reading { indicators, left_out } = reading;
        let report = listed.add(&name, owner, indicators, now);
        if report.too_much {
            bail!("`{shown}` lists a large part of the Internet, which no feed may");
        }
        if !dry_run {
            store.keep(&name, &content)?;
            store.note(&name, &State::imported(shown.clone(), kind, owner, terms, now))?;
        }
        let status = ListStatus {
            name: name.clone(),
            kind,
            owner,
            terms,
            origin: shown,
            fetched: Some(now),
            problem: None,
            broken: None,
            held: false,
            left_out,
            report,
        };
        if place.json {
            let mut said = status.to_json(now);
            if let Some(members) = said.as_object_mut() {
                members.insert("dry_run".to_owned(), dry_run.into());
            }
            return print::line(&said.to_string());
        }
        let effect = if terms.level.refuses() { "refused" } else { "weighed in detectors" };
        print::line(&format!(
            "{name}: {} networks would be {effect}, read as {}, level {}, vouched for by {}",
            status.report.added,
            kind.as_str(),
            terms.level.get(),
            owner_name(owner),
        ))?;
        for line in reasons(&status) {
            print::line(&format!("  {line}"))?;
        }
        print::line(if dry_run {
            "nothing was changed"
        } else {
            "taken; a running node has it within a minute, or at once with SIGHUP"
        })
    }
}

fn list(place: &Place, now: UnixMicros) -> Result<()> {
    let (config, store) = place.open()?;
    let library = Library::read(&config.intel, &store, None, false, now)?;
    let Library { lists, databases, .. } = &library;
    if place.json {
        let lists: Vec<_> = lists.iter().map(|list| list.to_json(now)).collect();
        let databases: Vec<_> = databases.iter().map(DatabaseStatus::to_json).collect();
        return print::line(&json!({ "lists": lists, "databases": databases }).to_string());
    }
    if lists.is_empty() && databases.is_empty() {
        return print::line(
            "no lists and no databases; docs/operating/threat-intelligence.md says how to begin",
        );
    }
    let mut table = Table::new();
    table.set_header(["list", "kind", "owner", "level", "networks", "confirmed", "state"]);
    for list in lists {
        table.add_row([
            list.name.clone(),
            list.kind.as_str().to_owned(),
            owner_name(list.owner).to_owned(),
            list.terms.level.get().to_string(),
            list.report.added.to_string(),
            list.fetched.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            state_of(list),
        ]);
    }
    print::line(&table.to_string())?;
    for list in lists {
        for line in reasons(list) {
            print::line(&format!("{}: {line}", list.name))?;
        }
    }
    for database in databases {
        let kind = database.kind.as_deref().unwrap_or("none");
        let built = ago(UnixMicros(database.built.saturating_mul(1_000_000)), now);
        let built = if database.kind.is_some() { format!(", made {built}") } else { String::new() };
        let problem = database.problem.as_ref().map_or(String::new(), |why| format!("; {why}"));
        print::line(&format!("{}: {kind}{built}{problem}", database.name))?;
    }
    Ok(())
}

fn state_of(list: &ListStatus) -> String {
    match (&list.broken, &list.problem) {
        (Some(broken), _) => format!("not in effect: {broken}"),
        (None, Some(problem)) => format!("since {}: {}", problem.since, problem.what),
        (None, None) if list.held => "a version is held".to_owned(),
        (None, None) => "ok".to_owned(),
    }
}

/// What is not in effect of a list and why, one line a reason.
fn reasons(list: &ListStatus) -> Vec<String> {
    let ListReport { expired, private, never, shared, partly, wide, no_room, .. } = list.report;
    let left = &list.left_out;
    let counted = [
        (left.bad, "are not networks"),
        (left.unsupported, "speak of something else than addresses"),
        (left.revoked, "were taken back"),
        (left.doubted, "are doubted by the list itself"),
        (left.too_strict, "are marked more strictly than it is taken for"),
        (expired, "are over"),
        (private, "lie in private space"),
        (never, "lie in what is never listed"),
        (shared, "lie in shared clouds; `allow_shared` in [intel] lets them in"),
        (partly, "hold something that is spared, which they do not refuse"),
        (wide, "are too wide for a feed"),
        (no_room, "are more than all lists together may have"),
    ];
    let mut lines: Vec<_> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    lines.extend(left.bad_lines.iter().take(3).map(ToString::to_string));
    let shown = list.report.shared_networks.iter().take(5);
    lines.extend(shown.map(|(network, by)| format!("{network} is in `{by}`")));
    lines
}

fn check(address: IpAddr, place: &Place, now: UnixMicros) -> Result<()> {
    let (config, store) = place.open()?;
    let library = Library::read(&config.intel, &store, None, false, now)?;
    let intelligence = &library.intelligence;
    let peer = ClientIp::from_peer(address);
    let standing = intelligence.standing(peer, now);
    let refused_by = standing.refused_by();
    let systems = intelligence.systems.as_ref();
    let organisation = systems.and_then(|systems| systems.organisation(peer.addr()));
    let country = intelligence.country(peer);
    let all = intelligence.listed.all(peer);
    let spared = intelligence.listed.spared(peer);
    if place.json {
        let listed: Vec<_> = all.iter().map(listed_json).collect();
        let said = json!({
            "address": peer.addr().to_string(),
            "refused": refused_by.is_some(),
            "weighs": standing.weighs(),
            "list": standing.list,
            "level": standing.level.map(Level::get),
            "listed": listed,
            "spared": spared,
            "country": country.map(|country| country.to_string()),
            "asn": standing.asn.map(|asn| asn.0),
            "organisation": organisation,
            "anonymiser": standing.anonymiser,
            "hosting": standing.hosting,
        });
        return print::line(&said.to_string());
    }
    let verdict = match (refused_by, standing.weighs()) {
        (Some(list), _) => format!("refused, by list `{list}`"),
        (None, true) => "served; findings about it weigh twice".to_owned(),
        (None, false) => "served; nothing is known against it".to_owned(),
    };
    print::line(&format!("{}: {verdict}", peer.addr()))?;
    for listed in &all {
        let until = match listed.is_lasting() {
            true => String::new(),
            false if listed.until <= now => format!(", over since {}", listed.until),
            false => format!(", until {}", listed.until),
        };
        let why = listed.reason().map_or(String::new(), |why| format!(": {why}"));
        print::line(&format!(
            "  list `{}` has {} at level {}{until}{why}",
            listed.list,
            listed.network,
            listed.level.get()
        ))?;
    }
    if let Some(spared) = spared {
        print::line(&format!("  no feed lists it: {spared}"))?;
    }
    let system = standing.asn.map(|asn| {
        let name = organisation.as_deref().map_or(String::new(), |name| format!(" {name}"));
        format!("AS{}{name}", asn.0)
    });
    let facts = [
        country.map(|country| format!("country {country}")),
        system,
        standing.anonymiser.then(|| "an anonymiser".to_owned()),
        standing.hosting.then(|| "a hosting provider".to_owned()),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    if facts.is_empty() { Ok(()) } else { print::line(&format!("  {}", facts.join(", "))) }
}

fn listed_json(listed: &Listed<'_>) -> Value {
    json!({
        "list": listed.list,
        "network": listed.network.to_string(),
        "level": listed.level.get(),
        "until": (!listed.is_lasting()).then(|| listed.until.to_string()),
        "tlp": listed.tlp.as_str(),
        "why": listed.reason(),
    })
}

/// How long ago, in the largest unit that says it.
fn ago(at: UnixMicros, now: UnixMicros) -> String {
    let secs = now.since(at).0 / 1_000_000;
    match secs {
        0..120 => format!("{secs} s ago"),
        120..7_200 => format!("{} min ago", secs / 60),
        7_200..172_800 => format!("{} h ago", secs / 3_600),
        _ => format!("{} days ago", secs / 86_400),
    }
}
