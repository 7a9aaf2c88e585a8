//! Which integration has a reason to read which subject: tickets, purchases, consents, grants that name people.

use crate::hasher::Keyed;
use model::{IntegrationId, Micros, UnixMicros};
use std::collections::{BTreeSet, HashSet};

/// How long a relationship lasts after it was last told of, at least; at most half as long again.
pub const LASTS: Micros = Micros::from_secs(90 * 86_400);

/// Pairs of integration and subject, told within the last ninety days, in memory that is fixed when it is made.
///
/// A Bloom filter whose cells hold the generation that last set them, 0 for none, in two bits: a pair is there if none of its cells is
/// empty. A generation is forty-five days; each turn empties the cells of three generations ago. Nothing that was told is ever missing; what was
/// never told is there by accident with the probability of [`Relationships::blind_permille`], and then novelty does not see it.
#[derive(Debug)]
pub struct Relationships {
    /// Thirty-two cells a word.
    words: Vec<u64>,
    cells: u64,
    generation: u64,
    /// Integrations whose relationships somebody imported. Only of these is a subject that is not in here a stranger.
    imported: HashSet<IntegrationId, Keyed>,
}

/// Cells that one pair sets. With ten cells a pair, seven lose the fewest strangers.
const CELLS_PER_PAIR: u64 = 7;
const CELLS_PER_WORD: u64 = 32;
const GENERATION: Micros = Micros(LASTS.0 / 2);

impl Relationships {
    /// The smallest size, 2.5 MB: enough for a million pairs.
    pub const PAIRS_MIN: usize = 1_000_000;
    /// The largest, 250 MB.
    pub const PAIRS_MAX: usize = 100_000_000;

    /// Room for so many pairs, 2.5 bytes each; more than that make it blind, and never fail.
    pub fn for_pairs(pairs: usize) -> Self {
        let pairs =
            u64::try_from(pairs.clamp(Self::PAIRS_MIN, Self::PAIRS_MAX)).unwrap_or(u64::MAX);
        Self::with_words((pairs * 10).div_ceil(CELLS_PER_WORD))
    }

    fn with_words(words: u64) -> Self {
        Self {
            words: vec![0; usize::try_from(words).unwrap_or(usize::MAX)],
            cells: words * CELLS_PER_WORD,
            generation: 0,
            imported: HashSet::default(),
        }
    }

    /// Tells that `integration` has to do with the subject, from now on for ninety days.
    pub fn relate(&mut self, integration: IntegrationId, key: u64, now: UnixMicros) {
        self.turn(now);
        let generation = self.generation % 3 + 1;
        for cell in self.cells_of(integration, key) {
            let (word, shift) = place(cell);
            if let Some(word) = self.words.get_mut(word) {
                *word = *word & !(3 << shift) | generation << shift;
            }
        }
    }

    /// As [`Relationships::relate`], from an import: it makes strangers of the integration's other subjects.
    pub fn import(&mut self, integration: IntegrationId, key: u64, now: UnixMicros) {
        self.imported.insert(integration);
        self.relate(integration, key, now);
    }

    /// Whether a subject that is not in here is a stranger to the integration. If nobody imported its relationships, novelty is blind.
    pub fn know(&self, integration: IntegrationId) -> bool {
        self.imported.contains(&integration)
    }

    /// Integrations whose relationships were imported.
    pub fn imported(&self) -> BTreeSet<IntegrationId> {
        self.imported.iter().copied().collect()
    }

    /// Whether the pair was told within ninety days, or looks as if.
    pub fn are(&self, integration: IntegrationId, key: u64) -> bool {
        self.cells_of(integration, key).all(|cell| {
            let (word, shift) = place(cell);
            self.words.get(word).is_some_and(|word| word >> shift & 3 != 0)
        })
    }

