//! What rules write into TCP options: [`crate::image::Op::Option`].
//!
//! As `nft_exthdr_tcp_set_eval` writes (`net/netfilter/nft_exthdr.c`, Linux 6.18): an option that is not there is no reason to end
//! the rule, one that is cut short is. Where a value starts at an odd byte of its header the kernel computes the checksum
//! wrongly; here it is right.

use crate::{
    image::{Insn, Op},
    packet::{Packet, WORDS},
    read::{Part, Read, Scan},
};

/// In the operand of the length: a value is only made smaller (of the largest segment: a larger one would stall the connection).
pub const ONLY_SMALLER: u32 = 0x200;

/// The option of the largest segment (RFC 9293 section 3.2).
pub const MAXSEG: u8 = 2;

/// The instruction, but for the word of the value and where it leads: two or four bytes of an option.
pub fn operands(kind: u8, first: u16, bytes: u8) -> Insn {
    let read = Read { part: Part::TcpOption(kind), first, bytes, presence: false }.operands();
    let smaller = if kind == MAXSEG && bytes == 2 { ONLY_SMALLER } else { 0 };
    Insn { op: Op::Option as u8, high: read.high | smaller, ..read }
}

/// What is to be done, found by a walk over the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The rule ends.
    Ends = 0,
    /// Nothing, and the rule goes on.
    Stays = 1,
    /// The value is written.
    Written = 2,
}

/// Two bytes that are written over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Change {
    /// Where: bytes from the frame's start.
    pub at: u32,
    /// What stands there.
    pub old: u16,
    /// What shall.
    pub new: u16,
    /// Do they start at an odd byte of what the checksum is taken of? 1 or 0. Then it sees them swapped.
    pub odd: u32,
}

impl Change {
    /// The old and the new bytes as the checksum sees them.
    #[inline(always)]
    pub const fn summed(self) -> (u16, u16) {
        if self.odd == 0 { (self.old, self.new) } else { (self.old.swap_bytes(), self.new.swap_bytes()) }
    }
}

/// What the walk came to.
#[inline(always)]
pub fn outcome(insn: &Insn, packet: &Packet, scan: &Scan) -> Outcome {
    let Some(place) = scan.found() else {
        // Behind the header's start it stopped at an option that is cut short.
        return if scan.place() == packet.l4_offset && scan.place() != 0 { Outcome::Stays } else { Outcome::Ends };
    };
    let at = place - packet.l4_offset + insn.low;
    let value = packet.words[insn.extra as usize & (WORDS - 1)];
    let is_smaller = value & 0xffff < scan.be16(at);
    if insn.high & ONLY_SMALLER != 0 && !is_smaller { Outcome::Stays } else { Outcome::Written }
}

/// Change number `number` (0, and 1 of four bytes) of a value that is written.
#[inline(always)]
pub fn change(insn: &Insn, packet: &Packet, scan: &Scan, number: u32) -> Change {
    let from = scan.place() - packet.l4_offset + insn.low + 2 * number;
    let value = packet.words[insn.extra as usize & (WORDS - 1)];
    let is_upper = insn.high & 0xff == 4 && number == 0;
    let new = if is_upper { value >> 16 } else { value } as u16;
    Change { at: packet.l4_offset + from, old: scan.be16(from) as u16, new, odd: from & 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{edit, packet::Field, read};

    const AT: u32 = 34;

    /// A frame whose TCP header has these options, and what a value written into one makes of it.
    fn written(options: &[u8], insn: Insn, value: u32) -> (Outcome, Vec<u8>) {
        let mut frame = vec![0; AT as usize + 20];
        frame.extend(options);
        let mut packet = Packet { l4_offset: AT, l3_offset: 14, frame_length: frame.len() as u32, ..Packet::EMPTY };
        packet.set(Field::NfProto, 2);
        packet.set(Field::L4Proto, 6);
        packet.set(Field::Length, frame.len() as u32 - 14);
        packet.set(Field::TcpWindow, (5 + options.len() as u32 / 4) << 28);
        packet.set(Field::Register, value);
        let insn = Insn { extra: Field::Register as u32, ..insn };
        let mut scan = Scan::NEW;
        for _ in 0..read::begin(&frame[..], &insn, &packet, &mut scan) {
            if !read::step(&frame[..], &mut scan) {
                break;
            }
        }
        let outcome = outcome(&insn, &packet, &scan);
        if outcome == Outcome::Written {
            for number in 0..(insn.high & 0xff) / 2 {
                let change = change(&insn, &packet, &scan, number);
                let at = change.at as usize;
                assert_eq!(u16::from_be_bytes([frame[at], frame[at + 1]]), change.old);
                frame[at..at + 2].copy_from_slice(&change.new.to_be_bytes());
                let sum_at = AT as usize + 16;
                let sum = u16::from_be_bytes([frame[sum_at], frame[sum_at + 1]]);
                let (old, new) = change.summed();
                frame[sum_at..sum_at + 2].copy_from_slice(&edit::updated(sum, old, new).to_be_bytes());
            }
        }
        (outcome, frame.split_off(AT as usize))
    }

    /// The sum of all words of a segment.
    fn sum(segment: &[u8]) -> u16 {
        let total: u32 = segment.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        ((total & 0xffff) + (total >> 16)) as u16
    }

    #[test]
    fn a_segment_size_is_only_made_smaller() {
        let mss = |value| written(&[2, 4, 5, 180], operands(MAXSEG, 2, 2), value);
        assert_eq!(mss(1400).1[20..], [2, 4, 5, 0x78]);
        assert_eq!(mss(1460).0, Outcome::Stays);
        assert_eq!(mss(9000).0, Outcome::Stays);
    }

    #[test]
    fn the_checksum_is_right_at_odd_bytes_too() {
        for options in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180, 0, 0, 0], &[1, 1, 2, 4, 5, 180, 1, 1]] {
            let before = sum(&written(options, operands(MAXSEG, 2, 2), 9000).1);
            let (outcome, segment) = written(options, operands(MAXSEG, 2, 2), 536);
            assert_eq!((outcome, sum(&segment) % 0xffff), (Outcome::Written, before % 0xffff), "{options:?}");
        }
        let stamps = [1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1];
        let before = sum(&stamps);
        let (outcome, segment) = written(&stamps, operands(8, 2, 4), 0xdead_beef);
        assert_eq!(outcome, Outcome::Written);
        assert_eq!(segment[20..], [1, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 2, 1]);
        assert_eq!(sum(&segment) % 0xffff, before % 0xffff);
    }

    #[test]
    fn an_option_that_is_not_there_is_left_alone_and_one_cut_short_ends_the_rule() {
        let mss = |options: &[u8]| written(options, operands(MAXSEG, 2, 2), 536).0;
        assert_eq!(mss(&[1, 1, 1, 1]), Outcome::Stays);
        assert_eq!(mss(&[]), Outcome::Stays);
        assert_eq!(mss(&[2, 2, 1, 1]), Outcome::Ends);
        assert_eq!(mss(&[1, 1, 2, 4]), Outcome::Ends);
    }
}
