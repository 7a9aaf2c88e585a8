//! The format of a scenario: one YAML file, `portcullis.scenario/1`. These types are the format; `docs/rehearsal.md` says how to
//! write one.
//!
//! A file that holds anything else than what stands here is refused: a misspelt limit must not be a limit that always holds.

use crate::benign::Class;
use crate::span::Span;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What `schema` says.
pub const SCHEMA: &str = "portcullis.scenario/1";

/// Where the number of a subject stands in a path.
pub const SUBJECT: &str = "{subject}";

/// Requests of one attack that are planned at most. What is made is far fewer, because refusals are thinned out.
const PLANNED_MAX: f64 = 100_000_000.0;

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// [`SCHEMA`].
    pub schema: String,
    /// A short name: letters, digits and hyphens.
    pub id: String,
    /// One line.
    pub title: String,
    /// What happened, and what of it the scenario keeps.
    pub story: String,
    /// Where its numbers come from. What is assumed says so.
    pub sources: Vec<String>,
    /// Whom the origin keeps.
    pub subjects: Subjects,
    /// The integration that is attacked, or abused.
    pub tool: Tool,
    /// Honest integrations beside it, by class.
    #[serde(default)]
    pub beside: BTreeMap<Class, u32>,
    /// Honest traffic, the tool's own included.
    pub honest: Honest,
    /// How long after a page a person severs the integration, if anything left by then; never, if it is left out.
    #[serde(default)]
    pub operator_after: Option<Span>,
    /// What happens, in order: each step begins when the one before has ended.
    pub steps: Vec<Step>,
    /// What must hold, by mode. A mode that is not here is not played.
    pub expect: BTreeMap<Mode, Expect>,
}

/// What the attacker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Whatever the tool sends, copied: its tokens, and no key.
    Outside,
    /// The same, of a tool whose tokens are taken without proof, under a bearer exception.
    Legacy,
    /// The tool itself: its key, its network.
    Inside,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outside, Self::Legacy, Self::Inside];

    /// As files and command lines spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Legacy => "legacy",
            Self::Inside => "inside",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whom the origin keeps, as numbers from 0 on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subjects {
    /// An id with `{}` in place of the number, such as `acc_{}`.
    pub id: String,
    /// The number is padded with zeros to this many digits.
    pub digits: usize,
    /// How many there are.
    pub count: u64,
    /// How many of them, from number 0 on, the tool has a reason to read: a ticket, a purchase, a consent.
    pub related: u64,
}

impl Subjects {
    /// The id of the subject with this number.
    pub fn id(&self, number: u64) -> String {
        self.id.replace("{}", &format!("{number:0width$}", width = self.digits))
    }
}

/// An integration and what it was granted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What its honest traffic looks like.
    pub class: Class,
    /// The path its honest software asks for.
    pub get: String,
    /// Operation ids of the contract.
    pub operations: Vec<String>,
    /// Data classes.
    pub classes: Vec<String>,
    /// What for.
    pub purpose: String,
    /// Distinct subjects in a minute, an hour, a day.
    pub budget: Budget,
    /// Grants it holds: one of all subjects; or several, of an equal part of the related subjects each, as of tenants.
    #[serde(default = "one")]
    pub grants: u32,
}

fn one() -> u32 {
    1
}

/// Distinct subjects that may leave.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In 60 seconds.
    pub burst: u32,
    /// In an hour.
    pub hour: u32,
    /// In a day.
    pub day: u32,
}

/// Honest traffic.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Honest {
    /// How long it runs before the first step.
    pub before: Span,
    /// Which share of the requests of its classes is really made, above 0 and at most 1.
    pub density: f64,
    /// The same of the tool's own requests, where it is another share: they are what an attack inside is lost among.
    #[serde(default)]
    pub tool: Option<f64>,
}

