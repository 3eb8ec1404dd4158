//! A ruleset as canonical text: what `nft list ruleset` prints.

use std::fmt::Write;

use super::{
    check::available_priority,
    names,
    ruleset::{
        Base, Chain, Comparison, ConcatKeys, Form, MapElement, Match, Operand, Rule, Ruleset, Selector, Set,
        SetElement, Statement, Subject, Table, Tuple, Values, Verdict,
    },
    types::Type,
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

struct Printer<'a> {
    ruleset: &'a Ruleset,
    table: &'a Table,
    number: usize,
    shown: &'a Shown<'a>,
}

impl Printer<'_> {
    fn table(&self, out: &mut String) {
        let Table { family, name, comment, sets, chains } = self.table;
        let _ = writeln!(out, "table {} {name} {{{}", family.name(), self.handle(Object::Table(self.number)));
        comment_line(comment.as_deref(), "\t", out);
        let mut first = true;
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
        let Set { name, element_type, type_of, constant, interval, auto_merge, size, .. } = set;
        let kind = if set.is_map { "map" } else { "set" };
        let _ = writeln!(out, "\t{kind} {name} {{{}", self.handle(Object::Set(self.number, at)));
        let data = if set.is_map { " : verdict" } else { "" };
        let _ = match type_of {
            Some(selector) => writeln!(out, "\t\ttypeof {}{data}", type_of_text(set, *selector)),
            None => writeln!(out, "\t\ttype {}{data}", type_text(set, *element_type)),
        };
        if set.saves_memory {
            out.push_str("\t\tpolicy memory\n");
        }
        if let Some(size) = size {
            let _ = writeln!(out, "\t\tsize {size}");
        }
        let flags = [(*constant, "constant"), (*interval, "interval")];
        let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !flags.is_empty() {
            let _ = writeln!(out, "\t\tflags {}", flags.join(","));
        }
        if *auto_merge {
            out.push_str("\t\tauto-merge\n");
        }
        comment_line(set.comment.as_deref(), "\t\t", out);
        let tuples = set.concat.as_ref().is_some_and(|concat| !concat.tuples.is_empty());
        if !set.elements.is_empty() || tuples || set.default.is_some() {
            let _ = writeln!(out, "\t\telements = {{ {} }}", self.elements(set));
        }
        out.push_str("\t}\n");
    }

    fn elements(&self, set: &Set) -> String {
        let names = Names { ruleset: self.ruleset, table: self.table };
        let ty = set.element_type;
        let mut out = String::new();
        if let Some(concat) = &set.concat {
            return names.tuples((&concat.tuples, &concat.types), set.default, ",\n\t\t\t     ");
        }
        let separate = |at: usize| match at {
            0 => "",
            _ if at.is_multiple_of(ty.per_line()) => ",\n\t\t\t     ",
            _ => ", ",
        };
        for (at, SetElement { values, verdict, comment }) in set.elements.iter().enumerate() {
            out.push_str(separate(at));
            names.values(*values, ty, &mut out);
            if let Some(comment) = comment {
                let _ = write!(out, " comment \"{comment}\"");
            }
            if let Some(verdict) = verdict {
                let _ = write!(out, " : {}", names.verdict(*verdict));
            }
        }
        if let Some(verdict) = set.default {
            let _ = write!(out, "{}* : {}", separate(set.elements.len()), names.verdict(verdict));
        }
        out
    }

    fn chain(&self, at: usize, chain: &Chain, out: &mut String) {
        let Chain { name, base, comment, rules } = chain;
        let _ = writeln!(out, "\tchain {name} {{{}", self.handle(Object::Chain(self.number, at)));
        comment_line(comment.as_deref(), "\t\t", out);
        if let Some(base) = base {
            let Base { hook, priority: _, drops } = base;
            let policy = if *drops { "drop" } else { "accept" };
            let _ = writeln!(out, "\t\ttype filter hook {} priority {}; policy {policy};", hook.name(), priority(base));
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

fn words((group, field): (&str, &str)) -> String {
    if field.is_empty() { group.to_owned() } else { format!("{group} {field}") }
}

/// A priority by the nearest name, as nftables prints it: names are used up to ten away.
pub fn priority(base: &Base) -> String {
    let Base { hook, priority, drops: _ } = *base;
    let near = names::PRIORITIES
        .iter()
        .filter(|(name, _)| available_priority(name, hook))
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

/// What numbers are called.
struct Names<'a> {
    ruleset: &'a Ruleset,
    table: &'a Table,
}

impl Names<'_> {
    fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Match(held) => self.a_match(held),
            Statement::Map { subject, elements } => self.map(*subject, elements),
            Statement::Concat { subjects, negated, keys } => {
                let sign = if *negated { "!= " } else { "" };
                format!("{} {sign}{}", concat_text(subjects), self.concat_keys(subjects, keys))
            }
            Statement::ConcatMap { subjects, keys } => {
                format!("{} vmap {}", concat_text(subjects), self.concat_keys(subjects, keys))
            }
            Statement::NamedMap { subject, map } => {
                format!("{} vmap @{}", subject_text(*subject), self.table.sets[*map].name)
            }
            Statement::Counter { packets, bytes } => format!("counter packets {packets} bytes {bytes}"),
            Statement::Log { prefix, level } => log(prefix.as_deref(), *level),
            Statement::Verdict(verdict) => self.verdict(*verdict),
        }
    }

    fn verdict(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Return => "return".to_owned(),
            Verdict::Continue => "continue".to_owned(),
            Verdict::Jump(chain) => format!("jump {}", self.table.chains[chain].name),
            Verdict::Goto(chain) => format!("goto {}", self.table.chains[chain].name),
        }
    }

    fn a_match(&self, held: &Match) -> String {
        let Match { subject, comparison, operand } = held;
        let ty = subject.selector.value_type();
        let several = subject.mask.filter(|mask| ty.is_flags() && mask.count_ones() > 1);
        if let (Some(mask), Operand::One(values)) = (several, operand) {
            return flags_under_mask(*subject, *comparison, (values.low, mask));
        }
        let mut out = subject_text(*subject);
        out.push(' ');
        out.push_str(operator(*comparison, must_be_written(held)));
        match operand {
            Operand::One(values) => match comparison {
                Comparison::AnyBit | Comparison::NoBit => out.push_str(&ty.flag_text(values.low, ",")),
                Comparison::Equal | Comparison::NotEqual => self.compared(*values, ty, &mut out),
                Comparison::Less | Comparison::LessEqual | Comparison::Greater | Comparison::GreaterEqual => {
                    self.ordered(*values, ty, &mut out);
                }
            },
            Operand::Set(set) => {
                let elements = set.iter().map(|values| self.values_text(*values, ty));
                let _ = write!(out, "{{ {} }}", elements.collect::<Vec<_>>().join(", "));
            }
            Operand::Named(set) => {
                let _ = write!(out, "@{}", self.table.sets[*set].name);
            }
        }
        out
    }

    /// A value behind `==`. Several TCP flags are printed as a number: joined by `|` they would read as "any of".
    fn compared(&self, values: Values, ty: Type, out: &mut String) {
        if ty == Type::TcpFlag && values.low.count_ones() > 1 {
            let _ = write!(out, "0x{:x}", values.low);
        } else {
            self.values(values, ty, out);
        }
    }

    /// A value behind `<`: of flags the number counts, not the names.
    fn ordered(&self, values: Values, ty: Type, out: &mut String) {
        if ty.is_flags() {
            let _ = write!(out, "0x{:x}", values.low);
        } else {
            self.values(values, ty, out);
        }
    }

    fn map(&self, subject: Subject, elements: &[MapElement]) -> String {
        let ty = subject.selector.value_type();
        let elements = elements.iter().map(|MapElement { key, verdict }| {
            let key = key.map_or_else(|| "*".to_owned(), |key| self.values_text(key, ty));
            format!("{key} : {}", self.verdict(*verdict))
        });
        format!("{} vmap {{ {} }}", subject_text(subject), elements.collect::<Vec<_>>().join(", "))
    }

    fn concat_keys(&self, subjects: &[Subject], keys: &ConcatKeys) -> String {
        match keys {
            ConcatKeys::Named(set) => format!("@{}", self.table.sets[*set].name),
            ConcatKeys::Listed { tuples, default } => {
                let types: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
                format!("{{ {} }}", self.tuples((tuples, &types), *default, ", "))
            }
        }
    }

    fn tuples(&self, (tuples, types): (&[Tuple], &[Type]), default: Option<Verdict>, between: &str) -> String {
        let mut elements: Vec<String> = tuples.iter().map(|tuple| self.tuple(tuple, types)).collect();
        elements.extend(default.map(|verdict| format!("* : {}", self.verdict(verdict))));
        elements.join(between)
    }

    fn tuple(&self, tuple: &Tuple, types: &[Type]) -> String {
        let parts = tuple.key.iter().zip(types).map(|(values, ty)| self.values_text(*values, *ty));
        let mut out = parts.collect::<Vec<_>>().join(" . ");
        if let Some(comment) = &tuple.comment {
            let _ = write!(out, " comment \"{comment}\"");
        }
        if let Some(verdict) = tuple.verdict {
            let _ = write!(out, " : {}", self.verdict(verdict));
        }
        out
    }

    fn values_text(&self, values: Values, ty: Type) -> String {
        let mut out = String::new();
        self.values(values, ty, &mut out);
        out
    }

    fn values(&self, values: Values, ty: Type, out: &mut String) {
        if ty != Type::IfIndex {
            return ty.print(values, out);
        }
        out.push_str(&self.interface(values.low));
        if values.form == Form::Range {
            out.push('-');
            out.push_str(&self.interface(values.high));
        }
    }

    fn interface(&self, index: u128) -> String {
        let known = self.ruleset.interfaces().iter().find(|(known, _)| u128::from(*known) == index);
        known.map_or_else(|| index.to_string(), |(_, name)| format!("\"{name}\""))
    }
}

