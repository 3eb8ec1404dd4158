//! Fragments: later ones are judged as the first one was, and never read as if they had ports.

mod support;

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use firewall_common::verdict::Reason;
use firewall_tests::{
    command::Rampart,
    inject::Wire,
    packet::{Extension, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Upper, flag},
    topology::{CLIENT, CLIENT6, INTERFACE, Pair, SERVER, SERVER6},
};
use firewall_user::kernel::Side;
use rstest::rstest;
use support::{
    Firewall, Outcome,
    packets::{back_v4, datagram, from, ping, syn, v4, v6},
    table::check_rows,
};

/// Ports 22 of TCP and 53 of UDP, and pings.
const OPEN: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        tcp dport 22 counter accept comment \"ssh\"
        udp dport 53 counter accept comment \"names\"
        icmp type echo-request accept
        icmpv6 type echo-request accept
    }
}";

const PASS: Outcome = Ok(());
const POLICY: Outcome = Err(Reason::Policy);
const TINY: Outcome = Err(Reason::FragmentTiny);

/// A packet with a payload of a hundred bytes, in fragments of 32 bytes.
fn fragments(packet: Frame, id: u32) -> Vec<Frame> {
    packet.payload(&[0x16; 100]).fragments(id, 32)
}

/// A later fragment of TCP whose first bytes read as ports, the destination's being 22.
fn like_ssh(mut frame: Frame) -> Frame {
    let ports = [40000_u16.to_be_bytes(), 22_u16.to_be_bytes()].concat();
    frame.upper = Upper::Raw(6, ports.repeat(8));
    match &mut frame.network {
        Network::Ipv4(ipv4) => ipv4.fragment_offset = 100,
        Network::Ipv6(ipv6) => ipv6.extensions = vec![Extension::fragment(100, false, 1)],
        Network::Arp(_) | Network::Raw(..) => {}
    }
    frame
}

#[rstest]
#[case::udp(v4(datagram(53)), v4(datagram(54)))]
#[case::udp_of_ipv6(v6(datagram(53)), v6(datagram(54)))]
#[case::tcp(v4(syn(22)), v4(syn(23)))]
#[case::tcp_of_ipv6(v6(syn(22)), v6(syn(23)))]
#[case::ping(v4(ping(IcmpVersion::V4)), v4(Icmp::v4(13, 0)))]
#[case::ping_of_ipv6(v6(ping(IcmpVersion::V6)), v6(Icmp::v6(139, 0)))]
fn later_fragments_follow_the_first(#[case] open: Frame, #[case] closed: Frame) {
    let firewall = Firewall::new(OPEN);
    let all = |packet: &Frame, id, outcome: Outcome| {
        let pieces = fragments(packet.clone(), id);
        pieces.into_iter().enumerate().map(move |(number, piece)| ((number, id), piece, outcome)).collect::<Vec<_>>()
    };
    firewall.check_ingress(all(&open, 1, PASS));
    firewall.check_ingress(all(&closed, 2, POLICY));
    // The same connection again, under another identification.
    firewall.check_ingress(all(&open, 3, PASS));
}

#[rstest]
#[case::udp(v4(datagram(53)))]
#[case::udp_of_ipv6(v6(datagram(53)))]
#[case::tcp(v4(syn(22)))]
#[case::tcp_of_ipv6(v6(syn(22)))]
fn without_the_first_there_are_no_ports(#[case] open: Frame) {
    let firewall = Firewall::new(OPEN);
    let pieces = fragments(open, 1);
    firewall.check_ingress([
        ("the second", pieces[1].clone(), POLICY),
        ("the last", pieces[pieces.len() - 1].clone(), POLICY),
        ("one that reads like ssh", like_ssh(pieces[1].clone()), POLICY),
        ("the first", pieces[0].clone(), PASS),
        ("the second, behind it", pieces[1].clone(), PASS),
    ]);
}

