//! Entries by their edges, and the worst rules that one can think of: what they need is bounded, and they are still found.

use proptest::prelude::*;

use super::{
    Entry, Head, MAX_DEPTH, Narrow, Wide,
    build::{Start, Tuning, build},
};
use crate::{
    eval::HostRun,
    image::{DECIDES, Forest, Hook, Image, Insn, Interval, Op, PARTS, POLICY, Settings, Target},
    limits::MAX_LEAF_ENTRIES,
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, NO_L4, Packet},
};

/// One test of a rule.
type Test = (Op, Field, u32, u32);

/// An image of rules that drop what passes all their tests, at the input hook; what none matches is accepted.
fn image(rules: &[Vec<Test>], constants: Vec<[u32; 4]>) -> Image {
    let mut insns: Vec<Insn> = Vec::new();
    let mut starts = Vec::new();
    for (number, tests) in rules.iter().enumerate() {
        let next = (insns.len() + tests.len()) as u32;
        starts.push(Start { index: insns.len() as u32, next: Some(next) });
        for (at, (op, field, low, high)) in tests.iter().enumerate() {
            let is_last = at + 1 == tests.len();
            insns.push(Insn {
                op: *op as u8,
                field: *field as u8,
                flags: if is_last { DECIDES } else { 0 },
                rule: number as u32,
                mask: u32::MAX,
                low: *low,
                high: *high,
                pass: if is_last { Target::DROP } else { Target::at(insns.len() as u32 + 1) },
                fail: Target::at(next),
                ..Insn::default()
            });
        }
    }
    starts.push(Start { index: insns.len() as u32, next: None });
    insns.push(Insn::always(POLICY, DECIDES, Target::ACCEPT));
    let mut settings = Settings::EMPTY;
    settings.entry[Hook::Input as usize] = Target::at(0);
    let mut image = Image { insns, constants, intervals: Vec::new(), settings, forest: Forest::default() };
    let mut hooks = [const { Vec::new() }; PARTS];
    hooks[Hook::Input as usize] = starts;
    build(&mut image, &hooks, &Tuning::default()).expect("within limits");
    image
}

fn packet_v4(source: u32, destination: u32, destination_port: u32) -> Packet {
    let mut packet = Packet::EMPTY;
    packet.set(Field::NfProto, NFPROTO_IPV4);
    packet.set(Field::L4Proto, 6);
    packet.set(Field::SourceAddress, source);
    packet.set(Field::DestinationAddress, destination);
    packet.set(Field::SourcePort, 6 << 16 | 1024);
    packet.set(Field::DestinationPort, destination_port);
    packet
}

fn packet_v6(source: u128) -> Packet {
    let mut packet = packet_v4(0, 0, 0x0006_0050);
    packet.set(Field::NfProto, NFPROTO_IPV6);
    for (index, shift) in [96, 64, 32, 0].into_iter().enumerate() {
        packet.set_at(Field::SourceAddress, index, (source >> shift) as u32);
    }
    packet
}

/// The rule found by the trees, which must be the one found without them.
fn decided_by(image: &Image, packet: &Packet) -> u32 {
    let by_trees = HostRun::new(image).run(Hook::Input, packet).expect("a whole image");
    let one_by_one = HostRun::new(image).run_linear(Hook::Input, packet).expect("a whole image");
    assert_eq!((by_trees.at, by_trees.rule), (one_by_one.at, one_by_one.rule), "{packet:?}");
    by_trees.rule
}

/// Nodes on the longest way, and entries of the longest leaf.
fn extent(forest: &Forest, at: u32) -> (usize, usize) {
    if at == super::EMPTY {
        return (0, 0);
    }
    if at & super::LEAF != 0 {
        let first = (at & !super::LEAF) as usize;
        let entries = forest.narrow[first..].iter().position(|entry| entry.head.flags & super::LAST != 0);
        return (0, entries.expect("a leaf ends") + 1);
    }
    let branches = forest.nodes[at as usize].branches.iter().map(|branch| extent(forest, *branch));
    let (depth, longest) = branches.fold((0, 0), |all, one| (all.0.max(one.0), all.1.max(one.1)));
    (depth + 1, longest)
}

