//! Named sets: which of them are state in the kernel, and the instructions that look into them and change them.
//!
//! A named set that is not `constant` is state: memory of its own that outlives generations and that rules, and
//! `rampart set`, change. `constant` sets and maps are part of the image.

use std::collections::BTreeSet;

use firewall_common::{
    image::{
        COUNTS_LATER, HAS_EXTRAS, HAS_SHAPES, Insn, OVER, Op, USES_CHANGES, USES_CONNECTIONS, USES_METERS, USES_NAMED,
        USES_SHAPES,
    },
    sets::{
        DATA_WORDS, KEY_WORDS, Kind, MAX_NAMED_SETS, change,
        hash::NEVER,
        meter,
        run::{DATA, WHOLE},
    },
};

use super::{
    CompileError, Manifest, SetRecord, StateSet,
    assembler::{Assembler, Place},
    state::{self, key_width, ticks, value_words},
    stateful, verdicts,
    words::{self, Way, Word},
};
use crate::language::{
    Ruleset,
    ruleset::{MapData, OfElement, Put, Set, Statement, Subject, Table, Update, UpdateOperation},
};

/// Is this set state?
pub(super) fn is_state(set: &Set) -> bool {
    let is_simple = match &set.data {
        None => set.catch_all.is_none(),
        Some(MapData::Verdicts) => verdicts::can_be_state(set),
        Some(MapData::Values { types, type_of: _, interval }) => !interval && key_width(types) <= DATA_WORDS,
    };
    is_simple && !set.constant && key_width(&set.key_types()) < KEY_WORDS
}

/// The sets of a ruleset that are state. What `previous` has too keeps its place.
pub(super) fn states(ruleset: &Ruleset, previous: Option<&Manifest>) -> Result<Vec<StateSet>, CompileError> {
    refuse_unsupported(ruleset)?;
    let known = previous.map_or(&[][..], |manifest| &manifest.sets);
    let counted = previous.map_or(&[][..], |manifest| &manifest.counts);
    let mut taken: BTreeSet<u32> = known.iter().chain(counted).filter_map(|set| set.slot).collect();
    let mut states = Vec::new();
    for table in ruleset.tables() {
        for set in table.sets.iter().filter(|set| is_state(set)) {
            let mut state = StateSet::of(table, set, 0);
            let same = known.iter().find(|one| {
                (&one.family, &one.table, &one.name) == (&state.family, &state.table, &state.name)
                    && one.declaration == state.declaration()
            });
            let free = || (0..MAX_NAMED_SETS).find(|slot| !taken.contains(slot));
            let slot = same.and_then(|one| one.slot).or_else(free);
            state.slot = slot.ok_or(CompileError::TooManySets)?;
            taken.insert(state.slot);
            states.push(state);
        }
    }
    Ok(states)
}

/// The name of what a rule's `ct count` counts.
pub(super) fn count_name(identity: &str, nth: usize) -> String {
    format!("{identity} {nth}")
}

/// What rules count for themselves, beside the sets. What `previous` has too keeps its place.
pub(super) fn counts(
    ruleset: &Ruleset,
    previous: Option<&Manifest>,
    manifest: &mut Manifest,
    states: &mut Vec<StateSet>,
) -> Result<(), CompileError> {
    let before = previous.map_or((&[][..], &[][..]), |previous| (&previous.sets[..], &previous.counts[..]));
    let mut taken: BTreeSet<u32> = before.0.iter().chain(before.1).filter_map(|set| set.slot).collect();
    taken.extend(states.iter().map(|state| state.slot));
    let rules = ruleset
        .tables()
        .iter()
        .flat_map(|table| table.chains.iter().flat_map(|chain| &chain.rules).map(move |rule| (table, rule)));
    for ((table, rule), record) in rules.zip(&manifest.rules) {
        let counts = rule.statements.iter().filter_map(|statement| match statement {
            Statement::Connections { over, count } => Some((*over, *count)),
            _ => None,
        });
        for (nth, count) in counts.enumerate() {
            let mut state = StateSet::of_rule(table, count_name(&record.identity, nth), count);
            let declaration = state.declaration();
            let same = before.1.iter().find(|one| one.name == state.name && one.declaration == declaration);
            let free = || (0..MAX_NAMED_SETS).find(|slot| !taken.contains(slot));
            let slot = same.and_then(|one| one.slot).or_else(free).ok_or(CompileError::TooManySets)?;
            state.slot = slot;
            taken.insert(slot);
            manifest.counts.push(SetRecord {
                family: state.family.clone(),
                table: state.table.clone(),
                name: state.name.clone(),
                handle: 0,
                slot: Some(slot),
                declaration,
                verdicts: Vec::new(),
            });
            states.push(state);
        }
    }
    Ok(())
}

