//! Advisories in the OSV format, and which of them are about a component.
//!
//! Everything is matched offline, by ecosystem and name. In doubt a component counts as affected, and [`Match::compared`] says that
//! it was in doubt: a version that nobody can order is no reason to let it pass.

use crate::cvss;
use crate::date::moment;
use crate::json;
use crate::purl::{Package, Purl};
use crate::sbom::Component;
use crate::version::Order;
use model::UnixMicros;
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Most bytes of one advisory.
pub const BYTES_MAX: usize = 4 << 20;

/// Most events of one range, which are sorted by insertion. Published advisories have at most some dozens.
const EVENTS_MAX: usize = 1_024;

/// Base score, in tenths, from which a vulnerability is critical (CVSS v3.1 section 5).
const CRITICAL_TENTHS: u8 = 90;

/// One advisory, reduced to what matching needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// Its id, such as `GHSA-jfh8-c2jp-5v3q` or `MAL-2024-1234`.
    pub id: String,
    /// When it was last changed.
    pub modified: UnixMicros,
    /// When it was published, if it says so.
    pub published: Option<UnixMicros>,
    /// When it was taken back, if it was.
    pub withdrawn: Option<UnixMicros>,
    /// Whether it says that the package itself is an attack.
    pub malicious: bool,
    /// Highest CVSS version 3 base score it gives, in tenths.
    pub score_tenths: Option<u8>,
    /// Whether it is malicious, scores 9.0 or more, or is called critical.
    pub critical: bool,
    affected: Vec<Affected>,
}

/// Advisories by the package they are about.
#[derive(Clone, Debug, Default)]
pub struct Advisories {
    all: Vec<Advisory>,
    by_package: BTreeMap<Package, Vec<usize>>,
}

/// An advisory that is about a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The advisory.
    pub advisory: &'a Advisory,
    /// Whether the component's version was compared; if not, it counts as affected because it could not be.
    pub compared: bool,
}

/// A document that is not an advisory. Whoever supplied the advisory data is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAdvisory {
    /// Longer than [`BYTES_MAX`].
    #[error("the advisory is larger than 4 MiB")]
    TooLarge,
    /// Not JSON, or a member stands twice.
    #[error("the advisory is not acceptable JSON: {0}")]
    NotJson(String),
    /// A member is missing or of the wrong type; the text names it.
    #[error("the advisory is not of the OSV form: {0}")]
    Form(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Affected {
    package: Package,
    /// Of types we can order. A range of commits is left out, and `unordered` says so.
    ranges: Vec<Range>,
    unordered: bool,
    versions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    order: Order,
    events: Vec<Event>,
}

/// Something that happened in the history of a package, at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Introduced(String),
    Fixed(String),
    LastAffected(String),
    Limit(String),
}

/// Whether an advisory is about one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Unaffected,
    Unknown,
    Affected,
}

impl Advisory {
    /// Reads one advisory. Members that are not in use here are ignored, as the format asks of readers.
    ///
    /// # Errors
    /// [`BadAdvisory`]: whoever supplied it is at fault.
    ///
    /// Source: OSV schema 1.7, <https://ossf.github.io/osv-schema/>. Deviation: ranges of type `GIT` cannot be matched with a version.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadAdvisory> {
        if bytes.len() > BYTES_MAX {
            return Err(BadAdvisory::TooLarge);
        }
        let document = json::read(bytes).map_err(BadAdvisory::NotJson)?;
        let wire: Wire =
            serde_json::from_value(document).map_err(|e| BadAdvisory::Form(e.to_string()))?;
        let time = |member: &str, text: &str| {
            moment(text).ok_or_else(|| BadAdvisory::Form(format!("`{member}` is not a time")))
        };
        let severities = || {
            let of_packages = wire.affected.iter().flat_map(|affected| &affected.severity);
            wire.severity.iter().chain(of_packages)
        };
        let score_tenths =
            severities().filter_map(|severity| cvss::base_score_v3(&severity.score)).max();
        let malicious =
            [&wire.id].into_iter().chain(&wire.aliases).any(|id| id.starts_with("MAL-"));
        let called_critical = wire
            .database_specific
            .severity
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .is_some_and(|severity| severity.eq_ignore_ascii_case("critical"));
        Ok(Self {
            modified: time("modified", &wire.modified)?,
            published: wire.published.as_deref().map(|text| time("published", text)).transpose()?,
            withdrawn: wire.withdrawn.as_deref().map(|text| time("withdrawn", text)).transpose()?,
            malicious,
            score_tenths,
            critical: malicious
                || called_critical
                || score_tenths.is_some_and(|score| score >= CRITICAL_TENTHS)
                || severities().any(|severity| cvss::is_surely_critical_v4(&severity.score)),
            affected: wire
                .affected
                .into_iter()
                .map(Affected::read)
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
            id: wire.id,
        })
    }

    /// Whether this is about `version` of `package`.
    fn verdict(&self, package: &Package, version: Option<&str>) -> Verdict {
        let affected = self.affected.iter().filter(|affected| affected.package == *package);
        affected.map(|affected| affected.verdict(version)).max().unwrap_or(Verdict::Unaffected)
    }
}

