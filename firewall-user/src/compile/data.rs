//! Computed values as instructions.

use std::collections::HashMap;

use firewall_common::{
    image::{Insn, Op, USES_MTU, USES_OPTIONS, USES_REGISTERS},
    option,
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, REGISTERS},
};

use super::{
    StateSet,
    assembler::{Assembler, Place},
    concat, header, sets,
    words::{self, CONNECTIONLESS, Way, Word, range},
};
use crate::language::reading::{Reading, Span, Whole};
use crate::language::ruleset::{Computed, Data, DataMap, Given, Lookup, Selector, Set, Step, Subject, Table, Values};

/// Gives what `target` stands for a value; a value that the packet does not have ends the rule.
pub(super) fn assign(out: &mut Assembler, table: &Table, (target, value): (Subject, &Data), way: Way) {
    out.note_use(target.selector);
    if let Selector::Reading(reading) = target.selector {
        return assign_option(out, table, (reading, value), way);
    }
    if header::is_field(target.selector) {
        return assign_field(out, table, (target, value), way);
    }
    if target.selector == Selector::Priority {
        let value = load(out, table, (value, Field::Priority as u32), way);
        return finish(out, value, way);
    }
    if target.selector != Selector::CtMark {
        let value = load(out, table, (value, Field::Mark as u32), way);
        return finish(out, value, way);
    }
    let value = load(out, table, (value, Field::register(REGISTERS - 1) as u32), way);
    go_on(out, value, way);
    // Without a connection nothing is set, and the rule goes on.
    let set = out.label();
    let unconnected = Way { fail: Place::Label(set), ..way };
    words::test(out, range(Field::CtState, CONNECTIONLESS, (1, u32::MAX)), unconnected);
    out.bind_here(set);
    finish(out, compute((Field::register(REGISTERS - 1) as u8, u32::MAX), Field::CtMark as u32), way);
}

/// Gives a field of a header a value.
fn assign_field(out: &mut Assembler, table: &Table, (target, value): (Subject, &Data), way: Way) {
    let tests = Way { flags: 0, ..way };
    words::write_preconditions(out, target, tests);
    words::write_presence(out, target, tests);
    let bits = usize::from(target.selector.value_type().bits());
    let count = if bits > 32 { bits.div_ceil(32) } else { 1 };
    let field = out.take_registers(count);
    match value {
        Data::Constant(value) if bits > 32 => put(out, &[(value << (32 * count - bits), 0)], &[(field, count)], way),
        Data::Lookup(lookup) if bits > 32 => look_up(out, table, lookup, &[(field, count)], way),
        Data::Computed(Computed { subject, steps: _ }) if bits > 32 => copy_wide(out, *subject, (field, count), way),
        Data::Constant(_) | Data::Computed(_) | Data::Lookup(_) => {
            let last = load(out, table, (value, field as u32), way);
            go_on(out, last, way);
        }
    }
    header::write(out, target, field as u32, tests);
    finish(out, Insn { op: Op::Range as u8, field: Field::Zero as u8, ..Insn::default() }, way);
}

/// Writes into a TCP option. As in the kernel a packet of another protocol ends the rule, and one without the option does not.
fn assign_option(out: &mut Assembler, table: &Table, (reading, value): (Reading, &Data), way: Way) {
    let Some(Span { of: Whole::TcpOption(kind), first, bytes, .. }) = reading.span() else { return };
    let tcp = u32::from(TCP) | L4_PRESENT;
    words::step(out, way, range(Field::L4Header, u32::MAX, (tcp, tcp)));
    words::step(out, way, range(Field::Fragment, FRAGMENT_LATER, (0, 0)));
    let word = out.take_registers(1) as u32;
    let last = match value {
        Data::Computed(Computed { subject, steps: _ }) if subject.selector == Selector::RouteMtu => {
            out.uses |= USES_MTU;
            Insn { op: Op::Mtu as u8, extra: word, ..Insn::default() }
        }
        Data::Constant(_) | Data::Computed(_) | Data::Lookup(_) => load(out, table, (value, word), way),
    };
    go_on(out, last, way);
    out.uses |= USES_OPTIONS | USES_REGISTERS;
    let insn = Insn { rule: way.rule, flags: way.flags, extra: word, ..option::operands(kind, first, bytes) };
    out.push(insn, way.pass, way.fail);
}

const TCP: u8 = 6;

/// Copies a value of several words, its first bits first.
fn copy_wide(out: &mut Assembler, subject: Subject, (into, count): (Field, usize), way: Way) {
    let tests = Way { flags: 0, ..way };
    words::write_preconditions(out, subject, tests);
    words::write_presence(out, subject, tests);
    out.note_use(subject.selector);
    let (Word::Wide(field) | Word::Left(field, _)) = words::word(out, subject.selector) else { return };
    for word in 0..count {
        go_on(out, compute((field as u8 + word as u8, u32::MAX), into as u32 + word as u32), way);
    }
}

