//! Rules of every selector, operator and kind of value: nft accepts exactly those that we accept, apart from the listed.

mod ruleset;

use std::{fmt::Write, fs};

use firewall_user::language::parse_text;
use ruleset::{in_own_namespace, options};

/// Selectors, each with right sides: good ones and bad ones.
const VALUES: &[(&str, &[&str])] = &[
    ("ip dscp", &["cs1", "af11-ef", "{ cs1, 5 }", "{ 5-9, ef }", "64", "cs1 - 9", "nope"]),
    ("ip ecn", &["ce", "4", "{ ce, ect0 }"]),
    ("ip ttl", &["5", "5-10", "{ 1, 5-9 }", "256", "16/4"]),
    ("ip hdrlength", &["5", "16", "5-9"]),
    ("ip id", &["5", "0x10/12", "65536"]),
    ("ip frag-off", &["0", "{ 0, 0x2000 }"]),
    ("ip6 dscp", &["cs1", "{ cs1, ef }", "5-9"]),
    ("ip6 flowlabel", &["5", "0x100000", "5-9"]),
    ("ip6 hoplimit", &["255", "{ 1, 255 }", "256"]),
    ("ip6 nexthdr", &["tcp", "{ tcp, udp }", "icmpv6", "nope", "6-17"]),
    ("tcp sequence", &["5", "5-9", "4294967296", "{ 5, 7-9 }"]),
    ("tcp doff", &["5", "16", "{ 5, 6-7 }"]),
    ("tcp window", &["5", "65536", "512/8"]),
    ("tcp flags", &["syn", "syn,ack", "{ syn, ack }", "syn | ack", "0x3", "syn / syn,ack", "nope"]),
    ("udp length", &["8", "8-20", "{ 8, 9 }"]),
    ("icmp id", &["5", "5-9", "65536"]),
    ("icmp type", &["echo-request", "8", "{ 8, 0 }", "nope"]),
    (
        "ether saddr",
        &["00:00:5e:00:53:01", "0:0:5e:0:53:1", "00:00:5e:00:53:01-00:00:5e:00:53:09", "00:00:5e:00:53:01/24"],
    ),
    ("ether type", &["ip", "8021q", "0x800", "{ ip, ip6 }", "nope", "65536"]),
    ("vlan id", &["5", "4096", "{ 5, 7-9 }"]),
    ("vlan pcp", &["3", "8"]),
    ("meta mark", &["5", "0x10/28", "5-9", "{ 5, 7-9 }", "4294967296"]),
    ("meta l4proto", &["tcp", "{ tcp, udp }", "1-6", "nope", "256"]),
    ("meta length", &["5", "5-9", "16/28"]),
    ("tcp dport", &["22", "22-80", "{ 22, 80-90 }", "ssh", "80/8", "80/12", "65536"]),
    ("ip saddr", &["192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9", "{ 192.0.2.1, 10.0.0.0/8 }", "::1"]),
    ("ip6 saddr", &["::1", "2001:db8::/32", "{ ::1, ::2 }", "192.0.2.1"]),
    ("iifname", &["lo", "\"eth*\"", "{ lo, eth0 }"]),
];

const OPERATORS: &[&str] = &["", "==", "!=", "<", ">=", "!"];

/// Each stands before each.
const PAIRS: &[&str] = &[
    "ip ttl 5",
    "ip6 hoplimit 5",
    "tcp dport 22",
    "icmp id 5",
    "icmp type 8",
    "icmp type 3",
    "icmpv6 id 5",
    "ether type ip",
    "ether type arp",
    "ether type vlan",
    "ether type 8021ad",
    "ether type != ip",
    "ether saddr 00:00:5e:00:53:01",
    "vlan id 5",
    "vlan type ip6",
    "meta protocol ip",
    "ip protocol tcp",
    "ip6 nexthdr udp",
    "meta l4proto icmp",
    "meta l4proto { tcp, udp }",
];

/// What we refuse and nft accepts: the start of our message.
const REFUSED_HERE: &[&str] = &["`th` in a concatenation needs a protocol", "names can only be compared by"];

