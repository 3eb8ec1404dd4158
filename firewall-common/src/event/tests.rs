//! Records and their budget.

use super::{AUTHORS, Budget, EVENTS_PER_TICK, End, Event, Kind, NO_HOOK, author, killed, untold};
use crate::{
    conntrack::{Phase, State},
    flow::{Endpoint, Tuple},
    parse::tagged,
    table::{Entry, Slot},
    verdict::Reason,
};

#[test]
fn a_budget_is_per_tick() {
    let mut budget = Budget::default();
    for tick in [7, 8, u32::MAX, 0] {
        for event in 0..EVENTS_PER_TICK {
            assert!(budget.take(tick), "event {event} of tick {tick}");
        }
        assert!(!budget.take(tick));
    }
    assert_eq!((budget.suppressed, budget.lost), (4, 4));
}

#[test]
fn what_is_refused_is_counted() {
    let mut budget = Budget { tick: 1, spent: EVENTS_PER_TICK, suppressed: 0, lost: 40 };
    for _ in 0..3 {
        assert!(!budget.take(1));
    }
    assert_eq!((budget.suppressed, budget.lost), (3, 43));
    // The sender reports what was suppressed with its next event, and starts again.
    budget.suppressed = 0;
    assert!(budget.take(2));
    budget.refuse();
    assert_eq!((budget.spent, budget.suppressed, budget.lost), (1, 1, 44));
}

/// One that is loud does not use up what others need.
#[test]
fn authors_have_budgets_of_their_own() {
    let dropped = Kind::Dropped as u32;
    let all = [
        author(dropped, Reason::Rule as u32, 7),
        author(dropped, Reason::Rule as u32, 8),
        author(dropped, Reason::Policy as u32, 0x8000_0000),
        author(Kind::Logged as u32, 0, 7),
        author(Kind::New as u32, 0, 7),
        author(dropped, Reason::Banned as u32, 0),
        author(dropped, Reason::TcpFlags as u32, 0),
    ];
    assert!(all.iter().all(|author| *author < AUTHORS));
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "{all:?}");
    assert_eq!(author(dropped, Reason::Banned as u32, 1), author(dropped, Reason::Banned as u32, 2));
}

#[test]
fn kinds_have_numbers_and_words_of_their_own() {
    for pair in Kind::ALL.windows(2) {
        assert!((pair[0] as u32) < pair[1] as u32, "{pair:?} out of order");
    }
    for (index, kind) in Kind::ALL.iter().enumerate() {
        assert_eq!(Kind::from_number(*kind as u32), Some(*kind));
        assert!(Kind::ALL[index + 1..].iter().all(|other| other.name() != kind.name()), "{kind:?}");
    }
    for (number, word) in [(1, "dropped"), (2, "logged"), (3, "new"), (32, "apply")] {
        assert_eq!(Kind::from_number(number).map(Kind::name), Some(word));
    }
    assert_eq!(Kind::from_number(0), None);
    assert_eq!(Kind::from_number(9), None);
}

/// A full table is not kept from being told by the drops that come of it.
#[test]
fn what_is_rare_has_a_budget_of_its_own() {
    let full = author(Kind::TableFull as u32, Reason::TableFull as u32, 0);
    assert_ne!(full, author(Kind::Dropped as u32, Reason::TableFull as u32, 0));
    let own = Kind::ALL.iter().filter(|kind| super::is_rare(**kind as u32) && (**kind as u32) < super::FROM_COMMANDS);
    for kind in own {
        let place = author(*kind as u32, 0, 0);
        assert!(Reason::ALL.iter().all(|reason| *reason as u32 != place), "{kind:?} shares a budget");
    }
}

