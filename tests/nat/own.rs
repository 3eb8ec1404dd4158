//! What begins or ends at the router itself: destinations translated at output, sources at input.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use firewall_tests::{
    command::Rampart,
    netns::Namespace,
    sockets::{Outcome, ping},
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, ROUTER, ROUTER_SECOND, ROUTER_SECOND6, ROUTER6},
};

use super::{By, Field, PATIENCE, any, at, both};

/// Addresses that nobody has; the way to them is by the server's wire.
const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LOOPBACK6: Ipv6Addr = Ipv6Addr::LOCALHOST;
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// The router knows a way to them.
fn with_way_to_nobody(field: &Field) {
    let router = &field.routed.router;
    router.ip(&format!("route add 203.0.113.0/24 via {FAR_SERVER}"));
    router.ip(&format!("-6 route add 2001:db8:9::/64 via {FAR_SERVER6}"));
}

/// A datagram to `to` comes to `at`, and its answer back; the sender as it is seen there.
fn datagram(listening: (&Namespace, SocketAddr), asking: (&Namespace, SocketAddr), to: SocketAddr) -> SocketAddr {
    let there = listening.0.run(|| UdpSocket::bind(listening.1)).expect("bound");
    let here = asking.0.run(|| UdpSocket::bind(asking.1)).expect("bound");
    for socket in [&there, &here] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    let _ = here.send_to(b"question", to).expect("sent");
    let mut buffer = [0; 32];
    let (length, from) = there.recv_from(&mut buffer).expect("it comes");
    let _ = there.send_to(&buffer[..length], from).expect("sent");
    let (length, back) = here.recv_from(&mut buffer).expect("an answer");
    assert_eq!((&buffer[..length], back), (&b"question"[..], to));
    from
}

#[test]
fn connections_made_here_go_where_output_says_by_another_interface() {
    let rules = "chain o { type nat hook output priority -100
            ip daddr 203.0.113.9 meta l4proto { tcp, udp } th dport 80 dnat ip to 192.0.2.1:8080
            ip daddr 203.0.113.9 meta l4proto icmp dnat ip to 192.0.2.1
            ip6 daddr 2001:db8:9::9 meta l4proto { tcp, udp } th dport 80 dnat ip6 to [2001:db8:1::1]:8080
            ip6 daddr 2001:db8:9::9 meta l4proto ipv6-icmp dnat ip6 to 2001:db8:1::1
        }";
    both(rules, |field| {
        with_way_to_nobody(field);
        let (client, router) = (&field.routed.client, &field.routed.router);
        let seen = field.seen((client, at(CLIENT, 8080)), router, any(ANY), at(NOBODY, 80));
        assert_eq!(seen.ip(), at(ROUTER_SECOND, 0).ip(), "{:?}", field.by);
        let seen = field.seen((client, at(CLIENT6, 8080)), router, any(ANY6), at(NOBODY6, 80));
        assert_eq!(seen.ip(), at(ROUTER_SECOND6, 0).ip(), "{:?}", field.by);
        let seen = datagram((client, at(CLIENT, 8080)), (router, at(ANY, 5000)), at(NOBODY, 80));
        assert_eq!(seen, at(ROUTER_SECOND, 5000), "{:?}", field.by);
        let seen = datagram((client, at(CLIENT6, 8080)), (router, at(ANY6, 5000)), at(NOBODY6, 80));
        assert_eq!(seen, at(ROUTER_SECOND6, 5000), "{:?}", field.by);
        assert_eq!(ping(router, NOBODY, PATIENCE), Outcome::Connected, "{:?}", field.by);
        assert_eq!(ping(router, NOBODY6, PATIENCE), Outcome::Connected, "{:?}", field.by);
    });
}