    /// Of a thousand strangers, so many look like acquaintances. Looks at every cell.
    pub fn blind_permille(&self) -> u32 {
        let empty: u64 = self
            .words
            .iter()
            .map(|word| u64::from((!(word | word >> 1) & 0x5555_5555_5555_5555).count_ones()))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let full = 1.0 - empty as f64 / self.cells as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and 1000"
        )]
        let permille = (full.powi(7) * 1_000.0).round() as u32;
        permille
    }

    /// Empties the cells of what was last told of three generations ago.
    fn turn(&mut self, now: UnixMicros) {
        let generation = now.0 / GENERATION.0;
        if self.generation == 0 {
            self.generation = generation;
        }
        // Four generations of marks would need three bits, so the mark that is about to be used again is emptied first.
        while self.generation < generation {
            self.generation += 1;
            let stale = self.generation % 3 + 1;
            let (low, high) = ((stale & 1).wrapping_neg(), (stale >> 1).wrapping_neg());
            const ONES: u64 = 0x5555_5555_5555_5555;
            for word in &mut self.words {
                let is_stale = !(*word ^ (low & ONES)) & !(*word >> 1 ^ (high & ONES)) & ONES;
                *word &= !(is_stale | is_stale << 1);
            }
            if generation - self.generation > 3 {
                self.generation = generation - 3;
            }
        }
    }

    fn cells_of(&self, integration: IntegrationId, key: u64) -> impl Iterator<Item = u64> + use<> {
        let own = u128::from_be_bytes(*integration.as_bytes());
        let half = |of: u128| u64::try_from(of & u128::from(u64::MAX)).unwrap_or_default();
        let first = mix(key ^ mix(half(own) ^ mix(half(own >> 64))));
        let step = mix(first) | 1;
        let cells = self.cells;
        (0..CELLS_PER_PAIR).map(move |n| {
            let at = first.wrapping_add(step.wrapping_mul(n));
            // The high half of the product is the hash, scaled to the number of cells.
            u64::try_from((u128::from(at) * u128::from(cells)) >> 64).unwrap_or_default()
        })
    }
}

fn place(cell: u64) -> (usize, u64) {
    (usize::try_from(cell / CELLS_PER_WORD).unwrap_or(usize::MAX), cell % CELLS_PER_WORD * 2)
}

/// The finaliser of SplitMix64: spreads a keyed hash over all bits.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRM: IntegrationId = IntegrationId::from_bytes([1; 16]);
    const OTHER: IntegrationId = IntegrationId::from_bytes([2; 16]);
    const DAY: Micros = Micros::from_secs(86_400);

    fn on(day: u64) -> UnixMicros {
        UnixMicros(20_000 * DAY.0 + day * DAY.0)
    }

    #[test]
    fn what_was_told_is_never_missing_for_ninety_days_and_is_forgotten_after_135() {
        for told in 0..100 {
            let mut relationships = Relationships::with_words(100);
            relationships.relate(CRM, 7, on(told));
            for day in [0, 30, 60, 89] {
                relationships.turn(on(told + day));
                assert!(relationships.are(CRM, 7), "{told} {day}");
                assert!(!relationships.are(OTHER, 7));
            }
            relationships.turn(on(told + 136));
            assert!(!relationships.are(CRM, 7), "{told}");
        }
    }

    #[test]
    fn telling_again_lets_it_last_and_years_of_silence_empty_it() {
        let mut relationships = Relationships::with_words(100);
        for day in (0..400).step_by(80) {
            relationships.relate(CRM, 7, on(day));
            assert!(relationships.are(CRM, 7));
        }
        relationships.relate(CRM, 8, on(5_000));
        assert!(!relationships.are(CRM, 7) && relationships.are(CRM, 8));
        assert!(relationships.words.iter().map(|word| word.count_ones()).sum::<u32>() <= 14);
    }

    #[test]
    fn it_is_blind_to_the_share_of_strangers_that_it_says() {
        // Room for ten thousand.
        let mut relationships = Relationships::with_words(3_125);
        for (many, permille_max) in [(5_000, 1), (10_000, 12), (20_000, 170)] {
            for n in many / 2..many {
                relationships.relate(CRM, mix(n), on(0));
            }
            let said = relationships.blind_permille();
            let found = (0..20_000).filter(|n| relationships.are(CRM, mix(n ^ 1 << 50))).count();
            assert!(said <= permille_max, "{said} at {many}");
            let found = u32::try_from(found / 20).unwrap();
            assert!(found.abs_diff(said) <= 2 + said / 10, "{found} found, {said} said");
        }
    }
}
