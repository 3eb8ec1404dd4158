//! Events that programs tell of: drops, log statements, connections, tables that are full, floods.

use std::fmt::Write;

use firewall_common::{
    conntrack::{CtState, State},
    event::{End, Event, Kind, NO_HOOK},
    image::Hook,
    verdict::Reason,
};
use serde_json::{Value, json};

use super::{
    author::Author,
    clock::{Clock, Moment},
    packet::{Ends, Told},
    words::{self, counted, grouped, printable},
};
use crate::{
    cli::values::EventFilter,
    compile::{LogRecord, Manifest, SCHEMA},
};

/// An event, whoever told of it.
pub trait Tale {
    /// What it tells.
    fn kind(&self) -> Kind;
    /// Is it one of those asked for: of each kind of filter one, of all kinds?
    fn is_wanted(&self, filters: &[EventFilter]) -> bool;
    /// One line, without its end.
    fn line(&self, clock: Clock) -> String;
    /// The same as JSON.
    fn json(&self, clock: Clock) -> Value;
}

/// Of each kind of filter one must hold.
pub fn wanted(filters: &[EventFilter], is_under: impl Fn(&EventFilter) -> bool) -> bool {
    let same_kind = |a: &EventFilter, b: &EventFilter| std::mem::discriminant(a) == std::mem::discriminant(b);
    filters.iter().all(|filter| filters.iter().any(|other| same_kind(filter, other) && is_under(other)))
}

/// The keys that every event has, and nothing in them but what every event knows.
pub fn blank(kind: Kind, time: Moment, generation: u32) -> Value {
    json!({
        "schema": SCHEMA,
        "event": kind.name(),
        "time": time.date_and_time(),
        "generation": generation,
        "hook": null,
        "interface": null,
        "reason": null,
        "layer": null,
        "peer_sees": null,
        "rule": null,
        "policy": null,
        "log": null,
        "ct_state": null,
        "packet": null,
        "nat": null,
        "closed": null,
        "flood": null,
        "apply": null,
        "ban": null,
        "backend": null,
        "by": null,
        "suppressed": 0,
        "more": 0,
    })
}

/// An event of a program with what is known beside it.
pub struct Seen<'a> {
    event: &'a Event,
    interface: &'a str,
    manifest: Option<&'a Manifest>,
    packet: Told,
    kind: Kind,
    reason: Reason,
    /// None of what no packet told.
    hook: Option<Hook>,
}

impl<'a> Seen<'a> {
    /// An event of the generation that `manifest` describes. `None` if it says what this version does not know.
    pub fn new(event: &'a Event, interface: &'a str, manifest: Option<&'a Manifest>) -> Option<Self> {
        Some(Self {
            event,
            interface,
            manifest,
            packet: Told::of(event),
            kind: Kind::from_number(event.kind)?,
            reason: Reason::from_number(event.reason)?,
            hook: match event.hook {
                NO_HOOK => None,
                number => Some(Hook::ALL.into_iter().find(|hook| *hook as u32 == number)?),
            },
        })
    }

