//! Packets through the program (`BPF_PROG_TEST_RUN`): which take the fast path, and every byte of them behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_tests::{
    packet::{
        Ethernet, Frame, Ipv4, Ipv6, Network, Tcp, Udp, Upper,
        flag::{ACK, FIN, RST, SYN},
    },
    topology::{
        CLIENT, CLIENT_MAC, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND,
        ROUTER_SECOND_MAC, ROUTER_SECOND6, Routed, SECOND_INTERFACE, SERVER_MAC,
    },
};
use firewall_user::kernel::Side;

use super::{At, FAST, apply, judge, masquerading, prepare, settings};

/// Both ends of a conversation.
#[derive(Clone, Copy)]
struct Ends {
    client: IpAddr,
    server: IpAddr,
    /// The client as the server sees it.
    seen: IpAddr,
}

const V4: Ends = Ends { client: IpAddr::V4(CLIENT), server: IpAddr::V4(FAR_SERVER), seen: IpAddr::V4(CLIENT) };
const V6: Ends = Ends { client: IpAddr::V6(CLIENT6), server: IpAddr::V6(FAR_SERVER6), seen: IpAddr::V6(CLIENT6) };

/// A router whose neighbours are known, and whose other ends take frames.
fn routed() -> Routed {
    let routed = Routed::with(Neighbours::Known);
    prepare(At::Xdp, &[&routed.client, &routed.server]);
    routed
}

