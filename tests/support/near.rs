//! Packets near what a ruleset talks about: its addresses, ports and numbers, one below, one above; the rest at random.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_tests::{
    packet::{Frame, Icmp, Ipv4, Ipv6, Tcp, Udp, Upper},
    topology::{SERVER, SERVER6},
};

use super::{both::Way, packets::between, parts, sequence::flags};

/// Random numbers of a seed (xorshift64*, Vigna 2016): the same ones for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One chance in so many.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// What a ruleset talks about, and its neighbours.
#[derive(Debug, Default)]
pub struct Values {
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
    numbers: Vec<u16>,
    /// Does it ask for states? Those of protocols that are not followed yet are not compared.
    has_states: bool,
}

impl Values {
    /// Those of a ruleset's text.
    pub fn of(ruleset: &str) -> Self {
        let mut values = Self { has_states: ruleset.contains("ct "), ..Self::default() };
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || [':', '.', '/'].contains(&letter);
        for word in ruleset.split(|letter| !is_part(letter)) {
            let (address, length) = word.split_once('/').unwrap_or((word, ""));
            let length = length.parse().ok();
            if let Ok(address) = address.parse::<Ipv4Addr>() {
                values.add_v4(address.to_bits(), length.unwrap_or(32));
            } else if let Ok(address) = address.parse::<Ipv6Addr>() {
                values.add_v6(address.to_bits(), length.unwrap_or(128));
            } else if let Ok(number) = word.parse::<u16>() {
                values.numbers.extend([number.wrapping_sub(1), number, number.wrapping_add(1)]);
            }
        }
        values.numbers.extend([22, 53, 80, 443]);
        values
    }

    fn add_v4(&mut self, address: u32, length: u32) {
        let host = 1_u32.checked_shl(32 - length).map_or(u32::MAX, |size| size - 1);
        let (first, last) = (address & !host, address | host);
        self.ipv4.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Ipv4Addr::from_bits));
    }

    fn add_v6(&mut self, address: u128, length: u32) {
        let host = 1_u128.checked_shl(128 - length).map_or(u128::MAX, |size| size - 1);
        let (first, last) = (address & !host, address | host);
        self.ipv6.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Ipv6Addr::from_bits));
    }

    /// A packet that the kernel takes in, or sends.
    pub fn packet(&self, way: Way, random: &mut Random) -> Frame {
        let is_v6 = random.one_in(3);
        let (near, far) = if is_v6 { self.ends6(random) } else { self.ends(random) };
        let upper = self.upper(is_v6, random);
        let (source, destination) = match way {
            Way::In => (far, near),
            Way::Out => (near, far),
        };
        let mut frame = between(source, destination, upper);
        match &mut frame.network {
            firewall_tests::packet::Network::Ipv4(ipv4) => {
                *ipv4 = Ipv4 { id: random.next() as u16, ttl: random.pick(&[1, 63, 64, 255]), ..ipv4.clone() };
                if random.one_in(4) && way == Way::In {
                    ipv4.options = vec![1; 4 * (1 + random.below(3))];
                }
            }
            firewall_tests::packet::Network::Ipv6(ipv6) => {
                *ipv6 = Ipv6 { flow_label: random.next() as u32, ..ipv6.clone() };
            }
            _ => {}
        }
        if !self.has_states && random.one_in(2) {
            parts::decorate(&mut frame, way, random);
        }
        frame
    }

    /// An address of the server, one of somebody else.
    fn ends(&self, random: &mut Random) -> (IpAddr, IpAddr) {
        let ours: Vec<_> = self.ipv4.iter().copied().filter(|address| is_ours(*address)).chain([SERVER]).collect();
        let others: Vec<_> = self.ipv4.iter().copied().filter(|address| is_theirs(*address)).collect();
        let far = if others.is_empty() || random.one_in(3) {
            Ipv4Addr::from_bits(0xcb00_7100 | random.next() as u32 & 0xff)
        } else {
            random.pick(&others)
        };
        (random.pick(&ours).into(), far.into())
    }

    fn ends6(&self, random: &mut Random) -> (IpAddr, IpAddr) {
        let ours: Vec<_> = self.ipv6.iter().copied().filter(is_ours6).chain([SERVER6]).collect();
        let others: Vec<_> = self.ipv6.iter().copied().filter(is_theirs6).collect();
        let far = if others.is_empty() || random.one_in(3) {
            Ipv6Addr::from_bits(0x2001_0db8_00ff << 80 | u128::from(random.next()))
        } else {
            random.pick(&others)
        };
        (random.pick(&ours).into(), far.into())
    }

    fn number(&self, random: &mut Random) -> u16 {
        if random.one_in(4) { random.next() as u16 } else { random.pick(&self.numbers) }
    }

    fn upper(&self, is_v6: bool, random: &mut Random) -> Upper {
        let (source, destination) = (self.number(random), self.number(random));
        // Ports of its own make nearly every packet the first of its connection.
        let source = if random.one_in(2) { random.next() as u16 | 0x8000 } else { source };
        match random.below(if self.has_states { 9 } else { 10 }) {
            0..4 => Tcp::new(source, destination, flags(random.pick(TCP_FLAGS))).into(),
            4..7 => Udp::new(source, destination).into(),
            7..9 => {
                let kind = random.pick(if is_v6 { ICMPV6_TYPES } else { ICMP_TYPES });
                let message = if is_v6 { Icmp::v6(kind, 0) } else { Icmp::v4(kind, 0) };
                let code = if random.one_in(2) { 0 } else { random.below(6) as u8 };
                Icmp { code, rest: random.next() as u32, ..message }.into()
            }
            _ => {
                let ports = [source, destination].map(u16::to_be_bytes).concat();
                Upper::Raw(random.pick(&[132, 47, 50, 103, 33, 136, 253]), [ports, vec![0; 20]].concat())
            }
        }
    }
}

const TCP_FLAGS: &[&str] = &["S", "S", "S", "SA", "A", "PA", "FA", "R", "RA", ".", "SF", "FPU", "SEC", "SU", "AU"];
const ICMP_TYPES: &[u8] = &[0, 3, 5, 8, 8, 8, 9, 10, 11, 12, 13, 14, 15, 17, 30, 255];
const ICMPV6_TYPES: &[u8] = &[1, 2, 3, 4, 128, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 139, 140, 143, 200];

/// Within [`super::both::OURS`].
fn is_ours(address: Ipv4Addr) -> bool {
    address.octets()[..3] == [198, 51, 100]
}

fn is_ours6(address: &Ipv6Addr) -> bool {
    address.segments()[..3] == [0x2001, 0xdb8, 5]
}

/// One that the kernel takes for a host elsewhere: neither its own nor "this network", loopback, multicast, broadcast.
fn is_theirs(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let is_host = (1..224).contains(&first) && first != 127;
    let is_edge = [Ipv4Addr::new(192, 0, 2, 0), Ipv4Addr::new(192, 0, 2, 255)].contains(&address);
    is_host && !is_ours(address) && address != SERVER && !is_edge
}

/// The same of IPv6, without link-local addresses and those that hold an IPv4 address.
fn is_theirs6(address: &Ipv6Addr) -> bool {
    let first = address.segments()[0];
    (0x2000..0xfe00).contains(&first) && !is_ours6(address) && *address != SERVER6
}