/// Nothing but the fragments of one packet: same ends, protocol and identification.
#[test]
fn fragments_of_other_packets_do_not_follow() {
    let firewall = Firewall::new(OPEN);
    let first = |packet| fragments(packet, 1).remove(0);
    let second = |packet, id| fragments(packet, id).remove(1);
    firewall.check_ingress([
        ("the first", first(v4(datagram(53))), PASS),
        ("another identification", second(v4(datagram(53)), 2), POLICY),
        ("another source", second(from("192.0.2.3", datagram(53)), 1), POLICY),
        ("another protocol", like_ssh(second(v4(syn(22)), 1)), POLICY),
        ("another family", second(v6(datagram(53)), 1), POLICY),
        ("the same packet", second(v4(datagram(53)), 1), PASS),
    ]);
    // The other way is another packet.
    let back = fragments(back_v4(datagram(53)), 1).remove(1);
    assert_eq!(firewall.judge(Side::Xdp, &back.bytes()), POLICY);
}

#[test]
fn a_later_fragment_has_no_state_and_no_port_of_its_own() {
    let firewall = Firewall::new(
        "table inet t { chain c {
            type filter hook input priority 0; policy accept;
            tcp dport 22 counter comment \"port\"
            tcp dport != 22 counter comment \"another port\"
            tcp flags & syn == 0 counter comment \"no flags\"
            icmp type != echo-reply counter comment \"another type\"
            ct state invalid counter comment \"invalid\"
            ct state new counter comment \"new\"
            meta l4proto tcp counter comment \"tcp\"
            ip saddr 192.0.2.0/24 counter comment \"source\"
            counter comment \"all\"
        }
        }",
    );
    let pieces = fragments(v4(syn(22)), 1);
    let counted = |piece: &Frame| firewall.counted_by(Side::Xdp, &[piece.bytes()]).remove(0);
    let rows = [
        ("like ssh, without its first", counted(&like_ssh(pieces[1].clone())), vec!["all", "invalid", "source", "tcp"]),
        ("without its first", counted(&pieces[1]), vec!["all", "invalid", "source", "tcp"]),
        ("the first", counted(&pieces[0]), vec!["all", "new", "port", "source", "tcp"]),
    ];
    check_rows(rows.map(|(name, got, wanted)| (name, wanted.join(" "), got.join(" "))));
}

/// RFC 1858 and RFC 3128: the ways to hide a port from whoever looks at one fragment.
#[test]
fn tiny_and_overlapping_fragments_are_dropped() {
    let firewall = Firewall::new("table inet t { chain c { type filter hook input priority 0; policy accept; }; }");
    let packets = Cell::new(0_u16);
    let piece = |offset, more, upper: Upper| {
        let id = packets.replace(packets.get() + 1);
        let ipv4 = Ipv4 { fragment_offset: offset, more_fragments: more, id, ..Ipv4::new(CLIENT, SERVER) };
        let ipv6 = Ipv6::new(CLIENT6, SERVER6).with([Extension::fragment(offset, more, id.into())]);
        [Frame::new(ipv4, upper.clone()), Frame::new(ipv6, upper)]
    };
    let tcp = |length: usize| Upper::Raw(6, tcp_bytes()[..length].to_vec());
    let bytes = |protocol, length| Upper::Raw(protocol, vec![0; length]);
    let mut options = Tcp::new(40000, 22, flag::SYN);
    options.data_offset = Some(8);
    let rows = [
        ("a first one of 8 bytes of TCP", piece(0, true, tcp(8)), TINY),
        ("a first one of 16 bytes of TCP", piece(0, true, tcp(16)), TINY),
        ("a first one without its options", piece(0, true, options.into()), TINY),
        ("a first one with the TCP header", piece(0, true, Upper::Raw(6, [tcp_bytes(), vec![0; 4]].concat())), PASS),
        ("a later one over the flags", piece(1, true, bytes(6, 16)), TINY),
        ("the last one over the flags", piece(1, false, bytes(6, 16)), TINY),
        ("a later one right behind 16 bytes", piece(2, true, bytes(6, 16)), PASS),
        ("a first one of half a UDP header", piece(0, true, bytes(17, 4)), TINY),
        ("a later one of UDP at 8 bytes", piece(1, true, bytes(17, 16)), PASS),
    ];
    for (name, both, outcome) in rows {
        firewall.check_ingress(both.map(|frame| (name, frame, outcome)));
        firewall.check_egress(piece(2, true, bytes(6, 16)).map(|frame| (name, frame, PASS)));
    }
}

