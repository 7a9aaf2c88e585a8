//! What is usual: learned from what was seen, slowly, so that nobody teaches it in an hour.

use crate::defaults::{Defaults, Increase, Ratio};
use crate::distinct::Distinct;
use model::{ClassSet, UnixMicros};

const HOURS: usize = 168;
const BINS: usize = 64;

/// A share of hits, learned. Until two thousand were seen each one teaches at once; then a day teaches when it is over, as two thousand do at
/// most, and what eight such days taught is all that is kept. A day with an alarm teaches nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    hits: f32,
    seen: f32,
    today: Today,
}

/// A share, and of how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) share: f32,
    pub(crate) of: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Today {
    day: u32,
    hits: u32,
    seen: u32,
    has_alarmed: bool,
}

impl Learned {
    /// The share, as if so many as `prior` had been seen before at half the rule's floor.
    pub(crate) fn usual(&self, rule: &Ratio, defaults: &Defaults) -> f32 {
        let prior = defaults.prior;
        (prior * rule.floor / 2.0 + self.hits) / (prior + self.seen)
    }

    /// The share as it was seen, without anything assumed; none of few.
    pub(crate) fn measured(&self, rule: &Increase) -> Option<Measured> {
        (self.seen >= rule.known).then(|| Measured { share: self.hits / self.seen, of: self.seen })
    }

    pub(crate) fn teach(
        &mut self,
        is_hit: bool,
        is_alarmed: bool,
        at: UnixMicros,
        defaults: &Defaults,
    ) {
        let day = u32::try_from(at.secs() / 86_400).unwrap_or(u32::MAX);
        if day > self.today.day {
            self.end_of_day(defaults);
            self.today = Today { day, ..Today::default() };
        }
        #[expect(clippy::cast_precision_loss, reason = "a small constant")]
        let at_once = defaults.at_once as f32;
        if is_alarmed {
            self.today.has_alarmed = true;
        } else if self.seen < at_once {
            self.seen += 1.0;
            self.hits += f32::from(u8::from(is_hit));
        } else {
            self.today.seen = self.today.seen.saturating_add(1);
            self.today.hits = self.today.hits.saturating_add(u32::from(is_hit));
        }
    }

    fn end_of_day(&mut self, defaults: &Defaults) {
        let Today { hits, seen, has_alarmed, .. } = self.today;
        if has_alarmed || seen == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
        let (hits, seen, at_once) = (hits as f32, seen as f32, defaults.at_once as f32);
        let weight = seen.min(at_once);
        self.hits += weight * hits / seen;
        self.seen += weight;
        // What was learned long ago fades.
        let most = at_once * defaults.days_kept;
        if self.seen > most {
            self.hits *= most / self.seen;
            self.seen = most;
        }
    }
}

/// What one integration usually does. About 900 bytes, what each request asks for first.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Baseline {
    pub(crate) novelty: Learned,
    pub(crate) enumeration: Learned,
    pub(crate) misses: Learned,
    week: u32,
    this_week: [u32; BINS],
    /// Distinct subjects of a stream in five minutes, by the hour of the week; 0 if nothing was seen in that hour.
    hours: [u16; HOURS],
    weeks_before: [f32; BINS],
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            novelty: Learned::default(),
            enumeration: Learned::default(),
            misses: Learned::default(),
            hours: [0; HOURS],
            week: 0,
            this_week: [0; BINS],
            weeks_before: [0.0; BINS],
        }
    }
}

impl Baseline {
    /// Distinct subjects that a stream reads at this hour of the week, or on average if nothing is known of the hour; none until a day's
    /// worth of hours is known.
    pub(crate) fn expected(&self, at: UnixMicros) -> Option<u32> {
        let known = self.hours.iter().filter(|count| **count > 0).count();
        let sum: u32 = self.hours.iter().map(|count| u32::from(*count)).sum();
        let mean = sum.checked_div(u32::try_from(known).ok()?)?;
        let here = self.hours.get(hour_of_week(at)).copied().map_or(0, u32::from);
        (known >= 24).then_some(if here == 0 { mean } else { here })
    }

