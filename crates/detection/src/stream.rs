//! What is remembered of one stream of requests, and how it judges the next.

use crate::baseline::{Baseline, Learned};
use crate::cusum::{Cusum, Limit};
use crate::defaults::{Defaults, Ratio};
use crate::distinct::Distinct;
use crate::shift::Shift;
use crate::statistic::Family;
use model::{Micros, UnixMicros};

/// The state of one stream, 440 bytes: with its key seven cache lines and a bit, in the order in which a request asks for them.
#[derive(Clone, Debug, PartialEq, Default)]
#[repr(C)]
pub(crate) struct Stream {
    novelty: Cusum,
    enumeration: Cusum,
    misses: Cusum,
    shift: Shift,
    /// When novelty last stood at its limit.
    stood: Secs,
    /// Whether each of the subjects held since an alarm was a stranger too, newest in the lowest bit.
    held: u32,
    held_count: u8,
    volume_told: bool,
    /// Whether the subject asked for last was one of those asked for lately.
    has_come_back: bool,
    /// Until when its network is new.
    pub(crate) new_until: Secs,
    span: u32,
    /// When each family last stood strongly; by [`Family::PAIRED`].
    strong: [Secs; 5],
    /// When a signal was last told of each family that is a score, of strong misses, and of two families, one of which is in shadow or none.
    told: [Secs; 7],
    /// Lookups made last, each once.
    probes: Ring<8>,
    subjects: Distinct,
    /// Places of the subjects asked for last, each once. A subject among them is not judged again.
    places: Ring<64>,
}

const _: () =
    assert!(size_of::<Stream>() == 440, "five thousand credentials in twenty networks fit");

/// Seconds since 1970; 0 for never.
pub(crate) type Secs = u32;

/// One subject, as the stream is asked about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) place: u64,
    /// Whether it has no relationship; none if that is not known or does not matter.
    pub(crate) is_stranger: Option<bool>,
    /// Whether the caller chose it, outside a backfill.
    pub(crate) is_chosen: bool,
}

/// A family that stands at its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) family: Family,
    pub(crate) is_strong: bool,
    pub(crate) hits: u32,
    pub(crate) of: u32,
    pub(crate) hits_in_all: u32,
    pub(crate) score_centi: u32,
    pub(crate) h: f32,
    pub(crate) usual: f32,
}

/// By which the stream judges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) defaults: &'a Defaults,
    pub(crate) at: UnixMicros,
    pub(crate) halved: bool,
    /// At least so many hits, if that is more than the rule's own.
    pub(crate) hits_min: u16,
}

impl Stream {
    pub(crate) fn is_new(&self, at: UnixMicros) -> bool {
        secs(at) < self.new_until
    }

    /// Forgets what was held against it. What it asked for lately is not judged anew, and its network is as new as it was.
    pub(crate) fn forgive(&mut self) {
        let Self { probes, places, subjects, new_until, span, volume_told, .. } = *self;
        *self = Self { probes, places, subjects, new_until, span, volume_told, ..Self::default() };
    }

    /// Judges the subjects of one answer, released or held. What stands after them.
    pub(crate) fn judge_subjects(
        &mut self,
        subjects: &[Subject],
        is_held: bool,
        learned: &mut Baseline,
        judge: &Judge<'_>,
    ) -> [Option<Standing>; 3] {
        // What completes an alarm is one fact; only what is held after it is another.
        let alarmed = is_held && self.has_stood(judge);
        let mut standing = [None; 3];
        for subject in subjects {
            let Some(is_near) = self.places.ask(fold(subject.place), judge.defaults.near) else {
                // Who walks through ids does not come back. A run of those who come back counts once: else a few known ids asked for again
                // and again between two new ones would hide a walk.
                if subject.is_chosen && !std::mem::replace(&mut self.has_come_back, true) {
                    ease(&mut self.enumeration, &mut learned.enumeration, judge);
                }
                continue;
            };
            self.has_come_back = false;
            if subject.is_chosen {
                let rule = &judge.defaults.enumeration;
                standing[1] = judge_one(
                    &mut self.enumeration,
                    &mut learned.enumeration,
                    Family::Enumeration,
                    is_near,
                    rule,
                    judge,
                )
                .or(standing[1]);
            }
            if let Some(is_stranger) = subject.is_stranger {
                standing[2] = self.judge_shift(is_stranger, learned, judge).or(standing[2]);
                let rule = &judge.defaults.novelty;
                // The last of an answer may be an acquaintance again: what stood within it has stood.
                standing[0] = judge_one(
                    &mut self.novelty,
                    &mut learned.novelty,
                    Family::Novelty,
                    is_stranger,
                    rule,
                    judge,
                )
                .or(standing[0]);
                if alarmed {
                    self.hold(is_stranger);
                }
            }
        }
        for stands in standing.iter().flatten() {
            self.stand(stands, judge);
        }
        if alarmed && self.is_held_strongly(judge.defaults) {
            self.mark_strong(Family::Budget, judge.at);
        }
        standing
    }

