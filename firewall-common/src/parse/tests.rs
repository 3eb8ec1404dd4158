//! Frames in, words out: every protocol, every length, every lie a header can tell.

pub(crate) mod frames;

use frames::{
    ARP_TYPE, AUTHENTICATION, DCCP, DESTINATION_OPTIONS, DESTINATION_PORT, GRE, HOP_BY_HOP, ICMP, ICMPV6, IPV4_TYPE,
    IPV6_TYPE, Ipv4, Ipv6, MORE, ROUTING, SCTP, SOURCE_PORT, TCP, UDP, UDP_LITE, all, arp, ethernet, extension,
    fragment, icmp, sctp, tagged, tcp, udp, udp_saying,
};
use proptest::prelude::*;
use rstest::rstest;

use super::{Start, parse};
use crate::{
    bytes::{HeaderBytes, PacketBytes},
    flow::Tuple,
    packet::{FRAGMENT_LATER, FRAGMENT_MORE, Field, L4_PRESENT, LINK_ETHERNET, NO_L4, Packet, VLAN_TAGGED},
    verdict::Reason,
};

/// Parses an Ethernet frame into a fresh packet.
pub(crate) fn parsed(frame: &[u8]) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    parse(frame, Start::ETHERNET, &mut packet).map(|()| packet)
}

fn refused(frame: &[u8]) -> Reason {
    parsed(frame).expect_err("malformed")
}

fn well_formed(frame: &[u8]) -> Packet {
    parsed(frame).unwrap_or_else(|reason| panic!("{reason:?}: {:02x?}", &frame[..frame.len().min(100)]))
}

/// Protocol and ports, or [`NO_L4`] twice.
fn ports(packet: &Packet) -> (u32, u32) {
    (packet.get(Field::SourcePort), packet.get(Field::DestinationPort))
}

fn ports_of(protocol: u8) -> (u32, u32) {
    (tagged_word(protocol, SOURCE_PORT), tagged_word(protocol, DESTINATION_PORT))
}

const fn tagged_word(protocol: u8, value: u16) -> u32 {
    (protocol as u32) << 16 | value as u32
}

const NO_PORTS: (u32, u32) = (NO_L4, NO_L4);

/// A TCP SYN from 192.0.2.1:4660 to 198.51.100.2:22, as `tcpdump -xx` shows it.
const SYN_V4: &[u8] = &[
    0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, // Ethernet
    0x45, 0xb8, 0x00, 0x28, 0xab, 0xcd, 0x00, 0x00, 0x3f, 0x06, 0x00, 0x00, // IPv4, 40 bytes, TTL 63
    0xc0, 0x00, 0x02, 0x01, 0xc6, 0x33, 0x64, 0x02, // addresses
    0x12, 0x34, 0x00, 0x16, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, // ports, sequence, acknowledgement
    0x50, 0x02, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, // offset 5, SYN, window 8192
];

/// An ICMPv6 echo request from `2001:db8::1` to `2001:db8:ff::2` in VLAN 100.
const PING_V6: &[u8] = &[
    0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, // Ethernet
    0x81, 0x00, 0x20, 0x64, 0x86, 0xdd, // priority 1, VLAN 100, IPv6
    0x6b, 0x80, 0x00, 0x00, 0x00, 0x08, 0x3a, 0x40, // class 0xb8, 8 bytes, hop limit 64
    0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, // source
    0x20, 0x01, 0x0d, 0xb8, 0x00, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, // destination
    0x80, 0x00, 0x00, 0x00, 0x43, 0x21, 0x00, 0x01, // echo request, identifier 0x4321
];

#[test]
fn a_syn_becomes_words() {
    assert_eq!(SYN_V4, Ipv4::of(TCP).frame(&tcp(0x02, 5, 0)), "the builder writes what the wire has");
    let packet = well_formed(SYN_V4);
    let expected = [
        (Field::NfProto, 2),
        (Field::L4Proto, 6),
        (Field::L4Header, 6 | L4_PRESENT),
        (Field::SourceAddress, 0xc000_0201),
        (Field::DestinationAddress, 0xc633_6402),
        (Field::SourcePort, 0x0006_1234),
        (Field::DestinationPort, 0x0006_0016),
        (Field::IcmpType, NO_L4),
        (Field::TcpFlags, 0x0006_0002),
        (Field::Length, 40),
        (Field::Fragment, 0),
        (Field::EtherType, 0x0800),
        (Field::Vlan, LINK_ETHERNET),
        (Field::VlanType, 0),
        (Field::OuterEtherType, 0x0001_0800),
        (Field::NetworkHeader, 0x45b8_0028),
        (Field::NetworkHeaderNext, u32::from_be_bytes([SYN_V4[18], SYN_V4[19], SYN_V4[20], SYN_V4[21]])),
        (Field::TransportHeader, 0x1122_3344),
        (Field::TcpAck, 0x5566_7788),
        (Field::TcpWindow, 0x5002_2000),
        (Field::TcpUrgent, u32::from_be_bytes([SYN_V4[50], SYN_V4[51], SYN_V4[52], SYN_V4[53]])),
        (Field::Ttl, 63),
        (Field::Tos, 0xb8),
    ];
    for (field, word) in expected {
        assert_eq!(packet.get(field), word, "{field:?}");
    }
    assert_eq!((packet.l3_offset, packet.l4_offset, packet.frame_length), (14, 34, 54));
    assert_eq!((packet.l4_length, packet.payload_length), (20, 0));
    assert_eq!((packet.tcp_seq, packet.tcp_ack, packet.tcp_window), (0x1122_3344, 0x5566_7788, 0x2000));
}

