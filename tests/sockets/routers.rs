//! A router between two hosts, and what it tells them.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
};

use firewall_tests::{
    sockets::PATIENTLY,
    topology::{FAR_SERVER, FAR_SERVER6, ROUTER, ROUTER_SECOND, ROUTER_SECOND6, ROUTER6, Routed, SECOND_INTERFACE},
};

use super::{NOTHING, SERVER_RULES, Servers, What, YES, check};
use crate::support::live::Live;

fn far() -> [IpAddr; 2] {
    [FAR_SERVER.into(), FAR_SERVER6.into()]
}

/// What a router only passes on is not for its input chain to judge, nor is it what the router itself sends.
#[test]
fn packets_passed_on_are_not_judged_by_input_and_output() {
    let routed = Routed::new();
    let _far = Servers::start(&routed.server, &far(), &[23], &[53]);
    let routers: [IpAddr; 2] = [ROUTER.into(), ROUTER6.into()];
    let _router = Servers::start(&routed.router, &routers, &[22, 23], &[]);
    let _live = Live::apply(
        &routed.router,
        "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
            tcp dport 22 accept
        }
        chain output {
            type filter hook output priority filter; policy drop;
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
            tcp sport 22 accept
        }
    }",
    );
    check(&routed.client, far(), &[(What::Tcp(23), YES), (What::Udp(53), YES), (What::Ping, YES)]);
    check(&routed.client, routers, &[(What::Tcp(22), YES), (What::Tcp(23), NOTHING), (What::Ping, NOTHING)]);
    check(&routed.router, far(), &[(What::Tcp(23), NOTHING), (What::Ping, NOTHING)]);
}

/// "Fragmentation needed" and "packet too big" are related to the connection that they are about: without them, a large
/// message would never arrive.
#[test]
fn path_mtu_errors_come_through() {
    let routed = Routed::new();
    // Narrow is only the wire behind the router. The server keeps to it but does not tell, so that the client must learn.
    routed.router.ip(&format!("link set {SECOND_INTERFACE} mtu 1280"));
    routed.server.ip(&format!("route replace 192.0.2.0/24 via {ROUTER_SECOND} mtu 1280 advmss 1460"));
    routed.server.ip(&format!("-6 route replace 2001:db8:1::/64 via {ROUTER_SECOND6} mtu 1280 advmss 1440"));
    let _far = Servers::start(&routed.server, &far(), &[80], &[]);
    let rules = SERVER_RULES.replace("ct state established", "ct state related counter accept\n ct state established");
    let live = Live::apply(&routed.client, &rules);
    let mut before = 0;
    for address in far() {
        let sent = vec![7; 200_000];
        let received = routed.client.run(|| exchange((address, 80).into(), &sent));
        assert_eq!(received.expect("the whole message comes back").len(), sent.len(), "{address}");
        let list = live.run(&["list", "--json"]).success().json();
        let counter = list["nftables"].as_array().expect("objects").iter().find_map(|object| {
            object["rule"]["expr"].as_array()?.iter().find_map(|part| part["counter"]["packets"].as_u64())
        });
        let errors = counter.expect("the only counter");
        assert!(errors > before, "{address}: no router complained");
        before = errors;
    }
    // And what is not about any connection stays outside.
    check(&routed.server, ["192.0.2.1".parse().expect("an address"); 2], &[(What::Ping, NOTHING)]);
}

/// Sends it all to an echo server, and reads as much.
fn exchange(to: std::net::SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENTLY)?;
    stream.set_read_timeout(Some(PATIENTLY))?;
    stream.set_write_timeout(Some(PATIENTLY))?;
    let mut reader = stream.try_clone()?;
    let length = message.len();
    let received = std::thread::spawn(move || {
        let mut received = vec![0; length];
        reader.read_exact(&mut received).map(|()| received)
    });
    stream.write_all(message)?;
    received.join().expect("a reader does not panic")
}
