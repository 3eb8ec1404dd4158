//! What nftables has and rampart does not: recognised, so that it is refused by name and reason, and never read as
//! something else.

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

/// Statements that nftables has and rampart does not: why, and the way round.
const STATEMENTS: &[(&str, &str)] = &[
    (
        "queue",
        "packets at XDP cannot be handed to a program in user space: `log` tells one, `limit` and sets decide here",
    ),
    ("dup", "a program at XDP cannot copy a packet: `rampart capture` records packets"),
    (
        "fwd",
        "what one interface's XDP program redirects, another's rules do not see: let routing forward it, in a chain at hook forward",
    ),
    (
        "tproxy",
        "packets at XDP do not have a socket yet, and programs cannot give them one: `redirect to :PORT` reaches a program here",
    ),
    (
        "map",
        "a map gives what a verdict or a statement needs: `tcp dport vmap { 22 : accept }`, `meta mark set tcp dport map { 22 : 1 }`",
    ),
    ("last", "nft 1.0.6 has no such statement: `counter` counts, `rampart why --last` knows when"),
    (
        "reset",
        "what is written has a known length, and an option the length that its packet says: `tcp option X exists drop` refuses the packet",
    ),
    ("xt", "it stands for an extension of iptables, of which only the name is left"),
];

/// A meter has no name that commands could use.
const METER: &str = "a meter stands in its rule: `meter NAME { ip saddr limit rate 5/second }`; a set by name can be listed and flushed";

/// Why a packet's socket cannot be asked about.
const SOCKET: &str = "packets that come in have no socket yet where rampart looks at them, and of those made here programs are told no \
                      owner that differs between the kernel's own and root's: match addresses and ports, or filter by \
                      cgroup in systemd (`IPAddressDeny=`)";

/// Why an interface's groups and kinds cannot be asked about.
const INTERFACE: &str = "programs know an interface by number and name, and are not told when the rest changes: `iifname { \"eth*\", wg0 }`";

/// Why there are no matches within tunnels.
const TUNNEL: &str =
    "nft 1.0.6 has no such match: what a tunnel carries comes by the tunnel's own interface, without its envelope";

/// Selectors by their first word, likewise.
const SELECTORS: &[(&str, &str)] = &[
    ("socket", SOCKET),
    ("skuid", SOCKET),
    ("skgid", SOCKET),
    ("cgroup", SOCKET),
    (
        "osf",
        "the kernel keeps the fingerprints of systems where programs cannot read them: match what they are made of (`tcp window`, `tcp option`, `ip ttl`)",
    ),
    ("ipsec", IPSEC),
    ("nftrace", "`rampart trace` follows packets without a rule"),
    ("rtclassid", REALM),
    ("iifgroup", INTERFACE),
    ("oifgroup", INTERFACE),
    ("iiftype", INTERFACE),
    ("oiftype", INTERFACE),
    ("ibrname", BRIDGE),
    ("obrname", BRIDGE),
    ("ibriport", BRIDGE),
    ("obriport", BRIDGE),
    ("gre", TUNNEL),
    ("gretap", TUNNEL),
    ("geneve", TUNNEL),
    ("vxlan", TUNNEL),
    ("secmark", LABEL),
];

const IPSEC: &str = "packets are seen encrypted, before or behind the transformation: `meta l4proto esp`, `esp spi`; what was in them comes by an xfrm interface";
const REALM: &str = "the routing table tells programs no realms: match the networks, or set `meta mark`";
const BRIDGE: &str =
    "rules of a bridge are of family bridge: a port is an interface, in a netdev chain at hook ingress";
const LABEL: &str = "labels of security modules are not on packets at XDP";

/// Fields behind `meta` and `ct`, and what `rt` asks of a packet's route, likewise.
const FIELDS: &[(&str, &str, &str)] = &[
    (
        "ct",
        "helper",
        "there are no helpers: they need the payload of control connections, in user space or the kernel's own tracking",
    ),
    ("ct", "label", "a connection keeps a mark of 32 bits and no labels: `ct mark`"),
    ("ct", "count", "it is a statement: `ct count over 20 drop`"),
    ("ct", "event", "`rampart conns --watch` tells of every connection"),
    ("ct", "secmark", LABEL),
    ("ct", "timeout", "lifetimes are settings of rampart: `[conntrack]` in rampart.toml"),
    ("ct", "expectation", "there are no helpers that would expect connections"),
    ("ct", "saddr", "write `ct original ip saddr`"),
    ("ct", "daddr", "write `ct original ip daddr`"),
    ("ct", "proto-src", "write `ct original proto-src`"),
    ("ct", "proto-dst", "write `ct original proto-dst`"),
    ("meta", "secpath", IPSEC),
    ("meta", "iifkind", INTERFACE),
    ("meta", "oifkind", INTERFACE),
    ("meta", "sdif", "rampart sees a packet at the port of a VRF, before the VRF does: `iif`"),
    ("meta", "sdifname", "rampart sees a packet at the port of a VRF, before the VRF does: `iifname`"),
    ("meta", "ibrvproto", BRIDGE),
    ("meta", "ibrpvid", BRIDGE),
    ("rt", "classid", REALM),
    (
        "rt",
        "nexthop",
        "of the route programs are told the interface: `oifname`, or the neighbour's network by `ip daddr`",
    ),
    (
        "rt",
        "mtu",
        "it is a value to set: `tcp option maxseg size set rt mtu`; `meta length` and `tcp option maxseg size` can be matched",
    ),
    ("rt", "ipsec", "what a route's policy encrypts is not told to programs: `oifname` of an xfrm interface"),
    ("icmpv6", "parameter-problem", "nft 1.0.6 has no such field: `@th,32,32` behind `icmpv6 type parameter-problem`"),
    ("icmpv6", "packet-too-big", "write `icmpv6 mtu`"),
    ("icmpv6", "taddr", "nft 1.0.6 has no such field: `@th,64,128` behind the type"),
    ("icmpv6", "daddr", "nft 1.0.6 has no such field: `@th,192,128` behind the type"),
    ("dccp", "option", "nft 1.0.6 has no such match: the kernel can look at DCCP options from Linux 6.5 on"),
];

/// The refusal of a meter, in every command.
pub(super) fn meter(span: Span) -> Diagnostic {
    refusal(span, "`meter` as a command", METER)
}

/// The reason why a field behind this word is refused, if it is one that nftables has.
pub(super) fn field(group: &str, word: &str, span: Span) -> Option<Diagnostic> {
    let known = FIELDS.iter().find(|(of, field, _)| (*of, *field) == (group, word)).map(|(_, _, reason)| *reason);
    let alone = || SELECTORS.iter().find(|(name, _)| group == "meta" && *name == word).map(|(_, reason)| *reason);
    let reason = known.or_else(alone)?;
    Some(refusal(span, &format!("`{group} {word}`"), reason))
}

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

/// A refusal of something that nftables has: what it is, and why with the way round.
pub(super) fn refusal(span: Span, what: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(span, format!("{what} is not supported")).help(reason)
}

/// The refusal of a statement or match by its first word, when nftables has such a one.
pub(super) fn statement(word: &str, span: Span) -> Option<Diagnostic> {
    let (_, reason) = STATEMENTS.iter().chain(SELECTORS).find(|(known, _)| *known == word)?;
    Some(refusal(span, &format!("`{word}`"), reason))
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
