//! What is in force, and where.

use std::fmt::Write;

use firewall_common::{control::Control, counter::FlowStats};
use serde_json::{Value, json};

use super::lifetimes;
use super::words::{bytes, counted, printable, seconds, size};
use crate::{
    compile::{Manifest, SCHEMA},
    config::{Conntrack, WhenFull, WhenSetFull},
    kernel::{Attached, FastWay, FloodState, Ingress},
};

/// Everything that `rampart status` tells.
pub struct Report<'a> {
    /// The generation in force.
    pub generation: u32,
    /// Its ruleset.
    pub manifest: &'a Manifest,
    /// Does it wait for a confirmation, or did it lose its place for want of one?
    pub trial: Trial,
    /// Where it is attached.
    pub interfaces: &'a [Attached],
    /// What the fast path is to them, if the ruleset has one.
    pub fast_ways: &'a [FastWay],
    /// The connections.
    pub flows: FlowUse,
    /// Floods of first segments, if they are watched for.
    pub floods: Option<FloodState>,
    /// Events that nobody could be told of, ever.
    pub lost_events: u64,
}

/// How full the state table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowUse {
    /// Live connections.
    pub live: u64,
    /// Room for so many.
    pub capacity: u32,
    /// Memory it takes, bytes.
    pub memory: u64,
    /// What happened to it.
    pub stats: FlowStats,
    /// Fragmented packets that the kernel gave up because fragments were missing.
    pub never_completed: u64,
}

/// An apply with a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// There is none.
    None,
    /// The ruleset in force goes in so many seconds, unless confirmed.
    Waiting(u64),
    /// This generation was not confirmed in time, and the one before is in force again.
    Expired(u32),
}

impl Trial {
    /// What the control value says at a moment.
    pub fn of(control: &Control, now_ns: u64) -> Self {
        let at = (control.active & 1) as usize;
        let in_force = control.slot(|| now_ns) as usize;
        if control.unconfirmed[at] == 0 {
            Self::None
        } else if in_force == at {
            Self::Waiting(control.deadline_ns[at].saturating_sub(now_ns).div_ceil(1_000_000_000))
        } else {
            Self::Expired(control.generation[at])
        }
    }

    fn json(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Waiting(left) => json!({ "state": "waiting", "seconds_left": left }),
            Self::Expired(generation) => json!({ "state": "expired", "generation": generation }),
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Waiting(left) => Some(format!(
                "not confirmed: the ruleset before comes back in {}, unless `rampart confirm` is said",
                seconds(left)
            )),
            Self::Expired(generation) => {
                Some(format!("generation {generation} was not confirmed in time: this is the ruleset before it"))
            }
        }
    }
}

/// `eth0: in by native XDP, out by tcx`, with the reason for a step down.
pub fn attachment(attached: &Attached) -> String {
    let way_in = match attached.ingress {
        Ingress::Native => "native XDP",
        Ingress::Generic => "generic XDP",
        Ingress::Tc => "tc",
    };
    let mut text = format!("{}: in by {way_in}, out by {}", attached.name, attached.egress.name());
    if !attached.present {
        text.push_str(", but the interface is gone");
    }
    if let Some(note) = &attached.note {
        let _ = write!(text, " ({})", printable(note));
    }
    text
}

/// An attached interface as JSON.
pub fn attachment_json(attached: &Attached) -> Value {
    json!({
        "name": attached.name,
        "ifindex": attached.ifindex,
        "ingress": attached.ingress.name(),
        "egress": attached.egress.name(),
        "present": attached.present,
        "note": attached.note,
    })
}

/// `eth0: in and out`, or why not.
pub fn fast_way(way: &FastWay) -> String {
    let FastWay { name, not_in, not_out, has_changed } = way;
    let mut text = match (not_in, not_out) {
        (None, None) => "in and out".to_owned(),
        (Some(why), Some(other)) if why == other => format!("none: {why}"),
        (Some(why), Some(other)) => format!("none: not in, {why}; not out, {other}"),
        (Some(why), None) => format!("out only: {why}"),
        (None, Some(why)) => format!("in only: {why}"),
    };
    if *has_changed {
        text.push_str(" (it was otherwise when the rules were put in force: `rampart apply` takes note)");
    }
    format!("{}: {}", printable(name), printable(&text))
}

fn fast_way_json(way: &FastWay) -> Value {
    let FastWay { name, not_in, not_out, has_changed } = way;
    json!({ "name": name, "not_in": not_in, "not_out": not_out, "changed": has_changed })
}

