//! Where to by maps: balancing, ports and prefixes.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use firewall_tests::topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, ROUTER, ROUTER_SECOND};

use super::{Field, PATIENCE, accept, any, at, both, connect, listen};

/// Addresses that the server has besides its own.
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
const THIRD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 12);

/// Connects so many times, from these addresses in turn: where each connection came to, and stayed.
fn backends(field: &Field, from: &[SocketAddr], to: SocketAddr, times: usize) -> Vec<SocketAddr> {
    let listener = field.routed.server.run(|| listen(SocketAddr::from(([0, 0, 0, 0], 80))));
    let once = |number: usize| {
        let own = from[number % from.len()];
        let mut stream = field
            .routed
            .client
            .run(|| connect_once_free(own, to))
            .unwrap_or_else(|error| panic!("{:?}: connection {number} from {own}: {error}", field.by));
        let (mut there, _) = accept(&listener);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Packets of a connection go where its first one went.
        for _ in 0..3 {
            stream.write_all(b"hello").expect("written");
            let mut bytes = [0; 5];
            there.read_exact(&mut bytes).expect("a question");
            there.write_all(&bytes).expect("written");
            stream.read_exact(&mut bytes).expect("an answer");
        }
        let backend = there.local_addr().expect("bound");
        // The client closes second: it may have its port again at once.
        drop(there);
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        backend
    };
    (0..times).map(once).collect()
}

/// Connects, once the port's last connection has had its last acknowledgement.
fn connect_once_free(own: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(own, to) {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// How many came to each address.
fn shares(backends: &[SocketAddr]) -> BTreeMap<IpAddr, usize> {
    let mut shares = BTreeMap::new();
    for backend in backends {
        *shares.entry(backend.ip()).or_default() += 1;
    }
    shares
}

fn balanced(rules: &str, scene: impl Fn(&Field)) {
    let rules = format!("chain d {{ type nat hook prerouting priority dstnat; {rules} }}");
    both(&rules, |field| {
        for address in [SECOND, THIRD] {
            field.routed.server.ip(&format!("address add {address}/24 dev {INTERFACE}"));
        }
        scene(field);
    });
}

const PUBLIC: Ipv4Addr = ROUTER;

#[test]
fn round_robin_gives_each_its_turn() {
    let rules =
        "tcp dport 8080 dnat ip to numgen inc mod 3 map { 0 : 198.51.100.1, 1 : 198.51.100.11, 2 : 198.51.100.12 }:80;";
    balanced(rules, |field| {
        let found = backends(field, &[any(CLIENT)], at(PUBLIC, 8080), 12);
        let expected = [FAR_SERVER, SECOND, THIRD].map(|address| (address.into(), 4));
        assert_eq!(shares(&found), BTreeMap::from(expected), "{:?}", field.by);
        // One after the other.
        assert!(found.windows(3).all(|three| shares(three).len() == 3), "{:?}: {found:?}", field.by);
    });
}

#[test]
fn a_port_that_is_used_again_at_once_begins_another_connection() {
    let turns =
        "tcp dport 8080 dnat ip to numgen inc mod 3 map { 0 : 198.51.100.1, 1 : 198.51.100.11, 2 : 198.51.100.12 }:80;";
    balanced(turns, |field| {
        let found = backends(field, &[at(CLIENT, 40_000)], at(PUBLIC, 8080), 9);
        let expected = [FAR_SERVER, SECOND, THIRD].map(|address| (address.into(), 3));
        assert_eq!(shares(&found), BTreeMap::from(expected), "{:?}", field.by);
    });
    // The same server each time, whose answers come to the same place.
    balanced("tcp dport 8080 dnat ip to 198.51.100.11:80;", |field| {
        let found = backends(field, &[at(CLIENT, 40_000)], at(PUBLIC, 8080), 3);
        assert_eq!(shares(&found), BTreeMap::from([(SECOND.into(), 3)]), "{:?}", field.by);
    });
    let both_ends = "tcp dport 8080 dnat ip to 198.51.100.11:80; }
        chain s { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade;";
    balanced(both_ends, |field| {
        let found = backends(field, &[at(CLIENT, 40_000)], at(PUBLIC, 8080), 3);
        assert_eq!(shares(&found), BTreeMap::from([(SECOND.into(), 3)]), "{:?}", field.by);
    });
}

#[test]
fn intervals_are_weights() {
    let rules =
        "tcp dport 8080 dnat ip to numgen inc mod 10 map { 0-6 : 198.51.100.1 . 80, 7-9 : 198.51.100.11 . 80 };";
    let joined = "meta nfproto ipv4 ".to_owned() + &rules.replace("0-6", "0-1").replace("7-9", "2-9");
    for (rules, first) in [(rules, 14), (&joined, 4)] {
        balanced(rules, |field| {
            let found = shares(&backends(field, &[any(CLIENT)], at(PUBLIC, 8080), 20));
            let expected = [(FAR_SERVER.into(), first), (SECOND.into(), 20 - first)];
            assert_eq!(found, BTreeMap::from(expected), "{:?}", field.by);
        });
    }
}

#[test]
fn random_reaches_everyone() {
    let rules = "tcp dport 8080 dnat ip to numgen random mod 2 map { 0 : 198.51.100.1, 1 : 198.51.100.11 }:80;";
    balanced(rules, |field| {
        let found = shares(&backends(field, &[any(CLIENT)], at(PUBLIC, 8080), 40));
        // With a fair choice, fewer than 5 of 40 happen once in ten million runs.
        assert!(found.len() == 2 && found.values().all(|share| *share >= 5), "{:?}: {found:?}", field.by);
    });
}

#[test]
fn a_hash_of_the_source_gives_a_client_its_server_the_one_that_nft_gives_it() {
    let rules = "tcp dport 8080 dnat ip to jhash ip saddr mod 3 seed 0x5eed map { 0 : 198.51.100.1, 1 : 198.51.100.11, 2 : 198.51.100.12 }:80;";
    let found = std::cell::RefCell::new(Vec::new());
    balanced(rules, |field| {
        let clients: Vec<SocketAddr> = (1..9).map(|number| any(Ipv4Addr::new(192, 0, 2, number))).collect();
        for client in &clients[1..] {
            field.routed.client.ip(&format!("address add {}/24 dev {INTERFACE}", client.ip()));
        }
        let all = backends(field, &clients, at(PUBLIC, 8080), 2 * clients.len());
        assert_eq!(all[..clients.len()], all[clients.len()..], "{:?}", field.by);
        assert!(shares(&all).len() > 1, "{:?}: {all:?}", field.by);
        found.borrow_mut().push(all);
    });
    let found = found.into_inner();
    assert_eq!(found[0], found[1]);
}

#[test]
fn ports_by_a_map() {
    let rules = "chain d { type nat hook prerouting priority dstnat; ip daddr 192.0.2.254 tcp dport 8000-8999 dnat ip to 198.51.100.1:tcp dport map { 8080 : 80, 8000-8009 : 81 }; }";
    both(rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        for (public, inner) in [(8080, 80), (8005, 81)] {
            let seen = field.seen((server, at(FAR_SERVER, inner)), client, any(CLIENT), at(ROUTER, public));
            assert_eq!(seen.ip(), IpAddr::V4(CLIENT));
        }
        // What the map does not have is left alone: the router does not listen.
        let refused = client.run(|| connect(any(CLIENT), at(ROUTER, 8900))).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_prefix_is_written_over_another_one() {
    let rules = "chain d { type nat hook prerouting priority dstnat
            dnat ip prefix to ip daddr map { 203.0.113.0/24 : 198.51.100.0/24 }
            dnat ip6 prefix to ip6 daddr map { 2001:db8:9::/64 : 2001:db8:2::/64 }
        }
        chain s { type nat hook postrouting priority srcnat
            oifname \"eth1\" snat ip prefix to ip saddr map { 192.0.2.0/25 : 198.18.5.0/25, 192.0.2.128/25 : 198.18.7.128/25 }
            oifname \"eth1\" snat ip6 prefix to ip6 saddr map { 2001:db8:1::/64 : 2001:db8:77::/64 }
        }";
    both(rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let second = Ipv4Addr::new(192, 0, 2, 200);
        client.ip(&format!("address add {second}/24 dev {INTERFACE}"));
        let public = at(Ipv4Addr::new(203, 0, 113, 1), 80);
        let seen = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), public);
        assert_eq!(seen, at(Ipv4Addr::new(198, 18, 5, 1), 40_000));
        let seen = field.seen((server, at(FAR_SERVER, 80)), client, at(second, 40_000), public);
        assert_eq!(seen, at(Ipv4Addr::new(198, 18, 7, 200), 40_000));
        let public = at(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 80);
        let seen = field.seen((server, at(FAR_SERVER6, 80)), client, at(CLIENT6, 40_000), public);
        assert_eq!(seen, at(Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1), 40_000));
    });
}

