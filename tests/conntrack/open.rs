//! Protocols without a handshake: UDP, pings, the rest.

use std::{
    thread,
    time::{Duration, Instant},
};

use firewall_tests::packet::{Frame, Icmp, IcmpVersion, Udp, Upper};
use firewall_user::kernel::Side;
use rstest::rstest;

use super::support::{
    Firewall,
    packets::{back_v4, back_v6, v4, v6},
    sequence::{First, STATES, Step},
    table::check_rows,
};

const BOTH: [First; 2] = [First::Outside, First::Inside];

#[track_caller]
fn check(packet: impl Fn(&str, bool) -> Frame, steps: &[Step<'_>]) {
    for first in BOTH {
        Firewall::new(STATES).check_sequence(first, &packet, steps);
    }
}

fn datagram(_: &str, comes_in: bool) -> Frame {
    if comes_in { v4(Udp::new(40000, 53)) } else { back_v4(Udp::new(53, 40000)) }
}

fn datagram6(_: &str, comes_in: bool) -> Frame {
    if comes_in { v6(Udp::new(40000, 53)) } else { back_v6(Udp::new(53, 40000)) }
}

/// An ICMP message of `version`: `request 7` has identifier 7.
fn message(version: IcmpVersion) -> impl Fn(&str, bool) -> Frame {
    move |text, comes_in| {
        let (kind, id) = text.split_once(' ').expect("a kind and an identifier");
        let id = id.parse().expect("an identifier");
        let message = match kind {
            "request" => Icmp::echo_request(version, id, 1),
            "reply" => Icmp::echo_reply(version, id, 1),
            _ => panic!("{text}"),
        };
        match (version, comes_in) {
            (IcmpVersion::V4, true) => v4(message),
            (IcmpVersion::V4, false) => back_v4(message),
            (IcmpVersion::V6, true) => v6(message),
            (IcmpVersion::V6, false) => back_v6(message),
        }
    }
}

const ONE_WAY_AND_BACK: &[Step<'static>] = &[
    (">", "new", "UNREPLIED"),
    (">", "new", "UNREPLIED"),
    ("<", "established", "REPLIED"),
    (">", "established", "REPLIED"),
    ("<", "established", "REPLIED"),
];

#[test]
fn a_datagram_and_its_answer() {
    check(datagram, ONE_WAY_AND_BACK);
    check(datagram6, ONE_WAY_AND_BACK);
}

/// One that goes both ways for two seconds is a lasting one.
#[test]
fn a_stream_of_datagrams() {
    let firewall = Firewall::new(STATES);
    firewall.check_sequence(First::Outside, datagram, ONE_WAY_AND_BACK);
    let deadline = Instant::now() + Duration::from_secs(30);
    while firewall.state() != Some("STREAM") {
        assert!(Instant::now() < deadline, "it stays {:?}", firewall.state());
        thread::sleep(Duration::from_millis(100));
        firewall.ingress(&datagram("", true)).expect("everything passes");
    }
    assert_eq!(firewall.state_of(Side::TcEgress, &datagram("", false)), "established");
    assert_eq!(firewall.state(), Some("STREAM"));
}

#[test]
fn an_unanswered_datagram_never_becomes_a_stream() {
    let firewall = Firewall::new(STATES);
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        assert_eq!(firewall.state_of(Side::Xdp, &datagram("", true)), "new");
        assert_eq!(firewall.state(), Some("UNREPLIED"));
        thread::sleep(Duration::from_millis(200));
    }
}

/// A packet of a protocol whose header begins with two ports, or does not have any.
fn raw(protocol: u8) -> impl Fn(&str, bool) -> Frame {
    move |_, comes_in| {
        let ports: [u16; 2] = if comes_in { [5, 6] } else { [6, 5] };
        let upper = Upper::Raw(protocol, [&ports.map(u16::to_be_bytes).concat()[..], &[0; 12]].concat());
        if comes_in { v4(upper) } else { back_v4(upper) }
    }
}

#[rstest]
#[case::esp(50)]
#[case::dccp(33)]
#[case::udp_lite(136)]
fn protocols_that_are_not_followed(#[case] protocol: u8) {
    check(raw(protocol), ONE_WAY_AND_BACK);
}

/// GRE that was answered is a lasting flow at once (`nf_conntrack_proto_gre.c`).
#[test]
fn a_tunnel() {
    check(
        raw(47),
        &[
            (">", "new", "UNREPLIED"),
            (">", "new", "UNREPLIED"),
            ("<", "established", "REPLIED"),
            (">", "established", "STREAM"),
            ("<", "established", "STREAM"),
        ],
    );
}

