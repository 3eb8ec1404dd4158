//! Conversations with their numbers, each at every place of the number circle.

use rstest::rstest;

use super::{Connection, Direction, Segment, State, Terms};
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN};

/// Where the two sides begin to count.
const ORIGINS: [(u32, u32); 5] =
    [(1_000_000, 2_000_000), (u32::MAX, 0), (u32::MAX - 50, u32::MAX - 150), (0x7fff_ffff, 0x8000_0000), (0, u32::MAX)];

/// One row: direction, flags, `seq`, `ack`, window, length, then what the SYN offers (`ws7`) or `cut` for a first
/// fragment; behind the bar what a rule sees and the connection's state. `seq` is counted from the sender's first
/// number, `ack` from the receiver's.
fn check(rows: &[&str]) {
    for origins in ORIGINS {
        let mut connection = Connection::NONE;
        for row in rows {
            let (segment, expected) = row.split_once('|').expect("a bar");
            let (direction, segment, offer) = read(segment, origins);
            let ct_state = connection.receive(direction, &segment, offer).name();
            let state = connection.state.map_or("-", State::name);
            let expected: Vec<_> = expected.split_whitespace().collect();
            assert_eq!([ct_state, state], expected[..], "{row} {origins:#x?}\n{connection:#x?}");
        }
    }
}

fn read(text: &str, (client, server): (u32, u32)) -> (Direction, Segment, Terms) {
    let words: Vec<_> = text.split_whitespace().collect();
    let number = |at: usize| words[at].replace('_', "").parse::<i64>().expect("a number") as u32;
    let (direction, ours, theirs) =
        if words[0] == ">" { (Direction::Original, client, server) } else { (Direction::Reply, server, client) };
    let flag = |letter| match letter {
        'S' => SYN,
        'A' => ACK,
        'F' => FIN,
        'R' => RST,
        'P' => PSH,
        other => panic!("no flag {other}"),
    };
    let flags = words[1].chars().map(flag).sum::<u8>();
    let seq = if words[2] == "zero" { 0 } else { ours.wrapping_add(number(2)) };
    let ack = if words[3] == "zero" { 0 } else { theirs.wrapping_add(number(3)) };
    let phantom = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let end = seq.wrapping_add(number(5)).wrapping_add(phantom);
    let last = words.get(6).copied().unwrap_or("");
    let offer = last.strip_prefix("ws").map_or(Terms::NONE, |shift| Terms::scaling(shift.parse().expect("a shift")));
    (direction, Segment { seq, end, ack, window: number(4), flags, is_cut: last == "cut" }, offer)
}

const HANDSHAKE: [&str; 3] = [
    "> S  0    zero  8000  0  | new          SYN_SENT",
    "< SA 0    1     4000  0  | established  SYN_RECV",
    "> A  1    1     8000  0  | established  ESTABLISHED",
];

/// The client scales by 7, the server by 2.
const SCALED: [&str; 3] = [
    "> S  0    zero  64000 0 ws7 | new          SYN_SENT",
    "< SA 0    1     64000 0 ws2 | established  SYN_RECV",
    "> A  1    1     1000  0     | established  ESTABLISHED",
];

