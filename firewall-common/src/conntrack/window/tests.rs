//! Every equation at both of its edges, at every place of the number circle.

use proptest::prelude::*;
use rstest::rstest;

use super::{ACK_REACH, LARGEST, Numbers, Place, Terms, Window, advance, before, later, place};

/// Where the number circle is cut: nowhere near, just before, just behind, at its sign.
const ORIGINS: [u32; 6] = [0, 1_000_000, u32::MAX, u32::MAX - 5_000, 0x7fff_ffff, 0x8000_0000];

/// The sender has sent up to 10,000, may send up to 14,000 and offers 8,000; the receiver has sent up to 200,000 and
/// offers 4,000. The two directions have nothing to do with each other: each has its origin.
fn windows((ours, theirs): (u32, u32)) -> (Window, Window) {
    let sender = Window {
        end: ours.wrapping_add(10_000),
        max_end: ours.wrapping_add(14_000),
        max_ack: theirs.wrapping_add(199_000),
        max_win: 8_000,
    };
    let receiver = Window {
        end: theirs.wrapping_add(200_000),
        max_end: theirs.wrapping_add(207_000),
        max_ack: ours.wrapping_add(10_000),
        max_win: 4_000,
    };
    (sender, receiver)
}

fn numbers((ours, theirs): (u32, u32), seq: u32, length: u32, ack: u32) -> Numbers {
    let seq = ours.wrapping_add(seq);
    Numbers { seq, end: seq.wrapping_add(length), ack: theirs.wrapping_add(ack), window: 8_000 }
}

fn origins() -> impl Iterator<Item = (u32, u32)> {
    ORIGINS.into_iter().flat_map(|ours| ORIGINS.into_iter().map(move |theirs| (ours, theirs)))
}

#[rstest]
#[case::next(10_000, 1_000, 200_000, Place::In)]
// I: seq <= S.max_end.
#[case::first_at_its_edge(14_000, 0, 200_000, Place::In)]
#[case::first_at_its_edge_with_data(14_000, 5_000, 200_000, Place::In)]
#[case::first_beyond_it(14_001, 0, 200_000, Place::Over)]
#[case::first_half_a_circle_beyond(14_000 + 0x7fff_ffff, 0, 200_000, Place::Out)]
// Beyond it by less than the receiver's window: end - S.max_end + 1 <= R.max_win.
#[case::over_by_almost_a_window(14_001, 3_998, 200_000, Place::Over)]
#[case::over_by_a_window(14_001, 3_999, 200_000, Place::Out)]
#[case::over_and_third_fails(14_001, 0, 200_001, Place::Out)]
#[case::over_and_fourth_fails(14_001, 0, 200_000 - ACK_REACH - 1, Place::Out)]
// II: seq + len >= S.end - R.max_win.
#[case::second_at_its_edge(5_000, 1_000, 200_000, Place::In)]
#[case::second_before_it(5_000, 999, 200_000, Place::Under)]
#[case::second_at_its_edge_without_data(6_000, 0, 200_000, Place::In)]
#[case::second_before_it_without_data(5_999, 0, 200_000, Place::Under)]
// III: ack <= R.end.
#[case::third_at_its_edge(10_000, 0, 200_000, Place::In)]
#[case::third_beyond_it(10_000, 0, 200_001, Place::Out)]
#[case::third_far_beyond_it(10_000, 0, 200_000 + 0x7fff_ffff, Place::Out)]
// IV: ack >= R.end - max(S.max_win, 66000).
#[case::fourth_at_its_edge(10_000, 0, 200_000 - ACK_REACH, Place::In)]
#[case::fourth_before_it(10_000, 0, 200_000 - ACK_REACH - 1, Place::Under)]
// An old segment that acknowledges what was not sent is nobody's.
#[case::second_and_third_fail(5_999, 0, 200_001, Place::Out)]
fn equations(#[case] seq: u32, #[case] length: u32, #[case] ack: u32, #[case] expected: Place) {
    for origin in origins() {
        let (sender, receiver) = windows(origin);
        let numbers = numbers(origin, seq, length, ack);
        assert_eq!(place(&sender, &receiver, &numbers), expected, "{origin:#x?}");
    }
}

#[test]
fn the_fourth_reaches_as_far_back_as_a_large_window() {
    for origin in origins() {
        let (sender, receiver) = windows(origin);
        let sender = Window { max_win: 150_000, ..sender };
        assert_eq!(place(&sender, &receiver, &numbers(origin, 10_000, 0, 50_000)), Place::In);
        assert_eq!(place(&sender, &receiver, &numbers(origin, 10_000, 0, 49_999)), Place::Under);
    }
}

#[test]
fn the_second_waits_for_a_receiver_that_was_heard_of() {
    for origin in origins() {
        let (sender, receiver) = windows(origin);
        let receiver = Window { max_win: 0, ..receiver };
        assert_eq!(place(&sender, &receiver, &numbers(origin, 0, 0, 200_000)), Place::In);
        assert_eq!(place(&sender, &receiver, &numbers(origin, 14_001, 0, 200_000)), Place::Out, "and nothing is over");
    }
}