impl Report<'_> {
    /// As lines.
    pub fn text(&self) -> String {
        let file = self.manifest.sources.first().map_or("?", |source| &source.name);
        let mut lines = vec![
            format!("generation  {}", self.generation),
            format!("ruleset     {}, {}", printable(file), size(self.manifest)),
        ];
        lines.extend(self.trial.text().map(|text| format!("            {text}")));
        let FlowUse { live, capacity, memory, stats, never_completed: _ } = self.flows;
        lines.push(format!("connections {live} of {capacity}, in {}", bytes(memory)));
        lines.extend(pressure(&stats).map(|text| format!("            {text}")));
        lines.extend(tracking(&self.manifest.config.conntrack).map(|text| format!("            {text}")));
        lines.extend(self.flooding());
        let checks = self.manifest.config.checks.names();
        if !checks.is_empty() {
            lines.push(format!("checks      {}", checks.join(", ")));
        }
        if self.manifest.config.sets.when_full == WhenSetFull::EvictOldest {
            lines.push("sets        a full one gives up the element that would end first".to_owned());
        }
        let attached = self.interfaces.iter().map(attachment);
        lines.extend(attached.enumerate().map(|(at, text)| match at {
            0 => format!("interfaces  {text}"),
            _ => format!("            {text}"),
        }));
        lines.extend(self.fast_ways.iter().map(fast_way).enumerate().map(|(at, text)| match at {
            0 => format!("fast path   {text}"),
            _ => format!("            {text}"),
        }));
        if self.interfaces.is_empty() {
            lines.push("interfaces  none: nothing is filtered".to_owned());
        }
        if self.lost_events > 0 {
            lines.push(format!("events      {} could not be told of", counted(self.lost_events, "event")));
        }
        lines.join("\n") + "\n"
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let FlowUse { live, capacity, memory, stats, never_completed } = self.flows;
        json!({
            "schema": SCHEMA,
            "running": true,
            "generation": self.generation,
            "ruleset": {
                "file": self.manifest.sources.first().map(|source| source.name.as_str()),
                "tables": self.manifest.tables.len(),
                "chains": self.manifest.chains.len(),
                "rules": self.manifest.rules.len(),
            },
            "trial": self.trial.json(),
            "interfaces": self.interfaces.iter().map(attachment_json).collect::<Vec<_>>(),
            "fast_path": self.fast_ways.iter().map(fast_way_json).collect::<Vec<_>>(),
            "connections": { "live": live, "capacity": capacity, "memory_bytes": memory, "stats": stats_json(&stats),
                "fragments_never_completed": never_completed },
            "syn_flood": self.floods.as_ref().map(flood_json),
            "settings": &self.manifest.config,
            "timeouts": lifetimes::seconds(&self.manifest.config.conntrack.timeouts),
            "events_lost": self.lost_events,
        })
    }
}

impl Report<'_> {
    /// What is done about floods, and whether there is one.
    fn flooding(&self) -> Vec<String> {
        let (Some(settings), Some(floods)) = (self.manifest.config.syn_flood.text(), self.floods) else {
            return Vec::new();
        };
        let FloodState { is_on, open, begun, returned, since } = floods;
        let now = match since {
            Some(since) if is_on => format!("a flood for {}: cookies are sent", seconds(since.as_secs())),
            _ => "no flood".to_owned(),
        };
        let until_now = format!("{}, {} by cookie", counted(begun, "flood"), counted(returned, "connection"));
        vec![format!("syn flood   {settings}"), format!("            {now}; {open} open, {until_now}")]
    }
}

fn flood_json(floods: &FloodState) -> Value {
    let FloodState { is_on, open, begun, returned, since } = floods;
    json!({ "on": is_on, "open": open, "begun": begun, "returned": returned, "seconds": since.map(|since| since.as_secs()) })
}

/// What became of connections that found no room, if any did.
fn pressure(stats: &FlowStats) -> Option<String> {
    let parts = [
        (stats.refused, "refused for want of room"),
        (stats.evicted_answered, "over or ending, put out for others"),
        (stats.evicted_embryonic, "put out unanswered"),
    ];
    let parts: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The statistics of the state table as JSON.
pub fn stats_json(stats: &FlowStats) -> Value {
    let FlowStats {
        entered,
        refused,
        evicted_embryonic,
        evicted_answered,
        retried,
        forgotten,
        fragments_early,
        reserved: _,
    } = *stats;
    json!({
        "entered": entered,
        "refused": refused,
        "evicted_embryonic": evicted_embryonic,
        "evicted_answered": evicted_answered,
        "retried": retried,
        "forgotten": forgotten,
        "fragments_early": fragments_early,
    })
}

/// What the settings say of connections, where that is not the default.
fn tracking(settings: &Conntrack) -> Option<String> {
    let Conntrack { max: _, when_full, tcp_loose, tcp_be_liberal, timeouts: _, zones } = settings;
    let mut parts = lifetimes::changed(&settings.timeouts);
    if *when_full != WhenFull::default() {
        parts.push(format!("when full: {}", when_full.name()));
    }
    if !tcp_loose {
        parts.push("TCP from its SYN on only".to_owned());
    }
    if *tcp_be_liberal {
        parts.push("TCP windows not enforced".to_owned());
    }
    parts.extend(zones.iter().map(|(interface, zone)| format!("zone {zone} on {}", printable(interface))));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `rampart status` where nothing is in force.
pub fn nothing_json() -> Value {
    json!({ "schema": SCHEMA, "running": false, "generation": null, "interfaces": [] })
}

#[cfg(test)]
mod tests;
