//! ICMP errors about translated connections: what they quote is what their receiver sent.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
};

use firewall_tests::{
    command::{self, Output},
    netns::Namespace,
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, ROUTER, ROUTER_SECOND, ROUTER_SECOND6, ROUTER6},
};

use super::{Field, MASQUERADE, PATIENCE, accept, any, at, both, connect, listen};

/// A host behind the server, which is its router.
const BEYOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const BEYOND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1);

/// Puts one more host behind the server, on a wire for packets of `mtu` bytes.
fn beyond(field: &Field, mtu: u32) -> Namespace {
    let server = &field.routed.server;
    let host = Namespace::new("beyond");
    server.ip(&format!("link add eth2 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}", host.name()));
    for (namespace, interface, number) in [(server, "eth2", 254), (&host, "eth0", 1)] {
        namespace.set_parameter(&format!("net/ipv6/conf/{interface}/accept_dad"), "0");
        namespace.run(|| command::run(None, "ethtool", &["-K", interface, "tx", "off"], "")).check();
        namespace.ip(&format!("address add 203.0.113.{number}/24 dev {interface}"));
        namespace.ip(&format!("address add 2001:db8:3::{number:x}/64 dev {interface} nodad"));
        namespace.ip(&format!("link set {interface} up"));
    }
    host.ip("route add default via 203.0.113.254");
    host.ip("-6 route add default via 2001:db8:3::fe");
    for parameter in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        server.set_parameter(parameter, "1");
    }
    // A router that tells of every packet that it cannot forward.
    for parameter in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
        server.set_parameter(parameter, "0");
        field.routed.router.set_parameter(parameter, "0");
    }
    field.routed.router.ip(&format!("route add 203.0.113.0/24 via {FAR_SERVER}"));
    field.routed.router.ip(&format!("-6 route add 2001:db8:3::/64 via {FAR_SERVER6}"));
    host
}

/// Runs a program at the client's.
fn run(at: &Namespace, program: &str, arguments: &[&str]) -> Output {
    command::run(Some(at), program, arguments, "")
}

/// The routers that `traceroute` names, in order.
fn hops(output: &Output) -> Vec<IpAddr> {
    let lines = output.stdout.lines().skip(1);
    let hop = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    lines.map(|line| hop(line).unwrap_or_else(|| panic!("`{}`\n{}", output.line, output.stdout))).collect()
}

#[test]
fn traceroute_sees_every_router_through_masquerade() {
    both(MASQUERADE, |field| {
        let host = beyond(field, 1500);
        let client = &field.routed.client;
        let way: Vec<IpAddr> = vec![ROUTER.into(), FAR_SERVER.into(), BEYOND.into()];
        let way6: Vec<IpAddr> = vec![ROUTER6.into(), FAR_SERVER6.into(), BEYOND6.into()];
        for probe in [&[][..], &["-I"], &["-T", "-p", "443"]] {
            for (to, way) in [(BEYOND.to_string(), &way), (BEYOND6.to_string(), &way6)] {
                let words = [&["-n", "-q", "1", "-N", "1", "-w", "5", "-m", "5"], probe, &[&to]].concat();
                let output = run(client, "traceroute", &words).success();
                assert_eq!(hops(&output), *way, "{:?} {probe:?}\n{}", field.by, output.stdout);
            }
        }
        drop(host);
    });
}

/// Asks for packets that are too large for a wire further on, until somebody says so.
fn ping_whole(from: &Namespace, to: &str, size: &str) -> Output {
    run(from, "ping", &["-n", "-c", "1", "-W", "5", "-M", "do", "-s", size, to])
}

#[test]
fn path_mtu_discovery_works_through_masquerade() {
    both(MASQUERADE, |field| {
        let host = beyond(field, 1300);
        let client = &field.routed.client;
        for (to, from) in [(BEYOND.to_string(), FAR_SERVER.to_string()), (BEYOND6.to_string(), FAR_SERVER6.to_string())]
        {
            let told = ping_whole(client, &to, "1400");
            assert_ne!(told.status, 0, "{:?}: {}", field.by, told.stdout);
            assert!(
                told.stdout.contains(&from) && told.stdout.contains("1300"),
                "{:?}: {}{}",
                field.by,
                told.stdout,
                told.stderr
            );
            let route = run(client, "ip", &["route", "get", &to]).success();
            assert!(route.stdout.contains("mtu 1300"), "{:?}: {}", field.by, route.stdout);
            ping_whole(client, &to, "1200").check();
        }
        drop(host);
    });
}

