//! The whole transition table, as rows a person can compare with their source, and conversations that run through it.

use proptest::prelude::*;
use rstest::rstest;

use super::{
    Direction, Phase, SEGMENTS, Segment, State, Step, TABLE, Timeout, acknowledges_both, encode, look_up, segment_of,
    start, transition, update,
};
use crate::{
    conntrack::{Change, CtState, Effect, Timeouts, noted, seen, ticks_of_seconds},
    wire::tcp::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG},
};

/// The columns of [`ROWS`], with the letters that stand for them.
const PHASES: [(&str, Phase); 10] = [
    ("--", Phase::Free),
    ("SS", Phase::SynSent),
    ("S2", Phase::SynSent2),
    ("SR", Phase::SynRecv),
    ("ES", Phase::Established),
    ("FW", Phase::FinWait),
    ("CW", Phase::CloseWait),
    ("LA", Phase::LastAck),
    ("TW", Phase::TimeWait),
    ("CL", Phase::Close),
];

/// One line a direction and segment, one column a phase. `IV` is invalid, `IG` accepted without a change, `NW` a new
/// connection on the old tuple.
///
/// Source: the table of `nf_conntrack_proto_tcp.c` (Linux 6.18), whose `sIV` is `IV`, `sIG` is `IG` and whose two ways
/// from `TIME_WAIT` and `CLOSE` back to `SYN_SENT` are `NW`. In brackets what RFC 9293 says of the same.
#[rustfmt::skip]
const ROWS: [(Direction, Segment, &str, &str); 12] = [
    //                                       --  SS  S2  SR  ES  FW  CW  LA  TW  CL
    // A connection starts (3.5, figure 6); a SYN in a connection that stands is answered by a challenge ACK
    // (3.10.7.4) and changes nothing; one after its end reopens it (3.6.1, MAY-2).
    (Direction::Original, Segment::Syn,    "SS  SS  S2  IG  IG  IG  IG  IG  NW  NW", "syn, original"),
    // The side that opened answers a SYN only when both opened at once (3.5, figure 7).
    (Direction::Original, Segment::SynAck, "IV  IV  SR  SR  IV  IV  IV  IV  IV  IV", "synack, original"),
    // A close (3.6, figure 12), or its second half; a retransmitted FIN changes nothing.
    (Direction::Original, Segment::Fin,    "IV  IV  IV  FW  FW  LA  LA  LA  TW  CL", "fin, original"),
    // The third segment of the handshake (figure 6), and everything after it; from nothing: picked up in mid-stream.
    (Direction::Original, Segment::Ack,    "ES  IV  IV  ES  ES  CW  CW  TW  TW  CL", "ack, original"),
    // A reset ends every connection (3.5.3).
    (Direction::Original, Segment::Rst,    "IV  CL  CL  CL  CL  CL  CL  CL  CL  CL", "rst, original"),
    (Direction::Original, Segment::Odd,    "IV  IV  IV  IV  IV  IV  IV  IV  IV  IV", "none, original"),
    // Both open at once (figure 7), or a connection is reopened from the other side.
    (Direction::Reply,    Segment::Syn,    "IV  S2  S2  IV  IV  IV  IV  IV  NW  IV", "syn, reply"),
    // The second segment of the handshake (figure 6); later ones are retransmitted.
    (Direction::Reply,    Segment::SynAck, "IV  SR  SR  IG  IG  IG  IG  IG  IG  IG", "synack, reply"),
    (Direction::Reply,    Segment::Fin,    "IV  IV  IV  FW  FW  LA  LA  LA  TW  CL", "fin, reply"),
    // Before the handshake: the other side has an old connection and says so (3.5.1, figure 9).
    (Direction::Reply,    Segment::Ack,    "IV  IG  IG  SR  ES  CW  CW  TW  TW  CL", "ack, reply"),
    (Direction::Reply,    Segment::Rst,    "IV  CL  CL  CL  CL  CL  CL  CL  CL  CL", "rst, reply"),
    (Direction::Reply,    Segment::Odd,    "IV  IV  IV  IV  IV  IV  IV  IV  IV  IV", "none, reply"),
];

fn step_of(word: &str) -> Step {
    match word {
        "IV" => Step::Invalid,
        "IG" => Step::Stay,
        "NW" => Step::Reopen,
        letters => Step::To(phase_of(letters)),
    }
}

fn phase_of(letters: &str) -> Phase {
    PHASES.iter().find(|(known, _)| *known == letters).expect("a phase's letters").1
}

