//! The kernel's clock as time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Turns `CLOCK_MONOTONIC` nanoseconds into time of day. Made anew now and then, it follows when the time is set.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Time of day at monotonic zero, nanoseconds since 1970.
    origin_ns: u64,
}

/// A moment of a day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    days: u64,
    ms: u64,
}

const MS_PER_DAY: u64 = 86_400_000;

impl Clock {
    /// With what the monotonic clock says now.
    pub fn new(monotonic_ns: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_sub(monotonic_ns) }
    }

    /// With a known origin.
    pub const fn since(origin_ns: u64) -> Self {
        Self { origin_ns }
    }

    /// When it was.
    pub const fn at(self, monotonic_ns: u64) -> Moment {
        let ms = self.origin_ns.saturating_add(monotonic_ns) / 1_000_000;
        Moment { days: ms / MS_PER_DAY, ms: ms % MS_PER_DAY }
    }
}

impl Moment {
    /// `06:13:00.123Z`
    pub fn time(self) -> String {
        let seconds = self.ms / 1000;
        format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60, self.ms % 1000)
    }

    /// `2026-02-28T06:13:00.123Z` (RFC 3339)
    pub fn date_and_time(self) -> String {
        let (year, month, day) = date(self.days);
        format!("{year:04}-{month:02}-{day:02}T{}", self.time())
    }
}

/// Year, month and day, so many days after 1970-01-01: in years that begin in March a leap day is the last one.
const fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 1 March of the year 0
    const ERA: u64 = 146_097; // 400 years
    let days = days + DAYS_TO_1970;
    let (era, in_era) = (days / ERA, days % ERA);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let rows = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_454, (2026, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ];
        for (days, expected) in rows {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn a_moment_is_printed_in_utc() {
        let moment = Clock::since(1_700_000_000_000_000_000).at(1_500_000_000);
        assert_eq!(moment.date_and_time(), "2023-11-14T22:13:21.500Z");
        assert_eq!(moment.time(), "22:13:21.500Z");
    }
}
