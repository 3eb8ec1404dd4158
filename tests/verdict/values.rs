//! What rules set and compute, and that later rules see it.

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Ethernet, Frame, Icmp, Ipv4, Tcp, Udp},
    topology::{ROUTER, SERVER},
};

use super::support::{
    Firewall,
    packets::{back_v4, syn, v4, v6},
    sequence::flags,
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