/// Notes in the manifest where the sets are.
pub(super) fn record(states: &[StateSet], manifest: &mut Manifest) {
    for state in states {
        let same = |set: &&mut super::SetRecord| {
            (&set.family, &set.table, &set.name) == (&state.family, &state.table, &state.name)
        };
        if let Some(record) = manifest.sets.iter_mut().find(same) {
            record.slot = Some(state.slot);
            record.declaration = state.declaration();
        }
    }
}

/// Notes which verdicts maps can give.
pub(super) fn record_verdicts(ruleset: &Ruleset, manifest: &mut Manifest, all_chains: bool) {
    for table in ruleset.tables() {
        for (at, set) in table.sets.iter().enumerate().filter(|(_, set)| set.gives_verdicts() && is_state(set)) {
            let same = |one: &&mut SetRecord| {
                (&*one.family, &one.table, &one.name) == (table.family.name(), &table.name, &set.name)
            };
            if let Some(record) = manifest.sets.iter_mut().find(same) {
                record.verdicts = verdicts::prepared(table, at, all_chains).into_keys().collect();
            }
        }
    }
}

/// The state of a set that a rule names.
pub(super) fn of<'a>(states: &'a [StateSet], table: &Table, set: &Set) -> Option<&'a StateSet> {
    states.iter().find(|one| one.family == table.family.name() && one.table == table.name && one.name == set.name)
}

/// Refuses what sets cannot do yet.
fn refuse_unsupported(ruleset: &Ruleset) -> Result<(), CompileError> {
    for table in ruleset.tables() {
        for set in &table.sets {
            if let Some(what) = unsupported(set).or_else(|| unlike(table, set)) {
                let (table, name) = (table.name.clone(), set.name.clone());
                return Err(CompileError::NotYet { table, kind: set.kind(), name, what });
            }
        }
    }
    Ok(())
}

fn unsupported(set: &Set) -> Option<&'static str> {
    if set.data.is_none() && set.catch_all.is_some() {
        return Some("`*` in a set is");
    }
    if is_state(set) {
        return None;
    }
    if set.dynamic {
        Some("changes by rules are")
    } else if set.timeouts {
        Some("timeouts are")
    } else if !set.statements.is_empty() {
        Some("statements on elements are")
    } else {
        None
    }
}

/// Elements of one set have the same statements here, whoever makes them.
fn unlike(table: &Table, set: &Set) -> Option<&'static str> {
    if !is_state(set) {
        return None;
    }
    if StateSet::of(table, set, 0).is_too_much() {
        return Some("so much beside each key (data, counter, timeout, limits) is");
    }
    if !set.dynamic || !set.statements.is_empty() {
        return None;
    }
    let made = state::rule_statements(table, set);
    let first = made.first()?;
    if made.iter().any(|one| one != first) {
        return Some("elements with other statements by other rules are");
    }
    first.iter().any(|one| one.fresh() != *one).then_some("a counter or quota on elements that starts from a number is")
}

/// Writes the test whether what the packet has is in a set.
///
/// What a map gives goes into the words from `to` on.
pub(super) fn write_look_up(
    out: &mut Assembler,
    (state, to): (&StateSet, u32),
    (subjects, negated): (&[Subject], bool),
    way: Way,
) {
    let (look_up, start) = look_up(out, state, to);
    prepare(out, subjects, way);
    let insn = with_key(out, (look_up, start), subjects, way);
    if negated {
        return words::last(out, insn, false, way);
    }
    write_met(out, state, insn, way);
}

