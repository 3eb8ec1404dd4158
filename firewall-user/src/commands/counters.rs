//! `rampart counters`.

mod named;

use std::collections::HashMap;

use anyhow::Result;
use firewall_common::{answer::Answers, counter::InterfaceCounters};
use serde_json::{Map, Value, json};

use self::named::Named;
use super::{No, Session, Status, open};
use crate::{
    cli::args::Counters,
    compile::SCHEMA,
    kernel::{Attached, Instance, KernelError},
    observe::counters,
};

/// The place of packets of interfaces that are not registered.
const OTHERS: u32 = 0;
/// What those are called; no interface can be.
const OTHERS_NAME: &str = "(others)";

pub(super) fn run(session: &Session<'_>, wanted: &Counters) -> Result<Status> {
    let instance = open()?;
    let found = read(&instance, &wanted.interfaces)?;
    if let Some(unknown) = wanted.interfaces.iter().find(|name| found.iter().all(|(known, _)| known != *name)) {
        return Err(No(format!("{unknown}: rampart is not attached to an interface of that name")).into());
    }
    let named = if wanted.interfaces.is_empty() { Named::read(&instance, wanted.reset)? } else { Named::default() };
    let lost = instance.lost_events()?;
    let answers = answers(&instance)?;
    let told =
        || found.iter().map(|(name, counted)| (name.clone(), with_answers(counters::json(counted), answers.get(name))));
    session.answer(
        || {
            let interfaces = told().collect::<Map<String, Value>>();
            json!({ "schema": SCHEMA, "interfaces": interfaces, "named": named.json(), "events_lost": lost })
        },
        || {
            let answered = |name: &String| answers.get(name).map_or_else(String::new, counters::answers_text);
            let mut text: String =
                found.iter().map(|(name, counted)| counters::text(name, counted) + &answered(name)).collect();
            text.push_str(&named.text());
            text
        },
    )?;
    Ok(Status::Done)
}

/// What became of refusals, by interface.
pub(super) fn answers(instance: &Instance) -> Result<HashMap<String, Answers>, KernelError> {
    let read = |attached: Attached| Ok((attached.name, instance.answers(attached.place)?));
    instance.interfaces()?.into_iter().map(read).collect()
}

fn with_answers(mut counted: Value, answers: Option<&Answers>) -> Value {
    counted["answers"] = answers.map_or(Value::Null, counters::answers_json);
    counted
}

/// The counters of the interfaces asked for: name and counts.
pub(super) fn read(instance: &Instance, wanted: &[String]) -> Result<Vec<(String, InterfaceCounters)>, KernelError> {
    let mut found = Vec::new();
    for attached in instance.interfaces()? {
        if wanted.is_empty() || wanted.contains(&attached.name) {
            found.push((attached.name, instance.traffic(attached.place)?));
        }
    }
    let others = instance.traffic(OTHERS)?;
    if wanted.is_empty() && !counters::is_empty(&others) {
        found.push((OTHERS_NAME.to_owned(), others));
    }
    Ok(found)
}
