//! Times are UTC microseconds and always come in as arguments; nothing here reads a clock.

use std::fmt;
use std::ops::{Add, Sub};

/// A moment: microseconds since 1970-01-01T00:00:00Z, leap seconds ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// A span of `n` milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(n * 1_000)
    }

    /// A span of `n` seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(n * 1_000_000)
    }
}

impl UnixMicros {
    /// The moment `n` whole seconds after the epoch.
    pub const fn from_secs(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long `self` is after `earlier`; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }

    /// The calendar quarter this moment falls in, counted from 1970 Q1 = 0. Pseudonyms change with it.
    pub fn quarter(self) -> u32 {
        let (year, month, _) = civil_from_days(self.secs() / 86_400);
        (year - 1970) * 4 + (month - 1) / 3
    }

    /// Parses an RFC 3339 timestamp in UTC (`2026-03-01T12:00:00Z`, up to six fractional digits).
    ///
    /// Returns `None` for another offset, another shape or an impossible date: the operator typed it, so say so there.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z')?;
        let (date, clock) = text.split_once('T')?;
        let mut date = date.split('-');
        let year = fixed_digits(date.next()?, 4)?;
        let month = fixed_digits(date.next()?, 2)?;
        let day = fixed_digits(date.next()?, 2)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut clock = clock.split(':');
        let hour = fixed_digits(clock.next()?, 2)?;
        let minute = fixed_digits(clock.next()?, 2)?;
        let second = fixed_digits(clock.next()?, 2)?;
        if date.next().is_some()
            || clock.next().is_some()
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        if fraction.is_empty()
            || fraction.len() > 6
            || !fraction.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let micros = format!("{fraction:0<6}").parse::<u64>().ok()?;
        let days = days_from_civil(year, month, day)?;
        Some(Self(
            (days * 86_400 + u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second))
                * 1_000_000
                + micros,
        ))
    }
}

impl fmt::Display for UnixMicros {
    /// RFC 3339 in UTC with six fractional digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs();
        let (year, month, day) = civil_from_days(secs / 86_400);
        let rest = secs % 86_400;
        let micros = self.0 % 1_000_000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
            rest / 3_600,
            rest % 3_600 / 60,
            rest % 60
        )
    }
}

impl Add<Micros> for UnixMicros {
    type Output = Self;

    fn add(self, span: Micros) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Micros> for UnixMicros {
    type Output = Self;

    fn sub(self, span: Micros) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

fn fixed_digits(text: &str, len: usize) -> Option<u32> {
    (text.len() == len && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Year, month (1-12) and day (1-31) of a day count since 1970-01-01, proleptic Gregorian.
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let mut days = days;
    let mut year = 1970_u32;
    let cycles = days / 146_097; // 400 Gregorian years
    days -= cycles * 146_097;
    year = year.saturating_add(u32::try_from(cycles).unwrap_or(u32::MAX / 400).saturating_mul(400));
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year = year.saturating_add(1);
    }
    let mut month = 1;
    while days >= u64::from(days_in_month(year, month)) {
        days -= u64::from(days_in_month(year, month));
        month += 1;
    }
    (year, month, u32::try_from(days).unwrap_or(0) + 1)
}

fn days_from_civil(year: u32, month: u32, day: u32) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let years: u64 = (1970..year).map(|y| if is_leap(y) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|m| u64::from(days_in_month(year, m))).sum();
    Some(years + months + u64::from(day) - 1)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_read_and_print_alike() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T23:59:59.000001Z", 951_868_799_000_001),
            ("2026-11-22T20:04:36.500000Z", 1_795_377_876_500_000),
        ] {
            assert_eq!(UnixMicros::parse(text), Some(UnixMicros(micros)), "{text}");
            assert_eq!(UnixMicros(micros).to_string(), text);
        }
    }

    #[test]
    fn malformed_times_are_refused() {
        for text in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "2026-1-1T00:00:00Z",
        ] {
            assert_eq!(UnixMicros::parse(text), None, "{text}");
        }
    }

    #[test]
    fn quarters_turn_at_their_first_midnight() {
        let q = |text| UnixMicros::parse(text).unwrap().quarter();
        assert_eq!(q("1970-01-01T00:00:00Z"), 0);
        assert_eq!(q("2026-09-30T23:59:59.999999Z") + 1, q("2026-10-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn every_moment_survives_printing(micros in 0_u64..4_102_444_800_000_000) {
            prop_assert_eq!(UnixMicros::parse(&UnixMicros(micros).to_string()), Some(UnixMicros(micros)));
        }
    }
}