#[rstest]
#[case::both_ways(&[
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "< A  1    1001  4000  0    | established ESTABLISHED",
    "< PA 1    1001  4000  2000 | established ESTABLISHED",
    "> A  1001 2001  8000  0    | established ESTABLISHED",
])]
#[case::sent_again(&[
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "< A  1    1001  4000  0    | established ESTABLISHED",
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "< A  1    1001  4000  0    | established ESTABLISHED",
])]
#[case::out_of_order(&[
    "> PA 1001 1     8000  1000 | established ESTABLISHED",
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "< A  1    2001  4000  0    | established ESTABLISHED",
])]
#[case::blind_data(&[
    "> PA 900000    1       8000 100 | invalid     ESTABLISHED",
    "> PA -900000   1       8000 100 | established ESTABLISHED",
    "> PA 1         900000  8000 100 | invalid     ESTABLISHED",
    "> PA 1         -900000 8000 100 | established ESTABLISHED",
    "< A  1         101     4000 0   | invalid     ESTABLISHED",
    "> PA 1         1       8000 100 | established ESTABLISHED",
    "< A  1         101     4000 0   | established ESTABLISHED",
])]
#[case::acknowledges_what_was_not_sent(&[
    "> PA 1    1     8000  1000 | established ESTABLISHED",
    "< A  1    1002  4000  0    | invalid     ESTABLISHED",
    "< A  1    1001  4000  0    | established ESTABLISHED",
])]
#[case::zero_window_and_probes(&[
    "> PA 1    1     8000  4000 | established ESTABLISHED",
    "< A  1    4001  0     0    | established ESTABLISHED",
    "> A  4001 1     8000  1    | established ESTABLISHED",
    "< A  1    4001  0     0    | established ESTABLISHED",
    "> A  4000 1     8000  0    | established ESTABLISHED",
    "< A  1    4001  0     0    | established ESTABLISHED",
    "> PA 4003 1     8000  1    | established ESTABLISHED",
    "< A  1    4001  4000  0    | established ESTABLISHED",
    "> PA 4001 1     8000  1000 | established ESTABLISHED",
])]
#[case::keep_alive(&[
    "> A  0    1     8000  0    | established ESTABLISHED",
    "< A  1    1     4000  0    | established ESTABLISHED",
    "> A  0    1     8000  1    | established ESTABLISHED",
])]
#[case::more_than_it_may(&[
    "> PA 4001 1     8000  1000 | established ESTABLISHED",
    "> PA 6002 1     8000  1000 | established ESTABLISHED",
    "< A  1    7002  4000  0    | established ESTABLISHED",
])]
#[case::closed(&[
    "> FA 1    1     8000  100  | established FIN_WAIT",
    "< A  1    102   4000  0    | established CLOSE_WAIT",
    "< FA 1    102   4000  200  | established LAST_ACK",
    "> A  102  202   8000  0    | established TIME_WAIT",
    "> S  900  zero  8000  0    | new         SYN_SENT",
])]
#[case::a_fin_out_of_the_window(&[
    "> FA 900000 1   8000  0    | invalid     ESTABLISHED",
    "< FA 1    900   4000  0    | invalid     ESTABLISHED",
    "> FA 1    1     8000  0    | established FIN_WAIT",
])]
#[case::a_fin_that_is_old(&[
    "> PA 1    1     8000  4000 | established ESTABLISHED",
    "> FA -99  1     8000  0    | established ESTABLISHED",
])]
#[case::cut_into_fragments(&[
    "> A  1    1     8000  1000 cut | established ESTABLISHED",
    "< A  1    2501  4000  0        | established ESTABLISHED",
    "> A  2501 1     8000  1000     | established ESTABLISHED",
    "< A  1    3501  4000  0        | established ESTABLISHED",
])]
#[case::a_fragment_out_of_the_window(&[
    "> A  90000 1    8000  1000 cut | invalid     ESTABLISHED",
    "> A  90000 1    8000  1000     | invalid     ESTABLISHED",
])]
fn established(#[case] rows: &[&str]) {
    check(&[&HANDSHAKE, rows].concat());
}

#[rstest]
#[case::as_far_as_the_server_allows(&[
    "> PA 1       1  1000  0     | established ESTABLISHED",
    "< A  1       1  50000 0     | established ESTABLISHED",
    "> PA 200001  1  1000  100   | established ESTABLISHED",
])]
#[case::farther(&[
    "< A  1       1  50000 0     | established ESTABLISHED",
    "> PA 400101  1  1000  100   | invalid     ESTABLISHED",
])]
#[case::as_far_as_the_client_allows(&["< PA 128001  1 50000 100 | established ESTABLISHED"])]
#[case::as_farther_than_the_client_allows(&["< PA 300001  1 50000 100 | invalid ESTABLISHED"])]
fn scaled(#[case] rows: &[&str]) {
    check(&[&SCALED, rows].concat());
}

