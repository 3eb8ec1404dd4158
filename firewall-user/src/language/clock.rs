//! Dates and times of day, in the time zone of whoever reads the ruleset, as nftables has them.

/// Seconds of a day.
pub const DAY: u32 = 86_400;

/// How far the local time is ahead of UTC at a moment, in seconds; 0 when that is not known.
pub fn offset_at(seconds: i64) -> i64 {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    #[expect(unsafe_code, reason = "the standard library knows no time zones")]
    // SAFETY: both pointers are to values that live as long as the call; all zero bytes are a valid `tm`, whose zone is
    // not looked at.
    let parts = unsafe {
        if libc::localtime_r(&raw const seconds, parts.as_mut_ptr()).is_null() {
            return 0;
        }
        parts.assume_init()
    };
    parts.tm_gmtoff
}

/// How far the local time is ahead of UTC now, in seconds.
pub fn offset_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    offset_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds since midnight of `18:30` or `18:30:15`.
pub fn hour(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| digits(part, 2));
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None => 0,
    };
    let valid = parts.next().is_none() && hours < 24 && minutes < 60 && seconds < 61;
    valid.then_some(hours * 3600 + minutes * 60 + seconds)
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let valid = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

/// `18:30`, with seconds when there are some.
pub fn hour_text(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if seconds == 0 { format!("{hours:02}:{minutes:02}") } else { format!("{hours:02}:{minutes:02}:{seconds:02}") }
}

/// Nanoseconds since 1970 of `2026-01-31`, with a time of day behind it or without, local time.
pub fn date(text: &str) -> Option<u64> {
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00"));
    let mut parts = day.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let valid =
        parts.next().is_none() && (1970..=2500).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid {
        return None;
    }
    let seconds = days(year.into(), month.into(), day.into()) * i64::from(DAY) + i64::from(hour(time.trim_start())?);
    u64::try_from(seconds - offset_at(seconds)).ok()?.checked_mul(1_000_000_000)
}

/// Days from 1970-01-01 to a date: in years that begin in March a leap day is the last one.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let era = year / 400;
    let in_era = year - era * 400;
    let in_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// `2026-01-31 18:30:00`, local time.
pub fn date_text(nanoseconds: u64) -> String {
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0);
    let local = seconds + offset_at(seconds);
    let (day, rest) = (local.div_euclid(DAY.into()), local.rem_euclid(DAY.into()));
    let (year, month, day) = date_of(day + 719_468);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day, so many days after 1 March of the year 0.
const fn date_of(days: i64) -> (i64, i64, i64) {
    let (era, in_era) = (days / 146_097, days % 146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + (month <= 2) as i64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (text, seconds) in [("00:00", 0), ("18:30", 66_600), ("18:30:15", 66_615), ("23:59:59", 86_399)] {
            assert_eq!(hour(text), Some(seconds), "{text}");
            assert_eq!(hour_text(seconds), text);
        }
        for text in ["", "18", "24:00", "18:60", "18:30:15:1", "1830", "18:3a", "-1:30", "018:30"] {
            assert_eq!(hour(text), None, "{text}");
        }
    }

    #[test]
    fn dates_come_back() {
        for day in (0..50_000).step_by(17) {
            let (year, month, day_of_month) = date_of(day + 719_468);
            assert_eq!(days(year, month, day_of_month), day);
        }
        for text in ["2023-01-01 00:00:00", "2024-02-29 23:59:59"] {
            assert_eq!(date_text(date(text).expect("a date")), text);
        }
        assert_eq!(date("2023-01-01"), date("2023-01-01 00:00"));
        for text in ["", "2023", "2023-13-01", "2023-00-01", "2023-01-32", "2023-01-01 24:00", "1969-01-01"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