/// The same of a map to verdicts: a packet whose key is not in it goes to `missed`, one without the key to `way.fail`.
pub(super) fn write_verdict_look_up(
    out: &mut Assembler,
    (state, to): (&StateSet, u32),
    (subjects, missed): (&[Subject], Place),
    way: Way,
) {
    let (look_up, start) = look_up(out, state, to);
    prepare(out, subjects, way);
    let insn = with_key(out, (look_up, start), subjects, way);
    write_met(out, state, insn, Way { fail: missed, ..way });
}

/// The look-up, and where in the key the packet's words begin.
fn look_up(out: &mut Assembler, state: &StateSet, to: u32) -> (Insn, u32) {
    let has_shapes = state.kind == Kind::Shapes;
    out.uses |= USES_NAMED | if has_shapes { USES_SHAPES } else { 0 };
    let start = if has_shapes { WHOLE } else { 0 };
    let shapes = if has_shapes { HAS_SHAPES } else { 0 };
    let is_counted = state.counts && !counts_later(state);
    let extras = if is_counted || !state.data.is_empty() { HAS_EXTRAS } else { 0 } | later(state);
    (Insn { op: Op::LookUp as u8, low: state.slot, extra: shapes | extras | to, ..Insn::default() }, start)
}

/// Gathers the key of a look-up.
fn with_key(out: &mut Assembler, (look_up, start): (Insn, u32), subjects: &[Subject], way: Way) -> Insn {
    let pieces: Vec<_> = subjects.iter().flat_map(|subject| pieces(out, *subject)).collect();
    if let [(field, mask, shift)] = pieces[..] {
        // One word: no need to gather it first.
        Insn { field, mask, high: 1 | shift << 8, extra: look_up.extra | start << 8, ..look_up }
    } else {
        gather(out, &pieces, start, way);
        look_up
    }
}

/// Writes an instruction that meets or makes an element, and what that element does.
fn write_met(out: &mut Assembler, state: &StateSet, insn: Insn, way: Way) {
    let mut insns = vec![insn];
    let mut nth = 0;
    for statement in &state.statements {
        let insn = match statement {
            OfElement::Counter(..) if !counts_later(state) => continue,
            OfElement::Counter(..) => meter((state.slot, meter::COUNTER), 0, 0),
            OfElement::Limit(limit) => {
                let (bytes, constants) = stateful::limit_numbers(limit);
                let kind = if bytes { meter::BYTES } else { meter::PACKETS };
                let over = if limit.over { OVER } else { 0 };
                nth += 1;
                meter((state.slot, kind), out.constants(&constants), over | (nth - 1))
            }
            OfElement::Quota(quota) => {
                let over = if quota.over { OVER } else { 0 };
                nth += 1;
                meter((state.slot, meter::QUOTA), out.constants(&[u128::from(quota.bytes)]), over | (nth - 1))
            }
            OfElement::Connections { over, count } => {
                out.uses |= USES_CONNECTIONS;
                connections(state.slot, *count, if *over { OVER } else { 0 })
            }
        };
        insns.push(insn);
    }
    let Some((last, before)) = insns.split_last() else { return };
    for insn in before {
        words::step(out, way, *insn);
    }
    if !before.is_empty() {
        out.uses |= USES_METERS;
    }
    words::last(out, *last, true, way);
}

fn meter((slot, kind): (u32, u32), constants: u32, extra: u32) -> Insn {
    Insn { op: Op::Meter as u8, low: slot, high: kind, mask: constants, extra, ..Insn::default() }
}

/// Counts connections.
pub(super) fn connections(slot: u32, count: u32, extra: u32) -> Insn {
    Insn { op: Op::Connections as u8, low: slot, high: count, extra, ..Insn::default() }
}