#[test]
fn a_tagged_ping_becomes_words() {
    let message = Ipv6::of(ICMPV6).around(&icmp(128, 0, &[]));
    assert_eq!(PING_V6, tagged(&[(0x8100, 0x2064)], IPV6_TYPE, &message), "the builder writes what the wire has");
    let packet = well_formed(PING_V6);
    let expected = [
        (Field::NfProto, 10),
        (Field::L4Proto, 58),
        (Field::L4Header, 0x3a | L4_PRESENT),
        (Field::SourcePort, NO_L4),
        (Field::DestinationPort, NO_L4),
        (Field::IcmpType, 0x003a_8000),
        (Field::TcpFlags, NO_L4),
        (Field::Length, 48),
        (Field::Fragment, 0),
        (Field::EtherType, 0x86dd),
        (Field::Vlan, LINK_ETHERNET | VLAN_TAGGED | 0x2064),
        (Field::VlanType, 0x86dd),
        (Field::OuterEtherType, 0x0001_8100),
        (Field::NetworkHeader, 0x6b80_0000),
        (Field::NetworkHeaderNext, 0x0008_3a40),
        (Field::TransportHeader, 0x4321_0001),
        (Field::Ttl, 64),
        (Field::Tos, 0xb8),
    ];
    for (field, word) in expected {
        assert_eq!(packet.get(field), word, "{field:?}");
    }
    let address = |field| [0, 1, 2, 3].map(|index| packet.get_at(field, index));
    assert_eq!(address(Field::EtherDestination), [0x0200_0000, 0x0002_0200, 0x0200_0000, 0x0001_8100]);
    assert_eq!(address(Field::SourceAddress), [0x2001_0db8, 0, 0, 1]);
    assert_eq!(address(Field::DestinationAddress), [0x2001_0db8, 0x00ff_0000, 0, 2]);
    assert_eq!((packet.l3_offset, packet.l4_offset, packet.icmp_id), (18, 58, 0x4321));
}

#[rstest]
#[case::tcp(TCP, tcp(0x10, 5, 7), 7)]
#[case::tcp_with_options(TCP, tcp(0x10, 15, 47), 7)]
#[case::udp(UDP, udp(7), 7)]
#[case::udp_lite_covering_less(UDP_LITE, udp_saying(8, 7), 7)]
#[case::udp_lite_covering_nothing_in_particular(UDP_LITE, udp_saying(0, 7), 7)]
#[case::sctp(SCTP, sctp(), 4)]
#[case::dccp(DCCP, sctp(), 4)]
fn ports_carry_their_protocol(
    #[case] protocol: u8,
    #[case] segment: Vec<u8>,
    #[case] payload: u32,
    #[values(false, true)] v6: bool,
) {
    let frame = if v6 { Ipv6::of(protocol).frame(&segment) } else { Ipv4::of(protocol).frame(&segment) };
    let packet = well_formed(&frame);
    assert_eq!(ports(&packet), ports_of(protocol));
    assert_eq!(packet.get(Field::L4Header), u32::from(protocol) | L4_PRESENT);
    assert_eq!(packet.payload_length, payload);
    assert_eq!(packet.get(Field::IcmpType), NO_L4);
    assert_eq!(packet.get(Field::TcpFlags) == NO_L4, protocol != TCP);
}

#[rstest]
#[case::gre(GRE)]
#[case::esp(50)]
#[case::ospf(89)]
#[case::no_next_header(59)]
#[case::the_last_number(255)]
fn a_protocol_without_ports_has_a_header_but_no_ports(#[case] protocol: u8, #[values(0, 1, 64)] payload: usize) {
    for frame in [Ipv4::of(protocol).frame(&vec![0x55; payload]), Ipv6::of(protocol).frame(&vec![0x55; payload])] {
        let packet = well_formed(&frame);
        assert_eq!(packet.get(Field::L4Header), u32::from(protocol) | L4_PRESENT);
        assert_eq!(ports(&packet), NO_PORTS);
        assert_eq!(packet.l4_length, payload as u32);
    }
}

