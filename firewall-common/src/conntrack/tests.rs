//! What a packet is to a connection, and what becomes of those without states of their own.

use rstest::rstest;

use super::{
    Change, CtState, Direction, Effect, Fresh, LOOSE, Phase, State, Timeout, Timeouts, fresh, is_looked_up, seen,
    ticks_of_seconds, update,
};
use crate::{
    packet::{Field, Packet},
    parse::tests::{
        frames::{ESP, GRE, ICMP, ICMPV6, Ipv4, Ipv6, SCTP, TCP, UDP, UDP_LITE, icmp, sctp, tcp, udp, udp_saying},
        parsed,
    },
};

fn v4(protocol: u8, payload: &[u8]) -> Packet {
    parsed(&Ipv4::of(protocol).frame(payload)).expect("well-formed")
}

fn v6(protocol: u8, payload: &[u8]) -> Packet {
    parsed(&Ipv6::of(protocol).frame(payload)).expect("well-formed")
}

fn begins(phase: Phase, timeout: Timeout) -> Fresh {
    Fresh::Start(State::new(phase), timeout)
}

#[rstest]
#[case::syn(v4(TCP, &tcp(0x02, 5, 0)), begins(Phase::SynSent, Timeout::SynSent))]
#[case::ack_in_mid_stream(v6(TCP, &tcp(0x10, 5, 0)), begins(Phase::Established, Timeout::Unacknowledged))]
#[case::syn_ack(v4(TCP, &tcp(0x12, 5, 0)), Fresh::Invalid)]
#[case::fin(v6(TCP, &tcp(0x11, 5, 0)), Fresh::Invalid)]
#[case::rst(v4(TCP, &tcp(0x04, 5, 0)), Fresh::Invalid)]
#[case::no_flags(v4(TCP, &tcp(0x00, 5, 0)), Fresh::Invalid)]
#[case::all_flags(v4(TCP, &tcp(0xff, 5, 0)), Fresh::Invalid)]
#[case::udp(v4(UDP, &udp(4)), begins(Phase::Open, Timeout::Udp))]
#[case::udp_lite(v6(UDP_LITE, &udp_saying(8, 4)), begins(Phase::Open, Timeout::Udp))]
#[case::sctp(v4(SCTP, &sctp()), Fresh::Association)]
#[case::gre(v4(GRE, &[0; 8]), begins(Phase::Open, Timeout::Gre))]
#[case::icmp_number_in_ipv6(v6(ICMP, &icmp(8, 0, &[])), begins(Phase::Open, Timeout::Icmp))]
fn a_packet_without_connection(#[case] packet: Packet, #[case] expected: Fresh) {
    assert_eq!(fresh(&packet, LOOSE), expected);
    assert!(is_looked_up(&packet));
}

/// What an ICMP message can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// A query: it begins a connection.
    Query,
    /// An answer: it belongs to one.
    Answer,
    /// An error about another packet.
    Error,
    /// Never tracked.
    Untracked,
    /// Neither: invalid.
    Other,
}

fn check_message(packet: &Packet, kind: u8, message: Message) {
    let expected = match message {
        Message::Query if packet.get(Field::L4Proto) as u8 == ICMP => begins(Phase::Open, Timeout::Icmp),
        Message::Query => begins(Phase::Open, Timeout::Icmpv6),
        Message::Answer | Message::Other => Fresh::Invalid,
        Message::Error => Fresh::Error,
        Message::Untracked => Fresh::Untracked,
    };
    assert_eq!(fresh(packet, LOOSE), expected, "type {kind}");
    assert_eq!(is_looked_up(packet), matches!(message, Message::Query | Message::Answer), "type {kind}");
}