impl Honest {
    /// The share of the tool's own requests.
    pub fn of_tool(&self) -> f64 {
        self.tool.unwrap_or(self.density)
    }
}

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nobody asks for anything: the tool is forgotten.
    Idle(Lasts),
    /// Honest traffic alone.
    Honest(Lasts),
    /// Requests of the attacker, among honest traffic.
    Attack(Box<Attack>),
    /// The origin answers some requests with other people's records, among honest traffic.
    MixUp(MixUp),
    /// An operator severs the vendor: everything issued to it, whenever.
    SeverVendor(SeverVendor),
    /// The detectors themselves are told of weeks of honest traffic, more than can go over sockets.
    Quiet(Weeks),
    /// The vendor says that its own store was broken into: a case is opened about everything it was ever given.
    VendorNotice(VendorNotice),
}

/// How long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lasts {
    /// How long.
    pub lasts: Span,
}

/// Requests of the attacker. What it asks with is the mode's to say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What it does, in a word or two.
    pub name: String,
    /// How long.
    pub lasts: Span,
    /// Requests a second, evenly.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Or how many in all, evenly.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Paths, asked in turn; [`SUBJECT`] stands for an id.
    pub gets: Vec<String>,
    /// In which order it asks for subjects.
    #[serde(default)]
    pub order: Order,
    /// How many subjects one request moves on, if it goes in sequence: the length of a page.
    #[serde(default = "stride")]
    pub stride: u64,
    /// Which share of the ids it asks for exist.
    #[serde(default = "all")]
    pub hits: f64,
    /// Which share of them are of people the tool has a reason to read.
    #[serde(default)]
    pub known: f64,
    /// From how many networks of 256 addresses; not in inside mode.
    #[serde(default = "one")]
    pub networks: u32,
    /// From how many addresses in each.
    #[serde(default = "one")]
    pub addresses: u32,
    /// Whether the first network stands on a list of bad ones.
    #[serde(default)]
    pub listed: bool,
    /// Requests with one grant before the next is used.
    #[serde(default)]
    pub per_grant: Option<u64>,
    /// Whether it asks without any credential.
    #[serde(default)]
    pub anonymous: bool,
}

fn stride() -> u64 {
    1
}

fn all() -> f64 {
    1.0
}

impl Attack {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        match (self.rate, self.requests) {
            (Some(rate), _) => rate,
            (None, Some(requests)) => requests as f64 / self.lasts.secs(),
            (None, None) => 0.0,
        }
    }

    /// Requests in all.
    pub fn planned(&self) -> f64 {
        (self.rate() * self.lasts.secs()).max(1.0)
    }
}

/// In which order an attacker asks for subjects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Each as likely as any other.
    #[default]
    Random,
    /// One after another.
    Sequential,
}

/// An origin that confuses people.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixUp {
    /// How long.
    pub lasts: Span,
    /// One answer in so many is somebody else's.
    pub one_in: u64,
    /// How much more the tool asks than usual.
    #[serde(default = "all")]
    pub traffic: f64,
}

/// An operator's cut.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeverVendor {
    /// Why.
    pub reason: String,
}

/// Honest traffic for the detectors alone.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weeks {
    /// How many integrations, of every class in its share.
    pub integrations: u32,
    /// How many days.
    pub days: u32,
}

/// A vendor's word.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorNotice {
    /// How far back its word reaches.
    pub since: Span,
    /// How long the vendor is waited for afterwards.
    pub waits: Span,
}

/// What must hold. Whatever stands here, the scope must equal the truth, and its proof must verify.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Distinct subjects whose data the attacker received, at most.
    pub subjects_max: Option<u64>,
    /// Records that somebody received of a subject that was not asked for, at most.
    pub foreign_max: Option<u64>,
    /// Grants that the attacker received data under, at most.
    pub grants_max: Option<u64>,
    /// Seconds from the attacker's first request to the first signal, at most.
    pub detect_s_max: Option<f64>,
    /// The attacker's requests until the first signal, at most.
    pub detect_requests_max: Option<u64>,
    /// Seconds from the attacker's first request to the first containment, at most.
    pub contain_s_max: Option<f64>,
    /// Milliseconds until the record answered who was read, at most.
    pub answer_ms_max: Option<f64>,
    /// Milliseconds until an operator's cut was acknowledged, at most.
    pub cut_ms_max: Option<f64>,
    /// Honest requests that were refused, at most.
    pub honest_refused_max: Option<u64>,
    /// Severances in honest traffic told to the detectors, at most.
    pub severed_max: Option<u64>,
    /// Throttles there in 1,000 integration-days, at most, where changes are announced.
    pub throttled_max: Option<f64>,
    /// And where they are not.
    pub throttled_unannounced_max: Option<f64>,
    /// Pages there in a week per 50 integrations, at most, where changes are announced.
    pub pages_max: Option<f64>,
    /// What a signal must say, in part.
    pub signal: Option<String>,
    /// Whether the clock of a vendor that does not answer must have run out.
    pub vendor_late: Option<bool>,
}