#[test]
fn arp_and_unknown_ether_types_have_no_network_layer() {
    for (ether_type, payload) in [(ARP_TYPE, arp()), (0x88cc, vec![0x45; 40]), (0x0026, vec![0x45; 40])] {
        let packet = well_formed(&ethernet(ether_type, &payload));
        assert_eq!(packet.get(Field::EtherType), u32::from(ether_type));
        assert_eq!((packet.get(Field::NfProto), packet.get(Field::L4Header), packet.get(Field::Length)), (0, 0, 0));
        assert_eq!(ports(&packet), NO_PORTS);
        assert_eq!(packet.l4_offset, 0);
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    for frame in all() {
        let unknown = frame[12..14] == [0x88, 0xcc];
        let refusable = if unknown { 14 } else { frame.len() };
        for length in 0..refusable {
            assert!(parsed(&frame[..length]).is_err(), "{length} of {}: {frame:02x?}", frame.len());
        }
        assert!(parsed(&frame).is_ok(), "{frame:02x?}");
    }
}

/// A frame of which less can be read than it is long: what a driver leaves in fragments or a linear part has not.
struct Partly<'frame> {
    readable: &'frame [u8],
    length: u32,
}

impl PacketBytes for Partly<'_> {
    type Header<const N: usize> = crate::bytes::Copied<N>;

    fn header<const N: usize>(&self, at: u32) -> Option<Self::Header<N>> {
        self.readable.header(at)
    }

    fn length(&self) -> u32 {
        self.readable.len() as u32
    }

    fn whole_length(&self) -> u32 {
        self.length
    }
}

#[test]
fn a_layer_that_cannot_be_read_is_not_there() {
    for frame in all() {
        for readable in 0..frame.len() {
            let bytes = Partly { readable: &frame[..readable], length: frame.len() as u32 };
            let mut packet = Packet::EMPTY;
            let result = parse(&bytes, Start::ETHERNET, &mut packet);
            let (source, destination) = ports(&packet);
            if source != NO_L4 || destination != NO_L4 {
                assert!(packet.l4_offset + 4 <= readable as u32, "ports from beyond {readable}: {frame:02x?}");
            }
            if packet.get(Field::IcmpType) != NO_L4 || packet.get(Field::TcpFlags) != NO_L4 {
                assert!(packet.l4_offset + 8 <= readable as u32, "beyond {readable}: {frame:02x?}");
            }
            if readable < 14 {
                assert_eq!(result, Err(Reason::EthernetTruncated));
            }
        }
    }
}

#[rstest]
#[case::tcp(TCP, tcp(0x02, 5, 0), Reason::TcpTruncated)]
#[case::udp(UDP, udp(0), Reason::UdpTruncated)]
#[case::udp_lite(UDP_LITE, udp(0), Reason::UdpTruncated)]
#[case::sctp(SCTP, sctp()[..12].to_vec(), Reason::SctpTruncated)]
#[case::dccp(DCCP, sctp()[..12].to_vec(), Reason::SctpTruncated)]
#[case::icmp(ICMP, icmp(8, 0, &[]), Reason::IcmpTruncated)]
#[case::icmpv6(ICMPV6, icmp(128, 0, &[]), Reason::Icmpv6Truncated)]
fn a_packet_that_ends_inside_its_transport_header_is_refused(
    #[case] protocol: u8,
    #[case] header: Vec<u8>,
    #[case] reason: Reason,
    #[values(false, true)] v6: bool,
) {
    for length in 0..header.len() {
        let (said, total) = (Some(length as u16), Some(20 + length as u16));
        // What follows the packet's end is padding of the frame, and would be a fine header.
        let frame = if v6 {
            Ipv6 { payload_length: said, ..Ipv6::of(protocol) }.frame(&header)
        } else {
            Ipv4 { total, ..Ipv4::of(protocol) }.frame(&header)
        };
        let mut packet = Packet::EMPTY;
        let result = parse(frame.as_slice(), Start::ETHERNET, &mut packet);
        // TCP behind a payload length of 0 may be a packet that segmentation offload has yet to cut; not in this frame.
        let uncut = v6 && length == 0 && protocol == TCP && result == Err(Reason::Ipv6PayloadLength);
        assert!(uncut || result == Err(reason), "{length} bytes: {result:?}");
        assert_eq!(ports(&packet), NO_PORTS);
        assert_eq!((packet.get(Field::IcmpType), packet.get(Field::TcpFlags)), (NO_L4, NO_L4));
    }
}

