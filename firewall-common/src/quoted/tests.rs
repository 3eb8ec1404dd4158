//! Quotes in ICMP errors: whole, cut, with options and extension headers, and about things that are no connection.

use proptest::prelude::*;
use rstest::rstest;

use super::{Quoted, read};
use crate::{
    flow::Tuple,
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, Packet},
    parse::tests::{
        frames::{
            DCCP, DESTINATION_OPTIONS, ESP, GRE, HOP_BY_HOP, ICMP, ICMPV6, Ipv4, Ipv6, SCTP, TCP, UDP, UDP_LITE,
            extension, fragment, icmp, sctp, tcp, udp,
        },
        parsed,
    },
};

/// An ICMP error about a packet, and what the parser makes of it: the frame and where the quote starts.
fn error_about(packet: &[u8], family: u32) -> (Vec<u8>, u32) {
    let frame = if family == NFPROTO_IPV4 {
        Ipv4::of(ICMP).frame(&icmp(3, 1, packet))
    } else {
        Ipv6::of(ICMPV6).frame(&icmp(1, 4, packet))
    };
    let error = parsed(&frame).expect("well-formed");
    (frame, error.l4_offset + 8)
}

fn tuple_quoted(packet: &[u8], family: u32) -> Option<Tuple> {
    let (frame, at) = error_about(packet, family);
    read(frame.as_slice(), at, family).map(|quoted| quoted.tuple)
}

/// What the packet's own tuple was when it passed.
fn tuple_of(packet: &[u8], family: u32) -> Tuple {
    let ether_type = if family == NFPROTO_IPV4 { 0x0800 } else { 0x86dd };
    let packet: Packet = parsed(&crate::parse::tests::frames::ethernet(ether_type, packet)).expect("well-formed");
    assert_eq!(packet.get(Field::NfProto), family);
    Tuple::of(&packet)
}

#[rstest]
#[case::tcp(TCP, tcp(0x18, 8, 400))]
#[case::udp(UDP, udp(400))]
#[case::udp_lite(UDP_LITE, udp(400))]
#[case::sctp(SCTP, sctp())]
#[case::dccp(DCCP, sctp())]
#[case::ping(ICMP, icmp(8, 0, &[0; 56]))]
#[case::gre(GRE, vec![0x55; 40])]
#[case::esp(ESP, vec![0x55; 40])]
fn a_quote_has_the_tuple_of_its_packet(#[case] protocol: u8, #[case] payload: Vec<u8>) {
    let with_options = Ipv4 { options: vec![1; 40], ..Ipv4::of(protocol) };
    for packet in [Ipv4::of(protocol).around(&payload), with_options.around(&payload)] {
        let header = usize::from(packet[0] & 15) * 4;
        let expected = Some(tuple_of(&packet, NFPROTO_IPV4));
        assert_eq!(tuple_quoted(&packet, NFPROTO_IPV4), expected, "whole");
        assert_eq!(tuple_quoted(&packet[..header + 8], NFPROTO_IPV4), expected, "the 8 bytes that RFC 792 promises");
    }
    let extensions = vec![extension(HOP_BY_HOP, 0), extension(DESTINATION_OPTIONS, 2)];
    for packet in [Ipv6::of(protocol).around(&payload), Ipv6::with(protocol, extensions).around(&payload)] {
        assert_eq!(tuple_quoted(&packet, NFPROTO_IPV6), Some(tuple_of(&packet, NFPROTO_IPV6)));
    }
}

#[rstest]
#[case::ipv4(NFPROTO_IPV4, Ipv4::of(UDP).around(&udp(0)))]
#[case::ipv4_with_options(NFPROTO_IPV4, Ipv4 { options: vec![1; 8], ..Ipv4::of(TCP) }.around(&tcp(2, 5, 0)[..8]))]
#[case::ipv6(NFPROTO_IPV6, Ipv6::of(UDP).around(&udp(0)))]
#[case::ipv6_with_extensions(NFPROTO_IPV6, Ipv6::with(UDP, vec![extension(DESTINATION_OPTIONS, 1)]).around(&udp(0)))]
fn a_quote_cut_before_its_ports_has_no_tuple(#[case] family: u32, #[case] packet: Vec<u8>) {
    for length in 0..packet.len() {
        assert_eq!(tuple_quoted(&packet[..length], family), None, "{length} of {}", packet.len());
    }
    assert!(tuple_quoted(&packet, family).is_some());
}

