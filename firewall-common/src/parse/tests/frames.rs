//! Frames for the tests of this crate, built from the inside out: a header is a value that wraps its payload.
//!
//! Nothing here is shared with the parser, so that a mistake in one is not a mistake in both.

/// Source address of every IPv4 frame: 192.0.2.1.
pub(crate) const SOURCE_V4: [u8; 4] = [192, 0, 2, 1];
/// Destination address of every IPv4 frame: 198.51.100.2.
pub(crate) const DESTINATION_V4: [u8; 4] = [198, 51, 100, 2];
/// Source address of every IPv6 frame: `2001:db8::1`.
pub(crate) const SOURCE_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Destination address of every IPv6 frame: `2001:db8:ff::2`.
pub(crate) const DESTINATION_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// Source port of every frame that has one.
pub(crate) const SOURCE_PORT: u16 = 0x1234;
/// Destination port of every frame that has one.
pub(crate) const DESTINATION_PORT: u16 = 22;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const UDP_LITE: u8 = 136;
pub(crate) const SCTP: u8 = 132;
pub(crate) const DCCP: u8 = 33;
pub(crate) const GRE: u8 = 47;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) const ARP_TYPE: u16 = 0x0806;
pub(crate) const IPV4_TYPE: u16 = 0x0800;
pub(crate) const IPV6_TYPE: u16 = 0x86dd;

/// IPv4 fragment field: more fragments follow.
pub(crate) const MORE: u16 = 0x2000;

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// An Ethernet frame.
pub(crate) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ether_type, payload)
}

/// An Ethernet frame with VLAN tags, each a tag's EtherType and its TCI.
pub(crate) fn tagged(tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for (kind, tci) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP request.
pub(crate) fn arp() -> Vec<u8> {
    let hardware = [2, 0, 0, 0, 0, 1];
    join(&[&[0, 1, 8, 0, 6, 4, 0, 1], &hardware, &SOURCE_V4, &[0; 6], &DESTINATION_V4])
}

/// An IPv4 header. What is `None` is what it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ipv4 {
    pub(crate) protocol: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) ihl: Option<u8>,
    pub(crate) total: Option<u16>,
    pub(crate) fragment: u16,
}

impl Ipv4 {
    pub(crate) const ID: u16 = 0xabcd;
    pub(crate) const TTL: u8 = 63;
    pub(crate) const TOS: u8 = 0xb8;

    pub(crate) fn of(protocol: u8) -> Self {
        Self { protocol, ..Self::default() }
    }

    pub(crate) fn around(&self, payload: &[u8]) -> Vec<u8> {
        let Self { protocol, options, ihl, total, fragment } = self;
        let ihl = ihl.unwrap_or(5 + (options.len() / 4) as u8);
        let total = total.unwrap_or((20 + options.len() + payload.len()) as u16);
        join(&[
            &[0x40 | ihl, Self::TOS],
            &total.to_be_bytes(),
            &Self::ID.to_be_bytes(),
            &fragment.to_be_bytes(),
            &[Self::TTL, *protocol, 0, 0],
            &SOURCE_V4,
            &DESTINATION_V4,
            options,
            payload,
        ])
    }

    /// The packet in an Ethernet frame.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(IPV4_TYPE, &self.around(payload))
    }
}

/// An IPv6 header and its extension headers, each its kind and its bytes but the first: next header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ipv6 {
    pub(crate) protocol: u8,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) payload_length: Option<u16>,
}

impl Ipv6 {
    pub(crate) const HOP_LIMIT: u8 = 64;
    pub(crate) const CLASS: u8 = 0xb8;
    pub(crate) const FRAGMENT_ID: u32 = 0xdead_beef;

    pub(crate) fn of(protocol: u8) -> Self {
        Self { protocol, ..Self::default() }
    }

    pub(crate) fn with(protocol: u8, extensions: Vec<(u8, Vec<u8>)>) -> Self {
        Self { protocol, extensions, payload_length: None }
    }

    pub(crate) fn around(&self, payload: &[u8]) -> Vec<u8> {
        let Self { protocol, extensions, payload_length } = self;
        let kinds = extensions.iter().map(|(kind, _)| *kind).chain([*protocol]);
        let mut nexts = kinds;
        let first = nexts.next().unwrap_or(*protocol);
        let mut body = Vec::new();
        for ((_, rest), next) in extensions.iter().zip(nexts) {
            body.push(next);
            body.extend(rest);
        }
        body.extend(payload);
        let length = payload_length.unwrap_or(body.len() as u16);
        join(&[
            &[0x60 | Self::CLASS >> 4, Self::CLASS << 4, 0, 0],
            &length.to_be_bytes(),
            &[first, Self::HOP_LIMIT],
            &SOURCE_V6,
            &DESTINATION_V6,
            &body,
        ])
    }

