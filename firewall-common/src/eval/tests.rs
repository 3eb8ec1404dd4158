//! Every operation, and that what runs on the host and in the kernel ends: with a verdict or with `None`.

use proptest::prelude::*;
use rstest::rstest;

use super::{Cursor, HostRun, Store, step, step_counter, step_range};
use crate::{
    fetch::Fetch,
    image::{DECIDES, Forest, Hook, Image, Insn, Interval, NEGATE, NO_RULE, Op, POLICY, Settings, Target},
    packet::{Field, NO_L4, Packet},
};

/// An image whose input hook starts at its first instruction.
fn image(insns: Vec<Insn>) -> Image {
    let mut settings = Settings::EMPTY;
    settings.entry[Hook::Input as usize] = Target::at(0);
    Image { insns, constants: Vec::new(), intervals: Vec::new(), settings, forest: Forest::default() }
}

/// A test of rule 7 that drops what it matches and accepts the rest.
fn test(op: Op, field: Field, low: u32, high: u32) -> Insn {
    Insn {
        op: op as u8,
        field: field as u8,
        flags: DECIDES,
        rule: 7,
        mask: u32::MAX,
        low,
        high,
        pass: Target::DROP,
        fail: Target::ACCEPT,
        ..Insn::default()
    }
}

fn run(image: &Image, packet: &Packet) -> Option<Cursor> {
    HostRun::new(image).run(Hook::Input, packet)
}

/// Did the image's one test match? It says whose verdict it was, too.
fn matches(image: &Image, packet: &Packet) -> bool {
    let cursor = run(image, packet).expect("a whole image");
    let matched = cursor.at == Target::DROP;
    assert_eq!(cursor.rule, if matched { 7 } else { NO_RULE });
    matched
}

/// Asks, then asks for the opposite.
fn check(mut image: Image, packet: &Packet, expected: bool) {
    assert_eq!(matches(&image, packet), expected);
    image.insns[0].flags |= NEGATE;
    assert_eq!(matches(&image, packet), !expected, "negated");
}

fn with(field: Field, value: u32) -> Packet {
    let mut packet = Packet::EMPTY;
    packet.set(field, value);
    packet
}

fn with_wide(field: Field, value: [u32; 4]) -> Packet {
    let mut packet = Packet::EMPTY;
    for (index, word) in value.into_iter().enumerate() {
        packet.set_at(field, index, word);
    }
    packet
}

#[rstest]
#[case::below(9, false)]
#[case::lowest(10, true)]
#[case::inside(15, true)]
#[case::highest(20, true)]
#[case::above(21, false)]
#[case::masked_bits_do_not_count(0xff00_000f, true)]
fn a_range(#[case] value: u32, #[case] expected: bool) {
    let insn = Insn { mask: 0x00ff_ffff, ..test(Op::Range, Field::Mark, 10, 20) };
    check(image(vec![insn]), &with(Field::Mark, value), expected);
}

/// Computes a word from another one.
fn compute(from: Field, (mask, xor, shifts): (u32, u32, u32), to: Field) -> Insn {
    let next = Target::at(1);
    Insn {
        op: Op::Compute as u8,
        field: from as u8,
        mask,
        low: xor,
        high: shifts,
        extra: to as u32,
        pass: next,
        fail: next,
        ..Insn::default()
    }
}

#[rstest]
#[case::a_copy((u32::MAX, 0, 0), 0x8765_4321)]
#[case::a_constant((0, 5, 0), 5)]
#[case::masked((0xff, 0, 0), 0x21)]
#[case::bits_turned((0xff, 0x101, 0), 0x120)]
#[case::shifted_right((u32::MAX, 0, 8), 0x0087_6543)]
#[case::shifted_left((u32::MAX, 0, 8 << 8), 0x6543_2100)]
#[case::right_then_left((u32::MAX, 0, 0x41c), 0x80)]
#[case::shifted_out((u32::MAX, 0, 32), 0)]
#[case::shifted_out_the_other_way((u32::MAX, 0, 32 << 8), 0)]
fn a_computed_word(#[case] how: (u32, u32, u32), #[case] expected: u32) {
    let mut packet = with(Field::Mark, 0x8765_4321);
    let image = image(vec![
        compute(Field::Mark, how, Field::Register),
        Insn {
            op: Op::Range as u8,
            field: Field::Register as u8,
            mask: u32::MAX,
            low: expected,
            high: expected,
            pass: Target::DROP,
            fail: Target::ACCEPT,
            ..Insn::default()
        },
    ]);
    let cursor = HostRun::new(&image).run_part(Hook::Input.into(), &mut packet).expect("a whole image");
    assert_eq!((cursor.at, packet.get(Field::Register)), (Target::DROP, expected));
    assert_eq!(packet.get(Field::Mark), 0x8765_4321);
}

