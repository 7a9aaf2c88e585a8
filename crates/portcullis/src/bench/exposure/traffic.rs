//! Ninety days of made-up traffic: the same rows for the same seed, in order of time.
//!
//! 200 integrations share it as Zipf has it; most records are lists of 20 to 100 subjects out of ten million, drawn at random, which is the hardest
//! order for an index. On day 60 one integration is used to poll 1.3 million subjects in three hours from two addresses.

use std::ops::Range;

pub(super) const DAY: u64 = 86_400_000_000;
pub(super) const HOUR: u64 = 3_600_000_000;
/// First moment: a day that begins a bucket of seven and one of thirty days (2026-05-07).
pub(super) const START: u64 = 20_580 * DAY;
pub(super) const DAYS: u64 = 90;
pub(super) const INTEGRATIONS: u16 = 200;
/// The integration that is abused; 0 is the heaviest.
pub(super) const SUSPECT: u16 = 9;
/// A class that one integration reads now and then, and one that nobody reads.
pub(super) const RARE: u32 = 13;
pub(super) const NEVER: u32 = 15;
const RARE_READER: u16 = 151;
/// When the polling begins, and for how long it lasts; not at a full hour.
pub(super) const POLLING: Range<u64> =
    START + 60 * DAY + 2 * HOUR + 1_234_567..START + 60 * DAY + 5 * HOUR + 1_234_567;
/// The two addresses it comes from.
pub(super) const ADDRESSES: [u32; 2] =
    [u32::from_be_bytes([198, 51, 100, 67]), u32::from_be_bytes([203, 0, 113, 5])];

/// One record.
pub(super) struct Read<'a> {
    pub(super) time: u64,
    pub(super) integration: u16,
    pub(super) credential: u16,
    pub(super) operation: u16,
    pub(super) network: u32,
    /// Subject and bitmap of classes.
    pub(super) touches: &'a [(u32, u16)],
}

pub(super) struct Traffic {
    dice: Dice,
    rows: u64,
    pub(super) subjects: u32,
    /// Upper ends of the integrations' shares of all numbers.
    shares: Vec<u64>,
}

impl Traffic {
    pub(super) fn new(rows: u64, seed: u64) -> Self {
        let weights: Vec<f64> = (1..=INTEGRATIONS).map(|rank| 1.0 / f64::from(rank)).collect();
        let all: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let shares = weights.iter().map(|weight| {
            sum += weight;
            below_2_64(sum / all)
        });
        let subjects = u32::try_from(rows.clamp(1_000, 10_000_000)).unwrap_or(u32::MAX);
        Self { shares: shares.collect(), dice: Dice(seed), rows, subjects }
    }

    /// How many subjects are polled.
    pub(super) fn polled(&self) -> u64 {
        (u64::from(self.subjects) * 13 / 100).min(self.rows / 10)
    }

    /// The country of each subject: 40 of them, of which the first has most.
    pub(super) fn countries(&self) -> Vec<u8> {
        let mut dice = Dice(!self.dice.0);
        let mut country = || {
            let (a, b) = (dice.below(40), dice.below(40));
            u8::try_from(a.min(b)).unwrap_or(0)
        };
        (0..self.subjects).map(|_| country()).collect()
    }

