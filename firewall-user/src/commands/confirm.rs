//! `rampart confirm` and `rampart rollback`.

use anyhow::Result;
use serde_json::json;

use super::{Session, Status, open};
use crate::compile::SCHEMA;

/// What becomes of the ruleset in force.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// It stays.
    Keep,
    /// The one before comes back.
    Back,
}

pub(super) fn run(session: &Session<'_>, way: Way) -> Result<Status> {
    let instance = open()?;
    let lock = instance.lock()?;
    let (generation, what) = match way {
        Way::Keep => (instance.confirm(&lock)?, "stays in force"),
        Way::Back => (instance.rollback(&lock)?, "is in force again"),
    };
    session.answer(
        || json!({ "schema": SCHEMA, "generation": generation }),
        || format!("generation {generation} {what}\n"),
    )?;
    Ok(Status::Done)
}
