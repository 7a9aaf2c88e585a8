//! The Bernoulli CUSUM: how surely the share of hits has gone from usual to bad, and what it was made of.

use crate::defaults::Ratio;

/// One score and the last 32 judged, 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cusum {
    /// Logarithm of the likelihood ratio since the last zero, held within 0 and the limit, so that it forgets as fast as it learns.
    score: f32,
    /// The last judged, newest in the lowest bit.
    last: u32,
    /// Hits since the score was last zero.
    hits: u16,
    judged: u8,
}

/// What a score is measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) h: f32,
    pub(crate) hits_min: u16,
}

impl Limit {
    /// The rule's own, or half of it.
    pub(crate) fn of(rule: &Ratio, halved: bool) -> Self {
        if halved {
            Self { h: rule.h / 2.0, hits_min: rule.hits_min / 2 }
        } else {
            Self { h: rule.h, hits_min: rule.hits_min }
        }
    }
}

impl Cusum {
    /// Folds one judgement in. Whether the score stands at its limit.
    ///
    /// `usual`: the share of hits that was learned.
    pub(crate) fn fold(&mut self, is_hit: bool, rule: &Ratio, limit: Limit, usual: f32) -> bool {
        self.weigh(is_hit, rule, limit, usual);
        self.last = self.last << 1 | u32::from(is_hit);
        self.judged = (self.judged + 1).min(32);
        self.score >= limit.h && self.hits >= limit.hits_min
    }

    /// Lowers the score as one that is no hit does, and leaves the last judged as they are.
    pub(crate) fn ease(&mut self, rule: &Ratio, limit: Limit, usual: f32) {
        self.weigh(false, rule, limit, usual);
    }

    fn weigh(&mut self, is_hit: bool, rule: &Ratio, limit: Limit, usual: f32) {
        let usual = (2.0 * usual).clamp(rule.floor, rule.cap);
        let step = if is_hit { rule.bad / usual } else { (1.0 - rule.bad) / (1.0 - usual) };
        self.score = (self.score + step.ln()).clamp(0.0, limit.h);
        if self.score <= 0.0 {
            self.hits = 0;
        } else {
            self.hits = self.hits.saturating_add(u16::from(is_hit));
        }
    }

    /// Hits of the last `of`, and whether so many were judged. `of`: at most 32.
    pub(crate) fn last(&self, of: u32) -> Option<u32> {
        let mask = u32::MAX.checked_shr(32 - of.min(32)).unwrap_or(0);
        (u32::from(self.judged) >= of).then(|| (self.last & mask).count_ones())
    }

    pub(crate) fn judged(&self) -> u32 {
        u32::from(self.judged)
    }

    pub(crate) fn hits_in_all(&self) -> u32 {
        u32::from(self.hits)
    }

    pub(crate) fn score_centi(&self) -> u32 {
        centi(self.score)
    }
}

/// Hundredths of a small number that is not negative.
pub(crate) fn centi(value: f32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and some thousands"
    )]
    let centi = (value * 100.0).round() as u32;
    centi
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Defaults;
    use proptest::prelude::*;

    /// How many judgements of this pattern, repeated, it takes to alarm.
    fn alarms_after(pattern: &[bool], rule: &Ratio, usual: f32) -> Option<usize> {
        let mut cusum = Cusum::default();
        let judged = pattern.iter().cycle().take(10_000);
        judged
            .map(|&hit| cusum.fold(hit, rule, Limit::of(rule, false), usual))
            .position(|stands| stands)
            .map(|at| at + 1)
    }

    #[test]
    fn each_rule_alarms_after_as_many_as_were_published() {
        let Defaults { novelty, enumeration, misses, .. } = Defaults::default();
        assert_eq!(alarms_after(&[true], &novelty, 0.0), Some(30), "its minimum");
        assert_eq!(alarms_after(&[true], &enumeration, 0.0), Some(50), "its minimum");
        assert_eq!(alarms_after(&[true], &misses, 0.0), Some(8));
        // Blind below these shares: the drift is not positive.
        assert_eq!(alarms_after(&[true, false, false], &novelty, 0.0), None, "0.35");
        assert!(alarms_after(&[true, true, false, false, false], &novelty, 0.0).is_some());
        assert_eq!(alarms_after(&[true, false, false, false, false], &misses, 0.0), None, "0.22");
    }

    #[test]
    fn whatever_was_learned_a_full_attack_still_alarms() {
        let Defaults { novelty, enumeration, misses, .. } = Defaults::default();
        for usual in [0.0, 0.3, 0.5, 0.9, 1.0] {
            assert!(alarms_after(&[true], &novelty, usual).is_some_and(|n| n <= 63), "{usual}");
            assert!(
                alarms_after(&[true], &enumeration, usual).is_some_and(|n| n <= 117),
                "{usual}"
            );
            assert!(alarms_after(&[true], &misses, usual).is_some_and(|n| n <= 81), "{usual}");
        }
    }

    proptest! {
        #[test]
        fn scores_and_counts_agree_with_recounting_everything(
            judged in proptest::collection::vec(any::<bool>(), 1..300), usual in 0.0_f32..1.0, halved: bool,
        ) {
            let rule = Defaults::default().novelty;
            let limit = Limit::of(&rule, halved);
            let mut ours = Cusum::default();
            let p0 = f64::from((2.0 * usual).clamp(rule.floor, rule.cap));
            let p1 = f64::from(rule.bad);
            let mut scores = vec![0.0_f64];
            // So near to zero that rounding says whether all is forgotten.
            let mut is_sure = true;
            for (n, &hit) in judged.iter().enumerate() {
                ours.fold(hit, &rule, limit, usual);
                let step = if hit { (p1 / p0).ln() } else { ((1.0 - p1) / (1.0 - p0)).ln() };
                let sum = scores[n] + step;
                is_sure = sum < -1e-4 || is_sure && sum > 1e-4;
                scores.push(sum.clamp(0.0, f64::from(limit.h)));
                let last = judged[..=n].iter().rev().take(32);
                let (of, hits) = (last.clone().count(), last.filter(|hit| **hit).count());
                prop_assert_eq!(ours.judged() as usize, of);
                prop_assert_eq!(ours.last(ours.judged()), Some(u32::try_from(hits).unwrap()));
                prop_assert!((f64::from(ours.score) - scores[n + 1]).abs() < 0.01);
                let zero = scores.iter().rposition(|score| *score <= 0.0).unwrap();
                if is_sure {
                    let since = judged[zero..=n].iter().filter(|hit| **hit).count();
                    prop_assert_eq!(ours.hits_in_all() as usize, since);
                }
            }
        }
    }
}