    /// Hands each record to `visit`, in order of time, until it fails.
    pub(super) fn run<E>(
        mut self,
        mut visit: impl FnMut(&Read<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let hours = DAYS * 24;
        let honest = self.rows - self.polled();
        let mut polled = 0..self.polled();
        let mut touches = Vec::with_capacity(128);
        let mut done = 0;
        for hour in 0..hours {
            let start = START + hour * HOUR;
            // As much as is due by the end of this hour; by day there is three times as much as by night.
            let busy = |hour: u64| hour / 24 * 48 + (hour % 24) + (hour % 24).clamp(8, 20) * 2 - 16;
            let due = u64::try_from(
                u128::from(honest) * u128::from(busy(hour + 1)) / u128::from(busy(hours)),
            )
            .unwrap_or(0);
            let mut times = Vec::new();
            while done < due {
                let single = self.dice.below(10) < 4;
                let length = if single { 1 } else { 20 + self.dice.below(81) }.min(due - done);
                done += length;
                times.push((start + self.dice.below(HOUR), length, false));
            }
            self.poll(start, &mut polled, &mut times);
            times.sort_unstable();
            let mut polled_before = self.polled() - (polled.end - polled.start);
            polled_before -=
                times.iter().filter(|(.., poll)| *poll).map(|(_, n, _)| n).sum::<u64>();
            for (time, length, poll) in times {
                touches.clear();
                if poll {
                    visit(&self.polling(
                        time,
                        polled_before..polled_before + length,
                        &mut touches,
                    ))?;
                    polled_before += length;
                } else {
                    visit(&self.honest(time, length, &mut touches))?;
                }
            }
        }
        Ok(())
    }

    /// Adds the records of the polling that fall in the hour from `start`.
    fn poll(&mut self, start: u64, left: &mut Range<u64>, times: &mut Vec<(u64, u64, bool)>) {
        let span = POLLING.end - POLLING.start;
        let until = (start + HOUR).min(POLLING.end);
        if until <= POLLING.start || start >= POLLING.end {
            return;
        }
        let all = self.polled();
        let due =
            u64::try_from(u128::from(all) * u128::from(until - POLLING.start) / u128::from(span));
        let due = due.unwrap_or(0);
        while left.start < due {
            let length = (20 + self.dice.below(81)).min(due - left.start);
            let at = u128::from(span) * u128::from(left.start) / u128::from(all);
            times.push((POLLING.start + u64::try_from(at).unwrap_or(0), length, true));
            left.start += length;
        }
    }

    fn honest<'t>(&mut self, time: u64, length: u64, touches: &'t mut Vec<(u32, u16)>) -> Read<'t> {
        let number = self.dice.roll();
        let integration = self.shares.partition_point(|share| *share < number);
        let integration = u16::try_from(integration).unwrap_or(0).min(INTEGRATIONS - 1);
        // An integration calls three of the eight operations.
        let nth = u16::try_from(self.dice.below(3)).unwrap_or(0);
        let operation = (integration + nth * 3) % 8;
        let all = classes_of(operation);
        for _ in 0..length {
            let number = self.dice.roll();
            let subject = u32::try_from(((number >> 32) * u64::from(self.subjects)) >> 32);
            // Now and then a field is not set.
            let missing = if number & 7 == 0 { 1_u16 << (number >> 3 & 3) } else { 0 };
            let mut classes = all & !missing;
            if integration == RARE_READER && number & 0xff == 1 {
                classes |= 1 << RARE;
            }
            touches.push((subject.unwrap_or(0), classes));
        }
        touches.sort_unstable();
        touches.dedup_by_key(|(subject, _)| *subject);
        let key = u16::try_from(self.dice.below(2)).unwrap_or(0);
        let address = u32::try_from(self.dice.below(4)).unwrap_or(0);
        Read {
            time,
            integration,
            credential: integration * 2 + key,
            operation,
            network: u32::from_be_bytes([10, 0, 0, 0]) + u32::from(integration) * 256 + address,
            touches,
        }
    }

    fn polling<'t>(
        &mut self,
        time: u64,
        numbers: Range<u64>,
        touches: &'t mut Vec<(u32, u16)>,
    ) -> Read<'t> {
        // A walk over all subjects that meets each once: the step has no factor in common with their number.
        let subjects = u64::from(self.subjects);
        let step = (7_654_321..).find(|step| gcd(*step, subjects) == 1).unwrap_or(1);
        for number in numbers {
            touches.push((u32::try_from(number * step % subjects).unwrap_or(0), classes_of(3)));
        }
        touches.sort_unstable();
        let address = usize::try_from(self.dice.below(2)).unwrap_or(0);
        Read {
            time,
            integration: SUSPECT,
            credential: SUSPECT * 2,
            operation: 3,
            network: ADDRESSES.get(address).copied().unwrap_or(0),
            touches,
        }
    }
}

fn classes_of(operation: u16) -> u16 {
    const CLASSES: [u16; 8] = [
        0b11,
        0b111,
        0b1_0011,
        0b111_1111,
        0b1000_0001,
        0b1_0000_0011,
        0b1110_0000_0111,
        0b1_0000_0000_1111,
    ];
    CLASSES.get(usize::from(operation)).copied().unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A share of one as a share of all 64-bit numbers.
fn below_2_64(share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is from 0 to 1; the cast saturates"
    )]
    let number = (share * 18_446_744_073_709_551_616.0) as u64;
    number
}

/// Numbers that depend on the seed alone: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll().checked_rem(end).unwrap_or(0)
    }
}
