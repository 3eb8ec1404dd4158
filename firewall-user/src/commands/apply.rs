//! `rampart apply`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    No, Session, Status, check, complain,
    conns::{self, ASKED, Refused},
    ruleset, tell_change, test, told,
};
use crate::{
    cli::args::{Apply, Reevaluate},
    compile::{self, Compiled, Manifest, SCHEMA},
    config::Config,
    kernel::{self, Applied, ApplyOptions, Applying, Instance, KernelError, Outcome, StateOptions},
    language::{Ruleset, Severity},
    observe::{
        status::{attachment, attachment_json},
        words::{counted, seconds, size, took},
    },
};

pub(super) fn run(session: &Session<'_>, apply: &Apply) -> Result<Status> {
    let mut is_in_force = false;
    let result = attempt(session, apply, &mut is_in_force);
    if let Err(error) = &result
        && !is_in_force
    {
        tell_refusal(apply, &format!("{error:#}"));
    }
    result
}

fn attempt(session: &Session<'_>, apply: &Apply, is_in_force: &mut bool) -> Result<Status> {
    let Some(parsed) = ruleset::read(session, &apply.file)? else {
        tell_refusal(apply, "the ruleset has errors");
        return Ok(Status::No);
    };
    let Some(config) = ruleset::settings(session)? else {
        tell_refusal(apply, "the settings have errors");
        return Ok(Status::No);
    };
    // Once without the kernel, so that a ruleset that is too large leaves no trace there.
    let mut compiled = ruleset::compiled(session, &parsed.ruleset)?;
    compiled.manifest.config = config.clone();
    let name = ruleset::name(&apply.file);
    if apply.dry_run {
        let warnings = ruleset::listed(&parsed.warnings, Severity::Warning);
        session.answer(
            || check::summary_json(&name, &compiled.manifest, &warnings),
            || format!("{name}: can be applied, {}\n", size(&compiled.manifest)),
        )?;
        return Ok(Status::Done);
    }
    kernel::require_privileges()?;
    hint(session, apply);
    let (compiled, applied) = put_in_force(&parsed.ruleset, apply, config)?;
    *is_in_force = true;
    tell_change(Applying {
        result: Outcome::Applied,
        file: Some(name.clone()),
        rules: compiled.manifest.rules.len() as u64,
        seconds: applied.took.as_secs_f64(),
        confirm_within: applied.confirm_by.map(|time| time.as_secs_f64()),
        error: None,
    });
    if compiled.manifest.asks_addresses()
        && !Instance::open().and_then(|instance| instance.is_followed()).unwrap_or(false)
    {
        session.note(
            "rules or settings ask what addresses are (`fib .. type`, `own_addresses`), as this host has them now: `rampart agent`, which does not run, would \
             tell them of changes",
        );
    }
    let refused = reevaluate(session, apply.reevaluate)
        .context("the new rules are in force, but existing connections could not be looked through")?;
    session.answer(
        || json(&compiled.manifest, &applied, &refused),
        || text(&name, &compiled.manifest, &applied, &refused),
    )?;
    load_ahead(&compiled);
    Ok(Status::Done)
}

/// Loads the programs of the next ruleset now that this one is in force and everything is said. If that fails, the next `apply`
/// takes as long as the first.
fn load_ahead(compiled: &Compiled) {
    let _ = Instance::open().and_then(|instance| instance.load_ahead(compiled));
}

/// Tells everybody who listens that the rules were not changed, and why.
fn tell_refusal(apply: &Apply, error: &str) {
    // Whoever may not change the rules has changed nothing, and tells nobody.
    if apply.dry_run || kernel::require_privileges().is_err() {
        return;
    }
    let manifest = Instance::open().and_then(|instance| instance.manifest());
    // What stopped it may also keep it from being told: whoever called is told that, not both.
    let _ = told(Applying {
        result: Outcome::Refused,
        file: Some(ruleset::name(&apply.file)),
        rules: manifest.map_or(0, |manifest| manifest.rules.len() as u64),
        seconds: 0.0,
        confirm_within: None,
        error: Some(error.to_owned()),
    });
}

