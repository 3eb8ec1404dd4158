//! The examples that translate, as they stand in `examples`: one router, a host on either side.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use firewall_tests::{
    sockets::{Outcome, ping},
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, ROUTER, ROUTER_SECOND},
};

use super::{By, Field, PATIENCE, accept, any, at, connect, listen};

/// For both, with an example in force on the router.
fn example(name: &str, scene: impl Fn(&Field)) {
    let text = fs::read_to_string(format!("../examples/{name}.nft")).expect("an example");
    for by in [By::Nft, By::Rampart] {
        scene(&Field::new(by, &text));
    }
}

#[test]
fn home_router() {
    example("home_router", |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let seen = field.seen((server, at(FAR_SERVER, 80)), client, at(CLIENT, 40_000), at(FAR_SERVER, 80));
        assert_eq!(seen, at(ROUTER_SECOND, 40_000), "{:?}", field.by);
        assert_eq!(ping(client, FAR_SERVER6, PATIENCE), Outcome::Connected);
        // Nobody comes in that was not asked.
        let refused =
            server.run(|| std::net::TcpStream::connect_timeout(&at(CLIENT, 80), std::time::Duration::from_millis(300)));
        assert!(refused.is_err(), "{:?}", field.by);
    });
}

#[test]
fn published_web() {
    example("published_web", |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let seen = field.seen((client, at(CLIENT, 8443)), server, at(FAR_SERVER, 40_000), at(ROUTER_SECOND, 443));
        assert_eq!(seen, at(FAR_SERVER, 40_000), "{:?}", field.by);
    });
}

#[test]
fn balanced_web() {
    example("balanced_web", |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        client.ip(&format!("address add 192.0.2.2/24 dev {INTERFACE}"));
        let listener = client.run(|| listen(SocketAddr::from(([0, 0, 0, 0], 8080))));
        let backend = |_| {
            let mut stream = server.run(|| connect(any(FAR_SERVER), at(ROUTER_SECOND, 80))).expect("connected");
            let (mut there, _) = accept(&listener);
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("written");
            there.read_exact(&mut [0; 18]).expect("a question");
            there.local_addr().expect("bound").ip()
        };
        let found: Vec<IpAddr> = (0..6).map(backend).collect();
        let first = found.iter().filter(|backend| **backend == IpAddr::V4(CLIENT)).count();
        assert_eq!((first, found.len()), (3, 6), "{:?}: {found:?}", field.by);
    });
}

#[test]
fn hairpin() {
    example("hairpin", |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let neighbour = Ipv4Addr::new(192, 0, 2, 77);
        client.ip(&format!("address add {neighbour}/24 dev {INTERFACE}"));
        let seen = field.seen((client, at(CLIENT, 8080)), client, at(neighbour, 40_000), at(ROUTER_SECOND, 80));
        assert_eq!(seen, at(ROUTER, 40_000), "{:?}", field.by);
        let seen = field.seen((client, at(CLIENT, 8080)), server, at(FAR_SERVER, 40_000), at(ROUTER_SECOND, 80));
        assert_eq!(seen, at(FAR_SERVER, 40_000), "{:?}", field.by);
    });
}

#[test]
fn prefix_map() {
    example("prefix_map", |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let outside = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);
        let seen = field.seen((server, at(FAR_SERVER6, 80)), client, at(CLIENT6, 40_000), at(FAR_SERVER6, 80));
        assert_eq!(seen, at(outside, 40_000), "{:?}", field.by);
        let seen = field.seen((client, at(CLIENT6, 80)), server, at(FAR_SERVER6, 40_000), at(outside, 80));
        assert_eq!(seen, at(FAR_SERVER6, 40_000), "{:?}", field.by);
        assert_eq!(ping(server, outside, PATIENCE), Outcome::Connected);
    });
}
