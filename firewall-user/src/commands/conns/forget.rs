//! `rampart conns kill` and `rampart conns flush`.

use anyhow::Result;
use serde_json::json;

use super::each;
use crate::{
    cli::conns::{Filter, Flush, Kill},
    commands::{Session, Status},
    compile::SCHEMA,
    kernel::{self, Flow, Instance},
    observe::words::counted,
};

pub(super) fn kill(session: &Session<'_>, instance: &Instance, kill: &Kill) -> Result<Status> {
    let Kill { filter, reset } = kill;
    if filter.is_empty() {
        session.note("a filter must say which connections; `rampart conns flush --all` forgets all of them");
        return Ok(Status::Usage);
    }
    forget(session, instance, filter, *reset)
}

pub(super) fn flush(session: &Session<'_>, instance: &Instance, flush: &Flush) -> Result<Status> {
    let Flush { filter, all } = flush;
    if filter.is_empty() != *all {
        let why = if *all {
            "--all and a filter contradict each other"
        } else {
            "without a filter every connection is forgotten, this one too when you work over the network: --all says so"
        };
        session.note(why);
        return Ok(Status::Usage);
    }
    forget(session, instance, filter, false)
}

/// What became of the connections that were asked for.
#[derive(Default)]
struct Tally {
    forgotten: u64,
    reset: u64,
    /// TCP's without numbers, and other protocols'.
    silent: u64,
}

fn forget(session: &Session<'_>, instance: &Instance, filter: &Filter, reset: bool) -> Result<Status> {
    let forgetter = instance.forgetter()?;
    let mut tally = Tally::default();
    // Those that are found, first: a reset travels through the table that is being read.
    let mut found: Vec<Flow> = Vec::new();
    each(instance, filter, |flow, _, _| {
        if reset {
            found.push(*flow);
        } else {
            tally.forgotten += u64::from(forgetter.forget(flow));
        }
        Ok(())
    })?;
    for flow in &found {
        // Before it is forgotten, so that the reset is a packet of its connection to the rules.
        if kernel::reset(&flow.entry)? {
            tally.reset += 1;
        } else {
            tally.silent += 1;
        }
        // A reset that nobody had answered leaves nothing behind: that is forgotten, too.
        forgetter.forget(flow);
        tally.forgotten += 1;
    }
    let Tally { forgotten, reset, silent } = tally;
    session.answer(
        || json!({ "schema": SCHEMA, "forgotten": forgotten, "reset": reset }),
        || {
            let told = if reset + silent > 0 { format!(", {reset} of them reset at both ends") } else { String::new() };
            let others = if silent > 0 { format!("; {silent} had nothing to reset") } else { String::new() };
            format!("{} forgotten{told}{others}\n", counted(forgotten, "connection"))
        },
    )?;
    Ok(Status::Done)
}
