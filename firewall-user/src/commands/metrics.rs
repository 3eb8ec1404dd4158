//! `rampart metrics`: what there is to measure, once.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use anyhow::Result;
use firewall_common::counter::Counter;

use super::{Session, Status, counters, open_if_running, print};
use crate::{
    cli::observing::Metrics,
    compile::{Manifest, RuleRecord},
    kernel::{self, Instance, KernelError},
    observe::metrics::{Format, Snapshot, text},
};

pub(super) fn run(_: &Session<'_>, metrics: &Metrics) -> Result<Status> {
    let format = if metrics.open_metrics { Format::OpenMetrics } else { Format::Prometheus };
    let instance = open_if_running()?;
    print(&told(instance.as_ref(), format, metrics.rules)?)?;
    Ok(Status::Done)
}

/// The metrics of an instance, or that there is none.
pub(super) fn told(instance: Option<&Instance>, format: Format, most_rules: usize) -> Result<String, KernelError> {
    let Some(instance) = instance else { return Ok(text(None, format)) };
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let control = instance.control()?;
    let connections = connections(instance)?;
    let rules = rules(instance, &manifest, most_rules)?;
    let snapshot = Snapshot {
        generation,
        loaded: instance.loaded_at(generation).and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        is_unconfirmed: control.unconfirmed[control.active as usize & 1] != 0,
        manifest: &manifest,
        interfaces: &counters::read(instance, &[])?,
        connections: &connections,
        capacity: instance.flow_capacity(),
        flow_stats: instance.flow_stats()?,
        never_completed: kernel::never_completed(),
        lost_events: instance.lost_events()?,
        rules: rules.as_deref(),
    };
    Ok(text(Some(&snapshot), format))
}

/// Connections by state.
pub(super) fn connections(instance: &Instance) -> Result<Vec<(&'static str, u64)>, KernelError> {
    let mut states = BTreeMap::new();
    for flow in instance.flows()? {
        *states.entry(flow?.slot.state().name()).or_insert(0) += 1;
    }
    Ok(states.into_iter().collect())
}

/// What each rule with counters counted, if they are not too many.
fn rules<'a>(
    instance: &Instance,
    manifest: &'a Manifest,
    most: usize,
) -> Result<Option<Vec<(&'a RuleRecord, Counter)>>, KernelError> {
    let counting: Vec<_> = manifest.rules.iter().filter(|rule| !rule.counters.is_empty()).collect();
    if counting.len() > most {
        return Ok(None);
    }
    let slots = counting.iter().flat_map(|rule| rule.counters.iter().map(|counter| counter.slot));
    let counts = instance.rule_counters(slots)?;
    // The first counter of a rule is what reached it furthest to the left.
    let first = |rule: &RuleRecord| rule.counters.first().and_then(|counter| counts.get(&counter.slot)).copied();
    Ok(Some(counting.into_iter().map(|rule| (rule, first(rule).unwrap_or_default())).collect()))
}
