//! Sets and maps as text.

use std::fmt::Write;

use super::statement::{Names, selector_text};
use crate::language::{
    ruleset::{Extras, MapData, OfElement, Selector, Set},
    types::Type,
};

/// What is between elements that stand under one another.
const BELOW: &str = ",\n\t\t\t     ";

/// What the set is, a line each.
pub(super) fn declaration(set: &Set, out: &mut String) {
    let _ = match set.type_of {
        Some(first) if set.data.as_ref().is_none_or(is_by_example) => {
            let selectors = set.concat.as_ref().map_or_else(|| vec![first], |concat| concat.type_of.clone());
            writeln!(out, "\t\ttypeof {}{}", type_of_text(&selectors), data_text(set))
        }
        Some(_) | None => writeln!(out, "\t\ttype {}{}", type_text(&set.key_types()), data_text(set)),
    };
    if set.saves_memory {
        out.push_str("\t\tpolicy memory\n");
    }
    if let Some(size) = set.size {
        let _ = writeln!(out, "\t\tsize {size}");
    }
    let flags = flags(set);
    if !flags.is_empty() {
        let _ = writeln!(out, "\t\tflags {}", flags.join(","));
    }
    if !set.statements.is_empty() {
        let statements: Vec<_> = set.statements.iter().map(OfElement::text).collect();
        let _ = writeln!(out, "\t\t{}", statements.join(" "));
    }
    if set.auto_merge {
        out.push_str("\t\tauto-merge\n");
    }
    if let Some(timeout) = set.timeout {
        let _ = writeln!(out, "\t\ttimeout {}", time(timeout));
    }
    if let Some(interval) = set.gc_interval {
        let _ = writeln!(out, "\t\tgc-interval {}", time(interval));
    }
}

/// The flags that are printed: a `timeout` says by itself that elements end.
fn flags(set: &Set) -> Vec<&'static str> {
    let all =
        [(set.constant, "constant"), (set.dynamic, "dynamic"), (set.interval, "interval"), (set.timeouts, "timeout")];
    let flags: Vec<_> = all.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if flags == ["timeout"] && set.timeout.is_some() { Vec::new() } else { flags }
}

/// nft 1.0.6 forgets how a map was declared when its data are ranges.
fn is_by_example(data: &MapData) -> bool {
    match data {
        MapData::Verdicts => true,
        MapData::Values { types: _, type_of, interval } => !type_of.is_empty() && !interval,
    }
}

fn data_text(set: &Set) -> String {
    match &set.data {
        None => String::new(),
        Some(MapData::Verdicts) => " : verdict".to_owned(),
        Some(MapData::Values { types, type_of: _, interval: true }) => format!(" : interval {}", type_text(types)),
        Some(MapData::Values { types, type_of, interval: false }) => {
            let text = if type_of.is_empty() { type_text(types) } else { type_of_text(type_of) };
            format!(" : {text}")
        }
    }
}

fn type_of_text(selectors: &[Selector]) -> String {
    selectors.iter().map(|selector| selector_text(*selector)).collect::<Vec<_>>().join(" . ")
}

fn type_text(types: &[Type]) -> String {
    types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ")
}

/// The elements, as many on a line as nftables prints.
pub(super) fn elements(names: &Names<'_>, set: &Set) -> String {
    let per_line = if set.concat.is_some() { 1 } else { set.element_type.per_line() };
    let mut out = String::new();
    for (at, element) in listed(names, set).into_iter().enumerate() {
        out.push_str(match at {
            0 => "",
            _ if at.is_multiple_of(per_line) => BELOW,
            _ => ", ",
        });
        out.push_str(&element);
    }
    out
}

fn listed(names: &Names<'_>, set: &Set) -> Vec<String> {
    let data = set.data_types();
    let mut texts = Vec::with_capacity(set.elements.len());
    for element in &set.elements {
        let mut text = String::new();
        names.values(element.values, set.element_type, &mut text);
        extras(&set.statements, &element.extras, &mut text);
        text.extend(element.given.as_ref().map(|given| names.given(given, data)));
        texts.push(text);
    }
    if let Some(concat) = &set.concat {
        texts.extend(concat.tuples.iter().map(|tuple| names.tuple(tuple, (&concat.types, data), &set.statements)));
    }
    if let Some(any) = &set.catch_all {
        let mut text = "*".to_owned();
        extras(&set.statements, &any.extras, &mut text);
        text.extend(any.given.as_ref().map(|given| names.given(given, data)));
        texts.push(text);
    }
    texts
}

/// What stands between an element's key and its data.
pub(super) fn extras(statements: &[OfElement], extras: &Extras, out: &mut String) {
    let Extras { counter, others, timeout, expires, comment } = extras;
    let mut others = others.iter();
    for statement in statements {
        let _ = match (statement, counter) {
            (OfElement::Counter(..), Some((packets, bytes))) => {
                write!(out, " counter packets {packets} bytes {bytes}")
            }
            _ => others.next().map_or(Ok(()), |other| write!(out, " {}", other.text())),
        };
    }
    if let Some(timeout) = timeout {
        let _ = write!(out, " timeout {}", time(*timeout));
    }
    if let Some(expires) = expires {
        let _ = write!(out, " expires {}", time(*expires));
    }
    if let Some(comment) = comment {
        let _ = write!(out, " comment \"{comment}\"");
    }
}

/// A time as nftables prints it: `1d2h3m4s5ms`.
pub fn time(milliseconds: u64) -> String {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut out = String::new();
    let mut left = milliseconds;
    for (unit, size) in UNITS {
        if left / size > 0 {
            let _ = write!(out, "{}{unit}", left / size);
        }
        left %= size;
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}
