//! `rampart stop`.

use anyhow::Result;
use serde_json::json;

use super::{Session, Status, open_if_running};
use crate::{compile::SCHEMA, kernel::Stopped, observe::words::counted};

pub(super) fn run(session: &Session<'_>) -> Result<Status> {
    // That there is nothing to stop is what was wanted.
    let stopped = match open_if_running()? {
        Some(instance) => {
            let lock = instance.lock()?;
            Some(instance.stop(lock)?)
        }
        None => None,
    };
    session.answer(|| json(stopped.as_ref()), || text(stopped.as_ref()))?;
    Ok(Status::Done)
}

fn json(stopped: Option<&Stopped>) -> serde_json::Value {
    json!({
        "schema": SCHEMA,
        "was_running": stopped.is_some(),
        "interfaces": stopped.map_or(&[][..], |stopped| &stopped.interfaces),
        "generation": stopped.map(|stopped| stopped.generation),
        "connections": stopped.map_or(0, |stopped| stopped.flows),
    })
}

fn text(stopped: Option<&Stopped>) -> String {
    let Some(Stopped { interfaces, generation: _, flows }) = stopped else {
        return "nothing was in force here\n".to_owned();
    };
    let from = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    format!("detached from {from}; {} forgotten; every packet passes now\n", counted(*flows, "connection"))
}
