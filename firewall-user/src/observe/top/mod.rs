//! `rampart top`: rates, from what was counted at two moments, and the picture of them. Nothing here knows a kernel or a
//! terminal: [`Sample`] is what was read, [`Model`] what is known, [`View`] what the user has chosen to see.

mod draw;
mod grid;
mod rates;
mod screen;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
};

use firewall_common::{
    counter::{Counter, InterfaceCounters, PASSED, REDIRECTED},
    flow::FlowKey,
    ledger::Dropped,
    verdict::Reason,
};
use serde_json::{Value, json};

pub use self::{
    draw::{Look, draw},
    grid::reasons,
    rates::{Rate, bits, packets, spark},
    screen::{Action, Press, Tab, View},
};
use super::{counters::reason, drops};
use crate::compile::{Manifest, SCHEMA};

/// Moments that are remembered for the small curves.
pub const REMEMBERED: usize = 60;

/// What was read at one moment.
#[derive(Debug)]
pub struct Sample {
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// What each interface counted.
    pub interfaces: Vec<(String, InterfaceCounters)>,
    /// What the first counter of each rule with one counted, by the rule's number.
    pub rules: HashMap<u32, Counter>,
    /// The connections; `None` when they were not read this time.
    pub connections: Option<Vec<Connection>>,
    /// Room for connections.
    pub capacity: u64,
    /// The drop ledger, latest first.
    pub drops: Vec<Dropped>,
    /// Events that were never sent.
    pub lost: u64,
}

/// As much of a connection as is shown.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// What tells it from others, with the tick in which it began.
    pub id: (FlowKey, u32),
    /// Its state.
    pub state: &'static str,
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// Both directions.
    pub counted: Counter,
}

/// Which way packets went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// They went on.
    Passed,
    /// They did not, and nobody was told.
    Dropped,
    /// They did not, and the sender was told.
    Rejected,
}

impl Way {
    /// `in`, `out`
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Outcome {
    fn of(number: usize) -> Self {
        match number {
            PASSED | REDIRECTED => Self::Passed,
            rejected if rejected == Reason::Rejected as usize => Self::Rejected,
            _ => Self::Dropped,
        }
    }

    /// `passed`, `dropped`, `rejected`
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        }
    }
}

/// Something that packets are counted for.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// All that was counted.
    pub total: Counter,
    /// What came in the last interval, a second.
    pub rate: Rate,
    /// Packets a second, the latest last.
    pub history: VecDeque<f64>,
}

/// An address and what its connections carry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host {
    /// Of all its connections.
    pub rate: Rate,
    /// How many there are.
    pub connections: u64,
}

/// What is known after some samples.
#[derive(Debug, Default)]
pub struct Model {
    /// The rules in force.
    pub manifest: Manifest,
    /// Their generation.
    pub generation: u32,
    /// By interface, way and outcome.
    pub lines: BTreeMap<(String, Way, Outcome), Line>,
    /// By rule.
    pub rules: BTreeMap<u32, Line>,
    /// By drop reason, all interfaces and both ways.
    pub reasons: BTreeMap<u32, Line>,
    /// Those that begin connections.
    pub sources: HashMap<IpAddr, Host>,
    /// Those that are spoken to.
    pub destinations: HashMap<IpAddr, Host>,
    /// Connections by state.
    pub states: BTreeMap<&'static str, u64>,
    /// Room for connections.
    pub capacity: u64,
    /// The drop ledger, latest first.
    pub drops: Vec<Dropped>,
    /// Events that were never sent.
    pub lost: u64,
    /// When the last sample was taken.
    pub at_ns: u64,
    known: HashMap<(FlowKey, u32), Counter>,
    known_at_ns: u64,
}

impl Model {
    /// Other rules are in force: what theirs counted begins anew.
    pub fn put_in_force(&mut self, generation: u32, manifest: Manifest) {
        self.rules.clear();
        (self.generation, self.manifest) = (generation, manifest);
    }

    /// Takes in what was read.
    pub fn take(&mut self, sample: Sample) {
        let Sample { at_ns, interfaces, rules, connections, capacity, drops, lost } = sample;
        let seconds = seconds(self.at_ns, at_ns);
        let mut reasons: BTreeMap<u32, Counter> = BTreeMap::new();
        let mut outcomes: BTreeMap<(String, Way, Outcome), Counter> = BTreeMap::new();
        for (name, counted) in &interfaces {
            for (way, counters) in [(Way::In, &counted.ingress), (Way::Out, &counted.egress)] {
                for (number, counter) in counters.iter().enumerate().filter(|(_, counter)| counter.packets > 0) {
                    add(outcomes.entry((name.clone(), way, Outcome::of(number))).or_default(), *counter);
                    if ![PASSED, REDIRECTED].contains(&number) {
                        add(reasons.entry(number as u32).or_default(), *counter);
                    }
                }
            }
        }
        advance(&mut self.lines, outcomes, seconds);
        advance(&mut self.reasons, reasons, seconds);
        advance(&mut self.rules, rules, seconds);
        if let Some(connections) = connections {
            self.take_connections(&connections, at_ns);
        }
        (self.at_ns, self.capacity, self.drops, self.lost) = (at_ns, capacity, drops, lost);
    }