fn concat_text(subjects: &[Subject]) -> String {
    subjects.iter().map(|subject| subject_text(*subject)).collect::<Vec<_>>().join(" . ")
}

fn type_of_text(set: &Set, first: Selector) -> String {
    let all = set.concat.as_ref().map_or_else(|| vec![first], |concat| concat.type_of.clone());
    all.iter().map(|selector| words(selector.words())).collect::<Vec<_>>().join(" . ")
}

fn type_text(set: &Set, first: Type) -> String {
    let all = set.concat.as_ref().map_or_else(|| vec![first], |concat| concat.types.clone());
    all.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ")
}

fn subject_text(subject: Subject) -> String {
    let Subject { selector, mask, or, network: _, tagged: _ } = subject;
    let ty = selector.value_type();
    let mut out = words(selector.words());
    if let Some(mask) = mask {
        out.push_str(" & ");
        if ty.is_flags() && mask.count_ones() > 1 {
            let _ = write!(out, "({})", ty.flag_text(mask, " | "));
        } else {
            ty.print_one(mask, &mut out);
        }
    }
    if or != 0 {
        out.push_str(" | ");
        ty.print_one(or, &mut out);
    }
    out
}

/// `tcp flags syn / fin,syn`
fn flags_under_mask(subject: Subject, comparison: Comparison, (value, mask): (u128, u128)) -> String {
    let ty = subject.selector.value_type();
    let slash = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let left = words(subject.selector.words());
    if slash {
        let not = if comparison == Comparison::NotEqual { "!= " } else { "" };
        return format!("{left} {not}{} / {}", ty.flag_text(value, ","), ty.flag_text(mask, ","));
    }
    let sign = operator(comparison, true);
    format!("{left} & ({}) {sign}0x{value:x}", ty.flag_text(mask, " | "))
}