#[test]
fn transitions_are_those_of_the_table() {
    for (direction, segment, row, name) in ROWS {
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words.len(), PHASES.len(), "{name}");
        for (word, (letters, phase)) in words.into_iter().zip(PHASES) {
            assert_eq!(transition(direction, segment, phase), step_of(word), "{name} in {letters}");
        }
    }
}

#[test]
fn the_table_in_the_program_is_the_function() {
    let mut rest = TABLE;
    for direction in [Direction::Original, Direction::Reply] {
        for segment in SEGMENTS {
            for (letters, phase) in PHASES {
                let reply = usize::from(direction == Direction::Reply) << 7;
                let at = reply | (segment as usize) << 4 | phase as usize;
                assert_eq!(TABLE[at], encode(transition(direction, segment, phase)), "{segment:?} in {letters}");
                rest[at] = encode(Step::Invalid);
            }
        }
    }
    assert_eq!(rest, [encode(Step::Invalid); 256], "what is no direction, segment and phase is invalid");
}

#[test]
fn steps_are_told_apart_by_their_bytes() {
    let mut steps = vec![Step::Stay, Step::Invalid, Step::Reopen];
    steps.extend(PHASES.map(|(_, phase)| Step::To(phase)));
    for (index, step) in steps.iter().enumerate() {
        assert!(steps[..index].iter().all(|other| encode(*other) != encode(*step)), "{step:?}");
    }
}

/// `tcp_valid_flags` of `nf_conntrack_proto_tcp.c`, and what `get_conntrack_index` makes of them.
#[rstest]
#[case(SYN, Segment::Syn)]
#[case(SYN | URG, Segment::Syn)]
#[case(SYN | ACK, Segment::SynAck)]
#[case(RST, Segment::Rst)]
#[case(RST | ACK, Segment::Rst)]
#[case(FIN | ACK, Segment::Fin)]
#[case(FIN | ACK | URG, Segment::Fin)]
#[case(ACK, Segment::Ack)]
#[case(ACK | URG, Segment::Ack)]
fn flags_make_a_segment(#[case] flags: u8, #[case] segment: Segment) {
    for extra in [0, PSH, ECE, CWR, PSH | ECE, ECE | CWR, PSH | ECE | CWR] {
        assert_eq!(segment_of(flags | extra), segment, "{:#04x}", flags | extra);
    }
}