/// `invmap` and `valid_new` of `nf_conntrack_proto_icmp.c`, and the types that `nf_conntrack_icmpv4_error` looks into.
#[test]
fn every_icmp_type() {
    for kind in 0..=u8::MAX {
        let message = match kind {
            8 | 13 | 15 | 17 => Message::Query,
            0 | 14 | 16 | 18 => Message::Answer,
            3 | 4 | 5 | 11 | 12 => Message::Error,
            _ => Message::Other,
        };
        check_message(&v4(ICMP, &icmp(kind, 0, &[])), kind, message);
    }
}

/// `invmap`, `valid_new`, `noct_valid_new` of `nf_conntrack_proto_icmpv6.c`; errors are all types below 128.
#[test]
fn every_icmpv6_type() {
    for kind in 0..=u8::MAX {
        let message = match kind {
            128 | 139 => Message::Query,
            129 | 140 => Message::Answer,
            0..128 => Message::Error,
            130..=136 | 143 => Message::Untracked,
            _ => Message::Other,
        };
        check_message(&v6(ICMPV6, &icmp(kind, 0, &[])), kind, message);
    }
}

/// Seconds of age, after which packets, and what is known of the flow then, with its lifetime in seconds.
#[rstest]
#[case::nobody_answers(UDP, &[(0, '>'), (9, '>')], "UNREPLIED", 30)]
#[case::a_question_and_its_answer(UDP, &[(0, '>'), (1, '<')], "REPLIED", 30)]
#[case::just_before_two_seconds(UDP, &[(0, '<'), (1, '>')], "REPLIED", 30)]
#[case::a_stream(UDP, &[(0, '<'), (2, '>')], "STREAM", 120)]
#[case::a_late_answer(UDP, &[(5, '<')], "REPLIED", 30)]
#[case::behind_a_late_answer(UDP, &[(5, '<'), (5, '>')], "STREAM", 120)]
#[case::udp_lite_too(UDP_LITE, &[(0, '<'), (2, '>')], "STREAM", 120)]
#[case::ping(ICMP, &[(0, '>'), (1, '<')], "REPLIED", 30)]
#[case::ping_is_never_a_stream(ICMP, &[(0, '<'), (3600, '>')], "REPLIED", 30)]
#[case::gre(GRE, &[(0, '>')], "UNREPLIED", 30)]
#[case::gre_both_ways(GRE, &[(0, '<'), (0, '<')], "STREAM", 180)]
#[case::gre_answered(GRE, &[(0, '<')], "REPLIED", 30)]
#[case::generic(ESP, &[(0, '>')], "UNREPLIED", 600)]
#[case::generic_both_ways(ESP, &[(0, '<'), (3, '<')], "REPLIED", 600)]
fn a_flow_without_states(
    #[case] protocol: u8,
    #[case] packets: &[(u32, char)],
    #[case] name: &str,
    #[case] seconds: u32,
) {
    let payload = if protocol == ICMP { icmp(8, 0, &[]) } else { udp(0) };
    let packet = v4(protocol, &payload);
    let mut state = State::new(Phase::Open);
    let mut lives = 0;
    for (age, way) in packets {
        let direction = if *way == '>' { Direction::Original } else { Direction::Reply };
        let change = update(state, &packet, direction, ticks_of_seconds(*age));
        assert_eq!(change.effect, Effect::Move);
        (state, lives) = (change.state, Timeouts::DEFAULT.ticks(change.timeout));
    }
    assert_eq!((state.name(), lives), (name, ticks_of_seconds(seconds)));
    assert_eq!(state.is_assured(), name == "STREAM");
    assert_eq!(state.is_embryonic(), name == "UNREPLIED");
}

#[test]
fn two_seconds_are_counted_in_whole_ticks() {
    let packet = v4(UDP, &udp(0));
    let state = State::new(Phase::Open).replied();
    let stream = |age| {
        let change = update(state, &packet, Direction::Original, age);
        assert_eq!(change.effect, Effect::Move);
        change.state.is_assured()
    };
    assert!(!stream(ticks_of_seconds(2) - 1));
    assert!(stream(ticks_of_seconds(2)));
    assert!(stream(u32::MAX));
}

