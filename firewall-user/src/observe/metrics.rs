//! Metrics as Prometheus reads them: its text format, and `OpenMetrics`.
//!
//! Names begin with `rampart_`, units are base units, counters end in `_total`. How many series there are is bounded: by
//! interfaces and by reasons that happened; rules are told one by one only up to a number.

use std::fmt::Write;

use firewall_common::{
    answer::Answers,
    counter::{Counter, FlowStats, InterfaceCounters},
};

use super::counters::{Way, reason};
use crate::{
    compile::{Manifest, ObjectRecord, RuleRecord},
    kernel::{Applying, FloodState, Happening, Outcome, What},
};

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is told of an instance.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The generation in force.
    pub generation: u32,
    /// When it was loaded, seconds since 1970, if the kernel says.
    pub loaded: Option<u64>,
    /// Does it wait to be confirmed?
    pub is_unconfirmed: bool,
    /// What it was made of.
    pub manifest: &'a Manifest,
    /// Interfaces and what they counted.
    pub interfaces: &'a [(String, InterfaceCounters)],
    /// What became of refusals, in the order of the interfaces, and how many have no explanation.
    pub answers: &'a [(String, Answers, u64)],
    /// Connections by state.
    pub connections: &'a [(&'static str, u64)],
    /// Connections there is room for.
    pub capacity: u32,
    /// What happened to their table.
    pub flow_stats: FlowStats,
    /// Floods of first segments, if they are watched for.
    pub floods: Option<FloodState>,
    /// Fragmented packets that the kernel gave up because fragments were missing.
    pub never_completed: u64,
    /// Events that were never sent.
    pub lost_events: u64,
    /// Rules with counters, and what they counted; none if they are more than were asked for.
    pub rules: Option<&'a [(&'a RuleRecord, Counter)]>,
    /// Counters with a name, likewise.
    pub named: Option<&'a [(&'a ObjectRecord, Counter)]>,
    /// Backends that are looked after.
    pub backends: &'a [BackendState],
    /// What translations use, by address.
    pub nat: &'a [NatUse],
}

/// What translated connections use of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatUse {
    /// The address that is written into packets; `other` for those that are too many to be told of.
    pub address: String,
    /// Is it a source (`snat`, `masquerade`), or a destination?
    pub is_source: bool,
    /// Connections.
    pub connections: u64,
    /// Of a source: ports in use towards the one destination, of one protocol, with the most.
    pub most_ports: u64,
}

/// A backend that `rampart agent` looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendState {
    /// The map that it is a value of.
    pub map: String,
    /// Where packets go.
    pub backend: String,
    /// Does it answer?
    pub is_up: bool,
    /// Keys of the map that lead to it.
    pub places: u64,
}

/// A text of families and samples.
struct Text {
    out: String,
    format: Format,
}