/// A packet to port 53 in pieces, by numbers: from which byte, how many, the last one of the packet or not.
fn piece(version: u8, id: u32, (offset, length, more): (u16, usize, bool)) -> Frame {
    let whole = Frame::new(Ipv4::new(CLIENT, SERVER), datagram(53)).payload(&[0x16; 2000]);
    let start = usize::from(offset);
    let upper = Upper::Raw(17, whole.packet()[20 + start..20 + start + length].to_vec());
    if version == 4 {
        let ipv4 =
            Ipv4 { fragment_offset: offset / 8, more_fragments: more, id: id as u16, ..Ipv4::new(CLIENT, SERVER) };
        Frame::new(ipv4, upper)
    } else {
        Frame::new(Ipv6::new(CLIENT6, SERVER6).with([Extension::fragment(offset / 8, more, id)]), upper)
    }
}

/// RFC 1858, RFC 5722. `nf_conntrack` throws the whole packet away when it puts it together; so does rampart, from the
/// overlapping fragment on.
#[rstest]
#[case::of_ipv4(4)]
#[case::of_ipv6(6)]
fn overlapping_fragments_are_dropped(#[case] version: u8) {
    let firewall = Firewall::new(OPEN);
    let overlap = Err(Reason::FragmentOverlap);
    let piece = |id, offset, length, more| piece(version, id, (offset, length, more));
    firewall.check_ingress([
        ("the first", piece(1, 0, 64, true), PASS),
        ("over its end", piece(1, 56, 64, true), overlap),
        ("the right one, too late", piece(1, 64, 64, true), overlap),
        ("the last", piece(1, 128, 20, false), overlap),
        ("another packet's first", piece(2, 0, 64, true), PASS),
        ("its last", piece(2, 128, 20, false), PASS),
        ("its middle", piece(2, 64, 64, true), PASS),
        ("its middle again", piece(2, 64, 64, true), PASS),
        ("across middle and last, all there", piece(2, 72, 64, true), PASS),
        ("beyond the last", piece(2, 144, 64, true), overlap),
        ("the number used again", piece(2, 0, 64, true), PASS),
        ("goes on as new", piece(2, 64, 64, true), PASS),
    ]);
}

#[rstest]
#[case::of_ipv4(4)]
#[case::of_ipv6(6)]
fn fragments_come_in_any_order_that_leaves_few_gaps(#[case] version: u8) {
    let firewall = Firewall::new(OPEN);
    let piece = |id, number: u16| piece(version, id, (number * 64, 64, number < 20));
    let rows = |id, numbers: Vec<u16>| {
        numbers.into_iter().map(move |number| ((id, number), piece(id, number), PASS)).collect::<Vec<_>>()
    };
    firewall.check_ingress(rows(1, (0..21).collect()));
    firewall.check_ingress(rows(2, std::iter::once(0).chain((1..21).rev()).collect()));
    // Eight pieces with gaps are kept apart, not nine.
    firewall.check_ingress(rows(3, (0..8).map(|number| number * 2).collect()));
    assert_eq!(firewall.ingress(&piece(3, 16)), Err(Reason::FragmentScattered));
    assert_eq!(firewall.ingress(&piece(3, 1)), Err(Reason::FragmentScattered));
}