/// RFC 7323 section 2.2: both sides or none.
#[rstest]
#[case::the_client_alone("ws7", "")]
#[case::the_server_alone("", "ws7")]
fn scaled_by_one_side_is_not_scaled(#[case] client: &str, #[case] server: &str) {
    check(&[
        &format!("> S  0    zero  1000 0 {client} | new SYN_SENT"),
        &format!("< SA 0    1     1000 0 {server} | established SYN_RECV"),
        "> A  1    1     1000  0     | established ESTABLISHED",
        "< PA 1001 1     1000  0     | established ESTABLISHED",
        "< PA 3001 1     1000  0     | invalid     ESTABLISHED",
        "> PA 1001 1001  1000  0     | established ESTABLISHED",
        "> PA 3001 1001  1000  0     | invalid     ESTABLISHED",
    ]);
}

/// RFC 5961 section 3, as `nf_conntrack` has it.
#[rstest]
#[case::exact(&["> R 1 zero 0 0 | established CLOSE"])]
#[case::exact_by_the_other_side(&["< R 1 zero 0 0 | established CLOSE"])]
#[case::behind_the_data(&[
    "< PA 1   1     4000  500 | established ESTABLISHED",
    "< R  501 zero  0     0   | established CLOSE",
])]
#[case::in_the_window_but_not_exact(&[
    "< R  100 zero  0     0   | established ESTABLISHED",
    "> A  1   1     8000  0   | established ESTABLISHED",
    "< PA 1   1     4000  500 | established ESTABLISHED",
])]
#[case::behind_the_window(&["< R 8002 zero 0 0 | established ESTABLISHED", "< R 90000 zero 0 0 | invalid ESTABLISHED"])]
#[case::before_what_was_acknowledged(&[
    "< R 0 zero 0 0 | invalid ESTABLISHED",
    "< R -900000 zero 0 0 | invalid ESTABLISHED",
])]
#[case::acknowledges_what_was_not_sent(&["< RA 1 900 0 0 | invalid ESTABLISHED"])]
#[case::acknowledges_zero(&["< RA 1 zero 0 0 | established CLOSE"])]
#[case::a_closing_connection_takes_any(&[
    "> FA 1 1 8000 0 | established FIN_WAIT",
    "< R -900000 zero 0 0 | established CLOSE",
])]
fn resets(#[case] rows: &[&str]) {
    check(&[&HANDSHAKE, rows].concat());
}

#[rstest]
#[case::refused(&[
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "< RA zero 1     0     0 | established  -",
])]
#[case::given_up(&[
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "> R  1    zero  0     0 | new          -",
])]
#[case::in_mid_stream_and_reset(&[
    "> A  1    1     8000  0 | new          ESTABLISHED",
    "< R  1    zero  0     0 | established  -",
])]
#[case::refused_by_somebody_who_did_not_see_it(&[
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "< RA zero 900   0     0 | invalid      SYN_SENT",
    "< SA 0    1     4000  0 | established  SYN_RECV",
])]
#[case::answered_by_somebody_who_did_not_see_it(&[
    "> S  0      zero  8000  0 | new          SYN_SENT",
    "< SA 500000 900   4000  0 | invalid      SYN_SENT",
    "< SA 0      1     4000  0 | established  SYN_RECV",
    "> A  1      1     8000  0 | established  ESTABLISHED",
])]
#[case::sent_again(&[
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "< SA 0    1     4000  0 | established  SYN_RECV",
    "> A  1    1     8000  0 | established  ESTABLISHED",
])]
#[case::sent_again_with_other_numbers(&[
    "> S  0    zero  8000  0     | new          SYN_SENT",
    "> S  9000 zero  8000  0     | new          SYN_SENT",
    "< SA 0    9001  4000  0     | established  SYN_RECV",
    "> A  9001 1     8000  0     | established  ESTABLISHED",
])]
#[case::both_begin(&[
    "> S  0    zero  8000  0 | new          SYN_SENT",
    "< S  0    zero  4000  0 | established  SYN_SENT2",
    "> SA 0    1     8000  0 | established  SYN_RECV",
    "< SA 0    1     4000  0 | established  SYN_RECV",
    "> A  1    1     8000  0 | established  ESTABLISHED",
])]
#[case::with_data_in_it(&[
    "> S  0    zero  8000  100 | new          SYN_SENT",
    "< SA 0    101   4000  0   | established  SYN_RECV",
    "> A  101  1     8000  0   | established  ESTABLISHED",
])]
fn beginnings(#[case] rows: &[&str]) {
    check(rows);
}

