//! SplitMix64: small, seeded, the same everywhere. One seed replays a rehearsal's traffic; nothing secret comes of it.

use model::Micros;
use std::time::Duration;

/// A seeded sequence of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Sequences of one seed that bear different names are unrelated.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut dice = Self(seed ^ 0x5245_4845_4152_5345);
        for byte in name.bytes() {
            dice.0 = dice.draw() ^ u64::from(byte);
        }
        dice
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 if that is 0. The remainder's bias is below 2^-32 for every bound in use.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in this share of cases.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// The time until the next of independent events, `rate` of which happen in a second on average. Four hundred days if none do.
    pub fn exponential(&mut self, rate: f64) -> Micros {
        micros(-(1.0 - self.unit()).ln() / rate)
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Gamma with mean 1 and this shape, by Marsaglia and Tsang; a shape below 1 by one uniform more.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.unit().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * (shape + 1.0) / shape * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / shape;
            }
        }
    }

    /// How many of independent events happen where `mean` do on average. Above 50 by the normal approximation.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            let drawn = (mean + mean.sqrt() * self.normal()).round().max(0.0);
            return Duration::try_from_secs_f64(drawn).map_or(0, |drawn| drawn.as_secs());
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// Seconds as microseconds; what is negative or no number is 0, and nothing is longer than 400 days.
pub fn micros(secs: f64) -> Micros {
    let secs = if secs.is_nan() { 0.0 } else { secs.clamp(0.0, 34_560_000.0) };
    let micros = Duration::try_from_secs_f64(secs).map_or(0, |span| span.as_micros());
    Micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(draws: u32, mut draw: impl FnMut() -> f64) -> f64 {
        (0..draws).map(|_| draw()).sum::<f64>() / f64::from(draws)
    }

    #[test]
    fn a_seed_and_a_name_make_one_sequence() {
        let first = |seed, name| Dice::new(seed, name).draw();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }

    #[test]
    fn draws_have_the_means_they_are_named_for() {
        let mut dice = Dice::new(1, "means");
        let exponential = mean(20_000, || dice.exponential(4.0).0 as f64 / 1e6);
        assert!((exponential - 0.25).abs() < 0.01, "{exponential}");
        for shape in [0.5, 1.5, 3.0] {
            let gamma = mean(20_000, || dice.gamma(shape));
            assert!((gamma - 1.0).abs() < 0.05, "{shape}: {gamma}");
        }
        for wanted in [0.3, 7.0, 400.0] {
            let poisson = mean(20_000, || dice.poisson(wanted) as f64);
            assert!((poisson / wanted - 1.0).abs() < 0.05, "{wanted}: {poisson}");
        }
        assert!((mean(20_000, || dice.normal())).abs() < 0.03);
        assert_eq!(dice.below(0), 0);
        assert_eq!(micros(f64::NAN), Micros(0));
        assert_eq!(micros(-1.0), Micros(0));
    }
}
