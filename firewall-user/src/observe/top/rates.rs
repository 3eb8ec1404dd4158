//! Rates, and how they are written in little room.

use std::collections::VecDeque;

use firewall_common::counter::Counter;

/// What came in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Packets.
    pub packets: f64,
    /// Bits.
    pub bits: f64,
}

impl Rate {
    /// From what was counted at two moments. None without the first one, or when something began anew.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with two or three digits")]
    pub fn between(before: Counter, now: Counter, seconds: Option<f64>) -> Self {
        let Some(seconds) = seconds else { return Self::default() };
        let difference = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Self { packets: difference(before.packets, now.packets), bits: difference(before.bytes, now.bytes) * 8.0 }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bits += other.bits;
    }
}

/// `950`, `1.2k`, `34M`: three characters of digits at most.
pub fn packets(value: f64) -> String {
    scaled(value)
}

/// The same for bits, with their unit: `1.2kb`, `34Mb`.
pub fn bits(value: f64) -> String {
    format!("{}b", scaled(value))
}

fn scaled(value: f64) -> String {
    let (mut value, mut units) = (value, ["", "k", "M", "G", "T"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1000.0, next);
    }
    if (unit.is_empty() && value.fract() == 0.0) || value >= 9.95 {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}

/// The last `width` values as a curve of one line, its top the largest of them.
pub fn spark(values: &VecDeque<f64>, width: usize) -> String {
    const STEPS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let step = |value: f64| {
        if value <= 0.0 || most <= 0.0 {
            return STEPS[0];
        }
        // What is there at all is seen.
        STEPS[((value / most * 8.0).round() as usize).clamp(1, 8)]
    };
    let shown = values.iter().skip(values.len().saturating_sub(width));
    let curve: String = shown.map(|value| step(*value)).collect();
    format!("{curve:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_little_room() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (999.0, "999"),
            (999.7, "1.0k"),
            (1234.0, "1.2k"),
            (56_700.0, "57k"),
            (3_400_000.0, "3.4M"),
            (2.5e12, "2.5T"),
            (4e15, "4000T"),
        ] {
            assert_eq!(packets(value), text, "{value}");
        }
        assert_eq!(bits(96_000.0), "96kb");
    }

    #[test]
    fn a_curve_ends_with_the_last_value() {
        let values: VecDeque<f64> = [0.0, 1.0, 4.0, 8.0, 0.01].into();
        assert_eq!(spark(&values, 6), "  ▁▄█▁");
        assert_eq!(spark(&values, 2), "█▁");
        assert_eq!(spark(&VecDeque::new(), 3), "   ");
    }

    #[test]
    fn nothing_is_said_of_the_time_before_the_first_look() {
        let counter = |packets, bytes| Counter { packets, bytes };
        assert_eq!(Rate::between(counter(0, 0), counter(9, 900), None), Rate::default());
        let rate = Rate::between(counter(10, 1000), counter(30, 3000), Some(2.0));
        assert_eq!(rate, Rate { packets: 10.0, bits: 8000.0 });
        assert_eq!(Rate::between(counter(10, 10), counter(0, 0), Some(1.0)), Rate::default(), "set back");
    }
}
