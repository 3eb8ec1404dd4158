//! Packets in pieces: each is translated as the whole would be.

use std::net::{SocketAddr, UdpSocket};

use firewall_tests::{
    command,
    netns::Namespace,
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, ROUTER_SECOND, ROUTER_SECOND6},
};

use super::{MASQUERADE, PATIENCE, any, at, both};

/// Sends a datagram of so many bytes from one host to another, and it comes back; who asked, as the other one sees it.
fn exchange(
    listening: (&Namespace, SocketAddr),
    asking: (&Namespace, SocketAddr),
    to: SocketAddr,
    size: usize,
) -> SocketAddr {
    let (there, here) = (
        listening.0.run(|| UdpSocket::bind(listening.1)).expect("bound"),
        asking.0.run(|| UdpSocket::bind(asking.1)).expect("bound"),
    );
    for socket in [&there, &here] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    let sent: Vec<u8> = (0..size).map(|at| at as u8 ^ (at >> 8) as u8).collect();
    let _ = here.send_to(&sent, to).expect("sent");
    let mut buffer = vec![0; 65_536];
    let (length, from) = there.recv_from(&mut buffer).expect("all pieces come");
    assert_eq!(buffer[..length], sent);
    let _ = there.send_to(&sent, from).expect("sent");
    let (length, back) = here.recv_from(&mut buffer).expect("all pieces come back");
    assert_eq!((back, &buffer[..length]), (to, &sent[..]));
    from
}

#[test]
fn large_datagrams_pass_through_masquerade() {
    both(MASQUERADE, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        for size in [1473, 4000, 20_001] {
            let seen = exchange((server, at(FAR_SERVER, 53)), (client, at(CLIENT, 4000)), at(FAR_SERVER, 53), size);
            assert_eq!(seen, at(ROUTER_SECOND, 4000), "{:?}", field.by);
            let seen = exchange((server, at(FAR_SERVER6, 53)), (client, at(CLIENT6, 4000)), at(FAR_SERVER6, 53), size);
            assert_eq!(seen, at(ROUTER_SECOND6, 4000), "{:?}", field.by);
        }
        for to in [FAR_SERVER.to_string(), FAR_SERVER6.to_string()] {
            command::run(Some(client), "ping", &["-n", "-c", "1", "-W", "5", "-s", "5001", &to], "").check();
        }
    });
}

#[test]
fn a_router_that_cuts_packets_translates_the_pieces() {
    both(MASQUERADE, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        field.routed.router.ip("link set eth1 mtu 1000");
        server.ip("link set eth0 mtu 1000");
        client.set_parameter("net/ipv4/ip_no_pmtu_disc", "1");
        command::run(
            Some(client),
            "ping",
            &["-n", "-c", "1", "-W", "5", "-M", "dont", "-s", "1400", &FAR_SERVER.to_string()],
            "",
        )
        .check();
        let seen = exchange((server, at(FAR_SERVER, 53)), (client, at(CLIENT, 4000)), at(FAR_SERVER, 53), 1400);
        assert_eq!(seen, at(ROUTER_SECOND, 4000), "{:?}", field.by);
    });
}

#[test]
fn large_datagrams_reach_a_published_port() {
    let rules = "chain d { type nat hook prerouting priority dstnat
            iifname \"eth1\" meta nfproto ipv4 udp dport 8080 dnat ip to 192.0.2.1:80
            iifname \"eth1\" meta nfproto ipv6 udp dport 8080 dnat ip6 to [2001:db8:1::1]:80
        }
        chain f { type filter hook forward priority filter; policy drop; ct state established accept; udp dport 80 accept; }";
    both(rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let seen = exchange((client, at(CLIENT, 80)), (server, any(FAR_SERVER)), at(ROUTER_SECOND, 8080), 4000);
        assert_eq!(seen.ip(), at(FAR_SERVER, 0).ip(), "{:?}", field.by);
        let seen = exchange((client, at(CLIENT6, 80)), (server, any(FAR_SERVER6)), at(ROUTER_SECOND6, 8080), 4000);
        assert_eq!(seen.ip(), at(FAR_SERVER6, 0).ip(), "{:?}", field.by);
    });
}
