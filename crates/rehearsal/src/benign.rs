//! Honest traffic: the mix of classes that detectors are judged by, minute by minute, from a seed.
//!
//! The classes, their rates and the operational events are a model and not a measurement; `docs/rehearsal.md` shows them as a
//! table. No public log of integrations' traffic was found to fit them to.

use crate::dice::{Dice, micros};
use model::{Micros, UnixMicros};
use serde::Deserialize;
use std::collections::VecDeque;

/// What kind of software an integration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A help desk: people look at the accounts they have a ticket of, in office hours.
    Ticket,
    /// A customer database that is kept up to date.
    Crm,
    /// A connector that acts for one user at a time.
    Ai,
    /// Invoices; ten times as many on the last day of a month.
    Billing,
    /// Campaigns: little, and a burst of 50 a second for one hour a week.
    Marketing,
    /// A nightly copy from 02:00 to 03:30, as its contract says.
    Bulk,
}

/// How a class behaves.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// How many integrations of 200 are of this class.
    pub share: u32,
    /// Requests a second at the day's peak; an integration's own is lognormal about it, sigma 0.5.
    pub peak: f64,
    /// Shape of the gamma factor by which a minute differs from another; 0: it does not.
    pub burst: f64,
    /// Share of requests for subjects without a relationship.
    pub novel: f64,
    /// Share of requests that find nothing.
    pub miss: f64,
    /// Share of requests for an id next to the one before.
    pub adjacent: f64,
    /// Share of the other requests that are for another subject than lately.
    pub distinct: f64,
    /// When.
    pub day: Day,
}

/// The shape of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// From 8 to 18 h, and a twentieth of it at other times and on weekends.
    Office,
    /// A mild sine, highest at 14 h.
    Mild,
    /// From 2:00 to 3:30 and at no other time.
    Night,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ticket, Self::Crm, Self::Ai, Self::Billing, Self::Marketing, Self::Bulk];

    /// How it behaves.
    pub fn profile(self) -> Profile {
        let p = |share, peak, burst, novel, miss, adjacent, distinct, day| Profile {
            share,
            peak,
            burst,
            novel,
            miss,
            adjacent,
            distinct,
            day,
        };
        match self {
            Self::Ticket => p(60, 0.3, 1.5, 0.03, 0.03, 0.002, 0.5, Day::Office),
            Self::Crm => p(50, 3.0, 3.0, 0.02, 0.01, 0.05, 0.8, Day::Mild),
            Self::Ai => p(40, 2.0, 2.0, 0.0, 0.02, 0.0, 0.1, Day::Mild),
            Self::Billing => p(15, 0.5, 2.0, 0.01, 0.005, 0.1, 0.95, Day::Mild),
            Self::Marketing => p(15, 0.05, 1.0, 0.1, 0.02, 0.3, 0.9, Day::Office),
            Self::Bulk => p(20, 150.0, 0.0, 0.03, 0.001, 0.98, 1.0, Day::Night),
        }
    }

    /// As files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Crm => "crm",
            Self::Ai => "ai",
            Self::Billing => "billing",
            Self::Marketing => "marketing",
            Self::Bulk => "bulk",
        }
    }
}

impl Day {
    /// The share of the peak at this moment. 1970-01-01 was a Thursday.
    pub fn level(self, at: UnixMicros) -> f64 {
        let (day, second) = (at.secs() / 86_400, at.secs() % 86_400);
        match self {
            Self::Office => {
                let weekend = matches!(day % 7, 2 | 3);
                let open = (8 * 3_600..18 * 3_600).contains(&second);
                if open && !weekend { 1.0 } else { 0.05 }
            }
            Self::Mild => {
                let hour = second as f64 / 3_600.0;
                0.7 + 0.3 * (std::f64::consts::TAU * (hour - 8.0) / 24.0).sin()
            }
            Self::Night => f64::from(u8::from((7_200..12_600).contains(&second))),
        }
    }
}