#[test]
fn a_quote_of_a_protocol_without_ports_needs_no_payload() {
    assert!(tuple_quoted(&Ipv4::of(GRE).around(&[]), NFPROTO_IPV4).is_some());
    assert!(tuple_quoted(&Ipv6::of(GRE).around(&[]), NFPROTO_IPV6).is_some());
}

/// RFC 1122 section 3.2.2: no error is sent about an error; whoever sends one is not believed.
#[test]
fn an_error_about_an_error_has_no_tuple() {
    for kind in 0..=u8::MAX {
        let is_query = matches!(kind, 0 | 8 | 13..=18);
        let v4 = tuple_quoted(&Ipv4::of(ICMP).around(&icmp(kind, 0, &[])), NFPROTO_IPV4);
        assert_eq!(v4.is_some(), is_query, "ICMP type {kind}");
        let is_query = matches!(kind, 128 | 129 | 139 | 140);
        let v6 = tuple_quoted(&Ipv6::of(ICMPV6).around(&icmp(kind, 0, &[])), NFPROTO_IPV6);
        assert_eq!(v6.is_some(), is_query, "ICMPv6 type {kind}");
    }
}

#[rstest]
#[case::later_fragment(Ipv4 { fragment: 1, ..Ipv4::of(UDP) }.around(&udp(0)))]
#[case::header_too_short(Ipv4 { ihl: Some(4), ..Ipv4::of(UDP) }.around(&udp(0)))]
#[case::header_of_nothing(Ipv4 { ihl: Some(0), ..Ipv4::of(UDP) }.around(&udp(0)))]
#[case::the_other_family(Ipv6::of(UDP).around(&udp(0)))]
fn an_ipv4_quote_that_makes_no_sense_has_no_tuple(#[case] packet: Vec<u8>) {
    assert_eq!(tuple_quoted(&packet, NFPROTO_IPV4), None);
}

#[rstest]
#[case::later_fragment(Ipv6::with(UDP, vec![fragment(8, false)]).around(&udp(0)))]
#[case::too_many_extensions(Ipv6::with(UDP, vec![extension(DESTINATION_OPTIONS, 0); 9]).around(&udp(0)))]
#[case::the_other_family([Ipv4::of(UDP).around(&udp(0)), vec![0; 40]].concat())]
fn an_ipv6_quote_that_makes_no_sense_has_no_tuple(#[case] packet: Vec<u8>) {
    assert_eq!(tuple_quoted(&packet, NFPROTO_IPV6), None);
}

#[test]
fn a_first_fragment_can_be_quoted() {
    let v4 = Ipv4 { fragment: 0x2000, ..Ipv4::of(UDP) }.around(&udp(8));
    let v6 = Ipv6::with(UDP, vec![fragment(0, true)]).around(&udp(8));
    assert_eq!(tuple_quoted(&v4, NFPROTO_IPV4), Some(tuple_of(&v4, NFPROTO_IPV4)));
    assert_eq!(tuple_quoted(&v6, NFPROTO_IPV6), Some(tuple_of(&v6, NFPROTO_IPV6)));
}

proptest! {
    #[test]
    fn any_bytes_can_be_quoted(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::sample::select(vec![0x45_u8, 0x46, 0x60, 0x4f]),
        at in 0_u32..140,
        family in prop::sample::select(vec![NFPROTO_IPV4, NFPROTO_IPV6]),
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.get_mut(at as usize) {
            *first = version;
        }
        if let Some(Quoted { tuple, .. }) = read(bytes.as_slice(), at, family) {
            prop_assert_eq!(u32::from(tuple.family), family);
            let header = if family == NFPROTO_IPV4 { 20 } else { 40 };
            prop_assert!(at as usize + header <= bytes.len());
        }
    }
}