    /// The packet in an Ethernet frame.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(IPV6_TYPE, &self.around(payload))
    }
}

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
pub(crate) const AUTHENTICATION: u8 = 51;

/// An extension header of `8 * (units + 1)` bytes.
pub(crate) fn extension(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![units];
    rest.resize(7 + usize::from(units) * 8, 0);
    (kind, rest)
}

/// A fragment header; `offset` in bytes, a multiple of 8.
pub(crate) fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let field = offset | u16::from(more);
    (FRAGMENT, join(&[&[0], &field.to_be_bytes(), &Ipv6::FRAGMENT_ID.to_be_bytes()]))
}

/// A TCP segment with a data offset of `words`, and so many bytes of options and data behind the fixed header.
pub(crate) fn tcp(flags: u8, words: u8, rest: usize) -> Vec<u8> {
    let mut segment = join(&[
        &SOURCE_PORT.to_be_bytes(),
        &DESTINATION_PORT.to_be_bytes(),
        &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
        &[words << 4, flags, 0x20, 0x00, 0, 0, 0, 0],
    ]);
    segment.resize(20 + rest, 0xee);
    segment
}

/// A UDP datagram with so many bytes of data; `length` is what its length field says.
pub(crate) fn udp_saying(length: u16, data: usize) -> Vec<u8> {
    let mut datagram =
        join(&[&SOURCE_PORT.to_be_bytes(), &DESTINATION_PORT.to_be_bytes(), &length.to_be_bytes(), &[0, 0]]);
    datagram.resize(8 + data, 0xee);
    datagram
}

/// A UDP datagram with so many bytes of data.
pub(crate) fn udp(data: usize) -> Vec<u8> {
    udp_saying(8 + data as u16, data)
}

/// An SCTP packet, or something else that starts with ports, checksum and tag: 12 bytes and a chunk.
pub(crate) fn sctp() -> Vec<u8> {
    let mut packet = join(&[&SOURCE_PORT.to_be_bytes(), &DESTINATION_PORT.to_be_bytes()]);
    packet.resize(16, 0xee);
    packet
}

/// Identifier of every ICMP query.
pub(crate) const ICMP_ID: u16 = 0x4321;

/// An ICMP or ICMPv6 message.
pub(crate) fn icmp(kind: u8, code: u8, data: &[u8]) -> Vec<u8> {
    join(&[&[kind, code, 0, 0], &ICMP_ID.to_be_bytes(), &[0, 1], data])
}

/// One valid frame of every kind that the parser tells apart.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let v4 = |protocol, payload: &[u8]| Ipv4::of(protocol).frame(payload);
    let v6 = |protocol, payload: &[u8]| Ipv6::of(protocol).frame(payload);
    let options = Ipv4 { options: vec![1; 40], ..Ipv4::of(TCP) };
    let first = Ipv4 { fragment: MORE, ..Ipv4::of(UDP) };
    let later = Ipv4 { fragment: 0x0010, ..Ipv4::of(ICMP) };
    let chain = vec![extension(HOP_BY_HOP, 0), extension(ROUTING, 2), extension(DESTINATION_OPTIONS, 1)];
    let two_tags = [(0x88a8, 7), (0x8100, 0x6005)];
    vec![
        v4(TCP, &tcp(0x02, 5, 0)),
        v4(TCP, &tcp(0x18, 8, 20)),
        v4(UDP, &udp(5)),
        v4(UDP_LITE, &udp_saying(8, 5)),
        v4(ICMP, &icmp(8, 0, &[1, 2, 3])),
        v4(SCTP, &sctp()),
        v4(DCCP, &sctp()),
        v4(GRE, &[0; 4]),
        options.frame(&tcp(0x10, 5, 3)),
        first.frame(&udp_saying(1000, 16)),
        later.frame(&[0x55; 24]),
        v6(TCP, &tcp(0x12, 5, 0)),
        v6(UDP, &udp(0)),
        v6(ICMPV6, &icmp(128, 0, &[])),
        v6(SCTP, &sctp()),
        v6(59, &[]),
        Ipv6::with(UDP, chain.clone()).frame(&udp(9)),
        Ipv6::with(TCP, vec![fragment(0, true)]).frame(&tcp(0x02, 5, 12)),
        Ipv6::with(ICMPV6, vec![fragment(64, false)]).frame(&[0x55; 24]),
        ethernet(ARP_TYPE, &arp()),
        tagged(&[(0x8100, 0x2064)], IPV4_TYPE, &Ipv4::of(TCP).around(&tcp(0x11, 5, 0))),
        tagged(&two_tags, IPV6_TYPE, &Ipv6::with(UDP, chain).around(&udp(2))),
        ethernet(0x88cc, &[0; 10]),
    ]
}