    /// The interface; none of a connection that began here.
    fn interface(&self) -> Option<&'a str> {
        (self.event.ifindex != 0 || self.hook.is_some()).then_some(self.interface)
    }

    /// Of a connection that is over, how it ended.
    fn end(&self) -> &'static str {
        End::ALL.into_iter().find(|end| *end as u32 == self.event.log).unwrap_or(End::Packet).name()
    }

    fn author(&self) -> Author<'a> {
        Author::of(self.event.rule, self.manifest)
    }

    fn log(&self) -> Option<&'a LogRecord> {
        let of_this_event = |(_, log): (_, &'a LogRecord)| log;
        (self.kind == Kind::Logged).then(|| self.manifest?.log(self.event.log).map(of_this_event)).flatten()
    }

    fn ct_state(&self) -> Option<&'static str> {
        CtState::from_bit(self.event.ct_state).map(CtState::name)
    }

    /// Is it about a packet that was dropped?
    const fn is_drop(&self) -> bool {
        matches!(self.kind, Kind::Dropped | Kind::TableFull | Kind::NatExhausted)
    }

    /// What whoever sent the packet, or waits for it, sees of a drop.
    pub fn peer_sees(&self) -> Option<&'static str> {
        const TCP: u8 = 6;
        self.is_drop().then_some(match self.packet.protocol {
            _ if self.reason == Reason::SynAnswered => "the server's answer",
            _ if self.reason == Reason::Rejected => "that it is refused",
            Some(TCP) => "connection timed out",
            Some(_) | None => "no answer",
        })
    }

    fn is_under(&self, filter: &EventFilter) -> bool {
        let address = |wanted: &dyn Fn((_, _)) -> bool| self.packet.addresses.is_some_and(wanted);
        let port = |wanted: &dyn Fn((u16, u16)) -> bool| self.packet.ports.is_some_and(wanted);
        match filter {
            EventFilter::Kind(kind) => self.kind == *kind,
            EventFilter::Protocol(protocol) => self.packet.protocol == Some(*protocol),
            EventFilter::Source(prefix) => address(&|(source, _)| prefix.contains(source)),
            EventFilter::Destination(prefix) => address(&|(_, destination)| prefix.contains(destination)),
            EventFilter::Host(prefix) => address(&|(one, other)| prefix.contains(one) || prefix.contains(other)),
            EventFilter::SourcePort(wanted) => port(&|(source, _)| source == *wanted),
            EventFilter::DestinationPort(wanted) => port(&|(_, destination)| destination == *wanted),
            EventFilter::Port(wanted) => port(&|(one, other)| one == *wanted || other == *wanted),
            EventFilter::Reason(reason) => self.is_drop() && self.reason == *reason,
            EventFilter::Layer(layer) => self.is_drop() && self.reason.layer() == *layer,
            EventFilter::Hook(hook) => self.hook == Some(*hook),
            EventFilter::Interface(name) => self.interface == name,
        }
    }

    /// What made it happen, in words.
    fn because(&self) -> String {
        let author = self.author().long();
        match self.kind {
            Kind::Logged | Kind::New => author.map_or_else(String::new, |author| format!(", {author}")),
            Kind::Closed => self.was(author),
            Kind::FloodOn | Kind::FloodOff => {
                let [counted, threshold, ..] = self.event.numbers;
                format!(", {}: {}, a flood from {} on", self.reason.name(), grouped(counted), grouped(threshold))
            }
            // Nothing of a program's.
            Kind::Apply | Kind::Ban | Kind::Unban | Kind::BackendUp | Kind::BackendDown => String::new(),
            Kind::Dropped | Kind::TableFull | Kind::NatExhausted => {
                let (layer, sees) = (self.reason.layer().name(), self.peer_sees().unwrap_or_default());
                let by = match (self.reason, author) {
                    (Reason::Rule | Reason::Policy | Reason::Rejected, Some(author)) => author,
                    (reason, _) => reason.meaning().to_owned(),
                };
                format!(", {} ({layer}): {by}; the sender sees: {sees}", self.reason.name())
            }
        }
    }

    /// What a connection was that has ended, in words.
    fn was(&self, author: Option<String>) -> String {
        let [packets, bytes, packets_back, bytes_back] = self.event.numbers;
        let state = State(self.event.state as u8).name();
        let age = words::seconds(words::seconds_of_ticks(self.event.age));
        let author = author.map_or_else(String::new, |author| format!(", {author}"));
        let end = match self.end() {
            // The state says so.
            end if end == End::Packet.name() => String::new(),
            end => format!("{end} in "),
        };
        format!(
            ", {end}{state} after {age}, {} in {}, back {} in {}{author}",
            words::bytes(bytes),
            counted(packets, "packet"),
            words::bytes(bytes_back),
            counted(packets_back, "packet")
        )
    }

    /// The same as JSON.
    fn closed_json(&self) -> Option<Value> {
        let [packets, bytes, packets_back, bytes_back] = self.event.numbers;
        (self.kind == Kind::Closed).then(|| {
            json!({
                "end": self.end(),
                "state": State(self.event.state as u8).name(),
                "seconds": words::seconds_of_ticks(self.event.age),
                "packets": { "original": packets, "reply": packets_back },
                "bytes": { "original": bytes, "reply": bytes_back },
            })
        })
    }

    fn flood_json(&self) -> Option<Value> {
        let [counted, threshold, ..] = self.event.numbers;
        matches!(self.kind, Kind::FloodOn | Kind::FloodOff)
            .then(|| json!({ "reason": self.reason.name(), "counted": counted, "threshold": threshold }))
    }
}

impl Tale for Seen<'_> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn is_wanted(&self, filters: &[EventFilter]) -> bool {
        wanted(filters, |filter| self.is_under(filter))
    }

    fn line(&self, clock: Clock) -> String {
        let way = match self.hook {
            Some(Hook::Output | Hook::Postrouting | Hook::Egress) => "out",
            // It began here.
            None if self.event.ifindex == 0 => "out",
            Some(Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Ingress) | None => "in",
        };
        let mut line = format!("{} {:<7} ", clock.at(self.event.time_ns).time(), self.kind.name());
        if let Some(prefix) = self.log().and_then(|log| log.prefix.as_deref()) {
            let _ = write!(line, "\"{}\" ", printable(prefix));
        }
        let _ = match self.interface() {
            Some(interface) => write!(line, "{way} {interface} {}", self.packet.text()),
            None => write!(line, "{way} {}", self.packet.text()),
        };
        if let Some(translated) = &self.packet.translated {
            let _ = write!(line, " nat {}", translated.text());
        }
        if let Some(state) = self.ct_state() {
            let _ = write!(line, " ct {state}");
        }
        line.push_str(&self.because());
        if self.event.more > 0 {
            let _ = write!(line, " ({} more)", grouped(self.event.more));
        }
        line
    }

    fn json(&self, clock: Clock) -> Value {
        let dropped = self.is_drop().then_some(self.reason);
        let (author, log) = (self.author(), self.log());
        let mut json = blank(self.kind, clock.at(self.event.time_ns), self.event.generation);
        for (key, value) in [
            ("hook", self.hook.map(Hook::name).into()),
            ("interface", self.interface().into()),
            ("reason", dropped.map(Reason::name).into()),
            ("layer", dropped.map(|reason| reason.layer().name()).into()),
            ("peer_sees", self.peer_sees().into()),
            ("rule", author.rule_json()),
            ("policy", author.policy_json()),
            ("log", log.map(|log| json!({ "prefix": log.prefix, "level": log.level })).into()),
            ("ct_state", self.ct_state().into()),
            ("packet", self.packet.json()),
            ("nat", self.packet.translated.as_ref().map(Ends::json).into()),
            ("closed", self.closed_json().into()),
            ("flood", self.flood_json().into()),
            ("suppressed", self.event.suppressed.into()),
            ("more", self.event.more.into()),
        ] {
            json[key] = value;
        }
        json
    }
}

#[cfg(test)]
mod tests;
