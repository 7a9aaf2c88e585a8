//! One attack upon one integration, told to the detectors themselves: how soon, and what was gone by then?

use crate::benign::{Class, Load, MINUTE, People};
use crate::dice::{Dice, micros};
use crate::quiet::BEGINS;
use crate::span::seconds;
use crate::watched::{Request, Seat, Watched};
use detection::{Containment, Defaults, Signal};
use model::{ClientIp, Micros, OperationKind};
use std::collections::BTreeSet;

/// Honest traffic before the attack, which so begins on a Tuesday at ten.
const BEFORE: Micros = Micros::from_secs(34 * 3_600);

/// Requests after which an attack that nobody saw is given up, and how long it goes on at most.
const REQUESTS_MAX: u64 = 300_000;

const PEOPLE: People = People { first: 0, related: 10_000, count: 10_000_000 };

/// What an attacker asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Anybody.
    Random,
    /// People whom the tool knows, one after another.
    Sequential,
    /// Invented ids, of which this share exist.
    Lookup(f64),
    /// Anybody, and in this share of requests people whom the tool knows.
    Mixed(f64),
}

/// An attack.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Whom it is upon.
    pub host: Class,
    /// What it asks for.
    pub pattern: Pattern,
    /// Requests a second.
    pub rate: f64,
    /// From how many networks, each of which is used for an equal part of the time; 0: from the host's own.
    pub networks: u32,
    /// How long.
    pub lasts: Micros,
    /// Replays it.
    pub seed: u64,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Seconds to the first signal.
    pub detected_s: Option<f64>,
    /// Seconds to the first that throttles, restricts, suspends or severs.
    pub contained_s: Option<f64>,
    /// By which rule.
    pub rule: Option<&'static str>,
    /// Distinct subjects that had left by then, or in all.
    pub subjects: u64,
    /// How many of them were strangers to the tool.
    pub strangers: u64,
    /// Requests until then, or in all.
    pub requests: u64,
}

/// Whether a signal stops somebody.
pub fn stops(signal: &Signal) -> bool {
    signal.containment.iter().any(|containment| match containment {
        Containment::Throttle(_)
        | Containment::Restrict(_)
        | Containment::SuspendCredential(_)
        | Containment::SuspendOperation(_)
        | Containment::Sever(_)
        | Containment::RefuseNetwork(_) => true,
        Containment::Page | Containment::OpenCase => false,
    })
}

/// Plays it, until it is contained. None only if the operation's name were no name.
pub fn play(trial: &Trial, defaults: &Defaults) -> Option<Found> {
    let Trial { host, pattern, rate, networks, lasts, seed } = *trial;
    let mut load = Load::new(host, "host", seed, PEOPLE, (BEGINS, BEGINS));
    let seat = Seat::new(0, &load, BEGINS);
    let related = [(seat.integration, PEOPLE.first, PEOPLE.related)];
    let kind = if matches!(pattern, Pattern::Lookup(_)) {
        OperationKind::Search
    } else {
        OperationKind::Read
    };
    let mut watched = Watched::new(defaults, "getAccount", kind, &related, BEGINS)?;
    let home = ClientIp::from_peer([10, 0, 0, 1].into());
    watched.settle(&seat, home, BEGINS);

    let begin = BEGINS + BEFORE;
    let requests_max = REQUESTS_MAX.min(micros(rate * seconds(lasts) / 1e6).0.max(1));
    let mut dice = Dice::new(seed, "attack");
    let mut found = Found::default();
    let (mut taken, mut strangers) = (BTreeSet::new(), BTreeSet::new());
    let mut minute = BEGINS;
    while found.requests < requests_max {
        let asks = load.minute(minute, 1.0);
        let mut honest = asks.iter().peekable();
        loop {
            let at = begin + micros(found.requests as f64 / rate);
            let is_next = at < minute + MINUTE && found.requests < requests_max;
            let ask = honest.next_if(|ask| !is_next || ask.at <= at);
            if ask.is_none() && !is_next {
                break;
            }
            let request = ask.map_or_else(
                || {
                    let (subject, exists) = invent(pattern, found.requests, &mut dice);
                    let network = match networks {
                        0 => home,
                        many => abroad(at.since(begin), lasts, many),
                    };
                    Request { at, network, subject, exists }
                },
                |ask| Request {
                    at: ask.at,
                    network: home,
                    subject: ask.subject,
                    exists: ask.exists,
                },
            );
            let came = watched.tell(&seat, &request);
            if ask.is_none() {
                found.requests += 1;
                if came.released {
                    taken.insert(request.subject);
                    if !PEOPLE.is_related(request.subject) {
                        strangers.insert(request.subject);
                    }
                }
            }
            if request.at < begin {
                continue;
            }
            // Whoever's request completes it, it stops both.
            if !came.signals.is_empty() {
                found.detected_s.get_or_insert(seconds(request.at.since(begin)));
            }
            if let Some(signal) = came.signals.iter().find(|signal| stops(signal)) {
                found.contained_s = Some(seconds(request.at.since(begin)));
                found.rule = Some(signal.rule());
                found.subjects = taken.len() as u64;
                found.strangers = strangers.len() as u64;
                return Some(found);
            }
        }
        minute = minute + MINUTE;
    }
    found.subjects = taken.len() as u64;
    found.strangers = strangers.len() as u64;
    Some(found)
}

