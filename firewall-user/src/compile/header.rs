//! Fields of headers that rules write.

use firewall_common::{
    edit::{HEADER_SUM, NETWORK, PAYLOAD_SUM, PSEUDO_SUM, TRANSPORT},
    image::{Hook, Insn, Op},
    packet::{FRAGMENT_LATER, Field},
};

use super::{
    assembler::{Assembler, Place},
    words::{self, Way, Word},
};
use crate::language::ruleset::{Selector, Subject};

/// Where a field is: its first bit within its header, and how many it has; which header, and what covers it.
struct Layout {
    bit: u32,
    bits: u32,
    of: u32,
}

/// A field that rules may write.
fn layout(selector: Selector) -> Option<Layout> {
    const IP: u32 = NETWORK | HEADER_SUM;
    const UPPER: u32 = TRANSPORT | PAYLOAD_SUM;
    let (bit, of) = match selector {
        Selector::IpDscp => (8, IP),
        Selector::IpEcn => (14, IP),
        Selector::IpId => (32, IP),
        Selector::IpTtl => (64, IP),
        Selector::IpSaddr => (96, IP | PSEUDO_SUM),
        Selector::IpDaddr => (128, IP | PSEUDO_SUM),
        Selector::Ip6Dscp => (4, NETWORK),
        Selector::Ip6Ecn => (10, NETWORK),
        Selector::Ip6FlowLabel => (12, NETWORK),
        Selector::Ip6HopLimit => (56, NETWORK),
        Selector::Ip6Saddr => (64, NETWORK | PSEUDO_SUM),
        Selector::Ip6Daddr => (192, NETWORK | PSEUDO_SUM),
        Selector::SourcePort(_) => (0, UPPER),
        Selector::DestinationPort(_) => (16, UPPER),
        Selector::TcpSequence | Selector::IcmpId | Selector::Icmp6Id => (32, UPPER),
        Selector::TcpAckSeq => (64, UPPER),
        Selector::TcpFlags => (104, UPPER),
        Selector::TcpWindow => (112, UPPER),
        Selector::TcpUrgPtr => (144, UPPER),
        Selector::IcmpSequence | Selector::Icmp6Sequence => (48, UPPER),
        Selector::EtherDaddr => (0, 0),
        Selector::EtherSaddr => (48, 0),
        Selector::VlanPcp => (112, 0),
        Selector::VlanDei => (115, 0),
        Selector::VlanId => (116, 0),
        _ => return None,
    };
    Some(Layout { bit, bits: selector.value_type().bits().into(), of })
}

/// Is this a field of a header?
pub(super) fn is_field(selector: Selector) -> bool {
    layout(selector).is_some()
}

/// Why this cannot be set at a hook, if it cannot: at XDP the packet has all of the kernel's receive path before it, where
/// nftables has some of it behind it.
pub(super) const fn not_here(selector: Selector, hook: Hook) -> Option<&'static str> {
    match (selector, hook) {
        (
            Selector::IpSaddr | Selector::IpDaddr | Selector::Ip6Saddr | Selector::Ip6Daddr,
            Hook::Input | Hook::Forward | Hook::Postrouting,
        ) => Some(
            "an address is set behind routing, but rampart acts before it: set it at the prerouting or output hook",
        ),
        (Selector::IpTtl | Selector::Ip6HopLimit, Hook::Forward | Hook::Postrouting) => Some(
            "a time to live is set behind routing, but rampart acts before the kernel takes one off: set one more at the \
             prerouting hook",
        ),
        (Selector::Priority, Hook::Output | Hook::Egress) => None,
        (Selector::Priority, _) => Some(
            "the priority of a packet that comes in is not kept by XDP: set it at the output hook, or netdev egress",
        ),
        _ => None,
    }
}

/// Writes a value into a field: it is in the words from `value` on, alone in one word when it has 32 bits at most, else with
/// its first bits first. Then the packet's words say so too.
pub(super) fn write(out: &mut Assembler, target: Subject, value: u32, way: Way) {
    let Some(Layout { bit, bits, of }) = layout(target.selector) else { return };
    if of & TRANSPORT != 0 {
        // A later fragment has the ports of the first one, and no header.
        words::step(out, way, words::range(Field::Fragment, FRAGMENT_LATER, (0, 0)));
    }
    let (first, last) = (bit / 16, (bit + bits - 1) / 16);
    for unit in first..=last {
        let insn = if bits > 32 { whole(unit, bit, value) } else { part(unit, (bit, bits), value) };
        let next = out.label();
        let insn = Insn { op: Op::Edit as u8, rule: way.rule, low: (2 * unit) | of, ..insn };
        out.push(insn, Place::Label(next), way.fail);
        out.bind_here(next);
    }
    for insn in mirrored(out, target.selector, value) {
        super::data::go_on(out, Insn { op: Op::Merge as u8, ..insn }, way);
    }
}

/// Two bytes of a value of several words, all of which they are.
fn whole(unit: u32, bit: u32, value: u32) -> Insn {
    let at = 16 * unit - bit;
    Insn {
        field: (value + at / 32) as u8,
        mask: 0xffff,
        high: if at.is_multiple_of(32) { 16 } else { 0 },
        ..Insn::default()
    }
}

/// Two bytes of which a value is a part, or the other way round.
fn part(unit: u32, (bit, bits): (u32, u32), value: u32) -> Insn {
    let (end, unit_end) = (bit + bits, 16 * unit + 16);
    let all = u64::MAX >> (64 - bits);
    let (mask, shifts) = if unit_end >= end {
        (all << (unit_end - end), (unit_end - end) << 8)
    } else {
        (all >> (end - unit_end), end - unit_end)
    };
    Insn { field: value as u8, mask: mask as u32 & 0xffff, high: shifts, ..Insn::default() }
}

/// The instructions that bring the packet's words in line.
fn mirrored(out: &Assembler, selector: Selector, value: u32) -> Vec<Insn> {
    let merge = |into: Field, mask: u32, shift: u32| Insn {
        field: value as u8,
        mask,
        high: shift,
        extra: into as u32,
        ..Insn::default()
    };
    let mut merges = match words::word(out, selector) {
        Word::Plain(field, max) => vec![merge(field, max as u32, 0)],
        Word::Part(field, shift, max) | Word::Tagged { field, protocol: _, shift, max } => {
            vec![merge(field, max << shift, shift.into())]
        }
        Word::AnyPort(field) => vec![merge(field, 0xffff, 0)],
        Word::Wide(field) | Word::Left(field, _) => {
            let bits = u32::from(selector.value_type().bits());
            let word = |at: u32| {
                let unused = (32 * (at + 1)).saturating_sub(bits);
                let whole = merge(field, u32::MAX << unused.min(31), 0);
                Insn { field: whole.field + at as u8, extra: whole.extra + at, ..whole }
            };
            (0..bits.div_ceil(32)).map(word).collect()
        }
    };
    // What is in two words.
    match selector {
        Selector::IpDscp | Selector::Ip6Dscp => merges.push(merge(Field::Tos, 0xfc, 2)),
        Selector::IpEcn | Selector::Ip6Ecn => merges.push(merge(Field::Tos, 3, 0)),
        Selector::Ip6HopLimit => merges.push(merge(Field::Ttl, 0xff, 0)),
        Selector::TcpFlags => merges.push(merge(Field::TcpWindow, 0xff << 16, 16)),
        _ => {}
    }
    merges
}
