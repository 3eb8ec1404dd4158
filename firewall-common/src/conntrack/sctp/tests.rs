//! The table of transitions, as rows a person can compare with their source, and associations that run through it.

use proptest::prelude::*;
use rstest::rstest;

use super::{
    ABORT, Association, COOKIE_ACK, COOKIE_ECHO, Chunks, DATA, ERROR, HEARTBEAT, HEARTBEAT_ACK, INIT, INIT_ACK, MOST,
    SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, Walk, began, begin, close, follow, followed, look_up, open, read_one,
    transition, walk_one,
};
use crate::{
    conntrack::{Change, Direction, Effect, Phase, State, Timeout},
    packet::Packet,
    parse::tests::{
        frames::{Ipv4, Ipv6, SCTP},
        parsed,
    },
};

/// The columns of [`ROWS`].
const PHASES: [(&str, Phase); 9] = [
    ("--", Phase::Free),
    ("CL", Phase::SctpClosed),
    ("CW", Phase::SctpCookieWait),
    ("CE", Phase::SctpCookieEchoed),
    ("ES", Phase::SctpEstablished),
    ("SS", Phase::SctpShutdownSent),
    ("SR", Phase::SctpShutdownRecd),
    ("SA", Phase::SctpShutdownAckSent),
    ("HS", Phase::SctpHeartbeatSent),
];

const NAMES: [(&str, u8); 12] = [
    ("data", DATA),
    ("init", INIT),
    ("init-ack", INIT_ACK),
    ("abort", ABORT),
    ("shutdown", SHUTDOWN),
    ("shutdown-ack", SHUTDOWN_ACK),
    ("error", ERROR),
    ("cookie-echo", COOKIE_ECHO),
    ("cookie-ack", COOKIE_ACK),
    ("shutdown-complete", SHUTDOWN_COMPLETE),
    ("heartbeat", HEARTBEAT),
    ("heartbeat-ack", HEARTBEAT_ACK),
];

fn kind_of(name: &str) -> u8 {
    NAMES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no chunk {name}")).1
}

/// Lines 140 to 168 of `nf_conntrack_proto_sctp.c`, Linux 6.18: `!!` for what cannot be.
const ROWS: &str = "
chunk               -- CL CW CE ES SS SR SA HS
> init              CL CL CW CE ES CL CL SA CW
> init-ack          CL CL CW CE ES SS SR SA CL
> abort             CL CL CL CL CL CL CL CL CL
> shutdown          CL CL CW CE SS SS SR SA CL
> shutdown-ack      SA CL CW CE ES SA SA SA SA
> error             CL CL CW CE ES SS SR SA CL
> cookie-echo       CL CL CE CE ES SS SR SA CL
> cookie-ack        CL CL CW ES ES SS SR SA CL
> shutdown-complete CL CL CW CE ES SS SR CL CL
> heartbeat         HS CL CW CE ES SS SR SA HS
> heartbeat-ack     CL CL CW CE ES SS SR SA HS
> data              -- CL CW CE ES SS SR SA HS
< init              !! CL CW CE ES SS SR SA !!
< init-ack          !! CW CW CE ES SS SR SA !!
< abort             !! CL CL CL CL CL CL CL !!
< shutdown          !! CL CW CE SR SS SR SA !!
< shutdown-ack      !! CL CW CE ES SA SA SA !!
< error             !! CL CW CL ES SS SR SA !!
< cookie-echo       !! CL CE CE ES SS SR SA !!
< cookie-ack        !! CL CW ES ES SS SR SA !!
< shutdown-complete !! CL CW CE ES SS SR CL !!
< heartbeat         !! CL CW CE ES SS SR SA HS
< heartbeat-ack     !! CL CW CE ES SS SR SA ES
< data              -- CL CW CE ES SS SR SA HS
";

#[test]
fn every_transition_is_nf_conntracks() {
    for line in ROWS.trim().lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        let direction = if words[0] == ">" { Direction::Original } else { Direction::Reply };
        for (expected, (column, phase)) in words[2..].iter().zip(PHASES) {
            let next = transition(direction, kind_of(words[1]), phase);
            let letters = next.map(|next| PHASES.iter().find(|(_, phase)| *phase == next).expect("a phase").0);
            assert_eq!(letters.unwrap_or("!!"), *expected, "{line}: {column}");
            let number = next.map_or(0, |next| next as u8);
            assert_eq!(
                look_up(direction == Direction::Reply, kind_of(words[1]), phase as u8),
                number,
                "{line}: {column}"
            );
        }
    }
}

