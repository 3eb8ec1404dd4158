//! What nftables has and rampart does not yet: recognised, so that it is refused by name and never read as something
//! else.

use crate::language::{diagnostic::Diagnostic, source::Span};

/// Words that nftables keeps for itself: no table, chain or set can have them as name.
#[rustfmt::skip]
pub(super) const RESERVED: &[&str] = &[
    "log", "fwd", "limit", "counter", "drop", "accept", "tcp", "ip", "ip6", "type", "hook", "priority", "policy",
    "mark", "list", "ruleset", "set", "map", "element", "quota", "queue", "dup", "redirect", "masquerade", "snat",
    "dnat", "reject", "icmp", "icmpv6", "th", "meta", "ct", "iif", "oif", "iifname", "oifname", "all", "table",
    "chain", "rule", "include", "define", "add", "delete", "flush", "insert", "replace", "create", "get", "reset",
    "monitor", "export", "import", "rename", "describe", "size", "flags", "interval", "constant", "timeout",
    "dynamic", "elements", "gc-interval", "auto-merge", "comment", "hour", "day", "cpu", "random", "time", "secmark",
    "exthdr", "frag", "rt", "hbh", "dst", "mh", "srh", "fib", "numgen", "jhash", "symhash", "synproxy", "flow",
    "offload", "tproxy", "notrack", "flowtable", "device", "devices", "vmap", "jump", "goto", "return", "continue",
    "exists", "missing", "skuid", "skgid", "ether", "vlan", "arp", "udp", "sctp", "dccp", "udplite", "comp", "ah",
    "esp", "ecn", "typeof", "socket", "cgroup", "osf", "inet", "netdev", "bridge", "eq", "ne", "lt", "gt", "le", "ge",
    "and", "or", "xor", "not", "lshift", "rshift", "meter", "position", "index", "handle", "igmp", "redefine",
    "undefine",
];

/// Commands that are not part of a ruleset file, or not yet.
pub(super) const COMMANDS: &[&str] = &["meter"];

/// Statements and the reason, or the way round, that is worth a word.
#[rustfmt::skip]
const STATEMENTS: &[(&str, &str)] = &[
    ("queue", "packets cannot be handed to a program in user space from XDP"),
    ("dup", ""),
    ("fwd", ""),
    ("tproxy", "packets at XDP do not have a socket yet"),
    ("map", "only verdict maps are known yet: `tcp dport vmap { 22 : accept }`"),
    ("meter", ""),
    ("last", ""),
    ("reset", ""),
    ("xt", "it stands for an extension of iptables, of which only the name is left"),
];

/// Selectors, likewise.
#[rustfmt::skip]
const SELECTORS: &[&str] = &[
    "arp", "rt2", "rt4", "socket", "osf", "numgen", "jhash", "symhash", "ipsec", "time", "hour", "day", "skuid", "skgid",
    "nftrace", "rtclassid", "pkttype", "cpu", "iifgroup", "oifgroup", "iiftype", "oiftype", "cgroup", "ibrname",
    "obrname", "ibriport", "obriport", "gre", "geneve", "vxlan", "gretap", "random", "secmark",
];

/// Commands that a file of rules cannot have, and why.
#[rustfmt::skip]
const NOT_IN_A_FILE: &[(&str, &str)] = &[
    ("replace", HANDLES),
    ("rename", "give the chain its name where it is made: nft renames no chain of the same file either"),
    ("list", "a file says what the rules are and prints nothing: `rampart list` shows those in force"),
    ("reset", "a file says what the rules are: `rampart counters` shows what they counted"),
    ("get", "a file says what the rules are and prints nothing: `rampart list` shows those in force"),
    ("monitor", "`rampart monitor` follows what happens"),
    ("describe", "docs/LANGUAGE.md lists what a match can be compared with"),
    ("export", "`rampart --json list` prints the rules in force as JSON"),
    ("import", "a JSON document is a file of its own: `rampart apply FILE.json`"),
];

const HANDLES: &str = "handles are the kernel's numbers for rules that are there; a file is the whole ruleset and starts from \
                       nothing: write the rule where it belongs, or leave it out";

/// The refusal of a command that makes no ruleset, when it is one.
pub(super) fn command(word: &str, span: Span) -> Option<Diagnostic> {
    let (_, reason) = NOT_IN_A_FILE.iter().find(|(known, _)| *known == word)?;
    Some(Diagnostic::error(span, format!("`{word}` cannot be a command of a ruleset file")).help(*reason))
}

/// The refusal of what needs a handle.
pub(super) fn handle(word: &str, span: Span) -> Diagnostic {
    Diagnostic::error(span, format!("`{word}` is not supported: a file has no handles to refer to")).help(HANDLES)
}

/// A refusal of something that nftables has.
pub(super) fn feature(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error(span, format!("{what} is not supported yet"))
}

/// The refusal of a statement or match by its first word, when nftables has such a one.
pub(super) fn statement(word: &str, span: Span) -> Option<Diagnostic> {
    if let Some((_, reason)) = STATEMENTS.iter().find(|(known, _)| *known == word) {
        let error = Diagnostic::error(span, format!("`{word}` is not supported yet"));
        let error = if reason.is_empty() { error } else { error.help(*reason) };
        return Some(error.help(
            "supported statements: accept, drop, jump, goto, return, continue, counter, log, reject, limit, quota, notrack, snat, dnat, masquerade, redirect",
        ));
    }
    if SELECTORS.contains(&word) {
        let error = Diagnostic::error(span, format!("`{word}` is not supported yet"));
        let known = super::selector::words().collect::<Vec<_>>().join(", ");
        return Some(error.help(format!("supported matches: {known}")));
    }
    None
}

/// Words that start a statement, for "did you mean".
pub(super) const KNOWN_STATEMENTS: &[&str] = &[
    "accept",
    "drop",
    "return",
    "continue",
    "jump",
    "goto",
    "counter",
    "log",
    "reject",
    "limit",
    "quota",
    "synproxy",
    "flow",
    "notrack",
    "snat",
    "dnat",
    "masquerade",
    "redirect",
    "comment",
    "policy",
    "type",
];
