//! A packet in words: `tcp 198.51.100.7:40000 203.0.113.10:443 flags syn`.

use std::net::{IpAddr, SocketAddr};

use crate::language::names::{self, ICMP_TYPES, ICMPV6_TYPES, PROTOCOLS, TCP_FLAGS};

/// The port that a packet comes from when none is said.
const SOURCE_PORT: u16 = 40000;

/// A packet as a person says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Upper-layer protocol; none for ARP.
    pub protocol: Option<u8>,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// Ports, of protocols that have them.
    pub ports: (u16, u16),
    /// TCP flags.
    pub flags: u8,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes of payload.
    pub payload: usize,
    /// VLAN identifier.
    pub vlan: Option<u16>,
    /// Hardware addresses: of the sender, of the receiver.
    pub ether: ([u8; 6], [u8; 6]),
    /// What is known of its connection.
    pub state: State,
}

/// What is known of the connection of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// What is known in the kernel.
    #[default]
    Live,
    /// Nothing.
    New,
    /// It stands, and the packet is of the side that began it.
    Established,
    /// It stands, and the packet is an answer.
    Reply,
}

/// What is wrong with the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

fn wrong<T>(text: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(text.into()))
}

/// Hardware addresses of packets of which nobody says which they have: locally administered.
const ETHER: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

impl Spec {
    /// Reads the words.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, SpecError> {
        let mut words = words.iter().map(AsRef::as_ref).peekable();
        let Some(first) = words.next() else {
            return wrong(
                "a packet begins with its protocol: tcp, udp, icmp, icmp6, arp or another one's name or number",
            );
        };
        let protocol = protocol(first)?;
        let mut icmp = match protocol {
            Some(ICMPV6) => (ECHO_REQUEST_V6, 0),
            _ => (ECHO_REQUEST, 0),
        };
        if matches!(protocol, Some(ICMP | ICMPV6))
            && let Some(word) = words.next_if(|word| end(Some(word), "").is_err())
        {
            icmp = icmp_type(protocol == Some(ICMPV6), word)?;
        }
        let (source, sport) = end(words.next(), "where it comes from")?;
        let (destination, dport) = end(words.next(), "where it goes to")?;
        let has_ports = protocol.is_some_and(crate::observe::packet::has_ports);
        check_ends((source, sport), (destination, dport), (first, protocol), has_ports)?;
        let mut spec = Self {
            protocol,
            source,
            destination,
            ports: (sport.unwrap_or(SOURCE_PORT), dport.unwrap_or(0)),
            flags: 0x02,
            icmp,
            ttl: 64,
            payload: 0,
            vlan: None,
            ether: ETHER,
            state: State::Live,
        };
        let mut has_flags = false;
        while let Some(word) = words.next() {
            has_flags |= word == "flags";
            spec.option(word, words.next())?;
        }
        if !has_flags && matches!(spec.state, State::Established | State::Reply) {
            spec.flags = 0x10;
        }
        Ok(spec)
    }

    /// It comes in by an interface with this hardware address, unless it was said where it goes to.
    pub(crate) fn comes_in_by(&mut self, address: Option<[u8; 6]>) {
        if self.ether.1 == ETHER.1 {
            self.ether.1 = address.unwrap_or(ETHER.1);
        }
    }

    /// One more thing about it: a word and its value.
    fn option(&mut self, word: &str, value: Option<&str>) -> Result<(), SpecError> {
        let Some(value) = value else { return wrong(format!("`{word}` wants a value")) };
        match word {
            "flags" => self.flags = flags(value)?,
            "state" => self.state = state(value)?,
            "ttl" | "hoplimit" => self.ttl = number(word, value)?,
            "payload" => self.payload = usize::from(number::<u16>(word, value)?),
            "vlan" => match number(word, value)? {
                id @ 0..4096 => self.vlan = Some(id),
                _ => return wrong("a VLAN has a number below 4096"),
            },
            "ether-source" => self.ether.0 = ether(value)?,
            "ether-destination" => self.ether.1 = ether(value)?,
            _ => {
                return wrong(format!(
                    "`{word}` says nothing about a packet; flags, state, ttl, payload, vlan, ether-source and \
                     ether-destination do"
                ));
            }
        }
        Ok(())
    }

    /// Its bytes, from the Ethernet header on.
    pub fn frame(&self) -> Vec<u8> {
        super::frame::build(self)
    }
}

