//! `rampart why --last ADDRESS`: from the drop ledger, after the fact.

use std::net::IpAddr;

use anyhow::Result;
use serde_json::json;

use crate::{
    commands::{Session, Status},
    compile::SCHEMA,
    kernel::{self, Instance},
    observe::{clock::Clock, drops::Drop},
};

pub(super) fn run(session: &Session<'_>, instance: &Instance, address: IpAddr) -> Result<Status> {
    let ledger = instance.ledger()?;
    let found = ledger.iter().find(|dropped| crate::observe::drops::source(dropped) == Some(address));
    let Some(dropped) = found else {
        session.answer(
            || json!({ "schema": SCHEMA, "address": address.to_string(), "dropped": null }),
            || format!("nothing of {address} was dropped as far back as the ledger goes\n"),
        )?;
        return Ok(Status::No);
    };
    let manifest = instance.manifest_of(dropped.generation).ok();
    let drop = Drop::new(dropped, manifest.as_ref());
    let clock = Clock::new(kernel::monotonic_ns());
    session.answer(
        || json!({ "schema": SCHEMA, "address": address.to_string(), "dropped": drop.json(clock) }),
        || drop.text(clock),
    )?;
    Ok(Status::Done)
}