impl Advisories {
    /// Builds the index. An advisory that was taken back is left out.
    pub fn new(advisories: impl IntoIterator<Item = Advisory>) -> Self {
        let all: Vec<Advisory> =
            advisories.into_iter().filter(|advisory| advisory.withdrawn.is_none()).collect();
        let mut by_package: BTreeMap<Package, Vec<usize>> = BTreeMap::new();
        for (place, advisory) in all.iter().enumerate() {
            for affected in &advisory.affected {
                let places = by_package.entry(affected.package.clone()).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        Self { all, by_package }
    }

    /// How many advisories are known.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The advisories that are about `component`, in the order they were given. Empty for a component without a package URL.
    pub fn affecting(&self, component: &Component) -> Vec<Match<'_>> {
        let Some(package) = component.purl.as_ref().and_then(Purl::package) else {
            return Vec::new();
        };
        let version = component.version_in_use();
        let places = self.by_package.get(&package).into_iter().flatten();
        let candidates = places.filter_map(|&place| self.all.get(place));
        candidates
            .filter_map(|advisory| match advisory.verdict(&package, version) {
                Verdict::Unaffected => None,
                Verdict::Unknown => Some(Match { advisory, compared: false }),
                Verdict::Affected => Some(Match { advisory, compared: true }),
            })
            .collect()
    }
}

impl Affected {
    /// `Ok(None)` for an entry that names no package: it is about commits only.
    fn read(wire: WireAffected) -> Result<Option<Self>, BadAdvisory> {
        let package = match wire.package {
            None => return Ok(None),
            Some(WirePackage { ecosystem: Some(ecosystem), name: Some(name), .. }) => {
                Package::new(&ecosystem, &name)
            }
            Some(WirePackage { purl: Some(purl), .. }) => {
                match Purl::parse(&purl).ok().and_then(|purl| purl.package()) {
                    Some(package) => package,
                    None => return Ok(None),
                }
            }
            Some(_) => {
                return Err(BadAdvisory::Form("a package has neither name nor purl".to_owned()));
            }
        };
        let mut ranges = Vec::new();
        let mut unordered = false;
        for range in wire.ranges {
            if range.events.len() > EVENTS_MAX {
                return Err(BadAdvisory::Form("a range has more than 1,024 events".to_owned()));
            }
            let order = match range.kind.as_str() {
                "SEMVER" => Order::Semver,
                "ECOSYSTEM" => Order::of_ecosystem(&package.ecosystem),
                _ => {
                    unordered = true;
                    continue;
                }
            };
            let events = range.events.into_iter().filter_map(WireEvent::event).collect();
            ranges.push(Range { order, events });
        }
        Ok(Some(Self { package, ranges, unordered, versions: wire.versions }))
    }

