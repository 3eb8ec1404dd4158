//! Bytes to a [`Packet`], or the reason why they are not one.
//!
//! Layer by layer, each in its own function, each writing the words of its layer. What is malformed is what the
//! kernel's own receive path would throw away before any socket sees it, so refusing it early changes no outcome; the
//! exceptions are said where they are made.

use crate::{
    bytes::PacketBytes,
    packet::{FRAGMENT_LATER, FRAGMENT_MORE, Field, L4_PRESENT, NFPROTO_IPV4, NFPROTO_IPV6, NO_L4, Packet},
    verdict::Reason,
    wire::{
        arp, ethernet,
        icmp::{self},
        ipv4, ipv6, sctp, tcp, udp,
    },
};

/// What a frame starts with: an Ethernet header, or the network header of an EtherType (tun, wireguard and other
/// interfaces without a link header).
///
/// One number and not an enumeration: half of an enumeration would be undefined for Ethernet, and the verifier refuses
/// to see an undefined register copied (`R5 !read_ok`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start(u32);

impl Start {
    /// An Ethernet header.
    pub const ETHERNET: Self = Self(u32::MAX);

    /// The network header of this EtherType.
    #[inline(always)]
    pub const fn network(ether_type: u16) -> Self {
        Self(ether_type as u32)
    }
}

/// Fills `packet` from the frame.
///
/// Words of layers that the frame does not have are set to what no rule matches. The interface, conntrack and mark
/// words are not touched. Each layer stores what the next one needs in `packet` and the next one reads it back, see
/// [`PacketBytes::settled`].
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(bytes: &P, start: Start, packet: &mut Packet) -> Result<(), Reason> {
    packet.frame_length = bytes.length();
    forget(packet);
    parse_link(bytes, start, packet)?;
    match bytes.settled(&packet.words[Field::EtherType as usize]) as u16 {
        ethernet::IPV4 => parse_ipv4(bytes, packet)?,
        ethernet::IPV6 => parse_ipv6(bytes, packet)?,
        ethernet::ARP => return arp::check(bytes, bytes.settled(&packet.l3_offset)),
        _ => return Ok(()),
    }
    parse_transport(bytes, packet)
}

/// Sets the words of every layer to "not there".
#[inline(always)]
fn forget(packet: &mut Packet) {
    for field in
        [Field::NfProto, Field::L4Proto, Field::L4Header, Field::Length, Field::Fragment, Field::Ttl, Field::Tos]
    {
        packet.set(field, 0);
    }
    for field in [Field::SourcePort, Field::DestinationPort, Field::IcmpType, Field::TcpFlags] {
        packet.set(field, NO_L4);
    }
    packet.l4_offset = 0;
    packet.payload_length = 0;
    packet.icmp_id = 0;
}

#[inline(always)]
fn parse_link<P: PacketBytes + ?Sized>(bytes: &P, start: Start, packet: &mut Packet) -> Result<(), Reason> {
    let link = if start == Start::ETHERNET {
        ethernet::parse(bytes)?
    } else {
        ethernet::Link { ether_type: start.0 as u16, vlan: 0, vlan_type: 0, header: [0; 4], l3_offset: 0 }
    };
    packet.set(Field::EtherType, u32::from(link.ether_type));
    packet.set(Field::Vlan, link.vlan);
    packet.set(Field::VlanType, u32::from(link.vlan_type));
    for (index, word) in link.header.into_iter().enumerate() {
        packet.set_at(Field::EtherDestination, index, word);
    }
    packet.l3_offset = link.l3_offset;
    Ok(())
}

#[inline(always)]
fn parse_ipv4<P: PacketBytes + ?Sized>(bytes: &P, packet: &mut Packet) -> Result<(), Reason> {
    let at = bytes.settled(&packet.l3_offset);
    let header = ipv4::parse(bytes, at)?;
    let total = check_total(bytes, at, header.total, packet).ok_or(Reason::Ipv4TotalLength)?;
    if total < header.length {
        return Err(Reason::Ipv4TotalLength);
    }
    packet.set(Field::NfProto, NFPROTO_IPV4);
    set_start(packet, header.words);
    packet.set(Field::SourceAddress, header.source);
    packet.set(Field::DestinationAddress, header.destination);
    packet.set(Field::L4Proto, u32::from(header.protocol));
    packet.set(Field::Length, total);
    packet.set(Field::Fragment, header.fragment);
    packet.set(Field::Ttl, u32::from(header.ttl));
    packet.set(Field::Tos, u32::from(header.tos));
    packet.fragment_id = u32::from(header.id);
    packet.fragment_offset = header.fragment_offset;
    packet.l4_offset = at + header.length;
    packet.l4_length = total - header.length;
    Ok(())
}

#[inline(always)]
fn parse_ipv6<P: PacketBytes + ?Sized>(bytes: &P, packet: &mut Packet) -> Result<(), Reason> {
    let at = bytes.settled(&packet.l3_offset);
    let header = ipv6::parse(bytes, at)?;
    let total = check_total(bytes, at, header.total, packet).ok_or(Reason::Ipv6PayloadLength)?;
    let end = at + total;
    packet.set(Field::NfProto, NFPROTO_IPV6);
    set_start(packet, header.words);
    for index in 0..4 {
        packet.set_at(Field::SourceAddress, index, header.source[index]);
        packet.set_at(Field::DestinationAddress, index, header.destination[index]);
    }
    packet.set(Field::Length, total);
    packet.set(Field::Ttl, u32::from(header.hop_limit));
    packet.set(Field::Tos, u32::from(header.tos));
    let upper = ipv6::extensions(bytes, header.next, at + ipv6::HEADER as u32, end)?;
    packet.set(Field::L4Proto, u32::from(upper.protocol));
    packet.set(Field::Fragment, upper.fragment);
    packet.fragment_id = upper.id;
    packet.fragment_offset = upper.fragment_offset;
    packet.l4_offset = upper.offset;
    packet.l4_length = end - upper.offset;
    Ok(())
}