/// Writes an instruction that leads to where the statement leads.
fn finish(out: &mut Assembler, insn: Insn, way: Way) {
    out.uses |= USES_REGISTERS;
    out.push(Insn { rule: way.rule, flags: way.flags, ..insn }, way.pass, way.pass);
}

/// An instruction that computes a word from another one's bits.
pub(super) fn compute((field, mask): (u8, u32), into: u32) -> Insn {
    Insn { op: Op::Compute as u8, field, mask, extra: into, ..Insn::default() }
}

/// Writes an instruction that goes to the next one.
pub(super) fn go_on(out: &mut Assembler, insn: Insn, way: Way) {
    out.uses |= USES_REGISTERS;
    let next = out.label();
    out.push(Insn { rule: way.rule, ..insn }, Place::Label(next), Place::Label(next));
    out.bind_here(next);
}

/// The instruction that puts a value of at most 32 bits into a word, the last of those it takes: it is not written yet. A
/// value that the packet does not have leads to `way.fail`.
fn load(out: &mut Assembler, table: &Table, (value, into): (&Data, u32), way: Way) -> Insn {
    match value {
        Data::Constant(value) => Insn { low: *value as u32, ..compute((Field::Zero as u8, 0), into) },
        Data::Computed(Computed { subject, steps }) => {
            let first = read(out, *subject, into, way);
            steps.iter().fold(first, |last, step| further(out, last, *step, way))
        }
        Data::Lookup(lookup) => {
            let found = out.take_registers(1);
            look_up(out, table, lookup, &[(found, 1)], way);
            compute((found as u8, u32::MAX), into)
        }
    }
}

/// Puts what a map gives into registers, from which on each part of the data has so many words. A packet whose key is not in
/// the map goes to `way.fail`.
pub(super) fn look_up(out: &mut Assembler, table: &Table, lookup: &Lookup, parts: &[(Field, usize)], way: Way) {
    if let Some((state, map)) = in_state(out, table, lookup) {
        return look_up_in_state(out, (&state, map), &lookup.keys, parts, way);
    }
    let done = out.label();
    each(out, table, lookup, way, |out, data, is_last| {
        put(out, data, parts, way);
        if !is_last {
            words::always(out, way.rule, Place::Label(done));
        }
    });
    out.bind_here(done);
}

/// Writes what is to be done with whatever a map gives; but for the last it must lead away from there. A packet whose key is
/// not in the map goes to `way.fail`.
pub(super) fn each(
    out: &mut Assembler,
    table: &Table,
    lookup: &Lookup,
    way: Way,
    then: impl Fn(&mut Assembler, &[(u128, u128)], bool),
) {
    let Lookup { keys, map } = lookup;
    for key in keys {
        words::write_preconditions(out, *key, Way { flags: 0, ..way });
    }
    let (groups, default) = groups(table, map);
    for key in keys.iter().filter(|_| default.is_some()) {
        words::write_presence(out, *key, Way { flags: 0, ..way });
    }
    for (data, alternatives) in groups {
        let (found, next) = (out.label(), out.label());
        for runs in alternatives {
            let another = out.label();
            let here = Way { flags: 0, pass: Place::Label(found), fail: Place::Label(another), ..way };
            concat::write(out, keys, runs, here);
            out.bind_here(another);
        }
        words::always(out, way.rule, Place::Label(next));
        out.bind_here(found);
        then(out, &data, false);
        out.bind_here(next);
    }
    match default {
        Some(data) => then(out, &data, true),
        None => words::always(out, way.rule, way.fail),
    }
}

/// The map that is looked into, if it is state.
pub(super) fn in_state<'a>(out: &Assembler, table: &'a Table, lookup: &Lookup) -> Option<(StateSet, &'a Set)> {
    let DataMap::Named(set) = &lookup.map else { return None };
    let set = &table.sets[*set];
    sets::of(&out.states, table, set).cloned().map(|state| (state, set))
}

/// [`look_up`] in a map that is state.
pub(super) fn look_up_in_state(
    out: &mut Assembler,
    (state, map): (&StateSet, &Set),
    keys: &[Subject],
    parts: &[(Field, usize)],
    way: Way,
) {
    // What the map gives stands in a row; the parts may be elsewhere.
    let count = parts.iter().map(|(_, words)| words).sum();
    let Some((first, _)) = parts.first() else { return };
    let mut at = *first as u32;
    let is_row = parts.iter().all(|(field, words)| {
        let fits = *field as u32 == at;
        at += *words as u32;
        fits
    });
    let into = if is_row { *first } else { out.take_registers(count) };
    let done = out.label();
    let found = out.label();
    let missing = out.label();
    let here = Way { flags: 0, pass: Place::Label(found), fail: Place::Label(missing), ..way };
    sets::write_look_up(out, (state, into as u32), (keys, false), here);
    out.bind_here(missing);
    let default = map.catch_all.as_ref().and_then(|any| any.given.as_ref());
    match default {
        Some(Given::Values(values)) => {
            put(out, &values.iter().map(|value| (value.low, value.high)).collect::<Vec<_>>(), parts, way);
            words::always(out, way.rule, Place::Label(done));
        }
        Some(Given::Verdict(_)) | None => words::always(out, way.rule, way.fail),
    }
    out.bind_here(found);
    out.uses |= USES_REGISTERS;
    if !is_row {
        let mut from = into as u32;
        for (field, words) in parts {
            for word in 0..*words as u32 {
                go_on(out, compute((from as u8, u32::MAX), *field as u32 + word), way);
                from += 1;
            }
        }
    }
    out.bind_here(done);
}

