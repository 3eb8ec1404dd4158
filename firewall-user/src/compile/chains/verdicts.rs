//! Maps to verdicts that are state: what was found leads on.

use firewall_common::{
    image::{DECIDES, Insn, Op},
    packet::Field,
};

use super::{Frame, Writer};
use crate::{
    compile::{CompileError, StateSet, assembler::Place, sets, verdicts, words::Way},
    language::ruleset::{Subject, Verdict},
};

impl Writer<'_> {
    /// `KEY vmap @map`
    pub(super) fn look_up_verdict(
        &mut self,
        frame: &Frame<'_>,
        (subjects, map): (&[Subject], usize),
        way: Way,
    ) -> Result<(), CompileError> {
        self.state(frame.table, map).map_or(Ok(()), |state| self.verdict_map(frame, (subjects, map), state, way))
    }

    fn verdict_map(
        &mut self,
        frame: &Frame<'_>,
        (subjects, map): (&[Subject], usize),
        state: &StateSet,
        way: Way,
    ) -> Result<(), CompileError> {
        let set = &frame.table.sets[map];
        if subjects.iter().any(|subject| subject.or != 0) {
            let (table, name) = (frame.table.name.clone(), set.name.clone());
            return Err(CompileError::NotYet { table, kind: set.kind(), name, what: "`|` in front of it is" });
        }
        let record = self.manifest.sets.iter().find(|record| record.slot == Some(state.slot));
        let prepared = |number: &u64| record.is_some_and(|record| record.verdicts.binary_search(number).is_ok());
        let known = verdicts::prepared(frame.table, map, true);
        let known: Vec<(u64, Verdict)> = known.into_iter().filter(|(number, _)| prepared(number)).collect();
        let to = self.out.take_registers(2);
        let (found, default) = (self.out.label(), self.out.label());
        let here = Way { pass: Place::Label(found), flags: 0, ..way };
        let missed = set.default_verdict().map_or(way.fail, |_| Place::Label(default));
        sets::write_verdict_look_up(&mut self.out, (state, to as u32), (subjects, missed), here);
        self.out.bind_here(found);
        self.lead_on(frame, &known, to, way);
        self.out.bind_here(default);
        if let Some(verdict) = set.default_verdict() {
            let (place, flags) = self.element_verdict(frame, verdict, way);
            self.always(way.rule, flags, place);
        }
        Ok(())
    }

    /// By the first word in halves; numbers that share it are told apart by the second one.
    fn lead_on(&mut self, frame: &Frame<'_>, known: &[(u64, Verdict)], word: Field, way: Way) {
        let first = |at: usize| (known[at].0 >> 32) as u32;
        let middle = known.len() / 2;
        let split = (middle..known.len()).find(|at| first(*at) != first(0) && first(*at) != first(at - 1));
        if let Some(split) = split.filter(|_| known.len() > 1) {
            let (high, low) = (self.out.label(), self.out.label());
            let test = range(way.rule, word as u8, (first(split), u32::MAX));
            self.out.push(test, Place::Label(high), Place::Label(low));
            self.out.bind_here(low);
            self.lead_on(frame, &known[..split], word, way);
            self.out.bind_here(high);
            return self.lead_on(frame, &known[split..], word, way);
        }
        for (number, verdict) in known {
            let (next, second) = (self.out.label(), self.out.label());
            let (pass, flags) = self.element_verdict(frame, *verdict, way);
            let (first, last) = ((number >> 32) as u32, *number as u32);
            self.out.push(range(way.rule, word as u8, (first, first)), Place::Label(second), Place::Label(next));
            self.out.bind_here(second);
            let test = Insn { flags, ..range(way.rule, word as u8 + 1, (last, last)) };
            self.out.push(test, pass, Place::Label(next));
            self.out.bind_here(next);
        }
        // A chain that this ruleset does not have, whatever it was to lead to.
        self.always(way.rule, DECIDES, Place::Drop);
    }
}

fn range(rule: u32, field: u8, (low, high): (u32, u32)) -> Insn {
    Insn { op: Op::Range as u8, field, rule, mask: u32::MAX, low, high, ..Insn::default() }
}
