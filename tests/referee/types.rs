//! What an address is to the host (`fib daddr type`), among addresses and routes of every kind.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_tests::{
    packet::{Frame, Udp},
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
};

use super::{
    compare, differences,
    support::{
        both::{Both, Way},
        near::Random,
        packets::between,
    },
};

const RULES: &str = "table inet filter {
	chain input {
		type filter hook prerouting priority filter; policy accept;
		fib daddr type local counter
		fib daddr type broadcast counter
		fib daddr type anycast counter
		fib daddr type multicast counter
		fib daddr type != { local, broadcast, anycast, multicast } counter
		fib daddr . iif type local counter
		fib daddr . iif type broadcast counter
		fib daddr . iif type != { local, broadcast, multicast } counter
		fib daddr type vmap { local : continue, broadcast : drop }
		meta nfproto ipv4 fib daddr type unicast counter
		meta nfproto ipv4 fib daddr type { prohibit, unreachable, blackhole } counter
		fib saddr type local counter
		fib saddr . mark type != local counter
	}
	chain output {
		type filter hook output priority filter; policy accept;
		fib saddr type local counter
		fib saddr . oif type local counter
		fib daddr . oif type != { local, broadcast, multicast, anycast } counter
	}
	chain postrouting {
		type filter hook postrouting priority filter; policy accept;
		fib saddr . oif type local counter
	}
}
";

/// Addresses and routes beside those of the field.
const SETUP: &[&str] = &[
    "addr add 203.0.113.1/25 brd + dev lo",
    "addr add 203.0.113.129/32 dev eth0",
    "route add broadcast 203.0.113.200 dev lo",
    "route add local 203.0.113.208/28 dev lo",
    "route add anycast 203.0.113.224/29 dev eth0 table local",
    "route add blackhole 203.0.113.240/29 table local",
    "route add unreachable 203.0.113.248/30",
    "-6 addr add 2001:db8:ff::1/64 dev lo nodad",
    "-6 addr add 2001:db8:ff:1::1/128 dev eth0 nodad",
    "-6 addr add fe80::53/64 dev eth0 nodad",
    "-6 addr add fe80::54/64 dev lo nodad",
    "-6 route add local 2001:db8:ff:2::/64 dev lo",
    "-6 route add anycast 2001:db8:ff:3::7 dev eth0 table local",
    "-6 route add 2001:db8:ff:4::/64 dev eth0",
    "-6 route add 2001:db8:ff:4::/80 via fe80::99 dev eth0",
    "-6 route add blackhole 2001:db8:ff:5::/64",
];

fn v4(random: &mut Random) -> Ipv4Addr {
    let last = random.below(256) as u8;
    random.pick(&[
        SERVER,
        Ipv4Addr::new(203, 0, 113, last),
        Ipv4Addr::new(203, 0, 113, last | 0xc0),
        Ipv4Addr::new(198, 51, 100, last),
        Ipv4Addr::new(192, 0, 2, last),
        Ipv4Addr::new(192, 0, 2, 255),
        Ipv4Addr::new(203, 0, 113, 127),
        Ipv4Addr::new(224, 0, 0, last),
        Ipv4Addr::BROADCAST,
    ])
}

fn v6(random: &mut Random) -> Ipv6Addr {
    let of = |text: &str| text.parse().expect("an address");
    let last = random.below(4) as u16;
    let net = Ipv6Addr::new(0x2001, 0xdb8, 0xff, random.below(6) as u16, 0, 0, 0, last);
    let ours = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, last);
    let known = ["fe80::53", "fe80::54", "fe80::", "fe80::77", "ff02::1", "ff05::7", "ff0e::9", "2001:db8:ff:3::7"];
    let known = random.pick(&known.map(of));
    random.pick(&[SERVER6, net, net, net, ours, known, known])
}

/// A packet for every number: its length is like no other's.
fn packets(random: &mut Random) -> Vec<(Way, Frame)> {
    let one = |number: usize, random: &mut Random| {
        let udp = Udp::new(5, 9);
        let (way, frame) = match random.below(8) {
            0 => (Way::Out, between(random.pick(&[SERVER, Ipv4Addr::new(203, 0, 113, 1)]), CLIENT, udp)),
            1 => (Way::Out, between(random.pick(&[SERVER6, "2001:db8:ff::1".parse().expect("one")]), CLIENT6, udp)),
            2 => (Way::In, between(Ipv4Addr::new(203, 0, 113, random.below(130) as u8), SERVER, udp)),
            3..=5 => (Way::In, between(CLIENT, v4(random), udp)),
            _ => (Way::In, between(CLIENT6, v6(random), udp)),
        };
        (way, frame.payload(&vec![0; number]))
    };
    (0..800).map(|number| one(number, random)).collect()
}

#[test]
fn addresses_are_what_they_are_to_nft() {
    let seed = super::seed();
    println!("seed {seed} (RAMPART_SEED={seed} repeats it)");
    let mut both = Both::new();
    for line in SETUP {
        both.ip(line);
    }
    let packets = packets(&mut Random::new(seed));
    compare(&mut both, RULES, &packets).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn addresses_that_come_and_go_are_followed() {
    let both = {
        let mut both = Both::new();
        both.replace(RULES);
        both
    };
    let told = |both: &Both| both.on_ours(|instance| instance.addresses().expect("addresses"));
    let first = told(&both);
    assert!(first.is_current && !first.is_followed && first.doubt.is_none(), "{first:?}");
    both.ip("addr add 203.0.113.77/32 dev eth0");
    assert!(!told(&both).is_current);
    let changed = both.on_ours(|instance| {
        let lock = instance.lock().expect("lock");
        let first = instance.renew_addresses(&lock).expect("renewed");
        (first, instance.renew_addresses(&lock).expect("renewed"))
    });
    assert_eq!(changed, (true, false));
    let mut both = both;
    let frame = between(CLIENT, Ipv4Addr::new(203, 0, 113, 77), Udp::new(5, 9));
    both.send(Way::In, &frame);
    let (ours, theirs) = both.counted();
    assert_eq!(ours, theirs, "{}", differences(&ours, &theirs));
    assert!(told(&both).is_current);
}
