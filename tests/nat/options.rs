//! What translations say besides addresses, and what rules say of translated connections.

use std::{
    collections::HashSet,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use firewall_tests::{
    netns::Namespace,
    topology::{CLIENT, FAR_SERVER, INTERFACE, ROUTER, ROUTER_SECOND},
};

use super::{Field, MASQUERADE, accept, any, at, both, connect, listen};

/// Ports that the server sees, of connections from the same port of several addresses of the client's.
fn ports(field: &Field, count: u8) -> HashSet<u16> {
    let (client, server) = (&field.routed.client, &field.routed.server);
    let one = |number: u8| {
        let own = Ipv4Addr::new(192, 0, 2, 100 + number);
        client.ip(&format!("address add {own}/24 dev {INTERFACE}"));
        let to = at(FAR_SERVER, 8000 + u16::from(number));
        let seen = field.seen((server, to), client, at(own, 40_000), to);
        assert_eq!(seen.ip(), IpAddr::V4(ROUTER_SECOND), "{:?}", field.by);
        seen.port()
    };
    (0..count).map(one).collect()
}

#[test]
fn random_ports_are_not_those_of_the_sender() {
    for word in ["random", "fully-random"] {
        let rules =
            format!("chain p {{ type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade {word}; }}");
        both(&rules, |field| {
            // Each is another one: that four are the sender's, or all the same, happens once in 2^48 runs.
            let ports = ports(field, 4);
            assert!(ports.len() > 1 && ports.iter().any(|port| *port != 40_000), "{:?} {word}: {ports:?}", field.by);
        });
    }
}

#[test]
fn persistent_gives_a_client_one_address_of_many() {
    let rules = "chain p { type nat hook postrouting priority srcnat; oifname \"eth1\" snat ip to 198.51.100.64-198.51.100.79 persistent; }";
    both(rules, |field| {
        let (client, router, server) = (&field.routed.client, &field.routed.router, &field.routed.server);
        for number in 64..80 {
            router.ip(&format!("address add 198.51.100.{number}/24 dev eth1"));
        }
        let one = |number: u8| {
            let there = Ipv4Addr::new(198, 51, 100, number);
            server.ip(&format!("address add {there}/24 dev {INTERFACE}"));
            field.seen((server, at(there, 80)), client, any(CLIENT), at(there, 80)).ip()
        };
        let seen: HashSet<IpAddr> = (11..19).map(one).collect();
        assert_eq!(seen.len(), 1, "{:?}: {seen:?}", field.by);
    });
}

#[test]
fn redirect_to_one_of_several_ports() {
    let rules =
        "chain d { type nat hook prerouting priority dstnat; iifname \"eth0\" tcp dport 80 redirect to :8080-8083; }";
    both(rules, |field| {
        let (client, router) = (&field.routed.client, &field.routed.router);
        let listeners: Vec<_> = (8080..8084).map(|port| router.run(|| listen(at(ROUTER, port)))).collect();
        for _ in 0..4 {
            let mut stream = client.run(|| connect(any(CLIENT), at(FAR_SERVER, 80))).expect("connected");
            stream.write_all(b"hello").expect("written");
            let came = listeners.iter().filter(|listener| {
                listener.set_nonblocking(true).expect("non-blocking");
                listener.accept().is_ok()
            });
            assert_eq!(came.count(), 1, "{:?}", field.by);
        }
    });
}

/// Connects from a port of its own; gives up soon.
fn tries(from: &Namespace, port: u16) -> Option<std::net::TcpStream> {
    from.run(|| {
        let fd = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        let own = nix::sys::socket::SockaddrStorage::from(at(CLIENT, port));
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &own).expect("bound");
        let patience = nix::sys::time::TimeVal::new(1, 0);
        nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::SendTimeout, &patience).expect("a timeout");
        let to = nix::sys::socket::SockaddrStorage::from(at(FAR_SERVER, 80));
        nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &to).ok().map(|()| fd.into())
    })
}

#[test]
fn connections_are_counted_once_however_they_are_translated() {
    let rules = MASQUERADE.replace(
        "iifname \"eth0\" accept;",
        "iifname \"eth0\" tcp dport 80 ct state new ct count over 2 drop; iifname \"eth0\" accept;",
    );
    both(&rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let listener = server.run(|| listen(at(FAR_SERVER, 80)));
        let mut held = Vec::new();
        for port in [40_000, 40_001] {
            let stream = tries(client, port).unwrap_or_else(|| panic!("{:?}: {port}", field.by));
            held.push((stream, accept(&listener)));
        }
        assert!(tries(client, 40_002).is_none(), "{:?}: a third one", field.by);
        assert!(tries(client, 40_003).is_none(), "{:?}: again", field.by);
        // One is reset, so it ends at once, and its place is free.
        let (stream, (there, _)) = held.pop().expect("two");
        resets_when_closed(&stream);
        drop(stream);
        drop(there);
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            (0..20).any(|number| tries(client, 40_010 + number).is_some()),
            "{:?}: when one has ended, there is room",
            field.by
        );
    });
}

/// Closing resets the connection.
fn resets_when_closed(stream: &std::net::TcpStream) {
    let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &reset).expect("an option");
}