#[test]
fn padding_behind_a_packet_is_not_payload() {
    for frame in [Ipv4::of(TCP).frame(&tcp(0x10, 5, 1)), Ipv6::of(TCP).frame(&tcp(0x10, 5, 1))] {
        let bare = well_formed(&frame);
        let padded = well_formed(&[frame.as_slice(), &[0xff; 19]].concat());
        assert_eq!(padded.words, bare.words);
        assert_eq!((padded.l4_length, padded.payload_length), (21, 1));
        assert_eq!(padded.frame_length, bare.frame_length + 19);
    }
}

#[test]
fn every_ipv4_header_length_is_honoured_or_refused() {
    // The bytes behind the fixed header are ports to whoever ignores the options.
    for ihl in 0..16 {
        let options = vec![1; usize::from(ihl.max(5) - 5) * 4];
        let frame = Ipv4 { ihl: Some(ihl), options, ..Ipv4::of(UDP) }.frame(&udp(0));
        if ihl < 5 {
            assert_eq!(refused(&frame), Reason::Ipv4HeaderLength, "IHL {ihl}");
        } else {
            let packet = well_formed(&frame);
            assert_eq!(ports(&packet), ports_of(UDP), "IHL {ihl}");
            assert_eq!(packet.l4_offset, 14 + u32::from(ihl) * 4);
        }
    }
}

#[test]
fn an_ipv4_header_that_reaches_beyond_its_packet_is_refused() {
    for ihl in 6..16 {
        let frame = Ipv4 { ihl: Some(ihl), ..Ipv4::of(GRE) }.frame(&[]);
        assert_eq!(refused(&frame), Reason::Ipv4TotalLength, "IHL {ihl}");
    }
}

#[rstest]
#[case::zero(0)]
#[case::below_the_header(19)]
#[case::one_beyond_the_frame(29)]
#[case::far_beyond_the_frame(0xffff)]
fn an_ipv4_total_length_that_lies_is_refused(#[case] total: u16) {
    let frame = Ipv4 { total: Some(total), ..Ipv4::of(UDP) }.frame(&udp(0));
    assert_eq!(refused(&frame), Reason::Ipv4TotalLength);
}

#[test]
fn every_tcp_data_offset_is_honoured_or_refused() {
    for words in 0..16 {
        for frame in [Ipv4::of(TCP).frame(&tcp(0x10, words, 30)), Ipv6::of(TCP).frame(&tcp(0x10, words, 30))] {
            match words {
                0..5 => assert_eq!(refused(&frame), Reason::TcpDataOffset, "offset {words}"),
                5..13 => assert_eq!(well_formed(&frame).payload_length, 50 - u32::from(words) * 4, "offset {words}"),
                _ => assert_eq!(refused(&frame), Reason::TcpDataOffset, "offset {words} beyond 50 bytes"),
            }
        }
    }
}

#[rstest]
#[case::zero(0, Err(Reason::UdpLength))]
#[case::below_the_header(7, Err(Reason::UdpLength))]
#[case::header_only_with_slack(8, Ok(()))]
#[case::exact(12, Ok(()))]
#[case::beyond_the_packet(13, Err(Reason::UdpLength))]
fn udp_length_is_checked(#[case] length: u16, #[case] expected: Result<(), Reason>) {
    for frame in [Ipv4::of(UDP).frame(&udp_saying(length, 4)), Ipv6::of(UDP).frame(&udp_saying(length, 4))] {
        assert_eq!(parsed(&frame).map(|packet| assert_eq!(ports(&packet), ports_of(UDP))), expected);
    }
}

#[rstest]
#[case::ipv6_in_ipv4(IPV4_TYPE, 0x65, Reason::Ipv4Version)]
#[case::version_0_in_ipv4(IPV4_TYPE, 0x05, Reason::Ipv4Version)]
#[case::ipv4_in_ipv6(IPV6_TYPE, 0x45, Reason::Ipv6Version)]
#[case::version_15_in_ipv6(IPV6_TYPE, 0xf0, Reason::Ipv6Version)]
fn the_version_must_fit_the_ether_type(#[case] ether_type: u16, #[case] first: u8, #[case] reason: Reason) {
    let mut payload = vec![0; 60];
    payload[0] = first;
    assert_eq!(refused(&ethernet(ether_type, &payload)), reason);
}

