//! Weeks in which nobody attacks, told to the detectors themselves: how often is an alarm false?

use crate::benign::{Class, Event, Load, MINUTE, People};
use crate::watched::{Request, Seat, Watched};
use detection::{Containment, Defaults, Kind, Signal, Window, WindowKind, Windows};
use model::{ClientIp, IntegrationId, Micros, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Monday, 2026-03-02T00:00:00Z.
pub const BEGINS: UnixMicros = UnixMicros::from_secs(1_772_409_600);

const DAY: Micros = Micros::from_secs(86_400);

/// Subjects that each integration has to do with.
const RELATED: u64 = 10_000;
/// Subjects in all.
const COUNT: u64 = 10_000_000;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// Replays it.
    pub seed: u64,
    /// How many integrations, of the classes in their shares.
    pub integrations: u32,
    /// How many days.
    pub days: u32,
    /// Whether vendors announce their backfills, moves and campaigns, and operators approve that.
    pub windows: bool,
    /// Whether anything happens in operation.
    pub events: bool,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    /// Integrations times days.
    pub integration_days: u64,
    /// Requests that detectors were told of.
    pub requests: u64,
    /// Severances, and suspensions of a credential or an operation.
    pub severed: u64,
    /// Throttles and restrictions that were not in force already. One is lifted after a day.
    pub throttled: u64,
    /// Pages to people; one about the same integration by the same rule in a day.
    pub pages: u64,
    /// By rule, how often one that throttles or severs spoke.
    pub by_rule: BTreeMap<&'static str, u64>,
    /// What was severed, each in its signal's words.
    pub why: Vec<String>,
}

/// Plays it. None only if the operation's name were no name.
pub fn play(quiet: &Quiet, defaults: &Defaults) -> Option<Alarms> {
    let end = BEGINS + Micros(DAY.0 * u64::from(quiet.days));
    let events = if quiet.events { (BEGINS, end) } else { (BEGINS, BEGINS) };
    let mut all = Alarms::default();
    // Nothing of one integration depends on another but the fleet's streams; those of a class are played together.
    let total: u32 = Class::ALL.iter().map(|class| class.profile().share).sum();
    for class in Class::ALL {
        let seats = (quiet.integrations * class.profile().share).div_ceil(total);
        let mut players: Vec<(Seat, Load)> = (0..seats)
            .map(|n| {
                let people =
                    People { first: RELATED * u64::from(n), related: RELATED, count: COUNT };
                let name = format!("{} {n}", class.as_str());
                let load = Load::new(class, &name, quiet.seed, people, events);
                (Seat::new(n, class, load.peak(), BEGINS), load)
            })
            .collect();
        let related: Vec<(IntegrationId, u64, u64)> = players
            .iter()
            .zip(0..)
            .map(|((seat, _), n)| (seat.integration, RELATED * n, RELATED))
            .collect();
        let mut watched = Watched::new(defaults, "getAccount", Kind::Read, &related, BEGINS)?;
        watched.windows = match (class, quiet.windows) {
            (Class::Bulk, _) => nights(&players, quiet.days),
            (_, true) => announced(&players),
            (_, false) => Windows::default(),
        };
        // A nightly copy of 150 a second is half a million requests a night; a fiftieth of them is told.
        let density = if class == Class::Bulk { 0.02 } else { 1.0 };
        for (number, (seat, _)) in players.iter().enumerate() {
            watched.settle(seat, network(number, 0), BEGINS);
        }
        let mut counted = Counted::default();
        let mut minute = BEGINS;
        while minute < end {
            for (number, (seat, load)) in players.iter_mut().enumerate() {
                for ask in load.minute(minute, density) {
                    let network = network(number, ask.network);
                    let request =
                        Request { at: ask.at, network, subject: ask.subject, exists: ask.exists };
                    let came = watched.tell(seat, &request);
                    all.requests += 1;
                    for signal in &came.signals {
                        counted.count(seat.integration, signal, &mut all);
                    }
                }
            }
            minute = minute + MINUTE;
        }
        all.integration_days += u64::from(seats) * u64::from(quiet.days);
    }
    Some(all)
}

/// The network of an integration after so many moves.
fn network(number: usize, moves: u32) -> ClientIp {
    let part = |n: usize| u8::try_from(n % 250).unwrap_or(0);
    let moves = usize::try_from(moves).unwrap_or(0);
    ClientIp::from_peer([10, part(number), part(moves), 1].into())
}