/// Does a counter stand behind what a packet may fail at? Else what meets the element counts.
fn counts_later(state: &StateSet) -> bool {
    state.statements.iter().position(|one| matches!(one, OfElement::Counter(..))).is_some_and(|at| at > 0)
}

fn later(state: &StateSet) -> u32 {
    if counts_later(state) { COUNTS_LATER } else { 0 }
}

/// Writes a change of a set.
pub(super) fn write_update(out: &mut Assembler, state: &StateSet, update: &Update, way: Way) {
    out.uses |= USES_NAMED | USES_CHANGES;
    put(out, (&update.key, 0), way);
    if let Some(data) = &update.data {
        put(out, (data, DATA), way);
    }
    let timeout = update.timeout.or(state.timeout);
    let operation = match update.operation {
        UpdateOperation::Add => change::ADD,
        UpdateOperation::Update => change::UPDATE,
        UpdateOperation::Delete => change::DELETE,
    };
    let mask = out.constant(u128::from(timeout.unwrap_or(0)));
    let high = timeout.map_or(NEVER, ticks);
    let extra = operation | later(state);
    let insn = Insn { op: Op::Change as u8, low: state.slot, high, mask, extra, ..Insn::default() };
    if update.operation == UpdateOperation::Delete {
        return words::last(out, insn, true, way);
    }
    write_met(out, state, insn, way);
}

/// Gathers what the packet has, and constants, from word `at` on.
fn put(out: &mut Assembler, (parts, mut at): (&[Put], u32), way: Way) {
    let subjects: Vec<Subject> = parts.iter().filter_map(Put::subject).collect();
    prepare(out, &subjects, way);
    for part in parts {
        match part {
            Put::Of(subject) => {
                let pieces = pieces(out, *subject);
                gather(out, &pieces, at, way);
                at += pieces.len() as u32;
            }
            Put::Constant(values, ty) => {
                for word in value_words(*ty, values.low) {
                    let insn = Insn { op: Op::Key as u8, mask: word, extra: at, ..Insn::default() };
                    words::step(out, way, insn);
                    at += 1;
                }
            }
        }
    }
}

/// Tests that the packet has the values at all.
fn prepare(out: &mut Assembler, subjects: &[Subject], way: Way) {
    for subject in subjects {
        words::write_preconditions(out, *subject, Way { flags: 0, ..way });
        words::write_presence(out, *subject, way);
    }
}

/// Gathers words of the packet into the key, from word `at` on.
fn gather(out: &mut Assembler, pieces: &[(u8, u32, u32)], mut at: u32, way: Way) {
    for (field, mask, shift) in pieces {
        let insn =
            Insn { op: Op::Key as u8, field: *field, mask: *mask, low: 1, high: *shift, extra: at, ..Insn::default() };
        words::step(out, way, insn);
        at += 1;
    }
}

/// The words of a value: field, mask and shift of each.
fn pieces(out: &Assembler, subject: Subject) -> Vec<(u8, u32, u32)> {
    let mask = subject.mask.unwrap_or(u128::MAX);
    match words::word(out, subject.selector) {
        Word::Plain(field, max) => vec![(field as u8, (mask & max) as u32, 0)],
        Word::Tagged { field, protocol: _, shift, max } => {
            vec![(field as u8, (mask as u32 & max) << shift, u32::from(shift))]
        }
        Word::AnyPort(field) => vec![(field as u8, mask as u32 & 0xffff, 0)],
        Word::Part(field, shift, max) => vec![(field as u8, (mask as u32 & max) << shift, u32::from(shift))],
        Word::Wide(field) => {
            (0..4).map(|nth| (field as u8 + nth, (mask >> (96 - 32 * u32::from(nth))) as u32, 0)).collect()
        }
        Word::Left(field, shift) => {
            let bits = 128 - shift;
            let kept = ((mask & (u128::MAX >> shift)) << (64 - bits)) as u64;
            vec![(field as u8, (kept >> 32) as u32, 0), (field as u8 + 1, kept as u32, 0)]
        }
    }
}
