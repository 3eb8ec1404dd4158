//! Connections.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use firewall_common::{
    conntrack::State,
    flow::FlowKey,
    packet::NFPROTO_IPV4,
    table::{Entry, Slot},
    wire::icmp,
};
use serde_json::{Map, Value, json};

use super::{
    author::Author,
    packet::{endpoint, has_ports, protocol_name},
    words::{seconds, seconds_of_ticks},
};
use crate::cli::{
    conns::{By, Family, Filter},
    values::Prefix,
};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port, or the identifier of an ICMP query.
    pub port: u16,
}

/// A connection as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Its state.
    pub state: State,
    /// Who began it.
    pub source: End,
    /// With whom.
    pub destination: End,
    /// Packets, by direction: original, reply.
    pub packets: [u64; 2],
    /// Bytes, by direction.
    pub bytes: [u64; 2],
    /// Seconds since it began.
    pub age: u64,
    /// Seconds until it is forgotten, without another packet.
    pub expires: u64,
    /// Connection mark.
    pub mark: u32,
    /// Conntrack zone.
    pub zone: u16,
    /// Was it given the fast path?
    pub offloaded: bool,
    /// Both ends as packets have them behind the translation, if there is one.
    pub translated: Option<(End, End)>,
}

impl Conn {
    /// What an entry of the table says at tick `now`.
    pub fn new(slot: Slot, entry: &Entry, now: u32) -> Self {
        let (low, high) = ends(&entry.key);
        let (source, destination) = if entry.is_from_high() { (high, low) } else { (low, high) };
        // The clock of the program is the kernel's tick: it may be a little behind or ahead of ours.
        let since = |from: u32, to: u32| seconds_of_ticks((to.wrapping_sub(from) as i32).max(0) as u32);
        Self {
            protocol: entry.key.protocol(),
            state: slot.state(),
            source,
            destination,
            packets: entry.packets,
            bytes: entry.bytes,
            age: since(entry.created, now),
            expires: since(now, slot.expires()),
            mark: entry.mark,
            zone: entry.key.zone(),
            offloaded: entry.is_offloaded(),
            translated: None,
        }
    }

    /// The same of one whose packets are found under this key behind a translation: that of its answers.
    #[must_use]
    pub fn behind(self, answers: Option<&Entry>) -> Self {
        let translated = answers.map(|alias| {
            let (low, high) = ends(&alias.key);
            if alias.is_from_high() { (high, low) } else { (low, high) }
        });
        Self { translated, ..self }
    }

    /// Is it one of those asked for, as far as that can be seen of it?
    pub fn is_wanted(&self, wanted: &Filter) -> bool {
        let Filter { proto, state, src, dst, sport, dport, family, zone, mark, nat, older_than, refused: _ } = wanted;
        let in_prefix = |prefix: &Option<Prefix>, end: End| prefix.is_none_or(|prefix| prefix.contains(end.address));
        let at_port =
            |port: &Option<u16>, end: End| port.is_none_or(|port| has_ports(self.protocol) && port == end.port);
        proto.is_none_or(|proto| proto == self.protocol)
            && state.as_ref().is_none_or(|state| *state == self.state.name())
            && in_prefix(src, self.source)
            && in_prefix(dst, self.destination)
            && at_port(sport, self.source)
            && at_port(dport, self.destination)
            && family.is_none_or(|family| (family == Family::Ipv4) == self.source.address.is_ipv4())
            && (!nat || self.translated.is_some())
            && zone.is_none_or(|zone| zone == self.zone)
            && mark.is_none_or(|mark| mark.matches(self.mark))
            && older_than.is_none_or(|age| self.age > age.as_secs())
    }

