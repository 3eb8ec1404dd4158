//! What is not in the text of a rule that a packet met: which element of a set it is in, what is left of a limit or quota.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_common::{
    image::{Insn, Interval, NEGATE, Op},
    limit,
    packet::{Field, Packet},
};

use super::words::{bytes, counted};

/// What instructions refer to, as it is in the kernel.
pub trait Memory {
    /// The instructions of a rule.
    fn of_rule(&self, rule: u32) -> Vec<Insn>;
    /// An interval of a set.
    fn interval(&self, at: u32) -> Option<Interval>;
    /// A constant.
    fn constant(&self, at: u32) -> Option<[u32; 4]>;
    /// The word of a limit or quota, before the packet.
    fn cell(&self, slot: u32) -> Option<u64>;
    /// `CLOCK_MONOTONIC`, nanoseconds.
    fn now_ns(&self) -> u64;
    /// The element of a set with a name that has a value in it, as text.
    fn member(&self, set: u32, value: u128) -> Option<String>;
}

/// What there is to say of a rule. Limits and quotas are told of when the packet got as far: `counts`.
pub fn of_rule(memory: &dyn Memory, rule: u32, counts: bool, packet: &Packet) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let insns = memory.of_rule(rule);
    notes.extend(small_set(memory, &insns, packet));
    for insn in insns {
        let is = |op: Op| insn.op == op as u8;
        let note = if is(Op::Set32) {
            element(memory, &insn, packet)
        } else if is(Op::Set128) {
            wide_element(memory, &insn, packet)
        } else if is(Op::LookUp) {
            member(memory, &insn, packet)
        } else if !counts {
            None
        } else if is(Op::LimitPackets) {
            packets_left(memory, &insn)
        } else if is(Op::LimitBytes) {
            bytes_left(memory, &insn)
        } else if is(Op::Quota) {
            quota(memory, &insn)
        } else {
            None
        };
        // A chain that is jumped to from several places stands there as often.
        notes.extend(note.filter(|note| !notes.contains(note)));
    }
    notes
}

/// A set of a few intervals is as many instructions about one field, of which one holds.
fn small_set(memory: &dyn Memory, insns: &[Insn], packet: &Packet) -> Option<String> {
    let bounds = |insn: &Insn| -> Option<(u128, u128, u128)> {
        if insn.op == Op::Range as u8 {
            let word = packet.words[insn.field as usize] & insn.mask;
            return (insn.mask == u32::MAX).then(|| (word.into(), insn.low.into(), insn.high.into()));
        }
        if insn.op != Op::Range128 as u8 {
            return None;
        }
        let at = insn.field as usize;
        let value = wide([packet.words[at], packet.words[at + 1], packet.words[at + 2], packet.words[at + 3]]);
        Some((value, wide(memory.constant(insn.low)?), wide(memory.constant(insn.high)?)))
    };
    let ranges: Vec<_> =
        insns.iter().filter(|insn| kind(insn).is_some()).filter_map(|insn| Some((insn, bounds(insn)?))).collect();
    let (insn, (_, low, high)) = ranges.iter().find(|(_, (value, low, high))| (low..=high).contains(&value))?;
    let others = ranges.iter().filter(|(other, (_, a, b))| other.field == insn.field && (a, b) != (low, high));
    if others.count() == 0 {
        return None;
    }
    Some(told(insn, &text(insn, *low)?, &text(insn, *high)?))
}

/// What values of an instruction's field are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Addresses,
    Ports,
}

fn kind(insn: &Insn) -> Option<Values> {
    let is = |fields: [Field; 2]| fields.iter().any(|field| *field as u8 == insn.field);
    if is([Field::SourceAddress, Field::DestinationAddress]) {
        Some(Values::Addresses)
    } else {
        is([Field::SourcePort, Field::DestinationPort]).then_some(Values::Ports)
    }
}

/// A value of an instruction's field, as people write it.
fn text(insn: &Insn, value: u128) -> Option<String> {
    let is_wide = insn.op == Op::Range128 as u8 || insn.op == Op::Set128 as u8;
    Some(match kind(insn)? {
        Values::Ports => (value & 0xffff).to_string(),
        Values::Addresses if is_wide => Ipv6Addr::from_bits(value).to_string(),
        Values::Addresses => Ipv4Addr::from_bits(value as u32).to_string(),
    })
}

