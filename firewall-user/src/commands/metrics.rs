//! `rampart metrics`: what there is to measure, once.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use anyhow::Result;
use firewall_common::{
    answer::Answers,
    counter::{Counter, InterfaceCounters},
    verdict::Reason,
};

use super::{Session, Status, counters, open_if_running, print};
use crate::{
    cli::observing::Metrics,
    compile::{Manifest, ObjectRecord, RuleRecord},
    kernel::{self, Instance, KernelError},
    observe::metrics::{BackendState, Format, Snapshot, text},
};

pub(super) fn run(_: &Session<'_>, metrics: &Metrics) -> Result<Status> {
    let format = if metrics.open_metrics { Format::OpenMetrics } else { Format::Prometheus };
    let instance = open_if_running()?;
    print(&told(instance.as_ref(), format, metrics.rules, &[])?)?;
    Ok(Status::Done)
}

/// The metrics of an instance, or that there is none.
pub(super) fn told(
    instance: Option<&Instance>,
    format: Format,
    most_rules: usize,
    backends: &[BackendState],
) -> Result<String, KernelError> {
    let Some(instance) = instance else { return Ok(text(None, format)) };
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let control = instance.control()?;
    let connections = connections(instance)?;
    let rules = rules(instance, &manifest, most_rules)?;
    let named = named(instance, &manifest, most_rules)?;
    let (interfaces, answers) = interfaces(instance)?;
    let snapshot = Snapshot {
        generation,
        loaded: instance.loaded_at(generation).and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        is_unconfirmed: control.unconfirmed[control.active as usize & 1] != 0,
        manifest: &manifest,
        interfaces: &interfaces,
        answers: &answers,
        connections: &connections,
        capacity: instance.flow_capacity(),
        flow_stats: instance.flow_stats()?,
        floods: super::status::floods(instance, &manifest)?,
        never_completed: kernel::never_completed(),
        lost_events: instance.lost_events()?,
        rules: rules.as_deref(),
        backends,
        named: named.as_deref(),
    };
    Ok(text(Some(&snapshot), format))
}

/// Interfaces and what became of their refused packets.
type Interfaces = (Vec<(String, InterfaceCounters)>, Vec<(String, Answers, u64)>);

/// What interfaces counted, and whether all of it is explained: what was refused must have been sent back or be counted as
/// untold. The two are counted one after the other in different maps, so what a packet adds between two looks is no
/// difference.
fn interfaces(instance: &Instance) -> Result<Interfaces, KernelError> {
    let before = counters::answers(instance)?;
    let interfaces = counters::read(instance, &[])?;
    let after = counters::answers(instance)?;
    let told = |(name, counted): &(String, InterfaceCounters)| {
        let answers = *after.get(name)?;
        let refused = [&counted.ingress, &counted.egress].map(|way| way[Reason::Rejected as usize].packets);
        let explained = [before.get(name)?, &answers].map(Answers::packets);
        Some((name.clone(), answers, unexplained(refused.iter().sum(), explained)))
    };
    let answers = interfaces.iter().filter_map(told).collect();
    Ok((interfaces, answers))
}

/// How far the number of refused packets is from what was explained before and after it was read. A CPU may be between
/// the two counts.
fn unexplained(refused: u64, [before, after]: [u64; 2]) -> u64 {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let difference = before.saturating_sub(refused).max(refused.saturating_sub(after));
    if difference <= cpus && before != after { 0 } else { difference }
}

/// Connections by state.
pub(super) fn connections(instance: &Instance) -> Result<Vec<(&'static str, u64)>, KernelError> {
    let mut states = BTreeMap::new();
    for flow in instance.flows()? {
        *states.entry(flow?.slot.state().name()).or_insert(0) += 1;
    }
    Ok(states.into_iter().collect())
}

/// What each counter with a name counted, if they are not too many.
fn named<'a>(
    instance: &Instance,
    manifest: &'a Manifest,
    most: usize,
) -> Result<Option<Vec<(&'a ObjectRecord, Counter)>>, KernelError> {
    let named = manifest.objects.iter().filter_map(|object| Some((object, object.counter.as_ref()?.slot)));
    let named: Vec<_> = named.collect();
    if named.len() > most {
        return Ok(None);
    }
    let counts = instance.rule_counters(named.iter().map(|(_, slot)| *slot))?;
    let counted = |(object, slot)| (object, counts.get(&slot).copied().unwrap_or_default());
    Ok(Some(named.into_iter().map(counted).collect()))
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

#[cfg(test)]
mod tests {
    use super::unexplained;

    #[test]
    fn what_comes_between_two_looks_is_explained() {
        assert_eq!(unexplained(10, [10, 10]), 0);
        assert_eq!(unexplained(12, [10, 15]), 0);
        assert_eq!(unexplained(16, [10, 15]), 0, "a CPU is between the two counts");
        assert_eq!(unexplained(11, [10, 10]), 1, "nothing moves, and one is missing");
        assert_eq!(unexplained(1000, [10, 15]), 985);
        assert_eq!(unexplained(5, [1000, 1000]), 995);
    }
}
