//! A match as tests of a packet's words.

use firewall_common::{
    image::{Insn, NEGATE, Op, Target, USES_NAMES, USES_SETS},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, LINK_ETHERNET, NFPROTO_IPV4, NFPROTO_IPV6},
};

use super::{
    assembler::{Assembler, Place},
    fetch, reading,
};
use crate::language::ruleset::{Comparison, Network, Operand, Selector, Subject, Table, Transport, Values};

/// Intervals that are cheaper tested one by one than looked up in a set: a lookup halves, and reads memory each time.
const MAX_CHAINED: usize = 4;

/// A hardware address is the upper bits of four words.
const HARDWARE_SHIFT: u32 = 128 - 48;

/// Where a test leads.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// The rule, for attribution.
    pub(super) rule: u32,
    /// Flags of the instructions that lead to `pass`.
    pub(super) flags: u8,
    /// When it holds.
    pub(super) pass: Place,
    /// When it does not.
    pub(super) fail: Place,
}

/// A word of the packet and how a value lies in it.
#[derive(Clone, Copy)]
pub(super) enum Word {
    /// The value is the word, of so many bits.
    Plain(Field, u128),
    /// The value is the word's part from bit `shift` on, of this mask, with a protocol number in the upper half.
    Tagged {
        field: Field,
        protocol: u8,
        shift: u8,
        /// Mask of the value before the shift.
        max: u32,
    },
    /// The lower half of a port word, whatever protocol it has: something else has tested that.
    AnyPort(Field),
    /// The value is so many bits of the word from bit `shift` on; what else must hold is a precondition.
    Part(Field, u8, u32),
    /// Four words.
    Wide(Field),
    /// What is left of four words when they are shifted right by this; whatever the rest of them is.
    Left(Field, u32),
}

pub(super) fn word(out: &Assembler, selector: Selector) -> Word {
    if let Selector::Reading(reading) = selector {
        return reading::word(out, reading);
    }
    if let Some(wanted) = fetch::wanted(selector) {
        let register = out.loaded(selector);
        return match wanted.bits {
            128 => Word::Wide(register),
            33.. => Word::Left(register, 128 - wanted.bits),
            _ => Word::Plain(register, selector.max()),
        };
    }
    packet_word(selector)
}

