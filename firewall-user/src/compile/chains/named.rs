//! Statements about named sets that are state.

use super::{Frame, Writer};
use crate::{
    compile::{CompileError, StateSet, sets, words::Way},
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
            sets::write_look_up(&mut self.out, state, (subjects, negated), way);
        }
        Ok(())
    }

    pub(super) fn update(&mut self, frame: &Frame<'_>, update: &Update, way: Way) -> Result<(), CompileError> {
        let found = &frame.table.sets[update.set];
        let Some(state) = self.state(frame.table, update.set).filter(|_| update.counter.is_none()) else {
            let (table, name) = (frame.table.name.clone(), found.name.clone());
            let what = if update.counter.is_some() {
                "`counter` in a rule that changes it (write it in the set) is"
            } else {
                "changes by rules are"
            };
            return Err(CompileError::NotYet { table, kind: found.kind(), name, what });
        };
        sets::write_update(&mut self.out, state, update, way);
        Ok(())
    }
}
