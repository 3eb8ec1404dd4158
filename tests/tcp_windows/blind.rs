//! Somebody who does not see a connection cannot end it or add to it.

use firewall_tests::topology::{CLIENT, CLIENT6, SERVER, SERVER6};
use firewall_user::kernel::Side;
use rstest::rstest;

use super::{
    script::Segment,
    support::{Firewall, sequence::STATES, table::check_rows},
};

const PORT: u16 = 40000;

/// A segment, what it is to a rule, the connection's state behind it.
type Row<'a> = (&'a str, &'a str, &'a str);

const HANDSHAKE: [Row<'static>; 3] = [
    ("> S  0 zero 64000 0 sackok ws7", "new", "SYN_SENT"),
    ("< SA 0 1 64000 0 sackok ws2", "established", "SYN_RECV"),
    ("> A  1 1 1000 0", "established", "ESTABLISHED"),
];

#[track_caller]
fn check(rows: &[Row<'_>]) {
    for is_ipv6 in [false, true] {
        let firewall = Firewall::new(STATES);
        let rows = HANDSHAKE.iter().chain(rows).map(|(text, state, after)| {
            let segment = Segment::read(text, PORT);
            let frame = if is_ipv6 { segment.frame(CLIENT6, SERVER6) } else { segment.frame(CLIENT, SERVER) };
            let side = if segment.forth { Side::Xdp } else { Side::TcEgress };
            let got = (firewall.state_of(side, &frame), firewall.state().unwrap_or("-"));
            ((*text, is_ipv6), ((*state).to_owned(), *after), got)
        });
        check_rows(rows.collect::<Vec<_>>());
    }
}

#[rstest]
#[case::before_the_window(&[("> R -1 zero 0 0", "invalid", "ESTABLISHED")])]
#[case::behind_the_window(&[("> R 900000 zero 0 0", "invalid", "ESTABLISHED")])]
#[case::half_a_circle_away(&[("> R 2147483000 zero 0 0", "invalid", "ESTABLISHED")])]
#[case::the_other_way(&[
    ("< R -5000 zero 0 0", "invalid", "ESTABLISHED"),
    ("< R 900000 zero 0 0", "invalid", "ESTABLISHED"),
])]
#[case::not_exact(&[("> R 500 zero 0 0", "established", "ESTABLISHED")])]
fn a_blind_reset_does_not_end_a_connection(#[case] rows: &[Row<'_>]) {
    let goes_on = [
        ("> PA 1   1   1000 100", "established", "ESTABLISHED"),
        ("< PA 1   101 1000 200", "established", "ESTABLISHED"),
        ("> A  101 201 1000 0", "established", "ESTABLISHED"),
    ];
    check(&[rows, &goes_on].concat());
}

#[rstest]
#[case::the_client("> R 1 zero 0 0")]
#[case::the_server("< R 1 zero 0 0")]
#[case::with_an_acknowledgement("< RA 1 1 0 0")]
fn an_exact_reset_ends_a_connection(#[case] reset: &str) {
    check(&[(reset, "established", "CLOSE")]);
}

#[test]
fn a_reset_behind_its_sender_s_data_ends_a_connection() {
    check(&[("< PA 1 1 1000 500", "established", "ESTABLISHED"), ("< R 501 zero 0 0", "established", "CLOSE")]);
}

#[test]
fn blind_data_is_invalid() {
    check(&[
        ("> PA 900000 1      1000 100", "invalid", "ESTABLISHED"),
        ("> PA 1      900000 1000 100", "invalid", "ESTABLISHED"),
        ("< PA 900000 1      1000 100", "invalid", "ESTABLISHED"),
        ("< FA 900000 1      1000 0", "invalid", "ESTABLISHED"),
        // What was said of nothing cannot be acknowledged.
        ("< A  1      101    1000 0", "invalid", "ESTABLISHED"),
        ("> PA 1      1      1000 100", "established", "ESTABLISHED"),
        ("< A  1      101    1000 0", "established", "ESTABLISHED"),
    ]);
}

/// Segmentation offload cuts a segment after it was judged. (The kernel runs a program over one page at most.)
#[test]
fn a_segment_that_has_yet_to_be_cut() {
    check(&[
        ("< PA 1    1     1000 3000", "established", "ESTABLISHED"),
        ("> A  1    3002  1000 0", "invalid", "ESTABLISHED"),
        ("> A  1    3001  1000 0", "established", "ESTABLISHED"),
        ("< PA 3001 1     1000 3000", "established", "ESTABLISHED"),
        ("> A  1    6001  1000 0", "established", "ESTABLISHED"),
    ]);
}