fn check_ends(
    (source, sport): (IpAddr, Option<u16>),
    (destination, dport): (IpAddr, Option<u16>),
    (name, protocol): (&str, Option<u8>),
    has_ports: bool,
) -> Result<(), SpecError> {
    if source.is_ipv4() != destination.is_ipv4() {
        return wrong("one address is IPv4 and the other one IPv6");
    }
    if protocol.is_none() && source.is_ipv6() {
        return wrong("ARP has IPv4 addresses; IPv6 asks by icmp6 neighbour-solicitation");
    }
    if !has_ports && (sport.is_some() || dport.is_some()) {
        return wrong(format!("{name} has no ports"));
    }
    if matches!(protocol, Some(TCP | UDP)) && dport.is_none() {
        return wrong(format!("{name} needs a port to go to: ADDRESS:PORT, [ADDRESS]:PORT for IPv6"));
    }
    if (protocol == Some(ICMP) && source.is_ipv6()) || (protocol == Some(ICMPV6) && source.is_ipv4()) {
        return wrong("icmp is of IPv4, icmp6 of IPv6");
    }
    Ok(())
}

fn protocol(word: &str) -> Result<Option<u8>, SpecError> {
    match word {
        "arp" => Ok(None),
        "icmp6" | "icmpv6" | "ipv6-icmp" => Ok(Some(ICMPV6)),
        name => {
            let number = names::number(PROTOCOLS, name).and_then(|number| u8::try_from(number).ok());
            match number.or_else(|| name.parse().ok()) {
                Some(number) => Ok(Some(number)),
                None => wrong(format!("`{word}` is no protocol; tcp, udp, icmp, icmp6, arp and numbers are")),
            }
        }
    }
}

/// `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
fn end(word: Option<&str>, what: &str) -> Result<(IpAddr, Option<u16>), SpecError> {
    let Some(word) = word else { return wrong(format!("{what} is missing: ADDRESS or ADDRESS:PORT")) };
    if let Ok(address) = word.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok((address, None));
    }
    match word.parse::<SocketAddr>() {
        Ok(both) => Ok((both.ip(), Some(both.port()))),
        Err(_) => wrong(format!("`{word}` is neither ADDRESS nor ADDRESS:PORT ([ADDRESS]:PORT for IPv6)")),
    }
}

/// `echo`, `destination-unreachable`, `3`, `3/1`.
fn icmp_type(is_v6: bool, word: &str) -> Result<(u8, u8), SpecError> {
    let (name, code) = word.split_once('/').unwrap_or((word, "0"));
    let name = match name {
        "echo" | "ping" => "echo-request",
        "neighbour-solicitation" | "neighbor-solicitation" => "nd-neighbor-solicit",
        other => other,
    };
    let names = if is_v6 { ICMPV6_TYPES } else { ICMP_TYPES };
    let kind = names::number(names, name).and_then(|number| u8::try_from(number).ok()).or_else(|| name.parse().ok());
    match (kind, code.parse()) {
        (Some(kind), Ok(code)) => Ok((kind, code)),
        _ => wrong(format!("`{word}` is no type of ICMP message")),
    }
}

/// `syn`, `syn,ack`, `none`, `SA`.
fn flags(text: &str) -> Result<u8, SpecError> {
    if text == "none" {
        return Ok(0);
    }
    let mut bits = 0;
    for word in text.split([',', '|']) {
        match TCP_FLAGS.iter().find(|(name, _)| *name == word.to_ascii_lowercase()) {
            Some((_, bit)) => bits |= *bit as u8,
            None => {
                return wrong(format!("`{word}` is no TCP flag; fin, syn, rst, psh, ack, urg, ecn, cwr and none are"));
            }
        }
    }
    Ok(bits)
}

fn state(text: &str) -> Result<State, SpecError> {
    match text {
        "live" => Ok(State::Live),
        "new" => Ok(State::New),
        "established" => Ok(State::Established),
        "reply" => Ok(State::Reply),
        _ => wrong(format!(
            "`{text}` cannot be supposed of a connection; live (what the kernel knows), new, established and reply can"
        )),
    }
}

fn number<T: std::str::FromStr>(word: &str, text: &str) -> Result<T, SpecError> {
    text.parse().map_err(|_| SpecError(format!("`{text}` is no number for {word}")))
}

/// `02:00:00:00:00:01`
fn ether(text: &str) -> Result<[u8; 6], SpecError> {
    let bytes = super::hex(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| SpecError(format!("`{text}` is no hardware address")))
}