/// The connection is gone at both ends, and its ports are used again.
#[rstest]
#[case::both_agree(&[
    "> S  5000000  zero    8000 0 ws7 | established ESTABLISHED",
    "< SA 7000000  5000001 4000 0 ws2 | established SYN_RECV",
    "> A  5000001  7000001 1000 0     | established ESTABLISHED",
    "< PA 7128001  5000001 4000 100   | established ESTABLISHED",
])]
#[case::the_answer_is_to_something_else(&[
    "> S  5000000  zero    8000 0 | established ESTABLISHED",
    "< SA 7000000  5000009 4000 0 | established ESTABLISHED",
    "< SA 7000000  5000001 4000 0 | established ESTABLISHED",
    "< PA 7000001  5000001 4000 9 | invalid     ESTABLISHED",
    "> A  1        1       8000 0 | established ESTABLISHED",
])]
#[case::no_answer_without_a_question(&[
    "< SA 7000000  5000001 4000 0 | established ESTABLISHED",
    "< PA 7000001  5000001 4000 9 | invalid     ESTABLISHED",
])]
#[case::the_other_end_refuses(&[
    "> S  5000000  zero    8000 0 | established ESTABLISHED",
    "< RA zero     5000001 0    0 | established CLOSE",
    "> S  5000000  zero    8000 0 | new         SYN_SENT",
])]
#[case::somebody_else_refuses(&[
    "> S  5000000  zero    8000 0 | established ESTABLISHED",
    "< RA 99000    5000007 0    0 | invalid     ESTABLISHED",
])]
#[case::the_other_end_still_has_it(&[
    "> S  5000000  zero    8000 0 | established ESTABLISHED",
    "< A  1        1       4000 0 | established ESTABLISHED",
    "> R  1        zero    0    0 | established CLOSE",
    "> S  5000000  zero    8000 0 | new         SYN_SENT",
    "< SA 7000000  5000001 4000 0 | established SYN_RECV",
])]
#[case::a_challenge_is_no_last_acknowledgement(&[
    "> FA 1        1       8000 0 | established FIN_WAIT",
    "< FA 1        2       4000 0 | established LAST_ACK",
    "> S  5000000  zero    8000 0 | established LAST_ACK",
    "< A  2        2       4000 0 | established LAST_ACK",
    "> A  2        2       8000 0 | established TIME_WAIT",
])]
fn out_of_step(#[case] rows: &[&str]) {
    check(&[&HANDSHAKE, rows].concat());
}

/// The firewall forgot the connection, the server did not: it says where it is, and the client denies that it is there.
#[test]
fn an_old_connection_that_the_client_disowns() {
    check(&[
        "> S  0       zero    8000 0 | new          SYN_SENT",
        "< A  5000000 7000000 4000 0 | established  SYN_SENT",
        "> R  6000000 zero    0    0 | invalid      SYN_SENT",
        "> R  7000000 zero    0    0 | established  CLOSE",
    ]);
}

/// How windows are scaled was said before: nothing is out of the window, but resets still are.
#[test]
fn picked_up_in_mid_stream() {
    check(&[
        "> A  1       1       10   0   | new          ESTABLISHED",
        "< PA 1       1       10   100 | established  ESTABLISHED",
        "< PA 500000  1       10   100 | established  ESTABLISHED",
        "> A  1       500100  10   0   | established  ESTABLISHED",
        "> PA 900000  500100  10   0   | established  ESTABLISHED",
        "> R  0       zero    0    0   | invalid      ESTABLISHED",
        "> R  1       zero    0    0   | established  CLOSE",
    ]);
}
