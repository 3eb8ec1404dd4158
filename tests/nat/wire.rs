//! The same frames through the kernel's `nft` and through rampart: what leaves on the other side is the same, byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_tests::{
    inject::{PATIENCE, Wire},
    packet::{Ethernet, Extension, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, Upper, flag},
    referee::Referee,
    topology::{
        CLIENT, CLIENT_MAC, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND,
        ROUTER_SECOND_MAC, ROUTER_SECOND6, SERVER_MAC,
    },
};

use super::{By, Field};

/// Which wire a frame is put on.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Client,
    Server,
}

/// A header with something beside the fixed part, and an identification.
fn network(source: IpAddr, destination: IpAddr, more: bool) -> Network {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Network::Ipv4(Ipv4 {
            id: 0x1234,
            tos: 0x28,
            dont_fragment: true,
            options: if more { vec![1, 1, 1, 1, 1, 1, 1, 0] } else { Vec::new() },
            ..Ipv4::new(source, destination)
        }),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6 { traffic_class: 0x28, flow_label: 0x54321, ..Ipv6::new(source, destination) };
            let extensions = [Extension::hop_by_hop(), Extension::destination_options()];
            Network::Ipv6(if more { header.with(extensions) } else { header })
        }
        _ => panic!("one family"),
    }
}

/// A frame for the router, by the wire it is put on.
fn frame(from: From, ends: (IpAddr, IpAddr), more: bool, upper: impl Into<Upper>, payload: &[u8]) -> (From, Vec<u8>) {
    let ethernet = match from {
        From::Client => Ethernet { source: CLIENT_MAC, destination: ROUTER_MAC, vlans: Vec::new(), ether_type: None },
        From::Server => {
            Ethernet { source: SERVER_MAC, destination: ROUTER_SECOND_MAC, vlans: Vec::new(), ether_type: None }
        }
    };
    let frame = Frame::new(network(ends.0, ends.1, more), upper).payload(payload).ethernet(ethernet);
    (from, frame.bytes())
}

/// Conversations that the client begins: TCP, UDP with and without a checksum, pings, an error about one of them; from `own`
/// to `peer`, whose answers go to `public`.
fn conversations(own: IpAddr, peer: IpAddr, public: IpAddr) -> Vec<(From, Vec<u8>)> {
    let (forth, back) = ((own, peer), (peer, public));
    let version = if own.is_ipv4() { IcmpVersion::V4 } else { IcmpVersion::V6 };
    let none = |udp: Udp| Udp { checksum: Some(0), ..udp };
    let options = vec![2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1];
    let mut frames = Vec::new();
    for more in [false, true] {
        let port = if more { 41_000 } else { 40_000 };
        let (here, there) = (|flags| Tcp::new(port, 80, flags), |flags| Tcp::new(80, port, flags));
        frames.extend([
            frame(From::Client, forth, more, Tcp { options: options.clone(), ..here(flag::SYN).at(1000, 0) }, b""),
            frame(
                From::Server,
                back,
                more,
                Tcp { options: options.clone(), ..there(flag::SYN | flag::ACK).at(5000, 1001) },
                b"",
            ),
            frame(From::Client, forth, more, here(flag::ACK).at(1001, 5001), b""),
            frame(From::Client, forth, more, here(flag::ACK | flag::PSH).at(1001, 5001), b"odd"),
            frame(From::Server, back, more, there(flag::ACK | flag::PSH).at(5001, 1004), &[0xff; 777]),
            frame(From::Client, forth, more, here(flag::ACK | flag::FIN).at(1004, 5778), b""),
            frame(From::Client, forth, more, Udp::new(port, 53), b"a question"),
            frame(From::Server, back, more, Udp::new(53, port), b"an answer of odd length"),
            frame(From::Client, forth, more, Icmp::echo_request(version, port, 1), b"ping"),
            frame(From::Server, back, more, Icmp::echo_reply(version, port, 1), b"ping"),
        ]);
        if own.is_ipv4() {
            frames.push(frame(From::Client, forth, more, none(Udp::new(port, 54)), b"without a checksum"));
            frames.push(frame(From::Server, back, more, none(Udp::new(54, port)), b"without"));
        }
    }
    let asked = Frame::new(network(public, peer, false), Udp::new(40_000, 53)).payload(b"a question");
    let unreachable = if own.is_ipv4() { Icmp::v4(3, 3) } else { Icmp::v6(1, 4) };
    let error = Frame::error(network(peer, public, false), unreachable, &asked);
    frames.push(frame(From::Server, back, false, error.upper.clone(), &error.payload));
    frames
}