impl Text {
    /// Begins a family. `name` is without `_total`.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let total = if kind == "counter" && self.format == Format::Prometheus { "_total" } else { "" };
        let _ = writeln!(self.out, "# HELP rampart_{name}{total} {help}");
        let _ = writeln!(self.out, "# TYPE rampart_{name}{total} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let _ = write!(self.out, "rampart_{name}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// All metrics of an instance; of none, that there is none.
pub fn text(snapshot: Option<&Snapshot<'_>>, last: Option<&Happening>, format: Format) -> String {
    let mut text = Text { out: String::new(), format };
    text.family("build_info", "gauge", "The version of rampart; always 1.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.gauge("up", "Whether a ruleset is in force in this network namespace.", u64::from(snapshot.is_some()));
    of_last_change(&mut text, last);
    if let Some(snapshot) = snapshot {
        of_ruleset(&mut text, snapshot);
        of_interfaces(&mut text, snapshot.interfaces);
        of_answers(&mut text, snapshot.answers);
        of_connections(&mut text, snapshot);
        of_floods(&mut text, snapshot.floods);
        of_rules(&mut text, snapshot);
        of_backends(&mut text, snapshot.backends);
        of_nat(&mut text, snapshot.nat);
        of_named(&mut text, snapshot.named);
    }
    text.end()
}

/// The last change of the rules, or attempt at one: there is one before anything is in force, and after.
fn of_last_change(text: &mut Text, last: Option<&Happening>) {
    let Some(Happening { time_ns, what: What::Apply(Applying { result, seconds, .. }), .. }) = last else { return };
    let help = "When the rules were changed last, or were not because they were refused.";
    text.gauge("last_apply_timestamp_seconds", help, time_ns / 1_000_000_000);
    text.family("last_apply_result", "gauge", "What became of that: 1 for the one result that it had.");
    for outcome in Outcome::ALL {
        text.sample("last_apply_result", &[("result", outcome.name())], (outcome == *result).into());
    }
    text.family(
        "last_apply_duration_seconds",
        "gauge",
        "How long the last ruleset took to be put in force; 0 for all other changes.",
    );
    let _ = writeln!(text.out, "rampart_last_apply_duration_seconds {seconds}");
}

fn of_nat(text: &mut Text, nat: &[NatUse]) {
    text.family(
        "nat_connections",
        "gauge",
        "Translated connections, by the address that is written into their packets.",
    );
    for NatUse { address, is_source, connections, .. } in nat {
        let kind = if *is_source { "source" } else { "destination" };
        text.sample("nat_connections", &[("kind", kind), ("address", address)], *connections);
    }
    text.family(
        "nat_ports_most_used",
        "gauge",
        "Ports of a source address in use towards the destination with the most; a range of ports has at most 64512.",
    );
    for NatUse { address, most_ports, .. } in nat.iter().filter(|one| one.is_source) {
        text.sample("nat_ports_most_used", &[("address", address)], *most_ports);
    }
}

fn of_ruleset(text: &mut Text, snapshot: &Snapshot<'_>) {
    text.gauge("generation", "Number of the ruleset in force; it rises with each apply.", snapshot.generation.into());
    if let Some(loaded) = snapshot.loaded {
        text.gauge("generation_loaded_timestamp_seconds", "When the ruleset in force was loaded.", loaded);
    }
    text.gauge("unconfirmed", "Whether the ruleset in force waits to be confirmed.", snapshot.is_unconfirmed.into());
    text.gauge("rules", "Rules of the ruleset in force.", snapshot.manifest.rules.len() as u64);
    text.gauge("chains", "Chains of the ruleset in force.", snapshot.manifest.chains.len() as u64);
    text.counter("events_lost", "Events that were never sent: over the rate, or no room.", snapshot.lost_events);
}

/// Picks packets or bytes.
type Pick = fn(&Counter) -> u64;

fn of_interfaces(text: &mut Text, interfaces: &[(String, InterfaceCounters)]) {
    let units: [(&str, Pick); 2] = [("packets", |counter| counter.packets), ("bytes", |counter| counter.bytes)];
    for (unit, pick) in units {
        let name = format!("seen_{unit}");
        let help =
            format!("All {unit} that came in or were about to leave: passed, redirected and dropped ones together.");
        per_way(text, interfaces, (&name, &help), |way, emit| emit(&[], pick(&way.all)));
    }
    for (unit, pick) in units {
        let name = format!("passed_{unit}");
        let help = format!("The {unit} that rampart let pass.");
        per_way(text, interfaces, (&name, &help), |way, emit| emit(&[], pick(&way.passed)));
    }
    for (unit, pick) in units {
        let name = format!("redirected_{unit}");
        let help = format!("The {unit} that took the fast path past the rules and the stack.");
        per_way(text, interfaces, (&name, &help), |way, emit| emit(&[], pick(&way.redirected)));
    }
    for (unit, pick) in units {
        let name = format!("dropped_{unit}");
        let help = format!("The {unit} that went no further, by the one reason for each.");
        per_way(text, interfaces, (&name, &help), |way, emit| {
            for (number, counter) in &way.dropped {
                let (name, layer, _) = reason(*number);
                emit(&[("reason", &name), ("layer", layer)], pick(counter));
            }
        });
    }
}

/// What became of refused packets: `rampart_dropped_packets_total{reason="rejected"}` is the sum of the first two.
fn of_answers(text: &mut Text, answers: &[(String, Answers, u64)]) {
    text.family("sent_back_packets", "counter", "Refused packets whose sender was told, by what.");
    for (interface, Answers { resets, errors, .. }, _) in answers {
        for (kind, count) in [("tcp_reset", resets), ("icmp_error", errors)] {
            text.sample("sent_back_packets_total", &[("interface", interface), ("kind", kind)], *count);
        }
    }
    text.family("untold_packets", "counter", "Refused packets whose sender was not told, by why not.");
    for (interface, Answers { limited, unanswerable, failed, .. }, _) in answers {
        for (why, count) in [("limited", limited), ("unanswerable", unanswerable), ("failed", failed)] {
            text.sample("untold_packets_total", &[("interface", interface), ("why", why)], *count);
        }
    }
    text.family(
        "unexplained_packets",
        "gauge",
        "Refused packets that were neither sent back nor counted as untold, or the other way about; always 0.",
    );
    for (interface, _, unexplained) in answers {
        text.sample("unexplained_packets", &[("interface", interface)], *unexplained);
    }
}

/// Counters with a name.
fn of_named(text: &mut Text, named: Option<&[(&ObjectRecord, Counter)]>) {
    let Some(named) = named else { return };
    let units: [(&str, Pick); 2] = [("packets", |counter| counter.packets), ("bytes", |counter| counter.bytes)];
    for (unit, pick) in units {
        text.family(&format!("named_{unit}"), "counter", &format!("The {unit} that a counter with a name counted."));
        for (ObjectRecord { family, table, name, .. }, counter) in named {
            let labels = [("family", family.as_str()), ("table", table), ("name", name)];
            text.sample(&format!("named_{unit}_total"), &labels, pick(counter));
        }
    }
}

/// One family over all interfaces and both directions.
fn per_way(
    text: &mut Text,
    interfaces: &[(String, InterfaceCounters)],
    (name, help): (&str, &str),
    each: impl Fn(&Way, &mut dyn FnMut(&[(&str, &str)], u64)),
) {
    text.family(name, "counter", help);
    for (interface, counters) in interfaces {
        for (direction, counters) in [("in", &counters.ingress), ("out", &counters.egress)] {
            each(&Way::of(counters), &mut |more, value| {
                let labels = [&[("interface", interface.as_str()), ("direction", direction)], more].concat();
                text.sample(&format!("{name}_total"), &labels, value);
            });
        }
    }
}

fn of_connections(text: &mut Text, snapshot: &Snapshot<'_>) {
    text.family("connections", "gauge", "Connections that are tracked, by state.");
    for (state, count) in snapshot.connections {
        text.sample("connections", &[("state", state)], *count);
    }
    text.gauge("connections_capacity", "Connections there is room for.", snapshot.capacity.into());
    let FlowStats {
        entered,
        refused,
        evicted_embryonic,
        evicted_answered,
        retried,
        forgotten,
        fragments_early,
        reserved: _,
    } = snapshot.flow_stats;
    text.counter("connections_entered", "Connections that were entered into the table.", entered);
    text.counter("connections_refused", "Connections that found no room; their packets were dropped.", refused);
    text.family("connections_evicted", "counter", "Connections put out for others.");
    text.sample("connections_evicted_total", &[("kind", "embryonic")], evicted_embryonic);
    text.sample("connections_evicted_total", &[("kind", "answered")], evicted_answered);
    text.counter("connections_retried", "Connections entered at the second try.", retried);
    text.counter("connections_forgotten", "Connections forgotten at a reset that nobody had answered.", forgotten);
    text.counter("fragments_early", "Later fragments that came before their first one.", fragments_early);
    text.counter(
        "fragments_never_completed",
        "Packets of the network namespace whose other fragments never came.",
        snapshot.never_completed,
    );
}

fn of_floods(text: &mut Text, floods: Option<FloodState>) {
    let Some(FloodState { is_on, open, begun, returned, since: _ }) = floods else { return };
    text.gauge(
        "syn_flood",
        "Whether SYN cookies are sent because too many handshakes are not completed.",
        is_on.into(),
    );
    text.gauge("syn_handshakes_open", "Handshakes of the last eight seconds that are not completed.", open.into());
    text.counter("syn_floods", "How often too many handshakes were not completed.", begun);
    text.counter("syn_cookies_returned", "Connections that cookies were brought back for, by no rule.", returned);
}

fn of_backends(text: &mut Text, backends: &[BackendState]) {
    text.family("backend_up", "gauge", "Whether a backend answers, and gets new connections.");
    for BackendState { map, backend, is_up, .. } in backends {
        text.sample("backend_up", &[("map", map), ("backend", backend)], (*is_up).into());
    }
    text.family("backend_places", "gauge", "Keys of the map that lead to a backend.");
    for BackendState { map, backend, places, .. } in backends {
        text.sample("backend_places", &[("map", map), ("backend", backend)], *places);
    }
}

fn of_rules(text: &mut Text, snapshot: &Snapshot<'_>) {
    text.gauge(
        "rules_told",
        "Whether rules with counters are told one by one; they are not when they are many.",
        snapshot.rules.is_some().into(),
    );
    let Some(rules) = snapshot.rules else { return };
    let units: [(&str, Pick); 2] = [("packets", |counter| counter.packets), ("bytes", |counter| counter.bytes)];
    for (unit, pick) in units {
        text.family(&format!("rule_{unit}"), "counter", &format!("The {unit} that a rule's counters counted."));
        for (rule, counter) in rules {
            let RuleRecord { family, table, chain, handle, comment, .. } = rule;
            let handle = handle.to_string();
            let comment = comment.as_deref().unwrap_or_default();
            let labels = [
                ("family", family.as_str()),
                ("table", table),
                ("chain", chain),
                ("handle", &handle),
                ("comment", comment),
            ];
            text.sample(&format!("rule_{unit}_total"), &labels, pick(counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::verdict::Reason;

    use super::*;

    fn snapshot_text(format: Format) -> String {
        let mut counters = InterfaceCounters::ZERO;
        counters.ingress[0] = Counter { packets: 10, bytes: 1000 };
        counters.ingress[Reason::Policy as usize] = Counter { packets: 3, bytes: 180 };
        let interfaces = [("eth0".to_owned(), counters)];
        let snapshot = Snapshot {
            generation: 4,
            loaded: Some(1_700_000_000),
            is_unconfirmed: false,
            manifest: &Manifest::default(),
            interfaces: &interfaces,
            connections: &[("ESTABLISHED", 2)],
            capacity: 7168,
            flow_stats: FlowStats::default(),
            floods: Some(FloodState { is_on: true, open: 500, begun: 2, returned: 9, since: None }),
            never_completed: 0,
            lost_events: 1,
            rules: Some(&[]),
            named: Some(&[]),
            nat: &[
                NatUse { address: "203.0.113.77".to_owned(), is_source: true, connections: 9, most_ports: 7 },
                NatUse { address: "192.0.2.11".to_owned(), is_source: false, connections: 2, most_ports: 0 },
            ],
            backends: &[BackendState {
                map: "web".to_owned(),
                backend: "192.0.2.11:8443".to_owned(),
                is_up: true,
                places: 126,
            }],
            answers: &[("eth0".to_owned(), Answers { resets: 2, errors: 1, limited: 4, ..Answers::default() }, 0)],
        };
        let last = Happening {
            number: 1,
            time_ns: 1_700_000_000_500_000_000,
            generation: 4,
            by: "root".to_owned(),
            what: What::Apply(Applying { seconds: 0.25, ..Applying::of(Outcome::Refused) }),
        };
        text(Some(&snapshot), Some(&last), format)
    }

    #[test]
    fn received_is_passed_and_dropped() {
        let text = snapshot_text(Format::Prometheus);
        for line in [
            "rampart_seen_packets_total{interface=\"eth0\",direction=\"in\"} 13\n",
            "rampart_passed_packets_total{interface=\"eth0\",direction=\"in\"} 10\n",
            "rampart_dropped_packets_total{interface=\"eth0\",direction=\"in\",reason=\"policy\",layer=\"ruleset\"} 3\n",
            "rampart_sent_back_packets_total{interface=\"eth0\",kind=\"tcp_reset\"} 2\n",
            "rampart_untold_packets_total{interface=\"eth0\",why=\"limited\"} 4\n",
            "rampart_unexplained_packets{interface=\"eth0\"} 0\n",
            "rampart_syn_flood 1\n",
            "rampart_syn_handshakes_open 500\n",
            "rampart_syn_floods_total 2\n",
            "rampart_syn_cookies_returned_total 9\n",
            "rampart_connections{state=\"ESTABLISHED\"} 2\n",
            "rampart_last_apply_timestamp_seconds 1700000000\n",
            "rampart_last_apply_result{result=\"refused\"} 1\n",
            "rampart_last_apply_result{result=\"applied\"} 0\n",
            "rampart_last_apply_duration_seconds 0.25\n",
            "rampart_nat_connections{kind=\"source\",address=\"203.0.113.77\"} 9\n",
            "rampart_nat_ports_most_used{address=\"203.0.113.77\"} 7\n",
            "# TYPE rampart_seen_packets_total counter\n",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn open_metrics_names_families_without_total_and_ends() {
        let text = snapshot_text(Format::OpenMetrics);
        assert!(text.contains("# TYPE rampart_seen_packets counter\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_not_in_force_is_told_as_well() {
        assert!(text(None, None, Format::Prometheus).contains("rampart_up 0\n"));
    }

    #[test]
    fn labels_are_safe_whatever_a_comment_says() {
        let mut text = Text { out: String::new(), format: Format::Prometheus };
        text.sample("x", &[("comment", "a\"b\\c\nd")], 1);
        assert_eq!(text.out, "rampart_x{comment=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