/// Why a file is no scenario. Whoever wrote it is at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScenario {
    /// No YAML, or not of this shape.
    #[error("{0}")]
    Shape(String),
    /// Of the shape, and not sensible.
    #[error("`{place}`: {wrong}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong.
        wrong: String,
    },
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// `text`: YAML 1.2, UTF-8.
    ///
    /// # Errors
    /// [`BadScenario`] names the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, BadScenario> {
        let shape = |error: &dyn fmt::Display| BadScenario::Shape(error.to_string());
        // By way of JSON, so that a step is a key and its value and not a YAML tag.
        let value: serde_json::Value = serde_norway::from_str(text).map_err(|e| shape(&e))?;
        let steps = value.get("steps").and_then(serde_json::Value::as_array);
        for (at, step) in steps.into_iter().flatten().enumerate() {
            Step::deserialize(step)
                .map_err(|error| BadScenario::Shape(format!("step {}: {error}", at + 1)))?;
        }
        let scenario: Self = serde_json::from_value(value).map_err(|e| shape(&e))?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), BadScenario> {
        let wrong =
            |place: &str, wrong: String| Err(BadScenario::Value { place: place.to_owned(), wrong });
        if self.schema != SCHEMA {
            return wrong("schema", format!("this reads `{SCHEMA}`"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.id.is_empty() || self.id.len() > 40 || !self.id.chars().all(plain) {
            return wrong("id", "1 to 40 letters, digits and hyphens".into());
        }
        let Subjects { id, digits, count, related } = &self.subjects;
        if !id.contains("{}") || id.len() > 100 || *digits > 18 {
            return wrong("subjects.id", "takes `{}` for the number, of 18 digits at most".into());
        }
        if *count == 0 || *count > 1_000_000_000 || related > count {
            return wrong(
                "subjects.count",
                "1 to 1,000,000,000, of whom `related` are some".into(),
            );
        }
        let shares = [self.honest.density, self.honest.of_tool()];
        if !shares.iter().all(|share| *share > 0.0 && *share <= 1.0) {
            return wrong("honest.density", "this and `tool` are above 0 and at most 1".into());
        }
        if self.tool.grants == 0 || self.tool.grants > 500 || u64::from(self.tool.grants) > *related
        {
            return wrong(
                "tool.grants",
                "1 to 500, and each has a related subject at least".into(),
            );
        }
        if self.beside.values().sum::<u32>() > 20 {
            return wrong("beside", "20 integrations at most".into());
        }
        if self.expect.is_empty() {
            return wrong("expect", "no mode: nothing would be played".into());
        }
        for (at, step) in self.steps.iter().enumerate() {
            let at = format!("steps[{at}]");
            match step {
                Step::Attack(attack) => attack.check(&at)?,
                Step::MixUp(mix)
                    if mix.one_in == 0 || mix.traffic.is_nan() || mix.traffic <= 0.0 =>
                {
                    return wrong(&at, "`one_in` and `traffic` are above 0".into());
                }
                Step::Quiet(weeks)
                    if !(1..=1_000).contains(&weeks.integrations)
                        || !(1..=400).contains(&weeks.days) =>
                {
                    return wrong(&at, "1 to 1,000 integrations for 1 to 400 days".into());
                }
                Step::MixUp(_)
                | Step::Idle(_)
                | Step::Honest(_)
                | Step::Quiet(_)
                | Step::SeverVendor(_)
                | Step::VendorNotice(_) => {}
            }
        }
        Ok(())
    }

    /// The attacks, in order.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        self.steps.iter().filter_map(|step| match step {
            Step::Attack(attack) => Some(&**attack),
            Step::Idle(_)
            | Step::Honest(_)
            | Step::MixUp(_)
            | Step::Quiet(_)
            | Step::SeverVendor(_)
            | Step::VendorNotice(_) => None,
        })
    }
}