#[test]
fn every_single_port_has_its_rule() {
    let rules: Vec<Vec<Test>> = (0..=u32::from(u16::MAX))
        .map(|port| vec![(Op::Range, Field::DestinationPort, 6 << 16 | port, 6 << 16 | port)])
        .collect();
    let image = image(&rules, Vec::new());
    for port in (0..=u32::from(u16::MAX)).step_by(251).chain([65535]) {
        assert_eq!(HostRun::new(&image).run(Hook::Input, &packet_v4(1, 2, 6 << 16 | port)).expect("whole").rule, port);
        assert_eq!(
            HostRun::new(&image).run(Hook::Input, &packet_v4(1, 2, 17 << 16 | port)).expect("whole").rule,
            POLICY
        );
    }
    assert_eq!(HostRun::new(&image).run(Hook::Input, &packet_v4(1, 2, NO_L4)).expect("whole").rule, POLICY);
    let (depth, longest) = extent(&image.forest, image.forest.roots[2].trees[0]);
    assert!(depth <= 6 && longest <= 8, "{depth} nodes, {longest} entries");
    assert!(image.forest.narrow.len() < 2 * rules.len(), "{} entries", image.forest.narrow.len());
}

#[test]
fn nested_ipv4_prefixes_find_the_longest() {
    let base = 0x0a5a_a5f1;
    let rules: Vec<Vec<Test>> = (0..=32)
        .rev()
        .map(|length| {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            vec![(Op::Range, Field::SourceAddress, base & !host, base | host)]
        })
        .collect();
    let image = image(&rules, Vec::new());
    for bit in 0..32 {
        // Differs first in this bit from the top: inside the prefixes of up to so many bits.
        let expected = 32 - bit;
        assert_eq!(decided_by(&image, &packet_v4(base ^ 1 << (31 - bit), 0, NO_L4)), expected, "bit {bit}");
    }
    assert_eq!(decided_by(&image, &packet_v4(base, 0, NO_L4)), 0);
}

#[test]
fn nested_ipv6_prefixes_find_the_longest() {
    let base = 0x2001_0db8_5a5a_a5a5_0123_4567_89ab_cdef_u128;
    let words = |value: u128| [96, 64, 32, 0].map(|shift| (value >> shift) as u32);
    let mut constants = Vec::new();
    let rules: Vec<Vec<Test>> = (0..=128_u32)
        .rev()
        .map(|length| {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            constants.extend([words(base & !host), words(!host)]);
            let at = constants.len() as u32 - 2;
            vec![
                (Op::Range, Field::NfProto, NFPROTO_IPV6, NFPROTO_IPV6),
                (Op::Masked128, Field::SourceAddress, at, at + 1),
            ]
        })
        .collect();
    let image = image(&rules, constants);
    for bit in 0..128 {
        let expected = 128 - bit;
        assert_eq!(decided_by(&image, &packet_v6(base ^ 1 << (127 - bit))), expected, "bit {bit}");
    }
    assert_eq!(decided_by(&image, &packet_v6(base)), 0);
    assert_eq!(decided_by(&image, &packet_v4(0x2001_0db8, 0, NO_L4)), POLICY);
}

#[test]
fn rules_that_all_overlap_need_no_more_than_their_allowance() {
    let tuning = Tuning::default();
    // Two nested families of intervals that cross each other: every rule overlaps every other one.
    let count = 3000_u32;
    let rules: Vec<Vec<Test>> = (0..count)
        .map(|at| {
            let (low, high) = (at << 16, u32::MAX - (at << 16));
            if at % 2 == 0 {
                vec![(Op::Range, Field::SourceAddress, low, high)]
            } else {
                vec![(Op::Range, Field::DestinationAddress, low, high)]
            }
        })
        .rev()
        .collect();
    let image = image(&rules, Vec::new());
    let entries = image.forest.narrow.len();
    assert!(entries <= super::TREES * tuning.allowance * rules.len() + tuning.least_allowance, "{entries} entries");
    for at in (0..count).step_by(37) {
        for (source, destination) in
            [(at << 16, 0), (0, at << 16), (at << 16, (count - at) << 16), (u32::MAX, u32::MAX)]
        {
            decided_by(&image, &packet_v4(source, destination, NO_L4));
        }
    }
}

#[test]
fn no_way_is_longer_than_the_walk() {
    // Each rule halves what the one before has, in both addresses by turns: the deepest that a tree can be wanted to be.
    let mut rules = Vec::new();
    for at in 0..62_u32 {
        let bits = at / 2 + 1;
        let field = if at % 2 == 0 { Field::SourceAddress } else { Field::DestinationAddress };
        rules.push(vec![(Op::Range, field, 0, u32::MAX >> bits)]);
    }
    rules.reverse();
    let image = image(&rules, Vec::new());
    for tree in image.forest.roots[2].trees {
        assert!(extent(&image.forest, tree).0 <= MAX_DEPTH);
    }
    for at in 0..32 {
        decided_by(&image, &packet_v4(u32::MAX >> at, u32::MAX >> (31 - at), NO_L4));
    }
}