    /// Whether strangers are more than they were learned to be.
    fn judge_shift(
        &mut self,
        is_stranger: bool,
        learned: &mut Baseline,
        judge: &Judge<'_>,
    ) -> Option<Standing> {
        let rule = &judge.defaults.shift;
        let usual = learned.novelty.measured(rule)?;
        let h = if judge.halved { rule.h / 2.0 } else { rule.h };
        let stands = self.shift.fold(is_stranger, rule, h, usual);
        (stands && self.shift.hits() >= u32::from(judge.hits_min)).then(|| Standing {
            family: Family::Shift,
            is_strong: false,
            hits: self.shift.hits(),
            of: self.shift.judged(),
            hits_in_all: self.shift.hits(),
            score_centi: self.shift.score_centi(),
            h,
            usual: usual.share,
        })
    }

    /// Whether nothing is held against anybody for whom it asked.
    pub(crate) fn is_calm_about_strangers(&self) -> bool {
        self.novelty.hits_in_all() == 0 && self.shift.judged() == 0
    }

    /// Whether nothing is held against what it looked up.
    pub(crate) fn is_calm_about_misses(&self) -> bool {
        self.misses.hits_in_all() == 0
    }

    /// Judges one lookup, unless it repeats one of the last few.
    pub(crate) fn judge_lookup(
        &mut self,
        probe: u64,
        is_miss: bool,
        learned: &mut Learned,
        judge: &Judge<'_>,
    ) -> Option<Standing> {
        self.probes.ask(fold(probe), 0)?;
        let rule = &judge.defaults.misses;
        let standing = judge_one(&mut self.misses, learned, Family::Misses, is_miss, rule, judge)?;
        self.stand(&standing, judge);
        Some(standing)
    }

    /// Notes evidence that is not a score of this stream.
    pub(crate) fn mark_strong(&mut self, family: Family, at: UnixMicros) {
        let now = secs(at);
        if let Some(strong) = self.strong.get_mut(family as usize) {
            *strong = now;
        }
    }

    /// Two families that stood strongly within [`Defaults::together`], told once in a while. Those whose rule is in shadow come last: they
    /// neither stand in the way of two that are not, nor make them wait.
    pub(crate) fn two_families(
        &mut self,
        is_shadowed: impl Fn(Family) -> bool,
        judge: &Judge<'_>,
    ) -> Option<[Family; 2]> {
        let near = |at: Secs| {
            at > 0 && secs(judge.at).saturating_sub(at) < span_secs(judge.defaults.together)
        };
        let strong = Family::PAIRED.into_iter().zip(self.strong).filter(|(_, at)| near(*at));
        let (mut strong, shadowed): (Vec<_>, Vec<_>) =
            strong.map(|(family, _)| family).partition(|family| !is_shadowed(*family));
        let rests_on_shadow = strong.len() < 2;
        strong.extend(shadowed);
        let &[first, second, ..] = strong.as_slice() else { return None };
        self.may_tell(Told::Families(rests_on_shadow), judge).then_some([first, second])
    }

    /// Whether this is to be told, or was told a moment ago.
    pub(crate) fn may_tell(&mut self, what: Told, judge: &Judge<'_>) -> bool {
        let now = secs(judge.at);
        let place = match what {
            Told::Family(Family::Novelty, _) => 0,
            Told::Family(Family::Enumeration, _) => 1,
            // Only misses are told twice, once they are strong.
            Told::Family(Family::Misses, false) => 2,
            Told::Family(Family::Misses, true) => 3,
            Told::Families(false) => 4,
            Told::Families(true) => 6,
            Told::Family(Family::Shift, _) => 5,
            // No scores: they are told as one of two families only.
            Told::Family(Family::Recon | Family::Budget, _) => return false,
        };
        let Some(told) = self.told.get_mut(place) else { return false };
        let may = *told == 0 || now.saturating_sub(*told) >= span_secs(judge.defaults.told_every);
        if may {
            *told = now;
        }
        may
    }

    /// Counts distinct subjects; what was read in the span that is over, and what is read in this one if it is too much, once.
    pub(crate) fn count_volume(
        &mut self,
        hashes: impl Iterator<Item = u64>,
        learned: &mut Baseline,
        judge: &Judge<'_>,
    ) -> Option<(u32, u32)> {
        let Judge { defaults, at, .. } = judge;
        let span = u32::try_from(at.0 / defaults.volume_span.0.max(1)).unwrap_or(u32::MAX);
        if span > self.span {
            let count = self.subjects.count();
            if count > 0 && !self.volume_told {
                let then = UnixMicros(u64::from(self.span).saturating_mul(defaults.volume_span.0));
                learned.teach_volume(count, then);
            }
            (self.span, self.volume_told, self.subjects) = (span, false, Distinct::default());
        }
        let mut has_grown = false;
        for hash in hashes {
            has_grown |= self.subjects.add(hash);
        }
        if !has_grown || self.volume_told {
            return None;
        }
        let count = self.subjects.count();
        if count <= defaults.volume_floor {
            return None;
        }
        let expected = learned.expected(*at)?;
        self.volume_told = count > expected.saturating_mul(defaults.volume_ratio);
        self.volume_told.then_some((count, expected))
    }