fn wide(words: [u32; 4]) -> u128 {
    words.iter().fold(0, |wide, word| wide << 32 | u128::from(*word))
}

/// `element 8000-8080`
fn element(memory: &dyn Memory, insn: &Insn, packet: &Packet) -> Option<String> {
    let word = packet.words[insn.field as usize] & insn.mask;
    let mut all = (insn.low..insn.low + insn.high).map_while(|at| memory.interval(at));
    let found = all.find(|interval| (interval.low..=interval.high).contains(&word))?;
    Some(told(insn, &text(insn, found.low.into())?, &text(insn, found.high.into())?))
}

fn wide_element(memory: &dyn Memory, insn: &Insn, packet: &Packet) -> Option<String> {
    let field =
        [Field::SourceAddress, Field::DestinationAddress].into_iter().find(|field| *field as u8 == insn.field)?;
    let value = wide(std::array::from_fn(|index| packet.get_at(field, index)));
    let bounds = |nth: u32| {
        let at = insn.low + 2 * nth;
        Some((wide(memory.constant(at)?), wide(memory.constant(at + 1)?)))
    };
    let (low, high) = (0..insn.high).map_while(bounds).find(|(low, high)| (*low..=*high).contains(&value))?;
    Some(told(insn, &text(insn, low)?, &text(insn, high)?))
}

/// The element of a set that rules and people change, where its key is one part of the packet.
fn member(memory: &dyn Memory, insn: &Insn, packet: &Packet) -> Option<String> {
    let (words, shift, at) = (insn.high & 0xff, insn.high >> 8, insn.field as usize);
    let value = match words {
        1 => u128::from((packet.words[at] & insn.mask) >> shift),
        4 => wide([packet.words[at], packet.words[at + 1], packet.words[at + 2], packet.words[at + 3]]),
        _ => return None,
    };
    memory.member(insn.low, value).map(|element| format!("element {element}"))
}

fn told(insn: &Insn, low: &str, high: &str) -> String {
    let range = if low == high { low.to_owned() } else { format!("{low}-{high}") };
    if insn.flags & NEGATE == 0 { format!("element {range}") } else { format!("it is element {range}") }
}

fn halves(constant: [u32; 4]) -> (u64, u64) {
    let half = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    (half(constant[0], constant[1]), half(constant[2], constant[3]))
}

fn packets_left(memory: &dyn Memory, insn: &Insn) -> Option<String> {
    let (cost, capacity) = halves(memory.constant(insn.low)?);
    let left = limit::left(memory.cell(insn.extra)?, memory.now_ns(), capacity);
    Some(match left / cost.max(1) {
        0 => format!("nothing left of the limit, the next packet in {} ms", (cost - left).div_ceil(1_000_000)),
        packets => format!("{} left of the limit", counted(packets, "packet")),
    })
}

fn bytes_left(memory: &dyn Memory, insn: &Insn) -> Option<String> {
    let (_, capacity) = halves(memory.constant(insn.low)?);
    let (nanoseconds, rate) = halves(memory.constant(insn.low + 1)?);
    let left = limit::left(memory.cell(insn.extra)?, memory.now_ns(), capacity);
    let bytes_left = u128::from(left) * u128::from(rate) / u128::from(nanoseconds.max(1));
    Some(format!("{} left of the limit", bytes(u64::try_from(bytes_left).unwrap_or(u64::MAX))))
}

fn quota(memory: &dyn Memory, insn: &Insn) -> Option<String> {
    let (_, most) = halves(memory.constant(insn.low)?);
    Some(format!("{} of {} used of the quota", bytes(memory.cell(insn.extra)?.min(most)), bytes(most)))
}

#[cfg(test)]
mod tests {
    use firewall_common::packet::{NFPROTO_IPV4, NFPROTO_IPV6};

    use super::*;

    struct Kernel {
        insns: Vec<Insn>,
        intervals: Vec<Interval>,
        constants: Vec<[u32; 4]>,
        cell: u64,
    }

    impl Memory for Kernel {
        fn of_rule(&self, rule: u32) -> Vec<Insn> {
            self.insns.iter().filter(|insn| insn.rule == rule).copied().collect()
        }
        fn interval(&self, at: u32) -> Option<Interval> {
            self.intervals.get(at as usize).copied()
        }
        fn constant(&self, at: u32) -> Option<[u32; 4]> {
            self.constants.get(at as usize).copied()
        }
        fn cell(&self, _: u32) -> Option<u64> {
            Some(self.cell)
        }
        fn now_ns(&self) -> u64 {
            1_000_000_000
        }
        fn member(&self, set: u32, value: u128) -> Option<String> {
            (set == 3).then(|| format!("{value:#x} expires 1h"))
        }
    }

