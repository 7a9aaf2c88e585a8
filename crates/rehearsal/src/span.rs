//! Lengths of time as scenario files write them: `30s`, `10m`, `6h`, `28d`, `250ms`.

use model::Micros;
use serde::Deserialize;
use std::fmt;

/// The longest that may be written. What a rehearsal leaves on disk has times that tools of others read too.
const DAYS_MAX: u64 = 400;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// A length of time: a whole number and one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Micros);

/// Text that is not a length of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as `30s`, `10m`, `6h` or `28d`, of {DAYS_MAX} days at most")]
pub struct BadSpan(String);

impl Span {
    /// In seconds.
    pub fn secs(self) -> f64 {
        seconds(self.0)
    }
}

/// Microseconds as seconds, for people and for rates.
pub fn seconds(micros: Micros) -> f64 {
    micros.0 as f64 / 1e6
}

impl TryFrom<String> for Span {
    type Error = BadSpan;

    fn try_from(text: String) -> Result<Self, BadSpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, micros)| *micros);
        let span = number.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        match span.filter(|micros| *micros <= DAYS_MAX * 86_400_000_000) {
            Some(micros) => Ok(Self(Micros(micros))),
            None => Err(BadSpan(text)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0.0 >= *unit && self.0.0.is_multiple_of(*unit);
        match UNITS.iter().rev().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", self.0.0 / unit),
            None => write!(f, "{}ms", self.0.0 / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for text in ["250ms", "30s", "10m", "6h", "28d"] {
            assert_eq!(Span::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Span::try_from("202s".to_owned()).unwrap().secs(), 202.0);
        for text in ["", "30", "s", "-1s", "1.5h", "1w", "401d", "99999999999999999999s", "1 s"] {
            assert!(Span::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