#[inline(always)]
fn set_start(packet: &mut Packet, [first, next]: [u32; 2]) {
    packet.set(Field::NetworkHeader, first);
    packet.set(Field::NetworkHeaderNext, next);
}

/// The length that a network header claims, if the frame has it; 0 stands for all there is of a packet larger than
/// 65,535 bytes, which segmentation offload has yet to cut (BIG TCP).
#[inline(always)]
fn check_total<P: PacketBytes + ?Sized>(bytes: &P, at: u32, claimed: u32, packet: &mut Packet) -> Option<u32> {
    if claimed != 0 && at + claimed <= packet.frame_length {
        return Some(claimed);
    }
    packet.frame_length = bytes.whole_length();
    let room = packet.frame_length.saturating_sub(at);
    match claimed {
        0 if room > 0xffff => Some(room),
        0 => None,
        _ => (claimed <= room).then_some(claimed),
    }
}

/// The smallest TCP fragment offset that cannot overwrite part of the header, bytes (RFC 3128: offset 1 is an attack).
const TCP_SAFE_OFFSET: u32 = 16;

/// Reads the upper-layer header.
#[inline(always)]
fn parse_transport<P: PacketBytes + ?Sized>(bytes: &P, packet: &mut Packet) -> Result<(), Reason> {
    let protocol = bytes.settled(&packet.words[Field::L4Proto as usize]) as u8;
    let length = bytes.settled(&packet.l4_length);
    let fragment = bytes.settled(&packet.words[Field::Fragment as usize]);
    if fragment & FRAGMENT_LATER != 0 {
        packet.payload_length = length;
        let overwrites = protocol == tcp::PROTOCOL && packet.fragment_offset < TCP_SAFE_OFFSET;
        return if overwrites { Err(Reason::FragmentTiny) } else { Ok(()) };
    }
    let parsed = parse_first(bytes, protocol, length, fragment & FRAGMENT_MORE == 0, packet);
    match parsed {
        // Cut inside its header on purpose, so that filters cannot see the ports (RFC 1858).
        Err(Reason::TcpTruncated | Reason::UdpTruncated | Reason::TcpDataOffset) if fragment & FRAGMENT_MORE != 0 => {
            Err(Reason::FragmentTiny)
        }
        other => other,
    }
}

/// Reads the upper-layer header of an unfragmented packet (`whole`) or a first fragment.
#[inline(always)]
fn parse_first<P: PacketBytes + ?Sized>(
    bytes: &P,
    protocol: u8,
    payload: u32,
    whole: bool,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let at = bytes.settled(&packet.l4_offset);
    match protocol {
        tcp::PROTOCOL => {
            let header = tcp::parse(bytes, at, payload)?;
            set_ports(packet, protocol, (header.source, header.destination), payload - header.length);
            packet.set(Field::TcpFlags, tagged(protocol, u32::from(header.flags)));
            packet.set(Field::TransportHeader, header.seq);
            packet.set(Field::TcpAck, header.ack);
            packet.set(Field::TcpWindow, header.words[0]);
            packet.set(Field::TcpUrgent, header.words[1]);
            packet.tcp_seq = header.seq;
            packet.tcp_ack = header.ack;
            packet.tcp_window = u32::from(header.window);
        }
        udp::PROTOCOL | udp::PROTOCOL_LITE => {
            let (ports, rest) = udp::parse(bytes, at, payload, protocol == udp::PROTOCOL, whole)?;
            packet.set(Field::TransportHeader, rest);
            set_ports(packet, protocol, ports, payload - udp::HEADER as u32);
        }
        sctp::PROTOCOL | sctp::PROTOCOL_DCCP => {
            let ports = sctp::parse(bytes, at, payload)?;
            set_ports(packet, protocol, ports, payload - sctp::HEADER as u32);
        }
        icmp::PROTOCOL => {
            let header = icmp::parse(bytes, at, payload).ok_or(Reason::IcmpTruncated)?;
            set_icmp(packet, protocol, header);
        }
        icmp::PROTOCOL_V6 => {
            let header = icmp::parse(bytes, at, payload).ok_or(Reason::Icmpv6Truncated)?;
            set_icmp(packet, protocol, header);
        }
        _ => packet.set(Field::L4Header, u32::from(protocol) | L4_PRESENT),
    }
    Ok(())
}

/// A value with the protocol that gives it its meaning in the upper half.
#[inline(always)]
pub const fn tagged(protocol: u8, value: u32) -> u32 {
    (protocol as u32) << 16 | value
}

#[inline(always)]
fn set_ports(packet: &mut Packet, protocol: u8, (source, destination): (u16, u16), payload: u32) {
    packet.set(Field::L4Header, u32::from(protocol) | L4_PRESENT);
    packet.set(Field::SourcePort, tagged(protocol, u32::from(source)));
    packet.set(Field::DestinationPort, tagged(protocol, u32::from(destination)));
    packet.payload_length = payload;
}

#[inline(always)]
fn set_icmp(packet: &mut Packet, protocol: u8, header: icmp::Header) {
    packet.set(Field::L4Header, u32::from(protocol) | L4_PRESENT);
    packet.set(Field::IcmpType, tagged(protocol, u32::from(header.kind) << 8 | u32::from(header.code)));
    packet.set(Field::TransportHeader, header.rest);
    packet.icmp_id = u32::from(header.id);
}

#[cfg(test)]
pub(crate) mod tests;
