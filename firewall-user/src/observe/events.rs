//! Events: drops, log statements, new connections.

use std::fmt::Write;

use firewall_common::{
    conntrack::CtState,
    event::{Event, Kind},
    image::Hook,
    verdict::Reason,
};
use serde_json::{Value, json};

use super::{
    author::Author,
    clock::Clock,
    packet::{Ends, Told},
    words::{grouped, printable},
};
use crate::{
    cli::values::EventFilter,
    compile::{LogRecord, Manifest, SCHEMA},
};

/// An event with what is known beside it.
pub struct Seen<'a> {
    event: &'a Event,
    interface: &'a str,
    manifest: Option<&'a Manifest>,
    packet: Told,
    kind: Kind,
    reason: Reason,
    hook: Hook,
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
            hook: Hook::ALL.into_iter().find(|hook| *hook as u32 == event.hook)?,
        })
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

    /// What whoever sent the packet, or waits for it, sees of a drop.
    pub fn peer_sees(&self) -> Option<&'static str> {
        const TCP: u8 = 6;
        (self.kind == Kind::Dropped).then_some(match self.packet.protocol {
            _ if self.reason == Reason::SynAnswered => "the server's answer",
            _ if self.reason == Reason::Rejected => "that it is refused",
            Some(TCP) => "connection timed out",
            Some(_) | None => "no answer",
        })
    }

    /// Is it one of those asked for: of each kind of filter one, of all kinds?
    pub fn is_wanted(&self, filters: &[EventFilter]) -> bool {
        let same_kind = |a: &EventFilter, b: &EventFilter| std::mem::discriminant(a) == std::mem::discriminant(b);
        filters.iter().all(|filter| filters.iter().any(|other| same_kind(filter, other) && self.is_under(other)))
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
            EventFilter::Reason(reason) => self.kind == Kind::Dropped && self.reason == *reason,
            EventFilter::Layer(layer) => self.kind == Kind::Dropped && self.reason.layer() == *layer,
            EventFilter::Hook(hook) => self.hook == *hook,
            EventFilter::Interface(name) => self.interface == name,
        }
    }

    /// One line, without its end.
    pub fn line(&self, clock: Clock) -> String {
        let way = match self.hook {
            Hook::Output | Hook::Postrouting | Hook::Egress => "out",
            Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Ingress => "in",
        };
        let mut line = format!("{} {:<7} ", clock.at(self.event.time_ns).time(), self.kind.name());
        if let Some(prefix) = self.log().and_then(|log| log.prefix.as_deref()) {
            let _ = write!(line, "\"{}\" ", printable(prefix));
        }
        let _ = write!(line, "{way} {} {}", self.interface, self.packet.text());
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

    /// What made it happen, in words.
    fn because(&self) -> String {
        let author = self.author().long();
        match self.kind {
            Kind::Logged | Kind::New => author.map_or_else(String::new, |author| format!(", {author}")),
            Kind::Dropped => {
                let (layer, sees) = (self.reason.layer().name(), self.peer_sees().unwrap_or_default());
                let by = match (self.reason, author) {
                    (Reason::Rule | Reason::Policy | Reason::Rejected, Some(author)) => author,
                    (reason, _) => reason.meaning().to_owned(),
                };
                format!(", {} ({layer}): {by}; the sender sees: {sees}", self.reason.name())
            }
        }
    }

    /// The same as JSON.
    pub fn json(&self, clock: Clock) -> Value {
        let dropped = (self.kind == Kind::Dropped).then_some(self.reason);
        let (author, log) = (self.author(), self.log());
        json!({
            "schema": SCHEMA,
            "event": self.kind.name(),
            "time": clock.at(self.event.time_ns).date_and_time(),
            "generation": self.event.generation,
            "hook": self.hook.name(),
            "interface": self.interface,
            "reason": dropped.map(Reason::name),
            "layer": dropped.map(|reason| reason.layer().name()),
            "peer_sees": self.peer_sees(),
            "rule": author.rule_json(),
            "policy": author.policy_json(),
            "log": log.map(|log| json!({ "prefix": log.prefix, "level": log.level })),
            "ct_state": self.ct_state(),
            "packet": self.packet.json(),
            "nat": self.packet.translated.as_ref().map(Ends::json),
            "suppressed": self.event.suppressed,
            "more": self.event.more,
        })
    }
}

#[cfg(test)]
mod tests;
