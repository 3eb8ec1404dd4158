//! Rules like those of `ClassBench`, packets that meet them, and a plain linear scan. The same seed gives the same.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What a set of rules is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Access lists: both ends specific, a service.
    Acl,
    /// A firewall: one end or both often any, many protocols without ports.
    Fw,
    /// Something between.
    Ipc,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Fw => "fw",
            Self::Ipc => "ipc",
        }
    }

    /// Of a hundred rules, how many have any source, and any destination.
    fn any(self) -> (usize, usize) {
        match self {
            Self::Acl => (4, 1),
            Self::Fw => (45, 30),
            Self::Ipc => (15, 15),
        }
    }
}

/// An address prefix: as wide as the family's addresses, aligned to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: u128,
    pub length: u32,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub is_v6: bool,
    pub source: Prefix,
    pub destination: Prefix,
    pub source_ports: (u16, u16),
    pub destination_ports: (u16, u16),
    /// `None`: any.
    pub protocol: Option<u8>,
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub is_v6: bool,
    pub source: u128,
    pub destination: u128,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

const ANY_PORT: (u16, u16) = (0, u16::MAX);

fn bits(is_v6: bool) -> u32 {
    if is_v6 { 128 } else { 32 }
}

impl Prefix {
    fn host(self, is_v6: bool) -> u128 {
        let free = bits(is_v6) - self.length;
        if free == 128 { u128::MAX } else { (1 << free) - 1 }
    }

    fn has(self, is_v6: bool, address: u128) -> bool {
        address & !self.host(is_v6) == self.address
    }

    fn text(self, is_v6: bool) -> String {
        let address = if is_v6 {
            Ipv6Addr::from_bits(self.address).to_string()
        } else {
            Ipv4Addr::from_bits(self.address as u32).to_string()
        };
        if self.length == bits(is_v6) { address } else { format!("{address}/{}", self.length) }
    }
}

impl Rule {
    pub fn matches(&self, header: &Header) -> bool {
        let Self { is_v6, source, destination, source_ports, destination_ports, protocol } = *self;
        let within = |(low, high): (u16, u16), port: u16| (low..=high).contains(&port);
        is_v6 == header.is_v6
            && source.has(is_v6, header.source)
            && destination.has(is_v6, header.destination)
            && protocol.is_none_or(|protocol| protocol == header.protocol)
            && within(source_ports, header.source_port)
            && within(destination_ports, header.destination_port)
    }

    /// The matches, as nftables has them.
    pub fn text(&self) -> String {
        let Self { is_v6, source, destination, source_ports, destination_ports, protocol } = *self;
        let family = if is_v6 { "ip6" } else { "ip" };
        let mut text = String::new();
        for (name, prefix) in [("saddr", source), ("daddr", destination)] {
            if prefix.length > 0 {
                let _ = write!(text, "{family} {name} {} ", prefix.text(is_v6));
            }
        }
        if source.length == 0 && destination.length == 0 {
            let _ = write!(text, "meta nfproto {} ", if is_v6 { "ipv6" } else { "ipv4" });
        }
        let Some(protocol) = protocol else { return text };
        let name = if protocol == 6 { "tcp" } else { "udp" };
        if ![6, 17].contains(&protocol) || (source_ports == ANY_PORT && destination_ports == ANY_PORT) {
            let _ = write!(text, "meta l4proto {protocol} ");
            return text;
        }
        for (field, (low, high)) in [("sport", source_ports), ("dport", destination_ports)] {
            if (low, high) == ANY_PORT {
                continue;
            }
            let _ = if low == high {
                write!(text, "{name} {field} {low} ")
            } else {
                write!(text, "{name} {field} {low}-{high} ")
            };
        }
        text
    }

    /// A header that matches.
    pub fn header(&self, random: &mut Random) -> Header {
        let Self { is_v6, source, destination, source_ports, destination_ports, protocol } = *self;
        let mut inside = |prefix: Prefix| {
            let wide = u128::from(random.next()) << 64 | u128::from(random.next());
            prefix.address | (wide & prefix.host(is_v6))
        };
        let (source, destination) = (inside(source), inside(destination));
        let protocol = protocol.unwrap_or(if random.one_in(2) { 6 } else { 17 });
        let mut port = |(low, high): (u16, u16)| low + random.below(usize::from(high - low) + 1) as u16;
        let (source_port, destination_port) = (port(source_ports), port(destination_ports));
        Header { is_v6, source, destination, protocol, source_port, destination_port }
    }
}

