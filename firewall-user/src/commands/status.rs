//! `rampart status`.

use anyhow::Result;

use super::{Session, Status, open_if_running};
use crate::{
    compile::Manifest,
    kernel::{self, FloodState, Instance, KernelError},
    observe::status::{FlowUse, Report, Trial, nothing_json},
};

pub(super) fn run(session: &Session<'_>) -> Result<Status> {
    let Some(instance) = open_if_running()? else {
        session.answer(nothing_json, || "no ruleset is in force in this network namespace\n".to_owned())?;
        return Ok(Status::No);
    };
    let manifest = instance.manifest()?;
    let report = Report {
        generation: instance.generation()?,
        manifest: &manifest,
        trial: Trial::of(&instance.control()?, kernel::monotonic_ns()),
        interfaces: &instance.interfaces()?,
        fast_ways: &instance.fast_ways(&manifest)?,
        flows: flows(&instance)?,
        floods: floods(&instance, &manifest)?,
        lost_events: instance.lost_events()?,
    };
    session.answer(|| report.json(), || report.text())?;
    Ok(Status::Done)
}

/// What is known of floods, if cookies are ever sent unasked.
pub(super) fn floods(instance: &Instance, manifest: &Manifest) -> Result<Option<FloodState>, KernelError> {
    let settings = &manifest.config.syn_flood;
    settings.is_on().then(|| instance.floods(&settings.limits())).transpose()
}

pub(super) fn flows(instance: &Instance) -> Result<FlowUse, KernelError> {
    let mut live = 0;
    for flow in instance.flows()? {
        flow?;
        live += 1;
    }
    Ok(FlowUse {
        live,
        capacity: instance.flow_capacity(),
        memory: instance.flow_memory(),
        stats: instance.flow_stats()?,
        never_completed: kernel::never_completed(),
    })
}
