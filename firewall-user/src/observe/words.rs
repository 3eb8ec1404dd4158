//! Numbers as people read them.

use std::{fmt::Write, time::Duration};

use firewall_common::conntrack::TICK_NS_SHIFT;

use crate::compile::Manifest;

/// `1 rule`, `2 rules`.
pub fn counted(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `412,006`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much a ruleset is.
pub fn size(manifest: &Manifest) -> String {
    let counted = |list: usize, word| counted(list as u64, word);
    format!("{} in {}", counted(manifest.rules.len(), "rule"), counted(manifest.chains.len(), "chain"))
}

/// Whole seconds in so many ticks.
pub fn seconds_of_ticks(ticks: u32) -> u64 {
    (u64::from(ticks) << TICK_NS_SHIFT) / 1_000_000_000
}

/// `12s`, `3m5s`, `2h4m`, `4d23h`: the two largest units.
pub fn seconds(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let (name, size) = units[first];
    let mut text = format!("{}{name}", seconds / size);
    if let Some((name, smaller)) = units.get(first + 1)
        && seconds % size / smaller > 0
    {
        let _ = write!(text, "{}{name}", seconds % size / smaller);
    }
    text
}

/// `340 us`, `12 ms`, `1.2 s`.
pub fn took(duration: Duration) -> String {
    match duration.as_micros() {
        us @ 0..1000 => format!("{us} us"),
        us @ 1000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `512 bytes`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        // Exact enough: one digit behind the point of a number with few in front.
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        Some((name, size)) => format!("{:.1} {name}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

/// Text that somebody else wrote, safe for a terminal and on one line.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        let rows =
            [(0, "0s"), (59, "59s"), (60, "1m"), (185, "3m5s"), (7440, "2h4m"), (7201, "2h"), (431_999, "4d23h")];
        for (value, text) in rows {
            assert_eq!(seconds(value), text, "{value}");
        }
    }

    #[test]
    fn digits_in_groups() {
        let rows = [(0, "0"), (999, "999"), (1000, "1,000"), (412_006, "412,006"), (1_234_567_890, "1,234,567,890")];
        for (count, text) in rows {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(1536 * 1024), "1.5 MiB");
        assert_eq!(took(Duration::from_micros(340)), "340 us");
        assert_eq!(took(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds_of_ticks(4), 1);
    }

    #[test]
    fn nobody_writes_to_the_terminal_through_us() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a?[31mb?c");
    }
}
