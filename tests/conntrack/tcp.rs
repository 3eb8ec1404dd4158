//! TCP: handshakes, ends, and what belongs to no connection.

use firewall_tests::packet::{Frame, Tcp, Udp};
use firewall_user::kernel::Side;
use rstest::rstest;

use super::support::{
    Firewall,
    packets::{back_v4, back_v6, v4, v6},
    sequence::{First, STATES, Step, flags},
};

const CLIENT_PORT: u16 = 40000;
const SERVER_PORT: u16 = 443;

fn segment(letters: &str, comes_in: bool) -> Frame {
    segment_of(CLIENT_PORT, letters, comes_in)
}

/// A segment of the client's port and the server's, one way or the other.
fn segment_of(client: u16, letters: &str, comes_in: bool) -> Frame {
    if comes_in {
        v4(Tcp::new(client, SERVER_PORT, flags(letters)))
    } else {
        back_v4(Tcp::new(SERVER_PORT, client, flags(letters)))
    }
}

fn segment6(letters: &str, comes_in: bool) -> Frame {
    if comes_in {
        v6(Tcp::new(CLIENT_PORT, SERVER_PORT, flags(letters)))
    } else {
        back_v6(Tcp::new(SERVER_PORT, CLIENT_PORT, flags(letters)))
    }
}

const HANDSHAKE: &[Step<'static>] = &[
    ("> S", "new", "SYN_SENT"),
    ("< SA", "established", "SYN_RECV"),
    ("> A", "established", "ESTABLISHED"),
    ("< PA", "established", "ESTABLISHED"),
    ("> PA", "established", "ESTABLISHED"),
];

/// The whole of a sequence, begun by either side, over either family.
#[track_caller]
fn check(begin: &[Step<'_>], steps: &[Step<'_>]) {
    let firewall = Firewall::new(STATES);
    let steps = [begin, steps].concat();
    firewall.check_sequence(First::Outside, |letters, comes_in| segment_of(40001, letters, comes_in), &steps);
    firewall.check_sequence(First::Inside, |letters, comes_in| segment_of(40002, letters, comes_in), &steps);
    firewall.check_sequence(First::Outside, segment6, &steps);
}

#[test]
fn a_handshake() {
    check(HANDSHAKE, &[]);
}

#[rstest]
#[case::the_one_who_began_ends_it(&[
    ("> FA", "established", "FIN_WAIT"),
    ("< A", "established", "CLOSE_WAIT"),
    ("< PA", "established", "CLOSE_WAIT"),
    ("< FA", "established", "LAST_ACK"),
    ("> A", "established", "TIME_WAIT"),
])]
#[case::the_other_one_ends_it(&[
    ("< FA", "established", "FIN_WAIT"),
    ("> A", "established", "CLOSE_WAIT"),
    ("> FA", "established", "LAST_ACK"),
    ("< A", "established", "TIME_WAIT"),
])]
#[case::both_end_it_at_once(&[
    ("> FA", "established", "FIN_WAIT"),
    ("< FA", "established", "LAST_ACK"),
    ("> A", "established", "TIME_WAIT"),
    ("< A", "established", "TIME_WAIT"),
])]
#[case::the_one_who_began_resets_it(&[("> R", "established", "CLOSE"), ("< PA", "established", "CLOSE")])]
#[case::the_other_one_resets_it(&[("< RA", "established", "CLOSE")])]
#[case::reset_while_it_closes(&[("> FA", "established", "FIN_WAIT"), ("< R", "established", "CLOSE")])]
fn an_end(#[case] steps: &[Step<'_>]) {
    check(HANDSHAKE, steps);
}

/// The port is used again before the old connection is forgotten. `nf_conntrack` takes a SYN behind a reset of the other
/// side for a packet of the old connection; here it is new, and the rules are asked.
#[rstest]
#[case::after_its_end(&[
    ("> FA", "established", "FIN_WAIT"),
    ("< FA", "established", "LAST_ACK"),
    ("> A", "established", "TIME_WAIT"),
    ("> S", "new", "SYN_SENT"),
    ("< SA", "established", "SYN_RECV"),
    ("> A", "established", "ESTABLISHED"),
])]
#[case::after_a_reset(&[
    ("< R", "established", "CLOSE"),
    ("> S", "new", "SYN_SENT"),
    ("< SA", "established", "SYN_RECV"),
])]
fn a_port_used_again(#[case] steps: &[Step<'_>]) {
    check(HANDSHAKE, steps);
}