/// Writes data into registers.
fn put(out: &mut Assembler, data: &[(u128, u128)], parts: &[(Field, usize)], way: Way) {
    for ((value, _), (field, words)) in data.iter().zip(parts) {
        for word in 0..*words {
            let low = (value >> (32 * (words - 1 - word))) as u32;
            let constant = Insn { low, ..compute((Field::Zero as u8, 0), *field as u32 + word as u32) };
            go_on(out, constant, way);
        }
    }
}

/// What a map gives: of each part its lowest and highest value.
pub(super) type Gives = Vec<(u128, u128)>;

/// Keys by what the map gives for them.
pub(super) type Groups = Vec<(Gives, Vec<concat::Parts>)>;

/// The elements of a map, by their data, in order of the first of each; and the data of `*`.
pub(super) fn groups(table: &Table, map: &DataMap) -> (Groups, Option<Gives>) {
    let single = |values: &[Values]| values.iter().map(|value| (value.low, value.high)).collect::<Gives>();
    let of = |given: Option<&Given>| match given {
        Some(Given::Values(values)) => Some(single(values)),
        Some(Given::Verdict(_)) | None => None,
    };
    let runs = |key: &[Values]| key.iter().map(|part| (part.low, part.high)).collect::<Vec<_>>();
    let mut elements = Vec::new();
    let default = match map {
        DataMap::Listed { tuples, default } => {
            elements.extend(tuples.iter().filter_map(|tuple| Some((of(tuple.given.as_ref())?, runs(&tuple.key)))));
            default.as_ref().map(|data| single(data))
        }
        DataMap::Named(set) => {
            let set = &table.sets[*set];
            let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
            elements.extend(tuples.filter_map(|tuple| Some((of(tuple.given.as_ref())?, runs(&tuple.key)))));
            let alone = set.elements.iter();
            elements.extend(alone.filter_map(|one| Some((of(one.given.as_ref())?, runs(&[one.values])))));
            set.catch_all.as_ref().and_then(|any| of(any.given.as_ref()))
        }
    };
    (grouped(elements), default)
}

/// What a map gives, and the runs of values of each part of the key.
type Element = (Gives, Vec<(u128, u128)>);

fn grouped(elements: Vec<Element>) -> Groups {
    let mut groups: Groups = Vec::new();
    let mut index: HashMap<Gives, usize> = HashMap::new();
    for (data, key) in elements {
        let at = *index.entry(data.clone()).or_insert_with(|| {
            groups.push((data, Vec::new()));
            groups.len() - 1
        });
        let alternatives = &mut groups[at].1;
        match (alternatives.first_mut(), &key[..]) {
            // Keys of one part are one test.
            (Some(first), [only]) => first[0].push(*only),
            _ => alternatives.push(key.into_iter().map(|run| vec![run]).collect()),
        }
    }
    groups
}

/// The instruction that reads what a selector stands for; what must hold first is tested.
fn read(out: &mut Assembler, subject: Subject, into: u32, way: Way) -> Insn {
    let tests = Way { flags: 0, ..way };
    words::write_preconditions(out, subject, tests);
    words::write_presence(out, subject, tests);
    out.note_use(subject.selector);
    match words::word(out, subject.selector) {
        Word::Tagged { field, protocol: _, shift, max } | Word::Part(field, shift, max) => {
            Insn { high: shift.into(), ..compute((field as u8, max << shift), into) }
        }
        Word::AnyPort(field) => compute((field as u8, 0xffff), into),
        Word::Plain(field, _) | Word::Wide(field) | Word::Left(field, _) => compute((field as u8, u32::MAX), into),
    }
}

/// One more step: part of the instruction before when it fits there, else that one is written and another begun.
fn further(out: &mut Assembler, last: Insn, step: Step, way: Way) -> Insn {
    let again = |out: &mut Assembler| {
        go_on(out, last, way);
        compute((last.extra as u8, u32::MAX), last.extra)
    };
    match step {
        Step::Bits { mask, xor } => {
            let insn = if last.high == 0 { last } else { again(out) };
            Insn { mask: insn.mask & mask as u32, low: insn.low & mask as u32 ^ xor as u32, ..insn }
        }
        Step::Right(by) => {
            let insn = if last.high == 0 { last } else { again(out) };
            Insn { high: by.into(), ..insn }
        }
        Step::Left(by) => {
            let insn = if last.high >> 8 == 0 { last } else { again(out) };
            Insn { high: insn.high | u32::from(by) << 8, ..insn }
        }
    }
}