/// Where the parser has put a value.
fn packet_word(selector: Selector) -> Word {
    let tagged = |field, protocol, shift, max| Word::Tagged { field, protocol, shift, max };
    match selector {
        // In registers, see `word`.
        Selector::Reading(_) | Selector::RouteMtu => Word::Plain(Field::Zero, 0),
        Selector::Iif => Word::Plain(Field::IifIndex, 0xffff_ffff),
        Selector::Oif => Word::Plain(Field::OifIndex, 0xffff_ffff),
        Selector::IifName => Word::Wide(Field::IifName),
        Selector::OifName => Word::Wide(Field::OifName),
        Selector::L4Proto | Selector::IpProtocol => Word::Plain(Field::L4Proto, 0xff),
        Selector::NfProto => Word::Plain(Field::NfProto, 0xff),
        Selector::Protocol => Word::Plain(Field::EtherType, 0xffff),
        Selector::Length => Word::Plain(Field::Length, 0xffff_ffff),
        Selector::Mark => Word::Plain(Field::Mark, 0xffff_ffff),
        Selector::CtState => Word::Plain(Field::CtState, 0xffff_ffff),
        Selector::CtMark => Word::Plain(Field::CtMark, 0xffff_ffff),
        Selector::EtherSaddr => Word::Left(Field::EtherSource, HARDWARE_SHIFT),
        Selector::EtherDaddr => Word::Left(Field::EtherDestination, HARDWARE_SHIFT),
        Selector::EtherType => Word::Part(Field::OuterEtherType, 0, 0xffff),
        Selector::VlanId => Word::Part(Field::Vlan, 0, 0xfff),
        Selector::VlanDei => Word::Part(Field::Vlan, 12, 1),
        Selector::VlanPcp => Word::Part(Field::Vlan, 13, 7),
        Selector::VlanType => Word::Part(Field::VlanType, 0, 0xffff),
        Selector::IpVersion | Selector::Ip6Version => Word::Part(Field::NetworkHeader, 28, 0xf),
        Selector::IpHdrLength => Word::Part(Field::NetworkHeader, 24, 0xf),
        Selector::IpDscp => Word::Part(Field::NetworkHeader, 18, 0x3f),
        Selector::IpEcn => Word::Part(Field::NetworkHeader, 16, 3),
        Selector::IpLength => Word::Part(Field::NetworkHeader, 0, 0xffff),
        Selector::IpId | Selector::Ip6Length => Word::Part(Field::NetworkHeaderNext, 16, 0xffff),
        Selector::IpFragOff => Word::Part(Field::NetworkHeaderNext, 0, 0xffff),
        Selector::IpTtl => Word::Plain(Field::Ttl, 0xff),
        Selector::Ip6Dscp => Word::Part(Field::NetworkHeader, 22, 0x3f),
        Selector::Ip6Ecn => Word::Part(Field::NetworkHeader, 20, 3),
        Selector::Ip6FlowLabel => Word::Part(Field::NetworkHeader, 0, 0xf_ffff),
        Selector::Ip6NextHdr => Word::Part(Field::NetworkHeaderNext, 8, 0xff),
        Selector::Ip6HopLimit => Word::Part(Field::NetworkHeaderNext, 0, 0xff),
        Selector::TcpSequence => Word::Part(Field::TransportHeader, 0, u32::MAX),
        Selector::TcpAckSeq => Word::Part(Field::TcpAck, 0, u32::MAX),
        Selector::TcpDoff => Word::Part(Field::TcpWindow, 28, 0xf),
        Selector::TcpReserved => Word::Part(Field::TcpWindow, 24, 0xf),
        Selector::TcpWindow => Word::Part(Field::TcpWindow, 0, 0xffff),
        Selector::TcpUrgPtr => Word::Part(Field::TcpUrgent, 0, 0xffff),
        Selector::UdpLength | Selector::IcmpId | Selector::Icmp6Id => Word::Part(Field::TransportHeader, 16, 0xffff),
        Selector::UdpChecksum | Selector::IcmpSequence | Selector::Icmp6Sequence => {
            Word::Part(Field::TransportHeader, 0, 0xffff)
        }
        Selector::IpSaddr => Word::Plain(Field::SourceAddress, 0xffff_ffff),
        Selector::IpDaddr => Word::Plain(Field::DestinationAddress, 0xffff_ffff),
        Selector::Ip6Saddr => Word::Wide(Field::SourceAddress),
        Selector::Ip6Daddr => Word::Wide(Field::DestinationAddress),
        Selector::SourcePort(transport) => port(Field::SourcePort, transport),
        Selector::DestinationPort(transport) => port(Field::DestinationPort, transport),
        Selector::TcpFlags => tagged(Field::TcpFlags, 6, 0, 0xff),
        Selector::IcmpType => tagged(Field::IcmpType, 1, 8, 0xff),
        Selector::IcmpCode => tagged(Field::IcmpType, 1, 0, 0xff),
        Selector::Icmp6Type => tagged(Field::IcmpType, 58, 8, 0xff),
        Selector::Icmp6Code => tagged(Field::IcmpType, 58, 0, 0xff),
        Selector::Priority => Word::Plain(Field::Priority, 0xffff_ffff),
        Selector::Cpu
        | Selector::Random
        | Selector::PktType
        | Selector::Time
        | Selector::Hour
        | Selector::Day
        | Selector::Ct(_)
        | Selector::Hash(_)
        | Selector::Generated(_) => unreachable!("fetched"),
    }
}

fn port(field: Field, transport: Transport) -> Word {
    match transport.number() {
        Some(protocol) => Word::Tagged { field, protocol, shift: 0, max: 0xffff },
        None => Word::AnyPort(field),
    }
}

/// Values as disjoint sorted intervals, to be in or out of.
struct Wanted {
    intervals: Vec<(u128, u128)>,
    inside: bool,
}

fn wanted(comparison: Comparison, operand: &Operand, table: &Table) -> Wanted {
    let runs = |values: &[Values]| values.iter().map(|one| (one.low, one.high)).collect::<Vec<_>>();
    let mut intervals = match operand {
        Operand::One(values) => return wanted_one(comparison, *values),
        Operand::Set(values) => runs(values),
        Operand::Named(set) => table.sets[*set].elements.iter().map(|one| (one.values.low, one.values.high)).collect(),
    };
    merge(&mut intervals);
    Wanted { intervals, inside: comparison != Comparison::NotEqual }
}

