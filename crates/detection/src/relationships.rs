//! Which integration has a reason to read which subject: tickets, purchases, consents, grants that name people.

use crate::hasher::Keyed;
use model::{IntegrationId, Micros, UnixMicros};
use std::collections::{BTreeSet, HashSet};

/// How long a relationship lasts after it was last told of, at least; at most half as long again.
pub const LASTS: Micros = Micros::from_secs(90 * 86_400);

/// Pairs of integration and subject, told within the last ninety days, in memory that is fixed when it is made.
///
/// A Bloom filter whose cells hold the generation that last set them, 0 for none, in two bits: a pair is there if none of its cells is
/// empty. All cells of a pair are in one cache line (Putze, Sanders and Singler 2007, a blocked filter), because each one more would be
/// waited for. A generation is forty-five days; each turn empties the cells of three generations ago. Nothing that was told is ever missing; what was
/// never told is there by accident with the probability of [`Relationships::blind_permille`], and then novelty does not see it.
#[derive(Debug)]
pub struct Relationships {
    blocks: Vec<Block>,
    generation: u64,
    /// Integrations whose relationships somebody imported. Only of these is a subject that is not in here a stranger.
    imported: HashSet<IntegrationId, Keyed>,
}

/// A cache line: eight words of thirty-two cells.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

/// Cells that one pair sets. With ten cells a pair, six lose the fewest strangers: 1.1 % of them.
const CELLS_PER_PAIR: u8 = 6;
const CELLS_PER_BLOCK: u16 = 256;
/// The lower bit of each cell.
const ONES: u64 = 0x5555_5555_5555_5555;
const GENERATION: Micros = Micros(LASTS.0 / 2);

impl Relationships {
    /// The smallest size, 2.5 MB: enough for a million pairs.
    pub const PAIRS_MIN: usize = 1_000_000;
    /// The largest, 250 MB.
    pub const PAIRS_MAX: usize = 100_000_000;

    /// Room for so many pairs, 2.5 bytes each; more than that make it blind, and never fail.
    pub fn for_pairs(pairs: usize) -> Self {
        let pairs = pairs.clamp(Self::PAIRS_MIN, Self::PAIRS_MAX);
        Self::with_blocks((pairs * 10).div_ceil(CELLS_PER_BLOCK.into()))
    }

    fn with_blocks(blocks: usize) -> Self {
        Self { blocks: vec![Block::default(); blocks], generation: 0, imported: HashSet::default() }
    }

    /// Tells that `integration` has to do with the subject, from now on for ninety days.
    pub fn relate(&mut self, integration: IntegrationId, key: u64, now: UnixMicros) {
        self.turn(now);
        let generation = self.generation % 3 + 1;
        let (block, cells) = self.place(integration, key);
        let Some(Block(words)) = self.blocks.get_mut(block) else { return };
        for (word, shift) in cells {
            if let Some(word) = words.get_mut(word) {
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
        let (block, mut cells) = self.place(integration, key);
        self.blocks.get(block).is_some_and(|Block(words)| {
            cells.all(|(word, shift)| words.get(word).is_some_and(|word| word >> shift & 3 != 0))
        })
    }

    /// Of a thousand strangers, so many look like acquaintances. Looks at every cell.
    pub fn blind_permille(&self) -> u32 {
        let full = |Block(words): &Block| {
            words.iter().map(|word| ((word | word >> 1) & ONES).count_ones()).sum::<u32>()
        };
        let blind = |block| {
            (f64::from(full(block)) / f64::from(CELLS_PER_BLOCK)).powi(CELLS_PER_PAIR.into())
        };
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = self.blocks.iter().map(blind).sum::<f64>() / self.blocks.len() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and 1000"
        )]
        let permille = (share * 1_000.0).round() as u32;
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
            for word in self.blocks.iter_mut().flat_map(|Block(words)| words) {
                let is_stale = !(*word ^ (low & ONES)) & !(*word >> 1 ^ (high & ONES)) & ONES;
                *word &= !(is_stale | is_stale << 1);
            }
            if generation - self.generation > 3 {
                self.generation = generation - 3;
            }
        }
    }

    /// A pair's block, and its cells there as words and shifts.
    fn place(
        &self,
        integration: IntegrationId,
        key: u64,
    ) -> (usize, impl Iterator<Item = (usize, u32)> + use<>) {
        let own = u128::from_be_bytes(*integration.as_bytes());
        let half = |of: u128| u64::try_from(of & u128::from(u64::MAX)).unwrap_or_default();
        let first = mix(key ^ mix(half(own) ^ mix(half(own >> 64))));
        // The high half of the product is the hash, scaled to the number of blocks.
        let block = usize::try_from((u128::from(first) * self.blocks.len() as u128) >> 64);
        let bytes = mix(first);
        let cells = (0..CELLS_PER_PAIR).map(move |n| {
            let cell = bytes >> (8 * n);
            ((cell >> 5 & 7) as usize, (cell & 31) as u32 * 2)
        });
        (block.unwrap_or_default(), cells)
    }
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
            let mut relationships = Relationships::with_blocks(12);
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
        let mut relationships = Relationships::with_blocks(12);
        for day in (0..400).step_by(80) {
            relationships.relate(CRM, 7, on(day));
            assert!(relationships.are(CRM, 7));
        }
        relationships.relate(CRM, 8, on(5_000));
        assert!(!relationships.are(CRM, 7) && relationships.are(CRM, 8));
        let marks = relationships.blocks.iter().flat_map(|Block(words)| words);
        assert!(marks.map(|word| word.count_ones()).sum::<u32>() <= 2 * u32::from(CELLS_PER_PAIR));
    }

    #[test]
    fn it_is_blind_to_the_share_of_strangers_that_it_says() {
        // Room for ten thousand.
        let mut relationships = Relationships::with_blocks(391);
        for (many, permille_max) in [(5_000, 1), (10_000, 13), (20_000, 170)] {
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