/// A packet's payload: its tag, and its chunks such as `init=7` (asks for tag 7), `abort!` (with the flag T).
fn packet(tag: u32, chunks: &str) -> Vec<u8> {
    let mut bytes = [&[0x13, 0x88, 0x0b, 0x59][..], &tag.to_be_bytes(), &[0; 4]].concat();
    for word in chunks.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let kind = kind_of(name.trim_end_matches('!'));
        let mut body = Vec::new();
        if kind == INIT || kind == INIT_ACK {
            body = [&value.parse::<u32>().expect("a tag").to_be_bytes()[..], &[0; 12]].concat();
        } else if kind == DATA {
            body = vec![0x55; 13];
        }
        let length = 4 + body.len() as u16;
        bytes.extend([kind, u8::from(name.ends_with('!'))]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn read(frame: &[u8], packet: &Packet, chunks: &mut Chunks) {
    open(frame, packet, chunks);
    for _ in 0..MOST {
        if !read_one(frame, chunks) {
            break;
        }
    }
    close(chunks);
}

fn chunks_of(payload: &[u8]) -> Chunks {
    let frame = Ipv4::of(SCTP).frame(payload);
    let parsed = parsed(&frame).expect("well-formed");
    let mut chunks = Chunks::default();
    read(&frame, &parsed, &mut chunks);
    let frame = Ipv6::of(SCTP).frame(payload);
    let mut same = Chunks::default();
    read(&frame, &self::parsed(&frame).expect("well-formed"), &mut same);
    let anywhere = |chunks| Chunks { at: 0, end: 0, ..chunks };
    assert_eq!(anywhere(same), anywhere(chunks), "IPv6 makes no difference");
    chunks
}

/// An association as the state table keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tracked(Option<State>, Association);

impl Tracked {
    /// What becomes of it: the change, or `None` when the packet is invalid.
    fn receive(&mut self, direction: Direction, chunks: &Chunks) -> Option<Change> {
        let Self(Some(state), association) = *self else {
            let mut walk = Walk::default();
            begin(&mut walk, chunks);
            while walk_one(&mut walk, chunks) {}
            let phase = Phase::from_number(began(&walk) as u8).filter(|phase| *phase != Phase::Free)?;
            *self = Self(Some(State::new(phase)), walk.association);
            return Some(Change::to_phase(State::new(phase), phase as u8));
        };
        let mut walk = Walk::default();
        follow(&mut walk, association, state, chunks, direction);
        while walk_one(&mut walk, chunks) {}
        let change = followed(&walk, state);
        if change.effect == Effect::Invalid {
            return None;
        }
        *self = Self(Some(change.state), walk.association);
        Some(change)
    }
}

/// Rows such as `> 0 init=7 | CL`: direction, tag, chunks; the state behind it, or `invalid`.
fn check(rows: &[&str]) -> Tracked {
    let mut tracked = Tracked::default();
    for row in rows {
        let (text, expected) = row.split_once('|').expect("a bar");
        let mut words = text.trim().splitn(3, ' ');
        let direction = if words.next() == Some(">") { Direction::Original } else { Direction::Reply };
        let tag = words.next().and_then(|tag| tag.parse().ok()).expect("a tag");
        let change = tracked.receive(direction, &chunks_of(&packet(tag, words.next().unwrap_or(""))));
        let phase = |state: State| PHASES.iter().find(|(_, phase)| *phase as u8 == state.phase()).expect("a phase").0;
        let got = change.map_or("invalid", |change| phase(change.state));
        assert_eq!(got, expected.trim(), "{row}\n{tracked:?}");
    }
    tracked
}

const HANDSHAKE: [&str; 4] =
    ["> 0 init=7 | CL", "< 7 init-ack=9 | CW", "> 9 cookie-echo data | CE", "< 7 cookie-ack data | ES"];

#[test]
fn an_association_from_beginning_to_end() {
    let rows = [
        &HANDSHAKE[..],
        &["> 9 data data | ES", "< 7 data | ES", "> 8 data | invalid", "< 9 data | invalid"],
        &["> 9 shutdown | SS", "< 7 shutdown-ack | SA", "> 9 shutdown-complete | CL"],
    ];
    let Tracked(state, association) = check(&rows.concat());
    let state = state.expect("it is there");
    assert!(state.is_assured() && state.is_replied());
    assert_eq!(association.tags, [9, 7]);
}

#[test]
fn only_a_whole_handshake_is_worth_keeping() {
    for length in 1..=HANDSHAKE.len() {
        let state = check(&HANDSHAKE[..length]).0.expect("it is there");
        assert_eq!(state.is_assured(), length == HANDSHAKE.len());
        assert_eq!(state.is_embryonic(), length != HANDSHAKE.len());
    }
}

#[rstest]
#[case::aborted(&["> 9 abort | CL"])]
#[case::aborted_by_one_who_knows_nothing(&["< 9 abort! | CL"])]
#[case::aborted_blindly(&["> 7 abort | invalid", "> 1234 abort | invalid", "< 7 abort! | invalid", "> 9 data | ES"])]
#[case::the_other_one_shuts_down(&["< 7 shutdown | SR", "> 9 shutdown-ack | SA", "< 7 shutdown-complete | CL"])]
#[case::shutdown_by_a_stranger(&["> 1 shutdown | invalid", "> 9 shutdown | SS", "< 7 shutdown-ack | SA", "> 8 shutdown-complete | invalid"])]
#[case::heartbeats(&["> 9 heartbeat | ES", "< 7 heartbeat-ack | ES", "< 7 heartbeat | ES"])]
#[case::a_heartbeat_of_another_tag(&["> 9 heartbeat | ES", "> 5 heartbeat | ES", "< 6 heartbeat-ack | ES", "< 6 data | ES", "> 77 heartbeat | ES", "> 77 data | ES"])]
#[case::unconfirmed(&["> 5 heartbeat | ES", "> 5 heartbeat-ack | invalid", "> 5 data | invalid"])]
#[case::malformed(&["> 9 data cookie-echo | invalid", "> 0 init=1 data | invalid", "> 0 data init=1 | invalid", "> 9 data shutdown-complete | invalid"])]
fn an_association_that_stands(#[case] rows: &[&str]) {
    check(&[&HANDSHAKE[..], rows].concat());
}

#[rstest]
#[case::init_again(&["> 0 init=7 | CL", "> 0 init=7 | CL", "< 7 init-ack=9 | CW"])]
#[case::init_with_a_tag(&["> 5 init=7 | invalid"])]
#[case::answered_by_somebody_else(&["> 0 init=7 | CL", "< 8 init-ack=9 | invalid", "< 7 init-ack=9 | CW"])]
#[case::echoed_by_somebody_else(&["> 0 init=7 | CL", "< 7 init-ack=9 | CW", "> 8 cookie-echo | invalid"])]
#[case::both_begin(&["> 0 init=7 | CL", "< 0 init=9 | CL", "< 7 init-ack=9 | CW", "> 9 init-ack=7 | CW", "> 9 cookie-echo | CE"])]
#[case::stale_cookie(&["> 0 init=7 | CL", "< 7 init-ack=9 | CW", "> 9 cookie-echo | CE", "< 7 error | CL"])]
#[case::another_path(&["> 9 heartbeat | HS", "< 7 heartbeat-ack | ES", "> 9 data | ES", "< 7 data | ES"])]
#[case::out_of_the_blue(&["> 9 data | invalid", "> 9 abort | invalid", "> 9 cookie-ack | invalid", "> 9 shutdown-complete | invalid", "> 9 cookie-echo | invalid", "> 9 shutdown-ack | SA", "< 9 shutdown-complete | CL"])]
fn a_beginning(#[case] rows: &[&str]) {
    check(rows);
}

/// `do not renew timeout on init retransmit`: else a port that is used again would keep an entry for ever.
#[test]
fn an_init_that_is_sent_again_does_not_keep_the_entry() {
    let mut tracked = check(&["> 0 init=7 | CL"]);
    let again = tracked.receive(Direction::Original, &chunks_of(&packet(0, "init=7"))).expect("it passes");
    assert_eq!(again.timeout, Change::KEEP);
    let answered = tracked.receive(Direction::Reply, &chunks_of(&packet(7, "init-ack=9"))).expect("it passes");
    assert_eq!(answered.timeout, Timeout::SctpCookieWait as u32);
}

/// Chunks that lie about their length, or are cut short.
#[rstest]
#[case::none(&[], true)]
#[case::half_a_chunk(&[0, 0], true)]
#[case::length_zero(&[0, 0, 0, 0], true)]
#[case::longer_than_the_packet(&[0, 0, 0xff, 0xff], false)]
#[case::init_without_its_tag(&[1, 0, 0, 4], true)]
#[case::shorter_than_its_header(&[0, 0, 0, 1, 0, 0, 0, 4], false)]
fn bytes_that_are_no_chunks(#[case] bytes: &[u8], #[case] malformed: bool) {
    let payload = [&packet(9, "")[..], bytes].concat();
    assert_eq!(chunks_of(&payload).malformed != 0, malformed);
}

#[test]
fn sixteen_chunks_are_read() {
    let many = "data ".repeat(40);
    assert_eq!(chunks_of(&packet(9, &many)).count, 16);
}

proptest! {
    /// Whatever comes: no panic, and what is invalid changes nothing.
    #[test]
    fn an_invalid_packet_changes_nothing(
        packets in prop::collection::vec((any::<bool>(), 0_u32..3, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
    ) {
        let mut tracked = Tracked::default();
        for (reply, tag, bytes) in packets {
            let direction = if reply { Direction::Reply } else { Direction::Original };
            let before = tracked;
            let chunks = chunks_of(&[&packet(tag, "")[..], &bytes].concat());
            if tracked.receive(direction, &chunks).is_none() {
                prop_assert_eq!(tracked, before);
            }
        }
    }
}