#[test]
fn any_other_flags_make_no_segment() {
    let valid = [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    let odd = |flags: &u8| !valid.contains(&(flags & (FIN | SYN | RST | ACK | URG)));
    let odd: Vec<_> = (0..=u8::MAX).filter(odd).collect();
    assert_eq!(odd.len(), 256 - 9 * 8);
    for flags in odd {
        assert_eq!(segment_of(flags), Segment::Odd, "{flags:#04x}");
    }
}

#[test]
fn only_a_syn_or_an_ack_starts_a_connection() {
    for flags in 0..=u8::MAX {
        let expected = match segment_of(flags) {
            Segment::Syn => Some(Phase::SynSent),
            Segment::Ack => Some(Phase::Established),
            Segment::SynAck | Segment::Fin | Segment::Rst | Segment::Odd => None,
        };
        assert_eq!(start(flags), expected, "{flags:#04x}");
    }
}

/// `tcp_timeouts` of `nf_conntrack_proto_tcp.c`.
#[rstest]
#[case("SS", 120)]
#[case("S2", 120)]
#[case("SR", 60)]
#[case("ES", 5 * 24 * 3600)]
#[case("FW", 120)]
#[case("CW", 60)]
#[case("LA", 30)]
#[case("TW", 120)]
#[case("CL", 10)]
fn a_phase_lasts_so_many_seconds(#[case] letters: &str, #[case] seconds: u32) {
    let phase = phase_of(letters);
    assert_eq!(Timeout::of_tcp(phase) as u8, phase as u8, "a lifetime has the number of its phase");
    assert_eq!(Timeouts::DEFAULT.ticks(phase as u32), ticks_of_seconds(seconds));
}

/// A connection as the state table keeps it, run through segments such as `> SYN` (original) and `< SYN,ACK` (reply).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection(Option<State>);

impl Connection {
    /// What the packet was, as a rule would see it, and what became of the connection.
    fn receive(self, direction: Direction, flags: u8) -> (CtState, Self) {
        let Some(state) = self.0 else {
            return match start(flags) {
                Some(phase) => (CtState::New, Self(Some(State::new(phase)))),
                None => (CtState::Invalid, self),
            };
        };
        let change = update(state, flags, direction);
        match change.effect {
            Effect::Move | Effect::Stay => (seen(state, direction), Self(Some(change.state))),
            Effect::Invalid => (CtState::Invalid, self),
            Effect::Reopen => Self(None).receive(Direction::Original, flags),
        }
    }
}

fn flags_of(words: &str) -> u8 {
    words.split(',').fold(0, |flags, word| {
        flags
            | match word {
                "SYN" => SYN,
                "ACK" => ACK,
                "FIN" => FIN,
                "RST" => RST,
                "PSH" => PSH,
                other => panic!("no flag {other}"),
            }
    })
}

/// Each line: direction and flags, what a rule sees, the connection's name afterwards, `!` when it is assured.
#[rstest]
#[case::opened_and_closed(&[
    "> SYN      new          SYN_SENT",
    "< SYN,ACK  established  SYN_RECV",
    "> ACK      established  ESTABLISHED !",
    "> PSH,ACK  established  ESTABLISHED !",
    "< ACK      established  ESTABLISHED !",
    "> FIN,ACK  established  FIN_WAIT !",
    "< ACK      established  CLOSE_WAIT !",
    "< FIN,ACK  established  LAST_ACK !",
    "> ACK      established  TIME_WAIT !",
])]
#[case::both_close_at_once(&[
    "> SYN      new          SYN_SENT",
    "< SYN,ACK  established  SYN_RECV",
    "> ACK      established  ESTABLISHED !",
    "> FIN,ACK  established  FIN_WAIT !",
    "< FIN,ACK  established  LAST_ACK !",
    "> ACK      established  TIME_WAIT !",
    "< ACK      established  TIME_WAIT !",
])]
#[case::both_open_at_once(&[
    "> SYN      new          SYN_SENT",
    "< SYN      established  SYN_SENT2",
    "> SYN,ACK  established  SYN_RECV",
    "< SYN,ACK  established  SYN_RECV",
    "> ACK      established  ESTABLISHED !",
])]
#[case::both_open_at_once_and_the_other_end_acknowledges(&[
    "> SYN      new          SYN_SENT",
    "< SYN      established  SYN_SENT2",
    "> SYN,ACK  established  SYN_RECV",
    "< ACK      established  ESTABLISHED !",
    "> SYN,ACK  invalid      ESTABLISHED !",
])]
#[case::refused(&[
    "> SYN      new          SYN_SENT",
    "< RST,ACK  established  CLOSE",
    "> ACK      established  CLOSE",
])]
#[case::unanswered(&[
    "> SYN      new          SYN_SENT",
    "> SYN      new          SYN_SENT",
    "> ACK      invalid      SYN_SENT",
    "> FIN,ACK  invalid      SYN_SENT",
])]
#[case::handshake_segments_sent_again(&[
    "> SYN      new          SYN_SENT",
    "< SYN,ACK  established  SYN_RECV",
    "> SYN      established  SYN_RECV",
    "< SYN,ACK  established  SYN_RECV",
    "> ACK      established  ESTABLISHED !",
    "< SYN,ACK  established  ESTABLISHED !",
    "> SYN      established  ESTABLISHED !",
])]
#[case::the_server_has_an_old_connection(&[
    "> SYN      new          SYN_SENT",
    "< ACK      established  SYN_SENT",
])]
#[case::a_client_cannot_answer_itself(&[
    "> SYN      new          SYN_SENT",
    "> SYN,ACK  invalid      SYN_SENT",
    "> ACK      invalid      SYN_SENT",
])]
#[case::a_server_cannot_open_within_a_connection(&[
    "> SYN      new          SYN_SENT",
    "< SYN,ACK  established  SYN_RECV",
    "> ACK      established  ESTABLISHED !",
    "< SYN      invalid      ESTABLISHED !",
    "> SYN,ACK  invalid      ESTABLISHED !",
])]
#[case::picked_up_in_mid_stream(&[
    "> ACK      new          ESTABLISHED",
    "> PSH,ACK  new          ESTABLISHED",
    "< ACK      established  ESTABLISHED",
    "> ACK      established  ESTABLISHED !",
])]
#[case::reopened_after_time_wait(&[
    "> ACK      new          ESTABLISHED",
    "< FIN,ACK  established  FIN_WAIT",
    "> FIN,ACK  established  LAST_ACK",
    "< ACK      established  TIME_WAIT",
    "> SYN      new          SYN_SENT",
])]
#[case::reopened_after_reset_by_its_client_only(&[
    "> SYN      new          SYN_SENT",
    "< RST,ACK  established  CLOSE",
    "< SYN      invalid      CLOSE",
    "> SYN      new          SYN_SENT",
])]
#[case::nothing_but_a_start_starts(&[
    "> SYN,ACK  invalid      -",
    "> FIN,ACK  invalid      -",
    "> RST      invalid      -",
    "> SYN,FIN  invalid      -",
])]
fn conversations(#[case] lines: &[&str]) {
    let mut connection = Connection(None);
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        let direction = if words[0] == ">" { Direction::Original } else { Direction::Reply };
        let (ct_state, next) = connection.receive(direction, flags_of(words[1]));
        assert_eq!(ct_state.name(), words[2], "{line}");
        assert_eq!(next.0.map_or("-", State::name), words[3], "{line}");
        assert_eq!(next.0.is_some_and(State::is_assured), words.get(4) == Some(&"!"), "{line}");
        connection = next;
    }
}

