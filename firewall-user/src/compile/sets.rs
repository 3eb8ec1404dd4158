//! Named sets: which of them are state in the kernel, and the instructions that look into them and change them.
//!
//! A named set that is not `constant` is state: memory of its own that outlives generations and that rules, and
//! `rampart set`, change. `constant` sets and maps are part of the image.

use std::collections::BTreeSet;

use firewall_common::{
    image::{HAS_EXTRAS, HAS_SHAPES, Insn, Op, USES_CHANGES, USES_NAMED, USES_SHAPES},
    sets::{
        KEY_WORDS, Kind, MAX_NAMED_SETS, change,
        hash::NEVER,
        run::{DATA, WHOLE},
    },
};

use super::{
    CompileError, Manifest, StateSet,
    assembler::Assembler,
    state::{key_width, ticks},
    words::{self, Way, Word},
};
use crate::language::{
    Ruleset,
    ruleset::{Set, Subject, Table, Update, UpdateOperation},
};

/// Is this set state?
pub(super) fn is_state(set: &Set) -> bool {
    set.data.is_none() && !set.constant && set.catch_all.is_none() && key_width(&set.key_types()) < KEY_WORDS
}

/// The sets of a ruleset that are state. What `previous` has too keeps its place.
pub(super) fn states(ruleset: &Ruleset, previous: Option<&Manifest>) -> Result<Vec<StateSet>, CompileError> {
    refuse_unsupported(ruleset)?;
    let known = previous.map_or(&[][..], |manifest| &manifest.sets);
    let mut taken: BTreeSet<u32> = known.iter().filter_map(|set| set.slot).collect();
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

/// The state of a set that a rule names.
pub(super) fn of<'a>(states: &'a [StateSet], table: &Table, set: &Set) -> Option<&'a StateSet> {
    states.iter().find(|one| one.family == table.family.name() && one.table == table.name && one.name == set.name)
}

/// Refuses what sets cannot do yet.
fn refuse_unsupported(ruleset: &Ruleset) -> Result<(), CompileError> {
    for table in ruleset.tables() {
        for set in &table.sets {
            if let Some(what) = unsupported(set) {
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
    } else if set.counter {
        Some("counters on elements are")
    } else {
        None
    }
}

/// Writes the test whether what the packet has is in a set.
pub(super) fn write_look_up(out: &mut Assembler, state: &StateSet, (subjects, negated): (&[Subject], bool), way: Way) {
    let has_shapes = state.kind == Kind::Shapes;
    out.uses |= USES_NAMED | if has_shapes { USES_SHAPES } else { 0 };
    let start = if has_shapes { WHOLE } else { 0 };
    let shapes = if has_shapes { HAS_SHAPES } else { 0 };
    let extras = if state.counts { HAS_EXTRAS } else { 0 };
    let look_up = Insn { op: Op::LookUp as u8, low: state.slot, extra: shapes | extras, ..Insn::default() };
    prepare(out, subjects, way);
    let pieces: Vec<_> = subjects.iter().flat_map(|subject| pieces(out, *subject)).collect();
    let insn = if let [(field, mask, shift)] = pieces[..] {
        // One word: no need to gather it first.
        Insn { field, mask, high: 1 | shift << 8, extra: look_up.extra | start << 8, ..look_up }
    } else {
        gather(out, &pieces, start, way);
        look_up
    };
    words::last(out, insn, !negated, way);
}

/// Writes a change of a set.
pub(super) fn write_update(out: &mut Assembler, state: &StateSet, update: &Update, way: Way) {
    out.uses |= USES_NAMED | USES_CHANGES;
    prepare(out, &update.key, way);
    let pieces: Vec<_> = update.key.iter().flat_map(|subject| pieces(out, *subject)).collect();
    gather(out, &pieces, 0, way);
    let timeout = update.timeout.or(state.timeout);
    let operation = match update.operation {
        UpdateOperation::Add => change::ADD,
        UpdateOperation::Update => change::UPDATE,
        UpdateOperation::Delete => change::DELETE,
    };
    let mask = out.constant(u128::from(timeout.unwrap_or(0)));
    let high = timeout.map_or(NEVER, ticks);
    let insn = Insn { op: Op::Change as u8, low: state.slot, high, mask, extra: operation, ..Insn::default() };
    words::last(out, insn, true, way);
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
    debug_assert!(at < DATA || at == WHOLE, "a place for keys");
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