/// One that comes before its first has no ports: it is counted, and judged as a fragment. `nft` waits for the whole packet.
#[test]
fn fragments_before_their_first_are_counted() {
    let firewall = Firewall::new(OPEN);
    let early = || firewall.open(|instance| instance.flow_stats().expect("statistics").fragments_early);
    let piece = |offset, more| piece(4, 1, (offset, 64, more));
    firewall.check_ingress([("early", piece(64, true), POLICY), ("the last", piece(128, false), POLICY)]);
    assert_eq!(early(), 2);
    firewall.check_ingress([("the first", piece(0, true), PASS), ("again", piece(64, true), PASS)]);
    assert_eq!(early(), 2);
}

/// What never becomes whole is forgotten.
#[test]
fn a_packet_that_is_never_completed_is_forgotten() {
    let firewall = Firewall::new(OPEN);
    firewall.apply_set(OPEN, "[conntrack.timeouts]\nfrag_timeout = 1\n");
    let piece = |offset, more| piece(4, 1, (offset, 64, more));
    firewall.check_ingress([("the first", piece(0, true), PASS), ("the second", piece(64, true), PASS)]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while firewall.ingress(&piece(128, true)) != POLICY {
        assert!(Instant::now() < deadline, "it outlives its second");
        thread::sleep(Duration::from_millis(100));
    }
}

fn tcp_bytes() -> Vec<u8> {
    Frame::new(Ipv4::new(CLIENT, SERVER), syn(22)).packet()[20..].to_vec()
}

/// Ping of death: a fragment that ends beyond the largest packet.
#[test]
fn a_fragment_ends_within_a_packet() {
    let firewall = Firewall::new("table inet t { chain c { type filter hook input priority 0; policy accept; }; }");
    let last = |offset, length| {
        let ipv4 = Ipv4 { fragment_offset: offset, ..Ipv4::new(CLIENT, SERVER) };
        Frame::new(ipv4, Upper::Raw(17, vec![0; length]))
    };
    firewall.check_ingress([
        ("just within", last(8180, 60), PASS),
        ("beyond", last(8189, 60), Err(Reason::Ipv4FragmentOverrun)),
        ("far beyond", last(8191, 1400), Err(Reason::Ipv4FragmentOverrun)),
    ]);
}

#[test]
fn fragments_are_counted_with_their_connection() {
    let firewall = Firewall::new(OPEN);
    let pieces = fragments(v4(datagram(53)), 1);
    let bytes: usize = pieces.iter().map(|piece| piece.packet().len()).sum();
    firewall.check_ingress(pieces.iter().enumerate().map(|(number, piece)| (number, piece.clone(), PASS)));
    let flows = firewall.flows();
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!((flow.entry.packets[0], flow.entry.bytes[0]), (pieces.len() as u64, bytes as u64));
    assert_eq!(firewall.rule("names"), (pieces.len() as u64, bytes as u64));
}

/// What the kernel waited for in vain behind rampart is counted by it, and told: rampart itself has passed those fragments on.
#[test]
fn packets_that_are_never_completed_are_told_of() {
    let pair = Pair::new();
    pair.server.set_parameter("net/ipv4/ipfrag_time", "1");
    let rampart = Rampart::on(&pair.server);
    rampart.apply("table inet t { chain i { type filter hook input priority 0; policy accept; }; }").check();
    let told = || {
        let status = rampart.run(&["status", "--json"]).success().json();
        status["connections"]["fragments_never_completed"].as_u64().expect("a number")
    };
    assert_eq!(told(), 0);
    let [first, ..] = &fragments(v4(datagram(53)), 7)[..] else { panic!("fragments") };
    Wire::open(&pair.client, INTERFACE).send(&first.bytes());
    let deadline = Instant::now() + Duration::from_mins(1);
    while told() == 0 {
        assert!(Instant::now() < deadline, "it is waited for for ever");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(told(), 1);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    assert!(metrics.contains("rampart_fragments_never_completed_total 1\n"), "{metrics}");
}
