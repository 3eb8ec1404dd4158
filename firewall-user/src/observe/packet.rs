//! Addresses, ports, protocols and flags.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use firewall_common::{
    event::Event,
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, NO_L4, Packet},
    wire::icmp,
};
use serde_json::{Map, Value, json};

use crate::language::names::{self, ICMP_CODES, ICMP_TYPES, ICMPV6_CODES, ICMPV6_TYPES, PROTOCOLS, TCP_FLAGS};

/// A packet as an event tells of it: as far as it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Source and destination address, if it is an IP packet.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Upper-layer protocol, if it is an IP packet.
    pub protocol: Option<u8>,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// TCP flags.
    pub flags: Option<u8>,
    /// Length of the frame.
    pub length: u32,
    /// Both ends of a new connection as the other side of a translation has them.
    pub translated: Option<Ends>,
}

/// Both ends of a connection, first the one that began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Their addresses.
    pub addresses: (IpAddr, IpAddr),
    /// Their ports, if they have some.
    pub ports: Option<(u16, u16)>,
}

impl Ends {
    /// Those of an event.
    fn of(event: &Event) -> Option<Self> {
        let [source, destination] = event.translated;
        if event.translated == [[0; 4]; 2] {
            return None;
        }
        let addresses = address(event.nfproto, source).zip(address(event.nfproto, destination))?;
        let [from, to] = event.translated_ports.map(|port| port as u16);
        let is_other = [event.source, event.destination] != event.translated
            || (from | to != 0 && [event.source_port as u16, event.destination_port as u16] != [from, to]);
        // A rule may give a connection the addresses that it has.
        is_other.then(|| Self { addresses, ports: (from | to != 0).then_some((from, to)) })
    }

    /// `203.0.113.1:40000 -> 198.51.100.7:443`
    pub fn text(&self) -> String {
        let (source, destination) = self.addresses;
        match self.ports {
            Some((from, to)) => format!("{} -> {}", endpoint(source, from), endpoint(destination, to)),
            None => format!("{source} -> {destination}"),
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let (source, destination) = self.addresses;
        let mut ends = Map::new();
        ends.insert("src".to_owned(), source.to_string().into());
        ends.insert("dst".to_owned(), destination.to_string().into());
        if let Some((from, to)) = self.ports {
            ends.insert("sport".to_owned(), from.into());
            ends.insert("dport".to_owned(), to.into());
        }
        ends.into()
    }
}

impl Told {
    /// What an event says of its packet.
    pub fn of(event: &Event) -> Self {
        let addresses = address(event.nfproto, event.source).zip(address(event.nfproto, event.destination));
        let upper = |word: u32| (addresses.is_some() && word & NO_L4 != NO_L4).then_some(word);
        Self {
            addresses,
            protocol: addresses.map(|_| event.protocol as u8),
            ports: upper(event.source_port).zip(upper(event.destination_port)).map(|(s, d)| (s as u16, d as u16)),
            icmp: upper(event.icmp).map(|word| ((word >> 8) as u8, word as u8)),
            flags: upper(event.tcp_flags).map(|word| word as u8),
            length: event.length,
            translated: Ends::of(event),
        }
    }

    /// What the program read of a packet.
    pub fn of_packet(packet: &Packet) -> Self {
        Self::of(&event_of(packet))
    }

