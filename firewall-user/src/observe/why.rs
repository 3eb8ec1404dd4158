//! What became of a packet and why: the answer of a shadow, or the trail of a live packet, in words and in JSON.

mod advice;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use firewall_common::{
    conntrack::{CtState, Phase},
    image::{Hook, NO_RULE, POLICY},
    packet::{Field, L4_PRESENT, Packet},
    parse::{Start, parse},
    table::Slot,
    trail::Trail,
    verdict::Reason,
};
use serde_json::{Value, json};

use super::{
    author::Author,
    notes::{self, Memory},
    packet::{Told, endpoint},
    path::{AtHook, Insns, LIMIT, Path, QUOTA, Reached},
    words::printable,
};
use crate::compile::{Manifest, SCHEMA};

/// What was decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes.
    Accept,
    /// It ends here, without a word.
    Drop,
    /// It ends here, and whoever sent it is told.
    Reject,
}

impl Outcome {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// What is known of a packet's fate.
pub struct Report<'a> {
    /// What the program noted.
    pub trail: &'a Trail,
    /// The rules on its way.
    pub path: Path,
    /// The ruleset.
    pub manifest: &'a Manifest,
    /// The interface.
    pub interface: &'a str,
    /// The packet as the program left it, when that is known.
    pub left: Option<&'a [u8]>,
    /// The packet as it was asked about, when that is known.
    pub asked: Option<&'a [u8]>,
    /// What the rules refer to, when that can be read.
    pub memory: Option<&'a dyn Memory>,
    /// What is not rampart's to decide, and may be in the way.
    pub outside: Vec<String>,
}

impl<'a> Report<'a> {
    /// What a trail tells of a packet that came in or left by `interface`.
    pub fn new(trail: &'a Trail, manifest: &'a Manifest, insns: Insns<'_>, interface: &'a str) -> Self {
        let path = Path::of(trail, insns);
        Self { trail, path, manifest, interface, left: None, asked: None, memory: None, outside: Vec::new() }
    }

    /// What was decided. A packet that was sent back is another one now.
    pub fn outcome(&self) -> Outcome {
        if self.trail.verdict == Reason::None as u32 {
            Outcome::Accept
        } else if self.answered().is_some() {
            Outcome::Reject
        } else {
            Outcome::Drop
        }
    }

