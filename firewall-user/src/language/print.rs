//! A ruleset as canonical text: what `nft list ruleset` prints.

mod set;
mod statement;
mod template;

pub(super) use self::set::time;
pub use self::template::{Hole, Template, counter_text, handle_text, quota_text};

pub use self::set::time as time_text;
use std::fmt::Write;

use self::statement::Names;
use super::{
    check::available_priority,
    names,
    ruleset::{
        Base, Chain, Comparison, Content, Family, Match, Object as Named, Operand, Quota, Reject, Rule, Ruleset,
        Selector, Set, Statement, Table, Values,
    },
};

/// An object that has a handle. Numbers count from 0 in the order of [`Ruleset::tables`] and within a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A table.
    Table(usize),
    /// A set of a table.
    Set(usize, usize),
    /// A counter, quota and the like of a table.
    Named(usize, usize),
    /// A chain of a table.
    Chain(usize, usize),
    /// A rule of a chain of a table.
    Rule(usize, usize, usize),
}

/// A counter or a quota: table, chain, rule, and which of the rule's counters or quotas.
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
    /// Bytes used of a quota; from those that it starts with, and all it has.
    pub quota: &'a dyn Fn(CounterRef, (u64, u64)) -> u64,
    /// An object of a table, by their numbers, with what it counted.
    pub content: &'a dyn Fn((usize, usize), Content) -> Content,
    /// The handle of an object.
    pub handle: &'a dyn Fn(Object) -> Option<u64>,
}

impl Shown<'_> {
    /// Nothing: everything is as it was written, without handles.
    pub const fn as_written() -> Self {
        Self {
            counter: &|_, written| written,
            quota: &|_, (written, _)| written,
            content: &|_, written| written,
            handle: &|_| None,
        }
    }
}

/// The ruleset as it was written: counters at their first values, no handles.
pub fn text(ruleset: &Ruleset) -> String {
    template(ruleset).text
}

/// The ruleset with what `shown` knows.
pub fn listing(ruleset: &Ruleset, shown: &Shown<'_>) -> String {
    template(ruleset).fill(shown)
}

/// The ruleset as it was written, and the places of what a listing shows instead.
pub fn template(ruleset: &Ruleset) -> Template {
    let mut out = Template::default();
    for (number, table) in ruleset.tables().iter().enumerate() {
        Printer { ruleset, table, number }.table(&mut out);
    }
    out
}

/// What has a handle, in the order in which it is printed.
pub fn objects(ruleset: &Ruleset) -> impl Iterator<Item = Object> {
    ruleset.tables().iter().enumerate().flat_map(|(number, table)| {
        let named = (0..table.objects.len()).map(move |at| Object::Named(number, at));
        let sets = table.sets.iter().enumerate().filter(|(_, set)| !set.meter);
        let sets = sets.map(move |(at, _)| Object::Set(number, at));
        let chains = table.chains.iter().enumerate().flat_map(move |(at, chain)| {
            let rules = (0..chain.rules.len()).map(move |rule| Object::Rule(number, at, rule));
            std::iter::once(Object::Chain(number, at)).chain(rules)
        });
        std::iter::once(Object::Table(number)).chain(named).chain(sets).chain(chains)
    })
}

