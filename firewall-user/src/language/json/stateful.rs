//! What limits, counts and refuses, as JSON.

use serde_json::{Value, json};

use super::{object, text};
use crate::language::stateful::{
    self, ALL_LOG_FLAGS, Content, ICMP_CODES, ICMP6_CODES, LOG_FLAGS, Limit, Log, Object, Quota, Reject, Synproxy,
};

/// `{ name: null }` for a statement about which nothing is said.
fn statement(name: &'static str, fields: Vec<(&'static str, Option<Value>)>) -> Value {
    if fields.iter().all(|(_, value)| value.is_none()) { json!({ name: null }) } else { object(name, fields) }
}

/// One as it is, several as a list.
fn one_or_list(mut values: Vec<&'static str>) -> Option<Value> {
    match values.len() {
        0 => None,
        1 => values.pop().map(Value::from),
        _ => Some(values.into()),
    }
}

pub(super) fn log(log: &Log) -> Value {
    let Log { prefix, level, flags, group, snaplen, threshold } = log;
    let names = || LOG_FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect();
    let flags = if *flags == ALL_LOG_FLAGS { Some("all".into()) } else { one_or_list(names()) };
    statement(
        "log",
        vec![
            ("prefix", text(prefix.as_ref())),
            ("group", group.map(Value::from)),
            ("snaplen", snaplen.map(Value::from)),
            ("queue-threshold", threshold.map(Value::from)),
            ("level", level.map(Value::from)),
            ("flags", flags),
        ],
    )
}

pub(super) fn limit(limit: &Limit) -> Value {
    json!({ "limit": object_fields(limit_fields(limit)) })
}

fn object_fields(fields: Vec<(&'static str, Option<Value>)>) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn limit_fields(limit: &Limit) -> Vec<(&'static str, Option<Value>)> {
    let Limit { over, bytes, rate, per, burst } = *limit;
    let (rate, rate_unit) = if bytes { stateful::in_units(rate) } else { (rate, "") };
    let (burst, burst_unit) = if bytes { stateful::in_units(u64::from(burst)) } else { (u64::from(burst), "") };
    vec![
        ("rate", Some(rate.into())),
        ("burst", Some(burst.into())),
        ("per", Some(per.name().into())),
        ("inv", over.then(|| true.into())),
        ("rate_unit", bytes.then(|| rate_unit.into())),
        ("burst_unit", bytes.then(|| burst_unit.into())),
    ]
}

pub(super) fn quota(quota: &Quota) -> Value {
    let Quota { over, bytes, used } = *quota;
    let (value, unit) = stateful::in_units(bytes);
    let (used, used_unit) = (stateful::in_units(used).0, stateful::in_units(used).1);
    let some = used > 0;
    object(
        "quota",
        [
            ("val", Some(value.into())),
            ("val_unit", Some(unit.into())),
            ("inv", over.then(|| true.into())),
            ("used", some.then(|| used.into())),
            ("used_unit", some.then(|| used_unit.into())),
        ],
    )
}

pub(super) fn connections(over: bool, count: u32) -> Value {
    object("ct count", [("val", Some(count.into())), ("inv", over.then(|| true.into()))])
}

pub(super) fn synproxy(proxy: Synproxy) -> Value {
    statement("synproxy", synproxy_fields(proxy))
}

fn synproxy_fields(proxy: Synproxy) -> Vec<(&'static str, Option<Value>)> {
    let Synproxy { mss, wscale, timestamp, sack } = proxy;
    let flags: Vec<&str> =
        [(timestamp, "timestamp"), (sack, "sack-perm")].iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    vec![
        ("mss", mss.map(Value::from)),
        ("wscale", wscale.map(Value::from)),
        ("flags", (!flags.is_empty()).then(|| flags.into())),
    ]
}

pub(super) fn reject(reject: Reject) -> Value {
    let coded = |kind: &str, names, code: u8| {
        let code = stateful::code_name(names, code).map_or_else(|| code.into(), Value::from);
        json!({ "reject": { "type": kind, "expr": code } })
    };
    match reject {
        Reject::Reset => json!({ "reject": { "type": "tcp reset" } }),
        Reject::Icmp(code) => coded("icmp", ICMP_CODES, code),
        Reject::Icmp6(code) => coded("icmpv6", ICMP6_CODES, code),
        Reject::Either(code) => json!({ "reject": { "type": "icmpx", "expr": code.name() } }),
    }
}

/// An object with its values; `common` is what all of them have.
pub(super) fn named(named: &Object, content: Content, common: [(&'static str, Option<Value>); 5]) -> Value {
    let values = match content {
        Content::Counter { packets, bytes } => vec![("packets", Some(packets.into())), ("bytes", Some(bytes.into()))],
        Content::Quota(Quota { over, bytes, used }) => {
            vec![("bytes", Some(bytes.into())), ("used", Some(used.into())), ("inv", Some(over.into()))]
        }
        Content::Limit(limit) => limit_fields(&limit),
        Content::Synproxy(proxy) => synproxy_fields(proxy),
    };
    object(named.kind().name(), common.into_iter().chain(values))
}
