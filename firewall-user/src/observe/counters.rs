//! What an interface received and sent, and what became of it.

use std::fmt::Write;

use firewall_common::{
    answer::Answers,
    counter::{Counter, InterfaceCounters, PASSED, REDIRECTED},
    verdict::{REASONS, Reason},
};
use serde_json::{Map, Value, json};

/// Packets of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// All of them.
    pub all: Counter,
    /// Those that went on.
    pub passed: Counter,
    /// Those that took the fast path.
    pub redirected: Counter,
    /// Those that did not go on, by reason number; only reasons that happened.
    pub dropped: Vec<(u32, Counter)>,
}

impl Way {
    /// The counters of one direction.
    pub fn of(counters: &[Counter; REASONS]) -> Self {
        let sum = |sum: Counter, counter: &Counter| Counter {
            packets: sum.packets.saturating_add(counter.packets),
            bytes: sum.bytes.saturating_add(counter.bytes),
        };
        let dropped = counters.iter().enumerate().filter(|(number, _)| ![PASSED, REDIRECTED].contains(number));
        Self {
            all: counters.iter().fold(Counter::default(), sum),
            passed: counters[PASSED],
            redirected: counters[REDIRECTED],
            dropped: dropped
                .filter(|(_, counter)| counter.packets > 0)
                .map(|(number, counter)| (number as u32, *counter))
                .collect(),
        }
    }

    /// Did nothing ever go this way?
    pub const fn is_empty(&self) -> bool {
        self.all.packets == 0
    }

    fn text(&self, word: &str, out: &mut String) {
        let dropped = self.dropped.iter().map(|(_, counter)| counter.packets).sum::<u64>();
        let Counter { packets, bytes } = self.all;
        let _ = writeln!(out, "  {word:<9} {packets:>12} packets {bytes:>16} bytes");
        let Counter { packets, bytes } = self.passed;
        let _ = writeln!(out, "    passed  {packets:>12} packets {bytes:>16} bytes");
        if self.redirected.packets > 0 {
            let Counter { packets, bytes } = self.redirected;
            let _ = writeln!(out, "    offload {packets:>12} packets {bytes:>16} bytes");
        }
        if dropped > 0 {
            let _ = writeln!(out, "    dropped {dropped:>12} packets");
        }
        for (number, Counter { packets, bytes }) in &self.dropped {
            let (name, layer, meaning) = reason(*number);
            let _ = writeln!(out, "      {packets:>18} packets {bytes:>16} bytes  {name} ({layer}): {meaning}");
        }
    }

    /// The same as JSON; `word` is what packets of this direction were: received or sent.
    fn json(&self, word: &str) -> Map<String, Value> {
        let by_reason = |value: fn(&Counter) -> u64| -> Map<String, Value> {
            self.dropped.iter().map(|(number, counter)| (reason(*number).0, value(counter).into())).collect()
        };
        let entries = [
            (word.to_owned(), self.all.packets.into()),
            (format!("{word}_bytes"), self.all.bytes.into()),
            ("passed".to_owned(), self.passed.packets.into()),
            ("passed_bytes".to_owned(), self.passed.bytes.into()),
            ("redirected".to_owned(), self.redirected.packets.into()),
            ("redirected_bytes".to_owned(), self.redirected.bytes.into()),
            ("dropped".to_owned(), by_reason(|counter| counter.packets).into()),
            ("dropped_bytes".to_owned(), by_reason(|counter| counter.bytes).into()),
        ];
        entries.into_iter().collect()
    }
}

/// Name, layer and meaning of a reason; a newer program may know more of them.
pub fn reason(number: u32) -> (String, &'static str, &'static str) {
    match Reason::from_number(number) {
        Some(reason) => (reason.name().to_owned(), reason.layer().name(), reason.meaning()),
        None => (format!("reason_{number}"), "unknown", "a reason that this version does not know"),
    }
}

/// An interface's counters, as lines.
pub fn text(name: &str, counters: &InterfaceCounters) -> String {
    let mut out = format!("{name}\n");
    Way::of(&counters.ingress).text("received", &mut out);
    Way::of(&counters.egress).text("sent", &mut out);
    out
}

/// An interface's counters: those of received packets, and under `egress` those of sent ones.
pub fn json(counters: &InterfaceCounters) -> Value {
    let mut value = Way::of(&counters.ingress).json("received");
    value.insert("egress".to_owned(), Way::of(&counters.egress).json("sent").into());
    json!(value)
}

/// What became of refusals at an interface, as lines; none when there were none.
pub fn answers_text(answers: &Answers) -> String {
    let Answers { resets, errors, limited, unanswerable, failed } = *answers;
    let lines = [
        (resets, "TCP resets sent back"),
        (errors, "ICMP errors sent back"),
        (limited, "refusals not told: too many ICMP errors"),
        (unanswerable, "refusals not told: such packets are never answered"),
        (failed, "refusals not told: no answer could be made"),
    ];
    let lines = lines.iter().filter(|(number, _)| *number > 0);
    lines.map(|(number, what)| format!("  {number:>22} {what}\n")).collect::<Vec<_>>().concat()
}

/// The same as JSON.
pub fn answers_json(answers: &Answers) -> Value {
    let Answers { resets, errors, limited, unanswerable, failed } = *answers;
    json!({ "resets": resets, "icmp_errors": errors, "limited": limited, "unanswerable": unanswerable, "failed": failed })
}

/// Was nothing counted?
pub fn is_empty(counters: &InterfaceCounters) -> bool {
    Way::of(&counters.ingress).is_empty() && Way::of(&counters.egress).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> InterfaceCounters {
        let mut counters =
            InterfaceCounters { ingress: [Counter::default(); REASONS], egress: [Counter::default(); REASONS] };
        counters.ingress[PASSED] = Counter { packets: 10, bytes: 1000 };
        counters.ingress[Reason::Policy as usize] = Counter { packets: 3, bytes: 180 };
        counters.ingress[Reason::Ipv4Version as usize] = Counter { packets: 1, bytes: 60 };
        counters.egress[PASSED] = Counter { packets: 5, bytes: 500 };
        counters.ingress[REDIRECTED] = Counter { packets: 2, bytes: 200 };
        counters.egress[REASONS - 1] = Counter { packets: 1, bytes: 1 };
        counters
    }

    #[test]
    fn only_reasons_that_happened_are_shown() {
        let text = text("eth0", &counters());
        assert!(text.starts_with("eth0\n  received            16 packets             1440 bytes\n"), "{text}");
        assert!(text.contains("policy (ruleset): no rule decided"), "{text}");
        assert!(text.contains("ipv4_version (network): "), "{text}");
        assert!(text.contains("reason_127 (unknown)"), "{text}");
        assert!(!text.contains("udp_length"), "{text}");
    }

    #[test]
    fn every_packet_is_in_the_sum() {
        let json = json(&counters());
        assert_eq!(json["received"], 16);
        assert_eq!(json["redirected"], 2);
        assert_eq!(json["passed"], 10);
        assert_eq!(json["dropped"], serde_json::json!({ "policy": 3, "ipv4_version": 1 }));
        assert_eq!(json["dropped_bytes"]["policy"], 180);
        assert_eq!(json["egress"]["sent"], 6);
        assert_eq!(json["egress"]["passed_bytes"], 500);
    }
}