#[test]
fn what_a_packet_does_not_have_is_not_fetched() {
    let fetch = Insn {
        op: Op::Fetch as u8,
        low: Fetch::Cpu as u32,
        extra: Field::Register as u32 + 2,
        pass: Target::DROP,
        fail: Target::ACCEPT,
        ..Insn::default()
    };
    let image = image(vec![fetch]);
    let mut packet = Packet::EMPTY;
    let mut run = HostRun::new(&image);
    assert_eq!(run.run_part(Hook::Input.into(), &mut packet).expect("a whole image").at, Target::ACCEPT);
    run.facts.push((Fetch::Cpu as u32, vec![3]));
    assert_eq!(run.run_part(Hook::Input.into(), &mut packet).expect("a whole image").at, Target::DROP);
    assert_eq!(packet.get_at(Field::Register, 2), 3);
}

#[test]
fn a_port_of_another_protocol_or_of_none_is_not_in_a_range() {
    let https = image(vec![test(Op::Range, Field::DestinationPort, 0x0006_01bb, 0x0006_01bb)]);
    check(https.clone(), &with(Field::DestinationPort, 0x0006_01bb), true);
    check(https.clone(), &with(Field::DestinationPort, 0x0011_01bb), false);
    check(https, &with(Field::DestinationPort, NO_L4), false);
    let any_tcp_port = image(vec![test(Op::Range, Field::DestinationPort, 0x0006_0000, 0x0006_ffff)]);
    check(any_tcp_port, &with(Field::DestinationPort, NO_L4), false);
}

#[rstest]
#[case::the_network([0x2001_0db8, 0x00ff_0000, 0, 0], true)]
#[case::a_host_in_it([0x2001_0db8, 0x00ff_1234, 5, 6], true)]
#[case::the_network_before([0x2001_0db8, 0x00fe_ffff, 5, 6], false)]
#[case::the_network_behind([0x2001_0db8, 0x0100_0000, 5, 6], false)]
#[case::another([0x2001_0db9, 0x00ff_0000, 0, 0], false)]
fn a_prefix(#[case] address: [u32; 4], #[case] expected: bool) {
    let mut image = image(vec![test(Op::Masked128, Field::SourceAddress, 1, 0)]);
    image.constants = vec![[u32::MAX, 0xffff_0000, 0, 0], [0x2001_0db8, 0x00ff_0000, 0, 0]];
    check(image, &with_wide(Field::SourceAddress, address), expected);
}

#[rstest]
#[case::every_word_counts(0)]
#[case::every_word_counts(1)]
#[case::every_word_counts(2)]
#[case::every_word_counts(3)]
fn a_name(#[case] different: usize) {
    let name = [0x6574_6830, 0, 0, 0];
    let mut image = image(vec![test(Op::Masked128, Field::IifName, 0, 1)]);
    image.constants = vec![name, [u32::MAX; 4]];
    check(image.clone(), &with_wide(Field::IifName, name), true);
    let mut other = name;
    other[different] ^= 1;
    check(image, &with_wide(Field::IifName, other), false);
}

#[rstest]
#[case::below([1, 0, 0, 0xffff_fffe], false)]
#[case::lowest([1, 0, 0, 0xffff_ffff], true)]
#[case::carried_into_the_next_word([1, 0, 1, 0], true)]
#[case::between_by_the_first_word([2, 0, 0, 0], true)]
#[case::highest([3, 4, 5, 6], true)]
#[case::above([3, 4, 5, 7], false)]
#[case::above_by_the_first_word([4, 0, 0, 0], false)]
fn a_128_bit_range(#[case] address: [u32; 4], #[case] expected: bool) {
    let mut image = image(vec![test(Op::Range128, Field::DestinationAddress, 0, 1)]);
    image.constants = vec![[1, 0, 0, 0xffff_ffff], [3, 4, 5, 6]];
    check(image, &with_wide(Field::DestinationAddress, address), expected);
}

