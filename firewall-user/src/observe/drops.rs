//! The drop ledger, in words and in JSON.

use std::net::IpAddr;

use firewall_common::{ledger::Dropped, packet::NO_L4, verdict::Reason};
use serde_json::{Value, json};

use super::{
    author::Author,
    clock::Clock,
    packet::{address, protocol_name},
    words::counted,
};
use crate::compile::Manifest;

/// Whose packets they were.
pub fn source(dropped: &Dropped) -> Option<IpAddr> {
    address(dropped.nfproto, dropped.source)
}

/// What is known of the drops of one source.
#[derive(Debug)]
pub struct Drop<'a> {
    dropped: &'a Dropped,
    manifest: Option<&'a Manifest>,
}

impl<'a> Drop<'a> {
    /// With the manifest of the generation that dropped last, if it is still there.
    pub const fn new(dropped: &'a Dropped, manifest: Option<&'a Manifest>) -> Self {
        Self { dropped, manifest }
    }

    fn author(&self) -> Author<'a> {
        Author::of(self.dropped.rule, self.manifest)
    }

    fn reason(&self) -> Option<Reason> {
        Reason::from_number(self.dropped.reason)
    }

    /// `tcp port 443`
    pub fn target(&self) -> Option<String> {
        let word = self.dropped.destination_port;
        (word & NO_L4 != NO_L4).then(|| format!("{} port {}", protocol_name((word >> 16) as u8), word & 0xffff))
    }

    /// A few lines.
    pub fn text(&self, clock: Clock) -> String {
        let source = source(self.dropped).map_or_else(|| "?".to_owned(), |source| source.to_string());
        let reason = self.reason();
        let name = reason.map_or("unknown", Reason::name);
        let layer = reason.map_or("unknown", |reason| reason.layer().name());
        let by = match (reason, self.author().long()) {
            (Some(Reason::Rule | Reason::Policy) | None, Some(author)) => author,
            (Some(reason), _) => reason.meaning().to_owned(),
            (None, None) => String::new(),
        };
        let target = self.target().map_or_else(String::new, |target| format!(", to {target}"));
        format!(
            "{source}: {} dropped\n  first  {}\n  last   {}{target}\n  why    {name} ({layer}): {by}\n",
            counted(self.dropped.packets, "packet"),
            clock.at(self.dropped.first_ns).date_and_time(),
            clock.at(self.dropped.last_ns).date_and_time(),
        )
    }

    /// The same as JSON.
    pub fn json(&self, clock: Clock) -> Value {
        let reason = self.reason();
        json!({
            "packets": self.dropped.packets,
            "first": clock.at(self.dropped.first_ns).date_and_time(),
            "last": clock.at(self.dropped.last_ns).date_and_time(),
            "to": self.target(),
            "reason": reason.map(Reason::name),
            "layer": reason.map(|reason| reason.layer().name()),
            "rule": self.author().rule_json(),
            "policy": self.author().policy_json(),
            "generation": self.dropped.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_with_what_it_wanted() {
        let dropped = Dropped {
            source: [0xc633_6407, 0, 0, 0],
            nfproto: 2,
            first_ns: 1,
            last_ns: 2_000_000_000,
            packets: 3,
            reason: Reason::TcpFlags as u32,
            rule: firewall_common::image::NO_RULE,
            destination_port: 6 << 16 | 0x1bb,
            ..Dropped::default()
        };
        assert_eq!(source(&dropped), Some([198, 51, 100, 7].into()));
        let drop = Drop::new(&dropped, None);
        let text = drop.text(Clock::new(3_000_000_000));
        assert!(text.starts_with("198.51.100.7: 3 packets dropped\n"), "{text}");
        assert!(text.contains("to tcp port 443\n  why    tcp_flags (transport): TCP flags"), "{text}");
        assert_eq!(drop.json(Clock::new(0))["reason"], "tcp_flags");
    }
}