const CONCATENATIONS: &[(&str, &[&str])] = &[
    (
        "ip saddr . tcp dport",
        &["192.0.2.1 . 22", "10.0.0.0/8 . 80-90", "192.0.2.1", "192.0.2.1 . 22 . 5", "10.0.0.1 . ssh"],
    ),
    ("iifname . ip saddr", &["\"lo\" . 192.0.2.1", "\"eth*\" . 10.0.0.0/8", "192.0.2.1 . \"lo\""]),
    ("meta l4proto . th dport", &["tcp . 53", "udp . 1-5"]),
    ("ip saddr . meta mark", &["192.0.2.1 . 5"]),
    ("icmp type . icmp code", &["echo-request . 0", "3 . 1-5"]),
    ("ct state . tcp dport", &["new . 22", "established . 22-80"]),
    ("tcp dport . udp dport", &["22 . 53"]),
];

fn rules() -> Vec<String> {
    let mut rules = Vec::new();
    for (selector, values) in VALUES {
        for value in *values {
            rules.extend(OPERATORS.iter().map(|operator| format!("{selector} {operator} {value}")));
        }
    }
    for before in PAIRS {
        rules.extend(PAIRS.iter().filter(|after| before != *after).map(|after| format!("{before} {after}")));
    }
    for (selector, keys) in CONCATENATIONS {
        for key in *keys {
            rules.push(format!("{selector} {{ {key} }}"));
            rules.push(format!("{selector} != {{ {key} }}"));
            rules.push(format!("{selector} > {{ {key} }}"));
            rules.push(format!("{selector} vmap {{ {key} : accept, * : drop }}"));
            rules.push(format!("{selector} {key}"));
        }
    }
    rules
}

fn table(family: &str, rule: &str) -> String {
    let hook = if family == "netdev" { "ingress device lo" } else { "input" };
    format!("table {family} t {{\n\tchain c {{\n\t\ttype filter hook {hook} priority 0;\n\t\t{rule}\n\t}}\n}}\n")
}

/// Which of the rulesets nft takes, each into an empty kernel.
fn accepted_by_nft(family: &str, rules: &[String]) -> Vec<bool> {
    let folder = std::env::temp_dir().join(format!("rampart-parity-{family}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    for (number, rule) in rules.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}")), table(family, rule)).expect("a temporary file");
    }
    let each = "nft -f \"$file\" 2>/dev/null && echo yes || echo no; nft flush ruleset";
    let command = format!("for file in {}/*; do {each}; done", folder.display());
    let answers = in_own_namespace(&command).expect("the loop itself does not fail");
    fs::remove_dir_all(&folder).expect("removable");
    answers.lines().map(|answer| answer == "yes").collect()
}

/// Our message, if we refuse it.
fn refusal(family: &str, rule: &str) -> Option<String> {
    let diagnostics = parse_text("parity.nft", &table(family, rule), &options()).err()?.render(false);
    Some(diagnostics.split_once("error: ").map_or(diagnostics.clone(), |(_, message)| message.to_owned()))
}

fn compare(family: &str) {
    let rules = rules();
    let theirs = accepted_by_nft(family, &rules);
    assert_eq!(theirs.len(), rules.len());
    let mut different = String::new();
    for (rule, theirs) in rules.iter().zip(theirs) {
        let ours = refusal(family, rule);
        let listed = ours.as_ref().is_some_and(|text| REFUSED_HERE.iter().any(|known| text.starts_with(known)));
        if theirs != ours.is_none() && !(theirs && listed) {
            let _ = writeln!(different, "{rule}: nft {}, we {ours:?}", if theirs { "accepts" } else { "refuses" });
        }
    }
    assert_eq!(different, "", "in family {family}");
}

#[test]
fn nft_accepts_the_same_in_a_table_of_both_families() {
    compare("inet");
}

#[test]
fn nft_accepts_the_same_in_a_table_of_one_family() {
    compare("ip");
}

#[test]
fn nft_accepts_the_same_at_a_device() {
    compare("netdev");
}
