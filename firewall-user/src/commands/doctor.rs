//! `rampart doctor`.

use anyhow::Result;

use super::{Session, Status, status};
use crate::{
    kernel::{self, Instance, KernelError, Machine},
    observe::doctor::{self, Finding, Level},
};

pub(super) fn run(session: &Session<'_>) -> Result<Status> {
    let machine = Machine::here();
    let mut findings = doctor::machine(&machine);
    if machine.missing_capabilities.is_none() {
        findings.extend(here()?);
    }
    findings.extend(doctor::others(kernel::other_rulesets()));
    session.answer(|| doctor::json(&findings), || doctor::text(&findings))?;
    let is_well = findings.iter().all(|finding| finding.level != Level::Problem);
    Ok(if is_well { Status::Done } else { Status::No })
}

/// What is found in this network namespace.
fn here() -> Result<Vec<Finding>> {
    let candidates = kernel::candidates()?;
    let instance = match Instance::open() {
        Ok(instance) => instance,
        Err(KernelError::NotRunning) => {
            let interfaces = doctor::interfaces(&candidates, &[], false);
            return Ok(std::iter::once(doctor::nothing()).chain(interfaces).collect());
        }
        Err(error) => return Ok(vec![doctor::unreadable(&error.to_string())]),
    };
    let attached = instance.interfaces()?;
    let traffic = attached.iter().map(|one| instance.traffic(one.place)).collect::<Result<Vec<_>, _>>()?;
    let flows = status::flows(&instance)?;
    let mut findings = doctor::in_force(instance.generation()?, &flows, &traffic, instance.lost_events()?);
    let manifest = instance.manifest()?;
    if manifest.asks_addresses() {
        findings.push(doctor::addresses(&instance.addresses()?));
    }
    if manifest.config.syn_flood.is_on() || manifest.rules.iter().any(|rule| rule.text.contains("synproxy")) {
        findings.push(doctor::cookies(kernel::takes_cookies()));
    }
    findings.extend(doctor::interfaces(&candidates, &attached, true));
    findings.extend(instance.fast_ways(&manifest)?.iter().map(doctor::fast_way));
    Ok(findings)
}
