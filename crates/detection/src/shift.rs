//! How surely the share of hits has multiplied: a CUSUM between what was learned and a multiple of it.
//!
//! Novelty asks whether strangers are many, and is blind below a share that false alarms forbid. This one asks whether they are more than
//! they were here, so it finds what is slow beside a caller's own traffic, later and for less.

use crate::baseline::Measured;
use crate::cusum::centi;
use crate::defaults::Increase;

/// One score and what it was made of, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shift {
    /// As [`crate::cusum::Cusum`]'s.
    score: f32,
    /// Hits, and all that was judged, since the score was last zero.
    hits: u16,
    judged: u16,
}

impl Shift {
    /// Folds one judgement in. Whether the score stands at `h`.
    pub(crate) fn fold(&mut self, is_hit: bool, rule: &Increase, h: f32, usual: Measured) -> bool {
        let deviation = (usual.share / usual.of.max(1.0)).sqrt();
        let usual = (rule.usual * (usual.share + rule.deviations * deviation)).max(rule.floor);
        if usual > rule.cap {
            *self = Self::default();
            return false;
        }
        let bad = rule.bad * usual;
        let step = if is_hit { rule.bad } else { (1.0 - bad) / (1.0 - usual) };
        self.score = (self.score + step.ln()).clamp(0.0, h);
        if self.score <= 0.0 {
            (self.hits, self.judged) = (0, 0);
        } else {
            self.hits = self.hits.saturating_add(u16::from(is_hit));
            self.judged = self.judged.saturating_add(1);
        }
        self.score >= h
    }

    pub(crate) fn hits(self) -> u32 {
        u32::from(self.hits)
    }

    pub(crate) fn judged(self) -> u32 {
        u32::from(self.judged)
    }

    pub(crate) fn score_centi(self) -> u32 {
        centi(self.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Defaults;
    use proptest::prelude::*;

    #[test]
    fn twenty_two_strangers_in_a_row_are_a_shift_where_there_were_none() {
        let rule = Defaults::default().shift;
        let usual = Measured { share: 0.0, of: 4_000.0 };
        let mut shift = Shift::default();
        let stands = (1..100).find(|_| shift.fold(true, &rule, rule.h, usual));
        assert_eq!(stands, Some(22));
        assert_eq!((shift.hits(), shift.judged()), (22, 22));
    }

    #[test]
    fn what_was_learned_of_few_is_believed_less() {
        let rule = Defaults::default().shift;
        let after = |of| {
            let mut shift = Shift::default();
            let usual = Measured { share: 0.1, of };
            (1_u32..10_000).find(|n| shift.fold(n.is_multiple_of(4), &rule, rule.h, usual))
        };
        assert!(after(4_000.0) < after(400.0));
        assert!(after(400.0).is_some());
        // Where so many are usual it says nothing, whatever comes.
        let mut shift = Shift::default();
        let many = Measured { share: 0.4, of: 9_000.0 };
        assert!(!(0..10_000).any(|_| shift.fold(true, &rule, rule.h, many)));
    }

    proptest! {
        #[test]
        fn scores_agree_with_recounting_and_counts_with_what_they_are_of(
            judged in proptest::collection::vec(any::<bool>(), 1..400), share in 0.0_f32..0.2, of in 1_000.0_f32..16_000.0,
        ) {
            let rule = Defaults::default().shift;
            let mut ours = Shift::default();
            let usual = Measured { share, of };
            let (share, n) = (f64::from(share), f64::from(of));
            let p0 = (f64::from(rule.usual) * (share + f64::from(rule.deviations) * (share / n).sqrt())).max(0.02);
            let p1 = f64::from(rule.bad) * p0;
            let mut score = 0.0_f64;
            for hit in judged {
                let stands = ours.fold(hit, &rule, rule.h, usual);
                let step = if hit { (p1 / p0).ln() } else { ((1.0 - p1) / (1.0 - p0)).ln() };
                score = (score + step).clamp(0.0, f64::from(rule.h));
                prop_assert!((f64::from(ours.score) - score).abs() < 0.02, "{} {score}", ours.score);
                prop_assert_eq!(stands, ours.score >= rule.h);
                prop_assert!(ours.hits() <= ours.judged());
            }
        }
    }
}
