//! What rules set and compute, and that later rules see it.

use std::fmt::Write;

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Ethernet, Frame, Icmp, Ipv4, Tcp, Udp},
    topology::{CLIENT, ROUTER, SERVER},
};

use firewall_user::kernel::Side;

use super::support::{
    Firewall,
    packets::{back_v4, syn, v4, v6},
    sequence::flags,
    table::check_rows,
};

/// A chain at the input hook, and one at the output hook.
fn chains(input: &str, output: &str) -> String {
    format!(
        "table inet t {{
            chain i {{ type filter hook input priority 0; policy accept; {input} }}
            chain o {{ type filter hook output priority 0; policy accept; {output} }}
        }}"
    )
}

const PASSED: Result<(), Reason> = Ok(());
const DROPPED: Result<(), Reason> = Err(Reason::Rule);

#[test]
fn a_mark_is_seen_by_the_rules_behind() {
    let rules = [
        ("meta mark 0 meta mark set 5; meta mark 5 drop;", DROPPED),
        ("meta mark set 5; meta mark != 5 drop;", PASSED),
        ("meta mark set 0xf5 & 0xf0; meta mark != 0xf0 drop;", PASSED),
        ("meta mark set 0x1234; meta mark set meta mark & 0xff0 | 1; meta mark 0x231 drop;", DROPPED),
        ("meta mark set 0x12345678; meta mark set (meta mark & 0xffff) << 8; meta mark 0x567800 drop;", DROPPED),
        ("meta mark set 0x12345678; meta mark set meta mark >> 8 ^ 0xff; meta mark 0x1234a9 drop;", DROPPED),
        ("meta mark set tcp sequence; meta mark 0x1000000 drop;", DROPPED),
        ("tcp dport 23 meta mark set 5; meta mark 5 drop;", PASSED),
        ("jump marks; meta mark 9 drop;", DROPPED),
    ];
    for (input, expected) in rules {
        let mut rules = chains(input, "");
        if input.contains("jump") {
            rules = rules.replacen('{', "{ chain marks { meta mark set 9; }", 1);
        }
        let firewall = Firewall::new(&rules);
        let frame = v4(Tcp { seq: 0x0100_0000, ..syn(22) });
        assert_eq!(firewall.ingress(&frame), expected, "{input}");
    }
}

#[test]
fn the_rules_of_the_trees_see_a_mark_too() {
    use std::fmt::Write;
    let mut input = String::new();
    for number in 1..60 {
        let _ = write!(input, "ip saddr 203.0.113.{number} drop; ");
    }
    input.push_str("meta mark 0 meta mark set 6; meta mark 7 drop; meta mark 6 meta mark set 8; ");
    for number in 60..120 {
        let _ = write!(input, "ip saddr 203.0.113.{number} drop; ");
    }
    input.push_str("meta mark 6 accept; meta mark 8 drop; ");
    assert_eq!(Firewall::new(&chains(&input, "")).ingress(&v4(syn(22))), DROPPED);
}

#[test]
fn a_packet_has_no_mark_of_the_one_before() {
    let firewall = Firewall::new(&chains("meta mark 5 drop; tcp dport 22 meta mark set 5;", ""));
    for _ in 0..3 {
        assert_eq!(firewall.ingress(&v4(syn(22))), PASSED);
        assert_eq!(firewall.ingress(&v4(syn(23))), PASSED);
    }
}

#[test]
fn a_connection_keeps_its_mark() {
    let rules = chains(
        "ct mark 9 drop; ct state new ct mark set 7; ct mark set ct mark | 0x100;",
        "ct mark 0x107 meta mark set ct mark; meta mark 0x107 tcp flags ack drop; udp sport 53 ct mark set 9 drop;",
    );
    let firewall = Firewall::new(&rules);
    assert_eq!(firewall.ingress(&v4(syn(22))), PASSED);
    assert_eq!(firewall.egress(&back_v4(Tcp::new(22, 40000, flags("SA")))), DROPPED, "it knows the mark");
    assert_eq!(firewall.ingress(&v4(syn(23))), PASSED, "another connection");
    // What a dropped packet sets of a connection that is there stays.
    assert_eq!(firewall.ingress(&v4(Udp::new(40000, 53))), PASSED);
    assert_eq!(firewall.egress(&back_v4(Udp::new(53, 40000))), DROPPED);
    assert_eq!(firewall.ingress(&v4(Udp::new(40000, 53))), DROPPED, "mark 9");
}

#[test]
fn an_error_has_the_mark_of_the_connection_it_is_about() {
    let firewall = Firewall::new(&chains("ct state related ct mark 7 drop;", "ct state new ct mark set 7;"));
    let question = back_v4(Udp::new(40000, 53));
    assert_eq!(firewall.egress(&question), PASSED);
    let error = Frame::error(Ipv4::new(ROUTER, SERVER), Icmp::v4(3, 3), &question).ethernet(Ethernet::to_server());
    assert_eq!(firewall.ingress(&error), DROPPED);
}

