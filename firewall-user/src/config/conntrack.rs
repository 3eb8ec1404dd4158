//! `[conntrack]`: how connections are tracked.

use std::{collections::BTreeMap, fmt};

use firewall_common::conntrack::{self as common, EVICT, LIBERAL, LOOSE, Timeout, ZONES, ticks_of_seconds};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Unexpected, Visitor},
};

use crate::language::names::nearest;

/// The section `[conntrack]`. Keys that `nf_conntrack` has too have its names, without `nf_conntrack_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conntrack {
    /// Connections the state table has room for; without it, 1/256 of the machine's memory is given to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Max>,
    /// What becomes of a new connection that finds no room.
    pub when_full: WhenFull,
    /// May a TCP segment in mid-stream start a connection?
    pub tcp_loose: bool,
    /// Do TCP segments outside the window belong to their connection?
    pub tcp_be_liberal: bool,
    /// How long connections live.
    #[serde(skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    /// The zone of each interface; 0 for those not named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, u16>,
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            max: None,
            when_full: WhenFull::Refuse,
            tcp_loose: true,
            tcp_be_liberal: false,
            timeouts: Timeouts::default(),
            zones: BTreeMap::new(),
        }
    }
}

/// What becomes of a new connection that finds no room. It takes the place of one that was not answered in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Its first packet is dropped.
    #[default]
    Refuse,
    /// It takes the place of the least recently used one that `nf_conntrack` would drop early: not assured, or closing.
    EvictLru,
}

impl WhenFull {
    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::EvictLru => "evict-lru",
        }
    }
}

impl Conntrack {
    /// The ways in which connections are tracked, as the program has them.
    pub fn ways(&self) -> u32 {
        let bits = [
            (LOOSE, self.tcp_loose),
            (LIBERAL, self.tcp_be_liberal),
            (EVICT, self.when_full == WhenFull::EvictLru),
            (ZONES, self.zones.values().any(|zone| *zone != 0)),
        ];
        bits.iter().filter(|(_, is_set)| *is_set).map(|(bit, _)| bit).sum()
    }

    /// The zone of an interface.
    pub fn zone(&self, interface: &str) -> u16 {
        self.zones.get(interface).copied().unwrap_or(0)
    }
}

/// So many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Max(pub u32);

impl<'de> Deserialize<'de> for Max {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let max = u32::try_from(number).ok().filter(|max| *max > 0);
        max.map(Self).ok_or_else(|| Error::custom(format!("`{number}` connections cannot be had; at least 1 can")))
    }
}

/// Lifetimes that are not the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeouts(BTreeMap<Key, Seconds>);

impl Timeouts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long a lifetime is, seconds.
    pub fn seconds(&self, timeout: Timeout) -> u32 {
        self.0.get(&Key(timeout)).map_or(timeout.default_seconds(), |seconds| seconds.0)
    }

    /// All lifetimes, as the program has them. Those that only shorten that of an established connection never lengthen
    /// it (`nf_conntrack_tcp_packet`).
    pub fn ticks(&self) -> common::Timeouts {
        let mut ticks = common::Timeouts::DEFAULT;
        for timeout in Timeout::ALL {
            ticks.0[*timeout as usize] = ticks_of_seconds(self.seconds(*timeout));
        }
        for shortened in [Timeout::MaxRetrans, Timeout::Unacknowledged] {
            let established = ticks.0[Timeout::Established as usize];
            ticks.0[shortened as usize] = ticks.0[shortened as usize].min(established);
        }
        ticks
    }
}

/// A lifetime by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Timeout);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.key())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = || Timeout::ALL.iter().map(|timeout| timeout.key());
        let found = Timeout::ALL.iter().find(|timeout| timeout.key() == name);
        found.map(|timeout| Self(*timeout)).ok_or_else(|| {
            let hint = nearest(&name, known()).map_or_else(
                || "`rampart conns --timeouts` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Error::custom(format!("no lifetime `{name}` ({hint})"))
        })
    }
}

/// Longer than any connection needs, and far below what 32 bits of ticks can tell apart.
const LONGEST: u64 = 365 * 86_400;

/// A duration: a number of seconds, or a text such as `5d`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Seconds(u32);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("seconds as a number, or a text such as \"90s\", \"5m\", \"1h30m\", \"5d\"")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Seconds, E> {
        if seconds == 0 || seconds > LONGEST {
            return Err(E::custom(format!("{seconds} s is no lifetime; from one second to 365 days is")));
        }
        Ok(Seconds(seconds as u32))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Seconds, E> {
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => Err(E::custom(format!("{seconds} s is no lifetime; from one second to 365 days is"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
        let seconds =
            crate::cli::values::seconds(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
        self.visit_u64(seconds)
    }
}
