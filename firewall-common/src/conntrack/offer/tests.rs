//! Options as they come, and as they should not.

use proptest::prelude::*;
use rstest::rstest;

use super::{Scan, Terms, offer};
use crate::{
    conntrack::Segment,
    parse::tests::{
        frames::{Ipv4, TCP, tcp},
        parsed,
    },
};

const SYN: u8 = 0x02;

/// A SYN with these options, padded with zeroes, and with bytes behind its header.
fn offered(options: &[u8]) -> Terms {
    let mut segment = tcp(SYN, 5 + options.len().div_ceil(4) as u8, 0);
    segment.extend(options);
    segment.resize(segment.len().next_multiple_of(4), 0);
    segment.extend([3, 3, 9, 0]);
    let frame = Ipv4::of(TCP).frame(&segment);
    let packet = parsed(&frame).expect("well-formed");
    assert_eq!(Segment::of(&packet).end, packet.tcp_seq + 5, "four bytes of data, and the SYN");
    offer(&frame[..], &packet, &mut Scan::default())
}

/// What Linux sends: maximum segment size, selective acknowledgements, timestamps, nothing, window scale 7.
const LINUX: &[u8] = &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

#[rstest]
#[case::none(&[], Terms::NONE)]
#[case::linux(LINUX, Terms::scaling(7))]
#[case::scale_alone(&[3, 3, 0], Terms::scaling(0))]
#[case::too_much(&[3, 3, 200], Terms::scaling(14))]
#[case::the_sixteenth(&[[1; 15].as_slice(), &[3, 3, 5]].concat(), Terms::scaling(5))]
#[case::the_seventeenth(&[[1; 16].as_slice(), &[3, 3, 5]].concat(), Terms::NONE)]
#[case::twice(&[3, 3, 5, 3, 3, 6], Terms::scaling(6))]
#[case::behind_the_end(&[0, 3, 3, 5], Terms::NONE)]
#[case::wrong_length(&[3, 4, 5, 0, 2, 2], Terms::NONE)]
#[case::no_length(&[1, 1, 1, 3], Terms::NONE)]
#[case::length_zero(&[2, 0, 3, 3, 5], Terms::NONE)]
#[case::length_one(&[2, 1, 3, 3, 5], Terms::NONE)]
#[case::longer_than_the_header(&[2, 9, 3, 3, 5], Terms::NONE)]
#[case::cut_off(&[1, 1, 3, 3], Terms::NONE)]
fn what_a_syn_offers(#[case] options: &[u8], #[case] expected: Terms) {
    assert_eq!(offered(options), expected);
}

proptest! {
    #[test]
    fn any_options_are_read(options in prop::collection::vec(any::<u8>(), 0..=40)) {
        let terms = offered(&options);
        prop_assert!(terms == Terms::NONE || terms.has(Terms::SCALES) && terms.scale() <= 14);
    }
}
