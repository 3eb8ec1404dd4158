//! Sets: elements sorted, and what nftables does with those that overlap.

use super::{Checked, Checker};
use crate::language::{
    ast::{self, Element, Expr, ExprKind, SetBody, SetKey, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::{Form, Set, SetElement, Values},
    source::Span,
    types::Type,
};

/// An element with its place.
struct Placed {
    element: SetElement,
    span: Span,
}

/// A set so far. Its elements are put in order once, when all are there: they may come one by one.
pub(super) struct SetState {
    pub(super) set: Set,
    placed: Vec<Placed>,
}

impl SetState {
    pub(super) fn finish(self, problems: &mut Vec<Diagnostic>) -> Set {
        let Self { mut set, placed } = self;
        let last = placed.last().map_or_else(Span::default, |one| one.span);
        match arranged(placed, &set) {
            Ok(elements) => set.elements = elements,
            Err(problem) => problems.push(problem),
        }
        if let Some(size) = set.size.filter(|size| set.elements.len() > *size as usize) {
            let message = format!("set `{}` is full: {} elements, size {size}", set.name, set.elements.len());
            problems.push(Diagnostic::error(last, message));
        }
        set
    }
}

impl Checker<'_> {
    /// `set NAME { .. }`: makes a set, or adds to one of the same kind.
    pub(super) fn named_set(&mut self, table: usize, set: &ast::Set) -> Checked<()> {
        let declared = declaration(set)?;
        let known = self.tables[table].set_index.get(&*set.name.text).copied();
        let number = if let Some(number) = known {
            same_kind(&self.tables[table].sets[number].set, &declared, &set.name)?;
            number
        } else {
            let table = &mut self.tables[table];
            table.sets.push(SetState { set: declared, placed: Vec::new() });
            table.set_index.insert(set.name.text.to_string(), table.sets.len() - 1);
            table.sets.len() - 1
        };
        match &set.body.elements {
            Some(elements) => self.fill(table, number, elements),
            None => Ok(()),
        }
    }

    /// `add element TABLE SET { .. }`
    pub(super) fn add_elements(&mut self, table: usize, set: &Spanned, elements: &Expr) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        self.fill(table, number, elements)
    }

    fn fill(&mut self, table: usize, number: usize, elements: &Expr) -> Checked<()> {
        let ty = self.tables[table].sets[number].set.element_type;
        let mut placed = Vec::new();
        self.gather(elements, ty, &mut placed)?;
        self.tables[table].sets[number].placed.append(&mut placed);
        Ok(())
    }

    fn gather(&mut self, elements: &Expr, ty: Type, placed: &mut Vec<Placed>) -> Checked<()> {
        let ExprKind::Set(elements) = &elements.resolved().kind else {
            return Err(Diagnostic::error(elements.span, "expected `{ elements }`"));
        };
        for element in elements {
            self.gather_one(element, ty, placed)?;
        }
        Ok(())
    }

    fn gather_one(&mut self, element: &Element, ty: Type, placed: &mut Vec<Placed>) -> Checked<()> {
        if let Some(verdict) = &element.verdict {
            return Err(Diagnostic::error(verdict.span, "verdicts in a set: only a map has them"));
        }
        if matches!(element.key.resolved().kind, ExprKind::Set(_)) {
            return self.gather(&element.key, ty, placed);
        }
        if matches!(element.key.kind, ExprKind::Any) {
            return Err(Diagnostic::error(element.key.span, "`*` as an element is not supported yet"));
        }
        self.budget.spend(1, element.key.span)?;
        let values = self.values(&element.key, ty)?;
        let comment = element.comment.as_ref().map(|comment| comment.text.to_string());
        placed.push(Placed { element: SetElement { values, comment }, span: element.key.span });
        Ok(())
    }
}

fn declaration(set: &ast::Set) -> Checked<Set> {
    let SetBody { key, flags, auto_merge, size, comment, elements: _ } = &set.body;
    let (element_type, type_of) = key_type(key.as_ref(), set.name.span)?;
    let flag = |name: &str| flags.iter().any(|flag| &*flag.text == name);
    let size = match size {
        Some((size, span)) => Some(u32::try_from(*size).map_err(|_| Diagnostic::error(*span, "a size has 32 bits"))?),
        None => None,
    };
    Ok(Set {
        name: set.name.text.to_string(),
        element_type,
        type_of,
        constant: flag("constant"),
        interval: flag("interval"),
        auto_merge: *auto_merge,
        size,
        comment: comment.as_ref().map(|comment| comment.text.to_string()),
        elements: Vec::new(),
    })
}

