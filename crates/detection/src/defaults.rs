//! Every number that the detectors judge by, with where it comes from.

use model::Micros;

/// The constants of all detectors. `Default` is what a node runs with; an evaluation may run others.
///
/// *Table*: the detector table that the defaults were taken from, whose sources are the published thresholds and the synthetic runs
/// named in `docs/operating/detectors.md`. *Chosen*: by us, for the reason given; nobody published a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Novelty: a subject without a relationship. Table: p1 .6, floor .15 (at .05 there were 17.5 false alarms in 1,000 integration-days
    /// and at .15 6.4), h 18, 30 hits. Cap chosen: at .45, 63 strangers in a row still alarm, whatever the stream was taught.
    pub novelty: Ratio,
    /// Shift: strangers are more than what was learned, whatever that is, where novelty asks whether they are many. Chosen; what it
    /// finds and how often it is wrong is in `docs/detection.md`.
    pub shift: Increase,
    /// Enumeration: an id near one of the last. Table: p1 .7, floor .05, h 18, 50 hits. Cap chosen: at .6, 117 neighbours in a row alarm.
    pub enumeration: Ratio,
    /// Misses: a lookup that found nothing. Table: p1 .5, floor .05, h 18; 8 hits, which is what h asks for at the floor, so that one
    /// stream of an oracle alarms after nine requests. Cap chosen: at .4, 81 misses in a row alarm.
    pub misses: Ratio,
    /// Misses of a whole fleet before it alarms, all else as for a stream. Table: 30.
    pub fleet_hits_min: u16,
    /// How near two ids are neighbours. Table: 16.
    pub near: u32,
    /// Of the last `strong_of` judged, at least `strong_hits` make an alarm *strong*, and only strong ones may sever. Chosen: a backfill
    /// of 30 % strangers is strong once in 10^8 places, the attack of 85 % strangers at once.
    pub strong_hits: u32,
    /// See [`Defaults::strong_hits`]; at most 32.
    pub strong_of: u32,
    /// Misses of the last 32 distinct lookups that throttle and count as strong. Chosen: a bug that sends 60 % bad ids gets there once
    /// in 10^5 places and an oracle of 3 % hits at once; below it misses page only, because bad-id bugs come 22 times in 1,000
    /// integration-days and no window can announce them.
    pub misses_strong_of_32: u32,
    /// Distinct subjects held after an alarm that make the budget a second family, by the same share as [`Defaults::strong_hits`].
    pub held_min: u32,
    /// How near two families must be. Table: 15 minutes.
    pub together: Micros,
    /// How long a network counts as new, and its stream's thresholds are halved. Chosen: a day, so that one subject a minute is still
    /// judged by them when it alarms.
    pub new_for: Micros,
    /// A signal that stands is told again after this. Chosen.
    pub told_every: Micros,
    /// Distinct subjects within this are a volume. Table: 5 minutes.
    pub volume_span: Micros,
    /// How many times what is usual in that hour of the week. Table: 8.
    pub volume_ratio: u32,
    /// And at least so many. Table: 600.
    pub volume_floor: u32,
    /// Kinds of operation used for the first time within [`Defaults::recon_within`]. Table: 2 of 4, of which contracts name three: list,
    /// count, export.
    pub recon_kinds: u32,
    /// Table: 7 days; a credential younger than this is not judged.
    pub recon_within: Micros,
    /// Distinct users' tokens from one network within [`Defaults::tokens_within`]. Table: more than 20.
    pub tokens_min: u32,
    /// And more than so many times what is usual for the network. Table: 5.
    pub tokens_ratio: u32,
    /// Table: 10 minutes.
    pub tokens_within: Micros,
    /// Divergence (Jensen-Shannon, base 2, in thousandths) of two weeks that asks for certification anew. Table: 250.
    pub drift_permille: u32,
    /// Requests that a week needs to be compared. Chosen.
    pub drift_requests_min: u32,
    /// An operation or a class that a credential did not use for this long is used for the first time. Table: 30 days.
    pub first_seen_within: Micros,
    /// Credentials younger than this use everything for the first time. Chosen: a day.
    pub first_seen_after: Micros,
    /// Observations that a baseline is worth before it saw any. Chosen: an attacker who is there from the start has alarmed by then.
    pub prior: f32,
    /// Until so many were seen each one teaches at once, afterwards whole days do. Chosen.
    pub at_once: u32,
    /// What is known is as much as so many days teach, each no more than what taught at once. Chosen.
    pub days_kept: f32,
    /// Streams of (credential, network) kept; the least recently active is forgotten first. 5,000 credentials in 20 networks.
    pub streams_max: usize,
    /// Streams of (operation, fleet), and operations told apart.
    pub operations_max: usize,
    /// Integrations with a baseline.
    pub integrations_max: usize,
    /// Credentials whose kinds of operation are known.
    pub credentials_max: usize,
    /// Pairs of credential and operation whose last use is known.
    pub uses_max: usize,
    /// Networks whose number of users' tokens is known.
    pub networks_max: usize,
}

/// A Bernoulli CUSUM: alarms when the share of hits has gone from usual to bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Twice what is usual is never taken to be less than this.
    pub floor: f32,
    /// Nor more than this, whatever was learned.
    pub cap: f32,
    /// The share that is to be found.
    pub bad: f32,
    /// The score that alarms.
    pub h: f32,
    /// And at least so many hits since the score was last zero.
    pub hits_min: u16,
}

/// A Bernoulli CUSUM about what was learned: alarms when the share of hits has multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Increase {
    /// It is silent until so many were seen.
    pub known: f32,
    /// So many times what was learned is still usual.
    pub usual: f32,
    /// And so many standard deviations of what was learned: of few it is known the less surely.
    pub deviations: f32,
    /// And never less than this.
    pub floor: f32,
    /// Where more than this is usual it is silent, and novelty finds what there is to find.
    pub cap: f32,
    /// So many times what is still usual is to be found.
    pub bad: f32,
    /// The score that alarms.
    pub h: f32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            novelty: Ratio { floor: 0.15, cap: 0.45, bad: 0.6, h: 18.0, hits_min: 30 },
            shift: Increase {
                known: 1_000.0,
                usual: 1.1,
                deviations: 2.0,
                floor: 0.02,
                cap: 0.3,
                bad: 1.6,
                h: 10.0,
            },
            enumeration: Ratio { floor: 0.05, cap: 0.6, bad: 0.7, h: 18.0, hits_min: 50 },
            misses: Ratio { floor: 0.05, cap: 0.4, bad: 0.5, h: 18.0, hits_min: 8 },
            fleet_hits_min: 30,
            near: 16,
            strong_hits: 21,
            strong_of: 24,
            misses_strong_of_32: 31,
            held_min: 24,
            together: Micros::from_secs(900),
            new_for: Micros::from_secs(86_400),
            told_every: Micros::from_secs(900),
            volume_span: Micros::from_secs(300),
            volume_ratio: 8,
            volume_floor: 600,
            recon_kinds: 2,
            recon_within: Micros::from_secs(7 * 86_400),
            tokens_min: 20,
            tokens_ratio: 5,
            tokens_within: Micros::from_secs(600),
            drift_permille: 250,
            drift_requests_min: 1_000,
            first_seen_within: Micros::from_secs(30 * 86_400),
            first_seen_after: Micros::from_secs(86_400),
            prior: 200.0,
            at_once: 2_000,
            days_kept: 8.0,
            streams_max: 100_000,
            operations_max: 4_096,
            integrations_max: 8_192,
            credentials_max: 16_384,
            uses_max: 65_536,
            networks_max: 16_384,
        }
    }
}
