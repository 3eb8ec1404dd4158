//! A ruleset as canonical text: what `nft list ruleset` prints.

mod set;
mod statement;

pub(super) use self::set::time;

use std::fmt::Write;

use self::statement::Names;
use super::{
    check::available_priority,
    names,
    ruleset::{Base, Chain, Family, Rule, Ruleset, Set, Statement, Table},
};

/// An object that has a handle. Numbers count from 0 in the order of [`Ruleset::tables`] and within a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A table.
    Table(usize),
    /// A set of a table.
    Set(usize, usize),
    /// A chain of a table.
    Chain(usize, usize),
    /// A rule of a chain of a table.
    Rule(usize, usize, usize),
}

/// A counter: table, chain, rule, and which of the rule's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CounterRef {
    /// Number of the table.
    pub table: usize,
    /// Number of the chain in it.
    pub chain: usize,
    /// Number of the rule in it.
    pub rule: usize,
    /// Number of the counter in it.
    pub nth: usize,
}

/// What a listing shows beside the ruleset.
pub struct Shown<'a> {
    /// Packets and bytes of a counter.
    pub counter: &'a dyn Fn(CounterRef, (u64, u64)) -> (u64, u64),
    /// The handle of an object.
    pub handle: &'a dyn Fn(Object) -> Option<u64>,
}

/// The ruleset as it was written: counters at their first values, no handles.
pub fn text(ruleset: &Ruleset) -> String {
    listing(ruleset, &Shown { counter: &|_, written| written, handle: &|_| None })
}

/// The ruleset with what `shown` knows.
pub fn listing(ruleset: &Ruleset, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    for (number, table) in ruleset.tables().iter().enumerate() {
        Printer { ruleset, table, number, shown }.table(&mut out);
    }
    out
}

/// A rule on one line. Its counters are printed without numbers: the text then stays the same for ever.
pub fn rule_text(ruleset: &Ruleset, table: &Table, rule: &Rule) -> String {
    let names = Names { ruleset, table };
    let mut words: Vec<String> = rule
        .statements
        .iter()
        .map(|statement| match statement {
            Statement::Counter { .. } => "counter".to_owned(),
            other => names.statement(other),
        })
        .collect();
    words.extend(rule.comment.as_ref().map(|comment| format!("comment \"{comment}\"")));
    words.join(" ")
}

/// A statement alone.
pub(super) fn statement_text(ruleset: &Ruleset, table: &Table, statement: &Statement) -> String {
    Names { ruleset, table }.statement(statement)
}

struct Printer<'a> {
    ruleset: &'a Ruleset,
    table: &'a Table,
    number: usize,
    shown: &'a Shown<'a>,
}

impl Printer<'_> {
    fn table(&self, out: &mut String) {
        let Table { family, name, dormant, comment, sets, chains } = self.table;
        let _ = writeln!(out, "table {} {name} {{{}", family.name(), self.handle(Object::Table(self.number)));
        if *dormant {
            out.push_str("\tflags dormant\n");
        }
        comment_line(comment.as_deref(), "\t", out);
        let mut first = !dormant;
        let mut separate = |out: &mut String| {
            if !std::mem::take(&mut first) {
                out.push('\n');
            }
        };
        for (at, set) in sets.iter().enumerate() {
            separate(out);
            self.set(at, set, out);
        }
        for (at, chain) in chains.iter().enumerate() {
            separate(out);
            self.chain(at, chain, out);
        }
        out.push_str("}\n");
    }

    fn handle(&self, object: Object) -> String {
        (self.shown.handle)(object).map_or_else(String::new, |handle| format!(" # handle {handle}"))
    }

    fn set(&self, at: usize, set: &Set, out: &mut String) {
        let _ = writeln!(out, "\t{} {} {{{}", set.kind(), set.name, self.handle(Object::Set(self.number, at)));
        set::declaration(set, out);
        comment_line(set.comment.as_deref(), "\t\t", out);
        let elements = set::elements(&Names { ruleset: self.ruleset, table: self.table }, set);
        if !elements.is_empty() {
            let _ = writeln!(out, "\t\telements = {{ {elements} }}");
        }
        out.push_str("\t}\n");
    }

    fn chain(&self, at: usize, chain: &Chain, out: &mut String) {
        let Chain { name, base, devices, comment, rules } = chain;
        let _ = writeln!(out, "\tchain {name} {{{}", self.handle(Object::Chain(self.number, at)));
        comment_line(comment.as_deref(), "\t\t", out);
        if let Some(base) = base {
            let Base { kind, hook, priority: _, drops } = base;
            let policy = if *drops { "drop" } else { "accept" };
            let (kind, hook, devices) = (kind.name(), hook.name(), devices_text(devices));
            let priority = priority(base, self.table.family);
            let _ = writeln!(out, "\t\ttype {kind} hook {hook} {devices}priority {priority}; policy {policy};");
        }
        for (number, rule) in rules.iter().enumerate() {
            let _ = write!(out, "\t\t{}", self.rule(at, number, rule));
            let _ = writeln!(out, "{}", self.handle(Object::Rule(self.number, at, number)));
        }
        out.push_str("\t}\n");
    }

    fn rule(&self, chain: usize, number: usize, rule: &Rule) -> String {
        let names = Names { ruleset: self.ruleset, table: self.table };
        let mut nth = 0;
        let mut words = Vec::with_capacity(rule.statements.len() + 1);
        for statement in &rule.statements {
            words.push(match statement {
                Statement::Counter { packets, bytes } => {
                    let counter = CounterRef { table: self.number, chain, rule: number, nth };
                    nth += 1;
                    let (packets, bytes) = (self.shown.counter)(counter, (*packets, *bytes));
                    format!("counter packets {packets} bytes {bytes}")
                }
                other => names.statement(other),
            });
        }
        words.extend(rule.comment.as_ref().map(|comment| format!("comment \"{comment}\"")));
        words.join(" ")
    }
}

fn comment_line(comment: Option<&str>, indent: &str, out: &mut String) {
    if let Some(comment) = comment {
        let _ = writeln!(out, "{indent}comment \"{comment}\"");
    }
}

fn devices_text(devices: &[String]) -> String {
    match devices {
        [] => String::new(),
        [one] => format!("device \"{one}\" "),
        several => format!("devices = {{ {} }} ", several.join(", ")),
    }
}

/// A priority by the nearest name, as nftables prints it: names are used up to ten away.
pub fn priority(base: &Base, family: Family) -> String {
    let Base { kind: _, hook, priority, drops: _ } = *base;
    let near = names::PRIORITIES
        .iter()
        .filter(|(name, _)| available_priority(name, hook, family))
        .map(|(name, number)| (name, i64::from(priority) - i64::from(*number)))
        .filter(|(_, distance)| distance.abs() <= 10)
        .min_by_key(|(_, distance)| distance.abs());
    match near {
        Some((name, 0)) => (*name).to_owned(),
        Some((name, distance)) if distance > 0 => format!("{name} + {distance}"),
        Some((name, distance)) => format!("{name} - {}", -distance),
        None => priority.to_string(),
    }
}