#[test]
fn without_a_connection_there_is_no_mark() {
    let input = "ct mark set 7; meta mark set 3; ct mark 7 drop; meta mark set ct mark; meta mark 3 accept; drop;";
    let firewall = Firewall::new(&chains(input, ""));
    let out_of_nothing = Tcp::new(5, 22, flags("R"));
    assert_eq!(firewall.ingress(&v4(out_of_nothing.clone())), PASSED, "nothing is set, nothing is read");
    assert_eq!(firewall.ingress(&v6(out_of_nothing)), PASSED);
    assert_eq!(firewall.ingress(&v4(syn(22))), DROPPED);
}

/// Do these matches hold for the packet? All of them are in one chain, each with a counter.
#[track_caller]
fn check(matches: &[(&str, bool)], prepare: impl Fn(&Firewall), packet: &Frame) {
    let firewall = Firewall::new(&chains("", ""));
    prepare(&firewall);
    let rules: Vec<String> =
        matches.iter().enumerate().map(|(at, (rule, _))| format!("{rule} counter comment \"{at}\"; ")).collect();
    firewall.apply(&chains(&rules.concat(), ""));
    let counted = firewall.counted_by(Side::Xdp, &[packet.bytes()]).remove(0);
    check_rows(
        matches.iter().enumerate().map(|(at, (rule, wanted))| (*rule, *wanted, counted.contains(&at.to_string()))),
    );
}

#[test]
fn numbers_come_one_after_the_other() {
    let firewall = Firewall::new(&chains("numgen inc mod 3 offset 7 vmap { 7 : accept, 8 : drop, 9 : accept };", ""));
    let got: Vec<bool> = (0..7).map(|_| firewall.ingress(&v4(syn(22))).is_ok()).collect();
    assert_eq!(got, [true, false, true, true, false, true, true]);
    // A rule that two chains jump to counts once.
    let firewall = Firewall::new(
        "table inet t {
            chain n { numgen inc mod 2 1 drop; }
            chain i { type filter hook input priority 0; tcp dport 22 jump n; tcp dport 23 jump n; }
        }",
    );
    let got: Vec<bool> = [22, 23, 22, 22, 23].map(|port| firewall.ingress(&v4(syn(port))).is_ok()).to_vec();
    assert_eq!(got, [true, false, true, false, true]);
}

#[test]
fn random_numbers_are_in_their_range() {
    let firewall = Firewall::new(&chains("numgen random mod 4 offset 3 != 3-6 drop; meta random != 0 accept;", ""));
    for _ in 0..64 {
        assert_eq!(firewall.ingress(&v4(syn(22))), PASSED);
    }
    let firewall = Firewall::new(&chains("numgen random mod 2 0 drop;", ""));
    let dropped = (0..400).filter(|_| firewall.ingress(&v4(syn(22))).is_err()).count();
    // 2^-40 of all runs would be outside.
    assert!((100..300).contains(&dropped), "{dropped} of 400");
}

#[test]
fn both_directions_have_one_symmetric_hash() {
    let firewall = Firewall::new(&chains(
        "ct state new ct mark set symhash mod 1000000 offset 5;",
        "meta mark set symhash mod 1000000 offset 5; ct mark 0 drop;",
    ));
    for port in 1..20 {
        assert_eq!(firewall.ingress(&v4(syn(port))), PASSED);
        assert_eq!(firewall.egress(&back_v4(Tcp::new(port, 40000, flags("SA")))), PASSED);
    }
    let marks: std::collections::BTreeSet<u32> = firewall.flows().iter().map(|flow| flow.entry.mark).collect();
    assert_eq!(marks.len(), 19, "{marks:?}");
    assert!(marks.iter().all(|mark| (5..1_000_005).contains(mark)));
}

