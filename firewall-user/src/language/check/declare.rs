//! Declarations of sets and maps.

use super::Checked;
use crate::language::{
    ast::{self, SetBody, SetKey, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::{Concat, MapData, OfElement, Selector, Set},
    source::Span,
    types::Type,
};

/// The longest timeout, in milliseconds: 32 bits of seconds, of which the data plane keeps all.
const MAX_TIMEOUT: u64 = 4_294_967_295 / 8 * 1000;

pub(super) fn declaration(set: &ast::Set) -> Checked<Set> {
    let SetBody { key, data, flags, auto_merge, size, policy, comment, timeout, gc_interval, statements, elements: _ } =
        &set.body;
    let (types, selectors) = key_types(key.as_ref(), set.name.span)?;
    let (element_type, type_of) = (types[0], selectors.first().copied());
    let concat = (types.len() > 1).then(|| Concat { types, type_of: selectors, tuples: Vec::new() });
    let flag = |name: &str| flags.iter().any(|flag| &*flag.text == name);
    let size = match size {
        Some((size, span)) => Some(u32::try_from(*size).map_err(|_| Diagnostic::error(*span, "a size has 32 bits"))?),
        None => None,
    };
    let timeout = timeout.filter(|(time, _)| *time != 0);
    let declared = Set {
        name: set.name.text.to_string(),
        element_type,
        type_of,
        constant: flag("constant"),
        interval: flag("interval"),
        dynamic: flag("dynamic"),
        timeouts: flag("timeout") || timeout.is_some(),
        timeout: timeout.map(|(time, span)| in_bounds(time, span)).transpose()?,
        gc_interval: gc_interval.map(|(time, _)| time).filter(|time| *time != 0),
        auto_merge: *auto_merge,
        // The size of a constant set is that of its elements: nftables forgets the one that was written.
        size: size.filter(|size| !flag("constant") && *size != 0),
        saves_memory: policy.as_ref().map(saves_memory).transpose()?.unwrap_or(false),
        statements: statements.iter().map(|(statement, _)| statement.fresh()).collect(),
        meter: false,
        data: data.as_ref().map(map_data).transpose()?,
        catch_all: None,
        comment: comment.as_ref().map(|comment| comment.text.to_string()),
        elements: Vec::new(),
        concat,
    };
    refuse_conflicts(&declared, set)?;
    Ok(declared)
}

/// What the kernel has no set for.
fn refuse_conflicts(declared: &Set, set: &ast::Set) -> Checked<()> {
    let flag = |name: &str| set.body.flags.iter().find(|flag| &*flag.text == name).map(|flag| flag.span);
    if let Some(span) = flag("dynamic").filter(|_| declared.interval) {
        let error = Diagnostic::error(span, "a set cannot be both `dynamic` and `interval`");
        return Err(error.help("rules add single values: leave `interval` out"));
    }
    if let Some(span) = flag("constant").filter(|_| declared.timeouts || declared.dynamic) {
        let error = Diagnostic::error(span, "a set cannot be `constant` and lose elements");
        return Err(error.help("leave `constant` out"));
    }
    let counted = set.body.statements.iter().find(|(one, _)| matches!(one, OfElement::Connections { .. }));
    if let Some((_, span)) = counted.filter(|_| declared.timeouts) {
        let error = Diagnostic::error(*span, "`ct count` on elements with timeouts: the kernel refuses both together");
        return Err(error.help("leave the timeout out: an element without connections may be deleted by `delete @set`"));
    }
    if let Some((_, span)) = set.body.gc_interval.filter(|_| declared.gc_interval.is_some() && !declared.timeouts) {
        let error = Diagnostic::error(span, "`gc-interval` in a set without timeouts");
        return Err(error.help("add `flags timeout`"));
    }
    Ok(())
}

/// A timeout that can be kept.
pub(super) fn in_bounds(time: u64, span: Span) -> Checked<u64> {
    if time <= MAX_TIMEOUT {
        return Ok(time);
    }
    let message = format!("a timeout has at most {} days", MAX_TIMEOUT / 86_400_000);
    Err(Diagnostic::error(span, message))
}

fn map_data(data: &ast::MapData) -> Checked<MapData> {
    match data {
        ast::MapData::Verdicts => Ok(MapData::Verdicts),
        ast::MapData::Values(key, interval) => {
            let (types, type_of) = key_types(Some(key), Span::default())?;
            Ok(MapData::Values { types, type_of, interval: *interval })
        }
    }
}

/// `policy`: how the kernel should choose a structure, which has no meaning here and is kept.
fn saves_memory(policy: &Spanned) -> Checked<bool> {
    match &*policy.text {
        "performance" => Ok(false),
        "memory" => Ok(true),
        other => {
            let error = Diagnostic::error(policy.span, format!("unknown policy `{other}`"));
            Err(error.help("policies of sets: performance, memory"))
        }
    }
}

/// The types of the parts, and what they were declared by; at least one.
fn key_types(key: Option<&SetKey>, span: Span) -> Checked<(Vec<Type>, Vec<Selector>)> {
    match key {
        Some(SetKey::TypeOf(selectors)) => {
            Ok((selectors.iter().map(|selector| selector.value_type()).collect(), selectors.clone()))
        }
        Some(SetKey::Type(names)) => {
            let known = |name: &Spanned| Type::ALL.iter().find(|known| known.name() == &*name.text).copied();
            let types = names.iter().map(|name| known(name).ok_or_else(|| unknown_type(name)));
            Ok((types.collect::<Checked<_>>()?, Vec::new()))
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

/// Refuses to declare a set again as something else.
pub(super) fn same_kind(old: &Set, new: &Set, name: &Spanned) -> Checked<()> {
    let data = |set: &Set| set.data.as_ref().map(|_| (set.gives_verdicts(), set.data_types().to_vec()));
    let kind = |set: &Set| (set.key_types(), set.interval, set.constant, data(set));
    if kind(old) == kind(new) {
        return Ok(());
    }
    let message = format!("set `{}` is already defined with another type or other flags", name.text);
    Err(Diagnostic::error(name.span, message))
}