#[test]
fn a_named_map_of_published_services() {
    let rules = "map services { type inet_service : ipv4_addr . inet_service; elements = { 8080 : 192.0.2.1 . 80, 8443 : 192.0.2.1 . 443 }; }
        chain d { type nat hook prerouting priority dstnat; iifname \"eth1\" dnat ip to tcp dport map @services; }";
    both(rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        for (public, inner) in [(8080, 80), (8443, 443)] {
            let seen =
                field.seen((client, at(CLIENT, inner)), server, at(FAR_SERVER, 40_000), at(ROUTER_SECOND, public));
            assert_eq!(seen, at(FAR_SERVER, 40_000));
        }
    });
}

#[test]
fn a_named_map_changes_while_it_is_in_force() {
    let rules = "table ip t {
        map backends { type ipv4_addr : ipv4_addr . inet_service; elements = { 192.0.2.254 : 198.51.100.1 . 80 }; }
        chain d { type nat hook prerouting priority dstnat; tcp dport 8080 dnat ip to ip daddr map @backends; }
    }";
    let field = Field::new(super::By::Rampart, rules);
    field.routed.server.ip(&format!("address add {SECOND}/24 dev {INTERFACE}"));
    assert_eq!(backends(&field, &[any(CLIENT)], at(PUBLIC, 8080), 1), [at(FAR_SERVER, 80)]);
    let rampart = firewall_tests::command::Rampart::on(&field.routed.router);
    rampart.run(&["set", "delete", "t", "backends", "192.0.2.254"]).check();
    // What the map has no more is left alone: the router does not listen.
    let refused = field.routed.client.run(|| connect(any(CLIENT), at(PUBLIC, 8080))).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    std::mem::forget(rampart);
}
