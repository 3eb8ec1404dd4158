//! `rampart confirm` and `rampart rollback`.

use anyhow::Result;
use serde_json::json;

use super::{Session, Status, open, tell_change};
use crate::{
    compile::SCHEMA,
    kernel::{Applying, Outcome},
};

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
    let (generation, what, result) = match way {
        Way::Keep => (instance.confirm(&lock)?, "stays in force", Outcome::Confirmed),
        Way::Back => (instance.rollback(&lock)?, "is in force again", Outcome::RolledBack),
    };
    tell_change(Applying {
        result,
        file: None,
        rules: instance.manifest()?.rules.len() as u64,
        seconds: 0.0,
        confirm_within: None,
        error: None,
    });
    session.answer(
        || json!({ "schema": SCHEMA, "generation": generation }),
        || format!("generation {generation} {what}\n"),
    )?;
    Ok(Status::Done)
}