    /// One line, with its end.
    pub fn line(&self, author: &Author<'_>) -> String {
        let [sent, answered] = self.packets;
        let [sent_bytes, answered_bytes] = self.bytes;
        let mut ends = format!("{} -> {}", self.end_text(self.source), self.end_text(self.destination));
        if let Some((source, destination)) = self.translated {
            let _ = write!(ends, " nat {} -> {}", self.end_text(source), self.end_text(destination));
        }
        let mut line = format!(
            "{:<6} {:<11} {ends}  packets {sent}/{answered} bytes {sent_bytes}/{answered_bytes} age {} expires {}",
            protocol_name(self.protocol),
            self.state.name(),
            seconds(self.age),
            seconds(self.expires),
        );
        if let Some(id) = self.query_id() {
            let _ = write!(line, " id {id}");
        }
        if self.offloaded {
            line += " offload";
        }
        if self.zone != 0 {
            let _ = write!(line, " zone {}", self.zone);
        }
        if self.mark != 0 {
            let _ = write!(line, " mark {:#010x}", self.mark);
        }
        if let Some(rule) = author.short() {
            let _ = write!(line, " {rule}");
        }
        line.push('\n');
        line
    }

    /// The same as JSON.
    pub fn json(&self, author: &Author<'_>) -> Value {
        let (source, destination) = self.translated.unwrap_or((self.source, self.destination));
        let by_direction = |[original, reply]: [u64; 2]| json!({ "original": original, "reply": reply });
        json!({
            "proto": protocol_name(self.protocol),
            "state": self.state.name(),
            "original": self.tuple(self.source, self.destination),
            "reply": self.answer(destination, source),
            "nat": self.translated.is_some(),
            "packets": by_direction(self.packets),
            "bytes": by_direction(self.bytes),
            "age": self.age,
            "expires": self.expires,
            "replied": self.state.is_replied(),
            "assured": self.state.is_assured(),
            "offload": self.offloaded,
            "mark": self.mark,
            "zone": self.zone,
            "rule": author.rule_json(),
            "policy": author.policy_json(),
        })
    }

    /// What it is counted under.
    pub fn kind(&self, by: By) -> String {
        match by {
            By::State => format!("{} {}", protocol_name(self.protocol), self.state.name()),
            By::Source => self.source.address.to_string(),
            By::Destination => self.destination.address.to_string(),
            By::Port if has_ports(self.protocol) => {
                format!("{} {}", protocol_name(self.protocol), self.destination.port)
            }
            By::Port => protocol_name(self.protocol),
        }
    }

    fn end_text(&self, end: End) -> String {
        if has_ports(self.protocol) { endpoint(end.address, end.port) } else { end.address.to_string() }
    }

    /// The identifier of an ICMP query.
    fn query_id(&self) -> Option<u16> {
        matches!(self.protocol, icmp::PROTOCOL | icmp::PROTOCOL_V6).then_some(self.source.port)
    }

    /// What its answers come with.
    fn answer(&self, from: End, to: End) -> Value {
        // The identifier of a query is that of the end that asked.
        let from = if self.query_id().is_some() { End { port: to.port, ..from } } else { from };
        self.tuple(from, to)
    }

    fn tuple(&self, from: End, to: End) -> Value {
        let mut tuple = Map::new();
        tuple.insert("src".to_owned(), from.address.to_string().into());
        tuple.insert("dst".to_owned(), to.address.to_string().into());
        if has_ports(self.protocol) {
            tuple.insert("sport".to_owned(), from.port.into());
            tuple.insert("dport".to_owned(), to.port.into());
        }
        if let Some(id) = self.query_id() {
            let id = if self.translated.is_some() { from.port } else { id };
            tuple.insert("id".to_owned(), id.into());
        }
        tuple.into()
    }
}

fn ends(key: &FlowKey) -> (End, End) {
    let end = |address, port| End { address, port };
    (end(address(key.family(), key.low), key.low_port()), end(address(key.family(), key.high), key.high_port()))
}

fn address(family: u8, halves: [u64; 2]) -> IpAddr {
    if u32::from(family) == NFPROTO_IPV4 {
        Ipv4Addr::from_bits(halves[0] as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(halves[0]) << 64 | u128::from(halves[1])).into()
    }
}

#[cfg(test)]
mod tests;