#[test]
fn they_go_by_the_same_interface_to_another_neighbour_or_port() {
    let rules = "chain o { type nat hook output priority -100
            ip daddr 203.0.113.9 tcp dport 80 dnat ip to 198.51.100.1:8080
            ip daddr 198.51.100.1 tcp dport 81 dnat to :8080
            ip daddr 198.51.100.9 tcp dport 80 dnat ip to 198.51.100.1:8080
        }";
    both(rules, |field| {
        with_way_to_nobody(field);
        let (router, server) = (&field.routed.router, &field.routed.server);
        // A neighbour that is known, and gone.
        router.ip("neighbour replace 198.51.100.9 lladdr 02:00:00:00:00:99 dev eth1 nud permanent");
        for to in [at(NOBODY, 80), at(FAR_SERVER, 81), at(Ipv4Addr::new(198, 51, 100, 9), 80)] {
            let seen = field.seen((server, at(FAR_SERVER, 8080)), router, any(ANY), to);
            assert_eq!(seen.ip(), at(ROUTER_SECOND, 0).ip(), "{:?}", field.by);
        }
    });
}

#[test]
fn output_and_postrouting_both_translate() {
    let rules = "chain o { type nat hook output priority -100
            ip daddr 203.0.113.9 tcp dport 80 dnat ip to 192.0.2.1:8080
        }
        chain f { type filter hook output priority filter; oifname \"eth1\" ip daddr 192.0.2.1 counter comment \"chosen\"; }
        chain s { type nat hook postrouting priority srcnat; oifname \"eth0\" masquerade; }";
    both(rules, |field| {
        with_way_to_nobody(field);
        let (client, router) = (&field.routed.client, &field.routed.router);
        let seen = field.seen((client, at(CLIENT, 8080)), router, any(ANY), at(NOBODY, 80));
        assert_eq!(seen.ip(), at(ROUTER, 0).ip(), "{:?}", field.by);
    });
}

#[test]
fn redirect_at_output_leads_to_loopback() {
    let rules =
        "chain o { type nat hook output priority -100; meta l4proto { tcp, udp } th dport 80 redirect to :8080; }";
    both(rules, |field| {
        let router = &field.routed.router;
        let seen = field.seen((router, at(LOOPBACK, 8080)), router, any(ANY), at(FAR_SERVER, 80));
        assert_eq!(seen.ip(), at(ROUTER_SECOND, 0).ip(), "{:?}", field.by);
        let seen = field.seen((router, at(LOOPBACK6, 8080)), router, any(ANY6), at(FAR_SERVER6, 80));
        assert_eq!(seen.ip(), at(ROUTER_SECOND6, 0).ip(), "{:?}", field.by);
        let seen = datagram((router, at(LOOPBACK, 8080)), (router, at(ANY, 5000)), at(FAR_SERVER, 80));
        assert_eq!(seen, at(ROUTER_SECOND, 5000), "{:?}", field.by);
        // And what goes to an address of its own.
        let seen = field.seen((router, at(LOOPBACK, 8080)), router, any(ANY), at(ROUTER_SECOND, 80));
        assert_eq!(seen.ip(), at(ROUTER_SECOND, 0).ip(), "{:?}", field.by);
        let seen = field.seen((router, at(LOOPBACK6, 8080)), router, any(ANY6), at(ROUTER6, 80));
        assert_eq!(seen.ip(), at(ROUTER6, 0).ip(), "{:?}", field.by);
    });
}

#[test]
fn who_asks_for_a_closed_port_behind_output_is_told() {
    let rules = "chain o { type nat hook output priority -100
            ip daddr 203.0.113.9 udp dport 80 dnat ip to 192.0.2.1:9
            ip6 daddr 2001:db8:9::9 udp dport 80 dnat ip6 to [2001:db8:1::1]:9
        }";
    both(rules, |field| {
        with_way_to_nobody(field);
        super::errors::is_told(&field.routed.router, any(ANY), at(NOBODY, 80));
        super::errors::is_told(&field.routed.router, any(ANY6), at(NOBODY6, 80));
    });
}

