//! Values of arguments: durations, prefixes, protocols, states, event filters.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use firewall_common::{
    conntrack::{Phase, State},
    event::Kind,
    image::Hook,
    verdict::{Layer, Reason},
};

use crate::language::names::{self, PROTOCOLS};

/// Longer than anybody waits for himself.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// `90`, `60s`, `1m30s`, `2h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; 60s, 5m, 1m30s and 1h are");
    match Duration::from_secs(seconds(text).ok_or_else(wrong)?) {
        Duration::ZERO => Err(wrong()),
        long if long > LONGEST => Err(format!("`{text}` is longer than a week")),
        duration => Ok(duration),
    }
}

/// The seconds of a duration: `90`, `60s`, `1m30s`, `2h`, `1d`.
pub fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let seconds = unit_seconds(&rest[digits..digits + unit])?;
        rest = &rest[digits + unit..];
        total = total.checked_add(number.checked_mul(seconds)?)?;
    }
    Some(total)
}

fn unit_seconds(unit: &str) -> Option<u64> {
    match unit {
        "" | "s" | "sec" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    }
}

/// A protocol by name or number.
pub fn protocol(text: &str) -> Result<u8, String> {
    let number = match text {
        "icmp6" | "ipv6-icmp" => Some(58),
        name => names::number(PROTOCOLS, &name.to_ascii_lowercase()).or_else(|| text.parse().ok()),
    };
    let number = number.and_then(|number| u8::try_from(number).ok());
    number.ok_or_else(|| format!("`{text}` is no protocol; tcp, udp, icmp, icmpv6 and numbers up to 255 are"))
}

/// The names of all states of connections.
pub fn states() -> Vec<&'static str> {
    let shown = |phase: &&Phase| !matches!(phase, Phase::Free | Phase::Claimed);
    let mut states: Vec<_> = Phase::ALL.iter().filter(shown).map(|phase| State::new(*phase).name()).collect();
    let open = State::new(Phase::Open).replied();
    states.extend([open.name(), open.assured().name()]);
    states
}

/// A state by its name, in any case.
pub fn state(text: &str) -> Result<String, String> {
    let known = states();
    let wanted = text.to_ascii_uppercase().replace('-', "_");
    if known.contains(&wanted.as_str()) {
        return Ok(wanted);
    }
    Err(format!("`{text}` is no state of a connection; they are {}", known.join(", ")))
}

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The addresses that share the first `length` bits with `address`.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (bits, width) = bits_of(address);
        if u32::from(length) > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - u32::from(length)).unwrap_or(0);
        let first = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((bits & mask) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits & mask)),
        };
        Some(Self { address: first, length })
    }

    /// The lowest address, and how many first bits they share.
    pub const fn parts(&self) -> (IpAddr, u8) {
        (self.address, self.length)
    }

    /// Are all addresses of the other one among these?
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Family, address and mask as the words that the program compares.
    pub fn words(&self) -> (u32, [u32; 4], [u32; 4]) {
        let (family, bits, width) = match self.address {
            IpAddr::V4(address) => (2, u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (10, address.to_bits(), 128),
        };
        let length = u32::from(self.length.min(width));
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let words = |bits: u128| [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
        (family, words(bits & mask), words(mask))
    }

    /// Is the address one of them?
    pub fn contains(&self, address: IpAddr) -> bool {
        let (one, other, bits) = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        (one ^ other).checked_shr(bits - u32::from(self.length)).unwrap_or(0) == 0
    }
}

/// An address as a number, and how many bits it has.
const fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits() as u128, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// An address, or an address and a length.
impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if u32::from(self.length) == bits_of(self.address).1 {
            return write!(formatter, "{}", self.address);
        }
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

/// A prefix whose address may have bits behind it, which do not count.
pub fn network(text: &str) -> Result<Prefix, String> {
    let Prefix { address, length } = text.parse()?;
    Prefix::new(address, length).ok_or_else(|| format!("`{text}` is no prefix"))
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address or prefix; 192.0.2.1, 192.0.2.0/24 and 2001:db8::/32 are");
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(bits), |length| length.parse().map_err(|_| wrong()))?;
        if length > bits { Err(wrong()) } else { Ok(Self { address, length }) }
    }
}

/// A mark, and which of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// Is this mark meant?
    pub fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value & self.mask
    }
}

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
        let mask = mask.map_or(Some(u32::MAX), number);
        match (number(value), mask) {
            (Some(value), Some(mask)) => Ok(Self { value, mask }),
            _ => Err(format!("`{text}` is no mark; 16, 0x10 and 0x10/0xf0 are")),
        }
    }
}

/// What an event must be to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    /// Its kind.
    Kind(Kind),
    /// The packet's protocol.
    Protocol(u8),
    /// The packet's source address.
    Source(Prefix),
    /// The packet's destination address.
    Destination(Prefix),
    /// Either of them.
    Host(Prefix),
    /// The packet's source port.
    SourcePort(u16),
    /// The packet's destination port.
    DestinationPort(u16),
    /// Either of them.
    Port(u16),
    /// The reason of a drop.
    Reason(Reason),
    /// The layer of a drop.
    Layer(Layer),
    /// The hook.
    Hook(Hook),
    /// The interface.
    Interface(String),
}

impl FromStr for EventFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "banned" {
            return Ok(Self::Reason(Reason::Banned));
        }
        let Some((key, value)) = text.split_once('=') else { return kind(text).map(Self::Kind) };
        Ok(match key {
            "kind" | "event" => Self::Kind(kind(value)?),
            "proto" | "protocol" => Self::Protocol(protocol(value)?),
            "src" | "saddr" => Self::Source(value.parse()?),
            "dst" | "daddr" => Self::Destination(value.parse()?),
            "host" => Self::Host(value.parse()?),
            "sport" => Self::SourcePort(port(value)?),
            "dport" => Self::DestinationPort(port(value)?),
            "port" => Self::Port(port(value)?),
            "reason" => Self::Reason(named("reason", value, Reason::ALL, Reason::name)?),
            "layer" => Self::Layer(named("layer", value, &LAYERS, Layer::name)?),
            "hook" => Self::Hook(named("hook", value, &Hook::ALL, Hook::name)?),
            "interface" | "iface" | "if" => Self::Interface(value.to_owned()),
            _ => return Err(format!("no filter is called `{key}`; see `rampart monitor --help`")),
        })
    }
}

const LAYERS: [Layer; 5] = [Layer::Link, Layer::Network, Layer::Transport, Layer::Ruleset, Layer::Internal];

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "drop" => Ok(Kind::Dropped),
        "log" => Ok(Kind::Logged),
        _ => named("kind of event", text, Kind::ALL, Kind::name),
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is no port"))
}

/// The value of a name, or which names there are.
fn named<T: Copy>(what: &str, text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|value| name(*value) == text).ok_or_else(|| {
        let known = all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ");
        format!("no {what} is called `{text}`; they are {known}")
    })
}

#[cfg(test)]
mod tests;
