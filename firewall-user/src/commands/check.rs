//! `rampart check`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Session, Status, ruleset};
use crate::{
    cli::args::Check,
    compile::{Manifest, SCHEMA},
    language::Severity,
    observe::words,
};

pub(super) fn run(session: &Session<'_>, check: &Check) -> Result<Status> {
    let Some(parsed) = ruleset::read(session, &check.file)? else { return Ok(Status::No) };
    let Some(config) = ruleset::settings(session)? else { return Ok(Status::No) };
    let mut compiled = ruleset::compiled(session, &parsed.ruleset)?;
    compiled.manifest.config = config;
    let warnings = ruleset::listed(&parsed.warnings, Severity::Warning);
    let name = ruleset::name(&check.file);
    session.answer(
        || summary_json(&name, &compiled.manifest, &warnings),
        || format!("{name}: ok, {}\n", words::size(&compiled.manifest)),
    )?;
    Ok(Status::Done)
}

/// What `check` and `apply --dry-run` say of a ruleset that can be applied.
pub(super) fn summary_json(name: &str, manifest: &Manifest, warnings: &[Value]) -> Value {
    json!({
        "schema": SCHEMA,
        "ok": true,
        "file": name,
        "tables": manifest.tables.len(),
        "chains": manifest.chains.len(),
        "rules": manifest.rules.len(),
        "settings": &manifest.config,
        "errors": [],
        "warnings": warnings,
    })
}
