//! What is right, what is worth knowing, and what is wrong: findings from facts.

use std::fmt::Write;

use firewall_common::{
    counter::InterfaceCounters,
    verdict::{Layer, Reason},
};
use serde_json::{Value, json};

use super::{status::FlowUse, words::printable};
use crate::{
    compile::SCHEMA,
    kernel::{Addresses, Attached, Candidate, FastWay, Ingress, Machine},
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Something does not work, or not as it is meant to.
    Problem,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at: a word, or an interface's name.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    fn new(level: Level, subject: &str, text: impl Into<String>) -> Self {
        Self { level, subject: subject.to_owned(), text: text.into(), help: None }
    }

    fn ok(subject: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, text)
    }

    fn note(subject: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Note, subject, text)
    }

    fn problem(subject: &str, text: impl Into<String>, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..Self::new(Level::Problem, subject, text) }
    }
}

/// What the machine offers.
pub fn machine(machine: &Machine) -> Vec<Finding> {
    let Machine { release, is_new_enough, has_btf, compiles, is_locked_down, missing_capabilities } = machine;
    let release = printable(release);
    let mut findings = vec![match is_new_enough {
        Some(true) => Finding::ok("kernel", format!("Linux {release}")),
        Some(false) => {
            let help = "XDP for packets of several fragments came with 5.18";
            Finding::problem("kernel", format!("Linux {release} is older than 5.18"), help)
        }
        None => Finding::note("kernel", format!("Linux {release}: its version cannot be told")),
    }];
    findings.push(if *has_btf {
        Finding::ok("types", "the kernel describes its types (BTF)")
    } else {
        let help = "boot a kernel with CONFIG_DEBUG_INFO_BTF";
        Finding::problem("types", "the kernel does not describe its types: /sys/kernel/btf/vmlinux is missing", help)
    });
    match compiles {
        Some(false) => findings.push(Finding::problem(
            "compiler",
            "programs are interpreted: every packet costs many times more",
            "sysctl net.core.bpf_jit_enable=1",
        )),
        Some(true) | None => findings.push(Finding::ok("compiler", "programs are compiled to machine code")),
    }
    if *is_locked_down {
        let help = "boot without lockdown=confidentiality";
        findings.push(Finding::problem("lockdown", "the kernel is locked down: programs may not read packets", help));
    }
    if let Some(missing) = missing_capabilities {
        let text = format!("this user lacks {missing}: what is in force cannot be looked at");
        findings.push(Finding::problem("privileges", text, "run it as root"));
    }
    findings
}

/// Interfaces that are up, and those that are attached.
pub fn interfaces(candidates: &[Candidate], attached: &[Attached], is_in_force: bool) -> Vec<Finding> {
    let known = attached.iter().map(attachment);
    let strangers = candidates.iter().filter(|one| attached.iter().all(|other| other.ifindex != one.ifindex));
    known.chain(strangers.map(|one| stranger(one, is_in_force))).collect()
}

fn attachment(attached: &Attached) -> Finding {
    let name = printable(&attached.name);
    let text = super::status::attachment(attached);
    let text = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
    match attached.ingress {
        _ if !attached.present => Finding::note(&name, text),
        Ingress::Native => Finding::ok(&name, text),
        Ingress::Generic | Ingress::Tc => Finding::note(&name, text),
    }
}

fn stranger(candidate: &Candidate, is_in_force: bool) -> Finding {
    let name = printable(&candidate.name);
    match (candidate.has_xdp, is_in_force) {
        (true, _) => Finding::problem(
            &name,
            "another XDP program is on it: rampart does not replace it",
            "`ip link set dev NAME xdp off` takes it off, or leave the interface out with `-i`",
        ),
        (false, true) => Finding::problem(
            &name,
            "it is up and not attached: its packets pass unfiltered",
            "`rampart apply` attaches to every interface that is up; `-i` names others",
        ),
        (false, false) => Finding::note(&name, "it is up and not attached"),
    }
}

/// The share of the state table, in percent, above which it is getting full.
const FULL: u64 = 80;

/// The ruleset in force, by what became of packets.
pub fn in_force(generation: u32, flows: &FlowUse, traffic: &[InterfaceCounters], lost_events: u64) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("rules", format!("generation {generation} is in force"))];
    let percent = flows.live * 100 / u64::from(flows.capacity.max(1));
    let text = format!("{} of {} places are taken", flows.live, flows.capacity);
    findings.push(if percent < FULL {
        Finding::ok("connections", text)
    } else {
        Finding::problem("connections", text, "make room: `flows` in the settings, or `--flows` at the first apply")
    });
    findings.extend(internal_drops(traffic));
    if lost_events > 0 {
        let text = format!("{lost_events} were not told of: too many at once, or nobody read fast enough");
        findings.push(Finding::note("events", text));
    }
    findings
}