/// The first rule that matches.
pub fn first_match(rules: &[Rule], header: &Header) -> Option<usize> {
    rules.iter().position(|rule| rule.matches(header))
}

/// Rules of a kind and family.
pub fn generate(kind: Kind, is_v6: bool, count: usize, seed: u64) -> Vec<Rule> {
    let random = &mut Random(seed ^ (kind as u64) << 32 ^ u64::from(is_v6) << 40);
    let networks: Vec<u128> = (0..count / 12 + 8).map(|_| network(random, is_v6)).collect();
    let mut rules: Vec<Rule> = Vec::with_capacity(count);
    while rules.len() < count {
        let rule = one(kind, is_v6, &networks, random);
        // A rule for everything would decide on all packets and make any set of rules look small.
        if rule.source.length + rule.destination.length > 0 || rule.destination_ports != ANY_PORT {
            rules.push(rule);
        }
    }
    rules
}

/// A /16 network, or a /48.
fn network(random: &mut Random, is_v6: bool) -> u128 {
    let number = u128::from(random.next());
    if is_v6 { 0x2001_0db8 << 96 | (number & 0xffff) << 80 } else { (number & 0xffff) << 16 }
}

fn one(kind: Kind, is_v6: bool, networks: &[u128], random: &mut Random) -> Rule {
    let (any_source, any_destination) = kind.any();
    let source = prefix(is_v6, networks, any_source, random);
    let destination = prefix(is_v6, networks, any_destination, random);
    let protocol = match random.below(20) {
        0 => None,
        1 => Some([1, 47, 50, 58][random.below(4)]),
        2..7 => Some(17),
        _ => Some(6),
    };
    let has_ports = matches!(protocol, Some(6 | 17));
    let source_ports =
        if has_ports && random.one_in(if kind == Kind::Acl { 20 } else { 5 }) { ports(random) } else { ANY_PORT };
    let destination_ports = if has_ports { ports(random) } else { ANY_PORT };
    Rule { is_v6, source, destination, source_ports, destination_ports, protocol }
}

fn prefix(is_v6: bool, networks: &[u128], any: usize, random: &mut Random) -> Prefix {
    if random.below(100) < any {
        return Prefix { address: 0, length: 0 };
    }
    let choice = random.below(10);
    let length = if is_v6 {
        [128, 128, 128, 128, 128, 64, 64, 64, 56, 48][choice]
    } else {
        [32, 32, 32, 32, 32, 28, 27, 24, 20, 16][choice]
    };
    let prefix = Prefix { address: 0, length };
    // Hosts have few different numbers in their networks: real rules name the same ones again and again.
    let host = u128::from(random.next() & 0xfff) << if is_v6 { 64 } else { 4 } | u128::from(random.next() & 0xff);
    let base = networks[random.below(networks.len())];
    Prefix {
        address: (base | (host & 0xffff_ffff_ffff_ffff_ffff & if is_v6 { u128::MAX } else { 0xffff }))
            & !prefix.host(is_v6),
        length,
    }
}

fn ports(random: &mut Random) -> (u16, u16) {
    const COMMON: [u16; 16] = [20, 21, 22, 23, 25, 53, 67, 80, 110, 123, 143, 161, 443, 1521, 3306, 8080];
    match random.below(20) {
        0..10 => {
            let port = COMMON[random.below(COMMON.len())];
            (port, port)
        }
        10..14 => {
            let port = random.next() as u16;
            (port, port)
        }
        14..16 => (1024, u16::MAX),
        16..18 => {
            let low = (random.next() as u16).min(60000);
            (low, low + random.below(200) as u16)
        }
        _ => ANY_PORT,
    }
}

/// Headers: nine of ten drawn from inside a random rule, the others from anywhere.
pub fn trace(rules: &[Rule], count: usize, seed: u64) -> Vec<Header> {
    let random = &mut Random(seed);
    let any = |is_v6| Rule {
        is_v6,
        source: Prefix { address: 0, length: 0 },
        destination: Prefix { address: 0, length: 0 },
        source_ports: ANY_PORT,
        destination_ports: ANY_PORT,
        protocol: None,
    };
    let one = |at: usize| {
        let rule = rules[random.below(rules.len())];
        if at % 10 == 9 { any(rule.is_v6).header(random) } else { rule.header(random) }
    };
    (0..count).map(one).collect()
}