/// Something in an integration's operation that looks like an attack and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Twenty times the traffic for two hours, 30 % of it about subjects without a relationship.
    Backfill,
    /// Ten times the traffic for 10 to 30 minutes, 5 % of it new.
    RetryStorm,
    /// 60 % of requests find nothing, for 15 minutes.
    BadIds,
    /// From now on it comes from another network.
    Move,
    /// Ten times the traffic on the last day of a month.
    MonthEnd,
    /// 50 requests a second for an hour.
    Campaign,
}

/// When an event was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub event: Event,
    /// Its first moment.
    pub from: UnixMicros,
    /// The first moment after it.
    pub to: UnixMicros,
}

/// Mean days between an event's occurrences in one integration, and its shortest and longest length in minutes.
const OPERATION: [(Event, f64, u64, u64); 4] = [
    (Event::Backfill, 60.0, 120, 120),
    (Event::RetryStorm, 20.0, 10, 30),
    (Event::BadIds, 45.0, 15, 15),
    (Event::Move, 90.0, 0, 0),
];

/// A minute.
pub const MINUTE: Micros = Micros::from_secs(60);

/// Subjects asked for lately, which a request that is for no other is for one of.
const LATELY: usize = 64;

/// One request of honest software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// When.
    pub at: UnixMicros,
    /// The number of the subject it asks for.
    pub subject: u64,
    /// Whether there is such a subject.
    pub exists: bool,
    /// From which of its networks.
    pub network: u32,
}

/// The traffic of one integration.
pub struct Load {
    class: Class,
    rate: f64,
    people: People,
    dice: Dice,
    happened: Vec<Happened>,
    lately: VecDeque<u64>,
    last: u64,
}

/// Whom an integration asks for.
#[derive(Clone, Copy, Debug)]
pub struct People {
    /// The first number it has a relationship with.
    pub first: u64,
    /// How many from there on.
    pub related: u64,
    /// How many there are in all, from number 0 on.
    pub count: u64,
}

impl People {
    /// Whether there is a relationship with this one.
    pub fn is_related(&self, number: u64) -> bool {
        number.checked_sub(self.first).is_some_and(|at| at < self.related)
    }
}

impl Load {
    /// The traffic of the integration called `name`. `events`: the window in which operational events fall; none if it is empty.
    pub fn new(
        class: Class,
        name: &str,
        seed: u64,
        people: People,
        events: (UnixMicros, UnixMicros),
    ) -> Self {
        let mut dice = Dice::new(seed, name);
        let rate = class.profile().peak * (0.5 * dice.normal()).exp();
        let happened = happen(class, &mut dice, events);
        Self { class, rate, people, dice, happened, lately: VecDeque::new(), last: people.first }
    }

