//! The syntax tree to a checked [`Ruleset`](super::ruleset::Ruleset).
//!
//! Commands are carried out one after the other on tables that start out empty, as `nft -f` carries them out: a name
//! must be defined by the time it is used. Only the chains of one `table { .. }` block may refer to each other in any
//! order.

mod arrange;
mod chains;
mod compare;
mod concat;
mod context;
mod data;
mod declare;
mod flowtables;
mod jumps;
mod matches;
mod nat;
mod reading;
mod remove;
mod replay;
mod rules;
mod sets;
mod stateful;
mod tables;
mod update;
mod values;

pub(super) use self::chains::available as available_priority;

use std::collections::{BTreeMap, HashMap};

use self::{tables::TableState, values::Budget};
use super::{
    ast::{self, Command, RulePlace, Spanned, TableName},
    diagnostic::{Diagnostic, Diagnostics},
    ruleset::{Family, Table},
};

/// What a checking function gives: its part of the ruleset, or the message that stands for it.
type Checked<T> = Result<T, Diagnostic>;

/// Finds an interface's index by its name.
pub(super) type Interfaces<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// The checker.
struct Checker<'a> {
    diagnostics: &'a mut Diagnostics,
    /// Did the parser refuse something? Then names may be missing only because of that.
    unparsed: bool,
    interfaces: Interfaces<'a>,
    /// Interfaces that were asked for.
    found: BTreeMap<u32, String>,
    budget: Budget,
    tables: Vec<TableState>,
    index: HashMap<(Family, String), usize>,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) tables: Vec<Table>,
    pub(super) interfaces: Vec<(u32, String)>,
}

/// Carries out the commands; the result is a ruleset only when no error was reported.
pub(super) fn check(commands: Vec<Command>, diagnostics: &mut Diagnostics, interfaces: Interfaces<'_>) -> Outcome {
    if !commands.iter().any(replay::takes_away) {
        return carry_out(commands, diagnostics, interfaces);
    }
    // Rules know chains and sets by number. So what is taken away is checked where it stands, and then the ruleset is
    // made from what is left.
    let left = replay::left(&commands);
    let outcome = carry_out(commands, diagnostics, interfaces);
    if diagnostics.has_errors() {
        return outcome;
    }
    let said = diagnostics.take_list();
    let outcome = carry_out(left, diagnostics, interfaces);
    if !diagnostics.has_errors() {
        diagnostics.put_list(said);
    }
    outcome
}

fn carry_out(commands: Vec<Command>, diagnostics: &mut Diagnostics, interfaces: Interfaces<'_>) -> Outcome {
    let unparsed = diagnostics.has_errors();
    let mut checker = Checker {
        diagnostics,
        unparsed,
        interfaces,
        found: BTreeMap::new(),
        budget: Budget::default(),
        tables: Vec::new(),
        index: HashMap::new(),
    };
    for command in commands {
        checker.command(command);
    }
    checker.finish()
}

