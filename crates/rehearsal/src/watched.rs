//! Budgets, habits and detectors, told of requests as a gateway would tell them, and of nothing else. For what is too much to go over
//! sockets: four weeks of two hundred integrations, and thousands of attacks.
//!
//! What is contained here stops nobody: a throttled integration asks on as before. False alarms are so counted as if every one were the first.

use crate::benign::{Class, Load, MINUTE};
use crate::quiet::BEGINS;
use detection::{
    Allowances, Asked, Defaults, Detectors, Draw, Event, ExposureBudgets, Habits, Inner, KeyedHash,
    Observation, Signal, Unusual, Use, Windows,
};
use model::{
    Budget, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId, Micros, OperationId,
    OperationKind, SubjectOrdinal, UnixMicros,
};
use std::collections::HashSet;

/// One integration: a key, a grant, a budget, people it has to do with.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Its id.
    pub integration: IntegrationId,
    /// Its key.
    pub credential: CredentialId,
    /// Its grant.
    pub grant: GrantId,
    /// That grant's budget.
    pub budget: Budget,
    /// Whether its subjects' consents name them.
    pub names_subjects: bool,
}

impl Seat {
    /// The integration with this number, made `now`, whose traffic is like `load`.
    ///
    /// The budget is what an operator sets who looked at three working days of it: five times the 99th percentile of a minute's distinct
    /// subjects, at least 60, three times that of an hour and of a day. What a contract says of nights, month ends and campaigns are
    /// windows and not in it; of a nightly copy, which is told in part, the budget is the window's.
    pub fn new(number: u32, load: &Load, now: UnixMicros) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        let unique = [a, b, c, d, 0, 0, 0, 0, 0, 0];
        let class = load.class();
        let budget = if class == Class::Bulk {
            Budget { burst: u32::MAX, hour: u32::MAX, day: u32::MAX }
        } else {
            let [minute, hour, day] = usual(load);
            let limit = |times: usize, count: usize| {
                u32::try_from(times.saturating_mul(count).max(60)).unwrap_or(u32::MAX)
            };
            Budget { burst: limit(5, minute), hour: limit(3, hour), day: limit(3, day) }
        };
        Self {
            integration: IntegrationId::new(now, unique),
            credential: CredentialId::new(now, unique),
            grant: GrantId::new(now, unique),
            budget,
            names_subjects: class == Class::Ai,
        }
    }
}

/// The 99th percentile of distinct subjects in a minute, an hour and a day, of three working days without events.
fn usual(load: &Load) -> [usize; 3] {
    let mut load = load.undisturbed();
    let mut counts: [Vec<usize>; 3] = Default::default();
    let mut sets: [HashSet<u64>; 3] = Default::default();
    for minute in 1..=3 * 1_440_u64 {
        let from = BEGINS + Micros((minute - 1) * MINUTE.0);
        for ask in load.minute(from, 1.0).iter().filter(|ask| ask.exists) {
            for set in &mut sets {
                set.insert(ask.subject);
            }
        }
        for ((counts, set), length) in counts.iter_mut().zip(&mut sets).zip([1, 60, 1_440]) {
            if minute.is_multiple_of(length) {
                counts.push(set.len());
                set.clear();
            }
        }
    }
    counts.map(|mut counts| {
        counts.sort_unstable();
        let at = (counts.len() * 99).div_ceil(100).saturating_sub(1);
        counts.get(at).copied().unwrap_or(0)
    })
}

/// One request that passed authentication.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When.
    pub at: UnixMicros,
    /// From where.
    pub network: ClientIp,
    /// The number of the subject asked for.
    pub subject: u64,
    /// Whether it exists.
    pub exists: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// Whether the record left.
    pub released: bool,
    /// What was signalled.
    pub signals: Vec<Signal>,
}

/// The state of a node's detectors and budgets.
pub struct Watched {
    detectors: Detectors,
    budgets: ExposureBudgets,
    allowances: Allowances,
    habits: Habits,
    hash: KeyedHash,
    operation: OperationId,
    kind: OperationKind,
    /// What operators approved.
    pub windows: Windows,
}