#[test]
fn what_the_first_packet_of_a_connection_has() {
    let rules = [
        ("ct direction original", true),
        ("ct direction reply", false),
        ("ct status 0", false),
        ("ct status == 0", true),
        ("ct status confirmed", false),
        ("ct zone 0", true),
        ("ct expiration < 1s", true),
        ("ct packets 1", true),
        ("ct original packets 1", true),
        ("ct reply packets 0", true),
        ("ct bytes 40", true),
        ("ct original bytes 40", true),
        ("ct reply bytes > 0", false),
        ("ct avgpkt 40", true),
        ("ct reply avgpkt 0", true),
        ("ct l3proto ipv4", true),
        ("ct l3proto ipv6", false),
        ("ct protocol tcp", true),
        ("ct original ip saddr 192.0.2.1", true),
        ("ct original ip daddr 192.0.2.2", true),
        ("ct reply ip saddr 192.0.2.2", true),
        ("ct reply ip daddr 192.0.2.1", true),
        ("ct original ip6 saddr ::/0", false),
        ("ct original ip6 saddr != ::1", false),
        ("meta l4proto tcp ct original proto-src 40000", true),
        ("meta l4proto tcp ct original proto-dst 22", true),
        ("meta l4proto tcp ct reply proto-src 22", true),
        ("meta l4proto tcp ct reply proto-dst { 39999, 40000 }", true),
        ("ct id 0-4294967295", true),
    ];
    check(&rules, |_| {}, &v4(syn(22)));
    let six = [
        ("ct original ip6 saddr 2001:db8:1::1", true),
        ("ct reply ip6 saddr 2001:db8:1::2", true),
        ("ct original ip6 daddr 2001:db8:1::/112", true),
        ("ct original ip6 daddr { 2001:db8::7, 2001:db8::9 }", false),
        ("ct original ip saddr 0.0.0.0/0", false),
        ("ct l3proto ipv6", true),
        ("ct bytes 60", true),
    ];
    check(&six, |_| {}, &v6(syn(22)));
}

#[test]
fn what_a_connection_has_later() {
    let begin = |firewall: &Firewall| {
        assert_eq!(firewall.ingress(&v4(syn(22))), PASSED);
        assert_eq!(firewall.egress(&back_v4(Tcp::new(22, 40000, flags("SA")))), PASSED);
    };
    let rules = [
        ("ct direction original", true),
        ("ct direction reply", false),
        ("ct status assured", true),
        ("ct status == seen-reply,assured,confirmed", true),
        ("ct status snat,dnat", false),
        ("ct expiration > 1h", true),
        ("ct packets 3", true),
        ("ct original packets 2", true),
        ("ct reply packets 1", true),
        ("ct bytes 120", true),
        ("ct reply bytes 40", true),
        ("ct avgpkt 40", true),
        ("ct original ip saddr 192.0.2.1", true),
        ("ct reply ip saddr 192.0.2.2", true),
        ("tcp dport 22 ct original proto-dst 22", true),
        ("tcp dport 22 ct reply proto-dst 40000", true),
        ("ct protocol tcp", true),
    ];
    check(&rules, begin, &v4(Tcp::new(40000, 22, flags("A"))));
}

#[test]
fn the_way_back_is_the_reply() {
    let firewall = Firewall::new(&chains("", ""));
    assert_eq!(firewall.ingress(&v4(syn(22))), PASSED);
    let rules = "meta l4proto tcp ct direction reply ct original proto-dst 22 ct original ip saddr 192.0.2.1 ct reply ip saddr 192.0.2.2 accept; drop;";
    firewall.apply(&chains("", rules));
    assert_eq!(firewall.egress(&back_v4(Tcp::new(22, 40000, flags("SA")))), PASSED);
    assert_eq!(firewall.egress(&back_v4(Tcp::new(5, 40000, flags("S")))), DROPPED);
    // An error about a packet goes the other way.
    let error = Frame::error(Ipv4::new(SERVER, CLIENT), Icmp::v4(3, 3), &v4(syn(22)));
    firewall
        .apply(&chains("", "ct state related ct direction reply ct protocol tcp ct original ip saddr 192.0.2.1 drop;"));
    assert_eq!(firewall.egress(&error), DROPPED);
}

#[test]
fn packets_without_a_connection_have_nothing_of_one() {
    let rules = [
        ("ct direction original", false),
        ("ct direction != reply", false),
        ("ct packets 0-100", false),
        ("ct original ip saddr 192.0.2.1", false),
        ("ct zone 0", false),
        ("ct status ! snat", false),
    ];
    check(&rules, |_| {}, &v4(Tcp::new(5, 22, flags("R"))));
}

#[test]
fn whom_a_frame_is_for() {
    let to = |receiver: [u8; 6]| Frame {
        ethernet: Ethernet { destination: receiver, ..v4(syn(22)).ethernet },
        ..v4(syn(22))
    };
    let rows = [
        (v4(syn(22)), "host"),
        (to([0xff; 6]), "broadcast"),
        (to([1, 0, 0x5e, 0, 0, 1]), "multicast"),
        (to([0x33, 0x33, 0, 0, 0, 1]), "multicast"),
    ];
    for (frame, kind) in rows {
        let mut rules = Vec::new();
        for other in ["host", "broadcast", "multicast", "other"] {
            rules.push((format!("meta pkttype {other}"), kind == other));
        }
        let rules: Vec<(&str, bool)> = rules.iter().map(|(rule, matches)| (&**rule, *matches)).collect();
        check(&rules, |_| {}, &frame);
    }
}

