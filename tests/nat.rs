//! Translation of addresses between real hosts: the same rulesets to rampart and to the kernel's `nft`, the same conversations,
//! the same addresses seen at the other end.

mod support;

#[path = "nat/crowd.rs"]
mod crowd;
#[path = "nat/errors.rs"]
mod errors;
#[path = "nat/examples.rs"]
mod examples;
#[path = "nat/fragments.rs"]
mod fragments;
#[path = "nat/maps.rs"]
mod maps;
#[path = "nat/options.rs"]
mod options;
#[path = "nat/own.rs"]
mod own;
#[path = "nat/programs.rs"]
mod programs;
#[path = "nat/telling.rs"]
mod telling;
#[path = "nat/wire.rs"]
mod wire;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use firewall_tests::{
    command::Rampart,
    netns::Namespace,
    referee::Referee,
    sockets::{Outcome, UdpEcho, ping, udp_echo},
    topology::{
        CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, Neighbours, ROUTER, ROUTER_SECOND, ROUTER_SECOND6, Routed,
    },
    visit::{accept, connect, listen, visit},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Who filters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Rampart,
    Nft,
}

/// Client, router and server, with the rules on the router.
struct Field {
    routed: Routed,
    by: By,
}

impl Field {
    fn new(by: By, rules: &str) -> Self {
        Self::with(by, rules, Neighbours::Asked)
    }

    fn with(by: By, rules: &str, neighbours: Neighbours) -> Self {
        let routed = Routed::with(neighbours);
        match by {
            By::Rampart => {
                let rampart = Rampart::on(&routed.router);
                let _ = rampart.apply(rules).success();
                // It is stopped when the field is left.
                std::mem::forget(rampart);
            }
            By::Nft => drop(Referee::load(&routed.router, rules)),
        }
        Self { routed, by }
    }

    /// What the listener at `at` sees of a connection to `to`, and what the one who connects sees of the other end.
    fn seen(&self, at: (&Namespace, SocketAddr), from: &Namespace, own: SocketAddr, to: SocketAddr) -> SocketAddr {
        visit(at, (from, own), to).unwrap_or_else(|error| panic!("{:?}: {error}", self.by)).source
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if self.by == By::Rampart {
            drop(Rampart::on(&self.routed.router));
        }
    }
}

fn any(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 0)
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// For both, with the rules in a table.
fn both(rules: &str, scene: impl Fn(&Field)) {
    for by in [By::Nft, By::Rampart] {
        scene(&Field::new(by, &format!("table inet t {{\n{rules}\n}}\n")));
    }
}

const MASQUERADE: &str = "chain p { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; }
    chain f { type filter hook forward priority filter; policy drop; ct state established,related accept; iifname \"eth0\" accept; }";

#[test]
fn masquerade_gives_the_routers_address_and_keeps_the_port() {
    both(MASQUERADE, |field| {
        let Routed { client, router: _, server } = &field.routed;
        let seen = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
        assert_eq!(seen, at(ROUTER_SECOND, 40_000));
        let seen = field.seen((server, at(FAR_SERVER6, 80)), client, at(CLIENT6, 40_000), at(FAR_SERVER6, 80));
        assert_eq!(seen, at(ROUTER_SECOND6, 40_000));
        assert_eq!(ping(client, FAR_SERVER, PATIENCE), Outcome::Connected);
        assert_eq!(ping(client, FAR_SERVER6, PATIENCE), Outcome::Connected);
        let echo = UdpEcho::start(server, at(FAR_SERVER, 53));
        assert_eq!(udp_echo(client, echo.address(), PATIENCE), Outcome::Connected);
    });
}

#[test]
fn of_two_clients_with_one_port_each_has_its_own() {
    both(MASQUERADE, |field| {
        let Routed { client, router: _, server } = &field.routed;
        let second = Ipv4Addr::new(192, 0, 2, 77);
        client.ip(&format!("address add {second}/24 dev {INTERFACE}"));
        let first = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
        let other = field.seen((server, at(FAR_SERVER, 80)), client, at(second, 40_000), at(FAR_SERVER, 80));
        assert_eq!(first, at(ROUTER_SECOND, 40_000));
        assert_eq!(other.ip(), IpAddr::V4(ROUTER_SECOND));
        assert!(other.port() != 40_000 && other.port() >= 1024, "{other}");
        // To another destination the port is free; nft gives a client the port again that it had before.
        let third = field.seen((server, at(FAR_SERVER, 81)), client, at(second, 40_000), at(FAR_SERVER, 81));
        assert_eq!(third.ip(), IpAddr::V4(ROUTER_SECOND));
        assert!(field.by == By::Nft || third.port() == 40_000, "{third}");
    });
}

#[test]
fn source_addresses_and_ports_as_given() {
    let rules = "chain p { type nat hook postrouting priority srcnat
        tcp dport 80 snat ip to 198.51.100.77:2000-2009
        tcp dport 81 snat ip to 198.51.100.77
    }";
    both(rules, |field| {
        let Routed { client, router, server } = &field.routed;
        router.ip("address add 198.51.100.77/24 dev eth1");
        let seen = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
        assert!(
            seen.ip() == at(Ipv4Addr::new(198, 51, 100, 77), 0).ip() && (2000..2010).contains(&seen.port()),
            "{seen}"
        );
        let seen = field.seen((server, at(FAR_SERVER, 81)), client, at(CLIENT, 40_001), at(FAR_SERVER, 81));
        assert_eq!(seen, at(Ipv4Addr::new(198, 51, 100, 77), 40_001));
    });
}

