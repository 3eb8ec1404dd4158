//! What a rule asks the routing table: by which interface is the packet's source reached?
//!
//! As `nft_fib4_eval` and `nft_fib6_eval` ask (`net/ipv4/netfilter/nft_fib_ipv4.c`, `net/ipv6/netfilter/nft_fib_ipv6.c`, Linux
//! 6.18): the way back, as if the packet came over loopback. The helper of programs never answers about link-local addresses of
//! IPv6: the language wants them excluded first.

use crate::{
    image::Hook,
    packet::{Field, NFPROTO_IPV4, Packet},
};

/// In [`crate::image::Insn::low`]: with the packet's mark.
pub const WITH_MARK: u32 = 1;
/// Only the interface that the packet came in by counts.
pub const ONLY_IIF: u32 = 2;

/// The packet is one of IPv6.
pub const V6: u32 = 4;

/// In [`crate::image::Insn::high`]: whether there is an interface, 1 or 0.
pub const PRESENCE: u32 = 1;

/// The loopback interface of every network namespace.
pub const LOOPBACK: u32 = 1;

/// A question to the routing table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The interface that the packet on its way back is said to come in by.
    pub ifindex: u32,
    /// Where the way leads: the packet's source.
    pub destination: u32,
    /// Where it comes from: the packet's destination, if it is one host's.
    pub source: u32,
    /// Type of service.
    pub tos: u32,
    /// Upper-layer protocol.
    pub protocol: u32,
    /// Mark.
    pub mark: u32,
}

/// The answer that needs no look at the routes, if there is one: packets of this host's own loopback, and those of hosts
/// that have no address yet.
#[inline(always)]
pub fn answered(packet: &Packet) -> Option<u32> {
    let iif = packet.get(Field::IifIndex);
    let (source, destination) = (packet.get(Field::SourceAddress), packet.get(Field::DestinationAddress));
    let nobody = packet.get(Field::NfProto) == NFPROTO_IPV4 && source >> 24 == 0;
    let everybody = destination == u32::MAX || destination >> 8 == 0x00e0_0000;
    (iif == LOOPBACK || nobody && everybody).then_some(iif)
}

/// The question about a packet.
#[inline(always)]
pub fn query(packet: &Packet, flags: u32, hook: u32) -> Query {
    let destination = packet.get(Field::DestinationAddress);
    let is_hosts = destination >> 28 != 0xe && destination != u32::MAX && destination >> 24 != 0;
    // A forwarded packet's way back comes in by the interface it leaves by.
    let oif = packet.get(Field::OifIndex);
    let is_forward = hook == Hook::Forward as u32 && flags & ONLY_IIF != 0 && oif != 0;
    Query {
        ifindex: if is_forward { oif } else { LOOPBACK },
        destination: packet.get(Field::SourceAddress),
        source: if is_hosts { destination } else { 0 },
        tos: packet.get(Field::Tos),
        protocol: packet.get(Field::L4Proto),
        mark: if flags & WITH_MARK == 0 { 0 } else { packet.get(Field::Mark) },
    }
}

/// Is the packet's IPv6 destination one host's, and not known on its link only? Else the way back starts nowhere.
#[inline(always)]
pub fn is_host6(packet: &Packet) -> bool {
    let first = packet.get(Field::DestinationAddress);
    first >> 24 != 0xff && first >> 22 != 0xfe80 >> 6
}

/// What an IPv6 packet says about its flow: traffic class and label.
#[inline(always)]
pub fn flow6(packet: &Packet) -> u32 {
    packet.get(Field::NetworkHeader) & 0x0fff_ffff
}

/// The interface that counts, of the one that the routing table named (0: none).
#[inline(always)]
pub fn result(packet: &Packet, flags: u32, high: u32, named: u32) -> u32 {
    let found = if flags & ONLY_IIF != 0 && named != packet.get(Field::IifIndex) { 0 } else { named };
    if high & PRESENCE == 0 { found } else { u32::from(found != 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: [u8; 4], destination: [u8; 4]) -> Packet {
        let mut packet = Packet::EMPTY;
        packet.set(Field::IifIndex, 7);
        packet.set(Field::NfProto, NFPROTO_IPV4);
        packet.set(Field::SourceAddress, u32::from_be_bytes(source));
        packet.set(Field::DestinationAddress, u32::from_be_bytes(destination));
        packet
    }

    #[test]
    fn hosts_without_an_address_are_where_they_speak_from() {
        assert_eq!(answered(&packet([0, 0, 0, 0], [255, 255, 255, 255])), Some(7));
        assert_eq!(answered(&packet([0, 0, 0, 0], [224, 0, 0, 22])), Some(7));
        assert_eq!(answered(&packet([0, 0, 0, 0], [192, 0, 2, 1])), None);
        assert_eq!(answered(&packet([192, 0, 2, 1], [255, 255, 255, 255])), None);
    }

    #[test]
    fn multicast_and_link_local_addresses_are_no_hosts_to_start_from() {
        let is_host = |first: u32| {
            let mut packet = packet([0; 4], [0; 4]);
            packet.set(Field::DestinationAddress, first);
            is_host6(&packet)
        };
        assert!(is_host(0x2001_0db8) && is_host(0xfec0_0000) && is_host(0xfe7f_0000));
        assert!(!is_host(0xfe80_0000) && !is_host(0xfebf_ffff) && !is_host(0xff02_0000));
    }

    #[test]
    fn the_way_back_starts_at_the_destination_if_that_is_a_host() {
        let of = |destination| query(&packet([203, 0, 113, 9], destination), 0, Hook::Input as u32);
        assert_eq!(of([192, 0, 2, 1]).source, 0xc000_0201);
        assert_eq!((of([224, 0, 0, 1]).source, of([255; 4]).source, of([0, 1, 2, 3]).source), (0, 0, 0));
        assert_eq!((of([192, 0, 2, 1]).ifindex, of([192, 0, 2, 1]).destination), (LOOPBACK, 0xcb00_7109));
    }

    #[test]
    fn only_the_interface_it_came_by_counts_where_that_is_asked() {
        let packet = packet([203, 0, 113, 9], [192, 0, 2, 1]);
        assert_eq!(result(&packet, 0, 0, 5), 5);
        assert_eq!(result(&packet, ONLY_IIF, 0, 5), 0);
        assert_eq!(result(&packet, ONLY_IIF, PRESENCE, 7), 1);
        assert_eq!(result(&packet, 0, PRESENCE, 0), 0);
    }
}