fn any_segment() -> impl Strategy<Value = (Direction, u8)> {
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    let likely = prop::sample::select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, PSH | ACK]);
    (direction, prop_oneof![5 => likely, 1 => any::<u8>()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// `Move` goes where the table says, `Stay` notes an answer, `Invalid` and `Reopen` leave the state alone.
    #[test]
    fn any_byte_of_state_takes_any_segment(byte in any::<u8>(), (direction, flags) in any_segment()) {
        let state = State(byte);
        let change = update(state, flags, direction);
        let step = look_up(direction, flags, state.phase());
        let next = change.state;
        match change.effect {
            Effect::Move => {
                let step = if acknowledges_both(state, step, flags, direction) { Phase::Established as u8 } else { step };
                prop_assert_eq!(next.phase(), step);
                let special = [Change::KEEP, Timeout::Unacknowledged as u32];
                prop_assert!(change.timeout == u32::from(step) || special.contains(&change.timeout));
                prop_assert!(next.is_replied() || direction == Direction::Original);
                prop_assert!(!state.is_replied() || next.is_replied(), "an answer is not forgotten");
                prop_assert!(!state.is_assured() || next.is_assured(), "nor that it is worth keeping");
            }
            Effect::Stay => {
                prop_assert_eq!(step, encode(Step::Stay));
                prop_assert_eq!(next, noted(state, direction));
            }
            Effect::Invalid => prop_assert_eq!((step, next), (encode(Step::Invalid), state)),
            Effect::Reopen => prop_assert_eq!((step, next), (encode(Step::Reopen), state)),
        }
    }

    #[test]
    fn a_connection_is_assured_only_by_a_whole_handshake(
        segments in prop::collection::vec(any_segment(), 0..40),
    ) {
        let mut connection = Connection(None).receive(Direction::Original, SYN).1;
        let (mut answered, mut confirmed) = (false, false);
        for (direction, flags) in segments {
            let state = connection.0.expect("it began");
            if update(state, flags, direction).effect == Effect::Reopen {
                break;
            }
            let (_, next) = connection.receive(direction, flags);
            let segment = segment_of(flags);
            answered |= direction == Direction::Reply && matches!(segment, Segment::Syn | Segment::SynAck);
            let may = direction == Direction::Original || state.is_opened_by_both();
            confirmed |= answered && may && segment == Segment::Ack;
            connection = next;
            let state = connection.0.expect("it began");
            prop_assert!(!state.is_assured() || confirmed, "{}", state.name());
            prop_assert!(state.is_embryonic() != state.is_assured());
        }
    }

    #[test]
    fn a_reset_closes_a_connection_wherever_it_is(
        segments in prop::collection::vec(any_segment(), 0..20),
        direction in prop_oneof![Just(Direction::Original), Just(Direction::Reply)],
    ) {
        let mut connection = Connection(None).receive(Direction::Original, SYN).1;
        for (direction, flags) in segments {
            connection = connection.receive(direction, flags).1;
        }
        for flags in [RST, RST | ACK] {
            let (ct_state, closed) = connection.receive(direction, flags);
            prop_assert_ne!(ct_state, CtState::Invalid);
            prop_assert_eq!(closed.0.expect("it began").phase(), Phase::Close as u8);
        }
    }

    #[test]
    fn only_the_way_back_answers(flags in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut connection = Connection(None).receive(Direction::Original, SYN).1;
        for flags in flags {
            let (ct_state, next) = connection.receive(Direction::Original, flags);
            prop_assert_ne!(ct_state, CtState::Established, "nobody answered");
            connection = next;
        }
    }
}
