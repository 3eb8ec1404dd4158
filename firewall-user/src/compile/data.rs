//! Computed values as instructions.

use firewall_common::{
    image::{Insn, Op, USES_REGISTERS},
    packet::Field,
};

use super::{
    assembler::{Assembler, Place},
    words::{self, CONNECTIONLESS, Way, Word, range},
};
use crate::language::ruleset::{Computed, Data, Selector, Step, Subject};

/// Gives what `target` stands for a value; a value that the packet does not have ends the rule.
pub(super) fn assign(out: &mut Assembler, target: Subject, value: &Data, way: Way) {
    out.note_use(target.selector);
    if target.selector != Selector::CtMark {
        let value = load(out, value, Field::Mark as u32, way);
        return finish(out, value, way);
    }
    let value = load(out, value, Field::Register as u32, way);
    go_on(out, value, way);
    // Without a connection nothing is set, and the rule goes on.
    let set = out.label();
    let unconnected = Way { fail: Place::Label(set), ..way };
    words::test(out, range(Field::CtState, CONNECTIONLESS, (1, u32::MAX)), unconnected);
    out.bind_here(set);
    finish(out, compute((Field::Register as u8, u32::MAX), Field::CtMark as u32), way);
}

/// Writes an instruction that leads to where the statement leads.
fn finish(out: &mut Assembler, insn: Insn, way: Way) {
    out.uses |= USES_REGISTERS;
    out.push(Insn { rule: way.rule, flags: way.flags, ..insn }, way.pass, way.pass);
}

/// An instruction that computes a word from another one's bits.
fn compute((field, mask): (u8, u32), into: u32) -> Insn {
    Insn { op: Op::Compute as u8, field, mask, extra: into, ..Insn::default() }
}

/// Writes an instruction that goes to the next one.
fn go_on(out: &mut Assembler, insn: Insn, way: Way) {
    out.uses |= USES_REGISTERS;
    let next = out.label();
    out.push(Insn { rule: way.rule, ..insn }, Place::Label(next), Place::Label(next));
    out.bind_here(next);
}

/// The instruction that puts a value of at most 32 bits into a word, the last of those it takes: it is not written yet. A
/// value that the packet does not have leads to `way.fail`.
fn load(out: &mut Assembler, value: &Data, into: u32, way: Way) -> Insn {
    match value {
        Data::Constant(value) => Insn { low: *value as u32, ..compute((Field::Zero as u8, 0), into) },
        Data::Computed(Computed { subject, steps }) => {
            let first = read(out, *subject, into, way);
            steps.iter().fold(first, |last, step| further(out, last, *step, way))
        }
    }
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