#[rstest]
#[case::untagged(&[], 0)]
#[case::one(&[(0x8100, 0x0064)], 0x1_0064)]
#[case::priority_only(&[(0x8100, 0)], 0x1_0000)]
#[case::service_tag(&[(0x88a8, 0xffff)], 0x1_ffff)]
#[case::legacy_tag(&[(0x9100, 5)], 0x1_0005)]
#[case::two(&[(0x88a8, 7), (0x8100, 9)], 0x1_0007)]
#[case::two_of_a_kind(&[(0x8100, 0), (0x8100, 9)], 0x1_0000)]
fn a_vlan_tag_never_hides_a_packet(#[case] tags: &[(u16, u16)], #[case] vlan: u32) {
    let frames = [
        tagged(tags, IPV4_TYPE, &Ipv4::of(TCP).around(&tcp(0x02, 5, 0))),
        tagged(tags, IPV6_TYPE, &Ipv6::of(TCP).around(&tcp(0x02, 5, 0))),
    ];
    for frame in frames {
        let packet = well_formed(&frame);
        assert_eq!(packet.get(Field::Vlan), LINK_ETHERNET | vlan);
        let types: Vec<u32> =
            tags.iter().map(|(kind, _)| u32::from(*kind)).chain([packet.get(Field::EtherType)]).collect();
        assert_eq!(packet.get(Field::OuterEtherType) & 0xffff, types[0]);
        assert_eq!(packet.get(Field::VlanType), types.get(1).copied().unwrap_or(0));
        assert_eq!(packet.l3_offset, 14 + 4 * tags.len() as u32);
        assert_eq!(ports(&packet), ports_of(TCP));
    }
}

#[rstest]
#[case(&[(0x8100, 1), (0x8100, 2), (0x8100, 3)])]
#[case(&[(0x88a8, 1), (0x88a8, 2), (0x9100, 3)])]
#[case(&[(0x9100, 1), (0x8100, 2), (0x88a8, 3), (0x8100, 4)])]
fn a_third_tag_is_refused(#[case] tags: &[(u16, u16)]) {
    let frame = tagged(tags, IPV4_TYPE, &Ipv4::of(TCP).around(&tcp(0x02, 5, 0)));
    assert_eq!(refused(&frame), Reason::VlanTooManyTags);
}

#[test]
fn a_frame_cut_inside_a_tag_says_so() {
    let frame = tagged(&[(0x88a8, 1), (0x8100, 2)], IPV4_TYPE, &[]);
    for length in 14..22 {
        assert_eq!(refused(&frame[..length]), Reason::VlanTruncated, "{length} bytes");
    }
    assert_eq!(refused(&frame), Reason::Ipv4Truncated);
}

#[rstest]
#[case::none(&[])]
#[case::hop_by_hop(&[(HOP_BY_HOP, 0)])]
#[case::routing(&[(ROUTING, 6)])]
#[case::destination_options(&[(DESTINATION_OPTIONS, 255)])]
#[case::in_the_recommended_order(&[(HOP_BY_HOP, 0), (DESTINATION_OPTIONS, 1), (ROUTING, 2), (DESTINATION_OPTIONS, 0)])]
#[case::as_many_as_are_walked(&[(DESTINATION_OPTIONS, 0); 8])]
fn extension_headers_are_walked(#[case] chain: &[(u8, u8)]) {
    let extensions: Vec<_> = chain.iter().map(|(kind, units)| extension(*kind, *units)).collect();
    let walked: u32 = chain.iter().map(|(_, units)| (u32::from(*units) + 1) * 8).sum();
    let packet = well_formed(&Ipv6::with(UDP, extensions).frame(&udp(3)));
    assert_eq!(packet.get(Field::L4Proto), u32::from(UDP));
    assert_eq!(ports(&packet), ports_of(UDP));
    assert_eq!((packet.l4_offset, packet.l4_length), (54 + walked, 11));
    assert_eq!(packet.get(Field::Length), 40 + walked + 11);
}

#[test]
fn a_ninth_extension_header_is_refused() {
    let frame = Ipv6::with(UDP, vec![extension(DESTINATION_OPTIONS, 0); 9]).frame(&udp(3));
    assert_eq!(refused(&frame), Reason::Ipv6TooManyExtensions);
}

#[test]
fn an_authentication_header_is_an_upper_layer() {
    let packet = well_formed(&Ipv6::with(TCP, vec![extension(AUTHENTICATION, 1)]).frame(&tcp(0x02, 5, 0)));
    assert_eq!(packet.get(Field::L4Header), u32::from(AUTHENTICATION) | L4_PRESENT);
    assert_eq!(ports(&packet), NO_PORTS);
}