    /// Why it was dropped.
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_number(self.trail.verdict).filter(|reason| *reason != Reason::None)
    }

    /// Who decided.
    pub fn author(&self) -> Author<'a> {
        Author::of(self.trail.rule, Some(self.manifest))
    }

    /// Is it about to leave?
    pub const fn is_leaving(&self) -> bool {
        self.trail.path != 0
    }

    /// The hook whose rules it met last; none if it met none.
    pub fn hook(&self) -> Option<Hook> {
        self.path.hooks.last().map(|at| at.hook)
    }

    /// The packet as the rules saw it.
    pub fn packet(&self) -> Told {
        Told::of_packet(&self.trail.packet)
    }

    fn ct_state(&self) -> Option<&'static str> {
        let is_ip = self.trail.packet.get(Field::NfProto) != 0;
        CtState::from_bit(self.trail.packet.get(Field::CtState)).filter(|_| is_ip).map(CtState::name)
    }

    /// The state of its connection, if one was known.
    fn connection(&self) -> Option<&'static str> {
        let state = Slot(self.trail.slot).state();
        // One that was only just begun is no connection yet.
        (self.trail.place != 0 && state.phase() != Phase::Free as u8).then(|| state.name())
    }

    /// The packet as it came: the rules may have seen it with another destination.
    fn original(&self) -> Told {
        let mut packet = Packet::EMPTY;
        match self.asked.map(|frame| parse(frame, Start::ETHERNET, &mut packet)) {
            Some(Ok(())) => Told::of_packet(&packet),
            _ => self.packet(),
        }
    }

    /// The packet as it was left, read again.
    fn left_packet(&self) -> Option<Packet> {
        let mut packet = Packet::EMPTY;
        parse(self.left?, Start::ETHERNET, &mut packet).ok().map(|()| packet)
    }

    /// What whoever sent it is told, if the packet was turned into an answer.
    fn answered(&self) -> Option<&'static str> {
        let (before, after) = (Told::of_packet(&self.trail.packet), Told::of_packet(&self.left_packet()?));
        let (source, _) = before.addresses?;
        let is_answer = self.reason().is_some() && after.addresses.is_some_and(|(_, to)| to == source);
        is_answer.then(|| match (after.flags, after.icmp, after.addresses.is_some_and(|(one, _)| one.is_ipv4())) {
            (Some(flags), ..) if flags & 4 != 0 => "connection refused",
            (_, Some((3, 3)), true) | (_, Some((1, 4)), false) => "port unreachable (connection refused)",
            (_, Some((3, 9 | 10 | 13)), true) | (_, Some((1, 1)), false) => "prohibited (no route to host)",
            (_, Some((3, 0)), true) | (_, Some((1, 0)), false) => "network unreachable",
            _ => "no route to host",
        })
    }

    /// Addresses and ports as they were left, where they are others.
    fn translated(&self) -> Option<String> {
        let after = Told::of_packet(&self.left_packet()?);
        let before = self.original();
        let is_other = before.addresses != after.addresses || before.ports != after.ports;
        (is_other && self.outcome() == Outcome::Accept).then(|| after.text())
    }

    /// Where it comes from and goes to as it was left: addresses, with ports where there are some.
    pub fn left_ends(&self) -> (String, String) {
        let left = self.left_packet().map_or_else(|| self.packet(), |packet| Told::of_packet(&packet));
        match (left.addresses, left.ports) {
            (Some((source, to)), Some((sport, dport))) => (endpoint(source, sport), endpoint(to, dport)),
            (Some((source, to)), None) => (source.to_string(), to.to_string()),
            (None, _) => (String::new(), String::new()),
        }
    }

    /// What whoever sent it sees.
    pub fn peer_sees(&self) -> &'static str {
        const TCP: u8 = 6;
        match self.outcome() {
            Outcome::Reject => self.answered().unwrap_or("no route to host"),
            Outcome::Drop if self.packet().protocol == Some(TCP) => "connection timed out",
            Outcome::Drop => "no answer",
            Outcome::Accept if self.is_leaving() => "sent",
            Outcome::Accept => "delivered",
        }
    }

    /// One line: the verdict, and who decided.
    pub fn summary(&self) -> String {
        self.verdict()
    }

    /// The verdict and who decided, as JSON.
    pub fn verdict_json(&self) -> Value {
        let reason = self.reason();
        json!({
            "schema": SCHEMA,
            "verdict": self.outcome().name(),
            "hook": self.hook().map(Hook::name),
            "reason": reason.map(Reason::name),
            "layer": reason.map(|reason| reason.layer().name()),
            "rule": self.author().rule_json(),
            "policy": self.author().policy_json(),
        })
    }

    /// One block of lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let way = if self.is_leaving() { "out" } else { "in" };
        let _ = writeln!(out, "{way} {} {}", self.interface, self.original().text());
        let _ = writeln!(out, "  parsed      {}", self.parsed());
        if let Some(state) = self.ct_state() {
            let of = self.connection().map_or_else(String::new, |state| format!(", of a connection in state {state}"));
            let _ = writeln!(out, "  conntrack   {state}{of}");
        }
        self.write_hooks(&mut out);
        if let Some(left) = self.translated() {
            let _ = writeln!(out, "  translated  {left}");
        }
        let _ = writeln!(out, "  verdict     {}", self.verdict());
        let who = if self.is_leaving() { "the program that sent it" } else { "the sender" };
        let _ = writeln!(out, "  {who} sees: {}", self.peer_sees());
        for line in self.advice().iter().chain(&self.outside) {
            let _ = writeln!(out, "  - {line}");
        }
        out
    }

    fn write_hooks(&self, out: &mut String) {
        if self.path.is_cut {
            out.push_str("  (earlier rules are left out: there were too many to keep)\n");
        }
        for AtHook { hook, reached } in &self.path.hooks {
            if reached.is_empty() {
                let _ = writeln!(out, "  {:<11} no rule was looked at", hook.name());
            }
            for (at, one) in reached.iter().enumerate() {
                let _ = writeln!(out, "  {:<11} {}", if at == 0 { hook.name() } else { "" }, self.reached(one));
            }
        }
        if self.path.is_fast {
            out.push_str("  fast path   past rules and stack, as the rule says that is named below\n");
        } else if self.path.hooks.is_empty() && self.reason().is_none() {
            out.push_str("  rules       none: there is no chain at the hooks it crosses\n");
        }
    }

    /// `web.nft:14  tcp dport 22 accept   no match: destination port`
    fn reached(&self, one: &Reached) -> String {
        let author = Author::of(one.rule, Some(self.manifest));
        let mark = match one.failed_at {
            Some(part) => format!("no match: {part}"),
            None if one.held => "match".to_owned(),
            None => "no match".to_owned(),
        };
        let mark = std::iter::once(mark).chain(self.notes(one)).collect::<Vec<_>>().join(", ");
        match author {
            Author::Rule(rule) => printable(&format!("{}:{}  {}  [{mark}]", rule.file, rule.line, rule.text)),
            other => other.long().unwrap_or_else(|| "?".to_owned()),
        }
    }

    /// What the text of a rule does not say.
    fn notes(&self, one: &Reached) -> Vec<String> {
        let counts = one.held || matches!(one.failed_at, Some(LIMIT | QUOTA));
        match self.memory {
            Some(memory) if one.rule & POLICY == 0 && counts => {
                notes::of_rule(memory, one.rule, counts, &self.trail.packet)
            }
            _ => Vec::new(),
        }
    }

    /// What the headers say, in a few words.
    fn parsed(&self) -> String {
        let packet = &self.trail.packet;
        let family = match packet.get(Field::NfProto) {
            2 => "IPv4",
            10 => "IPv6",
            _ => return format!("EtherType {:#06x}: not IP", packet.get(Field::EtherType)),
        };
        let mut text = format!("{family}, {} bytes, ttl {}", packet.get(Field::Length), packet.get(Field::Ttl));
        if packet.get(Field::Fragment) != 0 {
            text.push_str(", a fragment");
        }
        if packet.get(Field::L4Header) & L4_PRESENT == 0 {
            text.push_str(", without an upper-layer header");
        }
        text
    }

    fn verdict(&self) -> String {
        let outcome = self.outcome().name();
        let by = self.author().long().map_or_else(String::new, |author| format!(" by {author}"));
        match self.reason() {
            Some(reason @ (Reason::Rule | Reason::Policy | Reason::Rejected)) => {
                format!("{outcome} ({}, {}){by}", reason.name(), reason.layer().name())
            }
            Some(reason) => format!("{outcome} ({}, {}): {}", reason.name(), reason.layer().name(), reason.meaning()),
            None => format!("{outcome}{by}"),
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let reason = self.reason();
        json!({
            "schema": SCHEMA,
            "packet": self.original().json(),
            "interface": self.interface,
            "direction": if self.is_leaving() { "out" } else { "in" },
            "generation": self.trail.generation,
            "verdict": self.outcome().name(),
            "hook": self.hook().map(Hook::name),
            "reason": reason.map(Reason::name),
            "layer": reason.map(|reason| reason.layer().name()),
            "peer_sees": self.peer_sees(),
            "rule": self.author().rule_json(),
            "policy": self.author().policy_json(),
            "conntrack": { "state": self.ct_state(), "connection": self.connection() },
            "nat": self.translated().and_then(|_| Some(Told::of_packet(&self.left_packet()?).json())),
            "stages": self.path.hooks.iter().map(|at| self.stage_json(at)).collect::<Vec<_>>(),
            "stages_cut": self.path.is_cut,
            "fast_path": self.path.is_fast,
            "advice": self.advice(),
            "outside": self.outside,
        })
    }

    fn stage_json(&self, at: &AtHook) -> Value {
        let rule = |one: &Reached| {
            let author = Author::of(one.rule, Some(self.manifest));
            json!({
                "rule": author.rule_json(),
                "policy": author.policy_json(),
                "matched": one.held,
                "failed_at": one.failed_at,
                "notes": self.notes(one),
            })
        };
        json!({ "hook": at.hook.name(), "rules": at.reached.iter().map(rule).collect::<Vec<_>>() })
    }

    /// Did the ruleset decide, and not the packet itself or a full table?
    fn is_by_ruleset(&self) -> bool {
        self.trail.rule != NO_RULE && matches!(self.reason(), Some(Reason::Rule | Reason::Policy | Reason::Rejected))
    }
}
