//! Conversations with numbers, and real exchanges that are always in the window.

mod conversations;
mod exchange;

use proptest::prelude::*;

use super::{Keep, Segment, Terms, Tracked, Window, begin, follow, follow_plain, is_plain, placed};
use crate::{
    conntrack::{Aside, Change, CtState, Direction, Effect, Phase, Place, State, Timeout, noted, seen, tcp},
    wire::tcp::{ACK, FIN, PSH, RST, SYN},
};

/// A connection as the state table keeps it, and what the program does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    state: Option<State>,
    windows: [Window; 2],
    terms: [Terms; 2],
    aside: Aside,
}

impl Connection {
    const NONE: Self = Self { state: None, windows: [NOTHING; 2], terms: [Terms::NONE; 2], aside: Aside::NONE };

    /// What a packet is to a rule; then the connection is what it is behind the packet.
    fn receive(&mut self, direction: Direction, segment: &Segment, offer: Terms) -> CtState {
        let Some(state) = self.state else {
            return self.start(segment, offer);
        };
        let change = tcp::update(state, segment.flags, direction);
        if change.effect == Effect::Reopen {
            *self = Self::NONE;
            return self.start(segment, offer);
        }
        let mut tracked = self.seen_from(direction);
        let change = follow(&mut tracked, state, change, (segment, offer), direction);
        let before = *self;
        self.keep(direction, tracked);
        before.check_plain(direction, segment, change, self);
        match change.effect {
            Effect::Invalid => return CtState::Invalid,
            Effect::Move if change == Change::FORGET => *self = Self::NONE,
            Effect::Move | Effect::Stay => self.state = Some(change.state),
            Effect::Reopen => panic!("numbers reopen nothing"),
        }
        seen(state, direction)
    }

    fn start(&mut self, segment: &Segment, offer: Terms) -> CtState {
        let Some(phase) = tcp::start(segment.flags) else {
            return CtState::Invalid;
        };
        let (window, original, reply) = begin(segment, offer);
        *self = Self {
            state: Some(State::new(phase)),
            windows: [window, NOTHING],
            terms: [original, reply],
            aside: Aside::NONE,
        };
        CtState::New
    }

    fn seen_from(&self, direction: Direction) -> Tracked {
        let index = direction as usize;
        Tracked {
            sender: self.windows[index],
            receiver: self.windows[index ^ 1],
            sender_terms: self.terms[index],
            receiver_terms: self.terms[index ^ 1],
            aside: self.aside,
            keep: Keep::Nothing,
        }
    }

    fn keep(&mut self, direction: Direction, tracked: Tracked) {
        let index = direction as usize;
        match tracked.keep {
            Keep::Nothing => return,
            Keep::End => {
                self.windows[index].end = tracked.sender.end;
                return;
            }
            Keep::All => {}
        }
        (self.windows[index], self.windows[index ^ 1]) = (tracked.sender, tracked.receiver);
        (self.terms[index], self.terms[index ^ 1]) = (tracked.sender_terms, tracked.receiver_terms);
        self.aside = tracked.aside;
    }

    /// The short way says what the long way says, and leaves the same behind.
    fn check_plain(&self, direction: Direction, segment: &Segment, followed: Change, after: &Self) {
        let before = self.seen_from(direction);
        let state = self.state.expect("it has begun");
        let change = tcp::update(state, segment.flags, direction);
        if change.effect != Effect::Move || !is_plain(segment, before.sender_terms) {
            return;
        }
        let (place, sender, receiver) = follow_plain(&before.sender, &before.receiver, before.sender_terms, segment);
        assert_eq!(placed(change, place, state, direction), followed, "{segment:?}");
        let after = after.seen_from(direction);
        assert_eq!(Tracked { sender, receiver, aside: after.aside, ..before }, after, "{segment:?}");
    }
}

const NOTHING: Window = Window { end: 0, max_end: 0, max_ack: 0, max_win: 0 };

fn any_segment() -> impl Strategy<Value = (Direction, Segment, Terms)> {
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    let likely = prop::sample::select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK]);
    let flags = prop_oneof![5 => likely, 1 => any::<u8>()];
    let number = || prop_oneof![4 => 0_u32..200_000, 2 => any::<u32>(), 1 => 0x7fff_0000_u32..0x8001_0000];
    let length = prop_oneof![3 => Just(0_u32), 2 => 0_u32..70_000];
    let offer = prop_oneof![Just(Terms::NONE), (0_u8..20).prop_map(Terms::scaling)];
    let window = prop_oneof![Just(0_u32), Just(65_535), 0_u32..65_536];
    (direction, flags, (number(), length, number()), window, prop::bool::weighted(0.02), offer).prop_map(
        |(direction, flags, (seq, length, ack), window, is_cut, offer)| {
            let phantom = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            let end = seq.wrapping_add(length).wrapping_add(phantom);
            (direction, Segment { seq, end, ack, window, flags, is_cut }, offer)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Whatever comes: no panic, the short way agrees with the long one, and what is invalid leaves all as it was.
    #[test]
    fn an_invalid_segment_changes_nothing(segments in prop::collection::vec(any_segment(), 0..60)) {
        let mut connection = Connection::NONE;
        for (direction, segment, offer) in segments {
            let before = connection;
            if connection.receive(direction, &segment, offer) == CtState::Invalid {
                prop_assert_eq!(connection, before, "{:?} {:?}", direction, segment);
            }
            for window in connection.windows {
                prop_assert!(window.max_win <= 1 << 30);
            }
        }
    }

    #[test]
    fn a_change_is_read_back_from_its_number(state in any::<u8>(), timeout in any::<u32>(), effect in 0_usize..4) {
        let effect = [Effect::Move, Effect::Stay, Effect::Invalid, Effect::Reopen][effect];
        let change = Change { effect, state: State(state), timeout };
        prop_assert_eq!(Change::of_word(change.word()), change);
    }
}

#[test]
fn only_what_moves_or_stays_has_numbers() {
    let state = State::new(Phase::Established);
    assert!(Change::to(state, Timeout::Close).has_numbers() && Change::stay(state).has_numbers());
    assert!(!Change::invalid(state).has_numbers() && !Change::reopen(state).has_numbers());
    assert_eq!(placed(Change::to(state, Timeout::Close), Place::Out, state, Direction::Reply), Change::invalid(state));
    let stays = Change::stay(noted(state, Direction::Reply));
    for place in [Place::Over, Place::Under] {
        assert_eq!(placed(Change::to(state, Timeout::Close), place, state, Direction::Reply), stays);
    }
}
