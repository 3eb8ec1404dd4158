//! Real hosts on both sides of a router with the fast path on.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    thread,
};

use firewall_tests::{
    command::run,
    sockets::{Outcome, ping},
    topology::{CLIENT, FAR_SERVER, FAR_SERVER6, INTERFACE, ROUTER, ROUTER6, Routed, SECOND_INTERFACE},
};

use super::{At, BOTH, FAST, PATIENCE, Talk, apply, masquerading, prepare, settings, ways};

fn far() -> [IpAddr; 2] {
    [FAR_SERVER.into(), FAR_SERVER6.into()]
}

fn routed(at: At) -> Routed {
    let routed = Routed::new();
    prepare(at, &[&routed.client, &routed.server]);
    routed
}

#[test]
fn transfers_take_the_fast_path() {
    for at in BOTH {
        for rules in [FAST.to_owned(), masquerading()] {
            let routed = routed(at);
            let live = apply(&routed.router, &rules, settings(at));
            let (ingress, _) = live.attachment(INTERFACE);
            assert_eq!(ingress, if at == At::Xdp { "native" } else { "tc" });
            for to in far() {
                let before = ways(&live, INTERFACE);
                let mut talk = Talk::begin(&routed.client, &routed.server, to);
                talk.exchange(3_000_000);
                let after = ways(&live, INTERFACE);
                let (fast, slow) = (after.0 - before.0, after.1 - before.1);
                assert!(fast > 50 && slow < 20, "{at:?}, {to}: {fast} fast, {slow} slow");
                let (fast, ..) = ways(&live, SECOND_INTERFACE);
                assert!(fast > 50, "{at:?}, {to}: {fast} answers");
                let conns = live.run(&["conns"]).success().stdout;
                assert!(conns.contains(" offload "), "{conns}");
            }
        }
    }
}

/// A web server behind the router answers `curl` with many bytes.
#[test]
fn curl_gets_its_page() {
    for at in BOTH {
        let routed = routed(at);
        let _live = apply(&routed.router, &masquerading(), settings(at));
        let listener = routed.server.run(|| TcpListener::bind(SocketAddr::new(FAR_SERVER.into(), 80)).expect("bound"));
        let page = vec![b'x'; 2_000_000];
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut question = [0; 4096];
            let read = stream.read(&mut question).expect("a request");
            assert!(question[..read].starts_with(b"GET / HTTP/1.1"));
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len())
                .expect("written");
            stream.write_all(&page).expect("written");
        });
        let arguments = ["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
        let arguments = [&arguments[..], &["http://198.51.100.1/"]].concat();
        let output = run(Some(&routed.client), "curl", &arguments, "").success();
        assert_eq!(output.stdout, "200 2000000", "{at:?}");
        answering.join().expect("it was asked");
    }
}

#[test]
fn ping_and_traceroute_see_the_router() {
    for at in BOTH {
        let routed = routed(at);
        for parameter in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
            routed.router.set_parameter(parameter, "0");
            routed.server.set_parameter(parameter, "0");
        }
        let _live = apply(&routed.router, FAST, settings(at));
        for (to, router) in [(far()[0], IpAddr::from(ROUTER)), (far()[1], ROUTER6.into())] {
            assert_eq!(ping(&routed.client, to, PATIENCE), Outcome::Connected);
            // A listener of its own for the port that segments are sent to.
            let _listener = routed.server.run(|| TcpListener::bind(SocketAddr::new(to, 443)).expect("bound"));
            for probe in [&[][..], &["-I"], &["-T", "-p", "443"]] {
                let to = to.to_string();
                let words = [&["-n", "-q", "1", "-N", "1", "-w", "5", "-m", "4"], probe, &[&to]].concat();
                let output = run(Some(&routed.client), "traceroute", &words, "").success();
                let hops: Vec<_> =
                    output.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
                assert_eq!(hops, [router.to_string(), to], "{at:?} {probe:?}: {}", output.stdout);
            }
        }
    }
}

/// The wire behind the router is narrower: senders are told, and keep to it.
#[test]
fn path_mtu_discovery_works() {
    for at in BOTH {
        for rules in [FAST.to_owned(), masquerading()] {
            let routed = routed(at);
            routed.router.ip(&format!("link set {SECOND_INTERFACE} mtu 1280"));
            // The server does not tell that its wire is narrow.
            let replies = "advmss 1440 mtu 1280";
            routed.server.ip(&format!("route replace default via 198.51.100.254 {replies}"));
            routed.server.ip(&format!("-6 route replace default via 2001:db8:2::fe {replies}"));
            routed.server.ip(&format!("route replace 198.51.100.0/24 dev eth0 src 198.51.100.1 {replies}"));
            routed.server.ip(&format!("-6 route replace 2001:db8:2::fe/128 dev eth0 {replies}"));
            let live = apply(&routed.router, &rules, settings(at));
            for to in far() {
                Talk::begin(&routed.client, &routed.server, to).exchange(1_000_000);
                let to = to.to_string();
                let route = run(Some(&routed.client), "ip", &["route", "get", &to], "").success();
                assert!(route.stdout.contains("mtu 1280"), "{at:?}: {}", route.stdout);
            }
            let (fast, ..) = ways(&live, INTERFACE);
            assert!(fast > 100, "{at:?}: {fast} fast");
        }
    }
}

/// What a host behind the router wrote into its SYN is cut to what the way takes, as the kernel's nft does it.
#[test]
fn segments_are_cut_to_the_route() {
    let clamp = FAST.replace("policy drop;", "policy drop;\n tcp flags syn tcp option maxseg size set rt mtu");
    for at in BOTH {
        let routed = routed(at);
        routed.router.ip(&format!("link set {SECOND_INTERFACE} mtu 1300"));
        routed.router.set_parameter("net/ipv4/conf/lo/forwarding", "1");
        routed.router.set_parameter("net/ipv6/conf/lo/forwarding", "1");
        let _live = apply(&routed.router, &clamp, settings(at));
        for to in far() {
            Talk::begin(&routed.client, &routed.server, to).exchange(200_000);
            let route = run(Some(&routed.client), "ip", &["route", "get", &to.to_string()], "").success();
            assert!(!route.stdout.contains("mtu 1300"), "{at:?}: nobody had to be told: {}", route.stdout);
        }
    }
}

/// Two connections of one client: the addresses that the server sees.
#[test]
fn the_server_sees_the_routers_address() {
    for at in BOTH {
        let routed = routed(at);
        let _live = apply(&routed.router, &masquerading(), settings(at));
        let mut talk = Talk::begin(&routed.client, &routed.server, far()[0]);
        talk.exchange(100_000);
        assert_eq!(talk.far.peer_addr().expect("a peer").ip().to_string(), "198.51.100.254");
        assert_eq!(talk.near.local_addr().expect("bound").ip(), IpAddr::from(CLIENT));
    }
}