#[rstest]
#[case::the_chain_ends_with_the_packet(Some(8), Err(Reason::UdpTruncated))]
#[case::the_extension_reaches_beyond_the_packet(Some(7), Err(Reason::Ipv6Truncated))]
#[case::there_is_no_room_for_it(Some(1), Err(Reason::Ipv6Truncated))]
#[case::only_a_jumbo_payload_has_length_0(Some(0), Err(Reason::Ipv6PayloadLength))]
#[case::the_packet_reaches_beyond_the_frame(Some(17), Err(Reason::Ipv6PayloadLength))]
#[case::all_is_well(None, Ok(()))]
fn extension_headers_must_fit_the_packet(#[case] payload_length: Option<u16>, #[case] expected: Result<(), Reason>) {
    let header = Ipv6 { payload_length, ..Ipv6::with(UDP, vec![extension(HOP_BY_HOP, 0)]) };
    assert_eq!(parsed(&header.frame(&udp(0))).map(drop), expected);
}

#[test]
fn a_later_fragment_has_no_ports() {
    for protocol in [TCP, UDP, UDP_LITE, SCTP, DCCP, ICMP, ICMPV6, GRE] {
        let frames = [
            (Ipv4 { fragment: 2, ..Ipv4::of(protocol) }.frame(&tcp(0x02, 5, 4)), FRAGMENT_LATER),
            (Ipv4 { fragment: MORE | 2, ..Ipv4::of(protocol) }.frame(&tcp(0x02, 5, 4)), FRAGMENT_LATER | FRAGMENT_MORE),
            (Ipv6::with(protocol, vec![fragment(16, false)]).frame(&tcp(0x02, 5, 4)), FRAGMENT_LATER),
            (Ipv6::with(protocol, vec![fragment(16, true)]).frame(&tcp(0x02, 5, 4)), FRAGMENT_LATER | FRAGMENT_MORE),
        ];
        for (frame, kind) in frames {
            let packet = well_formed(&frame);
            assert_eq!(packet.get(Field::Fragment), kind);
            assert_eq!(packet.get(Field::L4Proto), u32::from(protocol));
            assert_eq!(packet.get(Field::L4Header), 0, "the header is in another packet");
            assert_eq!(ports(&packet), NO_PORTS);
            assert_eq!((packet.get(Field::IcmpType), packet.get(Field::TcpFlags)), (NO_L4, NO_L4));
            assert_eq!((packet.fragment_offset, packet.payload_length), (16, 24));
        }
    }
}

#[test]
fn a_first_fragment_has_ports_and_identification() {
    let v4 = well_formed(&Ipv4 { fragment: MORE, ..Ipv4::of(TCP) }.frame(&tcp(0x02, 5, 4)));
    let v6 = well_formed(&Ipv6::with(TCP, vec![fragment(0, true)]).frame(&tcp(0x02, 5, 4)));
    for packet in [&v4, &v6] {
        assert_eq!(packet.get(Field::Fragment), FRAGMENT_MORE);
        assert_eq!(packet.fragment_offset, 0);
        assert_eq!(ports(packet), ports_of(TCP));
    }
    assert_eq!(v4.fragment_id, u32::from(Ipv4::ID));
    assert_eq!(v6.fragment_id, Ipv6::FRAGMENT_ID);
}

#[test]
fn a_first_fragment_may_hold_less_than_its_datagram_says() {
    let v4 = Ipv4 { fragment: MORE, ..Ipv4::of(UDP) }.frame(&udp_saying(4000, 16));
    let v6 = Ipv6::with(UDP, vec![fragment(0, true)]).frame(&udp_saying(4000, 16));
    for frame in [v4, v6] {
        assert_eq!(ports(&well_formed(&frame)), ports_of(UDP));
    }
}

/// RFC 6946: a fragment header on a packet that is whole.
#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let packet = well_formed(&Ipv6::with(UDP, vec![fragment(0, false)]).frame(&udp(4)));
    assert_eq!((packet.get(Field::Fragment), packet.payload_length), (0, 4));
    let lying = Ipv6::with(UDP, vec![fragment(0, false)]).frame(&udp_saying(4000, 4));
    assert_eq!(refused(&lying), Reason::UdpLength);
}

#[rstest]
#[case::tcp_cut_inside_its_header(TCP, tcp(0x02, 5, 0)[..16].to_vec())]
#[case::tcp_cut_inside_its_options(TCP, tcp(0x02, 8, 4))]
#[case::udp_cut_inside_its_header(UDP, vec![0; 0])]
fn a_first_fragment_that_hides_its_header_is_refused(#[case] protocol: u8, #[case] payload: Vec<u8>) {
    let v4 = Ipv4 { fragment: MORE, ..Ipv4::of(protocol) }.frame(&payload);
    let v6 = Ipv6::with(protocol, vec![fragment(0, true)]).frame(&payload);
    for frame in [v4, v6] {
        assert_eq!(refused(&frame), Reason::FragmentTiny);
    }
}