impl Attack {
    fn check(&self, at: &str) -> Result<(), BadScenario> {
        let wrong = |what: &str, wrong: &str| {
            Err(BadScenario::Value { place: format!("{at}.{what}"), wrong: wrong.to_owned() })
        };
        if self.rate.is_some() == self.requests.is_some() {
            return wrong("rate", "either `rate` or `requests`");
        }
        let sensible = self.rate() > 0.0 && self.planned() <= PLANNED_MAX;
        if self.lasts.0.0 == 0 || !sensible {
            return wrong("rate", "1 to 100,000,000 requests in all, in more than no time");
        }
        if self.gets.is_empty() || !self.gets.iter().all(|path| path.starts_with('/')) {
            return wrong("gets", "paths, each with its first slash");
        }
        if ![self.hits, self.known].iter().all(|share| (0.0..=1.0).contains(share)) {
            return wrong("hits", "`hits` and `known` are shares from 0 to 1");
        }
        if self.stride == 0 || self.per_grant == Some(0) {
            return wrong("stride", "`stride` and `per_grant` are not 0");
        }
        if !(1..=10_000).contains(&self.networks) || !(1..=250).contains(&self.addresses) {
            return wrong("networks", "1 to 10,000 networks of 1 to 250 addresses");
        }
        Ok(())
    }
}

/// The scenarios that come with the program, by id.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("R00", include_str!("../scenarios/R00.yaml")),
    ("R01", include_str!("../scenarios/R01.yaml")),
    ("R02", include_str!("../scenarios/R02.yaml")),
    ("R02-slow", include_str!("../scenarios/R02-slow.yaml")),
    ("R02-clean", include_str!("../scenarios/R02-clean.yaml")),
    ("R03", include_str!("../scenarios/R03.yaml")),
    ("R04", include_str!("../scenarios/R04.yaml")),
    ("R05", include_str!("../scenarios/R05.yaml")),
    ("R06", include_str!("../scenarios/R06.yaml")),
    ("R06-diluted", include_str!("../scenarios/R06-diluted.yaml")),
    ("R07", include_str!("../scenarios/R07.yaml")),
    ("R07-low", include_str!("../scenarios/R07-low.yaml")),
    ("R08", include_str!("../scenarios/R08.yaml")),
    ("R09", include_str!("../scenarios/R09.yaml")),
    ("R10", include_str!("../scenarios/R10.yaml")),
    ("R11", include_str!("../scenarios/R11.yaml")),
    ("R12", include_str!("../scenarios/R12.yaml")),
    ("R13", include_str!("../scenarios/R13.yaml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_parses_and_is_called_what_its_file_is() {
        for (id, text) in BUILT_IN {
            let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert_eq!(scenario.id, *id);
            assert!(!scenario.sources.is_empty(), "{id} names no source");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused_and_named() {
        let text = BUILT_IN[2].1;
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Scenario::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(refused("subjects_max", "subject_max").contains("unknown field `subject_max`"));
        let step = refused("    rate:", "    rat:");
        assert!(step.contains("step 1: unknown field `rat`"), "{step}");
        assert!(refused("lasts: 6h", "lasts: 6 hours").contains("`6 hours` is not a time"));
        assert!(refused(SCHEMA, "portcullis.scenario/9").contains("this reads"));
        assert!(refused("rate: 2", "rate: 0").contains("steps[0].rate"));
        assert!(refused("  outside:", "  outsider:").contains("outsider"));
        assert!(Scenario::parse("- a\n").is_err());
        assert!(Scenario::parse(": :\n\t").is_err());
    }

    #[test]
    fn an_id_is_padded() {
        let subjects = Subjects { id: "acc_{}".into(), digits: 6, count: 10, related: 5 };
        assert_eq!(subjects.id(42), "acc_000042");
        assert_eq!(subjects.id(1_234_567), "acc_1234567");
    }
}
