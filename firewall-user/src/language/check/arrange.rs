//! Elements of sets in order, and what nftables does with those that overlap.

use super::{Checked, sets::Placed};
use crate::language::{
    diagnostic::Diagnostic,
    ruleset::{Extras, Form, Set, SetElement, Values},
    types::Type,
};

/// The elements of a named set in order. Overlaps are joined when the set says `auto-merge`; else only an element
/// given twice is forgiven.
pub(super) fn arranged(mut placed: Vec<Placed>, set: &Set) -> Checked<Vec<SetElement>> {
    let run = placed.iter().find(|one| one.element.values.form != Form::Single);
    if let Some(run) = run.filter(|_| !set.interval) {
        let error = Diagnostic::error(run.span, "prefixes and ranges need a set with `flags interval`");
        return Err(error.help(format!("add `flags interval` to set `{}`", set.name)));
    }
    placed.sort_by_key(|one| (sort_key(one.element.values, set.element_type, set.interval), one.element.values.high));
    if set.auto_merge {
        let values = placed.into_iter().map(|one| one.element.values).collect();
        let joined = join(values, set.element_type);
        return Ok(joined
            .into_iter()
            .map(|values| SetElement { values, given: None, extras: joined_extras(set) })
            .collect());
    }
    let mut kept: Vec<Placed> = Vec::with_capacity(placed.len());
    for one in placed {
        match kept.last() {
            Some(last) if same(&last.element, &one.element) => {}
            Some(last) if last.element.values.low == one.element.values.low && set.data.is_some() => {
                return Err(Diagnostic::error(one.span.max(last.span), "this key has two verdicts"));
            }
            Some(last) if set.interval && one.element.values.low <= last.element.values.high => {
                return Err(overlap(&one, last));
            }
            Some(_) | None => kept.push(one),
        }
    }
    let shape = |element: SetElement| SetElement { values: shaped(element.values, set.element_type), ..element };
    Ok(kept.into_iter().map(|one| shape(one.element)).collect())
}

/// What elements that were joined have.
fn joined_extras(set: &Set) -> Extras {
    Extras { counter: set.counts().then_some((0, 0)), ..Extras::default() }
}

fn same(a: &SetElement, b: &SetElement) -> bool {
    (a.values.low, a.values.high, &a.given) == (b.values.low, b.values.high, &b.given)
}

fn overlap(one: &Placed, other: &Placed) -> Diagnostic {
    // The later one in the text is the one to complain about.
    let span = one.span.max(other.span);
    if one.element.given.is_some() {
        return Diagnostic::error(span, "this key overlaps another one of the map");
    }
    let error = Diagnostic::error(span, "this element overlaps another one of the set");
    error.help("`auto-merge` in the set joins what overlaps")
}

/// Where an element stands. Names in a set without intervals stand as the kernel's hash of host-order words lists
/// them: by their last letter first.
pub(super) fn sort_key(values: Values, ty: Type, interval: bool) -> u128 {
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
pub(super) fn shaped(values: Values, ty: Type) -> Values {
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