#[rstest]
#[case::empty(0, 5, false)]
#[case::the_only_one(1, 10, true)]
#[case::before_the_first(3, 9, false)]
#[case::in_a_gap(3, 13, false)]
#[case::the_last_of_the_last(3, 40, true)]
#[case::behind_the_last(3, 41, false)]
fn a_set(#[case] count: u32, #[case] value: u32, #[case] expected: bool) {
    let mut image = image(vec![test(Op::Set32, Field::Mark, 1, count)]);
    image.intervals =
        [(0, u32::MAX), (10, 12), (20, 20), (30, 40), (0, u32::MAX)].map(|(low, high)| Interval { low, high }).to_vec();
    check(image, &with(Field::Mark, value), expected);
}

#[test]
fn a_set_tests_what_the_mask_leaves() {
    let mut image = image(vec![Insn { mask: 0xff, ..test(Op::Set32, Field::Mark, 0, 1) }]);
    image.intervals = vec![Interval { low: 5, high: 6 }];
    check(image, &with(Field::Mark, 0x1205), true);
}

/// As many intervals as a set may have: the search needs all its halvings.
#[test]
fn the_largest_set_is_searched_to_its_ends() {
    const COUNT: u32 = 1 << crate::limits::MAX_SET_STEPS;
    let mut image = image(vec![test(Op::Set32, Field::Mark, 0, COUNT)]);
    image.intervals = (0..COUNT).map(|index| Interval { low: index * 4 + 1, high: index * 4 + 2 }).collect();
    for index in [0, 1, 2, COUNT / 2 - 1, COUNT / 2, COUNT - 2, COUNT - 1] {
        for (value, expected) in [(0, false), (1, true), (2, true), (3, false)] {
            assert_eq!(matches(&image, &with(Field::Mark, index * 4 + value)), expected, "{index} {value}");
        }
    }
}

/// A counter and a log statement, then a test, then another counter: what happens is what stands there, in order.
#[test]
fn statements_act_in_order_and_go_on() {
    let statement =
        |op: Op, low, next| Insn { low, pass: Target::at(next), fail: Target::DROP, ..test(op, Field::Zero, 0, 0) };
    let insns = vec![
        Insn { flags: 0, ..statement(Op::Counter, 11, 1) },
        Insn { flags: 0, rule: 3, ..statement(Op::Log, 22, 2) },
        Insn { pass: Target::at(3), fail: Target::DROP, flags: 0, ..test(Op::Range, Field::Mark, 1, 1) },
        Insn { flags: 0, ..statement(Op::Counter, 12, 4) },
        Insn::always(9, DECIDES, Target::ACCEPT),
    ];
    let image = image(insns);
    let mut all = HostRun::new(&image);
    let cursor = all.run(Hook::Input, &with(Field::Mark, 1)).expect("a whole image");
    assert_eq!((cursor.at, cursor.rule), (Target::ACCEPT, 9));
    assert_eq!((all.counted, all.logged), (vec![11, 12], vec![(22, 3)]));
    let mut some = HostRun::new(&image);
    let cursor = some.run(Hook::Input, &with(Field::Mark, 2)).expect("a whole image");
    assert_eq!((cursor.at, cursor.rule), (Target::DROP, NO_RULE), "going to `fail` is nobody's decision");
    assert_eq!((some.counted, some.logged), (vec![11], vec![(22, 3)]));
}

#[rstest]
#[case::rule_accepts_then_policy_decides_next_chain(1, Target::DROP, POLICY | 4)]
#[case::no_rule_decides(0, Target::DROP, POLICY | 4)]
fn who_decides_last_is_remembered(#[case] mark: u32, #[case] verdict: Target, #[case] rule: u32) {
    let accept_in_first_chain = Insn { pass: Target::at(1), fail: Target::at(1), ..test(Op::Range, Field::Mark, 1, 1) };
    let image = image(vec![accept_in_first_chain, Insn::always(POLICY | 4, DECIDES, Target::DROP)]);
    let cursor = run(&image, &with(Field::Mark, mark)).expect("a whole image");
    assert_eq!((cursor.at, cursor.rule), (verdict, rule));
}