#[test]
fn sources_translated_at_input_are_what_services_see() {
    let rules = "chain i { type nat hook input priority 100
            iifname \"eth0\" meta l4proto { tcp, udp } th dport 80 meta nfproto ipv4 snat ip to 203.0.113.9
            iifname \"eth0\" meta l4proto { tcp, udp } th dport 80 meta nfproto ipv6 snat ip6 to 2001:db8:9::9
            iifname \"eth0\" udp dport 81 snat ip to 203.0.113.9:7000-7009
        }";
    both(rules, |field| {
        with_way_to_nobody(field);
        let (client, router) = (&field.routed.client, &field.routed.router);
        let seen = field.seen((router, at(ROUTER, 80)), client, at(CLIENT, 40_000), at(ROUTER, 80));
        assert_eq!(seen, at(NOBODY, 40_000), "{:?}", field.by);
        let seen = field.seen((router, at(ROUTER6, 80)), client, at(CLIENT6, 40_000), at(ROUTER6, 80));
        assert_eq!(seen, at(NOBODY6, 40_000), "{:?}", field.by);
        let seen = datagram((router, at(ROUTER, 80)), (client, at(CLIENT, 4000)), at(ROUTER, 80));
        assert_eq!(seen, at(NOBODY, 4000), "{:?}", field.by);
        let seen = datagram((router, at(ROUTER, 81)), (client, at(CLIENT, 4000)), at(ROUTER, 81));
        assert!(seen.ip() == at(NOBODY, 0).ip() && (7000..7010).contains(&seen.port()), "{:?}: {seen}", field.by);
        // Nobody listens: the client is told, by who it asked.
        super::errors::is_told(client, any(CLIENT), at(ROUTER, 80));
    });
}

#[test]
fn two_connections_that_would_have_the_same_answers_get_different_ports() {
    let rules =
        "chain d { type nat hook prerouting priority dstnat; iifname \"eth0\" udp dport 80-81 redirect to :8080; }";
    both(rules, |field| {
        let (client, router) = (&field.routed.client, &field.routed.router);
        let there = router.run(|| UdpSocket::bind(at(ROUTER, 8080))).expect("bound");
        let here = client.run(|| UdpSocket::bind(at(CLIENT, 4000))).expect("bound");
        let mut seen = Vec::new();
        for port in [80, 81] {
            for socket in [&there, &here] {
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            }
            let _ = here.send_to(b"question", at(ROUTER, port)).expect("sent");
            let (_, from) =
                there.recv_from(&mut [0; 32]).unwrap_or_else(|error| panic!("{:?} {port}: {error}", field.by));
            let _ = there.send_to(b"answer", from).expect("sent");
            let (_, back) = here.recv_from(&mut [0; 32]).expect("an answer");
            assert_eq!(back, at(ROUTER, port), "{:?}", field.by);
            seen.push(from);
        }
        assert_eq!(seen[0], at(CLIENT, 4000), "{:?}", field.by);
        assert!(seen[1].ip() == at(CLIENT, 0).ip() && seen[1].port() != 4000, "{:?}: {seen:?}", field.by);
    });
}

#[test]
fn what_the_stack_would_refuse_is_dropped_and_counted() {
    let rules = "table ip t { chain o { type nat hook output priority -100
        ip daddr 198.51.100.254 tcp dport 80 dnat ip to 192.0.2.1:8080
        ip daddr 198.51.100.1 tcp dport 81 dnat ip to 192.0.2.254:8080
    }; }";
    let field = Field::new(By::Rampart, rules);
    let router = &field.routed.router;
    for to in [at(ROUTER_SECOND, 80), at(FAR_SERVER, 81)] {
        let refused = router.run(|| std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(300)));
        assert!(refused.is_err(), "{refused:?}");
    }
    let rampart = Rampart::on(router);
    let counters = rampart.run(&["counters"]).success().stdout;
    assert!(counters.contains("would have both ends at this host"), "{counters}");
    std::mem::forget(rampart);
}

#[test]
fn loopback_is_attached_while_it_is_needed() {
    let field = Field::new(
        By::Rampart,
        "table ip t { chain o { type nat hook output priority -100; tcp dport 80 redirect to :8080; }; }",
    );
    let rampart = Rampart::on(&field.routed.router);
    assert!(rampart.run(&["status"]).success().stdout.contains("lo: in by tc"));
    let _ = rampart
        .apply("table ip t { chain i { type filter hook input priority 0; policy drop; iifname != \"lo\" accept; }; }")
        .success();
    assert!(!rampart.run(&["status"]).success().stdout.contains("lo: in by"));
    let seen =
        field.seen((&field.routed.router, at(LOOPBACK, 8080)), &field.routed.router, any(ANY), at(LOOPBACK, 8080));
    assert_eq!(seen.ip(), at(LOOPBACK, 0).ip());
    std::mem::forget(rampart);
}