fn announced(players: &[(Seat, Load)]) -> Windows {
    let mut windows = Vec::new();
    let operation = model::OperationId::new("getAccount");
    for (number, (seat, load)) in players.iter().enumerate() {
        let mut moves = 0;
        for happened in load.happened() {
            let kind = match (happened.event, &operation) {
                (Event::Backfill | Event::Campaign, Some(operation)) => {
                    WindowKind::Backfill { operation: operation.clone(), subjects_max: 1_000_000 }
                }
                (Event::Move, _) => {
                    moves += 1;
                    WindowKind::Address { network: to(network(number, moves)) }
                }
                (_, None) | (Event::RetryStorm | Event::BadIds | Event::MonthEnd, _) => continue,
            };
            let id = format!("{number} {}", windows.len());
            // An address that moves stays: its window is as long as its credential's memory of networks needs.
            let to = happened.to.max(happened.from + DAY);
            windows.push(Window {
                id,
                integration: seat.integration,
                kind,
                from: happened.from,
                to,
            });
        }
    }
    Windows::new(windows)
}

/// What is in the contract of a nightly copy: a window each night.
fn nights(players: &[(Seat, Load)], days: u32) -> Windows {
    let Some(operation) = model::OperationId::new("getAccount") else { return Windows::default() };
    let seats = players.iter().enumerate();
    let night = |(number, (seat, _)): (usize, &(Seat, Load))| Window {
        id: format!("{number} nightly"),
        integration: seat.integration,
        kind: WindowKind::Backfill { operation: operation.clone(), subjects_max: u32::MAX },
        from: BEGINS,
        to: BEGINS + Micros(DAY.0 * u64::from(days)),
    };
    Windows::new(seats.map(night).collect())
}

fn to(network: ClientIp) -> ipnet::IpNet {
    detection::NetworkGroup::of(network).net()
}

/// What is in force, by integration.
#[derive(Default)]
struct Counted {
    throttled: BTreeMap<IntegrationId, UnixMicros>,
    paged: BTreeMap<(IntegrationId, &'static str), UnixMicros>,
}

impl Counted {
    fn count(&mut self, integration: IntegrationId, signal: &Signal, all: &mut Alarms) {
        let rule = signal.rule();
        let is_over =
            |since: Option<&UnixMicros>| since.is_none_or(|since| signal.at.since(*since) >= DAY);
        let mut acts = false;
        for containment in &signal.containment {
            match containment {
                Containment::Throttle(_) | Containment::Restrict(_) => {
                    if is_over(self.throttled.get(&integration)) {
                        self.throttled.insert(integration, signal.at);
                        all.throttled += 1;
                        acts = true;
                    }
                }
                Containment::Sever(_)
                | Containment::SuspendCredential(_)
                | Containment::SuspendOperation(_)
                | Containment::RefuseNetwork(_) => {
                    all.severed += 1;
                    acts = true;
                    if all.why.len() < 10 {
                        all.why.push(signal.to_string());
                    }
                }
                Containment::Page | Containment::OpenCase => {
                    if is_over(self.paged.get(&(integration, rule))) {
                        self.paged.insert((integration, rule), signal.at);
                        all.pages += 1;
                    }
                }
            }
        }
        if acts {
            *all.by_rule.entry(rule).or_default() += 1;
        }
    }
}

impl Alarms {
    /// So many in 1,000 integration-days.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 * 1_000.0 / self.integration_days.max(1) as f64
    }

    /// Adds another run of it.
    pub fn add(&mut self, other: &Self) {
        self.integration_days += other.integration_days;
        self.requests += other.requests;
        self.severed += other.severed;
        self.throttled += other.throttled;
        self.pages += other.pages;
        for (rule, count) in &other.by_rule {
            *self.by_rule.entry(rule).or_default() += count;
        }
        self.why.extend(other.why.iter().cloned());
        self.why.truncate(10);
    }

    /// Pages in a week per 50 integrations.
    pub fn pages_a_week(&self) -> f64 {
        self.pages as f64 * 350.0 / self.integration_days.max(1) as f64
    }

    /// As a member of the scoreboard's JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "integration_days": self.integration_days,
            "requests": self.requests,
            "severed": self.severed,
            "throttled": self.throttled,
            "throttled_per_1000_integration_days": self.rate(self.throttled),
            "pages": self.pages,
            "pages_per_week_and_50_integrations": self.pages_a_week(),
            "by_rule": self.by_rule,
            "severed_why": self.why,
        })
    }
}
