//! Calendar dates, and RFC 3339 moments with any offset, as evidence and SBOMs carry them.

use model::{Micros, UnixMicros};
use std::fmt;

/// A day of the calendar in UTC, 1970 or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(UnixMicros);

impl Date {
    /// Reads `2026-03-01`; `None` for any other form or an impossible date.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 10).then(|| UnixMicros::parse(&format!("{text}T00:00:00Z")).map(Self))?
    }

    /// Its first moment.
    pub const fn start(self) -> UnixMicros {
        self.0
    }

    /// Its last moment and one microsecond: what is valid until a date is valid all through that day.
    pub fn end(self) -> UnixMicros {
        self.0 + DAY
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().get(..10).unwrap_or(""))
    }
}

/// One day.
pub(crate) const DAY: Micros = Micros::from_secs(86_400);

/// `count` days.
pub(crate) const fn days(count: u32) -> Micros {
    Micros::from_secs(86_400 * count as u64)
}

/// Reads an RFC 3339 date and time with any offset; a fraction beyond microseconds is cut off, and second 60 is read as 59.
///
/// Returns `None` for another form, an impossible date, or a moment before 1970.
///
/// Source: RFC 3339 section 5.6.
pub(crate) fn moment(text: &str) -> Option<UnixMicros> {
    let text = text.to_ascii_uppercase();
    let zone = text.rfind(['Z', '+', '-'])?;
    let (local, zone) = text.split_at_checked(zone)?;
    let (whole, fraction) = match local.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction.get(..6).unwrap_or(fraction)),
        None => (local, "0"),
    };
    if !local.split_once('.').is_none_or(|(_, digits)| digits.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    //= RFC 3339 section 5.6: time-second may be 60 at a leap second
    let whole = whole.strip_suffix(":60").map_or(whole.to_owned(), |minute| format!("{minute}:59"));
    let local = UnixMicros::parse(&format!("{whole}.{fraction}Z"))?;
    match zone.as_bytes() {
        b"Z" => Some(local),
        [sign, hour @ .., b':', m1, m2] if hour.len() == 2 => {
            let number = |digits: &[u8]| -> Option<u64> {
                let digits = std::str::from_utf8(digits).ok()?;
                digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
            };
            let (hours, minutes) = (number(hour)?, number(&[*m1, *m2])?);
            let offset = Micros::from_secs(hours * 3_600 + minutes * 60);
            (hours < 24 && minutes < 60)
                .then(|| if *sign == b'+' { local - offset } else { local + offset })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_form() {
        assert_eq!(Date::parse("2026-03-01").unwrap().to_string(), "2026-03-01");
        for text in
            ["", "2026-3-1", "2026-02-30", "20260301", "2026-03-01T", "1969-12-31", "2026-03-0é"]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_valid_through_its_day() {
        let date = Date::parse("2026-03-01").unwrap();
        assert_eq!(date.start().to_string(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(date.end().to_string(), "2026-03-02T00:00:00.000000Z");
    }

    #[test]
    fn moments_are_brought_to_utc() {
        for (text, utc) in [
            ("2020-04-13T20:20:39+00:00", "2020-04-13T20:20:39.000000Z"),
            ("2020-04-13T20:20:39.5-02:30", "2020-04-13T22:50:39.500000Z"),
            ("2020-04-13t20:20:39z", "2020-04-13T20:20:39.000000Z"),
            ("2020-04-13T20:20:39.123456789Z", "2020-04-13T20:20:39.123456Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), utc, "{text}");
        }
        for text in [
            "2020-04-13",
            "2020-04-13T20:20:39",
            "2020-04-13T20:20:39.Z",
            "2020-04-13T20:20:39+2:00",
            "2020-04-13T20:20:39+24:00",
            "2020-04-13T20:20:39.1x2Z",
            "",
            "Z",
            "é",
            "2020-04-13T25:00:00Z",
            "2020-04-13 20:20:39Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