fn wanted_one(comparison: Comparison, values: Values) -> Wanted {
    let Values { low, high, form: _ } = values;
    let run = |low: u128, high: u128| if low <= high { vec![(low, high)] } else { Vec::new() };
    let (intervals, inside) = match comparison {
        Comparison::Equal => (run(low, high), true),
        Comparison::NotEqual => (run(low, high), false),
        // Nothing is smaller than the smallest: the run from 1 to 0 is empty.
        Comparison::Less => (low.checked_sub(1).map_or_else(Vec::new, |last| run(0, last)), true),
        Comparison::LessEqual => (run(0, low), true),
        Comparison::Greater => (run(0, low), false),
        Comparison::GreaterEqual => (low.checked_sub(1).map_or_else(Vec::new, |last| run(0, last)), false),
        // The word is masked with the bits: any of them makes it 1 or more.
        Comparison::AnyBit => (run(1, low), true),
        Comparison::NoBit => (run(0, 0), true),
    };
    Wanted { intervals, inside }
}

/// Sorts intervals and joins those that touch: a set of the image needs them disjoint.
fn merge(intervals: &mut Vec<(u128, u128)>) {
    intervals.sort_unstable();
    let mut kept: Vec<(u128, u128)> = Vec::with_capacity(intervals.len());
    for (low, high) in intervals.drain(..) {
        match kept.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = (*last).max(high),
            Some(_) | None => kept.push((low, high)),
        }
    }
    *intervals = kept;
}

/// The values of `0..=max` that are not in the intervals.
fn complement(intervals: &[(u128, u128)], max: u128) -> Vec<(u128, u128)> {
    let mut gaps = Vec::with_capacity(intervals.len() + 1);
    let mut next = 0;
    for (low, high) in intervals {
        if *low > max {
            break;
        }
        if next < *low {
            gaps.push((next, low - 1));
        }
        next = high.saturating_add(1);
    }
    if next <= max {
        gaps.push((next, max));
    }
    gaps
}

/// Writes the test of a match.
pub(super) fn write_match(
    out: &mut Assembler,
    table: &Table,
    (subject, comparison, operand): (Subject, Comparison, &Operand),
    way: Way,
) {
    write_preconditions(out, subject, way);
    let wanted = without_set_bits(wanted(comparison, operand, table), subject.or);
    let bits = match (comparison, operand) {
        (Comparison::AnyBit | Comparison::NoBit, Operand::One(values)) => Some(values.low),
        _ if subject.or != 0 => Some(subject.mask.unwrap_or(u128::MAX) & !subject.or),
        _ => subject.mask,
    };
    write_test(out, (subject.selector, bits), &wanted, way);
}

/// Single values that have the bits which count as set, without these bits: others are never equal.
fn without_set_bits(wanted: Wanted, or: u128) -> Wanted {
    if or == 0 {
        return wanted;
    }
    let values = wanted.intervals.iter().flat_map(|(low, high)| *low..=*high);
    let mut intervals: Vec<_> =
        values.filter(|value| value & or == or).map(|value| (value & !or, value & !or)).collect();
    merge(&mut intervals);
    Wanted { intervals, ..wanted }
}

/// Writes the tests that a verdict map's subject needs; the map itself is one test for each verdict.
pub(super) fn write_preconditions(out: &mut Assembler, subject: Subject, way: Way) {
    if let Some(network) = subject.network {
        network_test(out, network, way);
    }
    for test in header_tests(subject) {
        step(out, way, test);
    }
    fetch::write(out, subject.selector, way);
    if let Selector::Reading(what) = subject.selector {
        reading::write(out, what, way);
    }
    match (subject.selector, word(out, subject.selector)) {
        // No protocol number has the bits that are set in the word of a packet without ports.
        (_, Word::AnyPort(field)) => step(out, way, range(field, 0xff00_0000, (0, 0))),
        // Without a connection there is no mark to look at: not even `ct mark != 1` matches.
        (Selector::CtMark, _) => step(out, way, range(Field::CtState, CONNECTIONLESS, (0, 0))),
        (_, Word::Plain(..) | Word::Tagged { .. } | Word::Part(..) | Word::Wide(_) | Word::Left(..)) => {}
    }
}

/// What must hold for the words of a header to be those of this packet.
fn header_tests(subject: Subject) -> Vec<Insn> {
    if fetch::wanted(subject.selector).is_some() || matches!(subject.selector, Selector::Reading(_)) {
        return Vec::new();
    }
    let protocol = match (subject.selector.words().0, packet_word(subject.selector)) {
        ("ether" | "vlan", _) => return link_tests(subject.tagged),
        ("tcp", Word::Part(..)) => 6,
        ("udp", Word::Part(..)) => 17,
        ("icmp", Word::Part(..)) => 1,
        ("icmpv6", Word::Part(..)) => 58,
        _ => return Vec::new(),
    };
    // A later fragment takes ports and types of the first one, but has none of the rest.
    vec![
        range(Field::L4Header, u32::MAX, (protocol | L4_PRESENT, protocol | L4_PRESENT)),
        range(Field::Fragment, FRAGMENT_LATER, (0, 0)),
    ]
}

