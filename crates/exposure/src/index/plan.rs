//! Which buckets of time a window is made of.

use super::footer::Length;
use model::UnixMicros;

/// Days in a week's bucket, counted from the epoch.
pub const DAYS_OF_WEEK: u32 = 7;
/// Days in a month's bucket, counted from the epoch.
pub const DAYS_OF_MONTH: u32 = 30;

pub(super) const HOUR: u64 = 3_600_000_000;

/// An hour's first moment, and the next hour's.
pub(super) const fn hour_of(bucket: u32) -> (UnixMicros, UnixMicros) {
    let start = bucket as u64 * HOUR;
    (UnixMicros(start), UnixMicros(start + HOUR))
}

/// A window, cut up. The pieces do not overlap and leave nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Whole buckets, in order of time.
    pub(super) buckets: Vec<(Length, u32)>,
    /// What is left at both ends, less than an hour each; half-open.
    pub(super) edges: Vec<(UnixMicros, UnixMicros)>,
}

impl Plan {
    /// The days that a bucket is of: first and number. An hour is of one day.
    pub(super) const fn days(length: Length, bucket: u32) -> (u32, u32) {
        match length {
            Length::Hour => (bucket / 24, 1),
            Length::Day => (bucket, 1),
            Length::Week => (bucket * DAYS_OF_WEEK, DAYS_OF_WEEK),
            Length::Month => (bucket * DAYS_OF_MONTH, DAYS_OF_MONTH),
        }
    }

    /// Covers `from <= t < to`. `has` tells whether a week or month has a run of its own.
    pub(super) fn new(from: UnixMicros, to: UnixMicros, has: impl Fn(Length, u32) -> bool) -> Self {
        let mut plan = Self::default();
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let (first_hour, end_hour) = (number(from.0.div_ceil(HOUR)), number(to.0 / HOUR));
        if from >= to {
            return plan;
        }
        if first_hour >= end_hour {
            // The end of one hour and the beginning of the next, or less.
            let turn = UnixMicros(u64::from(first_hour) * HOUR);
            let turn = turn.min(to);
            plan.edges.extend([(from, turn), (turn, to)]);
        } else {
            let start = UnixMicros(u64::from(first_hour) * HOUR);
            let end = UnixMicros(u64::from(end_hour) * HOUR);
            plan.edges.extend([(from, start), (end, to)]);
            plan.hours(first_hour, end_hour, has);
        }
        plan.edges.retain(|(from, to)| from < to);
        plan
    }

    fn hours(&mut self, first: u32, end: u32, has: impl Fn(Length, u32) -> bool) {
        let (first_day, end_day) = (first.div_ceil(24), end / 24);
        if first_day >= end_day {
            self.buckets.extend((first..end).map(|hour| (Length::Hour, hour)));
            return;
        }
        self.buckets.extend((first..first_day * 24).map(|hour| (Length::Hour, hour)));
        let mut day = first_day;
        while day < end_day {
            let fits = |length, days: u32| {
                let bucket = day / days;
                let whole = day.is_multiple_of(days) && day + days <= end_day;
                (whole && has(length, bucket)).then_some((length, bucket, days))
            };
            let longest =
                fits(Length::Month, DAYS_OF_MONTH).or_else(|| self.week(day, end_day, &has));
            let (length, bucket, days) = longest.unwrap_or((Length::Day, day, 1));
            self.buckets.push((length, bucket));
            day += days;
        }
        self.buckets.extend((end_day * 24..end).map(|hour| (Length::Hour, hour)));
    }

    /// A week from `day` on, unless it would keep a month from being used.
    fn week(
        &self,
        day: u32,
        end_day: u32,
        has: &impl Fn(Length, u32) -> bool,
    ) -> Option<(Length, u32, u32)> {
        let next_month = (day / DAYS_OF_MONTH + 1) * DAYS_OF_MONTH;
        let month_is_used =
            next_month + DAYS_OF_MONTH <= end_day && has(Length::Month, next_month / DAYS_OF_MONTH);
        let end = if month_is_used { next_month.min(end_day) } else { end_day };
        let whole = day.is_multiple_of(DAYS_OF_WEEK) && day + DAYS_OF_WEEK <= end;
        let bucket = day / DAYS_OF_WEEK;
        (whole && has(Length::Week, bucket)).then_some((Length::Week, bucket, DAYS_OF_WEEK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_fill_the_window_without_overlap(from in 0_u64..5_000, length in 0_u64..5_000, a in 0..HOUR, b in 0..HOUR, weeks: u64, months: u64) {
            let (from, to) = (UnixMicros(from * HOUR + a), UnixMicros((from + length) * HOUR + b));
            let plan = Plan::new(from, to, |length, bucket| match length {
                Length::Month => months >> (bucket % 64) & 1 == 1,
                Length::Week => weeks >> (bucket % 64) & 1 == 1,
                Length::Hour | Length::Day => true,
            });
            let mut pieces: Vec<(u64, u64)> = plan.edges.iter().map(|(from, to)| (from.0, to.0)).collect();
            pieces.extend(plan.buckets.iter().map(|&(length, bucket)| {
                let (_, days) = Plan::days(length, bucket);
                let micros = if length == Length::Hour { HOUR } else { u64::from(days) * 24 * HOUR };
                (u64::from(bucket) * micros, (u64::from(bucket) + 1) * micros)
            }));
            pieces.sort_unstable();
            let mut at = from.0;
            for (start, end) in pieces {
                prop_assert_eq!(start, at);
                prop_assert!(end > start);
                at = end;
            }
            prop_assert_eq!(at, to.0.max(from.0));
        }
    }

    #[test]
    fn months_are_preferred_to_the_weeks_before_them() {
        let all = |_, _| true;
        let day = |day: u64| UnixMicros(day * 24 * HOUR);
        let plan = Plan::new(day(56), day(120), all);
        let months = plan.buckets.iter().filter(|(length, _)| *length == Length::Month).count();
        assert_eq!(months, 2);
    }
}