#[test]
fn what_nobody_asks_for_is_not_in_a_tree() {
    let image = image(&vec![vec![(Op::Range, Field::Length, 5, 9)]; 3], Vec::new());
    assert_eq!(image.forest, Forest::default(), "three rules are run one by one");
    assert_eq!(image.settings.entry[Hook::Input as usize], Target::at(0));
}

proptest! {
    /// An entry matches exactly what lies within all its intervals.
    #[test]
    fn a_narrow_entry_compares_every_word(
        low in prop::array::uniform6(0_u32..3),
        span in prop::array::uniform6(0_u32..3),
        value in prop::array::uniform6(0_u32..5),
    ) {
        let head = Head { fields: [Field::L4Proto as u8, Field::Mark as u8], ..Head::default() };
        let mut packet = packet_v4(value[0], value[1], value[3]);
        packet.set(Field::SourcePort, value[2]);
        packet.set(Field::L4Proto, value[4]);
        packet.set(Field::Mark, value[5]);
        let expected = (0..6).all(|at| (low[at]..=low[at] + span[at]).contains(&value[at]));
        let entry = Narrow { low, span, head };
        prop_assert_eq!(entry.matches(&packet), expected);
    }

    /// The ends of the number range wrap nowhere.
    #[test]
    fn an_interval_may_reach_either_end(low in any::<u32>(), high in any::<u32>(), value in any::<u32>()) {
        let (low, high) = (low.min(high), low.max(high));
        let mut entry = Narrow { span: [u32::MAX; 6], ..Narrow::default() };
        (entry.low[1], entry.span[1]) = (low, high - low);
        for value in [value, low, high, low.wrapping_sub(1), high.wrapping_add(1), 0, u32::MAX] {
            let matches = entry.matches(&packet_v4(7, value, NO_L4));
            prop_assert_eq!(matches, (low..=high).contains(&value), "{:#x} in {:#x}-{:#x}", value, low, high);
        }
    }

    /// Every bit of a prefix counts, in both addresses.
    #[test]
    fn a_wide_entry_compares_every_bit(bit in 0_usize..256, mask in any::<bool>()) {
        let mut entry = Wide { mask: [u32::MAX; 8], span: [u32::MAX; 4], ..Wide::default() };
        let (word, shift) = (bit / 32, bit % 32);
        let mut packet = packet_v6(0);
        packet.set_at(Field::SourceAddress, word, 1 << shift);
        if mask {
            entry.mask[word] &= !(1 << shift);
        }
        prop_assert_eq!(entry.matches(&packet), mask);
    }
}

#[test]
fn what_needs_too_many_entries_is_refused_and_the_dearest_rules_named() {
    // Thirty-two ports are thirty-two entries: too many for this many rules with sets.
    let intervals: Vec<Interval> =
        (0..32).map(|at| Interval { low: 0x0006_0000 + 2 * at, high: 0x0006_0000 + 2 * at }).collect();
    let rules = 17_000_u32;
    let rule = |number: u32| Insn {
        op: Op::Set32 as u8,
        field: Field::DestinationPort as u8,
        flags: DECIDES,
        rule: number,
        mask: u32::MAX,
        high: intervals.len() as u32,
        pass: Target::DROP,
        fail: Target::at(number + 1),
        ..Insn::default()
    };
    let mut insns: Vec<Insn> = (0..rules).map(rule).collect();
    insns.push(Insn::always(POLICY, DECIDES, Target::ACCEPT));
    let mut hooks = [const { Vec::new() }; PARTS];
    hooks[Hook::Input as usize] =
        (0..=rules).map(|index| Start { index, next: (index < rules).then_some(index + 1) }).collect();
    let mut image =
        Image { insns, constants: Vec::new(), intervals, settings: Settings::EMPTY, forest: Forest::default() };
    let refused = build(&mut image, &hooks, &Tuning::default()).expect_err("too large");
    assert!(refused.entries > MAX_LEAF_ENTRIES / 2, "{}", refused.entries);
    assert_eq!(refused.most[0], (0, 32));
    assert_eq!(image.forest, Forest::default());
}
