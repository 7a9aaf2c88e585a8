//! Days and months on the calendar, in UTC: what deadlines are counted in.

use model::UnixMicros;

const DAY: u64 = 86_400_000_000;

/// The moment `days` working days after `at`: Saturdays and Sundays are not counted, nor is the day it starts on. Holidays differ by
/// place and are not known here. A deadline in days ends with its last day (Regulation 1182/71 article 3; 17 CFR 240.0-3).
pub(crate) fn business_days_after(at: UnixMicros, days: u32) -> UnixMicros {
    let (mut day, mut left) = (at.0 / DAY, days);
    while left > 0 {
        day += 1;
        left -= u32::from(!is_weekend(day));
    }
    UnixMicros((day + 1) * DAY - 1)
}

/// The last moment of the day that is `days` days after the day of `at`.
pub(crate) fn days_after(at: UnixMicros, days: u32) -> UnixMicros {
    UnixMicros((at.0 / DAY + u64::from(days) + 1) * DAY - 1)
}

/// The last moment of the day with the same number `months` later, or of that month's last day.
pub(crate) fn months_after(at: UnixMicros, months: u32) -> UnixMicros {
    let text = at.to_string();
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return at;
    };
    let months = year * 12 + month - 1 + months;
    let (year, month) = (months / 12, months % 12 + 1);
    // The last days of a month may be missing in the other one.
    let found = (0..4).find_map(|less| {
        let day = day.saturating_sub(less);
        UnixMicros::parse(&format!("{year:04}-{month:02}-{day:02}T00:00:00Z"))
    });
    found.map_or(at, |start| UnixMicros(start.0 + DAY - 1))
}

/// RFC 3339 in UTC, to the second: what a form says.
pub(crate) fn seconds(at: UnixMicros) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

/// Day 0 is 1970-01-01, a Thursday.
const fn is_weekend(day: u64) -> bool {
    matches!((day + 4) % 7, 0 | 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMicros {
        UnixMicros::parse(text).unwrap()
    }

    #[test]
    fn working_days_leave_out_the_weekend_and_the_first_day() {
        // 2026-11-24 is a Tuesday.
        for (from, days, until) in [
            ("2026-11-24T08:00:00Z", 4, "2026-11-30T23:59:59.999999Z"),
            ("2026-11-27T23:00:00Z", 1, "2026-11-30T23:59:59.999999Z"),
            ("2026-11-28T01:00:00Z", 1, "2026-11-30T23:59:59.999999Z"),
            ("2026-11-29T01:00:00Z", 4, "2026-12-03T23:59:59.999999Z"),
            ("2026-12-31T12:00:00Z", 1, "2027-01-01T23:59:59.999999Z"),
        ] {
            assert_eq!(business_days_after(at(from), days), at(until), "{from} + {days}");
        }
    }

    #[test]
    fn a_form_says_seconds() {
        assert_eq!(seconds(at("2026-11-24T11:48:50.517057Z")), "2026-11-24T11:48:50Z");
    }

    #[test]
    fn a_month_later_is_the_same_day_or_the_months_last() {
        for (from, until) in [
            ("2026-11-24T08:00:00Z", "2026-12-24T23:59:59.999999Z"),
            ("2026-01-31T00:00:00Z", "2026-02-28T23:59:59.999999Z"),
            ("2028-01-31T00:00:00Z", "2028-02-29T23:59:59.999999Z"),
            ("2026-12-31T00:00:00Z", "2027-01-31T23:59:59.999999Z"),
        ] {
            assert_eq!(months_after(at(from), 1), at(until), "{from}");
        }
    }

    #[test]
    fn a_deadline_in_days_ends_with_its_last_day() {
        assert_eq!(days_after(at("2026-11-24T08:00:00Z"), 30), at("2026-12-24T23:59:59.999999Z"));
    }
}