    /// Learns what a stream read in one span.
    pub(crate) fn teach_volume(&mut self, count: u32, at: UnixMicros) {
        let Some(hour) = self.hours.get_mut(hour_of_week(at)) else { return };
        let (old, new) = (u32::from(*hour), count.clamp(1, u32::from(u16::MAX)));
        let next = if old == 0 { new } else { (3 * old + new).div_ceil(4) };
        *hour = u16::try_from(next).unwrap_or(u16::MAX);
    }

    /// Counts one request; when a week is over, how far it is from those before, in thousandths.
    pub(crate) fn drift(
        &mut self,
        operation: u32,
        classes: &ClassSet,
        at: UnixMicros,
        defaults: &Defaults,
    ) -> Option<u32> {
        let week = u32::try_from(at.secs() / 604_800).unwrap_or(u32::MAX);
        let mut found = None;
        if week > self.week {
            let total: u32 = self.this_week.iter().fold(0, |sum, n| sum.saturating_add(*n));
            if total >= defaults.drift_requests_min {
                #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
                let share = self.this_week.map(|n| n as f32 / total as f32);
                if self.weeks_before.iter().any(|share| *share > 0.0) {
                    found = Some(divergence(&share, &self.weeks_before));
                    for (before, now) in self.weeks_before.iter_mut().zip(share) {
                        *before = f32::midpoint(*before, now);
                    }
                } else {
                    self.weeks_before = share;
                }
            }
            (self.week, self.this_week) = (week, [0; BINS]);
        }
        // Sixteen kinds of what, in four parts of the day.
        let what =
            crate::relationships::mix(u64::from(operation) << 32 | u64::from(classes.len())) % 16;
        let bin = what * 4 + at.secs() % 86_400 / 21_600;
        if let Some(bin) = usize::try_from(bin).ok().and_then(|bin| self.this_week.get_mut(bin)) {
            *bin = bin.saturating_add(1);
        }
        found
    }
}

/// Jensen-Shannon divergence to base 2 of two distributions, in thousandths.
fn divergence(a: &[f32; BINS], b: &[f32; BINS]) -> u32 {
    let part = |p: f32, m: f32| if p > 0.0 { p * (p / m).log2() } else { 0.0 };
    let sum: f32 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| {
            let m = f32::midpoint(a, b);
            f32::midpoint(part(a, m), part(b, m))
        })
        .sum();
    crate::cusum::centi(sum * 10.0)
}

fn hour_of_week(at: UnixMicros) -> usize {
    usize::try_from(at.secs() / 3_600).unwrap_or_default() % HOURS
}

/// How many users' tokens come from one network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    distinct: Distinct,
    span: u32,
    usual: f32,
    spans: u16,
    has_alarmed: bool,
}

/// An hour's spans make a network known.
const SPANS_KNOWN: u16 = 6;

impl Tokens {
    /// Forgets the tokens of this span.
    pub(crate) fn forgive(&mut self) {
        (self.distinct, self.has_alarmed) = (Distinct::default(), false);
    }

    /// Counts one token; how many there are and how many are usual if those are too many, once in a span.
    ///
    /// `is_strange`: the token was refused because its credential was never used from here, so none are usual.
    pub(crate) fn add(
        &mut self,
        token: u64,
        is_strange: bool,
        at: UnixMicros,
        defaults: &Defaults,
    ) -> Option<(u32, u32)> {
        let span = u32::try_from(at.0 / defaults.tokens_within.0.max(1)).unwrap_or(u32::MAX);
        if span > self.span {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let count = self.distinct.count() as f32;
            if count > 0.0 && !self.has_alarmed {
                self.usual =
                    if self.spans == 0 { count } else { self.usual + (count - self.usual) / 8.0 };
                self.spans = self.spans.saturating_add(1);
            }
            (self.span, self.has_alarmed, self.distinct) = (span, false, Distinct::default());
        }
        if !self.distinct.add(crate::relationships::mix(token)) || self.has_alarmed {
            return None;
        }
        if !is_strange && self.spans < SPANS_KNOWN {
            return None;
        }
        let usual = if is_strange { 0 } else { crate::cusum::centi(self.usual) / 100 };
        let count = self.distinct.count();
        let many =
            count > defaults.tokens_min && count > usual.saturating_mul(defaults.tokens_ratio);
        self.has_alarmed = many;
        many.then_some((count, usual))
    }
}
