//! `rampart metrics`: what there is to measure, once.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::UNIX_EPOCH,
};

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
    kernel::{self, Applying, Happening, Instance, Journal, KernelError, Outcome, What},
    observe::{
        conns::Conn,
        metrics::{BackendState, Format, NatUse, Snapshot, text},
    },
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
    let mut last = Journal::here()?.last_change();
    let Some(instance) = instance else { return Ok(text(None, last.as_ref(), format)) };
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let control = instance.control()?;
    let lapsed = instance.lapsed()?;
    if let Some(Happening { generation, what: What::Apply(Applying { result, .. }), .. }) = &mut last
        && lapsed == Some(*generation)
    {
        // By itself, so nobody wrote it down.
        *result = Outcome::RolledBack;
    }
    let (connections, nat) = in_table(instance)?;
    let rules = rules(instance, &manifest, most_rules)?;
    let named = named(instance, &manifest, most_rules)?;
    let (interfaces, answers) = interfaces(instance)?;
    let snapshot = Snapshot {
        generation,
        loaded: instance.loaded_at(generation).and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        is_unconfirmed: lapsed.is_none() && control.unconfirmed[control.active as usize & 1] != 0,
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
        nat: &nat,
        named: named.as_deref(),
    };
    Ok(text(Some(&snapshot), last.as_ref(), format))
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

/// Addresses of translations that are told of one by one; the rest are told of together.
const MOST_ADDRESSES: usize = 64;

/// What a scan of the table tells of translations.
#[derive(Default)]
struct Translations {
    /// Connections by destination address that was written.
    destinations: HashMap<IpAddr, u64>,
    /// Connections by source address that was written, and of each the ports by protocol and destination.
    sources: HashMap<IpAddr, HashMap<(u8, IpAddr, u16), u64>>,
}

impl Translations {
    fn add(&mut self, conn: &Conn) {
        let Some((source, destination)) = conn.translated else { return };
        if (source.address, source.port) != (conn.source.address, conn.source.port) {
            let towards = (conn.protocol, destination.address, destination.port);
            *self.sources.entry(source.address).or_default().entry(towards).or_default() += 1;
        }
        if (destination.address, destination.port) != (conn.destination.address, conn.destination.port) {
            *self.destinations.entry(destination.address).or_default() += 1;
        }
    }

    fn told(self) -> Vec<NatUse> {
        let source = |(address, towards): (IpAddr, HashMap<_, u64>)| NatUse {
            address: address.to_string(),
            is_source: true,
            connections: towards.values().sum(),
            most_ports: towards.values().copied().max().unwrap_or(0),
        };
        let destination = |(address, connections): (IpAddr, u64)| NatUse {
            address: address.to_string(),
            is_source: false,
            connections,
            most_ports: 0,
        };
        let mut sources = bounded(self.sources.into_iter().map(source).collect());
        sources.append(&mut bounded(self.destinations.into_iter().map(destination).collect()));
        sources
    }
}

/// Those with the most connections, and the rest as one.
fn bounded(mut all: Vec<NatUse>) -> Vec<NatUse> {
    all.sort_by(|one, other| other.connections.cmp(&one.connections).then_with(|| one.address.cmp(&other.address)));
    let rest = all.split_off(all.len().min(MOST_ADDRESSES));
    if let Some(first) = rest.first() {
        let other = NatUse {
            address: "other".to_owned(),
            is_source: first.is_source,
            connections: rest.iter().map(|one| one.connections).sum(),
            most_ports: rest.iter().map(|one| one.most_ports).max().unwrap_or(0),
        };
        all.push(other);
    }
    all
}

/// What is counted of the table.
type InTable = (Vec<(&'static str, u64)>, Vec<NatUse>);

/// Connections by state, and what translations use of their addresses.
fn in_table(instance: &Instance) -> Result<InTable, KernelError> {
    let (mut states, mut translations) = (BTreeMap::new(), Translations::default());
    let now = kernel::tick();
    for flow in instance.flows()? {
        let flow = flow?;
        *states.entry(flow.slot.state().name()).or_insert(0) += 1;
        if let Some(answers) = &flow.answers {
            translations.add(&Conn::new(flow.slot, &flow.entry, now).behind(Some(answers)));
        }
    }
    Ok((states.into_iter().collect(), translations.told()))
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
    use super::{MOST_ADDRESSES, NatUse, bounded, unexplained};

    #[test]
    fn addresses_are_bounded_and_nothing_is_left_out() {
        let one = |number: u64| NatUse {
            address: format!("192.0.2.{number}"),
            is_source: true,
            connections: number,
            most_ports: number / 2,
        };
        let told = bounded((0..100).map(one).collect());
        assert_eq!(told.len(), MOST_ADDRESSES + 1);
        assert_eq!(told.iter().map(|one| one.connections).sum::<u64>(), (0..100).sum::<u64>());
        let other = told.last().expect("the rest");
        assert_eq!((other.address.as_str(), other.most_ports), ("other", 17));
        assert_eq!(bounded(vec![one(3)]).len(), 1);
    }

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
