//! The key under which both directions of a connection are found.

use crate::{
    packet::{Field, L4_PRESENT, NFPROTO_IPV4, NO_L4, Packet},
    wire::icmp::{self, Query},
};

/// One connection, whichever way its packets go: the endpoint that compares lower comes first.
///
/// IPv4 and IPv6 share one form, an IPv4 address standing in the first half of its place: the state table is ours, so
/// a longer key costs three compares, and one table, one lookup and one listing serve both families. (A hash map of
/// the kernel's would have made two key sizes worth their code.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Address of the lower endpoint: IPv6 as two halves, IPv4 as `[address, 0]`.
    pub low: [u64; 2],
    /// Address of the higher endpoint, stored like the lower one.
    pub high: [u64; 2],
    /// `low port << 48 | high port << 32 | zone << 16 | protocol << 8 | family`; of an ICMP query, the end
    /// that asks has the identifier, see [`Tuple::of`].
    pub tail: u64,
}

crate::shared!(FlowKey = 40);

/// Address and port of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address, stored as in [`FlowKey::low`].
    pub address: [u64; 2],
    /// Port, or ICMP identifier.
    pub port: u16,
}

/// What makes a connection, before it is known which end is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Where the packet comes from.
    pub source: Endpoint,
    /// Where it goes to.
    pub destination: Endpoint,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Network family, as in [`Field::NfProto`].
    pub family: u8,
}

impl Tuple {
    /// The tuple of a parsed IP packet. Without a layer-4 header, and for protocols without ports, both ports are 0.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let protocol = packet.get(Field::L4Proto) as u8;
        let kind = (packet.get(Field::IcmpType) >> 8) as u8;
        let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
        let (source, destination) = match protocol {
            // What a missing header's word holds would read as an echo reply.
            _ if packet.get(Field::L4Header) & L4_PRESENT == 0 => (0, 0),
            icmp::PROTOCOL if is_v4 => query_ports(icmp::query(kind), packet.icmp_id),
            icmp::PROTOCOL_V6 if !is_v4 => query_ports(icmp::query_v6(kind), packet.icmp_id),
            _ => (port(packet.get(Field::SourcePort)), port(packet.get(Field::DestinationPort))),
        };
        Self {
            source: Endpoint { address: address(packet, Field::SourceAddress), port: source },
            destination: Endpoint { address: address(packet, Field::DestinationAddress), port: destination },
            protocol,
            family: packet.get(Field::NfProto) as u8,
        }
    }

    /// The key of the connection, and whether the packet's source is its higher end.
    #[inline(always)]
    pub fn key(&self, zone: u16) -> (FlowKey, bool) {
        let Self { source, destination, protocol, family } = *self;
        let source_is_high = after(&source, &destination);
        let (low, high) = if source_is_high { (destination, source) } else { (source, destination) };
        let ports = u64::from(low.port) << 48 | u64::from(high.port) << 32;
        let tail = ports | u64::from(zone) << 16 | u64::from(protocol) << 8 | u64::from(family);
        (FlowKey { low: low.address, high: high.address, tail }, source_is_high)
    }
}

/// What an ICMP query and its answer have for ports: the end that asks has the identifier, the end that answers the
/// identifier plus 256 plus the request's type. So an answer belongs to its request, and requests of another type, or the
/// other way, never do, as in `nf_conntrack`: for two of them to have one key, the sums would have to add up to 65,536.
#[inline(always)]
pub(crate) const fn query_ports(query: Query, id: u32) -> (u16, u16) {
    let answering = (id as u16).wrapping_add(0x100 | query.kind() as u16);
    if !query.is_some() {
        (0, 0)
    } else if query.is_answer() {
        (answering, id as u16)
    } else {
        (id as u16, answering)
    }
}

#[inline(always)]
fn port(word: u32) -> u16 {
    if word & NO_L4 == NO_L4 { 0 } else { word as u16 }
}

#[inline(always)]
fn address(packet: &Packet, field: Field) -> [u64; 2] {
    if packet.get(Field::NfProto) == NFPROTO_IPV4 {
        return [u64::from(packet.get(field)), 0];
    }
    let half = |at| u64::from(packet.get_at(field, at)) << 32 | u64::from(packet.get_at(field, at + 1));
    [half(0), half(2)]
}

/// Does `a` compare after `b`?
#[inline(always)]
fn after(a: &Endpoint, b: &Endpoint) -> bool {
    if a.address[0] != b.address[0] {
        a.address[0] > b.address[0]
    } else if a.address[1] != b.address[1] {
        a.address[1] > b.address[1]
    } else {
        a.port > b.port
    }
}

impl FlowKey {
    /// Port of the lower end.
    pub const fn low_port(&self) -> u16 {
        (self.tail >> 48) as u16
    }

    /// Port of the higher end.
    pub const fn high_port(&self) -> u16 {
        (self.tail >> 32) as u16
    }

    /// Conntrack zone.
    pub const fn zone(&self) -> u16 {
        (self.tail >> 16) as u16
    }

    /// Upper-layer protocol.
    pub const fn protocol(&self) -> u8 {
        (self.tail >> 8) as u8
    }

    /// Network family, as in [`Field::NfProto`].
    pub const fn family(&self) -> u8 {
        self.tail as u8
    }

    /// A hash of the key, for which nobody without `secret` can choose colliding keys.
    ///
    /// NH of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999): sums of products of keyed halves, whose
    /// collision probability over the secret is at most 2^-32 for any two keys; then one multiplication to spread it
    /// over all 64 bits. Five independent multiplications: about 5 ns.
    #[inline(always)]
    pub fn hash(&self, secret: &Secret) -> u64 {
        let words = [self.low[0], self.low[1], self.high[0], self.high[1], self.tail];
        let mut sum = 0_u64;
        for (word, key) in words.iter().zip(&secret.0) {
            let upper = ((word >> 32) as u32).wrapping_add((key >> 32) as u32);
            let lower = (*word as u32).wrapping_add(*key as u32);
            sum = sum.wrapping_add(u64::from(upper).wrapping_mul(u64::from(lower)));
        }
        let mixed = (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

/// The secret of an instance that its hashes depend on: random bits, made once when its state is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Secret(pub [u64; 5]);

crate::shared!(Secret = 40);

#[cfg(test)]
mod tests;
