use super::*;
use crate::topology::{CLIENT, CLIENT_MAC, CLIENT6, SERVER, SERVER6};

fn ipv4() -> Ipv4 {
    Ipv4::new(CLIENT, SERVER)
}

fn ipv6() -> Ipv6 {
    Ipv6::new(CLIENT6, SERVER6)
}

/// The sum over everything that a checksum covers, itself included: zero when it is right.
fn residue(frame: &Frame) -> u16 {
    let upper = frame.upper.bytes(frame.network.addresses(), &frame.payload);
    let (source, destination) = frame.network.addresses().expect("an IP packet");
    let pseudo = match frame.upper.protocol() {
        protocol::ICMP => Vec::new(),
        protocol => pseudo_header(source, destination, protocol, upper.len()),
    };
    checksum(&[&pseudo, &upper])
}

#[test]
fn every_checksum_is_right() {
    let uppers: [Upper; 6] = [
        Tcp::new(40000, 22, flag::SYN).into(),
        Tcp { options: vec![2, 4, 5, 0xb4, 1], ..Tcp::new(40000, 22, flag::SYN) }.into(),
        Udp::new(40000, 53).into(),
        Icmp::echo_request(IcmpVersion::V4, 7, 1).into(),
        Icmp::echo_request(IcmpVersion::V6, 7, 1).into(),
        Icmp::v6(1, 4).into(),
    ];
    for upper in uppers {
        for payload in [&b""[..], b"odd", b"even"] {
            for network in [Network::from(ipv4()), ipv6().into()] {
                let frame = Frame::new(network, upper.clone()).payload(payload);
                assert_eq!(residue(&frame), 0, "{frame:?}");
            }
        }
    }
}

#[test]
fn an_ipv4_header_sums_up_to_zero_with_its_options() {
    for options in [vec![], vec![1], vec![7, 7, 4, 0, 0, 0, 0], vec![1; 40]] {
        let bytes = Ipv4 { options, ..ipv4() }.bytes(protocol::TCP, 0);
        assert_eq!(usize::from(bytes[0] & 0xf) * 4, bytes.len());
        assert_eq!(checksum(&[&bytes]), 0);
    }
}

/// A datagram whose sum comes out as zero: RFC 768 has it sent as ffff.
#[test]
fn a_udp_checksum_is_never_zero_by_chance() {
    let zero = Frame::new(ipv4(), Udp { checksum: Some(0), ..Udp::new(1, 2) }).payload(&[0, 0]);
    let sum = checksum(&[&pseudo_header(CLIENT.into(), SERVER.into(), protocol::UDP, 10), &zero.packet()[20..]]);
    let chosen = Frame::new(ipv4(), Udp::new(1, 2)).payload(&sum.to_be_bytes());
    assert_eq!(chosen.packet()[26..28], [0xff, 0xff]);
}

#[test]
fn an_arp_request_byte_by_byte() {
    let frame = Frame::without_ip(Arp::request(CLIENT_MAC, CLIENT, SERVER));
    let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2];
    assert_eq!(frame.bytes(), [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6][..], &arp].concat());
}

#[test]
fn tags_stand_in_front_of_what_they_carry() {
    let frame = Frame::new(ipv4(), Udp::new(1, 2)).tagged(&[100, 200]);
    assert_eq!(frame.bytes()[12..22], [0x81, 0, 0, 100, 0x81, 0, 0, 200, 8, 0]);
}

#[test]
fn extension_headers_announce_each_other() {
    let extensions = [Extension::hop_by_hop(), Extension::routing(), Extension::fragment(3, true, 9)];
    let frame = Frame::new(ipv6().with(extensions), Udp::new(1, 2));
    let packet = frame.packet();
    assert_eq!([packet[6], packet[40], packet[48], packet[56]], [0, 43, 44, protocol::UDP]);
    assert_eq!(packet[56..64], [protocol::UDP, 0, 0, 25, 0, 0, 0, 9]);
    assert_eq!(u16::from_be_bytes([packet[4], packet[5]]), 24 + 8);
}

#[test]
fn one_broken_field_breaks_nothing_else() {
    let right = Frame::new(ipv4(), Tcp::new(1, 2, flag::ACK)).bytes();
    let short = Frame::new(Ipv4 { ihl: Some(4), checksum: Some(0), ..ipv4() }, Tcp::new(1, 2, flag::ACK)).bytes();
    let differs: Vec<_> = (0..right.len()).filter(|at| right[*at] != short[*at]).collect();
    assert_eq!(differs, [14, 24, 25], "version and IHL, and the checksum that was given");
}

#[test]
fn fragments_put_together_are_the_packet() {
    let whole = Frame::new(ipv4(), Udp::new(1, 2)).payload(&[7; 21]);
    let fragments = whole.fragments(5, 8);
    let bytes: Vec<_> = fragments.iter().flat_map(|fragment| fragment.packet()[20..].to_vec()).collect();
    assert_eq!(bytes, whole.packet()[20..]);
    let offsets: Vec<_> = fragments.iter().map(|fragment| fragment.packet()[6..8].to_vec()).collect();
    assert_eq!(offsets, [[0x20, 0], [0x20, 1], [0x20, 2], [0, 3]]);
    assert_eq!(Frame::new(ipv6(), Udp::new(1, 2)).fragments(5, 8)[0].packet()[40..44], [protocol::UDP, 0, 0, 0]);
}

#[test]
fn an_error_quotes_what_it_is_about() {
    let about = Frame::new(ipv4(), Udp::new(1, 2)).payload(b"something");
    let error = Frame::error(Ipv4::new(SERVER, CLIENT), Icmp::v4(3, 3), &about);
    assert_eq!(error.ethernet, Ethernet::to_client());
    assert_eq!(error.packet()[28..], about.packet()[..28]);
    assert_eq!(residue(&error), 0);
}

#[test]
fn a_summary_reads_what_was_written() {
    let frame = Frame::new(ipv6(), Tcp::new(40000, 22, flag::SYN)).tagged(&[5]);
    let summary = Summary {
        source: CLIENT6.into(),
        destination: SERVER6.into(),
        protocol: protocol::TCP,
        ports: Some((40000, 22)),
        tcp_flags: Some(flag::SYN),
        icmp: None,
    };
    assert_eq!(Summary::of(&frame.bytes()), Some(summary));
    let ping = Frame::new(ipv4(), Icmp::echo_request(IcmpVersion::V4, 1, 2)).bytes();
    assert_eq!(Summary::of(&ping).and_then(|summary| summary.icmp), Some((8, 0)));
    assert_eq!(Summary::of(&ping[..30]), None);
}