    fn insn(op: Op, field: Field, low: u32, high: u32) -> Insn {
        Insn { op: op as u8, field: field as u8, rule: 7, mask: u32::MAX, low, high, ..Insn::default() }
    }

    fn notes(insn: Insn, cell: u64, packet: &Packet) -> Vec<String> {
        let address = |last| [0x2001_0db8, 0, 0, last];
        // Ten milliseconds a packet, a burst of four; a quota of 100 bytes.
        let constants = vec![address(1), address(9), [0, 10_000_000, 0, 40_000_000], [0, 0, 0, 100]];
        let intervals =
            vec![Interval { low: 0x0006_1f40, high: 0x0006_1f90 }, Interval { low: 0xc633_6400, high: 0xc633_64ff }];
        of_rule(&Kernel { insns: vec![insn, insn], intervals, constants, cell }, 7, true, packet)
    }

    #[test]
    fn an_element_is_named() {
        let mut packet = Packet::EMPTY;
        packet.set(Field::NfProto, NFPROTO_IPV4);
        packet.set(Field::SourceAddress, 0xc633_6407);
        packet.set(Field::DestinationPort, 0x0006_1f41);
        assert_eq!(notes(insn(Op::Set32, Field::DestinationPort, 0, 2), 0, &packet), ["element 8000-8080"]);
        assert_eq!(
            notes(insn(Op::Set32, Field::SourceAddress, 0, 2), 0, &packet),
            ["element 198.51.100.0-198.51.100.255"]
        );
        packet.set(Field::DestinationPort, 0x0006_0050);
        assert!(notes(insn(Op::Set32, Field::DestinationPort, 0, 2), 0, &packet).is_empty());
        packet.set(Field::NfProto, NFPROTO_IPV6);
        packet.set(Field::SourceAddress, 0x2001_0db8);
        packet.set_at(Field::SourceAddress, 3, 5);
        let wide = insn(Op::Set128, Field::SourceAddress, 0, 1);
        assert_eq!(notes(wide, 0, &packet), ["element 2001:db8::1-2001:db8::9"]);
    }

    #[test]
    fn a_set_with_a_name_is_asked() {
        let mut packet = Packet::EMPTY;
        packet.set(Field::DestinationPort, 0x0006_1f41);
        let look_up = Insn { mask: 0xffff, ..insn(Op::LookUp, Field::DestinationPort, 3, 1) };
        assert_eq!(notes(look_up, 0, &packet), ["element 0x1f41 expires 1h"]);
        assert!(notes(Insn { low: 4, ..look_up }, 0, &packet).is_empty());
    }

    #[test]
    fn a_small_set_is_instructions() {
        let mut packet = Packet::EMPTY;
        packet.set(Field::DestinationPort, 0x0006_1f41);
        let range = |low: u32, high: u32| insn(Op::Range, Field::DestinationPort, 6 << 16 | low, 6 << 16 | high);
        let kernel = |insns| Kernel { insns, intervals: Vec::new(), constants: Vec::new(), cell: 0 };
        let set = kernel(vec![range(22, 22), range(80, 80), range(8000, 8080)]);
        assert_eq!(of_rule(&set, 7, true, &packet), ["element 8000-8080"]);
        assert!(of_rule(&kernel(vec![range(8000, 8080)]), 7, true, &packet).is_empty(), "the rule itself says so");
    }

    #[test]
    fn what_is_left_is_told() {
        let packet = Packet::EMPTY;
        let packets = insn(Op::LimitPackets, Field::Zero, 2, 0);
        assert_eq!(notes(packets, 0, &packet), ["4 packets left of the limit"]);
        let empty_since = |ns: u64| (1 << 63) + 1_000_000_000 - ns;
        assert_eq!(notes(packets, empty_since(13_000_000), &packet), ["1 packet left of the limit"]);
        let used_up = "nothing left of the limit, the next packet in 6 ms";
        assert_eq!(notes(packets, empty_since(4_000_000), &packet), [used_up]);
        let quota = insn(Op::Quota, Field::Zero, 3, 0);
        assert_eq!(notes(quota, 28, &packet), ["28 bytes of 100 bytes used of the quota"]);
    }
}
