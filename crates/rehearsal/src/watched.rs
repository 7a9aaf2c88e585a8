//! Budgets, habits and detectors, told of requests as a gateway would tell them, and of nothing else. For what is too much to go over
//! sockets: four weeks of two hundred integrations, and thousands of attacks.
//!
//! What is contained here stops nobody: a throttled integration asks on as before. False alarms are so counted as if every one were the first.

use crate::benign::{Class, Day};
use detection::{
    Asked, Defaults, Detectors, Event, ExposureBudgets, Habits, Inner, KeyedHash, Kind,
    Observation, Signal, Unusual, Use, Windows,
};
use model::{
    Budget, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId, OperationId, SubjectOrdinal,
    UnixMicros,
};

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
    /// The integration with this number, made `now`, of a class whose peak is `rate` requests a second.
    ///
    /// The budget is what the default asks for: five times the 99th percentile of a minute, three times that of an hour and of a day, with
    /// what the class's contract says of its nights, month ends and campaigns.
    pub fn new(number: u32, class: Class, rate: f64, now: UnixMicros) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        let unique = [a, b, c, d, 0, 0, 0, 0, 0, 0];
        let profile = class.profile();
        // A gamma minute of shape 1.5 has its 99th percentile at 3.8 times the mean; hours and days are nearer to theirs.
        let distinct = rate * (profile.distinct + profile.novel);
        let hours = if profile.day == Day::Office { 10.0 } else { 24.0 };
        let busy = match class {
            Class::Billing => 10.0,
            Class::Ticket | Class::Crm | Class::Ai | Class::Marketing | Class::Bulk => 1.0,
        };
        let limit = |number: f64| {
            u32::try_from(crate::dice::micros(number.max(60.0) / 1e6).0).unwrap_or(u32::MAX)
        };
        let budget = match class {
            Class::Marketing => Budget { burst: 6_000, hour: 250_000, day: 250_000 },
            Class::Bulk => Budget { burst: u32::MAX, hour: u32::MAX, day: u32::MAX },
            Class::Ticket | Class::Crm | Class::Ai | Class::Billing => Budget {
                burst: limit(5.0 * 3.8 * 60.0 * distinct * busy),
                hour: limit(3.0 * 1.6 * 3_600.0 * distinct * busy),
                day: limit(3.0 * 1.2 * 3_600.0 * hours * distinct * busy),
            },
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
    habits: Habits,
    hash: KeyedHash,
    operation: OperationId,
    kind: Kind,
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
        kind: Kind,
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
            let budget = self.windows.widen(seat.budget, seat.integration, at);
            if let Err(hold) = self.budgets.charge(seat.grant, &budget, &[ordinal], at) {
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
