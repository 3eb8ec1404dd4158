//! What takes something away: `delete`, `destroy`, `flush`.

use super::{Checked, Checker};
use crate::language::{
    ast::{Command, Part, Spanned, TableName},
    diagnostic::Diagnostic,
    ruleset::Statement,
};

impl Checker<'_> {
    pub(super) fn flush(&mut self, part: Part, table: &TableName, name: &Spanned) -> Checked<()> {
        let at = self.find(table)?;
        match part {
            Part::Chain => {
                let table = &mut self.tables[at];
                let chain = table.chain(name)?;
                table.chains[chain].flush();
                Ok(())
            }
            Part::Set => self.flush_set(at, name),
            // Nothing can be taken out of these.
            Part::Object(_) | Part::Flowtable => Ok(()),
        }
    }

    /// Takes a part of a table out of reach; refused while something refers to it. Its number stays taken until the ruleset
    /// is made without it.
    pub(super) fn delete(&mut self, part: Part, table: &TableName, name: &Spanned) -> Checked<()> {
        let at = self.find(table)?;
        let table = &mut self.tables[at];
        let number = match part {
            Part::Chain => table.chain(name)?,
            Part::Set => table.set(&name.text, name.span)?,
            Part::Object(kind) => table.object(kind, name)?,
            Part::Flowtable => table.known_flowtable(name)?,
        };
        let jumped_to = |jumps: &[(usize, _)]| jumps.iter().any(|(target, _)| *target == number);
        let is_used = match part {
            Part::Chain => {
                table.chains.iter().any(|chain| jumped_to(&chain.jumps))
                    || table.sets.iter().any(|set| jumped_to(&set.jumps))
            }
            Part::Set => table.chains.iter().any(|chain| chain.sets.contains(&number)),
            Part::Object(_) => table.any_statement(&|statement| statement.uses_object(number)),
            Part::Flowtable => table.any_statement(&|statement| *statement == Statement::Flow(number)),
        };
        if is_used {
            let error = Diagnostic::error(name.span, format!("`{}` is still used by a rule or map", name.text));
            return Err(error.help("`flush` what uses it first"));
        }
        match part {
            Part::Chain => {
                table.chains[number].flush();
                table.chains[number].base = None;
                table.chain_index.remove(&*name.text);
            }
            Part::Set => {
                table.sets[number].flush();
                table.set_index.remove(&*name.text);
            }
            Part::Object(kind) => drop(table.object_index.remove(&(kind, name.text.to_string()))),
            // What it was called: the commands that are left are carried out without it.
            Part::Flowtable => table.flowtables[number].name.clear(),
        }
        Ok(())
    }

    /// Is there nothing that `delete` could take away?
    pub(super) fn is_missing(&self, command: &Command) -> bool {
        let Some(at) = command.table().map(|table| self.find(table)) else { return false };
        let Ok(at) = at else { return true };
        match command {
            Command::Delete(Part::Chain, _, name) => !self.tables[at].chain_index.contains_key(&*name.text),
            Command::Delete(Part::Set, _, name) => !self.tables[at].set_index.contains_key(&*name.text),
            Command::Delete(Part::Object(kind), _, name) => {
                !self.tables[at].object_index.contains_key(&(*kind, name.text.to_string()))
            }
            Command::Delete(Part::Flowtable, _, name) => self.tables[at].known_flowtable(name).is_err(),
            _ => false,
        }
    }
}
