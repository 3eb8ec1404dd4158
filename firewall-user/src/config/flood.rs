//! `[syn_flood]`: SYN cookies while too many handshakes are not completed.

use std::fmt;

use firewall_common::flood::{Flooding, PORTS};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::balance::Number;

/// The section `[syn_flood]`. Without `begin`, no cookie is ever sent unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynFlood {
    /// Handshakes of the last eight seconds that are not completed, from which on cookies are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<Number<1, 1_000_000_000>>,
    /// Those below which no more are; without it, a quarter of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Number<1, 1_000_000_000>>,
    /// Ports of this host that are protected; none: all.
    #[serde(skip_serializing_if = "Ports::is_empty")]
    pub ports: Ports,
    /// The largest segment that clients are told of.
    pub mss: Number<64, 65_495>,
}

impl Default for SynFlood {
    fn default() -> Self {
        Self { begin: None, end: None, ports: Ports::default(), mss: Number(1460) }
    }
}

impl SynFlood {
    /// Are cookies ever sent unasked?
    pub const fn is_on(&self) -> bool {
        self.begin.is_some()
    }

    /// As the program has it. The end is never above the beginning.
    pub fn limits(&self) -> Flooding {
        let Some(Number(begin)) = self.begin else { return Flooding::NEVER };
        let end = self.end.map_or(begin / 4, |end| end.0).clamp(1, begin);
        let mut ports = [Flooding::NO_PORTS; PORTS];
        if self.ports.is_empty() {
            ports[0] = Flooding::ALL_PORTS;
        }
        for (place, Range { first, last }) in ports.iter_mut().zip(&self.ports.0) {
            *place = u32::from(*first) << 16 | u32::from(*last);
        }
        Flooding { begin, end, mss: self.mss.0, ports }
    }

    /// In a line.
    pub fn text(&self) -> Option<String> {
        let Flooding { begin, end, .. } = self.limits();
        let ports = self.ports.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        let ports = if ports.is_empty() { "every port".to_owned() } else { format!("port {}", ports.join(", ")) };
        self.is_on().then(|| format!("cookies from {begin} open handshakes on, until fewer than {end}: {ports}"))
    }
}

/// Ports, at most as many ranges as the program has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ports(Vec<Range>);

impl Ports {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::deserialize(deserializer)?;
        let count = ranges.len();
        if count > PORTS {
            Err(Error::custom(format!("{count} ranges of ports; there is room for {PORTS}")))
        } else {
            Ok(Self(ranges))
        }
    }
}

/// A port, or `"FIRST-LAST"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RangeVisitor)
    }
}

struct RangeVisitor;

impl Visitor<'_> for RangeVisitor {
    type Value = Range;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a port, or \"FIRST-LAST\"")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Range, E> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.map(|port| Range { first: port, last: port }).ok_or_else(|| E::custom(format!("{number} is no port")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Range, E> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = first.trim().parse().ok().zip(last.trim().parse().ok());
        let range = range
            .map(|(first, last)| Range { first, last })
            .filter(|range| 0 < range.first && range.first <= range.last);
        range.ok_or_else(|| E::custom(format!("`{text}` is no port and no FIRST-LAST")))
    }
}