impl Checker<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        if !(self.unparsed && diagnostic.follows) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn command(&mut self, command: Command) {
        let done = match command {
            Command::Create(command) => match self.must_be_new(&command) {
                Ok(()) => return self.command(*command),
                Err(there) => Err(there),
            },
            Command::Table(name, body) => {
                self.table_block(&name, body);
                Ok(())
            }
            Command::Chain(table, chain) => self.find(&table).and_then(|at| self.chain_block(at, chain)),
            Command::Set(table, set) => self.find(&table).and_then(|at| self.named_set(at, &set)),
            Command::Object(table, object) => self.find(&table).map(|at| self.declare_object(at, &object)),
            Command::Flowtable(table, flowtable) => {
                self.find(&table).and_then(|at| self.declare_flowtable(at, &flowtable))
            }
            Command::Elements(table, set, elements) => {
                self.find(&table).and_then(|at| self.add_elements(at, &set, &elements))
            }
            Command::Rule { table, chain, rule, place } => self.lone_rule(&table, &chain, &rule, place),
            Command::FlushRuleset(family) => {
                self.forget(|table| family.is_none_or(|family| table.family == family));
                Ok(())
            }
            Command::FlushTable(table) => self.find(&table).map(|at| self.tables[at].flush()),
            Command::Flush(part, table, name) => self.flush(part, &table, &name),
            Command::Destroy(command) if self.is_missing(&command) => Ok(()),
            Command::Destroy(command) => return self.command(*command),
            Command::DeleteTable(table) => self.find(&table).map(|at| {
                let (family, name) = (self.tables[at].family, self.tables[at].name.clone());
                self.forget(|table| table.family == family && table.name == name);
            }),
            Command::Delete(part, table, name) => self.delete(part, &table, &name),
            Command::DeleteElements(table, set, elements) => {
                self.find(&table).and_then(|at| self.delete_elements(at, &set, &elements))
            }
        };
        if let Err(diagnostic) = done {
            self.report(diagnostic);
        }
    }

    /// `create` refuses what is there already.
    fn must_be_new(&mut self, command: &Command) -> Checked<()> {
        let (name, there) = match command {
            Command::Table(table, _) => (&table.name, self.find(table).is_ok()),
            Command::Chain(table, chain) => (
                &chain.name,
                self.find(table).is_ok_and(|at| self.tables[at].chain_index.contains_key(&*chain.name.text)),
            ),
            Command::Set(table, set) => {
                (&set.name, self.find(table).is_ok_and(|at| self.tables[at].set_index.contains_key(&*set.name.text)))
            }
            Command::Elements(table, set, elements) => {
                let at = self.find(table)?;
                return self.elements_are_new(at, set, elements);
            }
            Command::Object(table, object) => {
                (&object.name, self.find(table).is_ok_and(|at| self.tables[at].has_object(object)))
            }
            Command::Flowtable(table, flowtable) => (
                &flowtable.name,
                self.find(table)
                    .is_ok_and(|at| self.tables[at].flowtables.iter().any(|known| *known.name == *flowtable.name.text)),
            ),
            Command::Create(_)
            | Command::Destroy(_)
            | Command::DeleteElements(..)
            | Command::Rule { .. }
            | Command::FlushRuleset(_)
            | Command::FlushTable(_)
            | Command::Flush(..)
            | Command::DeleteTable(_)
            | Command::Delete(..) => return Ok(()),
        };
        if there {
            let error = Diagnostic::error(name.span, format!("`{}` is already there", name.text));
            return Err(error.help("`add` does not mind"));
        }
        Ok(())
    }

    fn lone_rule(&mut self, table: &TableName, chain: &Spanned, rule: &ast::Rule, place: RulePlace) -> Checked<()> {
        let at = self.find(table)?;
        let chain = self.tables[at].chain(chain)?;
        self.rule(at, chain, rule, place);
        Ok(())
    }

    /// A table that must be there.
    fn find(&self, name: &TableName) -> Checked<usize> {
        let key = (name.family, name.name.text.to_string());
        self.index.get(&key).copied().ok_or_else(|| {
            let message = format!("there is no table `{} {}`", name.family.name(), name.name.text);
            let error = Diagnostic::error(name.name.span, message).following();
            error.help(
                "a file is the whole ruleset and starts from nothing: `add table` makes the table, if it is not there",
            )
        })
    }

    fn forget(&mut self, which: impl Fn(&TableState) -> bool) {
        self.tables.retain(|table| !which(table));
        let keys = self.tables.iter().enumerate().map(|(at, table)| ((table.family, table.name.clone()), at));
        self.index = keys.collect();
    }

    fn finish(mut self) -> Outcome {
        let loops: Vec<_> = self.tables.iter().filter_map(|table| jumps::check(table).err()).collect();
        let rejects: Vec<_> = self.tables.iter().filter_map(|table| stateful::check_hooks(table).err()).collect();
        for diagnostic in loops.into_iter().chain(rejects) {
            self.report(diagnostic);
        }
        let mut problems = Vec::new();
        let tables = std::mem::take(&mut self.tables);
        let tables = tables.into_iter().map(|table| table.finish(&mut problems)).collect();
        for problem in problems {
            self.report(problem);
        }
        Outcome { tables, interfaces: self.found.into_iter().collect() }
    }
}
