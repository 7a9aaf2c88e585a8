//! The form of time in HTTP fields.

use model::UnixMicros;
use std::cell::Cell;

thread_local! {
    /// The last date this thread wrote and its second: all replies of a second carry the same.
    static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// `now` as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`: the value of `Date`. Years above 9999 are written as 9999.
///
/// Made once a second by each thread, and remembered in between.
///
/// Source: RFC 9110 section 5.6.7.
pub fn http_date(now: UnixMicros) -> [u8; 29] {
    let (second, date) = LAST.get();
    if second == now.secs() {
        return date;
    }
    let date = write_date(now);
    LAST.set((now.secs(), date));
    date
}

fn write_date(now: UnixMicros) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // day 0 of the epoch was a Thursday
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const LAST: UnixMicros = UnixMicros::from_secs(253_402_300_799);
    let now = now.min(LAST);
    let rfc3339 = now.to_string();
    let part = |from: usize, to: usize| rfc3339.get(from..to).unwrap_or_default();
    let weekday = DAYS.iter().cycle().nth(usize::try_from(now.secs() / 86_400 % 7).unwrap_or(0));
    let month = MONTHS.get(part(5, 7).parse::<usize>().unwrap_or(1).saturating_sub(1));
    let text = format!(
        "{}, {} {} {} {} GMT",
        weekday.unwrap_or(&"Thu"),
        part(8, 10),
        month.unwrap_or(&"Jan"),
        part(0, 4),
        part(11, 19),
    );
    let mut date = [b' '; 29];
    for (to, from) in date.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        for (rfc3339, expected) in [
            ("1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("2024-02-29T23:59:59.999999Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
            ("2026-11-22T20:04:36Z", "Sun, 22 Nov 2026 20:04:36 GMT"),
        ] {
            assert_eq!(
                http_date(UnixMicros::parse(rfc3339).unwrap()),
                expected.as_bytes(),
                "{rfc3339}"
            );
        }
        assert_eq!(http_date(UnixMicros(u64::MAX)), b"Fri, 31 Dec 9999 23:59:59 GMT".as_slice());
    }
}