/// The hosts say nothing to what comes: these conversations are the test's.
const SILENT: &str = "table inet q { chain c { type filter hook input priority 0; policy drop; }; }";

/// Puts the frames on their wires, one after the other; what comes out on the other one.
fn through(by: By, rules: &str, frames: &[(From, Vec<u8>)]) -> Vec<Vec<u8>> {
    let field = Field::with(by, &format!("table inet t {{\n{rules}\n}}\n"), Neighbours::Known);
    for host in [&field.routed.client, &field.routed.server] {
        let _ = Referee::load(host, SILENT);
    }
    let client = Wire::open(&field.routed.client, INTERFACE);
    let server = Wire::open(&field.routed.server, INTERFACE);
    let pass = |(at, (from, frame)): (usize, &(From, Vec<u8>))| {
        let (here, there, mac) = match from {
            From::Client => (&client, &server, ROUTER_SECOND_MAC),
            From::Server => (&server, &client, ROUTER_MAC),
        };
        here.send(frame);
        // What the hosts themselves have to say to such frames does not cross the router with these headers.
        let is_it = |seen: &[u8]| seen.len() == frame.len() && seen[6..12] == mac && seen[15] == mark(frame);
        there.receive(PATIENCE, is_it).unwrap_or_else(|| panic!("{by:?}: frame {at} does not come: {frame:02x?}"))
    };
    frames.iter().enumerate().map(pass).collect()
}

/// The byte behind the version: type of service, or traffic class and flow label.
fn mark(frame: &[u8]) -> u8 {
    frame[15]
}

fn same(rules: &str, frames: &[(From, Vec<u8>)]) {
    let (nft, rampart) = (through(By::Nft, rules, frames), through(By::Rampart, rules, frames));
    for (at, (nft, rampart)) in nft.iter().zip(&rampart).enumerate() {
        assert_eq!(rampart, nft, "frame {at}, which was {:02x?}", frames[at].1);
    }
    // And it was worth comparing: every frame was changed.
    assert!(frames.iter().zip(&rampart).all(|((_, sent), seen)| sent[26..] != seen[26..]));
}

#[test]
fn masqueraded_frames_are_those_of_nft_byte_by_byte() {
    let rules = "chain p { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; }";
    same(rules, &conversations(CLIENT.into(), FAR_SERVER.into(), ROUTER_SECOND.into()));
    same(rules, &conversations(CLIENT6.into(), FAR_SERVER6.into(), ROUTER_SECOND6.into()));
}

#[test]
fn published_frames_are_those_of_nft_byte_by_byte() {
    let public = Ipv4Addr::new(203, 0, 113, 9);
    let public6 = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
    // The client asks for what it gets from the server; and its own address is another one there.
    let rules = "chain d { type nat hook prerouting priority dstnat
            ip daddr 203.0.113.9 dnat ip to 198.51.100.1
            ip6 daddr 2001:db8:9::9 dnat ip6 to 2001:db8:2::1
        }
        chain p { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; }";
    let mut frames = conversations(CLIENT.into(), FAR_SERVER.into(), ROUTER_SECOND.into());
    let forth = conversations(CLIENT.into(), public.into(), ROUTER_SECOND.into());
    replace(&mut frames, forth);
    same(rules, &frames);
    let mut frames = conversations(CLIENT6.into(), FAR_SERVER6.into(), ROUTER_SECOND6.into());
    let forth = conversations(CLIENT6.into(), public6.into(), ROUTER_SECOND6.into());
    replace(&mut frames, forth);
    same(rules, &frames);
}

/// Takes what the client sends from the other conversations, in which it asks for somebody else.
fn replace(frames: &mut [(From, Vec<u8>)], other: Vec<(From, Vec<u8>)>) {
    for (frame, other) in frames.iter_mut().zip(other) {
        if frame.0 == From::Client {
            *frame = other;
        }
    }
}
