//! What is kept of a fragmented packet between its fragments.
//!
//! The kernel's netfilter sees packets put together again. Here each fragment is judged as it comes, so what the first one
//! said of the packet is kept for the later ones; and which bytes have come, so that none comes twice with another
//! content (RFC 1858, RFC 5722).

use crate::packet::{Field, Packet};

/// Pieces with gaps between them that are kept apart: a packet whose fragments come in a wilder order than that is given up.
pub const MOST: usize = 8;

/// A fragmented packet of which the first fragment was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pieces {
    /// What only the first fragment knows: [`FIELDS`], and the identifier of an ICMP query.
    pub words: [u32; 5],
    /// When it is forgotten, ticks.
    pub expires: u32,
    /// What has come: `start << 16 | end`, in units of eight bytes; 0 for none.
    pub ranges: [u32; MOST],
    /// Something came that cannot be: the rest of the packet is dropped as well, for this [`Fit`].
    pub broken: u32,
}

crate::shared!(Pieces = 60);

/// The words that only the first fragment knows.
pub const FIELDS: [Field; 4] = [Field::L4Header, Field::SourcePort, Field::DestinationPort, Field::IcmpType];

/// How a fragment lies to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fit {
    /// Its bytes are new, or all of them have come before, which is left to who puts the packet together.
    Fits = 0,
    /// Some of its bytes have come before.
    Overlaps = 1,
    /// There are too many gaps to keep track of.
    Scattered = 2,
}

impl Fit {
    const fn of(number: u32) -> Self {
        match number {
            0 => Self::Fits,
            1 => Self::Overlaps,
            _ => Self::Scattered,
        }
    }
}

/// The bytes of a fragment, in units of eight: `start << 16 | end`.
#[inline(always)]
fn range(packet: &Packet) -> u32 {
    let start = (packet.fragment_offset / 8) & 0x1fff;
    let length = (packet.l4_length.div_ceil(8)) & 0x3fff;
    start << 16 | (start + length) & 0xffff
}

const fn start_of(range: u32) -> u32 {
    range >> 16
}

const fn end_of(range: u32) -> u32 {
    range & 0xffff
}

impl Pieces {
    /// What is known behind a first fragment.
    #[inline(always)]
    pub fn of_first(packet: &Packet, expires: u32) -> Self {
        let [l4_header, source, destination, icmp_type] = FIELDS.map(|field| packet.get(field));
        let mut ranges = [0; MOST];
        ranges[0] = range(packet);
        Self { words: [l4_header, source, destination, icmp_type, packet.icmp_id], expires, ranges, broken: 0 }
    }

    /// Is it still waited for the rest?
    #[inline(always)]
    pub const fn is_alive(&self, now: u32) -> bool {
        self.expires.wrapping_sub(now) as i32 > 0
    }

    /// Gives a later fragment what the first one had.
    #[inline(always)]
    pub fn lend(&self, packet: &mut Packet) {
        let [l4_header, source, destination, icmp_type, icmp_id] = self.words;
        for (field, word) in FIELDS.into_iter().zip([l4_header, source, destination, icmp_type]) {
            packet.set(field, word);
        }
        packet.icmp_id = icmp_id;
    }

    /// Notes that a later fragment has come.
    #[inline(always)]
    pub fn note(&mut self, packet: &Packet) -> Fit {
        if self.broken != 0 {
            return Fit::of(self.broken);
        }
        let new = range(packet);
        let (start, end) = (start_of(new), end_of(new));
        let (mut from, mut to) = (start, end);
        for at in 0..MOST {
            let (s, e) = (start_of(self.ranges[at]), end_of(self.ranges[at]));
            if e != 0 && start >= s && end <= e {
                return Fit::Fits;
            }
            if start < e && end > s {
                self.broken = Fit::Overlaps as u32;
                return Fit::Overlaps;
            }
            if e != 0 && (e == start || s == end) {
                (from, to) = if e == start { (s, to) } else { (from, e) };
                self.ranges[at] = 0;
            }
        }
        for at in 0..MOST {
            if self.ranges[at] == 0 {
                self.ranges[at] = from << 16 | to;
                return Fit::Fits;
            }
        }
        self.broken = Fit::Scattered as u32;
        Fit::Scattered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn piece(offset: u32, length: u32) -> Packet {
        let mut packet = Packet::EMPTY;
        (packet.fragment_offset, packet.l4_length) = (offset, length);
        packet
    }

    /// Where each fragment begins and how long it is, and how it fits; the first one begins the packet.
    #[rstest]
    #[case::in_order(&[(0, 32), (32, 32), (64, 5)], &[Fit::Fits; 2])]
    #[case::backwards(&[(0, 32), (64, 5), (32, 32)], &[Fit::Fits; 2])]
    #[case::twice(&[(0, 32), (32, 32), (32, 32), (40, 8)], &[Fit::Fits; 3])]
    #[case::over_the_first(&[(0, 32), (24, 32)], &[Fit::Overlaps])]
    #[case::over_the_next(&[(0, 32), (64, 32), (32, 40)], &[Fit::Fits, Fit::Overlaps])]
    #[case::around_it(&[(0, 32), (64, 8), (56, 32)], &[Fit::Fits, Fit::Overlaps])]
    #[case::and_all_behind_it(&[(0, 32), (24, 32), (64, 8)], &[Fit::Overlaps, Fit::Overlaps])]
    fn a_packet_in_pieces(#[case] pieces: &[(u32, u32)], #[case] expected: &[Fit]) {
        let mut kept = Pieces::of_first(&piece(pieces[0].0, pieces[0].1), 100);
        let fits: Vec<_> = pieces[1..].iter().map(|(offset, length)| kept.note(&piece(*offset, *length))).collect();
        assert_eq!(fits, expected);
    }

    #[test]
    fn eight_pieces_with_gaps_are_kept_apart() {
        let mut kept = Pieces::of_first(&piece(0, 8), 100);
        let fits: Vec<_> = (1..10).map(|number| kept.note(&piece(number * 16, 8))).collect();
        assert_eq!(fits, [[Fit::Fits; 7].as_slice(), &[Fit::Scattered; 2]].concat());
    }

    proptest! {
        /// The pieces of a packet fit in any order that leaves few gaps; one more byte range over two of them never does.
        #[test]
        fn a_packet_in_any_order(order in Just((1_u32..9).collect::<Vec<_>>()).prop_shuffle(), over in 1_u32..8) {
            let mut kept = Pieces::of_first(&piece(0, 40), 100);
            for number in &order {
                prop_assert_eq!(kept.note(&piece(number * 40, 40)), Fit::Fits);
            }
            let mut broken = Pieces::of_first(&piece(0, 40), 100);
            for number in order {
                broken.note(&piece(number * 40, 40));
                if number == over {
                    break;
                }
            }
            prop_assert_eq!(broken.note(&piece(over * 40 + 16, 4000)), Fit::Overlaps);
        }
    }
}
