//! A connection is entered when its packet was accepted, and not before.

use firewall_common::verdict::Reason;
use firewall_tests::packet::{Icmp, IcmpVersion, Tcp, Udp};
use rstest::rstest;

use super::support::{
    Firewall,
    packets::{back_v4, back_v6, syn, v4, v6},
    sequence::flags,
};

/// What is new leaves, what was answered comes in, and ssh.
const ANSWERS_AND_SSH: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        tcp dport 22 accept
    }
    chain output {
        type filter hook output priority filter; policy drop;
        ct state established,related accept
        ct state new accept
    }
}";

#[test]
fn nobody_gets_in_but_by_ssh_and_in_answer() {
    let firewall = Firewall::new(ANSWERS_AND_SSH);
    let (no, yes) = (Err(Reason::Policy), Ok(()));
    let segment = |source, destination, letters: &str| Tcp::new(source, destination, flags(letters));
    // From outside: ssh, and nothing else.
    firewall.check_ingress([
        ("a connection to 23", v4(syn(23)), no),
        ("an ACK out of nothing to 23", v4(segment(5, 23, "A")), no),
        ("a SYN-ACK out of nothing", v4(segment(80, 40000, "SA")), no),
        ("a reset out of nothing", v4(segment(80, 40000, "R")), no),
        ("a datagram", v4(Udp::new(53, 40000)), no),
        ("an answer to no ping", v4(Icmp::echo_reply(IcmpVersion::V4, 7, 1)), no),
        ("a ping", v6(Icmp::echo_request(IcmpVersion::V6, 7, 1)), no),
    ]);
    assert!(firewall.flows().is_empty(), "what is dropped is not remembered");
    // And to the server's answer to what was dropped, there is none.
    assert_eq!(firewall.egress(&back_v4(segment(23, 40000, "SA"))), no, "invalid");
    firewall.check_ingress([("ssh", v4(syn(22)), yes)]);
    firewall.check_egress([("its answer", back_v4(segment(22, 40000, "SA")), yes)]);
    firewall.check_ingress([("its third segment", v4(segment(40000, 22, "A")), yes)]);
    // From inside: everything, and its answers.
    firewall.check_egress([
        ("a connection", back_v4(segment(40000, 80, "S")), yes),
        ("a question", back_v6(Udp::new(40000, 53)), yes),
        ("a ping", back_v4(Icmp::echo_request(IcmpVersion::V4, 7, 1)), yes),
    ]);
    firewall.check_ingress([
        ("the connection is answered", v4(segment(80, 40000, "SA")), yes),
        ("the question is answered", v6(Udp::new(53, 40000)), yes),
        ("the ping is answered", v4(Icmp::echo_reply(IcmpVersion::V4, 7, 1)), yes),
        ("another port answers", v4(segment(81, 40000, "SA")), no),
        ("another port answers the question", v6(Udp::new(54, 40000)), no),
        ("another ping is answered", v4(Icmp::echo_reply(IcmpVersion::V4, 8, 1)), no),
        ("a new connection from an answering port", v4(segment(80, 22222, "S")), no),
    ]);
}

#[rstest]
#[case::by_its_policy("chain c { type filter hook input priority 0; policy drop; }")]
#[case::by_a_rule("chain c { type filter hook input priority 0; policy accept; drop; }")]
#[case::by_a_later_chain(
    "chain c { type filter hook input priority 0; policy drop; accept; }
     chain d { type filter hook input priority 1; policy drop; }"
)]
fn a_dropped_packet_is_not_remembered(#[case] chains: &str) {
    let firewall = Firewall::new(&format!("table inet t {{\n{chains}\n}}"));
    for packet in [v4(syn(22)), v6(syn(22)), v4(Udp::new(1, 2)), v4(Icmp::echo_request(IcmpVersion::V4, 7, 1))] {
        firewall.ingress(&packet).expect_err("it is dropped");
        assert!(firewall.flows().is_empty(), "{packet:?}");
    }
}

/// A SYN that is dropped says nothing: the same one is new again.
#[test]
fn a_dropped_packet_is_new_again() {
    let firewall = Firewall::new(
        "table inet t { chain c { type filter hook input priority 0; policy drop; ct state new counter comment \"new\"; }; }",
    );
    for times in 1..4 {
        firewall.ingress(&v4(syn(22))).expect_err("it is dropped");
        assert_eq!(firewall.rule("new").0, times);
    }
}

/// The rule that let it in is noted in the entry.
#[test]
fn an_entry_names_its_rule() {
    let firewall = Firewall::new(
        "table inet t { chain c {
            type filter hook input priority 0; policy drop;
            tcp dport 21 accept
            tcp dport 22 accept comment \"ssh\"
        }
        }",
    );
    firewall.ingress(&v4(syn(22))).expect("ssh is open");
    let number = firewall.open(|instance| {
        let manifest = instance.manifest().expect("manifest");
        manifest.rules.iter().find(|rule| rule.comment.as_deref() == Some("ssh")).expect("the rule").number
    });
    assert_eq!(firewall.flows()[0].entry.rule, number);
}