#[test]
fn tcp_is_judged_by_its_flags_and_not_its_age() {
    let packet = v4(TCP, &tcp(0x12, 5, 0));
    let state = State::new(Phase::SynSent);
    let expected = Change::to(State::new(Phase::SynRecv).replied(), Timeout::SynRecv);
    for age in [0, 1, u32::MAX] {
        assert_eq!(update(state, &packet, Direction::Reply, age), expected);
    }
}

/// `resolve_normal_ct` of `nf_conntrack_core.c`: established as soon as a packet has gone the way back.
#[rstest]
#[case(false, Direction::Original, CtState::New)]
#[case(false, Direction::Reply, CtState::Established)]
#[case(true, Direction::Original, CtState::Established)]
#[case(true, Direction::Reply, CtState::Established)]
fn what_a_rule_sees(#[case] replied: bool, #[case] direction: Direction, #[case] expected: CtState) {
    for phase in [Phase::SynSent, Phase::Established, Phase::Close, Phase::Open] {
        let state = if replied { State::new(phase).replied() } else { State::new(phase) };
        assert_eq!(seen(state, direction), expected, "{phase:?}");
    }
}

/// `tcp_new` of `nf_conntrack_proto_tcp.c`: with `tcp_loose` off, only a SYN starts a connection.
#[test]
fn mid_stream_is_invalid_unless_loose() {
    for flags in 0..64 {
        let packet = v4(TCP, &tcp(flags, 5, 0));
        let (loose, strict) = (fresh(&packet, LOOSE), fresh(&packet, 0));
        let is_syn = matches!(loose, Fresh::Start(_, Timeout::SynSent));
        assert_eq!(strict, if is_syn { loose } else { Fresh::Invalid }, "{flags:#x}");
    }
}

#[test]
fn lifetimes_have_a_number_a_key_and_a_length() {
    let defaults = Timeouts::DEFAULT;
    assert_eq!(defaults.ticks(Change::KEEP), 0, "no lifetime has the number that keeps the old one");
    for (at, timeout) in Timeout::ALL.iter().enumerate() {
        assert_eq!(defaults.ticks(*timeout as u32), ticks_of_seconds(timeout.default_seconds()));
        assert!(Timeout::ALL[..at].iter().all(|other| other.key() != timeout.key()), "{timeout:?}");
    }
    assert_eq!(defaults.ticks(32 + 4), defaults.ticks(4), "any number is within");
}

#[test]
fn seconds_are_rounded_up_to_ticks() {
    assert_eq!(ticks_of_seconds(0), 0);
    for seconds in [1, 2, 30, 120, 432_000] {
        let ticks = u64::from(ticks_of_seconds(seconds));
        let ns = u64::from(seconds) * 1_000_000_000;
        assert!(ticks << super::TICK_NS_SHIFT >= ns && (ticks - 1) << super::TICK_NS_SHIFT < ns, "{seconds} s");
    }
}

#[test]
fn a_state_keeps_what_it_is_not_told_to_change() {
    for phase in Phase::ALL {
        let state = State::new(phase);
        assert_eq!(Phase::from_number(state.phase()), Some(phase));
        assert!(!state.is_replied() && !state.is_assured());
        let marked = state.replied().assured();
        assert!(marked.is_replied() && marked.is_assured());
        assert_eq!(marked.phase(), phase as u8);
        assert_eq!(marked.with_phase(Phase::Close as u8), State::new(Phase::Close).replied().assured());
    }
    assert_eq!(Phase::from_number(10), None);
    assert_eq!(State(10).name(), "BUSY");
}

#[test]
fn conntrack_states_are_the_kernels_bits() {
    let bits = CtState::ALL.map(|state| (state.name(), state as u32));
    assert_eq!(bits, [("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 64)]);
    for state in CtState::ALL {
        assert_eq!(CtState::from_bit(state as u32), Some(state));
    }
    assert_eq!(CtState::from_bit(3), None);
}