#[test]
fn a_test_that_does_not_decide_is_not_remembered() {
    let first = Insn { pass: Target::at(1), ..test(Op::Range, Field::Zero, 0, 0) };
    let second = Insn { flags: 0, rule: 8, ..test(Op::Range, Field::Zero, 0, 0) };
    let cursor = run(&image(vec![first, second]), &Packet::EMPTY).expect("a whole image");
    assert_eq!((cursor.at, cursor.rule), (Target::DROP, 7));
}

#[test]
fn a_negated_test_decides_when_it_does_not_hold() {
    let insn = Insn { flags: NEGATE | DECIDES, ..test(Op::Range, Field::Mark, 1, 1) };
    let image = image(vec![insn]);
    assert_eq!(run(&image, &with(Field::Mark, 2)), Some(Cursor { rule: 7, ..Cursor::new(Target::DROP) }));
    assert_eq!(run(&image, &with(Field::Mark, 1)), Some(Cursor::new(Target::ACCEPT)));
}

#[test]
fn a_hook_without_chains_accepts() {
    let image = image(vec![Insn::always(0, DECIDES, Target::DROP)]);
    for hook in Hook::ALL.into_iter().filter(|hook| *hook != Hook::Input) {
        let cursor = HostRun::new(&image).run(hook, &Packet::EMPTY);
        assert_eq!(cursor, Some(Cursor::new(Target::ACCEPT)), "{hook:?}");
    }
}

#[rstest]
#[case::goes_beyond_its_end(Insn::always(0, 0, Target::at(1)))]
#[case::goes_in_a_circle(Insn::always(0, 0, Target::at(0)))]
#[case::has_no_such_operation(Insn { op: 0, ..Insn::default() })]
#[case::has_an_operation_from_the_future(Insn { op: 8, ..Insn::default() })]
#[case::has_no_such_constant(test(Op::Masked128, Field::IifName, 0, 1))]
#[case::has_no_such_range(test(Op::Range128, Field::SourceAddress, 2, 3))]
#[case::has_no_such_interval(test(Op::Set32, Field::Mark, 0, 1))]
#[case::has_no_such_wide_interval(test(Op::Set128, Field::SourceAddress, 0, 1))]
fn a_broken_image_gives_no_verdict(#[case] insn: Insn) {
    assert_eq!(run(&image(vec![insn]), &Packet::EMPTY), None);
}

#[test]
fn an_empty_image_gives_no_verdict() {
    assert_eq!(run(&image(Vec::new()), &Packet::EMPTY), None);
}

/// Sorted, disjoint, and often next to each other or wide apart.
fn any_intervals() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((0_u32..60, 0_u32..40), 0..40).prop_map(|steps| {
        let mut next = 0;
        let mut intervals = Vec::new();
        for (gap, width) in steps {
            let low = next + gap;
            intervals.push(Interval { low, high: low + width });
            next = low + width + 1;
        }
        intervals
    })
}

/// A number that differs from its neighbours in any of its words.
fn wide(value: u32) -> [u32; 4] {
    [value >> 9, 1 << 31 | value >> 6 & 7, value >> 3 & 7, !7 | value & 7]
}