fn network(source: IpAddr, destination: IpAddr, ttl: u8) -> Network {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, ttl).into(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(source, destination, ttl).into(),
        _ => panic!("two families"),
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Ipv4 {
    Ipv4 { ttl, ..Ipv4::new(source, destination) }
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8) -> Ipv6 {
    Ipv6 { hop_limit, ..Ipv6::new(source, destination) }
}

fn link(source: [u8; 6], destination: [u8; 6]) -> Ethernet {
    Ethernet { source, destination, ..Ethernet::to_server() }
}

/// From the client, as it comes to the router.
fn out(ends: Ends, ttl: u8, upper: impl Into<Upper>) -> Frame {
    Frame::new(network(ends.client, ends.server, ttl), upper).ethernet(link(CLIENT_MAC, ROUTER_MAC))
}

/// The same as it goes on to the server.
fn gone(ends: Ends, ttl: u8, upper: impl Into<Upper>) -> Frame {
    Frame::new(network(ends.seen, ends.server, ttl), upper).ethernet(link(ROUTER_SECOND_MAC, SERVER_MAC))
}

/// From the server.
fn back(ends: Ends, ttl: u8, upper: impl Into<Upper>) -> Frame {
    Frame::new(network(ends.server, ends.seen, ttl), upper).ethernet(link(SERVER_MAC, ROUTER_SECOND_MAC))
}

/// The same as it goes on to the client.
fn returned(ends: Ends, ttl: u8, upper: impl Into<Upper>) -> Frame {
    Frame::new(network(ends.server, ends.client, ttl), upper).ethernet(link(ROUTER_MAC, CLIENT_MAC))
}

fn from_client(flags: u8, sent: u32) -> Tcp {
    let ack = if flags == SYN { 0 } else { 2001 };
    Tcp::new(40_000, 80, flags).at(if flags == SYN { 1000 } else { 1001 + sent }, ack)
}

fn from_server(flags: u8) -> Tcp {
    let tcp = Tcp::new(80, 40_000, flags);
    if flags & SYN != 0 { tcp.at(2000, 1001) } else { tcp.at(2001, 1001) }
}

/// Opens a TCP connection through the router; the segment that completes it is the one with which it is added.
fn open(routed: &Routed, ends: Ends) {
    let near = |frame: &Frame| judge(&routed.router, Side::Xdp, INTERFACE, &frame.bytes()).0;
    let far = |frame: &Frame| judge(&routed.router, Side::Xdp, SECOND_INTERFACE, &frame.bytes()).0;
    assert!(!near(&out(ends, 64, from_client(SYN, 0))));
    assert!(!far(&back(ends, 64, from_server(SYN | ACK))));
    assert!(
        !near(&out(ends, 64, from_client(ACK, 0))),
        "the first segment of a connection that stands meets the rules"
    );
}

/// What becomes of both directions' packets.
fn check(routed: &Routed, ends: Ends) {
    open(routed, ends);
    for payload in [&b""[..], b"x", b"odd", &[0x55; 1000]] {
        let frame = out(ends, 64, from_client(ACK, 0)).payload(payload);
        let (fast, bytes) = judge(&routed.router, Side::Xdp, INTERFACE, &frame.bytes());
        assert!(fast, "{} bytes from the client", payload.len());
        assert_eq!(bytes, gone(ends, 63, from_client(ACK, 0)).payload(payload).bytes());
        let frame = back(ends, 255, from_server(ACK)).payload(payload);
        let (fast, bytes) = judge(&routed.router, Side::Xdp, SECOND_INTERFACE, &frame.bytes());
        assert!(fast, "{} bytes from the server", payload.len());
        assert_eq!(bytes, returned(ends, 254, from_server(ACK)).payload(payload).bytes());
    }
    let question = || Udp::new(40_000, 53);
    let answer = || Udp::new(53, 40_000);
    assert!(!judge(&routed.router, Side::Xdp, INTERFACE, &out(ends, 64, question()).bytes()).0);
    assert!(!judge(&routed.router, Side::Xdp, SECOND_INTERFACE, &back(ends, 64, answer()).bytes()).0, "it is added");
    let frame = out(ends, 2, question()).payload(b"again");
    let (fast, bytes) = judge(&routed.router, Side::Xdp, INTERFACE, &frame.bytes());
    assert!(fast, "a datagram");
    assert_eq!(bytes, gone(ends, 1, question()).payload(b"again").bytes());
}

#[test]
fn packets_go_on_as_a_router_sends_them() {
    for ends in [V4, V6] {
        let routed = routed();
        let _live = apply(&routed.router, FAST, settings(At::Xdp));
        check(&routed, ends);
    }
}

#[test]
fn translated_packets_go_on_translated_both_ways() {
    let v4 = Ends { seen: ROUTER_SECOND.into(), ..V4 };
    let v6 = Ends { seen: ROUTER_SECOND6.into(), ..V6 };
    for ends in [v4, v6] {
        let routed = routed();
        let _live = apply(&routed.router, &masquerading(), settings(At::Xdp));
        check(&routed, ends);
    }
}

/// A packet that the stack must see goes there as it is: the bytes are not touched.
#[test]
fn what_the_stack_must_see_goes_there_unchanged() {
    for ends in [V4, V6] {
        let routed = routed();
        let _live = apply(&routed.router, FAST, settings(At::Xdp));
        open(&routed, ends);
        let plain = || out(ends, 64, from_client(ACK, 0));
        let fast = |frame: &Frame| judge(&routed.router, Side::Xdp, INTERFACE, &frame.bytes());
        assert!(fast(&plain()).0);
        let mut slow = vec![
            ("time to live 1", out(ends, 1, from_client(ACK, 0))),
            ("not for this host", plain().ethernet(link(CLIENT_MAC, SERVER_MAC))),
            ("to all", plain().ethernet(link(CLIENT_MAC, [0xff; 6]))),
            ("tagged", plain().ethernet(link(CLIENT_MAC, ROUTER_MAC).tagged(&[5]))),
            ("larger than the way takes", plain().payload(&[7; 1500])),
        ];
        if let (IpAddr::V4(client), IpAddr::V4(server)) = (ends.client, ends.server) {
            let options = Ipv4 { options: vec![1, 1, 1, 0], ..ipv4(client, server, 64) };
            let frame = Frame::new(options, from_client(ACK, 0)).ethernet(link(CLIENT_MAC, ROUTER_MAC));
            slow.push(("options", frame));
            slow.extend(plain().payload(&[7; 600]).fragments(9, 400).into_iter().map(|part| ("a fragment", part)));
        }
        for (name, frame) in slow {
            let (fast, bytes) = fast(&frame);
            assert!(!fast, "{name}");
            assert_eq!(bytes, frame.bytes(), "{name}");
        }
        // The neighbour is not known any more.
        let forget = format!("neighbour del {} dev {SECOND_INTERFACE}", ends.server);
        routed.router.ip(&forget);
        assert!(!fast(&plain()).0, "no neighbour");
        routed.router.ip(&format!(
            "neighbour replace {} lladdr 02:00:00:00:00:22 dev {SECOND_INTERFACE} nud permanent",
            ends.server
        ));
        let (fast_again, bytes) = fast(&plain());
        assert!(fast_again);
        let moved = gone(ends, 63, from_client(ACK, 0)).ethernet(link(ROUTER_SECOND_MAC, [2, 0, 0, 0, 0, 0x22]));
        assert_eq!(bytes, moved.bytes(), "the neighbour's new address");
        // What begins the end of a connection ends the fast path.
        assert!(!fast(&out(ends, 64, from_client(ACK | FIN, 0))).0, "FIN");
        assert!(!fast(&plain()).0, "behind a FIN");
        assert!(!fast(&out(ends, 64, from_client(RST, 1))).0, "RST");
    }
}

/// Another ruleset's connections meet its rules first.
#[test]
fn a_new_ruleset_is_asked_again() {
    let routed = routed();
    let _live = apply(&routed.router, FAST, settings(At::Xdp));
    open(&routed, V4);
    let plain = out(V4, 64, from_client(ACK, 0)).bytes();
    let fast = || judge(&routed.router, Side::Xdp, INTERFACE, &plain).0;
    assert!(fast());
    let slow = FAST.replace("flow add @f counter", "counter");
    let _other = apply(&routed.router, &slow, settings(At::Xdp));
    assert!(!fast(), "without `flow add`");
    assert!(!fast());
    let _again = apply(&routed.router, FAST, settings(At::Xdp));
    assert!(!fast(), "the packet that adds the connection");
    assert!(fast());
}

/// The settings alone can give all connections the fast path.
#[test]
fn all_connections_by_a_setting() {
    let routed = routed();
    let rules = "table inet t {
        chain through {
            type filter hook forward priority filter; policy drop;
            ct state established accept
            tcp dport 80 accept
        }
    }";
    let all = format!("{}fast_path = \"all\"\n", settings(At::Xdp));
    let _live = apply(&routed.router, rules, &all);
    open(&routed, V4);
    assert!(judge(&routed.router, Side::Xdp, INTERFACE, &out(V4, 64, from_client(ACK, 0)).bytes()).0);
}