#[rstest]
#[case(IcmpVersion::V4)]
#[case(IcmpVersion::V6)]
fn a_ping_and_its_answer(#[case] version: IcmpVersion) {
    check(
        message(version),
        &[
            ("> request 7", "new", "UNREPLIED"),
            ("> request 7", "new", "UNREPLIED"),
            ("< reply 7", "established", "REPLIED"),
            ("> request 7", "established", "REPLIED"),
            ("< reply 7", "established", "REPLIED"),
        ],
    );
}

#[rstest]
#[case(IcmpVersion::V4)]
#[case(IcmpVersion::V6)]
fn an_answer_belongs_to_its_request(#[case] version: IcmpVersion) {
    check(
        message(version),
        &[
            ("> reply 7", "invalid", "-"),
            ("> request 7", "new", "UNREPLIED"),
            ("< reply 8", "invalid", "UNREPLIED"),
            // Nobody answers himself.
            ("> reply 7", "invalid", "UNREPLIED"),
            ("< reply 7", "established", "REPLIED"),
            ("> reply 7", "invalid", "REPLIED"),
        ],
    );
}

/// Whoever was pinged may not send pings back as if they were answers, whatever the identifier: each side asks for
/// itself.
#[rstest]
#[case(IcmpVersion::V4)]
#[case(IcmpVersion::V6)]
fn a_request_is_no_answer(#[case] version: IcmpVersion) {
    let firewall = Firewall::new(STATES);
    let packet = message(version);
    // Among them the numbers of the types themselves.
    for id in [0, 7, 8, 128, 129, 2048, 65535] {
        let request = |comes_in| packet(&format!("request {id}"), comes_in);
        let reply = |comes_in| packet(&format!("reply {id}"), comes_in);
        let steps = [
            ("ours", firewall.state_of(Side::TcEgress, &request(false)), "new"),
            ("theirs", firewall.state_of(Side::Xdp, &request(true)), "new"),
            ("the answer to ours", firewall.state_of(Side::Xdp, &reply(true)), "established"),
            ("the answer to theirs", firewall.state_of(Side::TcEgress, &reply(false)), "established"),
        ];
        check_rows(steps.map(|(what, got, wanted)| ((what, id), wanted.to_owned(), got)));
    }
}

#[rstest]
#[case::timestamp(13, 14)]
#[case::information(15, 16)]
#[case::address_mask(17, 18)]
fn other_queries(#[case] request: u8, #[case] answer: u8) {
    let query = |text: &str, comes_in: bool| {
        let kind = if text == "request" { request } else { answer };
        let message = Icmp { rest: 7 << 16, ..Icmp::v4(kind, 0) };
        if comes_in { v4(message) } else { back_v4(message) }
    };
    check(
        query,
        &[("> answer", "invalid", "-"), ("> request", "new", "UNREPLIED"), ("< answer", "established", "REPLIED")],
    );
}

/// An answer to one kind of query is none to another with the same identifier.
#[test]
fn queries_are_not_mixed_up() {
    let firewall = Firewall::new(STATES);
    let message = |kind| Icmp { rest: 7 << 16, ..Icmp::v4(kind, 0) };
    assert_eq!(firewall.state_of(Side::TcEgress, &back_v4(message(13))), "new");
    assert_eq!(firewall.state_of(Side::Xdp, &v4(message(0))), "invalid", "an echo reply");
    assert_eq!(firewall.state_of(Side::Xdp, &v4(message(14))), "established", "a timestamp reply");
}

/// Multicast listener and neighbour discovery belong to no connection, as for `nf_conntrack`.
#[test]
fn neighbour_discovery_is_not_tracked() {
    let firewall = Firewall::new(STATES);
    for kind in [130, 131, 132, 133, 134, 135, 136, 143] {
        assert_eq!(firewall.state_of(Side::Xdp, &v6(Icmp::v6(kind, 0))), "untracked", "type {kind}, in");
        assert_eq!(firewall.state_of(Side::TcEgress, &back_v6(Icmp::v6(kind, 0))), "untracked", "type {kind}, out");
    }
    for kind in [137, 141, 142, 144, 200, 255] {
        assert_eq!(firewall.state_of(Side::Xdp, &v6(Icmp::v6(kind, 0))), "invalid", "type {kind}");
    }
    // ICMP of the other family is tracked as any message there: its types mean something else.
    assert_eq!(firewall.state_of(Side::Xdp, &v4(Icmp::v4(135, 0))), "invalid");
    assert!(firewall.flows().is_empty());
}