/// A rule on one line. Its counters and quotas are printed without counts: the text then stays the same for ever.
pub fn rule_text(ruleset: &Ruleset, table: &Table, rule: &Rule) -> String {
    let names = Names { ruleset, table };
    let mut words: Vec<String> = rule
        .statements
        .iter()
        .skip(hidden(table, rule))
        .map(|statement| match statement {
            Statement::Counter { .. } => "counter".to_owned(),
            Statement::Quota(quota) => format!("quota {}", Quota { used: 0, ..*quota }.text()),
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

/// How many of a rule's first statements are not printed: a test that `reject` asks for, which nftables puts there
/// again, as long as nothing but matches stands between.
pub(super) fn hidden(table: &Table, rule: &Rule) -> usize {
    let [Statement::Match(first), between @ .., Statement::Reject(reject)] = &rule.statements[..] else { return 0 };
    let asks = match (reject, table.family) {
        (Reject::Reset, Family::Ip | Family::Ip6) => is(first, Selector::L4Proto, 6),
        (Reject::Icmp(_), Family::Inet) => is(first, Selector::NfProto, 2),
        (Reject::Icmp6(_), Family::Inet) => is(first, Selector::NfProto, 10),
        (Reject::Reset | Reject::Icmp(_) | Reject::Icmp6(_) | Reject::Either(_), _) => false,
    };
    let is_match = |statement: &Statement| matches!(statement, Statement::Match(_) | Statement::Concat { .. });
    usize::from(asks && between.iter().all(is_match))
}

fn is(held: &Match, selector: Selector, value: u128) -> bool {
    let Match { subject, comparison, operand } = held;
    (subject.selector, subject.mask, subject.or, *comparison) == (selector, None, 0, Comparison::Equal)
        && *operand == Operand::One(Values::single(value))
}

struct Printer<'a> {
    ruleset: &'a Ruleset,
    table: &'a Table,
    number: usize,
}

impl Printer<'_> {
    fn table(&self, out: &mut Template) {
        let Table { family, name, dormant, comment, objects, flowtables, sets, chains } = self.table;
        let _ = write!(out.text, "table {} {name} {{", family.name());
        end_of_head(Object::Table(self.number), out);
        if *dormant {
            out.text.push_str("\tflags dormant\n");
        }
        comment_line(comment.as_deref(), "\t", &mut out.text);
        let mut first = !dormant;
        let mut separate = |out: &mut Template| {
            if !std::mem::take(&mut first) {
                out.text.push('\n');
            }
        };
        for (at, object) in objects.iter().enumerate() {
            separate(out);
            self.object(at, object, out);
        }
        for (at, set) in sets.iter().enumerate().filter(|(_, set)| !set.meter) {
            separate(out);
            self.set(at, set, out);
        }
        for flowtable in flowtables {
            separate(out);
            let (name, lines) = (&flowtable.name, flowtable.lines().join("\n\t\t"));
            let _ = writeln!(out.text, "\tflowtable {name} {{\n\t\t{lines}\n\t}}");
        }
        for (at, chain) in chains.iter().enumerate() {
            separate(out);
            self.chain(at, chain, out);
        }
        out.text.push_str("}\n");
    }

    fn object(&self, at: usize, object: &Named, out: &mut Template) {
        let _ = write!(out.text, "\t{} {} {{", object.kind().name(), object.name);
        end_of_head(Object::Named(self.number, at), out);
        comment_line(object.comment.as_deref(), "\t\t", &mut out.text);
        out.text.push_str("\t\t");
        out.hole(Hole::Content((self.number, at), object.content));
        out.text.push_str("\n\t}\n");
    }

    fn set(&self, at: usize, set: &Set, out: &mut Template) {
        let _ = write!(out.text, "\t{} {} {{", set.kind(), set.name);
        end_of_head(Object::Set(self.number, at), out);
        set::declaration(set, &mut out.text);
        comment_line(set.comment.as_deref(), "\t\t", &mut out.text);
        let elements = set::elements(&Names { ruleset: self.ruleset, table: self.table }, set);
        if !elements.is_empty() {
            let _ = writeln!(out.text, "\t\telements = {{ {elements} }}");
        }
        out.text.push_str("\t}\n");
    }

    fn chain(&self, at: usize, chain: &Chain, out: &mut Template) {
        let Chain { name, base, devices, comment, rules } = chain;
        let _ = write!(out.text, "\tchain {name} {{");
        end_of_head(Object::Chain(self.number, at), out);
        comment_line(comment.as_deref(), "\t\t", &mut out.text);
        if let Some(base) = base {
            let Base { kind, hook, priority: _, drops } = base;
            let policy = if *drops { "drop" } else { "accept" };
            let (kind, hook, devices) = (kind.name(), hook.name(), devices_text(devices));
            let priority = priority(base, self.table.family);
            let _ = writeln!(out.text, "\t\ttype {kind} hook {hook} {devices}priority {priority}; policy {policy};");
        }
        for (number, rule) in rules.iter().enumerate() {
            out.text.push_str("\t\t");
            self.rule(at, number, rule, out);
            end_of_head(Object::Rule(self.number, at, number), out);
        }
        out.text.push_str("\t}\n");
    }

    fn rule(&self, chain: usize, number: usize, rule: &Rule, out: &mut Template) {
        let names = Names { ruleset: self.ruleset, table: self.table };
        let at = |nth: &mut usize| {
            *nth += 1;
            CounterRef { table: self.number, chain, rule: number, nth: *nth - 1 }
        };
        let (mut counters, mut quotas) = (0, 0);
        for (index, statement) in rule.statements.iter().skip(hidden(self.table, rule)).enumerate() {
            if index > 0 {
                out.text.push(' ');
            }
            match statement {
                Statement::Quota(quota) => {
                    out.text.push_str("quota ");
                    out.hole(Hole::Quota(at(&mut quotas), *quota));
                }
                Statement::Counter { packets, bytes } => {
                    out.text.push_str("counter ");
                    out.hole(Hole::Counter(at(&mut counters), (*packets, *bytes)));
                }
                other => out.text.push_str(&names.statement(other)),
            }
        }
        if let Some(comment) = &rule.comment {
            let _ = write!(out.text, " comment \"{comment}\"");
        }
    }
}

/// The handle, where it is shown, and the end of the line.
fn end_of_head(object: Object, out: &mut Template) {
    out.hole(Hole::Handle(object));
    out.text.push('\n');
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