    fn take_connections(&mut self, connections: &[Connection], at_ns: u64) {
        let seconds = seconds(self.known_at_ns, at_ns);
        let mut known = HashMap::with_capacity(connections.len());
        (self.states, self.sources, self.destinations) = Default::default();
        for Connection { id, state, source, destination, counted } in connections {
            known.insert(*id, *counted);
            *self.states.entry(state).or_default() += 1;
            // One that is new has carried all it carried since the last time.
            let before = self.known.get(id).copied().unwrap_or_default();
            let rate = Rate::between(before, *counted, seconds);
            for (hosts, address) in [(&mut self.sources, source), (&mut self.destinations, destination)] {
                let host = hosts.entry(*address).or_default();
                host.rate.add(rate);
                host.connections += 1;
            }
        }
        (self.known, self.known_at_ns) = (known, at_ns);
    }

    /// Connections that there are.
    pub fn connections(&self) -> u64 {
        self.states.values().sum()
    }

    /// The latest drops for a reason, a source each.
    pub fn last_drops(&self, reason: u32) -> impl Iterator<Item = &Dropped> {
        self.drops.iter().filter(move |dropped| dropped.reason == reason)
    }

    /// The same as JSON, the first `most` of each list.
    pub fn json(&self, most: usize) -> Value {
        let rate = |rate: Rate| json!({ "packets_per_second": rate.packets, "bits_per_second": rate.bits });
        let lines = self.lines.iter().map(|((interface, way, outcome), line)| {
            json!({ "interface": interface, "direction": way.name(), "outcome": outcome.name(), "rate": rate(line.rate),
                "packets": line.total.packets, "bytes": line.total.bytes })
        });
        let reasons = self.reasons.iter().map(|(number, line)| {
            let (name, layer, _) = reason(*number);
            let last = self.last_drops(*number).take(most);
            let last = last.filter_map(drops::source).map(|source| source.to_string());
            json!({ "reason": name, "layer": layer, "rate": rate(line.rate), "packets": line.total.packets,
                "last_sources": last.collect::<Vec<_>>() })
        });
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by(|(_, one), (_, other)| other.rate.packets.total_cmp(&one.rate.packets));
        let rules = rules.iter().take(most).filter_map(|(number, line)| {
            let rule = self.manifest.rule(**number)?;
            Some(json!({ "file": rule.file, "line": rule.line, "text": rule.text, "rate": rate(line.rate),
                "packets": line.total.packets, "bytes": line.total.bytes }))
        });
        let hosts = |hosts: &HashMap<IpAddr, Host>| {
            let mut hosts: Vec<_> = hosts.iter().collect();
            hosts.sort_by(|(a, one), (b, other)| other.rate.bits.total_cmp(&one.rate.bits).then(a.cmp(b)));
            let told = |(address, host): &(&IpAddr, &Host)| json!({ "address": address.to_string(), "connections": host.connections, "rate": rate(host.rate) });
            hosts.iter().take(most).map(told).collect::<Vec<_>>()
        };
        json!({
            "schema": SCHEMA, "generation": self.generation,
            "interfaces": lines.collect::<Vec<_>>(), "drops": reasons.collect::<Vec<_>>(),
            "rules": rules.collect::<Vec<_>>(),
            "sources": hosts(&self.sources), "destinations": hosts(&self.destinations),
            "connections": self.states, "capacity": self.capacity, "events_lost": self.lost,
        })
    }
}

/// Seconds between two moments; none before the first.
fn seconds(before_ns: u64, now_ns: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with two or three digits")]
    let seconds = now_ns.saturating_sub(before_ns) as f64 / 1e9;
    (before_ns != 0 && seconds > 0.0).then_some(seconds)
}

fn add(total: &mut Counter, one: Counter) {
    total.packets += one.packets;
    total.bytes += one.bytes;
}

/// Brings lines up to date. What is not counted any more stays with no rate, until it is forgotten with its rules.
fn advance<K: Ord>(
    lines: &mut BTreeMap<K, Line>,
    counted: impl IntoIterator<Item = (K, Counter)>,
    seconds: Option<f64>,
) {
    let mut counted: BTreeMap<K, Counter> = counted.into_iter().collect();
    let step = |line: &mut Line, now: Counter| {
        line.rate = Rate::between(line.total, now, seconds);
        line.total = now;
        if line.history.len() == REMEMBERED {
            line.history.pop_front();
        }
        if seconds.is_some() {
            line.history.push_back(line.rate.packets);
        }
    };
    for (key, line) in lines.iter_mut() {
        let now = counted.remove(key).unwrap_or(line.total);
        step(line, now);
    }
    for (key, now) in counted {
        step(lines.entry(key).or_default(), now);
    }
}
