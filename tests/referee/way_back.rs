//! The check of the way back (`fib saddr . iif oif`), among routes of every kind.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_tests::{
    packet::{Frame, Icmp, IcmpVersion, Ipv4, Network, Udp},
    topology::{SERVER, SERVER6},
};

use super::{
    compare, differences,
    support::{
        both::{Both, Way},
        near::Random,
        packets::between,
    },
};

const RULES: &str = "table ip filter {
	chain input {
		type filter hook input priority filter; policy accept;
		fib saddr . iif oif missing counter
		fib saddr . iif oif exists counter
		fib saddr oif missing counter
		fib saddr oif exists counter
		fib saddr . mark . iif oif missing counter
		fib saddr . mark oif exists counter
		fib saddr . iif oif \"eth0\" counter
		fib saddr oif \"eth0\" counter
		fib saddr oif != \"eth0\" counter
		fib saddr oif \"lo\" counter
		fib saddr . iif oif 0 counter
		meta mark set 7
		fib saddr . mark . iif oif missing counter
		fib saddr . iif oif missing counter
	}
}
";

/// Routes back for parts of 203.0.113.0/24: right, by another interface, none, and such as lead nowhere; and other routes
/// for some packets.
const ROUTES: &[&str] = &[
    "route add 203.0.113.0/26 dev eth0",
    "route add 203.0.113.16/28 dev lo",
    "route add 203.0.113.64/27 dev lo",
    "route add blackhole 203.0.113.96/28",
    "route add unreachable 203.0.113.112/28",
    "route add prohibit 203.0.113.128/28",
    "route add local 203.0.113.144/28 dev lo",
    "route add throw 203.0.113.160/28",
    "rule add from 198.51.100.7 lookup 200",
    "route add 203.0.113.64/26 dev eth0 table 200",
    "rule add fwmark 7 lookup 201",
    "route add 203.0.113.192/26 dev eth0 table 201",
    "rule add tos 0x10 lookup 202",
    "route add 203.0.113.224/27 dev eth0 table 202",
];

/// Answers to pings: nobody answers these.
fn packets(random: &mut Random) -> Vec<(Way, Frame)> {
    let ours = [SERVER, Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 7)];
    let one = |number: usize, random: &mut Random| {
        let source = Ipv4Addr::new(203, 0, 113, random.below(256) as u8);
        let source = if random.one_in(20) { Ipv4Addr::new(198, 51, 100, 5) } else { source };
        let mut frame = between(source, random.pick(&ours), Icmp::echo_reply(IcmpVersion::V4, number as u16, 1));
        if let Network::Ipv4(ipv4) = &mut frame.network {
            *ipv4 = Ipv4 { tos: random.pick(&[0, 0, 0x10]), ..ipv4.clone() };
        }
        (Way::In, frame.payload(&vec![0; number]))
    };
    (0..600).map(|number| one(number, random)).collect()
}

#[test]
fn ways_back_are_those_of_nft() {
    let mut both = Both::new();
    both.set_parameter("net/ipv4/conf/lo/forwarding", "1");
    both.set_parameter("net/ipv4/conf/all/accept_local", "1");
    for route in ROUTES {
        both.ip(route);
    }
    let packets = packets(&mut Random::new(super::seed()));
    compare(&mut both, RULES, &packets).unwrap_or_else(|difference| panic!("{difference}"));
}

const RULES6: &str = "table ip6 filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ip6 saddr != fe80::/10 fib saddr . iif oif missing counter
		ip6 saddr != fe80::/10 fib saddr . iif oif exists counter
		ip6 saddr 2001:db8:ff::/48 fib saddr oif missing counter
		ip6 saddr 2001:db8:ff::/48 fib saddr oif exists counter
		ip6 saddr != { fe80::/10, 2001:db8:1::/64 } fib saddr . mark oif \"eth0\" counter
		ip6 saddr != fe80::/10 fib saddr oif \"lo\" counter
		meta mark set 7
		ip6 saddr != fe80::/10 fib saddr . mark . iif oif missing counter
	}
}
";

/// The same kinds of routes back, of IPv6.
const ROUTES6: &[&str] = &[
    "-6 route add 2001:db8:ff::/122 dev eth0",
    "-6 route add 2001:db8:ff::10/124 dev lo",
    "-6 route add 2001:db8:ff::40/123 dev lo",
    "-6 route add blackhole 2001:db8:ff::60/124",
    "-6 route add unreachable 2001:db8:ff::70/124",
    "-6 route add prohibit 2001:db8:ff::80/124",
    "-6 route add local 2001:db8:ff::90/124 dev lo",
    "-6 rule add from 2001:db8:5::7 lookup 200",
    "-6 route add 2001:db8:ff::40/122 dev eth0 table 200",
    "-6 rule add fwmark 7 lookup 201",
    "-6 route add 2001:db8:ff::c0/122 dev eth0 table 201",
];

fn packets6(random: &mut Random) -> Vec<(Way, Frame)> {
    let own = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, last);
    let one = |number: usize, random: &mut Random| {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, random.below(256) as u16);
        let to = random.pick(&[SERVER6, own(1), own(7)]);
        (Way::In, between(source, to, Icmp::echo_reply(IcmpVersion::V6, number as u16, 1)).payload(&vec![0; number]))
    };
    (0..600).map(|number| one(number, random)).collect()
}

#[test]
fn ways_back_of_ipv6_are_those_of_nft() {
    let mut both = Both::new();
    both.set_parameter("net/ipv6/conf/lo/forwarding", "1");
    for route in ROUTES6 {
        both.ip(route);
    }
    let packets = packets6(&mut Random::new(super::seed()));
    both.replace(RULES6);
    for (way, frame) in &packets {
        both.send(*way, frame);
    }
    let (ours, theirs) = both.counted();
    assert_eq!(ours, theirs, "{}", differences(&ours, &theirs));
}

#[test]
fn an_unanswered_question_drops() {
    use firewall_common::verdict::Reason;

    use super::support::{Firewall, packets::v4};

    let rules = "table ip t { chain c { type filter hook input priority 0; fib saddr . iif oif missing accept; }; }";
    let pair = firewall_tests::topology::Pair::with(firewall_tests::topology::Neighbours::Known);
    pair.server.set_parameter("net/ipv4/conf/lo/forwarding", "1");
    let firewall = Firewall::on(pair, rules);
    let frame = v4(Udp::new(5, 9));
    assert_eq!(firewall.ingress(&frame), Ok(()));
    firewall.pair.server.set_parameter("net/ipv4/conf/lo/forwarding", "0");
    assert_eq!(firewall.ingress(&frame), Err(Reason::FibUnanswered));
}