    /// What happens in its operation, in order of event and time.
    pub fn happened(&self) -> &[Happened] {
        &self.happened
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The same integration on other days, on which nothing happens.
    pub fn undisturbed(&self) -> Self {
        let mut dice = self.dice.clone();
        let dice = Dice::new(dice.draw(), "other days");
        let (lately, happened) = (VecDeque::new(), Vec::new());
        Self { dice, lately, happened, last: self.people.first, ..*self }
    }

    /// Requests a second at its peak.
    pub fn peak(&self) -> f64 {
        self.rate
    }

    /// The expected requests a second in the hour of `at`, without events: what a learned expectation would be.
    pub fn expected(&self, at: UnixMicros) -> f64 {
        self.rate * self.class.profile().day.level(at)
    }

    /// The requests of the minute that begins at `from`, in order. `density`: which share of them is wanted.
    pub fn minute(&mut self, from: UnixMicros, density: f64) -> Vec<Ask> {
        let on = |event| {
            let is = |h: &&Happened| h.event == event && h.from <= from && from < h.to;
            self.happened.iter().any(|h| is(&h))
        };
        let mut profile = self.class.profile();
        let mut rate = self.rate * profile.day.level(from);
        if on(Event::Backfill) {
            (rate, profile.novel, profile.distinct) = (rate * 20.0, 0.3, 1.0);
        }
        if on(Event::RetryStorm) {
            (rate, profile.distinct, profile.novel) = (rate * 10.0, 0.05, profile.novel * 0.05);
        }
        if on(Event::BadIds) {
            profile.miss = 0.6;
        }
        if on(Event::MonthEnd) {
            rate *= 10.0;
        }
        if on(Event::Campaign) {
            rate = 50.0;
        }
        if profile.burst > 0.0 {
            rate *= self.dice.gamma(profile.burst);
        }
        let moves = self.happened.iter().filter(|h| h.event == Event::Move && h.from <= from);
        let network = u32::try_from(moves.count()).unwrap_or(0);
        let count = self.dice.poisson(rate * 60.0 * density);
        let mut asks: Vec<Ask> = (0..count).map(|_| self.ask(from, &profile, network)).collect();
        asks.sort_by_key(|ask| ask.at);
        asks
    }

    fn ask(&mut self, from: UnixMicros, profile: &Profile, network: u32) -> Ask {
        let at = from + Micros(self.dice.below(MINUTE.0));
        let People { first, related, count } = self.people;
        if self.dice.chance(profile.miss) {
            let subject = count + self.dice.below(count);
            return Ask { at, subject, exists: false, network };
        }
        let subject = if self.dice.chance(profile.novel) && related < count {
            (first + related + self.dice.below(count - related)) % count
        } else if self.dice.chance(profile.adjacent) {
            first + (self.last.saturating_sub(first) + 1) % related.max(1)
        } else if self.dice.chance(profile.distinct) || self.lately.is_empty() {
            first + self.dice.below(related)
        } else {
            let at = self.dice.below(self.lately.len() as u64);
            usize::try_from(at).ok().and_then(|at| self.lately.get(at)).copied().unwrap_or(first)
        };
        let subject = subject % count;
        self.last = subject;
        // Strangers are not asked for again, so that their share is what it is said to be.
        if self.people.is_related(subject) {
            self.lately.push_back(subject);
        }
        if self.lately.len() > LATELY {
            self.lately.pop_front();
        }
        Ask { at, subject, exists: true, network }
    }
}

fn happen(class: Class, dice: &mut Dice, (from, to): (UnixMicros, UnixMicros)) -> Vec<Happened> {
    let mut happened = Vec::new();
    for (event, days, shortest, longest) in OPERATION {
        let mut at = from + dice.exponential(1.0 / (days * 86_400.0));
        while at < to {
            let minutes = shortest + dice.below(longest - shortest + 1);
            let length = Micros(minutes * MINUTE.0);
            happened.push(Happened { event, from: at, to: at + length });
            at = at + length + dice.exponential(1.0 / (days * 86_400.0));
        }
    }
    let day = Micros::from_secs(86_400);
    let mut midnight = UnixMicros(from.0 - from.0 % day.0);
    while midnight < to && class == Class::Billing {
        // The day before a first of a month: its date, as times are written, ends in `-01`.
        if (midnight + day).to_string().get(8..10) == Some("01") {
            happened.push(Happened { event: Event::MonthEnd, from: midnight, to: midnight + day });
        }
        midnight = midnight + day;
    }
    let week = Micros::from_secs(7 * 86_400);
    let mut at = from + Micros(dice.below(week.0));
    while at < to && class == Class::Marketing {
        let to = at + micros(3_600.0);
        happened.push(Happened { event: Event::Campaign, from: at, to });
        at = at + week;
    }
    happened
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Monday, 2026-03-02T00:00:00Z.
    const MONDAY: UnixMicros = UnixMicros::from_secs(1_772_409_600);
    const PEOPLE: People = People { first: 0, related: 10_000, count: 100_000 };
    const QUIET: (UnixMicros, UnixMicros) = (MONDAY, MONDAY);

    fn day(class: Class, seed: u64, density: f64) -> Vec<Ask> {
        let mut load = Load::new(class, "one", seed, PEOPLE, QUIET);
        (0..1_440).flat_map(|n| load.minute(MONDAY + Micros(n * MINUTE.0), density)).collect()
    }

    #[test]
    fn a_day_has_the_shares_of_its_class() {
        for class in Class::ALL {
            let (mut asked, mut novel, mut missed) = (0.0, 0.0, 0.0);
            let mut expected = 0.0;
            for seed in 0..6 {
                let mut load = Load::new(class, "one", seed, PEOPLE, QUIET);
                for minute in 0..1_440 {
                    let at = MONDAY + Micros(minute * MINUTE.0);
                    expected += load.expected(at) * 60.0 * 0.2;
                    for ask in load.minute(at, 0.2) {
                        asked += 1.0;
                        missed += f64::from(u8::from(!ask.exists));
                        novel += f64::from(u8::from(ask.exists && !PEOPLE.is_related(ask.subject)));
                    }
                }
            }
            let profile = class.profile();
            let close = |got: f64, wanted: f64, slack: f64| (got - wanted).abs() <= slack;
            assert!(close(asked / expected, 1.0, 0.12), "{class:?}: {asked} of {expected}");
            assert!(close(missed / asked, profile.miss, 0.01), "{class:?} misses");
            assert!(close(novel / asked, profile.novel, 0.02), "{class:?} novel");
        }
    }

    #[test]
    fn office_hours_and_nights_are_kept() {
        assert_eq!(Day::Office.level(MONDAY), 0.05);
        assert_eq!(Day::Office.level(MONDAY + Micros::from_secs(9 * 3_600)), 1.0);
        assert_eq!(Day::Office.level(MONDAY - Micros::from_secs(12 * 3_600)), 0.05, "Sunday noon");
        assert_eq!(Day::Office.level(MONDAY - Micros::from_secs(60 * 3_600)), 1.0, "Friday noon");
        assert!(day(Class::Bulk, 1, 0.01).iter().all(|ask| Day::Night.level(ask.at) == 1.0));
    }

    #[test]
    fn events_come_about_as_often_as_they_are_said_to() {
        let year = (MONDAY, MONDAY + Micros::from_secs(360 * 86_400));
        let mut counts = [0_u32; 4];
        for n in 0..200 {
            let load = Load::new(Class::Crm, &format!("crm {n}"), 7, PEOPLE, year);
            for happened in load.happened() {
                if let Some(at) = OPERATION.iter().position(|o| o.0 == happened.event) {
                    counts[at] += 1;
                }
            }
        }
        for ((_, days, ..), count) in OPERATION.iter().zip(counts) {
            let expected = 200.0 * 360.0 / days;
            assert!((f64::from(count) / expected - 1.0).abs() < 0.1, "{count} of {expected}");
        }
        let month_ends = Load::new(Class::Billing, "b", 7, PEOPLE, year);
        let ends = month_ends.happened().iter().filter(|h| h.event == Event::MonthEnd).count();
        assert_eq!(ends, 11);
    }

    proptest! {
        #[test]
        fn a_seed_makes_one_day_and_another_makes_another(seed: u64) {
            prop_assert_eq!(day(Class::Ticket, seed, 0.2), day(Class::Ticket, seed, 0.2));
            prop_assert_ne!(day(Class::Ticket, seed, 0.2), day(Class::Ticket, seed ^ 1, 0.2));
        }

        #[test]
        fn asks_are_in_order_and_of_people_there_are(seed: u64, minute in 0_u64..10_080) {
            for class in Class::ALL {
                let from = MONDAY + Micros(minute * MINUTE.0);
                let asks = Load::new(class, "one", seed, PEOPLE, QUIET).minute(from, 0.05);
                prop_assert!(asks.iter().all(|ask| from <= ask.at && ask.at < from + MINUTE));
                prop_assert!(asks.iter().all(|ask| ask.exists == (ask.subject < PEOPLE.count)));
                prop_assert!(asks.is_sorted_by_key(|ask| ask.at));
            }
        }
    }
}
