//! `jhash`: its values side by side in registers, as nftables has them.

use firewall_common::{
    image::{Insn, USES_REGISTERS},
    packet::Field,
};

use super::{
    assembler::Assembler,
    data::{compute, go_on},
    words::{self, Way, Word},
};
use crate::language::ruleset::{CtField, PacketHash, Selector, Subject};

/// Writes the values that are hashed; what the instruction that hashes them is told: how many words and bytes there are and
/// which words are in the machine's order, the first of them, and the constant with the rest.
pub(super) fn write(out: &mut Assembler, hash: &PacketHash, way: Way) -> (u32, u32, u32) {
    let PacketHash { keys, modulus, seed, offset } = hash;
    let tests = Way { flags: 0, ..way };
    for key in keys {
        words::write_preconditions(out, *key, tests);
        words::write_presence(out, *key, tests);
    }
    let bytes = |key: &Subject| usize::from(key.selector.value_type().bits().div_ceil(8));
    let count: usize = keys.iter().map(|key| bytes(key).div_ceil(4)).sum();
    let first = out.take_registers(count) as usize;
    let (mut at, mut own_order) = (first, 0);
    for key in keys {
        for insn in read(out, *key, at as u32) {
            go_on(out, insn, way);
            own_order |= u32::from(is_own_order(key.selector)) << (at - first);
            at += 1;
        }
    }
    // In a concatenation each value fills whole words.
    let length = if let [only] = &keys[..] { bytes(only) } else { 4 * count };
    out.uses |= USES_REGISTERS;
    let rest = [seed.unwrap_or(0), *modulus, *offset, u32::from(seed.is_none())];
    let constant = out.constant(rest.iter().fold(0, |value, word| value << 32 | u128::from(*word)));
    (count as u32 | (length as u32) << 4 | own_order << 12, first as u32, constant)
}

/// The instructions that put a value into words, its first bits first.
fn read(out: &Assembler, subject: Subject, into: u32) -> Vec<Insn> {
    let bits = u32::from(subject.selector.value_type().bits());
    let mask = subject.mask.map_or(u32::MAX, |mask| mask as u32);
    let front = if is_own_order(subject.selector) || bits >= 32 { 0 } else { (32 - bits) << 8 };
    let one =
        |field: Field, mask: u32, shift: u32| vec![Insn { high: shift | front, ..compute((field as u8, mask), into) }];
    let many = |field: Field, bits: u32| {
        let word = |at: u32| {
            let unused = (32 * (at + 1)).saturating_sub(bits);
            compute((field as u8 + at as u8, u32::MAX << unused.min(31)), into + at)
        };
        (0..bits.div_ceil(32)).map(word).collect()
    };
    match words::word(out, subject.selector) {
        Word::Plain(field, _) => one(field, mask, 0),
        Word::Tagged { field, protocol: _, shift, max } | Word::Part(field, shift, max) => {
            one(field, (max & mask) << shift, shift.into())
        }
        Word::AnyPort(field) => one(field, 0xffff & mask, 0),
        Word::Wide(field) | Word::Left(field, _) => many(field, bits),
    }
}

/// Does the kernel keep the value in the machine's byte order?
const fn is_own_order(selector: Selector) -> bool {
    matches!(
        selector,
        Selector::Iif
            | Selector::Oif
            | Selector::Length
            | Selector::Mark
            | Selector::CtState
            | Selector::CtMark
            | Selector::Cpu
            | Selector::Priority
            | Selector::Hour
            | Selector::Generated(_)
            | Selector::Ct(CtField::Status | CtField::Zone(_) | CtField::Expiration)
    )
}