fn reevaluate(session: &Session<'_>, what: Reevaluate) -> Result<Refused> {
    if what == Reevaluate::Skip {
        return Ok(Refused { what, count: 0, of: 0 });
    }
    conns::reevaluate(session, &Instance::open()?, what)
}

fn put_in_force(ruleset: &Ruleset, apply: &Apply, config: Config) -> Result<(Compiled, Applied)> {
    let instance =
        Instance::open_or_create(&StateOptions { flows: apply.flows.or(config.conntrack.max.map(|max| max.0)) })?;
    let lock = instance.lock()?;
    // Asked again, now that nobody else changes the answer.
    let previous = match Instance::open().and_then(|instance| instance.manifest()) {
        Ok(manifest) => Some(manifest),
        Err(KernelError::NotRunning) => None,
        Err(error) => return Err(error.into()),
    };
    let mut compiled = compile::compile(ruleset, previous.as_ref())?;
    compiled.manifest.config = config;
    for file in &apply.tests {
        if let Some(report) = test::refusal(file, &compiled)? {
            complain(&report);
            return Err(No(format!("{}: not as expected; the rules before stay in force", file.display())).into());
        }
    }
    let options = ApplyOptions { interfaces: apply.interfaces.clone(), confirm: apply.confirm };
    let applied = instance.apply(&lock, &compiled, &options)?;
    Ok((compiled, applied))
}

/// Whoever works over the network can lock himself out.
fn hint(session: &Session<'_>, apply: &Apply) {
    let is_remote = std::env::var_os("SSH_CONNECTION").is_some() && session.global.netns.is_none();
    if is_remote && apply.confirm.is_none() && session.terminal.stderr {
        session.note("over SSH, `--confirm 60s` brings the old rules back unless you say `rampart confirm`");
    }
}

fn text(name: &str, manifest: &Manifest, applied: &Applied, refused: &Refused) -> String {
    let Applied { generation, attached, kept, verified_instructions: _, took: time, confirm_by } = applied;
    let mut lines = vec![format!("{name}: generation {generation} in force, {}, in {}", size(manifest), took(*time))];
    lines.extend(attached.iter().map(|attached| format!("  attached to {}", attachment(attached))));
    if *kept > 0 {
        lines.push(format!("  on {} as before", counted(*kept as u64, "interface")));
    }
    if *kept == 0 && attached.is_empty() {
        lines.push("  attached to no interface: nothing is filtered".to_owned());
    }
    lines.extend(reevaluated(refused));
    if let Some(time) = confirm_by {
        let time = seconds(time.as_secs());
        lines.push(format!("  say `rampart confirm` within {time}, or the ruleset before comes back"));
    }
    lines.join("\n") + "\n"
}

/// What became of connections that the rules would refuse now. Not asked to look, it speaks up only when there are any.
fn reevaluated(refused: &Refused) -> Option<String> {
    let Refused { what, count, of } = refused;
    let connections = counted(*count, "connection");
    let among = if *of < ASKED { String::new() } else { format!(" of the first {}", counted(*of, "connection")) };
    match what {
        Reevaluate::Skip => None,
        Reevaluate::Count if *count == 0 => None,
        Reevaluate::Count => Some(format!(
            "  {connections}{among} would not be let begin by these rules, and live on: `rampart conns --refused` shows them, \
             `rampart apply --reevaluate` ends them"
        )),
        Reevaluate::List => Some(format!("  {connections} would not be let begin by these rules, and live on")),
        Reevaluate::Drop => Some(format!("  {connections} that these rules would not let begin forgotten")),
    }
}

fn json(manifest: &Manifest, applied: &Applied, refused: &Refused) -> Value {
    let Applied { generation, attached, kept, verified_instructions, took, confirm_by } = applied;
    json!({
        "schema": SCHEMA,
        "generation": generation,
        "tables": manifest.tables.len(),
        "chains": manifest.chains.len(),
        "rules": manifest.rules.len(),
        "attached": attached.iter().map(attachment_json).collect::<Vec<_>>(),
        "kept": kept,
        "refused_connections": (refused.what != Reevaluate::Skip).then_some(refused.count),
        "verified_instructions": verified_instructions,
        "seconds": took.as_secs_f64(),
        "confirm_within": confirm_by.map(|time| time.as_secs_f64()),
    })
}
