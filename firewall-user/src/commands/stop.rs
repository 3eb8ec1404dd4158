//! `rampart stop`.

use anyhow::Result;
use serde_json::json;

use super::{Session, Status, open_if_running};
use crate::{
    cli::args::Stop,
    compile::SCHEMA,
    kernel::{self, KernelError, Remains, Stopped},
    observe::words::counted,
};

pub(super) fn run(session: &Session<'_>, stop: &Stop) -> Result<Status> {
    let Stop { yes, dead } = stop;
    if *dead {
        kernel::require_privileges()?;
        let removed = kernel::remove_dead()?;
        session.answer(
            || json!({ "schema": SCHEMA, "removed": removed }),
            || format!("what was left of {} removed\n", counted(removed as u64, "network namespace")),
        )?;
        return Ok(Status::Done);
    }
    // That there is nothing to stop is what was wanted.
    let stopped = match open_if_running() {
        Ok(Some(instance)) => {
            let lock = instance.lock()?;
            Some(instance.stop(lock)?)
        }
        Ok(None) => None,
        Err(KernelError::ForeignPin { .. }) if *yes => remove_foreign()?,
        Err(error) => return Err(error.into()),
    };
    session.answer(|| json(stopped.as_ref()), || text(stopped.as_ref()))?;
    Ok(Status::Done)
}

/// Takes down what another version put in force. What it knew cannot be read.
fn remove_foreign() -> Result<Option<Stopped>, KernelError> {
    let Some(remains) = Remains::here()? else { return Ok(None) };
    let lock = remains.lock()?;
    Ok(Some(Stopped { interfaces: remains.remove(lock)?, generation: 0, flows: None }))
}

fn json(stopped: Option<&Stopped>) -> serde_json::Value {
    json!({
        "schema": SCHEMA,
        "was_running": stopped.is_some(),
        "interfaces": stopped.map_or(&[][..], |stopped| &stopped.interfaces),
        "generation": stopped.map(|stopped| stopped.generation),
        "connections": stopped.map_or(Some(0), |stopped| stopped.flows),
    })
}

fn text(stopped: Option<&Stopped>) -> String {
    let Some(Stopped { interfaces, generation: _, flows }) = stopped else {
        return "nothing was in force here\n".to_owned();
    };
    let from = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    let flows = flows.map_or_else(|| "all connections".to_owned(), |flows| counted(flows, "connection"));
    format!("detached from {from}; {flows} forgotten; every packet passes now\n")
}