/// RFC 3128: the offset is in units of 8 bytes, so only 1 lands inside the first 16 bytes.
#[rstest]
#[case::over_the_flags(TCP, 8, Err(Reason::FragmentTiny))]
#[case::behind_the_flags(TCP, 16, Ok(()))]
#[case::udp_is_8_bytes_long(UDP, 8, Ok(()))]
fn a_fragment_that_would_overwrite_tcp_flags_is_refused(
    #[case] protocol: u8,
    #[case] offset: u16,
    #[case] expected: Result<(), Reason>,
) {
    let v4 = Ipv4 { fragment: offset / 8, ..Ipv4::of(protocol) }.frame(&[0; 24]);
    let v6 = Ipv6::with(protocol, vec![fragment(offset, false)]).frame(&[0; 24]);
    for frame in [v4, v6] {
        assert_eq!(parsed(&frame).map(drop), expected);
    }
}

#[rstest]
#[case::at_the_limit(65_535, Ok(()))]
#[case::one_byte_beyond(65_536, Err(Reason::Ipv4FragmentOverrun))]
fn an_ipv4_fragment_must_end_within_a_packet(#[case] end: usize, #[case] expected: Result<(), Reason>) {
    let units = 8_000;
    let payload = vec![0; end - 20 - usize::from(units) * 8];
    assert_eq!(parsed(&Ipv4 { fragment: units, ..Ipv4::of(UDP) }.frame(&payload)).map(drop), expected);
}

#[test]
fn a_packet_of_more_than_65535_bytes_has_its_length_from_the_frame() {
    let v4 = Ipv4 { total: Some(0), ..Ipv4::of(TCP) }.frame(&tcp(0x10, 5, 70_000));
    let v6 = Ipv6 { payload_length: Some(0), ..Ipv6::of(TCP) }.frame(&tcp(0x10, 5, 70_000));
    for frame in [v4, v6] {
        let packet = well_formed(&frame);
        assert_eq!(packet.payload_length, 70_000);
        assert_eq!(packet.get(Field::Length), packet.frame_length - 14);
    }
}

/// RFC 2675: what the kernel puts into TCP packets above 65,535 bytes until segmentation offload cuts them.
#[test]
fn a_jumbo_payload_option_does_not_hide_a_packet() {
    let option = (HOP_BY_HOP, vec![0, 0xc2, 4, 0, 1, 0x11, 0x8c]);
    let header = Ipv6 { payload_length: Some(0), ..Ipv6::with(TCP, vec![option]) };
    let packet = well_formed(&header.frame(&tcp(0x10, 5, 70_000)));
    assert_eq!(ports(&packet), ports_of(TCP));
    assert_eq!(packet.payload_length, 70_000);
}

#[rstest]
#[case::ipv4(IPV4_TYPE, Ipv4::of(UDP).around(&udp(1)))]
#[case::ipv6(IPV6_TYPE, Ipv6::of(UDP).around(&udp(1)))]
fn an_interface_without_link_header_starts_with_the_network_header(#[case] ether_type: u16, #[case] bytes: Vec<u8>) {
    let mut packet = Packet::EMPTY;
    assert_eq!(parse(bytes.as_slice(), Start::network(ether_type), &mut packet), Ok(()));
    assert_eq!(packet.get(Field::EtherType), u32::from(ether_type));
    assert_eq!((packet.get(Field::Vlan), packet.l3_offset), (0, 0));
    assert_eq!(ports(&packet), ports_of(UDP));
    let mut framed = well_formed(&ethernet(ether_type, &bytes));
    framed.set(Field::Vlan, 0);
    for index in 0..4 {
        framed.set_at(Field::EtherDestination, index, 0);
    }
    assert_eq!(framed.words, packet.words, "a rule sees no difference but in the link's header");
}

#[test]
fn words_of_other_stages_are_left_alone() {
    let mut packet = Packet::EMPTY;
    let others = [Field::CtState, Field::IifIndex, Field::OifIndex, Field::IifName, Field::OifName, Field::Mark];
    for field in others {
        packet.set(field, 0x5555);
    }
    assert_eq!(parse(SYN_V4, Start::ETHERNET, &mut packet), Ok(()));
    for field in others {
        assert_eq!(packet.get(field), 0x5555, "{field:?}");
    }
}

#[test]
fn a_header_is_read_whole_or_not_at_all() {
    let bytes: &[u8] = &[1, 2, 3, 4, 5, 6];
    let header = bytes.header::<4>(2).expect("it is there");
    assert_eq!((header.u8(0), header.be16(1), header.be32(0)), (3, 0x0405, 0x0304_0506));
    assert!(bytes.header::<4>(3).is_none());
    assert!(bytes.header::<1>(u32::MAX).is_none());
    assert_eq!((header.u8(4), header.be16(3), header.be32(1)), (0, 0, 0), "beyond the header");
}