    fn verdict(&self, version: Option<&str>) -> Verdict {
        let nothing_is_said = self.ranges.is_empty() && self.versions.is_empty();
        // Without a range or a list the entry is about the whole package.
        if nothing_is_said && !self.unordered {
            return Verdict::Affected;
        }
        let Some(version) = version else {
            return Verdict::Unknown;
        };
        let order = Order::of_ecosystem(&self.package.ecosystem);
        let is_listed = |listed: &String| {
            listed == version || order.compare(listed, version) == Some(Ordering::Equal)
        };
        if self.versions.iter().any(is_listed) {
            return Verdict::Affected;
        }
        if nothing_is_said {
            return Verdict::Unknown;
        }
        let ranges = self.ranges.iter().map(|range| range.verdict(version));
        ranges.max().unwrap_or(Verdict::Unaffected)
    }
}

impl Range {
    /// Source: OSV schema, "Evaluation".
    fn verdict(&self, version: &str) -> Verdict {
        self.evaluate(version).map_or(Verdict::Unknown, |affected| {
            if affected { Verdict::Affected } else { Verdict::Unaffected }
        })
    }

    /// `None` if two versions that must be compared cannot be.
    fn evaluate(&self, version: &str) -> Option<bool> {
        // Sorting by insertion, because a comparison may fail and a sort that ignores it would be a guess.
        let mut sorted: Vec<&Event> = Vec::new();
        let mut limits = Vec::new();
        for event in &self.events {
            if let Event::Limit(limit) = event {
                limits.push(limit);
                continue;
            }
            let mut place = sorted.len();
            while let Some(before) = place.checked_sub(1).and_then(|place| sorted.get(place))
                && self.compare(event.version(), before.version())? == Ordering::Less
            {
                place -= 1;
            }
            sorted.insert(place, event);
        }
        let mut below_a_limit = limits.is_empty();
        for limit in limits {
            below_a_limit |= limit == "*" || self.compare(version, limit)? == Ordering::Less;
        }
        let mut affected = false;
        for event in sorted {
            let order = self.compare(version, event.version())?;
            match event {
                Event::Introduced(_) if order != Ordering::Less => affected = true,
                Event::Fixed(_) if order != Ordering::Less => affected = false,
                Event::LastAffected(_) if order == Ordering::Greater => affected = false,
                Event::Introduced(_)
                | Event::Fixed(_)
                | Event::LastAffected(_)
                | Event::Limit(_) => {}
            }
        }
        Some(affected && below_a_limit)
    }

    fn compare(&self, left: &str, right: &str) -> Option<Ordering> {
        //= OSV schema, `introduced`: "0" is a version that sorts before any other
        match (left == "0", right == "0") {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => self.order.compare(left, left).map(|_| Ordering::Greater),
            (false, false) => self.order.compare(left, right),
        }
    }
}

impl Event {
    fn version(&self) -> &str {
        match self {
            Self::Introduced(version)
            | Self::Fixed(version)
            | Self::LastAffected(version)
            | Self::Limit(version) => version,
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    modified: String,
    published: Option<String>,
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    affected: Vec<WireAffected>,
    #[serde(default)]
    severity: Vec<WireSeverity>,
    #[serde(default)]
    database_specific: WireSpecific,
}

#[derive(Deserialize)]
struct WireAffected {
    package: Option<WirePackage>,
    #[serde(default)]
    ranges: Vec<WireRange>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    severity: Vec<WireSeverity>,
}

#[derive(Deserialize)]
struct WirePackage {
    ecosystem: Option<String>,
    name: Option<String>,
    purl: Option<String>,
}

#[derive(Deserialize)]
struct WireRange {
    #[serde(rename = "type")]
    kind: String,
    events: Vec<WireEvent>,
}

#[derive(Deserialize)]
struct WireEvent {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

#[derive(Deserialize)]
struct WireSeverity {
    score: String,
}

/// Each database puts what it likes here; GitHub's has the severity in words.
#[derive(Default, Deserialize)]
struct WireSpecific {
    severity: Option<serde_json::Value>,
}

impl WireEvent {
    fn event(self) -> Option<Event> {
        let introduced = self.introduced.map(Event::Introduced);
        let fixed = self.fixed.map(Event::Fixed);
        let last_affected = self.last_affected.map(Event::LastAffected);
        introduced.or(fixed).or(last_affected).or(self.limit.map(Event::Limit))
    }
}

#[cfg(test)]
pub(crate) mod tests;