/// Does the stack complete handshakes that were made in a server's place? Only asked about rulesets that have some made.
pub fn cookies(takes_them: bool) -> Finding {
    if takes_them {
        return Finding::ok("cookies", "the stack completes handshakes that `synproxy` or `[syn_flood]` made");
    }
    let text = "the stack does not complete handshakes that `synproxy` or `[syn_flood]` makes: nobody can connect";
    Finding::problem("cookies", text, "sysctl -w net.ipv4.tcp_syncookies=2, in this network namespace")
}

/// Do programs know what addresses are to this host, and will they? Only asked about rulesets that ask.
pub fn addresses(found: &Addresses) -> Finding {
    let Addresses { entries, is_current, doubt, is_followed } = found;
    let again = "`rampart apply` looks again, `rampart agent` at every change";
    match (is_current, doubt, is_followed) {
        (false, ..) => Finding::problem(
            "addresses",
            "rules (`fib .. type`) go by addresses that this host does not have now",
            again,
        ),
        (true, Some(doubt), _) => {
            let text = format!(
                "what rules (`fib .. type`) are told may not be what the kernel would find: {}",
                printable(doubt)
            );
            Finding::problem("addresses", text, "name the addresses in a set")
        }
        (true, None, false) => {
            let text = "rules (`fib .. type`) know the addresses of this host, and nobody tells them of changes";
            Finding { help: Some(again.to_owned()), ..Finding::note("addresses", text) }
        }
        (true, None, true) => Finding::ok(
            "addresses",
            format!("rules (`fib .. type`) know the addresses of this host ({entries}), an agent follows them"),
        ),
    }
}

/// Do packets take the fast path by an interface? Only asked about rulesets that have one.
pub fn fast_way(way: &FastWay) -> Finding {
    let text = super::status::fast_way(way);
    let text = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
    let (subject, text) = (printable(&way.name), format!("fast path: {text}"));
    match (&way.not_in, &way.not_out, way.has_changed) {
        (.., true) => Finding::problem(&subject, text, "`rampart apply` tells the programs"),
        (None, None, false) => Finding::ok(&subject, text),
        (..) => Finding::note(&subject, text),
    }
}

/// Packets that were dropped because of something inside, not because of a rule or a bad packet.
fn internal_drops(traffic: &[InterfaceCounters]) -> Vec<Finding> {
    let dropped = |reason: Reason| -> u64 {
        let of = |one: &InterfaceCounters| one.ingress[reason as usize].packets + one.egress[reason as usize].packets;
        traffic.iter().map(of).sum()
    };
    let internal = Reason::ALL.iter().filter(|reason| reason.layer() == Layer::Internal);
    let found = internal.map(|reason| (*reason, dropped(*reason))).filter(|(_, packets)| *packets > 0);
    found
        .map(|(reason, packets)| {
            let text = format!("{packets} packets were dropped: {}", reason.meaning());
            Finding::problem(reason.name(), text, "`rampart counters` has them by interface")
        })
        .collect()
}

/// Nothing is in force here.
pub fn nothing() -> Finding {
    Finding::note("rules", "no ruleset is in force in this network namespace")
}

/// What is in force cannot be read.
pub fn unreadable(why: &str) -> Finding {
    Finding::problem("rules", printable(why), "`rampart stop` removes what was left behind")
}

/// Rulesets of others.
pub fn others(lines: Vec<String>) -> Vec<Finding> {
    lines.into_iter().map(|line| Finding::note("others", line)).collect()
}

/// Findings as a table, with what to do below each.
pub fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for Finding { level, subject, text, help } in findings {
        let _ = writeln!(out, "{:8} {subject:width$}  {text}", level.name());
        if let Some(help) = help {
            let _ = writeln!(out, "{:8} {:width$}  {help}", "", "");
        }
    }
    out
}

/// Findings as JSON.
pub fn json(findings: &[Finding]) -> Value {
    let finding = |Finding { level, subject, text, help }: &Finding| json!({ "level": level.name(), "subject": subject, "text": text, "help": help });
    json!({ "schema": SCHEMA, "findings": findings.iter().map(finding).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests;