fn any_insn() -> impl Strategy<Value = Insn> {
    let target = || {
        prop_oneof![
            3 => (0_u32..12).prop_map(Target::at),
            1 => Just(Target::ACCEPT),
            1 => Just(Target::DROP),
            1 => any::<u32>().prop_map(Target),
        ]
    };
    let small = || prop_oneof![9 => 0_u32..12, 1 => 0_u32..1 << 30];
    let parts = (0_u8..20, any::<u8>(), any::<u8>(), any::<u32>(), any::<u32>());
    (parts, small(), small(), target(), target()).prop_map(|((op, field, flags, rule, mask), low, high, pass, fail)| {
        Insn { op, field, flags, rule, mask, low, high, extra: high, pass, fail, ..Insn::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_set_is_searched_as_if_one_by_one(intervals in any_intervals(), values in prop::collection::vec(0_u32..4096, 32)) {
        let count = intervals.len() as u32;
        let mut image = image(vec![test(Op::Set32, Field::Mark, 0, count)]);
        image.intervals.clone_from(&intervals);
        let ends = intervals.iter().flat_map(|interval| [interval.low, interval.high, interval.high + 1]);
        for value in values.into_iter().chain(ends) {
            let expected = intervals.iter().any(|interval| (interval.low..=interval.high).contains(&value));
            prop_assert_eq!(matches(&image, &with(Field::Mark, value)), expected, "{}", value);
        }
    }

    #[test]
    fn a_wide_set_is_searched_as_if_one_by_one(
        intervals in any_intervals(),
        values in prop::collection::vec(0_u32..4096, 32),
    ) {
        let count = intervals.len() as u32;
        let mut image = image(vec![test(Op::Set128, Field::SourceAddress, 1, count)]);
        let constants = intervals.iter().flat_map(|interval| [wide(interval.low), wide(interval.high)]);
        image.constants = [[0; 4]].into_iter().chain(constants).collect();
        let ends = intervals.iter().flat_map(|interval| [interval.low, interval.high, interval.high + 1]);
        for value in values.into_iter().chain(ends) {
            let expected = intervals.iter().any(|interval| (interval.low..=interval.high).contains(&value));
            prop_assert_eq!(matches(&image, &with_wide(Field::SourceAddress, wide(value))), expected, "{}", value);
        }
    }

    #[test]
    fn wide_numbers_compare_as_numbers(low in any::<[u32; 4]>(), high in any::<[u32; 4]>(), near in 0_u32..3, word in 0_usize..4) {
        let number = |words: [u32; 4]| words.into_iter().fold(0_u128, |number, word| number << 32 | u128::from(word));
        let mut value = if near == 0 { low } else { high };
        value[word] = value[word].wrapping_add(near).wrapping_sub(1);
        let mut image = image(vec![test(Op::Range128, Field::SourceAddress, 0, 1)]);
        image.constants = vec![low, high];
        let expected = number(low) <= number(value) && number(value) <= number(high);
        prop_assert_eq!(matches(&image, &with_wide(Field::SourceAddress, value)), expected);
    }

    /// Nonsense ends: one instruction at a time, without a panic, on any image.
    #[test]
    fn any_image_takes_any_packet(
        insns in prop::collection::vec(any_insn(), 0..12),
        constants in prop::collection::vec(any::<[u32; 4]>(), 0..12),
        intervals in prop::collection::vec((any::<u32>(), any::<u32>()), 0..12),
        words in prop::array::uniform32(any::<u32>()),
    ) {
        let intervals = intervals.into_iter().map(|(low, high)| Interval { low, high }).collect();
        let image = Image { constants, intervals, ..image(insns) };
        let mut packet = Packet::EMPTY;
        packet.words[..32].copy_from_slice(&words);
        let mut store = HostRun::new(&image);
        let mut cursor = Cursor::new(Target::at(0));
        for _ in 0..1000 {
            if cursor.at.is_verdict() || store.insn(cursor.at.0).is_none() {
                break;
            }
            let before = cursor;
            let insn = *store.insn(before.at.0).expect("just seen");
            let mut alone = before;
            let is_range = step_range(&store, &packet, &mut alone);
            let is_counter = !is_range && step_counter(&mut HostRun::new(&image), &packet, &mut alone);
            if step(&mut store, &mut packet, &mut cursor).is_none() {
                prop_assert_eq!(cursor, before);
                break;
            }
            prop_assert!(cursor.at == insn.pass || cursor.at == insn.fail);
            prop_assert!(cursor.rule == before.rule || cursor.rule == insn.rule && insn.flags & DECIDES != 0);
            prop_assert_eq!(is_range, insn.op == Op::Range as u8);
            prop_assert_eq!(is_counter, insn.op == Op::Counter as u8);
            prop_assert_eq!(alone, if is_range || is_counter { cursor } else { before }, "the short step does the same");
        }
    }
}