#[test]
fn the_routers_own_errors_reach_the_client() {
    both(MASQUERADE, |field| {
        field.routed.router.ip("link set eth1 mtu 1300");
        let told = ping_whole(&field.routed.client, &FAR_SERVER.to_string(), "1400");
        assert!(
            told.stdout.contains(&ROUTER.to_string()) && told.stdout.contains("1300"),
            "{:?}: {}",
            field.by,
            told.stdout
        );
    });
}

const PUBLISHED: &str =
    "chain d { type nat hook prerouting priority dstnat
        iifname \"eth1\" meta nfproto ipv4 meta l4proto { tcp, udp } th dport 8080 dnat ip to 192.0.2.1:80
        iifname \"eth1\" meta nfproto ipv6 meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [2001:db8:1::1]:80
    }
    chain f { type filter hook forward priority filter; policy drop; ct state established,related accept; iifname \"eth1\" accept; }";

/// A large answer of a published server finds the way over a narrow wire, of which its router tells the public address.
#[test]
fn path_mtu_discovery_works_for_a_published_server() {
    both(PUBLISHED, |field| {
        let host = beyond(field, 1300);
        let client = &field.routed.client;
        for (inner, public, own) in [
            (at(CLIENT, 80), at(ROUTER_SECOND, 8080), any(BEYOND)),
            (at(CLIENT6, 80), at(ROUTER_SECOND6, 8080), any(BEYOND6)),
        ] {
            // Who sends large segments has not been told of the narrow wire by the other end.
            host.ip("link set eth0 mtu 1500");
            let listener = client.run(|| listen(inner));
            let answering = thread::spawn(move || {
                let (mut stream, _) = accept(&listener);
                stream.write_all(&vec![7; 200_000]).expect("written");
            });
            let mut stream = host.run(|| connect(own, public)).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap_or_else(|error| panic!("{:?}: {error} after {}", field.by, all.len()));
            assert_eq!(all.len(), 200_000);
            answering.join().expect("sent");
            let route = run(client, "ip", &["route", "get", &own.ip().to_string()]).success();
            assert!(route.stdout.contains("mtu 1300"), "{:?}: {}", field.by, route.stdout);
        }
    });
}

/// Is the sender of a datagram told that nobody listens?
pub(super) fn is_told(from: &Namespace, own: SocketAddr, to: SocketAddr) {
    let socket = from.run(|| UdpSocket::bind(own)).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    from.run(|| socket.connect(to)).expect("connected");
    let _ = socket.send(b"is anybody there?").expect("sent");
    let error = socket.recv(&mut [0; 32]).expect_err("nobody is");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "from {own} to {to}");
}

#[test]
fn who_asks_for_a_closed_port_is_told() {
    both(MASQUERADE, |field| {
        let client = &field.routed.client;
        is_told(client, any(CLIENT), at(FAR_SERVER, 9));
        is_told(client, any(CLIENT6), at(FAR_SERVER6, 9));
    });
    both(PUBLISHED, |field| {
        let server = &field.routed.server;
        is_told(server, any(FAR_SERVER), at(ROUTER_SECOND, 8080));
        is_told(server, any(FAR_SERVER6), at(ROUTER_SECOND6, 8080));
    });
}

/// Both ends of the connection are translated, and so are both of what the error quotes.
#[test]
fn a_neighbour_asked_by_the_public_address_tells_by_it() {
    let rules = "chain d { type nat hook prerouting priority dstnat; ip daddr 198.51.100.254 udp dport 8080 dnat ip to 192.0.2.1:80; }
        chain p { type nat hook postrouting priority srcnat; iifname \"eth0\" oifname \"eth0\" masquerade; }";
    both(rules, |field| {
        is_told(&field.routed.client, at(CLIENT, 4000), at(ROUTER_SECOND, 8080));
    });
}