#[test]
fn a_published_port_leads_inside_and_rules_see_where_it_leads() {
    let rules =
        "chain d { type nat hook prerouting priority dstnat; iifname \"eth1\" tcp dport 8080 dnat ip to 192.0.2.1:80; }
        chain f { type filter hook forward priority filter; policy drop
            ct state established accept
            ip daddr 192.0.2.1 tcp dport 80 ct state new accept
        }";
    both(&rules.replace("192.0.2.1", &CLIENT.to_string()), |field| {
        let Routed { client, router: _, server } = &field.routed;
        let seen = field.seen((client, at(CLIENT, 80)), server, at(FAR_SERVER, 40_000), at(ROUTER_SECOND, 8080));
        assert_eq!(seen, at(FAR_SERVER, 40_000));
    });
}

#[test]
fn redirect_leads_to_the_router_itself() {
    let rules = "chain d { type nat hook prerouting priority dstnat; iifname \"eth0\" tcp dport 80 redirect to :8080; }
        chain i { type filter hook input priority filter; policy drop; tcp dport 8080 accept; meta l4proto ipv6-icmp accept; }";
    both(rules, |field| {
        let Routed { client, router, server: _ } = &field.routed;
        let seen = field.seen((router, at(ROUTER, 8080)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
        assert_eq!(seen, at(CLIENT, 40_000));
    });
}

#[test]
fn a_neighbour_is_reached_by_the_public_address() {
    let rules = "chain d { type nat hook prerouting priority dstnat; ip daddr 198.51.100.2 tcp dport 8080 dnat ip to 192.0.2.1:80; }
        chain p { type nat hook postrouting priority srcnat; iifname \"eth0\" oifname \"eth0\" masquerade; }";
    let rules = rules.replace("192.0.2.1", &CLIENT.to_string()).replace("198.51.100.2", &ROUTER_SECOND.to_string());
    both(&rules, |field| {
        let client = &field.routed.client;
        let seen = field.seen((client, at(CLIENT, 80)), client, at(CLIENT, 40_000), at(ROUTER_SECOND, 8080));
        assert_eq!(seen, at(ROUTER, 40_000));
    });
}

#[test]
fn the_routers_own_connections_are_left_alone() {
    both(MASQUERADE, |field| {
        let Routed { client: _, router, server } = &field.routed;
        let seen = field.seen((server, at(FAR_SERVER, 80)), router, any(ROUTER_SECOND), at(FAR_SERVER, 80));
        assert_eq!(seen.ip(), IpAddr::V4(ROUTER_SECOND));
    });
}

/// Masquerade follows the router's address: what had the old one has ended.
#[test]
fn a_connection_ends_with_its_address() {
    both(MASQUERADE, |field| {
        let Routed { client, router, server } = &field.routed;
        let listener = server.run(|| listen(at(FAR_SERVER, 80)));
        let mut stream = client.run(|| connect(at(CLIENT, 40_000), at(FAR_SERVER, 80))).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (mut there, _) = accept(&listener);
        stream.write_all(b"hello").expect("written");
        there.read_exact(&mut [0; 5]).expect("it comes");
        router.ip("address add 198.51.100.200/24 dev eth1");
        router.ip("address del 198.51.100.254/24 dev eth1");
        // Deleting the first address of a network takes the others along.
        router.ip("address replace 198.51.100.200/24 dev eth1");
        server.ip("route replace default via 198.51.100.200");
        // Rampart looks once a tick, by packets; then the other end knows nothing of this connection.
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            let written = stream.write_all(b"are you there?");
            let Err(error) = written.and_then(|()| stream.read_exact(&mut [0; 5])) else { panic!("nobody answers") };
            if error.kind() != std::io::ErrorKind::WouldBlock || Instant::now() >= deadline {
                break error;
            }
        };
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{:?}", field.by);
        drop(listener);
        drop(there);
        let seen = field.seen((server, at(FAR_SERVER, 81)), client, at(CLIENT, 40_001), at(FAR_SERVER, 81));
        assert_eq!(seen, at(Ipv4Addr::new(198, 51, 100, 200), 40_001), "{:?}", field.by);
    });
}

#[test]
fn when_no_port_is_left_the_packet_is_dropped_and_counted() {
    let rules = "table inet t { chain p { type nat hook postrouting priority srcnat; tcp dport 80 snat ip to 198.51.100.77:2000; }; }";
    let field = Field::new(By::Rampart, rules);
    let Routed { client, router, server } = &field.routed;
    router.ip("address add 198.51.100.77/24 dev eth1");
    let _ = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
    let listener = server.run(|| listen(at(FAR_SERVER, 80)));
    let refused = client.run(|| {
        let to = at(FAR_SERVER, 80);
        TcpStream::connect_timeout(&to, Duration::from_millis(500))
    });
    assert!(refused.is_err(), "{refused:?}");
    drop(listener);
    let counters = Rampart::on(router).run(&["counters"]).success();
    assert!(counters.stdout.contains("no port was free"), "{}", counters.stdout);
}