fn key_type(key: Option<&SetKey>, span: Span) -> Checked<(Type, Option<crate::language::ruleset::Selector>)> {
    match key {
        Some(SetKey::TypeOf(selector)) => Ok((selector.value_type(), Some(*selector))),
        Some(SetKey::Type(name)) => {
            let known = Type::ALL.iter().find(|known| known.name() == &*name.text);
            known.map(|known| (*known, None)).ok_or_else(|| unknown_type(name))
        }
        None => {
            let error = Diagnostic::error(span, "the set has no type").following();
            Err(error.help("say what it holds: `type ipv4_addr`"))
        }
    }
}

fn unknown_type(name: &Spanned) -> Diagnostic {
    let known = Type::ALL.iter().map(|known| known.name());
    let error = Diagnostic::error(name.span, format!("unknown set type `{}`", name.text));
    match names::nearest(&name.text, known.clone()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("supported types: {}", known.collect::<Vec<_>>().join(", "))),
    }
}

fn same_kind(old: &Set, new: &Set, name: &Spanned) -> Checked<()> {
    if old.element_type == new.element_type && old.interval == new.interval && old.constant == new.constant {
        return Ok(());
    }
    let message = format!("set `{}` is already defined with another type or other flags", name.text);
    Err(Diagnostic::error(name.span, message))
}

/// The elements of a named set in order. Overlaps are joined when the set says `auto-merge`; else only an element
/// given twice is forgiven.
fn arranged(mut placed: Vec<Placed>, set: &Set) -> Checked<Vec<SetElement>> {
    let run = placed.iter().find(|one| one.element.values.form != Form::Single);
    if let Some(run) = run.filter(|_| !set.interval) {
        let error = Diagnostic::error(run.span, "prefixes and ranges need a set with `flags interval`");
        return Err(error.help(format!("add `flags interval` to set `{}`", set.name)));
    }
    placed.sort_by_key(|one| (sort_key(one.element.values, set.element_type, set.interval), one.element.values.high));
    if set.auto_merge {
        let values = placed.into_iter().map(|one| one.element.values).collect();
        let joined = join(values, set.element_type);
        return Ok(joined.into_iter().map(|values| SetElement { values, comment: None }).collect());
    }
    let mut kept: Vec<Placed> = Vec::with_capacity(placed.len());
    for one in placed {
        match kept.last() {
            Some(last) if same(last.element.values, one.element.values) => {}
            Some(last) if set.interval && one.element.values.low <= last.element.values.high => {
                return Err(overlap(&one, last));
            }
            Some(_) | None => kept.push(one),
        }
    }
    let shape = |element: SetElement| SetElement { values: shaped(element.values, set.element_type), ..element };
    Ok(kept.into_iter().map(|one| shape(one.element)).collect())
}

fn same(a: Values, b: Values) -> bool {
    a.low == b.low && a.high == b.high
}

fn overlap(one: &Placed, other: &Placed) -> Diagnostic {
    // The later one in the text is the one to complain about.
    let span = one.span.max(other.span);
    let error = Diagnostic::error(span, "this element overlaps another one of the set");
    error.help("`auto-merge` in the set joins what overlaps")
}

/// Where an element stands. Names in a set without intervals stand as the kernel's hash of host-order words lists
/// them: by their last letter first.
fn sort_key(values: Values, ty: Type, interval: bool) -> u128 {
    if ty == Type::IfName && !interval { values.low.swap_bytes() } else { values.low }
}

/// The elements of an anonymous set: sorted, each once; with ranges among them, overlaps and neighbours joined.
pub(super) fn joined(mut values: Vec<Values>, ty: Type) -> Vec<Values> {
    if values.iter().any(|one| one.form != Form::Single) {
        values.sort_by_key(|one| (one.low, one.high));
        return join(values, ty);
    }
    values.sort_by_key(|one| sort_key(*one, ty, false));
    values.dedup();
    values
}

/// Joins sorted values. Names that stand side by side are not neighbours in any sense: only one inside another goes.
fn join(values: Vec<Values>, ty: Type) -> Vec<Values> {
    let mut joined: Vec<Values> = Vec::with_capacity(values.len());
    for one in values {
        match joined.last_mut() {
            Some(last) if one.low <= last.high => last.high = last.high.max(one.high),
            Some(last) if ty != Type::IfName && one.low == last.high.saturating_add(1) => last.high = one.high,
            Some(_) | None => joined.push(one),
        }
    }
    joined.iter().map(|one| shaped(*one, ty)).collect()
}

/// How a run of values in a set is written.
fn shaped(values: Values, ty: Type) -> Values {
    let Values { low, high, form: _ } = values;
    let host = low ^ high;
    let is_prefix = host & host.wrapping_add(1) == 0 && low & host == 0;
    let form = match ty.bits().checked_sub(host.count_ones() as u8) {
        _ if low == high => Form::Single,
        Some(length) if is_prefix && ty.prints_prefixes() => Form::Prefix(length),
        Some(_) | None => Form::Range,
    };
    Values { low, high, form }
}