/// nftables asks whether the packet came in by an Ethernet interface: so neither from here nor over `lo`, which is
/// interface 1 in every network namespace.
fn link_tests(tagged: bool) -> Vec<Insn> {
    let mut tests = vec![
        range(Field::IifIndex, u32::MAX, (2, u32::MAX)),
        range(Field::Vlan, LINK_ETHERNET, (LINK_ETHERNET, LINK_ETHERNET)),
    ];
    if tagged {
        tests.push(range(Field::OuterEtherType, 0xffff, (0x8100, 0x8100)));
    }
    tests
}

/// States of packets that belong to no connection: invalid and untracked.
pub(super) const CONNECTIONLESS: u32 =
    firewall_common::conntrack::CtState::Invalid as u32 | firewall_common::conntrack::CtState::Untracked as u32;

/// Tests the network layer.
pub(super) fn network_test(out: &mut Assembler, network: Network, way: Way) {
    let number = match network {
        Network::Ip => NFPROTO_IPV4,
        Network::Ip6 => NFPROTO_IPV6,
    };
    step(out, way, range(Field::NfProto, u32::MAX, (number, number)));
}

/// Writes the test of one verdict of a map: its keys lead to `way.pass`.
pub(super) fn write_keys(out: &mut Assembler, subject: Subject, mut keys: Vec<(u128, u128)>, way: Way) {
    merge(&mut keys);
    write_test(out, (subject.selector, subject.mask), &Wanted { intervals: keys, inside: true }, way);
}

/// Writes a test that holds for every packet which has the value at all: what `*` in a map stands for.
pub(super) fn write_any(out: &mut Assembler, subject: Subject, way: Way) {
    let everything = Wanted { intervals: vec![(0, subject.selector.max())], inside: true };
    write_test(out, (subject.selector, None), &everything, way);
}

/// Tests that the packet has the value at all, where nothing else says so: in front of what holds without an element.
pub(super) fn write_presence(out: &mut Assembler, subject: Subject, way: Way) {
    if matches!(word(out, subject.selector), Word::Tagged { .. }) {
        let next = out.label();
        write_any(out, subject, Way { flags: 0, pass: Place::Label(next), ..way });
        out.bind_here(next);
    }
}

fn write_test(out: &mut Assembler, (selector, bits): (Selector, Option<u128>), wanted: &Wanted, way: Way) {
    out.note_use(selector);
    match word(out, selector) {
        Word::Wide(field) => {
            if matches!(field, Field::IifName | Field::OifName) {
                out.uses |= USES_NAMES;
            }
            wide(out, (field, bits), wanted, way);
        }
        Word::Plain(field, max) => plain(out, (field, max, bits), wanted, way),
        Word::Left(field, shift) => {
            let bits = bits.map(|bits| bits << shift);
            let rest = (1 << shift) - 1;
            let runs = wanted.intervals.iter().map(|(low, high)| (low << shift, high << shift | rest));
            wide(out, (field, bits), &Wanted { intervals: runs.collect(), inside: wanted.inside }, way);
        }
        Word::Part(field, shift, max) => {
            let set = wanted.intervals.iter().filter(|(low, _)| *low <= u128::from(max));
            let set = set.map(|(low, high)| ((*low as u32) << shift, ((*high).min(u128::from(max)) as u32) << shift));
            let mask = bits.map_or(max, |bits| bits as u32 & max) << shift;
            narrow(out, (field, mask), (&set.collect::<Vec<_>>(), wanted.inside), way);
        }
        Word::AnyPort(field) => {
            let set = allowed(wanted, 0xffff).iter().map(|(low, high)| (*low as u32, *high as u32)).collect::<Vec<_>>();
            narrow(out, (field, 0xffff & bits.map_or(u32::MAX, |bits| bits as u32)), (&set, true), way);
        }
        Word::Tagged { field, protocol, shift, max } => {
            let tag = u32::from(protocol) << 16;
            let set = allowed(wanted, u128::from(max));
            let set = set.iter().map(|(low, high)| (tag | ((*low as u32) << shift), tag | ((*high as u32) << shift)));
            let bits = bits.map_or(max, |bits| bits as u32 & max);
            // The mask leaves a type's code out: it may be anything.
            narrow(out, (field, 0xffff_0000 | (bits << shift)), (&set.collect::<Vec<_>>(), true), way);
        }
    }
}