impl Watched {
    /// Detectors with these defaults, which have seen nothing. None if `operation` is no operation's name.
    ///
    /// `related`: of each integration, the numbers of the subjects it has to do with, from the first, how many.
    pub fn new(
        defaults: &Defaults,
        operation: &str,
        kind: OperationKind,
        related: &[(IntegrationId, u64, u64)],
        now: UnixMicros,
    ) -> Option<Self> {
        let hash = KeyedHash::new(*b"a rehearsal only");
        let mut detectors = Detectors::new(defaults);
        let pairs: u64 = related.iter().map(|(.., count)| count).sum();
        detectors.make_room(usize::try_from(pairs).unwrap_or(usize::MAX));
        for (integration, first, count) in related {
            let numbers = *first..first + count;
            let pairs: Vec<_> = numbers.map(|n| (*integration, key(hash, n))).collect();
            detectors.import(&pairs, now);
        }
        let operation = OperationId::new(operation)?;
        let (budgets, habits) = (ExposureBudgets::default(), Habits::default());
        Some(Self {
            detectors,
            budgets,
            allowances: Allowances::default(),
            habits,
            hash,
            operation,
            kind,
            windows: Windows::default(),
        })
    }

    /// Tells of one request, as the gateway would.
    pub fn tell(&mut self, seat: &Seat, request: &Request) -> Came {
        let Request { at, network, subject, exists } = *request;
        let mut came = Came::default();
        let used = Use { credential: seat.credential, grant: seat.grant, network, at };
        match self.habits.observe(&used, true) {
            Some(Unusual::NewNetwork)
                if !self.windows.announce_network(seat.integration, network, at) =>
            {
                let event = Event::NewNetwork { credential: seat.credential, network };
                came.signals.extend(self.detectors.event(&event, at));
            }
            Some(Unusual::Asleep { idle_days }) => {
                let event = Event::Dormant { credential: seat.credential, idle_days };
                came.signals.extend(self.detectors.event(&event, at));
                return came;
            }
            Some(Unusual::NewNetwork) | None => {}
        }
        let ordinal = SubjectOrdinal(u32::try_from(subject).unwrap_or(u32::MAX));
        let asked = [Asked { ordinal, place: subject, key: key(self.hash, subject) }];
        let mut outcome = if exists { Inner::Released } else { Inner::NotFound };
        if exists {
            let draw = Draw {
                integration: seat.integration,
                grant: seat.grant,
                operation: &self.operation,
                at,
            };
            let Self { windows, budgets, allowances, .. } = &*self;
            let charged = allowances.charge(windows, budgets, draw, &seat.budget, &[ordinal]);
            if let Err(hold) = charged {
                outcome = Inner::Held;
                let event =
                    Event::BudgetHold { credential: seat.credential, grant: seat.grant, hold };
                came.signals.extend(self.detectors.event(&event, at));
            }
        }
        let seen = Observation {
            at,
            integration: seat.integration,
            credential: seat.credential,
            grant: seat.grant,
            network,
            token: None,
            is_bearer: false,
            is_doubtful: false,
            names_subjects: seat.names_subjects,
            operation: &self.operation,
            kind: self.kind,
            outcome,
            subjects: if exists { &asked } else { &[] },
            classes: ClassSet::EMPTY,
            probe: Some(key(self.hash, subject)),
        };
        came.signals.extend(self.detectors.fold(&seen, &self.windows));
        came.released = outcome == Inner::Released;
        came
    }

    /// Puts the credential's own network among what is usual, so that its first request from there is nothing new.
    pub fn settle(&mut self, seat: &Seat, network: ClientIp, at: UnixMicros) {
        let used = Use { credential: seat.credential, grant: seat.grant, network, at };
        self.habits.replay(&used);
    }
}

fn key(hash: KeyedHash, number: u64) -> u64 {
    hash.of(&number.to_be_bytes())
}