    fn stand(&mut self, standing: &Standing, judge: &Judge<'_>) {
        if standing.family == Family::Novelty {
            if !self.has_stood(judge) {
                (self.held, self.held_count) = (0, 0);
            }
            self.stood = secs(judge.at);
        }
        if standing.is_strong {
            self.mark_strong(standing.family, judge.at);
        }
    }

    /// Whether novelty stood at its limit within [`Defaults::together`].
    fn has_stood(&self, judge: &Judge<'_>) -> bool {
        let ago = secs(judge.at).saturating_sub(self.stood);
        self.stood > 0 && ago < span_secs(judge.defaults.together)
    }

    fn hold(&mut self, is_stranger: bool) {
        self.held = self.held << 1 | u32::from(is_stranger);
        self.held_count = (self.held_count + 1).min(32);
    }

    fn is_held_strongly(&self, defaults: &Defaults) -> bool {
        let mask = u32::MAX.checked_shr(32 - defaults.strong_of.min(32)).unwrap_or(0);
        u32::from(self.held_count) >= defaults.held_min.max(defaults.strong_of)
            && (self.held & mask).count_ones() >= defaults.strong_hits
    }
}

/// What is told at most once in a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    Family(Family, bool),
    /// Whether one of the two is in shadow.
    Families(bool),
}

fn judge_one(
    cusum: &mut Cusum,
    learned: &mut Learned,
    family: Family,
    is_hit: bool,
    rule: &Ratio,
    judge: &Judge<'_>,
) -> Option<Standing> {
    let Judge { defaults, at, halved, hits_min } = judge;
    let usual = learned.usual(rule, defaults);
    let mut limit = Limit::of(rule, *halved);
    limit.hits_min = limit.hits_min.max(*hits_min);
    let stands = cusum.fold(is_hit, rule, limit, usual);
    learned.teach(is_hit, stands, *at, defaults);
    let (of, hits) = if family == Family::Misses {
        (32, defaults.misses_strong_of_32)
    } else {
        (defaults.strong_of, defaults.strong_hits)
    };
    let judged = cusum.judged();
    stands.then(|| Standing {
        family,
        is_strong: cusum.last(of).is_some_and(|last| last >= hits),
        hits: cusum.last(judged).unwrap_or_default(),
        of: judged,
        hits_in_all: cusum.hits_in_all(),
        score_centi: cusum.score_centi(),
        h: limit.h,
        usual,
    })
}

/// Judges enumeration by a subject that came back: no neighbour, and none of the last judged.
fn ease(cusum: &mut Cusum, learned: &mut Learned, judge: &Judge<'_>) {
    let Judge { defaults, at, halved, .. } = judge;
    let rule = &defaults.enumeration;
    cusum.ease(rule, Limit::of(rule, *halved), learned.usual(rule, defaults));
    learned.teach(false, false, *at, defaults);
}

/// The last few different numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ring<const N: usize> {
    held: [u32; N],
    len: u8,
    next: u8,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self { held: [0; N], len: 0, next: 0 }
    }
}

impl<const N: usize> Ring<N> {
    /// Whether the number is within `near` of one that is held; none if it is held itself. It is held from then on.
    fn ask(&mut self, number: u32, near: u32) -> Option<bool> {
        let held = self.held.get(..usize::from(self.len)).unwrap_or_default();
        let mut least = u32::MAX;
        for other in held {
            // Places wrap: 2^32 ids apart is no neighbour that anybody meets.
            let apart = number.wrapping_sub(*other);
            least = least.min(apart.min(apart.wrapping_neg()));
        }
        if least == 0 {
            return None;
        }
        if let Some(slot) = self.held.get_mut(usize::from(self.next)) {
            *slot = number;
        }
        self.next = u8::try_from((usize::from(self.next) + 1) % N).unwrap_or_default();
        self.len = u8::try_from((usize::from(self.len) + 1).min(N)).unwrap_or(u8::MAX);
        Some(least <= near)
    }
}

/// The low half of a number, which keeps neighbours neighbours.
fn fold(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

pub(crate) fn secs(at: UnixMicros) -> Secs {
    Secs::try_from(at.secs()).unwrap_or(Secs::MAX)
}

pub(crate) fn span_secs(span: Micros) -> Secs {
    Secs::try_from(span.0 / 1_000_000).unwrap_or(Secs::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn neighbours_are_those_of_the_last_64_different_ones(numbers in proptest::collection::vec(0_u32..4_000, 1..300)) {
            let mut ring = Ring::<64>::default();
            let mut naive: Vec<u32> = Vec::new();
            for number in numbers {
                let last = &naive[naive.len().saturating_sub(64)..];
                let expected = (!last.contains(&number)).then(|| last.iter().any(|other| other.abs_diff(number) <= 16));
                prop_assert_eq!(ring.ask(number, 16), expected);
                if expected.is_some() {
                    naive.push(number);
                }
            }
        }
    }
}
