//! A ruleset as canonical text: what `nft list ruleset` prints.

mod set;
mod statement;

pub(super) use self::set::time;

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
    let shown = Shown::as_written();
    listing(ruleset, &shown)
}

/// The ruleset with what `shown` knows.
pub fn listing(ruleset: &Ruleset, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    for (number, table) in ruleset.tables().iter().enumerate() {
        Printer { ruleset, table, number, shown }.table(&mut out);
    }
    out
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
    shown: &'a Shown<'a>,
}

impl Printer<'_> {
    fn table(&self, out: &mut String) {
        let Table { family, name, dormant, comment, objects, flowtables, sets, chains } = self.table;
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
        for (at, object) in objects.iter().enumerate() {
            separate(out);
            self.object(at, object, out);
        }
        for (at, set) in sets.iter().enumerate() {
            separate(out);
            self.set(at, set, out);
        }
        for flowtable in flowtables {
            separate(out);
            let _ = writeln!(out, "\tflowtable {} {{\n\t\t{}\n\t}}", flowtable.name, flowtable.lines().join("\n\t\t"));
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

    fn object(&self, at: usize, object: &Named, out: &mut String) {
        let handle = self.handle(Object::Named(self.number, at));
        let _ = writeln!(out, "\t{} {} {{{handle}", object.kind().name(), object.name);
        comment_line(object.comment.as_deref(), "\t\t", out);
        let lines = match (self.shown.content)((self.number, at), object.content) {
            Content::Counter { packets, bytes } => vec![format!("packets {packets} bytes {bytes}")],
            Content::Quota(quota) => vec![quota.text()],
            Content::Limit(limit) => vec![limit.text()],
            Content::Synproxy(proxy) => proxy.parts().into_iter().flatten().collect(),
        };
        for line in lines {
            let _ = writeln!(out, "\t\t{line}");
        }
        out.push_str("\t}\n");
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
        let (mut nth, mut nth_quota) = (0, 0);
        let mut words = Vec::with_capacity(rule.statements.len() + 1);
        for statement in rule.statements.iter().skip(hidden(self.table, rule)) {
            words.push(match statement {
                Statement::Quota(quota) => {
                    let quota_ref = CounterRef { table: self.number, chain, rule: number, nth: nth_quota };
                    nth_quota += 1;
                    let used = (self.shown.quota)(quota_ref, (quota.used, quota.bytes));
                    format!("quota {}", Quota { used, ..*quota }.text())
                }
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