    /// `tcp 198.51.100.7:40000 -> 203.0.113.10:443 flags S`
    pub fn text(&self) -> String {
        let Some(((source, destination), protocol)) = self.addresses.zip(self.protocol) else {
            return format!("frame of {} bytes", self.length);
        };
        let (from, to) = match self.ports {
            Some((from, to)) => (endpoint(source, from), endpoint(destination, to)),
            None => (source.to_string(), destination.to_string()),
        };
        let mut text = format!("{} {from} -> {to}", protocol_name(protocol));
        if let Some(flags) = self.flags {
            let _ = write!(text, " flags {}", flag_letters(flags));
        }
        if let Some((kind, code)) = self.icmp {
            let _ = write!(text, " {}", icmp_text(protocol, kind, code));
        }
        text
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let mut packet = Map::new();
        let mut set = |name: &str, value: Value| packet.insert(name.to_owned(), value);
        if let Some(((source, destination), protocol)) = self.addresses.zip(self.protocol) {
            set("proto", protocol_name(protocol).into());
            set("src", source.to_string().into());
            set("dst", destination.to_string().into());
        }
        if let Some((source, destination)) = self.ports {
            set("sport", source.into());
            set("dport", destination.into());
        }
        if let Some(flags) = self.flags {
            set("tcp_flags", flag_names(flags).into());
        }
        if let Some(((kind, code), protocol)) = self.icmp.zip(self.protocol) {
            set("icmp_type", icmp_type(protocol, kind).map_or_else(|| json!(kind), Value::from));
            set("icmp_code", code.into());
        }
        set("length", self.length.into());
        packet.into()
    }
}

/// An address out of the words that the program uses.
pub fn address(family: u32, words: [u32; 4]) -> Option<IpAddr> {
    match family {
        NFPROTO_IPV4 => Some(Ipv4Addr::from_bits(words[0]).into()),
        NFPROTO_IPV6 => {
            let bits = words.iter().fold(0, |bits, word| bits << 32 | u128::from(*word));
            Some(Ipv6Addr::from_bits(bits).into())
        }
        _ => None,
    }
}

/// `192.0.2.1:22`, `[2001:db8::1]:22`
pub fn endpoint(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// A protocol's name, or its number.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        icmp::PROTOCOL_V6 => "icmpv6".to_owned(),
        _ => names::name(PROTOCOLS, protocol.into()).map_or_else(|| protocol.to_string(), str::to_owned),
    }
}

/// Has a protocol ports, so that `address:port` means something?
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// TCP flags as a letter each, `SA` for the answer to a SYN; `none` without any.
pub fn flag_letters(flags: u8) -> String {
    const LETTERS: [(u8, char); 8] =
        [(0x02, 'S'), (0x01, 'F'), (0x04, 'R'), (0x08, 'P'), (0x10, 'A'), (0x20, 'U'), (0x40, 'E'), (0x80, 'C')];
    if flags == 0 {
        return "none".to_owned();
    }
    LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect()
}

fn flag_names(flags: u8) -> Vec<&'static str> {
    TCP_FLAGS.iter().filter(|(_, bit)| u16::from(flags) & bit != 0).map(|(name, _)| *name).collect()
}

fn icmp_type(protocol: u8, kind: u8) -> Option<&'static str> {
    names::name(if protocol == icmp::PROTOCOL_V6 { ICMPV6_TYPES } else { ICMP_TYPES }, kind.into())
}

/// `echo-request`, `destination-unreachable (port-unreachable)`, `type 42`
fn icmp_text(protocol: u8, kind: u8, code: u8) -> String {
    let name = icmp_type(protocol, kind);
    let codes = if protocol == icmp::PROTOCOL_V6 { ICMPV6_CODES } else { ICMP_CODES };
    let code_name = match name {
        Some("destination-unreachable") => names::name(codes, code.into()),
        Some(_) | None => None,
    };
    let name = name.map_or_else(|| format!("type {kind}"), str::to_owned);
    match code_name {
        Some(code_name) => format!("{name} ({code_name})"),
        None if code != 0 => format!("{name} (code {code})"),
        None => name,
    }
}

/// What an event would tell of the packet itself.
pub fn event_of(packet: &Packet) -> Event {
    let words = |field| [0, 1, 2, 3].map(|at| packet.get_at(field, at));
    Event {
        length: packet.frame_length,
        source: words(Field::SourceAddress),
        destination: words(Field::DestinationAddress),
        nfproto: packet.get(Field::NfProto),
        protocol: packet.get(Field::L4Proto),
        source_port: packet.get(Field::SourcePort),
        destination_port: packet.get(Field::DestinationPort),
        icmp: packet.get(Field::IcmpType),
        tcp_flags: packet.get(Field::TcpFlags),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