/// The wanted values as intervals to be in.
fn allowed(wanted: &Wanted, max: u128) -> Vec<(u128, u128)> {
    if !wanted.inside {
        return complement(&wanted.intervals, max);
    }
    let inside = wanted.intervals.iter().filter(|(low, _)| *low <= max);
    inside.map(|(low, high)| (*low, (*high).min(max))).collect()
}

fn plain(out: &mut Assembler, (field, max, bits): (Field, u128, Option<u128>), wanted: &Wanted, way: Way) {
    let mask = bits.map_or(u32::MAX, |bits| bits as u32);
    let set = wanted.intervals.iter().filter(|(low, _)| *low <= max);
    let set: Vec<_> = set.map(|(low, high)| (*low as u32, (*high).min(max) as u32)).collect();
    narrow(out, (field, mask), (&set, wanted.inside), way);
}

/// Tests one word against intervals.
fn narrow(out: &mut Assembler, (field, mask): (Field, u32), (set, inside): (&[(u32, u32)], bool), way: Way) {
    if set.is_empty() {
        return never(out, inside, way);
    }
    if set.len() > MAX_CHAINED {
        out.uses |= USES_SETS;
        let low = out.intervals(set);
        let lookup =
            Insn { op: Op::Set32 as u8, field: field as u8, mask, low, high: set.len() as u32, ..Insn::default() };
        return last(out, lookup, inside, way);
    }
    let tests = set.iter().map(|run| range(field, mask, *run)).collect();
    chained(out, tests, inside, way);
}

pub(super) fn range(field: Field, mask: u32, (low, high): (u32, u32)) -> Insn {
    Insn { op: Op::Range as u8, field: field as u8, mask, low, high, ..Insn::default() }
}

/// Tests four words against intervals.
fn wide(out: &mut Assembler, (field, bits): (Field, Option<u128>), wanted: &Wanted, way: Way) {
    let Wanted { intervals, inside } = wanted;
    if intervals.is_empty() {
        return never(out, *inside, way);
    }
    if intervals.len() > MAX_CHAINED {
        out.uses |= USES_SETS;
        let low = out.wide_intervals(intervals);
        let high = intervals.len() as u32;
        let lookup = Insn { op: Op::Set128 as u8, field: field as u8, low, high, ..Insn::default() };
        return last(out, lookup, *inside, way);
    }
    let tests = intervals.iter().map(|run| wide_run(out, (field, bits), *run)).collect();
    chained(out, tests, *inside, way);
}

fn wide_run(out: &mut Assembler, (field, bits): (Field, Option<u128>), (low, high): (u128, u128)) -> Insn {
    let host = low ^ high;
    let is_prefix = host & host.wrapping_add(1) == 0 && low & host == 0;
    let (op, low, high) = if is_prefix {
        (Op::Masked128, out.constant(low), out.constant(!host & bits.unwrap_or(u128::MAX)))
    } else {
        (Op::Range128, out.constant(low), out.constant(high))
    };
    Insn { op: op as u8, field: field as u8, low, high, ..Insn::default() }
}

/// Tests one after the other: inside means inside one of them.
fn chained(out: &mut Assembler, tests: Vec<Insn>, inside: bool, way: Way) {
    let count = tests.len();
    for (at, test) in tests.into_iter().enumerate() {
        if at + 1 == count {
            return last(out, test, inside, way);
        }
        let next = out.label();
        if inside {
            last(out, test, true, Way { fail: Place::Label(next), ..way });
        } else {
            // Inside one of them is outside of what is wanted; the next one may still hold it back.
            last(out, test, false, Way { flags: 0, pass: Place::Label(next), ..way });
        }
        out.bind_here(next);
    }
}

pub(super) fn last(out: &mut Assembler, test: Insn, inside: bool, way: Way) {
    let Way { rule, flags, pass, fail } = way;
    let negate = if inside { 0 } else { NEGATE };
    out.push(Insn { flags: flags | negate, rule, ..test }, pass, fail);
}

/// A test that always has the same answer: nothing is in an empty set.
fn never(out: &mut Assembler, inside: bool, way: Way) {
    last(out, range(Field::Zero, 0, (1, 1)), inside, way);
}

/// Goes to a place.
pub(super) fn always(out: &mut Assembler, rule: u32, place: Place) {
    out.push(Insn::always(rule, 0, Target::ACCEPT), place, place);
}

/// Writes a test alone.
pub(super) fn test(out: &mut Assembler, test: Insn, way: Way) {
    last(out, test, true, way);
}

/// A test in front of another one, which is the next instruction.
pub(super) fn step(out: &mut Assembler, way: Way, test: Insn) {
    let next = out.label();
    last(out, test, true, Way { flags: 0, pass: Place::Label(next), ..way });
    out.bind_here(next);
}
