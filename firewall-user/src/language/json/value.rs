//! The parts of statements that need no names of a table.

use serde_json::{Value, json};

use super::{object, stateful, text};
use crate::language::{
    names,
    ruleset::{
        Comparison, Computed, Extras, Generator, MapData, OfElement, PacketHash, Selector, Source, Step, Subject,
    },
    types::{Style, Type},
};

/// A key with what stands behind it; alone when that is nothing.
pub(super) fn with_extras(value: Value, extras: &Extras) -> Value {
    let Extras { counter, others, timeout, expires, comment } = extras;
    if *extras == Extras::default() {
        return value;
    }
    let seconds = |time: &Option<u64>| time.map(|time| Value::from(time / 1000));
    let counter = counter.map(|(packets, bytes)| json!({ "packets": packets, "bytes": bytes }));
    let other = |wanted: &str| {
        let one = others.iter().find(|one| one.name() == wanted);
        one.and_then(|one| of_element(one).get(wanted).cloned())
    };
    object(
        "elem",
        [
            ("val", Some(value)),
            ("timeout", seconds(timeout)),
            ("expires", seconds(expires)),
            ("comment", text(comment.as_ref())),
            ("counter", counter),
            ("limit", other("limit")),
            ("quota", other("quota")),
            ("ct count", other("ct count")),
        ],
    )
}

/// What elements keep for themselves.
pub(super) fn of_element(statement: &OfElement) -> Value {
    match statement {
        OfElement::Counter(..) => json!({ "counter": null }),
        OfElement::Limit(limit) => stateful::limit(limit),
        OfElement::Quota(quota) => stateful::quota(quota),
        OfElement::Connections { over, count } => stateful::connections(*over, *count),
    }
}

/// What a map is to.
pub(super) fn map_type(data: &MapData) -> Value {
    match data {
        MapData::Verdicts => "verdict".into(),
        MapData::Values { types, .. } => types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ").into(),
    }
}

pub(super) fn concat_left(subjects: &[Subject]) -> Value {
    json!({ "concat": subjects.iter().map(|subject| left(*subject)).collect::<Vec<_>>() })
}

pub(super) fn printed(ty: Type, value: u128) -> String {
    let mut text = String::new();
    ty.print_one(value, &mut text);
    text
}

/// The flags of a value, one after the other; the number when one has no name.
pub(super) fn flag_names(ty: Type, value: u128) -> Option<Vec<Value>> {
    let text = ty.flag_text(value, ",");
    (!text.starts_with("0x")).then(|| text.split(',').map(Value::from).collect())
}

/// Flags as the right side of "any of": a name, or a list.
pub(super) fn listed_flags(ty: Type, value: u128) -> Value {
    match flag_names(ty, value) {
        Some(names) if names.len() == 1 => names.into_iter().next().unwrap_or_default(),
        Some(names) => names.into(),
        None => (value as u64).into(),
    }
}

/// Flags as one value: joined by `|`.
pub(super) fn joined_flags(ty: Type, value: u128) -> Value {
    match flag_names(ty, value) {
        Some(names) => names.into_iter().reduce(|left, right| json!({ "|": [left, right] })).unwrap_or_default(),
        None => (value as u64).into(),
    }
}

/// A value with what is done to it, the last operator outermost.
pub(super) fn computed_value(Computed { subject, steps }: &Computed) -> Value {
    let ty = subject.selector.value_type();
    let operator = |sign: &str, left: Value, right: u128| json!({ sign: [left, right as u64] });
    steps.iter().fold(left(*subject), |value, step| match *step {
        Step::Left(by) => operator("<<", value, by.into()),
        Step::Right(by) => operator(">>", value, by.into()),
        Step::Bits { mask, xor } => {
            let (and, xor, or) = Step::as_operators(mask, xor, ty.max());
            let value = and.map_or_else(|| value.clone(), |and| operator("&", value.clone(), and));
            let value = if xor == 0 { value } else { operator("^", value, xor) };
            if or == 0 { value } else { operator("|", value, or) }
        }
    })
}

pub(super) fn left(subject: Subject) -> Value {
    let Subject { selector, mask, or, network: _, tagged: _ } = subject;
    let ty = selector.value_type();
    let bits = |bits: u128| match ty.style() {
        Style::Flags => joined_flags(ty, bits),
        Style::Name | Style::Quoted => name(ty, bits),
        Style::Address | Style::ClassId => printed(ty, bits).into(),
        Style::Number
        | Style::Mark
        | Style::IfIndex
        | Style::IfName
        | Style::NameOrHex(_)
        | Style::Duration
        | Style::Clock
        | Style::Hex
        | Style::Presence => (bits as u64).into(),
    };
    let masked = match mask {
        None => selected(selector),
        Some(mask) => json!({ "&": [selected(selector), bits(mask)] }),
    };
    if or == 0 { masked } else { json!({ "|": [masked, bits(or)] }) }
}

pub(super) fn name(ty: Type, value: u128) -> Value {
    names::name(ty.names(), value).map_or_else(|| (value as u64).into(), Value::from)
}

pub(super) fn selected(selector: Selector) -> Value {
    if let Selector::Generated(Generator { kind, modulus, offset }) = selector {
        return match kind {
            Source::Increment => json!({ "numgen": { "mode": "inc", "mod": modulus, "offset": offset } }),
            Source::Random => json!({ "numgen": { "mode": "random", "mod": modulus, "offset": offset } }),
            Source::SymmetricHash if offset == 0 => json!({ "symhash": { "mod": modulus } }),
            Source::SymmetricHash => json!({ "symhash": { "mod": modulus, "offset": offset } }),
        };
    }
    if let Selector::Reading(reading) = selector {
        return reading.json();
    }
    if let Selector::Hash(hash) = selector {
        let PacketHash { keys, modulus, seed, offset } = hash.get();
        let expr = if let [only] = keys[..] { left(only) } else { concat_left(keys) };
        let fields = [
            ("mod", Some((*modulus).into())),
            ("seed", seed.map(Value::from)),
            ("offset", Some(*offset).filter(|offset| *offset != 0).map(Value::from)),
            ("expr", Some(expr)),
        ];
        return object("jhash", fields);
    }
    match selector.words() {
        (key, "") | ("meta", key) => json!({ "meta": { "key": key } }),
        ("rt", key) => json!({ "rt": { "key": key } }),
        ("ct", key) => match key.split_once(' ') {
            Some((side, key)) => json!({ "ct": { "key": key, "dir": side } }),
            None => json!({ "ct": { "key": key } }),
        },
        (protocol, field) => json!({ "payload": { "protocol": protocol, "field": field } }),
    }
}

pub(super) fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterEqual => ">=",
        Comparison::AnyBit => "in",
        Comparison::NoBit => "!",
    }
}