/// Does nothing between the two sides mean something else than `==`? Behind a mask it would be a mistake, before
/// flags it would mean "any of"; but a set says itself what it means.
fn must_be_written(held: &Match) -> bool {
    let flags = held.subject.selector.value_type().is_flags();
    let range = matches!(held.operand, Operand::One(Values { form: Form::Range, .. }));
    let changed = held.subject.mask.is_some() || held.subject.or != 0;
    (changed && !range) || (flags && matches!(held.operand, Operand::One(_)))
}

/// The operator with a blank behind it; empty for the one that is not written.
fn operator(comparison: Comparison, written: bool) -> &'static str {
    match comparison {
        Comparison::Equal if written => "== ",
        Comparison::Equal | Comparison::AnyBit => "",
        Comparison::NotEqual => "!= ",
        Comparison::NoBit => "! ",
        Comparison::Less => "< ",
        Comparison::LessEqual => "<= ",
        Comparison::Greater => "> ",
        Comparison::GreaterEqual => ">= ",
    }
}

fn log(prefix: Option<&str>, level: Option<&'static str>) -> String {
    let mut out = "log".to_owned();
    if let Some(prefix) = prefix {
        let _ = write!(out, " prefix \"{prefix}\"");
    }
    if let Some(level) = level {
        let _ = write!(out, " level {level}");
    }
    out
}