/// Sequence number, length, acknowledgement, window; then by how much the sender's end, acknowledgement and window and
/// the receiver's upper end and window have grown.
#[rstest]
#[case::nothing_new((10_000, 0, 199_000, 8_000), [0, 0, 0, 0, 0])]
#[case::data((10_000, 1_460, 199_000, 8_000), [1_460, 0, 0, 0, 0])]
#[case::half_of_it_new((9_000, 1_460, 199_000, 8_000), [460, 0, 0, 0, 0])]
#[case::sent_again((8_000, 1_000, 199_000, 8_000), [0, 0, 0, 0, 0])]
#[case::acknowledges((10_000, 0, 200_000, 8_000), [0, 1_000, 0, 1_000, 0])]
#[case::opens_its_window((10_000, 0, 200_000, 20_000), [0, 1_000, 12_000, 13_000, 0])]
#[case::closes_its_window((10_000, 0, 199_000, 0), [0, 0, 0, 0, 0])]
#[case::an_old_acknowledgement((10_000, 0, 180_000, 8_000), [0, 0, 0, 0, 0])]
#[case::sends_beyond_what_it_may((14_000, 500, 199_000, 8_000), [4_500, 0, 0, 0, 500])]
fn windows_move_on(#[case] (seq, length, ack, window): (u32, u32, u32, u32), #[case] grown: [u32; 5]) {
    for origin in origins() {
        let (sender, receiver) = windows(origin);
        let numbers = Numbers { window, ..numbers(origin, seq, length, ack) };
        assert_eq!(place(&sender, &receiver, &numbers), Place::In);
        let (sender_after, receiver_after) = advance(&sender, &receiver, &numbers);
        let got = [
            sender_after.end.wrapping_sub(sender.end),
            sender_after.max_ack.wrapping_sub(sender.max_ack),
            sender_after.max_win - sender.max_win,
            receiver_after.max_end.wrapping_sub(receiver.max_end),
            receiver_after.max_win - receiver.max_win,
        ];
        assert_eq!(got, grown, "{origin:#x?}");
        assert_eq!((sender_after.max_end, receiver_after.end), (sender.max_end, receiver.end));
        assert_eq!(receiver_after.max_ack, receiver.max_ack);
    }
}

/// RFC 9293 section 3.8.6.1: a sender asks with one byte whether a window of 0 still is 0. However often it is told so,
/// it may send no more.
#[test]
fn a_window_of_zero_lets_one_byte_pass() {
    for origin in origins() {
        let (sender, receiver) = windows(origin);
        let mut peer = Window { max_end: receiver.end, ..receiver };
        for _ in 0..3 {
            let numbers = Numbers { window: 0, ..numbers(origin, 10_000, 0, 200_000) };
            (_, peer) = advance(&sender, &peer, &numbers);
            assert_eq!(peer.max_end, receiver.end.wrapping_add(1));
        }
    }
}

#[test]
fn a_window_grows_no_larger_than_windows_are() {
    let (sender, receiver) = windows((0, 0));
    let wide = Window { max_win: LARGEST - 1, ..receiver };
    let (_, wider) = advance(&sender, &wide, &numbers((0, 0), 14_000, 500, 200_000));
    assert_eq!(wider.max_win, LARGEST);
}

#[rstest]
#[case(0, 0)]
#[case(7, 7)]
#[case(14, 14)]
#[case(15, 14)]
#[case(255, 14)]
fn scaling_by_more_than_fourteen_is_by_fourteen(#[case] shift: u8, #[case] scale: u32) {
    let terms = Terms::scaling(shift).with(Terms::ACKED);
    assert_eq!(terms.scale(), scale);
    assert!(terms.has(Terms::SCALES) && terms.has(Terms::ACKED) && !terms.has(Terms::NOTED));
    assert_eq!(terms.unscaled(), Terms::SCALES.with(Terms::ACKED));
    assert_eq!(terms.without(Terms::ACKED), Terms::scaling(shift));
}

proptest! {
    #[test]
    fn one_of_two_numbers_comes_before(a in any::<u32>(), distance in 1_u32..1 << 31) {
        let b = a.wrapping_add(distance);
        prop_assert!(before(a, b) && !before(b, a) && !before(a, a));
        prop_assert_eq!((later(a, b), later(b, a)), (b, b));
    }

    #[test]
    fn where_the_circle_is_cut_does_not_matter(
        (ours, theirs) in any::<(u32, u32)>(),
        (seq, length, ack) in (0_u32..30_000, 0_u32..70_000, 100_000_u32..220_000),
    ) {
        let at = |origin| {
            let (sender, receiver) = windows(origin);
            place(&sender, &receiver, &numbers(origin, seq, length, ack))
        };
        prop_assert_eq!(at((ours, theirs)), at((0, 0)));
    }
}
