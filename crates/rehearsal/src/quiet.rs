//! Weeks in which nobody attacks, told to the detectors themselves: how often is an alarm false?

use crate::benign::{Class, Event, Load, MINUTE, People};
use crate::dice;
use crate::span::seconds;
use crate::watched::{Request, Seat, Watched};
use detection::{Containment, Defaults, Signal, Window, WindowKind, Windows};
use model::{ClientIp, IntegrationId, Micros, OperationKind, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Monday, 2026-03-09T00:00:00Z: four weeks from here hold the end of a month.
pub const BEGINS: UnixMicros = UnixMicros::from_secs(1_773_014_400);

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
    /// Whether vendors announce their backfills and moves, and operators approve that. What comes again stands in contracts anyhow.
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
    /// Messages to people: what pages within a minute of the message before is gathered into the next, as the gateway does.
    pub pages: u64,
    /// By rule, how often one that throttles or severs spoke.
    pub by_rule: BTreeMap<&'static str, u64>,
    /// What throttled or severed, and what paged first in a message: the rule, the class and what happened there at the time.
    pub by_cause: BTreeMap<String, u64>,
    /// What was severed, each in its signal's words.
    pub why: Vec<String>,
}

/// Plays it. None only if the operation's name were no name.
pub fn play(quiet: &Quiet, defaults: &Defaults) -> Option<Alarms> {
    let end = BEGINS + Micros(DAY.0 * u64::from(quiet.days));
    let events = if quiet.events { (BEGINS, end) } else { (BEGINS, BEGINS) };
    let mut all = Alarms::default();
    let mut paging: Vec<(UnixMicros, String)> = Vec::new();
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
                (Seat::new(n, &load, BEGINS), load)
            })
            .collect();
        let related: Vec<(IntegrationId, u64, u64)> = players
            .iter()
            .zip(0..)
            .map(|((seat, _), n)| (seat.integration, RELATED * n, RELATED))
            .collect();
        let mut watched =
            Watched::new(defaults, "getAccount", OperationKind::Read, &related, BEGINS)?;
        watched.windows = if class == Class::Bulk {
            nights(&players, quiet.days)
        } else {
            agreed(&players, quiet.windows)
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
                        let cause = || {
                            let on = load.happened().iter().filter(|h| {
                                h.from <= ask.at && (ask.at < h.to || h.event == Event::Move)
                            });
                            let on: Vec<_> = on.map(|h| format!(", {:?}", h.event)).collect();
                            format!("{}: {}{}", signal.rule(), class.as_str(), on.concat())
                        };
                        if counted.count(seat.integration, signal, &mut all) {
                            *all.by_cause.entry(cause()).or_default() += 1;
                        }
                        if signal.containment.iter().any(is_for_people) {
                            paging.push((signal.at, format!("page by {}", cause())));
                        }
                    }
                }
            }
            minute = minute + MINUTE;
        }
        all.integration_days += u64::from(seats) * u64::from(quiet.days);
    }
    paging.sort();
    for cause in messages(&paging) {
        all.pages += 1;
        *all.by_cause.entry(cause.to_owned()).or_default() += 1;
    }
    Some(all)
}

fn is_for_people(containment: &Containment) -> bool {
    matches!(containment, Containment::Page | Containment::OpenCase)
}

/// The first cause of each message: one goes at once, and what comes within a minute of it waits for the next.
fn messages(paging: &[(UnixMicros, String)]) -> Vec<&str> {
    let mut causes = Vec::new();
    // When the last message went, or will go.
    let mut last: Option<UnixMicros> = None;
    for (at, cause) in paging {
        let next = match last {
            Some(last) if *at <= last => continue,
            Some(last) => (*at).max(last + MINUTE),
            None => *at,
        };
        last = Some(next);
        causes.push(cause.as_str());
    }
    causes
}

/// The network of an integration after so many moves.
fn network(number: usize, moves: u32) -> ClientIp {
    let part = |n: usize| u8::try_from(n % 250).unwrap_or(0);
    let moves = usize::try_from(moves).unwrap_or(0);
    ClientIp::from_peer([10, part(number), part(moves), 1].into())
}

/// A window is announced with so much time on either side.
const SLACK: Micros = Micros::from_secs(900);

/// What stands in contracts because it comes again: month ends and campaigns. And, if vendors announce what comes once, backfills and moves.
fn agreed(players: &[(Seat, Load)], announced: bool) -> Windows {
    let mut windows = Vec::new();
    let Some(operation) = model::OperationId::new("getAccount") else { return Windows::default() };
    for (number, (seat, load)) in players.iter().enumerate() {
        let mut moves = 0;
        for happened in load.happened() {
            let (from, mut to) = (UnixMicros(happened.from.0 - SLACK.0), happened.to + SLACK);
            let many = |rate: f64| {
                // Vendors declare half as much again as they expect to read.
                let expected = 1.5 * rate * seconds(happened.to.since(happened.from));
                let subjects_max =
                    u32::try_from(dice::micros(expected / 1e6).0).unwrap_or(u32::MAX);
                WindowKind::Backfill { operation: operation.clone(), subjects_max }
            };
            let kind = match happened.event {
                Event::MonthEnd => many(10.0 * load.peak()),
                Event::Campaign => many(50.0),
                Event::Backfill if announced => many(20.0 * load.peak()),
                Event::Move if announced => {
                    moves += 1;
                    // The last credential to be used from there is known by the next day.
                    to = to + DAY;
                    WindowKind::Address { network: network_group(network(number, moves)) }
                }
                Event::Backfill | Event::Move | Event::RetryStorm | Event::BadIds => continue,
            };
            let id = format!("{number} {}", windows.len());
            windows.push(Window { id, integration: seat.integration, kind, from, to });
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

fn network_group(network: ClientIp) -> ipnet::IpNet {
    detection::NetworkGroup::of(network).net()
}

/// What is in force, by integration.
#[derive(Default)]
struct Counted {
    throttled: BTreeMap<IntegrationId, UnixMicros>,
}

impl Counted {
    /// Whether the signal contained anything that was not contained already.
    fn count(&mut self, integration: IntegrationId, signal: &Signal, all: &mut Alarms) -> bool {
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
                Containment::Page | Containment::OpenCase => {}
            }
        }
        if acts {
            *all.by_rule.entry(rule).or_default() += 1;
        }
        acts
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
        for (cause, count) in &other.by_cause {
            *self.by_cause.entry(cause.clone()).or_default() += count;
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
            "by_cause": self.by_cause,
            "severed_why": self.why,
        })
    }
}
