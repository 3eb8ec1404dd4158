//! `rampart.toml`: what it changes about connections.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use firewall_common::conntrack::Timeout;
use firewall_tests::{netns::Namespace, packet::Udp, referee::Referee};
use firewall_user::kernel::Side;

use super::support::{
    Firewall,
    packets::{back_v4, v4},
    sequence::{STATES, flags},
};

/// The kernel this runs on is asked for its defaults.
#[test]
fn lifetimes_are_those_of_nf_conntrack() {
    let namespace = Namespace::new("t");
    // Without somebody who asks for it, the kernel does not track connections, and has no such parameters.
    Referee::load(&namespace, "table inet t { chain c { type filter hook input priority 0; ct state new; }; }");
    let theirs = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        namespace.run(|| fs::read_to_string(&path)).ok().and_then(|text| text.trim().parse::<u32>().ok())
    };
    // Of these two there are no parameters: the first one is in `nf_conntrack_proto_tcp.c`, the other one is
    // `net/ipv4/ipfrag_time`.
    let elsewhere = ["tcp_timeout_syn_sent2", "frag_timeout"];
    for timeout in Timeout::ALL.iter().filter(|timeout| !elsewhere.contains(&timeout.key())) {
        let theirs = theirs(timeout.key());
        assert_eq!(theirs, Some(timeout.default_seconds()), "{}", timeout.key());
    }
}

#[test]
fn a_connection_begins_with_its_syn_when_told_so() {
    let firewall = Firewall::new(STATES);
    let segment = |letters| v4(firewall_tests::packet::Tcp::new(40000, 22, flags(letters)));
    assert_eq!(firewall.state_of(Side::Xdp, &segment("A")), "new");
    firewall.apply_set(STATES, "[conntrack]\ntcp_loose = false\n");
    assert_eq!(firewall.state_of(Side::Xdp, &segment("A")), "new", "it has begun");
    let other = |letters| v4(firewall_tests::packet::Tcp::new(40001, 22, flags(letters)));
    assert_eq!(firewall.state_of(Side::Xdp, &other("A")), "invalid");
    assert_eq!(firewall.state_of(Side::Xdp, &other("PA")), "invalid");
    assert_eq!(firewall.state_of(Side::Xdp, &other("S")), "new");
}

#[test]
fn windows_are_not_enforced_when_told_so() {
    let firewall = Firewall::new(STATES);
    let forth = |letters, seq, ack| v4(firewall_tests::packet::Tcp::new(40000, 22, flags(letters)).at(seq, ack));
    let back = |letters, seq, ack| back_v4(firewall_tests::packet::Tcp::new(22, 40000, flags(letters)).at(seq, ack));
    firewall.state_of(Side::Xdp, &forth("S", 1000, 0));
    firewall.state_of(Side::TcEgress, &back("SA", 5000, 1001));
    assert_eq!(firewall.state_of(Side::Xdp, &forth("A", 1001, 5001)), "established");
    let far = || forth("PA", 900_000_000, 5001);
    assert_eq!(firewall.state_of(Side::Xdp, &far()), "invalid");
    firewall.apply_set(STATES, "[conntrack]\ntcp_be_liberal = true\n");
    assert_eq!(firewall.state_of(Side::Xdp, &far()), "established");
    firewall.apply(STATES);
    assert_eq!(firewall.state_of(Side::Xdp, &far()), "invalid", "strict again");
}

#[test]
fn a_connection_lives_as_long_as_it_is_told() {
    let firewall = Firewall::new(STATES);
    firewall.apply_set(STATES, "[conntrack.timeouts]\nudp_timeout = 1\nudp_timeout_stream = \"1h\"\n");
    let datagram = |port| v4(Udp::new(port, 53));
    assert_eq!(firewall.state_of(Side::Xdp, &datagram(40000)), "new");
    assert_eq!(firewall.flows().len(), 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !firewall.flows().is_empty() {
        assert!(Instant::now() < deadline, "it outlives its second");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(firewall.state_of(Side::TcEgress, &back_v4(Udp::new(53, 40000))), "new", "forgotten");
}

/// The same tuple in two zones is two connections, and a zone is left behind with its connections.
#[test]
fn zones_keep_connections_apart() {
    let firewall = Firewall::new(STATES);
    let zone = |number: u16| {
        let interface = firewall_tests::topology::INTERFACE;
        firewall.apply_set(STATES, &format!("[conntrack.zones]\n{interface} = {number}\n"));
    };
    let (forth, back) = (v4(Udp::new(40000, 53)), back_v4(Udp::new(53, 40000)));
    for number in [0, 7, 65_535] {
        zone(number);
        assert_eq!(firewall.state_of(Side::Xdp, &forth), "new", "zone {number}");
        assert_eq!(firewall.state_of(Side::TcEgress, &back), "established", "zone {number}");
    }
    let mut zones: Vec<_> = firewall.flows().iter().map(|flow| flow.entry.key.zone()).collect();
    zones.sort_unstable();
    assert_eq!(zones, [0, 7, 65_535]);
    zone(7);
    assert_eq!(firewall.state_of(Side::Xdp, &forth), "established");
}