fn invent(pattern: Pattern, number: u64, dice: &mut Dice) -> (u64, bool) {
    let anybody = dice.below(PEOPLE.count);
    match pattern {
        Pattern::Random => (anybody, true),
        Pattern::Sequential => (number % PEOPLE.related, true),
        Pattern::Lookup(hits) if dice.chance(hits) => (anybody, true),
        Pattern::Lookup(_) => (PEOPLE.count + anybody, false),
        Pattern::Mixed(known) if dice.chance(known) => (dice.below(PEOPLE.related), true),
        Pattern::Mixed(_) => (anybody, true),
    }
}

/// The attacker's address so long after the beginning.
fn abroad(since: Micros, lasts: Micros, networks: u32) -> ClientIp {
    let part = lasts.0 / u64::from(networks.max(1));
    let turn = since.0.checked_div(part).unwrap_or(0);
    let low = u8::try_from(turn % 250).unwrap_or(0);
    let high = u8::try_from(turn / 250 % 250).unwrap_or(0);
    ClientIp::from_peer([203, high, low, 7].into())
}

/// The middle value, and the 5th and 95th percentile; none of nothing.
pub fn spread(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values.get((values.len().checked_sub(1)? * share + 50) / 100).copied();
    Some([at(5)?, at(50)?, at(95)?])
}

/// The 95 % interval of a share, by Wilson's score.
pub fn interval(hits: u64, of: u64) -> [f64; 2] {
    if of == 0 {
        return [0.0, 1.0];
    }
    let (n, p, z) = (of as f64, hits as f64 / of as f64, 1.96_f64);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// The 95 % interval of a rate of so many events in so much, by the square-root approximation.
pub fn rate_interval(events: u64, exposure: f64) -> [f64; 2] {
    let root = (events as f64).sqrt();
    let low = (root - 0.98).max(0.0).powi(2);
    let high = ((events as f64 + 1.0).sqrt() + 0.98).powi(2);
    [low / exposure, high / exposure]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_their_shares() {
        let [low, high] = interval(8, 10);
        assert!(low > 0.4 && low < 0.8 && high > 0.8 && high < 1.0, "{low} {high}");
        assert_eq!(interval(0, 0), [0.0, 1.0]);
        let [low, high] = rate_interval(0, 1_000.0);
        assert!(low == 0.0 && high > 0.0025 && high < 0.005, "{high}");
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some([1.0, 2.0, 3.0]));
        assert_eq!(spread(Vec::new()), None);
    }
}