#[rstest]
#[case::refused(&[("> S", "new", "SYN_SENT"), ("< RA", "established", "-"), ("> S", "new", "SYN_SENT")])]
#[case::given_up(&[("> S", "new", "SYN_SENT"), ("> R", "new", "-")])]
#[case::sent_again(&[
    ("> S", "new", "SYN_SENT"),
    ("> S", "new", "SYN_SENT"),
    ("< SA", "established", "SYN_RECV"),
    ("< SA", "established", "SYN_RECV"),
    ("> S", "established", "SYN_RECV"),
    ("> A", "established", "ESTABLISHED"),
    ("> A", "established", "ESTABLISHED"),
])]
#[case::with_congestion_notification(&[
    ("> SEC", "new", "SYN_SENT"),
    ("< SAE", "established", "SYN_RECV"),
    ("> A", "established", "ESTABLISHED"),
])]
#[case::both_begin_at_once(&[
    ("> S", "new", "SYN_SENT"),
    ("< S", "established", "SYN_SENT2"),
    ("> SA", "established", "SYN_RECV"),
    ("< SA", "established", "SYN_RECV"),
    ("> A", "established", "ESTABLISHED"),
])]
#[case::picked_up_in_the_middle(&[
    ("> A", "new", "ESTABLISHED"),
    ("< PA", "established", "ESTABLISHED"),
    ("> PA", "established", "ESTABLISHED"),
])]
fn a_beginning(#[case] steps: &[Step<'_>]) {
    check(&[], steps);
}

#[test]
fn no_connection() {
    let odd = ["SA", "FA", "R", "RA", ".", "FPU", "FSRPAU", "SF", "SR", "F", "P", "FR"];
    let firewall = Firewall::new(STATES);
    for letters in odd {
        for packet in [segment(letters, true), segment6(letters, true)] {
            assert_eq!(firewall.state_of(Side::Xdp, &packet), "invalid", "{letters}");
        }
        for packet in [segment(letters, false), segment6(letters, false)] {
            assert_eq!(firewall.state_of(Side::TcEgress, &packet), "invalid", "{letters}");
        }
        assert!(firewall.flows().is_empty(), "{letters}");
    }
}

#[test]
fn what_cannot_belong_to_a_connection_leaves_it_alone() {
    check(
        HANDSHAKE,
        &[
            ("> SF", "invalid", "ESTABLISHED"),
            ("< .", "invalid", "ESTABLISHED"),
            ("> FPU", "invalid", "ESTABLISHED"),
            ("> SA", "invalid", "ESTABLISHED"),
            ("< S", "invalid", "ESTABLISHED"),
            ("> PA", "established", "ESTABLISHED"),
        ],
    );
    check(
        &[("> S", "new", "SYN_SENT")],
        &[
            ("> A", "invalid", "SYN_SENT"),
            ("> FA", "invalid", "SYN_SENT"),
            ("< FA", "invalid", "SYN_SENT"),
            ("< SA", "established", "SYN_RECV"),
        ],
    );
}

#[test]
fn other_ports_and_protocols_are_other_connections() {
    let firewall = Firewall::new(STATES);
    firewall.check_sequence(First::Outside, segment, HANDSHAKE);
    let ack = |source, destination| v4(Tcp::new(source, destination, flags("SA")));
    for other in [ack(CLIENT_PORT, 444), ack(40001, SERVER_PORT), ack(SERVER_PORT, CLIENT_PORT)] {
        assert_eq!(firewall.state_of(Side::Xdp, &other), "invalid", "{other:?}");
    }
    assert_eq!(firewall.state_of(Side::Xdp, &v4(Udp::new(CLIENT_PORT, SERVER_PORT))), "new");
    let from_elsewhere = super::support::packets::from("192.0.2.3", Tcp::new(CLIENT_PORT, SERVER_PORT, flags("SA")));
    assert_eq!(firewall.state_of(Side::Xdp, &from_elsewhere), "invalid");
    let six = v6(Tcp::new(CLIENT_PORT, SERVER_PORT, flags("SA")));
    assert_eq!(firewall.state_of(Side::Xdp, &six), "invalid");
}

/// Packets and bytes (from the network header on) of each direction: of the one who began, and back.
#[rstest]
#[case(First::Outside)]
#[case(First::Inside)]
fn a_connection_counts_both_directions(#[case] first: First) {
    let firewall = Firewall::new(STATES);
    firewall.check_sequence(first, segment, HANDSHAKE);
    let flows = firewall.flows();
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!((flow.entry.packets, flow.entry.bytes), ([3, 2], [120, 80]));
    // What is invalid is not of the connection.
    assert_eq!(firewall.state_of(Side::Xdp, &segment("SF", true)), "invalid");
    assert_eq!(firewall.flows()[0].entry.packets, [3, 2]);
}
