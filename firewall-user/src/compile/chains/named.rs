//! Statements about named sets that are state.

use firewall_common::image::{ALONE, OVER, USES_CONNECTIONS, USES_NAMED};

use super::{Frame, Writer};
use crate::{
    compile::{
        CompileError, StateSet, sets,
        words::{self, Way},
    },
    language::ruleset::{Subject, Table, Update},
};

impl<'a> Writer<'a> {
    pub(super) fn state(&self, table: &Table, set: usize) -> Option<&'a StateSet> {
        sets::of(self.states, table, &table.sets[set])
    }

    pub(super) fn look_up(
        &mut self,
        frame: &Frame<'_>,
        (subjects, negated, set): (&[Subject], bool, usize),
        way: Way,
    ) -> Result<(), CompileError> {
        let found = &frame.table.sets[set];
        if subjects.iter().any(|subject| subject.or != 0) {
            let (table, name) = (frame.table.name.clone(), found.name.clone());
            return Err(CompileError::NotYet { table, kind: found.kind(), name, what: "`|` in front of it is" });
        }
        if let Some(state) = self.state(frame.table, set) {
            sets::write_look_up(&mut self.out, (state, 0), (subjects, negated), way);
        }
        Ok(())
    }

    /// A rule's own `ct count`.
    pub(super) fn connections(&mut self, (identity, nth): (&str, usize), (over, count): (bool, u32), way: Way) {
        let name = sets::count_name(identity, nth);
        let slot = self.states.iter().find(|state| state.alone && state.name == name).map_or(0, |state| state.slot);
        self.out.uses |= USES_CONNECTIONS | USES_NAMED;
        let insn = sets::connections(slot, count, ALONE | if over { OVER } else { 0 });
        words::last(&mut self.out, insn, true, way);
    }

    pub(super) fn update(&mut self, frame: &Frame<'_>, update: &Update, way: Way) -> Result<(), CompileError> {
        let found = &frame.table.sets[update.set];
        let Some(state) = self.state(frame.table, update.set) else {
            let (table, name) = (frame.table.name.clone(), found.name.clone());
            return Err(CompileError::NotYet { table, kind: found.kind(), name, what: "changes by rules are" });
        };
        sets::write_update(&mut self.out, state, update, way);
        Ok(())
    }
}