#[cfg(feature = "user")]
#[test]
fn an_event_is_read_field_by_field() {
    use core::mem::{offset_of, size_of};

    use super::Event;

    let bytes: Vec<u8> = (0..size_of::<Event>() as u8).collect();
    let event = Event::from_bytes(&bytes).expect("enough bytes");
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let address = |at: usize| [word(at), word(at + 4), word(at + 8), word(at + 12)];
    let expected = Event {
        time_ns: long(offset_of!(Event, time_ns)),
        suppressed: long(offset_of!(Event, suppressed)),
        more: long(offset_of!(Event, more)),
        kind: word(offset_of!(Event, kind)),
        generation: word(offset_of!(Event, generation)),
        reason: word(offset_of!(Event, reason)),
        rule: word(offset_of!(Event, rule)),
        log: word(offset_of!(Event, log)),
        hook: word(offset_of!(Event, hook)),
        ifindex: word(offset_of!(Event, ifindex)),
        length: word(offset_of!(Event, length)),
        ct_state: word(offset_of!(Event, ct_state)),
        ether_type: word(offset_of!(Event, ether_type)),
        source: address(offset_of!(Event, source)),
        destination: address(offset_of!(Event, destination)),
        nfproto: word(offset_of!(Event, nfproto)),
        protocol: word(offset_of!(Event, protocol)),
        source_port: word(offset_of!(Event, source_port)),
        destination_port: word(offset_of!(Event, destination_port)),
        icmp: word(offset_of!(Event, icmp)),
        tcp_flags: word(offset_of!(Event, tcp_flags)),
        translated: [0, 16].map(|more| address(offset_of!(Event, translated) + more)),
        translated_ports: [0, 4].map(|more| word(offset_of!(Event, translated_ports) + more)),
        numbers: [0, 8, 16, 24].map(|more| long(offset_of!(Event, numbers) + more)),
        age: word(offset_of!(Event, age)),
        state: word(offset_of!(Event, state)),
    };
    assert_eq!(event, expected);
    for length in 0..bytes.len() {
        assert_eq!(Event::from_bytes(&bytes[..length]), None, "{length} bytes");
    }
}

/// Who took the place of a connection tells how it ended, unless there was none, or the packet that ended it told.
#[test]
fn how_a_connection_ended() {
    let now = 5_u32;
    let rows = [
        (Phase::Open, 0, End::Timeout),
        (Phase::Open, now, End::Timeout),
        (Phase::Established, now.wrapping_sub(1000), End::Timeout),
        (Phase::SynSent, now + 1, End::Evicted),
        (Phase::TimeWait, now + 100, End::Packet),
        (Phase::TimeWait, 0, End::Packet),
        (Phase::Close, 0, End::Packet),
        (Phase::Free, 0, End::Packet),
        (Phase::Claimed, 0, End::Packet),
    ];
    for (phase, expires, expected) in rows {
        assert_eq!(untold(Slot::new(7, State::new(phase), expires), now), expected as u32, "{phase:?} {expires}");
    }
    let word = killed(Slot::new(7, State::new(Phase::Established), now + 9), now);
    assert!(!word.is_live(now) && !word.is_live(now + 1_000_000), "it is gone");
    assert_eq!((word.tag(), word.state()), (7, State::new(Phase::Established)));
    for later in [0, 1, 1_000_000] {
        assert_eq!(untold(word, now + later), End::Killed as u32);
    }
}

/// It is told of as its first packet had it, whichever end has the higher address.
#[test]
fn an_ended_connection_as_an_event() {
    for (from, to) in [(1, 2), (2, 1)] {
        let end = |address, port| Endpoint { address: [address, 0], port };
        let tuple = Tuple { source: end(from, 40_000), destination: end(to, 53), protocol: 17, family: 2 };
        let (key, source_is_high) = tuple.key(0);
        let entry = Entry {
            key,
            created: 10,
            originator_is_high: source_is_high.into(),
            packets: [3, 2],
            bytes: [300, 200],
            rule: 6,
            generation: 4,
            ifindex: 9,
            ..Entry::default()
        };
        let mut event = Event { suppressed: 1, ..Event::default() };
        event.set_ended(&entry, Slot::new(7, State::new(Phase::Open), 50), (1_000, 60));
        assert_eq!((event.source[0], event.destination[0]), (from as u32, to as u32));
        assert_eq!((event.source_port, event.destination_port), (tagged(17, 40_000), tagged(17, 53)));
        assert_eq!((event.numbers, event.age), ([3, 300, 2, 200], 50));
        assert_eq!((event.rule, event.generation, event.ifindex, event.hook), (6, 4, 9, NO_HOOK));
        assert_eq!((event.kind, event.log), (Kind::Closed as u32, End::Timeout as u32));
        assert_eq!(event.suppressed, 1, "not its own to say");
        #[cfg(feature = "user")]
        assert_eq!(Event::from_bytes(&event.to_bytes()), Some(event));
    }
}