/// A valid frame with some bytes changed, some cut off or added: what reaches far into the parser.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let length = prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (prop::sample::select(all()), edits, length, prop::collection::vec(any::<u8>(), 0..8)).prop_map(
        |(mut frame, edits, length, tail)| {
            for (at, value) in edits {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            if let Some(length) = length {
                frame.truncate(length.index(frame.len() + 1));
            }
            frame.extend(tail);
            frame
        },
    )
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => nearly_valid(), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn any_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        6 => Just(Start::ETHERNET),
        1 => Just(Start::network(IPV4_TYPE)),
        1 => Just(Start::network(IPV6_TYPE)),
        1 => any::<u16>().prop_map(Start::network)
    ]
}

/// Words that every packet has or says it has not.
const ALWAYS: [Field; 12] = [
    Field::NfProto,
    Field::L4Proto,
    Field::L4Header,
    Field::SourcePort,
    Field::DestinationPort,
    Field::IcmpType,
    Field::TcpFlags,
    Field::Length,
    Field::Fragment,
    Field::Ttl,
    Field::Tos,
    Field::Zero,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_comes_in_the_packet_makes_sense(frame in any_frame(), start in any_start()) {
        let mut packet = Packet::EMPTY;
        let result = parse(frame.as_slice(), start, &mut packet);
        let end = frame.len() as u32;
        prop_assert_eq!(packet.frame_length, end);
        prop_assert!(packet.l4_offset <= end);
        let l4 = packet.get(Field::L4Header);
        if packet.get(Field::Fragment) & FRAGMENT_LATER != 0 {
            prop_assert_eq!((l4, ports(&packet)), (0, NO_PORTS));
        }
        for field in [Field::SourcePort, Field::DestinationPort, Field::IcmpType, Field::TcpFlags] {
            let word = packet.get(field);
            prop_assert!(word == NO_L4 || word >> 16 == l4 & 0xff, "{field:?} {word:#x} of {l4:#x}");
        }
        if result.is_ok() && packet.get(Field::NfProto) != 0 {
            prop_assert_eq!(l4, if packet.get(Field::Fragment) & FRAGMENT_LATER == 0 {
                packet.get(Field::L4Proto) | L4_PRESENT
            } else {
                0
            });
            let packet_end = packet.l3_offset + packet.get(Field::Length);
            prop_assert!(packet_end <= end);
            prop_assert!(packet.l4_offset >= packet.l3_offset + 20);
            prop_assert_eq!(packet.l4_offset + packet.l4_length, packet_end);
            prop_assert!(packet.payload_length <= packet.l4_length);
        } else if result.is_ok() {
            prop_assert_eq!((l4, ports(&packet), packet.l4_offset), (0, NO_PORTS, 0));
        }
    }

    #[test]
    fn a_packet_has_nothing_from_the_one_before(before in any_frame(), frame in any_frame(), start in any_start()) {
        let mut fresh = Packet::EMPTY;
        let result = parse(frame.as_slice(), start, &mut fresh);
        let mut reused = Packet::EMPTY;
        let _ = parse(before.as_slice(), Start::ETHERNET, &mut reused);
        prop_assert_eq!(parse(frame.as_slice(), start, &mut reused), result);
        for field in ALWAYS {
            prop_assert_eq!(reused.get(field), fresh.get(field), "{:?}", field);
        }
        prop_assert_eq!((reused.l4_offset, reused.payload_length), (fresh.l4_offset, fresh.payload_length));
        if result.is_ok() {
            for field in [Field::EtherType, Field::Vlan] {
                prop_assert_eq!(reused.get(field), fresh.get(field), "{:?}", field);
            }
            prop_assert_eq!(reused.l3_offset, fresh.l3_offset);
        }
        if result.is_ok() && fresh.get(Field::NfProto) != 0 {
            prop_assert_eq!(Tuple::of(&reused), Tuple::of(&fresh));
            prop_assert_eq!((reused.l4_length, reused.fragment_offset), (fresh.l4_length, fresh.fragment_offset));
            prop_assert_eq!(reused.fragment_id, fresh.fragment_id);
        }
        if result.is_ok() && fresh.get(Field::TcpFlags) != NO_L4 {
            let numbers = |packet: &Packet| (packet.tcp_seq, packet.tcp_ack, packet.tcp_window);
            prop_assert_eq!(numbers(&reused), numbers(&fresh));
        }
    }
}