#[test]
fn what_time_it_is() {
    let rules = [
        ("meta time > \"2020-01-01\"", true),
        ("meta time \"2020-01-01\"-\"2090-01-01 10:00:30\"", true),
        ("meta time < \"2020-01-01 00:00:00\"", false),
        ("meta hour \"00:00\"-\"23:59:59\"", true),
        ("meta hour > \"23:59:59\"", false),
        ("meta day 0-6", true),
        (
            "meta day { \"Sunday\", \"Monday\", \"Tuesday\", \"Wednesday\", \"Thursday\", \"Friday\", \"Saturday\" }",
            true,
        ),
        ("meta cpu 0-1023", true),
        ("meta cpu 70000", false),
        ("meta priority none", true),
        ("meta priority 1:2", false),
    ];
    check(&rules, |_| {}, &v4(syn(22)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let around = format!("meta time {}-{}", now - 60, now + 3600);
    check(&[(&around, true), (&format!("meta time < {}", now - 60), false)], |_| {}, &v4(syn(22)));
}

#[test]
fn a_map_gives_a_mark() {
    let rules = "table inet t {
        map named { type ipv4_addr . inet_service : mark; elements = { 192.0.2.1 . 22 : 1, 192.0.2.9 . 22 : 2 }; }
        map ports { type inet_service : mark; flags interval; elements = { 1-21 : 5, 22 : 6, 80-90 : 0xffffffff }; }
        chain i {
            type filter hook input priority 0;
            meta mark set tcp dport map { 22 : 7, 23-25 : 8 } meta mark 7 counter comment \"listed\"
            meta mark set tcp dport map { 23 : 8 } counter comment \"not in it\"
            meta mark set tcp dport map { 23 : 8, * : 9 } meta mark 9 counter comment \"any\"
            meta mark set udp dport map { 23 : 8, * : 9 } counter comment \"another protocol\"
            meta mark set ip saddr . tcp dport map @named meta mark 1 counter comment \"named\"
            meta mark set tcp dport map @ports meta mark 6 counter comment \"named runs\"
            meta mark set ct direction map { original : 3, reply : 4 } meta mark 3 counter comment \"fetched\"
            meta mark set ct original ip saddr . ct direction map { 192.0.2.1 . original : 11 } meta mark 11 counter comment \"both\"
            ct mark set ip6 saddr map { 2001:db8::/32 : 12 } counter comment \"another family\"
        }
    }";
    let firewall = Firewall::new(rules);
    let mut counted = firewall.counted_by(Side::Xdp, &[v4(syn(22)).bytes()]).remove(0);
    counted.sort();
    assert_eq!(counted, ["any", "both", "fetched", "listed", "named", "named runs"]);
}

/// What nft 1.0.6 and Linux 6.18 make of a datagram from 127.0.0.1, port 4000, to 127.0.0.1, port 53: marks that a rule gave
/// it, as `nft list set` shows them.
const HASHES: &[(&str, u32)] = &[
    ("jhash udp dport mod 4294967295 seed 0x5", 0xec29_ee91),
    ("jhash udp dport mod 1000 seed 0x5 offset 7", 0x0000_03a1),
    ("jhash ip daddr . udp dport mod 4294967295 seed 0x1234", 0x3e35_9153),
    ("jhash ip saddr . ip daddr . udp sport . udp dport mod 4294967295 seed 0xdeadbeef", 0x2e96_88b7),
    ("jhash meta l4proto . udp dport mod 4294967295 seed 0x1", 0x4812_775c),
    ("jhash ip daddr & 255.0.0.0 . udp dport mod 4294967295 seed 0x1", 0x1972_1d34),
    ("jhash ip ttl mod 4294967295 seed 0x2", 0xbe9c_eb79),
];

#[test]
fn hashes_are_those_of_the_kernel() {
    let mut rules = String::new();
    for (at, (hash, value)) in HASHES.iter().enumerate() {
        let _ = write!(rules, "meta mark set {hash} meta mark {value} counter comment \"{at}\"; ");
    }
    rules.push_str("jhash udp dport mod 1000 seed 0x5 vmap { 922 : continue, * : drop } counter comment \"map\"; ");
    rules.push_str("jhash ip6 saddr . udp dport mod 2 0-1 counter comment \"no such header\"; ");
    rules.push_str(
        "meta mark set jhash ip daddr mod 1 offset 9 map { 9 : 3 } meta mark 3 counter comment \"map to data\"; ",
    );
    let firewall = Firewall::new(&chains("", &rules));
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    let frame = Frame::new(Ipv4::new(loopback, loopback), Udp::new(4000, 53)).ethernet(Ethernet::to_client());
    let counted = firewall.counted_by(Side::TcEgress, &[frame.bytes()]).remove(0);
    let mut expected: Vec<String> = (0..HASHES.len()).map(|at| at.to_string()).collect();
    expected.extend(["map".to_owned(), "map to data".to_owned()]);
    assert_eq!(counted, expected);
}
